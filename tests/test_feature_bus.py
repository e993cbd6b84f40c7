"""FeatureBus."""

import os
import pickle

import cv2
import joblib
import numpy as np
import pandas as pd
import pytest
from _spies import CountingMean, count
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import estimator_html_repr

from featbus import HOG, LBP, FeatureBus, FeatureStore, ImageLoader, IntensityStatistics, Resize
from featbus.bus import FingerprintError
from featbus.images import check_image


def noise(n_images, shape=(32, 40), seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n_images, *shape)).astype(np.uint8)


def everything():
    return make_pipeline(
        Resize((32, 32)), make_union(HOG(cells_per_block=(2, 2)), LBP(), IntensityStatistics())
    )


def count_pixels(images):
    return np.array([[check_image(image).size] for image in images])


@pytest.fixture
def memory(tmp_path):
    return tmp_path / "features.sqlite"


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


@pytest.fixture
def paths(tmp_path):
    names = [tmp_path / f"scan ({index}).png" for index in range(12)]
    for name, image in zip(names, noise(12)):
        cv2.imwrite(str(name), image)
    return names


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("batch_size", [1, 5, 32])
def test_rows_equal_those_of_the_transformer(stored, n_jobs, batch_size, memory):
    images = noise(12)
    bus = FeatureBus(
        everything(), memory=memory if stored else None, n_jobs=n_jobs, batch_size=batch_size
    )
    expected = everything().fit_transform(images)
    np.testing.assert_array_equal(bus.fit_transform(images), expected)
    np.testing.assert_array_equal(bus.transform(images[::-1]), expected[::-1])


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_joblib_backends(backend, memory):
    images = noise(12)
    with joblib.parallel_config(backend, n_jobs=2):
        rows = FeatureBus(everything(), memory=memory, batch_size=3).fit_transform(images)
    np.testing.assert_array_equal(rows, everything().fit_transform(images))


def test_paths_ragged_images_and_unions(paths):
    ragged = [noise(1, (32 + index, 40))[0] for index in range(5)]
    for batch in (paths, ragged, pd.Series(ragged)):
        rows = FeatureBus(everything(), batch_size=2).fit_transform(batch)
        np.testing.assert_array_equal(rows, everything().fit_transform(batch))


def test_a_loader_with_a_say_of_its_own_gets_the_paths(paths):
    colour = np.zeros((32, 40, 3), np.uint8)
    colour[..., 0] = 255
    cv2.imwrite(str(paths[0]), colour)
    transformer = make_pipeline(ImageLoader(color_mode="gray"), IntensityStatistics())
    rows = FeatureBus(transformer).fit_transform(paths)
    np.testing.assert_array_equal(rows, transformer.fit_transform(paths))


def test_the_second_time_nothing_is_computed_and_rows_are_bit_identical(memory, log):
    images = noise(20)
    bus = FeatureBus(CountingMean(log=log), memory=memory)
    first = bus.fit_transform(images)
    before = count(log)
    np.testing.assert_array_equal(bus.fit(images).transform(images), first)
    assert bus.transform(images).tobytes() == first.tobytes()
    assert count(log) == before == 20


def test_each_content_is_computed_once(memory, log):
    image = noise(1)[0]
    bus = FeatureBus(CountingMean(log=log), memory=memory, batch_size=2).fit([image])
    before = count(log)
    rows = bus.transform([image, image, image[::-1], image, image[::-1]])
    assert count(log) == before + 2
    np.testing.assert_array_equal(rows, rows[[0, 0, 2, 0, 2]])


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_grid_search_computes_each_image_once_and_then_never(n_jobs, memory, log):
    images, y = noise(40), np.arange(40) % 2
    bus = FeatureBus(CountingMean(log=log), memory=memory, batch_size=4).fit(images)
    pipeline = make_imblearn_pipeline(bus, StandardScaler(), SMOTE(k_neighbors=2), SVC())
    grid = [
        {"svc": [SVC()], "svc__C": [0.1, 1, 10, 100], "standardscaler__with_mean": [True, False]},
        {"svc": [RandomForestClassifier(5)], "svc__max_depth": [1, 2, 3, 4]},
    ]
    passes = []
    for _ in range(2):
        before = count(log)
        search = GridSearchCV(pipeline, grid, cv=StratifiedKFold(5), n_jobs=n_jobs)
        search.fit(images, y)
        passes.append((count(log) - before) / len(images))
    assert len(search.cv_results_["params"]) == 12
    assert passes == [1, 0]


def test_parameters_of_inner_steps_are_reachable_and_change_the_key(memory, log):
    images = noise(8)
    bus = FeatureBus(CountingMean(log=log), memory=memory).fit(images)
    assert bus.get_params()["transformer__factor"] == 1
    one = bus.transform(images)
    other = clone(bus).set_params(transformer__factor=2).fit_transform(images)
    np.testing.assert_allclose(other[:, 0], 2 * one[:, 0], rtol=1e-6)


def test_learned_state_is_part_of_the_key(memory):
    images = noise(20)
    bus = FeatureBus(make_pipeline(LBP(), PCA(2)), memory=memory)
    first = bus.fit(images[:10]).transform(images[10:])
    other = clone(bus).fit(images[5:15]).transform(images[10:])
    assert not np.allclose(first, other)
    np.testing.assert_array_equal(
        other, make_pipeline(LBP(), PCA(2)).fit(images[5:15]).transform(images[10:])
    )
    assert len(FeatureStore(memory).info()) == 2


def test_stateless_transformers_share_rows_between_folds(memory, log):
    images = noise(20)
    bus = FeatureBus(CountingMean(log=log), memory=memory)
    bus.fit(images[:10]).transform(images)
    before = count(log)
    clone(bus).fit(images[5:15]).transform(images)
    assert count(log) == before


def test_a_file_counts_by_its_content(paths, memory, log):
    bus = FeatureBus(CountingMean(log=log), memory=memory).fit(paths)
    first = bus.transform(paths)
    before = count(log)
    moved = paths[0].rename(paths[0].with_name("other.png"))
    np.testing.assert_array_equal(bus.transform([moved]), first[:1])
    assert count(log) == before


def test_changed_pixels_under_the_same_name_and_time_stamp(paths, memory, log):

    bus = FeatureBus(CountingMean(log=log), memory=memory).fit(paths)
    before = bus.transform(paths)
    status = os.stat(paths[3])
    cv2.imwrite(str(paths[3]), np.full((32, 40), 9, np.uint8))
    os.utime(paths[3], ns=(status.st_atime_ns, status.st_mtime_ns))
    after = bus.transform(paths)
    assert after[3, 0] == 9
    np.testing.assert_array_equal(np.delete(after, 3, 0), np.delete(before, 3, 0))


def test_names_and_output(paths):
    bus = FeatureBus(everything()).set_output(transform="pandas")
    frame = bus.fit_transform(pd.DataFrame({"path": paths}, index=list("abcdefghijkl")))
    assert frame.columns.tolist() == everything().fit(paths).get_feature_names_out().tolist()
    assert frame.index.tolist() == list("abcdefghijkl")
    assert FeatureBus(LBP()).get_feature_names_out()[3] == "lbp_p8_r1_u03"


def test_a_transformer_without_names():
    bus = FeatureBus(FunctionTransformer(np.mean, kw_args={"axis": (1, 2)}))
    assert not hasattr(bus, "get_feature_names_out")


def test_a_path_column_beside_tabular_columns(paths, memory):
    table = pd.DataFrame({"path": paths, "age": np.arange(30, 42.0)})
    columns = ColumnTransformer(
        [
            ("image", FeatureBus(LBP(), memory=memory), "path"),
            ("clinical", StandardScaler(), ["age"]),
        ]
    )
    frame = columns.set_output(transform="pandas").fit_transform(table)
    assert frame.shape == (12, 11)
    assert frame.columns[0] == "image__lbp_p8_r1_u00"
    np.testing.assert_array_equal(frame.iloc[:, :10], LBP().transform(paths))


class WantsWeights(TransformerMixin, BaseEstimator):
    """A transformer that asks for metadata in `fit`."""

    def fit(self, X, y=None, sample_weight=None):
        self.total_ = None if sample_weight is None else float(np.sum(sample_weight))
        return self

    def transform(self, X):
        return np.zeros((len(X), 1))


def test_metadata_reaches_the_transformer():
    with config_context(enable_metadata_routing=True):
        bus = FeatureBus(WantsWeights().set_fit_request(sample_weight=True))
        pipeline = make_pipeline(bus, StandardScaler().set_fit_request(sample_weight=False))
        pipeline.fit(noise(4), sample_weight=np.ones(4))
        assert pipeline[0].transformer_.total_ == 4


def test_html_shows_the_inner_steps():
    html = estimator_html_repr(make_pipeline(FeatureBus(everything()), SVC()))
    for name in ("FeatureBus", "Resize", "HOG", "LBP", "IntensityStatistics", "SVC"):
        assert name in html


def test_pickle_and_clone(memory):
    images = noise(4)
    bus = FeatureBus(everything(), memory=memory).fit(images)
    again = pickle.loads(pickle.dumps(bus))
    np.testing.assert_array_equal(again.transform(images), bus.transform(images))
    store = FeatureStore(memory)
    bus = clone(FeatureBus(everything(), memory=store))
    np.testing.assert_array_equal(bus.fit_transform(images), again.transform(images))


def bad_batch(paths):
    images = list(noise(10))
    images[2] = np.full((32, 40), np.nan)
    images[5] = "no/such/file.png"
    images[6] = paths[0]
    images[9] = np.zeros((2, 2), np.uint8)
    return images


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_on_error_nan(stored, n_jobs, memory, paths):
    images = bad_batch(paths)
    bus = FeatureBus(
        HOG(), memory=memory if stored else None, n_jobs=n_jobs, batch_size=4, on_error="nan"
    )
    with pytest.warns(UserWarning, match="3 of 10 images gave no row but NaN.*image 2") as caught:
        rows = bus.fit(images).transform(images)
    assert len(caught) == 1
    assert np.flatnonzero(np.isnan(rows).any(axis=1)).tolist() == [2, 5, 9]
    assert np.isnan(rows[[2, 5, 9]]).all()
    assert [failure.index for failure in bus.errors_] == [2, 5, 9]
    assert [failure.path for failure in bus.errors_] == [None, "no/such/file.png", None]
    assert "NaN" in bus.errors_[0].message
    good = [0, 1, 3, 4, 6, 7, 8]
    np.testing.assert_array_equal(rows[good], HOG().fit_transform([images[i] for i in good]))
    bus.transform(images[:2])
    assert bus.errors_ == []


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_on_error_raise_names_the_image_and_keeps_what_was_computed(stored, n_jobs, memory, log):
    images = list(noise(20))
    images[13] = np.full((32, 40), np.nan)
    transformer = CountingMean(log=log)
    bus = FeatureBus(
        transformer, memory=memory if stored else None, n_jobs=n_jobs, batch_size=4
    ).fit(images)
    with pytest.raises(ValueError, match="^image 13 has 1280 NaN"):
        bus.transform(images)
    if stored:
        (n_rows,) = FeatureStore(memory).info()["n_rows"]
        assert n_rows >= 15
        before = count(log)
        bus.transform(images[:13])
        assert count(log) == before


def test_whole_numbers_have_no_nan(memory):
    """So that rows with failures are floating point, and others stay what they are."""
    transformer = FunctionTransformer(count_pixels)
    images = [*noise(2), np.zeros((2, 2, 7)), *noise(1)]
    rows = FeatureBus(transformer, memory=memory).fit_transform(images[:2])
    assert rows.dtype == np.int64
    with pytest.warns(UserWarning, match="1 of 4 images gave no row"):
        rows = FeatureBus(transformer, memory=memory, on_error="nan").fit_transform(images)
    np.testing.assert_array_equal(rows[:, 0], [1280, 1280, np.nan, 1280])


def test_no_image_gives_a_row():
    images = np.full((3, 32, 40), np.nan)
    with pytest.raises(ValueError, match="image 2 has 1280 NaN"):
        FeatureBus(HOG(), on_error="nan").fit(images)
    with pytest.raises(ValueError, match="No image gave a row. image 0 has 1280 NaN"):
        FeatureBus(HOG(), on_error="nan").fit(noise(1)).transform(images)


def test_errors_that_are_no_images_fault_are_not_swallowed(memory):
    def missing(X):
        raise OSError("no weights")

    bus = FeatureBus(FunctionTransformer(missing), on_error="nan")
    with pytest.raises(OSError, match="no weights"):
        bus.fit(noise(3)).transform(noise(3))


@pytest.mark.parametrize(
    "transformer",
    [
        FunctionTransformer(lambda X: np.zeros((len(X), 1))),
        FunctionTransformer(np.mean, kw_args={"where": np.random.RandomState(0)}),
        make_pipeline(LBP(), FunctionTransformer(lambda rows: rows)),
    ],
    ids=["lambda", "random state", "lambda inside"],
)
def test_what_cannot_be_fingerprinted_is_an_error(transformer, memory):
    with pytest.raises(FingerprintError, match="cannot be kept"):
        FeatureBus(transformer, memory=memory).fit(noise(2)).transform(noise(2))


def test_progress_bar(memory, capsys):
    images = noise(6)
    bus = FeatureBus(LBP(), memory=memory, verbose=True).fit(images)
    bus.transform(images[:3])
    bus.transform(images)
    shown = capsys.readouterr().err
    assert "FeatureBus: 100%" in shown
    assert "6/6" in shown
    assert "cached=3" in shown
    FeatureBus(LBP()).fit_transform(images)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"on_error": "ignore"}, "on_error is 'ignore', expected 'raise' or 'nan'"),
        ({"batch_size": 0}, "batch_size is 0, expected a positive integer"),
        ({"batch_size": "auto"}, "batch_size is 'auto'"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        FeatureBus(LBP(), **parameters).fit(noise(2))


def test_images_of_different_sizes_are_named():
    images = [noise(1)[0], noise(1, (64, 64))[0]]
    with pytest.raises(ValueError, match=r"image 1: .*put Resize before"):
        FeatureBus(HOG()).fit_transform(images)
