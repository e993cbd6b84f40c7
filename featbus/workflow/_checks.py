"""What would stop a training after hours: too few images, or no masks."""

import warnings

import numpy as np
from imblearn.over_sampling import SMOTE
from sklearn import config_context
from sklearn.utils.metadata_routing import get_routing_for_object

from featbus.groups import count_groups, stratified_folds
from featbus.parameters import InvalidParameterError

_CALIBRATION = 5  # folds in which a recipe's probabilities are calibrated


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
    cv : int
        Number of folds.
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
        If a class has too few images.
    """
    if "masks" in _requested(pipeline) and "masks" not in find_metadata(pipeline, dataset):
        raise InvalidParameterError(
            "masks is None, and the recipe learns where lesions are, expected masks: a folder, or "
            "the suffix of those next to their images, such as --masks _mask. Or use a recipe "
            "without masks."
        )
    if len(dataset.target_names) > 1:  # otherwise the audit says so
        _check_folds(dataset, cv)
        _limit_neighbors(pipeline, _count_fewest(dataset, cv, random_state))
    return pipeline


def _check_folds(dataset, cv):
    counts = count_groups(dataset.target, dataset.groups)
    fewest, what = min(counts), "images" if dataset.groups is None else "groups"
    if fewest < cv:
        name = dataset.target_names[counts.index(fewest)]
        remedy = f"Use {fewest} folds: --folds {fewest}." if fewest > 1 else "Add some."
        raise InvalidParameterError(
            f"cv is {cv}, and the class {name!r} has {fewest} of the {what}, expected one or more "
            f"for each fold. {remedy} Or leave out the class."
        )


def _count_fewest(dataset, cv, random_state):
    """Return the fewest images of a class that anything is trained on."""
    y, groups = dataset.target, dataset.groups
    classes = np.arange(len(dataset.target_names))
    fewest = len(y)
    for train, _ in stratified_folds(y, groups, cv, random_state):
        within = None if groups is None else groups[train]
        found = np.bincount(y[train], minlength=len(classes))
        n_groups = len(train if groups is None else np.unique(within))
        if min(*found, n_groups) < _CALIBRATION:
            _refuse(dataset, found, n_groups)
        for part, _ in stratified_folds(y[train], within, _CALIBRATION, random_state):
            counts = np.bincount(y[train][part], minlength=len(classes))
            if counts.min() < 2:
                _refuse(dataset, found, n_groups)
            fewest = min(fewest, counts.min())
    return int(fewest)


def _refuse(dataset, counts, n_groups):
    images = ", ".join(f"{name} {n}" for name, n in zip(dataset.target_names, counts))
    raise ValueError(
        f"Found a training part of {n_groups} groups ({images} images), expected more: it is split "
        f"again, into {_CALIBRATION} folds that calibrate probabilities, and 2 images or more of "
        "each class must remain. Add images, or leave out the smallest class."
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
