"""Decompress the strips or tiles of TIFF images; damage is an error.

Each codec takes the compressed segments, the number of bytes of a row, and the numbers of rows that
the segments must have at least and may have at most. It returns the bytes of all rows.
"""

import io
import struct
import zlib

import numpy as np

from featbus.io._errors import AGAIN, ImageReadError
from featbus.io._limits import DEFLATE_RATIO, RLE_RATIO, check_ratio
from featbus.io._stderr import muted

# Codes of 12 bits stand for up to 4096 bytes.
_LZW_RATIO = 2731
_LZW, _LONG = 5, 4


def _check_length(found, expected):
    if found < expected:
        raise ImageReadError(
            f"the TIFF file holds {found} bytes of pixels in a strip or tile, expected {expected}. "
            f"{AGAIN}"
        )


def _cut(segments, row, least, most):
    for segment, rows in zip(segments, least):
        _check_length(len(segment), rows * row)
    # A bytearray can be written to: no further copy is needed.
    return bytearray().join(segment[: rows * row] for segment, rows in zip(segments, least))


def _inflate(segments, row, least, most):
    parts = []
    for segment, rows in zip(segments, least):
        check_ratio("TIFF", rows * row, len(segment), DEFLATE_RATIO)
        stream = zlib.decompressobj()
        try:
            part = stream.decompress(segment, most * row + 1)
        except zlib.error as error:
            raise ImageReadError(
                f"the TIFF file has pixels that cannot be decompressed. {AGAIN}"
            ) from error
        _check_length(len(part), rows * row)
        if not stream.eof or len(part) > most * row:
            raise ImageReadError(
                f"the TIFF file has pixels that end too late, or without a checksum. {AGAIN}"
            )
        parts.append(part[: rows * row])
    return bytearray().join(parts)


def _unpack_bits(segments, row, least, most):
    return b"".join(
        _unpack_runs(bytes(segment), rows * row) for segment, rows in zip(segments, least)
    )


def _unpack_runs(segment, expected):
    """Decode PackBits (TIFF 6.0, section 9); no more and no less than the expected bytes."""
    check_ratio("TIFF", expected, len(segment), RLE_RATIO)
    parts, found, start = [], 0, 0
    while found < expected and start < len(segment):
        head = segment[start]
        if head < 128:
            part = segment[start + 1 : start + 2 + head]
            start += 2 + head
        else:
            part = segment[start + 1 : start + 2] * (257 - head if head > 128 else 0)
            start += 2 if head > 128 else 1
        parts.append(part)
        found += len(part)
    # Some encoders write a byte of padding.
    if found != expected or not len(segment) - 1 <= start <= len(segment):
        raise ImageReadError(
            f"the TIFF file has a strip or tile of run lengths for other than {expected} bytes of "
            f"pixels. {AGAIN}"
        )
    return b"".join(parts)


def _decode_lzw(segments, row, least, most):
    """Decode all at once, as strips of a TIFF file of bytes that has no other tags."""
    from PIL.TiffImagePlugin import TiffImageFile

    height = sum(least)
    check_ratio("TIFF", height * row, sum(map(len, segments)), _LZW_RATIO)
    # The first code begins with a 1, and the last ends with one. Encoders may add a byte.
    if not all(segment[0] and any(segment[-2:]) for segment in segments):
        raise ImageReadError(
            f"the TIFF file has LZW data without their first or last code. {AGAIN}"
        )
    try:
        file = io.BytesIO(_wrap(segments, row, height, max(least)))
        with muted(), TiffImageFile(file) as image:
            return image.tobytes()
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises errors of any type on damage
        raise ImageReadError(f"the TIFF file has damaged LZW data. {AGAIN}") from error


def _wrap(segments, width, height, rows):
    """Return a TIFF file of 8-bit gray pixels with the given LZW strips."""
    count = len(segments)
    tags = {256: width, 257: height, 258: 8, 259: _LZW, 262: 1, 277: 1, 278: rows}
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    ends = np.cumsum([start + 8 * count, *map(len, segments)])
    arrays = struct.pack(f"<{count}I", *ends[:-1]), struct.pack(f"<{count}I", *np.diff(ends))
    places = (start, start + 4 * count) if count > 1 else struct.unpack("<II", b"".join(arrays))
    entries = {tag: (1, value) for tag, value in tags.items()}
    entries |= {273: (count, places[0]), 279: (count, places[1])}
    directory = b"".join(
        struct.pack("<HHII", tag, _LONG, *entry) for tag, entry in sorted(entries.items())
    )
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4)
    return b"".join([head, *arrays, *segments])


UNCOMPRESSED, JPEG = 1, 7
CODECS = {
    UNCOMPRESSED: _cut,
    _LZW: _decode_lzw,
    8: _inflate,
    32946: _inflate,
    32773: _unpack_bits,
}
