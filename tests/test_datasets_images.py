"""Images without classes."""

import pandas as pd
import pytest

from featbus.datasets import detect_layout, load_images


def write(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def test_a_folder_of_any_layout(tmp_path):
    write(
        tmp_path, "b.png", "day 2/ü.dcm", "a.PNG", "IM0001", ".hidden/c.png", ".d.png", "Thumbs.db"
    )
    with pytest.warns(UserWarning, match=r"Left out 1 file\(s\) .*: 'IM0001'."):
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
    data = load_images(tmp_path, groups=pd.DataFrame({"file": ["\\xff.png"], "group": "a"}))
    assert data.frame["file"].tolist() == ["\\xff.png"]
    assert data.images.tolist() == [str(tmp_path / name)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"source": "none"}, FileNotFoundError, "Found no folder 'none'"),
        ({"source": "."}, ValueError, "Found no images in '.'. Expected PNG, JPEG, "),
        ({"source": []}, ValueError, r"source is \[\], expected"),
        ({"source": 3}, ValueError, "source is 3, expected"),
        ({"source": ["a.png"], "masks": "_mask"}, ValueError, "Found no masks for masks='_mask'"),
    ],
)
def test_what_is_refused(tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        load_images(**options)


def test_links_are_followed_once_and_dangling_ones_kept(tmp_path):
    write(tmp_path / "far", "a.png", "deep/b.png")
    write(tmp_path / "near", "c.png")
    try:
        (tmp_path / "near" / "p1").symlink_to(tmp_path / "far")
        (tmp_path / "near" / "p2").symlink_to(tmp_path / "far")
        (tmp_path / "far" / "deep" / "back").symlink_to(tmp_path / "near")
        (tmp_path / "near" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    except OSError:
        pytest.skip("links are not allowed here")
    files = load_images(tmp_path / "near").frame["file"].tolist()
    assert files == [
        "c.png",
        "gone.png",
        *(f"{p}/{f}" for p in ("p1", "p2") for f in ("a.png", "deep/b.png")),
    ]


def test_images_that_would_share_a_mask_are_refused(tmp_path):
    write(tmp_path, "a.png", "a.jpg", "a_mask.png", "b.png", "b.jpg")
    with pytest.raises(ValueError, match=r"one mask for '.*a.jpg', '.*a.png', expected a mask of"):
        load_images(tmp_path, masks="_mask")
    assert len(load_images(tmp_path).images) == 4
    assert load_images([tmp_path / "a.png"], masks="_mask").frame["masks"].tolist() == [1]


def test_masks_of_other_names_are_refused(tmp_path):
    write(tmp_path, "a.png", "a_mask_left.png")
    with pytest.raises(ValueError, match="Found masks next to their images"):
        load_images(tmp_path)


@pytest.mark.parametrize(
    ("files", "layout"),
    [
        (["a.png"], "images"),
        (["a.png", "benign/b.png"], "images"),
        (["readme.txt"], "images"),
        (["a.png", "Info.txt"], "images"),
        (["train/benign/a.png", "test/benign/b.png"], "split"),
        (["train/benign/a.png", "test/b.png"], "images"),
        (["train/benign/a.png", "train/malignant/b.png"], "images"),
        (["ct/benign/a.png", "ct/sick/b.png", "mr/benign/a.png", "mr/sick/b.png"], "images"),
        (["benign/b.png", "readme.txt"], "class folders"),
        (["benign/b.png", "Info.txt"], "class folders"),
        (["Info.txt", "mdb001.pgm"], "mini-MIAS"),
        (["all-mias/Info.txt", "all-mias/mdb001.pgm"], "mini-MIAS"),
        (["Dataset_BUSI_with_GT/cyst/a.png"], "BUSI"),
        (["benign/benign (1)_mask.png", "docs/a.txt"], "BUSI"),
        (["benign/benign (1)_mask.png", "cyst/a.png"], "class folders"),
    ],
)
def test_layouts(tmp_path, files, layout):
    assert detect_layout(write(tmp_path, *files)) == layout


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("file,group\na.png,007\nb.png,7\nabsent.png,\n", ["007", "7"]),
        ("file,group\na.png,1e3\nb.png,1000\n", ["1e3", "1000"]),
        ("file,group\na.png,True\nb.png,true1\n", ["True", "true1"]),
        ('sep=,\nfile, group\na.png, p1\nb.png, "Doe, Jane"\n', ["p1", "Doe, Jane"]),
        ("\n File ;GROUP\na.png;01\nb.png;1\n", ["01", "1"]),
        ("file,group\na.png,p1,\nb.png,p2,\n", ["p1", "p2"]),
    ],
    ids=[
        *("leading zeros", "exponents", "booleans", "spaces", "capitals"),
        "a separator at the end",
    ],
)
def test_names_of_groups_are_text(tmp_path, table, expected):
    write(tmp_path, "images/a.png", "images/b.png")
    (tmp_path / "groups.csv").write_text(table)
    data = load_images(tmp_path / "images", groups=tmp_path / "groups.csv")
    assert data.frame["listed_group"].tolist() == expected
    assert data.groups.tolist() == [0, 1]


def test_the_exact_name_of_a_file_comes_first(tmp_path):
    write(tmp_path, "images/=a.png", "images/'=a.png")
    (tmp_path / "groups.csv").write_text("file,group\n=a.png,A\n'=a.png,B\n")
    data = load_images(tmp_path / "images", groups=tmp_path / "groups.csv")
    found = dict(zip(data.frame["file"], data.frame["listed_group"]))
    assert found == {"=a.png": "A", "'=a.png": "B"}


def test_a_table_that_is_missing(tmp_path):
    write(tmp_path, "images/a.png")
    with pytest.raises(
        FileNotFoundError, match="Found no file '.*none.csv', expected a table of groups"
    ):
        load_images(tmp_path / "images", groups=tmp_path / "none.csv")
