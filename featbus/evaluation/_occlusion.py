"""Which parts of an image a prediction rests on: hide them one by one."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

from featbus.color import to_uint8
from featbus.io import SpacedImage, read_item

if TYPE_CHECKING:
    from typing import Any

    from featbus.typing import PathLike

_N_PARTS = 6
_BATCH = 16


def occlusion_map(
    model: Any, image: np.ndarray | PathLike, *, class_index: int | None = None
) -> np.ndarray:
    """Measure how much the probability of a class falls when a part of the image is hidden.

    Read more in the :ref:`User Guide <evaluation>`.

    Parameters
    ----------
    model : estimator
        A fitted classifier of images with `predict_proba`.
    image : ndarray, path or SpacedImage
        One image.
    class_index : int or None, default=None
        The position of the class in ``model.classes_``. None: the most probable one, which need
        not be what `predict` returns, such as that of `sklearn.svm.SVC`.

    Returns
    -------
    ndarray of float of shape (height, width)
        For the pixels of each part, the probability of the class, less the probability of this
        class once the part is filled with the image's mean: from -1 to 1, positive where the image
        speaks for the class.

    Raises
    ------
    ImageError
        If the image is invalid, or the model cannot use it with a part hidden.

    See Also
    --------
    importance_map : The weights of a linear model's columns, exactly.

    References
    ----------
    .. [1] Zeiler MD, Fergus R. Visualizing and understanding convolutional networks. ECCV 2014,
       section 4.2.
    """
    spacing = image.spacing if isinstance(image, SpacedImage) else None
    image = read_item(image, None)
    image = to_uint8(image) if image.dtype == bool else image
    hidden = image.mean(axis=(0, 1)).astype(image.dtype)
    cells = list(product(*(_parts(side) for side in image.shape[:2])))
    copies = [image]
    for cell in cells:
        copy = image.copy()
        np.ma.getdata(copy)[cell] = hidden
        copies.append(copy)
    if spacing is not None:
        copies = [SpacedImage(copy, spacing) for copy in copies]
    batches = (copies[start : start + _BATCH] for start in range(0, len(copies), _BATCH))
    probabilities = np.concatenate([model.predict_proba(batch) for batch in batches])
    index = probabilities[0].argmax() if class_index is None else class_index
    probability = probabilities[:, index]
    heat = np.zeros(image.shape[:2])
    for cell, value in zip(cells, probability[0] - probability[1:]):
        heat[cell] = value
    return heat


def _parts(side):
    """Return slices of equal parts of a side."""
    ends = np.unique(np.linspace(0, side, _N_PARTS + 1).round().astype(int)).tolist()
    return [slice(*pair) for pair in pairwise(ends)]
