"""UNetSegmenter."""

import pickle

import numpy as np
import pytest
import skimage
from _data import data_dir
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from featbus import FeatureBus, IntensityStatistics, ROICropper, UNetSegmenter, load_busi
from featbus.augmentation import Augmentation
from featbus.bus import fingerprint
from featbus.images import ImageError
from featbus.networks import find_source
from featbus.parameters import InvalidParameterError
from featbus.segmentation._unet import build_unet, overlap_loss

pytestmark = pytest.mark.network

# Fewer epochs are enough.
GENTLE = Augmentation(rotation=15, shear=0.1, zoom=0.15, brightness=(0.7, 1.3))
SMALL = {"encoder": "mobilenet", "encoder_weights": None, "encoder_options": {"alpha": 0.25}}
# The served paper's skips, and those of the table of taps, with the encoder's widths.
SKIPS = {
    "mobilenet": ({}, [32, 128, 256, 512, 1024]),
    "mobilenet_v2": ({"alpha": 0.35}, [48, 48, 96, 192, 1280]),
    "mobilenet_v3_small": ({}, [16, 72, 96, 288, 576]),
    "vgg16": ({}, [128, 256, 512, 512, 512]),
    "resnet50": ({}, [64, 256, 512, 1024, 2048]),
}


def pictures(n_images=12, shape=(48, 64), empty=()):
    """Return images with a dark disc each, and its mask."""
    rng = np.random.default_rng(0)
    y, x = np.indices(shape)
    images, masks = [], []
    for index in range(n_images):
        center, radius = rng.uniform(0.35, 0.65, 2) * shape, rng.uniform(8, 14)
        mask = np.hypot(y - center[0], x - center[1]) < radius
        mask &= index not in empty
        image = np.where(mask, 0.25, 0.65) + rng.normal(0, 0.05, shape)
        images.append(np.rint(255 * image.clip(0, 1)).astype(np.uint8))
        masks.append(mask)
    return np.array(images), np.array(masks)


def segmenter(**options):
    return UNetSegmenter(**{**SMALL, "input_size": 64, "epochs": 2, "batch_size": 4} | options)


@pytest.fixture(scope="module")
def fitted():
    images, masks = pictures(40)
    options = {"epochs": 32, "validation_share": 0.2, "augmentation": GENTLE}
    return segmenter(**options).fit(images[:32], masks[:32]), images[32:], masks[32:]


def source_of(encoder, options, size=256):
    return find_source(
        backbone=encoder,
        backbone_options=options,
        weights=None,
        preprocessing=None,
        input_size=size,
        random_state=0,
    )


@pytest.mark.slow
@pytest.mark.parametrize("encoder", SKIPS)
def test_the_network(encoder):
    options, widths = SKIPS[encoder]
    source = source_of(encoder, options)
    model = build_unet(source)
    skips = [model.get_layer(f"decoder_C{stage}_skip").input for stage in range(1, 5)]
    assert [skip.shape[3] for skip in skips] == widths[:4]
    assert [skip.shape[1] for skip in skips] == [128, 64, 32, 16]
    deepest = model.get_layer("decoder_C4_up").input
    assert deepest.shape[1:] == (8, 8, widths[4])
    assert model.output_shape == (None, 256, 256, 1)
    last = model.get_layer("probability")
    assert last.input.shape[3] == 32
    assert last.kernel.shape[:2] == (1, 1)


def test_loss():
    true = np.zeros((3, 2, 2, 1), np.float32)
    true[1:, 0] = 1
    found = np.full(true.shape, 0.5, np.float32)
    found[2] = true[2]
    entropy, dice = np.log(2), (2 * 1 + 1) / (2 + 2 + 1)
    expected = [entropy + 1 - 1 / (0 + 2 + 1), entropy + 1 - dice, 0]
    np.testing.assert_allclose(overlap_loss()(true, found), expected, atol=1e-5)
    weighted = np.asarray(overlap_loss(3.0)(true, found))
    np.testing.assert_allclose(weighted[1], 2 * entropy + 1 - dice, atol=1e-5)


@pytest.mark.slow
def test_it_learns(fitted):
    unet, images, masks = fitted
    assert unet.score(images, masks) > 0.9
    found = unet.predict(images)
    assert found.shape == masks.shape
    assert found.dtype == bool
    probabilities = unet.predict_proba(images)
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    np.testing.assert_array_equal(found, probabilities >= 0.5)
    assert unet.best_epoch_ == 1 + int(np.argmin(unet.history_["val_loss"]))
    assert len(unet.history_["loss"]) == unet.n_epochs_ <= 32


@pytest.mark.slow
def test_a_result_depends_on_its_image_alone_or_on_its_two_views(fitted):
    unet, images, _ = fitted
    together = unet.predict_proba(images)
    for index in (0, 5):
        alone = unet.predict_proba(images[index : index + 1])[0]
        np.testing.assert_allclose(alone, together[index], atol=1e-5)
    both = clone_fitted(unet).set_params(views=2).predict_proba(images)
    mirrored = unet.predict_proba(images[:, :, ::-1])[:, :, ::-1]
    np.testing.assert_allclose(both, (together + mirrored) / 2, atol=1e-5)


@pytest.mark.slow
def test_engines_agree(fitted, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="featbus[openvino] is not installed")
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path))
    unet, images, _ = fitted
    expected = unet.predict_proba(images)
    other = clone_fitted(unet).set_params(engine="openvino").predict_proba(images)
    np.testing.assert_allclose(other, expected, atol=1e-4)


def clone_fitted(unet):
    return pickle.loads(pickle.dumps(unet))


@pytest.mark.slow
def test_thresholds(fitted):
    unet, images, _ = fitted
    (expected,) = unet.predict_proba(images[:1])
    low, high = np.quantile(expected, [0.8, 0.999])
    (one,) = clone_fitted(unet).set_params(threshold=low).predict(images[:1])
    np.testing.assert_array_equal(one, expected > low)
    (two,) = clone_fitted(unet).set_params(threshold=(low, high)).predict(images[:1])
    labels = skimage.measure.label(one, connectivity=1)
    np.testing.assert_array_equal(two, np.isin(labels, labels[expected > high]))
    assert not clone_fitted(unet).set_params(threshold=1).predict(images[:1])[0].any()
    others = [clone_fitted(unet).set_params(threshold=t) for t in (0.5, 0.4, (0.4, 0.5))]
    assert len({fingerprint(FrozenEstimator(other)) for other in (unet, *others)}) == 3
    with pytest.raises(ValueError, match="expected the lower number first"):
        clone_fitted(unet).set_params(threshold=(0.5, 0.4)).predict(images[:1])


@pytest.mark.slow
def test_dtypes_colors_and_sizes(fitted):
    unet, images, masks = fitted
    kinds = [
        images[0].astype(np.uint16) * 257,
        (images[0] / 255).astype(np.float32),
        np.dstack([images[0]] * 3),
        np.dstack([images[0]] * 3 + [np.full_like(images[0], 255)]),
    ]
    expected = unet.predict_proba(images[:1])[0]
    for found in unet.predict_proba(kinds):
        np.testing.assert_allclose(found, expected, atol=0.02)
    small, large = images[0][:20, :50], np.kron(images[0], np.ones((3, 3), np.uint8))
    found = unet.predict([small, large, images[0][:1, :1]])
    assert [region.shape for region in found] == [(20, 50), (144, 192), (1, 1)]
    tripled = np.kron(masks[0], np.ones((3, 3), bool))
    assert 2 * (found[1] & tripled).sum() / (found[1].sum() + tripled.sum()) > 0.85


@pytest.mark.slow
def test_the_same_call_gives_the_same_weights_and_keeps_groups_together():
    images, masks = pictures()
    groups = np.repeat(np.arange(4), 3)
    options = {"epochs": 1, "validation_share": 0.25}
    first, second = (segmenter(**options).fit(images, masks, groups) for _ in range(2))
    for one, other in zip(first.weights_, second.weights_):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    watched = first.validation_indices_
    assert set(groups[watched]).isdisjoint(np.delete(groups, watched))
    assert len(watched)
    third = segmenter(**options, random_state=1).fit(images, masks, groups)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(first.weights_, third.weights_))


@pytest.mark.parametrize("n_empty", [0, 1, 3, 20])
def test_the_validation_part_has_its_share(n_empty):
    has_region = np.arange(40) >= n_empty
    groups = np.arange(40) // 2
    learning, watching = segmenter(validation_share=0.2)._split(has_region, groups)
    assert 6 <= len(watching) <= 10
    assert set(groups[learning]).isdisjoint(groups[watching])
    if n_empty == 20:
        assert 3 <= np.sum(~has_region[watching]) <= 5


@pytest.mark.parametrize("seed", range(30, 33))
def test_the_only_region_is_learned_from(seed):
    has_region = np.arange(12) == 5
    learning, watching = segmenter(validation_share=0.2, random_state=seed)._split(has_region, None)
    assert has_region[learning].any()
    assert len(watching) in (2, 3)


@pytest.mark.parametrize("seed", range(3))
def test_the_validation_part_is_not_the_largest_group(seed):
    groups = np.repeat(range(5), [30, 1, 1, 1, 1])
    unet = segmenter(validation_share=0.1, random_state=seed)
    _, watching = unet._split(np.ones(34, bool), groups)
    assert len(watching) < 4


@pytest.mark.slow
def test_a_bus_trains_the_segmenter_inside_even_on_extreme_masks():
    images, masks = pictures(empty=(0, 1, 3, 4))
    masks[1] = True
    masks[3, 20, 30] = True
    masks[4, :, :5] = True
    cropper = ROICropper(FeatureBus(segmenter(epochs=1)))
    cropper.fit(images, masks=masks, groups=np.repeat(np.arange(6), 2))
    assert cropper.predict(images).shape == masks.shape


@pytest.mark.slow
def test_in_a_bus_the_weights_are_part_of_the_key(fitted, tmp_path):
    unet, images, _ = fitted
    other = clone_fitted(unet)
    other.weights_ = [weight * 1.5 for weight in unet.weights_]
    croppers = [ROICropper(FrozenEstimator(one)) for one in (unet, other)]
    assert fingerprint(croppers[0]) != fingerprint(croppers[1])
    pipeline = make_pipeline(croppers[0], IntensityStatistics())
    bus = FeatureBus(pipeline, memory=tmp_path / "rows.sqlite")
    rows = bus.fit_transform(images)
    np.testing.assert_array_equal(rows, bus.transform(images))
    np.testing.assert_allclose(rows, pipeline.transform(images), rtol=1e-5)


@pytest.mark.slow
def test_real_images():
    weights = data_dir("weights") / "mobilenet_v2_0.35_224_no_top.weights.h5"
    root = data_dir("busi")
    busi = load_busi(root, groups=root / "groups.csv")
    chosen = np.flatnonzero(busi.target != 2)[::8]
    half = len(chosen) // 2
    encoder = {"encoder": "mobilenet_v2", "encoder_options": {"alpha": 0.35}}
    training = {"input_size": 96, "epochs": 12, "batch_size": 8, "augmentation": GENTLE}
    unet = segmenter(**encoder, encoder_weights=weights, **training)
    unet.fit(busi.images[chosen[:half]], busi.masks[chosen[:half]])
    assert unet.score(busi.images[chosen[half:]], busi.masks[chosen[half:]]) > 0.3


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"input_size": 80}, {"encoder": "inception_v3", "encoder_options": None, "input_size": 96}],
)
def test_encoders_whose_maps_are_not_halves(options):
    with pytest.raises(InvalidParameterError, match="encoder is .*multiple of 32"):
        segmenter(**options).fit(*pictures(4))


@pytest.mark.slow
def test_early_stopping():
    images, masks = pictures(8)
    unet = segmenter(epochs=6, patience=1, learning_rate=1e-12, validation_share=0.5)
    assert unet.fit(images, masks).n_epochs_ < 6
    assert len(unet.history_["val_loss"]) == unet.n_epochs_


def test_bad_masks():
    images, masks = pictures(4)
    unet = segmenter()
    with pytest.raises(ImageError, match=r"^image 1: .*\(9, 9\), expected \(48"):
        unet.fit(images, [masks[0], masks[1][:9, :9], *masks[2:]])
    with pytest.raises(ImageError, match=r"^image 3: "):
        unet.fit(images, [*masks[:3], None])
    with pytest.raises(ValueError, match="All masks are empty"):
        unet.fit(images, np.zeros_like(masks))
    with pytest.raises(ValueError, match="inconsistent"):
        unet.fit(images, masks[:3])
    with pytest.raises(NotFittedError):
        unet.predict(images)


@pytest.mark.slow
def test_a_killed_training_goes_on(tmp_path, monkeypatch):
    import keras

    images, masks = pictures()
    options = {"epochs": 3, "validation_share": 0}
    whole = segmenter(**options).fit(images, masks)
    assert whole.best_epoch_ == whole.n_epochs_ == 3
    assert set(whole.history_) == {"loss"}
    assert not len(whole.validation_indices_)
    folder = tmp_path / "trainings"
    unet = segmenter(**options, checkpoint=folder)

    class Killed(Exception):
        pass

    def kill(callback, epoch, logs=None):
        if epoch == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks.TerminateOnNaN, "on_epoch_begin", kill)
        with pytest.raises(Killed):
            unet.fit(images, masks)
    assert len(list(folder.iterdir())) == 1
    clone(unet).set_params(epochs=1).fit(images[::-1], masks[::-1])  # another training
    assert len(list(folder.iterdir())) == 1
    unet.fit(images, masks)
    assert len(unet.history_["loss"]) == 1
    assert unet.n_epochs_ == unet.best_epoch_ == 3
    np.testing.assert_allclose(unet.history_["loss"], whole.history_["loss"][2:], rtol=1e-4)
    for one, other in zip(unet.weights_, whole.weights_):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    assert not list(folder.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="^checkpoint is "):
        unet.set_params(checkpoint=tmp_path / "file" / "folder").fit(images, masks)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, 0.3])
def test_a_training_that_diverges_is_an_error(share):
    unet = segmenter(learning_rate=1e30, validation_share=share)
    with pytest.raises(ValueError, match="diverged.*learning_rate"):
        unet.fit(*pictures())
    assert not hasattr(unet, "weights_")


@pytest.mark.slow
def test_a_network_computes_in_single_precision_whatever_keras_is_set_to():
    import keras

    images, masks = pictures(4)
    unet = segmenter(epochs=1, validation_share=0, input_size=32)
    expected, probabilities = unet.fit(images, masks).weights_, unet.predict_proba(images)
    keras.config.set_floatx("float16")
    keras.config.set_dtype_policy("float16")
    try:
        found = unet.fit(images, masks)
        np.testing.assert_allclose(found.predict_proba(images), probabilities, atol=1e-5)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    for weights, others in zip(found.weights_, expected, strict=True):
        assert weights.dtype == np.float32
        np.testing.assert_allclose(weights, others, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_changed_weights_and_encoders_are_noticed(fitted, tmp_path):
    unet, images, _ = fitted
    changed = clone_fitted(unet)
    changed.weights_[-1][...] = 20
    bus = FeatureBus(FrozenEstimator(changed), memory=tmp_path / "rows.sqlite").fit(images)
    assert changed.predict(images).all()
    assert bus.predict(images).all()
    changed.weights_[-1][...] = -20
    assert not changed.predict(images).any()
    assert not bus.predict(images).any()
    changed.set_params(encoder="mobilenet_v2", encoder_options={"alpha": 0.35})
    with pytest.raises(InvalidParameterError, match="encoder is .*fitted"):
        changed.predict(images)
