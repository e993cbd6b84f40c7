"""Batches through a transformer: in order, overlapped or in parallel, with failures set apart."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain, islice

import cv2
import joblib
import numpy as np
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.parallel import Parallel, delayed

from featbus.base import FeatureExtractor, ImageTransformer, iter_images
from featbus.images import is_path
from featbus.networks import thread_limit
from featbus.preprocessing import ImageLoader

# What one bad image raises. Anything else, such as missing weights, is wrong for all of them.
_IMAGE_ERRORS = (ValueError, cv2.error)
_BATCHES_A_WORKER = 10  # handed at a time to backends that return nothing before all is done


def _reads_plainly(transformer):
    """Tell whether a transformer reads paths as `ImageLoader()` would."""
    if isinstance(transformer, Pipeline):
        return _reads_plainly(transformer.steps[0][1])
    if isinstance(transformer, FeatureUnion):
        return all(_reads_plainly(step) for _, step in transformer.transformer_list)
    is_ours = isinstance(transformer, (FeatureExtractor, ImageTransformer))
    return is_ours and not isinstance(transformer, ImageLoader)


def _prepare(transformer, items, n_threads=1):
    """Read and preprocess; return the last step, and what to hand to it."""
    if _reads_plainly(transformer) and any(map(is_path, items)):
        # Once, however many steps of a FeatureUnion want it.
        items = list(iter_images(items, n_threads=n_threads))
    last = transformer
    if isinstance(transformer, Pipeline) and len(transformer) > 1:
        last, items = transformer[-1], transformer[:-1].transform(items)
    return last, last._prepare(items) if isinstance(last, FeatureExtractor) else items


def _finish(last, prepared):
    is_ours = isinstance(last, FeatureExtractor)
    return list(np.asarray(last._finish(prepared) if is_ours else last.transform(prepared)))


def _one_by_one(transformer, items):
    """Return each image's row, or the error that it raised."""
    results = []
    for item in items:
        try:
            results += _finish(*_prepare(transformer, [item]))
        except _IMAGE_ERRORS as error:
            results.append(error)
    return results


def _compute(transformer, items):
    """Return the rows of a batch; if it fails, those of the images that do not, and the errors."""
    try:
        return _finish(*_prepare(transformer, items))
    except _IMAGE_ERRORS:
        return _one_by_one(transformer, items)


def _in_turn(transformer, batches):
    """Compute batches in order, in this thread."""
    for items in batches:
        yield _compute(transformer, items)


def _overlapped(transformer, batches):
    """Compute batches in order; others are prepared, and handed over, meanwhile."""
    batches, n_threads = iter(batches), thread_limit()
    first = next(batches, None)
    if first is None:  # all rows were in the store: no need to start threads
        return
    batches = chain([first], batches)

    def prepare_next():
        items = next(batches, None)
        if items is None:
            return None
        try:
            return items, _prepare(transformer, items, n_threads)
        except _IMAGE_ERRORS:
            return items, None

    reader, worker = ThreadPoolExecutor(max_workers=1), ThreadPoolExecutor(max_workers=1)
    try:
        coming, current = reader.submit(prepare_next), None
        while (batch := coming.result()) is not None:
            coming = reader.submit(prepare_next)
            previous, current = current, worker.submit(_finished, transformer, *batch)
            if previous is not None:
                yield previous.result()
        if current is not None:
            yield current.result()
    finally:
        for executor in (reader, worker):
            executor.shutdown(cancel_futures=True)


def _finished(transformer, items, prepared):
    """Return the results of a batch of which all but the last step is done, if that went well."""
    if prepared is not None:
        try:
            return _finish(*prepared)
        except _IMAGE_ERRORS:
            pass
    return _one_by_one(transformer, items)


def _parallel(transformer, batches, n_jobs):
    """Compute batches with joblib, in whatever backend is active; threads unless told otherwise."""
    tasks = (delayed(_compute)(transformer, items) for items in batches)
    # One task at a time: joblib would hand out several, and have workers idle in the end.
    alone = {"n_jobs": n_jobs, "batch_size": 1}
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    if backend.supports_return_generator:
        parallel = Parallel(prefer="threads", return_as="generator", **alone)
        with closing(parallel(tasks)) as results:
            yield from results
        return
    # Ray and multiprocessing hand over nothing before all is done: give them a little at a time.
    n_tasks = _BATCHES_A_WORKER * joblib.effective_n_jobs(n_jobs)
    with Parallel(**alone) as parallel:
        while some := list(islice(tasks, n_tasks)):
            yield from parallel(some)


def _dask_client():
    """Return the client of joblib's active backend if that is Dask, else None."""
    backend, _ = joblib.parallel.get_active_backend()
    return getattr(backend, "client", None)


def _is_dask_task():
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


def _on_dask(client, transformer, batches):
    """Compute batches on a Dask cluster.

    Without joblib's Dask backend (as of 1.6), which scatters arrays, so that a worker that dies
    takes some along, and waits forever for a batch that Dask gave up after it killed its workers.
    """
    from distributed import KilledWorker

    waiting = deque()

    def oldest():
        items, future = waiting.popleft()
        try:
            return future.result()
        except KilledWorker as error:
            raise RuntimeError(
                f"Each of the workers that computed this batch of {len(items)} images died: "
                f"{_names(items)}. An image that is too large for their memory does that. Give "
                "workers more memory, make batch_size smaller, or leave the image out."
            ) from error

    try:
        for items in batches:
            waiting.append((items, client.submit(_compute, transformer, items, pure=False)))
            # Asked anew each time: clusters grow and shrink.
            if len(waiting) > 2 * sum(client.nthreads().values()):
                yield oldest()
        while waiting:
            yield oldest()
    finally:
        client.cancel([future for _, future in waiting])


def _names(items):
    return ", ".join(repr(os.fspath(item)) if is_path(item) else "an array" for item in items)


def iter_results(transformer, batches, n_jobs=None):
    """Compute batches of images.

    Parameters
    ----------
    transformer : estimator
        From image to row.
    batches : iterable of list
        Batches of images, taken from it only as they are needed.
    n_jobs : int or None, default=None
        Number of joblib's workers. None: those of the active `joblib.parallel_config`, else one
        for which other threads read ahead; 1: one, with nothing beside it.

    Yields
    ------
    list of ndarray or Exception
        For each batch, in order: the row of each image, or the error that it raised.
    """
    client = _dask_client()
    n_workers = joblib.effective_n_jobs(n_jobs)  # Dask waits here for its first worker
    if client is not None and not _is_dask_task():
        results = _on_dask(client, transformer, batches)
    elif client is not None or n_workers == 1:
        compute = _overlapped if n_jobs is None else _in_turn
        results = compute(transformer, batches)
    else:
        results = _parallel(transformer, batches, n_jobs)
    with closing(results):
        yield from results
