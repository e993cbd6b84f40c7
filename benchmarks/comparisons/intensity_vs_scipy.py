"""Intensity statistics against SciPy and NumPy: 8- and 16-bit images, the same numbers.

python benchmarks/comparisons/intensity_vs_scipy.py
"""

import time

import numpy as np
from _interleaved import compare
from scipy import stats

from featbus import IntensityStatistics

STATISTICS = IntensityStatistics(dtype=np.float64)


def speckle(n_images, side, dtype):
    """Return noise with the histogram of ultrasound."""
    noise = np.random.default_rng(0).rayleigh(0.2, (n_images, side, side)).clip(0, 1)
    return (noise * np.iinfo(dtype).max).astype(dtype)


def scipy_and_numpy(image, n_bins=256):
    """Return what `IntensityStatistics` does: of each statistic the function made for it."""
    top = np.iinfo(image.dtype).max
    values = image.ravel() / top
    p10, p25, median, p75, p90 = np.percentile(values, [10, 25, 50, 75, 90])
    robust = values[(values >= p10) & (values <= p90)]
    histogram = np.bincount(np.minimum(values * n_bins, n_bins - 1).astype(np.intp), None, n_bins)
    gradient = np.gradient(histogram.astype(float))
    return [
        values.mean(),
        values.std(),
        values.var(),
        stats.skew(values),
        stats.kurtosis(values),
        median,
        values.min(),
        p10,
        p25,
        p75,
        p90,
        values.max(),
        np.ptp(values),
        stats.iqr(values),
        np.abs(values - values.mean()).mean(),
        np.abs(robust - robust.mean()).mean(),
        np.abs(values - median).mean(),
        stats.variation(values),
        (p75 - p25) / (p75 + p25),
        np.square(values).sum(),
        np.sqrt(np.square(values).mean()),
        stats.entropy(histogram, base=2),
        np.square(histogram / histogram.sum()).sum(),
        histogram.argmax() + 1,
        gradient.max(),
        gradient.argmax() + 1,
        gradient.min(),
        gradient.argmin() + 1,
    ]


def main():
    for dtype in (np.uint8, np.uint16):
        for n_images, side in [(8, 256), (1, 1024)]:
            images = speckle(n_images, side, dtype)
            expected = [scipy_and_numpy(image) for image in images]
            np.testing.assert_allclose(STATISTICS.transform(images), expected, rtol=1e-9)
            print(f"\n{n_images} of {side} x {side} pixels, {dtype.__name__}; results agree")
            compare(
                {
                    "featbus": lambda images=images: STATISTICS.transform(images),
                    "SciPy and NumPy": lambda images=images: [
                        scipy_and_numpy(image) for image in images
                    ],
                },
                packages=["featbus", "scipy", "numpy"],
                threads="both use one",
                clock=time.process_time,
            )


if __name__ == "__main__":
    main()
