"""Preprocessing: the values that the images of a network's training had."""

import os
from dataclasses import asdict, dataclass
from numbers import Real

import numpy as np

from featbus.networks._preprocessing_files import read_preprocessing
from featbus.parameters import InvalidParameterError

_CHOICES = {"channels": ("rgb", "bgr", "gray"), "resize": ("area", "bilinear", "bicubic")}
_EXAMPLE = (
    "{'mean': [0.485, 0.456, 0.406], 'std': [0.229, 0.224, 0.225], 'scale': 1 / 255, "
    "'channels': 'rgb', 'resize': 'bicubic'}"
)
# Values are single precision: of any number, and of what is divided by.
_LARGEST, _SMALLEST = 1e9, 1e-9


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
        """What the rows depend on, as JSON has it."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    def __call__(self, pixels, out=None):
        """Bring pixels to the values that the network was trained on.

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
            values = np.float32(np.divide(values, self.scale))
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
        "area", "channels" and "resize", where a number stands for one of each channel; or a file,
        see `read_preprocessing`.

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
        return _from_dict(read_preprocessing(value))
    except ValueError as error:
        message = f"preprocessing is the file {os.fspath(value)!r}: {error}"
        raise InvalidParameterError(message) from error


def _from_dict(value):
    """Return the preprocessing that a dict describes."""
    required = ("mean", "std", "scale")
    unknown = [key for key in value if key not in (*required, *_CHOICES)]
    missing = [key for key in required if key not in value]
    if unknown or missing:
        found = f"the key {unknown[0]!r}" if unknown else f"no {missing[0]!r}"
        raise InvalidParameterError(f"preprocessing has {found}, expected keys as in {_EXAMPLE}.")
    chosen = {key: value.get(key, allowed[0]) for key, allowed in _CHOICES.items()}
    for key, allowed in _CHOICES.items():
        if chosen[key] not in allowed:
            _refuse(key, chosen[key], f"one of {list(allowed)}")
    count = 1 if chosen["channels"] == "gray" else 3
    mean, std, scale = (
        _as_numbers(key, value[key], count if key != "scale" else 1) for key in required
    )
    for key, numbers in (("std", std), ("scale", scale)):
        if min(numbers) < _SMALLEST:
            _refuse(key, value[key], f"{_SMALLEST:g} or more")
    return Preprocessing(mean, std, *scale, **chosen)


def _as_numbers(key, value, count):
    """Return `count` numbers; one stands for all."""
    numbers = [value] if np.ndim(value) == 0 else list(value)
    if len(numbers) not in (1, count) or not all(map(_is_number, numbers)):
        _refuse(key, value, f"a number, or one for each of {count} channels, up to {_LARGEST:g}")
    return tuple(map(float, np.broadcast_to(numbers, count)))


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _refuse(key, value, expected):
    raise InvalidParameterError(f"preprocessing has {key} {value!r}, expected {expected}.")
