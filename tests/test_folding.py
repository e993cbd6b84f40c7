import numpy as np
import pytest
from _networks import make_network

from featbus.networks import KerasEngine
from featbus.networks._engines import fold

keras = pytest.importorskip("keras")
layers = keras.layers
SHAPE = (9, 8, 3)


def randomize(model):
    """Give the normalizations what training leaves in them."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in layer.get_weights()])
    return model


def n_normalizations(model):
    return sum(isinstance(layer, layers.BatchNormalization) for layer in model.layers)


def assert_folds(model, n_left):
    randomize(model)
    folded = fold(model)
    assert n_normalizations(folded) == n_left
    images = np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32)
    expected = keras.tree.flatten(model(images, training=False))
    found = keras.tree.flatten(folded(images, training=False))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    # The model itself stays as it is.
    for ours, theirs in zip(keras.tree.flatten(model(images, training=False)), expected):
        np.testing.assert_array_equal(ours, theirs)
    return folded


@pytest.mark.parametrize(
    "convolution",
    [
        layers.Conv2D(6, 3, use_bias=False),
        layers.Conv2D(6, 3, strides=2, padding="same", bias_initializer="ones"),
        layers.Conv2D(6, 3, groups=3, dilation_rate=2),
        layers.DepthwiseConv2D(3, use_bias=False),
        layers.DepthwiseConv2D(3, depth_multiplier=2, bias_initializer="ones"),
        layers.SeparableConv2D(6, 3, use_bias=False),
        layers.SeparableConv2D(6, 3, depth_multiplier=2, bias_initializer="ones"),
    ],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False, "epsilon": 1e-5}])
def test_what_can_be_folded(convolution, options):
    convolution = type(convolution).from_config(convolution.get_config())
    images = keras.Input(SHAPE)
    normalized = layers.BatchNormalization(**options)(convolution(images))
    assert_folds(keras.Model(images, layers.ReLU(max_value=6)(normalized)), 0)


def test_several_in_a_row_with_a_shortcut():
    images = keras.Input(SHAPE)
    first = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(images)))
    second = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(first))
    output = layers.Conv2D(2, 1)(layers.add([first, second]))
    assert_folds(keras.Model(images, output), 0)


def test_what_stays():
    images = keras.Input(SHAPE)
    normalize = layers.BatchNormalization

    def convolve(**options):
        return layers.Conv2D(4, 3, **options)

    # Behind an activation, behind no convolution, of other axes.
    active = normalize()(convolve(activation="relu")(images))
    added = normalize()(layers.add([convolve()(images), convolve()(images)]))
    rows = normalize(axis=1)(convolve()(images))
    assert_folds(keras.Model(images, [active, added, rows]), 3)
    # A feature map that is taken itself, or goes elsewhere, too.
    tapped = convolve()(images)
    shared = convolve()(images)
    assert_folds(
        keras.Model(
            images, [tapped, normalize()(tapped), layers.add([normalize()(shared), shared])]
        ),
        2,
    )
    # Layers that are called twice.
    convolution, normalization = convolve(), normalize()
    twice = [normalize()(convolution(images)), normalize()(convolution(images))]
    same = [normalization(convolve()(images)), normalization(convolve()(images))]
    assert_folds(keras.Model(images, [*twice, *same]), 3)
    # A model that is a layer.
    inner = keras.Model(images, normalize()(convolve()(images)))
    outer = keras.Input(SHAPE)
    folded = assert_folds(keras.Model(outer, normalize()(convolve()(inner(outer)))), 0)
    assert inner in folded.layers


def test_nothing_to_fold():
    images = keras.Input(SHAPE)
    model = keras.Model(images, layers.Conv2D(4, 3)(images))
    assert fold(model) is model


@pytest.mark.network
def test_the_engine_runs_folded_networks():
    engine = KerasEngine(make_network("mobilenet_v2", (32, 32), options={"alpha": 0.35}))
    assert n_normalizations(engine._model) == n_normalizations(engine._masked_model) == 0
