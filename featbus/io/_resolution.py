"""The resolution that PNG and TIFF files state, where it is that of the image."""

import math
import os
import struct
import zlib

from featbus.io._tags import read_directories

_INCH, _CENTIMETER, _METER = 25.4, 10, 1000  # millimeters
_TIFF_UNITS = {2: _INCH, 3: _CENTIMETER}
_X, _Y, _ORIENTATION, _UNIT = 282, 283, 274, 296
_CHUNKS = 100  # that are looked at; pHYs precedes the pixels
_SLICE = 1 << 20  # bytes; a hostile header asks for more

# Dots per inch of screens and printers, which programs write if they do not know better.
_DEFAULTS = (
    *(50, 72, 75, 90, 92, 96, 100, 110, 120, 144, 150, 160, 180, 192, 200, 220, 240, 250, 288, 300),
    *(350, 360, 400, 450, 480, 500, 600, 640, 720, 800, 900, 1000, 1200, 1440, 1800, 2400, 2880),
    *(3600, 4000, 4800, 7200, 9600),
)
_SMALLEST, _LARGEST = 0.001, 10  # millimeters


class _FileBytes:
    """The bytes of an open file, of which only slices are read."""

    def __init__(self, file):
        self._file = file
        self._size = file.seek(0, os.SEEK_END)

    def __len__(self):
        return self._size

    def __getitem__(self, part):
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        return self._file.read(min(max(0, stop - start), _SLICE))


def resolution_spacing(file):
    """Return the spacing that the header of a PNG or TIFF file states.

    Parameters
    ----------
    file : file
        Open and binary. Little more than its header is read.

    Returns
    -------
    (float, float) or None
        Millimeters between rows and between columns; None if it is another kind of file, if it
        states none or one that is not to be trusted, or if its header is damaged.
    """
    data = _FileBytes(file)
    read = {b"\x89PNG": _read_png, b"II*\0": _read_tiff, b"II+\0": _read_tiff}
    read |= {b"MM\0*": _read_tiff, b"MM\0+": _read_tiff}
    reader = read.get(data[:4])
    try:
        return None if reader is None else reader(data)
    except (ValueError, KeyError, StopIteration, struct.error):
        return None  # the reader of the pixels says what is wrong


def _read_png(data):
    start = 8
    for _ in range(_CHUNKS):
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        if kind == b"pHYs":
            content, checksum = struct.unpack(">9sI", data[start + 8 : start + 21])
            across, down, unit = struct.unpack(">IIB", content)
            valid = length == 9 and unit == 1 and zlib.crc32(kind + content) == checksum
            return _trusted(down, across, _METER) if valid else None
        if kind in (b"IDAT", b"IEND"):
            return None
        start += length + 12
    return None


def _read_tiff(data):
    tags = next(read_directories(data, {_X, _Y, _ORIENTATION, _UNIT}))
    across, down = (_as_number(tags[tag]) for tag in (_X, _Y))
    if int(tags.get(_ORIENTATION, [1])[0]) in (5, 6, 7, 8):  # read with rows as columns
        across, down = down, across
    return _trusted(down, across, _TIFF_UNITS[int(tags.get(_UNIT, [2])[0])])


def _as_number(rational):
    numerator, denominator = rational[:1].view(f"{rational.dtype.str[0]}u4").tolist()
    return numerator / denominator if denominator else 0.0


def _trusted(down, across, unit):
    """Return the spacing of a resolution in pixels per unit, None if it tells nothing."""
    if min(down, across) <= 0 or any(_is_default(number, unit) for number in (down, across)):
        return None
    spacing = unit / down, unit / across
    return spacing if all(_SMALLEST <= side <= _LARGEST for side in spacing) else None


def _is_default(number, unit):
    """Tell whether a resolution is that of a screen or printer, perhaps rounded to an integer."""
    for dots in _DEFAULTS:
        exact = dots * unit / _INCH
        if math.isclose(number, exact, rel_tol=1e-3) or number in (int(exact), round(exact)):
            return True
    return False
