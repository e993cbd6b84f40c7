"""The network: a U-Net whose encoder is one of Keras' networks."""

from itertools import count

from featbus.networks import STAGES, import_keras
from featbus.parameters import InvalidParameterError

# Channels of the decoder at strides 16, 8, 4, 2 and 1.
_WIDTHS = (96, 48, 32, 24, 32)
# Iglovikov and Shvets, and most U-Nets on MobileNet since, tap the first convolution.
_FIRST_TAPS = {"mobilenet": "conv1_relu"}
# Batches are small and few: statistics of Keras' default, 0.99, would lag behind.
_MOMENTUM = 0.9


def build_unet(source, base, seed=0):
    """Add a decoder to an encoder.

    Parameters
    ----------
    source : KerasSource
        Where the encoder comes from.
    base : keras.Model
        The encoder, as the source builds it.
    seed : int, default=0
        Seed of the decoder's random weights.

    Returns
    -------
    keras.Model
        From preprocessed images to the probability of each pixel, the output of the layer
        "probability", of shape (height, width, 1).

    Raises
    ------
    InvalidParameterError
        If the encoder has no feature maps of 1/2 to 1/32 of the height and width of its input.

    References
    ----------
    .. [1] Ronneberger O, Fischer P, Brox T. U-Net: convolutional networks for biomedical image
       segmentation. MICCAI 2015, 234-241, doi:10.1007/978-3-319-24574-4_28.
    """
    keras = import_keras()
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _MOMENTUM
    seeds = count(1000 * seed)

    def convolve(kind, maps, *arguments, name, **options):
        """Apply a convolution, batch normalization and ReLU."""
        initializer = keras.initializers.GlorotUniform(next(seeds))
        options |= {"use_bias": False, "kernel_initializer": initializer}
        maps = kind(*arguments, name=name, **options)(maps)
        maps = keras.layers.BatchNormalization(momentum=_MOMENTUM, name=f"{name}_bn")(maps)
        return keras.layers.ReLU(name=f"{name}_relu")(maps)

    layers = keras.layers
    *skips, maps = _feature_maps(source, base)
    for stage, width, skip in zip(STAGES[-2::-1], _WIDTHS, skips[::-1]):
        name = f"decoder_{stage}"
        maps = convolve(layers.Conv2DTranspose, maps, width, 2, strides=2, name=f"{name}_up")
        skip = convolve(layers.Conv2D, skip, width, 1, name=f"{name}_skip")
        maps = layers.Concatenate(name=f"{name}_join")([maps, skip])
        maps = convolve(layers.Conv2D, maps, width, 3, padding="same", name=name)
    maps = convolve(layers.Conv2DTranspose, maps, _WIDTHS[-1], 2, strides=2, name="decoder_up")
    last = {
        "activation": "sigmoid",
        "kernel_initializer": keras.initializers.GlorotUniform(next(seeds)),
    }
    maps = layers.Conv2D(1, 1, name="probability", **last)(maps)
    return keras.Model(base.input, maps, name="unet")


def _feature_maps(source, base):
    """Return the feature maps of the five stages; they halve height and width each time."""
    taps = source.find_taps(base)
    if source.name in _FIRST_TAPS:
        taps["C1"] = base.get_layer(_FIRST_TAPS[source.name]).output
    height, width = base.input.shape[1:3]
    expected = [(height >> level, width >> level) for level in range(1, 6)]
    found = [tuple(taps[stage].shape[1:3]) if stage in taps else None for stage in STAGES]
    if found != expected or height % 32 or width % 32:
        raise InvalidParameterError(
            f"encoder is {source}, whose feature maps for images of {height} x {width} pixels are "
            f"{found}, expected {expected}: an encoder such as a MobileNet, ResNet or VGG, and an "
            "input_size that is a multiple of 32."
        )
    return [taps[stage] for stage in STAGES]


def overlap_loss(weight=1.0):
    """Return the loss: binary cross-entropy plus Dice loss, one value per image.

    Parameters
    ----------
    weight : float, default=1.0
        Weight of the pixels inside the mask in the cross-entropy.

    Returns
    -------
    callable
        From masks and probabilities, of shape (n, height, width, 1), to losses of shape (n,). The
        Dice loss ``1 - 2 |A B| / (|A| + |B|)`` [1]_ is that of probabilities, with 1 added to
        numerator and denominator: an empty mask calls for an empty prediction.

    References
    ----------
    .. [1] Milletari F, Navab N, Ahmadi S-A. V-Net: fully convolutional neural networks for
       volumetric medical image segmentation. 3DV 2016, arXiv:1606.04797.
    """
    from keras import ops

    def loss(masks, probabilities):
        p = ops.clip(probabilities, 1e-6, 1 - 1e-6)
        entropy = -(weight * masks * ops.log(p) + (1 - masks) * ops.log(1 - p))
        axes = (1, 2, 3)
        both = ops.sum(masks * p, axis=axes)
        dice = (2 * both + 1) / (ops.sum(masks, axis=axes) + ops.sum(p, axis=axes) + 1)
        return ops.mean(entropy, axis=axes) + 1 - dice

    return loss
