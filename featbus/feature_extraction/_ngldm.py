"""Dependence of gray levels on their neighbors."""

from __future__ import annotations

from itertools import product
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from featbus.feature_extraction._texture import GrayLevelFeatures, as_levels, emphasis_features
from featbus.parameters import POSITIVE_INTEGER, Interval

_WORDS = {
    "small": "low",
    "large": "high",
    "part": "count",
    "parts": "dependence",
    "joint": "dependence",
    "size_of": "dependence_count",
    "share_of": "dependence_count",
    "entropy_of": "dependence_count",
}


def dependence_matrix(levels: np.ndarray, distance: int = 1, coarseness: int = 0) -> np.ndarray:
    """Count the pixels of each gray level and number of dependent neighbors.

    Parameters
    ----------
    levels : ndarray or MaskedArray of int of shape (height, width)
        Gray levels from 1; 0, or masked, outside of the region.
    distance : int, default=1
        Neighbors are the pixels of the region up to this many rows and columns away.
    coarseness : int, default=0
        A neighbor is dependent if its level differs by at most this number.

    Returns
    -------
    ndarray of int64 of shape (n_levels, n_neighbors + 1)
        Entry ``[i, j]`` is the number of pixels of the level ``i + 1`` with ``j`` dependent
        neighbors.

    Examples
    --------
    >>> from featbus.feature_extraction._ngldm import dependence_matrix
    >>> dependence_matrix([[1, 1, 2], [1, 2, 2]])[:, :4]
    array([[0, 0, 3, 0],
           [0, 0, 3, 0]])
    """
    levels = as_levels(levels)
    inside = levels > 0
    # Outside, farther from all levels than neighbors may differ.
    values = np.where(inside, levels.astype(np.int32), -coarseness)
    padded = np.pad(values, distance, constant_values=-coarseness)
    (height, width), side = values.shape, 2 * distance + 1
    counts = np.zeros(values.shape, np.intp)
    for row, column in product(range(side), repeat=2):
        neighbors = padded[row : row + height, column : column + width]
        counts += np.abs(neighbors - values) <= coarseness
    # A pixel itself was counted, too.
    numbers = (values[inside] - 1) * side**2 + counts[inside] - 1
    n_levels = int(levels.max())
    return np.bincount(numbers, minlength=n_levels * side**2).reshape(n_levels, side**2)


def dependence_features(matrix: ArrayLike) -> dict[str, float]:
    """Compute IBSI's 17 gray-level dependence features ([1]_, section 3.11, [2]_), by IBSI's names.

    Parameters
    ----------
    matrix : array_like of shape (n_levels, n_neighbors + 1)
        A matrix of `dependence_matrix`.

    Returns
    -------
    dict of str to numpy.float64
        The size of a neighborhood is the number of dependent neighbors plus 1, for the pixel
        itself. Entropy is in bits.

    References
    ----------
    .. [1] Zwanenburg A et al. Image biomarker standardisation initiative, reference manual,
       arXiv:1612.07003.
    .. [2] Sun C, Wee WG. Neighboring gray level dependence matrix for texture classification.
       Computer Vision, Graphics, and Image Processing 23 (1983) 341-352,
       doi:10.1016/0734-189X(83)90032-4.

    Examples
    --------
    >>> from featbus.feature_extraction._ngldm import dependence_features
    >>> features = dependence_features([[0, 0, 3], [0, 0, 3]])
    >>> float(features["high_dependence_emphasis"]), float(features["dependence_count_energy"])
    (9.0, 0.5)
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    sizes, n_pixels = np.arange(1, matrix.shape[1] + 1), matrix.sum()
    energy = np.square(matrix / n_pixels).sum()
    features = emphasis_features(matrix, sizes, n_pixels, **_WORDS)
    return features | {"dependence_count_energy": energy}


class NGLDM(GrayLevelFeatures):
    """Gray-level dependence: how many neighbors have the gray level of a pixel.

    17 features are computed from the number of pixels of each level and number of dependent
    neighbors, the neighboring gray-level dependence matrix ([1]_, [2]_).

    Read more in the :ref:`User Guide <ngldm>`.

    Parameters
    ----------
    distance : int, default=1
        Neighbors are the pixels up to this many rows and columns away: 8 at distance 1.
    coarseness : int, default=0
        A neighbor is dependent if its level differs by at most this number (IBSI's *coarseness
        parameter*).
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
    NGTDM : How much pixels differ from the mean of their neighbors.
    GLSZM : Zones of one level.

    Notes
    -----
    Columns are named ``ngldm_low_dependence_emphasis``: ``ngldm_`` and IBSI's name of the feature.
    ``ngldm_dependence_count_percentage`` is always 1: every pixel has a neighborhood.

    Color images are converted to their luma. Only pixels inside the mask are used, and only their
    neighbors inside it are counted.

    References
    ----------
    .. [1] Sun C, Wee WG. Neighboring gray level dependence matrix for texture classification.
       Computer Vision, Graphics, and Image Processing 23 (1983) 341-352,
       doi:10.1016/0734-189X(83)90032-4.
    .. [2] Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 295 (2020)
       328-338, doi:10.1148/radiol.2020191145; reference manual arXiv:1612.07003.

    Examples
    --------
    >>> from featbus import NGLDM, make_breast_ultrasound
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> ngldm = NGLDM(levels=16)
    >>> ngldm.fit_transform(images).shape
    (4, 17)
    >>> str(ngldm.get_feature_names_out()[0])
    'ngldm_low_dependence_emphasis'
    """

    _family = "ngldm"

    _parameter_constraints = {
        "distance": [POSITIVE_INTEGER],
        "coarseness": [Interval(Integral, 0, 1024, closed="both")],
    }

    def __init__(
        self,
        *,
        distance: int = 1,
        coarseness: int = 0,
        levels: int = 32,
        bin_width: float | None = None,
        intensity_range: tuple[float, ...] | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(
            levels=levels, bin_width=bin_width, intensity_range=intensity_range, dtype=dtype
        )
        self.distance = distance
        self.coarseness = coarseness

    def _compute(self, levels):
        return dependence_features(dependence_matrix(levels, self.distance, self.coarseness))
