"""The folders above the images: classes, or the parts of a split with the same classes in each."""

from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.model_selection import PredefinedSplit

from featbus.datasets._files import is_image, is_visible, quote
from featbus.datasets._masks import SURE
from featbus.datasets._names import as_name
from featbus.files import as_unicode
from featbus.wording import argument

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_LINES = 12  # of a tree in a message
_LAYOUT = (
    "expected one folder per class: root/benign/a.png, root/malignant/b.png, ...; or a split above "
    "the same classes: root/train/benign/a.png, ..., root/test/benign/b.png, ..."
)


def find_class_folders(root, masks=None):
    """Return the folders of the classes in `root`, each with the part of the split that it is in.

    The part is "train", "validation" or "test"; None if `root` has no split. The folder `masks` is
    no class.
    """
    folders = _folders_in(root, masks)
    _check_masks(root, folders)
    parts = [PARTS.get(folder.name.lower()) for folder in folders]
    if not any(parts):
        _check_classes(root, folders)
        return [(None, folder) for folder in folders]
    _check_parts(root, folders, parts)
    return [(part, inner) for part, folder in zip(parts, folders) for inner in _subfolders(folder)]


def make_split(parts):
    """Return the split whose test part is "test", or without one "validation"."""
    tested = "test" if "test" in parts else "validation"
    return PredefinedSplit(np.where(np.asarray(parts) == tested, 0, -1))


def _folders_in(root, masks):
    """Return the folders in `root`, without that of the masks."""
    if not root.is_dir():
        raise FileNotFoundError(f"Found no folder {str(root)!r}; {_LAYOUT}")
    folders = _subfolders(root)
    loose = _images_in(root)
    if loose:
        raise _unknown(root, f"{quote(loose)} directly", "Move them into class folders.")
    if masks is not None:
        folder, inside = Path(masks).resolve(), root.resolve()
        if folder == inside or (inside in folder.parents and folder.parent != inside):
            raise ValueError(
                f"masks is {str(masks)!r}, expected a folder directly in {str(root)!r} or outside "
                "of it: what is in a class folder is an image of that class."
            )
        folders = [path for path in folders if path.resolve() != folder]
    if not folders:
        raise ValueError(f"Found no folders in {str(root)!r}; {_LAYOUT}")
    return folders


def _check_masks(root, folders):
    """Refuse folders of masks in the place of classes, or below them."""
    inner = [path for folder in folders for path in _subfolders(folder)]
    masks = [_name(path, root) for path in [*folders, *inner] if path.name.lower() in SURE]
    if masks:
        remedy = (
            f"Pass a folder of masks beside the classes as {argument('masks')}; move others "
            "elsewhere."
        )
        raise _unknown(root, f"folders of masks, {quote(masks)},", remedy)


def _check_classes(root, folders):
    """Refuse folders that have classes or the parts of a split below them.

    Folders below two others are classes, unless their names have numbers, as those of patients do.
    """
    below = {folder: _subfolders(folder) for folder in folders}
    keys = Counter(key for inner in below.values() for key in {*map(_as_key, inner)})
    taken = {*map(_as_key, folders), *PARTS}
    repeated = {key for key, n in keys.items() if n > 1 and not any(map(str.isdigit, key))}
    inner = [path for found in below.values() for path in found]
    wrong = [path for path in inner if _as_key(path) in taken | repeated]
    twice = [folder for folder in folders if Counter(map(_as_key, folders))[_as_key(folder)] > 1]
    alone = len(folders) == 1 and inner and not _images_in(folders[0])
    if twice:
        found = f"folders of one name, {quote([_name(path, root) for path in twice])},"
        remedy = "Merge them, or give them names that differ by more than spaces and case."
    elif wrong and not alone:
        found = f"folders below others, {quote([_name(path, root) for path in wrong])},"
        remedy = "Name the folder right above the classes as root, or move these elsewhere."
    elif alone:
        found = f"one folder above all images, {_name(folders[0], root)!r},"
        remedy = f"Pass {str(folders[0])!r} if the classes are in it, or add the other classes."
    else:
        return
    raise _unknown(root, found, remedy)


def _check_parts(root, folders, parts):
    """Refuse a split that is not complete, has other folders beside it, or other classes in it."""
    names = {folder: {as_name(path.name) for path in _subfolders(folder)} for folder in folders}
    loose = [f"{folder.name}/{name}" for folder in folders for name in _images_in(folder)]
    if None in parts:
        others = [folder.name for folder, part in zip(folders, parts) if part is None]
        found, remedy = f"{quote(others)} beside the parts of a split", "Move them elsewhere."
    elif len({*parts}) < len(parts):
        found, remedy = "two folders for one part of a split", "Merge their class folders."
    elif "train" not in parts or len(parts) < 2:
        found = f"{quote([folder.name for folder in folders])}, a part of a split"
        remedy = "Name it as root, for a cross-validation of its images."
    elif loose:
        found = f"images without a class, {quote(loose)},"
        remedy = "Move them into class folders, or this part elsewhere."
    elif len({frozenset(found) for found in names.values()}) > 1 or not all(names.values()):
        found = "parts of a split with different classes"
        remedy = "Give all parts the same ones."
    else:
        for folder in folders:
            _check_masks(root, _subfolders(folder))
            _check_classes(root, _subfolders(folder))
        return
    raise _unknown(root, found, remedy)


def _unknown(root, found, remedy):
    """Return the error about folders that are not understood, with the tree that was found."""
    tree = "\n".join(_draw(root))
    return ValueError(f"Found {found} in {str(root)!r}:\n{tree}\n{_LAYOUT} {remedy}")


def _draw(root):
    """Return the folders of two levels, one per line, with the number of files directly in each."""
    folders = [path for top in _subfolders(root) for path in (top, *_subfolders(top))]
    lines = [f"  {_name(path, root)}/ ({_count_files(path)} files)" for path in folders]
    more = len(lines) - _LINES
    return [*lines[:_LINES], f"  and {more} more folders"] if more > 0 else lines


def _as_key(folder):
    return as_name(folder.name).casefold()


def _name(path, root):
    return as_unicode(path.relative_to(root).as_posix())


def _count_files(folder):
    return sum(is_visible(path) and not path.is_dir() for path in folder.iterdir())


def _subfolders(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_visible(path))


def _images_in(folder):
    return [as_unicode(path.name) for path in sorted(folder.iterdir()) if is_image(path)]
