"""LBP."""

import numpy as np
import pytest
from skimage.feature import local_binary_pattern

from featbus import LBP
from featbus.feature_extraction import lbp_codes
from featbus.images import with_mask

NOISE = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)


@pytest.mark.parametrize("method", ["default", "ror", "uniform", "nri_uniform"])
@pytest.mark.parametrize(("n_points", "radius"), [(8, 1), (8, 2), (12, 2.5)])
def test_codes_and_histogram_equal_scikit_image(method, n_points, radius):
    expected = local_binary_pattern(NOISE, n_points, radius, method)
    np.testing.assert_array_equal(lbp_codes(NOISE, n_points, radius, method), expected)
    extractor = LBP(n_points=n_points, radius=radius, method=method)
    row = extractor.transform([NOISE])[0]
    assert len(row) == len(extractor.get_feature_names_out())
    counts = np.bincount(expected.astype(int).ravel(), minlength=len(row))
    np.testing.assert_allclose(row, counts / NOISE.size, rtol=1e-6)


def test_a_bright_spot_has_pattern_0_and_a_dark_spot_pattern_8():
    image = np.full((5, 5), 100, np.uint8)
    image[2, 2] = 200
    assert lbp_codes(image)[2, 2] == 0
    image[2, 2] = 0
    assert lbp_codes(image)[2, 2] == 8


def test_brightness_does_not_matter():
    # Not at the border, where neighbours count as 0.
    inside = np.pad(np.ones((38, 48), bool), 1)
    dark = (NOISE // 2).astype(np.uint8)
    rows = LBP().transform([with_mask(dark, inside), with_mask(dark + 60, inside)])
    np.testing.assert_array_equal(rows[0], rows[1])


def test_rotation_does_not_matter_to_uniform_patterns_of_the_interior():
    inside = np.zeros(NOISE.shape, bool)
    inside[1:-1, 1:-1] = True
    image = with_mask(NOISE, inside)
    rows = LBP().transform([image, np.ma.MaskedArray(np.rot90(image), np.rot90(image.mask))])
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-6)


def test_only_circles_inside_the_region_count():
    inside = np.zeros(NOISE.shape, bool)
    inside[10:20, 10:30] = True
    first, second = (
        with_mask(np.where(inside, NOISE, outside).astype(np.uint8), inside) for outside in (0, 255)
    )
    rows = LBP(radius=2).transform([first, second])
    np.testing.assert_array_equal(rows[0], rows[1])
    expected = np.bincount(lbp_codes(NOISE, 8, 2)[12:18, 12:28].ravel(), minlength=10)
    np.testing.assert_allclose(rows[0], expected / expected.sum(), rtol=1e-6)


def test_a_region_smaller_than_the_circle_is_an_error():
    inside = np.zeros(NOISE.shape, bool)
    inside[5:7, 5:7] = True
    with pytest.raises(ValueError, match="image 0: the region holds no circle of radius 1"):
        LBP().transform([with_mask(NOISE, inside)])


def test_floating_point_images_raise_no_warning(recwarn):
    row = LBP().transform([NOISE / 255])
    np.testing.assert_allclose(row, LBP().transform([NOISE]), atol=0.01)
    assert not recwarn.list


def test_bad_method():
    with pytest.raises(ValueError, match="method is 'median'"):
        LBP(method="median").transform([NOISE])
