"""ONNX graphs: the shapes of their tensors, and the part that leads to some of them."""

from math import prod

from featbus.networks._onnx_checks import check_input, find_computed, iter_graphs, names_read
from featbus.networks._onnx_file import import_onnx
from featbus.networks._onnx_shapes import infer_types, known_shape
from featbus.parameters import InvalidParameterError

_LARGEST = 1 << 28  # numbers in a tensor, 1 GiB of float32


def find_shapes(model, input_shape):
    """Return the shapes of a network's tensors for an input of one shape.

    Parameters
    ----------
    model : onnx.ModelProto
        What `read_onnx` returned.
    input_shape : tuple of int of length 4
        Of one image: 1, and its channels, height and width in the order of the input.

    Returns
    -------
    dict of str to tuple of int or None
        By the name of each tensor of floats that the network computes from the pixels, in the order
        of computation: its shape, None where it is not known before the network runs.

    Raises
    ------
    InvalidParameterError
        If the network takes no such input, only batches of several images, or has tensors of more
        than 268,435,456 numbers then.
    """
    return {name: known_shape(kind) for name, kind in _infer_one(model, input_shape).items()}


def truncate(model, tensors, input_shape):
    """Return the part of a network that leads to some of its tensors.

    Parameters
    ----------
    model : onnx.ModelProto
        What `read_onnx` returned.
    tensors : sequence of str
        Names that `find_shapes` returns, each once.
    input_shape : tuple of int of length 4
        As of `find_shapes`.

    Returns
    -------
    bytes
        An ONNX model. It takes float32 of this shape, by the name of the network's input, and
        returns these tensors in this order, under their names, as float32.

    Raises
    ------
    InvalidParameterError
        If there is no such tensor, one comes twice, or `find_shapes` refuses the input.
    """
    onnx = import_onnx()
    types = _infer_one(model, input_shape)
    _check_tensors(tensors, types)
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.producer_name = "featbus"
    part.graph.name = "network"
    nodes, weights = _leading_to(model.graph, tensors)
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(weights)
    _take_float32(part.graph, check_input(model), input_shape)
    for name in tensors:
        _give_float32(part.graph, name, types[name])
    return part.SerializeToString()


def _infer_one(model, input_shape):
    """Return the types of tensors for one image."""
    types, declared = _infer(model, input_shape), _declared_batch(model)
    if declared > 1:
        _check_batch(_infer(model, (declared, *input_shape[1:])), types, declared)
    return types


def _infer(model, input_shape):
    """Return the types of the tensors of floats that depend on the image, None where unknown."""
    from onnx import TensorProto as Tensor

    floats = (Tensor.FLOAT, Tensor.FLOAT16, Tensor.BFLOAT16, Tensor.DOUBLE)
    source = check_input(model)
    _check_input_shape(source, input_shape)
    types = infer_types(model, source, input_shape)
    for name, kind in types.items():
        _check_size(name, known_shape(kind))
    computed = find_computed(model.graph, {source.name})
    names = [name for node in model.graph.node for name in node.output if name in computed]
    return {
        name: types.get(name)
        for name in names
        if name not in types or types[name].tensor_type.elem_type in floats
    }


def _check_input_shape(source, input_shape):
    declared = [dim.dim_value for dim in source.type.tensor_type.shape.dim] or [0] * 4
    if len(input_shape) != 4 or min(input_shape) < 1 or prod(input_shape) > _LARGEST:
        raise InvalidParameterError(
            f"The shape of the input is {tuple(input_shape)}, expected 4 positive numbers."
        )
    if any(fixed > 0 and fixed != side for fixed, side in zip(declared[1:], input_shape[1:])):
        free = tuple(side or "any" for side in declared[1:])
        raise InvalidParameterError(
            f"The input {source.name!r} is of shape {tuple(input_shape[1:])}, expected {free}, for "
            "which the network was exported. Export it for that size, or with free sides."
        )


def _declared_batch(model):
    shape = check_input(model).type.tensor_type.shape
    return shape.dim[0].dim_value if shape.dim else 0


def _check_batch(several, one, batch):
    """Refuse a network that is fixed to a batch, unless all first sides shrink with it."""
    for name, kind in several.items():
        shape, alone = known_shape(kind), known_shape(one[name])
        fixed = shape is not None and len(shape) > 0 and shape[0] == batch
        if fixed and (alone is None or alone[:1] != (1,)):
            raise InvalidParameterError(
                f"The network takes batches of exactly {batch} images, and its tensor {name!r} "
                f"of shape {shape} would be {alone} for one image, expected 1 first. Export "
                "it for one image, or with a free number of images."
            )


def _check_size(name, shape):
    if shape is not None and (min(shape, default=0) < 0 or prod(shape) > _LARGEST):
        raise InvalidParameterError(
            f"The tensor {name!r} of the network would have the shape {shape}, expected at most "
            f"{_LARGEST} numbers. Take a smaller input_size."
        )


def _check_tensors(tensors, types):
    missing = [name for name in tensors if name not in types]
    if missing or not tensors or len(set(tensors)) < len(tensors):
        some = ", ".join(list(types)[-5:])
        raise InvalidParameterError(
            f"The tensors are {list(tensors)}, expected names of tensors of floats that the "
            f"network computes from the image, each once, such as {some}."
        )


def _leading_to(graph, tensors):
    """Return the nodes and weights that tensors are computed from."""
    needed, nodes = set(tensors), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(names_read(node))
    return nodes[::-1], [tensor for tensor in graph.initializer if tensor.name in needed]


def _take_float32(graph, source, input_shape):
    """Add the input, converted to the network's own type."""
    from onnx import TensorProto as Tensor
    from onnx.helper import make_node, make_tensor_value_info

    kind = source.type.tensor_type.elem_type
    graph.input.append(make_tensor_value_info(source.name, Tensor.FLOAT, input_shape))
    if kind != Tensor.FLOAT:
        own = _rename(graph, source.name)
        graph.node.insert(0, make_node("Cast", [source.name], [own], to=kind))


def _give_float32(graph, name, kind):
    """Add an output, converted from the network's own type."""
    from onnx import TensorProto as Tensor
    from onnx.helper import make_node, make_tensor_value_info

    if kind is None or kind.tensor_type.elem_type != Tensor.FLOAT:
        own = _rename(graph, name)
        graph.node.append(make_node("Cast", [own], [name], to=Tensor.FLOAT))
    graph.output.append(make_tensor_value_info(name, Tensor.FLOAT, known_shape(kind)))


def _rename(graph, name):
    """Give a tensor another name, and return that."""
    names = {tensor.name for tensor in graph.initializer}
    names.update(
        name for inner in iter_graphs(graph) for node in inner.node for name in node.output
    )
    new = name
    while new in names or new == name:
        new += "_"
    for inner in iter_graphs(graph):
        for node in inner.node:
            for values in (node.input, node.output):
                for index, value in enumerate(values):
                    if value == name:
                        values[index] = new
        if inner is not graph:
            for value in inner.output:
                value.name = new if value.name == name else value.name
    return new
