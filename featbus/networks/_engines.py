"""Engines: what runs a network on a batch of images."""

import logging
import math
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from itertools import chain

import numpy as np

from featbus.networks._applications import KerasApplication
from featbus.networks._building import build_models, import_keras
from featbus.networks._index import find_model
from featbus.networks._models import KerasModel
from featbus.networks._onnx import OnnxModel, OnnxOpenVINOEngine, OnnxRuntimeEngine
from featbus.networks._openvino import OpenVINOEngine, check_precision
from featbus.networks._pooling import region_weights
from featbus.networks._requirements import NO_KERAS
from featbus.networks._small_cnn import SmallCNN
from featbus.networks._sources import KerasSource, get_backbone
from featbus.parameters import InvalidParameterError

SOURCES = (KerasApplication, OnnxModel, KerasModel, SmallCNN)
_LOCK = threading.Lock()
_LOG = logging.getLogger("featbus")

_ARGUMENTS = ("kernel_size", "strides", "padding", "dilation_rate")
# Of each kind of convolution its other arguments, and its kernels.
_KINDS = {
    "Conv2D": (("filters", "groups"), ("kernel",)),
    "DepthwiseConv2D": (("depth_multiplier",), ("depthwise",)),
    "SeparableConv2D": (("filters", "depth_multiplier"), ("depthwise", "pointwise")),
}


def fold(model):
    """Rebuild a model without the batch normalizations that directly follow a convolution.

    At inference both are affine, so that one convolution with other weights does the work of two
    layers [1]_. The rest of the time that they take goes with them: a pass over the feature map,
    and an activation that can follow the convolution in the same pass.

    Parameters
    ----------
    model : keras.Model
        A functional model. Its layers are shared with the result.

    Returns
    -------
    keras.Model
        A model of the same inputs and outputs, up to rounding.

    References
    ----------
    .. [1] Jacob B et al. Quantization and training of neural networks for efficient
       integer-arithmetic-only inference. CVPR 2018, doi:10.1109/CVPR.2018.00286, eq. 14.
    """
    calls, outputs = _calls(model)
    folded, gone = {}, set()
    for convolution, normalization in _pairs(calls, outputs):
        folded[convolution] = _folded(convolution, normalization)
        gone.add(normalization)

    def call(layer, *arguments, **options):
        if layer in gone:
            return arguments[0]
        if layer not in folded:
            return layer(*arguments, **options)
        new, weights = folded[layer]
        output = new(*arguments, **options)
        new.set_weights(weights)
        return output

    return _rebuilt(model, call) if folded else model


def _rebuilt(model, call):
    """Call the layers of a model anew, in order, each by way of `call`."""
    import keras

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _calls(model):
    """Return layer, inputs and output of all calls in a model, and what the model returns."""
    import keras

    calls = []

    def call(layer, *arguments, **options):
        output = layer(*arguments, **options)
        values = keras.tree.flatten((arguments, options))
        inputs = [value for value in values if isinstance(value, keras.KerasTensor)]
        calls.append((layer, inputs, output))
        return output

    return calls, _rebuilt(model, call).outputs


def _pairs(calls, outputs):
    """Yield each convolution whose output goes to one batch normalization and nowhere else."""
    import keras

    n_calls = Counter(layer for layer, _, _ in calls)
    n_uses = Counter(map(id, chain(outputs, *(inputs for _, inputs, _ in calls))))
    makers = {id(output): layer for layer, _, output in calls}
    for layer, inputs, output in calls:
        if type(layer) is not keras.layers.BatchNormalization or len(inputs) != 1:
            continue
        before = makers.get(id(inputs[0]))
        if (
            _is_plain(before)
            and n_uses[id(inputs[0])] == n_calls[before] == n_calls[layer] == 1
            and layer.axis in (-1, len(output.shape) - 1)
            and layer.dtype_policy.name == before.dtype_policy.name == "float32"
        ):
            yield before, layer


def _is_plain(layer):
    """Tell whether a layer is a convolution and nothing else."""
    import keras

    kind = type(layer)
    if kind not in [getattr(keras.layers, name) for name in _KINDS]:
        return False
    if layer.activation is not keras.activations.linear:
        return False
    n_weights = len(_KINDS[kind.__name__][1]) + layer.use_bias
    return layer.data_format == "channels_last" and len(layer.weights) == n_weights


def _folded(convolution, normalization):
    """Return a convolution that does the work of both layers, not built yet, and its weights."""
    import keras

    *affine, mean, variance = map(np.float64, normalization.get_weights())
    factor = 1 / np.sqrt(variance + normalization.epsilon)
    if normalization.scale:
        factor *= affine[0]
    weights = convolution.get_weights()
    bias = ((weights.pop() if convolution.use_bias else 0) - mean) * factor
    if normalization.center:
        bias += affine[-1]
    # The last kernel makes the channels that were normalized.
    kernel = weights.pop()
    is_depthwise = type(convolution) is keras.layers.DepthwiseConv2D
    channels = kernel.shape[2:] if is_depthwise else kernel.shape[3:]
    weights += [kernel * factor.reshape(channels), bias]
    return _unbuilt(convolution), [np.float32(weight) for weight in weights]


def _unbuilt(convolution):
    """Return a convolution of the same kind, with a bias."""
    kind = type(convolution)
    more, kernels = _KINDS[kind.__name__]
    # Not by way of `get_config`, which imports TensorFlow on any backend.
    arguments = {name: getattr(convolution, name) for name in (*_ARGUMENTS, *more)}
    # Random numbers would take their time, and be overwritten.
    arguments |= {f"{kernel}_initializer": "zeros" for kernel in kernels}
    return kind(**arguments, use_bias=True, dtype="float32", name=convolution.name)


class KerasEngine:
    """A truncated backbone with its pooling, on any backend of Keras.

    Parameters
    ----------
    network : Network
        What to build.

    Attributes
    ----------
    shapes : tuple of tuple of int
        Height, width and channels of the feature map of each of the layers.
    report : dict
        "engine" and its "version".
    """

    def __init__(self, network):
        self._preprocess = network.source.preprocessing
        self._running = threading.Lock()
        self._largest = sys.maxsize  # batch that the memory suffices for, as far as is known
        self.shapes, *models = build_models(network, False, True, change=fold)
        self._model, self._masked_model = models
        # JAX needs its compiler; TensorFlow's graphs are faster on a CPU without XLA.
        jit_compile = import_keras().backend.backend() == "jax"
        for model in models:
            model.compile(jit_compile=jit_compile)
        self.report = {"engine": "keras", "version": import_keras().__version__}

    @staticmethod
    def release():
        """Return what rows depend on beside the network: the backend of Keras.

        Returns
        -------
        str
            Its name. Nothing is imported.
        """
        return os.environ.get("KERAS_BACKEND", "tensorflow")

    def run(self, pixels, batch_size, regions=None):
        """Compute the rows of a batch in one forward pass.

        Parameters
        ----------
        pixels : ndarray of uint8 or float32 of shape (n_images, height, width, 3 or 1)
            RGB or gray, 0..255, in the network's input size.
        batch_size : int
            The largest batch there will be. Smaller ones are filled up to a power of two: a network
            is compiled or tuned again for each new size.
        regions : ndarray of float32 of shape (n_images, height, width), default=None
            Share of each pixel that lies inside the image's region, 0..1. Feature maps are pooled
            over the cells inside. None: over all.

        Returns
        -------
        ndarray of shape (n_images, n_features)
            Layer by layer, pooling by pooling, window by window, channel by channel.
        """
        weights = [] if regions is None else region_weights(regions, self.shapes)
        # One pass keeps all cores busy, and a model on JAX cannot run twice at a time.
        with self._running:
            return self._run_parts(pixels, weights, batch_size)

    def _run_parts(self, pixels, weights, batch_size):
        """Run a batch, in halves from the moment on that the memory does not suffice."""
        n_images = len(pixels)
        batch_size = min(batch_size, self._largest)
        if n_images <= batch_size:
            size = min(batch_size, 1 << (n_images - 1).bit_length())
            try:
                return self._predict(self._inputs(pixels, weights, size))[:n_images]
            except Exception as error:
                if n_images == 1 or not _is_out_of_memory(error):
                    raise
            self._largest = batch_size = n_images // 2
        parts = range(0, n_images, batch_size)
        return np.concatenate(
            [
                self._run_parts(
                    pixels[start : start + batch_size],
                    [values[start : start + batch_size] for values in weights],
                    batch_size,
                )
                for start in parts
            ]
        )

    def _inputs(self, pixels, weights, size):
        """Return what the model takes, filled up to `size` images."""
        shapes = [(*pixels.shape[1:3], len(self._preprocess.mean))]
        shapes += [values.shape[1:] for values in weights]
        inputs = [np.zeros((size, *shape), np.float32) for shape in shapes]
        self._preprocess(pixels, out=inputs[0][: len(pixels)])
        for array, values in zip(inputs[1:], weights):
            array[: len(values)] = values
        return inputs

    def _predict(self, inputs):
        if len(inputs) == 1:
            return self._model.predict_on_batch(inputs[0])
        return self._masked_model.predict_on_batch(inputs)


class Ensemble:
    """Engines of the members of an ensemble, whose rows are averaged.

    Parameters
    ----------
    engines : list
        The engines, of networks of the same layers.

    Attributes
    ----------
    shapes, report : object
        Those of the first engine.
    """

    def __init__(self, engines):
        self._engines = engines
        self.shapes, self.report = engines[0].shapes, engines[0].report

    def run(self, pixels, batch_size, regions=None):
        """See `KerasEngine.run`."""
        rows = [engine.run(pixels, batch_size, regions) for engine in self._engines]
        return np.mean(rows, axis=0)


def _is_out_of_memory(error):
    """Tell whether a backend of Keras has run out of memory, on any device."""
    names = {kind.__name__ for kind in type(error).__mro__}
    known = {"MemoryError", "ResourceExhaustedError", "OutOfMemoryError"}
    return bool(names & known) or "RESOURCE_EXHAUSTED" in str(error)


def auto_batch_size(input_size):
    """Return a batch size that should fit into memory.

    Parameters
    ----------
    input_size : tuple of int
        Height and width of the network's input in pixels.

    Returns
    -------
    int
        A power of two up to 64. The widest feature maps of the known networks have 64 numbers a
        pixel, in single precision; four of them may take a quarter of the free memory.
    """
    bytes_per_image = 4 * 64 * 4 * math.prod(input_size)
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        free = 1 << 32
    return 1 << min(6, max(1, free // 4 // bytes_per_image).bit_length() - 1)


ENGINES = {"keras": KerasEngine, "openvino": OpenVINOEngine}
ONNX_ENGINES = {"onnxruntime": OnnxRuntimeEngine, "openvino": OnnxOpenVINOEngine}
_EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino"}


def find_engine(source, name):
    """Return the class of an engine.

    Parameters
    ----------
    source : Source
        Where the network comes from.
    name : str
        One of its `engines`.

    Returns
    -------
    type
        The class, which takes a `Network`.
    """
    return (ONNX_ENGINES if isinstance(source, OnnxModel) else ENGINES)[name]


def find_source(**parameters):
    """Return where a network comes from; no network is loaded.

    Parameters
    ----------
    **parameters : dict
        `backbone`, `backbone_options`, `weights`, `preprocessing`, `input_size` and `random_state`
        of an estimator.

    Returns
    -------
    Source
        The source.

    Raises
    ------
    InvalidParameterError
        If there is no such backbone, or a parameter does not suit it.
    OSError
        If a file is missing or cannot be read.
    """
    parameters = find_model(parameters)
    for kind in SOURCES:
        if kind.accepts(parameters["backbone"]):
            return kind.from_parameters(**parameters)
    return get_backbone(parameters["backbone"])


def check_trainable(source):
    """Check whether Keras can build and train a network; nothing is imported.

    Parameters
    ----------
    source : Source
        Where the network comes from.

    Raises
    ------
    InvalidParameterError
        If it cannot.
    """
    if not isinstance(source, KerasSource):
        raise InvalidParameterError(
            f"backbone is the ONNX file {source.path!r}, expected a network that Keras builds: an "
            "ONNX file can be run, as by DeepFeatures with one of the engines "
            f"{list(source.engines)}, and not be trained."
        )


def check_engine(engine, source, precision="fp32"):
    """Check whether an engine can run a network here.

    Parameters
    ----------
    engine : str
        The parameter `engine` of an estimator.
    source : Source
        Where the network comes from.
    precision : {"fp32", "bf16"}, default="fp32"
        What to compute in. Nothing is imported for "fp32".

    Raises
    ------
    InvalidParameterError
        If the engine cannot run networks from this source, or cannot compute in this precision.
    ImportError
        If it is not installed.
    """
    if engine == "keras":
        check_trainable(source)
    if engine not in source.engines:
        raise InvalidParameterError(
            f"engine is {engine!r}, expected one of {list(source.engines)} for {source}."
        )
    if find_spec(engine) is None:
        raise ImportError(
            NO_KERAS
            if engine == "keras"
            else f'engine="{engine}" needs the package {engine}: pip install '
            f'"featbus[{_EXTRAS[engine]}]".'
        )
    if precision != "fp32":
        if engine != "openvino":
            raise InvalidParameterError(
                f"precision is {precision!r}, expected 'fp32' for engine={engine!r}: only "
                "engine='openvino' computes in another precision."
            )
        check_precision(precision)


@lru_cache(maxsize=8)
def _load_engine(network):
    start = time.perf_counter()
    engine = find_engine(network.source, network.engine)(network)
    seconds = time.perf_counter() - start
    _LOG.debug("Built %s for the engine %s in %.1f s", network.source, network.engine, seconds)
    return engine


# More than eight members would drive each other out of the cache above, batch by batch.
@lru_cache(maxsize=2)
def _load_ensemble(network):
    members = [replace(network, source=member) for member in network.source.members]
    return Ensemble([_load_engine(member) for member in members])


def load_engine(network):
    """Return the engine of a network, built on first use and shared by all who ask for it.

    Parameters
    ----------
    network : Network
        What to run.

    Returns
    -------
    KerasEngine, OpenVINOEngine, OnnxEngine or Ensemble
        The engine. The eight used last stay in memory, and the two ensembles used last.
    """
    with _LOCK:
        several = len(network.source.members) > 1
        return _load_ensemble(network) if several else _load_engine(network)
