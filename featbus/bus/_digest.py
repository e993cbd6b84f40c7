"""Digests of images: of the bytes of their files, or of their pixels."""

from __future__ import annotations

import functools
import hashlib
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from featbus.bus._walk import DIGEST_SIZE, update_with_file
from featbus.images import ImageError, is_path, update_digest
from featbus.io import ImageReadError, SpacedImage
from featbus.io._readers import DICOM_SUFFIXES

if TYPE_CHECKING:
    from featbus.typing import PathLike

_TICK = 3_000_000_000  # nanoseconds; the coarsest clock of a file system, FAT's, ticks every 2 s


def digest_image(item: np.ndarray | PathLike) -> bytes:
    """Digest the content of an image.

    Read more in the :ref:`User Guide <feature_bus>`.

    Parameters
    ----------
    item : ndarray, MaskedArray, path or SpacedImage
        One item of a batch, see :ref:`images`. Of a file, only its bytes are used, neither its name
        nor its time stamp; except that a DICOM file without a preamble is recognized by the end of
        its name, which counts for files without one. The spacing of a `SpacedImage` counts, too.

    Returns
    -------
    bytes of length 16
        BLAKE2b digest.

    Raises
    ------
    ImageError
        If the file cannot be read (an `ImageReadError`), or an array does not contain numbers.
    """
    return digest_with_status(item)[0]


def digest_with_status(item):
    """Return the digest of an image, and its file's status at that time."""
    if isinstance(item, SpacedImage):
        content, status = digest_with_status(item.image)
        spaced = hashlib.blake2b(content, digest_size=DIGEST_SIZE)
        spaced.update(repr(item.spacing).encode())
        return spaced.digest(), status
    status = file_status(item)
    if status is not None:
        return _digest_file(os.fspath(item), status), status
    image = np.asanyarray(item)
    if image.dtype.kind not in "biufc":  # the bytes of an array of objects are addresses
        raise ImageError(f"found dtype {image.dtype}, expected numbers. Convert it: astype.")
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    update_digest(digest, image)
    return digest.digest(), None


@contextmanager
def _naming_file(path):
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageReadError(
            f"the file cannot be read ({reason}). Check the path and the permissions.", path=path
        ) from error


def file_status(item):
    """Return numbers that change whenever a file is written, even if its time stamp is set back.

    These are inode, size, and times of the last change of content and of inode in nanoseconds; None
    for an array.
    """
    if isinstance(item, SpacedImage):
        return file_status(item.image)
    if not is_path(item):
        return None
    with _naming_file(item):
        status = os.stat(item)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest_file(path, status):
    """Return the digest of a file's bytes; they are read again only if the file was written."""
    # Two changes within one tick of the file system's clock look like one, and on Windows the last
    # number is the time of creation: in both cases the bytes have to be read.
    settled = time.time_ns() - max(status[2:]) > _TICK
    digest = _digest_bytes if os.name == "posix" and settled else _digest_bytes.__wrapped__
    return digest(path, status)


@functools.lru_cache(maxsize=1 << 16)
def _digest_bytes(path, status):
    digest = hashlib.blake2b(b"file", digest_size=DIGEST_SIZE)
    with _naming_file(path):
        update_with_file(digest, path)
        if _is_dicom_by_name(path):
            digest.update(b"DICOM by its name")
    return digest.digest()


def _is_dicom_by_name(path):
    """Tell whether it may be for its name that a file is read as DICOM."""
    if not os.fsdecode(path).lower().endswith(DICOM_SUFFIXES):
        return False
    with open(path, "rb") as file:
        return file.read(132)[128:] != b"DICM"
