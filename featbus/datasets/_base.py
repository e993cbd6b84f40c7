"""Shared by the loaders: folders, descriptions and masks of images."""

import os
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from featbus.datasets._files import quote
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
    _refuse_shared(images, {*masks.values()})
    lost = [mask for mask, image in masks.items() if image not in files_of]
    if lost:
        raise ValueError(
            f"Found no image for {quote(lost)}, expected an image for every mask. Add the images, "
            "or remove these masks."
        )
    for mask, image in masks.items():
        files_of[image].append(str(mask))
    return object_array([tuple(files_of[image.with_suffix("")]) or None for image in images])


def _refuse_shared(images, masked):
    """Raise if two images would have one mask: ``a.png``, ``a.jpg`` and ``a_mask.png``."""
    first = {}
    for image in images:
        other = first.setdefault(image.with_suffix(""), image)
        if other is not image and image.with_suffix("") in masked:
            raise ValueError(
                f"Found one mask for {quote([other, image])}, expected a mask of each: masks are "
                "found by the name without the extension. Rename an image and its mask."
            )


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
