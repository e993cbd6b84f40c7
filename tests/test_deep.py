"""Features of frozen networks."""

import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import skimage.data
from _data import data_dir
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from featbus import DeepFeatures, Resize
from featbus.bus import fingerprint
from featbus.color import to_gray
from featbus.feature_extraction import _deep
from featbus.io import read_image
from featbus.masks import with_mask
from featbus.networks import KerasApplication, _engines
from featbus.parameters import InvalidParameterError

# Random weights of VGG16 keep activations alive (those of MobileNet decay to 1e-19).
SMALL = {"weights": None, "input_size": 32}


def noise(n_images=4, shape=(40, 36), dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, (n_images, *shape), endpoint=True, dtype=dtype)


def assert_rows_equal(rows, expected, rtol=1e-4):
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(rows, expected, rtol=rtol, atol=1e-6)


@pytest.fixture
def trained():
    """Return the parameters of a small network with real weights."""
    path = data_dir("weights") / "mobilenet_v2_0.35_224_no_top.weights.h5"
    return {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}, "weights": path}


@pytest.fixture(scope="module")
def scans():
    """Return a few real ultrasound images."""
    paths = sorted((data_dir("busi") / "malignant").glob("* ([1-9]).png"))[:3]
    return [to_gray(read_image(path)) for path in paths]


@pytest.mark.network
def test_reference_values(trained):
    with open(data_dir("weights") / "reference.json") as file:
        reference = json.load(file)
    image = cv2.resize(skimage.data.astronaut(), (224, 224), interpolation=cv2.INTER_AREA)
    rows = DeepFeatures(**trained).transform(image[np.newaxis])
    assert rows.shape == (1, 1280)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows[0, :8], reference["pooled_first_8"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(rows.mean(), reference["pooled_mean"], rtol=1e-3)
    assert rows.argmax() == reference["pooled_max_channel"]
    np.testing.assert_allclose(rows.max(), reference["pooled_max"], rtol=1e-3)


@pytest.mark.network
def test_rows_are_those_of_keras_on_pixels_that_are_not_rounded(trained):
    from keras.applications import MobileNetV2
    from keras.applications.mobilenet_v2 import preprocess_input

    options = {"alpha": 0.35, "weights": None, "include_top": False, "pooling": "avg"}
    model = MobileNetV2(input_shape=(224, 224, 3), **options)
    model.load_weights(trained["weights"])
    image = skimage.data.astronaut()
    pixels = cv2.resize(image.astype(np.float32), (224, 224), interpolation=cv2.INTER_AREA)
    expected = model.predict_on_batch(preprocess_input(pixels[np.newaxis]))
    rows = DeepFeatures(**trained).transform([image])
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.network
@pytest.mark.parametrize("factor", [np.uint16(257), np.float32(1 / 255), np.float64(1 / 255)])
def test_the_dtype_of_a_picture_does_not_matter(trained, scans, factor):
    deep = DeepFeatures(**trained, layers=["C3", "top"], pooling=["avg", "max", "std"]).fit(scans)
    converted = [scan.astype(factor.dtype) * factor for scan in scans]
    assert {scan.dtype for scan in converted} == {factor.dtype}
    np.testing.assert_allclose(deep.transform(converted), deep.transform(scans), rtol=0, atol=1e-4)


@pytest.mark.network
def test_batches_do_not_matter(trained):
    images = noise(7)
    for parameters in (SMALL, trained | {"layers": ["C2", "top"], "input_size": 96}):
        expected = DeepFeatures(**parameters, batch_size=7).transform(images)
        for batch_size in (1, 2, 5, 32):
            rows = DeepFeatures(**parameters, batch_size=batch_size).transform(images)
            assert_rows_equal(rows, expected)
        order = np.random.default_rng(0).permutation(7)
        shuffled = DeepFeatures(**parameters, batch_size=3).transform(images[order])
        assert_rows_equal(shuffled, expected[order])


@pytest.mark.network
def test_the_next_batch_is_read_meanwhile(monkeypatch):
    second_batch = threading.Event()
    to_pixels = _deep._to_pixels

    def reading(image, *args):
        if image[0, 0] == 2:
            second_batch.set()
        return to_pixels(image, *args)

    class Engine:
        def run(self, pixels, batch_size, regions):
            assert second_batch.wait(30)
            return pixels.mean(axis=(1, 2))

    monkeypatch.setattr(_deep, "_to_pixels", reading)
    monkeypatch.setattr(_deep, "load_engine", lambda network: Engine())
    images = np.arange(3, dtype=np.uint8)[:, np.newaxis, np.newaxis] + np.zeros((1, 32, 32), "u1")
    rows = DeepFeatures(**SMALL, batch_size=2).transform(images)
    np.testing.assert_array_equal(rows, [[0], [1], [2]])


@pytest.mark.network
def test_images_of_any_kind():
    """The same picture gives the same row, whatever its container, dtype and channels."""
    gray = noise(1, (50, 70))[0]
    deep = DeepFeatures(**SMALL)
    expected = deep.transform([gray])
    opaque = np.full_like(gray, 255)
    same = [
        gray[..., np.newaxis],
        np.dstack([gray] * 3),
        np.dstack([gray] * 3 + [opaque]),
        gray.astype(np.uint16) * 257,
        gray / 255,
        np.float32(gray) / 255,
        np.asfortranarray(gray),
        with_mask(gray, np.ones_like(gray, bool)),
    ]
    assert_rows_equal(deep.transform(same), np.repeat(expected, len(same), axis=0))
    black_and_white = gray > 127
    assert_rows_equal(
        deep.transform([black_and_white]), deep.transform([black_and_white.astype(np.uint8) * 255])
    )


@pytest.mark.network
def test_colors_keep_their_order():
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[..., 0] = 255
    deep = DeepFeatures(**SMALL, layers="block1_conv1")
    assert np.abs(deep.transform(red) - deep.transform(red[..., ::-1])).max() > 1


@pytest.mark.network
@pytest.mark.parametrize("channels", [(), (3,)])
def test_images_are_resized_as_resize_does(channels):
    """In floating point, as `Resize` rounds the pixels of other images; masked ones likewise."""
    images = np.float32(noise(3, (50, 70, *channels)) / 510)
    inside = np.zeros((50, 70), bool)
    inside[11:40, 20:55] = True
    images = [images[0], with_mask(images[1], inside), with_mask(images[2], inside, 0.25)]
    size = (48, 40)
    deep = DeepFeatures(weights=None, input_size=size, layers=["C2", "C3"], pooling=["avg", "max"])
    assert_rows_equal(make_pipeline(Resize(size), deep).transform(images), deep.transform(images))


def masked_images(n_images=3, seed=0):
    """Return images of 64 x 64 pixels, and the region of all: 4 x 6 of 8 x 8 cells of C3."""
    inside = np.zeros((64, 64), bool)
    inside[16:48, 16:64] = True
    return noise(n_images, (64, 64), seed=seed), inside


@pytest.mark.network
def test_a_region_is_what_is_pooled():
    """Black outside for the network, and only the cells inside for the pooling."""
    images, inside = masked_images()
    parameters = {"weights": None, "input_size": 64, "layers": "C3"}
    cells = DeepFeatures(**parameters, pooling="flatten")
    masked = [with_mask(image, inside) for image in images]
    maps = cells.transform([np.where(inside, image, 0).astype(np.uint8) for image in images])
    np.testing.assert_array_equal(cells.transform(masked), maps)
    maps = maps.reshape(3, 8, 8, 512)[:, 2:6, 2:8]
    deep = DeepFeatures(**parameters, pooling=["avg", "max", "std"])
    expected = [maps.mean((1, 2)), maps.max((1, 2)), maps.std((1, 2))]
    assert_rows_equal(deep.transform(masked), np.concatenate(expected, axis=1))


@pytest.mark.network
def test_pixels_outside_do_not_matter():
    images, inside = masked_images()
    others = np.where(inside, images, noise(3, (64, 64), seed=1))
    assert (others != images).mean() > 0.5
    for fill in (0, 200):
        deep = DeepFeatures(**SMALL, layers=["C2", "top"], pooling=["avg", "max", "gem2x2"])
        rows = [
            deep.transform([with_mask(image, inside, fill) for image in batch])
            for batch in (images, others)
        ]
        np.testing.assert_array_equal(*rows)


@pytest.mark.network
def test_a_region_smaller_than_a_cell_is_pooled_over_the_cells_it_touches():
    images, inside = masked_images()
    inside[:] = False
    inside[30:33, 20:24] = True  # 2 pixels by 4 in cell (3, 2), 1 by 4 in cell (4, 2), of 8 x 8
    masked = [with_mask(image, inside) for image in images]
    parameters = {"weights": None, "input_size": 64, "layers": "C3"}
    maps = DeepFeatures(**parameters, pooling="flatten").transform(masked).reshape(3, 8, 8, 512)
    upper, lower = maps[:, 3, 2], maps[:, 4, 2]
    rows = DeepFeatures(**parameters, pooling=["avg", "max", "avg2x2"]).transform(masked)
    expected = [(2 * upper + lower) / 3, np.maximum(upper, lower)]
    nothing = np.zeros_like(upper)
    expected += [upper, nothing, lower, nothing]
    assert_rows_equal(rows, np.concatenate(expected, axis=1))


@pytest.mark.network
@pytest.mark.parametrize(
    "pooling",
    [
        "avg",
        pytest.param("gem", marks=pytest.mark.slow),
        pytest.param("std", marks=pytest.mark.slow),
    ],
)
def test_rows_do_not_jump_as_a_region_grows(pooling):
    # At stride 32 a cell has 1,024 pixels, which the region has from a height of 32 on.
    image = np.float32(noise(1, (128, 128))[0] / 255)
    batch = []
    for height in range(28, 37):
        inside = np.zeros(image.shape, bool)
        inside[50 : 50 + height, 40:72] = True
        batch.append(with_mask(image, inside))
    rows = DeepFeatures(weights=None, input_size=128, pooling=pooling).transform(batch)
    steps = np.abs(np.diff(rows, axis=0)).mean(axis=1)
    assert steps.max() < 2 * np.median(steps)


@pytest.mark.network
def test_masked_and_other_images_in_one_batch():
    images, inside = masked_images(5)
    mixed = [with_mask(x, inside) if i in (1, 2, 4) else x for i, x in enumerate(images)]
    deep = DeepFeatures(weights=None, input_size=64, layers=["C2", "C3"], pooling=["avg", "max"])
    rows = deep.transform(mixed)
    for image, row in zip(mixed, rows):
        assert_rows_equal(deep.transform([image])[0], row)
    assert_rows_equal(deep.transform(images[[0, 3]]), rows[[0, 3]])
    assert np.abs(deep.transform(images) - rows)[[1, 2, 4]].max() > 0.1


@pytest.mark.network
def test_grids_have_columns_of_their_own():
    images = noise(2, (64, 64))
    deep = DeepFeatures(weights=None, input_size=64, layers="C3", pooling=["avg2x2", "max"])
    rows, names = deep.transform(images), deep.get_feature_names_out()
    assert rows.shape == (2, 5 * 512) == (2, len(set(names)))
    assert names[512 + 17] == "vgg16_block4_conv3_avg2x2_r0c1_0017"
    assert deep.where(names[512 + 17], (100, 60))[:2] == (slice(0, 50), slice(30, 60))
    assert deep.where(names[-1], (100, 60))[:2] == (slice(0, 100), slice(0, 60))
    assert deep.where(names[-1], (29, 58))[:2] == (slice(0, 29), slice(0, 58))
    cells = DeepFeatures(weights=None, input_size=64, layers="C3", pooling="flatten")
    maps = cells.transform(images).reshape(2, 8, 8, 512)
    assert_rows_equal(rows[:, 512:1024], maps[:, :4, 4:].mean((1, 2)))
    names = cells.get_feature_names_out()
    assert names[(3 * 8 + 4) * 512 + 17] == "vgg16_block4_conv3_flatten_r3c4_0017"


@pytest.mark.network
def test_boxes_of_cells_are_the_pixels_that_they_cover():
    deep = DeepFeatures(weights=None, input_size=224, pooling="flatten")  # 7 x 7 cells
    for side in (29, 36, 58, 224, 1000):
        boxes = deep._boxes((side, 3 * side))[::512].reshape(7, 7, 4)
        cells = np.arange(7)
        np.testing.assert_array_equal(boxes[:, 0, 0], cells * side // 7)
        np.testing.assert_array_equal(boxes[:, 0, 2], -(-(cells + 1) * side // 7))
        np.testing.assert_array_equal(boxes[0, :, 1], cells * 3 * side // 7)
        np.testing.assert_array_equal(boxes[0, :, 3], -(-(cells + 1) * 3 * side // 7))


@pytest.mark.network
def test_layers_and_pooling_are_columns_in_their_order():
    images = noise(2)
    layers, pooling = ["top", "block1_pool", "C3"], ("max", "avg")
    deep = DeepFeatures(**SMALL, layers=layers, pooling=pooling)
    rows, names = deep.transform(images), deep.get_feature_names_out()
    assert rows.shape == (2, 2 * (512 + 64 + 512)) == (2, len(set(names)))
    parts, part_names = [], []
    for layer in layers:
        for name in pooling:
            single = DeepFeatures(**SMALL, layers=layer, pooling=name)
            parts.append(single.transform(images))
            part_names.extend(single.get_feature_names_out())
    assert_rows_equal(rows, np.concatenate(parts, axis=1))
    assert names.tolist() == part_names
    assert (rows[:, :512] >= rows[:, 512:1024]).all()


@pytest.mark.network
@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({}, "vgg16_block5_pool_avg_0017"),
        ({"layers": "C5"}, "vgg16_block5_pool_avg_0017"),
        ({"layers": "C2", "pooling": "max"}, "vgg16_block3_conv3_max_0017"),
        ({"backbone": "mobilenet_v3_small"}, "mobilenet_v3_small_top_avg_0017"),
        ({"backbone": "mobilenet_v3_small", "layers": "C3"}, "mobilenet_v3_small_C3_avg_0017"),
    ],
)
def test_names(parameters, name):
    """They are there before the first row is."""
    assert DeepFeatures(**SMALL, **parameters).get_feature_names_out()[17] == name


@pytest.mark.network
def test_dtype():
    images = noise(2)
    wide = DeepFeatures(**SMALL, dtype=np.float64).transform(images)
    assert wide.dtype == np.float64
    np.testing.assert_array_equal(wide, DeepFeatures(**SMALL).transform(images))


@pytest.mark.network
def test_equal_estimators_share_one_network():
    _engines._load_engine.cache_clear()
    images = noise(3)
    first = DeepFeatures(**SMALL).fit(images)
    expected = first.transform(images)
    pickled = pickle.dumps(first)
    assert len(pickled) < 1_000
    for other in (clone(first), pickle.loads(pickled), DeepFeatures(**SMALL, batch_size=2)):
        assert_rows_equal(other.transform(images), expected)
    DeepFeatures(**SMALL, layers="C5").get_feature_names_out()
    assert _engines._load_engine.cache_info().misses == 2


@pytest.mark.network
def test_threads_share_one_network():
    _engines._load_engine.cache_clear()
    batches = [noise(3, seed=seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as executor:
        rows = list(executor.map(lambda batch: DeepFeatures(**SMALL).transform(batch), batches))
    assert _engines._load_engine.cache_info().misses == 1
    for batch, expected in zip(batches, rows):
        assert_rows_equal(DeepFeatures(**SMALL).transform(batch), expected)


@pytest.mark.slow
@pytest.mark.network
def test_the_seed_matters_only_for_random_weights(trained):
    images = noise(1)
    _engines._load_engine.cache_clear()
    first, second = (
        DeepFeatures(**trained, input_size=32, random_state=seed).transform(images)
        for seed in (0, None)
    )
    np.testing.assert_array_equal(first, second)
    assert _engines._load_engine.cache_info().misses == 1
    random = [DeepFeatures(**SMALL, random_state=seed).transform(images) for seed in (0, 1)]
    assert np.abs(random[0] - random[1]).max() > 0.1


@pytest.mark.network
def test_a_changed_weights_file_is_noticed(tmp_path):
    path = tmp_path / "base.weights.h5"
    deep = DeepFeatures(layers="C2", weights=path, input_size=32)
    rows = []
    for seed in (0, 1, 0):
        KerasApplication("vgg16", (32, 32), random_state=seed).build().save_weights(path)
        rows.append(deep.transform(noise(1)))
    assert np.abs(rows[0] - rows[1]).max() > 0.1
    np.testing.assert_array_equal(rows[0], rows[2])


@pytest.mark.network
def test_fingerprints_follow_what_changes_rows(tmp_path):
    first, copy = tmp_path / "base.weights.h5", tmp_path / "copy.weights.h5"
    first.write_bytes(b"one")
    copy.write_bytes(b"one")

    def params(**parameters):
        return DeepFeatures(**parameters)._fingerprint_params()

    before = params(weights=str(first))
    assert params(weights=copy, layers=["top"], input_size=224, random_state=7) == before
    assert params(weights=first, batch_size=1, backbone_options={}) == before
    first.write_bytes(b"other")
    assert params(weights=str(first)) != before
    different = [{"weights": None, "random_state": seed} for seed in (0, 1)]
    different += [{}, {"layers": "C2"}, {"pooling": "max"}, {"input_size": 96}]
    different += [{"backbone": "vgg19"}, {"dtype": np.float64}]
    seen = [params(**parameters) for parameters in different]
    assert all(seen.count(one) == 1 for one in seen)


@pytest.mark.network
def test_errors_name_the_image():
    glass = np.zeros((32, 32, 4), np.uint8)
    with pytest.raises(ValueError, match="image 3: found transparent pixels"):
        DeepFeatures(**SMALL, batch_size=2).transform([*noise(3), glass])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"backbone": "vgg"}, "backbone is 'vgg'.*'vgg1"),
        ({"backbone_options": {"alpha": 1}}, "'alpha'"),
        ({"layers": []}, r"layers is \[\]"),
        ({"layers": ["top", None]}, "layers is"),
        ({"pooling": "sum"}, "pooling is 'sum'"),
        ({"pooling": ["avg", "avg"]}, "pooling is"),
        ({"pooling": ()}, r"pooling is \(\)"),
        ({"pooling": "cls"}, "pooling has 'cls'"),
        ({"preprocessing": "tf"}, "preprocessing is 'tf'.* vgg16"),
        ({"n_prefix_tokens": 1}, "n_prefix_tokens is 1.* vgg16"),
        ({"input_size": 0}, "input_size is 0"),
        ({"input_size": (224, 224, 3)}, "input_size is"),
        ({"batch_size": 2.5}, "batch_size is 2.5.*'auto'"),
        ({"batch_size": "all"}, "batch_size is 'all'.*'auto'"),
        ({"random_state": None}, "random_state is None"),
        ({"weights": True}, "weights is True"),
        ({"engine": "tensorrt"}, "engine is 'tensorrt'.*'openvino'"),
        ({"dtype": np.float16}, "dtype is .*float16"),
        ({"backbone": "convnext_tiny", "layers": "C1"}, "'C1'.* convnext_tiny.*'C2'"),
    ],
)
def test_parameters_are_checked_without_a_network(parameters, message):
    deep = DeepFeatures(**{"weights": None} | parameters)
    for method in (deep.fit, deep.transform):
        with pytest.raises(InvalidParameterError, match=message):
            method(["no such file.png"])


def test_weights_are_checked_without_a_network():
    with pytest.raises(FileNotFoundError, match="weights is 'no/such.weights.h5', .* no such file"):
        DeepFeatures(weights="no/such.weights.h5").fit(noise(1))


def own_model(size=32, seed=0):
    """Return a small network with its classifier, and its layer of 8 x 8 x 6."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = keras.Input((size, size, 3))
    maps = layers.Conv2D(4, 3, 2, padding="same", activation="relu", name="shallow")(inputs)
    maps = layers.Conv2D(6, 3, 2, padding="same", activation="relu", name="deeper")(maps)
    outputs = layers.Dense(2)(layers.GlobalAveragePooling2D()(maps))
    return keras.Model(inputs, outputs, name="own"), keras.Model(inputs, maps)


@pytest.mark.network
def test_a_model_of_ones_own(tmp_path):
    model, maps = own_model()
    images = noise(3, (32, 32))
    expected = maps.predict_on_batch(np.repeat(images[..., None], 3, axis=3) / 127.5 - 1)
    deep = DeepFeatures(model, preprocessing="tf", layers=["C1", "top"])
    rows = deep.fit_transform(images)
    assert_rows_equal(rows[:, 4:], expected.mean((1, 2)))
    assert deep.get_feature_names_out()[[0, 9]].tolist() == ["own_C1_avg_0000", "own_top_avg_0005"]
    named = DeepFeatures(model, preprocessing="tf", layers=["shallow", "deeper"])
    assert_rows_equal(named.transform(images), rows)
    model.save(tmp_path / "model.keras")
    saved = DeepFeatures(str(tmp_path / "model.keras"), preprocessing="tf", layers=["C1", "top"])
    assert_rows_equal(clone(saved).fit_transform(images), rows)
    assert saved.get_feature_names_out()[0] == "model_C1_avg_0000"
    assert len(pickle.dumps(saved)) < 1_000


OWN_LAYER = """
import keras
@keras.saving.register_keras_serializable("tests")
class Gain(keras.layers.Layer):
    def call(self, x):
        return x * {0}
@keras.saving.register_keras_serializable("tests")
def lift(x):
    return x + {1}
"""


def own_layers(gain, lift):
    """Return a model with a layer and an activation of one's own, and the layer's class."""
    import keras

    space = {"__name__": "layers_of_mine"}
    exec(OWN_LAYER.format(gain, lift), space)
    inputs = keras.Input((8, 8, 3))
    maps = space["Gain"](name="gain")(inputs)
    maps = keras.layers.Activation(space["lift"], name="lift")(maps)
    return keras.Model(inputs, maps, name="own"), space["Gain"]


@pytest.mark.network
def test_code_of_layers_counts(tmp_path):
    images, path = np.full((1, 8, 8), 100, np.uint8), tmp_path / "own.keras"
    own_layers(1, 1)[0].save(path)
    keys = []
    for gain, lift in ((2, 1), (3, 1), (3, 2)):
        model, layer = own_layers(gain, lift)
        for backbone in (model, path):
            deep = DeepFeatures(backbone, layers="top", preprocessing="none")
            assert deep.fit_transform(images)[0, 0] == 100 * gain + lift
            keys += {fingerprint(deep), fingerprint(clone(deep))}
    assert len(set(keys)) == len(keys) == 6
    layer.call = lambda self, x: x * 5
    again = clone(deep)
    assert fingerprint(again) not in keys
    assert again.transform(images)[0, 0] == 502
    with pytest.raises(InvalidParameterError, match="engine is 'openvino'.*'keras'"):
        deep.set_params(engine="openvino").transform(images)


@pytest.mark.network
def test_copies_of_a_model_share_one_network():
    model, _ = own_model()
    images = noise(2)
    deep = DeepFeatures(model, preprocessing="none")
    rows = deep.fit_transform(images)
    params = deep._fingerprint_params()
    misses = _engines._load_engine.cache_info().misses
    for copy in (clone(deep), pickle.loads(pickle.dumps(deep))):
        np.testing.assert_array_equal(copy.transform(images), rows)
        assert copy._fingerprint_params() == params
    assert _engines._load_engine.cache_info().misses == misses


@pytest.mark.network
def test_a_model_that_is_trained_further():
    """It is another network; an estimator that was fitted before keeps the one that it had."""
    model, _ = own_model()
    images = noise(2)
    unfitted, fitted, late = (DeepFeatures(model, preprocessing="none") for _ in range(3))
    before = clone(unfitted)
    rows = unfitted.transform(images)
    np.testing.assert_array_equal(fitted.fit_transform(images), rows)
    late.fit(images)
    key = fingerprint(fitted)
    model.set_weights([2 * weight for weight in model.get_weights()])
    assert np.abs(unfitted.transform(images) - rows).max() > 0.1
    for one in (before, fitted):
        np.testing.assert_array_equal(one.transform(images), rows)
        assert one._fingerprint_params() != unfitted._fingerprint_params()
    assert fingerprint(fitted) == key
    for changed in (late, pickle.loads(pickle.dumps(late))):
        with pytest.raises(ValueError, match="own is another one than in fit"):
            changed.transform(images)
    assert np.abs(fitted.fit(images).transform(images) - rows).max() > 0.1


@pytest.mark.network
def test_a_warm_transform_looks_for_no_network(trained, monkeypatch):
    images = noise(3)
    deep = DeepFeatures(**trained, input_size=64).fit(images)
    rows = deep.transform(images)
    key = fingerprint(deep)

    def refuse(**parameters):
        raise AssertionError("not again")

    with monkeypatch.context() as patch:
        patch.setattr(_deep, "find_source", refuse)
        np.testing.assert_array_equal(deep.transform(images), rows)
        assert fingerprint(deep) == key
        with pytest.raises(AssertionError):
            clone(deep).transform(images)
        with pytest.raises(AssertionError):
            clone(deep).fit(images)
    with pytest.raises(InvalidParameterError, match="pooling is 'sum'"):
        deep.set_params(pooling="sum").transform(images)
    deep.set_params(pooling="max")
    assert fingerprint(deep) != key
    assert (deep.transform(images) >= rows).all()
    with pytest.raises(ValueError, match="another preprocessing or input size than in fit"):
        deep.set_params(input_size=96).transform(images)


@pytest.mark.network
def test_a_model_in_a_model():
    import keras

    _, maps = own_model()
    layers = [keras.Input((32, 32, 3)), maps, keras.layers.GlobalMaxPooling2D()]
    whole = keras.Sequential(layers, name="whole")
    images = noise(2)
    expected = DeepFeatures(maps, preprocessing="torch").transform(images)
    assert_rows_equal(DeepFeatures(whole, preprocessing="torch").transform(images), expected)
    named = DeepFeatures(whole, preprocessing="torch", layers=maps.name)
    assert_rows_equal(named.transform(images), expected)


@pytest.mark.network
def test_a_model_for_any_size():
    import keras

    layers = [keras.Input((None, None, 3)), keras.layers.Conv2D(5, 3, 2, name="only")]
    model = keras.Sequential(layers, name="any")
    assert (
        DeepFeatures(model, preprocessing="tf", input_size=(20, 30)).transform(noise(1)).size == 5
    )
    with pytest.raises(ValueError, match="input_size is None.*'any'"):
        DeepFeatures(model, preprocessing="tf").fit(noise(1))
    with pytest.raises(ValueError, match="'C9'.*'C1'.* any"):
        DeepFeatures(model, preprocessing="tf", input_size=64, layers="C9").transform(noise(1))


@pytest.mark.network
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "preprocessing is None.*'caffe'"),
        ({"preprocessing": "tf", "weights": None}, "weights is None"),
        ({"preprocessing": "tf", "input_size": 64}, r"input_size is 64.* \(32, 32\)"),
    ],
)
def test_parameters_of_a_model(parameters, message):
    with pytest.raises(InvalidParameterError, match=message):
        DeepFeatures(own_model()[0], **parameters).fit(noise(1))


@pytest.mark.network
def test_models_that_cannot_be_used(tmp_path):
    import keras

    gray = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 1)], name="gray")
    gray.save(tmp_path / "gray.keras")
    for backbone in (gray, tmp_path / "gray.keras"):
        with pytest.raises(ValueError, match=r"'gray'.*\(None, 8, 8, 1\)"):
            DeepFeatures(backbone, preprocessing="tf").fit(noise(1))
    with pytest.raises(FileNotFoundError, match="'no.keras'"):
        DeepFeatures("no.keras", preprocessing="tf").fit(noise(1))
    (tmp_path / "bad.keras").write_bytes(b"text")
    with pytest.raises(ValueError, match="bad.keras'"):
        DeepFeatures(tmp_path / "bad.keras", preprocessing="tf").fit(noise(1))


@pytest.mark.network
def test_no_code_of_a_file_is_run(tmp_path):
    import keras

    layers = [keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: 2 * x)]
    model = keras.Sequential([*layers, keras.layers.Conv2D(1, 1)], name="code")
    model.save(tmp_path / "code.keras")
    with pytest.raises(ValueError, match="code.keras'.* Lambda"):
        DeepFeatures(tmp_path / "code.keras", preprocessing="tf").transform(noise(1))


@pytest.mark.network
def test_automatic_batches(monkeypatch):
    images = noise(5)
    expected = DeepFeatures(**SMALL).transform(images)
    for free in (1, 1 << 40):
        monkeypatch.setattr(_engines.os, "sysconf", lambda name, free=free: free)
        assert_rows_equal(DeepFeatures(**SMALL, batch_size="auto").transform(images), expected)
