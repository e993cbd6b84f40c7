"""Batch normalization, folded into the convolutions before it."""

from collections import Counter
from itertools import chain

import numpy as np

_ARGUMENTS = ("kernel_size", "strides", "padding", "dilation_rate")
# Of each kind of convolution its other arguments, and its kernels.
_KINDS = {
    "Conv2D": (("filters", "groups"), ("kernel",)),
    "DepthwiseConv2D": (("depth_multiplier",), ("depthwise",)),
    "SeparableConv2D": (("filters", "depth_multiplier"), ("depthwise", "pointwise")),
}


def fold(model):
    """Rebuild a model without the batch normalizations that directly follow a convolution.

    At inference both are affine, so that one convolution with other weights does the work of two
    layers [1]_. The rest of the time that they take goes with them: a pass over the feature map,
    and an activation that can follow the convolution in the same pass.

    Parameters
    ----------
    model : keras.Model
        A functional model. Its layers are shared with the result.

    Returns
    -------
    keras.Model
        A model of the same inputs and outputs, up to rounding.

    References
    ----------
    .. [1] Jacob B et al. Quantization and training of neural networks for efficient
       integer-arithmetic-only inference. CVPR 2018, doi:10.1109/CVPR.2018.00286, eq. 14.
    """
    calls, outputs = _calls(model)
    folded, gone = {}, set()
    for convolution, normalization in _pairs(calls, outputs):
        folded[convolution] = _folded(convolution, normalization)
        gone.add(normalization)

    def call(layer, *arguments, **options):
        if layer in gone:
            return arguments[0]
        if layer not in folded:
            return layer(*arguments, **options)
        new, weights = folded[layer]
        output = new(*arguments, **options)
        new.set_weights(weights)
        return output

    return _rebuilt(model, call) if folded else model


def _rebuilt(model, call):
    """Call the layers of a model anew, in order, each by way of `call`."""
    import keras

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _calls(model):
    """Return layer, inputs and output of all calls in a model, and what the model returns."""
    import keras

    calls = []

    def call(layer, *arguments, **options):
        output = layer(*arguments, **options)
        values = keras.tree.flatten((arguments, options))
        inputs = [value for value in values if isinstance(value, keras.KerasTensor)]
        calls.append((layer, inputs, output))
        return output

    return calls, _rebuilt(model, call).outputs


def _pairs(calls, outputs):
    """Yield each convolution whose output goes to one batch normalization and nowhere else."""
    import keras

    n_calls = Counter(layer for layer, _, _ in calls)
    n_uses = Counter(map(id, chain(outputs, *(inputs for _, inputs, _ in calls))))
    makers = {id(output): layer for layer, _, output in calls}
    for layer, inputs, output in calls:
        if type(layer) is not keras.layers.BatchNormalization or len(inputs) != 1:
            continue
        before = makers.get(id(inputs[0]))
        if (
            _is_plain(before)
            and n_uses[id(inputs[0])] == n_calls[before] == n_calls[layer] == 1
            and layer.axis in (-1, len(output.shape) - 1)
            and layer.dtype_policy.name == before.dtype_policy.name == "float32"
        ):
            yield before, layer


def _is_plain(layer):
    """Tell whether a layer is a convolution and nothing else."""
    import keras

    kind = type(layer)
    if kind not in [getattr(keras.layers, name) for name in _KINDS]:
        return False
    if layer.activation is not keras.activations.linear:
        return False
    n_weights = len(_KINDS[kind.__name__][1]) + layer.use_bias
    return layer.data_format == "channels_last" and len(layer.weights) == n_weights


def _folded(convolution, normalization):
    """Return a convolution that does the work of both layers, not built yet, and its weights."""
    import keras

    *affine, mean, variance = map(np.float64, normalization.get_weights())
    factor = 1 / np.sqrt(variance + normalization.epsilon)
    if normalization.scale:
        factor *= affine[0]
    weights = convolution.get_weights()
    bias = ((weights.pop() if convolution.use_bias else 0) - mean) * factor
    if normalization.center:
        bias += affine[-1]
    # The last kernel makes the channels that were normalized.
    kernel = weights.pop()
    is_depthwise = type(convolution) is keras.layers.DepthwiseConv2D
    channels = kernel.shape[2:] if is_depthwise else kernel.shape[3:]
    weights += [kernel * factor.reshape(channels), bias]
    return _unbuilt(convolution), [np.float32(weight) for weight in weights]


def _unbuilt(convolution):
    """Return a convolution of the same kind, with a bias."""
    kind = type(convolution)
    more, kernels = _KINDS[kind.__name__]
    # Not by way of `get_config`, which imports TensorFlow on any backend.
    arguments = {name: getattr(convolution, name) for name in (*_ARGUMENTS, *more)}
    # Random numbers would take their time, and be overwritten.
    arguments |= {f"{kernel}_initializer": "zeros" for kernel in kernels}
    return kind(**arguments, use_bias=True, dtype="float32", name=convolution.name)
