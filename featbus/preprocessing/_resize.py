"""Images of one size."""

from numbers import Integral

import cv2
import numpy as np

from featbus.base import ImageTransformer
from featbus.images import fill_value, inside_mask, with_mask


def resize(image, size):
    """Stretch one image to a new shape.

    Sides that shrink are averaged over the area that a new pixel covers, sides that grow are
    interpolated linearly. Of a masked image only pixels inside the region are averaged, and a new
    pixel is inside if at least half of what it covers is.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image, see `featbus.images.check_image`.
    size : tuple of int
        New ``(height, width)`` in pixels.

    Returns
    -------
    ndarray or MaskedArray
        The image in its new shape; the dtype stays.
    """
    inside = inside_mask(image)
    if image.shape[:2] == tuple(size):
        return image
    if inside is None:
        return _to_dtype(_interpolate(_as_number(image), size), image.dtype)
    weight = _interpolate(inside.astype(np.float32), size)
    channels = weight if image.ndim == 2 else weight[..., np.newaxis]
    pixels = _as_number(np.where(inside if image.ndim == 2 else inside[..., None], image.data, 0))
    pixels = _interpolate(pixels.astype(np.float32), size) / np.maximum(channels, 1e-6)
    # A region too small to fill half a pixel keeps the pixels that hold the most of it.
    inside = weight >= min(0.5, weight.max())
    return with_mask(_to_dtype(pixels, image.dtype), inside, fill_value(image))


def _as_number(pixels):
    return pixels.astype(np.uint8) if pixels.dtype == bool else pixels


def _interpolate(pixels, size):
    height, width = (min(new, old) for new, old in zip(size, pixels.shape))
    if (height, width) != pixels.shape[:2]:
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    if (height, width) != tuple(size):
        pixels = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return pixels


def _to_dtype(pixels, dtype):
    """Bring interpolated pixels back to `dtype`, whose range rounding may have left by a hair."""
    if dtype.kind == "f":
        return np.clip(pixels, 0, 1).astype(dtype, copy=False)
    if pixels.dtype.kind == "f":
        pixels = np.rint(np.clip(pixels, 0, 1 if dtype == bool else np.iinfo(dtype).max))
    return pixels.astype(dtype, copy=False)


def letterbox(image, size):
    """Resize one image into a new shape, keeping its aspect ratio.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image, see `featbus.images.check_image`.
    size : tuple of int
        New ``(height, width)`` in pixels.

    Returns
    -------
    ndarray or MaskedArray
        The image in the middle. What is left at two sides is no part of it, and therefore masked;
        its fill value is the image's own, or black.
    """
    scale = min(new / old for new, old in zip(size, image.shape))
    inner = tuple(max(1, round(old * scale)) for old in image.shape[:2])
    small = resize(image, inner)
    if inner == tuple(size):
        return small
    top, left = ((new - old) // 2 for new, old in zip(size, inner))
    window = slice(top, top + inner[0]), slice(left, left + inner[1])
    pixels = np.full((*size, *image.shape[2:]), fill_value(image), dtype=image.dtype)
    pixels[window] = np.ma.getdata(small)
    inside = np.zeros(size, dtype=bool)
    region = inside_mask(small)
    inside[window] = True if region is None else region
    return with_mask(pixels, inside, fill_value(image))


class Resize(ImageTransformer):
    """Bring all images to one size.

    Parameters
    ----------
    size : int or tuple of int, default=224
        New size in pixels: ``(height, width)``, or one number for squares.
    method : {"stretch", "letterbox"}, default="stretch"
        "stretch" fills the whole size; "letterbox" keeps the aspect ratio, centres the image and
        masks what is left at two sides, so that features of the region leave it out.

    See Also
    --------
    ImageLoader : Read images from files.

    Notes
    -----
    Sides that shrink are averaged over the area that a new pixel covers (OpenCV's ``INTER_AREA``),
    which keeps fine texture from aliasing; sides that grow are interpolated linearly. Dtype and
    value range stay. The mask of a masked image moves along, and pixels outside the region do not
    bleed into it.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import Resize
    >>> images = [np.zeros((100, 80), np.uint8), np.zeros((60, 90), np.uint8)]
    >>> Resize((64, 64)).transform(images).shape
    (2, 64, 64)
    >>> boxed = Resize(64, method="letterbox").transform(images)
    >>> print(~boxed[0].mask[32, [0, 7, 32, 58, 63]])
    [False  True  True False False]
    """

    def __init__(self, size=224, *, method="stretch"):
        self.size = size
        self.method = method

    def fit(self, X, y=None):
        """Check the parameters and the batch; no pixel is read.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        y : None
            Ignored.

        Returns
        -------
        self : Resize
            The estimator itself.
        """
        self._checked_parameters()
        return super().fit(X, y)

    def _transform_image(self, image):
        function, size = self._checked_parameters()
        return function(image, size)

    def _checked_parameters(self):
        if self.method not in _METHODS:
            raise ValueError(f"method is {self.method!r}, expected one of {sorted(_METHODS)}.")
        size = (self.size, self.size) if isinstance(self.size, Integral) else tuple(self.size)
        if len(size) != 2 or not all(isinstance(side, Integral) and side > 0 for side in size):
            raise ValueError(
                f"size is {self.size!r}, expected a positive number of pixels or (height, width)."
            )
        return _METHODS[self.method], size


_METHODS = {"stretch": resize, "letterbox": letterbox}
