"""Directories of tags, which TIFF files, EXIF orientation and lists of pictures in JPEG share."""

import struct

import numpy as np

# Types of the values that are read: bytes and text, unsigned integers, and pairs of these (5).
_TYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u8", 7: "u1", 13: "u4", 16: "u8", 18: "u8"}
_ORIENTATION = 274


def read_directories(data, tags):
    """Yield the directories of a TIFF file, or of a part of another file that is built like one.

    Parameters
    ----------
    data : bytes
        The file, or an object with its length and slices.
    tags : collection of int
        Tags to read.

    Yields
    ------
    dict of int to ndarray
        The values of these tags; a rational number is the 8 bytes of its two integers. Those that
        are no bytes, text, unsigned integers or rational numbers are left out.

    Raises
    ------
    ValueError or struct.error
        If the directories are not inside the file, overlap, have no end or contain a tag twice.
    """
    order = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
    big = _unpack(f"{order}H", data, 2) == 43
    word, count_type = ("Q", "Q") if big else ("I", "H")
    entry = np.dtype([("tag", "u2"), ("type", "u2"), ("count", "u8" if big else "u4")])
    entry = np.dtype([*entry.descr, ("value", "V8" if big else "V4")]).newbyteorder(order)
    start, seen, tags = _unpack(f"{order}{word}", data, 8 if big else 4), 0, [*tags]
    while start:
        count = _unpack(f"{order}{count_type}", data, start)
        start += struct.calcsize(count_type)
        entries = _array(data, entry, count, start)
        seen += entries.nbytes
        # In a loop, or nearly one, time would grow with its square.
        if not count or seen > len(data):
            raise ValueError("its directories are empty or overlap")
        found = np.flatnonzero(np.isin(entries["tag"], tags))
        if len(np.unique(entries["tag"][found])) < len(found):
            raise ValueError("a tag comes twice")
        values = start + entry.itemsize * (found + 1)
        yield dict(
            _read_value(data, order, word, int(end), item)
            for item, end in zip(entries[found], values)
            if int(item["type"]) in _TYPES and item["count"]
        )
        start = _unpack(f"{order}{word}", data, start + entries.nbytes)


def _read_value(data, order, word, end, item):
    """Return tag and values of an entry that ends at byte `end`."""
    dtype = np.dtype(order + _TYPES[int(item["type"])])
    count, room = int(item["count"]), struct.calcsize(word)
    start = end - room
    if count * dtype.itemsize > room:
        start = _unpack(f"{order}{word}", data, start)
    return int(item["tag"]), _array(data, dtype, count, start)


def _unpack(form, data, start):
    """Return the number at a position; an error beyond the end."""
    return struct.unpack(form, data[start : start + struct.calcsize(form)])[0]


def _array(data, dtype, count, start):
    """Return the numbers from a position on; an error if they reach beyond the end."""
    stop = start + count * dtype.itemsize
    if stop > len(data):  # NumPy would convert a hostile count to its own integers first
        raise ValueError("its directories reach beyond its end")
    return np.frombuffer(data[start:stop], dtype, count)


def read_orientation(exif):
    """Return the orientation that EXIF data state; 1, upright, if they state none.

    Parameters
    ----------
    exif : bytes
        A directory of tags, or something else.

    Returns
    -------
    int
        The number.
    """
    try:
        return int(next(read_directories(exif, {_ORIENTATION}))[_ORIENTATION][0])
    except (ValueError, KeyError, StopIteration, struct.error):
        return 1


def turn_upright(image, orientation):
    """Return an image as viewers show it.

    Parameters
    ----------
    image : ndarray of shape (height, width) or (height, width, channels)
        The stored pixels.
    orientation : int
        The tag Orientation, 1 to 8: where the first row and the first column are. Other numbers
        count as 1, upright.

    Returns
    -------
    ndarray
        A view of the image.
    """
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image
