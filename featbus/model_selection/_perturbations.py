"""Small changes to an image or its mask, such as those between two examinations or two readers."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from featbus.augmentation import Augmentation, Change, augment, change_image
from featbus.color import to_gray
from featbus.images import MAXIMUM, fill_value
from featbus.masks import inside_mask, with_mask

_STILL = dict.fromkeys(["rotation", "width_shift", "height_shift", "shear", "zoom"], 0)
_STILL |= {"brightness": (1, 1), "horizontal_flip": False}
_ROTATION = Augmentation(**_STILL | {"rotation": 10})
_TRANSLATION = Augmentation(**_STILL | {"width_shift": 0.05, "height_shift": 0.05})


def change_area(image, rng, low, high):
    """Grow or shrink the region to a share of its area, evenly along its contour."""
    return _select(image, rng.uniform(low, high))


def randomize_contour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Move the contour in and out by smooth noise; the area stays.

    The noise has a standard deviation of 10 % of the radius of a disc of equal area.
    """
    inside = inside_mask(image)
    if inside is None:
        return None
    radius = np.sqrt(np.count_nonzero(inside) / np.pi)
    cells = [int(side / max(radius / 2, 1)) + 2 for side in inside.shape]
    noise = cv2.resize(
        rng.standard_normal(cells), inside.shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    return _select(image, 1, 0.1 * radius * noise / noise.std())


def _select(image, share, noise=0):
    """Return the image with a region of `share` times the area: the pixels deepest inside.

    None where there is no mask.
    """
    inside = inside_mask(image)
    if inside is None:
        return None
    depth, distance = (
        cv2.distanceTransform(part.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for part in (inside, ~inside)
    )
    depth -= distance
    # Many pixels are equally deep: hollows of the contour are filled, and tips cut, first.
    depth = depth + 0.01 * cv2.GaussianBlur(depth, (0, 0), 2) + noise
    n_pixels = min(max(round(share * np.count_nonzero(inside)), 1), inside.size)
    region = np.zeros(inside.shape, bool)
    region.flat[np.argpartition(depth, -n_pixels, axis=None)[-n_pixels:]] = True
    return with_mask(np.ma.getdata(image), region, fill_value(image))


def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Add normally distributed noise, as strong as that which the image has already.

    Channels get the same noise. None for a bool image.
    """
    if image.dtype == bool:
        return None
    pixels = np.ma.getdata(image)
    noise = rng.normal(0, estimate_noise(image), image.shape[:2])
    noisy = pixels + noise.reshape(noise.shape + (1,) * (image.ndim - 2))
    noisy = np.clip(noisy, 0, MAXIMUM[image.dtype.name])
    if image.ndim == 3:
        noisy[..., 3:] = pixels[..., 3:]  # alpha
    noisy = noisy if image.dtype.kind == "f" else np.rint(noisy)
    return with_mask(noisy.astype(image.dtype), inside_mask(image), fill_value(image))


def estimate_noise(image):
    """Estimate the standard deviation of the noise of an image, inside its mask.

    The median of the absolute diagonal details of a Haar wavelet, divided by 0.6745 [1]_. Blocks of
    two by two equal pixels, such as a black background, are ignored.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.

    Returns
    -------
    float
        In the unit of the pixels; 0 where there is nothing to estimate it from.

    References
    ----------
    .. [1] Donoho DL, Johnstone IM. Ideal spatial adaptation by wavelet shrinkage. Biometrika 81
       (1994) 425-455.
    """
    gray = to_gray(image).astype(np.float64)
    height, width = (side // 2 * 2 for side in gray.shape)
    corners = [gray[i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
    blocks = np.stack([np.ma.filled(corner, np.nan).ravel() for corner in corners])
    blocks = blocks[:, np.ptp(blocks, axis=0) > 0]  # neither flat nor, being NaN, masked
    details = np.abs([0.5, -0.5, -0.5, 0.5] @ blocks)
    return np.median(details) / 0.6745 if details.size else 0.0


def coarsen(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bring the image and its mask to 1 to 1.5 times the spacing, and back to its size."""
    factor = rng.uniform(1, 1.5)
    for zoom in (1 / factor, factor):
        image = change_image(image, Change(column_zoom=zoom, row_zoom=zoom))
    return image


#: The perturbations of `featbus.feature_robustness`, functions ``(image, rng) -> image`` by name.
PERTURBATIONS = {
    "grow": partial(change_area, low=1, high=1.2),
    "shrink": partial(change_area, low=0.8, high=1),
    "contour": randomize_contour,
    "rotation": partial(augment, augmentation=_ROTATION),
    "translation": partial(augment, augmentation=_TRANSLATION),
    "noise": add_noise,
    "spacing": coarsen,
}
