"""What a model says of one image, and whether the image is like the training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from featbus.color import to_rgb, to_uint8
from featbus.commands._appearance import find_distance
from featbus.commands._predict import predict_image
from featbus.evaluation import find_outline, occlusion_map
from featbus.images import ImageError
from featbus.io import SpacedImage, read_item
from featbus.masks import fill_mask

# Change of probability by hiding a part that models of permuted classes seldom exceed, see the
# user guide.
_NOISE = 0.1


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Examination:
    """What `examine_image` returns.

    Read more in the :ref:`User Guide <reference_of_card>`.

    Attributes
    ----------
    image : ndarray of uint8 of shape (height, width) or (height, width, 3)
        The image as screens show it.
    predicted : str
        The predicted class.
    probabilities : Series or None
        The probability of each class, by its name; None if the model gives none.
    outline : ndarray of bool of shape (height, width), or None
        True inside the region that the model found; None if it looks for none.
    importance : ndarray of float of shape (height, width), or None
        How much the probability of the predicted class falls when a part of the image is hidden,
        see `featbus.evaluation.occlusion_map`.
    importance_reason : str or None
        Why there is no importance: for instance, no part changes the probability by more than 0.1,
        which is noise, or the card says that the model is not clearly better than chance.
    distance : float or None
        How far the image is from the training images, see `describe_training_images`.
    limit : float or None
        The distance from which on an image counts as unlike them.
    is_unfamiliar : bool or None
        Whether the distance exceeds the limit; None if the card does not describe the training
        images.

    Notes
    -----
    Probabilities are those of the model's `predict_proba`. In the recipes of featbus they are
    calibrated: by logistic regression, or by a sigmoid of the classifier's scores that is fitted in
    a cross-validation inside `fit`, which keeps groups together. They hold for the shares of the
    classes in the training images, not for patients among whom a class is rarer or more frequent,
    and for images like these. The Brier score in the model card measures their quality: the mean
    squared error of the cross-validated probabilities; 0 is perfect. `predicted` is what the
    model's `predict` returns, which is not always the most probable class:
    ``SVC(probability=True)`` computes the two in different ways.
    """

    image: np.ndarray
    predicted: str
    probabilities: pd.Series | None
    outline: np.ndarray | None
    importance: np.ndarray | None
    importance_reason: str | None
    distance: float | None
    limit: float | None
    is_unfamiliar: bool | None


def examine_image(
    model: Any, card: dict, image: np.ndarray | SpacedImage, *, importance: bool = True
) -> Examination:
    """Predict the class of one image, and show what the prediction rests on.

    Read more in the :ref:`User Guide <reference_of_card>`.

    Parameters
    ----------
    model : estimator
        A fitted classifier of images, such as `featbus.load` returns. Rows of the image are stored
        only if its `FeatureBus` has a `memory`, which a loaded model has not.
    card : dict
        The card of the model, see `featbus.persistence.read_card`.
    image : ndarray or SpacedImage
        The image, see `featbus.io.read_image`, which also takes the content of a file. Models whose
        first step is `Resample` need a `featbus.io.SpacedImage`.
    importance : bool, default=True
        Whether to compute the importance, which takes 37 predictions.

    Returns
    -------
    Examination
        The class and its probability, the outline, the importance, and the distance from the
        training images.

    Raises
    ------
    ImageError
        If the image is invalid, or the model cannot use it.
    ValueError
        If a parameter is invalid, or the classes of the card are not those of the model.

    See Also
    --------
    predict : Tables of predictions for many files.
    describe_training_images : What the card says of the training images.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from featbus import IntensityStatistics, make_breast_ultrasound
    >>> from featbus.commands import describe_training_images, examine_image
    >>> data = make_breast_ultrasound(40, random_state=0)
    >>> model = make_pipeline(IntensityStatistics(), StandardScaler(), LogisticRegression())
    >>> model = model.fit(data.images, data.target)
    >>> reference = describe_training_images(data.images)
    >>> card = {"classes": data.target_names, "reference": reference}
    >>> found = examine_image(model, card, data.images[1])
    >>> found.predicted, found.is_unfamiliar
    ('benign', False)
    """
    pixels = read_item(image, None)
    item = SpacedImage(pixels, image.spacing) if isinstance(image, SpacedImage) else pixels
    try:
        predicted, probabilities = predict_image(model, card.get("classes"), item)
        outline = find_outline(model, item)
    except ImageError as error:
        raise error.at(None) from error
    heat, reason = None, "The importance was not asked for."
    if importance and probabilities is None:
        reason = "The model gives no probabilities, whose change is the importance."
    elif importance and card.get("doubt"):
        reason = "The model is not clearly better than chance: a map would show noise."
    elif importance:
        try:
            position = probabilities.index.get_loc(predicted)
            heat, reason = occlusion_map(model, item, class_index=position), None
        except ImageError as error:
            reason = f"The model cannot use the image with a part hidden: {error.reason}"
    if heat is not None and (largest := float(np.abs(heat).max())) <= _NOISE:
        heat = None
        reason = (
            f"No map: hiding a part changes the probability by {largest:.2f} at most, and up to "
            f"{_NOISE:.2f} is noise."
        )
    shown = fill_mask(to_uint8(pixels))
    distance, limit = find_distance(card, pixels)
    return Examination(
        image=shown if shown.ndim == 2 else to_rgb(shown),
        predicted=predicted,
        probabilities=probabilities,
        outline=outline,
        importance=heat,
        importance_reason=reason,
        distance=distance,
        limit=limit,
        is_unfamiliar=None if limit is None else distance > limit,
    )
