"""The engine and the weights."""

import random
import shutil
import sys

import numpy as np
import pytest
from _networks import change_source, make_network

from featbus import DeepFeatures
from featbus.networks import KerasEngine, file_digest

pytestmark = pytest.mark.network

SMALL = make_network("small_cnn", (32, 32))
KERAS_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"


def pixels(n_images=1, size=(32, 32), seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n_images, *size, 3)).astype(np.float32)


IMAGE = pixels(1, (96, 96))


def test_nothing_after_the_last_layer_is_computed():
    engine = KerasEngine(make_network("small_cnn", (32, 32), ("C2",)))
    names = [layer.name for layer in engine._model.layers]
    assert "C2" in names
    assert "C3" not in names


def test_few_different_batches_are_compiled(monkeypatch):
    engine = KerasEngine(SMALL)
    predict, sizes = engine._model.predict_on_batch, []
    monkeypatch.setattr(
        engine._model, "predict_on_batch", lambda x: sizes.append(len(x)) or predict(x)
    )
    for n_images in range(1, 7):
        assert len(engine.run(pixels(n_images), batch_size=6)) == n_images
    assert sizes == [1, 2, 4, 4, 6, 6]


@pytest.mark.parametrize(
    ("name", "size", "layer", "message"),
    [
        ("vgg16", 32, "blok5_pool", "'blok5_pool', .* 'C5'.* vgg16 .*'block5_pool'"),
        ("vgg16", 16, "top", "vgg16: Input size"),
        ("convnext_tiny", 32, "C1", "'C1', .*'C2'.* convnext_tiny"),
    ],
)
def test_layers_that_have_no_features(name, size, layer, message):
    with pytest.raises(ValueError, match=message):
        KerasEngine(make_network(name, (size, size), (layer,)))


def test_random_states_stay_as_they_are():
    tf = pytest.importorskip("tensorflow")

    def draw(between):
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        tf.random.set_seed(5)
        tf.random.uniform(())
        between()
        return random.random(), np.random.random(), float(tf.random.uniform(()))  # noqa: NPY002

    assert draw(lambda: KerasEngine(SMALL).run(pixels(), 1)) == draw(lambda: None)


def automatic_number(layer):
    """Return the number in a name such as conv2d, conv2d_1, conv2d_2."""
    return int(layer.name.removeprefix("conv2d").removeprefix("_") or 0)


@pytest.mark.parametrize("name", ["small_cnn", "mobilenet_v3_small"])
def test_rows_do_not_depend_on_the_types_that_the_user_sets(name):
    """Nor do automatic names of layers depend on what was built before."""
    import keras

    network = make_network(name, (32, 32), ("C2", "C4"))
    expected = KerasEngine(network).run(pixels(2), 2)
    keras.config.set_floatx("float16")
    keras.config.set_dtype_policy("float16")
    try:
        before = keras.layers.Conv2D(1, 1)
        rows = KerasEngine(network).run(pixels(2), 2)
        after = keras.layers.Conv2D(1, 1)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")  # which Keras takes from the type once, and keeps
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, expected)
    assert automatic_number(after) == automatic_number(before) + 1


def test_the_types_of_a_model_are_part_of_its_identity():
    import keras

    keys, rows = [], []
    for dtype in ("float32", "float16", "float32"):
        image = keras.Input((16, 16, 3), name="image", dtype=dtype)
        maps = keras.layers.Conv2D(4, 3, kernel_initializer="ones", dtype=dtype, name="only")(image)
        model = keras.Model(image, maps, name="own")
        deep = DeepFeatures(model, preprocessing="none").fit(np.zeros((1, 9, 9)))
        keys.append(deep._fingerprint_params())
        rows.append(deep.transform(np.full((1, 16, 16), 0.786)))
    assert keys[0] == keys[2] != keys[1]
    np.testing.assert_array_equal(rows[0], rows[2])
    assert (rows[0] != rows[1]).any()


def test_channels_first(monkeypatch):
    import keras

    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(RuntimeError, match="set_image_data_format"):
        KerasEngine(SMALL)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a network with its rows, and the folder where its weights are, in three formats."""
    network = make_network("mobilenet_v2", (96, 96), ("C3",), options={"alpha": 0.35})
    folder = tmp_path_factory.mktemp("weights")
    base = network.source.build()
    base.save_weights(folder / "base.weights.h5")
    base.save(folder / "base.keras")
    base.save(folder / "base.h5")  # what Keras 2 wrote
    return network, KerasEngine(network).run(IMAGE, 1), folder


def from_file(network, path, **changes):
    return change_source(
        network, weights=str(path), digest=file_digest(path), random_state=None, **changes
    )


@pytest.mark.parametrize("name", ["base.weights.h5", "base.keras", "base.h5"])
def test_weights_from_a_file(saved, name):
    network, expected, folder = saved
    rows = KerasEngine(from_file(network, folder / name)).run(IMAGE, 1)
    np.testing.assert_array_equal(rows, expected)


def test_files_that_do_not_suit(saved, tmp_path):
    network, _, folder = saved
    wide = from_file(network, folder / "base.weights.h5", options={"alpha": 0.5})
    with pytest.raises(ValueError, match=r"base.weights.h5' .*mobilenet_v2\(alpha=0.5\)"):
        KerasEngine(wide)
    path = tmp_path / "base.weights.h5"
    path.write_bytes((folder / path.name).read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"base.weights.h5' .*mobilenet_v2"):
        KerasEngine(from_file(network, path))


@pytest.fixture
def pretrained(saved, tmp_path, monkeypatch):
    """Return a network with ImageNet weights, and Keras' folder of them, which is empty."""
    import keras
    from keras.src.backend import config

    module = sys.modules[keras.applications.MobileNetV2.__module__]
    monkeypatch.setattr(module, "BASE_WEIGHT_PATH", "http://127.0.0.1:9/")  # nobody answers
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "models").mkdir()
    return change_source(saved[0], weights="imagenet", random_state=None), tmp_path / "models"


def test_imagenet_weights(saved, pretrained):
    network, models = pretrained
    shutil.copy(saved[2] / "base.h5", models / KERAS_FILE)
    np.testing.assert_array_equal(KerasEngine(network).run(IMAGE, 1), saved[1])


def test_imagenet_weights_are_looked_for_without_keras(pretrained, monkeypatch):
    network, models = pretrained
    monkeypatch.setenv("KERAS_HOME", str(models.parent))
    monkeypatch.setattr("featbus.networks._applications._DOWNLOADS", "http://127.0.0.1:9/")
    with pytest.raises(OSError, match=r"mobilenet_v2\(alpha=0.35\).*weights file"):
        network.source.check_weights()
    (models / KERAS_FILE).touch()
    network.source.check_weights()


def test_imagenet_weights_that_cannot_be_used(saved, pretrained):
    network, models = pretrained
    with pytest.raises(OSError, match=r"mobilenet_v2\(alpha=0.35\).*http://127.0.0.1:9/"):
        network.source.build()
    (models / KERAS_FILE).write_bytes((saved[2] / "base.h5").read_bytes()[:100_000])
    with pytest.raises(OSError, match="ImageNet weights of mobilenet_v2"):
        network.source.build()
    with pytest.raises(ValueError, match=r"mobilenet_v2\(alpha=0.4\): .*alpha"):
        change_source(network, options={"alpha": 0.4}).source.build()
