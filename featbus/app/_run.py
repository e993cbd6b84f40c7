"""Run the page of a model until it is stopped."""

from __future__ import annotations

import os
import warnings
from numbers import Integral
from pathlib import Path
from urllib.parse import urlsplit

from featbus import DISTRIBUTION
from featbus.app._results import open_model
from featbus.io._files import VARIABLE
from featbus.parameters import Interval, InvalidParameterError, check_parameters
from featbus.typing import PathLike

ADDRESS = "127.0.0.1"
MEGABYTES = 50  # of one upload
SESSION_MEGABYTES = 200  # of all uploads of a session
_PIXELS = 50_000_000  # of an image, unless the environment says otherwise
_PARAMETER_CONSTRAINTS = {
    "port": [Interval(Integral, 1, 65535, closed="both")],
    "url": [str, None],
    "browser": ["boolean"],
}
# CORS and XSRF protection are on by default, and other configuration is ignored.
_SETTINGS = {
    "server.address": ADDRESS,
    "server.xsrfCookieSameSite": "strict",
    "server.maxUploadSize": MEGABYTES,
    "server.disconnectedSessionTTL": 30,
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": False,
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "logger.level": "error",
    "logger.hideWelcomeMessage": True,
    "theme.light.primaryColor": "#0a7d91",
    "theme.dark.primaryColor": "#4dbccd",
}


def run_app(
    model: PathLike, *, port: int = 8501, url: str | None = None, browser: bool = True
) -> None:
    """Serve a page on which a reader examines images with a trained model.

    The page is served to this machine alone, at http://127.0.0.1:8501, until the process is
    stopped. It keeps nothing, see :ref:`app`.

    Read more in the :ref:`User Guide <app>`.

    Parameters
    ----------
    model : path-like
        The file that `featbus train` or `featbus.save` wrote.
    port : int, default=8501
        The port, from 1 to 65535.
    url : str or None, default=None
        Where readers find the page if a reverse proxy on this machine serves it, such as
        ``"https://reader.hospital.example"``. None: this machine.
    browser : bool, default=True
        Whether to open the page in a browser.

    Raises
    ------
    ImportError
        If Streamlit is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no model of classes, see `featbus.load`, or a parameter is invalid.

    See Also
    --------
    featbus.commands.predict : Predictions of a folder of images.
    featbus.commands.examine_image : What the page shows of an image.

    Examples
    --------
    On the command line: ``featbus app model.skops``

    >>> from featbus.app import run_app
    >>> run_app("model.skops")  # doctest: +SKIP
    """
    check_parameters(_PARAMETER_CONSTRAINTS, locals())
    try:
        from streamlit.web.cli import main
    except ImportError as error:
        raise ImportError(
            f"The page needs Streamlit ({error}). Install it: pip install '{DISTRIBUTION}[app]'."
        ) from error
    settings = _SETTINGS | {"server.port": port, "server.headless": not browser}
    if url is not None:
        settings |= _settings_of(url)
    flags = [f"--{name}={value}" for name, value in settings.items()]
    # A few kilobytes may decode to as many pixels as files may have, which takes minutes.
    os.environ.setdefault(VARIABLE, str(_PIXELS))
    path = str(Path(model).absolute())
    open_model(path)  # before the first reader comes
    _keep_nothing()
    print(f"The page is at {url or f'http://{ADDRESS}:{port}'}; Ctrl-C stops it.", flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning about an image would be a log of it
        script = str(Path(__file__).with_name("_page.py"))
        main(["run", script, *flags, "--", path], standalone_mode=False)


def _settings_of(url):
    """Return the settings of Streamlit for a page that a reverse proxy serves."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "*" in url:
        raise InvalidParameterError(
            f"url is {url!r}, expected where readers find the page, such as "
            "'https://reader.hospital.example'."
        )
    return {
        "server.baseUrlPath": parts.path.strip("/"),
        "server.corsAllowedOrigins": f"{parts.scheme}://{parts.netloc}",
    }


def _keep_nothing():
    """Ignore other configuration, keep uploads off the disk, and bound those of a session."""
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartParser
    from streamlit import config
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

    config.get_config_files = lambda name: []
    for name in [name for name in os.environ if name.startswith("STREAMLIT_")]:
        del os.environ[name]
    # By default, uploads above 1 MB become temporary files.
    MultiPartParser.spool_max_size = (MEGABYTES + 1) * 1024**2
    add_file = MemoryUploadedFileManager.add_file

    def add_within_budget(manager, session_id, file):
        held = manager.file_storage.get(session_id, {}).values()
        if sum(len(other.data) for other in [*held, file]) > SESSION_MEGABYTES * 1024**2:
            raise HTTPException(413, f"The files of a session exceed {SESSION_MEGABYTES} MB.")
        add_file(manager, session_id, file)

    MemoryUploadedFileManager.add_file = add_within_budget
