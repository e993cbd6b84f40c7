"""Images, whatever kind of item of a batch they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featbus.images import at_index, check_image, is_path
from featbus.io._readers import read_image
from featbus.io._spaced import SpacedImage

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy as np


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
