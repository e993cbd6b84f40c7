"""Batches on several workers: joblib's backends, and Dask clusters."""

import os
import socket
from collections import deque
from contextlib import closing
from itertools import islice

import joblib
from sklearn import config_context, get_config

from featbus.bus._compute import compute
from featbus.bus._fingerprint import FingerprintError, fingerprint

_BATCHES_PER_WORKER = 10  # at a time, for backends that return all results at once
_CHECKED = set()  # fingerprints that this worker has found to be the same as in the main process


def iter_on_workers(transformer, batches, n_jobs, key, version):
    """Compute batches on the active backend: threads unless told otherwise.

    Parameters
    ----------
    transformer : estimator
        From image to row.
    batches : iterator of (object, list)
        Tag and images of each batch; consumed as needed, in another thread.
    n_jobs : int or None
        Number of workers.
    key, version : bytes or None, and str, int or None
        The transformer's fingerprint if its rows are stored, and what it was made with.

    Returns
    -------
    generator of (object, list of ndarray or ImageError), or None
        Tag and results of each batch, in order. None in a task of Dask, which does its own work.
    """
    task = _Task(transformer, key, version)
    backend, _ = joblib.parallel.get_active_backend()
    if not hasattr(backend, "client"):
        return _iter_on_joblib(task, batches, n_jobs)
    return None if _is_dask_task() else _iter_on_dask(backend.client, task, batches)


class _Task:
    """The work on a batch, for any thread, process or machine."""

    def __init__(self, transformer, key, version):
        self._transformer = transformer
        self._key = key
        self._version = version
        self._home = _process()
        self._config = get_config()  # of scikit-learn: other threads have their own

    def __call__(self, tag, items):
        """Return the tag and the results of a batch."""
        with config_context(**self._config):
            if self._key is not None and _process() != self._home:
                self._check_code()
            return tag, compute(self._transformer, items)

    def _check_code(self):
        """Raise if the transformer is another one in this process.

        Functions are sent by name: a worker imports their file, whatever has been changed since.
        """
        if self._key in _CHECKED:
            return
        if fingerprint(self._transformer, self._version) != self._key:
            raise FingerprintError(
                f"{type(self._transformer).__name__} is another one in this worker than in the "
                "process that stores its rows: code, files or installed packages differ. Change "
                "them in files, not at run time, and start new workers; or use threads."
            )
        _CHECKED.add(self._key)


def _process():
    return socket.gethostname(), os.getpid()


def _iter_on_joblib(task, batches, n_jobs):
    # Not scikit-learn's Parallel: it changes the filters of warnings in threads, which all share.
    # One task at a time: joblib would group several, and leave workers idle in the end.
    tasks = (joblib.delayed(task)(tag, items) for tag, items in batches)
    options = {"n_jobs": n_jobs, "batch_size": 1}
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    if backend.supports_return_generator:
        parallel = joblib.Parallel(prefer="threads", return_as="generator", **options)
        with closing(parallel(tasks)) as results:
            yield from results
        return
    # Ray and multiprocessing return nothing before all tasks are done: pass a few at a time.
    n_tasks = _BATCHES_PER_WORKER * joblib.effective_n_jobs(n_jobs)
    with joblib.Parallel(**options) as parallel:
        while some := list(islice(tasks, n_tasks)):
            yield from parallel(some)


def _is_dask_task():
    """Return whether this code runs on a worker of a Dask cluster."""
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


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
