"""Intervals of metrics, by the bootstrap over groups."""

import numpy as np
from sklearn.utils import check_random_state

from featbus.evaluation._metrics import ratio
from featbus.groups import resample_groups

N_RESAMPLES = 1000
_TAILS = [2.5, 97.5]  # percentiles
_CHUNK = 1_000_000  # weights of samples at a time: the arrays of a chunk take some 50 MB


def mean_over_folds(folds, counts):
    """Average the metrics over the folds, for any weights of the groups.

    Parameters
    ----------
    folds : list of (FoldMetrics, ndarray of int)
        The metrics of each fold, and the group of each of its samples (a column of `counts`).
    counts : ndarray of float of shape (n_weightings, n_groups)
        How often each group counts.

    Returns
    -------
    overall : ndarray of shape (n_weightings, n_metrics)
        Metrics of all classes, or the positive one.
    of_class : ndarray of shape (n_weightings, n_classes, n_metrics)
        Metrics of each class against the rest.
    """
    sums = [0.0, 0.0]
    totals = [0.0, 0.0]
    for metrics, group in folds:
        weights = counts[:, group]
        for i, values in enumerate(metrics(weights)):
            # Each fold is weighted by the share of its samples that was drawn.
            share = weights.mean(axis=1).reshape(-1, *[1] * (values.ndim - 1))
            known = ~np.isnan(values)
            sums[i] = sums[i] + np.where(known, share * values, 0)
            totals[i] = totals[i] + np.where(known, share, 0)
    return tuple(map(ratio, sums, totals))


def bootstrap(pipelines, n_groups, random_state, n_resamples=N_RESAMPLES):
    """Compute the metrics of resampled groups, the same resamples for all pipelines.

    Parameters
    ----------
    pipelines : dict of str to list
        Folds of each pipeline, as for `mean_over_folds`.
    n_groups : int
        Number of groups.
    random_state : int
        Seed.
    n_resamples : int, default=1000
        Number of resamples.

    Returns
    -------
    dict of str to tuple of ndarray
        What `mean_over_folds` returns for each pipeline, one row per resample.
    """
    rng = check_random_state(random_state)
    n_samples = max(sum(len(group) for _, group in folds) for folds in pipelines.values())
    chunk = max(1, _CHUNK // n_samples)
    parts = {name: [] for name in pipelines}
    for start in range(0, n_resamples, chunk):
        counts = resample_groups(n_groups, min(chunk, n_resamples - start), rng)
        for name, folds in pipelines.items():
            parts[name].append(mean_over_folds(folds, counts))
    return {name: tuple(map(np.concatenate, zip(*found))) for name, found in parts.items()}


def percentile_interval(resampled):
    """Return the ends of the 95% percentile interval along the first axis."""
    known = ~np.isnan(resampled)
    filled = np.where(known.any(axis=0), resampled, 0)
    return np.where(known.any(axis=0), np.nanpercentile(filled, _TAILS, axis=0), np.nan)
