"""
GLRLM: gray-level run lengths
=============================

:class:`~featbus.GLRLM` counts how many pixels in a row have one gray level. Coarse texture has long
runs, and where texture lies down, as in ultrasound, runs are longer along it than across.
"""

# %%
# The run of each pixel
# ---------------------
# With eight gray levels: how long the run is that each pixel is part of, along rows and down
# columns. Speckle is wider than it is high, and so are the layers of the tissue.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

from featbus import GLRLM, make_breast_ultrasound
from featbus.masks import with_mask

ultrasound = make_breast_ultrasound(1, weights=[1, 0, 0], random_state=8)
image, lesion = ultrasound.images[0], ultrasound.masks[0].astype(bool)


def lengths_of_runs(levels):
    """Return the length of the run along the row that each pixel is part of."""
    number = (np.diff(levels, axis=1, prepend=0) != 0).cumsum().reshape(levels.shape)
    return np.bincount(number.ravel())[number]


levels = image.astype(int) // 32 + 1
maps = {"along rows": lengths_of_runs(levels), "down columns": lengths_of_runs(levels.T).T}

figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set_title("image")
for axis, (title, lengths) in zip(axes[1:], maps.items()):
    colors = axis.imshow(lengths, cmap="viridis", norm=LogNorm(1, 64), interpolation="nearest")
    axis.set_title(f"runs {title}")
figure.colorbar(colors, ax=axes, label="pixels", ticks=[1, 4, 16, 64], format="%d")
for axis in axes:
    axis.contour(lesion, levels=[0.5], colors="red", linewidths=1)
    axis.set(xticks=[], yticks=[])

# %%
# The features of three regions
# -----------------------------
# *Run percentage* is the number of runs by that of the pixels: low where runs are long. One angle
# at a time, it tells the two directions apart; by default, features are averages over four. The
# lesion is dark: with the same eight bins everywhere, it has few levels and long runs.

y, x = np.indices(image.shape)
regions = {
    "lesion": lesion,
    "gland": (y > 55) & (y < 95) & (x < 60),
    "muscle": (y > 140) & (x < 60),
}
masked = [with_mask(image, inside) for inside in regions.values()]

figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
for index, (name, angle) in enumerate({"along rows": 0, "down columns": np.pi / 2}.items()):
    glrlm = GLRLM(angles=[angle], levels=8, intensity_range=(0, 1))
    rows = glrlm.set_output(transform="pandas").fit_transform(masked)
    place = np.arange(len(regions)) + 0.35 * (index - 0.5)
    axis.bar(place, rows["glrlm_run_percentage"], width=0.3, label=name)
axis.set_xticks(range(len(regions)), regions)
axis.set(ylabel="run percentage", ylim=(0, 1))
axis.legend()
