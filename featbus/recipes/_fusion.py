"""Hand-crafted and network features in one row, with several classifiers."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline as SamplingPipeline
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus.bus import FeatureStore
from featbus.feature_extraction import FineTunedFeatures
from featbus.parameters import POSITIVE_INTEGER, StrOptions, check_parameters
from featbus.recipes._parts import (
    INPUT_SIZE,
    LAYERS,
    POOLING,
    Shared,
    calibrated,
    mutual_information,
)
from featbus.steps import steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal

    import numpy as np

_LABELS = {"svm": "SVM", "random_forest": "random forest", "knn": "KNN", "xgboost": "XGBoost"}
_CONSTRAINTS = {
    "classifier": [StrOptions({*_LABELS, "vote"})],
    "selection": [StrOptions({"anova", "mutual_info", "pca"}), None],
    "n_features": [POSITIVE_INTEGER],
}
_NO_XGBOOST = "Install it: pip install xgboost."


def _logistic(class_weight=None):
    return LogisticRegression(C=0.003, class_weight=class_weight, max_iter=1000)


def breast_ultrasound_features(
    *,
    backbone: Any = "mobilenet_v2",
    layers: str | Sequence[str] = LAYERS,
    pooling: str | Sequence[str] = POOLING,
    input_size: int | tuple[int, ...] = INPUT_SIZE,
    **shared: Any,
) -> Pipeline:
    """Make the pipeline for breast ultrasound: network and texture; vote of two classifiers.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    backbone : str, path, keras.Model or None, default="mobilenet_v2"
        The network, see `featbus.DeepFeatures`; None leaves it out.
    layers : str or sequence of str, default=("C3", "C4", "C5")
        Where the network's features are taken, see `featbus.DeepFeatures`.
    pooling : str or sequence of str, default=("avg", "max")
        How its feature maps become numbers, see `featbus.DeepFeatures`.
    input_size : int or tuple of int, default=320
        Size in pixels that images are stretched to, for the network and for all other features. At
        least 7.
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
    The settings were chosen on part of BUSI; the user guide has the scores with this choice made in
    each training part. Classes are neither resampled nor weighted: the ROC AUC would not
    change, and probabilities follow the frequencies of the classes in training.

    Examples
    --------
    >>> from featbus.recipes import breast_ultrasound_features
    >>> recipe = breast_ultrasound_features(backbone_options={"alpha": 0.35})
    >>> list(recipe["classifier"].named_estimators)
    ['logistic', 'svm']
    """
    bus = Shared(**shared).fused_bus(backbone, input_size, layers=layers, pooling=pooling)
    logistic = make_pipeline(StandardScaler(), _logistic())
    svm = calibrated(make_pipeline(StandardScaler(), PCA(0.8), SVC(C=3)))
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
    is_path = isinstance(memory, (str, os.PathLike))  # `fit` refuses anything else
    tuned = FineTunedFeatures(
        backbone,
        input_size=input_size,
        unfreeze="all",
        epochs=epochs,
        n_members=n_members,
        learning_rate=1e-3,
        flip=True,
        checkpoint=f"{os.fspath(memory)}.networks" if is_path else None,
        **shared.network(**options),
    )
    frozen = shared.fused_bus(backbone, INPUT_SIZE, **options)
    bus = shared.bus(FeatureUnion([("frozen", frozen), ("tuned", tuned)]))
    classifier = make_pipeline(StandardScaler(), _logistic())
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
    backbone : str, path, keras.Model or None, default="mobilenet_v2"
        The network, see `featbus.DeepFeatures`; None leaves it out.
    layers : str or sequence of str, default=("C3", "C4", "C5")
        Where the network's features are taken, see `featbus.DeepFeatures`.
    pooling : str or sequence of str, default=("avg", "max")
        How its feature maps become numbers, see `featbus.DeepFeatures`.
    input_size : int or tuple of int, default=320
        Size in pixels that images are stretched to, for the network and for all other features. At
        least 7.
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
    known = _classifiers(shared.random_state)
    if classifier in ("xgboost", "vote") and "XGBoost" not in known:
        raise ImportError(f'classifier="{classifier}" needs XGBoost. {_NO_XGBOOST}')
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
    members = {
        name: calibrated(clone(SamplingPipeline([*steps, ("classifier", known[label])])))
        for name, label in _LABELS.items()
        if label in known
    }
    members["vote"] = VotingClassifier([*members.items()], voting="soft")
    bus = shared.fused_bus(backbone, input_size, layers=layers, pooling=pooling)
    return Pipeline([("features", bus), ("classifier", members[classifier])])


def _classifiers(random_state):
    """Return the classifiers by name, XGBoost where it is installed."""
    classifiers = {
        "SVM": SVC(),
        "random forest": RandomForestClassifier(n_estimators=300, random_state=random_state),
        "KNN": KNeighborsClassifier(n_neighbors=15),
    }
    try:
        from xgboost import XGBClassifier
    except ImportError:
        return classifiers
    # A few hundred rows do not need 256 bins, nor each tree a thousand columns. One thread, because
    # cross-validation runs fits in parallel.
    xgboost = XGBClassifier(max_bin=64, colsample_bytree=0.3, n_jobs=1, random_state=random_state)
    return classifiers | {"XGBoost": xgboost}


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
    classifiers = _classifiers(random_state)
    if "XGBoost" not in classifiers:
        warnings.warn(f"XGBoost is left out. {_NO_XGBOOST}", stacklevel=2)
    tails = {name: [("smote", smote), ("classifier", one)] for name, one in classifiers.items()}
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
