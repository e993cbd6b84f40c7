"""Measures of images, files and masks that can be shortcuts to the label."""

import os

import cv2
import numpy as np

from featbus.color import to_float, to_gray, to_rgb, to_uint8
from featbus.images import is_path
from featbus.io import SpacedImage, find_format, split_frame
from featbus.io._pictures import read_quantization
from featbus.masks import region_shape

_GRID = 4
PLACES = [f"place_{row}_{column}" for row in range(_GRID) for column in range(_GRID)]
_FORMATS = ["DICOM", "PNG", "JPEG", "TIFF", "BMP", "PNM"]
_SHAPE = ["solidity", "extent", "eccentricity"]
_EXACT = 1e-3  # of a level; a value of 10 bits or more is mostly further from the next level
_IMMERKAER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_BORDER_TOLERANCE = 4
_BORDER_SHARE = 0.98
_BLOCK_SIDE = 8
_MAX_BLOCKS = 2048
# Rows: the basis functions of the discrete cosine transform (orthonormal, type II).
_DCT = cv2.dct(np.eye(_BLOCK_SIDE), flags=cv2.DCT_ROWS).T.astype(np.float32)
# The lowest frequencies but the mean, their histogram, and the steps that are tried.
_LOWEST = [0, 0, 1, 1, 1, 2, 2], [1, 2, 0, 1, 2, 0, 1]
_PER_LEVEL, _MAX_LEVEL = 4, 128
_LEVELS = np.arange(_PER_LEVEL * _MAX_LEVEL + 1) / _PER_LEVEL
_STEPS = np.arange(2, 25)
_COUNTED = _STEPS[:, np.newaxis] / 2 <= _LEVELS
_WAVES = np.cos(2 * np.pi * _LEVELS / _STEPS[:, np.newaxis]) * _COUNTED
_MIN_COUNT, _MIN_STRENGTH = 30, 0.4
# Gray levels of 255.
_INK_STEP = 24
_COLORED = 32
_SQUARE = np.ones((3, 3), np.uint8)
# Neighborhoods along an edge: horizontal, vertical and diagonal; turned by 90 degrees, across it.
_LINE, _DIAGONAL = np.ones((1, 3), np.uint8), np.eye(3, dtype=np.uint8)
_ALONG = [_LINE, _LINE.T.copy(), _DIAGONAL, _DIAGONAL[::-1].copy()]
_MIN_PATCH = 3


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
        The columns of all shortcuts but those of masks; the user guide describes them. Arrays lack
        those of files, and JPEG files alone have a ``quantization``.
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
    black, white = np.percentile(gray, [1, 99], method="inverted_cdf")
    mean, spread = gray.mean(), gray.std()
    levels = {"mean": mean, "black": black, "white": white, "spread": spread}
    return levels | {"relative_spread": spread / mean if mean > 0 else 0.0}


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
    if not is_path(item):
        return {}
    kind, size = find_format(item), os.path.getsize(split_frame(item)[0])
    measures = {"bytes": size, "bytes_per_pixel": size / n_pixels}
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
        centroid as a share of height and width. Nothing without a mask; an empty region has only
        an area.
    """
    if inside is None:
        return {}
    measures = {"area": inside.mean()}
    if inside.any():
        region, measures["circularity"] = region_shape(inside)
        measures |= {name: region[name] for name in _SHAPE}
        center = (np.array(region["centroid"]) + 0.5) / inside.shape
        measures["center_y"], measures["center_x"] = center
    return measures


def find_borders(gray):
    """Count the rows and columns of one value at each side.

    Parameters
    ----------
    gray : ndarray of uint8 of shape (height, width)
        The image.

    Returns
    -------
    top, bottom, left, right : int
        Rows or columns of which at least 98 % are within 4 levels of the median of the outermost.
    """
    return tuple(_count(side) for side in (gray, gray[::-1], gray.T, gray.T[::-1]))


def _count(gray):
    """Count from the top."""
    distance = np.abs(gray.astype(np.int16) - int(np.median(gray[0])))
    differs = (distance <= _BORDER_TOLERANCE).mean(axis=1) < _BORDER_SHARE
    return differs.argmax() if differs.any() else len(gray)


def measure_borders(gray, borders):
    """Measure the borders of an image.

    Parameters
    ----------
    gray : ndarray of uint8 of shape (height, width)
        The image.
    borders : tuple of int
        What `find_borders` returned.

    Returns
    -------
    dict of str to float
        ``top``, ``bottom``, ``left`` and ``right`` as shares of the height or the width, and
        ``rows`` and ``columns``, the shares of those, at any place, that have a single value.
    """
    names = ("top", "bottom", "left", "right")
    sides = dict(zip(names, np.divide(borders, np.repeat(gray.shape, 2))))
    rows = (gray == gray[:, :1]).all(axis=1).mean()
    return sides | {"rows": rows, "columns": (gray == gray[:1]).all(axis=0).mean()}


def without_borders(gray, borders):
    """Cut the borders off; an image that is nothing else stays.

    Parameters
    ----------
    gray : ndarray of uint8 of shape (height, width)
        The image.
    borders : tuple of int
        What `find_borders` returned.

    Returns
    -------
    ndarray of uint8
        A view.
    """
    top, bottom, left, right = borders
    inner = gray[top : len(gray) - bottom, left : gray.shape[1] - right]
    return inner if inner.size else gray


def measure_compression(gray):
    """Measure the traces that the blocks of JPEG leave, also in files of other formats.

    Parameters
    ----------
    gray : ndarray of uint8 of shape (height, width)
        The image.

    Returns
    -------
    dict of str to float
        ``zeros``: the share of coefficients of the discrete cosine transform, in blocks of 8 by 8
        pixels, that round to zero, less the same share in blocks that are displaced by half a
        block; ``step``: the mean of the quantization steps of the seven lowest frequencies, from 2
        to 24, after [1]_, where coarser steps show as divisors, and 1 stands for none;
        ``blockiness``: the mean step between two blocks by the mean step between other neighbors,
        after [2]_. NaN for images below 16 by 16 pixels.

    References
    ----------
    .. [1] Fan Z, de Queiroz RL. Identification of bitmap compression history: JPEG detection and
       quantizer estimation. IEEE Transactions on Image Processing 12 (2003) 230-235.
    .. [2] Wang Z, Sheikh HR, Bovik AC. No-reference perceptual quality assessment of JPEG
       compressed images. Proc. International Conference on Image Processing (2002) 477-480.
    """
    if min(gray.shape) < 2 * _BLOCK_SIDE:
        return dict.fromkeys(["zeros", "step", "blockiness"], np.nan)
    half = _BLOCK_SIDE // 2
    coefficients = _transform(gray)
    displaced = _transform(gray[half:, half:])
    return {
        "zeros": np.mean(np.abs(coefficients) < 0.5) - np.mean(np.abs(displaced) < 0.5),
        "step": np.mean([_find_step(values) for values in coefficients[..., *_LOWEST].T]),
        "blockiness": (_blockiness(gray) + _blockiness(gray.T)) / 2,
    }


def _transform(gray):
    """Return the coefficients of blocks: all, or evenly spaced rows of blocks."""
    height, width = (side // _BLOCK_SIDE for side in gray.shape)
    gray = gray[: height * _BLOCK_SIDE, : width * _BLOCK_SIDE]
    blocks = gray.reshape(height, _BLOCK_SIDE, width, _BLOCK_SIDE)
    blocks = blocks[:: -(-height * width // _MAX_BLOCKS)].swapaxes(1, 2).astype(np.float32)
    return (_DCT @ blocks @ _DCT.T).reshape(-1, _BLOCK_SIDE, _BLOCK_SIDE)


def _find_step(values):
    """Return the step of which most values are multiples; 1 if there is none.

    Values below half a step, which round to zero whether there was a step or not, do not count.
    """
    bins = np.rint(np.abs(values) * _PER_LEVEL).astype(np.intp)
    counts = np.bincount(np.minimum(bins, len(_LEVELS) - 1), minlength=len(_LEVELS))
    n_counted = _COUNTED @ counts
    strength = _WAVES @ counts / np.maximum(n_counted, 1)
    strength[n_counted < _MIN_COUNT] = 0
    best = np.argmax(strength)
    return _STEPS[best] if strength[best] >= _MIN_STRENGTH else 1


def _blockiness(gray):
    """Return the mean step between columns 7 and 8, 15 and 16, ..., by that of the others."""
    steps = cv2.absdiff(gray[:, 1:], gray[:, :-1]).mean(axis=0)
    between = np.arange(len(steps)) % _BLOCK_SIDE == _BLOCK_SIDE - 1
    others = steps[~between].mean()
    return steps[between].mean() / others if others > 0 else 1.0


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
        "colored": 0.0 if pixels.ndim == 2 else np.mean(np.ptp(pixels, axis=2) >= _COLORED),
    }


def _find_edges(gray):
    """Return where ink is brighter, and where it is darker, than what is next to it."""
    bright, dark = np.zeros((2, *gray.shape), bool)
    for along in _ALONG:
        across = np.rot90(along).copy()
        is_run = cv2.dilate(gray, along) == cv2.erode(gray, along)
        bright |= is_run & (cv2.subtract(gray, cv2.erode(gray, across)) >= _INK_STEP)
        dark |= is_run & (cv2.subtract(cv2.dilate(gray, across), gray) >= _INK_STEP)
    return bright, dark


def _share_in_patches(gray, edges):
    flat = (cv2.dilate(gray, _SQUARE) == cv2.erode(gray, _SQUARE)).astype(np.uint8)
    n_parts, labels, stats, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
    width, height, area = stats[:, cv2.CC_STAT_WIDTH : cv2.CC_STAT_AREA + 1].T
    # The flat neighborhoods of a region are one pixel smaller on each side than the region.
    border = cv2.dilate(labels.astype(np.float32), _SQUARE).astype(np.int32)
    n_sharp = np.bincount(border[edges], minlength=n_parts)
    is_patch = (np.minimum(width, height) >= _MIN_PATCH) & (n_sharp >= width + height)
    is_patch &= (width < gray.shape[1] - 2) & (height < gray.shape[0] - 2)
    is_patch[0] = False  # what is not flat
    return area[is_patch].sum() / gray.size
