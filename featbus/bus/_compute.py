"""One run over a batch of images: look rows up in the store, compute and store the others.

Batches are computed in this process, or on joblib's workers.
"""

import copy
import logging
import threading
import time
import uuid
from contextlib import closing, contextmanager, suppress

import cv2
import joblib
import numpy as np
from sklearn import config_context, get_config
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, gen_batches

from featbus.base import FeatureExtractor, iter_ahead, iter_images, thread_limit
from featbus.bus._fingerprint import CHECKED, check_key, describe_transformer, try_digest
from featbus.bus._store import FeatureStore, chunked
from featbus.images import ImageError, is_path
from featbus.parameters import InvalidParameterError
from featbus.steps import is_resampler, reads_plainly, steps_of

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

    Attributes
    ----------
    results : list of ndarray of shape (n_features,) or ImageError
        In the order of the images; None where there is neither yet.
    """

    def __init__(self, batch, on_error, progress):
        self.batch = batch
        self.results = [None] * len(batch)
        self._on_error = on_error
        self._progress = progress

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
        return error.at(index, item if is_path(item) else None)

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
            is_row = not isinstance(result, ImageError)
            if is_row and len(result) != len(rows[0]):
                found = f"found {len(result)} features, expected {len(rows[0])} as in the images"
                raise self._locate(ImageError(f"{found} before. Use Resize first."), index)
            array[index] = result if is_row else np.nan
        return array


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
    """Copy the images of a batch, since a function may change them in place.

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
    rows = np.asarray(last.transform(prepared))
    if len(rows) != len(prepared) or (rows.ndim != 2 and rows.dtype != object):
        raise InvalidParameterError(
            f"transformer ends with {last!r}, which returned an array of shape {rows.shape} for "
            f"{len(prepared)} images, expected one row of features per image. Put an extractor "
            "last; `predict` returns the regions of a segmenter."
        )
    return list(rows)


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


def _compute(tag, items, transformer, key, version, config):
    """Return the tag and the results of a batch, on any thread, process or machine.

    Functions are sent by name, so that a worker may import other code than the main process has:
    the transformer must have the same fingerprint here.
    """
    with config_context(**config):
        check_key(transformer, version, key)
        prepared = _try_to_prepare(transformer, items)
        return tag, _finish_or_retry(transformer, items, prepared)


def _iter_overlapped(transformer, batches):
    """Compute batches while the next one is read and prepared."""
    n_threads = thread_limit()
    prepared = (
        (tag, items, _try_to_prepare(transformer, items, n_threads)) for tag, items in batches
    )
    # Closed here: left to the garbage collector, it would join its thread at any moment.
    with closing(iter_ahead(prepared)) as ahead:
        for tag, items, ready in ahead:
            yield tag, _finish_or_retry(transformer, items, ready)


def _iter_results(transformer, batches, bus, key):
    """Return an iterator of the tag of each batch, in order, with its rows or errors.

    `batches` are pairs of a tag and images, consumed only as needed, possibly in another thread.
    """
    CHECKED.add(key)
    config = get_config()  # of scikit-learn: other threads have their own
    fixed = {"transformer": transformer, "key": key, "version": bus.version, "config": config}
    backend, _ = joblib.parallel.get_active_backend()
    # Not on Dask's cluster: `to_parquet` runs there, and no rows have to come back.
    if not hasattr(backend, "client") and joblib.effective_n_jobs(bus.n_jobs) > 1:
        # Threads unless told otherwise, one task at a time: joblib would group several, and leave
        # workers idle in the end. Not scikit-learn's Parallel: it changes the filters of warnings
        # in threads, which all share.
        parallel = joblib.Parallel(bus.n_jobs, None, "generator", prefer="threads", batch_size=1)
        return parallel(joblib.delayed(_compute)(*batch, **fixed) for batch in batches)
    if bus.n_jobs is None:
        return _iter_overlapped(transformer, batches)
    return (_compute(*batch, **fixed) for batch in batches)


def fill(rows, transformer, bus, key):
    """Fill in all rows; look them up first if there is a store.

    Parameters
    ----------
    rows : Rows
        Empty.
    transformer : estimator
        The fitted transformer.
    bus : FeatureBus
        Its `memory`, `batch_size`, `n_jobs` and `version` are used.
    key : bytes or None
        The transformer's fingerprint if rows are stored under it.
    """

    def run(batches, take):
        with closing(_iter_results(transformer, batches, bus, key)) as computed:
            for tag, results in computed:
                _LOG.debug("Computed the rows of %d images", len(results))
                take(tag, results)

    if bus.memory is None:
        n_images = len(rows.batch)
        parts = gen_batches(n_images, bus.batch_size)
        run(((range(n_images)[part], rows.batch[part]) for part in parts), rows.take)
        return
    is_open = isinstance(bus.memory, FeatureStore)
    with bus.memory if is_open else FeatureStore(bus.memory) as store:
        _StoredRun(rows, store, key, transformer).execute(run, bus.batch_size)


class _StoredRun:
    """One run whose rows are stored; no other run computes an image that it has claimed."""

    def __init__(self, rows, store, key, transformer):
        self._rows = rows
        self._store = store
        self._key = key
        self._description = describe_transformer(transformer)
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
            digests = {index: try_digest(self._rows.batch[index]) for index in chunk}
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
        item = self._rows.batch[index]
        return digest is None or not (isinstance(item, np.ndarray) or try_digest(item) == digest)
