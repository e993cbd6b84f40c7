"""Which features of lesions in breast ultrasound are robust, and whether selecting them helps.

python benchmarks/comparisons/robustness.py DATA [--images 40] [--only table|scores]

DATA has the folders ``busi``, with ``groups.csv``, and ``weights``. Images are cropped to the
lesion, as an expert outlined it, and 30 % of its height and width at each side.

"table" writes ``docs/user_guide/robustness*.csv``: the robustness of each family on lesions that
are drawn with a fixed seed, one of each group of near-duplicates, with the default perturbations.
HOG and MobileNetV2 (alpha 0.35, three stages) see a square crop around the mask, which moves with
it; all others the masked image. Cells of perturbations: share of columns with an ICC of at least
0.75, and of at least 0.9. Columns that are constant are left out.

"scores" prints the ROC AUC, benign or malignant, with and without `SelectRobust`. Groups are halved
at random. On the first half, `min_icc` is chosen by the mean AUC of five grouped folds; a support
vector machine has the defaults of scikit-learn and balanced class weights. Pipelines fitted on this
half are judged once on the second half, with the outlines of the experts and with outlines that are
perturbed ("contour", as another reader might draw them).
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline, make_union
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
    IntensityStatistics,
    IntensityVolumeHistogram,
    ROICropper,
    SelectRobust,
    ShapeStatistics,
    evaluate,
    feature_robustness,
    load_busi,
    load_masked,
)
from featbus.masks import inside_mask
from featbus.model_selection import PERTURBATIONS

TABLE = Path(__file__).resolve().parents[2] / "docs" / "user_guide" / "robustness.csv"
TABLES = {  # the suffixes of the files, and the columns of each
    "": ["columns", "median ICC", "kept", "overall"],
    "_outline": ["grow", "shrink", "contour"],
    "_image": ["rotation", "translation", "noise", "spacing"],
}
FIXED = {"levels": 16, "intensity_range": (0, 1)}
MARGIN = 0.3


def make_families(weights):
    """Return the extractors, by the name that the table gives them."""
    network = DeepFeatures(
        "mobilenet_v2",
        backbone_options={"alpha": 0.35},
        weights=weights / "mobilenet_v2_0.35_224_no_top.weights.h5",
        layers=["C3", "C4", "C5"],
    )
    return {
        ":class:`~featbus.IntensityStatistics`": IntensityStatistics(),
        ":class:`~featbus.IntensityVolumeHistogram`": IntensityVolumeHistogram(),
        ":class:`~featbus.GLCM`": GLCM(),
        "the same, fixed levels": GLCM(**FIXED),
        ":class:`~featbus.GLRLM`": GLRLM(),
        ":class:`~featbus.GLSZM`": GLSZM(),
        "the same, fixed levels ": GLSZM(**FIXED),
        ":class:`~featbus.GLDZM`": GLDZM(),
        ":class:`~featbus.NGTDM`": NGTDM(),
        ":class:`~featbus.NGLDM`": NGLDM(),
        ":class:`~featbus.LBP`": LBP(n_points=(8, 16, 24), radius=(1, 2, 3)),
        ":class:`~featbus.HOG`": make_pipeline(
            ROICropper(None, size=224), HOG(pixels_per_cell=32, cells_per_block=2)
        ),
        ":class:`~featbus.ShapeStatistics`": ShapeStatistics(),
        ":class:`~featbus.DeepFeatures`, MobileNetV2": make_pipeline(
            ROICropper(None, size=224), network
        ),
    }


def crop(image):
    """Return a masked image around its region."""
    region = inside_mask(image)
    left, top, width, height = cv2.boundingRect(region.view(np.uint8))
    down, across = round(MARGIN * height), round(MARGIN * width)
    rows = slice(max(top - down, 0), top + height + down)
    return image[rows, max(left - across, 0) : left + width + across]


def draw_lesions(data, n_images):
    """Return the positions of lesions, one of each group, drawn with a fixed seed."""
    rng = np.random.default_rng(0)
    order = rng.permutation(np.flatnonzero(data.target < 2))
    _, first = np.unique(np.asarray(data.groups)[order], return_index=True)
    return order[np.sort(first)[:n_images]]


def share(iccs):
    """Return the share of columns with an ICC of at least 0.75, and of at least 0.9, as text."""
    return " / ".join(f"{np.mean(iccs >= limit):.0%}" for limit in (0.75, 0.9))


def describe(table):
    """Return the row of a family."""
    table = table[table["overall", "icc"].notna()]
    icc, low, high = table["overall"].median()
    row = {
        "columns": len(table),
        "median ICC": f"{icc:.2f} ({low:.2f} to {high:.2f})",
        "kept": f"{np.mean(table['overall', 'low'] >= 0.75):.0%}",
    }
    names = table.columns.get_level_values(0).unique()
    return row | {name: share(table[name, "icc"].dropna()) for name in names}


def make_table(families, data, n_images):
    """Return the table of families."""
    images = [crop(image) for image in load_masked(data, draw_lesions(data, n_images))]
    sides = np.median([image.shape[:2] for image in images], axis=0)
    print(f"{len(images)} lesions, median {sides} pixels", flush=True)
    tables = {name: feature_robustness(family, images) for name, family in families.items()}
    for name, table in tables.items():
        icc = table["overall", "icc"].sort_values()
        print(name, *(f"{column} {value:.2f}" for column, value in icc[:3].items()), sep="\n  ")
    found = pd.DataFrame({name: describe(table) for name, table in tables.items()}).T
    found.index = found.index.str.strip()
    return found.rename_axis("features")


def print_scores(families, data, memory):
    """Print what SelectRobust changes on the half of the groups that was not used to choose."""
    lesion = np.flatnonzero(data.target < 2)
    images = np.empty(len(lesion), dtype=object)
    images[:] = [crop(image) for image in load_masked(data, lesion)]
    y, groups = data.target[lesion], np.asarray(data.groups)[lesion]
    unique = np.unique(groups)
    first = np.isin(groups, np.random.default_rng(1).permutation(unique)[: len(unique) // 2])
    *texture, shape, network = [each for name, each in families.items() if "same" not in name]
    sets = {"texture": make_union(*texture), "shape": shape, "MobileNetV2": network}
    pipelines = {}
    for name, extractor in sets.items():
        bus = FeatureBus(extractor, memory=memory)
        classifier = [StandardScaler(), SVC(class_weight="balanced")]
        search = GridSearchCV(
            make_pipeline(SelectRobust(bus), *classifier),
            {"selectrobust__min_icc": [0.5, 0.75, 0.9]},
            scoring="roc_auc",
            cv=StratifiedGroupKFold(5, shuffle=True, random_state=0),
        ).fit(images[first], y[first], groups=groups[first])
        chosen = search.best_estimator_[0]
        support = chosen.get_support()
        scores = search.cv_results_["mean_test_score"].round(3).tolist()
        print(f"{name}: {scores} for min_icc 0.5, 0.75, 0.9", end="; ")
        print(f"min_icc {chosen.min_icc} keeps {support.sum()} of {len(support)}", flush=True)
        pipelines[name] = make_pipeline(bus, *classifier).fit(images[first], y[first])
        pipelines[f"{name}, robust"] = search.best_estimator_
    others = np.empty(np.count_nonzero(~first), dtype=object)
    rng = np.random.default_rng(2)
    others[:] = [PERTURBATIONS["contour"](image, rng) for image in images[~first]]
    for title, test in (("experts", images[~first]), ("perturbed", others)):
        result = evaluate(pipelines, test, y[~first], groups=groups[~first], cv="prefit")
        print(f"outlines: {title}; {len(test)} lesions\n{result.to_frame().filter(like='roc_auc')}")
        for name in sets:
            pairs = result.compare("roc_auc", baseline=name)
            print(pairs[pairs["first"] == f"{name}, robust"].round(3).to_string())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--only", choices=["table", "scores"])
    options = parser.parse_args()
    cv2.setNumThreads(1)
    data = load_busi(options.data / "busi", groups=options.data / "busi" / "groups.csv")
    families = make_families(options.data / "weights")
    if options.only != "scores":
        table = make_table(families, data, options.images)
        for suffix, columns in TABLES.items():
            table[columns].to_csv(TABLE.with_stem(f"{TABLE.stem}{suffix}"))
        print(table.to_string(), flush=True)
    if options.only != "table":
        with tempfile.TemporaryDirectory() as folder:
            print_scores(families, data, Path(folder) / "features.sqlite")


if __name__ == "__main__":
    main()
