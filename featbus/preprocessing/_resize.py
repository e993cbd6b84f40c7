"""Images of one size."""

from numbers import Integral

import numpy as np

from featbus.base import ImageTransformer
from featbus.images import fill_value, inside_mask, resize, with_mask


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
        size = (self.size, self.size) if np.isscalar(self.size) else tuple(self.size)
        if len(size) != 2 or not all(isinstance(side, Integral) and side > 0 for side in size):
            raise ValueError(
                f"size is {self.size!r}, expected a positive number of pixels or (height, width)."
            )
        return _METHODS[self.method], size


_METHODS = {"stretch": resize, "letterbox": letterbox}
