"""Read PGM and PPM images."""

import math
import re

import numpy as np

from featbus.io._errors import AGAIN, ImageReadError
from featbus.io._limits import check_rest, check_size

# Possessive, so that comments are passed over once.
_HEADER = re.compile(rb"P([2356])" + rb"(?:\s|#[^\r\n]*+[\r\n])++(\d{1,9})" * 3 + rb"(?:\r\n|\s)")

_COMMENT = re.compile(rb"#[^\r\n]*+")


def read_pnm(data, limit):
    """Parse a PGM (P2, P5) or PPM (P3, P6) file.

    Parameters
    ----------
    data : bytes
        The content of the file.
    limit : int
        The number of pixels that are allowed.

    Returns
    -------
    ndarray of uint8, uint16 or float32
        Grayscale or RGB.

    Raises
    ------
    ImageReadError
        If the file is damaged.
    """
    header = _HEADER.match(data)
    width, height, maximum = map(int, header.groups()[1:]) if header else (0, 0, 0)
    if not (width and height and 1 <= maximum <= 65535):
        # Not quoted: a comment may contain the name of a patient.
        raise ImageReadError(
            "the PGM or PPM header is incomplete or wrong, expected width, height and a maximum "
            f"of 1 to 65535. {AGAIN}"
        )
    check_size("PGM or PPM", height, width, limit)
    shape = (height, width) if header[1] in b"25" else (height, width, 3)
    pixels = _read_pixels(data, header.end(), math.prod(shape), maximum, plain=header[1] in b"23")
    if pixels.max() > maximum:
        raise ImageReadError(
            f"the PGM or PPM file has the value {pixels.max()}, expected at most {maximum}, the "
            f"maximum that its header gives. {AGAIN}"
        )
    dtype = {255: np.uint8, 65535: np.uint16}.get(maximum)
    if dtype is None:
        return np.divide(pixels, maximum, dtype=np.float32).reshape(shape)
    return pixels.astype(dtype).reshape(shape)


def _read_pixels(data, start, count, maximum, *, plain):
    """Return `count` values from byte `start` on: decimal numbers if plain, otherwise binary."""
    if plain:
        pixels = _parse(_COMMENT.sub(b"", data[start:]) if b"#" in data else data[start:])
        found = len(pixels)
    else:
        dtype = np.dtype("u1" if maximum < 256 else ">u2")
        size = count * dtype.itemsize
        if data[start - 2 : start] == b"\r\n" and len(data) - start == size - 1:
            start -= 1  # the line end is one byte, and the first pixel is 10
        # Line ends and zeros may follow the pixels; a second picture may not.
        found = (len(data) - start) // dtype.itemsize
        if found >= count:
            check_rest("PGM or PPM", data, start + size)
            found = count
        pixels = np.frombuffer(data, dtype, found, start)
    if found != count:
        raise ImageReadError(
            f"the PGM or PPM file has {found} values, expected {count} for the width and height "
            f"that its header gives. {AGAIN}"
        )
    return pixels


def _parse(text):
    """Return decimal numbers."""
    if text.translate(None, b"0123456789 \t\n\v\f\r"):
        raise ImageReadError(f"the PGM or PPM file has pixels that are not numbers. {AGAIN}")
    return np.fromstring(text.strip(), np.int64, sep=" ")
