"""Shared by the loaders: parameters, descriptions, spacings and results."""

import os
from importlib.resources import files

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from featbus.datasets._files import check_folder, quote
from featbus.groups import GROUPS_FOUND, GROUPS_UNKNOWN, Groups, find_doubt
from featbus.images import ImageError
from featbus.io import read_spacing

FOUND = "near-duplicates"  # the origin of groups that are no patients
SPACING = ["spacing_row", "spacing_column"]
PATH = [str, os.PathLike]
CONSTRAINTS = {
    "root": PATH,
    "masks": [*PATH, None],
    "groups": [*PATH, pd.DataFrame, None],
    "strict": ["boolean"],
}


def release_folder(root, top):
    """Return `root`, or the folder `top` of the archive if `root` contains it."""
    root = check_folder(root)
    return root / top if (root / top).is_dir() else root


def read_descr(name):
    """Return the description of a data set, a reStructuredText file in ``descr``."""
    return files(__package__).joinpath("descr", name).read_text(encoding="utf-8")


def add_spacing(frame, paths):
    """Add the columns ``spacing_row`` and ``spacing_column``, in mm, if any image has a spacing.

    Only headers are read. Columns that came with the groups stay.
    """
    if {*SPACING} <= {*frame}:
        stated = frame[SPACING].apply(pd.to_numeric, errors="coerce")
        is_wrong = frame[SPACING].notna() & ~(stated.gt(0) & np.isfinite(stated))
        if is_wrong.any(axis=None):
            raise ValueError(
                "The table of groups has no valid spacing for "
                f"{quote(frame['file'][is_wrong.any(axis=1)].tolist())}, expected positive "
                "millimeters, or empty cells where it is unknown."
            )
        return frame.assign(**stated)
    spacings = [stated_spacing(path) for path in paths]
    if any(spacings):
        frame[SPACING] = [spacing or (np.nan, np.nan) for spacing in spacings]
    return frame


def stated_spacing(path):
    """Return the spacing that a file states, None if it cannot be read."""
    try:
        return read_spacing(path)
    except ImageError:  # raised again when the pixels are read
        return None


def groups_in(frame):
    """Return the column ``group``, with a note if the column ``origin`` says near-duplicates."""
    groups = frame["group"].to_numpy(dtype=np.intp) if "group" in frame else None
    is_found = groups is not None and "origin" in frame and (frame["origin"] == FOUND).any()
    return Groups(groups, GROUPS_FOUND) if is_found else groups


def as_bunch(images, masks, frame, class_names, *, DESCR, target="class", **fields):
    """Return a data set; its classes are in the column `target` of its frame.

    Without a column ``group`` in the frame, its groups are None, and its description says so.
    """
    groups = groups_in(frame)
    if groups is None:
        DESCR = f"{DESCR.rstrip()}\n\n{GROUPS_UNKNOWN.capitalize()}."
    return Bunch(
        images=images,
        target=pd.Categorical(frame[target], categories=class_names).codes.astype(np.intp),
        target_names=list(class_names),
        groups=groups,
        masks=masks,
        frame=frame,
        DESCR=DESCR,
        **fields,
    )


def count_images(dataset):
    """Return the number of images of each class.

    Parameters
    ----------
    dataset : Bunch
        A data set, as all loaders return.

    Returns
    -------
    dict of str to int
        In the order of ``target_names``.
    """
    counts = np.bincount(dataset.target, minlength=len(dataset.target_names))
    return dict(zip(dataset.target_names, counts.tolist()))


def describe_dataset(dataset):
    """Describe a data set in one line.

    Parameters
    ----------
    dataset : Bunch
        A data set with a ``name``, as `load_dataset` returns.

    Returns
    -------
    str
        Its name, and the number of images, groups, and images of each class. Groups may be
        unknown.
    """
    classes = ", ".join(f"{name} {count}" for name, count in count_images(dataset).items())
    images = f"{dataset.name}: {len(dataset.images)} images"
    if dataset.groups is None:
        return f"{images} ({classes}), {GROUPS_UNKNOWN}"
    kind = f" of {FOUND}" if find_doubt(dataset.groups) else ""
    return f"{images} in {len(np.unique(dataset.groups))} groups{kind} ({classes})"
