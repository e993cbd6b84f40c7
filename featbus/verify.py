"""The IBSI certificate: reference values of its phantoms, recomputed on this machine."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.ndimage import affine_transform

from featbus.feature_extraction._glcm import cooccurrence_features, cooccurrence_matrix
from featbus.feature_extraction._gldzm import distance_zone_features, distance_zone_matrix
from featbus.feature_extraction._glrlm import run_length_features, run_length_matrix
from featbus.feature_extraction._glszm import size_zone_features, size_zone_matrix
from featbus.feature_extraction._intensity import histogram_statistics, intensity_statistics
from featbus.feature_extraction._ivh import volume_histogram_features
from featbus.feature_extraction._ngldm import dependence_features, dependence_matrix
from featbus.feature_extraction._ngtdm import tone_difference_features, tone_difference_matrix
from featbus.images import ResponseMap
from featbus.preprocessing.filters import (
    GaborFilter,
    LaplacianOfGaussian,
    LawsFilter,
    MeanFilter,
    SimoncelliFilter,
    WaveletFilter,
)
from featbus.typing import PathLike

__all__ = ["verify"]

# IBSI's tolerance is 0 for all features of the digital phantom in two dimensions: after rounding to
# the three digits that are published, values have to be equal.
_TOLERANCE = 0.0
_DIGITS = 3


def _merge(matrices):
    """Add matrices, each of as many levels, sizes or distances as it needs."""
    shape = np.max([matrix.shape for matrix in matrices], axis=0)
    merged = np.zeros(shape)
    for matrix in matrices:
        merged[tuple(map(slice, matrix.shape))] += matrix
    return merged


def _mean(features):
    return {name: np.mean([of_slice[name] for of_slice in features]) for name in features[0]}


class _Texture(NamedTuple):
    """How a family makes its matrix of a slice, and its features of a matrix."""

    matrix_of: Callable
    features_of: Callable
    merges_directions: bool = False
    merges_slices: bool = False

    def __call__(self, levels, region):
        """Return the features of all slices, whose matrices are merged or not."""
        matrices = [self.matrix_of(*slices, levels.max()) for slices in zip(levels, region)]
        if self.merges_directions:
            matrices = [directions.sum(axis=0) for directions in matrices]
        counts = levels.count(axis=(1, 2))
        if self.merges_slices:
            matrices, counts = [_merge(matrices)], [counts.sum()]
        return _mean([self.features_of(*of_slice) for of_slice in zip(matrices, counts)])


_STATISTICS, _HISTOGRAM, _VOLUMES = (
    "intensity-based statistics",
    "intensity histogram",
    "intensity-volume histogram",
)
# For each family, the prefix of IBSI's tags, and the matrix and the features; the first two have a
# matrix for each direction.
_TEXTURES = {
    "co-occurrence": (
        "cm",
        lambda levels, _, n_levels: cooccurrence_matrix(levels, n_levels=n_levels),
        lambda matrix, _: cooccurrence_features(matrix),
    ),
    "run length": (
        "rlm",
        lambda levels, *_: run_length_matrix(levels),
        lambda matrix, _: run_length_features(matrix),
    ),
    "size zone": (
        "szm",
        lambda levels, *_: size_zone_matrix(levels).toarray(),
        lambda matrix, _: size_zone_features(matrix),
    ),
    "distance zone": (
        "dzm",
        lambda levels, inside, _: distance_zone_matrix(levels, inside),
        distance_zone_features,
    ),
    "gray-tone difference": (
        "ngt",
        lambda levels, *_: tone_difference_matrix(levels),
        lambda matrix, _: tone_difference_features(matrix),
    ),
    "gray-level dependence": (
        "ngl",
        lambda levels, *_: dependence_matrix(levels),
        lambda matrix, _: dependence_features(matrix),
    ),
}


def _make_families():
    """Return, by name, the beginning and the end of IBSI's tags, and how to compute the features.

    A function gets gray levels, masked, and the region whose border distances are measured from.
    """
    families = {
        _STATISTICS: ("stat_", "", lambda values, _: intensity_statistics(values.compressed())),
        _HISTOGRAM: ("ih_", "", lambda levels, _: histogram_statistics(levels.compressed())),
        _VOLUMES: ("ivh_", "", lambda levels, _: volume_histogram_features(levels)),
    }
    for family, (prefix, *functions) in _TEXTURES.items():
        for dimension, merges_slices in (("2D", False), ("2.5D", True)):
            ends = [("", "", False)]
            if prefix in ("cm", "rlm"):
                ends = [(" averaged", "_avg", False), (" merged", "_comb", True)]
            for name, end, merges_directions in ends:
                families[f"{family}, {dimension}{name}"] = (
                    f"{prefix}_",
                    f"_{dimension.replace('.', '_')}{end}",
                    _Texture(*functions, merges_directions, merges_slices),
                )
    return families


_FAMILIES = _make_families()


def _load_ibsi():
    """Return the digital phantom, masked, and the reference values by family and feature."""
    data = json.loads(files("featbus").joinpath("ibsi.json").read_text(encoding="utf-8"))
    phantom = np.ma.masked_invalid(np.array(data["phantom"], dtype=np.float64))
    return np.ma.MaskedArray(phantom.filled(0).astype(np.uint8), phantom.mask), data["references"]


def _passes(value, reference, tolerance):
    """Apply IBSI's rule: round to as many digits as the reference has, then compare."""
    rounding = 1e-9
    return abs(float(f"{value:.{_DIGITS}g}") - reference) <= tolerance * (1 + rounding)


def _read_ct_phantom(folder, is_resampled):
    """Return the slices of the CT phantom and of its mask, in Hounsfield units."""
    phantom = np.load(folder / "ibsi2" / "ct_phantom.npz")
    image, inside = phantom["image"].astype(np.float64), phantom["mask"].astype(np.float64)
    if is_resampled:
        image, inside = (_resample(part, phantom["spacing_zyx_mm"]) for part in (image, inside))
    inside = inside >= 0.5
    used = inside.any(axis=(1, 2))
    return np.rint(image[used]).astype(np.int64), inside[used]


def _resample(volume, spacing):
    """Interpolate each slice linearly at a grid of 2 mm that has the same center."""
    steps = np.array([1, *2 / spacing[1:].astype(np.float64)])
    shape = np.ceil(volume.shape / steps).astype(int)
    offset = (np.array(volume.shape) - 1 - steps * (shape - 1)) / 2
    return affine_transform(volume, steps, offset, tuple(shape), order=1, mode="nearest")


def _compare_ct_phantom(folder, configuration):
    """Return rows of the table for the CT phantom in configuration "A" or "B"."""
    image, inside = _read_ct_phantom(folder, is_resampled=configuration == "B")
    low, high = -500, 400
    outside = ~inside | (image < low) | (image > high)
    values = np.ma.MaskedArray(image, outside)
    if configuration == "A":
        levels = (values - low) // 25 + 1
    else:
        share = (values - values.min()) / (values.max() - values.min())
        levels = np.minimum((32 * share).astype(np.int64) + 1, 32)
    units = (values - low + 1).filled(0)
    volumes = volume_histogram_features(units, high - low + 1)
    names_of = _load_ibsi()[1]
    found = {
        _STATISTICS: intensity_statistics(values.compressed()),
        _VOLUMES: {
            name: value + low - 1 if name.startswith("intensity_at") else value
            for name, value in volumes.items()
        },
    }
    published = _read_references(folder / "ibsi" / f"chest_config_{configuration.lower()}.csv")
    for family, (prefix, end, compute) in _FAMILIES.items():
        values = found.get(family) or compute(levels, inside)
        tags = [tag for tag in published if tag.startswith(prefix) and tag.endswith(end)]
        # Names differ, order does not.
        for name, tag in zip(names_of[family.replace("2.5D", "2D")], tags, strict=True):
            yield f"CT phantom, {configuration}", family, name, float(values[name]), *published[tag]


def _read_references(path):
    """Return value and tolerance by IBSI's tag."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter=";"))[1:]
    return {tag: (float(value), float(tolerance)) for value, tolerance, tag in rows if value}


def _make_filters(spacing):
    """Return the filters of IBSI's tests: of response maps, and of values of the CT phantom.

    Parameters
    ----------
    spacing : float
        Millimeters between the pixels of the CT phantom; those of the other phantoms are 2 mm.
    """
    laws, zero = {"kernels": "L5S5"}, {"boundary": "zero"}
    beam = {"sigma": 10, "wavelength": 4, "gamma": 0.5, "spacing": 2} | zero
    wide = {"sigma": 20, "wavelength": 8, "gamma": 2.5, "spacing": 2}
    narrow = {"sigma": 5, "wavelength": 2, "gamma": 1.5, "theta": np.pi / 8, "spacing": spacing}
    maps = {
        "1_b_1": ("impulse", MeanFilter(size=15, boundary="zero")),
        "2_c": ("checkerboard", LaplacianOfGaussian(sigma=5, spacing=2)),
        "3_c_1": ("checkerboard", LawsFilter(**laws, invariant=False, energy=None)),
        "3_c_2": ("checkerboard", LawsFilter(**laws, energy=None)),
        "3_c_3": ("checkerboard", LawsFilter(**laws)),
        "4_a_1": ("impulse", GaborFilter(**beam, theta=np.pi / 3, invariant=False)),
        "4_a_2": ("impulse", GaborFilter(**beam, theta=np.pi / 4)),
        "4_b_1": ("sphere", GaborFilter(**wide, theta=np.pi * 5 / 4, invariant=False)),
        "4_b_2": ("sphere", GaborFilter(**wide, theta=np.pi / 8)),
    }
    of_ct = {
        "1.A": None,
        "2.A": MeanFilter(),
        "3.A": LaplacianOfGaussian(sigma=1.5, spacing=spacing),
        "4.A": LawsFilter(kernels="L5E5"),
        "5.A": GaborFilter(**narrow),
        "6.A": WaveletFilter(wavelet="db3", band="LH"),
        "7.A": WaveletFilter(wavelet="db3", band="HH", level=2),
        "8.A": SimoncelliFilter(),
        "9.A": SimoncelliFilter(level=2),
    }
    return maps, of_ct


def _filter_slices(volume, step, axis=0):
    """Return the response of a volume, slice by slice along an axis."""
    slices = [ResponseMap(part) for part in np.moveaxis(volume, axis, 0)]
    return np.moveaxis(np.array([np.ma.getdata(part) for part in step.transform(slices)]), 0, axis)


def _compare_filters(folder):
    """Return rows of the table for IBSI's filters in the plane."""
    folder = folder / "ibsi2"
    phantoms, references = np.load(folder / "phantoms.npz"), np.load(folder / "response_maps.npz")
    image, inside = _read_ct_phantom(folder.parent, is_resampled=False)
    maps, of_ct = _make_filters(float(np.load(folder / "ct_phantom.npz")["spacing_zyx_mm"][1]))
    for test, (phantom, step) in maps.items():
        # These two are means over three planes.
        axes = range(3) if test in ("4_a_2", "4_b_2") else (0,)
        response = np.mean([_filter_slices(phantoms[phantom], step, axis) for axis in axes], axis=0)
        difference = np.abs(response - references[test]).max() / np.ptp(references[test])
        name = "largest difference by the range"
        yield f"{phantom} phantom", f"filter {test}", name, float(difference), 0.0, 0.01
    published = pd.read_csv(folder / "reference_values.csv", sep=";")
    inside &= (image >= -1000) & (image <= 400)
    names = _load_ibsi()[1][_STATISTICS]  # names differ, order does not
    for test, step in of_ct.items():
        response = image if step is None else _filter_slices(image, step)
        found = intensity_statistics(response[inside])
        rows = published[published["filter_id"] == test]
        values = zip(names, rows["consensus_value"], rows["tolerance"], strict=True)
        for name, reference, tolerance in values:
            yield "CT phantom", f"filter {test}", name, float(found[name]), reference, tolerance


def verify(data: PathLike | None = None, *, verbose: bool = True) -> pd.DataFrame:
    """Compute the reference values of the Image Biomarker Standardisation Initiative (IBSI).

    Features of IBSI's digital phantom ([1]_), 4 slices of 4 x 5 voxels with a mask, are computed on
    this machine, with the installed libraries, and compared with IBSI's consensus values. Phantom
    and values are part of featbus. All values of the families below that are
    defined in two dimensions are included. Texture features are averages over the slices; those of
    co-occurrence and run lengths are computed both ways, averaged over the directions and with the
    directions merged.

    With `data`, features of IBSI's CT phantom are compared, too: in configuration A (slices as they
    are, bins of 25 Hounsfield units) and B (slices resampled to 2 mm, 32 bins), both with voxels
    from -500 to 400 units only. Texture features are averages over the slices ("2D"), or those of
    the matrices added up over the slices ("2.5D"). Families that are measured in three dimensions,
    morphology and local intensity, are not computed. Filters are compared with IBSI's response maps
    that are made in the plane (the largest difference, 1 % of the range at most), and with its
    values of the filtered CT phantom, tests 1.A to 9.A ([2]_).

    Read more in the :ref:`User Guide <intensity>`.

    Parameters
    ----------
    data : path, default=None
        Folder with the CT phantom, whose license does not permit to distribute it with featbus:
        ``ibsi2/ct_phantom.npz`` (``image`` in Hounsfield units, ``mask`` and ``spacing_zyx_mm``,
        arrays of IBSI's `data_sets <https://github.com/theibsi/data_sets>`_), and its reference
        values ``ibsi/chest_config_a.csv`` and ``chest_config_b.csv`` (value; tolerance; tag). For
        filters, ``phantoms.npz``, ``response_maps.npz`` and ``reference_values.csv`` in ``ibsi2``.
    verbose : bool, default=True
        Whether to print the table and the number of values met.

    Returns
    -------
    DataFrame
        One row per reference value: ``image``, ``family``, ``feature``, ``value``, ``reference``,
        ``tolerance`` and ``passed``, whether the value, rounded to three digits, is within the
        tolerance.

    Raises
    ------
    FileNotFoundError
        If a file is missing in `data`.

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
    featbus.LaplacianOfGaussian : One of the filters.

    References
    ----------
    .. [1] Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 295 (2020)
       328-338, doi:10.1148/radiol.2020191145; reference manual arXiv:1612.07003.
    .. [2] Whybra P et al. The Image Biomarker Standardization Initiative: standardized
       convolutional filters. Radiology 310 (2024) e231319, doi:10.1148/radiol.231319.

    Examples
    --------
    On the command line: ``featbus verify``

    >>> from featbus.verify import verify
    >>> table = verify(verbose=False)
    >>> bool(table["passed"].all())
    True
    """
    phantom, references = _load_ibsi()
    rows = []
    for family, expected in references.items():
        found = _FAMILIES[family][-1](phantom, ~phantom.mask)
        rows += [
            ("digital phantom", family, name, float(found[name]), reference, _TOLERANCE)
            for name, reference in expected.items()
        ]
    if data is not None:
        for configuration in "AB":
            rows += _compare_ct_phantom(Path(data), configuration)
        rows += _compare_filters(Path(data))
    columns = ["image", "family", "feature", "value", "reference", "tolerance"]
    table = pd.DataFrame(rows, columns=columns)
    table["passed"] = list(map(_passes, *(table[name] for name in columns[3:])))
    if verbose:
        _print(table)
    return table


def _print(table):
    """Print the table; values are compared with the digits that are published."""
    agrees = np.where(
        table["tolerance"] > 0, "within the tolerance", f"to the {_DIGITS} digits given"
    )
    agrees = np.where(table["passed"], agrees, "no")
    shown = table.drop(columns=["tolerance", "passed"]).assign(agrees=agrees)
    print(shown.to_string(index=False, float_format="{:.6g}".format))
    print(
        f"{table['passed'].sum()} of {len(table)} IBSI reference values met, rounded to the "
        f"{_DIGITS} digits given"
    )
