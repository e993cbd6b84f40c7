"""Distances of gray-level zones from the border."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from featbus.feature_extraction._texture import (
    GrayLevelFeatures,
    as_levels,
    emphasis_features,
    label_zones,
)

_WORDS = {
    "small": "small",
    "large": "large",
    "part": "zone",
    "parts": "distance",
    "joint": "distance",
    "size_of": "zone_distance",
    "share_of": "zone",
    "entropy_of": "zone_distance",
}


def distance_zone_matrix(levels: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
    """Count the zones of each gray level and distance from the border.

    A zone is a set of pixels of one level that are connected along rows, columns or diagonals. Its
    distance is that of its pixel closest to the border of the region or the image: the number of
    steps along rows and columns that lead out.

    Parameters
    ----------
    levels : ndarray or MaskedArray of int of shape (height, width)
        Gray levels from 1; 0, or masked, outside of the region.
    inside : ndarray of bool of shape (height, width), default=None
        The region from whose border distances are measured (IBSI's *morphological mask*), if pixels
        of it have no level; None for the pixels that have one.

    Returns
    -------
    ndarray of int64 of shape (n_levels, n_distances)
        Entry ``[i, j]`` is the number of zones of the level ``i + 1`` at distance ``j + 1``, up to
        the largest distance found.

    Examples
    --------
    >>> from featbus.feature_extraction._gldzm import distance_zone_matrix
    >>> distance_zone_matrix([[1, 1, 1], [1, 2, 1], [1, 1, 1]])
    array([[1, 0],
           [0, 1]])
    """
    levels = as_levels(levels)
    zones, levels_of = label_zones(levels)
    region = np.pad((levels > 0 if inside is None else inside).astype(np.uint8), 1)
    distances = cv2.distanceTransform(region, cv2.DIST_L1, 3)[1:-1, 1:-1].astype(np.int64)
    closest = np.full(len(levels_of) + 1, distances.max())
    np.minimum.at(closest, zones, distances.ravel())
    closest = closest[1:]
    matrix = np.zeros((int(levels.max()), closest.max()), np.int64)
    np.add.at(matrix, (levels_of - 1, closest - 1), 1)
    return matrix


def distance_zone_features(matrix: ArrayLike, n_pixels: int) -> dict[str, float]:
    """Compute IBSI's 16 gray-level distance-zone features ([1]_, section 3.9, [2]_).

    Parameters
    ----------
    matrix : array_like of shape (n_levels, n_distances)
        A distance-zone matrix; rows are the gray levels from 1, columns the distances from 1.
    n_pixels : int
        Number of pixels of the region.

    Returns
    -------
    dict of str to numpy.float64
        By IBSI's names. *Zone percentage* is the number of zones divided by the number of pixels,
        from 0 to 1. Entropy is in bits.

    References
    ----------
    .. [1] Zwanenburg A et al. Image biomarker standardisation initiative, reference manual,
       arXiv:1612.07003.
    .. [2] Thibault G, Angulo J, Meyer F. Advanced statistical matrices for texture
       characterization: application to cell classification. IEEE Transactions on Biomedical
       Engineering 61 (2014) 630-637, doi:10.1109/TBME.2013.2284600.

    Examples
    --------
    >>> from featbus.feature_extraction._gldzm import distance_zone_features
    >>> features = distance_zone_features([[1, 0], [0, 1]], n_pixels=9)
    >>> float(features["large_distance_emphasis"]), float(features["zone_distance_variance"])
    (2.5, 0.25)
    """
    matrix = np.asarray(matrix)
    return emphasis_features(matrix, np.arange(1, matrix.shape[1] + 1), n_pixels, **_WORDS)


class GLDZM(GrayLevelFeatures):
    """Distances of gray-level zones: how far from the border the patches of one level are.

    A zone is a set of connected pixels of one level. 16 features are computed from the number of
    zones of each level and distance from the border of the region ([1]_, [2]_).

    Read more in the :ref:`User Guide <gldzm>`.

    Parameters
    ----------
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
        first or last bin. None for the range of each image or, if it is masked, of its region.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.

    See Also
    --------
    GLSZM : Sizes of zones instead of distances.
    NGLDM : How many neighbors have the level of a pixel.

    Notes
    -----
    Columns are named ``gldzm_small_distance_emphasis``: ``gldzm_`` and IBSI's name of the feature.

    Color images are converted to their luma. Only pixels inside the mask are used. The distance of
    a zone is that of its pixel closest to the border: the number of steps along rows and columns
    that lead out of the region, or the image, 1 for a pixel at the border. Pixels that touch at a
    corner belong to one zone, as the IBSI defines it in two dimensions.

    References
    ----------
    .. [1] Thibault G, Angulo J, Meyer F. Advanced statistical matrices for texture
       characterization: application to cell classification. IEEE Transactions on Biomedical
       Engineering 61 (2014) 630-637, doi:10.1109/TBME.2013.2284600.
    .. [2] Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 295 (2020)
       328-338, doi:10.1148/radiol.2020191145; reference manual arXiv:1612.07003.

    Examples
    --------
    >>> from featbus import GLDZM, load_masked, make_breast_ultrasound
    >>> data = make_breast_ultrasound(4, weights=[1, 1, 0], random_state=0)
    >>> gldzm = GLDZM(levels=16)
    >>> gldzm.fit_transform(load_masked(data)).shape
    (4, 16)
    >>> str(gldzm.get_feature_names_out()[0])
    'gldzm_small_distance_emphasis'
    """

    _family = "gldzm"

    def _compute(self, levels):
        return distance_zone_features(distance_zone_matrix(levels), np.count_nonzero(levels))
