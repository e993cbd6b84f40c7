"""Functions of plain pixels, applied inside the mask of an image."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import cv2
import numpy as np

from featbus.base import ImageTransformer
from featbus.color import to_float, to_gray
from featbus.images import ImageError, check_image
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
    if pixels.dtype.kind != "f":
        if pixels.dtype == dtype:
            return pixels
        pixels = to_float(pixels, dtype if dtype.kind == "f" else np.float32)
    if dtype.kind == "b":
        return pixels > 0.5
    if dtype.kind == "f":
        return np.clip(pixels, 0, 1).astype(dtype, copy=False)
    levels = pixels * np.iinfo(dtype).max
    return np.rint(np.clip(levels, 0, np.iinfo(dtype).max, out=levels), out=levels).astype(dtype)


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
    outside = ~inside
    # OpenCV numbers the pixels inside, which have distance 0, from 1 on in reading order.
    nearest = cv2.distanceTransformWithLabels(
        outside.view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    pixels = image.data.copy()
    pixels[outside] = image.data[inside][nearest[outside] - 1]
    return pixels


def map_pixels(function, image, *, luma=False):
    """Apply a function of plain pixels inside the mask of an image.

    Parameters
    ----------
    function : callable
        Takes the color channels, or the gray values, as a plain array: filled outside the mask by
        `extend`, bool as 0 and 255, without alpha. Must not write to it. Returns an array of the
        same shape, either of the same dtype or of floating-point values 0..1.
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
    pixels = extend(image)
    colors = pixels[..., :3] if pixels.ndim == 3 else pixels
    if colors.dtype == bool:
        colors = colors.astype(np.uint8) * 255
    if colors.ndim == 3:
        colors = np.ascontiguousarray(colors)
    changed = _map_luma(function, colors) if luma and colors.ndim == 3 else function(colors)
    result, before = convert(changed, image.dtype), np.ma.getdata(image)
    if before.ndim == 3 and before.shape[2] == 4:
        result = np.dstack([result, before[..., 3]])
    inside = inside_mask(image)
    if inside is not None:
        result = np.where(inside if result.ndim == 2 else inside[..., None], result, before)
    return with_mask_of(result, image)


def _map_luma(function, colors):
    gray = to_gray(colors)
    change = as_float(convert(function(gray), gray.dtype)) - as_float(gray)
    result = as_float(colors).copy()
    result += change[..., np.newaxis]
    return result


def map_values(function, pixels):
    """Apply a function of single values.

    Parameters
    ----------
    function : callable
        From floating-point values 0..1 to values that are clipped to 0..1.
    pixels : ndarray
        Integers, whose levels are computed once each, or floating-point values.

    Returns
    -------
    ndarray
        Of the dtype of `pixels`.
    """
    if pixels.dtype.kind == "f":
        return convert(np.asarray(function(pixels)), pixels.dtype)
    levels = np.linspace(0, 1, np.iinfo(pixels.dtype).max + 1)
    return convert(function(levels), pixels.dtype)[pixels]


class OddSize(Interval):
    """The side of a window that has a middle."""

    def __init__(self, smallest, largest):
        super().__init__(Integral, smallest, largest, closed="both")

    def is_satisfied_by(self, value):
        return super().is_satisfied_by(value) and value % 2 == 1

    def __str__(self):
        return f"an odd int from {self.left} to {self.right}"


class ImageFunction(ImageTransformer):
    """Make a step of a function.

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
    sklearn.preprocessing.FunctionTransformer : A step of a function of a whole batch.

    Notes
    -----
    `func` gets a copy that it may change, with the pixels outside the mask replaced by the nearest
    ones inside. The mask stays: the result must then be of the same height and width. A result that
    is masked itself restricts the mask.

    `FeatureBus` keeps rows of any function, as its code is part of their key. Only a function that
    can be imported pickles; a lambda, or a function of ``__main__``, does not.

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
        name = getattr(self.func, "__name__", type(self.func).__name__)
        # What `extend` returns is the caller's own array unless there is a mask.
        result = self.func(extend(image).copy(), **(self.kwargs or {}))
        try:
            result = check_image(result)
        except ImageError as error:
            raise ImageError(f"{name} returned no image: {error.reason}") from error
        inside = inside_mask(image)
        if inside is None:
            return result
        if result.shape[:2] != image.shape[:2]:
            raise ImageError(
                f"{name} returned an image of shape {result.shape}, expected height and width of "
                f"the masked image, {image.shape[:2]}. Write an ImageTransformer that moves masks."
            )
        if np.ma.isMaskedArray(result):
            return restrict(result, inside)
        return with_mask_of(result, image)
