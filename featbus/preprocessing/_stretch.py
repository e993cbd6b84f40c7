"""Linear contrast stretching."""

from __future__ import annotations

from functools import partial
from numbers import Real

from featbus.base import ImageTransformer
from featbus.parameters import Interval, InvalidParameterError, SequenceOf
from featbus.preprocessing._pixels import limits_inside, map_pixels, map_values, stretch

PERCENTILES = SequenceOf(Interval(Real, 0, 100, closed="both"), length=2)


def check_percentiles(percentiles):
    """Check that percentiles are in order.

    Parameters
    ----------
    percentiles : sequence of float of length 2
        Lower and upper percentile.

    Raises
    ------
    InvalidParameterError
        If the lower one is not below the upper one.
    """
    if not percentiles[0] < percentiles[1]:
        raise InvalidParameterError(
            f"percentiles is {percentiles!r}, expected the lower one first, and two that differ."
        )


class ContrastStretch(ImageTransformer):
    """Stretch the contrast linearly between two percentiles.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    percentiles : tuple of float, default=(2, 98)
        What becomes black and white, in percent of the pixels. Darker and brighter pixels become
        black and white, too.

    See Also
    --------
    Normalize : The same, with floating-point images as the result.
    HistogramEqualizer : A mapping that follows the histogram.

    Notes
    -----
    Of a masked image only pixels inside the mask count; the channels of a color image are stretched
    alike. Dtype and range stay; the same image in another dtype comes out equal to within one half
    of a level. An image whose two percentiles are equal becomes black.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import ContrastStretch
    >>> faint = np.array([[100, 110, 120]], np.uint8)
    >>> ContrastStretch((0, 100)).transform([faint])[0]
    array([[  0, 128, 255]], dtype=uint8)
    """

    _parameter_constraints = {"percentiles": [PERCENTILES]}

    def __init__(self, percentiles: tuple[float, ...] = (2, 98)) -> None:
        self.percentiles = percentiles

    def _check_parameters(self):
        super()._check_parameters()
        check_percentiles(self.percentiles)

    def _transform_image(self, image):
        low, high = limits_inside(image, self.percentiles)
        return map_pixels(partial(map_values, partial(stretch, low=low, high=high)), image)
