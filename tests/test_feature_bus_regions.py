"""FeatureBus around segmenters: regions are kept like rows."""

import numpy as np
import pytest
from _spies import count
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from featbus import (
    FeatureBus,
    FeatureStore,
    IntensityStatistics,
    ROICropper,
    ThresholdSegmenter,
    make_breast_ultrasound,
)
from featbus.images import ImageError
from featbus.parameters import InvalidParameterError
from featbus.segmentation import Segmenter


class CountingSegmenter(Segmenter):
    """Finds pixels above a threshold, and writes a byte for each image."""

    _algorithm_version = 1

    def __init__(self, log, threshold=0.5):
        self.log = log
        self.threshold = threshold

    def _fingerprint_params(self):
        return {"threshold": self.threshold}  # the file that `log` names changes with each use

    def _iter_regions(self, images):
        for image in images:
            with open(self.log, "ab") as file:
                file.write(b".")
            yield image > self.threshold


def noise(*shapes):
    rng = np.random.default_rng(0)
    return [rng.random(shape) for shape in shapes]


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("shapes", [[(7, 9)] * 5, [(7, 9), (1, 1), (3, 800), (16, 16), (7, 9)]])
def test_regions_are_those_of_the_segmenter(shapes, stored, memory, log):
    images, segmenter = noise(*shapes), CountingSegmenter(log)
    bus = FeatureBus(segmenter, memory=memory if stored else None, batch_size=2).fit(images)
    expected = segmenter.predict(images)
    for _ in range(2):
        found = bus.predict(images)
        assert type(found) is type(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == bool
            np.testing.assert_array_equal(one, other)
    assert count(log) == 5 * (2 if stored else 3)


def test_a_cropper_asks_for_regions_once(memory, log):
    images = noise(*[(40, 50)] * 6)
    segmenter = FeatureBus(CountingSegmenter(log), memory=memory)
    plain = ROICropper(CountingSegmenter(log)).fit_transform(images)
    before = count(log)
    for options in ({}, {"margin": 0.1}, {"component": "union"}):
        crops = ROICropper(segmenter, **options).fit_transform(images)
        if not options:
            assert all(map(np.array_equal, crops, plain))
    masked = make_pipeline(ROICropper(segmenter, as_mask=True), IntensityStatistics())
    rows = FeatureBus(masked, memory=memory).fit_transform(images)
    assert rows.shape == (6, 28)
    assert count(log) == before + 6
    assert sorted(FeatureStore(memory).info()["n_rows"]) == [6, 6]


def test_regions_of_a_cropper_behind_the_bus(memory):
    images = make_breast_ultrasound(3, weights=[1, 1, 0], random_state=0).images
    cropper = ROICropper(FrozenEstimator(ThresholdSegmenter()))
    bus = FeatureBus(cropper, memory=memory, n_jobs=2, batch_size=2).fit(images)
    for _ in range(2):
        np.testing.assert_array_equal(bus.predict(images), cropper.predict(images))


def test_an_image_without_an_answer_is_named(memory, log):
    images = [*noise((8, 8), (8, 8)), np.full((8, 8), np.nan)]
    bus = FeatureBus(CountingSegmenter(log), memory=memory, on_error="nan").fit(images[:1])
    with pytest.raises(ImageError, match="^image 2: found 64 NaN"):
        bus.predict(images)
    assert len(bus.predict(images[:2])) == 2


def test_regions_are_no_rows_and_rows_no_regions(log, tmp_path):
    images = noise((8, 8), (9, 8))
    bus = FeatureBus(CountingSegmenter(log)).fit(images)
    for use in (bus.transform, lambda X: bus.to_parquet(X, tmp_path / "rows")):
        with pytest.raises(InvalidParameterError, match="expected one row of features per image"):
            use(images)
    pipeline = make_pipeline(ThresholdSegmenter(), IntensityStatistics())
    assert not hasattr(FeatureBus(pipeline), "predict")
