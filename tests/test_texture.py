"""What the families of gray levels share: gray levels, regions, parameters, reference values."""

import numpy as np
import pytest
from _texture import IBSI, NOISE, row_of

from featbus import GLCM, GLDZM, GLRLM, GLSZM, NGLDM, NGTDM, IntensityVolumeHistogram
from featbus.feature_extraction._texture import gray_levels
from featbus.images import ImageError
from featbus.masks import with_mask

FAMILIES = [GLCM, GLRLM, GLSZM, GLDZM, NGTDM, NGLDM, IntensityVolumeHistogram]


def copies(image):
    """Return an image of 8 bits in four dtypes."""
    return image, image * np.uint16(257), image / 255, (image / 255).astype(np.float32)


@pytest.mark.parametrize(
    ("extractor", "aggregation", "family"),
    [
        (GLCM, "average", "co-occurrence, 2D averaged"),
        (GLCM, "merge", "co-occurrence, 2D merged"),
        (GLRLM, "average", "run length, 2D averaged"),
        (GLRLM, "merge", "run length, 2D merged"),
        (GLSZM, None, "size zone, 2D"),
        (GLDZM, None, "distance zone, 2D"),
        (NGTDM, None, "gray-tone difference, 2D"),
        (NGLDM, None, "gray-level dependence, 2D"),
    ],
)
def test_ibsi_digital_phantom_through_the_estimator(extractor, aggregation, family):
    phantom = np.array(IBSI["phantom"], float)
    # A level a bin, whatever levels the slice has: bins of 1/5 from 0 on.
    images = np.ma.masked_invalid((phantom - 1) / 5)
    options = {"levels": 6, "intensity_range": (0, 1.2)}
    options |= {"aggregation": aggregation} if aggregation else {}
    rows = [row_of(extractor, image, **options) for image in images]
    references = IBSI["references"][family]
    assert set(references) <= set(rows[0])
    for name, reference in references.items():
        if name.startswith("normalised_inverse"):
            continue  # by the levels of each slice, not of the phantom
        assert float(f"{np.mean([row[name] for row in rows]):.3g}") == reference, name


@pytest.mark.parametrize("width", [1, 7, 25])
@pytest.mark.parametrize("darkest", [0, 5, 99])
def test_bins_of_a_width_lie_at_its_multiples(width, darkest):
    image = np.arange(darkest, 256, dtype=np.uint8).reshape(1, -1)
    expected = image.astype(int) // width - darkest // width + 1  # as pyradiomics defines it
    for copy in copies(image):
        np.testing.assert_array_equal(gray_levels(copy, bin_width=width / 255), expected)


@pytest.mark.parametrize("width", [1, 7, 25])
@pytest.mark.parametrize("low", [0, 13])
def test_bins_of_a_width_start_at_the_lower_bound_of_a_range(width, low):
    image = np.arange(40, 200, dtype=np.uint8).reshape(1, -1)
    expected = (image.astype(int) - low) // width + 1  # as the IBSI defines it
    levels = gray_levels(image, bin_width=width / 255, intensity_range=(low / 255, 1))
    np.testing.assert_array_equal(levels, expected)


@pytest.mark.parametrize("intensity_range", [None, (0, 1)])
def test_the_darkest_pixel_of_a_region_moves_no_edge(intensity_range):
    options = {"bin_width": 8 / 255, "intensity_range": intensity_range}
    image = NOISE // 2 + np.uint8(60)
    levels = gray_levels(image, **options)[1:].astype(int)
    for darkest in range(image.min()):
        image[0, 0] = darkest
        moved = gray_levels(image, **options)[1:] - levels
        assert np.ptp(moved) == 0
        assert intensity_range is None or not moved.any()


@pytest.mark.parametrize("levels", [2, 32, 256])
def test_copies_of_another_dtype_have_the_same_levels(levels):
    # More pixels than values of the dtype, and fewer.
    for image in (NOISE[:2, :60], np.tile(NOISE, (7, 7))):
        image = np.clip(image, 60, 188)  # 128 steps: values lie on the edges of bins.
        reference = (image.astype(int) - 60) * levels // 128
        reference = np.minimum(reference, levels - 1) + 1
        for copy in copies(image):
            np.testing.assert_array_equal(gray_levels(copy, levels), reference)


@pytest.mark.parametrize("gain", [1, 1e-5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gain_moves_no_level_of_floating_point_images(dtype, gain):
    image = np.arange(256).reshape(16, 16)
    levels = gray_levels((image / 255 * gain).astype(dtype))
    np.testing.assert_array_equal(levels, gray_levels(image.astype(np.uint8)))


@pytest.mark.parametrize("levels", [32, 256])
def test_12_of_16_bits_in_single_precision_have_the_same_levels(levels):
    image = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    found = gray_levels(np.float32(image / 65535), levels)
    np.testing.assert_array_equal(found, gray_levels(image, levels))


@pytest.mark.parametrize("extractor", FAMILIES)
def test_16_bits_are_not_wrapped_to_8_and_color_counts_by_its_luma(extractor):
    expected = row_of(extractor, NOISE)
    assert row_of(extractor, NOISE + np.uint16(30000)) == expected
    assert row_of(extractor, np.stack([NOISE] * 3, axis=2)) == expected
    # 0 in the last 8 bits.
    coarse = np.repeat([256, 512], 8).astype(np.uint16).reshape(4, 4)
    assert row_of(extractor, coarse, levels=2) == row_of(extractor, coarse > 256, levels=2)


@pytest.mark.parametrize("extractor", FAMILIES)
@pytest.mark.parametrize("parameters", [{}, {"bin_width": 0.1}, {"intensity_range": (0, 1)}])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint16, np.float32])
def test_constant_image(extractor, parameters, dtype):
    angles = {"angles": 0} if extractor is GLRLM else {}
    row = row_of(extractor, np.ones((5, 6), dtype), **angles, **parameters)
    assert np.isfinite(list(row.values())).all()
    # Pixels at the border have fewer neighbors.
    row = {name: row[name] for name in row if not name.startswith("dependence_count")}
    assert not any(row[name] for name in row if name.endswith(("entropy", "variance")))


@pytest.mark.parametrize("extractor", FAMILIES)
def test_pixels_outside_the_region_do_not_matter(extractor):
    inside = np.zeros(NOISE.shape, bool)
    inside[10:20, 10:30] = True
    inside[12:14, 15:17] = False
    first, second = (
        row_of(extractor, with_mask(np.where(inside, NOISE, np.uint8(outside)), inside), levels=3)
        for outside in (0, 255)
    )
    assert first == second
    inside[12:14, 15:17] = True
    crop = row_of(extractor, NOISE[10:20, 10:30])
    assert row_of(extractor, with_mask(NOISE, inside)) == crop


def test_too_many_levels_in_an_image():
    with pytest.raises(ImageError, match="image 0: .* at most 1024"):
        GLCM(bin_width=1e-5).transform([NOISE])
