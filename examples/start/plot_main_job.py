"""
The main job: from images to a table of classifiers
===================================================

Images, features of a network and of texture, SMOTE within each fold, four classifiers and
cross-validation by patient in one script. ``featbus demo`` does the same from the command line.
"""

# %%
# Images
# ------
# Synthetic images: two thirds benign, one third malignant, three images per patient. Load your own
# with :func:`~featbus.load_image_folder`, :func:`~featbus.load_busi` or
# :func:`~featbus.load_mini_mias`, which return the same fields.

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from featbus import DeepFeatures, evaluate, make_breast_ultrasound
from featbus.recipes import balancing_pipelines, classifier_pipelines, fused_features

data = make_breast_ultrasound(
    150, n_images_per_patient=3, weights=[2, 1, 0], contrast=0.75, random_state=1
)
print(f"{len(data.target)} images, {data.target.sum()} malignant, {len(set(data.groups))} patients")

figure, axes = plt.subplots(2, 5, figsize=(9, 3), layout="constrained")
for kind, line in enumerate(axes):
    line[0].set_ylabel(data.target_names[kind])
    for axis, index in zip(line, np.flatnonzero(data.target == kind)[::3]):
        axis.imshow(data.images[index], cmap="gray")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])

# %%
# Features
# --------
# HOG, LBP, texture and intensity statistics of each image, and the last map of a network,
# concatenated. None of them learns from the data, so they may be computed once, before the folds
# are made. This page is built offline: the network is VGG16 with its ImageNet weights if the folder
# of the test data is there, and a small MobileNetV2 with random weights if not.

folder = os.environ.get("FEATBUS_TEST_DATA")
if folder:
    deep = DeepFeatures("vgg16", weights=Path(folder, "weights", "vgg16_224_no_top.weights.h5"))
else:
    deep = DeepFeatures("mobilenet_v2", weights=None, backbone_options={"alpha": 0.35})
deep.set_params(input_size=112)

rows = fused_features(deep=deep, size=112).fit_transform(data.images)
print(deep.backbone, rows.shape)

# %%
# Evaluation
# ----------
# Steps that learn from the data stay in the fold: scaling, SMOTE, which balances the classes by
# generating rows of the smaller one, and the classifier. Images of one patient are never on both
# sides of a split.

pipelines = classifier_pipelines(random_state=0)
names = data.target_names[:2]
result = evaluate(pipelines, rows, data.target, groups=data.groups, target_names=names)
print(result)

# %%
# Errors, by class
# ----------------
# Each row of a matrix is a true class. Missed cancers, malignant images predicted as benign, are at
# the bottom left.

figure = plt.figure(result.plot("confusion_matrices"))

# %%
# Is SMOTE worth it?
# ------------------
# A logistic regression with SMOTE, with class weights, and with neither. Balancing finds more
# malignant images and calls more benign ones malignant, but the ROC AUC stays: classes are no
# better separated, and moving the threshold would do the same. :ref:`balancing` has more.

ways = evaluate(
    balancing_pipelines(), rows, data.target, groups=data.groups, target_names=names
).to_frame()
ways[["sensitivity", "specificity", "roc_auc", "brier"]].round(3)

# %%
# Why the split matters
# ---------------------
# Hand-crafted features are enough to show it. With less contrast, lesions fade; without contrast,
# there is nothing to learn. A classifier can only guess, and its ROC AUC is about one half, with
# the variation of 50 patients. If every image counts as a patient of its own, similar images end up
# on both sides of the splits, and the score is far above chance.

features = fused_features(size=112)
svm = {"SVM": pipelines["SVM"]}
contrasts = [0, 0.6]
together, apart = [], []
for contrast in contrasts:
    drawn = make_breast_ultrasound(
        150, n_images_per_patient=3, weights=[2, 1, 0], contrast=contrast, random_state=1
    )
    rows = features.fit_transform(drawn.images)
    for areas, groups in [(together, drawn.groups), (apart, np.arange(len(rows)))]:
        scores = evaluate(svm, rows, drawn.target, groups=groups).scores
        areas.append(scores["roc_auc"].mean())

# sphinx_gallery_thumbnail_number = 3
figure, axis = plt.subplots(figsize=(9, 3.8), layout="constrained")
axis.plot(contrasts, apart, "o--", color="C1", label="images of a patient on both sides")
axis.plot(contrasts, together, "o-", color="C0", label="patients kept together")
axis.axhline(0.5, color="0.5", linestyle=":", label="guessing")
axis.set(xlabel="contrast of the lesions", ylabel="ROC AUC of the SVM", xticks=contrasts)
axis.legend()
