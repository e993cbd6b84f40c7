"""FeatureTable, HashedGroupKFold and StreamingClassifier: learning from rows on a disk."""

import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from _adapters import find_failed_checks
from _spies import noise, write_images
from sklearn.base import clone
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import _safe_indexing

from featbus import LBP, FeatureBus, FeatureStore, evaluate
from featbus.bus import FeatureTable, HashedGroupKFold, StreamingClassifier

pytest.importorskip("pyarrow", reason="the extra featbus[parquet] is not installed")

BROKEN, MASK = 7, np.arange(60) % 7 == 0
ROWS = [slice(3, 50, 4), np.array([41, 3, 3, 59, 0]), [2, 1, 2], MASK, (np.array([5, 4]), ...)]
FACTS = np.array([(str(index // 3), ["smooth", "noisy"][index % 2]) for index in range(60)], object)
FACTS[BROKEN] = None
SGD = SGDClassifier(loss="log_loss", random_state=0)
PIPELINE = make_pipeline(StandardScaler(), IncrementalPCA(5), SGD)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return the rows of images, one of which is damaged and without group and label."""
    images = noise(60, (12, 12))
    images[::2] = np.sort(images[::2], axis=2)
    paths = write_images(tmp_path_factory.mktemp("images"), images)
    paths[BROKEN].write_bytes(b"")
    source = pd.DataFrame(FACTS, columns=["group", "label"]).assign(path=paths)
    directory = tmp_path_factory.mktemp("rows")
    bus = FeatureBus(LBP(), on_error="nan")
    with pytest.warns(UserWarning, match="1 of 60"):
        return bus.to_parquet(source, directory, partition_bytes=2_000)


@pytest.fixture
def valid(table):
    return table[np.delete(np.arange(60), BROKEN)]


def write_rows(folder, n_rows, n_features=4):
    """Write rows of zeros, 10,000 to a partition."""
    digests = [index.to_bytes(16) for index in range(n_rows)]
    with FeatureStore(folder / f"{n_rows}.sqlite") as store:
        store.write(bytes(16), "", digests, np.zeros((n_rows, n_features), np.float32))
        store.export(folder / str(n_rows))
    return FeatureTable(next((folder / str(n_rows)).iterdir()))


def test_the_table_stands_for_the_array(table):
    array = np.asarray(table)
    expected = LBP().fit_transform(np.delete(table.paths, BROKEN).tolist())
    np.testing.assert_array_equal(np.delete(array, BROKEN, axis=0), expected)
    assert np.isnan(array[BROKEN]).all()
    assert table.feature_names == LBP().get_feature_names_out().tolist()
    assert repr(table) == "FeatureTable: 60 rows of 10 features"
    assert len(table.manifest) > 3
    np.testing.assert_array_equal(np.column_stack([table.groups, table.labels]), FACTS)
    path, error = table[BROKEN - 1 :].failures().loc[1]
    assert path == table.paths[BROKEN]
    assert "empty" in error


@pytest.mark.parametrize("rows", ROWS)
def test_indexing_selects_rows(table, rows):
    part = table[rows]
    np.testing.assert_array_equal(part, np.asarray(table)[rows])
    np.testing.assert_array_equal(part.paths, table.paths[rows[0] if type(rows) is tuple else rows])
    np.testing.assert_array_equal(_safe_indexing(part, [1, 0, 1]), np.asarray(part)[[1, 0, 1]])


@pytest.mark.parametrize("rows", [-1, np.int64(5), (3, slice(2)), (slice(9), ROWS[2]), ([1], 0)])
def test_indexing_columns_or_a_single_row_reads_them(table, rows):
    np.testing.assert_array_equal(table[rows], np.asarray(table)[rows])
    np.testing.assert_array_equal(table[:, np.array([3, 1])], np.asarray(table)[:, [3, 1]])


@pytest.mark.parametrize("harm", [None, lambda content: content[:-9], lambda content: content * 2])
def test_files_that_are_not_those_of_the_manifest(harm, tmp_path):
    table = write_rows(tmp_path, 10_001)
    (path,) = tmp_path.glob("*/*/part-000001*")
    path.write_bytes(harm(path.read_bytes())) if harm else path.unlink()
    assert np.asarray(table[:5]).shape == (5, 4)
    with pytest.raises(OSError, match=rf"{path.name}' is not the file .* Delete it if"):
        np.asarray(table)
    with pytest.raises(FileNotFoundError, match=r"no rows in .*nowhere'.*to_parquet"):
        FeatureTable(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_the_fold_of_a_group_does_not_depend_on_others():
    groups, folds = np.repeat([f"patient {index}" for index in range(200)], 3), {}
    for some in (groups, groups[:300]):
        for fold, (train, test) in enumerate(HashedGroupKFold().split(some, groups=some)):
            assert not {*some[train]} & {*some[test]}
            assert all(folds.setdefault(group, fold) == fold for group in some[test])
    assert len(folds) == 200
    groups = np.repeat([f"patient {index}" for index in range(200)], 3)
    inner, _ = next(HashedGroupKFold(2).split(groups, groups=groups))
    assert len(list(HashedGroupKFold(4).split(inner, groups=groups[inner]))) == 4
    assert repr(HashedGroupKFold(3)) == "HashedGroupKFold(n_splits=3)"
    bad = {"is None": None, "has . of 9": ["a"] * 9, "missing|None": [None] * 9}
    for message, groups in bad.items():
        with pytest.raises(ValueError, match=message):
            list(HashedGroupKFold().split(np.zeros((9, 1)), groups=groups))


def test_checks_of_scikit_learn():
    assert find_failed_checks(StreamingClassifier(SGD, random_state=0)) == {}


@pytest.mark.parametrize("estimator", [PIPELINE, make_pipeline(Normalizer(), "passthrough", SGD)])
def test_a_table_and_its_array_give_the_same_model(valid, estimator):
    model = clone(StreamingClassifier(estimator)).set_params(batch_size=14, random_state=0)
    expected = model.fit(np.asarray(valid), valid.labels).decision_function(np.asarray(valid))
    again = pickle.loads(pickle.dumps(clone(model).fit(valid, valid.labels)))
    np.testing.assert_array_equal(again.decision_function(valid), expected)
    assert again.predict(valid).tolist() == again.classes_[1 * (expected > 0)].tolist()
    assert again.predict_proba(valid).shape == (59, 2)
    assert again.score(valid, valid.labels) > 0.9


@pytest.mark.filterwarnings("ignore::featbus.evaluation.FewGroupsWarning")
def test_evaluate_takes_a_table(valid):
    model = StreamingClassifier(PIPELINE, batch_size=14, random_state=0)
    options = {"groups": valid.groups, "cv": HashedGroupKFold(3)}
    results = [evaluate(model, X, valid.labels, **options) for X in (valid, np.asarray(valid))]
    pd.testing.assert_frame_equal(*(result.predictions for result in results))
    pd.testing.assert_frame_equal(*(result.to_frame() for result in results))


@pytest.mark.filterwarnings("ignore:`XGBRFClassifier` is deprecated")
@pytest.mark.xgboost
@pytest.mark.parametrize("names", [["noisy", "dark"], ["c", "a", "b"]])
def test_xgboost(table, names):
    from xgboost import XGBClassifier, XGBRFClassifier

    y, array = np.array(names * 30)[:60], np.asarray(table)  # with a row of NaN
    inner = XGBClassifier(n_estimators=5, max_depth=3, max_bin=64, tree_method="hist")
    model = StreamingClassifier(inner, batch_size=25).fit(table, y)
    expected = inner.fit(array, np.unique(y, return_inverse=True)[1]).predict_proba(array)
    np.testing.assert_allclose(model.predict_proba(table), expected, atol=1e-5)
    np.testing.assert_array_equal(model.predict(table), np.unique(y)[expected.argmax(axis=1)])
    assert not hasattr(model, "decision_function")
    inner.set_params(missing=0.0)
    zeros = np.where(array < np.median(array), 0, array)
    model.fit(zeros, y)
    expected = inner.fit(zeros, np.unique(y, return_inverse=True)[1]).predict_proba(zeros)
    np.testing.assert_allclose(model.predict_proba(zeros), expected, atol=1e-5)
    forest = XGBRFClassifier(n_estimators=2)
    for bad in (forest, inner.set_params(early_stopping_rounds=1), XGBClassifier(objective=max)):
        with pytest.raises(ValueError, match="cannot be trained in batches"):
            StreamingClassifier(bad).fit(table, y)


def test_what_it_cannot_learn_from(table, valid):
    y = np.arange(60) % 2
    cases = [(table, y, "NaN"), (table, table.labels, "missing|None"), (valid, y, "inconsistent")]
    for X, target, message in cases:
        with pytest.raises(ValueError, match=message):
            StreamingClassifier(SGD).fit(X, target)
    fitted = StreamingClassifier(SGD).fit(valid, valid.labels)
    for estimator in (SVC(), make_pipeline(PCA(2), SGD), FrozenEstimator(fitted.estimator_)):
        with pytest.raises(ValueError, match=r"(SVC|PCA|Frozen.*)\(.* has no partial_fit"):
            StreamingClassifier(estimator).fit(valid, valid.labels)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        fitted.predict(table[[]])


def test_a_frozen_step_stays_as_it_is(valid):
    scaler = StandardScaler().fit(np.zeros((3, 10)))
    StreamingClassifier(make_pipeline(FrozenEstimator(scaler), SGD)).fit(valid, valid.labels)
    assert scaler.n_samples_seen_ == 3


def test_memory_is_that_of_a_batch(tmp_path, monkeypatch):
    opened, peaks, method = [], [], FeatureTable._open
    for n_rows in (10_000, 40_000):
        table = write_rows(tmp_path, n_rows, n_features=64)
        model, y = StreamingClassifier(SGD, batch_size=2_000, max_iter=1), np.arange(len(table)) % 2
        tracemalloc.start()
        model.fit(table, y)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 30_000 * 60  # bytes of targets and positions; of rows: 256
    monkeypatch.setattr(FeatureTable, "_open", lambda *a: opened.append(a) or method(*a))
    model.predict(table[y > 0])
    assert len(opened) <= 2 * 10
