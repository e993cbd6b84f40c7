"""Pieces of the page as HTML. Streamlit removes scripts; here, every text is escaped."""

from base64 import b64encode
from html import escape as escape_html
from importlib.resources import files

from featbus.files import escape as escape_text

_PACKAGE = files("featbus.app")
NOTE = (
    "Not a medical device and not for clinical use: a research tool that must not guide the care "
    "of a patient. Nothing you upload is kept."
)
_SHOWN = 3  # errors: the answer stays in sight

_NOT_TRAINED_ON = (
    "Anything else: other kinds of images, findings other than {}, and devices, hospitals and "
    "patients that the data do not cover. For such images the class means nothing."
)


def style():
    """Return the style sheet of the page."""
    return f"<style>{_PACKAGE.joinpath('page.css').read_text(encoding='utf-8')}</style>"


def header(name):
    """Return the heading of the page, with the sentence that it is no medical device."""
    logo = b64encode(_PACKAGE.joinpath("logo.svg").read_bytes()).decode()
    return (
        f'<header class="fb-head"><img src="data:image/svg+xml;base64,{logo}" alt="">'
        f"<h1>{_text(name)}</h1><p>{NOTE}</p></header>"
    )


def warning(examination):
    """Return the sentence that an image is unlike the training images, or an empty text."""
    if not examination.is_unfamiliar:
        return ""
    return (
        '<div class="fb-unlike" role="alert"><strong>Unlike the training images.</strong> The '
        "model has not learned from images like this one: do not rely on the class below. Distance "
        f"{examination.distance:.2f}, expected at most {examination.limit:.2f}.</div>"
    )


def classes(examination):
    """Return the predicted class, and a bar with the probability of each class."""
    head = f'<p class="fb-label">Predicted class</p><h2>{_text(examination.predicted)}</h2>'
    if examination.probabilities is None:
        return f"{head}<p>This model gives no probabilities.</p>"
    rows = "".join(
        f"<div{' class=fb-first' if name == examination.predicted else ''}><dt>{_text(name)}</dt>"
        f'<dd>{value:.2f}<span class="fb-bar" aria-hidden="true">'
        f'<i style="width:{100 * value:.1f}%"></i></span></dd></div>'
        for name, value in examination.probabilities.items()
    )
    if examination.predicted != examination.probabilities.idxmax():
        head += (
            "<p>The decision of this classifier and its probabilities differ: another class has "
            "the highest probability.</p>"
        )
    return f'{head}<dl class="fb-classes" aria-label="Probability of each class">{rows}</dl>'


def histograms(examination):
    """Return the histogram of the image above those of the training classes."""
    shown = {"this image": examination.histogram}
    if examination.reference is not None:
        shown |= dict(examination.reference.items())
    top = max(values.max() for values in shown.values()) or 1
    rows = "".join(
        f"<div{' class=fb-first' if name == 'this image' else ''}><dt>{_text(name)}</dt>"
        f'<dd role="img" aria-label="{_describe(values)}">'
        f'<span style="clip-path:polygon({_polygon(values, top)})"></span></dd></div>'
        for name, values in shown.items()
    )
    about = "" if examination.reference is None else ", beside the training images of each class"
    return (
        f'<p class="fb-label">Intensities of the image{about}</p><dl class="fb-histograms">{rows}'
        '</dl><p class="fb-axis" aria-hidden="true"><span>dark</span><span>bright</span></p>'
    )


def _describe(values):
    mean = float((values.index.to_numpy() * values.to_numpy()).sum())
    return f"mean intensity {mean:.2f} of 1"


def _polygon(values, top):
    """Return the corners of a stepped area, in percent."""
    heights = [100 - 100 * float(value / top) ** 0.5 for value in values]
    width = 100 / len(heights)
    steps = [
        f"{x:.2f}% {height:.1f}%"
        for bin_, height in enumerate(heights)
        for x in (bin_ * width, (bin_ + 1) * width)
    ]
    return ", ".join(["0% 100%", *steps, "100% 100%"])


def picture(url, name, examination, importance):
    """Return the image with a caption that explains what is drawn on it."""
    parts = []
    if examination.outline is not None:
        parts.append("Yellow: the region that the model found.")
    if importance and examination.importance is not None:
        parts.append(
            "Red: hiding this part lowers the probability of the predicted class; blue: raises it."
        )
    elif importance:
        parts.append(_text(examination.importance_reason))
    return (
        f'<figure class="fb-image"><img src="{url}" alt="{_text(name)}">'
        f"<figcaption>{' '.join(parts)}</figcaption></figure>"
    )


def too_many(n_images, limit):
    """Return the sentence that not all images are examined."""
    return (
        f'<div class="fb-error" role="alert">{n_images} images are chosen; only the first {limit} '
        "are examined.</div>"
    )


def errors(results):
    """Return the sentences about files without a result, most of them folded if they are many."""
    found = [_error(result) for result in results if result.error]
    first, rest = "".join(found[:_SHOWN]), "".join(found[_SHOWN:])
    if not rest:
        return first
    summary = f"<summary>{len(found) - _SHOWN} more without a result</summary>"
    return f'{first}<details class="fb-more">{summary}{rest}</details>'


def _error(result):
    return (
        f'<div class="fb-error" role="alert"><strong>{_text(result.name)}</strong> has no result: '
        f"{_text(result.error)}</div>"
    )


def table(results):
    """Return one row per image: its name, class and probability."""
    rows = "".join(f"<tr><td>{_text(result.name)}</td>{_cells(result)}</tr>" for result in results)
    return (
        '<table class="fb-table"><caption>All images</caption><thead><tr><th scope="col">Image</th>'
        f'<th scope="col">Class</th><th scope="col">Probability</th></tr></thead>{rows}</table>'
    )


def welcome(names):
    """Return what a reader sees before the first image."""
    return (
        '<section class="fb-welcome"><h2>Upload an image, or choose an example</h2><p>The model '
        f"tells these classes apart: <strong>{_text(', '.join(names))}</strong>.</p><p>You will "
        "see the probability of each, the parts of the image that the class rests on, and whether "
        "the image is like those that the model has learned from.</p></section>"
    )


def _cells(result):
    if result.examination is None:
        return f'<td colspan="2">{"no result" if result.error else "waiting"}</td>'
    found = result.examination
    mark = " (unlike)" if found.is_unfamiliar else ""
    chance = "" if found.probabilities is None else f"{found.probabilities[found.predicted]:.2f}"
    return f"<td>{_text(found.predicted)}{mark}</td><td>{chance}</td>"


def card(known):
    """Return a model card: what the model was trained on, and what not, and how good it is."""
    names = ", ".join(known["classes"])
    sections = [
        ("Trained on", _value(known.get("data", "not described"))),
        ("Not trained on", _text(_NOT_TRAINED_ON.format(names))),
        ("Scores, with 95% intervals", _value(known.get("scores", "not measured"))),
        *(
            (key.replace("_", " ").capitalize(), _value(known[key]))
            for key in ("positive_class", "protocol", "audit", "recipe")
            if known.get(key) is not None
        ),
        ("Note", _text(known["note"])),
    ]
    shown = "".join(f"<h3>{title}</h3><div>{body}</div>" for title, body in sections)
    return f'<section class="fb-card" aria-label="Model card"><h2>Model card</h2>{shown}</section>'


def _value(value):
    """Return a value of a card: scores with their intervals, dicts as lists of terms."""
    if isinstance(value, dict):
        if value.keys() == {"mean", "low", "high"}:
            mean, low, high = (_value(value[part]) for part in ("mean", "low", "high"))
            return f"{mean} <span>[{low}, {high}]</span>"
        rows = (
            f"<div><dt>{_text(key.replace('_', ' '))}</dt><dd>{_value(item)}</dd></div>"
            for key, item in value.items()
            if item is not None
        )
        return f"<dl>{''.join(rows)}</dl>"
    if isinstance(value, list):
        return ", ".join(_value(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else _text("–" if value is None else value)


def _text(value):
    return escape_html(escape_text(" ".join(str(value).split())))
