"""Figures of an evaluation."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, roc_curve

from featbus.evaluation._metrics import METRICS, TITLES

# Okabe and Ito's colours, which the colour-blind can tell apart, without yellow and black. The dash
# says the same once more, for whoever prints in grey.
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"]
_DASHES = ["-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (9, 2)), (0, (3, 3))]
GREY = "#808080"

STYLE = {
    "axes.edgecolor": GREY,
    "axes.prop_cycle": f"cycler('color', {COLORS})",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "font.size": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # names of classes may have a dollar sign
    "xtick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.color": GREY,
    "ytick.labelcolor": "black",
}


class Panel(NamedTuple):
    """A part of a figure: its title, what draws it on axes, and its size in inches."""

    title: str
    draw: Callable
    size: tuple = (3.6, 3.2)


class Pooled(NamedTuple):
    """Out-of-fold predictions of one pipeline, of all folds."""

    target: np.ndarray  # positions of the classes
    scores: np.ndarray  # (n_predictions, n_classes)
    kind: str  # "probability" or "decision"


class _Curve(NamedTuple):
    """What a curve is drawn from."""

    number: int  # of the colour
    label: str
    is_class: np.ndarray
    score: np.ndarray
    areas: pd.Series  # means over the folds, by metric


def pipeline_names(evaluation):
    """Return the names of the pipelines, in their order."""
    return evaluation.predictions["pipeline"].unique().tolist()


def pool(evaluation, pipeline):
    """Return the out-of-fold predictions of a pipeline."""
    rows = evaluation.predictions
    rows = rows[rows["pipeline"] == pipeline]
    target = np.searchsorted(evaluation.labels, rows["target"].to_numpy())
    for kind in ("probability", "decision"):
        scores = rows.reindex(columns=[f"{kind}_{name}" for name in evaluation.target_names])
        # The columns of the other kind are there too, and empty, where pipelines differ in it.
        if scores.notna().all(axis=None):
            return Pooled(target, scores.to_numpy(dtype=np.float64), kind)
    raise ValueError(
        f"The pipeline {pipeline!r} has no scores, expected the columns probability_<class> or "
        "decision_<class> in predictions."
    )


def shown_classes(evaluation):
    """Return the positions of the classes that curves are about."""
    names = list(evaluation.target_names)
    return range(len(names)) if evaluation.pos_name is None else [names.index(evaluation.pos_name)]


def plot(evaluation, name):
    """Draw a figure of an evaluation.

    Parameters
    ----------
    evaluation : Evaluation
        What `evaluate` returned.
    name : str
        "confusion_matrices", "roc", "precision_recall", "calibration", "score_distributions" or
        "intervals".

    Returns
    -------
    matplotlib.figure.Figure
        The figure. pyplot does not know it: it needs no closing, and ``savefig`` writes it.

    Raises
    ------
    ValueError
        If there is no such figure, or no pipeline has the probabilities that it needs.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if name == "confusion_matrices":
        with rc_context({"text.parse_math": False}):
            return _draw_matrices(Figure(layout="constrained"), _matrices(evaluation), columns=4)
    panels = make_panels(evaluation, name)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    width, height = panels[0].size
    with rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis, panel in zip(axes.flat, panels):
            panel.draw(axis)
            axis.set_title(panel.title)
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
    return figure


def make_panels(evaluation, name):
    """Return the parts of a figure of curves, distributions or intervals."""
    if name not in _PANELS:
        raise ValueError(f"name is {name!r}, expected one of {['confusion_matrices', *_PANELS]}.")
    return _PANELS[name](evaluation)


def _matrices(evaluation):
    return {name: evaluation.confusion_matrix(name) for name in pipeline_names(evaluation)}


def plot_confusion_matrices(matrices, columns=4):
    """Draw confusion matrices side by side.

    Parameters
    ----------
    matrices : dict of str to DataFrame of shape (n_classes, n_classes)
        Counts by title; true classes are rows, predicted classes are columns.
    columns : int, default=4
        Most matrices in one row of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Each cell has its count and its share of the row, which is also its colour.
    """
    from matplotlib import pyplot

    figure = pyplot.figure(layout="constrained")
    with pyplot.rc_context({"text.parse_math": False}):
        return _draw_matrices(figure, matrices, columns)


def _draw_matrices(figure, matrices, columns):
    n_classes = len(next(iter(matrices.values())))
    columns = min(columns, len(matrices))
    rows = -(-len(matrices) // columns)
    side = 1.3 + 0.75 * n_classes
    figure.set_size_inches(side * columns + 1.2, side * rows + 0.5)
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axis, (title, matrix) in zip(axes.flat, matrices.items()):
        _draw_matrix(axis, matrix, title)
    for axis in axes.flat[len(matrices) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("True class")
    figure.supxlabel("Predicted class", fontsize="medium")
    return figure


def _draw_matrix(axis, matrix, title):
    counts = matrix.to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        axis.text(
            column,
            row,
            f"{counts[row, column]}\n{100 * share:.0f} %",
            ha="center",
            va="center",
            color="white" if share > 0.6 else "black",
        )
    axis.set_xticks(
        range(len(matrix)), matrix.columns, rotation=30, ha="right", rotation_mode="anchor"
    )
    axis.set_yticks(range(len(matrix)), matrix.index)
    axis.tick_params(length=0)
    axis.set_title(title, fontsize="medium")


def _curve_panels(evaluation, add_curve, decorate, kinds=("probability", "decision")):
    """Return one panel a class with a curve a pipeline; one panel of all classes of a single one.

    `add_curve(curve)` returns x, y, what else `Axes.plot` needs and the end of the label.
    """
    pooled = {name: pool(evaluation, name) for name in pipeline_names(evaluation)}
    names, classes = list(evaluation.target_names), shown_classes(evaluation)
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
            "No pipeline has probabilities, expected classifiers with predict_proba: decision "
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
            x, y, style, value = add_curve(curve)
            axis.plot(x, y, **_line(curve.number), **style)
            labels.append(f"{curve.label}{value}")
        handles = list(axis.lines)
        decorate(axis, [curve.is_class.mean() for curve in curves])
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), box_aspect=1)
        _legend(axis, handles, labels, (-0.02, -0.16))

    return Panel(title, draw, (3.6, 3.9 + 0.19 * len(curves)))


def _line(number):
    turn = number // len(COLORS)
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": _DASHES[(number + turn) % len(_DASHES)],
    }


def _legend(axis, handles, labels, anchor, handlelength=2.6):
    """Put the legend outside of the axes, where it hides nothing."""
    legend = axis.legend(
        handles,
        [str(number) for number in range(len(labels))],
        loc="upper left",
        bbox_to_anchor=anchor,
        borderaxespad=0,
        handlelength=handlelength,
    )
    # Set afterwards, since matplotlib leaves out labels that start with an underscore.
    for text, label in zip(legend.get_texts(), labels):
        text.set_text(str(label))


def _roc(curve):
    false, true, _ = roc_curve(curve.is_class, curve.score)
    return false, true, {}, f", AUC {curve.areas['roc_auc']:.2f}"


def _decorate_roc(axis, shares):
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, zorder=0)
    axis.set(xlabel="1 - specificity", ylabel="sensitivity")


def _precision_recall(curve):
    precision, recall, _ = precision_recall_curve(curve.is_class, curve.score)
    return recall, precision, {"drawstyle": "steps-post"}, f", AUC {curve.areas['pr_auc']:.2f}"


def _decorate_precision_recall(axis, shares):
    for share in sorted(set(shares)):
        axis.axhline(share, color=GREY, linewidth=0.8, zorder=0)
    axis.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)")


def _calibration(curve):
    # Ten bins of equal counts; less where there are few images.
    n_bins = int(np.clip(len(curve.score) // 15, 2, 10))
    # Rounding may leave 0..1 by a hair.
    probability = np.clip(curve.score, 0, 1)
    seen, given = calibration_curve(curve.is_class, probability, n_bins=n_bins, strategy="quantile")
    return given, seen, {"marker": "o", "markersize": 3.5}, ""


def _decorate_calibration(axis, shares):
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, zorder=0)
    axis.set(xlabel="mean predicted probability", ylabel="fraction of the class")


def _roc_panels(evaluation):
    return _curve_panels(evaluation, _roc, _decorate_roc)


def _precision_recall_panels(evaluation):
    return _curve_panels(evaluation, _precision_recall, _decorate_precision_recall)


def _calibration_panels(evaluation):
    return _curve_panels(evaluation, _calibration, _decorate_calibration, ["probability"])


def _distribution_panels(evaluation):
    """Return one panel a pipeline and class: the scores for that class, by true class."""
    names = evaluation.target_names
    panels = []
    for pipeline in pipeline_names(evaluation):
        target, scores, kind = pool(evaluation, pipeline)
        kind = "probability" if kind == "probability" else "decision value"
        panels += [
            _distribution_panel(str(pipeline), target, scores[:, i], f"{kind} of {names[i]}", names)
            for i in shown_classes(evaluation)
        ]
    return panels


def _distribution_panel(title, target, score, label, names):
    if label.startswith("probability"):
        edges = np.linspace(0, 1, 21)
        score = np.clip(score, 0, 1)
    else:
        edges = np.histogram_bin_edges(score, 20)

    def draw(axis):
        handles = []
        for number in range(len(names)):
            counts = np.histogram(score[target == number], edges)[0]
            shares = counts / max(counts.sum(), 1)
            line = _line(number)
            axis.stairs(shares, edges, fill=True, color=line["color"], alpha=0.18)
            handles.append(axis.stairs(shares, edges, linewidth=1.4, **line))
        axis.set(xlabel=label, ylabel="share of the true class")
        axis.set_ylim(bottom=0)
        axis.locator_params(axis="x", nbins=6)
        _legend(axis, handles, [f"truly {name}" for name in names], (-0.02, -0.24))

    return Panel(title, draw, (3.6, 2.7 + 0.19 * len(names)))


def _interval_panels(evaluation):
    """Return one panel: of each metric, a dot with its interval for each pipeline."""
    frame = evaluation.to_frame()
    names = frame.index.tolist()
    # Decision values have no Brier score.
    metrics = [metric for metric in METRICS if frame[metric, "mean"].notna().any()]
    pitch = len(names) + 1.2

    def draw(axis):
        rows = np.arange(len(metrics)) * pitch
        handles = []
        for number, name in enumerate(names):
            values = frame.loc[name].unstack().loc[metrics]
            color, marker = _line(number)["color"], "osD^vPX"[number % 7]
            axis.hlines(rows + number, values["low"], values["high"], color=color, linewidth=1.4)
            handles += axis.plot(values["mean"], rows + number, marker, color=color, markersize=4.5)
        axis.set_yticks(rows + (len(names) - 1) / 2, [TITLES[metric] for metric in metrics])
        axis.set_ylim(rows[-1] + pitch - 0.6, -1.1)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
        axis.set_xlabel("mean and 95 % interval")
        if len(names) > 1:
            _legend(axis, handles, names, anchor=(1.02, 1), handlelength=1)

    return [Panel("", draw, (7.2, 0.8 + len(metrics) * max(0.26, 0.115 * pitch)))]


_PANELS = {
    "roc": _roc_panels,
    "precision_recall": _precision_recall_panels,
    "calibration": _calibration_panels,
    "score_distributions": _distribution_panels,
    "intervals": _interval_panels,
}
