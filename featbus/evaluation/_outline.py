"""Where a fitted pipeline sees the region, on the pixels of the original image."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline

from featbus.base import ImageTransformer
from featbus.evaluation._importance import map_boxes_back, takes_item
from featbus.io import read_item
from featbus.segmentation import ROICropper, Segmenter
from featbus.steps import all_steps, steps_of, unwrap

if TYPE_CHECKING:
    from typing import Any

    from featbus.typing import PathLike


def find_outline(pipeline: Any, image: np.ndarray | PathLike) -> np.ndarray | None:
    """Find the region that a fitted pipeline sees, on the pixels of the image.

    Read more in the :ref:`User Guide <segmentation>`.

    Parameters
    ----------
    pipeline : estimator
        A fitted pipeline; with a `ROICropper` or a segmenter inside, it finds regions.
    image : ndarray, path or SpacedImage
        One image.

    Returns
    -------
    ndarray of bool of shape (height, width), or None
        True inside the region that the first of these steps finds; None without such a step.

    Raises
    ------
    ImageError
        If the image is invalid, or a step cannot use it.

    See Also
    --------
    explain : Draw the outline.
    """
    if not any(_finds(step) for step in all_steps(pipeline)):
        return None
    region, trail = find_region(pipeline, image)
    for step, before, after in reversed(trail):
        before = before if takes_item(step) else read_item(before, None)
        region = _map_region(region, step, before, after)
    return region


def _finds(step):
    # A cropper, which comes before its segmenter, leaves specks out.
    return isinstance(step, Segmenter) or (
        isinstance(step, ROICropper) and step.segmenter is not None
    )


class Taken(NamedTuple):
    """A step that an image took, and the image before and after it."""

    step: ImageTransformer
    before: object
    after: np.ndarray


def find_region(estimator, image):
    """Find the region that the first step that looks for one finds.

    Parameters
    ----------
    estimator : estimator
        A fitted one.
    image : ndarray, path or SpacedImage
        One image.

    Returns
    -------
    region : ndarray of bool, or None
        On the image that this step gets; None without such a step.
    trail : list of Taken
        The steps before.
    """
    estimator = unwrap(estimator)
    if _finds(estimator):
        return estimator.predict([image])[0], []
    if isinstance(estimator, ImageTransformer):
        return None, [Taken(estimator, image, estimator.transform([image])[0])]
    trail = []
    for _, step in steps_of(estimator):
        region, taken = find_region(step, image)
        if region is not None:
            return region, trail + taken
        if isinstance(estimator, Pipeline) and taken:
            trail, image = trail + taken, taken[-1].after
    return None, trail


def _map_region(region, step, before, after):
    """Map a region after a step back to the pixels before it: steps move rows and columns."""
    (height, width), shape = region.shape, read_item(before, None).shape[:2]
    rows, columns = np.zeros((height, 4)), np.zeros((width, 4))
    rows[:, 0], rows[:, 2], rows[:, 3] = range(height), range(1, height + 1), width
    columns[:, 1], columns[:, 3], columns[:, 2] = range(width), range(1, width + 1), height
    boxes = map_boxes_back(step, np.concatenate([rows, columns]), before, after)
    down = _positions(boxes[:height, [0, 2]], shape[0])
    across = _positions(boxes[height:, [1, 3]], shape[1])
    return region[np.ix_(down, across)] & np.outer(down >= 0, across >= 0)


def _positions(ranges, size):
    """Return which of some ranges the middle of each pixel lies in, -1 if in none."""
    middles = np.arange(size)[:, np.newaxis] + 0.5
    inside = (ranges[:, 0] <= middles) & (middles < ranges[:, 1])
    return np.where(inside.any(axis=1), inside.argmax(axis=1), -1)
