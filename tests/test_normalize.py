"""Normalize."""

import numpy as np
import pytest

from featbus import Normalize
from featbus.masks import with_mask


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_values_fill_the_range(dtype):
    values = np.random.default_rng(0).uniform(0.2, 0.6, (30, 30))
    image = values if np.dtype(dtype).kind == "f" else values * np.iinfo(dtype).max
    result = Normalize().transform([image.astype(dtype)])[0]
    assert result.dtype == (np.float64 if dtype is np.float64 else np.float32)
    assert result.min() == 0
    assert result.max() == 1


def test_percentiles_are_those_of_numpy():
    image = np.random.default_rng(0).random((30, 30))
    low, high = np.percentile(image, (5, 90))
    expected = np.clip((image - low) / (high - low), 0, 1)
    result = Normalize("percentile", percentiles=(5, 90)).transform([image])[0]
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_only_pixels_inside_the_mask_count():
    image = np.array([[0, 100, 110, 120, 255]], np.uint8)
    inside = np.array([[False, True, True, True, False]])
    result = Normalize().transform([with_mask(image, inside)])[0]
    np.testing.assert_allclose(result.compressed(), [0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize("parameters", [{"method": "z-score"}, {"percentiles": (99, 1)}])
def test_bad_parameters(parameters):
    with pytest.raises(ValueError, match="is .*, expected"):
        Normalize(**parameters).fit([np.zeros((2, 2))])


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_narrow_ranges_are_exact(method):
    rng = np.random.default_rng(0)
    levels = (60_000 + rng.integers(0, 6, (20, 20))).astype(np.uint16)
    first, second = (Normalize(method).transform([image])[0] for image in (levels, levels / 65535))
    np.testing.assert_allclose(first, second, atol=1e-6)
