"""Shape of the region."""

from __future__ import annotations

from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from featbus.base import Column, FeatureExtractor
from featbus.images import ImageError
from featbus.masks import inside_mask, region_shape
from featbus.parameters import Interval, StrOptions

# Our names, and those of scikit-image.
_PROPERTIES = {
    "area": "area",
    "perimeter": "perimeter_crofton",
    "solidity": "solidity",
    "extent": "extent",
    "eccentricity": "eccentricity",
    "orientation": "orientation",
    "major_axis_length": "axis_major_length",
    "minor_axis_length": "axis_minor_length",
    "equivalent_diameter": "equivalent_diameter_area",
    "euler_number": "euler_number",
}
_HU_MOMENTS = [f"hu_moment_{index}" for index in range(1, 8)]
_NAMES = ["circularity", *_PROPERTIES, *_HU_MOMENTS]
# Powers of a length; the others have no unit.
_LENGTHS = ("perimeter", "major_axis_length", "minor_axis_length", "equivalent_diameter")
_POWERS = {"area": 2} | dict.fromkeys(_LENGTHS, 1)


def missing_mask():
    """Return the error of an image without a mask."""
    return ImageError(
        "found no mask, or one of the whole image, expected one that is True outside the region. "
        "Make one with featbus.masks.with_mask, or use on_missing='nan' for a row of NaN."
    )


class ShapeStatistics(FeatureExtractor):
    """Shape of the region of a masked image.

    Read more in the :ref:`User Guide <shape>`.

    Parameters
    ----------
    on_missing : {"raise", "nan"}, default="raise"
        What to do with an image without a mask: raise an error, or return a row of NaN.
    spacing : float or None, default=None
        Millimeters between the pixels of all images: that of `Resample` before this step. None
        measures in pixels.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.

    See Also
    --------
    IntensityStatistics : The brightness of the region.
    Resample : Bring images to one spacing first, in order to measure in millimeters.

    Notes
    -----
    Columns are named ``shape_solidity``: ``shape_`` and the name of the statistic. With `spacing`,
    those of lengths end in ``_mm`` and that of the area in ``_mm2``; all others have no unit.

    **A mask can reveal the diagnosis.** A reader who outlines a lesion and knows, or suspects, that
    it is malignant draws it accordingly, so the shape of the mask encodes the reader's opinion.
    Scores on such masks do not tell how well a pipeline does on masks that it computes itself. Use
    masks from the source that will be available in practice.

    Pixel values are ignored. Without `spacing`, lengths are in pixels and areas in square pixels.
    Pixels must be square; resize images only with their aspect ratio kept. Definitions are those of
    `skimage.measure.regionprops`:

    - ``circularity`` is :math:`4 \\pi A / P^2`: 1 for a disc, less for other shapes. For small
      regions it may be slightly larger than 1.
    - ``perimeter`` is Crofton's, from lines in four directions ([1]_). It is accurate for discs;
      straight edges along rows and columns are 5 % too short.
    - ``solidity`` and ``extent`` are the area divided by that of the convex hull and of the
      bounding box.
    - ``eccentricity`` and the axes' lengths are those of the ellipse with the same second moments;
      ``equivalent_diameter`` is that of the disc of the same area.
    - ``orientation`` is the angle in radians from the axis of rows to the major axis, from
      :math:`-\\pi/2` to :math:`\\pi/2`. Both ends mean the same direction, and the value is
      arbitrary for a region without a longer axis.
    - ``euler_number`` is the number of parts (8-connected) minus the number of holes.
    - ``hu_moment_1`` to ``hu_moment_7`` are invariant to position, size and rotation ([2]_). They
      are not log-transformed: for symmetric shapes most are 0, up to rounding errors. The seventh
      changes its sign in a mirror image: x is to the right and y down, as in OpenCV; scikit-image,
      where x is down and y to the right, has the opposite sign. Scale the columns before use.

    A region in several parts is measured as one: areas add up, the convex hull and the axes span
    all parts. A mask that hides no pixel is ignored.

    References
    ----------
    .. [1] Legland D, Kieu K, Devaux MF. Computation of Minkowski measures on 2D and 3D binary
       images. Image Analysis and Stereology 26 (2007) 83-92, doi:10.5566/ias.v26.p83-92.
    .. [2] Hu MK. Visual pattern recognition by moment invariants. IRE Transactions on Information
       Theory 8 (1962) 179-187, doi:10.1109/TIT.1962.1057692.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import ShapeStatistics
    >>> row, column = np.ogrid[-50:51, -50:51]
    >>> disc = np.ma.MaskedArray(np.zeros((101, 101)), row**2 + column**2 > 40**2)
    >>> frame = ShapeStatistics().set_output(transform="pandas").fit_transform([disc])
    >>> frame[["shape_area", "shape_circularity", "shape_equivalent_diameter"]].round(1)
       shape_area  shape_circularity  shape_equivalent_diameter
    0      5025.0                1.0                       80.0
    >>> names = ShapeStatistics(spacing=0.1).get_feature_names_out()
    >>> [name for name in names if "_mm" in name][:2]
    ['shape_area_mm2', 'shape_perimeter_mm']
    """

    # 2: hu_moment_7 has the sign of OpenCV, not that of scikit-image.
    _algorithm_version = 2

    _takes_responses = True

    _parameter_constraints = {
        "on_missing": [StrOptions({"raise", "nan"})],
        "spacing": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        *,
        on_missing: Literal["raise", "nan"] = "raise",
        spacing: float | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.on_missing = on_missing
        self.spacing = spacing
        self.dtype = dtype

    def _extract(self, image):
        inside = inside_mask(image)
        if inside is None and self.on_missing == "nan":
            return np.full(len(_NAMES), np.nan)
        if inside is None:
            raise missing_mask()
        region, circularity = region_shape(inside)
        values = [region[name] for name in _PROPERTIES.values()]
        *moments, seventh = region.moments_hu
        side = 1 if self.spacing is None else float(self.spacing)
        units = [side ** _POWERS.get(name, 0) for name in _NAMES]
        return np.multiply([circularity, *values, *moments, -seventh], units)

    def _columns(self):
        for name in _NAMES:
            unit = {0: "", 1: "_mm", 2: "_mm2"}[0 if self.spacing is None else _POWERS.get(name, 0)]
            yield Column(f"shape_{name}{unit}", f"{name}{unit}".replace("_", " "))
