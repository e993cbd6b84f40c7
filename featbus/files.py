"""Files that appear whole, or not at all, and cells that a spreadsheet takes for what they are."""

import os
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@contextmanager
def written_whole(path):
    """Write a file under a hidden name beside its place, and move it there at the end.

    Parameters
    ----------
    path : str or os.PathLike
        The file. One that exists is replaced in one step, or stays as it is after an error.

    Yields
    ------
    pathlib.Path
        The hidden file to write, ``.NAME.<random>.part``. It is flushed to the disk before it gets
        its name, and removed after an error.
    """
    path = Path(path)
    hidden = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        yield hidden
        with open(hidden, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def escape_formula(cell):
    """Return a text that a spreadsheet does not take for a formula.

    Parameters
    ----------
    cell : object
        A cell of a table.

    Returns
    -------
    object
        A text that begins as a formula does, after an apostrophe; anything else as it is.
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def as_unicode(text):
    r"""Escape the bytes of a file name that are not Unicode: ``M\xfcller.png``."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def escape(text):
    """Return a text without control characters and marks that change the direction of writing.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        The text, with escapes such as ``\\x1b`` and ``\\u202e`` instead of what cannot be seen.
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
