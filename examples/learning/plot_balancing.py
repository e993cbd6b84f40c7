"""
Balancing: five ways to handle imbalanced classes
=================================================

One image in six is malignant, and a classifier that minimizes errors misses most of them. Class
weights, SMOTE, augmented copies and a tuned threshold all find more, each at a price.
"""

# %%
# Five ways
# ---------
# The same features, computed once, and the same classifier. All balancing happens inside the
# pipeline, and thus inside the training part of each fold.

import pathlib
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.pipeline import make_union
from sklearn.preprocessing import StandardScaler

from featbus import (
    HOG,
    LBP,
    FeatureBus,
    ImageAugmenter,
    IntensityStatistics,
    evaluate,
    make_breast_ultrasound,
)

data = make_breast_ultrasound(
    240, image_shape=(96, 128), weights=[5, 1, 0], contrast=0.8, random_state=0
)
print(f"{(data.target == 0).sum()} benign images, {(data.target == 1).sum()} malignant")

union = make_union(
    HOG(pixels_per_cell=(16, 16), cells_per_block=(1, 1)), LBP(), IntensityStatistics()
)
memory = pathlib.Path(tempfile.mkdtemp()) / "features.sqlite"
rows = [FeatureBus(union, memory=memory), StandardScaler()]
plain = LogisticRegression(C=0.01, max_iter=1000)
weighted = LogisticRegression(C=0.01, max_iter=1000, class_weight="balanced")

ways = {
    "nothing": make_pipeline(*rows, plain),
    "class weights": make_pipeline(*rows, weighted),
    "SMOTE": make_pipeline(*rows, SMOTE(random_state=0), plain),
    "copies of malignant images": make_pipeline(ImageAugmenter(), *rows, plain),
    "copies of all, class weights": make_pipeline(ImageAugmenter(2), *rows, weighted),
    "tuned threshold": TunedThresholdClassifierCV(
        make_pipeline(*rows, plain), scoring="balanced_accuracy", cv=3
    ),
}
result = evaluate(
    ways, data.images, data.target, groups=data.groups, target_names=data.target_names[:2]
)
by_way = dict(list(result.predictions.groupby("pipeline", sort=False)))

# %%
# Sensitivity, specificity and calibration
# ----------------------------------------
# Left: the upper right corner is best; a higher sensitivity mostly costs specificity. Right: on the
# dotted line, probabilities are calibrated: of the images with a probability of 30 %, 30 % are
# malignant. Weights and SMOTE make the classifier expect as many malignant as benign images: its
# probabilities are too high, below the line. A threshold changes only decisions, not probabilities;
# those of this strongly regularized model are too cautious at the top.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for marker, (name, frame) in zip("osD^vX", by_way.items()):
    malignant = frame["target"] == 1
    found = frame["predicted"] == 1
    probability = frame["probability_malignant"]
    sensitivity, specificity = found[malignant].mean(), (~found)[~malignant].mean()
    print(
        f"{name:29} sensitivity {sensitivity:.2f}, specificity {specificity:.2f}, "
        f"ROC AUC {roc_auc_score(malignant, probability):.2f}, "
        f"mean probability {probability.mean():.2f}, "
        f"Brier score {brier_score_loss(malignant, probability):.3f}"
    )
    left.plot(specificity, sensitivity, marker, markersize=9, label=name)
    if name != "tuned threshold":
        share, mean = calibration_curve(malignant, probability, n_bins=4, strategy="quantile")
        right.plot(mean, share, f"{marker}-")
left.set(xlabel="specificity", ylabel="sensitivity", xlim=(0.7, 1.01), ylim=(0, 1))
left.legend(loc="lower left", fontsize="small")
right.axline((0, 0), slope=1, color="0.5", linestyle=":")
right.set(xlabel="mean probability", ylabel="share of malignant images")
right.set(xlim=(0, 0.8), ylim=(0, 0.8))

# %%
# Copies are not enough
# ---------------------
# Copying only malignant images balances the classes but offers a shortcut: copies are brighter and
# smoother than images, and all copies are malignant. The classifier learns what copies look like,
# which does not help with new images. Copies of all images avoid this, and class weights do the
# balancing.

sources = ImageAugmenter().fit(data.images, data.target)
print({int(label): int(n) for label, n in sources.sampling_strategy_.items()}, "copies by class")
images, _ = ImageAugmenter().fit_resample(data.images, data.target)
is_copy = np.arange(len(images)) >= len(data.images)
brightness = images.mean(axis=(1, 2))

figure, axis = plt.subplots(figsize=(9, 2.6), layout="constrained")
bins = np.linspace(brightness.min(), brightness.max(), 16)
groups = {
    "benign images": data.target == 0,
    "malignant images": data.target == 1,
}
for name, chosen in groups.items():
    axis.hist(
        brightness[: len(data.target)][chosen], bins, histtype="step", density=True, label=name
    )
axis.hist(brightness[is_copy], bins, histtype="step", density=True, label="copies, all malignant")
axis.set(xlabel="mean brightness of an image", yticks=[], ylabel="density")
axis.legend(fontsize="small")
