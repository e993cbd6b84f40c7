"""
From images to patients
=======================

``by="group"`` judges lesions or patients instead of images: probabilities are pooled, and all
metrics count groups. :func:`~featbus.evaluation.at_sensitivity` chooses the threshold within the
training part.
"""

# %%
# Images and pipelines
# --------------------
# Half of the lesions of BUSI if it is there, else synthetic images. BUSI names no patients: its
# groups are near-duplicates, pictures of one lesion. Some of these have images of both classes;
# ``label_rule="any"`` calls a lesion malignant if one of its images is.

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featbus import DeepFeatures, evaluate, load_busi, make_breast_ultrasound
from featbus.evaluation import at_sensitivity

options = {"weights": None, "random_state": 0}
if "FEATBUS_TEST_DATA" in os.environ:
    root = os.environ["FEATBUS_TEST_DATA"]
    data = load_busi(f"{root}/busi", groups=f"{root}/busi/groups.csv")
    options = {"weights": f"{root}/weights/mobilenet_v2_0.35_224_no_top.weights.h5"}
else:
    data = make_breast_ultrasound(240, weights=[1, 1, 0], random_state=0)
chosen = (data.target < 2) & (data.groups % 2 == 0)
images, y, groups = (np.asarray(part)[chosen] for part in (data.images, data.target, data.groups))

features = DeepFeatures(
    "mobilenet_v2", backbone_options={"alpha": 0.35}, layers=["C3", "C4", "C5"], **options
)
classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
rows = features.fit_transform(images)  # learns nothing: each row depends on its image alone
pipelines = {"threshold 0.5": classifier, "sensitivity 0.95": at_sensitivity(classifier, 0.95)}

# %%
# Images, then lesions
# --------------------
# The same pipelines, the same folds. A lesion that was imaged often no longer counts more.

known = {"groups": groups, "target_names": data.target_names[:2]}
by_image = evaluate(pipelines, rows, y, **known)
by_lesion = evaluate(pipelines, rows, y, by="group", label_rule="any", **known)
print(by_image)
print()
print(by_lesion)

# %%
# Sensitivity and specificity that are reached
# --------------------------------------------
# The threshold is chosen in inner folds, and judged in the outer ones, where it may miss its aim.

by_lesion.to_frame().filter(regex="^(sensitivity|specificity)").round(2)

# %%
# Is it worth acting on?
# ----------------------
# Net benefit of acting on the lesions above a threshold. Between the thresholds where the curve is
# above both gray lines, the model does better than acting on all lesions or on none.

figure = plt.figure(by_lesion.plot("decision_curve"))
