"""`examine_image`, `describe_training_images`, and what they are made of."""

import json

import cv2
import numpy as np
import pytest
from _data import data_dir
from _mammogram import mammogram
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from test_recipes import tiny_recipe

from featbus import (
    IntensityStatistics,
    Resample,
    Resize,
    ROICropper,
    ShapeStatistics,
    ThresholdSegmenter,
    load,
    load_busi,
    load_mini_mias,
    make_breast_ultrasound,
    save,
)
from featbus.base import ImageTransformer
from featbus.color import to_gray
from featbus.commands import describe_training_images, examine_image
from featbus.commands._appearance import MEASURES, _distances, _summarize
from featbus.evaluation import find_outline, occlusion_map
from featbus.images import ImageError
from featbus.io import SpacedImage, read_image
from featbus.masks import with_mask
from featbus.persistence import read_card
from featbus.recipes import list_recipes
from featbus.segmentation import Segmenter

DATA = make_breast_ultrasound(60, image_shape=(96, 128), random_state=0)
NEW = make_breast_ultrasound(2, image_shape=(96, 128), random_state=1)
RNG = np.random.default_rng(0)


class FindBright(Segmenter):
    """Find what is bright."""

    def _iter_regions(self, images):
        for image in images:
            yield to_gray(image) > 100


class Mirror(ImageTransformer):
    """Exchange left and right."""

    def _transform_image(self, image):
        return np.ascontiguousarray(image[:, ::-1])

    def map_boxes(self, boxes, image):
        boxes = np.array(boxes, dtype=float).reshape(-1, 4)
        boxes[:, [1, 3]] = image.shape[1] - boxes[:, [3, 1]]
        return boxes


class BrightCorner(ClassifierMixin, BaseEstimator):
    """The probability of class 1 is the mean of the upper left quarter."""

    classes_ = np.array([0, 1])

    def predict_proba(self, X):
        height, width = X[0].shape[:2]
        mean = np.array([image[: -(-height // 2), : -(-width // 2)].mean() / 255 for image in X])
        return np.column_stack([1 - mean, mean])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def classifier():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Save a model that segments, with the description of its images; return model and card."""
    path = tmp_path_factory.mktemp("examine") / "model.skops"
    cropper = ROICropper(ThresholdSegmenter())
    model = make_pipeline(Resize((96, 128)), cropper, IntensityStatistics(), classifier())
    model.fit(DATA.images, DATA.target)
    card = {"reference": describe_training_images(DATA.images, groups=DATA.groups)}
    save(model, path, classes=DATA.target_names, card=card)
    return load(path), read_card(path)


@pytest.fixture(scope="module")
def found(saved):
    return examine_image(*saved, NEW.images[0])


def test_class_and_probabilities_are_those_of_the_model(saved, found):
    model, _ = saved
    expected = model.predict_proba(NEW.images[:1])[0]
    assert found.probabilities.index.tolist() == DATA.target_names
    assert_allclose(found.probabilities, expected)
    assert found.predicted == DATA.target_names[expected.argmax()]


def test_a_part_that_is_hidden_counts_by_what_it_changes():
    image = np.full((60, 60), 50, np.uint8)
    image[:10, 10:20] = 200
    expected = np.zeros(image.shape)  # of class 0, for which the bright part speaks least
    expected[:30, :30] = (int(image.mean()) - 50) * 100 / 900 / 255
    expected[:10, 10:20] = (int(image.mean()) - 200) * 100 / 900 / 255
    assert_allclose(occlusion_map(BrightCorner(), image), expected, atol=1e-12)


def test_the_importance_is_that_of_the_class_that_is_predicted():
    class Contrary(BrightCorner):
        def predict(self, X):  # as that of SVC, which need not be the most probable class
            return self.classes_[self.predict_proba(X).argmin(axis=1)]

    image = np.zeros((60, 60), np.uint8)
    image[:10, :10] = 255
    found = examine_image(Contrary(), {"classes": ["dark", "bright"]}, image)
    assert found.predicted == "bright"
    assert found.importance[0, 0] > 0
    assert_array_equal(found.importance, occlusion_map(BrightCorner(), image, class_index=1))


def test_noise_is_no_importance():
    image = np.zeros((60, 60), np.uint8)
    image[:10, :10] = 255
    assert examine_image(BrightCorner(), {}, image).importance_reason is None
    doubted = examine_image(BrightCorner(), {"doubt": "Not clearly better than chance."}, image)
    assert doubted.importance is None
    assert "not clearly better than chance" in doubted.importance_reason
    image[image > 0] = 220  # hiding this changes the probability by less than 0.1
    found = examine_image(BrightCorner(), {}, image)
    assert found.importance is None
    assert "by 0.09 at most, and up to 0.10 is noise" in found.importance_reason


def test_images_with_a_spacing():
    images = [SpacedImage(image, 0.2) for image in DATA.images]
    new, reference = SpacedImage(NEW.images[0], 0.2), describe_training_images(images)
    steps = Resample(0.4), ROICropper(FindBright()), IntensityStatistics()
    model = make_pipeline(*steps, classifier()).fit(images, DATA.target)
    found = examine_image(model, {"reference": reference}, new)
    assert_allclose(found.probabilities, model.predict_proba([new])[0])
    assert found.importance.shape == found.outline.shape == NEW.images[0].shape
    assert found.importance.any()
    small = find_outline(model[1], Resample(0.4).transform([new])[0])
    assert_array_equal(found.outline, small.repeat(2, axis=0).repeat(2, axis=1))
    with pytest.raises(ImageError, match="found no spacing"):
        examine_image(model, {}, NEW.images[0])


STEPS = {
    "stretch": [Resize((50, 120))],
    "letterbox": [Resize((100, 100), method="letterbox")],
    "mirror": [Mirror()],
    "several": [Mirror(), Resize((40, 60)), Mirror(), Mirror()],
}


@pytest.mark.parametrize("name", STEPS)
def test_the_outline_lies_where_the_region_is(name):
    expected = np.zeros((80, 100), bool)
    expected[10:30, 20:70] = True
    image = 255 * expected.astype(np.uint8)
    features = make_pipeline(ROICropper(FindBright(), size=32), IntensityStatistics())
    for last in (features, make_union(IntensityStatistics(), features)):
        outline = find_outline(make_pipeline(*STEPS[name], last), image)
        assert (outline != expected).mean() < (0 if name == "mirror" else 0.03) + 1e-9


def others():
    """Return images of other kinds than ultrasound."""
    photograph = cv2.GaussianBlur(RNG.uniform(0, 1, (200, 300, 3)), (0, 0), 9)
    return {
        "color photograph": np.rint(255 * photograph).astype(np.uint8),
        "mammogram": np.rint(255 * mammogram(256)[0]).astype(np.uint8),
        "noise": RNG.integers(0, 256, (192, 256)).astype(np.uint8),
        "black": np.zeros((192, 256), np.uint8),
        "colored": np.stack([NEW.images[0], NEW.images[0] // 2, NEW.images[0] // 3], axis=2),
    }


@pytest.mark.parametrize(("kind", "image"), others().items())
def test_images_of_other_kinds_are_unfamiliar(saved, kind, image):
    assert examine_image(*saved, image, importance=False).is_unfamiliar


def test_a_patient_counts_once_with_many_images_or_few():
    images = DATA.images[:20]
    again = [*images, *[images[0]] * 200]
    alone = describe_training_images(images)
    described = describe_training_images(again, groups=[*range(20), *[0] * 200])
    for key in ("center", "spread"):
        assert described[key] == alone[key]


@pytest.mark.parametrize(("n_groups", "n_frames"), [(20, 1), (20, 600), (50, 1), (51, 1)])
def test_images_of_new_groups_exceed_the_limit_as_often_as_promised(n_groups, n_frames):
    rng = np.random.default_rng(0)
    groups = np.append(np.arange(n_groups), np.zeros(n_frames - 1, int))
    shares = []
    for _ in range(40):
        rows = rng.normal(size=(n_groups, 34))[groups] + 0.05 * rng.normal(size=(len(groups), 34))
        center, spread, limit = list(_summarize(rows, groups).values())[1:4]
        shares.append((_distances(rng.normal(size=(200, 34)), center, spread) > limit).mean())
    expected, error = 1 / (n_groups + 1), np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) < expected + 3 * error
    assert np.mean(shares) > expected / 3


def test_a_measure_that_few_groups_have_neither_sets_nor_breaks_the_limit():
    rng = np.random.default_rng(0)

    def draw(n_rows):
        rows = rng.normal(size=(n_rows, 34))
        rows[:, 0] = 0.3 * (rng.uniform(size=n_rows) < 0.12)
        return rows

    alarms, limits = [], []
    for _ in range(40):
        train = draw(40)
        center, spread, limit = list(_summarize(train, np.arange(40)).values())[1:4]
        alarms.append((_distances(draw(200), center, spread) > limit).mean())
        limits.append(limit / _summarize(train * [0, *[1] * 33], np.arange(40))["limit"])
    assert np.mean(alarms) < 1 / 41 + 3 * np.std(alarms) / np.sqrt(40)
    assert 0.95 < np.mean(limits) < 1.05


def colored(image, strength):
    channels = image, image * (1 - strength), image
    return np.dstack([np.rint(channel).astype(np.uint8) for channel in channels])


def test_color_that_few_groups_have_is_not_in_the_card():
    assert MEASURES[:2] == ["color", "color_95"]
    for strength in (0.5, 0.9):
        images = [colored(image, strength) for image in DATA.images[:9]] + [*DATA.images[9:40]]
        features = describe_training_images(images)
        assert (features["center"][:2], features["spread"][:2]) == ([0, 0], [0.1, 0.1])


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "b"]])
def test_names_that_are_not_those_of_the_classes(saved, names):
    with pytest.raises(ValueError, match="a different name for each of the 3 classes"):
        examine_image(saved[0], {"classes": names}, NEW.images[0])


def test_gray_pixels_in_three_channels_are_no_color_image(saved, found):
    color = examine_image(*saved, np.dstack([NEW.images[0]] * 3), importance=False)
    assert_allclose(color.distance, found.distance, rtol=1e-6)


def test_a_card_without_a_description(saved):
    model, card = saved
    foreign = dict(card["reference"], measures=["height"])
    for reference in (None, foreign, "text"):
        found = examine_image(model, {"reference": reference}, NEW.images[0], importance=False)
        assert found.predicted in {"0", "1", "2"}
        assert found.distance is found.limit is found.is_unfamiliar is None


def test_models_without_probabilities_have_no_importance():
    model = make_pipeline(IntensityStatistics(), StandardScaler(), SVC())
    found = examine_image(model.fit(DATA.images, DATA.target), {}, NEW.images[0])
    assert found.probabilities is found.importance is None
    assert "no probabilities" in found.importance_reason


def test_a_search_is_its_best_estimator():
    search = GridSearchCV(make_pipeline(IntensityStatistics(), classifier()), {}, cv=2)
    found = examine_image(search.fit(DATA.images, DATA.target), {}, NEW.images[0], importance=False)
    assert_allclose(found.probabilities, search.predict_proba(NEW.images[:1])[0])


BAD = {
    "out of range": (np.full((20, 20), 7.0), "expected 0 to 1"),
    "NaN": (np.full((20, 20), np.nan), "NaN"),
    "transparent": (np.zeros((20, 20, 4), np.uint8), "transparent"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_image_errors(saved, name):
    image, message = BAD[name]
    with pytest.raises(ImageError, match=message) as caught:
        examine_image(*saved, image)
    assert caught.value.index is None
    assert "\n" not in str(caught.value)


def test_images_whose_features_are_nan_are_image_errors():
    kept = np.flatnonzero([mask.any() for mask in DATA.masks])
    images = [with_mask(DATA.images[index], DATA.masks[index]) for index in kept]
    model = make_pipeline(ShapeStatistics(on_missing="nan"), classifier())
    found = examine_image(model.fit(images, DATA.target[kept]), {}, images[0], importance=False)
    assert_allclose(found.probabilities, model.predict_proba(images[:1])[0])
    with pytest.raises(ImageError, match="found features that are NaN") as caught:
        examine_image(model, {}, NEW.images[0])
    assert caught.value.index is None


def test_the_description_holds_means_and_no_rows():
    summary = describe_training_images(DATA.images)
    assert json.loads(json.dumps(summary)) == summary
    assert set(summary) == {"measures", "center", "spread", "limit", "images"}
    n_measures = len(summary["measures"])
    assert len(summary["center"]) == len(summary["spread"]) == n_measures < 40


def test_few_groups_are_not_described():
    with pytest.raises(ValueError, match="Found 5 groups of images, expected at least 10"):
        describe_training_images(DATA.images, groups=np.arange(60) % 5)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("recipe", list_recipes()["name"])
def test_models_of_every_recipe(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("featbus.evaluation._importance._N_PARTS", 2)  # four parts to hide
    model = tiny_recipe(recipe).fit(DATA.images[:30], DATA.target[:30])
    save(model, tmp_path / "model.skops", classes=DATA.target_names)
    model, card = load(tmp_path / "model.skops"), read_card(tmp_path / "model.skops")
    found = examine_image(model, card, NEW.images[0])
    assert_allclose(found.probabilities.sum(), 1)
    assert_allclose(found.probabilities, model.predict_proba(NEW.images[:1])[0], rtol=1e-4)
    assert found.predicted in DATA.target_names
    assert found.importance_reason is None or "is noise" in found.importance_reason
    assert (found.outline is not None) == (recipe in ("enhanced_crop", "unet_crop"))


@pytest.mark.slow
def test_real_images_of_another_kind_are_unfamiliar():
    busi = load_busi(data_dir("busi"), groups=data_dir("busi") / "groups.csv")
    mias, chosen = load_mini_mias(data_dir("mini-mias")), busi.groups % 2 == 1
    known, groups = busi.images[chosen], busi.groups[chosen]
    reference = {"reference": describe_training_images(known, groups=groups)}

    def share(paths):
        images = map(read_image, paths)
        examined = [examine_image(BrightCorner(), reference, i, importance=False) for i in images]
        return np.mean([found.is_unfamiliar for found in examined])

    assert share(busi.images[~chosen][::2]) < 0.05
    assert share(mias.images[::5]) == 1
