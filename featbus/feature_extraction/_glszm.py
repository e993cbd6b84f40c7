"""Gray-level zone sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

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
    "parts": "zone",
    "joint": "zone",
    "size_of": "zone_size",
    "share_of": "zone",
    "entropy_of": "zone_size",
}


def size_zone_matrix(levels: np.ndarray) -> Any:
    """Count the zones of each gray level and size.

    A zone is a set of pixels of one level that are connected along rows, columns or diagonals.

    Parameters
    ----------
    levels : ndarray or MaskedArray of int of shape (height, width)
        Gray levels from 1; 0, or masked, outside of the region, where zones end.

    Returns
    -------
    scipy.sparse.coo_array of int64 of shape (n_levels, n_sizes)
        Entry ``[i, j]`` is the number of zones of the level ``i + 1`` and of ``j + 1`` pixels, up
        to the largest zone found. Sparse, as a zone may be as large as the image.

    Examples
    --------
    >>> from featbus.feature_extraction._glszm import size_zone_matrix
    >>> size_zone_matrix([[1, 2, 1], [2, 2, 1]]).toarray()
    array([[1, 1, 0],
           [0, 0, 1]])
    """
    levels = as_levels(levels)
    zones, levels_of = label_zones(levels)
    sizes = np.bincount(zones)[1:]
    largest = sizes.max()
    numbers = (levels_of - 1) * largest + sizes - 1
    entries, counts = np.unique(numbers, return_counts=True)
    return sparse.coo_array((counts, divmod(entries, largest)), (levels.max(), largest))


def size_zone_features(matrix: Any) -> dict[str, float]:
    """Compute IBSI's 16 gray-level size-zone features ([1]_, section 3.8, [2]_), by IBSI's names.

    Parameters
    ----------
    matrix : array_like or sparse array of shape (n_levels, n_sizes)
        A size-zone matrix; rows are the gray levels from 1, columns the sizes from 1.

    Returns
    -------
    dict of str to numpy.float64
        *Zone percentage* is the number of zones divided by the number of pixels, from 0 to 1; the
        pixels are counted in the matrix. Entropy is in bits.

    References
    ----------
    .. [1] Zwanenburg A et al. Image biomarker standardisation initiative, reference manual,
       arXiv:1612.07003.
    .. [2] Thibault G et al. Texture indexes and gray level size zone matrix: application to cell
       nuclei classification. Pattern Recognition and Information Processing (2009) 140-145.

    Examples
    --------
    >>> from featbus.feature_extraction._glszm import size_zone_features
    >>> features = size_zone_features([[1, 1, 0], [0, 0, 1]])
    >>> float(features["zone_percentage"]), float(features["high_grey_level_zone_emphasis"])
    (0.5, 2.0)
    """
    matrix = sparse.coo_array(matrix)
    # Only the sizes that occur: few of them do.
    sizes, columns = np.unique(matrix.col + 1, return_inverse=True)
    counts = np.zeros((matrix.shape[0], len(sizes)))
    np.add.at(counts, (matrix.row, columns), matrix.data)
    return emphasis_features(counts, sizes, **_WORDS)


class GLSZM(GrayLevelFeatures):
    """Gray-level zone sizes: how large the patches of one gray level are.

    A zone is a set of connected pixels of one level. 16 features are computed from the number of
    zones of each level and size ([1]_, [2]_).

    Read more in the :ref:`User Guide <glszm>`.

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
    GLRLM : Runs along a direction instead of zones.
    GLDZM : Distances of zones from the border.
    GLCM : Pairs of pixels.

    Notes
    -----
    Columns are named ``glszm_small_zone_emphasis``: ``glszm_`` and IBSI's name of the feature.

    Color images are converted to their luma. Only pixels inside the mask are used, and zones end at
    the border of the region. Pixels that touch at a corner are connected, as the IBSI defines it in
    two dimensions.

    References
    ----------
    .. [1] Thibault G et al. Texture indexes and gray level size zone matrix: application to cell
       nuclei classification. Pattern Recognition and Information Processing (2009) 140-145.
    .. [2] Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 295 (2020)
       328-338, doi:10.1148/radiol.2020191145; reference manual arXiv:1612.07003.

    Examples
    --------
    >>> from featbus import GLSZM, make_breast_ultrasound
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> glszm = GLSZM(levels=16)
    >>> glszm.fit_transform(images).shape
    (4, 16)
    >>> str(glszm.get_feature_names_out()[0])
    'glszm_small_zone_emphasis'
    """

    # 2: without intensity_range, the edges of bins are multiples of bin_width.
    # 3: the tolerance at the edges of bins follows the brightness of floating-point images.
    _algorithm_version = 3

    _family = "glszm"

    def _compute(self, levels):
        return size_zone_features(size_zone_matrix(levels))
