"""Denoise."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from featbus import Denoise

METHODS = ("median", "gaussian", "bilateral", "nlmeans", "tv")


def noisy(shape=(40, 50), seed=0):
    """Return two flat halves, 0.3 and 0.7, with noise."""
    image = np.full(shape, 0.3)
    image[:, shape[1] // 2 :] = 0.7
    return np.clip(image + np.random.default_rng(seed).normal(0, 0.05, shape), 0, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("size", [5, 7])
def test_median(dtype, size):
    image = noisy() if np.dtype(dtype).kind == "f" else noisy() * np.iinfo(dtype).max
    image = image.astype(dtype)
    result = Denoise("median", size=size).transform([image])[0]
    np.testing.assert_array_equal(result, ndimage.median_filter(image, size, mode="nearest"))


def test_gaussian():
    image = noisy()
    # The standard deviation that OpenCV documents for a window of 9 pixels.
    expected = ndimage.gaussian_filter(image, 0.3 * (8 * 0.5 - 1) + 0.8, radius=4, mode="nearest")
    result = Denoise("gaussian", size=9).transform([image])[0]
    np.testing.assert_allclose(result, expected, atol=1e-9)


def test_bilateral_against_a_loop():
    image = noisy((12, 14))
    padded = np.pad(image, 2, mode="edge")
    rows, columns = np.mgrid[-2:3, -2:3]
    near = np.exp(-(rows**2 + columns**2) / (2 * 1.25**2)) * (np.hypot(rows, columns) <= 2)
    expected = np.empty_like(image)
    for row, column in np.ndindex(image.shape):
        window = padded[row : row + 5, column : column + 5]
        weight = near * np.exp(-((window - image[row, column]) ** 2) / (2 * 0.2**2))
        expected[row, column] = (weight * window).sum() / weight.sum()
    result = Denoise("bilateral", strength=0.2).transform([image])[0]
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_nlmeans_and_tv_are_those_of_scikit_image():
    image = noisy()
    expected = denoise_nl_means(image, patch_size=5, patch_distance=6, h=0.1)
    np.testing.assert_allclose(Denoise("nlmeans").transform([image])[0], expected)
    expected = denoise_tv_chambolle(image, weight=0.3)
    np.testing.assert_allclose(Denoise("tv", strength=0.3).transform([image])[0], expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (1, 5, 3), (1, 1, 3)])
@pytest.mark.parametrize("method", METHODS)
def test_single_rows_and_columns(method, shape):
    image = np.random.default_rng(0).random(shape)
    (result,) = Denoise(method).transform([image])
    assert result.shape == shape
    assert np.isfinite(result).all()
