"""The main job from end to end."""

import shutil
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO

import cv2
import pandas as pd
import pytest
from _data import data_dir
from numpy.testing import assert_array_equal
from test_commands import write_scans

from featbus import LBP, demo
from featbus.demo import run_demo
from featbus.evaluation import Evaluation

NAMES = ["SVM", "random forest", "KNN", *(["XGBoost"] if find_spec("xgboost") else [])]
FILES = ["confusion_matrices.png", "predictions.csv", "scores.csv"]
COLUMNS = ["index", "fold", "target", "predicted", "probability_malignant"]
STORE = "features.sqlite"
SMALL = {"cv": 2, "input_size": 56}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Write 20 images of each of two classes; return folder and groups."""
    root = tmp_path_factory.mktemp("data") / "lesions"
    return root, write_scans(root, 40)


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory):
    """Compare the four classifiers; return the result, the folder, and what was printed."""
    output = tmp_path_factory.mktemp("out") / "a" / "b"
    with redirect_stdout(StringIO()) as printed, pytest.MonkeyPatch.context() as patch:
        patch.setattr("featbus.evaluation._report.draw_svg", lambda panel, key: "")
        result = run_demo(folders[0], groups=folders[1], output=output, **SMALL)
    return result, output, printed.getvalue()


@pytest.fixture
def knn(monkeypatch, empty_figures):
    """Compare one classifier only, and draw no figures."""
    make = demo.classifier_pipelines
    monkeypatch.setattr(demo, "classifier_pipelines", lambda **parts: {"KNN": make(**parts)["KNN"]})


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_per_class(folders, run):
    result, output, printed = run
    assert isinstance(result, Evaluation)
    assert result.pos_name == "malignant"
    assert result.to_frame().index.tolist() == [*NAMES, "chance"]
    # The SVM has no probabilities.
    assert not result.to_frame().filter(regex="^(?!brier)").isna().any(axis=None)
    assert "lesions: 40 images in 20 groups (benign 20, malignant 20)" in printed
    assert "Features: 1485 columns" in printed
    assert str(result) in printed
    assert printed.startswith(f"Computes features of the images in {folders[0]}, cross-validates")
    assert printed.splitlines()[-1].startswith(f"Open {output / 'report.html'} next")
    assert f"Wrote {', '.join(FILES)} to {output}" in printed
    assert "What balancing does" not in printed
    assert names_in(output) == sorted([*FILES, "report.html", STORE])
    assert cv2.imread(str(output / FILES[0])).shape[1] > 900
    predictions, scores = (pd.read_csv(output / name) for name in FILES[1:])
    assert predictions.groupby("pipeline").size().to_dict() == dict.fromkeys(NAMES, 40)
    assert predictions["target"].tolist() == predictions["image"].str.split("/").str[0].tolist()
    assert set(predictions["predicted"]) == {"benign", "malignant"}
    pd.testing.assert_frame_equal(scores, result.scores)


@pytest.mark.usefixtures("knn")
def test_the_next_run_starts_from_the_kept_features(tmp_path, folders, run, monkeypatch):
    shutil.copy(run[1] / STORE, tmp_path)

    def fail(self, image):
        raise AssertionError("computed again")

    monkeypatch.setattr(LBP, "_extract", fail)
    again = run_demo(folders[0], groups=folders[1], output=tmp_path, verbose=False, **SMALL)
    first = run[0].predictions.query("pipeline == 'KNN'")
    assert_array_equal(first[COLUMNS], again.predictions[COLUMNS])


def test_what_cannot_be_evaluated_is_refused_before_any_feature(tmp_path, folders, monkeypatch):
    monkeypatch.setattr("featbus.commands._files.FeatureBus", None)  # would compute the features
    data, groups = folders
    few = groups.assign(group=groups.index // 2 % 4)
    for options, message in (
        ({"groups": few}, "cv is 5, and the class 'benign' has 4 of the groups"),
        ({"groups": groups, "pos_label": "cyst"}, "pos_label is 'cyst', expected one of"),
    ):
        with pytest.raises(ValueError, match=message):
            run_demo(data, output=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("knn")
@pytest.mark.network
@pytest.mark.parametrize(
    ("options", "n_columns"),
    [({}, 2 * (64 + 128 + 128)), ({"layers": "top", "pooling": ["avg"]}, 128)],
)
def test_a_backbone_adds_its_features(tmp_path, folders, capsys, options, n_columns):
    network = {"backbone": "small_cnn", "weights": None}
    run_demo(folders[0], groups=folders[1], output=tmp_path, **SMALL, **network, **options)
    assert f"Features: {1485 + n_columns} columns" in capsys.readouterr().out


@pytest.mark.usefixtures("knn")
def test_what_balancing_does_is_shown_where_classes_differ_in_size(tmp_path, folders, capsys):
    shutil.copytree(folders[0], tmp_path / "data")
    for image in sorted((tmp_path / "data" / "malignant").rglob("*.png"))[:4]:
        image.unlink()
    options = {"groups": folders[1], "output": tmp_path / "out", **SMALL}
    run_demo(tmp_path / "data", **options)
    printed = capsys.readouterr().out.partition("What balancing does to a logistic regression")[2]
    rows = printed.partition("Accuracy  Balanced accuracy  ROC AUC  Brier score\n")[2]
    shown = {row.partition("  ")[0]: float(row.split()[-1]) for row in rows.splitlines()[:3]}
    table = pd.read_csv(tmp_path / "out" / "balancing.csv")
    expected = table.groupby("pipeline", sort=False)["brier"].mean().to_dict()
    assert list(expected) == ["SMOTE", "class weights", "no balancing"]
    assert shown == pytest.approx(expected, abs=6e-4)
    run_demo(folders[0], **options)
    assert not (tmp_path / "out" / "balancing.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": "groups.csv"}, "groups is 'groups.csv'"),
        ({"layers": "C4", "pooling": ["max"]}, r"backbone is None, .*'C4'.*\['max'\]"),
        ({"input_size": 6}, "input_size is 6"),
        ({"cv": [([0], [1])], "on_error": "skip"}, "positions change when images are"),
        ({"data": "no-such-folder"}, "no-such-folder"),
    ],
)
def test_what_is_refused(tmp_path, options, message):
    with pytest.raises((ValueError, OSError), match=message):
        run_demo(output=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("empty_figures")
def test_the_default_demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    means = run_demo(cv=2).to_frame().drop("chance")
    assert means.index.tolist() == NAMES
    assert (means["accuracy"] > 0.6).all()
    assert (means["roc_auc"] > 0.8).all()
    assert names_in(tmp_path / "featbus-demo") == sorted([*FILES, "report.html", STORE])


@pytest.mark.slow
@pytest.mark.usefixtures("knn")
def test_another_run_gives_the_same_predictions(tmp_path, folders, run):
    options = {"output": tmp_path, "n_jobs": 2, "verbose": False, **SMALL}
    again = run_demo(folders[0], groups=folders[1], **options).predictions
    first = run[0].predictions.query("pipeline == 'KNN'")
    assert_array_equal(first[COLUMNS], again[COLUMNS])


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.usefixtures("empty_figures")
def test_busi_with_a_network(tmp_path):
    table = pd.read_csv(data_dir("busi") / "groups.csv").groupby("class").head(60)
    groups = pd.DataFrame({"file": table["class"] + "/" + table["file"], "group": table["group"]})
    for file in groups["file"]:
        (tmp_path / "busi" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data_dir("busi") / file, tmp_path / "busi" / file)
    result = run_demo(
        tmp_path / "busi",
        groups=groups,
        backbone="mobilenet_v2",
        backbone_options={"alpha": 0.35},
        weights=data_dir("weights") / "mobilenet_v2_0.35_224_no_top.weights.h5",
        layers="C5",
        pooling="avg",
        input_size=160,
        output=tmp_path / "out",
        cv=3,
    )
    means = result.to_frame().drop("chance")
    assert means.index.tolist() == NAMES
    assert (means["accuracy"] > 0.64).all()
    assert (means["roc_auc"] > 0.84).all()
    assert (result.predictions.groupby(["pipeline", "group"])["fold"].nunique() == 1).all()
