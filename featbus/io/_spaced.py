"""An image, and how far its pixels are apart."""

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np

from featbus.images import is_path
from featbus.io._readers import read_image
from featbus.parameters import Interval, PairOf, as_list, as_pair, check_parameters

_CONSTRAINTS = {"spacing": [PairOf(Interval(Real, 0, None, closed="neither")), None]}


@dataclass(frozen=True)
class SpacedImage:
    """An item of a batch: an image whose spacing is known from elsewhere, such as a table.

    All estimators take it as the image that it holds; `featbus.Resample` also uses the spacing,
    and `featbus.FeatureBus` stores rows of the same pixels by their spacing.

    Parameters
    ----------
    image : array_like, MaskedArray, str or os.PathLike
        An image, or the path of one.
    spacing : float, (float, float) or None
        Millimeters between rows and between columns, in this order; one number for both. None or
        NaN: unknown, whatever a file says.

    Raises
    ------
    InvalidParameterError
        If the spacing is not positive.

    See Also
    --------
    featbus.Resample : Bring images to one spacing.
    read_spacing : The spacing that a file states.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import Resample
    >>> from featbus.io import SpacedImage
    >>> pixels = np.zeros((100, 80), np.uint8)
    >>> images = [SpacedImage(pixels, 0.1), SpacedImage(pixels, (0.2, 0.1))]
    >>> [image.shape for image in Resample(0.1).transform(images)]
    [(100, 80), (200, 80)]
    """

    image: object
    spacing: object

    def __post_init__(self):
        object.__setattr__(self, "spacing", _checked(self.spacing))

    def __array__(self, dtype=None, copy=None):
        return read_image(self.image) if is_path(self.image) else np.asanyarray(self.image)


def _checked(spacing):
    """Return a pair of floats, None if it is unknown."""
    if spacing is None or any(
        isinstance(side, Real) and math.isnan(side) for side in as_list(spacing)
    ):
        return None
    check_parameters(_CONSTRAINTS, {"spacing": spacing})
    return tuple(map(float, as_pair(spacing)))
