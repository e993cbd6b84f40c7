"""What the loaders share: folders, texts and the grouping of images."""

import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components


def release_folder(root, top):
    """Return `root`, or the folder `top` inside it where an archive was unpacked as it is."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"Found no folder {str(root)!r}, expected the folder of the unpacked release."
        )
    return root / top if (root / top).is_dir() else root


def read_descr(name):
    """Return the description of a data set, a reStructuredText file of this package."""
    return files(__package__).joinpath("descr", name).read_text(encoding="utf-8")


def object_array(items):
    """Return a 1-D array of Python objects, which scikit-learn indexes as it does numbers."""
    return np.fromiter(items, dtype=object, count=len(items))


def quote(names, limit=5):
    """Spell names for a message: all of them, or the first few and how many follow."""
    shown = ", ".join(repr(str(name)) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def is_visible(path):
    """Tell files of the release from what an operating system leaves beside them."""
    return not path.name.startswith(".")


def add_groups(frame, groups, warning):
    """Add the column ``group``, and what a table of groups knows of each image, to `frame`.

    Parameters
    ----------
    frame : DataFrame
        One row per image, with its name in the column ``file``.
    groups : None, path or DataFrame
        A table with the columns ``file`` and ``group``, and maybe ``similar_groups``: names of
        other groups of the table, separated by semicolons. None: every image is its own group.
    warning : str
        What to warn of where `groups` is None.

    Returns
    -------
    DataFrame
        `frame` with ``group`` (int; similar groups are one), ``listed_group`` (as in the table)
        and the table's further columns. Columns that `frame` has already stay as they are.
    """
    if groups is None:
        warnings.warn(warning, UserWarning, stacklevel=3)
        return frame.assign(group=np.arange(len(frame)))
    table = _read_table(groups)
    absent = frame.loc[~frame["file"].isin(table["file"]), "file"].tolist()
    if absent:
        raise ValueError(
            f"The table of groups has no row for {quote(absent)}, expected one for every image, "
            "with its name in the column 'file'. Add what is missing; an image without known "
            "relatives gets a group of its own."
        )
    table = table.assign(listed_group=table["group"], group=_merge_similar(table))
    news = [column for column in table if column not in frame]
    return frame.merge(table[["file", *news]], on="file", how="left")


def _read_table(groups):
    table = groups if isinstance(groups, pd.DataFrame) else pd.read_csv(groups)
    missing = [column for column in ("file", "group") if column not in table]
    if missing:
        raise ValueError(
            f"The table of groups has the columns {list(table.columns)}, expected 'file' and "
            f"'group' among them. Rename or add {quote(missing)}."
        )
    for problem, rows in (
        ("several rows", table["file"].duplicated()),
        ("no group", table["group"].isna()),
    ):
        if rows.any():
            raise ValueError(
                f"The table of groups has {problem} for {quote(table.loc[rows, 'file'].tolist())}, "
                "expected one row and one group per image."
            )
    return table.reset_index(drop=True)


def _merge_similar(table):
    """Return the group of every row as an int, the same for groups that are similar."""
    codes, names = pd.factorize(_as_text(table["group"]))
    if "similar_groups" not in table:
        return codes
    similar = _as_text(table["similar_groups"]).fillna("").str.split(";").explode().str.strip()
    similar = similar[similar != ""]
    others = pd.Index(names).get_indexer(similar)
    if (others < 0).any():
        unknown = similar[others < 0].unique().tolist()
        raise ValueError(
            f"'similar_groups' names {quote(unknown)}, expected names from the column 'group'. "
            "Separate several names by ';', and keep the rows of all groups: rows of images that "
            "are not on disk do no harm."
        )
    links = np.ones(len(others)), (codes[similar.index], others)
    graph = csr_array(links, shape=(len(names), len(names)))
    return connected_components(graph, directed=False)[1][codes].astype(np.intp)


def _as_text(values):
    """Spell names alike: pandas reads whole numbers as 322.0 where a column has gaps."""
    return values.convert_dtypes().astype("string")
