"""Runs one image through an ONNX model from standard input, and writes JSON on what came out.

A script of a process of its own, started by `_onnx_trial`: it imports nothing of featbus.
"""

import json
import os
import sys
import threading
import time
from contextlib import suppress

TOO_LARGE = 77  # exit status


def limit_memory(n_bytes):
    """End this process when it needs more memory, as far as the system allows.

    Parameters
    ----------
    n_bytes : int
        What it may need; without effect on Windows.
    """
    try:
        import resource
    except ImportError:
        return
    for kind, value in (("RLIMIT_CORE", 0), ("RLIMIT_DATA", n_bytes)):
        number = getattr(resource, kind)
        _, hard = resource.getrlimit(number)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(ValueError, OSError):  # macOS knows few of the limits
            resource.setrlimit(number, (value, hard))

    def watch():
        while _memory(resource) < n_bytes:
            time.sleep(0.02)
        os._exit(TOO_LARGE)

    threading.Thread(target=watch, daemon=True).start()


def _memory(resource):
    """Return how many bytes of memory this process uses, or has used."""
    try:
        # On Linux, the peak that `getrusage` knows begins with that of the parent.
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def run_onnxruntime(model, make_image):
    """Run one image with ONNX Runtime; return outputs by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {source.name: make_image(source.shape)})))


def run_openvino(model, make_image):
    """Run one image with OpenVINO; return outputs by name."""
    sys.modules["openvino_telemetry"] = None  # reports imports to its makers
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    read = core.read_model(model)
    compiled = core.compile_model(read, "CPU", settings)
    (source,) = compiled.inputs
    results = compiled.create_infer_request().infer([make_image(list(source.shape))])
    # Compiled outputs may have the name of a tensor that was reshaped to them.
    return {output.any_name: results[index] for index, output in enumerate(read.outputs)}


def make_image(shape):
    """Return a smooth image with noise, -1..1, of some shape."""
    import numpy as np

    n_values = int(np.prod(shape))
    values = np.sin(np.linspace(0, 30, n_values)) + np.random.default_rng(0).random(n_values) - 0.5
    return np.float32(values / 1.5).reshape(shape)


def main(runtime, n_bytes):
    """Run the model; return what to tell the parent."""
    import numpy as np

    limit_memory(int(n_bytes))
    run = {"onnxruntime": run_onnxruntime, "openvino": run_openvino}[runtime]
    try:
        outputs = run(sys.stdin.buffer.read(), make_image)
    except MemoryError:
        os._exit(TOO_LARGE)
    except Exception as error:  # whatever a runtime raises about a model
        return {"error": str(error)[:2000] or repr(error)}
    return {
        "shapes": {name: list(value.shape) for name, value in outputs.items()},
        "not_finite": [name for name, value in outputs.items() if not np.isfinite(value).all()],
    }


if __name__ == "__main__":
    # Runtimes may print; the parent reads one line only.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(main(*sys.argv[1:]), answer)
    answer.flush()
    os._exit(0)  # nothing is left to tidy up
