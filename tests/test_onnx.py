"""Networks in ONNX files: layers, tokens, pooling, engines and errors. No TensorFlow."""

import json
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from _adapters import from_rows
from _data import data_dir
from _pooling import pool_pixels
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator
from threadpoolctl import threadpool_limits

from featbus import DeepFeatures, FeatureBus, FineTunedFeatures, list_layers
from featbus.bus import fingerprint
from featbus.images import ImageError
from featbus.masks import with_mask
from featbus.networks import load_engine
from featbus.networks._onnx_layers import make_labels
from featbus.parameters import InvalidParameterError

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
networks = pytest.importorskip("_onnx")
TORCH, save_convnet, save_vit = networks.TORCH, networks.save_convnet, networks.save_vit

SIZE = 32
needs_openvino = pytest.mark.skipif(not find_spec("openvino"), reason="no openvino")
ENGINES = ["onnxruntime", pytest.param("openvino", marks=needs_openvino)]
POOLING = ["avg", "max", "gem", "std", "avg2x2", "max3x2", "gem2x2", "std2x3", "flatten"]
# How the file is written, see `save_convnet`.
CONVNETS = {
    "NCHW": {},
    "NHWC": {"shape": ("n", "h", "w", 3)},
    "fixed": {"shape": (1, 3, SIZE, SIZE)},
    "batch of 4": {"shape": (4, 3, SIZE, SIZE), "classifier": True},
    "classifier": {"classifier": True},
    "any channels": {"shape": ("n", "c", "h", "w")},
    "float16": {"dtype": np.float16},
    "float16, NHWC": {"dtype": np.float16, "shape": (1, SIZE, SIZE, 3)},
}


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATBUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def make_images(n_images=3, seed=0):
    """Return images of the network's size, so that nothing is resized."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n_images, SIZE, SIZE, 3), dtype=np.uint8)


def make_regions(n_images=3):
    """Return regions of most of the image, of a corner, and of one pixel."""
    regions = np.zeros((n_images, SIZE, SIZE), bool)
    regions[0, 3:30, 5:] = True
    regions[1, :13, :7] = True
    regions[2:, 20, 9] = True
    return regions


def compute(path, images, tensor):
    """Return a tensor of a file for each image, as the reference implementation computes it."""
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(path)
    if tensor not in [value.name for value in model.graph.output]:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(tensor))
    names = [value.name for value in model.graph.output]
    (image,) = model.graph.input
    kind = onnx.helper.tensor_dtype_to_np_dtype(image.type.tensor_type.elem_type)
    values = (images / 255 - TORCH["mean"]) / TORCH["std"]
    if image.type.tensor_type.shape.dim[3].dim_value != 3:
        values = np.moveaxis(values, 3, 1)
    run = ReferenceEvaluator(model).run
    results = [run(None, {"image": value[None].astype(kind)}) for value in values]
    return np.concatenate([result[names.index(tensor)] for result in results]).astype(np.float32)


def pool_all(maps, pooling, regions=None):
    """Return rows of maps (n, height, width, channels), pixel by pixel."""
    if regions is None:
        regions = np.ones((len(maps), 96, 96), bool)
    return [
        np.concatenate([pool_pixels(cells, region, name) for name in pooling])
        for cells, region in zip(maps, regions)
    ]


def assert_close(rows, expected, rtol=1e-5):
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(rows, expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize(
    ("kind", "engine"),
    [
        *((kind, "onnxruntime") for kind in CONVNETS),
        pytest.param("NCHW", "openvino", marks=needs_openvino),
        pytest.param("float16, NHWC", "openvino", marks=needs_openvino),
    ],
)
def test_rows_of_a_convnet(tmp_path, kind, engine):
    path = save_convnet(tmp_path / "net.onnx", **CONVNETS[kind])
    images, pooling = make_images(), POOLING if kind in ("NCHW", "NHWC") else ["avg", "max2x2"]
    deep = DeepFeatures(
        path,
        layers=["C2", "top"],
        pooling=pooling,
        preprocessing=TORCH,
        input_size=SIZE,
        engine=engine,
    )
    top = "maps" if "NHWC" in kind else "relu3"
    maps = [compute(path, images, tensor) for tensor in ("relu2", top)]
    # Inside, convolutions have channels first; only the output may have them last.
    maps[0] = np.moveaxis(maps[0], 1, 3)
    maps[1] = maps[1] if top == "maps" else np.moveaxis(maps[1], 1, 3)
    expected = np.hstack([pool_all(values, pooling) for values in maps])
    assert_close(deep.fit_transform(images), expected, 5e-3 if "float16" in kind else 1e-5)


@pytest.mark.parametrize(
    ("n_registers", "has_class", "engine"),
    [
        (2, True, "onnxruntime"),
        pytest.param(2, True, "openvino", marks=needs_openvino),
        (0, True, "onnxruntime"),
        (0, False, "onnxruntime"),
    ],
)
def test_rows_of_tokens(tmp_path, n_registers, has_class, engine):
    path = save_vit(tmp_path / "vit.onnx", n_registers=n_registers, has_class=has_class)
    deep = DeepFeatures(path, pooling=POOLING, preprocessing=TORCH, engine=engine)
    images, n_prefix = make_images(), n_registers + has_class
    tokens = compute(path, images, "tokens")
    grid = tokens[:, n_prefix:].reshape(3, 4, 4, 6)
    assert_close(deep.fit_transform(images), pool_all(grid, POOLING))
    if has_class:
        deep.set_params(pooling=["cls", "max"])
        expected = np.hstack([tokens[:, 0], grid.max((1, 2))])
        assert_close(deep.fit_transform(images), expected)
        names = deep.get_feature_names_out()
        assert names[[0, 6]].tolist() == ["vit_top_cls_0000", "vit_top_max_0000"]
        assert deep.where("vit_top_cls_0003", (80, 60))[:2] == (slice(0, 80), slice(0, 60))


@pytest.mark.parametrize("save", [save_convnet, save_vit])
def test_regions_are_those_of_the_grid(tmp_path, save):
    path = save(tmp_path / "net.onnx")
    inside, pooling = make_regions(), POOLING[:-1]
    deep = DeepFeatures(path, pooling=pooling, preprocessing=TORCH, input_size=SIZE)
    masked = [with_mask(image, region) for image, region in zip(make_images(), inside)]
    tensor = "relu3" if save is save_convnet else "tokens"
    values = compute(path, make_images() * inside[..., None], tensor)
    if save is save_convnet:
        maps = np.moveaxis(values, 1, 3)
    else:
        maps = values[:, 3:].reshape(3, 4, 4, 6)
    assert_close(deep.fit_transform(masked), pool_all(maps, pooling, inside))
    everything = [with_mask(image, np.ones((SIZE, SIZE), bool)) for image in make_images()]
    np.testing.assert_array_equal(deep.transform(everything), deep.transform(make_images()))


def test_pixels_outside_do_not_matter(tmp_path):
    path, inside = save_vit(tmp_path / "vit.onnx"), make_regions()
    deep = DeepFeatures(path, pooling=["cls", "avg", "std2x2"], preprocessing=TORCH)
    rows = [
        deep.transform([with_mask(*pair) for pair in zip(images, inside)])
        for images in (
            make_images(),
            np.where(inside[..., None], make_images(), make_images(seed=1)),
        )
    ]
    np.testing.assert_array_equal(*rows)


def test_where_is_that_of_the_patches(tmp_path):
    path = save_vit(tmp_path / "vit.onnx")
    deep = DeepFeatures(path, pooling=["avg2x2", "flatten"], preprocessing=TORCH)
    names = deep.get_feature_names_out()
    assert len(set(names)) == len(names) == 6 * (4 + 16)
    assert deep.where("vit_top_avg2x2_r1c0_0002", (80, 60))[:2] == (slice(40, 80), slice(0, 30))
    assert deep.where("vit_top_flatten_r1c3_0002", (80, 60))[:2] == (slice(20, 40), slice(45, 60))


@pytest.mark.parametrize(
    ("head", "layers", "tensor"),
    [
        ("pooled", "top", "pooled"),
        ("projected", "top", "matmul_27"),
        ("logits", "top", "tokens"),
        ("logits", "logits", "logits"),
        ("logits", "pooled", "pooled"),
    ],
)
def test_embeddings_and_classifiers(tmp_path, head, layers, tensor):
    path, images = save_vit(tmp_path / "vit.onnx", head=head), make_images()
    deep = DeepFeatures(path, layers=layers, preprocessing=TORCH)
    expected = compute(path, images, tensor)
    if tensor == "tokens":
        expected = expected[:, 3:].mean(1)
    assert_close(deep.fit_transform(images), expected)
    masked = [with_mask(image, image[..., 0] >= 0) for image in images]
    np.testing.assert_array_equal(deep.transform(masked), deep.transform(images))


def test_the_classifier_of_a_convnet_is_left_out(tmp_path):
    path = save_convnet(tmp_path / "net.onnx", classifier=True)
    table = list_layers(path, input_size=SIZE).set_index("name")
    assert table["stage"].to_dict().items() >= {"relu2": "C2", "relu3": "top, C3"}.items()
    assert table.loc["relu2", ["kind", "height", "channels"]].tolist() == ["map", 8, 6]
    assert table.loc["embedding", ["kind", "height", "channels"]].tolist() == ["embedding", 1, 8]
    deep = DeepFeatures(path, layers="embedding", preprocessing=TORCH, input_size=SIZE)
    maps = compute(path, make_images(), "relu3")
    assert_close(deep.transform(make_images()), maps.mean((2, 3)))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_stages_after_group_normalization(tmp_path, groups):
    """Exporters of PyTorch write it with groups of channels for the axes of a map."""
    graph = networks.Graph()
    maps, channels = "image", 3
    for index in (1, 2):
        maps = graph.conv(maps, channels, 4)
        values = graph.reshape(maps, 0, groups, -1)
        ones, zeros = (graph.constant(np.full(groups, v, np.float32)) for v in (1, 0))
        values = graph.add("InstanceNormalization", [values, ones, zeros])
        sides = graph.add("Shape", [maps])
        maps = graph.add("Reshape", [values, sides])
        maps = graph.add("Relu", [graph.add("Mul", [maps, graph.random(4, 1, 1)])], f"relu{index}")
        channels = 4
    flat = graph.add("Flatten", [graph.add("GlobalAveragePool", [maps])])
    logits = graph.add("Gemm", [flat, graph.random(4, 3), graph.random(3)])
    path = graph.save(tmp_path / "net.onnx", (1, 3, SIZE, SIZE), logits)
    table = list_layers(path).set_index("name")
    assert table.loc["relu1", ["kind", "height", "channels", "stage"]].tolist() == [
        "map",
        16,
        4,
        "C1",
    ]
    assert table.loc["relu2", "stage"] == "top, C2"
    assert "tokens" not in table["kind"].tolist()
    maps = np.moveaxis(compute(path, make_images(), "relu2"), 1, 3)
    deep = DeepFeatures(path, pooling="max2x2", preprocessing=TORCH)
    assert_close(deep.transform(make_images()), pool_all(maps, ["max2x2"]))


def _gemm(graph, values, width=3):
    return graph.add("Gemm", [values, graph.random(6, width), graph.random(width)])


HEADS = {
    "temperature": lambda graph, a, b: graph.add("Div", [a, graph.random(1)]),
    "averaged": lambda graph, a, b: graph.add("Div", [graph.add("Add", [a, b]), graph.random(1)]),
    "stacked": lambda graph, a, b: graph.add(
        "ReduceMean",
        [
            graph.add(
                "Concat",
                [graph.reshape(a, 1, 1, 3), graph.reshape(b, 1, 1, 3)],
                axis=0,
            )
        ],
        axes=[0],
        keepdims=0,
    ),
    "joined": lambda graph, a, b: graph.add("Concat", [a, b], axis=1),
    "probabilities": lambda graph, a, b: graph.add(
        "Mean", [graph.add("Softmax", [a]), graph.add("Softmax", [b])]
    ),
    # These are embeddings.
    "residual": lambda graph, a, b: graph.add(
        "Add", [a, graph.dense(graph.add("Relu", [a]), 3, 3)], "embedding"
    ),
    "silu": lambda graph, a, b: graph.add("Mul", [a, graph.add("Sigmoid", [a])], "embedding"),
    "normalized": lambda graph, a, b: graph.add(
        "Div", [a, graph.add("ReduceL2", [a], axes=[1])], "embedding"
    ),
    "without": lambda graph, a, b: graph.add(
        "Concat", [a, graph.add("Relu", [b])], "embedding", axis=1
    ),
}


@pytest.mark.parametrize("kind", HEADS)
def test_heads_that_are_combined(tmp_path, kind):
    """Distilled DeiT averages two classifiers, CrossViT stacks them."""
    graph = networks.Graph()
    maps = graph.add("Relu", [graph.conv("image", 3, 6, 8, 8)], "maps")
    flat = graph.add("Flatten", [graph.add("GlobalAveragePool", [maps])])
    output = HEADS[kind](graph, _gemm(graph, flat), _gemm(graph, flat))
    path = graph.save(tmp_path / "net.onnx", (1, 3, SIZE, SIZE), output)
    table = list_layers(path).set_index("name")
    expected = "embedding" if output == "embedding" else "maps"
    assert "top" in table.loc[expected, "stage"]


def test_the_keys_of_attention_are_not_the_top(tmp_path):
    """SigLIP pools its tokens by attention, and its classifier comes after that."""
    graph = networks.Graph()
    tokens = graph.reshape(graph.conv("image", 3, 6, 8, 8), 0, 6, 16)
    tokens = graph.add("Transpose", [tokens], perm=[0, 2, 1])
    scale, shift = graph.random(6), graph.random(6)
    tokens = graph.add("LayerNormalization", [tokens, scale, shift], "tokens", axis=-1)
    both = graph.dense(tokens, 6, 12, "both")
    both = graph.add("Mul", [both, graph.random(12)], "scaled")
    keys, values = (
        graph.add("Transpose", [graph.reshape(part, 1, 16, 2, 3)], perm=[0, 2, *order])
        for part, order in zip(_split(graph, both), ((3, 1), (1, 3)))
    )
    weights = graph.add("MatMul", [graph.random(1, 2, 1, 3), keys])
    weights = graph.add("Softmax", [weights], axis=-1)
    pooled = graph.reshape(graph.add("MatMul", [weights, values]), 1, 6)
    path = graph.save(tmp_path / "vit.onnx", (1, 3, SIZE, SIZE), _gemm(graph, pooled))
    stages = list_layers(path).set_index("name")["stage"]
    assert stages["tokens"] == "top"
    assert not stages["both"]


def _split(graph, values):
    return [
        graph.add(
            "Slice", [values, *(graph.constant(np.int64([v])) for v in (start, start + 6, 2))]
        )
        for start in (0, 6)
    ]


def test_tokens_of_unknown_axes_are_not_guessed(tmp_path):
    """Groups of channels may be as many as patches: only the parameter can tell."""
    graph = networks.Graph()
    maps = graph.conv("image", 3, 6, 8, 8)
    mixed = graph.add("MatMul", [graph.random(6, 6), graph.reshape(maps, 6, 16)])
    values = graph.reshape(mixed, 1, 6, 16, name="values")
    path = graph.save(tmp_path / "net.onnx", (1, 3, SIZE, SIZE), values)
    deep = DeepFeatures(path, pooling="cls", preprocessing=TORCH)
    with pytest.raises(
        InvalidParameterError, match="6 tokens, and n_prefix_tokens is None.*2 and 2"
    ):
        deep.fit(make_images())
    rows = deep.set_params(n_prefix_tokens=2).fit_transform(make_images())
    assert_close(rows, compute(path, make_images(), "values")[:, 0])


def test_tokens_of_quantized_networks(tmp_path):
    """ONNX Runtime quantizes products of matrices, whose whole numbers have no known shape."""
    graph = networks.Graph()
    tokens = graph.reshape(graph.conv("image", 3, 6, 8, 8), 0, 6, 16)
    tokens = graph.add("Transpose", [tokens], perm=[0, 2, 1])
    names = ["whole", "scale", "zero"]
    graph.nodes.append(onnx.helper.make_node("DynamicQuantizeLinear", [tokens], names))
    weights = graph.constant(np.arange(36, dtype=np.int8).reshape(6, 6))
    product = graph.add("MatMulInteger", ["whole", weights, "zero"])
    product = graph.add("Mul", [graph.add("Cast", [product], to=1), "scale"])
    values = graph.add("Tanh", [graph.add("Add", [product, graph.random(6)])], "values")
    path = graph.save(tmp_path / "net.onnx", (1, 3, SIZE, SIZE), values)
    assert list_layers(path).set_index("name").loc["values"].tolist() == [
        *("tokens", 4, 4, 6, 0, "top")
    ]


def test_class_tokens_alone_are_not_the_top(tmp_path):
    """CvT normalizes its class token only."""
    table = list_layers(save_vit(tmp_path / "vit.onnx", head="alone")).set_index("name")
    assert table.loc["tokens", "stage"] == "top"
    assert "alone" not in table.index


def test_list_layers_of_tokens(tmp_path):
    table = list_layers(save_vit(tmp_path / "vit.onnx")).set_index("name")
    assert table.loc["tokens"].tolist() == ["tokens", 4, 4, 6, 3, "top"]
    assert table.loc["patches"].tolist() == ["map", 4, 4, 6, 0, ""]
    assert "attention" not in table.index


def test_stages_of_maps_with_channels_last(tmp_path):
    """ConvNeXt normalizes transposed maps: height and width are not where its stages have them."""
    graph = networks.Graph()
    maps, channels = "image", 3
    for width in (4, 4, 6):
        maps = graph.conv(maps, channels, width)
        last = graph.add("Transpose", [maps], perm=[0, 2, 3, 1])
        last = graph.add("LayerNormalization", [last, graph.random(width), graph.random(width)])
        maps, channels = graph.add("Transpose", [last], perm=[0, 3, 1, 2]), width
    path = graph.save(tmp_path / "net.onnx", (1, 3, SIZE, SIZE), maps)
    table = list_layers(path).set_index("stage")
    assert table.loc["C2", ["height", "width", "channels"]].tolist() == [8, 8, 4]
    assert table.loc["top, C3", ["height", "width", "channels"]].tolist() == [4, 4, 6]
    inner = table.loc[table["name"].str.startswith("layer"), ["height", "channels"]]
    assert inner.to_numpy().tolist() == [[16, 4], [8, 4], [4, 6]]


def test_stages_after_windows(tmp_path):
    """Swin transformers cut maps into windows and put them together again."""
    graph = networks.Graph()
    maps = graph.add("Transpose", [graph.conv("image", 3, 4, 4, 4)], perm=[0, 2, 3, 1])
    windows = graph.reshape(maps, 1, 2, 4, 2, 4, 4)
    windows = graph.add("Transpose", [windows], perm=[0, 1, 3, 2, 4, 5])
    windows = graph.dense(graph.reshape(windows, 4, 16, 4), 4, 4)
    windows = graph.add(
        "Transpose", [graph.reshape(windows, 1, 2, 2, 4, 4, 4)], perm=[0, 1, 3, 2, 4, 5]
    )
    whole = graph.reshape(windows, 1, 8, 8, 4, name="whole")
    tokens = graph.add("Add", [graph.reshape(whole, 1, 64, 4), graph.random(1, 64, 4)], "tokens")
    again = graph.reshape(tokens, 1, 8, 8, 4, name="again")
    parts = graph.add(
        "Transpose", [graph.reshape(again, 1, 4, 2, 4, 2, 4)], perm=[0, 1, 3, 4, 2, 5]
    )
    merged = graph.dense(graph.reshape(parts, 1, 4, 4, 16), 16, 6, "merged")
    path = graph.save(tmp_path / "net.onnx", (1, 3, SIZE, SIZE), merged)
    table = list_layers(path).set_index("name")
    assert table.loc["whole", ["height", "width", "channels"]].tolist() == [8, 8, 4]
    assert table.loc["tokens", ["kind", "height", "prefix_tokens"]].tolist() == ["tokens", 8, 0]
    assert table.loc["again", "stage"] == "C2"
    assert table.loc["merged", ["kind", "height", "stage"]].tolist() == ["map", 4, "top, C3"]


def test_shapes_that_are_computed(tmp_path):
    """Exporters of PyTorch repeat the class token as often as there are images."""
    graph = networks.Graph()
    maps = graph.conv("image", 3, 6, 8, 8)
    tokens = graph.add("Transpose", [graph.reshape(maps, 0, 6, -1)], perm=[0, 2, 1])
    count = graph.add("Gather", [graph.add("Shape", ["image"]), graph.constant(np.int64([0]))])
    # A detour that shape inference does not follow.
    count = graph.add("Cast", [graph.add("ReduceMax", [count])], to=onnx.TensorProto.INT64)
    shape = graph.add("Concat", [count, graph.constant(np.int64([1, 6]))], axis=0)
    token = graph.add("Expand", [graph.random(1, 1, 6), shape])
    graph.add("Concat", [token, tokens], "tokens", axis=1)
    path = graph.save(tmp_path / "vit.onnx", ("n", 3, SIZE, SIZE), "tokens")
    deep = DeepFeatures(path, pooling=["cls", "max"], preprocessing=TORCH)
    tokens = compute(path, make_images(), "tokens")
    assert_close(deep.transform(make_images()), np.hstack([tokens[:, 0], tokens[:, 1:].max(1)]))


def test_names_of_tensors_become_names_of_columns(tmp_path):
    path = save_convnet(tmp_path / "my-net v2.onnx")
    model = onnx.load(path)
    names = {"relu1": "/stem/act:0", "relu2": "/stem/act/0", "relu3": "last"}
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    del model.graph.value_info[:]
    model.graph.output[0].name = "last"
    onnx.save(model, path)
    deep = DeepFeatures(
        path, layers=["/stem/act:0", "/stem/act/0"], preprocessing=TORCH, input_size=SIZE
    )
    names = deep.fit(make_images()).get_feature_names_out()
    assert names[[0, 4]].tolist() == [
        "my_net_v2_stem_act_0_avg_0000",
        "my_net_v2_stem_act_0_2_avg_0000",
    ]
    frame = deep.set_output(transform="pandas").transform(make_images())
    assert frame.columns.tolist() == names.tolist()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_depends_on_its_image_only(tmp_path, engine):
    path = save_vit(tmp_path / "vit.onnx")
    deep = DeepFeatures(path, pooling=["cls", "avg"], preprocessing=TORCH, engine=engine)
    images = make_images(7)
    rows = deep.transform(images)
    np.testing.assert_array_equal(deep.transform(images[::-1])[::-1], rows)
    np.testing.assert_array_equal(np.vstack([deep.transform([image]) for image in images]), rows)
    np.testing.assert_array_equal(clone(deep).set_params(batch_size=2).transform(images), rows)
    with threadpool_limits(3):
        load_engine.__globals__["_load_engine"].cache_clear()
        np.testing.assert_array_equal(deep.transform(images), rows)


@needs_openvino
def test_openvino_is_checked_against_onnxruntime(tmp_path, monkeypatch):
    from featbus.networks import _onnx_runtime

    path = save_vit(tmp_path / "vit.onnx", n_registers=1)
    deep = DeepFeatures(path, preprocessing=TORCH, engine="openvino")
    report = deep.fit(make_images()).engine_report_
    assert report["engine"] == "openvino"
    assert 0 <= report["max_relative_error"] < 1e-4
    load = _onnx_runtime._load_onnxruntime
    monkeypatch.setattr(
        _onnx_runtime,
        "_load_onnxruntime",
        lambda graph: lambda image: [1.01 * values for values in load(graph)(image)],
    )
    with pytest.raises(
        RuntimeError, match=r"differs from ONNX Runtime by 0\.0099 of .* 0\.001 at most"
    ):
        deep.set_params(pooling="max").transform(make_images())


def test_nothing_is_computed_after_the_last_layer(tmp_path):
    path = save_convnet(tmp_path / "net.onnx", classifier=True)
    deep = DeepFeatures(path, layers=["C1", "C2"], preprocessing=TORCH, input_size=SIZE)
    source = deep._source()
    graph = onnx.load_from_string(
        source.truncate([source.find_layer(name) for name in deep.layers])
    )
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("Conv") == 2
    assert not {"Gemm", "Softmax", "GlobalAveragePool"} & set(kinds)


def test_gray_images_for_one_channel(tmp_path):
    path = save_convnet(tmp_path / "net.onnx", shape=("n", 1, "h", "w"), channels=1)
    gray = {"mean": 0.5, "std": 0.25, "scale": 1 / 255, "channels": "gray"}
    deep = DeepFeatures(path, preprocessing=gray, input_size=SIZE)
    images = make_images()[..., 0]
    rows = deep.fit_transform(images)
    np.testing.assert_allclose(rows, deep.transform(np.stack([images] * 3, axis=-1)), rtol=1e-5)
    with pytest.raises(InvalidParameterError, match="channels 'rgb', expected 'gray'"):
        deep.set_params(preprocessing=TORCH).fit(images)


def test_a_grid_search(tmp_path):
    deep = DeepFeatures(save_vit(tmp_path / "vit.onnx"), preprocessing=TORCH)
    grid = {
        "deepfeatures__layers": ["top", ["embedded", "top"]],
        "deepfeatures__pooling": ["cls", ["avg", "std2x2"]],
    }
    search = GridSearchCV(make_pipeline(deep, LogisticRegression()), grid, cv=2)
    search.fit(make_images(8), [0, 1] * 4)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_fingerprints_follow_what_changes_rows(tmp_path):
    path = save_vit(tmp_path / "vit.onnx")
    deep = DeepFeatures(path, preprocessing=TORCH)
    changes = [
        {"layers": "embedded"},
        {"pooling": "cls"},
        {"preprocessing": TORCH | {"mean": [0.5, 0.4, 0.3]}},
        {"preprocessing": TORCH | {"resize": "bicubic"}},
        {"n_prefix_tokens": 3},
        {"engine": "openvino"},
        {"backbone": save_vit(tmp_path / "other.onnx", n_registers=1)},
    ]
    if not find_spec("openvino"):
        del changes[5]
    keys = [fingerprint(clone(deep).set_params(**change)) for change in [{}, *changes]]
    assert len(set(keys)) == len(keys)
    assert fingerprint(clone(deep).set_params(batch_size=2)) == keys[0]
    assert fingerprint(clone(deep).set_params(engine="onnxruntime")) == keys[0]
    params = deep._fingerprint_params()
    assert params["release"] == onnxruntime.__version__
    copy = Path(path).with_name("copy.onnx")
    copy.write_bytes(Path(path).read_bytes())
    assert DeepFeatures(copy, preprocessing=TORCH)._fingerprint_params() == params


def test_a_changed_file_is_another_network(tmp_path):
    path = save_vit(tmp_path / "vit.onnx")
    deep = DeepFeatures(path, preprocessing=TORCH).fit(make_images())
    before, key = deep.transform(make_images()), fingerprint(deep)
    save_vit(path, n_registers=1)
    for use in (deep.transform, pickle.loads(pickle.dumps(deep)).transform):
        with pytest.raises(InvalidParameterError, match="another one than in fit.*fit again"):
            use(make_images())
    deep.fit(make_images())
    assert fingerprint(deep) != key
    assert np.abs(deep.transform(make_images()) - before).max() > 0.01


def test_a_changed_file_of_preprocessing_is_noticed(tmp_path):
    path = tmp_path / "preprocessing.json"
    path.write_text(json.dumps(TORCH))
    deep = DeepFeatures(save_vit(tmp_path / "vit.onnx"), preprocessing=path).fit(make_images())
    before = deep.transform(make_images())
    path.write_text(json.dumps(TORCH | {"std": [0.5, 0.5, 0.5]}))
    with pytest.raises(InvalidParameterError, match="another preprocessing.*than in fit"):
        deep.transform(make_images())
    assert np.abs(deep.fit_transform(make_images()) - before).max() > 0.01


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_of_nan_name_image_and_layer(tmp_path, engine):
    graph = networks.Graph()
    brightest = graph.add("ReduceMax", ["image"], keepdims=0)
    graph.add("Div", [graph.conv("image", 3, 4), brightest], "maps")
    path = graph.save(tmp_path / "net.onnx", (1, 3, SIZE, SIZE), "maps")
    deep = DeepFeatures(path, preprocessing="none", engine=engine, batch_size=2)
    images = make_images(4)
    assert np.isfinite(deep.fit_transform(images)).all()
    images[2] = 0
    with pytest.raises(ImageError, match="image 2: .* NaN or infinity of it, in net_top_avg_0000"):
        deep.transform(images)


def test_names_of_columns_differ():
    names = ["a/b", "a_b", "a_b_2", "a:b", "C1", "C1_2"]
    labels = make_labels(names)
    assert [*labels] == names
    assert [*labels.values()] == ["a_b", "a_b_2", "a_b_2_2", "a_b_3", "C1_2", "C1_2_2"]


def test_layers_after_a_branch(tmp_path):
    """Branches read tensors from outside: what comes after depends on the image."""
    graph = networks.Graph()
    graph.conv("image", 3, 4, name="stem")
    branches = {}
    for key, kind in (("then_branch", "Relu"), ("else_branch", "Neg")):
        value = onnx.helper.make_tensor_value_info(key, 1, None)
        node = onnx.helper.make_node(kind, ["stem"], [key])
        branches[key] = onnx.helper.make_graph([node], key, [], [value])
    graph.add("If", [graph.constant(np.array(True))], "chosen", **branches)
    graph.conv("chosen", 4, 6, name="maps")
    path = graph.save(tmp_path / "net.onnx", (1, 3, SIZE, SIZE), "maps")
    deep = DeepFeatures(path, preprocessing=TORCH, layers=["C1", "C2"])
    expected = [compute(path, make_images(), name).mean((2, 3)) for name in ("stem", "maps")]
    assert_close(deep.fit_transform(make_images()), np.hstack(expected))
    with pytest.raises(InvalidParameterError, match="'chosen', .* axes cannot be followed"):
        deep.set_params(layers="chosen").fit(make_images())


def test_pickles_clones_and_the_store(tmp_path):
    deep = DeepFeatures(save_vit(tmp_path / "vit.onnx"), pooling="cls", preprocessing=TORCH)
    rows = deep.fit_transform(make_images())
    assert len(pickle.dumps(deep)) < 2000
    for copy in (pickle.loads(pickle.dumps(deep)), clone(deep)):
        np.testing.assert_array_equal(copy.transform(make_images()), rows)
        assert load_engine(copy._network()) is load_engine(deep._network())
    bus = FeatureBus(deep, memory=tmp_path / "rows.sqlite")
    np.testing.assert_array_equal(bus.fit_transform(make_images()), rows)
    again = clone(bus).fit(make_images())
    np.testing.assert_array_equal(again.transform(make_images()), rows)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks(tmp_path):
    path = save_vit(tmp_path / "vit.onnx")
    deep = from_rows(DeepFeatures)(path, pooling=["cls", "avg"], preprocessing=TORCH)
    failed = {}
    for candidate, check in estimator_checks_generator(deep):
        name = check.func.__name__
        try:
            check(candidate)
        except BaseException as error:
            if type(error).__name__ == "SkipTest" and name == "check_array_api_input":
                continue  # needs SCIPY_ARRAY_API, a setting of the whole process
            failed[name] = f"{type(error).__name__}: {error}"
    assert not failed


def test_it_works_without_tensorflow_and_keras(tmp_path):
    path = save_vit(tmp_path / "vit.onnx")
    code = f"""
import sys
for name in ("keras", "tensorflow"):
    sys.modules[name] = None
import numpy as np
from featbus import DeepFeatures, FeatureBus, list_layers
deep = DeepFeatures({path!r}, pooling=["cls", "avg"], preprocessing={TORCH!r})
rows = FeatureBus(deep).fit_transform(np.zeros((2, 40, 40), np.uint8))
print(rows.shape, len(list_layers({path!r})))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.startswith("(2, 12)"), result.stderr


def test_fine_tuning_needs_keras(tmp_path):
    tuned = FineTunedFeatures(save_vit(tmp_path / "vit.onnx"), preprocessing=TORCH)
    with pytest.raises(InvalidParameterError, match="ONNX file .*not be trained"):
        tuned.fit(make_images(4), [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("save", "parameters", "message"),
    [
        (save_vit, {"preprocessing": None}, "preprocessing is None, expected .*'mean'"),
        (save_vit, {"preprocessing": "torch2"}, "Did you mean 'torch'"),
        (save_vit, {"weights": None}, "weights is None, expected 'imagenet'"),
        (save_vit, {"backbone_options": {"alpha": 1}}, "backbone_options is .*, expected None"),
        (save_vit, {"input_size": 64}, r"input_size is 64, expected None: .* \(32, 32\) pixels"),
        (save_convnet, {}, "input_size is None, expected height .*any size: pass input_size=224"),
        (save_vit, {"engine": "keras"}, "ONNX file .*expected a network that Keras builds"),
        (save_vit, {"layers": "tokns"}, r"layers has 'tokns', expected .*'tokens'"),
        (save_vit, {"layers": "C4"}, r"layers has 'C4', expected .*'top'.*tokens have no stages"),
        (save_vit, {"layers": ["top", "tokens"]}, "'top' and 'tokens', which are the same tensor"),
        (save_vit, {"layers": "attention"}, r"of shape \(1, 2, 19, 19\) whose axes cannot"),
        (save_vit, {"n_prefix_tokens": 1}, r"19 tokens, and n_prefix_tokens is 1.*3 and 4 x 4"),
        (save_vit, {"layers": "patches", "pooling": "cls"}, "'patches' is a feature map, without"),
        (save_convnet, {"input_size": SIZE, "pooling": "cls"}, "'top' is a feature map, without"),
        (save_convnet, {"input_size": SIZE, "layers": "C4"}, "layers has 'C4', expected one of"),
        (save_vit, {"pooling": "sum"}, "'cls'"),
    ],
)
def test_wrong_parameters(tmp_path, save, parameters, message):
    deep = DeepFeatures(save(tmp_path / "net.onnx"), **({"preprocessing": TORCH} | parameters))
    with pytest.raises(InvalidParameterError, match=f"(?s){message}"):
        deep.fit(make_images())


@pytest.mark.parametrize("pooling", ["std", "gem", "avg2x2", "flatten", "cls"])
def test_an_embedding_has_nothing_to_pool(tmp_path, pooling):
    path = save_vit(tmp_path / "vit.onnx", head="pooled")
    deep = DeepFeatures(path, pooling=["avg", pooling], preprocessing=TORCH)
    with pytest.raises(InvalidParameterError, match=f"pooling has '{pooling}'.* an embedding"):
        deep.fit(make_images())


def test_how_many_prefix_tokens_is_unclear(tmp_path):
    """Patches that were cut by reshaping leave no grid: 17 tokens can be 16 and 1, or 4 and 13."""
    graph = networks.Graph()
    patches = graph.reshape("image", 1, 3, 4, 8, 4, 8)
    patches = graph.add("Transpose", [patches], perm=[0, 2, 4, 3, 5, 1])
    tokens = graph.dense(graph.reshape(patches, 1, 16, 192), 192, 6)
    tokens = graph.add("Concat", [graph.random(1, 1, 6), tokens], "tokens", axis=1)
    path = graph.save(tmp_path / "vit.onnx", (1, 3, SIZE, SIZE), tokens)
    deep = DeepFeatures(path, pooling="avg2x2", preprocessing=TORCH)
    with pytest.raises(InvalidParameterError, match=r"n_prefix_tokens is None.*1 and 4 x 4"):
        deep.fit(make_images())
    first = graph.add("Gather", [tokens, graph.constant(np.int64(0))], axis=1)
    classifier = graph.save(tmp_path / "head.onnx", (1, 3, SIZE, SIZE), graph.dense(first, 6, 3))
    with pytest.raises(InvalidParameterError, match=r"n_prefix_tokens is None.*1 and 4 x 4"):
        clone(deep).set_params(backbone=classifier).fit(make_images())
    rows = deep.set_params(n_prefix_tokens=1).fit_transform(make_images())
    grid = compute(path, make_images(), "tokens")[:, 1:].reshape(3, 4, 4, 6)
    assert_close(rows, pool_all(grid, ["avg2x2"]))


def test_prefix_tokens_are_those_of_onnx_files():
    with pytest.raises(InvalidParameterError, match="n_prefix_tokens is 1, expected None: vgg16"):
        DeepFeatures(n_prefix_tokens=1, weights=None).fit(make_images())


@pytest.mark.network
def test_networks_of_keras_have_no_tokens():
    with pytest.raises(InvalidParameterError, match="'cls', expected another one: vgg16 has"):
        DeepFeatures(weights=None, pooling=["avg", "cls"]).fit(make_images())


@pytest.mark.network
def test_list_layers_of_a_keras_model():
    keras = pytest.importorskip("keras")
    image = keras.Input((SIZE, SIZE, 3))
    maps = keras.layers.Conv2D(4, 3, 2, padding="same", name="edges")(image)
    maps = keras.layers.Conv2D(6, 3, 2, padding="same", name="corners")(maps)
    rows = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(maps))
    table = list_layers(keras.Model(image, rows))
    assert table["name"].tolist() == ["edges", "corners"]
    assert table["stage"].tolist() == ["C1", "top, C2"]
    assert table[["kind", "height", "channels"]].to_numpy().tolist()[1] == ["map", 8, 6]


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_what_to_install(tmp_path, monkeypatch, package):
    deep = DeepFeatures(save_vit(tmp_path / "vit.onnx"), preprocessing=TORCH)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r'pip install "featbus\[onnx\]"'):
        deep.fit(make_images())


def test_there_is_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no ONNX file .* Check path"):
        DeepFeatures(tmp_path / "missing.onnx", preprocessing=TORCH).fit(make_images())


def test_list_layers_of_one_channel(tmp_path):
    path = save_convnet(tmp_path / "net.onnx", shape=(1, 1, SIZE, SIZE), channels=1)
    assert list_layers(path).set_index("name").loc["relu3", "stage"] == "top, C3"
    with pytest.raises(InvalidParameterError, match="expected 'gray': .* of 1 channel[.]"):
        list_layers(path, preprocessing=TORCH)


@pytest.mark.parametrize("size", ["224", 0])
def test_list_layers_checks_its_parameters(tmp_path, size):
    with pytest.raises(InvalidParameterError, match=f"input_size is {size!r}, expected an int"):
        list_layers(save_convnet(tmp_path / "net.onnx"), input_size=size)


def test_a_failure_while_running_names_the_file(tmp_path):
    deep = DeepFeatures(save_vit(tmp_path / "vit.onnx"), preprocessing=TORCH).fit(make_images())
    engine = load_engine(deep._network())

    def fail(values):
        raise MemoryError

    engine._infer = fail
    with pytest.raises(RuntimeError, match=r"vit.onnx' cannot be run on onnxruntime .*MemoryError"):
        deep.transform(make_images())


@pytest.mark.parametrize("shape", [(1, 4, SIZE, SIZE), (1, SIZE, SIZE, 2)])
def test_images_of_other_channels(tmp_path, shape):
    graph = networks.Graph()
    maps = graph.add("Relu", ["image"])
    path = graph.save(tmp_path / "net.onnx", shape, maps)
    with pytest.raises(InvalidParameterError, match="expected images of 3 channels, or 1"):
        DeepFeatures(path, preprocessing=TORCH).fit(make_images())


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("engine", ENGINES)
def test_rows_of_a_keras_network_with_real_weights(tmp_path, engine):
    """The stages that strides tell are the taps of the table."""
    weights = data_dir("weights") / "mobilenet_v2_0.35_224_no_top.weights.h5"
    paths = sorted((data_dir("busi") / "malignant").glob("*).png"))[:4]
    shared = {"layers": ["C1", "C2", "C3", "C4", "C5"], "pooling": ["avg", "max", "std2x2"]}
    keras = DeepFeatures(
        "mobilenet_v2", weights=weights, backbone_options={"alpha": 0.35}, **shared
    )
    path = networks.save_keras(keras._source().build(), tmp_path / "net.onnx")
    deep = DeepFeatures(path, preprocessing="tf", engine=engine, **shared)
    inside = np.zeros((600, 800), bool)
    inside[200:400, 300:500] = True
    images = [cv2.resize(cv2.imread(str(file), 0), (800, 600)) for file in paths]
    masked = [with_mask(image, inside) for image in images]
    for batch in (images, masked):
        assert_close(deep.fit_transform(batch), keras.fit_transform(batch), 1e-4)


def has_bf16():
    from featbus.networks import _openvino

    return find_spec("openvino") and "BF16" in _openvino._find_capabilities()[0]


@pytest.mark.skipif(not has_bf16(), reason="no OpenVINO, or no bfloat16 here")
def test_bf16(tmp_path, monkeypatch):
    from featbus.networks import _onnx_runtime

    path = save_vit(tmp_path / "vit.onnx", n_registers=1)
    single = DeepFeatures(path, preprocessing=TORCH, engine="openvino", pooling=["cls", "avg"])
    half = clone(single).set_params(precision="bf16")
    expected, rows = (deep.fit_transform(make_images()) for deep in (single, half))
    assert rows.dtype == np.float32
    assert not np.array_equal(rows, expected)
    # Eight bits of precision, lost again at each layer.
    assert np.abs(rows - expected).max() < 0.05 * np.abs(expected).max()
    report = half.engine_report_
    assert (single.engine_report_["precision"], report["precision"]) == ("fp32", "bf16")
    assert 0.99 < report["row_cosine"] < 1
    assert report["max_relative_error"] < 1e-4  # of single precision
    assert fingerprint(half) != fingerprint(single)
    # Compared with OpenVINO's own rows: those of another network are refused.
    load = _onnx_runtime._load_openvino

    def broken(graph, precision):
        infer = load(graph, precision)
        sign = -1 if precision == "bf16" else 1
        return lambda image: [sign * values for values in infer(image)]

    monkeypatch.setattr(_onnx_runtime, "_load_openvino", broken)
    with pytest.raises(RuntimeError, match="in bf16 has other rows than in fp32: the cosine"):
        half.set_params(pooling="max").transform(make_images())
