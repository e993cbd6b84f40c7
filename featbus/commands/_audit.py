"""From a folder of images to the leaks in it, and to what leaks are worth."""

import os
from pathlib import Path

from sklearn.utils import Bunch

from featbus import evaluation, model_selection
from featbus.commands import _data, _extract, _files
from featbus.datasets import describe_dataset, load_dataset
from featbus.datasets._files import quote
from featbus.files import written_whole
from featbus.images import ImageError

_TABLE, _FIGURE, _STORE = "honesty.csv", "honesty.png", "features.sqlite"


def audit(options):
    """Audit a folder; `featbus.commands.audit` has the documentation."""
    _files.check_output(options.output, ".csv")
    settings = _data.pick(options, "n_jobs", "random_state", "verbose")
    dataset = load_dataset(options.data, **_data.pick(options, "masks", "groups", "strict"))
    dataset, report = audit_dataset(dataset, options.cv, options.on_error, **settings)
    _data.say(options, f"{dataset.name}\n{report}")
    if options.verbose:
        print_leaks(report, dataset)
    if options.output is not None:
        groups = dataset.frame[["file"]].assign(group=report.suggested_groups)
        _files.write_table(groups, options.output)
        _data.say(options, f"\nWrote the suggested groups to {os.fspath(options.output)}")
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
    folds = _data.choose_cv(cv, dataset)
    _data.check_data(dataset, folds)
    names = [dataset.target_names[label] for label in dataset.target]
    known = {"groups": dataset.groups, "masks": dataset.get("masks")}
    try:
        report = model_selection.audit(dataset.images, names, cv=folds, **known, **options)
    except ImageError as error:
        errors = getattr(error, "errors", [error])
        dataset = _data.leave_out(dataset, errors, on_error, options["verbose"])
        return audit_dataset(dataset, cv, "raise", **options)
    return dataset, _data.add_notes(report, dataset, cv, with_names=True)


def print_leaks(report, dataset):
    """Print the files that each leak concerns, the first of many."""
    for check in report.checks.query("severity == 'leak'")["check"]:
        files = dataset.frame["file"].iloc[report.images[check]].tolist()
        print(f"Leak, {check}: {quote(files, _data.SHOWN)}")


def honesty(options):
    """Compare protocols; `featbus.commands.honesty` has the documentation."""
    output, settings = Path(options.output), _data.pick(options, "n_jobs", "verbose")
    transformer = _extract.make_transformer(options)
    dataset = _data.load_labeled(options)
    positive = _data.find_class(options.pos_label, dataset.target_names)
    _data.check_data(dataset, options.cv)
    output.mkdir(parents=True, exist_ok=True)
    store = output / _STORE
    _, bus = _data.compute_rows(transformer, dataset.images, memory=store, **settings)
    if bus.errors_:
        dataset = _data.leave_out(dataset, bus.errors_, options.on_error, options.verbose)
    if dataset.groups is None:
        groups = model_selection.find_near_duplicates(dataset.images, **settings)
        dataset = Bunch(**dataset | {"groups": groups, "groups_of": "near-duplicates"})
    _data.check_data(dataset, options.cv)
    _data.say(options, describe_dataset(dataset))
    result = evaluation.compare_protocols(
        transformer,
        dataset.images,
        dataset.target,
        groups=dataset.groups,
        target_names=dataset.target_names,
        pos_label=positive,
        memory=store,
        **_data.pick(options, "n_copies", "dihedral", "cv", "random_state"),
        **settings,
    )
    result = _data.add_notes(result, dataset, options.cv)
    _data.say(options, f"\n{result}\n")
    with written_whole(output / _FIGURE) as hidden:  # both files, or neither
        result.plot().savefig(hidden, format="png", dpi=150)
        _files.write_table(result.to_table(), output / _TABLE)
    found = f"Wrote {_TABLE} and {_FIGURE} to {output}{os.sep}"
    _data.say(options, f"{found}; {_STORE} there stores the features")
    return result
