"""From a model and images to a table of predictions."""

import os

import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from tqdm import tqdm

from featbus import persistence
from featbus.commands import _data, _extract, _files
from featbus.images import ImageError
from featbus.steps import is_resampler, is_search, split_extraction, steps_of


def predict(options):
    """Predict classes; `featbus.commands.predict` has the documentation."""
    _files.check_output(options.output, ".csv", ".parquet")
    model, names = _open_model(options.model)
    items, info = _files.open_images(options, with_classes=False)
    steps, rest = split_extraction(_frozen(model))
    if steps:
        settings = _data.pick(options, "n_jobs", "verbose")
        rows, bus = _data.compute_rows(Pipeline(steps), items, **settings)
        found, errors = _predict_rows(rest, names, rows, bus.errors_)
    else:
        found, errors = _predict_images(model, names, items, options.verbose)
    if found.empty:
        raise ValueError(f"No image has a prediction. {errors[0]}") from errors[0]
    table = _extract.add_errors(info[["path"]].join(found), errors)
    _files.finish_table(table, options, "a prediction")
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
    names = name_classes(names, model.classes_)
    steps, rest = split_extraction(_frozen(model))
    if steps:
        found, errors = _predict_rows(rest, names, Pipeline(steps).transform([image]), [])
        if errors:
            raise errors[0].at(None)
    else:
        found = _predict(model, names, [image], [0])
    row = found.iloc[0]
    if not hasattr(model, "predict_proba"):
        return row["predicted"], None
    return row["predicted"], pd.Series(row.iloc[1:].to_numpy(float), names)


def name_classes(names, labels):
    """Return the names of classes as texts, by default the labels; refuse other than one each."""
    names = [str(name) for name in (labels if names is None else names)]
    if len(set(names)) != len(names) or len(names) != len(labels):
        raise ValueError(
            f"Found the names {names}, expected a different name for each of the {len(labels)} "
            "classes. Are they those of another model?"
        )
    return names


def _open_model(model):
    """Return the classifier, and the names of its classes."""
    if hasattr(model, "predict"):
        model = _searched(model)
        return model, name_classes(None, model.classes_)
    if not os.path.isfile(model):
        raise FileNotFoundError(
            f"Found no file {os.fspath(model)!r}, expected the model that `featbus train` wrote."
        )
    names, model = persistence.read_card(model)["classes"], _searched(persistence.load(model))
    return model, name_classes(names, model.classes_)


def _searched(model):
    """Return the best estimator of a search, or the model itself."""
    while is_search(model):
        model = model.best_estimator_
    return model


def _frozen(model):
    """Return a fitted pipeline whose steps learn nothing more, so that it can be split."""
    if not isinstance(model, Pipeline):
        return model
    *steps, last = [step for step in steps_of(model) if not is_resampler(step[1])]
    frozen = [(name, FrozenEstimator(_extract.without_bus(step))) for name, step in steps]
    return Pipeline([*frozen, last])


def _predict_rows(model, names, rows, errors):
    """Return the predictions of rows of features, and the errors of all other images."""
    is_nan = np.isnan(rows).any(axis=1)
    unsure = np.setdiff1d(np.flatnonzero(is_nan), [error.index for error in errors])
    tables = [_predict(model, names, rows, np.flatnonzero(~is_nan))]
    try:
        tables.append(_predict(model, names, rows, unsure))
    except ValueError:  # most classifiers want numbers
        reason = "found features that are NaN, expected numbers. Look at the image and its region."
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
