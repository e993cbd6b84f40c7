"""The index of a weights bundle: what its files are, and their digests."""

import json
import os
import re
import shlex
from dataclasses import dataclass
from difflib import get_close_matches

from featbus.networks._onnx_checks import shorten
from featbus.networks._onnx_file import onnx_digest
from featbus.networks._preprocessing import NAMED, as_preprocessing
from featbus.networks._small_cnn import SmallCNN
from featbus.networks._sources import BACKBONES, file_digest, get_backbone
from featbus.parameters import InvalidParameterError, as_pair
from featbus.wording import named

INDEX = "weights.json"
MODEL_FILES = (".onnx", ".keras")
_LONGEST_TEXT = 300  # characters in a message
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII | re.IGNORECASE)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"\w[\w.-]*\w")
_MOST = 1_000  # entries


@dataclass(frozen=True)
class Entry:
    """A file of a weights bundle, as the index has it.

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
        Digest of the file.
    bytes : int
        Its size.
    source : str
        Where it comes from.
    license : str or None
        The license of the weights.
    preprocessing : dict or None
        What the model was trained on, see `as_preprocessing`; None for weights of a backbone.
    keras : str or None
        The version of Keras that loaded it.
    date : str
        The day of the fetch.
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
    keras: str | None
    date: str

    @property
    def is_model(self):
        """Whether the file has a whole model, not the weights of a backbone."""
        return self.preprocessing is not None

    @property
    def label(self):
        """How errors call the network."""
        return self.network if self.is_model else label(self.network, self.options)


def label(name, options):
    """Return how errors call a backbone.

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


def check_model_name(name):
    """Check the name that a model gets in a bundle.

    Parameters
    ----------
    name : str
        The name.

    Raises
    ------
    InvalidParameterError
        If it is that of another network, or no name.
    """
    if name in BACKBONES or SmallCNN.accepts(name):
        raise InvalidParameterError(
            f"name is {name!r}, which is a network of featbus, expected another name for a model "
            "of your own."
        )
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidParameterError(
            f"name is {name!r}, expected 1 to 64 letters, digits and underscores that begin with "
            "a letter: columns are named after it."
        )


def model_file(name, digest, ending):
    """Return the path of a model inside a bundle.

    Parameters
    ----------
    name : str
        The model's name.
    digest : str
        Digest of the file, which keeps files of one name apart.
    ending : str
        One of `MODEL_FILES`.

    Returns
    -------
    str
        The path, with slashes.
    """
    return f"{digest[:8]}/{name}{ending}"


def fetch_command(name, options, input_size, folder):
    """Return the command that enters the weights of a backbone into a bundle.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`.
    options : dict
        Parameters of its builder.
    input_size : int
        Height and width in pixels that the weights were trained at.
    folder : str
        The bundle.

    Returns
    -------
    str
        The command.
    """
    pairs = sorted(options.items())
    flags = "".join(f" --options.{key} {shlex.quote(str(value))}" for key, value in pairs)
    if input_size != BACKBONES[name].input_size:
        flags += f" --input_size {input_size}"
    return f"featbus weights fetch {name}{flags} --out {shlex.quote(folder)}"


def _fetch_model_command(entry, folder):
    """Return the command that enters a model into a bundle again."""
    preprocessing = as_preprocessing(entry.preprocessing)
    names = [name for name, known in NAMED.items() if known == preprocessing]
    texts = {
        "--source": "MODEL" + os.path.splitext(entry.file)[1],
        "--preprocessing": names[0] if names else "PREPROCESSING.json",
        "--license": entry.license or "unknown",
        "--origin": entry.source,
        "--out": folder,
    }
    height, width = entry.input_size
    if height == width:  # otherwise the file tells
        texts["--input_size"] = height
    flags = " ".join(_flag(name, str(text)) for name, text in texts.items())
    command = f"featbus weights fetch {entry.network} {flags}"
    if names:
        return command
    content = json.dumps(preprocessing.identity)
    return f"{command}, where PREPROCESSING.json has {content}"


def _flag(name, text):
    """Return a flag with its value, as a shell takes it; nothing in the text can do harm."""
    text = text if text.isprintable() and len(text) <= _LONGEST_TEXT else "TEXT"
    if text.startswith("-"):  # which would be another flag
        return f"{name}={shlex.quote(text)}"
    return f"{name} {shlex.quote(text)}"


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
    ValueError
        If the index is damaged.
    """
    path = os.path.join(folder, INDEX)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"Found no weights bundle {folder!r}, expected a folder with a file {INDEX}. "
            f"`featbus weights fetch NAME --out {shlex.quote(folder)}` makes one."
        )
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)["files"]
        if len(found) > _MOST:
            raise ValueError(f"it has {len(found)} entries, expected at most {_MOST}")
        entries = [Entry(**entry) for entry in found]
        for entry in entries:
            _check_texts(entry)
            (_check_model if entry.is_model else _check_weights)(entry)
        names = [entry.network for entry in entries if entry.is_model]
        if len(set(names)) < len(names):
            raise ValueError("several of its models have one name, expected different names")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidParameterError(
            f"The index {path!r} of a weights bundle cannot be read: {shorten(repr(error))}. "
            "Copy the bundle again, or fetch its networks into a new folder."
        ) from error
    return entries


def _check_texts(entry):
    """Refuse an entry whose texts and numbers are of other types, or that has no digest."""
    for key in ("network", "file", "sha256", "source", "date"):
        if not isinstance(getattr(entry, key), str):
            raise TypeError(f"{key} is {getattr(entry, key)!r}, expected a text")
    for key in ("license", "keras"):
        if not isinstance(getattr(entry, key), str | None):
            raise TypeError(f"{key} is {getattr(entry, key)!r}, expected a text or null")
    "".join(map(str, (entry.source, entry.license, entry.keras, entry.date))).encode()  # Unicode
    if not _DIGEST.fullmatch(entry.sha256):
        raise ValueError(f"sha256 is {entry.sha256!r}, expected 64 hexadecimal digits")
    if type(entry.bytes) is not int or entry.bytes < 0:
        raise ValueError(f"bytes is {entry.bytes!r}, expected a number of bytes")


def _check_weights(entry):
    """Refuse an entry of weights that cannot be what `fetch_weights` writes."""
    get_backbone(entry.network, entry.options)
    hash(tuple(entry.options.values()))
    if not _FILE.fullmatch(entry.file) or entry.file.casefold() == INDEX:
        raise ValueError(
            f"the file is {entry.file!r}, expected a name of letters, digits and _.- in the bundle"
        )
    _check_side(entry.input_size)


def _check_model(entry):
    """Refuse an entry of a model that cannot be what `fetch_weights` writes."""
    check_model_name(entry.network)
    if entry.options != {}:
        raise ValueError(f"options is {entry.options!r}, and {entry.network} is a model")
    if not isinstance(entry.preprocessing, dict):
        raise TypeError(f"preprocessing is {entry.preprocessing!r}, expected a dict")
    as_preprocessing(entry.preprocessing)
    height, width = entry.input_size
    _check_side(height)
    _check_side(width)
    files = [model_file(entry.network, entry.sha256, ending) for ending in MODEL_FILES]
    if entry.file not in files:
        raise ValueError(f"the file is {entry.file!r}, expected one of {files}")


def _check_side(side):
    if type(side) is not int or side < 1:
        raise ValueError(f"input_size is {side!r}, expected a number of pixels")


def verify(folder, entry):
    """Return the path of a file, which has to be the one that the index describes.

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
    path = os.path.join(folder, *entry.file.split("/"))
    if entry.is_model:
        again = _fetch_model_command(entry, folder)
    else:
        again = fetch_command(entry.network, entry.options, entry.input_size, folder)
    again = f"copy the bundle again, or fetch the file again: {again}"
    if not os.path.isfile(path):
        raise FileNotFoundError(f"The weights file {path!r} of {entry.label} is missing: {again}")
    again = f"Do not use it: {again}"
    digest = file_digest(path)
    if digest != entry.sha256:
        raise InvalidParameterError(
            f"The weights file {path!r} of {entry.label} is truncated or was changed: expected "
            f"sha256 {entry.sha256} ({entry.bytes} bytes), found {digest} "
            f"({os.path.getsize(path)} bytes). {again}"
        )
    if path.endswith(".onnx") and onnx_digest(path) != digest:
        raise InvalidParameterError(
            f"The file {path!r} of {entry.label} refers to other files, which are not verified, "
            f"expected all weights in one. {again}"
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


def find_model(parameters):
    """Replace the name of a model in a bundle by its file and what the bundle knows about it.

    Parameters
    ----------
    parameters : dict
        `backbone`, `weights`, `preprocessing`, `input_size` and others of an estimator.

    Returns
    -------
    dict
        The parameters; the same ones if `backbone` is no name, or that of a network of featbus.

    Raises
    ------
    FileNotFoundError
        If the bundle, or the file of the model, is missing.
    InvalidParameterError
        If the bundle has no such model, or another preprocessing or input size than is given.
    """
    name, weights = parameters["backbone"], parameters["weights"]
    is_name = isinstance(name, str) and _NAME.fullmatch(name)
    if not is_name or name in BACKBONES or SmallCNN.accepts(name):
        return parameters
    folder = find_folder(weights)
    is_path = isinstance(weights, (str, os.PathLike)) and weights != "imagenet"
    if is_path and not os.path.exists(weights):
        folder = os.fspath(weights)  # that is missing
    if not folder:
        return parameters
    entries = {entry.network: entry for entry in read_index(folder) if entry.is_model}
    if name not in entries:
        near = get_close_matches(name, [*entries, *BACKBONES], n=1)
        raise InvalidParameterError(
            f"{named('backbone')} is {name!r}, expected a name that `list_backbones` has, the path "
            f"of an ONNX or '.keras' file, a keras.Model, or a model of the weights bundle "
            f"{folder!r}, which has {sorted(entries) or 'none'}."
            + (f" Did you mean {near[0]!r}?" if near else "")
        )
    entry = entries[name]
    known = _known(entry, parameters["preprocessing"], parameters["input_size"])
    return parameters | known | {"backbone": verify(folder, entry), "weights": "imagenet"}


def _known(entry, preprocessing, input_size):
    """Return what a bundle knows about a model; refuse what contradicts it."""
    known = {
        "preprocessing": as_preprocessing(entry.preprocessing),
        "input_size": tuple(entry.input_size),
    }
    given = {
        "preprocessing": preprocessing and as_preprocessing(preprocessing),
        "input_size": input_size and as_pair(input_size),
    }
    for key, value in given.items():
        if value not in (None, known[key]):
            found = value if key == "input_size" else value.identity
            raise InvalidParameterError(
                f"{named(key)} is {found!r}, expected None or {getattr(entry, key)!r}, which the "
                f"weights bundle has for {entry.network!r}. Pass the path of the file as backbone "
                "to choose another."
            )
    return known
