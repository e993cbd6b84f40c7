"""Statistics of brightness: of an image, and of the images of each class."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, DTypeLike
from scipy.stats import skew
from sklearn.utils import check_consistent_length

from featbus.base import Column, FeatureExtractor
from featbus.color import to_gray
from featbus.feature_extraction._texture import discretize, quotient
from featbus.images import ResponseMap
from featbus.masks import inside_mask
from featbus.parameters import Interval, StrOptions, check_parameters
from featbus.typing import Images

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PERCENTILES = np.array([10, 25, 50, 75, 90])
# Not among IBSI's intensity-histogram features.
_NOT_OF_HISTOGRAMS = {
    "standard_deviation",
    "percentile_25",
    "percentile_75",
    "energy",
    "root_mean_square",
}


def _count_values(values):
    """Return the different values in ascending order, and how often each of them occurs."""
    if values.dtype.name not in ("bool", "uint8", "uint16"):
        return np.unique(values, return_counts=True)
    counts = np.bincount(values)
    occupied = np.flatnonzero(counts)
    return occupied.astype(values.dtype), counts[occupied]


def _percentiles(values, counts):
    """Return the percentiles, equal to those of `numpy.percentile`."""
    n_up_to = np.cumsum(counts)
    position = (n_up_to[-1] - 1) * (_PERCENTILES / 100)
    rank = np.floor(position)
    index = np.searchsorted(n_up_to, [rank, np.ceil(position)], side="right")
    lower, upper = values[index]
    fraction, step = position - rank, upper - lower
    return np.where(fraction < 0.5, lower + step * fraction, upper - step * (1 - fraction))


def _mean(values, counts):
    """Return the mean of values that occur `counts` times each; 0 without values."""
    return (counts * values).sum() / max(counts.sum(), 1)


def _statistics(values, counts):
    """Return the statistics, by name, of ascending values that occur `counts` times each."""
    values = values.astype(np.float64, copy=False)
    p10, p25, median, p75, p90 = _percentiles(values, counts)
    robust = slice(np.searchsorted(values, p10), np.searchsorted(values, p90, side="right"))
    # Of large values that differ by little, rounding errors of the mean would be as large as the
    # differences: the mean is computed as a distance from the median.
    from_median = values - median
    offset = _mean(from_median, counts)
    mean, deviation = median + offset, from_median - offset
    square = deviation * deviation
    variance = _mean(square, counts)
    standard_deviation, mean_square = np.sqrt(variance), variance + mean**2
    around = values[robust] - median
    around -= _mean(around, counts[robust])
    return {
        "mean": mean,
        "standard_deviation": standard_deviation,
        "variance": variance,
        "skewness": quotient(_mean(square * deviation, counts), variance**1.5),
        "kurtosis": _mean(square * square, counts) / variance**2 - 3 if variance else 0.0,
        "median": median,
        "minimum": values[0],
        "percentile_10": p10,
        "percentile_25": p25,
        "percentile_75": p75,
        "percentile_90": p90,
        "maximum": values[-1],
        "range": values[-1] - values[0],
        "interquartile_range": p75 - p25,
        "mean_absolute_deviation": _mean(np.abs(deviation), counts),
        "robust_mean_absolute_deviation": _mean(np.abs(around), counts[robust]),
        "median_absolute_deviation": _mean(np.abs(from_median), counts),
        "coefficient_of_variation": quotient(standard_deviation, mean),
        "quartile_coefficient_of_dispersion": quotient(p75 - p25, p75 + p25),
        "energy": counts.sum() * mean_square,
        "root_mean_square": np.sqrt(mean_square),
    }


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
    """Compute IBSI's intensity-based statistics ([1]_, section 3.3), by IBSI's names.

    Parameters
    ----------
    values : array_like of shape (n_pixels,)
        Finite intensities from 1e-60 to 1e60, negative ones or 0.

    Returns
    -------
    dict of str to float
        The statistics, and the standard deviation. Skewness and kurtosis of a constant image are
        0, and so is a quotient whose divisor is 0, or the robust deviation if no value lies between
        the 10th and the 90th percentile (as with two different values).

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
    >>> from featbus.feature_extraction._intensity import intensity_statistics
    >>> statistics = intensity_statistics([1, 1, 1, 4, 6])
    >>> round(statistics["mean"], 2), round(statistics["variance"], 2), statistics["energy"]
    (2.6, 4.24, 55.0)
    """
    statistics = _statistics(*_count_values(np.ravel(values)))
    return {name: float(value) for name, value in statistics.items()}


def histogram_statistics(levels: ArrayLike) -> dict[str, float]:
    """Compute IBSI's 23 intensity-histogram features ([1]_, section 3.4), by IBSI's names.

    Parameters
    ----------
    levels : array_like of int of shape (n_pixels,)
        Gray levels: discretized intensities, 1 or larger.

    Returns
    -------
    dict of str to float
        16 statistics of the levels as in `intensity_statistics`, ``entropy`` in bits,
        ``uniformity``, ``mode`` (if there are several, the one closest to the mean), and the
        largest and smallest gradient of the counts with their levels (if there are several, the
        first).

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
    statistics = _histogram_statistics(np.bincount(np.ravel(levels))[1:])
    return {name: float(value) for name, value in statistics.items()}


def _histogram_statistics(histogram):
    """Return all statistics of a histogram; its levels are 1 to ``len(histogram)``."""
    occupied = np.flatnonzero(histogram)
    statistics = _statistics(occupied + 1, histogram[occupied])
    return {
        name: value for name, value in statistics.items() if name not in _NOT_OF_HISTOGRAMS
    } | _shape_statistics(histogram)


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
        images; of a `ResponseMap`, the range of its values. "region": from the smallest to the
        largest brightness of the image or its region (IBSI's *fixed bin number*), which makes them
        independent of gain and offset.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.

    See Also
    --------
    IntensityVolumeHistogram : How much of the region is how bright.
    intensity_summary : How bright the images of each class are.
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
    16-bit and floating-point copies of an image have the same features; that of a `ResponseMap` is
    in its own units. Color images are converted to their luma. Only pixels inside the mask are
    used. Definitions and names are those of the Image Biomarker Standardisation Initiative ([1]_),
    and bins are those of `GLCM`. *Kurtosis* is
    excess kurtosis: 0 for a normal distribution. *Median absolute deviation* is the mean distance
    from the median, not the median distance. *Energy* is the sum of squares: it grows with the
    number of pixels. Variance divides by n, and percentiles are interpolated linearly.

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
    # 3: bins as in the texture features, which tolerate rounding errors of floating-point pixels at
    # the edge of a bin; sums over the values that occur, which differ from before by rounding.
    # 4: that tolerance follows the brightness of the image.
    _algorithm_version = 4

    _takes_responses = True

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
        return np.array(list(self._named_statistics(image).values()))

    def _named_statistics(self, image):
        inside = inside_mask(image)
        pixels = np.ma.getdata(to_gray(image))
        levels, counts = _count_values(pixels.ravel() if inside is None else pixels[inside])
        own_range = self.bin_range == "region" or isinstance(image, ResponseMap)
        limits = None if own_range else (0, 1)
        (bins,) = discretize(levels[np.newaxis], None, self.n_bins, None, limits)
        histogram = np.bincount(bins, counts, self.n_bins).astype(np.int64)
        describe = _histogram_statistics if self.bin_range == "region" else _shape_statistics
        top = np.iinfo(levels.dtype).max if levels.dtype.kind == "u" else 1
        return _statistics(levels / np.float64(top), counts) | {
            name if name in ("entropy", "uniformity") else f"histogram_{name}": value
            for name, value in describe(histogram).items()
        }

    def _columns(self):
        for name in self._named_statistics(np.zeros((1, 1))):
            yield Column(f"intensity_{name}", name.replace("_", " "))


def intensity_summary(
    images: Images,
    y: ArrayLike | None = None,
    *,
    statistic: str = "mean",
    target_names: Sequence[str] | None = None,
) -> IntensitySummary:
    """Summarize the brightness of a data set by class.

    Each image is summarized by one number, such as its mean brightness. If classes differ in it, a
    classifier can separate them without looking at the anatomy: a sign of different scanners,
    settings or exports.

    Read more in the :ref:`User Guide <intensity>`.

    Parameters
    ----------
    images : batch of images
        See :ref:`images`. Paths are read one at a time. Only pixels inside the mask are used.
    y : array_like of shape (n_images,), default=None
        Class of each image; None for a single class "all".
    statistic : str, default="mean"
        The number that summarizes an image: a column of `IntensityStatistics` without the prefix
        ``intensity_``, such as ``"median"`` or ``"entropy"``.
    target_names : sequence of str, default=None
        Names of the classes 0, 1, ...; a class without one keeps its label.

    Returns
    -------
    IntensitySummary
        Displayed as a table; ``plot()`` draws the distributions.

    Raises
    ------
    ValueError
        If an image is invalid, `images` and `y` differ in length, or there is no such statistic.

    See Also
    --------
    IntensityStatistics : The statistics of each image.

    Examples
    --------
    >>> from featbus import intensity_summary, make_breast_ultrasound
    >>> data = make_breast_ultrasound(30, random_state=0)
    >>> summary = intensity_summary(data.images, data.target, target_names=data.target_names)
    >>> summary.table.index.tolist()
    ['benign', 'malignant', 'normal']
    """
    extractor = IntensityStatistics(dtype=np.float64)
    names = [name.removeprefix("intensity_") for name in extractor.get_feature_names_out()]
    check_parameters({"statistic": [StrOptions(set(names))]}, {"statistic": statistic})
    check_consistent_length(images, y)
    names_of = {} if target_names is None else dict(enumerate(target_names))
    classes = ["all"] * len(images) if y is None else [names_of.get(label, label) for label in y]
    values = pd.DataFrame({"class": classes})
    values[statistic] = extractor.transform(images)[:, names.index(statistic)]
    values["outlier"] = values.groupby("class")[statistic].transform(_is_outlier).astype(bool)
    return IntensitySummary(values, statistic)


def _is_outlier(values):
    """Return which values are outliers by Tukey's rule."""
    lower, upper = values.quantile([0.25, 0.75])
    reach = 1.5 * (upper - lower)
    return (values < lower - reach) | (values > upper + reach)


def _skewness(values):
    return skew(values) if values.nunique() > 1 else 0.0


class IntensitySummary:
    """Brightness of the images of each class; made by `intensity_summary`.

    Read more in the :ref:`User Guide <intensity>`.

    Parameters
    ----------
    values : DataFrame of n_images rows
        ``class``, the statistic, ``outlier``.
    statistic : str
        Name of the column with the numbers.

    Attributes
    ----------
    values : DataFrame of n_images rows
        The ``class`` of each image, its statistic, and whether it is an ``outlier``: more than 1.5
        interquartile ranges below the lower or above the upper quartile of its class (Tukey's
        rule, [1]_).
    table : DataFrame of n_classes rows
        For each class ``n``, ``minimum``, ``lower_quartile``, ``median``, ``upper_quartile``,
        ``maximum``, ``skewness`` (0 if all are equal) and the number of ``outliers``.

    References
    ----------
    .. [1] Tukey JW. Exploratory Data Analysis. Addison-Wesley (1977).
    """

    def __init__(self, values: pd.DataFrame, statistic: str) -> None:
        self.values = values
        self.statistic = statistic
        groups = values.groupby("class")
        quartiles = groups[statistic].quantile([0, 0.25, 0.5, 0.75, 1]).unstack()
        quartiles.columns = ["minimum", "lower_quartile", "median", "upper_quartile", "maximum"]
        self.table = quartiles.assign(
            skewness=groups[statistic].apply(_skewness), outliers=groups["outlier"].sum()
        )
        self.table.insert(0, "n", groups.size())

    def __repr__(self):
        return self.table.round(3).to_string()

    def _repr_html_(self):
        return self.table.round(3).to_html()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the distribution of each class: a violin, with a box and outliers in it.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.figure(layout="constrained").add_subplot()
        names, samples = zip(*self.values.groupby("class")[self.statistic])
        ax.violinplot(samples, showextrema=False, widths=0.8)
        ax.boxplot(samples, widths=0.15, medianprops={"color": "black"})
        labels = [f"{name}\nn = {len(sample)}" for name, sample in zip(names, samples)]
        ax.set_xticks(range(1, len(names) + 1), labels)
        ax.set_ylabel(f"{self.statistic} brightness of an image".replace("_", " "))
        return ax
