"""The area under the ROC curve."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from featbus.scores import wins_and_pairs


@pytest.mark.parametrize("n_levels", [2, 5, 1000], ids=["two scores", "many ties", "few ties"])
def test_areas_equal_scikit_learn(n_levels):
    rng = np.random.default_rng(0)
    positive = rng.random(60) < 0.4
    score = rng.integers(n_levels, size=60) + positive * rng.integers(2, size=60)
    weights = rng.random((7, 60))
    wins, pairs = wins_and_pairs(positive, score.astype(float), weights)
    expected = [roc_auc_score(positive, score, sample_weight=row) for row in weights]
    np.testing.assert_allclose(wins / pairs, expected, rtol=1e-12)


def test_known_counts():
    positive = np.array([True, False, True, False])
    score = np.array([0.9, 0.5, 0.5, 0.1])
    weights = np.array([[1, 1, 1, 1], [0, 2, 3, 1], [1, 0, 1, 0]], dtype=float)
    wins, pairs = wins_and_pairs(positive, score, weights)
    # Of 4 pairs 3 are won and one ties; then 3 * 1 are won and 3 * 2 tie; then there is none.
    np.testing.assert_array_equal(wins, [3.5, 6, 0])
    np.testing.assert_array_equal(pairs, [4, 9, 0])


def test_equal_scores_are_a_coin_toss():
    positive = np.arange(10) < 4
    wins, pairs = wins_and_pairs(positive, np.zeros(10), np.ones((1, 10)))
    assert wins / pairs == 0.5
