"""
Synthetic images: breast ultrasound and mammograms
==================================================

:func:`~featbus.make_breast_ultrasound` and :func:`~featbus.make_mammograms` draw labelled images
with their masks, from a seed and without any patient's data. The examples, the demo and the tests
run on them.
"""

# %%
# Breast ultrasound
# -----------------
# Skin, fat, glandular tissue and muscle lie below each other. A benign lesion is smooth, wider than
# tall, and brightens what lies below; a malignant one is ragged, taller, and casts a shadow. The
# outline is the lesion's mask.

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
# Images of one patient are look-alikes, as they are in clinical data: same tissue, same scanner,
# same lesion. ``groups`` says which belong together, and evaluation keeps them together.
#
# Mammograms
# ----------
# Two mammograms, the right and the left, belong to one woman. The orange outline is a finding: a
# circumscribed mass (CIRC), a spiculated one (SPIC) or calcifications (CALC). The blue one is the
# pectoral muscle, as bright as a mass and no part of the breast.

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
# As hard as you like
# -------------------
# ``contrast`` scales the visible difference that a lesion makes. At 0 nothing is left to find, and
# a classifier that still scores above chance has found a leak.

levels = [0, 0.25, 0.5, 1, 1.5]
figure, axes = plt.subplots(1, len(levels), figsize=(9, 1.9), layout="constrained")
for axis, contrast in zip(axes, levels):
    malignant = make_breast_ultrasound(1, weights=[0, 1, 0], contrast=contrast, random_state=5)
    axis.imshow(malignant.images[0], cmap="gray", vmin=0, vmax=255)
    axis.set_title(f"contrast={contrast}", fontsize="small")
    axis.set(xticks=[], yticks=[])
