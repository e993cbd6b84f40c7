"""seeds"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def make_seeds():
    """Return small networks by name: the content of their files, "model.onnx" and others."""
    seeds = {
        "channels first": make_convnet(),
        "channels last": make_convnet(channels_last=True),
        "half": make_convnet(dtype=np.float16),
        "transformer": make_transformer(),
        "function": make_function(),
    }
    files = {name: {"model.onnx": model.SerializeToString()} for name, model in seeds.items()}
    return files | {"external": move_outside(make_convnet())}


def make_model(nodes, weights, inputs, outputs, **options):
    """Return a model of nodes and arrays by name."""
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "network", inputs, outputs, tensors)
    options = {"opset_imports": [helper.make_opsetid("", 17)], "ir_version": 8, **options}
    return helper.make_model(graph, **options)


def make_convnet(channels_last=False, dtype=np.float32, batch="n", side=32):
    """Return two convolutions, a pooled embedding and a dense layer."""
    rng = np.random.default_rng(0)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    first = "moved" if channels_last else "image"
    nodes = [helper.make_node("Transpose", ["image"], ["moved"], perm=[0, 3, 1, 2])]
    nodes = nodes if channels_last else []
    nodes += [
        helper.make_node("Conv", [first, "w1", "b1"], ["conv1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv1"], ["relu1"]),
        helper.make_node("Conv", ["relu1", "w2"], ["conv2"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["conv2", *"sbmv"], ["norm"]),
        helper.make_node("Relu", ["norm"], ["relu2"]),
        helper.make_node("GlobalAveragePool", ["relu2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "dense", "bias"], ["logits"], transB=1),
    ]
    weights = {
        "w1": rng.normal(size=(8, 3, 3, 3)),
        "b1": np.zeros(8),
        "w2": rng.normal(size=(16, 8, 3, 3)) / 9,
        **{"s": np.ones(16), "b": np.zeros(16), "m": np.zeros(16), "v": np.ones(16)},
        "dense": rng.normal(size=(4, 16)),
        "bias": np.zeros(4),
    }
    shape = [batch, side, side, 3] if channels_last else [batch, 3, side, side]
    return make_model(
        nodes,
        {name: value.astype(dtype) for name, value in weights.items()},
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("logits", kind, [batch, 4])],
    )


def make_transformer(side=32, patch=8, width=16, heads=2):
    """Return one block of a vision transformer with a class token, of free batch."""
    rng = np.random.default_rng(1)
    tokens = (side // patch) ** 2 + 1
    nodes = [
        helper.make_node("Conv", ["image", "patches"], ["embedded"], strides=[patch, patch]),
        helper.make_node("Reshape", ["embedded", "to_tokens"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("Shape", ["tokens"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "zeros"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["expanded"], axis=0),
        helper.make_node("Expand", ["cls", "expanded"], ["classes"]),
        helper.make_node("Concat", ["classes", "tokens"], ["sequence"], axis=1),
        helper.make_node("Add", ["sequence", "positions"], ["placed"]),
        helper.make_node("LayerNormalization", ["placed", "scale", "shift"], ["normed"]),
        helper.make_node("MatMul", ["normed", "wq"], ["q"]),
        helper.make_node("MatMul", ["normed", "wk"], ["k"]),
        helper.make_node("MatMul", ["normed", "wv"], ["v"]),
    ]
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [
            helper.make_node("Reshape", [name, "to_heads"], [f"{name}_heads"]),
            helper.make_node("Transpose", [f"{name}_heads"], [f"{name}_moved"], perm=perm),
        ]
    nodes += [
        helper.make_node("MatMul", ["q_moved", "k_moved"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["attention"], axis=-1),
        helper.make_node("MatMul", ["attention", "v_moved"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["mixed_back"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["mixed_back", "from_heads"], ["joined"]),
        helper.make_node("Add", ["placed", "joined"], ["last_hidden_state"]),
        helper.make_node("Gather", ["last_hidden_state", "zero"], ["pooler_output"], axis=1),
    ]
    weights = {
        "patches": rng.normal(size=(width, 3, patch, patch)) / patch,
        "cls": rng.normal(size=(1, 1, width)),
        "positions": rng.normal(size=(1, tokens, width)),
        "scale": np.ones(width),
        "shift": np.zeros(width),
        **{name: rng.normal(size=(width, width)) / 4 for name in ("wq", "wk", "wv")},
    }
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    sizes = {
        "to_tokens": [0, width, -1],
        "zero": 0,
        "zeros": [0],
        "rest": [1, width],
        "to_heads": [0, -1, heads, width // heads],
        "from_heads": [0, -1, width],
    }
    weights |= {name: np.array(value, np.int64) for name, value in sizes.items()}
    return make_model(
        nodes,
        weights,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, side, side])],
        [
            helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["n", "t", "w"]),
            helper.make_tensor_value_info("pooler_output", TensorProto.FLOAT, ["n", "w"]),
        ],
    )


def make_function():
    """Return a model whose activations are a local function, which calls another."""
    model = make_convnet()
    standard = helper.make_opsetid("", 17)
    own = helper.make_opsetid("own", 1)
    gate = helper.make_function(
        "own", "Gate", ["x"], ["y"], [helper.make_node("Sigmoid", ["x"], ["y"])], [standard]
    )
    swish = helper.make_function(
        "own",
        "Swish",
        ["x"],
        ["y"],
        [
            helper.make_node("Gate", ["x"], ["gate"], domain="own"),
            helper.make_node("Mul", ["x", "gate"], ["y"]),
        ],
        [standard, own],
    )
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type, node.domain = "Swish", "own"
    model.functions.extend([gate, swish])
    model.opset_import.append(own)
    return model


def move_outside(model, name="model.onnx.data"):
    """Return the files of a model whose weights are external data."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    data = b""
    for tensor in model.graph.initializer:
        place = {"location": name, "offset": len(data), "length": len(tensor.raw_data)}
        data += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
    return {"model.onnx": model.SerializeToString(), name: data}
