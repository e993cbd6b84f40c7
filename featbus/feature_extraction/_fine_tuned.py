"""Features of networks that are fine-tuned on the images of a training set."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_consistent_length
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted

from featbus.augmentation import Augmentation, augment
from featbus.feature_extraction._auxiliary import AuxiliarySource
from featbus.feature_extraction._deep import NetworkFeatures, as_tuple
from featbus.groups import check_groups, check_target, validation_split
from featbus.images import at_index, fill_mask, inside_mask, resize, to_rgb, to_uint8
from featbus.networks import STAGES, KerasSource, build_models, region_weights
from featbus.parameters import (
    POSITIVE_INTEGER,
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal, Self

    from numpy.typing import ArrayLike, DTypeLike

    from featbus.typing import Images, PathLike


def _as_stored(image, size, method):
    """Return an image of `size` in 8 bits, with one channel or three; a mask stays."""
    return to_uint8(resize(image if image.ndim == 2 else to_rgb(image), size, np.float32, method))


class _TunedSource(KerasSource):
    """A network from another source, some of whose weights were trained.

    Parameters
    ----------
    source : KerasSource
        The network before.
    weights : dict of str to ndarray
        The trained weights, by the path of the Keras variable.
    digest : str
        Digest of these weights.
    """

    engines = ("keras",)

    def __init__(self, source, weights, digest):
        self._source = source
        self._weights = weights
        self.digest = digest
        self.name = source.name
        self.preprocessing = source.preprocessing
        self.input_size = source.input_size

    @property
    def identity(self):
        return self._source.identity | {"learned": self.digest}

    def label(self, layer):
        return self._source.label(layer)

    def build(self):
        return self._source.build()

    def find_taps(self, base):
        """Return the feature maps, and assign the weights: auxiliary stages come only now."""
        import keras

        taps = self._source.find_taps(base)
        whole = keras.Model(base.input, [*base.outputs, *taps.values()])
        for variable in whole.variables:
            if variable.path in self._weights:
                variable.assign(self._weights[variable.path])
        return taps


def _digest(weights):
    digest = hashlib.sha256()
    for path in sorted(weights):
        digest.update(f"{path}{weights[path].shape}".encode())
        digest.update(np.ascontiguousarray(weights[path]).data)
    return digest.hexdigest()


def _classifier(rows, head, mean, scale):
    """Return the model to train: `head` after the standardized rows of a network."""
    import keras

    class Classifier(keras.Model):
        def __init__(self):
            super().__init__(name="classifier")
            self.rows, self.head = rows, head

        def call(self, inputs):
            # Given in a functional model, Keras 3.15 forgets this argument when it trains.
            outputs = self.rows(inputs, training=False)
            return self.head((outputs - mean.astype("float32")) / scale.astype("float32"))

    return Classifier()


class _Learner:
    """A network with a linear classifier after it, and the images to train and validate with.

    The network always runs as in inference: no statistics are updated, and nothing is dropped out.
    """

    def __init__(self, network, unfreeze, images, batch_size):
        self._images = images
        self._batch_size = batch_size
        self._preprocess = network.source.preprocessing
        self._masked = any(np.ma.isMaskedArray(image) for image in images)
        self._shapes, self._rows = build_models(network, self._masked, unfreeze=unfreeze)
        self._learning = self._rows.trainable_variables
        if not self._learning:
            raise InvalidParameterError(
                f"unfreeze is {unfreeze!r}, and {network.source} has no weights between that stage "
                f"and the layers {list(network.layers)}: expected an earlier stage, or 'all'."
            )
        import keras  # which `build_models` has set up

        # As in `KerasEngine`.
        self._compiling = {"jit_compile": keras.backend.backend() == "jax"}
        self._rows.compile(**self._compiling)

    def add_classifier(self, indices, y, weight, learning_rate):
        """Add a classifier after the network: the logistic regression on its present rows."""
        import keras

        rows = self._predict(indices)
        variance = rows.var(axis=0)
        # A channel that is hardly ever active must not get the weight of the others.
        self._mean, self._scale = rows.mean(axis=0), np.sqrt(variance + variance.mean()) + 1e-12
        regression = LogisticRegression(C=1 / rows.shape[1], max_iter=1000)
        regression.fit((rows - self._mean) / self._scale, y, sample_weight=weight)
        kernel, bias = regression.coef_.T, regression.intercept_
        if len(bias) == 1:
            kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.hstack([-bias / 2, bias / 2])
        zeros = {"kernel_initializer": "zeros", "dtype": "float32"}
        self._head = keras.layers.Dense(len(bias), **zeros, name="classifier")
        self._head.build((None, len(kernel)))
        self._head.set_weights([kernel, bias])
        self._model = _classifier(self._rows, self._head, self._mean, self._scale)
        self._model.compile(
            optimizer=keras.optimizers.Adam(learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            **self._compiling,
        )

    def learn(self, indices, y, weight, rng, augmentation):
        """Train on each of the images once, and return the loss."""
        order, total = rng.permutation(len(indices)), 0.0
        for start in range(0, len(order), self._batch_size):
            part = order[start : start + self._batch_size]
            images = [self._changed(index, rng, augmentation) for index in indices[part]]
            missing = (0, self._batch_size - len(part))
            # The last batch is padded with weight 0, so that no other shape has to be compiled.
            # Some releases of Keras return the mean since the last reset.
            self._model.reset_metrics()
            loss = self._model.train_on_batch(
                self._inputs(images),
                np.pad(y[part], missing),
                sample_weight=np.pad(weight[part], missing).astype(np.float32),
            )
            total += float(loss) * self._batch_size
        return total / len(order)

    def loss(self, indices, y, weight):
        """Return loss and accuracy on images as they are."""
        if len(indices) == 0:
            return np.nan, np.nan
        kernel, bias = self._head.get_weights()
        logits = (self._predict(indices) - self._mean) / self._scale @ kernel + bias
        losses = -log_softmax(logits, axis=1)[np.arange(len(y)), y]
        return float(np.mean(weight * losses)), float(np.mean(logits.argmax(axis=1) == y))

    def weights(self):
        """Return copies of the weights that are trained."""
        return {variable.path: variable.numpy().copy() for variable in self._learning}

    def _changed(self, index, rng, augmentation):
        if not augmentation:
            return self._images[index]
        with at_index(index):
            return augment(self._images[index], rng, augmentation)

    def _predict(self, indices):
        """Return the rows of images as they are."""
        rows = []
        for start in range(0, len(indices), self._batch_size):
            images = [self._images[index] for index in indices[start : start + self._batch_size]]
            rows.append(self._rows.predict_on_batch(self._inputs(images))[: len(images)])
        return np.concatenate(rows).astype(np.float64)

    def _inputs(self, images):
        """Return what the network takes, filled up to a whole batch."""
        height, width = images[0].shape[:2]
        pixels = np.zeros((self._batch_size, height, width, 3), np.float32)
        regions = np.ones((self._batch_size, height, width), np.float32)
        for index, image in enumerate(images):
            pixels[index] = to_rgb(fill_mask(image))
            inside = inside_mask(image)
            regions[index] = 1 if inside is None else inside
        pixels = self._preprocess(pixels)
        return [pixels, *region_weights(regions, self._shapes)] if self._masked else pixels


class FineTunedFeatures(NetworkFeatures):
    """Features of a convolutional network that is fine-tuned on the training images.

    `fit` trains the last stages of the network together with a linear classifier after the pooled
    features. Then the classifier is discarded, and the network extracts features as `DeepFeatures`
    does. In a pipeline, it is trained on the training part of each fold only.

    Parameters
    ----------
    backbone : str, path or keras.Model, default="mobilenet_v2"
        The network, see `DeepFeatures`; or "small_cnn": five convolutions of stride 2, without
        pretrained weights, for ``weights=None`` and ``unfreeze="all"``.
    layers : str or sequence of str, default="top"
        Where features are taken, see `DeepFeatures`. Layers after the last of them are not
        trained.
    pooling : str or sequence of str, default="avg"
        How a feature map becomes numbers, see `DeepFeatures`.
    weights : "imagenet", path or None, default="imagenet"
        The weights to start from, see `DeepFeatures`.
    input_size : int, tuple of int or None, default=None
        Height and width in pixels that images are resized to, see `DeepFeatures`.
    backbone_options : dict or None, default=None
        Options of the network's architecture, see `DeepFeatures`.
    preprocessing : {"caffe", "tf", "torch", "none"} or None, default=None
        What a model of your own was trained on, see `DeepFeatures`.
    unfreeze : {"top", "C1", "C2", "C3", "C4", "C5", "all"} or None, default="C5"
        Layers to train: those after the previous stage. "top" is "C5"; "all" is the whole network.
        VGG's "C5" has no weights, use "C4". None: no layer; the rows are those of `DeepFeatures`.
    auxiliary : int or None, default=None
        Number of channels of a light stage after each of `layers`, as in SSDLite [4]_: a depthwise
        convolution of 3 x 3 cells and a pointwise one, both followed by ReLU6. The stages are
        trained from random weights, and their maps are pooled instead of the network's. `layers`
        must be "top" or stages, and `unfreeze` not None. None: no such stages.
    epochs : int, default=20
        Maximum number of epochs.
    patience : int, default=5
        Training stops when the validation loss has not fallen for this number of epochs.
    validation_share : float, default=0.2
        Approximate share of the images that are held out for validation, up to 0.5. The weights of
        the epoch with the lowest validation loss are kept. 0: none; all epochs are run, and the
        weights of the last one are kept.
    batch_size : int, default=16
        Number of images per training step, and that go through the network at a time.
    learning_rate : float, default=1e-4
        Step size of Adam [1]_. A tenth of it, as in [3]_, is safe for a whole network, and needs
        more epochs.
    class_weight : "balanced", dict or None, default="balanced"
        Weights of the classes in the loss. "balanced": all classes have the same total weight.
        None: all images have the same weight.
    augmentation : Augmentation, None or False, default=None
        Random changes of the images, drawn again in each epoch. None: the default
        `featbus.augmentation.Augmentation`. False: no changes.
    random_state : int, default=0
        Seed of the split, the order of the images, their augmentation and random weights.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The rows' dtype; the computation is in single precision.
    verbose : bool, default=False
        Whether each epoch prints a line.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    history_ : dict of str to list of float
        "loss", "val_loss" and "val_accuracy" after each epoch: the cross-entropy of the augmented
        training images, averaged over the epoch's steps, that of the validation images, and the
        share of these that are classified correctly. The first entry is before the first epoch.
    n_epochs_ : int
        Number of epochs run.
    best_epoch_ : int
        The epoch whose weights were kept; 0 means those before training.
    weights_ : dict of str to ndarray
        The trained weights, by the path of the Keras variable.
    validation_indices_ : ndarray of int
        Positions of the validation images.
    base_digest_ : str or None
        SHA-256 digest of the weights before training; None if they came from no file.

    See Also
    --------
    DeepFeatures : Features of a network that stays as it is.
    featbus.augmentation.Augmentation : How images change at random.

    Notes
    -----
    The classifier starts as the logistic regression on the features before training, because the
    first steps of a random classifier would distort the features [2]_. Rows are standardized for
    it. The loss is cross-entropy. If no epoch lowers the validation loss, the network is kept as it
    was.

    Batch normalization layers keep their means and variances, as is advised for fine-tuning [3]_:
    the few images of a batch estimate them badly. Their scales and offsets are trained.

    The validation images are those of one fold of a stratified split. With `groups`, such as
    patients, each group is on one side; with a group on both sides, training stops too late.
    Without, all images count as independent. In a pipeline, request the groups by
    ``set_fit_request(groups=True)`` and scikit-learn's metadata routing.

    All training images are in memory at once, resized and in 8 bits: 50 kB for a gray image of
    224 x 224 pixels, 150 kB in color. Images of more than 8 bits are reduced to 8 bits for
    training; `transform` uses all of them.

    The same call gives the same rows, up to rounding, with the same versions on the same machine.
    Training amplifies rounding: on another machine, with another number of threads or another Keras
    backend, rows differ, and another epoch can be the best. Graphics cards do not sum in a fixed
    order unless the backend is set to, as by
    ``tensorflow.config.experimental.enable_op_determinism``.

    A pickle contains the trained weights, and the path of the others. Columns are named as those of
    `DeepFeatures`.

    References
    ----------
    .. [1] Kingma DP, Ba J. Adam: a method for stochastic optimization. ICLR 2015, arXiv:1412.6980.
    .. [2] Kumar A et al. Fine-tuning can distort pretrained features and underperform
       out-of-distribution. ICLR 2022, arXiv:2202.10054.
    .. [3] Chollet F. Transfer learning and fine-tuning. Keras developer guides,
       https://keras.io/guides/transfer_learning/.
    .. [4] Sandler M et al. MobileNetV2: inverted residuals and linear bottlenecks. CVPR 2018,
       doi:10.1109/CVPR.2018.00474.

    Examples
    --------
    >>> from featbus import FineTunedFeatures, make_breast_ultrasound
    >>> data = make_breast_ultrasound(12, weights=[1, 1, 0], random_state=0)
    >>> tuned = FineTunedFeatures(
    ...     "mobilenet_v2",
    ...     weights=None,  # without this line: ImageNet's, which Keras downloads
    ...     input_size=64,
    ...     backbone_options={"alpha": 0.35},
    ...     epochs=1,
    ... )
    >>> tuned.fit(data.images, data.target, groups=data.groups).transform(data.images).shape
    (12, 1280)
    >>> tuned.n_epochs_, sorted(tuned.history_)
    (1, ['loss', 'val_accuracy', 'val_loss'])
    """

    # 5: resizing and pooling as in version 4 of DeepFeatures.
    _algorithm_version = 5

    _parameter_constraints = {
        "unfreeze": [StrOptions({"top", "all", *STAGES}), None],
        "auxiliary": [POSITIVE_INTEGER, None],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "validation_share": [Interval(Real, 0, 0.5, closed="both")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "augmentation": [Augmentation, Options(bool, {False}), None],
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both")],
        "verbose": ["boolean"],
    }

    def __init__(
        self,
        backbone: Any = "mobilenet_v2",
        *,
        layers: str | Sequence[str] = "top",
        pooling: str | Sequence[str] = "avg",
        weights: PathLike | None = "imagenet",
        input_size: int | tuple[int, ...] | None = None,
        backbone_options: dict | None = None,
        preprocessing: Literal["caffe", "tf", "torch", "none"] | None = None,
        unfreeze: Literal["top", "C1", "C2", "C3", "C4", "C5", "all"] | None = "C5",
        auxiliary: int | None = None,
        epochs: int = 20,
        patience: int = 5,
        validation_share: float = 0.2,
        batch_size: int = 16,
        learning_rate: float = 1e-4,
        class_weight: Literal["balanced"] | dict | None = "balanced",
        augmentation: Augmentation | Literal[False] | None = None,
        random_state: int = 0,
        dtype: DTypeLike = np.float32,
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.layers = layers
        self.pooling = pooling
        self.weights = weights
        self.input_size = input_size
        self.backbone_options = backbone_options
        self.preprocessing = preprocessing
        self.unfreeze = unfreeze
        self.auxiliary = auxiliary
        self.epochs = epochs
        self.patience = patience
        self.validation_share = validation_share
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.class_weight = class_weight
        self.augmentation = augmentation
        self.random_state = random_state
        self.dtype = dtype
        self.verbose = verbose

    def fit(self, X: Images, y: ArrayLike | None = None, groups: ArrayLike | None = None) -> Self:
        """Train the network to tell the classes apart.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        y : array_like of shape (n_images,)
            The classes, two or more.
        groups : array_like of shape (n_images,), default=None
            What belongs together, such as the patient; all images of a group are on one side of the
            validation split. None: each image is a group of its own.

        Returns
        -------
        self : FineTunedFeatures
            The estimator itself.

        Raises
        ------
        ValueError
            If `X` is no batch of images, or an image is invalid; the message names the image. If
            `y` has one class, or a class too few images for the split.
        """
        self._check_parameters()
        batch = self._check_batch(X, reset=True)
        if y is None:
            raise ValueError(
                "FineTunedFeatures requires y to be passed, but the target y is None: expected the "
                "class of each image."
            )
        _, self.classes_, y = check_target(y)
        groups = check_groups(groups)
        check_consistent_length(batch, y, groups)
        network = self._base_network()
        self.base_digest_ = network.source.digest
        self.n_epochs_ = self.best_epoch_ = 0
        self.history_ = {"loss": [], "val_loss": [], "val_accuracy": []}
        self.weights_, self.validation_indices_ = {}, np.arange(0)
        if self.unfreeze is not None:
            parts = validation_split(y, groups, self.validation_share, int(self.random_state))
            self.validation_indices_ = parts[1]
            self._learn(network, batch, y, parts)
        self._learned_digest_ = _digest(self.weights_)
        return self

    def _learn(self, network, batch, y, parts):
        """Train epoch by epoch, and keep the best weights."""
        images = list(self._iter_stored(batch, network.source))
        learner = _Learner(network, self.unfreeze, images, self.batch_size)
        # A class has the same weight in training and validation.
        learning, watching = (
            (indices, y[indices], self._sample_weight(y, parts[0])[indices]) for indices in parts
        )
        learner.add_classifier(*learning, self.learning_rate)
        rng = np.random.default_rng(int(self.random_state))
        augmentation = Augmentation() if self.augmentation is None else self.augmentation
        self._note(learner.loss(*learning)[0], *learner.loss(*watching))
        for epoch in range(1, self.epochs + 1):
            loss = learner.learn(*learning, rng, augmentation)
            self._note(loss, *learner.loss(*watching))
            self.n_epochs_ = epoch
            losses = self.history_["val_loss"]
            if len(watching[0]) == 0 or losses[epoch] < losses[self.best_epoch_]:
                self.best_epoch_, self.weights_ = epoch, learner.weights()
            elif epoch - self.best_epoch_ >= self.patience:
                break

    def _sample_weight(self, y, learning):
        """Return the weight of each image, given the training images."""
        labels = self.classes_[y]
        weight = np.empty(len(y))
        weight[learning] = compute_sample_weight(self.class_weight, labels[learning])
        by_class = dict(zip(y[learning], weight[learning]))
        return np.array([by_class[label] for label in y])

    def _note(self, loss, val_loss, val_accuracy):
        if self.verbose:
            print(
                f"epoch {len(self.history_['loss'])}: loss {loss:.4f}, validation loss "
                f"{val_loss:.4f}, validation accuracy {val_accuracy:.3f}",
                flush=True,
            )
        for name, value in zip(self.history_, (loss, val_loss, val_accuracy)):
            self.history_[name].append(value)

    def _iter_stored(self, batch, source):
        size, method = source.input_size, source.preprocessing.resize
        for index, image in enumerate(self._iter_images(batch)):
            with at_index(index):
                yield _as_stored(image, size, method)

    def _base_network(self):
        """Return the network as it is before training."""
        network = super()._network()
        if self.auxiliary is None:
            return network
        stages = network.source, network.layers, self.auxiliary, self.random_state
        source = AuxiliarySource(*stages)
        return replace(network, source=source, layers=source.outputs)

    def _network(self):
        """Return the network with its trained weights."""
        check_is_fitted(self)
        network = self._base_network()
        source = network.source
        if source.digest != self.base_digest_:
            raise InvalidParameterError(
                f"The weights that {source} started from are others than in fit: digest "
                f"{source.digest}, expected {self.base_digest_}. Bring them back, or fit again."
            )
        tuned = _TunedSource(source, self.weights_, self._learned_digest_)
        return replace(network, source=tuned)

    def _check_parameters(self):
        super()._check_parameters()
        size = self._source().input_size
        turns = isinstance(self.augmentation, Augmentation) and self.augmentation.dihedral
        if turns and size[0] != size[1]:
            raise InvalidParameterError(
                f"augmentation has dihedral=True, and the network's input is {size} pixels: "
                "expected a square one, because quarter turns swap height and width."
            )
        if self.auxiliary is not None:
            self._check_auxiliary()

    def _check_auxiliary(self):
        if self.unfreeze is None:
            raise InvalidParameterError(
                f"auxiliary is {self.auxiliary!r}, and unfreeze is None: expected the stage to "
                "train from, such as 'C5', because auxiliary stages have to be trained."
            )
        others = [layer for layer in as_tuple(self.layers) if layer not in ("top", *STAGES)]
        if others:
            raise InvalidParameterError(
                f"auxiliary is {self.auxiliary!r}, and layers has {others[0]!r}: expected 'top' or "
                f"stages among {list(STAGES)}."
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.target_tags.required = True
        return tags
