"""Read PNG images."""

import struct
import zlib

import cv2
import numpy as np

from featbus.io._decoding import decode
from featbus.io._errors import AGAIN, ImageReadError, cut_off, several
from featbus.io._limits import DEFLATE_RATIO, check_ratio, check_size

# Other chunks change no pixel, but libpng complains about some.
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_SAMPLES = {_GRAY: 1, _RGB: 3, _PALETTE: 1, _GRAY_ALPHA: 2, _RGB_ALPHA: 4}
_DEPTHS = {_GRAY: (1, 2, 4, 8, 16), _PALETTE: (1, 2, 4, 8)}


def read_png(data, limit):
    """Decode a PNG file after checking the checksums of all its chunks.

    Parameters
    ----------
    data : bytes
        The content of the file.
    limit : int
        The number of pixels that are allowed.

    Returns
    -------
    ndarray of uint8 or uint16
        Grayscale, RGB or RGBA.

    Raises
    ------
    ImageReadError
        If the file is damaged, or contains several pictures.
    """
    chunks = _read_chunks(data)
    width, height, depth, color = _check_header(chunks, limit)
    transparent = _transparency(chunks, color)
    colors = _count_colors(chunks)
    if short := color == _PALETTE and colors < 2**depth:
        chunks, other = _fill_palette(chunks, 2**depth)
    if short or any(kind not in _PIXELS for kind, _ in chunks):
        data = data[:8] + b"".join(chunk for kind, chunk in chunks if kind in _PIXELS)
    image = decode(data, "PNG", cv2.IMREAD_UNCHANGED)
    if image.shape[:2] != (height, width):
        raise ImageReadError(f"the PNG file is decoded to another size than it says. {AGAIN}")
    if color == _GRAY and transparent:
        return _add_opacity(image, int.from_bytes(transparent, "big"), depth)
    if short and cv2.inRange(image, (other,) * 3 + (0,), (other,) * 3 + (255,)).any():
        raise ImageReadError(f"the PNG file has pixels beyond its {colors} colors. {AGAIN}")
    return image


def _read_chunks(data):
    """Return kind and bytes of all chunks, up to the end of the picture."""
    view, chunks = memoryview(data), []
    kind, start = b"", 8
    while kind != b"IEND":
        if start + 12 > len(data):
            raise cut_off("PNG", len(data), "before its IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + length + 12
        if end > len(data):
            raise cut_off("PNG", len(data), f"inside a chunk that runs to byte {end}")
        if zlib.crc32(view[start + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ImageReadError(f"the PNG chunk at byte {start} has a wrong checksum. {AGAIN}")
        chunks.append((kind, view[start:end]))
        start = end
    return chunks


def _check_header(chunks, limit):
    """Return width, height, bits per sample and type of color, checked."""
    kind, header = chunks[0]
    if kind != b"IHDR" or len(header) != 25 or header[17] not in _SAMPLES:
        raise ImageReadError(f"the PNG file does not begin with a valid header. {AGAIN}")
    width, height, depth, color = struct.unpack_from(">IIBB", header, 8)
    if depth not in (depths := _DEPTHS.get(color, (8, 16))):
        raise ImageReadError(
            f"the PNG file has {depth} bits per sample, expected {depths}. {AGAIN}"
        )
    check_size("PNG", height, width, limit)
    row = -(-width * depth * _SAMPLES[color] // 8)
    found = sum(len(chunk) for kind, chunk in chunks if kind == b"IDAT")
    check_ratio("PNG", height * row, found, DEFLATE_RATIO)
    for kind, chunk in chunks:
        if kind == b"acTL" and (frames := int.from_bytes(chunk[8:12], "big")) > 1:
            raise several(frames, "animation frames", "PIL.ImageSequence")
    return width, height, depth, color


def _transparency(chunks, color):
    """Return what the tRNS chunk has, checked; empty without one."""
    found = [bytes(chunk[8:-4]) for kind, chunk in chunks if kind == b"tRNS"]
    palette = range(1, _count_colors(chunks) + 1)
    lengths = {_GRAY: (2,), _RGB: (6,), _PALETTE: palette}.get(color, ())
    if not found:
        return b""
    if len(found) > 1 or len(found[0]) not in lengths:
        raise ImageReadError(f"the PNG file has a wrong tRNS chunk. {AGAIN}")
    return found[0]


def _count_colors(chunks):
    return sum(len(chunk) // 3 - 4 for kind, chunk in chunks if kind == b"PLTE")


def _fill_palette(chunks, size):
    """Make colors beyond the palette, which would be black, a gray that it does not have."""
    palette = b"".join(bytes(chunk[8:-4]) for kind, chunk in chunks if kind == b"PLTE")
    used = {palette[start : start + 3] for start in range(0, len(palette), 3)}
    gray = next(level for level in range(256) if bytes([level] * 3) not in used)
    content = b"PLTE" + palette.ljust(3 * size, bytes([gray]))
    checksum = struct.pack(">I", zlib.crc32(content))
    filled = b"PLTE", struct.pack(">I", 3 * size) + content + checksum
    others = [chunk for chunk in chunks[1:] if chunk[0] != b"PLTE"]
    return [chunks[0], filled, *others], gray


def _add_opacity(image, transparent, depth):
    """Return a gray image as RGBA in which one level, which OpenCV ignores, is transparent."""
    white = np.iinfo(image.dtype).max
    level = transparent * white // (2**depth - 1)
    opacity = np.where(image == level, 0, white).astype(image.dtype)
    return np.dstack([image, image, image, opacity])
