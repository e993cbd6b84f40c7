"""Find a network: by its name, in a file, or in a weights bundle.

A bundle is a folder of network files with an index, which has their checksums.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from featbus.files import written_whole
from featbus.networks._applications import KerasApplication
from featbus.networks._models import KerasModel
from featbus.networks._onnx import OnnxModel
from featbus.networks._sources import BACKBONES, file_digest, get_backbone
from featbus.parameters import (
    POSITIVE_INTEGER,
    InvalidParameterError,
    PairOf,
    as_pair,
    check_parameters,
    make_folder,
)

SOURCES = (KerasApplication, OnnxModel, KerasModel)
_INDEX = "weights.json"
_KEY = ["network", "options", "input_size"]
_ENTRY = [*_KEY, "file", "sha256", "source", "license", "preprocessing"]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII | re.IGNORECASE)
# Keras has weights of these that were trained at other sizes, and takes those that fit the input.
_OTHER_SIZES = {"mobilenet": (128, 160, 192), "mobilenet_v2": (96, 128, 160, 192)}
# Giving an option its default changes nothing.
_DEFAULTS = {"alpha": 1, "minimalistic": False}


def find_source(**parameters):
    """Return where a network comes from; no network is loaded.

    Parameters
    ----------
    **parameters : dict
        `backbone`, `backbone_options`, `weights`, `preprocessing`, `input_size` and `random_state`
        of an estimator. Preprocessing and input size of a model in a bundle are used where these
        are None.

    Returns
    -------
    Source
        The source.

    Raises
    ------
    InvalidParameterError
        If there is no such backbone, a parameter does not suit it, or a file of a bundle is missing
        or damaged.
    OSError
        If another file or the bundle is missing, or the bundle lacks the network.
    """
    name, folder = parameters["backbone"], _find_folder(parameters["weights"])
    if folder and KerasApplication.accepts(name):
        key = _make_key(name, parameters["backbone_options"], parameters["input_size"])
        parameters["weights"] = check_file(folder, _find_weights(folder, key))
    elif folder and isinstance(name, str) and _NAME.fullmatch(name):
        for entry in read_index(folder):
            if entry["network"] == name:
                known = {"preprocessing": entry["preprocessing"], "input_size": entry["input_size"]}
                known = {key: value for key, value in known.items() if parameters[key] is None}
                parameters |= known | {"backbone": check_file(folder, entry), "weights": "imagenet"}
    for kind in SOURCES:
        if kind.accepts(parameters["backbone"]):
            return kind.from_parameters(**parameters)
    return get_backbone(parameters["backbone"])


def _find_folder(weights):
    """Return the bundle that the parameter `weights` of an estimator means, if any."""
    if isinstance(weights, str) and weights == "imagenet":
        return os.environ.get("FEATBUS_WEIGHTS") or None
    return os.fspath(weights) if weights is not None and os.path.isdir(weights) else None


def _make_key(name, options, input_size):
    """Return the part of an entry that says whose weights Keras takes for an input of some size."""
    row = get_backbone(name, options)
    height, width = as_pair(row.input_size if input_size is None else input_size)
    is_other = height == width and height in _OTHER_SIZES.get(name, ())
    size = as_pair(height if is_other else row.input_size)
    chosen = {key: value for key, value in (options or {}).items() if value != _DEFAULTS.get(key)}
    return dict(zip(_KEY, (name, chosen, list(map(int, size)))))


def _find_weights(folder, key):
    for entry in read_index(folder):
        if key.items() <= entry.items():
            return entry
    raise FileNotFoundError(
        f"The weights bundle {folder!r} lacks {key}. On a machine with internet access, "
        f"`featbus weights fetch {key['network']} --out {folder}` adds it, with the same options "
        "and input_size; `featbus weights list` shows what it has. While FEATBUS_WEIGHTS names a "
        "bundle, 'imagenet' means the weights in there."
    )


def read_index(folder):
    """Return the entries of a weights bundle.

    Parameters
    ----------
    folder : str
        The bundle.

    Returns
    -------
    list of dict
        One per file: its path in the bundle as "file" and its "sha256"; the "network" that it is
        for, a key of `BACKBONES` or the name of a model, with the "options" of the backbone's
        builder and the "input_size" in pixels; its "source" and "license"; and the "preprocessing"
        of a model, see `as_preprocessing`.

    Raises
    ------
    FileNotFoundError
        If there is no such bundle.
    InvalidParameterError
        If the index is damaged.
    """
    path = Path(folder, _INDEX)
    if not path.is_file():
        raise FileNotFoundError(
            f"Found no weights bundle {folder!r}, expected a folder with a file {_INDEX}. "
            f"`featbus weights fetch NAME --out {folder}` makes one."
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["files"]
        return [{name: entry[name] for name in _ENTRY} for entry in found]
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidParameterError(
            f"The index {str(path)!r} of a weights bundle cannot be read: {error!r:.300}. Copy the "
            "bundle again, or fetch its networks into a new folder."
        ) from error


def check_file(folder, entry):
    """Verify the checksum of a file, and return its path.

    Parameters
    ----------
    folder : str
        The bundle.
    entry : dict
        The file, see `read_index`.

    Returns
    -------
    str
        Its path.

    Raises
    ------
    InvalidParameterError
        If it is missing or another one.
    """
    path, state = os.path.join(folder, entry["file"]), _find_state(folder, entry)
    if state != "verified":
        raise InvalidParameterError(
            f"The weights file {path!r} of {entry['network']} is {state}, expected sha256 "
            f"{entry['sha256']}. Copy the bundle again, or fetch the network again with `featbus "
            "weights fetch`."
        )
    return path


def _find_state(folder, entry):
    path = os.path.join(folder, entry["file"])
    if not os.path.isfile(path):
        return "missing"
    return "verified" if file_digest(path) == entry["sha256"] else "damaged"


def find_entry(weights, digest):
    """Return the entry of a file in the bundle that the parameter `weights` means.

    Parameters
    ----------
    weights : "imagenet", str, path or None
        The parameter of an estimator: the folder of a bundle; for "imagenet" the one that the
        environment variable ``FEATBUS_WEIGHTS`` names.
    digest : str
        SHA-256 of the file.

    Returns
    -------
    dict or None
        See `read_index`; None if there is no such file, or no bundle.
    """
    folder = _find_folder(weights)
    entries = read_index(folder) if folder else []
    return next((entry for entry in entries if entry["sha256"] == digest), None)


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
    A file of the same network is replaced. Do not fetch into the same folder from two processes at
    once: one of the entries of the index can be lost.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`; or a name for the model in an ONNX or ``.keras`` file.
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

    Examples
    --------
    On the command line: ``featbus weights fetch vgg16 --out bundle``
    """
    check_parameters({"input_size": [PairOf(POSITIVE_INTEGER), None]}, {"input_size": input_size})
    if source is not None and not os.path.isfile(source):
        raise FileNotFoundError(f"source is {os.fspath(source)!r}, and there is no such file.")
    out, parameters = os.fspath(out), {"backbone_options": options, "preprocessing": preprocessing}
    if source is not None and name not in BACKBONES:
        if not (_NAME.fullmatch(name) and license):
            raise InvalidParameterError(
                f"name is {name!r} and license is {license!r}, expected letters, digits and "
                "underscores, not the name of a network of featbus, and the license of the "
                "weights, such as 'Apache-2.0', or 'unknown': a bundle is made to be passed on."
            )
        parameters |= {"backbone": source, "weights": "imagenet", "input_size": input_size}
        network = find_source(**parameters, random_state=0)
        network.list_layers()  # loads it
        key = dict(zip(_KEY, (name, {}, list(map(int, network.input_size)))))
        preprocessing, same, base = network.preprocessing.identity, _KEY[:1], None
        file = name + Path(source).suffix.lower()  # columns are named after it
    else:
        key, same = _make_key(name, options, input_size), _KEY
        parameters |= {"weights": source or "imagenet", "input_size": key["input_size"]}
        network = KerasApplication.from_parameters(backbone=name, **parameters, random_state=0)
        base = network.build()
        # Keras goes by the ending.
        ending = "".join(Path(source).suffixes[-2:]) if source else ".weights.h5"
        file = re.sub(r"\W+", "_", f"{network} {key['input_size'][0]}") + ending
    make_folder("out", out)
    entries = read_index(out) if os.path.exists(os.path.join(out, _INDEX)) else []
    with tempfile.TemporaryDirectory(dir=out, prefix=".fetch-") as scratch:
        path = os.path.join(scratch, file)
        if source is None:
            base.save_weights(path)
        else:
            shutil.copy(source, path)
        known = {"file": file, "sha256": file_digest(path), "license": license}
        os.replace(path, os.path.join(out, file))
    known |= {"preprocessing": preprocessing, "source": origin or ("file" if source else "Keras")}
    others = [entry for entry in entries if any(entry[part] != key[part] for part in same)]
    with written_whole(os.path.join(out, _INDEX)) as hidden:
        text = json.dumps({"files": [*others, key | known]}, indent=2)
        hidden.write_text(text + "\n", encoding="utf-8")
    return os.path.join(out, file)


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
        ``source``, ``license``, ``preprocessing`` and ``state``: "verified", "damaged" or
        "missing".

    Raises
    ------
    FileNotFoundError
        If there is no such bundle.
    ValueError
        If the index is damaged, or no bundle is named.

    Examples
    --------
    On the command line: ``featbus weights list bundle``
    """
    import pandas as pd

    folder = os.environ.get("FEATBUS_WEIGHTS") if folder is None else os.fspath(folder)
    if not folder:
        raise ValueError("Expected the folder of a weights bundle, or its name in FEATBUS_WEIGHTS.")
    entries = read_index(folder)
    states = [_find_state(folder, entry) for entry in entries]
    return pd.DataFrame(entries, columns=_ENTRY).assign(state=states)
