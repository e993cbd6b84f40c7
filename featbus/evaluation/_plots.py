"""Figures of an evaluation, drawn by scikit-learn's displays."""

from functools import partial
from math import ceil
from textwrap import fill

import numpy as np
import pandas as pd
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay

from featbus.evaluation._metrics import METRICS, iter_tables, title

# Okabe and Ito's colors, distinguishable for color-blind readers, without yellow and black. Dashes
# repeat the information for prints in gray.
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"]
_DASHES = ["-", "--", ":", "-."]
GRAY = "#808080"

_MAX_WIDTH = 12  # of a figure of several panels, in inches
_LINE = 27  # characters of a label that fit a panel
_BELOW = {"loc": "upper left", "bbox_to_anchor": (0, -0.26), "borderaxespad": 0}  # of a legend

STYLE = {
    "axes.edgecolor": GRAY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "font.size": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # names may contain dollar signs
}
# The display of a curve, the metric in its legend, and the labels of the axes.
_CURVES = {
    "roc": (RocCurveDisplay, "roc_auc", "1 - specificity", "sensitivity"),
    "precision_recall": (PrecisionRecallDisplay, "pr_auc", "recall (sensitivity)", "precision"),
    "calibration": (CalibrationDisplay, None, "mean predicted probability", "share of the class"),
}


def plot(evaluation, name):
    """Draw a figure of an evaluation.

    Parameters
    ----------
    evaluation : Evaluation
        The result of `evaluate`.
    name : str
        See `Evaluation.plot`.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, not managed by pyplot.

    Raises
    ------
    ValueError
        If there is no such figure, or no pipeline has the probabilities that it needs.
    """
    from matplotlib import rc_context

    if name not in _DRAW:
        raise ValueError(f"name is {name!r}, expected one of {list(_DRAW)}.")
    with rc_context(STYLE):
        return _DRAW[name](evaluation)


def _make_axes(headings, width, height):
    """Return a figure, and axes of a size in inches for each heading."""
    from matplotlib.figure import Figure

    headings = [fill(str(heading), _LINE) for heading in headings]
    height += 0.17 * max(_count_lines(headings) - 1, 0)
    n_rows = ceil(len(headings) / max(1, int(_MAX_WIDTH // width)))
    n_columns = ceil(len(headings) / n_rows)
    figure = Figure(figsize=(width * n_columns, height * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axis in axes[len(headings) :]:
        axis.remove()
    for axis, heading in zip(axes, headings):
        axis.set_title(heading)
    return figure, axes


def _count_lines(labels):
    """Return the number of lines of the longest label."""
    return max(label.count("\n") for label in labels) + 1


def _line(number):
    """Return color and dashes of a pipeline or a class, the same in all figures."""
    turn, color = divmod(number, len(COLORS))
    return {"color": COLORS[color], "linestyle": _DASHES[(number + turn) % len(_DASHES)]}


def _fill_label(name, width):
    # The space keeps Matplotlib from hiding names that begin with an underscore.
    return fill(f" {name}", width)


def _pool(evaluation, has_probabilities):
    """Return name, pooled predictions and line of each pipeline, or of those with probabilities."""
    names = evaluation.pipeline_names
    pooled = [(name, evaluation.pooled(name), _line(i)) for i, name in enumerate(names)]
    pooled = [one for one in pooled if one[1].kind == "probability" or not has_probabilities]
    if not pooled:
        raise ValueError(
            "No pipeline has probabilities, expected a classifier with predict_proba: decision "
            "values cannot be calibrated. Wrap the classifier in CalibratedClassifierCV."
        )
    return pooled


def _name_classes(evaluation):
    """Return a heading for each class that curves are about."""
    names = evaluation.target_names
    others = names[::-1] if len(names) == 2 else ["the rest"] * len(names)
    return [f"{names[i]} against {others[i]}" for i in evaluation.shown_classes]


def _draw_matrices(evaluation):
    """Draw a matrix of counts per pipeline."""
    labels = [fill(name, 18) for name in evaluation.target_names]
    length = max(len(line) for label in labels for line in label.split("\n"))
    side = max(3.5, 0.9 + 0.08 * length + 0.75 * len(labels))
    rotation = "vertical" if _count_lines(labels) > 1 else 30
    figure, axes = _make_axes(evaluation.pipeline_names, side, side + 0.3)
    for axis, pipeline in zip(axes, evaluation.pipeline_names):
        counts = evaluation.confusion_matrix(pipeline).to_numpy()
        display = ConfusionMatrixDisplay(counts, display_labels=labels)
        display.plot(ax=axis, cmap="Blues", colorbar=False, xticks_rotation=rotation)
        axis.set(xlabel="Predicted class", ylabel="True class")
    return figure


def _draw_curves(evaluation, name):
    """Draw axes per class with a curve per pipeline."""
    display, metric, xlabel, ylabel = _CURVES[name]
    names, areas = evaluation.target_names, evaluation._class_intervals()
    pooled = _pool(evaluation, has_probabilities=metric is None)
    n_lines = sum(_count_lines([fill(f"{name}, AUC 0.00", _LINE)]) for name, *_ in pooled)
    figure, axes = _make_axes(_name_classes(evaluation), 3.2, 3.7 + 0.19 * n_lines)
    for i, axis in zip(evaluation.shown_classes, axes):
        labels = []
        for pipeline, pool, line in pooled:
            is_class, scores = pool.target == i, pool.scores[:, i]
            label, options = pipeline, {}
            if metric:
                label = f"{pipeline}, AUC {areas.loc[(pipeline, names[i]), (metric, 'mean')]:.2f}"
            else:  # bins of equal counts; fewer if there are few images
                scores = np.clip(scores, 0, 1)  # rounding errors
                n_bins = int(np.clip(len(is_class) // 15, 2, 10))
                options = {"n_bins": n_bins, "strategy": "quantile", "ref_line": False}
            if 0 < is_class.mean() < 1:
                display.from_predictions(is_class, scores, ax=axis, **options)
            else:  # no image of the class was tested, or no other
                axis.plot([], [])
            axis.lines[-1].set(**line)
            labels.append(_fill_label(label, _LINE))
        chance = 2 * [is_class.mean()] if name == "precision_recall" else [0, 1]
        axis.plot([0, 1], chance, color=GRAY, linewidth=0.8, zorder=0)
        axis.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axis.set(aspect="auto", box_aspect=1, anchor="N")
        axis.legend(axis.lines[:-1], labels, **_BELOW)
    return figure


def net_benefit(is_class, probability, thresholds):
    """Return the net benefit of acting on images whose probability reaches a threshold.

    Parameters
    ----------
    is_class : ndarray of bool of shape (n_samples,)
        Whether a sample is positive.
    probability : ndarray of shape (n_samples,)
        Predicted probabilities.
    thresholds : ndarray of shape (n_thresholds,)
        From 0 up to, but not, 1.

    Returns
    -------
    ndarray of shape (n_thresholds,)
        ``TP / n - FP / n * threshold / (1 - threshold)`` [1]_.

    References
    ----------
    .. [1] Vickers AJ, Elkin EB. Decision curve analysis: a novel method for evaluating prediction
       models. Medical Decision Making 26 (2006) 565-574, doi:10.1177/0272989X06295361.
    """
    acted = probability >= thresholds[:, np.newaxis]
    odds = thresholds / (1 - thresholds)
    return (acted & is_class).mean(axis=1) - (acted & ~is_class).mean(axis=1) * odds


def _draw_decision_curve(evaluation):
    """Draw axes per class with the net benefit per pipeline, of acting on all and on none."""
    thresholds = np.linspace(0, 0.99, 100)
    pooled = _pool(evaluation, has_probabilities=True)
    known = [name for name, *_ in pooled]
    labels = [_fill_label(name, _LINE) for name in (*known, "act on all", "act on none")]
    n_lines = "\n".join(labels).count("\n") + 1
    figure, axes = _make_axes(_name_classes(evaluation), 3.2, 3.9 + 0.19 * n_lines)
    for i, axis in zip(evaluation.shown_classes, axes):
        for _, pool, line in pooled:
            benefit = net_benefit(pool.target == i, pool.scores[:, i], thresholds)
            axis.plot(thresholds, benefit, **line)
        share = (pool.target == i).mean()
        every = net_benefit(pool.target == i, np.ones(len(pool.target)), thresholds)
        axis.plot(thresholds, every, color=GRAY, linewidth=0.8)
        axis.axhline(0, color=GRAY, linewidth=0.8, linestyle=":")
        axis.set(xlabel="threshold probability", ylabel="net benefit", xlim=(0, 1))
        axis.set(ylim=(-0.1 * max(share, 0.05), 1.1 * max(share, 0.05)), box_aspect=1)
        axis.legend(axis.lines, labels, **_BELOW)
    return figure


def _draw_intervals(evaluation):
    """Draw for each metric a marker with its interval per pipeline."""
    names = evaluation.pipeline_names
    tables = {
        fill(title(metric, about), _LINE): table
        for metric, about, table in iter_tables(evaluation, METRICS)
        if table.loc[names, "mean"].notna().any()  # decision values have no Brier score
    }
    # One unit per interval, and at least one per line of the labels.
    rows = np.arange(len(tables)) * max(len(names) + 1.5, 1.2 * _count_lines(tables))
    figure, (axis,) = _make_axes([""], 5, 1.2 + 0.14 * rows[-1] + 0.3 * len(names))
    for number, name in enumerate(names):
        values = pd.DataFrame([table.loc[name] for table in tables.values()])
        color, marker = _line(number)["color"], "osD^vPX"[number % 7]
        axis.hlines(rows + number, values["low"], values["high"], color=color, linewidth=1.4)
        axis.plot(values["mean"], rows + number, marker, color=color, markersize=4.5)
    axis.set_yticks(rows + (len(names) - 1) / 2, [*tables])
    axis.invert_yaxis()
    axis.grid(axis="x", color=GRAY, alpha=0.25, linewidth=0.6)
    axis.set_xlabel("mean and 95% interval")
    labels = [_fill_label(name, 42) for name in names]
    figure.legend(axis.lines, labels, loc="outside upper left")
    return figure


_DRAW = {
    "confusion_matrices": _draw_matrices,
    **{name: partial(_draw_curves, name=name) for name in _CURVES},
    "decision_curve": _draw_decision_curve,
    "intervals": _draw_intervals,
}
