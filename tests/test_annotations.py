"""RemoveAnnotations, on synthetic scans with drawn marks, and on BUSI."""

import cv2
import numpy as np
import pandas as pd
import pytest
from _data import data_dir

from featbus import RemoveAnnotations, make_breast_ultrasound
from featbus.io import read_image
from featbus.masks import inside_mask, with_mask
from featbus.preprocessing._annotations import find_annotations

INK = 226


def scans(n_images=3):
    data = make_breast_ultrasound(n_images, image_shape=(240, 320), random_state=0)
    return [cv2.GaussianBlur(image, (3, 3), 0) for image in data.images]


def mark(image):
    """Return a copy with calipers, a dotted line and text, and where they are."""
    marked = image.copy()
    for x, y in ((60, 80), (160, 110)):
        cv2.drawMarker(marked, (x, y), INK, cv2.MARKER_CROSS, 13, 2)
    for share in np.linspace(0.1, 0.9, 25):
        x, y = int(60 + 100 * share), int(80 + 30 * share)
        marked[y : y + 2, x : x + 2] = INK
    cv2.putText(marked, "RT UOQ", (30, 200), cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_4)
    return marked, marked != image


def test_marks_go_and_nothing_else():
    for image in scans():
        assert find_annotations(image).mean() < 0.001
        marked, where = mark(image)
        found = find_annotations(marked)
        assert (found & where).sum() > 0.97 * where.sum()
        assert found.sum() < 8 * where.sum()
        result = RemoveAnnotations().transform([marked])[0]
        np.testing.assert_array_equal(result[~found], marked[~found])
        error = np.abs(result.astype(int) - image)[where].mean()
        assert error < 0.25 * np.abs(marked.astype(int) - image)[where].mean()


def test_mask_restricts_the_region():
    marked, _ = mark(scans(1)[0])
    inside = np.tile(np.arange(320) < 200, (240, 1))
    result = RemoveAnnotations("mask").transform([with_mask(marked, inside, fill_value=5)])[0]
    np.testing.assert_array_equal(inside_mask(result), inside & ~find_annotations(marked))
    np.testing.assert_array_equal(result.data, marked)
    assert result.fill_value == 5


def test_colored_marks_go():
    image = np.dstack(scans(1) * 3)
    colored = image.copy()
    cv2.rectangle(colored, (100, 60), (130, 70), (200, 40, 10), -1)
    result = RemoveAnnotations().transform([colored])[0]
    assert np.ptp(result, axis=2).max() <= 2
    np.testing.assert_array_equal(result[120:, :], image[120:, :])


def test_texture_is_not_a_mark():
    noise = np.random.default_rng(0).integers(0, 255, (100, 100), np.uint8)
    np.testing.assert_array_equal(RemoveAnnotations().transform([noise])[0], noise)


@pytest.mark.slow
def test_on_busi():
    folder = data_dir("busi")
    table = pd.read_csv(folder / "groups.csv")
    table = table[table["group"] % 2 == 1]  # the other half was tuned on
    paths = [folder / kind / file for kind, file in zip(table["class"], table["file"])]
    shares = np.array([find_annotations(read_image(path)).mean() for path in paths])
    measured = table["annotation"].str.contains("measurement", na=False)
    assert shares[table["annotation"].isna()].mean() < 0.001
    assert (shares[measured] > 0.0015).mean() > 0.95
