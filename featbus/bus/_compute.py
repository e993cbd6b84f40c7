"""Rows of batches of images, computed here or on several workers."""

import itertools
import os
import socket
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import cv2
import joblib
import numpy as np
from sklearn import config_context, get_config
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from featbus.base import FeatureExtractor, ImageTransformer, iter_ahead, iter_images, thread_limit
from featbus.bus._fingerprint import fingerprint
from featbus.bus._walk import FingerprintError
from featbus.bus._workers import is_dask_task, iter_on_dask, iter_on_joblib
from featbus.images import ImageError
from featbus.io import SpacedImage
from featbus.parameters import InvalidParameterError
from featbus.steps import is_resampler, reads_plainly, steps_of

_CHECKED = set()  # fingerprints that this worker has found to be the same as in the main process


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
        Copies of arrays, and the same paths; of a `SpacedImage`, of what it holds.
    """
    if isinstance(items, np.ndarray):
        return items.copy("K")
    return list(map(_copied, items))


def _copied(item):
    if isinstance(item, SpacedImage):
        return replace(item, image=_copied(item.image))
    return item.copy("K") if isinstance(item, np.ndarray) else item


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
    try:
        return _prepare(transformer, items, n_threads)
    except ImageError:
        return None


def _results(transformer, items, prepared):
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
    """The work on a batch, for any thread, process or machine.

    Parameters
    ----------
    transformer : estimator
        From images to rows.
    key : bytes or None
        The transformer's fingerprint, if its rows are stored under that.
    """

    def __init__(self, transformer, key):
        self._transformer = transformer
        self._key = key
        self._home = _process()
        self._config = get_config()  # of scikit-learn: other threads have their own

    def __call__(self, items):
        """Return the row of each image of a batch, or the error that it raised."""
        with config_context(**self._config):
            if self._key is not None and _process() != self._home:
                _check_same_code(self._transformer, self._key)
            return _results(self._transformer, items, _try_to_prepare(self._transformer, items))


def _process():
    return socket.gethostname(), os.getpid()


def _check_same_code(transformer, key):
    """Raise if a transformer is another one in this process than in the one that stores its rows.

    Its functions are sent by name: a worker imports their file, whatever has been changed since.
    """
    if key in _CHECKED:
        return
    if fingerprint(transformer) != key:
        raise FingerprintError(
            f"{type(transformer).__name__} is another one in this worker than in the process that "
            "stores its rows: code, variables of modules or of the environment, files or "
            "installed packages differ. Change them in files, not at run time, and start new "
            "workers; or use threads."
        )
    _CHECKED.add(key)


def _iter_overlapped(transformer, batches):
    """Compute batches in order, while the next is prepared and the previous one is consumed."""
    first, n_threads = next(batches, None), thread_limit()
    if first is None:  # all rows were in the store: do not start threads
        return
    prepared = (
        (tag, items, _try_to_prepare(transformer, items, n_threads))
        for tag, items in itertools.chain([first], batches)
    )
    # Each is closed here: left to the garbage collector, it would join its thread at any moment.
    with closing(iter_ahead(prepared)) as ahead:
        computed = ((tag, _results(transformer, *rest)) for tag, *rest in ahead)
        with closing(iter_ahead(computed)) as results:
            yield from results


def iter_results(transformer, batches, n_jobs=None, key=None):
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
    key : bytes or None, default=None
        The transformer's fingerprint, which is checked in other processes.

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

    with closing(_iter_computed(transformer, until_error(), n_jobs, key)) as results:
        yield from results
    if errors:
        raise errors[0]


def _iter_computed(transformer, batches, n_jobs, key):
    """Return an iterator that computes batches on the active backend."""
    compute = _Task(transformer, key)
    backend, _ = joblib.parallel.get_active_backend()
    client = getattr(backend, "client", None)  # Dask's
    n_workers = joblib.effective_n_jobs(n_jobs)  # Dask waits here for its first worker
    if client is not None and not is_dask_task():
        return iter_on_dask(client, compute, batches)
    if client is None and n_workers > 1:
        return iter_on_joblib(compute, batches, n_jobs)
    if n_jobs is None:
        return _iter_overlapped(transformer, batches)
    return ((tag, compute(items)) for tag, items in batches)
