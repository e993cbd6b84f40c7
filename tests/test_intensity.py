"""Intensity statistics."""

import numpy as np
import pytest
from scipy import stats

from featbus import IntensityStatistics, intensity_summary
from featbus.feature_extraction._intensity import histogram_statistics, intensity_statistics


def noise(dtype, shape=(40, 50), seed=0):
    """Return dark pixels, skewed as those of ultrasound."""
    brightness = np.random.default_rng(seed).rayleigh(0.2, shape).clip(0, 1)
    if np.dtype(dtype).kind == "f":
        return brightness.astype(dtype)
    top = 1 if dtype is np.bool_ else np.iinfo(dtype).max
    return np.rint(brightness * top).astype(dtype)


def columns(images, **parameters):
    extractor = IntensityStatistics(dtype=np.float64, **parameters).set_output(transform="pandas")
    return extractor.transform(images)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (40, 50)])
def test_counts_of_integers_give_the_statistics_of_their_values(dtype, shape):
    values = noise(dtype, shape)
    computed, pixels = intensity_statistics(values), values.ravel().astype(np.float64)
    # Skewness and kurtosis pass through 0: what they lose there, they lose absolutely.
    assert computed == pytest.approx(intensity_statistics(pixels), rel=1e-12, abs=1e-12)
    if values.size > 2:
        assert computed["skewness"] == pytest.approx(stats.skew(pixels))
        assert computed["kurtosis"] == pytest.approx(stats.kurtosis(pixels))
        assert computed["coefficient_of_variation"] == pytest.approx(stats.variation(pixels))
        low, high = np.percentile(pixels, [10, 90])
        robust = pixels[(pixels >= low) & (pixels <= high)]
        expected = np.abs(robust - robust.mean()).mean()
        assert computed["robust_mean_absolute_deviation"] == pytest.approx(expected)


def test_a_narrow_distribution_keeps_its_moments():
    """Sums of fourth powers of 16-bit levels would lose what tells these levels apart."""
    values = np.repeat(np.array([60_159, 60_160, 60_161], np.uint16), [300_000, 600_000, 100_000])
    computed = intensity_statistics(values)
    assert computed["variance"] == pytest.approx(0.36, rel=1e-12)
    assert computed["skewness"] == pytest.approx(0.024 / 0.36**1.5, rel=1e-12)
    assert computed["kurtosis"] == pytest.approx(0.3312 / 0.36**2 - 3, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_percentiles_are_numpys(dtype):
    for seed in range(6):
        values = noise(dtype, (seed + 1, 7), seed)
        row = columns([values]).iloc[0]
        brightness = values / np.iinfo(dtype).max
        for q in (10, 25, 75, 90):
            assert row[f"intensity_percentile_{q}"] == np.percentile(brightness, q)


def test_gradients_and_mode_of_a_known_histogram():
    statistics = histogram_statistics(np.repeat([1, 2, 4, 5, 6], [3, 1, 3, 2, 0]))
    # Counts 3, 1, 0, 3, 2: the mode nearer to the mean (2.999...) is level 4.
    assert statistics["mode"] == 4
    assert (statistics["maximum_gradient"], statistics["maximum_gradient_level"]) == (1, 3)
    assert (statistics["minimum_gradient"], statistics["minimum_gradient_level"]) == (-2, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_bins_over_the_range_of_the_region(dtype):
    top = 1 if dtype is np.float64 else np.iinfo(dtype).max
    levels = np.array([[1, 1, 2, 3, 4, 4, 4]])
    image = (levels * (top / 8)).astype(dtype)
    row = columns([image], n_bins=4, bin_range="region").iloc[0]
    expected = histogram_statistics(levels)
    found = {name.removeprefix("intensity_histogram_"): row[name] for name in row.index}
    for name in expected.keys() - {"entropy", "uniformity"}:
        assert found[name] == pytest.approx(expected[name]), name
    assert row["intensity_entropy"] == pytest.approx(expected["entropy"])


@pytest.mark.parametrize("bin_range", ["dtype", "region"])
@pytest.mark.parametrize(
    "image", [np.zeros((5, 5)), np.full((7, 7), 0.1), np.full((1, 1), 65535, np.uint16)]
)
def test_a_constant_image_has_finite_rows(image, bin_range):
    frame = columns([image], bin_range=bin_range)
    assert np.isfinite(frame.to_numpy()).all()
    assert frame["intensity_skewness"][0] == frame["intensity_kurtosis"][0] == 0
    assert frame["intensity_entropy"][0] == 0


def test_summary_of_known_classes():
    images = [np.full((4, 4), level, np.uint8) for level in (0, 51, 102, 153, 204, 10, 11, 12, 255)]
    summary = intensity_summary(images, [0] * 5 + [1] * 4, target_names=["dim", "bright"])
    dim = summary.table.loc["dim"]
    assert (dim["n"], dim["outliers"]) == (5, 0)
    five = ["minimum", "lower_quartile", "median", "upper_quartile", "maximum"]
    np.testing.assert_allclose(dim[five].to_numpy(float), [0, 0.2, 0.4, 0.6, 0.8])
    assert dim["skewness"] == pytest.approx(0, abs=1e-12)
    bright = summary.table.loc["bright"]
    assert bright["skewness"] == pytest.approx(stats.skew([10, 11, 12, 255]))
    # A class without a name keeps its label.
    table = intensity_summary(images, [-1] * 5 + [1] * 4, target_names=["dim", "bright"]).table
    assert table["n"].to_dict() == {-1: 5, "bright": 4}


def test_outliers_skewness_and_picture_of_a_summary():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    levels = [100] * 5 + [101] * 5 + [250] + [9] * 3
    images = [np.full((2, 2), level, np.uint8) for level in levels]
    summary = intensity_summary(images, ["a"] * 11 + ["b"] * 3, statistic="median")
    assert summary.table["outliers"].tolist() == [1, 0]
    assert np.flatnonzero(summary.values["outlier"]).tolist() == [10]
    assert summary.table.loc["b", "skewness"] == 0
    assert "median" in repr(summary)
    assert "<table" in summary._repr_html_()
    axes = summary.plot()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a\nn = 11", "b\nn = 3"]
    pyplot.close(axes.figure)


def test_bad_arguments_of_a_summary():
    images = [noise(np.uint8)] * 2
    with pytest.raises(ValueError, match="statistic is 'mode'"):
        intensity_summary(images, statistic="mode")
    with pytest.raises(ValueError, match="inconsistent"):
        intensity_summary(images, [0])
