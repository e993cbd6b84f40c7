"""What the commands do: from a folder of images to features, a model, predictions and an audit.

Importing this package imports nothing heavy: the public names, which are those of ``__init__.pyi``,
are resolved on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
