"""Weights bundles: how folders of weights files with an index are made and listed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import Any

from featbus.files import written_whole
from featbus.networks._applications import bundle_key
from featbus.networks._building import Network, import_keras
from featbus.networks._engines import check_engine, find_engine, find_source
from featbus.networks._index import INDEX, Entry, check_model_name, model_file, read_index
from featbus.networks._models import KerasModel
from featbus.networks._onnx_file import copy_onnx
from featbus.networks._preprocessing import as_preprocessing
from featbus.networks._sources import BACKBONES, file_digest, get_backbone
from featbus.parameters import (
    Interval,
    InvalidParameterError,
    PairOf,
    check_parameters,
    make_folder,
)
from featbus.wording import named

_TIMEOUT = 60  # seconds without a byte, after which a download fails
_SCRATCH = ".fetch-"
_DECIDES_ABOUT_ROWS = {
    "file": "sha256",
    "preprocessing": "preprocessing",
    "input size": "input_size",
}
_STALE = 24 * 3600  # seconds after which the folder of a fetch that was killed is removed


def _state(folder, entry):
    path = os.path.join(folder, entry.file)
    if not os.path.isfile(path):
        return "missing"
    return "verified" if file_digest(path) == entry.sha256 else "damaged"


def fetch_weights(
    name: str,
    out: str | os.PathLike = "featbus-weights",
    *,
    options: dict[str, Any] | None = None,
    input_size: int | None = None,
    source: str | os.PathLike | None = None,
    preprocessing: str | None = None,
    license: str | None = None,
    origin: str | None = None,
) -> Any:
    """Enter the weights of a network, or a model, into a bundle, which is made if there is none.

    A file comes in only after the network has loaded it, and the index changes last, in one step.
    Weights that are there and intact are not fetched again. Fetch into a folder from one process at
    a time: of two that end at once, the index keeps one's entry, and the other must be fetched
    again.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`; or a name for the model in an ONNX or ``.keras`` file, which replaces
        one of this name, with a warning if its file, preprocessing or input size is another.
    out : str or path
        The folder of the bundle.
    options : dict or None, default=None
        Parameters of the backbone's builder, such as ``{"alpha": 0.35}``.
    input_size : int, tuple of int or None, default=None
        Height and width in pixels that images will have: Keras has weights of "mobilenet" for 128,
        160, 192 and 224 pixels, and of "mobilenet_v2" also for 96. None: the network's own size.
        A model that takes any size needs one.
    source : str, path or None, default=None
        A file: the weights of the backbone without its top, or the model. External data of an ONNX
        file get into the same file. None: Keras downloads ImageNet's.
    preprocessing : str, dict, path or None, default=None
        What the model was trained on, see `featbus.DeepFeatures`; the bundle has its content. None:
        for a backbone, which has its own.
    license : str or None, default=None
        The license of the weights, such as "Apache-2.0"; a model needs one.
    origin : str or None, default=None
        Where `source` comes from, such as an address and a version.

    Returns
    -------
    str
        The path of the file in the bundle.

    Raises
    ------
    OSError
        If the weights cannot be downloaded or read.
    ValueError
        If there is no such network or option, a parameter is missing or invalid, or the file holds
        the weights of another network, or no model that `featbus.DeepFeatures` can use.
    """
    side = Interval(Integral, 1, None, closed="left")
    check_parameters(
        {
            "input_size": [PairOf(side) if _is_model(name, source) else side, None],
            "source": [str, os.PathLike, None],
            "license": [str, None],
            "origin": [str, None],
        },
        {"input_size": input_size, "source": source, "license": license, "origin": origin},
    )
    if source is not None and not os.path.isfile(source):
        raise FileNotFoundError(
            f"{named('source')} is {os.fspath(source)!r}, and there is no such file."
        )
    notes = {"license": license, "source": origin}
    out = os.fspath(out)
    if _is_model(name, source):
        return _enter_model(name, out, source, options, preprocessing, input_size, notes)
    get_backbone(name, options)
    for parameter, value, reason in (
        ("preprocessing", preprocessing, f"{name} has its own"),
        ("origin", None if source else origin, "Keras knows where it downloads from"),
    ):
        if value is not None:
            raise InvalidParameterError(
                f"{named(parameter)} is {value!r}, expected None: {reason}."
            )
    return _enter_weights(bundle_key(name, options, input_size), out, source, notes)


def _is_model(name, source):
    """Tell whether a file is entered as a model of its own, not as weights of a backbone."""
    return source is not None and (
        str(source).lower().endswith(".onnx")
        or (name not in BACKBONES and str(source).endswith(".keras"))
    )


def _enter_weights(key, out, source, notes):
    """Enter the weights of a backbone; return the path of the file."""
    make_folder("out", out)
    known = [entry for entry in _entries(out) if _is_for(entry, key)]
    for entry in known:
        same = source is None or file_digest(source) == entry.sha256
        same = same and all(text in (None, getattr(entry, key)) for key, text in notes.items())
        if same and _state(out, entry) == "verified":
            return os.path.join(out, entry.file)
    with _scratch(out) as scratch:
        if source is None:
            path, notes["source"] = _download(key, scratch)
        else:
            path = _copy(key, source, scratch)
        digest = file_digest(path)
        name = re.sub(r"[^\w.-]", "_", os.path.basename(path))
        entry = _describe(
            path,
            network=key.name,
            options=key.options,
            input_size=key.input_size[0],
            # The digest keeps files of one name apart; Keras goes by the rest.
            file=f"{digest[:8]}-{name}",
            preprocessing=None,
            **notes,
        )
        os.replace(path, os.path.join(out, entry.file))
    _replace_entries(out, known, entry)
    return os.path.join(out, entry.file)


@contextmanager
def _scratch(out):
    """Make a hidden folder for one fetch; remove those that killed ones have left."""
    for path in Path(out).glob(_SCRATCH + "*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE:
                shutil.rmtree(path)
    with tempfile.TemporaryDirectory(dir=out, prefix=_SCRATCH) as scratch:
        yield scratch


def _is_for(entry, key):
    """Tell whether an entry has the weights of a network."""
    parts = entry.network, entry.options, entry.input_size
    return not entry.is_model and bundle_key(*parts) == key


def _enter_model(name, out, source, options, preprocessing, input_size, notes):
    """Enter a model; return the path of the file."""
    check_model_name(name)
    if options:
        raise InvalidParameterError(
            f"{named('options')} is {options!r}, expected None: {name} is a model."
        )
    if not (notes["license"] or "").strip():
        raise InvalidParameterError(
            f"{named('license')} is missing, expected that of the weights, such as 'Apache-2.0', "
            "or 'unknown': who gets the bundle has to know what they may do with it."
        )
    preprocessing = as_preprocessing(preprocessing)
    model = _load_model(source, preprocessing, input_size)
    make_folder("out", out)
    known = [entry for entry in _entries(out) if entry.network == name]
    with _scratch(out) as scratch:
        path = os.path.join(scratch, name + os.path.splitext(source)[1].lower())
        (copy_onnx if path.endswith(".onnx") else shutil.copyfile)(source, path)
        digest = file_digest(path)
        entry = _describe(
            path,
            network=name,
            options={},
            input_size=list(map(int, model.input_size)),
            file=model_file(name, digest, os.path.splitext(path)[1]),
            preprocessing=preprocessing.identity,
            **notes,
        )
        changed = [
            what
            for what, key in _DECIDES_ABOUT_ROWS.items()
            if any(getattr(other, key) != getattr(entry, key) for other in known)
        ]
        if changed:
            warnings.warn(
                f"{name} had another {' and '.join(changed)} in the bundle {out!r}, which this one "
                "replaces.",
                stacklevel=3,
            )
        os.makedirs(os.path.join(out, digest[:8]), exist_ok=True)
        os.replace(path, os.path.join(out, entry.file))
    _replace_entries(out, known, entry)
    return os.path.join(out, entry.file)


def _load_model(path, preprocessing, input_size):
    """Load a model once; return it as a source."""
    source = find_source(
        backbone=path,
        backbone_options=None,
        weights="imagenet",
        preprocessing=preprocessing,
        input_size=input_size,
        random_state=0,
    )
    if isinstance(source, KerasModel):
        source.build()
    else:
        check_engine("onnxruntime", source)
        layer = "top" if "top" in source.taps else list(source.layers)[-1]
        find_engine(source, "onnxruntime")(Network(source, (layer,), ("avg",), "onnxruntime"))
    return source


def _replace_entries(out, old, entry):
    """Write the index with an entry instead of old ones, and remove the files of these."""
    entries = [*(other for other in _entries(out) if other not in old), entry]
    _write_index(out, sorted(entries, key=lambda entry: (entry.label, str(entry.input_size))))
    for file in {other.file for other in old} - {entry.file for entry in entries}:
        path = os.path.join(out, file)
        if os.path.isfile(path):
            os.remove(path)
        if "/" in file:
            with suppress(OSError):  # it holds something else
                os.rmdir(os.path.dirname(path))


def _entries(folder):
    return read_index(folder) if os.path.exists(os.path.join(folder, INDEX)) else []


def _write_index(folder, entries):
    with written_whole(os.path.join(folder, INDEX)) as path:
        text = json.dumps({"files": [asdict(entry) for entry in entries]}, indent=2)
        path.write_text(text + "\n", encoding="utf-8")


def _describe(path, **known):
    return Entry(
        sha256=file_digest(path),
        bytes=os.path.getsize(path),
        keras=None if path.endswith(".onnx") else version("keras"),
        date=datetime.now(UTC).date().isoformat(),
        **known | {"source": known["source"] or "file"},
    )


def _copy(key, source, folder):
    """Copy a file into a folder and load it once; return its path."""
    path = os.path.join(folder, os.path.basename(source))
    shutil.copyfile(source, path)
    replace(key, weights=path).build()
    return path


def _download(key, folder):
    """Download ImageNet weights into a folder, and load them; return the path and the URL."""
    with _downloads_to(folder) as downloads:
        try:
            replace(key, weights="imagenet").build()
        except OSError as error:
            raise OSError(
                f"The ImageNet weights of {key} could not be fetched: {error.__cause__}. Get "
                f"{downloads[-1][1]} by other means, and pass the file as source."
            ) from error
    return downloads[-1]


@contextmanager
def _downloads_to(folder):
    """Have Keras download into a folder, with a time-out; collect paths and URLs."""
    original = import_keras().utils.get_file
    # Keras reads KERAS_HOME when it is imported, which may long have happened.
    module = sys.modules[original.__module__]
    downloads = []

    def get_file(fname, origin, **options):
        downloads.append((os.path.join(folder, fname), origin))
        return original(fname, origin, **{**options, "cache_dir": folder, "cache_subdir": ""})

    module.get_file = get_file
    # Keras passes no time-out on.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield downloads
    finally:
        socket.setdefaulttimeout(before)
        module.get_file = original


def list_weights(folder: str | os.PathLike | None = None) -> Any:
    """Return what a bundle holds, after reading every file.

    Parameters
    ----------
    folder : str, path or None, default=None
        The bundle. None: the one that the environment variable ``FEATBUS_WEIGHTS`` names.

    Returns
    -------
    pandas.DataFrame
        One row per file: ``network``, ``options``, ``input_size`` in pixels, ``file``, ``sha256``,
        ``bytes``, ``source``, ``license``, ``preprocessing``, ``keras``, ``date`` and ``state``:
        "verified", "damaged" or "missing".

    Raises
    ------
    FileNotFoundError
        If there is no such bundle.
    ValueError
        If the index is damaged, or no bundle is named.
    """
    import pandas as pd

    folder = os.environ.get("FEATBUS_WEIGHTS") if folder is None else os.fspath(folder)
    if not folder:
        raise ValueError("Expected the folder of a weights bundle, or its name in FEATBUS_WEIGHTS.")
    entries = read_index(folder)
    table = pd.DataFrame(map(asdict, entries), columns=[field.name for field in fields(Entry)])
    return table.assign(state=[_state(folder, entry) for entry in entries])
