"""From images and a recipe to an evaluation and a model file."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from sklearn import config_context

from featbus import persistence, recipes
from featbus.bus import FeatureBus, FeatureStore
from featbus.datasets import describe_dataset
from featbus.evaluation import Evaluation, evaluate
from featbus.evaluation.splits import keep_groups_together
from featbus.model_selection import AuditReport
from featbus.parameters import N_JOBS, Interval, check_parameters
from featbus.steps import learns
from featbus.workflow._audit import audit_dataset, print_leaks
from featbus.workflow._card import make_card
from featbus.workflow._checks import (
    choose_cv,
    describe_split,
    find_class,
    find_metadata,
    fit_to_data,
)
from featbus.workflow._features import make_recipe
from featbus.workflow._images import PATH, load_labeled
from featbus.workflow._left_out import ON_ERROR, add_notes, describe_left_out, list_left_out
from featbus.workflow._notes import note_groups, say_nothing
from featbus.workflow._tables import check_output, write_table, written_together

if TYPE_CHECKING:
    from typing import Literal

    from featbus.typing import PathLike

_CONSTRAINTS = {
    "data": PATH,
    "recipe": [str],
    "output": [*PATH, None],
    "masks": [*PATH, None],
    "groups": [*PATH, pd.DataFrame, None],
    "cv": [Interval(Integral, 2, None, closed="left"), None],
    "strict": ["boolean"],
    "on_error": ON_ERROR,
    "pos_label": [str, Integral, None],
    "weights": [*PATH, None],
    "backbone_options": [dict, None],
    "options": [dict, None],
    "embed": ["boolean"],
    "memory": [*PATH, FeatureStore, None],
    "n_jobs": N_JOBS,
    "random_state": [Interval(Integral, 0, None, closed="left")],
    "verbose": ["boolean"],
}


class Training(NamedTuple):
    """What `train_model` returns.

    Read more in the :ref:`User Guide <command_line>`.

    Attributes
    ----------
    evaluation : Evaluation
        The result of the cross-validation.
    audit : AuditReport
        What the audit of the data found.
    """

    evaluation: Evaluation
    audit: AuditReport


def train_model(
    data: PathLike,
    recipe: str,
    output: PathLike,
    *,
    masks: PathLike | None = None,
    groups: PathLike | pd.DataFrame | None = None,
    cv: int | None = None,
    strict: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    pos_label: str | int | None = None,
    weights: PathLike | None = "imagenet",
    backbone_options: dict | None = None,
    options: dict | None = None,
    embed: bool = True,
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
) -> Training:
    """Evaluate a recipe by cross-validation, fit it on all images, and save the model.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    data : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`.
    recipe : str
        Name of the recipe, see `featbus.recipes.list_recipes`.
    output : path-like
        The model file to write, ``model.skops``. The report of the evaluation,
        ``model.report.html``, and its scores by fold, ``model.scores.csv``, are written beside it.
        All appear together at the end; until then, existing files of these names stay.
    masks : path-like, default=None
        Where the masks are, see `load_dataset`, for recipes that learn where lesions are.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. Where they are unknown, every image counts
        as its own patient, with a warning.
    cv : int, default=None
        Number of folds of the cross-validation. None uses the split that the folders give, see
        `load_image_folder`, or five folds.
    strict : bool, default=False
        Whether files that are no images are an error, instead of left out with a warning.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be read are an error, which lists all of them, or are left out.
        What is printed and written says how many.
    pos_label : str or int, default=None
        The class that scores are about, by the name of its folder; 1 is the folder ``1``. None
        guesses it from the names of two classes, see `featbus.evaluate`.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the recipe's network.
    backbone_options : dict, default=None
        Options of the network, such as ``{"alpha": 0.35}``.
    options : dict, default=None
        Other options of the recipe, see `featbus.recipes.make_recipe`.
    embed : bool, default=True
        Whether the file contains the networks' weights, see `featbus.save`.
    memory : path-like, FeatureStore or None, default=None
        The file that stores rows of features, for the next run. None stores them in a temporary
        file, so that the folds and the final fit share them.
    n_jobs : int, default=None
        Number of parallel fits, and of batches of images in parallel.
    random_state : int, default=0
        Seed of the folds and of the recipe.
    verbose : bool, default=False
        Whether to print the data set, the audit's verdict, progress, scores and files.

    Returns
    -------
    Training
        The ``evaluation`` of the recipe and the ``audit`` of the data. The model is in the file:
        ``featbus.load(output)``.

    Raises
    ------
    ImageError
        If images cannot be read; the message names all of them. Or if one cannot be used.
    FileNotFoundError
        If a folder does not exist.
    ValueError
        If a parameter is invalid, or the data cannot be used, see `load_dataset` and
        `featbus.evaluate`.

    See Also
    --------
    evaluate_recipe : The evaluation alone.
    predict_images : Use the model.
    featbus.save : The format of the file.

    Notes
    -----
    The scores are those of the cross-validation. The saved model is fitted on all images, and has
    no scores of its own: its scores on these images would mean nothing.

    Examples
    --------
    >>> from featbus.workflow import train_model
    >>> training = train_model(  # doctest: +SKIP
    ...     "scans", "mobilenet_intensity", "model.skops", groups="groups.csv"
    ... )
    """
    settings = dict(locals())
    check_parameters(_CONSTRAINTS, settings)
    output, say = Path(output), print if verbose else say_nothing
    page, scores = (output.with_suffix(end) for end in (".report.html", ".scores.csv"))
    for path, suffix in ((output, ".skops"), (page, ".html"), (scores, ".csv")):
        check_output(path, (suffix,))
    with _stored(memory) as store:
        dataset, result, report = _evaluate(settings, store, say)
        say(f"Fit on all {len(dataset.images)} images")
        # The number of processors of this machine does not travel.
        model = _make_recipe(settings, store, n_jobs=None)
        model = fit_to_data(model, dataset, choose_cv(cv, dataset), random_state)
        model = _fit(model, dataset, random_state)
        card = make_card(settings, model, dataset, result, report)
        with written_together(output, page, scores) as folder:
            _write_report(result, report, dataset, recipe, folder / page.name)
            write_table(result.scores, folder / scores.name)
            classes, path = dataset.target_names, folder / output.name
            persistence.save(model, path, classes=classes, card=card, embed=embed)
    say(f"Wrote {output}, and {page.name} and {scores.name} beside it")
    return Training(result, report)


def evaluate_recipe(
    data: PathLike,
    recipe: str,
    output: PathLike | None = None,
    *,
    masks: PathLike | None = None,
    groups: PathLike | pd.DataFrame | None = None,
    cv: int | None = None,
    strict: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    pos_label: str | int | None = None,
    weights: PathLike | None = "imagenet",
    backbone_options: dict | None = None,
    options: dict | None = None,
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
) -> Evaluation:
    """Evaluate a recipe by cross-validation that keeps groups together.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    data : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`.
    recipe : str
        Name of the recipe, see `featbus.recipes.list_recipes`.
    output : path-like, default=None
        The report to write, an ``.html`` file. An existing file is replaced. None writes nothing.
    masks : path-like, default=None
        Where the masks are, see `load_dataset`, for recipes that learn where lesions are.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. Where they are unknown, every image counts
        as its own patient, with a warning.
    cv : int, default=None
        Number of folds of the cross-validation. None uses the split that the folders give, see
        `load_image_folder`, or five folds.
    strict : bool, default=False
        Whether files that are no images are an error, instead of left out with a warning.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be read are an error, which lists all of them, or are left out.
        What is printed and written says how many.
    pos_label : str or int, default=None
        The class that scores are about, by the name of its folder; 1 is the folder ``1``. None
        guesses it from the names of two classes, see `featbus.evaluate`.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the recipe's network.
    backbone_options : dict, default=None
        Options of the network, such as ``{"alpha": 0.35}``.
    options : dict, default=None
        Other options of the recipe, see `featbus.recipes.make_recipe`.
    memory : path-like, FeatureStore or None, default=None
        The file that stores rows of features, for the next run.
    n_jobs : int, default=None
        Number of parallel fits, and of batches of images in parallel.
    random_state : int, default=0
        Seed of the folds and of the recipe.
    verbose : bool, default=False
        Whether to print the data set, the audit's verdict, progress, scores and files.

    Returns
    -------
    Evaluation
        The result.

    Raises
    ------
    ImageError
        If images cannot be read; the message names all of them. Or if one cannot be used.
    FileNotFoundError
        If a folder does not exist.
    ValueError
        If a parameter is invalid, or the data cannot be used.

    See Also
    --------
    train_model : Also fit and save the model.
    featbus.evaluate : Any pipelines on any images.

    Examples
    --------
    >>> from featbus.workflow import evaluate_recipe
    >>> result = evaluate_recipe(  # doctest: +SKIP
    ...     "scans", "mobilenet_intensity", "report.html", groups="groups.csv"
    ... )
    """
    settings = dict(locals())
    check_parameters(_CONSTRAINTS, settings)
    check_output(output, (".html",))
    say = print if verbose else say_nothing
    with _stored(memory) as store:
        dataset, result, report = _evaluate(settings, store, say)
    if output is not None:
        _write_report(result, report, dataset, recipe, output)
        say(f"Wrote {os.fspath(output)}")
    return result


@contextmanager
def _stored(memory):
    """Yield a store of rows: that of the user, or a temporary one."""
    if memory is not None:
        yield memory
        return
    with tempfile.TemporaryDirectory(prefix="featbus-") as folder:
        yield Path(folder) / "features.sqlite"


def _make_recipe(settings, memory, n_jobs):
    names = ("weights", "backbone_options", "options", "random_state")
    chosen = {name: settings[name] for name in names}
    return make_recipe(settings["recipe"], **chosen, memory=memory, n_jobs=n_jobs)


def _evaluate(settings, memory, say):
    """Return the data set, the evaluation and the audit's report."""
    pipeline = _make_recipe(settings, memory, settings["n_jobs"])
    dataset = load_labeled(*(settings[name] for name in ("data", "masks", "groups", "strict")))
    cv, seed = settings["cv"], settings["random_state"]
    say("\n".join([describe_dataset(dataset), describe_split(cv, dataset)]).strip())
    positive = find_class(settings["pos_label"], dataset.target_names)
    fit_to_data(pipeline, dataset, choose_cv(cv, dataset), seed)
    shared = {name: settings[name] for name in ("n_jobs", "random_state", "verbose")}
    dataset, report = audit_dataset(dataset, cv, settings["on_error"], pipeline=pipeline, **shared)
    if "left_out" in dataset:
        say(list_left_out(dataset))
        fit_to_data(pipeline, dataset, choose_cv(cv, dataset), seed)
    say(f"Audit {report.outcome}: {report.verdict}")
    if settings["verbose"]:
        print_leaks(report, dataset)
        _fill_store(pipeline, dataset.images)
    result = evaluate(
        {settings["recipe"]: pipeline},
        dataset.images,
        dataset.target,
        groups=dataset.groups,
        masks=find_metadata(pipeline, dataset).get("masks"),
        cv=choose_cv(cv, dataset),
        target_names=dataset.target_names,
        pos_label=positive,
        **shared,
    )
    result = note_groups(result, dataset)
    result = add_notes(result, describe_split(cv, dataset), describe_left_out(dataset))
    say(f"\n{result}\n")
    return dataset, result, report


def _fill_store(pipeline, images):
    """Compute the rows of a recipe whose features learn nothing, with a progress bar."""
    bus = recipes.recipe_features(pipeline)
    if isinstance(bus, FeatureBus) and not learns(bus):
        bus.set_params(verbose=True).fit_transform(images)


def _fit(pipeline, dataset, random_state):
    """Return the pipeline fitted on all images; inside it, too, groups are kept together."""
    y, everything = dataset.target, np.arange(len(dataset.target))
    pipeline = keep_groups_together(pipeline, y, dataset.groups, everything, random_state)
    metadata = find_metadata(pipeline, dataset)
    with config_context(enable_metadata_routing=bool(metadata)):
        return pipeline.fit(dataset.images, y, **metadata)


def _write_report(result, report, dataset, recipe, path):
    title = f"{recipe} on {dataset.name}"
    result.to_html(path, images=dataset.images, audit=report, title=title)
