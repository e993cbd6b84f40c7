"""The steps that find copies: scenes, candidates, matches."""

import cv2
import numpy as np
import pytest

from featbus.datasets import make_breast_ultrasound
from featbus.model_selection import _copies
from featbus.model_selection._copies import (
    find_matches,
    match_keypoints,
    match_stretched,
    propose_alike,
    propose_by_keypoints,
)
from featbus.model_selection._scenes import VARIANTS, describe_scene


@pytest.fixture(scope="module")
def scans():
    return make_breast_ultrasound(8, image_shape=(192, 256), random_state=0).images[::2]


@pytest.fixture(scope="module")
def scenes(scans):
    return [describe_scene(scan) for scan in scans]


def test_background_and_marks_are_outside():
    rng = np.random.default_rng(0)
    image = np.zeros((200, 200), np.uint8)
    image[50:150, 60:160] = cv2.GaussianBlur(rng.integers(60, 200, (100, 100), np.uint8), (0, 0), 2)
    image[80:100, 80:110] = 255
    texture = describe_scene(image).texture
    assert abs(texture.shape[0] - 100) <= 6
    assert abs(texture.shape[1] - 100) <= 6
    assert 0.05 < (texture == 0).mean() < 0.3


def frame(image):
    """Return a gray user interface with text around an image."""
    shown = np.full((300, 400), 60, np.uint8)
    for row in range(10):
        text = ["Gain 52", "Depth 4.5", "12 MHz", "Freeze", "Menu"][row % 5]
        cv2.putText(shown, text, (3, 25 + 28 * row), 0, 0.4, 200, 1)
        cv2.putText(shown, text[::-1], (340, 30 + 27 * row), 0, 0.4, 200, 1)
    shown[54:246, 72:328] = image
    return shown


def test_the_frame_of_a_user_interface_is_no_scene(scans):
    framed = [frame(scan) for scan in scans]
    groups = find_matches([describe_scene(image) for image in [*scans, *framed]]).groups()
    assert groups.tolist() == [0, 1, 2, 3] * 2


def test_images_of_12_bits_are_not_dark(scans):
    deep = [scan.astype(np.uint16) * 16 for scan in scans]
    crops = [scan[20:, 25:] for scan in deep]
    groups = find_matches([describe_scene(image) for image in [*scans, *deep, *crops]]).groups()
    assert groups.tolist() == [0, 1, 2, 3] * 3


@pytest.mark.parametrize("variant", VARIANTS)
def test_descriptors_of_changed_images_are_those_with_changed_signs(scans, variant):
    image = scans[0][:, ::-1] if variant.mirrored else scans[0]
    image = 255 - image if variant.inverted else image
    scene, changed = describe_scene(scans[0]), describe_scene(image)
    cosine = variant.descriptors(scene.descriptors.astype(np.float32)) @ changed.descriptors.T
    near = np.abs(
        variant.points(scene.points)[:, np.newaxis, :2] - changed.points[np.newaxis, :, :2]
    ).max(axis=2)
    place, best = near.argmin(axis=1), cosine.argmax(axis=1)
    assert np.mean(near[np.arange(len(best)), best] < 1) > 0.85
    assert np.median(cosine[np.arange(len(place)), best]) > 0.97


@pytest.mark.parametrize("degrees", [0, 10, 90, 200])
def test_rotated_images_match(scans, scenes, degrees):
    turn = cv2.getRotationMatrix2D((127.5, 95.5), degrees, 1)
    copy = describe_scene(cv2.warpAffine(scans[1], turn, (256, 192)))
    correlation, is_changed = match_keypoints(copy, scenes[1], VARIANTS[0])
    assert correlation > 0.5
    assert is_changed == (degrees > 30)
    assert match_keypoints(copy, scenes[2], VARIANTS[0])[0] < 0.15


def test_little_overlap_is_no_match(scans):
    left, right = scans[0][:, :150], scans[0][:, 106:]
    assert match_keypoints(*map(describe_scene, (left, right)), VARIANTS[0])[0] == 0
    wider = scans[0][:, 56:]
    assert match_keypoints(*map(describe_scene, (left, wider)), VARIANTS[0])[0] > 0.5


def test_stretched_images_match(scans, scenes):
    copy = describe_scene(cv2.resize(scans[3], (256, 120), interpolation=cv2.INTER_AREA))
    assert match_stretched(copy, scenes[3])[0] > 0.4
    assert match_stretched(copy, scenes[2])[0] < 0.15
    assert propose_alike([*scenes, copy]).tolist() == [[3, 4]]


def test_candidates(scans, scenes):
    copies = [describe_scene(image) for image in (scans[0][20:, 30:], scans[1][:, ::-1])]
    pairs = propose_by_keypoints([*scenes, *copies]).tolist()
    assert [0, 4, 0] in pairs
    assert [1, 5, 1] in pairs
    assert len(pairs) < 8
    plain = describe_scene(np.zeros((50, 50)))
    assert propose_by_keypoints([plain, plain]).shape == (0, 3)


def test_the_number_of_candidates_is_limited(scans, monkeypatch):
    monkeypatch.setattr(_copies, "_N_PAIRS", 2)
    monkeypatch.setattr(_copies, "_N_ALIKE", 2)
    scenes = [describe_scene(scans[0][:, shift : 200 + shift]) for shift in range(12)]
    assert 11 <= len(propose_by_keypoints(scenes)) <= 2 * 12
    assert len(propose_alike(scenes)) <= 2 * 12
    assert find_matches(scenes).groups().tolist() == [0] * 12


def test_blocks_and_cells_change_nothing(scans, monkeypatch):
    scenes = [describe_scene(scan[:, shift:]) for scan in scans for shift in (0, 9)]
    whole = find_matches(scenes)
    monkeypatch.setattr(_copies, "_BLOCK", 7)
    assert find_matches(scenes).near.tolist() == whole.near.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_kinds_of_copies_are_told_apart(scans):
    images = [*scans, scans[0], scans[1][9:], scans[2][::-1], 255 - scans[3]]
    copies = find_matches([describe_scene(image) for image in images])
    assert copies.near.tolist() == [0, 1, 2, 3, 0, 1, 4, 5]
    assert copies.changed.tolist() == [0, 1, 2, 3, 4, 5, 2, 3]
    assert copies.groups().tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
