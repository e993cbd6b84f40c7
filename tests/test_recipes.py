"""Named pipelines."""

import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

from featbus import HOG, IntensityStatistics, evaluate, make_breast_ultrasound
from featbus.recipes import classifier_pipelines, fused_features

NAMES = ["SVM", "random forest", "KNN", "XGBoost"]


@pytest.fixture(scope="module")
def ultrasound():
    """Return images of benign and malignant lesions, 24 each."""
    return make_breast_ultrasound(
        48, image_shape=(64, 80), weights=[1, 1, 0], contrast=2, random_state=0
    )


def make_rows(n_classes=3, n_samples=90):
    """Return rows, unbalanced labels and groups of two."""
    rng = np.random.default_rng(0)
    groups = np.arange(n_samples) // 2
    y = np.minimum(groups % (n_classes + 2), n_classes - 1)
    return rng.normal(size=(n_samples, 30)) + 2 * (y[:, np.newaxis] == np.arange(30) % 4), y, groups


def test_fused_rows_hold_every_extractors_features(ultrasound):
    features = fused_features(size=112).fit(ultrasound.images)
    names = features.get_feature_names_out()
    assert features.transform(ultrasound.images[:2]).shape == (2, len(names))
    assert len(set(names)) == len(names)
    kinds = [name.partition("_")[0] for name in names]
    assert {kind: kinds.count(kind) for kind in kinds}["hog"] == 6 * 6 * 4 * 9
    assert set(kinds) == {"hog", "lbp", "intensity"}


@pytest.mark.parametrize("size", [64, (96, 64)])
def test_the_number_of_columns_does_not_follow_the_size(ultrasound, size):
    images = [ultrasound.images[0], ultrasound.images[1][:50]]
    expected = fused_features().fit_transform(images).shape
    assert fused_features(size=size).fit_transform(images).shape == expected


@pytest.mark.parametrize("size", [6, 0, (224, 6), (64, 64, 64), 64.0, "64", None, True])
def test_sizes_that_are_refused(size):
    with pytest.raises(ValueError, match=re.escape(f"size is {size!r}, expected an int in the")):
        fused_features(size=size)


def test_a_further_extractor_joins(ultrasound):
    images = ultrasound.images[:3]
    alone = fused_features(size=64).fit_transform(images)
    deep = IntensityStatistics(n_bins=16)
    joined = fused_features(deep=deep, size=64).fit_transform(images)
    assert_array_equal(joined[:, : alone.shape[1]], alone)
    assert joined.shape[1] == alone.shape[1] + len(deep.get_feature_names_out())


def test_fused_features_as_a_table(ultrasound):
    features = fused_features(size=64).set_output(transform="pandas")
    table = features.fit_transform(ultrasound.images[:3])
    assert table.columns.tolist() == features.get_feature_names_out().tolist()
    assert "intensity_skewness" in table


def test_four_classifiers():
    pipelines = classifier_pipelines()
    assert list(pipelines) == NAMES
    assert list(pipelines["SVM"].named_steps) == ["scale", "smote", "classifier"]
    assert list(pipelines["KNN"].named_steps) == ["scale", "pca", "smote", "lda", "classifier"]
    parts = [id(step) for pipeline in pipelines.values() for step in pipeline.named_steps.values()]
    assert len(set(parts)) == len(parts)


def test_features_come_first():
    features = fused_features()
    svm = classifier_pipelines(features=features)["SVM"]
    assert list(svm.named_steps) == ["resize", "features", "scale", "smote", "classifier"]
    assert svm["features"] is not features["features"]
    features = features.set_params(resize="passthrough")
    svm = classifier_pipelines(features=features)["SVM"]
    assert list(svm.named_steps) == ["features", "scale", "smote", "classifier"]
    hog = HOG(orientations=5)
    pipeline = classifier_pipelines(features=hog)["KNN"]
    assert list(pipeline.named_steps)[:2] == ["features", "scale"]
    assert pipeline["features"].orientations == 5


def test_the_seed_reaches_every_step():
    for pipeline in classifier_pipelines(random_state=7).values():
        for name, value in pipeline.get_params().items():
            if name in ("smote__random_state", "classifier__random_state"):
                assert value in (7, None), name
    assert classifier_pipelines(random_state=7)["XGBoost"]["classifier"].random_state == 7


@pytest.mark.parametrize("n_classes", [2, 3])
def test_all_learn_and_repeat_themselves(n_classes):
    X, y, groups = make_rows(n_classes)
    first, second = (evaluate(classifier_pipelines(), X, y, groups=groups, cv=3) for _ in range(2))
    assert first.scores["roc_auc"].min() > 0.9
    assert first.scores.equals(second.scores)


@pytest.mark.parametrize("name", NAMES)
def test_pipelines_take_images(ultrasound, name):
    pipeline = classifier_pipelines(features=fused_features(size=56))[name]
    pipeline.fit(ultrasound.images, ultrasound.target)
    assert pipeline.score(ultrasound.images, ultrasound.target) > 0.8


def test_smote_balances_in_fit_only():
    X, y, _ = make_rows(3)
    assert len(set(np.bincount(y))) > 1
    svm = classifier_pipelines()["SVM"]
    _, balanced = clone(svm["smote"]).fit_resample(X, y)
    assert len(set(np.bincount(balanced))) == 1
    assert svm.fit(X, y).predict(X).shape == y.shape


def test_grid_search_over_features_and_classifier_in_processes(ultrasound):
    pipeline = classifier_pipelines(features=fused_features(size=56))["SVM"]
    grid = {"features__hog__orientations": [4, 9], "classifier__gamma": [100.0, "scale"]}
    cv = StratifiedGroupKFold(2)
    search = GridSearchCV(pipeline, grid, cv=cv, n_jobs=2, error_score="raise")
    search.fit(ultrasound.images, ultrasound.target, groups=ultrasound.groups)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_params_["classifier__gamma"] == "scale"
    widths = 36 * 4 * search.best_params_["features__hog__orientations"] + 38
    assert search.best_estimator_["scale"].n_features_in_ == widths
    assert search.best_score_ > 0.6
