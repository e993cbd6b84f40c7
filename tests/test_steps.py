"""What `featbus.steps` knows of composites."""

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline as SamplingPipeline
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from featbus import (
    LBP,
    FeatureBus,
    ImageLoader,
    IntensityStatistics,
    Resize,
    SelectRobust,
    TestTimeAugmentation,
)
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


class Learning:
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        return tags


class Learned(Learning, LBP):
    """Extractor that learns."""


class LearnedImages(Learning, Resize):
    """Image step that learns."""


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
    bus = FeatureBus(lbp := LBP())
    assert steps_of(bus) == [("transformer", lbp)]
    assert steps_of(bus.fit(IMAGES)) == [("transformer", bus.transformer_)]
    assert steps_of(FrozenEstimator(bus)) == [("estimator", bus)]  # which delegates attributes
    found = search(SVC(), C=[1])
    assert steps_of(found) == [("estimator", found.estimator)]
    found.fit(np.random.default_rng(0).random((20, 2)), np.arange(20) % 2)
    assert steps_of(found) == [("estimator", found.best_estimator_)]
    augmentation = TestTimeAugmentation(make_pipeline(lbp, SVC()))
    assert steps_of(augmentation) == [("estimator", augmentation.estimator)]


def test_unwrap_goes_through_wrappers_only():
    pipeline = make_pipeline(LBP())
    wrapped = search(TestTimeAugmentation(FeatureBus(FrozenEstimator(pipeline))))
    assert unwrap(wrapped) is unwrap(pipeline) is pipeline


def test_walk():
    lbp, svc = LBP(), SVC()
    pipeline = make_pipeline(lbp, svc)
    outer = search(pipeline)
    found = [(outer, None), (pipeline, outer), (lbp, pipeline), (svc, pipeline)]
    assert list(walk(outer)) == found
    frozen = FrozenEstimator(pipeline)
    assert list(walk([frozen, {"a": svc}, "drop", SVC])) == [(frozen, None), (svc, None)]


@pytest.mark.parametrize(
    ("transformer", "expected"),
    [
        (LBP(), False),
        ("passthrough", False),
        (make_sampling_pipeline(Resize(), "passthrough", LBP()), False),
        (FeatureBus(make_pipeline(Resize(), make_union(LBP(), "drop"))), False),
        (ColumnTransformer([("lbp", LBP(), "path"), ("age", "passthrough", ["age"])]), False),
        (make_pipeline(FrozenEstimator(Learned()), FrozenEstimator(StandardScaler())), False),
        (Learned(), True),
        (FeatureBus(SelectRobust(LBP())), True),
        (make_union(LBP(), make_pipeline(IntensityStatistics(), PCA(1))), True),
        (FeatureBus(make_pipeline(LBP(), StandardScaler())), True),
        (ColumnTransformer([("lbp", LBP(), "path")], remainder=StandardScaler()), True),
        (search(LBP(), radius=[1]), True),
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
        (make_pipeline("passthrough", Resize(), FunctionTransformer()), True),
        (make_pipeline(ImageLoader(), LBP()), False),
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
    assert not is_search(make_pipeline(found))
    assert search_in(found) is search_in(make_pipeline(LBP(), found)) is found
    assert search_in(make_pipeline(found, SVC())) is None
    assert is_resampler(SMOTE())
    assert not is_resampler(make_sampling_pipeline(SMOTE(), SVC()))


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


@pytest.mark.parametrize(
    "first",
    [
        LBP(),
        make_union(LBP(), "drop", make_pipeline(Resize(), "passthrough", IntensityStatistics())),
        FeatureBus(FunctionTransformer()),
        FrozenEstimator(make_pipeline(Resize(), FrozenEstimator(LearnedImages()), Learned())),
        FrozenEstimator(make_union(Learned(), LBP())),
    ],
    ids=str,
)
def test_what_gives_rows(first):
    steps, rest = split_extraction(Pipeline([("rows", first), ("svc", SVC())]))
    assert steps == [("rows", first)]
    assert [*rest.named_steps] == ["svc"]


@pytest.mark.parametrize(
    "estimator",
    [
        SVC(),
        make_pipeline(LBP()),
        make_pipeline(Resize(), SVC()),
        make_pipeline(LearnedImages(), LBP(), SVC()),
        make_pipeline(make_union(LBP(), Learned()), SVC()),
        make_pipeline(make_union("drop", "drop"), SVC()),
        make_pipeline(FrozenEstimator(make_pipeline(LBP(), PCA())), SVC()),
        make_pipeline(FunctionTransformer(), LBP(), SVC()),
        TestTimeAugmentation(make_pipeline(LBP(), SVC())),
        search(make_pipeline(LBP(), SVC()), lbp=[LBP(), IntensityStatistics()]),
        GridSearchCV(make_pipeline(LBP(), SVC()), [{"svc__C": [1]}, {"lbp__radius": [1]}]),
        RandomizedSearchCV(make_pipeline(LBP(), SVC()), {"lbp__radius": [1, 2]}),
        search(SVC(), C=[1]),
    ],
    ids=str,
)
def test_what_stays_whole(estimator):
    """Also a step that a search varies."""
    assert split_extraction(estimator) == ([], estimator)


def test_searches_keep_their_parameters():
    found = search(make_sampling_pipeline(Resize(), LBP(), SMOTE(), SVC()))
    steps, rest = split_extraction(found)
    assert [*dict(steps)] == ["resize", "lbp"]
    assert isinstance(rest.estimator, SamplingPipeline)
    assert [*rest.estimator.named_steps] == ["smote", "svc"]
    assert rest.param_grid == found.param_grid
    assert [*found.estimator.named_steps] == ["resize", "lbp", "smote", "svc"]


def test_extractions_are_in_the_order_of_the_columns():
    outer, inner = Resize(16), Resize(8)
    lbp, statistics, alone = LBP(), IntensityStatistics(), LBP(radius=2)
    columns = ColumnTransformer([("a", FrozenEstimator(alone), "path"), ("b", "drop", "x")])
    first = make_pipeline(FrozenEstimator(inner), "passthrough", lbp, StandardScaler())
    union = make_union(first, "drop", FeatureBus(statistics), columns)
    pipeline = make_pipeline(make_pipeline(outer, "passthrough"), make_pipeline(union, PCA()))
    steps, extractors = zip(*extractions(FeatureBus(pipeline)))
    assert extractors == (lbp, statistics, alone)
    steps = [[unwrap(step) for step in part] for part in steps]
    assert steps == [[outer, inner], [outer], [outer]]


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
    with pytest.raises(
        ValueError, match=f"(?s){name}.*has columns that cannot be traced back to pixels"
    ):
        extractions(transformer)
