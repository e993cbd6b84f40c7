"""The index of a weights bundle: the networks in it, and the checksums of their files."""

import json
import os
import re
from dataclasses import dataclass, fields
from pathlib import Path

from featbus.networks._sources import BACKBONES, file_digest, get_backbone
from featbus.parameters import InvalidParameterError

INDEX = "weights.json"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """One file of a weights bundle: an entry of its index.

    Attributes
    ----------
    network : str
        A key of `BACKBONES`, whose weights the file has; or the name of the model in the file.
    options : dict
        Parameters of the backbone's builder.
    input_size : int or list of int
        Height and width in pixels; one number for the weights of a backbone.
    file : str
        The path inside the bundle.
    sha256 : str
        Checksum of the file.
    bytes : int
        Its size.
    source : str
        Where it comes from.
    license : str or None
        The license of the weights.
    preprocessing : dict or None
        What the model was trained on, see `as_preprocessing`; None for weights of a backbone.
    """

    network: str
    options: dict
    input_size: int | list[int]
    file: str
    sha256: str
    bytes: int
    source: str
    license: str | None
    preprocessing: dict | None

    @property
    def is_model(self):
        """Whether the file has a whole model, not the weights of a backbone."""
        return self.preprocessing is not None


def label(name, options):
    """Return the name of a backbone in messages.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`.
    options : dict
        Parameters of its builder.

    Returns
    -------
    str
        Such as "mobilenet_v2(alpha=0.35)".
    """
    spelled = ", ".join(f"{key}={value}" for key, value in sorted(options.items()))
    return f"{name}({spelled})" if spelled else name


def is_own_name(name):
    """Return whether a model may have a name in a bundle: columns are named after it.

    Parameters
    ----------
    name : object
        A parameter.

    Returns
    -------
    bool
        True for letters, digits and underscores that begin with a letter, unless this is the name
        of a network of featbus.
    """
    is_name = isinstance(name, str) and _NAME.fullmatch(name)
    return bool(is_name) and name not in BACKBONES


def read_index(folder):
    """Return the entries of a weights bundle.

    Parameters
    ----------
    folder : str
        The bundle.

    Returns
    -------
    list of Entry
        One per file.

    Raises
    ------
    FileNotFoundError
        If there is no such bundle.
    InvalidParameterError
        If the index is damaged.
    """
    path = os.path.join(folder, INDEX)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"Found no weights bundle {folder!r}, expected a folder with a file {INDEX}. "
            f"`featbus weights fetch NAME --out {folder}` makes one."
        )
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))["files"]
        names = [field.name for field in fields(Entry)]
        entries = [Entry(**{name: entry[name] for name in names}) for entry in found]
        for entry in entries:
            entry.is_model or get_backbone(entry.network, entry.options)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidParameterError(
            f"The index {path!r} of a weights bundle cannot be read: {error!r:.300}. Copy the "
            "bundle again, or fetch its networks into a new folder."
        ) from error
    return entries


def verify(folder, entry):
    """Verify the checksum of a file, and return its path.

    Parameters
    ----------
    folder : str
        The bundle.
    entry : Entry
        The file.

    Returns
    -------
    str
        Its path.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InvalidParameterError
        If it is another one.
    """
    path = os.path.join(folder, entry.file)
    about = f"The weights file {path!r} of {label(entry.network, entry.options)}"
    again = f"Copy the bundle again, or fetch {entry.network} again with `featbus weights fetch`."
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{about} is missing. {again}")
    digest = file_digest(path)
    if digest != entry.sha256:
        raise InvalidParameterError(
            f"{about} is truncated or was changed: expected sha256 {entry.sha256}, found {digest}. "
            + again
        )
    return path


def find_folder(weights):
    """Return the bundle that the parameter `weights` of an estimator means, if any.

    Parameters
    ----------
    weights : "imagenet", str, path or None
        The parameter.

    Returns
    -------
    str or None
        A folder; for "imagenet" the one that the environment variable ``FEATBUS_WEIGHTS`` names.
    """
    if isinstance(weights, str) and weights == "imagenet":
        return os.environ.get("FEATBUS_WEIGHTS") or None
    return os.fspath(weights) if weights is not None and os.path.isdir(weights) else None


def find_entry(weights, digest):
    """Return the entry of a file in the bundle that the parameter `weights` means.

    Parameters
    ----------
    weights : "imagenet", str, path or None
        The parameter, see `find_folder`.
    digest : str
        SHA-256 of the file.

    Returns
    -------
    Entry or None
        None if there is no such file, or no bundle.
    """
    folder = find_folder(weights)
    entries = read_index(folder) if folder else []
    return next((entry for entry in entries if entry.sha256 == digest), None)


def find_model(parameters):
    """Replace the name of a model in a bundle by its file and what the bundle knows about it.

    Parameters
    ----------
    parameters : dict
        `backbone`, `weights`, `preprocessing`, `input_size` and others of an estimator.

    Returns
    -------
    dict
        The parameters, with the bundle's preprocessing and input size where these are None. The
        same ones if `backbone` is not the name of a model of one's own.

    Raises
    ------
    FileNotFoundError
        If the bundle, or the file of the model, is missing.
    InvalidParameterError
        If the bundle has no such model.
    """
    name, folder = parameters["backbone"], find_folder(parameters["weights"])
    if not (is_own_name(name) and folder):
        return parameters
    entries = {entry.network: entry for entry in read_index(folder) if entry.is_model}
    if name not in entries:
        raise InvalidParameterError(
            f"backbone is {name!r}, expected a name that `list_backbones` has, the path of an ONNX "
            f"or '.keras' file, a keras.Model, or a model of the weights bundle {folder!r}, which "
            f"has {sorted(entries)}."
        )
    entry = entries[name]
    known = {"preprocessing": entry.preprocessing, "input_size": tuple(entry.input_size)}
    known = {key: value for key, value in known.items() if parameters[key] is None}
    return parameters | known | {"backbone": verify(folder, entry), "weights": "imagenet"}
