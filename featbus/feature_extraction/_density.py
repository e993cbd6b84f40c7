"""Density of the breast."""

from __future__ import annotations

from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike
from skimage.filters import threshold_otsu

from featbus.base import Column, FeatureExtractor
from featbus.color import to_float, to_gray
from featbus.masks import inside_mask
from featbus.parameters import Interval, StrOptions

# Chosen by benchmarks/comparisons/breast_density.py on its tuning half.
_TIMES_MEDIAN = 1.2
# Of the brightness: a float32 image must not differ from its 8-bit copy by rounding errors.
_TOLERANCE = 1e-6


def median_threshold(values):
    """Return 1.2 times the median brightness."""
    return _TIMES_MEDIAN * np.median(values)


def bright_threshold(values):
    """Return Otsu's threshold of brightness, between two levels of 8 bits."""
    return (threshold_otsu(np.rint(values * 255).astype(np.uint8)) + 0.5) / 255


_THRESHOLDS = {"median": median_threshold, "otsu": bright_threshold}


def region_brightness(image):
    """Return the brightness, from 0 to 1, of the pixels of a checked image, or of its region."""
    inside = inside_mask(image)
    pixels = np.ma.getdata(to_float(to_gray(image), np.float64))
    return pixels.ravel() if inside is None else pixels[inside]


def _mean(values, default):
    return values.mean() if len(values) else default


class BreastDensity(FeatureExtractor):
    """Percent density of a mammogram: the share of the breast that is dense tissue.

    Pixels of the breast that are brighter than a threshold are dense tissue, as in semi-automatic
    readings, in which a reader sets the threshold ([1]_).

    Read more in the :ref:`User Guide <density>`.

    Parameters
    ----------
    threshold : {"median", "otsu"} or float, default="median"
        Brightness above which a pixel is dense. "median" is 1.2 times the median brightness of the
        breast, whatever the gain. "otsu" separates two classes of brightness ([2]_). A number is
        the brightness itself, from 0 (black) to 1 (the largest value of the image's dtype).
    spacing : float or None, default=None
        Millimeters between the pixels of all images: that of `Resample` before this step. None
        measures in pixels.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.

    See Also
    --------
    BreastRegion : Mask images to the breast first.
    PectoralMuscleRemover : Leave out the muscle, which is as bright as dense tissue.
    IntensityStatistics : The brightness of the breast.

    Notes
    -----
    Columns:

    - ``density_percent``: dense area divided by the area of the breast, from 0 to 100;
    - ``density_dense_area`` and ``density_breast_area``, in pixels; with `spacing`, in square
      millimeters, and the names end in ``_mm2``;
    - ``density_dense_mean`` and ``density_fatty_mean``: mean brightness of both parts, from 0 to 1;
      of a part without pixels, the threshold;
    - ``density_threshold``: the threshold, from 0 to 1.

    Only pixels inside the mask are used: those that `BreastRegion` and `PectoralMuscleRemover`
    leave. Without a mask, all pixels count as breast, which is rarely right. Dense tissue must be
    brighter than fat. Color images are converted to their luma.

    References
    ----------
    .. [1] Byng JW, Boyd NF, Fishell E, Jong RA, Yaffe MJ. The quantitative analysis of mammographic
       densities. Physics in Medicine and Biology 39 (1994) 1629-1638,
       doi:10.1088/0031-9155/39/10/008.
    .. [2] Otsu N. A threshold selection method from gray-level histograms. IEEE Transactions on
       Systems, Man, and Cybernetics 9 (1979) 62-66, doi:10.1109/TSMC.1979.4310076.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import BreastDensity
    >>> breast = np.array([[50, 50, 50, 200]], np.uint8)
    >>> density = BreastDensity().set_output(transform="pandas")
    >>> density.fit_transform([breast])[["density_percent", "density_dense_area"]]
       density_percent  density_dense_area
    0             25.0                 1.0
    """

    _parameter_constraints = {
        "threshold": [StrOptions(set(_THRESHOLDS)), Interval(Real, 0, 1, closed="both")],
        "spacing": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        *,
        threshold: Literal["median", "otsu"] | float = "median",
        spacing: float | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.threshold = threshold
        self.spacing = spacing
        self.dtype = dtype

    def _extract(self, image):
        values = region_brightness(image)
        threshold = self.threshold
        if isinstance(threshold, str):
            threshold = _THRESHOLDS[threshold](values)
        is_dense = values > threshold + _TOLERANCE
        dense, fatty = values[is_dense], values[~is_dense]
        pixel = 1 if self.spacing is None else float(self.spacing) ** 2
        return np.array(
            [
                100 * len(dense) / len(values),
                len(dense) * pixel,
                len(values) * pixel,
                _mean(dense, threshold),
                _mean(fatty, threshold),
                threshold,
            ]
        )

    def _columns(self):
        unit = "" if self.spacing is None else "_mm2"
        areas = f"dense_area{unit}", f"breast_area{unit}"
        for name in ("percent", *areas, "dense_mean", "fatty_mean", "threshold"):
            yield Column(f"density_{name}", name.replace("_", " "))
