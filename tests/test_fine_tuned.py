"""Features of networks that learn from the training images."""

import pickle
import re

import cv2
import numpy as np
import pytest
from _adapters import find_failed_checks, from_rows
from _data import data_dir
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featbus import DeepFeatures, FeatureBus, FineTunedFeatures
from featbus.augmentation import Augmentation
from featbus.bus import fingerprint
from featbus.feature_extraction import _training
from featbus.feature_extraction._training import Training
from featbus.images import ImageError
from featbus.masks import with_mask
from featbus.networks import build_maps
from featbus.parameters import InvalidParameterError

pytestmark = [pytest.mark.network, pytest.mark.filterwarnings("ignore:Even though the `tf.config")]


def diagonals(n_images=80, seed=0):
    """Return images of noise, and which way a faint texture in them leans."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_images) % 2
    noise, strokes = rng.normal(size=(2, n_images, 32, 32))
    kernel = np.eye(5) / 5
    texture = [cv2.filter2D(x, -1, kernel if k else kernel[::-1]) for x, k in zip(strokes, y)]
    gain = rng.uniform(15, 45, (n_images, 1, 1))
    return np.clip(128 + gain * (noise + 2 * np.stack(texture)), 0, 255).astype(np.uint8), y


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Return the parameters of a network of three stages that saw no images yet."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = maps = keras.Input((32, 32, 3))
    for stage, width in enumerate((8, 12, 16), 1):
        convolution = layers.Conv2D(width, 3, 2, "same", use_bias=False, name=f"conv_{stage}")
        normalization = layers.BatchNormalization(name=f"bn_{stage}")
        maps = layers.ReLU(name=f"relu_{stage}")(normalization(convolution(maps)))
    path = tmp_path_factory.mktemp("networks") / "tiny.keras"
    keras.Model(inputs, maps).save(path)
    return {"backbone": path, "preprocessing": "tf"}


@pytest.fixture(scope="module")
def quick(network):
    """Return parameters that let a network learn in seconds; a mirror image leans the other way."""
    return network | {"unfreeze": "all", "learning_rate": 0.003, "augmentation": False}


@pytest.fixture(scope="module")
def learned(quick):
    images, y = diagonals()
    return FineTunedFeatures(**quick).fit(images, y)


def copy_learned(tuned, **changes):
    """Return a copy with other parameters or attributes, without a new training."""
    copy = clone(tuned)
    vars(copy).update({k: v for k, v in vars(tuned).items() if k.endswith("_")} | changes)
    return copy


def test_it_learns_what_frozen_features_do_not_show(network, learned):
    images, y = diagonals()
    others, their_y = diagonals(200, seed=1)
    areas = []
    for features in (DeepFeatures(**network), FrozenEstimator(learned)):
        classifier = make_pipeline(features, StandardScaler(), LogisticRegression()).fit(images, y)
        areas.append(roc_auc_score(their_y, classifier.decision_function(others)))
    assert areas[0] < 0.75
    assert areas[1] > 0.9
    assert learned.classes_.tolist() == [0, 1]
    assert learned.n_samples_ == 80
    assert learned.losses_.shape == (1, learned.epochs)
    assert learned.losses_[0, -1] < learned.losses_[0, 0] / 2


def test_rows_of_images_and_their_mirror_images(learned):
    images, _ = diagonals(6)
    inside = np.zeros((32, 32), bool)
    inside[4:30, 2:20] = True
    masked = [*images[:4], with_mask(images[4], inside), with_mask(images[5], inside)]
    flipped = copy_learned(learned, flip=True)
    plain, mirrored = (
        learned.transform(batch) for batch in (masked, [image[:, ::-1] for image in masked])
    )
    rows = flipped.transform(masked)
    np.testing.assert_allclose(rows, (plain + mirrored) / 2, rtol=1e-5, atol=1e-6)
    assert np.abs(plain - mirrored).max() > 0.01
    assert fingerprint(flipped) != fingerprint(learned)


def test_rows_are_the_mean_of_those_of_the_members(eager, quick):
    images, y = diagonals(12)
    tuned = FineTunedFeatures(**quick, epochs=1, n_members=2, batch_size=6).fit(images, y)
    parts = [
        copy_learned(tuned, weights_={k: v[[number]] for k, v in tuned.weights_.items()})
        for number in range(2)
    ]
    rows = [part.transform(images) for part in parts]
    assert np.abs(rows[0] - rows[1]).max() > 0.001
    np.testing.assert_allclose(tuned.transform(images), np.mean(rows, axis=0), atol=1e-5)
    assert len({fingerprint(one) for one in (tuned, *parts)}) == 3


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_training_that_diverges_is_an_error(quick):
    hasty = FineTunedFeatures(**quick | {"epochs": 3, "learning_rate": 1e30})
    with pytest.raises(ValueError, match="diverged in epoch"):
        hasty.fit(*diagonals(40))


@pytest.mark.slow
def test_an_interrupted_fit_changes_nothing(quick, monkeypatch):
    images, y = diagonals(12)
    tuned = FineTunedFeatures(**quick, epochs=2).fit(images, y)
    before, rows = dict(vars(tuned)), tuned.transform(images)
    end_epoch = Training._end_epoch

    def end_one_epoch(self, epoch, loss):
        if self.losses:
            raise KeyboardInterrupt
        end_epoch(self, epoch, loss)

    monkeypatch.setattr(Training, "_end_epoch", end_one_epoch)
    new = clone(tuned)
    for one in (tuned, new):
        with pytest.raises(KeyboardInterrupt):
            one.fit(images[:10], 1 - y[:10])
    with pytest.raises(NotFittedError):
        new.transform(images)
    assert vars(tuned).keys() == before.keys()
    assert all(vars(tuned)[name] is value for name, value in before.items())
    np.testing.assert_array_equal(tuned.transform(images), rows)


def test_weights_of_one_name_are_refused():
    import keras

    def block(name):
        return keras.Sequential([keras.layers.Conv2D(4, 3, 2, name="conv")], name=name)

    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, block("second")(block("first")(inputs)))
    tuned = FineTunedFeatures(model, preprocessing="tf", unfreeze="all", epochs=1)
    with pytest.raises(InvalidParameterError, match="several weights of the name .*conv"):
        tuned.fit(*diagonals(8))


@pytest.mark.parametrize(("stage", "first"), [("C3", 3), (None, 4)])
def test_only_layers_after_the_previous_stage_are_trained(quick, stage, first):
    images, y = diagonals(12)
    layers = ["relu_1", "relu_2", "relu_3"]
    tuned = FineTunedFeatures(**quick | {"unfreeze": stage, "layers": layers}, epochs=1)
    rows = tuned.fit(images, y).transform(images)
    names = "conv_3/kernel", "bn_3/gamma", "bn_3/beta"
    assert set(tuned.weights_) == set(names if first == 3 else ())
    frozen = DeepFeatures(quick["backbone"], preprocessing="tf", layers=layers).transform(images)
    kept = 8 + 12 + 16 * (first > 3)
    np.testing.assert_allclose(rows[:, :kept], frozen[:, :kept], rtol=1e-5, atol=1e-6)
    assert first > 3 or np.abs(rows - frozen)[:, kept:].max() > 0.001


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        # The network ends before that stage.
        ({"unfreeze": "C5"}, "unfreeze is 'C5', and tiny has no weights between"),
        ({"class_weight": {0: 1, 1: -1}}, "class_weight is .* expected finite"),
        ({"class_weight": {0: 0, 1: 0}}, "class_weight is .* expected finite"),
        ({"checkpoint": __file__}, "checkpoint is '.*py', expected a folder"),
    ],
)
def test_parameters_that_do_not_suit_the_data(quick, parameters, message):
    with pytest.raises(ValueError, match=message):
        FineTunedFeatures(**quick | parameters).fit(*diagonals(8))


def test_statistics_of_batch_normalization_stay(learned):
    """The network with its own statistics and the learned weights gives the rows."""
    model = build_maps(DeepFeatures(learned.backbone, preprocessing="tf")._network())
    for variable in model.variables:
        if variable.path in learned.weights_:
            variable.assign(learned.weights_[variable.path][0])
    images, _ = diagonals(4)
    pixels = np.repeat(images[..., np.newaxis], 3, axis=3).astype(np.float32) / 127.5 - 1
    expected = np.asarray(model.predict_on_batch(pixels)).mean((1, 2))
    np.testing.assert_allclose(learned.transform(images), expected, rtol=1e-4, atol=1e-5)
    assert not any("moving" in path for path in learned.weights_)


def test_the_same_seed_gives_the_same_weights(quick):
    images, y = diagonals(12)
    tuned = FineTunedFeatures(**quick | {"augmentation": None}, epochs=2, batch_size=6)
    first, second, other = (
        clone(tuned).set_params(random_state=seed).fit(images, y).weights_ for seed in (0, 0, 1)
    )
    for path, weights in first.items():
        np.testing.assert_array_equal(second[path], weights)
    assert any(np.abs(other[path] - weights).max() > 0 for path, weights in first.items())


def test_images_change_anew_in_each_epoch(eager, quick, monkeypatch):
    images, y = diagonals(20)
    seen = []

    def spy(image, rng, augmentation):
        seen.append((image.tobytes(), rng.random(), augmentation))
        return image

    monkeypatch.setattr(_training, "augment", spy)
    FineTunedFeatures(**quick | {"augmentation": None}, epochs=2, n_members=2).fit(images, y)
    assert len(seen) == 4 * 20 == len({draw for _, draw, _ in seen})
    everything = {image.tobytes() for image in images}
    orders = [[image for image, *_ in seen[start : start + 20]] for start in range(0, 80, 20)]
    assert all(set(order) == everything for order in orders)
    assert len(set(map(tuple, orders))) == 4
    assert {augmentation for *_, augmentation in seen} == {Augmentation()}


def test_weights_are_the_mean_of_the_last_quarter(eager, quick, monkeypatch):
    images, y = diagonals(4)
    seen, end_epoch = [], Training._end_epoch

    def spy(self, epoch, loss):
        seen.append({one.path: one.numpy().copy() for one in self._learning})
        end_epoch(self, epoch, loss)

    monkeypatch.setattr(Training, "_end_epoch", spy)
    tuned = FineTunedFeatures(**quick, epochs=8, n_members=2).fit(images, y)
    for path, weights in tuned.weights_.items():
        for found, last in zip(weights, (seen[6:8], seen[14:16])):
            np.testing.assert_allclose(
                found, np.mean([one[path] for one in last], axis=0), atol=1e-6
            )


def test_losses_at_no_speed(eager, quick):
    """Training sees the network as in inference, and counts every image as much as any other."""
    images, y = diagonals(21)
    tuned = FineTunedFeatures(**quick | {"learning_rate": 1e-12, "class_weight": None}, epochs=2)
    rows = tuned.fit(images, y).transform(images)
    frozen = DeepFeatures(quick["backbone"], preprocessing="tf")
    np.testing.assert_allclose(rows, frozen.transform(images), rtol=1e-4, atol=1e-6)
    variance = rows.var(axis=0)
    rows = (rows - rows.mean(axis=0)) / np.sqrt(variance + variance.mean())
    classifier = LogisticRegression(C=1 / rows.shape[1], max_iter=1000).fit(rows, y)
    np.testing.assert_allclose(
        tuned.losses_, log_loss(y, classifier.predict_proba(rows)), rtol=1e-3
    )


@pytest.mark.slow
def test_class_weights(eager, quick):
    """The rarer class weighs as much as the other one."""
    images, y = diagonals(16)
    y[:6] = 0
    slow = quick | {"learning_rate": 1e-12, "epochs": 1}
    balanced, named, plain = (
        FineTunedFeatures(**slow, class_weight=weight).fit(images, y).losses_[0, 0]
        for weight in ("balanced", dict(enumerate(len(y) / 2 / np.bincount(y))), None)
    )
    assert balanced == pytest.approx(named, rel=1e-4)
    assert balanced != pytest.approx(plain, rel=0.01)


@pytest.mark.slow
def test_pixels_outside_the_region_matter_neither_for_training_nor_for_rows(quick):
    images, y = diagonals(12)
    inside = np.zeros((32, 32), bool)
    inside[8:24, 8:32] = True
    other = np.where(inside, images, 255 - images).astype(np.uint8)
    rows = []
    for batch in (images, other):
        masked = [with_mask(image, inside) for image in batch[:-1]] + [images[-1]]
        tuned = FineTunedFeatures(**quick | {"augmentation": None}, epochs=1)
        rows.append(tuned.fit(masked, y).transform(masked))
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-4, atol=1e-6)
    assert np.abs(rows[0] - tuned.transform(images)).max() > 0.01


def test_pickles_and_columns_of_a_learned_network(network, learned):
    images, _ = diagonals(6)
    names = learned.get_feature_names_out().tolist()
    assert names == DeepFeatures(**network).get_feature_names_out().tolist()
    assert copy_learned(learned, dtype=np.float64).transform(images).dtype == np.float64
    pickled = pickle.dumps(learned)
    assert len(pickled) < 4 * sum(weight.size for weight in learned.weights_.values()) + 10_000
    copy = pickle.loads(pickled)
    np.testing.assert_array_equal(copy.transform(images), learned.transform(images))
    assert fingerprint(copy) == fingerprint(learned)


@pytest.mark.slow
def test_folds_share_no_rows(quick, tmp_path):
    """Each fold has its own network; a bus that keeps rows must not mix them up."""
    images, y = diagonals(18)
    memory = tmp_path / "rows.sqlite"
    tuned = FineTunedFeatures(**quick, epochs=1)
    parts = slice(0, 12), slice(6, 18), slice(0, 12)
    first, second, again = (FeatureBus(tuned, memory=memory).fit(images[p], y[p]) for p in parts)
    keys = [fingerprint(bus.transformer_) for bus in (first, second, again)]
    assert keys[0] == keys[2] != keys[1]
    for bus in (first, second):
        np.testing.assert_array_equal(bus.transform(images), bus.transformer_.transform(images))
    assert np.abs(first.transform(images) - second.transform(images)).max() > 0.001


def test_another_network_than_in_fit_is_an_error(quick, tmp_path):
    import keras

    path = tmp_path / "tiny.keras"
    path.write_bytes(quick["backbone"].read_bytes())
    images, y = diagonals(12)
    tuned = FineTunedFeatures(**quick | {"backbone": path}, epochs=1).fit(images, y)
    copy = pickle.loads(pickle.dumps(tuned))
    model = keras.models.load_model(path)
    model.set_weights([2 * weight for weight in model.get_weights()])
    model.save(path)
    with pytest.raises(ValueError, match="network tiny has changed since fit"):
        copy.transform(images)
    changed = copy_learned(tuned, backbone=quick["backbone"], preprocessing="caffe")
    with pytest.raises(ValueError, match="another preprocessing"):
        changed.transform(images)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"flip": True, "pooling": ["avg", "max2x2"]}, "flip is True.* 'max2x2'"),
        ({"batch_size": "auto"}, "batch_size is 'auto'"),
        ({"auxiliary": 4, "unfreeze": None}, "auxiliary is 4, unfreeze is None"),
        ({"auxiliary": 4, "layers": "relu_2"}, "auxiliary is 4, .* layers is 'relu_2'"),
        ({"backbone": "small_cnn", "preprocessing": "tf"}, "preprocessing is 'tf'.* small_cnn"),
        (
            {"augmentation": Augmentation(dihedral=True), "input_size": (64, 96)},
            r"dihedral=True, .*\(64, 96\)",
        ),
    ],
)
def test_parameters_are_checked(parameters, message):
    tuned = FineTunedFeatures(**{"weights": None} | parameters)
    with pytest.raises(InvalidParameterError, match=message):
        tuned.fit(["no such file.png", "nor such.png"], [0, 1])
    with pytest.raises(InvalidParameterError, match=message):
        tuned.transform(["no such file.png"])


@pytest.mark.parametrize("y", [None, [1] * 6, [0, 1] * 2])
def test_bad_classes_and_images(quick, y):
    images = [*diagonals(5)[0], np.full((32, 32), np.nan)]
    with pytest.raises(ValueError, match="y is None|class|inconsistent"):
        FineTunedFeatures(**quick).fit(images, y)
    with pytest.raises(ImageError, match="image 5: .*NaN"):
        FineTunedFeatures(**quick).fit(images, [0, 1] * 3)


def test_progress(quick, capsys):
    FineTunedFeatures(**quick, epochs=2, verbose=True).fit(*diagonals(12))
    assert {"2/2", "loss"} <= set(re.findall(r"2/2|loss", capsys.readouterr().out))


@pytest.mark.slow
def test_a_known_network(eager):
    """The last stage of MobileNetV2 learns, and is pickled; the rest comes from the file."""
    path = data_dir("weights") / "mobilenet_v2_0.35_224_no_top.weights.h5"
    parameters = {"backbone_options": {"alpha": 0.35}, "weights": path, "input_size": 32}
    images, y = diagonals(8)
    layers = ["C4", "top"]
    tuned = FineTunedFeatures(**parameters, layers=layers, epochs=1)
    rows = tuned.fit(images, y).transform(images)
    frozen = DeepFeatures("mobilenet_v2", **parameters, layers=layers).transform(images)
    np.testing.assert_allclose(rows[:, :192], frozen[:, :192], rtol=1e-4, atol=1e-5)
    assert np.abs(rows - frozen)[:, 192:].max() > 0.01
    assert {path.split("_")[0] for path in tuned.weights_} == {"block", "Conv"}
    assert not any(path.startswith("block_12") for path in tuned.weights_)
    assert len(pickle.dumps(tuned)) < 1_300_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks(quick):
    tuned = from_rows(FineTunedFeatures)(
        **quick | {"backbone": str(quick["backbone"]), "layers": "C2", "unfreeze": None},
        batch_size=1,  # rounding depends on the place in a batch
    )
    assert not find_failed_checks(tuned)


@pytest.mark.slow
def test_auxiliary_stages_are_trained_and_pickled(quick):
    images, y = diagonals(12)
    staged = FineTunedFeatures(**quick, layers=["C2", "C3"], auxiliary=6, epochs=1)
    rows = staged.fit(images, y).transform(images)
    assert rows.shape == (12, 12)
    names = staged.get_feature_names_out()
    assert names[0].endswith("C2_auxiliary_avg_0000")
    assert names[-1].endswith("C3_auxiliary_avg_0005")
    kinds = {path.partition("/")[0] for path in staged.weights_}
    assert {"C2_auxiliary_depthwise", "C3_auxiliary_pointwise", "conv_1"} <= kinds
    assert np.array_equal(pickle.loads(pickle.dumps(staged)).transform(images), rows)
    other = clone(staged).set_params(unfreeze="C4").fit(images, y)
    assert fingerprint(other) != fingerprint(staged)
    assert {path.partition("_")[2].partition("/")[0] for path in other.weights_} == {
        "auxiliary_depthwise",
        "auxiliary_pointwise",
    }


def _refuse(*arguments):
    raise AssertionError("not again")


def test_an_equal_fit_takes_the_trained_weights(quick, tmp_path, monkeypatch):
    images, y = diagonals(12)
    tuned = FineTunedFeatures(**quick, epochs=1, n_members=2, checkpoint=tmp_path)
    first = clone(tuned).fit(images, y)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(Training, "_build", _refuse)
    again = clone(tuned).set_params(dtype=np.float64, verbose=True).fit(images, y)
    np.testing.assert_array_equal(again.losses_, first.losses_)
    for path, weights in first.weights_.items():
        np.testing.assert_array_equal(again.weights_[path], weights)
    changed = images.copy()
    changed[3, 0, 0] ^= 1
    masked = [with_mask(images[0], images[0] > 0), *images[1:]]
    others = (images, 1 - y), (changed, y), (images[::-1], y[::-1]), (masked, y)
    for their_images, their_y in others:
        with pytest.raises(AssertionError, match="not again"):
            tuned.fit(their_images, their_y)
    others = {"epochs": 3, "random_state": 1, "class_weight": {0: 1, 1: 2}, "layers": "relu_2"}
    for name, value in (others | {"augmentation": None}).items():
        with pytest.raises(AssertionError, match="not again"):
            clone(tuned).set_params(**{name: value}).fit(images, y)


def test_a_damaged_checkpoint_is_named(quick, tmp_path):
    images, y = diagonals(8)
    tuned = FineTunedFeatures(**quick, epochs=1, checkpoint=tmp_path).fit(images, y)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    place = content.index(next(iter(tuned.weights_.values())).astype(np.float64).tobytes())
    content[place] ^= 1
    for damaged in (content, content[:500]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{path.name}' is damaged"):
            tuned.fit(images, y)


@pytest.mark.slow
def test_a_killed_fit_continues(quick, tmp_path, monkeypatch):
    """The weights are those of a fit that was not interrupted."""
    (images, y), folder, save = diagonals(24), tmp_path / "networks", Training._save
    tuned = FineTunedFeatures(**quick | {"augmentation": None, "epochs": 2, "n_members": 2})
    whole = clone(tuned).fit(images, y).weights_
    tuned.set_params(checkpoint=folder)

    def save_or_stop(self, *arguments, **options):
        save(self, *arguments, **options)
        if len(self.losses) == 3:  # in the second member
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_save", save_or_stop)
        with pytest.raises(KeyboardInterrupt):
            tuned.fit(images, y)
    assert len(list(folder.iterdir())) == 1
    for name, weights in tuned.fit(images, y).weights_.items():
        np.testing.assert_allclose(weights, whole[name], atol=1e-6)
