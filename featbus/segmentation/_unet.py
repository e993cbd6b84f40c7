"""Segmentation by a U-Net whose encoder is one of Keras' networks."""

from __future__ import annotations

import os
from functools import partial
from itertools import count, islice
from numbers import Integral, Real
from typing import Literal, Self

import joblib
import numpy as np
from numpy.typing import ArrayLike
from skimage.filters import apply_hysteresis_threshold
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from featbus import networks
from featbus.augmentation import Augmentation, change_image, change_mask
from featbus.base import naming_paths
from featbus.color import to_float, to_rgb, to_uint8
from featbus.groups import check_groups, validation_split
from featbus.images import map_at_index
from featbus.io import read_mask
from featbus.masks import fill_mask
from featbus.parameters import (
    POSITIVE_INTEGER,
    Interval,
    InvalidParameterError,
    Options,
    PairOf,
    StrOptions,
    as_pair,
    make_folder,
)
from featbus.resizing import letterbox, letterbox_window, resize
from featbus.segmentation._base import Segmenter
from featbus.typing import Images, PathLike

# Channels of the decoder at strides 16, 8, 4, 2 and 1.
_WIDTHS = (96, 48, 32, 24, 32)
# Iglovikov and Shvets, and most U-Nets on MobileNet since, tap the first convolution.
_FIRST_TAPS = {"mobilenet": "conv1_relu"}
# Batches are small and few: statistics of Keras' default, 0.99, would lag behind.
_MOMENTUM = 0.9
# Stronger than for classification: outlines move with their images.
_AUGMENTATION = Augmentation(
    rotation=20, shear=0.15, zoom=0.3, brightness=(0.5, 1.6), horizontal_flip=True
)
# Parameters that change neither the weights nor their order.
_NOT_TRAINED = ("checkpoint", "engine", "patience", "threshold", "verbose", "views")


def build_unet(source, seed=0):
    """Build an encoder, and add a decoder to it; call it by `build_apart`.

    Parameters
    ----------
    source : KerasSource
        Where the encoder comes from.
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
    keras, base = networks.import_keras(), source.build()
    layers, seeds, glorot = keras.layers, count(1000 * seed), keras.initializers.GlorotUniform
    for layer in base.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = _MOMENTUM

    def convolve(kind, maps, *arguments, name, **options):
        """Apply a convolution, batch normalization and ReLU."""
        options |= {"use_bias": False, "kernel_initializer": glorot(next(seeds))}
        maps = kind(*arguments, name=name, **options)(maps)
        maps = layers.BatchNormalization(momentum=_MOMENTUM, name=f"{name}_bn")(maps)
        return layers.ReLU(name=f"{name}_relu")(maps)

    *skips, maps = _feature_maps(source, base)
    for stage, width, skip in zip(networks.STAGES[-2::-1], _WIDTHS, skips[::-1]):
        name = f"decoder_{stage}"
        maps = convolve(layers.Conv2DTranspose, maps, width, 2, strides=2, name=f"{name}_up")
        skip = convolve(layers.Conv2D, skip, width, 1, name=f"{name}_skip")
        maps = layers.Concatenate(name=f"{name}_join")([maps, skip])
        maps = convolve(layers.Conv2D, maps, width, 3, padding="same", name=name)
    maps = convolve(layers.Conv2DTranspose, maps, _WIDTHS[-1], 2, strides=2, name="decoder_up")
    last = {"activation": "sigmoid", "kernel_initializer": glorot(next(seeds))}
    maps = layers.Conv2D(1, 1, name="probability", **last)(maps)
    return keras.Model(base.inputs[0], maps, name="unet")


def _feature_maps(source, base):
    """Return the feature maps of the five stages; they halve height and width each time."""
    taps = source.find_taps(base)
    if source.name in _FIRST_TAPS:
        taps["C1"] = base.get_layer(_FIRST_TAPS[source.name]).output
    height, width = base.inputs[0].shape[1:3]
    expected = [(height >> level, width >> level) for level in range(1, 6)]
    found = [tuple(taps[stage].shape[1:3]) if stage in taps else None for stage in networks.STAGES]
    if found != expected or height % 32 or width % 32:
        raise InvalidParameterError(
            f"encoder is {source}, whose feature maps for images of {height} x {width} pixels are "
            f"{found}, expected {expected}: an encoder such as a MobileNet, ResNet or VGG, and an "
            "input_size that is a multiple of 32."
        )
    return [taps[stage] for stage in networks.STAGES]


def overlap_loss(weight=1.0):
    """Return the loss: binary cross-entropy plus Dice loss.

    Parameters
    ----------
    weight : float, default=1.0
        Weight of the pixels inside the mask in the cross-entropy.

    Returns
    -------
    keras.losses.Loss
        Of masks and probabilities, of shape (n, height, width, 1); `call` returns one value per
        image. The Dice loss ``1 - 2 |A B| / (|A| + |B|)`` [1]_ is that of probabilities, with 1
        added to numerator and denominator: an empty mask calls for an empty prediction.

    References
    ----------
    .. [1] Milletari F, Navab N, Ahmadi S-A. V-Net: fully convolutional neural networks for
       volumetric medical image segmentation. 3DV 2016, arXiv:1606.04797.
    """
    from keras import losses, ops

    class OverlapLoss(losses.Loss):
        def call(self, masks, probabilities):
            p = ops.clip(probabilities, 1e-6, 1 - 1e-6)
            entropy = -(weight * masks * ops.log(p) + (1 - masks) * ops.log(1 - p))
            axes = (1, 2, 3)
            both = ops.sum(masks * p, axis=axes)
            overlap = (2 * both + 1) / (ops.sum(masks, axis=axes) + ops.sum(p, axis=axes) + 1)
            return ops.mean(entropy, axis=axes) + 1 - overlap

    return OverlapLoss(dtype="float32")


def _train(segmenter, source, learning, validation, folder):
    """Train a U-Net by Keras' `fit`; random changes depend on seed, epoch and batch alone.

    Parameters
    ----------
    segmenter : UNetSegmenter
        How to train.
    source : KerasSource
        The encoder.
    learning, validation : list of tuple
        Images of the network's size, gray or RGB, in 8 bits, each with its region.
    folder : str or None
        Where Keras' `BackupAndRestore` saves the state after each epoch.

    Returns
    -------
    weights : list of ndarray
        Those of the epoch with the lowest validation loss; without validation of the last epoch.
    losses : dict of str to list of float
        The losses of the epochs.
    n_epochs, best_epoch : int
        Number of epochs run, and the epoch, from 1, of the weights.
    """
    keras, seed, size = networks.import_keras(), int(segmenter.random_state), segmenter.batch_size
    augmentation = _AUGMENTATION if segmenter.augmentation is None else segmenter.augmentation

    # Keras would cast arrays to the type that the user has set as `floatx`.
    class ValidationBatches(keras.utils.PyDataset):
        def __len__(self):
            return -(-len(validation) // size)

        def __getitem__(self, number):
            return _to_arrays(validation[number * size : (number + 1) * size], source)

    class Batches(ValidationBatches):
        epoch = 0

        def __len__(self):
            # A batch of another size would be compiled again: the images left over are not used.
            return max(1, len(learning) // size)

        def __getitem__(self, number):
            order = np.random.default_rng([seed, self.epoch]).permutation(len(learning))
            rng = np.random.default_rng([seed, self.epoch, number])
            pairs = [learning[index] for index in order[number * size : (number + 1) * size]]
            if augmentation:
                pairs = [_change(pair, augmentation.draw(rng)) for pair in pairs]
            return _to_arrays(pairs, source)

    batches = Batches()
    n_steps = segmenter.epochs * len(batches)
    stopping = keras.callbacks.EarlyStopping(patience=segmenter.patience, restore_best_weights=True)
    callbacks = [
        keras.callbacks.LambdaCallback(lambda epoch, logs: setattr(batches, "epoch", epoch)),
        keras.callbacks.TerminateOnNaN(),
        *([stopping] if validation else []),
        *([keras.callbacks.BackupAndRestore(folder, double_checkpoint=True)] if folder else []),
    ]

    n_first = max(1, n_steps // 20)
    # Other numbers would have the type that the user has set as `floatx`.
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=np.float32(segmenter.learning_rate / n_first),
        decay_steps=max(1, n_steps - n_first),
        warmup_target=np.float32(segmenter.learning_rate),
        warmup_steps=n_first,
    )
    model = networks.build_apart(build_unet, source, seed)
    is_jax = keras.backend.backend() == "jax"
    loss = overlap_loss(segmenter.region_weight)
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=is_jax)
    # Else the first step makes its variables, and the second one is traced once more.
    model.optimizer.build(model.trainable_variables)
    history = model.fit(
        batches,
        shuffle=False,  # Keras shuffles batches without a seed
        epochs=segmenter.epochs,
        validation_data=ValidationBatches() if validation else None,
        callbacks=callbacks,
        verbose=int(segmenter.verbose),
    )
    n_epochs = max(history.epoch, default=segmenter.epochs - 1) + 1
    best_epoch = stopping.best_epoch + 1 if validation else n_epochs
    return model.get_weights(), history.history, n_epochs, best_epoch


def _change(pair, change):
    return change_image(pair[0], change), change_mask(pair[1], change)


def _to_arrays(pairs, source):
    """Return preprocessed images and their regions."""
    images, regions = zip(*pairs)
    pixels = source.preprocessing(np.stack(list(map(to_rgb, images))))
    return pixels, np.stack(regions)[..., np.newaxis].astype(np.float32)


def _letterbox(image, size):
    """Return an image at the network's size, gray or RGB, without its mask."""
    return fill_mask(letterbox(image if image.ndim == 2 else to_rgb(image), size))


def _load(image, mask, size):
    """Return an image and its region at the network's size; a tiny region keeps a pixel."""
    region = read_mask(mask, image.shape, required=True).astype(np.float32)
    share = fill_mask(letterbox(region, size))
    return to_uint8(_letterbox(image, size)), (share > 0) & (share >= min(0.5, share.max()))


def _to_input(image, size):
    """Return the shape of an image, and its pixels: RGB, 0 to 255, before preprocessing."""
    pixels = to_rgb(_letterbox(image, size))
    return image.shape, pixels if pixels.dtype == np.uint8 else to_float(pixels) * 255


class _TrainedUNet(networks.KerasSource):
    """A U-Net with the weights of a training.

    Parameters
    ----------
    source : KerasSource
        The encoder, of any weights.
    weights : list of ndarray
        The weights of the U-Net.
    """

    def __init__(self, source, weights):
        self._source = source
        self._weights = weights
        self.preprocessing = source.preprocessing
        self.input_size = source.input_size
        self.name = f"unet_{source.name}"
        self.identity = {"unet": source.identity, "learned": joblib.hash(weights)}

    def build(self):
        model = build_unet(self._source)
        try:
            model.set_weights(self._weights)
        except ValueError as error:
            raise InvalidParameterError(
                f"encoder is {self._source}, expected the one that the segmenter was fitted with. "
                "Set it and encoder_options back, or call fit again."
            ) from error
        return model

    def find_taps(self, base):
        return {}


class UNetSegmenter(Segmenter):
    """Find lesions with a U-Net whose encoder was pretrained.

    A U-Net [1]_ joins the feature maps of an encoder, one of Keras' networks, with a decoder that
    brings them back to the size of the image, and gives each pixel its probability.

    Read more in the :ref:`User Guide <segmentation>`.

    Parameters
    ----------
    encoder : str, default="mobilenet"
        The network that provides the feature maps, see `list_backbones`: a MobileNet, VGG, ResNet,
        or another one that halves height and width exactly five times.
    encoder_weights : "imagenet", path or None, default="imagenet"
        The weights to start from; None for random ones.
    encoder_options : dict or None, default=None
        Options of the encoder's architecture, such as ``{"alpha": 0.35}``.
    input_size : int or tuple of int, default=256
        Height and width in pixels that images are brought to, in a letterbox; multiples of 32.
    epochs : int, default=50
        Maximum number of epochs. The learning rate reaches 0 with the last one.
    batch_size : int, default=8
        Number of images per training step, and that go through the network at a time.
    learning_rate : float, default=1e-3
        Largest step size of Adam.
    patience : int, default=15
        Training stops when the validation loss has not fallen for this number of epochs.
    validation_share : float, default=0.1
        Approximate share of the images that are held out for validation, up to 0.5. The weights of
        the epoch with the lowest validation loss are kept. 0: none; all epochs are run, and the
        weights of the last one are kept.
    region_weight : float, default=1.0
        Weight of the pixels inside the masks in the cross-entropy; more than 1 for small lesions.
    augmentation : Augmentation, None or False, default=None
        Random changes of images and masks in training, drawn again in each epoch. None: rotations
        by up to 20 degrees, shifts by 10 and zooms by 30 percent, shears, 0.5 to 1.6 times the
        brightness, and mirror images. False: no changes.
    views : {1, 2}, default=1
        2 averages the probabilities of an image and of its mirror image.
    threshold : float or tuple of float, default=0.5
        Pixels with a higher probability belong to the region. Of two numbers ``(low, high)``: those
        above the lower one that are connected to one above the higher one [2]_. A high one, such as
        ``(0.35, 0.98)``, finds fewer regions where there is no lesion, and misses more lesions.
    engine : {"keras", "openvino"}, default="keras"
        What runs the network in `predict`, see `DeepFeatures`.
    checkpoint : path or None, default=None
        Folder in which Keras' ``BackupAndRestore`` saves the state after each epoch, so that `fit`
        continues from there if it was stopped. Each set of images, masks and parameters has a
        folder of its own inside, which is removed at the end. `patience`, `history_` and the choice
        of the best epoch start again where a training continues.
    random_state : int, default=0
        Seed of the split, of the order and changes of the images, and of random weights.
    verbose : bool, default=False
        Whether `fit` shows Keras' progress bar.

    Attributes
    ----------
    weights_ : list of ndarray
        All weights of the U-Net, in Keras' order.
    history_ : dict of str to list of float
        "loss" of each epoch and, with validation images, their "val_loss".
    n_epochs_ : int
        Number of epochs run.
    best_epoch_ : int
        The epoch whose weights were kept.
    validation_indices_ : ndarray of int
        Positions of the validation images.

    See Also
    --------
    ThresholdSegmenter : Needs no training.
    ROICropper : Crop images around the regions that a segmenter finds.
    featbus.evaluation.segmentation_scores : Scores of each image.

    Notes
    -----
    Keras' `fit` trains with Adam; the loss is binary cross-entropy plus Dice loss. The learning
    rate rises for a twentieth of the training, then falls as a cosine. The decoder has transposed
    convolutions, takes the encoder's maps in through 1x1 convolutions, and ends with 32 channels
    and a 1x1 convolution.

    Images without a region, whose masks are empty, can be trained on: without any, a network finds
    a region in nearly every image.

    In a pipeline, put a fitted segmenter into `FrozenEstimator`, or train it inside each fold by
    `ROICropper`, with the masks as metadata.

    The same call gives the same weights with the same versions on the same machine, with the same
    number of threads, up to rounding that training amplifies; on a graphics card only where its
    backend is set to be deterministic.

    All training images are in memory at once, resized and in 8 bits. Save a fitted segmenter with
    `featbus.save`, inside `FrozenEstimator` or `ROICropper`.

    References
    ----------
    .. [1] Ronneberger O, Fischer P, Brox T. U-Net: convolutional networks for biomedical image
       segmentation. MICCAI 2015, 234-241, doi:10.1007/978-3-319-24574-4_28.
    .. [2] Canny J. A computational approach to edge detection. IEEE TPAMI 8 (1986) 679-698,
       doi:10.1109/TPAMI.1986.4767851.

    Examples
    --------
    >>> from featbus import UNetSegmenter, make_breast_ultrasound
    >>> data = make_breast_ultrasound(8, weights=[1, 1, 0], random_state=0)
    >>> segmenter = UNetSegmenter(
    ...     "mobilenet_v2",
    ...     encoder_weights=None,  # without this line: ImageNet's, which Keras downloads
    ...     encoder_options={"alpha": 0.35},
    ...     input_size=64,
    ...     epochs=1,
    ... )
    >>> segmenter.fit(data.images, data.masks, groups=data.groups).predict(data.images).shape
    (8, 192, 256)
    """

    # 2: images are resized as by version 2 of Resize.
    # 3: trained by Keras' `fit`.
    _algorithm_version = 3

    _parameter_constraints = {
        "encoder": [StrOptions(set(networks.BACKBONES))],
        "encoder_weights": [str, os.PathLike, None],
        "encoder_options": [dict, None],
        "input_size": [PairOf(POSITIVE_INTEGER)],
        "epochs": [POSITIVE_INTEGER],
        "batch_size": [POSITIVE_INTEGER],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "patience": [POSITIVE_INTEGER],
        "validation_share": [Interval(Real, 0, 0.5, closed="both")],
        "region_weight": [Interval(Real, 0, None, closed="neither")],
        "augmentation": [Augmentation, Options(bool, {False}), None],
        "views": [Options(Integral, {1, 2})],
        "threshold": [PairOf(Interval(Real, 0, 1, closed="both"))],
        "engine": [StrOptions({"keras", "openvino"})],
        "checkpoint": [str, os.PathLike, None],
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both")],
        "verbose": ["boolean"],
    }

    __metadata_request__fit = {"masks": True, "groups": True}

    def __init__(
        self,
        encoder: str = "mobilenet",
        *,
        encoder_weights: PathLike | None = "imagenet",
        encoder_options: dict | None = None,
        input_size: int | tuple[int, ...] = 256,
        epochs: int = 50,
        batch_size: int = 8,
        learning_rate: float = 1e-3,
        patience: int = 15,
        validation_share: float = 0.1,
        region_weight: float = 1.0,
        augmentation: Augmentation | Literal[False] | None = None,
        views: Literal[1, 2] = 1,
        threshold: float | tuple[float, ...] = 0.5,
        engine: Literal["keras", "openvino"] = "keras",
        checkpoint: PathLike | None = None,
        random_state: int = 0,
        verbose: bool = False,
    ) -> None:
        self.encoder = encoder
        self.encoder_weights = encoder_weights
        self.encoder_options = encoder_options
        self.input_size = input_size
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.validation_share = validation_share
        self.region_weight = region_weight
        self.augmentation = augmentation
        self.views = views
        self.threshold = threshold
        self.engine = engine
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Images, masks: Images, groups: ArrayLike | None = None) -> Self:
        """Train on images and their masks.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        masks : sequence of length n_images
            The mask of each image, see `featbus.io.read_mask`: an array, a path, or several of
            these, which are united.
        groups : array_like of shape (n_images,), default=None
            Group of each image, such as the patient; the validation split keeps groups together.
            None: each image is a group of its own.

        Returns
        -------
        self : UNetSegmenter
            The segmenter itself.

        Raises
        ------
        ImageError
            If an image or a mask is invalid, or a mask has another size than its image; the message
            names the image.
        ValueError
            If `X` is no batch of images, a parameter is invalid, all masks are empty, or the
            training diverges.
        """
        self._check_parameters()
        batch = self._check_batch(X, reset=True)
        groups = check_groups(groups)
        check_consistent_length(batch, masks, groups)
        source = self._source(self.encoder_weights)
        load = partial(_load, size=source.input_size)
        with naming_paths(batch):
            pairs = list(map_at_index(load, self._iter_images(batch), masks))
        has_region = np.array([region.any() for _, region in pairs])
        if not has_region.any():
            raise ValueError("All masks are empty, expected at least one with a region.")
        learning, self.validation_indices_ = self._split(has_region, groups)
        learning, validation = ([pairs[i] for i in p] for p in (learning, self.validation_indices_))
        folder = self.checkpoint
        if folder is not None:
            make_folder("checkpoint", folder)
            folder = os.path.join(folder, self._key(source, learning, validation))
        weights, *results = _train(self, source, learning, validation, folder)
        if not all(np.isfinite(part).all() for part in weights):
            raise ValueError(
                "The training diverged: weights are NaN or infinite. Use a smaller learning_rate "
                f"than {self.learning_rate:g}."
            )
        self.weights_, (self.history_, self.n_epochs_, self.best_epoch_) = weights, results
        return self

    def _split(self, has_region, groups):
        """Split into images to train on and validation images, some without a region in both."""
        names = np.arange(len(has_region)) if groups is None else groups
        n_groups = [len(np.unique(names[has_region == kind])) for kind in (False, True)]
        # A few images of one kind must not make the validation part larger.
        is_rare = min(n_groups) * self.validation_share < 1
        kinds = np.zeros(len(names), int) if is_rare else has_region.astype(int)
        share, seed = self.validation_share, int(self.random_state)
        return validation_split(kinds, groups, share, seed, needed=has_region)

    def _key(self, source, *images):
        """Return a hash of all that a training depends on, the name of its folder."""
        parameters = self.get_params() | {"encoder": source.identity, "encoder_weights": None}
        return joblib.hash([parameters | dict.fromkeys(_NOT_TRAINED), *images])

    def predict_proba(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Compute the probability that each pixel is inside the region.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of float32 of shape (n_images, height, width), or list of ndarray
            From 0 to 1; a list if the images differ in size. `predict` applies `threshold`.

        Raises
        ------
        ImageError
            If an image is invalid; the message names the image.
        """
        return self._map_batch(self._iter_probabilities, X)

    def _iter_regions(self, images):
        thresholds = as_pair(self.threshold)
        for probabilities in self._iter_probabilities(images):
            yield apply_hysteresis_threshold(probabilities, *thresholds)

    def _iter_probabilities(self, images):
        network = self._network()
        engine, size = networks.load_engine(network), network.source.input_size
        prepared = map_at_index(partial(_to_input, size=size), images)
        while batch := list(islice(prepared, self.batch_size)):
            shapes, pixels = zip(*batch)
            pixels = np.stack(pixels)
            maps = engine.run(pixels, self.batch_size).reshape(-1, *size)
            if self.views == 2:
                mirrored = engine.run(np.ascontiguousarray(pixels[:, :, ::-1]), self.batch_size)
                maps = (maps + mirrored.reshape(-1, *size)[:, :, ::-1]) / 2
            for shape, probabilities in zip(shapes, maps):
                window = letterbox_window(shape, size)
                yield resize(np.ascontiguousarray(probabilities[window]), shape[:2])

    def _source(self, weights=None):
        """Return the encoder, with random weights unless others are given."""
        return networks.find_source(
            backbone=self.encoder,
            backbone_options=self.encoder_options,
            weights=weights,
            preprocessing=None,
            input_size=self.input_size,
            random_state=int(self.random_state),
        )

    def _network(self):
        check_is_fitted(self)
        # Not remembered: whoever changes the weights gets other regions, and other rows.
        source = _TrainedUNet(self._source(), self.weights_)
        return networks.Network(source, ("probability",), ("flatten",), self.engine)

    def _check_parameters(self):
        super()._check_parameters()
        networks.check_engine(self.engine, self._source())
        low, high = as_pair(self.threshold)
        if low > high:
            raise InvalidParameterError(
                f"threshold is {self.threshold!r}, expected the lower number first."
            )

    def _fingerprint_params(self):
        own = {"views": self.views, "threshold": as_pair(self.threshold)}
        return self._network().identity | own | {"release": networks.find_release(self.engine)}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.target_tags.required = True
        return tags
