"""The loader that a folder calls for."""

from pathlib import Path

from sklearn.utils import Bunch

from featbus.datasets._base import is_visible
from featbus.datasets._busi import load_busi
from featbus.datasets._folder import is_image, load_image_folder
from featbus.datasets._mini_mias import load_mini_mias
from featbus.parameters import InvalidParameterError

__all__ = ["load_dataset"]


def load_dataset(root, *, masks=None, groups=None):
    """Load the data set in a folder with the loader that its contents call for.

    Parameters
    ----------
    root : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class.
    masks : path-like, default=None
        Where the masks are, see `load_image_folder`. BUSI has masks of its own, ``"_mask"``, which
        are loaded in any case; mini-MIAS has none.
    groups : path-like, DataFrame, callable or "near-duplicates", default=None
        Which images belong together, see `load_busi` and `load_image_folder`. mini-MIAS has groups
        of its own.

    Returns
    -------
    Bunch
        The result of the loader, the ``name`` of the data set, and ``has_groups``, whether it is
        known which images belong together; otherwise each image is its own group.

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
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"Found no folder {str(root)!r}, expected a folder of images.")
    has_groups = groups is not None
    if _is_mini_mias(root):
        _refuse(groups, "groups", "mini-MIAS comes with groups, the women")
        _refuse(masks, "masks", "mini-MIAS has no masks")
        return Bunch(name="mini-MIAS", has_groups=True, **load_mini_mias(root))
    if _is_busi(root):
        if masks != "_mask":
            _refuse(masks, "masks", "BUSI comes with masks")
        return Bunch(name="BUSI", has_groups=has_groups, **load_busi(root, groups=groups))
    data = load_image_folder(root, masks=masks, groups=groups)
    return Bunch(name=root.resolve().name, has_groups=has_groups, **data)


def has_classes(root):
    """Tell whether a folder is a data set, rather than a folder with images of unknown class.

    Parameters
    ----------
    root : path-like
        The folder.

    Returns
    -------
    bool
        True if it is that of BUSI or mini-MIAS, or has folders and no images beside them.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"Found no folder {str(root)!r}, expected a folder of images.")
    if _is_mini_mias(root) or _is_busi(root):
        return True
    files = list(filter(is_visible, root.iterdir()))
    return any(map(Path.is_dir, files)) and not any(is_image(path, root) for path in files)


def _is_mini_mias(root):
    return bool(_names_in(root) & {"info.txt", "all-mias"})


def _is_busi(root):
    is_inside = "dataset_busi_with_gt" in _names_in(root)
    return is_inside or any(root.glob("benign/benign (*)_mask*"))


def _names_in(root):
    return {path.name.lower() for path in root.iterdir()}


def _refuse(value, name, reason):
    if value is not None:
        raise InvalidParameterError(f"{name} is {str(value)!r}, expected None: {reason}.")
