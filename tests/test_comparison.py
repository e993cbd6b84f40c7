"""Metrics of folds, and comparisons of pipelines."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from _data import make_rows
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn import metrics
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from featbus import evaluate
from featbus.evaluation import Evaluation
from featbus.evaluation._intervals import adjust_for_number, corrected_t_test
from featbus.evaluation._metrics import METRICS, FoldMetrics


def make_predictions(n_classes, decimals=1, n_samples=60):
    """Return classes, predictions, rounded scores, and weights, some of them 0."""
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=n_samples)
    scores = rng.random((n_samples, n_classes)) + 0.5 * np.eye(n_classes)[y]
    scores /= scores.sum(axis=1, keepdims=True)
    return y, scores.argmax(axis=1), scores.round(decimals), rng.integers(3, size=(4, n_samples))


def by_scikit_learn(y, predicted, score, **options):
    """Return the metrics of the class True of two."""
    return {
        "accuracy": metrics.accuracy_score(y, predicted, **options),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted, **options),
        "sensitivity": metrics.recall_score(y, predicted, **options),
        "specificity": metrics.recall_score(y, predicted, pos_label=False, **options),
        "precision": metrics.precision_score(y, predicted, zero_division=0, **options),
        "npv": metrics.precision_score(y, predicted, pos_label=False, zero_division=0, **options),
        "f1": metrics.f1_score(y, predicted, **options),
        "mcc": metrics.matthews_corrcoef(y, predicted, **options),
        "roc_auc": metrics.roc_auc_score(y, score, **options),
        "pr_auc": metrics.average_precision_score(y, score, **options),
        "brier": metrics.brier_score_loss(y, score, pos_label=True, **options),
    }


@pytest.mark.parametrize(("n_classes", "decimals"), [(2, 1), (2, 9), (3, 1), (3, 0)])
def test_weighted_metrics_are_those_of_scikit_learn(n_classes, decimals):
    """Scores of few decimals have many ties."""
    y, predicted, scores, weights = make_predictions(n_classes, decimals)
    fold = FoldMetrics(y, predicted, scores, positive=1, probabilities=True)
    overall, of_class = fold(weights.astype(float))
    for line, weight in enumerate(weights):
        options = {"sample_weight": weight}
        for label in range(n_classes):
            expected = by_scikit_learn(y == label, predicted == label, scores[:, label], **options)
            assert list(expected) == METRICS
            assert_allclose(of_class[line, label], list(expected.values()), rtol=1e-12)
        found = dict(zip(METRICS, overall[line]))
        for name in ("sensitivity", "specificity", "precision", "npv", "f1", "roc_auc", "pr_auc"):
            assert found[name] == of_class[line, 1, METRICS.index(name)]
        assert_allclose(found["accuracy"], metrics.accuracy_score(y, predicted, **options))
        assert_allclose(
            found["balanced_accuracy"], metrics.balanced_accuracy_score(y, predicted, **options)
        )
        assert_allclose(found["mcc"], metrics.matthews_corrcoef(y, predicted, **options))
        squares = ((scores - np.eye(n_classes)[y]) ** 2).sum(axis=1)
        brier = np.average(squares, weights=weight) / (2 if n_classes == 2 else 1)
        assert_allclose(found["brier"], brier)


def test_a_class_that_a_fold_lacks():
    y, predicted, scores, _ = make_predictions(3)
    y = np.where(y == 2, 0, y)
    overall, of_class = FoldMetrics(y, predicted, scores, positive=None, probabilities=True)(
        np.ones((1, len(y)))
    )
    found, absent, known = (dict(zip(METRICS, row)) for row in (overall[0], *of_class[0, [2, 0]]))
    found_of_absent = [name for name in METRICS if np.isfinite(absent[name])]
    assert found_of_absent == ["accuracy", "specificity", "brier"]
    assert {name for name in METRICS if np.isfinite(found[name])} == {"accuracy", "mcc", "brier"}
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, predicted))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(y, predicted))
    assert known["f1"] == pytest.approx(metrics.f1_score(y == 0, predicted == 0))
    assert known["roc_auc"] == pytest.approx(metrics.roc_auc_score(y == 0, scores[:, 0]))


def test_a_constant_classifier_gains_nothing_from_folds_of_one_class():
    groups = np.arange(60) // 3
    y = np.isin(groups, [0, 5, 10, 15]).astype(int)
    dummy, options = DummyClassifier(strategy="prior"), {"groups": groups, "pos_label": 1}
    with pytest.warns(UserWarning, match="lack a class"):
        result = evaluate(dummy, np.zeros((60, 2)), y, cv=PredefinedSplit(groups // 2), **options)
    means = result.to_frame().iloc[0]
    assert means["balanced_accuracy"] == 0.5
    assert means["accuracy"] == pytest.approx(0.8)
    assert means["pr_auc"] == pytest.approx(0.5)


@pytest.fixture(scope="module")
def result():
    """Return the evaluation of three pipelines, one of which knows nothing."""
    X, y, groups = make_rows()
    pipelines = {
        "bayes": GaussianNB(),
        "logistic": LogisticRegression(),
        "nothing": DummyClassifier(strategy="prior"),
    }
    return evaluate(pipelines, X, y, groups=groups, cv=3, target_names=["benign", "malignant"])


def test_the_table_by_class(result):
    table = result.per_class()
    assert table.index.names == ["pipeline", "class"]
    columns = ["accuracy", "accuracy_std", "accuracy_low", "accuracy_high", "balanced_accuracy"]
    assert table.columns[:5].tolist() == columns
    assert table.columns.tolist() == result.to_frame().columns.tolist()
    pd.testing.assert_series_equal(
        table.loc[("bayes", "malignant"), ["sensitivity", "roc_auc", "f1"]],
        result.to_frame().loc["bayes", ["sensitivity", "roc_auc", "f1"]],
        check_names=False,
    )
    rows = result.predictions[result.predictions["pipeline"] == "bayes"]
    found = table.loc[("bayes", "benign")]
    folds = [
        by_scikit_learn(part["target"] == 0, part["predicted"] == 0, part["probability_benign"])
        for _, part in rows.groupby("fold")
    ]
    assert_allclose(found[METRICS], pd.DataFrame(folds).mean()[METRICS])


def test_decision_values_have_no_brier_score():
    X, y, groups = make_rows()
    pipelines = {"svm": SVC(), "bayes": GaussianNB()}
    result = evaluate(pipelines, X, y, groups=groups, cv=2)
    assert result.to_frame().isna().sum(axis=1).to_dict() == {"svm": 4, "bayes": 0, "chance": 0}
    assert result.compare("brier")["difference"].isna().all()


# The differences of five folds, worked out by hand: mean 0.03, variance 0.00025, and
# t = 0.03 / sqrt((1/5 + 20/80) 0.00025) = 2.8284 with 4 degrees of freedom.
def test_the_corrected_t_test_by_hand():
    differences = [0.02, 0.04, 0.03, 0.01, 0.05]
    t = 0.03 / np.sqrt((1 / 5 + 20 / 80) * 0.00025)
    assert t == pytest.approx(2.8284, abs=1e-4)
    # Student's distribution with 4 degrees of freedom has a closed form.
    x = t / np.sqrt(4 + t**2)
    expected = 1 - 1.5 * (x - x**3 / 3)
    found = corrected_t_test(differences, 80, 20)
    assert found[3] == pytest.approx(expected, rel=1e-12)
    # From the table of the distribution: 97.5% are below 2.776.
    assert_allclose(found[1:3], 0.03 + 2.776 * 0.03 / t * np.array([-1, 1]), atol=1e-5)
    assert corrected_t_test([*differences, np.nan], 80, 20) == found


def test_the_t_test_without_spread():
    assert corrected_t_test([0, 0, 0], 80, 20) == (0, 0, 0, 1)
    assert_array_equal(corrected_t_test([0.5] * 3, 80, 20), [0.5, np.nan, np.nan, np.nan])
    assert_array_equal(corrected_t_test([0.1], 80, 20), [0.1, np.nan, np.nan, np.nan])
    assert np.isnan(corrected_t_test([np.nan], 80, 20)).all()


def test_compare_all_pairs(result):
    frame = result.compare()
    assert frame[["first", "second"]].to_numpy().tolist() == [
        ["bayes", "logistic"],
        ["bayes", "nothing"],
        ["logistic", "nothing"],
    ]
    folds = result.scores.pivot(index="fold", columns="pipeline", values="roc_auc")
    expected = folds["bayes"] - folds["nothing"]
    assert frame["difference"][1] == pytest.approx(expected.mean())
    test = corrected_t_test(expected, 60, 30)
    assert_allclose(frame.loc[1, ["low", "high", "p_value"]].astype(float), test[1:])
    assert_allclose(frame["p_holm"], adjust_for_number(frame["p_value"]))
    assert (frame["low"] <= frame["difference"]).all()
    assert (frame["difference"] <= frame["high"]).all()


def test_the_interval_of_a_difference_is_a_possible_one(result):
    scores = result.scores.query("fold < 2 and pipeline != 'nothing'")
    scores = scores.assign(f1=[1.0, 0, 0, 0], mcc=[1.0, -1, -1, -1])
    pair = result.predictions.query("pipeline != 'nothing'")
    # One degree of freedom: the interval of the test is wider than any difference.
    pair = replace(result, scores=scores, predictions=pair)
    found = [pair.compare(m)[["low", "high"]].iloc[0].tolist() for m in ("f1", "mcc")]
    assert found == [[-1, 1], [-2, 2]]


def test_compare_with_a_baseline(result):
    frame = result.compare("accuracy", baseline="nothing")
    assert frame["first"].tolist() == ["bayes", "logistic"]
    assert set(frame["second"]) == {"nothing"}
    turned = result.compare("accuracy", baseline="bayes").set_index("first").loc["nothing"]
    ours = frame.iloc[0]
    assert_allclose([-turned["high"], -turned["low"]], [ours["low"], ours["high"]])
    assert turned["p_value"] == ours["p_value"]


def test_a_single_split_is_tested_by_its_groups():
    X, y, groups = make_rows()
    split = [(np.flatnonzero(groups < 20), np.flatnonzero(groups >= 20))]
    pipelines = {"bayes": GaussianNB(), "logistic": LogisticRegression()}
    result = evaluate(pipelines, X, y, groups=groups, cv=split)
    found = result.compare("accuracy").iloc[0]
    assert found["low"] < found["difference"] < found["high"]
    assert (found["low"] < 0 < found["high"]) == (found["p_value"] > 0.05)
    assert not result.to_frame()[["accuracy_low", "accuracy_high"]].isna().any(axis=None)
    assert "nan" not in repr(result)


def test_the_published_table():
    # Counts and percentages of a published system, cut off after two digits.
    target = np.repeat([0, 0, 1, 1], [151, 2, 3, 69])
    predicted = np.repeat([0, 1, 0, 1], [151, 2, 3, 69])
    predictions = pd.DataFrame({"pipeline": "svm", "target": target, "predicted": predicted})
    result = Evaluation(
        pd.DataFrame(), predictions, np.array([0, 1]), ["benign", "malignant"], None, "How."
    )
    table = result.published_table()
    row = table.loc["malignant"]
    assert row[["TP", "TN", "FP", "FN"]].tolist() == [69, 151, 2, 3]
    published = row[["accuracy", "sensitivity", "specificity", "precision", "F-score"]]
    assert_allclose(published, [97.77, 95.83, 98.69, 97.18, 96.5], atol=0.01)
    assert table.loc["benign", ["TP", "TN", "FP", "FN"]].tolist() == [151, 69, 3, 2]
    assert table.loc["benign", "accuracy"] == row["accuracy"]


def test_repeats_use_other_folds_and_are_one_sample_of_groups():
    X, y, groups = make_rows()
    once = evaluate(GaussianNB(), X, y, groups=groups, cv=3)
    twice = evaluate(GaussianNB(), X, y, groups=groups, cv=3, n_repeats=2)
    assert "repeated 2 times" in twice.protocol
    first = twice.predictions["repeat"] == 0
    assert_frame_equal(twice.predictions[first], once.predictions)
    by_repeat = twice.predictions.pivot(index="index", columns="repeat", values="fold")
    assert not by_repeat.isna().any(axis=None)
    assert (by_repeat[0] != by_repeat[1]).any()
    assert (twice.predictions.groupby(["repeat", "group"])["fold"].nunique() == 1).all()
    # Repeats are no new patients: the interval hardly gets narrower.
    widths = [np.ptp(each.to_frame()[["roc_auc_low", "roc_auc_high"]]) for each in (once, twice)]
    assert widths[1] > 0.8 * widths[0]


def test_a_result_tells_its_seed():
    X, y, groups = make_rows()
    drawn = evaluate(GaussianNB(), X, y, groups=groups, cv=3, random_state=None)
    again = evaluate(GaussianNB(), X, y, groups=groups, cv=3, random_state=drawn.random_state)
    assert_frame_equal(drawn.predictions, again.predictions)
    assert_frame_equal(drawn.to_frame(), again.to_frame())


def test_versions_and_timings(result):
    assert {"python", "featbus", "scikit-learn"} <= set(result.versions)
    assert result.versions["numpy"] == np.__version__
    timings = result.timings
    assert len(timings) == len(result.scores)
    assert (timings[["fit_s", "predict_s"]] > 0).all(axis=None)
    assert (timings["n_train"] + timings["n_test"] == 90).all()


def test_json_has_all_that_the_tables_are_made_of(result, tmp_path):
    text = result.to_json()
    found = json.loads(text)
    table = found.pop("table")

    def rebuild(found):
        names = "scores", "predictions", "timings"
        tables = {name: pd.DataFrame(found.pop(name)) for name in names}
        return Evaluation(**found | tables | {"labels": np.array(found["labels"])})

    assert found.pop("summary") == result.summary
    del found["chance"]["table"], found["chance"]["summary"]
    again = replace(rebuild(found), chance=rebuild(found["chance"]))
    assert str(again) == str(result)
    assert_frame_equal(again.to_frame(), result.to_frame())
    assert_frame_equal(again.compare(), result.compare())
    place = table["pipeline"].index("logistic")
    high = result.to_frame().loc["logistic", f"{table['metric'][place]}_high"]
    assert table["high"][place] == high
    result.to_json(tmp_path / "result.json")
    assert (tmp_path / "result.json").read_text(encoding="utf-8") == text


def test_json_of_what_it_has_no_form_for():
    X, y, groups = make_rows()
    names = np.array(["bösartig", "gut"])
    pipelines = {"svm": SVC(), "knn": KNeighborsClassifier()}
    result = evaluate(pipelines, X, names[y], groups=groups, cv=2)
    best = pd.DataFrame({"params": [{"missing": np.nan, "model": SVC(), "C": np.inf}]})
    text = replace(result, best_params=best).to_json()
    found = json.loads(text, parse_constant=pytest.fail)
    assert found["best_params"] == {"params": [{"missing": None, "model": "SVC()", "C": None}]}
    assert found["labels"] == ["bösartig", "gut"]
    assert found["scores"]["brier"][:2] == [None, None]
    assert found["predictions"]["probability_gut"][0] is None
    assert set(found["predictions"]["target"]) == {"bösartig", "gut"}


def test_what_compare_refuses(result):
    with pytest.raises(ValueError, match="metric is 'auc', .*'roc_auc'"):
        result.compare("auc")
    with pytest.raises(ValueError, match="pipeline is 'svm'"):
        result.compare(baseline="svm")
    alone = replace(result, predictions=result.predictions.query("pipeline == 'bayes'"))
    with pytest.raises(ValueError, match="single pipeline 'bayes'"):
        alone.compare()


def test_a_class_that_is_never_predicted_has_precision_0():
    y = np.repeat([0, 1], [5, 3])
    scores = np.column_stack([y, 1.0 - y])
    fold = FoldMetrics(y, np.zeros(8, int), scores, positive=1, probabilities=True)
    found = dict(zip(METRICS, fold(np.ones((1, 8)))[0][0]))
    assert found["precision"] == found["sensitivity"] == found["f1"] == found["mcc"] == 0
