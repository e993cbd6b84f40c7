"""The IBSI certificate: reference values of the digital phantom, computed anew on this machine."""

from functools import partial

import numpy as np
import pandas as pd

from featbus.feature_extraction import (
    cooccurrence_features,
    cooccurrence_matrix,
    histogram_statistics,
    intensity_statistics,
    run_length_features,
    run_length_matrix,
    size_zone_features,
    size_zone_matrix,
)

__all__ = ["verify"]

# The digital phantom by A. Zwanenburg (Image Biomarker Standardisation Initiative, CC BY 4.0),
# slice by slice, and the pixels (slice, row, column) that are not in its mask.
_PHANTOM = [
    [
        [1, 4, 4, 1, 1],
        [1, 4, 6, 1, 1],
        [4, 1, 6, 4, 1],
        [4, 4, 6, 4, 1],
    ],
    [
        [1, 4, 4, 1, 1],
        [1, 1, 6, 1, 1],
        [1, 1, 3, 1, 1],
        [4, 4, 6, 1, 1],
    ],
    [
        [1, 4, 4, 1, 1],
        [1, 1, 1, 1, 1],
        [1, 1, 9, 1, 1],
        [1, 1, 6, 1, 1],
    ],
    [
        [1, 4, 4, 1, 1],
        [1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
        [1, 1, 6, 1, 1],
    ],
]
_OUTSIDE = [(1, 2, 0), (2, 0, 3), (2, 0, 4), (2, 2, 2), (3, 0, 3), (3, 0, 4)]
# The consensus values of doi:10.1148/radiol.2020191145, to three digits. IBSI's tolerance is 0 for
# all of them: after rounding, values have to be equal.
_TOLERANCE = 0.0
_DIGITS = 3
_INTENSITY = {
    "mean": 2.15,
    "variance": 3.05,
    "skewness": 1.08,
    "kurtosis": -0.355,
    "median": 1,
    "minimum": 1,
    "percentile_10": 1,
    "percentile_90": 4,
    "maximum": 6,
    "interquartile_range": 3,
    "range": 5,
    "mean_absolute_deviation": 1.55,
    "robust_mean_absolute_deviation": 1.11,
    "median_absolute_deviation": 1.15,
    "coefficient_of_variation": 0.812,
    "quartile_coefficient_of_dispersion": 0.6,
    "energy": 567,
    "root_mean_square": 2.77,
}
_HISTOGRAM = {
    "mean": 2.15,
    "variance": 3.05,
    "skewness": 1.08,
    "kurtosis": -0.355,
    "median": 1,
    "minimum": 1,
    "percentile_10": 1,
    "percentile_90": 4,
    "maximum": 6,
    "mode": 1,
    "interquartile_range": 3,
    "range": 5,
    "mean_absolute_deviation": 1.55,
    "robust_mean_absolute_deviation": 1.11,
    "median_absolute_deviation": 1.15,
    "coefficient_of_variation": 0.812,
    "quartile_coefficient_of_dispersion": 0.6,
    "entropy": 1.27,
    "uniformity": 0.512,
    "maximum_gradient": 8,
    "maximum_gradient_level": 3,
    "minimum_gradient": -50,
    "minimum_gradient_level": 1,
}
# Averaged over the directions, and of the directions merged.
_COOCCURRENCE = {
    "joint_maximum": (0.519, 0.512),
    "joint_average": (2.14, 2.14),
    "joint_variance": (2.69, 2.71),
    "joint_entropy": (2.05, 2.24),
    "difference_average": (1.42, 1.4),
    "difference_variance": (2.9, 3.06),
    "difference_entropy": (1.4, 1.49),
    "sum_average": (4.28, 4.29),
    "sum_variance": (5.47, 5.66),
    "sum_entropy": (1.6, 1.79),
    "angular_second_moment": (0.368, 0.352),
    "contrast": (5.28, 5.19),
    "dissimilarity": (1.42, 1.4),
    "inverse_difference": (0.678, 0.683),
    "normalised_inverse_difference": (0.851, 0.854),
    "inverse_difference_moment": (0.619, 0.625),
    "normalised_inverse_difference_moment": (0.899, 0.901),
    "inverse_variance": (0.0567, 0.0553),
    "correlation": (-0.0121, 0.0173),
    "autocorrelation": (5.09, 5.14),
    "cluster_tendency": (5.47, 5.66),
    "cluster_shade": (7, 6.98),
    "cluster_prominence": (79.1, 80.4),
    "information_correlation_1": (-0.155, -0.0341),
    "information_correlation_2": (0.487, 0.263),
}
_RUN_LENGTH = {
    "short_runs_emphasis": (0.641, 0.661),
    "long_runs_emphasis": (3.78, 3.51),
    "low_grey_level_run_emphasis": (0.604, 0.609),
    "high_grey_level_run_emphasis": (9.82, 9.74),
    "short_run_low_grey_level_emphasis": (0.294, 0.311),
    "short_run_high_grey_level_emphasis": (8.57, 8.67),
    "long_run_low_grey_level_emphasis": (3.14, 2.92),
    "long_run_high_grey_level_emphasis": (17.4, 16.1),
    "grey_level_non_uniformity": (5.2, 20.5),
    "normalised_grey_level_non_uniformity": (0.46, 0.456),
    "run_length_non_uniformity": (6.12, 21.6),
    "normalised_run_length_non_uniformity": (0.492, 0.441),
    "run_percentage": (0.627, 0.627),
    "grey_level_variance": (3.35, 3.37),
    "run_length_variance": (0.761, 0.778),
    "run_entropy": (2.17, 2.57),
}
_SIZE_ZONE = {
    "small_zone_emphasis": 0.363,
    "large_zone_emphasis": 43.9,
    "low_grey_level_zone_emphasis": 0.371,
    "high_grey_level_zone_emphasis": 16.4,
    "small_zone_low_grey_level_emphasis": 0.0259,
    "small_zone_high_grey_level_emphasis": 10.3,
    "large_zone_low_grey_level_emphasis": 40.4,
    "large_zone_high_grey_level_emphasis": 113,
    "grey_level_non_uniformity": 1.41,
    "normalised_grey_level_non_uniformity": 0.323,
    "zone_size_non_uniformity": 1.49,
    "normalised_zone_size_non_uniformity": 0.333,
    "zone_percentage": 0.24,
    "grey_level_variance": 3.97,
    "zone_size_variance": 21,
    "zone_size_entropy": 1.93,
}


def _intensity(phantom):
    return intensity_statistics(phantom.compressed())


def _histogram(phantom):
    return histogram_statistics(phantom.compressed())


def _cooccurrence(phantom, merge):
    """Return the features of each slice, averaged over the slices."""
    matrices = np.stack(
        [cooccurrence_matrix(slice_, n_levels=phantom.max())[0] for slice_ in phantom]
    )
    if merge:
        matrices = matrices.sum(axis=1)
    return {name: values.mean() for name, values in cooccurrence_features(matrices).items()}


def _run_length(phantom, merge):
    """Return the features of each slice, averaged over the slices."""
    matrices = [run_length_matrix(slice_) for slice_ in phantom]
    if merge:
        matrices = [directions.sum(axis=0) for directions in matrices]
    return _mean([run_length_features(directions) for directions in matrices])


def _size_zone(phantom):
    return _mean([size_zone_features(size_zone_matrix(slice_)) for slice_ in phantom])


def _mean(features):
    return {name: np.mean([of_slice[name] for of_slice in features]) for name in features[0]}


# Of each family its name, how to compute it and what should come out.
_FAMILIES = [
    ("intensity-based statistics", _intensity, _INTENSITY),
    ("intensity histogram", _histogram, _HISTOGRAM),
    (
        "co-occurrence, 2D averaged",
        partial(_cooccurrence, merge=False),
        {name: averaged for name, (averaged, _) in _COOCCURRENCE.items()},
    ),
    (
        "co-occurrence, 2D merged",
        partial(_cooccurrence, merge=True),
        {name: merged for name, (_, merged) in _COOCCURRENCE.items()},
    ),
    (
        "run length, 2D averaged",
        partial(_run_length, merge=False),
        {name: averaged for name, (averaged, _) in _RUN_LENGTH.items()},
    ),
    (
        "run length, 2D merged",
        partial(_run_length, merge=True),
        {name: merged for name, (_, merged) in _RUN_LENGTH.items()},
    ),
    ("size zone, 2D", _size_zone, _SIZE_ZONE),
]


def _load_phantom():
    phantom = np.ma.MaskedArray(np.array(_PHANTOM, dtype=np.uint8), mask=False)
    phantom[tuple(np.transpose(_OUTSIDE))] = np.ma.masked
    return phantom


def _passes(value, reference):
    """Apply IBSI's rule: round to as many digits as the reference has, then compare."""
    return abs(float(f"{value:.{_DIGITS}g}") - reference) <= _TOLERANCE


def verify(*, verbose=True):
    """Compute the reference values of the Image Biomarker Standardisation Initiative (IBSI).

    Features of IBSI's digital phantom ([1]_), 4 slices of 4 x 5 voxels with a mask, are computed on
    this machine, with the libraries installed on it, and compared with IBSI's consensus values.
    Phantom and values are part of featbus; no file is read. There are all values of the families
    below that are defined in two dimensions. Texture features are averages over the slices, those
    of co-occurrence and run lengths of each direction on its own and of the directions merged.

    Parameters
    ----------
    verbose : bool, default=True
        Whether to print the table and how many values are met.

    Returns
    -------
    DataFrame
        One row a reference value: ``family``, ``feature``, ``value``, ``reference``, ``tolerance``
        and ``passed``: whether the value, rounded to three digits, is off by no more than the
        tolerance.

    See Also
    --------
    IntensityStatistics : The statistics of images.
    GLCM : The co-occurrence features of images.
    GLRLM : The run-length features of images.
    GLSZM : The size-zone features of images.

    References
    ----------
    .. [1] Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 295 (2020)
       328-338, doi:10.1148/radiol.2020191145; reference manual arXiv:1612.07003.

    Examples
    --------
    >>> from featbus.verify import verify
    >>> table = verify(verbose=False)
    >>> bool(table["passed"].all())
    True
    """
    phantom = _load_phantom()
    rows = []
    for family, compute, references in _FAMILIES:
        values = compute(phantom)
        rows += [
            (family, name, float(values[name]), reference, _TOLERANCE)
            for name, reference in references.items()
        ]
    table = pd.DataFrame(rows, columns=["family", "feature", "value", "reference", "tolerance"])
    table["passed"] = [
        _passes(value, reference) for value, reference in zip(table["value"], table["reference"])
    ]
    if verbose:
        print(table.to_string(index=False, float_format="{:.6g}".format))
        print(f"{table['passed'].sum()} of {len(table)} IBSI reference values met")
    return table
