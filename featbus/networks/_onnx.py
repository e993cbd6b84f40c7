"""Networks in ONNX files, and the engines that run them."""

import os
import re
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from importlib.util import find_spec
from itertools import product
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from featbus import DISTRIBUTION
from featbus.networks._openvino import find_release, load_model
from featbus.networks._pooling import ThreadedEngine
from featbus.networks._sources import (
    Preprocessing,
    Source,
    as_preprocessing,
    check_own,
    file_digest,
)
from featbus.parameters import InvalidParameterError

_MOST_PREFIX_TOKENS = 8  # known networks have 0 to 5 class and register tokens


class Layer(NamedTuple):
    """A tensor of an ONNX graph that can become features.

    Attributes
    ----------
    tensor : str
        Its name in the graph.
    kind : {"map", "tokens", "embedding"}
        Its kind: of shape (1, channels, height, width) or (1, height, width, channels),
        (1, tokens, width) or (1, width).
    shape : tuple of int
        Height, width and channels of the map, or of the grid of patches; (1, 1, width) for
        embeddings.
    n_prefix_tokens : int
        Number of class and register tokens, which come before the patch tokens.
    channels_first : bool
        Whether the channels of a map come before height and width.
    """

    tensor: str
    kind: str
    shape: tuple[int, int, int]
    n_prefix_tokens: int = 0
    channels_first: bool = False

    def split(self, values):
        """Return the feature map of one image, and its prefix tokens.

        Parameters
        ----------
        values : ndarray of shape (1, ...)
            The tensor.

        Returns
        -------
        feature_map : ndarray of float32 of shape (1, height, width, channels)
            The map, the patch tokens on their grid, or the embedding as a single cell.
        prefix : ndarray of float32 of shape (1, n_prefix_tokens, channels)
            Class and register tokens.
        """
        values = np.moveaxis(values, 1, 3) if self.channels_first else values
        cells = np.asarray(values, np.float32).reshape(1, -1, self.shape[2])
        n_prefix = self.n_prefix_tokens
        return cells[:, n_prefix:].reshape(1, *self.shape), cells[:, :n_prefix]


class _Image(NamedTuple):
    """The input of a graph; `size` and `channels` are None where the file leaves them free."""

    name: str
    dtype: np.dtype
    channels_first: bool
    size: tuple
    channels: int | None


@dataclass(frozen=True, eq=False)
class OnnxModel(Source):
    """A network in an ONNX file.

    Attributes
    ----------
    path : str
        The file.
    preprocessing : Preprocessing
        What it was trained on.
    input_size : tuple of int
        Height and width of the input in pixels.
    n_prefix_tokens : int or None
        Number of class and register tokens; None: inferred from the shapes.
    """

    path: str
    preprocessing: Preprocessing
    input_size: tuple[int, int]
    n_prefix_tokens: int | None = None

    engines = ("onnxruntime", "openvino")

    @classmethod
    def accepts(cls, backbone):
        """See `Source.accepts`."""
        return isinstance(backbone, (str, os.PathLike)) and str(backbone).lower().endswith(".onnx")

    @classmethod
    def from_parameters(cls, *, backbone, preprocessing, input_size, random_state, **own):
        """See `Source.from_parameters`."""
        path = os.fspath(backbone)
        preprocessing = as_preprocessing(preprocessing)
        image = _read_image(path, file_digest(path))
        size = check_own(path, image.size, input_size, **own)
        if image.channels not in (None, len(preprocessing.mean)):
            raise InvalidParameterError(
                f"preprocessing has channels {preprocessing.channels!r}, expected "
                f"{image.channels} channel(s): those of the images that {path!r} takes."
            )
        return cls(path, preprocessing, size)

    @property
    def name(self):
        """See `Source`."""
        return re.sub(r"\W+", "_", Path(self.path).stem)

    @cached_property
    def digest(self):
        """See `Source`."""
        return file_digest(self.path)

    @property
    def identity(self):
        """See `Source`."""
        return {
            "onnx": self.digest,
            "input_size": list(map(int, self.input_size)),
            "preprocessing": self.preprocessing.identity,
            "n_prefix_tokens": self.n_prefix_tokens,
        }

    @cached_property
    def image(self):
        """The input of the graph: its name, dtype and axes."""
        return _read_image(self.path, self.digest)

    @cached_property
    def _input_shape(self):
        size, channels = tuple(self.input_size), len(self.preprocessing.mean)
        return (1, channels, *size) if self.image.channels_first else (1, *size, channels)

    @cached_property
    def _contents(self):
        return _read_contents(self.path, self.digest, self._input_shape, self.n_prefix_tokens)

    def find_layer(self, name):
        """Return a layer of the graph.

        Parameters
        ----------
        name : str
            "top": the output, or the name of a tensor.

        Returns
        -------
        Layer
            The layer.

        Raises
        ------
        InvalidParameterError
            If there is no such layer, or it cannot become features.
        """
        top, shapes, layers = self._contents
        tensor = top if name == "top" else name
        if tensor in layers:
            return layers[tensor]
        found = f"a tensor of shape {shapes[tensor]}" if tensor in shapes else "no tensor"
        near = get_close_matches(name, layers, n=3, cutoff=0)
        raise InvalidParameterError(
            f"layers has {name!r}, {found} of floats in {self.path!r}, expected 'top' or the name "
            f"of a tensor that `list_layers` has, such as {near}: a feature map, an embedding, or "
            "the tokens of a grid of patches, before which n_prefix_tokens, which is "
            f"{self.n_prefix_tokens}, may come."
        )

    def label(self, layer):
        """See `KerasSource.label`; without special characters."""
        return re.sub(r"[^\w.]+", "_", layer).strip("_")

    def check_layers(self, layers, pooling):
        """See `Source.check_layers`."""
        found = [self.find_layer(name) for name in layers]
        tensors, labels = [layer.tensor for layer in found], list(map(self.label, layers))
        if min(len(set(tensors)), len(set(labels))) < len(layers):
            raise InvalidParameterError(
                f"layers is {layers!r}, which stands for the tensors {tensors}, with {labels} in "
                "the names of columns, expected different ones."
            )
        for layer in found:
            has_class, is_row = layer.n_prefix_tokens > 0, layer.kind == "embedding"
            if ("cls" in pooling and not has_class) or (is_row and set(pooling) - {"avg", "max"}):
                raise InvalidParameterError(
                    f"pooling is {pooling!r}, expected another one for {layer.tensor!r}, which is "
                    f"of the kind {layer.kind!r}: 'cls' needs a class token, and most need cells."
                )

    def list_layers(self):
        """See `Source.list_layers`."""
        top, _, layers = self._contents
        return [
            (name, layer.kind, layer.shape, layer.n_prefix_tokens, ["top"] * (name == top))
            for name, layer in layers.items()
        ]

    def extract(self, layers):
        """Return the part of the graph that leads to some layers.

        Parameters
        ----------
        layers : sequence of Layer
            The layers.

        Returns
        -------
        bytes
            An ONNX model that takes one image and returns the tensors of the layers.
        """
        from onnx.utils import Extractor

        extractor = Extractor(_infer_shapes(self.path, self.digest, self._input_shape))
        names = [layer.tensor for layer in layers]
        return extractor.extract_model([self.image.name], names).SerializeToString()


@contextmanager
def _naming(path):
    """Wrap the exceptions of onnx and the runtimes in one that names the file."""
    try:
        yield
    except Exception as error:  # their exceptions have no common class
        reason = textwrap.shorten(str(error) or repr(error), 500)
        raise InvalidParameterError(
            f"The ONNX file {path!r} cannot be used, expected a network that takes one batch of "
            f"images, in a single file: {reason}"
        ) from error


def _read_model(path, digest):
    """Return the model in a file, after onnx has checked it."""
    if find_spec("onnx") is None:
        raise ImportError(f"ONNX files need the package onnx: pip install '{DISTRIBUTION}[onnx]'.")
    import onnx
    from onnx.inliner import inline_local_functions

    with _naming(path):
        model = onnx.load(path, load_external_data=False)
        if file_digest(path) != digest:
            raise ValueError("it was changed since fit. Fit again.")
        if any(map(onnx.external_data_helper.uses_external_data, model.graph.initializer)):
            raise ValueError(
                "its weights are external data, in other files. Save it with "
                "onnx.save_model(onnx.load(path), path)."
            )
        onnx.checker.check_model(model)
        model.ir_version = max(model.ir_version, 4)  # before, weights have to be inputs, too
        return inline_local_functions(model) if model.functions else model


def _find_input(model):
    """Return the one input of a graph that is not a weight."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise ValueError(f"its inputs are {[value.name for value in inputs]}.")
    return inputs[0]


@lru_cache(maxsize=32)
def _read_image(path, digest):
    """Return name, dtype, layout and size of the input of the graph in a file."""
    model = _read_model(path, digest)
    from onnx.helper import tensor_dtype_to_np_dtype

    with _naming(path):
        value = _find_input(model)
        kind = value.type.tensor_type
        dtype = tensor_dtype_to_np_dtype(kind.elem_type)
        dims = [dim.dim_value or None for dim in kind.shape.dim] or [None] * 4
        if len(dims) == 4 and dtype in (np.float32, np.float16):
            channels_first = dims[1] in (1, 3) or dims[3] not in (1, 3)
            channels, *size = dims[1:] if channels_first else (dims[3], *dims[1:3])
            if channels in (1, 3, None):
                return _Image(value.name, dtype, channels_first, tuple(size), channels)
        raise ValueError(
            f"its input {value.name!r} is of shape {tuple(dims)} and dtype {dtype}, expected "
            "images of 3 channels, or 1, as float32 or float16."
        )


@lru_cache(maxsize=1)
def _infer_shapes(path, digest, input_shape):
    """Return the model in a file with the shapes of its tensors for one image."""
    model = _read_model(path, digest)
    from onnx import helper, shape_inference

    image = _find_input(model)
    kind = image.type.tensor_type.elem_type
    image.CopyFrom(helper.make_tensor_value_info(image.name, kind, input_shape))
    # Those in the file may be for another number of images.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    with _naming(path):
        return shape_inference.infer_shapes(model, data_prop=True)


@lru_cache(maxsize=32)
def _read_contents(path, digest, input_shape, n_prefix_tokens):
    """Return the name of the output, the shapes of the tensors of floats, and the layers."""
    model, image = _infer_shapes(path, digest, input_shape), _read_image(path, digest)
    input_size = input_shape[2:] if image.channels_first else input_shape[1:3]
    with _naming(path):
        shapes = _find_shapes(model, np.zeros(input_shape, image.dtype))
    # Whether channels come first, of all that is computed from the image; None: unknown.
    channels_first, layers = {image.name: image.channels_first}, {}
    for node in model.graph.node:
        known = [channels_first[name] for name in node.input if name in channels_first]
        if not known or node.op_type in ("Shape", "Size"):
            continue
        first = next((value for value in known if value is not None), None)
        order = [axis for item in node.attribute for axis in item.ints]
        if node.op_type == "Transpose" and order[-1:] != [len(order) - 1] and first is not None:
            first = not first
        for name in node.output:
            channels_first[name] = first
            shape = shapes.get(name) or ()
            if len(shape) == 4:
                first = channels_first[name] = _has_channels_first(shape, first, input_size)
            layer = _as_layer(name, shape, first, layers, input_size, n_prefix_tokens)
            layers |= {name: layer} if layer else {}
    return model.graph.output[0].name, shapes, layers


def _find_shapes(model, black):
    """Return the shapes of the tensors of floats; those that cannot be inferred are measured."""
    from onnx import TensorProto, helper

    shapes = {}
    for value in (*model.graph.value_info, *model.graph.output):
        kind = value.type.tensor_type
        if kind.elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
            sides = tuple(dim.dim_value for dim in kind.shape.dim)
            shapes[value.name] = sides if kind.HasField("shape") and all(sides) else None
    unknown = [name for name, shape in shapes.items() if shape is None]
    if unknown:
        probe = type(model)()
        probe.CopyFrom(model)
        del probe.graph.output[:]
        for name in unknown:
            output = helper.make_tensor_value_info(f"{name} shape", TensorProto.INT64, None)
            probe.graph.node.append(helper.make_node("Shape", [name], [output.name]))
            probe.graph.output.append(output)
        found = _load_onnxruntime(probe.SerializeToString())(black)
        shapes |= {name: tuple(shape.tolist()) for name, shape in zip(unknown, found)}
    return shapes


def _has_channels_first(shape, inherited, input_size):
    """Return whether the channels of a map come first; None if it does not look like a map.

    A map has the proportions of the image, but for one cell, as strides do not divide all sides.
    """
    height, width = input_size
    fits = [
        rows * columns > 0 and abs(rows * width - columns * height) <= max(input_size)
        for rows, columns in (shape[2:], shape[1:3])
    ]
    return inherited if all(fits) else fits[0] if any(fits) else None


def _as_layer(tensor, shape, channels_first, earlier, input_size, n_prefix_tokens):
    """Return a tensor as a layer; None if it cannot become features."""
    if shape[:1] != (1,):
        return None
    if len(shape) == 4 and channels_first is not None:
        size = (*shape[2:], shape[1]) if channels_first else shape[1:]
        return Layer(tensor, "map", size, channels_first=channels_first)
    if len(shape) == 3:
        maps = [layer.shape[:2] for layer in earlier.values() if layer.kind == "map"]
        for number, grid in _find_grids(shape[1], maps, input_size, n_prefix_tokens):
            return Layer(tensor, "tokens", (*grid, shape[2]), number)
    return Layer(tensor, "embedding", (1, 1, shape[1])) if len(shape) == 2 else None


def _find_grids(n_tokens, maps, input_size, n_prefix_tokens):
    """Yield numbers of prefix tokens and grids of patches that make up some tokens."""
    grids, numbers = maps, range(_MOST_PREFIX_TOKENS + 1)
    if n_prefix_tokens is not None:
        # Patches may have been cut without a convolution, which would have made a map.
        sides = [side for side in range(2, min(input_size)) if not any(np.mod(input_size, side))]
        grids = maps + [tuple(length // side for length in input_size) for side in sides]
        numbers = [n_prefix_tokens]
    for number, grid in product(numbers, grids):
        if number + prod(grid) == n_tokens and prod(grid) > 1:
            yield number, grid


def _load_onnxruntime(graph):
    """Load a graph; return a function from one image to its outputs."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    return lambda values: session.run(None, {image.name: values})


class OnnxEngine(ThreadedEngine):
    """The layers of an ONNX file on ONNX Runtime or OpenVINO.

    Rows of OpenVINO are compared with those of ONNX Runtime, or in reduced precision with those of
    OpenVINO in single precision.

    Parameters
    ----------
    network : Network
        What to run; its source is an `OnnxModel`.

    Attributes
    ----------
    shapes : tuple of tuple of int
        Height, width and channels of the feature map of each of the layers.
    report : dict
        "engine" and its "version"; of OpenVINO also the "precision" and what `compare` returns.

    Raises
    ------
    InvalidParameterError
        If the engine cannot run the network.
    """

    def __init__(self, network):
        source, precision = network.source, network.precision
        self._layers = [source.find_layer(name) for name in network.layers]
        graph = source.extract(self._layers)
        _infer_shapes.cache_clear()  # it holds the weights
        on_openvino = network.engine == "openvino"
        with _naming(source.path):
            infer = load_model(graph, None, precision) if on_openvino else _load_onnxruntime(graph)
        super().__init__(network, [layer.shape for layer in self._layers], infer)
        self.report = {"engine": network.engine, "version": find_release(network.engine)}
        if on_openvino and precision == "fp32":
            self.report |= self.compare(_load_onnxruntime(graph), "ONNX Runtime")
        elif on_openvino:
            self.report |= self.compare(load_model(graph, None, "fp32"), "fp32")

    def _compute_layers(self, infer, pixels):
        image, values = self._network.source.image, self._network.source.preprocessing(pixels)
        values = np.moveaxis(values, 3, 1) if image.channels_first else values
        outputs = infer(np.ascontiguousarray(values, image.dtype))
        return [layer.split(output) for layer, output in zip(self._layers, outputs)]
