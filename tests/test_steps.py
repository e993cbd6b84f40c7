"""What `featbus.steps` knows of composites."""

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline as SamplingPipeline
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from featbus import LBP, FeatureBus, ImageLoader, IntensityStatistics, Resize, TestTimeAugmentation
from featbus.base import FeatureExtractor, ImageTransformer
from featbus.steps import (
    check_all_parameters,
    extractions,
    is_resampler,
    is_search,
    learns,
    reads_plainly,
    search_in,
    split_extraction,
    steps_of,
    unwrap,
    walk,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 12, 14)).astype(np.uint8)


class Learned(FeatureExtractor):
    """Extractor that learns."""

    def __init__(self, *, dtype=np.float32):
        self.dtype = dtype

    def fit(self, X, y=None):
        self.mean_ = np.mean(X)
        return self

    def _extract(self, image):
        return np.array([image.mean() - self.mean_])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        return tags


class LearnedImages(ImageTransformer):
    """Image step that learns."""

    def _transform_image(self, image):
        return image

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        return tags


def search(estimator, **grid):
    return GridSearchCV(estimator, grid or {"svc__C": [1, 2]}, cv=2)


@pytest.mark.parametrize("kind", [Pipeline, SamplingPipeline, FeatureUnion])
def test_steps_leave_placeholders_out(kind):
    resize, lbp = Resize(), LBP()
    steps = [("resize", resize), ("a", "passthrough"), ("b", "drop"), ("lbp", lbp)]
    assert steps_of(kind(steps)) == [("resize", resize), ("lbp", lbp)]
    for leaf in (lbp, "drop", None, 3):
        assert steps_of(leaf) == []
        assert unwrap(leaf) is leaf


def test_steps_of_column_transformers():
    scaler, rest = StandardScaler(), PCA(1)
    columns = [("scale", scaler, [0]), ("a", "drop", [1]), ("b", "passthrough", [2])]
    assert steps_of(ColumnTransformer(columns)) == [("scale", scaler)]
    with_rest = ColumnTransformer(columns, remainder=rest)
    assert steps_of(with_rest) == [("scale", scaler), ("remainder", rest)]
    with_rest.fit(np.random.default_rng(0).random((5, 4)))
    fitted = dict(steps_of(with_rest))
    assert fitted["scale"] is with_rest.named_transformers_["scale"]
    assert fitted["remainder"] is with_rest.named_transformers_["remainder"]


def test_steps_of_wrappers_are_the_fitted_ones():
    lbp = LBP()
    bus = FeatureBus(lbp)
    assert steps_of(bus) == [("transformer", lbp)]
    assert steps_of(bus.fit(IMAGES)) == [("transformer", bus.transformer_)]
    assert steps_of(FrozenEstimator(lbp)) == [("estimator", lbp)]
    X, y = np.random.default_rng(0).random((20, 2)), np.arange(20) % 2
    found = search(SVC(), C=[1])
    assert steps_of(found) == [("estimator", found.estimator)]
    assert steps_of(found.fit(X, y)) == [("estimator", found.best_estimator_)]
    augmentation = TestTimeAugmentation(make_pipeline(lbp, SVC()))
    assert steps_of(augmentation) == [("estimator", augmentation.estimator)]
    assert steps_of(FrozenEstimator(bus)) == [("estimator", bus)]  # which delegates attributes


def test_unwrap_goes_through_wrappers_only():
    lbp = LBP()
    assert unwrap(FrozenEstimator(FeatureBus(FrozenEstimator(lbp)))) is lbp
    assert unwrap(search(lbp)) is lbp
    assert unwrap(TestTimeAugmentation(lbp)) is lbp
    pipeline = make_pipeline(lbp)
    assert unwrap(pipeline) is pipeline
    assert unwrap(FeatureBus(pipeline)) is pipeline


def test_walk():
    lbp, scaler, svc = LBP(), StandardScaler(), SVC()
    pipeline = make_pipeline(lbp, scaler, svc)
    outer = search(pipeline)
    assert list(walk(outer)) == [
        (outer, None),
        (pipeline, outer),
        (lbp, pipeline),
        (scaler, pipeline),
        (svc, pipeline),
    ]
    frozen = FrozenEstimator(pipeline)
    assert list(walk([frozen, {"a": svc}, "drop", SVC])) == [(frozen, None), (svc, None)]


@pytest.mark.parametrize(
    ("transformer", "expected"),
    [
        (LBP(), False),
        (FunctionTransformer(), False),
        ("passthrough", False),
        (None, False),
        (make_sampling_pipeline(Resize(), "passthrough", LBP()), False),
        (FeatureBus(make_pipeline(Resize(), make_union(LBP(), "drop"))), False),
        (ColumnTransformer([("lbp", LBP(), "path"), ("age", "passthrough", ["age"])]), False),
        (make_pipeline(FrozenEstimator(Learned()), FrozenEstimator(StandardScaler())), False),
        (FeatureBus(FrozenEstimator(Learned())), False),
        (Learned(), True),
        (PCA(), True),
        (make_union(LBP(), make_pipeline(IntensityStatistics(), PCA(1))), True),
        (FeatureBus(make_pipeline(LBP(), StandardScaler())), True),
        (ColumnTransformer([("lbp", LBP(), "path")], remainder=StandardScaler()), True),
        (search(LBP(), radius=[1]), True),
        (make_pipeline(LBP(), search(SVC(), C=[1])), True),
    ],
    ids=str,
)
def test_what_learns(transformer, expected):
    assert learns(transformer) is expected


@pytest.mark.parametrize(
    ("transformer", "expected"),
    [
        (LBP(), True),
        (FunctionTransformer(), False),
        ("passthrough", False),
        (make_pipeline("passthrough", Resize(), FunctionTransformer()), True),
        (make_pipeline(ImageLoader(), LBP()), False),
        (make_pipeline("passthrough"), False),
        (make_union(LBP(), "drop", IntensityStatistics()), True),
        (make_union(LBP(), make_pipeline(ImageLoader(), LBP())), False),
        (FeatureBus(FrozenEstimator(LBP())), True),
        (FeatureBus(FrozenEstimator(ImageLoader())), False),
    ],
    ids=str,
)
def test_who_reads_paths_plainly(transformer, expected):
    assert reads_plainly(transformer) is expected


def test_searches_and_samplers():
    found = search(SVC(), C=[1])
    assert is_search(found)
    assert is_search(RandomizedSearchCV(SVC(), {"C": [1]}))
    assert not is_search(make_pipeline(found))
    assert search_in(found) is search_in(make_pipeline(LBP(), found)) is found
    assert search_in(make_pipeline(found, SVC())) is None
    assert search_in(SVC()) is None
    assert is_resampler(SMOTE())
    assert not is_resampler(make_sampling_pipeline(SMOTE(), SVC()))
    assert not is_resampler(SVC())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda step: make_pipeline(Resize(), "passthrough", make_union("drop", step)),
        lambda step: FeatureBus(FrozenEstimator(step)),
        lambda step: TestTimeAugmentation(make_pipeline(step, SVC())),
        lambda step: search(make_pipeline(step, SVC())),
        lambda step: ColumnTransformer([("step", step, [0])]),
    ],
)
def test_parameters_of_all_steps_are_checked(wrap):
    check_all_parameters(wrap(Resize()))
    with pytest.raises(ValueError, match="size is 'large', expected"):
        check_all_parameters(wrap(Resize("large")))


def names(steps):
    return [name for name, _ in steps]


@pytest.mark.parametrize(
    "first",
    [
        LBP(),
        make_union(LBP(), "drop", make_pipeline(Resize(), "passthrough", IntensityStatistics())),
        FeatureBus(FunctionTransformer()),
        FrozenEstimator(FeatureBus(Learned())),
        FrozenEstimator(make_pipeline(Resize(), FrozenEstimator(LearnedImages()), Learned())),
        FrozenEstimator(make_union(Learned(), LBP())),
    ],
    ids=str,
)
def test_what_gives_rows(first):
    steps, rest = split_extraction(Pipeline([("rows", first), ("svc", SVC())]))
    assert steps == [("rows", first)]
    assert names(rest.steps) == ["svc"]


@pytest.mark.parametrize(
    "estimator",
    [
        SVC(),
        make_pipeline(LBP()),
        make_pipeline(Resize(), SVC()),
        make_pipeline(LearnedImages(), LBP(), SVC()),
        make_pipeline(FeatureBus(Learned()), SVC()),
        make_pipeline(make_union(LBP(), Learned()), SVC()),
        make_pipeline(make_union("drop", "drop"), SVC()),
        make_pipeline(make_pipeline(LBP(), PCA()), SVC()),
        make_pipeline(FrozenEstimator(make_pipeline(LBP(), PCA())), SVC()),
        make_pipeline(FunctionTransformer(), LBP(), SVC()),
        TestTimeAugmentation(make_pipeline(LBP(), SVC())),
    ],
    ids=str,
)
def test_what_stays_whole(estimator):
    steps, rest = split_extraction(estimator)
    assert steps == []
    assert rest is estimator


def test_searches_keep_their_parameters():
    found = search(make_sampling_pipeline(Resize(), LBP(), SMOTE(), SVC()))
    steps, rest = split_extraction(found)
    assert names(steps) == ["resize", "lbp"]
    assert isinstance(rest.estimator, SamplingPipeline)
    assert names(rest.estimator.steps) == ["smote", "svc"]
    assert rest.param_grid == found.param_grid
    assert names(found.estimator.steps) == ["resize", "lbp", "smote", "svc"]


@pytest.mark.parametrize(
    "found",
    [
        search(make_pipeline(LBP(), SVC()), lbp=[LBP(), IntensityStatistics()]),
        GridSearchCV(make_pipeline(LBP(), SVC()), [{"svc__C": [1]}, {"lbp__radius": [1]}]),
        RandomizedSearchCV(make_pipeline(LBP(), SVC()), {"lbp__radius": [1, 2]}),
        search(SVC(), C=[1]),
    ],
    ids=str,
)
def test_searched_steps_stay_in_the_search(found):
    assert split_extraction(found) == ([], found)


def test_extractions_are_in_the_order_of_the_columns():
    resize, scaler = Resize(8), StandardScaler()
    lbp, statistics, alone = LBP(), IntensityStatistics(), LBP(radius=2)
    union = FeatureUnion(
        [
            ("a", make_pipeline(FrozenEstimator(resize), "passthrough", lbp, scaler)),
            ("b", "drop"),
            ("c", FeatureBus(statistics)),
            ("d", ColumnTransformer([("a", FrozenEstimator(alone), "path"), ("b", "drop", "x")])),
        ]
    )
    outer = Resize(16)
    pipeline = make_pipeline(make_pipeline(outer, "passthrough"), make_pipeline(union, PCA()))
    steps, extractors = zip(*extractions(FeatureBus(pipeline)))
    assert extractors == (lbp, statistics, alone)
    assert [[unwrap(step) for step in part] for part in steps] == [
        [outer, resize],
        [outer],
        [outer],
    ]


@pytest.mark.parametrize(
    ("transformer", "name"),
    [
        (make_pipeline(Resize(), PCA()), "Pipeline"),
        (make_union(LBP(), PCA()), "PCA"),
        (make_union(LBP(), "passthrough"), "'passthrough'"),
        (ColumnTransformer([("a", LBP(), "path")], remainder="passthrough"), "'passthrough'"),
    ],
    ids=str,
)
def test_columns_without_an_extractor(transformer, name):
    with pytest.raises(ValueError, match=f"(?s){name}.*makes columns that no pixels stand behind"):
        extractions(transformer)


def test_rows_of_split_pipelines_are_those_of_whole_ones():
    y = np.arange(6) % 2
    pipeline = make_pipeline(
        Resize(8), make_union(LBP(), IntensityStatistics()), StandardScaler(), LogisticRegression()
    )
    steps, rest = split_extraction(pipeline)
    rows = Pipeline(steps).fit_transform(IMAGES)
    expected = clone(pipeline).fit(IMAGES, y).predict_proba(IMAGES)
    np.testing.assert_array_equal(rest.fit(rows, y).predict_proba(rows), expected)
