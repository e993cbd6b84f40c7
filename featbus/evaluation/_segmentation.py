"""Regions that pipelines find: their scores, and their outlines on images."""

from __future__ import annotations

from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.ndimage import binary_erosion, distance_transform_edt
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length

from featbus.base import ImageTransformer
from featbus.evaluation._importance import draw_gray, map_boxes_back, takes_item
from featbus.images import map_at_index
from featbus.io import read_item, read_mask
from featbus.masks import dice
from featbus.parameters import Interval, PairOf, as_pair, check_parameters
from featbus.segmentation import ROICropper, Segmenter
from featbus.steps import all_steps, steps_of, unwrap
from featbus.typing import Images, PathLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_QUALITY = ["dice", "iou", "precision", "recall", "hausdorff_95", "surface_distance"]
_CONSTRAINTS = {"spacing": [PairOf(Interval(Real, 0, None, closed="neither"))]}


def segmentation_scores(
    true_masks: Images, predicted_masks: ArrayLike, *, spacing: float | tuple[float, ...] = 1.0
) -> pd.DataFrame:
    """Compare found regions with true ones, image by image.

    Read more in the :ref:`User Guide <segmentation>`.

    Parameters
    ----------
    true_masks : sequence of length n_images
        The true masks, see `featbus.io.read_mask`.
    predicted_masks : sequence of ndarray of bool of shape (height, width)
        The masks that a segmenter predicted; their shapes are those of the images.
    spacing : float or tuple of float, default=1.0
        Height and width of a pixel, in millimeters for instance: the unit of the distances.

    Returns
    -------
    DataFrame
        One row per image:

        ========================  =================================================================
        ``dice``                  ``2 |A B| / (|A| + |B|)``, from 0 to 1
        ``iou``                   ``|A B| / |A or B|``, the Jaccard index
        ``precision``             share of the found pixels that are true
        ``recall``                share of the true pixels that are found
        ``hausdorff_95``          the larger of the 95th percentiles of the distances from either
                                  outline to the other [1]_
        ``surface_distance``      mean of all these distances
        ``true_area``             share of the image, from 0 to 1
        ``predicted_area``        share of the image, from 0 to 1
        ========================  =================================================================

        Where a true mask is empty, all but the areas are NaN: whether anything was found there is a
        question of its own. Where nothing was found though there is a region, Dice, IoU and recall
        are 0, and precision and distances NaN.

    Raises
    ------
    ImageError
        If the two masks of an image differ in size, or there is no true mask; the message names the
        image.

    See Also
    --------
    featbus.UNetSegmenter : Find regions.

    Notes
    -----
    An outline consists of the pixels of a region that touch the outside, or the border of the
    image, along a row or a column.

    References
    ----------
    .. [1] Maier-Hein L et al. Metrics reloaded: recommendations for image analysis validation.
       Nature Methods 21 (2024) 195-212, doi:10.1038/s41592-023-02151-z.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.evaluation import segmentation_scores
    >>> true, found = np.zeros((2, 1, 20, 20), bool)
    >>> true[0, 5:15, 5:15] = found[0, 5:15, 7:17] = True
    >>> scores = segmentation_scores(true, found)
    >>> scores["dice"].tolist(), scores["hausdorff_95"].tolist()
    ([0.8], [2.0])
    """
    check_parameters(_CONSTRAINTS, {"spacing": spacing})
    check_consistent_length(true_masks, predicted_masks)
    score = partial(_score, spacing=as_pair(spacing))
    return pd.DataFrame(map_at_index(score, true_masks, predicted_masks))


def _score(true, found, spacing):
    found = read_mask(found, np.shape(found), required=True)
    true = read_mask(true, found.shape, required=True)
    n_true, n_found, n_both = true.sum(), found.sum(), (true & found).sum()
    scores = dict.fromkeys(_QUALITY, np.nan)
    if n_true:
        scores |= {"dice": dice(true, found), "recall": n_both / n_true}
        scores["iou"] = n_both / (n_true + n_found - n_both)
    if n_true and n_found:
        both = _surface_distances(true, found, spacing)
        scores["precision"] = n_both / n_found
        scores["hausdorff_95"] = max(np.percentile(part, 95) for part in both)
        scores["surface_distance"] = np.concatenate(both).mean()
    return scores | {"true_area": true.mean(), "predicted_area": found.mean()}


def _surface_distances(first, second, spacing):
    """Return the distance of each pixel of either outline from the other outline."""
    outlines = [region & ~binary_erosion(region) for region in (first, second)]
    away = [distance_transform_edt(~outline, sampling=spacing) for outline in outlines]
    return away[1][outlines[0]], away[0][outlines[1]]


def plot_segmentation(
    image: np.ndarray | PathLike,
    *,
    true_mask: PathLike | ArrayLike | Images | None = None,
    predicted_mask: np.ndarray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the outlines of regions on an image.

    Read more in the :ref:`User Guide <segmentation>`.

    Parameters
    ----------
    image : ndarray, path or SpacedImage
        One image.
    true_mask : path, array or sequence of these, default=None
        The true mask, see `featbus.io.read_mask`.
    predicted_mask : ndarray of bool of shape (height, width), default=None
        The mask that was found.
    ax : matplotlib.axes.Axes or None, default=None
        Where to draw; None makes a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The image in gray, the true outline solid and green, the predicted one dashed and orange; a
        title with their Dice coefficient if both are given.

    Raises
    ------
    ImageError
        If the image or a mask is invalid.

    See Also
    --------
    featbus.explain : Draw what a fitted pipeline says of an image.
    featbus.evaluation.segmentation_scores : Compare masks in numbers.

    Examples
    --------
    >>> from featbus import ThresholdSegmenter, make_breast_ultrasound, plot_segmentation
    >>> data = make_breast_ultrasound(1, weights=[1, 0, 0], random_state=0)
    >>> found = ThresholdSegmenter().predict(data.images)[0]
    >>> ax = plot_segmentation(data.images[0], true_mask=data.masks[0], predicted_mask=found)
    """
    image = read_item(image, None)
    true, found = (read_mask(mask, image.shape) for mask in (true_mask, predicted_mask))
    ax = draw_gray(image, ax)
    for region, color, style in ((true, "#009e73", "-"), (found, "#e69f00", "--")):
        if region is not None and region.any():
            # A frame of False closes the outlines of regions at the border.
            framed = np.pad(region.astype(float), 1)
            lines = np.arange(-1, region.shape[1] + 1), np.arange(-1, region.shape[0] + 1)
            ax.contour(*lines, framed, levels=[0.5], colors=color, linestyles=style)
    if true is not None and found is not None and true.any():
        ax.set_title(f"Dice {dice(true, found):.2f}")
    return ax


def explain(
    pipeline: Any,
    image: np.ndarray | PathLike,
    *,
    target_names: list[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what a fitted pipeline says of an image: the class, its probability and the outline.

    Read more in the :ref:`User Guide <segmentation>`.

    Parameters
    ----------
    pipeline : estimator
        A fitted classifier of images with a `ROICropper` or a segmenter inside.
    image : ndarray, path or SpacedImage
        One image.
    target_names : list of str, default=None
        Names of the classes, in the order of ``pipeline.classes_``; None for the classes
        themselves.
    ax : matplotlib.axes.Axes or None, default=None
        Where to draw; None makes a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The image with the outline of the region that was found; the title has the predicted class
        and, if the classifier has `predict_proba`, its probability.

    Raises
    ------
    ValueError
        If nothing in the pipeline finds regions.

    See Also
    --------
    plot_segmentation : Compare a found outline with the true one.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import SVC
    >>> from featbus import LBP, ROICropper, ThresholdSegmenter, explain, make_breast_ultrasound
    >>> data = make_breast_ultrasound(12, weights=[1, 1, 0], random_state=0)
    >>> pipeline = make_pipeline(ROICropper(ThresholdSegmenter()), LBP(), SVC())
    >>> model = pipeline.fit(data.images, data.target)
    >>> ax = explain(model, data.images[0], target_names=["benign", "malignant"])
    >>> ax.get_title()
    'benign'
    """
    region = find_outline(pipeline, image)
    if region is None:
        raise ValueError(
            f"{type(pipeline).__name__} has no ROICropper and no segmenter, expected one: only "
            "they find outlines."
        )
    ax = plot_segmentation(image, predicted_mask=region, ax=ax)
    (label,) = pipeline.predict([image])
    position = list(pipeline.classes_).index(label)
    text = str(label if target_names is None else target_names[position])
    if hasattr(pipeline, "predict_proba"):
        text += f", probability {pipeline.predict_proba([image])[0, position]:.2f}"
    ax.set_title(text)
    return ax


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
    trail : list of (estimator, image, ndarray)
        Each step before, and the image before and after it.
    """
    estimator = unwrap(estimator)
    if _finds(estimator):
        return estimator.predict([image])[0], []
    if isinstance(estimator, ImageTransformer):
        return None, [(estimator, image, estimator.transform([image])[0])]
    trail = []
    for _, step in steps_of(estimator):
        region, taken = find_region(step, image)
        if region is not None:
            return region, trail + taken
        if isinstance(estimator, Pipeline) and taken:
            trail, image = trail + taken, taken[-1][2]
    return None, trail


def _map_region(region, step, before, after):
    """Map a region after a step back to the pixels before it: steps move rows and columns."""
    axes = []
    for axis, size in enumerate(read_item(before, None).shape[:2]):
        n = region.shape[axis]  # a strip across the image for each row or column of the region
        strips = np.tile([0, 0, *region.shape], (n, 1)).astype(float)
        strips[:, axis], strips[:, axis + 2] = np.arange(n), np.arange(1, n + 1)
        ranges = map_boxes_back(step, strips, before, after)[:, [axis, axis + 2]]
        middles = np.arange(size)[:, np.newaxis] + 0.5
        inside = (ranges[:, 0] <= middles) & (middles < ranges[:, 1])
        axes.append(np.where(inside.any(axis=1), inside.argmax(axis=1), -1))
    down, across = axes
    return region[np.ix_(down, across)] & np.outer(down >= 0, across >= 0)
