"""Evaluation: eight pipelines on BUSI in grouped five-fold cross-validation, timed by parts.

Needs the folders `busi` and `weights` in the folder FEATBUS_TEST_DATA. Four classifiers learn from
hand-crafted features, with and without those of a network. Prints the seconds of a first run, of a
second run that reads the rows from the store, and of intervals and comparisons.

    python benchmarks/comparisons/evaluate_pipelines.py [number of images]
"""

import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from featbus import DeepFeatures, evaluate, load_busi
from featbus.recipes import classifier_pipelines, fused_features

DATA = Path(os.environ["FEATBUS_TEST_DATA"])
WEIGHTS = DATA / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"


def make_pipelines():
    """Return pipelines of four classifiers and two sets of features."""
    deep = DeepFeatures("mobilenet_v2", weights=WEIGHTS, backbone_options={"alpha": 0.35})
    features = {"": fused_features(), " + network": fused_features(deep=deep)}
    return {
        name + suffix: pipeline
        for suffix, steps in features.items()
        for name, pipeline in classifier_pipelines(features=steps).items()
    }


def timed(label, job):
    start = time.perf_counter()
    result = job()
    print(f"{label:40}{time.perf_counter() - start:8.1f} s", flush=True)
    return result


def main(n_images):
    data = load_busi(DATA / "busi", groups=DATA / "busi" / "groups.csv")
    chosen = np.random.default_rng(0).permutation(len(data.images))[:n_images]
    images, y, groups = data.images[chosen], data.target[chosen], data.groups[chosen]
    print(f"{platform.machine()}, {os.cpu_count()} cores, n_jobs=2, {len(images)} images")
    with tempfile.TemporaryDirectory() as folder:

        def run():
            return evaluate(
                make_pipelines(),
                images,
                y,
                groups=groups,
                target_names=data.target_names,
                memory=Path(folder) / "features.sqlite",
                n_jobs=2,
            )

        timed("evaluate 8 pipelines, empty store", run)
        result = timed("evaluate 8 pipelines, features cached", run)
    timed("intervals", result.to_frame)
    comparison = timed("comparison of all pairs", result.compare)
    print(f"\n{result}\n\n{comparison.round(3).to_string()}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 480)
