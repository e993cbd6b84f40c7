"""
More images than memory can hold
================================

Workers write the rows of images to a directory, partition by partition, and classifiers learn from
the directory in parts. We measure what more images are worth.
"""

# %%
# A folder and a table
# --------------------
# The table says which patient each image is of, and what it shows. Here the images are synthetic,
# and few enough for a page of documentation.

import tempfile
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from featbus import HOG, FeatureBus, HashedGroupKFold, StreamingClassifier, make_breast_ultrasound

folder = Path(tempfile.mkdtemp())
data = make_breast_ultrasound(
    600, image_shape=64, weights=(0.5, 0.5, 0), contrast=0.5, random_state=0
)
names = [f"{index:04d}.png" for index in range(len(data.images))]
for name, image in zip(names, data.images):
    cv2.imwrite(str(folder / name), image)
labels = np.array(data.target_names)[data.target]
scans = pd.DataFrame({"path": names, "group": data.groups, "label": labels})
scans.sample(frac=1, random_state=0).to_csv(folder / "scans.csv", index=False)  # in random order

# %%
# Workers write rows
# ------------------
# Each partition of the images becomes a file. With ``executor="loky"``, one process per core
# computes them; ``executor`` may also be a Dask client, or Ray.

bus = FeatureBus(HOG(pixels_per_cell=(16, 16)))
table = bus.to_parquet(folder / "scans.csv", folder / "rows", partition_bytes=500_000)
print(table)
print(table.manifest[["partition", "rows", "bytes"]].head())

# %%
# Learn in parts
# --------------
# The hash of a patient's name gives the fold of its images. Both classifiers read batches of 200
# rows, and predict the patients of a fold whom they have not seen.

linear = make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", alpha=0.1, random_state=0))
trees = XGBClassifier(n_estimators=60, max_depth=3, learning_rate=0.1, n_jobs=1)
folds = list(HashedGroupKFold(4).split(table, groups=table.groups))
y = table.labels
sizes = [25, 50, 100, 200, 400]


def score(estimator, train, test):
    """Learn from some rows, and return the ROC AUC of others."""
    model = StreamingClassifier(estimator, batch_size=200, random_state=0)
    scores = model.fit(table[train], y[train]).predict_proba(table[test])
    return roc_auc_score(y[test] == "malignant", scores[:, 1])


figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
for name, estimator, color in [("SGDClassifier", linear, "C0"), ("XGBClassifier", trees, "C1")]:
    scores = np.array([[score(estimator, train[:n], test) for train, test in folds] for n in sizes])
    axis.fill_between(sizes, scores.min(axis=1), scores.max(axis=1), color=color, alpha=0.15, lw=0)
    axis.plot(sizes, scores.mean(axis=1), "o-", color=color, label=name)
axis.axhline(0.5, color="0.6", linestyle=":", label="chance")
axis.set(xscale="log", xlabel="images in the training part", ylabel="ROC AUC of new patients")
axis.set_xticks(sizes, sizes)
axis.minorticks_off()
axis.grid(alpha=0.3)
axis.legend(loc="lower right")

# %%
# Lines are means of four folds, and bands reach from the lowest to the highest one. Both means grow
# with the number of images, and there may be as many as fit on the disk.
