"""Gray-level run lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from featbus.feature_extraction._texture import (
    AGGREGATION,
    ANGLES,
    GrayLevelFeatures,
    as_levels,
    emphasis_features,
)
from featbus.parameters import SequenceOf, as_list

# Pixels counted at a time: intermediate arrays fit a processor's cache.
_STRIP = 1 << 14
_WORDS = {
    "small": "short",
    "large": "long",
    "part": "run",
    "parts": "runs",
    "joint": "run",
    "size_of": "run_length",
    "share_of": "run",
    "entropy_of": "run",
}


class _MultipleOf45Degrees:
    """An angle along rows, columns or diagonals."""

    def is_satisfied_by(self, value):
        if not isinstance(value, Real) or not abs(value) <= 2 * math.pi:
            return False
        steps = 4 * value / math.pi
        return abs(steps - round(steps)) <= 1e-6

    def __str__(self):
        return "a multiple of 45 degrees in radians, up to 2 pi (numpy.deg2rad converts)"


_ANGLE = _MultipleOf45Degrees()


def _lines(levels, direction):
    """Return the pixels along each line of a direction, in steps of 45 degrees, as rows.

    Each row of the result ends with a 0, and a 0 separates two lines that share a row.
    """
    height, width = levels.shape
    padded = np.zeros((height, width + 1), levels.dtype)
    padded[:, :width] = levels
    if direction == 0:
        return padded
    # `padded` has one more column than the image: a step of that many pixels leads to the next
    # row, and a step that leaves the image at a side meets a 0.
    step = width + (2, 1, 0)[direction - 1]
    n_steps = -(-padded.size // step)
    stepped = np.zeros((n_steps + 1, step), levels.dtype)
    stepped.ravel()[: padded.size] = padded.ravel()
    return cv2.transpose(stepped)


def _count_runs(lines, counts):
    """Add the number of runs of each level and length to the matrix `counts`."""
    n_levels, n_lines = len(counts), max(_STRIP // lines.shape[1], 1)
    for start in range(0, len(lines), n_lines):
        pixels = lines[start : start + n_lines].ravel()
        edges = np.flatnonzero(pixels[1:] != pixels[:-1])
        # The last pixel of a strip is 0: every run of another level ends at an edge.
        levels, lengths = pixels[edges].astype(np.intp), np.diff(edges, prepend=-1)
        inside = levels > 0
        levels, lengths = levels[inside], lengths[inside]
        longest = lengths.max(initial=0)
        numbers = (levels - 1) * longest + lengths - 1
        found = np.bincount(numbers, minlength=n_levels * longest)
        counts[:, :longest] += found.reshape(n_levels, longest)


def run_length_matrix(levels: np.ndarray, angles: float | Sequence[float] = ANGLES) -> np.ndarray:
    """Count the runs of each gray level and length.

    A run is a maximal sequence of adjacent pixels of one level along a direction.

    Parameters
    ----------
    levels : ndarray or MaskedArray of int of shape (height, width)
        Gray levels from 1; 0, or masked, outside of the region, where runs end.
    angles : float or sequence of float, default=(0, pi/4, pi/2, 3*pi/4)
        Directions in radians, multiples of 45 degrees: 0 is along a row, pi/2 down a column, pi/4
        down and to the right.

    Returns
    -------
    ndarray of int64 of shape (n_angles, n_levels, n_lengths)
        Entry ``[a, i, j]`` is the number of runs of the level ``i + 1`` and the length ``j + 1``,
        up to the longest run found.

    Examples
    --------
    >>> from featbus.feature_extraction._glrlm import run_length_matrix
    >>> run_length_matrix([[1, 1, 2], [1, 2, 2]], angles=[0])[0]
    array([[1, 1],
           [1, 1]])
    """
    levels = as_levels(levels)
    n_levels, longest = int(levels.max()), max(levels.shape)
    matrices = np.zeros((len(as_list(angles)), n_levels, longest), np.int64)
    for matrix, angle in zip(matrices, as_list(angles)):
        _count_runs(_lines(levels, round(4 * angle / math.pi) % 4), matrix)
    return matrices[:, :, : np.flatnonzero(matrices.any(axis=(0, 1)))[-1] + 1]


def run_length_features(matrices: ArrayLike) -> dict[str, np.ndarray]:
    """Compute IBSI's 16 gray-level run-length features ([1]_, section 3.7, [2]_), by IBSI's names.

    Parameters
    ----------
    matrices : array_like of shape (..., n_levels, n_lengths)
        Run-length matrices; rows are the gray levels from 1, columns the lengths from 1.

    Returns
    -------
    dict of str to ndarray of shape (...)
        *Run percentage* is the number of runs divided by the number of pixels, from 0 to 1; the
        pixels are counted in the matrix. In a sum of the matrices of four directions, each pixel
        counts four times, as the IBSI defines it. Entropy is in bits.

    References
    ----------
    .. [1] Zwanenburg A et al. Image biomarker standardisation initiative, reference manual,
       arXiv:1612.07003.
    .. [2] Galloway MM. Texture analysis using gray level run lengths. Computer Graphics and Image
       Processing 4 (1975) 172-179, doi:10.1016/S0146-664X(75)80008-6.

    Examples
    --------
    >>> from featbus.feature_extraction._glrlm import run_length_features
    >>> features = run_length_features([[1, 1], [1, 1]])
    >>> float(features["run_percentage"]), float(features["grey_level_non_uniformity"])
    (0.6666666666666666, 2.0)
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    return emphasis_features(matrices, np.arange(1, matrices.shape[-1] + 1), **_WORDS)


class GLRLM(GrayLevelFeatures):
    """Gray-level run lengths: how far one goes until the gray level changes.

    Coarse texture has long runs, fine texture short ones. 16 features are computed from the number
    of runs of each level and length ([1]_, [2]_).

    Read more in the :ref:`User Guide <glrlm>`.

    Parameters
    ----------
    angles : float or sequence of float, default=(0, pi/4, pi/2, 3*pi/4)
        Directions in radians, multiples of 45 degrees: 0 is along a row, pi/2 down a column.
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
    GLSZM : Zones of one level instead of runs.
    GLCM : Pairs of pixels.

    Notes
    -----
    Columns are named ``glrlm_short_runs_emphasis``: ``glrlm_`` and IBSI's name of the feature.

    Color images are converted to their luma. Only pixels inside the mask are used, and runs end at
    the border of the region.

    References
    ----------
    .. [1] Galloway MM. Texture analysis using gray level run lengths. Computer Graphics and Image
       Processing 4 (1975) 172-179, doi:10.1016/S0146-664X(75)80008-6.
    .. [2] Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 295 (2020)
       328-338, doi:10.1148/radiol.2020191145; reference manual arXiv:1612.07003.

    Examples
    --------
    >>> from featbus import GLRLM, make_breast_ultrasound
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> glrlm = GLRLM()
    >>> glrlm.fit_transform(images).shape
    (4, 16)
    >>> str(glrlm.get_feature_names_out()[0])
    'glrlm_short_runs_emphasis'
    """

    # 2: without intensity_range, the edges of bins are multiples of bin_width.
    # 3: the tolerance at the edges of bins follows the brightness of floating-point images.
    _algorithm_version = 3

    _family = "glrlm"

    _parameter_constraints = {"angles": [_ANGLE, SequenceOf(_ANGLE)], "aggregation": AGGREGATION}

    def __init__(
        self,
        *,
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
        self.angles = angles
        self.aggregation = aggregation

    def _compute(self, levels):
        matrices = run_length_matrix(levels, self.angles)
        if self.aggregation == "merge":
            matrices = matrices.sum(axis=0)
        return run_length_features(matrices)
