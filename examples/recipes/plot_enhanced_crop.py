"""
Enhance, segment, crop, classify
================================

:func:`~featbus.recipes.enhanced_crop` prepares an ultrasound image in three steps before ResNet101
sees it. Here is what each step does, and what the choice of the segmenter changes.
"""

# %%
# Images
# ------
# 50 benign and 50 malignant images of BUSI if it is there, else synthetic ones. The smallest
# MobileNetV2 takes the place of ResNet101, whose weights are not at hand.

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from featbus import (
    ThresholdSegmenter,
    evaluate,
    load_busi,
    make_breast_ultrasound,
    plot_segmentation,
)
from featbus.evaluation import segmentation_scores
from featbus.recipes import make_recipe

network = {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}, "weights": None}
if "FEATBUS_TEST_DATA" in os.environ:
    root = Path(os.environ["FEATBUS_TEST_DATA"])
    data = load_busi(root / "busi", groups=root / "busi" / "groups.csv")
    network["weights"] = root / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
else:
    data = make_breast_ultrasound(160, weights=[1, 1, 0], random_state=0)
chosen = np.concatenate([np.flatnonzero(data.target == kind)[:50] for kind in (0, 1)])
images, y, groups, masks = (
    np.asarray(part)[chosen] for part in (data.images, data.target, data.groups, data.masks)
)

# %%
# Step by step
# ------------
# The contrast is equalized locally, speckle is smoothed, and the image is cropped around the region
# that is darker than its surroundings. The true outline is green, the one found orange.

memory = Path(tempfile.gettempdir()) / "featbus-recipes.sqlite"
methods = ["radial", "adaptive", "watershed"]
recipes = {
    method: make_recipe(
        "enhanced_crop", segmenter=ThresholdSegmenter(method), memory=memory, **network
    )
    for method in methods
}
steps = recipes["radial"]["features"].transformer
shown = [7, 30, 60, 90]
stages = [images[shown]]
for name in ("contrast", "despeckle", "crop"):
    stages.append(steps[name].fit_transform(stages[-1]))
found = steps["crop"].predict(stages[2])

figure, axes = plt.subplots(4, 4, figsize=(9, 7.5), layout="constrained")
for row, index in enumerate(shown):
    regions = {"true_mask": masks[index], "predicted_mask": found[row]}
    plot_segmentation(stages[0][row], ax=axes[row, 0])
    plot_segmentation(stages[1][row], ax=axes[row, 1])
    plot_segmentation(stages[2][row], **regions, ax=axes[row, 2])
    plot_segmentation(stages[3][row], ax=axes[row, 3])
for axis, title in zip(axes[0, [0, 1, 3]], ["image", "contrast", "crop"]):
    axis.set_title(title)

# %%
# Which segmenter
# ---------------
# Three ways to segment without training: by the steepness of the outline, local thresholds, and
# edges. The quality of the outlines, and that of the classes:

result = evaluate(recipes, images, y, groups=groups, target_names=data.target_names[:2])
table = result.to_frame().loc[methods].filter(like="roc_auc").rename_axis("segmenter")
enhanced = steps["despeckle"].transform(steps["contrast"].transform(images))
dice = {
    method: segmentation_scores(masks, ThresholdSegmenter(method).predict(enhanced))["dice"]
    for method in methods
}
table.insert(0, "Dice", [dice[method].mean() for method in methods])
table.round(3)

# %%
# How often the outlines are right:

figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
axis.hist(list(dice.values()), bins=np.linspace(0, 1, 11), label=methods)
axis.set(xlabel="Dice", ylabel="images")
axis.legend()
