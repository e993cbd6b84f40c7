"""ONNX files: the networks in them, and the engines that run these."""

import hashlib
import os
import re
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from featbus.base import thread_limit
from featbus.networks._openvino import (
    OpenVINOEngine,
    check_cosine,
    load_model,
    make_images,
    relative_error,
)
from featbus.networks._pooling import pool_array, region_weights
from featbus.networks._preprocessing import Preprocessing, as_preprocessing
from featbus.networks._sources import STAGES, Source, check_own, file_digest, fit_input_size
from featbus.parameters import InvalidParameterError

_MOST_PREFIX_TOKENS = 8  # known networks have 0 to 5 class and register tokens
_TOLERANCE = 1e-3


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
        feature_map : ndarray of shape (height, width, channels)
            The map, the patch tokens on their grid, or the embedding as a single cell.
        prefix : ndarray of shape (n_prefix_tokens, channels)
            Class and register tokens.
        """
        values = np.moveaxis(values, 1, 3) if self.channels_first else values
        cells = values.reshape(-1, self.shape[2])
        return cells[self.n_prefix_tokens :].reshape(self.shape), cells[: self.n_prefix_tokens]


class _Image(NamedTuple):
    """The input of a graph; `size` and `channels` are None where the file leaves them free."""

    name: str
    dtype: np.dtype
    channels_first: bool
    size: tuple
    channels: int | None


class _Contents(NamedTuple):
    """The shapes of a graph's tensors, those that can become features, and their names."""

    shapes: dict
    layers: dict
    taps: dict
    labels: dict


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
    def from_parameters(
        cls, *, backbone, backbone_options, weights, preprocessing, input_size, random_state
    ):
        """See `Source.from_parameters`."""
        path = os.fspath(backbone)
        preprocessing = as_preprocessing(preprocessing)
        check_own(weights, backbone_options)
        image = _read_image(path, file_digest(path))
        size = fit_input_size(path, image.size, input_size)
        if image.channels not in (None, len(preprocessing.mean)):
            raise InvalidParameterError(
                f"preprocessing has channels {preprocessing.channels!r}, expected "
                f"{image.channels} channel(s): those of the images that {path!r} takes."
            )
        return cls(path, preprocessing, size)

    @staticmethod
    def placeholder(backbone):
        """Return a preprocessing with as many channels as a file takes.

        Parameters
        ----------
        backbone : str or path
            The file.

        Returns
        -------
        dict
            Pixels as they are.
        """
        path = os.fspath(backbone)
        is_gray = _read_image(path, file_digest(path)).channels == 1
        return {"mean": 0, "std": 1, "scale": 1, "channels": "gray" if is_gray else "rgb"}

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
            "top", a stage, or the name of a tensor.

        Returns
        -------
        Layer
            What it stands for.

        Raises
        ------
        InvalidParameterError
            If there is no such layer, or it cannot become features.
        """
        shapes, layers, taps, _ = self._contents
        tensor = taps.get(name, name)
        if tensor in layers:
            return layers[tensor]
        found = f", a tensor of shape {shapes[tensor]}" if tensor in shapes else ""
        near = get_close_matches(name, layers, n=3, cutoff=0.4)
        raise InvalidParameterError(
            f"layers has {name!r}{found}, expected one of {list(taps)} or the name of a tensor of "
            f"{self.path!r}" + (f", such as {near}" if near else "") + ": a feature map, an "
            "embedding, or the tokens of a grid of patches, before which n_prefix_tokens, which is "
            f"{self.n_prefix_tokens}, may come. `list_layers` shows all."
        )

    def label(self, layer):
        """See `Source.label`."""
        tensor = self.find_layer(layer).tensor
        return layer if layer in self._contents.taps else self._contents.labels[tensor]

    def check_layers(self, layers, pooling):
        """See `Source.check_layers`."""
        found = [self.find_layer(name) for name in layers]
        if len(set(found)) < len(found):
            raise InvalidParameterError(
                f"layers is {layers!r}, which stands for the tensors "
                f"{[layer.tensor for layer in found]}, expected different ones."
            )
        for layer in found:
            has_class = layer.n_prefix_tokens > 0 or "cls" not in pooling
            has_cells = layer.kind != "embedding" or {"avg", "max"}.issuperset(pooling)
            if not (has_class and has_cells):
                raise InvalidParameterError(
                    f"pooling is {pooling!r}, expected another one for {layer.tensor!r}, which is "
                    f"of the kind {layer.kind!r}: 'cls' needs a class token, and most need cells."
                )

    def list_layers(self):
        """See `Source.list_layers`."""
        _, layers, taps, _ = self._contents
        stages = {name: [tap for tap in taps if taps[tap] == name] for name in layers}
        return [
            (name, layer.kind, layer.shape, layer.n_prefix_tokens, stages[name])
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
    """Name the file in whatever onnx and the runtimes raise about it."""
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
        raise ImportError('ONNX files need the package onnx: pip install "featbus[onnx]".')
    import onnx
    from onnx.inliner import inline_local_functions

    data = Path(path).read_bytes()
    with _naming(path):
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueError("it was changed while it was read. Fit again.")
        model = onnx.load_model_from_string(data)
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
    """Return what is known of the input of the graph in a file."""
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
    """Return what a graph computes from one image."""
    model, image = _infer_shapes(path, digest, input_shape), _read_image(path, digest)
    computed, nodes = {image.name}, []
    for node in model.graph.node:  # some, such as positions, do not depend on the pixels
        if node.op_type not in ("Shape", "Size") and computed.intersection(node.input):
            computed.update(filter(None, node.output))
            nodes.append(node)
    size = input_shape[2:] if image.channels_first else input_shape[1:3]
    names = [name for node in nodes for name in node.output]
    with _naming(path):
        shapes = _find_shapes(model, names, np.zeros(input_shape, image.dtype))
    layers = _find_layers(nodes, shapes, image, size, n_prefix_tokens)
    taps = {"top": model.graph.output[0].name} | _find_stages(nodes, layers, image, size)
    return _Contents(shapes, layers, taps, _make_labels(shapes))


def _find_shapes(model, names, black):
    """Return the shapes of those tensors that hold floats."""
    from onnx import TensorProto

    found = {}
    for value in (*model.graph.value_info, *model.graph.output):
        kind = value.type.tensor_type
        if kind.elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
            sides = tuple(dim.dim_value for dim in kind.shape.dim)
            found[value.name] = sides if kind.HasField("shape") and all(sides) else None
    shapes = {name: found[name] for name in names if name in found}
    unknown = [name for name, shape in shapes.items() if shape is None]
    return shapes | (_measure_shapes(model, unknown, black) if unknown else {})


def _measure_shapes(model, names, black):
    """Run a graph on a black image, and return the shapes of some tensors."""
    from onnx import TensorProto, helper

    probe = type(model)()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for name in names:
        output = helper.make_tensor_value_info(f"{name} shape", TensorProto.INT64, None)
        probe.graph.node.append(helper.make_node("Shape", [name], [output.name]))
        probe.graph.output.append(output)
    shapes = _load_onnxruntime(probe.SerializeToString())(black)
    return {name: tuple(shape.tolist()) for name, shape in zip(names, shapes)}


def _find_layers(nodes, shapes, image, input_size, n_prefix_tokens):
    """Return the tensors that can become features, by name."""
    layers, grids, channels_first = {}, [], {image.name: image.channels_first}
    for node in nodes:
        known = [channels_first[name] for name in node.input if name in channels_first]
        first = next((value for value in known if value is not None), None)
        order = [axis for item in node.attribute for axis in item.ints]
        if node.op_type == "Transpose" and order[-1:] != [len(order) - 1] and first is not None:
            first = not first
        for name in node.output:
            channels_first[name] = first
            shape = shapes.get(name) or ()
            if shape[:1] != (1,):
                continue
            if len(shape) == 4:
                first = channels_first[name] = _has_channels_first(shape, first, input_size)
                if first is not None:
                    size = (*shape[2:], shape[1]) if first else shape[1:]
                    layers[name] = Layer(name, "map", size, channels_first=first)
                    grids += [size[:2]] if prod(size[:2]) > 1 else []
            elif len(shape) == 3:
                for grid, number in _find_grids(shape[1], grids, input_size, n_prefix_tokens)[:1]:
                    layers[name] = Layer(name, "tokens", (*grid, shape[2]), number)
            elif len(shape) == 2:
                layers[name] = Layer(name, "embedding", (1, 1, shape[1]))
    return layers


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


def _find_grids(n_tokens, grids, input_size, n_prefix_tokens):
    """Return grids of patches and numbers of prefix tokens that make up some tokens."""
    numbers = range(_MOST_PREFIX_TOKENS + 1)
    if n_prefix_tokens is not None:
        numbers = [n_prefix_tokens]
        # Patches may have been cut without a convolution, which would have made a map.
        sides = [side for side in range(2, min(input_size)) if not any(np.mod(input_size, side))]
        grids = grids + [tuple(length // side for length in input_size) for side in sides]
    return [(grid, n) for n in numbers for grid in grids if n + prod(grid) == n_tokens]


def _find_stages(nodes, layers, image, input_size):
    """Return the last map of each stride, preferably one that all paths through the graph pass.

    Maps inside a residual block of the next stage may still have the stride. A network that ends in
    tokens has no stages.
    """
    spatial = {name: layer for name, layer in layers.items() if prod(layer.shape[:2]) > 1}
    if not spatial or [*spatial.values()][-1].kind == "tokens":
        return {}
    last_use = {name: index for index, node in enumerate(nodes) for name in node.input}
    found, passed, furthest = {}, {}, last_use[image.name]
    for index, node in enumerate(nodes):
        name = node.output[0]
        if name in spatial and spatial[name].kind == "map" and node.op_type != "Pad":
            down, across = np.round(np.log2(np.divide(input_size, spatial[name].shape[:2])))
            if down == across:
                found[down] = name
                passed |= {down: name} if furthest <= index else {}
        furthest = max(furthest, *(last_use.get(output, 0) for output in node.output))
    found |= passed
    return {stage: found[n] for n, stage in enumerate(STAGES, start=1) if n in found}


def _make_labels(names):
    """Return names without special characters, with a number where two would be the same."""
    labels, taken = {}, {"top", *STAGES}
    for name in names:
        plain = label = re.sub(r"[^\w.]+", "_", name).strip("_")
        number = 1
        while label in taken:
            label, number = f"{plain}_{number + 1}", number + 1
        labels[name] = label
        taken.add(label)
    return labels


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


class OnnxRuntimeEngine:
    """The layers of an ONNX file on ONNX Runtime, pooled in NumPy.

    Images run one at a time, each in one thread, and as many at once as `thread_limit` says; so a
    row depends only on its image.

    Parameters
    ----------
    network : Network
        What to run; its source is an `OnnxModel`.

    Attributes
    ----------
    shapes : tuple of tuple of int
        Height, width and channels of the feature map of each of the layers.
    report : dict
        "engine" and its "version".

    Raises
    ------
    InvalidParameterError
        If the runtime cannot run the network.
    """

    runtime = "onnxruntime"

    def __init__(self, network):
        source = network.source
        self._network, self._preprocess, self._image = network, source.preprocessing, source.image
        self._layers = [source.find_layer(name) for name in network.layers]
        self._running = threading.Lock()
        self.shapes = tuple(layer.shape for layer in self._layers)
        graph = source.extract(self._layers)
        _infer_shapes.cache_clear()  # it holds the weights
        with _naming(source.path):
            self._infer = self._load(graph, network.precision)
        self.report = {"engine": self.runtime, "version": self.release()} | self._check(graph)

    @staticmethod
    def release():
        """Return what rows depend on besides the network: the version of the runtime.

        Returns
        -------
        str
            The version.
        """
        import onnxruntime

        return onnxruntime.__version__

    def run(self, pixels, batch_size, regions=None):
        """Compute the rows of a batch.

        Parameters
        ----------
        pixels : ndarray of uint8 or float32 of shape (n_images, height, width, 3 or 1)
            RGB or gray, 0..255, in the network's input size.
        batch_size : int
            Without effect: images run one at a time.
        regions : ndarray of float32 of shape (n_images, height, width), default=None
            Share of each pixel that lies inside the image's region, 0..1. Feature maps and patch
            tokens are pooled over the cells inside. None: over all.

        Returns
        -------
        ndarray of shape (n_images, n_features)
            Layer by layer, pooling by pooling, window by window, channel by channel.
        """

        def compute_row(index):
            region = None if regions is None else regions[index : index + 1]
            return np.concatenate(self._compute_parts(self._infer, pixels[index], region))

        with self._running, ThreadPoolExecutor(min(thread_limit(), len(pixels))) as executor:
            return np.stack(list(executor.map(compute_row, range(len(pixels)))))

    def _compute_parts(self, infer, pixels, region=None):
        """Return the row of one image, split into the parts of each layer and pooling."""
        values = self._preprocess(pixels)
        values = np.moveaxis(values, 2, 0) if self._image.channels_first else values
        outputs = infer(np.ascontiguousarray(values[np.newaxis], self._image.dtype))
        shares = [None] * len(outputs)
        if region is not None:
            shares = [share[0] for share in region_weights(region, self.shapes)]
        parts = []
        for layer, output, share in zip(self._layers, outputs, shares):
            cells, prefix = layer.split(np.asarray(output, np.float32))
            parts += [
                prefix[0] if name == "cls" else pool_array(cells, name, share)
                for name in self._network.pooling
            ]
        return parts

    def _load(self, graph, precision):
        """Return a function from one image to the tensors of the layers."""
        return _load_onnxruntime(graph)

    def _check(self, graph):
        """Return what the report says about the rows, after a check of them."""
        return {}


class OnnxOpenVINOEngine(OnnxRuntimeEngine):
    """The layers of an ONNX file on OpenVINO, pooled in NumPy, see `OnnxRuntimeEngine`.

    The rows of a few images are compared with those of ONNX Runtime, or in reduced precision with
    those of OpenVINO in single precision. The report has the "precision" and the
    "max_relative_error", of which more than 1e-3 is an error, or "row_cosine", see `check_cosine`.
    """

    runtime = "openvino"
    release = staticmethod(OpenVINOEngine.release)

    def _load(self, graph, precision):
        return load_model(graph, None, precision)

    def _check(self, graph):
        network, report = self._network, {"precision": self._network.precision}
        images, is_single = make_images(network.source.input_size), network.precision == "fp32"
        reference = _load_onnxruntime(graph) if is_single else load_model(graph, None, "fp32")
        groups, expected = (
            list(map(np.stack, zip(*(self._compute_parts(infer, image) for image in images))))
            for infer in (self._infer, reference)
        )
        if not is_single:
            return report | {"row_cosine": check_cosine(groups, expected, network)}
        error = relative_error(groups, expected)
        if not error <= _TOLERANCE:
            raise RuntimeError(
                f"{network.source.path!r} on OpenVINO differs from ONNX Runtime by {error:.2g} of "
                f"the largest value, expected {_TOLERANCE:g} at most: use engine='onnxruntime'."
            )
        return report | {"max_relative_error": error}
