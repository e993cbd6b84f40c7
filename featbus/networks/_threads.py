"""How many threads a network may use."""

import os
import sys
from contextlib import suppress
from functools import lru_cache

import joblib
from threadpoolctl import ThreadpoolController


def thread_limit():
    """Return how many threads a network may use at this moment.

    Returns
    -------
    int
        The usable cores, or as many as the most limited pool of threads in this process has.
        Workers of loky and Dask start with such limits, `threadpoolctl.threadpool_limits` and the
        variable ``OMP_NUM_THREADS`` set others.
    """
    # A library that brings a pool of threads comes with a module.
    pools = _pools(len(sys.modules)).info()
    limits = [info["num_threads"] for info in pools if info["num_threads"]]
    return max(1, min([joblib.cpu_count(), *limits]))


@lru_cache(maxsize=1)
def _pools(n_modules):
    """Find the pools of threads in this process, which takes milliseconds."""
    return ThreadpoolController()


def limit_tensorflow():
    """Hold TensorFlow to the limit of threads, unless it runs already or has one of its own.

    By itself it knows no limits, and takes all cores in each of several workers.
    """
    import tensorflow as tf

    threading, limit = tf.config.threading, thread_limit()
    own = threading.get_intra_op_parallelism_threads() or "TF_NUM_INTRAOP_THREADS" in os.environ
    if own or limit >= (os.cpu_count() or 1):
        return
    with suppress(RuntimeError):  # it has started
        threading.set_intra_op_parallelism_threads(limit)
        threading.set_inter_op_parallelism_threads(limit)
