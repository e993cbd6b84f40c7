"""Parse DICOM files: only the elements that are asked for, in bounded memory, in silence."""

import io
import logging
import threading
import warnings
import zlib
from contextlib import contextmanager

from pydicom import dcmread

from featbus.io._errors import AGAIN, ImageReadError
from featbus.io._limits import check_size

# What a deflated file may have beside its pixels.
_ELEMENTS_BYTES = 1 << 24
_SIZE = ["Rows", "Columns", "SamplesPerPixel", "BitsAllocated"]
_LOGGERS = ("pydicom", "pydicom.pixels.decoders.base")


class _Silence:
    """Warnings and log records of pydicom are dropped while any thread reads a file.

    They quote values, and after damage any value can be the name of a patient. `warnings` has one
    state for all threads: the first reader changes it, and the last one restores it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._readers = 0
        self._warnings = None

    @contextmanager
    def __call__(self):
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self):
        with self._lock:
            if not self._readers:
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")
                for name in _LOGGERS:
                    logging.getLogger(name).addFilter(_is_below_warning)
            self._readers += 1

    def _leave(self):
        with self._lock:
            self._readers -= 1
            if not self._readers:
                self._warnings.__exit__(None, None, None)
                for name in _LOGGERS:
                    logging.getLogger(name).removeFilter(_is_below_warning)


def _is_below_warning(record):
    return record.levelno < logging.WARNING


silence = _Silence()


class _DeflatedError(Exception):
    """Has the compressed bytes of a deflated file."""


class _Guard:
    """A file of which pydicom reads everything at once only to inflate it, without a bound."""

    def read(self, size=-1, /):
        if size is None or size < 0:
            raise _DeflatedError(super().read())
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
    except Exception:
        # Without the cause, whose message could quote any bytes of the file.
        raise ImageReadError(f"the DICOM data set cannot be parsed. {AGAIN}") from None


def _parse(file, tags, limit, force, options):
    with file:
        try:
            return dcmread(file, force=force, specific_tags=tags, **options)
        except _DeflatedError as error:
            inflated = io.BytesIO(_inflate(error.args[0], limit))
            return dcmread(inflated, force=True, specific_tags=tags, **options)


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
    file = io.BytesIO(data)
    dataset = dcmread(file, force=True, specific_tags=_SIZE, stop_before_pixels=True)
    rows, columns, samples, bits = (int(dataset.get(keyword) or 1) for keyword in _SIZE)
    check_size("DICOM", rows, columns, limit)
    return rows * columns * min(samples, 4) * min(bits, 64) // 8
