"""Intensity statistics."""

import math
from numbers import Integral
from typing import NamedTuple

import cv2
import numpy as np

from featbus.base import FeatureExtractor
from featbus.images import inside_mask, to_gray

_PERCENTILES = [10, 25, 50, 75, 90]
# What IBSI does not list among the intensity-histogram features.
_NOT_OF_HISTOGRAMS = {
    "standard_deviation",
    "percentile_25",
    "percentile_75",
    "energy",
    "root_mean_square",
}
_BIN_RANGES = ("dtype", "region")
# Counts in single precision are exact below this.
_EXACT_FLOAT32 = 1 << 24
_LARGEST = {"bool": 1, "uint8": 255, "uint16": 65535}
# Levels of a histogram that are summed at a time.
_ROW = 256
_POWERS = np.vander(np.arange(_ROW) - _ROW // 2.0, 5, increasing=True)


class _Summary(NamedTuple):
    """What all statistics are made of.

    `moments` are the second to fourth central ones; `mean_distances` those from the mean, of robust
    values from theirs, and from the median.
    """

    size: int
    mean: float
    moments: tuple
    percentiles: list
    minimum: float
    maximum: float
    mean_distances: tuple


def _mean_deviation(values):
    return np.abs(values - values.mean()).mean() if values.size else 0.0


class _Values:
    """Numbers as they are."""

    unit = 1

    def __init__(self, values):
        self.values = values.astype(np.float64, copy=False)

    def summarize(self):
        values = self.values
        percentiles = np.percentile(values, _PERCENTILES)
        # Distances from the median first: of large values that differ by little, the mean and the
        # differences from it would be rounded by more than they say.
        deviation = values - percentiles[2]
        from_median = np.abs(deviation).mean()
        robust = _mean_deviation(
            deviation[(values >= percentiles[0]) & (values <= percentiles[-1])]
        )
        mean = deviation.mean()
        deviation -= mean
        square = deviation * deviation
        return _Summary(
            values.size,
            percentiles[2] + mean,
            (square.mean(), square @ deviation / values.size, square @ square / values.size),
            percentiles,
            *self.extremes(),
            (np.abs(deviation).mean(), robust, from_median),
        )

    def extremes(self):
        return self.values.min(), self.values.max()

    def bin(self, low, high, n_bins):
        """Return how many values lie in each of equal bins from `low` to `high`."""
        width = (high - low) or 1
        bins = ((self.values - low) * (n_bins / width)).astype(np.intp)
        return np.bincount(np.minimum(bins, n_bins - 1), minlength=n_bins)


class _Histogram:
    """The numbers ``level / unit``, of which there are ``counts[level]``.

    Distances are taken from the median's level, the origin, which keeps sums small. They are summed
    in rows of `_ROW` levels, the origin in the middle of its row: that takes one matrix product.
    """

    def __init__(self, counts, unit=1):
        self.unit = unit
        self.cumulative = counts.cumsum()
        self.size = int(self.cumulative[-1])
        self.origin = int(self._ordered((self.size - 1) // 2))
        self._pad = (_ROW // 2 - self.origin) % _ROW
        n_rows = -(-(len(counts) + self._pad) // _ROW)
        levels = np.zeros(n_rows * _ROW)
        levels[self._pad : self._pad + len(counts)] = counts
        self._rows = levels.reshape(n_rows, _ROW)
        first = (self.origin + self._pad) // _ROW
        self._middles = _ROW * np.arange(-first, n_rows - first, dtype=np.float64)
        # Of each row the sums of the powers of the distance from its middle.
        self._sums = self._rows @ _POWERS
        self._distances = self._sums[:, 1] + self._middles * self._sums[:, 0]

    def _ordered(self, rank):
        """Return the level of the given integer rank, from 0 for the smallest."""
        return np.searchsorted(self.cumulative, rank, side="right")

    def _moments(self):
        """Return mean distance from the origin, and the central moments from the second on."""
        sums = np.vander(self._middles, 5, increasing=True).T @ self._sums / self.size
        # The means of (middle + distance) ** k, expanded: sums[i][j] is of middle^i distance^j.
        sums = sums.tolist()
        mean, square, cube, fourth = (
            sum(math.comb(k, j) * sums[k - j][j] for j in range(k + 1)) for k in range(1, 5)
        )
        return mean, (
            square - mean**2,
            cube - 3 * mean * square + 2 * mean**3,
            fourth - 4 * mean * cube + 6 * mean**2 * square - 3 * mean**4,
        )

    def _up_to(self, level):
        """Return the number of all x up to a level, and the sum of ``x - origin``."""
        if level < 0:
            return 0, 0.0
        row, column = divmod(level + self._pad, _ROW)
        begun = self._rows[row, : column + 1] @ _POWERS[: column + 1, :2]
        distances = self._distances[:row].sum() + begun[1] + self._middles[row] * begun[0]
        return int(self.cumulative[level]), float(distances)

    def _mean_distance(self, center, below, until):
        """Return the mean of ``|x - origin - center|`` of all x after `below` up to `until`.

        `below` and `until` are what `_up_to` returns; `center` None is the mean.
        """
        size = until[0] - below[0]
        if size == 0:
            return 0.0
        if center is None:
            center = (until[1] - below[1]) / size
        middle = self._up_to(math.floor(center) + self.origin)
        left, right = (
            end[1] - start[1] - center * (end[0] - start[0])
            for start, end in [(below, middle), (middle, until)]
        )
        return (right - left) / size / self.unit

    def _percentiles(self):
        """Return the percentiles, as `numpy.percentile` does, and the first and last robust level.

        Robust levels lie from the first percentile to the last.
        """
        position = (self.size - 1) * (np.array(_PERCENTILES) / 100)
        rank = position.astype(np.intp)
        levels = self._ordered([rank, np.minimum(rank + 1, self.size - 1)])
        lower, upper = levels / self.unit
        share = position - rank
        step = upper - lower
        percentiles = np.where(share < 0.5, lower + step * share, upper - step * (1 - share))
        first = levels[0, 0] if lower[0] >= percentiles[0] else levels[1, 0]
        last = levels[1, -1] if upper[-1] <= percentiles[-1] else levels[0, -1]
        return percentiles.tolist(), int(first), int(last)

    def summarize(self):
        percentiles, first, last = self._percentiles()
        mean, moments = self._moments()
        everything = (0, 0.0), (self.size, mean * self.size)
        robust = self._up_to(first - 1), self._up_to(last)
        median = percentiles[2] * self.unit - self.origin
        return _Summary(
            self.size,
            (self.origin + mean) / self.unit,
            [moment / self.unit**power for power, moment in enumerate(moments, start=2)],
            percentiles,
            *(level / self.unit for level in self.extremes()),
            [
                self._mean_distance(mean, *everything),
                self._mean_distance(None, *robust),
                self._mean_distance(median, *everything),
            ],
        )

    def extremes(self):
        return int(self._ordered(0)), int(self._ordered(self.size - 1))

    def bin(self, low, high, n_bins):
        """Return how many levels lie in each of equal bins from `low` to `high`."""
        # The first level of bin i is the first with (level - low) * n_bins >= i * (high - low).
        edges = low - (np.arange(n_bins) * (low - high) // n_bins)
        # All of a constant region is in the first bin.
        edges[1:] = np.maximum(edges[1:], low + 1)
        before = np.where(edges > 0, self.cumulative[edges - 1], 0)
        return np.diff(before, append=self.cumulative[high])


def _name(summary):
    """Return the statistics by name."""
    size, mean, moments, percentiles, minimum, maximum, distances = summary
    variance, third, fourth = moments
    p10, p25, median, p75, p90 = percentiles
    deviation, square = np.sqrt(variance), variance + mean**2
    return {
        "mean": mean,
        "standard_deviation": deviation,
        "variance": variance,
        "skewness": _quotient(third, variance**1.5),
        "kurtosis": _quotient(fourth, variance**2) - 3 if variance else 0.0,
        "median": median,
        "minimum": minimum,
        "percentile_10": p10,
        "percentile_25": p25,
        "percentile_75": p75,
        "percentile_90": p90,
        "maximum": maximum,
        "range": maximum - minimum,
        "interquartile_range": p75 - p25,
        "mean_absolute_deviation": distances[0],
        "robust_mean_absolute_deviation": distances[1],
        "median_absolute_deviation": distances[2],
        "coefficient_of_variation": _quotient(deviation, mean),
        "quartile_coefficient_of_dispersion": _quotient(p75 - p25, p75 + p25),
        "energy": size * square,
        "root_mean_square": np.sqrt(square),
    }


def _quotient(dividend, divisor):
    return dividend / divisor if divisor else 0.0


def _describe_histogram(histogram):
    """Return the statistics that only a histogram has, of the levels 1 to ``len(histogram)``."""
    total = histogram.sum()
    share = histogram[histogram > 0] / total
    levels = np.arange(1, len(histogram) + 1)
    common = levels[histogram == histogram.max()]
    mean = levels @ histogram / total
    gradient = np.gradient(histogram.astype(float)) if len(histogram) > 1 else np.zeros(1)
    return {
        # "+ 0.0" because a single level would give an entropy of -0.
        "entropy": -(share @ np.log2(share)) + 0.0,
        "uniformity": share @ share,
        "mode": common[np.abs(common - mean).argmin()],
        "maximum_gradient": gradient.max(),
        "maximum_gradient_level": gradient.argmax() + 1,
        "minimum_gradient": gradient.min(),
        "minimum_gradient_level": gradient.argmin() + 1,
    }


def intensity_statistics(values):
    """Compute the intensity-based statistics of the Image Biomarker Standardisation Initiative.

    Parameters
    ----------
    values : array_like of shape (n_pixels,)
        Intensities on any scale; all finite. Of 8- and 16-bit integers the histogram is made
        first, which takes a fraction of the time and gives the same numbers.

    Returns
    -------
    dict of str to float
        IBSI's intensity-based statistics ([1]_, section 3.3) by IBSI's names, and the
        standard deviation. Of a constant image, skewness and kurtosis are 0; a quotient whose
        divisor is 0 is 0, and so is the robust deviation of no values: two different ones have
        none from the 10th percentile to the 90th.

    Raises
    ------
    ValueError
        If there are no values, or some are not finite.

    Notes
    -----
    Three names hide traps. *Kurtosis* is excess kurtosis: 0 for a normal distribution. *Median
    absolute deviation* is the mean distance from the median, not the median distance. *Energy* is
    the sum of squares: it grows with the number of pixels. Variance divides by n, and percentiles
    interpolate linearly.

    References
    ----------
    .. [1] Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 295 (2020)
       328-338, doi:10.1148/radiol.2020191145; reference manual arXiv:1612.07003.

    Examples
    --------
    >>> from featbus.feature_extraction import intensity_statistics
    >>> statistics = intensity_statistics([1, 1, 1, 4, 6])
    >>> round(statistics["mean"], 2), round(statistics["variance"], 2), statistics["energy"]
    (2.6, 4.24, 55.0)
    """
    values = np.asarray(values).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise ValueError(f"Expected finite intensities, got {values.size}, {bad} not finite.")
    statistics = _name(_sample(values, unit=1).summarize())
    return {name: float(value) for name, value in statistics.items()}


def _sample(values, unit=None):
    """Return values as a histogram where there are few that can occur, else as they are."""
    largest = _LARGEST.get(values.dtype.name)
    if largest is None:
        return _Values(values)
    return _Histogram(_count(values, largest + 1), unit or largest)


def _count(values, n_levels):
    # OpenCV is quicker with many pixels, or few levels to begin with.
    if 4 * n_levels <= values.size < _EXACT_FLOAT32 and values.dtype in (np.uint8, np.uint16):
        # In one row: it cannot look into a column of 16-bit pixels as quickly.
        counts = cv2.calcHist([values[np.newaxis]], [0], None, [n_levels], [0, n_levels])
        return counts.ravel().astype(np.intp)
    return np.bincount(values, minlength=n_levels)


def histogram_statistics(levels, n_levels=None):
    """Compute the intensity-histogram features of the Image Biomarker Standardisation Initiative.

    Parameters
    ----------
    levels : array_like of int of shape (n_pixels,)
        Grey levels: discretised intensities, 1 or larger.
    n_levels : int, default=None
        Number of grey levels; None takes the largest one found.

    Returns
    -------
    dict of str to float
        IBSI's 23 intensity-histogram features ([1]_, section 3.4): 16 that `intensity_statistics`
        gives of the levels, too; ``entropy`` in bits, ``uniformity``, ``mode`` (of several the one
        next to the mean), and the largest and smallest gradient of the counts with their levels
        (the first of several).

    Raises
    ------
    ValueError
        If there are no levels, or one is not an integer from 1 to `n_levels`.

    References
    ----------
    .. [1] Zwanenburg A et al. Image biomarker standardisation initiative, reference manual,
       arXiv:1612.07003.

    Examples
    --------
    >>> from featbus.feature_extraction._intensity import histogram_statistics
    >>> statistics = histogram_statistics([1, 1, 1, 4, 6])
    >>> statistics["mode"], round(statistics["entropy"], 3)
    (1.0, 1.371)
    """
    levels = np.ravel(levels)
    top = n_levels or (levels.max() if levels.size else 0)
    if levels.size == 0 or levels.dtype.kind not in "iu" or levels.min() < 1 or levels.max() > top:
        raise ValueError(
            f"Expected integer grey levels from 1 to {top}, got {levels.size} of dtype "
            f"{levels.dtype}{f', {levels.min()} to {levels.max()}' if levels.size else ''}."
        )
    statistics = _histogram_statistics(np.bincount(levels, minlength=top + 1)[1:])
    return {name: float(value) for name, value in statistics.items()}


def _histogram_statistics(histogram):
    """Return the statistics of the levels 1 to ``len(histogram)``, by their counts."""
    statistics = _name(_Histogram(np.append(0, histogram)).summarize())
    return {
        name: value for name, value in statistics.items() if name not in _NOT_OF_HISTOGRAMS
    } | _describe_histogram(histogram)


class IntensityStatistics(FeatureExtractor):
    """Statistics of the brightness of an image, or of its region.

    Parameters
    ----------
    n_bins : int, default=256
        Number of equal bins of the histogram. With 256 over the range of the dtype, each level of
        an 8-bit image has its own.
    bin_range : {"dtype", "region"}, default="dtype"
        What the bins divide. "dtype": all brightness there can be, so that bins mean the same in
        all images. "region": from the smallest to the largest brightness of the image or its
        region, IBSI's fixed bin number, which forgets gain and offset.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The rows' dtype; the computation is in double precision.

    See Also
    --------
    intensity_statistics : The same statistics of any numbers, with their definitions.
    LBP : The texture beside the brightness.

    Notes
    -----
    Brightness runs from 0 (black) to 1 (the largest value of the image's type), so that 8-bit,
    16-bit and floating-point copies of a picture have the same features. Colour images count by
    their luma. Of a masked image only the region counts. Definitions and names are those of
    the Image Biomarker Standardisation Initiative ([1]_).

    There are 18 intensity-based statistics with two percentiles and the standard deviation beside
    them, and of the histogram ``entropy``, ``uniformity`` and ``histogram_mode``, ``..._gradient``
    and ``..._gradient_level``. The levels' mean, variance, percentiles and so on say the same as
    those of the brightness where bins divide the range of the dtype, and are columns only with
    ``bin_range="region"``: ``histogram_mean``, ...

    8- and 16-bit images are computed from their exact histogram of levels, in a time that hardly
    depends on the number of statistics.

    References
    ----------
    .. [1] Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 295 (2020)
       328-338, doi:10.1148/radiol.2020191145.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import IntensityStatistics
    >>> image = np.array([[0, 51], [102, 255]], np.uint8)
    >>> statistics = IntensityStatistics().set_output(transform="pandas")
    >>> row = statistics.fit_transform([image])
    >>> row[["intensity_mean", "intensity_median", "intensity_entropy"]].round(2)
       intensity_mean  intensity_median  intensity_entropy
    0             0.4               0.3                2.0
    """

    # 2: mode and gradients of the histogram are new columns.
    _algorithm_version = 2

    def __init__(self, *, n_bins=256, bin_range="dtype", dtype=np.float32):
        self.n_bins = n_bins
        self.bin_range = bin_range
        self.dtype = dtype

    def _extract(self, image):
        return np.array(list(self._statistics(image).values()), dtype=np.float64)

    def _statistics(self, image):
        self._check_bins()
        inside = inside_mask(image)
        pixels = np.ma.getdata(to_gray(image))
        pixels = pixels.ravel() if inside is None else pixels[inside]
        sample = _sample(pixels)
        summary = sample.summarize()
        limits = sample.extremes() if self.bin_range == "region" else (0, sample.unit)
        histogram = sample.bin(*limits, self.n_bins)
        return _name(summary) | self._histogram_columns(histogram)

    def _histogram_columns(self, histogram):
        describe = _describe_histogram
        if self.bin_range == "region":
            describe = _histogram_statistics
        return {
            name if name in ("entropy", "uniformity") else f"histogram_{name}": value
            for name, value in describe(histogram).items()
        }

    def _check_bins(self):
        if not isinstance(self.n_bins, Integral) or self.n_bins < 1:
            raise ValueError(f"n_bins is {self.n_bins!r}, expected an integer of at least 1.")
        if self.bin_range not in _BIN_RANGES:
            raise ValueError(f"bin_range is {self.bin_range!r}, expected one of {_BIN_RANGES}.")

    def get_feature_names_out(self, input_features=None):
        """Return the columns' names.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            ``intensity_`` and the name of the statistic: ``intensity_skewness``.
        """
        names = self._statistics(np.zeros((1, 1)))
        return np.array([f"intensity_{name}" for name in names], dtype=object)
