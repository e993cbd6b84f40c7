"""The composites of scikit-learn and imbalanced-learn, around images in every form.

What works with what is the table of the user guide, ``docs/user_guide/composites.csv``: each of its
cells is a test.
"""

import csv
from functools import cache
from pathlib import Path

import cv2
import imblearn.pipeline
import numpy as np
import pandas as pd
import pytest
from imblearn.ensemble import BalancedBaggingClassifier, EasyEnsembleClassifier
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import ensemble, model_selection
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from featbus import FeatureBus, ImageAugmenter, ImageLoader, IntensityStatistics, Resize, evaluate
from featbus.masks import with_mask

TABLE = Path(__file__).resolve().parents[1] / "docs" / "user_guide" / "composites.csv"

N = 18
Y = np.tile([0, 0, 1], N // 3)
THREE = np.arange(N) % 3
TWO_TARGETS = np.column_stack([Y, np.arange(N) % 2])
GROUPS = np.arange(N) // 3
FOLDS = {"groups": GROUPS, "cv": model_selection.StratifiedGroupKFold(2)}
DEPTH = "decisiontreeclassifier__max_depth"
GRID = {DEPTH: [1, 3]}
SEED = {"random_state": 0}


def classifier():
    return DecisionTreeClassifier(max_depth=3, **SEED)


def model(features, classifier):
    """Return the pipeline that a composite is put around; the classifier alone for rows."""
    return classifier if features is None else make_pipeline(features, classifier)


def fitted(estimator, X, y=Y):
    """Return what a fitted estimator predicts, as probabilities where it has them."""
    estimator.fit(X, y)
    predict = getattr(estimator, "predict_proba", estimator.predict)
    return np.asarray(predict(X))


def wrapped(wrap, y=Y, **parameters):
    """Return the test of an estimator that is put around a pipeline."""
    return lambda features, classifier, X: fitted(
        wrap(model(features, classifier), **parameters), X, y
    )


def called(function, key=..., **parameters):
    """Return the test of a function of a pipeline, images and classes; `key` is of its result."""
    return lambda features, classifier, X: function(
        model(features, classifier), X, Y, **parameters
    )[key]


def split(pipeline, X, y):
    train, test, y, _ = model_selection.train_test_split(X, y, stratify=y, **SEED)
    return pipeline.fit(train, y).predict_proba(test)


def importance(pipeline, X, y):
    return permutation_importance(pipeline.fit(X, y), X, y, n_repeats=2, **SEED).importances


def predicted(pipeline, X, y):
    return evaluate(pipeline, X, y, groups=GROUPS, cv=2, **SEED).predictions["predicted"]


def twice(pipeline):
    return [("first", pipeline), ("second", pipeline)]


def stack(pipeline, **parameters):
    return ensemble.StackingClassifier(twice(pipeline), classifier(), cv=2, **parameters)


def before(sampler):
    """Return the test of a sampler that comes before the extractor."""
    return wrapped(lambda pipeline: imblearn.pipeline.make_pipeline(sampler, pipeline))


def after(sampler):
    """Return the test of a sampler that comes after the extractor."""
    return lambda features, classifier, X: fitted(
        imblearn.pipeline.make_pipeline(features, sampler, classifier), X
    )


def features_by(make):
    """Return the test of a transformer that holds the extractor."""
    return lambda features, classifier, X: fitted(make_pipeline(make(features, X), classifier), X)


def regression(features, classifier, X):
    regressor = make_pipeline(features, DecisionTreeRegressor(max_depth=3, **SEED))
    target = TransformedTargetRegressor(regressor, func=np.log, inverse_func=np.exp)
    return fitted(target, X, np.arange(1.0, N + 1))


COMPOSITES = {
    "train_test_split": called(split),
    "cross_val_score": called(model_selection.cross_val_score, **FOLDS),
    "cross_val_predict": called(model_selection.cross_val_predict, **FOLDS),
    "cross_validate": called(model_selection.cross_validate, "test_score", **FOLDS),
    "featbus.evaluate": called(predicted),
    "learning_curve": called(model_selection.learning_curve, 2, **FOLDS, train_sizes=[0.5, 1.0]),
    "validation_curve": called(
        model_selection.validation_curve, 1, **FOLDS, param_name=DEPTH, param_range=[1, 3]
    ),
    "permutation_test_score": called(
        model_selection.permutation_test_score, 1, cv=2, n_permutations=3, **SEED
    ),
    "permutation_importance": called(importance),
    "GridSearchCV": wrapped(model_selection.GridSearchCV, param_grid=GRID, cv=2),
    "RandomizedSearchCV": wrapped(
        model_selection.RandomizedSearchCV, param_distributions=GRID, n_iter=2, cv=2, **SEED
    ),
    "HalvingGridSearchCV": wrapped(
        model_selection.HalvingGridSearchCV, param_grid=GRID, cv=2, min_resources=12, **SEED
    ),
    "VotingClassifier": wrapped(lambda p: ensemble.VotingClassifier(twice(p), voting="soft")),
    "StackingClassifier": wrapped(stack),
    "StackingClassifier(passthrough=True)": wrapped(stack, passthrough=True),
    "BaggingClassifier": wrapped(ensemble.BaggingClassifier, n_estimators=3, **SEED),
    "AdaBoostClassifier": wrapped(ensemble.AdaBoostClassifier, n_estimators=3, **SEED),
    "CalibratedClassifierCV": wrapped(CalibratedClassifierCV, cv=2),
    "FixedThresholdClassifier": wrapped(model_selection.FixedThresholdClassifier, threshold=0.3),
    "TunedThresholdClassifierCV": wrapped(
        model_selection.TunedThresholdClassifierCV, thresholds=5, cv=2, **SEED
    ),
    "OneVsRestClassifier": wrapped(OneVsRestClassifier, THREE),
    "OneVsOneClassifier": wrapped(OneVsOneClassifier, THREE),
    "MultiOutputClassifier": wrapped(MultiOutputClassifier, TWO_TARGETS),
    "ClassifierChain": wrapped(ClassifierChain, TWO_TARGETS),
    "SelfTrainingClassifier": wrapped(SelfTrainingClassifier, np.where(GROUPS == 0, -1, Y)),
    "TransformedTargetRegressor": regression,
    "RFE": wrapped(RFE, n_features_to_select=20),
    "SequentialFeatureSelector": lambda features, classifier, X: (
        SequentialFeatureSelector(model(features, classifier), n_features_to_select=1, cv=2)
        .fit(X, Y)
        .get_support()
    ),
    "FeatureUnion": features_by(lambda features, X: make_union(features, features)),
    "ColumnTransformer": features_by(
        lambda features, X: ColumnTransformer([("image", features, [0])])
    ),
    "FrozenEstimator": features_by(lambda features, X: FrozenEstimator(features.fit(X))),
    "RandomOverSampler, before the extractor": before(RandomOverSampler(**SEED)),
    "RandomUnderSampler, before the extractor": before(RandomUnderSampler(**SEED)),
    "SMOTE, before the extractor": before(SMOTE(k_neighbors=2, **SEED)),
    "SMOTE, after the extractor": after(SMOTE(k_neighbors=2, **SEED)),
    "BalancedBaggingClassifier": wrapped(BalancedBaggingClassifier, n_estimators=3, **SEED),
    "EasyEnsembleClassifier": wrapped(
        lambda p: EasyEnsembleClassifier(3, ensemble.BaggingClassifier(p, n_estimators=2), **SEED)
    ),
}


def make_images():
    """Return small gray images, brighter in class 1, of a brightness that overlaps."""
    rng = np.random.default_rng(3)
    level = 60 + 40 * Y + rng.normal(0, 20, N)
    pixels = level[:, None, None] + rng.normal(0, 30, (N, 16, 16))
    return pixels.clip(0, 255).astype(np.uint8)


STACK = make_images()
RAGGED = [image[: 12 + index % 5] for index, image in enumerate(STACK)]


def object_array(items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = [str(folder / f"{index}.png") for index in range(N)]
    for path, image in zip(paths, RAGGED):
        cv2.imwrite(path, image)
    return {
        "stack, gray": STACK,
        "stack, color": np.repeat(STACK[..., np.newaxis], 3, axis=-1),
        "list of arrays": RAGGED,
        "object array": object_array(RAGGED),
        "list of paths": paths,
        "array of paths": object_array(paths),
        "column of arrays": pd.DataFrame({"image": RAGGED}),
        "column of paths": pd.DataFrame({"image": paths}),
    }


@cache
def expected(name, is_stack):
    """Return what a composite gives for a column of numbers that stand for the same rows."""
    rows = IntensityStatistics().fit_transform(STACK if is_stack else RAGGED)
    look_up = FunctionTransformer(lambda column: rows[np.ravel(column)])
    return COMPOSITES[name](look_up, classifier(), np.arange(N)[:, np.newaxis])


with TABLE.open(encoding="utf-8", newline="") as file:
    ROWS = {row.pop("composite").replace("``", ""): row for row in csv.DictReader(file)}
FORMS = {  # and the column of the table that is about them
    "stack, gray": "arrays or paths",
    "stack, color": "arrays or paths",
    "list of arrays": "arrays or paths",
    "object array": "arrays or paths",
    "list of paths": "arrays or paths",
    "array of paths": "arrays or paths",
    "column of arrays": "a column of these",
    "column of paths": "a column of these",
}
QUICK = {"stack, gray", "list of paths", "column of arrays"}
CELLS = [
    pytest.param(name, form, marks=[] if form in QUICK else pytest.mark.slow)
    for name in ROWS
    for form in FORMS
]


def test_the_table_has_a_row_for_each_composite_and_a_column_for_each_form(forms):
    assert list(ROWS) == list(COMPOSITES)
    assert list(forms) == list(FORMS)
    assert {frozenset(row) for row in ROWS.values()} == {frozenset(FORMS.values())}


@pytest.mark.parametrize(("name", "form"), CELLS)
def test_each_cell_of_the_table(name, form, forms):
    features, X = IntensityStatistics(), forms[form]
    if ROWS[name][FORMS[form]] == "yes":
        found = COMPOSITES[name](features, classifier(), X)
        assert_allclose(found, expected(name, form.startswith("stack")))
    else:
        with pytest.raises((ValueError, TypeError, IndexError)):
            COMPOSITES[name](features, classifier(), X)


@pytest.mark.parametrize("name", ROWS)
def test_each_remedy_works(name):
    remedies = set(ROWS[name].values()) - {"yes"}
    assert remedies in (set(), {"column"}, {"rows"})
    if remedies == {"column"}:
        assert ROWS[name]["a column of these"] == "yes"
    if remedies == {"rows"}:
        rows = IntensityStatistics().fit_transform(RAGGED)
        assert len(COMPOSITES[name](None, classifier(), rows)) in (N, rows.shape[1])


def test_masked_images_keep_their_masks_in_a_column():
    masked = [with_mask(image, image > np.median(image)) for image in RAGGED]
    images, _ = RandomOverSampler(**SEED).fit_resample(pd.DataFrame({"image": masked}), Y)
    rows = IntensityStatistics().fit_transform(masked)
    assert not np.allclose(rows, IntensityStatistics().fit_transform(RAGGED))
    assert_array_equal(IntensityStatistics().fit_transform(images)[:N], rows)


@pytest.mark.parametrize("form", ["column of arrays", "column of paths"])
def test_every_kind_of_step_takes_a_column(form, forms):
    extract = make_pipeline(ImageLoader(color_mode="gray"), Resize(16), IntensityStatistics())
    pipeline = imblearn.pipeline.make_pipeline(
        ImageAugmenter(1), FeatureBus(extract), SMOTE(k_neighbors=2, **SEED), classifier()
    )
    bagging = ensemble.BaggingClassifier(pipeline, n_estimators=2, **SEED)
    found = fitted(bagging, forms[form])
    # An object array of one column does what a DataFrame does.
    assert_allclose(found, fitted(bagging, object_array(RAGGED)[:, np.newaxis]))
