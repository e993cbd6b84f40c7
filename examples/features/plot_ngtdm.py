"""
NGTDM: gray-tone differences
============================

:class:`~featbus.NGTDM` compares each pixel with the mean of its neighbors: coarse texture differs
little from its neighborhood, busy texture much.
"""

# %%
# The difference of each pixel
# ----------------------------
# With the 8 neighbors at distance 1, nothing but speckle is seen. With the 80 at distance 4, the
# fibers of the gland and the muscle stand out; the lesion has none.

import cv2
import matplotlib.pyplot as plt
import numpy as np

from featbus import NGTDM, make_breast_ultrasound
from featbus.masks import with_mask

ultrasound = make_breast_ultrasound(1, weights=[1, 0, 0], random_state=8)
image, lesion = ultrasound.images[0], ultrasound.masks[0].astype(bool)

figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set_title("image")
levels = (image // 8 + 1).astype(float)
for axis, distance in zip(axes[1:], (1, 4)):
    side = 2 * distance + 1
    mean = (cv2.blur(levels, (side, side)) * side**2 - levels) / (side**2 - 1)
    colors = axis.imshow(np.abs(levels - mean), cmap="viridis", vmax=6)
    axis.set_title(f"difference at distance {distance}")
figure.colorbar(colors, ax=axes, label="levels")
for axis in axes:
    axis.contour(lesion, levels=[0.5], colors="red", linewidths=1)
    axis.set(xticks=[], yticks=[])

# %%
# The features of three regions
# -----------------------------
# *Contrast* and *complexity* are high where pixels differ from their neighbors and many levels
# occur. Neither grows with the size of the region. Only pixels inside the mask are used.

y, x = np.indices(image.shape)
regions = {
    "lesion": lesion,
    "gland": (y > 55) & (y < 95) & (x < 60),
    "muscle": (y > 140) & (x < 60),
}
ngtdm = NGTDM(intensity_range=(0, 1)).set_output(transform="pandas")
rows = ngtdm.fit_transform([with_mask(image, inside) for inside in regions.values()])

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for axis, feature in zip(axes, ("contrast", "complexity")):
    axis.bar(list(regions), rows[f"ngtdm_{feature}"], color=["C0", "C1", "C2"])
    axis.set_title(feature)
