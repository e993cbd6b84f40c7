"""Open image files."""

import io
import os
import stat

from featbus.io._errors import AGAIN, ImageReadError
from featbus.io._limits import VARIABLE

# RGBA in double precision, and room for what is not pixels.
_PIXEL, _OTHERS = 32, 1 << 26
_EMPTY = f"the file is empty (0 bytes), expected an image. {AGAIN}"


def open_file(source):
    """Open a regular file for reading.

    Parameters
    ----------
    source : str or bytes
        The file, or its content. Devices and pipes, which may block or never end, are not opened.

    Returns
    -------
    file
        The open file, binary.

    Raises
    ------
    ImageReadError
        If there is no such file, it is not a regular one, or it cannot be opened.
    """
    if isinstance(source, bytes):
        return io.BufferedReader(io.BytesIO(source))
    try:
        _check_kind(source)
        return open(source, "rb")
    except FileNotFoundError as error:
        raise ImageReadError(
            "there is no such file. Check the path and the working directory."
        ) from error
    except (OSError, ValueError) as error:
        if isinstance(error, ImageReadError):
            raise
        raise _unreadable(error) from error


def _check_kind(path):
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return  # `open` says what is wrong
    if stat.S_ISDIR(mode):
        raise ImageReadError(
            "this is a directory, expected an image file. Pass the paths of its files."
        )
    if not stat.S_ISREG(mode):
        raise ImageReadError(
            "this is a pipe, a socket or a device, expected a regular file. Save the image in one."
        )


def _unreadable(error):
    reason = getattr(error, "strerror", None) or error
    return ImageReadError(
        f"the file cannot be opened ({reason}). Check the path and the permissions."
    )


def read_head(file, size):
    """Read the first bytes of an open file.

    Parameters
    ----------
    file : file
        The file, binary; its position is 0 afterwards.
    size : int
        How many.

    Returns
    -------
    bytes
        As many, or fewer.

    Raises
    ------
    ImageReadError
        If it cannot be read, or is empty.
    """
    head = _read(file.raw, size)  # past the buffer, so that the rest is not copied once more
    file.raw.seek(0)
    if not head:
        raise ImageReadError(_EMPTY)
    return head


def read_bytes(file, limit):
    """Read all of an open file.

    Parameters
    ----------
    file : file
        The file, binary.
    limit : int
        The number of pixels that are allowed.

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    ImageReadError
        If it cannot be read, or is larger than an image of so many pixels.
    """
    _check_bytes(os.fstat(file.fileno()).st_size, limit)
    return _read(file)


def take_bytes(content, limit):
    """Take the content of a file that is in memory, or that somebody else opened.

    Parameters
    ----------
    content : bytes-like or binary file object
        The content, or what `read` gives it.
    limit : int
        The number of pixels that are allowed.

    Returns
    -------
    bytes
        The content.

    Raises
    ------
    ImageReadError
        If it is empty, or larger than an image of so many pixels.
    TypeError
        If it is neither.
    """
    if hasattr(content, "read"):
        content = content.read(_most_bytes(limit) + 1)
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"Expected a path, bytes or a binary file object, got {type(content).__name__}."
        )
    data = bytes(content)
    if not data:
        raise ImageReadError(_EMPTY)
    _check_bytes(len(data), limit)
    return data


def _most_bytes(limit):
    return limit * _PIXEL + _OTHERS


def _check_bytes(size, limit):
    most = _most_bytes(limit)
    if size > most:
        raise ImageReadError(
            f"the file has {size} bytes, expected at most {most} for {limit} pixels. If it is an "
            f"image: raise the limit, max_pixels of ImageLoader or {VARIABLE}."
        )


def _read(file, size=-1):
    try:
        return file.read(size)
    except OSError as error:
        raise _unreadable(error) from error
