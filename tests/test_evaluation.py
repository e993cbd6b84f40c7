"""Cross-validation of pipelines, its metrics and its honesty."""

import json
import os
import re
import warnings

import cv2
import numpy as np
import pandas as pd
import pytest
import sklearn
from _spies import CountingMean, count
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn import config_context, metrics
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from featbus import (
    HOG,
    LBP,
    FeatureBus,
    IntensityStatistics,
    Resize,
    evaluate,
    load_image_folder,
)
from featbus.bus import FingerprintError, fingerprint
from featbus.datasets import GroupsWarning
from featbus.evaluation import Evaluation, confusion_metrics

SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
METRICS = [
    *["accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "npv", "f1"],
    *["mcc", "roc_auc", "pr_auc", "brier"],
]


def make_rows(n_classes=2, n_samples=90, seed=0):
    """Return rows, labels and groups of three; the labels are hard to tell."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n_samples) // 3
    y = rng.integers(n_classes, size=groups[-1] + 1)[groups]
    return rng.normal(size=(n_samples, 4)) + y[:, np.newaxis] / 2, y, groups


# Published counts (TP, TN, FP, FN) and percentages, cut off after two digits.
@pytest.mark.parametrize(
    ("counts", "percentages"),
    [
        ((69, 151, 2, 3), (97.77, 95.83, 98.69, 97.18, 96.5)),
        ((63, 146, 7, 9), (92.88, 87.5, 95.42, 90, 88.73)),
    ],
)
def test_published_confusion_matrices(counts, percentages):
    tp, tn, fp, fn = counts
    found = confusion_metrics([[tn, fp], [fn, tp]], positive=1)
    published = ["accuracy", "sensitivity", "specificity", "precision", "f1"]
    assert_allclose([100 * found[name] for name in published], percentages, atol=0.01)
    # The same counts for the other class, whose positives are the negatives.
    other = confusion_metrics([[tn, fp], [fn, tp]], positive=0)
    assert other["precision"] == pytest.approx(tn / (tn + fn)) == pytest.approx(found["npv"])


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_two_classes_are_those_of_scikit_learn(seed):
    y, predicted = np.random.default_rng(seed).integers(2, size=(2, 40))
    found = confusion_metrics(metrics.confusion_matrix(y, predicted), positive=1)
    assert found == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(y, predicted),
            "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted),
            "sensitivity": metrics.recall_score(y, predicted),
            "specificity": metrics.recall_score(y, predicted, pos_label=0),
            "precision": metrics.precision_score(y, predicted),
            "npv": metrics.precision_score(y, predicted, pos_label=0),
            "f1": metrics.f1_score(y, predicted),
            "mcc": metrics.matthews_corrcoef(y, predicted),
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_more_classes_are_means_against_the_rest(seed):
    y, predicted = np.random.default_rng(seed).integers(4, size=(2, 60))
    found = confusion_metrics(metrics.confusion_matrix(y, predicted))
    specificities, npvs = (
        [score(y != label, predicted != label) for label in range(4)]
        for score in (metrics.recall_score, metrics.precision_score)
    )
    assert found == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(y, predicted),
            "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted),
            "sensitivity": metrics.recall_score(y, predicted, average="macro"),
            "specificity": np.mean(specificities),
            "precision": metrics.precision_score(y, predicted, average="macro"),
            "npv": np.mean(npvs),
            "f1": metrics.f1_score(y, predicted, average="macro"),
            "mcc": metrics.matthews_corrcoef(y, predicted),
        }
    )


def test_a_class_that_is_never_predicted_has_precision_0():
    found = confusion_metrics([[5, 0], [3, 0]], positive=1)
    assert found["precision"] == found["sensitivity"] == found["f1"] == found["mcc"] == 0
    assert confusion_metrics([[0, 5], [0, 3]], positive=1)["npv"] == 0


def test_a_class_without_samples_is_left_out_of_the_mean():
    absent = [[5, 1, 0], [2, 4, 0], [0, 0, 0]]
    found, without = confusion_metrics(absent), confusion_metrics([[5, 1], [2, 4]])
    assert found["sensitivity"] == without["sensitivity"]
    assert found["precision"] == without["precision"]
    assert np.isnan(confusion_metrics(absent, positive=2)["sensitivity"])
    assert found["balanced_accuracy"] == without["balanced_accuracy"]
    assert found["mcc"] == pytest.approx(without["mcc"])
    assert np.isnan(confusion_metrics([[0, 0], [0, 0]])["accuracy"])
    assert np.isnan(confusion_metrics([[3, 2], [0, 0]])["mcc"])


@pytest.mark.parametrize(
    ("n_classes", "scorers"),
    [
        (2, ["recall", "precision", "f1", "roc_auc", "average_precision", "neg_brier_score"]),
        (3, ["recall_macro", "precision_macro", "f1_macro", "roc_auc_ovr"]),
    ],
)
def test_scores_are_those_of_scikit_learn(n_classes, scorers):
    X, y, groups = make_rows(n_classes)
    result = evaluate(LogisticRegression(), X, y, groups=groups)
    predictions = result.predictions
    splits = [
        (np.flatnonzero(predictions["fold"] != fold), np.flatnonzero(predictions["fold"] == fold))
        for fold in range(5)
    ]
    scorers = ["accuracy", "balanced_accuracy", "matthews_corrcoef", *scorers]
    expected = cross_validate(LogisticRegression(), X, y, cv=splits, scoring=scorers)
    columns = ["accuracy", "balanced_accuracy", "mcc"]
    columns += ["sensitivity", "precision", "f1", "roc_auc", "pr_auc", "brier"]
    for column, scorer in zip(columns, scorers):
        values = expected[f"test_{scorer}"]
        values = -values if column == "brier" else values
        assert_allclose(result.scores[column], values, err_msg=column)


def test_classifiers_without_probabilities_have_decision_values():
    X, y, groups = make_rows()
    result = evaluate(SVC(), X, y, groups=groups, target_names=["benign", "malignant"])
    predictions = result.predictions
    assert list(predictions.columns[-2:]) == ["decision_benign", "decision_malignant"]
    for fold, rows in predictions.groupby("fold"):
        expected = metrics.roc_auc_score(rows["target"], rows["decision_malignant"])
        assert result.scores["roc_auc"][fold] == pytest.approx(expected)
    positive = predictions["decision_malignant"] > 0
    assert_array_equal(positive, predictions["predicted"] == 1)


@pytest.mark.parametrize("n_classes", [3, 4])
def test_decision_values_of_more_classes(n_classes):
    X, y, groups = make_rows(n_classes, 120)
    result = evaluate(SVC(), X, y, groups=groups)
    assert result.predictions.filter(like="decision_").shape == (120, n_classes)
    assert result.scores["roc_auc"].between(0.3, 1).all()


def test_every_sample_is_tested_once_by_every_pipeline():
    X, y, groups = make_rows()
    pipelines = {"b": LogisticRegression(), "a": SVC()}
    predictions = evaluate(pipelines, X, y, groups=groups).predictions
    assert predictions["pipeline"].tolist() == ["b"] * len(y) + ["a"] * len(y)
    for _, rows in predictions.groupby("pipeline"):
        assert_array_equal(rows["index"], np.arange(len(y)))
        assert_array_equal(rows["target"], y)
        assert_array_equal(rows["group"], groups)
        # No group straddles two folds, and so none is in training and test.
        assert (rows.groupby("group")["fold"].nunique() == 1).all()
    assert_array_equal(predictions["fold"][: len(y)], predictions["fold"][len(y) :])


def test_folds_are_stratified_and_shuffled():
    groups = np.arange(200) // 2
    y = (groups % 10 < 3).astype(int)
    X = np.random.default_rng(0).normal(size=(200, 2))
    first, second = (
        evaluate(LogisticRegression(), X, y, groups=groups, random_state=seed).predictions
        for seed in (0, 1)
    )
    assert_allclose(first.groupby("fold")["target"].mean(), 0.3)
    assert (first["fold"] != second["fold"]).any()


@pytest.mark.skipif(SKLEARN < (1, 8), reason="shuffle=True undid the stratification before")
def test_folds_are_those_of_stratified_group_k_fold():
    X, y, groups = make_rows(3)
    predictions = evaluate(SVC(), X, y, groups=groups, random_state=7).predictions
    cv = StratifiedGroupKFold(5, shuffle=True, random_state=7)
    for fold, (_, test) in enumerate(cv.split(X, y, groups)):
        assert_array_equal(predictions.loc[predictions["fold"] == fold, "index"], test)


def test_without_groups_evaluate_warns():
    X, y, _ = make_rows()
    with pytest.warns(GroupsWarning, match="too optimistic. Pass groups="):
        result = evaluate(LogisticRegression(), X, y)
    assert_array_equal(result.predictions["group"], np.arange(len(y)))
    unknown = "Groups unknown: every image counted as its own patient."
    assert (
        result.protocol.splitlines()[0] == str(result).split("\n\n")[1].splitlines()[0] == unknown
    )
    assert "kept together" not in result.protocol
    assert f"<p>{unknown}</p>" in result._repr_html_()
    found = json.loads(result.to_json())
    assert found["has_groups"] is False
    assert unknown in found["protocol"]


def test_groups_on_both_sides_are_refused():
    X, y, groups = make_rows()
    with pytest.raises(ValueError, match=r"Fold 0 has the groups \[7\] .* keeps groups together"):
        evaluate(LogisticRegression(), X, y, groups=groups, cv=KFold(4))
    letters = np.array(["p", "q"])[np.arange(len(y)) % 2]
    with pytest.raises(ValueError, match=r"Fold 0 has the groups \['p', 'q'\] in both"):
        evaluate(LogisticRegression(), X, y, groups=letters, cv=KFold(2))


def test_samples_on_both_sides_are_refused():
    X, y, _ = make_rows()
    splits = [(np.arange(60), np.arange(50, 90))]
    with (
        pytest.warns(UserWarning, match="Groups unknown"),
        pytest.raises(
            ValueError, match=r"Fold 0 has the samples \[50, 51, 52, 53, 54\] and 5 more"
        ),
    ):
        evaluate(LogisticRegression(), X, y, cv=splits)


def test_a_training_part_without_a_class_is_refused():
    X, y = np.zeros((6, 1)), np.array([0, 0, 0, 0, 1, 1])
    groups = [0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match=r"training part of fold 2 has no sample of \['b'\]"):
        evaluate(
            LogisticRegression(),
            X,
            y,
            groups=groups,
            cv=LeaveOneGroupOut(),
            target_names=["a", "b"],
        )


def test_a_test_part_without_a_class_warns_and_is_left_out():
    X, y, groups = make_rows(n_samples=30)
    with pytest.warns(UserWarning, match="lack a class"):
        result = evaluate(LogisticRegression(), X, y, groups=groups, cv=LeaveOneGroupOut())
    assert len(result.scores) == 10
    assert result.scores["roc_auc"].isna().all()
    assert_array_equal(result.scores["sensitivity"].isna(), y[::3] == 0)
    mean = result.to_frame().loc["pipeline", ("sensitivity", "mean")]
    assert mean == pytest.approx(np.mean(result.predictions["predicted"][y == 1] == 1))
    assert "10 splits by LeaveOneGroupOut" in result.protocol


def test_repeated_folds():
    X, y, _ = make_rows()
    cv = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    result = evaluate(LogisticRegression(), X, y, groups=np.arange(len(y)), cv=cv)
    assert len(result.scores) == 6
    assert (result.predictions["index"].value_counts() == 2).all()


class Spy(RandomOverSampler):
    """Over-sampler that notes what it saw."""

    seen = []

    def _fit_resample(self, X, y):
        Spy.seen.append(X[:, 0].copy())
        return super()._fit_resample(X, y)


def test_samplers_see_training_rows_only():
    X, y, groups = make_rows()
    X[:, 0] = np.arange(len(y))
    Spy.seen.clear()
    result = evaluate(make_pipeline(Spy(), LogisticRegression()), X, y, groups=groups)
    assert len(Spy.seen) == 5
    for fold, rows in enumerate(Spy.seen):
        tested = result.predictions.loc[result.predictions["fold"] == fold, "index"]
        assert_array_equal(np.sort(rows), np.setdiff1d(np.arange(len(y)), tested))


def test_scaling_learns_from_training_rows_only():
    X, y, groups = make_rows()
    X[-3:] = 1e6
    result = evaluate(make_pipeline(StandardScaler(), SVC()), X, y, groups=groups)
    fold = result.predictions["fold"].iloc[-1]
    train, test = (result.predictions["fold"] != fold), (result.predictions["fold"] == fold)
    by_hand = make_pipeline(StandardScaler(), SVC()).fit(X[train], y[train]).predict(X[test])
    assert_array_equal(result.predictions["predicted"][test], by_hand)


def test_pipelines_stay_unfitted():
    X, y, groups = make_rows()
    pipeline = LogisticRegression()
    evaluate(pipeline, X, y, groups=groups)
    assert not hasattr(pipeline, "coef_")


def test_processes_and_repetition_change_nothing():
    X, y, groups = make_rows(3)
    pipelines = {"svm": SVC(), "logistic": LogisticRegression()}
    first, second, parallel = (
        evaluate(pipelines, X, y, groups=groups, n_jobs=n_jobs) for n_jobs in (None, None, 2)
    )
    for other in (second, parallel):
        assert_frame_equal(first.scores, other.scores)
        assert_frame_equal(first.predictions, other.predictions)


def test_the_positive_class():
    X, y, groups = make_rows()
    names = ["malignant", "benign"]
    guessed, other, by_label = (
        evaluate(LogisticRegression(), X, y, groups=groups, target_names=names, pos_label=label)
        for label in (None, "benign", 0)
    )
    assert guessed.pos_name == by_label.pos_name == "malignant"
    assert other.pos_name == "benign"
    assert [result.pos_guessed for result in (guessed, other, by_label)] == [True, False, False]
    assert_frame_equal(guessed.scores, by_label.scores)
    assert_allclose(guessed.scores["sensitivity"], other.scores["specificity"])
    assert_allclose(guessed.scores["roc_auc"], other.scores["roc_auc"])
    line = "Positive class: malignant, guessed from its name; pass pos_label= to choose."
    assert guessed.protocol.splitlines()[-1] == line
    assert line in str(guessed)
    assert json.loads(guessed.to_json())["pos_guessed"] is True
    assert "Positive class: malignant.\n" in str(by_label)


def test_of_folders_cancer_and_healthy_the_table_is_about_cancer(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(12):
        kind, low = ("cancer", 0) if i % 2 else ("healthy", 60)
        (tmp_path / kind).mkdir(exist_ok=True)
        image = rng.integers(low, low + 150, (9, 12), np.uint8)
        cv2.imwrite(str(tmp_path / kind / f"{i:02d}.png"), image)
    with pytest.warns(GroupsWarning):
        data = load_image_folder(tmp_path)
    pipeline = make_pipeline(IntensityStatistics(), SVC())
    with pytest.warns(GroupsWarning):
        result = evaluate(
            pipeline, data.images, data.target, groups=data.groups, target_names=data.target_names
        )
    assert result.pos_name == "cancer"
    head, *rest = str(result).splitlines()
    for name in ("Sensitivity", "Specificity", "Precision", "F1"):
        assert f"{name} (cancer)" in head
    assert rest[2:6] == [
        "Groups unknown: every image counted as its own patient.",
        "12 samples (cancer 6, healthy 6); stratified 5-fold cross-validation.",
        "Only 12 samples tested: intervals are unreliable with fewer than 40.",
        "Positive class: cancer, guessed from its name; pass pos_label= to choose.",
    ]


def test_of_zeros_and_ones_the_convention_is_that_of_scikit_learn():
    X, y, groups = make_rows()
    result = evaluate(SVC(), X, y, groups=groups, cv=2)
    assert result.pos_name == "1"
    assert "Sensitivity (1)" in str(result)
    assert "Positive class: 1, by scikit-learn's convention" in result.protocol


def test_two_classes_whose_names_say_nothing_have_a_row_each():
    X, y, groups = make_rows()
    names = ["left", "right"]
    pipelines = {"svm": SVC(), "lr": LogisticRegression()}
    result = evaluate(pipelines, X, y, groups=groups, target_names=names)
    assert result.pos_name is None
    assert not result.pos_guessed
    head, index, *rows = str(result).splitlines()[:6]
    assert " ".join(head.split()) == "Accuracy ROC AUC Sensitivity Specificity Precision F1"
    assert index.split() == ["class"]
    assert [row.count("±") for row in rows] == [6, 4, 6, 4]
    assert [row[4:9].strip() for row in rows] == ["left", "right"] * 2
    left, right = (
        evaluate(SVC(), X, y, groups=groups, target_names=names, pos_label=name) for name in names
    )
    for row, one in zip(rows, (left, right)):
        scores = one.scores["sensitivity"]
        assert f" {scores.mean():.2f} ± {scores.std():.2f} " in row
    assert "Positive class: unknown" in result.protocol
    figure = result.plot("intervals")
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert "Sensitivity (left)" in labels
    assert "Sensitivity (right)" in labels
    assert "Sensitivity" not in labels


def test_of_more_classes_the_header_says_that_it_is_a_mean():
    X, y, groups = make_rows(3)
    head, metric_names = str(evaluate(SVC(), X, y, groups=groups, cv=2)).splitlines()[:2]
    assert head.strip() == "mean over classes"
    assert metric_names.split()[:2] == ["Accuracy", "Sensitivity"]
    text = str(evaluate(SVC(), X, y, groups=groups, cv=2, pos_label=1))
    assert "Sensitivity (1)" in text
    assert "ROC AUC (1)" in text


@pytest.mark.parametrize(
    ("y", "groups", "message"),
    [
        ([0] * 9, range(9), "y has 1 class, 0, expected at least two classes. Add"),
        ([0, 0, 1], None, "cv is 5, and the class 'b' has 1 of the samples, .* fold. Add samples"),
        ([0, 1] * 5, [0, 1, 2, 3, 4] * 2, None),
        ([0, 1] * 6, [0, 1, 2, 3] * 3, r"class 'a' has 2 of the groups, .* Pass cv=2, or leave"),
    ],
)
@pytest.mark.filterwarnings("ignore:Groups unknown")
def test_too_few_groups_are_refused_before_any_feature(log, y, groups, message):
    images, pipeline = (
        np.zeros((len(y), 4, 4), np.uint8),
        make_pipeline(CountingMean(log=log), SVC()),
    )
    names = ["a", "b"][: len(set(y))]
    if message is None:
        evaluate(pipeline, images, y, groups=groups, target_names=names)
        return
    with pytest.raises(ValueError, match=message) as caught:
        evaluate(pipeline, images, y, groups=groups, target_names=names)
    assert "\n" not in str(caught.value)
    assert not os.path.exists(log)


def test_one_class_of_many_can_be_positive():
    X, y, groups = make_rows(3)
    result = evaluate(LogisticRegression(), X, y, groups=groups, pos_label=1)
    for fold, rows in result.predictions.groupby("fold"):
        expected = metrics.recall_score(rows["target"] == 1, rows["predicted"] == 1)
        assert result.scores["sensitivity"][fold] == pytest.approx(expected)


def make_images():
    """Return images that brightness tells apart, of different sizes, and their labels."""
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    images = [
        rng.integers(100 * label, 100 * label + 120, (9 + i % 3, 12), np.uint8)
        for i, label in enumerate(y)
    ]
    return images, y


def object_array(images):
    array = np.empty(len(images), dtype=object)
    array[:] = images
    return array


@pytest.mark.parametrize(
    "container",
    [
        list,
        object_array,
        lambda images: pd.Series(images, index=np.arange(24)[::-1]),
        lambda images: np.stack([image[:9] for image in images]),
        lambda images: np.ma.masked_less(np.stack([image[:9] for image in images]), 20),
    ],
    ids=["list", "object array", "Series", "stack", "masked stack"],
)
def test_images_in_every_container(container):
    images, y = make_images()
    pipeline = make_pipeline(IntensityStatistics(), StandardScaler(), SVC())
    groups = pd.Series(np.arange(24) // 2, index=np.arange(24)[::-1])
    result = evaluate(pipeline, container(images), y, groups=groups, cv=3)
    assert_allclose(result.scores["accuracy"], 1)


class GroupsCounter(LogisticRegression):
    """Fits with groups, and remembers how many there were."""

    seen = []

    def fit(self, X, y, groups=None):
        self.seen.append(None if groups is None else set(groups))
        return super().fit(X, y)


def test_groups_reach_the_steps_that_request_them():
    X, y, groups = make_rows()
    GroupsCounter.seen.clear()
    with config_context(enable_metadata_routing=True):
        requesting = make_pipeline(GroupsCounter().set_fit_request(groups=True))
    result = evaluate({"a": requesting, "b": GroupsCounter()}, X, y, groups=groups, cv=2)
    folds = result.predictions.query("pipeline == 'a'").groupby("fold")["group"]
    tested = [set(group) for _, group in folds]
    assert GroupsCounter.seen == [set(groups) - tested[0], set(groups) - tested[1], None, None]


def test_masks_reach_the_pipeline():
    images = np.ma.masked_less(np.arange(240, dtype=np.uint8).reshape(12, 4, 5), 7)

    def count_inside(batch):
        assert np.ma.isMaskedArray(batch)
        return batch.count(axis=(1, 2))[:, np.newaxis]

    pipeline = make_pipeline(FunctionTransformer(count_inside), LogisticRegression())
    evaluate(pipeline, images, np.arange(12) % 2, groups=np.arange(12), cv=2)


def test_labels_may_be_names():
    X, y, groups = make_rows()
    names = np.array(["benign", "malignant"])
    result = evaluate(LogisticRegression(), X, pd.Series(names[y]), groups=groups)
    assert result.target_names == ["benign", "malignant"]
    assert set(result.predictions["predicted"]) <= {"benign", "malignant"}
    expected = evaluate(LogisticRegression(), X, y, groups=groups)
    assert_frame_equal(result.scores, expected.scores)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pipelines": {}}, "no pipelines"),
        ({"y": np.zeros(90, int)}, "1 class"),
        ({"y": np.linspace(0, 1, 90)}, "Unknown label type"),
        ({"y": np.zeros(89, int)}, "inconsistent numbers of samples"),
        ({"groups": np.zeros(89, int)}, "inconsistent numbers of samples"),
        ({"groups": [1.0, None] * 45}, r"groups is NaN or None for 45 sample\(s\), the first at 1"),
        ({"target_names": ["a"]}, r"target_names is \['a'\].*order: \[0, 1\]"),
        ({"target_names": ["a", "a"]}, "different name"),
        ({"target_names": [1, "1"]}, "different name"),
        ({"pos_label": "c", "target_names": ["a", "b"]}, r"pos_label is 'c'.*\['a', 'b'\]"),
        ({"y": None}, "y is None"),
        ({"y": [None, *"ab"] * 30}, r"y is NaN or None for 30 sample\(s\), the first at 0"),
    ],
)
def test_what_is_refused(changes, message):
    X, y, groups = make_rows()
    arguments = {"pipelines": LogisticRegression(), "X": X, "y": y, "groups": groups} | changes
    with pytest.raises(ValueError, match=message):
        evaluate(arguments.pop("pipelines"), **arguments)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("cv", ["five", 1, True]),
        ("n_repeats", [0, 2.0, True, "2", None]),
        ("target_names", ["ab", 2]),
        ("pos_label", [["a"]]),
        ("random_state", [-1, "seed", 0.5]),
        ("memory", [3, True]),
        ("n_jobs", [1.5, "2"]),
        ("verbose", ["yes", 2]),
    ],
)
def test_parameters_of_wrong_types_and_values_are_named(name, values):
    X, y, groups = make_rows()
    for value in values:
        with pytest.raises(ValueError, match=re.escape(f"{name} is {value!r}, expected")):
            evaluate(LogisticRegression(), X, y, groups=groups, **{name: value})


def test_names_of_other_labels_are_refused():
    X, y, groups = make_rows()
    named = np.take(["benign", "malignant"], y)
    with pytest.raises(ValueError, match="gives the name 'malignant' to another class"):
        evaluate(SVC(), X, named, groups=groups, target_names=["malignant", "benign"])
    # Folders "1" and "2" are the labels 0 and 1.
    assert evaluate(SVC(), X, y, groups=groups, cv=2, target_names=["1", "2"]).pos_name is None


@pytest.mark.parametrize("n_classes", [3, 4])
def test_decision_values_of_pairs_of_classes_are_refused_before_any_feature(log, n_classes):
    images, y = noise()[0], np.arange(40) % n_classes
    pairs = SVC(decision_function_shape="ovo")
    search = GridSearchCV(pairs, {"C": [1, 2]}, cv=2)
    for classifier in (pairs, search, make_pipeline(StandardScaler(), pairs)):
        pipeline = make_pipeline(CountingMean(log=log), classifier)
        with pytest.raises(ValueError, match=r"of SVC is 'ovo'.*expected one per class"):
            evaluate(pipeline, images, y, groups=np.arange(40), cv=2)
    assert not os.path.exists(log)


@pytest.mark.parametrize(
    "wrap", [lambda search: search, lambda search: make_pipeline(PCA(), search)]
)
def test_what_a_search_chooses_decides_about_scores(wrap):
    X, y, groups = make_rows(3)
    vote = VotingClassifier([("one", LogisticRegression())])
    for model, name, bad, good in [
        (SVC(decision_function_shape="ovo"), "decision_function_shape", "ovo", "ovr"),
        (vote, "voting", "hard", "soft"),
    ]:
        evaluate(wrap(GridSearchCV(model, {name: [good]}, cv=2)), X, y, groups=groups, cv=2)
        search = wrap(GridSearchCV(model, {name: [bad]}, cv=2))
        with pytest.raises(ValueError, match="expected one"):
            evaluate(search, X, y, groups=groups, cv=2)


def test_two_classes_have_no_pairs():
    X, y, groups = make_rows()
    one, other = (
        evaluate(SVC(decision_function_shape=shape), X, y, groups=groups, cv=2)
        for shape in ("ovo", "ovr")
    )
    assert_frame_equal(one.scores, other.scores)


class Turned(LogisticRegression):
    """A classifier with its classes in another order."""

    def fit(self, X, y):
        super().fit(X, y)
        self.coef_, self.intercept_ = self.coef_[::-1], self.intercept_[::-1]
        self.classes_ = self.classes_[::-1]
        return self


def test_scores_are_those_of_their_class_in_any_order():
    X, y, groups = make_rows(3)
    result, expected = (evaluate(c, X, y, groups=groups) for c in (Turned(), LogisticRegression()))
    assert_frame_equal(result.predictions, expected.predictions)


class Forgetful(LogisticRegression):
    """A classifier without the last class."""

    def fit(self, X, y):
        return super().fit(X[y < 2], y[y < 2])


def test_a_classifier_without_a_class_is_refused():
    X, y, groups = make_rows(3)
    with pytest.raises(ValueError, match=r"shape \(\d+, 2\) for the classes \[0, 1\], expected"):
        evaluate(Forgetful(), X, y, groups=groups)


def test_a_hard_vote_is_refused_before_any_feature(log):
    vote = VotingClassifier([("one", LogisticRegression()), ("other", SVC())])
    pipeline = make_pipeline(CountingMean(log=log), vote)
    with pytest.raises(ValueError, match="voting of VotingClassifier is 'hard'.*expected"):
        evaluate(pipeline, *noise()[:2], groups=np.arange(40), cv=2)
    assert not os.path.exists(log)


def test_cv_none_is_five_stratified_folds_that_keep_groups_together():
    X, y, groups = make_rows()
    none, five = (evaluate(SVC(), X, y, groups=groups, cv=cv) for cv in (None, 5))
    assert none.protocol == five.protocol
    assert_frame_equal(none.predictions, five.predictions)


def test_splits_may_be_masks():
    X, y, groups = make_rows()
    first = groups % 2 == 0
    masks = [(first, ~first), (~first, first)]
    result, expected = (
        evaluate(SVC(), X, y, groups=groups, cv=cv)
        for cv in (masks, [(np.flatnonzero(a), np.flatnonzero(b)) for a, b in masks])
    )
    assert_frame_equal(result.predictions, expected.predictions)


def test_a_single_split_is_no_folds():
    X, y, groups = make_rows()
    result = evaluate(SVC(), X, y, groups=groups, cv=PredefinedSplit((groups < 6) - 1))
    assert "one split by PredefinedSplit (72 samples to train on, 18 to test)" in result.protocol
    assert "Scores on the test part." in repr(result)
    assert "folds" not in repr(result)


def test_a_given_test_part_without_a_class_gets_advice_of_its_own():
    X, y, groups = make_rows()
    test = np.flatnonzero((y == 0) & (groups < 20))
    split = [(np.setdiff1d(np.arange(90), test), test)]
    with pytest.warns(UserWarning, match=r"The test part lacks a class.*add samples .*: cv=5\.$"):
        result = evaluate(SVC(), X, y, groups=groups, cv=split)
    for name in ("roc", "precision_recall"):
        result.plot(name)  # without a warning


def test_repeats_need_a_number_of_folds():
    X, y, groups = make_rows()
    with pytest.raises(ValueError, match=r"n_repeats is 2 and cv is a StratifiedGroupKFold"):
        evaluate(SVC(), X, y, groups=groups, cv=StratifiedGroupKFold(3), n_repeats=2)


def test_errors_name_pipeline_and_fold():
    def fail(X):
        raise ValueError("image 0: is no image")

    X, y, groups = make_rows()
    pipeline = make_pipeline(FunctionTransformer(fail), LogisticRegression())
    with pytest.raises(ValueError, match="image 0") as caught:
        evaluate({"good": LogisticRegression(), "bad": pipeline}, X, y, groups=groups)
    assert "fold 0 of 'bad'" in caught.value.__notes__[0]


def test_evaluate_itself_does_not_warn():
    X, y, groups = make_rows(3, n_samples=120)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate({"a": LogisticRegression(), "b": SVC()}, X, y, groups=groups)


class Recorder(ClassifierMixin, BaseEstimator):
    """Classifier that notes which samples it was fitted on, and which it then saw."""

    seen = []

    def __init__(self, bias=0.0):
        self.bias = bias

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        Recorder.seen.append((X[:, 0].astype(int), []))
        self._record = len(Recorder.seen) - 1
        return self

    def decision_function(self, X):
        Recorder.seen[self._record][1].extend(X[:, 0].astype(int))
        return X[:, 1] + self.bias

    def predict(self, X):
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda search: search,
        lambda search: make_pipeline(FunctionTransformer(), search),
    ],
    ids=["search", "last step"],
)
@pytest.mark.parametrize("cv", [None, 3, StratifiedGroupKFold(2)], ids=str)
def test_the_inner_cross_validation_keeps_groups_together(cv, wrap):
    X, y, groups = make_rows()
    order = np.random.default_rng(0).permutation(len(y))
    X, y, groups = X[order], y[order], groups[order]
    X[:, 0] = np.arange(len(y))
    Recorder.seen.clear()
    search = GridSearchCV(Recorder(), {"bias": [-0.5, 0.5]}, cv=cv)
    result = evaluate(wrap(search), X, y, groups=groups, cv=2)
    n_inner = {None: 5, 3: 3}.get(cv, 2)
    assert len(Recorder.seen) == 2 * (2 * n_inner + 1)
    for fitted, tested in Recorder.seen:
        assert tested
        assert not set(groups[fitted]) & set(groups[tested])
    assert "; parameters chosen within each training part" in result.protocol


def test_what_a_search_chose():
    X, y, groups = make_rows()
    pipelines = {
        "plain": LogisticRegression(),
        "grid": GridSearchCV(LogisticRegression(), {"C": [1e-6, 1.0]}, cv=3),
        "random": make_pipeline(
            StandardScaler(),
            RandomizedSearchCV(SVC(), {"C": [0.1, 1, 10]}, n_iter=2, cv=3, random_state=0),
        ),
    }
    result = evaluate(pipelines, X, y, groups=groups, cv=2, n_repeats=2)
    best = result.best_params
    assert best["pipeline"].tolist() == ["grid"] * 4 + ["random"] * 4
    assert best[["repeat", "fold"]].to_numpy()[:4].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert all(params.keys() == {"C"} for params in best["params"])
    assert best["score"].between(0.4, 1).all()

    # By hand, for the first fold.
    rows = result.predictions.query("pipeline == 'grid' and repeat == 0")
    train, test = (np.flatnonzero(rows["fold"] == fold) for fold in (1, 0))
    inner = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    by_hand = clone(pipelines["grid"]).set_params(cv=inner)
    by_hand.fit(X[train], y[train], groups=groups[train])
    if SKLEARN >= (1, 8):
        assert best["score"][0] == pytest.approx(by_hand.best_score_)
        assert best["params"][0] == by_hand.best_params_
        assert_array_equal(rows["predicted"].iloc[test], by_hand.predict(X[test]))


def test_without_a_search_nothing_is_chosen():
    X, y, groups = make_rows()
    assert evaluate(SVC(), X, y, groups=groups, cv=2).best_params.empty


@pytest.mark.parametrize(
    "pipeline",
    [
        GridSearchCV(SVC(), {"C": [1]}, cv=StratifiedKFold(3)),
        make_pipeline(StandardScaler(), GridSearchCV(SVC(), {"C": [1]}, cv=StratifiedKFold(3))),
        CalibratedClassifierCV(SVC(), cv=StratifiedKFold(3)),
    ],
)
def test_inner_splits_that_separate_groups_are_refused(pipeline):
    X, y, groups = make_rows()
    with pytest.raises(ValueError, match=r"Fold 0 of the cv of \w+CV has the groups \["):
        evaluate(pipeline, X, y, groups=groups, cv=2)


def test_a_search_after_a_sampler_is_refused():
    X, y, groups = make_rows()
    pipeline = make_pipeline(RandomOverSampler(), GridSearchCV(SVC(), {"C": [1]}))
    with pytest.raises(ValueError, match="after the sampler RandomOverSampler: .* around the"):
        evaluate(pipeline, X, y, groups=groups, cv=2)


def test_calibration_and_tuning_keep_groups_together():
    X, y, groups = make_rows()
    X[:, 0] = np.arange(len(y))
    for pipeline in (
        Pipeline(
            [("inner", make_pipeline("passthrough", CalibratedClassifierCV(Recorder(), cv=3)))]
        ),
        CalibratedClassifierCV(Recorder(), cv=3),
        make_pipeline(FunctionTransformer(), TunedThresholdClassifierCV(Recorder(), cv=3)),
        TunedThresholdClassifierCV(Recorder(), cv=None),
        VotingClassifier([("calibrated", CalibratedClassifierCV(Recorder(), cv=3))], voting="soft"),
    ):
        Recorder.seen.clear()
        evaluate(pipeline, X, y, groups=groups, cv=2)
        assert len(Recorder.seen) >= 6
        for fitted, tested in Recorder.seen:
            assert not set(groups[fitted]) & set(groups[tested])


def noise(n_images=40):
    """Return small images, labels and groups of two."""
    images = np.random.default_rng(0).integers(0, 256, (n_images, 12, 14)).astype(np.uint8)
    return images, np.arange(n_images) // 2 % 2, np.arange(n_images) // 2


def test_a_frozen_search_is_not_fitted_nor_changed():
    X, y, groups = make_rows()
    search = GridSearchCV(SVC(), {"C": [1, 2]}, cv=3).fit(X, y)
    evaluate(FrozenEstimator(search), X, y, groups=groups, cv=2)
    assert search.cv == 3


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_each_image_is_computed_once_for_all_pipelines_and_folds(log, n_jobs):
    images, y, groups = noise()
    pipelines = {
        "svm": make_pipeline(Resize((8, 8)), CountingMean(log=log), StandardScaler(), SVC()),
        "same": Pipeline(
            [("small", Resize((8, 8))), ("mean", CountingMean(log=log)), ("svm", SVC(C=2))]
        ),
        "search": GridSearchCV(
            make_pipeline(Resize((8, 8)), CountingMean(log=log), SVC()), {"svc__C": [1, 2]}, cv=2
        ),
    }
    with parallel_config("threading"):
        evaluate(pipelines, images, y, groups=groups, cv=5, n_jobs=n_jobs)
    assert count(log) == len(images)


def test_memory_keeps_rows_for_the_next_run(log, tmp_path):
    images, y, groups = noise()
    counts = []
    for factor in (1, 1, 2):
        pipeline = make_pipeline(CountingMean(log=log, factor=factor), SVC())
        before = count(log)
        evaluate(pipeline, images, y, groups=groups, memory=tmp_path / "features.sqlite")
        counts.append(count(log) - before)
    assert counts == [40, 0, 40]


def test_shared_rows_change_no_prediction():
    images, y, groups = noise()
    pipelines = {
        "union": make_pipeline(make_union(LBP(), IntensityStatistics()), StandardScaler(), SVC()),
        "bus": make_pipeline(Resize((10, 10)), FeatureBus(LBP()), LogisticRegression()),
    }
    result = evaluate(pipelines, images, y, groups=groups, cv=2)
    for name, rows in result.predictions.groupby("pipeline"):
        for fold in (0, 1):
            train, test = (rows.loc[rows["fold"] == part, "index"] for part in (1 - fold, fold))
            by_hand = clone(pipelines[name]).fit(images[train], y[train])
            scores = rows.loc[rows["fold"] == fold].filter(regex="(probability|decision)_1")
            expected = (
                by_hand.decision_function(images[test])
                if name == "union"
                else by_hand.predict_proba(images[test])[:, 1]
            )
            assert_allclose(scores.dropna(axis=1).to_numpy()[:, 0], expected)


def test_steps_that_learn_stay_in_the_fold(log):
    images, y, groups = noise()
    learning = make_union(make_pipeline(CountingMean(log=log), PCA(1)), IntensityStatistics())
    result = evaluate(make_pipeline(learning, SVC()), images, y, groups=groups, cv=2)
    # Fitted on one half and applied to the other, for predictions and for decision values.
    assert count(log) == 2 * (20 + 2 * 20)
    train, test = (np.flatnonzero(result.predictions["fold"] == fold) for fold in (1, 0))
    by_hand = make_pipeline(clone(learning), SVC()).fit(images[train], y[train])
    assert_array_equal(result.predictions["predicted"][test], by_hand.predict(images[test]))


def test_frozen_steps_are_shared_between_folds(log):
    images, y, groups = noise()
    mean = FrozenEstimator(CountingMean(log=log).fit(images))
    resize = FrozenEstimator(Resize((8, 8)))
    pipelines = {
        name: make_pipeline("passthrough", resize, mean, StandardScaler(), SVC(C=C))
        for name, C in (("a", 1), ("b", 2))
    }
    evaluate(pipelines, images, y, groups=groups, cv=4)
    assert count(log) == len(images)


def test_searched_steps_stay_in_the_fold(log):
    images, y, groups = noise()
    pipeline = make_pipeline(CountingMean(log=log), SVC())
    search = GridSearchCV(pipeline, [{"countingmean__factor": [1, 2]}], cv=2)
    result = evaluate(search, images, y, groups=groups, cv=2)
    assert count(log) > 2 * len(images)
    assert set(result.best_params["params"][0]) == {"countingmean__factor"}


def test_what_has_no_fingerprint_is_computed_in_the_fold():
    images, y, groups = noise()
    flat = FunctionTransformer(
        lambda batch, unique: np.reshape(batch, (len(batch), -1)), kw_args={"unique": iter([])}
    )
    with pytest.raises(FingerprintError):
        fingerprint(flat)
    bus = FeatureBus(flat)
    result = evaluate(make_pipeline(bus, SVC()), images, y, groups=groups, cv=2)
    assert len(result.predictions) == 40


def test_errors_of_images_name_image_and_pipeline():
    images, y, groups = noise()
    images = list(images)
    images[17] = np.full((12, 14), np.nan)
    pipelines = {"good": SVC(), "bad": make_pipeline(LBP(), SVC())}
    with pytest.raises(ValueError, match="image 17") as caught:
        evaluate(pipelines, images, y, groups=groups, cv=2)
    assert "rows of 'bad'" in caught.value.__notes__[0]


def test_columns_keep_their_names():
    images, y, groups = noise()
    chosen = make_column_transformer((StandardScaler(), ["intensity_mean", "intensity_energy"]))
    pipeline = make_pipeline(IntensityStatistics(), chosen, SVC()).set_output(transform="pandas")
    result = evaluate(pipeline, images, y, groups=groups, cv=2)
    assert len(result.predictions) == 40


@pytest.fixture
def result():
    """Return a result of two pipelines and two folds, made by hand."""
    scores = pd.DataFrame(
        {"pipeline": ["<SVM>", "<SVM>", "KNN", "KNN"], "repeat": 0, "fold": [0, 1, 0, 1]}
        | {metric: [0.78, 0.84, 0.5, 0.5] for metric in METRICS}
    )
    predictions = pd.DataFrame(
        {
            "pipeline": ["<SVM>"] * 4 + ["KNN"] * 4,
            "repeat": 0,
            "index": [0, 1, 2, 3] * 2,
            "fold": [0, 1, 0, 1] * 2,
            "group": [0, 1, 2, 3] * 2,
            "target": [0, 0, 1, 1] * 2,
            "predicted": [0, 1, 1, 1, 0, 0, 0, 0],
            "decision_benign": [-0.5, 1.5, -1.5, 0.0] * 2,
            "decision_malignant": [0.5, -1.5, 1.5, 0.0] * 2,
        }
    )
    names = ["benign", "malignant"]
    return Evaluation(scores, predictions, np.array([0, 1]), names, "malignant", "How.")


def test_mean_and_standard_deviation(result):
    frame = result.to_frame()
    assert frame.index.tolist() == ["<SVM>", "KNN"]
    assert frame.columns.get_level_values(0).unique().tolist() == METRICS
    assert frame.loc["<SVM>", ("f1", "mean")] == pytest.approx(0.81)
    assert frame.loc["<SVM>", ("f1", "std")] == pytest.approx(0.06 / np.sqrt(2))


def test_the_printed_table(result):
    lines = str(result).splitlines()
    assert lines[0].split("  ")[-1] == "ROC AUC"
    assert lines[1].split() == ["<SVM>", *["0.81", "±", "0.04"] * 6]
    assert lines[-2] == "How."
    assert repr(result) == str(result)


def test_the_html_table(result):
    html = result._repr_html_()
    assert "&lt;SVM&gt;" in html
    assert "<SVM>" not in html
    assert html.count("0.81 ± 0.04") == 6
    assert "<p>How.</p>" in html


def test_one_fold_has_no_spread():
    X, y, groups = make_rows()
    cv = [(np.arange(60), np.arange(60, 90))]
    text = str(evaluate(LogisticRegression(), X, y, groups=groups, cv=cv))
    assert "nan" not in text
    assert "one split (60 samples to train on, 30 to test), groups kept together" in text


def test_confusion_matrix(result):
    matrix = result.confusion_matrix("<SVM>")
    assert matrix.to_numpy().tolist() == [[1, 1], [0, 2]]
    assert matrix.index.tolist() == matrix.columns.tolist() == ["benign", "malignant"]
    with pytest.raises(ValueError, match=r"pipeline is None, expected one of \['<SVM>', 'KNN'\]"):
        result.confusion_matrix()


def test_figure_of_confusion_matrices(result):
    first, second = result.plot("confusion_matrices").axes
    assert (first.get_title(), second.get_title()) == ("<SVM>", "KNN")
    texts = [text.get_text() for text in first.texts]
    assert texts == ["1\n50%", "1\n50%", "0\n0%", "2\n100%"]
    assert (first.get_xlabel(), first.get_ylabel()) == ("Predicted class", "True class")
    for labels in (first.get_xticklabels(), first.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["benign", "malignant"]


def test_figure_of_many_pipelines_has_rows():
    X, y, groups = make_rows()
    result = evaluate({f"C={C}": SVC(C=C) for C in range(1, 6)}, X, y, groups=groups, cv=2)
    figure = result.plot("confusion_matrices")
    assert [bool(axis.get_title()) for axis in figure.axes] == [True] * 5 + [False]


def test_names_and_pooled_predictions(result):
    assert result.pipeline_names == ["<SVM>", "KNN"]
    assert result.shown_classes == [1]
    pooled = result.pooled("KNN")
    assert pooled.kind == "decision"
    assert_array_equal(pooled.index, range(4))
    assert_array_equal(pooled.target, [0, 0, 1, 1])
    assert_array_equal(pooled.predicted, [0, 0, 0, 0])
    assert_array_equal(pooled.scores[:, 1], [0.5, -1.5, 1.5, 0])
    with pytest.raises(ValueError, match="pipeline is 'knn', expected one of"):
        result.pooled("knn")


def test_pooled_predictions_have_positions_of_classes():
    X, y, groups = make_rows(3)
    labels = np.array(["b", "c", "a"])[y]
    result = evaluate(LogisticRegression(), X, labels, groups=groups, cv=2, pos_label="b")
    pooled = result.pooled("pipeline")
    assert result.shown_classes == [1]
    assert pooled.kind == "probability"
    assert_array_equal(np.array(["a", "b", "c"])[pooled.target], labels)
    assert_array_equal(np.argmax(pooled.scores, axis=1), pooled.predicted)


def test_whether_there_were_groups():
    X, y, groups = make_rows()
    assert evaluate(SVC(), X, y, groups=groups, cv=2).has_groups
    with pytest.warns(UserWarning, match="Groups unknown"):
        assert not evaluate(SVC(), X, y, cv=2).has_groups


def test_what_a_fitted_bus_learned_before_does_not_count():
    rng = np.random.default_rng(0)
    images, y = rng.integers(0, 256, (24, 24, 24), dtype=np.uint8), np.arange(24) % 2
    fitted = make_pipeline(FeatureBus(LBP()), LogisticRegression()).fit(images, y)
    fitted.set_params(featurebus__transformer=HOG(pixels_per_cell=(6, 6)))
    pipelines = {"fitted": fitted, "clone": clone(fitted)}
    result = evaluate(pipelines, images, y, groups=np.arange(24), cv=3)
    scores = result.predictions.pivot(index="index", columns="pipeline", values="probability_1")
    np.testing.assert_array_equal(scores["fitted"], scores["clone"])
