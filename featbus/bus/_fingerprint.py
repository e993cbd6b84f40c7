"""Fingerprints: what an image is, and what a transformer would make of it."""

import functools
import hashlib
import os
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator
from sklearn.utils import get_tags

from featbus.images import fill_value, is_path
from featbus.io import ImageReadError

_DIGEST_SIZE = 16
_TICK = 3_000_000_000  # nanoseconds; the coarsest clock of a file system, FAT's, ticks every 2 s
# Goes up whenever `read_image` or the conversions of `featbus.images` give other pixels.
_READER_VERSION = 1
# What a transformer does with its time, not with its images.
_IRRELEVANT = {"n_jobs", "verbose", "memory"}
_NOT_LEARNED = {"_sklearn_output_config", "feature_names_in_", "n_features_in_"}


class FingerprintError(ValueError):
    """A transformer whose rows cannot be kept, because nothing says when they would change."""


def digest_image(item):
    """Digest the content of an image.

    Parameters
    ----------
    item : ndarray, MaskedArray or path
        One item of a batch, see :ref:`images`. Of a path, the file's bytes count: neither its name
        nor its time stamp.

    Returns
    -------
    bytes of length 16
        BLAKE2b digest.

    Raises
    ------
    ImageReadError
        If the file cannot be read.
    """
    return digest_with_status(item)[0]


def digest_with_status(item):
    """Return the digest of an image, and the `item_status` that it was taken of."""
    status = item_status(item)
    return _digest_array(item) if status is None else _digest_file(os.fspath(item), status), status


def _digest_array(array):
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    image = np.asanyarray(array)
    digest.update(f"{image.dtype.str}{image.shape}".encode())
    digest.update(np.ascontiguousarray(np.ma.getdata(image)).data)
    if np.ma.isMaskedArray(image):
        digest.update(np.packbits(np.ma.getmaskarray(image)).data)
        digest.update(fill_value(image).tobytes())
    return digest.digest()


def item_status(item):
    """Return what changes whenever an image's file is written, even if its time stamp is set back.

    Parameters
    ----------
    item : ndarray, MaskedArray or path
        One item of a batch.

    Returns
    -------
    tuple of int or None
        Inode, size, and times of the last change of content and of inode in nanoseconds; None for
        an array.

    Raises
    ------
    ImageReadError
        If there is no such file.
    """
    if not is_path(item):
        return None
    try:
        status = os.stat(item)
    except OSError as error:
        raise ImageReadError(f"cannot read {os.fspath(item)!r}: {error.strerror}.") from error
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest_file(path, status):
    """Return the digest of a file's bytes, which are read again only after it was written."""
    # Two changes within one tick of the file system's clock look like one, and on Windows the last
    # number is the time of birth: there, only the bytes tell.
    settled = time.time_ns() - max(status[2:]) > _TICK
    digest = _digest_bytes if os.name == "posix" and settled else _digest_bytes.__wrapped__
    return digest(path, status)


@functools.lru_cache(maxsize=1 << 16)
def _digest_bytes(path, status):
    digest = hashlib.blake2b(b"file", digest_size=_DIGEST_SIZE)
    _update_with_file(digest, path)
    return digest.digest()


def _update_with_file(digest, path):
    try:
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise ImageReadError(f"cannot read {os.fspath(path)!r}: {error.strerror}.") from error


def learns(transformer):
    """Tell whether a transformer learns from the data in `fit`.

    Parameters
    ----------
    transformer : estimator or str
        A transformer, or "passthrough" or "drop".

    Returns
    -------
    bool
        False if it, or every step inside a Pipeline or FeatureUnion, is stateless according to its
        tag `requires_fit`.
    """
    if transformer is None or isinstance(transformer, str):
        return False
    steps = getattr(transformer, "steps", None) or getattr(transformer, "transformer_list", None)
    if steps:
        return any(learns(step) for _, step in steps)
    return get_tags(transformer).requires_fit


def fingerprint(transformer):
    """Digest all that decides which row a transformer makes of an image.

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
        If it holds a lambda, an object of ``__main__``, or a random state that moves on.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
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
    if array.dtype == object:
        return _feed(digest, (array.shape, array.ravel().tolist()), where)
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(np.ma.getdata(array)).tobytes())
    if np.ma.isMaskedArray(array):
        digest.update(np.packbits(np.ma.getmaskarray(array)).tobytes())


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
        _update_with_file(digest, path)


def _feed_random_state(digest, state, where):
    raise FingerprintError(
        f"{where} is a {type(state).__name__}, whose numbers change with each use: rows made with "
        "it cannot be kept. Use a seed: an int."
    )


def _feed_partial(digest, partial, where):
    _feed(digest, (partial.func, partial.args, partial.keywords), where)


def _feed_method(digest, method, where):
    _feed(digest, (method.__self__, method.__name__), where)


def _feed_named(digest, value, where):
    """Update with the name of a class or a function, and the file that it comes from."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", value.__name__)
    if "<" in name or module == "__main__":
        raise FingerprintError(
            f"{where} is {name!r} of module {module!r}: nothing says when its code changes, so "
            "rows made with it cannot be kept. Move it to the top level of a module that can be "
            "imported, or use FeatureBus(..., memory=None)."
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
    """Return the digest of a module's file, or None where it has none (built-in ones)."""
    path = getattr(sys.modules.get(module), "__file__", None)
    if path is None or not os.path.isfile(path):
        return None
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    _update_with_file(digest, path)
    return digest.hexdigest()


def _feed_estimator(digest, estimator, where):
    _feed(digest, type(estimator), where)
    if hasattr(estimator, "_fingerprint_params"):
        parameters = estimator._fingerprint_params()
    else:
        parameters = estimator.get_params(deep=False)
    _feed(digest, {k: v for k, v in parameters.items() if k not in _IRRELEVANT}, where)
    if get_tags(estimator).requires_fit:
        skipped = _NOT_LEARNED | estimator.get_params(deep=False).keys()
        _feed(digest, {k: v for k, v in vars(estimator).items() if k not in skipped}, where)


def _feed_object(digest, value, where):
    """Update with the class of any other object and its pickle, which holds its whole state."""
    _feed(digest, type(value), where)
    try:
        digest.update(pickle.dumps(value, protocol=5))
    except Exception as error:
        raise FingerprintError(
            f"{where} is a {type(value).__name__} that cannot be pickled ({error}): rows made with "
            "it cannot be kept. Use FeatureBus(..., memory=None)."
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
    ((type, np.ufunc), _feed_named),
    (BaseEstimator, _feed_estimator),
]
_FEEDS.insert(-1, ((type(_feed), type(len), type(np.add), type(np.dot)), _feed_named))
