"""The steps that find copies: scenes, candidates, matches."""

import weakref

import cv2
import numpy as np
import pytest

from featbus.datasets import make_breast_ultrasound
from featbus.groups import merge_labelings
from featbus.model_selection import _copies
from featbus.model_selection._copies import (
    find_matches,
    match_keypoints,
    propose_alike,
    propose_by_keypoints,
)
from featbus.model_selection._scenes import VARIANTS, SceneFiles, describe_scene


@pytest.fixture(scope="module")
def scans():
    return make_breast_ultrasound(8, image_shape=(192, 256), random_state=0).images[::2]


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
    groups = merge_labelings(*find_matches([describe_scene(image) for image in [*scans, *framed]]))
    assert groups.tolist() == [0, 1, 2, 3] * 2


def test_images_of_12_bits_are_not_dark(scans):
    deep = [scan.astype(np.uint16) * 16 for scan in scans]
    crops = [scan[20:, 25:] for scan in deep]
    groups = merge_labelings(
        *find_matches([describe_scene(image) for image in [*scans, *deep, *crops]])
    )
    assert groups.tolist() == [0, 1, 2, 3] * 3


def test_little_overlap_is_no_match(scans):
    left, right = scans[0][:, :150], scans[0][:, 106:]
    assert match_keypoints(*map(describe_scene, (left, right)), VARIANTS[0])[0] == 0
    wider = scans[0][:, 56:]
    assert match_keypoints(*map(describe_scene, (left, wider)), VARIANTS[0])[0] > 0.5


def test_the_number_of_candidates_is_limited(scans, monkeypatch):
    monkeypatch.setattr(_copies, "_N_PAIRS", 2)
    monkeypatch.setattr(_copies, "_N_ALIKE", 2)
    scenes = [describe_scene(scans[0][:, shift : 200 + shift]) for shift in range(12)]
    assert 11 <= len(propose_by_keypoints(SceneFiles(scenes))) <= 2 * 12
    assert len(propose_alike(SceneFiles(scenes))) <= 2 * 12
    assert merge_labelings(*find_matches(scenes)).tolist() == [0] * 12


@pytest.mark.parametrize("size", [3, 7])
def test_blocks_change_nothing(scans, monkeypatch, size):
    plain = [cv2.resize(scan, (28, 28)) for scan in scans]
    images = [scan[:, shift:] for scan in [*scans, *plain] for shift in (0, 3)]
    scenes = [describe_scene(image) for image in [*images, scans[0], plain[0][::-1]]]
    whole, files = find_matches(scenes), SceneFiles(scenes)
    proposed = [propose(files).tolist() for propose in (propose_by_keypoints, propose_alike)]
    for name in ("_BLOCK", "_COLUMNS", "_N_IMAGES", "_N_ROWS"):
        monkeypatch.setattr(_copies, name, size)
    assert np.array_equal(find_matches(scenes), whole)
    assert proposed == [
        propose(files).tolist() for propose in (propose_by_keypoints, propose_alike)
    ]
    assert whole[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 3, 10, 0, 11]
    assert whole[1].tolist() == [*range(17), 8]


def test_scenes_are_in_files(scans):
    """Scenes do not stay in memory; files give them back bit for bit, equal images once."""
    images, alive = [scans[0], scans[1], np.zeros((9, 9), np.uint8), scans[1], scans[2]], []

    def describe(image):
        assert all(texture() is None for texture in alive[:-1])
        scene = describe_scene(image)
        alive.append(weakref.ref(scene.texture))
        return scene

    files = SceneFiles(map(describe, images))
    assert files.same.tolist() == [0, 1, 2, 1, 4]
    assert (files.plain.tolist(), files.items.tolist()) == ([2], [0, 1, 4])
    for item, index in enumerate(files.items):
        for found, expected in zip(files[item], describe_scene(images[index]), strict=True):
            assert found.dtype == expected.dtype
            assert np.array_equal(found, expected)
    assert find_matches(map(describe, images))[0].tolist() == [0, 1, 2, 1, 3]
