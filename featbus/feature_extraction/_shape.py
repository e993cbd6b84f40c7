"""Shape of the region."""

import numpy as np
from skimage.measure import regionprops

from featbus.base import FeatureExtractor
from featbus.images import inside_mask

# Names, and what scikit-image calls the same.
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
_ON_MISSING = ("raise", "nan")


def _shape(inside):
    """Return the statistics of a region in the order of `_NAMES`."""
    (region,) = regionprops(inside.astype(np.uint8))
    values = [region[name] for name in _PROPERTIES.values()]
    circularity = 4 * np.pi * region.area / region.perimeter_crofton**2
    return np.array([circularity, *values, *region.moments_hu], dtype=np.float64)


class ShapeStatistics(FeatureExtractor):
    """Shape of the region of a masked image.

    Parameters
    ----------
    on_missing : {"raise", "nan"}, default="raise"
        What to do with an image without a mask: raise an error, or give a row of NaN.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The rows' dtype; the computation is in double precision.

    See Also
    --------
    IntensityStatistics : The brightness within the region.

    Notes
    -----
    **A mask can give the diagnosis away.** Somebody who draws a lesion's outline and knows, or
    guesses, that it is malignant draws it accordingly, and so the shape of a mask tells what the
    reader thought. Scores from such masks say nothing of what a pipeline reaches on masks that it
    makes itself. Compute these statistics of masks from the same source that will be there in use.

    The pixels' values do not count. Lengths are in pixels and areas in square pixels; resize images
    only with their shape kept. Definitions are those of `skimage.measure.regionprops`:

    - ``circularity`` is :math:`4 \\pi A / P^2`: 1 for a disc, less for other shapes. Of small
      regions it may pass 1 a little.
    - ``perimeter`` is Crofton's, of lines in four directions ([1]_). It is right for discs;
      straight edges along rows and columns come out 5 % short.
    - ``solidity`` and ``extent`` are the shares of the convex hull and of the bounding box.
    - ``eccentricity`` and the axes' lengths are those of the ellipse with the same second moments;
      ``equivalent_diameter`` is that of the disc of the same area.
    - ``orientation`` is the angle in radians from the axis of rows to the major axis, from
      :math:`-\\pi/2` to :math:`\\pi/2`. Both ends mean the same direction, and of a region without
      a longer axis the value means nothing.
    - ``euler_number`` is the number of parts (8-connected) less the number of holes.
    - ``hu_moment_1`` to ``hu_moment_7`` do not change with place, size and rotation ([2]_). They
      are not made logarithms: of symmetric shapes most are 0, and the logarithm would be that of
      rounding errors. The seventh changes its sign in a mirror. Scale the columns before use.

    A region in several parts counts as one: areas add up, the convex hull and the axes span all
    parts. A mask that hides no pixel counts as none.

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
    """

    def __init__(self, *, on_missing="raise", dtype=np.float32):
        self.on_missing = on_missing
        self.dtype = dtype

    def _extract(self, image):
        if self.on_missing not in _ON_MISSING:
            raise ValueError(
                f"on_missing is {self.on_missing!r}, expected one of {list(_ON_MISSING)}."
            )
        inside = inside_mask(image)
        if inside is not None:
            return _shape(inside)
        if self.on_missing == "nan":
            return np.full(len(_NAMES), np.nan)
        raise ValueError(
            "the image has no mask, expected a masked array whose mask is True outside the region. "
            "Make one by featbus.images.with_mask, or take on_missing='nan' for a row of NaN."
        )

    def get_feature_names_out(self, input_features=None):
        """Return the columns' names.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            ``shape_`` and the name of the statistic: ``shape_solidity``.
        """
        return np.array([f"shape_{name}" for name in _NAMES], dtype=object)
