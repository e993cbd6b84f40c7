"""Building: Keras networks, truncated at taps and pooled, and the inputs that they take."""

import math
import os
import random
import textwrap
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches

from featbus.base import thread_limit
from featbus.networks._pooling import GEM_FLOOR, GEM_POWER, windows
from featbus.networks._requirements import needing_keras
from featbus.parameters import InvalidParameterError

STAGES = ("C1", "C2", "C3", "C4", "C5")


@dataclass(frozen=True)
class Network:
    """A network and the features taken from it; two that are equal share one engine.

    Attributes
    ----------
    source : Source
        Where the network comes from.
    layers : tuple of str
        "top", stages "C1" to "C5", or names of layers.
    pooling : tuple of str
        How a feature map becomes a row, see `pool`.
    engine : {"keras", "openvino", "onnxruntime"}
        What runs the network, see `load_engine`.
    precision : {"fp32", "bf16"}
        What the engine computes in.
    """

    source: object
    layers: tuple[str, ...] = ("top",)
    pooling: tuple[str, ...] = ("avg",)
    engine: str = "keras"
    precision: str = "fp32"

    @property
    def identity(self):
        """What decides about the rows, as JSON has it."""
        own = ("layers", "pooling", "engine", "precision")
        return self.source.identity | {name: getattr(self, name) for name in own}


def import_keras():
    """Import Keras, and hold TensorFlow to the limit of threads.

    Returns
    -------
    module
        Keras.

    Raises
    ------
    ImportError
        If Keras or its backend is not installed.
    RuntimeError
        If Keras is set to images whose channels come first.
    """
    # TensorFlow reads this once, when it is imported; without it, it greets on every start.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with needing_keras():
        import keras

    if keras.config.image_data_format() != "channels_last":
        raise RuntimeError(
            "Keras is set to image_data_format 'channels_first', featbus needs 'channels_last': "
            "call keras.config.set_image_data_format('channels_last')."
        )
    if keras.backend.backend() == "tensorflow":
        _limit_tensorflow()
    return keras


def _limit_tensorflow():
    """Limit TensorFlow's threads, unless it runs already or has a limit of its own.

    By default it ignores all limits, and takes all cores in each of several workers.
    """
    import tensorflow as tf

    threading, limit = tf.config.threading, thread_limit()
    own = threading.get_intra_op_parallelism_threads() or "TF_NUM_INTRAOP_THREADS" in os.environ
    if own or limit >= (os.cpu_count() or 1):
        return
    with suppress(RuntimeError):  # it has started
        threading.set_intra_op_parallelism_threads(limit)
        threading.set_inter_op_parallelism_threads(limit)


@contextmanager
def _seeded(seed):
    """Seed Keras' initializers, which draw their seeds from `random`, and restore its state."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def build_application(builder, input_size, options, weights, random_state, label):
    """Build a network of `keras.applications` without its top, with its weights.

    Parameters
    ----------
    builder : str
        Name of the function in `keras.applications`.
    input_size : tuple of int
        Height and width of the input in pixels.
    options : dict
        Parameters of the builder.
    weights : str or None
        "imagenet", the path of a file, or None: random.
    random_state : int or None
        Seed of random weights.
    label : str
        How errors call the network.

    Returns
    -------
    keras.Model
        From preprocessed images to the last feature map.

    Raises
    ------
    OSError
        If the weights cannot be downloaded or read; the message says what to do.
    ValueError
        If the weights are another network's, or Keras does not accept the size or the options.
    """
    keras = import_keras()
    build = getattr(keras.applications, builder)
    source = "imagenet" if weights == "imagenet" else None
    try:
        with _seeded(random_state), warnings.catch_warnings():
            # Expected: the same weights serve every other size.
            warnings.filterwarnings("ignore", "`input_shape` is undefined", UserWarning)
            base = build(include_top=False, weights=source, input_shape=(*input_size, 3), **options)
            if source is None and build.__module__.endswith(".efficientnet"):
                base = _with_scaled_colors(base)
    except Exception as error:  # Keras' download raises a bare Exception
        explained = _explain_build_error(error, label)
        if explained is None:
            raise
        raise explained from error
    if source is None and weights is not None:
        _load_weights(base, weights, label)
    return base


def _with_scaled_colors(base):
    """Copy an EfficientNet, and add a layer that Keras builds for the ImageNet weights alone.

    They were trained with colors divided once more, by the root of the standard deviation. Without
    this layer, the file that Keras downloads would give other features than "imagenet".
    """
    import keras

    scale = [1 / math.sqrt(deviation) for deviation in (0.229, 0.224, 0.225)]

    def call(layer, *arguments, **options):
        output = layer(*arguments, **options)
        if isinstance(layer, keras.layers.Normalization):
            output = keras.layers.Rescaling(scale)(output)
        return output

    return keras.models.clone_model(base, call_function=call)


def _load_weights(base, path, label):
    """Load a weights file into a network without its top."""
    try:
        with warnings.catch_warnings():
            # Keras warns many times before it raises the error that matters.
            warnings.filterwarnings("ignore", "Skipping nested container", UserWarning)
            base.load_weights(path)
    except OSError as error:
        raise OSError(f"The weights file {path!r} of {label} cannot be read: {error}") from error
    except Exception as error:  # what Keras raises here depends on where the layers differ
        raise InvalidParameterError(
            f"The file {path!r} does not hold the weights of {label} without its top "
            "(include_top=False). Keras goes by the file's name: '.weights.h5' is what "
            "Model.save_weights writes today, another '.h5' is what Keras 2 wrote. It says: "
            + textwrap.shorten(str(error) or repr(error), 300)
        ) from error


def _explain_build_error(error, label):
    """Return what to raise when Keras fails to build a network, None if that is unknown.

    An OSError names the file of ImageNet weights to fetch, or the damaged one; a ValueError says
    which argument Keras does not accept.
    """
    url = _local_variable(error, "origin")
    if url is not None:
        target = _local_variable(error, "download_target")
        return OSError(
            f"The ImageNet weights of {label} could not be downloaded: {error}. Fetch {url} on a "
            f"machine with internet access, then save it as {target} or pass its path as `weights`."
            " Or make a bundle there, with `featbus weights fetch`."
        )
    path = _local_variable(error, "weights_path")
    if path is not None:
        return OSError(
            f"The ImageNet weights of {label} cannot be read from {path}: {error}. Delete this "
            "file; it will be downloaded again."
        )
    return InvalidParameterError(f"{label}: {error}") if isinstance(error, ValueError) else None


def _local_variable(error, name):
    """Return a local variable of the Keras function that failed.

    Keras' messages name the file only if the server does not answer; its functions always know.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if name in frame.f_locals:
            return frame.f_locals[name]
    return None


def get_output(layer):
    """Return the output of a layer where a model calls it first.

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


def _find_map(source, base, taps, layer):
    """Return the feature map of a layer: a tap, or the output of a Keras layer."""
    names = [item.name for item in base.layers]
    if layer not in taps and layer not in names:
        near = get_close_matches(layer, [*taps, *names], n=3, cutoff=0.5)
        raise InvalidParameterError(
            f"layers has {layer!r}, expected 'top', one of the stages {sorted(set(taps) - {'top'})}"
            f" of {source.name}, or the name of one of its Keras layers"
            + (f", such as {near}." if near else ".")
        )
    tensor = taps[layer] if layer in taps else get_output(base.get_layer(layer))
    if len(tensor.shape) != 4:
        raise InvalidParameterError(
            f"layers has {layer!r}, whose output is {tensor.shape}, expected a layer with a "
            "feature map (images, height, width, channels)."
        )
    return tensor


def _find_maps(source, base, taps, layers):
    """Return the feature maps of all layers, which must differ."""
    maps = {}
    for layer in layers:
        tensor = _find_map(source, base, taps, layer)
        same = [other for other, known in maps.items() if known is tensor]
        if same:
            raise InvalidParameterError(
                f"layers has {same[0]!r} and {layer!r}, which are the same output of {source.name},"
                " expected different ones."
            )
        maps[layer] = tensor
    return list(maps.values())


def _freeze(base, taps, unfreeze):
    """Freeze the layers up to the stage before `unfreeze`, and let the others train."""
    import keras

    stage = {"all": "C1", "top": "C5"}.get(unfreeze, unfreeze)
    earlier = [name for name in STAGES[: STAGES.index(stage)] if name in taps]
    frozen = keras.Model(base.input, taps[earlier[-1]]).layers if earlier else []
    names = {layer.name for layer in frozen}
    for layer in base.layers:
        layer.trainable = layer.name not in names


def _build_models(network, *kinds, change=None, unfreeze=None):
    """Build models that share one network: masked and unmasked ones, as `kinds` says."""
    keras = import_keras()
    source = network.source
    base = source.build()
    taps = source.find_taps(base)
    if unfreeze:
        _freeze(base, taps, unfreeze)
    base = keras.Model(base.input, _find_maps(source, base, taps, network.layers))
    if change:
        base = change(base)
    # Whatever the network computes in, rows are in single precision.
    maps = [keras.ops.cast(tensor, "float32") for tensor in base.outputs]
    models = [_add_pooling(base, maps, network.pooling, masked) for masked in kinds]
    return tuple(tuple(tensor.shape[1:]) for tensor in maps), *models


def _add_pooling(base, maps, pooling, masked):
    """Return the model from the input of `base` to the pooled `maps`."""
    import keras

    weights = [
        keras.Input((*tensor.shape[1:3], 1), name=f"region_{index}") if masked else None
        for index, tensor in enumerate(maps)
    ]
    rows = [pool(tensor, name, weight) for tensor, weight in zip(maps, weights) for name in pooling]
    inputs = [base.input, *weights] if masked else base.input
    return keras.Model(inputs, rows[0] if len(rows) == 1 else keras.ops.concatenate(rows, axis=-1))


def list_maps(source):
    """Build a network, and return its feature maps.

    Parameters
    ----------
    source : KerasSource
        Where the network comes from.

    Returns
    -------
    list of tuple
        Of each layer with a feature map: its name; height, width and channels; and the list of
        what else stands for it, of "top" and the stages.
    """
    with ThreadPoolExecutor(max_workers=1) as executor:  # as in `build_models`
        return executor.submit(_list_maps, source).result()


def _list_maps(source):
    base = source.build()
    taps, maps = source.find_taps(base), []
    for layer in base.layers[1:]:
        tensor = get_output(layer)
        if len(getattr(tensor, "shape", ())) == 4:
            stages = [stage for stage, tap in taps.items() if tap is tensor]
            maps.append((layer.name, tuple(tensor.shape[1:]), sorted(stages, reverse=True)))
    return maps


def build_models(network, *kinds, change=None, unfreeze=None):
    """Build what an engine runs: truncated networks with their pooling.

    Parameters
    ----------
    network : Network
        What to build.
    *kinds : bool
        One model for each: True for features of a region, False for those of the whole image.
    change : callable, default=None
        Returns a model that replaces the truncated network, such as a faster one.
    unfreeze : {"top", "C1", "C2", "C3", "C4", "C5", "all"} or None, default=None
        The layers to train: those after the previous stage. None changes nothing.

    Returns
    -------
    shapes : tuple of tuple of int
        Height, width and channels of the feature map of each of the layers.
    *models : keras.Model
        From preprocessed images, float32 of shape (n_images, height, width, 3), to rows of shape
        (n_images, n_features). The inputs of a masked one are a list: the images, then for each of
        the layers what `region_weights` returns.

    Raises
    ------
    InvalidParameterError
        If the network has no such layer, it has no feature map, or two are the same.

    Notes
    -----
    Keras keeps automatic layer names, dtype policy and scopes per thread. Networks are built in a
    thread of their own: they always have the same names, and the user's settings do not matter.
    """
    with ThreadPoolExecutor(max_workers=1) as executor:
        future = executor.submit(_build_models, network, *kinds, change=change, unfreeze=unfreeze)
        return future.result()


def pool(feature_map, name, weights=None):
    """Pool feature maps, as a part of a Keras graph.

    Parameters
    ----------
    feature_map : keras.KerasTensor of shape (n_images, height, width, channels)
        The maps; height and width are known.
    name : str
        The pooling: the average, the maximum, the generalized mean with exponent 3 [1]_, the
        standard deviation (divided by the number of cells), or all cells side by side.
    weights : keras.KerasTensor of shape (n_images, height, width, 1), default=None
        Share of each cell that lies inside the region. Averages are weighted by it, the maximum is
        that of all cells with a share, and "flatten" takes all cells. A window without region is 0.
        None: no region.

    Returns
    -------
    keras.KerasTensor of shape (n_images, n_windows * channels)
        Window by window, channel by channel.

    References
    ----------
    .. [1] Radenovic F, Tolias G, Chum O. Fine-tuning CNN image retrieval with no human annotation.
       IEEE Transactions on Pattern Analysis and Machine Intelligence 41 (2019) 1655-1668,
       doi:10.1109/TPAMI.2018.2846566, eq. 3.
    """
    from keras import layers, ops

    height, width = feature_map.shape[1:3]
    if name == "flatten":
        return layers.Flatten()(feature_map)
    statistic = {"avg": _mean, "max": _max, "gem": _gem, "std": _std}[name[:3]]
    rows = []
    for _, top, left, bottom, right in windows(name, height, width):
        window = slice(None), slice(top, bottom), slice(left, right)
        inside = None if weights is None else weights[window]
        rows.append(_pool_window(statistic, feature_map[window], inside))
    return rows[0] if len(rows) == 1 else ops.concatenate(rows, axis=-1)


def _pool_window(statistic, cells, weights):
    """Return the statistic of the cells with a weight, 0 where there is none."""
    from keras import ops

    if weights is None:
        return statistic(cells, None)
    touched = ops.max(weights, axis=(1, 2)) > 0
    # Weights that are all 0 would make the gradient of a network that is trained NaN.
    weights = ops.where(touched[:, None, None], weights, 1.0)
    return ops.where(touched, statistic(cells, weights), 0.0)


def _mean(cells, weights):
    from keras import ops

    if weights is None:
        return ops.mean(cells, axis=(1, 2))
    return ops.sum(cells * weights, axis=(1, 2)) / ops.sum(weights, axis=(1, 2))


def _max(cells, weights):
    from keras import ops

    if weights is None:
        return ops.max(cells, axis=(1, 2))
    return ops.max(ops.where(weights > 0, cells, -3e38), axis=(1, 2))


def _gem(cells, weights):
    from keras import ops

    powers = ops.power(ops.maximum(cells, GEM_FLOOR), GEM_POWER)
    return ops.power(_mean(powers, weights), 1 / GEM_POWER)


def _std(cells, weights):
    from keras import ops

    mean = _mean(cells, weights)[:, None, None]
    variance = _mean(ops.square(cells - mean), weights)
    # The root has no gradient at 0, which is the variance of a region in a single cell.
    varies = variance > 0
    return ops.where(varies, ops.sqrt(ops.where(varies, variance, 1.0)), 0.0)
