"""The report of an evaluation, and its figures."""

import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import cv2
import numpy as np
import pandas as pd
import pytest
from _data import make_rows
from matplotlib import pyplot
from matplotlib.figure import Figure
from numpy.testing import assert_allclose
from sklearn.calibration import calibration_curve
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve, roc_curve
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

from featbus import evaluate
from featbus.evaluation import Evaluation, _report
from featbus.evaluation._metrics import TITLES
from featbus.io import read_item
from featbus.masks import with_mask

FIGURES = ["confusion_matrices", "roc", "precision_recall", "calibration", "decision_curve"]
FIGURES += ["intervals"]
AWKWARD = ["_benign <b>", 'malign\\1 & "co" $x$', "</script> $ {{ 7 * 7 }} {% raw %} #0072b2"]


def make_data(n_classes=2):
    """Return rows, labels, groups of three and images whose brightness is their position."""
    images = np.repeat(np.arange(90, dtype=np.uint8), 12 * 16).reshape(-1, 12, 16)
    return *make_rows(n_classes), 2 * images


@pytest.fixture(scope="module")
def binary():
    """Return an evaluation of two pipelines, one of which has no probabilities."""
    X, y, groups, _ = make_data()
    names = ["benign", "malignant"]
    pipelines = {"SVM": SVC(), "logistic": LogisticRegression()}
    return evaluate(pipelines, X, y, groups=groups, target_names=names)


@pytest.fixture(scope="module")
def three():
    X, y, groups, _ = make_data(3)
    names = ["benign", "malignant", "normal"]
    return evaluate(LogisticRegression(), X, y, groups=groups, target_names=names)


def by_hand(targets, predicted, probabilities, index=None):
    """Return an evaluation of the one pipeline "hand", of two classes; samples may be repeated."""
    index = np.arange(len(targets)) if index is None else np.array(index)
    predictions = pd.DataFrame(
        {
            "pipeline": "hand",
            "repeat": np.arange(len(index)) - index,
            "index": index,
            "fold": 0,
            "group": index,
            "target": targets,
            "predicted": predicted,
            "probability_benign": 1 - np.array(probabilities),
            "probability_malignant": probabilities,
        }
    )
    scores = pd.DataFrame(dict.fromkeys(TITLES, 0.5), index=[0])
    scores.insert(0, "pipeline", "hand")
    names = ["benign", "malignant"]
    return Evaluation(scores, predictions, np.array([0, 1]), names, "malignant", "By hand.")


@pytest.fixture(scope="module")
def html(binary, tmp_path_factory):
    """Return the plain report of the two pipelines."""
    return write(binary, tmp_path_factory.mktemp("report"))


without_figures = pytest.mark.usefixtures("empty_figures")


def decode(data, flags=cv2.IMREAD_UNCHANGED):
    return cv2.imdecode(np.frombuffer(b64decode(data), np.uint8), flags)


class Page(HTMLParser):
    """A page in pieces."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links, self.texts = [], [], [], []
        self.section, self.rows, self.thumbnails, self.figures = "", {}, [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)
        if tag == "section":
            self.section = attributes["id"]
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes[key] for key in ("src", "href") if key in attributes]
        assert not {"onload", "onerror", "src=x"} & set(attributes)
        if tag == "img":
            kind, data = attributes["src"].split(";base64,")
            if kind == "data:image/jpeg":
                self.thumbnails.append(decode(data))
            else:
                self.figures.append(ElementTree.fromstring(b64decode(data)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[self.section][-1].append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def write(evaluation, path, **options):
    evaluation.to_html(path / "report.html", **options)
    assert [file.name for file in path.iterdir()] == ["report.html"]
    return (path / "report.html").read_text(encoding="utf-8")


class Audit:
    """What an audit returns, as far as a report needs it."""

    outcome = "failed"
    protocol = "90 <images>, audited."
    shortcuts = pd.DataFrame({"shortcut": ["image size"], "roc_auc": [0.69]})
    verdict = "Group <7> is on both sides of fold 0."

    def to_frame(self):
        return pd.DataFrame({"check": ["groups across folds"], "passed": [False], "n_found": [3]})


def test_the_page_needs_no_other_file(binary, tmp_path):
    html = write(binary, tmp_path, images=make_data()[-1], audit=Audit())
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.startswith("data:") or link[1:] in page.ids, link
    assert not re.search("https?:|<script|@import", html)
    assert len(page.figures) == len(FIGURES)


def test_numbers_are_those_of_the_evaluation(binary, html):
    page = Page(html)
    head, *rows = page.rows["results"]
    assert head == [*binary.pipeline_names, "chance"]
    for metric, (_, *cells) in zip(TITLES, rows):
        columns = [metric, f"{metric}_low", f"{metric}_high"]
        for row, cell in zip(binary.to_frame()[columns].to_numpy(), cells):
            mean, low, high = (f"{value:.3f}" for value in row)
            assert cell == ("–" if mean == "nan" else f"{mean} ({low} to {high})")
    pair = binary.compare().iloc[0]
    assert page.rows["comparison"][1][:2] == ["SVM", "logistic"]
    assert_allclose(np.array(page.rows["comparison"][1][2:], float), [*pair[2:]], rtol=1e-3)
    seconds = binary.timings.groupby("pipeline", sort=False)[["fit_s", "predict_s"]].sum()
    found = [row[1:] for row in page.rows["details"][2:]]
    assert_allclose(np.array(found, float), seconds, rtol=1e-3)
    for package, number in binary.versions.items():
        assert f"{package} {number}" in page.text
    assert "Seed 0;" in page.text


@without_figures
def test_numbers_of_each_class(three, tmp_path):
    head, *rows = Page(write(three, tmp_path)).rows["classes"]
    assert head[1:] == three.target_names
    table = three.per_class().loc["pipeline"]
    for metric, row in zip(["sensitivity", "specificity", "precision", "npv", "f1"], rows):
        expected = [f"{mean:.3f} (" for mean in table[metric]]
        assert [cell[:7] for cell in row[1:]] == expected


@without_figures
def test_most_wrong_are_the_surest_errors(tmp_path):
    # The last prediction repeats sample 1, which is shown once.
    probabilities = [0.1, 0.6, 0.2, 0.9, 0.3, 0.05, 0.8, 0.55]
    index = [*range(7), 1]
    result = by_hand([0, 0, 1, 0, 0, 1, 1, 0], [0, 1, 0, 1, 0, 0, 1, 1], probabilities, index)
    images = [np.full((20, 30 + i), 30 * i, np.uint8) for i in range(7)]
    page = Page(write(result, tmp_path, images=images))
    order = [5, 3, 2, 1]
    found = re.findall(r"image (\d+) true (\w+) predicted (\w+) score ([\d.]+)", page.text)
    assert [int(number) for number, *_ in found] == order
    assert [float(score) for *_, score in found] == [0.95, 0.9, 0.8, 0.6]
    assert found[0][1:3] == ("malignant", "benign")
    assert [image.shape for image in page.thumbnails] == [(20, 30 + i) for i in order]
    assert_allclose([image.mean() for image in page.thumbnails], [30 * i for i in order], atol=2)


def test_most_wrong_without_images_is_a_table(binary, html):
    page = Page(html)
    assert page.thumbnails == []
    rows = binary.predictions[binary.predictions["pipeline"] == "SVM"]
    wrong = rows[rows["target"] != rows["predicted"]]
    surest = wrong[["decision_benign", "decision_malignant"]].max(axis=1).nlargest(6)
    found = [float(row[-1]) for row in page.rows["most-wrong"][1:7]]
    assert_allclose(found, surest, rtol=1e-3)
    assert f"6 of {len(wrong)} wrong images" in page.text


@pytest.mark.parametrize(
    "image",
    [
        np.tile(np.linspace(0, 4095, 60).astype(np.uint16), (40, 1)),
        np.tile(np.arange(60) > 30, (40, 1)),
        with_mask(np.full((40, 60), 99, np.uint8), np.arange(2400).reshape(40, 60) % 60 > 30),
        np.dstack([np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))] * 4),
    ],
    ids=["uint16", "bool", "masked", "RGBA"],
)
def test_thumbnails_of_all_kinds_of_images(image):
    decoded = decode(_report.make_thumbnail(read_item(image, 0)), cv2.IMREAD_GRAYSCALE)
    assert decoded.shape == (40, 60)
    assert decoded[:, :5].mean() < 15
    assert decoded[:, -5:].mean() > 90


def test_thumbnails_are_small_and_keep_colors():
    red = np.zeros((600, 1200, 3), np.uint8)
    red[..., 0] = 200
    decoded = decode(_report.make_thumbnail(red), cv2.IMREAD_COLOR)
    assert decoded.shape == (112, 224, 3)
    assert_allclose(decoded.mean(axis=(0, 1)), [0, 0, 200], atol=3)


@without_figures
def test_paths_are_shown_without_where_they_are_stored(tmp_path):
    folder = tmp_path / "private"
    paths = [folder / name for name in ("benign & co/1/0.png", "2/0.png", "2/2.png", "3.png")]
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 9), 20 * i, np.uint8))
    (tmp_path / "out").mkdir()
    result = by_hand([0, 1, 0, 1], [1, 1, 0, 1], [0.9, 0.9, 0.2, 0.8])
    html = write(result, tmp_path / "out", images=paths)
    assert ">1/0.png<" in html
    assert "private" not in html
    # Only the position of an image that has no file.
    assert not re.search(r"image \d", Page(html).text)


@without_figures
def test_only_errors_are_read_and_each_once(tmp_path, monkeypatch):
    y = np.arange(90) % 2
    probabilities = np.where(y == 1, 0.8, 0.2)
    probabilities[[8, 44]] = 0.9, 0.7
    reads = []
    monkeypatch.setattr(_report, "read_item", lambda *args: reads.append(args[1]) or args[0])
    result = by_hand(y, probabilities > 0.5, probabilities)
    page = Page(write(result, tmp_path, images=make_data()[-1]))
    assert reads == [8, 44]
    assert [int(n) for n in re.findall(r"image (\d+)", page.text)] == [8, 44]
    assert page.rows["data"][-2:] == [["benign", "45", "45"], ["malignant", "45", "45"]]


def test_everything_is_escaped(tmp_path):
    folder = tmp_path / "<img src=x> 'a' \"b\" $c$ {{ 1 }}"
    folder.mkdir()
    path = folder / "onload='x'&amp; undecodable \udcff.png"
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((8, 9), np.uint8))
    (tmp_path / "image.png").rename(path)
    X, y, groups, _ = make_data(3)
    names = AWKWARD
    pipelines = {"<script>alert(1)</script>": LogisticRegression(), "_b & $x": SVC()}
    result = evaluate(pipelines, X, y, groups=groups, target_names=names)
    (tmp_path / "out").mkdir()
    html = write(result, tmp_path / "out", title="A < B & C", images=[path] * len(y), audit=Audit())
    page = Page(html)
    assert "script>" not in html
    for text in [*AWKWARD, *pipelines, "A < B & C", "Group <7> is", folder.name]:
        assert text in page.text, text
    assert "onload='x'&amp; undecodable ?.png" in page.text
    drawn = "".join("".join(figure.itertext()) for figure in page.figures)
    for text in ("_b & $x", *AWKWARD[:2]):
        assert text in drawn


@without_figures
def test_the_audit(binary, tmp_path):
    page = Page(write(binary, tmp_path, audit=Audit()))
    assert page.text.count("Audit failed: Group <7> is on both sides of fold 0.") == 2
    assert page.rows["audit"][1] == ["groups across folds", "False", "3"]
    assert page.rows["audit"][3] == ["image size", "0.69"]
    assert "90 <images>, audited." in page.text


@without_figures
def test_groups_that_are_no_patients_are_not_green(binary, tmp_path):
    note, audit = "groups are near-duplicates, not patients", Audit()
    audit.outcome = "passed"
    html = write(replace(binary, groups_note=note), tmp_path, audit=audit)
    page = Page(html)
    assert f"{note.capitalize()}. If images of one patient are on both sides" in page.text
    assert page.text.count("Audit incomplete: Group") == 2
    assert 'class="note good"' not in html


@without_figures
def test_classifiers_without_probabilities_are_not_calibrated(tmp_path):
    X, y, groups, _ = make_data()
    result = evaluate({"<SVM>": SVC()}, X, y, groups=groups)
    assert "No calibration of <SVM>" in Page(write(result, tmp_path)).text
    with pytest.raises(ValueError, match="No pipeline has probabilities"):
        result.plot("calibration")


@without_figures
def test_what_is_refused(binary, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        binary.to_html(tmp_path / "missing" / "report.html")
    with pytest.raises(ValueError, match="images has 89 images, expected at least 90"):
        binary.to_html(tmp_path / "report.html", images=make_data()[-1][:-1])
    with pytest.raises(ValueError, match="name is 'pr', expected one of .*'roc'"):
        binary.plot("pr")


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn_outside_of_pyplot(name, three):
    before = pyplot.get_fignums()
    figure = three.plot(name)
    assert isinstance(figure, Figure)
    assert pyplot.get_fignums() == before
    assert all(axis.get_xlabel() for axis in figure.axes)


def legend_of(axis):
    legend = axis.get_legend() or axis.figure.legends[0]
    return [text.get_text().strip().replace("\n", " ") for text in legend.get_texts()]


@pytest.fixture(scope="module", params=[2, 3])
def long_names(request):
    X, y, groups = make_rows(request.param)
    names = ["fibroadenoma_with_atypical_features", "invasive carcinoma of no special type"]
    names = [*names, "intraductal papilloma, peripheral"][: request.param]
    pipeline = "texture and three stages of MobileNetV2, naive Bayes"
    pipelines = {pipeline: GaussianNB(), pipeline.replace(" ", "_"): GaussianNB()}
    return evaluate(pipelines, X, y, groups=groups, target_names=names, cv=2)


@pytest.mark.parametrize("name", FIGURES)
def test_long_names_are_not_clipped(long_names, name):
    figure = long_names.plot(name)
    figure.draw_without_rendering()
    x0, y0, x1, y1 = figure.get_tightbbox().extents
    width, height = figure.get_size_inches()
    assert min(x0, y0) >= 0
    assert x1 <= width
    assert y1 <= height
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    boxes.sort(key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 for low, high in pairwise(boxes))


@without_figures
def test_the_report_begins_with_one_sentence(binary, tmp_path):
    frame = binary.to_frame()
    best = frame.loc[binary.pipeline_names, "roc_auc"].idxmax()
    mean, low, high = frame.loc[best, ["roc_auc", "roc_auc_low", "roc_auc_high"]]
    assert binary.summary == (
        f"Asked to tell benign and malignant apart in 90 images of 30 groups, {best}, the best of "
        f"2 pipelines, reaches ROC AUC {mean:.2f} (95% interval {low:.2f} to {high:.2f}) on images "
        "that it was not trained on; chance has 0.50; doubtful: only 30 groups tested, 10 of "
        "benign: intervals are unreliable with fewer than 40, or 8 of a class; "
        f"{binary.doubt[0].lower()}{binary.doubt[1:]}"
    )
    text = Page(write(binary, tmp_path, audit=Audit())).text
    start = text.index("Asked to tell")
    assert start < text.index(binary.protocol[:20])
    assert "(Balanced accuracy); audit failed." in text
    assert binary.summary not in repr(binary)


def test_the_sentence_where_groups_are_unknown_and_nothing_is_learned():
    X, y, _ = make_rows(3)
    with pytest.warns(UserWarning, match="Groups unknown"):
        result = evaluate(DummyClassifier(), 0 * X, y, cv=3)
    assert "tell 0, 1 and 2 apart in 90 images, each counted as its own patient" in result.summary
    assert "ROC AUC (mean over classes) 0.50" in result.summary
    assert result.summary.endswith(
        "doubtful: groups unknown; not clearly better than chance: pipeline (Balanced accuracy, "
        "ROC AUC)."
    )
    alone = replace(result, scores=result.scores.assign(roc_auc=np.nan))
    assert "reaches Accuracy 0.37 (95% interval" in alone.summary


def test_roc_curves_of_two_classes(binary):
    (axis,) = binary.plot("roc").axes
    assert axis.get_title() == "malignant against benign"
    areas = binary.per_class()["roc_auc"]
    for name, line, label in zip(["SVM", "logistic"], axis.lines, legend_of(axis)):
        rows = binary.predictions[binary.predictions["pipeline"] == name]
        score = rows["decision_malignant" if name == "SVM" else "probability_malignant"]
        false, true, _ = roc_curve(rows["target"], score)
        assert_allclose(line.get_xdata(), false)
        assert_allclose(line.get_ydata(), true)
        assert label == f"{name}, AUC {areas[name, 'malignant']:.2f}"


def test_precision_recall_curves_of_three_classes(three):
    axes = three.plot("precision_recall").axes
    areas = three.per_class()["pr_auc"]["pipeline"]
    rows = three.predictions
    for i, (name, axis) in enumerate(zip(three.target_names, axes)):
        assert axis.get_title() == f"{name} against the rest"
        precision, recall, _ = precision_recall_curve(
            rows["target"] == i, rows[f"probability_{name}"]
        )
        assert_allclose(axis.lines[0].get_xdata(), recall)
        assert_allclose(axis.lines[0].get_ydata(), precision)
        assert legend_of(axis) == [f"pipeline, AUC {areas[name]:.2f}"]


def test_calibration(three):
    axis = three.plot("calibration").axes[1]
    rows = three.predictions
    seen, given = calibration_curve(
        rows["target"] == 1, rows["probability_malignant"], n_bins=6, strategy="quantile"
    )
    assert_allclose(axis.lines[0].get_xdata(), given)
    assert_allclose(axis.lines[0].get_ydata(), seen)


def test_intervals(binary):
    (axis,) = binary.plot("intervals").axes
    frame = binary.to_frame()
    for name, line, bars in zip(frame.index, axis.lines, axis.collections):
        assert_allclose(line.get_xdata(), frame.loc[name, [*TITLES]])
        ends = [bar[:, 0] for bar in bars.get_segments() if len(bar)]
        low, high = (frame.loc[name, [f"{m}_{end}" for m in TITLES]] for end in ("low", "high"))
        assert_allclose(ends, np.column_stack([low, high])[low.notna()])
    assert legend_of(axis) == ["SVM", "logistic"]


def test_a_class_that_no_fold_tests_has_no_curve():
    result = by_hand([0] * 4, [0, 1, 0, 0], [0.1, 0.6, 0.2, 0.3])
    (axis,) = result.plot("roc").axes
    assert len(axis.lines[0].get_xdata()) == 0


@pytest.mark.slow
def test_a_browser_has_no_complaints(browser, binary, tmp_path):
    write(binary, tmp_path, images=make_data()[-1], audit=Audit())
    page = browser.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator("img.figure").count() == len(FIGURES)
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
    assert complaints == []
