"""The image contract: what a batch of images is, how it is checked and converted.

A *batch* is an ndarray ``(n, height, width[, channels])``, or a sequence of 2-D or 3-D arrays or of
paths. An *image*, once checked, is an ndarray ``(height, width)`` or ``(height, width, 3 or 4)``
of dtype ``bool``, ``uint8`` (0..255), ``uint16`` (0..65535), ``float32`` or ``float64`` (0..1).
A region of interest rides along as a NumPy masked array whose mask is True *outside* the region.
An invalid image is an `ImageError`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import reduce
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from typing import Any, Literal

    from numpy.typing import ArrayLike, DTypeLike

    from featbus.typing import Images, PathLike

__all__ = [
    "ImageError",
    "ImageErrors",
    "as_batch",
    "as_mask",
    "at_index",
    "check_image",
    "fill_mask",
    "fill_value",
    "inside_mask",
    "is_path",
    "letterbox",
    "letterbox_window",
    "resize",
    "restrict",
    "stack_images",
    "to_float",
    "to_gray",
    "to_rgb",
    "to_uint8",
    "update_digest",
    "with_mask",
    "with_mask_of",
]

CHANNELS = (1, 3, 4)
_SHOWN = 20  # errors of a batch in one message
_MAXIMUM = {"bool": 1, "uint8": 255, "uint16": 65535, "float32": 1, "float64": 1}
# Sums of areas in single precision: smaller differences are not seen.
_WEIGHT_ROUNDING = 1e-5
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
        path = None if self.path is None else repr(self.path)
        if self.index is None:
            where = path
        else:
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


def is_path(item: Any) -> bool:
    """Tell whether an item of a batch is a path.

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
        array without masked pixels becomes a plain array. No copy is made unless needed.

    Raises
    ------
    ImageError
        If the rank, the number of channels or the dtype is not an image's, if there are no
        pixels (none inside the mask), or if floating-point pixels leave 0..1 or are NaN.
    """
    image = np.asanyarray(image)
    if image.ndim not in (2, 3):
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
    if dtype.name not in _MAXIMUM:
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
        return np.ascontiguousarray(image.data, dtype=dtype)
    if (mask if mask.ndim == 2 else mask.any(axis=2)).all():
        raise ImageError("found no pixel inside the mask (True means outside the region).")
    if image.dtype == dtype:
        return image
    return np.ma.MaskedArray(image.data.astype(dtype), mask, fill_value=fill_value(image))


def _check_unit_range(image):
    low, high = image.min(), image.max()
    if low >= 0 and high <= 1:
        return
    bad = np.ma.count(image) - np.count_nonzero(np.ma.filled(np.isfinite(image), False))
    if bad:
        raise ImageError(
            f"found {bad} NaN or infinite pixel(s), expected values from 0 to 1. Mask them "
            "(np.ma.masked_invalid) or replace them first."
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
        images differ in shape, dtype or fill value.
    """
    first = images[0]
    if any(image.shape != first.shape or image.dtype != first.dtype for image in images):
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
        The array's `fill_value`, in the image's dtype. NumPy's own default (1e20 for floats, 63
        for ``uint8``, True for ``bool``) counts as 0: black, whether it was chosen or not. So does
        a plain array's.
    """
    if not np.ma.isMaskedArray(image):
        return np.zeros((), image.dtype)
    default = np.array(np.ma.default_fill_value(image.dtype)).astype(image.dtype)
    fill = np.asarray(image.fill_value, dtype=image.dtype)
    return np.zeros_like(fill) if fill == default else fill


def fill_mask(image: np.ndarray) -> np.ndarray:
    """Return the image as a plain array, its masked pixels set to its fill value.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.

    Returns
    -------
    ndarray
        The image itself where it is not masked.
    """
    return image.filled(fill_value(image)) if np.ma.isMaskedArray(image) else image


def inside_mask(image: np.ndarray) -> np.ndarray | None:
    """Return the region of a masked image.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.

    Returns
    -------
    ndarray of bool of shape (height, width), or None
        True inside the region; None where the image is not masked. A pixel of a colour image is
        inside where none of its channels is masked.
    """
    if not np.ma.isMaskedArray(image):
        return None
    outside = np.ma.getmaskarray(image)
    if outside.ndim == 3:
        # Ten times as fast as `any`.
        outside = reduce(np.logical_or, np.moveaxis(outside, 2, 0))
    return ~outside


def as_mask(mask: ArrayLike | None, image_shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the mask of an image as an array of bool.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    mask : array_like of shape (height, width) or (height, width, channels), or None
        0 outside the region, and a single other value inside: bool, 0 and 1, or 0 and 255. In
        color, a pixel is inside if any channel is not 0; an alpha channel must be constant.
    image_shape : tuple of int
        Height and width of the image; further numbers are ignored.

    Returns
    -------
    ndarray of bool of shape (height, width), or None
        True inside the region. None if `mask` is None: no region is known. In contrast, a mask that
        is False everywhere states that there is no region.

    Raises
    ------
    ImageError
        If the mask differs from the image in height or width, has several values besides 0, or is
        transparent in places.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.images import as_mask
    >>> as_mask(np.array([[0, 255]], dtype=np.uint8), (1, 2))
    array([[False,  True]])
    """
    if mask is None:
        return None
    mask, shape = np.asarray(mask), tuple(image_shape[:2])
    if mask.shape[:2] != shape or mask.shape[2:] not in [(), *((n,) for n in CHANNELS)]:
        raise ImageError(
            f"found a mask of shape {mask.shape}, expected {shape}, the height and width of the "
            "image. Resize the image and its mask together, or neither."
        )
    if mask.dtype == bool and mask.ndim == 2:
        return mask
    if mask.ndim == 3:
        if mask.shape[2] == 4 and _varies(mask[..., 3]):
            raise ImageError(
                "found a mask with transparent and opaque pixels, expected a constant alpha "
                "channel. Pass the channel that holds the region, such as mask[..., 3] > 0."
            )
        mask = mask[..., :3]
    inside = mask.astype(bool, copy=False)
    if _varies(mask[inside]):
        raise ImageError(
            f"found a mask with {len(np.unique(mask))} different values, expected 0 outside the "
            "region and a single other value inside. Select what is inside: mask > 127 if JPEG "
            "compression or resizing blurred the mask, mask == 2 for one of several labels."
        )
    return inside if mask.ndim == 2 else inside.any(axis=2)


def _varies(values):
    return values.size > 0 and values.min() != values.max()


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
    digest.update(f"{image.dtype.str}{image.shape}".encode())
    digest.update(np.ascontiguousarray(np.ma.getdata(image)).data)
    if np.ma.isMaskedArray(image):
        digest.update(np.packbits(np.ma.getmaskarray(image)).data)
        digest.update(fill_value(image).tobytes())


def with_mask(pixels: np.ndarray, inside: ArrayLike | None, fill_value: float = 0) -> np.ndarray:
    """Return pixels as a masked image.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    pixels : ndarray of shape (height, width) or (height, width, channels)
        The pixels, inside and outside of the region.
    inside : array_like of shape (height, width), or None
        Not 0 inside the region, see `as_mask`; None for an image without a mask.
    fill_value : scalar, default=0
        Value of the masked pixels where a step cannot use the mask.

    Returns
    -------
    ndarray or MaskedArray
        `pixels` itself if `inside` is None.

    Raises
    ------
    ImageError
        If `inside` is not a mask of this image, see `as_mask`.
    """
    inside = as_mask(inside, pixels.shape)
    if inside is None:
        return pixels
    outside = ~inside if pixels.ndim == 2 else np.repeat(~inside[..., None], pixels.shape[2], 2)
    return np.ma.MaskedArray(pixels, outside, fill_value=fill_value)


def restrict(image: np.ndarray, inside: ArrayLike) -> np.ma.MaskedArray:
    """Restrict the region of an image: pixels outside of `inside` leave it.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image. A mask that it has already stays in force.
    inside : array_like of shape (height, width)
        Not 0 inside the new region, see `as_mask`.

    Returns
    -------
    MaskedArray
        The pixels and the fill value of `image`; inside are those pixels that are inside both.

    Raises
    ------
    ImageError
        If no pixel is inside both, or `inside` is not a mask of this image.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.images import restrict
    >>> image = np.ma.masked_less(np.array([[1, 2, 3]], np.uint8), 2)
    >>> print(restrict(image, np.array([[True, True, False]])))
    [[-- 2 --]]
    """
    inside, before = as_mask(inside, image.shape), inside_mask(image)
    inside = inside if before is None else inside & before
    if not inside.any():
        raise ImageError("found no pixel inside both the mask and the new region.")
    return with_mask(np.ma.getdata(image), inside, fill_value(image))


def with_mask_of(pixels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return pixels with the region of an image.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    pixels : ndarray of shape (height, width) or (height, width, channels)
        The pixels, of any dtype of the contract.
    image : ndarray or MaskedArray
        A checked image of the same height and width.

    Returns
    -------
    ndarray or MaskedArray
        `pixels` itself if `image` is not masked; else masked alike, with a fill value of the same
        brightness.
    """
    if not np.ma.isMaskedArray(image):
        return pixels
    fill = fill_value(image)
    if pixels.dtype != image.dtype:
        fill = fill * (_MAXIMUM[pixels.dtype.name] / _MAXIMUM[image.dtype.name])
    return with_mask(pixels, inside_mask(image), np.asarray(fill, dtype=pixels.dtype))


def _opaque(image):
    """Drop an alpha channel that is opaque everywhere."""
    if image.ndim == 2 or image.shape[2] == 3:
        return image
    pixels = np.ma.getdata(image)
    if np.any(pixels[..., 3] != _MAXIMUM[image.dtype.name]):
        raise ImageError(
            "found transparent pixels (alpha below its maximum), expected an opaque image. "
            "Blend it first on a background of your choice, for example by skimage.color.rgba2rgb."
        )
    return image[..., :3]


def to_gray(image: np.ndarray) -> np.ndarray:
    """Convert a checked image to one channel; the dtype and the mask stay.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image: grey, RGB, or RGBA with an opaque alpha channel.

    Returns
    -------
    ndarray or MaskedArray of shape (height, width)
        Luma ``0.299 R + 0.587 G + 0.114 B`` ([1]_, section 2.5.1). Integers are rounded by OpenCV,
        which calculates with 14 or 15 bits: up to 0.51 level off in 8 bits, and 2 levels in 16. A
        colour image whose channels are equal gives that channel.

    Raises
    ------
    ImageError
        If the image has transparent pixels.

    References
    ----------
    .. [1] Recommendation ITU-R BT.601-7, 2011.
    """
    if image.ndim == 2:
        return image
    pixels = np.ascontiguousarray(np.ma.getdata(_opaque(image)))
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype.kind == "f":
        red, green, blue = np.moveaxis(pixels, 2, 0)
        # Differences to one channel: equal channels come out exactly, and 0..1 stays 0..1.
        gray = np.clip(green + 0.299 * (red - green) + 0.114 * (blue - green), 0, 1)
    else:
        gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return with_mask_of(gray, image)


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Convert a checked image to three channels; the dtype and the mask stay.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image: grey, RGB, or RGBA with an opaque alpha channel.

    Returns
    -------
    ndarray or MaskedArray of shape (height, width, 3)
        Grey images have their channel three times.

    Raises
    ------
    ImageError
        If the image has transparent pixels.
    """
    if image.ndim == 3:
        return _opaque(image)
    pixels = np.repeat(np.ma.getdata(image)[..., np.newaxis], 3, axis=2)
    return with_mask_of(pixels, image)


def to_float(image: np.ndarray, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Convert a checked image to floating point 0..1; the mask stays.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The result's dtype.

    Returns
    -------
    ndarray or MaskedArray of float
        Integers divided by the largest value of their type, as `skimage.util.img_as_float` does.
    """
    pixels = np.ma.getdata(image)
    if pixels.dtype.kind == "f":
        pixels = pixels.astype(dtype, copy=False)
    else:
        pixels = np.divide(pixels, _MAXIMUM[pixels.dtype.name], dtype=dtype)
    return with_mask_of(pixels, image)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Convert a checked image to 8 bits; a mask stays.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.

    Returns
    -------
    ndarray or MaskedArray of uint8
        The image, rounded to 0..255.
    """
    if image.dtype == np.uint8:
        return image
    image = to_float(image)
    pixels = np.rint(np.ma.getdata(image) * 255).astype(np.uint8)
    return with_mask(pixels, inside_mask(image), np.rint(fill_value(image) * 255))


def resize(
    image: np.ndarray,
    size: tuple[int, ...],
    dtype: DTypeLike | None = None,
    method: Literal["area", "bilinear", "bicubic"] = "area",
) -> np.ndarray:
    """Stretch one image to a new shape.

    Of a masked image only pixels inside the region count, and a new pixel is inside if at least
    half of what it covers, or half of the weight of the pixels that make it, is.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.
    size : tuple of int
        New ``(height, width)`` in pixels.
    dtype : {numpy.float32, numpy.float64} or None, default=None
        Convert as `to_float` does, without rounding to whole levels in between. None: the image's
        dtype; integers are rounded, and a bool image stays one.
    method : {"area", "bilinear", "bicubic"}, default="area"
        "area": sides that shrink are averaged over the area that a new pixel covers, sides that
        grow are interpolated linearly. "bilinear" and "bicubic": Pillow's, whose kernels widen
        where sides shrink, in single precision.

    Returns
    -------
    ndarray or MaskedArray
        The image in its new shape.
    """
    dtype = image.dtype if dtype is None else np.dtype(dtype)
    if image.shape[:2] == tuple(size):
        return image if image.dtype == dtype else to_float(image, dtype)
    inside = inside_mask(image)
    pixels = np.ma.getdata(image)
    pixels = pixels.view(np.uint8) if pixels.dtype == bool else pixels
    if inside is None:
        if image.dtype != dtype:
            pixels = pixels.astype(dtype)
        elif dtype.kind != "f" and any(new > old for new, old in zip(size, pixels.shape)):
            # OpenCV's linear interpolation of integers is coarse.
            pixels = pixels.astype(np.float32)
        return _to_dtype(_interpolate(pixels, size, method), image.dtype, dtype)
    # Pixels outside, which may be NaN, become 0.
    pixels = cv2.copyTo(pixels, inside.view(np.uint8)).astype(np.float32, copy=False)
    weight = _interpolate(inside.astype(np.float32), size, method)
    channels = weight if image.ndim == 2 else weight[..., np.newaxis]
    pixels = _interpolate(pixels, size, method) / np.maximum(channels, 1e-6)
    # A region too small to fill half a pixel keeps the pixels that hold the most of it.
    inside = weight >= min(0.5, weight.max()) - _WEIGHT_ROUNDING
    fill = fill_value(image) * (_MAXIMUM[dtype.name] / _MAXIMUM[image.dtype.name])
    return with_mask(_to_dtype(pixels, image.dtype, dtype), inside, fill)


def letterbox_window(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[slice, ...]:
    """Return where a letterboxed image lies.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    size : tuple of int
        ``(height, width)`` of the letterbox.

    Returns
    -------
    tuple of slice
        Rows and columns of the letterbox that hold the image.
    """
    scale = min(new / old for new, old in zip(size, shape))
    inner = [max(1, round(old * scale)) for old in shape[:2]]
    top, left = ((new - old) // 2 for new, old in zip(size, inner))
    return slice(top, top + inner[0]), slice(left, left + inner[1])


def letterbox(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize a checked image into a new shape, keeping its aspect ratio.

    Read more in the :ref:`User Guide <images>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.
    size : tuple of int
        New ``(height, width)`` in pixels.

    Returns
    -------
    ndarray or MaskedArray
        The image in the middle of two masked bars; their fill value is that of the image, or black.
    """
    window = letterbox_window(image.shape, size)
    small = resize(image, tuple(side.stop - side.start for side in window))
    if small.shape[:2] == tuple(size):
        return small
    pixels = np.full((*size, *image.shape[2:]), fill_value(image), dtype=image.dtype)
    pixels[window] = np.ma.getdata(small)
    inside = np.zeros(size, dtype=bool)
    region = inside_mask(small)
    inside[window] = True if region is None else region
    return with_mask(pixels, inside, fill_value(image))


def _interpolate(pixels, size, method):
    if method != "area":
        return _interpolate_by_pillow(pixels, size, method)
    height, width = (min(new, old) for new, old in zip(size, pixels.shape))
    if (height, width) != pixels.shape[:2]:
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    if (height, width) != tuple(size):
        pixels = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return pixels


def _interpolate_by_pillow(pixels, size, method):
    """Return float32 pixels of a new size, one channel at a time; bicubic ones may overshoot."""
    resample = Image.Resampling[method.upper()]
    planes = np.moveaxis(np.atleast_3d(pixels).astype(np.float32, copy=False), 2, 0)
    resized = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size[::-1], resample))
        for plane in planes
    ]
    return resized[0].copy() if pixels.ndim == 2 else np.stack(resized, axis=2)


def _to_dtype(pixels, source, dtype):
    """Bring interpolated pixels of an image of the dtype `source` to `dtype`.

    Rounding may have left the range by a hair.
    """
    if dtype.kind == "f":
        return np.clip(pixels / _MAXIMUM[source.name], 0, 1).astype(dtype, copy=False)
    if pixels.dtype.kind == "f":
        np.rint(np.clip(pixels, 0, _MAXIMUM[dtype.name], out=pixels), out=pixels)
    return pixels.astype(dtype, copy=False)
