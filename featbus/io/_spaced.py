"""An image, and how far its pixels are apart."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from pandas import isna
from pandas.api.types import is_scalar

from featbus.images import is_path
from featbus.io._readers import read_image
from featbus.parameters import Interval, PairOf, as_list, as_pair, check_parameters

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import ArrayLike

    from featbus.typing import PathLike

_CONSTRAINTS = {"spacing": [PairOf(Interval(Real, 0, None, closed="neither")), None]}


@dataclass(frozen=True, eq=False)  # pixels have no single answer to ==
class SpacedImage:
    """An item of a batch: an image whose spacing is known from elsewhere, such as a table.

    All estimators take it as the image that it holds; `featbus.Resample` also uses the spacing,
    and `featbus.FeatureBus` stores rows of the same pixels by their spacing.

    Read more in the :ref:`User Guide <millimeters>`.

    Parameters
    ----------
    image : array_like, MaskedArray, str or os.PathLike
        An image, or the path of one.
    spacing : float, (float, float) or None
        Millimeters between rows and between columns, in this order; one number for both. None, NaN
        or `pandas.NA`, also in either direction only: unknown, whatever a file says.

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

    image: ArrayLike | PathLike
    spacing: Any

    def __post_init__(self):
        object.__setattr__(self, "spacing", _checked(self.spacing))

    def __array__(self, dtype=None, copy=None):
        image = read_image(self.image) if is_path(self.image) else self.image
        if copy is None:  # NumPy before 2.0 does not know it
            return np.asanyarray(image, dtype)
        return np.array(image, dtype, copy=copy, subok=True)


def _checked(spacing):
    """Return a pair of floats, None if it is unknown."""
    sides = as_list(spacing)
    if any(is_scalar(side) and isna(side) for side in sides):
        return None
    spacing = sides[0] if np.ndim(spacing) == 0 else sides  # of a Series, or an element of pydicom
    check_parameters(_CONSTRAINTS, {"spacing": spacing})
    return tuple(map(float, as_pair(spacing)))
