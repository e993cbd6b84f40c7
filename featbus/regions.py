"""The shape of a region."""

import numpy as np
from skimage.measure import regionprops


def dice(first, second):
    """Return the Dice coefficient of two regions.

    Parameters
    ----------
    first, second : ndarray of bool of shape (height, width)
        The regions.

    Returns
    -------
    float
        ``2 |A B| / (|A| + |B|)``; NaN if both are empty.
    """
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else np.nan


def region_shape(inside):
    """Measure the shape of a region, all of its parts as one.

    Parameters
    ----------
    inside : ndarray of bool of shape (height, width)
        True inside the region; not False everywhere.

    Returns
    -------
    region : skimage.measure._regionprops.RegionProperties
        The properties of the region, see `skimage.measure.regionprops`.
    circularity : float
        ``4 pi A / P ** 2`` with the perimeter P of Crofton's formula: 1 for a disc.
    """
    (region,) = regionprops(inside.astype(np.uint8))
    return region, 4 * np.pi * region.area / region.perimeter_crofton**2
