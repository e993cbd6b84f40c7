"""
GLCM: gray-level co-occurrence
==============================

:class:`~featbus.GLCM` counts how often two gray levels are neighbors. Smooth tissue fills the
diagonal of the matrix of counts, coarse tissue leaves it.
"""

# %%
# Three regions, three matrices
# -----------------------------
# The lesion, the glandular tissue beside it and the muscle below. All share the same 32 gray
# levels; the neighbors are those along a row.

import matplotlib.pyplot as plt
import numpy as np

from featbus import GLCM, make_breast_ultrasound
from featbus.masks import with_mask

ultrasound = make_breast_ultrasound(1, weights=[1, 0, 0], random_state=8)
image, lesion = ultrasound.images[0], ultrasound.masks[0]
y, x = np.indices(image.shape)
regions = {
    "lesion": lesion.astype(bool),
    "gland": (y > 55) & (y < 95) & (x < 60),
    "muscle": (y > 140) & (x < 60),
}

figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set(title="image", xticks=[], yticks=[])
for index, (axis, (name, inside)) in enumerate(zip(axes[1:], regions.items())):
    axes[0].contour(inside, levels=[0.5], colors=f"C{index}")
    levels, pairs = image // 8, inside[:, :-1] & inside[:, 1:]
    counts, *_ = np.histogram2d(levels[:, :-1][pairs], levels[:, 1:][pairs], np.arange(33))
    axis.imshow(np.sqrt(counts + counts.T), cmap="magma", extent=(0.5, 32.5, 32.5, 0.5))
    axis.set_title(name, color=f"C{index}")
    axis.set(xlabel="gray level", ylabel="gray level of a neighbor")

# %%
# Features over distance
# ----------------------
# The correlation of neighbors falls with their distance: the faster, the finer the texture. Each
# distance has its own 25 columns.

distances = range(1, 13)
glcm = GLCM(distances=distances, intensity_range=(0, 1)).set_output(transform="pandas")
rows = glcm.fit_transform([with_mask(image, inside) for inside in regions.values()])

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for axis, feature in zip(axes, ("contrast", "correlation")):
    columns = rows[[f"glcm_d{distance}_{feature}" for distance in distances]]
    for name, values in zip(regions, columns.to_numpy()):
        axis.plot(distances, values, marker=".", label=name)
    axis.set(xlabel="distance in pixels", title=feature)
axes[0].legend()
