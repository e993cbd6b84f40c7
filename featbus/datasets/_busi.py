"""BUSI: breast ultrasound images with the outlines of the lesions."""

import re

import pandas as pd

from featbus.datasets import _base
from featbus.model_selection import find_near_duplicates
from featbus.parameters import check_parameters

__all__ = ["load_busi"]

_CLASSES = ["benign", "malignant", "normal"]
_NO_GROUPS = (
    "BUSI has no patient ids but hundreds of near-duplicate images. With groups=None every image "
    "is its own group, and scores from any split are too optimistic. Pass a table (CSV file or "
    "DataFrame) with the columns 'file' and 'group' as groups= (DESCR says where to find one), or "
    "groups='near-duplicates' to find the groups in the images."
)


def load_busi(root, *, groups=None):
    """Load the Breast Ultrasound Images data set (BUSI).

    Reads the original release as it is on disk: the folders ``benign``, ``malignant`` and
    ``normal`` with ``benign (1).png``, ``benign (1)_mask.png``, ``benign (4)_mask_1.png``, ... A
    subset of the images is fine. No pixels are read, except to find near-duplicates.

    Parameters
    ----------
    root : path-like
        The folder that contains the three class folders, or ``Dataset_BUSI_with_GT``.
    groups : path-like, DataFrame or "near-duplicates", default=None
        Which images belong together: a CSV file or table with the columns ``file`` (such as
        ``benign (1).png``) and ``group``. A column ``similar_groups`` may name other groups,
        separated by semicolons, that show the same lesion; groups that are linked directly or
        through others are merged. Rows of images that are not on disk are ignored.
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
            0 benign, 1 malignant, 2 normal.
        target_names : list of str
            ``["benign", "malignant", "normal"]``.
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
        If a folder is missing.
    ValueError
        If a class folder has no images, an image has no mask, a mask has no image, a PNG file has
        an unexpected name, or the table of groups lacks an image.

    Warns
    -----
    UserWarning
        If `groups` is None.

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
    root = _base.release_folder(root, "Dataset_BUSI_with_GT")
    paths = [path for kind in _CLASSES for path in _files_of(root, kind)]
    paths, mask_files = _base.split_masks(paths, "_mask")
    masks = _base.pair_masks(paths, mask_files)
    bare = [path.name for path, files in zip(paths, masks) if files is None]
    if bare:
        raise ValueError(
            f"Found no mask for {_base.quote(bare)} in {str(root)!r}, expected one or more for "
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
    frame = _base.add_groups(frame, groups, _NO_GROUPS)
    return _base.as_bunch(paths, masks, frame, _CLASSES, DESCR=_base.read_descr("busi.rst"))


def _files_of(root, kind):
    """Return the images and masks of a class, sorted by number."""
    folder = root / kind
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Found no folder {kind!r} in {str(root)!r}, expected the layout of the release: the "
            f"folders {_base.quote(_CLASSES)}, each with its images and masks."
        )
    paths = filter(_base.is_visible, sorted(folder.iterdir()))
    paths = [path for path in paths if path.suffix.lower() == ".png"]
    pattern = re.compile(rf"{kind} \(\d+\)(_mask(_\d+)?)?\.png", re.IGNORECASE)
    wrong = [path.name for path in paths if not pattern.fullmatch(path.name)]
    if wrong or not paths:
        raise ValueError(
            f"Found {_base.quote(wrong) or 'no images'} in {str(folder)!r}, expected names like "
            f"'{kind} (1).png' and '{kind} (1)_mask.png'. Move other files elsewhere."
        )
    return sorted(paths, key=_number)


def _number(path):
    return int(re.search(r"\((\d+)\)", path.name)[1])
