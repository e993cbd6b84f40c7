"""What functions and other objects hold on to, so that no clone of a pipeline fits it again."""

import dis
from collections import deque
from functools import partial
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)

import numpy as np

from featbus.steps import is_search

_MAX_DEPTH = 8
_MAX_OBJECTS = 10_000
_CONTENTS = CellType.cell_contents
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, ModuleType, np.generic)


def is_estimator(value):
    """Tell whether an object is an estimator; asked of its class, so that nothing is executed."""
    return hasattr(type(value), "get_params")


def held_estimators(estimator):
    """Find the estimators that functions and objects among the parameters of an estimator hold.

    Parameters
    ----------
    estimator : estimator
        One step; the steps inside it are left out.

    Returns
    -------
    list of estimator
        Those in closures, defaults, globals and bound arguments of functions, in bound methods,
        containers and attributes, up to a depth of 8 and of 10,000 objects. `sklearn.base.clone`
        copies them as they are. Nothing is executed.
    """
    parameters = estimator.get_params(deep=False)
    attributes = {name: value for name, value in vars(estimator).items() if name not in parameters}
    roots = list(attributes.values()) if not hasattr(estimator, "n_features_in_") else []
    for value in parameters.values():
        roots += _not_cloned(value, is_search(estimator))
    return _search(roots)


def _not_cloned(value, is_of_search):
    """Return what `clone` copies with its state: anything but estimators, and lists of them."""
    if is_estimator(value):
        return []
    if isinstance(value, (list, tuple, set)):
        return [found for item in value for found in _not_cloned(item, is_of_search)]
    if isinstance(value, dict) and is_of_search:  # its candidates are cloned
        return _not_cloned(list(value.values()), is_of_search)
    return [value]


def _search(roots):
    """Search breadth-first; the inside of an estimator that was found is its own."""
    found, seen = [], {}
    queue = deque((root, 0) for root in roots)
    while queue and len(seen) < _MAX_OBJECTS:
        value, depth = queue.popleft()
        if isinstance(value, _PLAIN) or id(value) in seen:
            continue
        seen[id(value)] = value  # kept alive, so that no other gets its id
        if is_estimator(value):
            found.append(value)
        elif depth < _MAX_DEPTH:
            queue.extend((inner, depth + 1) for inner in _inside(value))
    return found


def _inside(value):
    """Return what an object refers to."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return list(value)
    if isinstance(value, np.ndarray):
        return value.ravel().tolist() if value.dtype == object else []
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, BuiltinFunctionType):
        return [value.__self__]
    inner = _inside_function(value) if isinstance(value, FunctionType) else []
    return inner + _attributes(value)


def _inside_function(function):
    cells = [_value_of(_CONTENTS, cell) for cell in function.__closure__ or ()]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    known = function.__globals__
    return cells + defaults + [known.get(name) for name in _global_names(function.__code__)]


def _global_names(code):
    """Return the names of globals in code, that of inner functions included."""
    instructions = dis.get_instructions(code)
    names = {step.argval for step in instructions if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return names.union(*map(_global_names, inner))


def _attributes(value):
    """Return the values of the attributes of an object, in its dict and in slots."""
    values = list(_own_dict(value).values())
    for cls in type(value).__mro__:
        # Members of built-in types are left out: one of a function is the dict of its module.
        members = vars(cls).values() if "__slots__" in vars(cls) else ()
        slots = [member for member in members if isinstance(member, MemberDescriptorType)]
        values += [_value_of(slot, value) for slot in slots]
    return values


def _own_dict(value):
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}


def _value_of(slot, value):
    try:
        return slot.__get__(value)
    except (AttributeError, ValueError):  # not assigned
        return None
