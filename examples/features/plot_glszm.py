"""
GLSZM: gray-level zone sizes
============================

:class:`~featbus.GLSZM` measures the patches of equal gray level: many small ones where texture is
fine, a few large ones where tissue is even.
"""

# %%
# The zone of each pixel
# ----------------------
# A zone is a patch of connected pixels of one level. The fewer levels, the larger the zones: inside
# the dark lesion, one zone takes nearly all pixels as soon as its noise stays within a bin.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from skimage.measure import label

from featbus import GLSZM, make_breast_ultrasound
from featbus.masks import with_mask

ultrasound = make_breast_ultrasound(1, weights=[1, 0, 0], random_state=8)
image, lesion = ultrasound.images[0], ultrasound.masks[0].astype(bool)

figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set_title("image")
for axis, n_levels in zip(axes[1:], (8, 32)):
    zones = label(image // (256 // n_levels) + 1, connectivity=2)
    sizes = np.bincount(zones.ravel())[zones]
    colors = axis.imshow(sizes, cmap="viridis", norm=LogNorm(1, 10_000), interpolation="nearest")
    axis.set_title(f"size of the zones of {n_levels} levels")
figure.colorbar(colors, ax=axes, label="pixels")
for axis in axes:
    axis.contour(lesion, levels=[0.5], colors="red", linewidths=1)
    axis.set(xticks=[], yticks=[])

# %%
# The features of three regions
# -----------------------------
# *Zone percentage* is the number of zones by that of the pixels, *normalised grey level
# non-uniformity* is high where most zones share a level. Of a masked image only the region counts.

y, x = np.indices(image.shape)
regions = {
    "lesion": lesion,
    "gland": (y > 55) & (y < 95) & (x < 60),
    "muscle": (y > 140) & (x < 60),
}
glszm = GLSZM(intensity_range=(0, 1)).set_output(transform="pandas")
rows = glszm.fit_transform([with_mask(image, inside) for inside in regions.values()])

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for axis, feature in zip(axes, ("zone_percentage", "normalised_grey_level_non_uniformity")):
    axis.bar(list(regions), rows[f"glszm_{feature}"], color=["C0", "C1", "C2"])
    axis.set_title(feature.replace("_", " "))
