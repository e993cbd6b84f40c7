"""
Another hospital
================

``cv="prefit"`` tests a fitted model on other data, without fitting it again: scores by patient,
calibration, and subgroups.
"""

# %%
# Two halves
# ----------
# One half of the lesions of BUSI trains the model, if it is there, else synthetic images. The other
# half is tested twice: as it is, and as a scanner with another gain would show it. Both halves are
# from one hospital; another one would differ more.

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featbus import (
    DeepFeatures,
    FeatureBus,
    ImageFunction,
    evaluate,
    load_busi,
    make_breast_ultrasound,
)

options = {"weights": None, "random_state": 0}
if "FEATBUS_TEST_DATA" in os.environ:
    root = os.environ["FEATBUS_TEST_DATA"]
    data = load_busi(f"{root}/busi", groups=f"{root}/busi/groups.csv")
    options = {"weights": f"{root}/weights/mobilenet_v2_0.35_224_no_top.weights.h5"}
else:
    data = make_breast_ultrasound(240, weights=[1, 1, 0], random_state=0)
chosen = data.target < 2
images, y, groups = (np.asarray(part)[chosen] for part in (data.images, data.target, data.groups))
here = groups % 2 == 0


def darken(image):
    return np.rint(255 * (image / 255) ** 2).astype(np.uint8)


features = DeepFeatures(
    "mobilenet_v2", backbone_options={"alpha": 0.35}, layers=["C3", "C4", "C5"], **options
)
model = make_pipeline(
    FeatureBus(features), StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)
)
model.fit(images[here], y[here])
there = list(images[~here])
darker = ImageFunction(darken).fit_transform(there)

# %%
# Tested without fitting
# ----------------------
# The images with another gain stand behind the others, as a second scanner.

scanner = np.repeat(["same", "darker"], len(there))
result = evaluate(
    model,
    [*there, *darker],
    np.tile(y[~here], 2),
    groups=np.tile(groups[~here], 2),
    cv="prefit",
    subgroups={"scanner": scanner},
    target_names=data.target_names[:2],
)
result.by_subgroup().round(2)

# %%
# Calibration
# -----------
# A slope below 1: the probabilities are too extreme for these images. An intercept below 0: they
# are too high on average.

result.calibration().round(2)

# %%
figure = plt.figure(result.plot("calibration"))

# %%
# In cross-validation
# -------------------
# What the first half had promised.

known = {"groups": groups[here], "target_names": data.target_names[:2]}
internal = evaluate(model, images[here], y[here], **known)
columns = ["accuracy", "sensitivity", "specificity", "roc_auc", "roc_auc_low", "roc_auc_high"]
internal.to_frame()[columns].round(2)
