"""Near-duplicates."""

import cv2
import numpy as np
import pandas as pd
import pytest
from _data import data_dir
from scipy import fft
from sklearn.metrics import adjusted_rand_score

from featbus.datasets import load_busi, make_breast_ultrasound
from featbus.images import resize, to_float, with_mask
from featbus.model_selection import _duplicates as module
from featbus.model_selection import find_near_duplicates
from featbus.model_selection._duplicates import Sketches, link_similar, near_duplicates


@pytest.fixture(scope="module")
def scans():
    """Return four unlike images."""
    return make_breast_ultrasound(8, image_shape=(96, 128), random_state=0).images[::2]


def thumbnails(images):
    return np.array([resize(to_float(image), (32, 32)) for image in images])


def pairs(labels):
    return np.equal.outer(labels, labels)[np.triu_indices(len(labels), 1)]


def test_unlike_images_are_alone(scans):
    groups = find_near_duplicates(scans)
    assert groups.tolist() == [0, 1, 2, 3]
    assert groups.dtype.kind == "i"


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: np.clip(image * 1.3 + 10, 0, 255).astype(np.uint8),
        lambda image: image[3:-2, 2:-3],
        lambda image: cv2.resize(image, (200, 100), interpolation=cv2.INTER_AREA),
        lambda image: cv2.putText(image.copy(), "3.1 mm", (4, 90), 0, 0.5, 255),
        lambda image: np.dstack([image] * 3),
        lambda image: image.astype(np.uint16) * 257,
        lambda image: image / 255,
        lambda image: with_mask(image, image > np.median(image)),
    ],
    ids=["same", "bright", "crop", "size", "text", "rgb", "uint16", "float", "masked"],
)
def test_changed_copies_are_found(scans, change):
    images = [*scans, change(scans[1])]
    assert find_near_duplicates(images).tolist() == [0, 1, 2, 3, 1]


def test_mirrored_and_turned_copies_are_not_found(scans):
    images = [scans[0], scans[0][:, ::-1], np.rot90(scans[0]).copy()]
    assert find_near_duplicates(images).tolist() == [0, 1, 2]


def test_groups_are_closed_and_numbered_by_first_appearance(scans):
    """A is like B and B like C, but A is not like C."""
    blurred = cv2.GaussianBlur(scans[0], (0, 0), 3)
    chain = [blurred[:, start : start + 80] for start in range(0, 49, 2)]
    first, last = chain[0], chain[-1]
    assert find_near_duplicates([first, last]).tolist() == [0, 1]
    groups = find_near_duplicates([scans[1], last, scans[1], first, *chain[1:-1]])
    assert groups.tolist() == [0, 1, 0] + [1] * 24


def test_paths_are_arrays_and_threads_change_nothing(scans, tmp_path):
    paths = []
    for index, image in enumerate([*scans, scans[2]]):
        paths.append(tmp_path / f"{index}.png")
        cv2.imwrite(str(paths[-1]), image)
    assert find_near_duplicates(paths).tolist() == [0, 1, 2, 3, 2]
    assert find_near_duplicates(paths, n_jobs=2).tolist() == [0, 1, 2, 3, 2]


def test_files_are_read_one_at_a_time(scans, tmp_path, monkeypatch):
    import gc
    import weakref

    alive = []

    def read(path, index):
        gc.collect()
        assert sum(image() is not None for image in alive) <= 1
        image = np.tile(scans[0], (2, 2))
        alive.append(weakref.ref(image))
        return image

    monkeypatch.setattr(module, "read_item", read)
    assert find_near_duplicates(["a.png"] * 6).tolist() == [0] * 6
    assert len(alive) == 6


def test_flat_images_of_one_gray_are_copies_and_like_nothing_else(scans):
    flat = [np.full((40, 50), gray, np.uint8) for gray in (0, 90, 0, 91)]
    groups = find_near_duplicates([*flat, scans[0], np.zeros((9, 9)), np.full((5, 5), 90 / 255)])
    assert groups.tolist() == [0, 1, 0, 2, 3, 0, 1]


def test_nearly_flat_images_give_no_nan(scans):
    speck = np.full((64, 64), 100, np.uint8)
    speck[3, 4] = 101
    sketches = Sketches.of(thumbnails([speck, *scans]))
    assert np.isfinite(sketches.pixels).all()
    assert set(np.unique(sketches.hashes)) <= {-1, 0, 1}
    assert near_duplicates(sketches).tolist() == [0, 1, 2, 3, 4]


def test_ramps_in_opposite_directions_are_not_alike():
    ramp = np.tile(np.linspace(0, 1, 64), (64, 1))
    groups = find_near_duplicates([ramp, 1 - ramp, ramp.T.copy(), ramp**1.01])
    assert groups.tolist() == [0, 1, 2, 0]


def test_hash_and_correlation_are_those_of_a_loop(scans):
    rng = np.random.default_rng(0)
    small = rng.random((60, 32, 32), dtype=np.float32)
    for index in range(30, 60):
        small[index] = small[index - 30] + rng.normal(0, 0.02 * (index - 29), (32, 32))
    sketches = Sketches.of(small)
    bits = []
    for image in small:
        low = fft.dctn(image.astype(float), norm="ortho")[:8, :8].ravel()
        bits.append(low > np.median(low))
    expected = []
    for i in range(60):
        for j in range(i + 1, 60):
            distance = np.count_nonzero(bits[i] != bits[j])
            correlation = np.corrcoef(small[i].ravel(), small[j].ravel())[0, 1]
            expected.append(distance <= 8 or correlation >= 0.97)
            assert (64 - sketches.hashes[i] @ sketches.hashes[j]) / 2 == distance
            assert sketches.pixels[i] @ sketches.pixels[j] == pytest.approx(correlation, abs=1e-5)
    assert 0 < sum(expected) < 30
    assert pairs(near_duplicates(sketches)).tolist() == expected


@pytest.mark.parametrize("need_both", [False, True])
def test_blocks_change_nothing(monkeypatch, need_both):
    rng = np.random.default_rng(1)
    small = rng.random((50, 32, 32), dtype=np.float32)
    spread = np.linspace(0, 0.2, 25)[:, np.newaxis, np.newaxis]
    small[25:] = small[:25] + rng.normal(0, spread, (25, 32, 32)).astype(np.float32)
    sketches = Sketches.of(small[rng.permutation(50)])
    options = {"max_distance": 8, "min_correlation": 0.9, "need_both": need_both}
    whole = link_similar(np.arange(50), sketches, sketches, **options)
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert 26 < whole.max() + 1 < 48
    assert link_similar(np.arange(50), sketches, sketches, **options).tolist() == whole.tolist()


def test_thresholds(scans):
    noise = np.random.default_rng(0).normal(0, 60, scans[0].shape)
    noisy = np.clip(scans[0] + noise, 0, 255).astype(np.uint8)
    images = [scans[0], noisy]
    assert find_near_duplicates(images).tolist() == [0, 0]
    strict = {"max_distance": -1, "min_correlation": 0.999}
    assert find_near_duplicates(images, **strict).tolist() == [0, 1]
    assert find_near_duplicates(images, max_distance=-1, min_correlation=2).tolist() == [0, 1]
    assert find_near_duplicates(scans, max_distance=64).tolist() == [0] * 4


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_distance": 65},
        {"max_distance": 0.5},
        {"max_distance": None},
        {"min_correlation": -2},
        {"min_correlation": "0.9"},
        {"n_jobs": 1.5},
        {"verbose": "x"},
    ],
)
def test_bad_parameters_before_any_image_is_read(parameters):
    ((name, value),) = parameters.items()
    with pytest.raises(ValueError, match=f"^{name} is {value!r}, expected "):
        find_near_duplicates(["no/such/file.png"], **parameters)


def test_errors_name_the_image(scans, tmp_path):
    with pytest.raises(ValueError, match=r"image 1: .*values from 0 to 2"):
        find_near_duplicates([scans[0], np.linspace(0, 2, 12).reshape(3, 4)])
    with pytest.raises(ValueError, match=r"image 0 \('.*none.png'\): there is no such file"):
        find_near_duplicates([tmp_path / "none.png"])
    with pytest.raises(ValueError, match="empty batch"):
        find_near_duplicates([])
    with pytest.raises(ValueError, match=r"Wrap it: \[path\]"):
        find_near_duplicates("scan.png")
    clear = np.zeros((8, 8, 4), np.uint8)
    with pytest.raises(ValueError, match="image 1: .*transparent"):
        find_near_duplicates([scans[0], clear])


def test_progress_bar_is_hidden_off_a_terminal(scans, capsys):
    find_near_duplicates(scans, verbose=True)
    assert "images" not in capsys.readouterr().out


def test_published_groups_of_busi():
    root = data_dir("busi")
    busi = load_busi(root, groups=root / "groups.csv")
    found = find_near_duplicates(busi.images, n_jobs=2)
    listed = pd.factorize(busi.frame["listed_group"])[0]
    right = (pairs(found) & pairs(listed)).sum()
    assert right / pairs(listed).sum() >= 0.93
    assert right / pairs(found).sum() >= 0.99
    assert adjusted_rand_score(listed, found) > 0.96
