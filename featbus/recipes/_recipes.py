"""The recipes: published systems, and others, as pipelines."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from inspect import getdoc, signature
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline as SamplingPipeline
from imblearn.pipeline import make_pipeline
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif, mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.pipeline import make_pipeline as make_plain_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus.base import ImageTransformer
from featbus.bus import FeatureBus, FeatureStore
from featbus.feature_extraction import (
    GLCM,
    GLRLM,
    GLSZM,
    HOG,
    LBP,
    DeepFeatures,
    FineTunedFeatures,
    IntensityStatistics,
)
from featbus.parameters import (
    POSITIVE_INTEGER,
    Interval,
    InvalidParameterError,
    PairOf,
    StrOptions,
    as_pair,
    check_parameters,
)
from featbus.preprocessing import (
    CLAHE,
    BreastRegion,
    Despeckle,
    HistogramEqualizer,
    PectoralMuscleRemover,
    Resize,
)
from featbus.sampling import ImageAugmenter
from featbus.segmentation import ROICropper, ThresholdSegmenter, UNetSegmenter
from featbus.steps import steps_of, walk
from featbus.typing import PathLike

# What benchmarks/comparisons/breast_ultrasound_recipe.py chose on one half of BUSI.
NETWORKS = (
    {"backbone": "vgg16"},
    {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}},
)
LAYERS = ("C3", "C4", "C5")
POOLING = ("avg", "max")
INPUT_SIZE = 224  # pixels

# HOG divides each image into 7 x 7 cells, whatever its size: 1,296 columns, not tens of thousands.
_CELLS = 7
_SIZE = PairOf(Interval(Integral, _CELLS, None, closed="left"))
_CONTRAST = {"clahe": CLAHE, "equalize": HistogramEqualizer}
_LABELS = {"svm": "SVM", "random_forest": "random forest", "knn": "KNN", "xgboost": "XGBoost"}
_CONSTRAINTS = {
    "contrast": [StrOptions(set(_CONTRAST))],
    "classifier": [StrOptions({*_LABELS, "vote"})],
    "selection": [StrOptions({"anova", "mutual_info", "pca"}), None],
    "n_features": [POSITIVE_INTEGER],
}


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
        """Return a feature bus of `fused_features` and networks, each of which has its own rows.

        The outer bus finds rows by the file alone; the inner ones keep those of the other networks
        where one is added.
        """
        named = self.network(**options)
        several = backbone if isinstance(backbone, (list, tuple)) else [backbone]
        several = [network for network in several if network is not None]
        is_one_file = isinstance(self.weights, (str, os.PathLike)) and self.weights != "imagenet"
        is_one_file = is_one_file and not Path(self.weights).is_dir()
        if len(several) != 1 and (is_one_file or self.backbone_options):
            raise InvalidParameterError(
                f"weights is {self.weights!r} and backbone_options is {self.backbone_options!r}, "
                f"but there are {len(several)} networks. Choose one by backbone, or give each its "
                "own: [{'backbone': 'vgg16', 'weights': 'vgg16.weights.h5'}, ...]."
            )
        parts = {"texture": fused_features(size=input_size)}
        for number, network in enumerate(several, start=1):
            if isinstance(network, dict):
                network = _read_network(named | network)
            elif not isinstance(network, DeepFeatures):
                network = DeepFeatures(network, input_size=input_size, **named)
            parts[f"deep_{number}"] = clone(network)
        names = [str(part.backbone) for part in parts.values() if isinstance(part, DeepFeatures)]
        union = [(name, FeatureBus(part, memory=self.memory)) for name, part in parts.items()]
        # The columns of a network that is there twice have the same names.
        is_twice = len(set(names)) < len(names)
        return self.bus(FeatureUnion(union, verbose_feature_names_out=is_twice))

    def with_svm(self, extractor):
        """Return a pipeline of an extractor in a feature bus and a support vector machine."""
        svm = calibrated(make_plain_pipeline(*scaled_svm()))
        return Pipeline([("features", self.bus(extractor)), ("classifier", svm)])


def _read_network(parameters):
    """Return the network that a dict describes."""
    unknown = sorted(parameters.keys() - signature(DeepFeatures).parameters.keys())
    if unknown or parameters.get("backbone") is None:
        raise InvalidParameterError(
            f"backbone has a dict with {unknown or 'no backbone'}, expected 'backbone' and "
            f"other parameters of DeepFeatures: {[*signature(DeepFeatures).parameters]}."
        )
    return DeepFeatures(**parameters)


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


def _logistic(class_weight=None):
    return LogisticRegression(C=0.003, class_weight=class_weight, max_iter=1000)


def mammogram_svm(*, backbone: Any = "vgg16", **shared: Any) -> Pipeline:
    """Make a pipeline for mammograms: breast without muscle, VGG16 or InceptionV3, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    backbone : str, path or keras.Model, default="vgg16"
        The network, see `featbus.DeepFeatures`; published with "vgg16" and "inception_v3".
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

    Returns
    -------
    Pipeline
        The steps ``breast``, ``muscle``, ``resize`` (224 x 224 pixels) and ``classifier``: a
        calibrated pipeline of ``imageaugmenter`` (the six orientations by flips and quarter turns,
        of training images only), ``featurebus``, ``standardscaler`` and ``svc``.

    See Also
    --------
    make_recipe : Recipes by name.

    Notes
    -----
    Pass `memory`: calibration fits the pipeline six times, mostly on the same copies.

    The muscle can only be found on a breast that stands upright, so the copies are made after it is
    removed. Calibration splits the images before they are copied.

    Examples
    --------
    >>> from featbus.recipes import mammogram_svm
    >>> recipe = mammogram_svm(backbone="inception_v3", memory="features.sqlite")
    >>> list(recipe.named_steps)
    ['breast', 'muscle', 'resize', 'classifier']
    """
    shared = Shared(**shared)
    copies = ImageAugmenter(n_copies=5, dihedral=6, random_state=shared.random_state)
    bus = shared.bus(DeepFeatures(backbone, **shared.network()))
    classifier = make_pipeline(copies, bus, *scaled_svm())
    return Pipeline(
        [
            ("breast", BreastRegion(orient="left")),
            ("muscle", PectoralMuscleRemover()),
            ("resize", Resize(224)),
            ("classifier", calibrated(classifier)),
        ]
    )


def two_tap_mobilenet(
    *, trained: bool = False, backbone: Any = "mobilenet_v3_small", **shared: Any
) -> Pipeline:
    """Make a pipeline for ultrasound: C4 and C5 of MobileNetV3Small, frozen or trained, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    trained : bool, default=False
        Whether stage C5 and a light stage after each of the two maps are trained in `fit`: a
        depthwise convolution, then a pointwise one that reduces the map to 128 channels, as in
        SSDLite [1]_. Otherwise the network stays as it is, and its maps are pooled.
    backbone : str, path or keras.Model, default="mobilenet_v3_small"
        The network, see `featbus.DeepFeatures`.
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around one extractor, and ``classifier``, a
        calibrated support vector machine with balanced class weights.

    See Also
    --------
    make_recipe : Recipes by name.
    featbus.FineTunedFeatures : How the network is trained.

    References
    ----------
    .. [1] Sandler M et al. MobileNetV2: inverted residuals and linear bottlenecks. CVPR 2018,
       doi:10.1109/CVPR.2018.00474, section 6.2.

    Examples
    --------
    >>> from featbus.recipes import two_tap_mobilenet
    >>> recipe = two_tap_mobilenet()
    >>> recipe["features"].transformer.layers
    ('C4', 'C5')
    """
    shared = Shared(**shared)
    network = shared.network(layers=("C4", "C5"))
    if trained:
        extractor = FineTunedFeatures(backbone, auxiliary=128, learning_rate=1e-3, **network)
    else:
        extractor = DeepFeatures(backbone, **network)
    return shared.with_svm(extractor)


def mobilenet_intensity(*, backbone: Any = "mobilenet_v2", **shared: Any) -> Pipeline:
    """Make a pipeline for ultrasound: MobileNetV2 and intensity statistics, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    backbone : str, path or keras.Model, default="mobilenet_v2"
        The network, see `featbus.DeepFeatures`.
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around the union of ``deep`` and
        ``intensity``, and ``classifier``, a calibrated support vector machine.

    See Also
    --------
    make_recipe : Recipes by name.
    featbus.intensity_summary : How bright the images of each class are.

    Notes
    -----
    BUSI's masks are in the same folders as its images. Read as images, they reveal the class: the
    masks of normal images are black. `featbus.load_busi` keeps them apart.

    Examples
    --------
    >>> from featbus.recipes import mobilenet_intensity
    >>> recipe = mobilenet_intensity()
    >>> recipe.get_params()["features__transformer__deep"].backbone
    'mobilenet_v2'
    """
    shared = Shared(**shared)
    deep = DeepFeatures(backbone, **shared.network())
    extractors = [("deep", deep), ("intensity", IntensityStatistics())]
    return shared.with_svm(FeatureUnion(extractors, verbose_feature_names_out=False))


def enhanced_crop(
    *,
    contrast: Literal["clahe", "equalize"] = "clahe",
    segmenter: Any = None,
    backbone: Any = "resnet101",
    **shared: Any,
) -> Pipeline:
    """Make a pipeline for ultrasound: enhance, despeckle, segment, crop, ResNet101, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    contrast : {"clahe", "equalize"}, default="clahe"
        How the contrast is enhanced: `featbus.CLAHE` or `featbus.HistogramEqualizer`.
    segmenter : estimator or None, default=None
        What finds the lesion, see `featbus.ROICropper`. None: ``ThresholdSegmenter()``, which needs
        no training; its methods "adaptive" and "watershed" follow local thresholds and edges. A
        `featbus.UNetSegmenter` is trained in `fit`, on masks passed as metadata.
    backbone : str, path or keras.Model, default="resnet101"
        The network, see `featbus.DeepFeatures`.
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around ``contrast``, ``despeckle``, ``crop``
        and ``deep``, and ``classifier``, a calibrated support vector machine.

    Raises
    ------
    ValueError
        If `contrast` is invalid.

    See Also
    --------
    make_recipe : Recipes by name.
    featbus.evaluate : Passes the masks of the training part to `fit`.

    Examples
    --------
    >>> from featbus import ThresholdSegmenter
    >>> from featbus.recipes import enhanced_crop
    >>> recipe = enhanced_crop(segmenter=ThresholdSegmenter("watershed"))
    >>> list(recipe["features"].transformer.named_steps)
    ['contrast', 'despeckle', 'crop', 'deep']
    """
    check_parameters(_CONSTRAINTS, {"contrast": contrast})
    shared = Shared(**shared)
    steps = [
        ("contrast", _CONTRAST[contrast]()),
        ("despeckle", Despeckle()),
        ("crop", ROICropper(ThresholdSegmenter() if segmenter is None else segmenter)),
        ("deep", DeepFeatures(backbone, **shared.network())),
    ]
    return shared.with_svm(Pipeline(steps))


def unet_crop(*, segmenter: Any = None, backbone: str = "mobilenet", **shared: Any) -> Pipeline:
    """Make a pipeline for ultrasound: MobileNet on the image and a U-Net's crop, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    segmenter : estimator or None, default=None
        What finds the lesion, see `featbus.ROICropper`. None: a `featbus.UNetSegmenter` whose
        encoder is the backbone; it is trained in `fit`, on masks passed as metadata. A backbone
        that cannot be an encoder, such as InceptionV3, needs a segmenter here.
    backbone : str, default="mobilenet"
        The network, see `featbus.DeepFeatures`; published with "mobilenet", "vgg16" and
        "inception_v3".
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around the union of ``whole``, the network,
        and ``lesion``, a pipeline of ``crop`` and ``deep``; and ``classifier``, a calibrated
        support vector machine.

    See Also
    --------
    small_cnn : The network without pretraining that this one is compared with.
    make_recipe : Recipes by name.
    featbus.evaluate : Passes the masks of the training part to `fit`.
    featbus.evaluation.segmentation_scores : How good the outlines are.

    Notes
    -----
    The default segmenter's encoder starts from `weights`, too. It is trained in each fold, and rows
    of one fold cannot be used in another: `memory` keeps them all.

    Examples
    --------
    >>> from featbus import ThresholdSegmenter
    >>> from featbus.recipes import unet_crop
    >>> recipe = unet_crop()  # fit(images, y, masks=masks), with metadata routing
    >>> recipe.get_params()["features__transformer__lesion__crop__segmenter"].encoder
    'mobilenet'
    >>> recipe = unet_crop(segmenter=ThresholdSegmenter())  # fit(images, y)
    """
    shared = Shared(**shared)
    deep = DeepFeatures(backbone, **shared.network())
    if segmenter is None:
        encoder = {"encoder_options": shared.backbone_options, "encoder_weights": shared.weights}
        segmenter = UNetSegmenter(backbone, **encoder, random_state=shared.random_state)
    lesion = Pipeline([("crop", ROICropper(segmenter)), ("deep", clone(deep))])
    return shared.with_svm(FeatureUnion([("whole", deep), ("lesion", lesion)]))


def small_cnn(**shared: Any) -> Pipeline:
    """Make a pipeline for ultrasound: a small CNN without pretraining, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    **shared : dict
        `memory`, `n_jobs` and `random_state`, see `make_recipe`. Rows cannot be shared between
        folds: the network is trained in each of them.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around a `featbus.FineTunedFeatures` that
        trains all layers of the backbone "small_cnn" at 128 x 128 pixels, and ``classifier``, a
        calibrated support vector machine.

    See Also
    --------
    unet_crop : Networks with pretraining.
    make_recipe : Recipes by name.

    Notes
    -----
    A few hundred images are few for a network that starts from nothing: a baseline.

    Examples
    --------
    >>> from featbus.recipes import small_cnn
    >>> small_cnn()["features"].transformer.unfreeze
    'all'
    """
    shared = Shared(**{"weights": None} | shared)
    options = shared.network(input_size=128, unfreeze="all", learning_rate=1e-3)
    return shared.with_svm(FineTunedFeatures("small_cnn", **options))


def handcrafted(*, input_size: int | tuple[int, ...] = INPUT_SIZE, **shared: Any) -> Pipeline:
    """Make a pipeline for any images: texture and shape, no network; vote of two classifiers.

    The default of the commands: it is quick, and needs neither weights nor TensorFlow.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    input_size : int or tuple of int, default=224
        Size in pixels that images are stretched to. At least 7.
    **shared : dict
        `memory`, `n_jobs` and `random_state`, see `make_recipe`.

    Returns
    -------
    Pipeline
        The steps of `breast_ultrasound_features`, without its networks.

    Raises
    ------
    ValueError
        If a parameter is invalid.

    See Also
    --------
    breast_ultrasound_features : Adds networks.
    fusion : The same features, with selection, SMOTE and other classifiers.

    Examples
    --------
    >>> from featbus import make_breast_ultrasound
    >>> from featbus.recipes import handcrafted
    >>> data = make_breast_ultrasound(48, random_state=0)
    >>> recipe = handcrafted().fit(data.images, data.target)
    >>> recipe.predict_proba(data.images[:4]).shape
    (4, 3)
    """
    return breast_ultrasound_features(backbone=None, input_size=input_size, **shared)


def breast_ultrasound_features(
    *,
    backbone: Any = NETWORKS,
    layers: str | Sequence[str] = LAYERS,
    pooling: str | Sequence[str] = POOLING,
    input_size: int | tuple[int, ...] = INPUT_SIZE,
    **shared: Any,
) -> Pipeline:
    """Make the pipeline for breast ultrasound: networks and texture; vote of two classifiers.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    backbone : str, path, keras.Model, DeepFeatures, dict, list of these or None
        The networks; None leaves them out. By default VGG16 and MobileNetV2 (alpha 0.35), side by
        side. A dict has parameters of `featbus.DeepFeatures`, such as ``{"backbone": "vgg16",
        "weights": "vgg16.weights.h5"}``; those it lacks are those below, except for the size, which
        is the network's own. `memory` keeps the rows of each network on their own.
    layers : str or sequence of str, default=("C3", "C4", "C5")
        Where the network's features are taken, see `featbus.DeepFeatures`.
    pooling : str or sequence of str, default=("avg", "max")
        How its feature maps become numbers, see `featbus.DeepFeatures`.
    input_size : int or tuple of int, default=224
        Size in pixels that images are stretched to, for hand-crafted features and for networks that
        are given by name. At least 7.
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around `fused_features`, and ``classifier``,
        a `sklearn.ensemble.VotingClassifier` that averages the probabilities of ``logistic``, a
        logistic regression, and ``svm``, a calibrated support vector machine on the principal
        components with 80 % of the variance.

    Raises
    ------
    ValueError
        If `input_size` is invalid.

    See Also
    --------
    make_recipe : Recipes by name.
    fusion : The same features with selection, SMOTE and other classifiers.

    Notes
    -----
    Networks, size and classifier were chosen on one half of BUSI; the user guide has the scores on
    the other half. Classes are neither resampled nor weighted: the ROC AUC would not
    change, and probabilities follow the frequencies of the classes in training.

    Examples
    --------
    >>> from featbus.recipes import breast_ultrasound_features
    >>> recipe = breast_ultrasound_features(memory="features.sqlite")
    >>> list(recipe["classifier"].named_estimators)
    ['logistic', 'svm']
    """
    bus = Shared(**shared).fused_bus(backbone, input_size, layers=layers, pooling=pooling)
    logistic = make_plain_pipeline(StandardScaler(), _logistic())
    svm = calibrated(make_plain_pipeline(StandardScaler(), PCA(0.8), SVC(C=3)))
    vote = VotingClassifier([("logistic", logistic), ("svm", svm)], voting="soft")
    return Pipeline([("features", bus), ("classifier", vote)])


def fine_tuned_ultrasound(
    *,
    backbone: Any = "mobilenet_v2",
    layers: str | Sequence[str] = LAYERS,
    pooling: str | Sequence[str] = POOLING,
    input_size: int | tuple[int, ...] = 160,
    epochs: int = 20,
    n_members: int = 1,
    **shared: Any,
) -> Pipeline:
    """Make a pipeline for breast ultrasound: fine-tuned network, texture, logistic regression.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    backbone : str, path or keras.Model, default="mobilenet_v2"
        The network. One copy stays frozen, all layers of the other are trained.
    layers : str or sequence of str, default=("C3", "C4", "C5")
        Where features are taken, see `featbus.DeepFeatures`.
    pooling : str or sequence of str, default=("avg", "max")
        How feature maps become numbers, see `featbus.DeepFeatures`.
    input_size : int or tuple of int, default=160
        Size in pixels that images are stretched to for the network that is trained. The frozen
        features see 320 x 320 pixels.
    epochs : int, default=20
        Number of epochs.
    n_members : int, default=1
        Number of networks to train, whose rows are averaged.
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around a `sklearn.pipeline.FeatureUnion` of
        ``frozen``, the features of `breast_ultrasound_features`, and ``tuned``, a
        `featbus.FineTunedFeatures`; and ``classifier``, a logistic regression on standardized rows.

    See Also
    --------
    make_recipe : Recipes by name.
    breast_ultrasound_features : The frozen features alone.

    Notes
    -----
    `memory` keeps the frozen rows once for all folds, and the trained networks in a folder next to
    it, whose name ends in ``.networks``: a training that was interrupted continues.
    ``set_params(features__memory=...)`` does not move the folder.

    A network is trained in each fold. A row is the mean of an image's and its mirror image's.

    Examples
    --------
    >>> from featbus.recipes import fine_tuned_ultrasound
    >>> recipe = fine_tuned_ultrasound(backbone_options={"alpha": 0.35}, memory="rows.sqlite")
    >>> recipe.get_params()["features__transformer__tuned__checkpoint"]
    'rows.sqlite.networks'
    """
    shared, options = Shared(**shared), {"layers": layers, "pooling": pooling}
    memory = shared.memory.path if isinstance(shared.memory, FeatureStore) else shared.memory
    tuned = FineTunedFeatures(
        backbone,
        input_size=input_size,
        unfreeze="all",
        epochs=epochs,
        n_members=n_members,
        learning_rate=1e-3,
        flip=True,
        checkpoint=None if memory is None else f"{memory}.networks",
        **shared.network(**options),
    )
    frozen = shared.fused_bus(backbone, 320, **options)
    bus = shared.bus(FeatureUnion([("frozen", frozen), ("tuned", tuned)]))
    classifier = make_plain_pipeline(StandardScaler(), _logistic())
    return Pipeline([("features", bus), ("classifier", classifier)])


def fusion(
    *,
    classifier: Literal["svm", "random_forest", "knn", "xgboost", "vote"] = "svm",
    selection: Literal["anova", "mutual_info", "pca"] | None = "anova",
    n_features: int = 100,
    backbone: Any = "mobilenet_v2",
    layers: str | Sequence[str] = LAYERS,
    pooling: str | Sequence[str] = POOLING,
    input_size: int | tuple[int, ...] = INPUT_SIZE,
    **shared: Any,
) -> Pipeline:
    """Make a pipeline for any images: network and texture, selection, SMOTE, and a classifier.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    classifier : {"svm", "random_forest", "knn", "xgboost", "vote"}, default="svm"
        The classifier; "vote" averages the probabilities of the four others. "xgboost" requires the
        classes 0, 1, 2, ...
    selection : {"anova", "mutual_info", "pca"} or None, default="anova"
        What remains of the columns: those with the largest F-value or mutual information with the
        class, or principal components. None: all columns.
    n_features : int, default=100
        Number of columns, or of components, that remain.
    backbone : str, path, keras.Model, DeepFeatures, dict, list of these or None, \
            default="mobilenet_v2"
        One or several networks, see `breast_ultrasound_features`; None leaves them out.
    layers : str or sequence of str, default=("C3", "C4", "C5")
        Where the network's features are taken, see `featbus.DeepFeatures`.
    pooling : str or sequence of str, default=("avg", "max")
        How its feature maps become numbers, see `featbus.DeepFeatures`.
    input_size : int or tuple of int, default=224
        Size in pixels that images are stretched to, for hand-crafted features and for networks that
        are given by name. At least 7.
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around `fused_features`, and ``classifier``:
        a calibrated pipeline of ``varied``, which drops constant columns, ``scale``, ``select``,
        ``smote`` and ``classifier``, or the vote of four of them.

    Raises
    ------
    ValueError
        If a parameter is invalid.
    ImportError
        If `classifier` is "xgboost" or "vote", and XGBoost is not installed.

    See Also
    --------
    make_recipe : Recipes by name.
    classifier_pipelines : The classifiers without selection and calibration.

    Notes
    -----
    Probabilities are calibrated on training images as they are, without SMOTE: they follow the
    frequencies of the classes there, and so does the predicted class.

    Examples
    --------
    >>> from featbus.recipes import fusion
    >>> recipe = fusion(classifier="random_forest", selection="pca", n_features=50)
    >>> list(recipe["classifier"].estimator.named_steps)
    ['varied', 'scale', 'select', 'smote', 'classifier']
    """
    check_parameters(_CONSTRAINTS, locals())
    shared = Shared(**shared)
    selectors = {
        None: "passthrough",
        "pca": PCA(n_features, random_state=shared.random_state),
        "anova": SelectKBest(f_classif, k=n_features),
        "mutual_info": SelectKBest(mutual_information, k=n_features),
    }
    steps = [
        ("varied", VarianceThreshold()),  # constant columns have no F-value
        ("scale", StandardScaler()),
        ("select", selectors[selection]),
        ("smote", SMOTE(random_state=shared.random_state)),
    ]
    members = [
        (name, calibrated(clone(SamplingPipeline([*steps, ("classifier", each)]))))
        for name, each in _classifiers(shared.random_state, classifier)
    ]
    chosen = VotingClassifier(members, voting="soft") if len(members) > 1 else members[0][1]
    bus = shared.fused_bus(backbone, input_size, layers=layers, pooling=pooling)
    return Pipeline([("features", bus), ("classifier", chosen)])


def _classifiers(random_state, name="vote"):
    """Return names and classifiers: the four of a vote, or one."""
    found = [
        ("svm", SVC()),
        ("random_forest", RandomForestClassifier(n_estimators=300, random_state=random_state)),
        ("knn", KNeighborsClassifier(n_neighbors=15)),
    ]
    if name in ("vote", "xgboost"):
        from xgboost import XGBClassifier

        # A few hundred rows do not need 256 bins, nor each tree a thousand columns. One thread,
        # because cross-validation runs fits in parallel.
        options = {"max_bin": 64, "colsample_bytree": 0.3, "n_jobs": 1}
        found.append(("xgboost", XGBClassifier(**options, random_state=random_state)))
    return [pair for pair in found if name in ("vote", pair[0])]


def _scaled(features, tails):
    """Return pipelines of features, a scaler and further steps; they share no step."""
    # imbalanced-learn accepts no pipeline as a step: its steps are taken instead.
    first = steps_of(features) if isinstance(features, Pipeline) else [("features", features)]
    first = [*([] if features is None else first), ("scale", StandardScaler())]
    return {name: clone(SamplingPipeline([*first, *tail])) for name, tail in tails.items()}


def classifier_pipelines(
    *, features: Any = None, random_state: int | np.random.RandomState | None = 0
) -> dict[str, Pipeline]:
    """Make pipelines of scaling, SMOTE and each of four classifiers.

    XGBoost is omitted, with a warning, where it is not installed.

    Read more in the :ref:`User Guide <composites>`.

    Parameters
    ----------
    features : transformer, default=None
        From images to rows, such as `fused_features`. None expects rows of features computed
        before, which is valid only for extractors that do not learn from the data.
    random_state : int, RandomState instance or None, default=0
        Seed of SMOTE, the random forest and XGBoost.

    Returns
    -------
    dict of str to imblearn.pipeline.Pipeline
        ``"SVM"`` (radial basis functions), ``"random forest"``, ``"KNN"`` and ``"XGBoost"``. Their
        steps are those of `features` (one step ``features`` unless it is a pipeline), ``scale``,
        ``smote`` and ``classifier``; KNN has ``pca`` before and ``lda`` after ``smote``.

    See Also
    --------
    featbus.evaluate : Cross-validate all four.

    Notes
    -----
    SMOTE ([1]_) generates rows of the smaller classes between neighbors, during `fit` only: it
    never sees test samples. It needs more than 5 training samples of every class.

    Distances between neighbors mean little in a thousand columns, and less still once SMOTE has
    filled the space between them. KNN therefore uses discriminant directions within the principal
    components ([2]_).

    XGBoost requires the classes 0, 1, 2, ...

    References
    ----------
    .. [1] Chawla NV, Bowyer KW, Hall LO, Kegelmeyer WP. SMOTE: Synthetic Minority Over-sampling
       Technique. Journal of Artificial Intelligence Research 16 (2002) 321-357,
       doi:10.1613/jair.953.
    .. [2] Belhumeur PN, Hespanha JP, Kriegman DJ. Eigenfaces vs. Fisherfaces: recognition using
       class specific linear projection. IEEE TPAMI 19 (1997) 711-720, doi:10.1109/34.598228.

    Examples
    --------
    >>> from featbus.recipes import classifier_pipelines, fused_features
    >>> pipelines = classifier_pipelines(features=fused_features())
    >>> list(pipelines)
    ['SVM', 'random forest', 'KNN', 'XGBoost']
    >>> list(pipelines["SVM"].named_steps)
    ['resize', 'features', 'scale', 'smote', 'classifier']
    """
    smote = SMOTE(random_state=random_state)
    names = [*_LABELS]
    if find_spec("xgboost") is None:
        warnings.warn("XGBoost is omitted. Install it: pip install xgboost.", stacklevel=2)
        names.remove("xgboost")
    tails = {
        _LABELS[name]: [("smote", smote), ("classifier", each)]
        for single in names
        for name, each in _classifiers(random_state, single)
    }
    lda = LinearDiscriminantAnalysis()
    tails["KNN"][:1] = [("pca", PCA(n_components=0.7)), ("smote", smote), ("lda", lda)]
    return _scaled(features, tails)


def balancing_pipelines(
    *, features: Any = None, random_state: int | np.random.RandomState | None = 0
) -> dict[str, SamplingPipeline]:
    """Make pipelines of a logistic regression with SMOTE, with class weights, and with neither.

    Read more in the :ref:`User Guide <balancing>`.

    Parameters
    ----------
    features : transformer, default=None
        From images to rows, such as `fused_features`. None expects rows of features computed
        before, which is valid only for extractors that do not learn from the data.
    random_state : int, RandomState instance or None, default=0
        Seed of SMOTE.

    Returns
    -------
    dict of str to imblearn.pipeline.Pipeline
        ``"SMOTE"``, ``"class weights"`` and ``"no balancing"``. Their steps are those of
        `features`, ``scale``, ``smote`` ("passthrough" where there is none) and ``classifier``.

    See Also
    --------
    classifier_pipelines : Four classifiers, with SMOTE.
    featbus.evaluate : Cross-validate all three.

    Notes
    -----
    A logistic regression has probabilities of its own, which the Brier score judges. Balancing
    makes all classes equally frequent in training: the rarer ones get higher probabilities, and
    more images are assigned to them.

    Examples
    --------
    >>> from featbus.recipes import balancing_pipelines, fused_features
    >>> list(balancing_pipelines(features=fused_features()))
    ['SMOTE', 'class weights', 'no balancing']
    """
    smote = SMOTE(random_state=random_state)
    tails = {
        "SMOTE": [("smote", smote), ("classifier", _logistic())],
        "class weights": [("smote", "passthrough"), ("classifier", _logistic("balanced"))],
        "no balancing": [("smote", "passthrough"), ("classifier", _logistic())],
    }
    return _scaled(features, tails)


# The images that each recipe is for, the score that was published, and what it reached in grouped
# folds with the network named: benchmarks/comparisons/recipes.py and mammogram_protocols.py.
_RECIPES = {
    handcrafted: ("any", "", "accuracy 0.82, AUC 0.86"),
    mammogram_svm: (
        "mammograms",
        "accuracy 0.978 (VGG16), 0.929 (InceptionV3)",
        "accuracy 0.64, always normal, AUC 0.47 (VGG16)",
    ),
    two_tap_mobilenet: (
        "breast ultrasound",
        "accuracy 0.96",
        "accuracy 0.81, AUC 0.85 (MobileNetV2)",
    ),
    mobilenet_intensity: (
        "breast ultrasound",
        "accuracy 0.82 (three classes)",
        "accuracy 0.76, AUC 0.87 (three classes)",
    ),
    enhanced_crop: (
        "breast ultrasound",
        "accuracy 0.97 to 0.99",
        "accuracy 0.74, AUC 0.78 (VGG16)",
    ),
    unet_crop: (
        "breast ultrasound, with masks",
        "accuracy 0.90 (MobileNet) to 0.98 (VGG16)",
        "accuracy 0.85, AUC 0.90 (VGG16, no U-Net)",
    ),
    small_cnn: ("breast ultrasound", "accuracy 0.54", "accuracy 0.76, AUC 0.79"),
    breast_ultrasound_features: (
        "breast ultrasound",
        "",
        "accuracy 0.88, AUC 0.93 (VGG16, MobileNetV2)",
    ),
    fine_tuned_ultrasound: ("breast ultrasound", "", "accuracy 0.86, AUC 0.91 (MobileNetV2)"),
    fusion: ("any", "", "accuracy 0.82, AUC 0.88 (VGG16, MobileNetV2)"),
}
# Whether a recipe needs a network; "optional" ones take backbone=None.
_NETWORK = {handcrafted: "no", breast_ultrasound_features: "optional", fusion: "optional"}
_BY_NAME = {recipe.__name__: recipe for recipe in _RECIPES}


def list_recipes() -> pd.DataFrame:
    """List the recipes.

    Read more in the :ref:`User Guide <recipes>`.

    Returns
    -------
    DataFrame
        A row per recipe: ``name``, ``description``, ``network``, whether it needs one and with it
        Keras ("yes", "no", or "optional": with ``backbone=None`` it needs none), ``images``,
        ``paper``, the score of the published system where there is one, and ``measured``, what
        the recipe reached in folds that keep patients or near-duplicates together: benign or
        malignant, unless it says otherwise. The user guide has the intervals, and says why the two
        differ.

    See Also
    --------
    make_recipe : Make one of them.

    Examples
    --------
    On the command line: ``featbus recipes``

    >>> from featbus.recipes import list_recipes
    >>> list_recipes()["name"].tolist()[:3]
    ['handcrafted', 'mammogram_svm', 'two_tap_mobilenet']
    """
    found = _BY_NAME.items()
    rows = [(n, _describe(r), _NETWORK.get(r, "yes"), *_RECIPES[r]) for n, r in found]
    columns = ["name", "description", "network", "images", "paper", "measured"]
    return pd.DataFrame(rows, columns=columns)


def _describe(recipe):
    """Return the first line of a recipe's documentation, after the images that it is for."""
    return getdoc(recipe).splitlines()[0].partition(": ")[2].rstrip(".")


def make_recipe(name: str, **options: Any) -> Pipeline:
    """Make the pipeline of a published system, unfitted.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    name : str
        A name that `list_recipes` has. The function of this name in ``featbus.recipes`` documents
        the recipe.
    **options : dict
        Further parameters of the recipe, such as `backbone`. Those that almost all recipes have:

        backbone_options : dict or None, default=None
            Options of the network's architecture, see `featbus.DeepFeatures`.
        weights : "imagenet", path or None, default="imagenet"
            Weights of the network.
        memory : str, os.PathLike, FeatureStore or None, default=None
            Where `featbus.FeatureBus` keeps the rows.
        n_jobs : int or None, default=None
            Number of batches of images at a time.
        random_state : int, default=0
            Seed of everything random.

    Returns
    -------
    Pipeline
        From images, or their paths, to classes and probabilities. Nothing is loaded yet.

    Raises
    ------
    ValueError
        If there is no such recipe, it has no such option, or an option is invalid.

    See Also
    --------
    list_recipes : The names.
    recipe_features : The part of a recipe from images to rows.
    featbus.evaluate : Cross-validate recipes.

    Examples
    --------
    >>> from featbus.recipes import make_recipe
    >>> recipe = make_recipe("mobilenet_intensity", backbone_options={"alpha": 0.35})
    >>> list(recipe.named_steps)
    ['features', 'classifier']
    """
    if name not in _BY_NAME:
        near = get_close_matches(str(name), _BY_NAME, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidParameterError(f"name is {name!r}, expected one of {list(_BY_NAME)}.{hint}")
    known = {*signature(_BY_NAME[name]).parameters, *signature(Shared).parameters} - {"shared"}
    for option in {*options} - known:
        raise InvalidParameterError(
            f"{option} is {options[option]!r}, and the recipe {name!r} has no such parameter, "
            f"expected some of {sorted(known)}."
        )
    return _BY_NAME[name](**options)


def recipe_features(recipe: Pipeline) -> FeatureBus | Pipeline:
    """Return the part of a recipe from images to rows, for a table of features.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    recipe : Pipeline
        What `make_recipe` returned.

    Returns
    -------
    FeatureBus or Pipeline
        Unfitted: the recipe's `featbus.FeatureBus`, after the image steps before it, if there are
        any. Samplers are omitted.

    Raises
    ------
    ValueError
        If there is no `featbus.FeatureBus` in `recipe`.

    See Also
    --------
    make_recipe : Make a recipe.

    Examples
    --------
    >>> from featbus import make_breast_ultrasound
    >>> from featbus.recipes import make_recipe, recipe_features
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> features = recipe_features(make_recipe("fusion", backbone=None))
    >>> features.fit_transform(images).shape
    (4, 1485)
    """
    bus = next((step for step, _ in walk(recipe) if isinstance(step, FeatureBus)), None)
    if bus is None:
        raise InvalidParameterError(f"recipe is {recipe!r}, expected a pipeline with a FeatureBus.")
    before = [step for step in recipe.steps if isinstance(step[1], ImageTransformer)]
    return clone(Pipeline([*before, ("features", bus)]) if before else bus)
