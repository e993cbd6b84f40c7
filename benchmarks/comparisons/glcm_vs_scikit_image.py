"""GLCM against scikit-image's `graycomatrix` and `mahotas.features.haralick`: same counts.

All sides start from the image, and use the same bins, four angles and one thread. featbus computes
25 features, scikit-image seven, mahotas 13.
"""

import itertools
import time

import cv2
import numpy as np
from _interleaved import compare
from skimage.feature import graycomatrix, graycoprops

from featbus import GLCM

try:
    from mahotas.features import haralick
except ImportError:
    haralick = None

ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
PROPERTIES = {
    "contrast": "contrast",
    "dissimilarity": "dissimilarity",
    "homogeneity": "inverse_difference_moment",
    "ASM": "angular_second_moment",
    "energy": None,
    "correlation": "correlation",
    "entropy": None,
}


def bins(image, levels):
    """Return the bins from 0, as quickly as NumPy makes them."""
    low, high = int(image.min()), int(image.max())
    positions = (image - image.dtype.type(low)) * np.float32(levels / (high - low))
    return np.minimum(positions, levels - 1).astype(np.uint8)


def scikit_image(binned, levels):
    matrices = graycomatrix(binned, [1], ANGLES, levels, symmetric=True, normed=True)
    return {name: graycoprops(matrices, name).mean() for name in PROPERTIES}


def compare_one(side, dtype, levels):
    noise = np.random.default_rng(0).rayleigh(0.2, (side, side)).clip(0, 1)
    # Smoothed over a few pixels, as speckle is.
    image = (cv2.GaussianBlur(noise, (0, 0), 1.5) * np.iinfo(dtype).max).astype(dtype)
    glcm = GLCM(levels=levels)
    binned = bins(image, levels)
    sides = {
        "featbus": lambda: glcm.transform([image]),
        "scikit-image": lambda: scikit_image(bins(image, levels), levels),
        "scikit-image, levels given": lambda: scikit_image(binned, levels),
    }
    packages = ["featbus", "scikit-image", "numpy", "opencv-python-headless"]
    if haralick is not None:
        sides["mahotas"] = lambda: haralick(bins(image, levels))
        packages.append("mahotas")
    row = dict(zip(glcm.get_feature_names_out(), glcm.transform([image])[0]))
    for theirs, ours in PROPERTIES.items():
        if ours is not None:
            expected = scikit_image(binned, levels)[theirs]
            # A value on the edge of a bin may round to the other side in single precision.
            np.testing.assert_allclose(row[f"glcm_d1_{ours}"], expected, rtol=1e-3)
    print(f"\n{side} x {side} pixels, {np.dtype(dtype)}, {levels} levels; results agree")
    compare(sides, packages=packages, threads="all use one", clock=time.process_time)


cv2.setNumThreads(1)
for case in itertools.product((256, 1024), (np.uint8, np.uint16), (32, 256)):
    compare_one(*case)
