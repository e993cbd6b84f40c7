"""Open image files."""

import os
import stat

from featbus.io._errors import AGAIN, ImageReadError


def open_file(path):
    """Open a regular file for reading.

    Parameters
    ----------
    path : str
        The file. Devices and pipes, which may block or never end, are not opened.

    Returns
    -------
    file
        The open file, binary.

    Raises
    ------
    ImageReadError
        If there is no such file, it is not a regular one, or it cannot be opened.
    """
    try:
        _check_kind(path)
        return open(path, "rb")
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


def read_bytes(path):
    """Read a regular file.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    ImageReadError
        If it cannot be read, or is empty.
    """
    with open_file(path) as file:
        try:
            data = file.read()
        except OSError as error:
            raise _unreadable(error) from error
    if not data:
        raise ImageReadError(f"the file is empty (0 bytes), expected an image. {AGAIN}")
    return data
