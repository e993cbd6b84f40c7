"""ImageAugmenter: how many copies of what, that they are the same again, and that none leaks."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from _spies import CountingMean, count, write_images
from imblearn.pipeline import make_pipeline
from imblearn.utils import estimator_checks
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, cross_validate
from sklearn.utils.validation import validate_data
from test_balancing import LOG, Spy

from featbus import FeatureBus, ImageAugmenter
from featbus.augmentation import Augmentation, dihedral
from featbus.masks import inside_mask, with_mask

STILL = Augmentation(0, 0, 0, 0, 0, (1, 1), horizontal_flip=False)


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


IMAGES = noise(10, 20, 20)
Y = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("sampling_strategy", "y", "expected"),
    [
        ("minority", [0] * 5 + [1] * 3 + [2] * 2, {0: 5, 1: 3, 2: 5}),
        (0.8, Y, {0: 7, 1: 5}),
        ({0: 9, 1: 20}, Y, {0: 9, 1: 20}),
        (lambda y: {1: 4}, Y, {0: 7, 1: 4}),
        ("auto", list("aaaaaaabbb"), {"a": 7, "b": 7}),
    ],
)
def test_sampling_strategy(sampling_strategy, y, expected):
    augmenter = ImageAugmenter(sampling_strategy=sampling_strategy)
    images, resampled = augmenter.fit_resample(IMAGES, y)
    assert Counter(list(resampled)) == expected
    np.testing.assert_array_equal(images[:10], IMAGES)
    np.testing.assert_array_equal(np.asarray(y)[augmenter.sample_indices_], resampled)
    copies = Counter(augmenter.sample_indices_[10:].tolist())
    for label in expected:
        numbers = [copies[index] for index in np.flatnonzero(np.asarray(y) == label)]
        assert max(numbers) - min(numbers) <= 1
        assert sum(numbers) == augmenter.sampling_strategy_.get(label, 0)


def test_n_copies_of_each_image_by_image():
    augmenter = ImageAugmenter(2)
    images, y = augmenter.fit_resample(IMAGES, Y)
    assert images.shape == (30, 20, 20)
    expected = [*range(10), *np.repeat(range(10), 2)]
    assert augmenter.sample_indices_.tolist() == expected
    assert y.tolist() == Y[expected].tolist()
    assert augmenter.sampling_strategy_ is None
    assert ImageAugmenter(0).fit_resample(IMAGES, Y)[0].shape == (10, 20, 20)


@pytest.mark.parametrize(
    "y",
    [
        Y.tolist(),
        pd.Series(Y, index=range(5, 15), name="kind"),
        pd.Series(list("aaaaaaabbb"), dtype="category"),
        np.eye(2, dtype=int)[Y],
    ],
    ids=["list", "Series", "category", "indicator"],
)
def test_the_target_keeps_its_type(y):
    augmenter = ImageAugmenter()
    _, resampled = augmenter.fit_resample(IMAGES, y)
    assert type(resampled) is type(y)
    assert getattr(resampled, "dtype", None) == getattr(y, "dtype", None)
    expected = np.asarray(y)[augmenter.sample_indices_]
    np.testing.assert_array_equal(np.asarray(resampled), expected)
    if isinstance(y, pd.Series):
        assert resampled.index.tolist() == list(range(14))


def test_n_copies_takes_targets_that_are_no_classes():
    ages = np.linspace(40, 60.5, 10)
    _, resampled = ImageAugmenter(1).fit_resample(IMAGES, ages)
    np.testing.assert_array_equal(resampled, np.tile(ages, 2))
    with pytest.raises(ValueError, match="Unknown label type"):
        ImageAugmenter().fit_resample(IMAGES, ages)


def test_a_copy_depends_on_its_image_its_number_and_the_seed_alone():
    many, _ = ImageAugmenter(3).fit_resample(IMAGES, Y)
    copies = many[10:].reshape(10, 3, 20, 20)
    alone, _ = ImageAugmenter(3).fit_resample(IMAGES[4:5], Y[:1])
    np.testing.assert_array_equal(alone[1:], copies[4])
    backwards, _ = ImageAugmenter(3).fit_resample(IMAGES[::-1], Y)
    np.testing.assert_array_equal(backwards[10:].reshape(copies.shape)[::-1], copies)
    fewer, _ = ImageAugmenter(2).fit_resample(IMAGES, Y)
    np.testing.assert_array_equal(fewer[10:].reshape(10, 2, 20, 20), copies[:, :2])
    other, _ = ImageAugmenter(3, random_state=1).fit_resample(IMAGES, Y)
    assert not (other[10:].reshape(copies.shape) == copies).all(axis=(2, 3)).any()
    twice, _ = ImageAugmenter(3, random_state=None).fit_resample(IMAGES, Y)
    assert not np.array_equal(twice[10:], many[10:])


def test_paths_equal_arrays_and_stay_paths(tmp_path):
    paths = write_images(tmp_path, IMAGES)
    expected, _ = ImageAugmenter().fit_resample(IMAGES, Y)
    images, _ = ImageAugmenter().fit_resample(pd.Series(paths), Y)
    assert images[:10] == paths
    np.testing.assert_array_equal(images[10:], expected[10:])
    # Nothing but what gets copies is read.
    paths[0].unlink()
    assert len(ImageAugmenter().fit_resample(paths, Y)[0]) == 14


def test_images_of_different_sizes_and_kinds():
    images = [noise(20, 20), noise(30, 24, dtype=np.uint16), noise(9, 9, 3) / 255]
    result, _ = ImageAugmenter(2).fit_resample(images, [0, 1, 1])
    assert all(first is second for first, second in zip(result, images))
    for index, copy in enumerate(result[3:]):
        assert (copy.shape, copy.dtype) == (images[index // 2].shape, images[index // 2].dtype)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint16, np.float16])
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_a_stack_stays_a_stack(dtype, channels):
    stack = (noise(4, 16, 12, *channels) / (255 if dtype is np.float16 else 1)).astype(dtype)
    stack.setflags(write=False)
    result, _ = ImageAugmenter(2).fit_resample(stack, [0, 1, 1, 1])
    assert type(result) is np.ndarray
    assert result.dtype == dtype
    assert result.shape == (12, 16, 12, *channels)
    np.testing.assert_array_equal(result[:4], stack)
    single, _ = ImageAugmenter(2).fit_resample([stack[3]], [0])
    np.testing.assert_array_equal(result[-1].squeeze(), single[-1].astype(dtype))


@pytest.mark.parametrize("stacked", [True, False])
def test_the_mask_moves_along(stacked):
    inside = np.zeros((20, 20), bool)
    inside[5:15, 4:12] = True
    pixels = np.where(inside, 100, IMAGES // 4).astype(np.uint8)
    images = [with_mask(image, inside, 9) for image in pixels]
    if stacked:
        images = np.ma.stack(images)
        images.fill_value = 9
    augmenter = ImageAugmenter(3, augmentation=Augmentation(brightness=(2, 2)))
    result, _ = augmenter.fit_resample(images, Y)
    assert np.ma.isMaskedArray(result) is stacked
    for image, other in zip(result, images):
        np.testing.assert_array_equal(image.data, other.data)
        np.testing.assert_array_equal(image.mask, other.mask)
    for copy in result[10:]:
        assert np.unique(copy.compressed()).tolist() == [200]
        assert 40 < inside_mask(copy).sum() < 120
        assert copy.fill_value == 9
    assert len({inside_mask(copy).tobytes() for copy in result[10:]}) > 20


@pytest.mark.parametrize(("n", "elements"), [(6, (0, 1, 2, 3, 4, 6)), (8, range(8))])
def test_dihedral_copies_are_all_variants_once(n, elements):
    augmenter = ImageAugmenter(n - 1, dihedral=n)
    images, _ = augmenter.fit_resample(IMAGES, Y)
    for index, image in enumerate(IMAGES):
        found = {view.tobytes() for view in images[augmenter.sample_indices_ == index]}
        assert found == {dihedral(image, element).tobytes() for element in elements}
    # The first copy is not the same turn for all images.
    first, _ = ImageAugmenter(1, dihedral=n).fit_resample(IMAGES, Y)
    turned = [np.array_equal(copy, np.rot90(image)) for copy, image in zip(first[10:], IMAGES)]
    assert sum(turned) < 6


def test_quarter_turns_of_oblong_images_make_a_list():
    images, _ = ImageAugmenter(5, dihedral=6).fit_resample(IMAGES[:, :12], Y)
    assert isinstance(images, list)
    assert Counter(image.shape for image in images) == {(12, 20): 40, (20, 12): 20}


def test_the_augmentation_reaches_the_copies():
    def copies(**changes):
        augmenter = clone(ImageAugmenter(1, augmentation=replace(STILL, **changes)))
        return augmenter.fit_resample(IMAGES, Y)[0][10:]

    np.testing.assert_array_equal(copies(brightness=(1.2, 1.2)), np.rint(IMAGES * 1.2))
    np.testing.assert_array_equal(copies(), IMAGES)
    for name in ("rotation", "width_shift", "height_shift", "shear", "zoom"):
        assert (copies(**{name: 0.5}) != IMAGES).any(axis=(1, 2)).mean() > 0.7  # most
    flipped = copies(horizontal_flip=True)
    mirrored = (flipped == IMAGES[..., ::-1]).all(axis=(1, 2))
    assert (mirrored ^ (flipped == IMAGES).all(axis=(1, 2))).all()
    assert 0 < mirrored.sum() < 10


def test_bad_parameters_and_batches():
    """Bad parameters in `fit_resample` are in `test_parameters`."""
    with pytest.raises(ValueError, match="^n_copies is -1"):
        ImageAugmenter(-1).fit(["no/such/file.png"] * 10, Y)  # is not read
    with pytest.raises(ValueError, match=r"image 8 \('no/such/file.png'\)"):
        ImageAugmenter().fit_resample([*IMAGES[:8], "no/such/file.png", IMAGES[9]], Y)
    with pytest.raises(ValueError, match="wrap it"):
        ImageAugmenter().fit_resample(IMAGES[0], Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ImageAugmenter(1).fit_resample(IMAGES, Y[:5])
    with pytest.raises(ValueError, match="more than 1 class"):
        ImageAugmenter().fit_resample(IMAGES, np.zeros(10))


class AugmenterOfRows(ImageAugmenter):
    """Takes rows of numbers for images of one line: imbalanced-learn's checks speak in rows."""

    def _fit_resample(self, X, y):
        rows = validate_data(self, X, dtype=np.float64)
        images = 0.5 + np.arctan(rows)[:, np.newaxis] / np.pi
        images, y = super()._fit_resample(images, y)
        return images[:, 0], y


@pytest.mark.parametrize(
    "check",
    [
        "check_target_type",
        "check_samplers_one_label",
        "check_samplers_fit",
        "check_samplers_fit_resample",
        "check_samplers_sampling_strategy_fit_resample",
        "check_samplers_multiclass_ova",
        "check_samplers_sample_indices",
        "check_samplers_2d_target",
    ],
)
def test_imbalanced_learns_checks(check):
    getattr(estimator_checks, check)("AugmenterOfRows", AugmenterOfRows())


def test_no_copy_of_a_test_image_is_in_training():
    images, y = noise(30, 20, 20), np.arange(30) % 3 // 2
    known = {image.tobytes(): index for index, image in enumerate(images)}
    augmenter = ImageAugmenter(2)
    everything, _ = augmenter.fit_resample(images, y)
    source = {image.tobytes(): of for image, of in zip(everything, augmenter.sample_indices_)}
    LOG.clear()
    cross_val_predict(make_pipeline(augmenter, Spy()), images, y, cv=5)
    assert len(LOG) == 5
    for fitted, _, predicted in LOG:
        # Images that are predicted stay as they are, and as many.
        test = [known[image.tobytes()] for image in predicted]
        train = set(range(30)) - set(test)
        assert len(test) == 6
        assert {known[image.tobytes()] for image in fitted[:24]} == train
        assert Counter(source[image.tobytes()] for image in fitted) == dict.fromkeys(train, 3)


def test_a_known_copy_costs_nothing(log, memory):
    bus = FeatureBus(CountingMean(log=log), memory=memory)
    pipeline = make_pipeline(ImageAugmenter(2), bus, LogisticRegression())
    cross_validate(pipeline, IMAGES, Y, cv=3)
    # Each image and each of its copies once, though most are in two training parts.
    assert count(log) == 30
    pipeline.set_params(imageaugmenter__random_state=1).fit(IMAGES, Y)
    assert count(log) == 50
