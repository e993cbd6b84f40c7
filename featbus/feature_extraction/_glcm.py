"""Gray-level co-occurrence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from featbus.base import Column
from featbus.feature_extraction._texture import (
    AGGREGATION,
    ANGLES,
    GrayLevelFeatures,
    as_levels,
    entropy,
    variance,
)
from featbus.images import ImageError
from featbus.parameters import POSITIVE_INTEGER, Interval, SequenceOf, as_list

# Pairs counted at a time: few enough for little memory, and for exact counts, as OpenCV counts in
# single precision, exact up to 2**24.
_STRIP = 2**20
# The number of a pair is 16 bits wide. Where that leaves room, it encodes the offset too.
_MOST_NUMBERS = 2**16
_ANGLE = Interval(Real, -2 * math.pi, 2 * math.pi, closed="both")


def _offset(distance, angle):
    """Return the step ``(down, right)`` of Chebyshev length `distance`, never upwards."""
    sine, cosine = math.sin(angle), math.cos(angle)
    length = max(abs(sine), abs(cosine))
    down, right = round(distance * sine / length), round(distance * cosine / length)
    return (-down, -right) if down < 0 else (down, right)


def _pairs(array, offset, start, stop):
    """Return two views: the pixels of rows `start` to `stop`, and those one `offset` further."""
    (height, width), (down, right) = array.shape, offset
    stop = max(min(stop, height - down), start)
    n_columns = max(width - abs(right), 0)
    left, moved = max(-right, 0), max(right, 0)
    return (
        array[start:stop, left : left + n_columns],
        array[start + down : stop + down, moved : moved + n_columns],
    )


def _histogram(numbers, n_bins):
    if numbers.size == 0 or numbers.dtype != np.uint16:
        return np.bincount(numbers, minlength=n_bins)
    # Up to four times as fast as bincount, if the numbers lie in one row.
    return cv2.calcHist([numbers[np.newaxis]], [0], None, [n_bins], [0, n_bins]).ravel()


def _number(bins, scaled, inside, n_bins, offsets, rows, numbers):
    """Number the pairs that start in `rows`; return the part of the buffer `numbers` in use."""
    end = 0
    for index, offset in enumerate(offsets):
        one, other = _pairs(scaled, offset, *rows)[0], _pairs(bins, offset, *rows)[1]
        if one.size == 0:
            continue
        # Twice as fast as NumPy for arrays with gaps between the rows.
        number = cv2.add(one, other, numbers[end : end + one.size].reshape(one.shape))
        number += numbers.dtype.type(index * n_bins)
        if inside is not None:
            number = number[np.logical_and(*_pairs(inside, offset, *rows))]
            numbers[end : end + number.size] = number
        end += number.size
    return numbers[:end]


def _count_pairs(levels, n_levels, offsets):
    """Count the pairs of levels at each offset, in both directions.

    Yields the matrices ``(n, n_levels, n_levels)`` of the next `n` offsets: as many as are fast to
    count and to evaluate together while they are in the cache.
    """
    inside = None if levels.all() else levels > 0
    n_bins = n_levels**2
    dtype = np.uint16 if n_bins <= _MOST_NUMBERS else np.int32
    n_together = min(max(_MOST_NUMBERS // n_bins, 1), len(offsets))
    # Outside the region, where the bin of level 0 is arbitrary, no pair is counted.
    bins = levels.astype(dtype) - dtype(1)
    scaled = bins * dtype(n_levels)
    n_rows = max(_STRIP // (n_together * bins.shape[1]), 1)
    numbers = np.empty(n_together * min(n_rows, bins.shape[0]) * bins.shape[1], dtype)
    for first in range(0, len(offsets), n_together):
        group = offsets[first : first + n_together]
        counts = np.zeros(len(group) * n_bins)
        for start in range(0, bins.shape[0], n_rows):
            rows = start, start + n_rows
            numbered = _number(bins, scaled, inside, n_bins, group, rows, numbers)
            counts += _histogram(numbered, counts.size)
        counts = counts.reshape(-1, n_levels, n_levels)
        yield counts + counts.transpose(0, 2, 1)


def cooccurrence_matrix(
    levels: np.ndarray,
    distance: int = 1,
    angles: float | Sequence[float] = ANGLES,
    n_levels: int | None = None,
) -> np.ndarray:
    """Count how often two gray levels occur at a distance from each other.

    Parameters
    ----------
    levels : ndarray or MaskedArray of int of shape (height, width)
        Gray levels from 1; 0, or masked, outside of the region, where no pairs are counted.
    distance : int, default=1
        Distance in pixels, by Chebyshev's norm: a distance of 2 at 45 degrees is two rows and two
        columns.
    angles : float or sequence of float, default=(0, pi/4, pi/2, 3*pi/4)
        Directions in radians: 0 is along a row, pi/2 down a column.
    n_levels : int or None, default=None
        Number of gray levels; None for the largest that occurs.

    Returns
    -------
    ndarray of float64 of shape (n_angles, n_levels, n_levels)
        Entry ``[a, i, j]`` is the number of pairs of the levels ``i + 1`` and ``j + 1``. Each pair
        is counted in both directions: the matrices are symmetric.

    Notes
    -----
    At a distance of 1, and along rows and columns at any distance, the matrices equal those of
    ``skimage.feature.graycomatrix(..., symmetric=True)``, with other axes and without its level 0.
    At other angles, scikit-image uses the Euclidean length: its distance 2 at 45 degrees, rounded,
    is one row and one column.

    Examples
    --------
    >>> from featbus.feature_extraction._glcm import cooccurrence_matrix
    >>> cooccurrence_matrix([[1, 1, 2], [1, 2, 2]], angles=[0])[0]
    array([[2., 2.],
           [2., 2.]])
    """
    levels = as_levels(levels)
    n_levels = int(levels.max() if n_levels is None else n_levels)
    offsets = [_offset(distance, angle) for angle in as_list(angles)]
    return np.concatenate(list(_count_pairs(levels, n_levels, offsets)))


def _diagonal_sums(matrices):
    """Sum each antidiagonal, where ``i + j`` is constant: ``(n, k, k)`` to ``(n, 2 k - 1)``."""
    n, k, _ = matrices.shape
    # Read with rows one shorter than they are, each row starts one column further right.
    wide = np.zeros((n, k, 2 * k))
    wide[:, :, :k] = matrices
    return wide.reshape(n, -1)[:, : k * (2 * k - 1)].reshape(n, k, 2 * k - 1).sum(axis=1)


def _features(matrices):
    """Compute the features of symmetric matrices ``(n, n_levels, n_levels)``, none all 0."""
    n, n_levels, _ = matrices.shape
    p = matrices / matrices.sum(axis=(1, 2), keepdims=True)
    flat = p.reshape(n, -1)
    marginal = p.sum(axis=1)
    p_sum = _diagonal_sums(p)
    p_difference = _diagonal_sums(p[:, :, ::-1])[:, n_levels - 1 :]
    p_difference[:, 1:] *= 2

    level = np.arange(1, n_levels + 1)
    difference = np.arange(n_levels)
    square = difference**2
    mean, joint_variance = marginal @ level, variance(marginal, level)
    weights = (
        square,
        difference,
        1 / (1 + difference),
        1 / (1 + difference / n_levels),
        1 / (1 + square),
        1 / (1 + square / n_levels**2),
        np.divide(1, square, where=square > 0, out=np.zeros(n_levels)),
    )
    contrast, dissimilarity, inverse, normalised, inverse_moment, normalised_moment, by_square = (
        weights @ p_difference.T
    )
    deviation = np.arange(2, 2 * n_levels + 1) - 2 * mean[:, np.newaxis]
    weighted = p_sum * deviation**2
    moments = weighted, weighted * deviation, weighted * deviation**2
    sum_variance, shade, prominence = (moment.sum(axis=1) for moment in moments)
    joint_entropy, marginal_entropy = entropy(flat), entropy(marginal)
    # Equals IBSI's HXY1 and HXY2, as the matrix is symmetric.
    independent_entropy = 2 * marginal_entropy
    return {
        "joint_maximum": flat.max(axis=1),
        "joint_average": mean,
        "joint_variance": joint_variance,
        "joint_entropy": joint_entropy,
        "difference_average": dissimilarity,
        "difference_variance": variance(p_difference, difference),
        "difference_entropy": entropy(p_difference),
        "sum_average": 2 * mean,
        "sum_variance": sum_variance,
        "sum_entropy": entropy(p_sum),
        "angular_second_moment": np.square(flat).sum(axis=1),
        "contrast": contrast,
        "dissimilarity": dissimilarity,
        "inverse_difference": inverse,
        "normalised_inverse_difference": normalised,
        "inverse_difference_moment": inverse_moment,
        "normalised_inverse_difference_moment": normalised_moment,
        "inverse_variance": by_square,
        # With (i - j)^2 = i^2 + j^2 - 2 i j, the mean of i j follows from the contrast.
        "correlation": 1 - _quotient(contrast, 2 * joint_variance),
        "autocorrelation": joint_variance + mean**2 - contrast / 2,
        "cluster_tendency": sum_variance,
        "cluster_shade": shade,
        "cluster_prominence": prominence,
        "information_correlation_1": _quotient(
            joint_entropy - independent_entropy, marginal_entropy
        ),
        "information_correlation_2": np.sqrt(
            1 - np.exp(-2 * np.maximum(independent_entropy - joint_entropy, 0))
        ),
    }


def _quotient(dividend, divisor):
    return np.divide(dividend, divisor, where=divisor > 0, out=np.zeros_like(divisor))


def cooccurrence_features(matrices: ArrayLike) -> dict[str, np.ndarray]:
    """Compute IBSI's 25 co-occurrence features ([1]_, section 3.6, [2]_), by IBSI's names.

    Parameters
    ----------
    matrices : array_like of shape (..., n_levels, n_levels)
        Symmetric co-occurrence matrices, as counts or as probabilities; rows and columns are the
        gray levels from 1.

    Returns
    -------
    dict of str to ndarray of shape (...)
        Where all pixels have one level and the definition gives 0/0, `correlation` is 1, as in
        scikit-image, and both information correlations are 0.

    Notes
    -----
    Other libraries use other names. *Angular second moment* is scikit-image's ``ASM``, and its
    ``energy`` is the square root of it. *Inverse difference moment* is scikit-image's
    ``homogeneity``, a name that others use for *inverse difference*. Entropies are in bits
    (`log2`), those of scikit-image in nats. Gray levels start at 1, not at 0: averages and
    autocorrelation depend on it. *Cluster tendency* equals *sum variance*, and *dissimilarity*
    equals *difference average*: IBSI lists each under both names.

    *Normalised inverse difference* and *normalised inverse difference moment* divide differences by
    the number of levels, here the size of the matrices. `GLCM` takes the highest level found in the
    image or its region, as do MIRP and pyradiomics. All other features are the same for matrices
    with more rows and columns of zeros.

    References
    ----------
    .. [1] Zwanenburg A et al. Image biomarker standardisation initiative, reference manual,
       arXiv:1612.07003.
    .. [2] Haralick RM, Shanmugam K, Dinstein I. Textural features for image classification. IEEE
       Transactions on Systems, Man, and Cybernetics 3 (1973) 610-621,
       doi:10.1109/TSMC.1973.4309314.

    Examples
    --------
    >>> from featbus.feature_extraction._glcm import cooccurrence_features
    >>> features = cooccurrence_features([[4, 1], [1, 2]])
    >>> float(features["contrast"]), float(features["joint_maximum"])
    (0.25, 0.5)
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    shape = matrices.shape
    features = _features(matrices.reshape(-1, *shape[-2:]))
    return {name: values.reshape(shape[:-2])[()] for name, values in features.items()}


class GLCM(GrayLevelFeatures):
    """Gray-level co-occurrence: Haralick's texture features, as standardized by the IBSI.

    The 25 features of each distance are computed from how often two gray levels are neighbors in
    four directions ([1]_, [2]_).

    Read more in the :ref:`User Guide <glcm>`.

    Parameters
    ----------
    distances : int or sequence of int, default=(1,)
        Distances in pixels between the two pixels of a pair, by Chebyshev's norm: a distance of 2
        at 45 degrees is two rows and two columns. Each has its own columns.
    angles : float or sequence of float, default=(0, pi/4, pi/2, 3*pi/4)
        Directions in radians: 0 is along a row, pi/2 down a column. Pairs are counted in both
        directions.
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
    aggregation : {"average", "merge"}, default="average"
        "average" averages the features of the angles (IBSI's *2D averaged*); "merge" computes them
        once from the sum of the matrices (*2D merged*).
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.

    See Also
    --------
    GLRLM : Runs of one level.
    GLSZM : Zones of one level.
    LBP : Texture independent of brightness.

    Notes
    -----
    Columns are named ``glcm_d1_contrast``: ``glcm_d``, the distance, and IBSI's name of the
    feature.

    Color images are converted to their luma; 16-bit images are discretized from all their values.
    In a masked image, only pairs with both pixels inside the region are counted. The normalised
    inverse differences are normalized by the highest level found in the image or its region. An
    angle without any pair, as in an image of one row, is left out; an image without a pair at any
    angle is an error.

    References
    ----------
    .. [1] Haralick RM, Shanmugam K, Dinstein I. Textural features for image classification. IEEE
       Transactions on Systems, Man, and Cybernetics 3 (1973) 610-621,
       doi:10.1109/TSMC.1973.4309314.
    .. [2] Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 295 (2020)
       328-338, doi:10.1148/radiol.2020191145; reference manual arXiv:1612.07003.

    Examples
    --------
    >>> from featbus import GLCM, make_breast_ultrasound
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> glcm = GLCM(distances=[1, 3])
    >>> glcm.fit_transform(images).shape
    (4, 50)
    >>> str(glcm.get_feature_names_out()[11])
    'glcm_d1_contrast'
    """

    # 2: the order of summation does not depend on memory layout.
    # 3: without intensity_range, the edges of bins are multiples of bin_width; inverse differences
    # are normalized by the highest level found, not by the number of bins.
    # 4: the tolerance at the edges of bins follows the brightness of floating-point images.
    _algorithm_version = 4

    _family = "glcm"

    _parameter_constraints = {
        "distances": [POSITIVE_INTEGER, SequenceOf(POSITIVE_INTEGER)],
        "angles": [_ANGLE, SequenceOf(_ANGLE)],
        "aggregation": AGGREGATION,
    }

    def __init__(
        self,
        *,
        distances: int | Sequence[int] = (1,),
        angles: float | Sequence[float] = ANGLES,
        levels: int = 32,
        bin_width: float | None = None,
        intensity_range: tuple[float, ...] | None = None,
        aggregation: Literal["average", "merge"] = "average",
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(
            levels=levels, bin_width=bin_width, intensity_range=intensity_range, dtype=dtype
        )
        self.distances = distances
        self.angles = angles
        self.aggregation = aggregation

    def _compute(self, levels):
        rows = [self._compute_at(distance, levels) for distance in as_list(self.distances)]
        return dict(enumerate(np.concatenate(rows)))

    def _compute_at(self, distance, levels):
        offsets = [_offset(distance, angle) for angle in as_list(self.angles)]
        groups = _count_pairs(levels, int(levels.max()), offsets)
        if self.aggregation == "merge":
            groups = [sum(counts.sum(axis=0, keepdims=True) for counts in groups)]
        groups = (counts[counts.any(axis=(1, 2))] for counts in groups)
        rows = [np.array(list(_features(counts).values())) for counts in groups if len(counts)]
        if not rows:
            raise ImageError(
                f"found no two pixels at distance {distance} in the image, or its region, of "
                f"{levels.shape[0]} x {levels.shape[1]} pixels. Use smaller distances."
            )
        return np.concatenate(rows, axis=1).mean(axis=1)

    def _columns(self):
        for distance in as_list(self.distances):
            for name in _features(np.ones((1, 1, 1))):
                yield Column(
                    f"glcm_d{distance}_{name}", f"{name.replace('_', ' ')} at distance {distance}"
                )
