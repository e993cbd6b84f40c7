"""What a pipeline shows before it runs: misplaced samplers, and steps that are already fitted."""

from functools import partial
from inspect import getclosurevars, isfunction
from typing import NamedTuple

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectorMixin, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import check_is_fitted

from featbus.steps import all_steps, is_estimator, is_resampler, learns, steps_of, walk

# Attributes in which scikit-learn's estimators store how many samples they were fitted on.
_COUNTS = ("n_samples_seen_", "n_samples_", "n_samples_fit_", "_n_samples")
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
    """Return the fitted estimators that functions and dicts among the parameters of steps hold."""
    values = [value for step in steps for value in step.get_params(deep=False).values()]
    found = {id(item): item for value in values for item in _inside(value) if is_estimator(item)}
    return [estimator for estimator in found.values() if _has_learned(estimator)]


def _inside(value):
    """Return what a function or a dict refers to, which `sklearn.base.clone` copies as it is."""
    inside = [getattr(value, "__self__", None)]
    if isinstance(value, partial):
        inside += [*_inside(value.func), *value.args, *value.keywords.values()]
    elif isinstance(value, dict):
        inside += value.values()
    elif isfunction(value):
        used = getclosurevars(value)
        inside += [*used.nonlocals.values(), *used.globals.values(), *(value.__defaults__ or ())]
        inside += (value.__kwdefaults__ or {}).values()
    return inside + [getattr(item, "__self__", None) for item in inside]


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
    """Return whether an estimator learns from classes or values; masks of images do not count."""
    if isinstance(estimator, SelectorMixin):
        return not isinstance(estimator, VarianceThreshold)
    return is_classifier(estimator) or is_regressor(estimator) or hasattr(estimator, "classes_")


def _n_samples(estimator):
    """Return the largest number of samples that an estimator or a step inside it stores."""
    counts = [_own_count(step) for step in all_steps(estimator)]
    return max((count for count in counts if count is not None), default=None)


def _own_count(step):
    counts = [getattr(step, name) for name in _COUNTS if getattr(step, name, None) is not None]
    return int(max(map(np.max, counts))) if counts else None
