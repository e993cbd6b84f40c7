"""Axes of the tensors in ONNX graphs, followed from the image on."""

from math import prod
from typing import NamedTuple

from featbus.networks._onnx_checks import names_read

# What these return depends on the size of the image only.
_SHAPES_ONLY = {"ConstantOfShape", "Shape", "Size"}
# In ONNX, these have their channels in the second axis.
_CHANNELS_FIRST = {
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "InstanceNormalization",
    "LRN",
    "LpPool",
    "MaxPool",
}
# Only shapes of floating-point tensors are known: these have the axes of what they come from.
_QUANTIZATION = {"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"}
_QUANTIZATION |= {"Cast", "ConvInteger", "MatMulInteger"}
_RESHAPING = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}


class Axes(NamedTuple):
    """What the axes of a tensor are.

    Attributes
    ----------
    letters : str
        One letter per axis: "N" images, "C" channels, "H" and "W" height and width, "T" tokens, "G"
        groups of channels, and "X" all that is in a group.
    grid : tuple of int or None
        Height and width of the feature map that tokens were made of; None if they are no tokens.
    whole : tuple of int or None
        Shape of the map with channels first whose groups these are; None if they are no groups.
    """

    letters: str
    grid: tuple[int, int] | None = None
    whole: tuple[int, int, int, int] | None = None


def find_axes(model, shapes, image, letters):
    """Follow the axes of the image through a graph.

    Parameters
    ----------
    model : onnx.ModelProto
        The graph, its nodes in topological order.
    shapes : dict of str to tuple of int or None
        The shapes of its tensors for one image, that of the input included.
    image : str
        Name of the input.
    letters : {"NCHW", "NHWC"}
        Its axes.

    Returns
    -------
    dict of str to Axes or None
        All tensors that depend on the pixels; None where the axes are unknown, as in attention.
    """
    axes = {image: Axes(letters)}
    sides = dict(zip(letters, shapes[image]))
    for node in model.graph.node:
        if node.op_type in _SHAPES_ONLY or axes.keys().isdisjoint(names_read(node)):
            continue
        for name in filter(None, node.output):
            axes[name] = _axes_after(node, axes, shapes, shapes.get(name))
            if axes[name] is None and node.op_type == "Reshape":
                size = sides["H"], sides["W"]
                axes[name] = _put_together(shapes.get(node.input[0]), shapes.get(name), size)
    return axes


def _put_together(before, shape, size):
    """Return the axes of a map that was made of parts, as windows, by their proportions."""
    if not before or not shape or len(before) < 5 or len(shape) != 4 or 0 in shape:
        return None
    found = [
        letters
        for letters, cells in (("NHWC", shape[1:3]), ("NCHW", shape[2:]))
        if all(side % n == 0 and side // n == size[0] // cells[0] for side, n in zip(size, cells))
    ]
    return Axes(found[0]) if len(found) == 1 else None


def _axes_after(node, axes, shapes, shape):
    """Return the axes of an output of `node`, None if they are unknown."""
    if node.op_type in _QUANTIZATION:  # the scales that some return need no axes
        return axes.get(node.input[0])
    if shape is None:
        return None
    if node.op_type in _CHANNELS_FIRST:
        if len(shape) == 3 and node.op_type == "InstanceNormalization":  # a part of GroupNorm
            return axes.get(node.input[0])
        return Axes("NCHW") if len(shape) == 4 else None
    known = [
        (axes[name], shapes[name]) for name in node.input if axes.get(name) and shapes.get(name)
    ]
    if not known:
        return None
    if node.op_type == "Transpose":
        return _transposed(node, known[0][0])
    if node.op_type in _RESHAPING:
        return _reshaped(*known[0], shape)
    # A class token may have been made of the patches, and have a grid of one cell.
    alike = [pair for pair in known if len(pair[0].letters) == len(shape)]
    return max(alike, key=lambda pair: prod(pair[1]))[0] if alike else None


def _transposed(node, axes):
    backwards = range(len(axes.letters))[::-1]
    order = next((item.ints for item in node.attribute if item.name == "perm"), backwards)
    letters = "".join(axes.letters[axis] for axis in order)
    return axes._replace(letters=letters) if letters[0] == "N" else None


def _reshaped(axes, before, shape):
    """Return the axes after height and width became tokens or a part of groups, or the reverse."""
    if before == shape:
        return axes
    if axes.letters == "NGX":
        return Axes("NCHW") if shape == axes.whole else None
    if axes.letters == "NCHW" and len(shape) == 3 and _is_divisor(shape[1], before[1]):
        return Axes("NGX", whole=before)
    sizes = dict(zip(axes.letters, before))
    first = axes.letters[1] == "C"
    if "H" in sizes and len(shape) == 3:
        grid, letters = (sizes["H"], sizes["W"]), "NCT" if first else "NTC"
        tokens = (prod(grid),)
    elif "T" in sizes and len(shape) == 4 and axes.grid:
        grid, letters = None, "NCHW" if first else "NHWC"
        tokens = axes.grid
    else:
        return None
    channels = (sizes["C"],)
    expected = (1, *channels, *tokens) if first else (1, *tokens, *channels)
    return Axes(letters, grid) if shape == expected else None


def _is_divisor(groups, channels):
    """Tell whether channels can be in so many groups of several."""
    return groups != 0 and groups < channels and channels % groups == 0
