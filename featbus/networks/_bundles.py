"""Bundles: folders of weights files with an index, for machines without internet access."""

import json
import os
import shlex
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from numbers import Integral

from featbus.networks._backbones import BACKBONES, get_backbone
from featbus.networks._engines import Network, _import_keras, build_base
from featbus.networks._weights import INDEX, check_weights, file_digest

# Keras has weights of these that were trained at other sizes, and takes those that fit the input.
_OTHER_SIZES = {"mobilenet": (128, 160, 192), "mobilenet_v2": (96, 128, 160, 192)}
# Giving an option its default changes nothing.
_DEFAULTS = {"alpha": 1, "minimalistic": False}


@dataclass(frozen=True)
class _Entry:
    """A file of a bundle, as the index has it."""

    network: str
    options: dict
    input_size: int
    file: str
    sha256: str
    bytes: int
    source: str
    keras: str
    date: str

    @property
    def key(self):
        return _key(self.network, self.options, self.input_size)


def _key(name, options=None, input_size=None):
    """Return the network whose weights Keras takes for an input of this size."""
    size = BACKBONES[name].input_size if input_size is None else input_size
    height, width = (size, size) if isinstance(size, Integral) else size
    trained_at = BACKBONES[name].input_size
    if height == width and height in _OTHER_SIZES.get(name, ()):
        trained_at = int(height)
    chosen = {key: value for key, value in (options or {}).items() if value != _DEFAULTS.get(key)}
    return Network(name, (trained_at, trained_at), options=tuple(sorted(chosen.items())))


def _label(key):
    return f"{key} trained at {key.input_size[0]} pixels"


def _command(key, folder):
    """Return the command that enters a network into a bundle."""
    options = "".join(f" --option {name}={value}" for name, value in key.options)
    if key.input_size[0] != BACKBONES[key.backbone].input_size:
        options += f" --input-size {key.input_size[0]}"
    return f"featbus weights fetch {key.backbone}{options} --out {shlex.quote(folder)}"


def _read_index(folder):
    """Return the entries of a bundle."""
    path = os.path.join(folder, INDEX)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"Found no weights bundle {folder!r}, expected a folder with a file {INDEX}. "
            f"`featbus weights fetch NAME --out {folder}` makes one."
        )
    try:
        with open(path, encoding="utf-8") as file:
            entries = [_Entry(**entry) for entry in json.load(file)["files"]]
        for entry in entries:
            get_backbone(entry.network, entry.options)
            hash(entry.key)
            if os.path.basename(entry.file) != entry.file:
                raise ValueError(f"the file {entry.file!r} lies in another folder")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"The index {path!r} of a weights bundle cannot be read: {error!r}. Copy the bundle "
            "again, or fetch its networks into a new folder."
        ) from error
    return entries


def _write_index(folder, entries, scratch):
    """Replace the index of a bundle in one step; `scratch` is a folder on the same disk."""
    path = os.path.join(scratch, INDEX)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"files": [asdict(entry) for entry in entries]}, file, indent=2)
        file.write("\n")
    os.replace(path, os.path.join(folder, INDEX))


def _state(folder, entry):
    path = os.path.join(folder, entry.file)
    if not os.path.isfile(path):
        return "missing"
    return "verified" if file_digest(path) == entry.sha256 else "damaged"


def resolve_weights(weights, backbone, options=None, input_size=None):
    """Return the file of an estimator's weights, verified where a bundle holds it.

    Parameters
    ----------
    weights : "imagenet", str, path or None
        The parameter `weights` of an estimator: a file, or a folder that is a bundle. "imagenet" is
        looked up in the bundle that the environment variable ``FEATBUS_WEIGHTS`` names, if any, and
        then nowhere else.
    backbone : str
        A key of `BACKBONES`.
    options : dict or None, default=None
        Parameters of the backbone's builder.
    input_size : int, tuple of int or None, default=None
        Height and width of the input in pixels. None: what the network was trained at.

    Returns
    -------
    weights : str or None
        The path of a file, "imagenet": Keras knows where, or None: random.
    digest : str or None
        SHA-256 digest of the file's content.

    Raises
    ------
    FileNotFoundError
        If there is no such file or bundle, or the bundle lacks the network.
    ValueError
        If the file is not the one that the bundle's index describes, or the index is damaged.
    """
    weights = check_weights(weights)
    folder, hint = weights, ""
    if weights == "imagenet":
        folder = os.environ.get("FEATBUS_WEIGHTS")
        hint = " While FEATBUS_WEIGHTS names a bundle, 'imagenet' means the weights in there."
    if not folder:
        return weights, None
    if folder == weights and os.path.isfile(weights):
        return weights, file_digest(weights)
    key = _key(backbone, options, input_size)
    entries = {entry.key: entry for entry in _read_index(folder)}
    if key not in entries:
        raise FileNotFoundError(
            f"The weights bundle {folder!r} lacks {_label(key)}. It has: "
            f"{', '.join(map(_label, entries)) or 'nothing'}. On a machine with internet access: "
            f"{_command(key, folder)}.{hint}"
        )
    path = os.path.join(folder, entries[key].file)
    _verify(path, entries[key])
    return path, entries[key].sha256


def _verify(path, entry):
    """Raise an error if a file is not the one that the index describes."""
    again = (
        "Do not use it: copy the bundle again, or fetch the file again: "
        f"{_command(entry.key, os.path.dirname(path))}."
    )
    if not os.path.isfile(path):
        raise FileNotFoundError(f"The weights file {path!r} of {entry.key} is missing. {again}")
    digest = file_digest(path)
    if digest != entry.sha256:
        raise ValueError(
            f"The weights file {path!r} of {entry.key} is truncated or was changed: expected "
            f"sha256 {entry.sha256} ({entry.bytes} bytes), found {digest} "
            f"({os.path.getsize(path)} bytes). {again}"
        )


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
        If there is no such network or option, or the file holds the weights of another network.
    """
    get_backbone(name, options)
    if source is not None and not os.path.isfile(source):
        raise FileNotFoundError(f"source is {os.fspath(source)!r}, and there is no such file.")
    key, out = _key(name, options, input_size), os.fspath(out)
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
        _write_index(out, sorted(entries, key=lambda entry: str(entry.key)), scratch)
    for file in {old.file for old in known} - {entry.file for entry in entries}:
        if os.path.isfile(os.path.join(out, file)):
            os.remove(os.path.join(out, file))
    return os.path.join(out, entry.file)


def _entries(folder):
    return _read_index(folder) if os.path.exists(os.path.join(folder, INDEX)) else []


def _describe(key, path, origin):
    digest = file_digest(path)
    return _Entry(
        network=key.backbone,
        options=dict(key.options),
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
    build_base(replace(key, weights=path))
    return path


def _download(key, folder):
    """Download ImageNet weights into a folder, and load them; return the path and the URL."""
    with _downloads_to(folder) as downloads:
        try:
            build_base(replace(key, weights="imagenet"))
        except OSError as error:
            raise OSError(
                f"The ImageNet weights of {key} could not be fetched: {error.__cause__}. Get "
                f"{downloads[-1][1]} by other means, and pass the file as source."
            ) from error
    return downloads[-1]


@contextmanager
def _downloads_to(folder):
    """Have Keras download into a folder; collect paths and URLs."""
    original = _import_keras().utils.get_file
    # Keras reads KERAS_HOME when it is imported, which may long have happened.
    module = sys.modules[original.__module__]
    downloads = []

    def get_file(fname, origin, **options):
        downloads.append((os.path.join(folder, fname), origin))
        return original(fname, origin, **{**options, "cache_dir": folder, "cache_subdir": ""})

    module.get_file = get_file
    try:
        yield downloads
    finally:
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
        One row a file: ``network``, ``options``, ``input_size`` in pixels, ``file``, ``sha256``,
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
    entries = _read_index(folder)
    table = pd.DataFrame(map(asdict, entries), columns=[field.name for field in fields(_Entry)])
    return table.assign(state=[_state(folder, entry) for entry in entries])
