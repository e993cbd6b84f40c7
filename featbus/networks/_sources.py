"""Sources: where a network comes from. The protocol, and the table of `keras.applications`."""

import csv
import hashlib
import json
import os
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files

from featbus.parameters import InvalidParameterError, as_pair

STAGES = ("C1", "C2", "C3", "C4", "C5")


class Source:
    """Where a network comes from: what estimators and engines rely on.

    Sources are equal, and share a network, if their `identity` is. Those that Keras builds inherit
    from `KerasSource`. A kind that users choose by `backbone` also has two class methods:
    ``accepts(backbone)`` returns whether the parameter is such a network, and
    ``from_parameters(...)`` checks `backbone`, `backbone_options`, `weights`, `preprocessing`,
    `input_size` and `random_state` of an estimator, and returns the source. Neither loads a
    network.

    Attributes
    ----------
    name : str
        The network's name, the first part of the names of columns.
    preprocessing : Preprocessing
        What the network was trained on.
    input_size : tuple of int
        Height and width of the input in pixels.
    engines : tuple of str
        The engines that can run it.
    digest : str or None
        Digest of the file or model that it comes from; None if there is none.
    identity : dict of str to object
        What the rows depend on, as JSON has it: the same on another machine.
    members : tuple of Source
        The networks whose rows are averaged: itself, unless there are several.
    """

    engines = ()

    @property
    def members(self):
        """See above."""
        return (self,)

    def __eq__(self, other):
        return isinstance(other, Source) and self.identity == other.identity

    def __hash__(self):
        return hash(json.dumps(self.identity, sort_keys=True, default=repr))

    def __str__(self):
        return self.name


@dataclass(frozen=True)
class Backbone:
    """A network with a name: a row of the table in backbones.csv.

    Attributes
    ----------
    builder : str
        Name of the function in `keras.applications`; "SmallCNN" is featbus's own.
    preprocessing : {"caffe", "tf", "torch", "none"}
        See `NAMED`.
    taps : dict of str to str
        The tensors of the stages C1 to C5, of stride 2, 4, 8, 16 and 32, where encoder-decoders
        take their skip connections. A layer's name means its output, ``"<name"`` its input,
        ``">output"`` the output of the network; C5 always is the output, and "top" the same.
        ConvNeXt has no C1.
    widths : dict of str to int
        Channels at the stages.
    input_size : int
        Height and width in pixels that the ImageNet weights were trained at.
    options : tuple of str
        Parameters of the builder that change the architecture.
    """

    builder: str
    preprocessing: str
    taps: dict
    widths: dict
    input_size: int
    options: tuple[str, ...]


def _read_backbone(row):
    taps = {stage: row[stage] for stage in STAGES if row[stage]}
    return Backbone(
        builder=row["builder"],
        preprocessing=row["preprocessing"],
        taps=taps | {"top": taps["C5"]},
        widths={stage: int(row[f"{stage}_width"]) for stage in taps},
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
            f"backbone is {name!r}, expected one of {sorted(BACKBONES)}, the path of an "
            "ONNX or '.keras' file, a keras.Model, or a model of a weights bundle."
            + (f" Did you mean {near[0]!r}?" if near else "")
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


def check_unchanged(source, digest):
    """Refuse a file or model that has changed since its digest was taken.

    Parameters
    ----------
    source : Source
        The network.
    digest : str or None
        Another digest of the file or model, taken at another time.

    Raises
    ------
    InvalidParameterError
        If it differs from that of the source.
    """
    if digest != source.digest:
        raise InvalidParameterError(
            f"The file or model of the network {source} has changed since fit "
            f"(digests {digest} and {source.digest}). Restore it, or fit again."
        )


def check_own(weights, backbone_options):
    """Refuse parameters that a model of the user's own does not have.

    Parameters
    ----------
    weights, backbone_options : object
        Parameters of an estimator.

    Raises
    ------
    InvalidParameterError
        If one of them is not the default.
    """
    if weights != "imagenet" or backbone_options:
        raise InvalidParameterError(
            f"weights is {weights!r}, expected 'imagenet', and backbone_options is "
            f"{backbone_options!r}, expected None: the model has its own. Load weights into it."
        )


def fit_input_size(name, own, input_size):
    """Return the input size of a model of the user's own.

    Parameters
    ----------
    name : str
        What errors call the model.
    own : tuple of int or None
        Height and width that the model takes, None for any.
    input_size : int, tuple of int or None
        The parameter of an estimator.

    Returns
    -------
    tuple of int
        Height and width in pixels.

    Raises
    ------
    InvalidParameterError
        If the model does not take the size, or takes any and none is given.
    """
    size = own if input_size is None else as_pair(input_size)
    if None in size or any(fixed not in (None, side) for fixed, side in zip(own, size)):
        raise InvalidParameterError(
            f"input_size is {input_size!r}, expected height and width that the model {name!r} "
            f"takes: {own}, where None is any size."
        )
    return size
