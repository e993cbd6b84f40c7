"""The OpenVINO engine: runs what Keras built, from a cache on disk."""

import hashlib
import io
import json
import os
import re
import sys
import tempfile
import threading
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from featbus.base import thread_limit
from featbus.files import written_whole
from featbus.networks._building import build_models, import_keras
from featbus.networks._comparison import check_cosine, make_images, relative_error
from featbus.networks._pooling import region_weights
from featbus.parameters import InvalidParameterError

# Part of the key that converted networks are stored under: goes up whenever conversion changes, or
# what is written. 4: the rows that Keras computes at conversion are written, too.
_CONVERSION_VERSION = 4
_PARTS = ("model.xml", "model.bin", "rows.npy")
_TOLERANCE = 1e-3
_HINTS = {"fp32": "f32", "bf16": "bf16"}
_IMPORTING = threading.Lock()
_CONVERTING = threading.Lock()  # OpenVINO sets the root logger's level meanwhile


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


def _import_openvino():
    """Import OpenVINO without the package that reports imports and conversions to its makers."""
    with _IMPORTING:
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


@contextmanager
def _named_tensorflow():
    """Tell OpenVINO the version of TensorFlow.

    To find it, OpenVINO 2026.4 deletes a name with `exec`, which from Python 3.13 on is not there
    (PEP 667).
    """
    if sys.version_info < (3, 13):
        yield
        return
    from openvino.frontend.tensorflow import utils

    before = utils.get_environment_setup
    utils.get_environment_setup = lambda framework: {"tensorflow": version("tensorflow")}
    try:
        yield
    finally:
        utils.get_environment_setup = before


def _export(model):
    """Return the files of OpenVINO's own format, for a model that takes one image at a time."""
    keras, _ = import_keras(), _import_openvino()
    signature = [
        keras.InputSpec(shape=(1, *tensor.shape[1:]), dtype="float32", name=f"input_{index}")
        for index, tensor in enumerate(model.inputs)
    ]
    with _CONVERTING, _named_tensorflow(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        model.export(
            str(path),
            format="openvino",
            verbose=False,
            input_signature=[signature if len(signature) > 1 else signature[0]],
        )
        return {file.name: file.read_bytes() for file in (path, path.with_suffix(".bin"))}


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
            f"compute in {precision}. OpenVINO finds {', '.join(sorted(capabilities))}."
        )


@cache
def _find_capabilities():
    """Return what OpenVINO says that the processor can do, and what it is called."""
    core = _import_openvino().Core()
    names = ("OPTIMIZATION_CAPABILITIES", "FULL_DEVICE_NAME")
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
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": n_threads,
        "INFERENCE_NUM_THREADS": n_threads,
        # Processes that run beside each other would all be pinned to the first core.
        "ENABLE_CPU_PINNING": False,
    }
    return core.compile_model(core.read_model(model, weights), "CPU", settings)


class _Runtime:
    """A network on OpenVINO, with one thread per image."""

    def __init__(self, parts, n_threads, precision="fp32"):
        compiled = compile_model(parts["model.xml"], parts["model.bin"], n_threads, precision)
        self._free = SimpleQueue()
        for _ in range(n_threads):
            self._free.put(compiled.create_infer_request())

    def __call__(self, pixels, weights, preprocess):
        """Return the row of one image, as an array of shape (1, n_features)."""
        request = self._free.get()
        try:
            # Conversion drops regions that no pooling uses.
            image, *regions = (tensor.data for tensor in request.input_tensors)
            preprocess(pixels, out=image)
            for region, values in zip(regions, weights):
                region[...] = values
            return request.infer()[0]
        finally:
            self._free.put(request)


class OpenVINOEngine:
    """A truncated network with its pooling, built by Keras and run by OpenVINO.

    The network is converted once, checked against Keras, and kept on disk. From there it is loaded
    without Keras and TensorFlow. Images run one at a time, each in one thread, and as many at once
    as `thread_limit` says; so a row depends on nothing but its image. One file serves all
    precisions; a network in reduced precision is checked whenever it is loaded, as its rows depend
    on the processor.

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
        `relative_error`, and the "seconds" that it took to build, convert and check; the SHA-256
        "digest" of the result, its name and this report; the "path" of the file, or None where none
        could be written. In reduced precision also "row_cosine", see `row_cosine`.

    Raises
    ------
    RuntimeError
        If Keras runs on another backend than TensorFlow, or if rows differ from those of Keras by
        more than 1e-3; or, in reduced precision, if the cosine is below 0.9.
    """

    def __init__(self, network):
        self._network = network
        self._preprocess = network.source.preprocessing
        self._running = threading.Lock()
        self._runtimes = {}
        self.report = self._load(masked=False)
        self.shapes = tuple(map(tuple, self.report.pop("shapes")))

    @staticmethod
    def release():
        """Return what rows depend on beside the network: the version of OpenVINO.

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
        masked = regions is not None
        with self._running:
            if masked not in self._runtimes:
                self._load(masked)
            runtime = self._runtimes[masked]

            def row(index):
                one = slice(index, index + 1)
                weights = region_weights(regions[one], self.shapes) if masked else []
                return runtime(pixels[one], weights, self._preprocess)

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
        runtime = _Runtime(parts, thread_limit(), self._network.precision)
        report |= {"precision": self._network.precision, "path": path and str(path)}
        if self._network.precision != "fp32":
            report["row_cosine"] = _check_rows(
                self._network, runtime, parts, report["shapes"], masked
            )
        self._runtimes[masked] = runtime
        return report


def _file_name(network, masked):
    """Return the name of a converted network, which stands for all that decides about its rows."""
    key = replace(network, precision="fp32").identity | {
        "masked": masked,
        "version": OpenVINOEngine.release(),
        "conversion": _CONVERSION_VERSION,
    }
    text = json.dumps(key, sort_keys=True, default=repr)
    digest = hashlib.sha256(text.encode()).hexdigest()
    name = re.sub(r"\W+", "_", network.source.name)
    return f"{name}-{digest[:32]}.openvino"


def _read(path):
    """Return report and files of a converted network, or None if there is none, or not that one."""
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            report = json.loads(_read_part(archive, "report.json"))
            parts = {name: _read_part(archive, name) for name in _PARTS}
        is_whole = report["digest"] == _digest(path.name, report, parts)
    except Exception:  # whatever is wrong with the file, a new one takes its place
        is_whole = False
    if is_whole:
        return report, parts
    warnings.warn(
        f"The converted network {str(path)!r} is damaged or was replaced: its digest does not "
        "match. It is converted again.",
        stacklevel=2,
    )
    return None


def _read_part(archive, name):
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED:  # as `_write` does; others can be of any size
        raise ValueError(name)
    return archive.read(entry)


def _digest(name, report, parts):
    """Return what the report's "digest" has to be."""
    report = {key: value for key, value in report.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps([name, report], sort_keys=True).encode())
    for part in _PARTS:
        digest.update(hashlib.sha256(parts[part]).digest())
    return digest.hexdigest()


def _write(path, report, parts):
    """Write a converted network; return the path, or None if it cannot be written."""
    try:
        # Whoever may write there decides about rows.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with written_whole(path) as hidden, zipfile.ZipFile(hidden, "x") as archive:
            for name, content in {"report.json": json.dumps(report), **parts}.items():
                archive.writestr(name, content)
    except OSError as error:
        warnings.warn(
            f"The converted network cannot be kept in {str(path.parent)!r}: {error}. It "
            "is converted again in each process. Set the environment variable FEATBUS_CACHE to a "
            "folder that can be written.",
            stacklevel=2,
        )
        return None
    return path


def _convert(network, masked):
    """Build a network with Keras, convert and check it; return report and files."""
    start = time.perf_counter()
    shapes, model = build_models(network, masked)
    keras = import_keras()
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            'engine="openvino" converts a network with TensorFlow, and Keras runs on '
            f"{keras.backend.backend()!r}. Compute one row with KERAS_BACKEND=tensorflow; from "
            "then on the network comes from the cache, and Keras is not needed."
        )
    parts = _export(model)
    pixels, weights = _probe(network, shapes, masked)
    expected = _keras_rows(model, [network.source.preprocessing(pixels), *weights])
    parts["rows.npy"] = _as_npy(expected)
    rows = _run_each(_Runtime(parts, 1), pixels, weights, network.source.preprocessing)
    error = relative_error(rows, expected, network, shapes)
    if not error <= _TOLERANCE:
        raise RuntimeError(
            f"{network.source} on OpenVINO {OpenVINOEngine.release()} differs from Keras by "
            f"{error:.2g} of the largest value, expected {_TOLERANCE:g} at most. It is not used: "
            'take engine="keras", or another version of OpenVINO.'
        )
    report = {
        "engine": "openvino",
        "version": OpenVINOEngine.release(),
        "max_relative_error": float(error),
        "seconds": round(time.perf_counter() - start, 3),
        "shapes": shapes,
    }
    return report | {"digest": _digest(_file_name(network, masked), report, parts)}, parts


def _as_npy(rows):
    file = io.BytesIO()
    np.save(file, rows, allow_pickle=False)
    return file.getvalue()


def _run_each(runtime, pixels, weights, preprocess):
    """Return the rows of some images, one after another."""
    rows = [
        runtime(pixels[one], [values[one] for values in weights], preprocess)
        for one in (slice(index, index + 1) for index in range(len(pixels)))
    ]
    return np.concatenate(rows)


def _check_rows(network, runtime, parts, shapes, masked):
    """Compare rows in reduced precision with those of Keras; return the least cosine."""
    rows = _run_each(runtime, *_probe(network, shapes, masked), network.source.preprocessing)
    expected = np.load(io.BytesIO(parts["rows.npy"]), allow_pickle=False)
    return check_cosine(rows, expected, network, shapes)


def _keras_rows(model, inputs):
    import tensorflow as tf

    # Graphics cards compute in reduced precision.
    with tf.device("CPU:0"):
        rows = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return np.asarray(rows)


def _probe(network, shapes, masked):
    """Return pixels and weights of the check."""
    height, width = network.source.input_size
    weights = []
    if masked:
        # One region is a point, smaller than any cell.
        regions = np.zeros((4, height, width), np.float32)
        for region, share in zip(regions, (0.3, 0.5, 0.9, 0)):
            region[: int(share * height) + 1, : int(share * width) + 1] = 1
        weights = region_weights(regions, shapes)
    return make_images((height, width)), weights
