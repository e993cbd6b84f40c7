"""The images of a data set, masked to their regions."""

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.utils import Bunch

from featbus import ShapeStatistics, load_masked, make_breast_ultrasound
from featbus.datasets import make_mammograms
from featbus.images import ImageError
from featbus.io import ImageReadError
from featbus.masks import inside_mask, with_mask

GRAY = np.full((6, 8), 90, dtype=np.uint8)
LEFT, RIGHT = np.zeros((2, 6, 8), dtype=bool)
LEFT[1:4, :3] = True
RIGHT[2:, 5:] = True


@pytest.fixture
def files(tmp_path):
    """Return a data set of files: one mask, two masks in color, an empty one, and none."""
    images = [tmp_path / f"{name}.png" for name in "abcd"]
    for path in images:
        cv2.imwrite(str(path), np.dstack([GRAY] * 3) if path.stem == "b" else GRAY)
    masks = {"a": LEFT, "b": LEFT, "b_1": RIGHT, "c": LEFT & RIGHT}
    for name, mask in masks.items():
        cv2.imwrite(str(tmp_path / f"mask_{name}.png"), mask * np.uint8(255))
    rows = np.empty(4, dtype=object)
    for index, names in enumerate([("a",), ("b", "b_1"), ("c",)]):
        rows[index] = tuple(str(tmp_path / f"mask_{name}.png") for name in names)
    return Bunch(images=np.array(list(map(str, images)), dtype=object), masks=rows)


def test_only_the_region_is_left(files):
    (image,) = load_masked(files, [0])
    assert image.dtype == np.uint8
    assert image.fill_value == 0
    assert_array_equal(inside_mask(image), LEFT)
    assert_array_equal(image.filled(), np.where(LEFT, 90, 0))


def test_color_images_are_masked_in_every_channel(files):
    (image,) = load_masked(files, [1])
    assert image.shape == (6, 8, 3)
    for channel in np.moveaxis(image.mask, 2, 0):
        assert_array_equal(~channel, LEFT | RIGHT)


@pytest.mark.parametrize(
    "indices", [[1, 0], np.array([1, 0]), [True, True, False, False]], ids=["list", "array", "bool"]
)
def test_some_images_are_selected(files, indices):
    images = load_masked(files, indices)
    assert sorted(image.ndim for image in images) == [2, 3]
    assert images[0].ndim == (2 if indices[0] is True else 3)


@pytest.mark.parametrize(("index", "found"), [(2, "an empty mask"), (3, "no mask")])
def test_images_without_a_region_are_refused(files, index, found):
    message = rf"^image {index} \('.*\.png'\): found {found}.*load_masked\(dataset, indices\)"
    with pytest.raises(ImageError, match=message):
        load_masked(files, [0, index])


def test_an_error_names_image_and_mask(files):
    cv2.imwrite(files.masks[1][1], RIGHT.T * np.uint8(255))
    message = r"^image 1 \('.*b\.png'\): mask '.*mask_b_1\.png': .*\(8, 6\), expected \(6, 8\)"
    with pytest.raises(ImageError, match=message):
        load_masked(files, [0, 1])
    files.masks[0] = ("none.png",)
    with pytest.raises(ImageReadError, match=r"^image 0 \(.*a\.png'\): mask 'none\.png'"):
        load_masked(files)
    files.images[0] = "nothing.png"
    with pytest.raises(ImageReadError, match=r"^image 0 \('nothing\.png'\): there is no such file"):
        load_masked(files)


@pytest.mark.parametrize("make", [make_breast_ultrasound, make_mammograms])
def test_synthetic_images(make):
    data = make(9, random_state=0, image_shape=(64, 64))
    marked = data.frame["lesion_area"] > 0
    images = load_masked(data, marked)
    assert 0 < len(images) == marked.sum() < 9
    for image, pixels, mask in zip(images, data.images[marked], data.masks[marked]):
        assert_array_equal(image.data, pixels)
        assert_array_equal(inside_mask(image), mask)
    areas = ShapeStatistics().set_output(transform="pandas").fit_transform(images)["shape_area"]
    assert_array_equal(areas, data.frame["lesion_area"][marked])


def test_a_mask_restricts_the_region_that_an_image_has():
    data = Bunch(images=[with_mask(GRAY, LEFT, fill_value=7)], masks=[~LEFT | (GRAY > 0)])
    (image,) = load_masked(data)
    assert_array_equal(inside_mask(image), LEFT)
    assert image.fill_value == 7
    data.masks = [RIGHT]
    with pytest.raises(ImageError, match="^image 0: found no pixel inside both"):
        load_masked(data)
