"""Damage ONNX files, use them as DeepFeatures does, and count what happens.

    python benchmarks/fuzz/onnx_files.py                # 5,000 mutants, a quarter of an hour
    python benchmarks/fuzz/onnx_files.py 500 --seed 1   # fewer, and other ones
    python benchmarks/fuzz/onnx_files.py --runtime openvino

Each mutant is one of some small networks, which this script makes, with changed bytes, or with
changed fields: shapes, attributes, weights, operators, connections, types, versions, functions,
places of external data. A process of its own reads it, finds shapes, truncates it, and has it run
by a child. How it ended:

- runs: one image went through it;
- refused: by featbus, before any runtime saw it;
- by the runtime: refused with what the runtime raised, or because of NaN or infinity;
- by its end: refused because the child crashed, hung or needed too much memory;
- exception, died, hang, memory: what must not happen. Anything but the documented errors; the end
  of the process that reads; more than 5 seconds to read, or 2 GB.

The exit status is 1 if that happened.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 32  # pixels
SECONDS, CHILD_SECONDS, GIGABYTES = 5, 20, 2
BAD = ("exception", "died", "hang", "memory")
REPORTED_AFTER = 1_000


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


def mutate(files, rng):
    """Return the files of a network with one or a few changes."""
    files = dict(files)
    if rng.random() < 0.3:
        name = str(rng.choice(list(files)))
        files[name] = _damage(files[name], rng)
        return files
    model = onnx.ModelProto.FromString(files["model.onnx"])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        changes = CHANGES if "model.onnx.data" in files else CHANGES[:-1]
        changes[rng.integers(len(changes))](model, rng)
    return files | {"model.onnx": model.SerializeToString()}


def _damage(data, rng):
    """Flip, remove, insert or double bytes."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place, size = int(rng.integers(len(data) + 1)), int(rng.choice([1, 2, 8, 100]))
        part = bytes(data[place : place + size])
        other = int(rng.integers(len(data) + 1))
        changed = [
            bytes(byte ^ 1 << int(rng.integers(8)) for byte in part[:1]) + part[1:],
            rng.bytes(len(part)),
            b"\xff" * len(part),
            b"",
            part + part,
            bytes(data[other : other + size]),
        ]
        data[place : place + size] = changed[rng.integers(len(changed))]
    return bytes(data[: rng.integers(len(data) + 1)]) if rng.random() < 0.1 else bytes(data)


def _pick(values, rng):
    return values[rng.integers(len(values))] if len(values) else None


def _number(rng):
    extremes = [0, 1, 2, 3, 7, -1, -2, 255, 65536, 1 << 20, 1 << 31, 1 << 40, 1 << 62]
    extremes += [-(1 << 31), (1 << 63) - 1, -(1 << 63)]
    return int(extremes[rng.integers(len(extremes))])


def _change_dims(model, rng):
    tensor = _pick(model.graph.initializer, rng)
    if len(tensor.dims):
        tensor.dims[rng.integers(len(tensor.dims))] = _number(rng)
    if rng.random() < 0.3:
        tensor.dims.append(_number(rng))


def _change_value_shape(model, rng):
    value = _pick([*model.graph.input, *model.graph.output], rng)
    dims = value.type.tensor_type.shape.dim
    if rng.random() < 0.2:
        dims.add(dim_value=_number(rng))
    elif rng.random() < 0.2:
        value.type.tensor_type.elem_type = int(rng.integers(-1, 30))
    else:
        dims[rng.integers(len(dims))].dim_value = _number(rng)


def _change_attribute(model, rng):
    node = _pick([node for node in model.graph.node if len(node.attribute)], rng)
    attribute = _pick(node.attribute, rng)
    kind = rng.integers(6)
    if kind == 0:
        attribute.name = str(rng.choice(["group", "axis", "pads", "dilations", "kernel_shape"]))
    elif kind == 1:
        attribute.type = int(rng.integers(1, 15))
    elif kind == 2 and len(attribute.ints):
        attribute.ints.extend([_number(rng)] * int(rng.choice([1, 1, 100])))
    elif len(attribute.ints):
        attribute.ints[rng.integers(len(attribute.ints))] = _number(rng)
    else:
        attribute.i = _number(rng)


def _add_attribute(model, rng):
    names = "group axis keepdims dilations strides pads kernel_shape auto_pad ceil_mode to value"
    names += " num_outputs training_mode epsilon perm transA axes direction then_branch body"
    attribute = _pick(model.graph.node, rng).attribute.add(name=str(rng.choice(names.split())))
    kind = rng.integers(4)
    if kind == 0:
        attribute.type, attribute.i = onnx.AttributeProto.INT, _number(rng)
    elif kind == 1:
        attribute.type = onnx.AttributeProto.INTS
        attribute.ints.extend(_number(rng) for _ in range(rng.integers(6)))
    elif kind == 2:
        attribute.type = onnx.AttributeProto.GRAPH
        attribute.g.CopyFrom(onnx.GraphProto.FromString(model.graph.SerializeToString()))
    else:
        attribute.type = onnx.AttributeProto.TENSOR
        attribute.t.CopyFrom(_pick(model.graph.initializer, rng))


def _change_edge(model, rng):
    node = _pick(model.graph.node, rng)
    names = [name for other in model.graph.node for name in other.output]
    names += [tensor.name for tensor in model.graph.initializer] + ["image", "", "missing"]
    ends = node.input if rng.random() < 0.7 else node.output
    if not len(ends) or rng.random() < 0.3:
        ends.append(str(rng.choice(names)))
    elif rng.random() < 0.2:
        del ends[rng.integers(len(ends))]
    else:
        ends[rng.integers(len(ends))] = str(rng.choice(names))


def _change_operator(model, rng):
    node = _pick(model.graph.node, rng)
    node.op_type = str(rng.choice(OPERATORS))
    if rng.random() < 0.05:
        node.domain = str(rng.choice(["com.microsoft", "ai.onnx.ml", "own", "ai.onnx"]))


def _change_weights(model, rng):
    tensor = _pick(model.graph.initializer, rng)
    values = rng.integers(4)
    if values == 0:
        tensor.data_type = int(rng.integers(-1, 30))
    elif values == 1:
        tensor.raw_data = _damage(tensor.raw_data + b"0", rng)
    elif values == 2:
        tensor.float_data.append(1.0)
    else:
        tensor.raw_data = rng.bytes(len(tensor.raw_data))


def _change_sizes(model, rng):
    """Change a weight of integers: the shape of something."""
    tensors = [t for t in model.graph.initializer if t.data_type == TensorProto.INT64]
    tensor = _pick([tensor for tensor in tensors if len(tensor.raw_data) >= 8], rng)
    if tensor is None:
        return _insert_size(model, rng)
    place = 8 * int(rng.integers(len(tensor.raw_data) // 8))
    data = bytearray(tensor.raw_data)
    data[place : place + 8] = _number(rng).to_bytes(8, "little", signed=True)
    tensor.raw_data = bytes(data)


def _insert_size(model, rng):
    """Put an operator that makes something of a size that is given between two nodes."""
    node = _pick(model.graph.node, rng)
    operator = str(rng.choice(["Reshape", "Expand", "Tile", "Pad", "ConstantOfShape", "Resize"]))
    size = [_number(rng) if rng.random() < 0.5 else 1 for _ in range(8 if operator == "Pad" else 4)]
    model.graph.initializer.append(numpy_helper.from_array(np.array(size), f"size{len(size)}"))
    inputs = {"ConstantOfShape": [f"size{len(size)}"], "Resize": ["x", "", "", f"size{len(size)}"]}
    inputs = inputs.get(operator, ["x", f"size{len(size)}"])
    inputs = [node.input[0] if name == "x" else name for name in inputs]
    place = list(model.graph.node).index(node)
    model.graph.node.insert(place, helper.make_node(operator, inputs, ["inserted"]))
    model.graph.node[place + 1].input[0] = "inserted"


def _change_nodes(model, rng):
    nodes = model.graph.node
    first, second = (int(rng.integers(len(nodes))) for _ in range(2))
    kind = rng.integers(4)
    if kind == 0 and len(nodes) > 1:
        del nodes[first]
    elif kind == 1:
        nodes.append(onnx.NodeProto.FromString(nodes[first].SerializeToString()))
    elif kind == 2:
        one, other = (nodes[index].SerializeToString() for index in (first, second))
        nodes[first].ParseFromString(other)
        nodes[second].ParseFromString(one)
    else:
        _pick([*model.graph.output], rng).name = nodes[first].output[0]


def _change_version(model, rng):
    if rng.random() < 0.3:
        model.ir_version = _number(rng)
    elif rng.random() < 0.8:
        model.opset_import[0].version = int(rng.integers(0, 30))
    else:
        model.opset_import[0].domain = str(rng.choice(["", "ai.onnx", "own", "ai.onnx.ml"]))


def _change_functions(model, rng):
    if not len(model.functions):
        return _change_operator(model, rng)
    function = _pick(model.functions, rng)
    kind = rng.integers(4)
    if kind == 0:
        node = _pick(function.node, rng)
        node.op_type, node.domain = str(rng.choice(["Swish", "Gate"])), "own"
    elif kind == 1:
        function.name = str(rng.choice(["Swish", "Gate", "Relu", ""]))
    elif kind == 2:
        del function.input[:]
    else:
        for _ in range(3):
            function.node.add(op_type="Gate", domain="own", input=["x"], output=["z"])


def _change_external(model, rng):
    tensor = _pick(model.graph.initializer, rng)
    entry = _pick(tensor.external_data, rng)
    if entry is None:
        return
    places = [
        "../model.onnx.data",
        "/etc/passwd",
        "",
        "model.onnx",
        "C:\\x",
        "a\0b",
        ".",
        "..",
        "x",
    ]
    if entry.key == "location":
        entry.value = str(rng.choice(places))
    else:
        entry.value = str(rng.choice([str(_number(rng)), "x", "", "1e9", "-8", "9" * 400]))


OPERATORS = sorted({schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain})
CHANGES = [
    _change_dims,
    _change_value_shape,
    _change_attribute,
    _add_attribute,
    _change_edge,
    _change_operator,
    _change_operator,
    _change_weights,
    _change_sizes,
    _insert_size,
    _change_nodes,
    _change_version,
    _change_functions,
    _change_external,
]


def use(path, channels_last, runtime=None):
    """Use a file as DeepFeatures does; return how it ended, and how long reading it took."""
    from featbus.networks._onnx_file import onnx_digest, read_onnx
    from featbus.networks._onnx_graph import find_shapes, truncate
    from featbus.networks._onnx_trial import try_in_child
    from featbus.parameters import InvalidParameterError

    start = time.perf_counter()
    stage, said = "refused", ""
    try:
        model = read_onnx(path, onnx_digest(path))
        shape = (1, SIDE, SIDE, 3) if channels_last else (1, 3, SIDE, SIDE)
        tensors = list(find_shapes(model, shape))[-2:]
        part = truncate(model, tensors, shape)
        seconds = time.perf_counter() - start
        stage = "by the runtime"
        if runtime:
            try_in_child(part, runtime, seconds=CHILD_SECONDS)
        stage = "runs"
    except (InvalidParameterError, FileNotFoundError) as error:
        said = str(error)
        if any(text in said for text in ("crashed in", "did not end", "needs more than")):
            stage = "by its end"
    except BaseException as error:
        stage, said = "exception", "".join(traceback.format_exception(error))
    if stage in ("refused", "exception"):
        seconds = time.perf_counter() - start
    return stage, seconds, said


def work(connection, folder, runtime):
    """Use the files that the guard writes, in a process of its own."""
    import resource

    while (channels_last := connection.recv()) is not None:
        outcome, seconds, said = use(folder / "model.onnx", channels_last, runtime)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        large = outcome != "exception" and peak * 1024 > GIGABYTES << 30
        connection.send(("memory" if large else outcome, seconds, said, peak))


class Guard:
    """A process that uses files, and is replaced when it dies or hangs."""

    def __init__(self, runtime):
        self.runtime, self.process = runtime, None

    def use(self, files, channels_last):
        """Have the process use files; return what it says, or how it ended."""
        if self.process is None:
            self._start()
        for name, data in files.items():
            (self.folder / name).write_bytes(data)
        self.connection.send(channels_last)
        try:
            if self.connection.poll(2 * SECONDS + CHILD_SECONDS):
                return self.connection.recv()
            outcome = "hang"
        except EOFError:
            outcome = "died"
        self.stop()
        return outcome, SECONDS, "", 0

    def _start(self):
        context = get_context("spawn")
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = Path(self.scratch.name)
        self.connection, other = context.Pipe()
        arguments = other, self.folder, self.runtime
        self.process = context.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        other.close()
        (self.folder / "model.onnx").write_bytes(b"")  # imports take longer than a mutant may
        self.connection.send(False)
        self.connection.recv()

    def stop(self):
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.scratch.cleanup()
            self.process = None


def fuzz(count, seed=0, runtime="onnxruntime", keep=None):
    """Use mutants of all networks, and yield the number of each outcome by network now and then."""
    seeds, table, guard = make_seeds(), {}, Guard(runtime)
    names = list(seeds)
    for number in range(count):
        name = names[number % len(names)]
        files = mutate(seeds[name], np.random.default_rng([seed, number]))
        outcome, seconds, said, peak = guard.use(files, name == "channels last")
        outcome = "hang" if seconds > SECONDS else outcome
        counts = table.setdefault(name, Counter())
        counts[outcome] += 1
        counts["slowest ms"] = max(counts["slowest ms"], round(1000 * seconds))
        counts["peak MB"] = max(counts["peak MB"], peak >> 10)
        if keep and outcome in (*BAD, "by its end"):
            folder = Path(keep, f"{number} {outcome} {name}".replace(" ", "_"))
            folder.mkdir(parents=True)
            for file, data in files.items():
                (folder / file).write_bytes(data)
            (folder / "said.txt").write_text(said)
        if number % REPORTED_AFTER == REPORTED_AFTER - 1:
            yield table
    guard.stop()
    yield table


def show(table):
    """Print the outcomes by network."""
    columns = ["runs", "refused", "by the runtime", "by its end", *BAD, "slowest ms", "peak MB"]
    print(f"{'network':15}" + "".join(f"{column:>15}" for column in columns))
    for name, counts in table.items():
        print(f"{name:15}" + "".join(f"{counts[column]:>15}" for column in columns))
    print(flush=True)


def main():
    """Fuzz as the command line says, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runtime", default="onnxruntime", help="onnxruntime, openvino or none")
    parser.add_argument("--keep", metavar="DIR", help="folder for mutants with a bad outcome")
    options = parser.parse_args()
    runtime = None if options.runtime == "none" else options.runtime
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FEATBUS_CACHE"] = cache
        for table in fuzz(options.count, options.seed, runtime, options.keep):
            show(table)
    total = sum(table.values(), Counter())
    return int(any(total[outcome] for outcome in BAD))


if __name__ == "__main__":
    sys.exit(main())
