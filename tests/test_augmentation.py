"""Augmentation as pure functions: against SciPy, and against what is known beforehand."""

from dataclasses import astuple, replace

import cv2
import numpy as np
import pytest
from scipy import ndimage

from featbus.augmentation import (
    DIHEDRAL,
    Augmentation,
    Change,
    augment,
    brighten,
    change_image,
    change_mask,
    dihedral,
)
from featbus.images import MAXIMUM, ImageError, check_image
from featbus.masks import inside_mask, with_mask
from featbus.parameters import InvalidParameterError

DTYPES = [np.bool_, np.uint8, np.uint16, np.float32, np.float64]
ANY_CHANGE = Change(
    rotation=7, column_shift=0.1, row_shift=-0.07, shear=0.2, column_zoom=1.1, row_zoom=0.9
)
NOTHING = Augmentation(0, 0, 0, 0, 0, (1, 1), horizontal_flip=False)


def top(dtype):
    return MAXIMUM[np.dtype(dtype).name]


def noise(dtype=np.uint8, shape=(40, 50), seed=0):
    pixels = np.random.default_rng(seed).random(shape)
    if dtype is np.bool_:
        return pixels > 0.5
    return (pixels * top(dtype)).astype(dtype)


def smooth(dtype, shape=(61, 80)):
    """Return an image that changes little from pixel to pixel: OpenCV 4 rounds positions."""
    pixels = cv2.GaussianBlur(np.random.default_rng(0).random(shape), (0, 0), 4)
    pixels = (pixels - pixels.min()) / np.ptp(pixels)
    return (pixels * top(dtype)).astype(dtype)


DISC = np.hypot(*np.ogrid[-30.5:30.5, -40:40]) < 20


def moved_by_scipy(image, change, **options):
    matrix = change.matrix(image.shape)
    linear, shift = matrix[::-1, 1::-1], matrix[::-1, 2]
    back = np.linalg.inv(linear)
    return ndimage.affine_transform(image.astype(float), back, -back @ shift, **options)


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_geometry_equals_scipy(dtype):
    image = smooth(dtype)
    expected = moved_by_scipy(image, ANY_CHANGE, order=1, mode="nearest")
    result = change_image(image, ANY_CHANGE)
    np.testing.assert_allclose(result / top(dtype), expected / top(dtype), atol=0.006)


def test_masks_equal_scipy_and_are_empty_beyond_the_border():
    change = replace(ANY_CHANGE, column_shift=0.4)
    expected = moved_by_scipy(DISC, change, order=0, mode="constant").astype(bool)
    result = change_mask(DISC, change)
    assert result.dtype == bool
    assert np.mean(result != expected) < 0.002
    np.testing.assert_array_equal(change_mask(DISC * 7, change), 7 * result)
    assert not change_mask(np.ones((61, 80), bool), change)[:, :10].any()


def test_directions():
    image = noise(shape=(41, 41))
    np.testing.assert_array_equal(change_image(image, Change(rotation=90)), np.rot90(image))
    right = change_image(image, Change(column_shift=4 / 41))
    np.testing.assert_array_equal(right[:, 4:], image[:, :-4])
    np.testing.assert_array_equal(right[:, :4], image[:, :1].repeat(4, axis=1))
    down = change_image(with_mask(image, np.ones((41, 41), bool)), Change(row_shift=4 / 41))
    np.testing.assert_array_equal(down.data[4:], image[:-4])
    np.testing.assert_array_equal(inside_mask(down)[:, 0], np.arange(41) >= 4)


def test_shear_leans_to_the_right_and_zoom_enlarges():
    line = np.zeros((41, 41))
    line[:, 20] = 1
    leaning = change_image(line, Change(shear=np.pi / 4))
    assert leaning[:5].argmax(axis=1).tolist() == [40, 39, 38, 37, 36]
    assert leaning[20, 20] == 1
    wide = change_mask(DISC, Change(column_zoom=1.5))
    assert wide.any(axis=1).sum() == DISC.any(axis=1).sum()
    assert 58 <= wide.any(axis=0).sum() <= 60


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_every_kind_of_pixel(dtype, channels):
    shape = (30, 20) if len(channels) else (1, 9)
    image = check_image(noise(dtype, (*shape, *channels)))
    image.setflags(write=False)
    for change in (ANY_CHANGE, Change(element=5), Change(brightness=1.4)):
        result = change_image(image, change)
        assert result.dtype == dtype
        assert result.shape[:2] == (shape[::-1] if change.element == 5 else shape)
        assert result.shape[2:] == channels
        check_image(result)
        assert result.flags["C_CONTIGUOUS"]
    whites = np.full_like(image, top(dtype))
    np.testing.assert_array_equal(change_image(whites, ANY_CHANGE), whites)


def test_no_change_is_the_image_itself():
    image = noise()
    assert change_image(image, Change()) is image
    assert augment(image, np.random.default_rng(0), NOTHING) is image


@pytest.mark.parametrize(
    ("dtype", "before", "after"),
    [
        (np.uint8, [0, 1, 3, 100, 182, 183, 255], [0, 1, 4, 140, 255, 255, 255]),
        (np.uint16, [0, 3, 1000, 46811, 65535], [0, 4, 1400, 65535, 65535]),
        (np.float32, [0, 0.5, 0.8, 1], [0, 0.7, 1, 1]),
        (np.bool_, [0, 1], [0, 1]),
    ],
)
def test_brightness_ends_at_white(dtype, before, after):
    result = brighten(np.array([before], dtype), 1.4)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, [after], rtol=1e-6)
    image = noise(dtype, (20, 20, 4))
    np.testing.assert_array_equal(brighten(image, 1.4)[..., 3], image[..., 3])  # opacity stays


def test_the_dihedral_group():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    turns = [np.rot90(image, number) for number in range(4)]
    for element, expected in enumerate([*turns, *map(np.fliplr, turns)]):
        np.testing.assert_array_equal(dihedral(image, element), expected)
    # Up-down and left-right flips, but neither transposition.
    assert {2: (0, 4), 6: (0, 1, 2, 3, 4, 6), 8: tuple(range(8))} == DIHEDRAL


def test_the_mask_moves_with_the_pixels_and_keeps_its_fill_value():
    image = with_mask(np.where(DISC, 200, 10).astype(np.uint8), DISC, 77)
    for element in range(8):
        turned = dihedral(image, element)
        np.testing.assert_array_equal(inside_mask(turned), turned.data == 200)
        assert turned.fill_value == 77
    result = change_image(image, replace(ANY_CHANGE, brightness=1.2))
    np.testing.assert_array_equal(inside_mask(result), change_mask(DISC, ANY_CHANGE))
    # Nothing bleeds in from outside.
    assert np.unique(result.compressed()).tolist() == [240]
    assert result.fill_value == 77


@pytest.mark.parametrize("dtype", DTYPES)
def test_pixels_outside_do_not_matter_inside(dtype):
    image = noise(dtype, DISC.shape)
    others = (np.where(DISC, image, outside * top(dtype)).astype(dtype) for outside in (0, 1))
    first, second = (change_image(with_mask(other, DISC), ANY_CHANGE) for other in others)
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_array_equal(first.compressed(), second.compressed())
    assert not np.array_equal(first.data, second.data)


def test_inside_the_region_pixels_are_those_of_the_image():
    image = smooth(np.float32)
    region = change_image(with_mask(image, DISC), ANY_CHANGE)
    core = ndimage.binary_erosion(inside_mask(region), iterations=2)
    np.testing.assert_allclose(region.data[core], change_image(image, ANY_CHANGE)[core], atol=1e-6)


def test_a_region_that_leaves_the_image_is_drawn_again():
    inside = np.zeros((40, 50), bool)
    inside[:, :2] = True
    image, shift = with_mask(noise(), inside), replace(NOTHING, width_shift=0.1)
    lost = 0
    for seed in range(20):
        first = shift.draw(np.random.default_rng(seed))
        lost += not inside_mask(change_image(image, first)).any()
        assert inside_mask(augment(image, np.random.default_rng(seed), shift)).any()
    assert lost > 3


def test_a_region_that_always_leaves_the_image_is_an_error(monkeypatch):
    monkeypatch.setattr(Augmentation, "draw", lambda self, rng: Change(column_shift=1))
    with pytest.raises(ImageError, match="20 draws"):
        augment(with_mask(smooth(np.float32), DISC), np.random.default_rng(0))


def test_amounts_are_uniform_within_their_range():
    rng = np.random.default_rng(0)
    changes = np.array([astuple(Augmentation().draw(rng)) for _ in range(1000)])
    low = [-5, -0.1, -0.1, -0.05, 0.95, 0.95, 1]
    high = [5, 0.1, 0.1, 0.05, 1.05, 1.05, 1.4]
    amounts = (changes[:, :7] - low) / np.subtract(high, low)
    quantiles = np.quantile(amounts, [0, 0.1, 0.5, 0.9, 1], axis=0)
    np.testing.assert_allclose(quantiles, np.tile([[0], [0.1], [0.5], [0.9], [1]], 7), atol=0.06)
    assert ((amounts >= 0) & (amounts <= 1)).all()
    np.testing.assert_allclose(np.corrcoef(amounts.T), np.eye(7), atol=0.12)
    assert 0.42 < np.mean(changes[:, 7] == 4) == 1 - np.mean(changes[:, 7] == 0) < 0.58
    elements = [Augmentation(dihedral=True).draw(rng).element for _ in range(800)]
    assert np.bincount(elements, minlength=8).min() > 70


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rotation", -5),
        ("width_shift", 1),
        ("zoom", np.nan),
        *(("brightness", value) for value in (1.4, (1, np.inf), (1.4, 1))),
        ("dihedral", 8),
    ],
)
def test_bad_parameters(name, value):
    with pytest.raises(InvalidParameterError, match=f"^{name} is "):
        Augmentation(**{name: value})
