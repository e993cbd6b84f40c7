"""What several recipes share."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_selection import mutual_info_classif
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus.bus import FeatureBus
from featbus.feature_extraction import (
    GLCM,
    GLRLM,
    GLSZM,
    HOG,
    LBP,
    DeepFeatures,
    IntensityStatistics,
)
from featbus.parameters import Interval, PairOf, as_pair, check_parameters
from featbus.preprocessing import Resize

if TYPE_CHECKING:
    from featbus.bus._store import FeatureStore
    from featbus.typing import PathLike

# The frozen network: what benchmarks/comparisons/breast_ultrasound_recipe.py chose on BUSI.
LAYERS = ("C3", "C4", "C5")
POOLING = ("avg", "max")
INPUT_SIZE = 320  # pixels

# HOG divides each image into 7 x 7 cells, whatever its size: 1,296 columns, not tens of thousands.
_CELLS = 7
_SIZE = PairOf(Interval(Integral, _CELLS, None, closed="left"))


@dataclass
class Shared:
    """The parameters that recipes share, see `make_recipe`."""

    backbone_options: dict | None = None
    weights: PathLike | None = "imagenet"
    memory: PathLike | FeatureStore | None = None
    n_jobs: int | None = None
    random_state: int = 0

    def network(self, **options):
        """Return the parameters of a network's extractor."""
        network = {"backbone_options": self.backbone_options, "weights": self.weights}
        return network | {"random_state": self.random_state} | options

    def bus(self, extractor):
        """Return an extractor in a feature bus."""
        return FeatureBus(extractor, memory=self.memory, n_jobs=self.n_jobs)

    def fused_bus(self, backbone, input_size, **options):
        """Return a feature bus of `fused_features`, with a network unless `backbone` is None."""
        check_parameters({"input_size": [_SIZE]}, {"input_size": input_size})
        options = self.network(input_size=input_size, **options)
        deep = None if backbone is None else DeepFeatures(backbone, **options)
        return self.bus(fused_features(deep=deep, size=input_size))

    def with_svm(self, extractor):
        """Return a pipeline of an extractor in a feature bus and a support vector machine."""
        svm = calibrated(make_pipeline(*scaled_svm()))
        return Pipeline([("features", self.bus(extractor)), ("classifier", svm)])


def scaled_svm():
    """Return a scaler and a support vector machine."""
    return StandardScaler(), SVC(C=10, class_weight="balanced")


def calibrated(classifier):
    """Return a classifier with probabilities: a sigmoid of its scores, by cross-validation.

    Whatever resamples belongs into `classifier`, so that no image that calibrates has a copy, or a
    mixture, among those trained on.

    Parameters
    ----------
    classifier : estimator
        A classifier, or a pipeline that ends in one.

    Returns
    -------
    CalibratedClassifierCV
        A single classifier, fitted on all rows, and its sigmoids.
    """
    return CalibratedClassifierCV(classifier, ensemble=False)


def fused_features(
    *, deep: DeepFeatures | None = None, size: int | tuple[int, ...] = 224
) -> Pipeline:
    """Combine hand-crafted and network features in one row per image.

    Read more in the :ref:`User Guide <composites>`.

    Parameters
    ----------
    deep : DeepFeatures, default=None
        Another extractor, usually a pretrained network; None leaves it out.
    size : int or tuple of int, default=224
        Size in pixels to which all images are stretched: ``(height, width)``, or one number for
        squares. At least 7.

    Returns
    -------
    Pipeline
        The steps ``resize`` and ``features``, a `sklearn.pipeline.FeatureUnion` of ``hog``,
        ``lbp`` at three scales, ``glcm`` at three distances, ``glrlm``, ``glszm``, ``intensity``
        and, with `deep`, ``deep``.

    Raises
    ------
    ValueError
        If `size` is invalid.

    See Also
    --------
    classifier_pipelines : Classifiers for these features.

    Examples
    --------
    >>> from featbus import make_breast_ultrasound
    >>> from featbus.recipes import fused_features
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> fused_features().fit_transform(images).shape
    (4, 1485)
    """
    check_parameters({"size": [_SIZE]}, {"size": size})
    cell = tuple(side // _CELLS for side in as_pair(size))
    extractors = [
        ("hog", HOG(pixels_per_cell=cell, cells_per_block=(2, 2))),
        ("lbp", LBP(n_points=(8, 16, 24), radius=(1, 2, 3))),
        ("glcm", GLCM(distances=(1, 2, 4))),
        ("glrlm", GLRLM()),
        ("glszm", GLSZM()),
        ("intensity", IntensityStatistics()),
    ]
    extractors += [] if deep is None else [("deep", deep)]
    union = FeatureUnion(extractors, verbose_feature_names_out=False)
    return Pipeline([("resize", Resize(size)), ("features", union)])


def mutual_information(X, y):
    """Return each column's mutual information with the class, with a fixed seed.

    A function of its own, because a partial one cannot be saved.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Rows of features.
    y : array of shape (n_samples,)
        Their classes.

    Returns
    -------
    ndarray of shape (n_features,)
        In nats.
    """
    return mutual_info_classif(X, y, random_state=0)
