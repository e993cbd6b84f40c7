"""Energy of the frequencies of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from featbus.base import Column, FeatureExtractor
from featbus.color import to_float, to_gray
from featbus.feature_extraction._texture import bounding_box
from featbus.masks import inside_mask
from featbus.parameters import POSITIVE_INTEGER

# Of the brightness: a smaller range is rounding errors.
SMALLEST_RANGE = 1e-6


def region_box(image):
    """Return brightness and region in the bounding box of the region of a checked image.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image. Color images are converted to their luma.

    Returns
    -------
    pixels : ndarray of float64 of shape (height, width)
        Brightness, 0..1 in an image; 0 outside the region.
    inside : ndarray of bool of shape (height, width)
        True inside the region.
    """
    inside = inside_mask(image)
    inside = np.ones(image.shape[:2], bool) if inside is None else inside
    box = bounding_box(inside)
    pixels = np.ma.getdata(to_float(to_gray(image[box]), np.float64))
    return np.where(inside[box], pixels, 0), inside[box]


def _window(n):
    """Return Hann's window at the centers of n pixels, positive everywhere."""
    return np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2


def power_spectrum(pixels, inside):
    """Return the power spectrum of a region, without the frequency 0 and those above 1/2.

    Parameters
    ----------
    pixels : ndarray of float64 of shape (height, width)
        Brightness.
    inside : ndarray of bool of shape (height, width)
        True inside the region. Pixels outside count as the mean of the region.

    Returns
    -------
    power, frequency, angle : ndarray of shape (n_frequencies,)
        Squared magnitudes of the Fourier transform of the pixels, their mean removed, times Hann's
        window in both directions; frequencies in cycles per pixel; and the angle in radians, from
        -pi to pi, between the axis of columns and the direction in which the brightness changes,
        counterclockwise as displayed. The power of an even region is 0.
    """
    height, width = pixels.shape
    window = np.outer(_window(height), _window(width)) * inside
    deviation = pixels - np.average(pixels, weights=window)
    if np.ptp(pixels[inside]) < SMALLEST_RANGE:
        deviation[:] = 0
    power = np.abs(np.fft.fft2(deviation * window)) ** 2
    down, across = np.fft.fftfreq(height)[:, np.newaxis], np.fft.fftfreq(width)
    frequency, angle = np.hypot(down, across), np.arctan2(-down, across)
    kept = (frequency > 0) & (frequency <= 0.5)
    return power[kept], frequency[kept], angle[kept]


class FourierEnergy(FeatureExtractor):
    """Energy of rings and wedges of the power spectrum: how fine and in which direction.

    Shares of the energy by frequency say how fine the texture is, shares by angle which direction
    it has ([1]_).

    Read more in the :ref:`User Guide <fourier>`.

    Parameters
    ----------
    n_rings : int, default=8
        Number of bands of frequency of equal width, from 0 to 0.5 cycles per pixel.
    n_wedges : int, default=8
        Number of sectors of equal width of the angles from 0 to 180 degrees.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.

    See Also
    --------
    FractalDimension : How fast the energy falls with the frequency.
    HOG : Directions of edges, by position.

    Notes
    -----
    Columns are named ``fourier_ring_01``, from the lowest frequencies, and ``fourier_wedge_045``,
    by the angle of the middle of the wedge in degrees: the direction in which the brightness
    changes, counterclockwise from the axis of columns. Vertical stripes are in
    ``fourier_wedge_000``.

    The power spectrum is that of the bounding box of the region, or of the whole image: the mean of
    the region is removed, pixels outside are 0, and Hann's window fades the border. The frequency 0
    and those above 0.5 cycles per pixel, in the corners of the spectrum, are left out. Rings add up
    to 1, and so do wedges; all are 0 in an image of one brightness. Gain and offset of the image do
    not matter. The outline of a small or ragged region has an energy of its own, mostly in the
    first rings.

    Color images are converted to their luma.

    References
    ----------
    .. [1] Weszka JS, Dyer CR, Rosenfeld A. A comparative study of texture measures for terrain
       classification. IEEE Transactions on Systems, Man, and Cybernetics 6 (1976) 269-285,
       doi:10.1109/TSMC.1976.5408777.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import FourierEnergy
    >>> stripes = np.tile(np.array([0, 0, 255, 255], np.uint8), (64, 16))
    >>> fourier = FourierEnergy(n_rings=5, n_wedges=4).set_output(transform="pandas")
    >>> row = fourier.fit_transform([stripes])
    >>> row[["fourier_ring_03", "fourier_wedge_000", "fourier_wedge_090"]].round(2)
       fourier_ring_03  fourier_wedge_000  fourier_wedge_090
    0              1.0                1.0                0.0
    """

    _parameter_constraints = {"n_rings": [POSITIVE_INTEGER], "n_wedges": [POSITIVE_INTEGER]}

    def __init__(
        self, *, n_rings: int = 8, n_wedges: int = 8, dtype: DTypeLike = np.float32
    ) -> None:
        self.n_rings = n_rings
        self.n_wedges = n_wedges
        self.dtype = dtype

    def _extract(self, image):
        power, frequency, angle = power_spectrum(*region_box(image))
        # A frequency at the border of two parts belongs to the upper one, whatever its rounding.
        ring = np.floor(2 * frequency * self.n_rings + 1e-9).astype(int)
        wedge = np.floor(angle / np.pi * self.n_wedges + 0.5 + 1e-9).astype(int)
        rings = np.bincount(np.minimum(ring, self.n_rings - 1), power, self.n_rings)
        wedges = np.bincount(wedge % self.n_wedges, power, self.n_wedges)
        return np.concatenate([rings, wedges]) / (power.sum() or 1)

    def _columns(self):
        width = 0.5 / self.n_rings
        for index in range(self.n_rings):
            band = f"{index * width:.3g} to {(index + 1) * width:.3g}"
            yield Column(f"fourier_ring_{index + 1:02}", f"energy of {band} cycles per pixel")
        for index in range(self.n_wedges):
            degrees = f"{180 * index / self.n_wedges:05.1f}".removesuffix(".0")
            yield Column(f"fourier_wedge_{degrees}", f"energy at {degrees} degrees")
