"""Engines: what runs a truncated network on a batch of images."""

import math
import os
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache

import numpy as np

from featbus.networks._backbones import BACKBONES, STAGES, preprocess
from featbus.networks._folding import fold
from featbus.networks._models import build_copy, derived_taps, output_of
from featbus.networks._pooling import pool, region_weights
from featbus.networks._threads import limit_tensorflow
from featbus.networks._weights import explain_build_error, load_file

_LOCK = threading.Lock()


@dataclass(frozen=True)
class Network:
    """A frozen network and the features taken from it; two that are equal share one engine.

    Attributes
    ----------
    backbone : str
        A key of `BACKBONES`, or the name of a model of one's own.
    input_size : tuple of int
        Height and width of the input in pixels.
    layers : tuple of str
        "top", stages "C1" to "C5", or names of Keras layers.
    pooling : tuple of str
        How a feature map becomes a row, see `pool`.
    weights : str or None
        "imagenet", the path of a file, or None: random.
    digest : str or None
        Digest of the weights file's content, so that a changed file is another network; of a model
        of one's own that of architecture and weights.
    random_state : int or None
        Seed of random weights.
    options : tuple of (str, value)
        Parameters of the backbone's builder.
    preprocessing : str or None
        What a model of one's own expects, see `preprocess`; None: the table has the backbone.
    engine : {"keras", "openvino", "onnxruntime"}
        What runs the network, see `load_engine`.
    model : keras.Model, str, path or None
        The model of one's own or its file. It does not count when networks are compared: its digest
        does.
    """

    backbone: str
    input_size: tuple[int, int]
    layers: tuple[str, ...] = ("top",)
    pooling: tuple[str, ...] = ("avg",)
    weights: str | None = None
    digest: str | None = None
    random_state: int | None = 0
    options: tuple = ()
    preprocessing: str | None = None
    engine: str = "keras"
    model: object = field(default=None, compare=False, repr=False)

    @property
    def mode(self):
        """What `preprocess` has to do."""
        return self.preprocessing or BACKBONES[self.backbone].preprocessing

    def label(self, layer):
        """Return how features of a layer are called, see `Backbone.label`."""
        return layer if self.preprocessing else BACKBONES[self.backbone].label(layer)

    def __str__(self):
        options = ", ".join(f"{name}={value}" for name, value in self.options)
        return f"{self.backbone}({options})" if options else self.backbone


def _import_keras():
    # TensorFlow reads this once, when it is imported; without it, it greets on every start.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    if keras.config.image_data_format() != "channels_last":
        raise RuntimeError(
            "Keras is set to image_data_format 'channels_first', featbus needs 'channels_last': "
            "call keras.config.set_image_data_format('channels_last')."
        )
    if keras.backend.backend() == "tensorflow":
        limit_tensorflow()
    return keras


@contextmanager
def _seeded(seed):
    """Seed Keras' initializers, which draw their seeds from `random`, and restore its state."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def build_base(network):
    """Build a backbone without its top, with its weights.

    Parameters
    ----------
    network : Network
        Which one; `layers` and `pooling` do not matter.

    Returns
    -------
    keras.Model
        From preprocessed images to the last feature map.

    Raises
    ------
    OSError
        If the weights cannot be downloaded or read; the message says what to do.
    ValueError
        If the weights are another network's, or Keras does not accept the size or the options.
    """
    keras = _import_keras()
    if network.preprocessing:
        return build_copy(network.model, network.input_size)
    builder = getattr(keras.applications, BACKBONES[network.backbone].builder)
    source = "imagenet" if network.weights == "imagenet" else None
    try:
        with _seeded(network.random_state):
            base = builder(
                include_top=False,
                weights=source,
                input_shape=(*network.input_size, 3),
                **dict(network.options),
            )
            if source is None and builder.__module__.endswith(".efficientnet"):
                base = _with_scaled_colours(base)
    except Exception as error:  # Keras' download raises a bare Exception
        explained = explain_build_error(error, str(network))
        if explained is None:
            raise
        raise explained from error
    if source is None and network.weights is not None:
        load_file(base, network.weights, str(network))
    return base


def _with_scaled_colours(base):
    """Copy an EfficientNet, with a layer that Keras builds for the ImageNet weights alone.

    They were trained with colours divided once more, by the root of the standard deviation. Without
    this layer, the file that Keras downloads would give other features than "imagenet".
    """
    import keras

    scale = [1 / math.sqrt(deviation) for deviation in (0.229, 0.224, 0.225)]

    def call(layer, *arguments, **options):
        output = layer(*arguments, **options)
        if isinstance(layer, keras.layers.Normalization):
            output = keras.layers.Rescaling(scale)(output)
        return output

    return keras.models.clone_model(base, call_function=call)


def _tensor(base, network, layer):
    """Return the tensor of `base` that an entry of `network.layers` means."""
    if network.preprocessing:
        stages, tap = derived_taps(base), layer
        if layer in stages:
            return stages[layer]
    else:
        stages, tap = [*STAGES, "top"], BACKBONES[network.backbone].tap(layer)
    if tap == ">output":
        return base.output
    if tap.startswith("<"):
        return base.get_layer(tap[1:]).input
    names = [item.name for item in base.layers]
    if tap not in names:
        near = get_close_matches(tap, [*stages, *names], n=3, cutoff=0.5)
        raise ValueError(
            f"{network.backbone} has no layer {layer!r}, expected 'top', one of the stages "
            f"{sorted(set(stages) - {'top'})}, or the name of a Keras layer"
            + (f": did you mean one of {near}?" if near else ".")
        )
    return output_of(base.get_layer(tap))


def _feature_maps(base, network):
    """Return the tensors of all `network.layers`."""
    maps = {}
    for layer in network.layers:
        tensor = _tensor(base, network, layer)
        if len(tensor.shape) != 4:
            raise ValueError(
                f"The layer {layer!r} of {network.backbone} has output {tensor.shape}, expected a "
                "feature map (images, height, width, channels)."
            )
        same = [other for other, known in maps.items() if known is tensor]
        if same or layer in maps:
            raise ValueError(
                f"layers has {(same or [layer])[0]!r} and {layer!r}, which are the same output of "
                f"{network.backbone}. Keep one."
            )
        maps[layer] = tensor
    return list(maps.values())


def _build_models(network, *kinds, learned=None, folded=False):
    """Build models that share one network: masked and unmasked ones, as `kinds` says."""
    keras = _import_keras()
    base = build_base(network)
    for variable in base.variables if learned else ():
        if variable.path in learned:
            variable.assign(learned[variable.path])
    base = keras.Model(base.input, _feature_maps(base, network))
    if folded:
        base = fold(base)
    # Whatever the network computes in, rows are in single precision.
    maps = [keras.ops.cast(tensor, "float32") for tensor in base.outputs]
    models = [_add_pooling(base, maps, network.pooling, masked) for masked in kinds]
    return tuple(tuple(tensor.shape[1:]) for tensor in maps), *models


def _add_pooling(base, maps, pooling, masked):
    """Return the model from the input of `base` to the pooled `maps`."""
    keras = _import_keras()
    weights = [
        keras.Input((*tensor.shape[1:3], 1), name=f"region_{index}") if masked else None
        for index, tensor in enumerate(maps)
    ]
    rows = [pool(tensor, name, weight) for tensor, weight in zip(maps, weights) for name in pooling]
    inputs = [base.input, *weights] if masked else base.input
    return keras.Model(inputs, rows[0] if len(rows) == 1 else keras.ops.concatenate(rows, axis=-1))


def _apart(function, *arguments, **options):
    """Call a function in a thread of its own.

    Keras keeps automatic layer names, dtype policy and scopes per thread: a network that is built
    apart always has the same names, and the user's settings and names stay as they are.
    """
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(function, *arguments, **options).result()


def build_model(network, *, masked=False):
    """Build what an engine runs: a truncated backbone with its pooling.

    Parameters
    ----------
    network : Network
        What to build.
    masked : bool, default=False
        Whether features are those of a region.

    Returns
    -------
    model : keras.Model
        From preprocessed images, float32 of shape (n_images, height, width, 3), to rows of shape
        (n_images, n_features). If `masked`, the inputs are a list: the images, then for each of the
        layers what `region_weights` returns.
    shapes : tuple of tuple of int
        Height, width and channels of the feature map of each of the layers.
    """
    shapes, model = _apart(_build_models, network, masked)
    return model, shapes


class KerasEngine:
    """A truncated backbone with its pooling, on any backend of Keras.

    Parameters
    ----------
    network : Network
        What to build.
    learned : dict of str to ndarray, default=None
        Weights that take the place of the network's, by the path of the Keras variable.

    Attributes
    ----------
    shapes : tuple of tuple of int
        Height, width and channels of the feature map of each of the layers.
    report : dict
        "engine" and its "version".
    """

    def __init__(self, network, learned=None):
        self._mode = network.mode
        self._running = threading.Lock()
        self._largest = sys.maxsize  # batch that the memory suffices for, as far as is known
        self.shapes, *models = _apart(
            _build_models, network, False, True, learned=learned, folded=True
        )
        self._model, self._masked_model = models
        # JAX needs its compiler; TensorFlow's graphs are faster on a CPU without XLA.
        jit_compile = _import_keras().backend.backend() == "jax"
        for model in models:
            model.compile(jit_compile=jit_compile)
        self.report = {"engine": "keras", "version": _import_keras().__version__}

    def run(self, pixels, batch_size, regions=None):
        """Compute the rows of a batch in one forward pass.

        Parameters
        ----------
        pixels : ndarray of uint8 or float32 of shape (n_images, height, width, 3)
            RGB, 0..255, in the network's input size.
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
        inputs = [preprocess(pixels, self._mode)]
        if regions is not None:
            inputs += region_weights(regions, self.shapes)
        # One pass keeps all cores busy, and a model on JAX cannot run twice at a time.
        with self._running:
            return self._run_parts(inputs, batch_size)

    def _run_parts(self, inputs, batch_size):
        """Run a batch, in halves from the moment on that the memory does not suffice."""
        n_images = len(inputs[0])
        batch_size = min(batch_size, self._largest)
        if n_images <= batch_size:
            size = min(batch_size, 1 << (n_images - 1).bit_length())
            try:
                return self._predict([_filled_up(values, size) for values in inputs])[:n_images]
            except Exception as error:
                if n_images == 1 or not _is_out_of_memory(error):
                    raise
            self._largest = batch_size = n_images // 2
        parts = range(0, n_images, batch_size)
        return np.concatenate(
            [
                self._run_parts(
                    [values[start : start + batch_size] for values in inputs], batch_size
                )
                for start in parts
            ]
        )

    def _predict(self, inputs):
        if len(inputs) == 1:
            return self._model.predict_on_batch(inputs[0])
        return self._masked_model.predict_on_batch(inputs)


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


def _filled_up(values, size):
    """Return an array with zeros behind its end, up to `size`."""
    filled = np.zeros((size, *values.shape[1:]), dtype=np.float32)
    filled[: len(values)] = values
    return filled


@lru_cache(maxsize=8)
def _load_engine(network):
    if network.engine == "keras":
        return KerasEngine(network)
    from featbus.networks._converted import ConvertedEngine  # which builds on this module

    return ConvertedEngine(network)


def load_engine(network):
    """Return the engine of a network, built on first use and shared by all who ask for it.

    Parameters
    ----------
    network : Network
        What to run.

    Returns
    -------
    KerasEngine or ConvertedEngine
        The engine. The eight used last stay in memory.
    """
    with _LOCK:
        return _load_engine(network)
