"""Text of the examples for notebooks: Markdown, without roles of Sphinx."""

import re

from featbus.base import find_documentation

_ROLE = re.compile(r":(?P<role>[\w:]+):`(?:(?P<title>[^`<]+?)\s*<(?P<of>[^`>]+)>|(?P<name>[^`]+))`")
_LITERAL = re.compile(r"``(.+?)``", re.DOTALL)


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
        return _link(title or name.replace("_", " "), f"user_guide/{name}.html")
    shown = name.removeprefix("~featbus.") if name.startswith("~") else name
    return _link(title or f"`{shown}`", f"api/generated/{name.removeprefix('~')}.html")


def _link(text, page):
    address = find_documentation()
    return f"[{text}]({address}/{page})" if address else text
