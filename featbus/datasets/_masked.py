"""The images of a data set, masked to their regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featbus.images import ImageError, at_index
from featbus.io import read_item, read_mask
from featbus.masks import restrict

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from sklearn.utils import Bunch

__all__ = ["load_masked"]


def load_masked(dataset: Bunch, indices: ArrayLike | bool | None = None) -> list[np.ma.MaskedArray]:
    """Read the images of a data set, masked to their regions of interest.

    Read more in the :ref:`User Guide <datasets>`.

    Parameters
    ----------
    dataset : Bunch
        A data set with ``images`` and ``masks``, as all loaders and makers return.
    indices : array_like of int or bool, default=None
        The images to read: positions, or True for each image to read. None reads all.

    Returns
    -------
    list of MaskedArray of shape (height, width) or (height, width, channels)
        The pixels as stored; the mask is True outside the region, and the fill value is 0. All
        images are held in memory.

    Raises
    ------
    ImageError
        If an image has no mask or an empty one, if image and mask differ in height or width, or if
        a file cannot be read (an `ImageReadError`). The message names the image.

    See Also
    --------
    featbus.io.read_mask : Read the mask of one image.
    featbus.masks.with_mask : Mask an image with an array.
    ShapeStatistics : Features of the region alone.

    Notes
    -----
    Images without a region, such as the normal images of BUSI, are an error rather than left out or
    left unmasked: features of whole images among features of regions would give the class away.
    Select the others by `indices`, and use the same indices for ``target`` and ``groups``.

    Examples
    --------
    >>> from featbus import ShapeStatistics, load_masked, make_breast_ultrasound
    >>> data = make_breast_ultrasound(12, random_state=0)
    >>> has_lesion = data.frame["class"] != "normal"
    >>> ShapeStatistics().fit_transform(load_masked(data, has_lesion)).shape
    (8, 18)
    """
    positions = np.arange(len(dataset.images))
    if indices is not None:
        positions = positions[np.asarray(indices)]
    return [_read_masked(dataset.images[i], dataset.masks[i], i) for i in positions.tolist()]


def _read_masked(item, mask, index):
    image = read_item(item, index)
    with at_index(index, item):
        inside = read_mask(mask, image.shape)
        if inside is None:
            raise ImageError(
                "found no mask, expected a region. Select the images that have one: "
                "load_masked(dataset, indices)."
            )
        if not inside.any():
            raise ImageError(
                "found an empty mask, expected a region. Select the images whose mask is not "
                "empty: load_masked(dataset, indices), such as indices = "
                "dataset.frame['class'] != 'normal'."
            )
        return restrict(image, inside)
