"""Folds that keep groups together, and what is checked of any others."""

import warnings
from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, check_cv
from sklearn.utils import check_random_state, column_or_1d


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


def check_overlap(splits, groups, n_samples):
    """Refuse splits that have a group, or else a sample, on both sides."""
    what, ids = ("samples", np.arange(n_samples)) if groups is None else ("groups", groups)
    for fold, (train, test) in enumerate(splits):
        shared = np.intersect1d(ids[train], ids[test]).tolist()
        if shared:
            more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
            raise ValueError(
                f"Fold {fold} has the {what} {shared[:5]}{more} in both its training and its test "
                "part, expected none: its scores would be too optimistic. Pass cv=5, or a "
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
