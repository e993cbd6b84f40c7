"""FeatureBus: peak memory for ten times as many images of 1024 x 1024 pixels from disk.

python benchmarks/comparisons/feature_bus_memory.py
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from sklearn.pipeline import make_pipeline, make_union

from featbus import LBP, FeatureBus, IntensityStatistics, Resize


def write_images(folder, n_files=40):
    """Write some images, and names for 2,000: without a store, each name is work of its own."""
    rng = np.random.default_rng(0)
    for index in range(n_files):
        noise = rng.integers(0, 256, (64, 64)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{index}.pgm"), cv2.resize(noise, (1024, 1024)))
    for index in range(2000):
        os.symlink(folder / f"{index % n_files}.pgm", folder / f"scan-{index:04d}.pgm")


def peak(folder, n_images):
    """Return the peak memory in MB of a process that extracts features, less its rows."""
    command = [sys.executable, __file__, str(folder), str(n_images)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def extract(folder, n_images):
    """Extract features, and print this process's peak memory in MB, less the rows."""
    paths = sorted(Path(folder).glob("scan-*.pgm"))[:n_images]
    transformer = make_pipeline(Resize((256, 256)), make_union(LBP(), IntensityStatistics()))
    rows = FeatureBus(transformer, n_jobs=2).fit_transform(paths)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(kilobytes / 1024 - rows.nbytes / 2**20)


def main():
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name))
        few, many = peak(Path(name), 200), peak(Path(name), 2000)
    print(f"200 images: {few:.0f} MB, 2,000 images: {many:.0f} MB, ratio {many / few:.2f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        extract(sys.argv[1], int(sys.argv[2]))
    else:
        main()
