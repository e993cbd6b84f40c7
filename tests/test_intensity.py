"""Intensity statistics."""

import json

import numpy as np
import pytest
from _data import data_dir
from scipy import stats

from featbus import IntensityStatistics
from featbus.feature_extraction import intensity_statistics
from featbus.feature_extraction._intensity import histogram_statistics
from featbus.images import with_mask

IBSI_NAMES = {
    "stat_mean": "mean",
    "stat_var": "variance",
    "stat_skew": "skewness",
    "stat_kurt": "kurtosis",
    "stat_median": "median",
    "stat_min": "minimum",
    "stat_p10": "percentile_10",
    "stat_p90": "percentile_90",
    "stat_max": "maximum",
    "stat_iqr": "interquartile_range",
    "stat_range": "range",
    "stat_mad": "mean_absolute_deviation",
    "stat_rmad": "robust_mean_absolute_deviation",
    "stat_medad": "median_absolute_deviation",
    "stat_cov": "coefficient_of_variation",
    "stat_qcod": "quartile_coefficient_of_dispersion",
    "stat_energy": "energy",
    "stat_rms": "root_mean_square",
    "ih_entropy": "entropy",
    "ih_uniformity": "uniformity",
}


@pytest.fixture(scope="module")
def phantom():
    with open(data_dir("ibsi") / "ibsi_digital_phantom.json", encoding="utf-8") as file:
        return json.load(file)


def test_ibsi_digital_phantom(phantom):
    inside = np.array(phantom["mask"], dtype=bool)
    levels = np.array(phantom["phantom"])[inside]
    computed = intensity_statistics(levels) | histogram_statistics(levels)
    references = {
        key: entry for family in phantom["families"].values() for key, entry in family.items()
    }
    for key, name in IBSI_NAMES.items():
        rounded = float(f"{computed[name]:.3g}")
        assert abs(rounded - references[key]["value"]) <= references[key]["tolerance"], name
        assert computed[name] == pytest.approx(references[key]["recomputed_full_precision"]), name


def test_each_slice_of_the_phantom_through_the_estimator(phantom):
    """As images: levels over 255, so that statistics with a unit scale with it."""
    inside = np.array(phantom["mask"], dtype=bool)
    slices = np.array(phantom["phantom"], dtype=np.uint8)
    images = [with_mask(image, region) for image, region in zip(slices, inside)]
    extractor = IntensityStatistics(dtype=np.float64)
    rows = extractor.transform(images)
    names = extractor.get_feature_names_out().tolist()
    expected = [entry["first_order"] for entry in phantom["per_slice_2d_recomputed"]["slices"]]
    for key in ("stat_skew", "stat_kurt", "stat_cov", "stat_qcod"):
        column = rows[:, names.index(f"intensity_{IBSI_NAMES[key]}")]
        np.testing.assert_allclose(column, [entry[key] for entry in expected], rtol=1e-9)
    for key in ("stat_mean", "stat_p90", "stat_rms"):
        column = rows[:, names.index(f"intensity_{IBSI_NAMES[key]}")]
        np.testing.assert_allclose(255 * column, [entry[key] for entry in expected], rtol=1e-9)


def test_equals_scipy_on_noise():
    values = np.random.default_rng(0).gamma(2, size=999)
    computed = intensity_statistics(values)
    assert computed["skewness"] == pytest.approx(stats.skew(values))
    assert computed["kurtosis"] == pytest.approx(stats.kurtosis(values))
    assert computed["interquartile_range"] == pytest.approx(stats.iqr(values))
    assert computed["coefficient_of_variation"] == pytest.approx(stats.variation(values))


def test_entropy_of_equally_frequent_levels_is_their_number_of_bits():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    frame = IntensityStatistics().set_output(transform="pandas").transform([image])
    assert frame["intensity_entropy"][0] == 8
    assert frame["intensity_uniformity"][0] == pytest.approx(1 / 256)


def test_depth_of_the_image_does_not_matter():
    image = np.random.default_rng(0).integers(0, 256, (30, 30)).astype(np.uint8)
    copies = [image, image.astype(np.uint16) * 257, image / 255]
    rows = IntensityStatistics().transform(copies)
    np.testing.assert_allclose(rows[1:], rows[[0, 0]], rtol=1e-6)


def test_the_order_of_the_pixels_does_not_matter():
    image = np.random.default_rng(0).random((20, 30))
    rows = IntensityStatistics().transform([image, image[::-1, ::-1], image.T])
    np.testing.assert_allclose(rows[1:], rows[[0, 0]], rtol=1e-6)


def test_only_the_region_counts():
    image = np.array([[0, 0, 200], [100, 100, 200]], np.uint8)
    masked = with_mask(image, image == 100)
    np.testing.assert_array_equal(
        IntensityStatistics().transform([masked]),
        IntensityStatistics().transform([np.full((1, 2), 100, np.uint8)]),
    )


@pytest.mark.parametrize("image", [np.zeros((5, 5)), np.full((7, 7), 0.1), np.ones((1, 1))])
def test_a_constant_image_has_finite_rows(image):
    frame = IntensityStatistics().set_output(transform="pandas").transform([image])
    assert np.isfinite(frame.to_numpy()).all()
    assert frame["intensity_skewness"][0] == frame["intensity_kurtosis"][0] == 0
    assert frame["intensity_entropy"][0] == 0


@pytest.mark.parametrize("values", [[], [np.nan, 1.0]])
def test_no_finite_values(values):
    with pytest.raises(ValueError, match="Expected finite intensities"):
        intensity_statistics(values)
