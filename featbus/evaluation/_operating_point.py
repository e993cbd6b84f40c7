"""Operating points: thresholds of the positive class, chosen within the training part."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics import make_scorer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import HasMethods

from featbus.parameters import Interval, check_parameters
from featbus.steps import is_search, split_extraction

_THRESHOLDS = 500  # that are tried
_CONSTRAINTS = {
    "pipeline": [HasMethods(["fit", "predict"])],
    "sensitivity": [Interval(Real, 0, 1, closed="right")],
}


def score_specificity(y_true, y_pred, *, pos_label, sensitivity):
    """Score predictions by their specificity, less a penalty where the sensitivity is too low.

    Parameters
    ----------
    y_true, y_pred : ndarray of shape (n_samples,)
        True and predicted classes.
    pos_label : label
        The positive class.
    sensitivity : float
        The sensitivity wanted.

    Returns
    -------
    float
        The score. Half a point is subtracted for as many missed samples as the sensitivity allows.
    """
    positive, called = np.equal(y_true, pos_label), np.equal(y_pred, pos_label)
    missing = sensitivity - called[positive].mean() if positive.any() else 0
    specificity = 1 - called[~positive].mean() if not positive.all() else 1
    return float(specificity - max(missing, 0) * 0.5 / max(1 - sensitivity, 1e-3))


def at_sensitivity(pipeline: Any, sensitivity: float, *, pos_label: str | int = 1) -> Any:
    """Let a classifier of two classes choose its threshold for a sensitivity.

    Read more in the :ref:`User Guide <operating_point>`.

    Parameters
    ----------
    pipeline : estimator
        A classifier, usually a pipeline from images to classes. It is cloned, not fitted.
    sensitivity : float
        The sensitivity wanted, above 0 and up to 1.
    pos_label : str or int, default=1
        The class that has to be found, a label of `y`: of labels that are text, name it here, such
        as ``pos_label="malignant"``. The parameter `pos_label` of `evaluate` does not replace it.

    Returns
    -------
    estimator
        A pipeline whose last step is a `TunedThresholdClassifierCV`: it takes the threshold with
        the highest specificity, less a penalty for what is missing of the sensitivity, on average
        over five inner folds. Steps from image to row that learn nothing stay in front of it.

    Raises
    ------
    ValueError
        If a parameter is invalid; in `fit`, if there are more than two classes, or `pos_label` is
        none of them.

    See Also
    --------
    evaluate : Says which sensitivity and specificity are reached in the outer folds.

    Notes
    -----
    The sensitivity is aimed at, not guaranteed: in simulations with 160 patients, 0.78 and 0.81
    were reached on average for 0.8, and 0.96 and 0.97 for 0.95. `evaluate` measures it in the outer
    folds.

    In `evaluate` and `featbus train`, the inner folds keep groups together. The threshold is chosen
    by image, also where groups are judged. Other estimators inside the pipeline that cross-validate
    in `fit`, such as `CalibratedClassifierCV`, split the training parts of the inner folds by
    image.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from featbus.evaluation import at_sensitivity, evaluate
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 100)
    >>> X, patient = rng.normal(size=(200, 2)) + y[:, np.newaxis], np.arange(200) // 2
    >>> model = at_sensitivity(LogisticRegression(), 0.95)
    >>> result = evaluate(model, X, y, groups=patient)
    >>> bool(result.scores["sensitivity"].mean() > 0.9)
    True
    """
    check_parameters(_CONSTRAINTS, locals())
    steps, rest = split_extraction(clone(pipeline))
    scoring = make_scorer(score_specificity, pos_label=pos_label, sensitivity=sensitivity)
    tuned = TunedThresholdClassifierCV(rest, scoring=scoring, thresholds=_THRESHOLDS)
    return Pipeline([*steps, ("operating_point", tuned)]) if steps else tuned


def find_threshold(model: Any):
    """Return the operating point of a fitted classifier of two classes.

    Parameters
    ----------
    model : estimator
        A classifier, usually a pipeline.

    Returns
    -------
    (int, float) or None
        Position in `classes_` of the class that is predicted if its score reaches the threshold,
        and the threshold. None if the last step is no `TunedThresholdClassifierCV`, nor a
        `FixedThresholdClassifier` with a number.
    """
    while is_search(model) or isinstance(model, Pipeline):
        model = model.best_estimator_ if is_search(model) else model.steps[-1][1]
    if isinstance(model, TunedThresholdClassifierCV):
        label, threshold = model._curve_scorer._get_pos_label(), model.best_threshold_
    elif isinstance(model, FixedThresholdClassifier) and model.threshold != "auto":
        label, threshold = model.pos_label, model.threshold
    else:
        return None
    if model.response_method == "decision_function" and hasattr(model, "predict_proba"):
        raise ValueError(
            f"The threshold of {type(model).__name__} is one of decision values, and the model has "
            "probabilities. Pass response_method='auto'."
        )
    position = 1 if label is None else model.classes_.tolist().index(label)
    return position, float(threshold)
