"""Intensity statistics."""

import numpy as np

from featbus.base import FeatureExtractor
from featbus.images import inside_mask, to_float, to_gray


def intensity_statistics(values):
    """Compute the intensity-based statistics of the Image Biomarker Standardisation Initiative.

    Parameters
    ----------
    values : array_like of shape (n_pixels,)
        Intensities on any scale; all finite.

    Returns
    -------
    dict of str to float
        IBSI's intensity-based statistics ([1]_, section 3.3) by IBSI's names, and the
        standard deviation. Of a constant image, skewness and kurtosis are 0; a quotient whose
        divisor is 0 is 0.

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
    values = np.asarray(values, dtype=np.float64).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise ValueError(f"Expected finite intensities, got {values.size}, {bad} not finite.")
    p10, p25, median, p75, p90 = np.percentile(values, [10, 25, 50, 75, 90])
    minimum, maximum = values.min(), values.max()
    mean = values.mean()
    deviation = values - mean
    squares = deviation * deviation
    variance = squares.mean()
    # Rounding leaves a constant image a variance of this order, and its higher moments no meaning.
    constant = variance <= (np.finfo(np.float64).eps * mean) ** 2
    robust = values[(values >= p10) & (values <= p90)]
    energy = values @ values
    return {
        "mean": mean,
        "standard_deviation": np.sqrt(variance),
        "variance": variance,
        "skewness": 0.0 if constant else (squares @ deviation) / values.size / variance**1.5,
        "kurtosis": 0.0 if constant else (squares @ squares) / values.size / variance**2 - 3,
        "median": median,
        "minimum": minimum,
        "percentile_10": p10,
        "percentile_25": p25,
        "percentile_75": p75,
        "percentile_90": p90,
        "maximum": maximum,
        "range": maximum - minimum,
        "interquartile_range": p75 - p25,
        "mean_absolute_deviation": np.abs(deviation).mean(),
        "robust_mean_absolute_deviation": np.abs(robust - robust.mean()).mean(),
        "median_absolute_deviation": np.abs(values - median).mean(),
        "coefficient_of_variation": _quotient(np.sqrt(variance), mean),
        "quartile_coefficient_of_dispersion": _quotient(p75 - p25, p75 + p25),
        "energy": energy,
        "root_mean_square": np.sqrt(energy / values.size),
    }


def _quotient(dividend, divisor):
    return dividend / divisor if divisor else 0.0


def histogram_statistics(levels):
    """Compute entropy and uniformity of the histogram of grey levels.

    Parameters
    ----------
    levels : array_like of int of shape (n_pixels,)
        Discretised intensities, 0 or larger.

    Returns
    -------
    dict of str to float
        IBSI's discretised intensity entropy, in bits, and uniformity ([1]_, section 3.4).

    References
    ----------
    .. [1] Zwanenburg A et al. Image biomarker standardisation initiative, reference manual,
       arXiv:1612.07003.
    """
    counts = np.bincount(np.ravel(levels))
    share = counts[counts > 0] / counts.sum()
    return {
        # "+ 0.0" because a single level would give an entropy of -0.
        "entropy": -(share @ np.log2(share)) + 0.0,
        "uniformity": share @ share,
    }


class IntensityStatistics(FeatureExtractor):
    """Statistics of the brightness of an image, or of its region.

    Parameters
    ----------
    n_bins : int, default=256
        Number of equal bins over the full range of brightness, for entropy and uniformity. With
        256, each level of an 8-bit image has its own.
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

    def __init__(self, *, n_bins=256, dtype=np.float32):
        self.n_bins = n_bins
        self.dtype = dtype

    def _extract(self, image):
        return np.array(list(self._statistics(image).values()))

    def _statistics(self, image):
        inside = inside_mask(image)
        brightness = np.ma.getdata(to_float(to_gray(image), np.float64))
        brightness = brightness.ravel() if inside is None else brightness[inside]
        levels = np.minimum((brightness * self.n_bins).astype(np.intp), self.n_bins - 1)
        return intensity_statistics(brightness) | histogram_statistics(levels)

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
