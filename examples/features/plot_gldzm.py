"""
GLDZM: gray-level zone distances
================================

:class:`~featbus.GLDZM` measures how far from the border of a lesion its patches of equal gray level
are: a rim has small distances, a center large ones.
"""

# %%
# The distance of each zone
# -------------------------
# A zone is a patch of connected pixels of one level; its distance is that of its pixel closest to
# the border. With 8 levels, zones are large, and most reach the border; with 32, the zones inside
# are as far from it as their pixels.

import cv2
import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage
from skimage.measure import label

from featbus import GLDZM, make_breast_ultrasound
from featbus.masks import with_mask

ultrasound = make_breast_ultrasound(1, weights=[1, 0, 0], random_state=8)
image, lesion = ultrasound.images[0], ultrasound.masks[0].astype(bool)

figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set_title("image")
steps = cv2.distanceTransform(lesion.astype(np.uint8), cv2.DIST_L1, 3)
for axis, n_levels in zip(axes[1:], (8, 32)):
    zones = label((image // (256 // n_levels) + 1) * lesion, connectivity=2)
    closest = ndimage.minimum(steps, zones, np.arange(zones.max() + 1))
    shown = np.ma.masked_where(~lesion, closest[zones])
    colors = axis.imshow(shown, cmap="viridis", vmin=1, vmax=25)
    axis.set_title(f"distance of the zones of {n_levels} levels")
figure.colorbar(colors, ax=axes, label="pixels")
rows, columns = np.nonzero(lesion)
for axis in axes:
    axis.contour(lesion, levels=[0.5], colors="red", linewidths=1)
    axis.set(xticks=[], yticks=[])
    axis.set_xlim(columns.min() - 10, columns.max() + 10)
    axis.set_ylim(rows.max() + 10, rows.min() - 10)

# %%
# A rim and a center
# ------------------
# A bright ring is drawn into the lesion, at its border and farther inside. *Large distance high
# grey level emphasis* is high where bright zones are far from the border.

distances = {"at the border": (1, 6), "inside": (13, 18)}
drawn, bright = [], np.minimum(image, 155) + np.uint8(100)
for low, high in distances.values():
    ring = (steps >= low) & (steps < high)
    drawn.append(with_mask(np.where(ring, bright, image), lesion))
gldzm = GLDZM(levels=16).set_output(transform="pandas")
rows = gldzm.fit_transform(drawn)

figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
for axis, picture, name in zip(axes, drawn, distances):
    axis.imshow(picture.data, cmap="gray")
    axis.set_title(f"a ring {name}")
    axis.set(xticks=[], yticks=[])
axes[2].bar(
    list(distances), rows["gldzm_large_distance_high_grey_level_emphasis"], color=["C0", "C1"]
)
axes[2].set_title("large distance high grey level emphasis")
