"""Features of frozen networks."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import skimage.data
from _data import data_dir
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from featbus import DeepFeatures, Resize
from featbus.images import with_mask
from featbus.networks import Network, _engines, build_base

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


@pytest.mark.network
def test_reference_values(trained):
    with open(data_dir("weights") / "reference.json") as file:
        reference = json.load(file)
    rows = DeepFeatures(**trained).transform(skimage.data.astronaut()[np.newaxis])
    assert rows.shape == (1, 1280)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows[0, :8], reference["pooled_first_8"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(rows.mean(), reference["pooled_mean"], rtol=1e-3)
    assert rows.argmax() == reference["pooled_max_channel"]
    np.testing.assert_allclose(rows.max(), reference["pooled_max"], rtol=1e-3)


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
def test_images_of_any_kind():
    """The same picture gives the same row, whatever its container, dtype and channels."""
    gray = noise(1, (32, 32))[0]
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
def test_colours_keep_their_order():
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[..., 0] = 255
    deep = DeepFeatures(**SMALL, layers="block1_conv1")
    assert np.abs(deep.transform(red) - deep.transform(red[..., ::-1])).max() > 1


@pytest.mark.network
def test_images_are_resized_as_resize_does():
    images = noise(2, (50, 70)) // 2
    size = (48, 40)
    deep = DeepFeatures(weights=None, input_size=size)
    assert_rows_equal(make_pipeline(Resize(size), deep).transform(images), deep.transform(images))


@pytest.mark.network
def test_a_mask_is_filled():
    image = noise(1)[0]
    inside = np.zeros(image.shape, bool)
    inside[5:30, 4:28] = True
    deep = DeepFeatures(**SMALL)
    for fill in (0, 200):
        filled = np.where(inside, image, fill).astype(np.uint8)
        masked = with_mask(image, inside, fill)
        assert_rows_equal(deep.transform([masked]), deep.transform([filled]))


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
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_changed_weights_file_is_noticed(tmp_path):
    path = tmp_path / "base.weights.h5"
    deep = DeepFeatures(layers="C2", weights=path, input_size=32)
    rows = []
    for seed in (0, 1, 0):
        build_base(Network("vgg16", (32, 32), random_state=seed)).save_weights(path)
        rows.append(deep.transform(noise(1)))
    assert np.abs(rows[0] - rows[1]).max() > 0.1
    np.testing.assert_array_equal(rows[0], rows[2])


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
    with pytest.raises(ValueError, match="image 3: the image has transparent pixels"):
        DeepFeatures(**SMALL, batch_size=2).transform([*noise(3), glass])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"backbone": "vgg"}, "backbone is 'vgg', expected one of .* Did you mean 'vgg1"),
        ({"backbone_options": {"alpha": 1}}, r"backbone_options has \['alpha'\]"),
        ({"layers": []}, r"layers is \[\], expected 'top', a stage"),
        ({"layers": 3}, "layers is 3, expected 'top'"),
        ({"layers": ["top", None]}, "layers is .* expected 'top'"),
        ({"pooling": "gem"}, r"pooling is 'gem', expected one of \['avg', 'max'\]"),
        ({"pooling": ["avg", "avg"]}, "pooling is .* a sequence of different ones"),
        ({"pooling": ()}, "pooling is \\(\\), expected"),
        ({"input_size": 0}, "input_size is 0, expected a positive number of pixels"),
        ({"input_size": (224, 224, 3)}, "input_size is .*, expected a positive"),
        ({"input_size": "224"}, "input_size is '224', expected a positive"),
        ({"batch_size": 0}, "batch_size is 0, expected a positive integer"),
        ({"batch_size": 2.5}, "batch_size is 2.5, expected a positive integer"),
        ({"random_state": None}, "random_state is None, expected an integer"),
        ({"dtype": np.float16}, "dtype is .*float16.*, expected numpy.float32"),
    ],
)
def test_parameters_are_checked_without_a_network(parameters, message):
    deep = DeepFeatures(**{"weights": None} | parameters)
    for method in (deep.fit, deep.transform):
        with pytest.raises(ValueError, match=message):
            method(noise(1))


def test_weights_are_checked_without_a_network():
    with pytest.raises(FileNotFoundError, match="weights is 'no/such.weights.h5', .* no such file"):
        DeepFeatures(weights="no/such.weights.h5").fit(noise(1))
    with pytest.raises(TypeError, match="weights is True, expected 'imagenet', None or the path"):
        DeepFeatures(weights=True).fit(noise(1))


@pytest.mark.network
def test_an_unknown_layer():
    deep = DeepFeatures(**SMALL, layers=["C4", "block5_conv4"])
    with pytest.raises(ValueError, match="vgg16 has no layer 'block5_conv4'.*'block5_conv3'"):
        deep.transform(noise(1))
