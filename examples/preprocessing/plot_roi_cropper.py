"""
Crop images around lesions
==========================

A segmenter finds the lesion, and :class:`~featbus.ROICropper` crops the image around it.
"""

# %%
# Find the lesion
# ---------------
# Synthetic ultrasound images come with the outlines of their lesions.
# :class:`~featbus.ThresholdSegmenter` needs no training; it finds the dark region in the middle.
# The true outline is green, the one found orange.

import matplotlib.pyplot as plt

from featbus import ROICropper, ThresholdSegmenter, make_breast_ultrasound, plot_segmentation
from featbus.evaluation import segmentation_scores

data = make_breast_ultrasound(4, weights=[1, 1, 0], random_state=4)
segmenter = ThresholdSegmenter()
found = segmenter.predict(data.images)

figure, axes = plt.subplots(1, 4, figsize=(12, 2.8), layout="constrained")
for ax, image, true, region in zip(axes, data.images, data.masks, found):
    plot_segmentation(image, true_mask=true, predicted_mask=region, ax=ax)

# %%
# Crop around it
# --------------
# Crops reach beyond the region by 30 percent of its size, and are moved, not squeezed, to fit into
# the image.

cropper = ROICropper(segmenter, margin=0.3, size=128)
figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
for ax, crop in zip(axes, cropper.transform(data.images)):
    ax.imshow(crop, cmap="gray", vmin=0, vmax=255)
    ax.set_axis_off()

# %%
# How well it was found
# ---------------------

segmentation_scores(data.masks, found).round(2)
