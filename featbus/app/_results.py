"""What the page knows of an uploaded file: an examination, or why there is none."""

import logging
import re
import traceback
from typing import NamedTuple

import pandas as pd

from featbus.commands import Examination, examine_image
from featbus.files import escape, escape_formula
from featbus.images import ImageError
from featbus.io import ImageReadError, SpacedImage, read_image, read_spacing

_LOGGER = logging.getLogger("featbus")
# A name of a parameter, a class or a function.
_CODE = re.compile(r"\w_\w|[a-z][A-Z]|[a-z]\.[a-z]")
_UNKNOWN = "The image could not be examined. Other images are not affected."


class Result(NamedTuple):
    """The result of one file."""

    name: str
    examination: Examination | None = None
    error: str | None = None
    is_explained: bool = False  # whether its importance was asked for


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
        Whether to find what the class rests on, which takes many predictions.

    Returns
    -------
    Result
        The examination or the error.
    """
    try:
        item = _read(image) if isinstance(image, bytes) else image
        found = examine_image(model.pipeline, model.card, item, importance=importance)
        return Result(name, found, is_explained=importance)
    except ImageError as error:
        return Result(name, error=_for_readers(error.reason))
    except Exception as error:
        _log(error)
        return Result(name, error=_UNKNOWN)


def _read(content):
    """Read an image, with its spacing if the file states one."""
    image = read_image(content)
    try:
        spacing = read_spacing(content)
    except ImageReadError:
        spacing = None  # a model that needs it says so
    return image if spacing is None else SpacedImage(image, spacing)


def _for_readers(reason):
    """Return a reason without the remedies that only programmers have."""
    found, *remedies = re.split(r"(?<=\.) (?=[A-Z])", reason)
    return " ".join([found, *(remedy for remedy in remedies if not _CODE.search(remedy))])


def _log(error):
    """Log where an error happened, without its message, which may quote the image."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    _LOGGER.error("%s in %s, line %s", type(error).__name__, place.name, place.lineno)


def to_csv(results):
    """Return results as the text of a CSV file.

    Parameters
    ----------
    results : iterable of Result
        The results.

    Returns
    -------
    str
        One row per image: ``image``, ``predicted``, ``probability_<class>``, ``distance`` and
        ``limit`` (see `featbus.commands.examine_image`), ``unlike_training_images`` and ``error``.
    """
    table = pd.DataFrame([_row(result) for result in results])
    table["error"] = table.pop("error")  # last
    for name in ("image", "predicted", "error"):
        if name in table:
            table[name] = table[name].map(_as_cell)
    return table.rename(columns=_as_cell).to_csv(index=False)


def _as_cell(value):
    """Escape a text: no formula, and nothing that cannot be seen."""
    return escape_formula(escape(value)) if isinstance(value, str) else value


def _row(result):
    row = {"image": result.name, "error": result.error}
    found = result.examination
    if found is None:
        return row
    row["predicted"] = found.predicted
    if found.probabilities is not None:
        row |= {f"probability_{name}": value for name, value in found.probabilities.items()}
    return row | {
        "distance": found.distance,
        "limit": found.limit,
        "unlike_training_images": found.is_unfamiliar,
    }
