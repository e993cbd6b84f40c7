"""Filters against noise."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from featbus.base import ImageTransformer
from featbus.parameters import Interval, StrOptions
from featbus.preprocessing._pixels import OddSize, as_float, map_pixels

if TYPE_CHECKING:
    from typing import Literal

# Largest window whose median OpenCV takes of 16-bit and float32 pixels.
_OPENCV_MEDIAN = 5
_SEARCH_DISTANCE = 6
_BORDER = cv2.BORDER_REPLICATE


def _median(pixels, size, strength):
    if pixels.dtype == np.uint8 or (size <= _OPENCV_MEDIAN and pixels.dtype != np.float64):
        return cv2.medianBlur(pixels, size)
    window = (size, size, 1)[: pixels.ndim]
    return ndimage.median_filter(pixels, window, mode="nearest")


def _gaussian(pixels, size, strength):
    return cv2.GaussianBlur(pixels, (size, size), _deviation(size), borderType=_BORDER)


def _deviation(size):
    """Return the standard deviation that OpenCV takes for a window of a size."""
    return 0.3 * ((size - 1) * 0.5 - 1) + 0.8


def _bilateral(pixels, size, strength):
    # At 8 bits OpenCV 5 rounds down. Of colors it adds up the differences of the channels.
    pixels = as_float(pixels).astype(np.float32, copy=False)
    strength = strength * (3 if pixels.ndim == 3 else 1)
    return cv2.bilateralFilter(pixels, size, strength, size / 4, borderType=_BORDER)


def _nlmeans(pixels, size, strength):
    height, width = pixels.shape[:2]
    # scikit-image takes a single row or column for a signal.
    padding = [(0, int(height == 1)), (0, int(width == 1)), (0, 0)][: pixels.ndim]
    smooth = denoise_nl_means(
        np.pad(as_float(pixels), padding, mode="edge"),
        patch_size=size,
        patch_distance=_SEARCH_DISTANCE,
        h=strength,
        channel_axis=-1 if pixels.ndim == 3 else None,
    )
    return smooth[:height, :width]


def _tv(pixels, size, strength):
    return denoise_tv_chambolle(
        as_float(pixels), weight=strength, channel_axis=-1 if pixels.ndim == 3 else None
    )


_METHODS = {
    "median": _median,
    "gaussian": _gaussian,
    "bilateral": _bilateral,
    "nlmeans": _nlmeans,
    "tv": _tv,
}


class Denoise(ImageTransformer):
    """Smooth noise away.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    method : {"median", "gaussian", "bilateral", "nlmeans", "tv"}, default="median"
        "median" of a window; "gaussian", a weighted mean of it; "bilateral", which leaves out
        pixels of other brightness [1]_; "nlmeans", the mean of pixels whose surroundings look
        alike [2]_; "tv", the least total variation near the image [3]_.
    size : int, default=5
        Side of the window in pixels, an odd number; of "nlmeans" that of the surroundings that are
        compared. "tv" has no window.
    strength : float, default=0.1
        How much brightness may differ, as a share of the range: the standard deviation of
        "bilateral", the cut-off ``h`` of "nlmeans", the weight of "tv". Larger smooths more. Not
        used by "median" and "gaussian".

    See Also
    --------
    Despeckle : Filters for noise that grows with the signal, as speckle does.

    Notes
    -----
    Computed by OpenCV ("median", "gaussian", "bilateral") and scikit-image ("nlmeans" with patches
    up to 6 pixels away, "tv"). The standard deviation of the Gaussian is the one that OpenCV
    derives from `size`, ``0.3 (size / 2 - 1.5) + 0.8`` pixels; that of "bilateral" is a quarter of
    `size`.

    Dtype and range stay. Beyond the border of the image, or of its mask, the nearest pixel inside
    counts; "nlmeans" reflects the image at its border, and "tv" has no border condition beyond that
    of a mask, whose outside is filtered together with its inside. The channels of a color image are
    smoothed one by one by "median" and "gaussian", and together by the others. The same image in
    another dtype comes out equal to within 2/255.

    References
    ----------
    .. [1] Tomasi C, Manduchi R. Bilateral filtering for gray and color images. ICCV 1998, 839-846.
    .. [2] Buades A, Coll B, Morel J-M. A non-local algorithm for image denoising. CVPR 2005, 60-65.
    .. [3] Chambolle A. An algorithm for total variation minimization and applications. Journal of
       Mathematical Imaging and Vision 20 (2004) 89-97.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import Denoise
    >>> image = np.full((5, 5), 100, np.uint8)
    >>> image[2, 2] = 255
    >>> int(Denoise("median", size=3).transform([image]).max())
    100
    """

    _parameter_constraints = {
        "method": [StrOptions(set(_METHODS))],
        "size": [OddSize(1, 255)],
        "strength": [Interval(Real, 1e-6, 1e3, closed="both")],
    }

    def __init__(
        self,
        method: Literal["median", "gaussian", "bilateral", "nlmeans", "tv"] = "median",
        *,
        size: int = 5,
        strength: float = 0.1,
    ) -> None:
        self.method = method
        self.size = size
        self.strength = strength

    def _transform_image(self, image):
        function = _METHODS[self.method]
        return map_pixels(lambda pixels: function(pixels, self.size, self.strength), image)
