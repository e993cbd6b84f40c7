"""Memory of the process that calls FeatureBus.to_parquet, for 10,000 to 1,000,000 rows.

python benchmarks/comparisons/scale_memory.py [--rows N [N ...]]

A table lists the same thousand small images again and again; two processes of loky compute their
mean and extent. Each number of rows runs in a process of its own, whose largest resident memory is
printed, together with that after the imports and the first 1,000 rows.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from featbus import FeatureBus, FeatureTable, IntensityStatistics

N_IMAGES = 1_000


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(folder, n_rows):
    """Write the rows, in this process and its workers; print the memory of this process."""
    table = folder / f"{n_rows}.csv"
    with table.open("w") as file:
        file.write("path,group,label\n")
        for row in range(n_rows):
            image = row % N_IMAGES
            file.write(f"{folder}/{image}.png,{row // 4},{'ab'[row % 2]}\n")
    bus = FeatureBus(IntensityStatistics(), n_jobs=2)
    first = peak()
    start = time.perf_counter()
    written = bus.to_parquet(table, folder / f"rows{n_rows}", executor="loky")
    minutes = (time.perf_counter() - start) / 60
    after = peak()
    print(
        f"{n_rows:9,} rows, {len(written.manifest)} partitions, {minutes:5.1f} minutes: peak "
        f"{after:.0f} MB, {first:.0f} MB before",
        flush=True,
    )
    assert len(FeatureTable(folder / f"rows{n_rows}")) == n_rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is not None:
        run(options.folder, *options.rows)
        return
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for image in range(N_IMAGES):
            pixels = rng.integers(0, 256, (16, 16), dtype=np.uint8)
            cv2.imwrite(f"{folder}/{image}.png", pixels)
        for n_rows in options.rows:
            command = [sys.executable, __file__, "--folder", folder, "--rows", str(n_rows)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
