"""
Intensity-volume histogram
==========================

:class:`~featbus.IntensityVolumeHistogram` measures how much of a region is how bright.
"""

# %%
# The share of bright pixels
# --------------------------
# Each curve falls from 1, the share of the pixels that are black or brighter, to 0, and falls later
# the brighter the region. Volumes are read at the intensity fractions of 10 and 90 %, the vertical
# lines, and intensities at the volume fractions of 10 and 90 %, the horizontal ones.

import matplotlib.pyplot as plt
import numpy as np

from featbus import IntensityVolumeHistogram, make_breast_ultrasound
from featbus.masks import with_mask

ultrasound = make_breast_ultrasound(1, weights=[1, 0, 0], random_state=8)
image, lesion = ultrasound.images[0], ultrasound.masks[0].astype(bool)
y, x = np.indices(image.shape)
regions = {
    "lesion": lesion,
    "gland": (y > 55) & (y < 95) & (x < 60),
    "muscle": (y > 140) & (x < 60),
}

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set(xticks=[], yticks=[], title="image")
brightness = np.arange(256)
for color, (name, inside) in zip(("C0", "C1", "C2"), regions.items()):
    axes[0].contour(inside, levels=[0.5], colors=color, linewidths=1)
    volume = np.mean(image[inside][:, np.newaxis] >= brightness, axis=0)
    axes[1].plot(brightness / 255, volume, color=color, label=name)
for fraction in (0.1, 0.9):
    axes[1].axvline(fraction, color="gray", linestyle=":")
    axes[1].axhline(fraction, color="gray", linestyle=":")
axes[1].set(xlabel="brightness", ylabel="volume: share of the pixels")
axes[1].legend()

# %%
# The features of three regions
# -----------------------------
# With 256 levels over the whole range, level 1 is black and level 256 is white. *Intensity at
# volume fraction 10* is the brightness that at most a tenth of the pixels reaches; its difference
# from that of nine tenths is the spread without the extremes.

ivh = IntensityVolumeHistogram(levels=256, intensity_range=(0, 1)).set_output(transform="pandas")
rows = ivh.fit_transform([with_mask(image, inside) for inside in regions.values()])

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
features = ("intensity_at_volume_fraction_10", "intensity_fraction_difference_10_90")
for axis, feature in zip(axes, features):
    axis.bar(list(regions), rows[f"ivh_{feature}"], color=["C0", "C1", "C2"])
    axis.set_title(feature.replace("_", " "))
