"""Comparison of two pipelines on the same folds."""

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95  # of all intervals


class Comparison(NamedTuple):
    """Difference of two pipelines, as one statement: 0 is outside the interval if p < 0.05.

    Attributes
    ----------
    difference : float
        Mean of the differences.
    low, high : float
        Ends of its 95% interval.
    p_value : float
        Two-sided.
    """

    difference: float
    low: float
    high: float
    p_value: float


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
        left out.
    n_train, n_test : float
        Number of training and test samples of a fold.

    Returns
    -------
    Comparison
        Difference, interval and p-value; the last two are NaN for fewer than two folds.

    References
    ----------
    .. [1] Nadeau C, Bengio Y. Inference for the generalization error. Machine Learning 52 (2003)
       239-281, doi:10.1023/A:1024068626366.
    .. [2] Bouckaert RR, Frank E. Evaluating the replicability of significance tests for comparing
       learning algorithms. PAKDD (2004) 3-12, doi:10.1007/978-3-540-24775-3_3.

    Examples
    --------
    >>> from featbus.evaluation._comparison import corrected_t_test
    >>> found = corrected_t_test([0.02, 0.04, 0.03, 0.01, 0.05], n_train=80, n_test=20)
    >>> {name: round(value, 4) for name, value in found._asdict().items()}
    {'difference': 0.03, 'low': 0.0006, 'high': 0.0594, 'p_value': 0.0474}
    """
    differences = np.asarray(differences, dtype=np.float64)
    differences = differences[~np.isnan(differences)]
    n_folds = len(differences)
    mean = float(differences.mean()) if n_folds else np.nan
    if n_folds < 2:
        return Comparison(mean, np.nan, np.nan, np.nan)
    scale = np.sqrt((1 / n_folds + n_test / n_train) * differences.var(ddof=1))
    if scale == 0:
        return Comparison(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    reach = scale * student.ppf((1 + LEVEL) / 2, n_folds - 1)
    p_value = 2 * student.sf(abs(mean) / scale, n_folds - 1)
    return Comparison(mean, float(mean - reach), float(mean + reach), float(p_value))


def adjust_for_number(p_values):
    """Adjust the p-values of several comparisons by Holm's method.

    Parameters
    ----------
    p_values : array_like of shape (n_comparisons,)
        One per comparison; NaN is left out.

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
    >>> from featbus.evaluation._comparison import adjust_for_number
    >>> adjust_for_number([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    adjusted = np.array(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(adjusted))
    order = known[np.argsort(adjusted[known])]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * adjusted[order]), 1)
    return adjusted
