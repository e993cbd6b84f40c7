"""NGLDM."""

import numpy as np
from _texture import NOISE, features_of_parts, level_maps, neighbors_of
from _texture import row_of as any_row_of
from hypothesis import given, settings
from hypothesis import strategies as st

from featbus import NGLDM
from featbus.feature_extraction._ngldm import dependence_features, dependence_matrix
from featbus.masks import with_mask


def row_of(image, **parameters):
    return any_row_of(NGLDM, image, **parameters)


def test_neighborhoods_of_a_known_image():
    # The 1s have 2, 2 and 2 equal neighbors, the 2s one each, the 4 none.
    levels = [[1, 1, 2], [1, 4, 2]]
    expected = [[0, 0, 3], [0, 2, 0], [0, 0, 0], [1, 0, 0]]
    matrix = dependence_matrix(levels)
    np.testing.assert_array_equal(matrix[:, :3], expected)
    assert not matrix[:, 3:].any()


@settings(max_examples=30, deadline=None)
@given(level_maps(), st.integers(1, 2), st.integers(0, 2))
def test_counts_and_features_equal_those_of_a_loop(levels, distance, coarseness):
    parts = [
        (level, 1 + sum(abs(level - other) <= coarseness for other in others))
        for level, others in neighbors_of(levels, distance)
    ]
    expected = np.zeros((levels.max(), (2 * distance + 1) ** 2), int)
    for level, size in parts:
        expected[level - 1, size - 1] += 1
    matrix = dependence_matrix(levels, distance, coarseness)
    np.testing.assert_array_equal(matrix, expected)
    *features, energy = dependence_features(matrix).values()
    np.testing.assert_allclose(features, features_of_parts(parts, levels.count()), atol=1e-12)
    _, pairs = np.unique(parts, axis=0, return_counts=True)
    np.testing.assert_allclose(energy, np.sum((pairs / len(parts)) ** 2))


def test_every_neighbor_of_a_constant_region_depends():
    inside = np.zeros(NOISE.shape, bool)
    inside[5:8, 7:12] = True
    for image in (with_mask(np.full_like(NOISE, 9), inside), NOISE[5:8, 7:12]):
        row = row_of(image, coarseness=32)
        # 4 pixels at corners, 8 at edges and 3 in the middle.
        assert row["high_dependence_emphasis"] == (4 * 4**2 + 8 * 6**2 + 3 * 9**2) / 15
        assert row["dependence_count_percentage"] == 1


def test_pixels_outside_do_not_depend_however_coarse():
    assert row_of(NOISE[:1, :1], coarseness=1024)["high_dependence_emphasis"] == 1
