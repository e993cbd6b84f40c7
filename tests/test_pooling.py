"""How a feature map becomes a row."""

import numpy as np
import pytest
from _pooling import STATISTICS, pool_pixels

from featbus.networks import is_pooling, pool, region_weights, windows
from featbus.networks._pooling import pool_layers

pytestmark = pytest.mark.network
GRIDS = ["avg2x2", "max3x2", "gem2x3", "std3x3"]


def run(maps, name, weights=None):
    """Pool maps as an engine does, as a part of a Keras model."""
    import keras

    inputs = [keras.Input(values.shape[1:]) for values in (maps, weights) if values is not None]
    model = keras.Model(inputs, pool(inputs[0], name, *inputs[1:], ops=keras.ops))
    values = [values for values in (maps, weights) if values is not None]
    return keras.ops.convert_to_numpy(model(values))


@pytest.fixture
def maps():
    return np.random.default_rng(0).normal(1, 2, (2, 5, 7, 3)).astype(np.float32)


def test_known_answers():
    maps = np.float32([[1, 2], [3, 6]])[None, :, :, None]
    assert run(maps, "avg").tolist() == [[3]]
    assert run(maps, "max").tolist() == [[6]]
    np.testing.assert_allclose(run(maps, "std"), [[np.sqrt(3.5)]], rtol=1e-6)
    np.testing.assert_allclose(run(maps, "gem"), [[63 ** (1 / 3)]], rtol=1e-6)  # (1+8+27+216)/4
    assert run(maps, "flatten").tolist() == [[1, 2, 3, 6]]
    assert run(maps, "avg1x2").tolist() == [[2, 4]]
    assert run(maps, "max2x1").tolist() == [[2, 6]]
    np.testing.assert_allclose(run(-maps, "gem"), [[1e-6]], rtol=1e-4)


def test_windows_are_those_of_adaptive_pooling(maps):
    rows = run(maps, "avg3x3").reshape(2, 3, 3, 3)
    # Of 5 rows: 0-1, 1-3, 3-4; of 7 columns: 0-2, 2-4, 4-6.
    np.testing.assert_allclose(rows[:, 0, 0], maps[:, 0:2, 0:3].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(rows[:, 1, 2], maps[:, 1:4, 4:7].mean((1, 2)), rtol=1e-5)
    labels = [window.label for window in windows("avg3x3", 5, 7)]
    assert labels == [f"avg3x3_r{row}c{column}" for row in range(3) for column in range(3)]


def test_a_grid_finer_than_the_map():
    maps = np.float32([[1, 2]])[None, :, :, None]
    assert run(maps, "avg3x3").tolist() == [[1, 1.5, 2] * 3]


@pytest.mark.parametrize("name", [*STATISTICS, *GRIDS])
def test_pooling_is_that_of_the_pixels_of_the_region(maps, name):
    """Whatever its size: regions of a pixel, of less and more than a cell, in several parts."""
    rng = np.random.default_rng(1)
    regions = np.zeros((6, 40, 56), bool)
    regions[0, 17, 30] = True
    regions[1, 15:18, 23:25] = True
    regions[2, 8:16, 8:16] = True
    regions[3, 3:30, 10:50] = True
    regions[4] = rng.random((40, 56)) < 0.01
    regions[5] = True
    regions = regions.astype(np.float32)
    (weights,) = region_weights(regions, [maps.shape[1:]])
    batch = maps[[0, 1, 0, 1, 0, 1]]
    expected = [pool_pixels(*pair, name) for pair in zip(batch, regions > 0)]
    np.testing.assert_allclose(run(batch, name, weights), expected, rtol=1e-4, atol=1e-5)
    (rows,) = pool_layers([(batch, None)], [name], regions)
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*STATISTICS, "gem2x2"])
def test_gradients_are_finite(maps, name):
    """Networks are trained through the pooling, with dead channels and with small regions."""
    import keras

    tensorflow = pytest.importorskip("tensorflow")
    weights = np.zeros((2, 5, 7, 1), np.float32)
    weights[:, 2, 2] = 0.1
    cells = tensorflow.Variable(maps * np.float32([0, 1, 1]))
    with tensorflow.GradientTape() as tape:
        total = tensorflow.reduce_sum(pool(cells, name, tensorflow.constant(weights), keras.ops))
    assert np.isfinite(tape.gradient(total, cells).numpy()).all()


def test_weights_are_shares_of_area():
    region = np.zeros((1, 6, 8), np.float32)
    region[0, :3, :5] = 1
    small, single, odd = region_weights(region, [(3, 4, 9), (1, 1, 9), (4, 4, 9)])
    expected = np.outer([1, 0.5, 0], [1, 1, 0.5, 0])
    np.testing.assert_allclose(small[0, :, :, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(single, 15 / 48, rtol=1e-6)
    expected = np.outer([1, 1, 0, 0], [1, 1, 0.5, 0])
    np.testing.assert_allclose(odd[0, :, :, 0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["sum", "avg2", "avg0x2", "flatten2x2", "avg2x2 ", "AVG", None, 3, ("avg",)]
)
def test_no_pooling(name):
    assert not is_pooling(name)
    assert all(map(is_pooling, ["avg", "max3x3", "gem2x1", "std", "flatten", "cls"]))


def test_a_map_of_one_number():
    one = np.full((1, 1, 1, 1), 0.5, np.float32)
    rows = pool_layers([(one, None)], ["avg", "max", "gem", "flatten"], np.ones((1, 1, 1)))
    assert np.ravel(rows).tolist() == [0.5] * 4
