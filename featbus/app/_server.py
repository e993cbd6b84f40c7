"""What Streamlit's settings do not reach: changes of its server, for this process."""

import os

from starlette.formparsers import MultiPartParser
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from streamlit import config, net_util
from streamlit.web.server import server
from streamlit.web.server.starlette import starlette_app

from featbus.app._guard import Guard
from featbus.app._sessions import Sessions
from featbus.app._settings import MEGABYTES


def prepare_server(hosts, origins):
    """Have Streamlit keep, ask and tell nothing, and answer the page's own requests only.

    Parameters
    ----------
    hosts : list of str
        The names of the server.
    origins : list of str
        Where readers find the page.
    """
    _ignore_configuration()
    _guard_requests(hosts, origins)
    server.MemorySessionStorage = Sessions
    # By default, uploads above 1 MB become temporary files.
    MultiPartParser.spool_max_size = (MEGABYTES + 1) * 1024**2
    # By default, a request from another site has a server on the internet asked for an address.
    net_util.get_internal_ip = net_util.get_external_ip = lambda: None


def _ignore_configuration():
    """Leave the flags as the only settings."""
    config.get_config_files = lambda name: []
    for name in [*os.environ]:
        if name.startswith("STREAMLIT_"):
            del os.environ[name]


def _guard_requests(hosts, origins):
    create = starlette_app.create_streamlit_middleware

    def create_middleware():
        return [
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
            Middleware(Guard, origins=origins),
            *create(),
        ]

    starlette_app.create_streamlit_middleware = create_middleware
