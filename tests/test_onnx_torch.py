"""Rows of ONNX files against PyTorch, which exported them."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from featbus import DeepFeatures
from featbus.masks import with_mask

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("torch") is None or find_spec("onnxscript") is None,
        reason="needs `pip install torch onnxscript`",
    ),
]

PREPROCESSING = {
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "scale": 1 / 255,
    "channels": "rgb",
}
POOLING = ["avg", "max", "gem", "std", "avg2x2", "max3x2", "gem1x2", "std2x3", "flatten"]
ENGINES = ["onnxruntime", "openvino"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with networks and what PyTorch computes, made in another process."""
    folder = tmp_path_factory.mktemp("torch")
    script = Path(__file__).with_name("_torch_networks.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


def read(folder, name):
    """Return the path of a network, its tensors by module, images with masks, and the maps."""
    arrays = dict(np.load(folder / f"{name}.npz"))
    tensors = json.loads((folder / f"{name}.json").read_text())
    regions = arrays.pop("regions")
    images = [
        image if region.all() else with_mask(image, region)
        for image, region in zip(arrays.pop("images"), regions)
    ]
    return str(folder / f"{name}.onnx"), tensors, images, regions, arrays


def pool_slowly(cells, shares, pooling):
    """Pool one map of shape (height, width, channels) cell by cell, channel by channel."""
    height, width, n_channels = cells.shape
    if pooling == "flatten":
        return cells.ravel().tolist()
    rows, columns = map(int, pooling[3:].split("x")) if pooling[3:] else (1, 1)
    row = []
    for i in range(rows):
        for j in range(columns):
            inside = [
                (y, x)
                for y in range(i * height // rows, -(-(i + 1) * height // rows))
                for x in range(j * width // columns, -(-(j + 1) * width // columns))
                if shares[y, x] > 0
            ]
            for channel in range(n_channels):
                values = [float(cells[y, x, channel]) for y, x in inside]
                row.append(_statistic(pooling[:3], values, [shares[cell] for cell in inside]))
    return row


def _statistic(name, values, shares):
    if not values:
        return 0
    if name == "max":
        return max(values)

    def average(numbers):
        return sum(share * number for share, number in zip(shares, numbers)) / sum(shares)

    if name == "gem":
        return average([max(value, 1e-6) ** 3 for value in values]) ** (1 / 3)
    mean = average(values)
    return mean if name == "avg" else average([(value - mean) ** 2 for value in values]) ** 0.5


def share_slowly(region, height, width):
    """Return the share of each cell that lies inside a region of pixels; sides divide."""
    (rows, columns), shares = np.array(region.shape) // (height, width), np.empty((height, width))
    for y in range(height):
        for x in range(width):
            cell = region[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
            shares[y, x] = cell.mean()
    return shares


def expected_rows(maps, regions, pooling):
    """Return the rows of one layer's maps, of shape (n_images, height, width, channels)."""
    rows = []
    for cells, region in zip(maps, regions):
        shares = share_slowly(region, *cells.shape[:2])
        rows.append(np.hstack([pool_slowly(cells, shares, name) for name in pooling]))
    return rows


def compare(rows, expected, name):
    # Numbers of half precision have three digits, and engines differ in where they round.
    tolerance = 2e-2 if "half" in name else 1e-4
    np.testing.assert_allclose(rows, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("variant", ["fixed", "batch", "size", "half"])
def test_maps_and_stages_of_a_residual_network(folder, variant, exporter, engine):
    name = f"resnet_{variant}_{exporter}"
    path, tensors, images, regions, maps = read(folder, name)
    options = {
        "preprocessing": PREPROCESSING,
        "input_size": images[0].shape[:2],
        "pooling": POOLING,
        "engine": engine,
    }
    expected = {}
    for module in tensors:
        channels_last = np.moveaxis(maps[module], 1, -1)
        expected[module] = expected_rows(channels_last, regions, POOLING)
    by_name = DeepFeatures(path, layers=list(tensors.values()), **options)
    compare(by_name.transform(images), np.hstack(list(expected.values())), name)
    stages = DeepFeatures(path, layers=["C1", "C2", "C3", "C4", "C5"], **options)
    modules = ["stem", *(f"stages.{index}" for index in range(4))]
    compare(stages.transform(images), np.hstack([expected[module] for module in modules]), name)
    top = DeepFeatures(path, **options)
    compare(top.transform(images), expected["stages.3"], name)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("variant", ["fixed", "batch", "size", "half"])
@pytest.mark.parametrize(("network", "n_prefix"), [("vit", 3), ("vit_bare", 0)])
def test_tokens_of_a_vision_transformer(folder, network, n_prefix, variant, exporter, engine):
    name = f"{network}_{variant}_{exporter}"
    path, tensors, images, regions, tokens = read(folder, name)
    size = images[0].shape[:2]
    grid = size[0] // 16, size[1] // 16
    options = {"preprocessing": PREPROCESSING, "input_size": size, "engine": engine}
    expected = []
    for module in tensors:
        patches = tokens[module][:, n_prefix:].reshape(3, *grid, -1)
        expected.append(expected_rows(patches, regions, POOLING))
    deep = DeepFeatures(path, layers=list(tensors.values()), pooling=POOLING, **options)
    compare(deep.transform(images), np.hstack(expected), name)
    if n_prefix:
        classes = DeepFeatures(path, layers=list(tensors.values()), pooling="cls", **options)
        compare(classes.transform(images), np.hstack([tokens[m][:, 0] for m in tensors]), name)


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_nothing_is_computed_past_the_last_tap(folder, exporter):
    import onnx

    from featbus.networks._onnx_file import read_onnx
    from featbus.networks._onnx_graph import truncate

    path, tensors, images, *_ = read(folder, f"resnet_fixed_{exporter}")
    taps = [tensors["stem"], tensors["stages.1"]]
    model = onnx.load_from_string(truncate(read_onnx(path), taps, (1, 3, *images[0].shape[:2])))
    weights = {tensor.name for tensor in model.graph.initializer}
    assert any("stages.1" in name for name in weights)
    assert not any(part in name for name in weights for part in ("stages.2", "classifier"))
    assert sum(node.op_type == "Conv" for node in model.graph.node) == 7
    assert len(model.graph.output) == 2
