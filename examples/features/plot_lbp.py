"""
LBP: local binary patterns
==========================

:class:`~featbus.LBP` compares each pixel with its neighbors on a circle and counts the patterns
of "at least as bright". The counts describe texture, independent of brightness.
"""

# %%
# The code of each pixel
# ----------------------
# Drawn by scikit-image, whose codes are the same. With ``method="uniform"`` the code is the number
# of neighbors that are at least as bright, as long as these are one run: 0 is a bright spot, 4 a
# straight edge, 8 a dark spot or a flat place. Patterns that alternate between bright and dark
# share the last code, 9. Bright tissue is full of edges (green); inside the dark lesion, noise
# alternates (red).

import matplotlib.pyplot as plt
import numpy as np
from skimage.feature import local_binary_pattern

from featbus import LBP, make_breast_ultrasound
from featbus.masks import with_mask

ultrasound = make_breast_ultrasound(1, weights=[1, 0, 0], random_state=8)
image, lesion = ultrasound.images[0], ultrasound.masks[0]

figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set_title("image")
palette = plt.get_cmap("turbo", 10)
codes = axes[1].imshow(
    local_binary_pattern(image, 8, 1, "uniform"),
    cmap=palette,
    vmin=-0.5,
    vmax=9.5,
    interpolation="nearest",
)
axes[1].set_title("codes")
figure.colorbar(codes, ax=axes, ticks=range(10))
for axis in axes:
    axis.contour(lesion, levels=[0.5], colors="white", linewidths=1)
    axis.set(xticks=[], yticks=[])

# %%
# Textures
# --------
# The features of an image are the histogram of its codes. Photographs of bricks, grass and gravel
# (scikit-image, CC0) have textures that everybody can tell apart, and different histograms.

from skimage.data import brick, grass, gravel


def compare_codes(images):
    """Draw the share of each code, in bars of one color per image."""
    rows = LBP().fit_transform(list(images.values()))
    names = LBP().get_feature_names_out()
    _, axis = plt.subplots(figsize=(9, 3.2), layout="constrained")
    for index, (name, row) in enumerate(zip(images, rows)):
        axis.bar(np.arange(len(row)) + 0.27 * (index - 1), row, width=0.25, label=name)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axis.set_ylabel("share of the pixels")
    axis.legend()


photographs = {"bricks": brick(), "grass": grass(), "gravel": gravel()}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for axis, (name, photograph) in zip(axes, photographs.items()):
    axis.imshow(photograph, cmap="gray")
    axis.set(title=name, xticks=[], yticks=[])
compare_codes(photographs)

# %%
# Regions of one image
# --------------------
# Only pixels inside the mask are used: the lesion, the glandular tissue beside it and the muscle
# below.

y, x = np.indices(image.shape)
regions = {
    "lesion": lesion,
    "gland": (y > 55) & (y < 95) & (x < 60),
    "muscle": (y > 140) & (x < 60),
}
compare_codes({name: with_mask(image, inside) for name, inside in regions.items()})

# %%
# Whatever the brightness
# -----------------------
# A pattern depends on which pixel is brighter, not on by how much: at half the brightness the
# features are the same.

bright, dark = LBP().fit_transform([image / 255, image / 510])
print(f"largest difference: {np.abs(bright - dark).max()}")
