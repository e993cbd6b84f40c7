"""Visual words."""

import cv2
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skimage.feature import daisy
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from featbus import FeatureBus, FeatureStore, VisualWords
from featbus.feature_extraction import _visual_words
from featbus.images import ImageError
from featbus.masks import with_mask

SMALL = {"n_words": 5, "size": 10, "step": 4}


def noise(n_images=6, shape=(45, 52), dtype=np.uint8):
    rng = np.random.default_rng(0)
    images = (cv2.GaussianBlur(rng.random(shape), (0, 0), 1.5) for _ in range(n_images))
    top = np.iinfo(dtype).max
    return [
        cv2.normalize(image, None, 0, top, cv2.NORM_MINMAX).astype(dtype, copy=False)
        for image in images
    ]


def stripes(direction, seed):
    """Return an image of wavy stripes along rows or columns."""
    image = 0.5 + 0.4 * np.sin(np.arange(64) + seed) * np.ones((64, 1))
    image += np.random.default_rng(seed).normal(0, 0.02, image.shape)
    return image.clip(0, 1) if direction else image.clip(0, 1).T


def sift_of(image, radius, step):
    """Return the descriptors of an 8-bit image, each computed by itself."""
    height, width = image.shape
    for row in range(radius, height - radius, step):
        for column in range(radius, width - radius, step):
            point = cv2.KeyPoint(float(column), float(row), 2 * radius / 6, 0)
            yield cv2.SIFT_create().compute(image, [point])[1][0]


def descriptors_of(descriptor, image, radius, step):
    if descriptor == "sift":
        return np.array(list(sift_of(image, radius, step)))
    return daisy(np.float32(image / 255), step=step, radius=radius).reshape(-1, 200)


@pytest.mark.parametrize("descriptor", ["daisy", "sift"])
def test_rows_equal_those_of_a_loop(descriptor):
    images = noise()
    words = VisualWords(descriptor, **SMALL, dtype=np.float64).fit(images[:4])
    for image, row in zip(images, words.transform(images)):
        counts = np.zeros(5)
        for described in descriptors_of(descriptor, image, 5, 4):
            counts[cdist(words.vocabulary_, [described]).argmin()] += 1
        np.testing.assert_array_equal(row, counts / counts.sum())


@pytest.mark.parametrize("descriptor", ["daisy", "sift"])
def test_two_textures_have_two_words(descriptor):
    images = [stripes(seed % 2, seed) for seed in range(6)]
    rows = VisualWords(descriptor, n_words=2, size=24).fit_transform(images)
    assert sorted(rows[0].tolist()) == [0, 1]
    np.testing.assert_array_equal(rows, rows[[0, 1] * 3])
    np.testing.assert_array_equal(rows[0], rows[1][::-1])


def test_words_are_the_centers_of_their_patches():
    images = noise()
    words = VisualWords(**SMALL | {"n_words": 2}, max_descriptors=10**6).fit(images)
    described = np.concatenate([descriptors_of("daisy", image, 5, 4) for image in images])
    nearest = cdist(described, words.vocabulary_).argmin(axis=1)
    centers = [described[nearest == word].mean(axis=0) for word in range(2)]
    apart = np.linalg.norm(centers[0] - centers[1])
    assert np.linalg.norm(words.vocabulary_ - centers, axis=1).max() < apart / 10


def test_brightness_and_contrast_hardly_matter():
    images = [np.float32(0.2 + 0.6 * (image / 255)) for image in noise()]
    for descriptor in ("daisy", "sift"):
        words = VisualWords(descriptor, **SMALL).fit(images)
        changed = words.transform([image / 2 + 0.3 for image in images])
        assert np.abs(changed - words.transform(images)).max() < 0.1


def test_strips_of_a_large_image(monkeypatch):
    (image,) = noise(1, (400, 40))
    whole = daisy(np.float32(image / 255), step=3, radius=6).reshape(-1, 200)
    for pixels in (1, 1000, 10_000):
        monkeypatch.setattr(_visual_words, "_STRIP", pixels)
        words = VisualWords(size=12, step=3)
        _, found = words._describe(image)
        np.testing.assert_allclose(found, whole, atol=1e-7)


def test_patches_of_a_masked_image_have_their_center_inside():
    images = noise()
    words = VisualWords(**SMALL).fit(images)
    inside = np.zeros(images[0].shape, bool)
    inside[8:30, 11:40] = True
    centers, found, distances = words.find_words(with_mask(images[0], inside))
    grid = [(row, column) for row in range(5, 40, 4) for column in range(5, 47, 4)]
    assert centers.tolist() == [[*center] for center in grid if inside[center]]
    # A patch whose surroundings are inside is that of the whole image.
    whole = dict(zip(map(tuple, words.find_words(images[0])[0].tolist()), range(len(grid))))
    far = [index for index, center in enumerate(centers) if tuple(center) == (21, 25)]
    expected = words.find_words(images[0])[1][whole[21, 25]]
    assert found[far].tolist() == [expected]
    assert distances.shape == found.shape
    # Pixels outside do not count.
    other = with_mask(np.where(inside, images[0], 255).astype(np.uint8), inside)
    rows = words.transform([with_mask(images[0], inside), other])
    np.testing.assert_array_equal(rows[0], rows[1])


def test_a_region_between_the_centers_is_an_error():
    inside = np.zeros((45, 52), bool)
    inside[6:8, 6:8] = True
    with pytest.raises(ImageError, match="image 1: found no patch with its center inside"):
        VisualWords(**SMALL).fit([noise(1)[0], with_mask(noise(1)[0], inside)])


def test_the_smallest_image_and_one_below():
    words = VisualWords(**SMALL).fit(noise())
    assert words.transform([noise(1, (11, 11))[0]]).sum() == pytest.approx(1)
    for method in (words.fit, words.transform):
        with pytest.raises(ImageError, match="image 1: found 10 x 20 pixels, .*11 x 11.*smaller"):
            method([noise(1)[0], noise(1, (10, 20))[0]])


def test_fewer_patches_than_words_are_an_error():
    for parameters in ({"n_words": 200}, {"n_words": 30, "max_descriptors": 20}):
        with pytest.raises(ValueError, match=r"patches in n_samples=1 images, .*n_words="):
            VisualWords(**SMALL | parameters).fit(noise(1))


def test_the_draw_is_bounded_and_repeatable():
    images = [*noise(3), *noise(4, (60, 30))]
    for most in (5, 23, 100):
        words = VisualWords(**SMALL, max_descriptors=most)
        drawn = list(words._draw(images))
        assert sum(map(len, drawn)) == most
        assert max(map(len, drawn)) <= -(-most // 7)
        for one, other in zip(drawn, words._draw(images)):
            np.testing.assert_array_equal(one, other)
        assert len(np.unique(np.concatenate(drawn), axis=0)) == most
    first, second, other = (
        VisualWords(**SMALL, random_state=seed).fit(images).vocabulary_ for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_words_of_files_are_those_of_arrays(tmp_path):
    images = noise(dtype=np.uint16)
    paths = [tmp_path / f"{index}.png" for index in range(len(images))]
    for path, image in zip(paths, images):
        cv2.imwrite(str(path), image)
    for descriptor in ("daisy", "sift"):
        words = VisualWords(descriptor, **SMALL)
        expected = words.fit(images).vocabulary_
        np.testing.assert_array_equal(words.fit(paths).vocabulary_, expected)


def test_a_fold_cannot_see_the_words_of_another(tmp_path):
    images, store = noise(), FeatureStore(tmp_path / "features.sqlite")
    n_rows = []
    for training in (images[:3], images[3:], images[:3]):
        bus = FeatureBus(VisualWords(**SMALL), memory=store).fit(training)
        expected = VisualWords(**SMALL).fit(training).transform(images)
        np.testing.assert_array_equal(bus.transform(images), expected)
        n_rows.append(int(store.info()["n_rows"].sum()))
    assert n_rows == [6, 12, 12]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_scores_with_the_bus_are_those_without(tmp_path, batch_size):
    images, y = noise(9), [0, 1, 1] * 3
    words = VisualWords(**SMALL, dtype=np.float64)
    bus = FeatureBus(words, memory=tmp_path / "features.sqlite", batch_size=batch_size)
    found, expected = (
        cross_validate(make_pipeline(step, SVC()), images, y, cv=3, return_estimator=True)
        for step in (bus, words)
    )
    for one, other in zip(found["estimator"], expected["estimator"]):
        values = [pipeline.decision_function(images) for pipeline in (one, other)]
        np.testing.assert_array_equal(*values)
    assert found["test_score"].tolist() == expected["test_score"].tolist()


def test_names_and_pixels_of_columns():
    words = VisualWords("sift", **SMALL | {"n_words": 101})
    assert words.get_feature_names_out()[[7, 100]].tolist() == ["sift_word_007", "sift_word_100"]
    where = words.where("sift_word_007", (45, 52))
    assert (where.rows, where.columns) == (slice(0, 45), slice(0, 52))
    assert "word 7" in where.what


def test_words_have_to_be_learned():
    for method in ("transform", "find_words"):
        with pytest.raises(NotFittedError):
            getattr(VisualWords(), method)(["no/such/file.png"])
