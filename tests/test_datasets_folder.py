import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from featbus.datasets import load_image_folder

FILES = [
    "benign/p1_a.png",
    "benign/p1_b.JPG",
    "benign/site 2/p2_a.dcm",
    "malignant/p1_c.tif",
    "malignant/p3_a.pgm",
]


def write(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


@pytest.fixture
def root(tmp_path):
    others = ["benign/notes.txt", "benign/.p1.png", ".cache/a.png", "malignant/.thumbs/a.png"]
    write(tmp_path, *reversed(FILES), *others, "readme.md")
    return tmp_path


def patient(path):
    return path.stem.split("_")[0]


def test_folders_are_classes(root):
    data = load_image_folder(root, groups=patient)
    assert data.images.tolist() == [str(root / file) for file in FILES]
    assert data.images.dtype == object
    assert data.target_names == ["benign", "malignant"]
    assert_array_equal(data.target, [0, 0, 0, 1, 1])
    assert data.target.dtype == data.groups.dtype == np.intp
    assert data.frame["file"].tolist() == FILES
    assert data.frame["class"].tolist() == ["benign"] * 3 + ["malignant"] * 2
    assert data.DESCR.endswith("by class: benign 3, malignant 2.")


def test_groups_from_the_path(root):
    data = load_image_folder(str(root), groups=patient)
    assert_array_equal(data.groups, [0, 0, 1, 0, 2])
    assert data.frame["listed_group"].tolist() == ["p1", "p1", "p2", "p1", "p3"]


def test_groups_may_be_tuples(root):
    data = load_image_folder(root, groups=lambda path: (path.parts[0], patient(path)))
    assert_array_equal(data.groups, [0, 0, 1, 2, 3])


def test_groups_from_a_table(root):
    table = pd.DataFrame({"file": FILES, "group": [5, 5, 6, 7, 8], "age": [41, 41, 63, 50, 71]})
    table["similar_groups"] = [None, None, 8, 5, None]
    data = load_image_folder(root, groups=table[::-1])
    assert pd.factorize(data.groups)[0].tolist() == [0, 0, 1, 0, 1]
    assert data.frame["age"].tolist() == [41, 41, 63, 50, 71]


def test_without_groups_every_image_is_alone_and_a_warning_says_so(root):
    with pytest.warns(UserWarning, match="patient has several images.*groups=") as records:
        data = load_image_folder(root)
    assert records[0].filename == __file__
    assert_array_equal(data.groups, range(5))


def test_images_without_a_group_are_refused(root):
    with pytest.raises(ValueError, match=r"no group for 'malignant/p3_a\.pgm'"):
        load_image_folder(root, groups=lambda path: None if "p3" in path.name else 1)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.png", "b.png"], "'a.png', 'b.png' directly in .*expected one folder per class"),
        (["benign/a.png", "b.png"], "'b.png' directly in .*expected one folder per class"),
        (["readme.md"], "no folders in .*expected one folder per class"),
        (["benign/a.png", "normal/notes.txt"], "no images in .*normal.*expected files ending in"),
        (["benign/a.png", "benign/a_mask_1.png"], "masks beside .*'a_mask_1.png'"),
    ],
    ids=["flat", "mixed", "nothing", "empty class", "masks"],
)
def test_other_layouts_are_refused(tmp_path, files, message):
    write(tmp_path, *files)
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path, groups=patient)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        load_image_folder(tmp_path / "nowhere")


def test_names_that_only_look_like_masks_are_images(tmp_path):
    write(tmp_path, "benign/a_mask.png", "benign/b.png")
    assert len(load_image_folder(tmp_path, groups=patient).images) == 2
