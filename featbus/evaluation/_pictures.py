"""The images in a report: thumbnails, sizes, types and brightness."""

from base64 import b64encode
from typing import NamedTuple

import cv2
import numpy as np

from featbus.color import to_float, to_gray
from featbus.images import at_index
from featbus.io import read_item
from featbus.masks import fill_mask
from featbus.resizing import resize

_THUMBNAIL = 224  # longer side in pixels: sharp at the 140 that the page shows


class Picture(NamedTuple):
    """What a report shows of an image."""

    shape: tuple  # height and width
    kind: str  # dtype, color and mask
    brightness: float | None  # mean, from 0 to 1
    thumbnail: str | None  # JPEG in base64


def read_pictures(batch, described, shown):
    """Read images, each of them once, and keep what a report shows of them.

    Parameters
    ----------
    batch : ndarray or list
        What `featbus.images.as_batch` returned.
    described : collection of int
        Positions of the images whose brightness is measured.
    shown : collection of int
        Positions of the images that get a thumbnail.

    Returns
    -------
    dict of int to Picture
        The pictures, by position.
    """
    pictures = {}
    for index in sorted({*described, *shown}):
        image = read_item(batch[index], index)
        with at_index(index, batch[index]):
            brightness = _brightness(image) if index in described else None
        thumbnail = make_thumbnail(image) if index in shown else None
        pictures[index] = Picture(image.shape[:2], _kind(image), brightness, thumbnail)
    return pictures


def _kind(image):
    color = "gray" if image.ndim == 2 else "color"
    return f"{image.dtype} {color}{', masked' if np.ma.isMaskedArray(image) else ''}"


def _brightness(image):
    """Return the mean of the pixels inside the mask."""
    return float(np.clip(to_float(to_gray(image), np.float64).mean(), 0, 1))


def make_thumbnail(image):
    """Make a small JPEG of an image.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image. Unless it has 8 bits, its range of brightness is stretched.

    Returns
    -------
    str
        The file in base64.
    """
    pixels = fill_mask(image)
    pixels = pixels[..., :3] if pixels.ndim == 3 else pixels
    scale = min(1, _THUMBNAIL / max(pixels.shape[:2]))
    pixels = resize(pixels, tuple(max(1, round(scale * side)) for side in pixels.shape[:2]))
    if pixels.dtype != np.uint8:
        pixels = to_float(pixels)
        low, high = float(pixels.min()), float(pixels.max())
        pixels = np.rint(255 * (pixels - low) / max(high - low, 1e-6)).astype(np.uint8)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return b64encode(encoded).decode()
