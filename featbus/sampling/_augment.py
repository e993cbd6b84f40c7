"""Augmented copies of images, only in the training part of a fold."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Literal, Self

import numpy as np
from imblearn.over_sampling.base import BaseOverSampler
from imblearn.utils import check_sampling_strategy, check_target_type
from numpy.typing import ArrayLike
from sklearn.utils import InputTags, _safe_indexing, check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets

from featbus.augmentation import DIHEDRAL, Augmentation, augment, content_rng, dihedral
from featbus.base import Documented
from featbus.images import as_batch, at_index, stack_images
from featbus.io import read_item
from featbus.parameters import Interval, Options, check_estimator_parameters
from featbus.typing import Images


class ImageAugmenter(Documented, BaseOverSampler):
    """Add randomly changed copies of images to a training set.

    A sampler of imbalanced-learn: in an `imblearn.pipeline.Pipeline` it augments the images that
    the pipeline is fitted on and leaves those to predict, such as the test part of a fold,
    unchanged. Make it the first step, before any feature extractor; only `Resample` comes before
    it, since copies are arrays without a spacing.

    Read more in the :ref:`User Guide <augmentation>`.

    Parameters
    ----------
    n_copies : int or None, default=None
        Number of copies of each image, whatever its class; `sampling_strategy` is ignored then, and
        `y` can be of any kind. None balances the classes.
    sampling_strategy : float, str, dict or callable, default="auto"
        Which classes get copies, and how many, as in imbalanced-learn. "auto" and "not majority"
        bring all classes to the size of the largest one, "minority" only the smallest one. A float
        is the ratio of two classes; a dict has the number of images of each class, copies included.
    augmentation : featbus.augmentation.Augmentation or None, default=None
        How much copies may change at random; None is ``Augmentation()``.
    dihedral : {None, 2, 6, 8}, default=None
        None changes copies at random. Otherwise `augmentation` is ignored: 2 mirrors copies left
        to right; 6 makes flips and quarter turns; 8 makes these and the reflections about the
        diagonals. ``n_copies=5, dihedral=6`` gives all six orientations of each image.
    random_state : int, RandomState instance or None, default=0
        An int makes the same copies of the same image each time.

    Attributes
    ----------
    sampling_strategy_ : dict or None
        Number of copies of each class; None with `n_copies`.
    sample_indices_ : ndarray of int of shape (n_images_new,)
        Position in `X` of each resampled image, or of the image that it is a copy of.

    See Also
    --------
    featbus.augmentation.Augmentation : How images change at random.
    TestTimeAugmentation : Averages predictions over an image and its mirror image.
    imblearn.over_sampling.SMOTE : Synthesizes rows of features, after an extractor.

    Notes
    -----
    Amounts are uniformly distributed within their range, as in Keras' ``ImageDataGenerator``. The
    geometry is a single affine map, interpolated once. Beyond the border, the nearest pixel is
    repeated; in masked images these pixels are outside the region. The mask is changed with its
    image.

    A copy depends only on the content of its image, its number and `random_state`, not on other
    images or their order: `FeatureBus` recognizes a copy in the next fold and in the next run.
    Rotated, shifted, sheared and zoomed copies also depend on the version of OpenCV, which
    interpolates: OpenCV 4 rounds positions to 1/32 pixel, OpenCV 5 does not. As the key of a stored
    row is the content of the copy, a row never is that of another version's copy.

    All images of a class get the same number of copies, or one more, drawn without replacement.

    Files are read one at a time. Paths stay paths in the result; copies are arrays, which are all
    in memory at once.

    Copies can give away their class. If only one class has copies, a classifier can learn what
    copies have in common, such as higher brightness, which does not help with new images. Prefer
    `n_copies`, which treats all classes alike.

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

    _parameter_constraints = {
        "n_copies": [Interval(Integral, 0, None, closed="left"), None],
        "augmentation": [Augmentation, None],
        "dihedral": [Options(Integral, DIHEDRAL.keys()), None],
    }
    _check_parameters = check_estimator_parameters

    def __init__(
        self,
        n_copies: int | None = None,
        *,
        sampling_strategy: float | str | dict | Callable = "auto",
        augmentation: Augmentation | None = None,
        dihedral: Literal[2, 6, 8] | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.n_copies = n_copies
        self.augmentation = augmentation
        self.dihedral = dihedral
        self.random_state = random_state

    def fit(self, X: Images, y: ArrayLike) -> Self:
        """Check the parameters and the batch, and count the copies; no image is read.

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

    def fit_resample(self, X: Images, y: ArrayLike) -> tuple[np.ndarray | list, ArrayLike]:
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
            All images of `X` as they are, paths included, then the copies, image by image: a stack
            if `X` is one, unless quarter turns swap height and width; else a list.
        y_resampled : array_like of shape (n_images_new,)
            The classes; of the type of `y`.

        Raises
        ------
        ImageError
            If an image to copy is invalid; the message names the image.
        ValueError
            If `X` is no batch of images, or a parameter is invalid.
        """
        return self._fit_resample(X, y)

    def _fit_resample(self, X, y):
        batch, n_each = self._check(X, y)
        X = [*batch, *self._iter_copies(batch, n_each)]
        if isinstance(batch, np.ndarray):
            channels = batch.shape[3:]
            X = [image.reshape(*image.shape[:2], *channels).astype(batch.dtype) for image in X]
            X = stack_images(X)
        sources = np.arange(len(batch))
        self.sample_indices_ = np.concatenate([sources, np.repeat(sources, n_each)])
        y = _safe_indexing(y, self.sample_indices_)
        return X, y.reset_index(drop=True) if hasattr(y, "reset_index") else y

    def _iter_copies(self, batch, n_each):
        """Yield the copies, image by image."""
        seed = int(check_random_state(self.random_state).randint(2**31))
        for index in np.flatnonzero(n_each):
            with at_index(index, batch[index]):
                image = read_item(batch[index], index, keep_responses=True)
                yield from self._copy(image, n_each[index], seed)

    def _copy(self, image, n_copies, seed):
        """Return copies of an image; the first ones do not depend on their number."""
        rng = content_rng(image, seed)
        if self.dihedral is None:
            augmentation = self.augmentation or Augmentation()
            return [augment(image, rng, augmentation) for _ in range(n_copies)]
        elements = rng.permutation(DIHEDRAL[self.dihedral][1:])
        return [dihedral(image, elements[copy % len(elements)]) for copy in range(n_copies)]

    def _check(self, X, y):
        """Return the batch and the number of copies of each image."""
        self._check_parameters()
        batch = as_batch(X)
        check_consistent_length(batch, y)
        self.sampling_strategy_ = None
        if self.n_copies is not None:
            return batch, np.full(len(batch), int(self.n_copies))
        check_classification_targets(y)
        y, strategy = check_target_type(y), self.sampling_strategy
        self.sampling_strategy_ = check_sampling_strategy(strategy, y, self._sampling_type)
        rng = check_random_state(self.random_state)
        n_each = np.zeros(len(y), int)
        for label, n_copies in self.sampling_strategy_.items():
            images = rng.permutation(np.flatnonzero(y == label))
            n_each += np.bincount(np.resize(images, n_copies), minlength=len(y))  # in turns
        return batch, n_each

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = InputTags(two_d_array=False, three_d_array=True, string=True)
        tags.sampler_tags.sample_indices = True
        return tags
