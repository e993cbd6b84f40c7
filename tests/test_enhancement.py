"""Steps that change brightness and contrast, and what all enhancement steps have in common."""

import cv2
import numpy as np
import pytest
from skimage.exposure import equalize_hist

from featbus import (
    CLAHE,
    AdaptiveThreshold,
    ContrastStretch,
    Denoise,
    Despeckle,
    GammaCorrection,
    HistogramEqualizer,
    Normalize,
    RemoveAnnotations,
)
from featbus.color import to_float
from featbus.images import MAXIMUM, fill_value
from featbus.masks import inside_mask, with_mask
from featbus.parameters import InvalidParameterError
from featbus.preprocessing._pixels import extend

# Each step, and how much the result of the same image in another dtype may differ. CLAHE counts
# 65,536 levels at 16 bits, which is another image in small tiles.
STEPS = {
    HistogramEqualizer(): 1 / 64,
    ContrastStretch(): 0.5 / 255 + 1e-6,
    Normalize((1, 99)): 1e-6,
    GammaCorrection(): 0.5 / 255 + 1e-6,
    **{Denoise(method): 2 / 255 for method in ("median", "gaussian", "bilateral", "nlmeans", "tv")},
    **{Despeckle(method, n_iterations=9): 1 / 255 for method in ("lee", "kuan", "frost", "srad")},
    Despeckle(dynamic_range=60): 1 / 255,
    AdaptiveThreshold(9): 0,
    RemoveAnnotations(): 1 / 255,
    CLAHE(): 1,
}
steps = pytest.mark.parametrize("step", STEPS, ids=repr)

# Speckle on a ramp, with a bright cross on it, as a scanner would burn it in.
SCAN = np.linspace(20, 120, 70) * np.random.default_rng(0).rayleigh(0.8, (60, 70))
SCAN = np.clip(SCAN, 1, 200).astype(np.uint8)
SCAN[20:31, 25:27] = SCAN[25:27, 20:31] = 226
DISC = np.hypot(*np.ogrid[-30:30, -32:38]) < 25


@steps
@pytest.mark.parametrize("outside", [np.nan, 1])
def test_pixels_outside_the_mask_do_not_matter(step, outside):
    expected = step.transform([with_mask(to_float(SCAN), DISC)])[0]
    other = np.where(DISC, to_float(SCAN), np.float32(outside))
    result = step.transform([with_mask(other, DISC)])[0]
    np.testing.assert_array_equal(inside_mask(result), DISC)
    np.testing.assert_array_equal(result.compressed(), expected.compressed())


@steps
def test_fill_value_and_pixels_outside_stay(step):
    result = step.transform([with_mask(SCAN, DISC, fill_value=51)])[0]
    assert to_float(result).fill_value == pytest.approx(0.2 if result.dtype != bool else 0)
    if result.dtype == np.uint8:
        assert fill_value(result) == 51
        np.testing.assert_array_equal(result.data[~DISC], SCAN[~DISC])


@steps
@pytest.mark.parametrize("inside", [None, DISC], ids=["whole", "masked"])
def test_dtypes_agree(step, inside):
    expected = to_float(step.transform([with_mask(SCAN, inside)])[0], np.float64)
    for other in (SCAN.astype(np.uint16) * 257, to_float(SCAN), to_float(SCAN, np.float64)):
        result = step.transform([with_mask(other, inside)])[0]
        assert result.dtype in (other.dtype, bool, np.float32)
        assert np.abs(to_float(result, np.float64) - expected).max() <= STEPS[step]


@steps
def test_equal_channels_stay_equal(step):
    gray = to_float(step.transform([SCAN])[0])
    color = np.atleast_3d(to_float(step.transform([np.dstack([SCAN] * 3)])[0]))
    for channel in np.moveaxis(color, 2, 0):
        np.testing.assert_allclose(channel, gray, atol=1.01 / 255)


@steps
def test_alpha_stays(step):
    image = np.dstack([SCAN, SCAN, SCAN[::-1], np.full_like(SCAN, 255)])
    result = step.transform([image])[0]
    assert result.ndim == 2 or (to_float(result)[..., 3] == 1).all()


@steps
def test_tiny_images_and_regions(step):
    for shape in ((1, 1), (1, 9), (3, 2)):
        assert np.isfinite(step.transform([np.full(shape, 0.25)])[0]).all()
    pixel = np.ma.MaskedArray(np.full((20, 20), 0.5), np.arange(400).reshape(20, 20) != 147)
    assert np.isfinite(step.transform([pixel])[0].compressed()).all()
    assert len(np.unique(step.transform([np.full((40, 40), 77, np.uint8)])[0])) == 1


def test_the_outside_is_continued_by_the_nearest_pixel_inside():
    image = np.arange(25, dtype=np.uint8).reshape(5, 5)
    inside = np.zeros((5, 5), bool)
    inside[2:4, 1:4] = True
    expected = image[np.clip(np.arange(5), 2, 3)][:, np.clip(np.arange(5), 1, 3)]
    np.testing.assert_array_equal(extend(with_mask(image, inside)), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("percentiles", [(0, 100), (5, 90)])
def test_normalize_stretches_a_narrow_range(dtype, percentiles):
    top = MAXIMUM[np.dtype(dtype).name]
    narrow = 0.9 + np.random.default_rng(0).integers(0, 6, (20, 20)) / max(top, 255)
    image = (narrow * top).astype(dtype)
    low, high = np.percentile(image.astype(float), percentiles)
    result = Normalize(percentiles).transform([image])[0]
    assert result.dtype == (np.float64 if dtype is np.float64 else np.float32)
    np.testing.assert_allclose(result, np.clip((image - low) / (high - low), 0, 1), atol=1e-6)


@pytest.mark.parametrize("inside", [None, DISC], ids=["whole", "masked"])
@pytest.mark.parametrize("pixels", [SCAN, SCAN * np.uint16(257), to_float(SCAN)])
def test_equalized_values_are_those_of_scikit_image(pixels, inside):
    result = HistogramEqualizer().transform([with_mask(pixels, inside)])[0]
    expected = equalize_hist(pixels, mask=inside)
    difference = np.ma.abs(to_float(result, np.float64) - expected)  # only the region counts
    assert difference.max() < (
        1e-6 if pixels.dtype == np.float32 else 0.501 / MAXIMUM[pixels.dtype.name]
    )


@pytest.mark.parametrize("gamma", [0.5, 2.2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gamma_of_all_levels(gamma, dtype):
    levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)[np.newaxis]
    expected = np.rint((levels / levels.max()) ** gamma * levels.max())
    np.testing.assert_array_equal(GammaCorrection(gamma).transform([levels])[0], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_limits_of_a_stretch_are_those_of_numpy(dtype):
    top = np.iinfo(dtype).max
    image = np.random.default_rng(0).integers(top // 4, top // 2, (40, 30)).astype(dtype)
    low, high = np.percentile(image, (2, 98))
    expected = np.rint(np.clip((image - low) / (high - low), 0, 1) * top)
    np.testing.assert_array_equal(ContrastStretch().transform([image])[0], expected)


@pytest.mark.parametrize(
    ("step", "expected"), [(Normalize(), [0, 0.5, 1]), (ContrastStretch((0, 100)), [0, 128, 255])]
)
def test_only_the_region_sets_the_limits(step, expected):
    image = np.ma.MaskedArray([[0, 100, 110, 120, 255]], [[True, False, False, False, True]])
    result = step.transform([image.astype(np.uint8)])[0]
    np.testing.assert_allclose(result.compressed(), expected, atol=1e-6)


@pytest.mark.parametrize("image", [SCAN, SCAN * np.uint16(257)], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize(("limit", "grid"), [(2.0, (8, 8)), (4.0, (2, 5))])
def test_clahe_is_that_of_opencv(image, limit, grid):
    expected = cv2.createCLAHE(limit, grid[::-1]).apply(image)
    result, floating = CLAHE(limit, tile_grid_size=grid).transform([image, to_float(image)])
    np.testing.assert_array_equal(result, expected)
    if image.dtype == np.uint16:
        np.testing.assert_allclose(floating, to_float(expected), atol=1.01 / 65535)


def test_a_tile_inside_the_mask_is_equalized_as_if_it_were_alone():
    left = np.tile(np.arange(70) < 35, (60, 1))
    # Twice the same pixels have the same histogram.
    twice = np.hstack([SCAN[:, :35]] * 2)
    result, alone = CLAHE(tile_grid_size=1).transform([with_mask(SCAN, left), twice])
    np.testing.assert_array_equal(result.data[left], alone[left])


def test_the_luma_of_a_color_image_is_equalized():
    tint = np.dstack([SCAN, SCAN, SCAN + 20])
    result = CLAHE().transform([tint])[0].astype(int)
    unclipped = result.max(axis=2) < 255
    np.testing.assert_array_equal((result[..., 0] == result[..., 1])[unclipped], True)
    assert np.abs((result[..., 2] - result[..., 0])[unclipped] - 20).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_huge_clip_limit_does_not_clip(dtype):
    image = SCAN.astype(dtype)
    high, huge = (CLAHE(limit).transform([image])[0] for limit in (np.iinfo(dtype).max + 1, 1e300))
    np.testing.assert_array_equal(high, huge)
    assert np.ptp(high) > np.ptp(CLAHE(2).transform([image])[0])


def test_threshold_finds_a_spot_on_a_ramp():
    image = np.tile(np.linspace(0, 0.8, 60), (40, 1))
    image[18:22, 8:12] += 0.15
    result = AdaptiveThreshold(21, offset=-0.08).transform([image])[0]
    assert result.dtype == bool
    np.testing.assert_array_equal(np.argwhere(result)[[0, -1]], [(18, 8), (21, 11)])
    assert result.sum() == 4 * 4


@pytest.mark.parametrize("method", ["gaussian", "mean"])
@pytest.mark.parametrize("level", [0, 60, 195, 255])
def test_no_pixel_of_a_flat_region_is_above_the_threshold(method, level):
    flat = np.full((60, 60), level, np.uint8)
    for image in (flat, flat / 255, (flat / 255).astype(np.float32)):
        assert not AdaptiveThreshold(method=method).transform([image])[0].any()


@pytest.mark.parametrize(
    ("step", "parameters"),
    [
        *((Normalize, {"percentiles": pair}) for pair in ((98, 2), (5, 5), (0, 101), (1, 2, 3))),
        *((step, {"size": 4}) for step in (AdaptiveThreshold, Denoise, Despeckle)),
        (AdaptiveThreshold, {"offset": 2}),
        (Despeckle, {"dynamic_range": -60}),
    ],
)
def test_bad_parameters(step, parameters):
    """Others are in `test_parameters`."""
    (name,) = parameters
    with pytest.raises(InvalidParameterError, match=f"^{name} is "):
        step(**parameters).fit([np.zeros((2, 2))])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_even_image_can_be_equalized_after_rounding_errors(dtype):
    even = np.full((30, 40), 0.3, dtype)
    noise = np.spacing(even) * (np.arange(40) % 3).astype(dtype)
    expected, found = (HistogramEqualizer().transform([i])[0] for i in (even, even + noise))
    np.testing.assert_allclose(found, expected, atol=1e-4)
