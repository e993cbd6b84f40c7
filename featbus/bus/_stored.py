"""Rows through a store: look them up, claim and compute what is missing, wait for the rest."""

import threading
import time
from collections import deque
from contextlib import contextmanager

import numpy as np

from featbus.bus._batches import iter_results
from featbus.bus._fingerprint import digest_image, file_status
from featbus.bus._store import new_owner
from featbus.images import is_path

_RENEWAL = 5.0  # seconds between renewals of claims, which live for 20
_POLL = 0.05  # seconds between looks at rows that somebody else computes
_LOOKUP = 256  # images digested and looked up at a time


@contextmanager
def _owner(store):
    """Give a name to claim rows under, and keep its claims alive."""
    owner, done = new_owner(), threading.Event()

    def renew():
        while not done.wait(_RENEWAL):
            store.renew(owner)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield owner
    finally:
        done.set()
        thread.join()
        store.release(owner)


def _chunked(items, size):
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def item_status(item):
    """Return what changes whenever the file of an image is written; None for an array."""
    return file_status(item) if is_path(item) else None


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
        with _owner(self._store) as owner:
            missing = self._missing()
            while missing is not None:
                waiting = []
                batches = self._caught(self._claimed(missing, batch_size, owner, waiting))
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
            self._status[index] = item_status(item)
            digest = digest_image(item)
        except (ValueError, OSError) as error:
            self._rows.fail(index, error)
            return None
        return digest

    def _claimed(self, missing, batch_size, owner, waiting):
        """Yield batches of images to compute; put those that others compute into `waiting`."""
        for chunk in _chunked(missing, batch_size):
            free = set(self._store.claim(self._key, [digest for digest, _ in chunk], owner))
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
