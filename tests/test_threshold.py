"""AdaptiveThreshold."""

import cv2
import numpy as np
import pytest
from skimage.filters import threshold_local

from featbus import AdaptiveThreshold


@pytest.mark.parametrize("method", ["gaussian", "mean"])
@pytest.mark.parametrize("offset", [0, -0.05, 0.1])
def test_it_is_that_of_scikit_image(method, offset):
    image = np.random.default_rng(0).random((50, 60))
    # scikit-image cuts its Gaussian off at four standard deviations, not at the window.
    expected = image > threshold_local(image, 21, method, offset, mode="nearest")
    result = AdaptiveThreshold(21, method=method, offset=offset).transform([image])[0]
    assert result.dtype == bool
    assert (result != expected).mean() <= (0.005 if method == "gaussian" else 0)


def test_a_spot_on_a_ramp():
    image = np.tile(np.linspace(0, 0.8, 60), (40, 1))
    image[18:22, 8:12] += 0.15
    expected = np.zeros((40, 60), bool)
    expected[18:22, 8:12] = True
    result = AdaptiveThreshold(21, offset=-0.08).transform([image])[0]
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("parameters", [{"size": 4}, {"method": "median"}, {"offset": 2}])
def test_bad_parameters(parameters):
    with pytest.raises(ValueError, match="is .*, expected"):
        AdaptiveThreshold(**parameters).fit([np.zeros((2, 2))])


@pytest.mark.parametrize("method", ["gaussian", "mean"])
@pytest.mark.parametrize("level", [0, 15, 60, 135, 195, 240, 255])
def test_no_pixel_of_a_flat_region_is_brighter(method, level):
    flat = np.full((60, 60), level, np.uint8)
    for image in (flat, flat / 255, (flat / 255).astype(np.float32)):
        assert not AdaptiveThreshold(method=method).transform([image])[0].any()


def test_colors_agree_between_dtypes():
    rng = np.random.default_rng(0)
    levels = cv2.GaussianBlur(rng.integers(0, 256, (40, 50, 3)).astype(np.uint8), (0, 0), 4)
    first, second = (
        AdaptiveThreshold(15).transform([image])[0] for image in (levels, levels / 255)
    )
    assert np.sum(first != second) < 5
