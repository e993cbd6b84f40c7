"""Trust: what types a model may have, and what skops' schema and arrays may ask for."""

import math
from functools import cache

import numpy as np
from sklearn.base import BaseEstimator

from featbus import bus, feature_extraction, preprocessing, sampling, segmentation
from featbus.augmentation import Augmentation
from featbus.persistence._archive import ModelFileError

# Beside scikit-learn's estimators and NumPy's and SciPy's ufuncs, which skops trusts.
_OTHERS = [
    "imblearn.pipeline.Pipeline",
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.feature_selection._mutual_info.mutual_info_classif",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.model_selection._split.GroupKFold",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedGroupKFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.tree._tree.Tree",  # its nodes are checked after loading
    "sklearn.utils._bunch.Bunch",
    "xgboost.sklearn.XGBClassifier",
]
# Without those of bound methods, partial functions, operators and compressed arrays.
_LOADERS = {
    "BytesNode",
    "DTypeNode",
    "DictNode",
    "FunctionNode",
    "JsonNode",
    "ListNode",
    "LossNode",
    "MaskedArrayNode",
    "NdArrayNode",
    "ObjectNode",
    "RandomStateNode",
    "SetNode",
    "SliceNode",
    "TreeNode",
    "TupleNode",
    "TypeNode",
}
_EXPANSION = 100  # what the visits of a schema's nodes may be, times the nodes


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
def trusted_types():
    """Return the types that a model may have, beside those that skops trusts.

    Returns
    -------
    list of str
        Their full names.
    """
    from imblearn import combine, over_sampling, under_sampling

    samplers = [
        getattr(room, name)
        for room in (combine, over_sampling, under_sampling)
        for name in room.__all__
    ]
    return [*own_classes(), *map(_name, samplers), *_OTHERS]


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


def check_schema(schema):
    """Refuse a schema with kinds of content that no model has, or that grows as it is visited.

    Parameters
    ----------
    schema : dict
        What skops wrote of the pipeline.
    """
    counts = [0]
    n_visits = _count_visits(schema, {}, counts)
    if n_visits > _EXPANSION * counts[0]:
        raise ModelFileError(f"its schema repeats {counts[0]} parts {n_visits} times.")


def _count_visits(value, known, counts):
    """Return how many nodes skops would visit, which takes one of a known id for that one."""
    if isinstance(value, list):
        return sum(_count_visits(item, known, counts) for item in value)
    if not isinstance(value, dict):
        return 0
    if "__loader__" not in value:
        return sum(_count_visits(item, known, counts) for item in value.values())
    if value["__loader__"] not in _LOADERS:
        raise ModelFileError(
            f"found {value.get('__module__')}.{value.get('__class__')} as a "
            f"{value['__loader__']}, which no model has: bound methods, partial functions, "
            "generators and the like do not travel."
        )
    counts[0] += 1
    number = value.get("__id__")
    if number not in known:
        known[number] = 0  # of itself inside itself
        known[number] = 1 + sum(_count_visits(item, known, counts) for item in value.values())
    return known[number]


def check_array(file, size):
    """Refuse the file of an array that asks for more memory than it has bytes.

    Parameters
    ----------
    file : file object
        What `numpy.save` wrote.
    size : int
        Its number of bytes.
    """
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, dtype = read[version](file)
    n_bytes = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or n_bytes != size - file.tell() or (not n_bytes and math.prod(shape)):
        raise ModelFileError(f"found an array {shape} of {dtype} in {size} bytes.")
