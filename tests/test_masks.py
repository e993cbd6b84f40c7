"""Mask files and arrays."""

from pathlib import Path

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
    [LEFT, LEFT.astype(np.uint8), LEFT.astype(np.uint16) * 65535, as_rgba(LEFT, 255)],
    ids=["1 bit", "0/1", "16 bits", "RGBA"],
)
@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
def test_files_of_every_depth(write, pixels, name):
    mask = read_mask((write(pixels, name),), SHAPE)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, LEFT)
    empty = read_mask((write(np.zeros_like(pixels), name),), SHAPE)
    assert empty.shape == SHAPE
    assert not empty.any()


def test_parts_are_united(write):
    files = write(LEFT, "a_mask.png"), write(as_rgba(RIGHT, 255), "a_mask_1.png")
    for item in (files, list(files), (files[0], RIGHT), (LEFT, RIGHT * 255)):
        np.testing.assert_array_equal(read_mask(item, SHAPE), LEFT | RIGHT)
    for item in (files[0], Path(files[0]), LEFT, LEFT * 255):  # a single one
        np.testing.assert_array_equal(read_mask(item, (*SHAPE, 3)), LEFT)
    assert read_mask(None, SHAPE) is read_mask((), SHAPE) is None  # not an empty mask


def test_masks_that_are_refused(write, tmp_path):
    with pytest.raises(ImageError, match=r"turned\.png.*\(8, 6\).*\(6, 8\)") as caught:
        read_mask((write(LEFT), write(RIGHT.T, "turned.png")), SHAPE)
    assert not isinstance(caught.value, ImageReadError)
    blurred = cv2.GaussianBlur(LEFT.astype(np.uint8) * 255, (3, 3), 0)
    with pytest.raises(ImageError, match=r"mask\.png': found a mask with \d+ different values"):
        read_mask((write(blurred),), SHAPE)
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(ImageReadError, match=r"^mask '.*bad\.png': unknown content"):
        read_mask((write(LEFT), tmp_path / "bad.png"), SHAPE)
