"""Streamlit's settings, as flags of its command: files and variables are ignored."""

import re
from urllib.parse import urlsplit

from featbus.parameters import InvalidParameterError

ADDRESS = "127.0.0.1"
LOCAL_NAMES = (ADDRESS, "localhost")
MEGABYTES = 50  # of an upload
PIXELS = 50_000_000  # of an image, unless the environment says otherwise

# An asterisk would allow all names.
_HOST = re.compile("[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_PATH = re.compile(r"(/[\w~-][\w.~-]*)*/?", re.ASCII)

_SETTINGS = {
    # Nobody else gets in.
    "server.address": ADDRESS,
    "server.enableCORS": True,
    "server.enableXsrfProtection": True,
    "server.xsrfCookieSameSite": "strict",
    "server.enableStaticServing": False,
    "server.enableAgentApi": False,
    "server.maxUploadSize": MEGABYTES,
    "global.developmentMode": False,
    # Nothing is kept, sent or told.
    "browser.gatherUsageStats": False,
    "server.disconnectedSessionTTL": 30,
    "server.fileWatcherType": "none",
    "server.runOnSave": False,
    "server.showEmailPrompt": False,
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "logger.level": "error",
    "logger.hideWelcomeMessage": True,
    "runner.magicEnabled": False,
    # The colors of featbus.
    "theme.light.primaryColor": "#0a7d91",
    "theme.dark.primaryColor": "#4dbccd",
}


def make_flags(port, url=None, browser=True):
    """Return the settings of a server as flags of ``streamlit run``.

    Parameters
    ----------
    port : int
        The port.
    url : str or None, default=None
        Where a reverse proxy serves the page.
    browser : bool, default=True
        Whether to open a browser.

    Returns
    -------
    list of str
        The flags.
    """
    hosts, origins = find_names(port, url)
    settings = _SETTINGS | {
        "server.port": port,
        "server.headless": not browser,
        "server.baseUrlPath": "" if url is None else _split(url).path.strip("/"),
        "server.allowedHosts": hosts,
        "server.corsAllowedOrigins": origins,
    }
    return [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, values in settings.items()
        for value in (values if isinstance(values, list) else [values])
    ]


def find_names(port, url=None):
    """Return the names of a server.

    Parameters
    ----------
    port : int
        The port.
    url : str or None, default=None
        Where a reverse proxy serves the page.

    Returns
    -------
    hosts : list of str
        The names by which requests may call it.
    origins : list of str
        Where readers find the page, as browsers write it.
    """
    if url is None:
        return [*LOCAL_NAMES], [f"http://{ADDRESS}:{port}"]
    parts = _split(url)
    is_default = parts.port in (None, {"http": 80, "https": 443}[parts.scheme])
    host = parts.hostname if is_default else f"{parts.hostname}:{parts.port}"
    return [*LOCAL_NAMES, parts.hostname], [f"{parts.scheme}://{host}"]


def _split(url):
    """Return the parts of a URL, as browsers write it, after a check."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        host = ""
    if not (
        _HOST.fullmatch(host)
        and parts.scheme in ("http", "https")
        and _PATH.fullmatch(parts.path)
        and not (parts.query or parts.fragment)
        and url.isprintable()  # a line break is ignored where a URL is split
    ):
        raise InvalidParameterError(
            f"url is {url!r}, expected where readers find the page, such as "
            "'https://reader.hospital.example'."
        )
    return parts._replace(netloc=host + port)
