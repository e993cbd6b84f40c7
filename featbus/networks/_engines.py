"""Engines: what runs a truncated network on a batch of images."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

import numpy as np

from featbus.networks._backbones import BACKBONES, STAGES, preprocess
from featbus.networks._weights import explain_build_error, load_file

_LOCK = threading.Lock()


@dataclass(frozen=True)
class Network:
    """A frozen network and the features taken from it; two that are equal share one engine.

    Attributes
    ----------
    backbone : str
        A key of `BACKBONES`.
    input_size : tuple of int
        Height and width of the input in pixels.
    layers : tuple of str
        "top", stages "C1" to "C5", or names of Keras layers.
    pooling : tuple of str
        "avg" and "max": how a feature map becomes one number a channel.
    weights : str or None
        "imagenet", the path of a file, or None: random.
    digest : str or None
        Digest of the weights file's content, so that a changed file is another network.
    random_state : int or None
        Seed of random weights.
    options : tuple of (str, value)
        Parameters of the backbone's builder.
    """

    backbone: str
    input_size: tuple[int, int]
    layers: tuple[str, ...] = ("top",)
    pooling: tuple[str, ...] = ("avg",)
    weights: str | None = None
    digest: str | None = None
    random_state: int | None = 0
    options: tuple = ()

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
    except Exception as error:  # Keras' download raises a bare Exception
        explained = explain_build_error(error, str(network))
        if explained is None:
            raise
        raise explained from error
    if source is None and network.weights is not None:
        load_file(base, network.weights, str(network))
    return base


def _tensor(base, network, layer):
    """Return the tensor of `base` that an entry of `network.layers` means."""
    tap = BACKBONES[network.backbone].tap(layer)
    if tap == ">output":
        return base.output
    if tap.startswith("<"):
        return base.get_layer(tap[1:]).input
    names = [item.name for item in base.layers]
    if tap not in names:
        near = get_close_matches(tap, [*STAGES, "top", *names], n=3, cutoff=0.5)
        raise ValueError(
            f"{network.backbone} has no layer {layer!r}, expected 'top', one of the stages "
            f"{list(STAGES)}, or the name of a Keras layer"
            + (f": did you mean one of {near}?" if near else ".")
        )
    return base.get_layer(tap).output


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
    """

    def __init__(self, network):
        self._mode = BACKBONES[network.backbone].preprocessing
        self._running = threading.Lock()
        # Keras keeps automatic layer names, dtype policy and scopes per thread. In a thread of its
        # own a network always has the same names, and the user's settings and names stay apart.
        with ThreadPoolExecutor(max_workers=1) as executor:
            self._model, self.shapes = executor.submit(self._build, network).result()

    def _build(self, network):
        keras = _import_keras()
        base = build_base(network)
        maps = _feature_maps(base, network)
        pool = {"avg": keras.ops.mean, "max": keras.ops.max}
        rows = [pool[name](tensor, axis=(1, 2)) for tensor in maps for name in network.pooling]
        model = keras.Model(base.input, keras.ops.concatenate(rows, axis=-1))
        # JAX needs its compiler; TensorFlow's graphs are faster on a CPU without XLA.
        model.compile(jit_compile=keras.backend.backend() == "jax")
        return model, tuple(tuple(tensor.shape[1:]) for tensor in maps)

    def run(self, pixels, batch_size):
        """Compute the rows of a batch in one forward pass.

        Parameters
        ----------
        pixels : ndarray of float32 of shape (n_images, height, width, 3)
            RGB, 0..255, in the network's input size.
        batch_size : int
            The largest batch there will be. Smaller ones are filled up to a power of two: a network
            is compiled or tuned again for each new size.

        Returns
        -------
        ndarray of shape (n_images, n_features)
            Layer by layer, pooling by pooling, channel by channel.
        """
        n_images = len(pixels)
        size = max(n_images, min(batch_size, 1 << (n_images - 1).bit_length()))
        batch = np.zeros((size, *pixels.shape[1:]), dtype=np.float32)
        batch[:n_images] = preprocess(pixels, self._mode)
        # One pass keeps all cores busy, and a model on JAX cannot run twice at a time.
        with self._running:
            return self._model.predict_on_batch(batch)[:n_images]


@lru_cache(maxsize=8)
def _load_engine(network):
    return KerasEngine(network)


def load_engine(network):
    """Return the engine of a network, built on first use and shared by all who ask for it.

    Parameters
    ----------
    network : Network
        What to run.

    Returns
    -------
    KerasEngine
        The engine. The eight used last stay in memory.
    """
    with _LOCK:
        return _load_engine(network)
