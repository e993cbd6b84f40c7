"""Run the page of a model until it is stopped."""

from __future__ import annotations

import os
import socket
import warnings
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from featbus.app._model import open_model
from featbus.app._settings import ADDRESS, PIXELS, find_names, make_flags
from featbus.io._limits import VARIABLE
from featbus.parameters import Interval, check_parameters

if TYPE_CHECKING:
    from featbus.typing import PathLike

_SCRIPT = Path(__file__).with_name("_script.py")


def run_app(
    model: PathLike, *, port: int = 8501, url: str | None = None, browser: bool = True
) -> None:
    """Serve a page on which readers examine images with a trained model.

    The page is served to this machine alone, at http://127.0.0.1:8501, until the process is
    stopped. It keeps nothing, see :ref:`app`.

    Read more in the :ref:`User Guide <app>`.

    Parameters
    ----------
    model : path-like
        The file that `featbus.commands.train` or `featbus.save` wrote.
    port : int, default=8501
        The port, from 1 to 65535.
    url : str or None, default=None
        Where readers find the page if a reverse proxy on this machine serves it, such as
        ``"https://reader.hospital.example"``: requests from other sites are refused. None: this
        machine.
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
    OSError
        If the port is in use.

    See Also
    --------
    featbus.commands.predict : Predictions of a folder of images.
    featbus.commands.examine_image : What the page shows of an image.

    Examples
    --------
    >>> from featbus.app import run_app
    >>> run_app("model.skops")  # doctest: +SKIP
    """
    check_parameters(
        {
            "port": [Interval(Integral, 1, 65535, closed="both")],
            "url": [str, None],
            "browser": ["boolean"],
        },
        {"port": port, "url": url, "browser": browser},
    )
    streamlit, prepare_server = _import_streamlit()
    flags = make_flags(port, url, browser)
    _check_port(port)
    path = str(Path(model).absolute())
    # A few kilobytes may become the pixels that readers of files allow, and take minutes.
    os.environ.setdefault(VARIABLE, str(PIXELS))
    open_model(path)  # before the first reader comes
    prepare_server(*find_names(port, url))
    print(f"The page is at {url or f'http://{ADDRESS}:{port}'}; Ctrl-C stops it.", flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning about an image would be a log of it
        streamlit(["run", str(_SCRIPT), *flags, "--", path], standalone_mode=False)


def _import_streamlit():
    try:
        from streamlit.web.cli import main

        from featbus.app._server import prepare_server
    except ImportError as error:
        raise ImportError(
            f"The page needs Streamlit ({error}). Install it: pip install 'featbus[app]'."
        ) from error
    return main, prepare_server


def _check_port(port):
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((ADDRESS, port))
        except OSError as error:
            raise OSError(
                f"Port {port} cannot be used: {error.strerror}. Choose another port."
            ) from error
