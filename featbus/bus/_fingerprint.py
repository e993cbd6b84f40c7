"""Fingerprints: what determines the row that a transformer makes of an image."""

import functools
import hashlib
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator
from sklearn.utils import get_tags

from featbus.images import update_digest

DIGEST_SIZE = 16
# Goes up whenever `read_image` or the conversions of `featbus.images` give other pixels.
_READER_VERSION = 1
# Parameters that change how a transformer runs, not its rows.
_IRRELEVANT = {"n_jobs", "verbose", "memory"}
_NOT_LEARNED = {"_sklearn_output_config", "feature_names_in_", "n_features_in_", "errors_"}


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

    Parameters
    ----------
    transformer : estimator
        A transformer; a fitted one if it learns.

    Returns
    -------
    bytes of length 16
        BLAKE2b digest of its class and algorithm version, parameters, weights and learned state,
        and of those of its steps.

    Raises
    ------
    FingerprintError
        If it contains a lambda, an object of ``__main__``, or a random state that changes with use.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    _feed(digest, ("featbus", _READER_VERSION, transformer), where=type(transformer).__name__)
    return digest.digest()


def _feed(digest, value, where):
    """Update `digest` with `value`; each type has its own prefix, so that 1, "1" and [1] differ."""
    feed = next((feed for types, feed in _FEEDS if isinstance(value, types)), _feed_object)
    digest.update(f"<{type(value).__name__}>".encode())
    feed(digest, value, where)
    digest.update(b"</>")


def _feed_plain(digest, value, where):
    digest.update(repr(value).encode())


def _feed_array(digest, array, where):
    if array.dtype.kind in "OmM":  # no buffer holds their values
        return _feed(digest, (array.shape, array.ravel().tolist()), where)
    update_digest(digest, array)


def _feed_sparse(digest, matrix, where):
    matrix = matrix.tocsr()
    _feed(digest, (matrix.shape, matrix.data, matrix.indices, matrix.indptr), where)


def _feed_sequence(digest, sequence, where):
    for index, value in enumerate(sequence):
        _feed(digest, value, f"{where}[{index}]")


def _feed_set(digest, values, where):
    _feed_sequence(digest, sorted(values, key=repr), where)


def _feed_dict(digest, dictionary, where):
    for key in sorted(dictionary, key=repr):
        _feed(digest, key, where)
        _feed(digest, dictionary[key], f"{where}.{key}")


def _feed_path(digest, path, where):
    digest.update(os.fspath(path).encode())
    if Path(path).is_file():
        update_with_file(digest, path)


def _feed_random_state(digest, state, where):
    raise FingerprintError(
        f"{where} is a {type(state).__name__}, whose numbers change with each use: rows made with "
        "it cannot be stored. Use a seed: an int."
    )


def _look_up(module, name):
    """Return the object of this name; None if there is none."""
    try:
        return functools.reduce(getattr, name.split("."), sys.modules[module])
    except (KeyError, AttributeError):
        return None


def _feed_method(digest, method, where):
    _feed(digest, (method.__self__, method.__name__), where)


def _feed_builtin(digest, function, where):
    """Update with a function written in C: by its name, or by the object that it is a method of."""
    owner = function.__self__
    if owner is None or isinstance(owner, (type, types.ModuleType)):
        _feed_named(digest, function, where)
    else:
        _feed_method(digest, function, where)


def _feed_partial(digest, partial, where):
    _feed(digest, (partial.func, partial.args, partial.keywords), where)


def _feed_named(digest, value, where):
    """Update with the name of a class or a function, and the content of its module's file."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", value.__name__)
    if "<" in name or module == "__main__":
        raise FingerprintError(
            f"{where} is {name!r} of module {module!r}: changes of its code cannot be detected, so "
            "rows made with it cannot be stored. Move it to the top level of a module that can be "
            "imported, or use FeatureBus(..., memory=None)."
        )
    if module is not None and _look_up(module, name) is not value:
        raise FingerprintError(
            f"{where} is not what {module}.{name} names, but another object of this name, such as "
            "the inside of a decorator: rows made with it cannot be stored. Give it a name of its "
            "own, or use FeatureBus(..., memory=None)."
        )
    digest.update(f"{module}.{name}".encode())
    root = (module or "builtins").partition(".")[0]
    if root == "featbus":
        version = getattr(value, "_algorithm_version", None)
    else:
        version = getattr(sys.modules.get(root), "__version__", None), _file_digest(module)
    digest.update(repr(version).encode())


@functools.cache
def _file_digest(module):
    """Return the digest of a module's file, or None if it has none (built-in modules)."""
    path = getattr(sys.modules.get(module), "__file__", None)
    if path is None or not os.path.isfile(path):
        return None
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    update_with_file(digest, path)
    return digest.hexdigest()


def _feed_estimator(digest, estimator, where):
    _feed(digest, type(estimator), where)
    # Asked of the class: a FrozenEstimator hands on the attributes of the estimator inside.
    describe = getattr(type(estimator), "_fingerprint_params", None)
    parameters = describe(estimator) if describe else estimator.get_params(deep=False)
    _feed(digest, {k: v for k, v in parameters.items() if k not in _IRRELEVANT}, where)
    if get_tags(estimator).requires_fit:
        skipped = _NOT_LEARNED | estimator.get_params(deep=False).keys()
        _feed(digest, {k: v for k, v in vars(estimator).items() if k not in skipped}, where)


def _feed_object(digest, value, where):
    """Update with the class of any other object and its pickle, which contains its state."""
    _feed(digest, type(value), where)
    try:
        digest.update(pickle.dumps(value, protocol=5))
    except Exception as error:
        raise FingerprintError(
            f"{where} is a {type(value).__name__} that cannot be pickled ({error}): rows made with "
            "it cannot be stored. Use FeatureBus(..., memory=None)."
        ) from error


# The first match counts.
_FEEDS = [
    ((type(None), bool, int, float, complex, str, bytes, np.generic, np.dtype), _feed_plain),
    (np.ndarray, _feed_array),
    (scipy.sparse.spmatrix | scipy.sparse.sparray, _feed_sparse),
    ((list, tuple), _feed_sequence),
    ((set, frozenset), _feed_set),
    (dict, _feed_dict),
    (os.PathLike, _feed_path),
    ((np.random.RandomState, np.random.Generator), _feed_random_state),
    (functools.partial, _feed_partial),
    (types.MethodType, _feed_method),
    ((type, np.ufunc, types.FunctionType, type(np.dot)), _feed_named),
    (types.BuiltinFunctionType, _feed_builtin),
    (BaseEstimator, _feed_estimator),
]
