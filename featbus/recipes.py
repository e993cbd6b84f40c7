"""Recipes: named pipelines, unfitted, ready to be changed."""

from numbers import Integral

from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline as SamplingPipeline
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus.feature_extraction import HOG, LBP, IntensityStatistics
from featbus.parameters import Interval, PairOf, as_pair, check_parameters
from featbus.preprocessing import Resize
from featbus.steps import steps_of

__all__ = ["classifier_pipelines", "fused_features"]

# HOG divides each image into 7 x 7 cells, whatever its size: 1,296 columns, not tens of thousands.
_CELLS = 7


def fused_features(*, deep=None, size=224):
    """Combine hand-crafted features, and those of a network, in one row per image.

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
        ``lbp``, ``intensity`` and, with `deep`, ``deep``.

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
    (4, 1334)
    """
    side = Interval(Integral, _CELLS, None, closed="left")
    check_parameters({"size": [PairOf(side)]}, {"size": size})
    height, width = as_pair(size)
    extractors = [
        ("hog", HOG(pixels_per_cell=(height // _CELLS, width // _CELLS), cells_per_block=(2, 2))),
        ("lbp", LBP()),
        ("intensity", IntensityStatistics()),
    ]
    if deep is not None:
        extractors.append(("deep", deep))
    union = FeatureUnion(extractors, verbose_feature_names_out=False)
    return Pipeline([("resize", Resize(size)), ("features", union)])


def classifier_pipelines(*, features=None, random_state=0):
    """Make pipelines of scaling, SMOTE and each of four classifiers.

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
    from xgboost import XGBClassifier

    smote = SMOTE(random_state=random_state)
    # A few hundred rows do not need 256 bins, nor each tree a thousand columns. One thread, because
    # cross-validation runs fits in parallel.
    xgboost = XGBClassifier(max_bin=64, colsample_bytree=0.3, n_jobs=1, random_state=random_state)
    classifiers = {
        "SVM": [("smote", smote), ("classifier", SVC())],
        "random forest": [
            ("smote", smote),
            ("classifier", RandomForestClassifier(n_estimators=300, random_state=random_state)),
        ],
        "KNN": [
            ("pca", PCA(n_components=0.7)),
            ("smote", smote),
            ("lda", LinearDiscriminantAnalysis()),
            ("classifier", KNeighborsClassifier(n_neighbors=15)),
        ],
        "XGBoost": [("smote", smote), ("classifier", xgboost)],
    }
    first = [*_steps(features), ("scale", StandardScaler())]
    return {name: clone(SamplingPipeline([*first, *steps])) for name, steps in classifiers.items()}


def _steps(features):
    """Return the steps of `features`: imbalanced-learn does not accept pipelines as steps."""
    if features is None:
        return []
    return steps_of(features) if isinstance(features, Pipeline) else [("features", features)]
