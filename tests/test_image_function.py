"""ImageFunction."""

import functools
import pickle

import numpy as np
import pytest
from skimage.exposure import adjust_gamma
from skimage.filters import sobel
from skimage.transform import rescale
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from featbus import LBP, FeatureBus, ImageFunction
from featbus.bus import fingerprint
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


def test_pickle_and_clone():
    step = ImageFunction(adjust_gamma, {"gamma": 2})
    for copy in (pickle.loads(pickle.dumps(step)), clone(step)):
        np.testing.assert_array_equal(copy.transform(IMAGES), step.transform(IMAGES))


def test_fingerprints():
    first = fingerprint(ImageFunction(adjust_gamma, {"gamma": 2}))
    assert first == fingerprint(ImageFunction(adjust_gamma, {"gamma": 2}))
    others = [
        ImageFunction(adjust_gamma, {"gamma": 3}),
        ImageFunction(sobel),
        ImageFunction(np.sqrt),
        ImageFunction(functools.partial(adjust_gamma, gamma=2)),
    ]
    assert len({first, *map(fingerprint, others)}) == 5


def test_the_code_of_a_lambda_counts():
    first, same, other = (lambda image: image), (lambda image: image), (lambda image: image[::-1])
    keys = [fingerprint(ImageFunction(function)) for function in (first, same, other)]
    assert keys[0] == keys[1] != keys[2]


def test_rows_are_kept(tmp_path):
    pipeline = make_pipeline(ImageFunction(np.fliplr), LBP())
    bus = FeatureBus(pipeline, memory=tmp_path / "features.sqlite")
    np.testing.assert_array_equal(bus.fit_transform(IMAGES), bus.fit_transform(IMAGES))


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
