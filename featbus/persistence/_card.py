"""The model card: what it may say, what is added, and its page."""

from __future__ import annotations

import getpass
import math
import re
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from featbus.files import escape, written_whole
from featbus.parameters import InvalidParameterError
from featbus.persistence._archive import CARD, ModelFileError, opened, read_json
from featbus.steps import all_steps

if TYPE_CHECKING:
    from featbus.typing import PathLike

_NOTE = (
    "Not a medical device, and not for clinical use: trained on the data described here, for "
    "research. Scores on other images, devices and patients will differ."
)
_PACKAGES = (
    "featbus",
    "numpy",
    "scikit-learn",
    "imbalanced-learn",
    "scikit-image",
    "opencv-python-headless",
    "keras",
    "xgboost",
    "skops",
)
_ADDED = ("classes", "steps", "networks", "versions", "saved", "note")
_DEEPEST = 10
# An absolute path, or one of a home folder, at the beginning of a word, and none in a URL or tag.
_PATH = re.compile(
    r"(?:^|[\s\"'`(\[{>=,;|:])(?:~?/[.\w]|~\\|[A-Za-z]:[\\/]\w|\\\\\w|file:/)"
    r"|(?:^|[\s\"'`(\[{>=,;|])//\w"
)
# Accounts that are no person's, and may well be words of a card.
_NO_PERSON = {"admin", "app", "docker", "jenkins", "root", "runner", "test", "ubuntu", "user"}
# DICOM's patient module, and what else leads back to one patient.
_PATIENT_GROUP = 0x0010
_PATIENT_TAG = re.compile(r"\(?0010,? ?[0-9a-f]{4}\)?", re.IGNORECASE)
_IDENTIFIERS = {
    "accessionnumber",
    "birthdate",
    "dateofbirth",
    "medicalrecordnumber",
    "mrn",
    "patient",
    "patientname",
    "referringphysicianname",
    "seriesinstanceuid",
    "sopinstanceuid",
    "studyinstanceuid",
}


def complete_card(card, pipeline, classes, networks):
    """Check a card, and add what is known of the pipeline.

    Parameters
    ----------
    card : dict
        What the user says; without the keys that are added.
    pipeline : estimator
        The fitted pipeline.
    classes : sequence of str or None
        Names of the classes.
    networks : list of dict
        The networks, as the manifest has them.

    Returns
    -------
    dict
        The card, of plain JSON.
    """
    taken = sorted(set(card) & set(_ADDED))
    if taken:
        raise InvalidParameterError(f"card has {taken[0]!r}, which save writes: rename it.")
    plain = _as_json(card, "card")
    names = _class_names(pipeline, classes)
    _check_text(names, "classes")
    return plain | {
        "classes": names,
        "steps": [type(step).__name__ for step in all_steps(pipeline)],
        "networks": [
            {name: value for name, value in line.items() if name != "member"} for line in networks
        ],
        "versions": _versions(),
        "saved": datetime.now(UTC).date().isoformat(),
        "note": _NOTE,
    }


def _versions():
    found = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):  # the same modules come under other names, too
            found[name] = version(name)
    return found


def _class_names(pipeline, classes):
    labels = getattr(pipeline, "classes_", [])
    names = [str(name) for name in (labels if classes is None else classes)]
    if len(names) != len(labels):
        raise InvalidParameterError(
            f"classes has {len(names)} names, expected one for each of the {len(labels)} classes."
        )
    return names


def _as_json(value, where, depth=0):
    """Return a value as JSON has it; NaN becomes null."""
    if depth > _DEEPEST:
        raise InvalidParameterError(f"{where} is nested more than {_DEEPEST} times.")
    if isinstance(value, dict):
        for key in value:
            _check_key(key, where)
        return {key: _as_json(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_as_json(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, str):
        _check_text([value], where)
        return str(value)
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    raise InvalidParameterError(
        f"{where} is a {type(value).__name__}, expected text, numbers, lists and dicts."
    )


def _check_key(key, where):
    if not isinstance(key, str):
        raise InvalidParameterError(f"{where} has the key {key!r}, expected text.")
    _check_text([key], where)
    name = re.sub(r"'s|[^a-z]", "", key.lower())
    spellings = {name, name.replace("patients", "patient"), name.removesuffix("s")}
    if _PATIENT_TAG.fullmatch(key) or (name != "patients" and spellings & _patient_fields()):
        raise InvalidParameterError(
            f"{where} has {key!r}, an attribute of a patient: a card travels with the model. "
            "Leave it out."
        )


def _check_text(texts, where):
    """Refuse paths and the user's name."""
    for text in texts:
        if _PATH.search(text):
            raise InvalidParameterError(
                f"{where} is {text!r}, which has a path of this machine. Leave it out."
            )
        user = _user()
        if user and re.search(rf"(?<!\w){re.escape(user)}(?!\w)", text, re.IGNORECASE):
            raise InvalidParameterError(
                f"{where} is {text!r}, which has the name of the user, {user!r}. Leave it out."
            )


def _user():
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # of a container without accounts
        return None
    return None if name.lower() in _NO_PERSON or len(name) < 3 else name


@cache
def _patient_fields():
    from pydicom.datadict import DicomDictionary

    names = {
        entry[4].lower() for tag, entry in DicomDictionary.items() if tag >> 16 == _PATIENT_GROUP
    }
    return names | _IDENTIFIERS


def read_card(path: PathLike) -> dict:
    """Return the model card of a file, without loading the model.

    Read more in the :ref:`User Guide <models>`.

    Parameters
    ----------
    path : str or os.PathLike
        The file that `featbus.save` wrote.

    Returns
    -------
    dict
        What `featbus.save` was told, and "classes", "steps", "networks", "versions", "saved" (the
        date) and "note".

    Raises
    ------
    ModelFileError
        A ValueError: if the file is damaged or was changed.

    See Also
    --------
    write_card_html : The card as a page.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from featbus import LBP, save
    >>> from featbus.persistence import read_card
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "features.skops"
    >>> save(LBP(), path, card={"data set": "none: features without a classifier"})
    >>> sorted(read_card(path))
    ['classes', 'data set', 'networks', 'note', 'saved', 'steps', 'versions']
    """
    with opened(path) as (archive, _):
        return read_json(archive, CARD)


def write_card_html(path: PathLike, page: PathLike) -> None:
    """Write the model card of a file as one HTML page without external resources.

    Read more in the :ref:`User Guide <models>`.

    Parameters
    ----------
    path : str or os.PathLike
        The file that `featbus.save` wrote.
    page : str or os.PathLike
        The page to write.

    Raises
    ------
    ModelFileError
        A ValueError: if the file is damaged or was changed.

    See Also
    --------
    read_card : The card as a dict.
    """
    card = read_card(path)
    note = card.pop("note", _NOTE)
    try:
        text = _template().render(card=card, note=note, title=Path(path).name, heading=_heading)
    except RecursionError as error:
        raise ModelFileError(f"the card of {str(path)!r} is nested too deeply.") from error
    with written_whole(page) as hidden:
        hidden.write_text(text, encoding="utf-8", errors="replace")


def _template():
    pages = Environment(
        loader=PackageLoader("featbus.persistence"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_escape_text,
    )
    pages.filters["number"] = _format_number
    return pages.get_template("card.html")


def _escape_text(value):
    """Return what the page shows of a value, before the characters of HTML are escaped."""
    return escape(value) if type(value) is str else value


def _format_number(value):
    if value is None:
        return "–"
    if isinstance(value, float):
        digits = ".3g" if 0 < abs(value) < 0.01 else ".3f"
        return f"{value:{digits}}".replace("-", "−")
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _heading(key):
    """Return a key as a heading: its first letter large, spaces for underscores."""
    text = str(key).replace("_", " ")
    return text[:1].upper() + text[1:]
