"""Zernike moments of a region."""

from __future__ import annotations

from math import factorial
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from featbus.base import Column, FeatureExtractor
from featbus.feature_extraction._fourier import region_box
from featbus.parameters import Interval


def _orders(degree):
    """Return all n and m but (0, 0), which is the same for all images."""
    return [(n, m) for n in range(1, degree + 1) for m in range(n % 2, n + 1, 2)]


def zernike_magnitudes(values: ArrayLike, points: ArrayLike, degree: int) -> np.ndarray:
    """Compute magnitudes of the Zernike moments of values in the unit disc ([1]_, equation 6).

    Parameters
    ----------
    values : array_like of shape (n_points,)
        Values, 0 or larger; their sum is scaled to 1.
    points : array_like of complex of shape (n_points,)
        Where they are.
    degree : int
        The largest n, at least 1.

    Returns
    -------
    ndarray of shape (n_moments,)
        For n from 1 and m from 0 or 1 to n in steps of 2; 0 if all values are 0.

    References
    ----------
    .. [1] Khotanzad A, Hong YH. Invariant image recognition by Zernike moments. IEEE Transactions
       on Pattern Analysis and Machine Intelligence 12 (1990) 489-497, doi:10.1109/34.55109.

    Examples
    --------
    >>> from featbus.feature_extraction._zernike import zernike_magnitudes
    >>> zernike_magnitudes([1, 1], [0.5, -0.5], degree=2).round(3)
    array([0.   , 0.477, 0.239])
    """
    values, points = np.asarray(values, np.float64), np.asarray(points)
    values = values / (values.sum() or 1)
    # Entry [k, m] sums the values times r ** (2 k + m) and the angle's factor.
    sums, n_parts = 0, len(points) // 2**18 + 1
    for some, weights in zip(np.array_split(points, n_parts), np.array_split(values, n_parts)):
        even = np.vander(np.abs(some) ** 2, degree // 2 + 1, increasing=True)
        turns = np.vander(np.conj(some), degree + 1, increasing=True)
        sums = sums + (even * weights[:, np.newaxis]).T @ turns
    magnitudes = []
    for n, m in _orders(degree):
        radial = 0
        for k in range((n - m) // 2 + 1):
            below = factorial(k) * factorial((n + m) // 2 - k) * factorial((n - m) // 2 - k)
            radial += (-1) ** k * factorial(n - k) / below * sums[(n - m) // 2 - k, m]
        magnitudes.append((n + 1) / np.pi * abs(radial))
    return np.array(magnitudes)


class ZernikeMoments(FeatureExtractor):
    """Zernike moments: how a region, or its brightness, is spread in a disc.

    Magnitudes of the coefficients of orthogonal polynomials in a disc around the region ([1]_).
    They do not change as the image is rotated.

    Read more in the :ref:`User Guide <zernike>`.

    Parameters
    ----------
    degree : int, default=8
        The highest degree of the polynomials, up to 20: the higher, the finer the details.
    outline : bool, default=False
        Whether to ignore the brightness: all pixels of the region count alike, and the moments
        describe its shape.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.

    See Also
    --------
    ShapeStatistics : Hu's moments of the region.

    Notes
    -----
    Columns are named ``zernike_n04_m02``, by the degree and the frequency of the angle; the moment
    0, 0 is the same for all images and left out. Degree 8 has 24 columns.

    The disc is centered on the centroid of the region, and contains all of its pixels: the radius
    is the distance to the center of the farthest pixel, plus half a pixel. Size and position of the
    region do not matter, except by rounding to pixels. Brightness is divided by its sum: the gain
    does not matter, the offset does. In a black region, all moments are 0.

    Only pixels inside the mask are used. Without a mask, the region is the whole image. Color
    images are converted to their luma.

    References
    ----------
    .. [1] Khotanzad A, Hong YH. Invariant image recognition by Zernike moments. IEEE Transactions
       on Pattern Analysis and Machine Intelligence 12 (1990) 489-497, doi:10.1109/34.55109.

    Examples
    --------
    >>> from featbus import ZernikeMoments, load_masked, make_breast_ultrasound
    >>> data = make_breast_ultrasound(4, weights=[1, 1, 0], random_state=0)
    >>> zernike = ZernikeMoments(outline=True)
    >>> zernike.fit_transform(load_masked(data)).shape
    (4, 24)
    >>> str(zernike.get_feature_names_out()[1])
    'zernike_n02_m00'
    """

    _parameter_constraints = {
        "degree": [Interval(Integral, 1, 20, closed="both")],
        "outline": ["boolean"],
    }

    def __init__(
        self, *, degree: int = 8, outline: bool = False, dtype: DTypeLike = np.float32
    ) -> None:
        self.degree = degree
        self.outline = outline
        self.dtype = dtype

    def _extract(self, image):
        pixels, inside = region_box(image)
        row, column = np.nonzero(inside)
        points = (column - column.mean()) - 1j * (row - row.mean())
        points /= np.abs(points).max() + 0.5
        values = np.ones(len(points)) if self.outline else pixels[inside]
        return zernike_magnitudes(values, points, self.degree)

    def _columns(self):
        for n, m in _orders(self.degree):
            yield Column(f"zernike_n{n:02}_m{m:02}", f"Zernike moment of degree {n}, frequency {m}")
