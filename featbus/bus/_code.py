"""Code: what functions and classes refer to."""

import dis
import functools
import importlib.util
import itertools
import sys
import types


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
    found = {}
    for part in _codes_in(code):
        steps = _steps(part)
        for step, after in itertools.pairwise(steps):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                is_whole = after.opname not in ("LOAD_ATTR", "LOAD_METHOD")
                found[step.argval] = found.get(step.argval, False) or is_whole
    return found


def _steps(code):
    """Return the instructions of code, without those that only lengthen an argument."""
    hidden = ("EXTENDED_ARG", "CACHE", "PRECALL")
    return [step for step in dis.get_instructions(code) if step.opname not in hidden]


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
    """Return the names of the modules that code imports when it runs.

    Parameters
    ----------
    code : code object
        Functions and classes defined inside are included.
    package : str or None
        The package that relative imports start from.

    Returns
    -------
    set of str
        Absolute names, those of the parent packages included.
    """
    found = set()
    for part in _codes_in(code):
        steps = _steps(part)
        for level, names, step in zip(steps, steps[1:], steps[2:]):
            if step.opname == "IMPORT_NAME":
                name = "." * (level.argval or 0) + step.argval
                try:
                    name = importlib.util.resolve_name(name, package)
                except ImportError:
                    continue  # the function cannot import it either
                parts = [f"{name}.{part}" for part in names.argval or ()]
                # `from package import module` imports a module, too.
                found |= {name, name.partition(".")[0]} | (set(parts) & sys.modules.keys())
    return found


def _codes_in(code):
    """Yield a code object, and those of the functions and classes defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes_in(constant)
