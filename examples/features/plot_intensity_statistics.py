"""
IntensityStatistics: how bright, how varied
===========================================

:class:`~featbus.IntensityStatistics` summarizes the brightness of an image or of its region: mean
and spread, the shape of the histogram, percentiles, energy and entropy, by the definitions of the
Image Biomarker Standardisation Initiative (IBSI).
"""

# %%
# Of the image, or of the region
# ------------------------------
# A lesion covers a small part of an image, and the statistics of the whole image say little about
# it. With the rest masked, the same estimator describes the lesion alone: darker, and of less
# varied brightness.

import matplotlib.pyplot as plt

from featbus import IntensityStatistics, make_breast_ultrasound
from featbus.masks import with_mask

ultrasound = make_breast_ultrasound(60, weights=[1, 1, 0], random_state=2)
image, lesion = ultrasound.images[0], ultrasound.masks[0]
statistics = IntensityStatistics().set_output(transform="pandas")
table = statistics.fit_transform([image, with_mask(image, lesion)])
table.index = ["image", "lesion"]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
left.imshow(image, cmap="gray")
left.contour(lesion, levels=[0.5], colors="C1", linewidths=1.5)
left.set(xticks=[], yticks=[])
for name, pixels, color in [("image", image, "C0"), ("lesion", image[lesion], "C1")]:
    right.hist(pixels.ravel() / 255, bins=64, density=True, color=color, alpha=0.6, label=name)
    for column, style in [("intensity_mean", "-"), ("intensity_percentile_90", ":")]:
        right.axvline(table.loc[name, column], color=color, linestyle=style)
right.set(xlabel="brightness", ylabel="density", yticks=[], title="lines: mean, 90th percentile")
right.legend()

# %%
# All of them
# -----------
# Brightness runs from 0 (black) to 1 (white), for every type of pixel. Three names hide traps:
# *kurtosis* is 0 for a normal distribution, *median absolute deviation* is a mean (IBSI's), and
# *energy* grows with the number of pixels.

table.T.round(3)

# %%
# How bright the classes are
# --------------------------
# Before anything is learnt: do images of one class come out brighter than those of another? Each
# image counts by its mean brightness. Here malignant images are a little darker, and the classes
# overlap. If they did not, a classifier could live on gain alone.

from featbus import intensity_summary

summary = intensity_summary(
    ultrasound.images,
    ultrasound.target,
    target_names=ultrasound.target_names,
)
summary.plot()

# %%
# The same in numbers. Outliers are Tukey's: more than 1.5 interquartile ranges beyond a quartile.

summary.table.round(3)

# %%
# A first look at the features
# ----------------------------
# The whole image says little of what is in it, the lesion says more. Yet the boxes overlap: no
# single statistic tells the classes apart. That is what more features, and classifiers, are for.

lesions = [with_mask(image, inside) for image, inside in zip(ultrasound.images, ultrasound.masks)]
shown = ["intensity_mean", "intensity_skewness", "intensity_entropy"]
columns = {
    "image": statistics.fit_transform(ultrasound.images)[shown],
    "lesion": statistics.fit_transform(lesions)[shown],
}

figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for axis, name in zip(axes, shown):
    values = [
        table[name][ultrasound.target == kind] for table in columns.values() for kind in (0, 1)
    ]
    boxes = axis.boxplot(values, widths=0.6, patch_artist=True, positions=[1, 2, 4, 5])
    for box, color in zip(boxes["boxes"], ["C0", "C3"] * 2):
        box.set(facecolor=color, alpha=0.6)
    plt.setp(boxes["medians"], color="black")
    axis.set_xticks([1.5, 4.5], ["image", "lesion"])
    axis.set_title(name, fontsize="medium")
axes[0].legend(boxes["boxes"][:2], ["benign", "malignant"], fontsize="small")
