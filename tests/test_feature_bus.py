"""FeatureBus."""

import gc
import os
import pickle
import threading
import warnings

import cv2
import joblib
import numpy as np
import pytest
from _spies import CountingMean, count, noise, write_images
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from featbus import (
    HOG,
    LBP,
    FeatureBus,
    FeatureStore,
    ImageAugmenter,
    ImageLoader,
    IntensityStatistics,
    Resize,
)
from featbus.bus import ImageWarning, fingerprint
from featbus.images import ImageError
from featbus.io import ImageReadError
from featbus.parameters import InvalidParameterError


def everything():
    return make_pipeline(
        Resize((32, 32)), make_union(HOG(cells_per_block=(2, 2)), LBP(), IntensityStatistics())
    )


@pytest.fixture
def paths(tmp_path):
    return write_images(tmp_path, noise(12))


CASES = [(None, False), (None, True), (2, True)]  # of n_jobs, and whether rows are stored


@pytest.mark.parametrize(("n_jobs", "stored"), CASES)
def test_rows_equal_those_of_the_transformer(n_jobs, stored, memory):
    images = noise(12)
    bus = FeatureBus(everything(), memory=memory if stored else None, n_jobs=n_jobs, batch_size=5)
    expected = everything().fit_transform(images)
    np.testing.assert_array_equal(bus.fit_transform(images), expected)
    np.testing.assert_array_equal(bus.transform(images[::-1]), expected[::-1])


class LoggedLBP(LBP):
    def transform(self, X):
        return np.log1p(super().transform(X))


def some_columns(columns, scaler="passthrough"):
    return make_pipeline(LBP(), ColumnTransformer([("some", scaler, columns)]))


INNER = Pipeline([("lbp", LBP()), ("end", "passthrough")])
ONE_OF_TWO = FeatureUnion([("lbp", LBP()), ("hog", "drop")])
SAMPLING = make_imblearn_pipeline(ImageAugmenter(), LBP()).fit(noise(6), [0, 1] * 3)


@pytest.mark.parametrize(
    "transformer",
    [
        everything(),
        make_pipeline(ImageLoader(color_mode="gray"), IntensityStatistics()),
        LoggedLBP(),
        FrozenEstimator(SAMPLING),
        some_columns([3, 1]),
        some_columns([1, 3], StandardScaler()),
        Pipeline([("none", "passthrough"), ("lbp", LBP()), ("end", None)]),
        Pipeline([("inner", INNER), ("end", "passthrough")]),
        Pipeline([("union", ONE_OF_TWO), ("end", "passthrough")]),
        Pipeline([("lbp", LBP()), ("end", FeatureUnion([("a", "passthrough"), ("b", "drop")]))]),
    ],
    ids=str,
)
def test_composites_inside_work_as_on_their_own(transformer, paths, memory):
    """Of arrays, of arrays of different sizes, and of paths to images of different kinds."""
    cv2.imwrite(str(paths[0]), np.full((32, 40, 3), (255, 0, 0), np.uint8))
    ragged = [image[index:] for index, image in enumerate(noise(5))]
    for images in (noise(6), ragged, paths[:6]):
        expected = clone(transformer).fit(images, None).transform(images)
        bus = FeatureBus(transformer, memory=memory, batch_size=4).fit(images)
        for _ in range(2):  # computed, then read
            np.testing.assert_array_equal(bus.transform(images), expected)


def spread(rows):
    """The deviation of tables, ddof=1, is not that of arrays."""
    return np.reshape(rows.std(axis=1), (-1, 1))


@pytest.mark.parametrize(("n_jobs", "stored"), CASES)
@pytest.mark.filterwarnings("ignore:When `set_output` is configured:UserWarning")
def test_settings_of_sklearn_reach_all_threads(n_jobs, stored, memory):
    images, pipeline = noise(4), make_pipeline(LBP(), FunctionTransformer(spread))
    options = {"n_jobs": n_jobs, "batch_size": 1, "memory": memory if stored else None}
    plain = FeatureBus(pipeline, **options).fit_transform(images)
    with config_context(transform_output="pandas"):
        expected = np.asarray(pipeline.fit_transform(images))
        found = np.asarray(FeatureBus(pipeline, **options).fit_transform(images))
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found, plain)


def double_in_place(X):
    for image in X:
        image *= 2
    return X


def mean_of_dark(X):
    if any(image.max() > 2 for image in X):
        raise ValueError("too bright")
    return np.array([[image.mean()] for image in X])


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.filterwarnings("ignore:.*their rows are NaN:UserWarning")
def test_functions_that_change_images_in_place(stored, memory):
    images = np.stack([np.full((8, 8), level) for level in (0.25, 0.5, 0.75, 3)])
    steps = map(FunctionTransformer, (double_in_place, mean_of_dark))
    options = {"memory": memory if stored else None, "on_error": "nan"}
    bus = FeatureBus(make_pipeline(*steps), **options).fit(images)
    for batch in (images, list(images)):
        rows = bus.transform(batch)[:, 0]
        np.testing.assert_array_equal(rows, [0.5, 1, 1.5, np.nan])
    np.testing.assert_array_equal(images[:, 0, 0], [0.25, 0.5, 0.75, 3])


@pytest.mark.parametrize("content", [b"P5 1 1 255\n9", b"no image"])
@pytest.mark.filterwarnings("ignore:.*their rows are NaN:UserWarning")
def test_a_copy_of_a_file_that_changes_meanwhile(content, tmp_path, memory):
    first, second = tmp_path / "first.pgm", tmp_path / "second.pgm"
    for path in (first, second):
        path.write_bytes(b"P5 1 1 255\n5")
    transformer = IntensityStatistics()
    expected = transformer.fit_transform([second])

    def write_first(X):
        first.write_bytes(content)
        return transformer.transform(X)

    bus = FeatureBus(FunctionTransformer(write_first), memory=memory, on_error="nan")
    rows = bus.transform([first, second])
    np.testing.assert_array_equal(rows[1:], expected)
    assert not np.array_equal(rows[:1], expected)
    np.testing.assert_array_equal(bus.transform([second]), expected)


class Centered(IntensityStatistics):
    def fit(self, X, y=None):
        self.mean_ = np.mean(X)
        return self


def test_extractors_that_learn_need_the_tag():
    with pytest.raises(InvalidParameterError, match="Centered sets mean_ in fit.*requires_fit"):
        FeatureBus(make_pipeline(Centered())).fit(noise(2))


def test_processes_of_loky(memory):
    """They get a function without a name by value, and check that it has the same fingerprint."""
    images, factors = noise(12), {"one": 1, "two": 2}
    double = FunctionTransformer(lambda X: [[factors["two"] * image.mean()] for image in X])
    with joblib.parallel_config("loky", n_jobs=2):
        rows = FeatureBus(double, memory=memory, batch_size=3).fit_transform(images)
    np.testing.assert_array_equal(rows, double.transform(images))


def test_each_content_is_computed_once(memory, log):
    image = noise(1)[0]
    bus = FeatureBus(CountingMean(log=log), memory=memory, batch_size=2).fit([image])
    before = count(log)
    for _ in range(2):
        rows = bus.transform([image, image, image[::-1], image, image[::-1]])
        assert count(log) == before + 2
        np.testing.assert_array_equal(rows, rows[[0, 0, 2, 0, 2]])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_grid_search_computes_each_image_once_and_then_never(n_jobs, memory, log):
    images, y = noise(12, (8, 8)), np.arange(12) % 2
    bus = FeatureBus(CountingMean(log=log), memory=memory, batch_size=4).fit(images)
    pipeline = make_imblearn_pipeline(bus, StandardScaler(), SMOTE(k_neighbors=2), SVC())
    passes, rows = [], []
    for _ in range(2):
        before = count(log)
        with joblib.parallel_config("threading", n_jobs=n_jobs):
            search = GridSearchCV(pipeline, {"svc__C": [0.1, 1]}, cv=StratifiedKFold(2))
            search.fit(images, y)
        passes.append((count(log) - before) / len(images))
        rows.append(search.best_estimator_[0].transform(images).tobytes())
    assert passes == [1, 0]
    assert rows[0] == rows[1]


def test_changed_pixels_under_the_same_name_and_time_stamp(paths, memory, log):

    bus = FeatureBus(CountingMean(log=log), memory=memory).fit(paths)
    before = bus.transform(paths)
    status = os.stat(paths[3])
    cv2.imwrite(str(paths[3]), np.full((32, 40), 9, np.uint8))
    os.utime(paths[3], ns=(status.st_atime_ns, status.st_mtime_ns))
    after = bus.transform(paths)
    assert after[3, 0] == 9
    np.testing.assert_array_equal(np.delete(after, 3, 0), np.delete(before, 3, 0))


def bad_batch(paths):
    images = list(noise(10))
    images[2] = np.full((32, 40), np.nan)
    images[5] = "no/such/file.png"
    images[6] = paths[0]
    images[9] = np.zeros((2, 2), np.uint8)
    return images


@pytest.mark.parametrize(("n_jobs", "stored"), CASES)
@pytest.mark.filterwarnings("ignore:.*their rows are NaN:UserWarning")
def test_on_error_nan(n_jobs, stored, memory, paths):
    images, options = bad_batch(paths), {"memory": memory if stored else None, "n_jobs": n_jobs}
    bus = FeatureBus(HOG(), batch_size=4, on_error="nan", **options)
    rows = bus.fit(images).transform(images)
    assert np.flatnonzero(np.isnan(rows).any(axis=1)).tolist() == [2, 5, 9]
    assert np.isnan(rows[[2, 5, 9]]).all()
    assert [failure.index for failure in bus.errors_] == [2, 5, 9]
    assert [failure.path for failure in bus.errors_] == [None, "no/such/file.png", None]
    assert [type(error) for error in bus.errors_] == [ImageError, ImageReadError, ImageError]
    for error, copy in zip(bus.errors_, pickle.loads(pickle.dumps(bus.errors_))):
        assert error.__traceback__ is error.__cause__ is error.__context__ is None
        assert (type(copy), str(copy)) == (type(error), str(error))
    good = [0, 1, 3, 4, 6, 7, 8]
    np.testing.assert_array_equal(rows[good], HOG().fit_transform([images[i] for i in good]))
    bus.transform(images[:2])
    assert bus.errors_ == []


def test_images_without_a_row_are_told_once(paths):
    images = bad_batch(paths)
    bus = FeatureBus(HOG(), on_error="nan", n_jobs=1).fit(images)  # no other threads
    with pytest.warns(ImageWarning, match="3 of 10 .*image 2: .*NaN") as caught:
        bus.transform(images)
    assert [one.category for one in caught] == [ImageWarning]


@pytest.mark.parametrize(("n_jobs", "stored"), CASES)
def test_on_error_raise_names_the_image_and_keeps_what_was_computed(n_jobs, stored, memory, log):
    images, options = list(noise(20)), {"memory": memory if stored else None, "n_jobs": n_jobs}
    images[13] = np.full((32, 40), np.nan)
    bus = FeatureBus(CountingMean(log=log), batch_size=4, **options).fit(images)
    with pytest.raises(ImageError, match="^image 13: found 1280 NaN"):
        bus.transform(images)
    if stored:
        (n_rows,) = FeatureStore(memory).info()["n_rows"]
        assert n_rows >= 15
        before = count(log)
        bus.transform(images[:13])
        assert count(log) == before


def level_of(images):
    """Return integers of bright images, and float64 of those with values around 0.5."""
    return np.array([[round(image.max()) if image.max() >= 1 else np.pi] for image in images])


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.filterwarnings("ignore:.*their rows are NaN:UserWarning")
def test_dtypes_of_rows(stored, memory):
    bright, dark, bad = np.ones((4, 4)), np.full((4, 4), 0.5), np.full((4, 4), np.nan)
    options = {"memory": memory if stored else None, "batch_size": 1}
    for _ in range(2):  # computed, then read
        bus = FeatureBus(make_pipeline(Resize(4), FunctionTransformer(level_of)), **options)
        assert bus.fit_transform([bright]).dtype == np.int64
        assert bus.fit_transform([bright, dark]).ravel().tolist() == [1, np.pi]
        rows = bus.set_params(on_error="nan").fit_transform([bright, bad])
        np.testing.assert_array_equal(rows, [[1], [np.nan]])


def test_no_image_gives_a_row():
    images = np.full((3, 32, 40), np.nan)
    with pytest.raises(ValueError, match="^image 2: found 1280 NaN"):
        FeatureBus(HOG(), on_error="nan").fit(images)
    with pytest.raises(ValueError, match="No image gave a row. image 0: found 1280 NaN"):
        FeatureBus(HOG(), on_error="nan").fit(noise(1)).transform(images)


class Refusing(CountingMean):
    """Raises an error on dark images."""

    def __init__(self, error, *, log):
        super().__init__(log=log)
        self.error = error

    def _extract(self, image):
        if image.max() == 0:
            raise self.error
        return super()._extract(image)


def with_dark(n_images, *dark):
    images = noise(n_images)
    images[list(dark)] = 0
    return images


@pytest.mark.filterwarnings("ignore:.*their rows are NaN:UserWarning")
@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize(
    "error", [ValueError("too dark\n"), np.linalg.LinAlgError("too dark"), cv2.error("too dark")]
)
def test_what_a_foreign_step_raises_becomes_an_image_error(error, n_jobs, log):
    images = with_dark(10, 3, 4)
    bus = FeatureBus(Refusing(error, log=log), n_jobs=n_jobs, batch_size=4).fit(images)
    with pytest.raises(ImageError, match="^image 3: too dark$") as caught:
        bus.transform(images)
    assert (caught.value.index, caught.value.path) == (3, None)
    rows = bus.set_params(on_error="nan").transform(images)
    assert [(e.index, e.reason) for e in bus.errors_] == [(3, "too dark"), (4, "too dark")]
    assert np.flatnonzero(np.isnan(rows[:, 0])).tolist() == [3, 4]


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("on_error", ["raise", "nan"])
@pytest.mark.parametrize(
    "error",
    [InvalidParameterError("layers is 'x'"), NotFittedError("fit it"), OSError("no weights")],
)
def test_what_no_image_is_to_blame_for_is_raised_at_once(error, on_error, n_jobs, log):
    bus = FeatureBus(Refusing(error, log=log), n_jobs=n_jobs, on_error=on_error, batch_size=2)
    bus.fit(noise(1))
    with pytest.raises(type(error), match=f"^{error}$"):
        bus.transform(with_dark(4, 0))


def test_parameters_of_inner_steps_are_checked_before_an_image_is_read():
    bus = FeatureBus(everything(), on_error="nan")
    bus.set_params(transformer__featureunion__hog__orientations=0)
    for method in (bus.fit, bus.transform):
        with pytest.raises(InvalidParameterError, match="^orientations is 0, expected"):
            method(["no/such/file.png"])


@pytest.mark.parametrize(
    "place",
    [
        lambda step: make_pipeline(Resize(32), step),
        lambda step: make_pipeline(step, FunctionTransformer(np.negative)),
        lambda step: make_union(IntensityStatistics(), FeatureBus(step)),
    ],
)
def test_rows_are_told_apart_by_what_a_step_learned(place, memory):
    images = noise(20)
    parts = images[:10], images[10:]
    learned = make_pipeline(LBP(), PCA(2, random_state=0))
    frozen = [place(FrozenEstimator(clone(learned).fit(part))) for part in parts]
    refitted = [place(learned)] * 2
    for transformers in (frozen, refitted):
        buses = [FeatureBus(step, memory=memory).fit(x) for step, x in zip(transformers, parts)]
        first, second = (bus.transform(images) for bus in buses)
        for rows, step, part in zip((first, second), transformers, parts):
            np.testing.assert_array_equal(rows, clone(step).fit(part, None).transform(images))
        assert not np.allclose(first, second)
    assert FeatureStore(memory).info()["n_rows"].tolist() == [20, 20, 20, 20]
    again = clone(FeatureBus(frozen[0])).fit(images[5:])  # frozen: learns nothing
    assert fingerprint(again.transformer_) == fingerprint(clone(frozen[0]).fit(parts[0]))


def test_progress_bar_and_log(memory, capsys, caplog):
    caplog.set_level("DEBUG", "featbus")
    images = noise(6)
    bus = FeatureBus(LBP(), memory=memory, verbose=True).fit(images)
    bus.transform(images[:3])
    bus.transform(images)
    assert "6/6" in capsys.readouterr().err
    assert "Found the rows of 3 of 6 images in the store" in caplog.messages
    FeatureBus(LBP()).fit_transform(images)
    assert not capsys.readouterr().err


def test_a_failed_run_leaves_no_thread():
    images = [*noise(2), np.zeros((4, 4, 9), np.uint8), *noise(4)]
    gc.disable()
    try:
        before = set(threading.enumerate())
        for _ in range(3):
            with pytest.raises(ImageError, match="image 2"):
                FeatureBus(LBP(), batch_size=1).transform(images)
        assert set(threading.enumerate()) <= before
    finally:
        gc.enable()


def test_a_step_that_loses_rows_is_an_error():
    half = FunctionTransformer(lambda images: np.zeros((len(images) // 2, 3)))
    with pytest.raises(ValueError, match=r"shape \(1, 3\) for 2 images"):
        FeatureBus(half, batch_size=2).transform(noise(2))


def test_threads_leave_the_filters_of_warnings_alone():
    """Leaving `warnings.catch_warnings` in one thread ends what another one records."""
    started, released = threading.Event(), threading.Event()

    def wait(X):
        started.set()
        released.wait(30)
        return np.zeros((len(X), 1))

    bus = FeatureBus(FunctionTransformer(wait), n_jobs=2, batch_size=1)
    run = threading.Thread(target=bus.transform, args=[noise(4)])
    run.start()
    started.wait(30)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        released.set()
        run.join()
        warnings.warn("seen", UserWarning, stacklevel=1)
    assert [str(item.message) for item in caught] == ["seen"]


def test_another_version_is_computed_again(memory, log):
    images = noise(3)
    for version, n_computed in ((None, 3), (1, 6), (1, 6), ("1", 9), (None, 9)):
        FeatureBus(CountingMean(log=log), memory=memory, version=version).fit_transform(images)
        assert count(log) == n_computed
