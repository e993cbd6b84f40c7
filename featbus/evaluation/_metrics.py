"""Metrics of a classifier, from its confusion matrix and its scores."""

from html import escape

import numpy as np

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
MEAN = "mean over classes"
_OF_A_CLASS = {"sensitivity", "specificity", "precision", "npv", "f1", "pr_auc"}
# Metrics of a class that need samples of it and of others.
_OF_BOTH = ("balanced_accuracy", "precision", "npv", "f1", "pr_auc")


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
    return -1 if metric == "mcc" else 0, 2 if metric == "brier" and n_classes > 2 else 1


def is_of_class(metric, n_classes):
    """Return whether a metric is about one class; the ROC AUC is the same for both of two.

    Parameters
    ----------
    metric : str
        The metric.
    n_classes : int
        Number of classes.

    Returns
    -------
    bool
        Whether it is.
    """
    return metric in _OF_A_CLASS or (metric == "roc_auc" and n_classes > 2)


def title(metric, about=None):
    """Return the title of a metric and of the class that it is about.

    Parameters
    ----------
    metric : str
        The metric.
    about : str, default=None
        A class, or "mean over classes". None for metrics of all classes together.

    Returns
    -------
    str
        Such as "Sensitivity (cancer)".
    """
    return TITLES[metric] if about is None else f"{TITLES[metric]} ({about})"


def format_interval(row, digits=2):
    """Return the mean and the ends of its interval as text.

    Parameters
    ----------
    row : Series
        ``mean``, ``low`` and ``high``.
    digits : int, default=2
        Digits after the point.

    Returns
    -------
    str
        Such as "0.81 (0.75 to 0.86)"; NaN is "–".
    """
    mean, low, high = (f"{row[part]:.{digits}f}" for part in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})".replace(" (nan to nan)", "").replace("nan", "–")


def flatten_columns(frame):
    """Return a table of means and intervals with a header of one row.

    Parameters
    ----------
    frame : DataFrame
        Columns (metric, "mean"), (metric, "std"), (metric, "low") and (metric, "high").

    Returns
    -------
    DataFrame
        Columns such as ``accuracy``, the mean, ``accuracy_std``, ``accuracy_low`` and
        ``accuracy_high``.
    """
    names = [f"{metric}_{part}".removesuffix("_mean") for metric, part in frame]
    return frame.set_axis(names, axis=1)


class Printed:
    """A result that is printed as a table of text and notes, also in notebooks."""

    def _lines(self):
        return [*self.protocol.splitlines(), *self._notes()]

    def __repr__(self):
        return "\n".join([self._table().to_string(), "", *self._lines()])

    def _repr_html_(self):
        notes = "".join(f"<p>{escape(line)}</p>" for line in self._lines())
        return f"{self._table().to_html()}{notes}"


def iter_tables(evaluation, metrics):
    """Yield the means and intervals of metrics, and the class that each is about.

    Parameters
    ----------
    evaluation : Evaluation
        The result of `evaluate`.
    metrics : sequence of str
        The metrics.

    Yields
    ------
    metric : str
        The metric; twice if there are two classes and neither is the positive one.
    about : str or None
        As in `title`.
    table : DataFrame
        One row per pipeline with the columns ``mean``, ``std``, ``low`` and ``high``.
    """
    frame = evaluation._intervals()
    for metric in metrics:
        if not is_of_class(metric, len(evaluation.labels)):
            yield metric, None, frame[metric]
        elif evaluation.shows_both:
            for name in evaluation.target_names:
                yield metric, name, evaluation._class_intervals()[metric].xs(name, level="class")
        else:
            yield metric, evaluation.pos_name or MEAN, frame[metric]


class FoldMetrics:
    """The metrics of one fold's predictions, for any weights of its samples.

    Parameters
    ----------
    target, predicted : ndarray of int of shape (n_samples,)
        Positions of the true and the predicted classes.
    scores : ndarray of shape (n_samples, n_classes)
        Probabilities or decision values.
    positive : int or None
        Position of the class that sensitivity, specificity, precision, NPV, F1 and the areas are
        about, against the rest. None takes the mean over all classes, each against the rest.
    probabilities : bool
        Whether `scores` are probabilities; decision values have no Brier score.
    """

    def __init__(self, target, predicted, scores, *, positive, probabilities):
        n_classes = scores.shape[1]
        self._positive = positive
        self._cells = np.eye(n_classes**2)[target * n_classes + predicted]
        is_class = np.eye(n_classes, dtype=bool)[target]
        self._classes = list(zip(is_class.T, scores.T))
        present = is_class.any(axis=0)
        self._is_complete = present.all()
        self._is_known = present & ~is_class.all(axis=0)  # there are samples of it and of others
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
        of_class = _class_rates(confusion) | _overall_rates(_against_the_rest(confusion))
        for name, area in (("roc_auc", _roc_auc), ("pr_auc", _average_precision)):
            of_class[name] = np.stack([area(*one, weights) for one in self._classes], axis=1)
        for name in _OF_BOTH:
            of_class[name] = np.where(self._is_known, of_class[name], np.nan)
        brier = ratio(weights @ self._errors, weights.sum(axis=1, keepdims=True))
        # With two classes, the sum over both counts each error twice.
        total = {"brier": brier.sum(axis=1) / (2 if n_classes == 2 else 1)}
        overall = _choose(_overall_rates(confusion) | total, of_class, self._positive)
        if not self._is_complete:
            means = {*_OF_A_CLASS, "roc_auc"} if self._positive is None else ()
            overall |= dict.fromkeys(("balanced_accuracy", *means), np.full(len(weights), np.nan))
        return tuple(
            np.stack([values[name] for name in METRICS], axis=-1)
            for values in (overall, of_class | {"brier": brier})
        )


def _roc_auc(positive, score, weights):
    """Return the area under the ROC curve of one class, for each weighting.

    It is the share of the pairs of a positive and a negative sample in which the positive one has
    the higher score; pairs with equal scores count half.
    """
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    positive, weights = positive[order], weights[:, order]
    own = np.add.reduceat(weights * positive, starts, axis=1)
    others = np.add.reduceat(weights * ~positive, starts, axis=1)
    wins = (own * (np.cumsum(others, axis=1) - others / 2)).sum(axis=1)
    return ratio(wins, own.sum(axis=1) * others.sum(axis=1))


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
    return ratio(np.einsum("ij,ij->i", np.diff(tp, axis=1, prepend=0), precision), tp[:, -1])


def _against_the_rest(confusion):
    """Return a matrix [[TP, FN], [FP, TN]] for each class, of shape (..., n_classes, 2, 2)."""
    tp = np.diagonal(confusion, axis1=-2, axis2=-1)
    fn, fp = confusion.sum(axis=-1) - tp, confusion.sum(axis=-2) - tp
    tn = confusion.sum(axis=(-2, -1))[..., np.newaxis] - tp - fn - fp
    return np.stack([tp, fn, fp, tn], axis=-1).reshape(*tp.shape, 2, 2)


def _class_rates(confusion):
    """Return the rates of each class against the rest."""
    (tp, fn), (fp, tn) = np.moveaxis(_against_the_rest(confusion), (-2, -1), (0, 1))
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
    diagonal = np.diagonal(confusion, axis1=-2, axis2=-1)
    covariance = correct * n - (actual * predicted).sum(axis=-1)
    spread, spread_of_predicted = (n**2 - (part**2).sum(axis=-1) for part in (actual, predicted))
    correlation = ratio(covariance, np.sqrt(spread_of_predicted * spread))
    return {
        "accuracy": ratio(correct, n),
        "balanced_accuracy": mean_of_known(ratio(diagonal, actual), axis=-1),
        "mcc": np.where((spread_of_predicted == 0) & (spread > 0), 0.0, correlation),
    }


def _choose(overall, of_class, positive):
    """Return each metric: overall, or of the positive class, or the mean over the classes."""
    found = {
        name: mean_of_known(values, axis=-1) if positive is None else values[..., positive]
        for name, values in of_class.items()
    }
    return {name: (found | overall)[name] for name in METRICS if name in found | overall}


def mean_of_known(values, axis):
    """Return the mean of the values that are not NaN.

    Parameters
    ----------
    values : ndarray
        Values.
    axis : int
        The axis that the mean is taken along.

    Returns
    -------
    ndarray
        The mean; NaN where there are no such values.
    """
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=axis), known.sum(axis=axis))


def ratio(numerator, denominator):
    """Divide; NaN where the denominator is 0.

    Parameters
    ----------
    numerator, denominator : ndarray
        Numbers; the denominator is not negative.

    Returns
    -------
    ndarray
        The quotient.
    """
    defined = np.where(denominator > 0, denominator, 1)
    return np.where(denominator > 0, numerator / defined, np.nan)
