"""The backbones' table against Keras, network by network."""

import json
import os
import sys
from importlib import import_module

import numpy as np
import pytest
from _data import data_dir
from _networks import make_network

from featbus.feature_extraction import list_backbones
from featbus.networks import BACKBONES, NAMED, STAGES, KerasApplication, KerasEngine

FAST = {"vgg16", "mobilenet"}
SLOW = {"mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "inception_v3", "resnet50"}
# Few networks are built every time, others with the slow tests; all take minutes.
ALL = os.environ.get("FEATBUS_ALL_NETWORKS") == "1"
FURTHER = pytest.mark.skipif(not ALL, reason="FEATBUS_ALL_NETWORKS=1 builds all networks")


def marks(name):
    slow = [] if name in FAST else [pytest.mark.slow]
    return [pytest.mark.network, *slow, *([] if name in FAST | SLOW else [FURTHER])]


OF_KERAS = [name for name in BACKBONES if name != "small_cnn"]
EVERY_BACKBONE = [pytest.param(name, marks=marks(name)) for name in OF_KERAS]
# The deepest two multiply rounding errors, with random weights, until the last map is another.
CHAOTIC = ("efficientnet_v2_m", "efficientnet_v2_l")

PARAMETERS = list_backbones().set_index("name")["parameters"]


def pixels(n_images=1, size=(32, 32), seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n_images, *size, 3)).astype(np.float32)


def assert_rows_equal(rows, expected, rtol=1e-4):
    """Compare rows whose scale is free: random weights let deep activations decay."""
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(rows, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def application(name):
    """Return the module of `keras.applications` that holds a backbone."""
    keras = pytest.importorskip("keras")
    module = getattr(keras.applications, BACKBONES[name].builder).__module__
    return import_module(f"keras.applications.{module.rpartition('.')[2]}")


def stages_of(name):
    return tuple(BACKBONES[name].widths)


@pytest.mark.network
def test_preprocessing_is_that_of_keras():
    images = pixels(2, (4, 4))
    for name in OF_KERAS:
        values = NAMED[BACKBONES[name].preprocessing](images)
        expected = application(name).preprocess_input(images.copy())
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.network
def test_every_network_of_keras_is_there():
    import keras

    builders = {name for name in vars(keras.applications) if name[0].isupper()}
    assert {BACKBONES[name].builder for name in OF_KERAS} == builders


@pytest.mark.parametrize("name", EVERY_BACKBONE)
def test_row_of_the_table(name, monkeypatch):
    """Parameters, widths, strides, and rows that are the averages of what Keras computes."""
    import keras

    backbone = BACKBONES[name]
    # Without padding, a small map is smaller than its stride tells.
    side = 256 if name.startswith("inception") else 128
    network = make_network(name, (side, side), layers=stages_of(name))
    built, build = [], KerasApplication.build

    def record(source):
        built.append(build(source))
        return built[0]

    monkeypatch.setattr(KerasApplication, "build", record)
    engine = KerasEngine(network)
    assert built[0].count_params() == PARAMETERS[name]
    assert [shape[2] for shape in engine.shapes] == list(backbone.widths.values())
    # Networks without padding have slightly smaller maps.
    strides = [np.rint(np.log2(side / shape[0])) for shape in engine.shapes]
    assert strides == [STAGES.index(stage) + 1 for stage in network.layers]
    images = pixels(1, (side, side))
    inputs = NAMED[backbone.preprocessing](images)
    # The same compiled function is a weaker check.
    chaotic = name in CHAOTIC
    expected = built[0].predict_on_batch(inputs) if chaotic else built[0](inputs, training=False)
    expected = keras.ops.convert_to_numpy(expected).mean((1, 2))
    assert_rows_equal(engine.run(images, 1)[:, -backbone.widths["C5"] :], expected)


@pytest.mark.slow
@pytest.mark.network
def test_efficientnet_is_built_as_for_imagenet(tmp_path, monkeypatch):
    """A file that was saved with ImageNet weights gives the rows of "imagenet"."""
    import keras

    module = sys.modules[keras.applications.EfficientNetB0.__module__]
    network = make_network("efficientnet_b0", (64, 64), layers=("C2",))
    source = network.source.build()
    normalization = next(x for x in source.layers if isinstance(x, keras.layers.Normalization))
    values = source.get_weights()
    values[:2] = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225]) ** 2
    source.set_weights(values)
    normalization.finalize_state()
    path = tmp_path / "base.weights.h5"
    source.save_weights(path)
    # Keras builds its own variant, and loads the same file as a download.
    monkeypatch.setattr(module.file_utils, "get_file", lambda *args, **kwargs: str(path))
    official = keras.applications.EfficientNetB0(include_top=False, input_shape=(64, 64, 3))
    expected = official.get_layer(BACKBONES["efficientnet_b0"].taps["C2"]).output
    expected = keras.Model(official.input, expected)(pixels(2, (64, 64)))
    expected = keras.ops.convert_to_numpy(expected).mean((1, 2))
    from_file = make_network("efficientnet_b0", (64, 64), layers=("C2",), weights=str(path))
    assert_rows_equal(KerasEngine(from_file).run(pixels(2, (64, 64)), 2), expected)
    imagenet = make_network("efficientnet_b0", (64, 64), layers=("C2",), weights="imagenet")
    assert_rows_equal(KerasEngine(imagenet).run(pixels(2, (64, 64)), 2), expected)


def test_taps_are_the_verified_ones():
    with open(data_dir("taps.json")) as file:
        verified = json.load(file)["taps"]
    builders = {backbone.builder: backbone for backbone in BACKBONES.values()}
    assert set(verified) <= set(builders)
    for builder, entries in verified.items():
        backbone = builders[builder]
        for stage, entry in zip(STAGES, entries):
            tap, width = backbone.taps.get(stage), backbone.widths.get(stage)
            # InceptionV3 has earlier stages, which the list leaves out.
            if entry is None:
                assert tap is None or tap.startswith("<max_pooling2d")
            else:
                assert (tap, width) == (entry[0], entry[1][2])


def test_labels():
    for name, backbone in BACKBONES.items():
        source = KerasApplication(name, (224, 224))
        assert source.label("top") in (backbone.taps["C5"], "top")
        assert source.label("some_layer") == "some_layer"
        labels = [source.label(stage) for stage in stages_of(name)]
        assert len(set(labels)) == len(labels) >= 4
        assert not any(set(label) & set("<>") for label in labels)


def test_list_backbones():
    table = list_backbones().set_index("name")
    assert table.index.tolist() == list(BACKBONES)
    row = table.loc["mobilenet_v3_small"]
    assert row[["input_size", "parameters", "bytes"]].tolist() == [224, 939_120, 3_756_480]
    assert row[["C2", "C3", "C4", "C5"]].tolist() == [72, 96, 288, 576]
    assert np.isnan(row["top_1"])
    assert table.loc["vgg16", "top_1"] == 71.3
    assert table["preprocessing"].isin(list(NAMED)).all()
