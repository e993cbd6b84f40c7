"""ContrastStretch."""

import numpy as np
import pytest

from featbus import ContrastStretch
from featbus.masks import with_mask


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("percentiles", [(2, 98), (0, 100), (10, 60)])
def test_limits_are_those_of_numpy(dtype, percentiles):
    top = np.iinfo(dtype).max
    image = np.random.default_rng(0).integers(top // 4, top // 2, (40, 30)).astype(dtype)
    low, high = np.percentile(image, percentiles)
    expected = np.rint(np.clip((image - low) / (high - low), 0, 1) * top)
    np.testing.assert_array_equal(ContrastStretch(percentiles).transform([image])[0], expected)


def test_only_pixels_inside_the_mask_count():
    image = np.array([[0, 100, 110, 120, 255]], np.uint8)
    inside = np.array([[False, True, True, True, False]])
    result = ContrastStretch((0, 100)).transform([with_mask(image, inside)])[0]
    np.testing.assert_array_equal(result.compressed(), [0, 128, 255])


def test_channels_are_stretched_alike():
    image = np.array([[[100, 110, 120]]], np.uint8)
    np.testing.assert_array_equal(
        ContrastStretch((0, 100)).transform([image])[0], [[[0, 128, 255]]]
    )


@pytest.mark.parametrize("percentiles", [(98, 2), (5, 5), (-1, 50), (0, 101), 5, (1, 2, 3)])
def test_bad_parameters(percentiles):
    with pytest.raises(ValueError, match="percentiles is .*, expected"):
        ContrastStretch(percentiles).fit([np.zeros((2, 2))])
