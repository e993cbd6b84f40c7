"""How 0.978 arises on mini-MIAS, and what is left of it by woman: VGG16 and InceptionV3.

python benchmarks/comparisons/mammogram_protocols.py FOLDER [films|breasts|patches ...]

Needs the folders mini-mias and weights in the folder that FEATBUS_TEST_DATA names. FOLDER keeps the
features. Each region, whole films, breasts without the muscle, and patches of 256 x 256 pixels
around findings and at the mirrored place of the woman's normal breast, is judged for each network
by all protocols of `compare_protocols`, with the six orientations of each image, and the SVM of the
recipe mammogram_svm. Last comes the recipe itself by woman, whose copies are in the training part
only, and whose probabilities are calibrated. Nothing was tuned. InceptionV3 has weights of other
photographs, not the ImageNet ones. Intervals of 95 % are over women.
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC

from featbus import (
    BreastRegion,
    DeepFeatures,
    PectoralMuscleRemover,
    compare_protocols,
    evaluate,
    load_mini_mias,
)
from featbus.io import read_image
from featbus.masks import fill_mask
from featbus.recipes import make_recipe

DATA = Path(os.environ["FEATBUS_TEST_DATA"])
NETWORKS = {
    "vgg16": DATA / "weights" / "vgg16_224_no_top.weights.h5",
    "inception_v3": DATA / "weights" / "inception_v3_photographs_no_top.weights.h5",
}
PATCH = 256  # pixels


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


def make_region(name, data):
    """Return images, classes and women."""
    if name == "patches":
        return make_patches(data)
    images = data.images
    if name == "breasts":
        breasts = make_pipeline(BreastRegion(orient="left"), PectoralMuscleRemover())
        images = [fill_mask(image) for image in breasts.fit_transform(images)]
    return images, data.target, data.groups


def show(title, result, name):
    """Print the accuracy and the AUC with their intervals, and the table found in papers."""
    print(title)
    for metric in ("accuracy", "balanced_accuracy", "roc_auc"):
        mean, _, low, high = result.to_frame().loc[name].filter(regex=f"^{metric}")
        print(f"  {metric:20} {mean:.3f} ({low:.3f} to {high:.3f})")
    print(result.published_table(name).round(1).to_string(), "\n", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("regions", nargs="*", default=["films", "breasts", "patches"])
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    store = arguments.folder / "mammograms.sqlite"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about variants of the table
        data = load_mini_mias(DATA / "mini-mias")
    for region in arguments.regions:
        images, y, groups = make_region(region, data)
        print(f"{region}: {len(y)} images, {np.bincount(y)}, {len(set(groups))} women\n")
        options = {"groups": groups, "target_names": data.target_names, "memory": store}
        for backbone, weights in NETWORKS.items():
            deep = DeepFeatures(backbone, weights=weights)
            svm = SVC(C=10, class_weight="balanced")
            result = compare_protocols(
                deep, images, y, classifier=svm, n_copies=5, dihedral=6, **options
            )
            for protocol, evaluation in result.evaluations.items():
                show(f"{region}, {backbone}, {protocol}", evaluation, protocol)
            recipe = make_recipe("mammogram_svm", backbone=backbone, weights=weights, memory=store)
            whole = region == "breasts"  # which the first two steps of the recipe find
            steps = {"recipe": recipe if whole else Pipeline(recipe.steps[2:])}
            result = evaluate(steps, data.images if whole else images, y, **options)
            show(f"{region}, {backbone}, mammogram_svm by woman", result, "recipe")


if __name__ == "__main__":
    main()
