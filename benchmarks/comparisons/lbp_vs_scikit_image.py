"""LBP against `skimage.feature.local_binary_pattern` and a histogram: same codes but for ties."""

import time

import cv2
import numpy as np
from _interleaved import compare
from skimage.feature import local_binary_pattern

from featbus import LBP

# scikit-image uses one thread.
cv2.setNumThreads(1)


def compare_on(image, n_points, radius):
    """Compare the two on one image."""
    extractor = LBP(n_points=n_points, radius=radius, dtype=np.float64)

    def featbus():
        return extractor.transform([image])[0]

    def scikit_image():
        codes = local_binary_pattern(image, n_points, radius, "uniform").astype(np.intp)
        return np.bincount(codes.ravel(), minlength=n_points + 2) / image.size

    # Exact ties, which scikit-image decides by chance, are about one pixel in a thousand.
    np.testing.assert_allclose(featbus(), scikit_image(), atol=2e-3)
    print(f"\n{image.shape[0]} x {image.shape[1]}, {image.dtype}, ({n_points}, {radius})")
    times = compare(
        {"featbus": featbus, "scikit-image": scikit_image},
        repeats=15,
        packages=["featbus", "scikit-image", "numpy"],
        threads="both use one",
        clock=time.process_time,
    )
    return np.median(times["scikit-image"] / times["featbus"])


ratios = {}
generator = np.random.default_rng(0)
for size in (256, 1024):
    for dtype in (np.uint8, np.uint16):
        noise = generator.integers(0, np.iinfo(dtype).max, (size, size), dtype, endpoint=True)
        for scale in ((8, 1), (24, 3)):
            ratios[f"{size:4} {noise.dtype!s:6} {scale!s:7}"] = compare_on(noise, *scale)
print("\nscikit-image's time / featbus's")
for name, ratio in ratios.items():
    print(f"{name}  {ratio:5.1f} x")
