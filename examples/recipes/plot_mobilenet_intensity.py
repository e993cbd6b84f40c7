"""
Three classes, and how bright they are
======================================

:func:`~featbus.recipes.mobilenet_intensity` joins features of MobileNetV2 with intensity statistics
to tell benign, malignant and normal ultrasound images apart.
"""

# %%
# Images
# ------
# 80 images of each class of BUSI if it is there, else synthetic ones.

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from featbus import evaluate, intensity_summary, load_busi, make_breast_ultrasound
from featbus.recipes import make_recipe

network = {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}, "weights": None}
if "FEATBUS_TEST_DATA" in os.environ:
    root = Path(os.environ["FEATBUS_TEST_DATA"])
    data = load_busi(root / "busi", groups=root / "busi" / "groups.csv")
    network["weights"] = root / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
else:
    data = make_breast_ultrasound(240, random_state=0)
chosen = np.concatenate([np.flatnonzero(data.target == kind)[:80] for kind in range(3)])
images, y, groups = (np.asarray(part)[chosen] for part in (data.images, data.target, data.groups))

# %%
# Intensity by class
# ------------------
# The distributions of the images' mean brightness overlap widely: by itself, brightness says little
# of the class.

summary = intensity_summary(images, y, target_names=data.target_names)
summary.plot()
summary.table.round(3)

# %%
# The masks are no images
# -----------------------
# BUSI keeps its masks beside the images, in the folders of the classes. Read as images, they are a
# gift: those of normal images are black, and the others are as bright as the lesion is large. The
# paper counts 1,576 images, about twice as many as BUSI has.

if isinstance(images[0], str):
    masks = np.array([np.ravel(mask)[0] for mask in np.asarray(data.masks, object)[chosen]])
else:
    masks = data.masks[chosen].astype(np.uint8) * 255
intensity_summary(masks, y, target_names=data.target_names).plot()

# %%
# Evaluation
# ----------
# On images alone, with near-duplicates together.

memory = Path(tempfile.gettempdir()) / "featbus-recipes.sqlite"
recipe = make_recipe("mobilenet_intensity", memory=memory, **network)
result = evaluate(recipe, images, y, groups=groups, target_names=data.target_names)
figure = plt.figure(result.plot("confusion_matrices"))
result.published_table().round(1)
