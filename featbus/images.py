"""The image contract: what a batch of images is, how it is checked and converted.

A *batch* is an ndarray ``(n, height, width[, channels])``, or a sequence of 2-D or 3-D arrays or of
paths. An *image*, once checked, is an ndarray ``(height, width)`` or ``(height, width, 3 or 4)``
of dtype ``bool``, ``uint8`` (0..255), ``uint16`` (0..65535), ``float32`` or ``float64`` (0..1).
A region of interest rides along as a NumPy masked array whose mask is True *outside* the region.
The response of a filter is a `ResponseMap`, whose values may leave 0..1. An invalid image is an
`ImageError`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from featbus.typing import Images, PathLike

__all__ = ["ImageError", "ImageErrors", "ResponseMap", "as_batch", "check_image"]

CHANNELS = (1, 3, 4)
_SHOWN = 20  # errors of a batch in one message
MAXIMUM = {"bool": 1, "uint8": 255, "uint16": 65535, "float32": 1, "float64": 1}
_DTYPES = "bool, uint8 (0..255), uint16 (0..65535) or floating point (0..1)"
_BATCH = (
    "an array (n, height, width) or (n, height, width, channels), "
    "or a sequence of 2-D or 3-D arrays or of paths"
)


class ImageError(ValueError):
    """An image that is invalid, or that a step cannot use.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    reason : str
        What was found, what was expected, and what to do.
    index : int or None, default=None
        Position of the image in the batch, None if unknown.
    path : str, os.PathLike or None, default=None
        File of the image, None for an array.

    See Also
    --------
    featbus.images.ImageErrors : Several images.
    featbus.io.ImageReadError : A file that cannot be read.

    Examples
    --------
    >>> from featbus.images import ImageError
    >>> error = ImageError("found no pixels.", path="scan.png")
    >>> str(error), str(error.at(3))
    ("'scan.png': found no pixels.", "image 3 ('scan.png'): found no pixels.")
    """

    def __init__(self, reason: str, index: int | None = None, path: PathLike | None = None) -> None:
        super().__init__(reason, index, path)
        self.reason = reason
        self.index = index
        self.path = None if path is None else os.fspath(path)

    def __reduce__(self):
        return type(self), (self.reason, self.index, self.path)

    def __str__(self):
        where = path = None if self.path is None else repr(self.path)
        if self.index is not None:
            where = f"image {self.index}" + (f" ({path})" if path else "")
        return f"{where}: {self.reason}" if where else self.reason

    def at(self, index: int | None, path: PathLike | None = None) -> ImageError:
        """Return the same error for another position.

        Parameters
        ----------
        index : int or None
            Position of the image in the batch.
        path : str, os.PathLike or None, default=None
            File of the image; None keeps the known one.

        Returns
        -------
        ImageError
            A new error of the same type.
        """
        return type(self)(self.reason, index, self.path if path is None else path)


class ImageErrors(ImageError):
    """Several images of a batch that are invalid.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    errors : list of ImageError
        One for each of these images, with its position. They are also the attribute ``errors``.
    n_images : int
        Number of images in the batch.
    remedy : str, default="Repair these images, or leave them out."
        What to do.

    See Also
    --------
    featbus.images.ImageError : One image.

    Examples
    --------
    >>> from featbus.images import ImageError, ImageErrors
    >>> errors = [ImageError("found no pixels.", index) for index in (3, 5)]
    >>> print(ImageErrors(errors, 20))
    2 of 20 images cannot be used:
    image 3: found no pixels.
    image 5: found no pixels.
    Repair these images, or leave them out.
    """

    def __init__(
        self,
        errors: list[ImageError],
        n_images: int,
        remedy: str = "Repair these images, or leave them out.",
    ) -> None:
        lines = [str(error) for error in errors[:_SHOWN]]
        if len(errors) > _SHOWN:
            lines.append(f"and {len(errors) - _SHOWN} more.")
        lines = [f"{len(errors)} of {n_images} images cannot be used:", *lines, remedy]
        super().__init__("\n".join(lines))
        self.errors = list(errors)
        self.n_images = n_images
        self.remedy = remedy

    def __reduce__(self):
        return type(self), (self.errors, self.n_images, self.remedy)

    def at(self, index: int | None, path: PathLike | None = None) -> ImageErrors:
        """Return this error: each of its errors has a position of its own."""
        return self


class ResponseMap(np.ma.MaskedArray):
    """A floating-point image whose values may leave 0..1, such as the response of a filter.

    `IntensityStatistics`, `IntensityVolumeHistogram`, `ShapeStatistics`, `Radiomics`, the
    gray-level matrices (`GLCM` and so on) and the filters use its values as they are: bins and
    ranges are in its own units. All other estimators get `to_image()`.

    Read more in the :ref:`User Guide <response_maps>`.

    Parameters
    ----------
    data : array_like of shape (height, width)
        Values of any size, finite inside the mask. Converted to ``float64``.
    mask : array_like of bool of shape (height, width), default=numpy.ma.nomask
        True outside the region.

    See Also
    --------
    featbus.LaplacianOfGaussian : A filter.

    Examples
    --------
    >>> from featbus.images import ResponseMap
    >>> response = ResponseMap([[-3, 0, 1]])
    >>> response.to_image()
    array([[0.  , 0.75, 1.  ]])
    """

    def __new__(cls, data: ArrayLike, mask: ArrayLike = np.ma.nomask, dtype: Any = np.float64):
        """Convert to floating point; `pickle` passes `dtype`."""
        return super().__new__(cls, data, mask, dtype)

    def to_image(self) -> np.ndarray:
        """Scale the values inside the mask linearly to 0..1.

        Returns
        -------
        ndarray or MaskedArray of float
            0 for the smallest value and 1 for the largest; 0 if all are equal. Not masked if no
            pixel is; values outside the mask are clipped.
        """
        # Halves, as the difference of the largest floats is infinite.
        low, high = self.min() / 2, self.max() / 2
        pixels = np.clip(self.data / 2, low, high) - low
        pixels = np.minimum(pixels / (high - low), 1) if high > low else np.zeros(self.shape)
        mask = np.ma.getmaskarray(self)
        return np.ma.MaskedArray(pixels, mask, fill_value=0) if mask.any() else pixels


@contextmanager
def at_index(index: int, item: np.ndarray | PathLike | None = None) -> None:
    """Add an image's position, and its path, to any `ImageError` raised in a ``with`` block.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    index : int
        Position of the image in the batch.
    item : ndarray, str or os.PathLike, default=None
        The item of the batch.
    """
    try:
        yield
    except ImageError as error:
        raise error.at(index, item if is_path(item) else None) from error


def map_at_index(function: Callable, *images: Iterable) -> Iterator:
    """Apply a function to each image; any `ImageError` that it raises gets the position.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Parameters
    ----------
    function : callable
        Gets an image, and what else there is of it.
    *images : iterable
        Images, and iterables of the same length.

    Yields
    ------
    object
        What the function returned.
    """
    for index, arguments in enumerate(zip(*images)):
        with at_index(index):
            yield function(*arguments)


def name_image(item: Any, index: int) -> str:
    """Return the name of an image in reports.

    Parameters
    ----------
    item : object
        An item of a batch.
    index : int
        Its position.

    Returns
    -------
    str
        The last folder and the file, since where data are is private; or "image 3".
    """
    return "/".join(Path(item).parts[-2:]) if is_path(item) else f"image {index}"


def is_path(item: Any) -> bool:
    """Return whether an item of a batch is a path.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    item : object
        An item of a batch of images.

    Returns
    -------
    bool
        True for `str` and `os.PathLike`.
    """
    return isinstance(item, (str, os.PathLike))


def as_batch(X: np.ndarray | Images) -> np.ndarray | list:
    """Check the container of a batch of images; its pixels stay untouched and unread.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    X : ndarray or sequence
        Images in any form of the image contract. A one-column table (a DataFrame or a 2-D object
        array, as `sklearn.compose.ColumnTransformer` hands over) counts as its column.

    Returns
    -------
    ndarray or list
        The array itself where `X` is a stack of images, else a list of arrays and paths.

    Raises
    ------
    TypeError
        If `X` is not a sequence, for example a generator or a sparse matrix.
    ValueError
        If `X` is empty, a single image, a single path or a table of several columns.

    See Also
    --------
    featbus.images.check_image : Check one image and its pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.images import as_batch
    >>> len(as_batch([np.zeros((2, 3)), np.zeros((4, 5)), "scan.png"]))
    3
    >>> as_batch(np.zeros((10, 2, 3))).shape
    (10, 2, 3)
    """
    if is_path(X):
        raise ValueError(
            f"Expected a batch of images, got the single path {os.fspath(X)!r}. Wrap it: [path]."
        )
    if isinstance(X, np.ndarray) and X.dtype.kind in "biufc":
        if X.ndim == 2:
            raise ValueError(
                f"Expected a batch of images, got one array of shape {X.shape}. "
                "If it is a single image, wrap it: X[np.newaxis]."
            )
        if X.ndim not in (3, 4):
            raise ValueError(f"Expected {_BATCH}, got an array of shape {X.shape}.")
        items = X
    else:
        items = list(_column(X))
    if len(items) == 0:
        raise ValueError(f"Found an empty batch: 0 image(s), expected at least 1: {_BATCH}.")
    return items


def _column(X):
    """Return the items of a sequence, or of a table that has one column."""
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) == 2 and shape[1] == 1:
        return np.asarray(X, dtype=object)[:, 0]
    if shape is not None and len(shape) != 1:
        raise ValueError(f"Expected {_BATCH}, got a {type(X).__name__} of shape {shape}.")
    if isinstance(X, (dict, set, bytes)) or not (hasattr(X, "__len__") and hasattr(X, "__iter__")):
        raise TypeError(f"Expected {_BATCH}, got {type(X).__name__}.")
    return X


def check_image(image: ArrayLike) -> np.ndarray:
    """Check one image, and bring it to the canonical form without changing its values.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    image : array_like of shape (height, width) or (height, width, channels)
        The image; 1, 3 or 4 channels. Masked arrays stay masked.

    Returns
    -------
    ndarray or MaskedArray
        The image in native byte order, C-contiguous; without the channel axis if there is one
        channel. ``float16`` becomes ``float32`` and ``longdouble`` becomes ``float64``. A masked
        array without masked pixels becomes a plain array, but a `ResponseMap` stays one. No copy is
        made unless needed.

    Raises
    ------
    ImageError
        If the rank, the number of channels or the dtype is not an image's, if there are no
        pixels (none inside the mask), or if floating-point pixels are NaN or leave 0..1 (infinite
        in a `ResponseMap`).

    See Also
    --------
    featbus.images.as_batch : Check the container of a batch.
    featbus.io.read_image : Read an image from a file.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.images import check_image
    >>> check_image(np.zeros((2, 3, 1), dtype=np.uint8)).shape
    (2, 3)
    """
    image = np.asanyarray(image)
    if image.ndim not in ((2,) if isinstance(image, ResponseMap) else (2, 3)):
        raise ImageError(
            f"found shape {image.shape}, expected (height, width) or (height, width, channels)."
            f"{_rank_hint(image)}"
        )
    if image.size == 0:
        raise ImageError(f"found no pixels: shape {image.shape}, expected at least one pixel.")
    if image.ndim == 3 and image.shape[2] not in CHANNELS:
        raise ImageError(
            f"found shape {image.shape}: {image.shape[2]} channels, expected 1, 3 or 4 in the "
            f"last axis.{_rank_hint(image)}"
        )
    image = _canonical(image)
    if image.dtype.kind == "f":
        _check_unit_range(image)
    return image


def _rank_hint(image):
    if image.ndim == 3 and image.shape[0] in CHANNELS:
        return " Channels come last: np.moveaxis(image, 0, -1)."
    if image.ndim > 3:
        return " Pass the images of a volume or a video one by one."
    return ""


def _canonical(image):
    """Return `image` with the dtype, byte order and memory layout of the contract."""
    dtype = image.dtype
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        dtype = np.dtype(np.float32 if dtype.itemsize == 2 else np.float64)
    dtype = dtype.newbyteorder("=")
    if dtype.name not in MAXIMUM:
        raise ImageError(
            f"found dtype {image.dtype}, expected {_DTYPES}. Convert it: "
            "image.astype(np.uint8) if its values are 0..255, np.uint16 if they are 0..65535."
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if not isinstance(image, np.ma.MaskedArray):
        return np.ascontiguousarray(image, dtype=dtype)
    mask = np.ma.getmaskarray(image)
    if not mask.any():
        pixels = np.ascontiguousarray(image.data, dtype=dtype)
        return ResponseMap(pixels) if isinstance(image, ResponseMap) else pixels
    if (mask if mask.ndim == 2 else mask.any(axis=2)).all():
        raise ImageError("found no pixel inside the mask (True means outside the region).")
    if image.dtype == dtype:
        return image
    return np.ma.MaskedArray(image.data.astype(dtype), mask, fill_value=fill_value(image))


def _check_unit_range(image):
    low, high = image.min(), image.max()
    finite = np.finfo(image.dtype)
    least, most = (finite.min, finite.max) if isinstance(image, ResponseMap) else (0, 1)
    if low >= least and high <= most:
        return
    bad = np.ma.count(image) - np.count_nonzero(np.ma.filled(np.isfinite(image), False))
    if bad:
        raise ImageError(
            f"found {bad} NaN or infinite pixel(s), expected values from {least:g} to {most:g}. "
            "Mask them (np.ma.masked_invalid) or replace them first."
        )
    raise ImageError(
        f"found values from {low:g} to {high:g}, expected 0 to 1 in a floating-point image. "
        "Divide by the largest value a pixel can take (255 for 8-bit, 65535 for 16-bit images)."
    )


def stack_images(images: list[np.ndarray]) -> np.ndarray | list:
    """Stack images where they share shape and dtype.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    images : list of ndarray
        Checked images.

    Returns
    -------
    ndarray, MaskedArray or list
        ``(n, height, width[, channels])``, masked if any image is; the list itself where the
        images differ in shape, dtype or fill value, or where one is a `ResponseMap`.
    """
    first = images[0]
    if any(image.shape != first.shape or image.dtype != first.dtype for image in images):
        return images
    if any(isinstance(image, ResponseMap) for image in images):
        return images
    fills = {fill_value(image).item() for image in images if np.ma.isMaskedArray(image)}
    if not fills:
        return np.stack(images)
    if len(fills) > 1:
        return images
    stack = np.ma.stack(images)
    stack.fill_value = fills.pop()
    return stack


def fill_value(image: np.ndarray) -> np.ndarray:
    """Return the value that stands for the masked pixels of an image.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.

    Returns
    -------
    ndarray of shape ()
        The array's `fill_value`, in the image's dtype. NumPy's own default (63 for ``uint8``, True
        for ``bool``) counts as 0: black, whether it was chosen or not. So do one that is no pixel's
        value, such as 1e20 or NaN in floating point, and that of a plain array.
    """
    if not np.ma.isMaskedArray(image):
        return np.zeros((), image.dtype)
    fill = np.asarray(image.fill_value, dtype=image.dtype)
    if fill.dtype.kind == "f":
        return fill if 0 <= fill <= 1 else np.zeros_like(fill)
    default = np.array(np.ma.default_fill_value(image.dtype)).astype(image.dtype)
    return np.zeros_like(fill) if fill == default else fill


def update_digest(digest: Any, image: np.ndarray) -> None:
    """Update a hash with all that distinguishes one image from another.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    digest : hashlib hash
        Updated in place.
    image : ndarray or MaskedArray
        An image: its dtype, shape and pixels, and its mask and fill value if it is masked.
    """
    kind = ResponseMap.__name__ if isinstance(image, ResponseMap) else ""
    digest.update(f"{kind}{image.dtype.str}{image.shape}".encode())
    digest.update(np.ascontiguousarray(np.ma.getdata(image)).data)
    if np.ma.isMaskedArray(image):
        digest.update(np.packbits(np.ma.getmaskarray(image)).data)
        digest.update(fill_value(image).tobytes())
