"""Streamlit's settings, as flags of its command: neither files nor variables can override them."""

from urllib.parse import urlsplit

from featbus.parameters import InvalidParameterError

ADDRESS = "127.0.0.1"
MEGABYTES = 50  # of an upload
PIXELS = 50_000_000  # of an image, unless the environment says otherwise

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
    hosts, origin, folder = [ADDRESS, "localhost"], [], ""
    if url is not None:
        parts = _split(url)
        hosts, folder = [*hosts, parts.hostname], parts.path.strip("/")
        origin = [f"{parts.scheme}://{parts.netloc}"]
    settings = _SETTINGS | {
        "server.port": port,
        "server.headless": not browser,
        "server.baseUrlPath": folder,
        "server.allowedHosts": hosts,
        "server.corsAllowedOrigins": origin or [f"http://{ADDRESS}:{port}"],
    }
    return [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, values in settings.items()
        for value in (values if isinstance(values, list) else [values])
    ]


def _split(url):
    """Return the parts of a URL, after a check."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidParameterError(
            f"url is {url!r}, expected where readers find the page, such as "
            "'https://reader.hospital.example'."
        )
    return parts
