"""Trainings of several members: what is averaged, and how they go on after a stop."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from featbus.feature_extraction._training import Training


class Walker:
    """A learner whose only weight counts epochs and adds random numbers."""

    def __init__(self, draws):
        self._draws = draws
        self._weight = np.zeros(1, np.float32)
        self._momentum = np.float32(0)

    def learn(self, rng, augmentation):
        draw = rng.random()
        self._draws.append(draw)
        self._momentum = np.float32(0.5 * self._momentum + draw)
        self._weight = self._weight + 1 + augmentation * self._momentum
        return float(self._weight[0])

    def weights(self):
        return {"dense/kernel": self._weight.copy()}

    def first_rows(self):
        return self._weight.copy()

    def state(self):
        return [self._weight.copy(), np.array(self._momentum)]

    def set_state(self, state):
        self._weight, self._momentum = state[0].copy(), np.float32(state[1])


def start(n_epochs=8, n_members=2, noise=0, draws=None):
    draws = [] if draws is None else draws
    return Training(lambda: Walker(draws), n_epochs, n_members, 0, noise)


def run(training, n_epochs=None):
    while not training.is_finished and n_epochs != 0:
        training.run_epoch()
        n_epochs = n_epochs and n_epochs - 1
    return training


@pytest.mark.parametrize(("n_epochs", "expected"), [(1, 1), (3, 3), (8, 7.5), (12, 11)])
def test_weights_are_the_mean_of_the_last_quarter(n_epochs, expected):
    """After each epoch, the weight is its number; members start from 0."""
    training = run(start(n_epochs, n_members=3))
    weights = training.weights()["dense/kernel"]
    np.testing.assert_array_equal(weights, np.full((3, 1), expected, np.float32))
    assert training.losses == 3 * list(range(1, n_epochs + 1))


def test_each_epoch_has_its_random_numbers():
    draws, others = [], []
    run(start(4, 2, draws=draws))
    run(start(4, 3, draws=others))
    assert len(set(draws)) == 8
    assert others[:8] == draws


@pytest.mark.parametrize("stop", range(1, 16))
def test_a_stopped_training_continues(tmp_path, stop):
    whole = run(start(noise=1))
    run(start(noise=1), stop).save(tmp_path / "state.npz", "key")
    resumed = start(noise=1)
    resumed.load(tmp_path / "state.npz", "key")
    assert len(resumed.losses) == stop
    assert run(resumed).losses == whole.losses
    np.testing.assert_equal(resumed.weights(), whole.weights())


def test_a_finished_training_needs_no_network(tmp_path):
    whole = run(start(noise=1))
    whole.save(tmp_path / "state.npz", "key")
    again = Training(None, 8, 2, 0, 1)
    again.load(tmp_path / "state.npz", "key")
    assert again.is_finished
    np.testing.assert_equal(again.weights(), whole.weights())


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "pickle", "key"])
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "state.npz"
    run(start(), 3).save(path, "key")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-40])
    elif damage == "flip":
        content[content.index(b"NUMPY") + 130] ^= 1
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "pickle":
        np.savez(path, about=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="state.npz' is damaged.* Delete it to train again"):
        start().load(path, "other" if damage == "key" else "key")


def test_every_changed_byte_of_an_array_is_found(tmp_path):
    path = tmp_path / "state.npz"
    run(start(noise=1), 3).save(path, "key")
    content = path.read_bytes()
    with np.load(path) as file:
        places = [content.index(file[name].tobytes()) for name in file.files if name != "about"]
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError, match="is damaged"):
            start().load(path, "key")


def test_files_are_written_whole_by_several_at_a_time(tmp_path):
    path = tmp_path / "state.npz"
    run(start(noise=1), 1).save(path, "key")

    def work(n_epochs):
        run(start(noise=1), n_epochs).save(path, "key")
        start(noise=1).load(path, "key")

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(work, [1, 3, 9, 16] * 10))
    assert [found.name for found in tmp_path.iterdir()] == ["state.npz"]
