"""Fingerprints of code: functions, classes, modules."""

import builtins
import functools
import importlib
import os
import pkgutil
import sys
import threading
import types
from collections import ChainMap
from contextlib import suppress
from typing import TypeVar

import numpy as np

from featbus.bus._code import attributes_in, closure_of, functions_of, globals_in, imports_in
from featbus.bus._packages import find_release
from featbus.bus._walk import look_up, package, refuse, sorted_by_name

# Attributes of classes that are no code, or made from the others.
_NOT_CODE = {
    "__abstractmethods__",
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__slotnames__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
    "_value2member_map_",  # of an enum; grows with each combination of flags
}
# Functions and attributes that run, or reach, code that cannot be seen.
HIDDEN = eval, exec, globals, __import__, importlib.import_module, pkgutil.resolve_name
_RUNNING = {hidden.__name__ for hidden in HIDDEN}
_HIDING = {
    "__annotations__",
    "__globals__",
    "__import__",
    "_getframe",
    "f_globals",
    "get_annotations",
    "get_type_hints",
    "import_module",
    "resolve_name",
}
_ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}
_DISPATCHER = functools.singledispatch(len).__code__
_LOCKS = type(threading.Lock()), type(threading.RLock())


def _feed_module(walk, module, where):
    """Update with a module that is handed on as a value: anything in it may be used."""
    names = {name for name in vars(module) if not name.startswith("__")}
    _feed_attributes(walk, module, names, where)


def _feed_attributes(walk, module, names, where):
    """Update with what a function may use of a module."""
    release = find_release(module.__name__)
    walk.update(f"{module.__name__} {release}")
    if release is not None:
        return
    feed_extension(walk, module.__name__)
    space = vars(module)
    for name in sorted(names):
        if name in space:
            walk.update(name)
            _feed_global(walk, space[name], name, names, f"{where}.{name}")
    if "__getattr__" in space and names - space.keys():
        walk.feed(space["__getattr__"], where)


def feed_extension(walk, module):
    """Update with the file of a module that is not written in Python.

    Parameters
    ----------
    walk : Walk
        Updated in place.
    module : str
        Name of the module.
    """
    path = vars(sys.modules[module]).get("__file__") if module in sys.modules else None
    if path is not None and not os.fspath(path).endswith((".py", ".pyc")):
        walk.update_with_file(path)


def _is_released(walk, value, name):
    """Update with the name and the release of what a name leads to in an installed package."""
    module = getattr(value, "__module__", None)
    release = find_release(module)
    if release is None or look_up(module, name) is not value:
        return False
    walk.update(f"{module}.{name} {release}")
    return True


def _feed_function(walk, function, where):
    if function in HIDDEN:
        refuse(where, f"{function.__name__}, which hides code", "Do without")
    if _is_released(walk, function, function.__qualname__):
        return
    if function.__code__ is _DISPATCHER:  # the rest is a cache
        return walk.feed((function.__wrapped__, dict(function.registry)), where)
    walk.update(f"{function.__qualname__} {function.__name__}")
    walk.feed(function.__code__, where)
    walk.feed((function.__defaults__, function.__kwdefaults__, vars(function)), where)
    walk.feed_dict(closure_of(function), where)
    _feed_globals(walk, function, where)


def _feed_globals(walk, function, where):
    """Update with the globals that a function refers to, and the modules that it imports."""
    code, space = function.__code__, function.__globals__
    names, loaded = attributes_in(code), globals_in(code)
    hidden = names & _HIDING | (loaded.keys() - space.keys()) & _RUNNING
    if "builtins" in names:
        hidden |= names & _RUNNING
    if {"sys", "modules"} <= names:
        hidden |= {"sys.modules"}
    if hidden:
        refuse(where, f"a function that uses {min(hidden)}, which hides code", "Do without")
    found = ChainMap(space, vars(builtins))
    for name in sorted(loaded.keys() & found.keys()):
        walk.update(name)
        used = None if loaded[name] else names
        _feed_global(walk, found[name], name, used, f"{where}.{name}")
    if names & _ENVIRONMENT:
        _feed_environment(walk, {*names, *map(found.get, loaded)})
    _feed_imports(walk, imports_in(code, space.get("__package__")), names, where)


def _feed_environment(walk, names):
    """Update with the variables of the environment among the names that a function knows."""
    names = {name for name in names if isinstance(name, str)}
    walk.update(repr(sorted((name, os.environ[name]) for name in names & os.environ.keys())))


def _feed_global(walk, value, name, names, where):
    """Update with a global of a function that uses these names of modules; None: all."""
    if isinstance(value, types.ModuleType) and names is not None:

        def feed(walk, module, where):
            _feed_attributes(walk, module, names, where)

        walk.follow(value, (id(value), frozenset(names)), feed, where)
    elif not _is_released_object(walk, value, name):
        walk.feed(value, where)


def _is_released_object(walk, value, name):
    """Update with the name of an object of an installed package, such as a distribution."""
    module = type(value).__module__
    # Anybody may add to the built-in names.
    if isinstance(value, (types.ModuleType, type)) or module == "builtins":
        return False
    if look_up(module, name) is not value:
        return False
    release = find_release(module)
    if release is not None:
        walk.update(f"{module}.{name} {release}")
    return release is not None


def _feed_imports(walk, imports, names, where):
    """Update with what a function imports, after all of it is there, as when the function runs."""
    own = [found for found in imports if find_release(found.module) is None]
    for found in own:
        _import(found)
    for found in imports:
        walk.update(f"import {found.module} {find_release(found.module)}")
    for found in own:
        used = None if found.is_whole else names
        root, module = map(sys.modules.get, (found.module.partition(".")[0], found.module))
        for value in (module,) if found.parts else (root, module):
            _feed_global(walk, value, found.module, names if found.parts else used, where)
        for part in found.parts:
            _feed_global(walk, getattr(module, part, None), part, used, where)


def _import(found):
    """Import a module, and those that are imported from it."""
    with suppress(Exception):  # as when the function runs, which may know what to do
        module = importlib.import_module(found.module)
        for part in found.parts:
            if not hasattr(module, part):
                with suppress(ImportError):
                    importlib.import_module(f"{found.module}.{part}")


def _feed_code(walk, code, where):
    """Update with byte code and constants, not with file names and line numbers."""
    layout = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    table = getattr(code, "co_exceptiontable", b"")
    walk.update(f"{sys.version_info[:2]}{layout}{names}{code.co_code!r}{table!r}")
    walk.feed_sequence(code.co_consts, where)


def _feed_class(walk, cls, where):
    """Update with a class and its bases."""
    for base in cls.__mro__:
        if package(base) == "featbus":
            version = vars(base).get("_algorithm_version")
            walk.update(f"{base.__module__}.{base.__qualname__} {version}")
        elif not _is_released(walk, base, base.__qualname__):
            _feed_class_body(walk, base, where)


def _feed_class_body(walk, cls, where):
    walk.update(cls.__qualname__)
    walk.feed(type(cls), where)
    layout = types.MemberDescriptorType, types.GetSetDescriptorType
    names = vars(cls).keys() - _NOT_CODE
    members = {n: vars(cls)[n] for n in names if not isinstance(vars(cls)[n], layout)}
    walk.feed_dict(sorted_by_name({n: functions_of(m) for n, m in members.items()}), where)


def _feed_method(walk, method, where):
    walk.feed((method.__func__, method.__self__), where)


def _feed_type_variable(walk, variable, where):
    walk.feed((variable.__name__, variable.__bound__, variable.__constraints__), where)


def _feed_lock(walk, lock, where):
    """Update with nothing but the type: whether it is locked changes no row."""


def _feed_vectorized(walk, function, where):
    """Update with all but the ufunc that it makes on first use."""
    state = {k: v for k, v in vars(function).items() if k != "_ufunc"}
    walk.feed_dict(sorted_by_name(state), where)


def _feed_ufunc(walk, function, where):
    """Update with the name of a ufunc; one made by `numpy.frompyfunc` has none."""
    name = function.__name__
    for module in ("numpy", "scipy.special"):
        if look_up(module, name) is function:
            return walk.update(f"{module}.{name} {find_release(module)}")
    refuse(where, f"the ufunc {name!r}, whose code is hidden", "Use numpy.vectorize")


EXACT_CODE = {
    types.FunctionType: _feed_function,
    types.MethodType: _feed_method,
    types.CodeType: _feed_code,
    types.ModuleType: _feed_module,
}
CODE = [
    (_LOCKS, _feed_lock),
    (TypeVar, _feed_type_variable),
    (np.vectorize, _feed_vectorized),
    (np.ufunc, _feed_ufunc),
    (type, _feed_class),
]
