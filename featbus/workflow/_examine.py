"""What a model says of one image, and whether it may say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from featbus.evaluation import find_outline, occlusion_map
from featbus.images import ImageError, check_image, fill_mask, to_rgb, to_uint8
from featbus.parameters import HasMethods, check_parameters
from featbus.workflow._predict import predict_image
from featbus.workflow._reference import N_BINS, find_histogram, is_current, measure_distance

if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, eq=False)
class Examination:
    """What `examine_image` returns.

    Read more in the :ref:`User Guide <command_line>`.

    Attributes
    ----------
    image : ndarray of uint8 of shape (height, width) or (height, width, 3)
        The image as a page shows it.
    predicted : str
        The predicted class.
    probabilities : Series or None
        The probability of each class, by its name. None if the model gives none.
    outline : ndarray of bool of shape (height, width), or None
        True inside the region that the model found in the image; None if it looks for none.
    importance : ndarray of float of shape (height, width), or None
        How much the probability of the predicted class falls when a part of the image is hidden,
        see `featbus.evaluation.occlusion_map`.
    importance_reason : str or None
        Why there is no importance.
    histogram : Series
        The share of pixels in each of 32 equal parts of the range of intensities, by the lower end
        of the part, from 0 to 1.
    reference : DataFrame or None
        The mean histogram of the training images, a column for each class. None if the card has
        none.
    distance : float or None
        How far the image is from the training images.
    limit : float or None
        The distance from which an image counts as unfamiliar.
    is_unfamiliar : bool or None
        Whether the image is unlike the training images. None if the card has no summary of them.
    """

    image: np.ndarray
    predicted: str
    probabilities: pd.Series | None
    outline: np.ndarray | None
    importance: np.ndarray | None
    importance_reason: str | None
    histogram: pd.Series
    reference: pd.DataFrame | None
    distance: float | None
    limit: float | None
    is_unfamiliar: bool | None


def examine_image(model: Any, card: dict, image: np.ndarray) -> Examination:
    """Predict the class of one image, and say what the prediction rests on.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    model : estimator
        A fitted classifier of images, such as `featbus.load` returns.
    card : dict
        Its model card, see `featbus.persistence.read_card`.
    image : ndarray
        The image, see `featbus.io.read_image`, which also reads bytes.

    Returns
    -------
    Examination
        The class, probabilities, outline, importance, histograms and distance.

    Raises
    ------
    ImageError
        If the image is invalid, or the model cannot use it.
    """
    check_parameters({"model": [HasMethods("predict")], "card": [dict]}, locals())
    image = check_image(image)
    try:
        found = predict_image(model, card.get("classes"), image)
        outline = find_outline(model, image)
    except ImageError as error:
        raise error.at(None) from error
    predicted, probabilities = found
    importance, reason = _find_importance(model, image, probabilities)
    reference = card.get("reference") or {}
    distance, limit = _judge(reference, image)
    return Examination(
        image=_shown(image),
        predicted=predicted,
        probabilities=probabilities,
        outline=outline,
        importance=importance,
        importance_reason=reason,
        histogram=pd.Series(find_histogram(image), _bins(), name="share of pixels"),
        reference=_read_histograms(reference),
        distance=distance,
        limit=limit,
        is_unfamiliar=None if limit is None else distance > limit,
    )


def _find_importance(model, image, probabilities):
    if probabilities is None:
        return None, "The model gives no probabilities."
    try:
        return occlusion_map(model, image), None
    except ImageError as error:
        return None, f"The model cannot use the image with a part hidden: {error.reason}"


def _judge(reference, image):
    summary = reference.get("features")
    if not is_current(summary):
        return None, None
    return measure_distance(summary, image), float(summary["limit"])


def _read_histograms(reference):
    histograms = reference.get("histograms")
    return pd.DataFrame(histograms, index=_bins()) if histograms else None


def _bins():
    return pd.Index(np.arange(N_BINS) / N_BINS, name="intensity")


def _shown(image):
    pixels = fill_mask(to_uint8(image))
    return pixels if pixels.ndim == 2 else to_rgb(pixels)
