"""HOG against `skimage.feature.hog`: same parameters, same numbers."""

import numpy as np
from _interleaved import compare
from skimage.feature import hog

from featbus import HOG

images = np.random.default_rng(0).integers(0, 255, (16, 224, 224), dtype=np.uint8)
extractor = HOG().fit(images)


def featbus():
    return extractor.transform(images)


def scikit_image():
    return np.stack([hog(image) for image in images]).astype(np.float32)


np.testing.assert_allclose(featbus(), scikit_image(), rtol=1e-4, atol=1e-5)
print("16 images of 224 x 224 pixels, uint8; results agree")
compare(
    {"featbus": featbus, "scikit-image": scikit_image},
    packages=["featbus", "scikit-image", "numpy"],
    threads="both use one",
)
