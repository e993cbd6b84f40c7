"""The images below a folder: links are followed, and files that are left out are named."""

import os
import warnings
from pathlib import Path

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".dcm"}
_OF_WINDOWS = {"desktop.ini", "thumbs.db"}


def is_visible(path):
    """Tell whether a file is not one that an operating system hides."""
    return not path.name.startswith(".") and path.name.lower() not in _OF_WINDOWS


def is_image(path):
    """Tell whether a file is an image by its extension.

    A link that leads nowhere is one, too: reading it gives an error that names it.
    """
    is_file = path.is_file() or (path.is_symlink() and not path.exists())
    return path.suffix.lower() in SUFFIXES and is_visible(path) and is_file


def list_images(folder, without=None):
    """Return the images below a folder, and the other files, both sorted; none hidden.

    Files in the folder `without` are ignored.
    """
    files = [*_walk(Path(folder), (), without and os.path.realpath(without))]
    images = [path for path in files if is_image(path)]
    return images, sorted({*files} - {*images})


def _walk(folder, above, without):
    """Yield the files below a folder; `above` are the folders that a link must not lead back to."""
    here = os.path.realpath(folder)
    if here in above or here == without:
        return
    for path in sorted(filter(is_visible, folder.iterdir())):
        if path.is_dir():
            yield from _walk(path, (*above, here), without)
        else:
            yield path


def quote(names, limit=5):
    """Format names for a message: all of them, or the first few and the number of the others."""
    shown = ", ".join(repr(str(name)) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def say_no_images(folder, others):
    """Format the message about a folder without images, but with other files."""
    names = quote([path.relative_to(folder).as_posix() for path in others])
    return f"Found no images in {str(folder)!r}, expected files ending in {_list_suffixes()}." + (
        f" Rename those that are images: {names}." if others else ""
    )


def warn_left_out(others, root):
    """Warn about files that are no images by their extension."""
    if others:
        names = quote([path.relative_to(root).as_posix() for path in others])
        warnings.warn(
            f"Left out {len(others)} file(s) that are no images by their extension: {names}. "
            f"Rename those that are: {_list_suffixes()}.",
            UserWarning,
            stacklevel=3,
        )


def _list_suffixes():
    return ", ".join(sorted(SUFFIXES))
