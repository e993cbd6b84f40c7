"""The loader that a folder calls for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sklearn.utils import Bunch

from featbus.datasets._busi import TOP, load_busi, other_folders
from featbus.datasets._files import is_suffix
from featbus.datasets._folder import load_image_folder
from featbus.datasets._layout import find_class_folders
from featbus.datasets._mini_mias import load_mini_mias
from featbus.files import as_unicode
from featbus.parameters import InvalidParameterError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    import pandas as pd

    from featbus.typing import PathLike

__all__ = ["load_dataset"]


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
        Whether files that are no images are an error. Those of mini-MIAS are ignored.

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
        _refuse(groups, "groups", "mini-MIAS comes with groups, the women")
        _refuse(masks, "masks", "mini-MIAS has no masks")
        return Bunch(name=layout, **load_mini_mias(root))
    if layout == "BUSI":
        if masks != "_mask":
            _refuse(masks, "masks", "BUSI comes with masks")
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
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"Found no folder {str(root)!r}, expected a folder of images.")
    if any(map(_is_mini_mias, (root, root / "all-mias"))):
        return "mini-MIAS"
    if (root / TOP).is_dir() or _is_busi(root):
        return "BUSI"
    is_folder = masks is not None and not is_suffix(masks)
    try:
        folders = find_class_folders(root, masks if is_folder else None)
    except ValueError:
        return "images"
    return "class folders" if folders[0][0] is None else "split"


def _is_mini_mias(folder):
    """Return whether a folder has the images of the release and their table."""
    names = {path.name.lower() for path in folder.iterdir()} if folder.is_dir() else set()
    return "info.txt" in names and any(re.fullmatch(r"mdb\d+\.pgm", name) for name in names)


def _is_busi(root):
    return any(root.glob("benign/benign (*)_mask*")) and not other_folders(root)


def _refuse(value, name, reason):
    if value is not None:
        raise InvalidParameterError(f"{name} is {str(value)!r}, expected None: {reason}.")
