"""FeatureStore: rows per second, bytes digested per second, and the cost of a cold store.

Needs the folders `busi` and `weights` in the folder that FEATBUS_TEST_DATA names for the last part.

    python benchmarks/comparisons/feature_store_throughput.py
"""

import itertools
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from _interleaved import compare

from featbus import DeepFeatures, FeatureBus, FeatureStore, load_busi
from featbus.bus import digest_image

N_ROWS, WIDTH = 20_000, 1280


def rows_per_second(folder):
    rows = np.random.default_rng(0).normal(size=(N_ROWS, WIDTH)).astype(np.float32)
    digests = [os.urandom(16) for _ in range(N_ROWS)]
    with FeatureStore(folder / "rows.sqlite") as store:
        for start in range(0, N_ROWS, 32):
            part = slice(start, start + 32)
            store.write(b"transformer", "a transformer", digests[part], rows[part])
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            found = store.read(b"transformer", digests)
            seconds.append(time.perf_counter() - start)
    assert len(found) == N_ROWS
    print(f"warm store: {N_ROWS / np.median(seconds):,.0f} rows of {WIDTH} float32 a second")


def digested_per_second(folder):
    paths = [folder / f"{index}.bin" for index in range(64)]
    for path in paths:
        path.write_bytes(os.urandom(4 << 20))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        for path in paths:
            digest_image(path)
        seconds.append(time.perf_counter() - start)
    print(f"digesting files: {64 * (4 << 20) / np.median(seconds) / 1e9:.2f} GB a second")


def overhead_of_a_cold_store(folder, data):
    weights = data / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
    paths = load_busi(data / "busi", groups=data / "busi" / "groups.csv").images[:192]
    deep = DeepFeatures("mobilenet_v2", weights=weights, backbone_options={"alpha": 0.35})
    bus, new = FeatureBus(deep), itertools.count()
    compare(
        {
            "FeatureBus without a store": lambda: bus.fit_transform(paths),
            "FeatureBus with a cold store": lambda: FeatureBus(
                deep, memory=folder / f"{next(new)}.sqlite"
            ).fit_transform(paths),
        },
        repeats=41,
        packages=["featbus", "tensorflow", "keras"],
        threads="all cores",
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        rows_per_second(Path(name))
        digested_per_second(Path(name))
        overhead_of_a_cold_store(Path(name), Path(os.environ["FEATBUS_TEST_DATA"]))
