"""From a saved model and other data to its scores there, beside those of its card."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from featbus import evaluation, persistence
from featbus.commands import _data
from featbus.commands._appearance import find_distance
from featbus.commands._predict import name_classes
from featbus.datasets import describe_dataset
from featbus.datasets._files import quote
from featbus.evaluation._metrics import flatten_columns, iter_tables
from featbus.images import ImageError
from featbus.io import read_item
from featbus.parameters import InvalidParameterError

_OF_RECIPES = ["cv", "sensitivity", "backbone_options", "options"]
_COMPARED = "Beside the cross-validation of the card"
_SCORES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc", "brier")


def evaluate_model(options):
    """Evaluate a saved model on a data set.

    Parameters
    ----------
    options : SimpleNamespace
        The parameters of the command `evaluate`.

    Returns
    -------
    dataset : Bunch
        The images that can be used.
    result : Evaluation
        The scores, with tables that compare them with those of the card.
    """
    card, model = persistence.read_card(options.model), persistence.load(options.model)
    given = [name for name in _OF_RECIPES if getattr(options, name) is not None]
    if given or options.weights != "imagenet":
        raise InvalidParameterError(
            f"Found {quote(given or ['weights'])} beside a model, expected none: it stays as it is."
        )
    names = name_classes(card["classes"], model.classes_)
    dataset = _data.load_labeled(options)
    options.say(describe_dataset(dataset))
    if len(dataset.target_names) < 2:
        raise ValueError(f"Found the class {quote(dataset.target_names)} alone, expected several.")
    unknown = sorted({*dataset.target_names} - {*names})
    if unknown:
        raise ValueError(
            f"Found the classes {quote(unknown)}, expected those of the model: {quote(names)}. "
            "Rename the folders, or move those of other classes elsewhere."
        )
    dataset, n_unlike = _measure(card, dataset, options)
    labels = [names.index(name) for name in dataset.target_names]
    positive = card.get("positive_class") if options.pos_label is None else options.pos_label
    result = evaluation.evaluate(
        {Path(options.model).stem: model},
        dataset.images,
        np.take(model.classes_, np.take(labels, dataset.target)),
        groups=dataset.groups,
        **_data.judging_of(options, dataset),
        cv="prefit",
        target_names=names,
        pos_label=_data.find_class(positive, names),
        memory=options.memory,
        n_jobs=options.n_jobs,
        verbose=options.verbose,
    )
    result = _data.add_notes(result, dataset, "prefit")
    if point := card.get("operating_point"):
        called = f"Called {point['class']} from {point['threshold']} on"
        called += f", chosen for a {point['chosen_for']}."
        result = replace(result, protocol=f"{result.protocol}\n{called}")
    if n_unlike is not None:
        unlike = f"{n_unlike} of {len(dataset.images)} images are unlike the training images."
        result = replace(result, protocol=f"{result.protocol} {unlike}")
    is_alike = card.get("judged", "image") == options.by
    compared = compare_scores(result, (card.get("scores") or {}) if is_alike else {})
    if not is_alike:
        options.say(f"The scores of the card are not compared: they are by {card['judged']}.")
    options.say("", result, "", *_data.describe_subgroups(result))
    for name, table in ((_COMPARED, compared), ("Calibration", result.calibration())):
        if len(table):
            options.say(f"{name}:", table.round(3), "")
    return dataset, replace(result, tables={_COMPARED: compared} if len(compared) else {})


def _measure(card, dataset, options):
    """Return the images that can be read, and how many are unlike the training images."""
    errors, is_unlike = [], []
    for index, item in enumerate(dataset.images):
        try:
            distance, limit = find_distance(card, read_item(item, index))
        except ImageError as error:
            errors.append(error)
        else:
            is_unlike.append(None if limit is None else distance > limit)
    if errors:
        dataset = _data.leave_out(dataset, errors, options.on_error, options.verbose)
    return dataset, None if None in is_unlike else sum(is_unlike)


def list_scores(result):
    """Return means and intervals; without a positive class, names say what scores are about."""
    return {
        metric if about in (None, result.pos_name) else f"{metric} ({about})": (
            table.iloc[0][["mean", "low", "high"]].astype(float).round(4).to_dict()
        )
        for metric, about, table in iter_tables(result, _SCORES)
    }


def compare_scores(result, known):
    """Compare the scores of an evaluation with those of a card.

    Parameters
    ----------
    result : Evaluation
        The evaluation on other data.
    known : dict
        The scores of the card, see `list_scores`.

    Returns
    -------
    DataFrame
        One row per score: ``score``; ``here``, ``card`` and ``difference`` with the ends of their
        95% intervals. The interval of the difference is that of Zou and Donner [1]_ for independent
        samples.

    References
    ----------
    .. [1] Zou GY, Donner A. Construction of confidence limits about effect measures: a general
       approach. Statistics in Medicine 27 (2008) 1693-1702, doi:10.1002/sim.3095.
    """
    here, there = (pd.DataFrame(scores, dtype=float).T for scores in (list_scores(result), known))
    here, there = here.align(there, join="inner", axis=0)
    if here.empty:
        return pd.DataFrame()
    difference = here["mean"] - there["mean"]
    below = np.hypot(here["mean"] - here["low"], there["high"] - there["mean"])
    above = np.hypot(here["high"] - here["mean"], there["mean"] - there["low"])
    ends = {"mean": difference, "low": difference - below, "high": difference + above}
    parts = {"here": here, "card": there, "difference": pd.DataFrame(ends)}
    return flatten_columns(pd.concat(parts, axis=1)).rename_axis("score").reset_index()
