"""A grid search with network features: FeatureBus against the ways that scikit-learn has.

Needs the folders `busi` and `weights` in the folder that FEATBUS_TEST_DATA names. Prints, for each
way, how often an image went through the network, and its time as a multiple of one extraction and
the same search on the rows: the median of three turns, and each turn's.

    python benchmarks/comparisons/feature_bus_grid_search.py [number of images]
"""

import itertools
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import DeepFeatures, FeatureBus, load_busi
from featbus.networks import KerasEngine

DATA = Path(os.environ["FEATBUS_TEST_DATA"])
WEIGHTS = DATA / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
GRID = [
    {"classifier": [SVC()], "classifier__C": [0.1, 0.3, 1, 3, 10, 30]},
    {
        "classifier": [RandomForestClassifier(100, random_state=0)],
        "classifier__max_depth": [3, 4, 5, 6, 7, 8],
    },
]
passes = 0


def count_passes():
    """Count the images that go through a network in this process."""
    run = KerasEngine.run

    def counting(self, pixels, *arguments):
        global passes
        passes += len(pixels)
        return run(self, pixels, *arguments)

    KerasEngine.run = counting


def features():
    return DeepFeatures("mobilenet_v2", weights=WEIGHTS, backbone_options={"alpha": 0.35})


def search(step, X, y, groups, memory=None):
    steps = [("features", step), ("scale", StandardScaler()), ("classifier", SVC())]
    pipeline = Pipeline(steps, memory=memory)
    # One fit less: the last one, on all images, is the same work for all.
    return GridSearchCV(pipeline, GRID, cv=StratifiedGroupKFold(5), refit=False).fit(
        X, y, groups=groups
    )


def main(n_images):
    data = load_busi(DATA / "busi", groups=DATA / "busi" / "groups.csv")
    chosen = np.random.default_rng(0).permutation(len(data.images))[:n_images]
    paths, y, groups = data.images[chosen], data.target[chosen], data.groups[chosen]
    count_passes()
    features().transform(paths[:32])  # builds the network, which all sides share
    with tempfile.TemporaryDirectory() as name:
        folder, turns = Path(name), itertools.count()
        store = folder / "warm.sqlite"
        FeatureBus(features(), memory=store).fit_transform(paths)
        few = {
            "one extraction, search on rows": lambda: search(
                "passthrough", features().transform(paths), y, groups
            ),
            "FeatureBus, cold store": lambda: search(
                FeatureBus(features(), memory=folder / f"{next(turns)}.sqlite"), paths, y, groups
            ),
            "FeatureBus, warm store": lambda: search(
                FeatureBus(features(), memory=store), paths, y, groups
            ),
        }
        many = {
            "Pipeline(memory=...)": lambda: search(
                features(), paths, y, groups, memory=str(folder / "joblib")
            ),
            "Pipeline": lambda: search(features(), paths, y, groups),
        }
        print(f"{n_images} images, 5 folds x 12 candidates, {os.cpu_count()} cores")
        print(f"{'':32}{'passes per image':>18}{'seconds':>10}{'ratio':>8}")
        # The long ones once: they are far from the others.
        runs = [run(few) for _ in range(3)]
        report(runs, n_images)
        report([run(many)], n_images, runs)


def run(sides):
    """Return passes, seconds and scores of each side."""
    global passes
    results = {}
    for name, side in sides.items():
        passes, start = 0, time.perf_counter()
        scores = side().cv_results_["mean_test_score"]
        results[name] = passes, time.perf_counter() - start, scores
    return results


def report(runs, n_images, base=None):
    base = base or runs
    first = next(iter(base[0]))
    for name, (passes, _, scores) in runs[0].items():
        np.testing.assert_allclose(scores, base[0][first][2], atol=1e-9)
        seconds = np.array([turn[name][1] for turn in runs])
        ratios = seconds / [turn[first][1] for turn in base][: len(runs)]
        row = (
            f"{name:32}{passes / n_images:18.2f}{np.median(seconds):10.1f}{np.median(ratios):8.2f}"
        )
        print(row, *(f"{ratio:.2f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 120)
