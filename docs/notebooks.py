"""Text of the examples for notebooks: Markdown, without roles of Sphinx."""

import re
from functools import lru_cache
from importlib.metadata import metadata
from pathlib import Path

_ROLE = re.compile(r":(?P<role>[\w:]+):`(?:(?P<title>[^`<]+?)\s*<(?P<of>[^`>]+)>|(?P<name>[^`]+))`")
_LITERAL = re.compile(r"``(.+?)``", re.DOTALL)


@lru_cache(maxsize=1)
def find_documentation():
    """Return the address of the published documentation.

    Returns
    -------
    str
        The URL "Documentation" in the metadata of the installed package, without the final slash;
        empty if it is not published.
    """
    urls = metadata("featbus").get_all("Project-URL", [])
    return dict(url.split(", ", 1) for url in urls).get("Documentation", "").rstrip("/")


def replace_roles(text):
    """Replace references and literals by Markdown.

    Parameters
    ----------
    text : str
        A text block of an example, in reStructuredText.

    Returns
    -------
    str
        The text with names as code, and with links to the documentation where it is published.
        Formulas are unchanged: sphinx-gallery converts them.
    """
    return _LITERAL.sub(r"`\1`", _ROLE.sub(_replace_role, text))


def _replace_role(match):
    role, title, name = match["role"], match["title"], match["of"] or match["name"]
    if role == "math":
        return match[0]
    if role == "ref":
        page, found = _find_section(name)
        return _link(title or found, page)
    shown = name.removeprefix("~featbus.") if name.startswith("~") else name
    return _link(title or f"`{shown}`", f"api/generated/{name.removeprefix('~')}.html")


def _find_section(label):
    """Return the page and the title of a section of the user guide."""
    section = re.compile(rf"^\.\. _{label}:\n\n(.+)$", re.MULTILINE)
    for path in (Path(__file__).parent / "user_guide").glob("*.rst"):
        if match := section.search(path.read_text(encoding="utf-8")):
            return f"user_guide/{path.stem}.html#{label.replace('_', '-')}", match[1]
    raise ValueError(f"No page of the user guide has the label {label!r}.")


def _link(text, page):
    address = find_documentation()
    return f"[{text}]({address}/{page})" if address else text
