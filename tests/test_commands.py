"""From a folder of images to a table of features, a model file and predictions."""

import json
import sys
import warnings
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils import Bunch

from featbus import (
    LBP,
    BIRADSFeatures,
    FeatureBus,
    ImageFunction,
    IntensityStatistics,
    ShapeStatistics,
    commands,
    load,
    load_masked,
)
from featbus.commands._audit import describe_audit
from featbus.commands._data import fit_to_data, load_labeled
from featbus.commands._train import _count_calls, _fit
from featbus.datasets import load_dataset, load_image_folder
from featbus.evaluation import Evaluation
from featbus.io import read_image, read_item
from featbus.masks import with_mask
from featbus.persistence import read_card
from featbus.recipes import make_recipe

INFO = ["path", "group", "class", "mask", "spacing_row", "spacing_column", "error"]


def write_image(path, image):
    """Write a PNG file; OpenCV does not write to every path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def options_of(data=None, **others):
    return SimpleNamespace(
        **{"data": data, "masks": None, "groups": None, "strict": False} | others
    )


def texture(seed, is_bright, shape=(40, 48)):
    rng = np.random.default_rng(seed)
    return rng.integers(100 * is_bright, 100 + 100 * is_bright, shape, np.uint8)


def write_scans(root, n_images=6):
    """Write images of two classes, told apart by their brightness; return the groups."""
    files = []
    for index in range(n_images):
        kind = ("benign", "malignant")[index % 2]
        file = f"{kind}/patiënt {index // 2}/scan {index}.png"
        write_image(root / file, texture(index, index % 2, (40 + index, 48)))
        files.append(file)
    return pd.DataFrame({"file": files, "group": [f"p{index // 2}" for index in range(n_images)]})


@pytest.fixture
def scans(tmp_path):
    write_scans(tmp_path / "my scäns")
    return tmp_path / "my scäns"


def columns_of(table):
    return [name for name in table if name not in INFO]


def test_one_row_per_image_and_one_column_per_feature(scans):
    table = commands.extract(scans, ["lbp", "intensity"])
    data = load_image_folder(scans, groups=lambda path: path.name)
    expected = LBP().set_output(transform="pandas").fit_transform(data.images)
    names = [*expected, *IntensityStatistics().get_feature_names_out()]
    assert list(table) == ["path", "class", "error", *names]
    assert table["path"].tolist() == data.frame["file"].tolist()
    assert table["class"].tolist() == ["benign"] * 3 + ["malignant"] * 3
    assert table["error"].isna().all()
    pd.testing.assert_frame_equal(table[list(expected)], expected)


def test_groups_of_a_table(scans, tmp_path):
    groups = write_scans(scans)
    groups.to_csv(tmp_path / "groups.csv", index=False)
    table = commands.extract(scans, ["intensity"], groups=tmp_path / "groups.csv")
    order = groups.set_index("file").loc[table["path"], "group"]
    assert table["group"].tolist() == order.tolist()
    groups["similar_groups"] = ["", "", "p0", "", "", ""]
    table = commands.extract(scans, ["intensity"], groups=groups)
    assert table["group"].tolist() == ["p0", "p0", "p2"] * 2
    assert "origin" not in table
    table = commands.extract(scans, ["intensity"], groups=groups.assign(origin="near-duplicates"))
    assert table["origin"].tolist() == ["near-duplicates"] * 6


def write_busi(root):
    for kind in ("benign", "malignant", "normal"):
        for number in (1, 2):
            stem = root / kind / f"{kind} ({number})"
            mask = np.zeros((40, 48), np.uint8)
            if kind != "normal":
                mask[5 : 10 + 5 * number, 5:30] = 255
            write_image(stem.with_name(f"{stem.name}.png"), texture(number, kind != "benign"))
            write_image(stem.with_name(f"{stem.name}_mask.png"), mask)
    other = np.zeros((40, 48), np.uint8)
    other[30:35, 30:35] = 255
    write_image(root / "benign" / "benign (1)_mask_1.png", other)


def test_classes_are_chosen(tmp_path):
    write_busi(tmp_path / "busi")
    dataset = load_labeled(options_of(tmp_path / "busi", classes="normal, malignant"))
    assert dataset.target_names == ["malignant", "normal"]
    assert dataset.target.tolist() == [0, 0, 1, 1]
    assert dataset.frame["class"].tolist() == ["malignant"] * 2 + ["normal"] * 2
    assert len(dataset.images) == len(dataset.masks) == len(dataset.groups) == 4
    assert dataset.groups.note.endswith("not patients")
    train = partial(commands.train, output=tmp_path / "model.skops")
    for command in (train, commands.evaluate):
        with pytest.raises(ValueError, match=r"classes has \['cyst'\], .*\['benign', 'mal"):
            command(tmp_path / "busi", classes="cyst")


def test_masks_of_busi(tmp_path, capsys):
    write_busi(tmp_path)
    table = commands.extract(tmp_path, ["shape", "intensity"], masks="_mask")
    assert table["path"].tolist()[:2] == ["benign/benign (1).png", "benign/benign (2).png"]
    assert table["mask"][0] == "benign (1)_mask.png;benign (1)_mask_1.png"
    assert table["error"].isna().tolist() == [True] * 4 + [False] * 2
    assert table["error"][4].startswith("found no mask or an empty one")
    assert table.iloc[4][columns_of(table)].isna().all()
    assert "group" not in table
    commands.extract(tmp_path, ["shape"], masks="_mask", verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("  2 images: found no mask or an empty one")
    assert lines[1].endswith("('normal/normal (1).png', 'normal/normal (2).png')")
    options = {"masks": "_mask", "classes": "benign, malignant"}
    pd.testing.assert_frame_equal(
        commands.extract(tmp_path, ["shape", "intensity"], **options), table[:4]
    )
    with pytest.raises(ValueError, match=r"classes has \['cyst'\], .*'malignant', 'normal'"):
        commands.extract(tmp_path, ["shape"], masks="_mask", classes=["benign", "cyst"])
    busi = load_dataset(tmp_path, groups="near-duplicates")
    images = load_masked(busi, busi.target < 2)
    assert_allclose(table["shape_area"][:4], ShapeStatistics().transform(images)[:, 1])
    rows = commands.extract(tmp_path, "birads", **options).filter(like="birads_")
    assert_allclose(rows, BIRADSFeatures().transform(images))
    whole = commands.extract(tmp_path, ["intensity"])
    assert "mask" not in whole
    assert (whole["intensity_mean"] != table["intensity_mean"])[:4].all()


def test_a_mask_that_changes_gives_another_row(tmp_path):
    sizes, mask = {"a": 10, "b": 20}, np.zeros((40, 48), np.uint8)
    for name, size in sizes.items():
        write_image(tmp_path / f"{name}.png", texture(0, False))
        mask[:size, :size] = 255
        write_image(tmp_path / f"{name}_mask.png", mask)
    options = {"masks": "_mask", "memory": tmp_path / "rows.sqlite"}
    first = commands.extract(tmp_path, ["shape"], **options)
    assert first["shape_area"].tolist() == [100, 400]  # of equal images
    write_image(tmp_path / "a_mask.png", mask)
    assert commands.extract(tmp_path, ["shape"], **options)["shape_area"].tolist() == [400, 400]


def test_bad_files_are_listed(scans, tmp_path, capsys):
    (scans / "benign" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (scans / "benign" / "no image.png").write_text("a text")
    (scans / "malignant" / "empty").mkdir()
    (scans / "Info.txt").write_text("a text")
    output = tmp_path / "features.csv"
    with pytest.warns(UserWarning, match=r"Left out 1 file\(s\) .*'Info.txt'"):
        table = commands.extract(scans, ["intensity"], output=output, verbose=True)
    failed = table[table["error"].notna()]
    assert failed["path"].tolist() == ["benign/broken.png", "benign/no image.png"]
    assert "unknown content" in failed["error"].tolist()[1]
    assert failed[columns_of(table)].isna().all(axis=None)
    head, *lines, last = capsys.readouterr().out.splitlines()
    assert head == f"6 of 8 images with 28 features in {output}"
    assert last.startswith("Groups unknown")
    assert f"featbus audit '{scans}' --output groups.csv; then --groups groups.csv" in last
    assert lines == [f"  {row.path}: {row.error}" for row in failed.itertuples()]
    assert pd.read_csv(output)["error"].notna().tolist() == table["error"].notna().tolist()


def test_files(scans, monkeypatch):
    monkeypatch.chdir(scans)
    files = ["malignant/patiënt 0/scan 1.png", "benign/patiënt 1/scan 2.png", "gone.png"]
    table = commands.extract(files, ["intensity"])
    assert table["path"].tolist() == files
    assert "class" not in table
    assert "there is no such file" in table["error"][2]
    assert commands.extract(files[0], ["intensity"])["path"].tolist() == ["scan 1.png"]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_formats(scans, tmp_path, ending):
    output = tmp_path / f"features{ending}"
    output.write_text("earlier")
    (scans / "benign" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    table = commands.extract(scans, ["lbp"], output=output)
    names = columns_of(table)
    again = (pd.read_csv if ending == ".csv" else pd.read_parquet)(output)
    assert list(again) == list(table)
    assert_allclose(again[names], table[names], rtol=1e-6)
    assert again["path"].tolist() == table["path"].tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == [output.name, scans.name]


def test_spreadsheets_take_no_cell_for_a_formula(tmp_path):
    write_image(tmp_path / "=1+1" / "a.png", texture(0, False))
    commands.extract(tmp_path, ["intensity"], output=tmp_path / "features.csv")
    again = pd.read_csv(tmp_path / "features.csv")
    assert again.loc[0, ["path", "class"]].tolist() == ["'=1+1/a.png", "'=1+1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ["hog", "sift"]}, "features is .*'sift'"),
        ({"features": "no recipe"}, "'no recipe'.* 'fusion'"),
        ({"features": "glmc"}, "Did you mean 'glcm'"),
        ({"data": "my scäns/benign/patiënt 0", "classes": "x"}, "of classes: there are none"),
        ({"features": "gldm"}, "Did you mean 'ngldm'"),
        ({"options": {"bin_width": 0.1}}, "options is {'bin_width': 0.1}, .*one of features"),
        ({"features": LBP(), "options": {"radius": 2}}, "options is {'radius': 2}"),
        ({"features": "glcm", "options": {"sides": 3}}, "'sides'.*GLCM.*bin_width"),
        ({"features": "glcm", "options": {"levels": 0}}, "levels is 0"),
        pytest.param({"features": "small_cnn"}, "learns its features", marks=pytest.mark.network),
        ({"features": "lbp,shape"}, "mask"),
        ({"features": "birads"}, "masks is None, .*'birads'"),
        ({"output": "features.xls"}, "output is 'features.xls'"),
        ({"output": "none/a.csv"}, "none/a.csv"),
        ({"n_jobs": "two"}, "n_jobs is 'two'"),
    ],
)
def test_what_extract_refuses(scans, monkeypatch, options, message):
    monkeypatch.chdir(scans.parent)
    with pytest.raises((ValueError, OSError), match=message):
        commands.extract(**({"data": scans} | options))
    assert [path.name for path in scans.parent.iterdir()] == [scans.name]


def test_parquet_without_its_package_is_refused_first(scans, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"featbus(-slim)?\[parquet\]"):
        commands.extract(scans, output=tmp_path / "features.parquet")


@pytest.mark.parametrize(
    ("features", "options", "n_columns"),
    [
        ("fusion", {"backbone": None}, 1485),
        ("hog, lbp", None, 1296 + 10),
        ("hog", {"orientations": 3}, 1296 // 3),
    ],
)
def test_features_by_name(scans, features, options, n_columns):
    table = commands.extract(scans, features, options=options)
    assert len(columns_of(table)) == n_columns


def test_spacing_of_dicom_files(scans, tmp_path):
    from test_spacing import write

    write(tmp_path / "scan.dcm", PixelSpacing=[0.1, 0.2])
    write_image(tmp_path / "a.png", texture(0, False))
    table = commands.extract([tmp_path / "a.png", tmp_path / "scan.dcm"], ["intensity"])
    assert_array_equal(table["spacing_row"], [np.nan, 0.1])
    assert_array_equal(table["spacing_column"], [np.nan, 0.2])
    assert table["error"].notna().tolist() == [False, True]  # it has no pixels


FEW = {"backbone": None, "n_features": 20}


def train_few(folder, output, **options):
    """Train in two folds on the scans in a folder."""
    few = {"recipe": "fusion", "cv": 2, "groups": folder / "groups.csv", "options": FEW}
    return commands.train(**{"data": folder / "scans", "output": output} | few | options)


@pytest.fixture(scope="module", autouse=True)
def few():
    """Audits and figures are not what these tests are about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featbus.model_selection._shortcuts._PERMUTATIONS", 50)
        patch.setattr("featbus.model_selection._shortcuts._RESAMPLES", 50)
        patch.setattr("featbus.evaluation._report.draw_svg", lambda panel, key: "")
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train on 24 images in 12 groups; return the folder of data and model, and the result."""
    folder = tmp_path_factory.mktemp("trained")
    write_scans(folder / "scans", 24).to_csv(folder / "groups.csv", index=False)
    return folder, train_few(folder, folder / "model.skops")


def test_train_writes_a_model_and_its_evaluation(trained):
    folder, (evaluation, audit) = trained
    names = {path.name for path in folder.iterdir()}
    assert names == {"groups.csv", "model.report.html", "model.scores.csv", "model.skops", "scans"}
    scores = pd.read_csv(folder / "model.scores.csv")
    assert_allclose(scores["accuracy"], evaluation.scores["accuracy"])
    assert "fusion on scans" in (folder / "model.report.html").read_text(encoding="utf-8")
    assert evaluation.has_groups
    assert evaluation.pos_name == "malignant"
    assert "12 groups" in audit.protocol
    assert evaluation.scores["roc_auc"].min() > 0.8


@pytest.fixture
def quick(trained, monkeypatch):
    """Take the audit of the training, and write a page in the place of the report."""
    audit = trained[1][1]
    monkeypatch.setattr("featbus.model_selection.audit", lambda *args, **options: audit)
    monkeypatch.setattr(Evaluation, "to_html", lambda self, path, **options: path.write_text("new"))


def test_the_card_says_what_the_model_is_and_no_path(trained):
    folder, (evaluation, audit) = trained
    card = read_card(folder / "model.skops")
    assert card["recipe"] == {"name": "fusion", "options": FEW, "random_state": 0}
    assert card["data"] == {
        "name": "one folder per class",
        "images": 24,
        "tested_on": 24,
        "left_out": 0,
        "classes": {"benign": 12, "malignant": 12},
        "groups": 12,
        "groups_note": None,
    }
    assert card["audit"] == audit.verdict
    assert card["positive_class"] == "malignant"
    table = evaluation.confusion_matrix()
    for name, call in card["calls"].items():
        right, number = table.loc[name, name], table[name].sum()
        assert call == {"right": right, "of": number, "unit": "images"}
    patients = SimpleNamespace(by="group", confusion_matrix=evaluation.confusion_matrix)
    assert {call["unit"] for call in _count_calls(patients).values()} == {"groups"}
    assert card["doubt"] == (evaluation.doubt or None)
    assert card["classes"] == ["benign", "malignant"]
    assert card["reference"]["images"] == 24
    accuracy = card["scores"]["accuracy"]
    assert accuracy["low"] <= accuracy["mean"] <= accuracy["high"]
    assert_allclose(accuracy["mean"], evaluation.scores["accuracy"].mean(), atol=1e-4)
    assert "scans" not in json.dumps(card)


def test_predictions_are_those_of_the_pipeline(trained):
    folder, _ = trained
    model = load(folder / "model.skops")
    table = commands.predict(folder / "model.skops", folder / "scans")
    probabilities = ["probability_benign", "probability_malignant"]
    doubts = ["distance", "out_of_distribution"]
    assert list(table) == ["path", "predicted", *probabilities, *doubts, "error"]
    assert table["error"].isna().all()
    assert not table["out_of_distribution"].any()
    card, first = read_card(folder / "model.skops"), read_image(folder / "scans" / table["path"][0])
    assert table["distance"][0] == commands.examine_image(model, card, first).distance
    paths = [str(folder / "scans" / path) for path in table["path"]]
    assert_allclose(table[probabilities], model.predict_proba(paths), atol=1e-6)
    names = np.array(["benign", "malignant"])[model.predict(paths)]
    assert table["predicted"].tolist() == names.tolist()


def test_several_folders_and_files_are_predicted(trained, tmp_path):
    folder, _ = trained
    scans = folder / "scans"
    given = [scans / "malignant", scans / "benign" / "patiënt 0" / "scan 0.png"]
    table = commands.predict(folder / "model.skops", given)
    whole = commands.predict(folder / "model.skops", scans)
    chosen = whole[whole["path"].str.startswith("malignant/")]
    chosen = pd.concat([chosen, whole[whole["path"] == "benign/patiënt 0/scan 0.png"]])
    assert len(table) == 13
    pd.testing.assert_frame_equal(table, chosen.reset_index(drop=True))


def test_foreign_images_are_counted(trained, tmp_path, capsys):
    x = np.linspace(0, 255, 90, dtype=np.uint8)
    for index in range(3):
        write_image(tmp_path / "new" / f"{index}.png", np.tile(np.roll(x, index), (80, 1)))
    write_image(tmp_path / "new" / "own.png", texture(30, True))
    table = commands.predict(trained[0] / "model.skops", tmp_path / "new", verbose=True)
    assert table["out_of_distribution"].tolist() == [True, True, True, False]
    printed = capsys.readouterr().out
    assert "3 of 4 images are unlike the training images" in printed
    same = table["predicted"].nunique() == 1
    assert ("All 4 images have the same class" in printed) == same
    commands.predict(trained[0] / "model.skops", [tmp_path / "new" / "own.png"] * 2, verbose=True)
    assert "All 2 images have the same class, malignant" in capsys.readouterr().out


def test_images_without_a_prediction_are_listed(trained, tmp_path, capsys):
    model = trained[0] / "model.skops"
    write_image(tmp_path / "new" / "día 1" / "a.png", texture(0, True))
    write_image(tmp_path / "new" / "b.png", texture(1, False))
    (tmp_path / "new" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    table = commands.predict(model, tmp_path / "new", verbose=True).set_index("path")
    assert table["predicted"].dropna().to_dict() == {"b.png": "benign", "día 1/a.png": "malignant"}
    assert table["error"].dropna().index.tolist() == ["broken.png"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 of 3 images with a prediction"
    assert lines[1].startswith("  broken.png: the PNG file")
    with pytest.raises(ValueError, match=r"No image .*broken\.png"):
        commands.predict(model, [tmp_path / "new" / "broken.png"])


@pytest.mark.parametrize("wrap", [False, True])
def test_pipelines_with_a_sampler_and_without_probabilities(scans, wrap):
    data = load_image_folder(scans, groups=lambda path: path.name)
    bus = FeatureBus(IntensityStatistics())
    model = make_sampling_pipeline(bus, SMOTE(k_neighbors=1), SVC())
    model = GridSearchCV(model, {"svc__C": [1, 10]}, cv=3) if wrap else model
    labels = np.array(["benign", "malignant"])[data.target]
    table = commands.predict(model.fit(data.images, labels), scans)
    assert list(table) == ["path", "predicted", "error"]
    assert table["predicted"].tolist() == model.predict(data.images).tolist() == labels.tolist()


def test_rows_of_nan_have_no_prediction(tmp_path):
    write_busi(tmp_path)

    def mask_bright(image):
        return with_mask(image, image > 150) if (image > 150).any() else image

    features = FeatureBus(ShapeStatistics(on_missing="nan"))
    steps = ImageFunction(mask_bright), features, StandardScaler(), LogisticRegression()
    names = [f"{kind}/{kind} ({i}).png" for kind in ("malignant", "normal") for i in (1, 2)]
    images = [str(tmp_path / name) for name in names]
    model = make_pipeline(*steps).fit(images, ["x", "x", "y", "y"])
    table = commands.predict(model, tmp_path)
    assert table["error"].isna().tolist() == [False] * 2 + [True] * 4
    assert table["error"][0].startswith("found features that are NaN")
    assert_allclose(table[["probability_x", "probability_y"]][2:], model.predict_proba(images))


class Bright(ClassifierMixin, BaseEstimator):
    """A classifier of images that has no steps."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.classes_[[int(read_item(x, i).mean() > 100) for i, x in enumerate(X)]]


@pytest.mark.usefixtures("quick")
def test_a_failure_leaves_the_earlier_model_and_its_report(trained, tmp_path, monkeypatch):
    names = ["model.report.html", "model.scores.csv", "model.skops"]
    for name in names:
        (tmp_path / name).write_text("earlier")

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("featbus.persistence.save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_few(trained[0], tmp_path / "model.skops")
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert {(tmp_path / name).read_text() for name in names} == {"earlier"}


@pytest.mark.xgboost
@pytest.mark.parametrize(("n_images", "n_neighbors"), [(13, 3), (30, 5)])
def test_smote_uses_the_neighbors_that_there_are(n_images, n_neighbors):
    target = np.repeat([0, 1], [n_images, 30])
    names = ["benign", "malignant"]
    frame = pd.DataFrame(index=range(len(target)))
    data = Bunch(target=target, target_names=names, groups=None, frame=frame)
    recipe = make_recipe("fusion", backbone=None, classifier="vote")
    with warnings.catch_warnings(record=True) as caught:
        fit_to_data(recipe, data, options_of(cv=2, random_state=0))
    found = [step.k_neighbors for step in recipe.get_params().values() if isinstance(step, SMOTE)]
    assert found == [n_neighbors] * 4
    assert len(caught) == (n_neighbors < 5)


def test_classes_too_small_to_calibrate_are_refused_first(tmp_path):
    write_scans(tmp_path / "scans", 24)
    for path in sorted((tmp_path / "scans" / "benign").rglob("*.png"))[8:]:
        path.unlink()
    with pytest.raises(ValueError, match="4 images of the class 'benign', too few"):
        train_few(tmp_path, tmp_path / "model.skops", groups=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "no recipe"}, "'no recipe'"),
        pytest.param(
            {"recipe": "unet_crop", "options": None, "weights": None},
            "masks is None",
            marks=pytest.mark.network,
        ),
        ({"options": {"depth": 3}}, "no such parameter"),
        ({"output": "model.html"}, r"output is 'model.html', expected .*\.skops"),
        ({"output": "none/model.skops"}, "none/model.skops"),
        ({"cv": 13}, "cv is 13, .*'benign' has 12"),
        ({"pos_label": "tumor"}, r"pos_label is 'tumor', .* \['benign', 'malignant'\]"),
        ({"data": "none"}, "Found no folder 'none'"),
    ],
)
def test_what_train_refuses_first(trained, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, OSError), match=message):
        train_few(trained[0], **({"output": "model.skops"} | options))
    assert not list(tmp_path.iterdir())


def test_what_predict_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.skops"):
        commands.predict(tmp_path / "none.skops", tmp_path)
    with pytest.raises(ValueError, match="output is 'a.npz'"):
        commands.predict("model.skops", tmp_path, "a.npz")
    (tmp_path / "model.skops").write_text("a text")
    with pytest.raises(ValueError, match=r"model\.skops"):
        commands.predict(tmp_path / "model.skops", tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_audit_can_be_left_out(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("featbus.model_selection.audit", None)
    output = tmp_path / "model.skops"
    _, audit = train_few(trained[0], output, audit=False, verbose=True)
    said = "No audit was made."
    assert audit is None
    assert said in capsys.readouterr().out.splitlines()
    assert read_card(output)["audit"] == said
    assert said in (tmp_path / "model.report.html").read_text(encoding="utf-8")
    write_scans(tmp_path / "scans", 24)
    (tmp_path / "scans" / "benign" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match="1 of 25 images cannot be used"):
        commands.evaluate(tmp_path / "scans", recipe="fusion", options=FEW, audit=False)


def test_warnings_of_the_audit_are_named(trained):
    checks = trained[1][1].checks.head(2).assign(severity=["ok", "warning"])
    head, line = describe_audit(replace(trained[1][1], checks=checks), None)
    assert head == "Audit passed: leaks: 0, warnings: 1"
    assert line == f"Warning, {checks['check'][1]}: {checks['finding'][1]}"


@pytest.mark.usefixtures("quick")
@pytest.mark.filterwarnings("ignore:Groups unknown", "ignore:The smallest class")
def test_a_number_as_positive_class_is_the_name_of_a_folder(tmp_path):
    for index in range(24):
        write_image(tmp_path / str(1 + index % 2) / f"{index}.png", texture(index, index % 2))
    options = {"recipe": "fusion", "cv": 2, "options": FEW}
    result = commands.evaluate(tmp_path, pos_label=1, **options)
    assert result.pos_name == "1"
    assert result.protocol.startswith("Groups unknown: every image counted as its own patient.")
    for name in (0, True, "3"):
        with pytest.raises(ValueError, match=rf"pos_label is {name!r}, expected .*\['1', '2'\]"):
            commands.evaluate(tmp_path, pos_label=name, **options)


def test_masks_reach_the_steps_that_request_them(tmp_path, monkeypatch):
    write_busi(tmp_path / "busi")
    asked = []

    class Recipe(Bright):
        def fit(self, X, y, masks=None, groups=None):
            asked.append((masks, groups))
            return super().fit(X, y)

    with config_context(enable_metadata_routing=True):
        recipe = Recipe().set_fit_request(masks=True, groups=True)
    dataset = load_labeled(options_of(tmp_path / "busi"))
    _fit(recipe, dataset, 0)
    _fit(recipe, Bunch(**{**dataset, "groups": None}), 0)
    (masks, groups), (again, unknown) = asked
    assert masks.tolist() == again.tolist() == dataset.masks.tolist()
    assert groups.tolist() == dataset.groups.tolist()
    assert unknown is None
