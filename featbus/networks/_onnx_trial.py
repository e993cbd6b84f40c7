"""The first run of an ONNX model: in a child process, since a runtime may crash on a bad file."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings

from featbus.files import written_whole
from featbus.networks import _onnx_child
from featbus.networks._onnx_checks import shorten
from featbus.networks._openvino import OpenVINOEngine, cache_dir
from featbus.parameters import InvalidParameterError

RUNTIMES = ("onnxruntime", "openvino")
_SECONDS = 120
_MEMORY = 4 << 30  # bytes, besides those for the model itself
_COPIES = 8  # of the model, while a runtime loads it
_TRIAL_VERSION = 2  # goes up when more is checked, or told


def try_in_child(model, runtime="onnxruntime", *, name="model.onnx", seconds=_SECONDS):
    """Run one image through a model, in a child process with limits on time and memory.

    What passes is remembered in `cache_dir`, so that it is tried once per version of the runtime.

    Parameters
    ----------
    model : bytes
        What `truncate` returned.
    runtime : {"onnxruntime", "openvino"}, default="onnxruntime"
        What runs it.
    name : str, default="model.onnx"
        The file to name in errors.
    seconds : float, default=120
        After this time the child process is ended. Its memory is limited to 4 GiB and 8 times the
        size of the model, except on Windows.

    Returns
    -------
    dict of str to tuple of int
        The shapes of the outputs, by name.

    Raises
    ------
    ImportError
        If the runtime is not installed.
    InvalidParameterError
        If the runtime refuses the model, crashes, hangs or needs too much memory, or if an output
        is not finite.
    """
    release = runtime_release(runtime)
    key = {
        "model": hashlib.sha256(model).hexdigest(),
        "runtime": runtime,
        "release": release,
        "trial": _TRIAL_VERSION,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = cache_dir() / "onnx" / f"{digest[:32]}.json"
    shapes = _read_verdict(path, key)
    if shapes is None:
        shapes = _try(model, runtime, f"The ONNX file {name!r} on {runtime} {release}", seconds)
        _write_verdict(path, key, shapes)
    return {name: tuple(shape) for name, shape in shapes.items()}


def runtime_release(runtime):
    """Return the version of a runtime.

    Parameters
    ----------
    runtime : {"onnxruntime", "openvino"}
        Its package.

    Returns
    -------
    str
        The version.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    if runtime == "openvino":
        try:
            return OpenVINOEngine.release()
        except ImportError as error:
            raise ImportError(
                f'engine="openvino" needs OpenVINO: pip install "featbus[openvino]" ({error})'
            ) from error
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f'ONNX files need ONNX Runtime: pip install "featbus[onnx]" ({error})'
        ) from error
    return onnxruntime.__version__


def _read_verdict(path, key):
    """Return the shapes that a trial gave, or None if there was none."""
    try:
        if not path.is_file():  # a pipe would block
            return None
        verdict = json.loads(path.read_text(encoding="utf-8"))
        shapes = verdict["shapes"]
        sides = [side for shape in shapes.values() for side in shape]
        valid = verdict["key"] == key and all(type(side) is int for side in sides)
        return shapes if valid else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # tried again


def _write_verdict(path, key, shapes):
    try:
        # Whoever may write there decides what is run without a trial.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with written_whole(path) as hidden:
            hidden.write_text(json.dumps({"key": key, "shapes": shapes}), encoding="utf-8")
    except OSError as error:
        warnings.warn(
            f"The result of a first run cannot be kept in {str(path.parent)!r}: {error}. The "
            "model is tried again in each process. Set the environment variable FEATBUS_CACHE to a "
            "folder that can be written.",
            stacklevel=3,
        )


def _try(model, runtime, what, seconds):
    """Run the child; return shapes, or raise what happened."""
    limit = _MEMORY + _COPIES * len(model)
    with tempfile.TemporaryFile() as said:
        try:
            child = subprocess.run(
                [sys.executable, "-P", _onnx_child.__file__, runtime, str(limit)],
                input=model,
                stdout=subprocess.PIPE,
                stderr=said,
                timeout=seconds,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except subprocess.TimeoutExpired:
            raise _refused(
                what, f"did not end within {seconds:g} seconds", "Take a smaller input_size."
            ) from None
        said.seek(max(0, said.tell() - 2000))
        printed = said.read().decode(errors="replace")
    return _judge(child, what, limit, printed)


def _judge(child, what, limit, printed):
    """Return the shapes that a child tells, or raise what happened to it."""
    if child.returncode == _onnx_child.TOO_LARGE:
        raise _refused(
            what, f"needs more than {limit >> 20} MB of memory", "Take a smaller input_size."
        )
    try:
        answer = json.loads(child.stdout)
    except ValueError:
        raise _refused(
            what,
            f"crashed in its first run, which was in a process of its own: {_ended(child)} "
            + shorten(printed, 300),
            "The file is damaged or made to do harm, or the runtime has a bug: get the file from "
            "where it was made, or install another version of the runtime.",
        ) from None
    if "error" in answer:
        raise _refused(
            what,
            f"cannot be run: {shorten(answer['error'])}",
            "Export it again for this input_size, or choose other layers.",
        )
    if answer["not_finite"]:
        raise _refused(
            what,
            f"computes NaN or infinity in {', '.join(answer['not_finite'])}",
            "Export it as float32.",
        )
    return answer["shapes"]


def _ended(child):
    """Say how a process ended."""
    if child.returncode < 0:
        known = {number.value: number.name for number in signal.Signals}
        return f"signal {known.get(-child.returncode, -child.returncode)}."
    return f"exit status {child.returncode}."


def _refused(what, happened, remedy):
    return InvalidParameterError(f"{what} {happened.rstrip('. ')}. {remedy}")
