"""Tensors of an ONNX model: where their numbers are, and whether these are all there."""

import re
from math import prod

from featbus.networks._onnx_checks import as_text, iter_graphs

LARGEST = (1 << 31) - 1  # bytes; no ONNX model in memory can have more
# A file may be this many times as large in memory as on the disk: weights that are shared.
RATIO, SMALL = 4, 1 << 26
_MOST_SIDES = 64


def iter_tensors(model):
    """Yield all tensors that a model holds.

    Parameters
    ----------
    model : onnx.ModelProto
        The model, with or without functions.

    Yields
    ------
    onnx.TensorProto
        Initializers and attributes, those of inner graphs and functions, too.
    """
    for outer in (model.graph, *model.functions):
        for graph in iter_graphs(outer):
            yield from getattr(graph, "initializer", ())
            for node in graph.node:
                for attribute in node.attribute:
                    if attribute.HasField("t"):
                        yield attribute.t
                    yield from attribute.tensors


def check_tensors(model):
    """Refuse tensors whose shape disagrees with their bytes, or that are too large together.

    Parameters
    ----------
    model : onnx.ModelProto
        The model, external data loaded into it.

    Raises
    ------
    ValueError
        If it is refused.
    """
    total = 0
    for tensor in iter_tensors(model):
        expected = tensor_bytes(tensor)
        total += expected
        if total > LARGEST:
            raise ValueError(f"its tensors have more than {LARGEST} bytes together.")
        found = _stored_bytes(tensor, expected)
        if found != expected:
            raise ValueError(
                f"its tensor {tensor.name!r} of shape {tuple(tensor.dims)} has {found} bytes, "
                f"expected {expected}. The file is damaged: export it again."
            )


def tensor_bytes(tensor):
    """Return the number of bytes that a tensor of this shape and type takes.

    Parameters
    ----------
    tensor : onnx.TensorProto
        The tensor; only its shape and type are read.

    Returns
    -------
    int
        The number of bytes, 4-bit numbers packed.

    Raises
    ------
    ValueError
        If the type is unknown or no number, a dimension is negative, or there are more than 64.
    """
    if len(tensor.dims) > _MOST_SIDES:
        raise ValueError(
            f"its tensor {tensor.name!r} has {len(tensor.dims)} dimensions, expected at most "
            f"{_MOST_SIDES}."
        )
    bits = _bits().get(tensor.data_type)
    if bits is None:
        raise ValueError(
            f"its tensor {tensor.name!r} is of type {tensor.data_type}, expected numbers."
        )
    if any(side < 0 for side in tensor.dims):
        raise ValueError(f"its tensor {tensor.name!r} has the shape {tuple(tensor.dims)}.")
    return (prod(tensor.dims) * bits + 7) // 8


def _bits():
    """Return the size of a number by its type."""
    from onnx import TensorProto as Tensor

    sizes = {
        Tensor.BOOL: 8,
        Tensor.INT8: 8,
        Tensor.UINT8: 8,
        Tensor.INT16: 16,
        Tensor.UINT16: 16,
        Tensor.FLOAT16: 16,
        Tensor.BFLOAT16: 16,
        Tensor.FLOAT: 32,
        Tensor.INT32: 32,
        Tensor.UINT32: 32,
        Tensor.DOUBLE: 64,
        Tensor.INT64: 64,
        Tensor.UINT64: 64,
    }
    for names, size in (("INT4 UINT4 FLOAT4E2M1", 4), ("FLOAT8E4M3FN FLOAT8E5M2", 8)):
        sizes |= {getattr(Tensor, name): size for name in names.split() if hasattr(Tensor, name)}
    return sizes


def _stored_bytes(tensor, expected):
    """Return the number of bytes that a tensor's numbers take, wherever they are."""
    from onnx import TensorProto as Tensor
    from onnx.helper import tensor_dtype_to_field

    if tensor.data_location == Tensor.EXTERNAL or tensor.HasField("segment"):
        raise ValueError(f"its tensor {tensor.name!r} is not in the file.")
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    count = len(getattr(tensor, tensor_dtype_to_field(tensor.data_type)))
    bits = _bits()[tensor.data_type]
    return count * max(bits, 8) // 8 if expected else 0


def external_files(model):
    """Return the names of the files that hold external data.

    Parameters
    ----------
    model : onnx.ModelProto
        The model.

    Returns
    -------
    tuple of str
        The names as the model has them, sorted.

    Raises
    ------
    ValueError
        If a place in a file is no number of bytes.
    """
    return tuple(sorted({_external(tensor)[0] for tensor in _external_tensors(model)}))


def external_bytes(model):
    """Return the number of bytes that the tensors with external data take.

    Parameters
    ----------
    model : onnx.ModelProto
        The model.

    Returns
    -------
    int
        The number of bytes.
    """
    return sum(map(tensor_bytes, _external_tensors(model)))


def _external_tensors(model):
    from onnx import TensorProto as Tensor

    return (tensor for tensor in iter_tensors(model) if tensor.data_location == Tensor.EXTERNAL)


def _external(tensor):
    """Return where the external data of a tensor are: file, offset, and length or None."""
    # What is not Unicode comes as bytes.
    values = {entry.key: as_text(entry.value) for entry in tensor.external_data}
    offset, length = values.get("offset") or "0", values.get("length") or "0"
    if not all(re.fullmatch("[0-9]{1,19}", number) for number in (offset, length)):
        raise ValueError(
            f"its tensor {tensor.name!r} is at offset {offset} with length {length}, expected "
            "numbers of bytes."
        )
    return values.get("location", ""), int(offset), int(length) if "length" in values else None


def load_external(model, files):
    """Move external data into a model.

    Parameters
    ----------
    model : onnx.ModelProto
        The model, which is changed.
    files : dict of str to bytes
        Contents of `external_files`.

    Raises
    ------
    ValueError
        If a tensor does not lie within its file, has other data than its shape needs, or if
        together they are far larger than the files.
    """
    sizes = sum(map(len, files.values()))
    left = min(LARGEST, RATIO * sizes + SMALL)
    for tensor in _external_tensors(model):
        name, offset, length = _external(tensor)
        expected = tensor_bytes(tensor)
        length = expected if length is None else length
        left -= length
        if length != expected or offset + length > len(files[name]) or left < 0:
            raise ValueError(
                f"its tensor {tensor.name!r} of shape {tuple(tensor.dims)} needs {expected} bytes, "
                f"and its external data are {length} bytes from {offset} on, in the "
                f"{len(files[name])} bytes of {name!r}. The files do not belong together."
            )
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = files[name][offset : offset + length]
