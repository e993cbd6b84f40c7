"""Networks in ONNX files: layers, tokens, pooling, engines and errors. No TensorFlow."""

import pickle
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from _engine_worker import needs_bf16, needs_openvino
from _pooling import pool_pixels
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from featbus import DeepFeatures, list_layers
from featbus.bus import fingerprint
from featbus.images import ImageError
from featbus.masks import with_mask
from featbus.networks import _onnx, load_engine
from featbus.parameters import InvalidParameterError

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
networks = pytest.importorskip("_onnx")
SIZE, TORCH = networks.SIZE, networks.TORCH
Graph, save_convnet, save_vit = networks.Graph, networks.save_convnet, networks.save_vit

SHAPE = (1, 3, SIZE, SIZE)
ENGINES = ["onnxruntime", pytest.param("openvino", marks=needs_openvino)]
POOLING = ["avg", "max3x2", "gem", "std2x3", "flatten"]
# How the file is written, see `save_convnet`.
CONVNETS = {
    "NCHW": {},
    "NHWC": {"shape": ("n", "h", "w", 3)},
    "batch of 4": {"shape": (4, 3, SIZE, SIZE)},
    "any channels": {"shape": ("n", "c", "h", "w")},
    "float16": {"dtype": np.float16, "shape": (1, SIZE, SIZE, 3)},
}


def make_images(n_images=3, seed=0):
    """Return images of the network's size, so that nothing is resized."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n_images, SIZE, SIZE, 3), dtype=np.uint8)


def make_regions():
    """Return regions of most of the image, of a corner, and of one pixel."""
    regions = np.zeros((3, SIZE, SIZE), bool)
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


def save_pooled(path):
    """Save a vision transformer that returns its class token."""
    return save_vit(path, head="pooled")


def describe(path, **options):
    """Return what `list_layers` says of each tensor: its kind, height and channels."""
    table = list_layers(path, **options).set_index("name")
    return table[["kind", "height", "channels"]].T.to_dict("list")


# Rows.


@pytest.mark.parametrize(
    ("kind", "engine"),
    [
        *((kind, "onnxruntime") for kind in CONVNETS),
        pytest.param("NCHW", "openvino", marks=needs_openvino),
        pytest.param("float16", "openvino", marks=needs_openvino),
    ],
)
def test_rows_of_a_convnet(tmp_path, kind, engine):
    path = save_convnet(tmp_path / "net.onnx", **CONVNETS[kind])
    images, pooling = make_images(), POOLING if kind == "NHWC" else ["avg", "max2x2"]
    options = {"preprocessing": TORCH, "input_size": SIZE, "engine": engine}
    deep = DeepFeatures(path, layers=["relu2", "top"], pooling=pooling, **options)
    # Inside, convolutions have channels first; only the output may have them last.
    maps = [np.moveaxis(compute(path, images, name), 1, 3) for name in ("relu2", "relu3")]
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
        assert_close(deep.fit_transform(images), np.hstack([tokens[:, 0], grid.max((1, 2))]))
        names = deep.get_feature_names_out()
        assert names[[0, 6]].tolist() == ["vit_top_cls_0000", "vit_top_max_0000"]
        assert deep.where("vit_top_cls_0003", (80, 60))[:2] == (slice(0, 80), slice(0, 60))


@pytest.mark.parametrize("save", [save_convnet, save_vit])
def test_regions_are_those_of_the_grid(tmp_path, save):
    path = save(tmp_path / "net.onnx")
    inside, pooling = make_regions(), POOLING[:-1]
    deep = DeepFeatures(path, pooling=pooling, preprocessing=TORCH, input_size=SIZE)
    masked = [with_mask(image, region) for image, region in zip(make_images(), inside)]
    values = compute(path, make_images() * inside[..., None], onnx.load(path).graph.output[0].name)
    is_map = save is save_convnet
    maps = np.moveaxis(values, 1, 3) if is_map else values[:, 3:].reshape(3, 4, 4, 6)
    assert_close(deep.fit_transform(masked), pool_all(maps, pooling, inside))
    everything = [with_mask(image, np.ones((SIZE, SIZE), bool)) for image in make_images()]
    np.testing.assert_array_equal(deep.transform(everything), deep.transform(make_images()))


@pytest.mark.parametrize("tensor", ["pooled", "logits", "matmul_27"])
def test_rows_of_embeddings(tmp_path, tensor):
    head = {"matmul_27": "projected"}.get(tensor, "logits")
    path, images = save_vit(tmp_path / "vit.onnx", head=head), make_images()
    deep = DeepFeatures(path, layers=tensor, preprocessing=TORCH)
    rows = deep.fit_transform(images)
    assert_close(rows, compute(path, images, tensor))
    masked = [with_mask(image, image[..., 0] >= 0) for image in images]
    np.testing.assert_array_equal(deep.transform(masked), rows)
    if tensor == onnx.load(path).graph.output[0].name:
        np.testing.assert_array_equal(deep.set_params(layers="top").fit_transform(images), rows)


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


def test_gray_images_for_one_channel(tmp_path):
    path = save_convnet(tmp_path / "net.onnx", shape=("n", 1, "h", "w"), channels=1)
    gray = {"mean": 0.5, "std": 0.25, "scale": 1 / 255, "channels": "gray"}
    assert describe(path, input_size=SIZE, preprocessing=gray)["relu3"] == ["map", 4, 8]
    deep = DeepFeatures(path, preprocessing=gray, input_size=SIZE)
    images = make_images()[..., 0]
    rows = deep.fit_transform(images)
    np.testing.assert_allclose(rows, deep.transform(np.stack([images] * 3, axis=-1)), rtol=1e-5)
    with pytest.raises(InvalidParameterError, match="'rgb', expected 1 channel"):
        deep.set_params(preprocessing=TORCH).fit(images)


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_of_nan_name_image_and_layer(tmp_path, engine):
    graph = Graph()
    brightest = graph.add("ReduceMax", ["image"], keepdims=0)
    graph.add("Div", [graph.conv("image", 3, 4), brightest], "maps")
    path = graph.save(tmp_path / "net.onnx", SHAPE, "maps")
    deep = DeepFeatures(path, preprocessing="none", engine=engine, batch_size=2)
    images = make_images(4)
    assert np.isfinite(deep.fit_transform(images)).all()
    images[2] = 0
    with pytest.raises(ImageError, match="image 2: .*NaN.*net_top_avg_0000"):
        deep.transform(images)


# Engines.


@needs_openvino
def test_openvino_is_checked_against_onnxruntime(tmp_path, monkeypatch):
    path = save_vit(tmp_path / "vit.onnx", n_registers=1)
    deep = DeepFeatures(path, preprocessing=TORCH, engine="openvino")
    report = deep.fit(make_images()).engine_report_
    assert report["engine"] == "openvino"
    assert 0 <= report["max_relative_error"] < 1e-4
    load = _onnx._load_onnxruntime

    def load_wrong(graph):
        return lambda image: [1.01 * values for values in load(graph)(image)]

    monkeypatch.setattr(_onnx, "_load_onnxruntime", load_wrong)
    with pytest.raises(RuntimeError, match=r"differs from ONNX Runtime by 0\.0099"):
        deep.set_params(pooling="max").transform(make_images())


@needs_bf16
def test_bf16(tmp_path):
    path = save_vit(tmp_path / "vit.onnx", n_registers=1)
    single = DeepFeatures(path, preprocessing=TORCH, engine="openvino", pooling=["cls", "avg"])
    half = clone(single).set_params(precision="bf16")
    expected, rows = (deep.fit_transform(make_images()) for deep in (single, half))
    assert rows.dtype == np.float32
    assert not np.array_equal(rows, expected)
    # Eight bits of precision, lost again at each layer.
    assert np.abs(rows - expected).max() < 0.05 * np.abs(expected).max()
    assert 1e-4 < half.engine_report_["max_relative_error"] < 0.1
    assert fingerprint(half) != fingerprint(single)


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


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_what_to_install(tmp_path, monkeypatch, package):
    deep = DeepFeatures(save_vit(tmp_path / "vit.onnx"), preprocessing=TORCH)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'featbus(-slim)?\[onnx\]'"):
        deep.fit(make_images())


# Layers.


def test_layers_of_a_vision_transformer(tmp_path):
    path = save_vit(tmp_path / "vit.onnx", head="alone")
    table = list_layers(path).set_index("name")
    assert table.loc["tokens"].tolist() == ["tokens", 4, 4, 6, 3, ""]
    assert table.loc["patches"].tolist() == ["map", 4, 4, 6, 0, ""]
    assert table.loc["logits"].tolist() == ["embedding", 1, 1, 3, 0, "top"]
    assert "alone" not in table.index  # a class token without patches


@pytest.mark.parametrize("n_channels", [5, 16])
def test_maps_with_channels_last(tmp_path, n_channels):
    """ConvNeXt normalizes transposed maps; with as many channels as cells, sizes do not tell."""
    graph = Graph()
    maps, channels = "image", 3
    for width in (n_channels, 4, 6):
        maps = graph.conv(maps, channels, width)
        last = graph.add("Transpose", [maps], perm=[0, 2, 3, 1])
        weights = graph.random(width), graph.random(width)
        last = graph.add("LayerNormalization", [last, *weights], f"norm{width}")
        maps, channels = graph.add("Transpose", [last], f"maps{width}", perm=[0, 3, 1, 2]), width
    path = graph.save(tmp_path / "net.onnx", SHAPE, maps)
    table = describe(path)
    assert table["maps4"] == ["map", 8, 4]
    assert table["maps6"] == ["map", 4, 6]
    names = [name for name in table if name.startswith("norm")]
    expected = [compute(path, make_images(), name).mean((1, 2)) for name in names]
    deep = DeepFeatures(path, layers=names, preprocessing=TORCH)
    assert_close(deep.fit_transform(make_images()), np.hstack(expected))


def test_what_does_not_depend_on_the_pixels_is_no_layer(tmp_path):
    graph = Graph()
    maps = graph.conv("image", 3, 4, name="maps")
    sizes = graph.add("Shape", [maps])
    positions = graph.random(1, 4, 3, 3)
    positions = graph.add("Resize", [positions, "", "", sizes], "positions", mode="linear")
    graph.add("Add", [maps, positions], "sum")
    path = graph.save(tmp_path / "net.onnx", ("n", 3, "h", "w"), "sum")
    for size in (SIZE, 48):
        assert [*describe(path, input_size=size)] == ["maps", "sum"]


def test_shapes_that_are_known_only_after_a_run(tmp_path):
    """Exporters of PyTorch repeat the class token as often as there are images."""
    graph = Graph()
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


def test_prefix_tokens_of_patches_that_no_map_was_made_of(tmp_path):
    """17 tokens can be 16 and 1, or 4 and 13."""
    graph = Graph()
    patches = graph.reshape("image", 1, 3, 4, 8, 4, 8)
    patches = graph.add("Transpose", [patches], perm=[0, 2, 4, 3, 5, 1])
    tokens = graph.dense(graph.reshape(patches, 1, 16, 192), 192, 6)
    tokens = graph.add("Concat", [graph.random(1, 1, 6), tokens], "tokens", axis=1)
    path = graph.save(tmp_path / "vit.onnx", SHAPE, tokens)
    deep = DeepFeatures(path, pooling="avg2x2", preprocessing=TORCH)
    with pytest.raises(InvalidParameterError, match=r"\(1, 17, 6\).*n_prefix_tokens"):
        deep.fit(make_images())
    rows = deep.set_params(n_prefix_tokens=1).fit_transform(make_images())
    grid = compute(path, make_images(), "tokens")[:, 1:].reshape(3, 4, 4, 6)
    assert_close(rows, pool_all(grid, ["avg2x2"]))


def test_names_of_columns(tmp_path):
    graph = Graph()
    first = graph.add("Relu", [graph.conv("image", 3, 4)], "/stem/act:0")
    second = graph.add("Relu", [graph.conv(first, 4, 6)], "/stem/act/0")
    path = graph.save(tmp_path / "my-net v2.onnx", SHAPE, second)
    deep = DeepFeatures(path, layers=[first, "top"], preprocessing=TORCH)
    names = deep.fit(make_images()).get_feature_names_out()
    assert names[[0, 4]].tolist() == ["my_net_v2_stem_act_0_avg_0000", "my_net_v2_top_avg_0000"]
    with pytest.raises(InvalidParameterError, match=r"/stem/act:0.*different"):
        deep.set_params(layers=[first, second]).fit(make_images())


# In scikit-learn, on disk, in a store.


def test_fingerprints_follow_what_changes_rows(tmp_path):
    path = save_vit(tmp_path / "vit.onnx")
    deep = DeepFeatures(path, preprocessing=TORCH)
    changes = [
        {"layers": "embedded"},
        {"pooling": "cls"},
        {"preprocessing": TORCH | {"resize": "bicubic"}},
        {"n_prefix_tokens": 3},
        {"engine": "openvino"},
        {"backbone": save_vit(tmp_path / "other.onnx", n_registers=1)},
    ]
    if not find_spec("openvino"):
        del changes[4]
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
    with pytest.raises(InvalidParameterError, match="has changed since fit"):
        pickle.loads(pickle.dumps(deep)).transform(make_images())
    deep.fit(make_images())
    assert fingerprint(deep) != key
    assert np.abs(deep.transform(make_images()) - before).max() > 0.01


# Errors.


@pytest.mark.parametrize(
    ("save", "parameters", "message"),
    [
        (save_vit, {"preprocessing": None}, "preprocessing is None"),
        (save_vit, {"weights": None}, "weights is None"),
        (save_vit, {"backbone_options": {"alpha": 1}}, "backbone_options is {'alpha': 1}"),
        (save_vit, {"input_size": 64}, r"input_size is 64.*\(32, 32\)"),
        (save_convnet, {}, "input_size is None"),
        (save_vit, {"engine": "keras"}, "engine is 'keras'.*onnxruntime"),
        (save_vit, {"layers": "tokns"}, "layers has 'tokns'.*'tokens'"),
        (save_vit, {"layers": "C4"}, "layers has 'C4', .*expected 'top'"),
        (save_vit, {"layers": ["top", "tokens"]}, "top.*tokens.*different"),
        (save_vit, {"n_prefix_tokens": 1}, r"\(1, 19, 6\).*n_prefix_tokens, which is 1"),
        (save_vit, {"layers": "patches", "pooling": "cls"}, "'cls'.*'patches'"),
        (save_convnet, {"input_size": SIZE, "pooling": "cls"}, "'cls'.*'relu3'"),
        (save_pooled, {"pooling": "std"}, "'std'.*'pooled'.*'embedding'"),
    ],
)
def test_wrong_parameters(tmp_path, save, parameters, message):
    deep = DeepFeatures(save(tmp_path / "net.onnx"), **({"preprocessing": TORCH} | parameters))
    with pytest.raises(InvalidParameterError, match=f"(?s){message}"):
        deep.fit(make_images())


def save_head(path):
    """Save a network for images of any size whose classifier takes those of 40 pixels only."""
    graph = Graph()
    maps = graph.reshape(graph.conv("image", 3, 4), -1, 4 * 20 * 20)
    graph.dense(maps, 4 * 20 * 20, 3, "logits")
    graph.save(path, ("n", 3, "h", "w"), "logits")


def save_edited(path, edit):
    model = onnx.load(save_convnet(path))
    edit(model)
    Path(path).write_bytes(model.SerializeToString())


def save_split(path):
    onnx.save(onnx.load(save_convnet(path)), path, save_as_external_data=True, size_threshold=0)


def make_input(name, kind, shape):
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def change_input(*value):
    return lambda model: model.graph.input[0].CopyFrom(make_input("image", *value))


# How the file is written, and what the message names.
WRONG_FILES = {
    "no network": (lambda path: Path(path).write_bytes(b"<html>"), "parsing"),
    "external data": (save_split, "external data.*onnx.save_model"),
    "another size": (save_head, "Reshape"),
}
# How the model is changed, and what the message names.
WRONG_MODELS = {
    "two inputs": (lambda m: m.graph.input.append(make_input("mask", 1, [1])), "'mask'"),
    "rows": (change_input(1, ("n", 10)), r"\(None, 10\)"),
    "integers": (change_input(onnx.TensorProto.UINT8, SHAPE), "uint8"),
    "unknown operator": (lambda m: setattr(m.graph.node[0], "op_type", "Rolu"), "Rolu"),
}
WRONG_FILES |= {
    kind: (partial(save_edited, edit=edit), message)
    for kind, (edit, message) in WRONG_MODELS.items()
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_files_that_cannot_be_used(tmp_path, kind):
    save, message = WRONG_FILES[kind]
    save(tmp_path / "net.onnx")
    deep = DeepFeatures(tmp_path / "net.onnx", preprocessing=TORCH, input_size=SIZE)
    with pytest.raises(InvalidParameterError, match=f"(?s)net.onnx' cannot be used.*{message}"):
        deep.fit_transform(make_images())


def test_there_is_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.onnx"):
        DeepFeatures(tmp_path / "missing.onnx", preprocessing=TORCH).fit(make_images())
