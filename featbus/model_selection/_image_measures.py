"""What of an image could be a shortcut to its label, in numbers."""

import os

import cv2
import numpy as np

from featbus.color import to_float, to_gray, to_rgb, to_uint8
from featbus.images import is_path
from featbus.io import SpacedImage, find_format
from featbus.io._pictures import read_quantization
from featbus.masks import region_shape
from featbus.model_selection._borders import find_borders, measure_borders, without_borders
from featbus.model_selection._compression import measure_compression
from featbus.model_selection._marks import measure_marks

_GRID = 4
PLACES = [f"place_{row}_{column}" for row in range(_GRID) for column in range(_GRID)]
_FORMATS = ["DICOM", "PNG", "JPEG", "TIFF", "BMP", "PNM"]
_SHAPE = ["solidity", "extent", "eccentricity"]
_MASK_COLUMNS = ["area", "circularity", *_SHAPE, "center_y", "center_x"]
_EXACT = 1e-3  # of a level; a value of 10 bits or more is mostly further from the next level
_IMMERKAER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


def measure_image(item, image):
    """Measure an image and its file.

    Parameters
    ----------
    item : ndarray, SpacedImage or path
        The item of the batch.
    image : ndarray or MaskedArray
        The checked image; its mask is ignored.

    Returns
    -------
    dict of str to float
        The columns of all shortcuts but those of masks; the user guide describes them. Those of
        files are NaN for arrays.
    """
    pixels = np.ma.getdata(image)
    height, width = pixels.shape[:2]
    shown = to_rgb(pixels) if pixels.ndim == 3 else pixels
    stretched = _stretch(shown)
    gray = np.ascontiguousarray(to_gray(stretched))
    borders = find_borders(gray)
    inner = np.ascontiguousarray(without_borders(gray, borders))
    return {
        "height": height,
        "width": width,
        "aspect": width / height,
        "bits": 1 if pixels.dtype == bool else 8 * pixels.dtype.itemsize,
        "channels": 1 if pixels.ndim == 2 else pixels.shape[2],
        **_measure_levels(without_borders(to_gray(to_uint8(shown)), borders)),
        **_measure_detail(inner),
        **measure_borders(gray, borders),
        **measure_marks(stretched, gray),
        **measure_compression(gray),
        **_measure_file(item, height * width),
        **_measure_places(inner),
    }


def _stretch(pixels):
    """Convert to 8 bits; stretch levels that use less than half of the range and need more bits.

    Images of 10 to 14 bits are often stored in 16, where they use few of 256 levels.
    """
    if pixels.dtype in (np.uint8, bool):
        return to_uint8(pixels)
    levels = 255 * to_float(pixels)
    low, high = levels.min(), levels.max()
    if 0 < high - low < 128 and np.abs(levels - np.rint(levels)).max() > _EXACT:
        levels = (levels - low) * (255 / (high - low))
    return np.rint(levels).astype(np.uint8)


def _measure_levels(gray):
    """Measure exposure and contrast."""
    counts = np.bincount(gray.ravel(), minlength=256)
    black, white = np.searchsorted(np.cumsum(counts), [0.01 * gray.size, 0.99 * gray.size])
    levels = np.arange(256)
    mean = levels @ counts / gray.size
    spread = np.sqrt((levels - mean) ** 2 @ counts / gray.size)
    relative = spread / mean if mean > 0 else 0.0
    return {
        "mean": mean,
        "black": black,
        "white": white,
        "spread": spread,
        "relative_spread": relative,
    }


def _measure_detail(gray):
    """Measure sharpness and noise, both independent of the contrast."""
    gray = gray.astype(np.float32)
    differences = np.abs(cv2.filter2D(gray, -1, _IMMERKAER))
    inner = differences[1:-1, 1:-1] if min(gray.shape) > 2 else differences
    noise = np.sqrt(np.pi / 2) / 6 * inner.mean()
    slopes = sum(np.square(np.diff(gray, axis=axis)).sum() for axis in (0, 1)) / gray.size
    bends = np.square(cv2.Laplacian(gray, -1)).mean()
    spread = gray.std()
    return {
        "sharpness": bends / slopes if slopes > 0 else 0.0,
        "noise": noise / spread if spread > 0 else 0.0,
    }


def _measure_file(item, n_pixels):
    item = item.image if isinstance(item, SpacedImage) else item
    measures = dict.fromkeys(["quantization", "format", "bytes", "bytes_per_pixel"], np.nan)
    if not is_path(item):
        return measures
    kind, size = find_format(item), os.path.getsize(item)
    measures |= {"bytes": size, "bytes_per_pixel": size / n_pixels}
    measures["format"] = _FORMATS.index("DICOM" if kind is None else kind)
    if kind == "JPEG":
        measures["quantization"] = read_quantization(item)
    return measures


def _measure_places(gray):
    """Return the mean of each cell of a coarse grid, independent of exposure and contrast."""
    cells = cv2.resize(gray, (_GRID, _GRID), interpolation=cv2.INTER_AREA).ravel().astype(float)
    cells -= cells.mean()
    spread = cells.std()
    return dict(zip(PLACES, cells / spread if spread > 0 else cells))


def measure_mask(inside):
    """Measure a region, all of its parts as one.

    Parameters
    ----------
    inside : ndarray of bool of shape (height, width), or None
        True inside the region; None without a mask.

    Returns
    -------
    dict of str to float
        ``area`` as a share of the image; ``circularity``, ``solidity``, ``extent`` and
        ``eccentricity`` as in `featbus.masks.region_shape`; ``center_y`` and ``center_x``, the
        centroid as a share of height and width. NaN without a mask and, except for the area, for
        an empty region.
    """
    measures = dict.fromkeys(_MASK_COLUMNS, np.nan)
    if inside is None:
        return measures
    measures["area"] = inside.mean()
    if inside.any():
        region, measures["circularity"] = region_shape(inside)
        measures |= {name: region[name] for name in _SHAPE}
        for name, axis in [("center_y", 1), ("center_x", 0)]:
            profile = inside.sum(axis=axis)
            measures[name] = (
                (np.arange(len(profile)) + 0.5) @ profile / profile.sum() / len(profile)
            )
    return measures
