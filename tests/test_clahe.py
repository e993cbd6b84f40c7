"""CLAHE."""

import cv2
import numpy as np
import pytest

from featbus import CLAHE
from featbus.masks import with_mask


def speckle(shape, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    return (np.clip(rng.rayleigh(0.2, shape), 0, 1) * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(64, 96), (61, 97), (200, 120)])
@pytest.mark.parametrize(("limit", "grid"), [(2.0, (8, 8)), (4.0, (2, 5))])
def test_it_is_that_of_opencv(dtype, shape, limit, grid):
    image = speckle(shape, dtype)
    expected = cv2.createCLAHE(limit, grid[::-1]).apply(image)
    result = CLAHE(limit, tile_grid_size=grid).transform([image])[0]
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point_is_computed_at_16_bits(dtype):
    image = speckle((64, 96), np.uint16)
    expected = CLAHE().transform([image])[0] / 65535
    result = CLAHE().transform([(image / 65535).astype(dtype)])[0]
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, atol=1.01 / 65535)


def test_a_tile_inside_the_mask_is_equalized_as_if_it_were_alone():
    image = speckle((64, 64))
    inside = np.zeros((64, 64), bool)
    inside[:, :32] = True
    result = CLAHE(tile_grid_size=1).transform([with_mask(image, inside)])[0]
    # Twice the same pixels have the same histogram.
    alone = CLAHE(tile_grid_size=1).transform([np.hstack([image[:, :32]] * 2)])[0]
    np.testing.assert_array_equal(result.data[:, :32], alone[:, :32])


def test_black_surroundings_do_not_lower_the_contrast():
    image = np.zeros((128, 128), np.uint8)
    inside = np.zeros((128, 128), bool)
    inside[36:92, 36:92] = True
    image[inside] = 100 + speckle((56, 56))[:, :].ravel() // 8
    masked = CLAHE().transform([with_mask(image, inside)])[0]
    plain = CLAHE().transform([image])[0]
    assert masked.compressed().std() > plain[inside].std()


def test_of_a_color_image_the_luma_is_equalized():
    gray = speckle((64, 64))
    tint = np.clip(np.dstack([gray, gray, gray.astype(int) + 20]), 0, 255).astype(np.uint8)
    result = CLAHE().transform([tint])[0].astype(int)
    unclipped = result.max(axis=2) < 255
    np.testing.assert_array_equal((result[..., 0] == result[..., 1])[unclipped], True)
    assert np.abs((result[..., 2] - result[..., 0])[unclipped & (gray < 235)] - 20).max() <= 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"clip_limit": 0}, "clip_limit is 0, expected"),
        ({"tile_grid_size": 0}, "tile_grid_size is 0, expected"),
        ({"tile_grid_size": (2, 3, 4)}, r"tile_grid_size is \(2, 3, 4\)"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        CLAHE(**parameters).fit([speckle((8, 8))])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_huge_limit_is_none(dtype):
    rng = np.random.default_rng(0)
    image = rng.integers(90, 120, (64, 64)).astype(dtype)
    high, huge = (CLAHE(limit).transform([image])[0] for limit in (np.iinfo(dtype).max + 1, 1e300))
    np.testing.assert_array_equal(high, huge)
    assert np.ptp(high) > np.ptp(CLAHE(2).transform([image])[0])
