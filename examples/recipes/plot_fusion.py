"""
Fusion: a network beside hand-crafted features
==============================================

:func:`~featbus.recipes.fusion` is what the literature keeps coming back to: features of a network,
HOG, LBP, texture and intensities in one row, the best hundred of them, SMOTE, and any of the usual
classifiers.
"""

# %%
# Images
# ------
# 80 benign and 80 malignant images of BUSI if it is there, else synthetic ones.

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from featbus import evaluate, load_busi, make_breast_ultrasound
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
# Which features are chosen
# -------------------------
# The columns with the largest F-values, by the extractor that they come from.

memory = Path(tempfile.gettempdir()) / "featbus-recipes.sqlite"
recipe = make_recipe("fusion", memory=memory, **network).fit(images, y)
names = recipe["features"].get_feature_names_out()
select = recipe["classifier"].calibrated_classifiers_[0].estimator[:3]
kept = names[select["varied"].get_support()][select["select"].get_support()]
families = {"deep": "mobilenet", "HOG": "hog", "LBP": "lbp", "intensity": "intensity"}
families["texture"] = ("glcm", "glrlm", "glszm")
pd.DataFrame(
    {
        family: [sum(name.startswith(start) for name in part) for part in (names, kept)]
        for family, start in families.items()
    },
    index=["columns", "kept"],
)

# %%
# Which classifier
# ----------------
# Selection, SMOTE and calibration are inside the folds. Bars are 95 % intervals: with 160 images,
# they are wider than the differences.

pipelines = {
    name: make_recipe("fusion", classifier=name, memory=memory, **network)
    for name in ("svm", "random_forest", "knn", "xgboost")
}
result = evaluate(pipelines, images, y, groups=groups, cv=3, target_names=data.target_names[:2])
figure = plt.figure(result.plot("intervals"))

# %%
# Errors, by class:

figure = plt.figure(result.plot("confusion_matrices"))
