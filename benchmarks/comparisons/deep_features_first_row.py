"""DeepFeatures: time and peak memory of the first row in a fresh process, on every engine.

python benchmarks/comparisons/deep_features_first_row.py [NETWORK] [--repeats 3]

From the start of Python to the first row, imports included. Converted networks come
from the cache, which an earlier process has filled.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

ENGINES = ("keras", "openvino")


def first_row(network, engine, weights):
    """Compute one row; print the seconds since `fit`, and the peak memory in MB."""
    from featbus import DeepFeatures

    image = np.random.default_rng(0).integers(0, 256, (1, 480, 640), dtype=np.uint8)
    deep = DeepFeatures(network, weights=weights, engine=engine).fit(image)
    start = time.perf_counter()
    deep.transform(image)
    seconds = time.perf_counter() - start
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(seconds, kilobytes / 1024, "tensorflow" in sys.modules)


def in_a_process(*arguments):
    """Return what this script prints in a process of its own.

    This one imports no TensorFlow: a process is never smaller than the one that started it.
    """
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def measure(*arguments):
    """Return seconds in all, seconds after `fit`, MB, and whether TensorFlow was imported."""
    start = time.perf_counter()
    seconds, megabytes, tensorflow = in_a_process(*arguments)
    return time.perf_counter() - start, float(seconds), float(megabytes), tensorflow == "True"


def save_weights(network, path):
    """Write a file of random weights, so that converted networks go by its digest."""
    from featbus.networks import BACKBONES, KerasApplication

    size = (BACKBONES[network].input_size,) * 2
    KerasApplication(network, size).build().save_weights(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network", nargs="?", default="mobilenet_v2")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEATBUS_CACHE"] = folder
        weights = str(Path(folder, "network.weights.h5"))
        in_a_process(arguments.network, "weights", weights)
        print(f"{arguments.network}: the first row of a fresh process")
        for engine in ENGINES:
            if not find_spec(engine):
                print(f"{engine} is not installed: left out")
                continue
            measure(arguments.network, engine, weights)
            runs = [measure(arguments.network, engine, weights) for _ in range(arguments.repeats)]
            whole, after, memory, imported = map(statistics.median, zip(*runs))
            print(
                f"{engine:12} {whole:6.2f} s in all, {after:6.2f} s after fit, {memory:6.0f} MB, "
                f"TensorFlow {'imported' if imported else 'not imported'}"
            )


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[2] in ENGINES:
        first_row(*sys.argv[1:])
    elif len(sys.argv) == 4 and sys.argv[2] == "weights":
        save_weights(sys.argv[1], sys.argv[3])
    else:
        main()
