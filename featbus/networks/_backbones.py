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
PREPROCESSING = tuple(_PREPROCESSING)


def preprocess(pixels, mode):
    """Bring pixels to the values that a network was trained on.

    Parameters
    ----------
    pixels : ndarray of uint8 or float32 of shape (..., 3)
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
    # With a plain minus, NumPy 1 takes half precision for a number and bytes.
    pixels = np.subtract(pixels, np.float32(mean), dtype=np.float32)
    pixels /= np.float32(scale)
    return pixels


@dataclass(frozen=True)
class Backbone:
    """A network of `keras.applications`, and what there is to know to use it without its top.

    Attributes
    ----------
    builder : str
        Name of the function in `keras.applications`.
    preprocessing : {"caffe", "tf", "torch", "none"}
        See `preprocess`.
    taps : tuple of str or None
        The tensors of the stages C1 to C5, of stride 2, 4, 8, 16 and 32: the ones that
        encoder-decoders take their skip connections from. A layer's name means its output,
        ``"<name"`` its input, ``">output"`` the output of the network; C5 always is the output.
        None: the network has no such stage.
    parameters : int
        Number of its weights, those of the top left out.
    widths : tuple of int or None
        Channels at the stages C1 to C5.
    top_1 : float or None
        Accuracy on ImageNet's validation images in per cent, as Keras publishes it.
    input_size : int
        Height and width in pixels that the ImageNet weights were trained at.
    options : tuple of str
        Parameters of the builder that change the architecture.
    """

    builder: str
    preprocessing: str
    taps: tuple[str | None, ...]
    parameters: int
    widths: tuple[int | None, ...]
    top_1: float | None = None
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

        Raises
        ------
        ValueError
            If the network has no such stage.
        """
        stage = "C5" if layer == "top" else layer
        tap = self.taps[STAGES.index(stage)] if stage in STAGES else layer
        if tap is None:
            there = [stage for stage, tap in zip(STAGES, self.taps) if tap]
            raise ValueError(f"layers has {layer!r}, a stage that {self.builder} has not: {there}.")
        return tap

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


def _vgg(builder, last, *numbers):
    """Return a VGG whose deeper blocks end in the `last` convolution.

    Here and below, `numbers` are those of a row: parameters, widths and accuracy.
    """
    deep = tuple(f"block{block}_conv{last}" for block in (3, 4, 5))
    return Backbone(builder, "caffe", ("block2_conv2", *deep, "block5_pool"), *numbers)


def _resnet(builder, n_blocks, *numbers):
    """Return a ResNet whose third and fourth stage have `n_blocks` blocks."""
    taps = (f"conv3_block{n_blocks[0]}_out", f"conv4_block{n_blocks[1]}_out", "conv5_block3_out")
    return Backbone(builder, "caffe", ("conv1_relu", "conv2_block3_out", *taps), *numbers)


def _resnet_v2(builder, n_blocks, *numbers):
    taps = (f"conv3_block{n_blocks[0]}_1_relu", f"conv4_block{n_blocks[1]}_1_relu", "post_relu")
    return Backbone(builder, "tf", ("conv1_conv", "conv2_block3_1_relu", *taps), *numbers)


def _densenet(builder, *numbers):
    taps = ("conv1_relu", "pool2_conv", "pool3_conv", "pool4_conv", "relu")
    return Backbone(builder, "torch", taps, *numbers)


def _mobilenet_v3(builder, blocks, *numbers):
    # The activations have automatic names: they are tapped as the input of the layer behind.
    taps = tuple(f"<expanded_conv_{block}depthwise_pad" for block in blocks)
    return Backbone(
        builder, "none", (*taps, ">output"), *numbers, options=("alpha", "minimalistic")
    )


def _nasnet(builder, n_cells, input_size, *numbers):
    """Return a NASNet with `n_cells` cells between reductions."""
    cells = (n_cells - 1, 2 * n_cells)
    taps = ("stem_bn1", "reduction_concat_stem_1", *(f"normal_concat_{cell}" for cell in cells))
    return Backbone(builder, "tf", (*taps, ">output"), *numbers, input_size=input_size)


_EFFICIENTNET_TAPS = ("block4a_expand_activation", "block6a_expand_activation", "top_activation")


def _efficientnet(builder, input_size, *numbers):
    taps = ("block2a_expand_activation", "block3a_expand_activation", *_EFFICIENTNET_TAPS)
    return Backbone(builder, "none", taps, *numbers, input_size=input_size)


def _efficientnet_v2(builder, last, input_size, *numbers):
    """Return an EfficientNetV2 whose first and second stage end in the `last` layers."""
    return Backbone(builder, "none", (*last, *_EFFICIENTNET_TAPS), *numbers, input_size=input_size)


def _convnext(builder, *numbers):
    # It starts at stride 4, and its layers are called as the network is in Keras.
    name = builder.replace("ConvNeXt", "convnext_").lower()
    taps = tuple(f"<{name}_downsampling_block_{block}" for block in range(3))
    return Backbone(builder, "none", (None, *taps, ">output"), *numbers)


BACKBONES = {
    "vgg16": _vgg("VGG16", 3, 14_714_688, (128, 256, 512, 512, 512), 71.3),
    "vgg19": _vgg("VGG19", 4, 20_024_384, (128, 256, 512, 512, 512), 71.3),
    "inception_v3": Backbone(
        "InceptionV3",
        "tf",
        ("<max_pooling2d", "<max_pooling2d_1", "mixed2", "mixed7", "mixed10"),
        21_802_784,
        (64, 192, 288, 768, 2048),
        77.9,
        input_size=299,
    ),
    "inception_resnet_v2": Backbone(
        "InceptionResNetV2",
        "tf",
        (
            "<max_pooling2d",
            "<max_pooling2d_1",
            "block35_10_ac",
            "block17_20_ac",
            "conv_7b_ac",
        ),
        54_336_736,
        (64, 192, 320, 1088, 1536),
        80.3,
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
        20_861_480,
        (128, 256, 728, 1024, 2048),
        79.0,
        input_size=299,
    ),
    "resnet50": _resnet("ResNet50", (4, 6), 23_587_712, (64, 256, 512, 1024, 2048), 74.9),
    "resnet101": _resnet("ResNet101", (4, 23), 42_658_176, (64, 256, 512, 1024, 2048), 76.4),
    "resnet152": _resnet("ResNet152", (8, 36), 58_370_944, (64, 256, 512, 1024, 2048), 76.6),
    "resnet50_v2": _resnet_v2("ResNet50V2", (4, 6), 23_564_800, (64, 64, 128, 256, 2048), 76.0),
    "resnet101_v2": _resnet_v2("ResNet101V2", (4, 23), 42_626_560, (64, 64, 128, 256, 2048), 77.2),
    "resnet152_v2": _resnet_v2("ResNet152V2", (8, 36), 58_331_648, (64, 64, 128, 256, 2048), 78.0),
    "densenet121": _densenet("DenseNet121", 7_037_504, (64, 128, 256, 512, 1024), 75.0),
    "densenet169": _densenet("DenseNet169", 12_642_880, (64, 128, 256, 640, 1664), 76.2),
    "densenet201": _densenet("DenseNet201", 18_321_984, (64, 128, 256, 896, 1920), 77.3),
    "mobilenet": Backbone(
        "MobileNet",
        "tf",
        tuple(f"conv_pw_{block}_relu" for block in (1, 3, 5, 11, 13)),
        3_228_864,
        (64, 128, 256, 512, 1024),
        70.4,
        options=("alpha",),
    ),
    "mobilenet_v2": Backbone(
        "MobileNetV2",
        "tf",
        (*(f"block_{block}_expand_relu" for block in (1, 3, 6, 13)), "out_relu"),
        2_257_984,
        (96, 144, 192, 576, 1280),
        71.3,
        options=("alpha",),
    ),
    "mobilenet_v3_small": _mobilenet_v3(
        "MobileNetV3Small", ("", "1_", "3_", "8_"), 939_120, (16, 72, 96, 288, 576)
    ),
    "mobilenet_v3_large": _mobilenet_v3(
        "MobileNetV3Large", ("1_", "3_", "6_", "12_"), 2_996_352, (64, 72, 240, 672, 960)
    ),
    "nasnet_mobile": _nasnet("NASNetMobile", 4, 224, 4_269_716, (32, 44, 264, 528, 1056), 74.4),
    "nasnet_large": _nasnet("NASNetLarge", 6, 331, 84_916_818, (96, 168, 1008, 2016, 4032), 82.5),
    "efficientnet_b0": _efficientnet(
        "EfficientNetB0", 224, 4_049_571, (96, 144, 240, 672, 1280), 77.1
    ),
    "efficientnet_b1": _efficientnet(
        "EfficientNetB1", 240, 6_575_239, (96, 144, 240, 672, 1280), 79.1
    ),
    "efficientnet_b2": _efficientnet(
        "EfficientNetB2", 260, 7_768_569, (96, 144, 288, 720, 1408), 80.1
    ),
    "efficientnet_b3": _efficientnet(
        "EfficientNetB3", 300, 10_783_535, (144, 192, 288, 816, 1536), 81.6
    ),
    "efficientnet_b4": _efficientnet(
        "EfficientNetB4", 380, 17_673_823, (144, 192, 336, 960, 1792), 82.9
    ),
    "efficientnet_b5": _efficientnet(
        "EfficientNetB5", 456, 28_513_527, (144, 240, 384, 1056, 2048), 83.6
    ),
    "efficientnet_b6": _efficientnet(
        "EfficientNetB6", 528, 40_960_143, (192, 240, 432, 1200, 2304), 84.0
    ),
    "efficientnet_b7": _efficientnet(
        "EfficientNetB7", 600, 64_097_687, (192, 288, 480, 1344, 2560), 84.3
    ),
    "efficientnet_v2_b0": _efficientnet_v2(
        "EfficientNetV2B0",
        ("block1a_project_activation", "block2b_add"),
        224,
        5_919_312,
        (16, 32, 192, 672, 1280),
        78.7,
    ),
    "efficientnet_v2_b1": _efficientnet_v2(
        "EfficientNetV2B1",
        ("block1b_add", "block2c_add"),
        240,
        6_931_124,
        (16, 32, 192, 672, 1280),
        79.8,
    ),
    "efficientnet_v2_b2": _efficientnet_v2(
        "EfficientNetV2B2",
        ("block1b_add", "block2c_add"),
        260,
        8_769_374,
        (16, 32, 224, 720, 1408),
        80.5,
    ),
    "efficientnet_v2_b3": _efficientnet_v2(
        "EfficientNetV2B3",
        ("block1b_add", "block2c_add"),
        300,
        12_930_622,
        (16, 40, 224, 816, 1536),
        82.0,
    ),
    "efficientnet_v2_s": _efficientnet_v2(
        "EfficientNetV2S",
        ("block1b_add", "block2d_add"),
        384,
        20_331_360,
        (24, 48, 256, 960, 1280),
        83.9,
    ),
    "efficientnet_v2_m": _efficientnet_v2(
        "EfficientNetV2M",
        ("block1c_add", "block2e_add"),
        480,
        53_150_388,
        (24, 48, 320, 1056, 1280),
        85.3,
    ),
    "efficientnet_v2_l": _efficientnet_v2(
        "EfficientNetV2L",
        ("block1d_add", "block2g_add"),
        480,
        117_746_848,
        (32, 64, 384, 1344, 1280),
        85.7,
    ),
    "convnext_tiny": _convnext("ConvNeXtTiny", 27_820_128, (None, 96, 192, 384, 768), 81.3),
    "convnext_small": _convnext("ConvNeXtSmall", 49_454_688, (None, 96, 192, 384, 768), 82.3),
    "convnext_base": _convnext("ConvNeXtBase", 87_566_464, (None, 128, 256, 512, 1024), 85.3),
    "convnext_large": _convnext("ConvNeXtLarge", 196_230_336, (None, 192, 384, 768, 1536), 86.3),
    "convnext_xlarge": _convnext("ConvNeXtXLarge", 348_147_968, (None, 256, 512, 1024, 2048), 86.7),
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
    if not isinstance(name, str) or name not in BACKBONES:
        near = get_close_matches(str(name).lower(), BACKBONES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"backbone is {name!r}, expected one of {sorted(BACKBONES)}, the path of a '.keras' "
            f"file or a keras.Model.{hint}"
        )
    backbone = BACKBONES[name]
    unknown = sorted(set(options or {}) - set(backbone.options))
    if unknown:
        expected = f"one of {list(backbone.options)}" if backbone.options else "no options"
        raise ValueError(f"backbone_options has {unknown}, {name} expects {expected}.")
    return backbone
