"""Features of networks that are fine-tuned on the images of a training set."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import chain
from numbers import Integral, Real
from typing import Any, Literal, Self

import joblib
import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from sklearn.utils import check_consistent_length
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted

from featbus.augmentation import Augmentation
from featbus.color import to_rgb, to_uint8
from featbus.feature_extraction._deep import NetworkFeatures
from featbus.feature_extraction._training import AuxiliarySource, Training, TunedSource
from featbus.groups import check_target
from featbus.images import at_index
from featbus.masks import fill_mask, inside_mask
from featbus.networks import STAGES, find_release, windows
from featbus.parameters import (
    POSITIVE_INTEGER,
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
    make_folder,
)
from featbus.resizing import resize
from featbus.typing import Images, PathLike


def _with_mirror_image(prepared):
    """Return the pixels and region of an image, and those of its mirror image."""
    pixels, region = prepared
    return prepared, (pixels[:, ::-1], None if region is None else region[:, ::-1])


class FineTunedFeatures(NetworkFeatures):
    """Features of a convolutional network that is fine-tuned on the training images.

    `fit` trains the last stages of the network together with a linear classifier after the pooled
    features. Then the classifier is discarded, and the network extracts features as `DeepFeatures`
    does. In a pipeline, it is trained on the training part of each fold only.

    Read more in the :ref:`User Guide <fine_tuning>`.

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
    preprocessing : {"caffe", "tf", "torch", "none"}, dict, path or None, default=None
        What a model of your own was trained on, see `DeepFeatures`.
    unfreeze : {"top", "C1", "C2", "C3", "C4", "C5", "all"} or None, default="C5"
        Layers to train: those after the previous stage. "top" is "C5"; "all" is the whole network.
        VGG's "C5" has no weights, use "C4". None: no layer; the rows are those of `DeepFeatures`.
    auxiliary : int or None, default=None
        Number of channels of a light stage after each of `layers`, as in SSDLite [4]_: a depthwise
        convolution of 3 x 3 cells and a pointwise one, both followed by ReLU6. The stages are
        trained from random weights, and their maps are pooled instead of the network's. `layers`
        must be "top" or stages, and `unfreeze` not None. None: no such stages.
    epochs : int, default=30
        Number of epochs. All of them are run, with all images.
    n_members : int, default=1
        Number of networks, trained from the same start with other orders and augmentations of the
        images. Rows are averaged over the networks.
    batch_size : int, default=16
        Number of images per training step, and that go through the network at a time.
    learning_rate : float, default=1e-4
        Largest step size of Adam [1]_. It rises linearly for a tenth of the steps, then falls as a
        cosine to 0.
    flip : bool, default=False
        Whether the row of an image is the mean of its row and that of its left-right mirror image,
        which takes twice the time. `pooling` must have no grid.
    class_weight : "balanced", dict or None, default="balanced"
        Weights of the classes in the loss. "balanced": all classes have the same total weight.
        None: all images have the same weight.
    augmentation : Augmentation, None or False, default=None
        Random changes of the images, drawn again in each epoch. None: the default
        `featbus.augmentation.Augmentation`. False: no changes.
    random_state : int, default=0
        Seed of the order of the images, their augmentation and random weights.
    checkpoint : path or None, default=None
        Folder for the state of the training, created if needed: a ``fit`` that was interrupted
        continues after the last whole epoch, and one with the images, classes and parameters of an
        earlier one loads its weights. None: nothing is saved.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The rows' dtype; the computation is in single precision.
    verbose : bool, default=False
        Whether `fit` shows Keras' progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    losses_ : ndarray of shape (n_members, epochs)
        Cross-entropy of the augmented images in each epoch, averaged over its steps. Empty if no
        layer was trained.
    n_samples_ : int
        Number of training images.
    weights_ : dict of str to ndarray of shape (n_members, ...)
        The trained weights of each member, by the path of the Keras variable. Do not edit them: the
        estimator keeps the networks that it has built from them.
    base_digest_ : str or None
        SHA-256 digest of the weights before training; None if they came from no file.
    base_input_ : dict
        Preprocessing and input size of the network in `fit`; others are an error.

    See Also
    --------
    DeepFeatures : Features of a network that stays as it is.
    featbus.augmentation.Augmentation : How images change at random.

    Notes
    -----
    The classifier starts as the logistic regression on the features before training, because the
    first steps of a random classifier would distort the features [2]_. Rows are standardized for
    it. The loss is cross-entropy.

    No images are held out to decide when to stop: with a few hundred images, a validation part is
    so small that its loss decides at random. The learning rate falls to 0 instead, and the weights
    are the mean of those after the last quarter of the epochs [5]_. Members that start from the
    same pretrained weights end close enough to each other to average their rows, column by column.

    Batch normalization layers keep their means and variances, as is advised for fine-tuning [3]_:
    the few images of a batch estimate them badly. Their scales and offsets are trained.

    All training images are in memory at once, resized and in 8 bits: 50 kB for a gray image of
    224 x 224 pixels, 150 kB in color. Images of more than 8 bits are reduced to 8 bits for
    training, with the range of their dtype: 12 bits in uint16 become 4, so stretch their contrast
    first, as by `ContrastStretch`. `transform` uses all bits.

    The same call gives the same weights, bit by bit, with the same versions, processor and number
    of threads, in any process. Another number of threads sums gradients in another order, and
    training amplifies the rounding. TensorFlow sets the number once per process, when it is
    imported: the number of cores, or fewer in a worker of joblib. With the environment variable
    ``TF_NUM_INTRAOP_THREADS=1`` the weights do not depend on the number of workers. With a file in
    `checkpoint`, they are those of the training that wrote it, also for other numbers of threads.
    Graphics cards do not sum in a fixed order unless the backend is set to, as by
    ``tensorflow.config.experimental.enable_op_determinism``.

    A file in `checkpoint` contains arrays only. Its name is a digest of the images, classes and
    parameters, and processes can share the folder.

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
    .. [5] Izmailov P et al. Averaging weights leads to wider optima and better generalization. UAI
       2018, arXiv:1803.05407.

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
    >>> tuned.fit(data.images, data.target).transform(data.images).shape
    (12, 1280)
    >>> tuned.losses_.shape
    (1, 1)
    """

    # 7: trained by Keras' `fit`, which draws the random numbers in another order.
    _algorithm_version = 7

    _parameter_constraints = {
        "unfreeze": [StrOptions({"top", "all", *STAGES}), None],
        "auxiliary": [POSITIVE_INTEGER, None],
        "epochs": [POSITIVE_INTEGER],
        "n_members": [POSITIVE_INTEGER],
        "batch_size": [POSITIVE_INTEGER],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "flip": ["boolean"],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "augmentation": [Augmentation, Options(bool, {False}), None],
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both")],
        "checkpoint": [str, os.PathLike, None],
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
        preprocessing: Literal["caffe", "tf", "torch", "none"] | dict | PathLike | None = None,
        unfreeze: Literal["top", "C1", "C2", "C3", "C4", "C5", "all"] | None = "C5",
        auxiliary: int | None = None,
        epochs: int = 30,
        n_members: int = 1,
        batch_size: int = 16,
        learning_rate: float = 1e-4,
        flip: bool = False,
        class_weight: Literal["balanced"] | dict | None = "balanced",
        augmentation: Augmentation | Literal[False] | None = None,
        random_state: int = 0,
        checkpoint: PathLike | None = None,
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
        self.n_members = n_members
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.flip = flip
        self.class_weight = class_weight
        self.augmentation = augmentation
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.dtype = dtype
        self.verbose = verbose

    def fit(self, X: Images, y: ArrayLike | None = None) -> Self:
        """Train the network to tell the classes apart.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        y : array_like of shape (n_images,)
            The classes, two or more.

        Returns
        -------
        self : FineTunedFeatures
            The estimator itself.

        Raises
        ------
        ValueError
            If `X` is no batch of images, or an image is invalid; the message names the image. If
            `y` has one class, the training diverges, or a file in `checkpoint` is damaged.
        """
        network = self._base_network()
        batch = self._check_batch(X, reset=True)
        if y is None:
            raise ValueError(
                "FineTunedFeatures requires y to be passed, but the target y is None: expected the "
                "class of each image."
            )
        _, classes, y = check_target(y)
        check_consistent_length(batch, y)
        weights, losses = {}, np.empty((self.n_members, 0))
        if self.unfreeze is not None:
            images = list(self._iter_stored(batch, network.source))
            weights, losses = self._train(network, images, y, classes)
        tuned = replace(network, source=TunedSource(network.source, weights))
        # All at once, at the end: an interrupted training leaves the estimator as it was.
        self.classes_, self.n_samples_ = classes, len(y)
        self.weights_, self.losses_ = weights, losses
        self._set_fitted(network, tuned)
        return self

    def _train(self, network, images, y, classes):
        """Return the weights and losses of a training, or of an equal one in `checkpoint`."""
        weight = compute_sample_weight(self.class_weight, classes[y])
        if not (np.isfinite(weight).all() and weight.min() >= 0 < weight.max()):
            raise InvalidParameterError(
                f"class_weight is {self.class_weight!r}, expected finite weights from 0 on, not "
                "all of them 0."
            )
        augmentation = Augmentation() if self.augmentation is None else self.augmentation
        training, path = Training(network, images, y, weight, augmentation, self), None
        if self.checkpoint is not None:
            make_folder("checkpoint", self.checkpoint)
            key = self._training_key(network, images, y, weight, augmentation)
            path = os.path.join(self.checkpoint, f"{key}.npz")
        training.run(path)
        return training.weights(), np.reshape(training.losses, (self.n_members, self.epochs))

    def _training_key(self, network, images, y, weight, augmentation):
        """Return a digest of all that the trained weights depend on, except for rounding."""
        names = "unfreeze", "epochs", "n_members", "batch_size", "learning_rate", "random_state"
        parameters = [str(getattr(self, name)) for name in names]
        releases = self._algorithm_version, find_release("keras"), version("keras")
        about = [network.identity, parameters, augmentation, releases, y.tolist(), weight.tolist()]
        text = json.dumps(about, sort_keys=True, default=str)
        return joblib.hash([text, *((fill_mask(image), inside_mask(image)) for image in images)])

    def _iter_stored(self, batch, source):
        """Yield images of the network's size in 8 bits, with one channel or three; masks stay."""
        size, method = source.input_size, source.preprocessing.resize
        for index, image in enumerate(self._iter_images(batch)):
            with at_index(index):
                image = image if image.ndim == 2 else to_rgb(image)
                yield to_uint8(resize(image, size, np.float32, method))

    def _compute_rows(self, prepared):
        if not self.flip:
            return super()._compute_rows(prepared)
        rows = super()._compute_rows(chain.from_iterable(map(_with_mirror_image, prepared)))
        return (np.mean(pair, axis=0) for pair in zip(rows, rows))

    def _fingerprint_params(self):
        return super()._fingerprint_params() | {"flip": self.flip}

    def _base_network(self):
        """Check all parameters; return the network as it is before training."""
        network = super()._base_network()
        size = network.source.input_size
        turns = isinstance(self.augmentation, Augmentation) and self.augmentation.dihedral
        if turns and size[0] != size[1]:
            raise InvalidParameterError(
                f"augmentation has dihedral=True, and the network's input is {size} pixels: "
                "expected a square one, because quarter turns swap height and width."
            )
        grids = [name for name in network.pooling if len(windows(name, 2, 2)) > 1]
        if self.flip and grids:
            raise InvalidParameterError(
                f"flip is True, and pooling has {grids[0]!r}: expected poolings of the whole map, "
                "because the mirror image has other windows."
            )
        if self.auxiliary is None:
            return network
        if self.unfreeze is None or not {"top", *STAGES}.issuperset(network.layers):
            raise InvalidParameterError(
                f"auxiliary is {self.auxiliary!r}, unfreeze is {self.unfreeze!r}, and layers is "
                f"{self.layers!r}: expected a stage to train from, such as 'C5', as auxiliary "
                f"stages have to be trained, and layers among 'top' and {list(STAGES)}."
            )
        source = AuxiliarySource(network.source, network.layers, self.auxiliary, self.random_state)
        return replace(network, source=source, layers=source.outputs)

    def _network(self):
        check_is_fitted(self)
        network = super()._network()
        return replace(network, source=TunedSource(network.source, self.weights_))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.target_tags.required = True
        return tags
