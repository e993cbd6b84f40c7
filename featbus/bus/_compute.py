"""The rows of images: looked up, or computed here or on several workers, and stored."""

import copy
import itertools
import logging
import threading
import time
import uuid
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple

import cv2
import joblib
import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from featbus.base import FeatureExtractor, ImageTransformer, iter_ahead, iter_images, thread_limit
from featbus.bus._fingerprint import digest_with_status, file_status
from featbus.bus._store import FeatureStore, chunked
from featbus.images import ImageError, is_path
from featbus.io import ImageReadError
from featbus.parameters import InvalidParameterError
from featbus.steps import is_resampler, reads_plainly, steps_of

_LOG = logging.getLogger("featbus")
_RENEWAL = 5.0  # seconds between renewals of claims, which live for 20
_POLL = 0.05  # seconds between look-ups of rows that another process computes
_LOOKUP = 256  # images digested and looked up at a time


@contextmanager
def as_image_errors():
    """Turn a `ValueError` or ``cv2.error`` that a foreign step raises into an `ImageError`.

    Errors that are not about an image, such as a wrong parameter, pass unchanged.
    """
    try:
        yield
    except (ImageError, InvalidParameterError, NotFittedError):
        raise
    except (ValueError, cv2.error) as error:
        raise ImageError(str(error).strip()) from error


def copied(items):
    """Copy the images of a batch: a function may change them in place.

    Parameters
    ----------
    items : ndarray or list
        Images.

    Returns
    -------
    ndarray or list
        Copies of arrays, and the same paths.
    """
    # One by one: `deepcopy` of the list would keep two places of one array the same array.
    return items.copy("K") if isinstance(items, np.ndarray) else list(map(copy.deepcopy, items))


def _chain(transformer):
    """Return the steps that images pass through, one after another."""
    if not isinstance(transformer, (Pipeline, FrozenEstimator)):
        return [transformer]
    steps = [step for _, step in steps_of(transformer) if not is_resampler(step)]
    return [part for step in steps for part in _chain(step)]


@as_image_errors()
def _prepare(transformer, items, n_threads=1):
    """Read images and run all steps but the last; return the last step and its input."""
    items = copied(items)
    if reads_plainly(transformer) and not all(isinstance(item, np.ndarray) for item in items):
        # Files, also those in a SpacedImage: once for all steps of a FeatureUnion.
        items = list(iter_images(items, n_threads=n_threads))
    *before, last = _chain(transformer) or [transformer]
    for step in before:
        items = step.transform(items)
    if _runs_in_two_parts(last):
        items = list(last._iter_prepared(last._check_batch(items, reset=False)))
    return last, items


@as_image_errors()
def _finish(last, prepared):
    """Run the last step; return the rows."""
    if _runs_in_two_parts(last):
        return list(last._stack_rows(prepared, len(prepared)))
    if isinstance(last, ImageTransformer):
        raise InvalidParameterError(
            f"transformer ends with {last!r}, which makes images, expected rows of features. Put "
            "an extractor after it; the regions of a segmenter are what `predict` returns."
        )
    rows = list(np.asarray(last.transform(prepared)))
    if len(rows) != len(prepared):
        raise InvalidParameterError(
            f"transformer is {last!r}, which made {len(rows)} rows of {len(prepared)} images, "
            "expected one row per image."
        )
    return rows


def _runs_in_two_parts(last):
    return getattr(type(last), "transform", None) is FeatureExtractor.transform


def _try_to_prepare(transformer, items, n_threads=1):
    """Return the result of `_prepare`, or None if an image fails."""
    with suppress(ImageError):
        return _prepare(transformer, items, n_threads)


def _finish_or_retry(transformer, items, prepared):
    """Finish a prepared batch; if an image fails, compute its images one by one."""
    if prepared is not None:
        with suppress(ImageError):
            return _finish(*prepared)
    results = []
    for index in range(len(items)):
        try:
            results += _finish(*_prepare(transformer, items[index : index + 1]))
        except ImageError as error:
            results.append(error.at(error.index))  # without the traceback, which holds frames
    return results


def compute(transformer, items):
    """Return the row of each image of a batch, or the error that it raised.

    Parameters
    ----------
    transformer : estimator
        From images to rows.
    items : ndarray or list
        The images.

    Returns
    -------
    list of ndarray or ImageError
        One per image.
    """
    return _finish_or_retry(transformer, items, _try_to_prepare(transformer, items))


def _iter_overlapped(transformer, batches):
    """Compute a batch while the next one is read and prepared, and the previous one is consumed."""
    first, n_threads = next(batches, None), thread_limit()
    if first is None:  # all rows were in the store: do not start threads
        return
    prepared = (
        (tag, items, _try_to_prepare(transformer, items, n_threads))
        for tag, items in itertools.chain([first], batches)
    )
    # Each is closed here: left to the garbage collector, it would join its thread at any moment.
    with closing(iter_ahead(prepared)) as ahead:
        computed = ((tag, _finish_or_retry(transformer, *rest)) for tag, *rest in ahead)
        with closing(iter_ahead(computed)) as results:
            yield from results


def iter_results(transformer, batches, n_jobs=None, key=None, version=None):
    """Compute batches of images.

    Parameters
    ----------
    transformer : estimator
        From image to row.
    batches : iterable of (object, list)
        A tag of any kind and the images of each batch; consumed only as needed, possibly in another
        thread. An error it raises is raised here, after the results of the batches before it.
    n_jobs : int or None, default=None
        Number of joblib's workers. None: those of the active `joblib.parallel_config`, else one,
        while other threads read ahead; 1: one, without other threads.
    key, version : optional
        The transformer's fingerprint, which is checked in other processes, and what it was made
        with.

    Yields
    ------
    (object, list of ndarray or ImageError)
        For each batch, in order: its tag, and the row or the error of each image.
    """
    errors = []

    def until_error():
        # An error in joblib's thread that consumes batches would leave the caller waiting forever.
        try:
            yield from batches
        except Exception as error:
            errors.append(error)

    results = None
    backend, _ = joblib.parallel.get_active_backend()
    if joblib.effective_n_jobs(n_jobs) > 1 or hasattr(backend, "client"):  # Dask's
        from featbus.bus._workers import iter_on_workers

        results = iter_on_workers(transformer, until_error(), n_jobs, key, version)
    if results is None and n_jobs is None:
        results = _iter_overlapped(transformer, until_error())
    elif results is None:
        results = ((tag, compute(transformer, items)) for tag, items in until_error())
    with closing(results):
        yield from results
    if errors:
        raise errors[0]


class Rows:
    """The rows of images, and the errors of those without one.

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
    """

    def __init__(self, batch, on_error, progress, start=0):
        self.batch = batch
        self._on_error = on_error
        self._progress = progress
        self._start = start
        self._array = None
        self._errors = {}
        self._lock = threading.Lock()  # look-ups are made in another thread

    def items(self, indices):
        """Return some images.

        Parameters
        ----------
        indices : sequence of int
            Their positions in `batch`.

        Returns
        -------
        ndarray or list
            Of the type of `batch`.
        """
        if isinstance(self.batch, np.ndarray):
            return self.batch[indices]
        return [self.batch[index] for index in indices]

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
            With ``on_error="raise"``, for an image without a row; always, if a row is not as long
            as those before it.
        """
        for index, result in zip(indices, results):
            with self._lock:
                if isinstance(result, ImageError):
                    self._errors[index] = self._located(result, index)
                    if self._on_error == "raise":
                        raise self._errors[index] from result
                else:
                    self._place(index, result)
                self._progress.update()

    def _place(self, index, row):
        if self._array is None:
            self._array = self._empty_for(row)
        n_features = self._array.shape[1]
        if len(row) != n_features:
            error = ImageError(
                f"found {len(row)} features, expected {n_features} as in the images before. "
                "Bring the images to one size first: Resize."
            )
            raise self._located(error, index)
        dtype = np.result_type(self._array, row)
        if dtype != self._array.dtype:  # such as float64 after float32, which some steps return
            self._array = self._array.astype(dtype)
        self._array[index] = row

    def _empty_for(self, row):
        dtype = row.dtype
        if self._on_error == "nan" and dtype.kind != "f":
            dtype = np.result_type(dtype, np.float64)  # integers have no NaN
        # Not filled: that would take longer than computing some features.
        return np.empty((len(self.batch), len(row)), dtype)

    def _located(self, error, index):
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
        return [error for _, error in sorted(self._errors.items())]

    def array(self):
        """Return the rows.

        Returns
        -------
        ndarray of shape (n_images, n_features), or None
            NaN where an image has no row; None if no image has one.
        """
        if self._array is not None and self._errors:
            self._array[list(self._errors)] = np.nan
        return self._array


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
        The transformer's fingerprint, if rows are stored under it, and what it was made with.
    """

    def run(batches, take):
        with closing(iter_results(transformer, batches, n_jobs, key, version)) as computed:
            for tag, results in computed:
                _LOG.debug("Computed the rows of %d images", len(results))
                take(tag, results)

    if memory is None:
        starts = range(0, len(rows.batch), batch_size)
        run(((range(s, s + batch_size), rows.batch[s : s + batch_size]) for s in starts), rows.take)
        return
    store = memory if isinstance(memory, FeatureStore) else FeatureStore(memory)
    description = " ".join(str(transformer).split())
    store.open()
    try:
        _StoredRun(rows, store, key, description).execute(run, batch_size)
    finally:
        if store is not memory:
            store.close()


class _Wanted(NamedTuple):
    """An image without a row: its position, digest (None if unreadable), and file status then."""

    index: int
    digest: bytes | None
    status: tuple | None


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
            digests = [wanted.digest for wanted in chunk if wanted.digest]
            free = {None, *self._store.claim(self._key, digests, self._owner)}
            waiting += [wanted.index for wanted in chunk if wanted.digest not in free]
            if group := [wanted for wanted in chunk if wanted.digest in free]:
                yield group, self._rows.items([wanted.index for wanted in group])

    def _missing(self, indices, waiting):
        """Yield the images that are not stored, one for each content; add the rows of others."""
        seen = set()
        for chunk in chunked(map(self._wanted, indices), _LOOKUP):
            digests = {wanted.digest for wanted in chunk if wanted.digest}
            found = self._store.read(self._key, list(digests))
            _LOG.debug("Found the rows of %d of %d images in the store", len(found), len(digests))
            for wanted in chunk:
                if wanted.digest in found:
                    self._rows.take([wanted.index], [found[wanted.digest]])
                elif wanted.digest in seen - self._tried:
                    waiting.append(wanted.index)
                else:
                    seen |= {wanted.digest} - {None}
                    yield wanted
        self._tried |= seen

    def _wanted(self, index):
        try:
            return _Wanted(index, *digest_with_status(self._rows.batch[index]))
        except ValueError:  # no file, or no image: the transformer will say so
            return _Wanted(index, None, None)

    def _take(self, group, results):
        """Store the rows of a batch, and add its results."""
        kept = [
            None if isinstance(result, ImageError) or self._is_changed(wanted) else result
            for wanted, result in zip(group, results)
        ]
        digests = [wanted.digest for wanted in group]
        self._store.write(self._key, self._description, digests, kept)
        self._rows.take([wanted.index for wanted in group], results)

    def _is_changed(self, wanted):
        """Return whether a file may have been written since it was digested."""
        with suppress(ImageReadError):
            status = file_status(self._rows.batch[wanted.index])
            return wanted.digest is None or wanted.status != status
        return True
