"""The same features and classifier under honest and leaky protocols."""

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
from featbus.groups import GroupsWarning
from featbus.images import ImageError

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
    return result.to_frame()["accuracy", "mean"]


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
    assert honest["roc_auc", "low"] < 0.55
    assert "from the protocol alone" in result.summary()


def test_without_groups_of_several_images_only_copies_and_mixtures_leak():
    images, y, groups = make_noise(80, 1)
    options = {"classifier": NEAREST, "n_copies": 5, "dihedral": 6}
    found = compare_protocols(IntensityStatistics(), images, y, groups=groups, **options)
    scores = accuracies(found)
    assert scores.index.tolist() == [HONEST, COPIES, MIXTURES, BOTH]
    assert scores[HONEST] < 0.65
    assert scores[[COPIES, BOTH]].min() > 0.98  # statistics are the same in all orientations
    assert found.leaks[COPIES] == "copies of tested images"


def test_protocols_are_those_of_pipelines_with_the_same_steps():
    data = make_breast_ultrasound(48, weights=[2, 1, 1], random_state=0)
    X, y, groups = data.images, data.target, data.groups
    augmenter = ImageAugmenter(2)
    options = {"cv": 3, "random_state": 0}
    found = compare_protocols(IntensityStatistics(), X, y, groups=groups, **options)
    smote = SMOTE(random_state=0)
    steps = FeatureBus(IntensityStatistics()), StandardScaler(), smote, SVC(C=10)
    inside, without = make_pipeline(augmenter, *steps), make_pipeline(*steps)
    copies, y_copies = augmenter.fit_resample(X, y)
    expected = {HONEST: evaluate(inside, X, y, groups=groups, **options)}
    with pytest.warns(GroupsWarning):
        expected[RANDOM] = evaluate(inside, X, y, **options)
    with pytest.warns(GroupsWarning):
        expected[COPIES] = evaluate(without, copies, y_copies, **options)
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
    options = {"groups": groups, "classifier": NEAREST, "n_copies": 0, "cv": 2}
    found = compare_protocols(FEATURES, images, y, **options)
    assert list(found.evaluations) == [HONEST, RANDOM, MIXTURES]
    assert "copies" not in found.protocol
    equal = np.arange(20).repeat(2) % 2
    assert list(compare_protocols(FEATURES, images, equal, **options).evaluations) == [
        HONEST,
        RANDOM,
    ]
    with pytest.raises(ValueError, match="No protocol can leak: .* n_copies=2"):
        compare_protocols(FEATURES, images[::2], equal[::2], **options | {"groups": range(20)})


def test_without_groups_near_duplicates_are_found():
    data = make_breast_ultrasound(20, weights=[3, 2, 0], random_state=0)
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
    assert table["roc_auc"].tolist() == result.to_frame()["roc_auc", "mean"].tolist()
    text, page = repr(result), result._repr_html_()
    for part in (*NAMES, "copies of tested images", result.summary()):
        assert part in text
        assert part in page
    with pytest.raises(ValueError, match="metric is 'brier', expected one of"):
        result.summary("brier")


def test_invalid_input():
    images, y, groups = make_noise(20, 1)
    known = {"groups": groups, "cv": 2}
    with pytest.raises(ValueError, match="features is PCA, which learns from the data"):
        compare_protocols(PCA(2), images, y, **known)
    with pytest.raises(ValueError, match="n_copies is -1, expected"):
        compare_protocols(FEATURES, images, y, n_copies=-1, **known)
    with pytest.raises(ValueError, match="y has 1 class"):
        compare_protocols(FEATURES, images, np.zeros(20), **known)
    with pytest.raises(ValueError, match="cv is 9, and the class 'rare' has 8 of the groups"):
        compare_protocols(FEATURES, images, y, groups=groups, cv=9, target_names=["a", "rare"])
    few = np.arange(20) < 2
    with pytest.raises(ValueError, match="n_neighbors = 2"):  # by SMOTE
        compare_protocols(FEATURES, images, few, n_copies=0, **known)
    with pytest.raises(ValueError, match="target_names is"):
        compare_protocols(FEATURES, images, y, target_names=["a"], **known)
    nan = FunctionTransformer(lambda images: np.full((len(images), 1), np.nan))
    with pytest.raises(ValueError, match="image 0, or of a copy of it, are NaN"):
        compare_protocols(nan, images, y, **known)
    with pytest.raises(ImageError, match="image 19"):
        compare_protocols(FEATURES, [*images[:19], images[19] + 9], y, **known)


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
    assert "1 of 25 images cannot be used" in error
    assert "bad.png" in error
    assert "on_error='skip'" in error
    assert main([*line, "--on_error", "skip"]) == 0
    said = capsys.readouterr().out
    assert "1 of 25 images left out" in said
    assert "Honest balanced accuracy: 0." in said
    assert "24 samples in 12 groups (benign 16, malignant 8)" in said
    assert sorted(path.name for path in output.iterdir()) == [
        "features.sqlite",
        "honesty.csv",
        "honesty.png",
    ]
    assert pd.read_csv(output / "honesty.csv")["protocol"].tolist() == NAMES


def test_a_folder_without_groups(tmp_path, capsys):
    write_images(tmp_path / "scans")
    options = {"features": ["intensity"], "cv": 2, "n_copies": 0, "on_error": "skip"}
    found = commands.honesty(tmp_path / "scans", tmp_path / "out", verbose=True, **options)
    assert "groups of near-duplicates (benign 16, malignant 8)" in capsys.readouterr().out
    assert found.protocol.startswith(
        "Groups are near-duplicates found in the images, not patients."
    )
    assert found.protocol.count("near-duplicates") == 1
    assert "1 of 25 images left out" in found.protocol
    with pytest.raises(ValueError, match="cv is 9, and the class 'malignant' has 8"):
        commands.honesty(tmp_path / "scans", tmp_path / "out", **options | {"cv": 9})


@pytest.mark.slow
def test_ultrasound(tmp_path):
    root = data_dir("busi")
    found = commands.honesty(
        root, tmp_path, features=["intensity", "lbp"], groups=root / "groups.csv"
    )
    scores = accuracies(found)
    assert scores[HONEST] < scores[RANDOM] < scores[COPIES] < scores[BOTH]
    assert scores[BOTH] > scores[HONEST] + 0.1
