"""Networks of `keras.applications` as sources, and where their weights are."""

import os
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version

from featbus.networks._building import STAGES, build_application, get_output
from featbus.networks._index import INDEX, fetch_command, find_folder, label, read_index, verify
from featbus.networks._preprocessing import NAMED
from featbus.networks._requirements import needing_keras
from featbus.networks._sources import BACKBONES, KerasSource, file_digest, get_backbone
from featbus.parameters import InvalidParameterError, as_pair
from featbus.wording import named, options_argument

# Keras has weights of these that were trained at other sizes, and takes those that fit the input.
_OTHER_SIZES = {"mobilenet": (128, 160, 192), "mobilenet_v2": (96, 128, 160, 192)}
# Giving an option its default changes nothing.
_DEFAULTS = {"alpha": 1, "minimalistic": False}


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
        return label(self.name, self.options)


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
    folder = find_folder(weights)
    if not folder:
        is_file = weights not in (None, "imagenet")
        return weights, file_digest(weights) if is_file else None
    key = bundle_key(backbone, options, input_size)
    entries = _entries(folder)
    if key not in entries:
        missing = fetch_command(key.name, key.options, key.input_size[0], folder)
        raise FileNotFoundError(
            f"The weights bundle {folder!r} lacks {_describe(key)}. It has: "
            f"{', '.join(map(_describe, entries)) or 'nothing'}. On a machine with internet "
            f"access: {missing}."
            + _advise_options(key, entries)
            + (
                " While FEATBUS_WEIGHTS names a bundle, 'imagenet' means the weights in there."
                if weights == "imagenet"
                else ""
            )
        )
    return verify(folder, entries[key]), entries[key].sha256


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


def _entries(folder):
    """Return the weights in a bundle, by the networks that they are for."""
    entries = [entry for entry in read_index(folder) if not entry.is_model]
    return {bundle_key(entry.network, entry.options, entry.input_size): entry for entry in entries}


def _advise_options(key, entries):
    """Return how to ask for the network with other options, if the bundle has one."""
    for other in entries:
        if (other.name, other.input_size) == (key.name, key.input_size) and other.options:
            return f" For {other}, pass {options_argument('backbone_options', other.options)}."
    return ""


def _describe(key):
    return f"{key} trained at {key.input_size[0]} pixels"
