"""The OpenVINO engine against Keras, and the cache that it comes from."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import joblib
import numpy as np
import pytest
from _data import data_dir
from _engine_worker import needs_bf16, needs_openvino, row_and_engine, tensorflow_threads
from _networks import change_source, make_network
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from featbus import DeepFeatures
from featbus.base import thread_limit
from featbus.networks import NAMED, KerasEngine, KerasModel, Network, _engines, _openvino
from featbus.networks._openvino import OpenVINOEngine
from featbus.parameters import InvalidParameterError

# One small network of each family.
FAMILIES = "vgg16 resnet50 resnet50_v2 inception_v3 inception_resnet_v2 xception densenet121 "
FAMILIES += "mobilenet mobilenet_v2 mobilenet_v3_small mobilenet_v3_large nasnet_mobile "
FAMILIES += "efficientnet_b0 efficientnet_v2_b0 convnext_tiny"
SMALL = {"backbone": "small_cnn", "weights": None, "input_size": 32, "engine": "openvino"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache, monkeypatch):
    monkeypatch.setenv("FEATBUS_CACHE", str(cache))
    _engines._load_engine.cache_clear()  # what it holds may come from the folder of another test


@pytest.fixture
def real():
    """Return the parameters of a small network with real weights."""
    path = data_dir("weights") / "mobilenet_v2_0.35_224_no_top.weights.h5"
    return {
        "backbone": "mobilenet_v2",
        "backbone_options": {"alpha": 0.35},
        "weights": str(path),
        "input_size": 96,
        "layers": ["C3", "top"],
        "pooling": ["avg", "max", "std"],
    }


@pytest.fixture(scope="module")
def tiny():
    """Return a network of three layers, which is converted in no time.

    OpenVINO converts the gradient of a "swish", too, as further outputs.
    """
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(image)
    maps = keras.layers.Conv2D(5, 3, activation="swish")(maps)
    model = keras.Model(image, keras.layers.Conv2D(6, 3, activation="relu")(maps), name="tiny")
    source = KerasModel(model, NAMED["tf"], (16, 16))
    return Network(source, ("C1", "top"), ("avg", "max2x2"))


def noise(n_images=5, shape=(80, 70)):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n_images, *shape), dtype=np.uint8)


def pixels(size, n_images=3):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (n_images, *size, 3)).astype(np.float32)


def regions(size, n_images=3):
    """Return regions of less and less of the image; the last is smaller than a cell."""
    inside = np.zeros((n_images, *size), np.float32)
    for index, region in enumerate(inside):
        region[: size[0] >> (2 * index), : size[1] >> (2 * index)] = 1
    return inside


def assert_close(rows, expected, rtol=1e-3):
    """Compare rows relative to the scale of the largest value."""
    assert np.ptp(expected) > 1e-6
    np.testing.assert_allclose(rows, expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.network
@needs_openvino
def test_rows_are_those_of_keras(real):
    images = noise()
    keras, deep = DeepFeatures(**real), DeepFeatures(**real, engine="openvino")
    rows = deep.fit_transform(images)
    groups = np.cumsum([96, 96, 96, 1280, 1280])
    expected = np.split(keras.transform(images), groups, axis=1)
    for part, group in zip(np.split(rows, groups, axis=1), expected):
        assert_close(part, group, 1e-4)
    assert deep.get_feature_names_out().tolist() == keras.get_feature_names_out().tolist()
    report = deep.engine_report_
    assert report["engine"] == "openvino"
    assert 0 < report["max_relative_error"] < 1e-3
    assert Path(report["path"]).is_file()
    assert keras.engine_report_["engine"] == "keras"


@pytest.mark.network
@needs_openvino
def test_batches_do_not_matter():
    images = noise(7)
    expected = DeepFeatures(**SMALL, batch_size=7).transform(images)
    order = np.random.default_rng(0).permutation(7)
    for batch_size in (1, 3):
        deep = DeepFeatures(**SMALL, batch_size=batch_size)
        np.testing.assert_array_equal(deep.transform(images[order]), expected[order])
    with threadpool_limits(1):
        np.testing.assert_array_equal(deep.transform(images), expected)


@pytest.mark.network
@needs_openvino
@pytest.mark.parametrize("pooling", [("avg", "max2x2"), ("gem", "std", "avg3x3", "flatten")])
def test_regions(tiny, pooling):
    batch, inside = pixels((16, 16)), regions((16, 16))
    network = replace(tiny, pooling=pooling)
    converted, keras = OpenVINOEngine(replace(network, engine="openvino")), KerasEngine(network)
    assert converted.shapes == keras.shapes
    expected = keras.run(batch, 3, inside)
    assert_close(converted.run(batch, 3, inside), expected, 1e-5)
    assert np.abs(keras.run(batch, 3) - expected).max() > 0.01
    assert_close(converted.run(batch, 3), keras.run(batch, 3), 1e-5)


@pytest.mark.slow
@pytest.mark.network
@needs_openvino
@pytest.mark.skipif(
    os.environ.get("FEATBUS_ALL_NETWORKS") != "1", reason="FEATBUS_ALL_NETWORKS=1 converts these"
)
@pytest.mark.parametrize("name", FAMILIES.split())
def test_every_family(name):
    engine = OpenVINOEngine(make_network(name, (96, 96), ("C3", "top"), ("avg",), "openvino"))
    assert engine.report["max_relative_error"] < 1e-3  # compared with Keras


FRESH = """
import sys
import numpy as np
from featbus import DeepFeatures
deep = DeepFeatures(**{parameters!r})
np.save({target!r}, deep.fit_transform(np.load({source!r})))
deep.get_feature_names_out()
print(*{{"tensorflow", "keras", "openvino_telemetry"}} & set(sys.modules))
"""


@pytest.mark.slow
@pytest.mark.network
@needs_openvino
def test_a_fresh_process_needs_no_tensorflow(tmp_path):
    images = noise(3)
    expected = DeepFeatures(**SMALL).transform(images)
    source, target = str(tmp_path / "images.npy"), str(tmp_path / "rows.npy")
    np.save(source, images)
    code = FRESH.format(parameters=SMALL, source=source, target=target)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    np.testing.assert_allclose(np.load(target), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@needs_openvino
def test_two_threads_may_be_the_first():
    """Without care, most of such processes hang."""
    code = (
        "import sys, threading\n"
        "from featbus.networks._openvino import _import_openvino\n"
        "sys.setswitchinterval(1e-6)\n"
        "openvino, barrier = _import_openvino(), threading.Barrier(2)\n"
        "use = lambda: barrier.wait() + openvino.Type.f32.to_dtype().itemsize\n"
        "threads = [threading.Thread(target=use) for _ in range(2)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.network
@needs_openvino
def test_a_damaged_file_is_converted_again(tiny):
    network = replace(tiny, engine="openvino")
    engine = OpenVINOEngine(network)
    path = Path(engine.report["path"])
    whole = path.read_bytes()
    batch, middle = pixels((16, 16)), len(whole) // 2
    changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damaged in (whole[:middle], changed, b""):
        path.write_bytes(damaged)
        again = OpenVINOEngine(network)
        assert path.read_bytes() != damaged
        assert OpenVINOEngine(network).report == again.report
        np.testing.assert_allclose(again.run(batch, 3), engine.run(batch, 3), rtol=1e-6)


@pytest.mark.network
@needs_openvino
@pytest.mark.parametrize(("factor", "found"), [(1.01, "0.0099"), (np.nan, "nan")])
def test_what_differs_from_keras_is_refused(factor, found, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path))
    true = _openvino._compute_maps
    # One layer of two.
    wrong = lambda *args: [true(*args)[0], factor * true(*args)[1]]  # noqa: E731
    monkeypatch.setattr(_openvino, "_compute_maps", wrong)
    with pytest.raises(RuntimeError, match=f"tiny on OpenVINO .* {found}"):
        OpenVINOEngine(replace(tiny, engine="openvino"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.network
@needs_bf16
def test_bf16(real, cache):
    single = DeepFeatures(**real, engine="openvino")
    half = clone(single).set_params(precision="bf16")
    smooth = [cv2.GaussianBlur(image, (0, 0), 3) for image in noise()]
    expected, n_files = single.transform(smooth), len(list(cache.iterdir()))
    rows = half.transform(smooth)
    assert not np.allclose(rows, expected, rtol=1e-3)
    np.testing.assert_array_equal(half.set_params(batch_size=1).transform(smooth[::-1]), rows[::-1])
    assert half._fingerprint_params() != single._fingerprint_params()
    report = half.engine_report_
    assert report["precision"] == "bf16"
    assert 0.001 < report["max_relative_error"] < 0.45
    assert len(list(cache.iterdir())) == n_files  # one for both


@pytest.mark.network
@needs_bf16
def test_bf16_that_differs_is_refused(tiny, monkeypatch):
    network = replace(tiny, engine="openvino", precision="bf16")
    OpenVINOEngine(network)
    load = _openvino.load_model

    def load_broken(model, weights, precision):
        infer = load(model, weights, precision)
        broken = 0.5 if precision == "bf16" else 1
        return lambda values: [broken * layer for layer in infer(values)]

    monkeypatch.setattr(_openvino, "load_model", load_broken)
    with pytest.raises(RuntimeError, match="tiny .* in bf16"):
        OpenVINOEngine(network)


@needs_openvino
def test_a_precision_that_the_processor_lacks(monkeypatch):
    class Core:
        def get_property(self, device, name):
            return ["FP32", "INT8"] if name == "OPTIMIZATION_CAPABILITIES" else "Z80"

    deep = DeepFeatures(engine="openvino", precision="bf16", weights=None)
    monkeypatch.setattr(_openvino._import_openvino(), "Core", Core)
    with pytest.raises(InvalidParameterError, match="Z80.* bf16"):
        deep.fit(noise())


@pytest.mark.network
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"engine": "keras", "precision": "bf16"}, "precision is 'bf16'.*'keras'"),
        ({"engine": "onnxruntime"}, "engine is 'onnxruntime'.*'openvino'.* vgg16"),
    ],
)
def test_what_the_engine_lacks(parameters, message):
    with pytest.raises(InvalidParameterError, match=message):
        DeepFeatures(weights=None, **parameters).fit(noise())


@pytest.mark.network
@needs_openvino
def test_a_folder_that_cannot_be_written(tiny, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("FEATBUS_CACHE", str(file))
    with pytest.raises(OSError, match="FEATBUS_CACHE"):
        OpenVINOEngine(replace(tiny, engine="openvino"))


def test_a_missing_extra(monkeypatch):
    monkeypatch.setattr(_engines, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'featbus(-slim)?\[openvino\]'"):
        DeepFeatures(engine="openvino", weights=None).fit(noise())


def test_where_converted_networks_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert _openvino.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("FEATBUS_CACHE")
    assert _openvino.cache_dir() == tmp_path / "xdg" / "featbus"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert _openvino.cache_dir().is_relative_to(Path.home())


@pytest.mark.network
def test_file_names_tell_networks_apart(monkeypatch):
    monkeypatch.setattr(_openvino, "find_release", lambda engine: "1")
    network = make_network("vgg16", (32, 32), engine="openvino", weights="a.h5", digest="12")
    moved = change_source(network, weights="b.h5")
    assert _openvino._file_name(moved) == _openvino._file_name(network)
    others = [replace(network, pooling=("max",)), change_source(network, digest="34")]
    names = {_openvino._file_name(one) for one in [network, *others]}
    monkeypatch.setattr(_openvino, "find_release", lambda engine: "2")
    assert len({*names, _openvino._file_name(network)}) == 4


@pytest.mark.slow
def test_limits_of_threads():
    assert 1 <= thread_limit() <= joblib.cpu_count()
    with threadpool_limits(1):
        assert thread_limit() == 1
    code = "from featbus.base import thread_limit; print(thread_limit())"
    command, environment = [sys.executable, "-c", code], os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert int(done.stdout) == 1


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.skipif(joblib.cpu_count() < 2, reason="one core")
def test_tensorflow_in_workers_shares_the_cores(monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    found = joblib.Parallel(n_jobs=joblib.cpu_count(), backend="loky")(
        [joblib.delayed(tensorflow_threads)()]
    )
    assert found == [1]


@pytest.mark.slow
@pytest.mark.network
@needs_openvino
def test_each_worker_loads_one_network():
    deep, images = DeepFeatures(**SMALL), noise(6)
    expected = deep.transform(images)
    get_reusable_executor().shutdown()  # workers of other tests may have imported TensorFlow
    results = joblib.Parallel(n_jobs=2, backend="loky")(
        joblib.delayed(row_and_engine)(deep, image) for image in images
    )
    pids, engines, rows, imported = zip(*results)
    assert os.getpid() not in pids
    assert len(set(zip(pids, engines))) == len(set(pids))
    assert not any(imported)
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.network
@needs_openvino
def test_conversion_reports_nothing_and_leaves_nothing(tmp_path):
    """Nobody hears of it; logging and the folder of temporary files stay as they were."""
    code = f"""
import logging, os, sys
from multiprocessing import process
logging.getLogger().setLevel(logging.INFO)
process.BaseProcess.start = None
from featbus import DeepFeatures
import numpy as np
DeepFeatures(**{SMALL!r}).transform(np.zeros((2, 40, 40), np.uint8))
assert not os.path.exists(os.path.expanduser("~/intel"))
assert "openvino_telemetry" not in sys.modules
assert logging.getLogger().level == logging.INFO
"""
    folders = {name: tmp_path / name for name in ("HOME", "TMPDIR", "FEATBUS_CACHE")}
    for folder in folders.values():
        folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {name: str(folder) for name, folder in folders.items()}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # TensorFlow traces functions from temporary files
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not list(folders["TMPDIR"].iterdir())
    assert len(list(folders["FEATBUS_CACHE"].iterdir())) == 1
