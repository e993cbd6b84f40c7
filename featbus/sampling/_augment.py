"""Changed copies of images, for the training part of a fold alone."""

import hashlib
from numbers import Integral

import numpy as np
from imblearn.over_sampling.base import BaseOverSampler
from imblearn.utils import check_sampling_strategy, check_target_type
from sklearn.utils import _safe_indexing, check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets

from featbus.augmentation import DIHEDRAL, Augmentation, augment, dihedral
from featbus.base import _naming_image
from featbus.images import as_batch, check_image, fill_value, is_path
from featbus.io import read_image


def _image_generator(image, seed):
    """Return a generator that depends on the seed and on the content of a checked image alone."""
    digest = hashlib.blake2b(f"{seed}{image.dtype.str}{image.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(np.ma.getdata(image)))
    if np.ma.isMaskedArray(image):
        digest.update(np.packbits(np.ma.getmaskarray(image)))
        digest.update(fill_value(image).tobytes())
    return np.random.default_rng(int.from_bytes(digest.digest()))


def _checked(item, index):
    """Return one item of a batch as a checked image; files are read."""
    if not is_path(item):
        return check_image(item, f"image {index}")
    with _naming_image(index):
        return check_image(read_image(item), f"the file {str(item)!r}")


def _stack(batch, copies, n_copies):
    """Return a stack of images with their copies behind them."""
    n_images, *shape = batch.shape
    result = np.empty((n_images + n_copies, *shape), batch.dtype)
    if np.ma.isMaskedArray(batch):
        outside = np.zeros(result.shape, bool)
        result = np.ma.MaskedArray(result, outside, fill_value=fill_value(batch))
    result[:n_images] = batch
    for index, copy in enumerate(copies, n_images):
        result[index] = copy.reshape(shape)
    return result


class ImageAugmenter(BaseOverSampler):
    """Add changed copies of images to a training set.

    A sampler of imbalanced-learn: it works in `fit_resample` alone, so that in an
    `imblearn.pipeline.Pipeline` the images that are predicted, such as those of the test part of a
    fold, stay as they are. Put it first, before what turns images into rows.

    Parameters
    ----------
    n_copies : int or None, default=None
        Number of copies of each image, whatever its class; `sampling_strategy` is without effect
        then, and `y` may be anything. None evens out the classes.
    sampling_strategy : float, str, dict or callable, default="auto"
        Which classes get copies, and how many, as in imbalanced-learn. "auto" and "not majority"
        bring all classes to the size of the largest one, "minority" the smallest one alone. A float
        is the ratio of two classes; a dict has the number of images of each class, copies included.
    dihedral : {None, 2, 6, 8}, default=None
        None changes copies at random, within the parameters below. Instead of that, 2 mirrors them
        left to right, 6 makes flips and quarter turns, and 8 these and the reflections about the
        diagonals. With ``n_copies=5`` and 6, each image is there in all six ways.
    rotation : float, default=5
        Up to so many degrees, either way.
    width_shift, height_shift : float, default=0.1
        Up to this share of the width and of the height, either way.
    shear : float, default=0.05
        Up to so many radians, either way.
    zoom : float, default=0.05
        Width and height change, each for itself, by up to this share, either way.
    brightness : tuple of float, default=(1, 1.4)
        Lowest and highest factor of the pixels. What would be brighter than white is white.
    horizontal_flip : bool, default=True
        Whether about half of the copies are mirrored, left to right.
    random_state : int, RandomState instance or None, default=0
        An int makes the same copies of the same image each time.

    Attributes
    ----------
    sampling_strategy_ : dict or None
        Number of copies by class; None with `n_copies`.
    sample_indices_ : ndarray of int of shape (n_images_new,)
        Which image each of the new ones is or comes from: first 0, 1, 2 and so on.

    See Also
    --------
    TestTimeAugmentation : Averages predictions over an image and its mirror image.
    imblearn.over_sampling.SMOTE : Makes up rows of features, behind an extractor.

    Notes
    -----
    Amounts are uniform within their range, as in Keras' ``ImageDataGenerator``. Geometry is one
    affine map, interpolated once. Beyond the border, pixels repeat the nearest one; of a masked
    image they are outside the region, which moves along.

    What a copy looks like depends on the content of the image, the number of the copy and
    `random_state`, never on other images or their order: `FeatureBus` knows a copy again in the
    next fold, and in the next run.

    Of a class, all images get the same number of copies, or one more, drawn without replacement.

    Files are read one at a time. Paths stay paths among the results; copies are arrays, and all of
    them are in memory at once.

    Copies know their class. Where one class alone has copies, what copies have in common, such as
    more brightness, tells the classes apart in the training part and nowhere else. `n_copies`
    treats all classes alike.

    Examples
    --------
    >>> from imblearn.pipeline import make_pipeline
    >>> from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
    >>> from sklearn.svm import SVC
    >>> from featbus import LBP, ImageAugmenter, make_breast_ultrasound
    >>> data = make_breast_ultrasound(30, weights=[2, 1, 0], random_state=0)
    >>> augmenter = ImageAugmenter(n_copies=2)
    >>> images, y = augmenter.fit_resample(data.images, data.target)
    >>> len(images), augmenter.sample_indices_[[0, 29, 30, 31, 32]].tolist()
    (90, [0, 29, 0, 0, 1])
    >>> pipeline = make_pipeline(augmenter, LBP(), SVC())
    >>> scores = cross_val_score(
    ...     pipeline, data.images, data.target, groups=data.groups, cv=StratifiedGroupKFold(3)
    ... )
    >>> scores.shape
    (3,)
    """

    def __init__(
        self,
        n_copies=None,
        *,
        sampling_strategy="auto",
        dihedral=None,
        rotation=5.0,
        width_shift=0.1,
        height_shift=0.1,
        shear=0.05,
        zoom=0.05,
        brightness=(1.0, 1.4),
        horizontal_flip=True,
        random_state=0,
    ):
        super().__init__(sampling_strategy=sampling_strategy)
        self.n_copies = n_copies
        self.dihedral = dihedral
        self.rotation = rotation
        self.width_shift = width_shift
        self.height_shift = height_shift
        self.shear = shear
        self.zoom = zoom
        self.brightness = brightness
        self.horizontal_flip = horizontal_flip
        self.random_state = random_state

    def fit(self, X, y):
        """Check parameters and batch, and count the copies; no image is read.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        y : array_like of shape (n_images,)
            The classes.

        Returns
        -------
        self : ImageAugmenter
            The estimator itself.
        """
        self._check(X, y)
        return self

    def fit_resample(self, X, y):
        """Return the images, and changed copies of them.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        y : array_like of shape (n_images,)
            The classes.

        Returns
        -------
        X_resampled : ndarray or list
            First all images of `X` as they are, paths included, then the copies by image: a stack
            where `X` is one and quarter turns do not swap height and width, else a list.
        y_resampled : array_like of shape (n_images_new,)
            The classes; of the type of `y`.

        Raises
        ------
        ValueError
            If `X` is no batch of images, or one that is to be copied is invalid; the message names
            the image. If a parameter is out of its range.
        """
        return self._fit_resample(X, y)

    def _fit_resample(self, X, y):
        batch, n_each, augmentation = self._check(X, y)
        seed = int(check_random_state(self.random_state).randint(2**31))
        copies = self._iter_copies(batch, n_each, augmentation, seed)
        # Quarter turns swap height and width.
        if isinstance(batch, np.ndarray) and (not self.dihedral or len(set(batch.shape[1:3])) == 1):
            X = _stack(batch, copies, n_each.sum())
        else:
            X = [*batch, *copies]
        sources = np.arange(len(batch))
        self.sample_indices_ = np.concatenate([sources, np.repeat(sources, n_each)])
        y = _safe_indexing(y, self.sample_indices_)
        return X, y.reset_index(drop=True) if hasattr(y, "reset_index") else y

    def _iter_copies(self, batch, n_each, augmentation, seed):
        """Yield the copies, image by image."""
        for index in np.flatnonzero(n_each):
            image = _checked(batch[index], index)
            with _naming_image(index):
                copies = self._copy(image, n_each[index], augmentation, seed)
            yield from copies

    def _copy(self, image, n_copies, augmentation, seed):
        """Return copies of an image; the first ones are the same however many there are."""
        rng = _image_generator(image, seed)
        if self.dihedral is None:
            return [augment(image, rng, augmentation) for _ in range(n_copies)]
        elements = rng.permutation(DIHEDRAL[self.dihedral][1:])
        return [dihedral(image, elements[copy % len(elements)]) for copy in range(n_copies)]

    def _check(self, X, y):
        """Return the batch, the number of copies of each image, and how they may change."""
        augmentation = Augmentation(
            rotation=self.rotation,
            width_shift=self.width_shift,
            height_shift=self.height_shift,
            shear=self.shear,
            zoom=self.zoom,
            brightness=self.brightness,
            horizontal_flip=self.horizontal_flip,
        )
        if self.dihedral is not None and self.dihedral not in DIHEDRAL:
            raise ValueError(
                f"dihedral is {self.dihedral!r}, expected None or one of {list(DIHEDRAL)}."
            )
        batch = as_batch(X)
        check_consistent_length(batch, y)
        return batch, self._count_copies(y, len(batch)), augmentation

    def _count_copies(self, y, n_images):
        """Return the number of copies of each image."""
        if self.n_copies is not None:
            if not isinstance(self.n_copies, Integral) or self.n_copies < 0:
                raise ValueError(
                    f"n_copies is {self.n_copies!r}, expected a number of copies from 0, or None."
                )
            self.sampling_strategy_ = None
            return np.full(n_images, self.n_copies)
        check_classification_targets(y)
        y = check_target_type(y)
        self.sampling_strategy_ = check_sampling_strategy(
            self.sampling_strategy, y, self._sampling_type
        )
        if self.sampling_strategy_ is None:
            raise ValueError(
                f"sampling_strategy is {self.sampling_strategy!r}, expected a str, a float, a dict "
                "or a callable."
            )
        rng = check_random_state(self.random_state)
        n_each = np.zeros(n_images, int)
        for label, n_copies in self.sampling_strategy_.items():
            images = rng.permutation(np.flatnonzero(y == label))
            n_each[images] = n_copies // len(images)
            n_each[images[: n_copies % len(images)]] += 1
        return n_each

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = False
        tags.input_tags.string = True
        tags.sampler_tags.sample_indices = True
        return tags
