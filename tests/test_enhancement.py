"""What all enhancement steps have in common: masks, dtypes, color."""

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
    ImageFunction,
    Normalize,
    RemoveAnnotations,
)
from featbus.color import to_float
from featbus.images import fill_value
from featbus.masks import inside_mask, with_mask
from featbus.preprocessing._pixels import extend

# Each step, and how much the result of the same image in another dtype may differ. CLAHE counts
# 65,536 levels at 16 bits, which is another image in small tiles: see tests/test_clahe.py.
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
def test_what_lies_outside_does_not_matter(step):
    inside = disc()
    masked = with_mask(scan(), inside)
    other = with_mask(np.where(inside, masked.data, 255).astype(np.uint8), inside)
    first, second = step.transform([masked])[0], step.transform([other])[0]
    np.testing.assert_array_equal(inside_mask(first), inside)
    np.testing.assert_array_equal(first.compressed(), second.compressed())


@steps
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_outside_may_be_nan(step, dtype):
    inside = disc()
    pixels = to_float(scan(), dtype)
    expected = step.transform([with_mask(pixels, inside)])[0]
    result = step.transform([with_mask(np.where(inside, pixels, np.nan), inside)])[0]
    np.testing.assert_array_equal(result.compressed(), expected.compressed())


@steps
def test_a_mask_around_everything_changes_nothing(step):
    image = scan()
    inside = np.ones(image.shape, bool)
    inside[0, 0] = False
    image[0, 0] = image[0, 1]
    plain = step.transform([image])[0]
    masked = step.transform([with_mask(image, inside)])[0]
    # One pixel fewer in histograms and percentiles moves them by a hair.
    difference = np.abs(to_float(masked).compressed() - to_float(plain).ravel()[1:])
    assert np.percentile(difference, 99.5) <= 3 / 255


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
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2)])
def test_tiny_images(step, shape):
    assert np.isfinite(step.transform([np.full(shape, 0.25)])[0]).all()


@steps
@pytest.mark.parametrize("value", [0, 77, 255])
def test_one_value_stays_one_value(step, value):
    result = step.transform([np.full((40, 40), value, np.uint8)])[0]
    assert len(np.unique(result)) == 1


@steps
def test_a_region_of_one_pixel(step):
    inside = np.zeros((20, 20), bool)
    inside[7, 9] = True
    result = step.transform([with_mask(np.full((20, 20), 0.5), inside)])[0]
    assert np.isfinite(result.compressed()).all()


def test_the_outside_is_continued_by_the_nearest_pixel_inside():
    image = np.arange(25, dtype=np.uint8).reshape(5, 5)
    inside = np.zeros((5, 5), bool)
    inside[2:4, 1:4] = True
    expected = image[np.clip(np.arange(5), 2, 3)][:, np.clip(np.arange(5), 1, 3)]
    np.testing.assert_array_equal(extend(with_mask(image, inside)), expected)


def test_image_function_does_not_bleed():
    inside = disc()
    image = with_mask(np.where(inside, 100, 255).astype(np.uint8), inside)
    smooth = ImageFunction(np.copy).transform([image])[0]
    assert set(smooth.compressed()) == {100}
