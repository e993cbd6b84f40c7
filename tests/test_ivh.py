"""IntensityVolumeHistogram."""

import numpy as np
import pytest
from _texture import IBSI, NOISE, level_maps
from _texture import row_of as any_row_of
from hypothesis import given, settings
from hypothesis import strategies as st

from featbus import IntensityVolumeHistogram
from featbus.feature_extraction._ivh import volume_histogram_features
from featbus.masks import with_mask


def row_of(image, **parameters):
    return any_row_of(IntensityVolumeHistogram, image, **parameters)


def volume(values, level):
    return np.mean([value >= level for value in values])


def volume_at(fraction, values, n_levels):
    """Return the largest volume at the levels of an intensity fraction or a higher one."""
    allowed = [i for i in range(1, n_levels + 1) if i - 1 >= fraction * (n_levels - 1)]
    return volume(values, allowed[0]) if n_levels > 1 else 0


def intensity_at(fraction, values, n_levels):
    """Return the lowest level that at most a fraction of the pixels has, or a higher one."""
    allowed = [i for i in range(1, n_levels + 1) if volume(values, i) <= fraction]
    return allowed[0] if allowed else n_levels + 1


@settings(max_examples=50, deadline=None)
@given(level_maps(), st.integers(0, 9))
def test_features_equal_those_of_a_loop(levels, n_more):
    values, n_levels = levels.compressed(), int(levels.max()) + n_more
    v10, v90 = (volume_at(fraction, values, n_levels) for fraction in (0.1, 0.9))
    i10, i90 = (intensity_at(fraction, values, n_levels) for fraction in (0.1, 0.9))
    features = list(volume_histogram_features(levels, n_levels).values())
    np.testing.assert_allclose(features, [v10, v90, i10, i90, v10 - v90, i10 - i90])


def test_ibsi_digital_phantom_through_the_estimator():
    phantom = np.ma.masked_invalid((np.array(IBSI["phantom"], float) - 1) / 5).reshape(16, 5)
    row = row_of(phantom, levels=6)
    for name, reference in IBSI["references"]["intensity-volume histogram"].items():
        assert float(f"{row[name]:.3g}") == reference, name


@pytest.mark.parametrize("bins", [{"levels": 256}, {"bin_width": 1 / 255}])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_fractions_of_a_range_are_those_of_black_and_white(bins, dtype):
    top = 1 if dtype is np.float32 else np.iinfo(dtype).max // 255
    image = (np.repeat([20, 40, 250], [5, 3, 2]).reshape(2, 5) * top).astype(dtype)
    image = image / np.float32(255) if dtype is np.float32 else image
    row = row_of(image, intensity_range=(0, 1), **bins)
    assert row["volume_at_intensity_fraction_10"] == pytest.approx(0.5)
    assert row["volume_at_intensity_fraction_90"] == pytest.approx(0.2)
    # No more than 10 % of the pixels: above 250. At most 90 %: above 20.
    assert row["intensity_at_volume_fraction_10"] == 252
    assert row["intensity_at_volume_fraction_90"] == 22
    assert row_of(image, **bins)["volume_at_intensity_fraction_10"] == pytest.approx(0.2)


def test_gain_and_offset_do_not_matter_without_a_range():
    image = NOISE // 3
    assert row_of(image) == row_of(image * np.uint8(2) + np.uint8(7))


def test_only_the_region_counts():
    inside = np.zeros(NOISE.shape, bool)
    inside[10:20, 10:30] = True
    assert row_of(with_mask(NOISE, inside)) == row_of(NOISE[10:20, 10:30])


def test_the_highest_level_of_a_range_is_that_of_white():
    image = np.array([[26, 217, 217, 217]], np.uint8)  # levels 2 and 9 of 10: 8 / 9 is below 90 %
    row = row_of(image, levels=10, intensity_range=(0, 1))
    assert row["volume_at_intensity_fraction_90"] == 0
