"""Features of frozen convolutional networks."""

import os
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import islice
from numbers import Integral

import numpy as np

from featbus.base import FeatureExtractor, _naming_image, iter_images
from featbus.images import fill_mask, inside_mask, resize, to_float, to_rgb
from featbus.networks import (
    PREPROCESSING,
    Network,
    auto_batch_size,
    check_engine,
    engine_version,
    file_digest,
    get_backbone,
    is_own_model,
    is_pooling,
    load_engine,
    model_digest,
    model_input_size,
    model_name,
    resolve_weights,
    thread_limit,
    windows,
)


def _to_pixels(image, size):
    """Return the image as a network takes it: RGB, of `size`, 0..255, uint8 or float32."""
    image = fill_mask(image)
    # A grey image is cheaper to resize while it has one channel.
    image = to_rgb(resize(image if image.ndim == 2 else to_rgb(image), size))
    return image if image.dtype == np.uint8 else to_float(image) * 255


def _to_region(image, size):
    """Return the share of each pixel inside the region, or None where there is nothing outside."""
    inside = inside_mask(image)
    if inside is None or inside.all():
        return None
    return resize(inside.astype(np.float32), size)


def _ahead(batches):
    """Yield batches; the next one is read in another thread meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        coming = executor.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = executor.submit(next, batches, None)
            yield batch


def _run(engine, batch, batch_size):
    """Return the rows of pairs of pixels and region, those without a region apart."""
    rows = [None] * len(batch)
    for masked in (False, True):
        chosen = [i for i, (_, region) in enumerate(batch) if (region is not None) == masked]
        if not chosen:
            continue
        pixels = np.stack([batch[i][0] for i in chosen])
        regions = np.stack([batch[i][1] for i in chosen]) if masked else None
        for i, row in zip(chosen, engine.run(pixels, batch_size, regions)):
            rows[i] = row
    return rows


def _engine_release(engine):
    """Return what an engine's rows depend on beside the network."""
    if engine == "keras":
        return os.environ.get("KERAS_BACKEND", "tensorflow")
    return engine_version(engine)


def _as_tuple(value):
    return tuple(value) if np.iterable(value) and not isinstance(value, str) else (value,)


class DeepFeatures(FeatureExtractor):
    """Features of a convolutional network that was trained on natural images.

    The network's weights stay as they are (frozen): an image goes through it once, and each channel
    of the chosen layers' feature maps becomes one number, such as its average or maximum over the
    map. Of a masked image only the region counts.

    Parameters
    ----------
    backbone : str, path or keras.Model, default="vgg16"
        The network: a name that `list_backbones` has; the path of a ``.keras`` file; or a
        functional or sequential `keras.Model`. Names are those of Keras' families VGG [1]_,
        Inception [2]_ [3]_, Xception [4]_, ResNet [5]_ [6]_, DenseNet [7]_, MobileNet [8]_ [9]_
        [10]_, NASNet [11]_, EfficientNet [12]_ [13]_ and ConvNeXt [14]_.
    layers : str or sequence of str, default="top"
        Where features are taken: "top" is the last feature map, before the classifier; "C1" to "C5"
        are the stages of stride 2, 4, 8, 16 and 32, where "C5" is the same as "top"; anything else
        is the name of a Keras layer. Several layers need one pass, and nothing behind the last of
        them is computed. ConvNeXt has no "C1".
    pooling : str or sequence of str, default="avg"
        How a feature map becomes numbers: "avg" the average, "max" the maximum, "gem" the
        generalised mean with exponent 3 [15]_, "std" the standard deviation. With a grid, as
        "avg2x2" or "max3x3", each window of that many rows and columns has its own number.
        "flatten" takes every cell of the map.
    weights : "imagenet", path or None, default="imagenet"
        "imagenet": the weights that Keras provides; it downloads them on first use into
        ``~/.keras/models``. A path: a weights file of the network without its classifier
        (``include_top=False``), as `keras.Model.save_weights` writes it, or the folder of a weights
        bundle. None: random weights. A model of your own has its weights, leave "imagenet" there.
    input_size : int, tuple of int or None, default=None
        Height and width in pixels that images are resized to. None: the size that the ImageNet
        weights were trained at, see `list_backbones`, or that of the model's input.
    batch_size : int or "auto", default=32
        How many images go through the network at a time. Changes memory and speed, not the result.
        "auto": as many as fit a part of the free memory, 64 at most. Where memory runs out, a batch
        is run in halves.
    backbone_options : dict or None, default=None
        Options of the network's architecture: ``{"alpha": 0.35}`` is the width of the MobileNets;
        MobileNetV3 also has ``minimalistic``.
    preprocessing : {"caffe", "tf", "torch", "none"} or None, default=None
        What a model of your own was trained on: "caffe": blue, green, red, 0..255, minus the mean
        colour of ImageNet; "tf": -1..1; "torch": red, green, blue, 0..1, minus the mean colour of
        ImageNet and divided by its standard deviation; "none": red, green, blue, 0..255. Networks
        that have a name have their own: None.
    engine : {"keras", "openvino", "onnxruntime"}, default="keras"
        What runs the network. The two others are extras, ``pip install "featbus[openvino]"``, and
        faster on most processors. The first row takes Keras, which builds the network; converted,
        it stays on disk, see :ref:`engines`.
    random_state : int, default=0
        Seed of the random weights; without effect if there are others.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The rows' dtype; the computation is in single precision.

    See Also
    --------
    list_backbones : The table of networks.
    HOG : Histograms of oriented gradients.
    LBP : Local binary patterns.

    Notes
    -----
    Images are resized in their own dtype as by `Resize`, and grey ones get three equal channels.
    The network's own preprocessing follows.

    Pixels outside the region of a masked image have its fill value: black, unless set. So they do
    not change the row, but the network sees the region's outline. Feature maps are pooled over the
    cells inside: averages, deviations and generalised means are weighted by the share of a cell's
    area that is inside; the maximum is that of the cells that are inside by half or more, or by as
    much as any. A region smaller than one cell counts as the whole map, and so does each window of
    a grid with less than one cell of region. "flatten" takes all cells.

    Windows of a grid share a row or column of cells where the sides do not divide, as in adaptive
    pooling. Values below 1e-6 count as that in "gem", which is meant for maps behind a ReLU.

    Of a model of your own, the stages are the last layers of their stride, and "top" is the output
    or, where that is a classifier's, the last map of more than one cell. The model may be trained
    further: it is digested each time, and a changed one is another network. `clone` copies it and a
    pickle contains it; the path of a ``.keras`` file is cheaper. Such a file is loaded in Keras'
    safe mode: no code in it is run.

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
    .. [3] Szegedy C et al. Inception-v4, Inception-ResNet and the impact of residual connections on
       learning. AAAI 2017, arXiv:1602.07261.
    .. [4] Chollet F. Xception: deep learning with depthwise separable convolutions. CVPR 2017,
       doi:10.1109/CVPR.2017.195.
    .. [5] He K et al. Deep residual learning for image recognition. CVPR 2016,
       doi:10.1109/CVPR.2016.90.
    .. [6] He K et al. Identity mappings in deep residual networks. ECCV 2016,
       doi:10.1007/978-3-319-46493-0_38.
    .. [7] Huang G et al. Densely connected convolutional networks. CVPR 2017,
       doi:10.1109/CVPR.2017.243.
    .. [8] Howard AG et al. MobileNets: efficient convolutional neural networks for mobile vision
       applications. 2017, arXiv:1704.04861.
    .. [9] Sandler M et al. MobileNetV2: inverted residuals and linear bottlenecks. CVPR 2018,
       doi:10.1109/CVPR.2018.00474.
    .. [10] Howard A et al. Searching for MobileNetV3. ICCV 2019, doi:10.1109/ICCV.2019.00140.
    .. [11] Zoph B et al. Learning transferable architectures for scalable image recognition. CVPR
       2018, doi:10.1109/CVPR.2018.00907.
    .. [12] Tan M, Le QV. EfficientNet: rethinking model scaling for convolutional neural networks.
       ICML 2019, arXiv:1905.11946.
    .. [13] Tan M, Le QV. EfficientNetV2: smaller models and faster training. ICML 2021,
       arXiv:2104.00298.
    .. [14] Liu Z et al. A ConvNet for the 2020s. CVPR 2022, doi:10.1109/CVPR52688.2022.01167.
    .. [15] Radenovic F, Tolias G, Chum O. Fine-tuning CNN image retrieval with no human annotation.
       IEEE Transactions on Pattern Analysis and Machine Intelligence 41 (2019) 1655-1668,
       doi:10.1109/TPAMI.2018.2846566, eq. 3.

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

    _algorithm_version = 3

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
        preprocessing=None,
        engine="keras",
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
        self.preprocessing = preprocessing
        self.engine = engine
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

    def _iter_images(self, batch):
        # The network would wait for a single thread.
        return iter_images(batch, n_threads=thread_limit())

    def _iter_rows(self, images):
        network = self._usable_network()
        batch_size = self._usable_batch_size(network)
        inputs = self._iter_inputs(images, network.input_size)
        for batch in _ahead(iter(lambda: list(islice(inputs, batch_size)), [])):
            yield from _run(self._engine(network), batch, batch_size)

    def _prepare(self, X):
        network = self._usable_network()
        images = self._iter_images(self._check_batch(X, reset=False))
        return network, list(self._iter_inputs(images, network.input_size))

    def _finish(self, prepared):
        network, inputs = prepared
        batch_size = self._usable_batch_size(network)
        rows = []
        for start in range(0, len(inputs), batch_size):
            part = inputs[start : start + batch_size]
            rows += _run(self._engine(network), part, batch_size)
        return np.array(rows, dtype=self._checked_dtype())

    def _usable_network(self):
        return self._checked_network()

    def _usable_batch_size(self, network):
        if self.batch_size == "auto":
            return auto_batch_size(network.input_size)
        return self.batch_size

    def _engine(self, network):
        return load_engine(network)

    def _iter_inputs(self, images, size):
        for index, image in enumerate(images):
            with _naming_image(index):
                pixels = _to_pixels(image, size)
            yield pixels, _to_region(image, size)

    def _fingerprint_params(self):
        # The content of a weights file counts, not its path; the batch size changes no row.
        # Keras names its own files by the digest that it expects, which a release may change.
        network = self._checked_network()
        params = vars(network) | {
            "weights": network.digest
            or (network.weights and f"{network.weights}, keras {version('keras')}"),
            "engine": (network.engine, _engine_release(network.engine)),
            "dtype": self._checked_dtype().name,
        }
        if params.pop("model") is not None:
            del params["backbone"]  # a name of one's own, which the digest stands for
        return params

    def _checked_network(self):
        """Check the parameters, and return the network that they describe."""
        self._checked_dtype()
        self._check_batch_size()
        taken = {
            "layers": self._checked_layers(),
            "pooling": self._checked_pooling(),
            "engine": check_engine(self.engine),
        }
        return self._own_network(taken) if is_own_model(self.backbone) else self._network(taken)

    def _check_batch_size(self):
        size = self.batch_size
        if size != "auto" and (not isinstance(size, Integral) or size < 1):
            raise ValueError(f"batch_size is {size!r}, expected a positive integer or 'auto'.")

    def _network(self, taken):
        """Return the network of the table that the parameters describe."""
        backbone = get_backbone(self.backbone, self.backbone_options)
        if self.preprocessing is not None:
            raise ValueError(
                f"preprocessing is {self.preprocessing!r}, expected None: {self.backbone} has its "
                "own. The parameter is for a keras.Model or a '.keras' file as backbone."
            )
        for layer in taken["layers"]:
            backbone.tap(layer)
        size = self._checked_size(backbone.input_size)
        weights, digest = resolve_weights(self.weights, self.backbone, self.backbone_options, size)
        return Network(
            self.backbone,
            input_size=size,
            weights=weights,
            digest=digest,
            random_state=self._checked_seed() if weights is None else None,
            options=tuple(sorted((self.backbone_options or {}).items())),
            **taken,
        )

    def _own_network(self, taken):
        """Return the network of a model of one's own."""
        if self.preprocessing not in PREPROCESSING:
            raise ValueError(
                f"preprocessing is {self.preprocessing!r}, expected one of {list(PREPROCESSING)}: "
                "say what the model was trained on."
            )
        if self.weights != "imagenet" or self.backbone_options:
            raise ValueError(
                f"weights is {self.weights!r} and backbone_options {self.backbone_options!r}, "
                "expected neither: the model has its own. Load weights into it before."
            )
        model = self.backbone if hasattr(self.backbone, "layers") else os.fspath(self.backbone)
        own_size = model_input_size(model)
        size = self._checked_size(own_size)
        if None in size or any(own not in (None, side) for own, side in zip(own_size, size)):
            raise ValueError(
                f"input_size is {self.input_size!r}, and the model {model_name(model)!r} takes "
                f"{own_size} pixels. "
                + ("Expected height and width." if None in own_size else "Expected None.")
            )
        return Network(
            model_name(model),
            input_size=size,
            digest=file_digest(model) if isinstance(model, str) else model_digest(model),
            random_state=None,
            preprocessing=self.preprocessing,
            model=model,
            **taken,
        )

    def _checked_size(self, default):
        size = default if self.input_size is None else self.input_size
        size = (size, size) if np.isscalar(size) else tuple(size)
        if self.input_size is not None and (
            len(size) != 2 or not all(isinstance(side, Integral) and side > 0 for side in size)
        ):
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
        if not pooling or not all(map(is_pooling, pooling)) or len(set(pooling)) < len(pooling):
            raise ValueError(
                f"pooling is {self.pooling!r}, expected 'avg', 'max', 'gem' or 'std', each alone "
                "or with a grid such as 'avg2x2', or 'flatten', or a sequence of different ones."
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
            its Keras layer where that has a name of its own, else "top" or "C1" to "C5". Row and
            column of a window come before the channel: ``vgg16_block5_pool_avg2x2_r0c1_0017``.
        """
        network = self._usable_network()
        return np.array(
            [
                f"{network.backbone}_{network.label(layer)}_{window.label}_{channel:04d}"
                for layer, window, shape in self._windows(network)
                for channel in range(shape[-1])
            ],
            dtype=object,
        )

    @property
    def engine_report_(self):
        """What is known of the engine; loads the network.

        Returns
        -------
        dict
            "engine" and "version". Of a converted network also "max_relative_error", of rows
            against those of Keras at conversion; "seconds" that this took; "digest" of what was
            converted, and the "path" where it is kept.
        """
        return dict(self._engine(self._usable_network()).report)

    def _windows(self, network):
        """Yield layer, window and the feature map's shape for each group of columns."""
        for layer, shape in zip(network.layers, self._engine(network).shapes):
            for pooling in network.pooling:
                for window in windows(pooling, *shape[:2]):
                    yield layer, window, shape

    def _boxes(self, image_shape):
        # Where a window's cells lie; what a cell looks at reaches further.
        boxes = []
        for _, window, (height, width, channels) in self._windows(self._usable_network()):
            down, across = image_shape[0] / height, image_shape[1] / width
            top, left = int(window.top * down), int(window.left * across)
            bottom, right = np.ceil([window.bottom * down, window.right * across]).astype(int)
            boxes += [[top, left, bottom, right]] * channels
        return np.array(boxes)
