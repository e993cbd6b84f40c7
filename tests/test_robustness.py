"""feature_robustness, SelectRobust, and the perturbations."""

import pickle

import numpy as np
import pandas as pd
import pytest
from _adapters import find_failed_checks, from_rows
from _spies import CountingMean, count
from scipy.stats import f as f_distribution
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from featbus import (
    LBP,
    FeatureBus,
    IntensityStatistics,
    Resize,
    SelectRobust,
    ShapeStatistics,
    feature_robustness,
    load,
    load_masked,
    make_breast_ultrasound,
    save,
)
from featbus.base import FeatureExtractor
from featbus.bus._fingerprint import fingerprint
from featbus.images import ImageError, check_image
from featbus.masks import dice, inside_mask, with_mask
from featbus.model_selection import PERTURBATIONS
from featbus.model_selection._robustness import estimate_noise, intraclass_correlation
from featbus.steps import learns

DATA = make_breast_ultrasound(12, image_shape=(96, 128), weights=[1, 1, 0], random_state=0)
MASKED = load_masked(DATA)
OF_MASKS = ["grow", "shrink", "contour"]
# Table 2 of Shrout & Fleiss (1979): six targets, four judges.
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


class MeanAndChance(FeatureExtractor):
    """Mean brightness; a number that any change of the image changes; a constant."""

    def __init__(self, *, dtype=np.float32):
        self.dtype = dtype

    def _extract(self, image):
        values = np.ma.filled(image, 0).astype(float).ravel()
        weights = np.random.default_rng(0).standard_normal(values.size)
        chance = np.modf(1e3 * (values @ weights + 1e-3 * np.ma.count(image)))[0]
        return np.array([image.mean(), chance, 5])

    def get_feature_names_out(self, input_features=None):
        return np.array(["mean", "chance", "constant"], dtype=object)


def brighten(image, rng):
    return np.clip(image + rng.uniform(0, 0.01), 0, 1)


def test_intraclass_correlation_of_a_published_table():
    """ICC(1,1) is 0.17 in Shrout & Fleiss (1979); the interval is that of McGraw & Wong (1996)."""
    rows = np.array(JUDGES, dtype=float)[..., np.newaxis]
    icc, low, high = intraclass_correlation(rows)[0]
    assert icc == pytest.approx(0.1657, abs=5e-5)
    between, within = 11.2417, 6.2639  # mean squares in the same paper
    ratio = between / within
    lower = ratio / f_distribution.ppf(0.975, 5, 18)
    upper = ratio * f_distribution.ppf(0.975, 18, 5)
    expected = [(value - 1) / (value + 3) for value in (lower, upper)]
    assert [low, high] == pytest.approx(expected, abs=1e-4)
    assert [low, high] == pytest.approx([-0.13, 0.72], abs=0.005)


def test_intraclass_correlation_of_each_column():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(9, 1, 4)) + [0.1, 1, 0, 0] * rng.normal(size=(9, 5, 4))
    rows[..., 3] = 0.1  # constant, which its mean is not exactly
    found = intraclass_correlation(rows)
    for column in range(4):
        one = intraclass_correlation(rows[..., [column]])
        np.testing.assert_allclose(found[[column]], one, atol=1e-12)
    assert found[2] == pytest.approx(1)
    assert np.isnan(found[3]).all()
    assert (found[:2, 1] < found[:2, 0]).all()
    assert (found[:2, 0] < found[:2, 2]).all()


def test_the_interval_contains_the_true_value_as_often_as_stated():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(15, 1, 4000)) + 0.5 * rng.normal(size=(15, 4, 4000))
    _, low, high = intraclass_correlation(rows).T
    assert np.mean((low <= 0.8) & (high >= 0.8)) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_perturbations_of_every_kind_of_image(name, dtype, channels):
    top = 1 if dtype.startswith("f") else np.iinfo(dtype).max
    gray = (DATA.images[0] / 255 * top).astype(dtype)
    pixels = np.stack([gray] * channels[0], axis=2) if channels else gray
    if channels == (4,):
        pixels[..., 3] = top
    image = with_mask(pixels, DATA.masks[0])
    before = image.copy()
    copy = check_image(PERTURBATIONS[name](image, np.random.default_rng(0)))
    assert copy.shape == image.shape
    assert copy.dtype == image.dtype
    same_pixels = np.array_equal(copy.data, image.data)
    same_mask = np.array_equal(copy.mask, image.mask)
    assert same_pixels == (name in OF_MASKS)
    assert same_mask == (name == "noise")
    np.testing.assert_array_equal(image.data, before.data)
    np.testing.assert_array_equal(image.mask, before.mask)
    if channels == (4,):
        assert (copy.data[..., 3] == top).all()


@pytest.mark.parametrize("name", ["spacing", "rotation", "translation", "noise"])
def test_pixels_outside_the_mask_do_not_leak_in(name):
    image = with_mask(np.float32(DATA.images[0] / 255), DATA.masks[0])
    unknown = with_mask(np.where(image.mask, np.nan, image.data).astype(np.float32), DATA.masks[0])
    copies = [PERTURBATIONS[name](each, np.random.default_rng(0)) for each in (image, unknown)]
    np.testing.assert_array_equal(copies[0].mask, copies[1].mask)
    np.testing.assert_allclose(copies[0].compressed(), copies[1].compressed(), atol=1e-6)


def test_masks_change_as_stated():
    inside = inside_mask(MASKED[0])
    for seed in range(5):
        copies = {
            name: inside_mask(PERTURBATIONS[name](MASKED[0], np.random.default_rng(seed)))
            for name in OF_MASKS
        }
        share = {name: copy.sum() / inside.sum() for name, copy in copies.items()}
        assert 1 < share["grow"] <= 1.2
        assert 0.8 <= share["shrink"] < 1
        assert share["contour"] == 1
        assert copies["grow"][inside].all()
        assert inside[copies["shrink"]].all()
        assert 0.85 < dice(inside, copies["contour"]) < 0.98


def test_a_region_grows_and_shrinks_evenly():
    inside = np.zeros((60, 60), bool)
    inside[20:40, 20:40] = True
    image = with_mask(np.zeros(inside.shape, np.uint8), inside)
    for name in ("grow", "shrink"):
        for seed in range(5):
            copy = inside_mask(PERTURBATIONS[name](image, np.random.default_rng(seed)))
            changed = copy ^ inside
            sides = [changed[:30], changed[30:], changed[:, :30], changed[:, 30:]]
            assert np.ptp([np.count_nonzero(side) for side in sides]) <= 4


def test_a_region_of_one_pixel_stays_one():
    image = np.ma.masked_all((5, 6), np.uint8)
    image[2, 3] = 7
    for name in OF_MASKS:
        assert inside_mask(PERTURBATIONS[name](image, np.random.default_rng(0)))[2, 3]


def test_noise_is_estimated_from_the_region():
    rng = np.random.default_rng(0)
    pixels = np.full((200, 200), 0.5)
    pixels[50:150, 50:150] += rng.normal(0, 0.03, (100, 100))
    inside = np.zeros(pixels.shape, bool)
    inside[50:150, 50:150] = True
    assert estimate_noise(with_mask(pixels, inside)) == pytest.approx(0.03, rel=0.05)
    assert estimate_noise(pixels) == pytest.approx(0.03, rel=0.05)  # without the flat rest
    assert estimate_noise(np.full((9, 9), 0.5)) == 0
    assert estimate_noise(np.ones((1, 5))) == 0


def test_table_of_robustness():
    table = feature_robustness(make_union(MeanAndChance(), ShapeStatistics()), MASKED)
    assert table.columns.get_level_values(0).unique().tolist() == ["overall", *PERTURBATIONS]
    assert table.columns.get_level_values(1).unique().tolist() == ["icc", "low", "high"]
    icc = table.xs("icc", axis=1, level=1)
    assert icc.loc["meanandchance__mean", "overall"] > 0.9
    assert icc.loc["meanandchance__chance", "overall"] < 0.5
    assert icc.loc["meanandchance__constant"].isna().all()
    assert icc.loc["shapestatistics__shape_area", ["noise", "grow"]].tolist() == [
        pytest.approx(1),
        pytest.approx(0.95, abs=0.05),
    ]


def test_other_images_their_order_and_other_perturbations_do_not_matter():
    def record(kept):
        def keep(X):
            kept.extend(image.tobytes() for image in X)
            return np.array([[image.mean()] for image in X])

        return FunctionTransformer(keep, feature_names_out=lambda *_: ["mean"])

    some = {name: PERTURBATIONS[name] for name in ("noise", "grow")}
    kept = [[], [], [], []]
    feature_robustness(record(kept[0]), MASKED[:3], perturbations=some, n_repeats=1)
    feature_robustness(record(kept[1]), MASKED[4::-1], n_repeats=3)
    assert set(kept[0]) < set(kept[1])
    feature_robustness(record(kept[2]), MASKED[:3], perturbations=some, n_repeats=1, random_state=1)
    assert len(set(kept[0]) & set(kept[2])) == 3  # the images themselves
    generator = np.random.RandomState(0)
    for _ in range(2):
        feature_robustness(record(kept[3]), MASKED[:3], random_state=generator)
    assert len(set(kept[3])) > len(kept[3]) / 2


def test_images_without_masks():
    with pytest.warns(UserWarning, match="'grow', 'shrink', 'contour'.* 1 of 12 images"):
        table = feature_robustness(LBP(), [DATA.images[0], *MASKED[1:]])
    names = table.columns.get_level_values(0).unique().tolist()
    assert names == ["overall", *(name for name in PERTURBATIONS if name not in OF_MASKS)]
    only = {"grow": PERTURBATIONS["grow"]}
    with (
        pytest.raises(ValueError, match=r"None of the perturbations \['grow'\]"),
        pytest.warns(UserWarning, match="12 of 12"),
    ):
        feature_robustness(LBP(), DATA.images, perturbations=only)
    with pytest.raises(ValueError, match=r"None of the perturbations \[\]"):
        feature_robustness(LBP(), DATA.images, perturbations={})


def test_a_region_that_a_perturbation_loses():
    def move(image, rng):
        return with_mask(image.data, np.roll(inside_mask(image), 10, axis=0) & (row > 9))

    row = np.arange(96)[:, np.newaxis]
    pair = {"move": move, "noise": PERTURBATIONS["noise"]}
    lost = with_mask(DATA.images[0], np.broadcast_to(row == 95, (96, 128)))
    with pytest.warns(UserWarning, match="'move'.* 1 of 3 images"):
        table = feature_robustness(IntensityStatistics(), [lost, *MASKED[1:3]], perturbations=pair)
    assert "noise" in table


def test_own_perturbations_and_names():
    mean = FunctionTransformer(
        lambda X: np.array([[x.mean()] for x in X]), feature_names_out=lambda *_: ["mean"]
    )
    table = feature_robustness(mean, DATA.images / 255, perturbations={"bright": brighten})
    assert table.index.tolist() == ["mean"]
    assert table.columns.get_level_values(0).unique().tolist() == ["overall", "bright"]
    assert table["overall"].equals(table["bright"])
    with pytest.raises(ValueError, match="perturbations is 3, expected"):
        feature_robustness(LBP(), MASKED, perturbations=3)


def test_bad_images_and_copies_are_named():
    with pytest.raises(ImageError, match="image 2: found values from"):
        feature_robustness(LBP(), [*MASKED[:2], DATA.images[2] * 1.0])

    def spoil(image, rng):
        return image.astype(float) if image is MASKED[1] else image

    with pytest.raises(ImageError, match="image 1: after the perturbation 'spoil', found values"):
        feature_robustness(LBP(), MASKED[:3], perturbations={"spoil": spoil})
    for estimate in (feature_robustness, lambda *a: SelectRobust(a[0]).fit(a[1])):
        with pytest.raises(ValueError, match="n_samples = 1 image"):
            estimate(LBP(), MASKED[:1])


@pytest.mark.filterwarnings("ignore::featbus.bus.ImageWarning")
def test_images_whose_rows_fail_are_left_out():
    bus = FeatureBus(ShapeStatistics(), on_error="nan")
    noise = {"noise": PERTURBATIONS["noise"]}
    found = feature_robustness(bus, [DATA.images[0], *MASKED[1:]], perturbations=noise)
    expected = feature_robustness(ShapeStatistics(), MASKED[1:], perturbations=noise)
    pd.testing.assert_frame_equal(found, expected)

    def lose(image, rng):
        return with_mask(image.data, np.ones(image.shape)) if image is MASKED[2] else image

    with pytest.warns(UserWarning, match="'lose'.* 1 of 12 images"):
        table = feature_robustness(bus, MASKED, perturbations={"lose": lose} | noise)
    assert table.columns.get_level_values(0).unique().tolist() == ["overall", "noise"]


def test_select_robust_keeps_columns_by_their_lower_bound():
    select = SelectRobust(make_union(MeanAndChance(), ShapeStatistics())).fit(MASKED)
    table = feature_robustness(select.extractor, MASKED)
    pd.testing.assert_frame_equal(select.icc_, table)
    kept = (table["overall", "low"] >= 0.75).to_numpy()
    assert 0 < kept.sum() < len(kept)
    np.testing.assert_array_equal(select.get_support(), kept)
    np.testing.assert_array_equal(select.get_support(indices=True), np.flatnonzero(kept))
    assert select.get_feature_names_out().tolist() == table.index[kept].tolist()
    rows = select.transform(MASKED)
    np.testing.assert_array_equal(rows, select.extractor_.transform(MASKED)[:, kept])
    frame = select.set_output(transform="pandas").transform(MASKED)
    assert frame.columns.tolist() == table.index[kept].tolist()


def test_no_robust_column():
    with pytest.raises(ValueError, match=r"Of 3 columns.*min_icc=1.*best, mean, has 0\.9"):
        SelectRobust(MeanAndChance(), min_icc=1).fit(MASKED)
    constant = FunctionTransformer(
        lambda X: np.ones((len(X), 1)), feature_names_out=lambda *_: ["a"]
    )
    with pytest.raises(ValueError, match="The best, a, has nan"):
        SelectRobust(constant).fit(MASKED)


def test_select_robust_perturbs_a_part_of_the_training_images(tmp_path):
    log = tmp_path / "log"
    select = SelectRobust(CountingMean(log=log), max_images=3, min_icc=0).fit(MASKED)
    assert count(log) == 3 * (1 + 2 * len(PERTURBATIONS))
    again = clone(select).fit(MASKED)
    np.testing.assert_array_equal(again.iccs_, select.iccs_)
    other = clone(select).set_params(random_state=1).fit(MASKED)
    assert not np.array_equal(other.iccs_, select.iccs_)


def test_a_search_over_min_icc_computes_each_row_once(tmp_path):
    log, memory = tmp_path / "log", tmp_path / "features.sqlite"
    features = make_union(CountingMean(log=log), MeanAndChance())
    bus = FeatureBus(features, memory=memory)
    pipeline = make_pipeline(SelectRobust(bus), StandardScaler(), LogisticRegression())
    grid = {"selectrobust__min_icc": [0.2, 0.4, 0.6]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(MASKED, DATA.target)
    assert count(log) == len(MASKED) * (1 + 2 * len(PERTURBATIONS))
    assert search.best_estimator_[0].get_support().sum() < 5


def test_what_was_learned_is_part_of_the_key():
    select = SelectRobust(make_union(MeanAndChance(), LBP()), min_icc=0.3, max_images=None)
    assert learns(select)
    first, second = (FeatureBus(clone(select)).fit(part) for part in (MASKED[:6], MASKED[6:]))
    again = FeatureBus(clone(select)).fit(MASKED[:6])
    assert fingerprint(first.transformer_) == fingerprint(again.transformer_)
    assert fingerprint(first.transformer_) != fingerprint(second.transformer_)
    rows = first.transform(MASKED)
    np.testing.assert_array_equal(rows, first.transformer_.transform(MASKED))


def test_an_extractor_that_learns_is_fitted_on_the_training_images():
    learning = make_pipeline(IntensityStatistics(), StandardScaler())
    select = SelectRobust(learning, min_icc=0.3).fit(MASKED)
    expected = clone(learning).fit(MASKED)[-1].mean_
    np.testing.assert_allclose(select.extractor_[-1].mean_, expected)
    frozen = FrozenEstimator(clone(learning).fit(MASKED[:6]))
    select = SelectRobust(frozen, min_icc=0.3).fit(MASKED)
    assert select.extractor_.estimator[-1].n_samples_seen_ == 6


def test_image_steps_may_come_before_the_extractor():
    select = SelectRobust(make_pipeline(Resize(64), LBP()), min_icc=0.1)
    assert select.fit_transform(MASKED).shape[1] == select.get_support().sum()


def test_pickle_save_and_load(tmp_path):
    select = SelectRobust(IntensityStatistics()).fit(MASKED)
    save(select, tmp_path / "model.skops")
    for copy in (pickle.loads(pickle.dumps(select)), load(tmp_path / "model.skops")):
        np.testing.assert_array_equal(copy.transform(MASKED), select.transform(MASKED))
        pd.testing.assert_frame_equal(copy.icc_, select.icc_)


@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.SkipTestWarning", "ignore:The perturbations"
)
def test_scikit_learns_checks():
    of_pixels = {"noise": PERTURBATIONS["noise"], "spacing": PERTURBATIONS["spacing"]}
    select = from_rows(SelectRobust)(
        IntensityStatistics(), min_icc=0, perturbations=of_pixels, n_repeats=1
    )
    assert not find_failed_checks(select)
