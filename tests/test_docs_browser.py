"""The built documentation in a browser: a newcomer finds things, search works, code can be copied.

``FEATBUS_DOCS=docs/_build/html pytest tests/test_docs_browser.py``
"""

import ast
import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from _browser import open_page

DOCS = Path(__file__).resolve().parents[1] / "docs" / "_build" / "html"
# What a newcomer wants, the links to click from the home page, and the heading where they end.
WALKS = {
    "use DeepFeatures with own weights offline": (
        ["User guide", "Weights offline, without internet"],
        "Weights offline, without internet",
    ),
    "keep patients together": (["User guide", "Keep patients together"], "Keep patients together"),
    "what a masked image is": (["User guide", "masked image"], "Masked images"),
    "add a feature": (["User guide", "Adding a feature"], "Adding a feature"),
}
# What a reader types, and the page that has to be among the first results.
SEARCHES = {
    "keep patients together": "user_guide/groups",
    "offline weights": "user_guide/weights",
    "mask": "user_guide/images",
    "masked image": "user_guide/images",
    "own weights": "user_guide/weights",
    "PyPI": "getting_started",
    "hyperparameters": "user_guide/faq",
    "oneDNN": "user_guide/faq",
}
# The largest number of results that a reader looks through.
N_RESULTS = 10
# Pages with long names, formulas, tables and signatures.
NARROW = (
    "user_guide/glcm.html",
    "user_guide/intensity.html",
    "user_guide/augmentation.html",
    "user_guide/feature_bus.html",
    "user_guide/which_features.html",
    "coming_from/scikit_image.html",
    "api/generated/featbus.ImageFunction.html",
    "api/generated/featbus.DeepFeatures.html",
    "api/generated/featbus.evaluation.segmentation_scores.html",
    "api/generated/featbus.parameters.POSITIVE_INTEGER.html",
)
COPY = "index.html", "user_guide/images.html"


class Handler(SimpleHTTPRequestHandler):
    """Serve files, and log nothing."""

    def log_message(self, *args):
        """Log nothing."""


@pytest.fixture(scope="module")
def site():
    """Serve the built documentation and return its address, or skip the test."""
    folder = Path(os.environ.get("FEATBUS_DOCS", DOCS))
    if not (folder / "index.html").exists():
        pytest.skip(f"no built documentation at {folder}: set FEATBUS_DOCS to the folder")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def click(page, text):
    """Click a text as a reader does, in the middle: the link of a card has no size of its own."""
    place = page.get_by_role("main").get_by_text(text, exact=True).filter(visible=True).first
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    with page.expect_navigation():
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def in_view(heading):
    """Return whether a heading is in the window, below the bar at its top."""
    box, height = heading.bounding_box(), heading.page.viewport_size["height"]
    return 0 <= box["y"] < height


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("question", WALKS)
def test_a_newcomer_finds(question, width, site, browser):
    clicks, title = WALKS[question]
    assert len(clicks) <= 2
    with open_page(browser, site, width) as page:
        for text in clicks:
            click(page, text)
        heading = page.get_by_role("main").get_by_role("heading", name=title)
        assert heading.count() == 1
        assert in_view(heading)


@pytest.mark.parametrize("words", SEARCHES)
def test_search(words, site, browser):
    with open_page(browser, site, 1400) as page:
        page.get_by_role("button", name="Search").first.click()
        page.keyboard.type(words)
        page.keyboard.press("Enter")
        results = page.locator("#search-results ul.search > li > a")
        page.locator("#search-results .search-summary", has_text="found").wait_for()
        links = results.evaluate_all("links => links.map(link => link.getAttribute('href'))")
        links = links[:N_RESULTS]
        assert any(link.startswith(f"{SEARCHES[words]}.html") for link in links), links


@pytest.mark.parametrize("path", COPY)
def test_copied_code_has_no_prompts_and_no_output(path, site, browser):
    permissions = ["clipboard-read", "clipboard-write"]
    with open_page(browser, site + path, 1400, permissions=permissions) as page:
        block = page.locator("div.highlight", has_text=">>> ").first
        block.hover()
        block.get_by_role("button", name="Copy").click()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert ">>>" in block.inner_text()
        assert ast.parse(copied).body
        shown = [line for line in block.inner_text().splitlines() if line[:4] in (">>> ", "... ")]
        assert copied.splitlines() == [line[4:] for line in shown]


@pytest.mark.parametrize("path", NARROW)
def test_no_page_is_wider_than_a_phone(path, site, browser):
    with open_page(browser, site + path, 400) as page:
        width, room = page.locator(".bd-article-container").evaluate(
            "each => [each.scrollWidth, each.clientWidth]"
        )
        assert width <= room


def test_nothing_comes_from_elsewhere(site, browser):
    """Hospitals read the documentation without internet access."""
    with open_page(browser, "about:blank", 1400) as page:
        asked, complaints = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for path in ("", "user_guide/index.html", "auto_examples/index.html", "api/index.html"):
            page.goto(site + path)
        assert [url for url in asked if not url.startswith((site, "data:"))] == []
        assert complaints == []
