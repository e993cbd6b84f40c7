"""Building: Keras networks, truncated at the layers that features are taken from."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from difflib import get_close_matches

from featbus.base import thread_limit
from featbus.networks._sources import STAGES, Source
from featbus.parameters import InvalidParameterError


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
    only_errors = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "3"
    try:
        with _without_greeting() if only_errors else nullcontext():
            import keras
    except ImportError as error:
        raise ImportError(
            f"Networks need Keras and TensorFlow: pip install keras tensorflow ({error})"
        ) from error
    if keras.config.image_data_format() != "channels_last":
        raise RuntimeError(
            "Keras is set to image_data_format 'channels_first', featbus needs 'channels_last': "
            "call keras.config.set_image_data_format('channels_last')."
        )
    if keras.backend.backend() == "tensorflow":
        _limit_tensorflow()
    return keras


@contextmanager
def _without_greeting():
    """Discard what TensorFlow's C++ code prints on import, before it reads the level."""
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


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

    source: Source
    layers: tuple[str, ...] = ("top",)
    pooling: tuple[str, ...] = ("avg",)
    engine: str = "keras"
    precision: str = "fp32"

    @property
    def identity(self):
        """What the rows depend on, as JSON has it."""
        own = ("layers", "pooling", "engine", "precision")
        return self.source.identity | {name: getattr(self, name) for name in own}


class KerasSource(Source):
    """A network that Keras builds.

    A subclass has two more methods. ``build()`` returns the network without its classifier, a new
    `keras.Model` from preprocessed images to feature maps, with weights. ``find_taps(base)``
    returns the feature maps of "top" and of the stages that it has, by name, in the order of the
    stages.
    """

    engines = ("keras", "openvino")

    def label(self, layer):
        """Return the name of a layer in the names of columns.

        Parameters
        ----------
        layer : str
            "top", a stage or the name of a layer.

        Returns
        -------
        str
            `layer`, or the name of the layer that it stands for.

        Raises
        ------
        InvalidParameterError
            If it is certain that the network has no such layer.
        """
        return layer

    def check_layers(self, layers, pooling):
        """Check layers and their pooling, as far as is known before the network is built.

        Parameters
        ----------
        layers : sequence of str
            "top", stages and names of layers.
        pooling : sequence of str
            The poolings.

        Raises
        ------
        InvalidParameterError
            If it is certain that there is no such layer, that two are the same, or that they cannot
            be pooled so.
        """
        if len({self.label(layer) for layer in layers}) < len(layers):
            raise InvalidParameterError(
                f"layers is {layers!r}, expected different layers of {self}."
            )
        if "cls" in pooling:
            raise InvalidParameterError(
                f"pooling has 'cls', expected another one: {self} has feature maps, and no tokens."
            )

    def list_layers(self):
        """Return the layers that features can be taken from; builds the network.

        Returns
        -------
        list of tuple
            In the order of computation: name; "map"; height, width and channels; number of class
            and register tokens, 0; and which of "top" and the stages stand for the layer.
        """
        return build_apart(_list_maps, self)


def build_maps(network, unfreeze=None):
    """Build a network that ends at the layers that features are taken from.

    Parameters
    ----------
    network : Network
        What to build.
    unfreeze : {"top", "C1", "C2", "C3", "C4", "C5", "all"} or None, default=None
        The layers to train: those after the previous stage. None changes nothing.

    Returns
    -------
    keras.Model
        From preprocessed images, float32 of shape (n_images, height, width, 3), to a list of
        feature maps in single precision, one per layer.

    Raises
    ------
    InvalidParameterError
        If the network has no such layer, or it has no feature map.
    """
    return build_apart(_build_maps, network, unfreeze)


def build_apart(function, *arguments):
    """Call a function that builds a network, in a thread of its own.

    Keras keeps automatic layer names, dtype policy and scopes per thread: networks always have the
    same names and compute in single precision, whatever the user has set.

    Parameters
    ----------
    function : callable
        What to call.
    *arguments : object
        Its arguments.

    Returns
    -------
    object
        Its result.
    """

    def build():
        import_keras().config.set_dtype_policy("float32")
        return function(*arguments)

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(build).result()


def _build_maps(network, unfreeze):
    import keras

    source = network.source
    base = source.build()
    taps = source.find_taps(base)
    if unfreeze:
        _freeze(base, taps, unfreeze)
    maps = [_find_map(source, base, taps, layer) for layer in network.layers]
    # Whatever the network computes in, rows are in single precision.
    return keras.Model(base.inputs[0], [keras.ops.cast(tensor, "float32") for tensor in maps])


def _find_map(source, base, taps, layer):
    """Return the feature map of a layer: a tap, or the output of a Keras layer."""
    names = [item.name for item in base.layers]
    tensor = taps.get(layer)
    if tensor is None and layer in names:
        tensor = get_output(base.get_layer(layer))
    if tensor is None or len(tensor.shape) != 4:
        near = get_close_matches(layer, [*taps, *names], n=3)
        raise InvalidParameterError(
            f"layers has {layer!r}, expected one of {sorted(taps)} or the name of a Keras layer of "
            f"{source.name} with a feature map, such as {near}. `list_layers` shows all."
        )
    return tensor


def _freeze(base, taps, unfreeze):
    """Freeze the layers up to the stage before `unfreeze`, and let the others train."""
    import keras

    stage = {"all": "C1", "top": "C5"}.get(unfreeze, unfreeze)
    earlier = [name for name in STAGES[: STAGES.index(stage)] if name in taps]
    frozen = keras.Model(base.inputs[0], taps[earlier[-1]]).layers if earlier else []
    names = {layer.name for layer in frozen}
    for layer in base.layers:
        layer.trainable = layer.name not in names


def _list_maps(source):
    base = source.build()
    taps, maps = source.find_taps(base), []
    for layer in base.layers[1:]:
        tensor = get_output(layer)
        if len(getattr(tensor, "shape", ())) == 4:
            stages = [stage for stage, tap in taps.items() if tap is tensor]
            shape = tuple(tensor.shape[1:])
            maps.append((layer.name, "map", shape, 0, sorted(stages, reverse=True)))
    return maps


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
