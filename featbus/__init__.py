"""featbus: medical images to features for scikit-learn.

The public names are those of ``__init__.pyi``, resolved on first use (PEP 562): importing featbus
costs next to nothing, and imports neither TensorFlow nor matplotlib nor xgboost.
"""

import logging
from importlib.metadata import PackageNotFoundError, version

import lazy_loader

try:
    __version__ = version("featbus")
except PackageNotFoundError:
    __version__ = version("featbus-slim")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

logging.getLogger("featbus").addHandler(logging.NullHandler())
