"""BIRADSFeatures on BUSI, benign against malignant: masks of experts and of a U-Net, and a network.

python benchmarks/comparisons/birads.py DATA [--folder DIR] [--choose]

DATA has the folders ``busi``, with the table ``groups.csv`` of near-duplicates, and ``weights``:
MobileNetV2 (alpha 0.35) of ImageNet. DIR keeps the trained U-Nets and the features of the network.
Most of its time is the training of five U-Nets, half an hour of one core.

Only images with a lesion are used. Groups belong to the half that the hash of their number says. On
the first half, the width of the bands and the classifier are chosen by ROC AUC on the experts'
masks, in five grouped folds, drawn twice; the settings of the U-Net by Dice, trained on
two thirds of its groups. ``--choose`` ends there. The other half is judged in three grouped folds;
all of the first half is in each training part, too. Scores are printed with the intervals of 95 %
of `featbus.evaluate`, a jackknife over groups.

The U-Net is trained in each fold on the experts' masks of the training part alone, and outlines
all images of the fold. Where it finds no lesion, the row is NaN, and each column gets its mean.
Columns of the network are reduced to 32 principal components beside others.
"""

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import (
    BIRADSFeatures,
    DeepFeatures,
    FeatureBus,
    ROICropper,
    ShapeStatistics,
    UNetSegmenter,
    evaluate,
    load_busi,
    load_masked,
)
from featbus.evaluation import segmentation_scores

WIDTHS = (0.1, 0.2, 0.4)
TRAININGS = ((96, 12), (96, 24))  # size of the input, epochs
CLASSIFIERS = {
    "logistic": LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000),
    "svm": SVC(class_weight="balanced"),
    "forest": RandomForestClassifier(300, class_weight="balanced", random_state=0),
}
KEPT = {}  # folder of trained U-Nets, masks by fold


class KeptUNet(UNetSegmenter):
    """A U-Net that is trained once for the same images."""

    def fit(self, X, masks, groups=None):
        key = joblib.hash([list(map(str, X)), self.get_params()])
        path = KEPT["folder"] / f"unet_{key}.joblib"
        if not path.exists():
            super().fit(X, masks, groups)
            joblib.dump(vars(self), path)
        vars(self).update(joblib.load(path))
        return self


def is_first_half(groups):
    digests = [hashlib.sha256(f"g{group}".encode()).digest()[-1] for group in groups]
    return np.array(digests) % 2 == 0


def choose(masked, y, groups):
    """Print the settings on the first half; return the name of the best one."""
    blocks = [BIRADSFeatures(band_width=width).fit_transform(masked) for width in WIDTHS]
    n = blocks[0].shape[1]
    pipelines = {
        (width, name): make_pipeline(
            ColumnTransformer([("", "passthrough", np.arange(n * i, n * i + n))]),
            StandardScaler(),
            classifier,
        )
        for i, width in enumerate(WIDTHS)
        for name, classifier in CLASSIFIERS.items()
    }
    named = {f"band_width={width}, {name}": part for (width, name), part in pipelines.items()}
    result = evaluate(named, np.hstack(blocks), y, groups=groups, n_repeats=2)
    table = result.to_frame()["roc_auc"].sort_values()
    print(f"first half: {result.protocol}\n{table.round(3).to_string()}", flush=True)
    return next(key for key, name in zip(pipelines, named) if name == table.index[-1])


def make_unet(weights, size, epochs):
    return KeptUNet(
        "mobilenet_v2",
        encoder_weights=weights / "mobilenet_v2_0.35_224_no_top.weights.h5",
        encoder_options={"alpha": 0.35},
        input_size=size,
        epochs=epochs,
        validation_share=0,
    )


def judge_outlines(unet, data, train, test):
    """Train a U-Net; return Dice of the largest part in each image, and how many have none."""
    cropper = ROICropper(unet).fit(
        data["images"][train], masks=data["masks"][train], groups=data["groups"][train]
    )
    found = cropper.predict(data["images"][test])
    empty = sum(not region.any() for region in found)
    return segmentation_scores(data["masks"][test], found)["dice"], empty


def choose_training(data, first, weights):
    """Print Dice of the settings of the U-Net on the first half; return the best ones."""
    half = np.flatnonzero(first)
    splitter = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    train, test = next(splitter.split(half, data["y"][half], data["groups"][half]))
    means = {}
    for training in TRAININGS:
        start = time.perf_counter()
        dice, empty = judge_outlines(make_unet(weights, *training), data, half[train], half[test])
        means[training] = dice.mean()
        print(
            f"first half: U-Net of {training[0]} pixels, {training[1]} epochs: Dice "
            f"{dice.mean():.3f}, none found in {empty} of {len(test)}; "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
    return max(means, key=means.get)


def report(title, result, baseline=None):
    print(f"\n{title}: {result.protocol}")
    for name, row in result.to_frame().iterrows():
        mean, _, low, high = row.filter(regex="^roc_auc")
        print(f"{name:48} {mean:.3f} ({low:.3f} to {high:.3f})", flush=True)
    if baseline:
        print(result.compare("roc_auc", baseline=baseline).round(3).to_string())


def make_network(weights):
    return DeepFeatures(
        "mobilenet_v2",
        backbone_options={"alpha": 0.35},
        weights=weights / "mobilenet_v2_0.35_224_no_top.weights.h5",
    )


def judge_experts(data, masked, splits, width, classifier, network):
    """Judge columns of the experts' masks."""
    birads = BIRADSFeatures(band_width=width)
    blocks = {
        "BIRADSFeatures": birads.fit_transform(masked),
        "ShapeStatistics": ShapeStatistics().fit_transform(masked),
        "MobileNetV2": network.fit_transform(data["images"]),
    }
    ends = np.cumsum([block.shape[1] for block in blocks.values()])
    columns = {
        name: np.arange(end - block.shape[1], end)
        for (name, block), end in zip(blocks.items(), ends)
    }
    names = birads.get_feature_names_out()
    of_mask = np.array([name.split("_")[1] in ("orientation", "shape") for name in names])
    of_mask |= np.isin(names, ["birads_margin_spicules", "birads_margin_angularity"])
    kinds = {
        "ShapeStatistics": [("shape", "passthrough", columns["ShapeStatistics"])],
        "BIRADSFeatures": [("birads", "passthrough", columns["BIRADSFeatures"])],
        "BIRADSFeatures, the mask alone": [("mask", "passthrough", np.flatnonzero(of_mask))],
        "BIRADSFeatures, brightness alone": [("rest", "passthrough", np.flatnonzero(~of_mask))],
        "MobileNetV2, 32 components": [
            ("network", make_pipeline(StandardScaler(), PCA(32)), columns["MobileNetV2"]),
        ],
        "MobileNetV2 + BIRADSFeatures": [
            ("network", make_pipeline(StandardScaler(), PCA(32)), columns["MobileNetV2"]),
            ("birads", "passthrough", columns["BIRADSFeatures"]),
        ],
    }
    pipelines = {
        name: make_pipeline(ColumnTransformer(parts), StandardScaler(), classifier)
        for name, parts in kinds.items()
    }
    rows = np.hstack(list(blocks.values()))
    options = {"groups": data["groups"], "cv": splits, "target_names": ["benign", "malignant"]}
    report("Masks of experts", evaluate(pipelines, rows, data["y"], **options))


def judge_unet(data, splits, width, classifier, network, unet):
    """Judge columns of the masks of a U-Net that is trained in each fold."""
    for fold, (train, test) in enumerate(splits):
        dice, empty = judge_outlines(unet, data, train, test)
        print(
            f"U-Net, fold {fold}: {len(train)} and {len(test)} images, Dice {dice.mean():.2f}, "
            f"median {dice.median():.2f}; no lesion found in {empty}",
            flush=True,
        )

    def outlined(features):
        return make_pipeline(ROICropper(unet, as_mask=True), features, SimpleImputer())

    birads = BIRADSFeatures(band_width=width, on_missing="nan")
    reduced = make_pipeline(network, StandardScaler(), PCA(32))
    kinds = {
        "MobileNetV2": network,
        "MobileNetV2, 32 components": reduced,
        "ShapeStatistics": outlined(ShapeStatistics(on_missing="nan")),
        "BIRADSFeatures": outlined(birads),
        "MobileNetV2 + BIRADSFeatures": FeatureUnion(
            [("network", reduced), ("birads", outlined(birads))]
        ),
    }
    pipelines = {
        name: make_pipeline(features, StandardScaler(), classifier)
        for name, features in kinds.items()
    }
    options = {"groups": data["groups"], "cv": splits, "target_names": ["benign", "malignant"]}
    result = evaluate(pipelines, data["images"], data["y"], masks=data["masks"], **options)
    report("Masks of a U-Net", result, "MobileNetV2, 32 components")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--folder", type=Path, default=tempfile.gettempdir(), metavar="DIR")
    parser.add_argument("--choose", action="store_true")
    options = parser.parse_args()
    KEPT["folder"] = Path(options.folder)
    KEPT["folder"].mkdir(parents=True, exist_ok=True)
    busi = load_busi(options.data / "busi", groups=options.data / "busi" / "groups.csv")
    lesion = np.flatnonzero(busi.target < 2)
    data = {"images": busi.images[lesion], "masks": busi.masks[lesion], "y": busi.target[lesion]}
    data["groups"] = np.asarray(busi.groups)[lesion]
    masked, first = load_masked(busi, lesion), is_first_half(data["groups"])
    chosen = [image for image, use in zip(masked, first) if use]
    width, name = choose(chosen, data["y"][first], data["groups"][first])
    weights = options.data / "weights"
    training = choose_training(data, first, weights)
    print(f"chosen: band_width={width}, {name}; U-Net: {training}")
    if options.choose:
        return
    learning, held = np.flatnonzero(first), np.flatnonzero(~first)
    splitter = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    folds = splitter.split(held, data["y"][held], data["groups"][held])
    splits = [(np.r_[learning, held[train]], held[test]) for train, test in folds]
    network = FeatureBus(make_network(weights), memory=KEPT["folder"] / "rows.sqlite")
    judge_experts(data, masked, splits, width, CLASSIFIERS[name], network)
    judge_unet(data, splits, width, CLASSIFIERS[name], network, make_unet(weights, *training))


if __name__ == "__main__":
    main()
