"""Batches on several workers: joblib's backends, and Dask clusters."""

import os
from collections import deque
from contextlib import closing
from itertools import islice

import joblib
from sklearn.utils.parallel import Parallel, delayed

from featbus.images import is_path

_BATCHES_PER_WORKER = 10  # at a time, for backends that return all results at once


def _tagged(compute, tag, items):
    return tag, compute(items)


def iter_on_joblib(compute, batches, n_jobs):
    """Compute batches with joblib, in whatever backend is active; threads unless told otherwise.

    Parameters
    ----------
    compute : callable
        Makes results of the images of a batch.
    batches : iterable of (object, list)
        Tag and images of each batch; taken from it in a thread of joblib's own.
    n_jobs : int or None
        Number of workers.

    Yields
    ------
    (object, list)
        Tag and results of each batch, in order.
    """
    tasks = (delayed(_tagged)(compute, tag, items) for tag, items in batches)
    # One task at a time: joblib would group several, and leave workers idle in the end.
    options = {"n_jobs": n_jobs, "batch_size": 1}
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    if backend.supports_return_generator:
        parallel = Parallel(prefer="threads", return_as="generator", **options)
        with closing(parallel(tasks)) as results:
            yield from results
        return
    # Ray and multiprocessing return nothing before all tasks are done: pass a few at a time.
    n_tasks = _BATCHES_PER_WORKER * joblib.effective_n_jobs(n_jobs)
    with Parallel(**options) as parallel:
        while some := list(islice(tasks, n_tasks)):
            yield from parallel(some)


def is_dask_task():
    """Tell whether this code runs on a worker of a Dask cluster.

    Returns
    -------
    bool
        False in the process that submits the work.
    """
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


def iter_on_dask(client, compute, batches):
    """Compute batches on a Dask cluster.

    Without joblib's Dask backend, which (as of 1.6) scatters arrays, so that some are lost with a
    worker, and which waits forever for a batch that Dask gave up on after it killed its workers.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    compute : callable
        Makes results of the images of a batch.
    batches : iterable of (object, list)
        Tag and images of each batch, taken from it as workers become free.

    Yields
    ------
    (object, list)
        Tag and results of each batch, in order.
    """
    waiting = deque()
    try:
        for tag, items in batches:
            waiting.append((tag, items, client.submit(compute, items, pure=False)))
            # Asked again each time: clusters grow and shrink.
            if len(waiting) > 2 * sum(client.nthreads().values()):
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    finally:
        client.cancel([future for *_, future in waiting])


def _result(tag, items, future):
    from distributed import KilledWorker

    try:
        return tag, future.result()
    except KilledWorker as error:
        names = (repr(os.fspath(item)) if is_path(item) else "an array" for item in items)
        raise RuntimeError(
            f"Each of the workers that computed this batch of {len(items)} images died: "
            f"{', '.join(names)}. An image that is too large for their memory does that. Give "
            "workers more memory, make batch_size smaller, or leave the image out."
        ) from error
