"""Cross-validation of pipelines, its metrics and its honesty."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from _data import make_rows
from _spies import CountingMean, count
from imblearn import FunctionSampler
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from featbus import HOG, LBP, FeatureBus, IntensityStatistics, Resize, evaluate
from featbus.bus import FingerprintError, fingerprint
from featbus.datasets import GroupsWarning


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


def test_without_groups_evaluate_warns():
    X, y, _ = make_rows()
    with pytest.warns(GroupsWarning):
        result = evaluate(LogisticRegression(), X, y)
    assert_array_equal(result.predictions["group"], np.arange(len(y)))
    unknown = result.groups_note.capitalize() + "."
    assert "unknown" in unknown
    assert result.protocol.splitlines()[0] == unknown
    for text in (str(result), result._repr_html_(), json.loads(result.to_json())["protocol"]):
        assert unknown in text
    assert not result.has_groups


def test_a_test_part_without_a_class_warns_and_is_left_out():
    X, y, groups = make_rows(n_samples=30)
    with pytest.warns(UserWarning, match="lack a class"):
        result = evaluate(LogisticRegression(), X, y, groups=groups, cv=LeaveOneGroupOut())
    assert len(result.scores) == 10
    assert result.scores["roc_auc"].isna().all()
    assert_array_equal(result.scores["sensitivity"].isna(), y[::3] == 0)
    mean = result.to_frame().loc["pipeline", "sensitivity"]
    assert mean == pytest.approx(np.mean(result.predictions["predicted"][y == 1] == 1))
    assert "LeaveOneGroupOut: 10" in result.protocol


def test_the_positive_class():
    X, y, groups = make_rows()
    names = ["malignant", "benign"]
    guessed, other, by_label = (
        evaluate(LogisticRegression(), X, y, groups=groups, target_names=names, pos_label=label)
        for label in (None, "benign", 0)
    )
    assert guessed.pos_name == by_label.pos_name == "malignant"
    assert other.pos_name == "benign"
    assert_allclose(guessed.scores["sensitivity"], other.scores["specificity"])
    assert "Positive class: malignant, guessed from its name" in str(guessed)
    assert "Positive class: malignant.\n" in str(by_label)


def test_images_and_groups_are_taken_by_position():
    rng = np.random.default_rng(0)
    y, order = np.arange(24) % 2, np.arange(24)[::-1]  # brightness separates the classes
    shapes = [(9 + i % 3, 12) for i in range(24)]
    images = [
        rng.integers(100 * label, 100 * label + 120, shape, np.uint8)
        for label, shape in zip(y, shapes)
    ]
    pipeline = make_pipeline(IntensityStatistics(), StandardScaler(), SVC())
    groups = pd.Series(np.arange(24) // 2, index=order)
    result = evaluate(pipeline, pd.Series(images, index=order), y, groups=groups, cv=3)
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


def test_splits_may_be_masks():
    X, y, groups = make_rows()
    first = groups % 2 == 0
    masks = [(first, ~first), (~first, first)]
    result, expected = (
        evaluate(SVC(), X, y, groups=groups, cv=cv)
        for cv in (masks, [(np.flatnonzero(a), np.flatnonzero(b)) for a, b in masks])
    )
    assert_frame_equal(result.predictions, expected.predictions)


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
    ("cv", "is_step"), [(None, False), (3, True), (StratifiedGroupKFold(2), False)], ids=str
)
def test_the_inner_cross_validation_keeps_groups_together(cv, is_step):
    X, y, groups = make_rows()
    order = np.random.default_rng(0).permutation(len(y))
    X, y, groups = X[order], y[order], groups[order]
    X[:, 0] = np.arange(len(y))
    Recorder.seen.clear()
    search = GridSearchCV(Recorder(), {"bias": [-0.5, 0.5]}, cv=cv)
    pipeline = make_pipeline(FunctionTransformer(), search) if is_step else search
    result = evaluate(pipeline, X, y, groups=groups, cv=2)
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
        "last": make_pipeline(StandardScaler(), GridSearchCV(SVC(), {"C": [1, 10]}, cv=3)),
    }
    result = evaluate(pipelines, X, y, groups=groups, cv=2)
    best = result.best_params
    assert best["pipeline"].tolist() == ["grid"] * 2 + ["last"] * 2
    assert all(params.keys() == {"C"} for params in best["params"])


def test_calibration_and_tuning_keep_groups_together():
    X, y, groups = make_rows()
    X[:, 0] = np.arange(len(y))
    for pipeline in (
        Pipeline([("inner", make_pipeline("passthrough", CalibratedClassifierCV(Recorder())))]),
        TunedThresholdClassifierCV(Recorder(), cv=3),
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


def test_each_image_is_computed_once_for_all_pipelines_and_folds(log):
    images, y, groups = noise(24)
    frozen = [FrozenEstimator(Resize((8, 8))), FrozenEstimator(CountingMean(log=log).fit(images))]
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
        evaluate(pipelines, images, y, groups=groups, cv=3, n_jobs=2)
    assert count(log) == len(images)
    pipelines = {C: make_pipeline("passthrough", *frozen, SVC(C=C)) for C in (1, 2)}
    evaluate(pipelines, images, y, groups=groups, cv=2)
    assert count(log) == 2 * len(images)


def test_memory_keeps_rows_for_the_next_run(log, tmp_path):
    images, y, groups = noise()
    counts = []
    for factor in (1, 1, 2):
        pipeline = make_pipeline(CountingMean(log=log, factor=factor), SVC())
        before = count(log)
        evaluate(pipeline, images, y, groups=groups, cv=2, memory=tmp_path / "features.sqlite")
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


def test_samplers_see_training_rows_only():
    X, y, groups = make_rows()
    X[:, 0] = np.arange(len(y))
    seen = []
    spy = FunctionSampler(func=lambda X, y: seen.append(X[:, 0]) or (X, y))
    result = evaluate(make_pipeline(spy, LogisticRegression()), X, y, groups=groups)
    assert len(seen) == 5
    for fold, rows in enumerate(seen):
        tested = result.predictions.loc[result.predictions["fold"] == fold, "index"]
        assert_array_equal(np.sort(rows), np.setdiff1d(np.arange(len(y)), tested))


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


@pytest.fixture(scope="module")
def result():
    """Return the result of two pipelines."""
    X, y, groups = make_rows()
    pipelines = {"<SVM>": SVC(), "nothing": DummyClassifier()}
    return evaluate(pipelines, X, y, groups=groups, target_names=["benign", "malignant"])


def test_confusion_matrix(result):
    matrix = result.confusion_matrix("<SVM>")
    rows = result.predictions.query("pipeline == '<SVM>'")
    expected = confusion_matrix(rows["target"], rows["predicted"])
    assert matrix.to_numpy().tolist() == expected.tolist()
    first, second = result.plot("confusion_matrices").axes
    assert (first.get_title(), second.get_title()) == ("<SVM>", "nothing")
    assert [text.get_text() for text in first.texts] == [str(count) for count in expected.flat]
    assert matrix.index.tolist() == matrix.columns.tolist() == ["benign", "malignant"]
    with pytest.raises(ValueError, match="pipeline is None, expected one of"):
        result.confusion_matrix()


def test_what_a_fitted_bus_learned_before_does_not_count():
    rng = np.random.default_rng(0)
    images, y = rng.integers(0, 256, (24, 24, 24), dtype=np.uint8), np.arange(24) % 2
    fitted = make_pipeline(FeatureBus(LBP()), LogisticRegression()).fit(images, y)
    fitted.set_params(featurebus__transformer=HOG(pixels_per_cell=(6, 6)))
    pipelines = {"fitted": fitted, "clone": clone(fitted)}
    result = evaluate(pipelines, images, y, groups=np.arange(24), cv=3)
    scores = result.predictions.pivot(index="index", columns="pipeline", values="probability_1")
    np.testing.assert_array_equal(scores["fitted"], scores["clone"])


def test_the_printed_table(result):
    metrics = ["accuracy", "sensitivity", "specificity", "precision", "f1", "roc_auc"]
    rows = result.scores.query("pipeline == '<SVM>'")[metrics].agg(["mean", "std"])
    cells = [f"{mean:.2f} ± {std:.2f}" for mean, std in zip(*rows.to_numpy())]
    assert " ".join(str(result).splitlines()[1].split()) == " ".join(["<SVM>", *cells])
    html = result._repr_html_()
    assert "&lt;SVM&gt;" in html
    for cell in cells:
        assert cell in html
    assert result.protocol.splitlines()[0] in html


def test_chance_is_the_last_row_and_a_reason_to_doubt():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [60, 30])
    X, groups = rng.normal(size=(90, 2)), np.arange(90)
    X[:, 1] += 3 * y
    first = FunctionTransformer(lambda X: X[:, :1])
    pipelines = {"noise": make_pipeline(first, SVC()), "svm": SVC()}
    result = evaluate(pipelines, X, y, groups=groups, cv=3)
    frame = result.to_frame()
    assert frame.index.tolist() == ["noise", "svm", "chance"]
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=0).split(X, y, groups)
    scores = cross_validate(
        DummyClassifier(strategy="most_frequent"), X, y, cv=list(folds), scoring="accuracy"
    )
    assert frame.loc["chance", "accuracy"] == pytest.approx(scores["test_score"].mean())
    assert frame.loc["chance", "roc_auc"] == 0.5
    assert frame.loc["chance", "sensitivity"] == 0
    assert result.per_class().index.get_level_values("pipeline").unique()[-1] == "chance"
    assert result.pipeline_names == ["noise", "svm"]
    assert "Not clearly better than chance: noise (Balanced accuracy, ROC AUC)." in str(result)
    assert not evaluate({"svm": SVC()}, X, y, groups=groups, cv=3).doubt
    assert json.loads(result.to_json())["table"]["pipeline"][-1] == "chance"


def test_two_classes_whose_names_say_nothing_have_a_row_each():
    X, y, groups = make_rows()
    names = ["left", "right"]
    pipelines = {"svm": SVC(), "lr": LogisticRegression()}
    result = evaluate(pipelines, X, y, groups=groups, target_names=names)
    assert result.pos_name is None
    rows = str(result).splitlines()[2:6]
    assert [re.search("left|right", row)[0] for row in rows] == ["left", "right"] * 2
    left, right = (
        evaluate(SVC(), X, y, groups=groups, target_names=names, pos_label=name) for name in names
    )
    for row, one in zip(rows, (left, right)):
        scores = one.scores["sensitivity"]
        assert f" {scores.mean():.2f} ± {scores.std():.2f} " in row
    assert "Positive class: unknown" in result.protocol
    labels = {text.get_text() for text in result.plot("intervals").axes[0].get_yticklabels()}
    assert {"Sensitivity (left)", "Sensitivity (right)"} < labels


class Mute(ClassifierMixin, BaseEstimator):
    """A classifier without scores."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X), int)


PAIRS = SVC(decision_function_shape="ovo")
GRID = GridSearchCV(SVC(), {"C": [1]})
HARD = VotingClassifier([("one", LogisticRegression())])


@pytest.mark.parametrize(
    ("classifier", "found"),
    [
        (make_pipeline(StandardScaler(), PAIRS), "ovo"),
        (GridSearchCV(SVC(), {"decision_function_shape": ["ovo"]}, cv=2), "ovo"),
        (make_pipeline(PCA(), GridSearchCV(HARD, {"voting": ["hard"]}, cv=2)), "voting='soft'"),
        (Mute(), "neither"),
    ],
)
def test_pipelines_without_a_score_per_class_are_refused(classifier, found):
    X, y, groups = make_rows(3)
    with pytest.raises(ValueError, match="one score per class") as caught:
        evaluate(classifier, X, y, groups=groups, cv=2)
    assert found in str(caught.value)
    assert "fold 0" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("model", "options"),
    [(PAIRS, {"decision_function_shape": ["ovr"]}), (HARD, {"voting": ["soft"]})],
)
def test_scores_depend_on_what_a_search_chooses(model, options):
    X, y, groups = make_rows(3)
    result = evaluate(GridSearchCV(model, options, cv=2), X, y, groups=groups, cv=2)
    assert result.scores["roc_auc"].notna().all()


TWICE = [(np.arange(60), np.arange(50, 90))]


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"pipelines": {}}, "no pipelines"),
        ({"y": np.zeros(90, int)}, "1 class"),
        ({"groups": np.zeros(89, int)}, "inconsistent numbers of samples"),
        ({"groups": [1.0, None] * 45}, "groups is NaN .* 45 .* at 1"),
        ({"target_names": ["a"]}, r"target_names is \['a'\].*\[0, 1\]"),
        ({"y": np.repeat(["a", "b"], 45), "target_names": ["b", "a"]}, "order: .*'a', 'b'"),
        ({"pos_label": "c", "target_names": ["a", "b"]}, r"pos_label is 'c'.*\['a', 'b'\]"),
        ({"cv": KFold(4)}, r"Fold 0 has the groups \[7\]"),
        ({"cv": TWICE, "groups": None}, r"Fold 0 has the samples \[50, .*54\] and 5 more"),
        ({"cv": StratifiedGroupKFold(3), "n_repeats": 2}, "n_repeats is 2.*StratifiedGroupKFold"),
        (
            {"cv": LeaveOneGroupOut(), "groups": np.arange(90) // 45, "y": np.arange(90) // 45},
            "training part of fold 0",
        ),
        ({"cv": 9, "groups": np.arange(90) % 8}, "cv is 9, and the class '0' has 8 of the groups"),
        ({"n_repeats": 0}, "n_repeats is 0"),
        ({"target_names": "ab"}, "target_names is 'ab'"),
        ({"memory": 3}, "memory is 3"),
        *(
            ({"pipelines": pipeline, "cv": 2}, r"Fold 0 of the cv of \w+ has the groups \[")
            for pipeline in (
                make_pipeline(PCA(), clone(GRID).set_params(cv=StratifiedKFold(3))),
                CalibratedClassifierCV(SVC(), cv=StratifiedKFold(3)),
                RidgeClassifierCV(cv=StratifiedKFold(3)),
            )
        ),
        ({"pipelines": TunedThresholdClassifierCV(SVC(), cv=0.3)}, "cv.*0.3"),
        (
            {"pipelines": make_pipeline(RandomOverSampler(), VotingClassifier([("a", GRID)]))},
            "GridSearchCV .*after the sampler RandomOverSampler",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Groups unknown")
def test_what_is_refused(changes, facts):
    X, y, groups = make_rows()
    arguments = {"pipelines": LogisticRegression(), "X": X, "y": y, "groups": groups} | changes
    with pytest.raises(ValueError, match=facts):
        evaluate(arguments.pop("pipelines"), **arguments)
