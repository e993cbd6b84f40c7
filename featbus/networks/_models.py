"""Keras models, and files of them, as sources of networks."""

import hashlib
import json
import os
import sys
import textwrap
import zipfile
from functools import cached_property
from pathlib import Path
from types import FunctionType

import numpy as np

from featbus.networks._building import STAGES, get_output, import_keras
from featbus.networks._preprocessing import as_preprocessing
from featbus.networks._sources import KerasSource, check_own, file_digest, fit_input_size
from featbus.parameters import InvalidParameterError

# Bytes of JSON, which takes many times its size in memory; large networks have one million.
_LONGEST_CONFIG = 1 << 23


class KerasModel(KerasSource):
    """A Keras model, or a ``.keras`` file.

    Parameters
    ----------
    model : keras.Model, str or path
        The model, which stays as it is, or its file.
    preprocessing : Preprocessing
        What it was trained on.
    input_size : tuple of int
        Height and width of the input in pixels.
    """

    def __init__(self, model, preprocessing, input_size):
        self.model = os.fspath(model) if _is_path(model) else model
        self.name = _name(model)
        self.preprocessing = preprocessing
        self.input_size = input_size

    @classmethod
    def accepts(cls, backbone):
        """See `Source.accepts`."""
        keras = sys.modules.get("keras")
        is_model = keras is not None and isinstance(backbone, getattr(keras, "Model", ()))
        return is_model or _is_path(backbone)

    @classmethod
    def from_parameters(
        cls, *, backbone, backbone_options, weights, preprocessing, input_size, random_state
    ):
        """See `Source.from_parameters`."""
        preprocessing = as_preprocessing(preprocessing)
        check_own(weights, backbone_options)
        size = fit_input_size(_name(backbone), _input_size(backbone, preprocessing), input_size)
        return cls(backbone, preprocessing, size)

    @cached_property
    def digest(self):
        """See `Source`; the name of a model does not count."""
        is_file = isinstance(self.model, str)
        return file_digest(self.model) if is_file else _model_digest(self.model)

    @cached_property
    def code(self):
        """Layers, activations and so on of one's own, with their functions' byte code."""
        return [_with_byte_code(found) for found in _find_code(self.model)]

    @property
    def engines(self):
        """See `Source`; conversions are kept in files whose names do not stand for code."""
        return ("keras",) if self.code else super().engines

    @property
    def identity(self):
        """See `Source`."""
        size = list(map(int, self.input_size))
        own = {
            "model": self.digest,
            "input_size": size,
            "preprocessing": self.preprocessing.identity,
        }
        return own | ({"code": self.code} if self.code else {})

    def build(self):
        """See `KerasSource.build`."""
        keras, model = import_keras(), self.model
        if isinstance(model, str):
            try:
                model = keras.saving.load_model(model, compile=False, safe_mode=True)
            except Exception as error:  # what Keras raises here depends on what is in the file
                raise _unreadable(model, error) from error
        try:
            # A sequential model becomes a functional one, whose layers include its input.
            model = keras.Model(model.inputs[0], model.outputs, name=model.name)
            image = keras.Input((*self.input_size, len(self.preprocessing.mean)))
            copy = keras.models.clone_model(model, input_tensors=image)
            copy.set_weights(model.get_weights())
        except Exception as error:
            raise InvalidParameterError(
                f"The model {model.name!r} cannot be copied: {error} Expected a functional or "
                "sequential keras.Model without Lambda layers."
            ) from error
        return copy

    def find_taps(self, base):
        """See `KerasSource.find_taps`.

        The stages are the last maps of their stride, as far as the size of the maps tells. "top" is
        the output, or the last map of more than one cell if the output is no map.
        """
        import keras

        side, taps = base.inputs[0].shape[1], {}
        for layer in base.layers[1:]:
            tensor = get_output(layer)
            padding = isinstance(layer, keras.layers.ZeroPadding2D)
            if padding or not hasattr(tensor, "shape") or len(tensor.shape) != 4:
                continue
            if tensor.shape[1] * tensor.shape[2] > 1:
                taps["top"] = tensor
            stage = round(np.log2(side / tensor.shape[1]))
            if 1 <= stage <= len(STAGES):
                taps[STAGES[stage - 1]] = tensor
        if len(base.outputs[0].shape) == 4:
            taps["top"] = base.outputs[0]
        return taps


def _is_path(backbone):
    return isinstance(backbone, os.PathLike) or (
        isinstance(backbone, str) and backbone.endswith(".keras")
    )


def _name(model):
    return Path(model).stem if _is_path(model) else model.name


def _input_size(model, preprocessing):
    """Return height and width of the input, None where any will do; a file is not loaded."""
    if _is_path(model):
        shapes = _read_input_shapes(model)
    else:
        shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]
    channels = len(preprocessing.mean)
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != channels:
        found = ", ".join(map(str, shapes)) or "unknown"
        raise InvalidParameterError(
            f"backbone is the model {_name(model)!r} with the input {found}, expected one input of "
            f"shape (images, height, width, {channels}), as preprocessing has channels "
            f"{preprocessing.channels!r}: build it as a functional or sequential keras.Model with "
            f"keras.Input((height, width, {channels}))."
        )
    return tuple(shapes[0][1:3])


def _read_input_shapes(path):
    if not os.path.isfile(path):
        raise FileNotFoundError(f"backbone is {os.fspath(path)!r}, and there is no such file.")
    layers = _read_config(path)["layers"]
    inputs = [layer["config"] for layer in layers if layer["class_name"] == "InputLayer"]
    return [tuple(layer.get("batch_shape") or ()) for layer in inputs]


def read_model_config(path):
    """Read how the model in a ``.keras`` file is built, without Keras.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    dict or list
        The file's JSON.

    Raises
    ------
    ValueError
        If it is longer than that of any network, or no JSON.
    """
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("config.json").file_size
        if size > _LONGEST_CONFIG:
            raise ValueError(f"config.json has {size} bytes, expected at most {_LONGEST_CONFIG}.")
        return json.loads(archive.read("config.json"))


def _read_config(path):
    """Return the configuration of the model in a file, which has layers."""
    try:
        config = read_model_config(path)["config"]
        config["layers"]
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(path, error) from error
    return config


def _unreadable(path, error):
    return InvalidParameterError(
        f"The file {os.fspath(path)!r} cannot be loaded as a Keras model: "
        f"{textwrap.shorten(str(error) or repr(error), 300)} Expected what keras.Model.save writes "
        "to a '.keras' file, without Lambda layers: no code of a file is ever run."
    )


def _find_code(model):
    """Return the classes and functions of one's own that a model, or the one in a file, needs."""
    keras = sys.modules.get("keras")
    if keras is None:  # a file, and nothing has been registered that it could need
        return []
    is_file = isinstance(model, str)
    layers = [] if is_file else model._flatten_layers()
    found = {type(layer) for layer in layers if not type(layer).__module__.startswith("keras.")}
    names = set(_strings(_read_config(model) if is_file else _model_config(model)))
    found |= {keras.saving.get_registered_object(name) for name in names} - {None}
    for name, registered in keras.saving.get_custom_objects().items():
        if name.rpartition(">")[2] in names:  # as Keras 3.6 and before saved functions
            found.add(registered)
    return sorted(found, key=lambda value: (value.__module__, value.__qualname__))


def _strings(config):
    """Yield the texts in a configuration."""
    if isinstance(config, str):
        yield config
    elif isinstance(config, (dict, list, tuple)):
        for part in config.values() if isinstance(config, dict) else config:
            yield from _strings(part)


def _with_byte_code(value):
    """Return a class or function, and what tells it from the same one after an edit in place."""
    members = vars(value).values() if isinstance(value, type) else [value]
    return value, [member.__code__ for member in members if isinstance(member, FunctionType)]


def _model_config(model):
    """Return the architecture of a model, without how it was compiled."""
    import keras

    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    return config


def _model_digest(model):
    """Return a digest of a model's architecture and weights."""
    config = _model_config(model)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=repr).encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return digest.hexdigest()
