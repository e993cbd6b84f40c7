"""The same features and classifier under honest and leaky protocols."""

import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from _data import data_dir
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from featbus import (
    FeatureBus,
    ImageAugmenter,
    IntensityStatistics,
    commands,
    compare_protocols,
    evaluate,
    make_breast_ultrasound,
)
from featbus.cli import main
from featbus.evaluation._protocols import PROTOCOLS

NAMES = [*PROTOCOLS]
HONEST, RANDOM, COPIES, MIXTURES, BOTH = NAMES


def pixels(images):
    """Return the pixels of small images as rows."""
    return np.stack([np.asarray(image, np.float32).ravel() for image in images])


FEATURES = FunctionTransformer(pixels)
NEAREST = KNeighborsClassifier(1)


def make_noise(n_groups, n_each, seed=0):
    """Return images that show which group they are of, and nothing about its random class."""
    rng = np.random.default_rng(seed)
    patterns = rng.random((n_groups, 8, 8))
    images = np.repeat(patterns, n_each, axis=0) * 0.8 + 0.01 * rng.random(
        (n_groups * n_each, 8, 8)
    )
    classes = rng.permutation(np.arange(n_groups) % 5 < 2).astype(int)
    return images, np.repeat(classes, n_each), np.repeat(np.arange(n_groups), n_each)


def accuracies(result):
    return result.to_frame()["accuracy"]


@pytest.fixture(scope="module")
def result():
    images, y, groups = make_noise(50, 3)
    names = ["benign", "malignant"]
    options = {"classifier": NEAREST, "n_copies": 1, "target_names": names}
    return compare_protocols(FEATURES, images, y, groups=groups, **options)


def test_where_there_is_nothing_to_learn_only_leaks_score(result):
    scores = accuracies(result)
    assert scores.index.tolist() == NAMES
    assert scores[HONEST] < 0.65
    assert scores[[RANDOM, MIXTURES]].min() > 0.95
    assert scores[[COPIES, BOTH]].min() > 0.75  # mirrored copies look like nothing else
    honest = result.to_frame().loc[HONEST]
    assert honest["roc_auc_low"] < 0.55
    assert "from the protocol alone" in result.summary()


def test_without_groups_of_several_images_only_copies_and_mixtures_leak():
    images, y, groups = make_noise(80, 1)
    options = {"groups": groups, "classifier": NEAREST, "n_copies": 5, "dihedral": 6}
    found = compare_protocols(IntensityStatistics(), images, y, **options)
    scores = accuracies(found)
    assert scores.index.tolist() == [HONEST, COPIES, MIXTURES, BOTH]
    assert scores[HONEST] < 0.65
    assert scores[[COPIES, BOTH]].min() > 0.98  # statistics are the same in all orientations


@pytest.mark.filterwarnings("ignore::featbus.groups.GroupsWarning")
def test_protocols_are_those_of_pipelines_with_the_same_steps():
    data = make_breast_ultrasound(48, image_shape=(96, 128), weights=[2, 1, 1], random_state=0)
    X, y, groups = data.images, data.target, data.groups
    augmenter, options = ImageAugmenter(2), {"cv": 3, "random_state": 0}
    found = compare_protocols(IntensityStatistics(), X, y, groups=groups, **options)
    smote = SMOTE(random_state=0)
    steps = FeatureBus(IntensityStatistics()), StandardScaler(), smote, SVC(C=10)
    inside, without = make_pipeline(augmenter, *steps), make_pipeline(*steps)
    expected = {
        HONEST: evaluate(inside, X, y, groups=groups, **options),
        RANDOM: evaluate(inside, X, y, **options),
        COPIES: evaluate(without, *augmenter.fit_resample(X, y), **options),
    }
    for name, evaluation in expected.items():
        columns = ["index", "fold", "target", "predicted"]
        columns += [column for column in evaluation.predictions if "decision" in column]
        pd.testing.assert_frame_equal(
            found.evaluations[name].predictions[columns], evaluation.predictions[columns]
        )
    wanted = expected[HONEST].to_frame().loc["pipeline"]
    pd.testing.assert_series_equal(found.to_frame().loc[HONEST], wanted, check_names=False)


def test_without_copies_and_with_equal_classes():
    images, y, groups = make_noise(20, 2)
    equal, options = np.arange(20).repeat(2) % 2, {"classifier": NEAREST, "n_copies": 0, "cv": 2}
    for labels, names in ((y, [HONEST, RANDOM, MIXTURES]), (equal, [HONEST, RANDOM])):
        found = compare_protocols(FEATURES, images, labels, groups=groups, **options)
        assert list(found.evaluations) == names
        assert "copies" not in found.protocol
    with pytest.raises(ValueError, match="No protocol can leak: .* n_copies=2"):
        compare_protocols(FEATURES, images[::2], equal[::2], groups=range(20), **options)


def test_without_groups_near_duplicates_are_found():
    data = make_breast_ultrasound(20, image_shape=(96, 128), weights=[3, 2, 0], random_state=0)
    images = [*data.images, *data.images[:, 2:, 2:]]
    y = np.tile(data.target, 2)
    found = compare_protocols(IntensityStatistics(), images, y, n_copies=0, cv=2)
    assert found.groups_note == "groups are near-duplicates found in the images, not patients"
    assert found.protocol.startswith("Groups are near-duplicates")
    assert RANDOM in found.evaluations
    group = found.evaluations[HONEST].predictions.sort_values("index")["group"].to_numpy()
    np.testing.assert_array_equal(group[:20], group[20:])


def test_the_result_tells_everything(result):
    table = result.to_table()
    assert table["n_samples"].tolist() == [150, 150, 300, 180, 360]
    assert table["leak"][0] == "none"
    assert (table["accuracy_low"] <= table["accuracy"]).all()
    assert table["roc_auc"].tolist() == result.to_frame()["roc_auc"].tolist()
    text, page = repr(result), result._repr_html_()
    for part in (*NAMES, "copies of tested images", result.summary()):
        assert part in text
        assert part in page
    with pytest.raises(ValueError, match="metric is 'brier', expected one of"):
        result.summary("brier")


NAN = FunctionTransformer(lambda images: np.full((len(images), 1), np.nan))


@pytest.mark.parametrize(
    ("features", "changes", "message"),
    [
        (PCA(2), {}, "features is PCA, which learns from the data"),
        (FEATURES, {"n_copies": -1}, "n_copies is -1, expected"),
        (FEATURES, {"y": np.zeros(20)}, "y has 1 class"),
        (FEATURES, {"cv": 9, "target_names": ["a", "rare"]}, "cv is 9, .* 'rare' has 8 of the g"),
        (FEATURES, {"y": np.arange(20) < 2, "n_copies": 0}, "n_neighbors = 2"),  # by SMOTE
        (FEATURES, {"target_names": ["a"]}, "target_names is"),
        (NAN, {}, "image 0, or of a copy of it, are NaN"),
        (FEATURES, {"X": [np.ones((8, 8))] * 19 + [np.full((8, 8), 9.0)]}, "image 19"),
    ],
)
def test_invalid_input(features, changes, message):
    images, y, groups = make_noise(20, 1)
    given = {"X": images, "y": y, "groups": groups, "cv": 2} | changes
    with pytest.raises(ValueError, match=message):
        compare_protocols(features, given.pop("X"), given.pop("y"), **given)


def write_images(root, n_groups=8):
    """Write two images of each patient, and a file that cannot be read."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(3 * n_groups):
        file = f"{('benign', 'malignant')[index // 2 % 3 == 0]}/{index:02d}.png"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / file), rng.integers(0, 200, (40, 48), np.uint8))
        rows.append((file, index // 2))
    bad = root / "benign" / "bad.png"
    bad.write_bytes((root / rows[0][0]).read_bytes()[:99])
    return pd.DataFrame([*rows, ("benign/bad.png", 99)], columns=["file", "group"])


def test_the_command(tmp_path, capsys):
    write_images(tmp_path / "scans").to_csv(tmp_path / "groups.csv", index=False)
    output = tmp_path / "out"
    line = ["honesty", str(tmp_path / "scans"), "--groups", str(tmp_path / "groups.csv")]
    line += ["--features", "intensity", "--cv", "2", "--n_copies", "1", "--output", str(output)]
    assert main(line) == 2
    error = capsys.readouterr().err
    for part in ("1 of 25 images cannot be used", "bad.png", "on_error='skip'"):
        assert part in error
    assert main([*line, "--on_error", "skip"]) == 0
    said = capsys.readouterr().out
    assert "1 of 25 images left out" in said
    assert "Honest balanced accuracy: 0." in said
    assert "24 samples in 12 groups (benign 16, malignant 8)" in said
    names = {"features.sqlite", "honesty.csv", "honesty.png"}
    assert {path.name for path in output.iterdir()} == names
    assert pd.read_csv(output / "honesty.csv")["protocol"].tolist() == NAMES


@pytest.mark.slow
def test_ultrasound_as_the_readme_says(tmp_path):
    root = data_dir("busi")
    found = commands.honesty(root, tmp_path, groups=root / "groups.csv")
    scores = accuracies(found)
    assert scores[HONEST] < scores[RANDOM] < scores[COPIES] < scores[BOTH]
    assert scores[BOTH] > scores[HONEST] + 0.1
    readme = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (.+?) +\| (\d.+?) +\|$", readme, flags=re.MULTILINE)
    assert len(lines) == 4
    columns = ["balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"]
    for name, shown in lines:
        numbers = [float(number) for number in re.findall(r"\d\.\d\d", shown)]
        np.testing.assert_allclose(found.to_frame().loc[name, columns], numbers, atol=0.01)
