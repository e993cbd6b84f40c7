"""What a pipeline shows before it runs: misplaced samplers, and steps that are already fitted."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import f
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectFromModel, SelectorMixin, VarianceThreshold, f_classif
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import check_is_fitted

from featbus.model_selection._held import held_estimators
from featbus.steps import all_steps, is_resampler, learns, steps_of, walk

# Attributes in which scikit-learn's estimators store how many samples they were fitted on.
_COUNTS = ("n_samples_seen_", "n_samples_", "n_samples_fit_", "_n_samples")
_MAX_CLASSES, _MAX_SAMPLES = 20, 10**8
# Their steps are fitted in place, where `walk` finds them.
_FITTED_IN_PLACE = (Pipeline, FeatureUnion)


def misplaced_samplers(pipeline):
    """Find samplers that would resample more than the training part.

    Parameters
    ----------
    pipeline : estimator or list
        The pipeline, or the steps of a workflow in order.

    Returns
    -------
    list of estimator
        Samplers that are no step of an imbalanced-learn pipeline. Those inside another sampler, or
        inside an ensemble classifier that resamples in `fit`, are in their place.
    """
    return [
        estimator
        for estimator, parent in walk(pipeline)
        if is_resampler(estimator) and not _may_hold_sampler(parent)
    ]


def _may_hold_sampler(parent):
    if isinstance(parent, Pipeline):
        return hasattr(type(parent), "fit_resample")
    return parent is not None and (is_resampler(parent) or is_classifier(parent))


class FittedStep(NamedTuple):
    """An estimator that learned before the first fold.

    Attributes
    ----------
    name : str
        Its class.
    held : str
        Why no clone of the pipeline fits it again: "frozen" or "in a function"; empty if one does.
    n_samples : int or None
        The number of samples that it was fitted on, None if unknown.
    uses_labels : bool
        Whether it learned from labels.
    """

    name: str
    held: str
    n_samples: int | None
    uses_labels: bool


def fitted_steps(pipeline):
    """Find estimators that were fitted before the first fold.

    Parameters
    ----------
    pipeline : estimator or list
        The pipeline, or the steps of a workflow in order.

    Returns
    -------
    list of FittedStep
        Estimators that do not learn from data are left out.
    """
    steps = [estimator for estimator, _ in walk(pipeline)]
    inside = [all_steps(step) if isinstance(step, FrozenEstimator) else [step] for step in steps]
    held = _find_held(step for parts in inside for step in parts)
    among_held = {id(estimator) for estimator in held}
    found = [
        _describe(estimator, "frozen" if isinstance(estimator, FrozenEstimator) else "")
        for estimator in steps
        if id(estimator) not in among_held
        and not isinstance(estimator, _FITTED_IN_PLACE)
        and _has_learned(estimator)
    ]
    return found + [_describe(estimator, "in a function") for estimator in held]


def _find_held(steps):
    """Return the fitted estimators that functions of the steps hold, and those that these hold."""
    found, seen, steps = [], set(), list(steps)
    while steps:
        for inner in held_estimators(steps.pop()):
            if id(inner) in seen:
                continue
            seen.add(id(inner))
            if _has_learned(inner):
                found.append(inner)
            else:
                steps += all_steps(inner)
    return found


def _describe(estimator, held):
    inner = estimator
    while isinstance(inner, FrozenEstimator):
        inner = inner.estimator
    uses_labels = any(map(_uses_labels, all_steps(inner)))
    return FittedStep(type(inner).__name__, held, _n_samples(inner), uses_labels)


def _has_learned(estimator):
    if isinstance(estimator, (FrozenEstimator, *_FITTED_IN_PLACE)):
        return any(_has_learned(step) for _, step in steps_of(estimator))
    if not (hasattr(estimator, "__sklearn_tags__") and hasattr(estimator, "fit")):
        return False
    if not learns(estimator):
        return False
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def _uses_labels(estimator):
    """Tell whether an estimator learns from classes or values; masks of images do not count."""
    if isinstance(estimator, SelectorMixin):
        return not isinstance(estimator, VarianceThreshold)
    return is_classifier(estimator) or is_regressor(estimator) or hasattr(estimator, "classes_")


def _n_samples(estimator):
    """Return the largest number of samples that an estimator or a step inside it tells of."""
    counts = [_own_count(step) for step in all_steps(estimator)]
    return max((count for count in counts if count is not None), default=None)


def _own_count(step):
    if isinstance(step, SelectFromModel):
        return _n_samples(getattr(step, "estimator_", None))
    counts = [getattr(step, name) for name in _COUNTS if getattr(step, name, None) is not None]
    if counts:
        return int(max(map(np.max, counts)))
    if getattr(step, "score_func", None) is f_classif:
        return _count_of_f_test(step.scores_, step.pvalues_)
    return None


def _count_of_f_test(scores, p_values):
    """Return the number of samples that explains the p-values of an analysis of variance."""
    usable = np.isfinite(scores) & (scores > 1) & (p_values > 1e-100)
    if not usable.any():
        return None
    scores, p_values = scores[usable], p_values[usable]
    best = np.argmax(scores)
    for n_classes in range(2, _MAX_CLASSES + 1):

        def excess(count, freedom=n_classes - 1):
            return f.sf(scores[best], freedom, count - 1 - freedom) - p_values[best]

        if excess(n_classes + 1) * excess(_MAX_SAMPLES) > 0:
            continue
        count = round(brentq(excess, n_classes + 1, _MAX_SAMPLES))
        expected = f.sf(scores, n_classes - 1, count - n_classes)
        if np.allclose(expected, p_values, rtol=1e-4, atol=0):
            return count
    return None
