"""Images in one folder per class, and images without classes."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from sklearn.model_selection import PredefinedSplit
from sklearn.utils import Bunch

from featbus.datasets import _base, _files
from featbus.datasets._groups import add_groups
from featbus.groups import GroupsWarning
from featbus.parameters import SequenceOf, check_parameters
from featbus.typing import PathLike

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_LAYOUT = (
    "expected one folder per class: root/benign/a.png, root/malignant/b.png, ...; or a split above "
    "the same classes: root/train/benign/a.png, ..., root/test/benign/b.png, ..."
)
_CLIPS = " Without groups, only the frames of one file are kept together."
_GROUPS_UNKNOWN = (
    "It is unknown which images belong together. If a patient has several, scores from any split "
    "are too optimistic. Pass groups=, such as a table with the columns 'file' and 'group'. If "
    "nobody knows the patients, featbus.find_near_duplicates finds copies."
)


def find_class_folders(root, masks=None):
    """Return the folders of the classes in `root`, each with the part of the split that it is in.

    The part is "train", "validation" or "test"; None if `root` has no split. The folder `masks` is
    no class.
    """
    tops = _subfolders(_files.check_folder(root))
    if masks is not None and not _files.is_suffix(masks):
        tops = [path for path in tops if path.resolve() != Path(masks).resolve()]
    parts = {top: PARTS.get(top.name.lower()) for top in tops}
    classes = {top: _subfolders(top) for top in tops} if any(parts.values()) else {root: tops}
    problem = _check_classes(root, tops) if root in classes else _check_split(parts, classes)
    if problem:
        names = _files.quote(_files.relative_names(tops, root), 12) or "none"
        raise ValueError(f"Found {problem} in {str(root)!r} (folders: {names}); {_LAYOUT}")
    return [(parts.get(top), folder) for top, folders in classes.items() for folder in folders]


def _check_split(parts, classes):
    """Return what is wrong with the folders of a split, None if nothing is."""
    found = list(parts.values())
    if None in found or len({*found}) < len(found) or "train" not in found or len(found) < 2:
        return "a split that is not 'train' and 'test' or 'validation', each once,"
    names = [{_files.as_name(path.name) for path in folders} for folders in classes.values()]
    if any(part != names[0] for part in names):
        return "parts of a split with different classes"
    return next(filter(None, map(_check_classes, classes, classes.values())), None)


def _check_classes(top, folders):
    """Return what is wrong with the folders of classes, None if nothing is.

    Folders that are below two others, or below a single one, and whose names have no digits, as
    those of patients do, are the classes rather than the folders above them.
    """
    loose = [path.name for path in sorted(top.iterdir()) if _files.is_image(path)]
    if loose or not folders:
        return f"images without a class, {_files.quote(loose)}," if loose else "no folders"
    inner = [_files.as_name(path.name) for folder in folders for path in _subfolders(folder)]
    uses = Counter([*inner, *PARTS, *(_files.as_name(folder.name) for folder in folders)])
    doubted = inner if len(folders) == 1 else (name for name in inner if uses[name] > 1)
    wrong = [name for name in doubted if not any(map(str.isdigit, name))]
    return f"folders of classes below others, {_files.quote(wrong)}," if wrong else None


def _subfolders(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir() and _files.is_visible(path))


def list_classes(root, folders, masks):
    """List the images of the folders that `find_class_folders` found.

    Returns
    -------
    paths : list of Path
        The images.
    found : ndarray of object
        The tuple of mask files of each, None if it has none.
    frame : DataFrame
        ``file``, ``class``, ``split`` (only with a split) and ``masks``.
    others : list of Path
        The files that are no images.
    """
    known, others = {}, []
    for part, folder in folders:
        images, rest = _list_images(folder, masks)
        known |= dict.fromkeys(images, (_files.as_name(folder.name), part))
        others += rest
    if _files.is_suffix(masks):
        paths, found = _files.split_masks(known, masks)
    else:
        paths, found = list(known), {} if masks is None else _files.mirrored_masks(masks, root)
    _files.refuse_masks(paths, root)
    found = _files.pair_masks(paths, found, masks)
    frame = pd.DataFrame([known[path] for path in paths], columns=["class", "split"])
    frame = frame.dropna(axis="columns", how="all")
    frame.insert(0, "file", _files.relative_names(paths, root))
    return paths, found, frame.assign(masks=[len(names or ()) for names in found]), others


def _list_images(folder, masks):
    """Return the images in a folder, at least one, and the other files."""
    images, others = _files.list_images(folder, None if _files.is_suffix(masks) else masks)
    if not images:
        raise ValueError(f"Found no images in {str(folder)!r}, expected {_files.FORMATS}.")
    return images, others


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
        one. Names of groups are compared without case and spaces around them, and 7.0 is 7.
        None: unknown, with a warning.
    strict : bool, default=False
        Whether files that are not images are an error. The table of groups is none of them.

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
            also ``group``, ``listed_group`` (as given) and the other columns of the table; and
            what headers of files say, see the notes.
        DESCR : str
            Number of images, by class, and of images without a mask; whether groups are unknown.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist.
    ValueError
        If the folders are neither classes nor a split above the same classes: the message shows
        them; if a class folder has no images; if files are no images and `strict` is True; if a
        mask has no image, or no masks are found; if there are other masks than those: files next
        to images, named as these and by a word for a mask, or folders with such a name; if an image
        has no group.

    Warns
    -----
    UserWarning
        If `groups` is None, or files are left out.

    See Also
    --------
    load_busi : Load BUSI.
    load_masked : Read images masked to their regions.

    Notes
    -----
    Headers add columns to ``frame`` if the file of any image states them; they are NaN where
    unknown. Columns of this name in the table of groups stay as they are.

    - ``spacing_row`` and ``spacing_column``, in millimeters, see `featbus.io.read_spacing`.
    - ``side``, "left" or "right", see `featbus.io.read_laterality`, and ``view``, such as "CC" or
      "MLO", from View Position or View Code Sequence. Where a header has none, from the name of
      the file: ``left``, ``right``, ``l`` or ``r``, then ``cc``, ``mlo``, ``ml`` or ``lm``, in
      capitals or not, with or without signs between them, and with no letter or digit before and
      after, as in ``p7_LCC.png``, ``p7-r-mlo.png`` and ``LEFT_CC (2).png``.
    - ``manufacturer`` and ``model`` of the device.

    A DICOM file of several frames, such as a cine loop, becomes an image per frame:
    ``clip.dcm#0``, ``clip.dcm#1``, ..., see `featbus.io.read_image`. All have the group and the
    masks of their file: a callable gets its path, and a table has a row for it, or one per frame.

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
    folders = find_class_folders(root, masks)
    listed, found, frame, others = list_classes(root, folders, masks)
    frame, paths, found, headers = _base.split_clips(frame, listed, found, root)
    for above in {root, *(folder.parent for _, folder in folders)}:
        others += [path for path in above.iterdir() if path.is_file() and _files.is_visible(path)]
    fields = {"skipped": _files.skip_others(sorted(others), root, strict, groups)}
    if "split" in frame:
        tested = "test" if "test" in {*frame["split"]} else "validation"
        fields["cv"] = PredefinedSplit(np.where(frame["split"] == tested, 0, -1))
    if callable(groups):
        clips = map(_files.clip_of, frame["file"], paths)
        names = _files.object_array([groups(PurePosixPath(clip)) for clip in clips])
        groups = pd.DataFrame({"file": frame["file"], "group": names})
    if groups is None and len(paths) > len(listed):
        warnings.warn(_GROUPS_UNKNOWN + _CLIPS, GroupsWarning, stacklevel=2)
        clips = map(_files.clip_of, frame["file"], paths)
        groups = frame[["file"]].assign(group=[*clips], origin=_base.FILES)
    frame = _base.add_headers(add_groups(frame, groups, _GROUPS_UNKNOWN, paths, root), headers)
    counts = ", ".join(f"{name} {n}" for name, n in frame["class"].value_counts(sort=False).items())
    bare = f"; {(frame['masks'] == 0).sum()} without a mask" if masks is not None else ""
    description = f"{len(frame)} images from {root}, by class: {counts}{bare}."
    images, classes = _files.path_array(paths), sorted({*frame["class"]})
    return _base.as_bunch(images, found, frame, classes, DESCR=description, **fields)


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
        Whether files in the folder that are not images are an error.

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
            columns of the table; and what headers of files say, see `load_image_folder`.
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
    sources = [*_base.PATH, SequenceOf(str), SequenceOf(os.PathLike)]
    check_parameters({**_base.CONSTRAINTS, "source": sources}, locals())
    skipped, is_folder = [], isinstance(source, (str, os.PathLike))
    if is_folder:
        root = _files.check_folder(source)
        paths, others = _list_images(root, masks)
        files, skipped = paths, _files.skip_others(others, root, strict, groups)
    else:
        paths = [Path(os.path.abspath(path)) for path in source]
        root = Path(os.path.commonpath([path.parent for path in paths]))
        folders = {path.parent for path in paths if path.parent.is_dir()}
        around = (file for folder in folders for file in sorted(folder.iterdir()))
        files = [*filter(_files.is_image, around)]
    _, found = _files.split_masks(files, masks if _files.is_suffix(masks) else "_mask")
    stems = {_files.stem_of(path) for path in paths}
    paths = [path for path in paths if found.get(path) not in stems]
    if is_folder:
        _files.refuse_masks(paths, root)
    if masks is None:
        found = {}
    elif not _files.is_suffix(masks):
        found = _files.mirrored_masks(masks, root)
    # Those of other images are left out; if all are, they are named as masks without an image.
    found = {mask: image for mask, image in found.items() if image in stems} or found
    pairs = _files.pair_masks(paths, found, masks)
    frame = pd.DataFrame({"file": _files.relative_names(paths, root)})
    frame["masks"] = [len(pair or ()) for pair in pairs]
    frame, paths, pairs, headers = _base.split_clips(frame, paths, pairs, root)
    if groups is not None:
        frame = add_groups(frame, groups, None, paths, root)
    return Bunch(
        images=_files.path_array(paths),
        groups=_base.groups_in(frame),
        masks=pairs,
        frame=_base.add_headers(frame, headers),
        skipped=skipped,
    )
