"""Engines, which run a network on a batch of images."""

import threading
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec

import numpy as np

from featbus import DISTRIBUTION
from featbus.networks._building import build_maps, import_keras
from featbus.networks._onnx import OnnxEngine, OnnxModel
from featbus.networks._openvino import OpenVINOEngine, check_precision
from featbus.networks._pooling import pool_layers
from featbus.parameters import InvalidParameterError

_LOCK = threading.Lock()


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
        self._pooling = network.pooling
        self._running = threading.Lock()
        self._model = build_maps(network)
        keras = import_keras()
        # JAX needs its compiler; TensorFlow's graphs are faster on a CPU without XLA.
        self._model.compile(jit_compile=keras.backend.backend() == "jax")
        self._flatten = keras.tree.flatten
        self.shapes = tuple(tuple(tensor.shape[1:]) for tensor in self._model.outputs)
        self.report = {"engine": "keras", "version": keras.__version__}

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
        n_images = len(pixels)
        size = min(batch_size, 1 << (n_images - 1).bit_length())
        inputs = np.zeros((size, *pixels.shape[1:3], len(self._preprocess.mean)), dtype=np.float32)
        self._preprocess(pixels, out=inputs[:n_images])
        # One pass keeps all cores busy, and a model on JAX cannot run twice at a time.
        with self._running:
            maps = self._flatten(self._model.predict_on_batch(inputs))
        layers = [(layer[:n_images], None) for layer in maps]
        return np.concatenate(pool_layers(layers, self._pooling, regions), axis=1)


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
        return np.mean([one.run(pixels, batch_size, regions) for one in self._engines], axis=0)


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
    if engine not in source.engines:
        raise InvalidParameterError(
            f"engine is {engine!r}, expected one of {list(source.engines)}, which can run {source}."
        )
    if engine != "keras" and find_spec(engine) is None:
        extra = "onnx" if engine == "onnxruntime" else engine
        raise ImportError(f"{engine} is not installed: pip install '{DISTRIBUTION}[{extra}]'.")
    if precision != "fp32":
        if engine != "openvino":
            raise InvalidParameterError(
                f"precision is {precision!r}, expected 'fp32' for engine={engine!r}: only "
                "engine='openvino' computes in another precision."
            )
        check_precision(precision)


@lru_cache(maxsize=8)
def _load_engine(network):
    if isinstance(network.source, OnnxModel):
        return OnnxEngine(network)
    return (OpenVINOEngine if network.engine == "openvino" else KerasEngine)(network)


# More than eight members would drive each other out of the cache above, batch by batch.
@lru_cache(maxsize=2)
def _load_ensemble(network):
    members = [replace(network, source=member) for member in network.source.members]
    return Ensemble([*map(_load_engine, members)])


def load_engine(network):
    """Return the engine of a network, built on first use and shared by all who ask for it.

    Parameters
    ----------
    network : Network
        What to run.

    Returns
    -------
    engine
        The engine. The eight used last stay in memory, and the two ensembles used last.
    """
    with _LOCK:
        several = len(network.source.members) > 1
        return _load_ensemble(network) if several else _load_engine(network)
