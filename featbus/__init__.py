"""featbus: medical images to features for scikit-learn.

The public names are those of ``__init__.pyi``, resolved on first use (PEP 562): importing featbus
costs next to nothing, and imports neither TensorFlow nor matplotlib nor xgboost.
"""

import logging
from importlib.metadata import distributions

import lazy_loader

# Distributed as featbus and as featbus-slim, whose extras have the same names; the last is for a
# checkout that is not installed.
_names = "featbus", "featbus-slim"
_found = ((name, found.version) for name in _names for found in distributions(name=name))
DISTRIBUTION, __version__ = next(_found, ("featbus", "0.dev0"))
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

logging.getLogger("featbus").addHandler(logging.NullHandler())
