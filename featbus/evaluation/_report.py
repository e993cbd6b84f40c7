"""The report of an evaluation: one HTML file without external resources."""

import os
from collections import Counter
from datetime import datetime
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from featbus.evaluation._metrics import TITLES
from featbus.evaluation._pictures import read_pictures
from featbus.evaluation._plots import Panel, make_panels
from featbus.evaluation._svg import draw_svg
from featbus.evaluation._titles import iter_tables, title
from featbus.feature_extraction import intensity_summary
from featbus.files import written_whole
from featbus.images import as_batch, is_path

_N_WORST = 12  # images with the most confident errors, shared by two or more pipelines
_N_DESCRIBED = 1000  # at most so many images are described
_CLASS_METRICS = ["sensitivity", "specificity", "precision", "npv", "f1", "roc_auc", "pr_auc"]
_N_COLUMNS = 6  # pipelines side by side in the table of results
_NO_POSITIVE = "No positive class: metrics are means over the classes."
_CURVES = {"roc": "ROC", "precision_recall": "Precision and recall", "calibration": "Calibration"}


class Interval(NamedTuple):
    """A cell of a table: a mean with the ends of its interval."""

    mean: float
    low: float
    high: float
    digits: int = 3


class Percent(NamedTuple):
    """A cell of a table: a share in percent."""

    value: float


class Table(NamedTuple):
    """A table as the template renders it."""

    levels: list  # headings of the columns that name the rows
    columns: list  # (heading, whether all its cells are numbers)
    rows: list  # (names, cells)


def write_report(evaluation, path, *, images=None, audit=None, title=None):
    """Write the report of an evaluation as one HTML file.

    Parameters
    ----------
    evaluation : Evaluation
        The result of `evaluate`.
    path : path-like
        The file.
    images : batch of images, default=None
        The images of the rows of `X`.
    audit : AuditReport, default=None
        The result of `featbus.audit`.
    title : str, default=None
        Heading of the report.

    See Also
    --------
    Evaluation.to_html : The public method.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(path.parent)!r} for the report. Make it first."
        )
    batch = None if images is None else _check_images(images, evaluation)
    page = _render(evaluation, batch, audit, title)
    with written_whole(path) as hidden:
        hidden.write_text(page, encoding="utf-8", errors="replace")


def _check_images(images, evaluation):
    batch = as_batch(images)
    expected = int(evaluation.predictions["index"].max()) + 1
    if len(batch) < expected:
        raise ValueError(
            f"images has {len(batch)} images, expected at least {expected}: one for each row of "
            "the X that was evaluated, in the same order."
        )
    return batch


def _render(evaluation, batch, audit, title):
    if title is None:
        n_pipelines = len(evaluation.pipeline_names)
        title = "Evaluation" if n_pipelines == 1 else f"Comparison of {n_pipelines} pipelines"
    return _template().render(
        title=title,
        version=version("featbus"),
        now=datetime.now().astimezone(),
        evaluation=evaluation,
        audit=audit,
        **_results(evaluation),
        **_data_set(evaluation, batch),
        **_introduce(evaluation),
    )


def _introduce(evaluation):
    """Return the first line: samples, groups and positive class; and the rest of the protocol."""
    samples = _samples(evaluation)
    n_groups = samples["group"].nunique()
    first = f"{_count_samples(evaluation, len(samples))} images"
    first += f" in {n_groups} groups" if evaluation.has_groups and len(samples) else ""
    first += f", {evaluation.groups_note}" if evaluation.groups_note else ""
    said = f"{evaluation.groups_note.capitalize()}."
    rest = [line for line in evaluation.protocol.splitlines() if line != said]
    positive = next((line for line in rest if line.startswith("Positive class")), None)
    if positive:
        rest.remove(positive)
    return {"first_line": f"{first}. {positive or _NO_POSITIVE}", "protocol": rest}


def _split_columns(frame):
    """Return parts of a table that are narrow enough for a page."""
    n_parts = -(-frame.shape[1] // _N_COLUMNS)
    return [frame.iloc[:, part] for part in np.array_split(np.arange(frame.shape[1]), n_parts)]


def _results(evaluation):
    """Return what the template shows of scores and predictions."""
    names = evaluation.pipeline_names
    return {
        "results": _split_columns(_intervals(_titled_tables(evaluation, TITLES)).T),
        "intervals": make_panels(evaluation, "intervals")[0],
        "comparison": _comparison(evaluation) if len(names) > 1 else None,
        "compared": next(iter(_titled_tables(evaluation, ["roc_auc"]))),
        "classes": _classes(evaluation),
        "matrices": [_matrix(evaluation, name) for name in names],
        "curves": _curves(evaluation),
        "uncalibrated": [name for name in names if evaluation.pooled(name).kind == "decision"],
        "scores": make_panels(evaluation, "score_distributions"),
        "seconds": _sum_seconds(evaluation),
        "facts": pd.DataFrame({"": {"seed": str(evaluation.random_state), **evaluation.versions}}),
    }


def _data_set(evaluation, batch):
    """Return what the template shows of samples and images."""
    samples = _samples(evaluation)
    names = evaluation.pipeline_names
    wrong = [_errors(evaluation, name) for name in names]
    shown = [errors.head(_N_WORST if len(names) == 1 else _N_WORST // 2) for errors in wrong]
    data = {
        "errors": list(zip(names, map(len, wrong), shown)),
        "classes_of_data": _count_classes(evaluation, samples),
        "group_sizes": samples.groupby("group").size(),
        "n_all": _count_samples(evaluation, len(samples)),
    }
    if batch is None:
        return data | {"pictures": None, "images": None}
    chosen = np.linspace(0, len(samples) - 1, min(_N_DESCRIBED, len(samples))).astype(int)
    described = samples.iloc[np.unique(chosen)]
    shown = {index for errors in shown for index in errors["index"]}
    pictures = read_pictures(batch, set(described["index"]), shown)
    images = _describe_images(evaluation, described, pictures)
    return data | {"pictures": pictures, "files": _short_names(batch, pictures), "images": images}


def _template():
    pages = Environment(
        loader=PackageLoader("featbus.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"number": _format_number, "table": _as_table, "spaced": _spaced}
    pages.tests |= {
        "interval": lambda value: isinstance(value, Interval),
        "percent": lambda value: isinstance(value, Percent),
    }
    pages.globals["svg"] = draw_svg
    return pages.get_template("report.html")


def _format_number(value, digits=3):
    if not np.isfinite(value):
        return "–" if np.isnan(value) else str(value)
    text = f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.1f}"
    return text.replace("-", "−")


def _as_table(frame):
    """Return a frame as a table; a plain RangeIndex does not name its rows."""
    levels, keys = [], [()] * len(frame)
    if not isinstance(frame.index, pd.RangeIndex):
        levels = [name or "" for name in frame.index.names]
        keys = [key if isinstance(key, tuple) else (key,) for key in frame.index]
    cells = frame.astype(object).to_numpy().tolist()
    columns = [(name, all(map(_is_number, column))) for name, column in zip(frame, zip(*cells))]
    return Table(levels, columns, list(zip(keys, cells)))


def _is_number(cell):
    return isinstance(cell, (Real, Interval, Percent)) and not isinstance(cell, bool)


def _spaced(frame):
    return frame.rename(columns=lambda column: column.replace("_", " "))


def _titled_tables(evaluation, metrics):
    return {title(metric, of): table for metric, of, table in iter_tables(evaluation, metrics)}


def _intervals(tables, digits=3):
    """Return a table of metrics, by title, with their intervals."""
    ends = ["mean", "low", "high"]
    cells = {
        title: [Interval(*row, digits) for row in table[ends].to_numpy()]
        for title, table in tables.items()
    }
    return pd.DataFrame(cells, index=next(iter(tables.values())).index)


def _comparison(evaluation):
    frame = evaluation.compare()
    differences = frame[["difference", "low", "high"]].to_numpy()
    return pd.DataFrame(
        {
            "pipeline": frame["first"],
            "compared with": frame["second"],
            "difference": [Interval(*row) for row in differences],
            "p": frame["p_value"],
            "p, Holm": frame["p_holm"],
        }
    )


def _classes(evaluation):
    frame = evaluation.per_class()
    tables = {TITLES[metric]: frame[metric] for metric in _CLASS_METRICS}
    metrics = _intervals(tables, digits=2)
    counts = pd.concat(map(evaluation.published_table, evaluation.pipeline_names))
    return counts[["TP", "TN", "FP", "FN"]].set_index(metrics.index).join(metrics)


def _matrix(evaluation, pipeline):
    """Return a pipeline's name, and for each true class its name, counts and their shares."""
    counts = evaluation.confusion_matrix(pipeline).to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = [list(zip(*row)) for row in zip(counts.tolist(), shares.tolist())]
    return pipeline, list(zip(evaluation.target_names, cells))


def _curves(evaluation):
    """Return one list of panels for each class, or for all classes."""
    kinds = dict(_CURVES)
    if all(evaluation.pooled(name).kind == "decision" for name in evaluation.pipeline_names):
        del kinds["calibration"]
    columns = zip(*(make_panels(evaluation, kind) for kind in kinds))
    return [
        (panels[0].title, [panel._replace(title=t) for panel, t in zip(panels, kinds.values())])
        for panels in columns
    ]


def _errors(evaluation, pipeline):
    """Return the wrong predictions, the most confident first, one per image."""
    pooled, names = evaluation.pooled(pipeline), evaluation.target_names
    wrong = pd.DataFrame(
        {
            "index": pooled.index,
            "true": np.take(names, pooled.target),
            "predicted": np.take(names, pooled.predicted),
            pooled.kind: pooled.scores[np.arange(len(pooled.index)), pooled.predicted],
        }
    )[pooled.predicted != pooled.target]
    wrong = wrong.sort_values(pooled.kind, ascending=False, kind="stable")
    return wrong.drop_duplicates("index").reset_index(drop=True)


def _short_names(batch, pictures):
    """Return names of files relative to the folder of all, but not where this is."""
    paths = {i: Path(os.path.abspath(item)) for i, item in enumerate(batch) if is_path(item)}
    top = _common_folder([path.parent for path in paths.values()])
    shown = {index: paths[index] for index in pictures if index in paths}
    if top is None:
        return {index: "/".join(path.parts[-2:]) for index, path in shown.items()}
    return {index: path.relative_to(top).as_posix() for index, path in shown.items()}


def _common_folder(folders):
    """Return the folder of all; None if that is the root of a disk, which hides nothing."""
    try:
        top = Path(os.path.commonpath(folders))
    except ValueError:  # no folders, or several disks
        return None
    return None if top == top.parent else top


def _samples(evaluation):
    """Return position, group and class of each sample, each once."""
    rows = evaluation.predictions.drop_duplicates("index")
    codes = np.searchsorted(evaluation.labels, rows["target"])
    return rows[["index", "group"]].assign(name=np.take(evaluation.target_names, codes))


def _count_samples(evaluation, n_tested):
    """Return the number of samples, those included that no fold tests."""
    sizes = evaluation.timings
    return int((sizes["n_train"] + sizes["n_test"]).max()) if len(sizes) else n_tested


def _count_classes(evaluation, samples):
    of_class = samples.groupby("name")
    table = pd.DataFrame({"images": of_class.size(), "groups": of_class["group"].nunique()})
    table = table.reindex(evaluation.target_names, fill_value=0).rename_axis("class")
    table.insert(1, "of all", [Percent(100 * n / len(samples)) for n in table["images"]])
    return table if evaluation.has_groups else table.drop(columns="groups")


def _describe_images(evaluation, samples, pictures):
    """Return sizes, types and brightness of images."""
    found = [pictures[index] for index in samples["index"]]
    # One pixel of its mean brightness stands for each image: none is read again.
    pixels = np.reshape([picture.brightness for picture in found], (-1, 1, 1))
    summary = intensity_summary(pixels, samples["name"].to_numpy())
    present = [name for name in evaluation.target_names if name in summary.table.index]
    return {
        "n_images": len(found),
        "shapes": Counter(picture.shape for picture in found).most_common(),
        "kinds": Counter(picture.kind for picture in found).most_common(),
        "brightness": _spaced(summary.table.loc[present]).rename_axis("class"),
        "panel": Panel("", summary.plot, (3.2, 2.9)),
    }


def _sum_seconds(evaluation):
    """Return seconds by pipeline; None without timings."""
    if not len(evaluation.timings):
        return None
    folds = evaluation.timings.groupby("pipeline", sort=False)[["fit_s", "predict_s"]]
    seconds = pd.concat([folds.mean(), folds.sum()], axis=1).reindex(evaluation.pipeline_names)
    return seconds.set_axis(["fit a fold", "predict a fold", "fit all", "predict all"], axis=1)
