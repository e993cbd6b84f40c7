"""The IBSI certificate: reference values of the digital phantom, recomputed on this machine."""

from __future__ import annotations

import json
from functools import partial
from importlib.resources import files

import numpy as np
import pandas as pd

from featbus.feature_extraction._glcm import cooccurrence_features, cooccurrence_matrix
from featbus.feature_extraction._gldzm import distance_zone_features, distance_zone_matrix
from featbus.feature_extraction._glrlm import run_length_features, run_length_matrix
from featbus.feature_extraction._glszm import size_zone_features, size_zone_matrix
from featbus.feature_extraction._intensity import histogram_statistics, intensity_statistics
from featbus.feature_extraction._ivh import volume_histogram_features
from featbus.feature_extraction._ngldm import dependence_features, dependence_matrix
from featbus.feature_extraction._ngtdm import tone_difference_features, tone_difference_matrix

__all__ = ["verify"]

# IBSI's tolerance is 0 for all features in two dimensions: after rounding to the three digits that
# are published, values have to be equal.
_TOLERANCE = 0.0
_DIGITS = 3


def _intensity(phantom):
    return intensity_statistics(phantom.compressed())


def _histogram(phantom):
    return histogram_statistics(phantom.compressed())


def _cooccurrence(phantom, merge):
    matrices = [cooccurrence_matrix(slice_, n_levels=phantom.max()) for slice_ in phantom]
    return _directional(cooccurrence_features, matrices, merge)


def _run_length(phantom, merge):
    matrices = [run_length_matrix(slice_) for slice_ in phantom]
    return _directional(run_length_features, matrices, merge)


def _directional(compute, matrices, merge):
    """Return the features of all slices, with the matrices of the directions merged or not."""
    if merge:
        matrices = [directions.sum(axis=0) for directions in matrices]
    return _mean([compute(directions) for directions in matrices])


def _by_slice(compute):
    return lambda phantom: _mean([compute(slice_) for slice_ in phantom])


def _mean(features):
    return {name: np.mean([of_slice[name] for of_slice in features]) for name in features[0]}


_FAMILIES = {
    "intensity-based statistics": _intensity,
    "intensity histogram": _histogram,
    "intensity-volume histogram": volume_histogram_features,
    "co-occurrence, 2D averaged": partial(_cooccurrence, merge=False),
    "co-occurrence, 2D merged": partial(_cooccurrence, merge=True),
    "run length, 2D averaged": partial(_run_length, merge=False),
    "run length, 2D merged": partial(_run_length, merge=True),
    "size zone, 2D": _by_slice(lambda levels: size_zone_features(size_zone_matrix(levels))),
    "distance zone, 2D": _by_slice(
        lambda levels: distance_zone_features(distance_zone_matrix(levels), levels.count())
    ),
    "gray-tone difference, 2D": _by_slice(
        lambda levels: tone_difference_features(tone_difference_matrix(levels))
    ),
    "gray-level dependence, 2D": _by_slice(
        lambda levels: dependence_features(dependence_matrix(levels))
    ),
}


def _load_ibsi():
    """Return the digital phantom, masked, and the reference values by family and feature."""
    data = json.loads(files("featbus").joinpath("ibsi.json").read_text(encoding="utf-8"))
    phantom = np.ma.masked_invalid(np.array(data["phantom"], dtype=np.float64))
    levels = phantom.filled(0).astype(np.uint8)
    return np.ma.MaskedArray(levels, phantom.mask), data["references"]


def _passes(value, reference):
    """Apply IBSI's rule: round to as many digits as the reference has, then compare."""
    return abs(float(f"{value:.{_DIGITS}g}") - reference) <= _TOLERANCE


def verify(*, verbose: bool = True) -> pd.DataFrame:
    """Compute the reference values of the Image Biomarker Standardisation Initiative (IBSI).

    Features of IBSI's digital phantom ([1]_), 4 slices of 4 x 5 voxels with a mask, are computed on
    this machine, with the installed libraries, and compared with IBSI's consensus values. Phantom
    and values are part of featbus. All values of the families below that are
    defined in two dimensions are included. Texture features are averages over the slices; those of
    co-occurrence and run lengths are computed both ways, averaged over the directions and with the
    directions merged.

    Read more in the :ref:`User Guide <intensity>`.

    Parameters
    ----------
    verbose : bool, default=True
        Whether to print the table and the number of values met.

    Returns
    -------
    DataFrame
        One row per reference value: ``family``, ``feature``, ``value``, ``reference``,
        ``tolerance`` and ``passed``, whether the value, rounded to three digits, is within the
        tolerance.

    See Also
    --------
    IntensityStatistics : The statistics of images.
    IntensityVolumeHistogram : The shares of bright pixels of images.
    GLCM : The co-occurrence features of images.
    GLRLM : The run-length features of images.
    GLSZM : The size-zone features of images.
    GLDZM : The distance-zone features of images.
    NGTDM : The gray-tone differences of images.
    NGLDM : The gray-level dependence of images.

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
    phantom, references = _load_ibsi()
    rows = []
    for family, compute in _FAMILIES.items():
        values = compute(phantom)
        rows += [
            (family, name, float(values[name]), reference, _TOLERANCE)
            for name, reference in references[family].items()
        ]
    table = pd.DataFrame(rows, columns=["family", "feature", "value", "reference", "tolerance"])
    table["passed"] = [
        _passes(value, reference) for value, reference in zip(table["value"], table["reference"])
    ]
    if verbose:
        _print(table)
    return table


def _print(table):
    agrees = {True: f"to the {_DIGITS} digits given", False: "no"}
    shown = table[["family", "feature", "value", "reference"]].assign(
        agrees=table["passed"].map(agrees)
    )
    print(shown.to_string(index=False, float_format="{:.6g}".format))
    print(
        f"{table['passed'].sum()} of {len(table)} IBSI reference values met, rounded to the "
        f"{_DIGITS} digits given"
    )
