"""
Crop images around lesions
==========================

A segmenter finds the lesion, and `ROICropper` crops the image around it.
"""

# %%
# Synthetic ultrasound images come with the outlines of their lesions. `ThresholdSegmenter` needs no
# training; it finds the dark region in the middle.
import matplotlib.pyplot as plt

from featbus import ROICropper, ThresholdSegmenter, make_breast_ultrasound, plot_segmentation
from featbus.evaluation import segmentation_scores

data = make_breast_ultrasound(4, weights=[1, 1, 0], random_state=4)
segmenter = ThresholdSegmenter()
found = segmenter.predict(data.images)

# %%
# The true outline is green, the one found orange.
figure, axes = plt.subplots(2, 4, figsize=(12, 5.5), layout="constrained")
for ax, image, true, region in zip(axes[0], data.images, data.masks, found):
    plot_segmentation(image, true_mask=true, predicted_mask=region, ax=ax)

# %%
# Crops reach beyond the region by 30 percent of its size, and are moved, not squeezed, to fit into
# the image.
cropper = ROICropper(segmenter, margin=0.3, size=128)
for ax, crop in zip(axes[1], cropper.transform(data.images)):
    ax.imshow(crop, cmap="gray", vmin=0, vmax=255)
    ax.set_axis_off()

# %%
# All scores of all images:
segmentation_scores(data.masks, found).round(2)
