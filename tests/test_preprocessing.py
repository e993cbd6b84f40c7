"""The preprocessing of networks: numbers, files of other libraries, and ways to resize."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone

from featbus import DeepFeatures
from featbus.bus import fingerprint
from featbus.masks import fill_mask, inside_mask, with_mask
from featbus.networks import NAMED, as_preprocessing
from featbus.parameters import InvalidParameterError
from featbus.resizing import resize

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CLIP = {"mean": MEAN, "std": STD, "scale": 1 / 255}
TRANSFORMERS = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": list(MEAN),
    "image_processor_type": "CLIPImageProcessor",
    "image_std": list(STD),
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}
TIMM = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
    "mean": list(MEAN),
    "std": list(STD),
}
FILES = {
    "preprocessor_config.json": TRANSFORMERS,
    "processor_config.json": {"processor_class": "CLIPProcessor", "image_processor": TRANSFORMERS},
    "config.json": {"architecture": "vit_small_patch14_dinov2", "pretrained_cfg": TIMM},
    "old_config.json": {"architecture": "vit_small_patch14_dinov2", **TIMM},
    "open_clip_config.json": {"model_cfg": {}, "preprocess_cfg": {"mean": MEAN, "std": STD}},
    "own.json": CLIP | {"resize": "bicubic"},
}


def write(folder, config, name="preprocessor_config.json"):
    path = folder / name
    path.write_text(json.dumps(config))
    return path


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_a_dict_is_a_formula():
    pixels = noise(2, 5, 4, 3)
    values = as_preprocessing(CLIP)(pixels)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, (pixels / 255 - MEAN) / STD, atol=1e-5)
    bgr = as_preprocessing(CLIP | {"channels": "bgr"})(pixels)
    np.testing.assert_allclose(bgr, (pixels[..., ::-1] / 255 - MEAN) / STD, atol=1e-5)
    gray = as_preprocessing({"mean": 0.2, "std": 4, "scale": 2, "channels": "gray"})(pixels)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(gray, ((luma * 2 - 0.2) / 4)[..., None], rtol=1e-5)


def test_names_are_the_same_formula():
    torch = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "scale": 1 / 255}
    pixels = noise(4, 4, 3)
    np.testing.assert_allclose(NAMED["torch"](pixels), as_preprocessing(torch)(pixels), atol=1e-5)
    assert as_preprocessing({"mean": 127.5, "std": 127.5, "scale": 1}) == NAMED["tf"]
    assert as_preprocessing(NAMED["caffe"]) is NAMED["caffe"]
    assert as_preprocessing({"mean": 0, "std": 1, "scale": 1}) == as_preprocessing("none")


def assert_same(found, expected):
    expected = as_preprocessing(expected)
    np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-14)
    assert found.identity | {"scale": 0} == expected.identity | {"scale": 0}


@pytest.mark.parametrize("name", FILES)
def test_files_of_other_libraries(name, tmp_path):
    path = write(tmp_path, FILES[name], name)
    for value in (path, str(path)):
        assert_same(as_preprocessing(value), CLIP | {"resize": "bicubic"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resample": 2}, CLIP | {"resize": "bilinear"}),
        ({"rescale_factor": 0.5}, CLIP | {"scale": 0.5, "resize": "bicubic"}),
    ],
)
def test_switches_of_transformers(changes, expected, tmp_path):
    assert_same(as_preprocessing(write(tmp_path, TRANSFORMERS | changes)), expected)


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        (None, "None"),
        ("torhc", "torhc"),
        ("imagenet", "'torch' is .* of ImageNet, as timm"),
        (3, "3"),
        ({}, "'mean', 'scale', 'std'"),
        ({"mean": 0, "std": 1}, "scale"),
        *((CLIP | {key: 1}, str(key)) for key in ("sdt", 5)),
        (CLIP | {"channels": "rbg"}, "channels"),
        (CLIP | {"resize": "nearest"}, "nearest"),
        (CLIP | {"channels": "gray"}, "mean"),
        *(
            (CLIP | {"mean": value}, "mean")
            for value in ((0.5, 0.5), "half", None, [[1], [2, 3]], True, np.nan)
        ),
        *((CLIP | {"std": value}, "std") for value in ([True, 1, 1], (1, 0, 1))),
        *((CLIP | {"scale": value}, "scale") for value in (0, (1, 1, 1))),
    ],
)
def test_what_is_refused(value, fact):
    with pytest.raises(InvalidParameterError, match=rf"preprocessing.*{fact}"):
        as_preprocessing(value)


@pytest.mark.parametrize(
    ("config", "fact"),
    [
        ([1, 2], "list"),
        ({"model_type": "vit"}, "mean"),
        (TRANSFORMERS | {"image_mean": None}, "None"),
        (TRANSFORMERS | {"resample": 0}, "0"),
        (TRANSFORMERS | {"do_flip_channel_order": True}, "do_flip_channel_order"),
        (TRANSFORMERS | {"do_rescale": False}, "do_rescale"),
        (TRANSFORMERS | {"rescale_offset": True}, "rescale_offset"),
        (TRANSFORMERS | {"image_std": [1, 2]}, "std"),
        ({"pretrained_cfg": TIMM | {"interpolation": "random"}}, "random"),
        ({"preprocess_cfg": {"mean": 0.5}}, "std"),
        *(
            (TRANSFORMERS | {"image_processor_type": None, key: processor}, processor)
            for key in ("image_processor_type", "feature_extractor_type")
            for processor in ("EfficientNetImageProcessor", "MobileViTImageProcessorFast")
        ),
    ],
)
def test_files_that_are_refused(config, fact, tmp_path):
    path = write(tmp_path, config)
    with pytest.raises(InvalidParameterError, match=f"is the file '.*_config.json'.*{fact}"):
        as_preprocessing(path)


def test_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.json"):
        as_preprocessing(tmp_path / "no.json")
    path = tmp_path / "config.json"
    for content in (b"{", b"[" * 100_000, b"\xff\xfe\xfd"):
        path.write_bytes(content)
        with pytest.raises(InvalidParameterError, match=r"config.json"):
            as_preprocessing(path)
    with pytest.raises(InvalidParameterError, match="preprocessing is"):
        as_preprocessing(tmp_path)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(17, 30), (40, 9)])
def test_resize_is_that_of_pillow(method, size):
    image = noise(31, 23)
    pillow = Image.fromarray(np.float32(image) / 255)
    expected = np.clip(pillow.resize(size[::-1], getattr(Image.Resampling, method.upper())), 0, 1)
    np.testing.assert_allclose(resize(image, size, np.float32, method), expected, atol=1e-6)
    whole = resize(np.dstack([image] * 3), size, method=method)
    np.testing.assert_allclose(whole, 255 * np.dstack([expected] * 3), atol=0.501)
    assert whole.dtype == np.uint8
    assert resize(image > 99, size, method=method).dtype == bool


@pytest.mark.parametrize("method", ["area", "bilinear", "bicubic"])
def test_only_pixels_inside_the_mask_count(method):
    inside = np.zeros((40, 40), bool)
    inside[5:30, 8:26] = inside[36, 36] = True
    pixels = noise(40, 40, 3) / np.float32(255)
    one, two = (
        resize(with_mask(values, inside), (17, 41), np.float32, method)
        for values in (pixels, np.where(inside[..., None], pixels, np.float32([np.nan, 1, 0.5])))
    )
    np.testing.assert_array_equal(inside_mask(one), inside_mask(two))
    np.testing.assert_array_equal(fill_mask(one), fill_mask(two))
    assert 0.2 < inside_mask(one).mean() < 0.4
    assert fill_mask(one).max() <= 1


def features(channels, preprocessing):
    """Return the features of a model that gives its input back."""
    import keras

    inputs = keras.Input((8, 8, channels))
    model = keras.Model(inputs, keras.layers.Activation("linear", name="same")(inputs))
    return DeepFeatures(model, layers="same", pooling="flatten", preprocessing=preprocessing)


@pytest.mark.network
def test_a_model_sees_these_values(tmp_path):
    images = noise(2, 8, 8, 3)
    deep = features(3, CLIP)
    rows = deep.fit_transform(images)
    np.testing.assert_allclose(rows, ((images / 255 - MEAN) / STD).reshape(2, -1), atol=1e-5)
    larger = noise(1, 20, 12, 3)
    deep.set_params(preprocessing=write(tmp_path, TRANSFORMERS))
    resized = resize(larger[0], (8, 8), np.float64, "bicubic")
    expected = ((resized - MEAN) / STD).reshape(1, -1)
    np.testing.assert_allclose(deep.fit_transform(larger), expected, atol=1e-5)
    gray = {"mean": 0.5, "std": 0.5, "scale": 1 / 255, "channels": "gray"}
    rows = features(1, gray).fit_transform(images[..., 0])
    np.testing.assert_allclose(rows, (images[..., 0] / 127.5 - 1).reshape(2, -1), atol=1e-5)
    with pytest.raises(InvalidParameterError, match=r"shape \(images, height, width, 1\)"):
        features(3, gray).fit(images)


@pytest.mark.network
def test_the_content_of_a_file_counts(tmp_path):
    deep = features(3, write(tmp_path, TRANSFORMERS))
    same = fingerprint(deep)
    assert fingerprint(clone(deep)) == fingerprint(pickle.loads(pickle.dumps(deep))) == same
    as_dict = as_preprocessing(deep.preprocessing).identity
    assert fingerprint(clone(deep).set_params(preprocessing=as_dict)) == same
    for changes, is_same in (
        ({"size": 1}, True),
        ({"resample": 2}, False),
        ({"image_mean": 0}, False),
    ):
        write(tmp_path, TRANSFORMERS | changes)
        assert (fingerprint(deep) == same) == is_same


@pytest.mark.parametrize(
    "value", [*NAMED, {"mean": 0.4, "std": 0.2, "scale": 1 / 255, "channels": "gray"}]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_values_are_those_of_the_formula_to_the_last_bit(value, dtype):
    preprocessing = as_preprocessing(value)
    pixels = noise(2, 5, 7, 1).astype(dtype)
    mean, std = (
        np.float32(np.divide(numbers, preprocessing.scale))
        for numbers in (preprocessing.mean, preprocessing.std)
    )
    expected = (np.float32(pixels) - mean) / std
    # A gray image stands for three equal channels.
    np.testing.assert_array_equal(preprocessing(pixels), expected)
    np.testing.assert_array_equal(preprocessing(np.repeat(pixels, 3, axis=3)), expected)
    out = np.full_like(expected, np.nan)
    assert preprocessing(pixels, out=out) is out
    np.testing.assert_array_equal(out, expected)
