"""FractalDimension."""

import cv2
import numpy as np
import pytest

from featbus import FractalDimension
from featbus.feature_extraction._fractal import box_dimension
from featbus.images import ImageError
from featbus.masks import with_mask


def row_of(image):
    fractal = FractalDimension(dtype=np.float64).set_output(transform="pandas")
    row = fractal.fit_transform([image]).iloc[0]
    return row.rename(lambda name: name.removeprefix("fractal_"))


def repeat(pattern, n):
    """Return a set made of copies of itself, where the pattern is 1."""
    pixels = np.ones((1, 1), int)
    for _ in range(n):
        pixels = np.kron(pattern, pixels)
    return pixels > 0


def koch_snowflake(side, n=7):
    points = np.exp(2j * np.pi * np.array([0, 1, 2, 0]) / 3 + 0.5j * np.pi)
    for _ in range(n):
        start, step = points[:-1], np.diff(points) / 3
        tip = start + step + step * np.exp(1j * np.pi / 3)
        points = np.column_stack([start, start + step, tip, start + 2 * step])
        points = np.append(points.ravel(), points[0, 0])
    pixels = np.column_stack([points.real, points.imag]) / 2 + 0.5
    region = np.zeros((side, side), np.uint8)
    return cv2.fillPoly(region, [np.rint(pixels * (side - 1)).astype(np.int32)], 1) > 0


def brownian_surface(hurst, side=256, seed=0):
    noise = np.random.default_rng(seed).standard_normal((2 * side, 2 * side))
    frequency = np.hypot(np.fft.fftfreq(2 * side)[:, np.newaxis], np.fft.fftfreq(2 * side))
    frequency[0, 0] = np.inf
    surface = np.fft.ifft2(np.fft.fft2(noise) * frequency ** -(hurst + 1)).real[:side, :side]
    return (surface - surface.min()) / np.ptp(surface)


def test_sierpinski_triangle_and_carpet():
    triangle = repeat([[1, 0], [1, 1]], 8)
    assert box_dimension(triangle) == pytest.approx(np.log2(3), abs=1e-12)
    carpet = repeat([[1, 1, 1], [1, 0, 1], [1, 1, 1]], 6)
    assert box_dimension(carpet) == pytest.approx(np.log(8) / np.log(3), abs=0.05)
    assert row_of(triangle)["bright"] == box_dimension(triangle)


def test_boxes_counted_one_by_one():
    pixels = np.random.default_rng(0).random((37, 50)) < 0.02
    counts = []
    for size in (1, 2, 4, 8):
        boxes = {(row // size, column // size) for row, column in np.argwhere(pixels)}
        counts.append(len(boxes))
    slope = np.polyfit(np.log([1, 2, 4, 8]), np.log(counts), 1)[0]
    assert box_dimension(pixels) == pytest.approx(-slope)


def test_outlines():
    for side, most in ((512, 0.07), (64, 0.15)):
        row, column = np.ogrid[:side, :side]
        disc = np.hypot(row - side // 2, column - side // 2) < 0.4 * side
        for inside, expected in ((disc, 1), (koch_snowflake(side), np.log(4) / np.log(3))):
            found = row_of(with_mask(np.zeros(inside.shape, np.uint8), inside))["outline"]
            assert expected - most < found < expected


@pytest.mark.parametrize("masked", [False, True])
def test_brownian_surfaces(masked):
    surfaces = []
    for hurst in (0.2, 0.5, 0.8):
        image = brownian_surface(hurst)
        row, column = np.indices(image.shape)
        disc = np.hypot(row - 128, column - 128) < 115
        surfaces.append(found := row_of(with_mask(image, disc) if masked else image))
        assert found["spectrum"] == pytest.approx(3 - hurst, abs=0.07)
    surface = [found["surface"] for found in surfaces]
    assert surface == sorted(surface, reverse=True)
    # Too few pixels are as rough as the surface between them.
    np.testing.assert_allclose(surface, [2.5, 2.37, 2.22], atol=0.05)


def test_a_plane_and_an_even_region():
    plane = np.add.outer(np.arange(128), np.arange(128)) / 254
    assert row_of(plane)["surface"] == pytest.approx(2, abs=0.01)
    even = row_of(np.full((40, 50), 0.3))
    assert even["surface"] == even["spectrum"] == 2
    assert even["bright"] == 0
    pixels = np.zeros((40, 50), np.uint8)
    pixels[:, 25:] = 255
    for step in (2, 3, 16, 39):  # no neighbors inside
        inside = np.zeros(pixels.shape, bool)
        inside[::step, ::step] = True
        assert np.isfinite(row_of(with_mask(pixels, inside))).all()
    points = with_mask(np.arange(900).reshape(30, 30) / 900, np.eye(30) > 0)
    points[1:-1, 1:-1] = np.ma.masked
    assert row_of(points)["surface"] == 2


def test_gain_offset_and_pixels_outside_do_not_matter():
    image = np.random.default_rng(0).integers(0, 256, (50, 60)).astype(np.uint8)
    inside = np.zeros(image.shape, bool)
    inside[5:45, 8:50] = True
    inside[5:15, 8:20] = False
    expected = row_of(with_mask(image, inside))
    changed = np.where(inside, image, 255).astype(np.uint8)
    np.testing.assert_array_equal(row_of(with_mask(changed, inside)), expected)
    scaled = row_of(with_mask(0.25 + image / 510, inside))[["surface", "spectrum"]]
    np.testing.assert_allclose(scaled, expected[["surface", "spectrum"]], rtol=1e-9)


def test_a_small_region_is_an_error():
    with pytest.raises(ImageError, match="image 0: found a region of 7 x 9 pixels, expected"):
        row_of(np.zeros((7, 9), np.uint8))
    assert np.isfinite(row_of(np.eye(8) > 0)).all()
