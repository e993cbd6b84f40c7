"""Networks of the user's own: Keras models and files of them."""

import json
import os
import sys
import textwrap
import zipfile
from functools import cached_property
from pathlib import Path
from types import FunctionType

import joblib
import numpy as np

from featbus.networks._building import KerasSource, get_output, import_keras
from featbus.networks._sources import (
    STAGES,
    as_preprocessing,
    check_own,
    check_unchanged,
    file_digest,
)
from featbus.parameters import InvalidParameterError


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
        """See `Source`."""
        model = getattr(sys.modules.get("keras"), "Model", ())  # no type if Keras is not imported
        return isinstance(backbone, model) or _is_path(backbone)

    @classmethod
    def from_parameters(cls, *, backbone, preprocessing, input_size, random_state, **own):
        """See `Source`."""
        preprocessing = as_preprocessing(preprocessing)
        size = _input_size(backbone, preprocessing)
        size = check_own(_name(backbone), size, input_size, **own)
        return cls(backbone, preprocessing, size)

    @cached_property
    def digest(self):
        """See `Source`; depends on a model's architecture, dtypes and weights, not on its name."""
        return _digest(self.model)

    @cached_property
    def code(self):
        """The user's own classes and functions in the model, with their byte code."""
        return [_with_byte_code(found) for found in _find_code(self.model)]

    @property
    def engines(self):
        """See `Source`; the name of a converted file does not depend on the user's code."""
        return ("keras",) if self.code else super().engines

    @cached_property
    def identity(self):
        """See `Source`."""
        return {
            "model": self.digest,
            "input_size": list(map(int, self.input_size)),
            "preprocessing": self.preprocessing.identity,
            "code": self.code,
        }

    def build(self):
        """See `KerasSource`."""
        check_unchanged(self, _digest(self.model))
        keras, model = import_keras(), self.model
        try:
            if isinstance(model, str):
                model = keras.saving.load_model(model, compile=False, safe_mode=True)
            # A sequential model becomes a functional one, whose layers include its input.
            model = keras.Model(model.inputs[0], model.outputs, name=model.name)
            shape = (*self.input_size, len(self.preprocessing.mean))
            image = keras.Input(shape, dtype=model.inputs[0].dtype)
            copy = keras.models.clone_model(model, input_tensors=image)
            copy.set_weights(model.get_weights())
        except Exception as error:  # what Keras raises depends on what is in the model
            raise _unusable(self.model, error) from error
        return copy

    def find_taps(self, base):
        """See `KerasSource`.

        The stages are the last maps of their stride, inferred from the size of the maps. "top" is
        the output, or the last map of more than one cell if the output is no map.
        """
        import keras

        side, taps = base.inputs[0].shape[1], {}
        for layer in base.layers[1:]:
            tensor = get_output(layer)
            padding = isinstance(layer, keras.layers.ZeroPadding2D)
            if padding or len(getattr(tensor, "shape", ())) != 4:
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
    is_file = isinstance(backbone, str) and backbone.endswith(".keras")
    return is_file or isinstance(backbone, os.PathLike)


def _name(model):
    return Path(model).stem if _is_path(model) else model.name


def _input_size(model, preprocessing):
    """Return height and width of the input, None for any; a file is not loaded."""
    if _is_path(model):
        layers = _read_layers(model)
        inputs = [layer["config"] for layer in layers if layer["class_name"] == "InputLayer"]
        shapes = [tuple(layer.get("batch_shape") or ()) for layer in inputs]
    else:
        shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]
    channels = len(preprocessing.mean)
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != channels:
        raise InvalidParameterError(
            f"backbone is the model {_name(model)!r} with the inputs {shapes}, expected one of "
            f"shape (images, height, width, {channels}) in a functional or sequential keras.Model, "
            f"as preprocessing has channels {preprocessing.channels!r}."
        )
    return shapes[0][1:3]


def _read_layers(path):
    """Return the configurations of the layers in a ``.keras`` file, without Keras."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"backbone is {os.fspath(path)!r}, and there is no such file.")
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))["config"]["layers"]
    except Exception as error:  # depends on the damage
        raise _unusable(path, error) from error


def _unusable(model, error):
    return InvalidParameterError(
        f"The model {os.fspath(model) if _is_path(model) else model.name!r} cannot be loaded or "
        f"copied: {textwrap.shorten(str(error) or repr(error), 300)} Expected a functional or "
        "sequential keras.Model, or the '.keras' file of one, without Lambda layers: no code of a "
        "file is ever run."
    )


def _find_code(model):
    """Return the classes and functions of the user's own that a model, or its file, needs."""
    keras = sys.modules.get("keras")
    if keras is None:  # a file, and nothing has been registered that it could need
        return []
    is_file = isinstance(model, str)
    kinds = [] if is_file else map(type, model._flatten_layers())
    found = {kind for kind in kinds if not kind.__module__.startswith("keras.")}
    text = json.dumps(_read_layers(model) if is_file else _model_config(model), default=repr)
    # Keras 3.6 and before saved functions without their package.
    own = keras.saving.get_custom_objects().items()
    found.update(value for name, value in own if name.rpartition(">")[2] in text)
    return sorted(found, key=lambda value: (value.__module__, value.__qualname__))


def _with_byte_code(value):
    """Return a class or function, and its byte code, which an edit in place changes."""
    members = vars(value).values() if isinstance(value, type) else [value]
    return value, [member.__code__ for member in members if isinstance(member, FunctionType)]


def _model_config(model):
    """Return the architecture of a model, without how it was compiled."""
    import keras

    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    return config


def _digest(model):
    """Return a digest of a file, or of a model's architecture and weights."""
    if isinstance(model, str):
        return file_digest(model)
    config = json.dumps(_model_config(model), sort_keys=True, default=repr)
    return joblib.hash([config, model.get_weights()])
