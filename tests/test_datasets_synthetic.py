import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage as ndi
from skimage.measure import regionprops
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import LBP, IntensityStatistics
from featbus.datasets import make_breast_ultrasound, make_mammograms

SMALL = {"image_shape": (48, 64), "random_state": 0}
both = pytest.mark.parametrize("make", [make_breast_ultrasound, make_mammograms])


@pytest.fixture(scope="module")
def ultrasound():
    return make_breast_ultrasound(24, weights=[1, 1, 0], random_state=0)


@pytest.fixture(scope="module")
def mammograms():
    return make_mammograms(24, random_state=0)


def share_of(values):
    names, counts = np.unique(values, return_counts=True)
    return dict(zip(names.tolist(), (counts / len(values)).tolist()))


def surroundings(mask, width):
    """A ring around a mask that leaves out its blurred border."""
    near, far = (ndi.binary_dilation(mask, iterations=n) for n in (5, 5 + width))
    return far & ~near


@both
def test_parts_of_the_bunch(make):
    data = make(7, **SMALL)
    assert data.images.dtype == np.uint8
    assert data.masks.dtype == bool
    assert data.images.shape == data.masks.shape == (7, 48, 64)
    assert data.target.shape == data.groups.shape == (7,)
    assert data.target.dtype.kind == data.groups.dtype.kind == "i"
    assert_array_equal(data.frame["group"], data.groups)
    assert_array_equal(data.frame["lesion_area"], data.masks.sum(axis=(1, 2)))
    assert data.DESCR.startswith("Synthetic")
    assert data.images.flags.c_contiguous
    assert data.images.flags.writeable


def test_ultrasound_defaults():
    data = make_breast_ultrasound(**SMALL)
    assert data.images.shape == (120, 48, 64)
    assert data.target_names == ["benign", "malignant", "normal"]
    assert_array_equal(data.groups, np.arange(120) // 2)
    assert share_of(data.target) == pytest.approx({0: 1 / 3, 1: 1 / 3, 2: 1 / 3})
    assert data.frame["class"].tolist() == [data.target_names[i] for i in data.target]


def test_mammogram_defaults():
    data = make_mammograms(**SMALL)
    assert data.images.shape == data.pectoral_masks.shape == (120, 48, 64)
    assert data.target_names == ["normal", "abnormal"]
    assert_array_equal(data.groups, np.arange(120) // 2)
    assert share_of(data.frame["side"]) == {"left": 0.5, "right": 0.5}
    assert data.frame["abnormality"].tolist() == [data.target_names[i] for i in data.target]
    assert_array_equal(data.frame["class"] == "NORM", data.target == 0)
    assert set(data.frame["class"]) == {"NORM", "CIRC", "SPIC", "CALC"}
    # The breasts of a woman are independent.
    pairs = data.target.reshape(-1, 2) @ [2, 1]
    assert share_of(pairs) == pytest.approx({0: 0.25, 1: 0.25, 2: 0.25, 3: 0.25})


@both
def test_a_seed_gives_the_same_images_whatever_their_number(make, monkeypatch):
    many, other = make(10, **SMALL), make(10, **SMALL | {"random_state": 4})
    assert not np.array_equal(many.images, other.images)

    def fail(*args, **options):
        raise AssertionError("OpenCV, whose results differ from version to version, was called")

    for name, function in vars(cv2).items():
        if callable(function) and not isinstance(function, type):
            monkeypatch.setattr(cv2, name, fail)
    state = np.random.RandomState(0)
    few, others = (
        make(3, **SMALL | {"random_state": state}),
        make(3, **SMALL | {"random_state": state}),
    )
    for name in ("images", "masks", "target", "groups"):
        assert_array_equal(few[name], many[name][:3])
    assert few.frame.equals(many.frame[:3])
    assert not np.array_equal(few.images, others.images)


@pytest.mark.parametrize("n_images_per_patient", [1, 5])
def test_images_of_a_patient_have_one_class(n_images_per_patient):
    data = make_breast_ultrasound(
        20, n_images_per_patient=n_images_per_patient, random_state=0, image_shape=(32, 32)
    )
    assert_array_equal(data.groups, np.arange(20) // n_images_per_patient)
    classes = [set(data.target[data.groups == group]) for group in np.unique(data.groups)]
    assert all(len(found) == 1 for found in classes)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([0.5, 0.25, 0.25], {0: 0.5, 1: 0.25, 2: 0.25}),
        ([6, 3, 1], {0: 0.6, 1: 0.3, 2: 0.1}),
        ([1, 1, 0], {0: 0.5, 1: 0.5}),
    ],
)
def test_weights_of_diagnoses(weights, expected):
    data = make_breast_ultrasound(40, weights=weights, random_state=0, image_shape=(32, 32))
    assert share_of(data.target) == pytest.approx(expected, abs=2 / 40)


@pytest.mark.parametrize("abnormal", [0, 0.75])
def test_weights_of_abnormality(abnormal):
    data = make_mammograms(
        64, weights=[1 - abnormal, abnormal], random_state=0, image_shape=(32, 32)
    )
    assert data.target.mean() == pytest.approx(abnormal, abs=0.03)


@both
@pytest.mark.parametrize("image_shape", [(32, 32), (33, 90), (90, 33)])
def test_every_lesion_has_a_mask_at_every_shape(make, image_shape):
    data = make(12, image_shape=image_shape, random_state=0)
    assert data.images.shape[1:] == image_shape
    healthy = data.target == data.target_names.index("normal")
    assert_array_equal(data.masks.any(axis=(1, 2)), ~healthy)


def test_benign_is_wide_and_smooth_and_malignant_tall_and_ragged(ultrasound):
    regions = {"benign": [], "malignant": []}
    for mask, name in zip(ultrasound.masks, ultrasound.frame["class"]):
        regions[name] += regionprops(mask.astype(int))
    boxes = {name: np.array([region.bbox for region in regions[name]]) for name in regions}
    aspects = {
        name: (box[:, 2] - box[:, 0]) / (box[:, 3] - box[:, 1]) for name, box in boxes.items()
    }
    assert np.median(aspects["benign"]) < 0.85 < 1 < np.median(aspects["malignant"])
    assert min(region.solidity for region in regions["benign"]) > 0.93
    assert np.median([region.solidity for region in regions["malignant"]]) < 0.92


def test_ultrasound_lesions_are_darker_than_their_surroundings(ultrasound):
    for image, mask in zip(ultrasound.images, ultrasound.masks):
        assert image[mask].mean() < image[surroundings(mask, 8)].mean() - 10


@both
def test_contrast_changes_nothing_but_lesions(make):
    bare, clear = (make(6, contrast=c, random_state=0) for c in (0, 1))
    assert_array_equal(bare.masks, clear.masks)
    assert_array_equal(bare.target, clear.target)
    healthy = bare.target == bare.target_names.index("normal")
    assert_array_equal(bare.images[healthy], clear.images[healthy])
    assert (bare.images[~healthy] != clear.images[~healthy]).any(axis=(1, 2)).all()
    difference = np.abs(clear.images.astype(int) - bare.images)
    # Echoes below a lesion change too, those above it do not.
    near = ndi.binary_dilation(clear.masks, np.ones((1, 3, 3)), iterations=30)
    above = np.cumsum(near, axis=1) == 0
    assert difference[above & ~healthy[:, None, None]].mean() < 0.5
    assert difference[clear.masks].mean() > 10


def test_findings_are_brighter_than_their_surroundings(mammograms):
    bare = make_mammograms(24, contrast=0, random_state=0)
    abnormal = mammograms.target == 1
    gain = mammograms.images[abnormal].astype(int) - bare.images[abnormal]
    assert gain.min() >= -1
    for added, mask in zip(gain, mammograms.masks[abnormal]):
        assert added[mask].max() > 15
        assert added[mask].mean() > 10 * added[~mask].mean()


def test_pectoral_muscle_is_in_the_upper_corner_at_the_chest_wall(mammograms):
    left = (mammograms.frame["side"] == "left").to_numpy()
    brightness = mammograms.images.mean(axis=1).reshape(24, 2, -1).sum(axis=2)
    assert_array_equal(brightness[:, 0] > brightness[:, 1], left)
    facing_right = np.where(
        left[:, None, None], mammograms.pectoral_masks, mammograms.pectoral_masks[:, :, ::-1]
    )
    assert facing_right[:, 0, 0].all()
    assert not facing_right[:, :, -1].any()
    assert not facing_right[:, -20:].any()
    # A triangle: no row is wider than the one above it, but where skin cuts it off at the top.
    widths = facing_right.sum(axis=2)
    assert (np.diff(widths[:, 64:], axis=1) <= 0).all()
    share = facing_right.mean(axis=(1, 2))
    assert 0.02 < share.min() < share.max() < 0.25


def test_lesions_are_in_the_breast_and_out_of_the_muscle(mammograms):
    overlap = mammograms.masks & mammograms.pectoral_masks
    assert overlap.sum() < 0.02 * mammograms.masks.sum()
    background = mammograms.images < 15
    assert (mammograms.masks & background).sum() < 0.02 * mammograms.masks.sum()


def auc_of_mammograms(contrast):
    data = make_mammograms(240, image_shape=(128, 96), contrast=contrast, random_state=0)
    rows = make_union(LBP(), IntensityStatistics()).fit_transform(data.images)
    scores = cross_val_predict(
        make_pipeline(StandardScaler(), SVC()),
        rows,
        data.target,
        groups=data.groups,
        cv=StratifiedGroupKFold(5, shuffle=True, random_state=0),
        method="decision_function",
    )
    return roc_auc_score(data.target, scores)


@pytest.mark.parametrize(("contrast", "low", "high"), [(1, 0.8, 1), (0, 0.38, 0.62)])
def test_mammograms_are_learned_by_their_contrast(contrast, low, high):
    assert low < auc_of_mammograms(contrast) <= high


@both
@pytest.mark.parametrize(
    "parameters",
    [
        {"n_images": 0},
        {"contrast": -1},
        {"contrast": np.nan},
        {"image_shape": (64, 64, 3)},
        {"image_shape": (16, 64)},
        {"weights": [1, 2, 3, 4]},
        {"weights": [1, -1, 1]},
        {"weights": [0, 0, 0]},
        {"random_state": "seed"},
    ],
)
def test_bad_parameters(make, parameters):
    ((name, _),) = parameters.items()
    with pytest.raises(ValueError, match=f"{name} is .*expected"):
        make(**parameters)
