"""The key of a row: the fingerprint of its transformer, and the digest of its image."""

from __future__ import annotations

import dis
import functools
import hashlib
import os
import pickle
import platform
import sys
import time
import types
from contextlib import suppress
from itertools import count
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from joblib.hashing import Hasher
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

from featbus.images import ImageError, is_path, update_digest
from featbus.io import ImageReadError, SpacedImage, split_frame
from featbus.parameters import InvalidParameterError
from featbus.typing import PathLike

# Goes up whenever `read_image` or the conversions of `featbus.images` give other pixels, which also
# depend on the version of OpenCV.
_READER_VERSION = 3
# Parameters of estimators of these packages that change how they run, not their rows.
_IRRELEVANT = {"n_jobs", "verbose", "memory"}
_PACKAGES = {"featbus", "sklearn", "imblearn"}
# Attributes that they set in `fit` only to check later input.
_CHECKED = {"feature_names_in_", "n_features_in_"}
_NOT_LEARNED = {"_sklearn_output_config", "_metadata_request"}
_DESCRIPTORS = property, staticmethod, classmethod, functools.cached_property
CHECKED = set()  # fingerprints that are the same in this process as in the main process
_TICK = 3_000_000_000  # nanoseconds; the coarsest clock of a file system, FAT's, ticks every 2 s


class FingerprintError(ValueError):
    """A transformer whose rows cannot be stored, because its changes cannot be detected.

    Read more in the :ref:`User Guide <feature_bus>`.

    See Also
    --------
    featbus.FeatureBus : Raises it.
    """


def fingerprint(transformer: Any, version: str | int | None = None) -> bytes:
    """Digest what determines the row a transformer makes of an image.

    A featbus class is identified by its name and the algorithm versions of its bases, a class of
    another package that extends it by these and the releases of its bases, other installed code by
    its name and release, the user's own functions and classes, and functions of a development
    version of featbus, by their byte code, defaults, closures and the globals that they use;
    estimators also by parameters and learned state. Of modules that the user's code calls in turn,
    only the names are used.

    Parameters
    ----------
    transformer : estimator
        A transformer; a fitted one if it learns.
    version : str, int or None, default=None
        The version of what the fingerprint cannot see.

    Returns
    -------
    bytes of length 16
        The digest: equal in all processes.

    Raises
    ------
    FingerprintError
        If the transformer contains a random state or an iterator, which change with use, or an
        object that cannot be pickled.
    """
    try:
        settings = _READER_VERSION, _find_release("cv2"), get_config()["transform_output"]
        return bytes.fromhex(_Pickler().hash((settings, version, transformer)))
    except (FingerprintError, InvalidParameterError, NotFittedError, OSError, ImportError):
        raise
    except Exception as error:
        raise FingerprintError(
            f"{type(transformer).__name__} contains an object that cannot be pickled ({error}), so "
            "its rows cannot be stored. Use other parameters, or FeatureBus(..., memory=None)."
        ) from error


def check_key(transformer, version, key):
    """Raise a `FingerprintError` if a transformer has another fingerprint in this process."""
    if key is not None and key not in CHECKED:
        if fingerprint(transformer, version) != key:
            raise FingerprintError(
                f"{type(transformer).__name__} differs between this worker and the main process, "
                "in code, files or packages. Start new workers, or use threads."
            )
        CHECKED.add(key)


def describe_transformer(transformer):
    """Return a transformer as people read it, in one line."""
    return " ".join(str(transformer).split())


class _Pickler(Hasher):
    """Pickles what rows depend on, without file names and line numbers.

    Equal values are pickled alike, whether they are one object or several, because the constants
    that Python shares differ between processes.
    """

    def __init__(self):
        super().__init__()
        self._count = count()

    def save(self, obj):
        is_open = id(obj) in self.memo
        super().save(obj)
        if not is_open and not isinstance(obj, (types.FunctionType, type)):
            self.memo.pop(id(obj), None)

    def memoize(self, obj):
        number = next(self._count)
        self.write(self.put(number))
        self.memo[id(obj)] = number, obj

    def save_global(self, obj, name=None):
        """Pickle an object by its name and the release of its package."""
        name = name or obj.__qualname__
        release = _find_release(pickle.whichmodule(obj, name))
        if release is None and hasattr(obj, "__wrapped__"):  # such as a function with a cache
            return self.save(obj.__wrapped__)
        self.save(release)
        super(Hasher, self).save_global(obj, name)

    def reducer_override(self, obj):
        is_random = type(obj).__module__.startswith(("numpy.random", "random"))
        if is_random or hasattr(type(obj), "__next__"):
            raise FingerprintError(
                f"found a {type(obj).__name__}, which changes with each use, so rows cannot be "
                "stored. Use a seed or a list, or FeatureBus(..., memory=None)."
            )
        return _reduce(obj)


@functools.singledispatch
def _reduce(value):
    """Return a function, its arguments and a state to pickle in place of a value."""
    return NotImplemented


@_reduce.register
def _(estimator: BaseEstimator):
    output = vars(estimator).get("_sklearn_output_config")  # the next step gets an array or a table
    return dict, ("estimator",), (_describe(estimator), output)


def _describe(estimator):
    """Return class, parameters and learned state of an estimator."""
    cls, parameters = type(estimator), estimator.get_params(deep=False)
    package = cls.__module__.partition(".")[0]
    learned = vars(estimator).keys() - parameters.keys() - _NOT_LEARNED
    # Asked of the class: a FrozenEstimator delegates attributes.
    find_params = getattr(cls, "_fingerprint_params", None)
    if find_params is not None:
        described = find_params(estimator)
        # A subclass of the user's may have parameters that an inherited hook does not know.
        is_complete = package == "featbus" or "_fingerprint_params" in vars(cls)
        parameters = described if is_complete else parameters | described
        learned -= {"errors_"}
    if package in _PACKAGES:
        parameters = {k: v for k, v in parameters.items() if k not in _IRRELEVANT}
        learned -= _CHECKED
    if package == "featbus":
        if parameters.get("dtype") is not None:
            parameters["dtype"] = np.dtype(parameters["dtype"]).str
        if not get_tags(estimator).requires_fit:
            learned = set()
    state = {name: vars(estimator)[name] for name in learned}
    return cls, *(sorted(part.items(), key=lambda item: item[0]) for part in (parameters, state))


@_reduce.register
def _(cls: type):
    roots = [base.__module__.partition(".")[0] for base in cls.__mro__]
    versions = [vars(base).get("_algorithm_version") for base in cls.__mro__]
    if _is_released(cls) and roots[0] != "featbus":
        if not any(versions):
            return cls.__qualname__
        versions += map(_find_release, sorted({*roots} - {"featbus"}))
    if _is_released(cls) or roots[0] == "featbus":
        return dict, (f"{cls.__module__}.{cls.__qualname__}", versions)
    members = [
        (name, member)
        for name, member in sorted(vars(cls).items())
        # The first two change with use, the last has annotations, since Python 3.14.
        if name not in ("_abc_impl", "_value2member_map_", "__annotate_func__")
        and not isinstance(member, types.MemberDescriptorType)  # of a slot
        and (not name.startswith("__") or callable(member) or isinstance(member, _DESCRIPTORS))
    ]
    return dict, (cls.__qualname__,), (type(cls), cls.__bases__, members)


@_reduce.register
def _(function: types.FunctionType):
    if _is_released(function):
        return function.__qualname__
    code, space = function.__code__, function.__globals__
    used = [(name, space[name]) for name in sorted(_globals_in(code) & space.keys())]
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    attributes = function.__defaults__, function.__kwdefaults__, vars(function)
    return dict, (function.__name__,), (code, attributes, cells, used)


def _globals_in(code):
    """Return the names of globals that code loads, and the functions and classes defined in it."""
    loads = dis.get_instructions(code)
    names = {load.argval for load in loads if load.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return names.union(*map(_globals_in, inner))


@_reduce.register
def _(code: types.CodeType):
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    layout = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    return dict, (code.co_code, code.co_exceptiontable, repr((layout, names)), code.co_consts)


@_reduce.register
def _(module: types.ModuleType):
    return dict, (module.__name__, _find_release(module.__name__))


@_reduce.register
def _(descriptor: property | staticmethod | classmethod | functools.cached_property):
    names = "fget", "fset", "fdel", "__func__", "func"
    functions = [getattr(descriptor, name, None) for name in names]
    return dict, (type(descriptor).__name__, functions)


@_reduce.register
def _(array: np.ndarray):
    if type(array) not in (np.ndarray, np.memmap) or array.dtype.hasobject:
        return NotImplemented
    # Joblib hands large arrays to its workers as memory maps.
    content = _blake2b(array.tobytes()).digest()
    is_transposed = array.flags.f_contiguous and not array.flags.c_contiguous
    return dict, ("array", array.dtype, array.shape, is_transposed, content)


@_reduce.register
def _(values: set | frozenset):
    return dict, (type(values).__name__, sorted(_Pickler().hash(value) for value in values))


@_reduce.register
def _(values: dict):
    if type(values) is not dict:
        return NotImplemented
    return dict, (), None, iter(values.items())  # in their order


@_reduce.register
def _(path: str | PurePath):
    # The content counts, too, unless SQLite uses the file: closing it would drop SQLite's locks.
    name = os.fspath(path)
    if not 0 < len(name) < 1024 or not os.path.isfile(name) or os.path.exists(f"{name}-wal"):
        return NotImplemented
    return dict, (os.fsencode(name), _digest_file(name))


def _is_released(code):
    """Return whether an installed package has a function or class under its name."""
    found = sys.modules.get(code.__module__)
    for name in code.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is code and _find_release(code.__module__) is not None


@functools.cache
def _find_release(module):
    """Return name and version of the installed package of a module; None for the user's own."""
    root = module.partition(".")[0]
    package = sys.modules.get(root)
    file = Path(getattr(package, "__file__", None) or os.__file__)
    if root in sys.stdlib_module_names and file.is_relative_to(Path(os.__file__).parent):
        return f"python {platform.python_version()}"
    version = getattr(package, "__version__", None)
    is_installed = {"site-packages", "dist-packages"} & {*file.parts}
    # A new commit of featbus changes the keys of those functions alone that it changes.
    is_released = ".dev" not in version if root == "featbus" else is_installed
    return f"{root} {version}" if version and is_released else None


def digest_image(item: np.ndarray | PathLike) -> bytes:
    """Digest the content of an image.

    Parameters
    ----------
    item : ndarray, MaskedArray, path or SpacedImage
        One item of a batch, see :ref:`images`. Of a file, only its bytes are used, neither its name
        nor its time stamp. The spacing of a `SpacedImage` counts, too.

    Returns
    -------
    bytes of length 16
        BLAKE2b digest.

    Raises
    ------
    ImageError
        If the file cannot be read (an `ImageReadError`), or an array does not contain numbers.
    """
    if isinstance(item, SpacedImage):
        content = digest_image(item.image) + repr(item.spacing).encode()
        return _blake2b(content).digest()
    if is_path(item):
        file, frame = split_frame(item)
        digest = _digest_file(file)
        return digest if frame is None else _blake2b(digest + b"#%d" % frame).digest()
    image = np.asanyarray(item)
    if image.dtype.kind not in "biufc":  # the bytes of an array of objects are addresses
        raise ImageError(f"found dtype {image.dtype}, expected numbers. Convert it: astype.")
    digest = _blake2b()
    update_digest(digest, image)
    return digest.digest()


def try_digest(item):
    """Return the digest of an image, or None if it cannot be read: computing its row says why."""
    with suppress(ValueError):
        return digest_image(item)


def _digest_file(path):
    """Return the digest of a file's bytes, which are read again only if the file was written."""
    try:
        found = os.stat(path)
        status = found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        # Two changes within one tick of the file system's clock look like one, and on Windows the
        # last number is the time of creation: in both cases the bytes have to be read.
        settled = time.time_ns() - max(status[2:]) > _TICK
        digest = _digest_bytes if os.name == "posix" and settled else _digest_bytes.__wrapped__
        return digest(path, status)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"the file cannot be read ({reason}). Check the path and the permissions."
        raise ImageReadError(message, path=path) from error


@functools.lru_cache(maxsize=1 << 16)
def _digest_bytes(path, status):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: _blake2b(b"file")).digest()


_blake2b = functools.partial(hashlib.blake2b, digest_size=16)
