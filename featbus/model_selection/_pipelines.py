"""What can be seen of a pipeline before it runs: samplers in the wrong place, fitted steps."""

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

# Where scikit-learn's estimators keep how many samples they were fitted on.
_COUNTS = ("n_samples_seen_", "n_samples_", "n_samples_fit_")


def walk(value, parent=None):
    """Find the estimators inside an estimator, a list or a dict.

    Parameters
    ----------
    value : object
        Where to look.
    parent : estimator, default=None
        Whose parameter `value` is.

    Yields
    ------
    (estimator, estimator or None)
        An estimator, itself first, and the one whose parameter it is. What is frozen is not looked
        into.
    """
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from walk(item, parent)
    elif isinstance(value, dict):
        yield from walk(list(value.values()), parent)
    elif hasattr(value, "get_params") and not isinstance(value, type):
        yield value, parent
        if not isinstance(value, FrozenEstimator):
            yield from walk(value.get_params(deep=False), value)


def misplaced_samplers(pipeline):
    """Find samplers that would act on more than the training part.

    Parameters
    ----------
    pipeline : estimator or list
        The pipeline, or what happens one after another.

    Returns
    -------
    list of estimator
        Whatever has `fit_resample` and is no step of an imbalanced-learn pipeline; parts of another
        sampler or of an ensemble classifier, which resamples in `fit`, are in their place.
    """
    return [
        estimator
        for estimator, parent in walk(pipeline)
        if hasattr(estimator, "fit_resample")
        and not isinstance(estimator, Pipeline)
        and not _may_hold_sampler(parent)
    ]


def _may_hold_sampler(parent):
    from imblearn.pipeline import Pipeline as SamplingPipeline

    if isinstance(parent, Pipeline):
        return isinstance(parent, SamplingPipeline)
    return parent is not None and (hasattr(parent, "fit_resample") or is_classifier(parent))


def fitted_steps(pipeline):
    """Find estimators that learned before the first fold.

    Parameters
    ----------
    pipeline : estimator or list
        The pipeline.

    Returns
    -------
    list of (estimator, bool, int or None)
        The estimator, whether it is frozen, and the number of samples that it was fitted on, where
        it tells. What learns nothing from data is left out.
    """
    return [
        (estimator, isinstance(estimator, FrozenEstimator), _n_samples(estimator))
        for estimator, _ in walk(pipeline)
        if _has_learned(estimator)
    ]


def _has_learned(estimator):
    if isinstance(estimator, FrozenEstimator):
        return any(_has_learned(inner) for inner, _ in walk(estimator.estimator))
    if hasattr(estimator, "steps") or hasattr(estimator, "transformer_list"):
        return False  # its steps are looked at one by one
    if not hasattr(estimator, "__sklearn_tags__") or not get_tags(estimator).requires_fit:
        return False
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):  # TypeError: it has no fit
        return False
    return True


def _n_samples(estimator):
    """Return the largest number of samples that an estimator or its steps say they have seen."""
    if isinstance(estimator, FrozenEstimator):
        counts = (_n_samples(inner) for inner, _ in walk(estimator.estimator))
    else:
        counts = (getattr(estimator, name, None) for name in _COUNTS)
    known = [int(np.max(count)) for count in counts if count is not None]
    return max(known, default=None)
