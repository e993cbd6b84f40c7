"""Write files atomically, and escape text for spreadsheets and terminals."""

import os
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@contextmanager
def written_whole(path):
    """Write a file under a hidden name in its folder, and rename it at the end.

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
    """Escape a text that a spreadsheet would take for a formula.

    Parameters
    ----------
    cell : object
        A cell of a table.

    Returns
    -------
    object
        The text after an apostrophe if it begins like a formula; anything else unchanged.
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def as_unicode(text):
    r"""Escape the bytes of a file name that are not Unicode: ``M\xfcller.png``."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def escape(text):
    """Escape control characters, and marks that change the direction of writing.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        The text, with escapes such as ``\\x1b`` and ``\\u202e`` for what is not printable.
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
