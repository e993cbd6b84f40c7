"""GLRLM."""

from itertools import chain, groupby

import numpy as np
import pytest
from _texture import ANGLES, NOISE, features_of_parts, level_maps
from _texture import row_of as any_row_of
from hypothesis import given, settings

from featbus import GLRLM
from featbus.feature_extraction._glrlm import run_length_features, run_length_matrix
from featbus.feature_extraction._texture import gray_levels
from featbus.masks import with_mask


def row_of(image, **parameters):
    return any_row_of(GLRLM, image, **parameters)


def runs_one_by_one(levels, angle):
    """Return level and length of each run, followed pixel by pixel."""
    filled = np.ma.filled(levels, 0)
    height, width = filled.shape
    down, right = round(np.sin(angle) * 1.2), round(np.cos(angle) * 1.2)
    runs = []
    for start in np.ndindex(height, width):
        if 0 <= start[0] - down < height and 0 <= start[1] - right < width:
            continue
        line, (row, column) = [], start
        while 0 <= row < height and 0 <= column < width:
            line.append(int(filled[row, column]))
            row, column = row + down, column + right
        runs += [(level, len(list(run))) for level, run in groupby(line) if level > 0]
    return runs


def test_runs_of_a_known_image():
    levels = [[1, 1, 2], [3, 1, 2], [2, 3, 1]]
    along, down_right, down, down_left = run_length_matrix(levels)
    np.testing.assert_array_equal(along, [[2, 1, 0], [3, 0, 0], [2, 0, 0]])
    np.testing.assert_array_equal(down_right, [[1, 0, 1], [3, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(down, [[2, 1, 0], [1, 1, 0], [2, 0, 0]])
    np.testing.assert_array_equal(down_left, [[4, 0, 0], [3, 0, 0], [2, 0, 0]])


@settings(max_examples=30, deadline=None)
@given(level_maps())
def test_counts_and_features_equal_those_of_a_loop(levels):
    n_pixels = levels.count()
    runs = [runs_one_by_one(levels, angle) for angle in ANGLES]
    matrices = run_length_matrix(levels)
    expected = np.zeros((4, levels.max(), max(length for _, length in chain(*runs))), int)
    for index, of_direction in enumerate(runs):
        for level, length in of_direction:
            expected[index, level - 1, length - 1] += 1
    np.testing.assert_array_equal(matrices, expected)
    features = np.transpose(list(run_length_features(matrices).values()))
    for found, of_direction in zip(features, runs):
        np.testing.assert_allclose(found, features_of_parts(of_direction, n_pixels), atol=1e-12)
    merged = list(run_length_features(matrices.sum(axis=0)).values())
    np.testing.assert_allclose(merged, features_of_parts([*chain(*runs)], 4 * n_pixels), atol=1e-12)


@pytest.mark.parametrize("strip", [1, 100])
def test_strips_make_no_seams(strip, monkeypatch):
    levels = NOISE.astype(int) // 100 + 1
    whole = run_length_matrix(levels)
    monkeypatch.setattr("featbus.feature_extraction._glrlm._STRIP", strip)
    np.testing.assert_array_equal(run_length_matrix(levels), whole)


def test_stripes_are_long_along_and_short_across():
    stripes = np.tile(np.array([[0, 255]], np.uint8), (12, 6))
    across, along = (row_of(stripes, angles=[angle]) for angle in (0, np.pi / 2))
    assert (across["run_percentage"], across["long_runs_emphasis"]) == (1, 1)
    assert (along["run_percentage"], along["long_runs_emphasis"]) == (1 / 12, 144)


def test_a_region_of_one_pixel_is_one_run():
    inside = np.zeros(NOISE.shape, bool)
    inside[5, 7] = True
    for image in (with_mask(NOISE, inside), NOISE[:1, :1]):
        row = row_of(image)
        assert row["run_percentage"] == row["short_runs_emphasis"] == 1
        assert row["run_entropy"] == row["run_length_variance"] == 0


def test_the_angle_may_point_either_way_and_one_needs_no_sequence():
    levels = gray_levels(NOISE, 3)
    opposite = run_length_matrix(levels, angles=np.array(ANGLES) - np.pi)
    np.testing.assert_array_equal(opposite, run_length_matrix(levels))
    rows = [GLRLM(angles=angles).transform([NOISE]) for angles in (np.pi / 4, [np.pi / 4])]
    np.testing.assert_array_equal(*rows)
