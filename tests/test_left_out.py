"""Images that cannot be read: listed all at once, or left out and said so."""

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch
from test_commands import write_image

import featbus.io
from featbus import commands, load
from featbus.commands._data import leave_out
from featbus.datasets import load_image_folder
from featbus.demo import run_demo
from featbus.images import ImageError, ImageErrors
from featbus.persistence import read_card

BAD = ["benign/06.png", "malignant/11.png", "malignant/31.png"]
LEFT_OUT = "3 of 50 images left out: they cannot be used."


def write_scans(root, n_images=50, parts=("",)):
    """Write images of two classes, told apart by their brightness, two of each patient."""
    rng = np.random.default_rng(0)
    files = []
    for index in range(n_images):
        kind = ("benign", "malignant")[index % 2]
        file = f"{parts[index % len(parts)]}{kind}/{index:02d}.png"
        image = rng.integers(0, 100 + 100 * (index % 2), (32, 32), np.uint8)
        write_image(root / file, cv2.resize(image, (48, 48)))
        files.append(file)
    return pd.DataFrame({"file": files, "group": [index // 4 for index in range(n_images)]})


@pytest.fixture(autouse=True)
def few(few_permutations, empty_figures):
    """Audits and figures are not what these tests are about."""


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Write 50 images, three of which are truncated; return the folder and the groups."""
    root = tmp_path_factory.mktemp("scans")
    groups = write_scans(root)
    for file in BAD:
        (root / file).write_bytes((root / file).read_bytes()[:200])
    return root, groups


OPTIONS = {"backbone": None, "n_features": 20, "classifier": "knn"}
FUSION = {"recipe": "fusion", "options": OPTIONS, "cv": 2}


@pytest.mark.parametrize(
    "run",
    [
        lambda data, folder, **known: commands.audit(data, **known),
        lambda data, folder, **known: run_demo(data, output=folder, input_size=32, **known),
        lambda data, folder, **known: commands.evaluate(data, **FUSION, **known),
        lambda data, folder, **known: commands.train(
            data, output=folder / "model.skops", **FUSION, **known
        ),
    ],
    ids=["audit", "demo", "evaluate", "train"],
)
def test_one_error_lists_all_bad_images(scans, tmp_path, run):
    with pytest.raises(ImageErrors) as caught:
        run(scans[0], tmp_path, groups=scans[1])
    text = str(caught.value)
    assert "3 of 50 images cannot be used:" in text
    assert all(file.split("/")[1] in text for file in BAD)
    assert "on_error='skip'" in text
    assert [error.index for error in caught.value.errors] == [3, 30, 40]
    assert {path.name for path in tmp_path.iterdir()} <= {"features.sqlite"}


def test_an_audit_goes_on_with_the_rest(scans, capsys):
    report = commands.audit(scans[0], groups=scans[1], cv=2, on_error="skip", verbose=True)
    assert len(report.suggested_groups) == 47
    assert report.protocol.startswith("47 samples in 13 groups (benign 24, malignant 23)")
    printed = capsys.readouterr().out
    for text in (report.protocol, str(report.to_dict()), report._repr_html_(), printed):
        text = " ".join(text.split())
        assert LEFT_OUT.removesuffix(".") in text
        assert all(file in text for file in BAD)


@pytest.fixture
def quick(monkeypatch):
    """Compare one quick classifier in the place of four."""
    monkeypatch.setattr(
        "featbus.demo.classifier_pipelines",
        lambda features, random_state: {"KNN": make_pipeline(features, KNeighborsClassifier(3))},
    )


@pytest.mark.usefixtures("quick")
def test_a_demo_goes_on_with_the_rest(scans, tmp_path, capsys):
    options = {"output": tmp_path, "cv": 2, "on_error": "skip", "input_size": 32}
    result = run_demo(scans[0], groups=scans[1], **options)
    assert result.protocol.startswith("47 samples in 13 groups (benign 24, malignant 23)")
    assert LEFT_OUT in result.protocol
    printed = capsys.readouterr().out
    assert all(f"  {file}: the PNG file" in printed for file in BAD)
    tested = pd.read_csv(tmp_path / "predictions.csv")["image"]
    assert tested.nunique() == 47
    assert not set(tested) & set(BAD)
    groups = result.predictions.set_index(tested)["group"]
    assert groups["benign/08.png"] == groups["malignant/09.png"]


@pytest.mark.slow
def test_a_training_goes_on_with_the_rest(scans, tmp_path, capsys):
    output = tmp_path / "model.skops"
    options = {"groups": scans[1], "on_error": "skip", "verbose": True}
    evaluation, audit_report = commands.train(scans[0], output=output, **FUSION, **options)
    assert len(evaluation.predictions) == 47
    card, page = read_card(output), (tmp_path / "model.report.html").read_text(encoding="utf-8")
    for text in (evaluation.protocol, card["protocol"], page):
        assert LEFT_OUT in text
    assert LEFT_OUT.replace(".", f" ({', '.join(map(repr, BAD))}).") in audit_report.protocol
    assert (card["data"]["images"], card["data"]["left_out"]) == (47, 3)
    assert not any(file.split("/")[1] in str(card) for file in BAD)
    assert f"{LEFT_OUT}\n  {BAD[0]}: " in capsys.readouterr().out


def test_nothing_is_read_twice_unless_it_has_to_be(scans, tmp_path, monkeypatch):
    groups = write_scans(tmp_path)
    reads = []
    read = featbus.io._readers.read_content
    monkeypatch.setattr(
        "featbus.io._readers.read_content",
        lambda *given: reads.append(given[0].name) or read(*given),
    )
    commands.audit(tmp_path, groups=groups, cv=2, on_error="skip")
    assert len(reads) == len(set(reads)) == 50


@pytest.mark.parametrize(
    ("parts", "failed", "empty"),
    [
        (("",), "benign/*", "the class 'benign'"),
        (("train/", "train/", "test/", "test/"), "test/*/*", "the test part"),
    ],
)
def test_what_becomes_empty_is_named(tmp_path, parts, failed, empty):
    write_scans(tmp_path / "scans", 48, parts)
    for path in (tmp_path / "scans").glob(failed):
        path.write_bytes(b"")
    for run in (
        lambda data: commands.audit(data, on_error="skip"),
        lambda data: run_demo(data, output=tmp_path / "out", on_error="skip"),
        lambda data: commands.evaluate(data, recipe="fusion", options=OPTIONS, on_error="skip"),
    ):
        with pytest.raises(ValueError, match=f"no image that can be used in {empty}"):
            run(tmp_path / "scans")


def test_all_fields_stay_in_step():
    data = Bunch(
        images=np.array(["a", "b", "c", "d"], object),
        target=np.array([0, 0, 1, 1]),
        groups=None,
        masks=np.array([None, "m", None, None], object),
        frame=pd.DataFrame({"file": ["a", "b", "c", "d"]}),
        cv=PredefinedSplit([-1, -1, 0, 0]),
    )
    left = leave_out(data, [ImageError("found nothing.", index) for index in (0, 3)], "skip")
    assert left.images.tolist() == left.frame["file"].tolist() == ["b", "c"]
    assert left.target.tolist() == [0, 1]
    assert left.groups is None
    assert left.masks.tolist() == ["m", None]
    assert left.cv.test_fold.tolist() == [-1, 0]
    assert left.left_out == ["a", "d"]


@pytest.mark.usefixtures("quick")
@pytest.mark.filterwarnings("ignore::featbus.datasets.GroupsWarning")
def test_a_given_split_is_the_cross_validation(tmp_path):
    write_scans(tmp_path / "scans", 60, parts=("train/", "train/", "test/", "val/", "train/"))
    data = load_image_folder(tmp_path / "scans")
    said = "Split as the folders are (train 36, validation 12, test 12 images): tested on test."
    result = run_demo(tmp_path / "scans", output=tmp_path / "out", input_size=32)
    assert said in result.protocol
    assert set(result.predictions["index"]) == set(np.flatnonzero(data.cv.test_fold == 0))
    for cv, n_splits in ((None, 1), (3, 3)):
        report = commands.audit(tmp_path / "scans", cv=cv)
        assert (said in report.protocol) == (cv is None)
        assert f"splits: {n_splits}" in report.protocol


@pytest.mark.filterwarnings("ignore::featbus.datasets.GroupsWarning", "ignore:Groups unknown")
def test_a_recipe_is_evaluated_on_the_given_split(tmp_path, capsys):
    files = write_scans(tmp_path, 60, parts=("train/", "train/", "test/"))["file"]
    (tmp_path / files[2]).write_bytes(b"")
    options = {"options": OPTIONS, "on_error": "skip", "verbose": True}
    result = commands.evaluate(tmp_path, recipe="fusion", **options)
    assert len(result.predictions) == 19
    assert "test 19 images): tested on test." in result.protocol
    assert "1 of 60 images left out: they cannot be used." in result.protocol
    printed = capsys.readouterr().out
    assert "test 20 images): tested on test." in printed
    assert f"  {files[2]}: the file is empty" in printed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_saved_model_of_a_given_split_is_the_tested_one(tmp_path):
    groups = write_scans(tmp_path / "scans", 60, parts=("train/",) * 8 + ("test/",) * 4)
    options = {**FUSION, "cv": None, "groups": groups, "output": tmp_path / "model.skops"}
    result, _ = commands.train(tmp_path / "scans", **options)
    tested, data = result.predictions, load_image_folder(tmp_path / "scans")
    model = load(tmp_path / "model.skops")
    probabilities = model.predict_proba(data.images[tested["index"]])
    assert_allclose(probabilities[:, 1], tested["probability_malignant"], rtol=1e-6)
    card = read_card(tmp_path / "model.skops")
    assert (card["data"]["images"], card["data"]["tested_on"]) == (40, 20)
    assert card["data"]["classes"] == {"benign": 20, "malignant": 20}
    assert card["reference"]["images"] == 40
    said = "The saved model is the tested one, fitted on the 40 images of the training part."
    assert said in card["protocol"]
    assert said in (tmp_path / "model.report.html").read_text(encoding="utf-8")


def test_patients_on_both_sides_of_a_given_split_are_found_first(tmp_path, monkeypatch):
    groups = write_scans(tmp_path / "scans", 24, parts=("train/", "train/", "test/"))
    monkeypatch.setattr("featbus.bus.FeatureBus.fit_transform", None)
    with pytest.raises(ValueError, match="in both its training and its test part"):
        run_demo(tmp_path / "scans", groups=groups, output=tmp_path / "out")
    with pytest.raises(ValueError, match="in both its training and its test part"):
        commands.evaluate(tmp_path / "scans", groups=groups, **FUSION | {"cv": None})
    assert not commands.audit(tmp_path / "scans", groups=groups).passed


@pytest.mark.filterwarnings("ignore::featbus.datasets.GroupsWarning")
@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["benign/a.png"], "'benign'"),
        ([], "Found no folders in"),
        (["x/a.png", "x/b.png", "y/c.png"], "'y' has 1 of the samples"),
        (["x/a.png", "x/b.png", "y/c.png", "y/d.png"], "'x' has 2 of the samples"),
        ([f"P{n}/{film}.png" for n in range(21) for film in "RL"], "21 classes.* patients"),
    ],
)
def test_too_little_data_is_refused_first(tmp_path, files, message):
    data = tmp_path / "data"
    data.mkdir()
    for file in files:
        (data / file).parent.mkdir(exist_ok=True)
        (data / file).touch()  # reading it would be another error
    for run in (
        lambda: commands.audit(data),
        lambda: run_demo(data, output=tmp_path / "out"),
        lambda: commands.evaluate(data, **FUSION | {"cv": None}),
    ):
        with pytest.raises(ValueError, match=message):
            run()
