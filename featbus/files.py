"""Files that appear whole, or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


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
