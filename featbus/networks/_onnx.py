"""ONNX files as sources of networks."""

import os
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from featbus.networks._onnx_axes import find_axes
from featbus.networks._onnx_file import naming, onnx_digest, read_onnx
from featbus.networks._onnx_graph import find_shapes, truncate
from featbus.networks._onnx_image import read_image, read_outline
from featbus.networks._onnx_layers import find_grids, find_layers, find_taps, make_labels
from featbus.networks._onnx_trial import try_in_child
from featbus.networks._preprocessing import Preprocessing, as_preprocessing
from featbus.networks._sources import STAGES, Source, check_own, fit_input_size
from featbus.parameters import InvalidParameterError


class _Contents(NamedTuple):
    """The tensors of a graph: their shapes and axes, what can become features, and its names."""

    shapes: dict
    axes: dict
    layers: dict
    taps: dict
    labels: dict


@dataclass(frozen=True, eq=False)
class OnnxModel(Source):
    """An ONNX file.

    Attributes
    ----------
    path : str
        The file.
    preprocessing : Preprocessing
        What it was trained on.
    input_size : tuple of int
        Height and width of the input in pixels.
    n_prefix_tokens : int or None
        Number of class and register tokens; None: told from the shapes.
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
        image = read_image(path, onnx_digest(path))
        size = fit_input_size(path, image.size, input_size)
        given = len(preprocessing.mean)
        if image.channels not in (None, given):
            wanted = "'gray'" if image.channels == 1 else "'rgb' or 'bgr'"
            raise InvalidParameterError(
                f"preprocessing has channels {preprocessing.channels!r}, expected {wanted}: "
                f"the ONNX file {path!r} takes images of "
                + ("1 channel." if image.channels == 1 else f"{image.channels} channels.")
            )
        return cls(path, preprocessing, size)

    @staticmethod
    def placeholder(backbone):
        """Return a preprocessing with as many channels as a file takes, where only these matter.

        Parameters
        ----------
        backbone : str or path
            The file.

        Returns
        -------
        Preprocessing
            Pixels as they are.
        """
        path = os.fspath(backbone)
        plain = as_preprocessing("none")
        if read_image(path, onnx_digest(path)).channels != 1:
            return plain
        return replace(plain, mean=plain.mean[:1], std=plain.std[:1], channels="gray")

    @property
    def name(self):
        """See `Source`."""
        return re.sub(r"\W+", "_", Path(self.path).stem)

    @cached_property
    def digest(self):
        """See `Source`; external data are included."""
        return onnx_digest(self.path)

    @property
    def identity(self):
        """See `Source`."""
        return {
            "onnx": self.digest,
            "input_size": list(map(int, self.input_size)),
            "preprocessing": self.preprocessing.identity,
            "n_prefix_tokens": self.n_prefix_tokens,
        }

    @property
    def input_shape(self):
        """The shape of one image."""
        image = read_image(self.path, self.digest)
        return image.shape(self.input_size, len(self.preprocessing.mean))

    @property
    def channels_first(self):
        """Whether the channels of the input come before height and width."""
        return read_image(self.path, self.digest).letters == "NCHW"

    @property
    def _contents(self):
        return _read_contents(self.path, self.digest, self.input_shape, self.n_prefix_tokens)

    @property
    def layers(self):
        """What can become features.

        Returns
        -------
        dict of str to Layer
            By the name of the tensor, in the order of computation.
        """
        return self._contents.layers

    @property
    def taps(self):
        """The tensors that "top" and the stages stand for.

        Returns
        -------
        dict of str to str
            Names of tensors.
        """
        return self._contents.taps

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
        contents = self._contents
        tensor = contents.taps.get(name, name)
        if tensor in contents.layers:
            return contents.layers[tensor]
        explain = self._explain_tensor if tensor in contents.shapes else self._explain_name
        raise InvalidParameterError(f"layers has {name!r}, {explain(tensor)}")

    def _explain_name(self, name):
        """Return what was expected instead of a name that no tensor has."""
        contents, near = self._contents, []
        known = f"one of {list(contents.taps)}" if contents.taps else "no stage"
        if name not in STAGES:
            near = get_close_matches(name, contents.layers, n=3, cutoff=0.4)
        spatial = [layer.kind for layer in contents.layers.values() if layer.is_spatial]
        return (
            f"expected {known}, or the name of a tensor of {self.path!r}"
            + (f", such as {near}" if near else "")
            + (": tokens have no stages." if name in STAGES and "tokens" in spatial[-1:] else ".")
            + " `list_layers` shows all."
        )

    def _explain_tensor(self, tensor):
        """Return why a tensor cannot become features."""
        shape, axes = self._contents.shapes[tensor], self._contents.axes.get(tensor)
        if shape is None:
            return "whose shape is known only while the network runs: export it with a fixed size."
        if len(shape) == 4 and axes is None:
            return (
                f"a tensor of shape {shape} whose axes cannot be followed through the network, as "
                "after attention: which of them are height and width is unknown."
            )
        if len(shape) != 3 or (axes and axes.letters != "NTC"):
            return (
                f"a tensor of shape {shape}, expected a feature map (1, channels, height, width) "
                "or (1, height, width, channels), tokens (1, tokens, width) or an embedding "
                "(1, width)."
            )
        grids = find_grids(shape[1], axes and axes.grid, self.input_size)
        found = " or ".join(f"{prefix} and {h} x {w}" for (h, w), prefix in grids)
        return (
            f"which has {shape[1]} tokens, and n_prefix_tokens is {self.n_prefix_tokens}: expected "
            f"the number of class and register tokens before those of a grid of patches"
            + (f", such as {found}." if found else ".")
        )

    def label(self, layer):
        """See `Source.label`."""
        tensor = self.find_layer(layer).tensor
        return layer if layer in self.taps else self._contents.labels[tensor]

    def check_layers(self, layers, pooling):
        """See `Source.check_layers`."""
        chosen = {}
        for name in layers:
            layer = self.find_layer(name)
            if layer.tensor in chosen:
                raise InvalidParameterError(
                    f"layers has {chosen[layer.tensor]!r} and {name!r}, which are the same tensor "
                    f"of {self.name}, expected different ones."
                )
            chosen[layer.tensor] = name
            for value in pooling:
                _check_pooling(name, layer, value)

    def tensor_shape(self, layer):
        """Return the shape of the tensor of a layer.

        Parameters
        ----------
        layer : Layer
            One of `layers`.

        Returns
        -------
        tuple of int
            Its shape for one image.
        """
        return self._contents.shapes[layer.tensor]

    def list_layers(self):
        """See `Source.list_layers`."""
        return [
            (layer.tensor, layer.kind, layer.shape, layer.n_prefix_tokens, self._stages_of(layer))
            for layer in self.layers.values()
        ]

    def _stages_of(self, layer):
        return [stage for stage, tensor in self.taps.items() if tensor == layer.tensor]

    def truncate(self, layers):
        """Return the part of the graph that leads to some layers.

        Parameters
        ----------
        layers : sequence of Layer
            The layers.

        Returns
        -------
        bytes
            An ONNX model that takes one image, and returns the tensors of the layers.
        """
        model = read_onnx(self.path, self.digest)
        with naming(self.path):
            return truncate(model, [layer.tensor for layer in layers], self.input_shape)


def _check_pooling(name, layer, pooling):
    """Refuse a pooling that would be nothing but constants, or has nothing to pool."""
    if pooling == "cls" and layer.n_prefix_tokens == 0:
        found = {"map": "a feature map", "tokens": "patch tokens only", "embedding": "an embedding"}
        raise InvalidParameterError(
            f"pooling has 'cls', expected another one: the layer {name!r} is {found[layer.kind]}, "
            "without a class token."
        )
    if layer.kind == "embedding" and pooling not in ("avg", "max"):
        raise InvalidParameterError(
            f"pooling has {pooling!r}, expected 'avg': the layer {name!r} is an embedding, which "
            "has no cells to pool."
        )


@lru_cache(maxsize=32)
def _read_contents(path, digest, input_shape, n_prefix_tokens):
    """Return what is in a file."""
    model, image = read_outline(path, digest), read_image(path, digest)
    sides = dict(zip(image.letters, input_shape))
    size = sides["H"], sides["W"]
    with naming(path):
        shapes = find_shapes(model, input_shape)
    own = {image.name: input_shape}
    axes = find_axes(model, shapes | own, image.name, image.letters)
    unknown = [name for name in axes if shapes.get(name, ()) is None]
    if unknown:
        # Exporters of PyTorch compute sides that padding and class tokens have.
        graph = truncate(read_onnx(path, digest), unknown, input_shape)
        shapes |= try_in_child(graph, name=path)
        axes = find_axes(model, shapes | own, image.name, image.letters)
    layers = find_layers(shapes, axes, size, n_prefix_tokens)
    taps = find_taps(model, shapes, axes, layers, size)
    return _Contents(shapes, axes, layers, taps, make_labels(shapes))
