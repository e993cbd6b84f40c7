"""One run of the bus: look up rows, compute the missing ones, store them."""

import logging
import threading
import time
from contextlib import suppress
from typing import NamedTuple

from featbus.bus._compute import iter_results
from featbus.bus._digest import digest_with_status, file_status
from featbus.bus._fingerprint import fingerprint
from featbus.bus._store import FeatureStore, chunked, new_owner
from featbus.images import ImageError
from featbus.io import ImageReadError

_LOG = logging.getLogger("featbus")
_RENEWAL = 5.0  # seconds between renewals of claims, which live for 20
_POLL = 0.05  # seconds between look-ups of rows that another process computes
_LOOKUP = 256  # images digested and looked up at a time


def fill(rows, transformer, *, memory, batch_size, n_jobs, key=None):
    """Fill in all rows; look them up first if there is a store.

    Parameters
    ----------
    rows : Rows
        Empty.
    transformer : estimator
        The fitted transformer.
    memory : str, os.PathLike, FeatureStore or None
        The store.
    batch_size : int
        Number of images computed at a time.
    n_jobs : int or None
        Number of joblib's workers.
    key : bytes or None, default=None
        The transformer's fingerprint, if the caller stores rows under it, too.
    """
    if memory is not None:
        store = memory if isinstance(memory, FeatureStore) else FeatureStore(memory)
        run = _StoredRun(rows, transformer, store, key or fingerprint(transformer))
        store.open()
        try:
            return run.execute(batch_size, n_jobs)
        finally:
            if store is not memory:
                store.close()
    starts = range(0, len(rows.batch), batch_size)
    batches = ((start, rows.batch[start : start + batch_size]) for start in starts)
    for start, results in iter_results(transformer, batches, n_jobs, key):
        _LOG.debug("Computed the rows of %d images", len(results))
        for index, result in enumerate(results, start):
            take = rows.fail if isinstance(result, ImageError) else rows.put
            take(index, result)


class _Claims:
    """Claims on the rows that a run computes, renewed until it ends."""

    def __init__(self, store, key):
        self._store = store
        self._key = key
        self._owner = new_owner()
        self._ended = threading.Event()
        self._renewal = None

    def __enter__(self):
        return self

    def claim(self, digests):
        """Return those of the images that nobody else computes, see `FeatureStore.claim`."""
        if self._renewal is None:
            renewal = threading.Thread(target=self._renew, daemon=True)
            renewal.start()
            self._renewal = renewal
        return self._store.claim(self._key, digests, self._owner)

    def drop(self, digests):
        """Give up claims on images that have no row to store: other runs wait for them."""
        if digests:
            self._store.release(self._owner, digests)

    def _renew(self):
        while not self._ended.wait(_RENEWAL):
            self._store.renew(self._owner)

    def __exit__(self, *error):
        self._ended.set()
        if self._renewal is not None:
            self._renewal.join()
            self._store.release(self._owner)


class _Wanted(NamedTuple):
    """An image without a row: its position, digest (None if unreadable), and file status then."""

    index: int
    digest: bytes | None
    status: tuple | None


class _StoredRun:
    """One run whose rows are stored."""

    def __init__(self, rows, transformer, store, key):
        self._rows = rows
        self._transformer = transformer
        self._store = store
        self._key = key
        self._description = " ".join(str(transformer).split())
        self._first = {}  # digest of each missing image -> the first position that has it
        self._copies = []  # (image, first position with the same content)
        self._changed = set()  # positions of files that were written since they were digested

    def execute(self, batch_size, n_jobs):
        """Fill in all rows."""
        missing = self._missing()
        with _Claims(self._store, self._key) as claims:
            while missing is not None:
                waiting = []
                batches = self._claimed(missing, batch_size, claims, waiting)
                for group, results in iter_results(self._transformer, batches, n_jobs, self._key):
                    self._take(group, results, claims)
                missing = self._left(waiting)
        for wanted, source in self._copies:
            self._rows.copy(wanted.index, source)

    def _left(self, waiting):
        """Return the images to look up again, or None: others compute them, or their copy."""
        left = [wanted for wanted, source in self._copies if source in self._changed]
        self._copies = [copy for copy in self._copies if copy[1] not in self._changed]
        if waiting:
            time.sleep(_POLL)
        return self._not_stored(waiting + left) if waiting + left else None

    def _missing(self):
        """Yield the images without a row, one for each content."""
        images = map(self._wanted, range(len(self._rows.batch)))
        for wanted in self._not_stored(images):
            first = self._first.setdefault(wanted.digest or wanted.index, wanted.index)
            if first == wanted.index:
                yield wanted
            else:
                self._copies.append((wanted, first))

    def _wanted(self, index):
        try:
            return _Wanted(index, *digest_with_status(self._rows.batch[index]))
        except ValueError:  # no file, or no image: the transformer will say so
            return _Wanted(index, None, None)

    def _not_stored(self, images):
        """Yield the images that are not in the store; add the rows of the others."""
        for chunk in chunked(images, _LOOKUP):
            digests = {wanted.digest for wanted in chunk if wanted.digest}
            found = self._store.read(self._key, list(digests))
            _LOG.debug("Found the rows of %d of %d images in the store", len(found), len(digests))
            for wanted in chunk:
                if wanted.digest in found:
                    self._rows.put(wanted.index, found[wanted.digest], cached=True)
                else:
                    yield wanted

    def _claimed(self, missing, batch_size, claims, waiting):
        """Yield batches of images to compute; append those that others compute to `waiting`."""
        for chunk in chunked(missing, batch_size):
            digests = [wanted.digest for wanted in chunk if wanted.digest]
            free = {None, *claims.claim(digests)}
            waiting += [wanted for wanted in chunk if wanted.digest not in free]
            if group := [wanted for wanted in chunk if wanted.digest in free]:
                yield group, self._rows.items([wanted.index for wanted in group])

    def _take(self, group, results, claims):
        """Add the results of a batch, and store its rows."""
        self._changed |= {wanted.index for wanted in group if not self._is_unchanged(wanted)}
        kept = {}
        for wanted, result in zip(group, results):
            if not isinstance(result, ImageError):
                self._rows.put(wanted.index, result)
                if wanted.index not in self._changed:
                    kept[wanted.digest] = result
        if kept:
            self._store.write(self._key, self._description, list(kept), list(kept.values()))
        _LOG.debug("Computed the rows of %d images, stored %d", len(group), len(kept))
        claims.drop({wanted.digest for wanted in group} - kept.keys() - {None})
        for wanted, result in zip(group, results):
            if isinstance(result, ImageError):
                self._rows.fail(wanted.index, result)

    def _is_unchanged(self, wanted):
        """Tell whether a file has not been written since it was digested."""
        with suppress(ImageReadError):
            status = file_status(self._rows.batch[wanted.index])
            return wanted.digest is not None and wanted.status == status
        return False
