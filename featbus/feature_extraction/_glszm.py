"""Gray-level zone sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from skimage.measure import label

from featbus.base import Column, FeatureExtractor
from featbus.feature_extraction._texture import (
    LEVELS_CONSTRAINTS,
    check_counts,
    checked_levels,
    crop_to_region,
    emphasis_features,
    grey_levels,
)

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import DTypeLike

_NAMES = (
    "small_zone_emphasis",
    "large_zone_emphasis",
    "low_grey_level_zone_emphasis",
    "high_grey_level_zone_emphasis",
    "small_zone_low_grey_level_emphasis",
    "small_zone_high_grey_level_emphasis",
    "large_zone_low_grey_level_emphasis",
    "large_zone_high_grey_level_emphasis",
    "grey_level_non_uniformity",
    "normalised_grey_level_non_uniformity",
    "zone_size_non_uniformity",
    "normalised_zone_size_non_uniformity",
    "zone_percentage",
    "grey_level_variance",
    "zone_size_variance",
    "zone_size_entropy",
)


def _zones(levels):
    """Return level and size of each zone; pixels of level 0 belong to no zone."""
    zones = label(levels, background=0, connectivity=2).ravel()
    sizes = np.bincount(zones)
    levels_of = np.zeros(len(sizes), np.int64)
    levels_of[zones] = levels.ravel()
    return levels_of[1:], sizes[1:]


def size_zone_matrix(levels: np.ndarray, n_levels: int | None = None) -> Any:
    """Count the zones of each gray level and size.

    A zone is a set of pixels of one level that are connected along rows, columns or diagonals.

    Read more in the :ref:`User Guide <glszm>`.

    Parameters
    ----------
    levels : ndarray or MaskedArray of int of shape (height, width)
        Gray levels from 1 to `n_levels`, see `grey_levels`. In a masked array, zones end at the
        border of the region.
    n_levels : int or None, default=None
        Number of gray levels, up to 1024; None for the largest that occurs.

    Returns
    -------
    scipy.sparse.csr_array of int64 of shape (n_levels, n_sizes)
        Entry ``[i, j]`` is the number of zones of the level ``i + 1`` and of ``j + 1`` pixels, up
        to the largest zone found. Sparse, as a zone may be as large as the image.

    Raises
    ------
    ValueError
        If a level is not an integer from 1 to `n_levels`, or if `n_levels` is invalid.

    See Also
    --------
    size_zone_features : Features of the matrix.

    Examples
    --------
    >>> from featbus.feature_extraction import size_zone_matrix
    >>> size_zone_matrix([[1, 2, 1], [2, 2, 1]]).toarray()
    array([[1, 1, 0],
           [0, 0, 1]])
    """
    levels, n_levels = checked_levels(levels, n_levels)
    levels_of, sizes = _zones(levels)
    largest = sizes.max()
    entries, counts = np.unique((levels_of - 1) * largest + sizes - 1, return_counts=True)
    return sparse.coo_array((counts, divmod(entries, largest)), (n_levels, largest)).tocsr()


def size_zone_features(matrix: Any) -> dict[str, float]:
    """Compute the size-zone features of the Image Biomarker Standardisation Initiative.

    Read more in the :ref:`User Guide <glszm>`.

    Parameters
    ----------
    matrix : array_like or sparse array of shape (n_levels, n_sizes)
        A size-zone matrix; rows are the gray levels from 1, columns the sizes from 1.

    Returns
    -------
    dict of str to float
        IBSI's 16 gray-level size-zone features ([1]_, section 3.8, [2]_), by IBSI's names.

    Raises
    ------
    ValueError
        If the matrix has negative or NaN entries, or only zeros.

    See Also
    --------
    size_zone_matrix : Compute the matrix.

    Notes
    -----
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
    >>> from featbus.feature_extraction import size_zone_features
    >>> features = size_zone_features([[1, 1, 0], [0, 0, 1]])
    >>> features["zone_percentage"], features["high_grey_level_zone_emphasis"]
    (0.5, 2.0)
    """
    if not sparse.issparse(matrix):
        matrix = np.asarray(matrix)
        if matrix.ndim != 2:
            raise ValueError(f"Expected a matrix of shape (n_levels, n), got {matrix.shape}.")
    entries = sparse.coo_array(matrix)
    # Only the sizes that occur: few of them do.
    sizes, columns = np.unique(entries.col + 1, return_inverse=True)
    counts = np.zeros((1, entries.shape[0], max(len(sizes), 1)))
    np.add.at(counts[0], (entries.row, columns), entries.data)
    check_counts(counts)
    return {name: float(value) for name, (value,) in zip(_NAMES, emphasis_features(counts, sizes))}


class GLSZM(FeatureExtractor):
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
    featbus.feature_extraction.size_zone_features : The features.
    featbus.feature_extraction.size_zone_matrix : The counts.
    featbus.feature_extraction.grey_levels : The levels.
    GLRLM : Runs along a direction instead of zones.
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

    _parameter_constraints = LEVELS_CONSTRAINTS

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
        levels = grey_levels(
            crop_to_region(image), self.levels, self.bin_width, self.intensity_range
        )
        return np.array(list(size_zone_features(size_zone_matrix(levels)).values()))

    def _columns(self):
        return [Column(f"glszm_{name}", name.replace("_", " ")) for name in _NAMES]
