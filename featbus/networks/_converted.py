"""Converted engines: OpenVINO and ONNX Runtime run what Keras built, from a cache on disk."""

import hashlib
import json
import logging
import os
import re
import sys
import tempfile
import threading
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from uuid import uuid4

import numpy as np

from featbus.networks._backbones import preprocess
from featbus.networks._engines import build_model
from featbus.networks._pooling import region_weights, windows
from featbus.networks._threads import thread_limit

ENGINES = ("keras", "openvino", "onnxruntime")
# Part of the key that converted networks are stored under: goes up whenever conversion changes.
_CONVERSION_VERSION = 1
_TOLERANCE = 1e-3
_NOTHING = 1e-20  # activations that random weights let decay to this are rounded to zero
_OPSET = 18


def cache_dir():
    """Return the folder that converted networks are kept in.

    Returns
    -------
    Path
        The environment variable ``FEATBUS_CACHE``; else ``featbus`` in ``XDG_CACHE_HOME``; else in
        the system's folder for caches of the user.
    """
    own = os.environ.get("FEATBUS_CACHE")
    if own:
        return Path(own).expanduser()
    caches = {"win32": os.environ.get("LOCALAPPDATA"), "darwin": "~/Library/Caches"}
    caches = os.environ.get("XDG_CACHE_HOME") or caches.get(sys.platform) or "~/.cache"
    return Path(caches).expanduser() / "featbus"


def check_engine(engine):
    """Check what is to run a network; nothing is imported.

    Parameters
    ----------
    engine : {"keras", "openvino", "onnxruntime"}
        The parameter `engine` of an estimator.

    Returns
    -------
    str
        `engine`.

    Raises
    ------
    ValueError
        If there is no such engine.
    ImportError
        If it is not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}, expected one of {list(ENGINES)}.")
    if find_spec(engine) is None:
        raise _missing(engine, engine)
    return engine


def engine_version(engine):
    """Return the version of what runs a network.

    Parameters
    ----------
    engine : {"openvino", "onnxruntime"}
        The engine.

    Returns
    -------
    str
        The version of the package.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    return _import(engine, engine).__version__.partition("-")[0]


def _import(module, engine):
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise _missing(module, engine) from error


def _missing(module, engine):
    return ImportError(
        f'engine="{engine}" needs the package {module}: pip install "featbus[{engine}]".'
    )


def _traced(model):
    """Return a TensorFlow function of a Keras model, for one image at a time."""
    import tensorflow as tf

    for layer in model.layers:
        if type(layer).__name__ == "Normalization":
            # A tensor from outside would be one more input of the function, an array is a constant.
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    signature = [
        tf.TensorSpec((1, *tensor.shape[1:]), tf.float32, name=f"input_{index}")
        for index, tensor in enumerate(model.inputs)
    ]

    @tf.function(input_signature=signature, autograph=False)
    def rows(*inputs):
        return model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)

    return rows


@contextmanager
def _silent(name):
    """Keep a logger from printing; the result is checked, whatever it took to get there."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _position(names):
    """Return the position of an input that has these names.

    A converter may sort inputs anew, drop those without effect, and rename the images.
    """
    found = (re.match(r"input_(\d+)", name) for name in names)
    return next((int(match[1]) for match in found if match), 0)


class _OpenVINO:
    """A network on OpenVINO, with one thread an image."""

    def __init__(self, parts, n_threads):
        openvino = _import("openvino", "openvino")
        core = openvino.Core()
        compiled = core.compile_model(
            core.read_model(parts["model.xml"], parts["model.bin"]),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": n_threads,
                "INFERENCE_NUM_THREADS": n_threads,
                # Processes that run beside each other would all be pinned to the first core.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._order = [_position(port.names) for port in compiled.inputs]
        self._free = SimpleQueue()
        for _ in range(n_threads):
            self._free.put(compiled.create_infer_request())

    @staticmethod
    def convert(model):
        """Return the files of OpenVINO's own format, by way of a frozen TensorFlow graph."""
        openvino = _import("openvino", "openvino")
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        frozen = convert_variables_to_constants_v2(
            _traced(model).get_concrete_function(), lower_control_flow=False
        )
        with tempfile.TemporaryDirectory() as folder:
            graph, target = Path(folder, "graph.pb"), Path(folder, "model.xml")
            graph.write_bytes(frozen.graph.as_graph_def().SerializeToString())
            # Unlike openvino.convert_model, this reports nothing to anybody.
            converted = openvino.Core().read_model(graph)
            openvino.save_model(converted, target, compress_to_fp16=False)
            del converted
            return {path.name: path.read_bytes() for path in (target, target.with_suffix(".bin"))}

    def __call__(self, inputs):
        request = self._free.get()
        try:
            return request.infer([inputs[i] for i in self._order], share_inputs=True)[0]
        finally:
            self._free.put(request)


class _OnnxRuntime:
    """A network on ONNX Runtime, with one thread an image."""

    def __init__(self, parts, n_threads):
        onnxruntime = _import("onnxruntime", "onnxruntime")
        options = onnxruntime.SessionOptions()
        # The threads that call the session are the ones that compute.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            parts["model.onnx"], options, providers=["CPUExecutionProvider"]
        )
        self._order = {entry.name: _position([entry.name]) for entry in self._session.get_inputs()}

    @staticmethod
    def convert(model):
        """Return the file in ONNX format."""
        _import("onnx", "onnxruntime")
        tf2onnx = _import("tf2onnx", "onnxruntime")
        traced = _traced(model)
        with warnings.catch_warnings(), _silent("tf2onnx"):
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            converted, _ = tf2onnx.convert.from_function(
                traced, input_signature=traced.input_signature, opset=_OPSET
            )
        if any("PartitionedCall" in node.op_type for node in converted.graph.node):
            # As of tf2onnx 1.17, the grouped convolutions of ConvNeXt.
            raise RuntimeError(
                'tf2onnx cannot convert this network: take engine="openvino" or engine="keras".'
            )
        return {"model.onnx": converted.SerializeToString()}

    def __call__(self, inputs):
        feed = {name: inputs[position] for name, position in self._order.items()}
        return self._session.run(None, feed)[0]


_RUNTIMES = {"openvino": _OpenVINO, "onnxruntime": _OnnxRuntime}


class ConvertedEngine:
    """A truncated backbone with its pooling, built by Keras and run by another library.

    The network is converted once, checked against Keras, and kept on disk. From there it is loaded
    without Keras and TensorFlow. Images run one at a time, each in one thread, and as many at once
    as `thread_limit` says; so a row depends on nothing but its image.

    Parameters
    ----------
    network : Network
        What to run, and on which `engine`.

    Attributes
    ----------
    shapes : tuple of tuple of int
        Height, width and channels of the feature map of each of the layers.
    report : dict
        "engine" and its "version"; "max_relative_error", see `relative_error`, and the "seconds"
        that it took to build, convert and check; the SHA-256 "digest" of what was converted; the
        "path" of the file, or None where none could be written.

    Raises
    ------
    ImportError
        If the engine is not installed, or what converts to it.
    RuntimeError
        If rows differ from those of Keras by more than 1e-3.
    """

    def __init__(self, network):
        self._network = network
        self._mode = network.mode
        self._running = threading.Lock()
        self._runtimes = {}
        self.report = self._load(masked=False)
        self.shapes = tuple(map(tuple, self.report.pop("shapes")))

    def run(self, pixels, batch_size, regions=None):
        """Compute the rows of a batch.

        Parameters
        ----------
        pixels : ndarray of uint8 or float32 of shape (n_images, height, width, 3)
            RGB, 0..255, in the network's input size.
        batch_size : int
            Without effect: images run one at a time.
        regions : ndarray of float32 of shape (n_images, height, width), default=None
            Share of each pixel that lies inside the image's region, 0..1. Feature maps are pooled
            over the cells inside. None: over all.

        Returns
        -------
        ndarray of shape (n_images, n_features)
            Layer by layer, pooling by pooling, window by window, channel by channel.
        """
        masked = regions is not None
        with self._running:
            if masked not in self._runtimes:
                self._load(masked)
            runtime = self._runtimes[masked]

            def row(index):
                one = slice(index, index + 1)
                weights = region_weights(regions[one], self.shapes) if masked else []
                return runtime([preprocess(pixels[one], self._mode), *weights])

            with ThreadPoolExecutor(min(thread_limit(), len(pixels))) as executor:
                return np.concatenate(list(executor.map(row, range(len(pixels)))))

    def _load(self, masked):
        """Load a network, converting it where there is none or a damaged one; return its report."""
        path = cache_dir() / _file_name(self._network, masked)
        stored = _read(path)
        if stored is None:
            stored = _convert(self._network, masked)
            path = _write(path, *stored)
        report, parts = stored
        self._runtimes[masked] = _RUNTIMES[self._network.engine](parts, thread_limit())
        return report | {"path": path and str(path)}


def _file_name(network, masked):
    """Return the name of a converted network, of what decides about its rows."""
    key = vars(network) | {
        "model": None,
        # Random weights, and those that Keras has, are its release's.
        "weights": network.digest or (network.weights, version("keras")),
        "masked": masked,
        "version": engine_version(network.engine),
        "conversion": _CONVERSION_VERSION,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    name = re.sub(r"\W+", "_", network.backbone)
    return f"{name}-{digest[:32]}.{network.engine}"


def _read(path):
    """Return report and files of a converted network, or None if there is none, or no whole one."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        return json.loads(parts.pop("report.json")), parts
    except Exception:  # whatever is wrong with the file, a new one takes its place
        return None


def _write(path, report, parts):
    """Write a converted network in one step; return the path, or None if that is impossible."""
    temporary = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temporary, "x") as archive:
            for name, content in {"report.json": json.dumps(report), **parts}.items():
                archive.writestr(name, content)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        warnings.warn(
            f"The converted network cannot be kept in {str(path.parent)!r}: {error} It is "
            "converted again in each process. Set the environment variable FEATBUS_CACHE to a "
            "folder that can be written.",
            stacklevel=2,
        )
        return None
    return path


def _convert(network, masked):
    """Build a network with Keras, convert and check it; return report and files."""
    start = time.perf_counter()
    model, shapes = build_model(network, masked=masked)
    import keras

    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"engine={network.engine!r} converts a network with TensorFlow, and Keras runs on "
            f"{keras.backend.backend()!r}. Compute one row with KERAS_BACKEND=tensorflow; from "
            "then on the network comes from the cache, and Keras is not needed."
        )
    runtime = _RUNTIMES[network.engine]
    parts = runtime.convert(model)
    inputs = _probe(network, shapes, masked)
    one_image = runtime(parts, 1)
    rows = [one_image([values[[index]] for values in inputs]) for index in range(len(inputs[0]))]
    error = relative_error(np.concatenate(rows), _keras_rows(model, inputs), network, shapes)
    if not error <= _TOLERANCE:
        raise RuntimeError(
            f"{network} on {network.engine} {engine_version(network.engine)} differs from Keras by "
            f"{error:.2g} of the largest value, expected {_TOLERANCE:g} at most. It is not used: "
            'take engine="keras", or another version of the engine.'
        )
    return {
        "engine": network.engine,
        "version": engine_version(network.engine),
        "max_relative_error": float(error),
        "seconds": round(time.perf_counter() - start, 3),
        "digest": hashlib.sha256(b"".join(parts.values())).hexdigest(),
        "shapes": shapes,
    }, parts


def _keras_rows(model, inputs):
    import tensorflow as tf

    # Graphics cards compute in reduced precision.
    with tf.device("CPU:0"):
        rows = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return np.asarray(rows)


def _probe(network, shapes, masked):
    """Return the inputs that a conversion is checked on: two images of noise, two smooth ones."""
    height, width = network.input_size
    rng = np.random.default_rng(0)
    down, across = np.linspace(0, 1, height)[:, np.newaxis], np.linspace(0, 1, width)
    smooth = [down * across, 0.5 + 0.5 * np.sin(9 * down) * np.cos(7 * across)]
    colours = np.array([0.9, 0.6, 1.0])
    pixels = np.concatenate(
        [rng.random((2, height, width, 3)), [plane[..., np.newaxis] * colours for plane in smooth]]
    )
    inputs = [preprocess(np.float32(255 * pixels), network.mode)]
    if masked:
        # One region is a point, smaller than any cell.
        regions = np.zeros((4, height, width), np.float32)
        for region, share in zip(regions, (0.3, 0.5, 0.9, 0)):
            region[: int(share * height) + 1, : int(share * width) + 1] = 1
        inputs += region_weights(regions, shapes)
    return inputs


def relative_error(rows, expected, network, shapes):
    """Return the largest difference between rows, relative to the scale of their columns.

    Parameters
    ----------
    rows, expected : ndarray of shape (n_images, n_features)
        What to compare, and with what.
    network : Network
        Tells, together with `shapes`, which columns belong together: those of a layer and pooling.
    shapes : tuple of tuple of int
        Height, width and channels of the feature map of each of the layers.

    Returns
    -------
    float
        The largest over the groups of columns of the largest difference divided by the largest
        magnitude. Magnitudes below 1e-20 count as that.
    """
    widths = [
        len(windows(pooling, *shape[:2])) * shape[2]
        for shape in shapes
        for pooling in network.pooling
    ]
    groups = np.cumsum(widths)[:-1]
    return max(
        np.abs(part - wanted).max() / max(np.abs(wanted).max(), _NOTHING)
        for part, wanted in zip(*(np.split(values, groups, axis=1) for values in (rows, expected)))
    )
