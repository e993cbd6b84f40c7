"""From a model and images to a table of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from tqdm import tqdm

from featbus import persistence
from featbus.commands import _data, _files
from featbus.commands._appearance import find_distance
from featbus.commands._data import DataFrame
from featbus.evaluation._by_group import choose_classes, pool_scores
from featbus.evaluation._evaluate import frozen
from featbus.evaluation._operating_point import find_threshold
from featbus.images import ImageError
from featbus.io import read_item
from featbus.parameters import InvalidParameterError
from featbus.steps import split_extraction
from featbus.typing import PathLike


def predict(
    model: Any,
    data: PathLike | Sequence[PathLike],
    output: PathLike | None = None,
    *,
    by: Literal["image", "group"] = "image",
    groups: PathLike | DataFrame | None = None,
    pool: Literal["mean", "max"] = "mean",
    strict: bool = False,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> pd.DataFrame:
    """Predict the classes of images.

    Read more in the :ref:`User Guide <command_line_train>`.

    Parameters
    ----------
    model : path-like or estimator
        The file that `train` or `featbus.save` wrote, or a fitted classifier of images.
    data : path-like or sequence of path-like
        A folder of images, in subfolders or not, or several files and folders, see `load_images`.
    output : path-like, default=None
        A ``.csv`` or ``.parquet`` file to write: all of it at the end, or nothing. An existing file
        is replaced. None writes nothing, and prints the table if `verbose`.
    by : {"image", "group"}, default="image"
        Whether each image gets a class, or each group, such as a patient, see `featbus.evaluate`.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_images`.
    pool : {"mean", "max"}, default="mean"
        How the probabilities of the images of a group are pooled. "max" takes the highest one of
        the positive class, which the card of the model names.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    n_jobs : int, default=None
        Number of batches of images at a time, see `FeatureBus`; for models that begin with steps
        from image to row.
    verbose : bool, default=False
        Whether to show a progress bar, and at the end the images without a prediction.

    Returns
    -------
    DataFrame
        One row per image: ``path``, relative to the folder, or to the folder that all files have in
        common; ``predicted``, the name of the class; ``probability_<class>`` for each class, if the
        classifier has probabilities; if the card of the file describes the training images,
        ``distance``, how far the image is from these, and ``out_of_distribution``, whether that is
        farther than almost all of them, see `describe_training_images`; ``error``, None or the
        reason why there is no prediction. Of groups, one row each: ``group``; ``n_images`` that
        have a prediction; ``predicted`` and the pooled probabilities; ``out_of_distribution``, the
        number of images; ``error``, None or how many of its images have no prediction, with the
        reason of the first: the pooled probabilities are those of the others.

    Raises
    ------
    FileNotFoundError
        If the model or a folder does not exist.
    ValueError
        If there are no images, no image has a prediction, or a parameter is invalid. If groups are
        to be judged, and are unknown, or the model has no probabilities. If the file is
        no model, see `featbus.load`.

    See Also
    --------
    train : Makes models.

    Notes
    -----
    The prediction of an image does not depend on the other images, except for rounding: linear
    algebra may add in another order where there are more rows, and the last digits of
    probabilities then differ.

    Examples
    --------
    On the command line: ``featbus predict model.skops new -o predictions.csv``

    >>> from featbus.commands import predict
    >>> table = predict("model.skops", "new patients")  # doctest: +SKIP
    >>> table["predicted"].tolist()  # doctest: +SKIP
    ['benign', 'malignant']
    """
    options = _data.check_options(locals())
    _files.check_output(output, ".csv", ".parquet")
    if by == "group" and groups is None:
        raise InvalidParameterError("by is 'group' and groups is None, expected a table of groups.")
    card = {}
    if not hasattr(model, "predict"):
        card, model = persistence.read_card(model), persistence.load(model)
    names = name_classes(card.get("classes"), model.classes_)
    items, info = _files.open_images(options, with_classes=False)
    found, errors = _predict_items(model, names, items, n_jobs=n_jobs, verbose=verbose)
    if found.empty:
        raise ValueError(f"No image has a prediction. {errors[0]}") from errors[0]
    table = info[["path"]].join(found).join(_measure_distances(card, items, found.index))
    table = _files.add_errors(table, errors)
    judged, what = table, "a prediction"
    if by == "group":
        positive = card.get("positive_class")
        position = names.index(positive) if positive in names else None
        judged = _pool(table.assign(group=info["group"]), model, names, pool, position)
        what += f" ({judged['predicted'].count()} of {len(judged)} groups)"
    _files.finish_table(judged, options, what, table)
    options.say(*_describe_doubts(table.loc[found.index]))
    return judged


def _pool(table, model, names, pool, positive):
    """Return the predictions for the groups in a table of those for images."""
    columns = [f"probability_{name}" for name in names]
    if columns[0] not in table:
        raise ValueError("The model has no probabilities, expected some: they are pooled by group.")
    known = table.dropna(subset=columns)
    grouped = known.groupby("group", sort=True)
    scores = known[columns].to_numpy(dtype=np.float64)
    scores = pool_scores(scores, grouped.ngroup().to_numpy(), pool, positive, "probability")
    found = pd.DataFrame(scores, [*grouped.groups], columns)
    found.insert(0, "predicted", np.take(names, choose_classes(scores, find_threshold(model))))
    found.insert(0, "n_images", grouped.size())
    if "out_of_distribution" in table:
        found["out_of_distribution"] = grouped["out_of_distribution"].sum().astype(int)
    found = found.reindex(table["group"].unique()).rename_axis("group").reset_index()
    found["n_images"] = found["n_images"].fillna(0).astype(int)
    errors = table.groupby("group")["error"].agg(["first", "count", "size"]).loc[found["group"]]
    texts = [f"{n} of {size} images: {first}" for first, n, size in errors.to_numpy()]
    return found.assign(error=np.where(errors["count"], texts, None))


def _measure_distances(card, items, positions):
    """Return how far images are from the training images, if the card describes these."""
    found = [find_distance(card, read_item(items[index], index)) for index in positions]
    table = pd.DataFrame(found, positions, ["distance", "limit"]).dropna()
    table["out_of_distribution"] = (table["distance"] > table.pop("limit")).astype(object)
    return table if len(table) else table[[]]


def _describe_doubts(table):
    """Return sentences on predictions that look as if they meant nothing."""
    doubts, n_images = [], len(table)
    if n_unlike := int(table.get("out_of_distribution", pd.Series()).sum()):
        doubts.append(
            f"{n_unlike} of {n_images} images are unlike the training images (column "
            "out_of_distribution): their classes mean nothing."
        )
    (first, *others) = table["predicted"].unique()
    if n_images > 1 and not others:
        doubts.append(f"All {n_images} images have the same class, {first}: is that plausible?")
    return doubts


def predict_image(model, names, image):
    """Predict the class of one image.

    Parameters
    ----------
    model : estimator
        A fitted classifier of images.
    names : list of str or None
        The names of its classes; None for the classes themselves.
    image : ndarray or SpacedImage
        The image.

    Returns
    -------
    predicted : str
        The name of the class.
    probabilities : Series or None
        The probability of each class, by its name, if the classifier has probabilities.

    Raises
    ------
    ImageError
        If the model cannot use the image.
    ValueError
        If the number of names is not that of the classes, or two names are equal.
    """
    names = name_classes(names, model.classes_)
    found, errors = _predict_items(model, names, [image])
    if errors:
        raise errors[0].at(None)
    predicted, *probabilities = found.iloc[0]
    return predicted, pd.Series(probabilities, names, float) if probabilities else None


def name_classes(names, labels):
    """Return the names of the classes as str, by default the labels; there must be one for each."""
    names = [str(name) for name in (labels if names is None else names)]
    if len(set(names)) != len(names) or len(names) != len(labels):
        raise ValueError(
            f"Found the names {names}, expected a different name for each of the {len(labels)} "
            "classes. Are they those of another model?"
        )
    return names


def _predict_items(model, names, items, n_jobs=None, verbose=False):
    """Return the predictions for images, indexed by position, and the errors of all others."""
    steps, rest = split_extraction(frozen(model))
    if not steps:
        return _predict_images(model, names, items, verbose)
    rows, bus = _files.compute_rows(Pipeline(steps), items, n_jobs=n_jobs, verbose=verbose)
    return _predict_rows(rest, names, rows, bus.errors_)


def _predict_rows(model, names, rows, errors):
    """Return the predictions for rows of features, and the errors of all other images."""
    is_nan = np.isnan(rows).any(axis=1)
    unsure = np.setdiff1d(np.flatnonzero(is_nan), [error.index for error in errors])
    tables = [_predict(model, names, rows, np.flatnonzero(~is_nan))]
    try:
        tables.append(_predict(model, names, rows, unsure))
    except ValueError:  # most classifiers refuse NaN
        reason = "found features that are NaN, expected numbers. Check the image and its region."
        errors = errors + [ImageError(reason, index) for index in unsure.tolist()]
    return pd.concat(tables), errors


def _predict_images(model, names, items, verbose):
    """Return the predictions of a classifier that takes images, and the errors of some."""
    tables, errors = [pd.DataFrame()], []
    for index in tqdm(range(len(items)), desc="predict", unit="image", disable=not verbose):
        try:
            tables.append(_predict(model, names, items, [index]))
        except ImageError as error:
            errors.append(error.at(index))
    return pd.concat(tables), errors


def _predict(model, names, X, positions):
    """Return the predicted classes of some rows or images, and the probabilities of all classes."""
    if len(positions) == 0:
        return pd.DataFrame()
    X, labels = _safe_indexing(X, positions), model.classes_.tolist()
    predicted = [names[labels.index(label)] for label in model.predict(X).tolist()]
    table = pd.DataFrame({"predicted": predicted}, index=positions)
    if hasattr(model, "predict_proba"):
        columns = [f"probability_{name}" for name in names]
        table = table.join(pd.DataFrame(model.predict_proba(X), positions, columns))
    return table
