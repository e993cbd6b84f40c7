"""LBP."""

import tracemalloc
import warnings

import numpy as np
import pytest
from _data import data_dir
from _lbp import exact_differences, lbp_codes
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.lib.stride_tricks import sliding_window_view
from skimage.feature import local_binary_pattern

from featbus import LBP
from featbus.color import to_gray
from featbus.images import ImageError
from featbus.io import read_image
from featbus.masks import with_mask
from featbus.parameters import InvalidParameterError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
METHODS = ["default", "ror", "uniform", "nri_uniform"]
SCALES = [(8, 1), (8, 2), (12, 2.5), (24, 3), (16, 1.2), (5, 0.3), (1, 1), (2, 1.5), (7, 60)]

few_levels = npst.arrays(
    np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3)
)
any_image = npst.arrays(
    np.uint8, npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
)


def noise(dtype, shape):
    generator = np.random.default_rng(1)
    if np.dtype(dtype).kind == "u":
        return generator.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return (generator.random(shape) > 0.5) if dtype is bool else generator.random(shape, dtype)


def scikit_image_codes(image, n_points, radius, method):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Applying `local_binary_pattern`")
        return local_binary_pattern(image, n_points, radius, method)


def test_a_bright_spot_has_pattern_0_and_a_dark_spot_pattern_8():
    image = np.full((5, 5), 100, np.uint8)
    image[2, 2] = 200
    assert lbp_codes(image)[2, 2] == 0
    image[2, 2] = 0
    assert lbp_codes(image)[2, 2] == 8


def test_the_points_go_counterclockwise_from_the_right():
    image = np.array([[0, 0, 0], [0, 5, 9], [0, 0, 0]], np.uint8)
    assert lbp_codes(image, 4, 1, "default")[1, 1] == 1
    assert lbp_codes(np.rot90(image), 4, 1, "default")[1, 1] == 2
    assert lbp_codes(np.rot90(image), 4, 1, "ror")[1, 1] == 1
    assert lbp_codes(np.rot90(image), 4, 1, "uniform")[1, 1] == 1
    assert lbp_codes(np.rot90(image), 4, 1, "nri_uniform")[1, 1] == 1 + (4 - 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n_points", "radius"), SCALES)
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (33, 1), (41, 57)])
def test_codes_of_integer_images_equal_scikit_image_but_for_ties(
    shape, dtype, n_points, radius, method
):
    image = noise(dtype, shape)
    codes = lbp_codes(image, n_points, radius, method)
    assert codes.dtype == np.int64
    clear = (exact_differences(image, n_points, radius) != 0).all(axis=0)
    expected = scikit_image_codes(image, n_points, radius, method)
    np.testing.assert_array_equal(codes[clear], expected[clear])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n_points", "radius"), SCALES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_codes_of_floating_point_images_equal_scikit_image(dtype, n_points, radius, method):
    image = noise(dtype, (41, 57))
    expected = scikit_image_codes(image, n_points, radius, method)
    np.testing.assert_array_equal(lbp_codes(image, n_points, radius, method), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_points", "radius"), [(8, 1), (16, 2), (24, 3)])
@pytest.mark.parametrize("name", ["flat", "gradient", "four levels", "noise"])
def test_ties_of_integers_are_ties_in_floating_point(name, n_points, radius, dtype):
    image = IMAGES_WITH_TIES[name].astype(np.uint8)
    differences = exact_differences(image, n_points, radius)
    # Single precision cannot tell ties from differences below 3e-5 gray levels.
    clear = ((differences == 0) | (np.abs(differences) > 3e5)).all(axis=0)
    assert clear.mean() > 0.95
    codes = lbp_codes((image / 255).astype(dtype), n_points, radius, "default")
    expected = lbp_codes(image, n_points, radius, "default")
    np.testing.assert_array_equal(codes[clear], expected[clear])


def test_codes_of_real_images_in_single_precision():
    """All are the same at a radius of 1, and all but 1 in 10,000 of 24 points at a radius of 3."""
    paths = sorted((data_dir("busi") / "benign").glob("* (1[0-9]).png"))
    scans = [to_gray(read_image(path)) for path in paths]
    share = {}
    for scale in [(8, 1), (24, 3)]:
        codes = [lbp_codes(scan, *scale) for scan in scans]
        single = [lbp_codes(scan / np.float32(255), *scale) for scan in scans]
        share[scale] = np.mean(np.concatenate([(a != b).ravel() for a, b in zip(codes, single)]))
    assert len(scans) > 5
    assert share[8, 1] == 0
    assert share[24, 3] < 1e-4


def test_strips_make_no_seams():
    image = noise(np.uint16, (700, 257))
    for scale in ((8, 1), (24, 3)):
        expected = scikit_image_codes(image, *scale, "uniform")
        np.testing.assert_array_equal(lbp_codes(image, *scale), expected)


IMAGES_WITH_TIES = {
    "flat": np.full((60, 70), 137),
    "gradient": np.add.outer(3 * np.arange(60), np.arange(70)),
    "checker": 200 * (np.indices((60, 70)).sum(0) % 2),
    "four levels": np.random.default_rng(2).integers(0, 4, (60, 70)),
    "noise": np.random.default_rng(3).integers(0, 256, (60, 70)),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("n_points", "radius"), [(8, 1), (8, 2), (16, 2), (24, 3), (12, 1.5)])
@pytest.mark.parametrize("name", IMAGES_WITH_TIES)
def test_scikit_image_differs_at_exact_ties_only_and_those_count_as_bright(
    name, n_points, radius, dtype
):
    image = IMAGES_WITH_TIES[name].astype(dtype) * (257 if dtype is np.uint16 else 1)
    differences = exact_differences(image, n_points, radius)
    weights = 2 ** np.arange(n_points)[:, np.newaxis, np.newaxis]
    codes = lbp_codes(image, n_points, radius, "default")
    np.testing.assert_array_equal(codes, ((differences >= 0) * weights).sum(axis=0))
    other = scikit_image_codes(image, n_points, radius, "default").astype(np.int64)
    ties = ((differences == 0) * weights).sum(axis=0)
    assert not np.any((codes ^ other) & ~ties)


@given(few_levels, st.sampled_from([(8, 1), (8, 1.5), (11, 2)]))
@settings(max_examples=60, deadline=None)
def test_all_methods_fold_the_same_bits(image, scale):
    n_points = scale[0]
    codes = lbp_codes(image, *scale, "default").ravel()
    bits = codes[:, np.newaxis] >> np.arange(n_points) & 1
    rotations = [np.roll(bits, turn, axis=1) @ 2 ** np.arange(n_points) for turn in range(n_points)]
    np.testing.assert_array_equal(lbp_codes(image, *scale, "ror").ravel(), np.min(rotations, 0))
    runs = (bits > np.roll(bits, 1, axis=1)).sum(axis=1)
    uniform = np.where(runs > 1, n_points + 1, bits.sum(axis=1))
    np.testing.assert_array_equal(lbp_codes(image, *scale, "uniform").ravel(), uniform)


@given(any_image, st.sampled_from([(8, 1), (12, 2.5), (24, 3)]), st.sampled_from(METHODS[1:3]))
@settings(max_examples=60, deadline=None)
def test_a_quarter_turn_turns_the_codes(image, scale, method):
    turned = lbp_codes(np.ascontiguousarray(np.rot90(image)), *scale, method)
    np.testing.assert_array_equal(turned, np.rot90(lbp_codes(image, *scale, method)))


@given(any_image, st.integers(1, 200), st.integers(0, 1000), st.sampled_from([(8, 1), (16, 2)]))
@settings(max_examples=60, deadline=None)
def test_gain_and_offset_do_not_matter_in_the_interior(image, gain, offset, scale):
    brighter = image.astype(np.uint16) * np.uint16(gain) + np.uint16(offset)
    interior = slice(2, -2)
    codes, others = (lbp_codes(pixels, *scale, "default") for pixels in (image, brighter))
    np.testing.assert_array_equal(codes[interior, interior], others[interior, interior])


def test_a_constant_image_is_all_bright_neighbors():
    inside = np.pad(np.ones((34, 44), bool), 3)
    for level in (0, 1, 137, 255):
        flat = np.full((40, 50), level, np.uint8)
        assert LBP().transform([with_mask(flat, inside)])[0, 8] == 1
        assert LBP(n_points=24, radius=3).transform([with_mask(flat / 255, inside)])[0, 24] == 1


def test_variance_is_that_of_the_neighbors_and_0_where_they_are_equal():
    image = NOISE.copy()
    image[10:25] = 100
    expected = (exact_differences(image, 8, 1) / 1e10).var(axis=0)
    expected[11:24, 1:-1] = 0
    np.testing.assert_allclose(lbp_codes(image, 8, 1, "var"), expected, rtol=1e-9)


def test_histogram_of_the_contrast_in_octaves():
    # Left and right are 255 or 0 apart from up and down: a standard deviation of half the scale.
    stripes = np.zeros((9, 9), np.uint8)
    stripes[:, ::2] = 255
    inside = np.pad(np.ones((7, 7), bool), 1)
    extractor = LBP(n_points=4, method="var")
    assert extractor.get_feature_names_out()[-1] == "lbp_p4_r1_v07"
    row = extractor.transform([with_mask(stripes, inside)])[0]
    np.testing.assert_array_equal(row, [0, 0, 0, 0, 0, 0, 0, 1])
    faint = with_mask(stripes // 255 * 10, inside)
    # 10 / 255 / 2 = 0.0196 lies between 2**-6 and 2**-5.
    np.testing.assert_array_equal(extractor.transform([faint])[0], [0, 0, 0, 1, 0, 0, 0, 0])
    flat = with_mask(np.full((9, 9), 99, np.uint8), inside)
    assert LBP(method="var", n_bins=1).transform([flat]).tolist() == [[1.0]]
    np.testing.assert_array_equal(
        LBP(method="var").transform([NOISE]), LBP(method="var").transform([NOISE / 255])
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n_points", "radius"), [(8, 1), (8, 2), (12, 2.5)])
def test_histogram_equals_scikit_image(method, n_points, radius):
    expected = local_binary_pattern(NOISE, n_points, radius, method)
    extractor = LBP(n_points=n_points, radius=radius, method=method)
    row = extractor.transform([NOISE])[0]
    assert len(row) == len(extractor.get_feature_names_out())
    counts = np.bincount(expected.astype(int).ravel(), minlength=len(row))
    np.testing.assert_allclose(row, counts / NOISE.size, rtol=1e-6)


def test_several_scales_stand_side_by_side():
    extractor = LBP(n_points=(8, 16), radius=(1, 2.5))
    separate = [LBP(n_points=8, radius=1), LBP(n_points=16, radius=2.5)]
    rows = np.hstack([single.transform([NOISE]) for single in separate])
    np.testing.assert_array_equal(extractor.transform([NOISE]), rows)
    names = np.hstack([single.get_feature_names_out() for single in separate])
    assert extractor.get_feature_names_out().tolist() == names.tolist()
    np.testing.assert_array_equal(
        LBP(radius=[1, 2]).transform([NOISE]),
        LBP(n_points=[8, 8], radius=[1, 2]).transform([NOISE]),
    )


def test_each_cell_has_its_histogram():
    extractor = LBP(cells=(3, 2))
    names = extractor.get_feature_names_out().tolist()
    assert names[0] == "lbp_p8_r1_c00_00_u00"
    assert names[10] == "lbp_p8_r1_c00_01_u00"
    assert names[-1] == "lbp_p8_r1_c02_01_u09"
    cells = extractor.transform([NOISE]).reshape(3, 2, 10)
    codes = lbp_codes(NOISE)
    # 40 rows in three cells: 13, 13 and 14.
    for row, rows in enumerate((slice(0, 13), slice(13, 26), slice(26, 40))):
        for column, columns in enumerate((slice(0, 25), slice(25, 50))):
            counts = np.bincount(codes[rows, columns].ravel(), minlength=10)
            np.testing.assert_allclose(cells[row, column], counts / counts.sum(), rtol=1e-6)


def test_a_cell_outside_the_region_is_0():
    inside = np.zeros(NOISE.shape, bool)
    inside[:, :20] = True
    cells = LBP(cells=(1, 2)).transform([with_mask(NOISE, inside)]).reshape(2, 10)
    np.testing.assert_allclose(cells.sum(axis=1), [1, 0], rtol=1e-6)


def test_only_circles_inside_the_region_count():
    inside = np.zeros(NOISE.shape, bool)
    inside[10:20, 10:30] = True
    first, second = (
        with_mask(np.where(inside, NOISE, outside).astype(np.uint8), inside) for outside in (0, 255)
    )
    rows = LBP(radius=2).transform([first, second])
    np.testing.assert_array_equal(rows[0], rows[1])
    expected = np.bincount(lbp_codes(NOISE, 8, 2)[12:18, 12:28].ravel(), minlength=10)
    np.testing.assert_allclose(rows[0], expected / expected.sum(), rtol=1e-6)


@pytest.mark.parametrize("side", [1, 2])
def test_a_region_smaller_than_the_circle_is_an_error(side):
    inside = np.zeros(NOISE.shape, bool)
    inside[5 : 5 + side, 5 : 5 + side] = True
    with pytest.raises(ImageError, match="image 0: .* radius 1 "):
        LBP().transform([with_mask(NOISE, inside)])


@pytest.mark.parametrize(
    ("radius", "shape", "smallest"),
    [(1, (1, 9), "2 x 2"), (3, (9, 3), "4 x 4"), (1.5, (1, 1), "2 x 2"), ((1, 4), (4, 9), "5 x 5")],
)
def test_an_image_smaller_than_the_radius_is_an_error(radius, shape, smallest):
    image = np.full(shape, 9, np.uint8)
    with pytest.raises(ImageError, match=f"image 0: .* at least {smallest}"):
        LBP(n_points=8, radius=radius).transform([image])
    larger = np.full([int(side) for side in smallest.split(" x ")], 9, np.uint8)
    assert np.isfinite(LBP(n_points=8, radius=radius).transform([larger])).all()


@pytest.mark.parametrize("scale", [(8, 1), (24, 3)])
def test_memory_stays_below_12_times_the_image(scale):
    image = noise(np.uint8, (256, 256))
    extractor = LBP(n_points=scale[0], radius=scale[1])
    extractor.transform([image])
    tracemalloc.start()
    extractor.transform([image])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * image.nbytes


@pytest.mark.parametrize(
    "parameters",
    [
        {"method": "median"},
        {"n_points": 0},
        {"n_points": 63, "method": "ror"},
        {"n_points": (8, 24), "method": "default"},
        {"n_points": 8.5},
        {"n_points": ()},
        {"n_points": (8, 16), "radius": (1, 2, 3)},
        {"radius": 0},
        {"radius": np.nan},
        {"radius": (1, np.inf)},
        {"cells": (0, 1)},
        {"n_bins": "x"},
        {"n_bins": 0, "method": "var"},
    ],
)
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_bad_parameters(parameters, method):
    with pytest.raises(InvalidParameterError, match=f"^{next(iter(parameters))} is "):
        getattr(LBP(**parameters), method)([NOISE])


def test_an_image_with_fewer_pixels_than_cells_is_an_error():
    with pytest.raises(ImageError, match="image 0: .* 40 x 50 .* 41 x 2"):
        LBP(cells=(41, 1)).transform([NOISE])


@pytest.mark.parametrize(
    ("parameters", "name", "what"),
    [
        ({}, "lbp_p8_r1_u03", "pattern 3 of 8 points at radius 1, uniform"),
        (
            {"radius": (1, 2.5), "method": "ror", "cells": (1, 2)},
            "lbp_p8_r2.5_c00_01_r012",
            "pattern 12 of 8 points at radius 2.5, ror",
        ),
    ],
)
def test_a_column_knows_its_parts(parameters, name, what):
    assert LBP(**parameters).where(name, (40, 50)).what == what


@given(any_image, st.sampled_from([*METHODS, "var"]), st.data())
@settings(max_examples=25, deadline=None)
def test_rows_are_finite_and_sum_to_1(image, method, data):
    assume(min(image.shape) > 1)
    two_valued = image > data.draw(st.integers(0, 254))
    rows = LBP(method=method).transform([image, two_valued, image / 255])
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-6)


@given(any_image, st.data())
@settings(max_examples=25, deadline=None)
def test_a_region_has_a_row_that_sums_to_1_or_holds_no_circle(image, data):
    inside = np.pad(data.draw(npst.arrays(bool, image.shape, fill=st.just(True))), 1)
    image = np.pad(image, 1)
    inside[1, 1] = True
    whole = sliding_window_view(inside, (3, 3)).all(axis=(2, 3))
    if whole.any():
        row = LBP().transform([with_mask(image, inside)])[0]
        assert row.sum() == pytest.approx(1)
    else:
        with pytest.raises(ImageError, match="radius 1 "):
            LBP().transform([with_mask(image, inside)])


@pytest.mark.parametrize(("n_points", "radius"), [(24, 8), (8, 5), (8, 1), (5, 2.5), (16, 3)])
def test_all_circles_inside_the_region_count(n_points, radius):
    image = np.random.default_rng(0).integers(0, 256, (31, 31), dtype=np.uint8)
    y, x = np.mgrid[-15:16, -15:16]
    disc = y**2 + x**2 <= 10**2
    # A pixel counts if noise outside the region does not change any of its neighbors.
    noisy = np.where(disc, image, image ^ np.random.default_rng(1).integers(1, 256, image.shape))
    noises = [noisy.astype(np.uint8), np.where(disc, image, 0).astype(np.uint8)]
    variances = [lbp_codes(part, n_points, radius, "var") for part in (image, *noises)]
    counted = disc & (variances[0] == variances[1]) & (variances[0] == variances[2])
    assert 0 < counted.sum() < disc.sum()
    codes = lbp_codes(image, n_points, radius)[counted]
    row = LBP(n_points=n_points, radius=radius).transform([with_mask(image, disc)])[0]
    expected = np.bincount(codes, minlength=n_points + 2) / counted.sum()
    np.testing.assert_allclose(row, expected, atol=1e-6)


@pytest.mark.parametrize("n_points", [2, 4])
def test_a_variance_between_two_octaves_belongs_to_the_upper_one(n_points):
    white = np.random.default_rng(0).random((40, 40)) < 0.5
    lbp = LBP(n_points=n_points, radius=0.5, method="var")
    copies = [white, white * np.uint8(255), white * np.uint16(65535), white * np.float32(1)]
    rows = np.concatenate([lbp.transform([copy]) for copy in (*copies, white * 1.0)])
    np.testing.assert_array_equal(rows, np.tile(rows[:1], (5, 1)))


@pytest.mark.parametrize("method", ["uniform", "var"])
def test_nan_outside_the_mask_changes_nothing(method):
    image = np.random.default_rng(0).random((64, 70))
    outside = np.ones(image.shape, bool)
    outside[10:50, 12:60] = False
    masked = np.ma.MaskedArray(image, outside)
    invalid = np.ma.masked_invalid(np.where(outside, np.nan, image))
    lbp = LBP(method=method)
    np.testing.assert_array_equal(lbp.transform([invalid]), lbp.transform([masked]))
