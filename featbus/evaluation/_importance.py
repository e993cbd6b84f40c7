"""Weights of columns, painted back on the image."""

import numpy as np
from sklearn.pipeline import FeatureUnion, Pipeline

from featbus.base import FeatureExtractor, iter_images
from featbus.bus import FeatureBus
from featbus.images import fill_mask, to_float, to_gray
from featbus.preprocessing import Resize


def _boxes(transformer, image):
    """Return the boxes behind all columns, as shares of the image's height and width."""
    if isinstance(transformer, FeatureBus):
        return _boxes(transformer.transformer_, image)
    if isinstance(transformer, FeatureUnion):
        parts = [_boxes(step, image) for _, step in transformer.transformer_list if step != "drop"]
        return np.concatenate(parts)
    if isinstance(transformer, Pipeline):
        return _boxes_of_steps([step for _, step in transformer.steps], image)
    if isinstance(transformer, FeatureExtractor):
        height, width = image.shape[:2]
        return transformer._boxes((height, width)) / [height, width, height, width]
    raise ValueError(
        f"{type(transformer).__name__} makes columns that no pixels stand behind, expected an "
        "extractor, or a FeatureBus, Pipeline or FeatureUnion of extractors."
    )


def _boxes_of_steps(steps, image):
    """Return the boxes of the first step that makes columns; what follows must keep them."""
    for step in steps:
        if isinstance(step, (FeatureBus, FeatureExtractor, FeatureUnion, Pipeline)):
            return _boxes(step, image)
        if isinstance(step, Resize) and step.method == "letterbox":
            raise ValueError(
                "Pixels of a letterboxed image are not where they were. Pass the image as "
                "Resize(method='letterbox') makes it, and the steps behind that."
            )
        image = step.transform([image])[0]
    return _boxes(steps[-1], image)


def importance_map(transformer, importances, image):
    """Spread the weights of columns over the pixels behind them.

    Parameters
    ----------
    transformer : estimator
        A fitted extractor, or a `FeatureBus`, Pipeline or FeatureUnion of extractors. Image steps
        such as `Resize` may come before, and steps that keep the columns, such as a scaler, behind.
    importances : array_like of shape (n_features,)
        A weight for each column: a linear classifier's ``coef_[0]``, a forest's
        ``feature_importances_``.
    image : ndarray or path
        One image.

    Returns
    -------
    ndarray of float of shape (height, width)
        Each weight spread evenly over its column's pixels of `image`, and summed.

    Raises
    ------
    ValueError
        If there are not as many weights as columns, or no pixels stand behind the columns.
    """
    (image,) = iter_images([image])
    height, width = image.shape[:2]
    importances = np.asarray(importances, dtype=np.float64)
    boxes = _boxes(transformer, image)
    if importances.shape != (len(boxes),):
        raise ValueError(
            f"importances has shape {importances.shape}, expected ({len(boxes)},): one for each "
            "column. Pass one class's row of a coef_ of several."
        )
    boxes = np.rint(boxes * [height, width, height, width]).astype(np.intp)
    top, left, bottom, right = boxes.T
    density = importances / np.maximum((bottom - top) * (right - left), 1)
    # Corners of all boxes, summed up along both axes, are the boxes.
    corners = np.zeros((height + 1, width + 1))
    np.add.at(corners, (top, left), density)
    np.add.at(corners, (top, right), -density)
    np.add.at(corners, (bottom, left), -density)
    np.add.at(corners, (bottom, right), density)
    return corners.cumsum(axis=0).cumsum(axis=1)[:-1, :-1]


def plot_importance(transformer, importances, image, *, ax=None):
    """Paint the weights of columns on an image.

    Parameters
    ----------
    transformer : estimator
        A fitted extractor, or a `FeatureBus`, Pipeline or FeatureUnion of extractors: usually the
        part of a fitted pipeline that is before the classifier.
    importances : array_like of shape (n_features,)
        A weight for each column: a linear classifier's ``coef_[0]``, a forest's
        ``feature_importances_``.
    image : ndarray or path
        One image.
    ax : matplotlib.axes.Axes or None, default=None
        Where to draw; None makes a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The image in grey; red where the weights behind a pixel add up to more than 0, blue where to
        less, the stronger the more opaque.

    Raises
    ------
    ValueError
        If there are not as many weights as columns, or no pixels stand behind the columns.

    See Also
    --------
    featbus.HOG.where : The pixels behind one column.

    Notes
    -----
    A weight says where the classifier looks in every image, not what it found in this one; multiply
    the weights by the (scaled) row of the image for that: then the sum is the classifier's decision
    less its intercept. Columns of the whole image colour all of it.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import HOG, make_breast_ultrasound, plot_importance
    >>> images = make_breast_ultrasound(2, random_state=0).images
    >>> hog = HOG(pixels_per_cell=(16, 16)).fit(images)
    >>> ax = plot_importance(hog, np.ones(len(hog.get_feature_names_out())), images[0])
    """
    from matplotlib import pyplot as plt

    heat = importance_map(transformer, importances, image)
    (image,) = iter_images([image])
    ax = plt.figure(layout="constrained").gca() if ax is None else ax
    ax.imshow(fill_mask(to_float(to_gray(image))), cmap="gray", vmin=0, vmax=1)
    limit = np.abs(heat).max() or 1.0
    ax.imshow(heat, cmap="bwr", vmin=-limit, vmax=limit, alpha=0.7 * np.abs(heat) / limit)
    ax.set_axis_off()
    return ax
