"""Images of one size, in pixels or in millimeters per pixel."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from featbus.base import ImageTransformer
from featbus.images import ImageError, at_index, is_path
from featbus.io import SpacedImage, read_item, read_spacing
from featbus.io._files import VARIABLE, pixel_limit
from featbus.parameters import POSITIVE_INTEGER, Interval, PairOf, StrOptions, as_pair
from featbus.resizing import letterbox, letterbox_window, resize

_Method = Literal["stretch", "letterbox"]


class Resize(ImageTransformer):
    """Bring all images to one size.

    Read more in the :ref:`User Guide <resizing>`.

    Parameters
    ----------
    size : int or tuple of int, default=224
        New size in pixels: ``(height, width)``, or one number for squares.
    method : {"stretch", "letterbox"}, default="stretch"
        "stretch" fills the whole size; "letterbox" keeps the aspect ratio, centers the image and
        masks the bars at two sides, so that features of the region ignore them.

    See Also
    --------
    ImageLoader : Read images from files.

    Notes
    -----
    Sides that shrink are averaged over the area that a new pixel covers (OpenCV's ``INTER_AREA``),
    which prevents aliasing of fine texture; sides that grow are interpolated linearly. Dtype and
    value range are kept: integers are rounded to whole levels, and a bool image stays black and
    white. The mask of a masked image is resized, too, and pixels outside the region do not bleed
    into it.

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

    # 2: integers are rounded to the nearest level where a side grows; half a pixel is inside.
    _algorithm_version = 2

    _parameter_constraints = {
        "size": [PairOf(POSITIVE_INTEGER)],
        "method": [StrOptions(set(get_args(_Method)))],
    }

    def __init__(self, size: int | tuple[int, ...] = 224, *, method: _Method = "stretch") -> None:
        self.size = size
        self.method = method

    def _transform_image(self, image):
        function = letterbox if self.method == "letterbox" else resize
        return function(image, as_pair(self.size))

    def map_boxes(self, boxes: ArrayLike, image: np.ndarray) -> np.ndarray:
        """Map boxes of the resized image back to the image.

        Parameters
        ----------
        boxes : array_like of shape (n_boxes, 4)
            Top, left, bottom and right of boxes in the resized image, in pixels.
        image : ndarray
            The original image.

        Returns
        -------
        ndarray of float of shape (n_boxes, 4)
            The same boxes in the image, without the bars of a letterbox.
        """
        window = [slice(0, side) for side in as_pair(self.size)]
        if self.method == "letterbox":
            window = letterbox_window(image.shape[:2], as_pair(self.size))
        start = [part.start for part in window] * 2
        inner = [part.stop - part.start for part in window] * 2
        shares = (super().map_boxes(boxes, image) - start) / inner
        return np.clip(shares, 0, 1) * np.tile(image.shape[:2], 2)


class Resample(ImageTransformer):
    """Bring all images to one spacing: a pixel covers equally many millimeters in each of them.

    The first step of a pipeline, since arrays that come out of other steps have no spacing. That of
    an image is what its file states (DICOM, and where they can be trusted TIFF and PNG, see
    `featbus.io.read_spacing`), or what a `featbus.io.SpacedImage` says. An image of unknown spacing
    is an error.

    Read more in the :ref:`User Guide <millimeters>`.

    Parameters
    ----------
    spacing : float or (float, float), default=0.1
        New distance in millimeters between rows and between columns; one number for square pixels.

    See Also
    --------
    Resize : Bring images to one size in pixels.
    ShapeStatistics : Lengths and areas in millimeters, by its own parameter `spacing`.
    featbus.io.SpacedImage : An image with a spacing that is known from elsewhere.

    Notes
    -----
    The new height is ``round(height * old / spacing)`` pixels, so is the width, and the image fills
    them: its corners stay, no pixel is cut off, and centers are not shifted. Pixels are thus of the
    wanted size up to half a pixel in the whole height or width: 0.1 % of 500 pixels.

    Pixels are computed as `Resize` does: averaged over the area that a new one covers where a side
    shrinks, interpolated linearly where it grows. Dtype and range stay. A mask is resampled, too:
    a new pixel is inside if at least half of what it covers is.

    An image that would have no pixels, or more than `featbus.io.read_image` reads, is an error: its
    spacing is usually in another unit.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import Resample
    >>> from featbus.io import SpacedImage
    >>> near = SpacedImage(np.zeros((300, 400), np.uint8), 0.1)
    >>> deep = SpacedImage(np.zeros((300, 400), np.uint8), (0.2, 0.15))
    >>> [image.shape for image in Resample(0.2).transform([near, deep])]
    [(150, 200), (300, 300)]
    """

    _parameter_constraints = {"spacing": [PairOf(Interval(Real, 0, None, closed="neither"))]}

    def __init__(self, spacing: float | tuple[float, float] = 0.1) -> None:
        self.spacing = spacing

    def _iter_images(self, batch):
        for index, item in enumerate(batch):
            with at_index(index, item):
                yield SpacedImage(read_item(item, index), self._spacing_of(item))

    def _spacing_of(self, item):
        """Return the spacing of an item of a batch."""
        found = read_spacing(item) if is_path(item) else getattr(item, "spacing", None)
        if found is None:
            raise ImageError(
                "found no spacing, expected a DICOM, TIFF or PNG file that states it, or a "
                "featbus.io.SpacedImage. Make Resample the first step of the pipeline."
            )
        return found

    def _transform_image(self, image):
        return resize(image.image, self._new_size(image))

    def _new_size(self, image):
        """Return height and width of a `SpacedImage` after the step."""
        sides = image.image.shape[:2]
        both = zip(sides, image.spacing, as_pair(self.spacing))
        size = [side * old / new for side, old, new in both]
        if min(size) <= 0.5 or math.prod(size) > pixel_limit():
            raise ImageError(
                f"found {sides} pixels of {image.spacing} mm, thus {size} of {self.spacing} mm, "
                f"expected 1 to {pixel_limit()}. Check the units; {VARIABLE} raises the limit."
            )
        return [round(side) for side in size]

    def map_boxes(self, boxes: ArrayLike, image: Any) -> np.ndarray:
        """Map boxes of the resampled image back to the image.

        Parameters
        ----------
        boxes : array_like of shape (n_boxes, 4)
            Top, left, bottom and right of boxes in the resampled image, in pixels.
        image : ndarray, path or SpacedImage
            The original item of the batch.

        Returns
        -------
        ndarray of float of shape (n_boxes, 4)
            The same boxes in the image.
        """
        (image,) = self._iter_images([image])
        ratio = np.divide(image.image.shape[:2], self._new_size(image))
        return super().map_boxes(boxes, None) * np.tile(ratio, 2)
