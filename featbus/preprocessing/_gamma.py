"""Gamma correction."""

from __future__ import annotations

from numbers import Real

from featbus.base import ImageTransformer
from featbus.parameters import Interval
from featbus.preprocessing._pixels import map_pixels, map_values


class GammaCorrection(ImageTransformer):
    """Brighten or darken the middle of the range by a power law.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    gamma : float, default=0.5
        Each value ``v`` of the range 0..1 becomes ``v ** gamma``: below 1 brightens, above 1
        darkens.

    See Also
    --------
    ContrastStretch : A linear mapping.

    Notes
    -----
    The function of `skimage.exposure.adjust_gamma`. Dtype and range stay; the same image in another
    dtype comes out equal to within one half of a level. Each pixel is computed alone, so masks do
    not matter, and stay.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import GammaCorrection
    >>> GammaCorrection(0.5).transform([np.array([[0.0, 0.25, 1.0]])])[0]
    array([[0. , 0.5, 1. ]])
    """

    _parameter_constraints = {"gamma": [Interval(Real, 0.01, 100, closed="both")]}

    def __init__(self, gamma: float = 0.5) -> None:
        self.gamma = gamma

    def _transform_image(self, image):
        def correct(pixels):
            return map_values(lambda values: values**self.gamma, pixels)

        return map_pixels(correct, image)
