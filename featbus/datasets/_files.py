"""The files below a folder: which are images, which are masks, and which are neither."""

import os
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from featbus.files import as_unicode
from featbus.io import is_image_file, split_frame

FORMATS = "PNG, JPEG, TIFF, BMP, PGM or DICOM files"
_INDEXES = {"desktop.ini", "dicomdir", "thumbs.db"}  # written by other programs
# Names of masks: "a_mask.png" beside "a.png", and folders such as "x_masks" or "ground truth".
_MASK_WORDS = "masks?|gt|ground[_ ]?truth|segs?|segmentations?|labels?|annotations?|contours?"
_MASK_NAME = re.compile(rf"(.+?)([_\- ](?:{_MASK_WORDS}|lesion|outline|roi))(?![^\W\d_])", re.I)
_MASK_FOLDER = re.compile(rf"(?:.*[_\- ])?(?:{_MASK_WORDS})", re.I)


def check_folder(root, contents="images"):
    """Return a folder as a `Path`; it must exist."""
    if not os.path.isdir(root):
        raise FileNotFoundError(f"Found no folder {str(root)!r}, expected a folder of {contents}.")
    return Path(root)


def as_name(text):
    """Return a name as it is compared: accents have one spelling, and spaces around it go."""
    return unicodedata.normalize("NFC", as_unicode(text)).strip()


def stem_of(path):
    """Return a path without its extension; the last part of a number, such as 1.2.3, is none."""
    return path.with_suffix("") if path.suffix[1:2].isalpha() else path


def object_array(items):
    """Return a 1-D array of Python objects, which scikit-learn can index."""
    return np.fromiter(items, dtype=object, count=len(items))


def path_array(paths):
    """Return paths as a 1-D array of strings."""
    return object_array([str(path) for path in paths])


def quote(names, limit=5):
    """Format names for a message: all of them, or the first few and the number of the others."""
    shown = ", ".join(repr(str(name)) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def relative_names(paths, root):
    """Return the names of files relative to a folder, with forward slashes."""
    return [as_unicode(path.relative_to(root).as_posix()) for path in paths]


def clip_of(name, path):
    """Return the name of a file; of a frame, that of its file."""
    return name if split_frame(path)[1] is None else name.rpartition("#")[0]


def is_visible(path):
    """Return whether a file is neither hidden nor an index that another program wrote."""
    return not path.name.startswith(".") and path.name.lower() not in _INDEXES


def is_image(path):
    """Return whether a file has the content or the extension of an image.

    A file that has only the extension raises an error when it is read.
    """
    return is_visible(path) and not path.is_dir() and is_image_file(path)


def list_images(folder, without=None):
    """Return the visible files below a folder, sorted: the images, and the others.

    Files in the folder `without` are ignored.
    """
    files = [*_walk(Path(folder), (), without and Path(without).resolve())]
    images = [path for path in files if is_image(path)]
    return images, sorted({*files} - {*images})


def _walk(folder, above, without):
    """Yield the files below a folder; `above` are the folders that a link must not lead back to."""
    here = folder.resolve()
    if here in above or (without and here.is_relative_to(without)):
        return
    for path in sorted(filter(is_visible, folder.iterdir())):
        if path.is_dir():
            yield from _walk(path, (*above, here), without)
        else:
            yield path


def skip_others(others, root, strict, groups=None):
    """Warn about files that are not images, or refuse them, and return their names.

    The file `groups`, a table that is used, is not among them.
    """
    if isinstance(groups, (str, os.PathLike)):
        others = [path for path in others if os.path.realpath(path) != os.path.realpath(groups)]
    names = relative_names(others, root)
    found = f"{len(names)} file(s) that are no images: {quote(names, 10)}"
    if names and strict:
        raise ValueError(
            f"Found {found} in {str(root)!r}, expected {FORMATS} only. Move or convert the others, "
            "or leave strict out."
        )
    if names:
        warnings.warn(f"Left out {found}. Convert GIF and WebP to PNG.", stacklevel=3)
    return names


def is_suffix(masks):
    """Return whether masks are next to their images, rather than in a folder of their own."""
    return isinstance(masks, str) and masks.startswith(("_", "-", " "))


def split_masks(paths, suffix):
    """Separate masks, such as ``a_mask.png`` and ``a_mask_1.png``, from images, such as ``a.png``.

    Returns the images, and a dict from each mask to the path of its image without the extension.
    """
    pattern = re.compile(rf"(.+){re.escape(suffix)}(?:_?\d+)?", re.IGNORECASE)
    matches = {path: pattern.fullmatch(stem_of(path).name) for path in paths}
    images = [path for path, match in matches.items() if match is None]
    masks = {path: path.with_name(match[1]) for path, match in matches.items() if match}
    return images, masks


def mirrored_masks(folder, root):
    """Return the masks in a folder, each with the path of its image without the extension."""
    masks, _ = list_images(check_folder(folder, "masks"))
    return {mask: root / stem_of(mask.relative_to(folder)) for mask in masks}


def pair_masks(images, found, masks):
    """Return the tuple of mask files of each image, None if it has none.

    `found` is a dict from each mask to the path of its image without the extension; `masks` is the
    parameter that said where to look.
    """
    if masks is not None and not found:
        expected = "expected a suffix, such as '_mask', or a folder that mirrors the images."
        raise ValueError(f"Found no masks for masks={str(masks)!r}, {expected}")
    stems = Counter(map(stem_of, images))
    lost = [mask for mask, image in found.items() if stems[image] != 1]
    if lost:
        image = found[lost[0]].name + lost[0].suffix
        raise ValueError(
            f"Found masks without an image, or with several images of one name: {quote(lost)}, "
            f"expected one image such as {image!r} for the first. Add or rename images or masks."
        )
    files = defaultdict(tuple)
    for mask, image in found.items():
        files[image] += (str(mask),)
    return object_array([files[stem_of(image)] or None for image in images])


def refuse_masks(images, root):
    """Raise if images are named like masks of others, or are in folders named like masks."""
    stems = {stem_of(path) for path in images}
    names = {path: _MASK_NAME.match(stem_of(path).name) for path in images}
    beside = [path for path, name in names.items() if name and path.with_name(name[1]) in stems]
    masks = beside or [
        path
        for path in images
        if any(map(_MASK_FOLDER.fullmatch, path.relative_to(root).parent.parts))
    ]
    if masks:
        suffix = names[masks[0]][2] if beside else "_mask"
        raise ValueError(
            f"Found masks among the images in {str(root)!r}: {quote(relative_names(masks, root))}. "
            f"Pass masks={suffix!r} for masks next to their images, or the folder of the masks; "
            "move others elsewhere."
        )
