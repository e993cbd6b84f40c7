"""The loader that a folder calls for."""

import shutil

import pytest

from featbus.datasets import GroupsWarning, describe_dataset, load_dataset


def write(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


@pytest.fixture
def busi(tmp_path):
    kinds = ("benign", "malignant", "normal")
    write(
        tmp_path / "busi",
        *(f"{kind}/{kind} (1){end}.png" for kind in kinds for end in ("", "_mask")),
    )
    return tmp_path / "busi"


@pytest.mark.filterwarnings("ignore:BUSI has no patient ids")
def test_busi(busi, tmp_path):
    data = load_dataset(busi)
    assert data.name == "BUSI"
    assert data.frame["file"].tolist() == ["benign (1).png", "malignant (1).png", "normal (1).png"]
    assert [len(masks) for masks in data.masks] == [1, 1, 1]
    shutil.move(busi, tmp_path / "download" / "Dataset_BUSI_with_GT")
    assert load_dataset(tmp_path / "download").name == "BUSI"


def test_a_folder_beside_those_of_busi_is_a_class(busi):
    write(busi, "cyst/a.png")
    data = load_dataset(busi, masks="_mask", groups=lambda path: path.parts)
    assert data.target_names == ["benign", "cyst", "malignant", "normal"]
    assert data.frame["masks"].tolist() == [1, 0, 1, 1]
    with pytest.raises(ValueError, match=r"masks next to their images: .*Pass masks='_mask'"):
        load_dataset(busi)


@pytest.mark.parametrize("place", [".", "all-mias"])
def test_mini_mias(tmp_path, place):
    write(tmp_path / place, "mdb001.pgm")
    (tmp_path / place / "Info.txt").write_text("mdb001 G CIRC B 535 425 197\n")
    data = load_dataset(tmp_path)
    assert data.name == "mini-MIAS"
    assert data.target_names == ["normal", "abnormal"]
    with pytest.raises(ValueError, match="groups is 'groups.csv', expected None: mini-MIAS comes"):
        load_dataset(tmp_path, groups="groups.csv")


def test_one_folder_per_class(tmp_path):
    write(tmp_path / "lesions", "benign/p1_a.png", "benign/p1_b.png", "malignant/p2.png")
    data = load_dataset(str(tmp_path / "lesions"), groups=lambda path: path.stem[:2])
    assert data.name == "lesions"
    assert data.groups.tolist() == [0, 0, 1]
    assert describe_dataset(data) == "lesions: 3 images in 2 groups (benign 2, malignant 1)"
    with pytest.warns(GroupsWarning):
        unknown = load_dataset(str(tmp_path / "lesions"))
    assert unknown.groups is None
    assert describe_dataset(unknown) == (
        "lesions: 3 images (benign 2, malignant 1), "
        "groups unknown: every image counted as its own patient"
    )


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="Found no folder '.*none', expected a folder of"):
        load_dataset(tmp_path / "none")
