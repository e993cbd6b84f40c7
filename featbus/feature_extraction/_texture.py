"""What run lengths and zone sizes have in common."""

import cv2
import numpy as np

from featbus.feature_extraction._glcm import _checked_n_levels
from featbus.images import inside_mask


def crop_to_region(image):
    """Return the box around the region of a masked image; any other image as it is."""
    inside = inside_mask(image)
    if inside is None:
        return image
    left, top, width, height = cv2.boundingRect(inside.view(np.uint8))
    return image[top : top + height, left : left + width]


def checked_levels(levels, n_levels=None):
    """Return grey levels as a plain array, 0 outside the region, and their number."""
    levels = np.ma.asanyarray(levels)
    valid = levels.compressed()
    if levels.ndim != 2 or levels.dtype.kind not in "iu" or valid.size == 0 or valid.min() < 1:
        raise ValueError(
            f"Expected whole grey levels of 1 or more in rows and columns, got shape "
            f"{levels.shape}, dtype {levels.dtype}. grey_levels makes them of an image."
        )
    n_levels = _checked_n_levels(int(valid.max()) if n_levels is None else n_levels)
    if valid.max() > n_levels:
        raise ValueError(f"Found the grey level {valid.max()}, n_levels is {n_levels}.")
    return np.ascontiguousarray(levels.filled(0), dtype=np.uint16), n_levels


def check_counts(matrices):
    """Check counts, whose last axis is the lengths or sizes from 1."""
    if matrices.ndim < 2 or not matrices.size:
        raise ValueError(f"Expected matrices of shape (..., n_levels, n), got {matrices.shape}.")
    # A NaN is not at least 0 either.
    if not matrices.min() >= 0 or (matrices.sum(axis=(-1, -2)) == 0).any():
        raise ValueError("Expected matrices of counts that are not all 0, without NaN.")


def _variance(p, values):
    mean = p @ values
    return np.einsum("ni,ni->n", p, (values - mean[:, np.newaxis]) ** 2)


def _entropy(p):
    """Return the entropy in bits over the last two axes."""
    logarithm = np.log2(p, where=p > 0, out=np.zeros_like(p))
    # "+ 0.0" because a single entry would give an entropy of -0.
    return -np.einsum("nij,nij->n", p, logarithm) + 0.0


def emphasis_features(counts, sizes):
    """Compute the 16 features of counts of runs or zones.

    Parameters
    ----------
    counts : ndarray of shape (n, n_levels, n_sizes)
        How many runs or zones have a grey level, from 1, and a size; none of the `n` all 0.
    sizes : ndarray of shape (n_sizes,)
        The sizes in pixels.

    Returns
    -------
    list of ndarray of shape (n,)
        In IBSI's order, which is that of sections 3.7 and 3.8 of its manual.
    """
    total = counts.sum(axis=(1, 2), dtype=np.float64)
    p = counts / total[:, np.newaxis, np.newaxis]
    level = np.arange(1.0, counts.shape[1] + 1)
    size = sizes.astype(np.float64)
    by_level, by_size = p.sum(axis=2), p.sum(axis=1)
    # Low, any and high levels; small, any and large sizes.
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
        # Each pixel is in one run or zone: the sizes add up to the number of pixels.
        1 / (by_size @ size),
        _variance(by_level, level),
        _variance(by_size, size),
        _entropy(p),
    ]
