"""Tables of images as files: CSV, Parquet or NumPy's archive."""

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pandas.api.types import is_numeric_dtype

from featbus.files import escape_formula, written_whole
from featbus.parameters import InvalidParameterError

SHOWN = 20


def check_output(path, suffixes):
    """Refuse a file that could not be written, before hours of work.

    Parameters
    ----------
    path : path-like or None
        The file; None passes.
    suffixes : tuple of str
        The extensions that are known.

    Raises
    ------
    InvalidParameterError
        If the file has another extension.
    ImportError
        If a Parquet file is wanted and pyarrow is not installed.
    OSError
        If there is no such folder, a folder in the place of the file, or no file can be written.
    """
    if path is None:
        return
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise InvalidParameterError(
            f"output is {str(path)!r}, expected a file ending in {' or '.join(suffixes)}."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} to write to. Make it.")
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder, expected a file. Name another one.")
    _try_to_write(path)
    if path.suffix.lower() == ".parquet":
        _import_pyarrow()


def _try_to_write(path):
    """Raise if a file of this name cannot be written: only writing one tells."""

    class _Tried(Exception):
        pass

    try:
        with suppress(_Tried), written_whole(path) as hidden:
            hidden.touch()
            raise _Tried
    except OSError as error:
        raise type(error)(
            f"The file {str(path)!r} cannot be written: {error.strerror}. Name another one."
        ) from error


def _import_pyarrow():
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"Parquet files need pyarrow ({error}). Install it: pip install 'featbus[parquet]', or "
            "name a .csv or .npz file."
        ) from error


def write_table(table, path, features=()):
    """Write a table: the whole file, or nothing.

    Parameters
    ----------
    table : DataFrame
        One row per image.
    path : path-like
        A ``.csv``, ``.parquet`` or ``.npz`` file. In CSV, text that a spreadsheet takes for a
        formula gets an apostrophe. An ``.npz`` file has the array ``features``, their names in
        ``columns``, and an array for each other column.
    features : list of str, default=()
        The columns of features.
    """
    with written_whole(path) as hidden:
        _WRITERS[Path(path).suffix.lower()](table, hidden, features)


@contextmanager
def written_together(path, *others):
    """Write files in a hidden folder, and move all of them to their places at the end.

    The others that exist are removed first: whatever happens then, none of them is beside a file
    that it does not belong to.

    Parameters
    ----------
    path : Path
        The main file.
    *others : Path
        Files that say something about it, in the same folder.

    Yields
    ------
    Path
        The hidden folder, in which to write files of these names. It is removed after an error.
    """
    with TemporaryDirectory(prefix=".featbus-", dir=path.parent) as folder:
        yield Path(folder)
        for other in others:
            other.unlink(missing_ok=True)
        for each in (path, *others):
            os.replace(Path(folder) / each.name, each)


def print_failures(table):
    """Print the images without a result, the first of many, and why.

    Parameters
    ----------
    table : DataFrame
        With the columns ``path`` and ``error``.
    """
    failed = table[table["error"].notna()]
    for row in failed[:SHOWN].itertuples():
        print(f"  {row.path}: {row.error}")
    if len(failed) > SHOWN:
        print(f"  and {len(failed) - SHOWN} more: see the column 'error'")


def _write_csv(table, path, features):
    texts = [name for name, dtype in table.dtypes.items() if not is_numeric_dtype(dtype)]
    table = table.assign(**{name: table[name].map(escape_formula) for name in texts})
    table.rename(columns=escape_formula).to_csv(path, index=False)


def _write_parquet(table, path, features):
    table.to_parquet(path, index=False, engine="pyarrow")


def _write_npz(table, path, features):
    others = table.drop(columns=features)
    arrays = {
        name: column.to_numpy() if is_numeric_dtype(column) else np.array([*column.fillna("")], str)
        for name, column in others.items()
    }
    with open(path, "wb") as file:
        np.savez_compressed(
            file, features=table[features].to_numpy(), columns=np.array(features, str), **arrays
        )


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet, ".npz": _write_npz}
