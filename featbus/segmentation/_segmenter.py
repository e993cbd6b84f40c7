"""Segmentation by a U-Net."""

from __future__ import annotations

import hashlib
import json
import operator
import os
import shutil
import tempfile
import zipfile
from dataclasses import asdict
from itertools import islice
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np
from skimage.filters import apply_hysteresis_threshold
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from featbus import __version__
from featbus.augmentation import Augmentation
from featbus.base import naming_paths
from featbus.color import to_float, to_rgb, to_uint8
from featbus.files import written_whole
from featbus.groups import check_groups, validation_split
from featbus.images import at_index
from featbus.io import read_mask
from featbus.masks import fill_mask
from featbus.networks import (
    BACKBONES,
    ENGINES,
    KerasSource,
    Network,
    check_engine,
    find_source,
    import_keras,
    load_engine,
)
from featbus.parameters import (
    POSITIVE_INTEGER,
    Interval,
    InvalidParameterError,
    Options,
    PairOf,
    StrOptions,
    as_pair,
    as_plain,
    make_folder,
)
from featbus.resizing import letterbox, letterbox_window, resize
from featbus.segmentation._base import Segmenter
from featbus.segmentation._training import Training
from featbus.segmentation._unet import build_unet

if TYPE_CHECKING:
    from typing import Literal, Self

    from numpy.typing import ArrayLike

    from featbus.typing import Images, PathLike

_PARAMETERS = "featbus.json"  # in a saved file
_LONGEST = 1 << 26  # bytes of it
# Parameters that change neither the weights nor their order.
_NOT_TRAINED = ["batch_size", "checkpoint", "engine", "patience", "threshold", "verbose", "views"]


def _to_input(image, size):
    """Return an image as the network takes it before preprocessing: RGB, 0 to 255."""
    image = letterbox(image if image.ndim == 2 else to_rgb(image), size)
    image = to_rgb(fill_mask(image))
    return image if image.dtype == np.uint8 else to_float(image) * 255


def _to_size(region, size):
    """Return a region at the network's size; a region too small for a pixel keeps one."""
    share = fill_mask(letterbox(region.astype(np.float32), size))
    return (share > 0) & (share >= min(0.5, share.max()))


def _to_image(probabilities, image_shape):
    """Bring a map of the network's size back to an image's."""
    window = letterbox_window(image_shape, probabilities.shape)
    return resize(np.ascontiguousarray(probabilities[window]), image_shape[:2])


def _digest(weights):
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(f"{weight.shape}".encode())
        digest.update(np.ascontiguousarray(weight).data)
    return digest.hexdigest()


class _TrainedUNet(KerasSource):
    """A U-Net with the weights of a training.

    Parameters
    ----------
    source : KerasSource
        The encoder, of any weights.
    weights : list of ndarray
        The weights of the U-Net.
    digest : str
        Digest of the weights.
    """

    def __init__(self, source, weights, digest):
        self._source = source
        self._weights = weights
        self.preprocessing = source.preprocessing
        self.input_size = source.input_size
        self.name = f"unet_{source.name}"
        self.identity = {"unet": source.identity, "learned": digest}

    def build(self):
        model = build_unet(self._source, self._source.build())
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
        The network that the maps are taken from, see `list_backbones`: a MobileNet, VGG, ResNet, or
        another one that halves height and width exactly five times.
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
        What `predict` runs on, see `DeepFeatures`.
    checkpoint : path or None, default=None
        Folder in which `fit` writes down after each epoch how far it has come, to go on from there
        if it was stopped. Each set of images, masks and parameters has a file of its own.
    random_state : int, default=0
        Seed of the split, of the order and changes of the images, and of random weights.
    verbose : bool, default=False
        Whether `fit` shows a progress bar.

    Attributes
    ----------
    weights_ : list of ndarray
        All weights of the U-Net, in Keras' order.
    history_ : dict of str to list of float
        "loss", "val_loss" and "val_dice" of each epoch: the mean loss over the training steps, that
        of the validation images, and the mean Dice of those that have a region, at the size of the
        network. NaN without validation images.
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
    The loss is binary cross-entropy plus Dice loss. The decoder has transposed convolutions, takes
    the encoder's maps in through 1x1 convolutions, and ends with 32 channels and a 1x1 convolution.

    Images without a region, whose masks are empty, can be trained on: without any, a network finds
    a region in nearly every image.

    In a pipeline, put a fitted segmenter into `FrozenEstimator`, or train it inside each fold by
    `ROICropper`, with the masks as metadata.

    The same call gives the same weights with the same versions on the same machine, with the same
    number of threads, up to rounding that training amplifies; on a graphics card only where its
    backend is set to be deterministic.

    All training images are in memory at once, resized and in 8 bits. A pickle contains the weights.

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
    _algorithm_version = 2

    _parameter_constraints = {
        "encoder": [StrOptions(set(BACKBONES))],
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
        "engine": [StrOptions(set(ENGINES))],
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
            What belongs together, such as the patient; all images of a group are on one side of the
            validation split. None: each image is a group of its own.

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
            If `X` is no batch of images, a parameter is invalid, all masks are empty, the training
            diverges, or a file in `checkpoint` is damaged.
        """
        self._check_parameters()
        batch = self._check_batch(X, reset=True)
        groups = check_groups(groups)
        check_consistent_length(batch, masks, groups)
        source = self._source(self.encoder_weights)
        with naming_paths(batch):
            images, regions = self._load(batch, masks, source.input_size)
        has_region = np.array([region.any() for region in regions])
        if not has_region.any():
            raise ValueError("All masks are empty, expected at least one with a region.")
        learning, self.validation_indices_ = self._split(has_region, groups)
        training = Training(source, images, regions, self)
        key = path = None
        if self.checkpoint is not None:
            make_folder("checkpoint", self.checkpoint)
            key = self._key(source, images, regions, learning)
            path = os.path.join(self.checkpoint, f"{key[:16]}.npz")
            if os.path.exists(path):
                training.load(path, key)
        self._train(training, learning, path, key)
        training.check()
        self.weights_ = training.best_weights
        self.history_ = training.history
        self.n_epochs_, self.best_epoch_ = training.epoch, training.best_epoch
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

    def _load(self, batch, masks, size):
        """Read images and masks, and bring them to the network's size."""
        images, regions = [], []
        for index, (image, mask) in enumerate(zip(self._iter_images(batch), masks)):
            with at_index(index):
                region = read_mask(mask, image.shape, required=True)
                image = letterbox(image if image.ndim == 2 else to_rgb(image), size)
                images.append(to_uint8(fill_mask(image)))
                regions.append(_to_size(region, size))
        return images, regions

    def _key(self, source, images, regions, learning):
        """Return what a checkpoint must agree on."""
        parameters = self.get_params() | {"encoder": None, "encoder_weights": None}
        for name in _NOT_TRAINED:
            del parameters[name]
        parts = [source.identity, parameters, self.batch_size, learning.tolist()]
        digest = hashlib.sha256(repr(parts).encode())
        for part in (*images, *regions):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def _train(self, training, learning, path, key):
        with tqdm(
            total=self.epochs,
            initial=training.epoch,
            desc="UNetSegmenter.fit",
            unit="epoch",
            disable=not self.verbose,
        ) as progress:
            while training.epoch < self.epochs:
                waited = training.epoch - training.best_epoch
                if len(self.validation_indices_) and waited >= self.patience:
                    break
                training.run_epoch(learning, self.validation_indices_)
                if path is not None:
                    training.save(path, key)
                latest = {name: f"{values[-1]:.3f}" for name, values in training.history.items()}
                progress.set_postfix(latest, refresh=False)
                progress.update()

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
        engine, size = load_engine(network), network.source.input_size
        prepared = self._iter_inputs(images, size)
        while batch := list(islice(prepared, self.batch_size)):
            shapes, pixels = zip(*batch)
            pixels = np.stack(pixels)
            maps = engine.run(pixels, self.batch_size).reshape(-1, *size)
            if self.views == 2:
                mirrored = engine.run(np.ascontiguousarray(pixels[:, :, ::-1]), self.batch_size)
                maps = (maps + mirrored.reshape(-1, *size)[:, :, ::-1]) / 2
            for shape, probabilities in zip(shapes, maps):
                yield _to_image(probabilities, shape)

    def _iter_inputs(self, images, size):
        for index, image in enumerate(images):
            with at_index(index):
                yield image.shape, _to_input(image, size)

    def _source(self, weights=None):
        """Return the encoder, with random weights unless others are given."""
        return find_source(
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
        source = _TrainedUNet(self._source(), self.weights_, _digest(self.weights_))
        return Network(source, ("probability",), ("flatten",), self.engine)

    def _check_parameters(self):
        super()._check_parameters()
        check_engine(self.engine, self._source())
        low, high = as_pair(self.threshold)
        if low > high:
            raise InvalidParameterError(
                f"threshold is {self.threshold!r}, expected the lower number first."
            )

    def _fingerprint_params(self):
        network = self._network()
        release = ENGINES[self.engine].release()
        found = {"views": self.views, "threshold": as_pair(self.threshold)}
        return network.identity | {"release": release} | found

    def save(self, path: PathLike) -> None:
        """Save the fitted segmenter as a Keras model, with its parameters.

        Parameters
        ----------
        path : str or os.PathLike
            The file, whose name ends in ".keras". Keras opens it, too.

        Raises
        ------
        ValueError
            If the name ends otherwise.

        See Also
        --------
        UNetSegmenter.load : Read such a file.
        """
        if not os.fspath(path).endswith(".keras"):
            raise ValueError(f"path is {os.fspath(path)!r}, expected a name that ends in '.keras'.")
        model = _TrainedUNet.build(self._network().source)
        # Keras goes by the name of the file.
        with tempfile.TemporaryDirectory() as folder, written_whole(path) as hidden:
            temporary = os.path.join(folder, "unet.keras")
            model.save(temporary)
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(_PARAMETERS, json.dumps(self._description(), indent=1))
            shutil.copyfile(temporary, hidden)

    def _description(self):
        """Return parameters and attributes as JSON has them."""
        parameters = self.get_params(deep=False)
        if isinstance(self.augmentation, Augmentation):
            parameters["augmentation"] = asdict(self.augmentation)
        if isinstance(self.encoder_weights, os.PathLike):
            parameters["encoder_weights"] = os.fspath(self.encoder_weights)
        del parameters["checkpoint"]  # a folder of this machine
        return {
            "featbus": __version__,
            "parameters": {name: as_plain(value) for name, value in parameters.items()},
            "history": self.history_,
            "n_epochs": self.n_epochs_,
            "best_epoch": self.best_epoch_,
            "validation_indices": self.validation_indices_.tolist(),
            "digest": _digest(self.weights_),
        }

    @classmethod
    def load(cls, path: PathLike) -> UNetSegmenter:
        """Load a segmenter that `save` wrote.

        Parameters
        ----------
        path : str or os.PathLike
            The file.

        Returns
        -------
        UNetSegmenter
            The fitted segmenter.

        Raises
        ------
        ValueError
            If the file is damaged, or `save` did not write it. No code of a file is ever run.
        """
        import_keras()
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo(_PARAMETERS).file_size > _LONGEST:
                    raise ValueError(f"{_PARAMETERS} is too long")
                found = json.loads(archive.read(_PARAMETERS))
            parameters = found["parameters"]
            if isinstance(changes := parameters["augmentation"], dict):
                changes["brightness"] = tuple(changes["brightness"])
                parameters["augmentation"] = Augmentation(**changes)
            segmenter = cls(**parameters)
            segmenter._check_parameters()
            segmenter.history_ = {
                name: [float(value) for value in found["history"][name]]
                for name in ("loss", "val_loss", "val_dice")
            }
            segmenter.n_epochs_ = int(found["n_epochs"])
            segmenter.best_epoch_ = int(found["best_epoch"])
            segmenter.validation_indices_ = np.array(
                list(map(operator.index, found["validation_indices"])), dtype=np.intp
            )
            # Only the weights are taken from the file: a model in it could be anything.
            source = segmenter._source()
            model = build_unet(source, source.build())
            model.load_weights(path)
            segmenter.weights_ = model.get_weights()
            is_whole = found["digest"] == _digest(segmenter.weights_)
        except FileNotFoundError:
            raise
        except Exception as error:  # what Keras raises here depends on what is in the file
            raise ValueError(
                f"{os.fspath(path)!r} cannot be loaded as a UNetSegmenter ({error!r}): expected a "
                "file that UNetSegmenter.save wrote."
            ) from error
        if not is_whole:
            raise ValueError(f"The weights in {os.fspath(path)!r} were changed after saving.")
        return segmenter

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.target_tags.required = True
        return tags
