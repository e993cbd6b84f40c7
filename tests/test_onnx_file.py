"""ONNX files: what is read, refused, digested and truncated, and the first run in a child."""

import importlib.util
import os
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from featbus.networks import _onnx_child, _onnx_tensors, _onnx_trial, file_digest
from featbus.networks._onnx_checks import shorten
from featbus.networks._onnx_file import onnx_digest, read_onnx
from featbus.networks._onnx_graph import find_shapes, truncate
from featbus.networks._onnx_trial import try_in_child
from featbus.parameters import InvalidParameterError

onnx = pytest.importorskip("onnx")
helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto


def load_fuzz():
    path = Path(__file__).parents[1] / "benchmarks" / "fuzz" / "onnx_files.py"
    spec = importlib.util.spec_from_file_location("fuzz_onnx_files", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz = load_fuzz()
SEEDS = fuzz.make_seeds()
CONVNET = SEEDS["channels first"]["model.onnx"]
FIRST, LAST = (1, 3, 32, 32), (1, 32, 32, 3)
IMAGE = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "height", "width"])


def write(folder, files):
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / "model.onnx"


def write_model(folder, model):
    return write(folder, {"model.onnx": model.SerializeToString()})


def make_model(*nodes, weights=None, source=IMAGE, output="y", **options):
    """Return a model whose output is of free shape."""
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["a", "b", "c", "d"])
    return fuzz.make_model(list(nodes), weights or {}, [source], [result], **options)


def convnet(**changes):
    """Return the convnet after changes to its nodes by name of their first output."""
    model = onnx.ModelProto.FromString(CONVNET)
    for node in model.graph.node:
        if node.output[0] in changes:
            changes[node.output[0]](node)
    return model


def run(model, image):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: image})))


def shape_of(name):
    return LAST if name == "channels last" else FIRST


# Reading, shapes and truncation.


def test_shapes_of_a_convolutional_network(tmp_path):
    model = read_onnx(write(tmp_path, SEEDS["channels first"]))
    assert find_shapes(model, FIRST) == {
        "conv1": (1, 8, 16, 16),
        "relu1": (1, 8, 16, 16),
        "conv2": (1, 16, 8, 8),
        "norm": (1, 16, 8, 8),
        "relu2": (1, 16, 8, 8),
        "pooled": (1, 16, 1, 1),
        "embedding": (1, 16),
        "logits": (1, 4),
    }


@pytest.mark.parametrize("name", SEEDS)
def test_truncated_network_computes_the_same(name, tmp_path, rng_image):
    model = read_onnx(write(tmp_path, SEEDS[name]))
    shapes = find_shapes(model, shape_of(name))
    outputs = list(shapes)[::-1]
    part = truncate(model, outputs, shape_of(name))
    rows = run(part, rng_image(shape_of(name)))
    assert list(rows) == outputs
    assert {name: value.shape for name, value in rows.items()} == shapes
    assert {value.dtype for value in rows.values()} == {np.dtype(np.float32)}
    half = name == "half"
    whole = run(
        str(tmp_path / "model.onnx"),
        rng_image(shape_of(name)).astype(np.float16 if half else np.float32),
    )
    for output, expected in whole.items():
        np.testing.assert_allclose(rows[output], expected, rtol=1e-5, atol=0.02 if half else 1e-5)


@pytest.fixture
def rng_image():
    return lambda shape: np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_nothing_is_computed_past_the_last_tap(tmp_path):
    model = read_onnx(write(tmp_path, SEEDS["channels first"]))
    part = onnx.ModelProto.FromString(truncate(model, ["relu1"], FIRST))
    assert [node.op_type for node in part.graph.node] == ["Conv", "Relu"]
    assert {tensor.name for tensor in part.graph.initializer} == {"w1", "b1"}
    shape = part.graph.input[0].type.tensor_type.shape
    assert [side.dim_value for side in shape.dim] == list(FIRST)


@pytest.mark.parametrize("tensors", [[], ["relu9"], ["relu1", "relu1"], ["w1"], ["image"]])
def test_tensors_that_cannot_be_tapped(tensors, tmp_path):
    model = read_onnx(write(tmp_path, SEEDS["channels first"]))
    with pytest.raises(InvalidParameterError, match="expected names of tensors of floats.*logits"):
        truncate(model, tensors, FIRST)


def test_shapes_that_are_computed_from_the_size_of_the_input(tmp_path):
    # (height // 4) x 2 numbers of the first row, as exporters write sizes that depend on the input.
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"], start=2, end=3),
        helper.make_node("Div", ["shape", "four"], ["quarter"]),
        helper.make_node("Squeeze", ["quarter"], ["stop"]),
        helper.make_node("Range", ["zero", "stop", "one"], ["rows"]),
        helper.make_node("Gather", ["image", "rows"], ["part"], axis=2),
        helper.make_node("Equal", ["quarter", "four"], ["flag"]),
        helper.make_node("If", ["flag"], ["y"], **make_branches("part", "image")),
    ]
    weights = {"four": np.array([4]), "zero": np.array(0), "one": np.array(1)}
    model = read_onnx(write_model(tmp_path, make_model(*nodes, weights=weights)))
    assert find_shapes(model, (1, 3, 16, 20)) == {"part": (1, 3, 4, 20), "y": (1, 3, 4, 20)}
    assert find_shapes(model, (1, 3, 32, 20)) == {"part": (1, 3, 8, 20), "y": (1, 3, 32, 20)}
    image = np.ones((1, 3, 16, 20), np.float32)
    assert run(truncate(model, ["y"], image.shape), image)["y"].shape == (1, 3, 4, 20)


def make_branches(then, otherwise):
    return {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Identity", [source], [f"{name}_result"])],
            name,
            [],
            [
                helper.make_tensor_value_info(
                    f"{name}_result", TensorProto.FLOAT, ["a", 3, "b", "c"]
                )
            ],
        )
        for name, source in (("then", then), ("else", otherwise))
    }


def test_tensors_that_do_not_depend_on_the_pixels_are_no_layers(tmp_path):
    # Position embeddings that are resized to the input, and quantized weights.
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Resize", ["positions", "", "", "shape"], ["resized"], mode="linear"),
        helper.make_node("DequantizeLinear", ["w", "scale"], ["weights"]),
        helper.make_node("Conv", ["image", "weights"], ["map"]),
        helper.make_node("Add", ["map", "resized"], ["y"]),
    ]
    weights = {
        "positions": np.ones((1, 3, 2, 2), np.float32),
        "w": np.ones((3, 3, 1, 1), np.int8),
        "scale": np.array(1, np.float32),
    }
    model = read_onnx(write_model(tmp_path, make_model(*nodes, weights=weights)))
    assert find_shapes(model, FIRST) == {"map": FIRST, "y": FIRST}


def test_a_head_that_does_not_fit_the_input_does_not_count(tmp_path):
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["map"]),
        helper.make_node("Reshape", ["map", "sizes"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["y"]),
    ]
    weights = {
        "w": np.ones((2, 3, 1, 1), np.float32),
        "sizes": np.array([0, 2 * 8 * 8]),
        "dense": np.ones((2 * 8 * 8, 4), np.float32),
    }
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    model = read_onnx(write_model(tmp_path, fuzz.make_model(nodes, weights, [IMAGE], [result])))
    assert find_shapes(model, (1, 3, 8, 8))["y"] == (1, 4)
    shapes = find_shapes(model, (1, 3, 9, 9))
    assert shapes["map"] == (1, 2, 9, 9)
    assert shapes["y"] is None
    assert run(truncate(model, ["map"], (1, 3, 9, 9)), np.ones((1, 3, 9, 9), np.float32))


def test_networks_of_a_fixed_batch_take_one_image(tmp_path, rng_image):
    path = write_model(tmp_path, fuzz.make_convnet(batch=4))
    model, images = read_onnx(path), rng_image((4, 3, 32, 32))
    part = truncate(model, ["logits"], FIRST)
    rows = [run(part, image[np.newaxis])["logits"][0] for image in images]
    np.testing.assert_allclose(rows, run(str(path), images)["logits"], rtol=1e-5, atol=1e-5)


def test_networks_that_need_their_batch(tmp_path):
    model = fuzz.make_convnet(batch=4)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([4, -1]), "sizes"))
    model.graph.node[-2].CopyFrom(helper.make_node("Reshape", ["pooled", "sizes"], ["embedding"]))
    model = read_onnx(write_model(tmp_path, model))
    with pytest.raises(InvalidParameterError, match="exactly 4 images, .* 'embedding' .*4, 16"):
        find_shapes(model, FIRST)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 64, 32), r"'image' is of shape \(3, 64, 32\), expected \(3, 32, 32\)"),
        ((1, 3, 32), "expected 4 positive numbers"),
        ((1, 3, 0, 32), "expected 4 positive numbers"),
        ((1, 3, 1 << 20, 1 << 20), "expected 4 positive numbers"),
    ],
)
def test_inputs_that_the_network_does_not_take(shape, message, tmp_path):
    model = read_onnx(write(tmp_path, SEEDS["channels first"]))
    with pytest.raises(InvalidParameterError, match=message):
        find_shapes(model, shape)


SIZES = {
    "Expand": (["image", "sizes"], [1 << 18, 3, 32, 32]),
    "Tile": (["image", "sizes"], [1, 1, 1 << 10, 1 << 10]),
    "Pad": (["image", "sizes"], [0, 0, 1 << 20, 0, 0, 0, 0, 1 << 20]),
    "ConstantOfShape": (["sizes"], [1 << 20, 1 << 20]),
    "Resize": (["image", "", "", "sizes"], [1, 3, 1 << 15, 1 << 15]),
}


@pytest.mark.parametrize("operator", SIZES)
def test_tensors_of_absurd_sizes(operator, tmp_path):
    inputs, sizes = SIZES[operator]
    node = helper.make_node(operator, inputs, ["y"])
    model = make_model(node, weights={"sizes": np.array(sizes)})
    if operator == "ConstantOfShape":
        del model.graph.output[0].type.tensor_type.shape.dim[2:]
    model = read_onnx(write_model(tmp_path, model))
    with pytest.raises(InvalidParameterError, match="'y' .* expected at most 268435456 numbers"):
        find_shapes(model, FIRST)


def test_ranks_that_double(tmp_path):
    nodes = [
        helper.make_node("Gather", [f"x{n}", f"x{n}"], [f"x{n + 1}"], axis=0) for n in range(26)
    ]
    nodes.append(helper.make_node("Relu", ["image"], ["y"]))
    model = read_onnx(write_model(tmp_path, make_model(*nodes, weights={"x0": np.array([[0]])})))
    with pytest.raises(InvalidParameterError, match="more than 64 dimensions"):
        find_shapes(model, FIRST)


def test_splits_into_more_parts_than_outputs(tmp_path):
    node = helper.make_node("Split", ["image"], ["y"], num_outputs=1 << 28)
    model = make_model(node, opset_imports=[helper.make_opsetid("", 18)])
    model = read_onnx(write_model(tmp_path, model))
    with pytest.raises(InvalidParameterError, match=r"\[268435456\] parts, and has 1 outputs"):
        find_shapes(model, FIRST)


def test_weights_that_are_standardized(tmp_path):
    # As in the residual networks of BiT: batch normalization in training mode, of weights only.
    weights = {"w": np.arange(24, dtype=np.float32).reshape(1, 8, 3)}
    weights |= {name: np.ones(8, np.float32) for name in ("scale", "bias", "mean", "var")}
    names = ["w", "scale", "bias", "mean", "var"]
    nodes = [
        helper.make_node("BatchNormalization", names, ["n", "m", "v"], training_mode=1),
        helper.make_node("Reshape", ["n", "shape"], ["kernel"]),
        helper.make_node("Conv", ["image", "kernel"], ["y"]),
    ]
    weights["shape"] = np.array([8, 3, 1, 1])
    model = read_onnx(write_model(tmp_path, make_model(*nodes, weights=weights)))
    assert find_shapes(model, FIRST)["y"] == (1, 8, 32, 32)


@pytest.mark.parametrize("error", [MemoryError, OverflowError])
def test_memory_that_is_not_there(error, tmp_path, monkeypatch):
    def fail(*arguments):
        raise error

    path = write(tmp_path, SEEDS["channels first"])
    monkeypatch.setattr("featbus.networks._onnx_file._read_regular", fail)
    with pytest.raises(InvalidParameterError, match="model.onnx' cannot be used"):
        read_onnx(path)


def test_long_words_do_not_hide_the_reason():
    assert shorten("the " + "x" * 900 + " end", 20) == "the xxxxxx ... xxxxxx end"


@pytest.mark.parametrize("values", [(0, 1 << 62, 1), (-(1 << 63), (1 << 63) - 1, 1 << 33)])
def test_long_ranges_are_not_computed(values, tmp_path):
    nodes = [
        helper.make_node("Range", ["start", "stop", "step"], ["range"]),
        helper.make_node("Cast", ["range"], ["y"], to=TensorProto.FLOAT),
    ]
    weights = {name: np.array(v) for name, v in zip(("start", "stop", "step"), values)}
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    path = write_model(tmp_path, fuzz.make_model(nodes, weights, [IMAGE], [result]))
    model = read_onnx(path)
    with suppress(InvalidParameterError):
        assert find_shapes(model, FIRST) == {}


# Refusals.


def set_attribute(**values):
    def change(node):
        for name, value in values.items():
            kept = [a for a in node.attribute if a.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def set_fields(**values):
    def change(node):
        for name, value in values.items():
            setattr(node, name, value)

    return change


def with_weights(change):
    model = convnet()
    change(model.graph.initializer)
    return model


def node_model(operator, inputs=("image",), **options):
    return make_model(helper.make_node(operator, inputs, ["y"], **options))


def with_input(kind, shape):
    source = helper.make_tensor_value_info("image", kind, shape)
    return make_model(helper.make_node("Relu", ["image"], ["y"]), source=source)


def second_input():
    model = make_model(helper.make_node("Add", ["image", "mask"], ["y"]))
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    return model


def with_function(*nodes, name="F"):
    model = make_model(helper.make_node(name, ["image"], ["y"], domain="own"))
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model.functions.append(helper.make_function("own", name, ["x"], ["y"], nodes, sets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def exploding():
    """Return functions each of which calls the next one ten times."""
    call = [helper.make_node("F0", ["image"], ["y"], domain="own")]
    model = make_model(*call)
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for depth in range(9):
        names = ["x", *(f"t{index}" for index in range(9)), "y"]
        nodes = [
            helper.make_node(f"F{depth + 1}", [one], [other], domain="own")
            for one, other in pairwise(names)
        ]
        model.functions.append(helper.make_function("own", f"F{depth}", ["x"], ["y"], nodes, sets))
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    model.functions.append(helper.make_function("own", "F9", ["x"], ["y"], relu, sets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def dropout(mode):
    model = make_model(
        helper.make_node("Dropout", ["image", "", "mode"], ["y"]), weights={"mode": np.array(mode)}
    )
    return model


def nested(depth):
    graph = make_branches("image", "image")["then_branch"]
    for level in range(depth):
        inner = graph
        for output in (*inner.output, *(node for node in inner.node)):
            if hasattr(output, "output"):
                output.output[0] += str(level)
            else:
                output.name += str(level)
        node = helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner)
        value = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", 3, "b", "c"])
        graph = helper.make_graph([node], "level", [], [value])
    return make_model(*graph.node, weights={"flag": np.array(True)})


def sparse(operator=None):
    """Return a model with sparse weights: those of the graph, or an attribute of an operator."""
    values = helper.make_tensor("s0", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    tensor = helper.make_sparse_tensor(values, places, [4])
    if operator == "Constant":
        values.ClearField("float_data")
        values.data_location = TensorProto.EXTERNAL
        values.external_data.add(key="location", value="secret.bin")
        tensor.values.CopyFrom(values)
        return with_inner_nodes(helper.make_node("Constant", [], ["k"], sparse_value=tensor))
    model = convnet()
    model.graph.sparse_initializer.append(tensor)
    return model


def with_inner_nodes(*nodes):
    """Return a model that has nodes in a branch of If."""
    identity = helper.make_node("Identity", ["image"], ["inner"])
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["a", 3, "b", "c"])
    graph = helper.make_graph([*nodes, identity], "branch", [], [value])
    node = helper.make_node("If", ["flag"], ["y"], then_branch=graph, else_branch=graph)
    return make_model(node, weights={"flag": np.array(True)})


def changed(**values):
    model = convnet()
    for name, value in values.items():
        setattr(model, name, value)
    return model


def opset(version):
    model = convnet()
    model.opset_import[0].version = version
    return model


def sized_by_pixels(operator, *inputs):
    """Return a model with an operator that reads whole numbers computed from the pixels."""
    return make_model(
        helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["number"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["number", "one"], ["sizes"]),
        helper.make_node(operator, inputs, ["y"]),
        weights={"one": np.array([1]), "zero": np.array(0), "step": np.array(1)},
    )


def chosen_by_pixels():
    return make_model(
        helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["flag"], to=TensorProto.BOOL),
        helper.make_node("If", ["flag"], ["y"], **make_branches("image", "image")),
    )


def colliding():
    """Return a function that calls itself by another spelling of its name."""
    model = make_model(helper.make_node("c", ["image"], ["y"], domain="a::b"))
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("a::b", 1)]
    nodes = [helper.make_node("c", ["x"], ["y"], domain="a::b")]
    model.functions.append(helper.make_function("a", "b::c", ["x"], ["y"], nodes, sets))
    model.opset_import.extend([helper.make_opsetid("a", 1), sets[1]])
    return model


def spelled_out():
    """Return a function of ONNX's own domain that calls itself by the other name of that."""
    model = make_model(helper.make_node("F", ["image"], ["y"]))
    nodes = [helper.make_node("F", ["x"], ["y"])]
    sets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("ai.onnx", "F", ["x"], ["y"], nodes, sets))
    return model


def called_with(**values):
    """Return a model whose function gets attributes."""
    model = with_function(helper.make_node("Relu", ["x"], ["y"]))
    set_attribute(**values)(model.graph.node[0])
    return model


def renamed(n_characters):
    """Return a model with a long name that a function reads."""
    model = with_function(helper.make_node("Relu", ["x"], ["y"]))
    model.graph.input[0].name = model.graph.node[0].input[0] = "n" * n_characters
    return model


def growing(n_reads):
    """Return a function that reads its input many times, whose name may be long."""
    return with_function(helper.make_node("Sum", ["x"] * n_reads, ["y"]))


def many_sides(weights):
    del weights[0].dims[:]
    weights[0].dims.extend([1 << 62] * 100_000)


LARGE = numpy_helper.from_array(np.zeros(1000, np.float32), "large")
GROWING = make_branches("image", "image")["then_branch"]
REFUSED = {
    "size of the pixels": (sized_by_pixels("Expand", "image", "sizes"), "Expand on values of the"),
    "padding of the pixels": (sized_by_pixels("Pad", "image", "sizes"), "Pad on values of the"),
    "range of the pixels": (sized_by_pixels("Range", "zero", "number", "step"), "Range on values"),
    "bright pixels": (node_model("NonZero"), "NonZero on values of the image: sizes would"),
    "branch of the pixels": (chosen_by_pixels(), "If on values of the image: sizes would"),
    "two spellings": (colliding(), "colon in its name: 'b::c'|colon in its name: 'c'"),
    "two spellings of ONNX": (spelled_out(), "'F' calls itself"),
    "tensor for a function": (called_with(v=LARGE), "'F' gets a graph or a large tensor"),
    "graph for a function": (called_with(v=GROWING), "'F' gets a graph or a large tensor"),
    "long name": (renamed(513), "more than 512 characters"),
    "name read often": (growing(200_000), "bytes with its functions inlined"),
    "more sides than fit": (with_weights(many_sides), "'w1' has 100000 dimensions"),
    "no graph": (onnx.ModelProto(ir_version=8), "no graph with nodes"),
    "format of the future": (changed(ir_version=999), "IR version 999, .*pip install -U onnx"),
    "format of the past": (changed(ir_version=2), "IR version 2, expected 3 to"),
    "opset of the future": (opset(999), "opset 999, expected 1 to .* pip install -U onnx"),
    "custom operator": (
        convnet(relu1=set_fields(domain="mine", op_type="Secret", name="last")),
        r"operator Secret \(node 'last'\) of the domain 'mine'",
    ),
    "fused operator": (convnet(relu1=set_fields(domain="com.microsoft")), "'com.microsoft'"),
    "chance": (node_model("RandomNormalLike"), "RandomNormalLike: rows would depend on chance"),
    "sampling": (node_model("Bernoulli"), "Bernoulli: rows would depend on chance"),
    "loop": (node_model("Loop", body=make_branches("image", "image")["then_branch"]), "loops"),
    "sequence": (node_model("SequenceConstruct"), "SequenceConstruct, expected .* plain tensors"),
    "text": (node_model("StringNormalizer"), "StringNormalizer, expected .* plain tensors"),
    "dropout": (dropout(True), "Dropout in training mode.*model.eval"),
    "batch statistics": (
        convnet(norm=set_attribute(training_mode=1)),
        "BatchNormalization in training mode.*other images.*model.eval",
    ),
    "two inputs": (second_input(), "its inputs are 'image', 'mask', expected one"),
    "integers": (with_input(TensorProto.UINT8, [1, 3, 8, 8]), "type UINT8, expected FLOAT"),
    "no image": (with_input(TensorProto.FLOAT, ["n", 10]), "has 2 dimensions, expected 4"),
    "unknown operator": (convnet(relu1=set_fields(op_type="Rolu")), "No Op registered for Rolu"),
    "unknown attribute": (convnet(relu1=set_attribute(nonsense=1)), "nonsense"),
    "two of one name": (with_weights(lambda w: w.append(w[0])), "have the name 'w1'"),
    "cycle": (convnet(conv1=lambda node: node.input.__setitem__(0, "relu2")), "sorted"),
    "computed twice": (convnet(relu2=lambda n: n.output.__setitem__(0, "norm")), "'norm'"),
    "calls itself": (
        with_function(helper.make_node("F", ["x"], ["y"], domain="own")),
        "'F' calls itself",
    ),
    "functions without end": (exploding(), "1000000000 nodes .* functions inlined"),
    "too deep": (nested(9), "nested more than 8 deep"),
    "sparse": (sparse(), "sparse weights"),
    "sparse constant": (sparse("Constant"), "sparse weights"),
    "too short": (with_weights(lambda w: setattr(w[0], "raw_data", b"1234")), "4 bytes, .* 864"),
    "negative": (with_weights(lambda w: w[0].dims.__setitem__(0, -8)), r"'w1' has the shape \(-8"),
    "absurd": (with_weights(lambda w: w[0].dims.__setitem__(0, 1 << 40)), "more than 2147483647"),
    "strings": (with_weights(lambda w: setattr(w[0], "data_type", 8)), "type 8, expected numbers"),
    "no such type": (with_weights(lambda w: setattr(w[0], "data_type", 99)), "type 99"),
    "elsewhere": (with_weights(lambda w: w[0].segment.SetInParent()), "'w1' is not in the file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_networks(case, tmp_path):
    model, message = REFUSED[case]
    path = write_model(tmp_path, model)
    with pytest.raises(InvalidParameterError, match=f"'.*model.onnx' cannot be used: .*{message}"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS.*git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "HTML.*download it again"),
        (b"PK\x03\x04archive", "archive, such as PyTorch"),
        (b"\x89HDF\r\n", "archive, such as PyTorch"),
        (CONVNET[:-100], "truncated"),
        (b"anything else", "no ONNX model"),
    ],
)
def test_files_that_are_no_onnx(content, message, tmp_path):
    path = write(tmp_path, {"model.onnx": content})
    for read in (read_onnx, onnx_digest):
        with pytest.raises(InvalidParameterError, match=message):
            read(path)


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(FileNotFoundError, match="There is no ONNX file"):
            read_onnx(str(path))


def test_files_that_are_too_large_are_not_read(tmp_path):
    path = write(tmp_path, SEEDS["channels first"])
    os.truncate(path, 1 << 31)
    with pytest.raises(InvalidParameterError, match="2147483648 bytes.*float16"):
        read_onnx(path)


def test_names_that_are_no_text(tmp_path):
    path = write(tmp_path, {"model.onnx": CONVNET.replace(b"relu1", b"rel\xff1")})
    with pytest.raises(InvalidParameterError, match="not Unicode"):
        read_onnx(path)


@pytest.mark.parametrize(("missing", "extra"), [("onnx", "onnx"), ("onnxruntime", "onnx")])
def test_packages_that_are_not_installed(missing, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    path = write(tmp_path, SEEDS["channels first"])
    with pytest.raises(ImportError, match=rf'pip install "featbus\[{extra}\]"'):
        read_onnx(path) if missing == "onnx" else try_in_child(CONVNET)


def test_old_versions_of_onnx(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "__version__", "1.21.0")
    with pytest.raises(ImportError, match=r"1\.21\.0, expected 1\.22"):
        read_onnx(write(tmp_path, SEEDS["channels first"]))


# External data.


def move_to(path, **entries):
    """Change where the first weight of the network with external data lies."""
    model = onnx.ModelProto.FromString(SEEDS["external"]["model.onnx"])
    for entry in model.graph.initializer[0].external_data:
        entry.value = entries.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())


OUTSIDE = [
    "/etc/passwd",
    "../data",
    "a/../../data",
    "C:\\data",
    "\\\\host\\data",
    "a\\..\\b",
    "",
    "a\0",
]


@pytest.mark.parametrize("location", OUTSIDE)
def test_external_data_outside_the_folder(location, tmp_path):
    path = write(tmp_path, SEEDS["external"])
    move_to(path, location=location)
    for read in (read_onnx, onnx_digest):
        with pytest.raises(InvalidParameterError, match="expected a file beside it"):
            read(path)


def test_external_data_behind_links(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    path = write(folder, SEEDS["external"])
    (folder / "model.onnx.data").rename(tmp_path / "data")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data").write_bytes((tmp_path / "data").read_bytes())
    try:
        (folder / "model.onnx.data").symlink_to(tmp_path / "data")
        (folder / "linked").symlink_to(tmp_path / "other")
    except OSError:
        pytest.skip("no symbolic links here")
    for location in ("model.onnx.data", "linked/data"):
        move_to(path, location=location)
        with pytest.raises(InvalidParameterError, match="a link to another place"):
            read_onnx(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_external_data_that_are_no_file(tmp_path):
    path = write(tmp_path, SEEDS["external"])
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for location in ("folder", "pipe", "missing"):
        move_to(path, location=location)
        with pytest.raises(InvalidParameterError, match=f"'{location}' are missing"):
            read_onnx(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "-8"}, "offset -8"),
        ({"offset": "1e3"}, "offset 1e3"),
        ({"offset": "\u0664"}, "expected numbers of bytes"),
        ({"length": "9" * 30}, "expected numbers of bytes"),
        ({"offset": "999999999"}, "864 bytes from 999999999 on.*do not belong together"),
        ({"length": "860"}, "needs 864 bytes.* 860 bytes from 0 on"),
    ],
)
def test_external_data_that_do_not_fit(entries, message, tmp_path):
    path = write(tmp_path, SEEDS["external"])
    move_to(path, **entries)
    with pytest.raises(InvalidParameterError, match=message):
        read_onnx(path)


def test_external_data_that_grow(tmp_path, monkeypatch):
    # All weights are the same bytes of a file, which is small.
    monkeypatch.setattr(_onnx_tensors, "SMALL", 0)
    model = onnx.ModelProto.FromString(SEEDS["external"]["model.onnx"])
    model.graph.initializer.extend([model.graph.initializer[0]] * 50)
    path = write(tmp_path, SEEDS["external"] | {"model.onnx": model.SerializeToString()})
    with pytest.raises(InvalidParameterError, match="do not belong together"):
        read_onnx(path)


@pytest.mark.parametrize("read", [read_onnx, onnx_digest])
def test_external_data_with_holes(read, tmp_path):
    path = write(tmp_path, SEEDS["external"])
    os.truncate(tmp_path / "model.onnx.data", (1 << 31) - 1)
    with pytest.raises(InvalidParameterError, match="more than .* bytes together, .* tensors need"):
        read(path)


def test_external_data_are_loaded(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder, name in ((inside, "channels first"), (outside, "external")):
        folder.mkdir()
        write(folder, SEEDS[name])
    assert read_onnx(inside / "model.onnx") == read_onnx(outside / "model.onnx")


# Digests.


def test_digest(tmp_path):
    path = write(tmp_path, SEEDS["channels first"])
    digest = onnx_digest(path)
    assert digest == file_digest(path) == onnx_digest(str(path))
    assert read_onnx(path, digest).graph.node
    path.write_bytes(fuzz.make_convnet(batch=2).SerializeToString())
    assert onnx_digest(path) != digest
    with pytest.raises(InvalidParameterError, match="it was changed since"):
        read_onnx(path, digest)


def test_digest_covers_external_data(tmp_path):
    path, data = write(tmp_path, SEEDS["external"]), tmp_path / "model.onnx.data"
    digest, content = onnx_digest(path), data.read_bytes()
    data.write_bytes(content[:-1] + b"\1")
    os.utime(data, ns=(0, 0))
    assert onnx_digest(path) != digest
    data.write_bytes(content)
    os.utime(data, ns=(1, 1))
    assert onnx_digest(path) == digest


def test_digest_is_cached(tmp_path, monkeypatch):
    path = write(tmp_path, SEEDS["external"])
    digest = onnx_digest(path)
    monkeypatch.setattr("featbus.networks._onnx_file._read_regular", None)
    assert onnx_digest(path) == digest


# The first run.


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def part(tmp_path):
    return truncate(read_onnx(write(tmp_path, SEEDS["channels first"])), ["relu2"], FIRST)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_first_run(runtime, part, cache, monkeypatch):
    pytest.importorskip(runtime)
    assert try_in_child(part, runtime) == {"relu2": (1, 16, 8, 8)}
    with monkeypatch.context() as patch:
        patch.setattr(_onnx_trial.subprocess, "run", None)
        assert try_in_child(part, runtime) == {"relu2": (1, 16, 8, 8)}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_names_of_outputs_are_those_of_the_file(runtime, tmp_path, cache):
    # OpenVINO drops both reshapes, and gives their result all names.
    pytest.importorskip(runtime)
    model = make_model(
        helper.make_node("Relu", ["image"], ["a"]),
        helper.make_node("Reshape", ["a", "tokens"], ["b"]),
        helper.make_node("Reshape", ["b", "map"], ["y"]),
        weights={"tokens": np.array([1, 3, -1]), "map": np.array(FIRST)},
    )
    part = truncate(read_onnx(write_model(tmp_path, model)), ["y"], FIRST)
    assert try_in_child(part, runtime) == {"y": FIRST}


def test_damaged_result_of_a_first_run(part, cache):
    pytest.importorskip("onnxruntime")
    shapes = try_in_child(part)
    (verdict,) = cache.rglob("*.json")
    content = verdict.read_text()
    wrong = [
        "[]",
        "[" * 100_000,
        content.replace("[1, ", "[1e400, "),
        content.replace("[1,", "[1.5,"),
    ]
    for text in wrong:
        verdict.write_text(text)
        assert try_in_child(part) == shapes
        assert verdict.read_text() == content
    if hasattr(os, "mkfifo"):
        verdict.unlink()
        os.mkfifo(verdict)
        assert try_in_child(part) == shapes
        assert verdict.read_text() == content


def test_a_run_that_fails_is_refused(tmp_path, cache):
    pytest.importorskip("onnxruntime")
    model = read_onnx(write(tmp_path, SEEDS["transformer"]))
    sizes = next(w for w in model.graph.initializer if w.name == "to_heads")
    sizes.raw_data = np.array([0, -1, 3, 5]).tobytes()
    broken = truncate(model, ["scores"], FIRST)
    with pytest.raises(InvalidParameterError, match="'a.onnx' on onnxruntime .* cannot be run: "):
        try_in_child(broken, name="a.onnx")
    assert not cache.exists()


def test_rows_of_nan_are_refused(tmp_path, cache):
    pytest.importorskip("onnxruntime")
    model = read_onnx(write_model(tmp_path, node_model("Log")))
    with pytest.raises(InvalidParameterError, match="NaN or infinity in y. Export it as float32"):
        try_in_child(truncate(model, ["y"], FIRST))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.abort()", "crashed in its first run.*(SIGABRT|exit status)"),
        ("raise SystemError('bad')", "exit status 1.*SystemError: bad"),
        ("import time; time.sleep(60)", "did not end within 1 seconds"),
    ],
)
def test_children_that_die_or_hang(code, message, part, cache, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    (tmp_path / "child.py").write_text(code)
    monkeypatch.setattr(_onnx_child, "__file__", str(tmp_path / "child.py"))
    with pytest.raises(InvalidParameterError, match=f"'model.onnx' on onnxruntime .*{message}"):
        try_in_child(part, seconds=1)
    assert not cache.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="memory is not limited there")
def test_children_that_need_too_much_memory(tmp_path, cache, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(_onnx_trial, "_MEMORY", 300 << 20)
    node = helper.make_node("Expand", ["image", "sizes"], ["y"])
    model = make_model(node, weights={"sizes": np.array([1 << 15, 3, 32, 32])})
    model = read_onnx(write_model(tmp_path, model))
    with pytest.raises(InvalidParameterError, match="needs more than 300 MB|[Aa]lloc"):
        try_in_child(truncate(model, ["y"], FIRST))


def test_a_cache_that_cannot_be_written(part, cache):
    pytest.importorskip("onnxruntime")
    cache.write_text("a file")
    with pytest.warns(UserWarning, match="FEATBUS_CACHE"):
        assert try_in_child(part) == {"relu2": (1, 16, 8, 8)}


# Damaged files.


def test_mutants(tmp_path):
    outcomes = set()
    for number in range(240):
        name = list(SEEDS)[number % len(SEEDS)]
        path = write(tmp_path, fuzz.mutate(SEEDS[name], np.random.default_rng([0, number])))
        outcome, seconds, said = fuzz.use(path, name == "channels last")
        assert outcome in ("runs", "refused"), said
        assert seconds < 5
        outcomes.add(outcome)
    assert outcomes == {"runs", "refused"}
