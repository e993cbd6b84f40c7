"""Fingerprints: what determines the row that a transformer makes of an image."""

from __future__ import annotations

import copyreg
import functools
import pickle
from typing import TYPE_CHECKING

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

from featbus.bus._packages import find_release
from featbus.bus._walk import (
    REMEDY,
    FingerprintError,
    Walk,
    look_up,
    package,
    refuse,
    sorted_by_name,
)
from featbus.bus._walk_code import CODE, EXACT_CODE, HIDDEN, feed_extension
from featbus.bus._walk_data import DATA, EXACT_DATA
from featbus.parameters import InvalidParameterError

if TYPE_CHECKING:
    from typing import Any

# Goes up whenever `read_image` or the conversions of `featbus.images` give other pixels, which also
# depend on the version of OpenCV.
_READER_VERSION = 3
# Parameters of estimators of these packages that change how they run, not their rows.
_IRRELEVANT = {"n_jobs", "verbose", "memory"}
_PACKAGES = {"featbus", "sklearn", "imblearn"}
_NOT_LEARNED = {"_sklearn_output_config", "_metadata_request"}
# Attributes that they set in `fit` only to check what they are given later.
_CHECKED = {"feature_names_in_", "n_features_in_"}


def fingerprint(transformer: Any) -> bytes:
    """Digest everything that determines the row a transformer makes of an image.

    What is featbus's own is identified by its class, the algorithm versions of the class and of its
    bases, its parameters and its learned state. Code of other installed packages is identified by
    name and version. All other code is identified by what will run: its byte code, defaults,
    closures, and the functions, classes, constants and files that it refers to.

    Read more in the :ref:`User Guide <feature_bus>`.

    Parameters
    ----------
    transformer : estimator
        A transformer; a fitted one if it learns.

    Returns
    -------
    bytes of length 16
        BLAKE2b digest.

    Raises
    ------
    FingerprintError
        If it contains what cannot be followed: a random state or an iterator, which change with
        use, a folder, code that is run by `eval` and the like, or an object that cannot be pickled.
    """
    feed_estimator = functools.partial(_feed_estimator, transformer)
    kinds = [*DATA, *CODE, (BaseEstimator, feed_estimator)]
    walk = Walk(EXACT_DATA | EXACT_CODE, kinds, _feed_object)
    try:
        readers = "featbus", _READER_VERSION, find_release("cv2")
        output = get_config()["transform_output"]
        walk.feed((*readers, output), "settings")
        walk.feed(transformer, type(transformer).__name__)
    except (FingerprintError, InvalidParameterError, NotFittedError, OSError, ImportError):
        raise
    except RecursionError as error:
        raise FingerprintError(
            f"{type(transformer).__name__} is nested too deeply to be followed: "
            + REMEDY.format("Use flatter parameters")
        ) from error
    except Exception as error:  # of an object whose own methods raise
        raise FingerprintError(
            f"{type(transformer).__name__} cannot be followed ({error!r}): "
            + REMEDY.format("Use other parameters")
        ) from error
    return walk.digest.digest()


def _feed_estimator(outermost, walk, estimator, where):
    cls = type(estimator)
    walk.feed(cls, where)
    # Asked of the class: a FrozenEstimator hands on the attributes of the estimator inside.
    describe = getattr(cls, "_fingerprint_params", None)
    parameters = estimator.get_params(deep=False)
    skipped, checked = (_IRRELEVANT, _CHECKED) if package(cls) in _PACKAGES else ((), ())
    described = describe(estimator) if describe else parameters
    if "dtype" in described and described["dtype"] is not None and package(cls) == "featbus":
        described = described | {"dtype": np.dtype(described["dtype"]).str}
    walk.feed_dict(sorted_by_name(described, skipped), where)
    is_own = package(cls) == "featbus"
    owner = next((base for base in cls.__mro__ if "_fingerprint_params" in vars(base)), cls)
    if not is_own and package(owner) == "featbus":  # which knows nothing of other parameters
        walk.feed_dict(sorted_by_name(parameters, owner._get_param_names()), where)
    if not is_own or get_tags(estimator).requires_fit:
        learned = sorted_by_name(vars(estimator), {*_NOT_LEARNED, *checked, *parameters})
        if describe:
            learned.pop("errors_", None)
        walk.feed_dict(learned, where)
    if estimator is not outermost:  # what it returns, array or table, another one sees
        walk.feed(vars(estimator).get("_sklearn_output_config"), where)


def _feed_object(walk, value, where):
    """Update with any other object: what it would be pickled as, and its code."""
    if hasattr(type(value), "__next__"):
        found = f"a {type(value).__name__}, which changes with each use"
        refuse(where, found, "Use a list")
    if type(value) is object:
        refuse(where, "a plain object, which has nothing but its identity", "Use a string")
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        if not isinstance(reduced, str):
            make, arguments, *rest = reduced
            state, items, pairs = (*rest, None, None, None)[:3]
            items, pairs = list(items or ()), [list(pair) for pair in pairs or ()]
    except Exception as error:
        raise FingerprintError(
            f"{where} is a {type(value).__name__} that cannot be pickled ({error}): "
            + REMEDY.format("Use an object that can")
        ) from error
    if isinstance(reduced, str):
        return _feed_named(walk, value, reduced, where)
    if isinstance(state, tuple) and not hasattr(value, "__setstate__"):  # of a class with slots
        state = {**(state[0] or {}), **(state[1] or {})}
    state = sorted_by_name(state) if type(state) is dict else state
    walk.feed((type(value), make, arguments), where)
    # Attributes are fed here, so that messages name them.
    if isinstance(state, dict):
        walk.feed_dict(state, where)
    else:
        walk.feed(state, where)
    walk.feed((items, pairs), where)


def _feed_named(walk, value, name, where):
    """Update with what is pickled by its name, such as a function written in C."""
    if any(value is hidden for hidden in HIDDEN):
        refuse(where, f"{name}, which hides code", "Do without")
    module = pickle.whichmodule(value, name)
    release = find_release(module)
    found = look_up(module, name) is value
    if hasattr(value, "__wrapped__") and (release is None or not found):
        # Such as one with a cache, which may have attributes of its own.
        own = sorted_by_name(vars(value), {"__wrapped__", "__doc__", "cache_parameters"})
        return walk.feed((value.__wrapped__, own), where)
    if not found:
        refuse(where, f"{name!r} of module {module!r}, which is not found there", "Rename it")
    walk.update(f"{module}.{name} {release}")
    if release is None:
        feed_extension(walk, module)
        walk.feed((type(value), value.__getstate__()), where)
