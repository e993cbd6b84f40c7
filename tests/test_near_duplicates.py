"""Near-duplicates."""

import cv2
import numpy as np
import pandas as pd
import pytest
from _data import data_dir

from featbus import ImageAugmenter
from featbus.color import to_gray
from featbus.datasets import load_busi, load_mini_mias, make_breast_ultrasound
from featbus.io import read_image
from featbus.masks import with_mask
from featbus.model_selection import _near_duplicates as module
from featbus.model_selection import find_near_duplicates


@pytest.fixture(scope="module")
def scans():
    """Return four unlike images."""
    return make_breast_ultrasound(8, image_shape=(192, 256), random_state=0).images[::2]


def pairs(labels):
    return np.equal.outer(labels, labels)[np.triu_indices(len(labels), 1)]


def rotate(image, degrees):
    height, width = image.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return cv2.warpAffine(image, turn, (width, height))


def shift(image, share):
    height, width = image.shape
    move = np.array([[1, 0, share * width], [0, 1, share * height]])
    return cv2.warpAffine(image, move, (width, height))


CHANGES = {
    "same": lambda image: image,
    "bright": lambda image: np.clip(image * 1.3 + 10, 0, 255).astype(np.uint8),
    "gamma": lambda image: np.rint(255 * (image / 255) ** 0.6).astype(np.uint8),
    "clahe": lambda image: cv2.createCLAHE(3).apply(image),
    "crop": lambda image: image[28:-28, 38:-38],
    "one side": lambda image: image[:, 38:],
    "shift": lambda image: shift(image, 0.15),
    "rotation": lambda image: rotate(image, 10),
    "mirrored": lambda image: image[:, ::-1],
    "quarter turn": np.rot90,
    "transposed": np.transpose,
    "inverted": lambda image: 255 - image,
    "smaller": lambda image: cv2.resize(image, (176, 132), interpolation=cv2.INTER_AREA),
    "stretched": lambda image: cv2.resize(image, (256, 140), interpolation=cv2.INTER_AREA),
    "text": lambda image: cv2.putText(image.copy(), "3.1 mm", (4, 180), 0, 0.5, 255),
    "rgb": lambda image: np.dstack([image] * 3),
    "uint16": lambda image: image.astype(np.uint16) * 257,
    "float": lambda image: image / 255,
    "masked": lambda image: with_mask(image, image > np.median(image)),
    "augmented": lambda image: ImageAugmenter(1).fit_resample([image], [0])[0][1],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_copies_are_found(scans, change):
    images = [*scans, change(scans[1])]
    assert find_near_duplicates(images).tolist() == [0, 1, 2, 3, 1]


def test_groups_are_closed_and_numbered_by_first_appearance(scans):
    """A overlaps with B and B with C, but A not with C."""
    wide = np.hstack([scans[0], scans[2][:, ::-1]])
    first, middle, last = (wide[:, start : start + 200] for start in (0, 100, 200))
    assert find_near_duplicates([first, last]).tolist() == [0, 1]
    groups = find_near_duplicates([scans[1], last, scans[1], first, middle])
    assert groups.tolist() == [0, 1, 0, 1, 1]


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
        image = scans[0].copy()
        alive.append(weakref.ref(image))
        return image

    monkeypatch.setattr(module, "read_item", read)
    assert find_near_duplicates(["a.png"] * 6).tolist() == [0] * 6
    assert len(alive) == 6


def test_flat_images_of_one_gray_are_copies_and_like_nothing_else(scans):
    flat = [np.full((40, 50), gray, np.uint8) for gray in (0, 90, 0, 91)]
    groups = find_near_duplicates([*flat, scans[0], np.zeros((9, 9)), np.full((5, 5), 90 / 255)])
    assert groups.tolist() == [0, 1, 0, 2, 3, 0, 1]


def test_tiny_and_plain_images(scans):
    tiny = [cv2.resize(scan, (28, 28), interpolation=cv2.INTER_AREA) for scan in scans]
    brighter = np.clip(tiny[1] * 1.1, 0, 255).astype(np.uint8)
    images = [*tiny, brighter, tiny[2][:, ::-1], np.rot90(tiny[3])]
    images += [np.zeros((1, 1)), np.ones((1, 9))]
    assert find_near_duplicates(images).tolist() == [0, 1, 2, 3, 1, 2, 3, 4, 5]
    speck = np.full((64, 64), 100, np.uint8)
    speck[3, 4] = 101
    assert find_near_duplicates([speck, *scans]).tolist() == [0, 1, 2, 3, 4]


def test_ramps_are_like_their_exact_copies_only():
    ramp = np.tile(np.linspace(0, 1, 64), (64, 1))
    assert find_near_duplicates([ramp, ramp**3, ramp.copy()]).tolist() == [0, 1, 0]


def test_standard_views_are_not_alike():
    """A common outline, a common label and a common border, with different tissue."""
    rng = np.random.default_rng(0)
    outline = cv2.ellipse(np.zeros((300, 240), np.uint8), (0, 150), (180, 130), 0, 0, 360, 1, -1)
    images = []
    for _ in range(5):
        tissue = cv2.GaussianBlur(rng.normal(0, 1, outline.shape), (0, 0), 3)
        image = np.clip(120 + 25 * tissue / tissue.std(), 30, 230) * outline
        images.append(cv2.putText(image.astype(np.uint8), "R MLO", (150, 40), 0, 0.8, 255, 2))
    images.append(images[2][:, ::-1])
    assert find_near_duplicates(images).tolist() == [0, 1, 2, 3, 4, 2]


def test_hundreds_of_copies_do_not_hide_others(scans):
    copies = [scans[0][:, shift:] for shift in range(12)]
    images = [scans[0]] * 100 + copies + [scans[1], scans[1][:, ::-1]]
    assert find_near_duplicates(images).tolist() == [0] * 112 + [1, 1]


def test_threshold(scans):
    noise = np.random.default_rng(0).normal(0, 20, scans[0].shape)
    images = [scans[0], np.clip(scans[0] + noise, 0, 255).astype(np.uint8)]
    assert find_near_duplicates(images).tolist() == [0, 0]
    assert find_near_duplicates(images, min_correlation=0.99).tolist() == [0, 1]


@pytest.mark.parametrize(("name", "value"), [("min_correlation", 0), ("n_jobs", 1.5)])
def test_bad_parameters_before_any_image_is_read(name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value!r}, expected "):
        find_near_duplicates(["no/such/file.png"], **{name: value})


def test_errors_name_the_image(scans, tmp_path):
    with pytest.raises(ValueError, match=r"image 1: .*values from 0 to 2"):
        find_near_duplicates([scans[0], np.linspace(0, 2, 12).reshape(3, 4)])
    with pytest.raises(ValueError, match=r"image 0 \('.*none.png'\): there is no such file"):
        find_near_duplicates([tmp_path / "none.png"])


def shrink(path, side):
    return cv2.resize(to_gray(read_image(path)), (side, side), interpolation=cv2.INTER_AREA)


@pytest.mark.slow
@pytest.mark.parametrize("side", [None, 64])
def test_published_groups_of_busi(side):
    root = data_dir("busi")
    busi = load_busi(root, groups=root / "groups.csv")
    images = busi.images if side is None else [shrink(path, side) for path in busi.images]
    found = pairs(find_near_duplicates(images, n_jobs=2))
    listed, joined = (
        pairs(pd.factorize(groups)[0]) for groups in (busi.frame["listed_group"], busi.groups)
    )
    assert (found & listed).sum() / listed.sum() >= 0.96
    assert not (found & ~(listed if side is None else joined)).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mini-mias", "ddsm-pectoral"])
def test_no_film_is_like_another(name):
    folder = data_dir(name)
    if name == "mini-mias":
        images = load_mini_mias(folder).images
    else:
        images = [path for path in sorted(folder.glob("*.png")) if "_LI" not in path.name]
    assert find_near_duplicates(images, n_jobs=2).tolist() == list(range(len(images)))
