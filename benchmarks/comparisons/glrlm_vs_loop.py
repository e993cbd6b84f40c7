"""GLRLM and GLSZM against plain loops: same counts.

The loop over runs is `itertools.groupby` on each line; that over levels labels the zones of each
level on its own, as `cv2.connectedComponentsWithStats` finds them. All sides start from the gray
levels and stop at the matrix.

python benchmarks/comparisons/glrlm_vs_loop.py
"""

import time
from functools import partial
from itertools import groupby

import cv2
import numpy as np
from _interleaved import compare

from featbus.feature_extraction._glrlm import run_length_matrix
from featbus.feature_extraction._glszm import size_zone_matrix
from featbus.feature_extraction._texture import gray_levels

PACKAGES = ["featbus", "scikit-image", "numpy", "opencv-python-headless"]


def lines(levels):
    """Return the lines of each of the four directions."""
    diagonals = range(1 - len(levels), levels.shape[1])
    mirrored = levels[:, ::-1]
    return (
        levels.tolist(),
        [levels.diagonal(offset).tolist() for offset in diagonals],
        levels.T.tolist(),
        [mirrored.diagonal(offset).tolist() for offset in diagonals],
    )


def loop_over_runs(levels, n_levels):
    matrices = np.zeros((4, n_levels, max(levels.shape)), np.int64)
    for matrix, of_direction in zip(matrices, lines(levels)):
        for line in of_direction:
            for level, run in groupby(line):
                matrix[level - 1, len(list(run)) - 1] += 1
    return matrices


def loop_over_levels(levels, n_levels):
    matrix = {}
    for level in range(1, n_levels + 1):
        of_level = (levels == level).view(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(of_level, connectivity=8)
        for size, count in zip(*np.unique(stats[1:, cv2.CC_STAT_AREA], return_counts=True)):
            matrix[level - 1, size - 1] = count
    return matrix


def compare_one(side, n_levels):
    noise = np.random.default_rng(0).rayleigh(0.2, (side, side)).clip(0, 1)
    # Smoothed over a few pixels, as speckle is.
    image = (cv2.GaussianBlur(noise, (0, 0), 1.5) * 255).astype(np.uint8)
    levels = gray_levels(image, n_levels)

    runs = run_length_matrix(levels)
    expected = loop_over_runs(levels, n_levels)
    np.testing.assert_array_equal(runs, expected[..., : runs.shape[2]])
    assert runs.sum() == expected.sum()
    zones = size_zone_matrix(levels).todok()
    assert dict(zones.items()) == loop_over_levels(levels, n_levels)

    print(f"\n{side} x {side} pixels, {n_levels} levels; runs, counts agree")
    compare(
        {
            "featbus": partial(run_length_matrix, levels),
            "loop": partial(loop_over_runs, levels, n_levels),
        },
        repeats=5,
        packages=PACKAGES,
        threads="all use one",
        clock=time.process_time,
    )
    print(f"\n{side} x {side} pixels, {n_levels} levels; zones, counts agree")
    compare(
        {
            "featbus": partial(size_zone_matrix, levels),
            "a level at a time": partial(loop_over_levels, levels, n_levels),
        },
        repeats=5,
        packages=PACKAGES,
        threads="all use one",
        clock=time.process_time,
    )


if __name__ == "__main__":
    cv2.setNumThreads(1)
    for side in (256, 1024):
        for n_levels in (32, 256):
            compare_one(side, n_levels)
