"""From images and a recipe to an evaluation and a model file."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn import config_context

from featbus import evaluation, persistence, recipes
from featbus.bus import FeatureBus
from featbus.commands import _audit, _data, _examine, _extract, _files
from featbus.datasets import count_images, describe_dataset
from featbus.evaluation._metrics import iter_tables
from featbus.evaluation.splits import keep_groups_together
from featbus.steps import learns

_SCORES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc", "brier")
_PUBLIC = ("BUSI", "mini-MIAS")  # data sets whose name is no secret


def train(options):
    """Train and evaluate; `featbus.commands.train` has the documentation."""
    output = Path(options.output)
    page, scores = (output.with_suffix(end) for end in (".report.html", ".scores.csv"))
    _files.check_output(output, ".skops")
    with TemporaryDirectory(prefix="featbus-") as folder:
        store = _choose_store(options, folder)
        dataset, result, report = _evaluate(options, store)
        _data.say(options, f"Fit on all {len(dataset.images)} images")
        # The number of processors of this machine does not travel.
        settings = {"random_state": options.random_state, "memory": store, "n_jobs": None}
        model = _extract.make_recipe(options.recipe, options, **settings)
        model = _fit(_data.fit_to_data(model, dataset, options), dataset, options.random_state)
        card = _make_card(options, model, dataset, result, report)
        with _files.written_together(output, page, scores) as folder:
            _write_report(result, report, dataset, options, folder / page.name)
            _files.write_table(result.scores, folder / scores.name)
            classes, path = dataset.target_names, folder / output.name
            persistence.save(model, path, classes=classes, card=card, embed=options.embed)
    _data.say(options, f"Wrote {output}, and {page.name} and {scores.name} beside it")
    return result, report


def evaluate(options):
    """Evaluate a recipe; `featbus.commands.evaluate` has the documentation."""
    _files.check_output(options.output, ".html")
    with TemporaryDirectory(prefix="featbus-") as folder:
        dataset, result, report = _evaluate(options, _choose_store(options, folder))
    if options.output is not None:
        _write_report(result, report, dataset, options, options.output)
        _data.say(options, f"Wrote {os.fspath(options.output)}")
    return result


def _choose_store(options, folder):
    """Return the store of the user, or a temporary one."""
    return Path(folder) / "features.sqlite" if options.memory is None else options.memory


def _evaluate(options, memory):
    """Return the data set, the evaluation and the audit's report."""
    cv, shared = options.cv, _data.pick(options, "n_jobs", "random_state", "verbose")
    settings = _data.pick(options, "n_jobs", "random_state") | {"memory": memory}
    pipeline = _extract.make_recipe(options.recipe, options, **settings)
    dataset = _data.load_labeled(options)
    _data.say(options, describe_dataset(dataset), _data.describe_split(cv, dataset))
    positive = _data.find_class(options.pos_label, dataset.target_names)
    _data.fit_to_data(pipeline, dataset, options)
    dataset, report = _audit.audit_dataset(
        dataset, cv, options.on_error, pipeline=pipeline, **shared
    )
    if "left_out" in dataset:
        _data.fit_to_data(pipeline, dataset, options)
    _data.say(options, f"Audit {report.outcome}: {report.verdict}")
    if options.verbose:
        _audit.print_leaks(report, dataset)
        bus = recipes.recipe_features(pipeline)
        if isinstance(bus, FeatureBus) and not learns(bus):  # with a progress bar
            bus.set_params(verbose=True).fit_transform(dataset.images)
    result = evaluation.evaluate(
        {options.recipe: pipeline},
        dataset.images,
        dataset.target,
        groups=dataset.groups,
        masks=_data.find_metadata(pipeline, dataset).get("masks"),
        cv=_data.choose_cv(cv, dataset),
        target_names=dataset.target_names,
        pos_label=positive,
        **shared,
    )
    result = _data.add_notes(result, dataset, cv)
    _data.say(options, f"\n{result}\n")
    return dataset, result, report


def _fit(pipeline, dataset, random_state):
    """Return the pipeline fitted on all images; inside it, too, groups are kept together."""
    y, everything = dataset.target, np.arange(len(dataset.target))
    pipeline = keep_groups_together(pipeline, y, dataset.groups, everything, random_state)
    metadata = _data.find_metadata(pipeline, dataset)
    with config_context(enable_metadata_routing=bool(metadata)):
        return pipeline.fit(dataset.images, y, **metadata)


def _write_report(result, report, dataset, options, path):
    title = f"{options.recipe} on {dataset.name}"
    result.to_html(path, images=dataset.images, audit=report, title=title)


def _make_card(options, recipe, dataset, result, report):
    """Describe a training for the card of its model, in the types of JSON.

    The card has no path, and the name of a data set only if it is a public one: folders are named
    after people.
    """
    about = {"name": options.recipe, "options": _plain(options.options or {})}
    about["random_state"] = int(options.random_state)
    parameters = recipe.get_params().items()
    if any(name.endswith("__backbone") and value is not None for name, value in parameters):
        known = options.weights in ("imagenet", None)
        about["weights"] = options.weights if known else "from a file"
        about["backbone_options"] = _plain(options.backbone_options or {})
    card = {
        "recipe": about,
        "data": {
            "name": dataset.name if dataset.name in _PUBLIC else "one folder per class",
            "images": len(dataset.images),
            "left_out": len(dataset.get("left_out", [])),
            "classes": count_images(dataset),
            "groups": None if dataset.groups is None else len(np.unique(dataset.groups)),
            "groups_known": not result.groups_note,
            "groups_note": result.groups_note or None,
        },
        "audit": report.verdict,
        "protocol": result.protocol,
        "scores": _list_scores(result),
        "positive_class": result.pos_name,
    }
    with suppress(_examine.FewImagesError):
        names = {"groups": dataset.groups, "target_names": dataset.target_names}
        card["reference"] = _examine.describe_training_images(
            dataset.images, dataset.target, **names
        )
    return card


def _plain(value):
    """Return options in the types of JSON, without paths and objects."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    is_path = isinstance(value, str) and {os.sep, "/", "\\"} & {*value}
    is_plain = value is None or isinstance(value, (bool, int, float, str))
    return value if is_plain and not is_path else f"a {type(value).__name__}, not shown"


def _list_scores(result):
    """Return means and intervals; without a positive class, names say what scores are about."""
    return {
        metric if about in (None, result.pos_name) else f"{metric} ({about})": {
            part: round(value, 4) if np.isfinite(value := float(table[part].iloc[0])) else None
            for part in ("mean", "low", "high")
        }
        for metric, about, table in iter_tables(result, _SCORES)
    }
