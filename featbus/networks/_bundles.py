"""Weights bundles: folders of network files, with an index and checksums."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from featbus.files import written_whole
from featbus.networks._applications import KerasApplication, bundle_key
from featbus.networks._engines import find_source
from featbus.networks._index import INDEX, Entry, is_own_name, read_index
from featbus.networks._sources import BACKBONES, file_digest
from featbus.parameters import (
    POSITIVE_INTEGER,
    InvalidParameterError,
    PairOf,
    check_parameters,
    make_folder,
)


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
    """Add the weights of a network, or a model, to a bundle; create the bundle if needed.

    A file is added only after the network has loaded it; the index is replaced last, in one step.
    Weights that are there and intact are not downloaded again. Do not fetch into the same folder
    from two processes at once: one of the entries of the index can be lost.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`; or a name for the model in an ONNX or ``.keras`` file, which replaces
        one of this name.
    out : str or path
        The folder of the bundle.
    options : dict or None, default=None
        Parameters of the backbone's builder, such as ``{"alpha": 0.35}``.
    input_size : int, tuple of int or None, default=None
        Height and width in pixels that images will have: Keras has weights of "mobilenet" for 128,
        160, 192 and 224 pixels, and of "mobilenet_v2" also for 96. None: the network's own size.
        A model that takes any size needs one.
    source : str, path or None, default=None
        A file: the weights of the backbone without its top, or the model. None: those that Keras
        has for ImageNet, which it downloads.
    preprocessing : str, dict, path or None, default=None
        Preprocessing of the model, see `featbus.DeepFeatures`; its content is stored in the bundle.
        Must be None for a backbone.
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
    is_model = source is not None and name not in BACKBONES
    check_parameters({"input_size": [PairOf(POSITIVE_INTEGER), None]}, {"input_size": input_size})
    if source is not None and not os.path.isfile(source):
        raise FileNotFoundError(f"source is {os.fspath(source)!r}, and there is no such file.")
    if is_model and not (is_own_name(name) and license):
        raise InvalidParameterError(
            f"name is {name!r} and license is {license!r}, expected letters, digits and "
            "underscores, not the name of a network of featbus, and the license of the weights, "
            "such as 'Apache-2.0', or 'unknown': a bundle is made to be passed on."
        )
    describe = find_source if is_model else KerasApplication.from_parameters
    network = describe(
        backbone=source if is_model else name,
        backbone_options=options,
        weights="imagenet" if is_model else None,
        preprocessing=preprocessing,
        input_size=input_size,
        random_state=0,
    )
    if is_model:
        network.list_layers()  # loads it
        preprocessing, size = network.preprocessing.identity, list(map(int, network.input_size))
    else:
        network = bundle_key(name, options, network.input_size)
        size, options = network.input_size[0], network.options
    known = {"network": name, "options": options or {}, "input_size": size}
    known["preprocessing"] = preprocessing
    out = os.fspath(out)
    make_folder("out", out)
    entries = read_index(out) if os.path.exists(os.path.join(out, INDEX)) else []
    keys = ["network"] if is_model else list(known)
    old = [entry for entry in entries if all(getattr(entry, key) == known[key] for key in keys)]
    if source is license is origin is None:
        for entry in old:
            if _state(out, entry) == "verified":
                return os.path.join(out, entry.file)
    known |= {"license": license, "source": origin or ("file" if source else "Keras")}
    entry = Entry(**known, **_copy_file(out, name, network, source))
    entries = [*(other for other in entries if other not in old), entry]
    with written_whole(os.path.join(out, INDEX)) as hidden:
        text = json.dumps({"files": [asdict(entry) for entry in entries]}, indent=2)
        hidden.write_text(text + "\n", encoding="utf-8")
    for file in {other.file for other in old} - {other.file for other in entries}:
        Path(out, Path(file).name).unlink(missing_ok=True)
    return os.path.join(out, entry.file)


def _copy_file(out, name, network, source):
    """Copy a file into a bundle, after the network has loaded it; return what identifies it."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".fetch-") as scratch:
        if source is None:
            path = Path(scratch, f"{name}.weights.h5")
            replace(network, weights="imagenet").build().save_weights(path)
        else:
            path = Path(shutil.copy(source, scratch))
        digest, file = file_digest(path), name + path.suffix.lower()  # columns are named after it
        if isinstance(network, KerasApplication):
            replace(network, weights=str(path), digest=digest).build()
            file = f"{digest[:8]}-{path.name}"  # Keras goes by the ending
        size = path.stat().st_size
        os.replace(path, os.path.join(out, file))
    return {"file": file, "sha256": digest, "bytes": size}


def _state(folder, entry):
    path = os.path.join(folder, entry.file)
    if not os.path.isfile(path):
        return "missing"
    return "verified" if file_digest(path) == entry.sha256 else "damaged"


def list_weights(folder: str | os.PathLike | None = None) -> Any:
    """Verify every file of a bundle, and list them.

    Parameters
    ----------
    folder : str, path or None, default=None
        The bundle. None: the one that the environment variable ``FEATBUS_WEIGHTS`` names.

    Returns
    -------
    pandas.DataFrame
        One row per file: ``network``, ``options``, ``input_size`` in pixels, ``file``, ``sha256``,
        ``bytes``, ``source``, ``license``, ``preprocessing`` and ``state``: "verified", "damaged"
        or "missing".

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
