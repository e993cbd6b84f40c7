"""Tables of the images that belong together."""

import os
import warnings
from collections import Counter
from pathlib import Path

import pandas as pd

from featbus.datasets._files import as_name, clip_of, quote
from featbus.groups import GroupsWarning, merge_labelings, merge_pairs


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
    table = groups if isinstance(groups, pd.DataFrame) else _read_csv(groups)
    is_published = {"ID", "Filename"} <= {*table} and "file" not in table
    is_published = is_published and table["Filename"].astype(str).str.match(r"\s*\{.*\}").any()
    table = _check_table(_explode_sets(table) if is_published else table)
    rows = _find_rows(table["file"], frame["file"].tolist(), paths, root)
    names = _as_names(table["group"])
    missing = table["file"][rows][names[rows].isna()].tolist()
    if missing:
        raise ValueError(
            f"The table of groups has no group for {quote(missing)}, expected one for every image."
        )
    table = table.assign(listed_group=table["group"], group=_merge_similar(table, names))
    news = [column for column in table if column not in frame]
    frame = frame.join(table.loc[rows, news].set_axis(frame.index))
    clips = [clip_of(str(path), path) for path in paths]
    if len({*clips}) < len(clips):  # frames of a file belong together
        frame["group"] = merge_labelings(frame["group"], clips)
    return frame


def _read_csv(path):
    """Read a table in UTF-8 whose columns are separated by commas, semicolons or tabs."""
    try:
        header = Path(path).read_text(encoding="utf-8-sig").partition("\n")[0]
        # Names stay text: as numbers, 007 and 7 would be one group.
        texts = dict.fromkeys(("file", "group", "similar_groups"), str)
        options = {"sep": max(",;\t", key=header.count), "dtype": texts, "skipinitialspace": True}
        return pd.read_csv(path, **options).dropna(how="all")  # a spreadsheet's empty rows
    except ValueError as error:
        raise ValueError(
            f"The table of groups {os.fspath(path)!r} cannot be read: {str(error).strip()}. "
            "Expected a CSV file in UTF-8, with quotes around names that contain a separator."
        ) from error


def _explode_sets(table):
    """Return one row per image of a table with one per group, ``{benign (1)&benign (318)}``."""
    files = table["Filename"].str.strip("{} ").str.split("&")
    table = table.assign(file=files, group=range(len(table))).explode("file", ignore_index=True)
    return table.assign(file=table["file"].str.strip() + ".png").drop(columns=["ID", "Filename"])


def _check_table(table):
    if not {"file", "group"} <= {*table}:
        raise ValueError(
            f"The table of groups has the columns {[*table]}, expected 'file' and 'group'."
        )
    files = [_as_path(str(file)) for file in table["file"]]
    table = table.reset_index(drop=True).assign(file=files)
    twice = table.loc[table["file"].duplicated(), "file"].tolist()
    if twice:
        raise ValueError(
            f"The table of groups has several rows for {quote(twice)}, expected one row per image."
        )
    return table


def _find_rows(listed, files, paths, root):
    """Return the position of each image's row in the table."""
    rows = {name: row for row, name in enumerate(listed)}
    uses = Counter(path.name for path in paths)
    found = []
    for file, path in zip(files, paths):
        names = [file, os.path.relpath(path, root), str(path), os.path.abspath(path)]
        names += [path.name] * (uses[path.name] == 1)
        names += [clip_of(name, path) for name in names]
        found.append(next((rows[name] for name in map(_as_path, names) if name in rows), None))
    absent = [file for file, row in zip(files, found) if row is None]
    if absent:
        raise ValueError(
            f"The table of groups has no row for {quote(absent)}, expected every image in the "
            f"column 'file': its path, absolute or relative to {str(root)!r}, or its unique name."
        )
    return found


def _as_path(name):
    """Return a path as it is compared; `escape_formula` puts an apostrophe before some."""
    return as_name(name).replace("\\", "/").removeprefix("'")


def _as_names(values):
    """Return names of groups as they are compared, and missing ones as NA.

    Neither case, spaces around a name, the spelling of accents, nor the ``.0`` that pandas appends
    to whole numbers in a column with gaps make another group: merged in error, groups do no harm,
    but split in error they leak.
    """
    names = values.convert_dtypes().astype("string").str.normalize("NFC").str.strip()
    names = names.str.casefold().str.replace(r"^(\d+)\.0$", r"\1", regex=True)
    return names.mask(names == "")


def _merge_similar(table, names):
    """Return the group of each row as an int, the same for similar groups."""
    codes, _ = pd.factorize(names)
    if "similar_groups" not in table:
        return codes
    similar = table["similar_groups"][names.notna()].convert_dtypes().astype("string")
    similar = _as_names(similar.str.split(";").explode()).dropna()
    first = names.dropna().drop_duplicates()  # of each group, and its row
    others = pd.Index(first).get_indexer(similar)
    if (others < 0).any():
        unknown = similar[others < 0].unique().tolist()
        raise ValueError(
            f"'similar_groups' names {quote(unknown)}, expected names from the column 'group', "
            "separated by ';'."
        )
    return merge_pairs(codes, similar.index, first.index[others])
