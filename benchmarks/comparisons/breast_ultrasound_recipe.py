"""What the recipe breast_ultrasound_features was chosen from, and what the choice is worth.

python benchmarks/comparisons/breast_ultrasound_recipe.py BUSI_DIR --weights FILE [--folder DIR]

FILE has the ImageNet weights of MobileNetV2 (alpha 0.35) without its classifier; DIR keeps the
features. ``groups.csv`` in BUSI_DIR says which images are near-duplicates. Each configuration, a
set of columns and a classifier, is evaluated in five grouped folds. "chosen inside" is the honest
line: in each fold, the configuration with the highest ROC AUC in three grouped folds of the
training part. "best" is the highest ROC AUC of all lines, chosen after seeing them. The last three
are a logistic regression on all columns at 320 pixels, with SMOTE, class weights, or neither. F1 is
that of the malignant class, or the mean over three.
"""

import argparse
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline

from featbus import DeepFeatures, FeatureBus, evaluate, load_busi
from featbus.recipes import balancing_pipelines, fused_features, make_recipe

METRICS = ["accuracy", "balanced_accuracy", "f1", "roc_auc", "brier"]
NESTED = "chosen inside"


def compute_rows(images, weights, memory):
    """Return rows and names of columns at 224 and at 320 pixels."""
    rows = {}
    for size in (224, 320):
        deep = DeepFeatures(
            "mobilenet_v2",
            layers=("C3", "C4", "C5"),
            pooling=("avg", "max"),
            input_size=size,
            backbone_options={"alpha": 0.35},
            weights=weights,
        )
        bus = FeatureBus(fused_features(deep=deep, size=size), memory=memory)
        rows[size] = bus.fit_transform(images), bus.get_feature_names_out()
    return rows


def choose_columns(rows):
    """Return all columns side by side, and the positions of those in each set."""
    (small, names), (large, _) = rows[224], rows[320]
    last = np.char.startswith(names.astype(str), "mobilenet_v2_out_relu_avg")
    plain = [name.startswith(("hog_", "lbp_p8_", "intensity_")) for name in names]
    positions = np.arange(len(names))
    sets = {
        "C5 avg, HOG, LBP, intensity, 224": positions[last | plain],
        "C3-C5 avg max, all, 224": positions,
        "C3-C5 avg max, all, 320": positions + len(names),
    }
    return np.hstack([small, large]), sets


def make_configurations(sets):
    """Return a pipeline for each set of columns and each classifier."""
    vote = make_recipe("breast_ultrasound_features")["classifier"]
    members = vote.named_estimators
    classifiers = {
        "logistic, C=0.001": clone(members["logistic"]).set_params(logisticregression__C=0.001),
        "logistic, C=0.003": members["logistic"],
        "PCA + SVM": members["svm"],
        "vote, C=0.003": vote,
    }
    return {
        f"{columns}; {label}": make_pipeline(
            ColumnTransformer([("chosen", "passthrough", chosen)]), classifier
        )
        for columns, chosen in sets.items()
        for label, classifier in classifiers.items()
    }


def choose_inside(result, configurations, X, y, groups):
    """Return the result with one more line, and the configuration chosen in each fold."""
    chosen = []
    first = result.predictions[result.predictions["pipeline"] == next(iter(configurations))]
    for fold in range(5):
        train = first.loc[first["fold"] != fold, "index"].to_numpy()
        inside = evaluate(configurations, X[train], y[train], groups=groups[train], cv=3)
        chosen.append(inside.scores.groupby("pipeline", sort=False)["roc_auc"].mean().idxmax())
    tables = {}
    for name in ("predictions", "scores"):
        table = getattr(result, name)
        wanted = [name == chosen[fold] for name, fold in zip(table["pipeline"], table["fold"])]
        tables[name] = pd.concat([table[wanted].assign(pipeline=NESTED), table], ignore_index=True)
    return replace(result, **tables), Counter(chosen)


def report(title, result, names):
    """Print the metrics of some pipelines, with intervals of 95 %."""
    print(f"\n{title}")
    table = result.to_frame()
    for name in names:
        cells = [table.loc[name, metric] for metric in METRICS]
        print(
            f"{name:50}"
            + "".join(f"  {c['mean']:.3f} ({c['low']:.3f}-{c['high']:.3f})" for c in cells)
        )


def run_task(title, X, y, groups, names, sets):
    configurations = make_configurations(sets)
    options = {"groups": groups, "target_names": names}
    result = evaluate(configurations, X, y, **options)
    nested, counts = choose_inside(result, configurations, X, y, groups)
    print(f"\n{nested.protocol}")
    print(" " * 50 + "".join(f"  {metric:19}" for metric in METRICS))
    report(title, nested, [NESTED, *configurations])
    means = result.scores.groupby("pipeline")["roc_auc"].mean()
    print(f"best: {means.idxmax()}")
    for name, count in counts.items():
        print(f"chosen in {count} of 5 folds: {name}")
    rows = X[:, sets["C3-C5 avg max, all, 320"]]
    ways = balancing_pipelines()
    report("Balancing, logistic regression", evaluate(ways, rows, y, **options), ways)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("busi")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--folder", default=tempfile.gettempdir())
    options = parser.parse_args()
    data = load_busi(options.busi, groups=Path(options.busi) / "groups.csv")
    memory = Path(options.folder) / "features.sqlite"
    X, sets = choose_columns(compute_rows(data.images, options.weights, memory))
    groups = np.asarray(data.groups)
    for n_classes, title in ((3, "Three classes"), (2, "Benign or malignant")):
        chosen = data.target < n_classes
        names = data.target_names[:n_classes]
        run_task(title, X[chosen], data.target[chosen], groups[chosen], names, sets)


if __name__ == "__main__":
    main()
