"""BUSI: breast ultrasound images with the outlines of the lesions."""

import re
from collections import defaultdict

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_consistent_length

from featbus.datasets._base import (
    add_groups,
    is_visible,
    object_array,
    quote,
    read_descr,
    release_folder,
)
from featbus.io import read_image
from featbus.model_selection import find_near_duplicates

__all__ = ["load_busi", "read_busi_mask", "read_masked_images"]

_CLASSES = ["benign", "malignant", "normal"]
_NAME = re.compile(r"(benign|malignant|normal) \((\d+)\)(_mask(?:_\d+)?)?\.png", re.IGNORECASE)
_NO_GROUPS = (
    "BUSI has no patient ids but hundreds of near-duplicate images. With groups=None every image "
    "is its own group, and scores from any split are too optimistic. Pass groups= a table (CSV "
    "file or DataFrame) with the columns 'file' and 'group' (DESCR says where to find the groups), "
    "or groups='near-duplicates' to find them in the images."
)


def load_busi(root, *, groups=None):
    """Load the Breast Ultrasound Images data set (BUSI).

    The original release is read as it lies on disk: the folders ``benign``, ``malignant`` and
    ``normal`` with ``benign (1).png``, ``benign (1)_mask.png``, ``benign (4)_mask_1.png``, ... A
    part of the release will do. No pixel is read, unless to find near-duplicates.

    Parameters
    ----------
    root : path-like
        The folder that holds the three class folders, or that holds ``Dataset_BUSI_with_GT``.
    groups : path-like, DataFrame or "near-duplicates", default=None
        Which images belong together: a CSV file or table with the columns ``file`` (such as
        ``benign (1).png``) and ``group``. A column ``similar_groups`` may name further groups,
        separated by semicolons, that show the same lesion; they become one group, and so do groups
        that are linked only through others. Rows of images that are not on disk are fine.
        "near-duplicates" reads all images and groups them by `find_near_duplicates`, which finds
        most of the published groups; lesions seen from elsewhere stay apart. None makes every image
        its own group, with a warning.

    Returns
    -------
    Bunch
        Images come class by class, in the order of their numbers.

        images : ndarray of shape (n_images,), dtype object
            The paths of the images, as `str`.
        target : ndarray of int of shape (n_images,)
            0 benign, 1 malignant, 2 normal.
        target_names : list of str
            ``["benign", "malignant", "normal"]``.
        groups : ndarray of int of shape (n_images,)
            Images with the same number must lie on the same side of every split.
        masks : ndarray of shape (n_images,), dtype object
            For every image the tuple of its mask files, as `str`; see `read_busi_mask`.
        frame : DataFrame of n_images rows
            ``file``, ``class``, ``number``, ``masks`` (how many), ``group``; with a table also
            ``listed_group`` (the group before similar ones became one) and its other columns.
        DESCR : str
            Description, source, licence, citation and known traps.

    Raises
    ------
    FileNotFoundError
        If a folder is missing.
    ValueError
        If a class folder has no images, an image no mask, a mask no image, or a PNG file another
        name; if the table of groups lacks an image.

    Warns
    -----
    UserWarning
        If `groups` is None.

    See Also
    --------
    read_masked_images : Read the images with all but the lesion masked.
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
    root = release_folder(root, "Dataset_BUSI_with_GT")
    rows = [row for kind in _CLASSES for row in _scan(root, kind)]
    frame = pd.DataFrame(
        {
            "file": [image.name for _, image, _ in rows],
            "class": [image.parent.name for _, image, _ in rows],
            "number": [number for number, _, _ in rows],
            "masks": [len(masks) for _, _, masks in rows],
        }
    )
    images = object_array([str(image) for _, image, _ in rows])
    if isinstance(groups, str) and groups == "near-duplicates":
        groups = frame[["file"]].assign(group=find_near_duplicates(images))
    frame = add_groups(frame, groups, _NO_GROUPS)
    return Bunch(
        images=images,
        target=pd.Categorical(frame["class"], categories=_CLASSES).codes.astype(np.intp),
        target_names=list(_CLASSES),
        groups=frame["group"].to_numpy(dtype=np.intp),
        masks=object_array([tuple(map(str, masks)) for _, _, masks in rows]),
        frame=frame,
        DESCR=read_descr("busi.rst"),
    )


def _scan(root, kind):
    """Return (number, image path, mask paths) of every image of a class, in numeric order."""
    folder = root / kind
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Found no folder {kind!r} in {str(root)!r}, expected the layout of the release: the "
            f"folders {quote(_CLASSES)}, each with its images and masks."
        )
    images, masks = {}, defaultdict(list)
    for path in sorted(filter(is_visible, folder.iterdir())):
        if path.suffix.lower() != ".png":
            continue
        match = _NAME.fullmatch(path.name)
        if match is None or match[1].lower() != kind:
            raise ValueError(
                f"Found {path.name!r} in {str(folder)!r}, expected names like '{kind} (1).png' and "
                f"'{kind} (1)_mask.png'. Move files that are not of the release elsewhere."
            )
        if match[3]:
            masks[int(match[2])].append(path)
        else:
            images[int(match[2])] = path
    _check_pairs(images, masks, folder)
    return [(number, images[number], masks[number]) for number in sorted(images)]


def _check_pairs(images, masks, folder):
    if not images:
        raise ValueError(
            f"Found no images in {str(folder)!r}, expected names like '{folder.name} (1).png'."
        )
    bare = [images[number].name for number in sorted(images.keys() - masks.keys())]
    lost = [masks[number][0].name for number in sorted(masks.keys() - images.keys())]
    for found, lacking in ((bare, "mask"), (lost, "image")):
        if found:
            raise ValueError(
                f"Found no {lacking} for {quote(found)} in {str(folder)!r}, expected an image and "
                "at least one mask per number. Unpack the release again, or remove these files."
            )


def read_busi_mask(paths):
    """Read the mask of one BUSI image, joining its mask files.

    Parameters
    ----------
    paths : sequence of path-like
        The mask files of one image, one for each lesion, as `load_busi` lists them.

    Returns
    -------
    ndarray of bool of shape (height, width)
        True inside any lesion; False everywhere for a normal image.

    Raises
    ------
    ValueError
        If the files differ in size, or one of them cannot be read.

    Examples
    --------
    >>> from featbus.datasets import load_busi, read_busi_mask
    >>> busi = load_busi("Dataset_BUSI_with_GT", groups="groups.csv")  # doctest: +SKIP
    >>> read_busi_mask(busi.masks[0]).shape  # doctest: +SKIP
    (471, 562)
    """
    lesions = [_read_lesion(path) for path in paths]
    shapes = {lesion.shape for lesion in lesions}
    if len(shapes) != 1:
        raise ValueError(
            f"The masks [{quote(list(paths))}] have the shapes {sorted(shapes)}, expected at least "
            "one mask, all of the image's shape. Unpack these files of the release again."
        )
    return np.logical_or.reduce(lesions)


def _read_lesion(path):
    pixels = read_image(path)
    if pixels.ndim == 2:
        return pixels > 0
    # A fourth channel is opacity, which says nothing about the lesion.
    return (pixels[..., :3] > 0).any(axis=2)


def read_masked_images(images, masks):
    """Read images with everything but their lesions masked.

    Parameters
    ----------
    images : sequence of path-like
        Image files, such as ``busi.images``.
    masks : sequence of sequences of path-like
        The mask files of each image, such as ``busi.masks``.

    Returns
    -------
    list of MaskedArray of shape (height, width) or (height, width, channels)
        The pixels as stored, the mask True outside the lesions, the fill value 0. All images are in
        memory at once: 1 to 3 MB each.

    Raises
    ------
    ValueError
        If an image and its mask differ in size, or a file cannot be read.

    Notes
    -----
    Normal images have no lesion and come out masked everywhere, which feature extractors refuse.
    Leave them out: ``busi.frame["class"] != "normal"``. Whether a mask is empty tells normal images
    from the rest without a look at the pixels, so masks are no feature for the three-class task.

    Examples
    --------
    >>> from featbus.datasets import load_busi, read_masked_images
    >>> busi = load_busi("Dataset_BUSI_with_GT", groups="groups.csv")  # doctest: +SKIP
    >>> lesion = busi.target != busi.target_names.index("normal")  # doctest: +SKIP
    >>> images = read_masked_images(busi.images[lesion], busi.masks[lesion])  # doctest: +SKIP
    """
    check_consistent_length(images, masks)
    return [_read_masked_image(image, paths) for image, paths in zip(images, masks)]


def _read_masked_image(path, mask_paths):
    image, lesion = read_image(path), read_busi_mask(mask_paths)
    if lesion.shape != image.shape[:2]:
        raise ValueError(
            f"{str(path)!r} has the shape {image.shape[:2]} but its mask {lesion.shape}, expected "
            "the same (height, width). Resize images and masks together, or not at all."
        )
    outside = ~lesion if image.ndim == 2 else np.repeat(~lesion[..., None], image.shape[2], axis=2)
    return np.ma.MaskedArray(image, outside, fill_value=0)
