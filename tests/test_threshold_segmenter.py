"""ThresholdSegmenter."""

import numpy as np
import pytest

from featbus import ThresholdSegmenter, make_breast_ultrasound
from featbus.masks import dice, with_mask

METHODS = ["radial", "otsu", "multiotsu", "adaptive", "watershed", "chan_vese"]


def disc(shape=(120, 160), center=(60, 80), radius=30, brightness=(0.2, 0.7)):
    y, x = np.indices(shape)
    inside = np.hypot(y - center[0], x - center[1]) < radius
    noise = np.random.default_rng(0).normal(0, 0.03, shape)
    return np.clip(np.where(inside, *brightness) + noise, 0, 1), inside


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dark", [True, False])
def test_a_disc_is_found(method, dark):
    image, inside = disc(brightness=(0.2, 0.7) if dark else (0.7, 0.2))
    (found,) = ThresholdSegmenter(method, dark=dark).predict([image])
    assert found.dtype == bool
    assert dice(found, inside) > 0.93


@pytest.mark.parametrize("method", METHODS)
def test_the_part_in_the_middle_is_taken(method):
    image, inside = disc(radius=20)
    image[:, :20] = 0.2  # as large, and at the border
    (found,) = ThresholdSegmenter(method).predict([image])
    assert dice(found, inside) > 0.85


def test_dtype_and_color_do_not_matter():
    image, _ = disc()
    levels = np.rint(image * 255).astype(np.uint8)
    kinds = levels * np.uint16(257), levels / 255, np.float32(levels / 255), np.dstack([levels] * 3)
    first, *others = ThresholdSegmenter().predict([levels, *kinds])
    for other in others:
        assert np.mean(first != other) < 0.001


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_found_in_one_gray_level(method):
    images = [np.zeros((60, 80), np.uint8), np.full((1, 1), 9, np.uint8), np.ones((5, 900), bool)]
    for image, found in zip(images, ThresholdSegmenter(method).predict(images)):
        assert found.shape == image.shape
        assert not found.any()


@pytest.mark.parametrize("method", METHODS)
def test_only_pixels_inside_a_mask_count(method):
    image, inside = disc()
    window = np.zeros(image.shape, bool)
    window[20:100, 30:130] = True
    outside = np.where(window, image, np.random.default_rng(1).random(image.shape))
    first, second = ThresholdSegmenter(method).predict(
        [with_mask(image, window), with_mask(outside, window)]
    )
    np.testing.assert_array_equal(first, second)
    assert not first[~window].any()
    assert dice(first, inside) > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_an_even_image_has_no_region(method):
    even = [np.full((300, 400), level, np.uint8) for level in (50, 110, 131)]
    assert not np.any(ThresholdSegmenter(method).predict(even))


def test_two_levels_are_enough():
    image = np.full((64, 64), 0.9)
    image[20:40, 20:40] = 0.1
    image[0, 0] = 0.8999
    found = ThresholdSegmenter("multiotsu", smoothing=0).predict([image])[0]
    assert dice(image < 0.5, found) > 0.9


def test_score_leaves_empty_masks_out():
    data = make_breast_ultrasound(6, weights=[1, 1, 1], random_state=0)
    segmenter = ThresholdSegmenter()
    found = segmenter.predict(data.images)
    scores = [dice(mask, region) for mask, region in zip(data.masks, found) if mask.any()]
    assert 0 < len(scores) < 6
    assert segmenter.score(data.images, data.masks) == pytest.approx(np.mean(scores))


def test_transform_masks_to_the_region():
    image, _ = disc()
    segmenter = ThresholdSegmenter()
    (result,) = segmenter.fit_transform([image])
    np.testing.assert_array_equal(~result.mask, segmenter.predict([image])[0])
    with pytest.raises(ValueError, match="image 1: found no region"):
        segmenter.transform([image, np.zeros((60, 80))])
