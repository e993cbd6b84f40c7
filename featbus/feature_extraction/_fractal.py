"""Fractal dimensions of a region."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike
from scipy.ndimage import binary_erosion

from featbus.base import Column, FeatureExtractor
from featbus.feature_extraction._density import bright_threshold
from featbus.feature_extraction._fourier import SMALLEST_RANGE, power_spectrum, region_box
from featbus.images import ImageError

_SMALLEST_SIDE = 8  # of the bounding box: two sizes of boxes
_NAMES = {
    "outline": "box counting of the outline of the region",
    "bright": "box counting of the bright part",
    "surface": "differential box counting of the brightness",
    "spectrum": "slope of the power spectrum",
}


def _merge(boxes, nothing):
    """Merge the boxes of a grid, or of several, by fours: the largest value of each four."""
    height, width = boxes.shape[-2:]
    margins = [(0, 0)] * (boxes.ndim - 2) + [(0, height % 2), (0, width % 2)]
    boxes = np.pad(boxes, margins, constant_values=nothing)
    rows = np.maximum(boxes[..., ::2, :], boxes[..., 1::2, :])
    return np.maximum(rows[..., ::2], rows[..., 1::2])


def _slope(x, y):
    """Return the slope of the line of least squares."""
    x = x - np.mean(x)
    return x @ y / (x @ x)


def _sizes(shape):
    """Return the sides of boxes: powers of 2, up to a quarter of the shorter side."""
    return 2 ** np.arange(int(np.log2(min(shape) / 4)) + 1)


def box_dimension(inside):
    """Return the box-counting dimension of a set of pixels ([1]_).

    Parameters
    ----------
    inside : ndarray of bool of shape (height, width)
        The set. Boxes have sides of 1, 2, 4, ... pixels, up to a quarter of the shorter side.

    Returns
    -------
    float
        Minus the slope of the logarithm of the number of boxes that hold a pixel of the set, over
        that of their side; 0 for an empty set.

    References
    ----------
    .. [1] Falconer K. Fractal Geometry. Wiley (2003), section 3.1, doi:10.1002/0470013850.
    """
    if not inside.any():
        return 0.0
    sizes, counts = _sizes(inside.shape), []
    for _ in sizes:
        counts.append(np.count_nonzero(inside))
        inside = _merge(inside, False)
    return -_slope(np.log(sizes), np.log(counts))


def surface_dimension(pixels, inside):
    """Return the dimension of the brightness by differential box counting ([1]_, [2]_).

    Parameters
    ----------
    pixels : ndarray of float64 of shape (height, width)
        Brightness.
    inside : ndarray of bool of shape (height, width)
        True inside the region.

    Returns
    -------
    float
        3 minus the slope of the logarithm of the mean range of brightness in a box, over that of
        its side; 2 for a region of one brightness, and if only the largest boxes hold several.

    Notes
    -----
    A column of boxes of side s that the surface passes has ``range / s`` boxes, not rounded to
    whole ones as in [1]_: rounding up makes all surfaces smoother. Boxes share the pixels at their
    borders, and gain and offset do not matter.

    References
    ----------
    .. [1] Sarkar N, Chaudhuri BB. An efficient differential box-counting approach to compute
       fractal dimension of image. IEEE Transactions on Systems, Man, and Cybernetics 24 (1994)
       115-120, doi:10.1109/21.259692.
    .. [2] Dubuc B, Zucker SW, Tricot C, Quiniou JF, Wehbi D. Evaluating the fractal dimension of
       surfaces. Proceedings of the Royal Society A 425 (1989) 113-127,
       doi:10.1098/rspa.1989.0101.
    """
    if np.ptp(pixels[inside]) < SMALLEST_RANGE:
        return 2.0
    tops = np.where(inside, [pixels, -pixels], -np.inf)
    # A box of side 1 has a pixel at each of its corners.
    tops = np.maximum(tops[:, :-1], tops[:, 1:])
    tops = np.maximum(tops[..., :-1], tops[..., 1:])
    points = []
    for size in _sizes(pixels.shape):
        spans = tops.sum(axis=0)
        points.append((size, spans[np.isfinite(spans)].mean()))
        tops = _merge(tops, -np.inf)
    # Small boxes may hold one brightness each.
    logs = np.log([point for point in points if point[1] > 0])
    return 3 - _slope(*logs.T) if len(logs) > 1 else 2.0


def spectrum_dimension(pixels, inside):
    """Return the fractal dimension by the slope of the power spectrum ([1]_).

    Parameters
    ----------
    pixels : ndarray of float64 of shape (height, width)
        Brightness.
    inside : ndarray of bool of shape (height, width)
        True inside the region.

    Returns
    -------
    float
        ``4 - b / 2`` if the power falls as the frequency to the power of ``-b``; 2 for a region of
        one brightness.

    References
    ----------
    .. [1] Pentland AP. Fractal-based description of natural scenes. IEEE Transactions on Pattern
       Analysis and Machine Intelligence 6 (1984) 661-674, doi:10.1109/TPAMI.1984.4767591.
    """
    power, frequency, _ = power_spectrum(pixels, inside)
    if not power.any():
        return 2.0
    ring = np.rint(frequency * min(pixels.shape)).astype(int)
    mean = np.bincount(ring, power) / np.maximum(np.bincount(ring), 1)
    # Hann's window mixes frequencies that differ by less than 2 cycles per side.
    rings = np.arange(2, min(pixels.shape) // 2 + 1)
    return 4 + _slope(np.log(rings), np.log(mean[rings] + 1e-12 * mean.max())) / 2


class FractalDimension(FeatureExtractor):
    """Fractal dimensions of the outline and of the brightness of a region.

    How fast details become more numerous as they become smaller: a smooth outline has the dimension
    1, a smooth surface 2, and roughness adds to it ([1]_).

    Read more in the :ref:`User Guide <fractal>`.

    Parameters
    ----------
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.

    See Also
    --------
    FourierEnergy : The energy of each band of frequencies.
    ShapeStatistics : Circularity and solidity of the region.

    Notes
    -----
    Columns:

    - ``fractal_outline``, about 1 to 2: box counting of the outline of the region, its pixels that
      have a neighbor outside, along rows or columns. Of an image without a mask, that is the frame;
    - ``fractal_bright``, 0 to 2: box counting of the pixels of the region that are brighter than
      Otsu's threshold of it, in 8 bits; 0 if there are none;
    - ``fractal_surface``, 2 to 3: differential box counting of the brightness ([2]_), without
      rounding to whole boxes: 3 minus the slope of the mean range of brightness in a box. Of rough
      surfaces it is too small, about 2.5 instead of 2.8: a box of few pixels misses their peaks;
    - ``fractal_spectrum``: ``4 - b / 2`` if the power falls as the frequency to the power of ``-b``
      ([3]_). 2 to 3 for a fractal surface, 4 for noise, and below 2 for a smooth one.

    All are slopes of a line of least squares through logarithms. Boxes have sides of 1, 2, 4, ...
    pixels, up to a quarter of the shorter side of the region's bounding box, with a corner at its
    top left. The power spectrum is that of `FourierEnergy`, averaged over directions, from 2 cycles
    per shorter side to 0.5 cycles per pixel. A region of one brightness has the dimension 2.

    Only pixels inside the mask are used. Gain and offset of the image do not matter, except by
    rounding. Color images are converted to their luma. A region less than 8 pixels high or wide is
    an `ImageError`.

    References
    ----------
    .. [1] Mandelbrot BB. The Fractal Geometry of Nature. Freeman (1982).
    .. [2] Sarkar N, Chaudhuri BB. An efficient differential box-counting approach to compute
       fractal dimension of image. IEEE Transactions on Systems, Man, and Cybernetics 24 (1994)
       115-120, doi:10.1109/21.259692.
    .. [3] Pentland AP. Fractal-based description of natural scenes. IEEE Transactions on Pattern
       Analysis and Machine Intelligence 6 (1984) 661-674, doi:10.1109/TPAMI.1984.4767591.

    Examples
    --------
    >>> from featbus import FractalDimension, load_masked, make_breast_ultrasound
    >>> data = make_breast_ultrasound(4, weights=[1, 1, 0], random_state=0)
    >>> fractal = FractalDimension()
    >>> fractal.fit_transform(load_masked(data)).shape
    (4, 4)
    >>> fractal.get_feature_names_out().tolist()
    ['fractal_outline', 'fractal_bright', 'fractal_surface', 'fractal_spectrum']
    """

    def __init__(self, *, dtype: DTypeLike = np.float32) -> None:
        self.dtype = dtype

    def _extract(self, image):
        pixels, inside = region_box(image)
        if min(pixels.shape) < _SMALLEST_SIDE:
            raise ImageError(
                f"found a region of {pixels.shape[0]} x {pixels.shape[1]} pixels, expected at "
                f"least {_SMALLEST_SIDE} in both directions for boxes of two sizes."
            )
        bright = (pixels > bright_threshold(pixels[inside])) & inside
        return np.array(
            [
                box_dimension(inside & ~binary_erosion(inside)),
                box_dimension(bright),
                surface_dimension(pixels, inside),
                spectrum_dimension(pixels, inside),
            ]
        )

    def _columns(self):
        for name, what in _NAMES.items():
            yield Column(f"fractal_{name}", what)
