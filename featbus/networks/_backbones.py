"""The backbones: one table that code, tests and documentation share."""

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

STAGES = ("C1", "C2", "C3", "C4", "C5")

# Per mode: whether channels come as BGR, the mean to subtract and the scale to divide by.
_PREPROCESSING = {
    "caffe": (True, (103.939, 116.779, 123.68), 1),
    "tf": (False, 127.5, 127.5),
    "torch": (False, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "none": (False, 0, 1),
}


def preprocess(pixels, mode):
    """Bring pixels to the values that a network was trained on.

    Parameters
    ----------
    pixels : ndarray of float32 of shape (..., 3)
        RGB, 0..255.
    mode : {"caffe", "tf", "torch", "none"}
        "caffe": BGR minus ImageNet's mean colour; "tf": -1..1; "torch": 0..1 minus ImageNet's mean
        colour, divided by its standard deviation; "none": as it is, the network does it itself.

    Returns
    -------
    ndarray of float32 of shape (..., 3)
        What `keras.applications.imagenet_utils.preprocess_input` returns for this `mode`.
    """
    reverse, mean, scale = _PREPROCESSING[mode]
    if reverse:
        pixels = pixels[..., ::-1]
    return (pixels - np.float32(mean)) / np.float32(scale)


@dataclass(frozen=True)
class Backbone:
    """A network of `keras.applications`, and what there is to know to use it without its top.

    Attributes
    ----------
    builder : str
        Name of the function in `keras.applications`.
    preprocessing : {"caffe", "tf", "torch", "none"}
        See `preprocess`.
    taps : tuple of str
        The tensors of the stages C1 to C5, of stride 2, 4, 8, 16 and 32: the ones that
        encoder-decoders take their skip connections from. A layer's name means its output,
        ``"<name"`` its input, ``">output"`` the output of the network; C5 always is the output.
    input_size : int
        Height and width in pixels that the ImageNet weights were trained at.
    options : tuple of str
        Parameters of the builder that change the architecture.
    """

    builder: str
    preprocessing: str
    taps: tuple[str, ...]
    input_size: int = 224
    options: tuple[str, ...] = ()

    def tap(self, layer):
        """Return where a layer is tapped.

        Parameters
        ----------
        layer : str
            "top", a stage or the name of a Keras layer.

        Returns
        -------
        str
            An entry of `taps`, or the layer's name itself.
        """
        stage = "C5" if layer == "top" else layer
        return self.taps[STAGES.index(stage)] if stage in STAGES else layer

    def label(self, layer):
        """Return how features of a layer are called.

        Parameters
        ----------
        layer : str
            "top", a stage or the name of a Keras layer.

        Returns
        -------
        str
            The name of the Keras layer where the tap is the output of a named one, else `layer`.
        """
        tap = self.tap(layer)
        return layer if tap.startswith(("<", ">")) else tap


def _vgg(builder, last):
    """Return a VGG whose deeper blocks end in the `last` convolution."""
    deep = tuple(f"block{block}_conv{last}" for block in (3, 4, 5))
    return Backbone(builder, "caffe", ("block2_conv2", *deep, "block5_pool"))


def _resnet(builder, n_blocks):
    """Return a ResNet whose third and fourth stage have `n_blocks` blocks."""
    taps = (f"conv3_block{n_blocks[0]}_out", f"conv4_block{n_blocks[1]}_out", "conv5_block3_out")
    return Backbone(builder, "caffe", ("conv1_relu", "conv2_block3_out", *taps))


def _resnet_v2(builder, n_blocks):
    taps = (f"conv3_block{n_blocks[0]}_1_relu", f"conv4_block{n_blocks[1]}_1_relu", "post_relu")
    return Backbone(builder, "tf", ("conv1_conv", "conv2_block3_1_relu", *taps))


def _mobilenet_v3(builder, blocks):
    # The activations have automatic names: they are tapped as the input of the layer behind.
    taps = tuple(f"<expanded_conv_{block}depthwise_pad" for block in blocks)
    return Backbone(builder, "none", (*taps, ">output"), options=("alpha", "minimalistic"))


_DENSENET_TAPS = ("conv1_relu", "pool2_conv", "pool3_conv", "pool4_conv", "relu")
_EFFICIENTNET_TAPS = ("block4a_expand_activation", "block6a_expand_activation", "top_activation")

BACKBONES = {
    "vgg16": _vgg("VGG16", 3),
    "vgg19": _vgg("VGG19", 4),
    "inception_v3": Backbone(
        "InceptionV3",
        "tf",
        ("<max_pooling2d", "<max_pooling2d_1", "mixed2", "mixed7", "mixed10"),
        input_size=299,
    ),
    "xception": Backbone(
        "Xception",
        "tf",
        (
            "block2_sepconv2_bn",
            "block3_sepconv2_bn",
            "block4_sepconv2_bn",
            "block13_sepconv2_bn",
            "block14_sepconv2_act",
        ),
        input_size=299,
    ),
    "resnet50": _resnet("ResNet50", (4, 6)),
    "resnet101": _resnet("ResNet101", (4, 23)),
    "resnet152": _resnet("ResNet152", (8, 36)),
    "resnet50_v2": _resnet_v2("ResNet50V2", (4, 6)),
    "resnet101_v2": _resnet_v2("ResNet101V2", (4, 23)),
    "mobilenet": Backbone(
        "MobileNet",
        "tf",
        tuple(f"conv_pw_{block}_relu" for block in (1, 3, 5, 11, 13)),
        options=("alpha",),
    ),
    "mobilenet_v2": Backbone(
        "MobileNetV2",
        "tf",
        (*(f"block_{block}_expand_relu" for block in (1, 3, 6, 13)), "out_relu"),
        options=("alpha",),
    ),
    "mobilenet_v3_small": _mobilenet_v3("MobileNetV3Small", ("", "1_", "3_", "8_")),
    "mobilenet_v3_large": _mobilenet_v3("MobileNetV3Large", ("1_", "3_", "6_", "12_")),
    "densenet121": Backbone("DenseNet121", "torch", _DENSENET_TAPS),
    "densenet201": Backbone("DenseNet201", "torch", _DENSENET_TAPS),
    "efficientnet_v2_b0": Backbone(
        "EfficientNetV2B0",
        "none",
        ("block1a_project_activation", "block2b_add", *_EFFICIENTNET_TAPS),
    ),
    "efficientnet_v2_s": Backbone(
        "EfficientNetV2S",
        "none",
        ("block1b_add", "block2d_add", *_EFFICIENTNET_TAPS),
        input_size=384,
    ),
}


def get_backbone(name, options=None):
    """Return a row of the table, and check the options of its builder.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`.
    options : dict or None, default=None
        Parameters of the builder.

    Returns
    -------
    Backbone
        The row.

    Raises
    ------
    ValueError
        If there is no such backbone, or it has no such option.
    """
    if name not in BACKBONES:
        near = get_close_matches(str(name).lower(), BACKBONES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"backbone is {name!r}, expected one of {sorted(BACKBONES)}.{hint}")
    backbone = BACKBONES[name]
    unknown = sorted(set(options or {}) - set(backbone.options))
    if unknown:
        expected = f"one of {list(backbone.options)}" if backbone.options else "no options"
        raise ValueError(f"backbone_options has {unknown}, {name} expects {expected}.")
    return backbone
