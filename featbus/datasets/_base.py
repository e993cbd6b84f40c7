"""Shared by the loaders: parameters, descriptions, spacings and results."""

import os
import re
from importlib.resources import files

import numpy as np
import pandas as pd
from sklearn.utils import Bunch
from tqdm import tqdm

from featbus.datasets._files import check_folder, quote, relative_names
from featbus.groups import GROUPS_FOUND, GROUPS_UNKNOWN, Groups, find_doubt
from featbus.images import ImageError
from featbus.io import read_header, split_frame

FOUND, FILES = "near-duplicates", "files"  # the origins of groups that are no patients
_NOTES = {FOUND: GROUPS_FOUND, FILES: "patients unknown: only frames of one file are kept together"}
SPACING = ["spacing_row", "spacing_column"]
# Of a mammogram: its side and view in the name of its file, such as LCC, L_CC and right-mlo.
_NAME = re.compile(r"(?i)(?<![^\W_])(left|right|l|r)[\W_]*(cc|mlo|ml|lm)(?![^\W_])")
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


def split_clips(frame, paths, masks, root):
    """Replace each DICOM file of several frames by these: ``clip.dcm#0``, ``clip.dcm#1``, ...

    Parameters
    ----------
    frame : DataFrame
        One row per file, with its name in the column ``file``.
    paths : list of Path
        The files. Only their headers are read, each once. Frames stay what they are.
    masks : ndarray of object
        The masks of each file, which are those of all its frames.
    root : Path
        The folder of the data set.

    Returns
    -------
    frame, paths, masks
        The same, with one row or item per image.
    headers : DataFrame
        What headers and names of files say: ``spacing_row``, ``spacing_column``, ``side``,
        ``view``, ``manufacturer`` and ``model``; only columns that any image has.
    """
    files = tqdm(paths, "headers", unit="file", delay=2, leave=False, disable=None)
    found = [_read_header(path) for path in files]
    is_file = [split_frame(path)[1] is None for path in paths]
    counts = [header.get("frames", 1) if whole else 1 for header, whole in zip(found, is_file)]
    rows = np.repeat(np.arange(len(paths)), counts)
    items = [
        path.with_name(f"{path.name}#{number}") if count > 1 else path
        for path, count in zip(paths, counts)
        for number in range(count)
    ]
    for item, count in zip(items, np.repeat(counts, counts)):
        if count > 1 and item.exists():
            raise ValueError(f"Found a file named as a frame, {str(item)!r}. Rename this file.")
    headers = pd.DataFrame(map(_describe, paths, found)).dropna(axis="columns", how="all")
    frame, headers = (table.iloc[rows].reset_index(drop=True) for table in (frame, headers))
    return frame.assign(file=relative_names(items, root)), items, masks[rows], headers


def _read_header(file):
    try:
        return read_header(file)
    except ImageError:  # raised again when the pixels are read
        return {}


def _describe(path, header):
    """Return the columns of an image, by its header or else the name of its file."""
    named = _NAME.search(path.name)
    side, view = (named[1][0].lower(), named[2].upper()) if named else (None, None)
    return {
        **dict(zip(SPACING, header.get("spacing") or (np.nan, np.nan))),
        "side": header.get("side") or {"l": "left", "r": "right"}.get(side),
        "view": header.get("view") or view,
        "manufacturer": header.get("manufacturer"),
        "model": header.get("model"),
    }


def add_headers(frame, headers):
    """Add the columns of `headers` that did not come with the groups; check spacings that did."""
    if {*SPACING} <= {*frame}:
        stated = frame[SPACING].apply(pd.to_numeric, errors="coerce")
        is_wrong = frame[SPACING].notna() & ~(stated.gt(0) & np.isfinite(stated))
        if is_wrong.any(axis=None):
            raise ValueError(
                "The table of groups has no valid spacing for "
                f"{quote(frame['file'][is_wrong.any(axis=1)].tolist())}, expected positive "
                "millimeters, or empty cells where it is unknown."
            )
        frame = frame.assign(**stated)
    elif {*SPACING} & {*headers}:
        frame = frame.drop(columns=SPACING, errors="ignore")
    return frame.join(headers[headers.columns.difference(frame.columns, sort=False)])


def stated_spacing(file):
    """Return the spacing that a file states, None if it cannot be read."""
    return _read_header(file).get("spacing")


def groups_in(frame):
    """Return the column ``group``, with a note if the column ``origin`` says what groups are."""
    groups = frame["group"].to_numpy(dtype=np.intp) if "group" in frame else None
    origins = set() if groups is None else {*frame.get("origin", ())}
    notes = [note for origin, note in _NOTES.items() if origin in origins]
    return Groups(groups, notes[0]) if notes else groups


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
