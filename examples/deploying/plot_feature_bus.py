"""
FeatureBus: every image computed once
=====================================

A grid search needs the features of an image again and again. Wrapped in a
:class:`~featbus.FeatureBus`, they are computed once and looked up from then on: in other folds, for
other candidates, by other classifiers and in later runs.
"""

# %%
# One grid search, four ways
# --------------------------
# Twelve candidates in five folds: texture and brightness of synthetic ultrasound images, and a
# support vector machine on them. To see what it costs, we count how often images are computed.

import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import LBP, FeatureBus, FeatureStore, IntensityStatistics, make_breast_ultrasound

data = make_breast_ultrasound(40, n_images_per_patient=2, random_state=0)
features = make_union(IntensityStatistics(), LBP(), LBP(n_points=16, radius=2))

n_passes = 0
transform = IntensityStatistics.transform


def counting(self, X):
    """Count images, and transform them."""
    global n_passes
    n_passes += len(X)
    return transform(self, X)


def search(step, memory=None):
    """Run the grid search; return how often an image was computed, and the seconds it took."""
    global n_passes
    n_passes, start = 0, time.perf_counter()
    steps = [("features", step), ("scaler", StandardScaler()), ("svm", SVC())]
    grid = {"svm__C": [0.1, 0.3, 1, 3, 10, 30], "svm__kernel": ["linear", "rbf"]}
    candidates = GridSearchCV(Pipeline(steps, memory=memory), grid, cv=StratifiedGroupKFold(5))
    with patch.object(IntensityStatistics, "transform", counting):
        candidates.fit(data.images, data.target, groups=data.groups)
    return n_passes / len(data.images), time.perf_counter() - start


# %%
# A plain pipeline computes all images for every candidate and fold. ``Pipeline(memory=...)`` stores
# the features of a fold's training images, but computes the test images for each candidate. The bus
# stores rows, independent of the folds. With a store that contains all images, nothing is computed.

folder = Path(tempfile.mkdtemp())
bus = FeatureBus(features, memory=folder / "features.sqlite")
costs = {
    "Pipeline": search(features),
    "Pipeline(memory=...)": search(features, memory=str(folder / "joblib")),
    "FeatureBus, new store": search(bus),
    "FeatureBus, known images": search(bus),
}

figure, axes = plt.subplots(1, 2, figsize=(9, 2.6), sharey=True, layout="constrained")
labels = [("times that an image was computed", "%.0f"), ("seconds", "%.1f")]
for axis, values, (label, form) in zip(axes, zip(*costs.values()), labels):
    bars = axis.barh(list(costs), values, height=0.6, color=["0.6", "0.6", "C0", "C0"])
    axis.bar_label(bars, fmt=form, padding=4)
    axis.margins(x=0.15)
    axis.set_xlabel(label)
axes[0].invert_yaxis()

# %%
# What is in the store
# --------------------
# One row per image and transformer. Another transformer, parameter, weights file or version of a
# feature means other rows. The name of an image's file does not matter.

FeatureBus(LBP(radius=3), memory=folder / "features.sqlite").fit_transform(data.images)
with FeatureStore(folder / "features.sqlite") as store:
    print(store.info()[["n_rows", "n_features", "bytes"]])

# %%
# More than memory can hold
# -------------------------
# ``to_parquet`` writes rows to a directory, partition by partition, on one machine or many. Run it
# again after a crash, and it continues where it stopped. Here the store contains all images, so
# nothing is computed. The next example learns from such a table.

table = bus.to_parquet(data.images, folder / "rows", partition_bytes=1_000_000)
print(table)
print(table.manifest[["partition", "rows", "bytes"]])
