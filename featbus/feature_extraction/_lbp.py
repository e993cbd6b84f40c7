"""Local binary patterns."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import lru_cache, partial
from numbers import Integral, Real
from typing import Literal

import cv2
import numpy as np
from numpy.typing import DTypeLike

from featbus.base import Column, FeatureExtractor
from featbus.color import to_gray
from featbus.images import ImageError
from featbus.masks import inside_mask
from featbus.parameters import (
    POSITIVE_INTEGER,
    Interval,
    InvalidParameterError,
    PairOf,
    SequenceOf,
    StrOptions,
    as_list,
    as_pair,
)

# Coordinates on the circle are multiples of 1e-5 pixel. Interpolated between integers, a neighbor
# and its center differ by a multiple of 1e-10 gray level. In double precision the first of the two
# interpolations is exact, counted in these units, and the error of the second is below 3e-11 (four
# roundings of at most 65535): with half of 1e-10 added, comparisons are exact.
_UNIT = 10**5
# Relative difference from a neighbor that counts as a tie in floating-point images. In double
# precision: a few roundings of the interpolation. In single precision the pixels themselves are
# rounded, by up to 6e-8. Twice that would cover all ties, and true differences of 1e-5 gray level,
# which the rounded coordinates cause. 4e-8 changes the fewest codes of 8-bit ultrasound images.
_ROUNDING = {"float32": 4e-8, "float64": 4 * np.finfo(np.float64).eps}
# Most pixels, and most bits, of a strip of rows: intermediate arrays fit the cache. Smaller strips
# are no faster, and threads would wait for each other after each short step.
_STRIP_PIXELS, _STRIP_BITS = 160_000, 3_000_000


@lru_cache(maxsize=64)
def _circle(n_points, radius):
    """Return the neighbors' offsets as whole pixels and units to add, each (n_points, 2)."""
    # Single precision and rounding: the points must be those of scikit-image to the last digit.
    radius = float(np.float32(radius))
    angles = 2 * np.pi * np.arange(n_points) / n_points
    offsets = np.stack([-radius * np.sin(angles), radius * np.cos(angles)], axis=1)
    return np.divmod(np.rint(offsets * _UNIT).astype(np.int64), _UNIT)


def _reach(n_points, radius):
    """Return how far the neighbors lie beyond their center: up, left, down and right."""
    whole, part = _circle(n_points, radius)
    # Between two pixels, both count.
    first, last = whole.min(axis=0), (whole + (part > 0)).max(axis=0)
    return np.concatenate([np.minimum(first, 0), np.maximum(last, 0)])


class _Strip:
    """Rows of an image, with zeros beyond its border, and their neighbors on the circle.

    Pixels and results are flat: a neighbor is a shift, plus interpolation. Results include the
    columns of zeros; `crop` removes them.
    """

    def __init__(self, height, width, n_points, radius):
        whole, part = _circle(n_points, radius)
        self._points = np.concatenate([whole, part], axis=1).tolist()
        self.n_points, self._width = n_points, width
        self._reach = int(np.abs(whole).max())
        n_pixels = min(_STRIP_PIXELS, _STRIP_BITS // n_points)
        n_rows = -(-height // min(height * width // n_pixels + 1, height))
        # The rows around the strip must not be many more than those in it.
        self.n_rows = min(max(n_rows, 4 * self._reach), height)
        # The zero columns left of a row also pad the row above on the right. One more column, as
        # interpolation reads the next pixel even if its weight is 0.
        self._stride = width + self._reach + 1
        self._n_padded = (self.n_rows + 2 * self._reach + 1) * self._stride
        self.size = self.n_rows * self._stride
        self._pixels = np.zeros((1, self._n_padded + 2 * self._reach + 1))
        self._across = np.empty((1, self._n_padded))
        self._value = np.empty((1, self.size))
        self._bits = np.empty((n_points, self.size), bool)

    def _neighbors(self, divisor, tie):
        """Yield the index and the values of each neighbor.

        Interpolated values are divided by `divisor`, in units of ``1 / _UNIT**2``, and `tie` is
        added. The next step overwrites them.

        The order is 0, 1, -1, 2, -2 and so on: two neighbors in the same columns follow each other
        and share the interpolation between columns.
        """
        columns = None
        for step in range(self.n_points):
            index = (step + 1) // 2 if step % 2 else -(step // 2) % self.n_points
            row, column, down, right = self._points[index]
            if not (down or right):
                yield index, self._shifted(row, column)
                continue
            if columns != (column, right):
                columns, start = (column, right), self._reach + column
                here = self._pixels[:, start : start + self._n_padded]
                beside = self._pixels[:, start + 1 : start + 1 + self._n_padded]
                cv2.addWeighted(here, _UNIT - right, beside, right, 0, self._across)
            start = (self._reach + row) * self._stride
            above = self._across[:, start : start + self.size]
            below = self._across[:, start + self._stride : start + self._stride + self.size]
            weights = (_UNIT - down) / divisor, down / divisor
            cv2.addWeighted(above, weights[0], below, weights[1], tie, self._value)
            yield index, self._value[0]

    def _shifted(self, row, column):
        start = (self._reach + row) * self._stride + self._reach + column
        return self._pixels[0, start : start + self.size]

    def load(self, image, top):
        """Load the rows from `top`; rows below the image are 0."""
        first = max(top - self._reach, 0)
        last = min(top + self.n_rows + self._reach, len(image))
        shift = self._reach - top
        padded = self._pixels[0, : self._n_padded].reshape(-1, self._stride)
        padded[: first + shift] = 0
        padded[first + shift : last + shift, self._reach : -1] = image[first:last]
        padded[last + shift :] = 0
        self._divisor = _UNIT**2 / (1 + _ROUNDING.get(image.dtype.name, 0))
        self._tie = 0 if image.dtype.kind == "f" else 0.5 / _UNIT**2

    def crop(self, values):
        """Return the values of the image's pixels, as ``(rows, columns)``."""
        return values.reshape(self.n_rows, self._stride)[:, : self._width]

    def bits(self):
        """Return the neighbors' bits: 1 where at least as bright as the center.

        An array ``(n_points, size)`` of bytes, which the next call overwrites.
        """
        center = self._shifted(0, 0)
        for index, value in self._neighbors(self._divisor, self._tie):
            np.greater_equal(value, center, out=self._bits[index])
        return self._bits.view(np.uint8)

    def variance(self):
        """Return the variance of each pixel's neighbors."""
        first, total, squares = None, 0, 0
        for _, value in self._neighbors(_UNIT**2, 0):
            # The first is subtracted, so that the difference of the two means loses no digits.
            first = value.copy() if first is None else first
            difference = value - first
            total = total + difference
            squares = squares + np.square(difference, out=difference)
        return np.maximum(squares / self.n_points - (total / self.n_points) ** 2, 0)


def _default(strip):
    """Return the bits as a number, the first neighbor's the lowest."""
    dtype = np.min_scalar_type(2**strip.n_points - 1)
    codes = np.zeros(strip.size, dtype)
    for index, bit in enumerate(strip.bits()):
        codes |= np.left_shift(bit, index, dtype=dtype)
    return codes


def _ror(strip):
    """Return the smallest number among all rotations of the bits."""
    codes = _default(strip)
    smallest = codes.copy()
    for _ in range(strip.n_points - 1):
        codes = (codes >> 1) | ((codes & 1) << (strip.n_points - 1))
        np.minimum(smallest, codes, out=smallest)
    return smallest


def _changes(bits):
    """Count how often adjacent bits differ, once around the circle."""
    changes = bits[0] ^ bits[-1]
    for first in range(1, len(bits), 4):  # a few at a time, to save memory
        changed = bits[first : first + 4] ^ bits[first - 1 : -1][:4]
        changes += changed.sum(axis=0, dtype=np.uint8)
    return changes


def _uniform(strip):
    """Return the number of bright neighbors; ``n_points + 1`` where they form several runs."""
    bits = strip.bits()
    ones = bits.sum(axis=0, dtype=np.uint8)
    several = (_changes(bits) > 2).view(np.uint8)
    # `where=` is slower.
    return np.maximum(ones, several * np.uint8(strip.n_points + 1), out=ones)


def _nri_uniform(strip):
    """Number the runs of bright neighbors by length, then by where on the circle they begin."""
    n_points, bits = strip.n_points, strip.bits()
    ones = bits.sum(axis=0, dtype=np.int32)
    begin = np.zeros(strip.size, np.uint8)
    for index, bit in enumerate(bits):
        begin += (bit & ~bits[index - 1]) * np.uint8(index)
    codes = (ones - 1) * n_points + 1 + -begin.astype(np.int32) % n_points
    np.maximum(codes, 0, out=codes)
    np.copyto(codes, n_points * (n_points - 1) + 2, where=_changes(bits) > 2)
    return codes


def _variance_bin(strip, n_bins, full_scale):
    """Return the octave of the standard deviation, counted down from half the full scale."""
    # Rounding errors must not move a variance on an edge into the octave below.
    edges = full_scale**2 * 4.0 ** np.arange(-n_bins, -1) * (1 - 1e-9)
    return np.digitize(strip.variance(), edges)


# Of each method: the function that encodes the patterns, and the number of codes.
_METHODS = {
    "default": (_default, lambda n_points: 2**n_points),
    "ror": (_ror, lambda n_points: 2**n_points),
    "uniform": (_uniform, lambda n_points: n_points + 2),
    "nri_uniform": (_nri_uniform, lambda n_points: n_points * (n_points - 1) + 3),
    "var": (None, None),
}
_POINTS = Interval(Integral, 1, 254, closed="both")
_RADIUS = Interval(Real, 0, None, closed="neither")


def _encode(image, n_points, radius, encode, dtype):
    """Return the codes of a gray image, computed strip by strip."""
    strip = _STRIPS.make(*image.shape, n_points, float(radius))
    codes = np.empty(image.shape, dtype)
    for top in range(0, len(image), strip.n_rows):
        strip.load(image, top)
        rows = codes[top : top + strip.n_rows]
        rows[:] = strip.crop(encode(strip))[: len(rows)]
    return codes


class _Strips(threading.local):
    """The last two strips of each thread: to allocate one takes longer than to compute with it."""

    def __init__(self):
        self.make = lru_cache(maxsize=2)(_Strip)


_STRIPS = _Strips()


def _circle_inside(inside, n_points, radius):
    """Return which pixels are inside the region with all pixels that their neighbors depend on."""
    whole, part = _circle(n_points, radius)
    # Between two pixels, both count.
    corners = [whole + (part > 0) * corner for corner in ((0, 0), (0, 1), (1, 0), (1, 1))]
    offsets = np.concatenate([[(0, 0)], *corners])
    reach = np.abs(offsets).max()
    footprint = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    footprint[tuple((offsets + reach).T)] = 1
    # Pixels beyond the border are treated as inside.
    return cv2.erode(inside.astype(np.uint8), footprint, borderValue=1)


def _histogram(codes, counted, n_codes):
    """Count the codes, of the pixels where `counted` is not 0."""
    counts = np.zeros(n_codes)
    # OpenCV counts in single precision, exact to 2**24.
    n_rows = max(2**20 // codes.shape[1], 1)
    for top in range(0, len(codes), n_rows):
        rows = slice(top, top + n_rows)
        mask = None if counted is None else counted[rows]
        counts += cv2.calcHist([codes[rows]], [0], mask, [n_codes], [0, n_codes]).ravel()
    return counts


class LBP(FeatureExtractor):
    """Histogram of local binary patterns.

    Each pixel is compared with neighbors on a circle; which of them are at least as bright is its
    pattern ([1]_). The histogram of the patterns describes the texture, independent of brightness.

    Read more in the :ref:`User Guide <lbp>`.

    Parameters
    ----------
    n_points : int or sequence of int, default=8
        Number of neighbors on the circle, up to 254. A sequence for several scales in one row.
    radius : float or sequence of float, default=1
        Radius of the circle in pixels; as many as `n_points` where both are sequences.
    method : {"default", "ror", "uniform", "nri_uniform", "var"}, default="uniform"
        Which patterns share a column. "default": none (``2**n_points`` columns, at most 16
        points). "ror": those that are rotations of each other (as many columns, most of which are
        always 0). "uniform": those whose bright neighbors form one run of the same length; all
        others share the last column (``n_points + 2``). "nri_uniform": the same, but rotations are
        distinguished (``n_points * (n_points - 1) + 3``, [2]_). "var": contrast instead of
        patterns, the standard deviation of the neighbors in octaves (`n_bins` columns).
    cells : int or tuple of int, default=(1, 1)
        Rows and columns of a grid of cells, as equal as whole pixels allow, each with its own
        histogram; one number for as many rows as columns.
    n_bins : int, default=8
        Number of octaves of "var", up to 64. The last is from 1/4 to 1/2 of full scale (255, 65535
        or 1), the one before from 1/8 to 1/4, and so on; the first has everything below. 8 octaves
        reach down to one level of 8 bits, 16 to one of 16 bits.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows.

    See Also
    --------
    HOG : Histograms of oriented gradients.

    Notes
    -----
    Columns are named ``lbp_p8_r1_u03``: 8 points, radius 1, uniform pattern of 3 bright neighbors.
    With several cells, ``lbp_p8_r1_c01_02_u03`` is the same in cell row 1, cell column 2. `where`
    returns the cell and what the circles of its pixels reach: all pixels that can change the
    column.

    Neighbors beyond the image's border are 0, as in scikit-image. In a masked image, only pixels
    whose whole circle is inside the region are used. The histogram of a cell sums to 1; that of a
    cell without such a pixel is all 0, and a region without any is an error. Color images are
    converted to their luma.

    Codes equal those of `skimage.feature.local_binary_pattern`, except at ties. For integer images,
    comparisons are exact: a neighbor whose interpolated brightness equals the center's is always at
    least as bright. scikit-image interpolates in floating point, so that such a tie is bright or
    dark depending on its position in the image ([3]_). (In 16-bit images, scikit-image's rounding
    also hides true differences below 1e-8 gray level.) In floating-point images, neighbors darker
    by less than 4e-8 (``float32``) or 9e-16 (``float64``) of their brightness count as ties.

    References
    ----------
    .. [1] Ojala T, Pietikainen M, Maenpaa T. Multiresolution gray-scale and rotation invariant
       texture classification with local binary patterns. IEEE TPAMI 24 (2002) 971-987,
       doi:10.1109/TPAMI.2002.1017623.
    .. [2] Ahonen T, Hadid A, Pietikainen M. Face description with local binary patterns. IEEE TPAMI
       28 (2006) 2037-2041, doi:10.1109/TPAMI.2006.244.
    .. [3] Inconsistent results of local binary patterns, scikit-image issue 2522,
       https://github.com/scikit-image/scikit-image/issues/2522.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import LBP
    >>> flat = np.full((32, 32), 100, np.uint8)
    >>> rows = LBP().fit_transform([flat])
    >>> rows.shape, round(float(rows.sum()), 6)
    ((1, 10), 1.0)
    >>> str(LBP().get_feature_names_out()[3])
    'lbp_p8_r1_u03'
    >>> LBP(n_points=(8, 16, 24), radius=(1, 2, 3)).fit_transform([flat]).shape
    (1, 54)
    """

    # 4: ties in single precision.
    # 5: all circles inside a region count, not only those whose bounding square is inside;
    # variances on the edge of an octave.
    _algorithm_version = 5

    _parameter_constraints = {
        "n_points": [_POINTS, SequenceOf(_POINTS)],
        "radius": [_RADIUS, SequenceOf(_RADIUS)],
        "method": [StrOptions(set(_METHODS))],
        "cells": [PairOf(POSITIVE_INTEGER)],
        "n_bins": [Interval(Integral, 1, 64, closed="both")],
    }

    def __init__(
        self,
        *,
        n_points: int | Sequence[int] = 8,
        radius: float | Sequence[float] = 1,
        method: Literal["default", "ror", "uniform", "nri_uniform", "var"] = "uniform",
        cells: int | tuple[int, ...] = (1, 1),
        n_bins: int = 8,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.n_points = n_points
        self.radius = radius
        self.method = method
        self.cells = cells
        self.n_bins = n_bins
        self.dtype = dtype

    def _check_parameters(self):
        super()._check_parameters()
        n_points, radii = as_list(self.n_points), as_list(self.radius)
        if 1 != len(n_points) != len(radii) != 1:
            raise InvalidParameterError(
                f"n_points is {self.n_points!r}, expected as many as radius={self.radius!r}."
            )
        if self.method in ("default", "ror") and max(n_points) > 16:
            raise InvalidParameterError(
                f"n_points is {self.n_points!r}, expected at most 16 for method={self.method!r}."
            )

    def _extract(self, image):
        scales = self._scales()
        self._check_size(image, max(radius for _, radius in scales))
        inside = inside_mask(image)
        pixels = np.ma.getdata(to_gray(image))
        if inside is not None and pixels.dtype.kind == "f":
            # Interpolation gives a pixel beside the circle no weight, but 0 * NaN is NaN.
            pixels = np.where(inside, pixels, 0)
        return np.concatenate([self._histograms(pixels, inside, *scale) for scale in scales])

    def _histograms(self, pixels, inside, n_points, radius):
        """Return the normalized histograms of the cells, one after the other."""
        n_codes = self._n_codes(n_points)
        encode, _ = _METHODS[self.method]
        if self.method == "var":
            full_scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
            encode = partial(_variance_bin, n_bins=n_codes, full_scale=full_scale)
        codes = _encode(pixels, n_points, radius, encode, np.min_scalar_type(n_codes - 1))
        counted = None if inside is None else _circle_inside(inside, n_points, radius)
        cells = self._cells(pixels.shape)
        counts = np.empty((len(cells), n_codes))
        for index, (top, left, bottom, right) in enumerate(cells):
            cell = np.s_[top:bottom, left:right]
            within = None if counted is None else counted[cell]
            counts[index] = _histogram(codes[cell], within, n_codes)
        if not counts.any():
            raise ImageError(
                f"found no circle of radius {radius:g} in the region, expected at least one pixel "
                "whose neighbors are all inside. Use a larger region or a smaller radius."
            )
        return (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).ravel()

    def _scales(self):
        """Return the number of points and the radius of each scale."""
        scales = np.broadcast(as_list(self.n_points), as_list(self.radius))
        return [(int(n_points), float(radius)) for n_points, radius in scales]

    def _n_codes(self, n_points):
        return int(self.n_bins) if self.method == "var" else _METHODS[self.method][1](n_points)

    def _check_size(self, image, radius):
        # Pixels beyond the border are black: some neighbor has to lie inside.
        height, width = (max(n, math.floor(radius) + 1) for n in as_pair(self.cells))
        if image.shape[0] < height or image.shape[1] < width:
            raise ImageError(
                f"found {image.shape[0]} x {image.shape[1]} pixels, expected at least {height} x "
                f"{width}. Use larger images, a smaller radius or fewer cells."
            )

    def _cells(self, image_shape):
        """Return top, left, bottom and right of each cell, row by row."""
        cells, shape = as_pair(self.cells), image_shape[:2]
        corner = np.stack(np.indices(cells), axis=-1).reshape(-1, 2)
        return np.hstack([corner * shape // cells, (corner + 1) * shape // cells])

    def _boxes(self, image_shape):
        return self._grow(image_shape, lambda n_points, radius: 0)

    def _reached_boxes(self, image_shape):
        return self._grow(image_shape, _reach)

    def _grow(self, image_shape, reach):
        """Return the box of each column's cell, larger by `reach` of its points and radius."""
        cells = self._cells(image_shape)
        boxes = [
            np.repeat(cells + reach(*scale), self._n_codes(scale[0]), axis=0)
            for scale in self._scales()
        ]
        return np.clip(np.concatenate(boxes), 0, [*image_shape[:2]] * 2)

    def _columns(self):
        rows, columns = as_pair(self.cells)
        cells = [f"c{row:02d}_{column:02d}_" for row in range(rows) for column in range(columns)]
        for n_points, radius in self._scales():
            n_codes = self._n_codes(n_points)
            digits = max(2, len(str(n_codes - 1)))
            scale = f"{n_points} points at radius {radius:g}, {self.method}"
            for cell in cells if len(cells) > 1 else [""]:
                for code in range(n_codes):
                    yield Column(
                        f"lbp_p{n_points}_r{radius:g}_{cell}{self.method[0]}{code:0{digits}d}",
                        f"pattern {code} of {scale}",
                    )
