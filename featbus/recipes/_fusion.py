"""A network beside hand-crafted features, and the classifiers of the literature."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline as SamplingPipeline
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus.parameters import POSITIVE_INTEGER, StrOptions, check_parameters
from featbus.recipes._fused import INPUT_SIZE, LAYERS, POOLING, fused_bus
from featbus.recipes._parts import calibrated, feature_steps, mutual_information

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal

    import numpy as np

    from featbus.bus._store import FeatureStore
    from featbus.typing import PathLike

_CLASSIFIERS = {
    "svm": "SVM",
    "random_forest": "random forest",
    "knn": "KNN",
    "xgboost": "XGBoost",
}
_SELECTIONS = {"anova", "mutual_info", "pca"}
_NO_XGBOOST = "Install it: pip install xgboost."


def classifier_pipelines(
    *, features: Any = None, random_state: int | np.random.RandomState | None = 0
) -> dict[str, Pipeline]:
    """Make pipelines of scaling, SMOTE and each of four classifiers.

    XGBoost is left out, with a warning, where it is not installed.

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
    steps = {name: [("smote", smote), ("classifier", one)] for name, one in classifiers.items()}
    steps["KNN"][:1] = [
        ("pca", PCA(n_components=0.7)),
        ("smote", smote),
        ("lda", LinearDiscriminantAnalysis()),
    ]
    first = [*feature_steps(features), ("scale", StandardScaler())]
    return {name: clone(SamplingPipeline([*first, *last])) for name, last in steps.items()}


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


def fusion(
    *,
    classifier: Literal["svm", "random_forest", "knn", "xgboost", "vote"] = "svm",
    selection: Literal["anova", "mutual_info", "pca"] | None = "anova",
    n_features: int = 100,
    backbone: Any = "mobilenet_v2",
    layers: str | Sequence[str] = LAYERS,
    pooling: str | Sequence[str] = POOLING,
    input_size: int | tuple[int, ...] = INPUT_SIZE,
    backbone_options: dict | None = None,
    weights: PathLike | None = "imagenet",
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
) -> Pipeline:
    """Make a pipeline of a network, hand-crafted features, selection, SMOTE and a classifier.

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
    backbone_options : dict or None, default=None
        Options of the network's architecture.
    weights : "imagenet", path or None, default="imagenet"
        Weights of the network.
    memory : str, os.PathLike, FeatureStore or None, default=None
        Where `featbus.FeatureBus` keeps the rows.
    n_jobs : int or None, default=None
        Number of batches of images at a time.
    random_state : int, default=0
        Seed of the components, SMOTE and the classifiers, and of random weights.

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
    check_parameters(
        {
            "classifier": [StrOptions({*_CLASSIFIERS, "vote"})],
            "selection": [StrOptions(_SELECTIONS), None],
            "n_features": [POSITIVE_INTEGER],
        },
        {"classifier": classifier, "selection": selection, "n_features": n_features},
    )
    bus = fused_bus(
        backbone,
        layers=layers,
        pooling=pooling,
        input_size=input_size,
        backbone_options=backbone_options,
        weights=weights,
        memory=memory,
        n_jobs=n_jobs,
        random_state=random_state,
    )
    select = _selector(selection, n_features, random_state)
    known = _classifiers(random_state)
    if classifier in ("xgboost", "vote") and "XGBoost" not in known:
        raise ImportError(f'classifier="{classifier}" needs XGBoost. {_NO_XGBOOST}')
    members = {
        name: calibrated(_selecting(select, known[label], random_state))
        for name, label in _CLASSIFIERS.items()
        if label in known
    }
    voted = VotingClassifier([*members.items()], voting="soft")
    return Pipeline(
        [("features", bus), ("classifier", voted if classifier == "vote" else members[classifier])]
    )


def _selector(selection, n_features, random_state):
    """Return the step that leaves some of the columns."""
    if selection is None:
        return "passthrough"
    if selection == "pca":
        return PCA(n_features, random_state=random_state)
    return SelectKBest(f_classif if selection == "anova" else mutual_information, k=n_features)


def _selecting(select, classifier, random_state):
    """Return a pipeline for rows, from scaling to classes."""
    smote = SMOTE(random_state=random_state)
    steps = [
        ("varied", VarianceThreshold()),  # constant columns have no F-value
        ("scale", StandardScaler()),
        ("select", select),
        ("smote", smote),
    ]
    return clone(SamplingPipeline([*steps, ("classifier", classifier)]))
