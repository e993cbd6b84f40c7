"""The report of an evaluation: one HTML file without external resources."""

import warnings
from base64 import b64encode
from datetime import datetime
from io import BytesIO, StringIO

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from featbus import __version__
from featbus.color import to_float
from featbus.evaluation._checklists import CHECKLISTS, STATE, fill_checklist
from featbus.evaluation._metrics import TITLES, format_interval, iter_tables, title
from featbus.files import written_whole
from featbus.images import as_batch, at_index, name_image
from featbus.io import read_item
from featbus.masks import fill_mask

_N_WORST = 12  # images with the most confident errors, shared by two or more pipelines
_CLASS_METRICS = ["sensitivity", "specificity", "precision", "npv", "f1", "roc_auc", "pr_auc"]
_THUMBNAIL = 224  # longer side in pixels: sharp at the 140 that the page shows


def write_report(evaluation, path, *, images=None, audit=None, heading=None):
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
    heading : str, default=None
        Title of the report.

    See Also
    --------
    Evaluation.to_html : The public method.
    """
    names = evaluation.pipeline_names
    tables = {title(metric, of): table for metric, of, table in iter_tables(evaluation, TITLES)}
    errors = {name: _find_errors(evaluation, name) for name in names}
    if evaluation.by == "group":  # which of its images is wrong is not known
        images = None
    pages = Environment(
        loader=PackageLoader("featbus.evaluation"), autoescape=True, undefined=StrictUndefined
    )
    page = pages.get_template("report.html").render(
        title="Evaluation" if heading is None else heading,
        version=__version__,
        now=datetime.now().astimezone(),
        evaluation=evaluation,
        audit=audit,
        summary=evaluation._summarize(audit),
        checklists={name: fill_checklist(evaluation, name, audit) for name in CHECKLISTS},
        state=STATE,
        table=_show_table,
        figure=draw_svg,
        results=_format_intervals(tables),
        classes={name: _tabulate_classes(evaluation, name) for name in names},
        subgroups={name: tabulate_subgroups(evaluation, name) for name in names},
        calibration=evaluation.calibration(),
        uncalibrated=[name for name in names if evaluation.pooled(name).kind == "decision"],
        n_errors={name: len(found) for name, found in errors.items()},
        **_describe_samples(evaluation, errors, images),
    )
    with written_whole(path) as hidden:
        hidden.write_text(page, encoding="utf-8", errors="replace")


def _show_table(frame, kind="", index=True):
    """Return a table as HTML."""
    with pd.option_context("display.max_colwidth", None):
        html = frame.to_html(
            border=0, classes=kind, float_format="{:.4g}".format, index=index, na_rep="–"
        )
    return Markup(f'<div class="scroll">{html}</div>')


def _format_intervals(tables):
    """Return a table of text with a row per metric, from tables of means and intervals."""
    rows = [[format_interval(row, 3) for _, row in table.iterrows()] for table in tables.values()]
    return pd.DataFrame(rows, [*tables], next(iter(tables.values())).index)


def _tabulate_classes(evaluation, pipeline):
    scores = evaluation._class_intervals().loc[pipeline]
    return _format_intervals({TITLES[metric]: scores[metric] for metric in _CLASS_METRICS})


def tabulate_subgroups(evaluation, pipeline=None):
    """Return the table of subgroups, scores and their intervals as text.

    Parameters
    ----------
    evaluation : Evaluation
        The result of `evaluate`.
    pipeline : str, default=None
        Name of the pipeline; None if there is only one.

    Returns
    -------
    DataFrame
        See `Evaluation.by_subgroup`.
    """
    table = evaluation.by_subgroup(pipeline)
    for metric in set(TITLES) & set(table):
        ends = [metric, f"{metric}_low", f"{metric}_high"]
        rows = table[ends].set_axis(["mean", "low", "high"], axis=1).iterrows()
        table[metric] = [format_interval(row) for _, row in rows]
        table = table.drop(columns=ends[1:])
    return table.rename(columns=TITLES)


def _find_errors(evaluation, pipeline):
    """Return the wrong predictions, the most confident first, one per image."""
    pooled, names = evaluation.pooled(pipeline), evaluation.target_names
    wrong = pd.DataFrame(
        {
            "index": pooled.index,
            "group": evaluation._rows(pipeline)["group"].to_numpy(),
            "true": np.take(names, pooled.target),
            "predicted": np.take(names, pooled.predicted),
            "score": pooled.scores[np.arange(len(pooled.index)), pooled.predicted],
        }
    )[pooled.predicted != pooled.target]
    return wrong.sort_values("score", ascending=False, kind="stable").drop_duplicates("index")


def _describe_samples(evaluation, errors, images):
    """Return what the template shows of samples and of images, if there are any."""
    names, labels = evaluation.target_names, evaluation.labels
    samples = evaluation.predictions.drop_duplicates("index")
    classes = np.take(names, np.searchsorted(labels, samples["target"]))
    counts = samples.assign(n=samples.get("n_images", 1)).groupby(classes)
    counts = counts.agg(images=("n", "sum"), groups=("group", "nunique"))
    if evaluation.by == "group":
        counts = counts[["groups"]]  # the classes are those of groups
    n_shown = _N_WORST if len(errors) == 1 else _N_WORST // 2
    errors = {name: found.head(n_shown) for name, found in errors.items()}
    found = {"errors": errors, "counts": counts.reindex(names, fill_value=0), "pictures": None}
    if images is None:
        return found
    batch, n_expected = as_batch(images), samples["index"].max() + 1
    if len(batch) < n_expected:
        raise ValueError(
            f"images has {len(batch)} images, expected at least {n_expected}: one for each row of "
            "the X that was evaluated, in the same order."
        )
    shown = sorted({*pd.concat(errors.values())["index"]})
    return found | {"pictures": {index: _show_picture(batch[index], index) for index in shown}}


def _show_picture(item, index):
    """Return the name of an image and its thumbnail."""
    image = read_item(item, index)
    name = name_image(item, index)
    with at_index(index, item):
        return name.encode("utf-8", "replace").decode(), make_thumbnail(image)


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


def draw_svg(evaluation, name):
    """Draw a figure of an evaluation as an image in a page.

    Parameters
    ----------
    evaluation : Evaluation
        The result of `evaluate`.
    name : str
        See `Evaluation.plot`.

    Returns
    -------
    Markup
        The HTML element.
    """
    from matplotlib import rc_context

    buffer = StringIO()
    with rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        evaluation.plot(name).savefig(buffer, format="svg", bbox_inches="tight")
    svg = buffer.getvalue().encode("utf-8", "replace")
    source = f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
    return Markup('<img class="figure" src="{}" alt="{}">').format(source, name.replace("_", " "))
