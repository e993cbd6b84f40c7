"""Sources: where a network comes from, and the preprocessing that it was trained with."""

import csv
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from numbers import Real

import numpy as np

from featbus.parameters import (
    Interval,
    InvalidParameterError,
    SequenceOf,
    StrOptions,
    as_list,
    as_pair,
    check_parameters,
)

STAGES = ("C1", "C2", "C3", "C4", "C5")
_EXAMPLE = (
    "{'mean': [0.485, 0.456, 0.406], 'std': [0.229, 0.224, 0.225], 'scale': 1 / 255, "
    "'channels': 'rgb', 'resize': 'bicubic'}"
)
# Values are computed in single precision. The second one is for divisors.
_NUMBER = Interval(Real, -1e9, 1e9, closed="both")
_DIVISOR = Interval(Real, 1e-9, 1e9, closed="both")
_CONSTRAINTS = {
    "mean": [_NUMBER, SequenceOf(_NUMBER)],
    "std": [_DIVISOR, SequenceOf(_DIVISOR)],
    "scale": [_DIVISOR],
    "channels": [StrOptions({"rgb", "bgr", "gray"})],
    "resize": [StrOptions({"area", "bilinear", "bicubic"})],
}

# In files of other libraries: filters, also as Pillow numbers them; steps that the formula has and
# that have to be on; steps that change the frame of an image; and image processors of transformers
# that compute something else by default.
_RESAMPLE = {2: "bilinear", 3: "bicubic", "bilinear": "bilinear", "bicubic": "bicubic"}
_USUAL = ("do_normalize", "do_rescale", "do_resize")
_IGNORED = ("do_center_crop", "do_convert_rgb", "do_pad", "do_reduce_labels")
_UNUSUAL = ("EfficientNet", "LayoutLMv2", "LayoutXLM", "MobileViT", "PPLCNet", "PPOCR", "RTDetr")
_UNUSUAL += ("Tvp", "UVDoc", "Vivit")


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

    @property
    def description(self):
        """The network and the size of its input."""
        return f"{self}, {self.input_size[0]} x {self.input_size[1]} pixels"

    def check_weights(self):
        """Raise an OSError if weights can neither be found nor downloaded; nothing is loaded."""


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


def check_own(name, own, input_size, weights, backbone_options):
    """Check parameters of an estimator for a model of the user's own.

    Parameters
    ----------
    name : str
        What errors call the model.
    own : tuple of int or None
        Height and width that the model takes, None for any.
    input_size, weights, backbone_options : object
        The parameters.

    Returns
    -------
    tuple of int
        Height and width of the input in pixels.

    Raises
    ------
    InvalidParameterError
        If weights or options are not the default, or the model does not take the size, or takes any
        and none is given.
    """
    if weights != "imagenet" or backbone_options:
        raise InvalidParameterError(
            f"weights is {weights!r}, expected 'imagenet', and backbone_options is "
            f"{backbone_options!r}, expected None: the model has its own. Load weights into it."
        )
    size = own if input_size is None else as_pair(input_size)
    if None in size or any(fixed not in (None, side) for fixed, side in zip(own, size)):
        raise InvalidParameterError(
            f"input_size is {input_size!r}, expected height and width that the model {name!r} "
            f"takes: {own}, where None is any size."
        )
    return size


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of an image: ``(pixels * scale - mean) / std``.

    Attributes
    ----------
    mean, std : tuple of float
        One number per channel, in the order of `channels`.
    scale : float
        What pixels of 0..255 are multiplied by before the mean is subtracted.
    channels : {"rgb", "bgr", "gray"}, default="rgb"
        The channels and their order.
    resize : {"area", "bilinear", "bicubic"}, default="area"
        How images are brought to the input size, see `featbus.resizing.resize`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float
    channels: str = "rgb"
    resize: str = "area"

    @property
    def identity(self):
        """All fields, as JSON types; part of the key of stored rows."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    def __call__(self, pixels, out=None):
        """Convert pixels to the values that the network was trained on.

        Parameters
        ----------
        pixels : ndarray of uint8 or float32 of shape (..., width, 3) or (..., width, 1)
            RGB, 0..255, or gray, which stands for three equal channels.
        out : ndarray of float32, default=None
            Where to write the values, C-contiguous; None makes a new array.

        Returns
        -------
        ndarray of float32 of shape (..., width, 3), or (..., width, 1) if `channels` is "gray"
            The values; gray is the luma, see `featbus.color.to_gray`, without rounding.
        """
        width, n_channels = pixels.shape[-2], len(self.mean)
        if self.channels == "gray" and pixels.shape[-1] == 3:
            pixels = _to_luma(pixels)
        if out is None:
            out = np.empty((*pixels.shape[:-1], n_channels), np.float32)
        # NumPy is slow where the last axis is short: copy channel by channel, compute on rows.
        for index in range(n_channels):
            source = n_channels - 1 - index if self.channels == "bgr" else index
            out[..., index] = pixels[..., min(source, pixels.shape[-1] - 1)]
        rows = out.reshape(-1, width * n_channels)
        # One division by the scale here saves a pass over the pixels.
        for step, values, neutral in ((np.subtract, self.mean, 0), (np.divide, self.std, 1)):
            values = np.divide(values, self.scale).astype(np.float32)
            if (values != neutral).any():
                step(rows, np.tile(values, width), out=rows)
        return out


def _to_luma(pixels):
    """Return one channel; equal channels come out exactly."""
    red, green, blue = (pixels[..., [index]].astype(np.float32) for index in range(3))
    return green + np.float32(0.299) * (red - green) + np.float32(0.114) * (blue - green)


# As `keras.applications.imagenet_utils.preprocess_input` computes them.
NAMED = {
    "caffe": Preprocessing((103.939, 116.779, 123.68), (1.0,) * 3, 1.0, "bgr"),
    "tf": Preprocessing((127.5,) * 3, (127.5,) * 3, 1.0),
    "torch": Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 1.0),
    "none": Preprocessing((0.0,) * 3, (1.0,) * 3, 1.0),
}


def as_preprocessing(value):
    """Return the preprocessing that a parameter describes.

    Read more in the :ref:`User Guide <network_preprocessing>`.

    Parameters
    ----------
    value : str, dict, path or Preprocessing
        A key of `NAMED`; a dict with "mean", "std" and "scale", and, if they differ from "rgb" and
        "area", "channels" and "resize", where a number stands for one of each channel; or a JSON
        file: that dict, ``preprocessor_config.json`` or ``processor_config.json`` of Hugging Face's
        transformers, ``config.json`` of timm, or ``open_clip_config.json``.

    Returns
    -------
    Preprocessing
        The preprocessing.

    Raises
    ------
    InvalidParameterError
        If it is none of these, or None; the message shows what is needed.
    FileNotFoundError
        If there is no such file.

    See Also
    --------
    featbus.DeepFeatures : Its parameter `preprocessing` takes the same values.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.networks import as_preprocessing
    >>> as_preprocessing("tf")(np.array([[[0, 255, 255]]], dtype=np.uint8))
    array([[[-1.,  1.,  1.]]], dtype=float32)
    """
    if isinstance(value, Preprocessing):
        return value
    if isinstance(value, dict):
        return _from_dict(value)
    if isinstance(value, str) and value in NAMED:
        return NAMED[value]
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value).endswith(".json"):
        raise InvalidParameterError(
            f"preprocessing is {value!r}, expected {', '.join(map(repr, NAMED))}, a dict such as "
            f"{_EXAMPLE}, or the path of the network's preprocessor_config.json (transformers) or "
            "config.json (timm): say what the network was trained on. 'torch' is the mean and the "
            "standard deviation of ImageNet, as timm has them."
        )
    try:
        with open(value, encoding="utf-8") as file:
            return _from_dict(_read_config(json.load(file)))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InvalidParameterError(
            f"preprocessing is the file {os.fspath(value)!r}, which cannot be used: {error!r:.300} "
            f"Expected that of another library, or give preprocessing as a dict such as {_EXAMPLE}."
        ) from error


def _read_config(config):
    """Return what a file of another library says, as the dict that `as_preprocessing` takes."""
    for key in ("image_processor", "preprocess_cfg", "pretrained_cfg"):
        config = config.get(key) or config
    if "scale" in config:  # such a dict itself
        return config
    if "image_mean" in config or "do_rescale" in config:
        return _read_transformers(config)
    return {
        "mean": config["mean"],
        "std": config["std"],
        "scale": 1 / 255,
        "resize": _RESAMPLE[config.get("interpolation", "bicubic")],
    }


def _read_transformers(config):
    """Return what the file of an image processor of transformers says."""
    name = str(config.get("image_processor_type") or config.get("feature_extractor_type"))
    steps = [key for key in config if key.startswith(("do_", "include_top", "offset", "rescale_o"))]
    odd = [key for key in steps if bool(config[key]) != (key in _USUAL) and key not in _IGNORED]
    if odd or name.startswith(_UNUSUAL):
        raise ValueError(f"{name} sets {odd}, or computes something else by default")
    return {
        "mean": config["image_mean"],
        "std": config["image_std"],
        "scale": config.get("rescale_factor", 1 / 255),
        "resize": _RESAMPLE[config["resample"]],
    }


def _from_dict(value):
    """Return the preprocessing that a dict describes."""
    value = {"channels": "rgb", "resize": "area"} | value
    if value.keys() != _CONSTRAINTS.keys():
        keys = sorted(map(str, value.keys() ^ _CONSTRAINTS.keys()))
        raise InvalidParameterError(
            f"preprocessing lacks {keys}, or has no such keys: expected a dict such as {_EXAMPLE}."
        )
    for key, item in value.items():
        name = f"preprocessing[{key!r}]"
        check_parameters({name: _CONSTRAINTS[key]}, {name: item})
    numbers = {}
    for key in ("mean", "std"):
        found, count = as_list(value[key]), 1 if value["channels"] == "gray" else 3
        if len(found) not in (1, count):
            raise InvalidParameterError(
                f"preprocessing has {key} {value[key]!r}, expected one number per channel: {count}."
            )
        numbers[key] = tuple(map(float, np.broadcast_to(found, count)))
    return Preprocessing(**value | numbers | {"scale": float(value["scale"])})
