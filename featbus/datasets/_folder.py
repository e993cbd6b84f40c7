"""Images in one folder per class."""

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from featbus.datasets._base import add_groups, is_visible, object_array, quote

__all__ = ["load_image_folder"]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".dcm"}
_LAYOUT = "expected one folder per class: root/benign/a.png, root/malignant/b.png, ..."
_NO_GROUPS = (
    "groups=None makes every image its own group. If a patient has several images, scores from any "
    "split are too optimistic: pass groups= a function of the path or a table with the columns "
    "'file' and 'group'."
)


def load_image_folder(root, *, groups=None):
    """Load images that lie in one folder per class.

    No pixel is read. Files whose names start with a dot, and files of other types than PNG, JPEG,
    TIFF, BMP, PGM and DICOM (by the end of the name), are left out.

    Parameters
    ----------
    root : path-like
        The folder that holds the class folders; their names are the classes. Images may lie in
        further folders inside a class.
    groups : callable, path-like or DataFrame, default=None
        Which images belong together, usually the patient. A callable gets the path of an image
        relative to `root` (a `pathlib.PurePosixPath`) and returns something hashable. A CSV file or
        table has the columns ``file`` (that path as text) and ``group``; a column
        ``similar_groups`` may name further groups, separated by semicolons, that become one with
        it. None makes every image its own group, with a warning.

    Returns
    -------
    Bunch
        Images come in the order of their paths, class by class.

        images : ndarray of shape (n_images,), dtype object
            The paths of the images, as `str`.
        target : ndarray of int of shape (n_images,)
            The class, an index into `target_names`.
        target_names : list of str
            The names of the class folders, sorted.
        groups : ndarray of int of shape (n_images,)
            Images with the same number must lie on the same side of every split.
        frame : DataFrame of n_images rows
            ``file`` (relative to `root`, with forward slashes), ``class``, ``group``; with groups
            also ``listed_group`` (as given) and the table's other columns.
        DESCR : str
            What was found.

    Raises
    ------
    FileNotFoundError
        If `root` is no folder.
    ValueError
        If there are no class folders, images beside them, a class folder without images, or a mask
        (``a_mask.png``) beside its image (``a.png``); if an image has no group.

    Warns
    -----
    UserWarning
        If `groups` is None.

    See Also
    --------
    load_busi : Load BUSI, whose class folders hold masks too.

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
    root = Path(root)
    classes = _class_folders(root)
    paths = [path for folder in classes for path in _images_in(folder)]
    files = [path.relative_to(root) for path in paths]
    frame = pd.DataFrame(
        {"file": [file.as_posix() for file in files], "class": [file.parts[0] for file in files]}
    )
    if callable(groups):
        names = object_array([groups(PurePosixPath(file)) for file in frame["file"]])
        groups = pd.DataFrame({"file": frame["file"], "group": names})
    frame = add_groups(frame, groups, _NO_GROUPS)
    target_names = [folder.name for folder in classes]
    counts = ", ".join(f"{name} {n}" for name, n in frame["class"].value_counts(sort=False).items())
    return Bunch(
        images=object_array([str(path) for path in paths]),
        target=pd.Categorical(frame["class"], categories=target_names).codes.astype(np.intp),
        target_names=target_names,
        groups=frame["group"].to_numpy(dtype=np.intp),
        frame=frame,
        DESCR=f"{len(frame)} images from {root}, by class: {counts}.",
    )


def _class_folders(root):
    if not root.is_dir():
        raise FileNotFoundError(f"Found no folder {str(root)!r}; {_LAYOUT}")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and is_visible(path))
    loose = [path.name for path in sorted(root.iterdir()) if _is_image(path, root)]
    if loose:
        raise ValueError(f"Found {quote(loose)} directly in {str(root)!r}; {_LAYOUT}")
    if not folders:
        raise ValueError(f"Found no folders in {str(root)!r}; {_LAYOUT}")
    return folders


def _images_in(folder):
    paths = sorted(path for path in folder.rglob("*") if _is_image(path, folder))
    if not paths:
        raise ValueError(
            f"Found no images in {str(folder)!r}, expected files ending in "
            f"{', '.join(sorted(_SUFFIXES))}. Remove the folder if it is no class."
        )
    masks = _masks_of(paths)
    if masks:
        raise ValueError(
            f"Found masks beside their images in {str(folder)!r}: {quote(masks)}; expected images "
            "only. Move the masks to a folder outside the classes."
        )
    return paths


def _is_image(path, folder):
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in _SUFFIXES and not hidden and path.is_file()


def _masks_of(paths):
    images = {path.with_suffix("") for path in paths}
    stems = ((path, path.stem.rpartition("_mask")[0]) for path in paths)
    return [path.name for path, stem in stems if stem and path.with_name(stem) in images]
