"""Rows through a store: look them up, claim and compute what is missing, wait for the rest."""

import threading
import time
from collections import deque

import numpy as np

from featbus.bus._batches import iter_results
from featbus.bus._fingerprint import digest_with_status, item_status
from featbus.bus._store import new_owner

_RENEWAL = 5.0  # seconds between renewals of claims, which live for 20
_POLL = 0.05  # seconds between looks at rows that somebody else computes
_LOOKUP = 256  # images digested and looked up at a time


class _Claims:
    """Claims on the rows that a run computes, kept alive until it ends."""

    def __init__(self, store):
        self._store = store
        self._owner = new_owner()
        self._ended = threading.Event()
        self._renewal = None

    def __enter__(self):
        return self

    def claim(self, key, digests):
        """Return the images that nobody else computes, as `FeatureStore.claim`."""
        if self._renewal is None:
            renewal = threading.Thread(target=self._renew, daemon=True)
            renewal.start()
            self._renewal = renewal
        return self._store.claim(key, digests, self._owner)

    def _renew(self):
        while not self._ended.wait(_RENEWAL):
            self._store.renew(self._owner)

    def __exit__(self, *error):
        self._ended.set()
        if self._renewal is not None:
            self._renewal.join()
            self._store.release(self._owner)


def _chunked(items, size):
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class StoredRun:
    """One `transform` whose rows are kept in a store.

    Parameters
    ----------
    store : FeatureStore
        The store, open.
    key : bytes
        The transformer's fingerprint.
    rows : Rows
        Where rows and errors go.
    """

    def __init__(self, store, key, rows):
        self._store = store
        self._key = key
        self._rows = rows
        self._first = {}  # digest of each missing image -> the first position that has it
        self._copies = []  # (position, first position with the same content)
        self._status = {}
        self._submitted = deque()
        self._error = None

    def execute(self, transformer, batch_size, n_jobs):
        """Fill all rows.

        Parameters
        ----------
        transformer : estimator
            The fitted transformer.
        batch_size : int
            Number of images computed at a time.
        n_jobs : int or None
            Number of joblib's workers.
        """
        description = " ".join(str(transformer).split())
        with _Claims(self._store) as claims:
            missing = self._missing()
            while missing is not None:
                waiting = []
                batches = self._caught(self._claimed(missing, batch_size, claims, waiting))
                for results in iter_results(transformer, batches, n_jobs):
                    self._take(self._submitted.popleft(), results, description)
                if self._error is not None:
                    raise self._error
                missing = self._still_missing(waiting) if waiting else None
        for index, source in self._copies:
            self._rows.copy(index, source)

    def _caught(self, batches):
        """Hand batches on; keep an error for later, as joblib runs this in a thread of its own."""
        try:
            yield from batches
        except Exception as error:
            self._error = error

    def _missing(self):
        """Yield digest and position of each image that has no row yet; take in the others'."""
        for chunk in _chunked(range(len(self._rows.batch)), _LOOKUP):
            digests = {index: digest for index in chunk if (digest := self._digest(index))}
            found = self._store.read(self._key, list(set(digests.values())))
            for index, digest in digests.items():
                if digest in found:
                    self._rows.put(index, found[digest], cached=True)
                elif digest in self._first:
                    self._copies.append((index, self._first[digest]))
                else:
                    self._first[digest] = index
                    yield digest, index

    def _digest(self, index):
        """Return the digest of an image, or None if it cannot be read."""
        item = self._rows.batch[index]
        try:
            digest, self._status[index] = digest_with_status(item)
        except (ValueError, OSError) as error:
            self._rows.fail(index, error)
            return None
        return digest

    def _claimed(self, missing, batch_size, claims, waiting):
        """Yield batches of images to compute; put those that others compute into `waiting`."""
        for chunk in _chunked(missing, batch_size):
            free = set(claims.claim(self._key, [digest for digest, _ in chunk]))
            waiting += [wanted for wanted in chunk if wanted[0] not in free]
            group = [wanted for wanted in chunk if wanted[0] in free]
            if group:
                self._submitted.append(group)
                yield [self._rows.batch[index] for _, index in group]

    def _still_missing(self, waiting):
        """Yield those that still have no row after a moment; take in what others computed."""
        time.sleep(_POLL)
        for chunk in _chunked(waiting, _LOOKUP):
            found = self._store.read(self._key, [digest for digest, _ in chunk])
            for digest, index in chunk:
                if digest in found:
                    self._rows.put(index, found[digest], cached=True)
                else:
                    yield digest, index

    def _take(self, group, results, description):
        """Take in the results of a batch, and keep its rows in the store."""
        kept = []
        for (digest, index), result in zip(group, results):
            if not isinstance(result, Exception):
                self._rows.put(index, result)
                if self._unchanged(index):
                    kept.append((digest, result))
        if kept:
            digests, rows = zip(*kept)
            self._store.write(self._key, description, digests, np.stack(rows))
        for (_, index), result in zip(group, results):
            if isinstance(result, Exception):
                self._rows.fail(index, result)

    def _unchanged(self, index):
        """Tell whether a file is still the one that was digested."""
        before = self._status.pop(index)
        try:
            return before == item_status(self._rows.batch[index])
        except OSError:
            return False
