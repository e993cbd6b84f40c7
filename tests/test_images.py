"""The image contract."""

import copy
import hashlib
import pathlib
import pickle

import numpy as np
import pandas as pd
import pytest

from featbus.color import to_float, to_gray, to_rgb
from featbus.images import (
    MAXIMUM,
    ImageError,
    as_batch,
    at_index,
    check_image,
    fill_value,
    stack_images,
    update_digest,
)
from featbus.io import ImageReadError
from featbus.masks import as_mask, fill_mask, inside_mask, restrict, with_mask, with_mask_of
from featbus.resizing import resize

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)
INSIDE = GRAY > 5


def test_containers():
    """Others are in `test_common`."""
    paths = ["a.png", "b.png"]
    for batch in (tuple(paths), np.array(paths), np.array([["a.png"], ["b.png"]], dtype=object)):
        assert [str(item) for item in as_batch(batch)] == paths
    stack = np.zeros((2, 3, 4), np.uint8)
    assert as_batch(stack) is stack


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([], ValueError, "empty batch"),
        (np.zeros((0, 4, 4)), ValueError, "empty batch"),
        ("a.png", ValueError, "single path.*Wrap it"),
        (np.zeros((4, 4)), ValueError, r"single image, wrap it: X\[np.newaxis\]"),
        (np.zeros(4), ValueError, r"shape \(4,\)"),
        (np.zeros((1, 2, 3, 4, 5)), ValueError, r"shape \(1, 2, 3, 4, 5\)"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), ValueError, r"DataFrame of shape \(1, 2\)"),
        ((image for image in [GRAY]), TypeError, "got generator"),
        ({"a": GRAY}, TypeError, "got dict"),
        (b"a.png", TypeError, "got bytes"),
    ],
)
def test_what_is_no_batch(batch, error, message):
    with pytest.raises(error, match=message):
        as_batch(batch)


def test_a_valid_image_is_not_copied():
    assert np.shares_memory(check_image(GRAY), GRAY)
    assert np.shares_memory(as_mask(INSIDE, GRAY.shape), INSIDE)
    assert check_image(GRAY[..., np.newaxis]).shape == (3, 4)  # one channel is gray


@pytest.mark.parametrize(
    ("image", "canonical"),
    [
        (GRAY.astype(">u2"), np.uint16),
        ((GRAY / 12).astype(np.float16), np.float32),
        ((GRAY / 12).astype(np.longdouble), np.float64),
        (GRAY[::-1, ::2], np.uint8),
    ],
)
def test_images_become_native_and_contiguous(image, canonical):
    checked = check_image(image)
    assert checked.dtype == canonical
    assert checked.dtype.isnative
    assert checked.flags.c_contiguous
    np.testing.assert_array_equal(checked, image.astype(canonical))


# Of each pixel, a channel is masked.
EITHER_CHANNEL = np.ma.MaskedArray(np.ones((1, 2, 3), np.uint8), [[[1, 0, 0], [0, 1, 0]]])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 3, 4, 5)), r"shape \(2, 3, 4, 5\).* volume"),
        (np.zeros((0, 4)), r"no pixels: shape \(0, 4\)"),
        (np.zeros((4, 4, 2)), "2 channels"),
        (np.zeros((3, 8, 9)), "9 channels.* np.moveaxis"),
        (np.zeros((4, 4), np.int64), "dtype int64, expected bool, uint8"),
        (np.array([["a"]]), "dtype <U1"),
        (np.array([[0.5, np.inf]]), "1 NaN or infinite"),
        (np.array([[0.0, 255.0]]), "values from 0 to 255, expected 0 to 1"),
        (np.array([[-0.5, 0.5]]), "values from -0.5 to 0.5"),
        (np.ma.masked_all((4, 4), np.uint8), "no pixel inside the mask"),
        (EITHER_CHANNEL, "no pixel inside the mask"),
    ],
)
def test_what_is_no_image(image, message):
    with pytest.raises(ImageError, match=f"^found .*{message}"):
        check_image(image)


def test_pixels_outside_the_region_may_be_anything():
    image = np.ma.masked_invalid([[0.5, np.nan], [1.0, np.inf]])
    np.testing.assert_array_equal(check_image(image).compressed(), [0.5, 1.0])
    assert type(check_image(np.ma.MaskedArray(GRAY, mask=False))) is np.ndarray
    checked = check_image(with_mask(GRAY.astype(">u2"), INSIDE, fill_value=3))
    assert (checked.dtype, checked.fill_value) == (np.uint16, 3)
    np.testing.assert_array_equal(checked.mask, ~INSIDE)


def test_stacks_where_shapes_and_fill_values_agree():
    masked = np.ma.MaskedArray(GRAY, GRAY > 5, fill_value=9)
    stack = stack_images([GRAY, masked])
    assert stack.shape == (2, 3, 4)
    assert stack.fill_value == stack[1].fill_value == 9
    np.testing.assert_array_equal(stack.mask, [np.zeros((3, 4)), GRAY > 5])
    for other in (GRAY[:2], GRAY.astype(np.uint16), with_mask(GRAY, INSIDE)):
        assert isinstance(stack_images([masked, other]), list)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.float32, np.float64])
def test_numpys_default_fill_value_counts_as_black(dtype):
    image = np.ma.MaskedArray(np.ones((2, 2), dtype), [[True, False], [False, False]])
    assert fill_value(image) == fill_mask(image)[0, 0] == 0
    image = np.ma.MaskedArray(GRAY, GRAY > 5, fill_value=200)
    np.testing.assert_array_equal(fill_mask(image), np.where(GRAY > 5, 200, GRAY))


def test_the_region_of_a_color_image_is_where_no_channel_is_masked():
    image = np.ma.MaskedArray(np.zeros((1, 2, 3), np.uint8), [[[0, 1, 0], [0, 0, 0]]])
    np.testing.assert_array_equal(inside_mask(image), [[False, True]])
    assert inside_mask(GRAY) is None


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.float32, np.float64])
def test_a_gray_image_in_color_is_the_same_to_the_last_digit(dtype):
    image = (np.random.default_rng(0).random((13, 21)) * 1.9).clip(0, 1)
    image = (image * MAXIMUM[np.dtype(dtype).name]).astype(dtype)
    gray = to_gray(to_rgb(image))
    np.testing.assert_array_equal(gray if dtype is not np.bool_ else gray > 0, image)


@pytest.mark.parametrize(
    ("dtype", "top", "tolerance"),
    [(np.uint8, 255, 0.51), (np.uint16, 65535, 2), (np.float32, 1, 1e-6), (np.float64, 1, 1e-6)],
)
def test_luma(dtype, top, tolerance):
    colors = (np.random.default_rng(0).random((60, 60, 3)) * top).astype(dtype)
    gray = to_gray(colors)
    assert gray.dtype == dtype
    np.testing.assert_allclose(gray, colors @ [0.299, 0.587, 0.114], rtol=0, atol=tolerance)


def test_an_opaque_alpha_channel_is_dropped_and_a_transparent_one_is_an_error():
    rgba = np.full((2, 2, 4), 255, np.uint8)
    assert to_rgb(rgba).shape == (2, 2, 3)
    assert to_gray(rgba).shape == (2, 2)
    rgba[0, 0, 3] = 254
    for convert in (to_rgb, to_gray):
        with pytest.raises(ValueError, match="transparent pixels.*rgba2rgb"):
            convert(rgba)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.float32])
def test_to_float_maps_the_largest_value_to_1(dtype):
    image = np.array([[0, MAXIMUM[np.dtype(dtype).name]]]).astype(dtype)
    for floating in (np.float32, np.float64):
        assert to_float(image, floating).dtype == floating
        np.testing.assert_array_equal(to_float(image, floating), [[0, 1]])


@pytest.mark.parametrize("fill", [2.0, -1.0, np.nan, np.inf])
def test_a_fill_value_that_is_no_pixels_value_counts_as_black(fill):
    image = np.ma.MaskedArray([[0.5, fill]], [[False, True]], fill_value=fill)
    np.testing.assert_array_equal(fill_mask(check_image(image)), [[0.5, 0]])


def test_alpha_outside_the_mask_is_ignored():
    rgba = np.dstack([GRAY] * 3 + [np.where(GRAY > 5, 0, 255).astype(np.uint8)])
    assert to_rgb(with_mask(rgba, GRAY <= 5)).shape == (*GRAY.shape, 3)


def test_conversions_keep_region_and_brightness_of_the_fill_value():
    inside = GRAY < 6
    image = with_mask(GRAY, inside, fill_value=51)
    image.setflags(write=False)
    for converted in (to_rgb(image), to_float(image), to_gray(to_rgb(image))):
        np.testing.assert_array_equal(inside_mask(converted), inside)
        assert fill_value(to_float(converted)) == pytest.approx(0.2)


@pytest.mark.parametrize("kind", [ImageError, ImageReadError])
def test_an_error_knows_reason_position_and_path(kind):
    error = kind("bad.", 3, pathlib.Path("a.png"))
    assert isinstance(error, ValueError)
    for copied in (error, pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(copied) is kind
        assert (copied.reason, copied.index, copied.path) == ("bad.", 3, "a.png")
    assert str(error) == str(error.at(3)) == "image 3 ('a.png'): bad."
    assert str(error.at(7, "b.png")) == "image 7 ('b.png'): bad."
    assert str(error.at(None)) == "'a.png': bad."


def test_at_index_adds_position_and_path():
    for item, said in (("a.png", r"image 4 \('a\.png'\): bad\."), (GRAY, r"image 4: bad\.")):
        with pytest.raises(ImageError, match=f"^{said}$"), at_index(4, item):
            raise ImageError("bad.")
    with pytest.raises(ValueError, match="^not about an image$"), at_index(4, "a.png"):
        raise ValueError("not about an image")


@pytest.mark.parametrize(
    "mask",
    [
        INSIDE,
        INSIDE.astype(int),
        INSIDE.astype(np.uint16) * 65535,
        INSIDE.astype(np.float32),
        INSIDE[..., np.newaxis],
        np.dstack([INSIDE * 255, np.zeros((3, 4), int), INSIDE * 255]),
        np.dstack([INSIDE * 7] * 3 + [np.full((3, 4), 200)]),
    ],
)
def test_every_form_of_a_mask(mask):
    for found in (as_mask(mask, GRAY.shape), inside_mask(with_mask(GRAY, mask))):
        assert found.dtype == bool
        np.testing.assert_array_equal(found, INSIDE)


def test_masks_of_parts_in_different_colors_are_united():
    parts = np.dstack([GRAY == 1, GRAY == 2, GRAY == 3]) * 255
    np.testing.assert_array_equal(as_mask(parts, (3, 4, 3)), (GRAY > 0) & (GRAY < 4))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (INSIDE.T, r"shape \(4, 3\), expected \(3, 4\)"),
        (GRAY, "12 different values"),
        (np.where(INSIDE, 1, -1), "2 different values"),
        (np.where(INSIDE, np.nan, 1), "2 different values"),
        (np.dstack([INSIDE] * 4), "transparent and opaque"),
    ],
)
def test_what_is_no_mask(mask, message):
    for use in (as_mask, with_mask, restrict):
        with pytest.raises(ImageError, match=f"^found a .*{message}"):
            use(*(mask, GRAY.shape) if use is as_mask else (GRAY, mask))


def test_a_region_is_restricted_never_extended():
    image = with_mask(GRAY, GRAY > 3, fill_value=9)
    restricted = restrict(image, GRAY % 2 == 0)
    np.testing.assert_array_equal(inside_mask(restricted), (GRAY > 3) & (GRAY % 2 == 0))
    np.testing.assert_array_equal(restricted.data, GRAY)
    assert restricted.fill_value == 9
    assert restrict(np.dstack([GRAY] * 3), INSIDE).mask.shape == (3, 4, 3)
    with pytest.raises(ImageError, match="no pixel inside both"):
        restrict(image, GRAY < 2)


def test_the_mask_of_another_image():
    image = with_mask(GRAY, INSIDE, fill_value=51)
    for pixels in (GRAY / np.float32(255), GRAY.astype(np.uint16), np.dstack([GRAY] * 3)):
        masked = with_mask_of(pixels, image)
        np.testing.assert_array_equal(inside_mask(masked), INSIDE)
        assert fill_value(to_float(masked)) == pytest.approx(0.2)
    assert with_mask_of(GRAY, GRAY) is GRAY


def test_a_digest_tells_images_apart():
    def digest_of(image):
        digest = hashlib.sha256()
        update_digest(digest, image)
        return digest.hexdigest()

    images = [GRAY, GRAY + 1, GRAY.T, GRAY.reshape(4, 3), GRAY.astype(np.uint16)]
    images += [with_mask(GRAY, INSIDE), with_mask(GRAY, ~INSIDE), with_mask(GRAY, INSIDE, 7)]
    assert len({digest_of(image) for image in images}) == len(images)
    assert digest_of(GRAY) == digest_of(np.asfortranarray(GRAY))


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_resizing_to_float_does_not_round(dtype, masked):
    """The same picture, black and white, gives the same gray levels in every dtype."""
    white = MAXIMUM[np.dtype(dtype).name]
    image = np.where(GRAY % 3 == 1, white, 0).astype(dtype)
    image = with_mask(image, GRAY != 4, white) if masked else image
    small = resize(image, (1, 2), np.float32)
    # Of the pixels 0, 1, 4, 5, 8 and 9, two are white: 1 and 4, which the mask hides.
    expected = [[1 / 5 if masked else 1 / 3, 1 / 3]]
    np.testing.assert_allclose(np.ma.getdata(small), expected, rtol=1e-6)
    same = resize(image, image.shape, np.float32)
    np.testing.assert_array_equal(same, to_float(image))
