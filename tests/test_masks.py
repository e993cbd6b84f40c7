"""Mask files and arrays."""

import cv2
import numpy as np
import pytest
from PIL import Image

from featbus.images import ImageError
from featbus.io import ImageReadError, read_mask

SHAPE = (6, 8)
LEFT, RIGHT = np.zeros((2, *SHAPE), dtype=bool)
LEFT[1:4, :3] = True
RIGHT[2:, 5:] = True


@pytest.fixture
def write(tmp_path):
    def write(pixels, name="mask.png"):
        path = tmp_path / name
        if pixels.dtype == bool:
            Image.fromarray(pixels).save(path)
        else:
            assert cv2.imwrite(str(path), pixels)
        return str(path)

    return write


def as_rgba(mask, alpha):
    return np.dstack([mask.astype(np.uint8) * 255] * 3 + [np.full(SHAPE, alpha, np.uint8)])


@pytest.mark.parametrize(
    "pixels",
    [
        LEFT,
        LEFT.astype(np.uint8),
        LEFT.astype(np.uint8) * 255,
        LEFT.astype(np.uint16) * 65535,
        np.dstack([LEFT.astype(np.uint8) * 255] * 3),
        as_rgba(LEFT, 255),
    ],
    ids=["1 bit", "0/1", "0/255", "16 bits", "RGB", "RGBA"],
)
@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
def test_files_of_every_depth(write, pixels, name):
    mask = read_mask((write(pixels, name),), SHAPE)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, LEFT)


def test_parts_are_united(write):
    files = write(LEFT, "a_mask.png"), write(as_rgba(RIGHT, 255), "a_mask_1.png")
    for item in (files, list(files), (files[0], RIGHT), (LEFT, RIGHT * 255)):
        np.testing.assert_array_equal(read_mask(item, SHAPE), LEFT | RIGHT)


def test_a_single_path_or_array_is_a_mask(write, tmp_path):
    write(LEFT)
    for item in (str(tmp_path / "mask.png"), tmp_path / "mask.png", LEFT, LEFT * 255):
        np.testing.assert_array_equal(read_mask(item, (*SHAPE, 3)), LEFT)


def test_no_mask_is_not_an_empty_mask(write):
    assert read_mask(None, SHAPE) is None
    assert read_mask((), SHAPE) is None
    empty = read_mask((write(np.zeros((*SHAPE, 3), np.uint8)),), SHAPE)
    assert empty.shape == SHAPE
    assert not empty.any()


def test_a_mask_of_another_size_is_refused(write):
    files = write(LEFT), write(RIGHT.T, "turned.png")
    message = r"^mask '.*turned\.png': found a mask of shape \(8, 6\), expected \(6, 8\)"
    with pytest.raises(ImageError, match=message) as caught:
        read_mask(files, SHAPE)
    assert not isinstance(caught.value, ImageReadError)
    with pytest.raises(ImageError, match=r"^found a mask of shape \(8, 6\), expected \(6, 8\)"):
        read_mask(RIGHT.T, SHAPE)


def test_masks_with_several_values_are_refused(write):
    blurred = cv2.GaussianBlur(LEFT.astype(np.uint8) * 255, (3, 3), 0)
    with pytest.raises(ImageError, match=r"mask\.png': found a mask with \d+ different values"):
        read_mask((write(blurred),), SHAPE)


def test_transparent_masks_are_refused(write):
    rgba = as_rgba(LEFT, 255)
    rgba[..., 3] = RIGHT * 255
    with pytest.raises(ImageError, match=r"mask\.png': found a mask with transparent and opaque"):
        read_mask((write(rgba),), SHAPE)


def test_an_unreadable_mask_names_its_file(write, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(ImageReadError, match=r"^mask '.*bad\.png': unknown content"):
        read_mask((write(LEFT), tmp_path / "bad.png"), SHAPE)
    with pytest.raises(ImageReadError, match=r"^mask 'none\.png': there is no such file"):
        read_mask(("none.png",), SHAPE)
