"""What of a fitted pipeline travels: a copy without what belongs to a machine, and the way back."""

import json
import os

import numpy as np
from sklearn.base import clone
from sklearn.neighbors import BallTree, KDTree
from sklearn.neighbors._base import NeighborsBase
from sklearn.tree import BaseDecisionTree
from sklearn.utils import Bunch

from featbus.feature_extraction import DeepFeatures, FineTunedFeatures
from featbus.persistence._archive import ModelFileError
from featbus.segmentation import UNetSegmenter
from featbus.steps import is_resampler

_PACKAGES = {"featbus", "sklearn", "imblearn", "xgboost"}
# Files and folders of a machine.
_PLACES = ("memory", "checkpoint")
# Requests of metadata, optimizers, and scorers, which no prediction needs.
_ONLY_TO_FIT = ("_metadata_request", "_optimizer", "_curve_scorer", "scorer_")
_TREES = {"kd_tree": KDTree, "ball_tree": BallTree}


def _is_composed(value):
    """Tell whether a value is an object of attributes, such as an estimator."""
    return type(value).__module__.partition(".")[0] in _PACKAGES and hasattr(value, "__dict__")


def parts_of(value, found=None):
    """Find the objects inside a pipeline: estimators, fitted ones, and what they are made of.

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
    if _is_composed(value):
        if id(value) not in found:
            found[id(value)] = value
            parts_of(list(vars(value).values()), found)
    elif isinstance(value, dict):
        parts_of(list(value.values()), found)
    elif isinstance(value, (list, tuple)) or (
        isinstance(value, np.ndarray) and value.dtype == object
    ):
        for item in np.ravel(value) if isinstance(value, np.ndarray) else value:
            parts_of(item, found)
    return list(found.values())


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
    if not _is_composed(value):
        return value
    if id(value) not in done:
        source = clone(value) if is_resampler(value) else value
        done[id(value)] = copy = type(value).__new__(type(value))
        copy.__dict__.update(_packed(_portable(source, packer), packer, done))
    return done[id(value)]


def _packed(attributes, packer, done):
    return {name: pack(item, packer, done) for name, item in attributes.items()}


def _portable(estimator, packer):
    """Return the attributes of an estimator that travel."""
    kept = {name: value for name, value in vars(estimator).items() if name not in _ONLY_TO_FIT}
    kept |= {name: None for name in _PLACES if name in kept}
    if "errors_" in kept:
        kept["errors_"] = []  # with paths
    if isinstance(estimator, (DeepFeatures, FineTunedFeatures)):
        kept |= packer.pack(estimator)
    if isinstance(estimator, UNetSegmenter) and estimator.encoder_weights is not None:
        kept["encoder_weights"] = os.path.basename(estimator.encoder_weights)
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
    for part in parts_of(pipeline):
        attributes = vars(part)
        for name in _PLACES:
            if attributes.get(name) is not None:
                raise ModelFileError(f"{name} is {attributes[name]!r}, expected None.")
        if isinstance(part, (DeepFeatures, FineTunedFeatures)):
            unpacker.unpack(part)
        if isinstance(part, NeighborsBase) and attributes.get("_fit_method") in _TREES:
            _build_tree(part)
        if isinstance(part, BaseDecisionTree) and "tree_" in attributes:
            _check_tree(part)
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


def _check_tree(estimator):
    """Refuse a decision tree whose nodes lead back, or out of it: scikit-learn would follow."""
    tree = estimator.tree_
    nodes, is_leaf = np.arange(tree.node_count), tree.children_left == -1
    children = np.stack([tree.children_left, tree.children_right])[:, ~is_leaf]
    features = tree.feature[~is_leaf]
    if (
        tree.n_features != estimator.n_features_in_
        or tree.n_outputs != estimator.n_outputs_
        or (children <= nodes[~is_leaf]).any()
        or (children >= tree.node_count).any()
        or (features < 0).any()
        or (features >= tree.n_features).any()
    ):
        raise ModelFileError("a decision tree has nodes that lead out of it.")


def _load_booster(classifier):
    from xgboost import Booster

    # XGBoost ends the process on some texts that are no JSON, and follows any node's numbers.
    learner = json.loads(classifier._Booster)["learner"]
    n_features = int(learner["learner_model_param"]["num_feature"])
    booster = learner["gradient_booster"]
    for tree in booster.get("gbtree", booster)["model"]["trees"]:
        n_nodes = len(tree["left_children"])
        _check_range(tree["left_children"] + tree["right_children"], -1, n_nodes)
        _check_range(tree["split_indices"], 0, n_features)
    classifier._Booster = Booster(model_file=bytearray(classifier._Booster))


def _check_range(values, low, high):
    if not all(type(value) is int and low <= value < high for value in values):
        raise ModelFileError("a tree of XGBoost has nodes that lead out of it.")
