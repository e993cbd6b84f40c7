"""FeatureBus.to_parquet: what a million images would take, from what a few hundred take.

Needs the folders `busi` and `weights` in the folder that FEATBUS_TEST_DATA names. Writes features
of a network without a store, with a cold and with a warm one; prints images a second, bytes an
image, and both times a million.

    python benchmarks/comparisons/parquet_estimate.py [number of images]
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _interleaved import _machine

from featbus import DeepFeatures, FeatureBus, load_busi

DATA = Path(os.environ["FEATBUS_TEST_DATA"])
WEIGHTS = DATA / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
MILLION = 1_000_000
N_TURNS = 3


def seconds(bus, paths, directory):
    start = time.perf_counter()
    bus.to_parquet(paths, directory, partition_bytes=2**40)  # one partition
    return time.perf_counter() - start


def size(*files):
    return sum(file.stat().st_size for file in files)


def main(n_images=480):
    data = load_busi(DATA / "busi", groups=DATA / "busi" / "groups.csv")
    paths = np.random.default_rng(0).permutation(data.images)[:n_images]
    network = DeepFeatures("mobilenet_v2", weights=WEIGHTS, backbone_options={"alpha": 0.35})
    network.transform(paths[:32])  # builds the network, once for all images
    times = {"without a store": [], "cold store": [], "warm store": []}
    with tempfile.TemporaryDirectory() as name:
        for turn in map(str, range(N_TURNS)):
            folder = Path(name, turn)
            bus = FeatureBus(network, memory=folder / "features.sqlite")
            folder.mkdir()
            times["without a store"].append(seconds(FeatureBus(network), paths, folder / "plain"))
            times["cold store"].append(seconds(bus, paths, folder / "cold"))
            times["warm store"].append(seconds(bus, paths, folder / "warm"))
        sizes = {
            "image files": size(*map(Path, paths)),
            "rows in memory": network.transform(paths[:1]).nbytes * len(paths),
            "Parquet": size(*folder.glob("cold/*.parquet")),
            "store": size(*folder.glob("features.sqlite*")),
        }
    print(_machine(["featbus", "tensorflow", "pyarrow"], "default"))
    print(f"{len(paths)} images of BUSI, MobileNetV2 (alpha 0.35, 224 x 224), 1,280 float32")
    for name, durations in times.items():
        duration = np.median(durations)
        hours = duration / len(paths) * MILLION / 3600
        print(f"{name:16} {len(paths) / duration:8.1f} images/s {hours:8.2f} h a million")
    for name, n_bytes in sizes.items():
        gigabytes = n_bytes / len(paths) * MILLION / 1e9
        print(f"{name:16} {n_bytes / len(paths):8.0f} bytes/image {gigabytes:6.2f} GB a million")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
