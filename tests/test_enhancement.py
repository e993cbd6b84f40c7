"""Steps that change brightness and contrast, and what all enhancement steps have in common."""

import cv2
import numpy as np
import pytest

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
from featbus.images import fill_value
from featbus.masks import inside_mask, with_mask
from featbus.parameters import InvalidParameterError
from featbus.preprocessing._pixels import extend

# Each step, and how much the result of the same image in another dtype may differ. CLAHE counts
# 65,536 levels at 16 bits, which is another image in small tiles.
STEPS = [
    pytest.param(HistogramEqualizer(), 1 / 64, id="HistogramEqualizer"),
    pytest.param(ContrastStretch(), 0.5 / 255 + 1e-6, id="ContrastStretch"),
    pytest.param(Normalize(), 1e-6, id="Normalize"),
    pytest.param(Normalize("percentile"), 1e-6, id="Normalize-percentile"),
    pytest.param(GammaCorrection(), 0.5 / 255 + 1e-6, id="GammaCorrection"),
    *(
        pytest.param(Denoise(method), 2 / 255, id=f"Denoise-{method}")
        for method in ("median", "gaussian", "bilateral", "nlmeans", "tv")
    ),
    *(
        pytest.param(Despeckle(method, n_iterations=10), 1 / 255, id=f"Despeckle-{method}")
        for method in ("lee", "kuan", "frost", "srad")
    ),
    pytest.param(Despeckle(dynamic_range=60), 1 / 255, id="Despeckle-log"),
    pytest.param(AdaptiveThreshold(9), 0, id="AdaptiveThreshold"),
    pytest.param(RemoveAnnotations(), 1 / 255, id="RemoveAnnotations"),
    pytest.param(CLAHE(), None, id="CLAHE"),
]
steps = pytest.mark.parametrize("step", [pytest.param(p.values[0], id=p.id) for p in STEPS])


def scan(shape=(60, 70)):
    """Return speckle on a ramp, with a bright cross on it, as a scanner would burn it in."""
    rng = np.random.default_rng(0)
    gray = np.linspace(20, 120, shape[1]) * rng.rayleigh(0.8, shape)
    image = np.clip(gray, 1, 200).astype(np.uint8)
    image[20:31, 25:27] = image[25:27, 20:31] = 226
    return image


def disc(shape=(60, 70)):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - 30, columns - 32) < 25


@steps
@pytest.mark.parametrize("outside", [np.nan, 1])
def test_pixels_outside_the_mask_do_not_matter(step, outside):
    inside = disc()
    pixels = to_float(scan())
    expected = step.transform([with_mask(pixels, inside)])[0]
    other = np.where(inside, pixels, np.float32(outside))
    result = step.transform([with_mask(other, inside)])[0]
    np.testing.assert_array_equal(inside_mask(result), inside)
    np.testing.assert_array_equal(result.compressed(), expected.compressed())


@steps
def test_fill_value_and_pixels_outside_stay(step):
    image = with_mask(scan(), disc(), fill_value=51)
    result = step.transform([image])[0]
    assert to_float(result).fill_value == pytest.approx(0.2 if result.dtype != bool else 0)
    if result.dtype == image.dtype:
        assert fill_value(result) == 51
        np.testing.assert_array_equal(result.data[~disc()], image.data[~disc()])


@pytest.mark.parametrize(("step", "tolerance"), [p for p in STEPS if p.values[1] is not None])
@pytest.mark.parametrize("masked", [False, True])
def test_dtypes_agree(step, tolerance, masked):
    inside = disc() if masked else None
    image = scan()
    expected = to_float(step.transform([with_mask(image, inside)])[0], np.float64)
    others = [image.astype(np.uint16) * 257, to_float(image), to_float(image, np.float64)]
    for other in others:
        result = step.transform([with_mask(other, inside)])[0]
        assert result.dtype in (other.dtype, bool, np.float32)
        difference = np.abs(to_float(result, np.float64) - expected)
        assert difference.max() <= tolerance


@steps
def test_equal_channels_stay_equal(step):
    gray = step.transform([scan()])[0]
    color = step.transform([np.repeat(scan()[..., None], 3, axis=2)])[0]
    color = color if color.ndim == 3 else np.repeat(color[..., None], 3, axis=2)
    np.testing.assert_allclose(
        to_float(color), np.repeat(to_float(gray)[..., None], 3, axis=2), atol=1.01 / 255
    )


@steps
def test_alpha_stays(step):
    image = np.dstack([scan(), scan(), scan()[::-1], np.full((60, 70), 255, np.uint8)])
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
def test_normalized_values_fill_the_range(dtype):
    top = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    narrow = 0.9 + np.random.default_rng(0).integers(0, 6, (20, 20)) / max(top, 255)
    image = (narrow * top).astype(dtype)
    result = Normalize().transform([image])[0]
    assert result.dtype == (np.float64 if dtype is np.float64 else np.float32)
    expected = (image.astype(float) - image.min()) / np.ptp(image.astype(float))
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_normalize_takes_the_percentiles_of_numpy():
    image = np.random.default_rng(0).random((30, 30))
    low, high = np.percentile(image, (5, 90))
    expected = np.clip((image - low) / (high - low), 0, 1)
    result = Normalize("percentile", percentiles=(5, 90)).transform([image])[0]
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_equalized_values_are_shares_of_the_region():
    image = np.array([[10, 10, 20, 30, 255]], np.uint8)
    for pixels, top in ((image, 255), (image * np.uint16(257), 65535)):
        result = HistogramEqualizer().transform([with_mask(pixels, image < 255)])[0]
        np.testing.assert_array_equal(
            result.compressed(), np.rint([top / 2] * 2 + [0.75 * top, top])
        )


@pytest.mark.parametrize("gamma", [0.5, 2.2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gamma_of_all_levels(gamma, dtype):
    levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)[np.newaxis]
    expected = np.rint((levels / levels.max()) ** gamma * levels.max())
    np.testing.assert_array_equal(GammaCorrection(gamma).transform([levels])[0], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("percentiles", [(2, 98), (0, 100)])
def test_limits_of_a_stretch_are_those_of_numpy(dtype, percentiles):
    top = np.iinfo(dtype).max
    image = np.random.default_rng(0).integers(top // 4, top // 2, (40, 30)).astype(dtype)
    low, high = np.percentile(image, percentiles)
    expected = np.rint(np.clip((image - low) / (high - low), 0, 1) * top)
    np.testing.assert_array_equal(ContrastStretch(percentiles).transform([image])[0], expected)


@pytest.mark.parametrize(
    ("step", "expected"), [(Normalize(), [0, 0.5, 1]), (ContrastStretch((0, 100)), [0, 128, 255])]
)
def test_only_the_region_sets_the_limits(step, expected):
    image = np.array([[0, 100, 110, 120, 255]], np.uint8)
    inside = np.array([[False, True, True, True, False]])
    result = step.transform([with_mask(image, inside)])[0]
    np.testing.assert_allclose(result.compressed(), expected, atol=1e-6)


def speckle(shape, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    return (np.clip(rng.rayleigh(0.2, shape), 0, 1) * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(64, 96), (61, 97)])
@pytest.mark.parametrize(("limit", "grid"), [(2.0, (8, 8)), (4.0, (2, 5))])
def test_clahe_is_that_of_opencv(dtype, shape, limit, grid):
    image = speckle(shape, dtype)
    expected = cv2.createCLAHE(limit, grid[::-1]).apply(image)
    result, floating = CLAHE(limit, tile_grid_size=grid).transform([image, to_float(image)])
    np.testing.assert_array_equal(result, expected)
    if dtype is np.uint16:
        np.testing.assert_allclose(floating, to_float(expected), atol=1.01 / 65535)


def test_a_tile_inside_the_mask_is_equalized_as_if_it_were_alone():
    image = speckle((64, 64))
    inside = np.zeros((64, 64), bool)
    inside[:, :32] = True
    result = CLAHE(tile_grid_size=1).transform([with_mask(image, inside)])[0]
    # Twice the same pixels have the same histogram.
    alone = CLAHE(tile_grid_size=1).transform([np.hstack([image[:, :32]] * 2)])[0]
    np.testing.assert_array_equal(result.data[:, :32], alone[:, :32])


def test_of_a_color_image_the_luma_is_equalized():
    gray = speckle((64, 64))
    tint = np.clip(np.dstack([gray, gray, gray.astype(int) + 20]), 0, 255).astype(np.uint8)
    result = CLAHE().transform([tint])[0].astype(int)
    unclipped = result.max(axis=2) < 255
    np.testing.assert_array_equal((result[..., 0] == result[..., 1])[unclipped], True)
    assert np.abs((result[..., 2] - result[..., 0])[unclipped & (gray < 235)] - 20).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_huge_clip_limit_is_none(dtype):
    rng = np.random.default_rng(0)
    image = rng.integers(90, 120, (64, 64)).astype(dtype)
    high, huge = (CLAHE(limit).transform([image])[0] for limit in (np.iinfo(dtype).max + 1, 1e300))
    np.testing.assert_array_equal(high, huge)
    assert np.ptp(high) > np.ptp(CLAHE(2).transform([image])[0])


def test_threshold_finds_a_spot_on_a_ramp():
    image = np.tile(np.linspace(0, 0.8, 60), (40, 1))
    image[18:22, 8:12] += 0.15
    result = AdaptiveThreshold(21, offset=-0.08).transform([image])[0]
    assert result.dtype == bool
    rows, columns = np.nonzero(result)
    assert (set(rows), set(columns)) == (set(range(18, 22)), set(range(8, 12)))


@pytest.mark.parametrize("method", ["gaussian", "mean"])
@pytest.mark.parametrize("level", [0, 60, 195, 255])
def test_no_pixel_of_a_flat_region_is_above_the_threshold(method, level):
    flat = np.full((60, 60), level, np.uint8)
    for image in (flat, flat / 255, (flat / 255).astype(np.float32)):
        assert not AdaptiveThreshold(method=method).transform([image])[0].any()


@pytest.mark.parametrize(
    ("step", "parameters"),
    [
        (Normalize, {"method": "z-score"}),
        *(
            (step, {"percentiles": percentiles})
            for step in (Normalize, ContrastStretch)
            for percentiles in ((98, 2), (5, 5), (0, 101), (1, 2, 3))
        ),
        (GammaCorrection, {"gamma": 0}),
        (CLAHE, {"clip_limit": 0}),
        (CLAHE, {"tile_grid_size": (2, 3, 4)}),
        *((step, {"size": 4}) for step in (AdaptiveThreshold, Denoise, Despeckle)),
        (AdaptiveThreshold, {"offset": 2}),
        (Denoise, {"strength": 0}),
        (Despeckle, {"dynamic_range": -60}),
    ],
)
def test_bad_parameters(step, parameters):
    (name,) = parameters
    with pytest.raises(InvalidParameterError, match=f"^{name} is "):
        step(**parameters).fit([np.zeros((2, 2))])
