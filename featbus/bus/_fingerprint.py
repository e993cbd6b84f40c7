"""Fingerprints: what determines the row that a transformer makes of an image."""

import copyreg
import functools
import hashlib
import importlib
import os
import random
import sys
import types
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import get_tags

from featbus.bus._code import attributes_in, closure_of, functions_of, globals_in, imports_in
from featbus.bus._packages import find_release

DIGEST_SIZE = 16
# Goes up whenever `read_image` or the conversions of `featbus.images` give other pixels, which also
# depend on the version of OpenCV.
_READER_VERSION = 2
# Parameters of estimators of these packages that change how they run, not their rows.
_IRRELEVANT = {"n_jobs", "verbose", "memory"}
_PACKAGES = {"featbus", "sklearn", "imblearn"}
_NOT_LEARNED = {
    "_sklearn_output_config",
    "_metadata_request",
    "feature_names_in_",
    "n_features_in_",
    "errors_",
}
# Attributes of classes that are no code, or made from the others.
_NOT_CODE = {
    "__abstractmethods__",
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__slotnames__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
}
_HIDING = {"__import__", "eval", "exec", "globals"}
_REMEDY = "rows made with it cannot be stored. {}, or use FeatureBus(..., memory=None)."
_RANDOM = (
    np.random.RandomState,
    np.random.Generator,
    np.random.BitGenerator,
    np.random.SeedSequence,
    random.Random,
)


class FingerprintError(ValueError):
    """A transformer whose rows cannot be stored, because its changes cannot be detected."""


def update_with_file(digest, path):
    """Update a hash with a file's bytes.

    Parameters
    ----------
    digest : hashlib hash
        Updated in place.
    path : str or os.PathLike
        The file.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)


def fingerprint(transformer):
    """Digest everything that determines the row a transformer makes of an image.

    What is featbus's own is identified by its class, the algorithm versions of the class and of its
    bases, its parameters and its learned state. Code of other installed packages is identified by
    name and version. All other code is identified by what will run: its byte code, defaults,
    closures, and the functions, classes, constants and files that it refers to.

    Parameters
    ----------
    transformer : estimator
        A transformer; a fitted one if it learns.

    Returns
    -------
    bytes of length 16
        BLAKE2b digest.

    Raises
    ------
    FingerprintError
        If it contains what cannot be followed: a random state or an iterator, which change with
        use, a folder, or an object that cannot be pickled.
    """
    walk = _Walk()
    try:
        readers = "featbus", _READER_VERSION, find_release("cv2")
        walk.feed((*readers, transformer), where=type(transformer).__name__)
    except RecursionError as error:
        raise FingerprintError(
            f"{type(transformer).__name__} is nested too deeply to be followed: "
            + _REMEDY.format("Use flatter parameters")
        ) from error
    return walk.digest.digest()


def _refuse(where, found, remedy):
    raise FingerprintError(f"{where} is {found}: {_REMEDY.format(remedy)}")


class _Walk:
    """A walk over everything that an object refers to, which updates a digest.

    Each value is enclosed in marks with its type, so that 1, "1" and [1] differ.
    """

    def __init__(self):
        self.digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
        self._codes = {}  # functions and classes that were followed, by their ids
        self._open = {}  # depths of the values that are being followed, by their ids

    def feed(self, value, where):
        """Update the digest with a value."""
        if type(value) in _PLAIN:
            text = hex(value) if type(value) is int else repr(value)
            self._update(f"<{type(value).__name__} {text}>")
            if type(value) is str:
                self._feed_named_file(value, where)
        elif id(value) in self._open:
            self._update(f"<cycle {self._open[id(value)]}>")
        else:
            self._open[id(value)] = len(self._open)
            self._update(f"<{type(value).__module__}.{type(value).__qualname__}>")
            self._method_for(value)(self, value, where)
            self._update("</>")
            del self._open[id(value)]

    def _update(self, content):
        """Update with text or bytes, and their length: "ab", "c" differs from "a", "bc"."""
        if isinstance(content, str):
            content = content.encode(errors="surrogatepass")
        self.digest.update(len(content).to_bytes(8, "little"))
        self.digest.update(content)

    def _update_with_file(self, path):
        digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
        update_with_file(digest, path)
        self._update(digest.digest())

    def _method_for(self, value):
        if type(value) in _EXACT:
            return _EXACT[type(value)]
        found = (feed for kinds, feed in _KINDS if isinstance(value, kinds))
        return next(found, _Walk._feed_object)

    # Data

    def _feed_array(self, array, where):
        """Update with an array; `dtype.str` would leave out the fields of a structured one."""
        self._update(f"{array.dtype!r}{array.shape}")
        if array.dtype.hasobject or array.dtype.kind not in "biufcSUV":
            self.feed(array.ravel().tolist(), where)
        else:
            self._update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def _feed_scalar(self, scalar, where):
        self._feed_array(np.asarray(scalar), where)

    def _feed_dtype(self, dtype, where):
        self._update(f"{dtype!r}{dtype.metadata!r}")

    def _feed_sequence(self, sequence, where):
        for index, value in enumerate(sequence):
            self.feed(value, f"{where}[{index}]")

    def _feed_set(self, values, where):
        """Update with digests in order: a set has no order, and the repr of a value no meaning."""
        parts = []
        for value in values:
            walk = _Walk()
            walk.feed(value, where)
            parts.append(walk.digest.digest())
        self.feed(sorted(parts), where)

    def _feed_dict(self, dictionary, where):
        for key, value in dictionary.items():
            self.feed(key, where)
            self.feed(value, f"{where}.{key}")

    def _feed_path(self, path, where):
        self._update(os.fspath(path))
        if Path(path).is_file():
            self._update_with_file(path)
        elif Path(path).is_dir():
            _refuse(where, f"the folder {os.fspath(path)!r}", "Name its files")

    def _feed_named_file(self, text, where):
        """Update with the content of the file that a string names, if it names one."""
        if not 0 < len(text) < 1024 or "\0" in text:
            return
        if os.path.isfile(text):
            self._update_with_file(text)
        elif os.sep in text and text.strip(f".{os.sep}") and os.path.isdir(text):
            _refuse(where, f"the folder {text!r}", "Name its files")

    def _feed_random_state(self, state, where):
        found = f"a {type(state).__name__}, whose numbers change with each use"
        _refuse(where, found, "Use a seed: an int")

    # Code

    def _feed_module(self, module, where):
        names = [name for name in vars(module) if not name.startswith("__")]
        self._feed_attributes(module, names, where)

    def _feed_attributes(self, module, names, where):
        """Update with what a function may use of a module."""
        release = find_release(module.__name__)
        self._update(f"{module.__name__} {release}")
        if release is not None:
            return
        self._feed_extension(module.__name__)
        for name in sorted(names):
            if name in vars(module):
                self._update(name)
                self._feed_global(vars(module)[name], names, f"{where}.{name}")

    def _feed_extension(self, module):
        """Update with the file of a module that is not written in Python."""
        path = getattr(sys.modules.get(module), "__file__", None)
        if path is not None and not path.endswith((".py", ".pyc")):
            self._update_with_file(path)

    def _is_known(self, value):
        """Update with the number of a function or a class that was met before."""
        known = id(value) in self._codes
        number, _ = self._codes.setdefault(id(value), (len(self._codes), value))
        self._update(f"<{number}>")
        return known

    def _is_released(self, value, name):
        """Update with the name and the release of what a name leads to in an installed package."""
        module = getattr(value, "__module__", None)
        release = find_release(module)
        if release is None or _look_up(module, name) is not value:
            return False
        self._update(f"{module}.{name} {release}")
        return True

    def _feed_function(self, function, where):
        if self._is_known(function) or self._is_released(function, function.__qualname__):
            return
        self._update(function.__qualname__)
        self.feed(function.__code__, where)
        self.feed((function.__defaults__, function.__kwdefaults__, vars(function)), where)
        self._feed_dict(closure_of(function), where)
        self._feed_globals(function, where)

    def _feed_globals(self, function, where):
        """Update with the globals that a function refers to, and the modules that it imports."""
        space, names = function.__globals__, attributes_in(function.__code__)
        loaded = globals_in(function.__code__)
        if hidden := sorted((loaded - space.keys()) & _HIDING):
            _refuse(where, f"a function that calls {hidden[0]}, which hides code", "Do without")
        for name in sorted(loaded & space.keys()):
            self._update(name)
            self._feed_global(space[name], names, f"{where}.{name}")
        for name in sorted(imports_in(function.__code__, space.get("__package__"))):
            self._feed_import(name, names, where)

    def _feed_global(self, value, names, where):
        """Update with a global of a function that uses these names."""
        if isinstance(value, types.ModuleType) and id(value) not in self._open:
            self._open[id(value)] = len(self._open)
            self._feed_attributes(value, names, where)
            del self._open[id(value)]
        else:
            self.feed(value, where)

    def _feed_import(self, name, names, where):
        release = find_release(name)
        self._update(f"import {name} {release}")
        if release is not None:
            return
        try:
            module = importlib.import_module(name)
        except ImportError:
            return  # as when the function runs
        self._feed_global(module, names, where)

    def _feed_code(self, code, where):
        """Update with byte code and constants, not with file names and line numbers."""
        layout = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
        table = getattr(code, "co_exceptiontable", b"")
        self._update(f"{sys.version_info[:2]}{layout}{names}{code.co_code!r}{table!r}")
        self._feed_sequence(code.co_consts, where)

    def _feed_class(self, cls, where):
        """Update with a class and its bases."""
        if self._is_known(cls):
            return
        for base in cls.__mro__:
            if base.__module__.partition(".")[0] == "featbus":
                version = vars(base).get("_algorithm_version")
                self._update(f"{base.__module__}.{base.__qualname__} {version}")
            elif not self._is_released(base, base.__qualname__):
                self._feed_class_body(base, where)

    def _feed_class_body(self, cls, where):
        self._update(cls.__qualname__)
        self.feed(type(cls), where)
        for name in sorted(vars(cls).keys() - _NOT_CODE):
            member = vars(cls)[name]
            if isinstance(member, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                continue
            self._update(name)
            self.feed(functions_of(member), f"{where}.{name}")

    def _feed_method(self, method, where):
        self.feed((method.__func__, method.__self__), where)

    def _feed_ufunc(self, function, where):
        """Update with the name of a ufunc; one made by `numpy.frompyfunc` has none."""
        name = function.__name__
        for module in ("numpy", "scipy.special"):
            if _look_up(module, name) is function:
                return self._update(f"{module}.{name} {find_release(module)}")
        _refuse(where, f"the ufunc {name!r}, whose code is hidden", "Use numpy.vectorize")

    # Objects

    def _feed_estimator(self, estimator, where):
        cls = type(estimator)
        self.feed(cls, where)
        # Asked of the class: a FrozenEstimator hands on the attributes of the estimator inside.
        describe = getattr(cls, "_fingerprint_params", None)
        parameters = estimator.get_params(deep=False)
        skipped = _IRRELEVANT if cls.__module__.partition(".")[0] in _PACKAGES else set()
        described = describe(estimator) if describe else parameters
        self._feed_dict(_sorted(described, skipped), where)
        if describe is None or get_tags(estimator).requires_fit:
            self._feed_dict(_sorted(vars(estimator), _NOT_LEARNED | parameters.keys()), where)

    def _feed_object(self, value, where):
        """Update with any other object: what it would be pickled as, and its code."""
        if hasattr(type(value), "__next__"):
            found = f"a {type(value).__name__}, which changes with each use"
            _refuse(where, found, "Use a list")
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        except Exception as error:
            raise FingerprintError(
                f"{where} is a {type(value).__name__} that cannot be pickled ({error}): "
                + _REMEDY.format("Use an object that can")
            ) from error
        if isinstance(reduced, str):
            self._feed_named(value, reduced, where)
        else:
            self._feed_reduced(value, reduced, where)

    def _feed_reduced(self, value, reduced, where):
        make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        self.feed(type(value), where)
        self.feed(make, where)
        self._feed_sequence(arguments, where)
        if isinstance(state, dict):
            self._feed_dict(_sorted(state), where)
        else:
            self.feed(state, where)
        self.feed(None if items is None else list(items), where)
        self.feed(None if pairs is None else [list(pair) for pair in pairs], where)

    def _feed_named(self, value, name, where):
        """Update with what is pickled by its name, such as a function written in C."""
        if self._is_released(value, name):
            return
        if hasattr(value, "__wrapped__"):
            return self.feed(value.__wrapped__, where)
        module = getattr(value, "__module__", None)
        if _look_up(module, name) is not value:
            _refuse(where, f"{name!r} of module {module!r}, which is not found there", "Rename it")
        self._update(f"{module}.{name}")
        self._feed_extension(module)


def _sorted(attributes, skipped=()):
    """Return a dict of attributes in the order of their names."""
    return {k: attributes[k] for k in sorted(attributes, key=str) if k not in skipped}


def _look_up(module, name):
    """Return the object of this name; None if there is none."""
    try:
        return functools.reduce(getattr, name.split("."), sys.modules[module])
    except (KeyError, AttributeError):
        return None


_PLAIN = {type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented)}
_EXACT = {
    np.ndarray: _Walk._feed_array,
    np.memmap: _Walk._feed_array,
    list: _Walk._feed_sequence,
    tuple: _Walk._feed_sequence,
    set: _Walk._feed_set,
    frozenset: _Walk._feed_set,
    dict: _Walk._feed_dict,
    types.MappingProxyType: _Walk._feed_dict,
    types.FunctionType: _Walk._feed_function,
    types.MethodType: _Walk._feed_method,
    types.CodeType: _Walk._feed_code,
    types.ModuleType: _Walk._feed_module,
}
_KINDS = [  # the first match counts
    (np.generic, _Walk._feed_scalar),
    (np.dtype, _Walk._feed_dtype),
    (os.PathLike, _Walk._feed_path),
    (_RANDOM, _Walk._feed_random_state),
    (np.ufunc, _Walk._feed_ufunc),
    (type, _Walk._feed_class),
    (BaseEstimator, _Walk._feed_estimator),
]
