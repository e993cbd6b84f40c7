"""FourierEnergy."""

import numpy as np
import pytest

from featbus import FourierEnergy
from featbus.feature_extraction._fourier import power_spectrum
from featbus.masks import with_mask

NOISE = np.random.default_rng(0).integers(0, 256, (24, 33)).astype(np.uint8)


def row_of(image, **parameters):
    fourier = FourierEnergy(dtype=np.float64, **parameters).set_output(transform="pandas")
    row = fourier.fit_transform([image]).iloc[0]
    return row.rename(lambda name: name.removeprefix("fourier_"))


def grating(frequency, degrees, shape=(96, 128)):
    row, column = np.indices(shape)
    angle = np.deg2rad(degrees)
    along = column * np.cos(angle) - row * np.sin(angle)
    return 0.5 + 0.4 * np.cos(2 * np.pi * frequency * along)


@pytest.mark.parametrize("degrees", [0, 45, 90, 135])
@pytest.mark.parametrize(("frequency", "ring"), [(0.09, 2), (0.22, 4), (0.47, 8)])
def test_a_grating_is_in_one_ring_and_one_wedge(degrees, frequency, ring):
    row = row_of(grating(frequency, degrees), n_wedges=4)
    assert row[f"ring_{ring:02}"] > 0.99
    assert row[f"wedge_{degrees:03}"] > 0.99


def test_equal_to_sums_over_the_fourier_transform():
    inside = np.ones(NOISE.shape, bool)
    inside[:9, :14] = False
    height, width = NOISE.shape
    window = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in NOISE.shape))
    window *= inside
    values = NOISE / 255
    values = (values - np.sum(window * values) / window.sum()) * window
    rings, wedges = np.zeros(5), np.zeros(6)
    rows, columns = np.indices(NOISE.shape)
    for u in range(-(height // 2), (height + 1) // 2):
        for v in range(-(width // 2), (width + 1) // 2):
            frequency = np.hypot(u / height, v / width)
            if 0 < frequency <= 0.5:
                wave = np.exp(-2j * np.pi * (u * rows / height + v * columns / width))
                power = abs(np.sum(values * wave)) ** 2
                rings[min(int(frequency * 10 + 1e-9), 4)] += power
                angle = np.degrees(np.arctan2(-u / height, v / width))
                wedges[int((angle + 15 + 1e-6) // 30) % 6] += power
    expected = np.concatenate([rings, wedges]) / rings.sum()
    found = row_of(with_mask(NOISE, inside), n_rings=5, n_wedges=6)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_shares_add_up_to_1_whatever_gain_and_offset():
    row = row_of(NOISE)
    assert row.filter(like="ring").sum() == pytest.approx(1)
    assert row.filter(like="wedge").sum() == pytest.approx(1)
    np.testing.assert_allclose(row_of(0.3 + NOISE / 510), row, atol=1e-9)


def test_noise_fills_rings_by_their_area():
    image = np.random.default_rng(1).random((256, 256))
    rings = row_of(image, n_rings=4).filter(like="ring")
    np.testing.assert_allclose(rings, np.array([1, 3, 5, 7]) / 16, atol=0.02)


def test_pixels_outside_and_position_do_not_matter():
    inside = np.zeros(NOISE.shape, bool)
    inside[4:20, 5:30] = True
    inside[4:9, 5:12] = False
    expected = row_of(with_mask(NOISE, inside))
    changed = np.where(inside, NOISE, 255).astype(np.uint8)
    np.testing.assert_array_equal(row_of(with_mask(changed, inside)), expected)
    image = NOISE / 255
    spoiled = np.ma.masked_invalid(np.where(inside, image, np.nan))
    np.testing.assert_array_equal(row_of(spoiled), row_of(with_mask(image, inside)))
    moved = [np.pad(part, ((3, 7), (2, 0))) for part in (NOISE, inside)]
    np.testing.assert_array_equal(row_of(with_mask(*moved)), expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (20, 30)])
def test_an_even_image_has_no_energy(shape):
    assert (row_of(np.full(shape, 0.3)) == 0).all()
    power, frequency, _ = power_spectrum(np.full(shape, 0.3), np.ones(shape, bool))
    assert len(power) == len(frequency)


def test_names():
    names = FourierEnergy(n_rings=2, n_wedges=8).get_feature_names_out().tolist()
    assert names[1:4] == ["fourier_ring_02", "fourier_wedge_000", "fourier_wedge_022.5"]
