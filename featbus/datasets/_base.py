"""Shared by the loaders: folders, descriptions, masks and groups of images."""

import os
import re
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from featbus.groups import link

PATH = [str, os.PathLike]
CONSTRAINTS = {"root": PATH, "masks": [*PATH, None], "groups": [*PATH, pd.DataFrame, None]}


class GroupsWarning(UserWarning):
    """It is unknown which images belong together; scores from any split are too optimistic."""


def release_folder(root, top):
    """Return `root`, or the folder `top` of the archive if `root` contains it."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"Found no folder {str(root)!r}, expected the folder of the unpacked release."
        )
    return root / top if (root / top).is_dir() else root


def read_descr(name):
    """Return the description of a data set, a reStructuredText file in ``descr``."""
    return files(__package__).joinpath("descr", name).read_text(encoding="utf-8")


def object_array(items):
    """Return a 1-D array of Python objects, which scikit-learn can index."""
    return np.fromiter(items, dtype=object, count=len(items))


def quote(names, limit=5):
    """Format names for a message: all of them, or the first few and the number of the others."""
    shown = ", ".join(repr(str(name)) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def is_visible(path):
    """Tell whether a file is not one that an operating system hides."""
    return not path.name.startswith(".")


def split_masks(paths, suffix):
    """Separate masks, such as ``a_mask.png`` and ``a_mask_1.png``, from images, such as ``a.png``.

    Returns the images, and a dict from each mask to the path of its image without the extension.
    """
    pattern = re.compile(rf"(.+){re.escape(suffix)}(?:_?\d+)?", re.IGNORECASE)
    matches = {path: pattern.fullmatch(path.stem) for path in paths}
    images = [path for path, match in matches.items() if match is None]
    masks = {path: path.with_name(match[1]) for path, match in matches.items() if match}
    return images, masks


def pair_masks(images, masks):
    """Return the tuple of mask files of each image, None if it has none.

    `masks` is a dict from each mask to the path of its image without the extension.
    """
    files_of = {image.with_suffix(""): [] for image in images}
    lost = [mask for mask, image in masks.items() if image not in files_of]
    if lost:
        raise ValueError(
            f"Found no image for {quote(lost)}, expected an image for every mask. Add the images, "
            "or remove these masks."
        )
    for mask, image in masks.items():
        files_of[image].append(str(mask))
    return object_array([tuple(files_of[image.with_suffix("")]) or None for image in images])


def as_bunch(paths, masks, frame, class_names, *, target="class", **fields):
    """Return a data set whose classes are in the column `target` of its frame."""
    return Bunch(
        images=object_array([str(path) for path in paths]),
        target=pd.Categorical(frame[target], categories=class_names).codes.astype(np.intp),
        target_names=list(class_names),
        groups=frame["group"].to_numpy(dtype=np.intp),
        masks=masks,
        frame=frame,
        **fields,
    )


def add_groups(frame, groups, warning):
    """Add the column ``group`` and the columns of a table of groups to `frame`.

    Parameters
    ----------
    frame : DataFrame
        One row per image, with its name in the column ``file``.
    groups : None, path or DataFrame
        A table with the columns ``file`` and ``group``, and optionally ``similar_groups``: names of
        other groups in the table, separated by semicolons. None makes every image its own group.
    warning : str
        The warning if `groups` is None.

    Returns
    -------
    DataFrame
        `frame` with ``group`` (int; similar groups are merged), ``listed_group`` (as in the table)
        and the other columns of the table. Columns of `frame` are not replaced.
    """
    if groups is None:
        warnings.warn(warning, GroupsWarning, stacklevel=3)
        return frame.assign(group=np.arange(len(frame)))
    table = _read_table(groups)
    absent = frame.loc[~frame["file"].isin(table["file"]), "file"].tolist()
    if absent:
        raise ValueError(
            f"The table of groups has no row for {quote(absent)}, expected one for every image, "
            "with its name in the column 'file'. Add the missing rows; an image without known "
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
    """Return the group of each row as an int, the same for similar groups."""
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
            "Separate several names by ';', and keep the rows of all groups: images that are not "
            "on disk may have rows."
        )
    first = np.unique(codes, return_index=True)[1]
    return link(codes, similar.index, first[others])


def _as_text(values):
    """Return names as text: pandas reads whole numbers as 322.0 if a column has gaps."""
    return values.convert_dtypes().astype("string")
