"""Contrast-limited adaptive histogram equalization."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real

import cv2
import numpy as np

from featbus.base import ImageTransformer
from featbus.masks import inside_mask
from featbus.parameters import Interval, PairOf, as_pair
from featbus.preprocessing._pixels import convert, map_pixels


def _tile_windows(shape, grid):
    """Yield the rows and columns of each tile, as OpenCV divides an image into tiles."""
    if any(side % count for side, count in zip(shape, grid)):
        shape = [side + count - side % count for side, count in zip(shape, grid)]
    height, width = (side // count for side, count in zip(shape, grid))
    for row in range(grid[0]):
        for column in range(grid[1]):
            yield (
                slice(row * height, (row + 1) * height),
                slice(column * width, (column + 1) * width),
            )


def _fill_tiles(gray, inside, grid):
    """Fill each tile with its pixels inside the mask, which leaves its histogram to these."""
    filled = gray.copy()
    for window in _tile_windows(gray.shape, grid):
        own = inside[window]
        values = gray[window][own]
        missing = own.size - values.size
        if values.size and missing:
            filled[window][~own] = values[np.arange(missing) * values.size // missing]
    return filled


class CLAHE(ImageTransformer):
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
    Computed by OpenCV [1]_. Dtype and range stay. Of a color image the luma is equalized, and all
    channels change by as much. Of a masked image, the histogram of each tile is that of its pixels
    inside the mask; a tile without any has those of the nearest pixels inside.

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

    _parameter_constraints = {
        "clip_limit": [Interval(Real, 0, None, closed="neither")],
        "tile_grid_size": [PairOf(Interval(Integral, 1, None, closed="left"))],
    }

    def __init__(
        self, clip_limit: float = 2.0, *, tile_grid_size: int | tuple[int, ...] = 8
    ) -> None:
        self.clip_limit = clip_limit
        self.tile_grid_size = tile_grid_size

    def _transform_image(self, image):
        return map_pixels(partial(self._equalize, inside=inside_mask(image)), image, luma=True)

    def _equalize(self, gray, inside):
        rows, columns = as_pair(self.tile_grid_size)
        if gray.dtype.kind == "f":
            gray = convert(gray, np.dtype(np.uint16))
        if inside is not None:
            gray = _fill_tiles(gray, inside, (rows, columns))
        # A limit of all pixels of a tile is none. OpenCV's integers would overflow above it.
        clip_limit = min(self.clip_limit, np.iinfo(gray.dtype).max + 1)
        return cv2.createCLAHE(clip_limit, (columns, rows)).apply(gray)
