"""What the recipe breast_ultrasound_features was chosen from, and what the choice is worth.

python benchmarks/comparisons/breast_ultrasound_recipe.py DATA [--folder DIR]

DATA has the folders ``busi``, with the table ``groups.csv`` of near-duplicates, and ``weights``:
MobileNetV2 (alpha 0.35) and VGG16 of ImageNet, and an InceptionV3 that was trained on other
photographs. DIR keeps the features.

A configuration is a set of columns, networks and hand-crafted features by their input size, and a
classifier. Groups belong to the half that the hash of their number says. On the first half, each
configuration is evaluated in five grouped folds, drawn twice, in three classes, and benign against
malignant. The one with the largest ROC AUC, the mean of both tasks, is chosen. On the other half,
the recipe, what is left of it without each of its parts, and single networks are judged in five
grouped folds; all of the first half is in each training part, too. Intervals of 95 % are a
jackknife over groups. F1 is that of the malignant class, or the mean over three.

Last, a logistic regression on MobileNetV2 and hand-crafted columns at 320 pixels, in all images,
with SMOTE, class weights, or neither.
"""

import argparse
import hashlib
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from featbus import DeepFeatures, FeatureBus, evaluate, load_busi
from featbus.recipes import balancing_pipelines, fused_features, make_recipe

METRICS = ["accuracy", "balanced_accuracy", "f1", "roc_auc", "brier"]
MOBILE, VGG, INCEPTION = "MobileNetV2", "VGG16", "InceptionV3 (photographs)"
NETWORKS = [
    *((f"{MOBILE} 224",), (f"{MOBILE} 320",), (f"{VGG} 224",), (f"{INCEPTION} 299",)),
    *((f"{VGG} 224", f"{MOBILE} 224"), (f"{VGG} 224", f"{MOBILE} 320")),
    (f"{VGG} 224", f"{MOBILE} 224", f"{INCEPTION} 299"),
]
TEXTURES = [(), ("texture 224",), ("texture 320",)]
CHOSEN = f"{VGG} 224 + {MOBILE} 224 + texture 224; vote"
# Judged on the other half: the choice, without each of its parts, and others.
JUDGED = [
    CHOSEN,
    f"{VGG} 224 + {MOBILE} 224; vote",
    f"{VGG} 224 + {MOBILE} 320 + texture 320; vote",
    f"{VGG} 224 + {MOBILE} 224 + texture 224; logistic",
    f"{VGG} 224 + {MOBILE} 224 + texture 224; svm",
    f"{MOBILE} 224 + texture 224; vote",
    f"{MOBILE} 320 + texture 320; vote",
    f"{VGG} 224 + texture 224; vote",
    *(f"{name}; vote" for (name,) in NETWORKS[:4]),
]


def compute_rows(images, weights, memory):
    """Return all columns side by side, and the positions of each part."""
    stages = {"layers": ("C3", "C4", "C5"), "pooling": ("avg", "max"), "engine": "openvino"}
    mobilenet = {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}}
    mobilenet |= {"weights": weights / "mobilenet_v2_0.35_224_no_top.weights.h5"}
    inception = weights / "inception_v3_photographs_no_top.weights.h5"
    parts = {
        f"{MOBILE} 224": DeepFeatures(**mobilenet, **stages, input_size=224),
        f"{MOBILE} 320": DeepFeatures(**mobilenet, **stages, input_size=320),
        f"{VGG} 224": DeepFeatures(
            "vgg16", weights=weights / "vgg16_224_no_top.weights.h5", **stages
        ),
        f"{INCEPTION} 299": DeepFeatures("inception_v3", weights=inception, **stages),
        "texture 224": fused_features(size=224),
        "texture 320": fused_features(size=320),
    }
    rows = [FeatureBus(part, memory=memory).fit_transform(images) for part in parts.values()]
    ends = np.cumsum([each.shape[1] for each in rows])
    positions = [np.arange(end - each.shape[1], end) for end, each in zip(ends, rows)]
    return np.hstack(rows), dict(zip(parts, positions))


def make_configurations(positions):
    """Return a pipeline for each set of columns and each classifier."""
    vote = make_recipe("breast_ultrasound_features")["classifier"]
    classifiers = vote.named_estimators | {"vote": vote}
    return {
        f"{' + '.join(parts)}; {label}": make_pipeline(
            ColumnTransformer(
                [("chosen", "passthrough", np.concatenate([positions[part] for part in parts]))]
            ),
            clone(classifier),
        )
        for networks, textures in product(NETWORKS, TEXTURES)
        for label, classifier in classifiers.items()
        for parts in [networks + textures]
    }


def is_first_half(groups):
    digests = [hashlib.sha256(f"g{group}".encode()).digest()[-1] for group in groups]
    return np.array(digests) % 2 == 0


def report(title, result, names):
    """Print the metrics of some pipelines, with intervals of 95 %."""
    print(f"\n{title}")
    table = result.to_frame()
    width = max(map(len, names))
    print(" " * width + "".join(f"  {metric:19}" for metric in METRICS))
    for name in names:
        cells = [table.loc[name].filter(regex=f"^{metric}") for metric in METRICS]
        text = "".join(f"  {mean:.3f} ({low:.3f}-{high:.3f})" for mean, _, low, high in cells)
        print(f"{name:{width}}{text}", flush=True)


def choose(tasks, X, y, groups, configurations):
    """Print the configurations on the first half, the best ones last; return the best."""
    areas = {}
    for title, rows in tasks.items():
        rows = rows[is_first_half(groups[rows])]
        result = evaluate(
            configurations, X[rows], y[rows], groups=groups[rows], n_repeats=2, n_jobs=2
        )
        print(f"{title}, first half: {result.protocol}")
        areas[title] = result.scores.groupby("pipeline", sort=False)["roc_auc"].mean()
    table = pd.DataFrame(areas).assign(mean=pd.DataFrame(areas).mean(axis=1)).sort_values("mean")
    print(table.round(4).to_string())
    return table.index[-1]


def judge(title, rows, X, y, groups, names, configurations):
    """Print how some configurations do on the other half."""
    first = is_first_half(groups[rows])
    learning, held = np.flatnonzero(first), np.flatnonzero(~first)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    folds = splitter.split(held, y[rows][held], groups[rows][held])
    splits = [(np.r_[learning, held[train]], held[test]) for train, test in folds]
    result = evaluate(
        {name: configurations[name] for name in JUDGED},
        X[rows],
        y[rows],
        groups=groups[rows],
        cv=splits,
        target_names=names,
        n_jobs=2,
    )
    report(f"{title}, other half: {result.protocol}", result, JUDGED)
    differences = result.compare("roc_auc", baseline=CHOSEN)
    print(differences.round(3).to_string())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=tempfile.gettempdir())
    options = parser.parse_args()
    busi = options.data / "busi"
    data = load_busi(busi, groups=busi / "groups.csv")
    memory = Path(options.folder) / "features.sqlite"
    X, positions = compute_rows(data.images, options.data / "weights", memory)
    y, groups = data.target, np.asarray(data.groups)
    tasks = {"Three classes": np.arange(len(y)), "Benign or malignant": np.flatnonzero(y < 2)}
    configurations = make_configurations(positions)
    print(f"chosen of {len(configurations)}: {choose(tasks, X, y, groups, configurations)}")
    for title, rows in tasks.items():
        names = data.target_names[: len(set(y[rows]))]
        judge(title, rows, X, y, groups, names, configurations)
    columns = np.r_[positions["texture 320"], positions[f"{MOBILE} 320"]]
    for title, rows in tasks.items():
        ways, names = balancing_pipelines(), data.target_names[: len(set(y[rows]))]
        result = evaluate(
            ways, X[np.ix_(rows, columns)], y[rows], groups=groups[rows], target_names=names
        )
        report(f"{title}, balancing", result, ways)


if __name__ == "__main__":
    main()
