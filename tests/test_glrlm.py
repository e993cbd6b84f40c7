"""GLRLM."""

import tracemalloc
from itertools import chain, groupby

import numpy as np
import pytest
from _texture import ANGLES, NOISE, features_of_parts, level_maps, small_images
from _texture import row_of as any_row_of
from hypothesis import given, settings
from hypothesis import strategies as st

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


@settings(max_examples=60, deadline=None)
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


@pytest.mark.parametrize("strip", [1, 100, 1 << 20])
def test_strips_make_no_seams(strip, monkeypatch):
    levels = NOISE.astype(int) // 100 + 1
    whole = run_length_matrix(levels)
    monkeypatch.setattr("featbus.feature_extraction._glrlm._STRIP", strip)
    np.testing.assert_array_equal(run_length_matrix(levels), whole)


def test_average_and_merge():
    matrices = run_length_matrix(gray_levels(NOISE, 4))
    average, merged = (row_of(NOISE, levels=4, aggregation=how) for how in ("average", "merge"))
    for name, values in run_length_features(matrices).items():
        assert average[name] == pytest.approx(values.mean())
    assert merged == pytest.approx(run_length_features(matrices.sum(axis=0)))


def test_stripes_are_long_along_and_short_across():
    stripes = np.tile(np.array([[0, 255]], np.uint8), (12, 6))
    across, along = (row_of(stripes, angles=[angle]) for angle in (0, np.pi / 2))
    assert (across["run_percentage"], across["long_runs_emphasis"]) == (1, 1)
    assert (along["run_percentage"], along["long_runs_emphasis"]) == (1 / 12, 144)


def test_two_values():
    halves = np.repeat(np.array([[False, True]]), 4, axis=1)
    row = row_of(halves, levels=2, angles=[0])
    assert (row["run_entropy"], row["grey_level_variance"]) == (1, 0.25)
    assert (row["long_run_low_grey_level_emphasis"], row["run_percentage"]) == (10, 0.25)


def test_a_region_of_one_pixel_is_one_run():
    inside = np.zeros(NOISE.shape, bool)
    inside[5, 7] = True
    for image in (with_mask(NOISE, inside), NOISE[:1, :1]):
        row = row_of(image)
        assert row["run_percentage"] == row["short_runs_emphasis"] == 1
        assert row["run_entropy"] == row["run_length_variance"] == 0


@settings(max_examples=25, deadline=None)
@given(small_images(), st.sampled_from([2, 5, 256]))
def test_transposing_the_image_swaps_rows_and_columns(image, n_levels):
    levels = gray_levels(image, n_levels)
    matrices = run_length_matrix(levels)
    np.testing.assert_array_equal(run_length_matrix(levels.T), matrices[[2, 1, 0, 3]])
    np.testing.assert_array_equal(run_length_matrix(levels[:, ::-1]), matrices[[0, 3, 2, 1]])
    np.testing.assert_array_equal(run_length_matrix(levels[::-1, ::-1]), matrices)


@settings(max_examples=25, deadline=None)
@given(small_images(), st.sampled_from([2, 5, 32]), st.sampled_from(["average", "merge"]))
def test_rows_are_finite_and_in_range(image, levels, aggregation):
    row = row_of(image, levels=levels, aggregation=aggregation)
    assert np.isfinite(list(row.values())).all()
    rounding = 1 + 1e-9
    assert 0 < row["run_percentage"] <= rounding
    assert 0 < row["short_runs_emphasis"] <= rounding
    assert row["long_runs_emphasis"] * rounding >= 1
    assert 1 / rounding <= row["high_grey_level_run_emphasis"] <= levels**2 * rounding
    assert min(row["run_entropy"], row["grey_level_variance"], row["run_length_variance"]) >= 0


def test_the_angle_may_point_either_way_and_one_needs_no_sequence():
    levels = gray_levels(NOISE, 3)
    opposite = run_length_matrix(levels, angles=np.array(ANGLES) - np.pi)
    np.testing.assert_array_equal(opposite, run_length_matrix(levels))
    rows = [GLRLM(angles=angles).transform([NOISE]) for angles in (np.pi / 4, [np.pi / 4])]
    np.testing.assert_array_equal(*rows)


def test_memory_stays_below_12_times_the_image():
    image = np.tile(NOISE, (10, 10))
    glrlm = GLRLM()
    glrlm.transform([image])
    tracemalloc.start()
    glrlm.transform([image])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * image.nbytes
