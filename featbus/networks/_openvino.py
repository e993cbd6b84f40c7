"""The OpenVINO engine: runs what Keras built, from a cache on disk."""

import hashlib
import json
import os
import re
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from featbus.base import thread_limit
from featbus.files import written_whole
from featbus.networks._building import build_maps, import_keras
from featbus.networks._pooling import pool_rows
from featbus.parameters import InvalidParameterError

# Part of the key that converted networks are stored under: goes up whenever conversion changes, or
# what is written. 5: feature maps, which are pooled in NumPy.
_CONVERSION_VERSION = 5
_TOLERANCE = 1e-3
_NOTHING = 1e-20  # activations that random weights let decay to this are rounded to zero
_LEAST_COSINE = 0.9  # of rows in reduced precision
_LOCK = threading.Lock()  # of the import, and of conversions, which set the root logger's level


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


@cache
def _import_openvino():
    """Import OpenVINO without the package that reports imports and conversions to its makers."""
    with _LOCK:
        reports = "openvino_telemetry" not in sys.modules
        if reports:
            sys.modules["openvino_telemetry"] = None  # its ImportError is caught
        try:
            import openvino
        finally:
            if reports:
                del sys.modules["openvino_telemetry"]
        # The first call makes a table; two threads that make it at once wait forever.
        openvino.Type.f32.to_dtype()
    return openvino


def check_precision(precision):
    """Check whether OpenVINO can compute in a precision on this processor.

    Parameters
    ----------
    precision : {"bf16"}
        The precision.

    Raises
    ------
    InvalidParameterError
        If it cannot; the message names the processor.
    """
    capabilities, processor = _find_capabilities()
    if precision.upper() not in capabilities:
        raise InvalidParameterError(
            f"precision is {precision!r}, expected 'fp32': the processor {processor} does not "
            f"compute in {precision}, only in {', '.join(sorted(capabilities))}."
        )


@cache
def _find_capabilities():
    """Return the precisions that the processor computes in, and its name."""
    core, names = _import_openvino().Core(), ("OPTIMIZATION_CAPABILITIES", "FULL_DEVICE_NAME")
    return tuple(core.get_property("CPU", name) for name in names)


def compile_model(model, weights, n_threads, precision):
    """Compile a network for the processor, for requests that run in one thread each.

    Parameters
    ----------
    model : bytes
        The network, in OpenVINO's own format or in that of ONNX.
    weights : bytes or None
        The weights; None where `model` contains them.
    n_threads : int
        Number of requests that run at a time.
    precision : {"fp32", "bf16"}
        What to compute in.

    Returns
    -------
    openvino.CompiledModel
        The network.
    """
    core = _import_openvino().Core()
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": n_threads,
        "INFERENCE_NUM_THREADS": n_threads,
        # Processes that run side by side would all be pinned to the first core.
        "ENABLE_CPU_PINNING": False,
    }
    return core.compile_model(core.read_model(model, weights), "CPU", settings)


def load_model(model, weights, precision):
    """Compile a network, for as many threads as `thread_limit` says.

    Parameters
    ----------
    model, weights, precision : object
        See `compile_model`.

    Returns
    -------
    callable
        From the values of one image to the list of the network's outputs.
    """
    compiled = compile_model(model, weights, thread_limit(), precision)

    def infer(values):
        results = compiled.create_infer_request().infer([values], share_inputs=True)
        return [results[output] for output in compiled.outputs]

    return infer


class OpenVINOEngine:
    """A truncated network, built by Keras and run by OpenVINO; its maps are pooled in NumPy.

    The network is converted once, checked against Keras, and kept on disk. From there it is loaded
    without Keras and TensorFlow. Images run one at a time, each in one thread, and as many at once
    as `thread_limit` says; so a row depends on nothing but its image. One file serves all
    precisions; a network in reduced precision is compared with single precision whenever it is
    loaded, as its rows depend on the processor.

    Parameters
    ----------
    network : Network
        What to run.

    Attributes
    ----------
    shapes : tuple of tuple of int
        Height, width and channels of the feature map of each of the layers.
    report : dict
        "engine", its "version" and the "precision"; "max_relative_error" in "fp32", see
        `relative_error`, and the "seconds" that it took to build, convert and check; the "path" of
        the file, or None where none could be written. In reduced precision also "row_cosine", see
        `check_cosine`.

    Raises
    ------
    RuntimeError
        If Keras runs on another backend than TensorFlow, or if rows differ from those of Keras by
        more than 1e-3; or, in reduced precision, if the cosine is below 0.9.
    """

    def __init__(self, network):
        self._network = network
        self._running = threading.Lock()
        path = cache_dir() / _file_name(network)
        stored = _read(path)
        if stored is None:
            stored = self._convert()
            path = _write(path, *stored)
        report, parts = stored
        self.shapes = tuple(map(tuple, report.pop("shapes")))
        self.report = report | {"precision": network.precision, "path": path and str(path)}
        self._infer = load_model(*parts, network.precision)
        if network.precision != "fp32":
            expected = self._compute_groups(load_model(*parts, "fp32"))
            self.report["row_cosine"] = check_cosine(
                self._compute_groups(self._infer), expected, network
            )

    @staticmethod
    def release():
        """Return what rows depend on in addition to the network: the version of OpenVINO.

        Returns
        -------
        str
            The version.
        """
        return _import_openvino().__version__.partition("-")[0]

    def run(self, pixels, batch_size, regions=None):
        """Compute the rows of a batch.

        Parameters
        ----------
        pixels : ndarray of uint8 or float32 of shape (n_images, height, width, 3 or 1)
            RGB or gray, 0..255, in the network's input size.
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
        preprocess, pooling = self._network.source.preprocessing, self._network.pooling

        def row(index):
            one = slice(index, index + 1)
            maps = self._infer(preprocess(pixels[one]))
            return pool_rows(maps, pooling, None if regions is None else regions[one])

        with self._running, ThreadPoolExecutor(min(thread_limit(), len(pixels))) as executor:
            return np.concatenate(list(executor.map(row, range(len(pixels)))))

    def _convert(self):
        """Build a network with Keras, convert and check it; return report and files."""
        start = time.perf_counter()
        model = build_maps(self._network)
        keras = import_keras()
        if keras.backend.backend() != "tensorflow":
            raise RuntimeError(
                'engine="openvino" converts a network with TensorFlow, and Keras runs on '
                f"{keras.backend.backend()!r}. Compute one row with KERAS_BACKEND=tensorflow; from "
                "then on the network comes from the cache, and Keras is not needed."
            )
        parts = _export(model)
        expected = self._compute_groups(lambda image: _compute_maps(model, image))
        error = relative_error(self._compute_groups(load_model(*parts, "fp32")), expected)
        if not error <= _TOLERANCE:
            raise RuntimeError(
                f"{self._network.source} on OpenVINO {self.release()} differs from Keras by "
                f"{error:.2g} of the largest value, expected {_TOLERANCE:g} at most. It is not "
                'used: take engine="keras", or another version of OpenVINO.'
            )
        report = {
            "engine": "openvino",
            "version": self.release(),
            "max_relative_error": error,
            "seconds": round(time.perf_counter() - start, 3),
            "shapes": [tensor.shape[1:] for tensor in model.outputs],
        }
        return report, parts

    def _compute_groups(self, infer):
        """Return the rows of a few images, split into those of each layer and pooling."""
        source = self._network.source
        images = make_images(source.input_size)
        maps = [infer(source.preprocessing(image[np.newaxis])) for image in images]
        return [
            pool_rows([np.concatenate(layer)], [name])
            for layer in zip(*maps)
            for name in self._network.pooling
        ]


def _file_name(network):
    """Return the name of a converted network, which stands for all that its rows depend on."""
    key = replace(network, precision="fp32").identity | {
        "version": OpenVINOEngine.release(),
        "conversion": _CONVERSION_VERSION,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=repr).encode()).hexdigest()
    name = re.sub(r"\W+", "_", network.source.name)
    return f"{name}-{digest[:32]}.npz"


def _read(path):
    """Return report and files of a converted network; None if there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        # Reading an array to its end compares the checksum in the archive.
        with np.load(path, allow_pickle=False) as file:
            report, *parts = (file[name].tobytes() for name in ("report", "xml", "bin"))
        return json.loads(report), parts
    except Exception as error:  # what is raised depends on the damage
        warnings.warn(
            f"The converted network {str(path)!r} is damaged ({error}). It is converted again.",
            stacklevel=2,
        )
        return None


def _write(path, report, parts):
    """Write a converted network; return the path, or None if it cannot be written."""
    contents = zip(("report", "xml", "bin"), (json.dumps(report).encode(), *parts))
    try:
        # Whoever may write there decides about rows.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with written_whole(path) as hidden, open(hidden, "xb") as file:
            np.savez(file, **{name: np.frombuffer(part, np.uint8) for name, part in contents})
    except OSError as error:
        warnings.warn(
            f"The converted network cannot be kept in {str(path.parent)!r}: {error}. It "
            "is converted again in each process. Set the environment variable FEATBUS_CACHE to a "
            "folder that can be written.",
            stacklevel=2,
        )
        return None
    return path


def _export(model):
    """Return the files of OpenVINO's own format, for a model that takes one image at a time."""
    keras, _ = import_keras(), _import_openvino()
    image = model.inputs[0]
    signature = keras.InputSpec(shape=(1, *image.shape[1:]), dtype="float32", name="image")
    # To find this version, OpenVINO 2026.4 deletes a name with `exec`, which from Python 3.13 on is
    # not there (PEP 667).
    known = mock.patch(
        "openvino.frontend.tensorflow.utils.get_environment_setup",
        return_value={"tensorflow": version("tensorflow")},
    )
    with _LOCK, known, tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        model.export(str(path), format="openvino", verbose=False, input_signature=[signature])
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def _compute_maps(model, inputs):
    import tensorflow as tf

    # Graphics cards compute in reduced precision.
    with tf.device("CPU:0"):
        maps = model(inputs, training=False)
    return [np.asarray(layer) for layer in import_keras().tree.flatten(maps)]


def make_images(size):
    """Return the images that rows are compared on: coarse and fine noise.

    Parameters
    ----------
    size : tuple of int
        Height and width in pixels.

    Returns
    -------
    ndarray of float32 of shape (4, height, width, 3)
        Pixels of 0..255.
    """
    rng = np.random.default_rng(0)
    noise = [rng.random((side, side, 3), np.float32) for side in (3, 10, 40, max(size))]
    return np.stack([255 * cv2.resize(image, tuple(size[::-1])) for image in noise])


def relative_error(groups, expected):
    """Return the largest difference between rows, relative to the scale of their columns.

    Parameters
    ----------
    groups, expected : list of ndarray of shape (n_images, n_columns)
        What to compare, and with what: the columns of each layer and pooling.

    Returns
    -------
    float
        The largest over the groups of the largest difference divided by the largest magnitude.
        Magnitudes below 1e-20 count as that.
    """
    errors = [
        np.abs(group - wanted).max() / max(np.abs(wanted).max(), _NOTHING)
        for group, wanted in zip(groups, expected)
    ]
    return float(np.max(errors))


def check_cosine(groups, expected, network):
    """Check rows in reduced precision.

    Parameters
    ----------
    groups, expected : list of ndarray of shape (n_images, n_columns)
        See `relative_error`.
    network : Network
        What errors name.

    Returns
    -------
    float
        The cosine of the angle between rows: the smallest over the groups of the average over the
        images. The longer of two rows divides both, so that another length counts as another angle.

    Raises
    ------
    RuntimeError
        If it is below 0.9.
    """
    cosines = []
    for pair in zip(groups, expected):
        group, wanted = np.float64(pair)
        longer = np.maximum((group**2).sum(axis=1), (wanted**2).sum(axis=1))
        product = (group * wanted).sum(axis=1)
        cosines.append(np.mean((product + _NOTHING**2) / (longer + _NOTHING**2)))
    cosine = float(np.min(cosines))
    if not cosine >= _LEAST_COSINE:
        raise RuntimeError(
            f"{network.source} in {network.precision} has other rows than in fp32: the cosine "
            f"between them is {cosine:.3g}, expected {_LEAST_COSINE:g} at least. It is not used: "
            "take precision='fp32'."
        )
    return cosine
