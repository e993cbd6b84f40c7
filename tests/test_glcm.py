"""GLCM."""

import numpy as np
import pytest
from _texture import ANGLES, NOISE, small_images
from _texture import row_of as any_row_of
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import graycomatrix

from featbus import GLCM
from featbus.feature_extraction._glcm import cooccurrence_matrix
from featbus.feature_extraction._texture import gray_levels
from featbus.images import ImageError
from featbus.masks import with_mask


def row_of(image, **parameters):
    return any_row_of(GLCM, image, **parameters)


@pytest.mark.parametrize("n_levels", [2, 32, 256])
def test_counts_equal_scikit_image(n_levels):
    image = (NOISE.astype(int) * n_levels // 256).astype(np.uint8)
    expected = graycomatrix(image, [1], ANGLES, n_levels, symmetric=True)[:, :, 0]
    computed = cooccurrence_matrix(image.astype(int) + 1, n_levels=n_levels)
    np.testing.assert_array_equal(np.moveaxis(computed, 0, 2), expected)


@pytest.mark.parametrize("distance", [2, 5])
def test_at_an_angle_scikit_images_distance_is_longer_by_the_root_of_2(distance):
    image = NOISE // 16
    computed = cooccurrence_matrix(image.astype(int) + 1, distance, ANGLES, 16)
    for matrix, angle, scale in zip(computed, ANGLES, [1, np.sqrt(2)] * 2):
        expected = graycomatrix(image, [scale * distance], [angle], 16, symmetric=True)
        np.testing.assert_array_equal(matrix, expected[:, :, 0, 0])


def test_more_than_256_levels_and_more_than_one_strip(monkeypatch):
    levels = np.random.default_rng(0).integers(1, 301, (30, 20))
    expected = np.zeros((300, 300), int)
    np.add.at(expected, (levels[:-1, 1:] - 1, levels[1:, :-1] - 1), 1)
    (computed,) = cooccurrence_matrix(levels, angles=[3 * np.pi / 4])
    np.testing.assert_array_equal(computed, expected + expected.T)

    coarse = levels % 5 + 1
    whole = cooccurrence_matrix(coarse, 2)
    monkeypatch.setattr("featbus.feature_extraction._glcm._STRIP", 100)
    np.testing.assert_array_equal(cooccurrence_matrix(coarse, 2), whole)


@pytest.mark.parametrize(
    "parameters", [{"bin_width": 0.1}, {"intensity_range": (0, 1), "levels": 16}, {}]
)
def test_inverse_differences_are_normalized_by_the_highest_level_found(parameters):
    image = np.ma.MaskedArray(NOISE // 4 + np.uint8(30), NOISE > 250)
    image.data[NOISE > 250] = 255
    levels = gray_levels(image, **parameters)
    n_levels = int(levels.max())
    difference = np.abs(np.subtract.outer(*[np.arange(n_levels)] * 2))
    matrices = cooccurrence_matrix(levels)
    shares = matrices / matrices.sum(axis=(1, 2), keepdims=True)
    row = row_of(image, **parameters)
    expected = (shares / (1 + difference / n_levels)).sum(axis=(1, 2)).mean()
    assert row["normalised_inverse_difference"] == pytest.approx(expected)
    expected = (shares / (1 + (difference / n_levels) ** 2)).sum(axis=(1, 2)).mean()
    assert row["normalised_inverse_difference_moment"] == pytest.approx(expected)


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


def test_constant_image():
    row = row_of(np.ones((5, 6), np.uint8))
    assert (row["joint_entropy"], row["contrast"], row["correlation"]) == (0, 0, 1)
    assert (row["information_correlation_1"], row["information_correlation_2"]) == (0, 0)
    assert (row["angular_second_moment"], row["inverse_difference"]) == (1, 1)


def test_angles_without_a_pair_are_left_out():
    assert row_of(NOISE[:1]) == row_of(NOISE[:1], angles=[0])


@pytest.mark.parametrize("side", [1, 3, 5])
def test_an_image_or_region_smaller_than_the_distance_is_an_error(side):
    inside = np.zeros(NOISE.shape, bool)
    inside[5 : 5 + side, 7 : 7 + side] = True
    for image in (with_mask(NOISE, inside), NOISE[:side, :side]):
        with pytest.raises(ImageError, match=rf"image 0: .* distance 5 .* {side} x {side} pixels"):
            GLCM(distances=[5]).transform([image])


@settings(max_examples=25, deadline=None)
@given(small_images(2), st.sampled_from([2, 5, 32]), st.sampled_from(["average", "merge"]))
def test_rows_are_finite_and_in_range(image, levels, aggregation):
    row = row_of(image, levels=levels, aggregation=aggregation)
    assert np.isfinite(list(row.values())).all()
    assert 1 <= row["joint_average"] <= levels
    assert -1 - 1e-9 <= row["correlation"] <= 1 + 1e-9
    assert -1 - 1e-9 <= row["information_correlation_1"] <= 1e-9
    assert 0 <= row["information_correlation_2"] <= 1
    assert 0 < row["angular_second_moment"] <= row["joint_maximum"] + 1e-9
    assert row["sum_average"] == pytest.approx(2 * row["joint_average"])


def test_names_and_distances():
    glcm = GLCM(distances=[1, 4])
    names = glcm.get_feature_names_out()
    assert len(names) == 50
    assert (names[0], names[-1]) == ("glcm_d1_joint_maximum", "glcm_d4_information_correlation_2")
    rows = [GLCM(distances=distances).transform([NOISE]) for distances in (1, (4,))]
    np.testing.assert_array_equal(glcm.transform([NOISE]), np.hstack(rows))
    assert glcm.where("glcm_d4_contrast", (9, 8)).what == "contrast at distance 4"
