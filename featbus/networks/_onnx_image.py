"""The input of ONNX graphs: where its channels are, and what sizes it takes."""

from functools import lru_cache
from math import prod
from typing import NamedTuple

from featbus.networks._onnx_checks import check_input
from featbus.networks._onnx_file import read_onnx
from featbus.parameters import InvalidParameterError

_LARGE = 1024  # numbers in a weight; shapes are computed from less
# What an image may pass on its way to the first convolution.
_UNCHANGED = {"Add", "Cast", "Clip", "Div", "Identity", "Mul", "Pad", "Sub", "Transpose"}


class Image(NamedTuple):
    """The input of a graph.

    Attributes
    ----------
    name : str
        Its name.
    letters : {"NCHW", "NHWC"}
        Its axes: images, channels, height and width.
    size : tuple of int or None
        Height and width in pixels, None where any will do.
    channels : int or None
        1 or 3; None where that is unknown.
    """

    name: str
    letters: str
    size: tuple
    channels: int | None

    def shape(self, size, channels):
        """Return the shape of one image.

        Parameters
        ----------
        size : tuple of int
            Height and width in pixels.
        channels : int
            1 or 3.

        Returns
        -------
        tuple of int
            Four numbers, the first of them 1.
        """
        sides = dict(zip("NHWC", (1, *size, channels)))
        return tuple(sides[letter] for letter in self.letters)


@lru_cache(maxsize=8)
def read_outline(path, digest):
    """Read an ONNX file, and return it without its large weights, which take time and memory.

    Parameters
    ----------
    path : str
        The file.
    digest : str
        What `onnx_digest` returned.

    Returns
    -------
    onnx.ModelProto
        The model; of its large weights, shapes and types.
    """
    model = read_onnx(path, digest)
    for tensor in model.graph.initializer:
        if prod(tensor.dims) > _LARGE:
            outline = type(tensor)(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
            tensor.CopyFrom(outline)
    return model


@lru_cache(maxsize=32)
def read_image(path, digest):
    """Return the input of the graph in a file.

    Parameters
    ----------
    path : str
        The file.
    digest : str
        What `onnx_digest` returned.

    Returns
    -------
    Image
        The input. Which axis has the channels is told by its shape, else by its first convolution.

    Raises
    ------
    InvalidParameterError
        If it is no image of one channel or three.
    """
    model = read_outline(path, digest)
    value = check_input(model)
    dims = [dim.dim_value or None for dim in value.type.tensor_type.shape.dim] or [None] * 4
    used, channels = _read_use(model, value.name)
    likely = [letters for letters in ("NCHW", "NHWC") if dims[letters.index("C")] in (1, 3)]
    if len(likely) != 1:
        likely = [used] if used and dims[used.index("C")] in (None, 1, 3) else []
    if not likely:
        raise InvalidParameterError(
            f"The ONNX file {path!r} takes {value.name!r} of shape {tuple(dims)}, expected images "
            "of 3 channels, or 1: (n, 3, height, width) or (n, height, width, 3)."
        )
    sides = dict(zip(likely[0], dims))
    size = sides["H"], sides["W"]
    return Image(value.name, likely[0], size, sides["C"] or channels)


def _read_use(model, name):
    """Return the axes of the image as its first convolution sees them, and its channels."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    letters = {name: (0, 1, 2, 3)}
    for node in model.graph.node:
        source = next((item for item in node.input if item in letters), None)
        if source is None:
            continue
        order = letters[source]
        if node.op_type == "Conv":
            groups = next((item.i for item in node.attribute if item.name == "group"), 1)
            dims = weights.get(node.input[1], ())
            channels = dims[1] * groups if len(dims) == 4 else None
            names = {(0, 1, 2, 3): "NCHW", (0, 3, 1, 2): "NHWC"}
            return names.get(order), channels
        perm = next((item.ints for item in node.attribute if item.name == "perm"), range(4))
        if node.op_type in _UNCHANGED and sorted(perm) == [0, 1, 2, 3]:
            letters[node.output[0]] = tuple(order[axis] for axis in perm)
    return None, None
