"""Fitted models on other data: scores, intervals, comparisons, calibration, sites."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import FeatureBus, IntensityStatistics, make_breast_ultrasound
from featbus.evaluation import evaluate
from featbus.evaluation._intervals import calibration_line, delong_test
from featbus.evaluation._plots import net_benefit


def make_data(n=60, effect=1.0, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n), rng.integers(1, 5, n))
    y = (np.arange(n) % 2)[groups]
    noise = rng.normal(size=(n, 3))[groups] + rng.normal(size=(len(y), 3))
    return noise + effect * y[:, np.newaxis], y, groups


@pytest.fixture(scope="module")
def models():
    X, y, _ = make_data(100, seed=1)
    models = {"all": LogisticRegression(), "one": LogisticRegression(C=1e-3)}
    return {name: model.fit(X[:, :3] * [1, 1, name == "all"], y) for name, model in models.items()}


@pytest.fixture(scope="module")
def external(models):
    X, y, groups = make_data()
    return evaluate(models, X, y, groups=groups, cv="prefit")


def test_scores_are_those_of_the_fitted_models(models, external):
    X, y, groups = make_data()
    for name, model in models.items():
        scores = external.scores.set_index("pipeline").loc[name]
        probability = model.predict_proba(X)[:, 1]
        assert scores["roc_auc"] == pytest.approx(roc_auc_score(y, probability))
        assert scores["accuracy"] == pytest.approx(accuracy_score(y, model.predict(X)))
        assert scores["brier"] == pytest.approx(brier_score_loss(y, probability))
    assert external.is_prefit
    assert "fitted before, on other data" in external.protocol
    chance = external.chance.to_frame()["accuracy"].item()
    assert chance == pytest.approx(max(np.mean(y), 1 - np.mean(y)))
    # The variance due to training is left out.
    table = evaluate(models["all"], X, y, groups=groups).to_frame().loc["pipeline"]
    width = np.ptp(external.to_frame().loc["all", ["roc_auc_low", "roc_auc_high"]])
    assert width < np.ptp(table[["roc_auc_low", "roc_auc_high"]])


def test_nothing_is_fitted_again(models):
    X, y, groups = make_data()
    before = {name: model.coef_.copy() for name, model in models.items()}
    evaluate(models, X, y, groups=groups, cv="prefit")
    for name, model in models.items():
        assert_array_equal(model.coef_, before[name])
    with pytest.raises(ValueError, match="not fitted"):
        evaluate(LogisticRegression(), X, y, groups=groups, cv="prefit")


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [False, True])
def test_images(wrap):
    data = make_breast_ultrasound(20, image_shape=64, weights=[1, 1, 0], random_state=0)
    features = FeatureBus(IntensityStatistics()) if wrap else IntensityStatistics()
    pipeline = make_pipeline(features, StandardScaler(), LogisticRegression(max_iter=1000))
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1]}, cv=2)
    new = make_breast_ultrasound(20, image_shape=64, weights=[1, 1, 0], random_state=1)
    for model in (pipeline, search):
        model = clone(model).fit(data.images, data.target)
        result = evaluate(model, new.images, new.target, groups=new.groups, cv="prefit")
        found = result.predictions.sort_values("index")
        assert_array_equal(found["predicted"], model.predict(new.images))
        assert_allclose(found["probability_1"], model.predict_proba(new.images)[:, 1], rtol=1e-6)


def test_classes_may_be_some_of_the_models():
    X, y, groups = make_data(60)
    three = np.where((groups % 3 == 0) & (y == 1), 2, y)
    model = LogisticRegression().fit(X, three)
    kept = three < 2
    result = evaluate(model, X[kept], three[kept], groups=groups[kept], cv="prefit")
    assert result.labels.tolist() == [0, 1, 2]
    assert result.scores["accuracy"].item() == np.mean(model.predict(X[kept]) == three[kept])
    with pytest.raises(ValueError, match=r"y has the classes \[0, 7\].*\[0, 1, 2\]"):
        evaluate(model, X, np.where(y == 1, 7, 0), groups=groups, cv="prefit")


def compare_pairs(positive, score):
    """Return the share of pairs that a sample wins, by a loop."""
    wins = np.empty(len(score))
    for i, own in enumerate(score):
        others = score[positive != positive[i]]
        share = np.mean(own > others) + np.mean(own == others) / 2
        wins[i] = share if positive[i] else 1 - (np.mean(own > others) + np.mean(own == others) / 2)
    return wins


def test_delong():
    rng = np.random.default_rng(0)
    positive = rng.random(80) < 0.4
    scores = [rng.normal(size=80).round(1) + positive * effect for effect in (1.0, 0.6)]
    found = delong_test(positive, *scores, np.arange(80))
    # DeLong's covariance matrix, as in the paper.
    parts = np.array([compare_pairs(positive, score) for score in scores])
    covariance = sum(np.cov(parts[:, part]) / part.sum() for part in (positive, ~positive))
    contrast = np.array([1, -1])
    scale = np.sqrt(contrast @ covariance @ contrast)
    areas = [roc_auc_score(positive, score) for score in scores]
    difference = areas[0] - areas[1]
    ends = difference + np.array([-1, 1]) * norm.ppf(0.975) * scale
    assert_allclose(found, [difference, *ends, 2 * norm.sf(abs(difference) / scale)])
    # Copies of each sample in its group change nothing but for the divisors.
    copied = [np.repeat(each, 3) for each in (positive, *scores, np.arange(80))]
    assert_allclose(delong_test(*copied), found)


def test_comparisons_on_one_test_set(models, external):
    X, y, groups = make_data()
    (row,) = external.compare("roc_auc").to_dict("records")
    scores = [model.predict_proba(X)[:, 1] for model in models.values()]
    expected = delong_test(y == 1, *scores, groups)
    assert_allclose([row[key] for key in ("difference", "low", "high", "p_value")], expected)
    (row,) = external.compare("accuracy").to_dict("records")
    right = [model.predict(X) == y for model in models.values()]
    without = [
        np.mean(right[0][groups != g]) - np.mean(right[1][groups != g]) for g in np.unique(groups)
    ]
    scale = np.sqrt(59 / 60 * np.sum((without - np.mean(without)) ** 2))
    assert row["difference"] == pytest.approx(np.mean(right[0]) - np.mean(right[1]))
    assert row["high"] - row["low"] == pytest.approx(2 * 2.0009954 * scale, rel=1e-6)


def test_calibration():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=20_000)
    y = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 + 0.7 * logits)))
    probability = 1 / (1 + np.exp(-logits))
    found = calibration_line(y, probability, np.arange(20_000))
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, np.newaxis], y)
    assert found["slope"] == pytest.approx(model.coef_.item(), abs=1e-5)
    assert found["slope_low"] < 0.7 < found["slope_high"]
    assert found["intercept_low"] > 0.3
    perfect = rng.random(20_000) < probability
    line = calibration_line(perfect, probability, np.arange(20_000))
    assert line["slope_low"] < 1 < line["slope_high"]
    assert line["intercept_low"] < 0 < line["intercept_high"]
    # Copies of each sample in its group do not narrow the interval.
    some = slice(0, 500)
    copied = [np.repeat(each[some], 3) for each in (y, probability, np.arange(20_000))]
    once = calibration_line(y[some], probability[some], np.arange(500))
    assert_allclose([*calibration_line(*copied).values()], [*once.values()], rtol=1e-6)
    for target, values in ((y[some], np.full(500, 0.3)), (logits[some] > 0, probability[some])):
        assert np.isnan(calibration_line(target, values, np.arange(500))["slope"])


def test_calibration_of_probabilities_that_are_far_too_high():
    rng = np.random.default_rng(0)
    probability, y = rng.uniform(0.9, 0.99, 200), rng.random(200) < 0.3
    found = calibration_line(y, probability, np.arange(200))
    logits = np.log(probability / (1 - probability))
    root = brentq(lambda shift: np.sum(y - expit(logits + shift)), -20, 20)
    assert found["intercept"] == pytest.approx(root)


def test_nan_is_not_worse_than_chance():
    X, y, groups = make_data(60, effect=6)
    three = np.where(groups % 3 == 2, 2, y)
    model = LogisticRegression().fit(X + 20 * (three == 2)[:, np.newaxis], three)
    kept = three < 2
    result = evaluate(model, X[kept], three[kept], groups=groups[kept], cv="prefit")
    assert np.isnan(result.scores["balanced_accuracy"].item())
    assert not result.doubt
    assert "models fitted before" in result.to_latex()
    assert "jackknife variance over groups);" in result.to_latex()


def test_calibration_of_an_evaluation(models, external):
    X, y, groups = make_data()
    table = external.calibration()
    assert table["pipeline"].tolist() == [*models]
    expected = calibration_line(y == 1, models["all"].predict_proba(X)[:, 1], groups)
    assert_allclose(table[[*expected]].iloc[0], [*expected.values()])


def test_the_net_benefit():
    is_class = np.array([True, True, False, False, False])
    probability = np.array([0.9, 0.3, 0.6, 0.2, 0.1])
    found = net_benefit(is_class, probability, np.array([0.0, 0.25, 0.5]))
    assert_allclose(found, [2 / 5, 2 / 5 - 1 / 5 / 3, 1 / 5 - 1 / 5])


def test_the_decision_curve(external):
    (axis,) = external.plot("decision_curve").axes
    labels = [text.get_text().strip() for text in axis.get_legend().get_texts()]
    assert labels == ["all", "one", "act on all", "act on none"]
    _, y, _ = make_data()
    at_zero = [line.get_ydata()[0] for line in axis.lines]
    assert_allclose(at_zero, [*3 * [np.mean(y)], 0])


def test_one_site_at_a_time():
    X, y, groups = make_data()
    site = np.array(["A", "B", "C"])[groups % 3]
    moved = np.flatnonzero(groups == groups[groups % 3 == 0][-1])
    site[moved[: len(moved) // 2 + 1]] = "B"  # one patient of two sites
    subgroups = pd.DataFrame({"site": site})
    result = evaluate(LogisticRegression(), X, y, groups=groups, cv="site", subgroups=subgroups)
    assert len(result.scores) == 3
    assert "tested on one site at a time (3 in all)" in result.protocol
    for fold, rows in result.predictions.groupby("fold"):
        assert rows["site"].nunique() == 1
        train = ~np.isin(groups, rows["group"])
        assert result.timings["n_train"][fold] == train.sum()
        model = LogisticRegression().fit(X[train], y[train])
        assert_allclose(rows["probability_1"], model.predict_proba(X[rows["index"]])[:, 1])
    with pytest.raises(ValueError, match="cv is 'hospital', expected 'prefit', a column"):
        evaluate(LogisticRegression(), X, y, groups=groups, cv="hospital", subgroups=subgroups)


def test_subgroups():
    X, y, groups = make_data(120, effect=2)
    site = np.where(groups % 4 < 3, "good", "bad")
    flipped = (site == "bad") & (groups % 8 == 3)
    new = np.where(flipped, 1 - y, y)
    options = {"groups": groups, "subgroups": {"site": site, "view": None}}
    options["subgroups"]["view"] = [None if g % 2 else "CC" for g in groups]
    result = evaluate(LogisticRegression(), X, new, **options)
    table = result.by_subgroup()
    two = evaluate({"svm": SVC(), "pipeline": LogisticRegression()}, X, new, **options)
    pd.testing.assert_frame_equal(two.by_subgroup("pipeline"), table)
    assert table["column"].tolist() == ["site", "site", "view", "view"]
    assert table["value"].tolist() == ["bad", "good", "CC", "unknown"]
    bad = table.iloc[0]
    assert "accuracy" in bad["below"]
    assert table["below"][1] == ""
    assert table["n"][:2].tolist() == [np.sum(site == "bad"), np.sum(site == "good")]
    assert bad["n_groups"] == 30
    rows = result.predictions.query("site == 'bad'")
    assert bad["accuracy"] == np.mean(rows["target"] == rows["predicted"])  # of all folds
    assert evaluate(LogisticRegression(), X, y, groups=groups).by_subgroup().empty
    names = {"fold": site, "probability_1": site}
    with pytest.raises(ValueError, match=r"subgroups has the columns \['fold', 'probability_1'\]"):
        evaluate(LogisticRegression(), X, y, groups=groups, subgroups=names)


@pytest.mark.slow
def test_coverage_of_a_fitted_model():
    # 40 patients of one to four images; one model, which is not the true one.
    model = LogisticRegression().fit(*make_data(60, seed=7)[:2])
    X, y, _ = make_data(20_000, seed=8)
    scores = model.predict_proba(X)[:, 1]
    truth = np.array([np.mean((scores > 0.5) == y), roc_auc_score(y, scores)])
    ends = []
    for seed in range(200):
        X, y, groups = make_data(40, seed=100 + seed)
        table = evaluate(model, X, y, groups=groups, cv="prefit").to_frame().iloc[0]
        ends.append([table[f"{m}_{e}"] for m in ("accuracy", "roc_auc") for e in ("low", "high")])
    low, high = np.array(ends).reshape(-1, 2, 2).transpose(2, 0, 1)
    assert (((low <= truth) & (truth <= high)).mean(axis=0) >= 0.93).all()
