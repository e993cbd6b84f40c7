"""What of a fitted pipeline travels: a copy without what belongs to a machine, and the way back."""

import json
import os

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
)
from sklearn.ensemble._forest import BaseForest
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.neighbors import BallTree, KDTree
from sklearn.neighbors._base import NeighborsBase
from sklearn.tree import BaseDecisionTree
from sklearn.tree._tree import Tree
from sklearn.utils import Bunch

from featbus.feature_extraction import DeepFeatures, FineTunedFeatures
from featbus.persistence._archive import ModelFileError
from featbus.persistence._values import check_values
from featbus.steps import is_resampler

_PACKAGES = {"featbus", "sklearn", "imblearn", "xgboost"}
# Files and folders of a machine.
_PLACES = ("memory", "checkpoint")
# Requests of metadata, optimizers, scorers and splits, which no prediction needs.
_ONLY_TO_FIT = ("_metadata_request", "_optimizer", "_checked_cv_orig", "_curve_scorer", "scorer_")
_TREES = {"kd_tree": KDTree, "ball_tree": BallTree}
_BOOSTINGS = (GradientBoostingClassifier, GradientBoostingRegressor)


def _is_composed(value):
    """Tell whether a value is an object of attributes, such as an estimator."""
    return type(value).__module__.partition(".")[0] in _PACKAGES and hasattr(value, "__dict__")


def parts_of(value, found=None):
    """Find the objects inside a pipeline: estimators, fitted ones, and what they are made of.

    Of a loaded pipeline, it finds all: `check_schema` lets no other containers through.

    Parameters
    ----------
    value : object
        The pipeline.
    found : dict or None, default=None
        What was found before, by its `id`.

    Returns
    -------
    list of object
        The objects, each once.
    """
    found = {} if found is None else found
    for item in _items(value):
        parts_of(item, found)
    if (_is_composed(value) or isinstance(value, Tree)) and id(value) not in found:
        found[id(value)] = value
        parts_of(list(getattr(value, "__dict__", {}).values()), found)
    return list(found.values())


def _items(container):
    """Return what is in a list, tuple, dict or array of objects, masked or not."""
    if isinstance(container, np.ndarray):
        return np.ma.getdata(container).ravel() if container.dtype == object else ()
    if isinstance(container, dict):
        return container.values()
    return container if isinstance(container, (list, tuple)) else ()


def pack(value, packer, done=None):
    """Copy a pipeline without files, paths, and what only `fit` needs.

    Parameters
    ----------
    value : object
        The pipeline, which stays as it is.
    packer : Packer
        Takes the networks.
    done : dict or None, default=None
        Copies made before, by the `id` of the original.

    Returns
    -------
    object
        The copy. Arrays are shared.
    """
    done = {} if done is None else done
    if type(value) in (list, tuple):
        return type(value)(pack(item, packer, done) for item in value)
    if type(value) is dict:
        return _packed(value, packer, done)
    if type(value) is Bunch:
        return Bunch(**_packed(value, packer, done))
    if isinstance(value, np.ndarray) and value.dtype == object:
        return _pack_array(value, packer, done)
    if isinstance(value, (str, os.PathLike)):
        return _without_folder(value)
    if not _is_composed(value):
        return value
    if id(value) not in done:
        source = clone(value) if is_resampler(value) else value
        done[id(value)] = copy = type(value).__new__(type(value))
        copy.__dict__.update(_packed(_portable(source, packer), packer, done))
    return done[id(value)]


def _packed(attributes, packer, done):
    return {name: pack(item, packer, done) for name, item in attributes.items()}


def _pack_array(array, packer, done):
    """Copy an array of objects; text stays, unless it is a value that a search has tried."""
    is_searched = isinstance(array, np.ma.MaskedArray)
    copy = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        item = np.ma.getdata(array)[index]
        is_label = isinstance(item, str) and not is_searched
        copy[index] = item if is_label else pack(item, packer, done)
    return np.ma.MaskedArray(copy, np.ma.getmaskarray(array)) if is_searched else copy


def _without_folder(text):
    """Return the name alone of a path of this machine, any other text as it is."""
    path = os.fspath(text)
    is_path = (
        isinstance(text, os.PathLike)
        or os.path.isabs(path)
        or path.startswith("~")
        or (os.path.basename(path) != path and os.path.exists(path))
    )
    return os.path.basename(path) if is_path else path


def _portable(estimator, packer):
    """Return the attributes of an estimator that travel."""
    kept = {name: value for name, value in vars(estimator).items() if name not in _ONLY_TO_FIT}
    kept |= {name: None for name in _PLACES if name in kept}
    if "errors_" in kept:
        kept["errors_"] = []  # with paths
    if isinstance(estimator, (DeepFeatures, FineTunedFeatures)):
        kept |= packer.pack(estimator)
    if isinstance(estimator, NeighborsBase) and "_tree" in kept:
        kept["_tree"] = None  # built again from the rows
    if "_Booster" in kept:  # XGBoost's
        kept["_Booster"] = bytes(estimator.get_booster().save_raw("json"))
    return kept


def unpack(pipeline, unpacker):
    """Complete a loaded pipeline in place, and refuse what `pack` never makes.

    Parameters
    ----------
    pipeline : estimator
        The pipeline.
    unpacker : Unpacker
        Gives the networks.
    """
    parts = parts_of(pipeline)
    for part in parts:
        if not isinstance(part, Tree):
            check_values(part)
    for part in parts:
        if isinstance(part, Tree):
            _check_tree(part)
            continue
        attributes = vars(part)
        for name in _PLACES:
            if attributes.get(name) is not None:
                raise ModelFileError(f"{name} is {attributes[name]!r}, expected None.")
        if isinstance(part, (DeepFeatures, FineTunedFeatures)):
            unpacker.unpack(part)
        if isinstance(part, NeighborsBase) and attributes.get("_fit_method") in _TREES:
            _build_tree(part)
        if isinstance(part, BaseDecisionTree) and "tree_" in attributes:
            _check_shape(part)
        if isinstance(part, BaseForest) and "estimators_" in attributes:
            _check_forest(part)
        if isinstance(part, IsolationForest) and "estimators_" in attributes:
            _check_isolation(part)
        if isinstance(part, _BOOSTINGS) and "estimators_" in attributes:
            _check_boosting(part)
        if isinstance(part, TunedThresholdClassifierCV) and "estimator_" in attributes:
            part._curve_scorer = part._get_curve_scorer()
        if isinstance(attributes.get("_Booster"), bytes):
            _load_booster(part)


def _build_tree(neighbors):
    make = _TREES[neighbors._fit_method]
    neighbors._tree = make(
        neighbors._fit_X,
        neighbors.leaf_size,
        metric=neighbors.effective_metric_,
        **neighbors.effective_metric_params_,
    )


def _check_tree(tree):
    """Refuse a decision tree whose nodes lead back, or out of it: scikit-learn would follow."""
    if tree.node_count != tree.capacity or not _is_tree(tree):
        raise ModelFileError("a decision tree has nodes that lead out of it.")
    # `decision_path` makes room for paths of this length.
    if tree.max_depth != tree.compute_node_depths().max() - 1:
        raise ModelFileError("a decision tree is not as deep as it says.")


def _is_tree(tree):
    nodes, is_leaf = np.arange(tree.node_count), tree.children_left == -1
    children = np.stack([tree.children_left, tree.children_right])[:, ~is_leaf]
    features = tree.feature[~is_leaf]
    return (
        len(nodes) > 0
        and (children > nodes[~is_leaf]).all()
        and (children < tree.node_count).all()
        and len(np.unique(children)) == children.size
        and (features >= 0).all()
        and (features < tree.n_features).all()
    )


def _check_shape(estimator):
    """Refuse a tree of other columns than the estimator checks."""
    tree = estimator.tree_
    found, expected = (tree.n_features, tree.n_outputs), (estimator.n_features_in_,)
    expected += (estimator.n_outputs_,)
    if found != expected:
        raise ModelFileError(f"a decision tree has {found} features and outputs, not {expected}.")


def _check_forest(forest):
    """Refuse trees of other columns than the forest checks, instead of each of them."""
    if {tree.tree_.n_features for tree in forest.estimators_} != {forest.n_features_in_}:
        raise ModelFileError("the trees of a forest do not fit together.")


def _check_isolation(forest):
    """Refuse trees of other columns than those that the forest selects for them."""
    found = {tree.tree_.n_features for tree in forest.estimators_}
    found |= {len(columns) for columns in forest.estimators_features_}
    if found != {forest._max_features}:
        raise ModelFileError("the trees of a forest do not fit together.")


def _check_boosting(boosting):
    """Refuse trees that differ from the first, the only one of which scikit-learn checks rows."""
    trees = boosting.estimators_
    n_features = {tree.tree_.n_features for tree in trees.ravel()}
    if trees.shape[1:] != (boosting.n_trees_per_iteration_,) or len(n_features) != 1:
        raise ModelFileError("the trees of a gradient boosting do not fit together.")


def _load_booster(classifier):
    from xgboost import Booster

    # XGBoost ends the process on some texts that are no JSON, and follows any node's numbers.
    model_json = json.loads(classifier._Booster)
    learner = model_json["learner"]
    n_features = int(learner["learner_model_param"]["num_feature"])
    booster = learner["gradient_booster"]
    model = booster.get("gbtree", booster)["model"]
    if booster["name"] == "gblinear":
        n_groups = max(1, int(learner["learner_model_param"]["num_class"]))
        if len(model["weights"]) != (n_features + 1) * n_groups:
            raise ModelFileError("a linear model of XGBoost has weights of other columns.")
    else:
        for tree in model["trees"]:
            _check_nodes(tree, n_features)
    # Not the bytes that came: XGBoost reads some keys, such as escaped ones, in another way.
    classifier._Booster = Booster(model_file=bytearray(json.dumps(model_json).encode()))


def _check_nodes(tree, n_features):
    """Refuse a tree of XGBoost whose nodes lead back, or out of it."""
    left, right, features = (
        tree[name] for name in ("left_children", "right_children", "split_indices")
    )
    children = [child for child in left + right if child != -1]
    if (
        not len(left) == len(right) == len(features)
        or not _are_in_range(children, 1, len(left))  # 0 is the root
        or len(set(children)) < len(children)
        or not _are_in_range(features, 0, n_features)
    ):
        raise ModelFileError("a tree of XGBoost has nodes that lead back, or out of it.")


def _are_in_range(values, low, high):
    return all(type(value) is int and low <= value < high for value in values)
