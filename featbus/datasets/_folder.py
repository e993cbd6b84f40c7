"""Images in one folder per class."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pandas as pd

from featbus.datasets import _base
from featbus.datasets._files import (
    is_image,
    is_visible,
    list_images,
    quote,
    say_no_images,
    warn_left_out,
)
from featbus.datasets._groups import add_groups
from featbus.files import as_unicode
from featbus.parameters import check_parameters

if TYPE_CHECKING:
    from collections.abc import Callable

    from sklearn.utils import Bunch

    from featbus.typing import PathLike

__all__ = ["load_image_folder"]

SPLITS = {"train", "training", "test", "testing"}  # folders of these names are no classes
_LAYOUT = "expected one folder per class: root/benign/a.png, root/malignant/b.png, ..."
_NO_GROUPS = (
    "groups=None makes every image its own group. If a patient has several images, scores from any "
    "split are too optimistic: pass a function of the path, or a table with the columns 'file' and "
    "'group', as groups=."
)


def load_image_folder(
    root: PathLike,
    *,
    masks: PathLike | None = None,
    groups: Callable | PathLike | pd.DataFrame | None = None,
) -> Bunch:
    """Load images from one folder per class.

    No pixels are read. Links are followed. Hidden files are ignored; files that are not PNG, JPEG,
    TIFF, BMP, PGM or DICOM according to their extension are left out, with a warning that names
    them.

    Parameters
    ----------
    root : path-like
        The folder that contains the class folders; their names are the classes. Images may be in
        subfolders of a class.
    masks : path-like, default=None
        Where the masks are. A string that begins with ``_`` or ``-`` is a suffix of masks next to
        their images: with ``"_mask"``, ``a_mask.png`` and ``a_mask_1.png`` are the masks of
        ``a.png``. Anything else is a folder that mirrors the images: the mask of ``benign/a.png``
        is ``benign/a.*`` in that folder, which may be inside `root`. None loads no masks.
    groups : callable, path-like or DataFrame, default=None
        Which images belong together, usually those of one patient. A callable gets the path of an
        image relative to `root` (a `pathlib.PurePosixPath`) and returns something hashable. A CSV
        file (UTF-8; commas, semicolons or tabs) or table has the columns ``file`` (that path as
        text, an absolute path, or the name of the file if no other image has it) and ``group``; a
        column ``similar_groups`` may name other groups, separated by semicolons, to merge with this
        one. None makes every image its own group, with a warning.

    Returns
    -------
    Bunch
        The images are sorted by class and path.

        images : ndarray of shape (n_images,), dtype object
            The paths of the images, as `str`.
        target : ndarray of int of shape (n_images,)
            The class, an index into `target_names`.
        target_names : list of str
            The names of the class folders, sorted.
        groups : ndarray of int of shape (n_images,)
            Images with the same number must be on the same side of every split.
        masks : ndarray of shape (n_images,), dtype object
            The tuple of mask files of each image, as `str`; None for an image without a mask.
        frame : DataFrame of n_images rows
            ``file`` (relative to `root`, with forward slashes), ``class``, ``masks`` (number of
            files), ``group``; with groups also ``listed_group`` (as given) and the other columns of
            the table.
        DESCR : str
            Number of images, by class, and of images without a mask.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist.
    ValueError
        If there are no class folders, images next to them, a class folder without images, or
        folders called ``train`` and ``test`` in the place of classes; if a
        mask has no image, no masks are found, or masks are found next to their images although
        `masks` is not their suffix; if an image has no group.

    Warns
    -----
    UserWarning
        If `groups` is None, or files are left out.

    See Also
    --------
    load_busi : Load BUSI.
    load_masked : Read images masked to their regions.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skimage.io import imsave
    >>> from featbus.datasets import load_image_folder
    >>> root = Path(tempfile.mkdtemp())
    >>> for file in ("benign/p1_left.png", "benign/p1_right.png", "malignant/p2_left.png"):
    ...     (root / file).parent.mkdir(exist_ok=True)
    ...     imsave(root / file, np.zeros((8, 8), dtype=np.uint8), check_contrast=False)
    >>> data = load_image_folder(root, groups=lambda path: path.stem.split("_")[0])
    >>> data.target_names
    ['benign', 'malignant']
    >>> data.target
    array([0, 0, 1])
    >>> data.groups
    array([0, 0, 1])
    """
    check_parameters(
        {**_base.CONSTRAINTS, "groups": [callable, *_base.CONSTRAINTS["groups"]]}, locals()
    )
    root = Path(root)
    classes = _class_folders(root, masks)
    listed = [_list_class(folder) for folder in classes]
    warn_left_out([path for _, others in listed for path in others], root)
    paths, found = _find_masks([path for images, _ in listed for path in images], masks, root)
    files = [PurePosixPath(as_unicode(path.relative_to(root).as_posix())) for path in paths]
    frame = pd.DataFrame(
        {
            "file": [str(file) for file in files],
            "class": [file.parts[0] for file in files],
            "masks": [len(names or ()) for names in found],
        }
    )
    if callable(groups):
        names = _base.object_array([groups(PurePosixPath(file)) for file in frame["file"]])
        groups = pd.DataFrame({"file": frame["file"], "group": names})
    frame = add_groups(frame, groups, _NO_GROUPS, paths, root)
    target_names = [as_unicode(folder.name) for folder in classes]
    counts = ", ".join(f"{name} {n}" for name, n in frame["class"].value_counts(sort=False).items())
    bare = f"; {(frame['masks'] == 0).sum()} without a mask" if masks is not None else ""
    description = f"{len(frame)} images from {root}, by class: {counts}{bare}."
    return _base.as_bunch(paths, found, frame, target_names, DESCR=description)


def _class_folders(root, masks):
    """Return the folders in `root`, without that of the masks."""
    if not root.is_dir():
        raise FileNotFoundError(f"Found no folder {str(root)!r}; {_LAYOUT}")
    loose = [path.name for path in sorted(root.iterdir()) if is_image(path)]
    if loose:
        raise ValueError(f"Found {quote(loose)} directly in {str(root)!r}; {_LAYOUT}")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and is_visible(path))
    if masks is not None:
        folder, inside = Path(masks).resolve(), root.resolve()
        if folder == inside or (inside in folder.parents and folder.parent != inside):
            raise ValueError(
                f"masks is {str(masks)!r}, expected a folder directly in {str(root)!r} or outside "
                "of it: what is in a class folder is an image of that class."
            )
        folders = [path for path in folders if path.resolve() != folder]
    if not folders:
        raise ValueError(f"Found no folders in {str(root)!r}; {_LAYOUT}")
    splits = [folder.name for folder in folders if folder.name.lower() in SPLITS]
    if splits:
        raise ValueError(
            f"Found the folders {quote(splits)} in {str(root)!r}; {_LAYOUT} Name one of these "
            "folders as root, or merge their class folders: cross-validation splits the images "
            "itself."
        )
    return folders


def _list_class(folder):
    """Return the images and the other files of a class."""
    images, others = list_images(folder)
    if not images:
        raise ValueError(f"{say_no_images(folder, others)} Remove the folder if it is not a class.")
    return images, others


def _find_masks(paths, masks, root):
    """Return the images among `paths`, and the mask files of each."""
    if is_suffix(masks):
        images, found = _base.split_masks(paths, masks)
        refuse_masks(images, masks)
    else:
        refuse_masks(paths, "_mask")
        images, found = paths, {} if masks is None else mirrored(Path(masks), root)
    check_found(found, masks)
    return images, _base.pair_masks(images, found)


def check_found(found, masks):
    """Raise if there are no masks, although they were asked for."""
    if masks is not None and not found:
        raise ValueError(
            f"Found no masks for masks={str(masks)!r}, expected the suffix of masks next to their "
            "images, such as '_mask', or a folder that mirrors the images."
        )


def is_suffix(masks):
    """Tell whether masks are next to their images, rather than in a folder of their own."""
    return isinstance(masks, str) and masks.startswith(("_", "-"))


def refuse_masks(paths, suffix):
    """Raise if masks among the images would count as images, such as ``a_mask_left.png``."""
    stems = {path.with_suffix("") for path in paths}
    starts = [(path, path.stem.lower().rfind(suffix.lower())) for path in paths]
    masks = [path for path, at in starts if at > 0 and path.with_name(path.stem[:at]) in stems]
    if masks:
        raise ValueError(
            f"Found masks next to their images: {quote(masks)}; expected images only. Pass "
            "masks='_mask' (--masks _mask) for masks named a_mask.png or a_mask_1.png, or move the "
            "masks to a folder outside the classes."
        )


def mirrored(folder, root):
    """Return the masks in a folder, and of each the path of its image without the extension."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Found no folder {str(folder)!r}, expected the folder of the masks."
        )
    masks, _ = list_images(folder)
    return {mask: root / mask.relative_to(folder).with_suffix("") for mask in masks}
