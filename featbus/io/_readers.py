"""Read images and masks from files, from memory, or as they are in a batch.

Pillow and pydicom decode the pixels. The size is checked first: a header of a few bytes can ask for
gigabytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike
from pandas import isna
from pandas.api.types import is_scalar

from featbus.images import ImageError, ResponseMap, at_index, check_image, is_path
from featbus.io._files import (
    SUFFIXES,
    ImageReadError,
    open_image,
    pixel_limit,
    read_content,
    split_frame,
)
from featbus.io._pictures import read_picture
from featbus.masks import as_mask
from featbus.parameters import Interval, PairOf, as_list, as_pair, check_parameters
from featbus.typing import PathLike

_FORMATS = "PNG, JPEG, TIFF, BMP, PGM and PPM (P5, P6) and DICOM"
_SPACING = [PairOf(Interval(Real, 0, None, closed="neither")), None]


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
        A PNG, JPEG, TIFF, BMP, PGM (P5), PPM (P6) or DICOM file with one picture: its path,
        its content, or an open file such as `io.BytesIO`, read from its current position to its
        end. Content in memory stays there: no reader writes a file. ``clip.dcm#12`` is frame 12,
        counted from 0, of the DICOM file ``clip.dcm``, unless a file has this very name.
    voi_lut : bool, default=True
        Whether to apply the VOI LUT or, without one, the window of a grayscale DICOM image (the
        first if there are several). If False, the whole range of the stored bits is kept. Other
        formats and color images are not affected.
    max_pixels : int or None, default=None
        Height times width that an image may have; the header says it, before anything is decoded.
        None: the environment variable ``FEATBUS_MAX_PIXELS``, or 178,956,970 without it.
    name : str or None, default=None
        Name of the image in errors, such as that of an upload. None: its path, or nothing.

    Returns
    -------
    ndarray of shape (height, width), (height, width, 3) or (height, width, 4)
        Grayscale, RGB or RGBA, in native byte order and C-contiguous: ``uint8`` 0..255, ``uint16``
        0..65535, or floating point as described in the notes.

    Raises
    ------
    ImageReadError
        If the file is missing, empty, unreadable, damaged, truncated, of an unknown or unsupported
        kind, contains several pictures, or lacks the frame. It is a `ValueError` and an `OSError`.

    See Also
    --------
    featbus.ImageLoader : A step that reads all images of a batch.
    featbus.io.read_mask : Read a mask.
    featbus.io.read_spacing : Read the millimeters between pixels.

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

    A grayscale DICOM image is returned as ``float32`` 0..1, after the grayscale pipeline of PS3.4
    section N.2 [1]_: modality LUT or rescale slope and intercept; VOI LUT or window if `voi_lut`;
    MONOCHROME1 inverted, so that larger is brighter. 0 and 1 are the ends of the *nominal* range:
    that of the window, of the bits of the VOI LUT, or, without them, of the stored bits after the
    modality transform. The minimum and maximum of the image do not matter. Padding (Pixel Padding
    Value) is treated like any other pixel: the standard puts it at the dark end, and it does not
    influence the scale. Overlays and ICC profiles are ignored. Color DICOM images are returned as
    RGB: ``uint8`` or ``uint16``, or ``float32`` 0..1 if the bits stored are neither 8 nor 16.

    Only elements that describe the pixels are read from a DICOM file. Names, identifiers and dates
    of a patient are not read, and no error quotes a text of the file: after damage, it could be a
    name. (Text that is burned into the pixels stays there.)

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
    ...     _ = path.write_bytes(b"P5 3 2 255 " + bytes([0, 10, 20, 30, 40, 255]))
    ...     read_image(path)
    array([[  0,  10,  20],
           [ 30,  40, 255]], dtype=uint8)
    """
    limit = pixel_limit(max_pixels)
    frame = split_frame(file)[1] if is_path(file) else None
    with open_image(file, name) as (opened, kind):
        if kind in (None, "GIF", "WebP"):
            # The content is not quoted: it may be the name of a patient.
            raise ImageReadError(
                f"{kind or 'unknown'} content, expected {_FORMATS}; the name of the file does "
                "not matter. Convert it to one of these formats."
            )
        if frame is not None and kind != "DICOM":
            raise ImageReadError(f"a {kind} file has no frames to read. Leave out '#{frame}'.")
        data = read_content(opened, limit)
        if kind == "DICOM":
            # Imported lazily: slow, and only DICOM needs it.
            from featbus.io._dicom import read_dicom

            image = read_dicom(data, voi_lut=voi_lut, limit=limit, frame=frame)
        else:
            image = read_picture(data, kind, limit)
        return np.require(image, image.dtype.newbyteorder("="), ["C", "W"])


def find_format(path: PathLike) -> str | None:
    """Return the format of an image file, as `read_image` identifies it.

    Read more in the :ref:`User Guide <loading>`.

    Parameters
    ----------
    path : str or os.PathLike
        The file; only its first 132 bytes are read.

    Returns
    -------
    {"DICOM", "PNG", "JPEG", "TIFF", "BMP", "PNM", "GIF", "WebP"} or None
        PNM is PGM or PPM. GIF and WebP are not supported by `read_image`. None if the content is
        anything else, or if the file is empty or cannot be opened.

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
    ...     _ = path.write_bytes(b"P5 1 1 255 0")
    ...     find_format(path)
    'PNM'
    """
    with suppress(ImageReadError), open_image(path) as (_, kind):
        return kind
    return None


def is_image_file(path):
    """Return whether a file has the content or the extension of an image.

    A file that has only the extension raises an error when it is read.
    """
    return path.suffix.lower() in SUFFIXES or find_format(path) not in {None, "GIF", "WebP"}


@dataclass(frozen=True, eq=False)  # pixels have no single answer to ==
class SpacedImage:
    """An item of a batch: an image whose spacing is known from elsewhere, such as a table.

    All estimators take it as the image that it holds; `featbus.Resample` also uses the spacing,
    and `featbus.FeatureBus` stores rows of the same pixels by their spacing.

    Read more in the :ref:`User Guide <millimeters>`.

    Parameters
    ----------
    image : array_like, MaskedArray, str or os.PathLike
        An image, or the path of one.
    spacing : float, (float, float) or None
        Millimeters between rows and between columns, in this order; one number for both. None, NaN
        or `pandas.NA`, also in either direction only: unknown, whatever a file says.

    Raises
    ------
    InvalidParameterError
        If the spacing is not positive.

    See Also
    --------
    featbus.Resample : Bring images to one spacing.
    read_spacing : The spacing that a file states.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import Resample
    >>> from featbus.io import SpacedImage
    >>> pixels = np.zeros((100, 80), np.uint8)
    >>> images = [SpacedImage(pixels, 0.1), SpacedImage(pixels, (0.2, 0.1))]
    >>> [image.shape for image in Resample(0.1).transform(images)]
    [(100, 80), (200, 80)]
    """

    image: ArrayLike | PathLike
    spacing: Any

    def __post_init__(self):
        object.__setattr__(self, "spacing", _checked(self.spacing))

    def __array__(self, dtype=None, copy=None):
        image = read_image(self.image) if is_path(self.image) else self.image
        if copy is None:  # NumPy before 2.0 does not know it
            return np.asanyarray(image, dtype)
        return np.array(image, dtype, copy=copy, subok=True)


def _checked(spacing):
    """Return a spacing as a pair of floats, None if it is unknown."""
    sides = as_list(spacing)
    if any(is_scalar(side) and isna(side) for side in sides):
        return None
    spacing = sides[0] if np.ndim(spacing) == 0 else sides  # of a Series, or an element of pydicom
    check_parameters({"spacing": _SPACING}, {"spacing": spacing})
    return tuple(map(float, as_pair(spacing)))


def read_item(
    item: Any, index: int | None, read: Callable = read_image, *, keep_responses: bool = False
) -> np.ndarray:
    """Read and check one item of a batch.

    Read more in the :ref:`User Guide <loading>`.

    Parameters
    ----------
    item : array_like, str, os.PathLike or SpacedImage
        An image, or the path of one.
    index : int
        Its position in the batch, for errors.
    read : callable, default=read_image
        Reads a path.
    keep_responses : bool, default=False
        Whether a `ResponseMap` is returned as it is, instead of scaled to 0..1.

    Returns
    -------
    ndarray or MaskedArray
        The checked image, see `featbus.images.check_image`.

    Raises
    ------
    ImageError
        If the file cannot be read (an `ImageReadError`) or the image is invalid.
    """
    item = item.image if isinstance(item, SpacedImage) else item
    with at_index(index, item):
        image = check_image(read(item) if is_path(item) else item)
    is_scaled = isinstance(image, ResponseMap) and not keep_responses
    return image.to_image() if is_scaled else image


def read_mask(
    item: PathLike | ArrayLike | tuple[None, ...] | None,
    image_shape: tuple[int, ...],
    *,
    required: bool = False,
) -> np.ndarray | None:
    """Read the mask of one image, the union of its parts.

    Read more in the :ref:`User Guide <datasets>`.

    Parameters
    ----------
    item : path-like, array_like, tuple of these, or None
        An item of the ``masks`` of a data set: usually a tuple of the mask files of one image, one
        file per lesion, or an array. See ``featbus.masks.as_mask`` for the values of a mask.
    image_shape : tuple of int
        Height and width of the image; further numbers are ignored.
    required : bool, default=False
        Whether it is an error if no region is known.

    Returns
    -------
    ndarray of bool of shape (height, width), or None
        True inside any part. None if `item` is None or an empty tuple: no region is known. In
        contrast, a mask that is False everywhere states that there is no region, as those of the
        normal images of BUSI do.

    Raises
    ------
    ImageError
        If a part is not a mask of this image, its file cannot be read (an `ImageReadError`), or
        there is none though one is required. The message names the file.

    See Also
    --------
    featbus.load_masked : Read the images of a data set with their masks.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.io import read_mask
    >>> read_mask((np.array([[0, 1, 0]]), np.array([[0, 0, 255]])), image_shape=(1, 3))
    array([[False,  True,  True]])
    """
    parts = item if isinstance(item, (list, tuple)) else [item]
    regions = [_read_part(part, image_shape) for part in parts if part is not None]
    if required and not regions:
        raise ImageError(
            "found no mask, expected one; without a region, a mask is False everywhere. "
            "Select the images that have one."
        )
    return np.logical_or.reduce(regions) if regions else None


def _read_part(part, image_shape):
    if not is_path(part):
        return as_mask(part, image_shape)
    try:
        return as_mask(read_image(part), image_shape)
    except ImageError as error:
        raise type(error)(f"mask {os.fspath(part)!r}: {error.reason}") from error
