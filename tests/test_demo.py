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

from featbus import LBP, demo, make_breast_ultrasound
from featbus.demo import run_demo
from featbus.evaluation import Evaluation

NAMES = ["SVM", "random forest", "KNN", *(["XGBoost"] if find_spec("xgboost") else [])]
FILES = ["confusion_matrices.png", "predictions.csv", "scores.csv"]
STORE = "features.sqlite"
SMALL = {"cv": 2, "input_size": 56}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Write clear images of benign and malignant lesions, 20 each; return folder and groups."""
    data = make_breast_ultrasound(
        40, image_shape=(64, 80), weights=[1, 1, 0], contrast=2, random_state=0
    )
    root, files = tmp_path_factory.mktemp("data") / "lesions", []
    for index, (image, label) in enumerate(zip(data.images, data.target)):
        file = root / data.target_names[label] / f"{index:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), image)
        files.append(file.relative_to(root).as_posix())
    return root, pd.DataFrame({"file": files, "group": data.groups})


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory):
    """Compare the four classifiers; return the result, the folder, and what was printed."""
    output = tmp_path_factory.mktemp("out") / "a" / "b"
    with redirect_stdout(StringIO()) as printed:
        result = run_demo(folders[0], groups=folders[1], output=output, **SMALL)
    return result, output, printed.getvalue()


@pytest.fixture
def knn(monkeypatch, empty_figures):
    """Compare one classifier only, and draw no figures."""
    make = demo.classifier_pipelines
    monkeypatch.setattr(demo, "classifier_pipelines", lambda **parts: {"KNN": make(**parts)["KNN"]})


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_per_class(run):
    result, output, printed = run
    assert isinstance(result, Evaluation)
    assert result.pos_name == "malignant"
    assert result.to_frame().index.tolist() == NAMES
    # The SVM has no probabilities.
    assert not result.to_frame().drop(columns="brier", level=0).isna().any(axis=None)
    assert "lesions: 40 images in 20 groups (benign 20, malignant 20)" in printed
    assert "Features: 1485 columns" in printed
    assert str(result) in printed
    assert f"Wrote {', '.join(FILES)} to {output}" in printed
    assert "What balancing does" not in printed
    assert names_in(output) == sorted([*FILES, "report.html", STORE])
    assert cv2.imread(str(output / FILES[0])).shape[1] > 900
    predictions, scores = (pd.read_csv(output / name) for name in FILES[1:])
    assert predictions.groupby("pipeline").size().to_dict() == dict.fromkeys(NAMES, 40)
    truth = [image.split("/")[-2] for image in predictions["image"].str.replace("\\", "/")]
    assert predictions["target"].tolist() == truth
    assert set(predictions["predicted"]) == {"benign", "malignant"}
    assert predictions["image"].str.match(r"^(benign|malignant)/").all()
    pd.testing.assert_frame_equal(scores, result.scores)


@pytest.mark.usefixtures("knn")
def test_the_next_run_starts_from_the_kept_features(tmp_path, folders, run, monkeypatch):
    shutil.copy(run[1] / STORE, tmp_path)

    def fail(self, image):
        raise AssertionError("computed again")

    monkeypatch.setattr(LBP, "_extract", fail)
    again = run_demo(folders[0], groups=folders[1], output=tmp_path, verbose=False, **SMALL)
    first = run[0].predictions.query("pipeline == 'KNN'")
    columns = ["index", "fold", "target", "predicted"]
    assert_array_equal(first[columns], again.predictions[columns])


def test_what_cannot_be_evaluated_is_refused_before_any_feature(tmp_path, folders, monkeypatch):
    monkeypatch.setattr("featbus.commands._files.FeatureBus", None)  # would compute the features
    output, (data, groups) = tmp_path / "out", folders
    few = groups.assign(group=groups["group"] // 2 % 4)
    with pytest.raises(ValueError, match="cv is 5, and the class 'benign' has 4 of the groups"):
        run_demo(data, groups=few, output=output)
    with pytest.raises(ValueError, match="pos_label is 'cyst', expected one of"):
        run_demo(data, groups=groups, pos_label="cyst", output=output)
    shutil.copytree(data / "benign", tmp_path / "data" / "benign")
    with pytest.raises(ValueError, match="'benign'"):
        run_demo(tmp_path / "data", groups=groups, output=output)
    assert not output.exists()


@pytest.mark.usefixtures("knn")
@pytest.mark.network
@pytest.mark.parametrize(
    ("options", "n_columns"),
    [
        pytest.param({}, 2 * (96 + 192 + 1280), marks=pytest.mark.slow),
        ({"layers": "top", "pooling": ["avg"], "input_size": 56}, 1280),
    ],
)
def test_a_backbone_adds_its_features(tmp_path, folders, capsys, options, n_columns):
    run_demo(
        folders[0],
        groups=folders[1],
        backbone="mobilenet_v2",
        backbone_options={"alpha": 0.35},
        weights=None,
        output=tmp_path / "out",
        cv=2,
        **options,
    )
    assert f"Features: {1485 + n_columns} columns" in capsys.readouterr().out


@pytest.mark.usefixtures("knn")
def test_what_balancing_does_is_shown_where_classes_differ_in_size(tmp_path, folders, capsys):
    shutil.copytree(folders[0], tmp_path / "data")
    for image in sorted((tmp_path / "data" / "malignant").iterdir())[:4]:
        image.unlink()
    run_demo(tmp_path / "data", groups=folders[1], output=tmp_path / "out", **SMALL)
    printed = capsys.readouterr().out.partition("What balancing does to a logistic regression")[2]
    table = printed.partition("Accuracy  Balanced accuracy  ROC AUC  Brier score\n")[2]
    rows = table.splitlines()[:3]
    names = ["SMOTE", "class weights", "no balancing"]
    assert [row.partition("  ")[0] for row in rows] == names
    table = pd.read_csv(tmp_path / "out" / "balancing.csv")
    assert table["pipeline"].unique().tolist() == names
    shown = table.groupby("pipeline")["brier"].mean()["no balancing"]
    assert float(rows[2].split()[-1]) == pytest.approx(shown, abs=6e-4)
    run_demo(folders[0], groups=folders[1], output=tmp_path / "out", **SMALL)
    assert not (tmp_path / "out" / "balancing.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": "groups.csv"}, "groups is 'groups.csv'"),
        ({"weights": "weights.h5"}, "backbone is None, .*'weights.h5'"),
        ({"layers": "C4", "pooling": ["max"]}, r"backbone is None, .*'C4'.*\['max'\]"),
        ({"input_size": 6}, "input_size is 6"),
        ({"cv": "five"}, "cv is 'five'"),
        ({"cv": [([0], [1])], "on_error": "skip"}, "positions change when images are"),
        ({"data": "no-such-folder"}, "no-such-folder"),
    ],
)
def test_what_is_refused(tmp_path, options, message):
    with pytest.raises((ValueError, OSError), match=message):
        run_demo(output=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("knn")
def test_failure_leaves_earlier_files_whole(tmp_path, folders, monkeypatch):
    output = tmp_path / "out"
    output.mkdir()
    for name in FILES:
        (output / name).write_text("earlier")

    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(OSError, match="No space"):
        run_demo(folders[0], groups=folders[1], output=output, verbose=False, **SMALL)
    assert names_in(output) == sorted([*FILES, STORE])
    assert all((output / name).read_text() == "earlier" for name in FILES)


@pytest.mark.slow
def test_the_default_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    result = run_demo(n_jobs=2)
    means = result.to_frame().xs("mean", axis=1, level=1)
    assert means.index.tolist() == NAMES
    assert (means["accuracy"] > 0.6).all()
    assert (means["roc_auc"] > 0.8).all()
    assert names_in(tmp_path / "featbus-demo") == sorted([*FILES, "report.html", STORE])
    again = run_demo(output=tmp_path / "again", verbose=False)
    pd.testing.assert_frame_equal(result.predictions, again.predictions)


@pytest.mark.slow
@pytest.mark.network
def test_busi_with_a_network(tmp_path):
    busi = data_dir("busi")
    result = run_demo(
        busi,
        groups=busi / "groups.csv",
        backbone="mobilenet_v2",
        backbone_options={"alpha": 0.35},
        weights=data_dir("weights") / "mobilenet_v2_0.35_224_no_top.weights.h5",
        output=tmp_path,
        n_jobs=2,
    )
    means = result.to_frame().xs("mean", axis=1, level=1)
    assert means.index.tolist() == NAMES
    assert (means["accuracy"] > 0.72).all()
    assert (means["roc_auc"] > 0.86).all()
    assert (result.predictions.groupby(["pipeline", "group"])["fold"].nunique() == 1).all()
