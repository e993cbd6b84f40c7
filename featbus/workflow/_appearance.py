"""What an image looks like, in a few numbers that need no model."""

import cv2
import numpy as np

from featbus.color import to_gray, to_rgb
from featbus.masks import fill_mask
from featbus.resizing import resize

_LONGER_SIDE = 256
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_N_BANDS = 5
_GRID = 3
_DARK, _BRIGHT = 0.02, 0.98
_FLOOR = 1e-3  # of contrasts, before their logarithm: half a level of 256

MEASURES = [
    "color",
    "color_95",
    *(f"quantile_{round(100 * q):02d}" for q in _QUANTILES),
    "dark",
    "bright",
    *(f"contrast_{band}" for band in range(_N_BANDS + 1)),
    *(f"evenness_{band}" for band in range(_N_BANDS)),
    *(f"direction_{band}" for band in range(_N_BANDS)),
    *(f"place_{row}_{column}" for row in range(_GRID) for column in range(_GRID)),
]


def measure_appearance(image):
    """Measure color, levels, texture and layout of an image.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image. Outside of a mask, its fill value counts.

    Returns
    -------
    ndarray of float of shape (n_measures,)
        The values of `MEASURES`, of the image resized to 256 pixels along its longer side. Color:
        mean and 0.95 quantile of the difference between the channels. Levels: quantiles, and the
        shares of almost black and almost white pixels. Texture: of each band of a Laplacian pyramid
        [1]_, from fine to coarse, the logarithm of the contrast, how evenly it is spread, and
        whether it varies more from row to row or from column to column. Layout: the mean of each of
        3 x 3 parts, less the mean of all.

    References
    ----------
    .. [1] Burt P, Adelson E. The Laplacian pyramid as a compact image code. IEEE Transactions on
       Communications 31 (1983) 532-540.
    """
    pixels = fill_mask(image)
    pixels = pixels if pixels.ndim == 2 else to_rgb(pixels)
    scale = _LONGER_SIDE / max(pixels.shape[:2])
    size = [max(1, round(side * scale)) for side in pixels.shape[:2]]
    pixels = resize(pixels, size, np.float32)
    gray = np.ascontiguousarray(to_gray(pixels))
    values = [*_measure_color(pixels), *_measure_levels(gray), *_measure_bands(gray)]
    places = cv2.resize(gray, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    return np.array([*values, *(places - places.mean()).ravel()])


def _measure_color(pixels):
    if pixels.ndim == 2:
        return 0, 0
    difference = pixels.max(axis=2) - pixels.min(axis=2)
    return difference.mean(), np.quantile(difference, 0.95)


def _measure_levels(gray):
    return *np.quantile(gray, _QUANTILES), (gray < _DARK).mean(), (gray > _BRIGHT).mean()


def _measure_bands(gray):
    contrasts, evenness, directions = [], [], []
    for _ in range(_N_BANDS):
        smaller = cv2.pyrDown(gray)
        band = gray - cv2.pyrUp(smaller, dstsize=gray.shape[::-1])
        contrasts.append(band.std())
        evenness.append(np.abs(band).mean() / (band.std() + _FLOOR))
        down, across = (np.abs(np.diff(band, axis=axis)).sum() / band.size for axis in (0, 1))
        directions.append(np.log((down + _FLOOR) / (across + _FLOOR)))
        gray = smaller
    contrasts.append(gray.std())
    return *np.log(np.array(contrasts) + _FLOOR), *evenness, *directions
