"""Trust: what types a model may have, and which versions of featbus's algorithms."""

from functools import cache

import numpy as np
from sklearn.base import BaseEstimator

from featbus import bus, feature_extraction, preprocessing, sampling, segmentation
from featbus.augmentation import Augmentation
from featbus.persistence._archive import ModelFileError

# Objects beside scikit-learn's estimators, which skops trusts.
_OTHERS = [
    "imblearn.pipeline.Pipeline",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.metrics._scorer._Scorer",
    "xgboost.sklearn.XGBClassifier",
]
# Functions beside NumPy's and SciPy's ufuncs, which skops trusts, and scikit-learn's metrics.
_FUNCTIONS = [
    "featbus.recipes._parts.mutual_information",
    "sklearn.feature_selection._mutual_info.mutual_info_classif",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
]
# The rooms of scikit-learn whose estimators work on rows of numbers; others read files.
_ROOMS = {
    "_loss",
    "calibration",
    "cluster",
    "compose",
    "covariance",
    "cross_decomposition",
    "decomposition",
    "discriminant_analysis",
    "dummy",
    "ensemble",
    "feature_selection",
    "frozen",
    "gaussian_process",
    "impute",
    "isotonic",
    "kernel_approximation",
    "kernel_ridge",
    "linear_model",
    "manifold",
    "mixture",
    "model_selection",
    "multiclass",
    "multioutput",
    "naive_bayes",
    "neighbors",
    "neural_network",
    "pipeline",
    "preprocessing",
    "random_projection",
    "semi_supervised",
    "svm",
    "tree",
}
_TREE = "sklearn.tree._tree.Tree"  # its nodes are checked after loading
_BUNCH = "sklearn.utils._bunch.Bunch"
# What a kind of node may become where one type, or few, are meant.
_TYPES = {
    "BytesNode": {"builtins.bytes"},
    "DTypeNode": {"numpy.dtype"},
    "DictNode": {"builtins.dict", "collections.OrderedDict", _BUNCH},
    "JsonNode": {"builtins.str"},
    "ListNode": {"builtins.list"},
    "MaskedArrayNode": {"numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"},
    "RandomStateNode": {"numpy.random.mtrand.RandomState"},
    "SliceNode": {"builtins.slice"},
    "TreeNode": {_TREE},
    "TupleNode": {"builtins.tuple"},
}
_PRIMITIVES = {"builtins.bool", "builtins.float", "builtins.int", "builtins.str"}
_METRICS = ("_score", "_loss", "_error", "_corrcoef")
# Not of void, which would be as long as the number that it is made of.
_SCALARS = (np.number, np.bool_, np.character, np.datetime64)


@cache
def own_classes():
    """Return featbus's classes that a model may have.

    Returns
    -------
    dict of str to type
        By their full name.
    """
    found = [Augmentation]
    for room in (bus, feature_extraction, preprocessing, sampling, segmentation):
        public = [getattr(room, name) for name in room.__all__]
        found += [item for item in public if isinstance(item, type)]
    return {
        _name(cls): cls for cls in found if cls is Augmentation or issubclass(cls, BaseEstimator)
    }


def _name(cls):
    return f"{cls.__module__}.{cls.__qualname__}"


@cache
def _objects():
    """Return the names of the types whose attributes skops may restore, beside its own."""
    from imblearn import combine, over_sampling, under_sampling
    from sklearn.gaussian_process import kernels

    samplers = [
        getattr(room, name)
        for room in (combine, over_sampling, under_sampling)
        for name in room.__all__
    ]
    found = [cls for cls in vars(kernels).values() if isinstance(cls, type)]
    found = [cls for cls in found if issubclass(cls, kernels.Kernel)]
    return {*own_classes(), *_OTHERS, *map(_name, [*samplers, *found, *_splitters()])}


@cache
def _splitters():
    from sklearn import model_selection

    found = [getattr(model_selection, name) for name in model_selection.__all__]
    return [cls for cls in found if isinstance(cls, type) and hasattr(cls, "split")]


@cache
def _metrics():
    from sklearn import metrics

    return [getattr(metrics, name) for name in metrics.__all__ if name.endswith(_METRICS)]


def _functions():
    return {*_FUNCTIONS, *map(_name, _metrics())}


def is_metric(value):
    """Tell whether a value is one of scikit-learn's metrics.

    Parameters
    ----------
    value : object
        Any value.

    Returns
    -------
    bool
        True if it is.
    """
    return any(value is metric for metric in _metrics())


def is_score(value):
    """Tell whether a value is a function by which scikit-learn selects features.

    Parameters
    ----------
    value : object
        Any value.

    Returns
    -------
    bool
        True if it is.
    """
    return not isinstance(value, np.ufunc) and _name(value) in _FUNCTIONS


def is_splitter(value):
    """Tell whether a value is a class of scikit-learn's that splits rows.

    Parameters
    ----------
    value : object
        Any value.

    Returns
    -------
    bool
        True if it is.
    """
    return any(value is splitter for splitter in _splitters())


@cache
def trusted_types():
    """Return the types that a model may have, beside those that skops trusts.

    Returns
    -------
    list of str
        Their full names.
    """
    return sorted({*_objects(), *_functions(), _TREE, _BUNCH, "numpy.dtype"})


def is_trusted(loader, name):
    """Tell whether a kind of node may be of a type; where it may not, skops could call it.

    Parameters
    ----------
    loader : str
        The kind of node.
    name : str
        The full name of the type.

    Returns
    -------
    bool
        True also for what only skops can tell: its own estimators, ufuncs and losses.
    """
    if loader in _TYPES:
        return name in _TYPES[loader]
    if loader == "NdArrayNode":
        return name == "numpy.ndarray" or _is_scalar(name)
    if loader == "TypeNode":
        return name in _PRIMITIVES or _is_scalar(name) or name in map(_name, _splitters())
    own = _objects() if loader == "ObjectNode" else _functions() if loader == "FunctionNode" else ()
    return name in own or (name not in trusted_types() and _is_of_rows(name))


def _is_of_rows(name):
    package, room = f"{name}.".split(".")[:2]
    return package != "sklearn" or room in _ROOMS


def _is_scalar(name):
    package, _, scalar = name.partition(".")
    cls = getattr(np, scalar, None)
    return package == "numpy" and isinstance(cls, type) and issubclass(cls, _SCALARS)


def algorithms_of(objects):
    """Return the versions of the algorithms of featbus's classes.

    Parameters
    ----------
    objects : iterable of object
        The parts of a pipeline.

    Returns
    -------
    dict of str to list of int
        The versions of each class and of its bases, by the class' full name.
    """
    used = {_name(type(item)) for item in objects} & own_classes().keys()
    return {name: _versions(own_classes()[name]) for name in sorted(used)}


def _versions(cls):
    found = [vars(base).get("_algorithm_version") for base in cls.__mro__]
    return [version for version in found if version is not None]


def check_algorithms(manifest):
    """Refuse a model whose features another version of an algorithm computed.

    Parameters
    ----------
    manifest : dict
        The manifest of a file.
    """
    for name, versions in manifest["algorithms"].items():
        cls = own_classes().get(name)
        if cls is None or _versions(cls) != versions:
            here = "is not there" if cls is None else f"is of version {_versions(cls)}"
            raise ModelFileError(
                f"it was saved with version {versions} of {name}, which {here} here: the same "
                f"image would have other features. Install featbus {manifest['featbus']}, or "
                "train the model again."
            )
