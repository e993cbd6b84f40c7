"""From a folder of images to the leaks in it, and to what leaks are worth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from featbus import evaluation, model_selection
from featbus.commands import _data, _extract, _files
from featbus.commands._data import DataFrame
from featbus.datasets import describe_dataset, load_dataset
from featbus.datasets._base import FOUND
from featbus.datasets._files import quote
from featbus.evaluation import ProtocolComparison
from featbus.images import ImageError
from featbus.model_selection import AuditReport
from featbus.model_selection._near_duplicates import map_images
from featbus.typing import PathLike

NO_AUDIT = "No audit was made."
_TABLE, _FIGURE, _STORE = "honesty.csv", "honesty.png", "features.sqlite"


def audit(
    data: PathLike,
    output: PathLike | None = None,
    *,
    masks: PathLike | None = None,
    groups: PathLike | DataFrame | None = None,
    cv: int | None = None,
    max_images: int | None = None,
    strict: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
) -> AuditReport:
    """Look for leaks between folds, and for shortcuts to the label, in a folder of images.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    data : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`.
    output : path-like, default=None
        A ``.csv`` file to write: the suggested groups, as a table for `groups`. Without patients,
        its column ``origin`` says "near-duplicates". None writes nothing.
    masks : path-like, default=None
        Where the masks are, see `load_dataset`.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. Where they are unknown, every image counts
        as its own patient, with a warning.
    cv : int, default=None
        Number of folds. None audits the split that the folders give, or five folds.
    max_images : int, default=None
        The largest number of images to read: of more, whole groups are sampled, or single images if
        groups are unknown. `output` has a group of its own for each image that was not read, unless
        `groups` has another.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be read, or whose mask cannot, are an error, which lists all of
        them, or are left out. The report says how many and which.
    n_jobs : int, default=None
        Number of threads that read images.
    random_state : int, default=0
        Seed of the folds and of all random draws.
    verbose : bool, default=False
        Whether to show progress, the report, and the files with leaks.

    Returns
    -------
    AuditReport
        What was found.

    Raises
    ------
    ImageError
        If images or masks cannot be read; the message names all of them.
    FileNotFoundError
        If a folder does not exist.
    ValueError
        If a parameter is invalid, or the data cannot be used.

    See Also
    --------
    featbus.audit : Audit any images, and a pipeline.

    Examples
    --------
    On the command line: ``featbus audit scans --groups groups.csv``

    >>> from featbus.commands import audit
    >>> report = audit("scans", "groups.csv")  # doctest: +SKIP
    """
    say = _data.check_options(locals()).say
    _files.check_output(output, ".csv")
    settings = {"n_jobs": n_jobs, "random_state": random_state, "verbose": verbose}
    dataset = load_dataset(data, masks=masks, groups=groups, strict=strict)
    dataset, report = audit_dataset(dataset, cv, on_error, max_images=max_images, **settings)
    say(dataset.name, report, *list_leaks(report, dataset))
    if output is not None:
        suggested = dataset.frame[["file"]].assign(group=report.suggested_groups)
        if report.suggested_groups.note:
            suggested["origin"] = FOUND
        _files.write_table(suggested, output)
        say("", f"Wrote the suggested groups to {os.fspath(output)}")
    return report


def audit_dataset(dataset, cv, on_error, audit=True, **options):
    """Audit a data set, without the failed images if these are skipped.

    The audit is the first to read all images. It is repeated if some cannot be read; otherwise
    nothing is read twice.

    Parameters
    ----------
    dataset : Bunch
        The images.
    cv : int or None
        The folds asked for.
    on_error : {"raise", "skip"}
        What to do about images that cannot be read.
    audit : bool, default=True
        False only tries to read the images.
    **options : dict
        Other parameters of `featbus.audit`.

    Returns
    -------
    dataset : Bunch
        The images that can be read, see `leave_out`.
    report : AuditReport or None
        What was found; None without an audit.
    """
    folds = _data.choose_cv(cv, dataset)
    _data.check_data(dataset, folds)
    names = [dataset.target_names[label] for label in dataset.target]
    known = {"groups": dataset.groups, "masks": dataset.get("masks")}
    try:
        if not audit:
            settings = {name: options[name] for name in ("n_jobs", "verbose")}
            list(map_images(np.size, dataset.images, **settings))
            return dataset, None
        report = model_selection.audit(dataset.images, names, cv=folds, **known, **options)
    except ImageError as error:
        errors = getattr(error, "errors", [error])
        dataset = _data.leave_out(dataset, errors, on_error, options["verbose"])
        return audit_dataset(dataset, cv, "raise", audit, **options)
    return dataset, _data.add_notes(report, dataset, cv, with_names=True)


def describe_audit(report, dataset):
    """Return the outcome of an audit, and a line for each leak and each warning."""
    if report is None:
        return [NO_AUDIT]
    warned = report.checks.query("severity == 'warning'")
    lines = (f"Warning, {check}: {text}" for check, text in zip(warned["check"], warned["finding"]))
    return [f"Audit {report.outcome}: {report.verdict}", *list_leaks(report, dataset), *lines]


def list_leaks(report, dataset):
    """Return a line for each leak, with the first files that it concerns."""
    leaks = report.checks.query("severity == 'leak'")["check"]
    files = [dataset.frame["file"].iloc[report.images[check]].tolist() for check in leaks]
    return [f"Leak, {check}: {quote(each, _data.SHOWN)}" for check, each in zip(leaks, files)]


def honesty(
    data: PathLike,
    output: PathLike = "featbus-honesty",
    *,
    features: str | Sequence[str] = "hog,intensity,lbp",
    masks: PathLike | None = None,
    groups: PathLike | DataFrame | None = None,
    n_copies: int = 2,
    dihedral: Literal[2, 6, 8] | None = None,
    cv: int = 5,
    strict: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    pos_label: str | int | None = None,
    weights: PathLike | None = "imagenet",
    backbone_options: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
) -> ProtocolComparison:
    """Score the same features and SVM by the honest protocol, and by those that leak.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    data : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`.
    output : path-like, default="featbus-honesty"
        Folder for ``honesty.csv``, the table, and ``honesty.png``, the picture. It is created if
        needed, and existing files of these names are replaced. ``features.sqlite`` there stores the
        features for the next run.
    features : str or sequence of str, default="hog,intensity,lbp"
        Names of extractors, separated by commas, or the name of a recipe, see `extract`.
    masks : path-like, default=None
        Where the masks are, see `load_dataset`, so that they are not taken for images. They are not
        used.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. Where they are unknown, near-duplicates
        are looked for, and the result says so.
    n_copies : int, default=2
        Number of copies of each image.
    dihedral : {None, 2, 6, 8}, default=None
        Flips and quarter turns instead of random changes, see `featbus.ImageAugmenter`.
    cv : int, default=5
        Number of folds. A split that the folders give is not used: all images are split.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be used are an error, which lists all of them, or are left out.
        What is printed says how many.
    pos_label : str or int, default=None
        The class that scores are about, by the name of its folder; 1 is the folder ``1``. None
        guesses it from the names of two classes, see `featbus.evaluate`.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the networks.
    backbone_options : dict, default=None
        Options of the networks, such as ``{"alpha": 0.35}``.
    options : dict, default=None
        Other options of the recipe, see `featbus.recipes.make_recipe`.
    n_jobs : int, default=None
        Number of parallel fits, and of batches of images in parallel.
    random_state : int, default=0
        Seed of the copies, of the folds and of SMOTE.
    verbose : bool, default=False
        Whether to print the data set, progress, the result and files.

    Returns
    -------
    ProtocolComparison
        The result.

    Raises
    ------
    ImageError
        If images cannot be used; the message names all of them.
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If a parameter is invalid, or the data cannot be used.

    See Also
    --------
    featbus.compare_protocols : The protocols, and other classifiers.
    audit : Look for leaks in the data.

    Examples
    --------
    On the command line: ``featbus honesty scans --groups groups.csv -o honesty``

    >>> from featbus.commands import honesty
    >>> result = honesty("Dataset_BUSI_with_GT", groups="groups.csv")  # doctest: +SKIP
    """
    options = _data.check_options(locals())
    output, settings = Path(output), {"n_jobs": n_jobs, "verbose": verbose}
    store = output / _STORE
    transformer = _extract.make_transformer(options)
    dataset = _data.load_labeled(options)
    positive = _data.find_class(pos_label, dataset.target_names)
    _data.check_data(dataset, cv)
    output.mkdir(parents=True, exist_ok=True)
    _, bus = _files.compute_rows(transformer, dataset.images, memory=store, **settings)
    if bus.errors_:
        dataset = _data.leave_out(dataset, bus.errors_, on_error, verbose)
    if dataset.groups is None:
        dataset.groups = model_selection.find_near_duplicates(dataset.images, **settings)
    options.say(describe_dataset(dataset))
    result = evaluation.compare_protocols(
        transformer,
        dataset.images,
        dataset.target,
        groups=dataset.groups,
        target_names=dataset.target_names,
        pos_label=positive,
        n_copies=n_copies,
        dihedral=dihedral,
        cv=cv,
        random_state=random_state,
        memory=store,
        **settings,
    )
    result = _data.add_notes(result, dataset, cv)
    options.say("", result, "")
    with _files.written_together(output / _TABLE, output / _FIGURE) as folder:
        result.plot().savefig(folder / _FIGURE, format="png", dpi=150)
        _files.write_table(result.to_table(), folder / _TABLE)
    options.say(f"Wrote {_TABLE}, {_FIGURE} and {_STORE} to {output}{os.sep}")
    return result
