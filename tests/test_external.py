"""A saved model on other data, and groups and operating points on the command line."""

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from featbus import commands, load, make_breast_ultrasound
from featbus.cli import main
from featbus.commands._external import compare_scores
from featbus.datasets import load_image_folder
from featbus.evaluation import evaluate
from featbus.evaluation._operating_point import find_threshold
from featbus.persistence import read_card

pytestmark = pytest.mark.slow
OPTIONS = {"recipe": "fusion", "options": {"backbone": None, "n_features": 20}}


def write_hospital(root, seed, n=40):
    """Write images of two classes, two of each patient; return the table of groups and sites."""
    data = make_breast_ultrasound(n, weights=[1, 1, 0], random_state=seed)
    rows = []
    for index, (image, target, group) in enumerate(zip(data.images, data.target, data.groups)):
        file = f"{data.target_names[target]}/{index}.png"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / file), cv2.resize(image, (96, 96)))
        rows.append((file, f"p{group}", "AB"[group // 2 % 2]))
    return pd.DataFrame(rows, columns=["file", "group", "site"])


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    root = tmp_path_factory.mktemp("hospitals")
    tables = {
        name: write_hospital(root / name, seed) for seed, name in enumerate(("here", "there"))
    }
    model = root / "model.skops"
    options = OPTIONS | {"cv": 2, "by": "group", "sensitivity": 0.9}
    commands.train(root / "here", output=model, groups=tables["here"], **options)
    return root, tables, model


@pytest.fixture(scope="module")
def external(hospitals):
    root, tables, model = hospitals
    output = root / "there.html"
    options = {"groups": tables["there"], "by": "group", "output": output}
    result = commands.evaluate(root / "there", model=model, **options)
    return result, output.read_text(encoding="utf-8")


def test_scores_on_other_data_are_those_of_the_model(hospitals, external):
    root, tables, path = hospitals
    result, _ = external
    model, data = load(path), load_image_folder(root / "there", groups=tables["there"])
    options = {"groups": data.groups, "cv": "prefit"}
    expected = evaluate({"model": model}, data.images, data.target, by="group", **options)
    pd.testing.assert_frame_equal(result.scores, expected.scores)
    assert "Called malignant from" in result.protocol
    assert result.is_prefit
    assert "images are unlike the training images" in result.protocol


def test_scores_stand_beside_those_of_the_card(hospitals, external):
    result, page = external
    card = read_card(hospitals[2])
    (table,) = result.tables.values()
    row = table.set_index("score").loc["roc_auc"]
    assert row["card"] == card["scores"]["roc_auc"]["mean"]
    assert row["here"] == pytest.approx(result.scores["roc_auc"].item(), abs=1e-4)
    assert row["difference"] == pytest.approx(row["here"] - row["card"])
    assert "Beside the cross-validation of the card" in page
    assert "Calibration:" in page
    assert "decision curve" in page


def test_only_what_is_judged_alike_is_compared(hospitals, capsys):
    root, tables, model = hospitals
    options = {"groups": tables["there"], "verbose": True}
    result = commands.evaluate(root / "there", model=model, **options)
    assert not result.tables
    assert "The scores of the card are not compared: they are by group." in capsys.readouterr().out
    found = result.predictions.sort_values("index")["predicted"]
    data = load_image_folder(root / "there", groups=tables["there"])
    assert_array_equal(found, load(model).predict(data.images))
    with pytest.raises(ValueError, match="Found 'cv', 'sensitivity' beside a model"):
        commands.evaluate(root / "there", model=model, cv=3, sensitivity=0.9)


def test_the_interval_of_a_difference(external):
    result, _ = external
    (same,) = result.tables.values()
    known = {"roc_auc": {"mean": 0.5, "low": 0.4, "high": 0.7}, "brier": {"mean": None}}
    row = compare_scores(result, known).set_index("score").loc["roc_auc"]
    assert compare_scores(result, {}).empty
    assert len(same) > 1
    low, high = row["here"] - row["here_low"], row["here_high"] - row["here"]
    ends = row["difference"] - np.hypot(low, 0.2), row["difference"] + np.hypot(high, 0.1)
    assert_allclose([row["difference_low"], row["difference_high"]], ends)


def test_images_that_cannot_be_used(hospitals, tmp_path):
    root, _, model = hospitals
    table = write_hospital(tmp_path / "scans", 3, 12)
    (tmp_path / "scans" / table["file"][0]).write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    with pytest.raises(ValueError, match=r"1 of 12 images cannot be used"):
        commands.evaluate(tmp_path / "scans", model=model, groups=table)
    result = commands.evaluate(tmp_path / "scans", model=model, groups=table, on_error="skip")
    assert len(result.predictions) == 11
    assert "1 of 12 images left out" in result.protocol
    (tmp_path / "scans" / "malignant").rename(tmp_path / "scans" / "cancer")
    (tmp_path / "scans" / table["file"][0]).unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"classes 'cancer', expected those of the model"):
        commands.evaluate(tmp_path / "scans", model=model)
    with pytest.raises(ValueError, match="expected one\\."):
        commands.evaluate(root / "there", recipe="fusion", model=model)


def test_the_operating_point_is_in_the_card_and_used(hospitals):
    root, _, path = hospitals
    card, model = read_card(path), load(path)
    position, threshold = find_threshold(model)
    found = card["operating_point"]
    assert found["class"] == "malignant" == card["classes"][position]
    assert found["threshold"] == pytest.approx(threshold, abs=1e-4)
    assert "sensitivity of 0.9" in found["chosen_for"]
    table = commands.predict(path, root / "there")
    called = table["probability_malignant"] >= threshold
    assert_array_equal(table["predicted"] == "malignant", called)


def test_an_operating_point_needs_a_positive_class(tmp_path):
    groups = write_hospital(tmp_path, 3)
    for old, new in (("benign", "left"), ("malignant", "right")):
        (tmp_path / old).rename(tmp_path / new)
        groups["file"] = groups["file"].str.replace(old, new)
    with pytest.raises(ValueError, match=r"sensitivity is 0.9 and the classes are.*pass pos_label"):
        commands.evaluate(tmp_path, sensitivity=0.9, groups=groups, **OPTIONS)


def test_groups_of_two_classes_are_named(hospitals):
    root, tables, _ = hospitals
    mixed = tables["here"].copy()
    is_first = ~mixed["file"].str.split("/").str[0].duplicated()
    mixed["group"] = mixed["group"].mask(is_first, "woman 7")
    with pytest.raises(ValueError, match="1 groups have different classes, such as.*'woman 7'"):
        commands.evaluate(root / "here", groups=mixed, by="group", audit=False, **OPTIONS)


def test_predictions_of_groups(hospitals):
    root, tables, model = hospitals
    groups = tables["there"]
    images = commands.predict(model, root / "there").set_index("path")
    table = commands.predict(model, root / "there", by="group", groups=groups)
    assert table["n_images"].sum() == len(images)
    of_file = groups.set_index("file")["group"].loc[images.index]
    means = images["probability_malignant"].groupby(of_file.to_numpy()).mean()
    found = table.set_index("group")
    assert_allclose(found["probability_malignant"].sort_index(), means)
    _, threshold = find_threshold(load(model))
    called = found["predicted"] == "malignant"
    assert_array_equal(called, found["probability_malignant"] >= threshold)
    unlike = images["out_of_distribution"].astype(int).groupby(of_file.to_numpy()).sum()
    assert_array_equal(found["out_of_distribution"].sort_index(), unlike)
    highest = commands.predict(model, root / "there", by="group", groups=groups, pool="max")
    maxima = images["probability_malignant"].groupby(of_file.to_numpy()).max()
    assert_allclose(highest.set_index("group")["probability_malignant"].sort_index(), maxima)
    with pytest.raises(ValueError, match="by is 'group' and groups is None"):
        commands.predict(model, root / "there", by="group")


def test_groups_with_failed_images(hospitals, tmp_path, capsys):
    table = write_hospital(tmp_path / "scans", 3, 8)
    table.to_csv(tmp_path / "groups.csv", index=False)
    none, some, *_ = table["group"].unique()
    failed = [*table["file"][table["group"] == none], table["file"][table["group"] == some].iloc[0]]
    for file in failed:
        (tmp_path / "scans" / file).write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    paths = [str(tmp_path / name) for name in ("scans", "groups.csv", "patients.csv")]
    options = ["--by", "group", "--groups", paths[1], "-o", paths[2]]
    assert main(["predict", str(hospitals[2]), paths[0], *options]) == 1
    printed = capsys.readouterr().out
    assert "5 of 8 images with a prediction (3 of 4 groups)" in printed
    assert all(file in printed for file in failed)
    found = pd.read_csv(paths[2]).set_index("group")
    assert found["n_images"][[none, some]].tolist() == [0, 1]
    assert found["error"].notna().sum() == 2
    assert found["error"][none].startswith("2 of 2 images: ")
    assert found["error"][some].startswith("1 of 2 images: ")


def test_one_site_at_a_time(hospitals, capsys):
    root, tables, _ = hospitals
    result = commands.evaluate(
        root / "here", groups=tables["here"], cv="site", verbose=True, **OPTIONS
    )
    assert result.predictions.groupby("fold")["site"].nunique().tolist() == [1, 1]
    assert result.by_subgroup()["value"].tolist() == ["A", "B"]
    assert "tested on one site at a time (2 in all)" in result.protocol
    assert "below" in capsys.readouterr().out
    with pytest.raises(ValueError, match="cv is 'hospital', expected a number of folds, or a col"):
        commands.evaluate(root / "here", groups=tables["here"], cv="hospital", **OPTIONS)
