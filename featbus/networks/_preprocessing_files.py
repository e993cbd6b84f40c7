"""Preprocessing that other libraries describe in JSON files."""

import json
import os

from featbus.wording import named, shown

_LARGEST = 1 << 20  # bytes; such files have a few hundred, with names of classes some 100,000
_RESAMPLE = {2: "bilinear", 3: "bicubic"}  # as Pillow numbers them
_INTERPOLATION = {name: name for name in _RESAMPLE.values()}
# What changes the frame of an image, and what does nothing to values.
_HARMLESS = {"do_center_crop", "do_convert_rgb", "do_pad", "do_reduce_labels", "do_resize"}
_APPLIED = {"do_normalize", "do_rescale"}
_OFFSETS = ("offset", "rescale_offset")  # -1 after the rescaling
# Image processors of transformers, by the beginning of their names, that do without a key what
# others do not.
_DEFAULTS = {
    "EfficientNet": {"include_top": True},
    "MobileViT": {"do_flip_channel_order": True, "do_normalize": False},
    "RTDetr": {"do_normalize": False},
    "Tvp": {"do_flip_channel_order": True},
    "Vivit": {"offset": True},
}
# Those that change the order of colors, and have no key for it.
_FLIPPING = ("LayoutLMv2", "LayoutXLM", "PPLCNet", "PPOCR", "UVDoc")
_AS_DICT = "Give preprocessing as a dict instead"


def read_preprocessing(path):
    """Read a file as `as_preprocessing` takes it; nothing in it is executed.

    Parameters
    ----------
    path : str or path
        ``preprocessor_config.json`` or ``processor_config.json`` of Hugging Face's transformers,
        ``config.json`` of timm, ``open_clip_config.json`` of OpenCLIP, or the dict that the
        parameter takes, as JSON.

    Returns
    -------
    dict
        "mean", "std", "scale", "channels" and "resize", not checked yet.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is none of these, or asks for what featbus does not do.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        raise ValueError("it is a folder, expected a file")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{named('preprocessing')} is {path!r}, and there is no such file.")
    size = os.path.getsize(path)
    if size > _LARGEST:
        raise ValueError(f"it has {size} bytes, expected at most {_LARGEST}")
    with open(path, encoding="utf-8") as file:
        try:
            config = json.load(file, object_pairs_hook=_as_dict)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"it holds a {type(config).__name__}, expected a JSON object")
    return _read(config)


def _as_dict(pairs):
    """Return an object of JSON, whose keys have to differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"it has the key {shown(twice)} twice")
    return found


def _read(config):
    """Return the parameters of a file of any known layout."""
    for key, read in (
        ("image_processor", _read_transformers),  # of processor_config.json
        ("preprocess_cfg", _read_open_clip),
        ("pretrained_cfg", _read_timm),
    ):
        if isinstance(config.get(key), dict):
            return read(config[key])
    if config.keys() & {"image_mean", "do_normalize", "do_rescale"}:
        return _read_transformers(config)
    if config.keys() >= {"mean", "std", "scale"}:
        return config
    if config.keys() >= {"mean", "std", "interpolation"}:  # of timm until 2022
        return _read_timm(config)
    raise ValueError(
        f"it has the keys {shown(sorted(config)[:12])}, expected those of a "
        "preprocessor_config.json of transformers ('image_mean', 'image_std', ...), of a "
        "config.json of timm ('pretrained_cfg') or of an open_clip_config.json ('preprocess_cfg')"
    )


def _read_transformers(config):
    name = str(config.get("image_processor_type") or config.get("feature_extractor_type"))
    if name.startswith(_FLIPPING):
        raise ValueError(
            f"{shown(name)} changes the order of colors, and no key says so. {_AS_DICT}"
        )
    for beginning, defaults in _DEFAULTS.items():
        if name.startswith(beginning):
            config = defaults | config
    for key in ("do_normalize", "do_rescale", "do_resize"):
        if not isinstance(config.get(key, True), bool):
            raise ValueError(f"its {key!r} is {shown(config[key])}, expected true or false")
    steps = {key for key, value in config.items() if key.startswith("do_") and value}
    unknown = sorted(steps - _HARMLESS - _APPLIED) + [key for key in _OFFSETS if config.get(key)]
    if unknown:
        raise ValueError(
            f"it asks for {' and '.join(map(shown, unknown[:5]))}, which is not supported. "
            f"{_AS_DICT}"
        )
    if config.get("include_top"):
        raise ValueError(
            "it asks for 'include_top', a second division by 'image_std'. Give preprocessing as a "
            "dict, with the squares of these numbers"
        )
    normalized = config.get("do_normalize", True)
    mean, std = (_get(config, "image_mean"), _get(config, "image_std")) if normalized else (0, 1)
    scale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1
    resize = "area"
    if config.get("do_resize", True):
        resize = _choose(config, "resample", _RESAMPLE)
    return {"mean": mean, "std": std, "scale": scale, "resize": resize}


def _read_timm(config):
    shape = config.get("input_size") or [3]
    return {
        "mean": _get(config, "mean"),
        "std": _get(config, "std"),
        "scale": 1 / 255,
        "channels": "gray" if isinstance(shape, list) and shape[:1] == [1] else "rgb",
        "resize": _choose(config, "interpolation", _INTERPOLATION),
    }


def _read_open_clip(config):
    return {
        "mean": _get(config, "mean"),
        "std": _get(config, "std"),
        "scale": 1 / 255,
        "resize": _choose({"interpolation": "bicubic"} | config, "interpolation", _INTERPOLATION),
    }


def _get(config, key):
    if config.get(key) is None:
        raise ValueError(f"it has no {key!r}")
    return config[key]


def _choose(config, key, known):
    """Return the way to resize that a key of a file stands for."""
    found = config.get(key)
    if isinstance(found, (int, str)) and found in known:
        return known[found]
    names = " or ".join(map(repr, known))
    raise ValueError(
        f"its {key!r} is {shown(found)}, expected {names}. Give preprocessing as a dict to choose "
        "one"
    )
