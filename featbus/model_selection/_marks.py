"""Marks that were drawn into an image: text, calipers, boxes, colored overlays."""

import cv2
import numpy as np

# Gray levels of 255.
_STEP = 24
_COLORED = 32
_SQUARE = np.ones((3, 3), np.uint8)
_RISING, _FALLING = np.eye(3, dtype=np.uint8)[::-1].copy(), np.eye(3, dtype=np.uint8)
_ALONG_X, _ALONG_Y = np.ones((1, 3), np.uint8), np.ones((3, 1), np.uint8)
# Along an edge, and across it.
_DIRECTIONS = [
    (_ALONG_X, _ALONG_Y),
    (_ALONG_Y, _ALONG_X),
    (_RISING, _FALLING),
    (_FALLING, _RISING),
]
_MIN_SIDE = 3


def measure_marks(pixels, gray):
    """Measure what was drawn into an image.

    Ink has one value and ends within one pixel; tissue varies, and its edges are blurred by the
    optics or by the point spread of the device.

    Parameters
    ----------
    pixels : ndarray of uint8 of shape (height, width) or (height, width, 3)
        The image.
    gray : ndarray of uint8 of shape (height, width)
        The same in gray.

    Returns
    -------
    dict of str to float
        Shares of pixels: ``bright`` and ``dark``, edges of ink, which are equal to both neighbors
        along the edge and differ by 24 of 255 levels from a neighbor across, which is darker or
        brighter; ``ink``, the edges of the most frequent level other than black and white;
        ``patches``, in flat regions from 5 by 5 pixels with such edges on at least half of their
        perimeter, unless they are as wide or as high as the image; ``colored``, whose channels
        differ by at least an eighth of the range.
    """
    bright, dark = _find_edges(gray)
    return {
        "bright": np.mean(bright),
        "dark": np.mean(dark),
        "ink": np.bincount(gray[bright | dark], minlength=256)[1:-1].max() / gray.size,
        "patches": _share_in_patches(gray, bright | dark),
        "colored": _share_colored(pixels),
    }


def _find_edges(gray):
    """Return where ink is brighter, and where it is darker, than what is next to it."""
    bright, dark = np.zeros((2, *gray.shape), bool)
    for along, across in _DIRECTIONS:
        is_run = cv2.dilate(gray, along) == cv2.erode(gray, along)
        bright |= is_run & (cv2.subtract(gray, cv2.erode(gray, across)) >= _STEP)
        dark |= is_run & (cv2.subtract(cv2.dilate(gray, across), gray) >= _STEP)
    return bright, dark


def _share_in_patches(gray, edges):
    flat = (cv2.dilate(gray, _SQUARE) == cv2.erode(gray, _SQUARE)).astype(np.uint8)
    n_parts, labels, stats, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
    width, height, area = stats[:, cv2.CC_STAT_WIDTH : cv2.CC_STAT_AREA + 1].T
    # The flat neighborhoods of a region are one pixel smaller on each side than the region.
    border = cv2.dilate(labels.astype(np.float32), _SQUARE).astype(np.int32)
    n_sharp = np.bincount(border[edges], minlength=n_parts)
    is_patch = (np.minimum(width, height) >= _MIN_SIDE) & (n_sharp >= width + height)
    is_patch &= (width < gray.shape[1] - 2) & (height < gray.shape[0] - 2)
    is_patch[0] = False  # what is not flat
    return area[is_patch].sum() / gray.size


def _share_colored(pixels):
    if pixels.ndim == 2:
        return 0.0
    return np.mean(np.ptp(pixels, axis=2) >= _COLORED)
