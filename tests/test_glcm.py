"""GLCM."""

import json

import numpy as np
import pytest
from _data import data_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.feature import graycomatrix, graycoprops

from featbus import GLCM
from featbus.feature_extraction import cooccurrence_features, cooccurrence_matrix, grey_levels
from featbus.images import ImageError
from featbus.masks import with_mask
from featbus.parameters import InvalidParameterError

ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)

IBSI_NAMES = {
    "joint_max": "joint_maximum",
    "joint_avg": "joint_average",
    "joint_var": "joint_variance",
    "joint_entr": "joint_entropy",
    "diff_avg": "difference_average",
    "diff_var": "difference_variance",
    "diff_entr": "difference_entropy",
    "sum_avg": "sum_average",
    "sum_var": "sum_variance",
    "sum_entr": "sum_entropy",
    "energy": "angular_second_moment",
    "contrast": "contrast",
    "dissimilarity": "dissimilarity",
    "inv_diff": "inverse_difference",
    "inv_diff_norm": "normalised_inverse_difference",
    "inv_diff_mom": "inverse_difference_moment",
    "inv_diff_mom_norm": "normalised_inverse_difference_moment",
    "inv_var": "inverse_variance",
    "corr": "correlation",
    "auto_corr": "autocorrelation",
    "clust_tend": "cluster_tendency",
    "clust_shade": "cluster_shade",
    "clust_prom": "cluster_prominence",
    "info_corr1": "information_correlation_1",
    "info_corr2": "information_correlation_2",
}

small_images = arrays(
    np.uint8, st.tuples(st.integers(2, 9), st.integers(2, 9)), elements=st.integers(0, 255)
)


def row_of(image, **parameters):
    glcm = GLCM(dtype=np.float64, **parameters)
    values = glcm.transform([image])[0]
    names = [name.split("_", 2)[2] for name in glcm.get_feature_names_out()]
    return dict(zip(names, values))


@pytest.fixture(scope="module")
def phantom():
    with open(data_dir("ibsi") / "ibsi_digital_phantom.json", encoding="utf-8") as file:
        return json.load(file)


def phantom_slices(phantom):
    """Return the slices as levels 1 to 6, masked outside the region."""
    inside = np.array(phantom["mask"], dtype=bool)
    return [with_mask(*pair) for pair in zip(np.array(phantom["phantom"]), inside)]


def slice_features(levels, aggregation):
    matrices = cooccurrence_matrix(levels, n_levels=6)[0]
    if aggregation == "comb":
        matrices = matrices.sum(axis=0)
    return {name: np.mean(value) for name, value in cooccurrence_features(matrices).items()}


@pytest.mark.parametrize("aggregation", ["avg", "comb"])
def test_ibsi_digital_phantom(phantom, aggregation):
    rows = [slice_features(levels, aggregation) for levels in phantom_slices(phantom)]
    references = phantom["families"]["GLCM [cm_]"]
    assert list(IBSI_NAMES.values()) == list(rows[0])
    for key, name in IBSI_NAMES.items():
        computed = np.mean([row[name] for row in rows])
        reference = references[f"cm_{key}_2D_{aggregation}"]
        rounded = float(f"{computed:.3g}")
        assert abs(rounded - reference["value"]) <= reference["tolerance"], name
        exact = reference["recomputed_full_precision"]
        assert computed == pytest.approx(exact, rel=1e-9), name


@pytest.mark.parametrize(
    ("aggregation", "entry"), [("average", "glcm_avg4"), ("merge", "glcm_merged4")]
)
def test_each_slice_of_the_phantom_through_the_estimator(phantom, aggregation, entry):
    references = phantom["per_slice_2d_recomputed"]["slices"]
    for levels, reference in zip(phantom_slices(phantom), references):
        # A level a bin, whatever levels the slice has: bins of 1/5 from 0 on.
        image = np.ma.MaskedArray((np.clip(levels.data, 1, 6) - 1) / 5, levels.mask)
        row = row_of(image, levels=6, intensity_range=(0, 1.2), aggregation=aggregation)
        for key, name in IBSI_NAMES.items():
            assert row[name] == pytest.approx(reference[entry][key], rel=1e-9, abs=1e-12), name
        merged = cooccurrence_matrix(levels, n_levels=6)[0].sum(axis=0)
        np.testing.assert_array_equal(merged, reference["glcm_matrix_merged4_symmetric"])


@pytest.mark.parametrize("n_levels", [2, 32, 256])
def test_counts_equal_scikit_image(n_levels):
    image = (NOISE.astype(int) * n_levels // 256).astype(np.uint8)
    expected = graycomatrix(image, [1], ANGLES, n_levels, symmetric=True)
    computed = cooccurrence_matrix(image.astype(int) + 1, n_levels=n_levels)
    np.testing.assert_array_equal(np.moveaxis(computed, (0, 1), (2, 3)), expected)


def test_at_an_angle_scikit_images_distance_is_longer_by_the_root_of_2():
    image = NOISE // 16
    straight = graycomatrix(image, [2, 5], [0, np.pi / 2], 16, symmetric=True)
    oblique = graycomatrix(
        image, np.sqrt(2) * np.array([2, 5]), [np.pi / 4, 3 * np.pi / 4], 16, symmetric=True
    )
    computed = np.moveaxis(cooccurrence_matrix(image.astype(int) + 1, [2, 5], ANGLES, 16), 1, -1)
    np.testing.assert_array_equal(np.moveaxis(computed[..., ::2], 0, 2), straight)
    np.testing.assert_array_equal(np.moveaxis(computed[..., 1::2], 0, 2), oblique)


def test_features_equal_scikit_image():
    row = row_of(NOISE, levels=256, intensity_range=(0, 1))
    matrices = graycomatrix(NOISE, [1], ANGLES, 256, symmetric=True, normed=True)
    names = {
        "contrast": "contrast",
        "dissimilarity": "dissimilarity",
        "homogeneity": "inverse_difference_moment",
        "ASM": "angular_second_moment",
        "correlation": "correlation",
    }
    for theirs, ours in names.items():
        assert row[ours] == pytest.approx(graycoprops(matrices, theirs).mean(), rel=1e-9), ours
    energy = graycoprops(matrices, "energy")[0]
    squares = cooccurrence_features(np.moveaxis(matrices[:, :, 0], -1, 0))["angular_second_moment"]
    np.testing.assert_allclose(np.sqrt(squares), energy, rtol=1e-9)


def test_more_than_256_levels_and_more_than_one_strip(monkeypatch):
    levels = np.random.default_rng(0).integers(1, 301, (30, 20))
    expected = np.zeros((300, 300), int)
    np.add.at(expected, (levels[:-1, 1:] - 1, levels[1:, :-1] - 1), 1)
    computed = cooccurrence_matrix(levels, angles=[3 * np.pi / 4])[0, 0]
    np.testing.assert_array_equal(computed, expected + expected.T)

    coarse = levels % 5 + 1
    whole = cooccurrence_matrix(coarse, distances=[1, 2])
    monkeypatch.setattr("featbus.feature_extraction._glcm._STRIP", 100)
    np.testing.assert_array_equal(cooccurrence_matrix(coarse, distances=[1, 2]), whole)


def test_fixed_bin_number():
    image = np.array([[10, 19, 20, 49, 50]], np.uint8)
    # floor(4 (x - 10) / 40) + 1, and the largest value in the last bin.
    np.testing.assert_array_equal(grey_levels(image, 4), [[1, 1, 2, 4, 4]])


@pytest.mark.parametrize("width", [1, 3, 7, 10, 25])
@pytest.mark.parametrize("darkest", [0, 5, 20, 99])
def test_bins_of_a_width_lie_at_its_multiples(width, darkest):
    image = np.arange(darkest, 256, dtype=np.uint8).reshape(1, -1)
    expected = image.astype(int) // width - darkest // width + 1  # as pyradiomics defines it
    for copy in (image, image * np.uint16(257), image / 255, (image / 255).astype(np.float32)):
        np.testing.assert_array_equal(grey_levels(copy, bin_width=width / 255), expected)


@pytest.mark.parametrize("width", [1, 3, 7, 10, 25])
@pytest.mark.parametrize("low", [0, 13])
def test_bins_of_a_width_start_at_the_lower_bound_of_a_range(width, low):
    image = np.arange(40, 200, dtype=np.uint8).reshape(1, -1)
    expected = (image.astype(int) - low) // width + 1  # as the IBSI defines it
    levels = grey_levels(image, bin_width=width / 255, intensity_range=(low / 255, 1))
    np.testing.assert_array_equal(levels, expected)


@pytest.mark.parametrize("intensity_range", [None, (0, 1)])
def test_the_darkest_pixel_of_a_region_moves_no_edge(intensity_range):
    parameters = {"bin_width": 8 / 255, "intensity_range": intensity_range}
    image = NOISE // 2 + np.uint8(60)
    rest = np.s_[1:]
    levels = grey_levels(image, **parameters)[rest].astype(int)
    for darkest in range(image.min()):
        image[0, 0] = darkest
        moved = grey_levels(image, **parameters)[rest] - levels
        assert np.ptp(moved) == 0
        assert intensity_range is None or not moved.any()


@pytest.mark.parametrize(
    "parameters",
    [
        {"bin_width": 0.1},
        {"bin_width": 0.1, "intensity_range": (0, 1)},
        {"intensity_range": (0, 1), "levels": 16},
        {},
    ],
)
def test_inverse_differences_are_normalized_by_the_highest_level_found(parameters):
    image = np.ma.MaskedArray(NOISE // 4 + np.uint8(30), NOISE > 250)
    image.data[NOISE > 250] = 255
    levels = grey_levels(image, **parameters)
    n_levels = levels.max()
    difference = np.abs(np.subtract.outer(*[np.arange(n_levels)] * 2))
    matrices = cooccurrence_matrix(levels, n_levels=n_levels)[0]
    shares = matrices / matrices.sum(axis=(1, 2), keepdims=True)
    row = row_of(image, **parameters)
    expected = (shares / (1 + difference / n_levels)).sum(axis=(1, 2)).mean()
    assert row["normalised_inverse_difference"] == pytest.approx(expected)
    expected = (shares / (1 + (difference / n_levels) ** 2)).sum(axis=(1, 2)).mean()
    assert row["normalised_inverse_difference_moment"] == pytest.approx(expected)


@pytest.mark.parametrize("levels", [2, 32, 64, 256])
def test_copies_of_another_type_have_the_same_levels(levels):
    # More pixels than values of the type, and fewer.
    for image in (NOISE[:2, :60], np.tile(NOISE, (7, 7))):
        image = np.clip(image, 60, 188)  # 128 steps: values lie on the edges of bins.
        reference = (image.astype(int) - 60) * levels // 128
        reference = np.minimum(reference, levels - 1) + 1
        for copy in (image, image * np.uint16(257), image / 255, (image / 255).astype(np.float32)):
            np.testing.assert_array_equal(grey_levels(copy, levels), reference)


def test_the_full_range_keeps_the_levels_of_8_bit_images():
    levels = grey_levels(NOISE, levels=256, intensity_range=(0, 1))
    np.testing.assert_array_equal(levels, NOISE.astype(int) + 1)


def test_16_bits_are_not_wrapped_to_8():
    # All within two steps of 8 bits.
    faint = NOISE + np.uint16(30000)
    assert row_of(faint) == row_of(NOISE)
    # 0 in the last 8 bits.
    coarse = np.repeat([256, 512], 8).astype(np.uint16).reshape(4, 4)
    assert row_of(coarse, levels=2) == row_of(coarse > 256, levels=2)


def test_colour_counts_by_its_luma():
    assert row_of(np.stack([NOISE] * 3, axis=2)) == row_of(NOISE)


def test_only_pairs_inside_the_region_count():
    inside = np.zeros(NOISE.shape, bool)
    inside[10:20, 10:30] = True
    inside[12:14, 15:17] = False
    first, second = (
        with_mask(np.where(inside, NOISE, outside).astype(np.uint8), inside) for outside in (0, 255)
    )
    assert row_of(first) == row_of(second)
    levels = grey_levels(first)
    assert (levels.mask == ~inside).all()
    right = inside[:, :-1] & inside[:, 1:]
    assert cooccurrence_matrix(levels, angles=[0]).sum() == 2 * right.sum()


def test_a_masked_border_equals_the_crop():
    inside = np.zeros(NOISE.shape, bool)
    inside[3:-4, 5:-6] = True
    assert row_of(with_mask(NOISE, inside)) == row_of(NOISE[3:-4, 5:-6])


def test_two_values():
    # Columns of 1 and 2: along rows always different, down columns always the same.
    stripes = np.tile(np.array([[0, 1]], bool), (4, 3))
    across, down = (row_of(stripes, levels=2, angles=[angle]) for angle in (0, np.pi / 2))
    assert (across["contrast"], down["contrast"]) == (1, 0)
    assert across["correlation"] == pytest.approx(-1)
    assert down["correlation"] == 1
    assert (across["joint_entropy"], down["joint_entropy"]) == (1, 1)
    assert across["information_correlation_1"] == pytest.approx(-1)
    assert down["information_correlation_2"] == pytest.approx(np.sqrt(1 - np.exp(-2)))


@pytest.mark.parametrize("parameters", [{}, {"bin_width": 0.1}, {"intensity_range": (0, 1)}])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.float32])
def test_constant_image(dtype, parameters, recwarn):
    row = row_of(np.ones((5, 6), dtype), **parameters)
    assert np.isfinite(list(row.values())).all()
    assert (row["joint_entropy"], row["contrast"], row["correlation"]) == (0, 0, 1)
    assert (row["information_correlation_1"], row["information_correlation_2"]) == (0, 0)
    assert (row["angular_second_moment"], row["inverse_difference"]) == (1, 1)
    assert not recwarn.list


def test_angles_without_a_pair_are_left_out():
    line = NOISE[:1]
    assert row_of(line) == row_of(line, angles=[0])


def test_a_region_of_one_pixel_is_an_error():
    inside = np.zeros(NOISE.shape, bool)
    inside[5, 7] = True
    message = "image 0: found no two pixels at distance 1 in the 1 x 1 pixels of the bounding box"
    with pytest.raises(ValueError, match=message):
        GLCM().transform([with_mask(NOISE, inside)])


@pytest.mark.parametrize("side", [1, 3, 5])
def test_an_image_smaller_than_the_distance_is_an_error(side):
    with pytest.raises(ValueError, match=r"distance 5 .* expected at least one pair: 6 pixels"):
        GLCM(distances=[5]).transform([NOISE[:side, :side]])


def test_nan_is_an_error():
    image = NOISE / 255
    image[3, 4] = np.nan
    with pytest.raises(ValueError, match="image 0: found 1 NaN"):
        GLCM().transform([image])
    assert np.isfinite(GLCM().transform([np.ma.masked_invalid(image)])).all()


@settings(max_examples=60, deadline=None)
@given(small_images, st.integers(1, 3), st.sampled_from([2, 5, 256]))
def test_transposing_the_image_swaps_rows_and_columns(image, distance, n_levels):
    levels = grey_levels(image, n_levels)
    matrices = cooccurrence_matrix(levels, [distance], ANGLES, n_levels)[0]
    transposed = cooccurrence_matrix(levels.T, [distance], ANGLES, n_levels)[0]
    np.testing.assert_array_equal(transposed, matrices[[2, 1, 0, 3]])
    mirrored = cooccurrence_matrix(levels[:, ::-1], [distance], ANGLES, n_levels)[0]
    np.testing.assert_array_equal(mirrored, matrices[[0, 3, 2, 1]])


@settings(max_examples=60, deadline=None)
@given(small_images, st.sampled_from([2, 5, 32]), st.sampled_from(["average", "merge"]))
def test_rows_are_finite_and_in_range(image, levels, aggregation):
    row = row_of(image, levels=levels, aggregation=aggregation)
    assert np.isfinite(list(row.values())).all()
    assert 1 <= row["joint_average"] <= levels
    assert -1 - 1e-9 <= row["correlation"] <= 1 + 1e-9
    assert -1 - 1e-9 <= row["information_correlation_1"] <= 1e-9
    assert 0 <= row["information_correlation_2"] <= 1
    assert 0 < row["angular_second_moment"] <= row["joint_maximum"] + 1e-9
    assert row["sum_average"] == pytest.approx(2 * row["joint_average"])


@settings(max_examples=60, deadline=None)
@given(small_images)
def test_the_number_of_pairs(image):
    height, width = image.shape
    counts = cooccurrence_matrix(grey_levels(image, 4)).sum(axis=(0, 2, 3))
    diagonal = (height - 1) * (width - 1)
    expected = [height * (width - 1), diagonal, (height - 1) * width, diagonal]
    np.testing.assert_array_equal(counts, 2 * np.array(expected))


@settings(max_examples=40, deadline=None)
@given(small_images, st.integers(0, 3))
def test_light_and_gain_change_nothing_at_a_fixed_bin_number(image, light):
    assert row_of(image // 4) == row_of(image // 4 * np.uint8(3) + np.uint8(light))


@pytest.mark.parametrize("gain", [1, 1e-3, 1e-5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gain_moves_no_level_of_floating_point_images(dtype, gain):
    image = np.arange(256).reshape(16, 16)
    levels = grey_levels((image / 255 * gain).astype(dtype))
    np.testing.assert_array_equal(levels, grey_levels(image.astype(np.uint8)))


def test_12_of_16_bits_in_single_precision_have_the_same_levels():
    image = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for levels in (32, 64, 256):
        np.testing.assert_array_equal(
            grey_levels(np.float32(image / 65535), levels), grey_levels(image, levels)
        )


def test_names_and_distances():
    glcm = GLCM(distances=[1, 4])
    names = glcm.get_feature_names_out()
    assert len(names) == 50
    assert (names[0], names[-1]) == ("glcm_d1_joint_maximum", "glcm_d4_information_correlation_2")
    rows = [GLCM(distances=[distance]).transform([NOISE]) for distance in (1, 4)]
    np.testing.assert_array_equal(glcm.transform([NOISE]), np.hstack(rows))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"distances": []}, r"distances is \[\], expected"),
        ({"distances": [0]}, r"distances is \[0\], expected an int"),
        ({"distances": [1.5]}, r"distances is \[1.5\], expected an int"),
        ({"angles": []}, r"angles is \[\], expected"),
        ({"angles": [45]}, r"angles is \[45\], expected a float in the range \[-6.28"),
        ({"levels": 0}, r"levels is 0, expected an int in the range \[1, 1024\]"),
        ({"levels": 2000}, "levels is 2000, expected"),
        ({"bin_width": 0}, "bin_width is 0"),
        ({"intensity_range": (1, 0)}, r"intensity_range is \(1, 0\), expected .* low < high"),
        ({"aggregation": "median"}, "aggregation is 'median'"),
    ],
)
def test_bad_parameters(parameters, message):
    for method in ("fit", "transform"):
        with pytest.raises(InvalidParameterError, match=message):
            getattr(GLCM(**parameters), method)([NOISE])


def test_too_many_levels_in_an_image():
    message = "image 0: found 1000.. gray levels of width 1e-05, expected at most 1024"
    with pytest.raises(ImageError, match=message):
        GLCM(bin_width=1e-5).fit([NOISE]).transform([NOISE])


def test_one_number_stands_for_a_sequence():
    rows = [
        GLCM(distances=distances, angles=angles).transform([NOISE])
        for distances, angles in [(2, np.pi / 2), ((2,), [np.pi / 2])]
    ]
    np.testing.assert_array_equal(*rows)
    assert GLCM(distances=2).get_feature_names_out()[0] == "glcm_d2_joint_maximum"
    assert GLCM().where("glcm_d1_contrast", (9, 8)).what == "contrast at distance 1"
    levels = grey_levels(NOISE, 4)
    np.testing.assert_array_equal(
        cooccurrence_matrix(levels, 2, 0.0), cooccurrence_matrix(levels, [2], [0.0])
    )


@pytest.mark.parametrize(
    ("function", "parameters", "message"),
    [
        (grey_levels, {"levels": 0}, "levels is 0, expected"),
        (grey_levels, {"bin_width": "1"}, "bin_width is '1', expected"),
        (grey_levels, {"intensity_range": (0, np.nan)}, r"intensity_range is \(0, nan\), expected"),
        (cooccurrence_matrix, {"distances": 0}, "distances is 0, expected"),
        (cooccurrence_matrix, {"angles": 45}, "angles is 45, expected"),
        (cooccurrence_matrix, {"n_levels": 2000}, "n_levels is 2000, expected"),
    ],
)
def test_functions_check_their_parameters(function, parameters, message):
    with pytest.raises(InvalidParameterError, match=message):
        function(NOISE, **parameters)


@pytest.mark.parametrize("levels", [[[0, 1]], [[1.5, 2.5]], [1, 2], np.ones((0, 2), int)])
def test_bad_levels(levels):
    with pytest.raises(ValueError, match="Expected integer gray levels of 1 or more"):
        cooccurrence_matrix(levels)


def test_too_few_levels():
    with pytest.raises(ValueError, match="Found the gray level 6, expected at most 5"):
        cooccurrence_matrix([[1, 6]], n_levels=5)


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (np.ones((2, 3)), r"shape \(\.\.\., n, n\), got \(2, 3\)"),
        ([[0, 1], [2, 0]], "symmetric"),
        ([[np.nan]], "without NaN"),
        ([[-1]], "not all 0"),
        (np.zeros((2, 2)), "not all 0"),
    ],
)
def test_bad_matrices(matrices, message):
    with pytest.raises(ValueError, match=message):
        cooccurrence_features(matrices)


@settings(max_examples=25, deadline=None)
@given(
    small_images,
    st.lists(st.sampled_from(ANGLES), min_size=1, max_size=4, unique=True),
    st.sampled_from(["average", "merge"]),
)
def test_transposing_the_image_and_its_angles_changes_nothing(image, angles, aggregation):
    turned = [np.pi / 2 - angle for angle in angles]
    parameters = {"levels": 5, "aggregation": aggregation}
    row = row_of(image, angles=angles, **parameters)
    transposed = row_of(np.ascontiguousarray(image.T), angles=turned, **parameters)
    assert transposed == pytest.approx(row, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(small_images, st.data())
def test_a_region_has_a_finite_row_or_holds_no_pair(image, data):
    outside = data.draw(arrays(bool, image.shape))
    outside[0, 0] = False
    masked = np.ma.MaskedArray(image, outside)
    pairs = cooccurrence_matrix(grey_levels(masked, 4)).sum()
    if pairs:
        assert np.isfinite(list(row_of(masked, levels=4).values())).all()
    else:
        with pytest.raises(ValueError, match="found no two pixels at distance 1"):
            row_of(masked, levels=4)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.float32, np.float64])
def test_an_image_of_one_pixel_has_a_level(dtype):
    np.testing.assert_array_equal(grey_levels(np.ones((1, 1), dtype)), [[1]])
