"""What a pipeline shows before it runs: misplaced samplers, and steps that are already fitted."""

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import check_is_fitted

from featbus.steps import all_steps, is_resampler, learns, steps_of, walk

# Attributes in which scikit-learn's estimators store how many samples they were fitted on.
_COUNTS = ("n_samples_seen_", "n_samples_", "n_samples_fit_")
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


def fitted_steps(pipeline):
    """Find estimators that were fitted before the first fold.

    Parameters
    ----------
    pipeline : estimator or list
        The pipeline, or the steps of a workflow in order.

    Returns
    -------
    list of (estimator, bool, int or None)
        The estimator, whether it is frozen, and the number of samples that it was fitted on, None
        if unknown. Estimators that do not learn from data are left out.
    """
    return [
        (estimator, isinstance(estimator, FrozenEstimator), _n_samples(estimator))
        for estimator, _ in walk(pipeline)
        if not isinstance(estimator, _FITTED_IN_PLACE) and _has_learned(estimator)
    ]


def _has_learned(estimator):
    if isinstance(estimator, (FrozenEstimator, *_FITTED_IN_PLACE)):
        return any(_has_learned(step) for _, step in steps_of(estimator))
    if not hasattr(estimator, "__sklearn_tags__") or not learns(estimator):
        return False
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):  # TypeError: it has no fit
        return False
    return True


def _n_samples(estimator):
    """Return the largest number of samples that an estimator or a step inside it reports."""
    counts = [getattr(step, name, None) for step in all_steps(estimator) for name in _COUNTS]
    return max((int(np.max(count)) for count in counts if count is not None), default=None)
