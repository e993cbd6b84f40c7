"""Decompress the strips or tiles of TIFF images; damage is an error.

Each codec takes the compressed segments, the number of bytes of a row, and the numbers of rows that
the segments must have at least and may have at most. It returns the bytes of all rows.
"""

import io
import struct
import zlib

import numpy as np

from featbus.io._errors import AGAIN, ImageReadError
from featbus.io._limits import DEFLATE_RATIO, check_ratio, check_rest
from featbus.io._run_lengths import unpack_bits
from featbus.io._stderr import listen

# Codes of 12 bits stand for up to 4096 bytes.
_LZW_RATIO = 2731
_LZW, _LONG = 5, 4


def _check_length(found, expected):
    if found < expected:
        raise ImageReadError(
            f"the TIFF file holds {found} bytes of pixels in a strip or tile, expected {expected}. "
            f"{AGAIN}"
        )


def _cut(segment, size, full):
    """Return the pixels of a segment; the last strip of a file may be as large as the others."""
    _check_length(len(segment), size)
    if len(segment) != full:
        check_rest("TIFF", segment, size)
    return segment[:size]


def _join(segments, row, least, most):
    # A bytearray can be written to: no further copy is needed.
    parts = zip(segments, least)
    return bytearray().join(_cut(segment, rows * row, most * row) for segment, rows in parts)


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
        part = _cut(part, rows * row, most * row)
        if not stream.eof:
            raise ImageReadError(
                f"the TIFF file has pixels that end too late, or without a checksum. {AGAIN}"
            )
        parts.append(part)
    return bytearray().join(parts)


def _unpack_bits(segments, row, least, most):
    parts = zip(segments, least)
    return bytearray().join(unpack_bits(part, rows * row, "TIFF") for part, rows in parts)


def _unpack_lzw(segments, row, least, most):
    check_ratio("TIFF", sum(least) * row, sum(map(len, segments)), _LZW_RATIO)
    # The first code begins with a 1, and the last ends with one. Encoders may add a byte.
    if not all(segment[0] and any(segment[-2:]) for segment in segments):
        raise ImageReadError(
            f"the TIFF file has LZW data without their first or last code. {AGAIN}"
        )
    pixels = _decode_lzw(segments, row, sum(least), max(least))
    if pixels is None:
        raise ImageReadError(f"the TIFF file has damaged LZW data. {AGAIN}")
    # libtiff ignores pixels that it does not need. After a wrong width, each strip has some; after
    # a wrong height, the last one.
    ends = {(segments[0], least[0]), (segments[-1], least[-1])}
    if any(_goes_on(segment, rows * row, most * row) for segment, rows in ends):
        raise ImageReadError(
            f"the TIFF file has LZW data of more pixels than its strips or tiles. {AGAIN}"
        )
    return pixels


def _goes_on(segment, size, full):
    """Tell whether a segment holds more bytes than `size`, and other than `full`."""
    if _decode_lzw([segment], size + 1, 1, 1) is None:
        return False
    whole = _decode_lzw([segment], full, 1, 1) and not _decode_lzw([segment], full + 1, 1, 1)
    return size == full or not whole


def _decode_lzw(segments, row, height, rows):
    """Decode all at once, as strips of a TIFF file of bytes that has no other tags."""
    from PIL.TiffImagePlugin import TiffImageFile

    def decode(file):
        with TiffImageFile(file) as image:
            return image.tobytes()

    try:
        return listen(decode, io.BytesIO(_wrap(segments, row, height, rows)))[0]
    except MemoryError:
        raise
    except Exception:  # Pillow raises errors of any type on damage
        return None


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
    UNCOMPRESSED: _join,
    _LZW: _unpack_lzw,
    8: _inflate,
    32946: _inflate,
    32773: _unpack_bits,
}
