"""GLSZM."""

import json

import numpy as np
import pytest
from _data import data_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from featbus import GLSZM
from featbus.feature_extraction import size_zone_features, size_zone_matrix
from featbus.masks import with_mask
from featbus.parameters import InvalidParameterError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
NAMES = {
    "sze": "small_zone_emphasis",
    "lze": "large_zone_emphasis",
    "lgze": "low_grey_level_zone_emphasis",
    "hgze": "high_grey_level_zone_emphasis",
    "szlge": "small_zone_low_grey_level_emphasis",
    "szhge": "small_zone_high_grey_level_emphasis",
    "lzlge": "large_zone_low_grey_level_emphasis",
    "lzhge": "large_zone_high_grey_level_emphasis",
    "glnu": "grey_level_non_uniformity",
    "glnu_norm": "normalised_grey_level_non_uniformity",
    "zsnu": "zone_size_non_uniformity",
    "zsnu_norm": "normalised_zone_size_non_uniformity",
    "z_perc": "zone_percentage",
    "gl_var": "grey_level_variance",
    "zs_var": "zone_size_variance",
    "zs_entr": "zone_size_entropy",
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


def zones_one_by_one(levels):
    """Return level and size of each zone, filled pixel by pixel."""
    left = {
        pixel: int(level)
        for pixel, level in np.ndenumerate(np.ma.getdata(levels))
        if not np.ma.getmaskarray(levels)[pixel]
    }
    zones = []
    while left:
        pixel, level = left.popitem()
        front, size = [pixel], 0
        while front:
            row, column = front.pop()
            size += 1
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    neighbour = row + down, column + right
                    if left.get(neighbour) == level:
                        del left[neighbour]
                        front.append(neighbour)
        zones.append((level, size))
    return zones


def features_of_zones(zones, n_pixels):
    """Compute the features from their definitions, zone by zone."""
    level, size = np.array(zones, float).T
    _, pairs = np.unique(zones, axis=0, return_counts=True)
    level_counts = np.unique(level, return_counts=True)[1]
    size_counts = np.unique(size, return_counts=True)[1]
    share = pairs / len(zones)
    return {
        "small_zone_emphasis": np.mean(1 / size**2),
        "large_zone_emphasis": np.mean(size**2),
        "low_grey_level_zone_emphasis": np.mean(1 / level**2),
        "high_grey_level_zone_emphasis": np.mean(level**2),
        "small_zone_low_grey_level_emphasis": np.mean(1 / (level * size) ** 2),
        "small_zone_high_grey_level_emphasis": np.mean((level / size) ** 2),
        "large_zone_low_grey_level_emphasis": np.mean((size / level) ** 2),
        "large_zone_high_grey_level_emphasis": np.mean((level * size) ** 2),
        "grey_level_non_uniformity": np.sum(level_counts**2) / len(zones),
        "normalised_grey_level_non_uniformity": np.sum(level_counts**2) / len(zones) ** 2,
        "zone_size_non_uniformity": np.sum(size_counts**2) / len(zones),
        "normalised_zone_size_non_uniformity": np.sum(size_counts**2) / len(zones) ** 2,
        "zone_percentage": len(zones) / n_pixels,
        "grey_level_variance": level.var(),
        "zone_size_variance": size.var(),
        "zone_size_entropy": -np.sum(share * np.log2(share)),
    }


def row_of(image, **parameters):
    glszm = GLSZM(dtype=np.float64, **parameters)
    names = [name.removeprefix("glszm_") for name in glszm.get_feature_names_out()]
    return dict(zip(names, glszm.transform([image])[0]))


def test_ibsi_digital_phantom_through_the_estimator():
    with open(data_dir("ibsi") / "ibsi_digital_phantom.json", encoding="utf-8") as file:
        phantom = json.load(file)
    levels = np.clip(phantom["phantom"], 1, 6)
    # A level a bin, whatever levels the slice has: bins of 1/5 from 0 on.
    images = np.ma.MaskedArray((levels - 1) / 5, ~np.array(phantom["mask"], bool))
    rows = [row_of(image, levels=6, intensity_range=(0, 1.2)) for image in images]
    assert list(rows[0]) == list(NAMES.values())
    for key, name in NAMES.items():
        reference = phantom["families"]["GLSZM [szm_]"][f"szm_{key}_2D"]
        rounded = float(f"{np.mean([row[name] for row in rows]):.3g}")
        assert abs(rounded - reference["value"]) <= reference["tolerance"], name


def test_zones_of_a_known_image():
    # The 1s touch at a corner, the 3s lie apart.
    levels = [[1, 2, 3], [2, 1, 2], [3, 2, 1]]
    expected = [[0, 0, 1, 0], [0, 0, 0, 1], [2, 0, 0, 0]]
    np.testing.assert_array_equal(size_zone_matrix(levels).toarray(), expected)


@settings(max_examples=60, deadline=None)
@given(level_maps())
def test_counts_and_features_equal_those_of_a_loop(levels):
    zones = zones_one_by_one(levels)
    matrix = size_zone_matrix(levels, n_levels=4)
    expected = np.zeros((4, max(size for _, size in zones)), int)
    for level, size in zones:
        expected[level - 1, size - 1] += 1
    np.testing.assert_array_equal(matrix.toarray(), expected)
    features = size_zone_features(matrix)
    for name, value in features_of_zones(zones, levels.count()).items():
        assert features[name] == pytest.approx(value, abs=1e-12), name
    assert size_zone_features(expected) == features


def test_one_large_zone_needs_little_memory():
    levels = np.ones((1000, 1000), np.uint16)
    levels[0, 0] = 1024
    matrix = size_zone_matrix(levels)
    assert matrix.shape == (1024, 999_999)
    assert matrix.nnz == 2
    assert size_zone_features(matrix)["large_zone_emphasis"] == (999_999**2 + 1) / 2


def test_two_values():
    halves = np.repeat(np.array([[False, True]]), 4, axis=1)
    row = row_of(halves, levels=2)
    assert (row["zone_size_entropy"], row["grey_level_variance"]) == (1, 0.25)
    assert (row["large_zone_low_grey_level_emphasis"], row["zone_percentage"]) == (10, 0.25)


@pytest.mark.parametrize("parameters", [{}, {"bin_width": 0.1}, {"intensity_range": (0, 1)}])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.float32])
def test_constant_image(dtype, parameters, recwarn):
    row = row_of(np.ones((5, 6), dtype), **parameters)
    assert np.isfinite(list(row.values())).all()
    assert (row["large_zone_emphasis"], row["zone_percentage"]) == (900, 1 / 30)
    assert row["zone_size_entropy"] == row["grey_level_variance"] == row["zone_size_variance"] == 0
    assert not recwarn.list


def test_a_region_of_one_pixel_is_one_zone():
    inside = np.zeros(NOISE.shape, bool)
    inside[5, 7] = True
    for image in (with_mask(NOISE, inside), NOISE[:1, :1]):
        row = row_of(image)
        assert row["zone_percentage"] == row["small_zone_emphasis"] == 1
        assert row["zone_size_entropy"] == 0


def test_a_masked_border_equals_the_crop():
    inside = np.zeros(NOISE.shape, bool)
    inside[3:-4, 5:-6] = True
    assert row_of(with_mask(NOISE, inside)) == row_of(NOISE[3:-4, 5:-6])


def test_what_lies_outside_the_region_does_not_matter():
    inside = np.zeros(NOISE.shape, bool)
    inside[10:20, 10:30] = True
    # Cuts the region in two.
    inside[:, 15:17] = False
    first, second = (
        with_mask(np.where(inside, NOISE, outside).astype(np.uint8), inside) for outside in (0, 255)
    )
    assert row_of(first, levels=3) == row_of(second, levels=3)
    flat = with_mask(np.full_like(NOISE, 9), inside)
    assert row_of(flat)["zone_percentage"] == 2 / inside.sum()


def test_nan_is_an_error_unless_outside_the_region():
    image = NOISE / 255
    image[3, 4] = np.nan
    with pytest.raises(ValueError, match="image 0: found 1 NaN"):
        GLSZM().transform([image])
    assert np.isfinite(GLSZM().transform([np.ma.masked_invalid(image)])).all()


def test_16_bits_are_not_wrapped_to_8_and_colour_counts_by_its_luma():
    assert row_of(NOISE + np.uint16(30000)) == row_of(NOISE)
    assert row_of(np.stack([NOISE] * 3, axis=2)) == row_of(NOISE)


@settings(max_examples=25, deadline=None)
@given(small_images, st.sampled_from([2, 5, 256]))
def test_turning_and_mirroring_change_nothing(image, levels):
    row = row_of(image, levels=levels)
    for other in (image.T, image[:, ::-1], np.rot90(image)):
        assert row_of(np.ascontiguousarray(other), levels=levels) == row


@settings(max_examples=25, deadline=None)
@given(small_images, st.sampled_from([2, 5, 32]))
def test_rows_are_finite_and_in_range(image, levels):
    row = row_of(image, levels=levels)
    assert np.isfinite(list(row.values())).all()
    rounding = 1 + 1e-9
    assert 0 < row["zone_percentage"] <= rounding
    assert 0 < row["small_zone_emphasis"] <= rounding
    assert row["large_zone_emphasis"] * rounding >= 1
    assert 1 <= row["high_grey_level_zone_emphasis"] <= levels**2
    assert min(row["zone_size_entropy"], row["grey_level_variance"], row["zone_size_variance"]) >= 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"levels": 0}, r"levels is 0, expected an int in the range \[1, 1024\]"),
        ({"levels": 2000}, "levels is 2000, expected"),
        ({"bin_width": 0}, "bin_width is 0"),
        ({"intensity_range": (1, 0)}, r"intensity_range is \(1, 0\), expected .* low < high"),
        ({"dtype": int}, "dtype is"),
    ],
)
def test_bad_parameters(parameters, message):
    for method in ("fit", "transform"):
        with pytest.raises(InvalidParameterError, match=message):
            getattr(GLSZM(**parameters), method)([NOISE])


@pytest.mark.parametrize("levels", [[[0, 1]], [[1.5, 2.5]], [1, 2], np.ones((0, 2), int)])
def test_bad_levels(levels):
    with pytest.raises(ValueError, match="Expected integer gray levels of 1 or more"):
        size_zone_matrix(levels)


def test_too_few_levels():
    with pytest.raises(ValueError, match="Found the gray level 6, expected at most 5"):
        size_zone_matrix([[1, 6]], n_levels=5)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([1, 2], r"shape \(n_levels, n\), got \(2,\)"),
        ([[np.nan]], "without NaN"),
        ([[-1]], "not all 0"),
        ([[0, 0]], "not all 0"),
    ],
)
def test_bad_matrices(matrix, message):
    with pytest.raises(ValueError, match=message):
        size_zone_features(matrix)
