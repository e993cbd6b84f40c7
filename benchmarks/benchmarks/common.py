"""The images that all benchmarks share."""

import numpy as np


def speckle(n_images, shape=(224, 224), dtype=np.uint8):
    """Return noise with the histogram of ultrasound: quick to make, and nothing flat in it."""
    rng = np.random.default_rng(0)
    images = np.empty((n_images, *shape), dtype)
    # One by one: peak memory is to be that of the benchmark, not of its setup.
    for image in images:
        image[:] = rng.rayleigh(0.2, shape).clip(0, 1) * np.iinfo(dtype).max
    return images


def disc(image):
    """Return the image with everything but a disc in its middle masked."""
    row, column = (np.linspace(-1, 1, side) for side in image.shape)
    return np.ma.MaskedArray(image, np.hypot(row[:, np.newaxis], column) > 0.5)
