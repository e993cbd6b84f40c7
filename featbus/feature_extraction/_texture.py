"""Base class and helpers of the features of gray-level matrices."""

from __future__ import annotations

import math
from numbers import Integral, Real

import cv2
import numpy as np
from numpy.typing import DTypeLike
from skimage.measure import label

from featbus.base import Column, FeatureExtractor
from featbus.color import to_gray
from featbus.images import ImageError, ResponseMap
from featbus.masks import inside_mask
from featbus.parameters import Interval, InvalidParameterError, LowHigh, StrOptions

ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
AGGREGATION = [StrOptions({"average", "merge"})]
# Four co-occurrence matrices of 1024 levels and their features take 100 MB.
_MOST_LEVELS = 1024


def _bin(brightness, low, scale, n_levels, tolerance):
    """Return the bins ``0 .. n_levels - 1`` of `scale` bins for a brightness of 1."""
    position = np.subtract(brightness, low, dtype=np.float64)
    position *= scale
    # Rounding errors must not move a value on an edge into the bin below.
    position += tolerance * scale
    # Unlike clip, fmax handles a NaN outside the region.
    np.fmin(np.fmax(position, 0, out=position), n_levels - 1, out=position)
    return position.astype(np.uint16)


def discretize(image, inside, levels, bin_width, intensity_range):
    """Return the bins, from 0, of a checked image of one channel."""
    pixels = image.view(np.uint8) if image.dtype == bool else image
    n_levels = int(levels)
    top = 1 if image.dtype.kind in "bf" else np.iinfo(image.dtype).max
    if intensity_range is None:
        region = pixels if inside is None else pixels[inside]
        low, high = region.min() / np.float64(top), region.max() / np.float64(top)
    else:
        low, high = map(float, intensity_range)
    # Relative, as rounding is: a gain has no effect.
    eps = np.finfo(image.dtype if image.dtype.kind == "f" else np.float64).eps
    tolerance = 4 * max(abs(low), abs(high)) * eps
    if bin_width is None:
        # A constant image has one level.
        scale = n_levels / (high - low) if high > low else 1.0
    else:
        scale = 1 / bin_width
        if intensity_range is None:
            low = math.floor((low + tolerance) * scale) * bin_width
        n_levels = int((high - low + tolerance) * scale) + 1
        if n_levels > _MOST_LEVELS:
            raise ImageError(
                f"found {n_levels} gray levels of width {bin_width:g}, expected at most "
                f"{_MOST_LEVELS}. Use a larger bin_width."
            )
    if image.dtype.kind == "f" or image.size <= top:
        return _bin(pixels / np.float64(top), low, scale, n_levels, tolerance)
    # There are more pixels than different values.
    table = _bin(np.arange(top + 1) / top, low, scale, n_levels, tolerance)
    return cv2.LUT(pixels, table) if top == 255 else np.take(table, pixels)


def _check_scale(bin_width, intensity_range):
    """Check that parameters are on the scale of brightness, from 0 to 1."""
    # A range may reach beyond, by 1 at most: more is another scale.
    if (bin_width or 0) > 1 or np.any(np.abs(np.subtract(intensity_range or 0, 0.5)) > 1.5):
        raise InvalidParameterError(
            f"bin_width is {bin_width!r} and intensity_range is {intensity_range!r}, expected "
            "fractions of the largest value a pixel can take (divide by 255 for 8-bit images). "
            "Only those of a ResponseMap are in its own units."
        )


def bounding_box(inside):
    """Return the slices of rows and columns of the box around a region."""
    left, top, width, height = cv2.boundingRect(inside.view(np.uint8))
    return slice(top, top + height), slice(left, left + width)


def gray_levels(image, levels=32, bin_width=None, intensity_range=None):
    """Discretize the brightness of a checked image, or of its region, as the IBSI defines it.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image. Color images are converted to their luma.
    levels, bin_width, intensity_range
        See `GrayLevelFeatures`.

    Returns
    -------
    ndarray of uint16 of shape (height, width)
        Gray levels from 1 ([1]_, section 2.7) in the bounding box of the region, and 0 outside of
        the region.

    References
    ----------
    .. [1] Zwanenburg A et al. Image biomarker standardisation initiative, reference manual,
       arXiv:1612.07003.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.feature_extraction._texture import gray_levels
    >>> image = np.array([[12, 19, 20, 52]], np.uint8)
    >>> gray_levels(image, levels=4), gray_levels(image, bin_width=10 / 255)
    (array([[1, 1, 1, 4]], dtype=uint16), array([[1, 1, 2, 5]], dtype=uint16))
    >>> gray_levels(image, bin_width=10 / 255, intensity_range=(0, 1))
    array([[2, 2, 3, 6]], dtype=uint16)
    """
    if not isinstance(image, ResponseMap):
        _check_scale(bin_width, intensity_range)
    inside = inside_mask(image)
    if inside is not None:
        box = bounding_box(inside)
        image, inside = image[box], inside[box]
    pixels = np.ascontiguousarray(np.ma.getdata(to_gray(image)))
    found = discretize(pixels, inside, levels, bin_width, intensity_range) + np.uint16(1)
    return found if inside is None else found * inside


def as_levels(levels):
    """Return gray levels, masked outside the region or not, as a plain array, 0 outside."""
    return np.ascontiguousarray(np.ma.filled(levels, 0), dtype=np.uint16)


def label_zones(levels):
    """Return the zone of each pixel, 0 outside of the region, and the gray level of each zone."""
    zones = label(levels, background=0, connectivity=2).ravel()
    levels_of = np.zeros(zones.max() + 1, np.int64)
    levels_of[zones] = levels.ravel()
    return zones, levels_of[1:]


def quotient(dividend, divisor):
    """Divide; return 0 if the divisor is 0."""
    return dividend / divisor if divisor else 0.0


def variance(p, values):
    """Return the variance of values whose probabilities are the rows of `p`."""
    mean = p @ values
    return (p * (values - mean[:, np.newaxis]) ** 2).sum(axis=1)


def entropy(p):
    """Return the entropy in bits of the probabilities in each row."""
    logarithm = np.where(p > 0, p, 1)
    np.log2(logarithm, out=logarithm)
    logarithm *= p
    # "+ 0.0" because a single probability of 1 would give an entropy of -0.
    return -logarithm.sum(axis=-1) + 0.0


def emphasis_features(
    counts, sizes, n_pixels=None, *, small, large, part, parts, joint, size_of, share_of, entropy_of
):
    """Compute the 16 features of counts of runs, zones or neighborhoods.

    Parameters
    ----------
    counts : ndarray of shape (..., n_levels, n_sizes)
        Number of runs, zones or neighborhoods of each gray level, from 1, and size; not all 0.
    sizes : ndarray of shape (n_sizes,)
        The sizes in pixels.
    n_pixels : int or None, default=None
        Number of pixels; None if it is the sum of the sizes.
    small, large, part, parts, joint, size_of, share_of, entropy_of : str
        Words that the names of the features are made of.

    Returns
    -------
    dict of str to ndarray of shape (...)
        By IBSI's names, in the order of its manual, sections 3.7 to 3.9 and 3.11.
    """
    shape, counts = counts.shape[:-2], counts.reshape(-1, *counts.shape[-2:])
    total = counts.sum(axis=(1, 2), dtype=np.float64)
    p = counts / total[:, np.newaxis, np.newaxis]
    level = np.arange(1.0, counts.shape[1] + 1)
    size = sizes.astype(np.float64)
    by_level, by_size = p.sum(axis=2), p.sum(axis=1)
    # Rows: low, any and high levels. Columns: small, any and large sizes.
    weighted = np.stack([level**-2, level**0, level**2]) @ p
    emphasis = np.moveaxis(weighted @ np.stack([size**-2, size**0, size**2], axis=1), 0, 2)
    level_uniformity, size_uniformity = (np.square(p).sum(axis=1) for p in (by_level, by_size))
    features = {
        f"{small}_{parts}_emphasis": emphasis[1, 0],
        f"{large}_{parts}_emphasis": emphasis[1, 2],
        f"low_grey_level_{part}_emphasis": emphasis[0, 1],
        f"high_grey_level_{part}_emphasis": emphasis[2, 1],
        f"{small}_{joint}_low_grey_level_emphasis": emphasis[0, 0],
        f"{small}_{joint}_high_grey_level_emphasis": emphasis[2, 0],
        f"{large}_{joint}_low_grey_level_emphasis": emphasis[0, 2],
        f"{large}_{joint}_high_grey_level_emphasis": emphasis[2, 2],
        "grey_level_non_uniformity": total * level_uniformity,
        "normalised_grey_level_non_uniformity": level_uniformity,
        f"{size_of}_non_uniformity": total * size_uniformity,
        f"normalised_{size_of}_non_uniformity": size_uniformity,
        # Each pixel belongs to one run or zone: the sizes add up to the number of pixels.
        f"{share_of}_percentage": 1 / (by_size @ size) if n_pixels is None else total / n_pixels,
        "grey_level_variance": variance(by_level, level),
        f"{size_of}_variance": variance(by_size, size),
        f"{entropy_of}_entropy": entropy(p.reshape(len(p), -1)),
    }
    return {name: values.reshape(shape)[()] for name, values in features.items()}


class GrayLevelFeatures(FeatureExtractor):
    """Base of the features of gray-level matrices.

    A subclass sets `_family`, the prefix of its columns, and writes `_compute(levels)`: gray levels
    in, as `gray_levels` returns them, and a dict of features out, the values of each matrix by
    IBSI's names. The row has their means.

    Parameters
    ----------
    levels : int, default=32
        Number of bins of equal width (IBSI's *fixed bin number*); up to 1024. Unused with
        `bin_width`.
    bin_width : float or None, default=None
        Width of a bin, as a fraction of the largest value of the image's dtype; of a
        `ResponseMap`, in its own units.
    intensity_range : tuple of float or None, default=None
        Brightness ``(low, high)``, from 0 to 1, that the bins span; of a `ResponseMap`, in its own
        units.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.
    """

    _family = ""
    _takes_responses = True

    _parameter_constraints = {
        "levels": [Interval(Integral, 1, _MOST_LEVELS, closed="both")],
        # Of a response map, in its own units; `_check_scale` is stricter for other images.
        "bin_width": [None, Interval(Real, 0, None, closed="neither")],
        "intensity_range": [None, LowHigh(None, None)],
    }

    def __init__(
        self,
        *,
        levels: int = 32,
        bin_width: float | None = None,
        intensity_range: tuple[float, ...] | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.levels = levels
        self.bin_width = bin_width
        self.intensity_range = intensity_range
        self.dtype = dtype

    def _extract(self, image):
        return self._make_row(gray_levels(image, self.levels, self.bin_width, self.intensity_range))

    def _make_row(self, levels):
        rows = np.array(list(self._compute(levels).values()))
        return rows.reshape(len(rows), -1).mean(axis=1)

    def _columns(self):
        names = self._compute(np.ones((1, 1), np.uint16))
        return [Column(f"{self._family}_{name}", name.replace("_", " ")) for name in names]
