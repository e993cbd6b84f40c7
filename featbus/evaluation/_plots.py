"""Figures of an evaluation."""

from collections.abc import Callable
from functools import partial
from math import ceil
from textwrap import wrap
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, roc_curve

from featbus.evaluation._metrics import METRICS
from featbus.evaluation._titles import iter_tables, title

# Okabe and Ito's colors, distinguishable for color-blind readers, without yellow and black. Dashes
# repeat the information for prints in gray.
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"]
_DASHES = ["-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (9, 2)), (0, (3, 3))]
GRAY = "#808080"

_MAX_WIDTH = 12  # of a figure of several columns, in inches
_LINE = 27  # characters of a label that fit a panel
_LONG_LINE = 42  # the same, in the panel of intervals

STYLE = {
    "axes.edgecolor": GRAY,
    "axes.prop_cycle": f"cycler('color', {COLORS})",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "font.size": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # names may contain dollar signs
    "xtick.color": GRAY,
    "xtick.labelcolor": "black",
    "ytick.color": GRAY,
    "ytick.labelcolor": "black",
}


class Panel(NamedTuple):
    """A part of a figure: its title, a function that draws it on axes, its size in inches."""

    title: str
    draw: Callable
    size: tuple = (3.2, 3.2)


class _Curve(NamedTuple):
    """The data of a curve."""

    number: int  # of the color
    label: str
    is_class: np.ndarray
    score: np.ndarray
    areas: pd.Series  # means over the folds, by metric


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
    from matplotlib.figure import Figure

    panels = make_panels(evaluation, name)
    width, height = panels[0].size
    rows = ceil(len(panels) / max(1, int(_MAX_WIDTH // width)))
    columns = ceil(len(panels) / rows)
    with rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis, panel in zip(axes.flat, panels):
            panel.draw(axis)
            axis.set_title(_wrapped(panel.title))
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
    return figure


def make_panels(evaluation, name):
    """Return the parts of a figure of an evaluation.

    Parameters
    ----------
    evaluation : Evaluation
        The result of `evaluate`.
    name : str
        See `Evaluation.plot`.

    Returns
    -------
    list of Panel
        Panels of the same size.

    Raises
    ------
    ValueError
        As in `plot`.
    """
    if name not in _PANELS:
        raise ValueError(f"name is {name!r}, expected one of {list(_PANELS)}.")
    return _PANELS[name](evaluation)


def _matrix_panels(evaluation):
    """Return one panel per pipeline: counts, and their shares of the true class."""
    names = evaluation.target_names
    side = 1.3 + 0.75 * len(names)

    def panel(pipeline):
        counts = evaluation.confusion_matrix(pipeline).to_numpy()
        draw = partial(_draw_matrix, counts=counts, names=names)
        return Panel(str(pipeline), draw, (side + 0.4, side + 0.2))

    return list(map(panel, evaluation.pipeline_names))


def _draw_matrix(axis, counts, names):
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{counts[row, column]}\n{100 * share:.0f}%"
        color = "white" if share > 0.6 else "black"
        axis.text(column, row, text, ha="center", va="center", color=color)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="Predicted class", ylabel="True class")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(True)


def _curve_panels(evaluation, add_curve, decorate, kinds=("probability", "decision")):
    """Return a panel per class with a curve per pipeline; for one pipeline, a single panel.

    `add_curve(curve)` returns x, y, options of `Axes.plot` and the end of the label.
    """
    pooled = {name: evaluation.pooled(name) for name in evaluation.pipeline_names}
    names, classes = list(evaluation.target_names), evaluation.shown_classes
    areas = evaluation.per_class().xs("mean", axis=1, level=1)
    curves = {
        i: [
            _Curve(number, name, found.target == i, found.scores[:, i], areas.loc[name, names[i]])
            for number, (name, found) in enumerate(pooled.items())
            if found.kind in kinds
        ]
        for i in classes
    }
    if not curves[classes[0]]:
        raise ValueError(
            "No pipeline has probabilities, expected a classifier with predict_proba: decision "
            "values cannot be calibrated. Wrap the classifier in CalibratedClassifierCV."
        )
    if len(pooled) == 1 and len(classes) > 1:
        together = [curves[i][0]._replace(number=i, label=names[i]) for i in classes]
        return [_curve_panel("each class against the rest", together, add_curve, decorate)]
    return [
        _curve_panel(f"{names[i]} against {_rest(names, i)}", curves[i], add_curve, decorate)
        for i in classes
    ]


def _rest(names, i):
    return names[1 - i] if len(names) == 2 else "the rest"


def _curve_panel(title, curves, add_curve, decorate):
    def draw(axis):
        labels = []
        for curve in curves:
            is_defined = 0 < curve.is_class.mean() < 1
            x, y, style, value = add_curve(curve) if is_defined else ([], [], {}, ": no curve")
            axis.plot(x, y, **_line(curve.number), **style)
            labels.append(f"{curve.label}{value}")
        handles = list(axis.lines)
        decorate(axis, [curve.is_class.mean() for curve in curves])
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), box_aspect=1)
        _legend(axis, handles, labels, (-0.02, -0.16))

    n_lines = sum(_count_lines(f"{curve.label}, AUC 0.00") for curve in curves)
    return Panel(title, draw, (3.2, 3.3 + 0.21 * n_lines))


def _line(number):
    turn = number // len(COLORS)
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": _DASHES[(number + turn) % len(_DASHES)],
    }


def _wrapped(text, width=_LINE):
    return "\n".join(wrap(str(text), width))


def _count_lines(text, width=_LINE):
    return len(wrap(str(text), width))


def _legend(axis, handles, labels, anchor, loc="upper left", handlelength=2.6, width=_LINE):
    """Put the legend outside of the axes."""
    legend = axis.legend(
        handles,
        [str(number) for number in range(len(labels))],
        loc=loc,
        bbox_to_anchor=anchor,
        borderaxespad=0,
        handlelength=handlelength,
    )
    # Set afterwards, because matplotlib leaves out labels that start with an underscore.
    for text, label in zip(legend.get_texts(), labels):
        text.set_text(_wrapped(label, width))


def _roc(curve):
    false, true, _ = roc_curve(curve.is_class, curve.score)
    return false, true, {}, f", AUC {curve.areas['roc_auc']:.2f}"


def _decorate_roc(axis, shares):
    axis.plot([0, 1], [0, 1], color=GRAY, linewidth=0.8, zorder=0)
    axis.set(xlabel="1 - specificity", ylabel="sensitivity")


def _precision_recall(curve):
    precision, recall, _ = precision_recall_curve(curve.is_class, curve.score)
    return recall, precision, {"drawstyle": "steps-post"}, f", AUC {curve.areas['pr_auc']:.2f}"


def _decorate_precision_recall(axis, shares):
    for share in sorted(set(shares)):
        axis.axhline(share, color=GRAY, linewidth=0.8, zorder=0)
    axis.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)")


def _calibration(curve):
    # Ten bins of equal counts; fewer if there are few images.
    n_bins = int(np.clip(len(curve.score) // 15, 2, 10))
    # Rounding errors may leave 0..1.
    probability = np.clip(curve.score, 0, 1)
    seen, given = calibration_curve(curve.is_class, probability, n_bins=n_bins, strategy="quantile")
    return given, seen, {"marker": "o", "markersize": 3.5}, ""


def _decorate_calibration(axis, shares):
    axis.plot([0, 1], [0, 1], color=GRAY, linewidth=0.8, zorder=0)
    axis.set(xlabel="mean predicted probability", ylabel="fraction of the class")


def _distribution_panels(evaluation):
    """Return one panel per pipeline and class: the scores for that class, by true class."""
    return [
        _distribution_panel(pipeline, evaluation.pooled(pipeline), i, evaluation.target_names)
        for pipeline in evaluation.pipeline_names
        for i in evaluation.shown_classes
    ]


def _distribution_panel(pipeline, pooled, i, names):
    target, score = pooled.target, pooled.scores[:, i]
    if pooled.kind == "probability":
        score, label = np.clip(score, 0, 1), f"probability of {names[i]}"
        edges = np.linspace(0, 1, 21)
    else:
        label, edges = f"decision value of {names[i]}", np.histogram_bin_edges(score, 20)

    def draw(axis):
        handles = []
        for number in range(len(names)):
            counts = np.histogram(score[target == number], edges)[0]
            shares = counts / max(counts.sum(), 1)
            line = _line(number)
            axis.stairs(shares, edges, fill=True, color=line["color"], alpha=0.18)
            handles.append(axis.stairs(shares, edges, linewidth=1.4, **line))
        axis.set(xlabel=_wrapped(label), ylabel="share of class")
        axis.set_ylim(bottom=0)
        axis.locator_params(axis="x", nbins=6)
        _legend(axis, handles, [f"truly {name}" for name in names], (-0.02, -0.24))

    n_lines = _count_lines(label) + sum(_count_lines(f"truly {name}") for name in names)
    return Panel(str(pipeline), draw, (3.2, 2.4 + 0.19 * n_lines))


def _interval_panels(evaluation):
    """Return one panel: for each metric, a marker with its interval per pipeline."""
    names = evaluation.pipeline_names
    metrics = {
        title(metric, about): table
        for metric, about, table in iter_tables(evaluation, METRICS)
        if table["mean"].notna().any()  # decision values have no Brier score
    }
    heads = [_wrapped(head, _LONG_LINE) for head in metrics]
    n_lines = sum(_count_lines(name, _LONG_LINE) for name in names) if len(names) > 1 else 0
    # One unit per interval; the name of the metric is above them.
    above = 1.4 * max(head.count("\n") + 1 for head in heads)
    pitch = len(names) + above + 0.6

    def draw(axis):
        rows = np.arange(len(metrics)) * pitch
        handles = []
        for number, name in enumerate(names):
            values = pd.DataFrame([table.loc[name] for table in metrics.values()])
            color, marker = _line(number)["color"], "osD^vPX"[number % 7]
            axis.hlines(rows + number, values["low"], values["high"], color=color, linewidth=1.4)
            handles += axis.plot(values["mean"], rows + number, marker, color=color, markersize=4.5)
        for row, head in zip(rows, heads):
            axis.text(0, row - 0.7, head, transform=axis.get_yaxis_transform(), va="bottom")
        axis.set(yticks=[], ylim=(rows[-1] + len(names), -above - 0.7))
        axis.spines["left"].set_visible(False)
        axis.grid(axis="x", color=GRAY, alpha=0.25, linewidth=0.6)
        axis.set_xlabel("mean and 95% interval")
        if len(names) > 1:
            _legend(axis, handles, names, (-0.02, 1.01), "lower left", 1, _LONG_LINE)

    return [Panel("", draw, (4.2, 0.6 + 0.17 * n_lines + 0.125 * pitch * len(metrics)))]


_PANELS = {
    "confusion_matrices": _matrix_panels,
    "roc": partial(_curve_panels, add_curve=_roc, decorate=_decorate_roc),
    "precision_recall": partial(
        _curve_panels, add_curve=_precision_recall, decorate=_decorate_precision_recall
    ),
    "calibration": partial(
        _curve_panels,
        add_curve=_calibration,
        decorate=_decorate_calibration,
        kinds=["probability"],
    ),
    "score_distributions": _distribution_panels,
    "intervals": _interval_panels,
}
