"""imbalanced-learn's samplers behind extractors and FeatureBus: in the training fold alone."""

import numpy as np
import pytest
from _spies import CountingMean, count
from imblearn.combine import SMOTETomek
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline, make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_predict

from featbus import LBP, FeatureBus, ImageAugmenter, make_breast_ultrasound

DATA = make_breast_ultrasound(
    60, image_shape=64, n_images_per_patient=3, weights=[3, 1, 0], contrast=0.6, random_state=0
)
IMAGES, Y, GROUPS = DATA.images, DATA.target, DATA.groups
CV = StratifiedGroupKFold(3)

OVER, UNDER = SMOTE(k_neighbors=3, random_state=0), RandomUnderSampler(random_state=0)
LOG = []


class Spy(ClassifierMixin, BaseEstimator):
    """Notes the rows or images that it is fitted on, and those that it predicts."""

    def __init__(self, C=1.0):
        self.C = C

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.fitted_ = np.array(X), np.array(y)
        return self

    def predict(self, X):
        LOG.append((*self.fitted_, np.array(X)))
        return np.repeat(self.classes_[:1], len(X))


def rows_in(rows, known):
    """Return for each row whether it is one of the known ones."""
    known = {row.tobytes() for row in known}
    return np.array([row.tobytes() in known for row in rows])


@pytest.mark.parametrize("sampler", [OVER, UNDER, SMOTETomek(smote=OVER, random_state=0)])
def test_samplers_touch_the_training_fold_alone(sampler):
    extractor = LBP(dtype=np.float64)
    rows = extractor.transform(IMAGES)
    LOG.clear()
    pipeline = make_pipeline(FeatureBus(extractor), clone(sampler), Spy())
    cross_val_predict(pipeline, IMAGES, Y, groups=GROUPS, cv=CV)
    assert len(LOG) == 3
    for (fitted, y_fitted, seen), (train, test) in zip(LOG, CV.split(IMAGES, Y, GROUPS)):
        # Rows of the test part are predicted as they are.
        np.testing.assert_array_equal(seen, rows[test])
        assert not rows_in(fitted, rows[test]).any()
        before, after = np.bincount(Y[train]), np.bincount(y_fitted)
        if sampler is UNDER:
            assert after.sum() < before.sum()
            assert rows_in(fitted, rows[train]).all()
        else:
            assert after[1] > before[1]
        if sampler is OVER:
            np.testing.assert_array_equal(fitted[: len(train)], rows[train])
            # Synthetic rows lie between rows of the training part.
            positive, made = rows[train][Y[train] == 1], fitted[len(train) :]
            assert (made >= positive.min(axis=0) - 1e-12).all()
            assert (made <= positive.max(axis=0) + 1e-12).all()


def test_a_grid_search_over_samplers_computes_each_image_once(log, memory):
    bus = FeatureBus(CountingMean(log=log, dtype=np.float64), memory=memory)
    pipeline = Pipeline([("bus", bus), ("sampler", SMOTE()), ("classifier", Spy())])
    grid = {"sampler": [OVER, UNDER, "passthrough"], "classifier__C": [0.1, 10]}
    LOG.clear()
    search = GridSearchCV(pipeline, grid, cv=CV, scoring="accuracy", refit=False)
    search.fit(IMAGES, Y, groups=GROUPS)
    assert count(log) == len(Y)
    assert len(LOG) == 3 * 6
    rows = bus.transformer.transform(IMAGES)
    tests = [test for _, test in CV.split(IMAGES, Y, GROUPS)]
    for index, (_, y_fitted, seen) in enumerate(LOG):
        np.testing.assert_array_equal(seen, rows[tests[index % 3]])
        sampled = search.cv_results_["params"][index // 3]["sampler"] != "passthrough"
        counts = np.bincount(y_fitted)
        assert (counts[0] == counts[1]) == sampled


def test_images_are_augmented_before_and_rows_sampled_after():
    pipeline = make_pipeline(ImageAugmenter(1), FeatureBus(LBP()), SMOTE(random_state=0), Spy())
    pipeline.fit(IMAGES, Y)
    assert np.bincount(pipeline[-1].fitted_[1]).tolist() == [2 * (Y == 0).sum()] * 2
    assert len(pipeline.predict(IMAGES[:5])) == 5
