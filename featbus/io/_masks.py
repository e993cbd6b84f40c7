"""Read the masks of an image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from featbus.images import ImageError, is_path
from featbus.io._readers import read_image
from featbus.masks import as_mask

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from featbus.typing import PathLike

__all__ = ["read_mask"]


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
        file per lesion, or an array. See `featbus.masks.as_mask` for the values of a mask.
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
