"""From a folder of images to an audit of them."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

import pandas as pd

from featbus.datasets import load_dataset
from featbus.model_selection import audit
from featbus.parameters import N_JOBS, Interval, check_parameters
from featbus.workflow._images import PATH
from featbus.workflow._tables import SHOWN, check_output, write_table

if TYPE_CHECKING:
    from featbus.model_selection._report import AuditReport
    from featbus.typing import PathLike

_CONSTRAINTS = {
    "data": PATH,
    "output": [*PATH, None],
    "masks": [*PATH, None],
    "groups": [*PATH, pd.DataFrame, None],
    "cv": [Interval(Integral, 2, None, closed="left")],
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
    cv: int = 5,
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
) -> AuditReport:
    """Look for leaks between folds, and for shortcuts to the label, in a folder of images.

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
        Which images belong together, see `load_dataset`. None counts every image as independent,
        with a warning.
    cv : int, default=5
        Number of folds.
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
        If an image or a mask cannot be read; the message names it.
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
    dataset = load_dataset(data, masks=masks, groups=groups)
    names = [dataset.target_names[label] for label in dataset.target]
    options = {"cv": cv, "n_jobs": n_jobs, "random_state": random_state, "verbose": verbose}
    report = audit(dataset.images, names, groups=dataset.groups, masks=dataset.masks, **options)
    if output is not None:
        write_table(dataset.frame[["file"]].assign(group=report.suggested_groups), output)
    if verbose:
        print(f"{dataset.name}\n{report}")
        print_leaks(report, dataset)
        if output is not None:
            print(f"\nWrote the suggested groups to {output}")
    return report


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
