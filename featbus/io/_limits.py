"""Bounds on what a file may ask for, checked before anything is decoded."""

import os

from featbus.io._errors import AGAIN, ImageReadError
from featbus.parameters import POSITIVE_INTEGER, InvalidParameterError, check_parameters

VARIABLE = "FEATBUS_MAX_PIXELS"
# Pillow refuses larger images, too.
_DEFAULT = 178_956_970
# More pixels, or bytes of pixels, than this never come out of one byte. Deflate: 258 bytes in 2
# bits. JPEG: 64 pixels in one bit, or in two and with subsampled color. RLE: 128 bytes in 2.
DEFLATE_RATIO, JPEG_RATIO, RLE_RATIO = 1032, 512, 64
_PADDING_BYTES = 1 << 20


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
    """Refuse an image without pixels, or with too many.

    Parameters
    ----------
    kind : str
        The format of the file, for the error.
    height, width : int
        As the header has them.
    limit : int
        The number of pixels that are allowed.

    Raises
    ------
    ImageReadError
        If the image is not read.
    """
    if height < 1 or width < 1:
        raise ImageReadError(
            f"the header of the {kind} file says {height} x {width} pixels, expected at least one. "
            f"{AGAIN}"
        )
    if height * width > limit:
        raise ImageReadError(
            f"the header of the {kind} file says {height} x {width} pixels, expected at most "
            f"{limit} in all. If it is right: raise the limit, max_pixels of ImageLoader or the "
            f"environment variable {VARIABLE}."
        )


def check_ratio(kind, expected, found, ratio):
    """Refuse compressed data that cannot hold what the header says.

    Parameters
    ----------
    kind : str
        The format of the file, for the error.
    expected : int
        Size of the decoded image.
    found : int
        Number of compressed bytes.
    ratio : int
        The largest size that comes out of one byte.

    Raises
    ------
    ImageReadError
        If there are too few bytes.
    """
    if expected > ratio * found:
        raise ImageReadError(
            f"the {kind} file has {found} bytes of compressed pixels, expected at least "
            f"{-(-expected // ratio)} for the size that its header says. {AGAIN}"
        )


def check_rest(kind, data, end):
    """Refuse pixels beyond those that the header announces: its numbers may be damaged.

    Parameters
    ----------
    kind : str
        The format of the file, for the error.
    data : bytes-like
        The pixels, with whatever follows them.
    end : int
        Where they end, according to the header. Only zeros and line ends may follow, up to 1 MB.

    Raises
    ------
    ImageReadError
        If anything else does.
    """
    if len(data) - end > _PADDING_BYTES or bytes(data[end:]).strip(b"\0\t\n\r "):
        raise ImageReadError(
            f"the {kind} file has {len(data) - end} bytes more than its pixels need, expected none "
            f"but zeros. {AGAIN}"
        )
