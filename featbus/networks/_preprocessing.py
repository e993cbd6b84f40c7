"""Preprocessing: from the pixels of an image to the input of a network."""

import json
import os
import re
from dataclasses import asdict, dataclass
from numbers import Real

import numpy as np

from featbus.parameters import (
    Interval,
    InvalidParameterError,
    SequenceOf,
    StrOptions,
    as_list,
    check_parameters,
)

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

# In files of other libraries: filters, as Pillow numbers them, too; steps that the formula has, or
# that change the frame of an image; and image processors of transformers that compute something
# else by default.
_RESAMPLE = {2: "bilinear", 3: "bicubic", "bilinear": "bilinear", "bicubic": "bicubic"}
_STEPS = re.compile(r"do_(?:center_crop|convert_rgb|normalize|pad|reduce_labels|rescale|resize)")
_UNUSUAL = ("EfficientNet", "LayoutLMv2", "LayoutXLM", "MobileViT", "PPLCNet", "PPOCR", "RTDetr")
_UNUSUAL += ("Tvp", "UVDoc", "Vivit")


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
            "config.json (timm): say what the network was trained on."
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
    refused = [key for key in steps if config[key] and not _STEPS.fullmatch(key)]
    if refused or name.startswith(_UNUSUAL):
        raise ValueError(f"{name} asks for {refused}, or computes something else by default")
    skipped = {key for key in steps if not config[key]}
    is_plain, is_resized = "do_normalize" in skipped, "do_resize" not in skipped
    return {
        "mean": 0 if is_plain else config["image_mean"],
        "std": 1 if is_plain else config["image_std"],
        "scale": 1 if "do_rescale" in skipped else config.get("rescale_factor", 1 / 255),
        "resize": _RESAMPLE[config["resample"]] if is_resized else "area",
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
