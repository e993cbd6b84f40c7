"""The loader that a folder calls for, and the images of a data set reduced to their regions."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from featbus.datasets._busi import TOP, load_busi, other_folders
from featbus.datasets._files import check_folder
from featbus.datasets._folder import find_class_folders, load_image_folder
from featbus.datasets._mini_mias import load_mini_mias
from featbus.files import as_unicode
from featbus.images import ImageError, at_index
from featbus.io import read_item, read_mask
from featbus.masks import restrict
from featbus.parameters import StrOptions, check_parameters
from featbus.typing import PathLike


def load_dataset(
    root: PathLike,
    *,
    masks: PathLike | None = None,
    groups: PathLike | pd.DataFrame | Callable | None = None,
    strict: bool = False,
) -> Bunch:
    """Load the data set in a folder with the loader that its contents call for.

    Read more in the :ref:`User Guide <datasets>`.

    Parameters
    ----------
    root : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class, below the folders of a given
        split or not.
    masks : path-like, default=None
        Where the masks are, see `load_image_folder`. BUSI has masks of its own, ``"_mask"``, which
        are loaded in any case; mini-MIAS has none.
    groups : path-like, DataFrame, callable or "near-duplicates", default=None
        Which images belong together, see `load_busi` and `load_image_folder`. None: the women of
        mini-MIAS, the near-duplicates of BUSI; of other folders, unknown.
    strict : bool, default=False
        Whether files that are not images are an error. Those of mini-MIAS are ignored.

    Returns
    -------
    Bunch
        The result of the loader, and the ``name`` of the data set.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the data set cannot be read; if `groups` or `masks` is given for mini-MIAS, or other
        masks than its own for BUSI.

    See Also
    --------
    load_busi : Breast ultrasound images.
    load_mini_mias : Mammograms.
    load_image_folder : Any images, in one folder per class.

    Examples
    --------
    >>> from featbus.datasets import load_dataset
    >>> data = load_dataset("all-mias")  # doctest: +SKIP
    >>> data.name  # doctest: +SKIP
    'mini-MIAS'
    """
    layout = detect_layout(root)
    if layout == "mini-MIAS":
        check_parameters({"groups": [None], "masks": [None]}, {"groups": groups, "masks": masks})
        return Bunch(name=layout, **load_mini_mias(root))
    if layout == "BUSI":
        check_parameters({"masks": [StrOptions({"_mask"}), None]}, {"masks": masks})
        given = {} if groups is None else {"groups": groups}
        return Bunch(name=layout, **load_busi(root, strict=strict, **given))
    data = load_image_folder(root, masks=masks, groups=groups, strict=strict)
    return Bunch(name=as_unicode(Path(root).resolve().name), **data)


def detect_layout(
    root: PathLike, *, masks: PathLike | None = None
) -> Literal["BUSI", "mini-MIAS", "class folders", "split", "images"]:
    """Return what a folder is: a release, folders of classes, or images of unknown class.

    Read more in the :ref:`User Guide <datasets>`.

    Parameters
    ----------
    root : path-like
        The folder.
    masks : path-like, default=None
        Where the masks are, see `load_image_folder`: a folder of masks is no class.

    Returns
    -------
    {"BUSI", "mini-MIAS", "class folders", "split", "images"}
        "BUSI" also without some of its folders, but not with others beside them. "class folders"
        and "split" if `load_image_folder` understands the folders: classes, or a given split, such
        as ``train`` and ``test``, with the same classes in each part. Otherwise "images".

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.

    See Also
    --------
    load_dataset : Load a folder with classes.
    load_images : Load any images.

    Examples
    --------
    >>> from featbus.datasets import detect_layout
    >>> detect_layout("all-mias")  # doctest: +SKIP
    'mini-MIAS'
    """
    root = check_folder(root)
    if any(map(_is_mini_mias, (root, root / "all-mias"))):
        return "mini-MIAS"
    if (root / TOP).is_dir() or _is_busi(root):
        return "BUSI"
    try:
        folders = find_class_folders(root, masks)
    except ValueError:
        return "images"
    return "class folders" if folders[0][0] is None else "split"


def _is_mini_mias(folder):
    """Return whether a folder has the images of the release and their table."""
    names = {path.name.lower() for path in folder.iterdir()} if folder.is_dir() else set()
    return "info.txt" in names and any(re.fullmatch(r"mdb\d+\.pgm", name) for name in names)


def _is_busi(root):
    return any(root.glob("benign/benign (*)_mask*")) and not other_folders(root)


def load_masked(dataset: Bunch, indices: ArrayLike | bool | None = None) -> list[np.ma.MaskedArray]:
    """Read the images of a data set, masked to their regions of interest.

    Read more in the :ref:`User Guide <datasets>`.

    Parameters
    ----------
    dataset : Bunch
        A data set with ``images`` and ``masks``, as all loaders and makers return.
    indices : array_like of int or bool, default=None
        The images to read: positions, or True for each image to read. None reads all.

    Returns
    -------
    list of MaskedArray of shape (height, width) or (height, width, channels)
        The pixels as stored; the mask is True outside the region, and the fill value is 0. All
        images are held in memory.

    Raises
    ------
    ImageError
        If an image has no mask or an empty one, if image and mask differ in height or width, or if
        a file cannot be read (an `ImageReadError`). The message names the image.

    See Also
    --------
    featbus.io.read_mask : Read the mask of one image.
    featbus.masks.with_mask : Mask an image with an array.
    ShapeStatistics : Features of the region alone.

    Notes
    -----
    Images without a region, such as the normal images of BUSI, are an error rather than left out or
    left unmasked: features of whole images among features of regions would give the class away.
    Select the others by `indices`, and use the same indices for ``target`` and ``groups``.

    Examples
    --------
    >>> from featbus import ShapeStatistics, load_masked, make_breast_ultrasound
    >>> data = make_breast_ultrasound(12, random_state=0)
    >>> has_lesion = data.frame["class"] != "normal"
    >>> ShapeStatistics().fit_transform(load_masked(data, has_lesion)).shape
    (8, 18)
    """
    positions = np.arange(len(dataset.images))
    if indices is not None:
        positions = positions[np.asarray(indices)]
    return [_read_masked(dataset.images[i], dataset.masks[i], i) for i in positions.tolist()]


def _read_masked(item, mask, index):
    image = read_item(item, index)
    with at_index(index, item):
        inside = read_mask(mask, image.shape)
        if inside is None or not inside.any():
            raise ImageError(
                f"found {'no' if inside is None else 'an empty'} mask, expected a region. Select "
                "the images that have one: load_masked(dataset, indices)."
            )
        return restrict(image, inside)
