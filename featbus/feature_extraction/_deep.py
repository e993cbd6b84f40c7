"""Features of frozen convolutional networks."""

import os
from importlib.metadata import version
from itertools import islice
from numbers import Integral

import numpy as np

from featbus.base import FeatureExtractor, _naming_image
from featbus.images import fill_mask, resize, to_float, to_rgb
from featbus.networks import Network, check_weights, file_digest, get_backbone, load_engine

_POOLING = ("avg", "max")


def _to_pixels(image, size):
    """Return the image as a network takes it: RGB, of `size`, float32 0..255."""
    image = fill_mask(image)
    # A grey image is cheaper to resize while it has one channel.
    image = resize(image if image.ndim == 2 else to_rgb(image), size)
    return to_float(to_rgb(image)) * 255


def _as_tuple(value):
    return tuple(value) if np.iterable(value) and not isinstance(value, str) else (value,)


class DeepFeatures(FeatureExtractor):
    """Features of a convolutional network that was trained on natural images.

    The network's weights stay as they are (frozen): an image goes through it once, and each channel
    of the chosen layers' feature maps becomes one number, its average or maximum over the map.

    Parameters
    ----------
    backbone : str, default="vgg16"
        The network: "vgg16", "vgg19" [1]_, "inception_v3" [2]_, "xception" [3]_, "resnet50",
        "resnet101", "resnet152" [4]_, "resnet50_v2", "resnet101_v2" [5]_, "mobilenet" [6]_,
        "mobilenet_v2" [7]_, "mobilenet_v3_small", "mobilenet_v3_large" [8]_, "densenet121",
        "densenet201" [9]_, "efficientnet_v2_b0" or "efficientnet_v2_s" [10]_.
    layers : str or sequence of str, default="top"
        Where features are taken: "top" is the last feature map, before the classifier; "C1" to "C5"
        are the stages of stride 2, 4, 8, 16 and 32, where "C5" is the same as "top"; anything else
        is the name of a Keras layer. Several layers need one pass, and nothing behind the last of
        them is computed.
    pooling : {"avg", "max"} or sequence of these, default="avg"
        How a feature map becomes one number a channel.
    weights : "imagenet", path or None, default="imagenet"
        "imagenet": the weights that Keras provides; it downloads them on first use into
        ``~/.keras/models``. A path: a weights file of the network without its classifier
        (``include_top=False``), as `keras.Model.save_weights` writes it. None: random weights.
    input_size : int, tuple of int or None, default=None
        Height and width in pixels that images are resized to. None: the size that the ImageNet
        weights were trained at, 224 for most networks, 299 for Inception and Xception, 384 for
        "efficientnet_v2_s".
    batch_size : int, default=32
        How many images go through the network at a time. Changes memory and speed, not the result.
    backbone_options : dict or None, default=None
        Options of the network's architecture: ``{"alpha": 0.35}`` is the width of the MobileNets;
        MobileNetV3 also has ``minimalistic``.
    random_state : int, default=0
        Seed of the random weights; without effect if there are others.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The rows' dtype; the computation is in single precision.

    See Also
    --------
    HOG : Histograms of oriented gradients.
    LBP : Local binary patterns.

    Notes
    -----
    Images are resized in their own dtype as by `Resize`, and grey ones get three equal channels.
    The network's own preprocessing follows: blue, green, red minus the mean colour of ImageNet for
    VGG and ResNet; -1..1 for Inception, Xception, ResNet V2, MobileNet and MobileNetV2; the mean
    and standard deviation of ImageNet for DenseNet; the others do it inside. Pixels outside the
    region of a masked image have its fill value: black, unless set.

    Estimators of equal configuration share one network, which is loaded when the first row is
    asked for. It is no part of a pickle.

    With random weights, the batch normalization layers have mean 0 and variance 1, so that
    activations of deep networks can shrink to almost nothing. They are meant for tests.

    Keras decides where the network runs: on a graphics card if it finds one. TensorFlow computes
    convolutions in reduced precision (TensorFloat-32) on recent ones, about three digits.

    References
    ----------
    .. [1] Simonyan K, Zisserman A. Very deep convolutional networks for large-scale image
       recognition. ICLR 2015, arXiv:1409.1556.
    .. [2] Szegedy C et al. Rethinking the Inception architecture for computer vision. CVPR 2016,
       doi:10.1109/CVPR.2016.308.
    .. [3] Chollet F. Xception: deep learning with depthwise separable convolutions. CVPR 2017,
       doi:10.1109/CVPR.2017.195.
    .. [4] He K et al. Deep residual learning for image recognition. CVPR 2016,
       doi:10.1109/CVPR.2016.90.
    .. [5] He K et al. Identity mappings in deep residual networks. ECCV 2016,
       doi:10.1007/978-3-319-46493-0_38.
    .. [6] Howard AG et al. MobileNets: efficient convolutional neural networks for mobile vision
       applications. 2017, arXiv:1704.04861.
    .. [7] Sandler M et al. MobileNetV2: inverted residuals and linear bottlenecks. CVPR 2018,
       doi:10.1109/CVPR.2018.00474.
    .. [8] Howard A et al. Searching for MobileNetV3. ICCV 2019, doi:10.1109/ICCV.2019.00140.
    .. [9] Huang G et al. Densely connected convolutional networks. CVPR 2017,
       doi:10.1109/CVPR.2017.243.
    .. [10] Tan M, Le QV. EfficientNetV2: smaller models and faster training. ICML 2021,
       arXiv:2104.00298.

    Examples
    --------
    >>> from featbus import DeepFeatures, make_breast_ultrasound
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> deep = DeepFeatures(
    ...     "mobilenet_v2",
    ...     layers=["C3", "top"],
    ...     weights=None,  # without this line: ImageNet's, which Keras downloads
    ...     input_size=96,
    ...     backbone_options={"alpha": 0.35},
    ... )
    >>> deep.fit_transform(images).shape
    (4, 1376)
    >>> deep.get_feature_names_out()[[0, 1375]].tolist()
    ['mobilenet_v2_block_6_expand_relu_avg_0000', 'mobilenet_v2_out_relu_avg_1279']
    """

    def __init__(
        self,
        backbone="vgg16",
        *,
        layers="top",
        pooling="avg",
        weights="imagenet",
        input_size=None,
        batch_size=32,
        backbone_options=None,
        random_state=0,
        dtype=np.float32,
    ):
        self.backbone = backbone
        self.layers = layers
        self.pooling = pooling
        self.weights = weights
        self.input_size = input_size
        self.batch_size = batch_size
        self.backbone_options = backbone_options
        self.random_state = random_state
        self.dtype = dtype

    def fit(self, X, y=None):
        """Check the parameters and the batch; no pixel is read, no network loaded.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        y : None
            Ignored.

        Returns
        -------
        self : DeepFeatures
            The estimator itself.
        """
        self._checked_network()
        return super().fit(X, y)

    def _iter_rows(self, images):
        network = self._checked_network()
        pixels = self._iter_pixels(images, network.input_size)
        while batch := list(islice(pixels, self.batch_size)):
            yield from load_engine(network).run(np.stack(batch), self.batch_size)

    def _iter_pixels(self, images, size):
        for index, image in enumerate(images):
            with _naming_image(index):
                pixels = _to_pixels(image, size)
            yield pixels

    def _fingerprint_params(self):
        # The content of a weights file counts, not its path; the batch size changes no row.
        # Keras names its own files by the digest that it expects, which a release may change.
        network = self._checked_network()
        weights = network.digest or (
            network.weights and f"{network.weights}, keras {version('keras')}"
        )
        engine = "keras", os.environ.get("KERAS_BACKEND", "tensorflow")
        dtype = self._checked_dtype().name
        return {**vars(network), "weights": weights, "engine": engine, "dtype": dtype}

    def _checked_network(self):
        """Check the parameters, and return the network that they describe."""
        self._checked_dtype()
        backbone = get_backbone(self.backbone, self.backbone_options)
        if not isinstance(self.batch_size, Integral) or self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size!r}, expected a positive integer.")
        weights = check_weights(self.weights)
        from_file = weights not in (None, "imagenet")
        return Network(
            self.backbone,
            input_size=self._checked_size(backbone),
            layers=self._checked_layers(),
            pooling=self._checked_pooling(),
            weights=weights,
            digest=file_digest(weights) if from_file else None,
            random_state=self._checked_seed() if weights is None else None,
            options=tuple(sorted((self.backbone_options or {}).items())),
        )

    def _checked_size(self, backbone):
        size = backbone.input_size if self.input_size is None else self.input_size
        size = (size, size) if np.isscalar(size) else tuple(size)
        if len(size) != 2 or not all(isinstance(side, Integral) and side > 0 for side in size):
            raise ValueError(
                f"input_size is {self.input_size!r}, expected a positive number of pixels, "
                "(height, width), or None: what the network was trained at."
            )
        return size

    def _checked_layers(self):
        layers = _as_tuple(self.layers)
        if not layers or not all(isinstance(layer, str) for layer in layers):
            raise ValueError(
                f"layers is {self.layers!r}, expected 'top', a stage 'C1' to 'C5', the name of a "
                "Keras layer, or a sequence of these."
            )
        return layers

    def _checked_pooling(self):
        pooling = _as_tuple(self.pooling)
        if not pooling or set(pooling) - set(_POOLING) or len(set(pooling)) < len(pooling):
            raise ValueError(
                f"pooling is {self.pooling!r}, expected one of {list(_POOLING)}, or a sequence of "
                "different ones."
            )
        return pooling

    def _checked_seed(self):
        if not isinstance(self.random_state, Integral):
            raise ValueError(
                f"random_state is {self.random_state!r}, expected an integer: random weights have "
                "to be the same ones every time."
            )
        return int(self.random_state)

    def get_feature_names_out(self, input_features=None):
        """Return the columns' names; loads the network.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            ``vgg16_block5_pool_avg_0017``: network, layer, pooling, channel. A stage is called as
            its Keras layer where that has a name of its own, else "top" or "C1" to "C5".
        """
        network = self._checked_network()
        backbone = get_backbone(self.backbone)
        return np.array(
            [
                f"{network.backbone}_{backbone.label(layer)}_{pooling}_{channel:04d}"
                for layer, shape in zip(network.layers, load_engine(network).shapes)
                for pooling in network.pooling
                for channel in range(shape[-1])
            ],
            dtype=object,
        )
