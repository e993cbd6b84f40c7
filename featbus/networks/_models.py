"""Keras models of your own as backbones."""

import hashlib
import json
import os
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np

from featbus.networks._backbones import STAGES


def is_own_model(backbone):
    """Tell whether a backbone is a model of one's own, not one of the table.

    Parameters
    ----------
    backbone : object
        The parameter `backbone` of an estimator.

    Returns
    -------
    bool
        True for a `keras.Model`, and for the path of a ``.keras`` file. Imports no Keras.
    """
    return _is_path(backbone) or _is_model(backbone)


def _is_path(backbone):
    return isinstance(backbone, os.PathLike) or (
        isinstance(backbone, str) and backbone.endswith(".keras")
    )


def _is_model(backbone):
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(backbone, getattr(keras, "Model", ()))


def model_name(model):
    """Return how features of a model are called.

    Parameters
    ----------
    model : keras.Model, str or path
        The model or its file.

    Returns
    -------
    str
        The model's name, or the file's without its ending.
    """
    return Path(model).stem if _is_path(model) else model.name


def model_input_size(model):
    """Return height and width of the images that a model takes.

    Parameters
    ----------
    model : keras.Model, str or path
        The model or its file, of which no more than the description is read.

    Returns
    -------
    tuple of (int or None)
        In pixels; None where it takes any.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no Keras model, or the input no colour image with its channels last.
    """
    shapes = _file_input_shapes(model) if _is_path(model) else _input_shapes(model)
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != 3:
        found = ", ".join(map(str, shapes)) or "unknown"
        raise ValueError(
            f"The model {model_name(model)!r} has the input {found}, expected one input of shape "
            "(images, height, width, 3): build it as a functional or sequential keras.Model with "
            "keras.Input((height, width, 3))."
        )
    return tuple(shapes[0][1:3])


def _input_shapes(model):
    return [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]


def _file_input_shapes(path):
    if not os.path.isfile(path):
        raise FileNotFoundError(f"backbone is {os.fspath(path)!r}, and there is no such file.")
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))["config"]
        layers = config["layers"]
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error
    inputs = [layer["config"] for layer in layers if layer["class_name"] == "InputLayer"]
    return [tuple(layer.get("batch_shape") or ()) for layer in inputs]


def _unreadable(path, error):
    return ValueError(
        f"The file {os.fspath(path)!r} cannot be loaded as a Keras model: "
        f"{textwrap.shorten(str(error) or repr(error), 300)} Expected what keras.Model.save writes "
        "to a '.keras' file, without Lambda layers: no code of a file is ever run."
    )


def model_digest(model):
    """Return a digest of a model's architecture and weights.

    Parameters
    ----------
    model : keras.Model
        The model.

    Returns
    -------
    str
        64 hexadecimal digits, the same for a copy; how it was compiled does not matter.
    """
    import keras

    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=repr).encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return digest.hexdigest()


def build_copy(model, size):
    """Build a network of its own from a model.

    Parameters
    ----------
    model : keras.Model, str or path
        The model, which stays as it is, or its file.
    size : tuple of int
        Height and width of the input in pixels.

    Returns
    -------
    keras.Model
        A functional model with the same weights.

    Raises
    ------
    ValueError
        If the file is no Keras model, or needs code to be run; if the model cannot be copied.
    """
    import keras

    if _is_path(model):
        try:
            model = keras.saving.load_model(model, compile=False, safe_mode=True)
        except Exception as error:  # what Keras raises here depends on what is in the file
            raise _unreadable(model, error) from error
    try:
        # A sequential model becomes a functional one, whose layers count its input.
        model = keras.Model(model.inputs[0], model.outputs, name=model.name)
        copy = keras.models.clone_model(model, input_tensors=keras.Input((*size, 3)))
        copy.set_weights(model.get_weights())
    except Exception as error:
        raise ValueError(
            f"The model {model.name!r} cannot be copied: {error} Expected a functional or "
            "sequential keras.Model without Lambda layers."
        ) from error
    return copy


def derived_taps(base):
    """Return where the stages of a model are, as far as the size of its feature maps tells.

    Parameters
    ----------
    base : keras.Model
        The model.

    Returns
    -------
    dict of str to KerasTensor
        Of the stages "C1" to "C5" those that there are, each the last map of its stride, and "top",
        the last map of more than one cell.
    """
    import keras

    side = base.inputs[0].shape[1]
    taps = {}
    for layer in base.layers[1:]:
        tensor = output_of(layer)
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


def output_of(layer):
    """Return what a layer gives where a model calls it first.

    Parameters
    ----------
    layer : keras.Layer
        A layer, or a model that is one: its own `output` leads nowhere.

    Returns
    -------
    KerasTensor
        The output.
    """
    import keras

    return keras.Operation.output.fget(layer)
