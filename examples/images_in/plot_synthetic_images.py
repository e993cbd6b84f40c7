"""
Synthetic images: breast ultrasound and mammograms
==================================================

:func:`~featbus.make_breast_ultrasound` and :func:`~featbus.make_mammograms` render labeled images
and their masks from a seed, without any patient data. Examples, demo and tests use them.
"""

# %%
# Breast ultrasound
# -----------------
# From top to bottom: skin, fat, glandular tissue and muscle. A benign lesion is smooth, wider than
# tall, and enhances the echoes behind it; a malignant one is ragged, taller, and casts a shadow.
# The outline is the mask of the lesion.

import matplotlib.pyplot as plt

from featbus import make_breast_ultrasound, make_mammograms

ultrasound = make_breast_ultrasound(12, random_state=0)
figure, axes = plt.subplots(3, 4, figsize=(9, 5.4), layout="constrained")
for kind, line in enumerate(axes):
    line[0].set_ylabel(ultrasound.target_names[kind])
    chosen = (ultrasound.target == kind).nonzero()[0]
    for axis, index in zip(line, chosen):
        axis.imshow(ultrasound.images[index], cmap="gray", vmin=0, vmax=255)
        if ultrasound.masks[index].any():
            axis.contour(ultrasound.masks[index], levels=[0.5], colors="C1", linewidths=1.2)
        axis.set_title(f"patient {ultrasound.groups[index]}", fontsize="small")
        axis.set(xticks=[], yticks=[])

# %%
# Images of one patient look alike, as in clinical data: same tissue, same scanner, same lesion.
# ``groups`` says which images belong together, and evaluation keeps them together.
#
# Mammograms
# ----------
# Two mammograms, the right and the left, belong to one woman. The orange outline is a finding: a
# circumscribed mass (CIRC), a spiculated one (SPIC) or calcifications (CALC). The blue one is the
# pectoral muscle, which is as bright as a mass and not part of the breast.

mammograms = make_mammograms(8, random_state=16)
figure, axes = plt.subplots(2, 4, figsize=(9, 6.4), layout="constrained")
for index, axis in enumerate(axes.flat):
    axis.imshow(mammograms.images[index], cmap="gray", vmin=0, vmax=255)
    axis.contour(mammograms.pectoral_masks[index], levels=[0.5], colors="C0", linewidths=1.2)
    if mammograms.masks[index].any():
        axis.contour(mammograms.masks[index], levels=[0.5], colors="C1", linewidths=1.2)
    axis.set_title(
        f"woman {mammograms.groups[index]}, {mammograms.frame['class'][index]}", fontsize="small"
    )
    axis.set(xticks=[], yticks=[])

# %%
# As difficult as you like
# ------------------------
# ``contrast`` scales the visibility of the lesions. At 0 there is nothing to find, and a classifier
# that still scores above chance has found a leak.

levels = [0, 0.25, 0.5, 1, 1.5]
figure, axes = plt.subplots(1, len(levels), figsize=(9, 1.9), layout="constrained")
for axis, contrast in zip(axes, levels):
    malignant = make_breast_ultrasound(1, weights=[0, 1, 0], contrast=contrast, random_state=5)
    axis.imshow(malignant.images[0], cmap="gray", vmin=0, vmax=255)
    axis.set_title(f"contrast={contrast}", fontsize="small")
    axis.set(xticks=[], yticks=[])
