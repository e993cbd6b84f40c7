"""What each kind of features costs, and what it tells of breast ultrasound: a table of the guide.

python benchmarks/comparisons/which_features.py DATA [--memory STORE]

Writes ``docs/user_guide/which_features.csv``. DATA has the folders ``busi``, with the table
``groups.csv`` of near-duplicates, and ``weights``: MobileNetV2 (alpha 0.35) and VGG16 of ImageNet,
and an InceptionV3 that was trained on other photographs. STORE keeps the features.

ROC AUC: a scaler and a support vector machine with the defaults of scikit-learn and balanced class
weights, the same for all features and never tuned, in five grouped folds; intervals of 95 % are
those of `featbus.evaluate`. Time: processor time of all threads, the median of three turns on every
eighth image with a lesion. These images are read and reduced to 224 x 224 pixels beforehand, except
for the shapes, which are those of the masks at full size, and the recipe, which resizes its images
itself. With ``OMP_NUM_THREADS=1``, it is the time of one core.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from _interleaved import compare
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import (
    GLCM,
    GLDZM,
    GLRLM,
    GLSZM,
    HOG,
    LBP,
    NGLDM,
    NGTDM,
    DeepFeatures,
    FeatureBus,
    FourierEnergy,
    FractalDimension,
    IntensityStatistics,
    IntensityVolumeHistogram,
    Resize,
    ShapeStatistics,
    VisualWords,
    ZernikeMoments,
    evaluate,
    load_busi,
    load_masked,
)
from featbus.recipes import breast_ultrasound_features, fused_features, recipe_features

TABLE = Path(__file__).resolve().parents[2] / "docs" / "user_guide" / "which_features.csv"
SIZE = 224  # pixels
SHAPE = ":class:`~featbus.ShapeStatistics` of masks"
RECIPE = ":func:`~featbus.recipes.breast_ultrasound_features`, MobileNetV2"
BOTH = "the same, VGG16 and MobileNetV2"
WHOLE = (RECIPE, BOTH)  # resize images themselves


def make_features(weights):
    """Return what turns images of `SIZE` into rows, by the name that the table gives it."""
    features = {
        ":class:`~featbus.IntensityStatistics`": IntensityStatistics(),
        ":class:`~featbus.GLCM`": GLCM(distances=(1, 2, 4)),
        ":class:`~featbus.GLRLM`": GLRLM(),
        ":class:`~featbus.GLSZM`": GLSZM(),
        ":class:`~featbus.LBP`": LBP(n_points=(8, 16, 24), radius=(1, 2, 3)),
        ":class:`~featbus.HOG`": HOG(pixels_per_cell=32, cells_per_block=2),
        "these six together": fused_features(),
        ":class:`~featbus.GLDZM`": GLDZM(),
        ":class:`~featbus.NGTDM`": NGTDM(),
        ":class:`~featbus.NGLDM`": NGLDM(),
        ":class:`~featbus.IntensityVolumeHistogram`": IntensityVolumeHistogram(),
        ":class:`~featbus.VisualWords`, DAISY": VisualWords(),
        ":class:`~featbus.VisualWords`, SIFT": VisualWords("sift"),
        ":class:`~featbus.FractalDimension`": FractalDimension(),
        ":class:`~featbus.FourierEnergy`": FourierEnergy(),
        ":class:`~featbus.ZernikeMoments`": ZernikeMoments(),
    }
    stages = {"layers": ["C3", "C4", "C5"], "pooling": ["avg", "max"]}
    mobilenet = {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}}
    mobilenet |= {"weights": weights / "mobilenet_v2_0.35_224_no_top.weights.h5"}
    inception = weights / "inception_v3_photographs_no_top.weights.h5"
    networks = {
        "MobileNetV2": DeepFeatures(**mobilenet, **stages),
        "VGG16": DeepFeatures("vgg16", weights=weights / "vgg16_224_no_top.weights.h5", **stages),
        "InceptionV3 (photographs)": DeepFeatures("inception_v3", weights=inception, **stages),
    }
    pair = [(name, networks[name]) for name in ("VGG16", "MobileNetV2")]
    features[":class:`~featbus.DeepFeatures`, MobileNetV2, last map"] = DeepFeatures(**mobilenet)
    features |= {f"{name}, three stages": network for name, network in networks.items()}
    features["VGG16 and MobileNetV2"] = FeatureUnion(pair)
    features["all three networks"] = FeatureUnion([*networks.items()])
    for name, backbone in ((RECIPE, mobilenet), (BOTH, [network for _, network in pair])):
        features[name] = recipe_features(breast_ultrasound_features(backbone=backbone)).transformer
    return features


def keep(steps, memory):
    """Return features that store the rows of each network once, whatever it is combined with."""
    if isinstance(steps, DeepFeatures):
        return FeatureBus(steps, memory=memory)
    if not isinstance(steps, FeatureUnion):
        return steps
    parts = [(name, getattr(part, "transformer", part)) for name, part in steps.transformer_list]
    return FeatureUnion([(name, FeatureBus(part, memory=memory)) for name, part in parts])


def make_pipelines(features, memory):
    """Return each kind of features before the classifier that is the same for all."""
    features = {name: keep(steps, memory) for name, steps in features.items()}
    return {
        name: make_pipeline(
            steps if name in (*WHOLE, SHAPE) else make_pipeline(Resize(SIZE), steps),
            StandardScaler(),
            SVC(class_weight="balanced"),
        )
        for name, steps in features.items()
    }


def judge(features, images, y, groups, memory):
    """Print how each kind of features was judged, and return the metrics."""
    pipelines = make_pipelines(features, memory)
    result = evaluate(pipelines, images, y, groups=groups, memory=memory)
    print(f"{result.protocol}\n", flush=True)
    return result.to_frame()


def measure(features, masked):
    """Return the milliseconds that each kind of features takes per image."""
    images = [np.ma.getdata(image) for image in masked]
    prepared = {SHAPE: masked} | dict.fromkeys(WHOLE, images)
    small = Resize(SIZE).fit_transform(images)
    sides = {}
    for name, steps in features.items():
        chosen = prepared.get(name, small)
        sides[name] = partial(steps.fit(chosen).transform, chosen)
    times = compare(sides, repeats=3, threads="processor time", clock=time.process_time)
    return {name: 1e3 * np.median(turns) / len(images) for name, turns in times.items()}


def make_cell(scores, name, metric):
    """Return a metric and its interval as text; nothing where there are no scores."""
    if name not in scores.index:
        return ""
    mean, _, low, high = scores.loc[name].filter(regex=f"^{metric}")
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def make_table(features, data, memory):
    """Return the table as text: one row per kind of features."""
    lesion = data.target != data.target_names.index("normal")
    y, groups, masked = data.target[lesion], data.groups[lesion], load_masked(data, lesion)
    shape = {SHAPE: ShapeStatistics()}
    three = judge(features, data.images, data.target, data.groups, memory)
    two = judge(features, data.images[lesion], y, groups, memory)
    two = pd.concat([two, judge(shape, masked, y, groups, memory)])
    features = features | shape
    times = measure(features, masked[::8])
    table = pd.DataFrame(index=pd.Index(features, name="features"))
    table["columns"] = [f"{len(steps.get_feature_names_out()):,}" for steps in features.values()]
    table["ms per image"] = [f"{float(f'{times[name]:.2g}'):g}" for name in features]
    for title, scores, metric in (
        ("ROC AUC, three classes", three, "roc_auc"),
        ("ROC AUC, benign or malignant", two, "roc_auc"),
    ):
        table[title] = [make_cell(scores, name, metric) for name in features]
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DATA")
    parser.add_argument("--memory", type=Path, metavar="STORE")
    parser.add_argument("--output", type=Path, default=TABLE, metavar="CSV")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    data = load_busi(arguments.folder / "busi", groups=arguments.folder / "busi" / "groups.csv")
    table = make_table(make_features(arguments.folder / "weights"), data, arguments.memory)
    table.to_csv(arguments.output)
    print(table.to_string())


if __name__ == "__main__":
    main()
