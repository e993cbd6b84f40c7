"""Folds that keep groups together, and the checks of any others."""

import warnings
from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.feature_selection import RFECV, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import PredefinedSplit, TunedThresholdClassifierCV, check_cv

from featbus.groups import N_FOLDS, stratified_folds
from featbus.steps import is_resampler, is_search, search_in, steps_of
from featbus.wording import argument

# They split what they are fitted on; cv=None means five folds.
_CROSS_VALIDATING = (
    *(CalibratedClassifierCV, LogisticRegressionCV, RFECV, SequentialFeatureSelector),
    *(StackingClassifier, TunedThresholdClassifierCV),
)


def make_splits(cv, X, y, groups, random_state):
    """Return a list of (train, test), arrays of positions; five folds if `cv` is None."""
    cv = N_FOLDS if cv is None else cv
    if isinstance(cv, Integral):
        return stratified_folds(y, groups, cv, random_state)
    # A predefined split would warn that it ignores groups; `check_overlap` looks at them.
    groups = None if isinstance(cv, PredefinedSplit) else groups
    positions = np.arange(len(y))  # for splits that are masks
    splits = check_cv(cv).split(X, y, groups)
    return [(positions[train], positions[test]) for train, test in splits]


def repeat_splits(cv, n_repeats, X, y, groups, seed):
    """Return the splits of all repeats in one list; each repeat adds 1 to the seed."""
    if n_repeats > 1 and not isinstance(cv, Integral):
        raise ValueError(
            f"n_repeats is {n_repeats} and cv is a {type(cv).__name__}, expected a number of folds "
            "to repeat: pass cv=5. Or let the splitter repeat: RepeatedStratifiedKFold."
        )
    repeats = (make_splits(cv, X, y, groups, seed + repeat) for repeat in range(n_repeats))
    return [split for splits in repeats for split in splits]


def number_splits(splits, n_samples):
    """Return (repeat, fold) of each split; a repeat begins when a sample is tested again."""
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
    """Return a clone whose inner cross-validation keeps groups together, too.

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
        Seed of the shuffling, if `cv` is a number.

    Returns
    -------
    estimator
        Each `cv` is a list of (train, test), positions within the training part.
    """
    estimator = clone(estimator)
    if groups is None:
        return estimator
    y, groups = y[train], groups[train]
    for prefix, step in _cross_validating(estimator):
        # A str is "prefit", a float the share of one test part.
        if not isinstance(step.cv, (str, float)):
            splits = make_splits(step.cv, y, y, groups, seed)
            check_overlap(splits, groups, len(y), of=f" of the cv of {type(step).__name__}")
            estimator.set_params(**{f"{prefix}cv": splits})
    return estimator


def _cross_validating(estimator, prefix=""):
    """Yield estimators that cross-validate on the whole training part, and their prefixes."""
    if is_search(estimator) or isinstance(estimator, _CROSS_VALIDATING):
        yield prefix, estimator
    elif not isinstance(estimator, FrozenEstimator):
        is_vote = isinstance(estimator, VotingClassifier)
        for name, step in estimator.estimators if is_vote else steps_of(estimator):
            if is_resampler(step):
                _refuse_search_after(step, estimator)
                return
            yield from _cross_validating(step, f"{prefix}{name}__")


def _refuse_search_after(sampler, pipeline):
    search = search_in(pipeline)
    if search is not None:
        name = type(search).__name__
        raise ValueError(
            f"{name} comes after the sampler {type(sampler).__name__}: its folds would contain "
            "resampled copies of each other's samples. Put the search around the pipeline: "
            f"{name}(pipeline, ...)."
        )


def check_overlap(splits, groups, n_samples, of="", names=None):
    """Refuse splits with a group, or without groups a sample, on both sides.

    Messages name groups by the `names` of their samples, if there are any.
    """
    what, ids = ("samples", np.arange(n_samples)) if groups is None else ("groups", groups)
    for fold, (train, test) in enumerate(splits):
        shared = np.intersect1d(ids[train], ids[test])
        if shared.size:
            known = ids if names is None else np.asarray(names)
            shared = pd.unique(known[np.isin(ids, shared)]).tolist()
            more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
            raise ValueError(
                f"Fold {fold}{of} has the {what} {shared[:5]}{more} in both its training and its "
                "test part, expected none: its scores would be too optimistic. Pass "
                f"{argument('cv', 5)}, which keeps groups together."
            )


def check_classes(splits, y, labels, names, is_given):
    """Refuse training parts that lack a class, and warn about test parts that do.

    Splits that are given, not made of a number of folds, call for another remedy.
    """
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
        where = f"test parts of the folds {unseen} lack" if len(splits) > 1 else "test part lacks"
        given = f"add samples of it, or use folds: {argument('cv', N_FOLDS)}"
        remedy = given if is_given else "fewer folds give each more samples"
        warnings.warn(
            f"The {where} a class. Metrics that need it are NaN there and left out of the means; "
            f"{remedy}.",
            UserWarning,
            stacklevel=3,
        )
