"""What functions and other objects hold on to, so that no clone of a pipeline fits it again."""

import dis
import gc
import sys
import sysconfig
from collections import deque
from types import CodeType, FrameType, FunctionType, ModuleType

import numpy as np

from featbus.steps import is_estimator, is_search

_MAX_DEPTH = 16
_MAX_OBJECTS = 10_000
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, np.generic)
_PLAIN += (CodeType, FrameType, ModuleType)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


def held_estimators(estimator):
    """Find the estimators that functions and objects among the parameters of an estimator hold.

    Parameters
    ----------
    estimator : estimator
        One step; the steps inside it are left out.

    Returns
    -------
    list of estimator
        Those that the garbage collector reaches from functions, bound methods, containers and other
        objects: in closures, defaults, bound arguments and attributes; and those in globals of
        functions, and in methods and attributes of classes outside of the standard library and
        installed packages. Up to a depth of 16 references and 10,000 objects that hold others.
        `sklearn.base.clone` copies them as they are. Only `get_params` of estimators is executed.
    """
    parameters = estimator.get_params(deep=False)
    attributes = {name: value for name, value in vars(estimator).items() if name not in parameters}
    roots = list(attributes.values()) if not hasattr(estimator, "n_features_in_") else []
    for value in parameters.values():
        roots += _not_cloned(value, is_search(estimator))
    return _search(roots)


def _not_cloned(value, is_of_search, depth=0):
    """Return what `clone` copies with its state: anything but estimators, and lists of them."""
    if is_estimator(value) or depth > _MAX_DEPTH:
        return []
    # Subclasses are copied with what they hold. The candidates of a search are cloned.
    if type(value) not in (list, tuple, set, *([dict] if is_of_search else [])):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [found for item in items for found in _not_cloned(item, is_of_search, depth + 1)]


def _search(roots):
    """Search breadth-first; the inside of an estimator that was found is its own."""
    found, seen, n_holders = [], {}, 0
    queue = deque((root, 0) for root in roots if not _is_plain(root))
    while queue and n_holders < _MAX_OBJECTS:
        value, depth = queue.popleft()
        if id(value) in seen:
            continue
        seen[id(value)] = value  # kept alive, so that no other gets its id
        if is_estimator(value):
            found.append(value)
        elif depth < _MAX_DEPTH:
            inner = [(item, depth + 1) for item in _inside(value) if not _is_plain(item)]
            n_holders += bool(inner)
            queue.extend(inner)
    return found


def _is_plain(value):
    return issubclass(type(value), _PLAIN)  # isinstance would ask the object for its class


def _inside(value):
    """Return what an object refers to; unlike iteration, nothing of the object is called."""
    kind = type(value)
    if issubclass(kind, FunctionType):
        return _inside_function(value)
    if issubclass(kind, np.ndarray):  # of which the garbage collector does not know
        array = np.ndarray.view(value, np.ndarray)
        return array.ravel().tolist() if array.dtype == object else []
    members = [vars(cls).values() for cls in kind.__mro__ if not _is_of_library(cls)]
    return gc.get_referents(value) + [member for values in members for member in values]


def _is_of_library(cls):
    name = vars(cls).get("__module__", "builtins")  # static types have none
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return name in sys.builtin_module_names or file.startswith(_LIBRARIES)


def _inside_function(function):
    known = function.__globals__
    used = [known.get(name) for name in _global_names(function.__code__)]
    others = function.__closure__, function.__defaults__, function.__kwdefaults__, vars(function)
    return [*used, *others]


def _global_names(code):
    """Return the names of globals in code, that of inner functions included."""
    instructions = dis.get_instructions(code)
    names = {step.argval for step in instructions if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return names.union(*map(_global_names, inner))
