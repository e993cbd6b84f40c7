"""BUSI: breast ultrasound images with the outlines of the lesions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from featbus.datasets import _base
from featbus.datasets._files import is_visible, list_images, quote, warn_left_out
from featbus.datasets._groups import add_groups
from featbus.model_selection import find_near_duplicates
from featbus.parameters import check_parameters

if TYPE_CHECKING:
    from sklearn.utils import Bunch

    from featbus.typing import PathLike

__all__ = ["load_busi"]

TOP = "Dataset_BUSI_with_GT"
_CLASSES = ["benign", "malignant", "normal"]
_NO_GROUPS = (
    "BUSI has no patient ids but hundreds of near-duplicate images. With groups=None every image "
    "is its own group, and scores from any split are too optimistic. Pass a table (CSV file or "
    "DataFrame) with the columns 'file' and 'group' as groups= (DESCR says where to find one), or "
    "groups='near-duplicates' to find the groups in the images."
)


def load_busi(root: PathLike, *, groups: PathLike | pd.DataFrame | None = None) -> Bunch:
    """Load the Breast Ultrasound Images data set (BUSI).

    Reads the original release as it is on disk: the folders ``benign``, ``malignant`` and
    ``normal`` with ``benign (1).png``, ``benign (1)_mask.png``, ``benign (4)_mask_1.png``, ... A
    subset of the images or of the folders is fine. No pixels are read, except to find
    near-duplicates.

    Parameters
    ----------
    root : path-like
        The folder that contains the class folders, or ``Dataset_BUSI_with_GT``.
    groups : path-like, DataFrame or "near-duplicates", default=None
        Which images belong together: a CSV file or table with the columns ``file`` (such as
        ``benign (1).png``, or a path) and ``group``, see `load_image_folder`. A column
        ``similar_groups`` may name other groups, separated by semicolons, that show the same
        lesion; groups that are linked directly or through others are merged. Rows of images that
        are not on disk are ignored.
        "near-duplicates" reads all images and groups them with `find_near_duplicates`, which finds
        most of the published groups, but not different views of one lesion. None makes every image
        its own group, with a warning.

    Returns
    -------
    Bunch
        The images are sorted by class and number.

        images : ndarray of shape (n_images,), dtype object
            The paths of the images, as `str`.
        target : ndarray of int of shape (n_images,)
            The class, an index into `target_names`.
        target_names : list of str
            ``["benign", "malignant", "normal"]``, or those of them whose folders are there.
        groups : ndarray of int of shape (n_images,)
            Images with the same number must be on the same side of every split.
        masks : ndarray of shape (n_images,), dtype object
            The tuple of mask files of each image, as `str`. The masks of normal images are empty.
        frame : DataFrame of n_images rows
            ``file``, ``class``, ``number``, ``masks`` (number of files), ``group``; with a table
            also ``listed_group`` (the group before similar ones were merged) and its other columns.
        DESCR : str
            Description, source, license, citation and known pitfalls.

    Raises
    ------
    FileNotFoundError
        If there is no class folder.
    ValueError
        If a class folder has no images, or another folder has some; if an image has no mask, a mask
        has no image, an image has an unexpected name, or the table of groups lacks an image.

    Warns
    -----
    UserWarning
        If `groups` is None, or files are left out.

    See Also
    --------
    load_masked : Read images masked to their lesions.
    featbus.find_near_duplicates : Group copies and near-copies.

    References
    ----------
    .. [1] Al-Dhabyani W, Gomaa M, Khaled H, Fahmy A. Dataset of breast ultrasound images. Data in
       Brief 28 (2020) 104863.
    .. [2] Pawlowska A, Karwat P, Zolek N. Letter to the Editor re: Dataset of breast ultrasound
       images. Data in Brief 48 (2023) 109247.

    Examples
    --------
    >>> from featbus.datasets import load_busi
    >>> busi = load_busi("Dataset_BUSI_with_GT", groups="groups.csv")  # doctest: +SKIP
    >>> busi.frame["class"].value_counts().to_dict()  # doctest: +SKIP
    {'benign': 437, 'malignant': 210, 'normal': 133}
    """
    check_parameters(_base.CONSTRAINTS, locals())
    root = _base.release_folder(root, TOP)
    classes = _classes_in(root)
    paths = [path for kind in classes for path in _files_of(root, kind)]
    paths, mask_files = _base.split_masks(paths, "_mask")
    masks = _base.pair_masks(paths, mask_files)
    bare = [path.name for path, files in zip(paths, masks) if files is None]
    if bare:
        raise ValueError(
            f"Found no mask for {quote(bare)} in {str(root)!r}, expected one or more for "
            "each image. Unpack the release again, or remove these images."
        )
    frame = pd.DataFrame(
        {
            "file": [path.name for path in paths],
            "class": [path.parent.name for path in paths],
            "number": [_number(path) for path in paths],
            "masks": [len(files) for files in masks],
        }
    )
    if isinstance(groups, str) and groups == "near-duplicates":
        groups = frame[["file"]].assign(group=find_near_duplicates(paths))
    frame = add_groups(frame, groups, _NO_GROUPS, paths, root)
    return _base.as_bunch(paths, masks, frame, classes, DESCR=_base.read_descr("busi.rst"))


def _classes_in(root):
    """Return the classes whose folders are there."""
    classes = [kind for kind in _CLASSES if (root / kind).is_dir()]
    if not classes:
        raise FileNotFoundError(
            f"Found none of the folders {quote(_CLASSES)} in {str(root)!r}, expected the layout of "
            "the release: each with its images and masks."
        )
    others = other_folders(root)
    if others:
        raise ValueError(
            f"Found images in {quote(others)} in {str(root)!r}, expected the folders of the "
            f"release only, {quote(_CLASSES)}. Move them elsewhere, or load all folders as "
            "classes: load_image_folder(root, masks='_mask')."
        )
    return classes


def other_folders(root):
    """Return the names of folders with images that are not in the release."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and is_visible(path))
    return [path.name for path in folders if path.name not in _CLASSES and list_images(path)[0]]


def _files_of(root, kind):
    """Return the images and masks of a class, sorted by number."""
    folder = root / kind
    paths, others = list_images(folder)
    warn_left_out(others, root)
    pattern = re.compile(rf"{kind} \(\d+\)(_mask(_\d+)?)?\.png", re.IGNORECASE)
    names = [path.relative_to(folder).as_posix() for path in paths]
    wrong = [name for name in names if not pattern.fullmatch(name)]
    if wrong or not paths:
        raise ValueError(
            f"Found {quote(wrong) or 'no images'} in {str(folder)!r}, expected names like "
            f"'{kind} (1).png' and '{kind} (1)_mask.png'. Move other files elsewhere."
        )
    return sorted(paths, key=_number)


def _number(path):
    return int(re.search(r"\((\d+)\)", path.name)[1])
