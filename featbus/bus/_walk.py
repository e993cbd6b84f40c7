"""The walk that a fingerprint is made by."""

import functools
import hashlib
import os
import sys

import numpy as np

DIGEST_SIZE = 16
REMEDY = "rows made with it cannot be stored. {}, or use FeatureBus(..., memory=None)."
_PLAIN = {type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented)}


class FingerprintError(ValueError):
    """A transformer whose rows cannot be stored, because its changes cannot be detected.

    Read more in the :ref:`User Guide <feature_bus>`.
    """


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


def refuse(where, found, remedy):
    """Raise a FingerprintError.

    Parameters
    ----------
    where, found, remedy : str
        The place, what was found there, and what to do.

    Raises
    ------
    FingerprintError
        Always.
    """
    raise FingerprintError(f"{where} is {found}: {REMEDY.format(remedy)}")


class Walk:
    """A walk over everything that an object refers to, which updates a digest.

    Each value is enclosed in marks with its type, so that 1, "1" and [1] differ.

    Parameters
    ----------
    exact : dict of type to callable
        How to follow values of exactly these types. The callable is called with the walk, the
        value, and the place where it was found, for errors.
    kinds : list of (type or tuple of types, callable) pairs
        How to follow instances of these types, and of types derived from them; the first counts.
    default : callable
        How to follow any other value.

    Attributes
    ----------
    digest : hashlib hash
        The digest of what was followed.
    """

    def __init__(self, exact, kinds, default):
        self.digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
        self._exact = exact
        self._kinds = kinds
        self._default = default
        self._done = {}  # digests of the values that were followed, and the values, to stay alive
        # Values that are being followed, and those inside them that refer back to these: their
        # numbers, and the values. Where cycles begin and end is found as Tarjan (1972) does.
        self._open = {}
        self._lowest = 0  # the lowest number that what is being followed refers back to

    def feed(self, value, where):
        """Update the digest with a value, or with the digest of what it refers to."""
        if type(value) is np.memmap:  # as which joblib hands large arrays to its workers
            value = value.view(np.ndarray)
        if type(value) in _PLAIN:
            self._feed_plain(value, where)
        else:
            self.follow(value, id(value), self._find(value), where)

    def _feed_plain(self, value, where):
        text = hex(value) if type(value) is int else repr(value)
        self.update(f"<{type(value).__name__} {text}>")
        if type(value) in (str, bytes):
            self.feed_named_file(value, where)

    def follow(self, value, key, feed, where):
        """Update with the digest of a value, which is followed once."""
        if key in self._open:
            number = self._open[key][0]
            self._lowest = min(self._lowest, number)
            return self.update(f"<cycle {len(self._open) - number}>")
        if key in self._done:
            return self.update(self._done[key][0])
        outer, number = self._lowest, len(self._open)
        self._lowest, self._open[key] = number, (number, value)
        digest = self.digest_of(value, feed, where)
        if self._lowest == number:  # it refers to nothing that is being followed
            self._done[key] = digest, value
            while len(self._open) > number:
                self._open.popitem()
        self._lowest = min(outer, self._lowest)
        self.update(digest)

    def digest_of(self, value, feed, where):
        """Return the digest of a value, followed in this way."""
        outer, self.digest = self.digest, hashlib.blake2b(digest_size=DIGEST_SIZE)
        self.update(f"<{type(value).__module__}.{type(value).__qualname__}>")
        feed(self, value, where)
        found, self.digest = self.digest.digest(), outer
        return found

    def update(self, content):
        """Update with text or bytes, and their length: "ab", "c" differs from "a", "bc"."""
        if isinstance(content, str):
            content = content.encode(errors="surrogatepass")
        self.digest.update(len(content).to_bytes(8, "little"))
        self.digest.update(content)

    def update_with_file(self, path):
        """Update with the content of a file."""
        digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
        update_with_file(digest, path)
        self.update(digest.digest())

    def _find(self, value):
        """Return how to follow a value."""
        if type(value) in self._exact:
            return self._exact[type(value)]
        found = (feed for kinds, feed in self._kinds if isinstance(value, kinds))
        return next(found, self._default)

    def feed_sequence(self, sequence, where):
        """Update with the items of a sequence."""
        self.update(f"{len(sequence)} items")
        for index, value in enumerate(sequence):
            self.feed(value, f"{where}[{index}]")

    def feed_dict(self, dictionary, where):
        """Update with the keys and values of a dict, in its order."""
        self.update(f"{len(dictionary)} pairs")
        for key, value in dictionary.items():
            self.feed(key, where)
            self.feed(value, f"{where}.{key}")

    def feed_named_file(self, text, where):
        """Update with the content of the file that a string names, if it names one."""
        text = text if isinstance(text, str) else os.fsdecode(text)
        if not 0 < len(text) < 1024 or "\0" in text:
            return
        if os.path.isfile(text):
            # The files of the system that never end have no size.
            self.update("<file>")
            if os.path.getsize(text):
                self.update_with_file(text)
        elif os.sep in text and text.strip(f".{os.sep}") and os.path.isdir(text):
            refuse(where, f"the folder {text!r}", "Name its files")


def package(cls):
    """Return the name of the package that a class is defined in.

    Parameters
    ----------
    cls : type
        The class.

    Returns
    -------
    str
        Name of the top-level package.
    """
    return cls.__module__.partition(".")[0]


def sorted_by_name(attributes, skipped=()):
    """Return attributes in the order of their names.

    Parameters
    ----------
    attributes : dict
        Attributes by name.
    skipped : collection, default=()
        Names to leave out.

    Returns
    -------
    dict
        The others.
    """
    return {k: attributes[k] for k in sorted(attributes, key=str) if k not in skipped}


def look_up(module, name):
    """Return the object that a module has under a name.

    Parameters
    ----------
    module, name : str
        Name of the module, and name of the object inside, which may have dots.

    Returns
    -------
    object
        None if there is no such module or object.
    """
    try:
        return functools.reduce(getattr, name.split("."), sys.modules[module])
    except (KeyError, AttributeError):
        return None
