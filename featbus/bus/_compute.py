"""Compute batches of images: in this process, on joblib's workers, or on a Dask cluster."""

import copy
import itertools
from collections import deque
from contextlib import closing, contextmanager, suppress

import cv2
import joblib
import numpy as np
from sklearn import config_context, get_config
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from featbus.base import FeatureExtractor, iter_ahead, iter_images, thread_limit
from featbus.bus._fingerprint import FingerprintError, fingerprint
from featbus.images import ImageError
from featbus.parameters import InvalidParameterError
from featbus.steps import is_resampler, reads_plainly, steps_of

_BATCHES_PER_WORKER = 10  # at a time
_CHECKED = set()  # fingerprints that are the same in this process as in the main process


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
            "after a step that returns images; `predict` returns the regions of a segmenter."
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


class _Task:
    """The work on a batch, for any thread, process or machine."""

    def __init__(self, transformer, key, version):
        self._transformer = transformer
        self._key = key
        self._version = version
        self._config = get_config()  # of scikit-learn: other threads have their own
        _CHECKED.add(key)

    def __call__(self, tag, items):
        """Return the tag and the results of a batch.

        Functions are sent by name, so that a worker may import other code than the main process
        has: the transformer must have the same fingerprint here.
        """
        with config_context(**self._config):
            if self._key is not None and self._key not in _CHECKED:
                if fingerprint(self._transformer, self._version) != self._key:
                    raise FingerprintError(
                        f"{type(self._transformer).__name__} differs between this worker and the "
                        "process that stores its rows, in code, files or installed packages. "
                        "Change code in files and start new workers; or use threads."
                    )
                _CHECKED.add(self._key)
            prepared = _try_to_prepare(self._transformer, items)
            return tag, _finish_or_retry(self._transformer, items, prepared)


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


def _iter_on_joblib(task, batches, n_jobs):
    """Compute batches on joblib's active backend: threads unless told otherwise."""
    # Not scikit-learn's Parallel: it changes the filters of warnings in threads, which all share.
    # One task at a time: joblib would group several, and leave workers idle in the end.
    tasks = (joblib.delayed(task)(tag, items) for tag, items in batches)
    # Ray returns nothing before all tasks are done: pass a few at a time.
    n_tasks = _BATCHES_PER_WORKER * joblib.effective_n_jobs(n_jobs)
    with joblib.Parallel(n_jobs=n_jobs, prefer="threads", batch_size=1) as parallel:
        while some := list(itertools.islice(tasks, n_tasks)):
            yield from parallel(some)


def _is_dask_task():
    """Return whether this code runs on a worker of a Dask cluster."""
    from distributed import get_worker

    with suppress(ValueError):
        return get_worker() is not None
    return False


def _iter_on_dask(client, task, batches):
    """Compute batches on a Dask cluster.

    Without joblib's Dask backend, which (as of 1.6) scatters arrays, so that some are lost with a
    worker, and which waits forever for a batch that Dask gave up on after it killed its workers.
    """
    waiting = deque()
    try:
        for tag, items in batches:
            waiting.append(client.submit(task, tag, items, pure=False))
            # Asked again each time: clusters grow and shrink.
            if len(waiting) > 2 * sum(client.nthreads().values()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        client.cancel(list(waiting))


def iter_results(transformer, batches, n_jobs=None, key=None, version=None):
    """Compute batches of images.

    Parameters
    ----------
    transformer : estimator
        From image to row.
    batches : iterable of (object, list)
        A tag of any kind and the images of each batch; consumed only as needed, possibly in another
        thread.
    n_jobs : int or None, default=None
        Number of joblib's workers. None: those of the active `joblib.parallel_config`, else one,
        while another thread reads ahead; 1: one, without other threads.
    key, version : optional
        The transformer's fingerprint, which is checked in other processes, and the version it was
        computed with.

    Yields
    ------
    (object, list of ndarray or ImageError)
        For each batch, in order: its tag, and the row or the error of each image.
    """
    task = _Task(transformer, key, version)
    backend, _ = joblib.parallel.get_active_backend()
    is_dask = hasattr(backend, "client")
    if is_dask and not _is_dask_task():
        results = _iter_on_dask(backend.client, task, batches)
    elif not is_dask and joblib.effective_n_jobs(n_jobs) > 1:
        results = _iter_on_joblib(task, batches, n_jobs)
    elif n_jobs is None:
        results = _iter_overlapped(transformer, batches)
    else:
        results = (task(tag, items) for tag, items in batches)
    with closing(results):
        yield from results
