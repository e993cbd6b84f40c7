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
from featbus.evaluation import segmentation_scores
from featbus.images import ImageError
from featbus.networks import find_source
from featbus.parameters import InvalidParameterError
from featbus.segmentation._unet import build_unet, overlap_loss

pytestmark = [pytest.mark.network, pytest.mark.filterwarnings("ignore:Even though the `tf.config")]

# Fewer epochs are enough.
GENTLE = Augmentation(rotation=15, shear=0.1, zoom=0.15, brightness=(0.7, 1.3))
SMALL = {"encoder": "small_cnn", "encoder_weights": None, "input_size": 64, "batch_size": 4}
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
    return UNetSegmenter(**SMALL | {"epochs": 2} | options)


def copy_of(unet, **parameters):
    return pickle.loads(pickle.dumps(unet)).set_params(**parameters)


def mean_dice(unet, images, masks):
    return segmentation_scores(masks, unet.predict(images))["dice"].mean()


@pytest.fixture(scope="module")
def fitted():
    images, masks = pictures(32)
    options = {"epochs": 24, "validation_share": 0.2, "augmentation": GENTLE}
    return segmenter(**options).fit(images[:24], masks[:24]), images[24:], masks[24:]


@pytest.mark.slow
@pytest.mark.parametrize("encoder", SKIPS)
def test_the_network(encoder):
    options, widths = SKIPS[encoder]
    source = find_source(
        backbone=encoder,
        backbone_options=options,
        weights=None,
        preprocessing=None,
        input_size=64,
        random_state=0,
    )
    model = build_unet(source)
    skips = [model.get_layer(f"decoder_C{stage}_skip").input for stage in range(1, 5)]
    assert [skip.shape[3] for skip in skips] == widths[:4]
    assert [skip.shape[1] for skip in skips] == [32, 16, 8, 4]
    deepest = model.get_layer("decoder_C4_up").input
    assert deepest.shape[1:] == (2, 2, widths[4])
    assert model.output_shape == (None, 64, 64, 1)
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
    np.testing.assert_allclose(overlap_loss().call(true, found), expected, atol=1e-5)
    weighted = np.asarray(overlap_loss(3.0).call(true, found))
    np.testing.assert_allclose(weighted[1], 2 * entropy + 1 - dice, atol=1e-5)


@pytest.mark.slow
def test_it_learns(fitted):
    unet, images, masks = fitted
    assert mean_dice(unet, images, masks) > 0.9
    found, probabilities = unet.predict(images), unet.predict_proba(images)
    assert found.shape == masks.shape
    assert (found.dtype, probabilities.dtype) == (bool, np.float32)
    assert 0 <= probabilities.min() < probabilities.max() <= 1
    np.testing.assert_array_equal(found, probabilities >= 0.5)
    assert unet.best_epoch_ == 1 + int(np.argmin(unet.history_["val_loss"]))
    assert len(unet.history_["loss"]) == unet.n_epochs_ <= 24


@pytest.mark.slow
def test_a_result_depends_on_its_image_alone_or_on_its_two_views(fitted):
    unet, images, _ = fitted
    together = unet.predict_proba(images)
    for index in (0, 5):
        alone = unet.predict_proba(images[index : index + 1])[0]
        np.testing.assert_allclose(alone, together[index], atol=1e-5)
    both = copy_of(unet, views=2).predict_proba(images)
    mirrored = unet.predict_proba(images[:, :, ::-1])[:, :, ::-1]
    np.testing.assert_allclose(both, (together + mirrored) / 2, atol=1e-5)


@pytest.mark.slow
def test_engines_agree(fitted, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="featbus[openvino] is not installed")
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path))
    unet, images, _ = fitted
    other = copy_of(unet, engine="openvino").predict_proba(images)
    np.testing.assert_allclose(other, unet.predict_proba(images), atol=1e-4)


@pytest.mark.slow
def test_thresholds(fitted):
    unet, images, _ = fitted
    (expected,) = unet.predict_proba(images[:1])
    # Of the same precision as the probabilities, which may be close to 1.
    low, high = np.quantile(expected, [0.8, 0.999]).astype(np.float32).tolist()
    (one,) = copy_of(unet, threshold=low).predict(images[:1])
    np.testing.assert_array_equal(one, expected > low)
    (two,) = copy_of(unet, threshold=(low, high)).predict(images[:1])
    labels = skimage.measure.label(one, connectivity=1)
    np.testing.assert_array_equal(two, np.isin(labels, labels[expected > high]))
    assert not copy_of(unet, threshold=1).predict(images[:1])[0].any()
    others = [copy_of(unet, threshold=t) for t in (0.5, 0.4, (0.4, 0.5))]
    assert len({fingerprint(FrozenEstimator(other)) for other in (unet, *others)}) == 3
    with pytest.raises(InvalidParameterError, match="^threshold is "):
        copy_of(unet, threshold=(0.5, 0.4)).predict(images[:1])


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
    large, mask = (np.kron(one, np.ones((3, 3), one.dtype)) for one in (images[0], masks[0]))
    found = unet.predict([images[0][:20, :50], large, images[0][:1, :1]])
    assert [region.shape for region in found] == [(20, 50), (144, 192), (1, 1)]
    assert mean_dice(unet, [large], [mask]) > 0.85


@pytest.mark.slow
def test_weights_depend_on_the_seed_and_on_no_setting_of_keras(eager):
    import keras

    images, masks = pictures()
    groups = np.repeat(np.arange(4), 3)
    unet = segmenter(epochs=1, validation_share=0.25)
    first, other = (clone(unet).set_params(random_state=seed) for seed in (0, 1))
    probabilities = first.fit(images, masks, groups).predict_proba(images)
    keras.config.set_floatx("float16")
    keras.config.set_dtype_policy("float16")
    try:
        second = clone(unet).fit(images, masks, groups)
        np.testing.assert_allclose(second.predict_proba(images), probabilities, atol=1e-5)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    for weights, same in zip(first.weights_, second.weights_, strict=True):
        assert same.dtype == np.float32
        np.testing.assert_allclose(weights, same, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(first.history_["val_loss"], second.history_["val_loss"], rtol=1e-3)
    watched = first.validation_indices_
    assert len(watched)
    assert set(groups[watched]).isdisjoint(np.delete(groups, watched))
    other.fit(images, masks, groups)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(first.weights_, other.weights_))


@pytest.mark.parametrize("n_empty", [0, 1, 3, 20])
def test_the_validation_part_has_its_share(n_empty):
    has_region = np.arange(40) >= n_empty
    groups = np.arange(40) // 2
    learning, watching = segmenter(validation_share=0.2)._split(has_region, groups)
    assert 6 <= len(watching) <= 10
    assert set(groups[learning]).isdisjoint(groups[watching])
    if n_empty == 20:
        assert 3 <= np.sum(~has_region[watching]) <= 5


@pytest.mark.parametrize("seed", range(3))
def test_unlucky_splits(seed):
    has_region = np.arange(12) == 5
    learning, watching = segmenter(validation_share=0.2, random_state=seed)._split(has_region, None)
    assert has_region[learning].any()
    assert len(watching) in (2, 3)
    groups = np.repeat(range(5), [30, 1, 1, 1, 1])
    _, watching = segmenter(random_state=seed)._split(np.ones(34, bool), groups)
    assert len(watching) < 4


@pytest.mark.slow
def test_a_bus_trains_the_segmenter_inside_even_on_extreme_masks(eager):
    images, masks = pictures(empty=(0, 1, 3, 4))
    masks[1] = True
    masks[3, 20, 30] = True
    masks[4, :, :5] = True
    cropper = ROICropper(FeatureBus(segmenter(epochs=1)))
    cropper.fit(images, masks=masks, groups=np.repeat(np.arange(6), 2))
    assert cropper.predict(images).shape == masks.shape


@pytest.mark.slow
def test_changed_weights_and_encoders_are_noticed(fitted, tmp_path):
    unet, images, _ = fitted
    changed = copy_of(unet)
    croppers = [ROICropper(FrozenEstimator(one)) for one in (unet, changed)]
    assert fingerprint(croppers[0]) == fingerprint(croppers[1])
    pipeline = make_pipeline(croppers[1], IntensityStatistics())
    bus = FeatureBus(pipeline, memory=tmp_path / "rows.sqlite").fit(images)
    for weight in (20, -20):
        changed.weights_[-1][...] = weight
        assert (changed.predict(images) == (weight > 0)).all()
        assert fingerprint(croppers[0]) != fingerprint(croppers[1])
        np.testing.assert_allclose(bus.transform(images), pipeline.transform(images), rtol=1e-5)
    changed.set_params(encoder="mobilenet_v2", encoder_options={"alpha": 0.35})
    with pytest.raises(InvalidParameterError, match="encoder is .*fitted"):
        changed.predict(images)


@pytest.mark.slow
def test_real_images(eager):
    weights = data_dir("weights") / "mobilenet_v2_0.35_224_no_top.weights.h5"
    root = data_dir("busi")
    busi = load_busi(root, groups=root / "groups.csv")
    chosen = np.flatnonzero(busi.target != 2)[::8]
    half = len(chosen) // 2
    unet = UNetSegmenter(
        "mobilenet_v2",
        encoder_weights=weights,
        encoder_options={"alpha": 0.35},
        input_size=96,
        epochs=8,
        batch_size=12,
        validation_share=0,
        augmentation=GENTLE,
    ).fit(busi.images[chosen[:half]], busi.masks[chosen[:half]])
    assert mean_dice(unet, busi.images[chosen[half:]], busi.masks[chosen[half:]]) > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"input_size": 80}, {"encoder": "inception_v3"}])
def test_encoders_whose_maps_are_not_halves(options):
    with pytest.raises(InvalidParameterError, match="encoder is .*multiple of 32"):
        segmenter(**{"encoder": "mobilenet", "input_size": 96} | options).fit(*pictures(4))


@pytest.mark.slow
def test_early_stopping(eager):
    unet = segmenter(epochs=6, patience=1, learning_rate=1e-12, validation_share=0.5)
    assert unet.fit(*pictures(8)).n_epochs_ < 6
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
def test_a_killed_training_goes_on(eager, tmp_path, monkeypatch):
    import keras

    images, masks = pictures(8)
    folder = tmp_path / "trainings"
    unet = segmenter(epochs=3, validation_share=0, checkpoint=folder)
    whole = clone(unet).fit(images, masks)
    assert whole.best_epoch_ == whole.n_epochs_ == 3
    assert set(whole.history_) == {"loss"}
    assert not len(whole.validation_indices_)
    assert not list(folder.iterdir())

    class Killed(Exception):
        pass

    def kill(callback, epoch, logs=None):
        if epoch == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks.TerminateOnNaN, "on_epoch_begin", kill)
        with pytest.raises(Killed):
            unet.fit(images, masks)
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
def test_a_training_that_diverges_is_an_error(eager, share):
    unet = segmenter(learning_rate=1e30, validation_share=share)
    with pytest.raises(ValueError, match="diverged.*learning_rate"):
        unet.fit(*pictures())
    assert not hasattr(unet, "weights_")
