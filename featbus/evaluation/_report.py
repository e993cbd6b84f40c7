"""The report of an evaluation: one HTML file without external resources."""

import re
import warnings
from base64 import b64encode
from collections import Counter
from datetime import datetime
from importlib.metadata import version
from io import BytesIO, StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from featbus.color import to_float, to_gray
from featbus.evaluation._metrics import TITLES, iter_tables, title
from featbus.evaluation._plots import COLORS, GRAY, STYLE, Panel, make_panels
from featbus.feature_extraction import intensity_summary
from featbus.files import written_whole
from featbus.images import as_batch, at_index, is_path
from featbus.io import read_item
from featbus.masks import fill_mask

_N_WORST = 12  # images with the most confident errors, shared by two or more pipelines
_N_DESCRIBED = 1000  # at most so many images are described
_CLASS_METRICS = ["sensitivity", "specificity", "precision", "npv", "f1", "roc_auc", "pr_auc"]
_N_COLUMNS = 6  # pipelines side by side in the table of results
_THUMBNAIL = 224  # longer side in pixels: sharp at the 140 that the page shows
_CURVES = {"roc": "ROC", "precision_recall": "Precision and recall", "calibration": "Calibration"}
_THEME = {color: f"var(--c{number})" for number, color in enumerate(COLORS)}
_THEME |= {GRAY: "var(--figure-gray)", "#000000": "currentColor"}
_NOT_IN_XML = dict.fromkeys({*range(32), 0xFFFE, 0xFFFF} - {*b"\t\n\r"})


class _Picture(NamedTuple):
    """What a report shows of an image."""

    shape: tuple  # height and width
    kind: str  # dtype, color and mask
    brightness: float | None  # mean, from 0 to 1
    thumbnail: str | None  # JPEG in base64


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


def _render(evaluation, batch, audit, heading):
    n_pipelines = len(evaluation.pipeline_names)
    if heading is None:
        heading = "Evaluation" if n_pipelines == 1 else f"Comparison of {n_pipelines} pipelines"
    rows = evaluation.predictions.drop_duplicates("index")
    codes = np.searchsorted(evaluation.labels, rows["target"])
    samples = rows[["index", "group"]].assign(name=np.take(evaluation.target_names, codes))
    pages = Environment(
        loader=PackageLoader("featbus.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"as_table": _as_table, "as_cell": _as_cell}
    return pages.get_template("report.html").render(
        title=heading,
        version=version("featbus"),
        now=datetime.now().astimezone(),
        evaluation=evaluation,
        audit=audit,
        draw_svg=draw_svg,
        **_introduce(evaluation, samples),
        **_show_scores(evaluation),
        **_show_data(evaluation, samples, batch),
    )


def _introduce(evaluation, samples):
    """Return the first line: samples, groups and positive class; and the rest of the protocol."""
    first = f"{_count_samples(evaluation, samples)} images"
    first += f" in {samples['group'].nunique()} groups" if evaluation.has_groups else ""
    first += f", {evaluation.groups_note}" if evaluation.groups_note else ""
    said = f"{evaluation.groups_note.capitalize()}."
    rest = [line for line in evaluation.protocol.splitlines() if line != said]
    positive = [line for line in rest if line.startswith("Positive class")]
    positive = positive or ["No positive class: metrics are means over the classes."]
    return {
        "first_line": f"{first}. {positive[0]}",
        "protocol": [line for line in rest if line not in positive],
    }


def _show_scores(evaluation):
    """Return what the template shows of scores and predictions."""
    names = evaluation.pipeline_names
    kinds = {name: evaluation.pooled(name).kind for name in names}
    results = _tabulate(_title_tables(evaluation, TITLES)).T
    parts = np.array_split(np.arange(len(names)), -(-len(names) // _N_COLUMNS))
    columns = [kind for kind in _CURVES if kind != "calibration" or "probability" in kinds.values()]
    curves = zip(*(make_panels(evaluation, kind) for kind in columns))
    seconds = None
    if len(evaluation.timings):
        folds = evaluation.timings.groupby("pipeline", sort=False)[["fit_s", "predict_s"]]
        seconds = pd.concat([folds.mean(), folds.sum()], axis=1).reindex(names)
        seconds.columns = ["fit a fold", "predict a fold", "fit all", "predict all"]
    return {
        "results": [results.iloc[:, part] for part in parts],
        "intervals": make_panels(evaluation, "intervals")[0],
        "comparison": _compare(evaluation) if len(names) > 1 else None,
        "compared": next(iter(_title_tables(evaluation, ["roc_auc"]))),
        "classes": _tabulate_classes(evaluation),
        "matrices": {name: _shade_matrix(evaluation.confusion_matrix(name)) for name in names},
        "curves": [
            (
                panels[0].title,
                [panel._replace(title=_CURVES[k]) for k, panel in zip(columns, panels)],
            )
            for panels in curves
        ],
        "uncalibrated": [name for name, kind in kinds.items() if kind == "decision"],
        "scores": make_panels(evaluation, "score_distributions"),
        "seconds": seconds,
        "facts": pd.DataFrame({"": {"seed": str(evaluation.random_state), **evaluation.versions}}),
    }


def _show_data(evaluation, samples, batch):
    """Return what the template shows of samples and images."""
    wrong = {name: _find_errors(evaluation, name) for name in evaluation.pipeline_names}
    n_shown = _N_WORST if len(wrong) == 1 else _N_WORST // 2
    counts = samples.groupby("name")["group"].agg(["size", "nunique"])
    counts = counts.reindex(evaluation.target_names, fill_value=0)
    shares = [Markup("{:.0f}%").format(100 * n / len(samples)) for n in counts["size"]]
    classes = pd.DataFrame({"images": counts["size"], "of all": shares}, dtype=object)
    data = {
        "errors": [(name, len(found), found.head(n_shown)) for name, found in wrong.items()],
        "classes_of_data": (
            classes.assign(groups=counts["nunique"]) if evaluation.has_groups else classes
        ).rename_axis("class"),
        "group_sizes": samples.groupby("group").size(),
        "n_all": _count_samples(evaluation, samples),
        "pictures": None,
        "images": None,
    }
    if batch is None:
        return data
    chosen = np.linspace(0, len(samples) - 1, min(_N_DESCRIBED, len(samples))).astype(int)
    described = samples.iloc[np.unique(chosen)]
    shown = {index for *_, errors in data["errors"] for index in errors["index"]}
    pictures = {
        index: _read_picture(batch[index], index, index in shown)
        for index in sorted({*described["index"], *shown})
    }
    # Where the files are is nobody's business: the last folder and the name.
    files = {i: "/".join(Path(batch[i]).parts[-2:]) for i in shown if is_path(batch[i])}
    images = _describe_images(evaluation, described, pictures)
    return data | {"pictures": pictures, "files": files, "images": images}


def _as_table(frame):
    """Return headings of the index, headings of the columns and whether they are numbers, rows."""
    levels, keys = [], [()] * len(frame)
    if not isinstance(frame.index, pd.RangeIndex):  # which does not name its rows
        levels = [name or "" for name in frame.index.names]
        keys = [key if isinstance(key, tuple) else (key,) for key in frame.index]
    rows = [[_as_cell(value) for value in row] for row in frame.astype(object).to_numpy().tolist()]
    columns = [
        (name, all(isinstance(c, Markup) for c in cells)) for name, cells in zip(frame, zip(*rows))
    ]
    return levels, columns, list(zip(keys, rows))


def _as_cell(value):
    """Return the text of a cell, and a number as HTML with its exact value in an attribute."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return Markup(value)
    return _as_number(value) if isinstance(value, float) else value


def _as_number(value, digits=3):
    if not np.isfinite(value):
        return Markup("–" if np.isnan(value) else value)
    text = f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.1f}"
    text = "< 0.001" if 0 < value < 0.001 else text.replace("-", "−")
    return Markup('<data value="{}">{}</data>').format(value, text)


def _with_interval(mean, low, high, digits=3):
    """Return a cell with a mean, and below it the ends of its interval."""
    mean, low, high = float(mean), float(low), float(high)
    cell = _as_number(mean, digits)
    if np.isnan(mean) or np.isnan(low):
        return cell
    ends = _as_number(low, digits), _as_number(high, digits)
    return cell + Markup(" <small>{} to {}</small>").format(*ends)


def _title_tables(evaluation, metrics):
    return {title(metric, of): table for metric, of, table in iter_tables(evaluation, metrics)}


def _tabulate(tables, digits=3):
    """Return a table of metrics, by title, with their intervals."""
    ends = ["mean", "low", "high"]
    cells = {
        heading: [_with_interval(*row, digits) for row in table[ends].to_numpy()]
        for heading, table in tables.items()
    }
    # pandas would make plain strings of the cells.
    return pd.DataFrame(cells, next(iter(tables.values())).index, dtype=object)


def _compare(evaluation):
    frame = evaluation.compare()
    differences = frame[["difference", "low", "high"]].to_numpy()
    return pd.DataFrame(
        {
            "pipeline": frame["first"],
            "compared with": frame["second"],
            "difference": [_with_interval(*row) for row in differences],
            "p": frame["p_value"],
            "p, Holm": frame["p_holm"],
        },
        dtype=object,
    )


def _tabulate_classes(evaluation):
    frame = evaluation.per_class()
    metrics = _tabulate({TITLES[metric]: frame[metric] for metric in _CLASS_METRICS}, digits=2)
    counts = pd.concat(map(evaluation.published_table, evaluation.pipeline_names))
    return counts[["TP", "TN", "FP", "FN"]].set_index(metrics.index).join(metrics)


def _shade_matrix(counts):
    """Return for each true class its name, and counts with their shares of the class."""
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    return [(name, list(zip(counts.loc[name], shares.loc[name]))) for name in counts.index]


def _find_errors(evaluation, pipeline):
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


def _count_samples(evaluation, samples):
    """Return the number of samples, including those that no fold tests."""
    sizes = evaluation.timings
    return int((sizes["n_train"] + sizes["n_test"]).max()) if len(sizes) else len(samples)


def _read_picture(item, index, is_shown):
    """Read an image once, and keep what the report shows of it."""
    image = read_item(item, index)
    with at_index(index, item):
        # The mean of the pixels inside the mask.
        brightness = float(np.clip(to_float(to_gray(image), np.float64).mean(), 0, 1))
    masked = ", masked" if np.ma.isMaskedArray(image) else ""
    kind = f"{image.dtype} {'gray' if image.ndim == 2 else 'color'}{masked}"
    return _Picture(image.shape[:2], kind, brightness, make_thumbnail(image) if is_shown else None)


def make_thumbnail(image):
    """Make a small JPEG of an image.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image. Unless it has 8 bits, its range of brightness is stretched.

    Returns
    -------
    str
        The file in base64.
    """
    pixels = fill_mask(image)
    pixels = to_float(pixels[..., :3] if pixels.ndim == 3 else pixels)
    if image.dtype != np.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        pixels = (pixels - low) / max(high - low, 1e-6)
    picture, buffer = Image.fromarray(np.rint(255 * pixels).astype(np.uint8)), BytesIO()
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    picture.save(buffer, "JPEG", quality=82)
    return b64encode(buffer.getvalue()).decode()


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
        "brightness": summary.table.loc[present].rename_axis("class"),
        "panel": Panel("", summary.plot, (3.2, 2.9)),
    }


def draw_svg(panel, key):
    """Draw a panel as an SVG element, without its title.

    Parameters
    ----------
    panel : Panel
        The panel.
    key : str
        Its name on the page, unique.

    Returns
    -------
    Markup
        The element. Colors are CSS variables of the page.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    buffer = StringIO()
    # Identifiers in the file are hashes, which the salt makes unique on the page.
    settings = {"svg.fonttype": "none", "svg.hashsalt": key}
    with rc_context(STYLE | settings), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=panel.size, layout="constrained")
        panel.draw(figure.subplots())
        figure.savefig(buffer, format="svg", transparent=True)
    svg = buffer.getvalue().translate(_NOT_IN_XML)
    svg = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"""(<g) id="[^"]*"|\bxmlns\S*?="[^"]*\"""", r"\1", svg)
    svg = re.sub(r"((?:fill|stroke): )(#\w{6})", lambda m: m[1] + _THEME.get(m[2], m[2]), svg)
    size = re.search(r'viewBox="[^"]*"', svg)[0]
    start = f'<svg {size} role="img" aria-label="{escape(panel.title or key)}">'
    return Markup(start + svg[svg.index(">", svg.index("<svg")) + 1 :])
