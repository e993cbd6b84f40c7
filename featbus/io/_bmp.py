"""Read BMP images."""

import struct

import cv2
import numpy as np

from featbus.io._errors import AGAIN, ImageReadError, cut_off
from featbus.io._limits import check_rest, check_size

_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # sizes; 12 and 64 are of OS/2
_WITH_MASKS = (3, 6)
# Bits of red, green and blue in pixels of 16 and 32 bits, unless the file has masks.
_MASKS = {16: (0x7C00, 0x03E0, 0x001F), 32: (0xFF0000, 0xFF00, 0xFF)}


def read_bmp(data, limit):
    """Decode an uncompressed BMP file after checking that all its rows are there.

    Parameters
    ----------
    data : bytes
        The content of the file.
    limit : int
        The number of pixels that are allowed.

    Returns
    -------
    ndarray of uint8
        Grayscale if there is a palette and all its colors are gray, otherwise RGB.

    Raises
    ------
    ImageReadError
        If the file is damaged, or of a kind that is not supported.
    """
    try:
        return _read(data, limit)
    except struct.error as error:
        raise cut_off("BMP", len(data), "inside its header") from error


def _read(data, limit):
    offset, header = struct.unpack_from("<II", data, 10)
    compression = colors = 0
    if header not in _HEADERS:
        raise ImageReadError(
            f"the BMP file has a header of {header} bytes, expected one of {_HEADERS}. Save it as "
            "PNG."
        )
    if header == 12:
        width, height, bits = struct.unpack_from("<HH2xH", data, 18)
    else:
        width, height, bits, compression, colors = struct.unpack_from("<ii2xHI12xI", data, 18)
    check_size("BMP", abs(height), width, limit)
    masked = compression in _WITH_MASKS
    depths = (16, 32) if masked else (1, 4, 8, 16, 24, 32)
    if (compression and not masked) or bits not in depths:
        raise ImageReadError(
            f"the BMP file has compression {compression} and {bits} bits per pixel, expected none "
            "(0) and 1, 4, 8, 16, 24 or 32, or masks (3) and 16 or 32. Save it as PNG."
        )
    if offset < 14 + header:
        raise ImageReadError(
            f"the BMP file has pixels at byte {offset}, expected them after its header of "
            f"{14 + header} bytes. {AGAIN}"
        )
    rows = _read_rows(data, offset, abs(height), (width * bits + 31) // 32 * 4)
    if header != 124:  # after which a color profile may follow the pixels
        check_rest("BMP", data, offset + rows.size)
    if bits <= 8:
        palette = _read_palette(data[:offset], header, colors or 2**bits)
        image = _look_up(_unpack(rows, width, bits), palette)
    elif bits == 24:
        image = rows[:, : 3 * width].reshape(len(rows), width, 3)
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    else:
        masks = struct.unpack_from("<3I", data, 54) if masked else _MASKS[bits]
        image = _split(rows.view(f"<u{bits // 8}")[:, :width], masks)
    return image if height < 0 else image[::-1]


def _read_rows(data, offset, height, size):
    """Return the bytes of all rows."""
    end = offset + height * size
    if end > len(data):
        raise cut_off("BMP", len(data), f"but its {height} rows end at byte {end}")
    return np.frombuffer(data, np.uint8, height * size, offset).reshape(height, size)


def _read_palette(head, header, count):
    """Return the colors of a palette, red, green and blue."""
    start, size = 14 + header, 3 if header == 12 else 4
    count = min(count, 256)
    if start + count * size > len(head):
        # Old files have shorter palettes than they say; a pixel beyond the end is an error.
        count = max(0, len(head) - start) // size
    palette = np.frombuffer(head, np.uint8, count * size, start).reshape(count, size)
    return palette[:, 2::-1]


def _unpack(rows, width, bits):
    """Return the numbers of the colors of all pixels."""
    if bits == 8:
        return rows[:, :width]
    bit_planes = np.unpackbits(rows, axis=1).reshape(len(rows), -1, bits)
    weights = 1 << np.arange(bits, dtype=np.uint8)[::-1]
    return (bit_planes[:, :width] * weights).sum(axis=2, dtype=np.uint8)


def _look_up(numbers, palette):
    if numbers.max() >= len(palette):
        raise ImageReadError(
            f"the BMP file has pixels of color {numbers.max()}, expected less than the "
            f"{len(palette)} of its palette. {AGAIN}"
        )
    if (palette == palette[:, :1]).all():
        if len(palette) == 256 and (palette[:, 0] == np.arange(256)).all():
            return numbers
        return palette[numbers, 0]
    return palette[numbers]


def _split(pixels, masks):
    """Return red, green and blue, which masks take from pixels, scaled to 0..255."""
    return np.stack([_take_bits(pixels, mask) for mask in masks], axis=-1)


def _take_bits(pixels, mask):
    low = max(0, (mask & -mask).bit_length() - 1)
    top = mask >> low
    if not top or top & (top + 1) or mask >= 1 << 8 * pixels.itemsize:
        raise ImageReadError(
            f"the BMP file has the mask {mask:#x} for a color, expected bits that are next to each "
            f"other. {AGAIN}"
        )
    if top == 255 and low % 8 == 0:
        return pixels.view(np.uint8)[:, low // 8 :: pixels.itemsize]
    values = pixels >> low & top
    return np.rint(values * (255 / top)).astype(np.uint8)
