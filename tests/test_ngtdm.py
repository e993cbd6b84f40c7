"""NGTDM."""

import numpy as np
import pytest
from _texture import NOISE, level_maps, neighbors_of, row_of
from hypothesis import given, settings
from hypothesis import strategies as st

from featbus import NGTDM
from featbus.feature_extraction._ngtdm import tone_difference_features, tone_difference_matrix


def differences_one_by_one(levels, distance):
    """Return the level and the difference of each pixel that has a neighbor."""
    around = neighbors_of(levels, distance)
    return [(level, abs(level - np.mean(others))) for level, others in around if others]


def features_by_definition(differences):
    """Compute the features in loops over levels, as the manual of the IBSI defines them."""
    found = sorted({level for level, _ in differences})
    n = len(differences)
    p = {i: sum(level == i for level, _ in differences) / n for i in found}
    s = {i: sum(difference for level, difference in differences if level == i) for i in found}
    pairs = [(i, j) for i in found for j in found]
    total, busy = sum(s.values()), sum(p[i] * s[i] for i in found)
    n_pairs = len(found) * (len(found) - 1)
    spread = sum(abs(i * p[i] - j * p[j]) for i, j in pairs)
    return {
        "coarseness": 1 / busy if busy else 1e6,
        "contrast": sum(p[i] * p[j] * (i - j) ** 2 for i, j in pairs) / n_pairs * total / n
        if n_pairs
        else 0,
        "busyness": busy / spread if spread else 0,
        "complexity": sum(
            abs(i - j) * (p[i] * s[i] + p[j] * s[j]) / (p[i] + p[j]) for i, j in pairs
        )
        / max(n, 1),
        "strength": sum((p[i] + p[j]) * (i - j) ** 2 for i, j in pairs) / total if total else 0,
    }


def test_matrix_of_a_known_image():
    # The 3 has the neighbors 1, 1, 2 and 2: their mean is 1.5.
    levels = np.ma.MaskedArray(
        [[1, 1, 9], [2, 3, 9], [2, 9, 9]], mask=[[0, 0, 1], [0, 0, 1], [0, 1, 1]]
    )
    expected = [[2, abs(1 - 2) + abs(1 - 2)], [2, abs(2 - 7 / 4) + abs(2 - 5 / 2)], [1, 1.5]]
    np.testing.assert_allclose(tone_difference_matrix(levels), expected)


@settings(max_examples=30, deadline=None)
@given(level_maps(), st.integers(1, 3))
def test_matrix_and_features_equal_those_of_a_loop(levels, distance):
    differences = differences_one_by_one(levels, distance)
    expected = np.zeros((levels.max(), 2))
    for level, difference in differences:
        expected[level - 1] += 1, difference
    matrix = tone_difference_matrix(levels, distance)
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
    features, defined = tone_difference_features(matrix), features_by_definition(differences)
    assert list(features) == list(defined)
    np.testing.assert_allclose(list(features.values()), list(defined.values()), rtol=1e-10)


@pytest.mark.parametrize("image", [NOISE[:1, :1], np.full((6, 5), 7, np.uint8)])
def test_without_differences_coarseness_is_a_million(image):
    row = row_of(NGTDM, image)
    assert row.pop("coarseness") == 1e6
    assert not any(row.values())


def test_a_distant_neighborhood_is_smoother_than_the_pixels():
    coarse = np.kron(NOISE, np.ones((4, 4), np.uint8))
    near, far = (row_of(NGTDM, coarse, distance=distance)["coarseness"] for distance in (1, 4))
    assert near > 2 * far
