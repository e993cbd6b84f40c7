"""
HOG: histograms of oriented gradients
=====================================

:class:`~featbus.HOG` divides an image into cells and measures, for each, the strength of edges in
every direction. It is the classical description of shape: margins, layers and shadows are edges.
"""

# %%
# With a single block that covers the image, each cell appears once, and a row folds back into a
# map of the image: cell rows, cell columns, orientations.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection

from featbus import HOG, Resize, make_breast_ultrasound

ultrasound = make_breast_ultrasound(4, image_shape=(384, 512), random_state=5)
chosen = [np.flatnonzero(ultrasound.target == kind)[0] for kind in (0, 1)]
images = Resize((96, 128)).transform(ultrasound.images[chosen])
cells = (16, 21)
hog = HOG(pixels_per_cell=(6, 6), cells_per_block=cells, block_norm="L2")
rows = hog.fit_transform(images)
maps = rows.reshape(len(images), *cells, hog.orientations)
print(rows.shape, maps.shape)

# %%
# What one sees
# -------------
# In every cell a line is drawn along each orientation, as opaque as its bin is full. Layers of
# tissue draw lines across. Around the smooth, benign lesion the lines follow the margin; along the
# ragged, malignant one they point in all directions.


def draw_hog(axis, histograms, side):
    """Draw the histogram of each cell as a star of lines along the edges."""
    angle = np.deg2rad((np.arange(histograms.shape[2]) + 0.5) * 180 / histograms.shape[2])
    row, column, orientation = np.indices(histograms.shape).reshape(3, -1)
    center = np.column_stack([column + 0.5, row + 0.5]) * side - 0.5
    # The bins hold directions of gradients; an edge runs at a right angle to its gradient.
    half = 0.5 * side * np.column_stack([-np.sin(angle), np.cos(angle)])[orientation]
    strength = np.clip(histograms.ravel() / np.percentile(histograms, 98), 0, 1)
    lines = LineCollection(np.stack([center - half, center + half], axis=1), colors="gold")
    lines.set(alpha=strength, linewidth=1.5, capstyle="round")
    axis.add_collection(lines)


figure, axes = plt.subplots(2, 2, figsize=(9, 6.8), layout="constrained")
for (left, right), image, histograms, name in zip(axes, images, maps, ultrasound.target_names):
    left.imshow(image, cmap="gray", vmin=0, vmax=255)
    left.set_ylabel(name)
    right.imshow(image, cmap="gray", vmin=0, vmax=700)
    draw_hog(right, histograms, side=6)
axes[0, 0].set_title("image")
axes[0, 1].set_title("orientations of its cells")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])

# %%
# Blocks
# ------
# For learning, cells are normalized over small blocks that overlap, so that gain and shadow matter
# less. A cell then appears in several blocks, and each column's name says which: block row and
# column, cell in the block, orientation.

hog = HOG(pixels_per_cell=(32, 32), cells_per_block=(2, 2)).set_output(transform="pandas")
hog.fit_transform(images).round(2).iloc[:, :5]
