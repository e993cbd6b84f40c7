"""BreastRegion."""

import numpy as np
import pytest
from _mammogram import dice, mammogram
from _spies import write_images

from featbus import BreastRegion, PectoralMuscleRemover
from featbus.masks import with_mask


def detect(image):
    return BreastRegion().detect(image)


def test_known_outline_without_the_label():
    image, inside, _ = mammogram()
    outline = detect(image)
    assert (outline.found, outline.side) == (True, "left")
    assert dice(outline.mask, inside) > 0.985
    assert not outline.mask[image == 1].any()


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_label_on_the_skin_is_cut_off(mirrored):
    image, inside, _ = mammogram(labels=False)
    label = np.zeros(image.shape, bool)
    label[20:70, 150:230] = True
    assert label[inside].sum() > 500  # it lies on the breast, too
    image[label] = 1
    image[35:55, 180:200] = 0.1  # a letter
    if mirrored:
        image, inside, label = (part[:, ::-1] for part in (image, inside, label))
    mask = detect(image).mask
    assert not mask[label & ~inside].any()
    assert dice(mask, inside & ~label) > 0.98


def test_bright_tissue_at_the_skin_is_no_label_and_holes_are_filled():
    image, inside, _ = mammogram()
    image[inside & (np.hypot(*np.ogrid[-256:256, -190:194]) < 30)] = 0.9
    image[200:240, 60:100] = 0.05
    mask = detect(image).mask
    assert mask[200:240, 60:100].all()
    assert dice(mask, inside) > 0.985


def test_mirroring_is_exact():
    image = mammogram()[0][:509, :-57]
    outline, mirrored = detect(image), detect(image[:, ::-1])
    np.testing.assert_array_equal(mirrored.mask, outline.mask[:, ::-1])
    assert {outline.side, mirrored.side} == {"left", "right"}


def test_size_does_not_matter():
    small, large = (detect(mammogram(size)[0]).mask for size in (512, 1024))
    assert dice(np.kron(small, np.ones((2, 2), bool)), large) > 0.99


@pytest.mark.parametrize("step", [BreastRegion(), PectoralMuscleRemover()], ids=repr)
def test_dtype_does_not_matter(step):
    image = np.rint(255 * mammogram()[0]).astype(np.uint8)
    expected = step.detect(image)
    assert expected.found
    others = image.astype(np.uint16) * 257, np.float32(image / 255), image / 255
    for same in (*others, np.dstack([image] * 3)):
        np.testing.assert_array_equal(step.detect(same).mask, expected.mask)


def test_pixels_stay_and_a_mask_is_restricted():
    image = np.rint(255 * mammogram()[0]).astype(np.uint8)
    before = np.ones(image.shape, bool)
    before[:, :40] = False
    masked = with_mask(image, before, 7)
    (result,) = BreastRegion().transform([masked])
    np.testing.assert_array_equal(result.data, image)
    np.testing.assert_array_equal(result.mask, ~(detect(masked).mask & before))
    assert result.fill_value == 7
    assert (~result.mask).sum() > 0.3 * image.size


@pytest.mark.parametrize("orient", [None, "left", "right"])
def test_orientation(orient):
    image = mammogram()[0]
    step = BreastRegion(orient=orient)
    one, other = step.transform([image, image[:, ::-1]])
    other = other if orient else other[:, ::-1]
    np.testing.assert_array_equal(one.data, other.data)
    np.testing.assert_array_equal(one.mask, other.mask)
    assert detect(one.data).side == (orient or "left")
    # Boxes come back to the same pixels.
    top, left, bottom, right = step.map_boxes([[100, 20, 140, 90]], image).astype(int)[0]
    back = image[top:bottom, left:right]
    back = back[:, ::-1] if orient == "right" else back
    np.testing.assert_array_equal(back, one.data[100:140, 20:90])
    assert step.map_boxes([], image).shape == (0, 4)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((80, 60), np.uint8), "no large region is brighter"),
        (np.full((80, 60), 255, np.uint8), "found no dark background"),
        (np.full((1, 1), 9, np.uint8), "found no dark background"),
        (1 - mammogram()[0], "found no dark background"),
    ],
    ids=["blank", "white", "1x1", "inverted"],
)
def test_no_breast(image, reason):
    outline = detect(image)
    assert not outline.found
    assert reason in outline.reason
    assert outline.mask.all()
    (result,) = BreastRegion(orient="left").transform([image])
    assert not np.ma.isMaskedArray(result)
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("padding", [20, ((2, 0), (0, 0)), ((0, 0), (0, 20))])
def test_white_borders_and_tape_are_left_out(padding):
    image, inside, _ = mammogram(labels=False)
    image[20:24] = image[:, -20:-10] = 0.9
    outline = detect(np.pad(image, padding, constant_values=1))
    assert outline.side == "left"
    assert dice(outline.mask, np.pad(inside, padding)) > 0.98


def test_detect_takes_files_and_checks_parameters(tmp_path):
    image = np.rint(255 * mammogram()[0]).astype(np.uint8)
    (path,) = write_images(tmp_path, [image])
    np.testing.assert_array_equal(detect(path).mask, detect(image).mask)
    with pytest.raises(ValueError, match="^orient is 'up'"):
        BreastRegion(orient="up").detect(image)
