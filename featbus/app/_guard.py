"""Which requests the server of the page answers, by their headers."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from featbus.app._settings import LOCAL_NAMES

_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


class Guard:
    """ASGI middleware that refuses requests from other sites, and to be shown in their frames.

    Parameters
    ----------
    app : callable
        The application.
    origins : list of str
        Where the page is found, apart from ports of this machine that lead to it, such as those of
        tunnels.
    """

    def __init__(self, app, origins):
        self.app = app
        self.origins = origins

    async def __call__(self, scope, receive, send):
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif self._is_own(Headers(scope=scope)):
            await self.app(scope, receive, _with_headers(send))
        else:
            await PlainTextResponse("Forbidden", status_code=403)(scope, receive, send)

    def _is_own(self, headers):
        origins = headers.getlist("origin")  # only browsers send one
        if len(origins) != 1:
            return not origins
        host = headers.get("host", "")
        is_local = host.partition(":")[0] in LOCAL_NAMES
        return origins[0] in self.origins or (is_local and origins[0] == f"http://{host}")


def _with_headers(send):
    async def send_with_headers(message):
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return send_with_headers
