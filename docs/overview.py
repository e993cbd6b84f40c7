"""Draw the picture of the README, from synthetic images: ``python docs/overview.py [FILE]``."""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries
from sklearn.pipeline import make_union
from sklearn.preprocessing import StandardScaler

from featbus import GLCM, LBP, IntensityStatistics, compare_protocols, make_breast_ultrasound

TEAL, ORANGE = "#0a7d91", "#c2571a"


def draw(file):
    """Draw images, their rows of features, and the score by patient beside leaky ones.

    Parameters
    ----------
    file : str or os.PathLike
        The PNG file to write.

    Returns
    -------
    ProtocolComparison
        The scores.
    """
    data = make_breast_ultrasound(
        150, n_images_per_patient=3, weights=[2, 1, 0], contrast=0.45, random_state=0
    )
    names = data.target_names[:2]
    features = make_union(GLCM(), LBP(cells=3), IntensityStatistics())
    scores = compare_protocols(
        features, data.images, data.target, groups=data.groups, target_names=names
    )

    figure = Figure(figsize=(10, 3), layout="constrained", dpi=160)
    parts = figure.subfigures(1, 3, width_ratios=[1, 0.9, 1.3])
    titles = ["images", "rows of features", "ROC AUC of one SVM, by protocol"]
    for part, title in zip(parts, titles):
        part.suptitle(title, fontsize=11)

    shown = [*np.flatnonzero(data.target == 0)[[0, 3]], *np.flatnonzero(data.target == 1)[[0, 3]]]
    for axis, index in zip(parts[0].subplots(2, 2).flat, shown):
        image = np.dstack([data.images[index]] * 3)
        image[find_boundaries(data.masks[index] > 0, mode="thick")] = 53, 197, 220
        axis.imshow(image)
        axis.set(xticks=[], yticks=[], ylabel=names[data.target[index]])

    axis = parts[1].subplots()
    order = np.argsort(data.target, kind="stable")
    rows = StandardScaler().fit_transform(features.fit_transform(data.images[order]))
    axis.imshow(rows, aspect="auto", cmap="PuOr", vmin=-2.5, vmax=2.5, interpolation="nearest")
    axis.axhline(np.sum(data.target == 0) - 0.5, color="black", linewidth=1)
    middles = [np.mean(np.flatnonzero(data.target[order] == label)) for label in (0, 1)]
    axis.set(xticks=[], xlabel=f"{rows.shape[1]} features", yticks=middles)
    axis.set_yticklabels(names, rotation=90, va="center")
    axis.tick_params(length=0)

    axis = parts[2].subplots()
    table = scores.to_frame()
    for line, (_, score) in enumerate(table.iterrows()):
        color = ORANGE if line else TEAL
        value, low, high = score[["roc_auc", "roc_auc_low", "roc_auc_high"]]
        axis.plot([low, high], [line, line], color=color, linewidth=2)
        axis.plot(value, line, "o", color=color)
        axis.annotate(
            f"{value:.2f}", (value, line), (0, 6), textcoords="offset points", ha="center"
        )
    labels = ["split by patient", *table.index[1:]]
    axis.set(yticks=range(len(table)), yticklabels=labels, ylim=(len(table) - 0.5, -0.7))
    axis.axvline(0.5, color="gray", linestyle=":")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    figure.savefig(file)
    return scores


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "_static" / "overview.png")
