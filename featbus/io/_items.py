"""Images and masks, whatever kind of item of a batch they are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from pandas import isna
from pandas.api.types import is_scalar

from featbus.images import ImageError, at_index, check_image, is_path
from featbus.io._readers import read_image
from featbus.masks import as_mask
from featbus.parameters import Interval, PairOf, as_list, as_pair, check_parameters

if TYPE_CHECKING:
    from collections.abc import Callable
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


def read_item(item: Any, index: int | None, read: Callable = read_image) -> np.ndarray:
    """Read and check one item of a batch.

    Read more in the :ref:`User Guide <loading>`.

    Parameters
    ----------
    item : array_like, str, os.PathLike or SpacedImage
        An image, or the path of one.
    index : int
        Its position in the batch, for errors.
    read : callable, default=read_image
        Reads a path.

    Returns
    -------
    ndarray or MaskedArray
        The checked image, see `featbus.images.check_image`.

    Raises
    ------
    ImageError
        If the file cannot be read (an `ImageReadError`) or the image is invalid.
    """
    item = item.image if isinstance(item, SpacedImage) else item
    with at_index(index, item):
        return check_image(read(item) if is_path(item) else item)


def read_mask(
    item: PathLike | ArrayLike | tuple[None, ...] | None,
    image_shape: tuple[int, ...],
    *,
    required: bool = False,
) -> np.ndarray | None:
    """Read the mask of one image, the union of its parts.

    Read more in the :ref:`User Guide <datasets>`.

    Parameters
    ----------
    item : path-like, array_like, tuple of these, or None
        An item of the ``masks`` of a data set: usually a tuple of the mask files of one image, one
        file per lesion, or an array. See ``featbus.masks.as_mask`` for the values of a mask.
    image_shape : tuple of int
        Height and width of the image; further numbers are ignored.
    required : bool, default=False
        Whether it is an error if no region is known.

    Returns
    -------
    ndarray of bool of shape (height, width), or None
        True inside any part. None if `item` is None or an empty tuple: no region is known. In
        contrast, a mask that is False everywhere states that there is no region, as those of the
        normal images of BUSI do.

    Raises
    ------
    ImageError
        If a part is not a mask of this image, its file cannot be read (an `ImageReadError`), or
        there is none though one is required. The message names the file.

    See Also
    --------
    featbus.load_masked : Read the images of a data set with their masks.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.io import read_mask
    >>> read_mask((np.array([[0, 1, 0]]), np.array([[0, 0, 255]])), image_shape=(1, 3))
    array([[False,  True,  True]])
    """
    parts = item if isinstance(item, (list, tuple)) else [item]
    regions = [_read_part(part, image_shape) for part in parts if part is not None]
    if required and not regions:
        raise ImageError(
            "found no mask, expected one; that of an image without a region is False everywhere. "
            "Select the images that have one."
        )
    return np.logical_or.reduce(regions) if regions else None


def _read_part(part, image_shape):
    if not is_path(part):
        return as_mask(part, image_shape)
    try:
        return as_mask(read_image(part), image_shape)
    except ImageError as error:
        raise type(error)(f"mask {os.fspath(part)!r}: {error.reason}") from error
