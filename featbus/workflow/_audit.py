"""From a folder of images to an audit of them."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

import pandas as pd

from featbus.datasets import load_dataset
from featbus.images import ImageError
from featbus.model_selection import audit
from featbus.parameters import N_JOBS, Interval, check_parameters
from featbus.workflow._checks import check_data, choose_cv, describe_split
from featbus.workflow._images import PATH
from featbus.workflow._left_out import (
    ON_ERROR,
    add_notes,
    describe_left_out,
    leave_out,
    list_left_out,
)
from featbus.workflow._notes import note_groups
from featbus.workflow._tables import SHOWN, check_output, write_table

if TYPE_CHECKING:
    from typing import Literal

    from featbus.model_selection._report import AuditReport
    from featbus.typing import PathLike

_CONSTRAINTS = {
    "data": PATH,
    "output": [*PATH, None],
    "masks": [*PATH, None],
    "groups": [*PATH, pd.DataFrame, None],
    "cv": [Interval(Integral, 2, None, closed="left"), None],
    "strict": ["boolean"],
    "on_error": ON_ERROR,
    "n_jobs": N_JOBS,
    "random_state": [Interval(Integral, 0, None, closed="left")],
    "verbose": ["boolean"],
}


def audit_folder(
    data: PathLike,
    output: PathLike | None = None,
    *,
    masks: PathLike | None = None,
    groups: PathLike | pd.DataFrame | None = None,
    cv: int | None = None,
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
        A ``.csv`` file to write: the suggested groups, as a table for `groups`. None writes
        nothing.
    masks : path-like, default=None
        Where the masks are, see `load_dataset`.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. Where they are unknown, every image counts
        as its own patient, with a warning.
    cv : int, default=None
        Number of folds. None audits the split that the folders give, or five folds.
    strict : bool, default=False
        Whether files that are no images are an error, instead of left out with a warning.
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
    >>> from featbus.workflow import audit_folder
    >>> report = audit_folder("scans", "groups.csv")  # doctest: +SKIP
    """
    check_parameters(_CONSTRAINTS, locals())
    check_output(output, (".csv",))
    dataset = load_dataset(data, masks=masks, groups=groups, strict=strict)
    options = {"n_jobs": n_jobs, "random_state": random_state, "verbose": verbose}
    dataset, report = audit_dataset(dataset, cv, on_error, **options)
    if output is not None:
        write_table(dataset.frame[["file"]].assign(group=report.suggested_groups), output)
    if verbose:
        print(f"{dataset.name}\n{report}")
        print_leaks(report, dataset)
        if "left_out" in dataset:
            print(f"\n{list_left_out(dataset)}")
        if output is not None:
            print(f"\nWrote the suggested groups to {output}")
    return report


def audit_dataset(dataset, cv, on_error, **options):
    """Audit a data set, without the images that cannot be read if these are skipped.

    The audit is the first to read all images. It is repeated if it finds some that cannot be read;
    otherwise nothing is read twice.

    Parameters
    ----------
    dataset : Bunch
        The images.
    cv : int or None
        The folds asked for.
    on_error : {"raise", "skip"}
        What to do about images that cannot be read.
    **options : dict
        Other parameters of `featbus.audit`.

    Returns
    -------
    dataset : Bunch
        The images that can be read, see `leave_out`.
    report : AuditReport
        What was found.
    """
    try:
        return dataset, _audit(dataset, cv, options)
    except ImageError as error:
        dataset = leave_out(dataset, error, on_error)
    return dataset, _audit(dataset, cv, options)


def _audit(dataset, cv, options):
    folds = choose_cv(cv, dataset)
    check_data(dataset, folds)
    names = [dataset.target_names[label] for label in dataset.target]
    known = {"groups": dataset.groups, "masks": dataset.get("masks")}
    report = audit(dataset.images, names, cv=folds, **known, **options)
    notes = describe_split(cv, dataset), describe_left_out(dataset, with_names=True)
    return add_notes(note_groups(report, dataset), *notes)


def print_leaks(report, dataset):
    """Print the files that each leak concerns, the first of many.

    Parameters
    ----------
    report : AuditReport
        The report.
    dataset : Bunch
        The images.
    """
    for check in report.checks.query("severity == 'leak'")["check"]:
        files = [f"'{file}'" for file in dataset.frame["file"].iloc[report.images[check]]]
        more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        print(f"Leak, {check}: {', '.join(files[:SHOWN])}{more}")
