"""Errors of the readers of all formats."""

from featbus.images import ImageError

AGAIN = "The file is damaged or incomplete: copy, download or export it again."


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


def cut_off(kind, size, where):
    """Return the error for a file that ends too early."""
    return ImageReadError(f"the {kind} file ends at byte {size}, {where}. {AGAIN}")


def several(count, what, reader):
    """Return the error for a file that contains several pictures."""
    return ImageReadError(
        f"the file contains {count} {what}, expected one picture. Save each in its own file, or "
        f"read them with {reader} and pass arrays."
    )
