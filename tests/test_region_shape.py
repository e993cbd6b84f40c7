"""The shape of a region."""

import numpy as np
import pytest

from featbus.masks import region_shape


def disc(radius, center=(100, 100)):
    row, column = np.ogrid[:200, :200]
    return np.hypot(row - center[0], column - center[1]) <= radius


def test_a_disc():
    region, circularity = region_shape(disc(60))
    assert region.area == disc(60).sum()
    assert circularity == pytest.approx(1, rel=0.01)
    assert region.centroid == pytest.approx((100, 100))


def test_a_rectangle():
    inside = np.zeros((50, 80), dtype=bool)
    inside[10:20, 30:70] = True
    region, circularity = region_shape(inside)
    assert region.bbox == (10, 30, 20, 70)
    assert region.area == 400
    assert circularity == 4 * np.pi * 400 / region.perimeter_crofton**2
    assert circularity == pytest.approx(4 * np.pi * 400 / 100**2, rel=0.15)


def test_parts_count_as_one_region():
    parts = disc(20, (50, 50)) | disc(20, (150, 150))
    region, circularity = region_shape(parts)
    assert region.area == 2 * disc(20).sum()
    assert region.euler_number == 2
    assert circularity == pytest.approx(0.5, rel=0.05)
