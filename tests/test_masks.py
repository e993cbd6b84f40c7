"""Mask files and arrays, and the shape of regions."""

import cv2
import numpy as np
import pytest
from PIL import Image

from featbus.images import ImageError
from featbus.io import ImageReadError, read_mask
from featbus.masks import region_shape

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
    with pytest.raises(ImageError, match=r"turned\.png.*\(8, 6\).*\(6, 8\)") as caught:
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


def disc(radius, center=(100, 100)):
    row, column = np.ogrid[:200, :200]
    return np.hypot(row - center[0], column - center[1]) <= radius


def test_a_disc():
    region, circularity = region_shape(disc(60))
    assert region.area == disc(60).sum()
    assert circularity == pytest.approx(1, rel=0.01)
    assert region.centroid == pytest.approx((100, 100))


def test_a_rectangle():
    inside = np.zeros((50, 80), dtype=bool)
    inside[10:20, 30:70] = True
    region, circularity = region_shape(inside)
    assert region.bbox == (10, 30, 20, 70)
    assert region.area == 400
    assert circularity == 4 * np.pi * 400 / region.perimeter_crofton**2
    assert circularity == pytest.approx(4 * np.pi * 400 / 100**2, rel=0.15)


def test_parts_count_as_one_region():
    parts = disc(20, (50, 50)) | disc(20, (150, 150))
    region, circularity = region_shape(parts)
    assert region.area == 2 * disc(20).sum()
    assert region.euler_number == 2
    assert circularity == pytest.approx(0.5, rel=0.05)
