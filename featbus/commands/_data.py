"""The labeled images of a command: loaded, checked before hours of work, and split."""

import sys
import warnings
from dataclasses import replace
from numbers import Integral
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from imblearn.over_sampling import SMOTE
from sklearn import config_context
from sklearn.model_selection import PredefinedSplit
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import get_routing_for_object

from featbus.datasets import GroupsWarning, load_dataset
from featbus.datasets._files import quote
from featbus.evaluation._evaluation import RESERVED
from featbus.evaluation._metrics import Printed
from featbus.evaluation._report import tabulate_subgroups
from featbus.evaluation.splits import as_text, check_overlap, split_by_value
from featbus.files import escape
from featbus.groups import N_FOLDS, check_folds, make_splits, stratified_folds
from featbus.images import ImageErrors
from featbus.parameters import N_JOBS, Interval, InvalidParameterError, StrOptions, check_parameters

_SUBGROUPS = ("site", "manufacturer", "model", "view", "side")  # columns of a frame
SHOWN = 20  # files that are named, of many
_CALIBRATION = 5  # folds in which a recipe's probabilities are calibrated
# The command line is made from annotations, and would offer to construct these classes.
DataFrame = FeatureStore = Any
# Parameters that would fail late, after hours of work.
CONSTRAINTS = {
    "cv": ["cv_object", str],
    "n_jobs": N_JOBS,
    "on_error": [StrOptions({"raise", "skip"})],
    "random_state": [Interval(Integral, 0, None, closed="left")],
}


def check_options(parameters):
    """Check the parameters of a command; return them, and ``say``, which shows if `verbose`."""
    if str(parameters.get("cv")).isdecimal():  # the command line passes text
        parameters["cv"] = int(parameters["cv"])
    check_parameters(CONSTRAINTS, parameters)
    return SimpleNamespace(say=show if parameters["verbose"] else hide, **parameters)


def hide(*parts):
    """Show nothing."""


def show(*parts):
    """Print texts, tables and results; on a terminal, in color and no wider than it is.

    Parameters
    ----------
    *parts : str, DataFrame, Evaluation, ProtocolComparison or AuditReport
        Each begins a new line.
    """
    for part in parts:
        (_draw if sys.stdout.isatty() else _print)(part)


def _print(part):
    print(part.to_string(index=False) if isinstance(part, pd.DataFrame) else part)


def _draw(part):
    from rich import box, table, text
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    if isinstance(part, Printed):
        show(part._table().reset_index(names=""), *part._lines())
    elif not isinstance(part, pd.DataFrame):
        drawn = text.Text(str(part))
        drawn.highlight_regex(r"(?im)^leak\b.*", "red")
        drawn.highlight_regex(r"(?im)^warning\b.*", "yellow")
        console.print(drawn)
    elif len(part.columns) * 8 > console.width:  # too narrow to be read
        _print(part)
    else:
        drawn = table.Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        first = min(console.width // 2, max(map(len, map(str, part.iloc[:, 0])), default=0))
        for number, name in enumerate(part):
            drawn.add_column(str(name), overflow="fold", min_width=0 if number else first)
        for row in part.round(4).itertuples(index=False):
            drawn.add_row(*map(_format, row))
        console.print(drawn)


def _format(cell):
    return "" if pd.isna(cell) else escape(str(cell))


def load_labeled(options, load=load_dataset, names=("masks", "groups", "strict")):
    """Load images of `classes`, without the warning about groups that `evaluate` gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GroupsWarning)
        dataset = load(options.data, **{name: getattr(options, name) for name in names})
    if (classes := getattr(options, "classes", None)) is None:
        return dataset
    names = dataset.target_names
    rest = select(dataset, find_images([names[label] for label in dataset.target], classes))
    labels, rest.target = np.unique(rest.target, return_inverse=True)
    rest.target_names = [names[label] for label in labels]
    return rest


def find_images(names, classes):
    """Return the positions of the images of some classes, which are text with commas or a list.

    `names` has the class of each image.
    """
    wanted = {*map(str.strip, classes.split(",") if isinstance(classes, str) else classes)}
    if unknown := sorted(wanted - {*names}):
        found = sorted({*names}) or "the folders of classes: there are none"
        raise InvalidParameterError(f"classes has {unknown}, expected some of {found}.")
    return np.flatnonzero([name in wanted for name in names])


def choose_cv(cv, dataset):
    """Return the folds asked for, those that the data set comes with, or five."""
    if isinstance(cv, str):
        known = [name for name in dataset.frame if dataset.frame[name].nunique() > 1]
        if cv not in known or cv in RESERVED:
            raise InvalidParameterError(
                f"cv is {cv!r}, expected a number of folds, or a column of the table of groups "
                f"that has several values, such as 'site'; found {known}."
            )
        return split_by_value(as_text(dataset.frame[cv]), dataset.groups)
    return dataset.get("cv", N_FOLDS) if cv is None else cv


def judging_of(options, dataset):
    """Return what is judged and how, and the subgroups, for `featbus.evaluate`."""
    if options.by == "group" and options.label_rule is None and dataset.groups is not None:
        classes = pd.Series(dataset.target).groupby(np.asarray(dataset.groups))
        names = dataset.frame.get("listed_group", dataset.frame.get("group"))
        mixed = names[classes.transform("nunique") > 1].astype(str).unique().tolist()
        if mixed:
            raise ValueError(
                f"The images of {len(mixed)} groups have different classes, such as those of "
                f"{quote(mixed[:3])}. Pass label_rule='any': it is positive if any image is."
            )
    columns = [*_SUBGROUPS, options.cv if isinstance(options.cv, str) else ""]
    known = {name: dataset.frame[name] for name in columns if name in dataset.frame}
    return {
        "by": options.by,
        "pool": options.pool,
        "label_rule": options.label_rule,
        "subgroups": {name: part for name, part in known.items() if part.nunique() > 1},
    }


def describe_subgroups(result):
    """Return the table of subgroups and an empty line; nothing if there are none."""
    table = tabulate_subgroups(result)
    return [table, ""] if len(table) else []


def find_class(pos_label, names):
    """Return the name of the class that scores are about, or None; 1 is the folder "1"."""
    if pos_label is not None and str(pos_label) not in names:
        raise InvalidParameterError(f"pos_label is {pos_label!r}, expected one of {list(names)}.")
    return None if pos_label is None else str(pos_label)


def check_data(dataset, cv):
    """Refuse data that cannot be split into the folds of `choose_cv`."""
    counts = np.bincount(dataset.target, minlength=len(dataset.target_names))
    name = dataset.target_names[counts.argmin()]
    remedy = "expected some. Repair the files, or move the folder elsewhere."
    if not counts.all():
        raise ValueError(f"Found no image that can be used in the class {name!r}, {remedy}")
    if isinstance(cv, Integral):
        if len(counts) > SHOWN and counts.min() < cv:
            raise ValueError(f"Found {len(counts)} classes: are these patients? See --groups.")
        check_folds([dataset.target_names[label] for label in dataset.target], dataset.groups, cv)
    elif cv is dataset.get("cv") and cv.get_n_splits() == 0:
        raise ValueError(f"Found no image that can be used in the test part, {remedy}")


def make_folds(dataset, cv, random_state):
    """Return the training and test part of each fold; refuse a group on both sides."""
    check_data(dataset, cv)
    groups = dataset.groups
    splits = make_splits(cv, dataset.target, dataset.target, groups, random_state)
    names = dataset.get("frame", {}).get("listed_group")
    check_overlap(splits, groups, len(dataset.target), names=names)
    return splits


def find_metadata(pipeline, dataset):
    """Return the masks and groups that a step requests in `fit`; groups only if they are known."""
    with config_context(enable_metadata_routing=True):
        requested = get_routing_for_object(pipeline).consumes("fit", ["masks", "groups"])
    masks = dataset.get("masks")
    if "masks" in requested and (masks is None or all(mask is None for mask in masks)):
        raise InvalidParameterError(
            "masks is None, but the recipe trains a segmenter, expected masks: a folder, or the "
            "suffix of mask files next to their images, such as masks='_mask'."
        )
    return {name: dataset[name] for name in requested if dataset[name] is not None}


def fit_to_data(pipeline, dataset, options):
    """Return a recipe whose SMOTE uses the neighbors that there are; refuse too few images."""
    cv, seed = choose_cv(options.cv, dataset), options.random_state
    find_metadata(pipeline, dataset)
    fewest = min(_count_fewest(dataset, train, seed) for train, _ in make_folds(dataset, cv, seed))
    few = {
        f"{name}__k_neighbors": fewest - 1
        for name, step in pipeline.get_params().items()
        if isinstance(step, SMOTE) and step.k_neighbors >= fewest
    }
    if few:
        warnings.warn(
            f"The smallest class has {fewest} images in a part of the data that the recipe is "
            f"trained on: SMOTE uses {fewest - 1} neighbors. Scores of so few images vary widely.",
            stacklevel=2,
        )
    return pipeline.set_params(**few)


def _count_fewest(dataset, train, random_state):
    """Return the fewest images of a class that remain where probabilities are calibrated."""
    y, groups = dataset.target[train], None if dataset.groups is None else dataset.groups[train]
    counts = np.bincount(y, minlength=len(dataset.target_names))
    n_groups, fewest = len(y) if groups is None else len(np.unique(groups)), 0
    if min(*counts, n_groups) >= _CALIBRATION:
        folds = stratified_folds(y, groups, _CALIBRATION, random_state)
        fewest = min(np.bincount(y[part], minlength=len(counts)).min() for part, _ in folds)
    if fewest < 2:
        name = dataset.target_names[counts.argmin()]
        raise ValueError(
            f"A training part has {n_groups} groups and {counts.min()} images of the class "
            f"{name!r}, too few to calibrate probabilities in {_CALIBRATION} folds. Add images."
        )
    return int(fewest)


def leave_out(dataset, errors, on_error, verbose=False):
    """Return a data set without failed images, or raise one error about all of them.

    Parameters
    ----------
    dataset : Bunch
        The images.
    errors : list of ImageError
        The errors, with the positions of the images.
    on_error : {"raise", "skip"}
        Whether to raise an `ImageErrors`.
    verbose : bool, default=False
        Whether to print the failed images.

    Returns
    -------
    Bunch
        The other images, with the field ``left_out``: the names of the files of failed images.
    """
    if on_error == "raise":
        remedy = "Repair or remove the files, or leave them out: on_error='skip' (--on_error skip)."
        raise ImageErrors(errors, len(dataset.images), remedy) from errors[0]
    failed = [error.index for error in errors]
    rest = select(dataset, np.setdiff1d(np.arange(len(dataset.images)), failed))
    rest.left_out = dataset.frame["file"].iloc[failed].tolist()
    if verbose:
        lines = (f"{file}: {error.reason}" for file, error in zip(rest.left_out, errors))
        show(_describe_left_out(rest), *first_lines(lines))
    return rest


def select(dataset, kept):
    """Return a data set of the images at some positions."""
    fields = {name: value for name, value in dataset.items() if name != "findings"}
    for name in ("images", "target", "groups", "masks"):
        if fields.get(name) is not None:
            fields[name] = fields[name][kept]
    if "cv" in dataset:
        fields["cv"] = PredefinedSplit(dataset.cv.test_fold[kept])
    return Bunch(**fields | {"frame": dataset.frame.iloc[kept].reset_index(drop=True)})


def select_training(dataset, cv):
    """Return the images that the saved model is fitted on, and a sentence on which these are.

    Of a given split, the model that is saved is the one that was tested.
    """
    if cv is not None or "cv" not in dataset:
        return dataset, f"The saved model is fitted on all {len(dataset.images)} images."
    kept = np.flatnonzero(dataset.cv.test_fold == -1)
    return select(dataset, kept), (
        f"The saved model is the tested one, fitted on the {len(kept)} images of the training part."
    )


def first_lines(lines):
    """Return the first of many lines, indented, and how many more there are."""
    lines = [f"  {line}" for line in lines]
    return lines[:SHOWN] + [f"  and {len(lines) - SHOWN} more"] * (len(lines) > SHOWN)


def _describe_left_out(dataset, with_names=False):
    """Say how many images were left out, if any, and which."""
    files = dataset.get("left_out", [])
    names = f" ({quote(files, SHOWN)})" if with_names else ""
    found = f"{len(files)} of {len(dataset.images) + len(files)} images left out"
    return f"{found}: they cannot be used{names}." if files else ""


def describe_split(cv, dataset):
    """Say that images are split as their folders are, if they are."""
    if cv is not None or "cv" not in dataset:
        return ""
    counts = dataset.frame["split"].value_counts()
    parts = [part for part in ("train", "validation", "test") if part in counts]
    sizes = ", ".join(f"{part} {counts[part]}" for part in parts)
    return f"Split as the folders are ({sizes} images): tested on {parts[-1]}."


def add_notes(result, dataset, cv, with_names=False):
    """Add the split and the failed images to the protocol of a result.

    Parameters
    ----------
    result : Evaluation, ProtocolComparison or AuditReport
        The result.
    dataset : Bunch
        The images.
    cv : int, splitter, iterable or None
        The folds asked for.
    with_names : bool, default=False
        Whether to name the failed images; a model's card has no names.

    Returns
    -------
    Evaluation, ProtocolComparison or AuditReport
        A copy.
    """
    notes = describe_split(cv, dataset), _describe_left_out(dataset, with_names)
    return replace(result, protocol=" ".join([result.protocol, *filter(None, notes)]))
