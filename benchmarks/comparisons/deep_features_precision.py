"""What bfloat16 saves and what it changes: DeepFeatures(precision="bf16") against "fp32".

python benchmarks/comparisons/deep_features_precision.py BUSI_DIR --weights FILE [NETWORK ...]

FILE has the ImageNet weights of MobileNetV2 (alpha 0.35) without its classifier; the other networks
have random weights with calibrated batch normalization. Both precisions run on OpenVINO, turn by
turn, on every 20th image of BUSI_DIR, resized beforehand: processor times of the networks. Besides
them, the cosine of the angle between an image's two rows.

Then the effect on a diagnosis: ROC AUC of a logistic regression on rows of the real network, in
five grouped folds of BUSI_DIR, drawn three times, in both precisions, with the interval of their
difference (1,000 samples of groups).
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from _interleaved import compare
from deep_features_engines import calibrate
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featbus import DeepFeatures, Resize, load_busi
from featbus.networks import BACKBONES, NAMED, KerasApplication

DEFAULT = ("mobilenet_v2", "mobilenet_v3_small", "resnet50", "inception_v3", "vgg16")
PRECISIONS = ("fp32", "bf16")
REAL = {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}}
TAPS = {"layers": ("C3", "C4", "C5"), "pooling": ("avg", "max")}


def random_weights(name, folder):
    """Save random weights of a network; return the path."""
    size = (BACKBONES[name].input_size,) * 2
    base = KerasApplication(name, size).build()
    calibrate(base, NAMED[BACKBONES[name].preprocessing])
    path = folder / f"{name}.weights.h5"
    base.save_weights(path)
    return path


def cosines(rows, expected):
    """Return the cosine of the angle between rows of two arrays."""
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected, axis=1)
    return np.sum(rows * expected, axis=1) / lengths


def make_pair(**parameters):
    """Return an extractor for each precision."""
    return {
        precision: DeepFeatures(**parameters, engine="openvino", precision=precision)
        for precision in PRECISIONS
    }


def compare_network(title, images, repeats, **parameters):
    """Print speed and cosines of a network."""
    pair = make_pair(**parameters)
    size = BACKBONES[parameters["backbone"]].input_size
    pixels = Resize(size).transform(images)
    rows = {precision: deep.fit_transform(pixels) for precision, deep in pair.items()}
    print(f"\n{title}, {size} x {size} pixels, {len(images)} images")
    sides = {name: lambda deep=deep: deep.transform(pixels) for name, deep in pair.items()}
    packages = ("featbus", "openvino")
    times = compare(sides, repeats, packages=packages, clock=time.process_time)
    print(f"bf16 is {np.median(times['fp32'] / times['bf16']):.2f} times as fast")
    angles = cosines(rows["bf16"], rows["fp32"])
    print(f"cosine of rows: median {np.median(angles):.5f}, smallest {angles.min():.5f}")


def predict(rows, y, groups):
    """Return probabilities for images of groups that were not seen, for three sets of folds."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=2000))
    folds = [StratifiedGroupKFold(5, shuffle=True, random_state=seed) for seed in range(3)]
    options = {"groups": groups, "method": "predict_proba"}
    return np.stack([cross_val_predict(model, rows, y, cv=cv, **options) for cv in folds], axis=1)


def area(y, predicted):
    """Return the average ROC AUC over sets of folds and classes, each against the rest."""
    classes = [1] if predicted.shape[2] == 2 else range(predicted.shape[2])
    return np.mean(
        [roc_auc_score(y == c, p[:, c]) for p in np.moveaxis(predicted, 1, 0) for c in classes]
    )


def bootstrap(y, groups, predicted, n_samples=1000):
    """Return the 95 % interval of the difference of AUC over samples of groups."""
    rng, members = np.random.default_rng(0), {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    members, differences = list(members.values()), []
    for _ in range(n_samples):
        chosen = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        areas = [area(y[chosen], predicted[name][chosen]) for name in PRECISIONS]
        differences.append(areas[1] - areas[0])
    return np.percentile(differences, [2.5, 97.5])


def compare_diagnosis(data, weights):
    """Print the AUC of both precisions, in grouped folds."""
    pair = make_pair(**REAL, **TAPS, weights=weights)
    rows = {precision: deep.fit_transform(data.images) for precision, deep in pair.items()}
    angles = cosines(rows["bf16"], rows["fp32"])
    print(f"\nMobileNetV2 0.35 with ImageNet weights, C3 to C5, {len(angles)} images of BUSI")
    print(f"cosine of rows: median {np.median(angles):.5f}, smallest {angles.min():.5f}")
    groups = np.asarray(data.groups)
    for n_classes, title in ((3, "three classes"), (2, "benign or malignant")):
        chosen = data.target < n_classes
        y, part = data.target[chosen], groups[chosen]
        predicted = {name: predict(values[chosen], y, part) for name, values in rows.items()}
        areas = {name: area(y, values) for name, values in predicted.items()}
        low, high = bootstrap(y, part, predicted)
        print(
            f"{title}: AUC fp32 {areas['fp32']:.4f}, bf16 {areas['bf16']:.4f}, difference "
            f"{areas['bf16'] - areas['fp32']:+.4f} ({low:+.4f} to {high:+.4f})"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("busi")
    parser.add_argument("networks", nargs="*", default=DEFAULT, metavar="NETWORK")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    data = load_busi(arguments.busi, groups=Path(arguments.busi) / "groups.csv")
    images = list(data.images)[::20]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FEATBUS_CACHE"] = str(folder / "cache")
        title = "mobilenet_v2, alpha 0.35, ImageNet weights"
        compare_network(title, images, arguments.repeats, **REAL, weights=arguments.weights)
        for network in arguments.networks:
            weights = random_weights(network, folder)
            compare_network(network, images, arguments.repeats, backbone=network, weights=weights)
        compare_diagnosis(data, arguments.weights)


if __name__ == "__main__":
    main()
