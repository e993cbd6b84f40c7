"""Intervals of scores, and the warning of few groups."""

import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

from featbus import evaluate
from featbus.evaluation import FewGroupsWarning
from featbus.evaluation._intervals import score_interval
from featbus.evaluation._metrics import METRICS, metric_range


def make_rows(n_groups=42, n_classes=2, seed=0, effect=0.5):
    """Return rows, labels and groups of three."""
    rng = np.random.default_rng(seed)
    groups = np.arange(3 * n_groups) // 3
    y = rng.permutation(np.arange(n_groups) % n_classes)[groups]
    X = rng.normal(size=(n_groups, 4))[groups] + rng.normal(size=(3 * n_groups, 4))
    return X + effect * y[:, np.newaxis], y, groups


def evaluated(classifier, **options):
    X, y, groups = make_rows(**options)
    return evaluate(classifier, X, y, groups=groups)


def plain_jackknife(result, metric):
    """Leave out the rows of one group after another, and compute the metric anew."""
    rows = result.predictions
    sizes = rows.groupby("fold").size()
    means = []
    for group in rows["group"].unique():
        rest = rows[rows["group"] != group]
        folds = {fold: metric(part) for fold, part in rest.groupby("fold")}
        shares = rest.groupby("fold").size() / sizes
        means.append(np.average(list(folds.values()), weights=shares[list(folds)]))
    return (len(means) - 1) * np.var(means)


def accuracy(rows):
    return np.mean(rows["target"] == rows["predicted"])


def roc_auc(rows):
    return roc_auc_score(rows["target"], rows["probability_1"])


@pytest.mark.parametrize("metric", [accuracy, roc_auc])
def test_the_variance_is_that_of_a_plain_loop(metric):
    result = evaluated(GaussianNB())
    overall, of_class = result._left_out["pipeline"]
    column = METRICS.index(metric.__name__)
    assert overall[0, column] == pytest.approx(plain_jackknife(result, metric))
    assert_allclose(of_class[0, :, column], overall[0, column])


def test_intervals_of_groups_are_wider_than_those_of_samples():
    rng = np.random.default_rng(0)
    groups = np.arange(480) // 8
    y = (groups % 2).astype(int)
    X = (y + rng.normal(size=60)[groups])[:, np.newaxis]  # images of one patient are the same
    grouped = evaluate(LogisticRegression(), X, y, groups=groups).to_frame()
    with pytest.warns(UserWarning, match="Groups unknown"):
        alone = evaluate(LogisticRegression(), X, y).to_frame()
    ends = ["accuracy_low", "accuracy_high"]
    assert np.ptp(grouped.loc["pipeline", ends]) > 2 * np.ptp(alone.loc["pipeline", ends])


@pytest.mark.parametrize(
    ("classifier", "n_classes"),
    [(LinearDiscriminantAnalysis(), 3), (DummyClassifier(strategy="prior"), 2), (SVC(), 3)],
    ids=["lda", "nothing", "svm"],
)
def test_intervals_are_within_range_and_contain_the_mean(classifier, n_classes):
    result = evaluated(classifier, n_classes=n_classes)
    for table, is_of_class in ((result.to_frame(), False), (result.per_class(), True)):
        for metric in METRICS:
            smallest, largest = metric_range(metric, 2 if is_of_class else n_classes)
            columns = [f"{metric}_low", metric, f"{metric}_high"]
            part = table[columns].dropna(subset=metric)
            assert len(part) == len(table) or metric == "brier"
            low, mean, high = part.to_numpy().T
            assert (smallest <= low).all()
            assert (low <= mean).all()
            assert (mean <= high).all()
            assert (high <= largest).all()
            assert (low < high).all()


def test_perfect_classifiers_have_intervals():
    scores = evaluated(LinearDiscriminantAnalysis(), effect=20).to_frame().iloc[0]
    assert (scores[METRICS].drop("brier") == 1).all()
    low = scores.filter(like="_low").rename(lambda name: name.removesuffix("_low"))
    # 42 groups, 21 of each class.
    t = stats.t.ppf(0.975, [41, 20]) ** 2
    assert_allclose(low[["accuracy", "sensitivity"]], [42 / (42 + t[0]), 21 / (21 + t[1])])
    assert low["mcc"] == pytest.approx(2 * low["sensitivity"] - 1)
    assert low["roc_auc"] == low["sensitivity"]


def test_scores_without_a_variance_have_intervals():
    X, y, _ = make_rows()
    few = [*np.flatnonzero(y == 0)[:1], *np.flatnonzero(y == 1)[:1]]
    split = [(np.setdiff1d(np.arange(126), few), np.array(few))]
    with pytest.warns(FewGroupsWarning, match="Only 2 groups tested"):
        result = evaluate(GaussianNB(), X, y, groups=np.arange(126), cv=split)
    low, high = (result.to_frame().filter(like=end).to_numpy() for end in ("_low", "_high"))
    assert (high - low > 0.9).all()


def test_the_bias_of_the_average_precision_widens_its_interval():
    score, variance = np.full(len(METRICS), 0.7), np.full(len(METRICS), 0.01)
    n_groups = np.full(len(METRICS), 40)
    unbiased, biased = np.stack([variance, 0 * variance]), np.stack([variance, 0 * variance + 0.1])
    low, high = score_interval(score, unbiased, n_groups)
    lower, as_high = score_interval(score, biased, n_groups)
    moved = np.array(METRICS) == "pr_auc"
    assert_array_equal(lower < low, moved)
    assert_array_equal(as_high, high)


@pytest.mark.parametrize(
    ("n_groups", "n_rare", "n_tested", "facts"),
    [
        (40, 20, 40, None),
        (39, 19, 39, "39 groups.* 40"),
        (60, 6, 60, "6 of sick.* 8"),
        (60, 30, 15, "15 groups"),
    ],
)
def test_few_tested_groups_are_told(n_groups, n_rare, n_tested, facts):
    X, _, groups = make_rows(n_groups)
    y = (groups % n_groups < 2 * n_rare).astype(int) * (groups % 2)
    cv = 5 if n_tested == n_groups else PredefinedSplit((groups < n_tested) - 1)
    names = ["healthy", "sick"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = evaluate(GaussianNB(), X, y, groups=groups, cv=cv, target_names=names)
    assert ("unreliable" in result.protocol) == (facts is not None)
    if facts is None:
        assert caught == []
        return
    (note,) = [str(one.message) for one in caught if one.category is FewGroupsWarning]
    assert re.search(facts, note)
    assert caught[0].filename == __file__
    for text in (str(result), result.to_json(), result._repr_html_()):
        assert note in text


@pytest.mark.slow
def test_coverage():
    # 40 groups of 1 to 4 images. The percentiles of a bootstrap contain 85 to 90%.
    rng = np.random.default_rng(0)
    ends, truths = [], []
    centers = np.array([[0.0, 0, 0], [0.9, 0, 0]])

    def draw(n_groups, most):
        groups = np.repeat(np.arange(n_groups), rng.integers(1, most + 1, n_groups))
        y = rng.permutation(np.arange(n_groups) % 2)[groups]
        X = rng.normal(size=(n_groups, 3))[groups] + rng.normal(size=(len(y), 3))
        return X / np.sqrt(2) + centers[y], y, groups

    X_new, y_new, _ = draw(10_000, 1)
    for _ in range(100):
        X, y, groups = draw(40, 4)
        table = evaluate(LinearDiscriminantAnalysis(), X, y, groups=groups).to_frame().iloc[:1]
        ends.append(
            [table[f"{m}_{end}"].item() for m in ("accuracy", "roc_auc") for end in ("low", "high")]
        )
        X, y, _ = draw(32, 4)
        scores = LinearDiscriminantAnalysis().fit(X, y).predict_proba(X_new)[:, 1]
        truths.append([np.mean((scores > 0.5) == y_new), roc_auc_score(y_new, scores)])
    low, high = np.array(ends).reshape(-1, 2, 2).transpose(2, 0, 1)
    truth = np.mean(truths, axis=0)
    assert (((low <= truth) & (truth <= high)).mean(axis=0) >= 0.93).all()
