"""Differences between gray tones and their neighborhoods."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from featbus.feature_extraction._texture import GrayLevelFeatures, as_levels, quotient
from featbus.parameters import POSITIVE_INTEGER


def tone_difference_matrix(levels: np.ndarray, distance: int = 1) -> np.ndarray:
    """Sum up how far the pixels of each gray level are from the mean of their neighbors.

    Parameters
    ----------
    levels : ndarray or MaskedArray of int of shape (height, width)
        Gray levels from 1; 0, or masked, outside of the region.
    distance : int, default=1
        Neighbors are the pixels of the region up to this many rows and columns away.

    Returns
    -------
    ndarray of float64 of shape (n_levels, 2)
        For each level, the number of its pixels that have a neighbor, and the sum of their absolute
        differences from the mean of their neighbors.

    Examples
    --------
    >>> from featbus.feature_extraction._ngtdm import tone_difference_matrix
    >>> tone_difference_matrix([[1, 1, 3]])
    array([[2., 1.],
           [0., 0.],
           [1., 2.]])
    """
    levels = as_levels(levels)
    side = 2 * distance + 1
    add_up = partial(
        cv2.boxFilter,
        ddepth=cv2.CV_64F,
        ksize=(side, side),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )
    inside = levels > 0
    n_neighbors = add_up(inside.view(np.uint8)) - 1
    inside &= n_neighbors > 0
    own = levels[inside]
    mean = (add_up(levels)[inside] - own) / n_neighbors[inside]
    bins = int(levels.max()) + 1
    sums = np.bincount(own, np.abs(own - mean), bins)
    return np.stack([np.bincount(own, minlength=bins), sums], axis=1)[1:]


def tone_difference_features(matrix: ArrayLike) -> dict[str, float]:
    """Compute IBSI's 5 features of gray-tone differences ([1]_, section 3.10, [2]_).

    Parameters
    ----------
    matrix : array_like of shape (n_levels, 2)
        A matrix of `tone_difference_matrix`.

    Returns
    -------
    dict of str to numpy.float64
        By IBSI's names. *Coarseness* is at most 1e6, the value of a constant image. A quotient
        whose divisor is 0 is 0.

    References
    ----------
    .. [1] Zwanenburg A et al. Image biomarker standardisation initiative, reference manual,
       arXiv:1612.07003.
    .. [2] Amadasun M, King R. Textural features corresponding to textural properties. IEEE
       Transactions on Systems, Man, and Cybernetics 19 (1989) 1264-1274, doi:10.1109/21.44046.

    Examples
    --------
    >>> from featbus.feature_extraction._ngtdm import tone_difference_features
    >>> features = tone_difference_features([[2, 1], [0, 0], [1, 2]])
    >>> float(features["coarseness"].round(6)), float(features["busyness"].round(6))
    (0.75, 2.0)
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    occupied = np.flatnonzero(matrix[:, 0])
    counts, sums = matrix[occupied].T
    n_levels, n_pixels = len(occupied), counts.sum()
    p, level = counts / max(n_pixels, 1), occupied + 1.0
    busy, share = p @ sums, level * p
    distance = np.abs(np.subtract.outer(level, level))
    either = np.add.outer(p, p)
    differing = distance * np.add.outer(p * sums, p * sums) / either
    contrast = quotient(p @ distance**2 @ p, n_levels * (n_levels - 1))
    return {
        "coarseness": 1 / max(busy, 1e-6),
        "contrast": quotient(contrast * sums.sum(), n_pixels),
        "busyness": quotient(busy, np.abs(np.subtract.outer(share, share)).sum()),
        "complexity": quotient(differing.sum(), n_pixels),
        "strength": quotient((either * distance**2).sum(), sums.sum()),
    }


class NGTDM(GrayLevelFeatures):
    """Gray-tone differences: how much pixels differ from the mean of their neighbors.

    Five features, named after how people describe textures ([1]_), are computed from the
    neighborhood gray-tone difference matrix ([2]_).

    Read more in the :ref:`User Guide <ngtdm>`.

    Parameters
    ----------
    distance : int, default=1
        Neighbors are the pixels up to this many rows and columns away: 8 at distance 1.
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
    NGLDM : How many neighbors have the level of a pixel.
    GLCM : Pairs of pixels.

    Notes
    -----
    Columns are named ``ngtdm_coarseness``: ``ngtdm_`` and IBSI's name of the feature.

    Color images are converted to their luma. Only pixels inside the mask are used, and the mean is
    that of the neighbors inside; a pixel without any is left out. *Coarseness* is at most 1e6, the
    value of a constant image, whose other features are 0.

    References
    ----------
    .. [1] Amadasun M, King R. Textural features corresponding to textural properties. IEEE
       Transactions on Systems, Man, and Cybernetics 19 (1989) 1264-1274, doi:10.1109/21.44046.
    .. [2] Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 295 (2020)
       328-338, doi:10.1148/radiol.2020191145; reference manual arXiv:1612.07003.

    Examples
    --------
    >>> from featbus import NGTDM, make_breast_ultrasound
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> ngtdm = NGTDM()
    >>> ngtdm.fit_transform(images).shape
    (4, 5)
    >>> str(ngtdm.get_feature_names_out()[0])
    'ngtdm_coarseness'
    """

    _family = "ngtdm"

    _parameter_constraints = {"distance": [POSITIVE_INTEGER]}

    def __init__(
        self,
        *,
        distance: int = 1,
        levels: int = 32,
        bin_width: float | None = None,
        intensity_range: tuple[float, ...] | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(
            levels=levels, bin_width=bin_width, intensity_range=intensity_range, dtype=dtype
        )
        self.distance = distance

    def _compute(self, levels):
        return tone_difference_features(tone_difference_matrix(levels, self.distance))
