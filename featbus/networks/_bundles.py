"""Weights bundles: how folders of weights files with an index are made and listed."""

import json
import os
import shutil
import socket
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version

from featbus.files import written_whole
from featbus.networks._building import import_keras
from featbus.networks._sources import (
    INDEX,
    Entry,
    bundle_key,
    file_digest,
    get_backbone,
    read_index,
)
from featbus.parameters import POSITIVE_INTEGER, check_parameters

_TIMEOUT = 60  # seconds without a byte, after which a download fails


def _state(folder, entry):
    path = os.path.join(folder, entry.file)
    if not os.path.isfile(path):
        return "missing"
    return "verified" if file_digest(path) == entry.sha256 else "damaged"


def fetch_weights(name, out, *, options=None, input_size=None, source=None):
    """Enter the weights of a network into a bundle, which is made if there is none.

    A file comes in only after the network has loaded it, and the index changes last, in one step.
    What is there and intact is not fetched again. Fetch into a folder from one process at a time:
    of two that end at once, the index keeps one's entry, and the other must be fetched again.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`.
    out : str or path
        The folder of the bundle.
    options : dict or None, default=None
        Parameters of the backbone's builder, such as ``{"alpha": 0.35}``.
    input_size : int or None, default=None
        Height and width in pixels that images will have: Keras has weights of "mobilenet" for 128,
        160, 192 and 224 pixels, and of "mobilenet_v2" also for 96. None: the network's own size.
    source : str, path or None, default=None
        A weights file of the network without its top. None: Keras downloads ImageNet's.

    Returns
    -------
    str
        The path of the file in the bundle.

    Raises
    ------
    OSError
        If the weights cannot be downloaded or read.
    ValueError
        If there is no such network or option, `input_size` is not a positive integer, or the file
        holds the weights of another network.
    """
    check_parameters({"input_size": [POSITIVE_INTEGER, None]}, {"input_size": input_size})
    get_backbone(name, options)
    if source is not None and not os.path.isfile(source):
        raise FileNotFoundError(f"source is {os.fspath(source)!r}, and there is no such file.")
    key, out = bundle_key(name, options, input_size), os.fspath(out)
    os.makedirs(out, exist_ok=True)
    known = [entry for entry in _entries(out) if entry.key == key]
    for entry in known:
        same = source is None or file_digest(source) == entry.sha256
        if same and _state(out, entry) == "verified":
            return os.path.join(out, entry.file)
    with tempfile.TemporaryDirectory(dir=out, prefix=".fetch-") as scratch:
        if source is None:
            path, origin = _download(key, scratch)
        else:
            path, origin = _copy(key, source, scratch), "file"
        entry = _describe(key, path, origin)
        os.replace(path, os.path.join(out, entry.file))
    entries = [*(other for other in _entries(out) if other.key != key), entry]
    _write_index(out, sorted(entries, key=lambda entry: str(entry.key)))
    for file in {old.file for old in known} - {entry.file for entry in entries}:
        if os.path.isfile(os.path.join(out, file)):
            os.remove(os.path.join(out, file))
    return os.path.join(out, entry.file)


def _entries(folder):
    return read_index(folder) if os.path.exists(os.path.join(folder, INDEX)) else []


def _write_index(folder, entries):
    with written_whole(os.path.join(folder, INDEX)) as path:
        text = json.dumps({"files": [asdict(entry) for entry in entries]}, indent=2)
        path.write_text(text + "\n", encoding="utf-8")


def _describe(key, path, origin):
    digest = file_digest(path)
    return Entry(
        network=key.name,
        options=key.options,
        input_size=key.input_size[0],
        # The digest keeps files of one name apart; Keras goes by the rest.
        file=f"{digest[:8]}-{os.path.basename(path)}",
        sha256=digest,
        bytes=os.path.getsize(path),
        source=origin,
        keras=version("keras"),
        date=datetime.now(UTC).date().isoformat(),
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


def list_weights(folder=None):
    """Return what a bundle holds, after reading every file.

    Parameters
    ----------
    folder : str, path or None, default=None
        The bundle. None: the one that the environment variable ``FEATBUS_WEIGHTS`` names.

    Returns
    -------
    pandas.DataFrame
        One row per file: ``network``, ``options``, ``input_size`` in pixels, ``file``, ``sha256``,
        ``bytes``, ``source``, ``keras``, ``date`` and ``state``: "verified", "damaged" or
        "missing".

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
