"""Steps that change brightness and contrast."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Literal, get_args

import cv2
import numpy as np
from skimage.exposure import cumulative_distribution
from skimage.filters import threshold_local

from featbus.base import ImageTransformer
from featbus.color import to_float, to_gray
from featbus.images import MAXIMUM
from featbus.masks import inside_mask, with_mask_of
from featbus.parameters import Interval, LowHigh, PairOf, StrOptions, as_pair
from featbus.preprocessing._pixels import (
    OddSize,
    PixelTransformer,
    as_float,
    convert,
    extend,
    map_values,
)

_Mean = Literal["gaussian", "mean"]


class HistogramEqualizer(PixelTransformer):
    """Spread the gray values evenly over the range.

    Read more in the :ref:`User Guide <enhancement>`.

    See Also
    --------
    CLAHE : Equalization tile by tile, with limited contrast.
    ContrastStretch : A linear mapping.

    Notes
    -----
    Each gray value becomes the share of the pixels that are as dark or darker, as in
    `skimage.exposure.equalize_hist`; only pixels inside the mask are used. Integers have one bin
    per level, floating-point images 256 bins from their smallest to their largest value, with
    linear interpolation between them: the results differ from those of the same image at 8 bits,
    most where many pixels share a value. Dtype and range are kept. For color images, the luma is
    equalized and all channels change by the same amount.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import HistogramEqualizer
    >>> dark = np.array([[0, 1], [2, 3]], np.uint8)
    >>> HistogramEqualizer().transform([dark])[0]
    array([[ 64, 128],
           [191, 255]], dtype=uint8)
    """

    _luma = True

    def _change(self, pixels, inside):
        values = pixels[inside]
        # There are no 256 bins between rounding errors of one gray value.
        values = values.flat[:1] if pixels.dtype.kind == "f" and np.ptp(values) < 1e-6 else values
        shares, centers = cumulative_distribution(values)
        centers = centers / MAXIMUM[pixels.dtype.name]
        return map_values(lambda values: np.interp(values, centers, shares), pixels)


class GammaCorrection(PixelTransformer):
    """Brighten or darken the middle of the range by a power law.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    gamma : float, default=0.5
        Each value ``v`` of the range 0..1 becomes ``v ** gamma``: below 1 brightens, above 1
        darkens.

    See Also
    --------
    ContrastStretch : A linear mapping.

    Notes
    -----
    The function of `skimage.exposure.adjust_gamma`. Dtype and range are kept; results of the same
    image in different dtypes are equal to within one half of a level. Pixels do not depend on each
    other, so a mask has no effect and is kept.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import GammaCorrection
    >>> GammaCorrection(0.5).transform([np.array([[0.0, 0.25, 1.0]])])[0]
    array([[0. , 0.5, 1. ]])
    """

    _parameter_constraints = {"gamma": [Interval(Real, 0.01, 100, closed="both")]}

    def __init__(self, gamma: float = 0.5) -> None:
        self.gamma = gamma

    def _change(self, pixels, inside):
        return map_values(lambda values: values**self.gamma, pixels)


class ContrastStretch(PixelTransformer):
    """Stretch the contrast linearly between two percentiles.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    percentiles : tuple of float, default=(2, 98)
        Percentiles that become black and white. Values beyond them are clipped.

    See Also
    --------
    Normalize : The same, with floating-point images as the result.
    HistogramEqualizer : A mapping that follows the histogram.

    Notes
    -----
    Only pixels inside the mask are used; the channels of a color image are stretched alike. Dtype
    and range are kept; results of the same image in different dtypes are equal to within one half
    of a level. An image whose two percentiles are equal becomes black.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import ContrastStretch
    >>> faint = np.array([[100, 110, 120]], np.uint8)
    >>> ContrastStretch((0, 100)).transform([faint])[0]
    array([[  0, 128, 255]], dtype=uint8)
    """

    _parameter_constraints = {"percentiles": [LowHigh(0, 100)]}

    def __init__(self, percentiles: tuple[float, ...] = (2, 98)) -> None:
        self.percentiles = percentiles

    def _change(self, pixels, inside):
        limits = np.percentile(pixels[inside], self.percentiles) / MAXIMUM[pixels.dtype.name]

        def stretch(values):
            low, high = limits.astype(values.dtype)
            return (
                np.clip((values - low) / (high - low), 0, 1)
                if high > low
                else np.zeros_like(values)
            )

        return map_values(stretch, pixels)


class Normalize(ContrastStretch):
    """Stretch the values of each image to the whole range 0..1.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    percentiles : tuple of float, default=(0, 100)
        Percentiles that become 0 and 1; by default, the smallest and the largest value. Values
        beyond them are clipped.

    See Also
    --------
    ContrastStretch : The same, with the dtype of the image as the result.

    Notes
    -----
    The result is ``float32``, or ``float64`` for a ``float64`` image. Only pixels inside the mask
    are used; the channels of a color image are normalized alike. An image of one value becomes 0.
    Results of the same image in different dtypes are equal to within 1e-6.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import Normalize
    >>> Normalize().transform([np.array([[100, 110, 120]], np.uint8)])[0]
    array([[0. , 0.5, 1. ]], dtype=float32)
    """

    def __init__(self, percentiles: tuple[float, ...] = (0, 100)) -> None:
        self.percentiles = percentiles

    def _transform_image(self, image):
        # Single precision would leave only a few digits of a narrow range.
        result = super()._transform_image(to_float(image, np.float64))
        return to_float(result, np.float64 if image.dtype == np.float64 else np.float32)


def _fill_tiles(gray, inside, grid):
    """Fill each tile with its pixels inside the mask, so that its histogram is theirs."""
    filled, sides = gray.copy(), np.array(gray.shape)
    # OpenCV pads an image whose sides are not multiples of the grid.
    height, width = sides // grid + (sides % grid).any()
    for row, column in np.ndindex(*grid):
        window = np.s_[row * height : (row + 1) * height, column * width : (column + 1) * width]
        own = inside[window]
        values = gray[window][own]
        missing = own.size - values.size
        if values.size and missing:
            filled[window][~own] = values[np.arange(missing) * values.size // missing]
    return filled


class CLAHE(PixelTransformer):
    """Raise the local contrast: contrast-limited adaptive histogram equalization.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    clip_limit : float, default=2.0
        How far the contrast of a tile can rise: the bins of its histogram are cut off at this
        multiple of their mean, and what is cut off is spread over all bins.
    tile_grid_size : int or tuple of int, default=8
        Number of tiles: ``(rows, columns)``, or one number for both.

    See Also
    --------
    HistogramEqualizer : The same mapping for the whole image.
    ContrastStretch : A linear mapping.

    Notes
    -----
    Computed by OpenCV [1]_. Dtype and range are kept. For color images, the luma is equalized and
    all channels change by the same amount. In masked images, the histogram of each tile is that of
    its pixels inside the mask; a tile without any takes the nearest pixels inside.

    8-bit images have 256 levels, and so have bool ones. 16-bit images have 65,536, and so have
    floating-point ones, which come out equal to within one of these levels. No level of a tile
    counts fewer than one pixel: in tiles of fewer than ``65536 / clip_limit`` pixels, 16-bit
    images are limited less than `clip_limit` says, and differ from the same image at 8 bits.

    References
    ----------
    .. [1] Zuiderveld K. Contrast limited adaptive histogram equalization. In: Graphics Gems IV,
       Academic Press, 1994, 474-485.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import CLAHE
    >>> faint = np.tile(np.arange(100, 132, dtype=np.uint8), (32, 1))
    >>> clear = CLAHE(tile_grid_size=1).transform([faint])
    >>> int(np.ptp(faint)), int(np.ptp(clear))
    (31, 85)
    """

    _luma = True
    _parameter_constraints = {
        "clip_limit": [Interval(Real, 0, None, closed="neither")],
        "tile_grid_size": [PairOf(Interval(Integral, 1, None, closed="left"))],
    }

    def __init__(
        self, clip_limit: float = 2.0, *, tile_grid_size: int | tuple[int, ...] = 8
    ) -> None:
        self.clip_limit = clip_limit
        self.tile_grid_size = tile_grid_size

    def _change(self, gray, inside):
        rows, columns = as_pair(self.tile_grid_size)
        if gray.dtype.kind == "f":
            gray = convert(gray, np.dtype(np.uint16))
        if inside is not ...:
            gray = _fill_tiles(gray, inside, (rows, columns))
        # A limit of all pixels of a tile is none. OpenCV's integers would overflow above it.
        clip_limit = min(self.clip_limit, np.iinfo(gray.dtype).max + 1)
        return cv2.createCLAHE(clip_limit, (columns, rows)).apply(gray)


class AdaptiveThreshold(ImageTransformer):
    """Find the pixels that are brighter than their surroundings.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    size : int, default=35
        Side of the window around each pixel, an odd number of pixels.
    method : {"gaussian", "mean"}, default="gaussian"
        Mean of the window with Gaussian weights, or with equal ones.
    offset : float, default=0.0
        The threshold of a pixel is the mean of its window minus `offset`, a share of the range.
        With an offset of 0, no pixel of a flat region is above it.

    See Also
    --------
    CLAHE : Raise the local contrast without a threshold.

    Notes
    -----
    The result is a bool image, with the mask of the image if it has one, and False outside.
    Thresholds are computed by `skimage.filters.threshold_local` with ``mode="nearest"``, from the
    luma of color images. Beyond the border of the image, or of its mask, the nearest pixel inside
    is repeated. Results of the same image in different dtypes differ at most in pixels within 1e-6
    of the threshold.

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
        "size": [OddSize(3, 4095)],
        "method": [StrOptions(set(get_args(_Mean)))],
        "offset": [Interval(Real, -1, 1, closed="both")],
    }

    def __init__(self, size: int = 35, *, method: _Mean = "gaussian", offset: float = 0.0) -> None:
        self.size = size
        self.method = method
        self.offset = offset

    def _transform_image(self, image):
        gray = to_gray(as_float(image))
        pixels = extend(gray)
        # Rounding errors must not make flat regions brighter than their surroundings.
        offset = self.offset - 1e-6
        found = pixels > threshold_local(pixels, self.size, self.method, offset, mode="nearest")
        inside = inside_mask(gray)
        return with_mask_of(found if inside is None else found & inside, gray)
