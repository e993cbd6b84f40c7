"""The figure of a comparison of protocols."""

import numpy as np

from featbus.evaluation._plots import COLORS, GRAY, STYLE
from featbus.evaluation._titles import is_of_class, title

_ROW = 0.56  # inches


def plot_protocols(scores, leaks, metric, pos_name):
    """Draw a row for each protocol, the honest one at the top.

    Parameters
    ----------
    scores : DataFrame
        One row per protocol, with the columns ``mean``, ``low`` and ``high``.
    leaks : dict of str to str
        What leaks in each protocol.
    metric : str
        The metric.
    pos_name : str or None
        The class that metrics are about.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(8.2, 0.95 + _ROW * len(scores)), layout="constrained")
        axis = figure.subplots()
        _draw_rows(axis, scores)
        _draw_gap(axis, scores)
        _name_rows(axis, scores, leaks)
        about = pos_name if is_of_class(metric, 2) else None
        axis.set_xlabel(f"{title(metric, about)}, mean over the folds and 95% interval")
    return figure


def _draw_rows(axis, scores):
    honest = scores.iloc[0]
    axis.axvspan(honest["low"], honest["high"], color=COLORS[0], alpha=0.1, linewidth=0)
    axis.axvline(honest["mean"], color=COLORS[0], linewidth=0.8, linestyle=(0, (4, 3)))
    for row, (mean, low, high) in enumerate(scores[["mean", "low", "high"]].to_numpy()):
        color, marker = (COLORS[1], "D") if row else (COLORS[0], "o")
        axis.hlines(row, low, high, color=color, linewidth=2.2)
        axis.plot(mean, row, marker, color=color, markersize=7 if row == 0 else 6)
        style = {"color": color, "va": "center", "fontweight": None if row else "bold"}
        text = f"{mean:.2f} ({low:.2f} to {high:.2f})"
        axis.text(1.02, row, text, transform=axis.get_yaxis_transform(), **style)
    left, right = scores["low"].min(), scores["high"].max()
    margin = 0.06 * max(right - left, 0.05)
    axis.set_xlim(left - margin, right + margin)


def _draw_gap(axis, scores):
    """Mark the difference of the highest score and the honest one."""
    honest, row = scores["mean"].iloc[0], int(np.argmax(scores["mean"]))
    highest = scores["mean"].iloc[row]
    if row == 0:
        return
    at = row - 0.36
    style = {"arrowstyle": "<->", "color": GRAY, "shrinkA": 0, "shrinkB": 0, "linewidth": 1}
    axis.annotate("", (highest, at), (honest, at), arrowprops=style)
    is_clear = scores["low"].iloc[row] > scores["high"].iloc[0]
    text = f"{highest - honest:+.2f}{' by protocol' if is_clear else ', intervals overlap'}"
    axis.text((honest + highest) / 2, at - 0.06, text, ha="center", va="bottom", color="#404040")


def _name_rows(axis, scores, leaks):
    """Write the name of each protocol, and below it what leaks."""
    rows = np.arange(len(scores))
    axis.set_yticks(rows, [""] * len(rows))
    transform = axis.get_yaxis_transform()
    for row, name in enumerate(scores.index):
        leak = "no leak" if row == 0 else leaks[name]
        options = {"transform": transform, "ha": "right"}
        weight = "bold" if row == 0 else None
        axis.text(-0.02, row - 0.03, name, va="bottom", fontweight=weight, **options)
        axis.text(-0.02, row + 0.06, leak, va="top", fontsize=7.5, color="#606060", **options)
    axis.set_ylim(len(rows) - 0.4, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x", color=GRAY, alpha=0.25, linewidth=0.6)
