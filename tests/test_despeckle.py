"""Despeckle, against the formulas in plain loops."""

import numpy as np
import pytest

from featbus import Despeckle, make_breast_ultrasound
from featbus.preprocessing._denoise import estimate_noise, frost, lee, srad


def speckle(shape=(11, 13), scale=0.25, seed=0):
    return np.clip(np.random.default_rng(seed).rayleigh(scale, shape), 0, 1)


def windows(image, size):
    padded = np.pad(image, size // 2, mode="edge")
    for row, column in np.ndindex(image.shape):
        yield row, column, padded[row : row + size, column : column + size]


def loop_shrinkage(image, size, noise, linearized):
    result = np.empty_like(image)
    for row, column, window in windows(image, size):
        mean, variance = window.mean(), window.var()
        signal = max(0, (variance + mean**2) / (1 + noise**2) - mean**2)
        power = noise**2 * (mean**2 if linearized else mean**2 + signal)
        gain = signal / (signal + power) if signal + power else 0
        result[row, column] = mean + gain * (image[row, column] - mean)
    return result


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_lee_and_kuan(linear, noise):
    image = speckle()
    image[:6, :6] = 0
    expected = loop_shrinkage(image, 5, noise, linear)
    np.testing.assert_allclose(lee(image, 5, noise, linear), expected, atol=1e-9)
    single = lee(image.astype(np.float32), 5, noise, linear)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=1e-5)


def test_frost():
    image = speckle()
    image[:6, :6] = 0
    rows, columns = np.mgrid[-2:3, -2:3]
    expected = np.empty_like(image)
    for row, column, window in windows(image, 5):
        variation = window.var() / window.mean() ** 2 if window.mean() else 0
        weight = np.exp(-2 * variation * np.hypot(rows, columns))
        expected[row, column] = (weight * window).sum() / weight.sum()
    np.testing.assert_allclose(frost(image, 5), expected, atol=1e-9)


def loop_srad(image, noise, n_iterations):
    """Equations 33, 35, 37, 52 to 54, 58 and 61 of Yu and Acton, pixel by pixel."""
    height, width = image.shape
    image = np.maximum(image, 1e-6)

    def at(array, row, column):
        return array[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]

    for step in range(n_iterations):
        scale = (noise * np.exp(-0.2 * step / 6)) ** 2
        conduction = np.empty_like(image)
        for row, column in np.ndindex(image.shape):
            value = image[row, column]
            around = ((1, 0), (-1, 0), (0, 1), (0, -1))
            differences = [at(image, row + down, column + right) for down, right in around]
            differences = np.subtract(differences, value)
            gradient = (differences**2).sum() / value**2
            laplacian = differences.sum() / value
            squared = (gradient / 2 - laplacian**2 / 16) / (1 + laplacian / 4) ** 2
            bracket = (squared - scale) / (scale * (1 + scale))
            conduction[row, column] = min(max(1 / (1 + bracket), 0), 1)
        changed = image.copy()
        for row, column in np.ndindex(image.shape):
            own, value = conduction[row, column], image[row, column]
            divergence = (
                at(conduction, row + 1, column) * (at(image, row + 1, column) - value)
                + own * (at(image, row - 1, column) - value)
                + at(conduction, row, column + 1) * (at(image, row, column + 1) - value)
                + own * (at(image, row, column - 1) - value)
            )
            changed[row, column] += 0.2 / 4 * divergence
        image = changed
    return image


def test_srad():
    image = speckle()
    image[:4, :4] = 0
    np.testing.assert_allclose(srad(image, 0.5, 7), loop_srad(image, 0.5, 7), atol=1e-9)


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
