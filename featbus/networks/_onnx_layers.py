"""Layers of ONNX graphs: the tensors that become features, and what the stages are."""

import re
from collections import Counter
from dataclasses import dataclass
from math import prod

import numpy as np

from featbus.networks._building import STAGES
from featbus.networks._onnx_checks import names_read
from featbus.networks._onnx_heads import find_projections, is_classifier

# The networks known have 0 to 5 class and register tokens.
_MOST_PREFIX_TOKENS = 16


@dataclass(frozen=True)
class Layer:
    """A tensor of an ONNX graph that can become features.

    Attributes
    ----------
    tensor : str
        Its name in the graph.
    kind : {"map", "tokens", "embedding"}
        What it is: of shape (n, channels, height, width) or (n, height, width, channels),
        (n, tokens, width) or (n, width).
    shape : tuple of int
        Height, width and channels of the map, or of the patch grid; (1, 1, width) for embeddings.
    channels_first : bool
        Whether the channels of a map come before height and width.
    n_prefix_tokens : int
        Number of class and register tokens, which come before the patches.
    """

    tensor: str
    kind: str
    shape: tuple[int, int, int]
    channels_first: bool = False
    n_prefix_tokens: int = 0

    @property
    def is_spatial(self):
        """Whether there is more than one cell to pool."""
        return prod(self.shape[:2]) > 1

    def split(self, values):
        """Return the feature map of one image, and its prefix tokens.

        Parameters
        ----------
        values : ndarray of shape (1, ...)
            The tensor.

        Returns
        -------
        feature_map : ndarray of shape (height, width, channels)
            The map, the patch tokens on their grid, or the embedding as a single cell.
        prefix : ndarray of shape (n_prefix_tokens, channels)
            Class and register tokens.
        """
        if self.kind == "map":
            cells = np.moveaxis(values[0], 0, 2) if self.channels_first else values[0]
            return cells, cells[:0, 0]
        tokens = values.reshape(-1, self.shape[2])
        return tokens[self.n_prefix_tokens :].reshape(self.shape), tokens[: self.n_prefix_tokens]


def find_layers(shapes, axes, input_size, n_prefix_tokens=None):
    """Return the tensors that can become features.

    Parameters
    ----------
    shapes : dict of str to tuple of int or None
        Shapes of the tensors of a graph for one image, in topological order.
    axes : dict of str to Axes or None
        What `find_axes` returned; other tensors do not depend on the image.
    input_size : tuple of int
        Height and width of the input in pixels.
    n_prefix_tokens : int or None, default=None
        Number of tokens before the patches; None: told from the shapes, of tokens that were made
        of a map.

    Returns
    -------
    dict of str to Layer
        By the name of the tensor, in topological order.
    """
    layers = {}
    for name, shape in shapes.items():
        if name not in axes or shape is None or len(shape) < 2 or shape[0] != 1:
            continue
        layer = _as_layer(name, shape, axes[name], input_size, n_prefix_tokens)
        if layer is not None:
            layers[name] = layer
    return layers


def _as_layer(name, shape, axes, input_size, n_prefix_tokens):
    if len(shape) == 2:
        return Layer(name, "embedding", (1, 1, shape[1]))
    if len(shape) == 4 and axes and axes.letters in ("NCHW", "NHWC"):
        sizes = dict(zip(axes.letters, shape))
        size = sizes["H"], sizes["W"], sizes["C"]
        return Layer(name, "map", size, channels_first=axes.letters == "NCHW")
    is_known = axes.letters == "NTC" if axes else n_prefix_tokens is not None
    if len(shape) == 3 and is_known:
        grids = find_grids(shape[1], axes and axes.grid, input_size, n_prefix_tokens)
        if len(grids) == 1:
            (height, width), prefix = grids[0]
            return Layer(name, "tokens", (height, width, shape[2]), n_prefix_tokens=prefix)
    return None


def find_grids(n_tokens, grid, input_size, n_prefix_tokens=None):
    """Return the ways in which tokens can be prefix tokens and a grid of patches.

    Parameters
    ----------
    n_tokens : int
        Number of tokens.
    grid : tuple of int or None
        Height and width of the map that the tokens were made of. None: unknown; the patches are
        squares that tile the input.
    input_size : tuple of int
        Height and width of the input in pixels.
    n_prefix_tokens : int or None, default=None
        Number of prefix tokens; None: any number up to 16. If there can be none, there are none.

    Returns
    -------
    list of tuple
        Height and width of the grid, and the number of prefix tokens.
    """
    height, width = input_size
    sides = [side for side in range(2, min(input_size)) if height % side == width % side == 0]
    grids = [grid] if grid else [(height // side, width // side) for side in sides]
    found = [(size, n_tokens - prod(size)) for size in grids]
    if n_prefix_tokens is not None:
        return [(size, prefix) for size, prefix in found if prefix == n_prefix_tokens]
    found = [(size, prefix) for size, prefix in found if 0 <= prefix <= _MOST_PREFIX_TOKENS]
    return [pair for pair in found if pair[1] == 0] or found


def find_taps(model, shapes, axes, layers, input_size):
    """Return the tensors that "top" and the stages stand for.

    Parameters
    ----------
    model : onnx.ModelProto
        The graph.
    shapes : dict of str to tuple of int or None
        Shapes of the tensors for one image, in topological order.
    axes : dict of str to Axes or None
        What `find_axes` returned.
    layers : dict of str to Layer
        What `find_layers` returned.
    input_size : tuple of int
        Height and width of the input in pixels.

    Returns
    -------
    dict of str to str
        Names of tensors. "top" is the first output, unless it is that of a classifier: then the
        last map of more than one cell, or the last tokens that no linear layer has returned. The
        stages are the last maps of their stride that all paths pass, if there are any: within a
        residual block of the next stage, maps may still have the stride. A network that ends in
        tokens has none.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    projected = find_projections(model, shapes, axes)
    # Tokens count even if their grid is unclear: an error about them is better than another layer.
    spatial = [
        name
        for name, shape in shapes.items()
        if (
            layers[name].is_spatial
            if name in layers
            else _is_unclear(name, shape, axes, input_size)
        )
        and (len(shape) == 4 or name not in projected)
    ]
    top = model.graph.output[0].name
    large = {name for name in spatial if name in layers and layers[name].kind == "map"}
    if top in layers and not layers[top].is_spatial and is_classifier(makers, axes, large, top):
        top = spatial[-1] if spatial else None
    taps = {"top": top} if top in shapes else {}
    if not spatial or spatial[-1] not in layers or layers[spatial[-1]].kind == "tokens":
        return taps
    maps = [layers[name] for name in spatial if name in layers and makers[name].op_type != "Pad"]
    stages = {_stage(layer, input_size): layer.tensor for layer in maps}
    passed = _find_passages(model, axes)
    maps = [layer for layer in maps if layer.tensor in passed]
    stages |= {_stage(layer, input_size): layer.tensor for layer in maps}
    return taps | {name: stages[name] for name in STAGES if name in stages}


def _find_passages(model, axes):
    """Return the tensors that all paths from the image pass."""
    last, found = {}, set()
    nodes = [node for node in model.graph.node if any(name in axes for name in node.output)]
    for index, node in enumerate(nodes):
        last |= dict.fromkeys(names_read(node), index)
    # The last node that reads what was computed before.
    furthest = max(last.get(value.name, 0) for value in model.graph.input)
    for index, node in enumerate(nodes):
        if furthest <= index:
            found.add(node.output[0])
        furthest = max(furthest, *(last.get(name, 0) for name in node.output))
    return found


def _is_unclear(name, shape, axes, input_size):
    """Tell whether a tensor that is no layer has tokens: too many, or of several possible grids."""
    if name not in axes or shape is None or len(shape) != 3 or shape[0] != 1:
        return False
    if axes[name] is None:
        return bool(find_grids(shape[1], None, input_size))
    # Fewer are class tokens without their patches.
    return axes[name].letters == "NTC" and shape[1] > prod(axes[name].grid or (1,))


def _stage(layer, input_size):
    """Return the stage of a stride, or None if height and width have different ones."""
    down, across = (round(np.log2(side / cells)) for side, cells in zip(input_size, layer.shape))
    return STAGES[down - 1] if down == across and 1 <= down <= len(STAGES) else None


def make_labels(names):
    """Return what the names of columns call tensors.

    Parameters
    ----------
    names : iterable of str
        All tensors of a graph.

    Returns
    -------
    dict of str to str
        The names without characters other than letters, digits, "_" and "."; a number is added to
        those that would be the same.
    """
    names = list(names)
    plain = {name: re.sub(r"[^\w.]+", "_", name).strip("_") for name in names}
    seen, labels = Counter(["top", *STAGES]), {}
    for name in names:
        label = plain[name]
        while label in seen:
            seen[plain[name]] += 1
            label = f"{plain[name]}_{seen[plain[name]]}"
        seen[label], labels[name] = 1, label
    return labels
