"""Images that cannot be used: all of them in one error, or left out and said so."""

import warnings
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from sklearn.model_selection import PredefinedSplit
from sklearn.utils import Bunch

from featbus.bus import ImageWarning
from featbus.datasets._files import quote
from featbus.images import ImageErrors
from featbus.parameters import StrOptions
from featbus.wording import argument

ON_ERROR = [StrOptions({"raise", "skip"})]
_ARRAYS = ("images", "target", "groups", "masks")  # one item per image
_SHOWN = 20


def fill_store(bus, images):
    """Compute the rows of images, and collect all errors.

    Parameters
    ----------
    bus : FeatureBus
        With a store; its `on_error` is set to "nan".
    images : batch of images
        The images.

    Returns
    -------
    n_features : int
        Length of a row.
    errors : list of ImageError
        Of the images without one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)  # all errors are reported
        rows = bus.set_params(on_error="nan").fit_transform(images)
    return rows.shape[1], bus.errors_


def leave_out(dataset, error, on_error):
    """Return a data set without the images that cannot be used.

    Parameters
    ----------
    dataset : Bunch
        The images.
    error : ImageError
        What is wrong, with the position of the image; of several images, an `ImageErrors`.
    on_error : {"raise", "skip"}
        Whether to raise one error about all of these images instead.

    Returns
    -------
    Bunch
        The others, with the field ``left_out``: a list with ``file`` and ``reason`` of each image
        that is not among them.

    Raises
    ------
    ImageErrors
        If `on_error` is "raise"; its ``errors`` has one error per image.
    ValueError
        If no image of a class, or of the test part of a given split, is left.
    """
    errors, n_images = getattr(error, "errors", [error]), len(dataset.images)
    if on_error == "raise":
        skip = argument("on_error", "skip")
        remedy = f"Repair or remove these files, or leave the images out: {skip}."
        raise ImageErrors(errors, n_images, remedy) from error
    kept = np.setdiff1d(np.arange(n_images), [each.index for each in errors])
    fields = {name: dataset[name][kept] for name in _ARRAYS if dataset.get(name) is not None}
    if "cv" in dataset:
        fields["cv"] = PredefinedSplit(dataset.cv.test_fold[kept])
    files = dataset.frame["file"]
    left_out = [{"file": files.iloc[each.index], "reason": each.reason} for each in errors]
    frame = dataset.frame.iloc[kept].reset_index(drop=True)
    others = {name: value for name, value in dataset.items() if name != "findings"}
    rest = Bunch(**others | fields | {"frame": frame, "left_out": left_out})
    _check_none_empty(rest)
    return rest


def _check_none_empty(dataset):
    """Refuse to go on without a class, or without images to test."""
    counts = np.bincount(dataset.target, minlength=len(dataset.target_names))
    gone = [name for name, n in zip(dataset.target_names, counts) if n == 0]
    if gone:
        empty = f"the class(es) {quote(gone)}"
    elif "cv" in dataset and dataset.cv.get_n_splits() == 0:
        empty = "the test part of the split that the folders give"
    else:
        return
    raise ValueError(
        f"Found no image that can be used in {empty}, expected some. Repair the files, or move the "
        f"folder elsewhere. {describe_left_out(dataset, with_names=True)}"
    )


@contextmanager
def left_out_in_errors(dataset):
    """Have errors about the rest of a data set say how many images were left out.

    Parameters
    ----------
    dataset : Bunch
        The images.
    """
    try:
        yield
    except ValueError as error:
        note = describe_left_out(dataset)
        if not note:
            raise
        raise type(error)(f"{error} {note}") from error


def describe_left_out(dataset, *, with_names=False):
    """Say how many images were left out.

    Parameters
    ----------
    dataset : Bunch
        The images.
    with_names : bool, default=False
        Whether to name them; a model's card has no names.

    Returns
    -------
    str
        A sentence; empty if none was left out.
    """
    left_out = dataset.get("left_out", [])
    if not left_out:
        return ""
    names = f" ({quote([each['file'] for each in left_out], _SHOWN)})" if with_names else ""
    n_images = len(dataset.images) + len(left_out)
    return f"{len(left_out)} of {n_images} images left out: they cannot be used{names}."


def list_left_out(dataset):
    """Return the images that were left out, the first of many, and why.

    Parameters
    ----------
    dataset : Bunch
        The images.

    Returns
    -------
    str
        The sentence of `describe_left_out`, and one line per image.
    """
    left_out = dataset.left_out
    lines = [f"  {each['file']}: {each['reason']}" for each in left_out[:_SHOWN]]
    if len(left_out) > _SHOWN:
        lines.append(f"  and {len(left_out) - _SHOWN} more")
    return "\n".join([describe_left_out(dataset), *lines])


def add_notes(result, *notes):
    """Return a result whose protocol has more sentences.

    Parameters
    ----------
    result : Evaluation or AuditReport
        The result.
    *notes : str
        The sentences; empty ones are ignored.

    Returns
    -------
    Evaluation or AuditReport
        The result, or a copy.
    """
    notes = [note for note in notes if note]
    return replace(result, protocol=" ".join([result.protocol, *notes])) if notes else result
