"""What the recipes reach: BUSI in grouped folds, mini-MIAS by woman.

python benchmarks/comparisons/recipes.py FOLDER [TASK ...]

Needs the folders busi, mini-mias and weights in the folder that FEATBUS_TEST_DATA names. FOLDER
keeps the features. Tasks are ultrasound, three, leaks, mammograms, scratch and trained; the last
two train networks. All pretrained networks are MobileNetV2 (alpha 0.35), whose weights are there,
whatever network was published. Nothing was tuned: recipes have their defaults. ThresholdSegmenter
takes the place of the U-Net; segmentation.py measures what a U-Net adds. Intervals of 95 % are
those of `evaluate`: a jackknife over groups of near-duplicates, or women.
"""

import os
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

from featbus import ThresholdSegmenter, evaluate, load_busi, load_mini_mias
from featbus.io import read_image
from featbus.recipes import make_recipe

DATA = Path(os.environ["FEATBUS_TEST_DATA"])
NETWORK = {
    "backbone": "mobilenet_v2",
    "backbone_options": {"alpha": 0.35},
    "weights": DATA / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5",
}
METRICS = ["accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1"]
PATCH = 256  # pixels


def report(title, result):
    """Print protocol, metrics with intervals, and the table found in papers."""
    print(f"\n{title}: {result.protocol}")
    table = result.to_frame()
    for name in table.index:
        print(name)
        for metric in [*METRICS, "roc_auc"]:
            mean, _, low, high = table.loc[name, metric]
            print(f"  {metric:20} {mean:.3f} ({low:.3f} to {high:.3f})")
        print(result.published_table(name).round(1).to_string(), flush=True)


def busi(folder, recipes, lesions, title, cv=5):
    data = load_busi(DATA / "busi", groups=DATA / "busi" / "groups.csv")
    chosen = data.target < 2 if lesions else data.target < 3
    result = evaluate(
        recipes,
        data.images[chosen],
        data.target[chosen],
        groups=np.asarray(data.groups)[chosen],
        target_names=data.target_names[:2] if lesions else data.target_names,
        cv=cv,
        memory=folder / "features.sqlite",
    )
    report(title, result)


def frozen(folder):
    """Return the recipes without training of networks."""
    store = {"memory": folder / "features.sqlite"}
    hand = {"svm": "SVM", "random_forest": "random forest", "knn": "KNN", "xgboost": "XGBoost"}
    fusions = {
        f"fusion, {label}": make_recipe("fusion", classifier=name, **NETWORK, **store)
        for name, label in (hand | {"vote": "vote"}).items()
    }
    return {
        "two_tap_mobilenet": make_recipe("two_tap_mobilenet", **NETWORK, **store),
        "mobilenet_intensity": make_recipe("mobilenet_intensity", **NETWORK, **store),
        "enhanced_crop": make_recipe("enhanced_crop", **NETWORK, **store),
        "unet_crop, no U-Net": make_recipe(
            "unet_crop", segmenter=ThresholdSegmenter(), **NETWORK, **store
        ),
        "breast_ultrasound_features": make_recipe("breast_ultrasound_features", **NETWORK, **store),
        **fusions,
    }


def ultrasound(folder):
    busi(folder, frozen(folder), True, "Benign or malignant")


def three(folder):
    busi(folder, frozen(folder), False, "Benign, malignant or normal")


def leaks(folder):
    """Let near-duplicates on both sides, and read masks as images."""
    data = load_busi(DATA / "busi", groups=DATA / "busi" / "groups.csv")
    recipe = make_recipe("mobilenet_intensity", memory=folder / "features.sqlite", **NETWORK)
    files = [[image, *np.atleast_1d(masks)] for image, masks in zip(data.images, data.masks)]
    everything = [path for paths in files for path in paths]
    source = np.repeat(np.arange(len(files)), [len(paths) for paths in files])
    for title, X, index, groups in (
        ("Split at random", list(data.images), np.arange(len(files)), None),
        ("Masks as images", everything, source, np.asarray(data.groups)[source]),
        ("Masks as images, split at random", everything, source, None),
    ):
        names = data.target_names
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about missing groups
            result = evaluate(recipe, X, data.target[index], groups=groups, target_names=names)
        report(title, result)


def trained(folder):
    recipe = make_recipe("two_tap_mobilenet", trained=True, **NETWORK)
    busi(folder, {"two_tap_mobilenet, trained": recipe}, True, "Benign or malignant", cv=3)


def scratch(folder):
    busi(folder, {"small_cnn": make_recipe("small_cnn")}, True, "Benign or malignant", cv=3)


def mammograms(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about variants of the table
        data = load_mini_mias(DATA / "mini-mias")
    recipe = make_recipe("mammogram_svm", memory=folder / "features.sqlite", **NETWORK)
    names = data.target_names
    result = evaluate(
        recipe, data.images, data.target, groups=data.groups, target_names=names, cv=5
    )
    report("Whole films", result)
    patches, y, groups = make_patches(data)
    result = evaluate(
        Pipeline(recipe.steps[2:]), patches, y, groups=groups, target_names=names, cv=5
    )
    report("Patches", result)


def make_patches(data):
    """Cut patches around known findings, and at the mirrored place of the other, normal breast."""
    found = data.findings.dropna(subset=["row", "column"])
    patches, y, groups = [], [], []
    for index, row, column in found[["image", "row", "column"]].astype(int).to_numpy():
        same = np.flatnonzero((data.groups == data.groups[index]) & (data.target == 0))
        for other in (index, *same):
            image = np.pad(read_image(data.images[other]), PATCH // 2)
            # Films of left breasts mirror those of right ones.
            left = column if other == index else image.shape[1] - PATCH - 1 - column
            patches.append(image[row : row + PATCH, left : left + PATCH])
            y.append(data.target[other])
            groups.append(data.groups[other])
    return np.stack(patches), np.array(y), np.array(groups)


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
TASKS = {task.__name__: task for task in (ultrasound, three, leaks, mammograms, scratch, trained)}
for task in sys.argv[2:] or TASKS:
    TASKS[task](folder)
