"""GLRLM."""

import json
import tracemalloc
from itertools import chain, groupby

import numpy as np
import pytest
from _data import data_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from featbus import GLRLM
from featbus.feature_extraction import grey_levels, run_length_features, run_length_matrix
from featbus.masks import with_mask
from featbus.parameters import InvalidParameterError

ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
NAMES = {
    "sre": "short_runs_emphasis",
    "lre": "long_runs_emphasis",
    "lgre": "low_grey_level_run_emphasis",
    "hgre": "high_grey_level_run_emphasis",
    "srlge": "short_run_low_grey_level_emphasis",
    "srhge": "short_run_high_grey_level_emphasis",
    "lrlge": "long_run_low_grey_level_emphasis",
    "lrhge": "long_run_high_grey_level_emphasis",
    "glnu": "grey_level_non_uniformity",
    "glnu_norm": "normalised_grey_level_non_uniformity",
    "rlnu": "run_length_non_uniformity",
    "rlnu_norm": "normalised_run_length_non_uniformity",
    "r_perc": "run_percentage",
    "gl_var": "grey_level_variance",
    "rl_var": "run_length_variance",
    "rl_entr": "run_entropy",
}

small_images = arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 255)
)


@st.composite
def level_maps(draw):
    """Draw a few grey levels, with some pixels outside the region."""
    shape = draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    levels = draw(arrays(np.int64, shape, elements=st.integers(1, 3)))
    outside = draw(arrays(bool, shape))
    outside.flat[draw(st.integers(0, outside.size - 1))] = False
    return np.ma.MaskedArray(levels, outside)


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


def features_of_runs(runs, n_pixels):
    """Compute the features from their definitions, run by run."""
    level, length = np.array(runs, float).T
    _, pairs = np.unique(runs, axis=0, return_counts=True)
    level_counts = np.unique(level, return_counts=True)[1]
    length_counts = np.unique(length, return_counts=True)[1]
    share = pairs / len(runs)
    return {
        "short_runs_emphasis": np.mean(1 / length**2),
        "long_runs_emphasis": np.mean(length**2),
        "low_grey_level_run_emphasis": np.mean(1 / level**2),
        "high_grey_level_run_emphasis": np.mean(level**2),
        "short_run_low_grey_level_emphasis": np.mean(1 / (level * length) ** 2),
        "short_run_high_grey_level_emphasis": np.mean((level / length) ** 2),
        "long_run_low_grey_level_emphasis": np.mean((length / level) ** 2),
        "long_run_high_grey_level_emphasis": np.mean((level * length) ** 2),
        "grey_level_non_uniformity": np.sum(level_counts**2) / len(runs),
        "normalised_grey_level_non_uniformity": np.sum(level_counts**2) / len(runs) ** 2,
        "run_length_non_uniformity": np.sum(length_counts**2) / len(runs),
        "normalised_run_length_non_uniformity": np.sum(length_counts**2) / len(runs) ** 2,
        "run_percentage": len(runs) / n_pixels,
        "grey_level_variance": level.var(),
        "run_length_variance": length.var(),
        "run_entropy": -np.sum(share * np.log2(share)),
    }


def row_of(image, **parameters):
    glrlm = GLRLM(dtype=np.float64, **parameters)
    names = [name.removeprefix("glrlm_") for name in glrlm.get_feature_names_out()]
    return dict(zip(names, glrlm.transform([image])[0]))


@pytest.mark.parametrize(("aggregation", "ending"), [("average", "avg"), ("merge", "comb")])
def test_ibsi_digital_phantom_through_the_estimator(aggregation, ending):
    with open(data_dir("ibsi") / "ibsi_digital_phantom.json", encoding="utf-8") as file:
        phantom = json.load(file)
    levels = np.clip(phantom["phantom"], 1, 6)
    # A level a bin, whatever levels the slice has: bins of 1/5 from 0 on.
    images = np.ma.MaskedArray((levels - 1) / 5, ~np.array(phantom["mask"], bool))
    parameters = {"levels": 6, "intensity_range": (0, 1.2), "aggregation": aggregation}
    rows = [row_of(image, **parameters) for image in images]
    assert list(rows[0]) == list(NAMES.values())
    for key, name in NAMES.items():
        reference = phantom["families"]["GLRLM [rlm_]"][f"rlm_{key}_2D_{ending}"]
        rounded = float(f"{np.mean([row[name] for row in rows]):.3g}")
        assert abs(rounded - reference["value"]) <= reference["tolerance"], name


def test_runs_of_a_known_image():
    levels = [[1, 1, 2], [3, 1, 2], [2, 3, 1]]
    along, down_right, down, down_left = run_length_matrix(levels)
    np.testing.assert_array_equal(along, [[2, 1, 0], [3, 0, 0], [2, 0, 0]])
    np.testing.assert_array_equal(down_right, [[1, 0, 1], [3, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(down, [[2, 1, 0], [1, 1, 0], [2, 0, 0]])
    np.testing.assert_array_equal(down_left, [[4, 0, 0], [3, 0, 0], [2, 0, 0]])


@settings(max_examples=60, deadline=None)
@given(level_maps())
def test_counts_equal_those_of_a_loop(levels):
    matrices = run_length_matrix(levels, n_levels=4)
    expected = np.zeros((4, 4, 9), int)
    for matrix, angle in zip(expected, ANGLES):
        for level, length in runs_one_by_one(levels, angle):
            matrix[level - 1, length - 1] += 1
    longest = matrices.shape[2]
    np.testing.assert_array_equal(matrices, expected[:, :, :longest])
    assert matrices[:, :, -1].any()
    assert not expected[:, :, longest:].any()


@settings(max_examples=25, deadline=None)
@given(level_maps())
def test_features_equal_their_definitions(levels):
    n_pixels = levels.count()
    runs = [runs_one_by_one(levels, angle) for angle in ANGLES]
    matrices = run_length_matrix(levels)
    features = run_length_features(matrices)
    for index, of_direction in enumerate(runs):
        for name, value in features_of_runs(of_direction, n_pixels).items():
            assert features[name][index] == pytest.approx(value, abs=1e-12), name
    merged = run_length_features(matrices.sum(axis=0))
    for name, value in features_of_runs([*chain(*runs)], 4 * n_pixels).items():
        assert merged[name] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("strip", [1, 100, 1 << 20])
def test_strips_make_no_seams(strip, monkeypatch):
    levels = NOISE.astype(int) // 100 + 1
    whole = run_length_matrix(levels)
    monkeypatch.setattr("featbus.feature_extraction._glrlm._STRIP", strip)
    np.testing.assert_array_equal(run_length_matrix(levels), whole)


def test_average_and_merge():
    levels = grey_levels(NOISE, 4)
    matrices = run_length_matrix(levels)
    average, merged = (row_of(NOISE, levels=4, aggregation=how) for how in ("average", "merge"))
    for name, values in run_length_features(matrices).items():
        assert average[name] == pytest.approx(values.mean())
    assert merged == pytest.approx(run_length_features(matrices.sum(axis=0)))
    assert merged["grey_level_non_uniformity"] > 3 * average["grey_level_non_uniformity"]


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


@pytest.mark.parametrize("parameters", [{}, {"bin_width": 0.1}, {"intensity_range": (0, 1)}])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.float32])
def test_constant_image(dtype, parameters, recwarn):
    row = row_of(np.ones((5, 6), dtype), angles=[0], **parameters)
    assert np.isfinite(list(row.values())).all()
    assert (row["long_runs_emphasis"], row["run_percentage"]) == (36, 5 / 30)
    assert row["run_entropy"] == row["grey_level_variance"] == row["run_length_variance"] == 0
    assert not recwarn.list


def test_a_region_of_one_pixel_is_one_run():
    inside = np.zeros(NOISE.shape, bool)
    inside[5, 7] = True
    for image in (with_mask(NOISE, inside), NOISE[:1, :1]):
        row = row_of(image)
        assert row["run_percentage"] == row["short_runs_emphasis"] == 1
        assert row["run_entropy"] == 0


def test_a_masked_border_equals_the_crop():
    inside = np.zeros(NOISE.shape, bool)
    inside[3:-4, 5:-6] = True
    assert row_of(with_mask(NOISE, inside)) == row_of(NOISE[3:-4, 5:-6])


def test_what_lies_outside_the_region_does_not_matter():
    inside = np.zeros(NOISE.shape, bool)
    inside[10:20, 10:30] = True
    inside[12:14, 15:17] = False
    first, second = (
        with_mask(np.where(inside, NOISE, outside).astype(np.uint8), inside) for outside in (0, 255)
    )
    assert row_of(first, levels=3) == row_of(second, levels=3)
    matrices = run_length_matrix(grey_levels(first, levels=3))
    pixels = matrices @ np.arange(1, matrices.shape[2] + 1)
    np.testing.assert_array_equal(pixels.sum(axis=1), inside.sum())


def test_nan_is_an_error_unless_outside_the_region():
    image = NOISE / 255
    image[3, 4] = np.nan
    with pytest.raises(ValueError, match="image 0: found 1 NaN"):
        GLRLM().transform([image])
    assert np.isfinite(GLRLM().transform([np.ma.masked_invalid(image)])).all()


def test_16_bits_are_not_wrapped_to_8_and_colour_counts_by_its_luma():
    assert row_of(NOISE + np.uint16(30000)) == row_of(NOISE)
    assert row_of(np.stack([NOISE] * 3, axis=2)) == row_of(NOISE)


@settings(max_examples=25, deadline=None)
@given(small_images, st.sampled_from([2, 5, 256]))
def test_transposing_the_image_swaps_rows_and_columns(image, n_levels):
    levels = grey_levels(image, n_levels)
    matrices = run_length_matrix(levels)
    np.testing.assert_array_equal(run_length_matrix(levels.T), matrices[[2, 1, 0, 3]])
    np.testing.assert_array_equal(run_length_matrix(levels[:, ::-1]), matrices[[0, 3, 2, 1]])
    np.testing.assert_array_equal(run_length_matrix(levels[::-1, ::-1]), matrices)


@settings(max_examples=25, deadline=None)
@given(small_images, st.sampled_from([2, 5, 32]), st.sampled_from(["average", "merge"]))
def test_rows_are_finite_and_in_range(image, levels, aggregation):
    row = row_of(image, levels=levels, aggregation=aggregation)
    assert np.isfinite(list(row.values())).all()
    rounding = 1 + 1e-9
    assert 0 < row["run_percentage"] <= rounding
    assert 0 < row["short_runs_emphasis"] <= rounding
    assert row["long_runs_emphasis"] * rounding >= 1
    assert 1 / rounding <= row["high_grey_level_run_emphasis"] <= levels**2 * rounding
    assert min(row["run_entropy"], row["grey_level_variance"], row["run_length_variance"]) >= 0


def test_the_angle_may_point_either_way():
    levels = grey_levels(NOISE, 3)
    opposite = run_length_matrix(levels, angles=np.array(ANGLES) - np.pi)
    np.testing.assert_array_equal(opposite, run_length_matrix(levels))


def test_memory_stays_below_12_times_the_image():
    image = np.tile(NOISE, (10, 10))
    glrlm = GLRLM()
    glrlm.transform([image])
    tracemalloc.start()
    glrlm.transform([image])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * image.nbytes


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"angles": []}, r"angles is \[\], expected"),
        ({"angles": [45]}, r"angles is \[45\], expected a multiple of 45 degrees in radians"),
        ({"angles": [np.pi / 3]}, "expected a multiple of 45 degrees"),
        ({"levels": 0}, r"levels is 0, expected an int in the range \[1, 1024\]"),
        ({"bin_width": 0}, "bin_width is 0"),
        ({"intensity_range": (1, 0)}, r"intensity_range is \(1, 0\), expected .* low < high"),
        ({"aggregation": "median"}, "aggregation is 'median'"),
        ({"dtype": int}, "dtype is"),
    ],
)
def test_bad_parameters(parameters, message):
    for method in ("fit", "transform"):
        with pytest.raises(InvalidParameterError, match=message):
            getattr(GLRLM(**parameters), method)([NOISE])


def test_one_angle_needs_no_sequence():
    rows = [GLRLM(angles=angles).transform([NOISE]) for angles in (np.pi / 4, [np.pi / 4])]
    np.testing.assert_array_equal(*rows)
    levels = grey_levels(NOISE, 4)
    np.testing.assert_array_equal(run_length_matrix(levels, 0.0), run_length_matrix(levels, [0.0]))
    with pytest.raises(InvalidParameterError, match="angles is 45, expected a multiple"):
        run_length_matrix(levels, 45)


@pytest.mark.parametrize("levels", [[[0, 1]], [[1.5, 2.5]], [1, 2], np.ones((0, 2), int)])
def test_bad_levels(levels):
    with pytest.raises(ValueError, match="Expected integer gray levels of 1 or more"):
        run_length_matrix(levels)


def test_too_few_levels():
    with pytest.raises(ValueError, match="Found the gray level 6, expected at most 5"):
        run_length_matrix([[1, 6]], n_levels=5)


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        ([1, 2], r"shape \(\.\.\., n_levels, n\), got \(2,\)"),
        ([[np.nan]], "without NaN"),
        ([[-1]], "not all 0"),
        ([[[1]], [[0]]], "not all 0"),
    ],
)
def test_bad_matrices(matrices, message):
    with pytest.raises(ValueError, match=message):
        run_length_features(matrices)
