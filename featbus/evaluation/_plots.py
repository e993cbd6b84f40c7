"""Figures of an evaluation."""

import numpy as np


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

    n_classes = len(next(iter(matrices.values())))
    columns = min(columns, len(matrices))
    rows = -(-len(matrices) // columns)
    side = 1.3 + 0.75 * n_classes
    figure, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(side * columns + 1.2, side * rows + 0.5),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, (title, matrix) in zip(axes.flat, matrices.items()):
        _draw(axis, matrix, title)
    for axis in axes.flat[len(matrices) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("True class")
    figure.supxlabel("Predicted class", fontsize="medium")
    return figure


def _draw(axis, matrix, title):
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
