"""Named networks (`keras.applications`), and the lookup of their weights."""

import math
import os
import random
import re
import textwrap
import warnings
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from featbus.networks._building import KerasSource, get_output, import_keras
from featbus.networks._sources import BACKBONES, NAMED, check_unchanged, file_digest, get_backbone
from featbus.parameters import InvalidParameterError, as_pair

# Keras downloads from below this address.
_DOWNLOADS = "https://storage.googleapis.com/tensorflow/keras-applications/"


@dataclass(frozen=True, eq=False)
class KerasApplication(KerasSource):
    """A network of the table.

    Attributes
    ----------
    name : str
        A key of `BACKBONES`.
    input_size : tuple of int
        Height and width of the input in pixels.
    weights : str or None
        "imagenet", the path of a file, or None: random.
    digest : str or None
        Digest of the weights file, so that a changed file is another network.
    random_state : int or None
        Seed of random weights.
    options : dict
        Parameters of the backbone's builder.
    """

    name: str
    input_size: tuple[int, int]
    weights: str | None = None
    digest: str | None = None
    random_state: int | None = 0
    options: dict = field(default_factory=dict)

    @classmethod
    def accepts(cls, backbone):
        """See `Source`."""
        return isinstance(backbone, str) and backbone in BACKBONES

    @classmethod
    def from_parameters(
        cls, *, backbone, backbone_options, weights, preprocessing, input_size, random_state
    ):
        """See `Source`."""
        row = get_backbone(backbone, backbone_options)
        if preprocessing is not None:
            raise InvalidParameterError(
                f"preprocessing is {preprocessing!r}, expected None: {backbone} has its own. The "
                "parameter is for a keras.Model or a '.keras' file as backbone."
            )
        size = as_pair(row.input_size if input_size is None else input_size)
        path, digest = weights, None
        if weights not in (None, "imagenet"):
            path = os.fspath(weights)
            if not os.path.isfile(path):
                raise FileNotFoundError(
                    f"weights is {path!r}, and there is no such file. Expected 'imagenet', None, "
                    "the path of a Keras weights file, or the folder of a weights bundle."
                )
            digest = file_digest(path)
        elif backbone == "small_cnn" and path == "imagenet":
            raise InvalidParameterError(
                f"weights is {weights!r}, expected None or a file: {backbone} is not pretrained."
            )
        seed = int(random_state) if path is None else None
        return cls(backbone, size, path, digest, seed, backbone_options or {})

    @cached_property
    def preprocessing(self):
        """See `Source`."""
        return NAMED[BACKBONES[self.name].preprocessing]

    @cached_property
    def identity(self):
        """See `Source`; Keras' release identifies random weights and its ImageNet weights."""
        # Without Keras, the import says what to install.
        release = self.digest or (version("keras") if find_spec("keras") else import_keras())
        return {
            "backbone": self.name,
            "input_size": list(map(int, self.input_size)),
            "weights": self.digest or f"{self.weights}, keras {release}",
            "random_state": self.random_state,
            "options": self.options,
        }

    def label(self, layer):
        """See `KerasSource.label`."""
        tap = BACKBONES[self.name].taps.get(layer, layer)
        return layer if tap.startswith(("<", ">")) else tap

    def build(self):
        """Build the network, see `KerasSource`.

        Raises
        ------
        OSError
            If the weights cannot be downloaded or read; the message says what to do.
        ValueError
            If the weights are another network's, or Keras does not accept the size or the options.
        """
        keras = import_keras()
        own_builder = partial(_build_small_cnn, self.random_state or 0)
        builder = getattr(keras.applications, BACKBONES[self.name].builder, own_builder)
        weights = "imagenet" if self.weights == "imagenet" else None
        shape = (*self.input_size, 3)
        # Not Keras' own input, which has the type that the user has set as `floatx`.
        own = {"input_shape": shape, "input_tensor": keras.Input(shape, dtype="float32")}
        state = random.getstate()
        random.seed(self.random_state)  # Keras' initializers draw their seeds from it
        try:
            with warnings.catch_warnings():
                # Expected: the same weights serve every other size.
                warnings.filterwarnings("ignore", "`input_shape` is undefined", UserWarning)
                base = builder(include_top=False, weights=weights, **own, **self.options)
                if weights is None and builder.__module__.endswith(".efficientnet"):
                    base = _with_scaled_colors(base)  # draws its weights again
        except ValueError as error:
            raise InvalidParameterError(f"{self}: {error}") from error
        except Exception as error:  # Keras' download raises a bare Exception
            raise self._unavailable(error) from error
        finally:
            random.setstate(state)
        if weights is None and self.weights is not None:
            check_unchanged(self, self.digest and file_digest(self.weights))
            _load_weights(base, self.weights, str(self))
        return base

    def check_weights(self):
        """See `Source`. Keras, whose import takes seconds, is not needed."""
        if self.weights != "imagenet":
            return
        homes = os.environ.get("KERAS_HOME", "~/.keras"), "/tmp/.keras"  # Keras' second choice
        paths = [*chain(*(Path(home).expanduser().glob("models/*no*top*") for home in homes))]
        names = [re.sub("[^a-z0-9]", "", path.name.lower()) for path in paths]
        if any(self.name.replace("_", "") in name for name in names):
            return
        try:
            urlopen(Request(_DOWNLOADS, method="HEAD"), timeout=5).close()
        except HTTPError:
            pass  # the server has answered
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error):
        return OSError(
            f"The ImageNet weights of {self} cannot be loaded: {error}. Without internet, pass a "
            "weights file as `weights`, or a bundle that `featbus weights fetch` made on another "
            "machine. Delete a damaged file in ~/.keras/models to download it again."
        )

    def find_taps(self, base):
        """See `KerasSource`."""
        return {stage: _find_tensor(base, tap) for stage, tap in BACKBONES[self.name].taps.items()}

    def __str__(self):
        options = ", ".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return f"{self.name}({options})" if options else self.name


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


def _build_small_cnn(seed, input_tensor, **others):
    """Build five convolutions, each of which halves the map, as `keras.applications` would."""
    import keras

    maps, options = input_tensor, {"strides": 2, "padding": "same", "activation": "relu"}
    for number, (stage, width) in enumerate(BACKBONES["small_cnn"].widths.items()):
        options["kernel_initializer"] = keras.initializers.HeNormal(seed + number)
        maps = keras.layers.Conv2D(width, 3, name=stage, **options)(maps)
    return keras.Model(input_tensor, maps, name="small_cnn")


def _load_weights(base, path, name):
    """Load a weights file into a network without its top."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # many, before the error that matters
            base.load_weights(path)
    except Exception as error:  # what Keras raises here depends on where the layers differ
        raise InvalidParameterError(
            f"The file {path!r} cannot be read as its ending says, or does not hold the weights of "
            f"{name} without its top (include_top=False): "
            + textwrap.shorten(str(error) or repr(error), 300)
        ) from error


def _find_tensor(base, tap):
    """Return the tensor of a network that a tap in the table means."""
    if tap == ">output":
        return base.output
    if tap.startswith("<"):
        return base.get_layer(tap[1:]).input
    return get_output(base.get_layer(tap))
