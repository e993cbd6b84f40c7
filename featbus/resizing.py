"""New sizes of a checked image and its mask."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import DTypeLike
from PIL import Image

from featbus.color import to_float
from featbus.images import MAXIMUM, fill_value
from featbus.masks import inside_mask, with_mask

# Sums of areas in single precision: smaller differences are not seen.
_WEIGHT_ROUNDING = 1e-5


def resize(
    image: np.ndarray,
    size: tuple[int, ...],
    dtype: DTypeLike | None = None,
    method: Literal["area", "bilinear", "bicubic"] = "area",
) -> np.ndarray:
    """Stretch one image to a new shape.

    Only pixels inside the mask are used. A new pixel is inside if at least half of the weight of
    the pixels that it is computed from is inside.

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

    See Also
    --------
    featbus.Resize : A step that resizes all images of a batch.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.resizing import resize
    >>> resize(np.array([[0, 100], [20, 80]], dtype=np.uint8), (1, 2))
    array([[10, 90]], dtype=uint8)
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
    fill = fill_value(image) * (MAXIMUM[dtype.name] / MAXIMUM[image.dtype.name])
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
        The image between two masked bars, with the fill value of the image, or black.
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

    Rounding errors may have left the range.
    """
    if dtype.kind == "f":
        return np.clip(pixels / MAXIMUM[source.name], 0, 1).astype(dtype, copy=False)
    if pixels.dtype.kind == "f":
        np.rint(np.clip(pixels, 0, MAXIMUM[dtype.name], out=pixels), out=pixels)
    return pixels.astype(dtype, copy=False)
