"""Fingerprints: what determines the row that a transformer makes of an image."""

import copyreg
import functools
import hashlib
import importlib
import os
import pickle
import random
import sys
import threading
import types
from pathlib import Path, PurePath
from typing import TypeVar

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from featbus.bus._code import attributes_in, closure_of, functions_of, globals_in, imports_in
from featbus.bus._packages import find_release
from featbus.parameters import InvalidParameterError

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
# Functions and attributes that run, or reach, code that cannot be seen.
_HIDDEN = eval, exec, globals, __import__
_RUNNING = {hidden.__name__ for hidden in _HIDDEN}
_HIDING = {"__globals__", "__import__", "_getframe", "f_globals", "import_module"}
_REMEDY = "rows made with it cannot be stored. {}, or use FeatureBus(..., memory=None)."
_RANDOM = (
    np.random.RandomState,
    np.random.Generator,
    np.random.BitGenerator,
    np.random.SeedSequence,
    random.Random,
)
_LOCKS = type(threading.Lock()), type(threading.RLock())


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
        use, a folder, code that is run by `eval` and the like, or an object that cannot be pickled.
    """
    walk = _Walk()
    try:
        readers = "featbus", _READER_VERSION, find_release("cv2")
        walk.feed((*readers, transformer), where=type(transformer).__name__)
    except (FingerprintError, InvalidParameterError, NotFittedError, OSError, ImportError):
        raise
    except RecursionError as error:
        raise FingerprintError(
            f"{type(transformer).__name__} is nested too deeply to be followed: "
            + _REMEDY.format("Use flatter parameters")
        ) from error
    except Exception as error:  # of an object whose own methods raise
        raise FingerprintError(
            f"{type(transformer).__name__} cannot be followed ({error!r}): "
            + _REMEDY.format("Use other parameters")
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
        self._open = {}  # depths of the values that are being followed, by their ids
        self._done = {}  # digests of those that were followed, and the values, which stay alive

    def feed(self, value, where):
        """Update the digest with a value, or with the digest of what it refers to."""
        if type(value) in _PLAIN:
            self._feed_plain(value, where)
        else:
            self._follow(value, id(value), self._method_for(value), where)

    def _feed_plain(self, value, where):
        text = hex(value) if type(value) is int else repr(value)
        self._update(f"<{type(value).__name__} {text}>")
        if type(value) in (str, bytes):
            self._feed_named_file(value, where)

    def _follow(self, value, key, feed, where):
        """Update with the digest of a value, which is followed once."""
        if key in self._open:
            return self._update(f"<cycle {len(self._open) - self._open[key]}>")
        if key not in self._done:
            self._open[key] = len(self._open)
            outer, self.digest = self.digest, hashlib.blake2b(digest_size=DIGEST_SIZE)
            self._update(f"<{type(value).__module__}.{type(value).__qualname__}>")
            feed(self, value, where)
            self._done[key] = self.digest.digest(), value
            self.digest = outer
            del self._open[key]
        self._update(self._done[key][0])

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
        is_transposed = array.flags.f_contiguous and not array.flags.c_contiguous
        self._update(f"{array.dtype!r}{array.shape}{is_transposed}")
        if array.dtype.kind in "mM":
            array = array.view(np.int64)
        if array.dtype.hasobject or array.dtype.kind not in "biufcSUV":
            self.feed(array.ravel().tolist(), where)
        else:
            self._update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def _feed_scalar(self, scalar, where):
        self._feed_array(np.asarray(scalar), where)
        if isinstance(scalar, np.str_):
            self._feed_named_file(str(scalar), where)

    def _feed_dtype(self, dtype, where):
        self._update(f"{dtype!r}{dtype.metadata!r}")

    def _feed_sequence(self, sequence, where):
        self._update(f"{len(sequence)} items")
        for index, value in enumerate(sequence):
            self.feed(value, f"{where}[{index}]")

    def _feed_set(self, values, where):
        """Update with digests in order: a set has no order, and the repr of a value no meaning."""
        outer, parts = self.digest, []
        for value in values:
            self.digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
            self.feed(value, where)
            parts.append(self.digest.digest())
        self.digest = outer
        self._feed_sequence(sorted(parts), where)

    def _feed_dict(self, dictionary, where):
        self._update(f"{len(dictionary)} pairs")
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
        text = text if isinstance(text, str) else os.fsdecode(text)
        if not 0 < len(text) < 1024 or "\0" in text:
            return
        # The files of the system that never end have no size.
        if os.path.isfile(text) and os.path.getsize(text):
            self._update_with_file(text)
        elif os.sep in text and text.strip(f".{os.sep}") and os.path.isdir(text):
            _refuse(where, f"the folder {text!r}", "Name its files")

    def _feed_random_state(self, state, where):
        found = f"a {type(state).__name__}, whose numbers change with each use"
        _refuse(where, found, "Use a seed: an int")

    # Code

    def _feed_module(self, module, where):
        """Update with a module that is handed on as a value: anything in it may be used."""
        names = {name for name in vars(module) if not name.startswith("__")}
        self._feed_attributes(module, names, where)

    def _feed_attributes(self, module, names, where):
        """Update with what a function may use of a module."""
        release = find_release(module.__name__)
        self._update(f"{module.__name__} {release}")
        if release is not None:
            return
        self._feed_extension(module.__name__)
        space = vars(module)
        for name in sorted(names):
            if name in space:
                self._update(name)
                self._feed_global(space[name], name, names, f"{where}.{name}")
        if "__getattr__" in space and names - space.keys():
            self.feed(space["__getattr__"], where)

    def _feed_extension(self, module):
        """Update with the file of a module that is not written in Python."""
        path = vars(sys.modules[module]).get("__file__") if module in sys.modules else None
        if path is not None and not os.fspath(path).endswith((".py", ".pyc")):
            self._update_with_file(path)

    def _is_released(self, value, name):
        """Update with the name and the release of what a name leads to in an installed package."""
        module = getattr(value, "__module__", None)
        release = find_release(module)
        if release is None or _look_up(module, name) is not value:
            return False
        self._update(f"{module}.{name} {release}")
        return True

    def _feed_function(self, function, where):
        if self._is_released(function, function.__qualname__):
            return
        self._update(function.__qualname__)
        self.feed(function.__code__, where)
        self.feed((function.__defaults__, function.__kwdefaults__, vars(function)), where)
        self._feed_dict(closure_of(function), where)
        self._feed_globals(function, where)

    def _feed_globals(self, function, where):
        """Update with the globals that a function refers to, and the modules that it imports."""
        code, space = function.__code__, function.__globals__
        names, loaded = attributes_in(code), globals_in(code)
        hidden = names & _HIDING | (loaded.keys() - space.keys()) & _RUNNING
        if "builtins" in names:
            hidden |= names & _RUNNING
        if {"sys", "modules"} <= names:
            hidden |= {"sys.modules"}
        if hidden:
            _refuse(where, f"a function that uses {min(hidden)}, which hides code", "Do without")
        for name in sorted(loaded.keys() & space.keys()):
            self._update(name)
            used = None if loaded[name] else names
            self._feed_global(space[name], name, used, f"{where}.{name}")
        for name in sorted(imports_in(code, space.get("__package__"))):
            self._feed_import(name, names, where)

    def _feed_global(self, value, name, names, where):
        """Update with a global of a function that uses these names of modules; None: all."""
        if isinstance(value, types.ModuleType) and names is not None:

            def feed(walk, module, where):
                walk._feed_attributes(module, names, where)

            self._follow(value, (id(value), frozenset(names)), feed, where)
        elif not self._is_released_object(value, name):
            self.feed(value, where)

    def _is_released_object(self, value, name):
        """Update with the name of an object of an installed package, such as a distribution."""
        module = type(value).__module__
        if isinstance(value, (types.ModuleType, type)) or _look_up(module, name) is not value:
            return False
        release = find_release(module)
        if release is not None:
            self._update(f"{module}.{name} {release}")
        return release is not None

    def _feed_import(self, name, names, where):
        release = find_release(name)
        self._update(f"import {name} {release}")
        if release is not None:
            return
        try:
            module = importlib.import_module(name)
        except Exception:  # as when the function runs, which may know what to do
            return self._update("<failed>")
        self._feed_global(module, name, names, where)

    def _feed_code(self, code, where):
        """Update with byte code and constants, not with file names and line numbers."""
        layout = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
        table = getattr(code, "co_exceptiontable", b"")
        self._update(f"{sys.version_info[:2]}{layout}{names}{code.co_code!r}{table!r}")
        self._feed_sequence(code.co_consts, where)

    def _feed_class(self, cls, where):
        """Update with a class and its bases."""
        for base in cls.__mro__:
            if _package(base) == "featbus":
                version = vars(base).get("_algorithm_version")
                self._update(f"{base.__module__}.{base.__qualname__} {version}")
            elif not self._is_released(base, base.__qualname__):
                self._feed_class_body(base, where)

    def _feed_class_body(self, cls, where):
        self._update(cls.__qualname__)
        self.feed(type(cls), where)
        layout = types.MemberDescriptorType, types.GetSetDescriptorType
        names = vars(cls).keys() - _NOT_CODE
        members = {n: vars(cls)[n] for n in names if not isinstance(vars(cls)[n], layout)}
        self._feed_dict(_sorted({n: functions_of(m) for n, m in members.items()}), where)

    def _feed_method(self, method, where):
        self.feed((method.__func__, method.__self__), where)

    def _feed_type_variable(self, variable, where):
        self.feed((variable.__name__, variable.__bound__, variable.__constraints__), where)

    def _feed_lock(self, lock, where):
        """Update with nothing but the type: whether it is locked changes no row."""

    def _feed_vectorized(self, function, where):
        """Update with all but the ufunc that it makes on first use."""
        state = {k: v for k, v in vars(function).items() if k != "_ufunc"}
        self._feed_dict(_sorted(state), where)

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
        skipped = _IRRELEVANT if _package(cls) in _PACKAGES else set()
        described = describe(estimator) if describe else parameters
        self._feed_dict(_sorted(described, skipped), where)
        is_own = _package(cls) == "featbus"
        owner = next((base for base in cls.__mro__ if "_fingerprint_params" in vars(base)), cls)
        if not is_own and _package(owner) == "featbus":  # which knows nothing of other parameters
            self._feed_dict(_sorted(parameters, owner._get_param_names()), where)
        if not is_own or get_tags(estimator).requires_fit:
            learned = _sorted(vars(estimator), _NOT_LEARNED | parameters.keys())
            if describe:
                learned.pop("errors_", None)
            self._feed_dict(learned, where)
        if isinstance(estimator, Pipeline):
            # What one step returns, array or table, the next one sees.
            steps = [getattr(step, "__dict__", {}) for _, step in estimator.steps[:-1]]
            outputs = [attributes.get("_sklearn_output_config") for attributes in steps]
            self.feed((outputs, get_config()["transform_output"]), where)

    def _feed_object(self, value, where):
        """Update with any other object: what it would be pickled as, and its code."""
        if hasattr(type(value), "__next__"):
            found = f"a {type(value).__name__}, which changes with each use"
            _refuse(where, found, "Use a list")
        if type(value) is object:
            _refuse(where, "a plain object, which has nothing but its identity", "Use a string")
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = reduce(value) if reduce else value.__reduce_ex__(4)
            if not isinstance(reduced, str):
                make, arguments, *rest = reduced
                state, items, pairs = (*rest, None, None, None)[:3]
                items, pairs = list(items or ()), [list(pair) for pair in pairs or ()]
        except Exception as error:
            raise FingerprintError(
                f"{where} is a {type(value).__name__} that cannot be pickled ({error}): "
                + _REMEDY.format("Use an object that can")
            ) from error
        if isinstance(reduced, str):
            return self._feed_named(value, reduced, where)
        state = _sorted(state) if type(state) is dict else state
        self.feed((type(value), make, arguments), where)
        # Attributes are fed here, so that messages name them.
        if isinstance(state, dict):
            self._feed_dict(state, where)
        else:
            self.feed(state, where)
        self.feed((items, pairs), where)

    def _feed_named(self, value, name, where):
        """Update with what is pickled by its name, such as a function written in C."""
        if any(value is hidden for hidden in _HIDDEN):
            _refuse(where, f"{name}, which hides code", "Do without")
        module = pickle.whichmodule(value, name)
        release = find_release(module)
        found = _look_up(module, name) is value
        if hasattr(value, "__wrapped__") and (release is None or not found):
            return self.feed(value.__wrapped__, where)
        if not found:
            _refuse(where, f"{name!r} of module {module!r}, which is not found there", "Rename it")
        self._update(f"{module}.{name} {release}")
        if release is None:
            self._feed_extension(module)


def _package(cls):
    return cls.__module__.partition(".")[0]


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
    ((PurePath, os.DirEntry), _Walk._feed_path),
    (_LOCKS, _Walk._feed_lock),
    (TypeVar, _Walk._feed_type_variable),
    (np.vectorize, _Walk._feed_vectorized),
    (_RANDOM, _Walk._feed_random_state),
    (np.ufunc, _Walk._feed_ufunc),
    (type, _Walk._feed_class),
    (BaseEstimator, _Walk._feed_estimator),
]
