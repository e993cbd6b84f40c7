"""Folders above the images: classes, or a given split above the same classes."""

import warnings

import numpy as np
import pytest
from skimage.io import imsave
from sklearn.dummy import DummyClassifier

from featbus import commands, evaluate
from featbus.datasets import detect_layout, load_dataset, load_image_folder, load_images
from featbus.evaluation import FewGroupsWarning

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


def test_without_a_split_there_is_none(tmp_path):
    data = load_image_folder(write(tmp_path, "x/a.png", "y/b.png"), groups=patient)
    assert "cv" not in data
    assert "split" not in data.frame


def test_masks_mirror_a_split(tmp_path):
    write(tmp_path, *SPLIT, *(f"masks/{file}" for file in SPLIT))
    data = load_image_folder(tmp_path, masks=tmp_path / "masks", groups=patient)
    assert data.masks.tolist() == [(str(tmp_path / "masks" / file),) for file in SPLIT]
    assert data.cv.get_n_splits() == 1


def test_groups_on_both_sides_of_a_given_split_are_refused(tmp_path):
    data = load_image_folder(write(tmp_path, *SPLIT), groups=lambda path: path.name in "bf.png")
    rows = np.arange(7.0)[:, np.newaxis]
    with pytest.raises(ValueError, match="in both its training and its test part"):
        evaluate(DummyClassifier(), rows, data.target, groups=data.groups, cv=data.cv)


def test_groups_and_a_given_split_go_together(tmp_path):
    data = load_image_folder(write(tmp_path, *SPLIT), groups=patient)
    rows = np.arange(7.0)[:, np.newaxis]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FewGroupsWarning)
        result = evaluate(DummyClassifier(), rows, data.target, groups=data.groups, cv=data.cv)
    assert result.predictions["index"].tolist() == [5, 6]


def test_a_folder_of_masks_is_no_class(tmp_path):
    write(tmp_path, "x/a.png", "y/b.png", "masks/x/a.png")
    assert detect_layout(tmp_path, masks=tmp_path / "masks") == "class folders"
    assert detect_layout(tmp_path, masks="_mask") == "images"


def test_a_table_of_features_has_the_split(tmp_path):
    for file in SPLIT:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        imsave(tmp_path / file, np.eye(8, dtype=np.uint8), check_contrast=False)
    table = commands.extract(tmp_path, ["intensity"])
    assert table["split"].tolist() == ["train"] * 3 + ["validation"] * 2 + ["test"] * 2
    assert table["class"].tolist() == [file.split("/")[1] for file in SPLIT]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/x/a.png", "test/x/b.png", "val/x/c.png", "valid/x/d.png"], "two folders for one"),
        (["train/x/a.png", "train/y/a.png"], "'train', a part of a split in .*Name it as root"),
        (["test/x/a.png", "val/x/a.png"], "'test', 'val', a part of a split in"),
        (["train/x/a.png", "test/x/b.png", "x/c.png"], "'x' beside the parts of a split in"),
        (["train/x/a.png", "train/y/b.png", "test/x/c.png"], "a split with different classes in"),
        (["train/x/a.png", "train/y/b.png", "test/c.png"], "images without a class, 'test/c.png',"),
        (["x/train/a.png", "y/b.png"], "folders below others, 'x/train', in"),
        (
            ["ct/x/a.png", "ct/y/b.png", "mr/x/c.png", "mr/y/d.png"],
            "others, 'ct/x', 'ct/y', 'mr/x'",
        ),
        (["x/a.png", "y/b.png", "z/x/a.png", "z/y/b.png"], "folders below others, 'z/x', 'z/y'"),
        (["A/x/a.png", "A/y/b.png", "B/x/c.png"], "folders below others, 'A/x', 'B/x', in"),
        (["p1/x/a.png", "p2/y/b.png", "p3/x/c.png"], "folders below others, 'p1/x', 'p3/x', in"),
        (["all/x/a.png", "all/y/b.png"], "one folder above all images, 'all', .* Pass '.*/all' if"),
        (["all/train/a.png", "all/test/b.png"], "one folder above .* Pass '.*/all' if"),
        (["krank/a.png", "krank /b.png"], "folders of one name, 'krank', 'krank ', in .* Merge"),
        (["M\u00fc/a.png", "Mu\u0308/b.png"], "folders of one name, 'M"),
        (["train/x/a.png", "train/X/b.png", "test/x/c.png", "test/X/d.png"], "of one name, 'te"),
    ],
)
def test_other_layouts_are_refused_with_the_tree(tmp_path, files, message):
    with pytest.raises(ValueError, match=f"(?s){message}") as caught:
        load_image_folder(write(tmp_path, *files), groups=patient)
    lines = str(caught.value).splitlines()
    for file in files:
        folder = file.rpartition("/")[0]
        assert any(line.startswith(f"  {folder}/ (") for line in lines), folder
    assert lines[-1].startswith("expected one folder per class: ")
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
        with pytest.raises(ValueError, match="(?s)Found folders of masks, '.* as masks="):
            load(tmp_path)
    model = DummyClassifier().fit([[0], [1]], ["x", "y"])
    for run in (commands.extract, lambda data: commands.predict(model, data)):
        with pytest.raises(ValueError, match="(?s)Found folders of masks, '"):
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
    table = commands.extract(tmp_path, ["intensity"])
    assert sorted(table["class"]) == ["M\u00fc", "M\u00fc", "y", "y"]


def test_the_tree_of_many_folders_is_short(tmp_path):
    files = [f"{kind}/p{number}/a.png" for kind in "xy" for number in range(50)]
    with pytest.raises(ValueError, match="and 91 more folders") as caught:
        load_image_folder(write(tmp_path, *files, "x/y/a.png"), groups=patient)
    assert len(str(caught.value).splitlines()) == 15


def test_patients_below_the_classes_are_no_classes(tmp_path):
    files = [f"{kind}/patient {number}/a.png" for kind in "xy" for number in range(3)]
    data = load_image_folder(write(tmp_path, *files), groups=lambda path: path.parts[1])
    assert data.target_names == ["x", "y"]
    assert data.groups.tolist() == [0, 1, 2, 0, 1, 2]
