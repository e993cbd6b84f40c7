"""Images without classes: a folder of any layout, or files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from sklearn.utils import Bunch

from featbus.datasets import _base
from featbus.datasets._files import (
    is_image,
    list_images,
    relative_names,
    say_no_images,
    skip_others,
)
from featbus.datasets._groups import add_groups
from featbus.datasets._masks import (
    check_found,
    is_suffix,
    mirrored,
    pair_masks,
    refuse_masks,
    split_masks,
)
from featbus.datasets._names import stem_of
from featbus.datasets._spacing import add_spacing
from featbus.parameters import SequenceOf, check_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from featbus.typing import PathLike

__all__ = ["load_images"]

_CONSTRAINTS = {
    **_base.CONSTRAINTS,
    "source": [*_base.PATH, SequenceOf(str), SequenceOf(os.PathLike)],
}


def load_images(
    source: PathLike | Sequence[PathLike],
    *,
    masks: PathLike | None = None,
    groups: PathLike | pd.DataFrame | None = None,
    strict: bool = False,
) -> Bunch:
    """Load images whose classes are unknown, such as those of new patients.

    No pixels are read, only headers.

    Read more in the :ref:`User Guide <datasets>`.

    Parameters
    ----------
    source : path-like or sequence of path-like
        A folder, whose images are taken from all of its subfolders, too. Links are followed. Hidden
        files are ignored; files that are no images by their content or extension, see
        `load_image_folder`, are left out, with a warning that names them.
        Or files: whether they are images shows when they are read. Masks named ``a_mask.png`` or
        ``a_mask_1.png`` beside ``a.png`` are left out in both cases.
    masks : path-like, default=None
        Where the masks are, see `load_image_folder`. None loads no masks.
    groups : path-like or DataFrame, default=None
        Which images belong together: a table with the columns ``file`` and ``group``, see
        `load_image_folder`. None leaves the groups unknown.
    strict : bool, default=False
        Whether files in the folder that are no images are an error.

    Returns
    -------
    Bunch
        The images of a folder are sorted by path, files stay in their order.

        images : ndarray of shape (n_images,), dtype object
            The paths of the images, as `str`.
        groups : ndarray of int of shape (n_images,), or None
            Images with the same number belong together; None if unknown.
        masks : ndarray of shape (n_images,), dtype object
            The tuple of mask files of each image, as `str`; None for an image without a mask.
        frame : DataFrame of n_images rows
            ``file``, relative to the folder, or to the folder that all files have in common, with
            forward slashes; ``masks`` (number of files); with groups ``group`` and the other
            columns of the table; ``spacing_row`` and ``spacing_column``, in millimeters and NaN
            where unknown, if the file of any image states them, see `featbus.io.read_spacing`.
        skipped : list of str
            The files that were left out, relative to the folder.

    Raises
    ------
    FileNotFoundError
        If the folder, or that of the masks, does not exist.
    ValueError
        If there are no images; if files are no images and `strict` is True; if a mask has no
        image, no masks are found although `masks` is given, or the folder has others than those,
        see `load_image_folder`; if an image has no group.

    See Also
    --------
    load_image_folder : Load images whose folders are their classes.

    Examples
    --------
    >>> from featbus.datasets import load_images
    >>> load_images(["day 1/a.png", "day 2/b.png"]).frame["file"].tolist()
    ['day 1/a.png', 'day 2/b.png']
    """
    check_parameters(_CONSTRAINTS, locals())
    is_folder = isinstance(source, (str, os.PathLike))
    root, paths, others = _images_in(Path(source), masks) if is_folder else _with_root(source)
    skipped = skip_others(others, root, strict, groups)
    beside = _masks_beside(paths, masks if is_suffix(masks) else "_mask")
    paths = [path for path in paths if path not in beside]
    if is_folder:
        refuse_masks(paths, masks, root)
    if masks is None:
        found = {}
    else:
        found = beside if is_suffix(masks) else mirrored(Path(masks), root)
        if not is_folder:  # others may have masks, too
            stems = {stem_of(path) for path in paths}
            found = {mask: image for mask, image in found.items() if image in stems}
    check_found(found, masks)
    pairs = pair_masks(paths, found)
    counts = [len(pair or ()) for pair in pairs]
    frame = pd.DataFrame({"file": relative_names(paths, root), "masks": counts})
    if groups is not None:
        frame = add_groups(frame, groups, None, paths, root)
    frame = add_spacing(frame, paths)
    return Bunch(
        images=_base.object_array([str(path) for path in paths]),
        groups=None if groups is None else frame["group"].to_numpy(),
        masks=pairs,
        frame=frame,
        skipped=skipped,
    )


def _images_in(root, masks):
    """Return a folder, and its images and other files without those in a folder of masks."""
    if not root.is_dir():
        raise FileNotFoundError(f"Found no folder {str(root)!r}, expected a folder of images.")
    folder = None if masks is None or is_suffix(masks) else masks
    paths, others = list_images(root, without=folder)
    if not paths:
        raise ValueError(f"{say_no_images(root, others)} Or pass files instead of the folder.")
    return root, paths, others


def _with_root(source):
    """Return the folder that files have in common, their absolute paths, and no others."""
    paths = [Path(os.path.abspath(path)) for path in source]
    return Path(os.path.commonpath([path.parent for path in paths])), paths, []


def _masks_beside(paths, suffix):
    """Return the masks next to the images, each with the path of its image without the extension.

    Files that are not in `paths` count, too.
    """
    stems = {stem_of(path) for path in paths}
    near = {file for folder in {path.parent for path in paths} for file in _files_in(folder)}
    _, masks = split_masks(sorted(near), suffix)
    return {mask: image for mask, image in masks.items() if image in stems}


def _files_in(folder):
    return filter(is_image, folder.iterdir()) if folder.is_dir() else ()
