"""Directories of tags, which TIFF files, EXIF orientation and lists of pictures in JPEG share."""

import struct

import numpy as np

# Types of the values that are read: bytes and text, and unsigned integers.
_TYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 7: "u1", 13: "u4", 16: "u8", 18: "u8"}
_ORIENTATION = 274


def read_directories(data, tags):
    """Yield the directories of a TIFF file, or of a part of another file that is built like one.

    Parameters
    ----------
    data : bytes
        The file.
    tags : collection of int
        Tags to read.

    Yields
    ------
    dict of int to ndarray
        The values of these tags. Those that are no bytes, text or unsigned integers are left out.

    Raises
    ------
    ValueError or struct.error
        If the directories are not inside the file, overlap, have no end or contain a tag twice.
    """
    order = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    word, count_type = ("Q", "Q") if big else ("I", "H")
    entry = np.dtype([("tag", "u2"), ("type", "u2"), ("count", "u8" if big else "u4")])
    entry = np.dtype([*entry.descr, ("value", "V8" if big else "V4")]).newbyteorder(order)
    start, seen, tags = struct.unpack_from(f"{order}{word}", data, 8 if big else 4)[0], 0, [*tags]
    while start:
        count = struct.unpack_from(f"{order}{count_type}", data, start)[0]
        start += struct.calcsize(count_type)
        entries = np.frombuffer(data, entry, count, start)
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
        start = struct.unpack_from(f"{order}{word}", data, start + entries.nbytes)[0]


def _read_value(data, order, word, end, item):
    """Return tag and values of an entry that ends at byte `end`."""
    dtype = np.dtype(order + _TYPES[int(item["type"])])
    count, room = int(item["count"]), struct.calcsize(word)
    start = end - room
    if count * dtype.itemsize > room:
        start = struct.unpack_from(f"{order}{word}", data, start)[0]
    return int(item["tag"]), np.frombuffer(data, dtype, count, start)


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
