"""ZernikeMoments."""

import tracemalloc

import cv2
import numpy as np
import pytest

from featbus import ZernikeMoments
from featbus.masks import with_mask

# mahotas 1.4.19: zernike_moments(image * inside, radius, degree=6, cm=centroid), without 0, 0; and
# the same of the region, whose pixels are 1.
BRIGHTNESS = """0.06281631 0.30186435 0.06863637 0.06256798 0.01891487 0.14556096 0.02970379
0.01584850 0.03541302 0.01115342 0.01377072 0.06459322 0.08947333 0.00205120 0.01059458"""
OUTLINE = """0 0.29841993 0.06991387 0.00584372 0.01146843 0.14589442 0.02763704
0.01902092 0.00821939 0.00356501 0.01601712 0.06687771 0.09137696 0.00485410 0.01544028"""


def picture():
    row, column = np.indices((41, 53))
    image = (row * row * 31 + column * column * 17 + row * column * 7) % 101 + 3 * column
    inside = (row - 18) ** 2 * 3 + (column - 30) ** 2 * 2 < 700
    inside |= (abs(row - 10) < 3) & (abs(column - 20) < 9)
    return image.astype(np.uint8), inside


def moments(image, inside, **parameters):
    zernike = ZernikeMoments(dtype=np.float64, **parameters)
    return zernike.transform([with_mask(image, inside)])[0]


@pytest.mark.parametrize(("outline", "expected"), [(False, BRIGHTNESS), (True, OUTLINE)])
def test_moments_are_those_of_mahotas(outline, expected):
    found = moments(*picture(), degree=6, outline=outline)
    np.testing.assert_allclose(found, np.array(expected.split(), float), atol=1e-8)


def test_quarter_turns_and_mirror_images():
    image, inside = picture()
    expected = moments(image, inside)
    for turned in (np.rot90, np.rot90, np.fliplr):
        image, inside = turned(image), turned(inside)
        np.testing.assert_allclose(moments(image, inside), expected, atol=1e-12)


@pytest.mark.parametrize("angle", [17, 130])
def test_rotation_and_size(angle):
    # An ellipse with a bite, drawn at another angle and scale.
    def draw(angle, scale):
        region = np.zeros((400, 400), np.uint8)
        axes = round(60 * scale), round(25 * scale)
        cv2.ellipse(region, (200, 200), axes, angle, 20, 330, 1, -1)
        return moments(np.full(region.shape, 90, np.uint8), region > 0)

    np.testing.assert_allclose(draw(angle, 2), draw(0, 3), atol=0.01)
    assert np.ptp(draw(0, 3)) > 0.2


def test_pixels_outside_and_the_gain_do_not_matter():
    image, inside = picture()
    expected = moments(image, inside)
    changed = np.where(inside, image, 255).astype(np.uint8)
    np.testing.assert_array_equal(moments(changed, inside), expected)
    np.testing.assert_allclose(moments(image / 510, inside), expected, atol=1e-12)
    assert not np.allclose(moments(image, inside, outline=True), expected, atol=1e-3)


def test_black_and_single_pixels():
    image, inside = picture()
    assert (moments(np.zeros_like(image), inside) == 0).all()
    one = np.zeros_like(inside)
    one[3, 4] = True
    assert np.isfinite(moments(image, one)).all()


def test_memory_of_a_large_image():
    tracemalloc.start()
    ZernikeMoments().transform(np.ones((1, 1000, 1000), np.uint8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6
