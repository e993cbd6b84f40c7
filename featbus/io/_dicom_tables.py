"""Look-up tables of DICOM files."""

import numpy as np

from featbus.io._errors import ImageReadError

PALETTES = [f"{color}PaletteColorLookupTable" for color in ("Red", "Green", "Blue")]
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2  # segments
CORRECT = "Correct the element, or export the image again."


def read_table(values, item, signed, dataset):
    """Look up values in a modality or VOI LUT.

    The functions of pydicom wrap around if a table of 8-bit entries has more than 256 of them.

    Parameters
    ----------
    values : ndarray
        The values.
    item : pydicom.Dataset
        The table.
    signed : bool
        Whether the values may be negative.
    dataset : pydicom.Dataset
        The data set of the table.

    Returns
    -------
    entries : ndarray
        The entry of each value.
    bits : int
        Bits of an entry.
    """
    if None in (item.get("LUTDescriptor"), item.get("LUTData")):
        raise ImageReadError(
            f"a look-up table of the DICOM file lacks LUTDescriptor or LUTData. {CORRECT}"
        )
    count, first, bits = item.LUTDescriptor
    entries = _entries(item.LUTData, count, dataset.original_encoding[1])
    if entries.max() >= 2**bits:
        raise ImageReadError(
            f"the LUT Data of the DICOM file have an entry of more than their bits. {CORRECT}"
        )
    return entries[index_table(values, first, count or 2**16, signed)], bits


def _entries(data, count, little_endian):
    """Return the entries of a look-up table: one of 16 bits or two of 8 bits per word."""
    count = count or 2**16
    if isinstance(data, bytes):
        entries = np.frombuffer(data, "<u2" if little_endian else ">u2")
    else:
        entries = np.atleast_1d(np.array(data, dtype="u2"))
    if len(entries) < count:
        entries = entries.astype("<u2").view("u1")
    if len(entries) < count:
        raise ImageReadError(
            f"a look-up table of the DICOM file has fewer entries than it says. {CORRECT}"
        )
    return entries[:count]


def index_table(values, first, count, signed):
    """Return the index of values in a table.

    Parameters
    ----------
    values : ndarray
        The values.
    first : int
        The value of the first entry.
    count : int
        The number of entries.
    signed : bool
        Whether the values may be negative.

    Returns
    -------
    ndarray of int
        0 to ``count - 1``.
    """
    # `first` may be stored as signed or unsigned; the sign of the values decides.
    first = (first + 2**15) % 2**16 - 2**15 if signed else first % 2**16
    return np.clip(np.rint(values).astype(np.int64) - first, 0, count - 1)


def read_palette(dataset):
    """Return the palette of a data set.

    Parameters
    ----------
    dataset : pydicom.Dataset
        The data set.

    Returns
    -------
    palette : ndarray of shape (count, 3), uint8 or uint16
        Red, green and blue.
    first : int
        The value of the first entry.
    """
    count, first, bits = dataset.RedPaletteColorLookupTableDescriptor
    count = count or 2**16
    little_endian = dataset.original_encoding[1]
    if "RedPaletteColorLookupTableData" in dataset:
        columns = [
            _entries(dataset[f"{name}Data"].value, count, little_endian) for name in PALETTES
        ]
    else:
        segments = [dataset[f"Segmented{name}Data"].value for name in PALETTES]
        columns = [_expand(data, count, bits, little_endian) for data in segments]
    palette = np.stack(columns, axis=1)
    return palette.astype(np.uint8) if bits == 8 and palette.max() < 256 else palette, first


def _expand(data, count, bits, little_endian):
    """Return the entries of a segmented palette (PS3.3 section C.7.9.2)."""
    order = "<" if little_endian else ">"
    words = np.frombuffer(data, "u1" if bits == 8 else f"{order}u2").tolist()
    table, start = [], 0
    while start + 2 < len(words) and len(table) < count:
        if words[start] != _INDIRECT:
            start = _add_segment(table, words, start)
            continue
        # Segments that are there already: how many, and the byte where the first of them starts.
        if bits == 8:
            parts = np.array(words[start + 2 : start + 6], "u1").view(f"{order}u2").tolist()
        else:
            parts = words[start + 2 : start + 4]
        again = (parts[0] + (parts[1] << 16)) * 8 // bits
        for _ in range(words[start + 1]):
            again = _add_segment(table, words, again) if len(table) < count else again
        start += 6 if bits == 8 else 4
    if len(table) != count:
        raise ImageReadError(
            f"a segmented palette of the DICOM file has another number of entries than it says. "
            f"{CORRECT}"
        )
    return np.array(table, np.uint16)


def _add_segment(table, words, start):
    """Add the entries of a segment to a table; return where the next segment starts."""
    kind, length, first = words[start : start + 3]
    if kind == _DISCRETE and length:
        table += words[start + 2 : start + 2 + length]
        return start + 2 + length
    if kind == _LINEAR and length and table:
        step = (first - table[-1]) / length
        table += np.rint(table[-1] + step * np.arange(1, length + 1)).astype(int).tolist()
        return start + 3
    raise ImageReadError(f"the DICOM file has a damaged segmented palette. {CORRECT}")
