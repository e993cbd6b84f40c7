"""Metrics of a classifier, from its confusion matrix and its scores."""

import numpy as np
from sklearn.metrics import confusion_matrix, roc_auc_score

__all__ = ["classification_metrics", "confusion_metrics"]


def confusion_metrics(confusion, *, positive=None):
    """Compute what a confusion matrix tells of a classifier.

    Parameters
    ----------
    confusion : array_like of int of shape (n_classes, n_classes)
        Counts: true classes are rows, predicted classes are columns, as
        `sklearn.metrics.confusion_matrix` returns them.
    positive : int or None, default=None
        Position of the class that all but the accuracy are about, against the rest. None takes the
        mean over all classes, each against the rest.

    Returns
    -------
    dict of str to float
        All from 0 to 1:

        accuracy
            Fraction of the samples predicted as what they are.
        sensitivity
            Recall, TP / (TP + FN).
        specificity
            TN / (TN + FP).
        precision
            Positive predictive value, TP / (TP + FP).
        f1
            2 TP / (2 TP + FP + FN).

    Notes
    -----
    The precision of a class that was never predicted is 0, as in scikit-learn. What needs samples
    that are not there (the sensitivity of a class without samples) is NaN, and left out of the
    mean over classes.

    Examples
    --------
    >>> from featbus.evaluation import confusion_metrics
    >>> metrics = confusion_metrics([[151, 2], [3, 69]], positive=1)
    >>> {name: round(value, 4) for name, value in metrics.items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'accuracy': 0.9778, 'sensitivity': 0.9583, 'specificity': 0.9869, 'precision': 0.9718,
     'f1': 0.965}
    """
    confusion = np.asarray(confusion, dtype=np.float64)
    tp = np.diag(confusion)
    fn = confusion.sum(axis=1) - tp
    fp = confusion.sum(axis=0) - tp
    tn = confusion.sum() - tp - fn - fp
    predicted, actual = tp + fp, tp + fn
    of_class = {
        "sensitivity": _ratio(tp, actual),
        "specificity": _ratio(tn, tn + fp),
        "precision": np.where((predicted == 0) & (actual > 0), 0.0, _ratio(tp, predicted)),
        "f1": _ratio(2 * tp, predicted + actual),
    }
    accuracy = float(_ratio(tp.sum(), confusion.sum()))
    return {"accuracy": accuracy} | {
        name: _select(values, positive) for name, values in of_class.items()
    }


def classification_metrics(y_true, y_pred, y_score, *, labels, positive=None):
    """Compute the metrics of one set of predictions.

    Parameters
    ----------
    y_true, y_pred : array_like of shape (n_samples,)
        True and predicted classes.
    y_score : ndarray of shape (n_samples, n_classes)
        Probabilities or decision values; columns in the order of `labels`.
    labels : array_like of shape (n_classes,)
        All classes, also those that `y_true` lacks.
    positive : int or None, default=None
        As in `confusion_metrics`.

    Returns
    -------
    dict of str to float
        Those of `confusion_metrics`, and ``roc_auc``: the area under the ROC curve of the positive
        class against the rest, or the mean of all classes'.
    """
    confusion = confusion_matrix(y_true, y_pred, labels=labels)
    areas = [_roc_auc(np.equal(y_true, label), y_score[:, i]) for i, label in enumerate(labels)]
    return confusion_metrics(confusion, positive=positive) | {"roc_auc": _select(areas, positive)}


def _ratio(numerator, denominator):
    """Divide; nothing out of nothing is NaN."""
    defined = np.where(denominator > 0, denominator, 1)
    return np.where(denominator > 0, numerator / defined, np.nan)


def _roc_auc(y_true, score):
    return roc_auc_score(y_true, score) if 0 < y_true.sum() < len(y_true) else np.nan


def _select(values, positive):
    if positive is not None:
        return float(values[positive])
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan
