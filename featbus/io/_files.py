"""Open image files, and refuse what is too large before anything is decoded."""

import io
import os
import stat
from contextlib import contextmanager

from featbus.images import ImageError, is_path
from featbus.parameters import POSITIVE_INTEGER, InvalidParameterError, check_parameters

AGAIN = "The file is damaged or incomplete: copy, download or export it again."
VARIABLE = "FEATBUS_MAX_PIXELS"
_DEFAULT = 178_956_970  # Pillow refuses larger images, too
_HEAD = 132  # bytes, by which formats are identified


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
        The limit. None: that of the environment variable ``FEATBUS_MAX_PIXELS``, or 178,956,970.

    Returns
    -------
    int
        The limit.

    Raises
    ------
    InvalidParameterError
        If it is not a positive integer.
    """
    if max_pixels is not None:
        check_parameters({"max_pixels": [POSITIVE_INTEGER]}, {"max_pixels": max_pixels})
        return int(max_pixels)
    text = os.environ.get(VARIABLE, str(_DEFAULT))
    if not (text.isdecimal() and int(text)):
        raise InvalidParameterError(f"{VARIABLE} is {text!r}, expected a positive integer.")
    return int(text)


def check_size(kind, height, width, limit):
    """Raise an `ImageReadError` for an image without pixels, or with more than `limit`."""
    if min(height, width) < 1 or height * width > limit:
        raise ImageReadError(
            f"the header of the {kind} file says {height} x {width} pixels, expected 1 to {limit} "
            "in all. If it is right: raise the limit, max_pixels of ImageLoader or the environment "
            f"variable {VARIABLE}."
        )


@contextmanager
def open_file(source, limit=_DEFAULT):
    """Open a regular file, or content in memory, for reading.

    Parameters
    ----------
    source : str, os.PathLike, bytes-like or binary file object
        The file, or its content. Devices and pipes, which may block or never end, are not opened.
    limit : int
        Number of pixels that are allowed, which bounds what is read from a file object.

    Yields
    ------
    file
        The file, binary and not empty. An `OSError` inside the block becomes an `ImageReadError`.
    head : bytes
        Its first bytes.
    """
    try:
        with _open(source, limit) as file:
            head = file.read(_HEAD)
            file.seek(0)
            if not head:
                raise ImageReadError(f"the file is empty (0 bytes), expected an image. {AGAIN}")
            yield file, head
    except FileNotFoundError as error:
        raise ImageReadError(
            "there is no such file. Check the path and the working directory."
        ) from error
    except OSError as error:
        if isinstance(error, ImageError):
            raise
        reason = error.strerror or error
        raise ImageReadError(
            f"the file cannot be opened ({reason}). Check the path and the permissions."
        ) from error


def _open(source, limit):
    if hasattr(source, "read"):
        source = source.read(_most_bytes(limit) + 1)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if not is_path(source):
        raise TypeError(
            f"Expected a path, bytes or a binary file object, got {type(source).__name__}."
        )
    try:
        mode = os.stat(source).st_mode
    except ValueError as error:  # a null byte
        raise OSError(error) from error
    if not stat.S_ISREG(mode):
        found = "directory" if stat.S_ISDIR(mode) else "pipe, a socket or a device"
        raise ImageReadError(f"this is a {found}, expected an image file. Pass the path of one.")
    return open(source, "rb", buffering=0)  # all is read at once


def _most_bytes(limit):
    # RGBA in double precision, and room for what is not pixels.
    return 32 * limit + (1 << 26)


def read_content(file, limit):
    """Return all bytes of an open file, unless it is larger than an image of `limit` pixels."""
    size, most = file.seek(0, os.SEEK_END), _most_bytes(limit)
    if size > most:
        raise ImageReadError(
            f"the file has {size} bytes, expected at most {most} for {limit} pixels. If it is an "
            f"image: raise the limit, max_pixels of ImageLoader or {VARIABLE}."
        )
    file.seek(0)
    return file.read()
