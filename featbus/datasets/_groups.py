"""Tables of the images that belong together."""

import os
import warnings
from collections import Counter
from pathlib import Path

import pandas as pd

from featbus.datasets._files import as_name, quote
from featbus.groups import GroupsWarning, link

_TEXTS = ("file", "group", "similar_groups")


def add_groups(frame, groups, warning, paths, root):
    """Add the column ``group`` and the columns of a table of groups to `frame`.

    Parameters
    ----------
    frame : DataFrame
        One row per image, with its name in the column ``file``.
    groups : None, path or DataFrame
        A table with the columns ``file`` and ``group``, and optionally ``similar_groups``: names of
        other groups in the table, separated by semicolons. None: unknown.
    warning : str
        The warning if `groups` is None.
    paths : list of Path
        The images.
    root : Path
        The folder of the data set.

    Returns
    -------
    DataFrame
        `frame` with ``group`` (int; similar groups are merged), ``listed_group`` (as in the table)
        and the other columns of the table. Columns of `frame` are not replaced. `frame` itself, if
        `groups` is None.
    """
    if groups is None:
        warnings.warn(warning, GroupsWarning, stacklevel=3)
        return frame
    table = _check_table(groups if isinstance(groups, pd.DataFrame) else _read_csv(groups))
    rows = _find_rows(table["file"], frame["file"].tolist(), paths, root)
    names = _as_text(table["group"]).map(as_name, na_action="ignore")
    names = names.mask(names == "")
    missing = table["file"][rows][names[rows].isna()].tolist()
    if missing:
        raise ValueError(
            f"The table of groups has no group for {quote(missing)}, expected one for every image. "
            "An image without known relatives gets a group of its own."
        )
    _check_spelling(names)
    table = table.assign(listed_group=table["group"], group=_merge_similar(table, names))
    news = [column for column in table if column not in frame]
    return frame.join(table.loc[rows, news].set_axis(frame.index))


def _read_csv(path):
    """Read a table in UTF-8 whose columns are separated by commas, semicolons or tabs."""
    try:
        header = Path(path).read_text(encoding="utf-8-sig").partition("\n")[0]
        separator = max(",;\t", key=header.count)
        # Names stay text: as numbers, 007 and 7 would be one group.
        texts = {name: str for name in header.split(separator) if _as_header(name) in _TEXTS}
        with warnings.catch_warnings():
            # Cells without a column: the end of a name that contains the separator.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path, sep=separator, dtype=texts, index_col=False, skipinitialspace=True
            )
    except (ValueError, pd.errors.ParserWarning) as error:
        raise ValueError(
            f"The table of groups {os.fspath(path)!r} cannot be read: {str(error).strip()}. "
            "Expected a CSV file in UTF-8 with as many cells in each row as in the header, and "
            "quotes around names that contain ',', ';' or a tab."
        ) from error


def _as_header(column):
    return as_name(str(column)).casefold()


def _check_table(table):
    known = {column: key for column in table if (key := _as_header(column)) in _TEXTS}
    table = table.rename(columns=known).reset_index(drop=True)
    columns = list(table.columns)
    if columns.count("file") != 1 or columns.count("group") != 1:
        raise ValueError(
            f"The table of groups has the columns {columns}, expected 'file' and 'group' among "
            "them, once each."
        )
    twice = table["file"].duplicated()
    if twice.any():
        raise ValueError(
            f"The table of groups has several rows for {quote(table.loc[twice, 'file'].tolist())}, "
            "expected one row per image."
        )
    return table


def _find_rows(listed, files, paths, root):
    """Return the position of each image's row in the table."""
    rows = {str(name): row for row, name in enumerate(listed)}
    rows = {_as_path(name): row for name, row in rows.items()} | rows
    uses = Counter(path.name for path in paths)
    found = []
    for file, path in zip(files, paths):
        names = [file, str(path), os.path.abspath(path), *[path.name] * (uses[path.name] == 1)]
        names = [*names, *map(_as_path, names)]
        found.append(next((rows[name] for name in names if name in rows), None))
    absent = [file for file, row in zip(files, found) if row is None]
    if absent:
        raise ValueError(
            f"The table of groups has no row for {quote(absent)}, expected one for every image, "
            f"with its path in the column 'file': absolute or relative to {str(root)!r}, or its "
            "name if no other image has it."
        )
    return found


def _as_path(name):
    """Return a path as it is compared; `escape_formula` puts an apostrophe before some."""
    return as_name(name).replace("\\", "/").removeprefix("'")


def _check_spelling(names):
    """Refuse names that may be one or two groups: either reading could be wrong."""
    names = names.dropna().drop_duplicates()
    keys = names.str.casefold().str.replace(r"^(\d+)\.0$", r"\1", regex=True)
    alike = keys[keys.duplicated(keep=False)]
    if len(alike):
        pair = names[alike.index[alike == alike.iloc[0]]].tolist()
        raise ValueError(
            f"The table of groups has the groups {quote(pair)}, expected one spelling of each "
            "name. Give all images of a group the same name, and different groups names that "
            "differ by more."
        )


def _merge_similar(table, names):
    """Return the group of each row as an int, the same for similar groups."""
    codes, _ = pd.factorize(names)
    if "similar_groups" not in table:
        return codes
    first = names.dropna().drop_duplicates()  # of each group, and its row
    similar = _as_text(table["similar_groups"][names.notna()]).fillna("")
    similar = similar.str.split(";").explode().map(as_name)
    similar = similar[similar != ""]
    # pandas writes whole numbers in a column with gaps as 7.0.
    whole = similar.str.removesuffix(".0")
    similar = similar.where(similar.isin(first) | ~whole.isin(first), whole)
    others = pd.Index(first).get_indexer(similar)
    if (others < 0).any():
        unknown = similar[others < 0].unique().tolist()
        raise ValueError(
            f"'similar_groups' names {quote(unknown)}, expected names from the column 'group', "
            "separated by ';'. Images that are not on disk may have rows."
        )
    return link(codes, similar.index, first.index[others])


def _as_text(values):
    """Return names as text: pandas reads whole numbers as 322.0 if a column has gaps."""
    return values.convert_dtypes().astype("string")
