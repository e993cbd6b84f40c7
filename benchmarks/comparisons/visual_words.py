"""What visual words tell of lesions in breast ultrasound, alone and beside other features.

python benchmarks/comparisons/visual_words.py DATA

DATA has the folders ``busi``, with the table ``groups.csv`` of near-duplicates, and ``weights``:
MobileNetV2 (alpha 0.35) of ImageNet. Prints ROC AUC, benign against malignant, of whole images of
224 x 224 pixels. The classifier is the same for all, a scaler and a support vector machine with
scikit-learn's defaults and balanced class weights. Words are learned in each fold, from the images
that the classifier is trained on.

Groups belong to the half that the hash of their number says. On the first half, sizes of patches
and numbers of words are compared in five grouped folds, and the best is chosen for each descriptor;
steps are a fourth of the size. On the other half, the choice is judged in five grouped folds; all
of the first half is in each training part, too. Intervals of 95 % are those of `featbus.evaluate`,
a jackknife over groups.
"""

import argparse
import hashlib
import tempfile
import time
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import HOG, LBP, DeepFeatures, FeatureBus, Resize, VisualWords, evaluate, load_busi

SIZES, COUNTS = (16, 32, 64), (32, 128)
DESCRIBED = {}  # of one descriptor, as they fill the memory


class RememberedWords(VisualWords):
    """Describes the patches of each image once: descriptors do not depend on other images."""

    def _describe(self, image):
        settings = self.descriptor, self.size, self.step
        key = hashlib.sha256(image).digest(), *settings
        if key not in DESCRIBED:
            DESCRIBED[key] = super()._describe(image)
        return DESCRIBED[key]


def is_first_half(groups):
    digests = [hashlib.sha256(f"g{group}".encode()).digest()[-1] for group in groups]
    return np.array(digests) % 2 == 0


def run(features, data, rows, splits=None):
    """Print ROC AUC and interval of each kind of features; return the scores by name."""
    pipelines = {
        name: make_pipeline(Resize(224), step, StandardScaler(), SVC(class_weight="balanced"))
        for name, step in features.items()
    }
    options = {"groups": data.groups[rows], "cv": splits or 5}
    options |= {"target_names": data.target_names[:2]}
    result = evaluate(pipelines, data.images[rows], data.target[rows], **options)
    print(result.protocol)
    table = result.to_frame()
    for name in features:
        mean, _, low, high = table.loc[name].filter(regex="^roc_auc")
        print(f"  {name:32} {mean:.3f} ({low:.3f} to {high:.3f})", flush=True)
    return result, table["roc_auc"]


def choose(data, rows):
    """Return the settings of the words that are best on some images, by descriptor."""
    best = {}
    for descriptor in ("daisy", "sift"):
        candidates = {}
        for size, n_words in product(SIZES, COUNTS):
            options = {"size": size, "step": size // 4, "n_words": n_words}
            candidates[f"{descriptor}, {size} pixels, {n_words} words"] = options
        steps = {name: RememberedWords(descriptor, **each) for name, each in candidates.items()}
        _, areas = run(steps, data, rows)
        best[descriptor] = candidates[areas[list(steps)].idxmax()]
        DESCRIBED.clear()
    return best


def judge(data, rows, best, weights, memory):
    """Print the chosen words on the second half, alone and beside other features."""
    network = DeepFeatures(
        "mobilenet_v2",
        weights=weights / "mobilenet_v2_0.35_224_no_top.weights.h5",
        backbone_options={"alpha": 0.35},
        layers=["C3", "C4", "C5"],
        pooling=["avg", "max"],
    )
    patterns = LBP(n_points=(8, 16, 24), radius=(1, 2, 3))
    classic = FeatureUnion([("hog", HOG(pixels_per_cell=32, cells_per_block=2)), ("lbp", patterns)])
    others = {
        "HOG and LBP": FeatureBus(classic, memory=memory),
        "MobileNetV2": FeatureBus(network, memory=memory),
    }
    words = {f"words, {name}": RememberedWords(name, **each) for name, each in best.items()}
    features = words | others
    for (name, first), (other, second) in product(others.items(), words.items()):
        features[f"{name} + {other}"] = FeatureUnion([("others", first), ("words", second)])
    first = is_first_half(data.groups[rows])
    learning, held = np.flatnonzero(first), np.flatnonzero(~first)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    folds = splitter.split(held, data.target[rows][held], data.groups[rows][held])
    splits = [(np.r_[learning, held[train]], held[test]) for train, test in folds]
    result, _ = run(features, data, rows, splits)
    for name in others:
        compared = result.compare("roc_auc", baseline=name)
        for _, row in compared[compared["first"].str.startswith(f"{name} +")].iterrows():
            print(
                f"  {row['first']}: {row['difference']:+.3f} against {name} "
                f"({row['low']:+.3f} to {row['high']:+.3f}), p = {row['p_value']:.2f}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DATA")
    folder = parser.parse_args().folder
    cv2.setNumThreads(1)
    data = load_busi(folder / "busi", groups=folder / "busi" / "groups.csv")
    lesions = np.flatnonzero(data.target != data.target_names.index("normal"))
    started = time.perf_counter()
    best = choose(data, lesions[is_first_half(data.groups[lesions])])
    print(f"chosen: {best}")
    with tempfile.TemporaryDirectory() as directory:
        judge(data, lesions, best, folder / "weights", Path(directory) / "features.sqlite")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
