"""The engine and the weights."""

import http.server
import random
import shutil
import socket
import sys
import threading
from functools import partial

import numpy as np
import pytest
from _networks import change_source, make_network

from featbus import DeepFeatures
from featbus.networks import KerasEngine, file_digest, load_engine, resolve_weights

SMALL = make_network("vgg16", (32, 32))
KERAS_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"


SLOW = pytest.mark.slow
# The format that Keras writes, and two others.
FORMATS = [
    "base.weights.h5",
    pytest.param("base.keras", marks=pytest.mark.slow),
    pytest.param("base.h5", marks=pytest.mark.slow),
]


def pixels(n_images=1, size=(32, 32), seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n_images, *size, 3)).astype(np.float32)


def assert_rows_equal(rows, expected, rtol=1e-4):
    """Compare rows whose scale is free: random weights let deep activations decay."""
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(rows, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.network
def test_several_layers_in_one_pass():
    """Layer by layer, pooling by pooling, in the order asked for."""
    layers, pooling = ("C5", "block1_pool", "C2"), ("max", "avg")
    engine = KerasEngine(make_network("vgg16", (32, 32), layers, pooling))
    images = pixels(3)
    rows = engine.run(images, 4)
    expected = [
        KerasEngine(make_network("vgg16", (32, 32), (layer,), (name,))).run(images, 4)
        for layer in layers
        for name in pooling
    ]
    assert engine.shapes == ((1, 1, 512), (16, 16, 64), (8, 8, 256))
    assert_rows_equal(rows, np.concatenate(expected, axis=1))


@pytest.mark.network
def test_nothing_behind_the_last_tap_is_computed():
    engine = KerasEngine(make_network("vgg16", (32, 32), ("C2",)))
    names = [layer.name for layer in engine._model.layers]
    assert "block3_conv3" in names
    assert "block3_pool" not in names


@pytest.mark.network
def test_padding_changes_no_row():
    engine = load_engine(SMALL)
    images = pixels(5)
    expected = engine.run(images, 5)
    for index in range(5):
        assert_rows_equal(engine.run(images[index : index + 1], 5), expected[index : index + 1])


@pytest.mark.network
def test_few_different_batches_are_compiled(monkeypatch):
    engine = KerasEngine(SMALL)
    predict, sizes = engine._model.predict_on_batch, []
    monkeypatch.setattr(
        engine._model, "predict_on_batch", lambda x: sizes.append(len(x)) or predict(x)
    )
    for n_images in range(1, 7):
        assert len(engine.run(pixels(n_images), batch_size=6)) == n_images
    assert sizes == [1, 2, 4, 4, 6, 6]


@pytest.mark.network
def test_layers_that_cannot_be_tapped():
    with pytest.raises(ValueError, match="'blok5_pool', .* 'C5'.* vgg16, .*'block5_pool'"):
        KerasEngine(make_network("vgg16", (32, 32), ("blok5_pool",)))
    for first, second in [("top", "C5"), ("C5", "block5_pool"), ("C2", "C2")]:
        with pytest.raises(ValueError, match=f"'{first}' and '{second}', .* same"):
            KerasEngine(make_network("vgg16", (32, 32), (first, second)))
    with pytest.raises(ValueError, match="vgg16: Input size"):
        KerasEngine(make_network("vgg16", (16, 16)))


@pytest.mark.network
@pytest.mark.slow
def test_a_layer_without_a_map():
    network = make_network("efficientnet_v2_b0", (32, 32), ("block4a_se_squeeze",))
    with pytest.raises(ValueError, match="'block4a_se_squeeze', .* a layer with a feature map"):
        KerasEngine(network)


@pytest.mark.network
def test_random_weights_follow_the_seed():
    first, same, other = (
        KerasEngine(make_network("vgg16", (32, 32), random_state=s)) for s in (0, 0, 1)
    )
    rows = first.run(pixels(), 1)
    np.testing.assert_array_equal(same.run(pixels(), 1), rows)
    assert np.abs(other.run(pixels(), 1) - rows).max() > 1e-3


@pytest.mark.network
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


@pytest.mark.network
@pytest.mark.parametrize("name", ["mobilenet_v2", pytest.param("efficientnet_b0", marks=SLOW)])
@pytest.mark.parametrize(
    "setting", ["floatx", pytest.param("dtype_policy", marks=pytest.mark.slow)]
)
def test_rows_do_not_depend_on_the_users_types(name, setting):
    """Nor do automatic names of layers depend on what was built before."""
    import keras

    network = make_network(name, (64, 64), ("C2", "C4"))
    expected = KerasEngine(network).run(pixels(2, (64, 64)), 2)
    change = getattr(keras.config, f"set_{setting}")
    change("float16")
    try:
        before = keras.layers.Conv2D(1, 1)
        rows = KerasEngine(network).run(pixels(2, (64, 64)), 2)
        after = keras.layers.Conv2D(1, 1)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")  # which Keras takes from the type once, and keeps
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, expected)
    assert automatic_number(after) == automatic_number(before) + 1


@pytest.mark.network
def test_the_types_of_a_model_are_part_of_its_identity():
    import keras

    keys, rows = [], []
    for floatx in ("float32", "float16", "float32"):
        keras.config.set_floatx(floatx)
        try:
            convolution = keras.layers.Conv2D(
                4, 3, kernel_initializer="ones", dtype=floatx, name="only"
            )
            model = keras.Sequential(
                [keras.Input((16, 16, 3), name="image"), convolution], name="own"
            )
            deep = DeepFeatures(model, preprocessing="none").fit(np.zeros((1, 9, 9)))
            keys.append(deep._fingerprint_params())
            rows.append(deep.transform(np.full((1, 16, 16), 0.786)))
        finally:
            keras.config.set_floatx("float32")
            keras.config.set_dtype_policy("float32")
    assert keys[0] == keys[2] != keys[1]
    np.testing.assert_array_equal(rows[0], rows[2])
    assert (rows[0] != rows[1]).any()


@pytest.mark.network
def test_channels_first(monkeypatch):
    import keras

    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(RuntimeError, match="set_image_data_format"):
        KerasEngine(SMALL)


@pytest.mark.network
def test_equal_networks_share_one_engine():
    assert load_engine(make_network("vgg16", (32, 32))) is load_engine(SMALL)
    assert load_engine(make_network("vgg16", (32, 32), random_state=1)) is not load_engine(SMALL)


def test_weights_of_an_estimator(tmp_path):
    file = tmp_path / "base.weights.h5"
    file.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert resolve_weights(None, "vgg16") == (None, None)
    assert resolve_weights("imagenet", "vgg16") == ("imagenet", None)
    assert resolve_weights(file, "vgg16") == resolve_weights(str(file), "vgg16")
    assert resolve_weights(file, "vgg16") == (str(file), digest)
    file.write_bytes(b"abcd")
    assert resolve_weights(file, "vgg16")[1] == file_digest(file) != digest
    for wrong in ("imagnet", tmp_path):
        with pytest.raises(FileNotFoundError):
            resolve_weights(wrong, "vgg16")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a network with its rows, and the folder where its weights are, in three formats."""
    network = make_network("mobilenet_v2", (96, 96), ("C3",), options={"alpha": 0.35})
    folder = tmp_path_factory.mktemp("weights")
    base = network.source.build()
    base.save_weights(folder / "base.weights.h5")
    base.save(folder / "base.keras")
    base.save(folder / "base.h5")  # what Keras 2 wrote
    return network, KerasEngine(network).run(pixels(1, (96, 96)), 1), folder


def from_file(network, path, **changes):
    return change_source(
        network, weights=str(path), digest=file_digest(path), random_state=None, **changes
    )


@pytest.mark.network
@pytest.mark.parametrize("name", FORMATS)
def test_weights_from_a_file(saved, name):
    network, expected, folder = saved
    rows = KerasEngine(from_file(network, folder / name)).run(pixels(1, (96, 96)), 1)
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.network
@pytest.mark.parametrize("name", FORMATS)
def test_files_that_do_not_suit(saved, tmp_path, name):
    network, _, folder = saved
    wide = from_file(network, folder / name, options={"alpha": 0.5})
    with pytest.raises(ValueError, match=rf"{name}' .*mobilenet_v2\(alpha=0.5\)"):
        KerasEngine(wide)
    damaged = tmp_path / name
    damaged.write_bytes((folder / name).read_bytes()[:100_000])
    with pytest.raises(ValueError, match=f"{name}' .*mobilenet_v2"):
        KerasEngine(from_file(network, damaged))
    other = tmp_path / "other.h5"
    shutil.copy(folder / "base.weights.h5", other)
    with pytest.raises(ValueError, match="by the file's name"):
        KerasEngine(from_file(network, other))


@pytest.mark.network
def test_a_changed_file_is_another_network(saved, tmp_path):
    network, expected, folder = saved
    path = tmp_path / "base.weights.h5"
    shutil.copy(folder / path.name, path)
    first = from_file(network, path)
    np.testing.assert_array_equal(load_engine(first).run(pixels(1, (96, 96)), 1), expected)
    base = first.source.build()
    base.set_weights([weight * 2 for weight in base.get_weights()])
    base.save_weights(path)
    second = from_file(network, path)
    assert load_engine(second) is not load_engine(first)
    assert np.abs(load_engine(second).run(pixels(1, (96, 96)), 1) - expected).max() > 0
    # Its digest was taken before the file changed.
    with pytest.raises(ValueError, match="another one than in fit"):
        KerasEngine(first)


@pytest.fixture
def pretrained(saved, tmp_path, monkeypatch):
    """Return a network with ImageNet weights; Keras' cache is empty, its server this machine."""
    import keras
    from keras.src.backend import config

    network, _, _ = saved
    module = sys.modules[keras.applications.MobileNetV2.__module__]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(module, "BASE_WEIGHT_PATH", f"http://127.0.0.1:{port}/")
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    return change_source(network, weights="imagenet", random_state=None), port


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(pretrained, tmp_path):
    """Serve the folder `server` at the address where Keras looks for weights."""
    folder = tmp_path / "server"
    folder.mkdir()
    handler = partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", pretrained[1]), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


@pytest.mark.network
def test_imagenet_weights_are_downloaded(saved, pretrained, server, tmp_path):
    _, expected, folder = saved
    shutil.copy(folder / "base.h5", server / KERAS_FILE)
    rows = KerasEngine(pretrained[0]).run(pixels(1, (96, 96)), 1)
    np.testing.assert_array_equal(rows, expected)
    assert (tmp_path / "models" / KERAS_FILE).exists()
    (server / KERAS_FILE).unlink()
    KerasEngine(pretrained[0])  # from the cache now


@pytest.mark.network
def test_a_size_without_weights_of_its_own_is_no_warning(saved, pretrained, server, recwarn):
    shutil.copy(saved[2] / "base.h5", server / KERAS_FILE.replace("_96_", "_224_"))
    KerasEngine(change_source(pretrained[0], input_size=(64, 48)))
    assert not [str(each.message) for each in recwarn if "input_shape" in str(each.message)]


@pytest.mark.network
def test_a_download_that_fails(pretrained):
    network, port = pretrained
    with pytest.raises(OSError, match=r"mobilenet_v2\(alpha=0.35\)") as caught:
        KerasEngine(network)
    assert f"http://127.0.0.1:{port}/{KERAS_FILE}" in str(caught.value)


@pytest.mark.network
def test_imagenet_weights_that_cannot_be_used(saved, pretrained, tmp_path):
    _, _, folder = saved
    (tmp_path / "models").mkdir()
    cached = tmp_path / "models" / KERAS_FILE
    cached.write_bytes((folder / "base.h5").read_bytes()[:100_000])
    with pytest.raises(OSError, match="ImageNet weights of mobilenet_v2"):
        KerasEngine(pretrained[0])
    network = change_source(pretrained[0], options={"alpha": 0.4})
    with pytest.raises(ValueError, match=r"mobilenet_v2\(alpha=0.4\): .*alpha"):
        KerasEngine(network)
