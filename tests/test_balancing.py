"""imbalanced-learn's samplers behind extractors and FeatureBus: in the training fold alone."""

from collections import Counter

import numpy as np
import pytest
from _spies import CountingMean, count
from imblearn.combine import SMOTETomek
from imblearn.over_sampling import ADASYN, SMOTE, BorderlineSMOTE, RandomOverSampler
from imblearn.pipeline import Pipeline, make_pipeline
from imblearn.under_sampling import NearMiss, RandomUnderSampler, TomekLinks
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedGroupKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import make_union
from sklearn.preprocessing import StandardScaler

from featbus import (
    GLCM,
    HOG,
    LBP,
    FeatureBus,
    ImageAugmenter,
    IntensityStatistics,
    make_breast_ultrasound,
)

DATA = make_breast_ultrasound(
    60, image_shape=64, n_images_per_patient=3, weights=[3, 1, 0], contrast=0.6, random_state=0
)
IMAGES, Y, GROUPS = DATA.images, DATA.target, DATA.groups
CV = StratifiedGroupKFold(3)

OVER_SAMPLERS = [
    SMOTE(k_neighbors=3, random_state=0),
    BorderlineSMOTE(k_neighbors=3, random_state=0),
    ADASYN(n_neighbors=3, random_state=0),
    RandomOverSampler(random_state=0),
]
UNDER_SAMPLERS = [RandomUnderSampler(random_state=0), NearMiss(), TomekLinks()]
SAMPLERS = [*OVER_SAMPLERS, *UNDER_SAMPLERS, SMOTETomek(smote=OVER_SAMPLERS[0], random_state=0)]
EXTRACTORS = {
    "LBP": LBP(),
    "HOG": HOG(pixels_per_cell=(16, 16)),
    "GLCM": GLCM(),
    "IntensityStatistics": IntensityStatistics(),
    "union": make_union(LBP(), IntensityStatistics()),
    "bus": FeatureBus(LBP()),
}
LOG = []


class Spy(ClassifierMixin, BaseEstimator):
    """Notes the rows that it is fitted on, and those that it predicts."""

    def __init__(self, C=1.0):
        self.C = C

    def fit(self, X, y):
        self.model_ = LogisticRegression(C=self.C, max_iter=1000).fit(X, y)
        self.classes_ = self.model_.classes_
        self.fitted_ = np.array(X), np.array(y)
        return self

    def predict(self, X):
        LOG.append((*self.fitted_, np.array(X)))
        return self.model_.predict(X)


def name_of(estimator):
    return type(estimator).__name__


def rows_in(rows, known):
    """Return for each row whether it is one of the known ones."""
    known = {row.tobytes() for row in known}
    return np.array([row.tobytes() in known for row in rows])


@pytest.mark.parametrize("bus", [False, True], ids=["plain", "bus"])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=name_of)
def test_samplers_touch_the_training_fold_alone(sampler, bus, tmp_path):
    extractor = LBP(dtype=np.float64)
    rows = extractor.transform(IMAGES)
    if bus:
        extractor = FeatureBus(extractor, memory=tmp_path / "rows.sqlite")
    LOG.clear()
    predicted = cross_val_predict(
        make_pipeline(extractor, clone(sampler), Spy()), IMAGES, Y, groups=GROUPS, cv=CV
    )
    assert len(predicted) == len(Y)
    assert len(LOG) == 3
    for (fitted, y_fitted, seen), (train, test) in zip(LOG, CV.split(IMAGES, Y, GROUPS)):
        # What is predicted: the rows of the test part, as they are.
        np.testing.assert_array_equal(seen, rows[test])
        before, after = Counter(Y[train].tolist()), Counter(y_fitted.tolist())
        if sampler in UNDER_SAMPLERS:
            assert after.total() < before.total()
            assert rows_in(fitted, rows[train]).all()
        else:
            assert after.total() > before.total()
            assert after[1] > before[1]
        assert not rows_in(fitted, rows[test]).any()
        if sampler in OVER_SAMPLERS:
            np.testing.assert_array_equal(fitted[: len(train)], rows[train])
            # Made up rows lie between rows of the training part.
            low, high = rows[train][Y[train] == 1].min(axis=0), rows[train][Y[train] == 1].max(0)
            made = fitted[len(train) :]
            assert (made >= low - 1e-12).all()
            assert (made <= high + 1e-12).all()


@pytest.mark.parametrize("extractor", EXTRACTORS.values(), ids=EXTRACTORS)
@pytest.mark.parametrize("sampler", [SAMPLERS[0], SAMPLERS[4]], ids=name_of)
def test_every_extractor_in_cross_validation(extractor, sampler):
    steps = [clone(extractor), StandardScaler(), clone(sampler), LogisticRegression(max_iter=1000)]
    pipeline = make_pipeline(*steps)
    scores = cross_validate(
        pipeline, IMAGES, Y, groups=GROUPS, cv=StratifiedGroupKFold(2), scoring="roc_auc"
    )
    assert np.isfinite(scores["test_score"]).all()


def test_a_grid_search_over_samplers_computes_each_image_once(tmp_path):
    log = tmp_path / "log"
    bus = FeatureBus(CountingMean(log=str(log), dtype=np.float64), memory=tmp_path / "rows.sqlite")
    pipeline = Pipeline([("bus", bus), ("sampler", SMOTE()), ("classifier", Spy())])
    samplers = [SMOTE(k_neighbors=3, random_state=0), UNDER_SAMPLERS[0], "passthrough"]
    grid = {"sampler": samplers, "classifier__C": [0.1, 10]}
    LOG.clear()
    search = GridSearchCV(pipeline, grid, cv=CV, scoring="accuracy")
    search.fit(IMAGES, Y, groups=GROUPS)
    assert count(log) == len(Y)
    assert len(LOG) == 3 * 6
    rows = CountingMean(log=str(log), dtype=np.float64).transform(IMAGES)
    tests = [test for _, test in CV.split(IMAGES, Y, GROUPS)]
    for index, (_, y_fitted, seen) in enumerate(LOG):
        np.testing.assert_array_equal(seen, rows[tests[index % 3]])
        sampled = search.cv_results_["params"][index // 3]["sampler"] != "passthrough"
        counts = np.bincount(y_fitted)
        assert (counts[0] == counts[1]) == sampled


def test_names_and_frames_pass_through_a_sampler():
    pipeline = make_pipeline(LBP(), SMOTE(random_state=0), StandardScaler())
    pipeline.set_output(transform="pandas")
    pipeline.fit(IMAGES, Y)
    frame = pipeline.transform(IMAGES)
    assert frame.columns.tolist() == LBP().get_feature_names_out().tolist()
    assert len(frame) == len(Y)


def test_images_are_augmented_before_and_rows_sampled_behind(tmp_path):
    bus = FeatureBus(LBP(), memory=tmp_path / "rows.sqlite")
    pipeline = make_pipeline(ImageAugmenter(1), bus, SMOTE(random_state=0), Spy())
    pipeline.fit(IMAGES, Y)
    counts = np.bincount(pipeline[-1].fitted_[1])
    assert counts.tolist() == [2 * (Y == 0).sum()] * 2
    assert len(pipeline.predict(IMAGES[:5])) == 5
