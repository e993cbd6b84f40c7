"""HistogramEqualizer."""

import numpy as np
import pytest
from skimage.exposure import equalize_hist

from featbus import HistogramEqualizer
from featbus.masks import with_mask


def image_of(dtype):
    values = np.clip(np.random.default_rng(0).rayleigh(0.15, (50, 40)), 0, 1)
    return (
        values.astype(dtype)
        if dtype is np.float64
        else (values * np.iinfo(dtype).max).astype(dtype)
    )


def test_values_become_shares():
    image = np.array([[10, 10, 20, 30]], np.uint8)
    result = HistogramEqualizer().transform([image])[0]
    np.testing.assert_array_equal(result, [[128, 128, 191, 255]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_that_of_scikit_image(dtype, masked):
    image = image_of(dtype)
    inside = np.ones(image.shape, bool)
    if masked:
        inside[:, :15] = False
    result = HistogramEqualizer().transform([with_mask(image, inside if masked else None)])[0]
    # skimage wants a floating-point mask's bins of the region alone, as ours are.
    expected = equalize_hist(image, mask=inside)
    top = 1 if dtype is np.float64 else np.iinfo(dtype).max
    tolerance = 1e-9 if dtype is np.float64 else 0.5 / top + 1e-9
    np.testing.assert_allclose(
        np.ma.getdata(result)[inside] / top, expected[inside], atol=tolerance
    )
