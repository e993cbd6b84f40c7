"""A small convolutional network, to be trained from the beginning."""

from dataclasses import dataclass

from featbus.networks._building import STAGES, import_keras
from featbus.networks._preprocessing import NAMED
from featbus.networks._sources import KerasSource
from featbus.parameters import InvalidParameterError, as_pair

_NAME = "small_cnn"
_WIDTHS = 16, 32, 64, 128, 128
_INPUT_SIZE = 128


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

    name = _NAME
    preprocessing = NAMED["tf"]
    digest = None

    @classmethod
    def accepts(cls, backbone):
        """See `Source.accepts`."""
        return isinstance(backbone, str) and backbone == _NAME

    @classmethod
    def from_parameters(
        cls, *, backbone, backbone_options, weights, preprocessing, input_size, random_state
    ):
        """See `Source.from_parameters`."""
        given = {"weights": weights, "preprocessing": preprocessing}
        for name, value in (given | {"backbone_options": backbone_options or None}).items():
            if value is not None:
                raise InvalidParameterError(
                    f"{name} is {value!r}, expected None: {_NAME} has random weights and "
                    "no options."
                )
        if random_state is None:
            raise InvalidParameterError(
                "random_state is None, expected an integer: random weights have to be the same "
                "ones every time."
            )
        return cls(as_pair(_INPUT_SIZE if input_size is None else input_size), int(random_state))

    @property
    def identity(self):
        """See `Source`."""
        size = list(map(int, self.input_size))
        return {"backbone": _NAME, "input_size": size, "random_state": self.random_state}

    def build(self):
        """See `KerasSource.build`."""
        keras = import_keras()
        image = maps = keras.Input((*self.input_size, 3))
        for number, (stage, width) in enumerate(zip(STAGES, _WIDTHS)):
            maps = keras.layers.Conv2D(
                width,
                3,
                strides=2,
                padding="same",
                activation="relu",
                kernel_initializer=keras.initializers.HeNormal(seed=self.random_state + number),
                name=stage,
            )(maps)
        return keras.Model(image, maps, name=_NAME)

    def find_taps(self, base):
        """See `KerasSource.find_taps`."""
        return {stage: base.get_layer(stage).output for stage in STAGES} | {"top": base.output}
