"""Colors and pixel types of a checked image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import DTypeLike

from featbus.images import MAXIMUM, ImageError, fill_value
from featbus.masks import inside_mask, with_mask, with_mask_of


def _opaque(image):
    """Drop an alpha channel that is opaque everywhere inside the mask."""
    if image.ndim == 2 or image.shape[2] == 3:
        return image
    alpha, inside = np.ma.getdata(image)[..., 3], inside_mask(image)
    if np.any((alpha if inside is None else alpha[inside]) != MAXIMUM[image.dtype.name]):
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
        A checked image: gray, RGB, or RGBA with an opaque alpha channel.

    Returns
    -------
    ndarray or MaskedArray of shape (height, width)
        Luma ``0.299 R + 0.587 G + 0.114 B`` ([1]_, section 2.5.1). Integers are rounded by OpenCV,
        which calculates with 14 or 15 bits: up to 0.51 level off in 8 bits, and 2 levels in 16. A
        color image whose channels are equal gives that channel.

    Raises
    ------
    ImageError
        If the image has transparent pixels.

    See Also
    --------
    featbus.color.to_float : Floating point 0..1.
    featbus.color.to_rgb : Three channels.
    featbus.color.to_uint8 : 8 bits.

    References
    ----------
    .. [1] Recommendation ITU-R BT.601-7, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.color import to_gray
    >>> to_gray(np.array([[[255, 0, 0]]], dtype=np.uint8))
    array([[76]], dtype=uint8)
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
        A checked image: gray, RGB, or RGBA with an opaque alpha channel.

    Returns
    -------
    ndarray or MaskedArray of shape (height, width, 3)
        Gray images have their channel three times.

    Raises
    ------
    ImageError
        If the image has transparent pixels.

    See Also
    --------
    featbus.color.to_float : Floating point 0..1.
    featbus.color.to_gray : One channel.
    featbus.color.to_uint8 : 8 bits.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.color import to_rgb
    >>> to_rgb(np.array([[7]], dtype=np.uint8))
    array([[[7, 7, 7]]], dtype=uint8)
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

    See Also
    --------
    featbus.color.to_gray : One channel.
    featbus.color.to_rgb : Three channels.
    featbus.color.to_uint8 : 8 bits.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.color import to_float
    >>> to_float(np.array([[0, 51, 255]], dtype=np.uint8))
    array([[0. , 0.2, 1. ]], dtype=float32)
    """
    pixels = np.ma.getdata(image)
    if pixels.dtype.kind == "f":
        pixels = pixels.astype(dtype, copy=False)
    else:
        pixels = np.divide(pixels, MAXIMUM[pixels.dtype.name], dtype=dtype)
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

    See Also
    --------
    featbus.color.to_float : Floating point 0..1.
    featbus.color.to_gray : One channel.
    featbus.color.to_rgb : Three channels.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.color import to_uint8
    >>> to_uint8(np.array([[0, 0.2, 1]]))
    array([[  0,  51, 255]], dtype=uint8)
    """
    if image.dtype == np.uint8:
        return image
    image = to_float(image)
    pixels = np.rint(np.ma.getdata(image) * 255).astype(np.uint8)
    return with_mask(pixels, inside_mask(image), np.rint(fill_value(image) * 255))
