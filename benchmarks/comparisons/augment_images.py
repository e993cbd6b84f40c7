"""ImageAugmenter against a loop over `skimage.transform.warp`, and Keras' `ImageDataGenerator`.

All sides make one copy of each image with the same ranges of rotation, shift, shear, zoom,
brightness and flip, interpolated linearly with the nearest pixel beyond the border, on one thread.
Before, featbus' copies are compared with those that scikit-image makes with the same numbers.
"""

import time

import cv2
import numpy as np
from _interleaved import compare
from skimage.transform import warp

from featbus.augmentation import Augmentation, change_image
from featbus.sampling import ImageAugmenter

try:
    from tensorflow.keras.preprocessing.image import ImageDataGenerator
except ImportError:
    ImageDataGenerator = None

SIDE = 256


def images(n):
    """Return images smoothed over a few pixels, as speckle is."""
    noise = np.random.default_rng(0).rayleigh(0.2, (n, SIDE, SIDE)).clip(0, 1)
    return np.stack(
        [(cv2.GaussianBlur(image, (0, 0), 1.5) * 255).astype(np.uint8) for image in noise]
    )


def scikit_image(image, change):
    """Return what `change_image` does, in the way of scikit-image."""
    if change.element:
        image = image[:, ::-1]
    matrix = np.vstack([change.matrix(image.shape), [0, 0, 1]])
    moved = warp(image, np.linalg.inv(matrix), order=1, mode="edge", preserve_range=True)
    return np.rint(np.minimum(moved * change.brightness, 255)).astype(np.uint8)


def scikit_image_copies(batch):
    rng = np.random.default_rng(0)
    return np.stack([scikit_image(image, Augmentation().draw(rng)) for image in batch])


def keras_copies(batch):
    generator = ImageDataGenerator(
        rotation_range=5,
        width_shift_range=0.1,
        height_shift_range=0.1,
        shear_range=np.rad2deg(0.05),
        brightness_range=(1, 1.4),
        zoom_range=0.05,
        horizontal_flip=True,
        fill_mode="nearest",
    )
    # Its brightness goes through PIL, which wants a channel axis.
    return next(generator.flow(batch[..., np.newaxis], batch_size=len(batch), shuffle=False))


def check(batch):
    rng = np.random.default_rng(1)
    for image in batch[:20]:
        change = Augmentation().draw(rng)
        ours, theirs = change_image(image, change), scikit_image(image, change)
        # Two roundings, and positions that OpenCV 4 rounds to 1/32 pixel.
        assert np.abs(ours.astype(int) - theirs).max() <= 6


cv2.setNumThreads(1)
batch = images(100)
target = np.arange(len(batch)) % 2
check(batch)
sides = {
    "featbus": lambda: ImageAugmenter(1).fit_resample(batch, target),
    "scikit-image": lambda: scikit_image_copies(batch),
}
packages = ["featbus", "numpy", "opencv-python-headless", "scikit-image"]
if ImageDataGenerator is not None:
    sides["Keras ImageDataGenerator"] = lambda: keras_copies(batch)
    packages.append("keras")
print(f"{len(batch)} images of {SIDE} x {SIDE} pixels, uint8, one copy each; results agree")
compare(sides, repeats=7, packages=packages, threads="all use one")

many = np.tile(batch, (10, 1, 1))
start = time.perf_counter()
ImageAugmenter(1).fit_resample(many, np.arange(len(many)) % 2)
print(f"featbus, {len(many)} images: {time.perf_counter() - start:.2f} s")
