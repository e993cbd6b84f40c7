"""Images without classes."""

import pandas as pd
import pytest

from featbus.datasets import has_classes, load_images


def write(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def test_a_folder_of_any_layout(tmp_path):
    write(tmp_path, "b.png", "day 2/ü.dcm", "a.PNG", "notes.txt", ".hidden/c.png", ".d.png")
    data = load_images(tmp_path)
    assert data.frame["file"].tolist() == ["a.PNG", "b.png", "day 2/ü.dcm"]
    assert data.images[2] == str(tmp_path / "day 2" / "ü.dcm")
    assert data.groups is None
    assert data.masks.tolist() == [None] * 3


def test_masks_beside_their_images_are_no_images(tmp_path):
    write(tmp_path, "a.png", "a_mask.png", "a_mask_1.png", "b.png", "lost_mask.png")
    data = load_images(tmp_path)
    assert data.frame["file"].tolist() == ["a.png", "b.png", "lost_mask.png"]
    assert data.masks.tolist() == [None] * 3
    data = load_images(tmp_path, masks="_mask")
    expected = (str(tmp_path / "a_mask.png"), str(tmp_path / "a_mask_1.png"))
    assert data.masks.tolist() == [expected, None, None]
    assert data.frame["masks"].tolist() == [2, 0, 0]


def test_masks_in_a_folder_of_their_own(tmp_path):
    write(tmp_path, "day/a.png", "day/b.png", "outlines/day/a.bmp")
    data = load_images(tmp_path, masks=tmp_path / "outlines")
    assert data.frame["file"].tolist() == ["day/a.png", "day/b.png"]
    assert data.masks.tolist() == [(str(tmp_path / "outlines/day/a.bmp"),), None]
    with pytest.raises(FileNotFoundError, match="Found no folder '.*none', expected the folder of"):
        load_images(tmp_path, masks=tmp_path / "none")


def test_files_stay_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path, "x/b.png", "x/b_mask.png", "a", "x/a.png", "x/a_mask.png"))
    data = load_images(["x/b.png", "x/b_mask.png", "a"], masks="_mask")
    assert data.frame["file"].tolist() == ["x/b.png", "a"]
    assert data.masks.tolist() == [(str(tmp_path / "x/b_mask.png"),), None]
    assert load_images([tmp_path / "x/b.png"]).frame["file"].tolist() == ["b.png"]


def test_masks_of_other_files_are_left_out(tmp_path):
    write(tmp_path, "x/a.png", "x/b.png", "m/a.png", "m/b.png")
    data = load_images([tmp_path / "x/b.png"], masks=tmp_path / "m")
    assert data.masks.tolist() == [(str(tmp_path / "m/b.png"),)]


def test_groups(tmp_path):
    write(tmp_path, "a.png", "b.png")
    table = pd.DataFrame({"file": ["b.png", "a.png"], "group": ["Ann", "Eve"], "age": [40, 50]})
    data = load_images(tmp_path, groups=table)
    assert data.frame["listed_group"].tolist() == ["Eve", "Ann"]
    assert data.groups.tolist() == [1, 0]
    assert data.frame["age"].tolist() == [50, 40]
    with pytest.raises(ValueError, match="no row for 'b.png'"):
        load_images(tmp_path, groups=table[1:])


def test_names_that_are_not_unicode(tmp_path):
    name = b"\xff.png".decode("utf-8", "surrogateescape")
    try:
        write(tmp_path, name)
    except (OSError, UnicodeEncodeError):
        pytest.skip("the file system has Unicode names only")
    assert load_images(tmp_path).frame["file"].tolist() == [name]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"source": "none"}, FileNotFoundError, "Found no folder 'none'"),
        ({"source": "."}, ValueError, "Found no images in '.', expected files ending in .bmp, "),
        ({"source": []}, ValueError, r"source is \[\], expected"),
        ({"source": 3}, ValueError, "source is 3, expected"),
        ({"source": ["a.png"], "masks": "_mask"}, ValueError, "Found no masks for masks='_mask'"),
    ],
)
def test_what_is_refused(tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        load_images(**options)


def test_which_folders_have_classes(tmp_path):
    assert not has_classes(write(tmp_path / "flat", "a.png"))
    assert not has_classes(write(tmp_path / "both", "a.png", "benign/b.png"))
    assert not has_classes(write(tmp_path / "empty", "readme.txt"))
    assert has_classes(write(tmp_path / "classes", "benign/b.png", "readme.txt"))
    assert has_classes(write(tmp_path / "mias", "Info.txt", "mdb001.pgm"))
