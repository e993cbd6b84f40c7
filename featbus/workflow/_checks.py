"""What would stop a training after hours: too few images, or no masks."""

import warnings
from numbers import Integral

import numpy as np
from imblearn.over_sampling import SMOTE
from sklearn import config_context
from sklearn.utils.metadata_routing import get_routing_for_object

from featbus.evaluation.splits import check_overlap, make_splits
from featbus.groups import N_FOLDS, check_folds, count_groups, stratified_folds
from featbus.parameters import InvalidParameterError
from featbus.wording import argument, named
from featbus.workflow._left_out import left_out_in_errors

_CALIBRATION = 5  # folds in which a recipe's probabilities are calibrated
_ADD = {True: "Add images", False: "Add images of other groups"}  # whether groups are unknown


def find_metadata(pipeline, dataset):
    """Return those of the masks and groups that the data set has and a step requests in `fit`.

    Parameters
    ----------
    pipeline : estimator
        The recipe.
    dataset : Bunch
        The images.

    Returns
    -------
    dict of str to ndarray
        ``masks`` and ``groups``, or one of them, or none.
    """
    masks = dataset.get("masks")
    known = {
        "masks": None if masks is None or all(mask is None for mask in masks) else masks,
        "groups": dataset.groups,
    }
    return {name: known[name] for name in _requested(pipeline) if known[name] is not None}


def _requested(pipeline):
    with config_context(enable_metadata_routing=True):
        return get_routing_for_object(pipeline).consumes("fit", ["masks", "groups"])


def fit_to_data(pipeline, dataset, cv, random_state):
    """Return a recipe that can be trained on a data set; SMOTE uses the neighbors that there are.

    Parameters
    ----------
    pipeline : estimator
        The recipe. It is changed.
    dataset : Bunch
        The images.
    cv : int or splitter
        The folds, see `choose_cv`.
    random_state : int
        Seed of the folds.

    Returns
    -------
    estimator
        The recipe.

    Raises
    ------
    InvalidParameterError
        If the recipe learns from masks and there are none, or a class has fewer groups than folds.
    ValueError
        If there is one class, a class has too few images, or a group is on both sides of a split.
    """
    if "masks" in _requested(pipeline) and "masks" not in find_metadata(pipeline, dataset):
        raise InvalidParameterError(
            f"{named('masks')} is None, and the recipe learns where lesions are, expected "
            "masks: a folder, or the suffix of those next to their images, such as "
            f"{argument('masks', '_mask')}. Or use a recipe without masks."
        )
    with left_out_in_errors(dataset):
        if isinstance(cv, Integral):
            _check_any_folds(dataset)
        _check_split(dataset, cv)
        fewest = _count_fewest(dataset, cv, random_state)
    _limit_neighbors(pipeline, fewest)
    return pipeline


def choose_cv(cv, dataset):
    """Return the folds asked for, or without any, those that the data set comes with, or five.

    Parameters
    ----------
    cv : int, splitter, iterable or None
        The folds asked for.
    dataset : Bunch
        The images.

    Returns
    -------
    int, splitter or iterable
        The folds.
    """
    return dataset.get("cv", N_FOLDS) if cv is None else cv


def find_class(pos_label, names):
    """Return the name of the class that scores are about.

    Labels of a data set are positions: a number is the name of a folder, never a label.

    Parameters
    ----------
    pos_label : str, int or None
        The name, or the number that it is.
    names : list of str
        The classes.

    Returns
    -------
    str or None
        The name.

    Raises
    ------
    InvalidParameterError
        If there is no such class.
    """
    if pos_label is None or str(pos_label) in names:
        return None if pos_label is None else str(pos_label)
    raise InvalidParameterError(
        f"{named('pos_label')} is {pos_label!r}, expected one of the classes {list(names)}."
    )


def describe_split(cv, dataset):
    """Say that images are split as their folders are.

    Parameters
    ----------
    cv : int, splitter, iterable or None
        The folds asked for.
    dataset : Bunch
        The images.

    Returns
    -------
    str
        A sentence; empty if folds are asked for, or the folders are no split.
    """
    if cv is not None or "cv" not in dataset:
        return ""
    counts = dataset.frame["split"].value_counts().to_dict()
    parts = [part for part in ("train", "validation", "test") if part in counts]
    sizes = ", ".join(f"{part} {counts[part]}" for part in parts)
    trained = " and ".join(parts[:-1])
    return (
        f"Split as the folders are ({sizes} images): trained on {trained}, tested on {parts[-1]}."
    )


def check_data(dataset, cv):
    """Refuse data that cannot be split.

    Parameters
    ----------
    dataset : Bunch
        The images.
    cv : int, splitter or iterable
        The folds, see `choose_cv`.

    Raises
    ------
    InvalidParameterError
        If a class has fewer groups than folds.
    ValueError
        If there is one class, or the folders give a split and its test part is empty.
    """
    with left_out_in_errors(dataset):
        _check_split(dataset, cv)


def _check_split(dataset, cv):
    if len(dataset.target_names) < 2:
        raise ValueError(
            f"Found one class, {dataset.target_names[0]!r}, expected two or more. Add the images "
            "of another class, in a folder beside it."
        )
    if isinstance(cv, Integral):
        names = [dataset.target_names[label] for label in dataset.target]
        check_folds(names, dataset.groups, cv)
    elif cv is dataset.get("cv") and cv.get_n_splits() == 0:
        raise ValueError(
            "Found no image to test, expected some in the test part of the split that the folders "
            f"give. Use folds: {argument('cv', 5)}."
        )


def make_folds(dataset, cv, random_state):
    """Split a data set, and refuse folds with a group on both sides.

    Parameters
    ----------
    dataset : Bunch
        The images.
    cv : int, splitter or iterable
        The folds, see `choose_cv`.
    random_state : int
        Seed of the folds.

    Returns
    -------
    list of (ndarray of int, ndarray of int)
        Positions of the training and test part of each fold.

    Raises
    ------
    ValueError
        If a group is on both sides.
    """
    groups = dataset.groups
    splits = make_splits(cv, dataset.target, dataset.target, groups, random_state)
    names = dataset.get("frame", {}).get("listed_group")
    check_overlap(splits, groups, len(dataset.target), names=names)
    return splits


def _count_fewest(dataset, cv, random_state):
    """Return the fewest images of a class that anything is trained on."""
    y, groups = dataset.target, dataset.groups
    classes = np.arange(len(dataset.target_names))
    fewest = len(y)
    for train, _ in make_folds(dataset, cv, random_state):
        within = None if groups is None else groups[train]
        found = np.bincount(y[train], minlength=len(classes))
        n_groups = _count(groups, train, len(train))
        if min(*found, n_groups) < _CALIBRATION:
            _refuse(dataset, found, n_groups)
        for part, _ in stratified_folds(y[train], within, _CALIBRATION, random_state):
            counts = np.bincount(y[train][part], minlength=len(classes))
            if counts.min() < 2:
                _refuse(dataset, found, n_groups)
            fewest = min(fewest, counts.min())
    return int(fewest)


def _check_any_folds(dataset):
    """Refuse images that are too few to train on for any number of folds."""
    n_groups = _count(dataset.groups, slice(None), len(dataset.target))
    n_folds = min(count_groups(dataset.target, dataset.groups))  # more are impossible
    largest = n_groups - -(-n_groups // n_folds)
    if len(dataset.target_names) > 1 and largest < _CALIBRATION:
        found = _describe_part(dataset, np.bincount(dataset.target), n_groups)
        raise ValueError(
            f"Found {found}, expected more: with any number of folds, training parts have "
            f"{largest} at most, which are split again, into {_CALIBRATION} folds that calibrate "
            f"probabilities. {_ADD[dataset.groups is None]}."
        )


def _count(groups, part, n_images):
    return n_images if groups is None else len(np.unique(groups[part]))


def _describe_part(dataset, counts, n_groups):
    images = ", ".join(f"{name} {n}" for name, n in zip(dataset.target_names, counts))
    if dataset.groups is None:
        return f"{n_groups} images ({images})"
    return f"{n_groups} groups ({images} images)"


def _refuse(dataset, counts, n_groups):
    """Raise since a training part has too few groups, or too few images of a class."""
    remedy = _ADD[dataset.groups is None]
    if n_groups >= _CALIBRATION:
        remedy = f"Add images of the class {dataset.target_names[np.argmin(counts)]!r}"
        remedy += ", or leave it out" if len(counts) > 2 else ""
    raise ValueError(
        f"Found a training part of {_describe_part(dataset, counts, n_groups)}, expected more: it "
        f"is split again, into {_CALIBRATION} folds that calibrate probabilities, and 2 images or "
        f"more of each class must remain. {remedy}."
    )


def _limit_neighbors(pipeline, fewest):
    """Make SMOTE mix each image with as many neighbors as the smallest class has, at most."""
    few = {
        f"{name}__k_neighbors": fewest - 1
        for name, step in pipeline.get_params().items()
        if isinstance(step, SMOTE) and step.k_neighbors >= fewest
    }
    pipeline.set_params(**few)
    if few:
        warnings.warn(
            f"The smallest class has {fewest} images in a part of the data that the recipe is "
            f"trained on: SMOTE uses {fewest - 1} neighbors. Scores of so few images vary widely.",
            UserWarning,
            stacklevel=2,
        )
