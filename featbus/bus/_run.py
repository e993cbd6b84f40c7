"""One run over a batch of images: look rows up in the store, compute and store the others."""

import logging
import threading
import time
import uuid
from contextlib import closing, suppress

import numpy as np
from sklearn.utils import _safe_indexing, gen_batches

from featbus.bus._compute import iter_results
from featbus.bus._fingerprint import digest_image
from featbus.bus._store import FeatureStore, chunked
from featbus.images import ImageError, is_path

_LOG = logging.getLogger("featbus")
_RENEWAL = 5.0  # seconds between renewals of claims, which live for 20
_POLL = 0.05  # seconds between look-ups of rows that another process computes
_LOOKUP = 256  # images digested and looked up at a time


class Rows:
    """The row of each image, or the error of an image without one.

    Parameters
    ----------
    batch : ndarray or list
        The images.
    on_error : {"raise", "nan"}
        Whether an image without a row raises an error or gets a row of NaN.
    progress : tqdm
        Advanced with each image.
    start : int, default=0
        Position of the first image in the batch that the caller passed, for errors.

    Attributes
    ----------
    results : list of ndarray of shape (n_features,) or ImageError
        In the order of the images; None where there is neither yet.
    """

    def __init__(self, batch, on_error, progress, start=0):
        self.batch = batch
        self.results = [None] * len(batch)
        self._on_error = on_error
        self._progress = progress
        self._start = start

    def take(self, indices, results):
        """Add the results for some images.

        Parameters
        ----------
        indices : sequence of int
            The images' positions in `batch`.
        results : list of ndarray of shape (n_features,) or ImageError
            The row of each image, or why there is none.

        Raises
        ------
        ImageError
            With ``on_error="raise"``, for an image without a row.
        """
        for index, result in zip(indices, results):
            self.results[index] = result
            if isinstance(result, ImageError):
                self.results[index] = self._locate(result, index)
                if self._on_error == "raise":
                    raise self.results[index] from result
            with self._progress.get_lock():  # look-ups are made in another thread
                self._progress.update()

    def _locate(self, error, index):
        """Return an error with the position and path of an image, and without its traceback."""
        item = self.batch[index]
        return error.at(self._start + index, item if is_path(item) else None)

    def errors(self):
        """Return the errors.

        Returns
        -------
        list of ImageError
            In the order of the images.
        """
        return [result for result in self.results if isinstance(result, ImageError)]

    def array(self):
        """Return the rows as one array.

        Returns
        -------
        ndarray of shape (n_images, n_features), or None
            NaN where an image has no row; None if no image has one.

        Raises
        ------
        ImageError
            If a row is not as long as those before it.
        """
        rows = [result for result in self.results if not isinstance(result, ImageError)]
        if not rows:
            return None
        dtype = np.result_type(*{row.dtype for row in rows})  # some steps return various ones
        if self._on_error == "nan" and dtype.kind != "f":
            dtype = np.result_type(dtype, np.float64)  # integers have no NaN
        array = np.empty((len(self.results), len(rows[0])), dtype)
        for index, result in enumerate(self.results):
            if isinstance(result, ImageError):
                array[index] = np.nan
            elif len(result) == len(rows[0]):
                array[index] = result
            else:
                error = ImageError(
                    f"found {len(result)} features, expected {len(rows[0])} as in the images "
                    "before. Bring the images to one size first: Resize."
                )
                raise self._locate(error, index)
        return array


def fill(rows, transformer, *, memory, batch_size, n_jobs, key=None, version=None):
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
    key, version : optional
        The transformer's fingerprint, if rows are stored under it, and the version it was computed
        with.
    """

    def run(batches, take):
        with closing(iter_results(transformer, batches, n_jobs, key, version)) as computed:
            for tag, results in computed:
                _LOG.debug("Computed the rows of %d images", len(results))
                take(tag, results)

    if memory is None:
        n_images = len(rows.batch)
        parts = gen_batches(n_images, batch_size)
        run(((range(n_images)[part], rows.batch[part]) for part in parts), rows.take)
        return
    with memory if isinstance(memory, FeatureStore) else FeatureStore(memory) as store:
        description = " ".join(str(transformer).split())
        _StoredRun(rows, store, key, description).execute(run, batch_size)


class _StoredRun:
    """One run whose rows are stored; no other run computes an image that it has claimed."""

    def __init__(self, rows, store, key, description):
        self._rows = rows
        self._store = store
        self._key = key
        self._description = description
        self._tried = set()  # digests that were missing in an earlier pass
        self._owner = uuid.uuid4().hex
        self._ended = threading.Event()
        self._renewal = threading.Thread(target=self._renew, daemon=True)

    def execute(self, run, batch_size):
        """Fill in all rows; `run` computes batches and hands on their results."""
        left = range(len(self._rows.batch))
        try:
            while left:
                waiting = []  # for another run, or for the same content in this one
                run(self._batches(left, batch_size, waiting), self._take)
                left = waiting
                if left:
                    time.sleep(_POLL)
        finally:
            self._ended.set()
            if self._renewal.ident is not None:
                self._renewal.join()
                self._store.release(self._owner)

    def _renew(self):
        while not self._ended.wait(_RENEWAL):
            self._store.renew(self._owner)

    def _batches(self, indices, batch_size, waiting):
        """Yield batches of images to compute; append those to wait for to `waiting`."""
        for chunk in chunked(self._missing(indices, waiting), batch_size):
            if self._renewal.ident is None:
                self._renewal.start()
            digests = [digest for _, digest in chunk if digest]
            free = {None, *self._store.claim(self._key, digests, self._owner)}
            waiting += [index for index, digest in chunk if digest not in free]
            if group := {index: digest for index, digest in chunk if digest in free}:
                yield group, _safe_indexing(self._rows.batch, list(group))

    def _missing(self, indices, waiting):
        """Yield index and digest of images without a stored row, one per content; add the rows."""
        seen = set()
        for chunk in chunked(indices, _LOOKUP):
            digests = {index: self._digest(index) for index in chunk}
            found = self._store.read(self._key, list({*digests.values()} - {None}))
            _LOG.debug("Found the rows of %d of %d images in the store", len(found), len(chunk))
            for index, digest in digests.items():
                if digest in found:
                    self._rows.take([index], [found[digest]])
                elif digest in seen - self._tried:
                    waiting.append(index)
                else:
                    seen |= {digest} - {None}
                    yield index, digest
        self._tried |= seen

    def _digest(self, index):
        """Return the digest of an image, or None if it cannot be read: computing it says why."""
        with suppress(ValueError):
            return digest_image(self._rows.batch[index])

    def _take(self, group, results):
        """Store the rows of a batch, and add its results."""
        kept = [
            None if isinstance(result, ImageError) or self._is_changed(index, digest) else result
            for (index, digest), result in zip(group.items(), results)
        ]
        self._store.write(self._key, self._description, list(group.values()), kept)
        self._rows.take(group, results)

    def _is_changed(self, index, digest):
        """Return whether the content of a file may differ from what was digested."""
        is_array = isinstance(self._rows.batch[index], np.ndarray)
        return digest is None or not (is_array or self._digest(index) == digest)
