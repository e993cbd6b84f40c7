"""Intervals of scores by the jackknife over groups, and tests between pipelines."""

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import rankdata
from scipy.stats import t as student

from featbus.evaluation._metrics import METRICS, mean_of_known, metric_range, ratio
from featbus.groups import count_groups

LEVEL = 0.95  # of all intervals
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


class FewGroupsWarning(UserWarning):
    """Few groups are tested: the intervals of the scores are unreliable.

    Read more in the :ref:`User Guide <evaluation>`.

    See Also
    --------
    featbus.evaluate : Warns with it.
    """


def describe_few_groups(codes, groups, names):
    """Return a warning if too few groups are tested for reliable intervals.

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
    counts = count_groups(codes, groups)
    fewest = int(np.argmin(counts))
    if n_groups >= _MIN_GROUPS and counts[fewest] >= _MIN_GROUPS_OF_CLASS:
        return ""
    return (
        f"Only {n_groups} {what} tested, {counts[fewest]} of {names[np.unique(codes)[fewest]]}: "
        f"intervals are unreliable with fewer than {_MIN_GROUPS}, or {_MIN_GROUPS_OF_CLASS} of a "
        "class."
    )


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
    overall, of_class : ndarray of shape (2, n_metrics) and (2, n_classes, n_metrics)
        The variance of the means, NaN where fewer than two groups can be left out, and their bias
        due to the size of the test parts, for the two results of `FoldMetrics`.
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
    weights = (np.arange(-1, len(blocks))[:, np.newaxis] != position).astype(np.float64)
    return blocks, weights.mean(axis=1), metrics(weights)


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
        biases.append((len(blocks) - 1) * (mean_of_known(values[1:], axis=0) - values[0]))
    without = ratio(sums, totals)
    known = (~np.isnan(without)).sum(axis=0)
    squares = np.nansum((without - mean_of_known(without, axis=0)) ** 2, axis=0)
    variance = np.where(known > 1, squares * (known - 1) / np.maximum(known, 1), np.nan)
    return np.stack([variance, mean_of_known(np.array(biases), axis=0)])


def count_informative(has_class):
    """Count the groups that each metric of each class against the rest depends on.

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
    # All groups but those with samples of this class alone.
    other = len(has_class) - (has_class & (has_class.sum(axis=1, keepdims=True) == 1)).sum(axis=0)
    every = np.full_like(own, len(has_class))
    special = {"accuracy": every, "brier": every, "sensitivity": own, "specificity": other}
    return np.stack([special.get(metric, np.minimum(own, other)) for metric in METRICS], axis=-1)


def score_interval(score, estimates, n_groups, n_classes=2, is_fitted=False):
    """Return the 95% intervals of the metrics.

    Parameters
    ----------
    score : ndarray of shape (n_metrics,)
        Means over the folds.
    estimates : ndarray of shape (2, n_metrics)
        Their variance and bias, see `jackknife`.
    n_groups : ndarray of int of shape (n_metrics,)
        Number of groups that each metric depends on.
    n_classes : int, default=2
        Number of classes; the Brier score of more than two is a sum, from 0 to 2.
    is_fitted : bool, default=False
        Whether the pipelines were fitted before: the interval is that of these models, without the
        variance due to training images.

    Returns
    -------
    low, high : ndarray of shape (n_metrics,)
        Ends of the intervals.
    """
    start, end = np.transpose([metric_range(metric, n_classes) for metric in METRICS])
    span = end - start
    share = np.clip((score - start) / span, 0, 1)
    factor = np.where(np.isin(METRICS, _OF_CLASS), _TRAINING_OF_CLASS, _TRAINING)
    factor = 1 if is_fitted else factor
    variance, bias = estimates
    variance = factor * variance / span**2
    # The average precision of a few groups is too high; all other biases are small.
    bias = np.where(np.isin(METRICS, "pr_auc") & ~np.isnan(bias), bias, 0)
    centers = np.stack([share, np.clip(share - bias, 0, 1)])
    low, high = wilson_interval(centers, variance, np.maximum(n_groups, 1))
    low, high = start + span * low.min(axis=0), start + span * high.max(axis=0)
    return np.minimum(low, score), np.maximum(high, score)  # rounding errors


def wilson_interval(share, variance, n_groups):
    """Return Wilson's score interval of a share whose variance was estimated from groups.

    The effective number of independent samples is n = share (1 - share) / variance [1]_ [2]_,
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
    ends = np.stack([center - half, center + half])
    return tuple(np.clip(ends / (1 + z**2 * inverse), 0, 1))


def corrected_t_test(differences, n_train, n_test):
    """Test whether two pipelines differ, by the corrected resampled t-test.

    The training parts of cross-validation share samples, so the differences of the folds are not
    independent, and the ordinary t-test finds differences where there are none. With J differences
    of mean d and variance s² (divisor J - 1), the corrected statistic

        t = d / sqrt((1 / J + n_test / n_train) s²)

    follows Student's distribution with J - 1 degrees of freedom [1]_, for repeated folds too [2]_.
    The interval has those differences that the test would not reject.

    Parameters
    ----------
    differences : array_like of shape (n_folds,)
        Metric of the first pipeline minus that of the second, in each fold of each repeat. NaN is
        ignored.
    n_train, n_test : float
        Number of training and test samples of a fold.

    Returns
    -------
    difference : float
        Mean of the differences.
    low, high : float
        Ends of its 95% interval; NaN for fewer than two folds, and where all differences are equal
        and not 0, which says nothing about their variance.
    p_value : float
        Two-sided: below 0.05 exactly if 0 is outside the interval. NaN where the ends are.

    References
    ----------
    .. [1] Nadeau C, Bengio Y. Inference for the generalization error. Machine Learning 52 (2003)
       239-281, doi:10.1023/A:1024068626366.
    .. [2] Bouckaert RR, Frank E. Evaluating the replicability of significance tests for comparing
       learning algorithms. PAKDD (2004) 3-12, doi:10.1007/978-3-540-24775-3_3.

    Examples
    --------
    >>> from featbus.evaluation._intervals import corrected_t_test
    >>> found = corrected_t_test([0.02, 0.04, 0.03, 0.01, 0.05], n_train=80, n_test=20)
    >>> [round(float(value), 4) for value in found]
    [0.03, 0.0006, 0.0594, 0.0474]
    """
    differences = pd.Series(differences, dtype=np.float64).dropna()
    n_folds, mean = len(differences), differences.mean()
    scale = np.sqrt((1 / max(n_folds, 1) + n_test / n_train) * differences.var())
    if scale < 1e-9:  # a rounding error
        return (mean, np.nan, np.nan, np.nan) if abs(mean) > 1e-9 else (mean, mean, mean, 1.0)
    reach = scale * student.ppf((1 + LEVEL) / 2, n_folds - 1)
    p_value = 2 * student.sf(abs(mean) / scale, n_folds - 1)
    return mean, float(mean - reach), float(mean + reach), float(p_value)


def delong_test(positive, first, second, groups):
    """Test whether the areas under two ROC curves on the same samples differ.

    Parameters
    ----------
    positive : ndarray of bool of shape (n_samples,)
        The true class.
    first, second : ndarray of shape (n_samples,)
        Scores of the two models.
    groups : ndarray of shape (n_samples,)
        Groups.

    Returns
    -------
    difference, low, high, p_value : float
        The first area minus the second one, its 95% interval, and the two-sided p-value.

    Notes
    -----
    The variance is DeLong's [1]_ if each sample is a group, and Obuchowski's [2]_ otherwise.

    References
    ----------
    .. [1] DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated
       receiver operating characteristic curves. Biometrics 44 (1988) 837-845.
    .. [2] Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics 53 (1997)
       567-578.
    """
    parts = [np.asarray(_placements(positive, score)) for score in (first, second)]
    difference = parts[0] - parts[1]
    mean = difference[positive].mean()
    sums, present = [], []
    for is_part in (positive, ~positive):
        off = np.where(is_part, difference - mean, 0) / is_part.sum()
        sums.append(pd.Series(off).groupby(groups).sum().to_numpy())
        present.append(len(np.unique(groups[is_part])))
    n_own, n_others, n_groups = *present, len(sums[0])
    factors = [n / max(n - 1, 1) for n in (n_own, n_others, n_groups)]
    products = sums[0] ** 2, sums[1] ** 2, 2 * sums[0] * sums[1]
    scale = np.sqrt(max(sum(f * each.sum() for f, each in zip(factors, products)), 0))
    return _normal_test(mean, scale, np.inf)


def _placements(positive, score):
    """Return for each sample the share of those of the other class that it is right of."""
    ranks, found = rankdata(score), np.empty(len(score))
    for is_part in (positive, ~positive):
        found[is_part] = (ranks[is_part] - rankdata(score[is_part])) / (~is_part).sum()
    return np.where(positive, found, 1 - found)


def jackknife_test(first, second, groups, position):
    """Test whether two models differ in a metric on the same samples, leaving out each group.

    Parameters
    ----------
    first, second : FoldMetrics
        The metrics of the two models.
    groups : ndarray of int of shape (n_samples,)
        Groups, from 0.
    position : int
        Position of the metric in `METRICS`.

    Returns
    -------
    difference, low, high, p_value : float
        As in `delong_test`, by Student's distribution.
    """
    block = groups % min(groups.max() + 1, _MAX_BLOCKS)
    values = [_leave_out(metrics, block)[2][0][:, position] for metrics in (first, second)]
    difference = values[0] - values[1]
    without = difference[1:][~np.isnan(difference[1:])]
    n = len(without)
    scale = np.sqrt((n - 1) * np.var(without)) if n > 1 else np.nan
    return _normal_test(difference[0], scale, max(n - 1, 1))


def _normal_test(mean, scale, freedom):
    """Return difference, interval and p-value of a mean and its standard error."""
    if not scale > 1e-9:  # a rounding error
        return (mean, mean, mean, 1.0) if abs(mean) <= 1e-9 else (mean, np.nan, np.nan, np.nan)
    reach, p_value = student.ppf((1 + LEVEL) / 2, freedom), student.sf(abs(mean) / scale, freedom)
    return mean, float(mean - reach * scale), float(mean + reach * scale), float(2 * p_value)


def calibration_line(positive, probability, groups):
    """Fit intercept and slope of a logistic regression on the logits of predicted probabilities.

    Parameters
    ----------
    positive : ndarray of bool of shape (n_samples,)
        The true class.
    probability : ndarray of shape (n_samples,)
        Predicted probabilities of this class.
    groups : ndarray of shape (n_samples,)
        Groups.

    Returns
    -------
    dict of str to float
        ``slope``, 1 if perfect, below 1 if probabilities are too extreme [1]_; ``intercept``, that
        with a slope of 1, 0 if perfect, above 0 if probabilities are too low on average; and their
        95% intervals, from variances that allow for groups. NaN where they cannot be fitted: one
        class, equal probabilities, or classes that are told apart without error.

    References
    ----------
    .. [1] Van Calster B, et al. Calibration: the Achilles heel of predictive analytics. BMC
       Medicine 17 (2019) 230, doi:10.1186/s12916-019-1466-7.
    """
    logits = logit(np.clip(probability, 1e-6, 1 - 1e-6))
    ones = np.ones_like(logits)
    line = _fit_logistic(np.column_stack([ones, logits]), positive, 0, groups)
    shift = _fit_logistic(ones[:, np.newaxis], positive, logits, groups)
    found = {"slope": line[-1], "intercept": shift[0]}
    reach = student.ppf((1 + LEVEL) / 2, max(len(np.unique(groups)) - 1, 1))
    return {
        f"{name}{end}": value + sign * reach * error
        for name, (value, error) in found.items()
        for end, sign in (("", 0), ("_low", -1), ("_high", 1))
    }


def _fit_logistic(X, y, offset, groups):
    """Return coefficients of a logistic regression and their standard errors, by Newton's method.

    The errors allow for groups: the variance is a sandwich of the sums of scores by group.
    """
    coefficients = np.zeros(X.shape[1])
    with np.errstate(all="ignore"):
        coefficients[0] = logit(y.mean()) - np.mean(offset)
        for _ in range(50):
            mean = expit(X @ coefficients + offset)
            information = (X.T * (mean * (1 - mean))) @ X
            if not np.linalg.cond(information) < 1e12:
                return np.full((X.shape[1], 2), np.nan)
            step = np.linalg.solve(information, X.T @ (y - mean))
            coefficients = coefficients + step
            if np.abs(step).max() < 1e-10:
                break
        else:
            return np.full((X.shape[1], 2), np.nan)
    scores = pd.DataFrame(X * (y - mean)[:, np.newaxis]).groupby(groups).sum().to_numpy()
    n, inverse = len(scores), np.linalg.inv(information)
    variance = inverse @ scores.T @ scores @ inverse * n / max(n - 1, 1)
    return np.column_stack([coefficients, np.sqrt(np.diag(variance))])


def adjust_for_number(p_values):
    """Adjust the p-values of several comparisons by Holm's method.

    Parameters
    ----------
    p_values : array_like of shape (n_comparisons,)
        One per comparison; NaN is ignored.

    Returns
    -------
    ndarray of shape (n_comparisons,)
        Adjusted p-values: if nothing differs, the chance that any of them is below 0.05 is at most
        0.05.

    References
    ----------
    .. [1] Holm S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of
       Statistics 6 (1979) 65-70.

    Examples
    --------
    >>> from featbus.evaluation._intervals import adjust_for_number
    >>> adjust_for_number([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    adjusted = np.array(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(adjusted))
    order = known[np.argsort(adjusted[known])]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * adjusted[order]), 1)
    return adjusted
