"""Predictions averaged over several views of an image."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import InputTags, gen_batches, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _estimator_has, check_is_fitted

from featbus.augmentation import DIHEDRAL, dihedral
from featbus.base import Documented, iter_images
from featbus.images import as_batch, stack_images
from featbus.parameters import HasMethods, Options, check_estimator_parameters
from featbus.typing import Images

_BATCH = 128  # images whose views are in memory at a time


class TestTimeAugmentation(Documented, ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Average the predictions of a classifier over several views of an image.

    The classifier is fitted on the images as they are. To predict, its probabilities, or else its
    decision values, are averaged over the views of each image, such as the image and its mirror
    image.

    Read more in the :ref:`User Guide <augmentation>`.

    Parameters
    ----------
    estimator : estimator
        A classifier of images, usually a pipeline from images to a classifier.
    views : {2, 6, 8}, default=2
        Number of views of each image. 2: the image and its left-right mirror image. 6: those that
        flips and quarter turns give. 8: these and the reflections about the diagonals.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    classes_ : ndarray of shape (n_classes,)
        The classes.

    See Also
    --------
    ImageAugmenter : Adds augmented copies to the training part of a fold.

    Notes
    -----
    `predict` returns the class with the highest mean. A decision threshold tuned on the estimator
    would be lost: wrap this classifier in `sklearn.model_selection.TunedThresholdClassifierCV`, not
    the other way round.

    Multiclass decision values of support vector machines are votes, so that their mean says less
    than the mean of probabilities.

    Views are arrays without a spacing: put `Resample` before this classifier, not inside.

    Each view costs as much as the image. A `FeatureBus` stores the rows of all views. Views of 128
    images are in memory at a time.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from featbus import HOG, TestTimeAugmentation, make_breast_ultrasound
    >>> data = make_breast_ultrasound(30, weights=[1, 1, 0], random_state=0)
    >>> pipeline = make_pipeline(HOG(pixels_per_cell=(32, 32)), LogisticRegression())
    >>> classifier = TestTimeAugmentation(pipeline).fit(data.images, data.target)
    >>> single = pipeline.fit(data.images, data.target)
    >>> image, mirrored = data.images[:1], data.images[:1, :, ::-1]
    >>> mean = (single.predict_proba(image) + single.predict_proba(mirrored)) / 2
    >>> bool(abs(classifier.predict_proba(image) - mean).max() < 1e-6)
    True
    """

    __test__ = False  # pytest collects classes named Test*
    _wraps = "estimator"
    _parameter_constraints = {
        "estimator": [HasMethods("fit")],
        "views": [Options(Integral, DIHEDRAL.keys())],
    }
    _check_parameters = check_estimator_parameters

    def __init__(self, estimator: Any, *, views: Literal[2, 6, 8] = 2) -> None:
        self.estimator = estimator
        self.views = views

    def fit(self, X: Images, y: ArrayLike, **params: Any) -> Self:
        """Fit the estimator on the images as they are.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        y : array_like of shape (n_images,)
            The classes.
        **params : dict
            Passed to the estimator's `fit`; with scikit-learn's metadata routing enabled, as
            requested there.

        Returns
        -------
        self : TestTimeAugmentation
            The estimator itself.
        """
        self._check_parameters()
        if get_config()["enable_metadata_routing"]:
            params = process_routing(self, "fit", **params).estimator.fit
        self.estimator_ = clone(self.estimator).fit(X, y, **params)
        self.classes_ = self.estimator_.classes_
        return self

    def predict(self, X: Images) -> np.ndarray:
        """Predict the class of each image.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of shape (n_images,)
            The class with the highest mean probability or decision value.
        """
        method = "predict_proba" if hasattr(self, "predict_proba") else "decision_function"
        scores = self._mean(method, X)
        return self.classes_[scores.argmax(axis=1) if scores.ndim == 2 else np.int64(scores > 0)]

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X: Images) -> np.ndarray:
        """Return the mean of the probabilities over all views.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of shape (n_images, n_classes)
            Probabilities, in the order of `classes_`.
        """
        return self._mean("predict_proba", X)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X: Images) -> np.ndarray:
        """Return the mean of the decision values over all views.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of shape (n_images,) or (n_images, n_classes)
            Decision values; for two classes, positive for the second one.
        """
        return self._mean("decision_function", X)

    def _mean(self, method, X):
        check_is_fitted(self)
        self._check_parameters()
        score = getattr(self.estimator_, method)
        # The images as they are come first: their errors name positions in `X`, not in a batch.
        total, batch = np.array(score(X), dtype=np.float64), as_batch(X)
        for rows in gen_batches(len(batch), _BATCH):
            images = list(iter_images(batch[rows]))
            for element in DIHEDRAL[self.views][1:]:
                total[rows] += score(stack_images([dihedral(image, element) for image in images]))
        return total / self.views

    def get_metadata_routing(self) -> Any:
        """Return how metadata reaches the estimator.

        Returns
        -------
        MetadataRouter
            See scikit-learn's metadata routing.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags = get_tags(self.estimator).classifier_tags
        tags.input_tags = InputTags(two_d_array=False, three_d_array=True, string=True)
        return tags
