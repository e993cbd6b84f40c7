"""Read JPEG images."""

import os
import re
import struct

import cv2
import numpy as np

from featbus.io._decoding import decode
from featbus.io._errors import AGAIN, ImageReadError, cut_off, several
from featbus.io._files import open_file, read_head
from featbus.io._limits import JPEG_RATIO, check_ratio, check_rest, check_size
from featbus.io._tags import read_directories, read_orientation, turn_upright

_LS = 0xF7
_FRAMES = {*range(0xC0, 0xD0), _LS} - {0xC4, 0xC8, 0xCC}  # markers of frame headers
_END, _SCAN, _TABLES, _APP1, _APP2, _APP14 = 0xD9, 0xDA, 0xDB, 0xE1, 0xE2, 0xEE
# In compressed data, FF is followed by 00, in JPEG-LS by less than 80, or by a restart marker
# D0..D7; other markers end the scan.
_SCAN_END = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_NUMBER_OF_IMAGES = 0xB001
_HEAD = 1 << 20  # where the first table is; it may follow a preview and a color profile
# Encoders write about 10 scans. Each costs a pass over all pixels, and needs few bytes.
_SCANS, _SCANNED_PIXELS = 16, 10**9


def read_jpeg(data, limit):
    """Decode a JPEG file after checking that an end marker follows its last scan.

    Parameters
    ----------
    data : bytes
        The content of the file.
    limit : int
        The number of pixels that are allowed.

    Returns
    -------
    ndarray of uint8
        Grayscale or RGB, turned as the EXIF orientation says.

    Raises
    ------
    ImageReadError
        If the file is damaged, or of a kind that is not supported.
    """
    orientation = check_jpeg(data, limit)
    # These flags, unlike IMREAD_UNCHANGED, give 1 or 3 channels; the orientation is not applied.
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    return turn_upright(decode(data, "JPEG", flags), orientation)


def check_jpeg(data, limit, expected=None, bits=8):
    """Check the structure of a JPEG or JPEG-LS file; its compressed data are not decoded.

    Parameters
    ----------
    data : bytes
        The content of the file.
    limit : int
        The number of pixels that are allowed.
    expected : tuple of int or None, default=None
        Height, width and number of channels that it must have, with nothing but zeros after its
        end. None: 1 or 3 channels of 8 bits.
    bits : int, default=8
        The largest precision, if `expected` is given.

    Returns
    -------
    int
        The orientation that it states, 1 to 8.

    Raises
    ------
    ImageReadError
        If it is damaged, too large, or of a kind that is not supported.
    """
    size, scans, orientation = None, 0, 1
    for marker, segment in _segments(data):
        if marker in _FRAMES:
            size = _check_frame(segment, expected, bits)
            check_size("JPEG", *size[:2], limit)
            if marker != _LS:  # whose runs have any length
                check_ratio("JPEG", size[0] * size[1], len(data), JPEG_RATIO)
        elif marker == _SCAN:
            scans += 1
        elif marker == _APP1 and segment[4:10] == b"Exif\0\0" and orientation == 1:
            orientation = read_orientation(segment[10:])
        elif marker == _APP2 and segment[4:8] == b"MPF\0":
            _check_single(segment[8:])
        elif marker == _APP14 and segment[4:9] == b"Adobe" and segment[15:16] > b"\2":
            # GDCM ends the process here.
            raise ImageReadError(f"the JPEG file has an unknown color transform. {AGAIN}")
        elif marker == _END and expected is not None:
            check_rest("JPEG", data, len(data) - len(segment) + 2)
    if size is None:
        raise ImageReadError(f"the JPEG file has no frame header. {AGAIN}")
    if scans > _SCANS and scans * size[0] * size[1] > _SCANNED_PIXELS:
        raise ImageReadError(
            f"the JPEG file has {scans} scans of {size[0]} x {size[1]} pixels, expected at most "
            f"{_SCANS} of as many. Save it as PNG."
        )
    return orientation


def _check_frame(segment, expected, bits):
    """Return height, width and channels of a frame header."""
    header = segment[:10].ljust(10, b"\0")
    precision, *size = struct.unpack(">4xBHHB", header)
    if expected is not None:
        if tuple(size) != expected or precision > bits:
            raise ImageReadError(
                f"the JPEG data have {size} rows, columns and channels of {precision} bits, "
                f"expected {expected} of at most {bits} as the header of the file says. {AGAIN}"
            )
    elif precision != 8 or size[2] not in (1, 3):
        raise ImageReadError(
            f"the JPEG file has {size[2]} components of {precision} bits, expected 1 "
            "(grayscale) or 3 (color) of 8 bits; 4 are CMYK. Convert it to grayscale or RGB."
        )
    return size


def _check_single(pictures):
    """Refuse a file whose list of pictures (CIPA DC-007) has several."""
    try:
        count = int(next(read_directories(pictures, {_NUMBER_OF_IMAGES}))[_NUMBER_OF_IMAGES][0])
    except (ValueError, KeyError, StopIteration, struct.error):
        return
    if count > 1:
        raise several(count, "pictures (Multi-Picture Format)", "PIL.ImageSequence")


def _segments(data):
    """Yield marker and content of each segment of a JPEG file; that of the end is all the rest."""
    start = 2
    while data[start : start + 2] != b"\xff\xd9":
        if data[start : start + 1] not in (b"\xff", b""):
            raise ImageReadError(f"the JPEG file has no marker at byte {start}. {AGAIN}")
        if data[start : start + 2] == b"\xff\xff":
            start += 1
            continue
        end = start + 2 + max(2, int.from_bytes(data[start + 2 : start + 4], "big"))
        if end > len(data):
            raise cut_off("JPEG", len(data), "before its end marker (FF D9)")
        yield data[start + 1], data[start:end]
        if data[start + 1] == _SCAN:
            scan_end = _SCAN_END.search(data, end)
            end = scan_end.start() if scan_end else len(data)
        start = end
    yield _END, data[start:]


def read_quantization(path):
    """Read how coarsely a JPEG file is quantized.

    Parameters
    ----------
    path : path-like
        A JPEG file, of which at most the first mebibyte is read.

    Returns
    -------
    float
        The mean step of its first quantization table, usually that of the brightness: 1 for the
        best quality, 57.6 for quality 50 of the Independent JPEG Group. NaN if there is none.
    """
    try:
        with open_file(os.fsdecode(path)) as file:
            for marker, segment in _segments(read_head(file, _HEAD)):
                if marker == _TABLES and len(segment) > 4:
                    kind = ">u2" if segment[4] >> 4 else "u1"
                    if len(segment) < 5 + 64 * np.dtype(kind).itemsize:
                        return np.nan
                    return float(np.frombuffer(segment, kind, 64, offset=5).mean())
    except ImageReadError:  # the reader says what is wrong with the file
        pass
    return np.nan
