"""A U-Net on BUSI: how well it finds lesions, and what crops and shapes add to a classifier.

python benchmarks/comparisons/segmentation.py FOLDER [train|scores|benefit ...]

Needs the folders busi and weights in the folder that FEATBUS_TEST_DATA names. FOLDER keeps the ten
trained segmenters, two for each of five folds: "lesions" is trained on images with a lesion, "all"
on normal images, too. Groups of near-duplicates stay together. Intervals are 95 % percentile
intervals of 2,000 resamplings of groups. Settings were chosen on the first fold. Scores are those
of the folds that are trained, of the largest part of each region, as croppers use it.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import (
    DeepFeatures,
    FeatureBus,
    ROICropper,
    ShapeStatistics,
    ThresholdSegmenter,
    UNetSegmenter,
    load,
    load_busi,
    save,
)
from featbus.evaluation import segmentation_scores
from featbus.groups import stratified_folds
from featbus.io import read_image, read_mask
from featbus.masks import with_mask

DATA = Path(os.environ["FEATBUS_TEST_DATA"])
BUSI = load_busi(DATA / "busi", groups=DATA / "busi" / "groups.csv")
IMAGES, MASKS, Y, GROUPS = BUSI.images, BUSI.masks, BUSI.target, np.asarray(BUSI.groups)
HAS_LESION = Y != 2
FOLDS = list(stratified_folds(Y, GROUPS, 5, 0))
# Kinds of segmenters with their epochs: both see about as many images in all.
KINDS = {"lesions": 36, "all": 30}
# Hysteresis that leaves at most 15 % of the normal images of the first two folds with a region.
CERTAIN = 0.35, 0.98
WEIGHTS = DATA / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
SETTINGS = {
    "encoder": "mobilenet_v2",
    "encoder_weights": WEIGHTS,
    "encoder_options": {"alpha": 0.35},
    "input_size": 192,
    "validation_share": 0,
    "views": 2,
}


def train(folder):
    for kind, epochs in KINDS.items():
        for fold, (learning, _) in enumerate(FOLDS):
            path = folder / f"{kind}_{fold}.skops"
            if path.exists():
                continue
            part = learning[HAS_LESION[learning]] if kind == "lesions" else learning
            segmenter = UNetSegmenter(epochs=epochs, **SETTINGS)
            start, cpu = time.perf_counter(), time.process_time()
            segmenter.fit(IMAGES[part], MASKS[part], groups=GROUPS[part])
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            save(FrozenEstimator(segmenter), path)
            print(
                f"fold {fold}, {kind}: {len(part)} images, {seconds / 60:.1f} minutes, "
                f"{cpu / segmenter.n_epochs_:.0f} CPU-seconds an epoch, best epoch "
                f"{segmenter.best_epoch_} of {segmenter.n_epochs_}",
                flush=True,
            )


def scores(folder):
    for name, kind, threshold in (
        ("threshold", None, None),
        ("lesions", "lesions", 0.5),
        ("all", "all", 0.5),
        ("all, certain", "all", CERTAIN),
    ):
        found, kept = np.empty(len(Y), dtype=object), np.full(len(Y), np.nan)
        for fold, (_, test) in enumerate(FOLDS):
            path, segmenter = folder / f"{kind}_{fold}.skops", ThresholdSegmenter()
            if kind is not None:
                if not path.exists():
                    continue
                segmenter = load(path).estimator.set_params(threshold=threshold)
            # Boxes rest on the regions that are kept for `predict`.
            bus = FeatureBus(FrozenEstimator(segmenter), memory=folder / "regions.sqlite")
            cropper = ROICropper(bus)
            found[test] = list(cropper.predict(IMAGES[test]))
            kept[test] = [
                share_kept(i, box) for i, box in zip(test, cropper.find_boxes(IMAGES[test]))
            ]
        seen = np.flatnonzero([region is not None for region in found])
        if not len(seen):
            continue
        table = segmentation_scores(MASKS[seen], found[seen]).set_index(seen).reindex(range(len(Y)))
        print(f"\n{name}\n{'':10} {'n':>4}  {'Dice':20}  {'median':20}  below 0.5  crop holds 90 %")
        parts = {"lesions": HAS_LESION, "benign": Y == 0, "malignant": Y == 1}
        parts |= {f"fold {fold}": in_fold(fold) & HAS_LESION for fold in range(5)}
        parts["folds 1-4"] = HAS_LESION & ~in_fold(0)
        for part_name, part in parts.items():
            part = part & np.isin(np.arange(len(Y)), seen)
            if not part.any():
                continue
            dice, groups = table["dice"].to_numpy()[part], GROUPS[part]
            print(
                f"{part_name:10} {part.sum():4}  {with_interval(np.mean, groups, dice):20}  "
                f"{with_interval(np.median, groups, dice):20}  {np.mean(dice < 0.5):9.1%}  "
                f"{np.mean(kept[part] >= 0.9):.1%}"
            )
        area = table["predicted_area"][~HAS_LESION].dropna()
        print(
            "normal images with a region above 1 % of the image: "
            f"{with_interval(np.mean, GROUPS[area.index], area.to_numpy() > 0.01)}"
        )


def in_fold(fold):
    return np.isin(np.arange(len(Y)), FOLDS[fold][1])


def share_kept(index, box):
    """Return the share of a lesion that a crop holds."""
    if not HAS_LESION[index]:
        return np.nan
    top, left, bottom, right = box
    true = read_mask(MASKS[index], BUSI.frame[["height", "width"]].to_numpy()[index])
    return true[top:bottom, left:right].sum() / true.sum()


def with_interval(statistic, groups, *values):
    low, high = np.percentile(resampled(statistic, groups, *values), [2.5, 97.5])
    return f"{statistic(*values):.3f} ({low:.3f}-{high:.3f})"


def resampled(statistic, groups, *values, n=2000):
    """Return a statistic of samples of groups, drawn with replacement."""
    rng, (_, position) = np.random.default_rng(0), np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(position == group) for group in range(position.max() + 1)]
    results = []
    for _ in range(n):
        drawn = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        results.append(statistic(*(value[drawn] for value in values)))
    return np.array(results)


def benefit(folder):
    """Compare what classifiers make of whole images, crops and shapes of predicted masks."""
    deep = DeepFeatures(
        "mobilenet_v2", backbone_options={"alpha": 0.35}, weights=WEIGHTS, engine="openvino"
    )
    whole = deep.fit_transform(IMAGES)
    images = [read_image(path) for path in IMAGES]
    masks = [read_mask(mask, image.shape) for mask, image in zip(MASKS, images)]
    outlined = [with_mask(*pair) if np.any(pair[1]) else pair[0] for pair in zip(images, masks)]
    truth = deep.transform(ROICropper(None, min_area=0).transform(outlined))
    # Rows of all images by each segmenter; and of each image by the one that has not seen it.
    by_fold = [find_rows(folder / f"all_{fold}.skops", deep) for fold in range(5)]
    unseen = {part: np.empty_like(rows) for part, rows in by_fold[0].items()}
    for (_, test), rows in zip(FOLDS, by_fold):
        for part in unseen:
            unseen[part][test] = rows[part][test]
    names = ["whole", "crop", "whole + crop", "whole + shape", "whole + crop + shape"]
    names += ["unseen crop", "unseen shape", "whole + unseen crop", "whole + unseen shape"]
    names += ["whole + unseen crop + unseen shape", "(true crop)", "(whole + true crop)"]
    values = {name: np.empty((len(Y), 3)) for name in names}
    for (learning, test), rows in zip(FOLDS, by_fold):
        blocks = {"whole": whole, "true crop": truth, **rows}
        blocks |= {f"unseen {part}": unseen[part] for part in unseen}
        decisions = {part: decide(rows, learning, test) for part, rows in blocks.items()}
        for name in names:
            parts = name.strip("()").split(" + ")
            values[name][test] = np.mean([decisions[part] for part in parts], axis=0)
    print("\nSupport vector machines of each part; decision functions of several are averaged.")
    print("Unseen: trained on crops and shapes by segmenters that have not seen the image.")
    print("Benign or malignant, of images with a lesion; then all three classes.")
    columns = ["AUC", "gain in AUC", "accuracy", "AUC", "accuracy", "balanced accuracy"]
    print(f"{'':34} {' '.join(f'{column:22}' for column in columns)}")
    for name in names:
        report(name, values[name], values["whole"])


def find_rows(path, deep):
    """Return the features of crops, and the shapes, of the regions that a segmenter finds."""
    segmenter = load(path)
    masked = ROICropper(segmenter, as_mask=True).fit_transform(IMAGES)
    crop = make_pipeline(ROICropper(None), deep).fit_transform(masked)
    return {"crop": crop, "shape": ShapeStatistics(on_missing="nan").fit_transform(masked)}


def decide(rows, learning, test):
    """Return the decision function of a classifier for the test part."""
    # Where nothing was found, there is no shape.
    known = SimpleImputer(add_indicator=True, keep_empty_features=True)
    model = make_pipeline(known, StandardScaler(), SVC(C=10, class_weight="balanced"))
    return model.fit(rows[learning], Y[learning]).decision_function(rows[test])


def report(name, values, reference):
    """Print the scores of a row of the table, with their intervals."""
    two = [(value[:, 1] - value[:, 0])[HAS_LESION] for value in (values, reference)]
    y, groups = Y[HAS_LESION], GROUPS[HAS_LESION]
    scores = [
        with_interval(roc_auc_score, groups, y, two[0]),
        with_interval(lambda y, a, b: roc_auc_score(y, a) - roc_auc_score(y, b), groups, y, *two),
        with_interval(lambda y, a: np.mean((a > 0) == y), groups, y, two[0]),
        with_interval(mean_auc, GROUPS, values, Y),
        with_interval(lambda a, y: np.mean(a.argmax(axis=1) == y), GROUPS, values, Y),
        with_interval(lambda a, y: balanced_accuracy_score(y, a.argmax(axis=1)), GROUPS, values, Y),
    ]
    print(f"{name:34} {' '.join(f'{score:22}' for score in scores)}", flush=True)


def mean_auc(values, y):
    return np.mean([roc_auc_score(y == k, values[:, k]) for k in range(3)])


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for task in sys.argv[2:] or ["train", "scores", "benefit"]:
    {"train": train, "scores": scores, "benefit": benefit}[task](folder)
