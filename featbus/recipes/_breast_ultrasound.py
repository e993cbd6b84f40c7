"""Breast ultrasound: what a frozen network and hand-crafted features are worth together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.decomposition import PCA
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus.recipes._fused import INPUT_SIZE, LAYERS, POOLING, fused_bus
from featbus.recipes._parts import calibrated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from featbus.bus._store import FeatureStore
    from featbus.typing import PathLike


def breast_ultrasound_features(
    *,
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
    """Make the recommended pipeline for breast ultrasound: fused features and a soft vote.

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
    backbone_options : dict or None, default=None
        Options of the network's architecture.
    weights : "imagenet", path or None, default="imagenet"
        Weights of the network.
    memory : str, os.PathLike, FeatureStore or None, default=None
        Where `featbus.FeatureBus` keeps the rows.
    n_jobs : int or None, default=None
        Number of batches of images at a time.
    random_state : int, default=0
        Seed of random weights.

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
    The settings were chosen on part of BUSI; the user guide has the scores of this choice made
    anew in each training part. Classes are neither resampled nor weighted: this changes no ROC AUC,
    and probabilities stay those of the frequencies of the classes in training.

    Examples
    --------
    >>> from featbus.recipes import breast_ultrasound_features
    >>> recipe = breast_ultrasound_features(backbone_options={"alpha": 0.35})
    >>> list(recipe["classifier"].named_estimators)
    ['logistic', 'svm']
    """
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
    return Pipeline([("features", bus), ("classifier", _vote())])


def _vote():
    """Return the vote of a linear classifier and one that is not."""
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=1000))
    svm = make_pipeline(StandardScaler(), PCA(0.8), SVC(C=3))
    return VotingClassifier([("logistic", logistic), ("svm", calibrated(svm))], voting="soft")
