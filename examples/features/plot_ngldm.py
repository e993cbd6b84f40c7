"""
NGLDM: gray-level dependence
============================

:class:`~featbus.NGLDM` counts how many neighbors of a pixel have its gray level: many in even
tissue, few in speckle.
"""

# %%
# The dependent neighbors of each pixel
# -------------------------------------
# With 8 levels, most neighbors are equal where the noise stays within a bin; with 32 levels, few
# are anywhere.

import matplotlib.pyplot as plt
import numpy as np

from featbus import NGLDM, make_breast_ultrasound
from featbus.masks import with_mask

ultrasound = make_breast_ultrasound(1, weights=[1, 0, 0], random_state=8)
image, lesion = ultrasound.images[0], ultrasound.masks[0].astype(bool)

figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set_title("image")
offsets = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
height, width = image.shape
for axis, n_levels in zip(axes[1:], (8, 32)):
    levels = image // (256 // n_levels) + 1
    padded = np.pad(levels, 1)
    shifted = [padded[row : row + height, column : column + width] for row, column in offsets]
    colors = axis.imshow(np.sum(np.equal(shifted, levels), axis=0), cmap="viridis", vmin=0, vmax=8)
    axis.set_title(f"dependent neighbors, {n_levels} levels")
figure.colorbar(colors, ax=axes, label="neighbors")
for axis in axes:
    axis.contour(lesion, levels=[0.5], colors="red", linewidths=1)
    axis.set(xticks=[], yticks=[])

# %%
# The features of three regions
# -----------------------------
# *High dependence emphasis* is high where most neighbors are equal; *dependence count energy* is
# high where most pixels share a level and a number of neighbors. Only pixels inside the mask are
# used.

y, x = np.indices(image.shape)
regions = {
    "lesion": lesion,
    "gland": (y > 55) & (y < 95) & (x < 60),
    "muscle": (y > 140) & (x < 60),
}
ngldm = NGLDM(intensity_range=(0, 1)).set_output(transform="pandas")
rows = ngldm.fit_transform([with_mask(image, inside) for inside in regions.values()])

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for axis, feature in zip(axes, ("high_dependence_emphasis", "dependence_count_energy")):
    axis.bar(list(regions), rows[f"ngldm_{feature}"], color=["C0", "C1", "C2"])
    axis.set_title(feature.replace("_", " "))
