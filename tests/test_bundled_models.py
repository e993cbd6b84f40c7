"""Models in weights bundles: ONNX and ``.keras`` files."""

import json
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from _onnx import TORCH, save_convnet, save_vit
from skimage.io import imsave
from sklearn.base import clone

from featbus import (
    DeepFeatures,
    FeatureBus,
    FeatureStore,
    FineTunedFeatures,
    list_layers,
    load,
    save,
)
from featbus.bus import fingerprint
from featbus.cli import main
from featbus.networks import fetch_weights, file_digest, list_weights
from featbus.parameters import InvalidParameterError
from featbus.persistence import read_card, write_card_html
from featbus.recipes import make_recipe

CONFIG = {
    "image_mean": TORCH["mean"],
    "image_std": TORCH["std"],
    "resample": 3,
    "rescale_factor": TORCH["scale"],
    "do_center_crop": True,
}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 50, 60), np.uint8)

pytestmark = pytest.mark.usefixtures("without_a_bundle")


@pytest.fixture
def without_a_bundle(monkeypatch):
    monkeypatch.delenv("FEATBUS_WEIGHTS", raising=False)


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
def bundle(tmp_path, source, config):
    """Return a bundle of one model."""
    fetch_weights(
        "mine",
        tmp_path / "bundle",
        source=source,
        preprocessing=config,
        input_size=(48, 32),
        license="Apache-2.0",
        origin="https://example.org/mine, version 2",
    )
    return tmp_path / "bundle"


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_index_knows_everything(bundle, source, config):
    digest = file_digest(source)
    row = list_weights(bundle).iloc[0]
    assert row["network"] == "mine"
    assert row["file"] == f"{digest[:8]}/mine.onnx"
    assert (row["sha256"], row["bytes"]) == (digest, os.path.getsize(source))
    assert row["input_size"] == [48, 32]
    assert row["license"] == "Apache-2.0"
    assert row["source"] == "https://example.org/mine, version 2"
    assert row["preprocessing"] == TORCH | {"channels": "rgb", "resize": "bicubic"}
    assert row["keras"] is None
    assert row["state"] == "verified"
    assert len(content(bundle)) == 2


def test_deep_features_of_a_bundle(bundle, source, config, monkeypatch):
    by_path = DeepFeatures(source, preprocessing=config, input_size=(48, 32), layers=["C1", "top"])
    rows, key = by_path.fit_transform(IMAGES), fingerprint(by_path)
    for path in (source, config):
        os.remove(path)  # the bundle is enough
    by_name = DeepFeatures("mine", weights=bundle, layers=["C1", "top"])
    np.testing.assert_array_equal(by_name.fit_transform(IMAGES), rows)
    assert fingerprint(by_name) == fingerprint(clone(by_name)) == key
    assert by_name.get_feature_names_out()[-1] == "mine_top_avg_0007"
    monkeypatch.setenv("FEATBUS_WEIGHTS", str(bundle))
    offline = DeepFeatures("mine", layers=["C1", "top"])
    np.testing.assert_array_equal(offline.fit_transform(IMAGES), rows)
    assert fingerprint(offline) == key


def test_path_and_bundle_share_stored_rows(bundle, source, config, tmp_path):
    with FeatureStore(tmp_path / "rows.sqlite") as store:
        by_path = DeepFeatures(source, preprocessing=config, input_size=(48, 32))
        rows = FeatureBus(by_path, memory=store).fit_transform(IMAGES)
        bus = FeatureBus(DeepFeatures("mine", weights=bundle), memory=store)
        np.testing.assert_array_equal(bus.fit_transform(IMAGES), rows)
        assert store.info()["n_rows"].tolist() == [3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"preprocessing": "torch"},
            "preprocessing is .*, expected None or {.*, which the we",
        ),
        ({"input_size": 48}, r"input_size is \(48, 48\), expected None or \[48, 32\], which"),
        ({"backbone_options": {"alpha": 1}}, "backbone_options is .*, expected None"),
        ({"backbone": "mime"}, r"backbone is 'mime', .* bundle .* which has \['mine'\]. Did you m"),
        ({"weights": "imagenet"}, "backbone is 'mine', expected one of .* a model of a weights b"),
        ({"weights": None}, "backbone is 'mine', expected one of"),
    ],
)
def test_parameters_that_contradict(bundle, changes, message):
    deep = DeepFeatures("mine", weights=bundle).set_params(**changes)
    with pytest.raises(InvalidParameterError, match=message):
        deep.fit(IMAGES)


def test_a_bundle_that_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="Found no weights bundle '.*nobundle', expected"):
        DeepFeatures("mine", weights=str(tmp_path / "nobundle")).fit(IMAGES)


@pytest.mark.parametrize("text", ["Apache-2.0", "$(rm -rf ~) `id` 'a' \"b\"", "-o x", "a\nb\x1b"])
@pytest.mark.parametrize("preprocessing", [TORCH, "tf"])
def test_the_command_that_fetches_a_model_again(tmp_path, text, preprocessing, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_convnet("MODEL.onnx")
    out, more = tmp_path / "a bundle", {"license": text, "origin": text, "input_size": 32}
    fetch_weights("mine", out, source="MODEL.onnx", preprocessing=preprocessing, **more)
    (before,) = list_weights(out).to_dict("records")
    (out / before["file"]).unlink()
    with pytest.raises(FileNotFoundError, match="is missing: ") as caught:
        DeepFeatures("mine", weights=out).fit(IMAGES)
    _, _, command = str(caught.value).partition("fetch the file again: ")
    command, _, content = command.partition(", where PREPROCESSING.json has ")
    Path("PREPROCESSING.json").write_text(content)
    assert main(shlex.split(command)[1:]) == 0
    (after,) = list_weights(out).to_dict("records")
    known = {} if text.isprintable() else {"license": "TEXT", "source": "TEXT"}
    assert after == before | known


def test_layers_of_a_bundle(bundle):
    table = list_layers("mine", weights=bundle)
    assert table.loc[table["stage"] == "C1", ["height", "width"]].to_numpy().tolist() == [[24, 16]]


def test_parameters_that_agree(bundle, config):
    deep = DeepFeatures("mine", weights=bundle, preprocessing=config, input_size=(48, 32))
    assert fingerprint(deep) == fingerprint(DeepFeatures("mine", weights=bundle))


def test_files_that_were_changed(bundle):
    (path,) = bundle.rglob("*.onnx")
    path.write_bytes(path.read_bytes() + b"\n")
    assert list_weights(bundle)["state"].tolist() == ["damaged"]
    with pytest.raises(InvalidParameterError, match="of mine is truncated or was changed: expect"):
        DeepFeatures("mine", weights=bundle).fit(IMAGES)
    path.unlink()
    assert list_weights(bundle)["state"].tolist() == ["missing"]
    with pytest.raises(FileNotFoundError, match="of mine is missing: copy the bundle again, or"):
        DeepFeatures("mine", weights=bundle).fit(IMAGES)


def test_another_file_takes_the_place_of_the_first(bundle, config, tmp_path):
    other = save_vit(tmp_path / "vit.onnx")
    options = {"license": "MIT", "preprocessing": config}
    with pytest.warns(UserWarning, match="another file and input size in the bundle '.*', which"):
        path = fetch_weights("mine", bundle, source=other, **options)
    assert set(content(bundle)) == {bundle / "weights.json", bundle / path}
    assert [folder.name for folder in bundle.iterdir() if folder.is_dir()] == [
        file_digest(other)[:8]
    ]
    before = content(bundle)
    assert fetch_weights("mine", bundle, source=other, **options) == path
    assert content(bundle) == before
    fetch_weights("second", bundle, source=other, **options)
    assert list_weights(bundle)["network"].tolist() == ["mine", "second"]
    third = save_convnet(tmp_path / "c.ONNX", (1, 3, 32, 32))
    with pytest.warns(UserWarning, match="second had another file"):
        fetch_weights("second", bundle, source=third, **options)
    deep = DeepFeatures(third, preprocessing="tf").fit(IMAGES)
    with pytest.raises(ValueError, match="image_shape is 500, expected height and width"):
        deep.where(deep.get_feature_names_out()[0], 500)
    with pytest.raises(InvalidParameterError, match="a grid of up to 9 x 9"):
        deep.set_params(pooling="avg20x20").fit(IMAGES)
    assert set(list_weights(bundle)["state"]) == {"verified"}


@pytest.mark.parametrize(
    ("changes", "what"), [({"preprocessing": "tf"}, "preprocessing"), ({"input_size": 64}, "input")]
)
def test_other_rows_of_the_same_file(bundle, source, config, changes, what, tmp_path):
    options = {"license": "MIT", "preprocessing": config, "input_size": (48, 32)}
    deep = DeepFeatures("mine", weights=bundle).fit(IMAGES)
    rows = deep.transform(IMAGES)
    fetch_weights("mine", bundle, source=source, **options)
    np.testing.assert_array_equal(deep.transform(IMAGES), rows)
    save(deep, tmp_path / "deep.skops")
    with pytest.warns(UserWarning, match=f"mine had another {what}.* in the bundle"):
        fetch_weights("mine", bundle, source=source, **options | changes)
    with pytest.raises(InvalidParameterError, match="another preprocessing or input size than in"):
        deep.transform(IMAGES)
    loaded = load(tmp_path / "deep.skops")
    np.testing.assert_array_equal(loaded.transform(IMAGES), rows)
    assert loaded.base_input_ == deep.base_input_
    assert np.abs(deep.fit(IMAGES).transform(IMAGES) - rows).max() > 0.001


def test_external_data_are_refused(source, tmp_path):
    path = tmp_path / "parts.onnx"
    onnx.save(onnx.load(source), path, save_as_external_data=True, size_threshold=0)
    options = {"source": path, "preprocessing": TORCH, "license": "MIT", "input_size": 32}
    with pytest.raises(InvalidParameterError, match="parts.onnx.*external data"):
        fetch_weights("mine", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "vgg16"}, "name is 'vgg16', which is a network of featbus"),
        ({"name": "small_cnn"}, "name is 'small_cnn', which is a network"),
        ({"name": "my net"}, "name is 'my net', expected 1 to 64 letters"),
        ({"name": "../mine"}, "name is '../mine', expected"),
        ({"name": "mine.onnx"}, "name is 'mine.onnx', expected"),
        ({"name": "x" * 65}, "name is 'xxx.*, expected"),
        ({"license": None}, "license is missing, expected .* 'Apache-2.0', or 'unknown'"),
        ({"license": " "}, "license is missing"),
        ({"preprocessing": None}, "preprocessing is None, expected 'caffe'"),
        ({"options": {"alpha": 1}}, "options is .*, expected None: mine is a model"),
        ({"input_size": None}, "input_size is None, expected height and width"),
        ({"input_size": 0}, "input_size is 0, expected"),
        ({"source": "weights.h5"}, "backbone is 'mine', expected one of"),
    ],
)
def test_what_does_not_get_in(changes, message, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.h5").write_bytes(b"")
    arguments = {"name": "mine", "source": source, "preprocessing": TORCH, "license": "MIT"}
    arguments |= {"input_size": 32} | changes
    with pytest.raises(InvalidParameterError, match=message):
        fetch_weights(arguments.pop("name"), tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_model(bundle, tmp_path):
    before = content(bundle)
    (tmp_path / "no.onnx").write_bytes(b"<html>")
    arguments = {"preprocessing": "tf", "license": "MIT", "source": tmp_path / "no.onnx"}
    with pytest.raises(InvalidParameterError, match="ONNX file '.*/no.onnx' cannot be used"):
        fetch_weights("mine", bundle, **arguments)
    assert content(bundle) == before
    with pytest.raises(InvalidParameterError, match="is 'tf', expected None: vgg16 has its own"):
        fetch_weights("vgg16", bundle, preprocessing="tf")
    with pytest.raises(InvalidParameterError, match="origin is 'me', expected None: Keras knows"):
        fetch_weights("vgg16", bundle, origin="me")


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "vgg16"},
        {"network": "small_cnn"},
        {"network": "../mine"},
        {"network": None},
        {"file": "../mine.onnx"},
        {"file": "/mine.onnx"},
        {"file": "mine.onnx"},
        {"file": 3},
        {"sha256": "../../../mine"},
        {"sha256": None},
        {"sha256": "../vic//", "file": "../vic///mine.onnx"},
        {"sha256": "A" * 64, "file": "AAAAAAAA/mine.onnx"},
        {"bytes": "3"},
        {"license": 3},
        {"source": None},
        {"date": ["2026"]},
        {"keras": {}},
        {"preprocessing": {}},
        {"preprocessing": "/etc/passwd"},
        {"preprocessing": TORCH | {"std": 0}},
        {"input_size": 32},
        {"input_size": [32]},
        {"input_size": [32, "32"]},
        {"input_size": [32, True]},
        {"input_size": None},
        {"options": None},
        {"more": 1},
    ],
)
def test_an_index_that_is_hostile(bundle, changes):
    index = json.loads((bundle / "weights.json").read_text())
    index["files"][0] |= changes
    (bundle / "weights.json").write_text(json.dumps(index))
    with pytest.raises(InvalidParameterError, match="weights.json' .* cannot be read"):
        list_weights(bundle)
    with pytest.raises(InvalidParameterError, match="weights.json' .* cannot be read"):
        DeepFeatures("mine", weights=bundle).fit(IMAGES)


def test_two_models_of_one_name(bundle):
    index = json.loads((bundle / "weights.json").read_text())
    (entry,) = index["files"]
    index["files"].append(entry | {"input_size": [64, 64]})
    (bundle / "weights.json").write_text(json.dumps(index))
    with pytest.raises(InvalidParameterError, match="several of its models have one name"):
        DeepFeatures("mine", weights=bundle).fit(IMAGES)


def test_a_saved_pipeline(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path / "cache"))
    deep = DeepFeatures("mine", weights=bundle).fit(IMAGES)
    rows, names = deep.transform(IMAGES), deep.get_feature_names_out().tolist()
    save(deep, tmp_path / "whole.skops")
    save(deep, tmp_path / "named.skops", embed=False)
    (network,) = read_card(tmp_path / "whole.skops")["networks"]
    assert network["license"] == "Apache-2.0"
    assert network["preprocessing"] == TORCH | {"channels": "rgb", "resize": "bicubic"}
    assert network["sha256"] == list_weights(bundle)["sha256"].iloc[0]
    assert network["embedded"]
    write_card_html(tmp_path / "whole.skops", tmp_path / "card.html")
    assert "0.00392" in (tmp_path / "card.html").read_text()
    monkeypatch.setenv("FEATBUS_WEIGHTS", str(bundle))
    named = load(tmp_path / "named.skops")
    np.testing.assert_array_equal(named.transform(IMAGES), rows)
    monkeypatch.delenv("FEATBUS_WEIGHTS")
    shutil.rmtree(bundle)
    whole = load(tmp_path / "whole.skops")
    np.testing.assert_array_equal(whole.transform(IMAGES), rows)
    assert whole.get_feature_names_out().tolist() == names


def test_a_pipeline_of_files(source, config, tmp_path, monkeypatch):
    """Neither the ONNX file nor that of the preprocessing is needed where it is loaded."""
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path / "cache"))
    deep = DeepFeatures(source, preprocessing=config, input_size=32).fit(IMAGES)
    rows = deep.transform(IMAGES)
    save(deep, tmp_path / "deep.skops")
    for path in (source, config):
        os.remove(path)
    loaded = load(tmp_path / "deep.skops")
    np.testing.assert_array_equal(loaded.transform(IMAGES), rows)
    assert str(tmp_path / "export") not in (tmp_path / "deep.skops").read_bytes().decode("latin-1")


@pytest.mark.parametrize(
    "name",
    [
        "mammogram_svm",
        "mobilenet_intensity",
        "enhanced_crop",
        "unet_crop",
        "fusion",
        "breast_ultrasound_features",
    ],
)
def test_recipes_with_a_vision_transformer(name, config, tmp_path):
    """As the guide says."""
    source = save_vit(tmp_path / "vit.onnx")
    options = {"source": source, "preprocessing": config, "license": "MIT"}
    fetch_weights("vit", tmp_path / "out", **options)
    (height, _) = list_weights(tmp_path / "out")["input_size"][0]
    takes_layers = name in ("fusion", "breast_ultrasound_features")
    more = {"layers": "top", "input_size": height, "pooling": "cls"} if takes_layers else {}
    recipe = make_recipe(name, backbone="vit", weights=tmp_path / "out", **more)
    networks = [deep for deep in recipe.get_params().values() if isinstance(deep, DeepFeatures)]
    for deep in networks:
        assert clone(deep).fit(IMAGES).layers == "top"
    assert networks


def guide_commands():
    """Return the commands of the guide about models of one's own."""
    text = (Path(__file__).parents[1] / "docs" / "user_guide" / "weights.rst").read_text()
    _, _, text = text.replace("\\\n", " ").partition("Models of your own")
    return [shlex.split(line)[2:] for line in text.splitlines() if line.startswith("   $ featbus")]


@pytest.fixture
def scans(config, tmp_path, monkeypatch):
    """Return the folder of the commands of the guide, which is the current one."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for label, level in (("dark", 60), ("light", 180)):
        (tmp_path / "scans" / label).mkdir(parents=True)
        for number in range(9):
            image = np.uint8(level + rng.integers(0, 40, (40, 40)))
            imsave(f"scans/{label}/{number}.png", image, check_contrast=False)
    save_vit("vit.onnx")
    return tmp_path


def test_the_commands_of_the_guide(scans, capsys):
    fetch, table, extract = guide_commands()[:3]
    assert main(fetch) == main(table) == main(extract) == 0
    assert "Apache-2.0 hub/my-vit, revision 3" in capsys.readouterr().out
    features = pd.read_csv("features.csv")
    assert features.columns[-1] == "my_vit_top_avg_0005"
    assert features.shape[0] == 18
    os.remove("bundle/weights.json")
    assert main(extract) == 2
    assert "Found no weights bundle 'bundle', expected a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_the_commands_that_train(scans):
    fetch, _, _, evaluate, train, predict = guide_commands()
    assert main(fetch) == main(evaluate) == main(train) == 0
    shutil.rmtree(scans / "bundle")
    assert main(predict) == 0
    predictions = pd.read_csv("predictions.csv")
    assert (predictions["predicted"] == predictions["path"].str.split("/").str[0]).all()


def test_a_pipeline_whose_file_is_gone(source, config, tmp_path):
    deep = DeepFeatures(source, preprocessing=config, input_size=32).fit(IMAGES)
    os.remove(source)
    with pytest.raises(ValueError, match=r"the pipeline cannot be saved: .*export\.onnx"):
        save(deep, tmp_path / "deep.skops")


@pytest.mark.network
def test_keras_files_in_a_bundle(config, tmp_path, monkeypatch):
    import keras

    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path / "cache"))
    keras.utils.set_random_seed(0)
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, strides=2, name="only")]
    keras.Sequential(layers, name="theirs").save(tmp_path / "theirs.keras")
    by_path = DeepFeatures(tmp_path / "theirs.keras", preprocessing=config)
    rows, key = by_path.fit_transform(IMAGES), fingerprint(by_path)
    fetch_weights(
        "ours",
        tmp_path / "out",
        source=tmp_path / "theirs.keras",
        preprocessing=config,
        license="-",
    )
    (entry,) = list_weights(tmp_path / "out").to_dict("records")
    assert entry["keras"] == keras.__version__
    assert entry["input_size"] == [32, 32]
    os.remove(tmp_path / "theirs.keras")
    os.remove(config)
    by_name = DeepFeatures("ours", weights=tmp_path / "out")
    np.testing.assert_array_equal(by_name.fit_transform(IMAGES), rows)
    assert fingerprint(by_name) == key
    assert by_name.get_feature_names_out()[0] == "ours_top_avg_0000"
    y = [0, 0, 1]
    tuned = FineTunedFeatures("ours", weights=tmp_path / "out", unfreeze=None)
    rows = tuned.fit(IMAGES, y).transform(IMAGES)
    save(tuned, tmp_path / "tuned.skops")
    shutil.rmtree(tmp_path / "out")
    np.testing.assert_array_equal(load(tmp_path / "tuned.skops").transform(IMAGES), rows)
