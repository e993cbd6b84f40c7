"""Weights bundles: folders of networks' files with an index and checksums."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, fields, replace
from numbers import Integral
from pathlib import Path
from typing import Any

from featbus.files import written_whole
from featbus.networks._applications import bundle_key
from featbus.networks._engines import find_source
from featbus.networks._index import INDEX, Entry, is_own_name, read_index
from featbus.networks._sources import BACKBONES, file_digest, get_backbone
from featbus.parameters import (
    Interval,
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
    """Enter the weights of a network, or a model, into a bundle, which is made if there is none.

    A file comes in only after the network has loaded it, and the index changes last, in one step.
    Weights that are there and intact are not fetched again. Fetch into a folder from one process at
    a time: of two that end at once, the index keeps one's entry, and the other must be fetched
    again.

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
    is_model = source is not None and (
        str(source).lower().endswith(".onnx")
        or (name not in BACKBONES and str(source).endswith(".keras"))
    )
    side = Interval(Integral, 1, None, closed="left")
    allowed = {"input_size": [PairOf(side) if is_model else side, None]}
    check_parameters(allowed, {"input_size": input_size})
    if source is not None and not os.path.isfile(source):
        raise FileNotFoundError(f"source is {os.fspath(source)!r}, and there is no such file.")
    if is_model:
        if not (is_own_name(name) and (license or "").strip()):
            raise InvalidParameterError(
                f"name is {name!r} and license is {license!r}, expected letters, digits and "
                "underscores, not the name of a network of featbus, and the license of the "
                "weights, such as 'Apache-2.0', or 'unknown': a bundle is made to be passed on."
            )
        network = find_source(
            backbone=source,
            backbone_options=options,
            weights="imagenet",
            preprocessing=preprocessing,
            input_size=input_size,
            random_state=0,
        )
        network.list_layers()  # loads the model
        size = list(map(int, network.input_size))
        known = {"network": name, "preprocessing": network.preprocessing.identity}
    else:
        get_backbone(name, options)
        if preprocessing is not None:
            raise InvalidParameterError(
                f"preprocessing is {preprocessing!r}, expected None: {name} has its own."
            )
        network = bundle_key(name, options, input_size)
        size, options = network.input_size[0], network.options
        known = {"network": name, "preprocessing": None}
    known |= {"input_size": size, "options": options or {}}
    out = os.fspath(out)
    make_folder("out", out)
    entries = read_index(out) if os.path.exists(os.path.join(out, INDEX)) else []
    keys = ["network"] if is_model else list(known)
    old = [entry for entry in entries if all(getattr(entry, key) == known[key] for key in keys)]
    notes = {"license": license, "source": origin}
    for entry in old:
        same = source is None or file_digest(source) == entry.sha256
        same &= all(note in (None, getattr(entry, key)) for key, note in notes.items())
        if same and not is_model and _state(out, entry) == "verified":
            return os.path.join(out, entry.file)
    entry = _enter(out, network, source, known | notes)
    entries = [*(other for other in entries if other not in old), entry]
    entries.sort(key=lambda entry: (entry.network, str(entry.input_size)))
    with written_whole(os.path.join(out, INDEX)) as hidden:
        text = json.dumps({"files": [asdict(entry) for entry in entries]}, indent=2)
        hidden.write_text(text + "\n", encoding="utf-8")
    for file in {other.file for other in old} - {other.file for other in entries}:
        Path(out, file).unlink(missing_ok=True)
    return os.path.join(out, entry.file)


def _enter(out, network, source, known):
    """Copy a file into a bundle, after the network has loaded it; return its entry."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".fetch-") as scratch:
        if source is None:
            path = Path(scratch, f"{known['network']}.weights.h5")
            replace(network, weights="imagenet").build().save_weights(path)
        else:
            path = Path(shutil.copy(source, scratch))
        digest = file_digest(path)
        if known["preprocessing"] is not None:  # columns are named after the file of a model
            file = known["network"] + path.suffix.lower()
        else:  # the digest keeps files of one name apart; Keras goes by the rest
            replace(network, weights=str(path), digest=digest).build()
            file = f"{digest[:8]}-{path.name}"
        known |= {"file": file, "sha256": digest, "bytes": path.stat().st_size}
        os.replace(path, os.path.join(out, file))
    return Entry(**known | {"source": known["source"] or ("file" if source else "Keras")})


def _state(folder, entry):
    path = os.path.join(folder, entry.file)
    if not os.path.isfile(path):
        return "missing"
    return "verified" if file_digest(path) == entry.sha256 else "damaged"


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
