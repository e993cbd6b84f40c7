"""Shared by the loaders: parameters, folders, descriptions and results."""

import os
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from featbus.groups import GROUPS_UNKNOWN

PATH = [str, os.PathLike]
CONSTRAINTS = {
    "root": PATH,
    "masks": [*PATH, None],
    "groups": [*PATH, pd.DataFrame, None],
    "strict": ["boolean"],
}


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


def as_bunch(paths, masks, frame, class_names, *, DESCR, target="class", **fields):
    """Return a data set whose classes are in the column `target` of its frame.

    Without a column ``group`` in the frame, its groups are None, and its description says so.
    """
    groups = frame["group"].to_numpy(dtype=np.intp) if "group" in frame else None
    if groups is None:
        DESCR = f"{DESCR.rstrip()}\n\n{GROUPS_UNKNOWN.capitalize()}."
    return Bunch(
        images=object_array([str(path) for path in paths]),
        target=pd.Categorical(frame[target], categories=class_names).codes.astype(np.intp),
        target_names=list(class_names),
        groups=groups,
        masks=masks,
        frame=frame,
        DESCR=DESCR,
        **fields,
    )
