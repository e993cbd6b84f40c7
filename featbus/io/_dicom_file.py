"""Parse DICOM files: only the elements that are asked for, in bounded memory, in silence."""

import io
import logging
import threading
import warnings
import zlib
from contextlib import contextmanager

from pydicom import dcmread, uid
from pydicom.filereader import _read_file_meta_info, read_preamble

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


def parse(file, tags, limit, *, force=True, **options):
    """Parse a DICOM file; call it, and use what it returns, inside ``with silence():``.

    Parameters
    ----------
    file : file
        The open file, binary.
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
    try:
        inflated = _inflate(file, limit)
        file = file if inflated is None else inflated
        force = force or inflated is not None
        return dcmread(file, force=force, specific_tags=tags, **options)
    except (ImageReadError, MemoryError):
        raise
    except Exception:
        # Without the cause, whose message could quote any bytes of the file.
        raise ImageReadError(f"the DICOM data set cannot be parsed. {AGAIN}") from None


def _inflate(file, limit):
    """Return the data set of a deflated file, None for others; `dcmread` has no bound."""
    read_preamble(file, force=True)
    meta = _read_file_meta_info(file)
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        file.seek(0)
        return None
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    data = stream.decompress(file.read(), _ELEMENTS_BYTES)
    if not stream.eof:
        room = _count_bytes(data, limit) + _ELEMENTS_BYTES
        data += stream.decompress(stream.unconsumed_tail, room)
    if not stream.eof:
        raise ImageReadError(
            f"the deflated DICOM file is truncated, or larger than its image. {AGAIN}"
        )
    return io.BytesIO(data)


def _count_bytes(data, limit):
    """Return the bytes of pixels that the first elements of a data set announce."""
    file = io.BytesIO(data)
    dataset = dcmread(file, force=True, specific_tags=_SIZE, stop_before_pixels=True)
    rows, columns, samples, bits = (int(dataset.get(keyword) or 1) for keyword in _SIZE)
    check_size("DICOM", rows, columns, limit)
    return rows * columns * min(samples, 4) * min(bits, 64) // 8
