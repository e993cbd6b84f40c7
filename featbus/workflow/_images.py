"""The images to work on, and what is known about each of them."""

import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from featbus.datasets import (
    GroupsWarning,
    detect_layout,
    load_busi,
    load_dataset,
    load_images,
)
from featbus.datasets._base import SPACING, stated_spacing
from featbus.datasets._files import as_name, is_suffix
from featbus.datasets._layout import PARTS
from featbus.files import as_unicode
from featbus.images import ImageError
from featbus.io import SpacedImage, read_image, read_mask
from featbus.masks import restrict
from featbus.parameters import SequenceOf

PATH = [str, os.PathLike]
DATA = [*PATH, SequenceOf(str), SequenceOf(os.PathLike)]


@dataclass(frozen=True)
class MaskedFile:
    """An image of a batch that is read with its masks when its pixels are needed.

    Parameters
    ----------
    path : str
        The file of the image.
    masks : tuple of str, or None
        The files of its masks.
    """

    path: str
    masks: tuple | None

    def __array__(self, dtype=None, copy=None):
        image = read_image(self.path)
        inside = read_mask(self.masks, image.shape)
        if inside is None or not inside.any():
            found = "no" if inside is None else "an empty"
            raise ImageError(
                f"found {found} mask, expected a region. Add its mask, or use whole images: leave "
                "out masks.",
                path=self.path,
            )
        return restrict(image, inside)


def load_labeled(data, masks, groups, strict=False):
    """Load images with their classes.

    The loaders' warning is left out, which is about scores: `featbus.evaluate` has its own.
    """
    with _unwarned():
        return load_dataset(data, masks=masks, groups=groups, strict=strict)


@contextmanager
def _unwarned():
    """Leave out the warning that groups are unknown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GroupsWarning)
        yield


def open_images(data, masks=None, groups=None, *, with_classes=True, strict=False):
    """Find the images in a folder, or take files, and tell what is known about them.

    Parameters
    ----------
    data : path-like or sequence of path-like
        A folder of any layout, or files.
    masks, groups : path-like, DataFrame or None
        As in `load_images` and `load_image_folder`.
    with_classes : bool, default=True
        Whether folders may be classes. Otherwise an empty one does no harm.
    strict : bool, default=False
        Whether files that are no images are an error.

    Returns
    -------
    items : list of str, MaskedFile or SpacedImage
        The images; masked ones with `masks`.
    info : DataFrame
        ``path`` relative to the data, and ``group``, ``class``, ``split``, ``mask``,
        ``spacing_row`` and ``spacing_column`` where known.
    """
    if isinstance(data, (str, os.PathLike)) and Path(data).is_file():
        data = [data]
    is_folder = with_classes and isinstance(data, (str, os.PathLike))
    layout = detect_layout(data, masks=masks) if is_folder else "images"
    if layout in ("BUSI", "mini-MIAS"):
        found = _load_release(layout, data, masks, groups, strict)
        files = [Path(os.path.relpath(path, data)).as_posix() for path in found.images]
        found.frame = found.frame.assign(file=files)
    else:
        found = load_images(data, masks=masks, groups=groups, strict=strict)
    info = pd.DataFrame({"path": found.frame["file"]})
    if found.groups is not None:
        info["group"] = _name_groups(found)
    if layout == "class folders":
        info["class"] = [as_name(PurePosixPath(file).parts[0]) for file in info["path"]]
    elif layout == "split":
        info["class"] = [as_name(PurePosixPath(file).parts[1]) for file in info["path"]]
        info["split"] = [PARTS[PurePosixPath(file).parts[0].lower()] for file in info["path"]]
    elif "target" in found:
        info["class"] = [found.target_names[label] for label in found.target]
    if masks is not None:
        names = [_name_masks(*row, masks) for row in zip(info["path"], found.masks)]
        info["mask"] = pd.Series(names, dtype=object)
    is_spaced = {*SPACING} <= {*found.frame}
    if is_spaced:
        info[SPACING] = found.frame[SPACING].to_numpy()
    items = found.images.tolist()
    if masks is not None:
        items = [MaskedFile(*pair) for pair in zip(items, found.masks)]
    if is_spaced and (masks is not None or groups is not None):
        items = [_as_spaced(*pair) for pair in zip(items, info[SPACING].to_numpy().tolist())]
    return items, info


def _as_spaced(item, spacing):
    """Return an item with its spacing; a path stays as it is if its file states the same."""
    spaced = SpacedImage(item, spacing)
    is_stated = isinstance(item, str) and stated_spacing(item) == spaced.spacing
    return item if is_stated else spaced


def _load_release(layout, data, masks, groups, strict):
    """Load a release, without looking for near-duplicates: that reads all images."""
    if layout == "BUSI" and masks in (None, "_mask"):
        with _unwarned():
            return load_busi(data, groups=groups, strict=strict)
    return load_labeled(data, masks, groups, strict)


def _name_groups(found):
    """Return the name of each image's group in the table; of similar groups, that of the first."""
    if "listed_group" not in found.frame:
        return found.groups
    return found.frame.groupby("group")["listed_group"].transform("first").to_numpy()


def _name_masks(path, files, masks):
    """Name the masks of an image, relative to the data or to the folder of the masks."""
    if files is None:
        return None
    if is_suffix(masks):  # next to their image
        names = [PurePosixPath(path).with_name(Path(file).name) for file in files]
    else:
        names = [Path(os.path.relpath(file, masks)) for file in files]
    return as_unicode(";".join(name.as_posix() for name in names))
