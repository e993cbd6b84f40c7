"""Which layers and poolings of a frozen network tell breast lesions apart: BUSI, grouped folds.

Needs the folder of the test data, ``FEATBUS_TEST_DATA``, with ``busi`` and ``weights``.
"""

import os
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import DeepFeatures, load_busi

STAGES = ("C3", "C4", "C5")
SIDES = {
    "top, avg": (["C5"], ["avg"]),
    "C3 + C4 + C5, avg": (STAGES, ["avg"]),
    "C3 + C4 + C5, avg + max": (STAGES, ["avg", "max"]),
    "C3 + C4 + C5, avg + std": (STAGES, ["avg", "std"]),
    "C3 + C4 + C5, gem": (STAGES, ["gem"]),
    "C3 + C4 + C5, avg2x2": (STAGES, ["avg2x2"]),
}
N_DEALS = 5

data = Path(os.environ["FEATBUS_TEST_DATA"])
busi = load_busi(data / "busi", groups=data / "busi" / "groups.csv")
classifier = make_pipeline(
    StandardScaler(), PCA(0.95, random_state=0), SVC(C=10, class_weight="balanced")
)


def extract(stage):
    """Return the rows of a stage by pooling."""
    poolings = ["avg", "max", "std", "gem", "avg2x2"]
    deep = DeepFeatures(
        "mobilenet_v2",
        layers=stage,
        pooling=poolings,
        weights=data / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5",
        backbone_options={"alpha": 0.35},
    )
    rows = deep.fit_transform(busi.images)
    # Four poolings of one window each, and one of four windows.
    width = rows.shape[1] // 8
    return dict(zip(poolings, np.split(rows, [width, 2 * width, 3 * width, 4 * width], axis=1)))


def decide(rows, target, groups, seed):
    """Return decision values for each image, from classifiers that know no image of its group."""
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    return cross_val_predict(
        classifier, rows, target, groups=groups, cv=folds, method="decision_function"
    )


def score(rows, seed):
    """Return accuracy and mean one-vs-rest AUC of three classes, and AUC of the lesions' two."""
    three = decide(rows, busi.target, busi.groups, seed)
    lesion = busi.target < 2
    two = decide(rows[lesion], busi.target[lesion], busi.groups[lesion], seed)
    return (
        accuracy_score(busi.target, three.argmax(axis=1)),
        np.mean([roc_auc_score(busi.target == kind, three[:, kind]) for kind in range(3)]),
        roc_auc_score(busi.target[lesion], two),
    )


parts = {stage: extract(stage) for stage in STAGES}
print(
    f"BUSI, {len(busi.images)} images in {len(set(busi.groups))} groups; MobileNetV2, alpha 0.35;\n"
    f"5 grouped folds, dealt {N_DEALS} times: mean and standard deviation over the deals.\n\n"
    f"{'':26}{'columns':>8}   {'accuracy':13}   {'AUC':13}   AUC benign/malignant"
)
for label, (stages, poolings) in SIDES.items():
    rows = np.hstack([parts[stage][pooling] for stage in stages for pooling in poolings])
    scores = [score(rows, seed) for seed in range(N_DEALS)]
    figures = zip(np.mean(scores, axis=0), np.std(scores, axis=0))
    cells = "   ".join(f"{mean:.3f} ({spread:.3f})" for mean, spread in figures)
    print(f"{label:26}{rows.shape[1]:8}   {cells}", flush=True)
