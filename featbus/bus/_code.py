"""Code: what functions and classes refer to."""

import dis
import functools
import importlib.util
import itertools
import re
import types
from typing import NamedTuple


def functions_of(member):
    """Return what is inside a descriptor in the body of a class.

    Parameters
    ----------
    member : object
        An attribute of a class.

    Returns
    -------
    object
        Kind and functions of a property or a method; anything else as it is.
    """
    kind = type(member)
    if kind in (staticmethod, classmethod):
        return kind, member.__func__
    if kind is property:
        return kind, member.fget, member.fset, member.fdel
    if kind is functools.cached_property:
        return kind, member.func
    return member


def closure_of(function):
    """Return the variables of the enclosing functions that a function uses.

    Parameters
    ----------
    function : function
        The function.

    Returns
    -------
    dict of str to object
        Variables by name; those that are not assigned yet are left out.
    """
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue
    return found


class Import(NamedTuple):
    """A module that code imports, what it imports from it, and whether it uses that as a value."""

    module: str
    parts: tuple[str, ...]
    is_whole: bool


class _Step(NamedTuple):
    """An instruction: its name, and the variable or value that it is about."""

    name: str
    value: object


def globals_in(code):
    """Return the globals that code loads, built-in functions included.

    Parameters
    ----------
    code : code object
        Functions and classes defined inside are included.

    Returns
    -------
    dict of str to bool
        Names, and whether the code uses them otherwise than for one of their attributes.
    """
    return _loaded(code, "LOAD_GLOBAL|LOAD_NAME")


def _loaded(code, names):
    """Return the variables that code loads by these instructions, and whether as a value."""
    found = {}
    for part in _codes_in(code):
        for step, after in itertools.pairwise([*_steps(part), _Step("", None)]):
            if re.match(names, step.name):
                is_whole = after.name not in ("LOAD_ATTR", "LOAD_METHOD")
                is_whole |= after.value == "__dict__"
                found[step.value] = found.get(step.value, False) or is_whole
    return found


def _steps(code):
    """Return the instructions of code, without those that only lengthen an argument."""
    steps = []
    for step in dis.get_instructions(code):
        if step.opname not in ("EXTENDED_ARG", "CACHE", "PRECALL"):
            # Python 3.13 and later have some for two variables: LOAD_FAST_LOAD_FAST.
            names = re.findall("(?:LOAD|STORE)_FAST", step.opname)
            both = zip(names, step.argval) if len(names) == 2 else [(step.opname, step.argval)]
            steps += itertools.starmap(_Step, both)
    return steps


def attributes_in(code):
    """Return the names that code may look up in a module.

    Parameters
    ----------
    code : code object
        Functions and classes defined inside are included.

    Returns
    -------
    set of str
        All its names, and its constants that are names, which `getattr` may be given.
    """
    parts = list(_codes_in(code))
    constants = {c for part in parts for c in part.co_consts if isinstance(c, str)}
    names = {name for part in parts for name in part.co_names}
    return names | set(filter(str.isidentifier, constants))


def imports_in(code, package):
    """Return what code imports when it runs.

    Parameters
    ----------
    code : code object
        Functions and classes defined inside are included.
    package : str or None
        The package that relative imports start from.

    Returns
    -------
    list of Import
        With absolute names, sorted.
    """
    found, loaded = set(), _loaded(code, "LOAD_(?!CONST|SMALL|ATTR|METHOD)")
    for part in _codes_in(code):
        steps = _steps(part)
        for index, step in enumerate(steps):
            if step.name == "IMPORT_NAME":
                level, parts = (before.value for before in steps[index - 2 : index])
                name = "." * (level or 0) + step.value
                try:
                    name = importlib.util.resolve_name(name, package)
                except ImportError:
                    continue  # the function cannot import it either
                is_whole = any(map(loaded.get, _bound(steps[index + 1 :])))
                found.add(Import(name, tuple(parts or ()), is_whole))
    return sorted(found)


def _bound(steps):
    """Return the variables that the instructions after an import assign to."""
    names = "IMPORT_FROM|SWAP|POP_TOP|STORE_"
    assigned = itertools.takewhile(lambda step: re.match(names, step.name), steps)
    return [step.value for step in assigned if step.name.startswith("STORE_")]


def _codes_in(code):
    """Yield a code object, and those of the functions and classes defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes_in(constant)
