"""Folders above the images: classes, or a given split above the same classes."""

import shutil

import numpy as np
import pytest
from skimage.io import imsave
from sklearn.dummy import DummyClassifier

from featbus import commands
from featbus.datasets import (
    GroupsWarning,
    describe_dataset,
    detect_layout,
    load_dataset,
    load_image_folder,
    load_images,
)

SPLIT = [
    *("Training/benign/a.png", "Training/benign/p1/b.png", "Training/malignant/c.png"),
    *("VALID/benign/d.png", "VALID/malignant/e.png"),
    *("test/benign/f.png", "test/malignant/g.png"),
]


def write(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def patient(path):
    return path.name


def test_a_given_split_is_read(tmp_path):
    data = load_image_folder(write(tmp_path, *SPLIT), groups=patient)
    assert data.target_names == ["benign", "malignant"]
    assert data.frame["file"].tolist() == SPLIT
    assert data.frame["class"].tolist() == [file.split("/")[1] for file in SPLIT]
    assert data.frame["split"].tolist() == ["train"] * 3 + ["validation"] * 2 + ["test"] * 2
    ((train, test),) = data.cv.split()
    assert train.tolist() == [0, 1, 2, 3, 4]
    assert test.tolist() == [5, 6]
    assert detect_layout(tmp_path) == "split"
    assert load_dataset(tmp_path, groups=patient).cv.get_n_splits() == 1


def test_without_a_test_part_the_validation_part_is_tested(tmp_path):
    data = load_image_folder(write(tmp_path, *SPLIT[:5]), groups=patient)
    ((train, test),) = data.cv.split()
    assert train.tolist() == [0, 1, 2]
    assert test.tolist() == [3, 4]


def test_masks_mirror_a_split(tmp_path):
    write(tmp_path, *SPLIT, *(f"masks/{file}" for file in SPLIT))
    data = load_image_folder(tmp_path, masks=tmp_path / "masks", groups=patient)
    assert data.masks.tolist() == [(str(tmp_path / "masks" / file),) for file in SPLIT]
    assert data.cv.get_n_splits() == 1


def test_a_folder_of_masks_is_no_class(tmp_path):
    write(tmp_path, "x/a.png", "y/b.png", "masks/x/a.png")
    assert detect_layout(tmp_path, masks=tmp_path / "masks") == "class folders"
    assert detect_layout(tmp_path, masks="_mask") == "images"


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["train/x/a.png", "test/x/b.png", "val/x/c.png", "valid/x/d.png"], "'val', 'valid'"),
        (["train/x/a.png", "train/y/a.png"], "folders: 'train'"),
        (["test/x/a.png", "val/x/a.png"], "folders: 'test', 'val'"),
        (["train/x/a.png", "test/x/b.png", "x/c.png"], "folders: 'test', 'train', 'x'"),
        (["train/x/a.png", "train/y/b.png", "test/x/c.png"], "different classes"),
        (["train/x/a.png", "train/y/b.png", "test/c.png"], "different classes"),
        (["train/x/a.png", "test/X/b.png"], "different classes"),
        (["x/train/a.png", "y/b.png"], "below others, 'train'"),
        (["ct/x/a.png", "ct/y/b.png", "mr/x/c.png", "mr/y/d.png"], "below others, 'x', 'y', 'x'"),
        (["x/a.png", "y/b.png", "z/x/a.png", "z/y/b.png"], "below others, 'x', 'y'"),
        (["A/x/a.png", "A/y/b.png", "B/x/c.png"], "below others, 'x', 'x'"),
        (["p1/x/a.png", "p2/y/b.png", "p3/x/c.png"], "below others, 'x', 'x'"),
        (["all/train/a.png", "all/test/b.png"], "'test', 'train'"),
    ],
)
def test_other_layouts_are_refused(tmp_path, files, named):
    with pytest.raises(ValueError, match=f"{named}.*expected one folder per class: "):
        load_image_folder(write(tmp_path, *files), groups=patient)
    assert len(load_images(tmp_path).images) == len(files)  # of any layout


@pytest.mark.parametrize(
    "files",
    [
        ["x/a.png", "y/b.png", "masks/x/a.png"],
        ["x/a.png", "y/b.png", "x/Masks/a.png"],
        ["image/a.png", "label/a.png"],
        ["img/a.png", "img/b.png", "gt/a_gt.png", "gt/b_gt.png"],
        ["images/a.png", "annotations/a.jpg"],
        ["x/a.png", "x/segmentation/a.png", "y/b.png"],
        ["x/a.png", "y/b.png", "x_masks/a.png", "y_masks/b.png"],
        ["x/p1/a.png", "x/p1/Ground truth/a.png", "y/b.png"],
    ],
    ids=lambda files: files[-2].rpartition("/")[0],
)
def test_folders_of_masks_are_no_classes(tmp_path, files):
    write(tmp_path, *files)
    for load in (load_image_folder, load_images):
        with pytest.raises(ValueError, match="(?i)masks|truth"):
            load(tmp_path)
    model = DummyClassifier().fit([[0], [1]], ["x", "y"])
    for run in (commands.extract, lambda data: commands.predict(model, data)):
        with pytest.raises(ValueError, match="(?i)masks|truth"):
            run(tmp_path)


def test_words_for_masks_may_be_classes(tmp_path):
    files = [f"{kind}/{number}.png" for kind in ("label 0", "label 1") for number in range(3)]
    data = load_image_folder(write(tmp_path, *files), groups=patient)
    assert data.target_names == ["label 0", "label 1"]


def test_one_class_has_one_name(tmp_path):
    files = ["train/M\u00fc/a.png", "train/y/b.png", "test/Mu\u0308 /c.png", "test/y/d.png"]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True)
        imsave(tmp_path / file, np.eye(8, dtype=np.uint8), check_contrast=False)
    data = load_image_folder(tmp_path, groups=patient)
    assert data.target_names == ["M\u00fc", "y"]
    assert data.target.tolist() == [0, 1, 0, 1]
    table = commands.extract(tmp_path, ["intensity"]).sort_values("path")
    assert sorted(table["class"]) == ["M\u00fc", "M\u00fc", "y", "y"]
    assert table["split"].tolist() == ["test", "test", "train", "train"]


def test_patients_below_the_classes_are_no_classes(tmp_path):
    files = [f"{kind}/patient {number}/a.png" for kind in "xy" for number in range(3)]
    data = load_image_folder(write(tmp_path, *files), groups=lambda path: path.parts[1])
    assert data.target_names == ["x", "y"]
    assert data.groups.tolist() == [0, 1, 2, 0, 1, 2]


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


@pytest.fixture
def busi(tmp_path):
    kinds = ("benign", "malignant", "normal")
    write(
        tmp_path / "busi",
        *(f"{kind}/{kind} (1){end}.png" for kind in kinds for end in ("", "_mask")),
    )
    return tmp_path / "busi"


@pytest.mark.filterwarnings("ignore:BUSI has no patient ids")
def test_a_folder_of_busi(busi, tmp_path):
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
    with pytest.raises(ValueError, match="masks among the images .*Pass masks='_mask'"):
        load_dataset(busi)


@pytest.mark.parametrize("place", [".", "all-mias"])
def test_a_folder_of_mini_mias(tmp_path, place):
    write(tmp_path / place, "mdb001.pgm")
    (tmp_path / place / "Info.txt").write_text("mdb001 G CIRC B 535 425 197\n")
    data = load_dataset(tmp_path)
    assert data.name == "mini-MIAS"
    assert data.target_names == ["normal", "abnormal"]
    with pytest.raises(ValueError, match="groups is 'groups.csv', expected None"):
        load_dataset(tmp_path, groups="groups.csv")


def test_one_folder_per_class(tmp_path):
    write(tmp_path / "lesions", "benign/p1_a.png", "benign/p1_b.png", "malignant/p2.png")
    data = load_dataset(str(tmp_path / "lesions"), groups=lambda path: path.stem[:2])
    assert data.name == "lesions"
    assert "cv" not in data
    assert "split" not in data.frame
    assert data.groups.tolist() == [0, 0, 1]
    assert describe_dataset(data) == "lesions: 3 images in 2 groups (benign 2, malignant 1)"
    with pytest.warns(GroupsWarning):
        unknown = load_dataset(str(tmp_path / "lesions"))
    assert unknown.groups is None
    assert describe_dataset(unknown) == (
        "lesions: 3 images (benign 2, malignant 1), "
        "groups unknown: every image counted as its own patient"
    )
