"""ImageFunction."""

import numpy as np
import pytest
from skimage.exposure import adjust_gamma
from skimage.filters import sobel
from skimage.transform import rescale
from sklearn.base import clone

from featbus import ImageFunction
from featbus.images import ImageError
from featbus.masks import with_mask

IMAGES = np.random.default_rng(0).integers(0, 255, (3, 20, 24), np.uint8)


def masks_the_dark(image):
    return np.ma.masked_less(image, 128)


def writes(image):
    image[:] = 7
    return image


def test_function_and_arguments():
    step = ImageFunction(adjust_gamma, {"gamma": 2})
    expected = [adjust_gamma(image, gamma=2) for image in IMAGES]
    np.testing.assert_array_equal(step.transform(IMAGES), expected)
    np.testing.assert_array_equal(clone(step).transform(IMAGES), expected)


def test_the_input_is_not_written_to():
    before = IMAGES.copy()
    assert (ImageFunction(writes).transform(IMAGES) == 7).all()
    np.testing.assert_array_equal(IMAGES, before)


def test_the_mask_stays_and_a_new_one_restricts_it():
    inside = np.zeros((20, 24), bool)
    inside[:, :12] = True
    image = with_mask(IMAGES[0], inside, fill_value=9)
    result = ImageFunction(adjust_gamma).transform([image])[0]
    np.testing.assert_array_equal(result.mask, ~inside)
    restricted = ImageFunction(masks_the_dark).transform([image])[0]
    np.testing.assert_array_equal(~restricted.mask, inside & (IMAGES[0] >= 128))


def test_a_masked_image_must_keep_its_size():
    half = ImageFunction(rescale, {"scale": 0.5})
    assert half.transform(IMAGES / 255).shape == (3, 10, 12)
    masked = np.ma.masked_less(IMAGES[0] / 255, 0.5)
    with pytest.raises(ImageError, match=r"image 1: rescale .*\(10, 12\)"):
        half.transform([IMAGES[0] / 255, masked])


def test_the_result_must_be_an_image():
    with pytest.raises(ImageError, match="image 0: mean "):
        ImageFunction(np.mean).transform(IMAGES)


@pytest.mark.parametrize("parameters", [{"func": "sobel"}, {"func": sobel, "kwargs": [1]}])
def test_bad_parameters(parameters):
    with pytest.raises(ValueError, match="is .*, expected"):
        ImageFunction(**parameters).fit(IMAGES)
