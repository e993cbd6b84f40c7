"""Open image files, identify them by content, and refuse too large ones before they are decoded."""

import io
import os
import re
from contextlib import contextmanager

from featbus.images import ImageError
from featbus.parameters import POSITIVE_INTEGER, check_parameters

AGAIN = "The file is damaged or incomplete: copy, download or export it again."
VARIABLE = "FEATBUS_MAX_PIXELS"
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".ppm")
SUFFIXES = {*_PICTURES, *DICOM_SUFFIXES}
_DEFAULT = 178_956_970  # Pillow refuses larger images, too
_RAISE = (
    "If it is right: raise the limit, max_pixels of ImageLoader or the environment variable "
    f"{VARIABLE}."
)
_FRAME = re.compile(r"(?s)(.+)#(\d{1,9})")
_CONTENT = (bytes, bytearray, memoryview)
_HEAD = 132  # bytes, by which formats are identified
_SIGNATURES = {
    "DICOM": rb".{128}DICM",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "BMP": rb"BM(?=.*\0)",  # a text such as "BMI,age" has no zeros
    "PNM": rb"P[2356](\s*#|\s+\d)",
    "GIF": rb"GIF8[79]a",
    "WebP": rb"RIFF.{4}WEBP",
}


class ImageReadError(ImageError, OSError):
    """An image file cannot be read: missing, damaged, or of a kind that is not supported.

    Read more in the :ref:`User Guide <loading>`.

    Parameters
    ----------
    reason : str
        What was found, what was expected, and what to do.
    index : int or None, default=None
        Position of the image in the batch, None if unknown.
    path : str, os.PathLike or None, default=None
        The file.

    See Also
    --------
    featbus.images.ImageError : Any error of one image.
    featbus.io.read_image : Read one file.

    Examples
    --------
    >>> from featbus.io import ImageReadError, read_image
    >>> try:
    ...     read_image("no/such/image.png")
    ... except ImageReadError as error:
    ...     print(error)
    'no/such/image.png': there is no such file. Check the path and the working directory.
    """


def several(what, reader):
    """Return the error for a file that contains several pictures."""
    return ImageReadError(
        f"the file contains several {what}, expected one picture. Save each in its own file, or "
        f"read them with {reader} and pass arrays."
    )


def pixel_limit(max_pixels=None):
    """Return the number of pixels that an image may have.

    Parameters
    ----------
    max_pixels : int or None, default=None
        The limit. None: the environment variable ``FEATBUS_MAX_PIXELS``, or 178,956,970 if unset.

    Returns
    -------
    int
        The limit.

    Raises
    ------
    InvalidParameterError
        If it is not a positive integer.
    """
    name, value = "max_pixels", max_pixels
    if value is None:
        name, text = VARIABLE, os.environ.get(VARIABLE, str(_DEFAULT))
        value = int(text) if text.isdecimal() else text
    check_parameters({name: [POSITIVE_INTEGER]}, {name: value})
    return int(value)


def check_size(kind, height, width, limit):
    """Raise an `ImageReadError` for an image without pixels, or with more than `limit`."""
    if min(height, width) < 1 or height * width > limit:
        raise ImageReadError(
            f"the header of the {kind} file says {height} x {width} pixels, expected 1 to {limit} "
            f"in all. {_RAISE}"
        )


def split_frame(path):
    """Return the file of an item of a batch, and the number of the frame.

    Parameters
    ----------
    path : str or os.PathLike
        The item: a file, or a frame of it, such as ``clip.dcm#12``.

    Returns
    -------
    file : str
        The file; `path` itself if there is a file of this name.
    frame : int or None
        The frame, from 0. None for the whole file.
    """
    name = os.fsdecode(path)
    found = _FRAME.fullmatch(name)
    is_file = found is None or os.path.exists(name)
    return (name, None) if is_file else (found[1], int(found[2]))


@contextmanager
def open_image(source, name=None):
    """Open an image file, or content in memory, and identify its format.

    Parameters
    ----------
    source : str, os.PathLike, bytes-like or binary file object
        The file, a frame of it, or its content. Devices and pipes, which may block or never end,
        are not opened.
    name : str or None, default=None
        Name of the image in errors; None: its path.

    Yields
    ------
    file : binary file
        The file, at its start.
    kind : str or None
        Its format, see `featbus.io.find_format`. Also DICOM if `name` has a suffix of DICOM, and
        the content is unknown.

    Raises
    ------
    ImageReadError
        If the file cannot be opened, is empty, or anything is raised in the ``with`` block.
    """
    source = source.read() if hasattr(source, "read") else source
    if not isinstance(source, _CONTENT):
        name = os.fspath(source) if name is None else name
        source, _ = split_frame(source)  # a TypeError for anything else
    kind = None
    try:
        with _open(source) as file:
            head = file.read(_HEAD)
            if not head:
                raise ImageReadError(f"the file is empty (0 bytes), expected an image. {AGAIN}")
            file.seek(0)
            kind = _identify(head, name)
            yield file, kind
    except ImageReadError as error:
        raise error.at(None, name) from error.__cause__
    except MemoryError as error:
        raise ImageReadError(
            "there is not enough memory to decode it. Use smaller images, or fewer jobs.", path=name
        ) from error
    except Exception as error:  # Pillow and pydicom raise errors of any type
        # After damage, the cause may quote the name of a patient.
        cause = None if kind == "DICOM" else error
        found = f"cannot be decoded ({cause})" if cause else "has wrong or missing elements"
        raise ImageReadError(
            f"the {kind} file {found}. {AGAIN} If other programs show it: save it as PNG, gray of "
            "8 or 16 bits or RGB of 8.",
            path=name,
        ) from cause


def _open(source):
    if isinstance(source, _CONTENT):
        return io.BytesIO(source)
    if not os.path.isfile(source):
        other = "this is a directory, a pipe or a device, expected an image file"
        found = other if os.path.exists(source) else "there is no such file"
        raise ImageReadError(f"{found}. Check the path and the working directory.")
    try:
        return open(source, "rb")
    except OSError as error:
        raise ImageReadError(
            f"the file cannot be opened ({error.strerror}). Check the permissions."
        ) from error


def _identify(head, name=None):
    """Return the format of a file by its first bytes, or, for DICOM without preamble, its name."""
    for found, signature in _SIGNATURES.items():
        if re.match(signature, head, re.DOTALL):
            return found
    named = name is not None and split_frame(name)[0].lower().endswith(DICOM_SUFFIXES)
    return "DICOM" if named and any(head) else None


def read_content(file, limit):
    """Return all bytes of an open file, unless it is larger than an image of `limit` pixels."""
    # RGBA in double precision, and room for everything else.
    size, most = file.seek(0, os.SEEK_END), 32 * limit + (1 << 26)
    if size > most:
        raise ImageReadError(f"the file has {size} bytes, expected at most {most}. {_RAISE}")
    file.seek(0)
    return file.read()
