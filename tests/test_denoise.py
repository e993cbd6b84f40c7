"""Denoise, and Despeckle, against their formulas."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from featbus import Denoise, Despeckle, make_breast_ultrasound
from featbus.preprocessing._denoise import estimate_noise, frost, lee, srad

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


def windows(image, size):
    """Return the window around each pixel."""
    return sliding_window_view(np.pad(image, size // 2, mode="edge"), (size, size))


def test_bilateral():
    image = noisy((12, 14))
    distance, window = np.hypot(*np.ogrid[-2:3, -2:3]), windows(image, 5)
    near = np.exp(-(distance**2) / (2 * 1.25**2)) * (distance <= 2)
    weight = near * np.exp(-((window - image[..., None, None]) ** 2) / (2 * 0.2**2))
    expected = (weight * window).sum(axis=(2, 3)) / weight.sum(axis=(2, 3))
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
    (result,) = Denoise(method).transform([np.random.default_rng(0).random(shape)])
    assert result.shape == shape
    assert np.isfinite(result).all()


def speckle(shape=(11, 13), scale=0.25, seed=0):
    return np.clip(np.random.default_rng(seed).rayleigh(scale, shape), 0, 1)


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_lee_and_kuan(linear, noise):
    image = speckle()
    image[:6, :6] = 0
    window = windows(image, 5)
    mean, variance = window.mean(axis=(2, 3)), window.var(axis=(2, 3))
    signal = np.maximum(0, (variance + mean**2) / (1 + noise**2) - mean**2)
    power = noise**2 * (mean**2 if linear else mean**2 + signal)
    gain = signal / np.maximum(signal + power, 1e-300)
    expected = mean + gain * (image - mean)
    np.testing.assert_allclose(lee(image, 5, noise, linear), expected, atol=1e-9)
    single = lee(image.astype(np.float32), 5, noise, linear)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=1e-5)


def test_frost():
    image = speckle()
    image[:6, :6] = 0
    window = windows(image, 5)
    variation = window.var(axis=(2, 3)) / np.maximum(window.mean(axis=(2, 3)) ** 2, 1e-300)
    weight = np.exp(-2 * variation[..., None, None] * np.hypot(*np.ogrid[-2:3, -2:3]))
    expected = (weight * window).sum(axis=(2, 3)) / weight.sum(axis=(2, 3))
    np.testing.assert_allclose(frost(image, 5), expected, atol=1e-9)


def neighbors(array, down, right):
    rows, columns = (np.arange(side) + step for side, step in zip(array.shape, (down, right)))
    return array[np.ix_(rows.clip(0, len(array) - 1), columns.clip(0, array.shape[1] - 1))]


def reference_srad(image, noise, n_iterations):
    """Equations 33, 35, 37, 52 to 54, 58 and 61 of Yu and Acton."""
    image = np.maximum(image, 1e-6)
    for step in range(n_iterations):
        scale = (noise * np.exp(-0.2 * step / 6)) ** 2
        ways = (1, 0), (0, 1), (-1, 0), (0, -1)
        differences = np.array([neighbors(image, *way) - image for way in ways])
        gradient = (differences**2).sum(axis=0) / image**2
        laplacian = differences.sum(axis=0) / image
        squared = (gradient / 2 - laplacian**2 / 16) / (1 + laplacian / 4) ** 2
        bracket = (squared - scale) / (scale * (1 + scale))
        own = np.clip(1 / (1 + bracket), 0, 1)
        conduction = [neighbors(own, 1, 0), neighbors(own, 0, 1), own, own]
        image = image + 0.2 / 4 * (conduction * differences).sum(axis=0)
    return image


def test_srad():
    image = speckle()
    image[:4, :4] = 0
    np.testing.assert_allclose(srad(image, 0.5, 7), reference_srad(image, 0.5, 7), atol=1e-9)


def test_the_noise_of_rayleigh_speckle_is_found():
    # The coefficient of variation of Rayleigh's distribution: sqrt(4 / pi - 1), 0.523.
    image = np.random.default_rng(0).rayleigh(0.1, (200, 200))
    assert estimate_noise(image, 7) == pytest.approx(np.sqrt(4 / np.pi - 1), abs=0.02)


def test_only_the_region_says_how_strong_the_noise_is():
    image = np.full((60, 60), 0.5)
    image[:, 30:] = speckle((60, 30))
    inside = np.zeros((60, 60), bool)
    inside[:, 35:] = True
    assert estimate_noise(image, 7, inside) > 0.4
    assert estimate_noise(image, 7, ~inside) < 0.01


def test_log_compression_is_undone():
    image = make_breast_ultrasound(1, random_state=0).images[0]
    weak = Despeckle(noise=1e-6, dynamic_range=60).transform([image])[0]
    np.testing.assert_allclose(weak.astype(int), image, atol=1)
