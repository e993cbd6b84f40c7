"""The OpenVINO engine for networks of Keras, which it converts once and keeps on disk."""

import hashlib
import json
import os
import re
import sys
import tempfile
import threading
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np

from featbus.base import thread_limit
from featbus.files import written_whole
from featbus.networks._building import build_maps, import_keras
from featbus.networks._pooling import ThreadedEngine
from featbus.parameters import InvalidParameterError

# Part of the key that converted networks are stored under: goes up whenever conversion changes, or
# what is written. 6: only the outputs of the model, also of those that have a "swish".
_CONVERSION_VERSION = 6
_LOCK = threading.Lock()  # of the import, and of conversions, which set the root logger's level


def cache_dir():
    """Return the folder that converted networks are kept in.

    Returns
    -------
    Path
        The environment variable ``FEATBUS_CACHE``; else ``featbus`` in ``XDG_CACHE_HOME``, or in
        ``~/.cache`` without it.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("FEATBUS_CACHE") or f"{caches}/featbus").expanduser()


@cache
def _import_openvino():
    """Import OpenVINO without its telemetry, which reports imports and conversions."""
    with _LOCK:
        reports = "openvino_telemetry" not in sys.modules
        if reports:
            sys.modules["openvino_telemetry"] = None  # its ImportError is caught
        try:
            import openvino
        finally:
            if reports:
                del sys.modules["openvino_telemetry"]
        # The first call builds a table; two threads that build it at once deadlock.
        openvino.Type.f32.to_dtype()
    return openvino


def find_release(engine):
    """Return what rows depend on in addition to the network.

    Parameters
    ----------
    engine : {"keras", "openvino", "onnxruntime"}
        The engine.

    Returns
    -------
    str
        The version of the engine; for Keras, of which nothing is imported, its backend.
    """
    if engine == "keras":
        return os.environ.get("KERAS_BACKEND", "tensorflow")
    package = _import_openvino() if engine == "openvino" else import_module(engine)
    return package.__version__.partition("-")[0]


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
    core = _import_openvino().Core()
    if precision.upper() not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise InvalidParameterError(
            f"precision is {precision!r}, expected 'fp32': the processor "
            f"{core.get_property('CPU', 'FULL_DEVICE_NAME')} does not compute in {precision}."
        )


def load_model(model, weights, precision):
    """Compile a network for the processor, for requests that run in one thread each.

    Parameters
    ----------
    model : bytes
        The network, in OpenVINO's own format or in that of ONNX.
    weights : bytes or None
        The weights; None where `model` contains them.
    precision : {"fp32", "bf16"}
        What to compute in.

    Returns
    -------
    callable
        From the values of one image to the list of the network's outputs. As many calls run at a
        time as `thread_limit` says.
    """
    core = _import_openvino().Core()
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": thread_limit(),
        "INFERENCE_NUM_THREADS": thread_limit(),
        # Processes that run side by side would all be pinned to the first core.
        "ENABLE_CPU_PINNING": False,
    }
    compiled = core.compile_model(core.read_model(model, weights), "CPU", settings)

    def infer(values):
        results = compiled.create_infer_request().infer([values], share_inputs=True)
        return [results[output] for output in compiled.outputs]

    return infer


class OpenVINOEngine(ThreadedEngine):
    """A truncated network, built by Keras and run by OpenVINO.

    The network is converted once, compared with Keras, and kept on disk. From there it is loaded
    without Keras and TensorFlow. One file serves all precisions; a network in reduced precision is
    compared with single precision whenever it is loaded, as its rows depend on the processor.

    Parameters
    ----------
    network : Network
        What to run.

    Attributes
    ----------
    shapes : tuple of tuple of int
        Height, width and channels of the feature map of each of the layers.
    report : dict
        "engine", its "version" and the "precision"; "shapes", see above; the "path" of the file;
        and "max_relative_error", see `compare`: of rows in single precision
        compared with those of Keras, or of rows in reduced precision compared with those.

    Raises
    ------
    RuntimeError
        If Keras runs on another backend than TensorFlow, or if rows differ, see `compare`.
    """

    def __init__(self, network):
        path = cache_dir() / _file_name(network)
        stored = _read(path)
        if stored is None:
            stored = _convert(network)
            _write(path, *stored)
        report, parts = stored
        super().__init__(network, report["shapes"], load_model(*parts, network.precision))
        self.report = report | {"path": str(path)}
        if network.precision != "fp32":
            self.report |= self.compare(load_model(*parts, "fp32"), "fp32")


def _convert(network):
    """Build a network with Keras, convert it and compare it; return its report and files."""
    model, keras = build_maps(network), import_keras()
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            'engine="openvino" converts a network with TensorFlow, and Keras runs on '
            f"{keras.backend.backend()!r}. Compute one row with KERAS_BACKEND=tensorflow; from "
            "then on the network comes from the cache, and Keras is not needed."
        )
    parts = _export(model)
    shapes = [list(tensor.shape[1:]) for tensor in model.outputs]
    engine = ThreadedEngine(replace(network, precision="fp32"), shapes, load_model(*parts, "fp32"))
    report = {"engine": "openvino", "version": find_release("openvino"), "shapes": shapes}
    return report | engine.compare(lambda image: _compute_maps(model, image), "Keras"), parts


def _file_name(network):
    """Return the name of a converted network, which stands for all that its rows depend on."""
    key = replace(network, precision="fp32").identity | {
        "version": find_release("openvino"),
        "conversion": _CONVERSION_VERSION,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=repr).encode()).hexdigest()
    name = re.sub(r"\W+", "_", network.source.name)
    return f"{name}-{digest[:32]}.npz"


def _read(path):
    """Return report and files of a converted network; None if there is none, or it is damaged."""
    try:
        # Reading an array to its end compares the checksum in the archive.
        with np.load(path, allow_pickle=False) as file:
            report, *parts = (file[name].tobytes() for name in ("report", "xml", "bin"))
        return json.loads(report), parts
    except Exception:  # what is raised depends on the damage
        return None


def _write(path, report, parts):
    """Write a converted network."""
    contents = zip(("report", "xml", "bin"), (json.dumps(report).encode(), *parts))
    try:
        # Whoever can write there can change rows.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with written_whole(path) as hidden, open(hidden, "xb") as file:
            np.savez(file, **{name: np.frombuffer(part, np.uint8) for name, part in contents})
    except OSError as error:
        raise OSError(
            f"The converted network cannot be kept in {str(path.parent)!r}: {error}. Set the "
            "environment variable FEATBUS_CACHE to a folder that can be written."
        ) from error


def _export(model):
    """Return the files of OpenVINO's own format, for a model that takes one image at a time."""
    keras, openvino = import_keras(), _import_openvino()
    signature = keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="float32", name="image")
    # To find this version, OpenVINO 2026.4 deletes a name with `exec`, which from Python 3.13 on is
    # not there (PEP 667).
    known = mock.patch(
        "openvino.frontend.tensorflow.utils.get_environment_setup",
        return_value={"tensorflow": version("tensorflow")},
    )
    with _LOCK, known, tempfile.TemporaryDirectory() as folder:
        path, pruned = Path(folder, "model.xml"), Path(folder, "pruned.xml")
        model.export(str(path), format="openvino", verbose=False, input_signature=[signature])
        converted = openvino.Core().read_model(path)
        # After the outputs of the model come those for the gradient of each "swish".
        for result in converted.get_results()[len(model.outputs) :]:
            converted.remove_result(result)
        openvino.serialize(converted, str(pruned))
        return pruned.read_bytes(), pruned.with_suffix(".bin").read_bytes()


def _compute_maps(model, values):
    import tensorflow as tf

    # Graphics cards compute in reduced precision.
    with tf.device("CPU:0"):
        maps = model(values, training=False)
    return [np.asarray(layer) for layer in import_keras().tree.flatten(maps)]
