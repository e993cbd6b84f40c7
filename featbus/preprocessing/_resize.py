"""Images of one size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featbus.base import ImageTransformer
from featbus.parameters import POSITIVE_INTEGER, PairOf, StrOptions, as_pair
from featbus.resizing import letterbox, letterbox_window, resize

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import ArrayLike


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
        "method": [StrOptions({"stretch", "letterbox"})],
    }

    def __init__(
        self,
        size: int | tuple[int, ...] = 224,
        *,
        method: Literal["stretch", "letterbox"] = "stretch",
    ) -> None:
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
        image_shape, size = image.shape[:2], as_pair(self.size)
        rows, columns = slice(0, size[0]), slice(0, size[1])
        if self.method == "letterbox":
            rows, columns = letterbox_window(image_shape, size)
        start = np.array([rows.start, columns.start] * 2)
        inner = np.array([rows.stop - rows.start, columns.stop - columns.start] * 2)
        shares = (np.asarray(boxes, dtype=np.float64).reshape(-1, 4) - start) / inner
        return np.clip(shares, 0, 1) * np.tile(image_shape, 2)
