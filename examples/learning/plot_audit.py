"""
The audit: leaks and shortcuts
==============================

:func:`~featbus.audit` inspects images, labels, folds and pipeline before any model is trained: it
looks for copies on both sides of a split, and for properties that give the label away.

The images are synthetic, with deliberate flaws. Malignant ones come from a scanner with larger
pictures; some images occur twice, once brighter; and SMOTE comes before the folds.
"""

import cv2
import matplotlib.pyplot as plt
import numpy as np
from imblearn.over_sampling import SMOTE
from sklearn.svm import SVC

from featbus import LBP, audit, make_breast_ultrasound
from featbus.masks import with_mask

data = make_breast_ultrasound(120, weights=[1, 1, 0], random_state=0)
rng = np.random.default_rng(0)
images = []
for image, mask, label in zip(data.images, data.masks, data.target):
    scale = rng.uniform(0.8, 1.1) + 0.1 * label
    size = (int(256 * scale), int(192 * scale))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    inside = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    images.append(with_mask(resized, inside))
twice = rng.choice(120, 15, replace=False)
brighter = [np.ma.clip(images[index] * 1.2, 0, 255).astype(np.uint8) for index in twice]
images += [with_mask(image.data, ~image.mask) for image in brighter]
target = np.append(data.target, data.target[twice])
classes = np.array(data.target_names)[target]

report = audit(images, classes, pipeline=[LBP(), SMOTE(), SVC()])
print(report)

# %%
# Findings
# --------
# Left: a test image and its near-duplicate in the training part. Right: the ROC AUC of each
# shortcut alone, and the bound that none exceeds for 97 % of the permutations of the labels. The
# shape of the masks gives the diagnosis away.

shortcuts = report.shortcuts.dropna()
figure = plt.figure(figsize=(10, 3.4), layout="constrained")
pictures, bars = figure.subfigures(1, 2, width_ratios=[1.25, 1])
near = report.near_duplicates
first = report.images["near-duplicates across folds"][0]
pair = np.flatnonzero(near == near[first])
pictures.suptitle("A near-duplicate across folds")
for axis, index in zip(pictures.subplots(1, 2), pair):
    axis.imshow(images[index].data, cmap="gray", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[], title=f"image {index}: {classes[index]}")

axis = bars.subplots()
place = np.arange(len(shortcuts))
spread = np.abs(shortcuts[["low", "high"]].to_numpy().T - shortcuts["roc_auc"].to_numpy())
reached = shortcuts["roc_auc"] - 0.5
by_chance = shortcuts["baseline_high"] - 0.5
axis.barh(place, by_chance, left=0.5, color="0.8", height=0.8, label="permuted labels")
axis.barh(place, reached, left=0.5, xerr=spread, color="C3", height=0.5, capsize=3)
axis.set_yticks(place, shortcuts["shortcut"])
axis.invert_yaxis()
bars.legend(loc="outside upper right")
axis.set(xlim=(0.4, 1.02), xlabel="ROC AUC of the shortcut alone")

# %%
# The fix
# -------
# Split by known groups, here the patients, or by those that the report suggests, and make SMOTE a
# step of an imbalanced-learn pipeline. Shortcuts remain: only other data would help.

from imblearn.pipeline import make_pipeline

patients = np.append(data.groups, data.groups[twice])
pipeline = make_pipeline(LBP(), SMOTE(), SVC())
audit(images, classes, groups=patients, pipeline=pipeline)
