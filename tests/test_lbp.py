"""LBP."""

import warnings

import numpy as np
import pytest
from _data import data_dir
from _lbp import exact_differences, lbp_codes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from skimage.feature import local_binary_pattern

from featbus import LBP
from featbus.color import to_gray
from featbus.images import ImageError
from featbus.io import read_image
from featbus.masks import with_mask
from featbus.parameters import InvalidParameterError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
METHODS = ["default", "ror", "uniform", "nri_uniform"]
SCALES = [(8, 1), (12, 2.5), (24, 3), (5, 0.3), (1, 1), (7, 60)]

few_levels = npst.arrays(
    np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3)
)
any_image = npst.arrays(
    np.uint8, npst.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12)
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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n_points", "radius"), SCALES)
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.float32, np.float64])
def test_codes_equal_scikit_image_but_for_ties(dtype, n_points, radius, method):
    for shape in ((1, 1), (33, 1), (41, 57)):
        image = noise(dtype, shape)
        codes = lbp_codes(image, n_points, radius, method)
        expected = scikit_image_codes(image, n_points, radius, method)
        if image.dtype.kind != "f":
            clear = (exact_differences(image, n_points, radius) != 0).all(axis=0)
            codes, expected = codes[clear], expected[clear]
        np.testing.assert_array_equal(codes, expected)


def test_codes_of_real_images_in_single_precision():
    """All are the same at a radius of 1, and all but 1 in 10,000 of 24 points at a radius of 3."""
    paths = sorted((data_dir("busi") / "benign").glob("* (1[0-5]).png"))
    scans = [to_gray(read_image(path)) for path in paths]
    share = {}
    for scale in [(8, 1), (24, 3)]:
        codes = [lbp_codes(scan, *scale) for scan in scans]
        single = [lbp_codes(scan / np.float32(255), *scale) for scan in scans]
        share[scale] = np.mean(np.concatenate([(a != b).ravel() for a, b in zip(codes, single)]))
    assert len(scans) > 2
    assert share[8, 1] == 0
    assert share[24, 3] < 1e-4


def test_strips_make_no_seams():
    image = noise(np.uint16, (700, 257))
    for scale in ((8, 1), (24, 3)):
        expected = scikit_image_codes(image, *scale, "uniform")
        np.testing.assert_array_equal(lbp_codes(image, *scale), expected)


IMAGES_WITH_TIES = [
    np.full((60, 70), 137),
    np.add.outer(3 * np.arange(60), np.arange(70)),
    200 * (np.indices((60, 70)).sum(0) % 2),
    np.random.default_rng(2).integers(0, 4, (60, 70)),
    np.random.default_rng(3).integers(0, 256, (60, 70)),
]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("n_points", "radius"), [(8, 1), (16, 2), (24, 3)])
@pytest.mark.parametrize("image", IMAGES_WITH_TIES)
def test_scikit_image_differs_at_exact_ties_only_and_those_count_as_bright(
    image, n_points, radius, dtype
):
    image = image.astype(dtype) * (257 if dtype is np.uint16 else 1)
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
    for row, rows in enumerate(np.split(codes, [13, 26])):
        for column, codes_of_cell in enumerate(np.split(rows, 2, axis=1)):
            expected = np.bincount(codes_of_cell.ravel(), minlength=10) / codes_of_cell.size
            np.testing.assert_allclose(cells[row, column], expected, rtol=1e-6)
    # A cell outside the region is 0.
    masked = with_mask(NOISE, np.arange(50) + np.zeros((40, 1)) < 20)
    cells = LBP(cells=(1, 2)).transform([masked]).reshape(2, 10)
    np.testing.assert_allclose(cells.sum(axis=1), [1, 0], rtol=1e-6)


@pytest.mark.parametrize("side", [1, 2])
def test_a_region_smaller_than_the_circle_is_an_error(side):
    inside = np.zeros(NOISE.shape, bool)
    inside[5 : 5 + side, 5 : 5 + side] = True
    with pytest.raises(ImageError, match="image 0: .* radius 1 "):
        LBP().transform([with_mask(NOISE, inside)])


@pytest.mark.parametrize(
    ("parameters", "smallest"),
    [({"radius": 1.5}, (2, 2)), ({"radius": (1, 4)}, (5, 5)), ({"cells": (7, 1)}, (7, 2))],
)
def test_the_smallest_image_and_one_below(parameters, smallest):
    assert np.isfinite(LBP(**parameters).transform(np.zeros((1, *smallest)))).all()
    message = "image 0: .* at least {} x {}".format(*smallest)
    with pytest.raises(ImageError, match=message):
        LBP(**parameters).transform(np.zeros((1, smallest[0] - 1, smallest[1])))


@pytest.mark.parametrize("parameters", [{"method": "default"}, {"radius": (1, 2, 3)}])
def test_bad_parameters(parameters):
    with pytest.raises(InvalidParameterError, match="^n_points is "):
        LBP(n_points=(8, 24), **parameters).transform([NOISE])


def test_a_column_knows_its_parts():
    lbp = LBP(radius=(1, 2.5), method="ror", cells=(1, 2))
    what = lbp.where("lbp_p8_r2.5_c00_01_r012", (40, 50)).what
    assert what == "pattern 12 of 8 points at radius 2.5, ror"


@given(any_image, st.sampled_from([*METHODS, "var"]))
@settings(max_examples=25, deadline=None)
def test_rows_are_finite_and_sum_to_1(image, method):
    rows = LBP(method=method).transform([image, image > 127, image / 255])
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-6)


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
