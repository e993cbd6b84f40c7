"""Images in one folder per class."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pandas as pd

from featbus.datasets import _base
from featbus.datasets._files import (
    list_images,
    list_loose,
    relative_names,
    say_no_images,
    skip_others,
)
from featbus.datasets._groups import add_groups
from featbus.datasets._layout import find_class_folders, make_split
from featbus.datasets._masks import (
    check_found,
    is_suffix,
    mirrored,
    pair_masks,
    refuse_masks,
    split_masks,
)
from featbus.datasets._names import as_name
from featbus.datasets._spacing import add_spacing
from featbus.parameters import check_parameters
from featbus.wording import argument

if TYPE_CHECKING:
    from collections.abc import Callable

    from sklearn.utils import Bunch

    from featbus.typing import PathLike

__all__ = ["load_image_folder"]


def load_image_folder(
    root: PathLike,
    *,
    masks: PathLike | None = None,
    groups: Callable | PathLike | pd.DataFrame | None = None,
    strict: bool = False,
) -> Bunch:
    """Load images from one folder per class.

    No pixels are read. Links are followed. Hidden files are ignored. Images are PNG, JPEG, TIFF,
    BMP, PGM, PPM or DICOM files by their first bytes, whatever their names are, and all files with
    the extension of one of these formats: of those, reading says what is wrong. Other files are
    left out, with a warning that names them.

    Read more in the :ref:`User Guide <own_images>`.

    Parameters
    ----------
    root : path-like
        The folder that contains the class folders; their names are the classes. Images may be in
        subfolders of a class. Or the folder of a given split: ``train`` and ``test``, each with
        the same class folders; also ``Training``, ``Testing``, ``val``, ``valid`` and
        ``validation``, in capitals or not.
    masks : path-like, default=None
        Where the masks are. A string that begins with ``_``, ``-`` or a space is a suffix of masks
        next to their images: with ``"_mask"``, ``a_mask.png`` and ``a_mask_1.png`` are the masks
        of ``a.png``. Anything else is a folder that mirrors the images: the mask of
        ``benign/a.png`` is ``benign/a.*`` in that folder, which may be inside `root`. None loads no
        masks.
    groups : callable, path-like or DataFrame, default=None
        Which images belong together, usually those of one patient. A callable gets the path of an
        image relative to `root` (a `pathlib.PurePosixPath`) and returns something hashable. A CSV
        file (UTF-8; commas, semicolons or tabs) or table has the columns ``file`` (that path as
        text, an absolute path, or the name of the file if no other image has it) and ``group``; a
        column ``similar_groups`` may name other groups, separated by semicolons, to merge with this
        one. Names are compared without spaces around them. None: unknown, with a warning.
    strict : bool, default=False
        Whether files that are no images are an error. The table of groups is none of them.

    Returns
    -------
    Bunch
        The images are sorted by class and path; with a split, by part, class and path.

        images : ndarray of shape (n_images,), dtype object
            The paths of the images, as `str`.
        target : ndarray of int of shape (n_images,)
            The class, an index into `target_names`.
        target_names : list of str
            The names of the class folders, sorted.
        groups : ndarray of int of shape (n_images,), or None
            Images with the same number must be on the same side of every split. None if unknown.
        cv : PredefinedSplit
            Only with a given split. The images in ``test`` are tested, all others are trained on,
            those in ``validation`` as well; without ``test``, the images in ``validation`` are
            tested.
        skipped : list of str
            The files that were left out, relative to `root`.
        masks : ndarray of shape (n_images,), dtype object
            The tuple of mask files of each image, as `str`; None for an image without a mask.
        frame : DataFrame of n_images rows
            ``file`` (relative to `root`, with forward slashes), ``class``, with a given split
            ``split`` ("train", "validation" or "test"), ``masks`` (number of files); with groups
            also ``group``, ``listed_group`` (as given) and the other columns of the table;
            ``spacing_row`` and ``spacing_column``, in millimeters and NaN where unknown, if the
            file of any image states them, see `featbus.io.read_spacing`.
        DESCR : str
            Number of images, by class, and of images without a mask; whether groups are unknown.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist.
    ValueError
        If the folders are neither classes nor a split above the same classes: the message shows
        them; if a class folder has no images; if files are no images and `strict` is True; if a
        mask has no image, no masks are found, or there are other masks than those: files next to
        images, named as these and by a word for a mask or one that half of the images have, or
        folders with such a name; if an image has no group, or two groups may be one: their names
        differ only by case or by ``.0``.

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
    folders = find_class_folders(root, None if is_suffix(masks) else masks)
    listed = [_list_class(folder) for _, folder in folders]
    above = {root, *(folder.parent for _, folder in folders)}
    others = sorted([*list_loose(above), *(path for _, found in listed for path in found)])
    skipped = skip_others(others, root, strict, groups)
    known = {
        path: (part, as_name(folder.name))
        for (part, folder), (images, _) in zip(folders, listed)
        for path in images
    }
    paths, found = _find_masks(list(known), masks, root)
    parts, classes = zip(*(known[path] for path in paths))
    columns = {"file": relative_names(paths, root), "class": classes}
    fields = {"skipped": skipped}
    if folders[0][0] is not None:
        columns["split"], fields["cv"] = parts, make_split(parts)
    frame = pd.DataFrame({**columns, "masks": [len(names or ()) for names in found]})
    if callable(groups):
        names = _base.object_array([groups(PurePosixPath(file)) for file in frame["file"]])
        groups = pd.DataFrame({"file": frame["file"], "group": names})
    frame = add_spacing(add_groups(frame, groups, _warning(), paths, root), paths)
    target_names = sorted({*classes})
    counts = ", ".join(f"{name} {n}" for name, n in frame["class"].value_counts(sort=False).items())
    bare = f"; {(frame['masks'] == 0).sum()} without a mask" if masks is not None else ""
    description = f"{len(frame)} images from {root}, by class: {counts}{bare}."
    return _base.as_bunch(paths, found, frame, target_names, DESCR=description, **fields)


def _list_class(folder):
    """Return the images and the other files of a class."""
    images, others = list_images(folder)
    if not images:
        raise ValueError(f"{say_no_images(folder, others)} Remove the folder if it is not a class.")
    return images, others


def _warning():
    return (
        "It is unknown which images belong together. If a patient has several, scores from any "
        f"split are too optimistic. Pass {argument('groups')}, such as a table with the columns "
        "'file' and 'group'."
    )


def _find_masks(paths, masks, root):
    """Return the images among `paths`, and the mask files of each."""
    if is_suffix(masks):
        images, found = split_masks(paths, masks)
    else:
        images, found = paths, {} if masks is None else mirrored(Path(masks), root)
    refuse_masks(images, masks, root)
    check_found(found, masks)
    return images, pair_masks(images, found)
