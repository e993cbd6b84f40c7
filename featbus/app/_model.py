"""The model of the page, loaded once for all readers."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from featbus.commands import examine_image
from featbus.datasets import make_breast_ultrasound, make_mammograms
from featbus.io import SpacedImage
from featbus.persistence import load, read_card


class Model(NamedTuple):
    """A model with what the page shows of it."""

    name: str
    pipeline: Any
    card: dict
    examples: dict  # name to SpacedImage


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
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"Found no file {path!r}, expected the model that `featbus train` wrote."
        )
    card, pipeline = read_card(path), load(path)
    if not (hasattr(pipeline, "predict") and card["classes"]):
        raise ValueError(f"{path!r} has no classes, expected a model that predicts some.")
    examples = _make_examples(card)
    examine_image(pipeline, card, next(iter(examples.values())))
    return Model(Path(path).stem, pipeline, card, examples)


def _make_examples(card):
    """Make one synthetic image of each class, of the kind that the card speaks of."""
    about = json.dumps([card.get("recipe"), card.get("data")]).lower()
    is_mammogram = "mammo" in about or "mias" in about
    kind, make, spacing = (
        ("mammogram", make_mammograms, 1.0)
        if is_mammogram
        else ("ultrasound", make_breast_ultrasound, 0.2)
    )
    data = make(12, random_state=3)
    _, first = np.unique(data.target, return_index=True)
    return {
        f"Synthetic {kind}, {data.target_names[data.target[index]]}": SpacedImage(
            data.images[index], spacing
        )
        for index in first
    }
