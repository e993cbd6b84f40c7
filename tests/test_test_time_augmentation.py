"""Test-time augmentation: the mean over views, and a classifier like any other."""

import cv2
import numpy as np
import pytest
from _spies import CountingMean, count
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import TunedThresholdClassifierCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from featbus import HOG, FeatureBus, Resize, TestTimeAugmentation, make_breast_ultrasound
from featbus.augmentation import dihedral
from featbus.masks import with_mask
from featbus.steps import steps_of, unwrap

DATA = make_breast_ultrasound(24, image_shape=(48, 64), random_state=0)
IMAGES, Y = DATA.images, DATA.target
HOG_16 = HOG(pixels_per_cell=(16, 16))
ELEMENTS = {2: (0, 4), 6: (0, 1, 2, 3, 4, 6), 8: range(8)}


def features():
    # Quarter turns swap height and width.
    return make_pipeline(Resize(48), HOG_16)


def probabilistic():
    return make_pipeline(features(), LogisticRegression())


def decisive():
    return make_pipeline(features(), SVC())


@pytest.mark.parametrize("views", [2, 6, 8])
@pytest.mark.parametrize(
    ("make", "method"),
    [
        (probabilistic, "predict_proba"),
        (probabilistic, "decision_function"),
        (decisive, "decision_function"),
    ],
)
@pytest.mark.parametrize("classes", [2, 3])
def test_scores_are_the_mean_over_views(make, method, views, classes):
    y = np.minimum(Y, classes - 1)
    classifier = TestTimeAugmentation(make(), views=views).fit(IMAGES, y)
    score = getattr(make().fit(IMAGES, y), method)
    expected = np.mean(
        [score([dihedral(image, element) for image in IMAGES]) for element in ELEMENTS[views]],
        axis=0,
    )
    np.testing.assert_allclose(getattr(classifier, method)(IMAGES), expected, atol=1e-6)
    assert not np.allclose(score(IMAGES), expected, atol=1e-4)


def test_prediction_is_the_class_of_the_highest_mean():
    for make, labels in [(probabilistic, Y), (decisive, Y), (decisive, np.minimum(Y, 1))]:
        y = np.array(["benign", "malignant", "normal"])[labels]
        classifier = TestTimeAugmentation(make()).fit(IMAGES, y)
        assert classifier.classes_.tolist() == sorted(set(y))
        if make is probabilistic:
            expected = classifier.classes_[classifier.predict_proba(IMAGES).argmax(axis=1)]
        elif len(classifier.classes_) == 3:
            expected = classifier.classes_[classifier.decision_function(IMAGES).argmax(axis=1)]
        else:
            expected = np.where(classifier.decision_function(IMAGES) > 0, *sorted(set(y))[::-1])
        assert classifier.predict(IMAGES).tolist() == expected.tolist()


def test_the_mean_can_overrule_the_image():
    class Left(ClassifierMixin, BaseEstimator):
        """Sure of class 1 where the left is bright, a little of class 0 where it is dark."""

        classes_ = np.array([0, 1])

        def fit(self, X, y):
            return self

        def predict_proba(self, X):
            bright = np.array([image[:, 0].mean() > 128 for image in X])
            return np.where(bright[:, np.newaxis], [0, 1], [0.6, 0.4])

    image = np.zeros((1, 4, 4), np.uint8)
    image[..., 3] = 255
    classifier = TestTimeAugmentation(Left()).fit(image, [0])
    np.testing.assert_allclose(classifier.predict_proba(image), [[0.3, 0.7]])
    assert classifier.predict(image).tolist() == [1]


def test_the_estimator_is_fitted_on_plain_images_and_stays_unfitted():
    pipeline = probabilistic()
    classifier = TestTimeAugmentation(pipeline).fit(IMAGES, Y)
    coefficients = clone(pipeline).fit(IMAGES, Y)[-1].coef_
    np.testing.assert_array_equal(classifier.estimator_[-1].coef_, coefficients)
    assert not hasattr(pipeline[-1], "coef_")


def test_methods_are_those_of_the_estimator():
    assert not hasattr(TestTimeAugmentation(decisive()), "predict_proba")
    assert hasattr(TestTimeAugmentation(decisive()), "decision_function")
    assert hasattr(TestTimeAugmentation(probabilistic()), "predict_proba")
    assert is_classifier(TestTimeAugmentation(decisive()))
    with pytest.raises(NotFittedError):
        TestTimeAugmentation(decisive()).predict(IMAGES)
    with pytest.raises(NotFittedError):
        TestTimeAugmentation(decisive()).decision_function(IMAGES)


def test_batches_do_not_matter(monkeypatch):
    classifier = TestTimeAugmentation(probabilistic()).fit(IMAGES, Y)
    expected = classifier.predict_proba(IMAGES)
    monkeypatch.setattr("featbus.sampling._test_time._BATCH", 5)
    for n_images in (24, 10, 4, 1):
        scores = classifier.predict_proba(IMAGES[:n_images])
        np.testing.assert_allclose(scores, expected[:n_images], atol=1e-6)


def test_paths_and_images_of_different_sizes(tmp_path):
    images = [image[: 40 + index, 2 * index :] for index, image in enumerate(IMAGES[:6])]
    paths = [tmp_path / f"{index}.png" for index in range(6)]
    for path, image in zip(paths, images):
        cv2.imwrite(str(path), image)
    classifier = TestTimeAugmentation(probabilistic(), views=6).fit(IMAGES, Y)
    expected = classifier.predict_proba(images)
    np.testing.assert_allclose(classifier.predict_proba(paths), expected, atol=1e-6)
    np.testing.assert_allclose(classifier.predict_proba(images[3:4])[0], expected[3], atol=1e-6)


def test_the_mask_turns_along():
    inside = np.zeros((48, 64), bool)
    inside[10:40, 5:25] = True
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
    classifier = TestTimeAugmentation(probabilistic()).fit(IMAGES, Y)
    with pytest.raises(ValueError, match=r"image 5 \('no/such/file.png'\)"):
        classifier.predict([*IMAGES[:5], "no/such/file.png"])
    with pytest.raises(ValueError, match="wrap it"):
        classifier.predict(IMAGES[0])


@pytest.mark.parametrize("views", [1, 4, "mirror", True, None])
def test_bad_parameters(views):
    classifier = TestTimeAugmentation(decisive(), views=views)
    with pytest.raises(ValueError, match=f"^views is {views!r}"):
        classifier.fit(["no/such/file.png"], Y[:1])
    with pytest.raises(ValueError, match="^estimator is 3"):
        TestTimeAugmentation(3).fit(IMAGES, Y)


def test_its_estimator_is_known_as_a_step():
    classifier = TestTimeAugmentation(decisive())
    assert [name for name, _ in steps_of(classifier)] == ["estimator"]
    assert unwrap(classifier) is classifier.estimator
    classifier.fit(IMAGES, Y)
    assert unwrap(FrozenEstimator(classifier)) is classifier.estimator_


def test_feature_bus_computes_each_view_once(tmp_path):
    log = tmp_path / "log"
    bus = FeatureBus(CountingMean(log=str(log)), memory=tmp_path / "rows.sqlite")
    classifier = TestTimeAugmentation(make_pipeline(bus, LogisticRegression()))
    cross_validate(classifier, IMAGES, Y, cv=3)
    assert count(log) == 48
    cross_validate(clone(classifier), IMAGES, Y, cv=4)
    assert count(log) == 48


def test_inside_other_meta_estimators():
    y = np.minimum(Y, 1)
    classifier = TestTimeAugmentation(probabilistic())
    tuned = TunedThresholdClassifierCV(classifier, cv=2).fit(IMAGES, y)
    threshold = tuned.best_threshold_
    expected = tuned.estimator_.predict_proba(IMAGES)[:, 1] >= threshold
    np.testing.assert_array_equal(tuned.predict(IMAGES), expected.astype(int))
    calibrated = CalibratedClassifierCV(TestTimeAugmentation(decisive()), cv=2).fit(IMAGES, y)
    np.testing.assert_allclose(calibrated.predict_proba(IMAGES).sum(axis=1), 1)


class Weighted(ClassifierMixin, BaseEstimator):
    """Remembers the weights that it got."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        self.weights_ = sample_weight
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_weights_reach_the_estimator():
    weights = np.arange(24.0)
    classifier = TestTimeAugmentation(Weighted())
    assert classifier.fit(IMAGES, Y).estimator_.weights_ is None
    assert classifier.fit(IMAGES, Y, sample_weight=weights).estimator_.weights_ is weights
    nested = TestTimeAugmentation(make_pipeline(Resize(16), Weighted()))
    nested.fit(IMAGES, Y, weighted__sample_weight=weights)
    assert nested.estimator_[-1].weights_ is weights
    with config_context(enable_metadata_routing=True):
        requested = Weighted().set_fit_request(sample_weight=True)
        routed = TestTimeAugmentation(make_pipeline(Resize(16), requested))
        assert routed.fit(IMAGES, Y, sample_weight=weights).estimator_[-1].weights_ is weights
        assert routed.fit(IMAGES, Y).estimator_[-1].weights_ is None
        with pytest.raises(TypeError, match="unexpected argument"):
            routed.fit(IMAGES, Y, groups=weights)
