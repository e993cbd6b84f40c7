"""Images of one pixel size."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from featbus.base import ImageTransformer
from featbus.images import ImageError, at_index, is_path
from featbus.io import SpacedImage, read_item, read_spacing
from featbus.io._files import VARIABLE, pixel_limit
from featbus.parameters import Interval, PairOf, as_pair
from featbus.resizing import resize

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import ArrayLike

_MILLIMETERS = PairOf(Interval(Real, 0, None, closed="neither"))


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

    _parameter_constraints = {"spacing": [_MILLIMETERS]}

    def __init__(self, spacing: float | tuple[float, float] = 0.1) -> None:
        self.spacing = spacing

    def _iter_images(self, batch):
        for index, item in enumerate(batch):
            with at_index(index, item):
                yield SpacedImage(read_item(item, index), self._spacing_of(item))

    def _spacing_of(self, item):
        """Return the spacing of an item of a batch."""
        if isinstance(item, SpacedImage):
            found = item.spacing
        else:
            found = read_spacing(item) if is_path(item) else None
        if found is None:
            raise ImageError(
                "found no spacing, expected a DICOM, TIFF or PNG file that states it, or "
                "featbus.io.SpacedImage(image, (row, column)), in millimeters. Make Resample the "
                "first step: other steps, ImageAugmenter and TestTimeAugmentation pass on arrays, "
                "which have none."
            )
        return found

    def _transform_image(self, image):
        return resize(image.image, self._new_size(image))

    def _new_size(self, image):
        """Return height and width of a `SpacedImage` after the step."""
        sides = image.image.shape[:2]
        both = zip(sides, image.spacing, as_pair(self.spacing))
        exact = [side * old / new for side, old, new in both]
        size = [round(min(side, 2.0**53)) for side in exact]  # infinity cannot be rounded
        if not 0 < size[0] * size[1] <= pixel_limit():
            raise ImageError(
                f"found {sides[0]} x {sides[1]} pixels of {image.spacing[0]:g} x "
                f"{image.spacing[1]:g} mm, which would become {size[0]:.7g} x {size[1]:.7g} pixels "
                f"of spacing={self.spacing}, expected 1 to {pixel_limit()} in all. Check that both "
                f"are in millimeters; {VARIABLE} raises the limit."
            )
        return size

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
