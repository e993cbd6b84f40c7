"""Which pixels matter: weights of columns on the image, and parts hidden one by one."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from featbus.base import ImageTransformer
from featbus.color import to_float, to_gray, to_uint8
from featbus.io import SpacedImage, read_item
from featbus.masks import fill_mask
from featbus.preprocessing import Resample
from featbus.steps import extractions, unwrap
from featbus.typing import PathLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_N_PARTS = 6  # that each side is divided into, to hide one after another


def importance_map(
    transformer: Any, importances: ArrayLike, image: np.ndarray | PathLike
) -> np.ndarray:
    """Spread the weights of columns over the pixels that they are computed from.

    Read more in the :ref:`User Guide <report>`.

    Parameters
    ----------
    transformer : estimator
        A fitted extractor, or a `FeatureBus`, `FrozenEstimator`, Pipeline, FeatureUnion or
        ColumnTransformer of extractors. Image steps such as `Resize` may come before extractors,
        and steps that keep the columns, such as a scaler, after them.
    importances : array_like of shape (n_features,)
        A weight for each column: a linear classifier's ``coef_[0]``, a forest's
        ``feature_importances_``.
    image : ndarray, path or SpacedImage
        One image.

    Returns
    -------
    ndarray of float of shape (height, width)
        The weights, each spread evenly over its column's pixels of `image`, and summed. Weights of
        columns without pixels in the image, such as a letterbox's padding, are ignored.

    Raises
    ------
    ValueError
        If there are not as many weights as columns, or columns do not come from an extractor.

    Notes
    -----
    Boxes of pixels are mapped back through the image steps by
    `featbus.base.ImageTransformer.map_boxes`. Other steps from image to image count as a stretch
    from one shape to the other.
    """
    pixels = read_item(image, None)
    boxes = _boxes(transformer, image, pixels)
    importances = np.asarray(importances, dtype=np.float64)
    if importances.shape != (len(boxes),):
        raise ValueError(
            f"importances has shape {importances.shape}, expected ({len(boxes)},): one for each "
            "column. If there are several classes, pass the row of one class of coef_."
        )
    heat = np.zeros(pixels.shape[:2])
    for (top, left, bottom, right), importance in zip(_to_whole_pixels(boxes), importances):
        part = heat[top:bottom, left:right]
        part += importance / max(part.size, 1)
    return heat


def _boxes(transformer, item, image):
    """Return the box of pixels of the image that each column is computed from."""
    images, found = {}, []
    for steps, extractor in extractions(transformer):
        # The parts of a union have the same steps before them.
        key = tuple(map(id, steps))
        if key not in images:
            # The image before each step, and after the last one. Reading drops the spacing.
            images[key] = [item if steps and takes_item(unwrap(steps[0])) else image]
            for step in steps:
                images[key] += [step.transform([images[key][-1]])[0]]
        boxes = extractor._boxes(images[key][-1].shape[:2])
        for step, (before, after) in zip(steps[::-1], list(pairwise(images[key]))[::-1]):
            boxes = map_boxes_back(unwrap(step), boxes, before, after)
        found.append(boxes)
    return np.concatenate(found)


def takes_item(step):
    """Return whether a step needs more of an image than its pixels: the spacing."""
    return isinstance(step, Resample)


def map_boxes_back(step, boxes, before, after):
    """Map boxes after a step back to its input."""
    if isinstance(step, ImageTransformer):
        return step.map_boxes(boxes, before)
    return boxes / np.tile(after.shape[:2], 2) * np.tile(before.shape[:2], 2)


def _to_whole_pixels(boxes):
    """Round boxes to whole pixels, at least one for each side that is not empty."""
    start, stop = boxes[:, :2], boxes[:, 2:]
    low, high = np.rint(start), np.rint(stop)
    vanished = (low == high) & (start < stop)
    low = np.where(vanished, np.floor((start + stop) / 2), low)
    return np.hstack([low, np.where(vanished, low + 1, high)]).astype(np.intp)


def plot_importance(
    transformer: Any,
    importances: ArrayLike,
    image: np.ndarray | PathLike,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Paint the weights of columns on an image.

    Read more in the :ref:`User Guide <report>`.

    Parameters
    ----------
    transformer : estimator
        What ``featbus.evaluation.importance_map`` accepts: usually the steps of a fitted pipeline
        before the classifier.
    importances : array_like of shape (n_features,)
        A weight for each column: a linear classifier's ``coef_[0]``, a forest's
        ``feature_importances_``.
    image : ndarray, path or SpacedImage
        One image.
    ax : matplotlib.axes.Axes or None, default=None
        Where to draw; None makes a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The image in gray; red where the weights of a pixel sum to more than 0, blue where they sum
        to less. Stronger weights are more opaque.

    Raises
    ------
    ValueError
        If there are not as many weights as columns, or columns do not come from an extractor.

    See Also
    --------
    featbus.HOG.where : The pixels of one column.

    Notes
    -----
    A weight shows where the classifier looks in every image, not what it found in this one. For
    that, multiply the weights by the (scaled) row of the image: they then sum to the classifier's
    decision value minus its intercept. Columns of the whole image color all of it.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import HOG, make_breast_ultrasound, plot_importance
    >>> images = make_breast_ultrasound(2, random_state=0).images
    >>> hog = HOG(pixels_per_cell=(16, 16)).fit(images)
    >>> ax = plot_importance(hog, np.ones(len(hog.get_feature_names_out())), images[0])
    """
    heat = importance_map(transformer, importances, image)
    ax = draw_gray(read_item(image, None), ax)
    limit = np.abs(heat).max() or 1.0
    ax.imshow(heat, cmap="bwr", vmin=-limit, vmax=limit, alpha=0.7 * np.abs(heat) / limit)
    return ax


def draw_gray(image, ax):
    """Draw an image in gray on axes, on a new figure if they are None; return the axes."""
    from matplotlib import pyplot as plt

    ax = plt.figure(layout="constrained").gca() if ax is None else ax
    ax.imshow(fill_mask(to_float(to_gray(image))), cmap="gray", vmin=0, vmax=1)
    ax.set_axis_off()
    return ax


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
        The position of the class in ``model.classes_``. None: the most probable one, which may
        differ from `predict`, for instance with `sklearn.svm.SVC`.

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

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from featbus import LBP, make_breast_ultrasound
    >>> from featbus.evaluation import occlusion_map
    >>> data = make_breast_ultrasound(12, weights=[1, 1, 0], random_state=0)
    >>> model = make_pipeline(LBP(), LogisticRegression()).fit(data.images, data.target)
    >>> occlusion_map(model, data.images[0]).shape == data.images[0].shape
    True
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
    probabilities = model.predict_proba(copies)
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
