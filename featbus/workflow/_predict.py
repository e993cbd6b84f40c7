"""From a model and images to a table of predictions."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from tqdm import tqdm

from featbus import persistence
from featbus.bus import FeatureBus, ImageWarning
from featbus.images import ImageError
from featbus.parameters import N_JOBS, HasMethods, check_parameters
from featbus.steps import is_resampler, is_search, split_extraction, steps_of
from featbus.wording import either
from featbus.workflow._images import DATA, PATH, open_images
from featbus.workflow._tables import check_output, print_failures, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from featbus.typing import PathLike

_SUFFIXES = (".csv", ".parquet")
_BATCH = 32  # images that a pipeline reads at a time
_CONSTRAINTS = {
    "model": [*PATH, HasMethods("predict")],
    "data": DATA,
    "output": [*PATH, None],
    "strict": ["boolean"],
    "n_jobs": N_JOBS,
    "verbose": ["boolean"],
}


def predict_images(
    model: Any,
    data: PathLike | Sequence[PathLike],
    output: PathLike | None = None,
    *,
    strict: bool = False,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> pd.DataFrame:
    """Predict the classes of images.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    model : path-like or estimator
        The file that `train_model` or `featbus.save` wrote, or a fitted classifier of images.
    data : path-like or sequence of path-like
        A folder of images, in subfolders or not, or files, see `load_images`.
    output : path-like, default=None
        A ``.csv`` or ``.parquet`` file to write: all of it at the end, or nothing. An existing file
        is replaced. None writes nothing.
    strict : bool, default=False
        Whether files that are no images are an error, instead of left out with a warning.
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
        classifier has probabilities; ``error``, None or the reason why there is no prediction.

    Raises
    ------
    FileNotFoundError
        If the model or a folder does not exist.
    ValueError
        If there are no images, no image has a prediction, or a parameter is invalid. If the file is
        no model, see `featbus.load`.

    See Also
    --------
    train_model : Makes models.

    Examples
    --------
    >>> from featbus.workflow import predict_images
    >>> table = predict_images("model.skops", "new patients")  # doctest: +SKIP
    >>> table["predicted"].tolist()  # doctest: +SKIP
    ['benign', 'malignant']
    """
    check_parameters(_CONSTRAINTS, locals())
    check_output(output, _SUFFIXES)
    model, names = _open_model(model)
    items, info = open_images(data, with_classes=False, strict=strict)
    steps, rest = split_extraction(_frozen(model))
    if steps:
        found, errors = _predict_rows(rest, names, *_extract(steps, items, n_jobs, verbose))
    else:
        found, errors = _predict_in_batches(model, names, items, verbose)
    if found.empty:
        raise ValueError(f"No image has a prediction. {errors[0]}") from errors[0]
    reasons = dict.fromkeys(info.index) | {error.index: error.reason for error in errors}
    table = info[["path"]].join(found).assign(error=pd.Series(reasons, dtype=object))
    if output is not None:
        write_table(table, output)
    if verbose:
        where = "" if output is None else f" in {os.fspath(output)}"
        print(f"{len(found)} of {len(table)} images with a prediction{where}")
        print_failures(table)
    return table


def predict_image(model, names, image):
    """Predict the class of one image.

    Parameters
    ----------
    model : estimator
        A fitted classifier of images.
    names : list of str or None
        The names of its classes; None for the classes themselves.
    image : ndarray
        The image.

    Returns
    -------
    predicted : str
        The name of the class.
    probabilities : Series or None
        That of each class, by its name, if the classifier has probabilities.

    Raises
    ------
    ImageError
        If the model cannot use the image.
    ValueError
        If the names are not as many as the classes, or two are equal.
    """
    model = _searched(model)
    names = [str(name) for name in (names or model.classes_)]
    if len(set(names)) != len(names) or len(names) != len(model.classes_):
        raise ValueError(
            f"The card has the classes {names}, expected a different name for each of the "
            f"{len(model.classes_)} classes of the model. Is it the card of another model?"
        )
    steps, rest = split_extraction(_frozen(model))
    if steps:
        rows = Pipeline(steps).transform([image])
        found, errors = _predict_rows(rest, names, rows, [])
        if errors:
            raise errors[0].at(None)
    else:
        found = _predict(model, names, [image], [0])
    row = found.iloc[0]
    columns = [f"probability_{name}" for name in names]
    is_sure = hasattr(model, "predict_proba")
    probabilities = pd.Series(row[columns].to_numpy(float), names) if is_sure else None
    return row["predicted"], probabilities


def _open_model(model):
    """Return the classifier, and the names of its classes."""
    names = None
    if not hasattr(model, "predict"):
        if not os.path.isfile(model):
            raise FileNotFoundError(
                f"Found no file {os.fspath(model)!r}, expected the model that "
                f"{either('train_model', '`featbus train`')} wrote."
            )
        names = persistence.read_card(model)["classes"]
        model = persistence.load(model)
    model = _searched(model)
    return model, [str(name) for name in (model.classes_ if names is None else names)]


def _searched(model):
    """Return the best estimator of a search, or the model itself."""
    while is_search(model):
        model = model.best_estimator_
    return model


def _frozen(model):
    """Return a fitted pipeline whose steps learn nothing more, so that it can be split."""
    if not isinstance(model, Pipeline):
        return model
    *steps, last = [step for step in steps_of(model) if not is_resampler(step.estimator)]
    return Pipeline([*((name, FrozenEstimator(_without_bus(step))) for name, step in steps), last])


def _without_bus(step):
    return step.transformer_ if isinstance(step, FeatureBus) else step


def _extract(steps, items, n_jobs, verbose):
    """Return the rows of the images, and the errors of those without one."""
    bus = FeatureBus(Pipeline(steps), n_jobs=n_jobs, on_error="nan", verbose=verbose)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)  # the table says it
        return bus.fit_transform(items), bus.errors_


def _predict_rows(model, names, rows, errors):
    """Return the predictions of rows of features, and the errors of all other images."""
    is_nan = np.isnan(rows).any(axis=1)
    failed = [error.index for error in errors]
    unsure = np.setdiff1d(np.flatnonzero(is_nan), failed)
    tables = [_predict(model, names, rows, np.flatnonzero(~is_nan))]
    try:
        tables.append(_predict(model, names, rows, unsure))
    except ValueError:  # most classifiers want numbers
        reason = "found features that are NaN, expected numbers. Look at the image and its region."
        errors = errors + [ImageError(reason, index) for index in unsure.tolist()]
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


def _predict_in_batches(model, names, items, verbose):
    """Return the predictions of a classifier that takes images, and the errors of some."""
    tables, errors = [pd.DataFrame()], []
    with tqdm(total=len(items), desc="predict", unit="image", disable=not verbose) as progress:
        for start in range(0, len(items), _BATCH):
            batch = range(start, min(start + _BATCH, len(items)))
            tables += _predict_batch(model, names, items, batch, errors)
            progress.update(len(batch))
    return pd.concat(tables), errors


def _predict_batch(model, names, items, batch, errors):
    """Return tables of predictions; after an error, images are predicted one by one."""
    try:
        return [_predict(model, names, items, list(batch))]
    except ImageError as error:
        if len(batch) == 1:
            errors.append(error.at(batch[0]))
            return []
    ones = [range(index, index + 1) for index in batch]
    return [table for one in ones for table in _predict_batch(model, names, items, one, errors)]
