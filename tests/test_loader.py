"""ImageLoader."""

import cv2
import numpy as np
import pytest

from featbus import ImageLoader


@pytest.fixture
def paths(tmp_path):
    gray = np.arange(30, dtype=np.uint8).reshape(5, 6)
    color = np.zeros((5, 6, 3), np.uint8)
    color[..., 2] = 200  # red, as OpenCV orders channels
    deep = gray.astype(np.uint16) * 1000
    for name, image in {"gray": gray, "red": color, "deep": deep}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    return [tmp_path / f"{name}.png" for name in ("gray", "red", "deep")]


def test_unchanged_and_gray(paths):
    _, red, deep = ImageLoader().transform(paths)
    assert red[0, 0].tolist() == [200, 0, 0]
    assert (deep.dtype, deep[4, 5]) == (np.uint16, 29000)
    gray, red, deep = ImageLoader(color_mode="gray").transform(paths)
    assert gray.shape == red.shape == deep.shape == (5, 6)
    assert red[0, 0] == round(200 * 0.299)


def test_rgb(paths):
    array = np.zeros((5, 6), np.uint8)
    stack = ImageLoader(color_mode="rgb").transform([*paths[:2], array])
    assert stack.shape == (3, 5, 6, 3)
    assert stack[0, 4, 5].tolist() == [29, 29, 29]
