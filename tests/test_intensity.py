"""Intensity statistics."""

import json

import numpy as np
import pytest
from _data import data_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from featbus import IntensityStatistics, intensity_summary, load_busi
from featbus.feature_extraction._intensity import histogram_statistics, intensity_statistics
from featbus.masks import with_mask
from featbus.parameters import InvalidParameterError

IBSI_NAMES = {
    "stat_mean": "mean",
    "stat_skew": "skewness",
    "stat_kurt": "kurtosis",
    "stat_p90": "percentile_90",
    "stat_cov": "coefficient_of_variation",
    "stat_qcod": "quartile_coefficient_of_dispersion",
    "stat_rms": "root_mean_square",
}


@pytest.fixture(scope="module")
def phantom():
    with open(data_dir("ibsi") / "ibsi_digital_phantom.json", encoding="utf-8") as file:
        return json.load(file)


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


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 3), (40, 50), (300, 200)])
def test_histogram_and_direct_computation_agree(dtype, shape):
    values = noise(dtype, shape)
    assert_equal_statistics(
        intensity_statistics(values), intensity_statistics(values.astype(np.float64))
    )


@given(
    values=arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.integers(1, 60),
        elements={"min_value": 0, "max_value": 255},
    ),
    offset=st.sampled_from([0, 60_000]),
)
@settings(max_examples=100, deadline=None)
def test_histogram_and_direct_computation_agree_on_anything(values, offset):
    if values.dtype == np.uint16:
        values = values + np.uint16(offset)
    assert_equal_statistics(
        intensity_statistics(values), intensity_statistics(values.astype(np.float64))
    )


def assert_equal_statistics(computed, expected):
    assert computed.keys() == expected.keys()
    for name, value in expected.items():
        # Skewness and kurtosis pass through 0: what they lose there, they lose absolutely.
        atol = 1e-12 if name in ("skewness", "kurtosis") else 0
        np.testing.assert_allclose(computed[name], value, rtol=1e-12, atol=atol, err_msg=name)


def test_a_narrow_distribution_keeps_its_moments():
    """Sums of fourth powers of 16-bit levels would lose what tells these levels apart."""
    values = np.repeat(np.array([60_159, 60_160, 60_161], np.uint16), [300_000, 600_000, 100_000])
    computed = intensity_statistics(values)
    assert computed["variance"] == pytest.approx(0.36, rel=1e-12)
    assert computed["skewness"] == pytest.approx(0.024 / 0.36**1.5, rel=1e-12)
    assert computed["kurtosis"] == pytest.approx(0.3312 / 0.36**2 - 3, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_percentiles_are_numpys(dtype):
    for seed in range(20):
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


def test_bins_over_the_range_of_the_dtype():
    image = np.array([[0, 63, 64, 127, 128, 255]], np.uint8)
    row = columns([image], n_bins=4).iloc[0]
    # 64 / 255 is a little more than a quarter.
    assert row["intensity_uniformity"] == pytest.approx((2**2 + 2**2 + 1 + 1) / 6**2)
    assert row["intensity_histogram_mode"] == 2


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
    dark = (image * 0.5).astype(dtype) if dtype is np.float64 else image // 2
    assert columns([dark], n_bins=4, bin_range="region").iloc[0]["intensity_histogram_mode"] == 4


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("n_bins", [1, 3, 256, 1000])
@pytest.mark.parametrize("bin_range", ["dtype", "region"])
def test_every_pixel_is_in_a_bin(dtype, n_bins, bin_range):
    image = noise(dtype)
    parameters = {"n_bins": n_bins, "bin_range": bin_range}
    row = columns([image], **parameters).iloc[0]
    top = 1 if image.dtype.kind in "fb" else np.iinfo(dtype).max
    values = image.astype(np.float64)
    low, high = (0, top) if bin_range == "dtype" else (values.min(), values.max())
    levels = np.minimum((values - low) * n_bins / (high - low) // 1, n_bins - 1).astype(int) + 1
    expected = histogram_statistics(levels)
    assert row["intensity_entropy"] == pytest.approx(expected["entropy"], abs=1e-12)
    # The counts end at the highest level here, and at the last bin there.
    for name in ("mode", "maximum_gradient_level") if levels.max() == n_bins > 1 else ("mode",):
        assert row[f"intensity_histogram_{name}"] == expected[name]


def test_depth_of_the_image_does_not_matter():
    image = np.random.default_rng(0).integers(0, 256, (30, 30)).astype(np.uint8)
    copies = [image, image.astype(np.uint16) * 257, image / 255]
    rows = IntensityStatistics().transform(copies)
    np.testing.assert_allclose(rows[1:], rows[[0, 0]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_pixels_does_not_matter(dtype, seed):
    image = noise(dtype, (20, 30))
    shuffled = np.random.default_rng(seed).permutation(image.ravel()).reshape(30, 20)
    rows = IntensityStatistics(dtype=np.float64).transform([image, shuffled])
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-12 if dtype is np.float64 else 0)


@given(
    low=st.integers(0, 254),
    high=st.integers(1, 255),
    counts=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
@settings(max_examples=50, deadline=None)
def test_two_levels(low, high, counts):
    """Of a Bernoulli distribution everything is known."""
    low, high = sorted((low, high))
    values = np.repeat(np.array([low, high], np.uint8), counts)
    share = counts[1] / sum(counts)
    computed = intensity_statistics(values)
    assert computed["mean"] == pytest.approx(low + share * (high - low))
    assert computed["variance"] == pytest.approx(share * (1 - share) * (high - low) ** 2)
    if low < high:
        spread = share * (1 - share)
        assert computed["skewness"] == pytest.approx((1 - 2 * share) / spread**0.5, abs=1e-12)
        assert computed["kurtosis"] == pytest.approx((1 - 6 * spread) / spread, abs=1e-12)


@pytest.mark.parametrize("bin_range", ["dtype", "region"])
@pytest.mark.parametrize(
    "image",
    [
        np.zeros((5, 5)),
        np.full((7, 7), 0.1),
        np.ones((1, 1)),
        np.full((3, 4), 200, np.uint8),
        np.full((1, 1), 65535, np.uint16),
        np.zeros((2, 2), bool),
    ],
)
def test_a_constant_image_has_finite_rows(image, bin_range):
    frame = columns([image], bin_range=bin_range)
    assert np.isfinite(frame.to_numpy()).all()
    assert frame["intensity_skewness"][0] == frame["intensity_kurtosis"][0] == 0
    assert frame["intensity_entropy"][0] == 0


@pytest.mark.parametrize("bin_range", ["dtype", "region"])
@pytest.mark.parametrize("n_bins", [33, 256])
def test_floating_point_copies_fall_into_the_same_bins(bin_range, n_bins):
    """Values on the edge of a bin stay in it, whatever the rounding errors of the type."""
    image = np.clip(noise(np.uint8, (90, 80)), 20, 152)  # a range of 132 = 4 * 33 levels
    rows = [
        columns([copy], n_bins=n_bins, bin_range=bin_range)
        for copy in (image, image * np.uint16(257), image / 255, (image / 255).astype(np.float32))
    ]
    for name in ["intensity_entropy", *rows[0].filter(like="histogram").columns]:
        for row in rows[1:]:
            assert row[name][0] == pytest.approx(rows[0][name][0], rel=1e-12, abs=1e-12), name


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_no_values_between_the_percentiles(dtype):
    """Of two values neither lies from the 10th to the 90th percentile."""
    assert intensity_statistics(np.array([0, 1], dtype))["robust_mean_absolute_deviation"] == 0


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


def test_brightness_of_busi():
    root = data_dir("busi")
    busi = load_busi(root, groups=root / "groups.csv")
    chosen = np.concatenate([np.flatnonzero(busi.target == kind)[:20] for kind in range(3)])
    table = intensity_summary(
        busi.images[chosen], busi.target[chosen], target_names=busi.target_names
    ).table
    assert table["n"].tolist() == [20, 20, 20]
    assert table["median"].between(0.2, 0.45).all()


@given(
    image=arrays(
        st.sampled_from([np.bool_, np.uint8, np.uint16]),
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
    ),
    bin_range=st.sampled_from(["dtype", "region"]),
    data=st.data(),
)
@settings(max_examples=25, deadline=None)
def test_rows_are_finite_and_in_range(image, bin_range, data):
    outside = data.draw(arrays(bool, image.shape))
    outside[0, 0] = False
    top = 1 if image.dtype == bool else np.iinfo(image.dtype).max
    images = [image, np.ma.MaskedArray(image, outside), image / top]
    frame = columns(images, bin_range=bin_range)
    assert np.isfinite(frame.to_numpy()).all()
    order = ["minimum", "percentile_10", "median", "percentile_90", "maximum"]
    ordered = frame[[f"intensity_{name}" for name in order]].to_numpy()
    assert (np.diff(ordered) >= 0).all()
    assert ordered.min() >= 0
    assert ordered.max() <= 1
    assert frame["intensity_uniformity"].between(0, 1 + 1e-12).all()
    assert (frame[["intensity_entropy", "intensity_variance"]] >= 0).all(axis=None)


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_the_shape_of_a_distribution_does_not_depend_on_the_scale(scale):
    values = np.random.default_rng(0).random(500) - 0.3
    computed, scaled = intensity_statistics(values), intensity_statistics(scale * values)
    for name in ("skewness", "kurtosis", "coefficient_of_variation"):
        assert scaled[name] == pytest.approx(computed[name], rel=1e-9)


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


@pytest.mark.parametrize(
    ("y", "options", "match"),
    [
        ([0, 1], {"statistic": "mode"}, "statistic is 'mode'"),
        ([0], {}, "inconsistent"),
        ([-1, 1], {"target_names": ["benign", "malignant"]}, "target_names is"),
        ([1, 2], {"target_names": ["benign", "malignant"]}, "target_names is"),
        (["a", "b"], {"target_names": ["benign", "malignant"]}, "target_names is"),
    ],
)
def test_bad_arguments_of_a_summary(y, options, match):
    with pytest.raises(ValueError, match=match):
        intensity_summary([noise(np.uint8)] * 2, y, **options)


@pytest.mark.parametrize("parameters", [{"n_bins": 0}, {"n_bins": 2.5}, {"bin_range": "image"}])
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_bad_parameters(parameters, method):
    with pytest.raises(InvalidParameterError, match=f"^{next(iter(parameters))} is "):
        getattr(IntensityStatistics(**parameters), method)([noise(np.uint8)])
