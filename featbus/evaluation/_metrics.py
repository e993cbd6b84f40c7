"""Metrics of a classifier, from its confusion matrix and its scores."""

import numpy as np
import pandas as pd

__all__ = ["METRICS", "TITLES", "FoldMetrics", "confusion_metrics", "ratio"]

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


def confusion_metrics(confusion, *, positive=None):
    """Compute what a confusion matrix tells of a classifier.

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
        From 0 to 1, but for ``mcc``, which goes from -1 to 1:

        accuracy
            Fraction of the samples predicted as what they are.
        balanced_accuracy
            Mean of all classes' sensitivities.
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
            Correlation coefficient of Matthews, for more than two classes as generalised by
            Gorodkin ([1]_). 0 where all predictions are the same.

    Notes
    -----
    The precision of a class that was never predicted is 0, as in scikit-learn. What needs samples
    that are not there (the sensitivity of a class without samples) is NaN, and left out of the
    mean over classes.

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
    target, predicted : array_like of shape (n_samples,)
        True and predicted classes.
    scores : ndarray of shape (n_samples, n_classes)
        Probabilities or decision values; columns in the order of `labels`.
    labels : array_like of shape (n_classes,)
        All classes, also those that `target` lacks.
    positive : int or None
        As in `confusion_metrics`.
    probabilities : bool
        Whether `scores` are probabilities; decision values have no Brier score.
    """

    def __init__(self, target, predicted, scores, labels, *, positive, probabilities):
        self._n_classes = len(labels)
        self._positive = positive
        true, guessed = (pd.Index(labels).get_indexer(values) for values in (target, predicted))
        self._cells = np.eye(len(labels) ** 2)[true * len(labels) + guessed]
        is_class = np.eye(len(labels), dtype=bool)[true]
        self._curves = [_Curves(*columns) for columns in zip(is_class.T, scores.T)]
        self._errors = (scores - is_class) ** 2 if probabilities else np.full(scores.shape, np.nan)

    def __call__(self, weights):
        """Compute the metrics.

        Parameters
        ----------
        weights : ndarray of float of shape (n_weightings, n_samples)
            How often each sample counts, any number of times over.

        Returns
        -------
        overall : ndarray of shape (n_weightings, n_metrics)
            In the order of `METRICS`.
        of_class : ndarray of shape (n_weightings, n_classes, n_metrics)
            The same of each class against the rest.
        """
        confusion = (weights @ self._cells).reshape(-1, self._n_classes, self._n_classes)
        areas = np.stack([curves(weights) for curves in self._curves], axis=1)
        brier = ratio(weights @ self._errors, weights.sum(axis=1, keepdims=True))
        of_class = _class_rates(confusion) | {
            "accuracy": _class_accuracy(confusion),
            "roc_auc": areas[..., 0],
            "pr_auc": areas[..., 1],
            "brier": brier,
        }
        rates = np.stack([of_class["sensitivity"], of_class["specificity"]], axis=-1)
        overall = _chosen(
            # Of two classes, the sum over both counts each error twice.
            _overall_rates(confusion)
            | {"brier": brier.sum(axis=1) / (2 if self._n_classes == 2 else 1)},
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


class _Curves:
    """The areas under the ROC and the precision-recall curve of one class, for any weights."""

    def __init__(self, positive, score):
        self._order = np.argsort(-score, kind="stable")
        self._positive = positive[self._order]
        score = score[self._order]
        # A threshold lies behind each run of equal scores.
        self._thresholds = np.flatnonzero(np.append(score[1:] != score[:-1], True))

    def __call__(self, weights):
        weights = weights[:, self._order]
        above = np.cumsum(weights, axis=1)[:, self._thresholds]
        weights[:, ~self._positive] = 0
        tp = np.cumsum(weights, axis=1)[:, self._thresholds]
        n_positive, n = tp[:, -1], above[:, -1]
        new = np.diff(above, axis=1, prepend=0)
        new_tp = np.diff(tp, axis=1, prepend=0)
        # Trapezoids: each false positive is below the true ones so far, and half of those it ties.
        roc = np.einsum("ij,ij->i", new - new_tp, tp - new_tp / 2)
        # Steps: average precision.
        precision = np.divide(tp, above, out=np.zeros_like(tp), where=above > 0)
        pr = np.einsum("ij,ij->i", new_tp, precision)
        return np.stack([ratio(roc, n_positive * (n - n_positive)), ratio(pr, n_positive)], axis=1)


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
    """Return what is computed for a class against the rest."""
    tp, fn, fp, tn = _counts(confusion)
    return {
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "precision": np.where((tp + fp == 0) & (fn > 0), 0.0, ratio(tp, tp + fp)),
        "npv": np.where((tn + fn == 0) & (fp > 0), 0.0, ratio(tn, tn + fn)),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
    }


def _overall_rates(confusion):
    """Return what is computed for all classes together."""
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
    """Divide a covariance by the roots of both variances."""
    constant = (predicted == 0) & (actual > 0)
    return np.where(constant, 0.0, ratio(covariance, np.sqrt(predicted * actual)))


def _chosen(overall, of_class, positive):
    """Return each metric of all classes together, of the positive class, or the mean over all."""
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
    """Divide; nothing out of nothing is NaN."""
    defined = np.where(denominator > 0, denominator, 1)
    return np.where(denominator > 0, numerator / defined, np.nan)
