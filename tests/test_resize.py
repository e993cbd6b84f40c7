"""Resize."""

import numpy as np
import pytest

from featbus import Resize
from featbus.masks import inside_mask, with_mask

CHECKERS = (np.indices((8, 8)).sum(axis=0) % 2 * 255).astype(np.uint8)


def test_shrinking_averages_the_area():
    # Nearest-neighbour or linear sampling would see one color of the checkerboard only.
    np.testing.assert_array_equal(Resize(4).transform([CHECKERS])[0], np.full((4, 4), 128))


def test_growing_is_linear():
    image = np.array([[0, 200]] * 8, np.uint8)  # shrinks down, grows across
    np.testing.assert_array_equal(Resize(4).transform([image])[0], [[0, 50, 150, 200]] * 4)


def test_letterbox_keeps_the_aspect_ratio_and_masks_the_rest():
    image = np.full((50, 100), 7, np.uint8)
    boxed = Resize(40, method="letterbox").transform([image])[0]
    expected = np.zeros((40, 40), bool)
    expected[10:30] = True
    np.testing.assert_array_equal(inside_mask(boxed), expected)
    assert (boxed.data[expected] == 7).all()
    assert (boxed.filled()[~expected] == 0).all()


def test_a_region_of_one_pixel_survives():
    inside = np.zeros((100, 100), bool)
    inside[42, 17] = True
    image = with_mask(np.where(inside, 90, 0).astype(np.uint8), inside, fill_value=33)
    small = Resize(10).transform([image])[0]
    assert small.compressed().tolist() == [90]
    assert not small.mask[4, 1]
    assert small.fill_value == 33


@pytest.mark.parametrize("size", [(3, 4), (9, 14), (4, 14)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16])
def test_integers_are_rounded_to_the_nearest_level(dtype, masked, size):
    top = 1 if dtype is np.bool_ else np.iinfo(dtype).max
    image = (np.random.default_rng(0).random((7, 10)) * (top + 1)).astype(dtype)
    if masked:
        image = with_mask(image, np.ones(image.shape, bool))
    rounded, exact = Resize(size).transform([image, image.astype(float) / top])
    assert np.abs(rounded.astype(float) - exact * top).max() <= 0.5 + 1e-6 * top


def test_a_pixel_of_which_half_is_covered_is_inside():
    # A new pixel covers 13 5/7 old ones: the fourth, those from 41 1/7 to 54 6/7.
    inside = np.zeros((8, 384), bool)
    inside[:, :48] = True
    small = Resize((8, 28)).transform([with_mask(np.zeros(inside.shape), inside)])[0]
    np.testing.assert_array_equal(inside_mask(small)[0], np.arange(28) < 4)


def test_pixels_that_hold_equally_much_of_a_small_region_all_stay():
    dot = np.array([[False, False, True, False, False, False]])
    for height in (3, 6):
        tall = Resize((height, 1)).transform([with_mask(np.ones(dot.shape), dot)])[0]
        assert inside_mask(tall).all()
