"""Parse DICOM files: only the elements that are asked for, in bounded memory, in silence."""

import io
import logging
import threading
import warnings
import zlib
from contextlib import contextmanager

import numpy as np
from pydicom import dcmread, misc

from featbus.io._errors import AGAIN, ImageReadError
from featbus.io._limits import check_size

# What a deflated file may have beside its pixels.
_ELEMENTS_BYTES = 1 << 24
_PIXEL_DATA = 0x7FE00010
_SIZE = ["Rows", "Columns", "SamplesPerPixel", "BitsAllocated"]
# Each element or item costs pydicom a call or two, and up to a tenth of a millisecond each.
_READS = 30_000
# Sequences of known length are parsed when they are used; this bounds their elements.
_VALUE_BYTES, _ITEM, _ITEMS = 1 << 20, b"\xfe\xff\x00\xe0", 10_000
_LOGGERS = ("pydicom", "pydicom.pixels.decoders.base")


class _Silence(threading.local):
    """Warnings and log records of pydicom are dropped in a thread that reads a file.

    They quote values, and after damage any value can be the name of a patient. All warnings of
    pydicom come from one function, whose module gets this object for the module `warnings`: the
    state of `warnings` itself is one for all threads.
    """

    reading = False

    @contextmanager
    def __call__(self):
        before, self.reading = self.reading, True
        try:
            with np.errstate(all="ignore"):
                yield
        finally:
            self.reading = before

    def warn(self, message, category=None, stacklevel=1):
        """Warn as `warnings.warn` does, unless this thread reads."""
        if not self.reading:
            warnings.warn(message, category, stacklevel + 1)

    def filter(self, record):
        """Tell whether a log record is passed on."""
        return not self.reading or record.levelno < logging.WARNING


silence = _Silence()
misc.warnings = silence
for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(silence)


class _DeflatedError(Exception):
    """Has the compressed bytes of a deflated file."""


class _TooManyError(Exception):
    pass


class _Guard:
    """A file from which pydicom cannot read without a bound.

    It reads everything at once only to inflate it.
    """

    reads = 0

    def read(self, size=-1, /):
        if size is None or size < 0:
            raise _DeflatedError(super().read())
        self.reads += 1
        if self.reads > _READS:
            raise _TooManyError
        return super().read(size)


class _Memory(_Guard, io.BytesIO):
    pass


class _File(_Guard, io.BufferedReader):
    pass


def parse(source, tags, limit, *, force=True, **options):
    """Parse a DICOM file; call it, and use what it returns, inside ``with silence():``.

    Parameters
    ----------
    source : bytes or file
        The content of a file, or an open binary file, of which no more than necessary is read. It
        is closed.
    tags : list of str
        Keywords of the elements to read.
    limit : int
        The number of pixels that are allowed in a deflated file.
    force : bool, default=True
        Whether to parse a file without the DICOM preamble, too.
    **options : dict
        Parameters of `pydicom.dcmread`.

    Returns
    -------
    pydicom.Dataset
        The elements.

    Raises
    ------
    ImageReadError
        If the file cannot be parsed.
    """
    file = _Memory(source) if isinstance(source, bytes) else _File(source.detach())
    try:
        return _parse(file, tags, limit, force, options)
    except (ImageReadError, MemoryError):
        raise
    except Exception as error:
        # Without the cause, whose message could quote any bytes of the file.
        reason = f"the DICOM data set cannot be parsed. {AGAIN}"
        if isinstance(error, _TooManyError) or file.reads > _READS:
            reason = (
                "the DICOM file has too many or too long elements beside its pixels. Export the "
                "image without them."
            )
        raise ImageReadError(reason) from None


def _parse(file, tags, limit, force, options):
    with file:
        try:
            dataset = dcmread(file, force=force, specific_tags=tags, **options)
        except _DeflatedError as error:
            inflated = _Memory(_inflate(error.args[0], limit))
            dataset = dcmread(inflated, force=True, specific_tags=tags, **options)
    for element in dataset.values():
        value = element.value if element.tag != _PIXEL_DATA else None
        if isinstance(value, bytes) and (len(value) > _VALUE_BYTES or value.count(_ITEM) > _ITEMS):
            raise _TooManyError
    return dataset


def _inflate(data, limit):
    """Return the data set of a deflated file."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = stream.decompress(data, _ELEMENTS_BYTES)
    if not stream.eof:
        room = _count_bytes(inflated, limit) + _ELEMENTS_BYTES
        inflated += stream.decompress(stream.unconsumed_tail, room)
    if not stream.eof:
        raise ImageReadError(
            f"the deflated DICOM file is truncated, or larger than its image. {AGAIN}"
        )
    return inflated


def _count_bytes(data, limit):
    """Return the bytes of pixels that the first elements of a data set announce."""
    file = _Memory(data)
    dataset = dcmread(file, force=True, specific_tags=_SIZE, stop_before_pixels=True)
    rows, columns, samples, bits = (int(dataset.get(keyword) or 1) for keyword in _SIZE)
    check_size("DICOM", rows, columns, limit)
    return rows * columns * min(samples, 4) * min(bits, 64) // 8
