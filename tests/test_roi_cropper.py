"""ROICropper."""

from contextlib import nullcontext

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import SVC

from featbus import (
    FeatureBus,
    IntensityStatistics,
    ROICropper,
    ShapeStatistics,
    ThresholdSegmenter,
    evaluate,
    make_breast_ultrasound,
)
from featbus.images import ImageError
from featbus.masks import as_mask, with_mask
from featbus.parameters import InvalidParameterError
from featbus.segmentation import Segmenter


class Bright(Segmenter):
    """Finds what is white; needs no training."""

    def _iter_regions(self, images):
        for image in images:
            yield np.asarray(image >= 0.99).reshape(*image.shape[:2], -1).all(axis=2)


class Learner(BaseEstimator):
    """Remembers the masks that it was trained on, and finds the first of them everywhere."""

    def fit(self, X, masks, groups=None):
        self.masks_ = [as_mask(mask, image.shape) for image, mask in zip(X, masks)]
        self.groups_ = groups
        return self

    def predict(self, X):
        return [self.masks_[0] for _ in X]


def picture(shape, *boxes):
    image = np.full(shape, 0.2)
    for top, left, bottom, right in boxes:
        image[top:bottom, left:right] = 1
    return image


def crop_box(image, **options):
    return ROICropper(Bright(), **options).find_boxes([image])[0].tolist()


@pytest.mark.parametrize(
    ("region", "margin", "square", "expected"),
    [
        ((40, 60, 60, 100), 0, False, [40, 60, 60, 100]),
        ((40, 60, 60, 100), 0.5, False, [30, 40, 70, 120]),
        ((40, 60, 60, 100), 0, True, [30, 60, 70, 100]),
        ((40, 60, 60, 100), 0.25, True, [20, 50, 80, 110]),
        # Moved into the image.
        ((0, 0, 20, 20), 0.5, True, [0, 0, 40, 40]),
        ((100, 180, 120, 200), 0.5, True, [80, 160, 120, 200]),
        # Larger than the image.
        ((0, 90, 100, 190), 0.5, True, [0, 80, 120, 200]),
    ],
)
def test_known_boxes(region, margin, square, expected):
    assert crop_box(picture((120, 200), region), margin=margin, square=square) == expected


def test_component_and_specks():
    image = picture((100, 100), (10, 10, 30, 30), (60, 60, 70, 70), (90, 5, 91, 6))
    bare = {"margin": 0, "square": False}
    assert crop_box(image, **bare) == [10, 10, 30, 30]
    assert crop_box(image, component="union", **bare) == [10, 10, 70, 70]
    assert crop_box(image, component="union", min_area=0, **bare) == [10, 5, 91, 70]
    assert crop_box(image, component="union", min_area=0.02, **bare) == [10, 10, 30, 30]


@pytest.mark.parametrize("box", [(0, 0, 50, 80), (7, 9, 8, 10), (0, 0, 50, 3)])
def test_extreme_regions(box):
    top, left, bottom, right = crop_box(picture((50, 80), box), min_area=0)
    assert 0 <= top <= box[0] < box[2] <= bottom <= 50
    assert 0 <= left <= box[1] < box[3] <= right <= 80


@pytest.mark.parametrize(
    ("on_empty", "expected"), [("image", [0, 0, 40, 80]), ("center", [10, 20, 30, 60])]
)
def test_no_region(on_empty, expected):
    assert crop_box(picture((40, 80)), on_empty=on_empty) == expected


def test_errors_name_the_image():
    images = [picture((40, 80), (5, 5, 20, 20)), picture((40, 80))]
    with pytest.raises(ImageError, match="^image 1: "):
        ROICropper(Bright(), on_empty="raise").transform(images)
    transparent = np.full((9, 9, 4), 0.5)  # which ThresholdSegmenter refuses
    with pytest.raises(ImageError, match="^image 40: "):
        ROICropper(ThresholdSegmenter()).transform([*images * 20, transparent])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_crops_are_the_pixels_of_their_boxes(dtype):
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    images = [
        np.asarray(white * picture((60, 90), (10, 20, 30, 40)), dtype),
        np.asarray(white * picture((80, 50, 3), (50, 10, 70, 30)), dtype),
    ]

    class Brightest(Bright):
        def _iter_regions(self, images):
            yield from super()._iter_regions(image / np.float64(white) for image in images)

    cropper = ROICropper(Brightest())
    for image, crop, (top, left, bottom, right) in zip(
        images, cropper.transform(images), cropper.find_boxes(images)
    ):
        assert crop.dtype == dtype
        np.testing.assert_array_equal(crop, image[top:bottom, left:right])
    assert cropper.set_params(size=(16, 24)).transform(images)[0].shape == (16, 24)


def test_a_mask_is_cropped_with_its_image_or_restricted_to_the_region():
    image = picture((60, 90), (10, 20, 30, 40), (50, 80, 52, 83))
    inside = np.indices(image.shape)[1] < 35
    masked = [with_mask(image, inside)]
    (crop,) = ROICropper(Bright(), margin=0).transform(masked)
    np.testing.assert_array_equal(~crop.mask, inside[10:30, 20:40])
    for images, right in (([image], 40), (masked, 35)):
        (found,) = ROICropper(Bright(), as_mask=True).transform(images)
        expected = np.zeros(image.shape, bool)
        expected[10:30, 20:right] = True
        np.testing.assert_array_equal(~found.mask, expected)


def test_the_mask_of_an_earlier_step_is_cropped_to_and_taken_off():
    image = picture((60, 90), (10, 20, 30, 40))
    image[50:58, 80:88] = 0.9
    before, after = ROICropper(Bright(), as_mask=True), ROICropper(None, margin=0.2)
    masked = before.transform([image])
    crops = after.transform(masked)
    assert not np.ma.isMaskedArray(crops)
    np.testing.assert_array_equal(crops, ROICropper(Bright(), margin=0.2).transform([image]))
    np.testing.assert_array_equal(after.find_boxes(masked), [[6, 16, 34, 44]])
    np.testing.assert_array_equal(after.transform([image])[0], image)
    with pytest.raises(ImageError, match="^image 0: "):
        ROICropper(None, on_empty="raise").transform([image])


@pytest.mark.parametrize("size", [None, 40, (30, 90)])
def test_boxes_come_back_exactly(size):
    image = picture((120, 200), (40, 60, 60, 100))
    cropper = ROICropper(Bright(), margin=0, square=False, size=size)
    height, width = cropper.transform([image]).shape[1:3]
    whole, quarter = cropper.map_boxes(
        [[0, 0, height, width], [0, 0, height / 2, width / 2]], image
    ).tolist()
    assert whole == [40, 60, 60, 100]
    assert quarter == [40, 60, 50, 80]


def test_pixels_that_a_crop_uncovers_are_checked():
    image = np.ma.masked_less(np.repeat([-1, 0.5], 200).reshape(20, 20), 0)
    with pytest.raises(ImageError, match="image 0: found .*-1"):
        ROICropper(None).transform([image])


def test_a_segmenter_is_trained_on_the_masks_given():
    images = np.full((4, 20, 30), 0.5)
    masks = np.zeros((4, 20, 30), bool)
    masks[:, 5:10, 5:10] = True
    cropper = ROICropper(Learner(), margin=0)
    with pytest.raises(ValueError, match="^masks is None.*Learner"):
        cropper.fit(images)
    cropper.fit(images, masks=masks, groups=[0, 0, 1, 1])
    assert cropper.segmenter_.groups_ == [0, 0, 1, 1]
    assert not hasattr(cropper.segmenter, "masks_")
    assert cropper.transform(images).shape == (4, 5, 5)
    expected, frozen = cropper.transform(images), FrozenEstimator(cropper.segmenter_)
    cropper.set_params(segmenter=frozen).fit(images)
    assert not hasattr(cropper, "segmenter_")
    np.testing.assert_array_equal(cropper.transform(images), expected)


class Recorder(Learner):
    """Writes down which images it was trained on, and which it saw after."""

    log = []
    groups_given = []

    def fit(self, X, masks, groups=None):
        self.groups_given.append(None if groups is None else list(groups))
        self.seen_ = {float(image[0, 0]) for image in X}
        assert len(X) == len(masks)
        for image, mask in zip(X, masks):
            assert as_mask(mask, image.shape).sum() == round(100 * image[0, 0])
        return super().fit(X, masks)

    def predict(self, X):
        self.log.append((self.seen_, {float(image[0, 0]) for image in X}))
        return super().predict(X)


def marked_images(n_images):
    """Return data, and images and masks that tell which belong together."""
    data = make_breast_ultrasound(
        n_images, image_shape=(96, 128), weights=[1, 1, 0], random_state=0
    )
    images = [image / 255 for image in data.images]
    masks = []
    for index, image in enumerate(images):
        image[0, 0] = (index + 1) / 100
        masks.append(np.zeros(image.shape, bool))
        masks[-1].flat[: index + 1] = True
    return data, images, masks


@pytest.mark.parametrize("bus", [False, True])
def test_cross_validation_never_shows_the_masks_of_test_images(bus):
    data, images, masks = marked_images(12)
    Recorder.log = []
    with config_context(enable_metadata_routing=True):
        features = make_pipeline(ROICropper(Recorder(), min_area=0), IntensityStatistics())
        pipeline = make_pipeline(FeatureBus(features) if bus else features, SVC())
        cross_validate(
            pipeline,
            images,
            data.target,
            cv=GroupKFold(3),
            params={"masks": masks, "groups": data.groups},
            error_score="raise",
        )
    tested = [(seen, asked) for seen, asked in Recorder.log if not seen & asked]
    assert len({frozenset(seen) for seen, _ in Recorder.log}) == 3
    assert set().union(*(asked for _, asked in tested)) == {image[0, 0] for image in images}


@pytest.mark.parametrize("with_groups", [False, True])
def test_evaluate_trains_segmenters_on_the_masks_of_the_training_part(with_groups):
    data, images, masks = marked_images(12)
    Recorder.log, Recorder.groups_given = [], []
    crops = make_pipeline(ROICropper(Recorder(), min_area=0), IntensityStatistics(), SVC())
    whole = make_pipeline(IntensityStatistics(), SVC())
    splits = list(GroupKFold(3).split(images, data.target, data.groups))
    with nullcontext() if with_groups else pytest.warns(UserWarning, match="Groups unknown"):
        evaluate(
            {"crops": crops, "whole": whole},
            images,
            data.target,
            groups=data.groups if with_groups else None,
            masks=masks,
            cv=splits,
        )
    marks = np.array([image[0, 0] for image in images])
    trained = dict.fromkeys(frozenset(seen) for seen, _ in Recorder.log)
    assert list(trained) == [frozenset(marks[train]) for train, _ in splits]
    groups = [list(data.groups[train]) if with_groups else None for train, _ in splits]
    assert Recorder.groups_given == groups


def test_evaluate_checks_masks():
    data, images, masks = marked_images(12)
    crops = make_pipeline(ROICropper(Recorder()), IntensityStatistics(), SVC())
    with pytest.raises(ValueError, match="masks is None.*Recorder"):
        evaluate(crops, images, data.target, groups=data.groups, cv=GroupKFold(3))
    with pytest.raises(ValueError, match="inconsistent"):
        evaluate(crops, images, data.target, groups=data.groups, masks=masks[1:])
    whole = make_pipeline(IntensityStatistics(), SVC())
    with pytest.raises(ValueError, match="no step of a pipeline requests them"):
        evaluate({"whole": whole}, images, data.target, groups=data.groups, masks=masks)
    both = {"whole": whole, "crops": crops}
    result = evaluate(both, images, data.target, groups=data.groups, masks=masks, cv=GroupKFold(3))
    assert set(result.scores["pipeline"]) == {"whole", "crops"}


def test_a_class_is_no_segmenter():
    with pytest.raises(ValueError, match="^segmenter is <class "):
        ROICropper(ThresholdSegmenter).fit(np.zeros((1, 9, 9)))


@pytest.mark.parametrize("learned", [False, True])
def test_branches_share_one_segmentation_behind_a_bus(learned, tmp_path):
    data, images, masks = marked_images(9)
    Recorder.log = []
    segmenter = Recorder()
    segmenter.masks_, segmenter.seen_ = [data.masks[0]], set()
    if not learned:
        segmenter = FrozenEstimator(segmenter)
    with config_context(enable_metadata_routing=True):
        cropper = ROICropper(segmenter, min_area=0, as_mask=True)
        lesion = make_union(
            make_pipeline(ROICropper(None, size=32), IntensityStatistics()), ShapeStatistics()
        )
        branches = make_union(IntensityStatistics(), make_pipeline(cropper, lesion))
        bus = FeatureBus(branches, memory=None if learned else tmp_path / "features.sqlite")
        bus.fit(images, **({"masks": masks} if learned else {}))
        Recorder.log.clear()
        rows = bus.transform(images)
    asked = [value for _, values in Recorder.log for value in values]
    assert sorted(asked) == [image[0, 0] for image in images]
    whole = IntensityStatistics().fit_transform(images)
    np.testing.assert_array_equal(rows[:, : whole.shape[1]], whole)
    assert rows.shape[1] == 2 * whole.shape[1] + 18
    assert rows.shape[1] == len(bus.get_feature_names_out())


@pytest.mark.parametrize(
    "found",
    [
        None,
        [np.ones((20, 30), bool)],
        [np.ones((9, 9), bool)] * 2,
        [np.ones((20, 30))] * 2,
        [np.full((20, 30), np.nan)] * 2,
    ],
)
def test_what_another_segmenter_returns_is_checked(found):
    class Foreign(BaseEstimator):
        def predict(self, X):
            return found

    images = np.full((2, 20, 30), 0.5)
    with pytest.raises(InvalidParameterError, match="^segmenter is .*Foreign"):
        ROICropper(FrozenEstimator(Foreign())).fit(images).transform(images)
