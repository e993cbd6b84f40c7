"""Intensity statistics."""

from __future__ import annotations

from functools import lru_cache
from numbers import Integral
from typing import TYPE_CHECKING

import cv2
import numpy as np

from featbus.base import Column, FeatureExtractor
from featbus.color import to_gray
from featbus.feature_extraction._texture import discretise
from featbus.masks import inside_mask
from featbus.parameters import POSITIVE_INTEGER, Interval, StrOptions, check_parameters

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import ArrayLike, DTypeLike

_PERCENTILES = np.array([10, 25, 50, 75, 90])
# Not among IBSI's intensity-histogram features.
_NOT_OF_HISTOGRAMS = {
    "standard_deviation",
    "percentile_25",
    "percentile_75",
    "energy",
    "root_mean_square",
}
# Counts in single precision are exact below this.
_EXACT_FLOAT32 = 1 << 24


def _count_values(values):
    """Return the different values in ascending order, and how often each of them occurs."""
    if values.dtype.name not in ("bool", "uint8", "uint16"):
        return np.unique(values, return_counts=True)
    levels = values.view(np.uint8) if values.dtype == bool else values
    n_levels = np.iinfo(levels.dtype).max + 1
    if 4 * n_levels <= levels.size < _EXACT_FLOAT32:
        # Faster than bincount for many pixels, if they lie in one row.
        counts = cv2.calcHist([levels[np.newaxis]], [0], None, [n_levels], [0, n_levels]).ravel()
    else:
        counts = np.bincount(levels, minlength=n_levels)
    occupied = np.flatnonzero(counts > 0)  # of bool: four times as fast
    return occupied.astype(values.dtype), counts[occupied].astype(np.int64, copy=False)


def _sums_before(counts):
    """Return the sum of the counts before each index, from 0 to their number."""
    before = np.zeros(len(counts) + 1, dtype=np.int64)  # four times as fast as float64
    np.cumsum(counts, out=before[1:])
    return before


@lru_cache(maxsize=8)
def _first_levels(dtype, n_bins):
    """Return the first level of each bin of all levels of a dtype, and one more at the end."""
    levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    (bins,), n_bins = discretise(levels[np.newaxis], None, n_bins, None, (0, 1))
    return np.searchsorted(bins, np.arange(n_bins + 1))


def _percentiles(values, before):
    """Return the percentiles, equal to those of `numpy.percentile`."""
    position = (before[-1] - 1) * (_PERCENTILES / 100)
    rank = np.floor(position)
    index = np.searchsorted(before, [rank, np.ceil(position)], side="right") - 1
    lower, upper = values[index]
    fraction, step = position - rank, upper - lower
    return np.where(fraction < 0.5, lower + step * fraction, upper - step * (1 - fraction))


def _moments(deviation, weighted, size):
    """Return the mean and the second to fourth central moment of `size` deviations.

    `weighted` holds the different deviations times their counts.
    """
    power = weighted * deviation
    mean, square = weighted.sum() / size, power.sum() / size
    power *= deviation
    cube = power.sum() / size
    power *= deviation
    fourth = power.sum() / size
    return (
        mean,
        square - mean**2,
        cube - 3 * mean * square + 2 * mean**3,
        fourth - 4 * mean * cube + 6 * mean**2 * square - 3 * mean**4,
    )


def _statistics(values, counts, before):
    """Return the statistics, by name, of ascending values that occur `counts` times each."""
    values = values.astype(np.float64, copy=False)
    n_values, size = len(values), before[-1]
    p10, p25, median, p75, p90 = _percentiles(values, before)
    robust = np.searchsorted(values, p10), np.searchsorted(values, p90, side="right")
    # Deviations are from the median: for large values that differ by little, rounding errors of
    # the mean would be as large as the differences.
    deviation = values - median
    weighted = counts * deviation
    offset, variance, third, fourth = _moments(deviation, weighted, size)
    mean = median + offset

    def mean_distance(start, stop, center=None):
        """Return the mean distance of some deviations from their mean, or from `center`."""
        number, total = before[stop] - before[start], weighted[start:stop].sum()
        if number == 0:
            return 0.0
        center = total / number if center is None else center
        middle = start + np.searchsorted(deviation[start:stop], center)
        # The distances below follow from those above, as the sum of both is known.
        above = weighted[middle:stop].sum() - center * (before[stop] - before[middle])
        return (2 * above - total) / number + center

    standard_deviation, mean_square = np.sqrt(variance), variance + mean**2
    return {
        "mean": mean,
        "standard_deviation": standard_deviation,
        "variance": variance,
        "skewness": _quotient(third, variance**1.5),
        "kurtosis": fourth / variance**2 - 3 if variance else 0.0,
        "median": median,
        "minimum": values[0],
        "percentile_10": p10,
        "percentile_25": p25,
        "percentile_75": p75,
        "percentile_90": p90,
        "maximum": values[-1],
        "range": values[-1] - values[0],
        "interquartile_range": p75 - p25,
        "mean_absolute_deviation": mean_distance(0, n_values),
        "robust_mean_absolute_deviation": mean_distance(*robust),
        "median_absolute_deviation": mean_distance(0, n_values, 0),
        "coefficient_of_variation": _quotient(standard_deviation, mean),
        "quartile_coefficient_of_dispersion": _quotient(p75 - p25, p75 + p25),
        "energy": size * mean_square,
        "root_mean_square": np.sqrt(mean_square),
    }


def _quotient(dividend, divisor):
    return dividend / divisor if divisor else 0.0


def _shape_statistics(histogram):
    """Return the statistics of a histogram's shape; its levels are 1 to ``len(histogram)``."""
    total = histogram.sum()
    share = histogram[histogram > 0] / total
    levels = np.arange(1, len(histogram) + 1)
    common = levels[histogram == histogram.max()]
    mean = levels @ histogram / total
    gradient = np.gradient(histogram) if len(histogram) > 1 else np.zeros(1)
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


def intensity_statistics(values: ArrayLike) -> dict[str, float]:
    """Compute the intensity-based statistics of the Image Biomarker Standardisation Initiative.

    Read more in the :ref:`User Guide <intensity>`.

    Parameters
    ----------
    values : array_like of shape (n_pixels,)
        Finite intensities from 1e-60 to 1e60, negative ones or 0; masked ones are left out.

    Returns
    -------
    dict of str to float
        IBSI's intensity-based statistics ([1]_, section 3.3), by IBSI's names, and the standard
        deviation. Skewness and kurtosis of a constant image are 0, and so is a quotient whose
        divisor is 0, or the robust deviation if no value lies between the 10th and the 90th
        percentile (as with two different values).

    Raises
    ------
    ValueError
        If there are no values, or if some are not finite.

    Notes
    -----
    Three names differ from common usage. *Kurtosis* is excess kurtosis: 0 for a normal
    distribution. *Median absolute deviation* is the mean distance from the median, not the median
    distance. *Energy* is the sum of squares: it grows with the number of pixels. Variance divides
    by n, and percentiles are interpolated linearly.

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
    values = np.ma.compressed(values) if np.ma.isMaskedArray(values) else np.ravel(values)
    if values.size == 0 or not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise ValueError(f"Expected finite intensities, got {values.size}, {bad} not finite.")
    values, counts = _count_values(values)
    return _to_floats(_statistics(values, counts, _sums_before(counts)))


def histogram_statistics(levels: ArrayLike, n_levels: int | None = None) -> dict[str, float]:
    """Compute the intensity-histogram features of the Image Biomarker Standardisation Initiative.

    Read more in the :ref:`User Guide <intensity>`.

    Parameters
    ----------
    levels : array_like of int of shape (n_pixels,)
        Gray levels: discretized intensities, 1 or larger.
    n_levels : int or None, default=None
        Number of gray levels; None for the largest that occurs.

    Returns
    -------
    dict of str to float
        IBSI's 23 intensity-histogram features ([1]_, section 3.4): 16 statistics of the levels as
        in `intensity_statistics`, ``entropy`` in bits, ``uniformity``, ``mode`` (if there are
        several, the one closest to the mean), and the largest and smallest gradient of the counts
        with their levels (if there are several, the first).

    Raises
    ------
    ValueError
        If there are no levels, if one is not an integer from 1 to `n_levels`, or if `n_levels` is
        invalid.

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
    check_parameters({"n_levels": [None, POSITIVE_INTEGER]}, {"n_levels": n_levels})
    levels = np.ravel(levels)
    top = n_levels or (levels.max() if levels.size else 0)
    if levels.size == 0 or levels.dtype.kind not in "iu" or levels.min() < 1 or levels.max() > top:
        raise ValueError(
            f"Expected integer gray levels from 1 to {top}, got {levels.size} of dtype "
            f"{levels.dtype}{f', {levels.min()} to {levels.max()}' if levels.size else ''}."
        )
    return _to_floats(_histogram_statistics(np.bincount(levels, minlength=top + 1)[1:]))


def _histogram_statistics(histogram):
    """Return all statistics of a histogram; its levels are 1 to ``len(histogram)``."""
    occupied = np.flatnonzero(histogram)
    counts = histogram[occupied]
    statistics = _statistics(occupied + 1, counts, _sums_before(counts))
    return {
        name: value for name, value in statistics.items() if name not in _NOT_OF_HISTOGRAMS
    } | _shape_statistics(histogram)


def _to_floats(statistics):
    return {name: float(value) for name, value in statistics.items()}


class IntensityStatistics(FeatureExtractor):
    """Statistics of the brightness of an image, or of its region.

    Read more in the :ref:`User Guide <intensity>`.

    Parameters
    ----------
    n_bins : int, default=256
        Number of bins of equal width of the histogram, up to 65536. With 256 bins over the range
        of the dtype, each level of an 8-bit image has its own.
    bin_range : {"dtype", "region"}, default="dtype"
        Range that the bins divide. "dtype": black to white, so that bins mean the same in all
        images. "region": from the smallest to the largest brightness of the image or its region
        (IBSI's *fixed bin number*), which makes them independent of gain and offset.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.

    See Also
    --------
    intensity_statistics : The same statistics of any numbers, with their definitions.
    LBP : Texture independent of brightness.

    Notes
    -----
    Columns are named ``intensity_skewness``: ``intensity_`` and the name of the statistic. There
    are 18 intensity-based statistics, two more percentiles and the standard deviation, and of the
    histogram ``entropy``, ``uniformity``, ``histogram_mode``, ``histogram_maximum_gradient``,
    ``histogram_maximum_gradient_level`` and the same for the minimum. With ``bin_range="region"``
    there are also the mean, variance, percentiles and so on of the histogram's levels:
    ``histogram_mean``, ... With ``bin_range="dtype"`` they would repeat those of the brightness.

    Brightness is from 0 (black) to 1 (the largest value of the image's dtype), so that 8-bit,
    16-bit and floating-point copies of an image have the same features. Color images are converted
    to their luma. Only pixels inside the mask are used. Definitions and names are those of the
    Image Biomarker Standardisation Initiative ([1]_); bins are those of
    `featbus.feature_extraction.grey_levels`.

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
    # 3: bins as in grey_levels, which tolerates rounding errors of floating-point pixels at the
    # edge of a bin; sums over the values that occur, which differ from before by rounding.
    # 4: that tolerance follows the brightness of the image.
    _algorithm_version = 4

    _parameter_constraints = {
        "n_bins": [Interval(Integral, 1, 2**16, closed="both")],
        "bin_range": [StrOptions({"dtype", "region"})],
    }

    def __init__(
        self,
        *,
        n_bins: int = 256,
        bin_range: Literal["dtype", "region"] = "dtype",
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.n_bins = n_bins
        self.bin_range = bin_range
        self.dtype = dtype

    def _extract(self, image):
        return np.array(list(self._named_statistics(image).values()), dtype=np.float64)

    def _named_statistics(self, image):
        inside = inside_mask(image)
        pixels = np.ma.getdata(to_gray(image))
        levels, counts = _count_values(pixels.ravel() if inside is None else pixels[inside])
        before = _sums_before(counts)
        histogram = np.diff(before[self._bin_starts(levels)])
        describe = _histogram_statistics if self.bin_range == "region" else _shape_statistics
        top = np.iinfo(levels.dtype).max if levels.dtype.kind == "u" else 1
        return _statistics(levels / np.float64(top), counts, before) | {
            name if name in ("entropy", "uniformity") else f"histogram_{name}": value
            for name, value in describe(histogram).items()
        }

    def _bin_starts(self, levels):
        """Return the index of the first level of each bin, and the number of levels at the end."""
        if self.bin_range == "dtype" and levels.dtype.kind == "u":
            return np.searchsorted(levels, _first_levels(levels.dtype, int(self.n_bins)))
        limits = None if self.bin_range == "region" else (0, 1)
        (bins,), n_bins = discretise(levels[np.newaxis], None, self.n_bins, None, limits)
        return np.searchsorted(bins, np.arange(n_bins + 1))

    def _columns(self):
        for name in self._named_statistics(np.zeros((1, 1))):
            yield Column(f"intensity_{name}", name.replace("_", " "))
