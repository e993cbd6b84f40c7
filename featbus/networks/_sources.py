"""Sources: where a network comes from. The protocol, and the networks of `keras.applications`."""

import csv
import hashlib
import json
import os
import shlex
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files

from featbus.networks._building import STAGES, build_application, get_output
from featbus.networks._preprocessing import NAMED
from featbus.networks._requirements import needing_keras
from featbus.parameters import InvalidParameterError, as_pair
from featbus.wording import named

INDEX = "weights.json"

# Keras has weights of these that were trained at other sizes, and takes those that fit the input.
_OTHER_SIZES = {"mobilenet": (128, 160, 192), "mobilenet_v2": (96, 128, 160, 192)}
# Giving an option its default changes nothing.
_DEFAULTS = {"alpha": 1, "minimalistic": False}


class Source:
    """Where a network comes from: the protocol that estimators and engines rely on.

    Sources are equal, and share a network, if their `identity` is. Those that Keras builds inherit
    from `KerasSource`.

    Attributes
    ----------
    name : str
        The network's name, with which the names of columns begin.
    preprocessing : Preprocessing
        What the network was trained on.
    input_size : tuple of int
        Height and width of the input in pixels.
    engines : tuple of str
        The engines that can run it.
    digest : str or None
        Digest of the file or model that it comes from; None if there is none.
    identity : dict of str to object
        What decides about the rows, as JSON has it: the same on another machine.
    """

    engines = ()

    @classmethod
    def accepts(cls, backbone):
        """Tell whether `backbone` is a network of this kind.

        Parameters
        ----------
        backbone : object
            The parameter of an estimator.

        Returns
        -------
        bool
            True if it is. Nothing is imported or read.
        """
        raise NotImplementedError

    @classmethod
    def from_parameters(cls, **parameters):
        """Check parameters, and return the source that they describe; no network is loaded.

        Parameters
        ----------
        **parameters : dict
            `backbone`, `backbone_options`, `weights`, `preprocessing`, `input_size` and
            `random_state` of an estimator.

        Returns
        -------
        Source
            The source.
        """
        raise NotImplementedError

    def label(self, layer):
        """Return how the names of columns call a layer; check it as far as it is known.

        Parameters
        ----------
        layer : str
            "top", a stage or the name of a layer.

        Returns
        -------
        str
            `layer`, or the name of the layer that it stands for.

        Raises
        ------
        InvalidParameterError
            If it is certain that the network has no such layer.
        """
        return layer

    def __eq__(self, other):
        return isinstance(other, Source) and self.identity == other.identity

    def __hash__(self):
        return hash(json.dumps(self.identity, sort_keys=True, default=repr))

    def __str__(self):
        return self.name


class KerasSource(Source):
    """A network that Keras builds."""

    engines = ("keras", "openvino")

    def build(self):
        """Build the network without its classifier.

        Returns
        -------
        keras.Model
            From preprocessed images to feature maps, with weights; nobody else has it.
        """
        raise NotImplementedError

    def find_taps(self, base):
        """Return the feature maps of "top" and of the stages that the network has.

        Parameters
        ----------
        base : keras.Model
            What `build` returned.

        Returns
        -------
        dict of str to KerasTensor
            The outputs of some layers, in the order of the stages.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Backbone:
    """A network of `keras.applications`: a row of the table in backbones.csv.

    Attributes
    ----------
    builder : str
        Name of the function in `keras.applications`.
    preprocessing : {"caffe", "tf", "torch", "none"}
        See `NAMED`.
    taps : dict of str to str
        The tensors of the stages C1 to C5, of stride 2, 4, 8, 16 and 32, where encoder-decoders
        take their skip connections. A layer's name means its output, ``"<name"`` its input,
        ``">output"`` the output of the network; C5 always is the output, and "top" the same.
        ConvNeXt has no C1.
    parameters : int
        Number of its weights, without the top.
    widths : dict of str to int
        Channels at the stages.
    top_1 : float or None
        Accuracy on ImageNet's validation images in percent, as Keras publishes it.
    input_size : int
        Height and width in pixels that the ImageNet weights were trained at.
    options : tuple of str
        Parameters of the builder that change the architecture.
    """

    builder: str
    preprocessing: str
    taps: dict
    parameters: int
    widths: dict
    top_1: float | None
    input_size: int
    options: tuple[str, ...]


def _read_backbone(row):
    taps = {stage: row[stage] for stage in STAGES if row[stage]}
    return Backbone(
        builder=row["builder"],
        preprocessing=row["preprocessing"],
        taps=taps | {"top": taps["C5"]},
        parameters=int(row["parameters"]),
        widths={stage: int(row[f"{stage}_width"]) for stage in taps},
        top_1=float(row["top_1"]) if row["top_1"] else None,
        input_size=int(row["input_size"]),
        options=tuple(row["options"].split()),
    )


with files(__package__).joinpath("backbones.csv").open(encoding="utf-8", newline="") as _table:
    BACKBONES = {row["name"]: _read_backbone(row) for row in csv.DictReader(_table)}


def get_backbone(name, options=None):
    """Return a row of the table, and check the options of its builder.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`.
    options : dict or None, default=None
        Parameters of the builder.

    Returns
    -------
    Backbone
        The row.

    Raises
    ------
    InvalidParameterError
        If there is no such backbone, or it has no such option.
    """
    if not isinstance(name, str) or name not in BACKBONES:
        near = get_close_matches(str(name).lower(), BACKBONES, n=1)
        raise InvalidParameterError(
            f"{named('backbone')} is {name!r}, expected one of {sorted(BACKBONES)}, the path of a "
            "'.keras' file or a keras.Model." + (f" Did you mean {near[0]!r}?" if near else "")
        )
    backbone = BACKBONES[name]
    if set(options or {}) - set(backbone.options):
        expected = f"options among {list(backbone.options)}" if backbone.options else "no options"
        raise InvalidParameterError(
            f"backbone_options is {options!r}, expected {expected} for {name}."
        )
    return backbone


def file_digest(path):
    """Return the SHA-256 digest of a file's content.

    Parameters
    ----------
    path : str or path
        The file. It is read again only after it has changed.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    status = os.stat(path)
    times = status.st_mtime_ns, status.st_ctime_ns
    return _file_digest(os.path.abspath(path), times, status.st_size)


@lru_cache(maxsize=64)
def _file_digest(path, times, size):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, eq=False)
class KerasApplication(KerasSource):
    """A network of the table.

    Attributes
    ----------
    name : str
        A key of `BACKBONES`.
    input_size : tuple of int
        Height and width of the input in pixels.
    weights : str or None
        "imagenet", the path of a file, or None: random.
    digest : str or None
        Digest of the weights file, so that a changed file is another network.
    random_state : int or None
        Seed of random weights.
    options : dict
        Parameters of the backbone's builder.
    """

    name: str
    input_size: tuple[int, int]
    weights: str | None = None
    digest: str | None = None
    random_state: int | None = 0
    options: dict = field(default_factory=dict)

    @classmethod
    def accepts(cls, backbone):
        """See `Source.accepts`."""
        return isinstance(backbone, str) and backbone in BACKBONES

    @classmethod
    def from_parameters(
        cls, *, backbone, backbone_options, weights, preprocessing, input_size, random_state
    ):
        """See `Source.from_parameters`."""
        row = get_backbone(backbone, backbone_options)
        if preprocessing is not None:
            raise InvalidParameterError(
                f"preprocessing is {preprocessing!r}, expected None: {backbone} has its own. The "
                "parameter is for a keras.Model or a '.keras' file as backbone."
            )
        if weights is None and random_state is None:
            raise InvalidParameterError(
                "random_state is None, expected an integer: random weights have to be the same "
                "ones every time."
            )
        size = as_pair(row.input_size if input_size is None else input_size)
        path, digest = resolve_weights(weights, backbone, backbone_options, size)
        return cls(
            backbone,
            size,
            weights=path,
            digest=digest,
            random_state=int(random_state) if path is None else None,
            options=backbone_options or {},
        )

    @property
    def preprocessing(self):
        """See `Source`."""
        return NAMED[BACKBONES[self.name].preprocessing]

    @property
    def identity(self):
        """See `Source`; random weights, and those that Keras has, are its release's."""
        return {
            "backbone": self.name,
            "input_size": list(map(int, self.input_size)),
            "weights": self.digest or f"{self.weights}, keras {_keras_release()}",
            "random_state": self.random_state,
            "options": self.options,
        }

    def label(self, layer):
        """See `Source.label`."""
        taps = BACKBONES[self.name].taps
        if layer in STAGES and layer not in taps:
            raise InvalidParameterError(
                f"layers has {layer!r}, expected a stage that {self.name} has: {list(taps)}."
            )
        tap = taps.get(layer, layer)
        return layer if tap.startswith(("<", ">")) else tap

    def build(self):
        """See `KerasSource.build`."""
        return build_application(
            BACKBONES[self.name].builder,
            self.input_size,
            self.options,
            self.weights,
            self.random_state,
            str(self),
        )

    def find_taps(self, base):
        """See `KerasSource.find_taps`."""
        taps = BACKBONES[self.name].taps
        return {stage: _find_tensor(base, tap) for stage, tap in taps.items()}

    def __str__(self):
        options = ", ".join(f"{name}={value}" for name, value in sorted(self.options.items()))
        return f"{self.name}({options})" if options else self.name


@lru_cache(maxsize=1)
def _keras_release():
    with needing_keras():
        return version("keras")


def _find_tensor(base, tap):
    """Return the tensor of a network that a tap in the table means."""
    if tap == ">output":
        return base.output
    if tap.startswith("<"):
        return base.get_layer(tap[1:]).input
    return get_output(base.get_layer(tap))


def check_weights(weights):
    """Check where weights come from; no file is read.

    Parameters
    ----------
    weights : "imagenet", str, path or None
        The parameter `weights` of an estimator.

    Returns
    -------
    str or None
        `weights` as a string; None for random weights.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or the folder is no weights bundle.
    """
    if weights is None or (isinstance(weights, str) and weights == "imagenet"):
        return weights
    path = os.fspath(weights)
    file = os.path.join(path, INDEX) if os.path.isdir(path) else path
    if not os.path.isfile(file):
        raise FileNotFoundError(
            f"{named('weights')} is {path!r}, and there is no such file as {file!r}. Expected "
            "'imagenet', None, the path of a Keras weights file, or the folder of a weights bundle."
        )
    return path


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
    key = bundle_key(backbone, options, input_size)
    entries = {entry.key: entry for entry in read_index(folder)}
    if key not in entries:
        raise FileNotFoundError(
            f"The weights bundle {folder!r} lacks {_label(key)}. It has: "
            f"{', '.join(map(_label, entries)) or 'nothing'}. On a machine with internet access: "
            f"{_command(key, folder)}.{hint}"
        )
    path = os.path.join(folder, entries[key].file)
    _verify(path, entries[key])
    return path, entries[key].sha256


@dataclass(frozen=True)
class Entry:
    """A file of a weights bundle, as the index has it."""

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
        """The network that the file is for, see `bundle_key`."""
        return bundle_key(self.network, self.options, self.input_size)


def bundle_key(name, options=None, input_size=None):
    """Return the network whose weights Keras takes for an input of some size.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`.
    options : dict or None, default=None
        Parameters of the backbone's builder.
    input_size : int, tuple of int or None, default=None
        Height and width of the input in pixels. None: what the network was trained at.

    Returns
    -------
    KerasApplication
        The network at the size that its weights were trained at, without options at their default.
    """
    trained_at = BACKBONES[name].input_size
    height, width = as_pair(trained_at if input_size is None else input_size)
    if height == width and height in _OTHER_SIZES.get(name, ()):
        trained_at = int(height)
    chosen = {key: value for key, value in (options or {}).items() if value != _DEFAULTS.get(key)}
    return KerasApplication(name, (trained_at, trained_at), options=chosen)


def _label(key):
    return f"{key} trained at {key.input_size[0]} pixels"


def _command(key, folder):
    """Return the command that enters a network into a bundle."""
    options = "".join(f" --option {name}={value}" for name, value in sorted(key.options.items()))
    if key.input_size[0] != BACKBONES[key.name].input_size:
        options += f" --input-size {key.input_size[0]}"
    return f"featbus weights fetch {key.name}{options} --out {shlex.quote(folder)}"


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
            f"`featbus weights fetch NAME --out {folder}` makes one."
        )
    try:
        with open(path, encoding="utf-8") as file:
            entries = [Entry(**entry) for entry in json.load(file)["files"]]
        for entry in entries:
            get_backbone(entry.network, entry.options)
            hash(tuple(entry.options.values()))
            if os.path.basename(entry.file) != entry.file:
                raise ValueError(f"the file {entry.file!r} lies in another folder")
            if type(entry.input_size) is not int or entry.input_size < 1:
                raise ValueError(f"input_size is {entry.input_size!r}, expected a number of pixels")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidParameterError(
            f"The index {path!r} of a weights bundle cannot be read: {error!r}. Copy the bundle "
            "again, or fetch its networks into a new folder."
        ) from error
    return entries


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
        raise InvalidParameterError(
            f"The weights file {path!r} of {entry.key} is truncated or was changed: expected "
            f"sha256 {entry.sha256} ({entry.bytes} bytes), found {digest} "
            f"({os.path.getsize(path)} bytes). {again}"
        )
