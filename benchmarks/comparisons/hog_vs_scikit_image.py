"""HOG against `skimage.feature.hog`: same parameters, same numbers.

python benchmarks/comparisons/hog_vs_scikit_image.py
"""

import time
from functools import partial

import cv2
import numpy as np
from _interleaved import compare
from skimage import data
from skimage.feature import hog

from featbus import HOG


def main():
    cv2.setNumThreads(1)
    for side in (256, 1024):
        image = cv2.resize(data.camera(), (side, side), interpolation=cv2.INTER_CUBIC)
        for stored in (image, image.astype(np.uint16) * 257):
            extractor = HOG().fit([stored])
            np.testing.assert_allclose(extractor.transform([stored])[0], hog(stored), atol=1e-6)
            print(f"\n{side} x {side} pixels, {stored.dtype}")
            compare(
                {
                    "featbus": partial(extractor.transform, [stored]),
                    "scikit-image": partial(hog, stored),
                },
                packages=["featbus", "scikit-image", "numpy", "opencv-python-headless"],
                threads="1",
                clock=time.process_time,
            )


if __name__ == "__main__":
    main()
