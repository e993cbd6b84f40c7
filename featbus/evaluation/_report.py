"""The report of an evaluation: one HTML file that needs nothing beside it."""

import os
import re
import warnings
from base64 import b64encode
from collections import Counter
from datetime import datetime
from html import escape
from importlib.metadata import version
from importlib.resources import files
from io import StringIO
from numbers import Integral, Real
from pathlib import Path
from string import Template
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from featbus.evaluation._metrics import TITLES
from featbus.evaluation._plots import (
    COLORS,
    GREY,
    STYLE,
    Panel,
    make_panels,
    pipeline_names,
    pool,
)
from featbus.feature_extraction import intensity_summary
from featbus.images import as_batch, check_image, fill_mask, is_path, resize, to_float
from featbus.io import read_image

# Most wrong images of a single pipeline; half as many of each of several.
_N_WORST = 12
_THUMBNAIL = 224  # longer side in pixels: sharp at the 140 it is shown at
# So many images the data-set card reads: 100,000 take no longer than 1,000.
_N_READ = 1000
_CLASS_METRICS = ["sensitivity", "specificity", "precision", "npv", "f1", "roc_auc", "pr_auc"]


class _Markup(NamedTuple):
    """A table's cell that is HTML already."""

    html: str


def write_report(evaluation, path, *, images=None, audit=None, title=None):
    """Write the report of an evaluation as one HTML file.

    Parameters
    ----------
    evaluation : Evaluation
        What `evaluate` returned.
    path : path-like
        The file. One that exists is replaced at the end, in one step.
    images : batch of images, default=None
        The images behind the rows of `X`, in the same order, in any form of the image contract, see
        :ref:`images`. Paths are read one at a time. With them the report shows the most wrong
        images, and describes sizes and brightness.
    audit : object, default=None
        What `featbus.model_selection.audit` returned.
    title : str, default=None
        Heading of the report.

    Raises
    ------
    ValueError
        If there are fewer images than samples, or an image is invalid.
    OSError
        If the file cannot be written, or an image cannot be read.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(path.parent)!r} for the report. Make it first."
        )
    batch = None if images is None else _checked_images(images, evaluation)
    _write(path, _report(evaluation, batch, audit, title))


def _checked_images(images, evaluation):
    batch = as_batch(images)
    expected = int(evaluation.predictions["index"].max()) + 1
    if len(batch) < expected:
        raise ValueError(
            f"images has {len(batch)} images, expected at least {expected}: one for each row of "
            "the X that was evaluated, in the same order."
        )
    return batch


def _write(path, text):
    """Write a file in one step: nobody ever sees half of it."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        hidden.write_text(text, encoding="utf-8")
        os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def _report(evaluation, batch, audit, title):
    names = pipeline_names(evaluation)
    if title is None:
        title = "Evaluation" if len(names) == 1 else f"Comparison of {len(names)} pipelines"
    found = [
        ("results", "Results", _results(evaluation)),
        ("comparison", "Comparison", _comparison(evaluation, names)),
        ("classes", "Each class", _classes(evaluation, names)),
        ("confusion", "Confusion matrices", _confusion(evaluation, names)),
        ("curves", "Curves", _curves(evaluation, names)),
        ("scores", "Scores", _scores(evaluation)),
        ("most-wrong", "Most wrong", _most_wrong(evaluation, names, batch)),
        ("data", "Data set", _data_card(evaluation, names, batch)),
        ("audit", "Audit", _audit(audit)),
        ("details", "Details", _details(evaluation, names)),
    ]
    found = [(key, heading, body) for key, heading, body in found if body]
    folder = files("featbus.evaluation")
    return Template((folder / "_report.html").read_text(encoding="utf-8")).substitute(
        version=version("featbus"),
        title=escape(str(title)),
        style=(folder / "_report.css").read_text(encoding="utf-8"),
        contents="\n".join(f'<li><a href="#{key}">{heading}</a></li>' for key, heading, _ in found),
        summary=_summary(evaluation, audit),
        sections="\n".join(
            f'<section id="{key}">\n<h2>{heading}</h2>\n{body}\n</section>'
            for key, heading, body in found
        ),
    )


def _summary(evaluation, audit):
    now = datetime.now().astimezone()
    parts = [
        _paragraph(evaluation.protocol),
        f'<p class="muted"><time datetime="{now.isoformat(timespec="seconds")}">'
        f"{now:%Y-%m-%d %H:%M}</time> · featbus {escape(version('featbus'))}</p>",
    ]
    if "without groups" in evaluation.protocol:
        parts.append(
            _note(
                "Without groups.",
                "Every image counts as independent. If a patient has several, or images are "
                "near-duplicates, all scores here are too optimistic.",
                "bad",
            )
        )
    return "\n".join(parts) + ("" if audit is None else _verdict(audit, link=True))


# Small pieces of HTML.


def _paragraph(text, kind=""):
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def _note(lead, text, kind=""):
    return f'<p class="note {kind}"><strong>{escape(lead)}</strong> {escape(text)}</p>'


def _number(value, digits=3):
    """Return a number as text."""
    if not np.isfinite(value):
        return "–" if np.isnan(value) else str(value)
    text = f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.1f}"
    return text.replace("-", "−")


def _cell(value):
    """Return a table's cell; the value itself is in the markup, to all its digits."""
    if isinstance(value, _Markup):
        return f'<td class="number">{value.html}</td>'
    if isinstance(value, (bool, np.bool_)):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, Integral):
        return f'<td class="number">{value}</td>'
    if isinstance(value, Real):
        text = "< 0.001" if 0 < value < 0.001 else _number(value)
        return f'<td class="number">{_data(value, text)}</td>'
    return f"<td>{escape(str(value))}</td>"


def _data(value, text=None):
    text = _number(value) if text is None else text
    return f'<data value="{float(value)!r}">{escape(text)}</data>'


def _table(frame, caption=None, kind=""):
    """Return a table; all levels of the index are row headings, unless it just counts."""
    if not isinstance(frame.index, pd.RangeIndex):
        levels = [name or "" for name in frame.index.names]
        index = [key if isinstance(key, tuple) else (key,) for key in frame.index]
    else:
        levels, index = [], [()] * len(frame)
    cells = [[_cell(value) for value in row] for row in frame.astype(object).to_numpy()]
    numeric = [all('class="number"' in row[i][:20] for row in cells) for i in range(frame.shape[1])]
    head = "".join(f'<th scope="col">{escape(str(level))}</th>' for level in levels)
    head += "".join(
        f'<th scope="col"{" class=number" if is_number else ""}>{escape(_column(column))}</th>'
        for column, is_number in zip(frame.columns, numeric)
    )
    body = "\n".join(
        "<tr>"
        + "".join(f'<th scope="row">{escape(str(part))}</th>' for part in key)
        + "".join(row)
        + "</tr>"
        for key, row in zip(index, cells)
    )
    caption = "" if caption is None else f"<caption>{escape(str(caption))}</caption>"
    return (
        f'<div class="scroll {kind}"><table>{caption}\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _column(column):
    return " ".join(str(part) for part in column) if isinstance(column, tuple) else str(column)


def _svg(panel, key):
    """Return a panel as SVG, in the colours of the page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    buffer = StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": "featbus"}
    with rc_context(STYLE | settings), warnings.catch_warnings():
        # The browser has the letters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=panel.size, layout="constrained")
        axis = figure.subplots()
        panel.draw(axis)
        axis.set_title(panel.title)
        metadata = dict.fromkeys(["Creator", "Date", "Format", "Type"])
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    return _themed(buffer.getvalue(), panel.title or key, key)


def _themed(svg, label, key):
    """Strip an SVG file to what a page needs; identifiers get a prefix of their own."""
    head, svg = svg[svg.index("<svg") :].split(">", maxsplit=1)
    view = re.search(r'viewBox="[^"]*"', head)[0]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{key}-", svg)
    for number, color in enumerate(COLORS):
        svg = svg.replace(color, f"var(--c{number})")
    svg = svg.replace(GREY, "var(--figure-grey)").replace("#000000", "currentColor")
    svg = re.sub(r"\n\s*", "\n", svg)
    return f'<svg {view} role="img" aria-label="{escape(label)}">{svg}'


def _panels(panels, key):
    figures = "\n".join(
        f"<figure>{_svg(panel, f'{key}-{number}')}</figure>" for number, panel in enumerate(panels)
    )
    return f'<div class="panels">\n{figures}\n</div>'


# The sections.


def _results(evaluation):
    if evaluation.pos_name is None:
        about = "means over the classes, each against the rest"
    else:
        about = f"{evaluation.pos_name} against the rest"
    (panel,) = make_panels(evaluation, "intervals")
    what = (
        "Means over the folds and 95 % intervals, by the bootstrap over groups. Sensitivity, "
        f"specificity, precision, NPV, F1 and the areas under curves: {about}."
    )
    return "\n".join(
        [
            _paragraph(what),
            _table(_intervals(evaluation.to_frame(), TITLES).T),
            f'<figure class="wide">{_svg(panel, "intervals")}</figure>',
        ]
    )


def _intervals(frame, metrics, digits=3):
    """Return the table of these metrics, with intervals."""
    return pd.DataFrame(
        {
            TITLES[metric]: [
                _interval(*row, digits) for row in frame[metric][["mean", "low", "high"]].to_numpy()
            ]
            for metric in metrics
        },
        index=frame.index,
    )


def _interval(mean, low, high, digits=3):
    if np.isnan(mean):
        return _Markup("–")
    mean, low, high = (_data(value, _number(value, digits)) for value in (mean, low, high))
    return _Markup(f"{mean} <small>{low} to {high}</small>")


def _comparison(evaluation, names):
    if len(names) < 2:
        return ""
    frame = evaluation.compare()
    table = pd.DataFrame(
        {
            "pipeline": frame["first"],
            "compared with": frame["second"],
            "difference": [
                _interval(*row) for row in frame[["difference", "low", "high"]].to_numpy()
            ],
            "p": frame["p_value"],
            "p, Holm": frame["p_holm"],
        }
    )
    return "\n".join(
        [
            _paragraph(
                "Differences of ROC AUC with 95 % intervals, by the bootstrap over groups, and the "
                "corrected resampled t-test over the folds, also adjusted for the number of pairs."
            ),
            _table(table),
        ]
    )


def _classes(evaluation, names):
    metrics = _intervals(evaluation.per_class(), _CLASS_METRICS, digits=2)
    counts = pd.concat([evaluation.published_table(name) for name in names])
    table = counts[["TP", "TN", "FP", "FN"]].set_index(metrics.index).join(metrics)
    return "\n".join(
        [
            _paragraph(
                "Each class against the rest: counts of all folds together, and means over the "
                "folds with 95 % intervals."
            ),
            _table(table),
        ]
    )


def _confusion(evaluation, names):
    parts = [_paragraph("Rows are true classes, columns predicted ones; per cent of the row.")]
    parts.append('<div class="matrices">')
    parts += [_matrix(evaluation.confusion_matrix(name), name) for name in names]
    return "\n".join([*parts, "</div>"])


def _matrix(matrix, title):
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in matrix.columns)
    rows = []
    for name, counts in zip(matrix.index, matrix.to_numpy()):
        shares = counts / max(counts.sum(), 1)
        cells = "".join(
            f'<td style="--share:{share:.3f}">{count}<small>{100 * share:.0f} %</small></td>'
            for count, share in zip(counts, shares)
        )
        rows.append(f'<tr><th scope="row">{escape(str(name))}</th>{cells}</tr>')
    return (
        f'<div class="scroll matrix"><table><caption>{escape(str(title))}</caption>\n'
        f"<thead><tr><th></th>{head}</tr></thead>\n"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _curves(evaluation, names):
    decisions = [name for name in names if pool(evaluation, name).kind == "decision"]
    kinds = {"roc": "ROC", "precision_recall": "Precision and recall", "calibration": "Calibration"}
    if len(decisions) == len(names):
        del kinds["calibration"]
    parts = []
    for panels in zip(*(make_panels(evaluation, kind) for kind in kinds)):
        titled = [panel._replace(title=title) for panel, title in zip(panels, kinds.values())]
        parts.append(f"<h3>{escape(panels[0].title)}</h3>")
        parts.append(_panels(titled, f"curve-{len(parts)}"))
    notes = [
        "Curves pool the test parts of all folds, whose scores come from different models; areas "
        "(AUC) are means over the folds.",
        "Grey lines are what guessing would reach, and what perfect calibration would.",
    ]
    if decisions:
        left_out = ", ".join(map(str, decisions))
        notes.append(f"No calibration of {left_out}: decision values are no probabilities.")
    return "\n".join([*parts, _paragraph(" ".join(notes), "muted")])


def _scores(evaluation):
    return _panels(make_panels(evaluation, "score_distributions"), "scores") + _paragraph(
        "What the classifier said of the images of each class; where the classes overlap, it "
        "cannot tell them apart.",
        "muted",
    )


def _worst(evaluation, pipeline):
    """Return the wrong predictions with the highest scores, one an image."""
    rows = evaluation.predictions
    rows = rows[rows["pipeline"] == pipeline]
    pooled = pool(evaluation, pipeline)
    predicted = np.searchsorted(evaluation.labels, rows["predicted"].to_numpy())
    wrong = pd.DataFrame(
        {
            "index": rows["index"].to_numpy(),
            "true": np.take(evaluation.target_names, pooled.target),
            "predicted": np.take(evaluation.target_names, predicted),
            pooled.kind: pooled.scores[np.arange(len(rows)), predicted],
        }
    )[predicted != pooled.target]
    wrong = wrong.sort_values(pooled.kind, ascending=False, kind="stable")
    return wrong.drop_duplicates("index").reset_index(drop=True)


def _most_wrong(evaluation, names, batch):
    parts = [
        _paragraph(
            "Wrong predictions that the classifier was surest of: candidates for a second look at "
            "the image, or at its label."
        )
    ]
    n_shown = _N_WORST if len(names) == 1 else _N_WORST // 2
    for pipeline in names:
        wrong = _worst(evaluation, pipeline)
        shown = wrong.head(n_shown)
        parts.append(f"<h3>{escape(str(pipeline))}</h3>")
        parts.append(_paragraph(f"{len(shown)} of {len(wrong)} wrong images.", "muted"))
        if batch is None:
            parts.append(_table(shown) if len(shown) else "")
        else:
            kind = shown.columns[-1]
            cards = [_card(batch, *row, kind) for row in shown.itertuples(index=False)]
            parts.append('<div class="images">\n' + "\n".join(cards) + "\n</div>")
    if batch is None:
        parts.append(_paragraph("Pass images= to see them.", "muted"))
    return "\n".join(parts)


def _read(batch, index):
    item = batch[index]
    return check_image(read_image(item) if is_path(item) else item, f"image {index}")


def _card(batch, index, true, predicted, score, kind):
    image = _read(batch, index)
    # The file and its folder say which one it is; where they are stored is nobody's business.
    where = "/".join(Path(batch[index]).parts[-2:]) if is_path(batch[index]) else ""
    alt = f"image {index}, {true}, predicted {predicted}"
    return (
        f'<figure><img src="data:image/jpeg;base64,{_thumbnail(image)}" alt="{escape(alt)}">'
        f"<figcaption>true <b>{escape(true)}</b><br>predicted <b>{escape(predicted)}</b><br>"
        f"{kind.replace('decision', 'decision value')} {_data(score)}<br>"
        f"image {index}{f'<br>{escape(where)}' if where else ''}</figcaption></figure>"
    )


def _thumbnail(image):
    """Return a small JPEG in base64; the brightness of other than 8 bits is stretched."""
    pixels = fill_mask(image)
    pixels = pixels[..., :3] if pixels.ndim == 3 else pixels
    scale = min(1, _THUMBNAIL / max(pixels.shape[:2]))
    height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
    pixels = resize(pixels, (height, width))
    if pixels.dtype != np.uint8:
        pixels = to_float(pixels)
        low, high = float(pixels.min()), float(pixels.max())
        pixels = np.rint(255 * (pixels - low) / max(high - low, 1e-6)).astype(np.uint8)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return b64encode(encoded.tobytes()).decode()


def _data_card(evaluation, names, batch):
    rows = evaluation.predictions
    rows = rows[rows["pipeline"] == names[0]].drop_duplicates("index")
    target = np.searchsorted(evaluation.labels, rows["target"].to_numpy())
    of_class = rows.groupby(np.take(evaluation.target_names, target))
    table = pd.DataFrame({"images": of_class.size(), "groups": of_class["group"].nunique()})
    table = table.reindex(evaluation.target_names, fill_value=0).rename_axis("class")
    shares = [_Markup(f"{100 * count / len(rows):.0f} %") for count in table["images"]]
    table.insert(1, "of all", shares)
    sizes = rows.groupby("group").size()
    least, most = int(sizes.min()), int(sizes.max())
    span = f"{least} to {most} images, median {sizes.median():g}"
    each = f"{most} image{'s' * (most > 1)} each" if least == most else span
    parts = [_paragraph(f"{len(rows)} images in {len(sizes)} groups of {each}."), _table(table)]
    if batch is not None:
        parts.append(_image_card(batch, rows["index"].to_numpy(), target, evaluation.target_names))
    return "\n".join(parts)


def _image_card(batch, index, target, names):
    """Describe sizes, types and brightness of the images."""
    chosen = np.unique(np.linspace(0, len(index) - 1, min(_N_READ, len(index))).astype(int))
    index, target = index[chosen], target[chosen]
    shapes, kinds = zip(*(_describe(_read(batch, i)) for i in index))
    summary = intensity_summary([batch[i] for i in index], np.take(names, target))
    present = [name for name in names if name in summary.table.index]
    table = _spaced(summary.table.loc[present])
    about = "Mean brightness of an image, by class; black is 0, white is 1"
    panel = Panel("", summary.plot, (3.6, 2.9))
    parts = [
        _paragraph(f"{_sizes(shapes)} {_count(kinds)}."),
        _table(table.rename_axis("class"), about),
        f'<div class="panels"><figure>{_svg(panel, "brightness")}</figure></div>',
    ]
    if len(chosen) == _N_READ:
        parts.insert(0, _paragraph(f"Of {len(chosen)} images, evenly spaced:", "muted"))
    return "\n".join(parts)


def _describe(image):
    """Return height and width, and what the pixels are."""
    color = "grey" if image.ndim == 2 else "colour"
    masked = ", masked" if np.ma.isMaskedArray(image) else ""
    return image.shape[:2], f"{image.dtype} {color}{masked}"


def _sizes(shapes):
    (height, width), n_common = Counter(shapes).most_common(1)[0]
    if n_common == len(shapes):
        return f"All images are {height} × {width} pixels (height × width)."
    (low, high), (left, right) = ((min(sides), max(sides)) for sides in zip(*shapes))
    return (
        f"Images are {low} to {high} pixels high and {left} to {right} wide; the most common size, "
        f"{height} × {width}, has {n_common} of {len(shapes)}."
    )


def _count(kinds):
    counts = Counter(kinds).most_common()
    return "Pixels: " + "; ".join(f"{kind} ({count})" for kind, count in counts)


def _verdict(audit, *, link=False):
    """Return the audit's verdict as a note."""
    passed, verdict = getattr(audit, "passed", None), str(getattr(audit, "verdict", ""))
    lead = {True: "Audit passed", False: "Audit failed"}.get(passed, "Audit")
    note = _note(
        f"{lead}:" if verdict else f"{lead}.",
        verdict,
        {True: "good", False: "bad"}.get(passed, ""),
    )
    return note.replace("</p>", ' <a href="#audit">Details</a></p>') if link else note


def _audit(audit):
    if audit is None:
        return _paragraph(
            "No audit was passed. featbus.model_selection.audit looks for duplicates and groups on "
            "both sides of the splits, and for shortcuts."
        )
    if not hasattr(audit, "to_frame"):
        return f"{_verdict(audit)}\n<pre>{escape(str(audit))}</pre>"
    parts = [_verdict(audit), _table(_spaced(audit.to_frame()), kind="text")]
    if hasattr(audit, "protocol"):
        parts.insert(1, _paragraph(audit.protocol, "muted"))
    shortcuts = getattr(audit, "shortcuts", None)
    if shortcuts is not None and len(shortcuts):
        about = "What predicts the class without a look at the image"
        parts.append(_table(_spaced(shortcuts), about))
    return "\n".join(parts)


def _spaced(frame):
    return frame.rename(columns=lambda column: str(column).replace("_", " "))


def _details(evaluation, names):
    facts = {"seed": str(evaluation.random_state), **evaluation.versions}
    parts = []
    if len(evaluation.timings):
        folds = evaluation.timings.groupby("pipeline", sort=False)[["fit_s", "predict_s"]]
        seconds = pd.concat([folds.mean(), folds.sum()], axis=1).reindex(names)
        seconds.columns = ["fit a fold", "predict a fold", "fit all", "predict all"]
        parts.append(_table(seconds, "Time in seconds"))
    if len(evaluation.best_params):
        chosen = evaluation.best_params.set_index("pipeline")
        parts.append(_table(chosen, "What searches chose, fold by fold", "text"))
    parts.append(_table(pd.DataFrame({"": facts}), "Seed and versions"))
    return "\n".join(parts)
