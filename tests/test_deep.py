"""Features of frozen networks."""

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import skimage.data
from _data import data_dir
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from featbus import DeepFeatures, Resize
from featbus.bus import fingerprint
from featbus.feature_extraction import _deep
from featbus.masks import with_mask
from featbus.networks import KerasApplication, _engines, load_engine
from featbus.parameters import InvalidParameterError

pytestmark = pytest.mark.network

# Its random weights keep activations alive (those of MobileNet decay to 1e-19).
SMALL = {"backbone": "small_cnn", "weights": None, "input_size": 32}
LARGER = SMALL | {"input_size": 64}


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


def test_batches_do_not_matter(trained):
    images = noise(5)
    parameters = trained | {"layers": ["C1", "C3"], "input_size": 64}
    expected = DeepFeatures(**parameters, batch_size=5).transform(images)
    order = [3, 0, 4, 1, 2]
    for batch_size in (1, 3):
        rows = DeepFeatures(**parameters, batch_size=batch_size).transform(images[order])
        assert_rows_equal(rows, expected[order])


def test_images_of_any_kind():
    """The same picture gives the same row, in color and masked: others are in `test_common`."""
    gray = noise(1, (50, 70))[0]
    deep = DeepFeatures(**SMALL)
    expected = deep.transform([gray])
    color = np.dstack([gray] * 3 + [np.full_like(gray, 255)])
    same = [gray[..., np.newaxis], color[..., :3], color, with_mask(gray, np.ones_like(gray, bool))]
    assert_rows_equal(deep.transform(same), np.repeat(expected, len(same), axis=0))


@pytest.mark.parametrize("channels", [(), (3,)])
def test_images_are_resized_as_resize_does(channels):
    """In floating point, as `Resize` rounds the pixels of other images; masked ones likewise."""
    images = np.float32(noise(3, (50, 70, *channels)) / 510)
    inside = np.zeros((50, 70), bool)
    inside[11:40, 20:55] = True
    images = [images[0], with_mask(images[1], inside), with_mask(images[2], inside, 0.25)]
    size = (48, 40)
    deep = DeepFeatures(**SMALL | {"input_size": size}, layers=["C2", "C3"], pooling=["avg", "max"])
    assert_rows_equal(make_pipeline(Resize(size), deep).transform(images), deep.transform(images))


def masked_images(n_images=3, seed=0):
    """Return images of 64 x 64 pixels, and the region of all: 4 x 6 of 8 x 8 cells of C3."""
    inside = np.zeros((64, 64), bool)
    inside[16:48, 16:64] = True
    return noise(n_images, (64, 64), seed=seed), inside


def test_a_region_is_what_is_pooled():
    """Black outside for the network, and only the cells inside for the pooling."""
    images, inside = masked_images()
    parameters = LARGER | {"layers": "C3"}
    cells = DeepFeatures(**parameters, pooling="flatten")
    masked = [with_mask(image, inside) for image in images]
    maps = cells.transform([np.where(inside, image, 0).astype(np.uint8) for image in images])
    np.testing.assert_array_equal(cells.transform(masked), maps)
    maps = maps.reshape(3, 8, 8, 64)[:, 2:6, 2:8]
    deep = DeepFeatures(**parameters, pooling=["avg", "max", "std"])
    expected = [maps.mean((1, 2)), maps.max((1, 2)), maps.std((1, 2))]
    assert_rows_equal(deep.transform(masked), np.concatenate(expected, axis=1))


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


def test_masked_and_other_images_in_one_batch():
    images, inside = masked_images(5)
    mixed = [with_mask(x, inside) if i in (1, 2, 4) else x for i, x in enumerate(images)]
    deep = DeepFeatures(**LARGER, layers=["C2", "C3"], pooling=["avg", "max"])
    rows = deep.transform(mixed)
    for image, row in zip(mixed, rows):
        assert_rows_equal(deep.transform([image])[0], row)
    assert_rows_equal(deep.transform(images[[0, 3]]), rows[[0, 3]])
    assert np.abs(deep.transform(images) - rows)[[1, 2, 4]].max() > 0.1


def test_grids_have_columns_of_their_own():
    images = noise(2, (64, 64))
    deep = DeepFeatures(**LARGER, layers="C3", pooling=["avg2x2", "max"])
    rows, names = deep.transform(images), deep.get_feature_names_out()
    assert rows.shape == (2, 5 * 64) == (2, len(set(names)))
    assert names[64 + 17] == "small_cnn_C3_avg2x2_r0c1_0017"
    assert deep.where(names[64 + 17], (100, 60))[:2] == (slice(0, 50), slice(30, 60))
    assert deep.where(names[-1], (29, 58))[:2] == (slice(0, 29), slice(0, 58))
    cells = DeepFeatures(**LARGER, layers="C3", pooling="flatten")
    maps = cells.transform(images).reshape(2, 8, 8, 64)
    assert_rows_equal(rows[:, 64:128], maps[:, :4, 4:].mean((1, 2)))
    assert cells.get_feature_names_out()[(3 * 8 + 4) * 64 + 17] == "small_cnn_C3_flatten_r3c4_0017"


def test_layers_and_pooling_are_columns_in_their_order():
    images, layers, pooling = noise(2), ["top", "C1", "C3"], ("max", "avg")
    deep = DeepFeatures(**SMALL, layers=layers, pooling=pooling)
    rows, names = deep.transform(images), deep.get_feature_names_out()
    assert rows.shape == (2, 2 * (128 + 16 + 64)) == (2, len(set(names)))
    singles = [
        DeepFeatures(**SMALL, layers=layer, pooling=name) for layer in layers for name in pooling
    ]
    assert_rows_equal(rows, np.hstack([single.transform(images) for single in singles]))
    expected = np.concatenate([single.get_feature_names_out() for single in singles])
    assert names.tolist() == expected.tolist()


def test_several_layers_and_poolings_need_one_pass(monkeypatch):
    passes, run = [], _engines.KerasEngine.run

    def count(engine, pixels, *others):
        passes.append(len(pixels))
        return run(engine, pixels, *others)

    monkeypatch.setattr(_engines.KerasEngine, "run", count)
    DeepFeatures(**SMALL, layers=["top", "C1", "C3"], pooling=["max", "avg"]).transform(noise(5))
    assert passes == [5]


def test_equal_estimators_share_one_network():
    _engines._load_engine.cache_clear()
    images = noise(3)
    first = DeepFeatures(**SMALL).fit(images)
    expected = first.transform(images)
    pickled = pickle.dumps(first)
    assert len(pickled) < 1_000
    for other in (clone(first), pickle.loads(pickled), DeepFeatures(**SMALL, batch_size=2)):
        assert_rows_equal(other.transform(images), expected)
    DeepFeatures(**SMALL, layers="C4").get_feature_names_out()
    assert _engines._load_engine.cache_info().misses == 2


def test_random_weights_follow_the_seed(trained):
    images = noise(1)
    first, same, other = (
        DeepFeatures(**SMALL, random_state=seed).transform(images) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 0.1
    keys = {
        fingerprint(DeepFeatures(**trained, input_size=32, random_state=seed)) for seed in (0, 1)
    }
    assert len(keys) == 1


def test_a_changed_weights_file_is_noticed(tmp_path):
    path = tmp_path / "base.weights.h5"
    deep = DeepFeatures("small_cnn", layers="C2", weights=path, input_size=32)
    rows = []
    for seed in (0, 1, 0):
        KerasApplication("small_cnn", (32, 32), random_state=seed).build().save_weights(path)
        rows.append(deep.transform(noise(1)))
    assert np.abs(rows[0] - rows[1]).max() > 0.1
    np.testing.assert_array_equal(rows[0], rows[2])
    network = replace(deep._network(), layers=("C1",))
    path.write_bytes(path.read_bytes() + b"0")  # after its digest was taken
    with pytest.raises(ValueError, match="small_cnn has changed since fit"):
        load_engine(network)


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


def test_errors_name_the_image():
    with pytest.raises(ValueError, match="image 3: found transparent pixels"):
        DeepFeatures(**SMALL, batch_size=2).transform([*noise(3), np.zeros((32, 32, 4), np.uint8)])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"backbone": "vgg"}, "backbone is 'vgg'.*'vgg1"),
        ({"backbone": 3}, "backbone is 3"),
        ({"backbone_options": {"alpha": 1}}, "'alpha'.* vgg16"),
        ({"backbone": "mobilenet", "backbone_options": {"pooling": "avg"}}, "'alpha'.* mobilenet"),
        ({"pooling": "cls"}, "pooling has 'cls'"),
        ({"preprocessing": "tf"}, "preprocessing is 'tf'.* vgg16"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"n_prefix_tokens": 1}, "n_prefix_tokens is 1.* vgg16"),
        ({"layers": ["top", "block5_pool"]}, "layers is .*'block5_pool'.* vgg16"),
        ({"backbone": "small_cnn", "weights": "imagenet"}, "weights is 'imagenet'.* small_cnn"),
    ],
)
def test_parameters_are_checked_without_a_network(parameters, message):
    deep = DeepFeatures(**{"weights": None} | parameters)
    for method in (deep.fit, deep.transform):
        with pytest.raises(InvalidParameterError, match=message):
            method(["no such file.png"])
    with pytest.raises(FileNotFoundError, match="weights is 'no/such.weights.h5'"):
        DeepFeatures(weights="no/such.weights.h5").fit(noise(1))


def own_model(size=32, seed=0):
    """Return a small network with its classifier, and its layer of 8 x 8 x 6."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = keras.Input((size, size, 3))
    maps = layers.Conv2D(4, 3, 2, padding="same", activation="relu", name="shallow")(inputs)
    maps = layers.Conv2D(6, 3, 2, padding="same", activation="relu", name="deeper")(maps)
    outputs = layers.Dense(2, name="classes")(layers.GlobalAveragePooling2D()(maps))
    return keras.Model(inputs, outputs, name="own"), keras.Model(inputs, maps)


def test_a_model_of_ones_own(tmp_path):
    import keras

    model, maps = own_model()
    images = noise(3, (32, 32))
    expected = maps.predict_on_batch(np.repeat(images[..., None], 3, axis=3) / 127.5 - 1)
    deep = DeepFeatures(model, preprocessing="tf", layers=["C1", "top"])
    rows = deep.fit_transform(images)
    assert_rows_equal(rows[:, 4:], expected.mean((1, 2)))
    assert deep.get_feature_names_out()[[0, 9]].tolist() == ["own_C1_avg_0000", "own_top_avg_0005"]
    # Inside another model, as its first layer.
    whole = keras.Sequential([keras.Input((32, 32, 3)), maps, keras.layers.Flatten()])
    for named in ("top", maps.name):
        nested = DeepFeatures(whole, preprocessing="tf", layers=named)
        assert_rows_equal(nested.transform(images), rows[:, 4:])
    named = DeepFeatures(model, preprocessing="tf", layers=["shallow", "deeper"])
    assert_rows_equal(named.transform(images), rows)
    with pytest.raises(ValueError, match="layers has 'classes', .* feature map"):
        DeepFeatures(model, preprocessing="tf", layers="classes").transform(images)
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


def test_copies_of_a_model_share_one_network():
    model, _ = own_model()
    deep = DeepFeatures(model, preprocessing="none")
    rows, params = deep.fit_transform(noise(2)), deep._fingerprint_params()
    misses = _engines._load_engine.cache_info().misses
    for copy in (clone(deep), pickle.loads(pickle.dumps(deep))):
        np.testing.assert_array_equal(copy.transform(noise(2)), rows)
        assert copy._fingerprint_params() == params
    assert _engines._load_engine.cache_info().misses == misses


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
    np.testing.assert_array_equal(late.transform(images), rows)  # the engine is in memory
    with pytest.raises(ValueError, match="own has changed since fit"):
        pickle.loads(pickle.dumps(late)).transform(images)
    assert np.abs(fitted.fit(images).transform(images) - rows).max() > 0.1


def test_one_resolution_in_fit_and_none_in_a_warm_transform(monkeypatch):
    images, found, find = noise(3), [], _deep.find_source
    monkeypatch.setattr(_deep, "find_source", lambda **kwargs: found.append(1) or find(**kwargs))
    deep = DeepFeatures(**SMALL).fit(images)
    rows, key = deep.transform(images), fingerprint(deep)
    assert (deep.get_feature_names_out().size, len(found)) == (rows.shape[1], 1)
    clone(deep).fit(images)
    assert len(found) == 2
    with pytest.raises(InvalidParameterError, match="pooling is 'sum'"):
        deep.set_params(pooling="sum").transform(images)
    deep.set_params(pooling="max")
    assert fingerprint(deep) != key
    assert (deep.transform(images) >= rows).all()
    with pytest.raises(ValueError, match="another preprocessing or input size than in fit"):
        deep.set_params(input_size=96).transform(images)


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


def test_models_that_cannot_be_used(tmp_path):
    import keras

    images, tf = noise(1), {"preprocessing": "tf"}
    gray = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 1)], name="gray")
    gray.save(tmp_path / "gray.keras")
    for backbone in (gray, tmp_path / "gray.keras"):
        with pytest.raises(ValueError, match=r"'gray'.*\(None, 8, 8, 1\)"):
            DeepFeatures(backbone, **tf).fit(images)
    with pytest.raises(FileNotFoundError, match="'no.keras'"):
        DeepFeatures("no.keras", **tf).fit(images)
    (tmp_path / "bad.keras").write_bytes(b"text")
    with pytest.raises(ValueError, match="bad.keras'"):
        DeepFeatures(tmp_path / "bad.keras", **tf).fit(images)
    layers = [keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: 2 * x)]
    keras.Sequential([*layers, keras.layers.Conv2D(1, 1)]).save(tmp_path / "code.keras")
    with pytest.raises(ValueError, match="code.keras'.* Lambda"):  # no code of a file is run
        DeepFeatures(tmp_path / "code.keras", **tf).transform(images)
