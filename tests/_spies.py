"""Images, and transformers that leave a trace: in a module that worker processes find."""

import os
import time

import cv2
import numpy as np

from featbus import BIRADSFeatures, Resample, ShapeStatistics
from featbus.base import FeatureExtractor
from featbus.color import to_gray
from featbus.masks import inside_mask, with_mask


class CountingMean(FeatureExtractor):
    """Mean brightness and size of an image; writes one byte an image to the file `log`."""

    def __init__(self, *, log, factor=1.0, delay=0.0, dtype=np.float32):
        self.log = log
        self.factor = factor
        self.delay = delay
        self.dtype = dtype

    def _fingerprint_params(self):
        return {"factor": self.factor, "dtype": self.dtype}

    def _extract(self, image):
        time.sleep(self.delay)
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, b".")
        os.close(descriptor)
        return np.array([self.factor * image.mean(), image.size])

    def get_feature_names_out(self, input_features=None):
        return np.array(["mean", "size"], dtype=object)


class ResampleArrays(Resample):
    """Takes 0.1 mm for the spacing of all images, arrays included."""

    def _spacing_of(self, item):
        return 0.1, 0.1


def mask_bright_part(image):
    """Return an image whose region is its brighter half, unless it is masked."""
    if inside_mask(image) is not None:
        return image
    gray = to_gray(image)
    return with_mask(gray, gray >= np.median(gray))


class ShapeOfBrightPart(ShapeStatistics):
    """Takes the brighter half of an image without a mask for its region."""

    def _extract(self, image):
        return super()._extract(mask_bright_part(image))


class LesionOfBrightPart(BIRADSFeatures):
    """Takes the brighter half of an image without a mask for its lesion."""

    def _extract(self, image):
        return super()._extract(mask_bright_part(image))


def noise(n_images, shape=(32, 40), seed=0):
    """Return images of random pixels, as a stack."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n_images, *shape)).astype(np.uint8)


def write_images(folder, images):
    """Write images to files, and return their paths."""
    paths = [folder / f"scan ({index:03d}).png" for index in range(len(images))]
    for path, image in zip(paths, images):
        cv2.imwrite(str(path), image)
    return paths


def count(log):
    """Return the number of images that went through."""
    return os.path.getsize(log) if os.path.exists(log) else 0
