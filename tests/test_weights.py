"""Bundles of weights, and files that cannot be trusted."""

import hashlib
import http.server
import json
import os
import pickle
import shutil
import socket
import sys
import threading
import time
import zipfile
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
import skimage.data
from _data import data_dir

from featbus import DeepFeatures
from featbus.cli import main
from featbus.networks import (
    KerasApplication,
    KerasEngine,
    Network,
    check_weights,
    fetch_weights,
    file_digest,
    list_weights,
    resolve_weights,
)
from featbus.networks._bundles import _downloads_to, _scratch
from featbus.parameters import InvalidParameterError
from featbus.wording import flags_in_messages

NARROW = {"alpha": 0.35}
SOURCE = KerasApplication("mobilenet_v2", (224, 224), options=NARROW)
KERAS_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
SLOW_SIZES = ("mobilenet", "vgg16")
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of b"abc", FIPS 180-2

pytestmark = pytest.mark.network


@pytest.fixture(autouse=True)
def without_a_bundle(monkeypatch):
    monkeypatch.delenv("FEATBUS_WEIGHTS", raising=False)


def entry(**changes):
    """Return an entry of an index: a file that holds the bytes abc."""
    return {
        "network": "mobilenet_v2",
        "options": {"alpha": 0.35},
        "input_size": 224,
        "file": "base.weights.h5",
        "sha256": ABC,
        "bytes": 3,
        "source": "file",
        "license": None,
        "preprocessing": None,
        "keras": "3.15.1",
        "date": "2026-01-31",
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


def test_check_weights_takes_a_bundle(bundle, tmp_path):
    assert check_weights(bundle) == check_weights(str(bundle)) == str(bundle)
    with pytest.raises(FileNotFoundError, match="no such file as .*weights.json.* bundle"):
        check_weights(tmp_path)


def test_a_network_is_looked_up_and_verified(bundle):
    expected = str(bundle / "base.weights.h5"), ABC
    assert resolve_weights(bundle, "mobilenet_v2", NARROW) == expected
    assert resolve_weights(bundle, "mobilenet_v2", NARROW, (224, 224)) == expected
    assert resolve_weights(bundle, "mobilenet_v2", NARROW, (300, 200)) == expected


def test_what_is_no_bundle_stays_as_it_is(bundle):
    file = bundle / "base.weights.h5"
    assert resolve_weights(file, "vgg16") == (str(file), ABC)
    assert resolve_weights(None, "vgg16") == (None, None)
    assert resolve_weights("imagenet", "vgg16") == ("imagenet", None)


def test_defaults_of_options_are_the_same_network(bundle):
    write_index(bundle, entry(network="mobilenet_v3_small", options={"minimalistic": True}))
    for options in ({"minimalistic": True}, {"minimalistic": True, "alpha": 1.0}):
        assert resolve_weights(bundle, "mobilenet_v3_small", options)[1] == ABC
    with pytest.raises(FileNotFoundError, match="lacks mobilenet_v3_small trained at"):
        resolve_weights(bundle, "mobilenet_v3_small", {"alpha": 1, "minimalistic": False})


def test_a_network_with_other_options_is_offered(bundle):
    message = r"weights fetch mobilenet_v2 --out .* For mobilenet_v2\(alpha=0.35\), pass {}\.$"
    with pytest.raises(
        FileNotFoundError, match=message.format(r"backbone_options={'alpha': 0.35}")
    ):
        resolve_weights(bundle, "mobilenet_v2")
    with (
        flags_in_messages(),
        pytest.raises(FileNotFoundError, match=message.format("--backbone-option alpha=0.35")),
    ):
        resolve_weights(bundle, "mobilenet_v2")
    with pytest.raises(FileNotFoundError, match=r"--out \S+$"):
        resolve_weights(bundle, "mobilenet_v2", input_size=96)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"ab", "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603 .2 bytes"),
        (b"xyz", "3608bca1e44ea6c4d268eb6db02260269892c0b42b86bbf1e77a6fa16c3c9282 .3 bytes"),
    ],
)
def test_a_file_that_is_not_the_expected_one(bundle, content, found):
    resolve_weights(bundle, "mobilenet_v2", NARROW)  # what was right once is looked at again
    (bundle / "base.weights.h5").write_bytes(content)
    message = (
        rf"{bundle}/base.weights.h5' of mobilenet_v2\(alpha=0.35\) is truncated or was changed: "
        rf"expected sha256 {ABC} .3 bytes., found {found}.*"
        f"featbus weights fetch mobilenet_v2 --option alpha=0.35 --out {bundle}$"
    )
    with pytest.raises(ValueError, match=message):
        resolve_weights(bundle, "mobilenet_v2", NARROW)
    assert list_weights(bundle)["state"].tolist() == ["damaged"]


def test_a_file_that_is_not_there(bundle):
    (bundle / "base.weights.h5").unlink()
    with pytest.raises(FileNotFoundError, match="base.weights.h5' of .* is missing. .* fetch"):
        resolve_weights(bundle, "mobilenet_v2", NARROW)
    assert list_weights(bundle)["state"].tolist() == ["missing"]


def test_a_network_that_the_bundle_lacks(bundle):
    message = (
        r"lacks vgg16 trained at 224 pixels. It has: mobilenet_v2\(alpha=0.35\) trained at 224 "
        f"pixels. .*: featbus weights fetch vgg16 --out {bundle}\\.$"
    )
    with pytest.raises(FileNotFoundError, match=message):
        resolve_weights(bundle, "vgg16")
    message = "fetch mobilenet_v2 --option alpha=0.35 --input-size 96 --out"
    with pytest.raises(FileNotFoundError, match=message):
        resolve_weights(bundle, "mobilenet_v2", NARROW, (96, 96))
    write_index(bundle)
    with pytest.raises(FileNotFoundError, match="It has: nothing"):
        resolve_weights(bundle, "vgg16")


def test_the_bundle_of_the_environment(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATBUS_WEIGHTS", str(bundle))
    assert resolve_weights("imagenet", "mobilenet_v2", NARROW)[1] == ABC
    assert resolve_weights(None, "mobilenet_v2", NARROW) == (None, None)
    with pytest.raises(FileNotFoundError, match="lacks vgg16 .* While FEATBUS_WEIGHTS names a"):
        resolve_weights("imagenet", "vgg16")
    for wrong in (tmp_path / "nothing", bundle / "base.weights.h5"):
        monkeypatch.setenv("FEATBUS_WEIGHTS", str(wrong))
        with pytest.raises(FileNotFoundError, match=f"no weights bundle '{wrong}', expected a"):
            resolve_weights("imagenet", "mobilenet_v2", NARROW)
    monkeypatch.setenv("FEATBUS_WEIGHTS", "")
    assert resolve_weights("imagenet", "vgg16") == ("imagenet", None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"files": [{}]}',
        json.dumps({"files": [entry(), "vgg16"]}),
        json.dumps({"files": [entry(network="vgg")]}),
        json.dumps({"files": [entry(options={"depth": 2})]}),
        json.dumps({"files": [entry(options={"alpha": [1]})]}),
        json.dumps({"files": [entry(options=None, input_size="224")]}),
        json.dumps({"files": [entry(input_size="224")]}),
        json.dumps({"files": [entry(input_size=-1)]}),
        '{"files": ' + "[" * 200_000,
        json.dumps({"files": [entry(file="../base.weights.h5")]}),
        json.dumps({"files": [entry(file="/base.weights.h5")]}),
        json.dumps({"files": [entry(file=3)]}),
        json.dumps({"files": [entry(file="..")]}),
        json.dumps({"files": [entry(file="weights.json")]}),
        json.dumps({"files": [entry(file="base\x1b[2J.h5")]}),
        json.dumps({"files": [entry(sha256="abc")]}),
        json.dumps({"files": [entry(bytes=True)]}),
        json.dumps({"files": [entry(license=["MIT"])]}),
        json.dumps({"files": [entry(license="\ud800")]}),
        json.dumps({"files": [entry()] * 1_001}),
    ],
)
def test_an_index_that_is_damaged(bundle, text):
    (bundle / "weights.json").write_text(text)
    for read in (list_weights, partial(fetch_weights, "vgg16")):
        with pytest.raises(ValueError, match="weights.json' .* cannot be read: .* Copy the bundle"):
            read(bundle)


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
    with pytest.raises(FileNotFoundError, match="no weights bundle"):
        list_weights(bundle / "nothing")


def test_control_characters_are_not_printed(bundle, capsys):
    write_index(bundle, entry(license="MIT\x1b[2J\u202e", source="\x1b]0;x\x07"))
    assert main(["weights", "list", str(bundle)]) == 0
    assert r"MIT\x1b[2J\u202e \x1b]0;x\x07 base" in capsys.readouterr().out


def test_folders_of_killed_fetches_are_removed(tmp_path):
    for name, age in (("old", 200_000), ("new", 0)):
        (tmp_path / f".fetch-{name}").mkdir()
        then = time.time() - age
        os.utime(tmp_path / f".fetch-{name}", (then, then))
    with _scratch(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".fetch-new"]


def test_arguments_of_fetch_weights(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="mean 'vgg16'"):
        fetch_weights("vgg_16", out)
    with pytest.raises(ValueError, match="expected no options for vgg16"):
        fetch_weights("vgg16", out, options=NARROW)
    with pytest.raises(FileNotFoundError, match="source is '.*none.h5', and there is no such file"):
        fetch_weights("vgg16", out, source=tmp_path / "none.h5")
    assert not out.exists()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder of a network's weights, in three formats, and its rows."""
    folder = tmp_path_factory.mktemp("weights")
    base = SOURCE.build()
    base.save_weights(folder / "base.weights.h5")
    base.save(folder / "base.keras")
    base.save(folder / "base.h5")  # what Keras 2 wrote
    return folder, rows_of(folder / "base.weights.h5")


def rows_of(path):
    small = replace(SOURCE, input_size=(64, 64), weights=str(path), digest=file_digest(path))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    return KerasEngine(Network(small)).run(pixels, 1)


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.network
@pytest.mark.parametrize(
    "name",
    [
        "base.weights.h5",
        pytest.param("base.keras", marks=pytest.mark.slow),
        pytest.param("base.h5", marks=pytest.mark.slow),
    ],
)
def test_fetch_from_a_file(saved, tmp_path, name):
    source = saved[0] / name
    path = fetch_weights("mobilenet_v2", tmp_path / "out", options=NARROW, source=source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert path == str(tmp_path / "out" / f"{digest[:8]}-{name}")
    assert resolve_weights(tmp_path / "out", "mobilenet_v2", NARROW) == (path, digest)
    np.testing.assert_array_equal(rows_of(path), saved[1])
    (index,) = json.loads((tmp_path / "out" / "weights.json").read_text())["files"]
    assert index.keys() == entry().keys()
    assert index["options"] == NARROW
    assert (index["source"], index["bytes"]) == ("file", source.stat().st_size)
    assert len(content(tmp_path / "out")) == 2
    texts = {"license": "CC0", "origin": "a friend"}
    fetch_weights("mobilenet_v2", tmp_path / "out", options=NARROW, source=source, **texts)
    (row,) = list_weights(tmp_path / "out").to_dict("records")
    assert (row["license"], row["source"], row["file"]) == ("CC0", "a friend", index["file"])


@pytest.mark.slow
@pytest.mark.network
def test_fetch_again(saved, tmp_path, monkeypatch):
    fetch = partial(fetch_weights, "mobilenet_v2", tmp_path, options=NARROW)
    path = fetch(source=saved[0] / "base.weights.h5")
    before = content(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(KerasApplication, "build", None)
        assert fetch() == fetch(source=saved[0] / "base.weights.h5") == path
    assert content(tmp_path) == before
    with open(path, "ab") as file:
        file.write(b"!")
    assert fetch(source=saved[0] / "base.weights.h5") == path
    assert content(tmp_path) == before
    other = fetch(source=saved[0] / "base.h5")
    assert content(tmp_path).keys() == {"weights.json", os.path.basename(other)}
    assert list_weights(tmp_path)["state"].tolist() == ["verified"]


@pytest.mark.slow
@pytest.mark.network
def test_a_bundle_of_several_networks(saved, bundle):
    """Files of one name do not meet, and one file may serve two sizes."""
    (bundle / "base.weights.h5").rename(bundle / "vgg16.weights.h5")
    write_index(bundle, entry(network="vgg16", options={}, file="vgg16.weights.h5"))
    source = saved[0] / "base.weights.h5"
    for size in (224, 96):
        fetch_weights("mobilenet_v2", bundle, options=NARROW, input_size=size, source=source)
    table = list_weights(bundle)
    assert table["network"].tolist() == ["mobilenet_v2", "mobilenet_v2", "vgg16"]
    assert sorted(table["input_size"]) == [96, 224, 224]
    assert set(table["state"]) == {"verified"}
    fetch_weights("mobilenet_v2", bundle, options=NARROW, source=saved[0] / "base.h5")
    assert set(list_weights(bundle)["state"]) == {"verified"}


@pytest.mark.network
def test_a_file_that_does_not_fit_stays_outside(saved, bundle, tmp_path):
    before = content(bundle)
    fetch = partial(fetch_weights, "mobilenet_v2", bundle, source=saved[0] / "base.h5")
    with pytest.raises(ValueError, match=r"not hold the weights of mobilenet_v2\(alpha=0.5\)"):
        fetch(options={"alpha": 0.5})
    half = tmp_path / "base.h5"
    half.write_bytes((saved[0] / "base.h5").read_bytes()[:100_000])
    with pytest.raises(OSError, match="cannot be read"):
        fetch(options=NARROW, source=half)
    assert content(bundle) == before


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Return the folder that Keras downloads MobileNetV2 from, and its address."""
    import keras
    from keras.src.backend import config

    folder = tmp_path / "server"
    folder.mkdir()
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": print_nothing})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder)) as s:
        url = f"http://127.0.0.1:{s.server_port}/"
        for builder in (keras.applications.MobileNetV2, keras.applications.MobileNetV3Small):
            monkeypatch.setattr(sys.modules[builder.__module__], "BASE_WEIGHT_PATH", url)
        monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("no_proxy", "*")
        thread = threading.Thread(target=s.serve_forever)
        thread.start()
        yield folder, url
        s.shutdown()
        thread.join()


def print_nothing(*args):
    pass


@pytest.mark.network
def test_fetch_downloads(saved, server, tmp_path):
    import keras

    get_file = keras.utils.get_file
    module = sys.modules[get_file.__module__]
    folder, url = server
    shutil.copy(saved[0] / "base.h5", folder / KERAS_FILE)
    out = tmp_path / "out"
    path = fetch_weights("mobilenet_v2", out, options=NARROW)
    digest = file_digest(saved[0] / "base.h5")
    assert content(out).keys() == {"weights.json", f"{digest[:8]}-{KERAS_FILE}"}
    assert list_weights(out)["source"].tolist() == [url + KERAS_FILE]
    assert module.get_file is get_file
    assert not (tmp_path / "cache").exists()
    (folder / KERAS_FILE).unlink()
    assert fetch_weights("mobilenet_v2", out, options=NARROW) == path
    np.testing.assert_array_equal(rows_of(path), saved[1])


@pytest.mark.network
def test_downloads_that_fail(saved, server, bundle):
    folder, url = server
    before = content(bundle)
    message = f"0.5. could not be fetched: .*404.* Get {url}.*_0.5_224_no_top.h5 .* as source"
    with pytest.raises(OSError, match=message):
        fetch_weights("mobilenet_v2", bundle, options={"alpha": 0.5})
    half = KERAS_FILE.replace("0.35", "0.75")
    (folder / half).write_bytes((saved[0] / "base.h5").read_bytes()[:100_000])
    with pytest.raises(OSError, match=f"0.75. could not be fetched: .* Get {url}{half} by"):
        fetch_weights("mobilenet_v2", bundle, options={"alpha": 0.75})
    name = "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"
    shutil.copy(saved[0] / "base.h5", folder / name)
    with pytest.raises(OSError, match="mobilenet_v3_small could not .* file hash does not match"):
        fetch_weights("mobilenet_v3_small", bundle)
    with pytest.raises(ValueError, match="alpha must be one of"):
        fetch_weights("mobilenet_v2", bundle, options={"alpha": 0.4})
    assert content(bundle) == before


@pytest.mark.network
def test_downloads_have_a_time_out(tmp_path):
    with _downloads_to(str(tmp_path)):
        assert socket.getdefaulttimeout() == 60
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("size", [0, -1, 2.5, "224", (224, 224)])
def test_fetch_checks_the_size(tmp_path, size):
    with pytest.raises(InvalidParameterError, match="input_size"):
        fetch_weights("mobilenet_v2", tmp_path / "bundle", input_size=size)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined:UserWarning")
@pytest.mark.parametrize(
    "name",
    ["mobilenet_v2", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_SIZES)],
)
def test_sizes_are_told_apart_as_keras_does(bundle, monkeypatch, name):
    """Two inputs share an entry where Keras takes the same file for both, and only there."""
    import keras

    files, entries = [], []
    write_index(bundle)
    module = sys.modules[keras.utils.get_file.__module__]
    monkeypatch.setattr(module, "get_file", lambda fname, *a, **k: files.append(fname))
    for size in [(96, 96), (128, 128), (160, 160), (192, 192), (224, 224), (256, 256), (128, 160)]:
        with pytest.raises(Exception, match="None"):
            KerasApplication(name, size, weights="imagenet").build()
        with pytest.raises(FileNotFoundError, match="trained at") as caught:
            resolve_weights(bundle, name, None, size)
        entries.append(str(caught.value))
    assert [files.index(file) for file in files] == [entries.index(one) for one in entries]


@pytest.mark.network
def test_real_weights(tmp_path):
    """A bundle of the ImageNet weights gives their published rows."""
    folder = data_dir("weights")
    reference = json.loads((folder / "reference.json").read_text())
    path = fetch_weights(
        "mobilenet_v2", tmp_path, options=NARROW, source=folder / reference["file"]
    )
    digest = resolve_weights(tmp_path, "mobilenet_v2", NARROW)[1]
    assert digest == reference["sha256"]
    image = cv2.resize(skimage.data.astronaut(), (224, 224), interpolation=cv2.INTER_AREA)
    network = Network(replace(SOURCE, weights=path, digest=digest))
    row = KerasEngine(network).run(image[None].astype(np.float32), 1)[0]
    np.testing.assert_allclose(row[:8], reference["pooled_first_8"], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.network
def test_deep_features_of_a_bundle(saved, tmp_path, monkeypatch):
    source = str(saved[0] / "base.weights.h5")
    fetch_weights("mobilenet_v2", tmp_path, options=NARROW, source=source)
    images = np.random.default_rng(0).integers(0, 256, (2, 50, 60), np.uint8)
    deep = DeepFeatures("mobilenet_v2", backbone_options=NARROW, input_size=64, weights=source)
    rows, key = deep.fit_transform(images), deep._fingerprint_params()
    np.testing.assert_array_equal(deep.set_params(weights=tmp_path).fit_transform(images), rows)
    assert deep._fingerprint_params() == key
    monkeypatch.setenv("FEATBUS_WEIGHTS", str(tmp_path))
    np.testing.assert_array_equal(deep.set_params(weights="imagenet").fit_transform(images), rows)
    assert deep._fingerprint_params() == key
    with pytest.raises(FileNotFoundError, match="lacks mobilenet_v2 trained at 224 pixels"):
        deep.set_params(backbone_options=None).fit(images)


class Payload:
    """Leave a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (self.trace, "w")


@pytest.fixture
def trace(tmp_path):
    """Return the file that malicious code writes."""
    return tmp_path / "trace"


@pytest.fixture
def malicious(trace, tmp_path):
    """Return a function that saves a network whose configuration has Python code."""
    import keras

    def save(name):
        images, path = keras.Input((8, 8, 3)), str(trace)
        code = keras.layers.Lambda(lambda x: (open(path, "w").close(), x)[1])
        keras.Model(images, code(images)).save(tmp_path / name)
        trace.unlink()
        return tmp_path / name

    return save


@pytest.mark.network
@pytest.mark.parametrize("name", ["evil.keras", pytest.param("evil.h5", marks=pytest.mark.slow)])
def test_code_in_a_file_does_not_run(malicious, saved, trace, tmp_path, name):
    import keras

    evil = malicious(name)
    with pytest.raises(ValueError, match="does not hold the weights"):
        fetch_weights("mobilenet_v2", tmp_path / "out", options=NARROW, source=evil)
    mixed = tmp_path / f"mixed-{name}"
    shutil.copy(saved[0] / name.replace("evil", "base"), mixed)
    _take_configuration(evil, mixed)
    path = fetch_weights("mobilenet_v2", tmp_path / "out", options=NARROW, source=mixed)
    np.testing.assert_array_equal(rows_of(path), saved[1])
    assert not trace.exists()
    keras.saving.load_model(evil, safe_mode=False)
    assert trace.exists()  # it would have run


def _take_configuration(evil, good):
    """Give a file with good weights the configuration of an evil one."""
    if good.suffix == ".h5":
        import h5py

        with h5py.File(evil) as source, h5py.File(good, "a") as target:
            target.attrs["model_config"] = source.attrs["model_config"]
        return
    with zipfile.ZipFile(evil) as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile(good) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(good, "w") as archive:
        for name, data in {**files, "config.json": config}.items():
            archive.writestr(name, data)


@pytest.mark.network
@pytest.mark.parametrize("place", ["names", "weight"])
def test_a_pickle_in_a_file_stays_one(saved, trace, tmp_path, place):
    import h5py

    payload = pickle.dumps(Payload(str(trace)))
    file = tmp_path / "base.h5"
    shutil.copy(saved[0] / "base.h5", file)
    with h5py.File(file, "a") as opened:
        group = opened["model_weights"]
        if place == "names":
            group.attrs["layer_names"] = np.void(payload)
        else:
            names = []
            group["Conv1"].visititems(
                lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
            )
            del group["Conv1"][names[0]]
            group["Conv1"][names[0]] = np.void(payload)
    with pytest.raises(ValueError, match="does not hold the weights"):
        fetch_weights("mobilenet_v2", tmp_path / "out", options=NARROW, source=file)
    assert not trace.exists()
    pickle.loads(payload)
    assert trace.exists()
