"""Features of frozen networks, and the tables of networks and of their layers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from itertools import islice
from numbers import Integral
from typing import Any, Literal, Self
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, DTypeLike

from featbus.base import Column, FeatureExtractor, iter_ahead, map_ahead, thread_limit
from featbus.color import to_rgb
from featbus.images import ImageError, at_index
from featbus.io import read_item
from featbus.masks import fill_mask, inside_mask
from featbus.networks import (
    STAGES,
    KerasApplication,
    KerasModel,
    Network,
    OnnxModel,
    check_engine,
    check_unchanged,
    find_release,
    find_source,
    is_pooling,
    load_engine,
    windows,
)
from featbus.parameters import (
    POSITIVE_INTEGER,
    Interval,
    InvalidParameterError,
    PairOf,
    SequenceOf,
    StrOptions,
    as_list,
    check_estimator_parameters,
)
from featbus.resizing import resize
from featbus.typing import Images, PathLike

# The parameters and the network of each fitted estimator, so that files are read only once.
_FITTED = WeakKeyDictionary()


def _to_pixels(image, size, method):
    """Resize an image for an engine; return its pixels and its region.

    The pixels are 0..255 in one channel or three. The region is float32, 1 inside; None for all.
    """
    # One channel is cheaper to resize. In its own dtype, the image would be rounded to 256 levels,
    # or to black and white.
    image = resize(image if image.ndim == 2 else to_rgb(image), size, np.float32, method)
    inside = inside_mask(image)
    region = None if inside is None or inside.all() else inside.astype(np.float32)
    pixels = np.float32(255) * fill_mask(image)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis], region


def _run(engine, batch, batch_size):
    """Return the rows of a batch of pairs: pixels and region."""
    images, regions = zip(*batch)
    # Gray images keep one channel if all are gray.
    shape = np.broadcast_shapes(*(image.shape for image in images))
    pixels = np.stack([np.broadcast_to(image, shape) for image in images])
    if all(region is None for region in regions):
        return engine.run(pixels, batch_size, None)
    everywhere = np.ones(shape[:2], np.float32)
    regions = [everywhere if region is None else region for region in regions]
    return engine.run(pixels, batch_size, np.stack(regions))


def _describe_input(source):
    return source.preprocessing.identity | {"input_size": list(map(int, source.input_size))}


class _Pooling:
    """The constraint of `pooling`, see `is_pooling`."""

    is_satisfied_by = staticmethod(is_pooling)

    def __str__(self):
        return (
            "'avg', 'max', 'gem' or 'std', alone or with a grid as in 'avg2x2', 'cls' or 'flatten'"
        )


class NetworkFeatures(FeatureExtractor):
    """Base of the extractors that run a network: parameters, rows and columns.

    A subclass has the parameters below, `backbone`, `random_state` and `batch_size`.
    """

    _parameter_constraints = {
        "layers": [str, SequenceOf(str)],
        "pooling": [_Pooling(), SequenceOf(_Pooling())],
        "weights": [str, os.PathLike, None],
        "input_size": [PairOf(POSITIVE_INTEGER), None],
        "backbone_options": [dict, None],
        "preprocessing": [str, dict, os.PathLike, None],
    }

    engine = "keras"
    precision = "fp32"

    # The network would wait for a single thread.
    _n_readers = staticmethod(thread_limit)

    def _check_parameters(self):
        if self._find_fitted() is None:
            self._base_network()

    def _base_network(self):
        """Check all parameters; return the network that they describe, which is not loaded."""
        super()._check_parameters()
        source = self._source()
        layers, pooling = (tuple(as_list(names)) for names in (self.layers, self.pooling))
        if len(set(pooling)) < len(pooling):
            raise InvalidParameterError(
                f"pooling is {self.pooling!r}, expected a sequence of different ones."
            )
        engine = self.engine or source.engines[0]
        check_engine(engine, source, self.precision)
        source.check_layers(layers, pooling)
        return Network(source, layers, pooling, engine, self.precision)

    def _source(self):
        """Return where the network comes from."""
        names = "backbone", "backbone_options", "weights", "preprocessing", "input_size"
        parameters = {name: getattr(self, name) for name in names}
        return find_source(**parameters, random_state=self.random_state)

    def _set_fitted(self, base, network):
        """Remember the network of `fit`, and what it was before training."""
        self.base_digest_, self.base_input_ = base.source.digest, _describe_input(base.source)
        _FITTED[self] = self._describe_parameters(), network

    def _network(self):
        """Return the network of the rows; refuse one that was changed since `fit`."""
        network = self._base_network()
        if hasattr(self, "base_digest_"):
            check_unchanged(network.source, self.base_digest_)
            found = _describe_input(network.source)
            if found != self.base_input_:
                raise InvalidParameterError(
                    f"The network {network.source} has another preprocessing or input size than in "
                    f"fit: {found}, expected {self.base_input_}. Restore it, or fit again."
                )
        return network

    def _find_network(self):
        """Return the network of the rows; of a fitted estimator, files are read only once."""
        network = self._find_fitted()
        if network is None:
            network = self._network()
            if hasattr(self, "base_digest_"):
                _FITTED[self] = self._describe_parameters(), network
        return network

    def _find_fitted(self):
        """Return the network of a fitted estimator whose parameters are the same, else None."""
        parameters, network = _FITTED.get(self, (None, None))
        return network if parameters == self._describe_parameters() else None

    def _describe_parameters(self):
        return [(id(value), repr(value)) for value in self.get_params(deep=False).values()]

    def _iter_prepared(self, batch):
        source = self._find_network().source
        size, method = source.input_size, source.preprocessing.resize

        def prepare(index, item):
            image = read_item(item, index, self._read)
            with at_index(index):
                return _to_pixels(image, size, method)

        # Resizing takes as long as a small network: the threads that read do it, too.
        return map_ahead(prepare, batch, self._n_readers())

    def _iter_rows(self, prepared):
        for index, row in enumerate(self._compute_rows(prepared)):
            if not np.isfinite(row).all():
                column = list(self._columns())[np.flatnonzero(~np.isfinite(row))[0]]
                raise ImageError(
                    f"the network computes NaN or infinity, in {column.name}, expected finite "
                    "numbers. Leave the image out, or take other layers.",
                    index,
                )
            yield row

    def _compute_rows(self, prepared):
        """Yield the row of each of the prepared images."""
        network, batch_size, prepared = self._find_network(), self.batch_size, iter(prepared)
        batches = (batch for batch in iter(lambda: list(islice(prepared, batch_size)), []))
        for batch in iter_ahead(batches):
            yield from _run(load_engine(network), batch, batch_size)

    def _fingerprint_params(self):
        # The content of a weights file counts, not its path; the batch size changes no row.
        network = self._find_network()
        own = {"release": find_release(network.engine), "dtype": np.dtype(self.dtype).name}
        return network.identity | own

    def _columns(self):
        source = self._find_network().source
        for layer, window, shape in self._windows():
            name = f"{source.label(layer)}_{window.label}"
            for channel in range(shape[-1]):
                yield Column(
                    f"{source.name}_{name}_{channel:04d}",
                    f"{name.replace('_', ' ')}, channel {channel}",
                )

    def _boxes(self, image_shape):
        # The pixels under a window's cells; their receptive fields are larger.
        boxes, sides = [], np.array(image_shape[:2])
        for _, window, (*cells, channels) in self._windows():
            top_left = [window.top, window.left] * sides // cells
            bottom_right = -([-window.bottom, -window.right] * sides // cells)
            boxes += [[*top_left, *bottom_right]] * channels
        return np.array(boxes)

    def _windows(self):
        """Yield the layer, the window and the map's shape for each group of columns."""
        network = self._find_network()
        for layer, shape in zip(network.layers, load_engine(network).shapes):
            for pooling in network.pooling:
                for window in windows(pooling, *shape[:2]):
                    yield layer, window, shape

    @property
    def engine_report_(self) -> dict:
        """Facts about the engine; loads the network.

        Returns
        -------
        dict
            "engine" and "version". On OpenVINO also "precision"; and "max_relative_error", of rows
            compared with those of Keras at conversion, of an ONNX file with those of ONNX Runtime,
            or in reduced precision with those of OpenVINO in single precision. Of a converted
            network also the "path" where it is kept.
        """
        return dict(load_engine(self._find_network()).report)


class DeepFeatures(NetworkFeatures):
    """Features of a network that was trained on other images: a convolutional one or a transformer.

    The network's weights stay as they are (frozen): an image goes through it once, and each channel
    of the chosen layers' feature maps becomes one number, such as its average or maximum over the
    map. Only pixels inside the mask are used.

    Read more in the :ref:`User Guide <deep_features>`.

    Parameters
    ----------
    backbone : str, path or keras.Model, default="vgg16"
        The network: a name that `list_backbones` has; the path of a ``.keras`` or ``.onnx`` file; a
        functional or sequential `keras.Model`; or the name of a model in the bundle that `weights`
        names. Names are those of Keras' families VGG [1]_, Inception [2]_ [3]_, Xception [4]_,
        ResNet [5]_ [6]_, DenseNet [7]_, MobileNet [8]_ [9]_ [10]_, NASNet [11]_, EfficientNet [12]_
        [13]_ and ConvNeXt [14]_; and "small_cnn", five convolutions without pretrained weights.
    layers : str or sequence of str, default="top"
        Where features are taken: "top" is the last feature map, before the classifier; "C1" to "C5"
        are the stages of stride 2, 4, 8, 16 and 32, where "C5" is the same as "top"; anything else
        is the name of a Keras layer, or of a tensor in an ONNX file, see `list_layers`. Several
        layers need one pass, and nothing after the last of them is computed. ConvNeXt has no "C1",
        and ONNX files have no stages.
    pooling : str or sequence of str, default="avg"
        How a feature map becomes numbers: "avg" the average, "max" the maximum, "gem" the
        generalized mean with exponent 3 [15]_, "std" the standard deviation. With a grid, such as
        "avg2x2" or "max3x3", each window of that many rows and columns has its own number.
        "flatten" takes every cell of the map. Of the tokens of a vision transformer [16]_, "cls"
        takes the class token; the others treat the patch tokens as a map.
    weights : "imagenet", path or None, default="imagenet"
        "imagenet": the weights that Keras provides; it downloads them on first use into
        ``~/.keras/models``. A path: a weights file of the network without its classifier
        (``include_top=False``), as `keras.Model.save_weights` writes it, or the folder of a weights
        bundle. None: random weights. A model of your own has its weights: leave "imagenet".
    input_size : int, tuple of int or None, default=None
        Height and width in pixels that images are resized to. None: the size that the ImageNet
        weights were trained at, see `list_backbones`, or that of the model's input.
    batch_size : int, default=32
        Number of images that go through the network at a time. Changes memory and speed, not the
        result. If memory runs out, choose a smaller number.
    backbone_options : dict or None, default=None
        Options of the network's architecture: ``{"alpha": 0.35}`` is the width of the MobileNets;
        MobileNetV3 also has ``minimalistic``.
    preprocessing : {"caffe", "tf", "torch", "none"}, dict, path or None, default=None
        What a model of your own was trained on: "caffe": blue, green, red, 0..255, minus the mean
        color of ImageNet; "tf": -1..1; "torch": red, green, blue, 0..1, minus the mean color of
        ImageNet and divided by its standard deviation; "none": red, green, blue, 0..255. A dict has
        "mean" and "std", a number or one per channel, and "scale", for
        ``(pixels * scale - mean) / std`` with pixels of 0..255; and may have "channels": "rgb",
        "bgr" or "gray", and "resize": "area", "bilinear" or "bicubic". A path is that of a
        ``preprocessor_config.json`` of transformers or a ``config.json`` of timm. None: for
        networks with a name, which have their own.
    n_prefix_tokens : int or None, default=None
        Number of class and register tokens [17]_ before the patch tokens of an ONNX file. None:
        inferred from the map that the patches come from; needed where there is no such map.
    engine : {"keras", "onnxruntime", "openvino"} or None, default=None
        What runs the network. None: ONNX Runtime for ONNX files (``pip install "featbus[onnx]"``),
        Keras for all others. OpenVINO is faster on most processors, and an extra:
        ``pip install "featbus[openvino]"``. For the first row, Keras builds and exports its
        networks; the exported file is kept, see :ref:`engines`.
    precision : {"fp32", "bf16"}, default="fp32"
        What the network is computed in: single precision, or bfloat16, which has two to three
        digits. ``engine="openvino"`` has "bf16" where the processor has it; heavy networks are
        several times as fast, and rows differ, see :ref:`precision`.
    random_state : int, default=0
        Seed of the random weights; ignored with other weights.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The rows' dtype, whatever `precision` is.

    Attributes
    ----------
    base_digest_ : str or None
        SHA-256 digest of the network's file or model in `fit`; None if it came from no file. A
        network that was changed since is an error.
    base_input_ : dict
        Preprocessing and input size of the network in `fit`; others are an error, too.

    See Also
    --------
    list_backbones : The table of networks.
    list_layers : The layers of a network.
    HOG : Histograms of oriented gradients.
    LBP : Local binary patterns.

    Notes
    -----
    Columns are named ``vgg16_block5_pool_avg_0017``: network, layer, pooling, channel. The layer of
    a stage is the name of its Keras layer unless Keras generates that name, else "top" or "C1" to
    "C5". The row and column of a window come before the channel:
    ``vgg16_block5_pool_avg2x2_r0c1_0017``. The names, and `where`, load the network.

    Images are converted to ``float32`` and resized, with their masks, as by `Resize`; gray ones get
    three equal channels. The network's own preprocessing follows.

    After resizing, pixels outside the region of a masked image get its fill value, black by
    default. The pixels outside do not change the row, but the network sees the region's outline.
    Feature maps are pooled over the cells that the region touches, as if each pixel of the region
    had the values of its cell: averages, deviations and generalized means are weighted by the area
    of the region in each cell; the maximum is taken over all touched cells. Windows of a grid that
    the region does not touch are 0. "flatten" takes all cells, inside and outside.

    Windows of a grid share a row or column of cells if the size of the map is not a multiple of the
    grid, as in adaptive pooling. "gem" clips values below 1e-6: it is meant for maps after a ReLU.

    In a model of your own, the stages are the last layers of their stride, and "top" is the output
    or, if that is a classifier's, the last map of more than one cell. The model may be trained
    further: a changed one counts as another network. A fitted estimator keeps the network that it
    had in `fit`, as long as it is in memory, and refuses another one: fit again. `clone` copies it
    and a pickle contains it; the path of a ``.keras`` file is cheaper. Such a file is
    loaded in Keras' safe mode: no code in it is run.

    In an ONNX file, "top" is the first output, and any other layer is the name of a tensor, as
    `list_layers` shows them; there are no stages. A tensor of shape (1, width) is an embedding:
    "avg" takes it as it is, and a region has no effect on its pooling, nor on that of "cls". The
    first prefix token counts as the class token. Channels of maps may come first or last. ONNX
    files run on the CPU. Their content is hashed, so that a changed file counts as another network.

    Estimators with the same parameters share one network, which is loaded when the first row is
    computed. A pickle does not contain it.

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
    .. [16] Dosovitskiy A et al. An image is worth 16x16 words: transformers for image recognition
       at scale. ICLR 2021, arXiv:2010.11929.
    .. [17] Darcet T et al. Vision transformers need registers. ICLR 2024, arXiv:2309.16588.

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

    # 4: resized in single precision, with the mask; a small region is not the whole map.
    _algorithm_version = 4

    _parameter_constraints = {
        "batch_size": [POSITIVE_INTEGER],
        "n_prefix_tokens": [Interval(Integral, 0, None, closed="left"), None],
        "engine": [StrOptions({"keras", "onnxruntime", "openvino"}), None],
        "precision": [StrOptions({"fp32", "bf16"})],
        "random_state": [Integral],
    }

    def __init__(
        self,
        backbone: Any = "vgg16",
        *,
        layers: str | Sequence[str] = "top",
        pooling: str | Sequence[str] = "avg",
        weights: PathLike | None = "imagenet",
        input_size: int | tuple[int, ...] | None = None,
        batch_size: int = 32,
        backbone_options: dict | None = None,
        preprocessing: Literal["caffe", "tf", "torch", "none"] | dict | PathLike | None = None,
        n_prefix_tokens: int | None = None,
        engine: Literal["keras", "onnxruntime", "openvino"] | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
        random_state: int = 0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.backbone = backbone
        self.layers = layers
        self.pooling = pooling
        self.weights = weights
        self.input_size = input_size
        self.batch_size = batch_size
        self.backbone_options = backbone_options
        self.preprocessing = preprocessing
        self.n_prefix_tokens = n_prefix_tokens
        self.engine = engine
        self.precision = precision
        self.random_state = random_state
        self.dtype = dtype

    def _source(self):
        source = super()._source()
        if self.n_prefix_tokens is None:
            return source
        if not isinstance(source, OnnxModel):
            raise InvalidParameterError(
                f"n_prefix_tokens is {self.n_prefix_tokens!r}, expected None: {source} is not an "
                "ONNX file."
            )
        return replace(source, n_prefix_tokens=int(self.n_prefix_tokens))

    def fit(self, X: Images, y: ArrayLike | None = None) -> Self:
        """Check the parameters and the batch, and find the network; no image is read.

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
        network = self._base_network()
        self._check_batch(X, reset=True)
        self._set_fitted(network, network)
        return self


def list_backbones() -> pd.DataFrame:
    """Return the table of the networks that have a name in `DeepFeatures`.

    Read more in the :ref:`User Guide <deep_features>`.

    Returns
    -------
    DataFrame
        One row per network:

        name : str
            The name of the network, for `backbone` of `DeepFeatures`.
        input_size : int
            Height and width in pixels that the ImageNet weights were trained at.
        parameters : int
            Number of weights, those of the classifier left out.
        bytes : int
            Size of these weights in single precision.
        C2, C3, C4, C5 : int
            Channels of the stages: the number of columns with "avg". C5 is the "top".
        top_1 : float
            Accuracy on ImageNet's validation images in percent, as Keras publishes it [1]_; NaN
            where it does not.
        preprocessing : str
            What the network was trained on: "caffe", "tf", "torch", or "none" for a network that
            includes it; see `DeepFeatures`.

    See Also
    --------
    DeepFeatures : Features of these networks.

    Notes
    -----
    Numbers are those of networks with default options.

    References
    ----------
    .. [1] Keras documentation, Keras Applications, https://keras.io/api/applications.

    Examples
    --------
    On the command line: ``featbus backbones``

    >>> from featbus import list_backbones
    >>> table = list_backbones()
    >>> small = table.loc[table["bytes"] < 10e6, ["name", "C4", "C5"]]
    >>> print(small.to_string(index=False))
                  name  C4   C5
          mobilenet_v2 576 1280
    mobilenet_v3_small 288  576
             small_cnn 128  128
    """
    with files("featbus.networks").joinpath("backbones.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    table["bytes"] = 4 * table["parameters"]
    widths = {f"{stage}_width": stage for stage in STAGES[1:]}
    columns = ["name", "input_size", "parameters", "bytes", *widths, "top_1", "preprocessing"]
    return table[columns].rename(columns=widths)


def list_layers(
    backbone: Any,
    *,
    weights: PathLike | None = "imagenet",
    input_size: int | tuple[int, ...] | None = None,
    backbone_options: dict | None = None,
    preprocessing: Any = None,
    n_prefix_tokens: int | None = None,
) -> pd.DataFrame:
    """Return the layers of a network that `DeepFeatures` can take features from.

    Read more in the :ref:`User Guide <deep_features>`.

    Parameters
    ----------
    backbone : str, path or keras.Model
        The network, see `DeepFeatures`.
    weights : "imagenet", path or None, default="imagenet"
        The folder of a weights bundle, if the network is one in there. Other weights are not
        loaded: they change no layer.
    input_size : int, tuple of int or None, default=None
        Height and width in pixels that images are resized to, see `DeepFeatures`.
    backbone_options : dict or None, default=None
        Options of the network's architecture, see `DeepFeatures`.
    preprocessing : str, dict, path or None, default=None
        What the network was trained on, see `DeepFeatures`. Only the number of channels matters
        here. None: three.
    n_prefix_tokens : int or None, default=None
        Number of class and register tokens, see `DeepFeatures`.

    Returns
    -------
    DataFrame
        One row per layer, in the order of computation:

        name : str
            The name of the layer, for `layers` of `DeepFeatures`.
        kind : str
            "map": a feature map; "tokens": class and register tokens, and patches on a grid;
            "embedding": one number per column, with nothing to pool.
        height, width : int
            Cells of the map, or of the grid of patches; 1 for embeddings.
        channels : int
            The number of columns with "avg".
        prefix_tokens : int
            Number of class and register tokens.
        stage : str
            "top" and "C1" to "C5", if they stand for this layer, else empty. An ONNX file has "top"
            only.

    See Also
    --------
    DeepFeatures : Features of these layers.
    list_backbones : The networks that have a name.

    Notes
    -----
    A Keras network is built for this, an ONNX file is read.

    Examples
    --------
    >>> from featbus import list_layers
    >>> table = list_layers("vgg16", input_size=64)
    >>> print(table.loc[table["stage"] != "", ["name", "height", "channels", "stage"]].to_string())
                name  height  channels    stage
    4   block2_conv2      32       128       C1
    8   block3_conv3      16       256       C2
    12  block4_conv3       8       512       C3
    16  block5_conv3       4       512       C4
    17   block5_pool       2       512  top, C5
    """
    if preprocessing is None and (OnnxModel.accepts(backbone) or KerasModel.accepts(backbone)):
        preprocessing = "none"
    deep = DeepFeatures(
        backbone,
        weights=None if KerasApplication.accepts(backbone) else weights,
        input_size=input_size,
        backbone_options=backbone_options,
        preprocessing=preprocessing,
        n_prefix_tokens=n_prefix_tokens,
    )
    check_estimator_parameters(deep)
    columns = ("name", "kind", "shape", "prefix_tokens", "stage")
    table = pd.DataFrame(deep._source().list_layers(), columns=columns)
    shape = pd.DataFrame(table.pop("shape").tolist(), columns=["height", "width", "channels"])
    table["stage"] = table["stage"].map(", ".join)
    return pd.concat([table[["name", "kind"]], shape, table[["prefix_tokens", "stage"]]], axis=1)
