"""Internal links and notebooks of the documentation, built in the folder FEATBUS_DOCS."""

import json
import os
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

FOLDER = Path(os.environ.get("FEATBUS_DOCS") or "nowhere")
PAGES = [path for path in sorted(FOLDER.rglob("*.html")) if "_static" not in path.parts]
NOTEBOOKS = sorted(FOLDER.glob("_downloads/*/*.ipynb"))

needs_docs = pytest.mark.skipif(not PAGES, reason="FEATBUS_DOCS names no folder of HTML pages")


class Page(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, path):
        super().__init__()
        self.path, self.anchors, self.links = path, {"", "top"}, set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = {name: value or "" for name, value in attrs}
        self.anchors |= {attrs[name] for name in ("id", "name") if name in attrs}
        self.links |= {attrs[name] for name in ("href", "src") if name in attrs}
        self.links |= {p.split()[0] for p in attrs.get("srcset", "").split(",") if p.strip()}

    def broken_links(self):
        """Return the links within the documentation that lead nowhere."""
        return sorted(link for link in self.links if not self.leads_somewhere(urlsplit(link)))

    def leads_somewhere(self, link):
        if link.scheme or link.netloc:
            return True
        path = (self.path.parent / unquote(link.path)).resolve() if link.path else self.path
        if not path.is_file():
            return False
        return path.suffix != ".html" or unquote(link.fragment) in read_page(path).anchors


@cache
def read_page(path):
    return Page(path)


@needs_docs
def test_links():
    pages = {path.relative_to(FOLDER): read_page(path.resolve()) for path in PAGES}
    broken = [f"{name}: {link}" for name, page in pages.items() for link in page.broken_links()]
    assert not broken, "\n".join(broken)


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "page.html").write_text(
        '<h1 id="a"></h1><a href="#a"></a><a href="page.html#b"></a>'
    )
    (tmp_path / "other.html").write_text('<img src="none.png"><a href="page.html#a"></a>')
    assert Page(tmp_path / "page.html").broken_links() == ["page.html#b"]
    assert Page(tmp_path / "other.html").broken_links() == ["none.png"]


@needs_docs
def test_every_example_is_a_notebook():
    examples = {path.stem for path in Path(__file__).parents[1].glob("examples/*/plot_*.py")}
    assert {path.stem for path in NOTEBOOKS} == examples


@needs_docs
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebooks_are_markdown(path):
    """No roles, literals, targets or directives of reStructuredText."""
    install, *cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    # A comment: where the source code is, the notebook cannot know.
    assert re.fullmatch("#.*%pip install .", "".join(install["source"]))
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert text.lstrip().startswith("# ")
    assert not re.findall(
        r":[\w:]+:`[^`]*`|``[^`]*``|`[^`]*<[^`]*>`_?|^\.\. .*", text, re.MULTILINE
    )
