"""The values of a model's parts: what trusted parts are told to call, and with what."""

import numpy as np
from sklearn.utils._param_validation import InvalidParameterError

from featbus.parameters import check_parameters
from featbus.persistence._archive import ModelFileError
from featbus.persistence._trust import is_metric, is_score, is_splitter

# Parameters and attributes that name a method, which scikit-learn calls.
_NAMES_OF_METHODS = {"response_method", "_response_method", "stack_method", "stack_method_"}
_METHODS = {"auto", "decision_function", "predict", "predict_log_proba", "predict_proba"}
# Arguments of a function, which is one of NumPy or SciPy: such as `out`, which is written to.
_ARGUMENTS = {"kwargs", "kw_args", "inv_kw_args"}


def _is_elementwise(value):
    """Tell whether a value is a function of NumPy or SciPy from one array to another."""
    return isinstance(value, np.ufunc) and value.nin == value.nout == 1


# Parameters and attributes that may be functions or types, and which.
_CALLED = {
    "_score_func": is_metric,
    "cv": is_splitter,
    "eval_metric": is_metric,
    "func": _is_elementwise,
    "inverse_func": _is_elementwise,
    "score_func": is_score,
}
_ALWAYS_CHECKED = ("func", "inverse_func")


def check_values(part):
    """Refuse a part that would call, with valid parts, what no model calls.

    Parameters
    ----------
    part : object
        One of `parts_of` a loaded pipeline, with attributes.
    """
    for name, value in vars(part).items():
        if callable(getattr(type(part), name, None)):
            _refuse(part, name, "an attribute instead of the method")
        for key, leaf in _leaves(name, value):
            _check_leaf(part, key, leaf)
    _check_own_parameters(part)


def _leaves(name, value):
    """Yield the values in a container, each with the name of the parameter that it is for."""
    if isinstance(value, dict) and name not in _NAMES_OF_METHODS | _ARGUMENTS:
        for key, item in value.items():
            inner = str(key).rpartition("__")[2].removeprefix("param_")
            yield from _leaves(inner, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(name, item)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        for item in np.ma.getdata(value).ravel():
            yield from _leaves(name, item)
    else:
        yield name, value


def _check_leaf(part, name, value):
    if name in _NAMES_OF_METHODS:
        if value is not None and not (isinstance(value, str) and value in _METHODS):
            _refuse(part, name, value)
    elif name in _ARGUMENTS:
        if value is not None and value != {}:
            _refuse(part, name, value)
    elif name in _ALWAYS_CHECKED:
        if value is not None and not _is_elementwise(value):
            _refuse(part, name, value)
    elif _is_function(value) and not _CALLED.get(name, _is_type_of_numbers)(value):
        _refuse(part, name, value)


def _is_function(value):
    """Tell whether a value is a function or a type, not an object that can be called."""
    return isinstance(value, (type, np.ufunc)) or hasattr(value, "__code__") or _is_builtin(value)


def _is_builtin(value):
    return type(value).__module__ == "builtins" and callable(value)


def _is_type_of_numbers(value):
    return isinstance(value, type) and (value in (bool, float, int) or issubclass(value, np.number))


def _check_own_parameters(part):
    """Refuse parameters that the `fit` of scikit-learn would refuse."""
    if not type(part).__module__.startswith("sklearn."):
        return
    constraints = getattr(type(part), "_parameter_constraints", {})
    checked = {name: rule for name, rule in constraints.items() if rule != "no_validation"}
    try:
        check_parameters(checked, vars(part))
    except InvalidParameterError as error:
        raise ModelFileError(f"in {type(part).__name__}, {error}") from error


def _refuse(part, name, value):
    raise ModelFileError(
        f"found {name}={value!r} in {type(part).__name__}, which no model has. Functions must be "
        "of one array, such as numpy.log1p, without further arguments."
    )
