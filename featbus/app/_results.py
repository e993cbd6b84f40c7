"""What the page shows: the model, and of each image an examination, or why there is none."""

import logging
import traceback
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from featbus.color import to_rgb
from featbus.commands import Examination, examine_image
from featbus.datasets import make_breast_ultrasound, make_mammograms
from featbus.datasets._base import stated_spacing
from featbus.files import escape, escape_formula
from featbus.images import ImageError
from featbus.io import SpacedImage, read_image
from featbus.persistence import load, read_card

_LOGGER = logging.getLogger("featbus")
_TOP = "Called by the highest probability."
_NOT_TOP = "The classifier and its probabilities differ: another class is more probable."
_NOT_EVALUATED = "Not evaluated: the model card does not say how often such a call was right."
_SIDE = 900  # pixels of the longer side of a picture
_OUTLINE = (255, 214, 64)
_FOR, _AGAINST = np.array([235, 64, 52.0]), np.array([52, 120, 246.0])
_OPACITY = 0.45


class Model(NamedTuple):
    """A model with what the page shows of it."""

    name: str
    pipeline: Any
    card: dict
    examples: dict  # name to SpacedImage


class Result(NamedTuple):
    """The result of one file."""

    name: str
    examination: Examination | None = None
    error: str | None = None


@cache
def open_model(path):
    """Load a model, and examine an image once: networks are built then.

    Parameters
    ----------
    path : str
        The file that `featbus.save` wrote.

    Returns
    -------
    Model
        The same for the same path.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no model of classes.
    """
    card, pipeline = read_card(path), load(path)
    if not (hasattr(pipeline, "predict") and card["classes"]):
        raise ValueError(f"{path!r} has no classes, expected a model that predicts some.")
    examples = _make_examples(card)
    examine_image(pipeline, card, next(iter(examples.values())))
    return Model(Path(path).stem, pipeline, card, examples)


def _make_examples(card):
    """Make one synthetic image of each class, of the kind that the card describes."""
    kind, make, spacing = "ultrasound", make_breast_ultrasound, 0.2
    described = str([card.get("recipe"), card.get("data")]).lower()
    if "mammo" in described or "mias" in described:
        kind, make, spacing = "mammogram", make_mammograms, 1.0
    data = make(12, random_state=3)
    _, first = np.unique(data.target, return_index=True)
    names = [f"Synthetic {kind}, {name}" for name in data.target_names]
    return {name: SpacedImage(data.images[index], spacing) for name, index in zip(names, first)}


def examine(model, name, image, importance=False):
    """Examine an image; whatever goes wrong is a sentence of the result.

    Parameters
    ----------
    model : Model
        See `open_model`.
    name : str
        What the reader calls the image.
    image : bytes, ndarray or SpacedImage
        The content of a file, or an image.
    importance : bool, default=False
        Whether to compute the importance map, which takes many predictions.

    Returns
    -------
    Result
        The examination or the error.
    """
    try:
        if isinstance(image, bytes):
            image = SpacedImage(read_image(image), stated_spacing(image))
        return Result(name, examine_image(model.pipeline, model.card, image, importance=importance))
    except ImageError as error:
        return Result(name, error=error.reason)
    except Exception as error:
        # The message of an error may quote the image.
        place = traceback.extract_tb(error.__traceback__)[-1]
        _LOGGER.error("%s in %s, line %s", type(error).__name__, place.name, place.lineno)
        return Result(name, error="The image could not be examined.")


def tabulate(results):
    """Return a table of results that a spreadsheet shows as text and numbers.

    Parameters
    ----------
    results : iterable of Result
        The results.

    Returns
    -------
    DataFrame
        One row per image: ``image``, ``predicted``, ``probability_<class>``, ``distance`` and
        ``limit`` (see `featbus.commands.examine_image`), ``unlike_training_images`` and ``error``.
    """
    table = pd.DataFrame([_row(result) for result in results])
    table["error"] = table.pop("error")  # last
    return table.map(_as_cell).rename(columns=_as_cell)


def _as_cell(value):
    """Escape a text: no formula, and nothing invisible."""
    return escape_formula(escape(value)) if isinstance(value, str) else value


def _row(result):
    row = {"image": result.name, "error": result.error}
    found = result.examination
    if found is None:
        return row
    row["predicted"] = found.predicted
    if found.probabilities is not None:
        row |= {f"probability_{name}": value for name, value in found.probabilities.items()}
    distances = {"distance": found.distance, "limit": found.limit}
    return row | distances | {"unlike_training_images": found.is_unfamiliar}


def describe_call(card, found):
    """Return sentences on what the predicted class is worth.

    Parameters
    ----------
    card : dict
        The card of the model.
    found : Examination
        What the model says of an image.

    Returns
    -------
    list of str
        First, how often such a call was right when the model was tested, or that this was not
        evaluated; then from which probability on a class is called, and the classes of the model.
    """
    sentences, call = [_NOT_EVALUATED], (card.get("calls") or {}).get(found.predicted)
    if call:
        share = f" ({call['right'] / call['of']:.0%})" if call["of"] else ""
        sentences = [
            f"Of {call['of']} {call['unit']} called {found.predicted} when the model was tested, "
            f"{call['right']} were {found.predicted}{share}."
        ]
    if point := card.get("operating_point"):
        sentences.append(
            f"Called {point['class']} from a probability of {point['threshold']:.2f} on, chosen "
            f"for a {point['chosen_for']}."
        )
    elif found.probabilities is not None:
        sentences.append(_TOP if found.predicted == found.probabilities.idxmax() else _NOT_TOP)
    return [*sentences, f"The model knows only these classes: {', '.join(card['classes'])}."]


def draw(examination):
    """Return the picture of an image with its outline and its importance map, if there are any.

    Parameters
    ----------
    examination : Examination
        The image, its outline and its importance map.

    Returns
    -------
    ndarray of uint8 of shape (height, width, 3)
        The picture. Red parts lower the probability of the predicted class when they are hidden,
        blue ones raise it; stronger is more opaque.
    """
    picture, heat = to_rgb(examination.image), examination.importance
    if heat is not None:
        strength = heat[..., np.newaxis] / np.abs(heat).max()
        opacity = _OPACITY * strength**2  # leaves parts of little weight as they are
        color = np.where(strength > 0, _FOR, _AGAINST)
        picture = np.rint(picture * (1 - opacity) + color * opacity).astype(np.uint8)
    scale = _SIDE / max(picture.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else 1)
    if examination.outline is not None:
        inside = cv2.resize(examination.outline.astype(np.uint8) * 255, size) > 127
        edges, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, edges, -1, (0, 0, 0), 5, cv2.LINE_AA)
        cv2.drawContours(picture, edges, -1, _OUTLINE, 2, cv2.LINE_AA)
    return picture
