"""What a pipeline shows before it runs: misplaced samplers, and steps that are already fitted."""

from functools import partial
from inspect import getclosurevars, isfunction
from typing import NamedTuple

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.feature_selection import SelectorMixin, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import _is_fitted

from featbus.steps import all_steps, is_estimator, is_resampler, learns, steps_of, unwrap, walk

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
        Samplers that are not a step of an imbalanced-learn pipeline, except those inside another
        sampler, or inside an ensemble classifier that resamples in `fit`.
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
    """An estimator that was fitted before the first fold.

    Attributes
    ----------
    name : str
        Its class.
    held : str
        Why no clone of the pipeline fits it again: "frozen" or "in a function"; else empty.
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
        Without estimators that do not learn from data.
    """
    steps = [estimator for estimator, _ in walk(pipeline)]
    values = [value for step in steps for value in step.get_params(deep=False).values()]
    held = {id(item): item for value in values for item in _inside(value) if is_estimator(item)}
    found = [
        (step, "frozen" if isinstance(step, FrozenEstimator) else "")
        for step in steps
        if not isinstance(step, _FITTED_IN_PLACE)
    ]
    found += [(step, "in a function") for step in held.values()]
    return [_describe(step, how) for step, how in found if _has_learned(step)]


def _inside(value):
    """Return what a function refers to, which `sklearn.base.clone` copies as it is."""
    inside = []
    if isinstance(value, partial):
        inside = [value.func, *value.args, *value.keywords.values()]
    elif isfunction(value):
        used = getclosurevars(value)
        inside = [*used.nonlocals.values(), *used.globals.values()]
    return [getattr(value, "__self__", None), *(getattr(item, "__self__", item) for item in inside)]


def _has_learned(estimator):
    if isinstance(estimator, (FrozenEstimator, *_FITTED_IN_PLACE)):
        return any(_has_learned(step) for _, step in steps_of(estimator))
    is_known = hasattr(estimator, "__sklearn_tags__") and hasattr(estimator, "fit")
    return is_known and learns(estimator) and _is_fitted(estimator)


def _describe(estimator, held):
    inner = unwrap(estimator)
    steps = [*all_steps(inner)]
    counts = [np.max(getattr(step, name, 0)) for step in steps for name in _COUNTS]
    n_samples = int(max(counts)) or None
    return FittedStep(type(inner).__name__, held, n_samples, any(map(_uses_labels, steps)))


def _uses_labels(estimator):
    """Return whether an estimator learns from classes or values; masks of images do not count."""
    if isinstance(estimator, SelectorMixin):
        return not isinstance(estimator, VarianceThreshold)
    return is_classifier(estimator) or is_regressor(estimator) or hasattr(estimator, "classes_")
