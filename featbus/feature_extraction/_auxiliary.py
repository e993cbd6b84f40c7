"""Light stages after the maps of a network, which are trained with it."""

from featbus.networks import KerasSource


class AuxiliarySource(KerasSource):
    """A network with a depthwise and a pointwise convolution after some of its maps.

    Parameters
    ----------
    source : KerasSource
        The network.
    layers : sequence of str
        The maps: "top", or stages.
    channels : int
        Channels of each stage.
    random_state : int
        Seed of the weights.

    Attributes
    ----------
    outputs : tuple of str
        How `find_taps` calls the maps of the stages, in the order of `layers`.
    """

    def __init__(self, source, layers, channels, random_state):
        self._source = source
        self._layers = layers
        self._channels = int(channels)
        self._random_state = int(random_state)
        self.outputs = tuple(f"{layer}_auxiliary" for layer in layers)
        self.name = source.name
        self.preprocessing = source.preprocessing
        self.input_size = source.input_size
        self.digest = source.digest

    @property
    def identity(self):
        """See `Source`."""
        stage = {"auxiliary": self._channels, "auxiliary_random_state": self._random_state}
        return self._source.identity | stage

    def label(self, layer):
        """See `Source.label`."""
        if layer in self.outputs:
            layer = self._layers[self.outputs.index(layer)]
            return f"{self._source.label(layer)}_auxiliary"
        return self._source.label(layer)

    def build(self):
        """See `KerasSource.build`; the stages come with `find_taps`."""
        return self._source.build()

    def find_taps(self, base):
        """See `KerasSource.find_taps`."""
        taps = self._source.find_taps(base)
        stages = {
            output: self._add_stage(taps[layer], output)
            for layer, output in zip(self._layers, self.outputs)
            if layer in taps
        }
        return taps | stages

    def _add_stage(self, maps, name):
        """Return the maps after a depthwise and a pointwise convolution."""
        from keras import initializers, layers

        # Without batch normalization, which would keep its initial statistics.
        first, second = (
            initializers.HeNormal(seed=self._random_state + number) for number in range(2)
        )
        maps = layers.DepthwiseConv2D(
            3,
            padding="same",
            activation="relu6",
            depthwise_initializer=first,
            name=f"{name}_depthwise",
        )(maps)
        return layers.Conv2D(
            self._channels,
            1,
            activation="relu6",
            kernel_initializer=second,
            name=f"{name}_pointwise",
        )(maps)
