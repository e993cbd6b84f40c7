"""Functions of plain pixels, applied inside the mask of an image."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import cv2
import numpy as np

from featbus.base import ImageTransformer
from featbus.color import to_float, to_gray
from featbus.images import MAXIMUM, ImageError, check_image
from featbus.masks import inside_mask, restrict, with_mask_of
from featbus.parameters import Interval


def convert(pixels, dtype):
    """Convert pixels to another dtype of the image contract, and to its range.

    Parameters
    ----------
    pixels : ndarray
        Integers, or floating-point values, which are clipped to 0..1.
    dtype : numpy.dtype
        The dtype: white stays white.

    Returns
    -------
    ndarray
        Rounded where `dtype` is an integer; True above one half where it is bool.
    """
    if pixels.dtype == dtype and dtype.kind != "f":
        return pixels
    pixels = to_float(pixels, dtype) if dtype.kind == "f" else as_float(pixels)
    levels = np.clip(pixels, 0, 1) * MAXIMUM[dtype.name]
    return levels if dtype.kind == "f" else np.rint(levels, out=levels).astype(dtype)


def as_float(pixels):
    """Convert pixels to floating point 0..1.

    Parameters
    ----------
    pixels : ndarray or MaskedArray
        Pixels of any dtype of the contract.

    Returns
    -------
    ndarray or MaskedArray of float
        ``float64`` stays, all others become ``float32``.
    """
    return to_float(pixels, np.float64 if pixels.dtype == np.float64 else np.float32)


def extend(image):
    """Fill the outside of the mask with the nearest pixels inside, as filters extend a border.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.

    Returns
    -------
    ndarray
        The image without its mask; each pixel outside has the value of the nearest one inside.
    """
    inside = inside_mask(image)
    if inside is None:
        return image
    # OpenCV numbers the pixels inside, which have distance 0, from 1 on in reading order.
    _, nearest = cv2.distanceTransformWithLabels(
        (~inside).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    pixels = image.data.copy()
    pixels[~inside] = pixels[inside][nearest[~inside] - 1]
    return pixels


def colors_of(pixels):
    """Return the pixels without alpha.

    Parameters
    ----------
    pixels : ndarray
        Pixels of a gray or color image.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, 3)
        A view.
    """
    return pixels[..., :3] if pixels.ndim == 3 else pixels


def map_pixels(function, image, *, luma=False):
    """Apply a function of plain pixels inside the mask of an image.

    Parameters
    ----------
    function : callable
        Takes the color channels, or the gray values, as a plain array: filled outside the mask by
        `extend`, bool as 0 and 255, without alpha. Must not write to it. Its second argument is
        the index of the pixels inside the mask: an array of bool, or ``...`` without a mask.
        Returns an array of the same shape, either of the same dtype or of floating-point values
        0..1.
    image : ndarray or MaskedArray
        A checked image.
    luma : bool, default=False
        Whether `function` takes gray images: for a color image it gets the luma, and all channels
        change by as much as the luma does.

    Returns
    -------
    ndarray or MaskedArray
        The result in the dtype of `image`. Alpha, the mask and the pixels outside are kept.
    """
    inside = inside_mask(image) if np.ma.isMaskedArray(image) else ...
    colors = np.ascontiguousarray(colors_of(extend(image)))
    if colors.dtype == bool:
        colors = colors.astype(np.uint8) * 255
    if luma and colors.ndim == 3:
        gray = to_gray(colors)
        change = as_float(convert(function(gray, inside), gray.dtype)) - as_float(gray)
        changed = as_float(colors) + change[..., np.newaxis]
    else:
        changed = function(colors, inside)
    result = np.ma.getdata(image).copy()
    colors_of(result)[inside] = convert(changed, image.dtype)[inside]
    return with_mask_of(result, image)


def map_values(function, pixels):
    """Apply a function of single values.

    Parameters
    ----------
    function : callable
        From floating-point values 0..1 to floating-point values.
    pixels : ndarray
        Integers, whose levels are computed once each, or floating-point values.

    Returns
    -------
    ndarray
        Integers of the dtype of `pixels`, clipped to its range, or floating-point values.
    """
    if pixels.dtype.kind == "f":
        return function(pixels)
    levels = np.linspace(0, 1, np.iinfo(pixels.dtype).max + 1)
    return convert(function(levels), pixels.dtype)[pixels]


class OddSize(Interval):
    """An odd side of a window, which therefore has a central pixel."""

    def __init__(self, smallest, largest):
        super().__init__(Integral, smallest, largest, closed="both")

    def is_satisfied_by(self, value):
        return super().is_satisfied_by(value) and value % 2 == 1

    def __str__(self):
        return f"an odd int from {self.left} to {self.right}"


class PixelTransformer(ImageTransformer):
    """Base of the steps that change pixels inside the mask, and keep dtype, mask and alpha.

    A subclass writes `_change(pixels, inside)`, the function that `map_pixels` applies.
    """

    _luma = False

    def _transform_image(self, image):
        return map_pixels(self._change, image, luma=self._luma)


class ImageFunction(ImageTransformer):
    """Turn a function of an image into a step.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    func : callable
        Called as ``func(image, **kwargs)`` with a plain array ``(height, width)`` or
        ``(height, width, channels)``. Returns an image.
    kwargs : dict or None, default=None
        Arguments of `func`.

    See Also
    --------
    sklearn.preprocessing.FunctionTransformer : Turns a function of a batch into a step.

    Notes
    -----
    `func` gets a copy that it may change, with the pixels outside the mask replaced by the nearest
    ones inside. The mask stays: the result must then be of the same height and width, and one that
    is masked itself restricts the mask. A function that resizes masked images needs an
    `ImageTransformer` of your own, which resizes their masks, too.

    `FeatureBus` stores the rows of any function, since its code is part of their key. Only
    functions that can be imported can be pickled: not a lambda, nor a function of ``__main__``.

    `map_boxes` assumes that the function moves no pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from skimage.exposure import adjust_sigmoid
    >>> from featbus import ImageFunction
    >>> images = np.full((2, 8, 8), 128, np.uint8)
    >>> ImageFunction(adjust_sigmoid, {"cutoff": 0.25}).transform(images)[0, 0, 0]
    np.uint8(236)
    """

    _parameter_constraints = {"func": [callable], "kwargs": [dict, None]}

    def __init__(self, func: Callable, kwargs: dict | None = None) -> None:
        self.func = func
        self.kwargs = kwargs

    def _transform_image(self, image):
        # What `extend` returns is the caller's own array unless there is a mask.
        result = self.func(extend(image).copy(), **(self.kwargs or {}))
        inside = inside_mask(image)
        try:
            result = check_image(result)
            return result if inside is None else restrict(with_mask_of(result, image), inside)
        except ImageError as error:
            name = getattr(self.func, "__name__", type(self.func).__name__)
            raise ImageError(f"{name} returned an unusable image: {error.reason}") from error
