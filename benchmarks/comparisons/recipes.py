"""What the recipes reach on BUSI, in grouped folds; mammogram_protocols.py is about mini-MIAS.

python benchmarks/comparisons/recipes.py FOLDER [TASK ...]

Needs the folders busi and weights in the folder that FEATBUS_TEST_DATA names. FOLDER keeps the
features. Tasks are ultrasound, three, leaks, scratch and trained; the last two train networks. The
network is the paper's where its weights are there: VGG16, and an InceptionV3 of other photographs.
Otherwise it is MobileNetV2 (alpha 0.35) in place of another MobileNet, and VGG16 in place of
ResNet101. Nothing was tuned: recipes have their defaults. ThresholdSegmenter takes the place of the
U-Net; segmentation.py measures what a U-Net adds. Intervals of 95 % are those of `evaluate`: a
jackknife over groups of near-duplicates.
"""

import os
import sys
import warnings
from pathlib import Path

import numpy as np

from featbus import ThresholdSegmenter, evaluate, load_busi
from featbus.recipes import make_recipe

DATA = Path(os.environ["FEATBUS_TEST_DATA"])
WEIGHTS = DATA / "weights"
MOBILENET = {
    "backbone": "mobilenet_v2",
    "backbone_options": {"alpha": 0.35},
    "weights": WEIGHTS / "mobilenet_v2_0.35_224_no_top.weights.h5",
}
VGG = {"backbone": "vgg16", "weights": WEIGHTS / "vgg16_224_no_top.weights.h5"}
INCEPTION = {
    "backbone": "inception_v3",
    "weights": WEIGHTS / "inception_v3_photographs_no_top.weights.h5",
}
BOTH = {"backbone": [VGG, MOBILENET]}
METRICS = ["accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1"]


def report(title, result):
    """Print protocol, metrics with intervals, and the table found in papers."""
    print(f"\n{title}: {result.protocol}")
    table = result.to_frame()
    for name in result.pipeline_names:
        print(name)
        for metric in [*METRICS, "roc_auc"]:
            mean, _, low, high = table.loc[name].filter(regex=f"^{metric}")
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
        f"fusion, {label}": make_recipe("fusion", classifier=name, **BOTH, **store)
        for name, label in (hand | {"vote": "vote"}).items()
    }
    crops = {
        f"unet_crop, no U-Net, {network['backbone']}": make_recipe(
            "unet_crop", segmenter=ThresholdSegmenter(), **network, **store
        )
        for network in (VGG, INCEPTION, MOBILENET)
    }
    return {
        "handcrafted": make_recipe("handcrafted", **store),
        "two_tap_mobilenet": make_recipe("two_tap_mobilenet", **MOBILENET, **store),
        "mobilenet_intensity": make_recipe("mobilenet_intensity", **MOBILENET, **store),
        "enhanced_crop": make_recipe("enhanced_crop", **VGG, **store),
        **crops,
        "breast_ultrasound_features": make_recipe("breast_ultrasound_features", **BOTH, **store),
        **fusions,
    }


def ultrasound(folder):
    busi(folder, frozen(folder), True, "Benign or malignant")


def three(folder):
    busi(folder, frozen(folder), False, "Benign, malignant or normal")


def leaks(folder):
    """Let near-duplicates on both sides, and read masks as images."""
    data = load_busi(DATA / "busi", groups=DATA / "busi" / "groups.csv")
    recipe = make_recipe("mobilenet_intensity", memory=folder / "features.sqlite", **MOBILENET)
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
    recipe = make_recipe("two_tap_mobilenet", trained=True, **MOBILENET)
    busi(folder, {"two_tap_mobilenet, trained": recipe}, True, "Benign or malignant", cv=3)


def scratch(folder):
    busi(folder, {"small_cnn": make_recipe("small_cnn")}, True, "Benign or malignant", cv=3)


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
TASKS = {task.__name__: task for task in (ultrasound, three, leaks, scratch, trained)}
for task in sys.argv[2:] or TASKS:
    TASKS[task](folder)
