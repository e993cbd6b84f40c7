"""Folds that keep groups together, and what is checked of any others."""

import warnings
from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.feature_selection import RFECV, SequentialFeatureSelector
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import (
    StratifiedGroupKFold,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    check_cv,
)
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, column_or_1d

from featbus.evaluation._extraction import search_in

# They split what they are fitted on; cv=None means five folds.
_CROSS_VALIDATING = (
    *(BaseSearchCV, CalibratedClassifierCV, LogisticRegressionCV, RFECV),
    *(SequentialFeatureSelector, StackingClassifier, TunedThresholdClassifierCV),
)


def checked_groups(groups):
    """Return the groups as an array that has a value for every sample."""
    groups = column_or_1d(groups)
    missing = np.flatnonzero(pd.isna(groups))
    if missing.size:
        raise ValueError(
            f"groups has no value for {missing.size} sample(s), the first at {missing[0]}, "
            "expected one for every sample. A sample without known relatives gets its own."
        )
    return groups


def make_splits(cv, X, y, groups, random_state):
    """Return a list of (train, test), arrays of positions."""
    if not isinstance(cv, Integral):
        return list(check_cv(cv).split(X, y, groups))
    if groups is None:
        splitter = StratifiedKFold(cv, shuffle=True, random_state=random_state)
        return list(splitter.split(y, y))
    # Shuffled here, because shuffle=True undid the stratification before scikit-learn 1.8.
    names, codes = np.unique(groups, return_inverse=True)
    order = check_random_state(random_state).permutation(len(names))
    return list(StratifiedGroupKFold(cv).split(y, y, np.argsort(order)[codes]))


def repeat_splits(cv, n_repeats, X, y, groups, seed):
    """Return the splits of all repeats in one list; each repeat has a seed of its own."""
    if not isinstance(n_repeats, Integral) or n_repeats < 1:
        raise ValueError(f"n_repeats is {n_repeats!r}, expected an integer of at least 1.")
    if n_repeats > 1 and not isinstance(cv, Integral):
        raise ValueError(
            f"Got n_repeats={n_repeats} with a cv that says itself how to split, expected a number "
            "of folds. Pass cv=5, or let the splitter repeat: RepeatedStratifiedKFold."
        )
    repeats = (make_splits(cv, X, y, groups, seed + repeat) for repeat in range(n_repeats))
    return [split for splits in repeats for split in splits]


def number_splits(splits, n_samples):
    """Return (repeat, fold) of each split; a repeat begins where tested samples come again."""
    numbers, repeat, fold = [], 0, 0
    tested = np.zeros(n_samples, dtype=bool)
    for _, test in splits:
        if tested[test].any():
            repeat, fold = repeat + 1, 0
            tested[:] = False
        tested[test] = True
        numbers.append((repeat, fold))
        fold += 1
    return numbers


def keep_groups_together(estimator, y, groups, train, seed):
    """Return a clone whose inner cross-validation keeps groups together too.

    Parameters
    ----------
    estimator : estimator
        A search such as `GridSearchCV`, another estimator that cross-validates in `fit`, or a
        pipeline of such steps.
    y, groups : ndarray of shape (n_samples,)
        Classes and groups; None for no groups.
    train : ndarray of int
        Positions of the training part, which the inner cross-validation splits again.
    seed : int
        Seed of the shuffling, where `cv` is a number.

    Returns
    -------
    estimator
        Its `cv` is a list of (train, test), positions within the training part.
    """
    estimator = clone(estimator)
    if groups is None:
        return estimator
    y, groups = y[train], groups[train]
    for name, step in _whole_part_steps(estimator):
        # A str is "prefit", a float the share of one test part.
        if not isinstance(step, _CROSS_VALIDATING) or isinstance(step.cv, (str, float)):
            continue
        splits = make_splits(5 if step.cv is None else step.cv, y, y, groups, seed)
        check_overlap(splits, groups, len(y), of=f"the cv of {type(step).__name__}")
        estimator.set_params(**{f"{name}cv": splits})
    return estimator


def _whole_part_steps(estimator):
    """Yield the prefix and the steps that are fitted on the training part, whole and as it is."""
    if not isinstance(estimator, Pipeline):
        yield "", estimator
        return
    for name, step in estimator.steps:
        if hasattr(step, "fit_resample"):
            break
        yield f"{name}__", step
    else:
        return
    last = search_in(estimator)
    if last is not None:
        raise ValueError(
            f"{type(last).__name__} is behind the sampler {type(step).__name__}: its folds would "
            "hold resampled copies of each other's samples. Put the search around the pipeline: "
            f"{type(last).__name__}(pipeline, ...)."
        )


def check_overlap(splits, groups, n_samples, of=None):
    """Refuse splits that have a group, or else a sample, on both sides."""
    of = "" if of is None else f" of {of}"
    what, ids = ("samples", np.arange(n_samples)) if groups is None else ("groups", groups)
    for fold, (train, test) in enumerate(splits):
        shared = np.intersect1d(ids[train], ids[test]).tolist()
        if shared:
            more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
            raise ValueError(
                f"Fold {fold}{of} has the {what} {shared[:5]}{more} in both its training and its "
                "test part, expected none: its scores would be too optimistic. Pass cv=5, or a "
                "splitter that keeps groups together, such as StratifiedGroupKFold."
            )


def check_classes(splits, y, labels, names):
    """Refuse training parts that lack a class, and warn of test parts that do."""
    unseen = []
    for fold, (train, test) in enumerate(splits):
        missing = [name for label, name in zip(labels, names) if label not in y[train]]
        if missing:
            raise ValueError(
                f"The training part of fold {fold} has no sample of {missing}, expected all "
                "classes. Use other folds; a class needs samples in at least two groups."
            )
        if not np.isin(labels, y[test]).all():
            unseen.append(fold)
    if unseen:
        warnings.warn(
            f"The test parts of the folds {unseen} lack a class. Metrics that need it are NaN "
            "there and left out of the means; fewer folds give each more samples.",
            UserWarning,
            stacklevel=3,
        )
