"""The folders above the images: classes, or the parts of a split with the same classes in each."""

from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.model_selection import PredefinedSplit

from featbus.datasets._files import as_name, is_image, is_visible, quote
from featbus.files import as_unicode

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_LAYOUT = (
    "expected one folder per class: root/benign/a.png, root/malignant/b.png, ...; or a split above "
    "the same classes: root/train/benign/a.png, ..., root/test/benign/b.png, ..."
)


def find_class_folders(root, masks=None):
    """Return the folders of the classes in `root`, each with the part of the split that it is in.

    The part is "train", "validation" or "test"; None if `root` has no split. The folder `masks` is
    no class.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"Found no folder {str(root)!r}; {_LAYOUT}")
    folders = _subfolders(root)
    if masks is not None:
        masks, inside = Path(masks).resolve(), root.resolve()
        if masks == inside or (inside in masks.parents and masks.parent != inside):
            raise ValueError(
                f"masks is {str(masks)!r}, expected a folder directly in {str(root)!r} or outside "
                "of it: what is in a class folder is an image of that class."
            )
        folders = [path for path in folders if path.resolve() != masks]
    parts = {folder: PARTS.get(folder.name.lower()) for folder in folders}
    tops = folders if any(parts.values()) else [root]
    classes = [folders] if tops == [root] else [_subfolders(top) for top in tops]
    problem = _check_parts(parts) or _find_loose({root, *tops})
    problem = problem or next(filter(None, map(_check_classes, classes)), None)
    if problem:
        names = [as_unicode(path.relative_to(root).as_posix()) for path in folders]
        among = f" among the folders {quote(names, 12)}" if names else ""
        raise ValueError(f"Found {problem} in {str(root)!r}{among}; {_LAYOUT}")
    if tops == [root]:
        return [(None, folder) for folder in folders]
    return [(parts[top], folder) for top in tops for folder in _subfolders(top)]


def make_split(parts):
    """Return the split whose test part is "test", or without one "validation"."""
    tested = "test" if "test" in parts else "validation"
    return PredefinedSplit(np.where(np.asarray(parts) == tested, 0, -1))


def _find_loose(folders):
    loose = [path.name for folder in folders for path in sorted(folder.iterdir()) if is_image(path)]
    return loose and f"images without a class, {quote(loose)},"


def _check_parts(parts):
    """Return what is wrong with the parts of a split, None if nothing is or there is no split."""
    if not any(parts.values()):
        return None
    if None in parts.values():
        others = [folder.name for folder, part in parts.items() if part is None]
        return f"{quote(others)} beside the parts of a split"
    if len({*parts.values()}) < len(parts):
        return "two folders for one part of a split"
    if "train" not in parts.values() or len(parts) < 2:
        return "only a part of a split (pass that folder as root for a cross-validation)"
    classes = {frozenset(map(_as_key, _subfolders(folder))) for folder in parts}
    return None if len(classes) == 1 else "parts of a split with different classes"


def _check_classes(folders):
    """Return what is wrong with folders as classes, None if nothing is.

    Folders that are below two others, and whose names have no digits, as those of patients do, are
    the classes rather than the folders above them.
    """
    if not folders:
        return "no folders"
    keys = Counter(map(_as_key, folders))
    inner = [path for folder in folders for path in _subfolders(folder)]
    inner_keys = Counter(map(_as_key, inner))
    taken = {*keys, *PARTS, *(key for key, n in inner_keys.items() if n > 1)}
    wrong = [path for path in inner if _as_key(path) in taken]
    wrong = [path for path in wrong if not any(map(str.isdigit, path.name))]
    if max(keys.values()) > 1:
        return f"folders whose names differ only by spaces or case, {quote(sorted(keys))},"
    if wrong:
        return f"folders of classes below others, {quote([path.name for path in wrong])},"
    if len(folders) == 1 and inner and not _find_loose(folders):
        return f"one folder above all images, {folders[0].name!r} (pass it as root),"
    return None


def _as_key(folder):
    return as_name(folder.name).casefold()


def _subfolders(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_visible(path))
