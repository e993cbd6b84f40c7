"""Samples in groups: checked targets and groups, stratified folds, merged groups, bootstrap."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import PredefinedSplit, StratifiedGroupKFold, StratifiedKFold, check_cv
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.multiclass import check_classification_targets

N_FOLDS = 5  # if nobody says how many
# Said wherever groups are None.
GROUPS_UNKNOWN = "groups unknown: every image counted as its own patient"
GROUPS_FOUND = "groups are near-duplicates found in the images, not patients"


class GroupsWarning(UserWarning):
    """It is unknown which images belong together; scores from any split are too optimistic.

    Read more in the :ref:`User Guide <datasets>`.

    See Also
    --------
    featbus.find_near_duplicates : Find images of the same scene.
    featbus.evaluate : Keep groups together.
    """


class Groups(np.ndarray):
    """Groups that say what is doubtful about them, wherever they are selected from or copied.

    Parameters
    ----------
    values : array_like of shape (n_samples,)
        The groups.
    note : str
        What is doubtful; also an attribute. Empty if nothing is.
    """

    def __new__(cls, values, note):
        groups = np.asarray(values).view(cls)
        groups.note = note
        return groups

    def __array_finalize__(self, other):
        self.note = getattr(other, "note", "")

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return np.asarray(array)[()]  # what is computed from groups are no groups

    def __reduce__(self):
        return Groups, (np.asarray(self), self.note)


def find_doubt(groups):
    """Return what is doubtful about groups.

    Parameters
    ----------
    groups : array_like or None
        Groups, before `check_groups`.

    Returns
    -------
    str
        That they are unknown, the note of `Groups`, or nothing.
    """
    return GROUPS_UNKNOWN if groups is None else getattr(groups, "note", "")


def check_target(y):
    """Check the class of each sample.

    Parameters
    ----------
    y : array_like of shape (n_samples,)
        Classes; integers or strings.

    Returns
    -------
    y : ndarray of shape (n_samples,)
        The target as an array.
    labels : ndarray of shape (n_classes,)
        The classes, sorted.
    codes : ndarray of int of shape (n_samples,)
        The position of each sample's class in `labels`.

    Raises
    ------
    ValueError
        If a value is missing, `y` is not a target of a classifier, its labels are of several
        types, or it has a single class.
    """
    if y is None:
        raise ValueError("y is None, expected the class of each sample.")
    y = column_or_1d(_as_objects(y), warn=True)
    _check_not_missing(y, "y", "the class of each sample. Leave out samples without a class.")
    y = _with_plain_dtype(y)
    if y.dtype == object:
        kinds = sorted({type(label).__name__ for label in y})
        raise ValueError(
            f"y has labels of type {' and '.join(kinds)}, expected integers or strings, one type "
            "for all. Convert them, such as by astype(str)."
        )
    check_classification_targets(y)
    labels, codes = np.unique(y, return_inverse=True)
    if len(labels) < 2:
        raise ValueError(
            f"y has 1 class, {labels.tolist()[0]!r}, expected at least two classes. Add samples of "
            "another class."
        )
    return y, labels, codes


def check_groups(groups):
    """Check the group of each sample.

    Parameters
    ----------
    groups : array_like of shape (n_samples,), or None
        Groups, such as patients. Values of several types are compared as text.

    Returns
    -------
    ndarray of shape (n_samples,), or None
        The groups as an array; None if `groups` is None.

    Raises
    ------
    ValueError
        If a value is missing.
    """
    if groups is None:
        return None
    groups = column_or_1d(_as_objects(groups))
    _check_not_missing(
        groups, "groups", "one for each. A sample without known relatives gets a group of its own."
    )
    groups = _with_plain_dtype(groups)
    # Of several types, which have no order: 7 and "7" are one group, as in a table of text.
    return groups.astype(str) if groups.dtype == object else groups


def _as_objects(values):
    """Return pandas' own types as objects: scikit-learn makes floats of them, 2**53 + 1 too."""
    values = values.squeeze("columns") if isinstance(values, pd.DataFrame) else values
    if isinstance(getattr(values, "dtype", None), pd.api.extensions.ExtensionDtype):
        return np.asarray(values, dtype=object)
    return np.array(values, dtype=object) if isinstance(values, (list, tuple)) else values


def _with_plain_dtype(values):
    """Return an array of objects as one of numbers or text, if all are one or the other."""
    if values.dtype != object:
        return values
    kinds = [str, (bool, np.bool_), (Real, np.number)]
    is_one = any(all(isinstance(value, kind) for value in values) for kind in kinds)
    return np.array(values.tolist()) if is_one else values


def _check_not_missing(values, name, expected):
    missing = np.flatnonzero(pd.isna(values))
    if missing.size:
        raise ValueError(
            f"{name} is NaN or None for {missing.size} sample(s), the first at {missing[0]}, "
            f"expected {expected}"
        )


def count_groups(codes, groups):
    """Count the groups of each class; without groups, the samples.

    Parameters
    ----------
    codes : ndarray of int of shape (n_samples,)
        The classes, numbered from 0.
    groups : ndarray of shape (n_samples,), or None
        Groups.

    Returns
    -------
    list of int
        One number per class.
    """
    names = np.arange(len(codes)) if groups is None else np.asarray(groups)
    return [len(np.unique(names[codes == code])) for code in np.unique(codes)]


def describe_samples(codes, names, groups):
    """Describe in words how many samples, groups and samples of each class there are.

    Parameters
    ----------
    codes : ndarray of int of shape (n_samples,)
        The classes, numbered from 0.
    names : sequence of length n_classes
        Their names.
    groups : ndarray of shape (n_samples,), or None
        Groups.

    Returns
    -------
    str
        Such as "40 samples in 20 groups (benign 30, malignant 10)".
    """
    counts = ", ".join(f"{name} {n}" for name, n in zip(names, np.bincount(codes)))
    within = "" if groups is None else f" in {len(np.unique(groups))} groups"
    return f"{len(codes)} samples{within} ({counts})"


def check_folds(y, groups, cv):
    """Check that there is a group of each class for each fold.

    Parameters
    ----------
    y : array_like of shape (n_samples,)
        Classes.
    groups : ndarray of shape (n_samples,), or None
        Groups; None counts each sample as a group.
    cv : int, splitter or iterable
        Number of folds; anything else is not checked.

    Raises
    ------
    InvalidParameterError
        If there are fewer.
    ValueError
        If `y` has a single class.
    """
    _, labels, codes = check_target(y)
    counts = count_groups(codes, groups)
    fewest, what = min(counts), "samples" if groups is None else "groups"
    if isinstance(cv, Integral) and fewest < cv:
        name = labels[counts.index(fewest)]
        remedy = f"Pass cv={fewest}" if fewest > 1 else "Add samples"
        raise InvalidParameterError(
            f"cv is {cv}, and the class {str(name)!r} has {fewest} of the {what}, "
            f"expected one or more for each fold. {remedy}, or leave out the class."
        )


def stratified_folds(y, groups, n_folds, random_state):
    """Split samples into shuffled, stratified folds that keep groups together.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Classes.
    groups : ndarray of shape (n_samples,), or None
        Groups; None counts each sample as independent.
    n_folds : int
        Number of folds.
    random_state : int or RandomState instance
        Seed of the shuffling.

    Returns
    -------
    list of (ndarray of int, ndarray of int)
        Positions of the training and test part of each split.

    Notes
    -----
    With groups, those of ``StratifiedGroupKFold(n_folds, shuffle=True)`` of scikit-learn 1.8 and
    later. Groups are shuffled here because its own shuffling undid the stratification before.
    """
    if groups is None:
        splitter = StratifiedKFold(n_folds, shuffle=True, random_state=random_state)
        return list(splitter.split(y, y))
    names, codes = np.unique(groups, return_inverse=True)
    order = check_random_state(random_state).permutation(len(names))
    return list(StratifiedGroupKFold(n_folds).split(y, y, np.argsort(order)[codes]))


def make_splits(cv, X, y, groups, random_state):
    """Return the splits of a cross-validation.

    Parameters
    ----------
    cv : int, splitter, iterable of (train, test) or None
        Number of stratified, shuffled folds that keep groups together, or another way to split.
        None: five folds.
    X, y : sequences of length n_samples
        Samples and classes.
    groups : ndarray of shape (n_samples,), or None
        Groups.
    random_state : int or RandomState instance
        Seed of the shuffling.

    Returns
    -------
    list of (ndarray of int, ndarray of int)
        Positions of the training and test part of each split.

    Raises
    ------
    ValueError
        If there are no splits.
    """
    cv = N_FOLDS if cv is None else cv
    if isinstance(cv, Integral):
        return stratified_folds(y, groups, cv, random_state)
    # A predefined split would warn that it ignores groups.
    groups = None if isinstance(cv, PredefinedSplit) else groups
    positions = np.arange(len(y))  # for splits that are masks
    splits = check_cv(cv).split(X, y, groups)
    splits = [(positions[train], positions[test]) for train, test in splits]
    if not splits:
        raise ValueError("cv has no splits, expected at least one (train, test).")
    return splits


def validation_split(y, groups, share, random_state, needed=None):
    """Split training data into a part to learn from and a part for validation.

    Parameters
    ----------
    y : ndarray of int of shape (n_samples,)
        The classes, numbered from 0.
    groups : ndarray of shape (n_samples,) or None
        Groups, which are not split; None: each sample is a group of its own.
    share : float
        Approximate share for validation, up to 0.5; 0 for none.
    random_state : int
        Seed.
    needed : ndarray of bool of shape (n_samples,), default=None
        At least one of these samples must be in the training part and, if possible, one in the
        validation part. None: all.

    Returns
    -------
    learning, watching : ndarray of int
        Positions of the two parts; every class is in both. Of several splits, the one whose
        validation part is closest to its share.

    Raises
    ------
    ValueError
        If no such split is found.
    """
    if share == 0:
        return np.arange(len(y)), np.arange(0)
    labels = np.unique(y)
    n_groups = count_groups(y, groups)
    n_folds = min(round(1 / share), *n_groups, len(y))
    needed = np.ones(len(y), dtype=bool) if needed is None else needed

    def is_usable(learning, watching):
        return set(y[learning]) == set(y[watching]) == set(labels) and needed[learning].any()

    def badness(learning, watching):
        return not needed[watching].any(), abs(len(watching) - share * len(y))

    splits = stratified_folds(y, groups, n_folds, random_state) if n_folds > 1 else []
    if usable := [split for split in splits if is_usable(*split)]:
        return min(usable, key=lambda split: badness(*split))
    raise ValueError(
        "No split into training and validation images keeps groups together and has every class "
        f"in both parts: the classes have {n_groups} groups, expected at least 2 each, and more "
        "where groups have several classes. Pass validation_share=0 to train on all images for all "
        "epochs."
    )


def merge_pairs(labels, left, right):
    """Merge the groups of samples that belong together: connected components of a graph.

    Parameters
    ----------
    labels : ndarray of int of shape (n_samples,)
        The group of each sample, numbered from 0.
    left, right : ndarray of int of shape (n_pairs,)
        Positions of the samples of each pair.

    Returns
    -------
    ndarray of int of shape (n_samples,)
        Merged groups, numbered from 0 in the order in which they appear: one for all samples that
        are connected, directly or through others.
    """
    n_labels = labels.max() + 1
    edges = np.ones(len(left), dtype=bool), (labels[left], labels[right])
    graph = coo_array(edges, shape=(n_labels, n_labels))
    return pd.factorize(connected_components(graph, directed=False)[1][labels])[0]


def merge_labelings(*labelings):
    """Merge groupings of the same samples: connected components of all of them together.

    Parameters
    ----------
    *labelings : array_like of shape (n_samples,)
        Groupings.

    Returns
    -------
    ndarray of int of shape (n_samples,)
        Merged groups, numbered from 0 in the order in which they appear. Samples that share a group
        in any of the groupings share one here.
    """
    labels = np.arange(len(labelings[0]))
    for labeling in labelings:
        codes = pd.factorize(np.asarray(labeling))[0]
        first = np.unique(codes, return_index=True)[1]
        labels = merge_pairs(labels, np.arange(len(labels)), first[codes])
    return labels


def resample_groups(n_groups, size, rng):
    """Draw groups with replacement, as many as there are: the bootstrap over groups.

    Parameters
    ----------
    n_groups : int
        Number of groups.
    size : int
        Number of resamples.
    rng : RandomState instance
        Draws.

    Returns
    -------
    ndarray of float of shape (size, n_groups)
        How often each group is drawn in each resample.
    """
    drawn = rng.randint(n_groups, size=(size, n_groups))
    cells = drawn + n_groups * np.arange(size)[:, np.newaxis]
    counts = np.bincount(cells.ravel(), minlength=size * n_groups)
    return counts.reshape(size, n_groups).astype(np.float64)
