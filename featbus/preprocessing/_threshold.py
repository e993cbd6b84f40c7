"""Adaptive thresholding."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING

import cv2
import numpy as np

from featbus.base import ImageTransformer
from featbus.color import to_gray
from featbus.masks import inside_mask, with_mask_of
from featbus.parameters import Interval, StrOptions
from featbus.preprocessing._denoise import check_odd
from featbus.preprocessing._pixels import as_float, extend

if TYPE_CHECKING:
    from typing import Literal

_BORDER = cv2.BORDER_REPLICATE
_ROUNDING = 1e-6


class AdaptiveThreshold(ImageTransformer):
    """Find the pixels that are brighter than their surroundings.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    size : int, default=35
        Side of the window that a pixel is compared with, an odd number of pixels.
    method : {"gaussian", "mean"}, default="gaussian"
        What is taken of the window: a mean with Gaussian weights, or the mean.
    offset : float, default=0.0
        A pixel must be brighter than the window by more than ``-offset``, as a share of the range;
        in a flat region with an offset of 0, none is.

    See Also
    --------
    CLAHE : Raise the local contrast without a threshold.

    Notes
    -----
    The result is a bool image, with the mask of the image if it has one: False outside. It is that
    of `skimage.filters.threshold_local` with ``mode="nearest"``. Of a color image, the luma counts.
    Beyond the border of the image, or of its mask, the nearest pixel inside counts. The same image
    in another dtype gives the same result, but for pixels within 1e-6 of the threshold.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import AdaptiveThreshold
    >>> ramp_with_dot = np.linspace(0, 200, 49).reshape(7, 7).astype(np.uint8)
    >>> ramp_with_dot[3, 3] = 255
    >>> found = AdaptiveThreshold(5, method="mean", offset=-0.2).transform([ramp_with_dot])[0]
    >>> found.dtype, np.argwhere(found).tolist()
    (dtype('bool'), [[3, 3]])
    """

    _parameter_constraints = {
        "size": [Interval(Integral, 3, 4095, closed="both")],
        "method": [StrOptions({"gaussian", "mean"})],
        "offset": [Interval(Real, -1, 1, closed="both")],
    }

    def __init__(
        self,
        size: int = 35,
        *,
        method: Literal["gaussian", "mean"] = "gaussian",
        offset: float = 0.0,
    ) -> None:
        self.size = size
        self.method = method
        self.offset = offset

    def _check_parameters(self):
        super()._check_parameters()
        check_odd("size", self.size)

    def _transform_image(self, image):
        gray = to_gray(as_float(image))
        pixels = extend(gray)
        window = (self.size, self.size)
        if self.method == "mean":
            local = cv2.blur(pixels, window, borderType=_BORDER)
        else:
            # Standard deviation and reach are those of scikit-image for a window of this size.
            sigma = (self.size - 1) / 6
            reach = 2 * int(4 * sigma + 0.5) + 1
            local = cv2.GaussianBlur(pixels, (reach, reach), sigma, borderType=_BORDER)
        # Rounding errors must not make flat regions brighter than their surroundings.
        found = np.subtract(pixels, local, out=local) > _ROUNDING - self.offset
        inside = inside_mask(gray)
        return with_mask_of(found if inside is None else found & inside, gray)
