"""featbus: medical images to features for scikit-learn.

The public names are those of ``__init__.pyi``, resolved on first use (PEP 562): importing featbus
costs next to nothing, and imports neither TensorFlow nor matplotlib nor xgboost.
"""

import logging
from importlib.metadata import distributions

import lazy_loader

# Distributed as featbus and as featbus-slim; the last is for a checkout that is not installed.
_found = (found for name in ("featbus", "featbus-slim") for found in distributions(name=name))
__version__ = next((found.version for found in _found), "0.dev0")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

logging.getLogger("featbus").addHandler(logging.NullHandler())
