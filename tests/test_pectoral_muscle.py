"""PectoralMuscleRemover."""

import numpy as np
import pytest
from _mammogram import dice, mammogram

from featbus import BreastRegion, PectoralMuscleRemover
from featbus.masks import with_mask


def detect(image, **parameters):
    return PectoralMuscleRemover(**parameters).detect(image)


@pytest.mark.parametrize(
    ("top", "wall", "sag"),
    [(0.22, 0.45, 0), (0.18, 0.35, 0.05), (0.12, 0.45, 0), (0.23, 0.25, 0.02)],
)
def test_known_edge(top, wall, sag):
    image, _, muscle = mammogram(top=top, wall=wall, sag=sag)
    found = detect(image)
    assert found.found, found.reason
    assert dice(found.mask, muscle) > 0.95
    row, column = found.boundary.T
    share = row / len(image) / wall
    bow = 4 * sag * np.hypot(top, wall)
    truth = (1 - share) * (top + bow * share) * len(image)
    # The horizontal distance, projected to the edge's normal: within 2 % of the width.
    distance = np.abs(column - truth) * wall / np.hypot(top, wall)
    assert distance.max() < 0.02 * image.shape[1]


def test_mirroring_is_exact():
    image = mammogram()[0][:509, :-57]
    muscle, mirrored = detect(image), detect(image[:, ::-1])
    assert muscle.found
    np.testing.assert_array_equal(mirrored.mask, muscle.mask[:, ::-1])
    np.testing.assert_allclose(
        mirrored.boundary, [0, image.shape[1] - 1] + muscle.boundary * [1, -1]
    )
    assert mirrored.confidence == muscle.confidence


def test_size_does_not_matter():
    small, large = (detect(mammogram(size)[0]) for size in (512, 1024))
    assert dice(np.kron(small.mask, np.ones((2, 2), bool)), large.mask) > 0.98
    assert small.confidence == pytest.approx(large.confidence, abs=0.1)


def test_muscle_through_both_corners():
    """From the skin at the top to the lower end of the film at the chest wall."""
    image, _, muscle = mammogram(top=0.27, wall=0.7)
    found = detect(image[:358])
    assert found.found, found.reason
    assert dice(found.mask, muscle[:358]) > 0.93


def craniocaudal():
    y, x = np.mgrid[:512, :384] / 512
    depth = 1 - (x / 0.55) ** 2 - ((y - 0.5) / 0.42) ** 2
    return 0.05 + np.where(depth > 0, 0.3 + 0.3 * np.sqrt(np.clip(depth, 0, 1)), 0)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (craniocaudal(), "found no plausible muscle"),
        (mammogram()[0][300:], "found no plausible muscle"),
        (np.zeros((80, 60), np.uint8), "found no breast"),
        (np.full((1, 1), 9, np.uint8), "found no dark background"),
        (np.pad(np.full((60, 60), 0.5), ((0, 0), (60, 60))), "both sides"),
    ],
    ids=["craniocaudal", "lower part", "blank", "1x1", "symmetric"],
)
def test_abstains(image, reason):
    muscle = detect(image)
    assert not muscle.found
    assert reason in muscle.reason
    assert muscle.boundary.shape == (0, 2)
    assert not muscle.mask.any()
    (result,) = PectoralMuscleRemover().transform([image])
    assert not np.ma.isMaskedArray(result)
    np.testing.assert_array_equal(result, image)


def test_min_confidence():
    image = mammogram()[0]
    confidence = detect(image).confidence
    assert 0.3 < confidence < 1
    muscle = detect(image, min_confidence=1)
    assert (muscle.found, muscle.confidence) == (False, confidence)
    assert f"found confidence {confidence:.3g}, expected 1" in muscle.reason
    with pytest.raises(ValueError, match="^min_confidence is 2"):
        detect(image, min_confidence=2)


def test_pixels_stay_and_a_mask_is_restricted():
    image = np.rint(255 * mammogram()[0]).astype(np.uint8)
    region = BreastRegion().transform([image])[0]
    (result,) = PectoralMuscleRemover().transform([with_mask(image, ~region.mask, 7)])
    np.testing.assert_array_equal(result.data, image)
    assert result.fill_value == 7
    muscle = detect(image).mask
    assert result.mask[region.mask].all()
    assert dice(result.mask & ~region.mask, muscle & ~region.mask) > 0.97
