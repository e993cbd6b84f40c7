"""Packages: which code is released, so that its version identifies it."""

import functools
import hashlib
import importlib.metadata
import importlib.util
import platform
import sys
import sysconfig
from pathlib import Path

# Found without reading the metadata of all installed packages, which takes half a second.
_DEPENDENCIES = {"cv2", "imblearn", "joblib", "numpy", "pandas", "scipy", "skimage", "sklearn"}
_FOLDERS = {"site-packages", "dist-packages"}


def find_release(module):
    """Return the released package that a module belongs to.

    Parameters
    ----------
    module : str or None
        Name of the module.

    Returns
    -------
    str or None
        Name and version; of a package that was not installed from an index, such as a wheel of
        one's own, also the digests of its files. None if the module is not installed, or installed
        in editable mode: its code may change while its version does not.
    """
    return None if module is None else _find_release(module.partition(".")[0])


@functools.cache
def _find_release(root):
    if root == "featbus":
        return f"featbus {sys.modules['featbus'].__version__}"
    folder = _folder_of(root)
    if root in sys.stdlib_module_names and folder in (None, *_standard_folders()):
        return f"python {platform.python_version()}"
    if folder is None:
        return None
    if root in _DEPENDENCIES and folder.name in _FOLDERS and root in sys.modules:
        return f"{root} {sys.modules[root].__version__}"
    names = importlib.metadata.packages_distributions().get(root, [])
    found = [importlib.metadata.distribution(name) for name in sorted(set(names))]
    found = [package for package in found if Path(package.locate_file("")).resolve() == folder]
    return ", ".join(map(_describe, found)) or None


def _folder_of(root):
    """Return the folder that holds a top-level module; None if it is built in or unknown."""
    module = sys.modules.get(root)
    spec = getattr(module, "__spec__", None)
    if module is None:
        spec = importlib.util.find_spec(root)
    places = list(getattr(spec, "submodule_search_locations", None) or [])
    file = places[0] if places else getattr(spec, "origin", None)
    if file is None or not Path(file).exists():
        return None
    return Path(file).resolve().parent


def _standard_folders():
    folders = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    return [*folders, *(folder / "lib-dynload" for folder in folders)]


def _describe(package):
    description = f"{package.name} {package.version}"
    if package.read_text("direct_url.json") is None:
        return description
    record = (package.read_text("RECORD") or "").encode()
    return f"{description} {hashlib.blake2b(record, digest_size=16).hexdigest()}"
