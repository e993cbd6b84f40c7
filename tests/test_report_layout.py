"""How the report looks in a browser: nothing is cut, and no table scrolls."""

import cv2
import numpy as np
import pytest
from _browser import open_page
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from featbus import evaluate

LONG = "mobilenet_v2 0.35, C3 + C4 + C5, avg + max, 320 pixels, logistic regression"
# Elements beyond the page, unless a box scrolls them, and boxes that scroll.
MEASURE = """(() => {
  const width = document.documentElement.clientWidth;
  const scrolls = e => getComputedStyle(e).overflowX == "auto" && e.scrollWidth > e.clientWidth + 1;
  const boxes = [...document.querySelectorAll("*")].filter(scrolls);
  const cut = [...document.querySelectorAll("body *")].filter(e => {
    const box = e.getBoundingClientRect();
    const outside = box.width && (box.left < -1 || box.right > width + 1);
    return outside && !boxes.some(other => other.contains(e));
  });
  return {
    width,
    page: document.documentElement.scrollWidth,
    cut: cut.map(e => e.tagName + " " + e.textContent.trim().slice(0, 60)),
    scrolling: boxes.map(e => e.textContent.trim().slice(0, 40)),
  };
})()"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return the report of four pipelines and three classes with long names, and of files."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    groups = np.arange(30) // 2
    y = groups % 3
    pipelines = {LONG: LogisticRegression(), "an_unbroken_name_" * 4: SVC(), "grid": SVC(C=9)}
    pipelines |= {f"{LONG}, balanced": LogisticRegression(C=0.1)}
    names = ["benign, biopsy-proven", "malignant, any grade", "normal"]
    X = rng.normal(size=(30, 4)) + y[:, np.newaxis] / 2
    result = evaluate(pipelines, X, y, groups=groups, target_names=names)
    paths = [folder / f"2026-11-04_left_transverse_view_{'x' * 60}_{i}.png" for i in range(30)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (12, 16), np.uint8))
    result.to_html(folder / "report.html", images=paths)
    return folder / "report.html"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 400])
def test_nothing_is_wider_than_the_page(width, browser, report):
    with open_page(browser, report.as_uri(), width) as page:
        found = page.evaluate(MEASURE)
    assert found["width"] == found["page"] == width
    assert found["cut"] == []
    assert width < 800 or found["scrolling"] == []
