"""Engines that run ONNX files: ONNX Runtime and OpenVINO."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from queue import SimpleQueue
from textwrap import shorten

import numpy as np

from featbus.base import thread_limit
from featbus.networks._onnx_trial import runtime_release, try_in_child
from featbus.networks._openvino import check_cosine, compile_model, make_images, relative_error
from featbus.networks._pooling import pool_array, region_weights
from featbus.parameters import InvalidParameterError

_TOLERANCE = 1e-3


class OnnxEngine:
    """A truncated ONNX graph, whose tensors are pooled in NumPy: the base of both engines.

    Images run one at a time, each in one thread, and as many at once as `thread_limit` says; so a
    row depends on nothing but its image. Before the first run, the graph is tried in a child
    process, see `try_in_child`.

    Parameters
    ----------
    network : Network
        What to run; its source is an `OnnxModel`.

    Attributes
    ----------
    shapes : tuple of tuple of int
        Height, width and channels of the feature map of each of the layers.
    report : dict
        "engine" and its "version"; the "seconds" that it took to read, try and load the network.

    Raises
    ------
    InvalidParameterError
        If the runtime cannot run the network, or its tensors have other shapes than expected.
    """

    runtime = None

    def __init__(self, network):
        start = time.perf_counter()
        source = network.source
        self._layers = [source.find_layer(name) for name in network.layers]
        self._path = source.path
        self._pooling = network.pooling
        self._precision = network.precision
        self._preprocess = source.preprocessing
        self._channels_first = source.channels_first
        self._running = threading.Lock()
        self.shapes = tuple(layer.shape for layer in self._layers)
        graph = source.truncate(self._layers)
        self._try(graph, source, self.runtime)
        self._infer = self._load(graph)
        self.report = {"engine": self.runtime, "version": self.release()}
        self.report |= self._check(graph, network)
        self.report["seconds"] = round(time.perf_counter() - start, 3)

    @classmethod
    def release(cls):
        """Return what rows depend on beside the network: the version of the runtime.

        Returns
        -------
        str
            The version.
        """
        return runtime_release(cls.runtime)

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

        def row(index):
            region = None if regions is None else regions[index : index + 1]
            return self._row(self._infer, pixels[index], region)

        with self._running, ThreadPoolExecutor(min(thread_limit(), len(pixels))) as executor:
            return np.stack(list(executor.map(row, range(len(pixels)))))

    def _row(self, infer, pixels, region=None):
        """Return the row of one image."""
        values = self._preprocess(pixels)
        if self._channels_first:
            values = np.moveaxis(values, 2, 0)
        try:
            outputs = infer(np.ascontiguousarray(values[np.newaxis], np.float32))
        except Exception as error:  # what runtimes raise has no common class
            raise RuntimeError(
                f"The ONNX file {self._path!r} cannot be run on {self.runtime} {self.release()}: "
                f"{shorten(str(error) or repr(error), 500)} If memory is short, take a smaller "
                "input_size or fewer threads."
            ) from error
        shares = [None] * len(outputs)
        if region is not None:
            shares = [share[0] for share in region_weights(region, self.shapes)]
        return np.concatenate(
            [
                self._pool(*layer.split(output), share)
                for layer, output, share in zip(self._layers, outputs, shares)
            ]
        )

    def _pool(self, cells, prefix, share):
        """Return the part of a row that comes from one layer."""
        return np.concatenate(
            [
                prefix[0] if name == "cls" else pool_array(cells, name, share)
                for name in self._pooling
            ]
        )

    def _try(self, graph, source, runtime):
        """Run the graph in a child process."""
        found = try_in_child(graph, runtime, name=source.path)
        for layer in self._layers:
            shape = source.tensor_shape(layer)
            if found[layer.tensor] != shape:
                raise InvalidParameterError(
                    f"The tensor {layer.tensor!r} of {source.path!r} has the shape "
                    f"{found[layer.tensor]}, expected {shape} for one image of {source.input_size} "
                    "pixels. Export it again for this input_size."
                )

    def _load(self, graph):
        """Return a function from one image to the tensors of the layers."""
        raise NotImplementedError

    def _check(self, graph, network):
        """Return what the report says about the rows, after a check of them."""
        return {}


class OnnxRuntimeEngine(OnnxEngine):
    """An ONNX file on ONNX Runtime, see `OnnxEngine`."""

    runtime = "onnxruntime"

    def _load(self, graph):
        return _load_onnxruntime(graph)


class OnnxOpenVINOEngine(OnnxEngine):
    """An ONNX file on OpenVINO, see `OnnxEngine`.

    If ONNX Runtime is installed, the rows of two images are compared with those that it computes:
    "max_relative_error" of the report. More than 1e-3 is an error. Rows in reduced precision are
    compared with those in single precision: "row_cosine" of the report, see `check_cosine`.
    """

    runtime = "openvino"

    def _load(self, graph):
        return _load_openvino(graph, self._precision)

    def _check(self, graph, network):
        images = make_images(network.source.input_size)[::2]  # noise, and a smooth one

        def rows_of(infer):
            return np.stack([self._row(infer, image) for image in images])

        rows, report = rows_of(self._infer), {"precision": self._precision}
        if self._precision != "fp32":
            reduced, rows = rows, rows_of(_load_openvino(graph, "fp32"))
            report["row_cosine"] = check_cosine([reduced], [rows], network)
        if find_spec("onnxruntime") is None:
            return report
        self._try(graph, network.source, "onnxruntime")
        expected = rows_of(_load_onnxruntime(graph))
        error = relative_error([rows], [expected])
        if not error <= _TOLERANCE:
            raise RuntimeError(
                f"{network.source.path!r} on OpenVINO {self.release()} differs from ONNX Runtime "
                f"by {error:.2g} of the largest value, expected {_TOLERANCE:g} at most. It is not "
                'used: take engine="onnxruntime", or another version of OpenVINO.'
            )
        return report | {"max_relative_error": error}


def _load_onnxruntime(graph):
    """Load a graph; return a function from one image to its outputs."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    return lambda values: session.run(None, {image.name: values})


def _load_openvino(graph, precision):
    """Load a graph; return a function from one image to its outputs."""
    n_threads = thread_limit()
    compiled = compile_model(graph, None, n_threads, precision)
    n_outputs, free = len(compiled.outputs), SimpleQueue()
    for _ in range(n_threads):
        free.put(compiled.create_infer_request())

    def infer(values):
        request = free.get()
        try:
            results = request.infer([values], share_inputs=True)
            return [results[index] for index in range(n_outputs)]
        finally:
            free.put(request)

    return infer
