"""Figures of an evaluation, drawn by scikit-learn's displays."""

from collections.abc import Callable
from math import ceil
from textwrap import fill
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay

from featbus.evaluation._metrics import METRICS, iter_tables, title

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
# The display of a curve, the metric in its legend, and the labels of the axes.
_CURVES = {
    "roc": (RocCurveDisplay, "roc_auc", "1 - specificity", "sensitivity"),
    "precision_recall": (
        *(PrecisionRecallDisplay, "pr_auc"),
        *("recall (sensitivity)", "precision (PPV)"),
    ),
    "calibration": (
        *(CalibrationDisplay, None),
        *("mean predicted probability", "fraction of the class"),
    ),
}


class Panel(NamedTuple):
    """A part of a figure: its title, a function that draws it on axes, its size in inches."""

    title: str
    draw: Callable
    size: tuple = (3.2, 3.2)


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
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, panel in zip(axes, panels):
            panel.draw(axis)
            axis.set_title(fill(panel.title, _LINE))
        for axis in axes[len(panels) :]:
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
    makers = {
        "confusion_matrices": _matrix_panels,
        **{curve: lambda evaluation: _curve_panels(evaluation, name) for curve in _CURVES},
        "score_distributions": _distribution_panels,
        "intervals": _interval_panels,
    }
    if name not in makers:
        raise ValueError(f"name is {name!r}, expected one of {list(makers)}.")
    return makers[name](evaluation)


def _line(number):
    """Return color and dashes of a pipeline or a class, the same in all figures."""
    turn, color = divmod(number, len(COLORS))
    return {"color": COLORS[color], "linestyle": _DASHES[(number + turn) % len(_DASHES)]}


def _put_legend(axis, handles, labels, anchor, **options):
    """Put a legend of wrapped labels outside of the axes."""
    legend = axis.legend(
        handles, [""] * len(labels), bbox_to_anchor=anchor, borderaxespad=0, **options
    )
    # Set afterwards, because matplotlib leaves out labels that start with an underscore.
    for text, label in zip(legend.get_texts(), labels):
        text.set_text(label)


def _count_lines(labels):
    return sum(label.count("\n") + 1 for label in labels)


def _matrix_panels(evaluation):
    """Return one panel per pipeline: counts, and their shares of the true class."""
    side = 1.3 + 0.75 * len(evaluation.target_names)

    def make_panel(pipeline):
        counts = evaluation.confusion_matrix(pipeline).to_numpy()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        display = ConfusionMatrixDisplay(shares, display_labels=evaluation.target_names)

        def draw(axis):
            limits = {"vmin": 0, "vmax": 1}
            display.plot(ax=axis, cmap="Blues", values_format=".0%", colorbar=False, im_kw=limits)
            for text, count, share in zip(display.text_.flat, counts.flat, shares.flat):
                color = "white" if share > 0.6 else "black"
                text.set(text=f"{count}\n{text.get_text()}", color=color)
            axis.tick_params(length=0)
            axis.set_xticklabels(
                axis.get_xticklabels(), rotation=30, ha="right", rotation_mode="anchor"
            )
            axis.set(xlabel="Predicted class", ylabel="True class")
            axis.spines[:].set_visible(True)

        return Panel(str(pipeline), draw, (side + 0.4, side + 0.2))

    return [make_panel(pipeline) for pipeline in evaluation.pipeline_names]


def _curve_panels(evaluation, name):
    """Return a panel per class with a curve per pipeline; for one pipeline, a single panel."""
    _, metric, *_ = _CURVES[name]
    names, classes = evaluation.target_names, evaluation.shown_classes
    areas = evaluation.per_class()
    pooled = {pipeline: evaluation.pooled(pipeline) for pipeline in evaluation.pipeline_names}
    shown = [
        (number, pipeline)
        for number, (pipeline, found) in enumerate(pooled.items())
        if metric or found.kind == "probability"
    ]
    if not shown:
        raise ValueError(
            "No pipeline has probabilities, expected a classifier with predict_proba: decision "
            "values cannot be calibrated. Wrap the classifier in CalibratedClassifierCV."
        )

    def make_curve(number, pipeline, i, label):
        is_class, scores = pooled[pipeline].target == i, pooled[pipeline].scores[:, i]
        if not 0 < is_class.mean() < 1:
            label, scores = f"{label}: no curve", None
        elif metric:
            label += f", AUC {areas.loc[(pipeline, names[i]), (metric, 'mean')]:.2f}"
        return _line(number), fill(label, _LINE), is_class, scores

    if len(pooled) == 1 and len(classes) > 1:
        ((_, pipeline),) = shown
        curves = [make_curve(i, pipeline, i, names[i]) for i in classes]
        return [_curve_panel("each class against the rest", curves, name)]
    rest = dict(enumerate(names[::-1] if len(names) == 2 else ["the rest"] * len(names)))
    return [
        _curve_panel(
            f"{names[i]} against {rest[i]}",
            [make_curve(number, pipeline, i, str(pipeline)) for number, pipeline in shown],
            name,
        )
        for i in classes
    ]


def _curve_panel(heading, curves, name):
    display, _, xlabel, ylabel = _CURVES[name]

    def draw(axis):
        handles = []
        for line, _, is_class, scores in curves:
            if scores is None:
                handles += axis.plot([], [], **line)
                continue
            options = {}
            if name == "calibration":
                # Ten bins of equal counts; fewer if there are few images.
                n_bins = int(np.clip(len(scores) // 15, 2, 10))
                options = {"n_bins": n_bins, "strategy": "quantile", "ref_line": False}
                scores = np.clip(scores, 0, 1)  # rounding errors
            display.from_predictions(is_class, scores, ax=axis, **options)
            handles.append(axis.lines[-1])
            marker = {"marker": "o", "markersize": 3.5} if name == "calibration" else {}
            handles[-1].set(**line, **marker)
        if name == "precision_recall":
            for share in sorted({is_class.mean() for _, _, is_class, _ in curves}):
                axis.axhline(share, color=GRAY, linewidth=0.8, zorder=0)
        else:
            axis.plot([0, 1], [0, 1], color=GRAY, linewidth=0.8, zorder=0)
        axis.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axis.set(aspect="auto", box_aspect=1)
        labels = [label for _, label, *_ in curves]
        _put_legend(axis, handles, labels, (-0.02, -0.16), loc="upper left", handlelength=2.6)

    n_lines = _count_lines(label for _, label, *_ in curves)
    return Panel(heading, draw, (3.2, 3.3 + 0.21 * n_lines))


def _distribution_panels(evaluation):
    """Return one panel per pipeline and class: the scores for that class, by true class."""
    return [
        _distribution_panel(pipeline, evaluation.pooled(pipeline), i, evaluation.target_names)
        for pipeline in evaluation.pipeline_names
        for i in evaluation.shown_classes
    ]


def _distribution_panel(pipeline, pooled, i, names):
    scores = pooled.scores[:, i]
    if pooled.kind == "probability":
        scores, label = np.clip(scores, 0, 1), f"probability of {names[i]}"
        edges = np.linspace(0, 1, 21)
    else:
        label, edges = f"decision value of {names[i]}", np.histogram_bin_edges(scores, 20)
    label, labels = fill(label, _LINE), [fill(f"truly {name}", _LINE) for name in names]

    def draw(axis):
        handles = []
        for number in range(len(names)):
            counts = np.histogram(scores[pooled.target == number], edges)[0]
            shares, line = counts / max(counts.sum(), 1), _line(number)
            axis.stairs(shares, edges, fill=True, color=line["color"], alpha=0.18)
            handles.append(axis.stairs(shares, edges, linewidth=1.4, **line))
        axis.set(xlabel=label, ylabel="share of class")
        axis.set_ylim(bottom=0)
        axis.locator_params(axis="x", nbins=6)
        _put_legend(axis, handles, labels, (-0.02, -0.24), loc="upper left", handlelength=2.6)

    return Panel(str(pipeline), draw, (3.2, 2.4 + 0.19 * _count_lines([label, *labels])))


def _interval_panels(evaluation):
    """Return one panel: for each metric, a marker with its interval per pipeline."""
    names = [fill(str(name), _LONG_LINE) for name in evaluation.pipeline_names]
    tables = {
        fill(title(metric, about), _LONG_LINE): table
        for metric, about, table in iter_tables(evaluation, METRICS)
        if table["mean"].notna().any()  # decision values have no Brier score
    }
    # One unit per interval; the name of the metric is above them.
    above = 1.4 * max(_count_lines([head]) for head in tables)
    pitch = len(names) + above + 0.6

    def draw(axis):
        rows, handles = np.arange(len(tables)) * pitch, []
        for number, name in enumerate(evaluation.pipeline_names):
            values = pd.DataFrame([table.loc[name] for table in tables.values()])
            color, marker = _line(number)["color"], "osD^vPX"[number % 7]
            axis.hlines(rows + number, values["low"], values["high"], color=color, linewidth=1.4)
            handles += axis.plot(values["mean"], rows + number, marker, color=color, markersize=4.5)
        for row, head in zip(rows, tables):
            axis.text(0, row - 0.7, head, transform=axis.get_yaxis_transform(), va="bottom")
        axis.set(yticks=[], ylim=(rows[-1] + len(names), -above - 0.7))
        axis.spines["left"].set_visible(False)
        axis.grid(axis="x", color=GRAY, alpha=0.25, linewidth=0.6)
        axis.set_xlabel("mean and 95% interval")
        if len(names) > 1:
            _put_legend(axis, handles, names, (-0.02, 1.01), loc="lower left", handlelength=1)

    n_lines = _count_lines(names) if len(names) > 1 else 0
    return [Panel("", draw, (4.2, 0.6 + 0.17 * n_lines + 0.125 * pitch * len(tables)))]
