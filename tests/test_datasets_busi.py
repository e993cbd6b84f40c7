import shutil
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pandas as pd
import pytest
from _data import data_dir
from numpy.testing import assert_array_equal
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from featbus import ShapeStatistics, load_busi, load_masked
from featbus.datasets import (
    GroupsWarning,
    _base,
    _busi,
    describe_dataset,
    load_dataset,
    load_images,
)
from featbus.groups import GROUPS_FOUND
from featbus.io import read_mask

GRAY = np.full((6, 8), 90, dtype=np.uint8)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def lesion(rows, columns):
    mask = np.zeros((6, 8), dtype=np.uint8)
    mask[rows, columns] = 255
    return mask


@pytest.fixture
def release(tmp_path):
    """A release with gaps in its numbers, an image with two lesions, and files not of it."""
    root = tmp_path / "busi"
    for kind, numbers in {"benign": (2, 10, 1), "malignant": (3,), "normal": (1,)}.items():
        for number in numbers:
            write(root / kind / f"{kind} ({number}).png", GRAY)
    opaque = np.zeros((6, 8, 4), dtype=np.uint8)
    opaque[..., 3] = 255
    opaque[4, 5:7, :3] = 255
    write(root / "benign" / "benign (1)_mask.png", lesion(1, slice(2, 5)))
    write(root / "benign" / "benign (2)_mask.png", lesion(2, 2))
    write(root / "benign" / "benign (10)_mask.png", lesion(0, slice(0, 3)))
    write(root / "benign" / "benign (10)_mask_1.png", opaque)
    write(root / "malignant" / "malignant (3)_mask.png", lesion(slice(2, 4), slice(2, 4)))
    write(root / "normal" / "normal (1)_mask.png", np.zeros((6, 8, 3), dtype=np.uint8))
    (root / "benign" / "Thumbs.db").touch()
    (root / "benign" / "._benign (1).png").touch()
    return root


@pytest.fixture
def table():
    """One row per image of the release, and one of an image that is not in it."""
    files = ["benign (1).png", "benign (2).png", "benign (10).png", "malignant (3).png"]
    return pd.DataFrame(
        {
            "file": [*files, "normal (1).png", "normal (9).png"],
            "group": [4, 4, 7, 8, 9, 10],
            "objection": ["", "", "axilla", "", "", ""],
            "class": "not the folder",
        }
    )


def load(release, table, **columns):
    return load_busi(release, groups=table.assign(**columns))


def test_images_come_by_class_and_number(release, table):
    busi = load(release, table)
    assert busi.frame["file"].tolist() == table["file"].tolist()[:5]
    assert busi.images[2] == str(release / "benign" / "benign (10).png")
    assert_array_equal(busi.target, [0, 0, 0, 1, 2])
    assert busi.target.dtype == busi.groups.dtype == np.intp
    assert busi.target_names == ["benign", "malignant", "normal"]
    assert busi.frame["masks"].tolist() == [1, 1, 2, 1, 1]
    assert "10.17632/k8t3gnx9h6.1" in busi.DESCR


def test_masks_are_joined_and_opacity_is_no_lesion(release, table):
    masks = load(release, table).masks
    assert masks.dtype == object
    assert masks[2] == tuple(
        str(release / "benign" / f"benign (10)_mask{end}.png") for end in ("", "_1")
    )
    joined = lesion(0, slice(0, 3)) + lesion(4, slice(5, 7)) > 0
    assert_array_equal(read_mask(masks[2], GRAY.shape), joined)
    assert not read_mask(masks[4], GRAY.shape).any()


def test_without_groups_they_are_unknown_and_a_warning_says_so(release):
    with pytest.warns(GroupsWarning, match="groups=") as records:
        busi = load_busi(release, groups=None)
    assert records[0].filename == __file__
    assert busi.groups is None
    assert "group" not in busi.frame
    assert busi.DESCR.endswith("Groups unknown: every image counted as its own patient.")


def test_groups_and_columns_come_from_the_table(release, table, tmp_path):
    table.to_csv(tmp_path / "groups.csv", index=False)
    busi = load_busi(release, groups=tmp_path / "groups.csv")
    assert busi.groups[0] == busi.groups[1]
    assert len(set(busi.groups)) == 4
    assert busi.frame["listed_group"].tolist() == ["4", "4", "7", "8", "9"]
    assert busi.frame.loc[busi.frame["objection"] == "axilla", "file"].tolist() == [
        "benign (10).png"
    ]
    assert busi.frame["class"].tolist() == ["benign"] * 3 + ["malignant", "normal"]
    assert_array_equal(busi.frame["group"], busi.groups)


@pytest.mark.parametrize(
    ("similar", "expected"),
    [
        (["", "", "", "", "", ""], [0, 0, 1, 2, 3]),
        ([7.0, None, None, None, None, None], [0, 0, 0, 1, 2]),
        (["", "7; 8", "", "", "", ""], [0, 0, 0, 0, 1]),
        # 7 and 9 are linked only through 10, which has no image on disk.
        (["", "", "10", "", "", "9"], [0, 0, 1, 2, 1]),
    ],
    ids=["none", "numbers with gaps", "several", "through an absent image"],
)
def test_similar_groups_become_one(release, table, tmp_path, similar, expected):
    table["similar_groups"] = similar
    table.to_csv(tmp_path / "groups.csv", index=False)
    for groups in (table, tmp_path / "groups.csv"):
        found = load_busi(release, groups=groups).groups
        assert pd.factorize(found)[0].tolist() == expected


def test_the_published_list_of_groups_is_read(release, tmp_path):
    lines = [
        "ID;Filename;Objection;Annotation",
        "{1&440};{benign (1)&malignant (3)};multiclass;text&doppler",
        *("{2};{benign (2)};;", "{10&648};{benign (10)&normal (1)};;", "{9};{benign (9)};axilla;"),
    ]
    for separator in ";,":
        text = "\n".join(line.replace(";", separator) for line in lines)
        (tmp_path / "list.csv").write_text(text)
        busi = load_busi(release, groups=tmp_path / "list.csv")
        assert busi.groups.tolist() == [0, 1, 2, 0, 2]
        assert busi.frame["Objection"].tolist()[::3] == ["multiclass"] * 2
        assert not {"ID", "Filename"} & {*busi.frame}


def test_paths_in_a_table_are_relative_to_the_folder(release):
    names = load_busi(release, groups=None).images.tolist()
    files = [Path(name).relative_to(release).as_posix() for name in names]
    table = pd.DataFrame({"file": files, "group": [0, 1, 2, 0, 1]})
    assert load_busi(release, groups=table).groups.tolist() == [0, 1, 2, 0, 1]


def test_a_table_of_ids_is_no_published_list(release):
    names = load_busi(release, groups=None).images.tolist()
    table = pd.DataFrame({"ID": [1, 1, 2, 2, 3], "Filename": [Path(name).stem for name in names]})
    with pytest.raises(ValueError, match="columns.*expected 'file' and 'group'"):
        load_busi(release, groups=table)


def test_groups_of_near_duplicates_are_found_in_the_images(release):
    speckle = np.random.default_rng(0).integers(0, 256, (4, 6, 8), dtype=np.uint8)
    write(release / "benign" / "benign (2).png", speckle[0])
    write(release / "benign" / "benign (10).png", speckle[1])
    write(release / "malignant" / "malignant (3).png", speckle[0])
    write(release / "normal" / "normal (1).png", speckle[2])
    with pytest.warns(UserWarning, match="5 images are in 4 groups of near-dup") as records:
        busi = load_busi(release)
    assert [record.filename for record in records] == [__file__]
    assert busi.groups.tolist() == busi.frame["listed_group"].tolist() == [0, 1, 2, 1, 3]
    assert "in 4 groups of near-duplicates, which are not patients" in busi.DESCR
    with pytest.warns(UserWarning, match="of near-duplicates"):
        found = load_dataset(release)
    assert describe_dataset(found).startswith("BUSI: 5 images in 4 groups of near-duplicates (be")
    assert busi.groups[busi.target < 2].note == found.groups.note == GROUPS_FOUND
    assert load_busi(release, groups=busi.frame[["file", "group"]]).groups.dtype == np.intp
    assert not hasattr(load_busi(release, groups=busi.frame[["file", "group"]]).groups, "note")
    listed = busi.frame[["file", "group", "origin"]]
    assert load_busi(release, groups=listed).groups.note == GROUPS_FOUND


def test_progress_is_shown_after_two_seconds(release, monkeypatch):
    shown = Mock(side_effect=lambda items, *names, **options: items)
    for module in (_base, _busi):
        monkeypatch.setattr(module, "tqdm", shown)
    with pytest.warns(UserWarning, match="near-duplicates"):
        load_busi(release)
    load_images(release, masks="_mask")
    assert [call.args[1] for call in shown.call_args_list] == ["near-duplicates", "headers"]
    for call in shown.call_args_list:
        assert (call.kwargs["delay"], call.kwargs["leave"]) == (2, False)


def test_an_image_that_cannot_be_read_has_no_near_duplicate(release):
    (release / "benign" / "benign (2).png").write_bytes(b"cut off")
    with pytest.warns(UserWarning, match="5 images are in 2 groups"):
        busi = load_busi(release)
    assert busi.groups.tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[1:], r"no row for 'benign \(1\).png'"),
        (lambda table: table.drop(columns="group"), r"expected 'file' and 'group'"),
        (lambda table: table.assign(similar_groups="77"), r"'similar_groups' names '77'"),
    ],
    ids=["image", "column", "unknown"],
)
def test_unusable_tables_are_refused(release, table, change, message):
    with pytest.raises(ValueError, match=message):
        load_busi(release, groups=change(table))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "benign/benign (2)_mask.png").unlink(), r"no mask for .*\(2\)\.png"),
        (lambda root: (root / "benign/benign (2).png").unlink(), r"without an image.*\(2\)_mask"),
        (lambda root: write(root / "normal/copy.png", GRAY), "'normal/copy.png'"),
        (lambda root: write(root / "normal/benign (7).png", GRAY), r"'normal/benign \(7\).png'"),
        (lambda root: [path.unlink() for path in (root / "normal").iterdir()], "no images"),
    ],
    ids=["no mask", "no image", "another name", "another class", "empty"],
)
def test_broken_releases_are_refused(release, table, change, message):
    change(release)
    with pytest.raises(ValueError, match=message):
        load(release, table)


def test_folders_of_the_release_may_be_missing(release, table):
    shutil.rmtree(release / "benign")
    busi = load(release, table)
    assert busi.target_names == ["malignant", "normal"]
    assert_array_equal(busi.target, [0, 1])
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        load(release / "nowhere", table)
    with pytest.raises(ValueError, match="no class in .*normal"):
        load(release / "normal", table)


def test_no_file_is_left_out_in_silence(release, table):
    write(release / "cyst" / "a.png", GRAY)
    with pytest.raises(ValueError, match="Found 'cyst' in"):
        load(release, table)
    (release / "cyst" / "a.png").unlink()
    (release / "normal" / "notes.doc").write_text("notes")
    with pytest.warns(UserWarning, match=r"Left out 1 file.*'normal/notes.doc'"):
        assert load(release, table).skipped == ["normal/notes.doc"]
    with pytest.raises(ValueError, match="'normal/notes.doc'"):
        load_busi(release, groups=table, strict=True)
    write(release / "normal/more/normal (2).png", GRAY)
    with pytest.raises(ValueError, match=r"Found 'normal/more/normal \(2\)\.png' in"):
        load(release, table)


@pytest.fixture(scope="module")
def real():
    root = data_dir("busi")
    return load_busi(root, groups=root / "groups.csv")


def test_real_counts(real):
    assert_array_equal(np.bincount(real.target), [266, 130, 84])
    assert real.frame["masks"].sum() == 489
    assert real.frame.groupby("class")["number"].is_monotonic_increasing.all()


def test_real_groups_keep_duplicates_and_similar_lesions_together(real):
    group_of = real.frame.groupby("listed_group")["group"]
    assert (group_of.nunique() == 1).all()
    assert group_of.first()["425"] == group_of.first()["492"]
    # Five pairs are similar: 321-322, 351-352, 377-378 and 425-492, named from both sides.
    assert len(set(real.groups)) == real.frame["listed_group"].nunique() - 4
    for train, test in GroupKFold(5).split(real.images, real.target, real.groups):
        assert not set(real.frame["listed_group"][train]) & set(real.frame["listed_group"][test])


@pytest.mark.slow  # tests/test_near_duplicates.py looks at the same images
def test_real_near_duplicates_are_the_listed_groups(real):
    with pytest.warns(UserWarning, match="480 images are in 356 groups of near-duplicates"):
        found = load_busi(data_dir("busi"))
    listed = real.frame["listed_group"].to_numpy()
    pairs = np.triu_indices(len(listed), 1)
    together, expected = (
        np.equal.outer(groups, groups)[pairs] for groups in (found.groups, listed)
    )
    assert (together & expected).sum() / expected.sum() >= 0.96
    assert not (together & ~expected).any()


def test_real_masks_have_a_lesion_unless_normal(real):
    for image, paths, target in zip(real.images[::5], real.masks[::5], real.target[::5]):
        shape = cv2.imread(image, cv2.IMREAD_GRAYSCALE).shape
        mask = read_mask(paths, shape)
        assert mask.any() == (target != 2)
        assert mask.mean() < 0.8


@pytest.mark.slow
def test_real_shapes_tell_malignant_from_benign(real):
    lesion = real.target < 2
    images = load_masked(real, lesion)
    shapes = ShapeStatistics().set_output(transform="pandas").fit_transform(images)
    assert shapes.shape == (396, 18)
    areas = [sum(mask_areas(paths)) for paths in real.masks[lesion]]
    # Lesions of an image may overlap.
    assert (shapes["shape_area"] <= areas).all()
    assert np.mean(shapes["shape_area"] == areas) > 0.95
    assert roc_auc_score(real.target[lesion] == 0, shapes["shape_solidity"]) == pytest.approx(
        0.96, abs=0.01
    )


def mask_areas(paths):
    """Return the areas of the mask files of an image, as OpenCV reads them."""
    return [np.count_nonzero(cv2.imread(path, cv2.IMREAD_GRAYSCALE)) for path in paths]
