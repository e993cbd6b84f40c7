"""Features of networks that go on learning, from the images of a training set."""

import hashlib
import threading
from dataclasses import dataclass, field, replace
from functools import lru_cache
from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from featbus.augmentation import Augmentation, augment
from featbus.base import _naming_image
from featbus.feature_extraction._deep import DeepFeatures
from featbus.images import fill_mask, fill_value, inside_mask, resize, to_float, to_rgb, with_mask
from featbus.networks import (
    STAGES,
    KerasEngine,
    Network,
    build_model,
    preprocess,
    region_weights,
)

_LOCK = threading.Lock()


def _as_stored(image, size):
    """Return an image of `size` in 8 bits, with one channel or three; a mask stays."""
    image = resize(image if image.ndim == 2 else to_rgb(image), size)
    if image.dtype == np.uint8:
        return image
    image = to_float(image)
    pixels = np.rint(np.ma.getdata(image) * 255).astype(np.uint8)
    return with_mask(pixels, inside_mask(image), np.rint(fill_value(image) * 255))


def _split(y, groups, share, seed):
    """Return the images to learn from and those that tell when to stop, about a `share`."""
    if share == 0:
        return np.arange(len(y)), np.arange(0)
    groups = np.arange(len(y)) if groups is None else groups
    n_groups = [len(np.unique(groups[y == label])) for label in range(y.max() + 1)]
    n_splits = min(round(1 / share), *n_groups)
    if n_splits > 1:
        # Before scikit-learn 1.8, its own shuffling undoes the stratification.
        names, groups = np.unique(groups, return_inverse=True)
        groups = np.random.default_rng(seed).permutation(len(names))[groups]
        for learning, watching in StratifiedGroupKFold(n_splits).split(y, y, groups):
            if set(y[learning]) == set(y[watching]):
                return learning, watching
    raise ValueError(
        "No split into images to learn from and images to watch has every class, and each group "
        f"on one side: the classes have {n_groups} groups. Expected 2 at least, and more where "
        "groups have several classes. Or use validation_share=0: all images, and all epochs."
    )


def _layers_up_to(network, unfreeze):
    """Return the names of the layers that stay as they are."""
    if unfreeze == "all":
        return set()
    stage = "C5" if unfreeze == "top" else unfreeze
    # Weights do not matter here.
    plain = network if network.preprocessing else replace(network, weights=None, random_state=0)
    for earlier in reversed(STAGES[: STAGES.index(stage)]):
        try:
            model, _ = build_model(replace(plain, layers=(earlier,), pooling=("avg",)))
        except ValueError:  # there is no such stage
            continue
        return {layer.name for layer in model.layers}
    return set()


@dataclass(frozen=True)
class _TunedNetwork(Network):
    """A network some of whose weights are others.

    Attributes
    ----------
    learned_digest : str
        Digest of these.
    learned : dict of str to ndarray
        By the path of the Keras variable.
    """

    learned_digest: str = ""
    learned: dict = field(default=None, compare=False, repr=False)


@lru_cache(maxsize=2)
def _load_tuned(network):
    return KerasEngine(network, network.learned)


def _digest(weights):
    digest = hashlib.sha256()
    for path in sorted(weights):
        digest.update(f"{path}{weights[path].shape}".encode())
        digest.update(np.ascontiguousarray(weights[path]).data)
    return digest.hexdigest()


def _classifier(rows, head, mean, scale):
    """Return the model that learns: `head` behind the standardised rows of a network."""
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
    """A network with a linear classifier behind it, and the images that it knows.

    The network runs as in inference all the time: no statistics move, and nothing is dropped out.
    """

    def __init__(self, network, unfreeze, images, batch_size):
        self._images = images
        self._batch_size = batch_size
        self._mode = network.mode
        self._masked = any(np.ma.isMaskedArray(image) for image in images)
        self._rows, self._shapes = build_model(network, masked=self._masked)
        frozen = _layers_up_to(network, unfreeze)
        for layer in self._rows.layers:
            layer.trainable = layer.name not in frozen
        self._learning = self._rows.trainable_variables
        if not self._learning:
            raise ValueError(
                f"unfreeze is {unfreeze!r}, and {network} has no weights between that stage and "
                f"the layers {list(network.layers)}: expected an earlier stage, or 'all'."
            )
        import keras  # which `build_model` has set up

        # As in `KerasEngine`.
        self._compiling = {"jit_compile": keras.backend.backend() == "jax"}
        self._rows.compile(**self._compiling)

    def add_classifier(self, indices, y, weight, learning_rate):
        """Put a classifier behind the network: the logistic regression on its present rows."""
        import keras

        rows = self._predict(indices)
        variance = rows.var(axis=0)
        # A channel that is hardly ever active must not count as much as the others.
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
        """Learn from each of the images once, and return the loss."""
        order, total = rng.permutation(len(indices)), 0.0
        for start in range(0, len(order), self._batch_size):
            part = order[start : start + self._batch_size]
            images = [self._changed(index, rng, augmentation) for index in indices[part]]
            missing = (0, self._batch_size - len(part))
            # What fills the last batch up, so that it is no other shape to compile, weighs nothing.
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
        """Return copies of the weights that learn."""
        return {variable.path: variable.numpy().copy() for variable in self._learning}

    def _changed(self, index, rng, augmentation):
        if augmentation is None:
            return self._images[index]
        with _naming_image(index):
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
        pixels = preprocess(pixels, self._mode)
        return [pixels, *region_weights(regions, self._shapes)] if self._masked else pixels


class FineTunedFeatures(DeepFeatures):
    """Features of a convolutional network that goes on learning, from the training images.

    In `fit`, a linear classifier behind the pooled features learns to tell the classes apart, and
    the last stages of the network learn with it. Then the classifier is put away, and the network
    gives features as `DeepFeatures` does. In a pipeline, it learns from the training part of each
    fold alone.

    Parameters
    ----------
    backbone : str, path or keras.Model, default="mobilenet_v2"
        The network, see `DeepFeatures`.
    layers : str or sequence of str, default="top"
        Where features are taken, see `DeepFeatures`. What lies behind the last of them does not
        learn.
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
        What learns: all layers behind the map of the stage before this one. "top" is "C5"; "all" is
        the whole network. VGG's "C5" has nothing to learn, take "C4". None: no layer; the rows are
        those of `DeepFeatures`.
    epochs : int, default=20
        How often each image is learnt from, at most.
    patience : int, default=5
        Learning stops when the loss on the images apart has not fallen for so many epochs.
    validation_share : float, default=0.2
        About which share of the images is kept apart, not to be learnt from. The weights of the
        epoch with the lowest loss on them are taken. 0: none; all epochs are run, and the weights
        of the last one are taken.
    batch_size : int, default=16
        How many images a step learns from, and how many go through the network at a time.
    learning_rate : float, default=1e-4
        Step size of Adam [1]_. Ten times less, as in [3]_, is safe for a whole network, and needs
        more epochs.
    class_weight : "balanced", dict or None, default="balanced"
        How much an image counts, by its class. "balanced": each class as much as any other. None:
        each image as much as any other.
    augmentation : Augmentation, None or False, default=None
        How images change at random, anew in each epoch. None: as an
        `featbus.augmentation.Augmentation` does by default. False: not at all.
    random_state : int, default=0
        Seed of the split, of the order of the images and of their changes; of random weights, too.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The rows' dtype; the computation is in single precision.
    verbose : bool, default=False
        Whether each epoch prints a line.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    history_ : dict of str to list of float
        "loss", "val_loss" and "val_accuracy" after each epoch: the cross-entropy of the images
        learnt from, as they were when their turn came, and of those apart, and the share of these
        that was told right. The first entry is that before the first epoch.
    n_epochs_ : int
        Number of epochs run.
    best_epoch_ : int
        The epoch whose weights were taken; 0 are the weights to start from.
    weights_ : dict of str to ndarray
        The weights that have learnt, by the path of the Keras variable.
    validation_indices_ : ndarray of int
        Which images were kept apart.

    See Also
    --------
    DeepFeatures : Features of a network that stays as it is.
    featbus.augmentation.Augmentation : How images change at random.

    Notes
    -----
    The classifier starts as the logistic regression on the rows before, and not at random: steps
    that a random classifier asks for spoil what the network knows [2]_. Rows are standardised for
    it. The loss is cross-entropy. If no epoch lowers the loss on the images apart, the network is
    taken as it was.

    Batch normalization layers keep their means and variances, as is advised for fine-tuning [3]_:
    the few images of a batch estimate them badly. Their scales and offsets learn.

    The images apart are those of one fold of a stratified split. With `groups`, such as patients,
    each group is on one side; groups that are torn apart make learning stop too late. Without, all
    images count as independent. In a pipeline, ask for the groups by
    ``set_fit_request(groups=True)`` and scikit-learn's metadata routing.

    All training images are in memory at once, resized and in 8 bits: 50 kB for a grey image of
    224 x 224 pixels, 150 kB in colour. Images of more than 8 bits are learnt from in 8 bits;
    `transform` takes all.

    The same call gives the same rows, up to rounding, with the same versions on the same machine.
    Learning magnifies rounding: on another machine, with another number of threads or another Keras
    backend, rows differ, and the best epoch can be another one. Graphics cards do not sum in a
    fixed order unless ``keras.config`` or the backend is told to
    (``tensorflow.config.experimental.enable_op_determinism``).

    A pickle holds the weights that have learnt, and of the others where they come from.

    References
    ----------
    .. [1] Kingma DP, Ba J. Adam: a method for stochastic optimization. ICLR 2015, arXiv:1412.6980.
    .. [2] Kumar A et al. Fine-tuning can distort pretrained features and underperform
       out-of-distribution. ICLR 2022, arXiv:2202.10054.
    .. [3] Chollet F. Transfer learning and fine-tuning. Keras developer guides,
       https://keras.io/guides/transfer_learning/.

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

    _algorithm_version = 2

    def __init__(
        self,
        backbone="mobilenet_v2",
        *,
        layers="top",
        pooling="avg",
        weights="imagenet",
        input_size=None,
        backbone_options=None,
        preprocessing=None,
        unfreeze="C5",
        epochs=20,
        patience=5,
        validation_share=0.2,
        batch_size=16,
        learning_rate=1e-4,
        class_weight="balanced",
        augmentation=None,
        random_state=0,
        dtype=np.float32,
        verbose=False,
    ):
        super().__init__(
            backbone,
            layers=layers,
            pooling=pooling,
            weights=weights,
            input_size=input_size,
            batch_size=batch_size,
            backbone_options=backbone_options,
            preprocessing=preprocessing,
            random_state=random_state,
            dtype=dtype,
        )
        self.unfreeze = unfreeze
        self.epochs = epochs
        self.patience = patience
        self.validation_share = validation_share
        self.learning_rate = learning_rate
        self.class_weight = class_weight
        self.augmentation = augmentation
        self.verbose = verbose

    def fit(self, X, y=None, groups=None):
        """Learn to tell the classes apart.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        y : array_like of shape (n_images,)
            The classes, two or more.
        groups : array_like of shape (n_images,), default=None
            What belongs together, such as the patient; a group is learnt from as a whole, or kept
            apart as a whole. None: each image is a group of its own.

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
        network = self._checked_network()
        augmentation = self._checked_augmentation(network.input_size)
        batch = self._check_batch(X, reset=True)
        y = self._checked_y(y, len(batch))
        groups = _checked_groups(groups, len(batch))
        self._base_digest_ = network.digest
        self.n_epochs_ = self.best_epoch_ = 0
        self.history_ = {"loss": [], "val_loss": [], "val_accuracy": []}
        self.weights_, self.validation_indices_ = {}, np.arange(0)
        if self.unfreeze is not None:
            parts = _split(y, groups, self.validation_share, int(self.random_state))
            self.validation_indices_ = parts[1]
            self._learn(network, batch, y, parts, augmentation)
        self._learned_digest_ = _digest(self.weights_)
        return self

    def _learn(self, network, batch, y, parts, augmentation):
        """Learn epoch by epoch, and keep the best weights."""
        images = list(self._iter_stored(self._iter_images(batch), network.input_size))
        learner = _Learner(network, self.unfreeze, images, self.batch_size)
        # A class of the images apart has the weight that it has for learning.
        learning, watching = (
            (indices, y[indices], self._sample_weight(y, parts[0])[indices]) for indices in parts
        )
        learner.add_classifier(*learning, self.learning_rate)
        rng = np.random.default_rng(int(self.random_state))
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
        """Return the weight of each image, given those to learn from."""
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

    def _iter_stored(self, images, size):
        for index, image in enumerate(images):
            with _naming_image(index):
                yield _as_stored(image, size)

    def _engine(self, network):
        with _LOCK:
            return _load_tuned(network)

    def _usable_network(self):
        """Return the network with what it has learnt."""
        check_is_fitted(self)
        network = self._checked_network()
        if network.digest != self._base_digest_:
            raise ValueError(
                f"The weights that {network} started from are others than in fit: digest "
                f"{network.digest}, expected {self._base_digest_}. Bring them back, or fit again."
            )
        learned = {"learned_digest": self._learned_digest_, "learned": self.weights_}
        return _TunedNetwork(**vars(network) | learned)

    def _checked_network(self):
        if self.unfreeze not in (None, "top", "all", *STAGES):
            raise ValueError(
                f"unfreeze is {self.unfreeze!r}, expected a stage 'C1' to 'C5', 'top', 'all' or "
                "None."
            )
        for name, kind, low, high, expected in (
            ("epochs", Integral, 1, np.inf, "a positive integer"),
            ("patience", Integral, 1, np.inf, "a positive integer"),
            ("batch_size", Integral, 1, np.inf, "a positive integer"),
            ("random_state", Integral, 0, 2**32 - 1, "an integer from 0: a seed"),
            ("validation_share", Real, 0, 0.5, "a share from 0 to 0.5"),
            ("learning_rate", Real, 1e-12, np.inf, "a positive number"),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
                raise ValueError(f"{name} is {value!r}, expected {expected}.")
        return super()._checked_network()

    def _checked_augmentation(self, size):
        if self.augmentation is False:
            return None
        augmentation = Augmentation() if self.augmentation is None else self.augmentation
        if not isinstance(augmentation, Augmentation):
            raise TypeError(
                f"augmentation is {augmentation!r}, expected a featbus.augmentation.Augmentation, "
                "None for the default one, or False for none."
            )
        if augmentation.dihedral and size[0] != size[1]:
            raise ValueError(
                f"augmentation has dihedral=True, and the network's input is {size} pixels: "
                "expected a square one, because quarter turns swap height and width."
            )
        return augmentation

    def _checked_y(self, y, n_images):
        """Set `classes_`, and return the number of each image's class."""
        if y is None:
            raise ValueError(
                "FineTunedFeatures requires y to be passed, but the target y is None: expected the "
                "class of each image."
            )
        y = column_or_1d(y, warn=True)
        check_consistent_length(range(n_images), y)
        if y.dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        elif pd.isna(y).any():
            raise ValueError("Input y contains NaN or None, expected the class of each image.")
        check_classification_targets(y)
        self.classes_, y = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has 1 class, {self.classes_.tolist()}, expected two at least: there is nothing "
                "to tell apart."
            )
        return y

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.target_tags.required = True
        return tags


def _checked_groups(groups, n_images):
    """Return the number of each image's group, or None."""
    if groups is None:
        return None
    groups = column_or_1d(groups)
    check_consistent_length(range(n_images), groups)
    if pd.isna(groups).any():
        raise ValueError(
            "groups has NaN or None: expected a group of each image, a new one where it is unknown."
        )
    return np.unique(groups, return_inverse=True)[1]
