"""Weights bundles, and files of weights that cannot be trusted."""

import copy
import json
import os
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data
from _data import data_dir
from _onnx import TORCH, save_convnet, save_vit
from skimage.io import imsave
from sklearn.base import clone

from featbus import DeepFeatures, FeatureBus, FeatureStore, list_layers, load, save
from featbus.bus import fingerprint
from featbus.cli import main
from featbus.networks import KerasApplication, fetch_weights, file_digest, find_source, list_weights
from featbus.parameters import InvalidParameterError
from featbus.persistence import read_card

NARROW = {"alpha": 0.25}
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of b"abc", FIPS 180-2
CONFIG = {
    "image_mean": TORCH["mean"],
    "image_std": TORCH["std"],
    "resample": 3,
    "rescale_factor": TORCH["scale"],
    "do_center_crop": True,
}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 50, 60), np.uint8)


@pytest.fixture(autouse=True)
def without_a_bundle(monkeypatch, tmp_path):
    monkeypatch.delenv("FEATBUS_WEIGHTS", raising=False)
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path / "cache"))


def entry(**changes):
    """Return an entry of an index: a file that holds the bytes abc."""
    return {
        "network": "mobilenet",
        "options": NARROW,
        "input_size": [224, 224],
        "file": "base.weights.h5",
        "sha256": ABC,
        "source": "file",
        "license": None,
        "preprocessing": None,
        **changes,
    }


def write_index(folder, *entries):
    (folder / "weights.json").write_text(json.dumps({"files": entries}))


@pytest.fixture
def bundle(tmp_path):
    """Return a bundle of one file, which no network could load."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "base.weights.h5").write_bytes(b"abc")
    write_index(folder, entry())
    return folder


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def find(weights, name, options=None, size=None):
    """Return path and digest of the weights of a network."""
    own = {"preprocessing": None, "random_state": 0, "input_size": size}
    source = find_source(backbone=name, backbone_options=options, weights=weights, **own)
    return source.weights, source.digest


def test_a_network_is_looked_up_and_verified(bundle):
    expected = str(bundle / "base.weights.h5"), ABC
    for size in (None, (224, 224), (300, 200)):
        assert find(bundle, "mobilenet", NARROW, size) == expected


def test_a_file_that_is_not_the_expected_one(bundle):
    find(bundle, "mobilenet", NARROW)  # what was right once is looked at again
    (bundle / "base.weights.h5").write_bytes(b"ab")
    for state in ("damaged", "missing"):
        with pytest.raises(ValueError, match=rf"base.weights.h5' .*{state}.*sha256 {ABC}"):
            find(bundle, "mobilenet", NARROW)
        assert list_weights(bundle)["state"].tolist() == [state]
        (bundle / "base.weights.h5").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (("vgg16",), r"lacks .*weights fetch vgg16"),
        (("mobilenet", NARROW, (128, 128)), r"alpha': 0.25.*\[128, 128\]"),
    ],
)
def test_a_network_that_the_bundle_lacks(network, message, bundle):
    with pytest.raises(FileNotFoundError, match=message):
        find(bundle, *network)


def test_the_bundle_of_the_environment(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATBUS_WEIGHTS", str(bundle))
    assert find("imagenet", "mobilenet", NARROW)[1] == ABC
    assert find(None, "mobilenet", NARROW) == (None, None)
    with pytest.raises(FileNotFoundError, match="lacks .*vgg16.* FEATBUS_WEIGHTS"):
        find("imagenet", "vgg16")
    monkeypatch.setenv("FEATBUS_WEIGHTS", str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError, match="weights bundle '.*nothing'"):
        find("imagenet", "mobilenet", NARROW)
    monkeypatch.setenv("FEATBUS_WEIGHTS", "")
    assert find("imagenet", "vgg16") == ("imagenet", None)


@pytest.mark.parametrize("text", ["", '{"files": [{}]}', json.dumps({"files": [entry(), "vgg16"]})])
def test_an_index_that_is_damaged(bundle, text):
    (bundle / "weights.json").write_text(text)
    with pytest.raises(ValueError, match="weights.json' .* cannot be read"):
        list_weights(bundle)


def test_list_weights(bundle, monkeypatch):
    write_index(bundle, entry(), entry(network="vgg16", options={}, file="other.h5"))
    table = list_weights(bundle)
    assert table["state"].tolist() == ["verified", "missing"]
    assert table.drop(columns="state").iloc[0].to_dict() == entry()
    monkeypatch.setenv("FEATBUS_WEIGHTS", str(bundle))
    assert list_weights().equals(table)
    write_index(bundle)
    assert list_weights()["state"].empty
    monkeypatch.delenv("FEATBUS_WEIGHTS")
    with pytest.raises(ValueError, match="FEATBUS_WEIGHTS"):
        list_weights()


@pytest.fixture
def building(monkeypatch):
    """Build networks that take any file; return a mock of `build`."""
    build = Mock()
    build.return_value.save_weights = lambda path: Path(path).write_bytes(b"from Keras")
    monkeypatch.setattr(KerasApplication, "build", build)
    return build


@pytest.mark.parametrize("name", ["base.weights.h5", "base.h5"])
def test_fetch_from_a_file(building, tmp_path, name):
    out, source = tmp_path / "out", tmp_path / name
    source.write_bytes(b"abc")
    fetch = partial(fetch_weights, "mobilenet", out, options=NARROW, source=source)
    path = fetch()
    assert path == str(out / name.replace("base", "mobilenet_alpha_0_25_224"))
    assert find(out, "mobilenet", NARROW) == (path, ABC)
    (index,) = json.loads((out / "weights.json").read_text())["files"]
    assert index == entry(file=Path(path).name)
    before = content(out)
    building.side_effect = ValueError("of another network")  # it stays outside
    source.write_bytes(b"other")
    with pytest.raises(ValueError, match="of another network"):
        fetch()
    assert content(out) == before
    building.side_effect = None
    fetch(license="CC0", origin="a friend")
    (row,) = list_weights(out).to_dict("records")
    assert (row["license"], row["source"], row["file"]) == ("CC0", "a friend", index["file"])
    for size in (128, 160, 300):
        fetch(input_size=size)
    table = list_weights(out)
    assert table["input_size"].tolist() == [[128, 128], [160, 160], [224, 224]]
    assert set(table["state"]) == {"verified"}


def test_fetch_from_keras_again(building, tmp_path):
    path = fetch_weights("mobilenet", tmp_path)
    before = content(tmp_path)
    assert [row["source"] for row in list_weights(tmp_path).to_dict("records")] == ["Keras"]
    with open(path, "ab") as file:
        file.write(b"!")
    assert fetch_weights("mobilenet", tmp_path) == path
    assert content(tmp_path) == before


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined:UserWarning")
def test_sizes_are_told_apart_as_keras_does(bundle, monkeypatch):
    """Two inputs share an entry where Keras takes the same file for both, and only there."""
    import keras

    files, entries = [], []
    write_index(bundle)
    module = sys.modules[keras.utils.get_file.__module__]
    monkeypatch.setattr(module, "get_file", lambda fname, *a, **k: files.append(fname))
    for size in [(96, 96), (192, 192), (224, 224), (256, 256), (128, 160)]:
        with pytest.raises(Exception, match="None"):
            KerasApplication("mobilenet_v2", size, weights="imagenet").build()
        with pytest.raises(FileNotFoundError, match="lacks") as caught:
            find(bundle, "mobilenet_v2", None, size)
        entries.append(str(caught.value))
    assert [files.index(file) for file in files] == [entries.index(one) for one in entries]


@pytest.mark.slow
@pytest.mark.network
def test_real_weights(tmp_path, monkeypatch):
    """A bundle of the ImageNet weights gives their published rows, and the keys of the file."""
    folder, options = data_dir("weights"), {"alpha": 0.35}
    reference = json.loads((folder / "reference.json").read_text())
    source = folder / reference["file"]
    fetch_weights("mobilenet_v2", tmp_path, options=options, source=source)
    deep = DeepFeatures("mobilenet_v2", backbone_options=options, weights=tmp_path)
    image = cv2.resize(skimage.data.astronaut(), (224, 224), interpolation=cv2.INTER_AREA)
    rows, key = deep.fit_transform([image]), fingerprint(deep)
    np.testing.assert_allclose(rows[0, :8], reference["pooled_first_8"], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(deep.set_params(weights=source).fit_transform([image]), rows)
    assert fingerprint(deep) == key
    monkeypatch.setenv("FEATBUS_WEIGHTS", str(tmp_path))
    np.testing.assert_array_equal(deep.set_params(weights="imagenet").fit_transform([image]), rows)
    assert fingerprint(deep) == key


@pytest.fixture
def config(tmp_path):
    """Return the path of a file of preprocessing."""
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(CONFIG))
    return path


@pytest.fixture
def source(tmp_path):
    """Return the path of an ONNX file that takes images of any size."""
    return save_convnet(tmp_path / "export.onnx")


@pytest.fixture
def models(tmp_path, source, config):
    """Return a bundle of one model."""
    options = {"preprocessing": config, "input_size": (48, 32), "license": "Apache-2.0"}
    fetch_weights("mine", tmp_path / "models", source=source, origin="version 2", **options)
    return tmp_path / "models"


def test_the_index_knows_everything_about_a_model(models, source):
    (row,) = list_weights(models).to_dict("records")
    assert row == {
        "network": "mine",
        "options": {},
        "input_size": [48, 32],
        "file": "mine.onnx",
        "sha256": file_digest(source),
        "source": "version 2",
        "license": "Apache-2.0",
        "preprocessing": TORCH | {"channels": "rgb", "resize": "bicubic"},
        "state": "verified",
    }
    table = list_layers("mine", weights=models).set_index("name")
    assert table.loc["relu1", ["height", "width"]].tolist() == [24, 16]
    other = DeepFeatures("mine", weights=models, preprocessing="torch", input_size=64)
    assert fingerprint(other) != fingerprint(DeepFeatures("mine", weights=models))
    assert other._source().input_size == (64, 64)  # what is given comes first
    for changes in ({"backbone": "mime"}, {"weights": "nobundle"}):
        with pytest.raises(InvalidParameterError, match="backbone is 'mi.e', expected one of"):
            DeepFeatures(**{"backbone": "mine", "weights": models} | changes).fit(IMAGES)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"name": "vgg_16", "source": None}, "mean 'vgg16'"),
        ({"name": "vgg16", "source": None, "options": NARROW}, "no options for vgg16"),
        ({"source": "none.h5"}, "source is '.*none.h5'"),
        ({"name": "vgg16"}, "preprocessing is"),
        *(({"name": name}, "name is") for name in ("my net", "../a")),
        ({"license": None}, "license is None"),
        ({"preprocessing": None}, "preprocessing is None"),
        ({"options": {"alpha": 1}}, "options is .*, expected None"),
        *(({"input_size": size}, "input_size") for size in (None, 0, 2.5, "224")),
        ({"source": "weights.h5"}, "backbone is 'weights.h5'"),
        ({"source": "no.onnx"}, "ONNX file '.*no.onnx' cannot be used"),
    ],
)
def test_what_does_not_get_in(changes, fact, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("weights.h5", "no.onnx"):
        (tmp_path / name).write_bytes(b"<html>")
    arguments = {"name": "mine", "source": source, "preprocessing": TORCH, "license": "MIT"}
    arguments |= {"input_size": 32} | changes
    with pytest.raises((ValueError, FileNotFoundError), match=fact):
        fetch_weights(out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_path_and_bundle_share_stored_rows(models, source, config, tmp_path, monkeypatch):
    shared = {"layers": ["relu1", "top"]}
    by_path = DeepFeatures(source, preprocessing=config, input_size=(48, 32), **shared)
    with FeatureStore(tmp_path / "rows.sqlite") as store:
        rows, key = FeatureBus(by_path, memory=store).fit_transform(IMAGES), fingerprint(by_path)
        os.remove(source)
        os.remove(config)  # the bundle is enough
        by_name = DeepFeatures("mine", weights=models, **shared)
        np.testing.assert_array_equal(FeatureBus(by_name, memory=store).fit_transform(IMAGES), rows)
        assert store.info()["n_rows"].tolist() == [3]
    np.testing.assert_array_equal(by_name.fit_transform(IMAGES), rows)
    assert fingerprint(by_name) == fingerprint(clone(by_name)) == key
    assert by_name.get_feature_names_out()[-1] == "mine_top_avg_0007"
    monkeypatch.setenv("FEATBUS_WEIGHTS", str(models))
    offline = DeepFeatures("mine", **shared)
    np.testing.assert_array_equal(offline.fit_transform(IMAGES), rows)
    assert fingerprint(offline) == key


def test_a_model_takes_the_place_of_another(models, source, config, tmp_path):
    deep = DeepFeatures("mine", weights=models).fit(IMAGES)
    rows = deep.transform(IMAGES)
    same = {"source": source, "preprocessing": config, "license": "MIT", "input_size": (48, 32)}
    other = save_vit(tmp_path / "vit.onnx")
    for changes, fact in (
        ({"preprocessing": "tf"}, "another preprocessing"),
        ({"source": other, "input_size": None}, "fit"),
    ):
        fetch_weights("mine", models, **same | changes)
        np.testing.assert_array_equal(deep.transform(IMAGES), rows)
        with pytest.raises(InvalidParameterError, match=fact):
            copy.deepcopy(deep).transform(IMAGES)  # which has not looked at the file yet
    assert set(content(models)) == {"weights.json", "mine.onnx"}
    fetch_weights("second", models, source=other, preprocessing=config, license="MIT")
    table = list_weights(models)
    assert table["network"].tolist() == ["mine", "second"]
    assert set(table["state"]) == {"verified"}


def test_a_saved_pipeline_of_a_bundle(models, tmp_path, monkeypatch):
    deep = DeepFeatures("mine", weights=models).fit(IMAGES)
    rows, names = deep.transform(IMAGES), deep.get_feature_names_out().tolist()
    save(deep, tmp_path / "whole.skops")
    save(deep, tmp_path / "named.skops", embed=False)
    (network,) = read_card(tmp_path / "whole.skops")["networks"]
    assert network["license"] == "Apache-2.0"
    assert network["preprocessing"] == TORCH | {"channels": "rgb", "resize": "bicubic"}
    assert network["sha256"] == list_weights(models)["sha256"].iloc[0]
    assert network["embedded"]
    monkeypatch.setenv("FEATBUS_WEIGHTS", str(models))
    np.testing.assert_array_equal(load(tmp_path / "named.skops").transform(IMAGES), rows)
    monkeypatch.delenv("FEATBUS_WEIGHTS")
    shutil.rmtree(models)
    whole = load(tmp_path / "whole.skops")
    np.testing.assert_array_equal(whole.transform(IMAGES), rows)
    assert whole.get_feature_names_out().tolist() == names


def test_the_commands_of_the_guide(config, tmp_path, monkeypatch, capsys):
    """The first three about models of one's own."""
    text = (Path(__file__).parents[1] / "docs" / "user_guide" / "weights.rst").read_text()
    _, _, text = text.replace("\\\n", " ").partition("Models of your own")
    lines = [line for line in text.splitlines() if line.startswith("   $ featbus")]
    fetch, table, extract = (shlex.split(line)[2:] for line in lines[:3])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    for number in range(3):
        imsave(f"scans/{number}.png", np.uint8(IMAGES[number]))
    save_vit("vit.onnx")
    assert main(fetch) == main(table) == main(extract) == 0
    assert "hub/my-vit, revision 3 Apache-2.0" in capsys.readouterr().out
    features = pd.read_csv("features.csv")
    assert features.columns[-1] == "my_vit_top_avg_0005"
    assert features.shape[0] == 3
    os.remove("bundle/weights.json")
    assert main(extract) == 2
    assert "no weights bundle 'bundle'" in capsys.readouterr().err


@pytest.mark.network
def test_keras_files_in_a_bundle(config, tmp_path):
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, strides=2, name="only")]
    theirs, out = tmp_path / "theirs.keras", tmp_path / "out"
    keras.Sequential(layers, name="theirs").save(theirs)
    by_path = DeepFeatures(theirs, preprocessing=config)
    rows, key = by_path.fit_transform(IMAGES), fingerprint(by_path)
    fetch_weights("ours", out, source=theirs, preprocessing=config, license="-")
    assert list_weights(out)["input_size"].tolist() == [[32, 32]]
    os.remove(theirs)
    os.remove(config)
    by_name = DeepFeatures("ours", weights=out)
    np.testing.assert_array_equal(by_name.fit_transform(IMAGES), rows)
    assert fingerprint(by_name) == key
    assert by_name.get_feature_names_out()[0] == "ours_top_avg_0000"
