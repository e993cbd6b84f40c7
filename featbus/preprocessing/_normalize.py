"""Normalization to the range 0..1."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from featbus.base import ImageTransformer
from featbus.color import to_float
from featbus.parameters import StrOptions
from featbus.preprocessing._pixels import limits_inside, map_pixels, stretch
from featbus.preprocessing._stretch import PERCENTILES, check_percentiles

if TYPE_CHECKING:
    from typing import Literal


class Normalize(ImageTransformer):
    """Bring the values of each image to the whole range 0..1.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    method : {"minmax", "percentile"}, default="minmax"
        What becomes 0 and 1: the smallest and the largest value, or two percentiles.
    percentiles : tuple of float, default=(1, 99)
        The percentiles for ``method="percentile"``. What lies beyond becomes 0 and 1, too.

    See Also
    --------
    ContrastStretch : The same, with the dtype of the image as the result.

    Notes
    -----
    The result is ``float32``, or ``float64`` of a ``float64`` image. Of a masked image only pixels
    inside the mask count; the channels of a color image are normalized alike. An image of one value
    becomes 0. The same image in another dtype comes out equal to within 1e-6.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import Normalize
    >>> Normalize().transform([np.array([[100, 110, 120]], np.uint8)])[0]
    array([[0. , 0.5, 1. ]], dtype=float32)
    """

    _parameter_constraints = {
        "method": [StrOptions({"minmax", "percentile"})],
        "percentiles": [PERCENTILES],
    }

    def __init__(
        self,
        method: Literal["minmax", "percentile"] = "minmax",
        *,
        percentiles: tuple[float, ...] = (1, 99),
    ) -> None:
        self.method = method
        self.percentiles = percentiles

    def _check_parameters(self):
        super()._check_parameters()
        check_percentiles(self.percentiles)

    def _transform_image(self, image):
        percentiles = self.percentiles if self.method == "percentile" else (0, 100)
        # In double precision: of a narrow range, single precision would leave a few digits.
        exact = to_float(image, np.float64)
        low, high = limits_inside(exact, percentiles)
        result = map_pixels(partial(stretch, low=low, high=high), exact)
        return to_float(result, np.float64 if image.dtype == np.float64 else np.float32)
