"""Local binary patterns."""

import math
import threading
from collections import OrderedDict
from functools import lru_cache, partial
from numbers import Integral

import cv2
import numpy as np

from featbus.base import FeatureExtractor
from featbus.images import check_image, inside_mask, to_gray

# Coordinates on the circle are multiples of 1e-5 pixel. Interpolated between integers, a neighbour
# and its centre differ by a multiple of 1e-10 grey level. In double precision the first of the two
# interpolations is exact, counted in these units, and the second errs by less than 3e-11 (four
# roundings of at most 65535): with half of 1e-10 added, comparisons are exact.
_UNIT = 10**5
# Of floating-point pixels from 0 to 1, a few roundings of a neighbour's interpolated brightness.
_ROUNDING = 4 * np.finfo(np.float64).eps
# Most pixels of a strip of rows, and most bits: what is computed with them stays in the cache.
# Smaller strips are no faster, and several threads would wait for each other after each short step.
_STRIP_PIXELS, _STRIP_BITS = 80_000, 1_000_000
_KEPT = threading.local()


@lru_cache(maxsize=64)
def _circle(n_points, radius):
    """Return the neighbours' offsets as whole pixels and units to add, each (n_points, 2)."""
    # Single precision and rounding: the points must be those of scikit-image to the last digit.
    radius = float(np.float32(radius))
    angles = 2 * np.pi * np.arange(n_points) / n_points
    offsets = np.stack([-radius * np.sin(angles), radius * np.cos(angles)], axis=1)
    return np.divmod(np.rint(offsets * _UNIT).astype(np.int64), _UNIT)


class _Strip:
    """Rows of an image, with zeros beyond its border, and their neighbours on the circle.

    Pixels and results are flat: a neighbour is a shift, plus interpolation. Results include the
    columns of zeros; `crop` takes them off.
    """

    def __init__(self, n_rows, width, circle):
        whole, part = circle
        self.n_points = len(whole)
        self.n_rows, self._width = n_rows, width
        self._reach = int(np.abs(whole).max())
        # The zero columns on the left of a row serve as those on the right of the row above; one
        # more column, as interpolation reads the next pixel even if its weight is 0.
        self._stride = width + self._reach + 1
        self._n_padded = (n_rows + 2 * self._reach + 1) * self._stride
        self.size = n_rows * self._stride
        self._pixels = np.zeros((1, self._n_padded + 2 * self._reach + 1))
        self._across = np.empty((1, self._n_padded))
        self._value = np.empty((1, self.size))
        self._bits = np.empty((self.n_points, self.size), bool)
        self._points = self._plan(np.concatenate([whole, part], axis=1).tolist())

    def _plan(self, points):
        """Return for each neighbour its index, what to interpolate, and the pixels if it is whole.

        The order is 0, 1, -1, 2, -2 and so on: two that lie in the same columns follow each other,
        and share the interpolation between columns.
        """
        plan, columns = [], None
        for step in range(self.n_points):
            index = (step + 1) // 2 if step % 2 else -(step // 2) % self.n_points
            row, column, down, right = points[index]
            between_columns = None
            if (column, right) != columns:
                start = self._reach + column
                here = self._pixels[:, start : start + self._n_padded]
                beside = self._pixels[:, start + 1 : start + 1 + self._n_padded]
                between_columns = here, _UNIT - right, beside, right, 0, self._across
            start = (self._reach + row) * self._stride
            above = self._across[:, start : start + self.size]
            below = self._across[:, start + self._stride : start + self._stride + self.size]
            whole = None if down or right else self._shifted(row, column)
            # `bits` does not interpolate for a whole neighbour: nothing to share.
            columns = (column, right) if whole is None else None
            plan.append((index, between_columns, (above, _UNIT - down, below, down), whole))
        return plan

    def _shifted(self, row, column):
        start = (self._reach + row) * self._stride + self._reach + column
        return self._pixels[:, start : start + self.size]

    def load(self, image, top):
        """Read the rows from `top`; those below the image are 0."""
        first = max(top - self._reach, 0)
        last = min(top + self.n_rows + self._reach, len(image))
        shift = self._reach - top
        padded = self._pixels[0, : self._n_padded].reshape(-1, self._stride)
        padded[: first + shift] = 0
        padded[first + shift : last + shift, self._reach : -1] = image[first:last]
        padded[last + shift :] = 0
        self._tie = _ROUNDING if image.dtype.kind == "f" else 0.5 / _UNIT**2

    def crop(self, values):
        """Return what belongs to the pixels of the image, as ``(rows, columns)``."""
        return values.reshape(self.n_rows, self._stride)[:, : self._width]

    def bits(self):
        """Return the neighbours' bits: 1 where as bright as the centre or brighter.

        An array ``(n_points, size)`` of bytes, the same for each call.
        """
        centre = self._shifted(0, 0)[0]
        for index, between_columns, (above, rest, below, down), whole in self._points:
            if whole is None:
                if between_columns:
                    cv2.addWeighted(*between_columns)
                rest, down = rest / _UNIT**2, down / _UNIT**2
                cv2.addWeighted(above, rest, below, down, self._tie, self._value)
            value = self._value if whole is None else whole
            np.greater_equal(value[0], centre, out=self._bits[index])
        return self._bits.view(np.uint8)

    def variance(self):
        """Return the variance of each pixel's neighbours."""
        first, total, squares = None, 0, 0
        for _, between_columns, between_rows, _ in self._points:
            if between_columns:
                cv2.addWeighted(*between_columns)
            # Not divided by _UNIT**2: sums of integers are exact, and equal neighbours have 0. The
            # first is subtracted from all; as it is one of those that vary, the difference of the
            # two means below loses no digits.
            value = cv2.addWeighted(*between_rows, 0)
            first = value.copy() if first is None else first
            value -= first
            total = total + value
            squares = squares + np.square(value, out=value)
        variance = squares / self.n_points - (total / self.n_points) ** 2
        return np.maximum(variance, 0, out=variance) / float(_UNIT) ** 4


def _default(strip):
    """Return the bits as a number, the first neighbour's the lowest."""
    dtype = np.min_scalar_type(2**strip.n_points - 1)
    codes = np.zeros(strip.size, dtype)
    for index, bit in enumerate(strip.bits()):
        codes |= np.left_shift(bit, index, dtype=dtype)
    return codes


def _ror(strip):
    """Return the smallest number that the bits have in any rotation."""
    codes = _default(strip)
    smallest = codes.copy()
    for _ in range(strip.n_points - 1):
        codes = (codes >> 1) | ((codes & 1) << (strip.n_points - 1))
        np.minimum(smallest, codes, out=smallest)
    return smallest


def _changes(bits):
    """Count how often neighbouring bits differ, once around the circle."""
    changes = bits[0] ^ bits[-1]
    for first in range(1, len(bits), 8):  # a few at a time: they take memory
        changed = bits[first : first + 8] ^ bits[first - 1 : -1][:8]
        changes += changed.sum(axis=0, dtype=np.uint8)
    return changes


def _uniform(strip):
    """Return the number of bright neighbours; where these are several runs, one more than all."""
    bits = strip.bits()
    ones = bits.sum(axis=0, dtype=np.uint8)
    several = (_changes(bits) > 2).view(np.uint8)
    # Not `where=`, which is slower.
    return np.maximum(ones, several * np.uint8(strip.n_points + 1), out=ones)


def _nri_uniform(strip):
    """Number the runs of bright neighbours by length, then by where on the circle they begin."""
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
    """Return in which octave below half the full scale the standard deviation lies."""
    edges = full_scale**2 * 4.0 ** np.arange(-n_bins, -1)
    return np.digitize(strip.variance(), edges)


def _variance(strip):
    """Return the variance of the neighbours, NaN where it is 0."""
    variance = strip.variance()
    variance[variance == 0] = np.nan
    return variance


# What numbers the patterns, how many numbers there are, and their letter in the columns' names.
_METHODS = {
    "default": (_default, lambda n_points: 2**n_points, "d"),
    "ror": (_ror, lambda n_points: 2**n_points, "r"),
    "uniform": (_uniform, lambda n_points: n_points + 2, "u"),
    "nri_uniform": (_nri_uniform, lambda n_points: n_points * (n_points - 1) + 3, "n"),
    "var": (_variance, None, "v"),
}


def _check_parameters(n_points, radius, method):
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}, expected one of {sorted(_METHODS)}.")
    most = 62 if method in ("default", "ror") else 254
    if not isinstance(n_points, Integral) or not 1 <= n_points <= most:
        raise ValueError(
            f"n_points is {n_points!r}, expected an integer from 1 to {most} for method={method!r}."
        )
    if not 0 < radius < np.inf:
        raise ValueError(f"radius is {radius!r}, expected a positive number of pixels.")


def _encode(image, n_points, radius, encode, dtype):
    """Return the codes of a grey image, computed strip by strip."""
    strip = _strip(image.shape, n_points, radius)
    codes = np.empty(image.shape, dtype)
    for top in range(0, len(image), strip.n_rows):
        strip.load(image, top)
        rows = codes[top : top + strip.n_rows]
        rows[:] = strip.crop(encode(strip))[: len(rows)]
    return codes


def _strip(shape, n_points, radius):
    """Return this thread's strip for images of a shape; the last two are kept for the next image.

    Memory that is new costs as much as what is computed in it.
    """
    strips = vars(_KEPT).setdefault("strips", OrderedDict())
    key = *shape, n_points, float(radius)
    strip = strips.pop(key, None) or _make_strip(*shape, n_points, radius)
    strips[key] = strip
    if len(strips) > 2:
        strips.popitem(last=False)
    return strip


def _make_strip(height, width, n_points, radius):
    whole, part = _circle(n_points, radius)
    # Neighbours that far out are all 0, however far.
    circle = np.clip(whole, -max(height, width) - 1, max(height, width)), part
    n_pixels = min(_STRIP_PIXELS, _STRIP_BITS // n_points)
    n_rows = -(-height // min(height * width // n_pixels + 1, height))
    # Not many more rows around the strip than in it.
    n_rows = min(max(n_rows, 4 * int(np.abs(circle[0]).max())), height)
    return _Strip(n_rows, width, circle)


def lbp_codes(image, n_points=8, radius=1, method="uniform"):
    """Compute the local binary pattern of each pixel.

    Parameters
    ----------
    image : array_like of shape (height, width) or (height, width, channels)
        An image of the contract, see :ref:`images`; of any size. Colour images count by their luma.
    n_points : int, default=8
        Number of neighbours on the circle, from 1 to 254; to 62 for "default" and "ror".
    radius : float, default=1
        Radius of the circle in pixels.
    method : {"default", "ror", "uniform", "nri_uniform", "var"}, default="uniform"
        Which patterns share a code, see `LBP`. "var" gives the variance of the neighbours'
        brightness instead, NaN where it is 0.

    Returns
    -------
    ndarray of shape (height, width)
        Codes from 0, ``int64``; for "var" ``float64`` in squared grey levels. Those of
        `skimage.feature.local_binary_pattern` except at ties, see Notes. A mask is ignored.

    Raises
    ------
    ValueError
        If the image is invalid, or a parameter is out of its range.

    Notes
    -----
    Of integer images, comparisons are exact: a neighbour whose interpolated brightness equals the
    centre's counts as at least as bright, always. scikit-image interpolates in floating point, so
    that some of these ties come out bright and others dark, depending on where in the image they
    are ([1]_); codes differ nowhere else. (Of 16-bit images its rounding can also swallow true
    differences, of less than 1e-8 of a grey level.) Brightnesses of floating-point images are equal
    where they differ by less than 9e-16.

    References
    ----------
    .. [1] Inconsistent results of local binary patterns, scikit-image issue 2522,
       https://github.com/scikit-image/scikit-image/issues/2522.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.feature_extraction import lbp_codes
    >>> lbp_codes(np.array([[9, 9, 9], [9, 5, 9], [9, 9, 9]], np.uint8))[1, 1]
    np.int64(8)
    """
    _check_parameters(n_points, radius, method)
    pixels = np.ma.getdata(to_gray(check_image(image)))
    encode, _, _ = _METHODS[method]
    return _encode(pixels, n_points, radius, encode, np.float64 if method == "var" else np.int64)


def _circle_inside(inside, radius):
    """Tell which pixels have their whole circle inside the region."""
    # Beyond the border counts as inside: a square larger than the image changes nothing.
    reach = min(int(np.ceil(radius)), max(inside.shape))
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return cv2.erode(inside.astype(np.uint8), square, borderValue=1)


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


def _as_list(value):
    return list(value) if np.iterable(value) else [value]


class LBP(FeatureExtractor):
    """Histogram of local binary patterns.

    Each pixel is compared with neighbours on a circle; which are at least as bright gives its
    pattern ([1]_). The histogram of the patterns describes the texture, whatever the brightness.

    Parameters
    ----------
    n_points : int or sequence of int, default=8
        Number of neighbours on the circle. A sequence for several scales in one row.
    radius : float or sequence of float, default=1
        Radius of the circle in pixels; as many as `n_points` where both are sequences.
    method : {"default", "ror", "uniform", "nri_uniform", "var"}, default="uniform"
        Which patterns share a column. "default": none (``2**n_points`` columns, at most 16
        points). "ror": those that are rotations of each other (as many columns, of which most stay
        0). "uniform": those whose bright neighbours are one run of the same length, and all others
        in the last column (``n_points + 2``). "nri_uniform": the same, but rotations are kept apart
        (``n_points * (n_points - 1) + 3``, [2]_). "var": no pattern, but the contrast: the standard
        deviation of the neighbours, in octaves (`n_bins` columns).
    cells : tuple of int, default=(1, 1)
        Rows and columns of a grid of cells that are as equal as whole pixels allow, each with its
        own histogram.
    n_bins : int, default=8
        Number of octaves of "var". The last is from 1/4 to 1/2 of full scale (255, 65535 or 1),
        the one before from 1/8 to 1/4, and so on; the first has all that is below. 8 octaves
        reach down to one level of 8 bits, 16 to one of 16 bits.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The rows' dtype.

    See Also
    --------
    HOG : Histograms of oriented gradients.
    lbp_codes : The pattern of each pixel.

    Notes
    -----
    Neighbours beyond the image's border count as 0, as in scikit-image. Of a masked image only
    pixels whose whole circle lies in the region count. The histogram of a cell sums to 1; that of a
    cell without such a pixel is 0 throughout, and a region without any is an error. Colour images
    count by their luma. See `lbp_codes` for exact ties.

    References
    ----------
    .. [1] Ojala T, Pietikainen M, Maenpaa T. Multiresolution gray-scale and rotation invariant
       texture classification with local binary patterns. IEEE TPAMI 24 (2002) 971-987,
       doi:10.1109/TPAMI.2002.1017623.
    .. [2] Ahonen T, Hadid A, Pietikainen M. Face description with local binary patterns. IEEE TPAMI
       28 (2006) 2037-2041, doi:10.1109/TPAMI.2006.244.

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

    # 2: exact ties always count as at least as bright.
    _algorithm_version = 2

    def __init__(
        self,
        *,
        n_points=8,
        radius=1,
        method="uniform",
        cells=(1, 1),
        n_bins=8,
        dtype=np.float32,
    ):
        self.n_points = n_points
        self.radius = radius
        self.method = method
        self.cells = cells
        self.n_bins = n_bins
        self.dtype = dtype

    def _extract(self, image):
        scales = self._scales()
        self._check_size(image, max(radius for _, radius in scales))
        inside = inside_mask(image)
        pixels = np.ma.getdata(to_gray(image))
        return np.concatenate([self._histograms(pixels, inside, *scale) for scale in scales])

    def _histograms(self, pixels, inside, n_points, radius):
        """Return the normalised histograms of the cells, one after the other."""
        n_codes = self._n_codes(n_points)
        encode, _, _ = _METHODS[self.method]
        if self.method == "var":
            full_scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
            encode = partial(_variance_bin, n_bins=n_codes, full_scale=full_scale)
        codes = _encode(pixels, n_points, radius, encode, np.min_scalar_type(n_codes - 1))
        counted = None if inside is None else _circle_inside(inside, radius)
        counts = np.stack(
            [
                _histogram(codes[cell], None if counted is None else counted[cell], n_codes)
                for cell in self._cells(*pixels.shape)
            ]
        )
        if not counts.any():
            raise ValueError(
                f"the region holds no circle of radius {radius:g}, expected at least one pixel "
                "whose neighbours are all inside. Use a larger region or a smaller radius."
            )
        return (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).ravel()

    def _scales(self):
        """Return the number of points and the radius of each scale."""
        n_points, radii = _as_list(self.n_points), _as_list(self.radius)
        n_scales = len(n_points) if np.iterable(self.n_points) else len(radii)
        n_points = n_points if np.iterable(self.n_points) else n_points * n_scales
        radii = radii if np.iterable(self.radius) else radii * n_scales
        if len(n_points) != len(radii) or n_scales == 0:
            raise ValueError(
                f"n_points is {self.n_points!r} and radius {self.radius!r}, expected as many "
                "numbers of points as radii, at least one."
            )
        for scale in zip(n_points, radii):
            _check_parameters(*scale, self.method)
        return list(zip(n_points, radii))

    def _n_codes(self, n_points):
        if self.method == "var":
            if not isinstance(self.n_bins, Integral) or not 1 <= self.n_bins <= 64:
                raise ValueError(f"n_bins is {self.n_bins!r}, expected an integer from 1 to 64.")
            return int(self.n_bins)
        n_codes = _METHODS[self.method][1](n_points)
        if n_codes > 2**16:
            raise ValueError(
                f"n_points is {n_points}, which gives {n_codes} columns, expected at most 16 "
                f"points for method={self.method!r}. Use fewer points or method='uniform'."
            )
        return n_codes

    def _check_size(self, image, radius):
        cells = self._checked_cells()
        # Whatever lies beyond the border counts as black: some neighbour has to lie inside.
        smallest = [max(n, math.floor(radius) + 1) for n in cells]
        if image.shape[0] < smallest[0] or image.shape[1] < smallest[1]:
            raise ValueError(
                f"the image is {image.shape[0]} x {image.shape[1]} pixels, expected at least "
                f"{smallest[0]} x {smallest[1]}: more than the radius {radius:g}, and one pixel a "
                "cell. Use larger images, a smaller radius or fewer cells."
            )

    def _checked_cells(self):
        cells = tuple(self.cells) if np.iterable(self.cells) else ()
        if len(cells) != 2 or not all(isinstance(n, Integral) and n >= 1 for n in cells):
            raise ValueError(
                f"cells is {self.cells!r}, expected two positive integers: rows and columns."
            )
        return cells

    def _cells(self, height, width):
        """Yield the pixels of each cell, row by row, as two slices."""
        rows, columns = self._checked_cells()
        for row in range(rows):
            for column in range(columns):
                yield (
                    slice(row * height // rows, (row + 1) * height // rows),
                    slice(column * width // columns, (column + 1) * width // columns),
                )

    def _boxes(self, image_shape):
        cells = [
            (rows.start, columns.start, rows.stop, columns.stop)
            for rows, columns in self._cells(*image_shape[:2])
        ]
        counts = [self._n_codes(n_points) for n_points, _ in self._scales()]
        return np.concatenate([np.repeat(cells, n_codes, axis=0) for n_codes in counts])

    def _describe(self, name):
        scale, letter = name.split("_")[1:3], _METHODS[self.method][2]
        code = int(name.rpartition(f"_{letter}")[2])
        return f"pattern {code} of {scale[0][1:]} points at radius {scale[1][1:]}, {self.method}"

    def get_feature_names_out(self, input_features=None):
        """Return the columns' names.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            ``lbp_p8_r1_u03``: 8 points, radius 1, uniform pattern of 3 bright neighbours;
            ``lbp_p8_r1_c01_02_u03``: the same in cell row 1, cell column 2, where there are cells.
        """
        rows, columns = self._checked_cells()
        cells = [f"c{row:02d}_{column:02d}_" for row in range(rows) for column in range(columns)]
        scales = self._scales()
        letter = _METHODS[self.method][2]
        names = []
        for n_points, radius in scales:
            n_codes = self._n_codes(n_points)
            digits = max(2, len(str(n_codes - 1)))
            names += [
                f"lbp_p{n_points}_r{radius:g}_{cell}{letter}{code:0{digits}d}"
                for cell in (cells if len(cells) > 1 else [""])
                for code in range(n_codes)
            ]
        return np.array(names, dtype=object)
