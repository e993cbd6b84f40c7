"""Packages: which code is released, so that its version identifies it."""

import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import platform
import sys
import sysconfig
from pathlib import Path

# Found without reading the metadata of all installed packages.
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
    return None if module is None else _find_release(module)


@functools.cache
def _find_release(module):
    root = module.partition(".")[0]
    if root == "featbus":
        return f"featbus {sys.modules['featbus'].__version__}"
    file = _file_of(module)
    if root in sys.stdlib_module_names and (file is None or _is_standard(file)):
        return f"python {platform.python_version()}"
    if file is None:
        return None
    folder = _file_of(root).parent.parent if root in _DEPENDENCIES else None
    if folder is not None and folder.name in _FOLDERS and file.is_relative_to(folder / root):
        return f"{root} {importlib.import_module(root).__version__}"
    names = sorted(set(_distributions().get(root, [])))
    packages = map(importlib.metadata.distribution, names)
    return ", ".join(_describe(package) for package in packages if _holds(package, file)) or None


# Reads the metadata of all installed packages, which takes half a second.
_distributions = functools.cache(importlib.metadata.packages_distributions)


def _file_of(module):
    """Return the file of a module; None if it is built in or unknown."""
    found = sys.modules.get(module)
    try:
        spec = importlib.util.find_spec(module) if found is None else found.__spec__
    except (ImportError, AttributeError, ValueError):
        spec = None
    # Not asked of the module: its `__getattr__` might answer.
    file = getattr(found, "__dict__", {}).get("__file__") or getattr(spec, "origin", None)
    return Path(file).resolve() if file is not None and Path(file).is_file() else None


def _is_standard(file):
    folders = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
    return any(map(file.is_relative_to, folders)) and not _FOLDERS & set(file.parts)


def _holds(package, file):
    """Tell whether a package was installed, and this file with it."""
    folder = Path(package.locate_file("")).resolve()
    if not file.is_relative_to(folder):
        return False
    return file.relative_to(folder).as_posix() in _files(package.name)


@functools.cache
def _files(name):
    """Return the files that were installed with a package; none of one that is only being built."""
    record = importlib.metadata.distribution(name).read_text("RECORD") or ""
    return {line.split(",")[0].strip('"') for line in record.splitlines()}


def _describe(package):
    description = f"{package.name} {package.version}"
    if package.read_text("direct_url.json") is None:
        return description
    record = (package.read_text("RECORD") or "").encode()
    return f"{description} {hashlib.blake2b(record, digest_size=16).hexdigest()}"
