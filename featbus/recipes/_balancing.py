"""One classifier, balanced in different ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline as SamplingPipeline
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from featbus.recipes._parts import feature_steps

if TYPE_CHECKING:
    from typing import Any

    import numpy as np


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
    ways = {
        "SMOTE": (SMOTE(random_state=random_state), None),
        "class weights": ("passthrough", "balanced"),
        "no balancing": ("passthrough", None),
    }
    first = [*feature_steps(features), ("scale", StandardScaler())]
    return {
        name: clone(
            SamplingPipeline([*first, ("smote", smote), ("classifier", _logistic(weights))])
        )
        for name, (smote, weights) in ways.items()
    }


def _logistic(class_weight):
    return LogisticRegression(C=0.003, class_weight=class_weight, max_iter=1000)
