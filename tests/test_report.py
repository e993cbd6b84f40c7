"""The report of an evaluation, and its figures."""

import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from numpy.testing import assert_allclose
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve, roc_curve
from sklearn.model_selection import PredefinedSplit
from sklearn.svm import SVC

from featbus import evaluate, intensity_summary
from featbus.evaluation import Evaluation, _report
from featbus.evaluation._metrics import TITLES
from featbus.io import read_item
from featbus.masks import with_mask
from featbus.model_selection import audit

FIGURES = [
    "confusion_matrices",
    "roc",
    "precision_recall",
    "calibration",
    "score_distributions",
    "intervals",
]
BENIGN = ["benign", "malignant"]
VOID = {"meta", "link", "br", "img"}
AWKWARD = ["_benign <b>", 'malign\\1 & "co" $x$', "</script> $ {{ 7 * 7 }} {% raw %} #0072b2"]


def make_data(n_classes=2, n_samples=90, seed=0):
    """Return rows, labels, groups of three and images whose brightness is their position."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n_samples) // 3
    y = rng.integers(n_classes, size=groups[-1] + 1)[groups]
    images = np.repeat(np.arange(n_samples, dtype=np.uint8), 12 * 16).reshape(-1, 12, 16)
    return rng.normal(size=(n_samples, 4)) + y[:, np.newaxis] / 2, y, groups, 2 * images


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


def by_hand(targets, predicted, probabilities, index=None, repeats=1):
    """Return an evaluation of the one pipeline "hand", of two classes."""
    n = len(targets)
    predictions = pd.DataFrame(
        {
            "pipeline": "hand",
            "repeat": np.repeat(np.arange(repeats), n // repeats),
            "index": np.arange(n) if index is None else index,
            "fold": 0,
            "group": np.arange(n) if index is None else index,
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


class Page(HTMLParser):
    """A page in pieces."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links, self.texts, self.images = [], [], [], [], []
        self.section, self.values, self.cells, self.labels = "", {}, {}, []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = attributes["id"]
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [
            attributes[key] for key in ("src", "href", "xlink:href") if key in attributes
        ]
        self.labels += [attributes[key] for key in ("alt", "aria-label") if key in attributes]
        assert not {"onload", "onerror", "src=x"} & set(attributes)
        self.links += re.findall(r"url\((.*?)\)", " ".join(filter(None, attributes.values())))
        if tag == "data":
            self.values.setdefault(self.section, []).append(float(attributes["value"]))
        if tag == "img":
            data = attributes["src"].removeprefix("data:image/jpeg;base64,")
            pixels = np.frombuffer(b64decode(data), np.uint8)
            self.images.append(cv2.imdecode(pixels, cv2.IMREAD_UNCHANGED))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] == "td":
            self.cells.setdefault(self.section, []).append(data)

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


def test_the_page_needs_nothing_beside_it(binary, tmp_path):
    html = write(binary, tmp_path, images=make_data()[-1], audit=Audit())
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.startswith("data:") or link[1:] in page.ids, link
    assert "http:" not in html
    assert "https:" not in html
    assert "<script" not in html
    assert "@import" not in html


def test_numbers_are_those_of_the_evaluation(binary, html):
    page = Page(html)
    frame = binary.to_frame()
    expected = [
        frame.loc[name, metric][["mean", "low", "high"]]
        for metric in TITLES
        for name in frame.index
        if frame.loc[name, (metric, "mean")] >= 0  # an SVM without probabilities has no Brier score
    ]
    assert page.values["results"] == np.concatenate(expected).tolist()
    pair = binary.compare().iloc[0]
    columns = ["difference", "low", "high", "p_value", "p_holm"]
    assert page.values["comparison"] == pair[columns].tolist()


@without_figures
def test_numbers_of_each_class(three, tmp_path):
    page = Page(write(three, tmp_path))
    metrics = ["sensitivity", "specificity", "precision", "npv", "f1", "roc_auc", "pr_auc"]
    expected = [
        row[metric][["mean", "low", "high"]]
        for _, row in three.per_class().iterrows()
        for metric in metrics
    ]
    assert page.values["classes"] == np.concatenate(expected).tolist()
    counts = [int(cell) for cell in page.cells["classes"] if cell.strip()]
    assert counts == three.published_table()[["TP", "TN", "FP", "FN"]].to_numpy().ravel().tolist()
    shown = [int(cell) for cell in page.cells["confusion"]]
    assert shown == three.confusion_matrix().to_numpy().ravel().tolist()


@without_figures
def test_most_wrong_are_the_surest_errors(tmp_path):
    probabilities = [0.1, 0.6, 0.2, 0.9, 0.3, 0.05, 0.8]
    result = by_hand([0, 0, 1, 0, 0, 1, 1], [0, 1, 0, 1, 0, 0, 1], probabilities)
    images = [np.full((20, 30 + i), 30 * i, np.uint8) for i in range(7)]
    page = Page(write(result, tmp_path, images=images))
    order = [5, 3, 2, 1]
    assert page.values["most-wrong"] == pytest.approx([0.95, 0.9, 0.8, 0.6])
    assert [int(n) for n in re.findall(r"image (\d+)", page.text)] == order
    assert [image.shape for image in page.images] == [(20, 30 + i) for i in order]
    assert_allclose([image.mean() for image in page.images], [30 * i for i in order], atol=2)
    assert "image 5 true malignant predicted benign probability 0.950" in page.text


@without_figures
def test_most_wrong_shows_an_image_once(tmp_path):
    result = by_hand(
        [0, 1, 0, 1], [1, 1, 1, 1], [0.7, 0.6, 0.8, 0.9], index=[0, 1, 0, 1], repeats=2
    )
    page = Page(write(result, tmp_path, images=np.zeros((2, 8, 8), np.uint8)))
    assert page.values["most-wrong"] == [0.8]
    assert "1 of 1 wrong images" in page.text


def test_most_wrong_without_images_is_a_table(binary, html):
    page = Page(html)
    assert page.images == []
    assert "Pass images= to see them." in page.text
    rows = binary.predictions[binary.predictions["pipeline"] == "SVM"]
    wrong = rows[rows["target"] != rows["predicted"]]
    surest = wrong[["decision_benign", "decision_malignant"]].max(axis=1).nlargest(6)
    assert_allclose(page.values["most-wrong"][:6], surest)
    assert f"6 of {len(wrong)} wrong images" in page.text


@without_figures
@pytest.mark.parametrize(
    "image",
    [
        np.tile(np.linspace(0, 4095, 60).astype(np.uint16), (40, 1)),
        np.tile(np.linspace(0, 1, 60), (40, 1)),
        np.tile(np.arange(60) > 30, (40, 1)),
        with_mask(np.full((40, 60), 99, np.uint8), np.arange(2400).reshape(40, 60) % 60 > 30),
        np.dstack(
            [np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))] * 3
            + [np.ones((40, 60), np.uint8)]
        ),
    ],
    ids=["uint16", "float", "bool", "masked", "RGBA"],
)
def test_thumbnails_of_all_kinds_of_images(image, tmp_path):
    result = by_hand([0, 1, 0, 1], [1, 1, 0, 1], [0.9, 0.9, 0.2, 0.8])
    opaque = [np.zeros((9, 9), np.uint8)] * 3
    thumbnail = _report.make_thumbnail(read_item(image, 0))
    (decoded,) = [cv2.imdecode(np.frombuffer(b64decode(thumbnail), np.uint8), 0)]
    assert decoded.shape == (40, 60)
    assert decoded[:, :5].mean() < 15
    assert decoded[:, -5:].mean() > 90
    if image.ndim == 2:
        assert len(Page(write(result, tmp_path, images=[image, *opaque])).images) == 1


def test_thumbnails_are_small_and_keep_colors():
    red = np.zeros((600, 1200, 3), np.uint8)
    red[..., 0] = 200
    thumbnail = np.frombuffer(b64decode(_report.make_thumbnail(red)), np.uint8)
    decoded = cv2.imdecode(thumbnail, cv2.IMREAD_COLOR)
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
def test_only_so_many_images_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_report, "_N_DESCRIBED", 5)
    y = np.arange(90) % 2
    probabilities = np.where(y == 1, 0.8, 0.2)
    probabilities[[8, 44]] = 0.9, 0.7
    images = list(make_data()[-1])
    for i in set(range(90)) - {0, 8, 22, 44, 66, 89}:
        images[i] = tmp_path / "not there.png"
    result = by_hand(y, probabilities > 0.5, probabilities)
    page = Page(write(result, tmp_path, images=images))
    assert "From 5 images, evenly spaced" in page.text
    assert [int(n) for n in re.findall(r"image (\d+)", page.text)] == [8, 44]
    assert "uint8 gray (5)" in page.text


@without_figures
def test_every_image_is_read_once(binary, tmp_path, monkeypatch):
    images = make_data()[-1]
    paths = [str(tmp_path / f"{i}.png") for i in range(90)]
    for path, image in zip(paths, images):
        cv2.imwrite(path, image)
    reads = []

    def read(item, index):
        reads.append(item)
        return read_item(item, index)

    monkeypatch.setattr(_report, "read_item", read)
    (tmp_path / "out").mkdir()
    with_paths = write(binary, tmp_path / "out", images=paths)
    assert reads == paths
    with_arrays = write(binary, tmp_path / "out", images=images)
    assert Page(with_paths).values == Page(with_arrays).values
    assert with_paths.count("<img") == with_arrays.count("<img") == 12


@without_figures
def test_brightness_is_that_of_the_intensity_summary(binary, tmp_path):
    rng = np.random.default_rng(0)
    y = make_data()[1]
    images = [rng.integers(0, 256, (8, 9), np.uint8) for _ in y]
    images[1] = with_mask(images[1], images[1] > 99)
    images[2] = rng.integers(0, 65536, (8, 9), np.uint16)
    images[3] = rng.random((8, 9))
    images[4] = rng.integers(0, 256, (8, 9, 3), np.uint8)
    images[5] = rng.random((8, 9)) > 0.5
    page = Page(write(binary, tmp_path, images=images))
    table = intensity_summary(images, y).table.drop(columns=["n", "outliers"])
    assert_allclose(page.values["data"], table.to_numpy().ravel(), rtol=1e-6)
    assert (
        "uint8 gray (85); uint8 gray, masked (1); uint16 gray (1); float64 gray (1); " in page.text
    )


@without_figures
def test_the_data_set_card(binary, tmp_path):
    images = list(make_data()[-1])
    images[3] = np.zeros((30, 20, 3), np.uint8)
    page = Page(write(binary, tmp_path, images=images))
    y = make_data()[1]
    assert "90 images in 30 groups of 3 images each." in page.text
    counts = np.bincount(y)
    cells = page.cells["data"][:6]
    expected = [[str(n), f"{100 * n / 90:.0f}%", str(n // 3)] for n in counts]
    assert cells == np.ravel(expected).tolist()
    assert (
        "12 to 30 pixels high and 16 to 20 wide; the most common size, 12 × 16, has 89 of 90"
        in (page.text)
    )
    assert "uint8 gray (89); uint8 color (1)" in page.text
    means = np.array([image.mean() / 255 for image in images])
    medians = [np.median(means[y == label]) for label in (0, 1)]
    table = np.array(page.values["data"]).reshape(2, -1)
    assert_allclose(table[:, 2], medians)


def test_everything_is_escaped(tmp_path):
    X, y, groups, _ = make_data(3)
    pipelines = {"<script>alert(1)</script>": LogisticRegression(), "_b & $x": SVC()}
    result = evaluate(pipelines, X, y, groups=groups, target_names=AWKWARD)
    html = write(result, tmp_path, title="A < B & C", audit=Audit())
    page = Page(html)
    assert "<script" not in html
    assert "</script" not in html
    for text in [*AWKWARD, *pipelines, "A < B & C", "Group <7> is"]:
        # More often than in tables: figures have them too.
        assert page.text.count(text) >= 2, text
    assert "{{" in page.text


def test_awkward_names_of_classes_and_files_stay_in_their_attributes(tmp_path):
    folder = tmp_path / "<img src=x> 'a' \"b\" $c$ {{ 1 }}"
    folder.mkdir()
    paths = [folder / f"{i} onload='x'&amp;.png" for i in range(4)]
    for path in paths:
        cv2.imwrite(str(path), np.zeros((8, 9), np.uint8))
    (tmp_path / "out").mkdir()
    result = by_hand([0, 1, 0, 1], [1, 1, 0, 1], [0.9, 0.9, 0.2, 0.8])
    columns = {f"probability_{old}": f"probability_{new}" for old, new in zip(BENIGN, AWKWARD[1:])}
    predictions = result.predictions.rename(columns=columns).assign(pipeline=AWKWARD[1])
    scores = result.scores.assign(pipeline=AWKWARD[1])
    result = replace(
        result, predictions=predictions, scores=scores, target_names=AWKWARD[1:], pos_name=None
    )
    page = Page(write(result, tmp_path / "out", images=paths))
    file = f"{folder.name}/{paths[0].name}"
    assert f"{file}, {AWKWARD[1]}, predicted {AWKWARD[2]}" in page.labels
    assert "each class against the rest" in page.text
    assert page.labels.count(AWKWARD[1]) == 2
    assert file in page.text


def test_names_with_characters_that_a_page_cannot_have(tmp_path):
    X, y, groups, _ = make_data()
    names = ["a\x01\x1bb", "c\uffff"]
    result = evaluate(LogisticRegression(), X, y, groups=groups, target_names=names)
    paths = [tmp_path / "undecodable \udcff.png"] * 90
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((8, 8), np.uint8))
    (tmp_path / "image.png").rename(paths[0])
    (tmp_path / "out").mkdir()
    html = write(result, tmp_path / "out", images=paths)
    assert "undecodable ?.png" in html
    assert "truly ab" in html


def test_figures_follow_the_page(html):
    drawings = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) == 1 + 3 + 2
    for drawing in drawings:
        assert 'role="img"' in drawing
        assert "var(--c1)" in drawing
        # Nothing is left in a colour of its own but what is hidden.
        assert set(re.findall(r"#[0-9a-f]{6}\b", drawing)) <= {"#ffffff"}


@without_figures
def test_the_audit(binary, tmp_path):
    page = Page(write(binary, tmp_path, audit=Audit()))
    assert page.text.count("Audit failed: Group <7> is on both sides of fold 0.") == 2
    assert page.cells["audit"] == ["groups across folds", "no", "3", "image size"]
    assert page.values["audit"] == [0.69]
    assert "90 <images>, audited." in page.text


@without_figures
def test_a_real_audit_that_passed(binary, tmp_path):
    images, y, groups = make_data()[-1], *make_data()[1:3]
    images = np.random.default_rng(0).integers(0, 256, (90, 32, 32), np.uint8)
    report = audit(images, y, groups=groups)
    assert report.passed
    page = Page(write(binary, tmp_path, audit=report))
    assert page.text.count(f"Audit passed: {report.verdict}") == 2
    for text in [report.protocol, *report.checks["check"], *report.checks["finding"]]:
        assert " ".join(text.split()) in page.text
    assert len(page.values["audit"]) == report.shortcuts.select_dtypes("number").count().sum()


@without_figures
def test_without_groups_the_report_says_so(tmp_path):
    X, y, _, _ = make_data()
    with pytest.warns(UserWarning, match="Groups unknown"):
        result = evaluate(LogisticRegression(), X, y)
    audit = Audit()
    audit.outcome = "passed"
    html = write(result, tmp_path, audit=audit)
    page = Page(html)
    first_line = "90 images, groups unknown: every image counted as its own patient. Positive"
    assert re.search('<p class="lead">(.*?)</p>', html)[1].startswith(first_line)
    assert page.text.count("Groups unknown: every image counted as its own patient.") == 1
    assert "90 images, groups unknown: every image counted as its own patient." in page.text
    assert page.text.count("Audit incomplete: Group") == 2
    assert html.count('class="note doubtful"') == 3
    assert 'class="note good"' not in html


@without_figures
def test_a_single_split_is_said_to_be_one(tmp_path):
    X, y, groups, _ = make_data()
    split = PredefinedSplit((groups < 6) - 1)
    result = evaluate(LogisticRegression(), X, y, groups=groups, cv=split, pos_label=1)
    page = Page(write(result, tmp_path))
    assert "folds" not in page.text
    assert "Scores on the test part and 95% intervals, by the jackknife over groups." in page.text
    assert "18 tested images of 90 in 6 groups of 3 images each." in page.text


@without_figures
def test_groups_that_are_no_patients_are_not_green(binary, tmp_path):
    audit, note = Audit(), "groups are near-duplicates found in the images, not patients"
    audit.outcome = "incomplete"
    html = write(replace(binary, groups_note=note), tmp_path, audit=audit)
    page = Page(html)
    assert f'<p class="lead">90 images in 30 groups, {note}. Positive class: malignant' in html
    assert f"{note.capitalize()}. If images of one patient are on both sides" in page.text
    assert page.text.count("Audit incomplete: Group") == 2
    assert 'class="note good"' not in html


def test_details(binary, html):
    page = Page(html)
    seconds = binary.timings.groupby("pipeline", sort=False)[["fit_s", "predict_s"]]
    expected = np.hstack([seconds.mean(), seconds.sum()]).ravel()
    assert_allclose(page.values["details"], expected)
    for package, number in binary.versions.items():
        assert f"{package} {number}" in page.text
    assert "seed 0" in page.text


@without_figures
def test_classifiers_without_probabilities_are_not_calibrated(tmp_path):
    X, y, groups, _ = make_data()
    result = evaluate({"<SVM>": SVC()}, X, y, groups=groups)
    page = Page(write(result, tmp_path))
    assert "No calibration of <SVM>: decision values are not probabilities." in page.text
    assert "mean predicted probability" not in page.text
    with pytest.raises(ValueError, match="No pipeline has probabilities"):
        result.plot("calibration")


@without_figures
def test_a_failure_leaves_the_old_file(binary, tmp_path):
    (tmp_path / "report.html").write_text("old")
    images = [*make_data()[-1][:-1], np.full((8, 8), np.nan)]
    with pytest.raises(ValueError, match="image 89"):
        binary.to_html(tmp_path / "report.html", images=images)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


@without_figures
def test_what_is_refused(binary, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        binary.to_html(tmp_path / "missing" / "report.html")
    with pytest.raises(ValueError, match="images has 89 images, expected at least 90"):
        binary.to_html(tmp_path / "report.html", images=make_data()[-1][:-1])
    with pytest.raises(ValueError, match="name is 'pr', expected one of .*'roc'"):
        binary.plot("pr")


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("kind", ["binary", "three"])
def test_figures_are_drawn_outside_of_pyplot(name, kind, request, tmp_path):
    before = pyplot.get_fignums()
    figure = request.getfixturevalue(kind).plot(name)
    assert isinstance(figure, Figure)
    assert pyplot.get_fignums() == before
    figure.savefig(tmp_path / "figure.png")
    assert all(axis.get_xlabel() or figure.get_supxlabel() for axis in figure.axes)


def legend_of(axis):
    return [text.get_text().replace("\n", " ") for text in axis.get_legend().get_texts()]


def test_roc_curves_of_two_classes(binary):
    (axis,) = binary.plot("roc").axes
    assert axis.get_title() == "malignant against benign"
    areas = binary.per_class()["roc_auc", "mean"]
    for name, line, label in zip(["SVM", "logistic"], axis.lines, legend_of(axis)):
        rows = binary.predictions[binary.predictions["pipeline"] == name]
        score = rows["decision_malignant" if name == "SVM" else "probability_malignant"]
        false, true, _ = roc_curve(rows["target"], score)
        assert_allclose(line.get_xdata(), false)
        assert_allclose(line.get_ydata(), true)
        assert label == f"{name}, AUC {areas[name, 'malignant']:.2f}"


def test_precision_recall_curves_of_three_classes(three):
    (axis,) = three.plot("precision_recall").axes
    areas = three.per_class()["pr_auc", "mean"]["pipeline"]
    for i, (name, line, label) in enumerate(zip(three.target_names, axis.lines, legend_of(axis))):
        rows = three.predictions
        precision, recall, _ = precision_recall_curve(
            rows["target"] == i, rows[f"probability_{name}"]
        )
        assert_allclose(line.get_xdata(), recall)
        assert_allclose(line.get_ydata(), precision)
        assert label == f"{name}, AUC {areas[name]:.2f}"


def test_several_pipelines_have_a_panel_a_class():
    X, y, groups, _ = make_data(3)
    pipelines = {"SVM": SVC(), "logistic": LogisticRegression()}
    result = evaluate(pipelines, X, y, groups=groups, target_names=AWKWARD)
    axes = result.plot("roc").axes
    titles = [axis.get_title().replace("\n", " ") for axis in axes]
    assert titles == [f"{name} against the rest" for name in AWKWARD]
    assert [len(legend_of(axis)) for axis in axes] == [2, 2, 2]
    axes = result.plot("calibration").axes
    assert [legend_of(axis) for axis in axes] == [["logistic"]] * 3
    # The same colour in all figures.
    assert axes[0].lines[0].get_color() == result.plot("roc").axes[0].lines[1].get_color()
    assert len(result.plot("score_distributions").axes) == 6


def test_calibration(three):
    (axis,) = three.plot("calibration").axes
    rows = three.predictions
    seen, given = calibration_curve(
        rows["target"] == 1, rows["probability_malignant"], n_bins=6, strategy="quantile"
    )
    assert_allclose(axis.lines[1].get_xdata(), given)
    assert_allclose(axis.lines[1].get_ydata(), seen)


def test_score_distributions(binary):
    axes = binary.plot("score_distributions").axes
    assert [axis.get_title() for axis in axes[:2]] == ["SVM", "logistic"]
    rows = binary.predictions[binary.predictions["pipeline"] == "logistic"]
    benign = rows.loc[rows["target"] == 0, "probability_malignant"]
    counts = np.histogram(benign, np.linspace(0, 1, 21))[0]
    values, edges, _ = axes[1].patches[0].get_data()
    assert_allclose(values, counts / len(benign))
    assert edges[[0, -1]].tolist() == [0, 1]
    assert legend_of(axes[1]) == ["truly benign", "truly malignant"]


def test_intervals(binary):
    (axis,) = binary.plot("intervals").axes
    frame = binary.to_frame()
    for name, line, bars in zip(frame.index, axis.lines, axis.collections):
        values = frame.loc[name].unstack().loc[list(TITLES)]
        assert_allclose(line.get_xdata(), values["mean"])
        ends = [bar[:, 0] for bar in bars.get_segments() if len(bar)]
        assert_allclose(ends, values[["low", "high"]].dropna())
    assert legend_of(axis) == ["SVM", "logistic"]


def test_names_that_matplotlib_would_read(tmp_path):
    X, y, groups, _ = make_data(3)
    result = evaluate({"_a$": LogisticRegression()}, X, y, groups=groups, target_names=AWKWARD)
    assert legend_of(result.plot("calibration").axes[0]) == AWKWARD
    for name in ["confusion_matrices", "roc", "score_distributions"]:
        result.plot(name).savefig(tmp_path / "figure.png")


@pytest.mark.slow
def test_a_browser_has_no_complaints(browser, binary, tmp_path):
    write(binary, tmp_path, images=make_data()[-1], audit=Audit())
    page = browser.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator("svg").count() == 7
    assert complaints == []
