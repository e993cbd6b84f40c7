"""Metrics of a classifier, from its confusion matrix and its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featbus.scores import wins_and_pairs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["METRICS", "TITLES", "FoldMetrics", "confusion_metrics", "metric_range", "ratio"]

TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "npv": "NPV",
    "f1": "F1",
    "mcc": "Matthews",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "brier": "Brier score",
}
METRICS = list(TITLES)


def metric_range(metric, n_classes):
    """Return the smallest and the largest value of a metric.

    Parameters
    ----------
    metric : str
        One of `METRICS`.
    n_classes : int
        Number of classes; the Brier score of more than two is a sum over the classes.

    Returns
    -------
    low, high : int
        The range.
    """
    if metric == "mcc":
        return -1, 1
    return (0, 2) if metric == "brier" and n_classes > 2 else (0, 1)


def confusion_metrics(confusion: ArrayLike, *, positive: int | None = None) -> dict[str, float]:
    """Compute the metrics of a classifier that follow from its confusion matrix.

    Read more in the :ref:`User Guide <evaluation>`.

    Parameters
    ----------
    confusion : array_like of int of shape (n_classes, n_classes)
        Counts: true classes are rows, predicted classes are columns, as
        `sklearn.metrics.confusion_matrix` returns them.
    positive : int or None, default=None
        Position of the class that sensitivity, specificity, precision, NPV and F1 are about,
        against the rest. None takes the mean over all classes, each against the rest.

    Returns
    -------
    dict of str to float
        All from 0 to 1, except ``mcc``, from -1 to 1:

        accuracy
            Fraction of correct predictions.
        balanced_accuracy
            Mean of the sensitivities of all classes.
        sensitivity
            Recall, TP / (TP + FN).
        specificity
            TN / (TN + FP).
        precision
            Positive predictive value, TP / (TP + FP).
        npv
            Negative predictive value, TN / (TN + FN).
        f1
            2 TP / (2 TP + FP + FN).
        mcc
            Matthews correlation coefficient, generalized to more than two classes by Gorodkin
            ([1]_). 0 if all predictions are the same.

    Notes
    -----
    The precision of a class that was never predicted is 0, as in scikit-learn. The sensitivity of a
    class without samples is NaN, and left out of the mean over classes.

    References
    ----------
    .. [1] Gorodkin J. Comparing two K-category assignments by a K-category correlation coefficient.
       Computational Biology and Chemistry 28 (2004) 367-374,
       doi:10.1016/j.compbiolchem.2004.09.006.

    Examples
    --------
    >>> from featbus.evaluation import confusion_metrics
    >>> metrics = confusion_metrics([[151, 2], [3, 69]], positive=1)
    >>> {name: round(value, 4) for name, value in metrics.items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'accuracy': 0.9778, 'balanced_accuracy': 0.9726, 'sensitivity': 0.9583, 'specificity': 0.9869,
     'precision': 0.9718, 'npv': 0.9805, 'f1': 0.965, 'mcc': 0.9488}
    """
    confusion = np.asarray(confusion, dtype=np.float64)
    return {
        name: float(value)
        for name, value in _chosen(
            _overall_rates(confusion), _class_rates(confusion), positive
        ).items()
    }


class FoldMetrics:
    """The metrics of one fold's predictions, for any weights of its samples.

    Parameters
    ----------
    target, predicted : ndarray of int of shape (n_samples,)
        Positions of the true and the predicted classes.
    scores : ndarray of shape (n_samples, n_classes)
        Probabilities or decision values.
    positive : int or None
        As in `confusion_metrics`.
    probabilities : bool
        Whether `scores` are probabilities; decision values have no Brier score.
    """

    def __init__(self, target, predicted, scores, *, positive, probabilities):
        n_classes = scores.shape[1]
        self._positive = positive
        self._cells = np.eye(n_classes**2)[target * n_classes + predicted]
        is_class = np.eye(n_classes, dtype=bool)[target]
        self._classes = list(zip(is_class.T, scores.T))
        self._errors = (scores - is_class) ** 2 if probabilities else np.full(scores.shape, np.nan)

    def __call__(self, weights):
        """Compute the metrics.

        Parameters
        ----------
        weights : ndarray of float of shape (n_weightings, n_samples)
            How often each sample counts; one row per weighting.

        Returns
        -------
        overall : ndarray of shape (n_weightings, n_metrics)
            In the order of `METRICS`.
        of_class : ndarray of shape (n_weightings, n_classes, n_metrics)
            The same of each class against the rest.
        """
        n_classes = len(self._classes)
        confusion = (weights @ self._cells).reshape(-1, n_classes, n_classes)
        roc, pr = (
            np.stack([area(*columns, weights) for columns in self._classes], axis=1)
            for area in (_roc_auc, _average_precision)
        )
        brier = ratio(weights @ self._errors, weights.sum(axis=1, keepdims=True))
        of_class = _class_rates(confusion) | {
            "accuracy": _class_accuracy(confusion),
            "roc_auc": roc,
            "pr_auc": pr,
            "brier": brier,
        }
        rates = np.stack([of_class["sensitivity"], of_class["specificity"]], axis=-1)
        overall = _chosen(
            # With two classes, the sum over both counts each error twice.
            _overall_rates(confusion) | {"brier": brier.sum(axis=1) / (2 if n_classes == 2 else 1)},
            of_class,
            self._positive,
        )
        of_class |= {
            "balanced_accuracy": _mean(rates, axis=-1),
            "mcc": _class_mcc(confusion),
        }
        return tuple(
            np.stack([values[name] for name in METRICS], axis=-1) for values in (overall, of_class)
        )


def _roc_auc(positive, score, weights):
    """Return the area under the ROC curve of one class, for each weighting."""
    return ratio(*wins_and_pairs(positive, score, weights))


def _average_precision(positive, score, weights):
    """Return the area under the precision-recall curve of one class, as steps."""
    order = np.argsort(-score, kind="stable")
    score, weights = score[order], weights[:, order]
    # One threshold after each run of equal scores.
    thresholds = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    above = np.cumsum(weights, axis=1)[:, thresholds]
    weights[:, ~positive[order]] = 0
    tp = np.cumsum(weights, axis=1)[:, thresholds]
    precision = np.divide(tp, above, out=np.zeros_like(tp), where=above > 0)
    area = np.einsum("ij,ij->i", np.diff(tp, axis=1, prepend=0), precision)
    return ratio(area, tp[:, -1])


def _mean(values, axis):
    """Return the mean of the values that are not NaN."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=axis), known.sum(axis=axis))


def _counts(confusion):
    """Return TP, FN, FP and TN of each class, in arrays of shape (..., n_classes)."""
    tp = np.diagonal(confusion, axis1=-2, axis2=-1)
    fn = confusion.sum(axis=-1) - tp
    fp = confusion.sum(axis=-2) - tp
    return tp, fn, fp, confusion.sum(axis=(-2, -1))[..., np.newaxis] - tp - fn - fp


def _class_rates(confusion):
    """Return the rates of each class against the rest."""
    tp, fn, fp, tn = _counts(confusion)
    return {
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "precision": np.where((tp + fp == 0) & (fn > 0), 0.0, ratio(tp, tp + fp)),
        "npv": np.where((tn + fn == 0) & (fp > 0), 0.0, ratio(tn, tn + fn)),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
    }


def _overall_rates(confusion):
    """Return the metrics of all classes together."""
    actual, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    correct, n = np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1))
    return {
        "accuracy": ratio(correct, n),
        "balanced_accuracy": _mean(_class_rates(confusion)["sensitivity"], axis=-1),
        "mcc": _correlation(
            correct * n - (actual * predicted).sum(axis=-1),
            n**2 - (predicted**2).sum(axis=-1),
            n**2 - (actual**2).sum(axis=-1),
        ),
    }


def _class_accuracy(confusion):
    tp, fn, fp, tn = _counts(confusion)
    return ratio(tp + tn, tp + fn + fp + tn)


def _class_mcc(confusion):
    tp, fn, fp, tn = _counts(confusion)
    return _correlation(tp * tn - fp * fn, (tp + fp) * (tn + fn), (tp + fn) * (tn + fp))


def _correlation(covariance, predicted, actual):
    """Divide a covariance by the square roots of both variances."""
    constant = (predicted == 0) & (actual > 0)
    return np.where(constant, 0.0, ratio(covariance, np.sqrt(predicted * actual)))


def _chosen(overall, of_class, positive):
    """Return each metric: overall, or of the positive class, or the mean over the classes."""
    return {
        name: overall[name]
        if name in overall
        else _mean(of_class[name], axis=-1)
        if positive is None
        else of_class[name][..., positive]
        for name in METRICS
        if name in overall or name in of_class
    }


def ratio(numerator, denominator):
    """Divide; NaN where the denominator is 0."""
    defined = np.where(denominator > 0, denominator, 1)
    return np.where(denominator > 0, numerator / defined, np.nan)
