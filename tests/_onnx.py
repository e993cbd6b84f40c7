"""Small ONNX networks, as tests write them."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

SIZE = 32
TORCH = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": 1 / 255}


class Graph:
    """An ONNX graph in the making; its methods add nodes, and return the names of their outputs."""

    def __init__(self, dtype=np.float32, seed=0):
        self.dtype = np.dtype(dtype)
        self.nodes, self.weights = [], []
        self._rng = np.random.default_rng(seed)

    def add(self, kind, inputs, name=None, **attributes):
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, values):
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def random(self, *shape):
        scale = 1 / np.sqrt(max(1, np.prod(shape[1:])))
        return self.constant(self._rng.normal(0, scale, shape).astype(self.dtype))

    def conv(self, image, channels, width, kernel=3, stride=2, name=None, bias=True):
        inputs = [image, self.random(width, channels, kernel, kernel)]
        pad = 0 if kernel == stride else kernel // 2
        return self.add(
            "Conv",
            inputs + ([self.random(width)] if bias else []),
            name,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
        )

    def reshape(self, values, *shape, name=None):
        return self.add("Reshape", [values, self.constant(np.int64(shape))], name)

    def dense(self, values, n_inputs, width, name=None, bias=True):
        # Normal numbers times the root of the width.
        product = self.add("MatMul", [values, self.random(n_inputs, width)])
        return self.add("Add", [product, self.random(width)], name) if bias else product

    def save(self, path, shape, *outputs, image="image"):
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info(image, kind, shape)],
            [helper.make_tensor_value_info(name, kind, None) for name in outputs],
            self.weights,
        )
        opsets = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.save(onnx.shape_inference.infer_shapes(model), path)
        return str(path)


def save_convnet(path, shape=("n", 3, "h", "w"), dtype=np.float32, classifier=False, channels=3):
    """Save three convolutions of stride 2, with batch normalization and ReLU.

    `shape` is that of the input; channels last if it says so. With a classifier, the maps "relu1",
    "relu2" and "relu3" come before it.
    """
    graph = Graph(dtype)
    maps, last = "image", shape[3] == channels
    if last:
        maps = graph.add("Transpose", [maps], perm=[0, 3, 1, 2])
    for index, width in enumerate((4, 6, 8), start=1):
        maps = graph.conv(maps, channels, width)
        ones, zeros = (graph.constant(np.full(width, v, graph.dtype)) for v in (1, 0))
        maps = graph.add("BatchNormalization", [maps, ones, zeros, zeros, ones])
        maps = graph.add("Relu", [maps], f"relu{index}")
        channels = width
    if classifier:
        pooled = graph.add("GlobalAveragePool", [maps])
        flat = graph.add("Flatten", [pooled], "embedding")
        maps = graph.add("Gemm", [flat, graph.random(8, 3), graph.random(3)], "logits")
        maps = graph.add("Softmax", [maps], "probabilities")
    elif last:
        maps = graph.add("Transpose", [maps], "maps", perm=[0, 2, 3, 1])
    return graph.save(path, shape, maps)


def save_vit(path, size=SIZE, patch=8, n_registers=2, has_class=True, head=None, dtype=np.float32):
    """Save a vision transformer of one block: tokens as "tokens", of width 6.

    `head` is None, "pooled": the class token, "projected", "logits", or "alone": logits of the
    class token after a normalization of its own.
    """
    graph, width, cells = Graph(dtype, seed=1), 6, (size // patch) ** 2
    n_prefix = n_registers + has_class
    maps = graph.conv("image", 3, width, patch, patch, name="patches")
    tokens = graph.reshape(maps, 0, width, cells)
    tokens = graph.add("Transpose", [tokens], perm=[0, 2, 1])
    if n_prefix:
        tokens = graph.add("Concat", [graph.random(1, n_prefix, width), tokens], axis=1)
    tokens = graph.add("Add", [tokens, graph.random(1, n_prefix + cells, width)], "embedded")
    queries, keys, values = (
        graph.add(
            "Transpose",
            [graph.reshape(graph.dense(tokens, width, width), 0, n_prefix + cells, 2, 3)],
            perm=[0, 2, *order],
        )
        for order in ((1, 3), (3, 1), (1, 3))
    )
    attention = graph.add("Softmax", [graph.add("MatMul", [queries, keys])], "attention", axis=-1)
    mixed = graph.add("Transpose", [graph.add("MatMul", [attention, values])], perm=[0, 2, 1, 3])
    mixed = graph.dense(graph.reshape(mixed, 0, n_prefix + cells, width), width, width)
    tokens = graph.add("Add", [tokens, mixed])
    scale, shift = graph.random(width), graph.random(width)
    output = graph.add("LayerNormalization", [tokens, scale, shift], "tokens", axis=-1)
    if head == "alone":
        output = graph.add("Gather", [output, graph.constant(np.int64([0]))], axis=1)
        output = graph.add("LayerNormalization", [output, scale, shift], "alone", axis=-1)
        output = graph.add("ReduceMean", [output], axes=[1], keepdims=0)
        output = graph.dense(output, width, 3, "logits")
    elif head is not None:
        index = graph.constant(np.int64(0))
        output = graph.add("Gather", [output, index], "pooled", axis=1)
    if head == "projected":
        output = graph.dense(output, width, 5, bias=False)
    elif head == "logits":
        output = graph.dense(output, width, 3, "logits")
    return graph.save(path, ("n", 3, size, size), output)
