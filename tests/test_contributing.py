"""The skeleton of an extractor in CONTRIBUTING.md is one that works."""

import re
from pathlib import Path

import numpy as np
import pytest
from _adapters import find_failed_checks, from_rows

from featbus.images import ImageError
from featbus.masks import with_mask
from featbus.parameters import InvalidParameterError

CONTRIBUTING = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"
(CODE,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def skeleton():
    names = {"__name__": __name__}
    exec(compile(CODE, "CONTRIBUTING.md", "exec"), names)
    return names["BrightShare"]


def test_it_is_short():
    assert len([line for line in CODE.splitlines() if line.strip()]) <= 42


def test_known_rows(skeleton):
    image = np.zeros((4, 6), np.uint8)
    image[:2, :3] = 255
    image[2, 3] = 200
    np.testing.assert_allclose(skeleton().transform([image]), [[1, 0, 0, 1 / 6]])
    np.testing.assert_allclose(skeleton(cells=1).transform([image / 255]), [[7 / 24]])


def test_only_pixels_inside_the_mask_are_used(skeleton):
    image = np.full((4, 4), 255, np.uint8)
    inside = np.zeros((4, 4), bool)
    inside[:2, :3] = True
    image[0, 0] = 0
    np.testing.assert_allclose(skeleton().transform([with_mask(image, inside)]), [[0.75, 1, 0, 0]])


def test_names_and_boxes(skeleton):
    extractor = skeleton(cells=(2, 3), threshold=0.25)
    names = extractor.get_feature_names_out()
    assert names.tolist() == [f"bright_r{row}_c{column}" for row in (0, 1) for column in (0, 1, 2)]
    where = extractor.where("bright_r1_c2", (9, 9))
    assert (where.rows, where.columns) == (slice(4, 9), slice(6, 9))
    assert where.what == "share of bright pixels"


def test_errors(skeleton):
    with pytest.raises(InvalidParameterError, match="cells is 0, expected an int"):
        skeleton(cells=0).fit(["no/such/image.png"])
    with pytest.raises(
        ImageError, match=r"image 1: found shape \(1, 4\), expected one pixel per cell"
    ):
        skeleton().transform([np.zeros((4, 4)), np.zeros((1, 4))])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks(skeleton):
    assert not find_failed_checks(from_rows(skeleton)())


@pytest.mark.parametrize("length", [1, 3])
def test_rows_have_one_length(length, skeleton, monkeypatch):
    rows = iter([[1, 2], [1] * length])
    monkeypatch.setattr(skeleton, "_extract", lambda self, image: next(rows))
    with pytest.raises(ImageError, match=f"image 1: found {length} .*expected 2 as in image 0"):
        skeleton().transform(np.zeros((2, 4, 6), np.uint8))
