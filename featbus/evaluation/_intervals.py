"""Intervals of scores, by the jackknife over groups."""

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from featbus.evaluation._comparison import LEVEL
from featbus.evaluation._metrics import METRICS, metric_range, ratio
from featbus.groups import count_groups

_MIN_GROUPS = 40
_MIN_GROUPS_OF_CLASS = 8
# These numbers were chosen by benchmarks/comparisons/interval_coverage.py --part choosing.
# Variance of a score, the training images included, over that due to the test images; more where
# a class gains what another one loses.
_TRAINING = 1.5
_TRAINING_OF_CLASS = 2
_OF_CLASS = ["sensitivity", "specificity", "precision", "npv", "f1"]
_PRIOR = 0.5  # groups whose variance is taken to be binomial
_MAX_BLOCKS = 500
_CHUNK = 1_000_000  # weights of samples at a time: the arrays of a chunk take some 50 MB


class FewGroupsWarning(UserWarning):
    """Few groups are tested: the intervals of the scores are unreliable.

    Read more in the :ref:`User Guide <evaluation>`.
    """


def describe_few_groups(codes, groups, names):
    """Say that too few groups are tested for reliable intervals.

    Parameters
    ----------
    codes : ndarray of int of shape (n_tested,)
        Classes of the tested samples.
    groups : ndarray of shape (n_tested,), or None
        Their groups; None counts each sample.
    names : list of str
        Names of the classes.

    Returns
    -------
    str
        A sentence; empty if there are enough groups.
    """
    what = "samples" if groups is None else "groups"
    n_groups = len(codes) if groups is None else len(np.unique(groups))
    if n_groups < _MIN_GROUPS:
        return (
            f"Only {n_groups} {what} tested: intervals are unreliable with fewer than "
            f"{_MIN_GROUPS}."
        )
    counts = count_groups(codes, groups)
    fewest = int(np.argmin(counts))
    if counts[fewest] < _MIN_GROUPS_OF_CLASS:
        name = names[np.unique(codes)[fewest]]
        return (
            f"Only {counts[fewest]} {what} of {name} tested: intervals of metrics about it are "
            f"unreliable with fewer than {_MIN_GROUPS_OF_CLASS}."
        )
    return ""


class Jackknife(NamedTuple):
    """What leaving out each group in turn tells about a mean over folds.

    Attributes
    ----------
    variance : ndarray
        Variance of the mean; NaN where fewer than two groups can be left out.
    bias : ndarray
        Bias of the mean due to the size of the test parts.
    """

    variance: np.ndarray
    bias: np.ndarray


def jackknife(folds, n_groups):
    """Leave out each group in turn, and average the metrics over the folds.

    Parameters
    ----------
    folds : list of (FoldMetrics, ndarray of int)
        The metrics of each fold, and the group of each of its samples, from 0.
    n_groups : int
        Number of groups. More than 500 are left out in 500 blocks.

    Returns
    -------
    overall, of_class : Jackknife
        For arrays of shape (n_metrics,) and (n_classes, n_metrics), the two results of
        `FoldMetrics`.
    """
    n_blocks = min(n_groups, _MAX_BLOCKS)
    parts = [_leave_out(metrics, group % n_blocks) for metrics, group in folds]
    return tuple(
        _combine([(blocks, share, values[i]) for blocks, share, values in parts], n_blocks)
        for i in range(2)
    )


def _leave_out(metrics, block):
    """Return a fold's blocks, and its share of samples and metrics: whole, then without each."""
    blocks, position = np.unique(block, return_inverse=True)
    left_out = np.arange(-1, len(blocks))
    shares, values = [], []
    step = max(1, _CHUNK // len(block))
    for start in range(0, len(left_out), step):
        weights = (left_out[start : start + step, np.newaxis] != position).astype(np.float64)
        shares.append(weights.mean(axis=1))
        values.append(metrics(weights))
    return blocks, np.concatenate(shares), tuple(map(np.concatenate, zip(*values)))


def _combine(parts, n_blocks):
    """Return the jackknife of the mean over folds, each weighted by its share of samples."""
    shape = parts[0][2].shape[1:]
    sums, totals = np.zeros((2, n_blocks, *shape))
    biases = []
    for blocks, share, values in parts:
        share = share.reshape(-1, *[1] * len(shape))
        known = ~np.isnan(values)
        weighted, weight = np.where(known, share * values, 0), np.where(known, share, 0)
        sums += weighted[0]
        totals += weight[0]
        sums[blocks] += weighted[1:] - weighted[0]
        totals[blocks] += weight[1:] - weight[0]
        biases.append((len(blocks) - 1) * (_mean(values[1:]) - values[0]))
    without = ratio(sums, totals)
    known = (~np.isnan(without)).sum(axis=0)
    squares = np.nansum((without - _mean(without)) ** 2, axis=0)
    variance = np.where(known > 1, squares * (known - 1) / np.maximum(known, 1), np.nan)
    return Jackknife(variance, _mean(np.array(biases)))


def _mean(values):
    """Return the mean along the first axis of the values that are not NaN."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=0), known.sum(axis=0))


def count_informative(has_class):
    """Count the groups that tell about each metric of each class against the rest.

    Parameters
    ----------
    has_class : ndarray of bool of shape (n_groups, n_classes)
        Whether a group has samples of a class.

    Returns
    -------
    ndarray of int of shape (n_classes, n_metrics)
        For accuracy and Brier score all groups; for sensitivity those with samples of the class;
        for specificity those with samples of others; for the rest the fewer of the two.
    """
    own = has_class.sum(axis=0)
    other = np.stack(
        [np.delete(has_class, k, axis=1).any(axis=1).sum() for k in range(has_class.shape[1])]
    )
    every = np.full_like(own, len(has_class))
    special = {"accuracy": every, "brier": every, "sensitivity": own, "specificity": other}
    fewer = np.minimum(own, other)
    return np.stack([special.get(metric, fewer) for metric in METRICS], axis=-1)


def score_interval(score, found, n_groups, n_classes=2):
    """Return the 95% intervals of the metrics.

    Parameters
    ----------
    score : ndarray of shape (n_metrics,)
        Means over the folds.
    found : Jackknife
        Their variance and bias.
    n_groups : ndarray of int of shape (n_metrics,)
        Number of groups that tell about each metric.
    n_classes : int, default=2
        Number of classes; the Brier score of more than two is a sum, from 0 to 2.

    Returns
    -------
    low, high : ndarray of shape (n_metrics,)
        Ends of the intervals.
    """
    start, end = np.transpose([metric_range(metric, n_classes) for metric in METRICS])
    span = end - start
    share = np.clip((score - start) / span, 0, 1)
    factor = np.where(np.isin(METRICS, _OF_CLASS), _TRAINING_OF_CLASS, _TRAINING)
    variance = factor * found.variance / span**2
    # The average precision of a few groups is too high; all other biases are small.
    bias = np.where(np.isin(METRICS, "pr_auc") & ~np.isnan(found.bias), found.bias, 0)
    lows, highs = np.stack(
        [
            wilson_interval(center, variance, np.maximum(n_groups, 1))
            for center in (share, np.clip(share - bias, 0, 1))
        ],
        axis=1,
    )
    low, high = start + span * lows.min(axis=0), start + span * highs.max(axis=0)
    return np.minimum(low, score), np.maximum(high, score)  # rounding errors


def wilson_interval(share, variance, n_groups):
    """Return Wilson's score interval of a share whose variance was estimated from groups.

    The share counts as that of n independent samples, n = share (1 - share) / variance [1]_ [2]_,
    and Student's distribution with ``n_groups - 1`` degrees of freedom replaces the normal one.

    Parameters
    ----------
    share : ndarray
        From 0 to 1.
    variance : ndarray
        Variance of the share; half a group with the variance of a share of `n_groups` independent
        samples is added. NaN if unknown: n is then `n_groups`, as it is if the share is 0 or 1 and
        the variance 0.
    n_groups : ndarray of int
        Number of groups.

    Returns
    -------
    low, high : ndarray
        From 0 to 1.

    References
    ----------
    .. [1] Wilson EB. Probable inference, the law of succession, and statistical inference. Journal
       of the American Statistical Association 22 (1927) 209-212.
    .. [2] Korn EL, Graubard BI. Confidence intervals for proportions with small expected number of
       positive counts estimated from survey data. Survey Methodology 24 (1998) 193-201.

    Examples
    --------
    >>> from featbus.evaluation._intervals import wilson_interval
    >>> low, high = wilson_interval(1.0, 0.0, 40)
    >>> round(float(low), 3), round(float(high), 3)
    (0.907, 1.0)
    """
    spread = share * (1 - share)
    inverse = (variance + _PRIOR / n_groups**2) / (spread + _PRIOR / n_groups)  # 1 / n
    inverse = np.where(np.isnan(variance), 1 / n_groups, inverse)
    z = student.ppf((1 + LEVEL) / 2, np.maximum(n_groups - 1, 1))
    center = share + z**2 * inverse / 2
    half = z * np.sqrt(spread * inverse + (z * inverse / 2) ** 2)
    low, high = (
        np.clip(end / (1 + z**2 * inverse), 0, 1) for end in (center - half, center + half)
    )
    return low, high
