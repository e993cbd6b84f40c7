"""BUSI: breast ultrasound images with the outlines of the lesions."""

from __future__ import annotations

import warnings
from contextlib import suppress

import numpy as np
import pandas as pd
from sklearn.utils import Bunch
from tqdm import tqdm

from featbus.datasets import _base
from featbus.datasets._files import is_visible, list_images, path_array, quote, skip_others
from featbus.datasets._folder import list_classes
from featbus.datasets._groups import add_groups
from featbus.groups import merge_labelings
from featbus.images import ImageError
from featbus.io import read_item
from featbus.model_selection._copies import find_matches
from featbus.model_selection._scenes import describe_scene
from featbus.parameters import check_parameters
from featbus.typing import PathLike

TOP = "Dataset_BUSI_with_GT"
_CLASSES = ["benign", "malignant", "normal"]
_NO_GROUPS = (
    "BUSI has no patient ids but hundreds of near-duplicate images: with groups=None, scores from "
    "any split are too optimistic. Pass a table as groups= (DESCR says where one is), or leave "
    "groups= out to find near-duplicates in the images."
)


def load_busi(
    root: PathLike, *, groups: PathLike | pd.DataFrame | None = _base.FOUND, strict: bool = False
) -> Bunch:
    """Load the Breast Ultrasound Images data set (BUSI).

    Reads the original release as it is on disk: the folders ``benign``, ``malignant`` and
    ``normal`` with ``benign (1).png``, ``benign (1)_mask.png``, ``benign (4)_mask_1.png``, ... A
    subset of the images or of the folders is fine. No pixels are read, except to find
    near-duplicates.

    Read more in the :ref:`User Guide <datasets>`.

    Parameters
    ----------
    root : path-like
        The folder that contains the class folders, or ``Dataset_BUSI_with_GT``.
    groups : path-like, DataFrame, "near-duplicates" or None, default="near-duplicates"
        Which images belong together: a CSV file or table with the columns ``file`` (such as
        ``benign (1).png``, or a path) and ``group``, see `load_image_folder`. A column
        ``similar_groups`` may name other groups, separated by semicolons, that show the same
        lesion; groups that are linked directly or through others are merged. Rows of images that
        are not on disk are ignored.
        The published list [2]_ is read as it is: its columns ``ID`` and ``Filename``, such as
        ``{benign (1)&benign (318)}``, have one row per group.
        "near-duplicates" reads all images and groups them as `find_near_duplicates` does, which
        finds most of the published groups, but not different views of one lesion; a warning says
        that these are not patients. An image that cannot be read has a group of its own, and its
        error comes when it is used. None: unknown, with a warning.
    strict : bool, default=False
        Whether files that are not images are an error.

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
        groups : ndarray of int of shape (n_images,), or None
            Images with the same number must be on the same side of every split. None if unknown.
            If they are near-duplicates, ``groups.note`` says so, and with it `audit` and
            `evaluate`.
        masks : ndarray of shape (n_images,), dtype object
            The tuple of mask files of each image, as `str`. The masks of normal images are empty.
        frame : DataFrame of n_images rows
            ``file``, ``class``, ``number``, ``masks`` (number of files); unless unknown ``group``
            and ``listed_group`` (before similar ones were merged), and the other columns of the
            table.
        skipped : list of str
            The files that were left out, relative to the folder.
        DESCR : str
            Description, source, license, citation and known pitfalls.

    Raises
    ------
    FileNotFoundError
        If there is no folder `root`.
    ValueError
        If there is no class folder, a class folder has no images, or another folder has some; if
        files are no images and `strict` is True; if an image has no mask, a mask has no image, an
        image has an unexpected name, or the table of groups lacks an image.

    Warns
    -----
    UserWarning
        If groups are unknown, or are near-duplicates; if files are left out.

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
    classes = [kind for kind in _CLASSES if (root / kind).is_dir()]
    unexpected = other_folders(root)
    if unexpected or not classes:
        raise ValueError(
            f"Found {quote(unexpected) or 'no class'} in {str(root)!r}, expected the folders "
            f"{quote(_CLASSES)}. Load others by load_image_folder(root, masks='_mask')."
        )
    folders = [(None, root / kind) for kind in classes]
    paths, masks, frame, others = list_classes(root, folders, "_mask")
    fields = {"skipped": skip_others(others, root, strict)}
    names = frame["file"].str.extract(r"^(?i:(\w+)/\1 \((\d+)\)\.png)$")[1]
    bare = [file for file, files in zip(frame["file"], masks) if files is None]
    if names.isna().any() or bare:
        wrong = frame["file"][names.isna()].tolist()
        raise ValueError(
            f"Found {quote(wrong) or 'no mask for ' + quote(bare)} in {str(root)!r}, expected "
            "names like 'benign (1).png', and a mask for each, 'benign (1)_mask.png'. Move other "
            "files elsewhere, or load its classes by load_image_folder."
        )
    frame = frame.assign(file=[path.name for path in paths], number=names.astype(int))
    frame = frame[["file", "class", "number", "masks"]].sort_values(["class", "number"])
    paths, masks = [paths[index] for index in frame.index], masks[frame.index]
    frame = frame.reset_index(drop=True)
    descr = _base.read_descr("busi.rst")
    if isinstance(groups, str) and groups == _base.FOUND:
        groups = frame[["file"]].assign(group=_group_near_duplicates(paths), origin=_base.FOUND)
        note = (
            f"BUSI has no patient ids: its {len(paths)} images are in {groups['group'].nunique()} "
            "groups of near-duplicates, which are not patients."
        )
        warnings.warn(note, stacklevel=2)
        descr = f"{descr.rstrip()}\n\n{note}"
    frame = add_groups(frame, groups, _NO_GROUPS, paths, root)
    return _base.as_bunch(path_array(paths), masks, frame, classes, DESCR=descr, **fields)


def _group_near_duplicates(paths):
    """Return the near-duplicate group of each image; an unreadable image has its own."""
    scenes = {}
    progress = tqdm(paths, "near-duplicates", unit="image", delay=2, leave=False, disable=None)
    for index, path in enumerate(progress):
        with suppress(ImageError):
            scenes[index] = describe_scene(read_item(path, index))
    groups = -1 - np.arange(len(paths))
    if scenes:
        groups[list(scenes)] = merge_labelings(*find_matches(list(scenes.values())))
    return pd.factorize(groups)[0]


def other_folders(root):
    """Return the names of folders with images that are not in the release."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and is_visible(path))
    return [path.name for path in folders if path.name not in _CLASSES and list_images(path)[0]]
