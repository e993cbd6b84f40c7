"""Whether a network that goes on learning tells breast lesions apart better: BUSI, grouped folds.

Needs the folder of the test data, ``FEATBUS_TEST_DATA``, with ``busi`` and ``weights``. An argument
says how many of the five folds to run.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import DeepFeatures, FineTunedFeatures, load_busi

n_folds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
data = Path(os.environ["FEATBUS_TEST_DATA"])
busi = load_busi(data / "busi", groups=data / "busi" / "groups.csv")
images, y, groups = np.asarray(busi.images, dtype=object), busi.target, np.asarray(busi.groups)
network = {
    "backbone": "mobilenet_v2",
    "backbone_options": {"alpha": 0.35},
    "weights": data / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5",
}
sides = {
    "frozen": DeepFeatures(**network),
    "C5 learns": FineTunedFeatures(**network),
    "C4 learns": FineTunedFeatures(**network, unfreeze="C4", learning_rate=3e-5),
}
folds = list(StratifiedGroupKFold(5, shuffle=True, random_state=0).split(images, y, groups))
print(
    f"BUSI, {len(y)} images in {len(set(groups))} groups; MobileNetV2 (alpha 0.35); {n_folds} of 5 "
    "grouped folds.\nAccuracy and one-vs-rest AUC of three classes; AUC of malignant against "
    "benign; seconds a fold.\n"
)
for label, features in sides.items():
    values, seconds, epochs = np.full((len(y), 3), np.nan), [], []
    for train, test in folds[:n_folds]:
        start = time.perf_counter()
        pipeline = make_pipeline(features, StandardScaler(), SVC(C=10, class_weight="balanced"))
        learns = isinstance(features, FineTunedFeatures)
        routed = {"finetunedfeatures__groups": groups[train]} if learns else {}
        pipeline.fit(images[train], y[train], **routed)
        values[test] = pipeline.decision_function(images[test])
        seconds.append(time.perf_counter() - start)
        if learns:
            epochs.append(f"{features.best_epoch_} of {features.n_epochs_}")
    seen = ~np.isnan(values[:, 0])
    values, target = values[seen], y[seen]
    lesions = target < 2
    two = values[lesions, 1] - values[lesions, 0]
    print(
        f"{label:12} {accuracy_score(target, values.argmax(axis=1)):.3f}   "
        f"{np.mean([roc_auc_score(target == k, values[:, k]) for k in range(3)]):.3f}   "
        f"{roc_auc_score(target[lesions], two):.3f}   {np.mean(seconds):5.0f} s   "
        + ", ".join(epochs),
        flush=True,
    )
