"""How messages name a parameter: as Python does, or as the command line does."""

from contextlib import contextmanager
from contextvars import ContextVar

_LONGEST = 300  # characters of a value in a message

_FLAGS = {
    "backbone": "--backbone",
    "backbone_options": "--backbone-option",
    "cv": "--folds",
    "dihedral": "--dihedral",
    "features": "--features",
    "groups": "--groups",
    "input_size": "--input-size",
    "layers": "--layers",
    "license": "--license",
    "masks": "--masks",
    "memory": "--memory",
    "n_copies": "--copies",
    "n_jobs": "--jobs",
    "on_error": "--on-error",
    "options": "--option",
    "origin": "--origin",
    "output": "--output",
    "pooling": "--pooling",
    "port": "--port",
    "pos_label": "--positive",
    "random_state": "--seed",
    "recipe": "--recipe",
    "source": "--source",
    "strict": "--strict",
    "url": "--url",
    "weights": "--weights",
}
_ALL_FLAGS = tuple(_FLAGS.values())
_flags = ContextVar("flags", default=None)


@contextmanager
def flags_in_messages(flags=_ALL_FLAGS):
    """Have messages name the flags of the command line inside a ``with`` block.

    Parameters
    ----------
    flags : collection of str, default=all
        Those that the command has.
    """
    token = _flags.set(flags)
    try:
        yield
    finally:
        _flags.reset(token)


def named(parameter):
    """Return the name of a parameter in messages.

    Parameters
    ----------
    parameter : str
        Its name in Python.

    Returns
    -------
    str
        The same, or the flag of the command line, if a command was called that has it.
    """
    flag = _FLAGS.get(parameter)
    return flag if flag in (_flags.get() or ()) else parameter


def argument(parameter, value=None):
    """Return an argument in messages, as whoever called has to pass it.

    Parameters
    ----------
    parameter : str
        Its name in Python.
    value : object, default=None
        The value; None leaves it to the user.

    Returns
    -------
    str
        Such as ``cv=5`` or ``--folds 5``.
    """
    name = named(parameter)
    if name.startswith("--"):
        gap = "=" if str(value).startswith("-") else " "  # -x would be another flag
        return name if value is None else f"{name}{gap}{value}"
    return f"{name}=" if value is None else f"{name}={value!r}"


def options_argument(parameter, options):
    """Return a dict of options in messages, as whoever called has to pass it.

    Parameters
    ----------
    parameter : str
        Its name in Python.
    options : dict
        The options.

    Returns
    -------
    str
        Such as ``backbone_options={'alpha': 0.35}`` or ``--backbone-option alpha=0.35``.
    """
    if not named(parameter).startswith("--"):
        return argument(parameter, options)
    return " ".join(argument(parameter, f"{key}={value}") for key, value in options.items())


def either(python, command_line):
    """Return the text for whoever called.

    Parameters
    ----------
    python, command_line : str
        The texts.

    Returns
    -------
    str
        One of the two.
    """
    return python if _flags.get() is None else command_line


def shown(value):
    """Return a value as messages show it.

    Parameters
    ----------
    value : object
        The value.

    Returns
    -------
    str
        Its `repr`, cut if it is long.
    """
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
