"""Steps that learned before the folds: where the audit finds them, and what it makes of them."""

from functools import partial

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.feature_selection import (
    SelectFromModel,
    SelectKBest,
    VarianceThreshold,
    mutual_info_classif,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from featbus import LBP, ImageFunction
from featbus.model_selection._audit import check_pipeline

N_IMAGES = 40
RNG = np.random.default_rng(0)
ROWS, Y = RNG.normal(size=(N_IMAGES, 6)), np.arange(N_IMAGES) % 2
IMAGES = RNG.integers(0, 256, (N_IMAGES, 16, 16), np.uint8)
SCALER = StandardScaler().fit(ROWS)
PCA_ = PCA(2).fit(ROWS)
ELSEWHERE = StandardScaler().fit(ROWS[:9])


def check(pipeline):
    return list(check_pipeline(pipeline, N_IMAGES))[-1]


def scale_globally(X):
    return SCALER.transform(X)


def closure(scaler):
    return lambda X: scaler.transform(X)


def scale_with(X, scaler):
    return scaler.transform(X)


STEPS_IN_FUNCTIONS = {
    "bound method": FunctionTransformer(SCALER.transform),
    "partial": FunctionTransformer(partial(SCALER.transform, copy=True)),
    "partial argument": FunctionTransformer(partial(scale_with, scaler=SCALER)),
    "closure": FunctionTransformer(closure(SCALER)),
    "lambda of a global": FunctionTransformer(lambda X: SCALER.transform(X)),
    "global": FunctionTransformer(scale_globally),
    "image function": ImageFunction(SCALER.transform),
    "pipeline": FunctionTransformer(make_pipeline(SCALER, PCA_).transform),
}


@pytest.mark.parametrize("name", STEPS_IN_FUNCTIONS)
def test_fitted_steps_in_functions_are_leaks(name):
    step = STEPS_IN_FUNCTIONS[name]
    for pipeline in (
        GridSearchCV(make_pipeline(make_union(step, LBP()), SVC()), {}),
        [step, SVC()],
    ):
        found = check(pipeline)
        assert found.severity == "leak"
        assert found.count == 1
        assert "(in a function) from 40" in found.finding


STEPS_THAT_ARE_FINE = {
    "function": FunctionTransformer(np.log1p),
    "lambda": FunctionTransformer(lambda X: np.log1p(X)),
    "partial": FunctionTransformer(partial(np.clip, a_min=0, a_max=1)),
    "unfitted": FunctionTransformer(closure(StandardScaler())),
    "extractor": FunctionTransformer(LBP().fit(IMAGES).transform),
    "frozen extractor": FrozenEstimator(LBP().fit(IMAGES)),
    "fitted extractor": LBP().fit(IMAGES),
    "fitted function": FunctionTransformer(np.log1p).fit(ROWS),
    "image function": ImageFunction(np.fliplr, {}),
    "kwargs": ImageFunction(np.rot90, {"k": 2, "axes": [0, 1]}),
    "frozen pipeline": FrozenEstimator(make_pipeline(LBP(), FunctionTransformer(np.log1p))),
}


@pytest.mark.parametrize("name", STEPS_THAT_ARE_FINE)
def test_what_has_not_learned_is_not_reported(name):
    assert check(make_pipeline(STEPS_THAT_ARE_FINE[name], SVC())).severity == "ok"


def test_candidates_of_a_search_are_cloned():
    search = GridSearchCV(make_pipeline(StandardScaler(), SVC()), {"standardscaler": [SCALER]})
    assert check(search).severity == "warning"


def select(score_func=None, rows=slice(None)):
    selector = SelectKBest(k=2) if score_func is None else SelectKBest(score_func, k=2)
    return selector.fit(ROWS[rows], Y[rows])


def elsewhere():
    """Return a selector of unknown origin that says where it comes from."""
    selector = select(mutual_info_classif, slice(9))
    selector.n_samples_ = 9
    return selector


@pytest.mark.parametrize(
    ("step", "severity", "finding"),
    [
        (FrozenEstimator(SCALER), "leak", "StandardScaler (frozen) from 40"),
        (FrozenEstimator(make_pipeline(LBP(), PCA_)), "leak", "Pipeline (frozen) from 40"),
        (FrozenEstimator(FrozenEstimator(SCALER)), "leak", "StandardScaler (frozen) from 40"),
        (FrozenEstimator(ELSEWHERE), "warning", "(frozen) from 9"),
        (FunctionTransformer(ELSEWHERE.transform), "warning", "(in a function) from 9"),
        (SCALER, "warning", "StandardScaler from 40"),
        (FrozenEstimator(select()), "leak", "SelectKBest (frozen) from an unknown number"),
        (FrozenEstimator(select(mutual_info_classif)), "leak", "from an unknown number"),
        (FrozenEstimator(elsewhere()), "warning", "SelectKBest (frozen) from 9"),
        (
            FrozenEstimator(SelectFromModel(LogisticRegression()).fit(ROWS, Y)),
            "leak",
            "SelectFromModel (frozen) from an unknown number",
        ),
        (FrozenEstimator(LogisticRegression().fit(ROWS, Y)), "leak", "from an unknown number"),
        (FrozenEstimator(VarianceThreshold().fit(ROWS)), "warning", "(frozen) from an unknown"),
        (FrozenEstimator(make_pipeline(ELSEWHERE, select(mutual_info_classif))), "warning", "9"),
        (select(), "warning", "SelectKBest from an unknown"),
    ],
)
def test_frozen_steps(step, severity, finding):
    found = check(make_pipeline(step, SVC()))
    assert found.severity == severity
    assert finding in found.finding
    assert "n_samples_" in found.remedy
