"""Shape of the region."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from skimage.draw import ellipse

from featbus import ShapeStatistics
from featbus.masks import with_mask


def masked(inside):
    return with_mask(np.zeros(inside.shape, np.uint8), inside)


def canvas(side=200):
    return np.zeros((side, side), bool)


def square(side=20):
    inside = canvas()
    inside[10 : 10 + side, 30 : 30 + side] = True
    return inside


def disc(radius=60):
    row, column = np.ogrid[:200, :200]
    return np.hypot(row - 100, column - 100) <= radius


def shape(inside):
    extractor = ShapeStatistics(dtype=np.float64).set_output(transform="pandas")
    row = extractor.transform([masked(inside)]).iloc[0]
    return row.rename(lambda name: name.removeprefix("shape_"))


def test_square():
    row = shape(square(20))
    assert row["area"] == 400
    assert row["solidity"] == row["extent"] == row["euler_number"] == 1
    assert row["eccentricity"] == 0
    # Crofton's perimeter of edges along rows and columns is 5 % short of 80.
    assert row["perimeter"] == pytest.approx(80, rel=0.07)
    # Second moment (side^2 - 1) / 12 and, of each pixel, 1 / 12.
    assert row["major_axis_length"] == pytest.approx(4 * np.sqrt(400 / 12), rel=0.01)
    assert row["equivalent_diameter"] == pytest.approx(np.sqrt(4 * 400 / np.pi))
    assert row["hu_moment_1"] == pytest.approx(1 / 6, rel=0.01)
    np.testing.assert_allclose(row.filter(like="hu_moment").iloc[1:], 0, atol=1e-12)


def test_disc():
    row = shape(disc(60))
    assert row["area"] == pytest.approx(np.pi * 60**2, rel=0.01)
    assert row["perimeter"] == pytest.approx(2 * np.pi * 60, rel=0.01)
    assert row["circularity"] == pytest.approx(1, rel=0.01)
    assert row["solidity"] == pytest.approx(1, rel=0.02)
    assert row["extent"] == pytest.approx(np.pi / 4, rel=0.02)
    assert row["eccentricity"] == 0
    assert row["equivalent_diameter"] == pytest.approx(120, rel=0.01)
    assert row["hu_moment_1"] == pytest.approx(1 / (2 * np.pi), rel=0.01)


@pytest.mark.parametrize("rotation", [0.0, -1.0])
def test_ellipse(rotation):
    inside = canvas()
    inside[ellipse(100, 100, 80, 40, rotation=rotation)] = True
    row = shape(inside)
    assert row["major_axis_length"] == pytest.approx(160, rel=0.01)
    assert row["minor_axis_length"] == pytest.approx(80, rel=0.01)
    assert row["eccentricity"] == pytest.approx(np.sqrt(3) / 2, rel=0.01)
    assert row["orientation"] == pytest.approx(rotation, abs=0.01)


def test_hu_moments_are_those_of_opencv():
    inside = canvas()
    inside[20:150, 30:60] = inside[120:150, 60:130] = inside[20:40, 60:80] = True
    pixels = np.ascontiguousarray(inside, dtype=np.uint8)
    expected = cv2.HuMoments(cv2.moments(pixels, binaryImage=True)).ravel()
    found = shape(inside).filter(like="hu_moment").to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_millimeters():
    images, pixels = [masked(square(20))], shape(square(20))
    extractor = ShapeStatistics(spacing=0.5, dtype=np.float64).set_output(transform="pandas")
    row = extractor.transform(images).iloc[0].rename(lambda name: name.removeprefix("shape_"))
    assert row["area_mm2"] == 100
    lengths = ["perimeter", "major_axis_length", "minor_axis_length", "equivalent_diameter"]
    for name in lengths:
        assert row[f"{name}_mm"] == pixels[name] / 2
    others = pixels.index.difference(["area", *lengths])
    np.testing.assert_array_equal(row[others], pixels[others])
    assert len(row) == len(pixels)


def test_parts_and_holes():
    two = square() | disc(20)
    row = shape(two)
    assert row["area"] == shape(square())["area"] + shape(disc(20))["area"]
    assert row["euler_number"] == 2
    assert row["solidity"] < 0.5
    assert shape(disc(60) & ~disc(20))["euler_number"] == 0


@given(arrays(bool, (7, 9)))
@settings(max_examples=30, deadline=None)
def test_every_region_has_a_finite_row_wherever_it_lies(inside):
    if not inside.any():
        return
    row = shape(np.pad(inside, 2))
    assert np.isfinite(row).all()
    moved = shape(np.pad(inside, ((5, 1), (3, 8))))
    np.testing.assert_allclose(moved, row, rtol=1e-7, atol=1e-9)


def test_an_image_without_a_mask():
    images = [masked(square()), np.zeros((30, 30), np.uint8)]
    with pytest.raises(ValueError, match="image 1: found no mask, or one of the whole image"):
        ShapeStatistics().transform(images)
    rows = ShapeStatistics(on_missing="nan").transform(images)
    assert np.isfinite(rows[0]).all()
    assert np.isnan(rows[1]).all()
