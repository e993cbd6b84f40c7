"""Types and shapes of the tensors of an ONNX model, for an input of one shape."""

from math import prod

import numpy as np

from featbus.networks._onnx_checks import names_read, plain_domain
from featbus.networks._onnx_file import import_onnx
from featbus.parameters import InvalidParameterError

_MOST_SIDES = 64
_CONSTANT = 1024  # numbers; shapes are computed from fewer
# How exporters compute shapes.
_FOLDED = {
    *("Abs", "Add", "And", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand"),
    *("Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "Less"),
    *("LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Range", "ReduceMax"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "ScatterND", "Sign", "Size"),
    *("Slice", "Split", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where"),
}


def infer_types(model, source, input_shape):
    """Return the types of all tensors, of which shapes are part.

    ONNX's own inference of whole graphs follows only some of the operators that exporters compute
    shapes with; here, whatever depends on shapes alone is computed.

    Parameters
    ----------
    model : onnx.ModelProto
        What `read_onnx` returned.
    source : onnx.ValueInfoProto
        Its input.
    input_shape : tuple of int
        The shape of the input.

    Returns
    -------
    dict of str to onnx.TypeProto
        By name, as far as they are known before the network runs.
    """
    import_onnx()
    types, constants = {}, {}
    types[source.name] = _tensor_type(source.type.tensor_type.elem_type, input_shape)
    _walk(model.graph, types, constants, model)
    return types


def _walk(graph, types, constants, model):
    """Enter the types of all tensors of a graph, and the values of small constant ones."""
    for tensor in graph.initializer:
        _enter(tensor.name, tensor, types, constants)
    opsets = {plain_domain(opset.domain): opset.version for opset in model.opset_import}
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.HasField("t")), None)
        branch = _find_branch(node, constants)
        if node.op_type == "Constant" and value is not None:
            _enter(node.output[0], value, types, constants)
        elif branch is not None:
            _walk(branch, types, constants, model)
            for found in (types, constants):
                results = zip(node.output, (value.name for value in branch.output))
                found |= {name: found[inner] for name, inner in results if inner in found}
        else:
            types |= _infer_node(node, types, constants, model, opsets)
            for name, tensor in _fold(node, types, constants, opsets).items():
                _enter(name, tensor, types, constants)


def _find_branch(node, constants):
    """Return the graph that an If runs, or None if that depends on the image."""
    from onnx import numpy_helper

    if node.op_type != "If" or node.input[0] not in constants:
        return None
    holds = numpy_helper.to_array(constants[node.input[0]])
    name = "then_branch" if holds.any() else "else_branch"
    return next((attribute.g for attribute in node.attribute if attribute.name == name), None)


def known_shape(kind):
    """Return the shape of a type.

    Parameters
    ----------
    kind : onnx.TypeProto or None
        The type.

    Returns
    -------
    tuple of int or None
        The shape, None if a part of it is not known.
    """
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    sides = kind.tensor_type.shape.dim
    return tuple(side.dim_value for side in sides) if all(map(_is_known, sides)) else None


def _is_known(side):
    return side.HasField("dim_value")


def _enter(name, tensor, types, constants):
    """Add a tensor that is known before the network runs."""
    types[name] = _tensor_type(tensor.data_type, tensor.dims)
    if prod(tensor.dims) <= _CONSTANT:
        constants[name] = tensor


def _tensor_type(elem_type, shape):
    from onnx.helper import make_tensor_type_proto

    return make_tensor_type_proto(elem_type, shape)


def _infer_node(node, types, constants, model, opsets):
    """Return the types of what a node computes; none where its inputs do not fit."""
    import onnx
    from onnx.checker import ValidationError
    from onnx.shape_inference import InferenceError

    read = names_read(node)
    _check_growth(node, {name: types[name] for name in read & types.keys()})
    try:
        domain = plain_domain(node.domain)
        schema = onnx.defs.get_schema(node.op_type, opsets[domain], domain)
        found = onnx.shape_inference.infer_node_outputs(
            schema,
            node,
            {name: types[name] for name in read & types.keys()},
            {name: constants[name] for name in read & constants.keys()},
            opset_imports=list(model.opset_import),
            ir_version=model.ir_version,
        )
        return found if _keeps_count(node, types, found) else {}
    # A part that is not needed, such as the head, may not fit this input.
    except (KeyError, RuntimeError, ValueError, TypeError, InferenceError, ValidationError):
        return {}


def _check_growth(node, types):
    """Refuse what onnx would take all memory for."""
    for name, kind in types.items():
        if len(kind.tensor_type.shape.dim) > _MOST_SIDES:
            raise InvalidParameterError(
                f"its tensor {name[:80]!r} would have more than {_MOST_SIDES} dimensions."
            )
    counts = [a.i for a in node.attribute if a.name == "num_outputs"]
    if counts and counts != [len(node.output)]:
        raise InvalidParameterError(
            f"its operator {node.op_type} splits a tensor into {counts} parts, and has "
            f"{len(node.output)} outputs."
        )


def _keeps_count(node, types, found):
    """Tell whether the result of Reshape, which ONNX does not check, has as many numbers."""
    if node.op_type != "Reshape":
        return True
    shapes = [known_shape(types.get(node.input[0])), known_shape(found.get(node.output[0]))]
    return None in shapes or prod(shapes[0]) == prod(shapes[1])


def _fold(node, types, constants, opsets):
    """Return what a node computes, if it is small and depends on nothing but constants."""
    from onnx import numpy_helper

    shapes = [known_shape(types.get(name)) for name in node.output if name]
    if not shapes or any(shape is None or prod(shape) > _CONSTANT for shape in shapes):
        return {}
    if node.op_type == "Shape":
        values = [_shape_of(node, known_shape(types.get(node.input[0])))]
    elif node.op_type in _FOLDED and names_read(node) <= constants.keys():
        values = _evaluate(node, constants, opsets)
    else:
        return {}
    arrays = dict(zip(node.output, values))
    return {
        name: numpy_helper.from_array(np.asarray(value), name)
        for name, value in arrays.items()
        if name and value is not None
    }


def _shape_of(node, shape):
    if shape is None:
        return None
    ends = {attribute.name: attribute.i for attribute in node.attribute}
    return np.array(shape[slice(ends.get("start"), ends.get("end"))], np.int64)


def _evaluate(node, constants, opsets):
    """Return what a node computes, or nothing if that fails."""
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    values = {name: numpy_helper.to_array(constants[name]) for name in node.input if name}
    if node.op_type == "Range" and not _is_short(*values.values()):
        return []
    try:
        with np.errstate(all="ignore"):
            return ReferenceEvaluator(node, opsets=opsets).run(None, values)
    except Exception:  # whatever it is, the runtime will tell
        return []


def _is_short(start, limit=0, delta=0):
    """Tell whether a range is, whose length ONNX computes with numbers that may overflow."""
    with np.errstate(all="ignore"):
        return bool(abs((float(limit) - float(start)) / np.float64(delta)) <= _CONSTANT)
