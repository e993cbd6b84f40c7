"""Networks of the user's own: Keras models and files of them, and a small one without weights."""

import hashlib
import json
import os
import sys
import textwrap
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from featbus.networks._building import KerasSource, get_output, import_keras
from featbus.networks._preprocessing import NAMED, as_preprocessing
from featbus.networks._sources import (
    STAGES,
    check_own,
    check_seed,
    check_unchanged,
    file_digest,
    fit_input_size,
)
from featbus.parameters import InvalidParameterError, as_pair

_SMALL_CNN = "small_cnn"
_WIDTHS = 16, 32, 64, 128, 128
_INPUT_SIZE = 128


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
        """See `Source`; the name of a model does not count, its types of numbers do."""
        return _digest(self.model)

    @cached_property
    def code(self):
        """Layers, activations and so on of the user's own."""
        return _find_code(self.model)

    @property
    def engines(self):
        """See `Source`; conversions are kept in files whose names do not stand for code."""
        return ("keras",) if self.code else super().engines

    @cached_property
    def identity(self):
        """See `Source`."""
        own = {
            "model": self.digest,
            "input_size": list(map(int, self.input_size)),
            "preprocessing": self.preprocessing.identity,
        }
        return own | ({"code": self.code} if self.code else {})

    def build(self):
        """See `KerasSource.build`."""
        check_unchanged(self, _digest(self.model))
        keras, model = import_keras(), self.model
        if isinstance(model, str):
            try:
                model = keras.saving.load_model(model, compile=False, safe_mode=True)
            except Exception as error:  # what Keras raises here depends on what is in the file
                raise _unreadable(model, error) from error
        try:
            # A sequential model becomes a functional one, whose layers include its input.
            model = keras.Model(model.inputs[0], model.outputs, name=model.name)
            shape = (*self.input_size, len(self.preprocessing.mean))
            image = keras.Input(shape, dtype=model.inputs[0].dtype)
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
    return isinstance(backbone, os.PathLike) or (
        isinstance(backbone, str) and backbone.endswith(".keras")
    )


def _name(model):
    return Path(model).stem if _is_path(model) else model.name


def _input_size(model, preprocessing):
    """Return height and width of the input, None where any will do; a file is not loaded."""
    if _is_path(model):
        layers = _read_config(model)["layers"]
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
        If it is no JSON.
    """
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


def _read_config(path):
    """Return the configuration of the model in a file, which has layers."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"backbone is {os.fspath(path)!r}, and there is no such file.")
    try:
        config = read_model_config(path)["config"]
        config["layers"]
        return config
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        RecursionError,
    ) as error:
        raise _unreadable(path, error) from error


def _unreadable(path, error):
    return InvalidParameterError(
        f"The file {os.fspath(path)!r} cannot be loaded as a Keras model: "
        f"{textwrap.shorten(str(error) or repr(error), 300)} Expected what keras.Model.save writes "
        "to a '.keras' file, without Lambda layers: no code of a file is ever run."
    )


def _find_code(model):
    """Return the classes and functions of the user's own that a model, or its file, needs."""
    keras = sys.modules.get("keras")
    if keras is None:  # a file, and nothing has been registered that it could need
        return []
    is_file = isinstance(model, str)
    kinds = [] if is_file else map(type, model._flatten_layers())
    found = {kind for kind in kinds if not kind.__module__.startswith("keras.")}
    text = json.dumps(_read_config(model) if is_file else _model_config(model), default=repr)
    # Keras 3.6 and before saved functions without their package.
    own = keras.saving.get_custom_objects().items()
    found.update(value for name, value in own if name.rpartition(">")[2] in text)
    return sorted(found, key=lambda value: (value.__module__, value.__qualname__))


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
    config = _model_config(model)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=repr).encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class SmallCNN(KerasSource):
    """Five convolutions, each of which halves the map; without pretrained weights.

    Attributes
    ----------
    input_size : tuple of int
        Height and width of the input in pixels.
    random_state : int
        Seed of the weights.
    """

    input_size: tuple[int, int]
    random_state: int

    name = _SMALL_CNN
    preprocessing = NAMED["tf"]
    digest = None

    @classmethod
    def accepts(cls, backbone):
        """See `Source.accepts`."""
        return isinstance(backbone, str) and backbone == _SMALL_CNN

    @classmethod
    def from_parameters(
        cls, *, backbone, backbone_options, weights, preprocessing, input_size, random_state
    ):
        """See `Source.from_parameters`."""
        given = {"weights": weights, "preprocessing": preprocessing}
        for name, value in (given | {"backbone_options": backbone_options or None}).items():
            if value is not None:
                raise InvalidParameterError(
                    f"{name} is {value!r}, expected None: {backbone} has none."
                )
        check_seed(random_state)
        return cls(as_pair(_INPUT_SIZE if input_size is None else input_size), int(random_state))

    @cached_property
    def identity(self):
        """See `Source`."""
        size = list(map(int, self.input_size))
        return {"backbone": self.name, "input_size": size, "random_state": self.random_state}

    def build(self):
        """See `KerasSource.build`."""
        keras = import_keras()
        image = maps = keras.Input((*self.input_size, 3), dtype="float32")
        for number, (stage, width) in enumerate(zip(STAGES, _WIDTHS)):
            maps = keras.layers.Conv2D(
                width,
                3,
                strides=2,
                padding="same",
                activation="relu",
                kernel_initializer=keras.initializers.HeNormal(seed=self.random_state + number),
                dtype="float32",
                name=stage,
            )(maps)
        return keras.Model(image, maps, name=self.name)

    def find_taps(self, base):
        """See `KerasSource.find_taps`."""
        return {stage: base.get_layer(stage).output for stage in STAGES} | {"top": base.output}
