"""GLSZM."""

import numpy as np
from _texture import NOISE, features_of_parts, level_maps, zones_one_by_one
from _texture import row_of as any_row_of
from hypothesis import given, settings

from featbus import GLSZM
from featbus.feature_extraction._glszm import size_zone_features, size_zone_matrix
from featbus.masks import with_mask


def row_of(image, **parameters):
    return any_row_of(GLSZM, image, **parameters)


def test_zones_of_a_known_image():
    # The 1s touch at a corner, the 3s lie apart.
    levels = [[1, 2, 3], [2, 1, 2], [3, 2, 1]]
    expected = [[0, 0, 1, 0], [0, 0, 0, 1], [2, 0, 0, 0]]
    np.testing.assert_array_equal(size_zone_matrix(levels).toarray(), expected)


@settings(max_examples=30, deadline=None)
@given(level_maps())
def test_counts_and_features_equal_those_of_a_loop(levels):
    zones = [(level, len(pixels)) for level, pixels in zones_one_by_one(levels)]
    matrix = size_zone_matrix(levels)
    expected = np.zeros((levels.max(), max(size for _, size in zones)), int)
    for level, size in zones:
        expected[level - 1, size - 1] += 1
    np.testing.assert_array_equal(matrix.toarray(), expected)
    features = list(size_zone_features(matrix).values())
    np.testing.assert_allclose(features, features_of_parts(zones, levels.count()), atol=1e-12)


def test_one_large_zone_needs_little_memory():
    levels = np.ones((1000, 1000), np.uint16)
    levels[0, 0] = 1024
    matrix = size_zone_matrix(levels)
    assert matrix.shape == (1024, 999_999)
    assert matrix.nnz == 2
    assert size_zone_features(matrix)["large_zone_emphasis"] == (999_999**2 + 1) / 2


def test_a_region_of_one_pixel_is_one_zone():
    inside = np.zeros(NOISE.shape, bool)
    inside[5, 7] = True
    for image in (with_mask(NOISE, inside), NOISE[:1, :1]):
        row = row_of(image)
        assert row["zone_percentage"] == row["small_zone_emphasis"] == 1
        assert row["zone_size_entropy"] == 0


def test_a_region_in_two_parts_has_two_zones():
    inside = np.zeros(NOISE.shape, bool)
    inside[10:20, 10:30] = True
    inside[:, 15:17] = False
    flat = with_mask(np.full_like(NOISE, 9), inside)
    assert row_of(flat)["zone_percentage"] == 2 / inside.sum()
