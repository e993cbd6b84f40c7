"""GLDZM."""

import numpy as np
from _texture import NOISE, features_of_parts, level_maps, row_of, zones_one_by_one
from hypothesis import given, settings

from featbus import GLDZM, GLSZM
from featbus.feature_extraction._gldzm import distance_zone_features, distance_zone_matrix
from featbus.masks import with_mask


def distance_of(zone, inside):
    """Return the fewest steps along rows and columns that lead from a zone out of the region."""
    n_steps, reached = 0, set(zone)
    while reached <= inside:
        n_steps += 1
        reached |= {(row + step, column) for row, column in reached for step in (-1, 1)} | {
            (row, column + step) for row, column in reached for step in (-1, 1)
        }
    return n_steps


def test_zones_of_a_known_image():
    # The 3 in the middle touches the border of the region only at a corner: two steps lead out.
    levels = np.array([[0, 1, 1, 1, 1], [1, 3, 2, 2, 1], [1, 2, 3, 2, 1], [1, 1, 1, 1, 1]])
    expected = [[1, 0], [0, 1], [0, 1]]
    np.testing.assert_array_equal(distance_zone_matrix(levels), expected)


@settings(max_examples=30, deadline=None)
@given(level_maps())
def test_counts_and_features_equal_those_of_a_loop(levels):
    inside = {pixel for pixel, out in np.ndenumerate(np.ma.getmaskarray(levels)) if not out}
    zones = [(level, distance_of(zone, inside)) for level, zone in zones_one_by_one(levels)]
    expected = np.zeros((levels.max(), max(distance for _, distance in zones)), int)
    for level, distance in zones:
        expected[level - 1, distance - 1] += 1
    matrix = distance_zone_matrix(levels)
    np.testing.assert_array_equal(matrix, expected)
    features = list(distance_zone_features(matrix, levels.count()).values())
    np.testing.assert_allclose(features, features_of_parts(zones, levels.count()), atol=1e-12)


def test_distances_in_a_large_region():
    levels = np.ones((201, 301), np.uint16)
    levels[100, 150] = 2
    matrix = distance_zone_matrix(levels)
    assert matrix.shape == (2, 101)
    assert matrix[0, 0] == matrix[1, 100] == matrix.sum() / 2 == 1


def test_a_hole_in_the_region_is_a_border():
    image = np.full_like(NOISE, 9)
    image[20, 25] = 200
    inside = np.ones(NOISE.shape, bool)
    whole = row_of(GLDZM, with_mask(image, inside), levels=2)
    inside[19, 24:27] = False
    assert whole["large_distance_emphasis"] == (1 + 20**2) / 2
    assert row_of(GLDZM, with_mask(image, inside), levels=2)["large_distance_emphasis"] == 1


def test_columns_without_distances_are_those_of_glszm():
    distances, sizes = (row_of(extractor, NOISE, levels=8) for extractor in (GLDZM, GLSZM))
    same = [name for name in sizes if np.isclose(sizes[name], distances.get(name, np.nan))]
    assert len(same) == 6
    assert all("level" in name or name == "zone_percentage" for name in same)


def test_distances_from_the_border_of_a_larger_region():
    levels = np.zeros((5, 5), np.uint16)
    levels[2, 2] = 1
    region = np.ones(levels.shape, bool)
    assert distance_zone_matrix(levels).shape == (1, 1)
    assert distance_zone_matrix(levels, region).shape == (1, 3)
