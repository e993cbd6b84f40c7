"""
Robust features
===============

:func:`~featbus.feature_robustness` changes images and masks a little, as if a lesion had been
imaged and outlined again, and measures how much each column depends on it.
:class:`~featbus.SelectRobust` keeps the columns that do not, inside the folds.
"""

# %%
# Small changes
# -------------
# The outline grows, shrinks or is drawn less carefully; the image is rotated, shifted, noisier or
# coarser.

import matplotlib.pyplot as plt
import numpy as np

from featbus import (
    GLCM,
    GLSZM,
    LBP,
    IntensityStatistics,
    SelectRobust,
    ShapeStatistics,
    feature_robustness,
    load_masked,
    make_breast_ultrasound,
)
from featbus.masks import inside_mask
from featbus.model_selection import PERTURBATIONS

ultrasound = make_breast_ultrasound(24, weights=[1, 1, 0], random_state=0)
images = load_masked(ultrasound)
copies = {"image": images[3]}
for name, perturb in PERTURBATIONS.items():
    copies[name] = perturb(images[3], np.random.default_rng(0))

rows, columns = np.nonzero(inside_mask(images[3]))
figure, axes = plt.subplots(2, 4, figsize=(12, 5.5), layout="constrained")
for axis, (name, copy) in zip(axes.flat, copies.items()):
    axis.imshow(copy.data, cmap="gray", vmin=0, vmax=255)
    axis.contour(inside_mask(images[3]), levels=[0.5], colors="gold", linewidths=1)
    axis.contour(inside_mask(copy), levels=[0.5], colors="red", linewidths=1)
    axis.set(xticks=[], yticks=[], title=name)
    axis.set_xlim(columns.min() - 25, columns.max() + 25)
    axis.set_ylim(rows.max() + 20, rows.min() - 20)

# %%
# Robust and fragile families
# ---------------------------
# The intraclass correlation (ICC) of a column is 1 if only the lesion matters, and 0 if copies of
# one lesion differ as much as lesions do. Each family has robust and fragile columns: the bars go
# from the first to the third quartile, the dots are single columns.

families = {
    "intensity": IntensityStatistics(),
    "GLCM": GLCM(),
    "GLSZM": GLSZM(),
    "LBP": LBP(),
    "shape": ShapeStatistics(),
}
tables = {name: feature_robustness(family, images) for name, family in families.items()}

shown = ["overall", *PERTURBATIONS]
figure, axes = plt.subplots(1, len(families), figsize=(12, 3.6), sharey=True, layout="constrained")
for axis, (name, table) in zip(axes, tables.items()):
    icc = table.xs("icc", axis=1, level=1)[shown].dropna()
    low, middle, high = icc.quantile([0.25, 0.5, 0.75]).to_numpy()
    places = np.arange(len(shown))
    axis.barh(places, high - low, left=low, color="C0", alpha=0.4)
    axis.plot(icc.to_numpy().T, np.tile(places[:, np.newaxis], len(icc)), "k.", markersize=3)
    axis.axvline(0.75, color="red", linewidth=1)
    axis.set(title=name, xlabel="ICC", xlim=(-0.1, 1.02), yticks=places, yticklabels=shown)
axes[0].invert_yaxis()

# %%
# Keep the robust columns
# -----------------------
# A column is kept if the lower end of the interval of its ICC is at least `min_icc`.

select = SelectRobust(ShapeStatistics(), min_icc=0.75).fit(images)
table = select.icc_["overall"].round(2)
table["kept"] = select.get_support()
print(table)
