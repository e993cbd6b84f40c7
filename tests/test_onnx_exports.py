"""Networks as other libraries export them: the page of the guide, line by line, and their habits."""

import numpy as np
import pytest

from featbus import DeepFeatures, list_layers, make_breast_ultrasound

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from _onnx import SIZE, TORCH, Graph, save_convnet  # noqa: E402

IMAGES = make_breast_ultrasound(2, random_state=0).images


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path / "cache"))


def test_the_memory_of_the_parent_is_not_that_of_the_trial(tmp_path, monkeypatch):
    # What Linux counts as the peak of a child begins with that of its parent.
    monkeypatch.setattr("featbus.networks._onnx_trial._MEMORY", 600 << 20)
    path = tmp_path / "network.onnx"
    save_convnet(path)
    ballast = np.ones(80_000_000)
    assert DeepFeatures(path, preprocessing=TORCH, input_size=SIZE).transform(IMAGES).any()
    assert ballast.nbytes > 600 << 20


def test_a_class_token_that_is_made_of_the_patches(tmp_path):
    graph = Graph()
    maps = graph.conv("image", 3, 8, kernel=4, stride=4, name="maps")
    patches = graph.add("Transpose", [graph.reshape(maps, 0, 8, 64)], perm=[0, 2, 1])
    average = graph.reshape(graph.add("GlobalAveragePool", [maps]), 0, 1, 8)
    tokens = graph.add("Concat", [average, patches], "tokens", axis=1)
    path = tmp_path / "network.onnx"
    graph.save(path, (1, 3, SIZE, SIZE), tokens)
    table = list_layers(path).set_index("name")
    assert table.loc["tokens", ["height", "width", "prefix_tokens"]].tolist() == [8, 8, 1]
    rows = DeepFeatures(path, preprocessing=TORCH, pooling=["cls", "avg"]).transform(IMAGES)
    np.testing.assert_allclose(rows[:, :8], rows[:, 8:], rtol=1e-4, atol=1e-5)
