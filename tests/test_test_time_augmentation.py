"""Test-time augmentation: the mean over views, and a classifier like any other."""

import numpy as np
import pytest
from _spies import CountingMean, count, write_images
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from featbus import HOG, FeatureBus, Resize, TestTimeAugmentation, make_breast_ultrasound
from featbus.augmentation import dihedral
from featbus.masks import with_mask
from featbus.steps import steps_of, unwrap

DATA = make_breast_ultrasound(12, image_shape=(32, 48), random_state=0)
IMAGES, Y = DATA.images, DATA.target
HOG_16 = HOG(pixels_per_cell=16, cells_per_block=1)
ELEMENTS = {2: (0, 4), 6: (0, 1, 2, 3, 4, 6), 8: range(8)}

# Quarter turns swap height and width.
PROBABILISTIC = make_pipeline(Resize(32), HOG_16, LogisticRegression())
DECISIVE = make_pipeline(Resize(32), HOG_16, SVC())


@pytest.mark.parametrize(
    ("pipeline", "method", "views", "classes"),
    [
        (PROBABILISTIC, "predict_proba", 2, 3),
        (PROBABILISTIC, "predict_proba", 8, 2),
        (DECISIVE, "decision_function", 6, 2),
        (DECISIVE, "decision_function", 2, 3),
    ],
)
def test_scores_are_the_mean_over_views(pipeline, method, views, classes):
    y = np.array(["benign", "malignant", "normal"])[np.minimum(Y, classes - 1)]
    classifier = TestTimeAugmentation(pipeline, views=views).fit(IMAGES, y)
    score = getattr(clone(pipeline).fit(IMAGES, y), method)
    expected = np.mean(
        [score([dihedral(image, element) for image in IMAGES]) for element in ELEMENTS[views]],
        axis=0,
    )
    np.testing.assert_allclose(getattr(classifier, method)(IMAGES), expected, atol=1e-6)
    assert not np.allclose(score(IMAGES), expected, atol=1e-4)
    # The prediction is the class with the highest mean.
    assert classifier.classes_.tolist() == sorted(set(y))
    best = expected.argmax(axis=1) if expected.ndim == 2 else np.int64(expected > 0)
    assert classifier.predict(IMAGES).tolist() == classifier.classes_[best].tolist()


def test_methods_are_those_of_the_estimator():
    classifier = TestTimeAugmentation(DECISIVE)
    assert not hasattr(classifier, "predict_proba")
    assert hasattr(classifier, "decision_function")
    assert is_classifier(classifier)
    with pytest.raises(NotFittedError):
        classifier.predict(IMAGES)
    assert [name for name, _ in steps_of(classifier)] == ["estimator"]
    assert unwrap(classifier) is classifier.estimator
    classifier.fit(IMAGES, Y)
    assert unwrap(FrozenEstimator(classifier)) is classifier.estimator_


def test_batches_do_not_matter(monkeypatch):
    classifier = TestTimeAugmentation(PROBABILISTIC).fit(IMAGES, Y)
    expected = classifier.predict_proba(IMAGES)
    monkeypatch.setattr("featbus.sampling._test_time._BATCH", 5)
    for n_images in (12, 10, 4, 1):
        scores = classifier.predict_proba(IMAGES[:n_images])
        np.testing.assert_allclose(scores, expected[:n_images], atol=1e-6)


def test_paths_and_images_of_different_sizes(tmp_path):
    images = [image[: 20 + index, 2 * index :] for index, image in enumerate(IMAGES[:6])]
    paths = write_images(tmp_path, images)
    classifier = TestTimeAugmentation(PROBABILISTIC, views=6).fit(IMAGES, Y)
    expected = classifier.predict_proba(images)
    np.testing.assert_allclose(classifier.predict_proba(paths), expected, atol=1e-6)
    np.testing.assert_allclose(classifier.predict_proba(images[3:4])[0], expected[3], atol=1e-6)


def test_the_mask_turns_along():
    inside = np.zeros((32, 48), bool)
    inside[5:30, 5:25] = True
    first, second = (
        [with_mask(np.where(inside, image, outside).astype(np.uint8), inside) for image in IMAGES]
        for outside in (0, 255)
    )
    classifier = TestTimeAugmentation(make_pipeline(HOG_16, LogisticRegression()))
    classifier.fit(first, Y)
    np.testing.assert_allclose(
        classifier.predict_proba(first), classifier.predict_proba(second), atol=1e-6
    )


def test_a_bad_image_is_named(monkeypatch):
    monkeypatch.setattr("featbus.sampling._test_time._BATCH", 2)
    classifier = TestTimeAugmentation(PROBABILISTIC).fit(IMAGES, Y)
    with pytest.raises(ValueError, match=r"image 5 \('no/such/file.png'\)"):
        classifier.predict([*IMAGES[:5], "no/such/file.png"])
    with pytest.raises(ValueError, match="wrap it"):
        classifier.predict(IMAGES[0])


def test_feature_bus_computes_each_view_once(log, memory):
    bus = FeatureBus(CountingMean(log=log), memory=memory)
    classifier = TestTimeAugmentation(make_pipeline(bus, LogisticRegression()))
    cross_validate(classifier, IMAGES, Y, cv=3)
    assert count(log) == 24


def test_weights_reach_the_estimator():
    weights = {"sample_weight": np.arange(12.0)}
    step_weights = {f"logisticregression__{name}": value for name, value in weights.items()}
    expected = clone(PROBABILISTIC).fit(IMAGES, Y, **step_weights)[-1].coef_
    assert not np.allclose(expected, clone(PROBABILISTIC).fit(IMAGES, Y)[-1].coef_)
    classifier = TestTimeAugmentation(PROBABILISTIC).fit(IMAGES, Y, **step_weights)
    np.testing.assert_array_equal(classifier.estimator_[-1].coef_, expected)
    with config_context(enable_metadata_routing=True):
        requested = LogisticRegression().set_fit_request(sample_weight=True)
        routed = TestTimeAugmentation(make_pipeline(Resize(32), HOG_16, requested))
        found = routed.fit(IMAGES, Y, **weights).estimator_[-1].coef_
        np.testing.assert_array_equal(found, expected)
        with pytest.raises(TypeError, match="unexpected argument"):
            routed.fit(IMAGES, Y, groups=Y)
