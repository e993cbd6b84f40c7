"""Scores of segmentations, and outlines on images."""

import cv2
import numpy as np
import PIL.Image
import pytest
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score
from sklearn.pipeline import make_pipeline, make_union

from featbus import (
    CLAHE,
    FeatureBus,
    IntensityStatistics,
    Resample,
    Resize,
    ROICropper,
    ShapeStatistics,
    ThresholdSegmenter,
    explain,
    make_breast_ultrasound,
)
from featbus.evaluation import plot_segmentation, segmentation_scores
from featbus.images import ImageError
from featbus.io import SpacedImage


def blobs(seed, shape=(60, 80)):
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    regions = []
    for _ in range(2):
        center, radii = rng.uniform(20, 45, 2), rng.uniform(5, 20, 2)
        regions.append(((y - center[0]) / radii[0]) ** 2 + ((x - center[1]) / radii[1]) ** 2 < 1)
    return regions


def outline(region):
    """Return the pixels of a region with a neighbor outside."""
    framed = np.pad(region, 1)
    inner = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return np.argwhere(region & ~inner)


def test_overlap_equals_scikit_learn():
    true, found = blobs(0)
    row = segmentation_scores([true], [found]).loc[0]
    pair = true.ravel(), found.ravel()
    for name, reference in zip(
        ("dice", "iou", "precision", "recall"),
        (f1_score, jaccard_score, precision_score, recall_score),
    ):
        assert row[name] == pytest.approx(reference(*pair), rel=1e-12)
    assert row["true_area"] == true.mean()
    assert row["predicted_area"] == found.mean()


@pytest.mark.parametrize(("seed", "spacing"), [(0, 1), (1, (0.2, 0.05))])
def test_distances_equal_those_of_all_pairs(seed, spacing):
    true, found = blobs(seed)
    step = np.broadcast_to(spacing, 2)
    distances = cdist(outline(true) * step, outline(found) * step)
    near, far = distances.min(axis=1), distances.min(axis=0)
    row = segmentation_scores([true], [found], spacing=spacing).loc[0]
    expected = max(np.percentile(near, 95), np.percentile(far, 95))
    assert row["hausdorff_95"] == pytest.approx(expected, rel=1e-12)
    expected = np.concatenate([near, far]).mean()
    assert row["surface_distance"] == pytest.approx(expected, rel=1e-12)


def test_empty_masks():
    empty, full = np.zeros((9, 9), bool), np.ones((9, 9), bool)
    scores = segmentation_scores([empty, empty, full], [empty, full, empty])
    quality = ["dice", "iou", "precision", "recall", "hausdorff_95", "surface_distance"]
    assert scores.loc[[0, 1], quality].isna().all(axis=None)
    assert scores["true_area"].tolist() == [0, 0, 1]
    assert scores["predicted_area"].tolist() == [0, 1, 0]
    assert scores.loc[2, ["dice", "iou", "recall"]].tolist() == [0, 0, 0]
    assert scores.loc[2, ["precision", "hausdorff_95", "surface_distance"]].isna().all()


def test_errors_name_the_image():
    true, found = blobs(0)
    with pytest.raises(ImageError, match=r"^image 1: found a mask of shape \(9, 9\), expected"):
        segmentation_scores([true, np.zeros((9, 9))], [found, found])
    with pytest.raises(ImageError, match=r"^image 0: found no mask"):
        segmentation_scores([None], [found])
    with pytest.raises(ValueError, match="spacing is 0"):
        segmentation_scores([true], [found], spacing=0)


def test_outlines_are_drawn():
    data = make_breast_ultrasound(1, weights=[1, 0, 0], random_state=0)
    found = ThresholdSegmenter().predict(data.images)[0]
    ax = plot_segmentation(data.images[0], true_mask=data.masks[0], predicted_mask=found)
    paths = [path for part in ax.collections for path in part.get_paths()]
    assert len(paths) == 2
    inside = np.argwhere(data.masks[0]).mean(axis=0)
    assert paths[0].contains_point(inside[::-1])
    score = segmentation_scores(data.masks[:1], [found]).loc[0, "dice"]
    assert ax.get_title() == f"Dice {score:.2f}"
    empty = np.zeros_like(found)
    assert not plot_segmentation(data.images[0], true_mask=empty).collections


SHAPE = 64, 100


@pytest.fixture(scope="module")
def data():
    return make_breast_ultrasound(8, image_shape=(80, 120), weights=[1, 1, 0], random_state=0)


@pytest.mark.parametrize("names", [None, ["benign", "malignant"]])
def test_class_and_outline_of_one_image(data, names):
    features = make_pipeline(ROICropper(ThresholdSegmenter()), IntensityStatistics())
    features = features if names is None else FeatureBus(features)
    classifier = LogisticRegression(max_iter=10_000)
    pipeline = make_pipeline(features, classifier).fit(data.images, data.target)
    ax = explain(pipeline, data.images[3], target_names=names)
    (label,) = pipeline.predict(data.images[3:4])
    probability = pipeline.predict_proba(data.images[3:4]).max()
    name = names[label] if names else label
    assert ax.get_title() == f"{name}, probability {probability:.2f}"
    assert len(ax.collections) == 1


def test_an_explanation_shows_the_outline_that_was_used(data):
    cropper = ROICropper(ThresholdSegmenter(), as_mask=True)
    crop = make_pipeline(ROICropper(None), IntensityStatistics())
    lesion = make_union(crop, ShapeStatistics())
    pipeline = make_pipeline(
        Resize(SHAPE),
        make_union(crop, make_pipeline(cropper, lesion)),
        LogisticRegression(max_iter=10_000),
    ).fit(data.images, data.target)
    ax = explain(pipeline, data.images[0])
    assert ax.images[0].get_array().shape == (80, 120)
    (region,) = cropper.predict(Resize(SHAPE).transform(data.images[:1]))
    (path,) = ax.collections[0].get_paths()
    area = cv2.contourArea(path.vertices.astype(np.float32))
    assert area / (80 * 120) == pytest.approx(region.mean(), rel=0.03)


def test_an_explanation_needs_a_segmenter(data):
    pipeline = make_pipeline(IntensityStatistics(), LogisticRegression(max_iter=10_000))
    with pytest.raises(ValueError, match="has no ROICropper and no segmenter"):
        explain(pipeline.fit(data.images, data.target), data.images[0])


@pytest.mark.parametrize("nested", [False, True])
def test_an_explanation_uses_the_spacing_of_its_image(data, tmp_path, nested):
    images = [SpacedImage(image, (0.2, 0.1)) for image in data.images]
    PIL.Image.fromarray(data.images[0]).save(tmp_path / "a.png", dpi=(254, 127))
    before = [Resample(0.2), CLAHE()]
    pipeline = make_pipeline(
        *([make_pipeline(*before)] if nested else before),
        ROICropper(ThresholdSegmenter()),
        IntensityStatistics(),
        LogisticRegression(max_iter=10_000),
    ).fit(images, data.target)
    for item in (images[0], tmp_path / "a.png"):
        ax = explain(pipeline, item)
        assert len(ax.collections) == 1
        assert f"{pipeline.predict_proba([item]).max():.2f}" in ax.get_title()
