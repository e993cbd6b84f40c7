"""The images below a folder: links are followed, and files that are no images are named."""

import os
import warnings
from pathlib import Path

from featbus.files import as_unicode
from featbus.io import find_format
from featbus.wording import named

SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".ppm"),
    *(".dcm", ".dicom", ".ima"),
}
_NOT_READ = {"GIF", "WebP"}
_INDEXES = {"desktop.ini", "dicomdir", "thumbs.db"}  # which programs write beside images


def is_visible(path):
    """Tell whether a file is neither hidden nor an index that programs write beside images."""
    return not path.name.startswith(".") and path.name.lower() not in _INDEXES


def is_image(path):
    """Tell whether a file is an image by its content or by its extension.

    A file of another content that has the extension of an image is one, too, as is a link that
    leads nowhere: reading it gives an error that names it.
    """
    if not is_visible(path) or path.is_dir():
        return False
    return path.suffix.lower() in SUFFIXES or find_format(path) not in {None, *_NOT_READ}


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
    found = f", only {_describe(others, folder)}" if others else ""
    return f"Found no images in {str(folder)!r}{found}. Expected {_FORMATS}."


def list_loose(folders):
    """Return the files directly in folders that are no images; none hidden."""
    files = [path for folder in folders for path in folder.iterdir() if not path.is_dir()]
    return sorted(path for path in files if is_visible(path) and not is_image(path))


def skip_others(others, root, strict, groups=None):
    """Return the names of files that are no images, with a warning; `strict` refuses them.

    The file `groups`, a table that is used, is not among them.
    """
    if isinstance(groups, (str, os.PathLike)):
        others = [path for path in others if os.path.realpath(path) != os.path.realpath(groups)]
    if not others:
        return []
    if strict:
        raise ValueError(
            f"Found {_describe(others, root)} in {str(root)!r}, expected {_FORMATS} only. Move the "
            f"others elsewhere, or leave them out: without {named('strict')}."
        )
    warnings.warn(f"Left out {_describe(others, root)}.", UserWarning, stacklevel=3)
    return relative_names(others, root)


def relative_names(paths, root):
    """Return the names of files relative to a folder, with forward slashes."""
    return [as_unicode(path.relative_to(root).as_posix()) for path in paths]


_FORMATS = "PNG, JPEG, TIFF, BMP, PGM or DICOM files"


def _describe(others, root):
    """Count and name files that are no images, and those that another format would make one."""
    text = f"{len(others)} file(s) that are no images: {quote(relative_names(others, root), 10)}"
    convert = [path for path in others if find_format(path) in _NOT_READ]
    if not convert:
        return text
    names = quote(relative_names(convert, root), 10)
    return f"{text} (convert GIF and WebP to PNG: {names})"
