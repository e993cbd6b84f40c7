"""BreastRegion."""

import cv2
import numpy as np
import pytest
from _mammogram import dice, mammogram
from sklearn.pipeline import make_pipeline

from featbus import HOG, BreastRegion
from featbus.evaluation import importance_map
from featbus.masks import with_mask


def detect(image):
    return BreastRegion().detect(image)


def test_known_outline_without_the_label():
    image, inside, _ = mammogram()
    outline = detect(image)
    assert outline.found
    assert outline.side == "left"
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


def test_bright_tissue_at_the_skin_is_no_label():
    image, inside, _ = mammogram()
    y, x = np.mgrid[:512, :384]
    image = np.where((np.hypot(y - 256, x - 190) < 30) & inside, 0.9, image)
    assert dice(detect(image).mask, inside) > 0.985


def test_tape_across_the_frame_is_left_out():
    image, inside, _ = mammogram(labels=False)
    image[:, -20:-10] = 1
    image[20:24] = 0.9
    assert dice(detect(image).mask, inside) > 0.985


def test_bright_film_border_and_padding_are_left_out():
    image, inside, _ = mammogram(labels=False)
    framed = np.pad(image, ((0, 0), (60, 60)))
    framed[:, -60:-20] = 1
    outline = detect(framed)
    assert outline.side == "left"
    assert dice(outline.mask, np.pad(inside, ((0, 0), (60, 60)))) > 0.98


def test_holes_are_filled():
    image, _, _ = mammogram()
    image[200:240, 60:100] = 0.05
    assert detect(image).mask[220, 80]


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_mirroring_is_exact(size):
    image = mammogram(size)[0][: size - 3, : -size // 9]
    outline, mirrored = detect(image), detect(image[:, ::-1])
    np.testing.assert_array_equal(mirrored.mask, outline.mask[:, ::-1])
    assert {outline.side, mirrored.side} == {"left", "right"}


def test_size_does_not_matter():
    small, large = (detect(mammogram(size)[0]).mask for size in (512, 2048))
    assert dice(np.kron(small, np.ones((4, 4), bool)), large) > 0.99


def test_dtype_does_not_matter():
    image = np.rint(255 * mammogram()[0]).astype(np.uint8)
    expected = detect(image).mask
    for same in (image.astype(np.uint16) * 257, np.float32(image / 255), image / 255):
        np.testing.assert_array_equal(detect(same).mask, expected)
    np.testing.assert_array_equal(detect(np.dstack([image] * 3)).mask, expected)


def test_pixels_stay_and_a_mask_is_restricted():
    image = np.rint(255 * mammogram()[0]).astype(np.uint8)
    before = np.ones(image.shape, bool)
    before[:, :40] = False
    masked = with_mask(image, before, 7)
    (result,) = BreastRegion().transform([masked])
    np.testing.assert_array_equal(result.data, image)
    assert result.fill_value == 7
    assert result.mask[:, :40].all()
    assert not (~result.mask & ~before).any()
    assert (~result.mask).sum() > 0.3 * image.size


def test_a_breast_without_its_film_stays_whole():
    (region,) = BreastRegion().transform([mammogram()[0]])
    (again,) = BreastRegion().transform([region])
    assert dice(~again.mask, ~region.mask) > 0.99


@pytest.mark.parametrize("orient", ["left", "right"])
def test_orientation(orient):
    image = mammogram()[0]
    images = BreastRegion(orient=orient).transform([image, image[:, ::-1]])
    np.testing.assert_array_equal(images[0].data, images[1].data)
    np.testing.assert_array_equal(images[0].mask, images[1].mask)
    assert detect(images[0].data).side == orient


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


@pytest.mark.parametrize("orient", [None, "left", "right"])
def test_boxes_come_back_to_the_same_pixels(orient):
    image, _, _ = mammogram()
    step = BreastRegion(orient=orient)
    top, left, bottom, right = box = [100, 20, 140, 90]
    moved = step.transform([image])[0][top:bottom, left:right]
    top, left, bottom, right = step.map_boxes([box], image).astype(int)[0]
    back = image[top:bottom, left:right]
    np.testing.assert_array_equal(back[:, ::-1] if orient == "right" else back, moved.data)


def test_importance_finds_the_pixels_of_a_mirrored_image():
    image, _, _ = mammogram()
    pipeline = make_pipeline(BreastRegion(orient="right"), HOG(pixels_per_cell=(128, 128)))
    names = pipeline.fit([image]).get_feature_names_out()
    top_left = np.char.startswith(names.astype(str), "hog_r00_c00_b0_")
    assert importance_map(pipeline, top_left, image)[:128, -128:].all()


@pytest.mark.parametrize("width", [2, 20])
@pytest.mark.parametrize("sides", ["all", "top", "right"])
def test_white_borders_are_left_out(width, sides):
    image, inside, _ = mammogram(labels=False)
    padding = {
        "all": ((width, width), (width, width)),
        "top": ((width, 0), (0, 0)),
        "right": ((0, 0), (0, width)),
    }[sides]
    outline = detect(np.pad(image, padding, constant_values=1))
    assert outline.found
    assert outline.side == "left"
    assert dice(outline.mask, np.pad(inside, padding)) > 0.98


def test_detect_takes_files_and_checks_parameters(tmp_path):
    image = np.rint(255 * mammogram()[0]).astype(np.uint8)
    path = tmp_path / "film.png"
    cv2.imwrite(str(path), image)
    np.testing.assert_array_equal(BreastRegion().detect(path).mask, detect(image).mask)
    for method, data in (("detect", image), ("fit", [image])):
        with pytest.raises(ValueError, match="^orient is 'up'"):
            getattr(BreastRegion(orient="up"), method)(data)
    assert BreastRegion(orient="left").map_boxes([], image).shape == (0, 4)
