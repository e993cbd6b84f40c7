"""
Two taps of a small network
===========================

:func:`~featbus.recipes.two_tap_mobilenet` takes features of two stages of MobileNetV3Small, C4 for
detail and C5 for context. Its point is size: it has to run on a small device.
"""

# %%
# Images
# ------
# Benign and malignant lesions, as many of each: 160 images of BUSI if it is there, else synthetic
# ones. MobileNetV2 takes the place of MobileNetV3Small, whose weights are not at hand.

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from featbus import ImageLoader, evaluate, list_backbones, load_busi, make_breast_ultrasound
from featbus.recipes import make_recipe

network = {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}, "weights": None}
if "FEATBUS_TEST_DATA" in os.environ:
    root = Path(os.environ["FEATBUS_TEST_DATA"])
    data = load_busi(root / "busi", groups=root / "busi" / "groups.csv")
    network["weights"] = root / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
else:
    data = make_breast_ultrasound(160, weights=[1, 1, 0], random_state=0)
chosen = np.concatenate([np.flatnonzero(data.target == kind)[:80] for kind in (0, 1)])
images, y, groups = (np.asarray(part)[chosen] for part in (data.images, data.target, data.groups))

# %%
# Small
# -----
# Parameters of the networks without their classifiers, and megabytes in single precision.

networks = list_backbones().set_index("name").loc[["mobilenet_v3_small", "mobilenet_v2", "vgg16"]]
networks[["parameters"]].assign(MB=lambda table: (4e-6 * table["parameters"]).round(1))

# %%
# Evaluation
# ----------
# Near-duplicates stay together. With ``trained=True``, stage C5 and a light stage after each tap,
# a depthwise and a pointwise convolution, are trained in each fold; frozen, the maps are averaged.

memory = Path(tempfile.gettempdir()) / "featbus-recipes.sqlite"
recipe = make_recipe("two_tap_mobilenet", memory=memory, **network)
names = data.target_names[:2]
result = evaluate(recipe, images, y, groups=groups, target_names=names)
print(result)
figure = plt.figure(result.plot("confusion_matrices"))

# %%
# The surest of each kind
# -----------------------
# Malignant images with the highest and the lowest probability of being malignant: the second row
# are the misses.

malignant = result.predictions.query("target == 1").sort_values("probability_malignant")
figure, axes = plt.subplots(2, 5, figsize=(9, 3.6), layout="constrained")
for axis, (_, row) in zip(axes.flat, pd.concat([malignant[:-6:-1], malignant[:5]]).iterrows()):
    (image,) = ImageLoader().transform([images[row["index"]]])
    axis.imshow(image, cmap="gray", aspect="auto")
    axis.set_title(f"{row['probability_malignant']:.2f}", fontsize="medium")
    axis.set(xticks=[], yticks=[])
