"""What the texture matrices share: gray levels, and the features of runs and zones."""

from __future__ import annotations

import math
from numbers import Integral, Real

import cv2
import numpy as np

from featbus.color import to_gray
from featbus.images import ImageError, check_image
from featbus.masks import inside_mask, with_mask
from featbus.parameters import Interval, LowHigh, StrOptions, check_parameters

ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
# Four co-occurrence matrices of 1024 levels and their features take 100 MB.
_MOST_LEVELS = 1024
_N_LEVELS = Interval(Integral, 1, _MOST_LEVELS, closed="both")
LEVELS_CONSTRAINTS = {
    "levels": [_N_LEVELS],
    "bin_width": [None, Interval(Real, 0, 1, closed="right")],
    "intensity_range": [None, LowHigh()],
}
AGGREGATION_CONSTRAINTS = {"aggregation": [StrOptions({"average", "merge"})]}


def _bin(brightness, low, scale, n_levels, tolerance):
    """Return the bins ``0 .. n_levels - 1`` of `scale` bins for a brightness of 1."""
    position = np.subtract(brightness, low, dtype=np.float64)
    position *= scale
    # Rounding errors must not move a value on an edge into the bin below.
    position += tolerance * scale
    # Unlike clip, fmax handles a NaN outside the region.
    np.fmin(np.fmax(position, 0, out=position), n_levels - 1, out=position)
    return position.astype(np.uint16)


def _bounds(pixels, inside, top, intensity_range):
    """Return the lowest and the highest brightness to put into bins."""
    if intensity_range is None:
        region = pixels if inside is None else pixels[inside]
        return region.min() / np.float64(top), region.max() / np.float64(top)
    return tuple(map(float, intensity_range))


def _bin_integers(pixels, inside, n_levels):
    """Return the bins between the extremes of an integer image, or of its region."""
    region = pixels if inside is None else pixels[inside]
    low, high = region.min(), region.max()
    # A constant image has one level.
    span = max(int(high) - int(low), 1)
    # Wide enough for the largest product: integers need no tolerance, and no table.
    products = (pixels - low).astype(np.min_scalar_type(np.iinfo(pixels.dtype).max * n_levels))
    products *= products.dtype.type(n_levels)
    products //= products.dtype.type(span)
    products = products.astype(np.uint16, copy=False)
    # Ten times as fast as NumPy's minimum; cv2.min would read an array of one pixel as a scalar.
    return cv2.threshold(products, n_levels - 1, 0, cv2.THRESH_TRUNC)[1]


def discretise(image, inside, levels, bin_width, intensity_range):
    """Return the bins of a checked image of one channel, from 0, and the number of bins."""
    pixels = image.view(np.uint8) if image.dtype == bool else image
    n_levels = int(levels)
    if bin_width is None and intensity_range is None and pixels.dtype.kind == "u":
        return _bin_integers(pixels, inside, n_levels), n_levels
    top = 1 if image.dtype.kind in "bf" else np.iinfo(image.dtype).max
    low, high = _bounds(pixels, inside, top, intensity_range)
    # Relative, as rounding is: a gain has no effect.
    tolerance = 4 * high * np.finfo(image.dtype if image.dtype.kind == "f" else np.float64).eps
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
        return _bin(pixels / np.float64(top), low, scale, n_levels, tolerance), n_levels
    # There are more pixels than different values.
    table = _bin(np.arange(top + 1) / top, low, scale, n_levels, tolerance)
    return cv2.LUT(pixels, table) if top == 255 else np.take(table, pixels), n_levels


def grey_levels(
    image: np.ndarray,
    levels: int = 32,
    bin_width: float | None = None,
    intensity_range: tuple[float, ...] | None = None,
) -> np.ndarray:
    """Discretize the brightness of an image as the IBSI defines it.

    Read more in the :ref:`User Guide <glcm>`.

    Parameters
    ----------
    image : ndarray or MaskedArray of shape (height, width) or (height, width, channels)
        An image, see :ref:`images`. Color images are converted to their luma.
    levels : int, default=32
        Number of bins of equal width (IBSI's *fixed bin number*); up to 1024. Unused with
        `bin_width`.
    bin_width : float or None, default=None
        Width of a bin, as a fraction of the largest value of the image's dtype: ``10 / 255`` is 10
        levels of an 8-bit image. With `intensity_range`, bins start at its lower bound (IBSI's
        *fixed bin size*): the same level means the same brightness in all images. Without it, the
        edges of bins are multiples of the width, and level 1 is the darkest bin of the image or
        its region, as in pyradiomics.
    intensity_range : tuple of float or None, default=None
        Brightness ``(low, high)``, from 0 to 1, that the bins span; pixels beyond it belong to the
        first or last bin. None for the range of the image or, if it is masked, of its region.

    Returns
    -------
    ndarray or MaskedArray of uint16 of shape (height, width)
        Gray levels from 1 ([1]_, section 2.7); masked where the image is.

    Raises
    ------
    InvalidParameterError
        If a parameter is invalid.
    ImageError
        If the image is invalid, or if it has more than 1024 levels of width `bin_width`.

    References
    ----------
    .. [1] Zwanenburg A et al. Image biomarker standardisation initiative, reference manual,
       arXiv:1612.07003.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.feature_extraction import grey_levels
    >>> image = np.array([[12, 19, 20, 52]], np.uint8)
    >>> grey_levels(image, levels=4), grey_levels(image, bin_width=10 / 255)
    (array([[1, 1, 1, 4]], dtype=uint16), array([[1, 1, 2, 5]], dtype=uint16))
    >>> grey_levels(image, bin_width=10 / 255, intensity_range=(0, 1))
    array([[2, 2, 3, 6]], dtype=uint16)
    """
    check_parameters(
        LEVELS_CONSTRAINTS,
        {"levels": levels, "bin_width": bin_width, "intensity_range": intensity_range},
    )
    image = to_gray(check_image(image))
    inside = inside_mask(image)
    bins, _ = discretise(np.ma.getdata(image), inside, levels, bin_width, intensity_range)
    return with_mask(bins + np.uint16(1), inside)


def crop_to_region(image):
    """Return the bounding box of the region of a masked image; the image itself without mask."""
    inside = inside_mask(image)
    if inside is None:
        return image
    left, top, width, height = cv2.boundingRect(inside.view(np.uint8))
    return image[top : top + height, left : left + width]


def checked_levels(levels, n_levels=None):
    """Return gray levels as a plain array, 0 outside the region, and their number."""
    check_parameters({"n_levels": [None, _N_LEVELS]}, {"n_levels": n_levels})
    levels = np.ma.asanyarray(levels)
    valid = levels.compressed()
    if levels.ndim != 2 or levels.dtype.kind not in "iu" or valid.size == 0 or valid.min() < 1:
        raise ValueError(
            f"Expected integer gray levels of 1 or more in rows and columns, got shape "
            f"{levels.shape}, dtype {levels.dtype}. grey_levels computes them from an image."
        )
    most = _MOST_LEVELS if n_levels is None else n_levels
    if valid.max() > most:
        raise ValueError(f"Found the gray level {valid.max()}, expected at most {most}.")
    n_levels = int(valid.max() if n_levels is None else n_levels)
    return np.ascontiguousarray(levels.filled(0), dtype=np.uint16), n_levels


def check_counts(matrices):
    """Check matrices of counts; their last axis holds the lengths or sizes from 1."""
    if matrices.ndim < 2 or not matrices.size:
        raise ValueError(f"Expected matrices of shape (..., n_levels, n), got {matrices.shape}.")
    # A NaN is not at least 0 either.
    if not matrices.min() >= 0 or (matrices.sum(axis=(-1, -2)) == 0).any():
        raise ValueError("Expected matrices of counts that are not all 0, without NaN.")


def _variance(p, values):
    mean = p @ values
    return (p * (values - mean[:, np.newaxis]) ** 2).sum(axis=1)


def _entropy(p):
    """Return the entropy in bits over the last two axes."""
    logarithm = np.log2(p, where=p > 0, out=np.zeros_like(p))
    # "+ 0.0" because a single entry would give an entropy of -0.
    return -(p * logarithm).sum(axis=(1, 2)) + 0.0


def emphasis_features(counts, sizes):
    """Compute the 16 features of counts of runs or zones.

    Parameters
    ----------
    counts : ndarray of shape (n, n_levels, n_sizes)
        Number of runs or zones of each gray level, from 1, and size; none of the `n` is all 0.
    sizes : ndarray of shape (n_sizes,)
        The sizes in pixels.

    Returns
    -------
    list of ndarray of shape (n,)
        In the order of IBSI's manual, sections 3.7 and 3.8.
    """
    total = counts.sum(axis=(1, 2), dtype=np.float64)
    p = counts / total[:, np.newaxis, np.newaxis]
    level = np.arange(1.0, counts.shape[1] + 1)
    size = sizes.astype(np.float64)
    by_level, by_size = p.sum(axis=2), p.sum(axis=1)
    # Rows: low, any and high levels. Columns: small, any and large sizes.
    weighted = np.stack([level**-2, level**0, level**2]) @ p
    emphasis = weighted @ np.stack([size**-2, size**0, size**2], axis=1)
    (low_small, low, low_large), (small, _, large), (high_small, high, high_large) = np.moveaxis(
        emphasis, 0, 2
    )
    level_uniformity, size_uniformity = ((part**2).sum(axis=1) for part in (by_level, by_size))
    return [
        small,
        large,
        low,
        high,
        low_small,
        high_small,
        low_large,
        high_large,
        total * level_uniformity,
        level_uniformity,
        total * size_uniformity,
        size_uniformity,
        # Each pixel belongs to one run or zone: the sizes add up to the number of pixels.
        1 / (by_size @ size),
        _variance(by_level, level),
        _variance(by_size, size),
        _entropy(p),
    ]
