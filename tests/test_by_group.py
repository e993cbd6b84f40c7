"""Groups, such as patients, are judged instead of images."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.svm import SVC

from featbus.evaluation import at_sensitivity, evaluate
from featbus.evaluation._by_group import label_groups, pool_scores
from featbus.evaluation._operating_point import find_threshold

NAMES = ["benign", "malignant"]


def make_patients(n=60, effect=1.0, seed=0):
    """Return rows of one to four images of each patient, their classes and patients."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n), rng.integers(1, 5, n))
    y = (np.arange(n) % 2)[groups]
    noise = rng.normal(size=(n, 3))[groups] + rng.normal(size=(len(y), 3))
    order = rng.permutation(len(y))
    return (noise + effect * y[:, np.newaxis])[order], y[order], groups[order]


def by_hand(result, name, pool):
    """Return the class and the pooled scores of each group, by a loop over images."""
    rows = result.predictions[result.predictions["pipeline"] == name]
    found = {}
    for (fold, group), part in rows.groupby(["fold", "group"]):
        scores = part.filter(regex="^(probability|decision)_").dropna(axis=1).to_numpy()
        assert part["target"].nunique() == 1
        found[fold, group] = part["target"].iloc[0], pool(scores)
    return found


@pytest.mark.parametrize("groups_are", [int, str])
def test_metrics_are_those_of_pooled_probabilities(groups_are):
    X, y, groups = make_patients()
    groups = np.array([f"patient {g}" for g in groups]) if groups_are is str else groups
    models = {"logistic": LogisticRegression(), "svm": SVC()}
    images = evaluate(models, X, y, groups=groups, target_names=NAMES)
    result = evaluate(models, X, y, groups=groups, target_names=NAMES, by="group")
    assert len(result.predictions) == 2 * 60
    for name in models:
        found = by_hand(images, name, lambda scores: scores.mean(axis=0))
        areas, shares = [], []
        for fold in range(5):
            targets, scores = zip(*(found[key] for key in found if key[0] == fold))
            scores = np.array(scores)
            areas.append(roc_auc_score(targets, scores[:, 1]))
            shares.append(accuracy_score(targets, scores.argmax(axis=1)))
        scores = result.scores[result.scores["pipeline"] == name]
        assert_allclose(scores["roc_auc"], areas)
        assert_allclose(scores["accuracy"], shares)
    logistic = result.predictions.query("pipeline == 'logistic'")
    counts = pd.Series(groups).value_counts()
    assert_array_equal(logistic["n_images"], counts[logistic["group"]])
    assert_array_equal(groups[logistic["index"]], logistic["group"])
    expected = confusion_matrix(logistic["target"], logistic["predicted"])
    assert_array_equal(result.confusion_matrix("logistic"), expected)
    assert result.timings["n_test"].sum() == 2 * 60
    assert "Judged by group (benign 30, malignant 30): the mean" in result.protocol


def test_all_that_counts_counts_groups():
    X, y, groups = make_patients()
    rng = np.random.default_rng(1)
    result = evaluate(LogisticRegression(), X, y, groups=groups, by="group")
    # With one image per group, judging it or the group is the same.
    first = np.unique(groups, return_index=True)[1]
    alone = evaluate(LogisticRegression(), X[first], y[first], groups=groups[first], by="group")
    same = evaluate(LogisticRegression(), X[first], y[first], groups=groups[first])
    pd.testing.assert_frame_equal(alone.to_frame(), same.to_frame())
    assert_array_equal(result.chance.predictions["group"].value_counts(), 1)
    assert result.chance.to_frame()["accuracy"].item() == pytest.approx(0.5, abs=0.05)
    # Images of one patient in several copies do not narrow the interval.
    again = np.repeat(np.arange(len(y)), 3)
    copied = evaluate(LogisticRegression(), X[again], y[again], groups=groups[again], by="group")
    widths = [
        np.ptp(each.to_frame().loc["pipeline"][["accuracy_low", "accuracy_high"]])
        for each in (result, copied)
    ]
    assert widths[1] > 0.8 * widths[0]
    sites = pd.Series(rng.choice(["A", "B"], 60))[groups].to_numpy()
    table = evaluate(
        LogisticRegression(), X, y, groups=groups, by="group", subgroups={"site": sites}
    ).by_subgroup()
    assert table["n"].sum() == 60
    with pytest.warns(UserWarning, match="Only 30 groups tested, 15 of 0"):
        evaluate(
            LogisticRegression(), *make_patients(30)[:2], groups=make_patients(30)[2], by="group"
        )


def test_pooling():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    codes = np.array([0, 0, 1])
    assert_allclose(
        pool_scores(scores, codes, "mean", 1, "probability"), [[0.55, 0.45], [0.6, 0.4]]
    )
    assert_allclose(pool_scores(scores, codes, "max", 1, "probability"), [[0.2, 0.8], [0.6, 0.4]])
    assert_allclose(pool_scores(scores, codes, "max", 0, "probability"), [[0.9, 0.1], [0.6, 0.4]])
    decisions = np.array([[-1.0, 1], [2, -2], [3, -3]])
    assert_allclose(pool_scores(decisions, codes, "max", 1, "decision"), [[-1, 1], [3, -3]])
    three = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
    pooled = pool_scores(three, np.array([0, 0]), "max", None, "probability")
    assert_allclose(pooled, [[0.5 / 1.4, 0.6 / 1.4, 0.3 / 1.4]])
    median = pool_scores(scores, codes, lambda part: np.median(part, axis=0), None, "probability")
    assert_allclose(median, [[0.55, 0.45], [0.6, 0.4]])
    with pytest.raises(ValueError, match="pool is 'max', and no class is positive"):
        pool_scores(scores, codes, "max", None, "probability")
    with pytest.raises(ValueError, match="pool returned"):
        pool_scores(scores, codes, np.max, 1, "probability")


def test_labels_of_groups():
    y, groups = np.array([0, 1, 0, 0, 2]), np.array(["a", "a", "b", "b", "c"])
    with pytest.raises(ValueError, match=r"1 of 3 groups have different classes.*\['a'\].*rule"):
        label_groups(y, groups, None, 1)
    assert label_groups(y, groups, "any", 1).to_dict() == {"a": 1, "b": 0, "c": 2}
    assert label_groups(y, groups, max, None).to_dict() == {"a": 1, "b": 0, "c": 2}
    with pytest.raises(ValueError, match="no class is positive"):
        label_groups(y, groups, "any", None)
    with pytest.raises(ValueError, match="label_rule returned"):
        label_groups(y, groups, lambda classes: 7, None)
    with pytest.raises(ValueError, match="different classes"):  # benign and normal
        label_groups(np.array([0, 2]), np.array([1, 1]), "any", 1)


def test_women_with_two_classes():
    X, y, groups = make_patients()
    y = np.where(np.arange(len(y)) % 3 == 0, 1 - y, y)
    options = {"groups": groups, "by": "group", "target_names": NAMES}
    with pytest.raises(ValueError, match="different classes.*label_rule='any'"):
        evaluate(LogisticRegression(), X, y, **options)
    result = evaluate(LogisticRegression(), X, y, label_rule="any", **options)
    assert "a group is malignant if any of its images is" in result.protocol
    target = result.predictions.set_index("group")["target"]
    assert_array_equal(target.sort_index(), pd.Series(y).groupby(groups).max())
    with pytest.raises(ValueError, match="by is 'group' and groups is None"):
        evaluate(LogisticRegression(), X, y, by="group")


def test_a_patient_of_two_sites_is_judged_at_each():
    # Her finding is at A alone: at B, she is normal. Each image is told without error.
    groups, site = np.repeat(np.arange(80), 2), np.tile(["A", "B"], 80)
    y = ((groups < 20) & (site == "A")) | (groups >= 60)
    X = np.where(y, 2.0, -2.0)[:, np.newaxis]
    options = {"groups": groups, "by": "group", "label_rule": "any", "pool": "max"}
    result = evaluate(
        LogisticRegression(),
        X,
        y,
        cv="site",
        subgroups={"site": np.where(groups < 40, site, "C")},
        **options,
    )
    assert result.scores["accuracy"].tolist() == [1, 1, 1]


def test_groups_of_one_class():
    X, y, groups = make_patients()
    y = np.where(np.arange(len(y)) == np.unique(groups, return_index=True)[1][groups], 1, y)
    with pytest.raises(ValueError, match="All 60 groups are of the class '1'"):
        evaluate(
            LogisticRegression(),
            X,
            y,
            groups=groups,
            by="group",
            label_rule="any",
            target_names=NAMES,
        )


def test_a_threshold_of_decision_values_is_refused():
    X, y, groups = make_patients()
    model = FixedThresholdClassifier(
        LogisticRegression(), threshold=0.0, response_method="decision_function"
    )
    evaluate(model, X, y, groups=groups)
    with pytest.raises(ValueError, match="is one of decision values.*response_method='auto'"):
        evaluate(model, X, y, groups=groups, by="group")


def test_pipelines_are_those_of_images():
    X, y, groups = make_patients()
    model = RandomForestClassifier(10, random_state=0)
    images = evaluate(model, X, y, groups=groups)
    result = evaluate(model, X, y, groups=groups, by="group")
    means = images.predictions.groupby("group")["probability_1"].mean()
    assert_allclose(result.predictions.set_index("group")["probability_1"].sort_index(), means)


def test_a_threshold_is_that_of_pooled_probabilities():
    X, y, groups = make_patients(120)
    result = evaluate(at_sensitivity(LogisticRegression(), 0.9), X, y, groups=groups, by="group")
    called = result.predictions.groupby("fold").apply(
        lambda rows: (
            rows.loc[rows["predicted"] == 1, "probability_1"].min()
            > rows.loc[rows["predicted"] == 0, "probability_1"].max()
        )
    )
    assert called.all()
    assert result.scores["sensitivity"].mean() > 0.8
    default = evaluate(LogisticRegression(), X, y, groups=groups, by="group")
    assert result.scores["sensitivity"].mean() > default.scores["sensitivity"].mean()
    assert result.scores["specificity"].mean() < default.scores["specificity"].mean()


@pytest.mark.parametrize("positive", [0, 1])
def test_the_operating_point_of_a_model(positive):
    X, y, _ = make_patients(200)
    model = at_sensitivity(LogisticRegression(), 0.95, pos_label=positive).fit(X, y)
    position, threshold = find_threshold(model)
    assert position == positive
    probability = model.predict_proba(X)[:, positive]
    assert_array_equal(model.predict(X) == positive, probability >= threshold)
    assert np.mean(model.predict(X)[y == positive] == positive) > 0.9
    assert find_threshold(LogisticRegression()) is None
    with pytest.raises(ValueError, match="sensitivity"):
        at_sensitivity(LogisticRegression(), 0)


def test_a_higher_sensitivity_costs_specificity():
    X, y, groups = make_patients(200, effect=1.5)
    models = {s: at_sensitivity(LogisticRegression(), s) for s in (0.7, 0.9, 0.99)}
    table = evaluate(models, X, y, groups=groups).to_frame().drop("chance")
    assert table["sensitivity"].is_monotonic_increasing
    assert table["specificity"].is_monotonic_decreasing
    assert_allclose(table["sensitivity"], [0.7, 0.9, 0.99], atol=0.06)


@pytest.mark.slow
def test_coverage_of_patients():
    # 40 patients of one to four images.
    rng = np.random.default_rng(0)
    ends, truths = [], []

    def draw(n, seed):
        return make_patients(n, 1.0, seed)

    X_new, y_new, g_new = draw(10_000, 999)
    for seed in range(100):
        X, y, groups = draw(40, seed)
        table = evaluate(LogisticRegression(), X, y, groups=groups, by="group").to_frame().iloc[0]
        ends.append([table[f"{m}_{e}"] for m in ("accuracy", "roc_auc") for e in ("low", "high")])
        X, y, _ = draw(32, int(rng.integers(1e6)))
        scores = pd.Series(LogisticRegression().fit(X, y).predict_proba(X_new)[:, 1])
        scores, target = scores.groupby(g_new).mean(), pd.Series(y_new).groupby(g_new).first()
        truths.append([np.mean((scores > 0.5) == target), roc_auc_score(target, scores)])
    low, high = np.array(ends).reshape(-1, 2, 2).transpose(2, 0, 1)
    truth = np.mean(truths, axis=0)
    assert (((low <= truth) & (truth <= high)).mean(axis=0) >= 0.93).all()


class Shifted(ClassifierMixin, BaseEstimator):
    """Scores that rank well within a fold, and are higher in one fold than in the other."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.shift_ = 3 * X[0, 1]
        return self

    def predict_proba(self, X):
        second = expit(X[:, 0] + self.shift_)
        return np.column_stack([1 - second, second])

    def predict(self, X):
        return self.classes_[np.argmax(self.predict_proba(X), axis=1)]


def test_a_subgroup_is_compared_with_all_samples_by_the_same_rule():
    y, fold = np.tile([0, 1], 20), np.repeat([0, 1], 20)
    X = np.column_stack([2 * y - 1, 2 * fold - 1]).astype(float)
    folds = [(np.flatnonzero(fold != each), np.flatnonzero(fold == each)) for each in (0, 1)]
    device = {"device": np.array(["new"] * 38 + ["old"] * 2)}
    result = evaluate(Shifted(), X, y, groups=np.arange(40), cv=folds, subgroups=device)
    assert result.to_frame().loc["pipeline", "roc_auc"] == 1
    table = result.by_subgroup().set_index("value")
    assert table.loc["new", "roc_auc_high"] < 1
    assert table["below"].tolist() == ["", ""]
