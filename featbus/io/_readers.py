"""Read image files, identified by content: PNG, JPEG, TIFF, BMP, PGM/PPM and DICOM.

Pillow and pydicom decode the pixels. The size is checked first: a header of a few bytes can ask for
gigabytes.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy as np

from featbus.images import is_path
from featbus.io._files import ImageReadError, open_file, pixel_limit, read_content
from featbus.io._pictures import read_picture

if TYPE_CHECKING:
    from typing import BinaryIO, Literal

    from featbus.typing import PathLike

_FORMATS = "PNG, JPEG, TIFF, BMP, PGM and PPM (P2, P3, P5, P6) and DICOM"
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_SIGNATURES = {
    name: re.compile(signature, re.DOTALL)
    for name, signature in {
        "DICOM": rb".{128}DICM",
        "PNG": rb"\x89PNG\r\n\x1a\n",
        "JPEG": rb"\xff\xd8\xff",
        "TIFF": rb"II[*+]\0|MM\0[*+]",
        "BMP": rb"BM(?=.*\0)",  # a text such as "BMI,age" has no zeros
        "PNM": rb"P[2356](\s*#|\s+\d)",
        "GIF": rb"GIF8[79]a",
        "WebP": rb"RIFF.{4}WEBP",
    }.items()
}


def read_image(
    file: PathLike | bytes | BinaryIO,
    *,
    voi_lut: bool = True,
    max_pixels: int | None = None,
    name: str | None = None,
) -> np.ndarray:
    """Read one image file, from disk or from memory.

    The format is identified by the content of the file, never by its name.

    Read more in the :ref:`User Guide <loading>`.

    Parameters
    ----------
    file : str, os.PathLike, bytes or binary file object
        A PNG, JPEG, TIFF, BMP, PGM (P2, P5), PPM (P3, P6) or DICOM file with one picture: its path,
        its content, or an open file such as `io.BytesIO`, read from its current position to its
        end. Content in memory stays there: no reader writes a file.
    voi_lut : bool, default=True
        Whether to apply the VOI LUT or, without one, the window of a grayscale DICOM image (the
        first if there are several). If False, the whole range of the stored bits is kept. Other
        formats and color images are not affected.
    max_pixels : int or None, default=None
        Height times width that an image may have; the header says it, before anything is decoded.
        None: the environment variable ``FEATBUS_MAX_PIXELS``, or 178,956,970 without it.
    name : str or None, default=None
        What errors call the image, such as the name of an upload. None: its path, or nothing.

    Returns
    -------
    ndarray of shape (height, width), (height, width, 3) or (height, width, 4)
        Grayscale, RGB or RGBA, in native byte order and C-contiguous: ``uint8`` 0..255, ``uint16``
        0..65535, or floating point as described in the notes.

    Raises
    ------
    ImageReadError
        If the file is missing, empty, unreadable, damaged, truncated, of an unknown or unsupported
        kind, or contains several pictures. It is a `ValueError` and an `OSError`.

    Notes
    -----
    Pixels are returned as stored, with these exceptions:

    - The orientation that a file states (EXIF, or the tag of TIFF) is applied, so that the array is
      the picture that viewers show.
    - 1-bit images are returned as 0 and 255, palettes as their colors.
    - A PNG file with gray and alpha, or with a transparent level, is returned as RGBA.
    - TIFF images whose zero is white are inverted: larger is always brighter.
    - PGM and PPM files whose maximum is neither 255 nor 65535 are returned as ``float32``, divided
      by the maximum.
    - Floating-point TIFF files, of 32 bits and gray, are returned as stored. The caller checks
      whether their pixels are within 0..1, as every featbus estimator does.
    - BMP files are returned without their alpha channel, which few programs write.

    A grayscale DICOM image is returned as ``float32`` 0..1, after the grayscale pipeline of PS3.4
    section N.2 [1]_: modality LUT or rescale slope and intercept; VOI LUT or window if `voi_lut`;
    MONOCHROME1 inverted, so that larger is brighter. 0 and 1 are the ends of the *nominal* range:
    that of the window, of the bits of the VOI LUT, or, without them, of the stored bits after the
    modality transform. The minimum and maximum of the image do not matter. Padding (Pixel Padding
    Value) is treated like any other pixel: the standard puts it at the dark end, and it does not
    influence the scale. Overlays and ICC profiles are ignored. Color DICOM images are returned as
    RGB: ``uint8`` or ``uint16``, or ``float32`` 0..1 if the bits stored are neither 8 nor 16.

    Only elements that describe the pixels are read from a DICOM file. Names, identifiers and dates
    of a patient are never read. After damage, such an element can hold a name: no error quotes
    one, and no warning of pydicom is passed on. (Text that is burned into the pixels stays there.)

    Truncated files are errors, and so is damage that checksums reveal (PNG, Deflate) or that leaves
    another number of pixels. Color of 16 bits in PNG and TIFF files is refused: Pillow would reduce
    it to 8. Other kinds that are not read are in the guide.

    References
    ----------
    .. [1] DICOM PS3.4, Grayscale Softcopy Presentation State Storage, section N.2, and PS3.3,
       sections C.7.6.3 (pixels), C.11.1 (modality LUT), C.11.2 (VOI LUT).

    Examples
    --------
    >>> import pathlib
    >>> import tempfile
    >>> from featbus.io import read_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "tiny.pgm")
    ...     _ = path.write_text("P2 3 2 255  0 10 20  30 40 255")
    ...     read_image(path)
    array([[  0,  10,  20],
           [ 30,  40, 255]], dtype=uint8)
    """
    name = os.fspath(file) if name is None and is_path(file) else name
    limit = pixel_limit(max_pixels)
    try:
        with open_file(file, limit) as (opened, head):
            found = format_of(head, name)
            if found in (None, "GIF", "WebP"):
                # The content is not quoted: it may be the name of a patient.
                raise ImageReadError(
                    f"{found or 'unknown'} content, expected {_FORMATS}; the name of the file does "
                    "not matter. Convert it to one of these formats."
                )
            data = read_content(opened, limit)
        if found == "DICOM":
            # Imported lazily: slow, and only DICOM needs it.
            from featbus.io._dicom import read_dicom

            image = read_dicom(data, voi_lut=voi_lut, limit=limit)
        else:
            image = read_picture(data, found, limit)
        return np.require(image, requirements=["C", "W"])
    except ImageReadError as error:
        raise error.at(None, name) from error.__cause__
    except MemoryError as error:
        raise ImageReadError(
            "there is not enough memory to decode it. Use smaller images, or fewer jobs.", path=name
        ) from error


def find_format(
    path: PathLike,
) -> Literal["DICOM", "PNG", "JPEG", "TIFF", "BMP", "PNM", "GIF", "WebP"] | None:
    """Return the format of an image file by its first bytes, as `read_image` does.

    Read more in the :ref:`User Guide <loading>`.

    Parameters
    ----------
    path : str or os.PathLike
        A file, of which 132 bytes are read.

    Returns
    -------
    {"DICOM", "PNG", "JPEG", "TIFF", "BMP", "PNM", "GIF", "WebP"} or None
        PNM is PGM or PPM. GIF and WebP are not supported by `read_image`. None if the content is
        anything else, if the file is empty or cannot be opened, and for DICOM files without the
        preamble of 128 bytes, which `read_image` identifies by their name.

    See Also
    --------
    read_image : Read all of it.

    Examples
    --------
    >>> import pathlib
    >>> import tempfile
    >>> from featbus.io import find_format
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "IM0001")
    ...     _ = path.write_text("P2 1 1 255  0")
    ...     find_format(path)
    'PNM'
    """
    try:
        with open_file(path) as (_, head):
            return format_of(head)
    except ImageReadError:
        return None


def format_of(head, name=None):
    """Return the format of a file by its first bytes, or, for DICOM without preamble, its name."""
    for found, signature in _SIGNATURES.items():
        if signature.match(head):
            return found
    named = name is not None and os.fsdecode(name).lower().endswith(DICOM_SUFFIXES)
    return "DICOM" if named and any(head) else None
