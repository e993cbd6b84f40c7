"""From a folder of images to the leaks in it, and to what leaks are worth."""

import os
from pathlib import Path

from sklearn.utils import Bunch

from featbus import evaluation, model_selection
from featbus.bus import FeatureBus
from featbus.commands._data import (
    SHOWN,
    add_notes,
    check_data,
    choose_cv,
    fill_store,
    find_class,
    leave_out,
    load_labeled,
)
from featbus.commands._extract import make_transformer
from featbus.commands._files import check_output, write_table
from featbus.datasets import describe_dataset, load_dataset
from featbus.datasets._files import quote
from featbus.files import written_whole
from featbus.images import ImageError

_TABLE, _FIGURE, _STORE = "honesty.csv", "honesty.png", "features.sqlite"


def audit(options):
    """Audit a folder; `featbus.commands.audit` has the documentation."""
    check_output(options.output, ".csv")
    known = {name: getattr(options, name) for name in ("masks", "groups", "strict")}
    settings = {name: getattr(options, name) for name in ("n_jobs", "random_state", "verbose")}
    dataset = load_dataset(options.data, **known)
    dataset, report = audit_dataset(dataset, options.cv, options.on_error, **settings)
    if options.output is not None:
        groups = dataset.frame[["file"]].assign(group=report.suggested_groups)
        write_table(groups, options.output)
    if options.verbose:
        print(f"{dataset.name}\n{report}")
        print_leaks(report, dataset)
        if options.output is not None:
            print(f"\nWrote the suggested groups to {os.fspath(options.output)}")
    return report


def audit_dataset(dataset, cv, on_error, **options):
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
    **options : dict
        Other parameters of `featbus.audit`.

    Returns
    -------
    dataset : Bunch
        The images that can be read, see `leave_out`.
    report : AuditReport
        What was found.
    """
    folds = choose_cv(cv, dataset)
    check_data(dataset, folds)
    names = [dataset.target_names[label] for label in dataset.target]
    known = {"groups": dataset.groups, "masks": dataset.get("masks")}
    try:
        report = model_selection.audit(dataset.images, names, cv=folds, **known, **options)
    except ImageError as error:
        errors = getattr(error, "errors", [error])
        dataset = leave_out(dataset, errors, on_error, options["verbose"])
        return audit_dataset(dataset, cv, "raise", **options)
    return dataset, add_notes(report, dataset, cv, with_names=True)


def print_leaks(report, dataset):
    """Print the files that each leak concerns, the first of many."""
    for check in report.checks.query("severity == 'leak'")["check"]:
        files = dataset.frame["file"].iloc[report.images[check]].tolist()
        print(f"Leak, {check}: {quote(files, SHOWN)}")


def honesty(options):
    """Compare protocols; `featbus.commands.honesty` has the documentation."""
    output = Path(options.output)
    transformer = make_transformer(options)
    dataset = load_labeled(options.data, options.masks, options.groups, options.strict)
    positive = find_class(options.pos_label, dataset.target_names)
    check_data(dataset, options.cv)
    output.mkdir(parents=True, exist_ok=True)
    settings = {"n_jobs": options.n_jobs, "verbose": options.verbose}
    bus = FeatureBus(transformer, memory=output / _STORE, **settings)
    _, errors = fill_store(bus, dataset.images)
    if errors:
        dataset = leave_out(dataset, errors, options.on_error, options.verbose)
    if dataset.groups is None:
        groups = model_selection.find_near_duplicates(dataset.images, **settings)
        dataset = Bunch(**dataset | {"groups": groups, "groups_of": "near-duplicates"})
    check_data(dataset, options.cv)
    if options.verbose:
        print(describe_dataset(dataset))
    result = evaluation.compare_protocols(
        transformer,
        dataset.images,
        dataset.target,
        groups=dataset.groups,
        n_copies=options.n_copies,
        dihedral=options.dihedral,
        cv=options.cv,
        target_names=dataset.target_names,
        pos_label=positive,
        random_state=options.random_state,
        memory=output / _STORE,
        **settings,
    )
    result = add_notes(result, dataset, options.cv)
    with written_whole(output / _FIGURE) as hidden:  # both files, or neither
        result.plot().savefig(hidden, format="png", dpi=150)
        write_table(result.to_table(), output / _TABLE)
    if options.verbose:
        print(f"\n{result}\n")
        print(f"Wrote {_TABLE} and {_FIGURE} to {output}{os.sep}; {_STORE} stores the features")
    return result
