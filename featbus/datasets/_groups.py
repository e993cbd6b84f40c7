"""Tables of the images that belong together."""

import csv
import io
import os
import re
import warnings
from collections import Counter
from pathlib import Path

import pandas as pd

from featbus.datasets._files import quote
from featbus.datasets._names import as_name
from featbus.datasets._spacing import check_spacing
from featbus.files import as_unicode
from featbus.groups import GroupsWarning, link

_TEXTS = ("file", "group", "similar_groups")
_ABOVE_HEADER = re.compile(r'(?:[ \t]*\n|"?sep=."?\n)*')  # as spreadsheets write it


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
    table = _read_table(groups)
    rows = _find_rows(table, frame["file"].tolist(), paths, root)
    names = _as_names(table["group"])
    _check_groups(table["file"][rows], names[rows])
    _check_spelling(names)
    table = table.assign(listed_group=table["group"], group=_merge_similar(table, names))
    news = [column for column in table if column not in frame]
    return check_spacing(frame.join(table.loc[rows, news].set_axis(frame.index)))


def _read_table(groups):
    table = groups if isinstance(groups, pd.DataFrame) else _read_csv(groups)
    table = _rename_columns(table)
    missing = [column for column in ("file", "group") if column not in table]
    if missing:
        raise ValueError(
            f"The table of groups has the columns {list(table.columns)}, expected 'file' and "
            f"'group' among them. Rename or add {quote(missing)}."
        )
    twice = table["file"].duplicated()
    if twice.any():
        raise ValueError(
            f"The table of groups has several rows for {quote(table.loc[twice, 'file'].tolist())}, "
            "expected one row per image."
        )
    return table.reset_index(drop=True)


def _rename_columns(table):
    """Return the table with 'file' for ' File ', unless two columns could be meant."""
    keys = Counter(map(_as_header, table.columns))
    news = {column: key for column in table if keys[key := _as_header(column)] == 1}
    return table.rename(columns={old: new for old, new in news.items() if new in _TEXTS})


def _as_header(column):
    return as_name(str(column)).casefold()


def _read_csv(path):
    """Read a table whose columns are separated by commas, semicolons or tabs.

    Names stay text: as numbers, 007 and 7 would be one group.
    """
    text = _read_text(path)
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    if not header.strip():
        return pd.DataFrame()
    columns = next(_split_rows(text, separator))
    _check_length(text, separator, len(columns))
    texts = {column: str for column in columns if _as_header(column) in _TEXTS}
    # Without `index_col`, a separator at the end of each row would move all columns.
    options = {"sep": separator, "index_col": False, "skipinitialspace": True}
    return pd.read_csv(io.StringIO(text), dtype=texts, **options)


def _read_text(path):
    """Return the text of a table from its header on."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"Found no file {os.fspath(path)!r}, expected a table of groups.")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"The table of groups {os.fspath(path)!r} is not in UTF-8: {error.reason} at byte "
            f"{error.start}. Save it as CSV in UTF-8."
        ) from error
    return text[_ABOVE_HEADER.match(text).end() :]


def _split_rows(text, separator):
    return csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)


def _check_length(text, separator, n_columns):
    """Refuse cells without a column: the rest of a name would get lost."""
    for cells in _split_rows(text, separator):
        if any(cell.strip() for cell in cells[n_columns:]):
            raise ValueError(
                f"The table of groups has {len(cells)} cells in the row of {cells[0]!r}, expected "
                f"{n_columns}, as in its header. Put names that contain {separator!r} in quotes: "
                f'"Doe{separator} Jane".'
            )


def _find_rows(table, files, paths, root):
    """Return the position of each image's row in the table."""
    exact = {str(name): row for row, name in enumerate(table["file"])}
    keys = Counter(map(_as_key, exact))
    loose = {key: row for name, row in exact.items() if keys[key := _as_key(name)] == 1}
    uses = Counter(path.name for path in paths)
    found = []
    for image in zip(files, paths):
        names = _names_of(*image, root, uses)
        rows = [exact.get(name) for name in names]
        rows += [loose.get(_as_key(name)) for name in names]
        found.append(next((row for row in rows if row is not None), None))
    absent = [file for file, row in zip(files, found) if row is None]
    if absent:
        raise ValueError(
            f"The table of groups has no row for {quote(absent)}, expected one for every image, "
            f"with its path in the column 'file': absolute or relative to {str(root)!r}, or its "
            "name if no other image has it. Add the missing rows; an image without known relatives "
            "gets a group of its own."
        )
    return found


def _names_of(file, path, root, uses):
    """Return what a table may call an image, the most precise name first."""
    relative = path.relative_to(root).as_posix()
    names = [relative, file, relative.replace("/", "\\"), str(path), os.path.abspath(path)]
    if uses[path.name] == 1:
        names.append(path.name)
    return [as_unicode(name) for name in names]


def _as_key(name):
    """Return a name as it is compared: `escape_formula` puts an apostrophe before some."""
    return as_name(str(name)).removeprefix("'")


def _as_names(groups):
    """Return the names of groups as text; one that is empty is missing."""
    names = _as_text(groups).map(as_name, na_action="ignore")
    return names.mask(names == "")


def _check_groups(files, names):
    missing = files[names.isna()].tolist()
    if missing:
        raise ValueError(
            f"The table of groups has no group for {quote(missing)}, expected one for every image; "
            "'NA' and 'None' count as none. An image without known relatives gets a group of its "
            "own."
        )


def _check_spelling(names):
    """Refuse names that may be one or two groups: either reading could be wrong."""
    names = names.dropna().drop_duplicates()
    keys = names.str.casefold().str.replace(r"^(\d+)\.0$", r"\1", regex=True)
    alike = keys[keys.duplicated(keep=False)]
    if len(alike):
        pair = names[alike.index[alike == alike.iloc[0]]].tolist()
        raise ValueError(
            f"The table of groups has the groups {quote(pair)}, expected one spelling of each "
            "name: they may be the same or not. Give all images of a group the same name, and "
            "different groups names that differ by more."
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
            f"'similar_groups' names {quote(unknown)}, expected names from the column 'group'. "
            "Separate several names by ';', and keep the rows of all groups: images that are not "
            "on disk may have rows."
        )
    return link(codes, similar.index, first.index[others])


def _as_text(values):
    """Return names as text: pandas reads whole numbers as 322.0 if a column has gaps."""
    return values.convert_dtypes().astype("string")
