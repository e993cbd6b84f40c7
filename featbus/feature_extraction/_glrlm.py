"""Grey-level run lengths."""

import math

import cv2
import numpy as np

from featbus.base import FeatureExtractor
from featbus.feature_extraction._texture import (
    AGGREGATIONS,
    ANGLES,
    check_counts,
    checked_levels,
    crop_to_region,
    emphasis_features,
    grey_levels,
)

# Pixels that are counted at once: what they need fits a processor's cache.
_STRIP = 1 << 14
_NAMES = (
    "short_runs_emphasis",
    "long_runs_emphasis",
    "low_grey_level_run_emphasis",
    "high_grey_level_run_emphasis",
    "short_run_low_grey_level_emphasis",
    "short_run_high_grey_level_emphasis",
    "long_run_low_grey_level_emphasis",
    "long_run_high_grey_level_emphasis",
    "grey_level_non_uniformity",
    "normalised_grey_level_non_uniformity",
    "run_length_non_uniformity",
    "normalised_run_length_non_uniformity",
    "run_percentage",
    "grey_level_variance",
    "run_length_variance",
    "run_entropy",
)


def _direction(angle):
    """Return which of the four directions an angle is, in steps of 45 degrees."""
    steps = 4 * angle / math.pi
    if abs(steps) > 8 or abs(steps - round(steps)) > 1e-6:
        raise ValueError(
            f"Found the angle {angle}, expected a multiple of 45 degrees in radians: "
            "numpy.deg2rad converts."
        )
    return round(steps) % 4


def _lines(levels, direction):
    """Return the pixels along each line of one direction; a row of the result ends with a 0.

    Between two lines that share a row lies a 0, too.
    """
    height, width = levels.shape
    padded = np.zeros((height, width + 1), levels.dtype)
    padded[:, :width] = levels
    if direction == 0:
        return padded
    # One column more than the image has: a step of so many pixels is a step to the next row, and
    # one that leaves the image at a side meets a 0.
    step = width + (2, 1, 0)[direction - 1]
    n_steps = -(-padded.size // step)
    stepped = np.zeros((n_steps + 1, step), levels.dtype)
    stepped.ravel()[: padded.size] = padded.ravel()
    return cv2.transpose(stepped)


def _count_runs(lines, n_levels):
    """Count the runs of each level and length, up to the longest."""
    counts = np.zeros((n_levels, lines.shape[1] - 1), np.int64)
    n_lines = max(_STRIP // lines.shape[1], 1)
    for start in range(0, len(lines), n_lines):
        pixels = lines[start : start + n_lines].ravel()
        edges = np.flatnonzero(pixels[1:] != pixels[:-1])
        # The last pixel of a strip is a 0: of all runs but one of those, the end is an edge.
        levels, lengths = pixels[edges].astype(np.intp), np.diff(edges, prepend=-1)
        inside = levels > 0
        levels, lengths = levels[inside], lengths[inside]
        longest = lengths.max(initial=0)
        numbers = (levels - 1) * longest + lengths - 1
        found = np.bincount(numbers, minlength=n_levels * longest)
        counts[:, :longest] += found.reshape(n_levels, longest)
    return counts[:, : np.flatnonzero(counts.any(axis=0))[-1] + 1].copy()


def run_length_matrix(levels, angles=ANGLES, n_levels=None):
    """Count the runs of each grey level and length.

    A run is a row of pixels of one level along a direction that no longer run contains.

    Parameters
    ----------
    levels : ndarray or MaskedArray of int of shape (height, width)
        Grey levels from 1 to `n_levels`, see `grey_levels`. Of a masked array, runs end where the
        region does.
    angles : sequence of float, default=(0, pi/4, pi/2, 3*pi/4)
        Directions in radians, multiples of 45 degrees: 0 is along a row, pi/2 down a column, pi/4
        down and to the right.
    n_levels : int or None, default=None
        Number of grey levels; None for the largest that occurs.

    Returns
    -------
    ndarray of int64 of shape (n_angles, n_levels, n_lengths)
        Entry ``[a, i, j]`` is the number of runs of the level ``i + 1`` and the length ``j + 1``,
        up to the longest run there is.

    Raises
    ------
    ValueError
        If levels are not whole numbers from 1 to `n_levels`, if there are more than 1024, or if an
        angle is not a multiple of 45 degrees, up to 2 pi.

    See Also
    --------
    run_length_features : What to compute from it.

    Examples
    --------
    >>> from featbus.feature_extraction import run_length_matrix
    >>> run_length_matrix([[1, 1, 2], [1, 2, 2]], angles=[0])[0]
    array([[1, 1],
           [1, 1]])
    """
    levels, n_levels = checked_levels(levels, n_levels)
    if len(angles) == 0:
        raise ValueError("angles is empty, expected at least one.")
    counts = [_count_runs(_lines(levels, _direction(angle)), n_levels) for angle in angles]
    matrices = np.zeros((len(counts), n_levels, max(part.shape[1] for part in counts)), np.int64)
    for matrix, part in zip(matrices, counts):
        matrix[:, : part.shape[1]] = part
    return matrices


def run_length_features(matrices):
    """Compute the run-length features of the Image Biomarker Standardisation Initiative.

    Parameters
    ----------
    matrices : array_like of shape (..., n_levels, n_lengths)
        Run-length matrices; rows stand for the grey levels from 1, columns for the lengths from 1.

    Returns
    -------
    dict of str to ndarray of shape (...)
        IBSI's 16 grey-level run-length features ([1]_, section 3.7, [2]_) by IBSI's names.

    Raises
    ------
    ValueError
        If a matrix has negative or NaN entries, or only zeros.

    See Also
    --------
    run_length_matrix : Counts the runs.

    Notes
    -----
    *Run percentage* is the number of runs by that of the pixels, 0 to 1; the pixels are counted in
    the matrix. Of a sum of the matrices of four directions each pixel counts four times, as IBSI
    has it. Entropy is in bits.

    References
    ----------
    .. [1] Zwanenburg A et al. Image biomarker standardisation initiative, reference manual,
       arXiv:1612.07003.
    .. [2] Galloway MM. Texture analysis using gray level run lengths. Computer Graphics and Image
       Processing 4 (1975) 172-179, doi:10.1016/S0146-664X(75)80008-6.

    Examples
    --------
    >>> from featbus.feature_extraction import run_length_features
    >>> features = run_length_features([[2, 1], [0, 1]])
    >>> float(features["long_runs_emphasis"]), float(features["grey_level_non_uniformity"])
    (2.5, 2.5)
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    check_counts(matrices)
    shape, sizes = matrices.shape[:-2], np.arange(1, matrices.shape[-1] + 1)
    features = emphasis_features(matrices.reshape(-1, *matrices.shape[-2:]), sizes)
    return {name: values.reshape(shape)[()] for name, values in zip(_NAMES, features)}


class GLRLM(FeatureExtractor):
    """Grey-level run lengths: how far one goes until the grey level changes.

    Coarse texture has long runs, fine texture short ones. From how many runs there are of each
    level and length come 16 features ([1]_, [2]_).

    Parameters
    ----------
    angles : sequence of float, default=(0, pi/4, pi/2, 3*pi/4)
        Directions in radians, multiples of 45 degrees: 0 is along a row, pi/2 down a column.
    levels : int, default=32
        Number of bins of equal width (IBSI's *fixed bin number*); up to 1024. Unused with
        `bin_width`.
    bin_width : float or None, default=None
        Width of a bin (IBSI's *fixed bin size*), as a share of the largest value of the image's
        type: ``10 / 255`` is 10 levels of an 8-bit image.
    intensity_range : tuple of float or None, default=None
        Brightness ``(low, high)``, 0 to 1, that the bins span; what lies beyond counts to the first
        or last bin. None for the range of each image or, if it is masked, of its region.
    aggregation : {"average", "merge"}, default="average"
        Whether to average the features of the angles (IBSI's *2D averaged*) or to compute them once
        from the sum of the matrices (*2D merged*).
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The rows' dtype; the computation is in double precision.

    See Also
    --------
    featbus.feature_extraction.run_length_features : The features.
    featbus.feature_extraction.run_length_matrix : The counts.
    featbus.feature_extraction.grey_levels : The levels.
    GLSZM : Zones of one level instead of runs.
    GLCM : Pairs of pixels.

    Notes
    -----
    Colour images count by their luma. Of a masked image only the region counts, and a run ends
    where the region does.

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

    def __init__(
        self,
        *,
        angles=ANGLES,
        levels=32,
        bin_width=None,
        intensity_range=None,
        aggregation="average",
        dtype=np.float32,
    ):
        self.angles = angles
        self.levels = levels
        self.bin_width = bin_width
        self.intensity_range = intensity_range
        self.aggregation = aggregation
        self.dtype = dtype

    def _extract(self, image):
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(
                f"aggregation is {self.aggregation!r}, expected one of {AGGREGATIONS}."
            )
        self._checked_dtype()
        levels = grey_levels(
            crop_to_region(image), self.levels, self.bin_width, self.intensity_range
        )
        matrices = run_length_matrix(levels, self.angles)
        if self.aggregation == "merge":
            matrices = matrices.sum(axis=0)
        return np.array([values.mean() for values in run_length_features(matrices).values()])

    def get_feature_names_out(self, input_features=None):
        """Return the columns' names.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            ``glrlm_`` and IBSI's name of the feature: ``glrlm_short_runs_emphasis``.
        """
        return np.array([f"glrlm_{name}" for name in _NAMES], dtype=object)
