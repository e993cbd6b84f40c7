"""Panels as SVG, in the colors of the page."""

import warnings
from io import StringIO
from xml.etree import ElementTree

from markupsafe import Markup

from featbus.evaluation._plots import COLORS, GRAY, STYLE

_THEME = {color: f"var(--c{number})" for number, color in enumerate(COLORS)}
_THEME |= {GRAY: "var(--figure-gray)", "#000000": "currentColor"}
_NOT_IN_XML = dict.fromkeys({*range(32), 0xFFFE, 0xFFFF} - {*b"\t\n\r"})


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
        axis = figure.subplots()
        panel.draw(axis)
        figure.savefig(buffer, format="svg", transparent=True)
    return Markup(_to_element(buffer.getvalue(), panel.title or key))


def _to_element(svg, label):
    """Reduce an SVG file to what a page needs."""
    root = ElementTree.fromstring(svg.translate(_NOT_IN_XML))
    for element in root.iter():
        element.tag = _local(element.tag)
        element[:] = [child for child in element if _local(child.tag) not in ("style", "metadata")]
        element.attrib = {_local(name): _themed(value) for name, value in element.items()}
        if element.tag == "g":
            element.attrib.pop("id", None)
        for part in ("text", "tail"):
            setattr(element, part, (getattr(element, part) or "").strip() or None)
    root.attrib = {"viewBox": root.get("viewBox"), "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _local(name):
    """Return a name without its namespace, which HTML knows."""
    return name.rpartition("}")[2]


def _themed(value):
    for color, variable in _THEME.items():
        value = value.replace(color, variable)
    return value
