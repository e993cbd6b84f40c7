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
from sklearn.linear_model import LogisticRegressionCV, RidgeClassifierCV
from sklearn.model_selection import TunedThresholdClassifierCV

from featbus.groups import N_FOLDS, make_splits
from featbus.steps import all_steps, is_resampler, is_search, steps_of

# Estimators other than searches that cross-validate in `fit`; cv=None means five folds.
_CROSS_VALIDATING = (
    *(CalibratedClassifierCV, LogisticRegressionCV, RFECV, SequentialFeatureSelector),
    *(RidgeClassifierCV, StackingClassifier, TunedThresholdClassifierCV),
)


def repeat_splits(cv, n_repeats, X, y, groups, seed):
    """Return the splits of all repeats in one list; each repeat adds 1 to the seed."""
    if n_repeats > 1 and not isinstance(cv, Integral):
        raise ValueError(
            f"n_repeats is {n_repeats} and cv is a {type(cv).__name__}, expected a number of folds "
            "to repeat: pass cv=5. Or let the splitter repeat: RepeatedStratifiedKFold."
        )
    repeats = (make_splits(cv, X, y, groups, seed + repeat) for repeat in range(n_repeats))
    return [split for splits in repeats for split in splits]


def as_text(values):
    """Return an array of text, "unknown" where values are missing."""
    return np.where(pd.isna(values), "unknown", pd.Series(values).astype(str))


def split_by_value(values, groups):
    """Return a split for each value, whose samples are tested.

    Parameters
    ----------
    values, groups : ndarray of shape (n_samples,)
        Such as the site of each sample, and its group; None for no groups.

    Returns
    -------
    list of (ndarray of int, ndarray of int)
        Positions of the training and test parts. No sample of a tested group is trained on.
    """
    splits = []
    for value in np.unique(values):
        test = values == value
        apart = test if groups is None else np.isin(groups, groups[test])
        splits.append((np.flatnonzero(~apart), np.flatnonzero(test)))
    return splits


def number_splits(splits):
    """Return (repeat, fold) of each split; a repeat begins when a sample is tested again."""
    numbers, repeat, fold, tested = [], 0, 0, set()
    for _, test in splits:
        if not tested.isdisjoint(test):
            repeat, fold, tested = repeat + 1, 0, set()
        tested.update(test)
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
        if not isinstance(step.cv, str):  # "prefit"
            splits = make_splits(step.cv, y, y, groups, seed)
            check_overlap(splits, groups, len(y), of=f" of the cv of {type(step).__name__}")
            estimator.set_params(**{f"{prefix}cv": splits})
    return estimator


def restore_cv(fitted, original):
    """Give an estimator that was fitted after `keep_groups_together` the `cv` of the original.

    The positions that it has instead are those of one data set: with them, no clone could be
    fitted to another one.

    Parameters
    ----------
    fitted, original : estimator
        The fitted estimator, which is changed, and what it was made from.
    """
    for prefix, step in _cross_validating(original):
        fitted.set_params(**{f"{prefix}cv": step.cv})
    for vote in all_steps(fitted):
        if isinstance(vote, VotingClassifier):
            for name, member in vote.estimators:
                if name in vote.named_estimators_:
                    restore_cv(vote.named_estimators_[name], member)


def _cross_validating(estimator, prefix=""):
    """Yield estimators that cross-validate on the whole training part, and their prefixes."""
    if is_search(estimator) or isinstance(estimator, _CROSS_VALIDATING):
        yield prefix, estimator
    elif not isinstance(estimator, FrozenEstimator):
        is_vote = isinstance(estimator, VotingClassifier)
        for name, step in estimator.estimators if is_vote else steps_of(estimator):
            if is_resampler(step):
                # The folds of a search would contain resampled copies of each other's samples.
                for search in filter(is_search, estimator.get_params().values()):
                    raise ValueError(
                        f"{type(search).__name__} comes after the sampler {type(step).__name__}, "
                        "expected a search around the pipeline: its folds would share samples."
                    )
                return
            yield from _cross_validating(step, f"{prefix}{name}__")


def check_overlap(splits, groups, n_samples, of="", names=None):
    """Refuse splits with a group, or without groups a sample, on both sides.

    Messages name groups by the `names` of their samples, if there are any.
    """
    what, ids = ("samples", np.arange(n_samples)) if groups is None else ("groups", groups)
    known = ids if names is None else np.asarray(names)
    for fold, (train, test) in enumerate(splits):
        shared = pd.unique(known[np.isin(ids, np.intersect1d(ids[train], ids[test]))]).tolist()
        if shared:
            more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
            raise ValueError(
                f"Fold {fold}{of} has the {what} {shared[:5]}{more} in both its training and its "
                f"test part, expected none. Pass cv={N_FOLDS}, which keeps groups together."
            )


def check_classes(splits, y, judged, labels, names):
    """Refuse training parts that lack a class, and warn about test parts that do.

    `judged` are the classes of what is tested, which may be groups.
    """
    unseen = []
    for fold, (train, test) in enumerate(splits):
        missing = [name for label, name in zip(labels, names) if label not in y[train]]
        if missing:
            raise ValueError(
                f"The training part of fold {fold} has no sample of {missing}, expected all "
                "classes. Use other folds; a class needs samples in at least two groups."
            )
        unseen += [] if np.isin(labels, judged[test]).all() else [fold]
    if unseen:
        warnings.warn(
            f"The test parts of the folds {unseen} lack a class: metrics that need it are NaN "
            "there and left out of the means. Use fewer folds, or add samples of the class.",
            UserWarning,
            stacklevel=3,
        )
