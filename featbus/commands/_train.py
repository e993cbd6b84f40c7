"""From images and a recipe to an evaluation and a model file."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from sklearn import config_context

from featbus import evaluation, persistence
from featbus.classes import find_positive
from featbus.commands import _appearance, _audit, _data, _external, _extract, _files
from featbus.commands._data import DataFrame, FeatureStore
from featbus.datasets import count_images, describe_dataset
from featbus.evaluation import Evaluation
from featbus.evaluation._operating_point import find_threshold
from featbus.evaluation.splits import keep_groups_together, restore_cv
from featbus.model_selection import AuditReport
from featbus.parameters import InvalidParameterError
from featbus.typing import PathLike

_PUBLIC = ("BUSI", "mini-MIAS")  # data sets whose name is no secret


def train(
    data: PathLike,
    *,
    recipe: str = "handcrafted",
    output: PathLike,
    masks: PathLike | None = None,
    classes: str | list[str] | None = None,
    groups: PathLike | DataFrame | None = None,
    cv: int | str | None = None,
    by: Literal["image", "group"] = "image",
    pool: Literal["mean", "max"] = "mean",
    label_rule: Literal["any"] | None = None,
    sensitivity: float | None = None,
    strict: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    pos_label: str | int | None = None,
    weights: PathLike | None = "imagenet",
    backbone_options: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    embed: bool = True,
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    audit: bool = True,
    verbose: bool = False,
) -> tuple[Evaluation, AuditReport | None]:
    """Evaluate a recipe, fit it on all images or on the given training part, and save the model.

    Read more in the :ref:`User Guide <command_line_train>`.

    Parameters
    ----------
    data : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`.
    recipe : str, default="handcrafted"
        Name of the recipe, see `featbus.recipes.list_recipes`.
    output : path-like
        The model file to write, ``model.skops``. The report of the evaluation,
        ``model.report.html``, and its scores by fold, ``model.scores.csv``, are written beside it.
        All appear together at the end; until then, existing files of these names stay.
    masks : path-like, default=None
        Where the masks are, see `load_dataset`, for recipes that learn where lesions are.
    classes : str or list of str, default=None
        The classes whose images are used, by the names of their folders, separated by commas, such
        as ``"benign,malignant"``. None uses all.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. Where they are unknown, every image counts
        as its own patient, with a warning.
    cv : int or str, default=None
        Number of folds of the cross-validation, or a column of the table of groups, such as
        "site", whose values are tested one at a time. None uses the split that the folders give,
        see `load_image_folder`, or five folds.
    by : {"image", "group"}, default="image"
        Whether images are judged, or groups such as patients, see `featbus.evaluate`.
    pool : {"mean", "max"}, default="mean"
        How the scores of the images of a group are pooled.
    label_rule : "any" or None, default=None
        "any": a group whose images have different classes is positive if any of them is. None:
        such groups are an error.
    sensitivity : float, default=None
        The sensitivity for which the threshold of two classes is chosen within each training part,
        see `featbus.evaluation.at_sensitivity`. None: the classifier's own.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be read are an error, which lists all of them, or are left out.
        What is printed and written says how many.
    pos_label : str or int, default=None
        The class that scores are about, by the name of its folder; 1 is the folder ``1``. None
        guesses it from the names of two classes, see `featbus.evaluate`.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the recipe's network. Of several networks, each has its own, see the option
        `backbone` of `featbus.recipes.fusion`.
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
    audit : bool, default=True
        Whether to audit the data, see `featbus.audit`. False saves time, most of it in large data
        sets; what is printed and written says so.
    verbose : bool, default=False
        Whether to print the data set, the audit's verdict, progress, scores and files.

    Returns
    -------
    evaluation : Evaluation
        The evaluation of the recipe. The model is in the file: ``featbus.load(output)``.
    report : AuditReport or None
        The audit of the data; None without one.

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
    evaluate : The evaluation alone.
    predict : Use the model.
    featbus.save : The format of the file.

    Notes
    -----
    The scores are those of the cross-validation. The saved model is fitted on all images, and has
    no scores of its own: its scores on these images would mean nothing. Where the folders give a
    split and `cv` is None, the saved model is the one that was tested: it is fitted on the training
    part alone.

    Examples
    --------
    On the command line: ``featbus train scans --groups groups.csv -o model.skops``

    >>> from featbus.commands import train
    >>> evaluation, report = train(  # doctest: +SKIP
    ...     "scans", recipe="mobilenet_intensity", output="model.skops", groups="groups.csv"
    ... )
    """
    options = _data.check_options(locals())
    output = Path(output)
    page, scores = (output.with_suffix(end) for end in (".report.html", ".scores.csv"))
    _files.check_output(output, ".skops")
    with TemporaryDirectory(prefix="featbus-") as folder:
        store = Path(folder) / "features.sqlite" if memory is None else memory
        dataset, result, report = _evaluate(options, store)
        training, note = _data.select_training(dataset, cv)
        options.say(note)
        result = replace(result, protocol=f"{result.protocol}\n{note}")
        # The number of processors of this machine does not travel.
        settings = {"random_state": random_state, "memory": store, "n_jobs": None}
        model = _extract.make_recipe(recipe, options, **settings)
        model = _tune(_data.fit_to_data(model, dataset, options), dataset, options)
        model = _fit(model, training, random_state)
        card = _make_card(options, training, result, report)
        if sensitivity is not None:
            card["operating_point"] = _describe_threshold(model, dataset, sensitivity)
        with _files.written_together(output, page, scores) as folder:
            _write_report(result, report, dataset, options, folder / page.name)
            _files.write_table(result.scores, folder / scores.name)
            classes, path = dataset.target_names, folder / output.name
            persistence.save(model, path, classes=classes, card=card, embed=embed)
    options.say(f"Wrote {output}, and {page.name} and {scores.name} beside it")
    return result, report


def evaluate(
    data: PathLike,
    *,
    recipe: str | None = None,
    model: PathLike | None = None,
    output: PathLike | None = None,
    masks: PathLike | None = None,
    classes: str | list[str] | None = None,
    groups: PathLike | DataFrame | None = None,
    cv: int | str | None = None,
    by: Literal["image", "group"] = "image",
    pool: Literal["mean", "max"] = "mean",
    label_rule: Literal["any"] | None = None,
    sensitivity: float | None = None,
    strict: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    pos_label: str | int | None = None,
    weights: PathLike | None = "imagenet",
    backbone_options: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    audit: bool = True,
    verbose: bool = False,
) -> Evaluation:
    """Evaluate a recipe by cross-validation that keeps groups together, or a model on new data.

    Read more in the :ref:`User Guide <command_line_train>`.

    Parameters
    ----------
    data : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`.
    recipe : str, default=None
        Name of the recipe, see `featbus.recipes.list_recipes`. None: "handcrafted", unless there is
        a `model`.
    model : path-like, default=None
        Instead of a recipe, a model that `train` wrote, for data that it was not trained on. It is
        not fitted again. What is printed and written compares its scores with those of its card,
        and says how well probabilities are calibrated, and how many images are unlike the training
        images.
    output : path-like, default=None
        The report to write, an ``.html`` file. An existing file is replaced. None writes nothing.
    masks : path-like, default=None
        Where the masks are, see `load_dataset`, for recipes that learn where lesions are.
    classes : str or list of str, default=None
        The classes whose images are used, by the names of their folders, separated by commas, such
        as ``"benign,malignant"``. None uses all.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. Where they are unknown, every image counts
        as its own patient, with a warning.
    cv : int or str, default=None
        Number of folds of the cross-validation, or a column of the table of groups, such as
        "site", whose values are tested one at a time. None uses the split that the folders give,
        see `load_image_folder`, or five folds.
    by : {"image", "group"}, default="image"
        Whether images are judged, or groups such as patients, see `featbus.evaluate`.
    pool : {"mean", "max"}, default="mean"
        How the scores of the images of a group are pooled.
    label_rule : "any" or None, default=None
        "any": a group whose images have different classes is positive if any of them is. None:
        such groups are an error.
    sensitivity : float, default=None
        The sensitivity for which the threshold of two classes is chosen within each training part,
        see `featbus.evaluation.at_sensitivity`. None: the classifier's own.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be read are an error, which lists all of them, or are left out.
        What is printed and written says how many.
    pos_label : str or int, default=None
        The class that scores are about, by the name of its folder; 1 is the folder ``1``. None
        guesses it from the names of two classes, see `featbus.evaluate`.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the recipe's network. Of several networks, each has its own, see the option
        `backbone` of `featbus.recipes.fusion`.
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
    audit : bool, default=True
        Whether to audit the data, see `featbus.audit`. False saves time, most of it in large data
        sets; what is printed and written says so.
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
        If a parameter is invalid, or the data cannot be used; if both `recipe` and `model` are
        given; if the data have a class that the model does not know.

    See Also
    --------
    train : Also fit and save the model.
    featbus.evaluate : Any pipelines on any images.

    Examples
    --------
    On the command line: ``featbus evaluate scans --groups groups.csv -o report.html``

    >>> from featbus.commands import evaluate
    >>> result = evaluate(  # doctest: +SKIP
    ...     "scans", recipe="mobilenet_intensity", output="report.html", groups="groups.csv"
    ... )
    """
    options = _data.check_options(locals())
    _files.check_output(output, ".html")
    if recipe is not None and model is not None:
        raise InvalidParameterError(f"recipe is {recipe!r} and model is {model!r}, expected one.")
    if model is None:
        options.recipe = recipe or "handcrafted"
        dataset, result, report = _evaluate(options, memory)
    else:
        dataset, result, report = *_external.evaluate_model(options), None
    if output is not None:
        _write_report(result, report, dataset, options, output)
        options.say(f"Wrote {os.fspath(output)}")
    return result


def _evaluate(options, memory):
    """Return the data set, the evaluation and the audit's report."""
    cv, settings = options.cv, {"n_jobs": options.n_jobs, "random_state": options.random_state}
    pipeline = _extract.make_recipe(options.recipe, options, memory=memory, **settings)
    settings["verbose"] = options.verbose
    dataset = _data.load_labeled(options)
    options.say(*filter(None, [describe_dataset(dataset), _data.describe_split(cv, dataset)]))
    positive = _data.find_class(options.pos_label, dataset.target_names)
    pipeline = _tune(_data.fit_to_data(pipeline, dataset, options), dataset, options)
    dataset, report = _audit.audit_dataset(
        dataset, cv, options.on_error, options.audit, pipeline=pipeline, **settings
    )
    if "left_out" in dataset:
        pipeline = _data.fit_to_data(pipeline, dataset, options)
    options.say(*_audit.describe_audit(report, dataset))
    if "features" in getattr(pipeline, "named_steps", ()):
        pipeline.set_params(features__verbose=options.verbose)
    result = evaluation.evaluate(
        {options.recipe: pipeline},
        dataset.images,
        dataset.target,
        groups=dataset.groups,
        masks=_data.find_metadata(pipeline, dataset).get("masks"),
        cv=cv if isinstance(cv, str) else _data.choose_cv(cv, dataset),
        **_data.judging_of(options, dataset),
        target_names=dataset.target_names,
        pos_label=positive,
        **settings,
    )
    networks = [source.description for source in _extract.find_networks(pipeline)]
    protocol = f"{result.protocol}\nNetworks: {'; '.join(networks) or 'none'}."
    protocol += f"\n{_audit.NO_AUDIT}" if report is None else ""
    if options.sensitivity is not None:
        aim = f"a sensitivity of {options.sensitivity}"
        protocol += f"\nThreshold chosen within each training part for {aim}."
    result = _data.add_notes(replace(result, protocol=protocol), dataset, cv)
    options.say("", result, "", *_data.describe_subgroups(result))
    return dataset, result, report


def _tune(pipeline, dataset, options):
    """Return a pipeline that chooses its threshold for the sensitivity asked for, if any."""
    if options.sensitivity is None:
        return pipeline
    names = dataset.target_names
    position, _ = find_positive(np.arange(len(names)), names, options.pos_label)
    if position is None or len(names) > 2:
        remedy = "leave out sensitivity" if len(names) > 2 else "pass pos_label"
        raise InvalidParameterError(
            f"sensitivity is {options.sensitivity} and the classes are {names}, expected two "
            f"classes, one of them positive: {remedy}."
        )
    return evaluation.at_sensitivity(pipeline, options.sensitivity, pos_label=position)


def _describe_threshold(model, dataset, sensitivity):
    """Return the operating point of a fitted model for its card."""
    position, threshold = find_threshold(model)
    name, chosen_for = dataset.target_names[position], f"sensitivity of {sensitivity}"
    return {"class": name, "threshold": round(threshold, 4), "chosen_for": chosen_for}


def _fit(pipeline, dataset, random_state):
    """Return the pipeline fitted on a data set; inside it, too, groups are kept together."""
    y, everything = dataset.target, np.arange(len(dataset.target))
    fitted = keep_groups_together(pipeline, y, dataset.groups, everything, random_state)
    metadata = _data.find_metadata(pipeline, dataset)
    with config_context(enable_metadata_routing=bool(metadata)):
        fitted.fit(dataset.images, y, **metadata)
    restore_cv(fitted, pipeline)
    return fitted


def _write_report(result, report, dataset, options, path):
    title = f"{result.pipeline_names[0]} on {dataset.name}"
    result.to_html(path, images=dataset.images, audit=report, title=title)


def _make_card(options, dataset, result, report):
    """Describe a training for the card of its model, in the types of JSON.

    The card has no path, and the name of a data set only if it is a public one: folders are named
    after people.
    """
    card = {
        "recipe": {
            "name": options.recipe,
            "options": _plain(_extract.list_given(options)),
            "random_state": int(options.random_state),
        },
        "data": {
            "name": dataset.name if dataset.name in _PUBLIC else "one folder per class",
            "images": len(dataset.images),
            "tested_on": result.predictions["index"].nunique(),
            "left_out": len(dataset.get("left_out", [])),
            "classes": count_images(dataset),
            "groups": None if dataset.groups is None else len(np.unique(dataset.groups)),
            "groups_note": result.groups_note or None,
        },
        "audit": _audit.NO_AUDIT if report is None else report.verdict,
        "protocol": result.protocol,
        "judged": result.by,
        "scores": _external.list_scores(result),
        "doubt": result.doubt or None,
        "calls": _count_calls(result),
        "positive_class": result.pos_name,
    }
    with suppress(_appearance.FewImagesError):
        card["reference"] = _appearance.describe_training_images(
            dataset.images, groups=dataset.groups
        )
    return card


def _count_calls(result):
    """Return how often each class was predicted in the test parts, and how often that was right."""
    unit = "groups" if result.by == "group" else "images"
    return {
        name: {"right": int(called[name]), "of": int(called.sum()), "unit": unit}
        for name, called in result.confusion_matrix().items()
    }


def _plain(value):
    """Return options in the types of JSON, without paths and objects."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    is_path = isinstance(value, str) and {os.sep, "/", "\\"} & {*value}
    is_plain = value is None or isinstance(value, (bool, int, float, str))
    return value if is_plain and not is_path else f"a {type(value).__name__}, not shown"
