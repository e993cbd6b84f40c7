import unicodedata

import cv2
import numpy as np
import pandas as pd
import pytest
from _image_files import dicom
from numpy.testing import assert_array_equal
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline

from featbus import FeatureBus, IntensityStatistics, load_masked
from featbus.commands import predict
from featbus.datasets import GroupsWarning, load_image_folder, load_images

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
    return root


@pytest.fixture
def root(tmp_path):
    others = [
        "benign/notes.txt",
        "benign/.p1.png",
        "benign/desktop.ini",
        ".cache/a.png",
        "malignant/.thumbs/a.png",
    ]
    write(tmp_path, *reversed(FILES), *others, "readme.md")
    return tmp_path


def patient(path):
    return path.stem.split("_")[0]


def test_folders_are_classes(root):
    with pytest.warns(UserWarning, match="2 file.*'benign/notes.txt', 'readme.md'"):
        data = load_image_folder(root, groups=patient)
    assert data.images.tolist() == [str(root / file) for file in FILES]
    assert data.target_names == ["benign", "malignant"]
    assert_array_equal(data.target, [0, 0, 0, 1, 1])
    assert data.frame["file"].tolist() == FILES
    assert data.frame["class"].tolist() == ["benign"] * 3 + ["malignant"] * 2
    assert data.masks.tolist() == [None] * 5
    assert data.DESCR.endswith("by class: benign 3, malignant 2.")


def test_groups_from_the_path(root):
    data = load_image_folder(str(root), groups=patient)
    assert_array_equal(data.groups, [0, 0, 1, 0, 2])
    assert data.frame["listed_group"].tolist() == ["p1", "p1", "p2", "p1", "p3"]
    data = load_image_folder(root, groups=lambda path: (path.parts[0], patient(path)))
    assert_array_equal(data.groups, [0, 0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"no group for 'malignant/p3_a\.pgm'"):
        load_image_folder(root, groups=lambda path: None if "p3" in path.name else 1)


def test_groups_from_a_table(root):
    table = pd.DataFrame({"file": FILES, "group": [5, 5, 6, 7, 8], "age": [41, 41, 63, 50, 71]})
    table["similar_groups"] = [None, None, 8, 5, None]
    data = load_image_folder(root, groups=table[::-1])
    assert pd.factorize(data.groups)[0].tolist() == [0, 0, 1, 0, 1]
    assert data.frame["age"].tolist() == [41, 41, 63, 50, 71]


@pytest.mark.parametrize(
    ("separator", "name"),
    [
        (",", lambda root, file: str(root / file)),
        (";", lambda root, file: file.replace("/", "\\")),
        ("\t", lambda root, file: file.rpartition("/")[2]),
        (",", lambda root, file: unicodedata.normalize("NFD", file)),
    ],
    ids=["absolute", "Windows", "name", "decomposed"],
)
def test_what_a_table_may_call_an_image(root, separator, name):
    write(root, "benign/Müller.png")
    files = sorted([*FILES, "benign/Müller.png"])
    table = pd.DataFrame({"file": [name(root, file) for file in files], "group": [*"cbacba"]})
    table.to_csv(root / "groups.csv", index=False, sep=separator, encoding="utf-8-sig")
    data = load_image_folder(root, groups=root / "groups.csv")
    assert data.frame["file"].tolist() == files
    assert data.frame["listed_group"].tolist() == [*"cbacba"]


def test_a_name_that_two_images_have_is_no_name(tmp_path):
    write(tmp_path, "x/a.png", "y/a.png", "y/b.png")
    table = pd.DataFrame({"file": ["a.png", "b.png", "x/a.png"], "group": 1})
    with pytest.raises(ValueError, match=r"no row for 'y/a.png'"):
        load_image_folder(tmp_path, groups=table)


@pytest.mark.parametrize(
    "names",
    [["p1", "P1 ", " p1", "p2"], ["M\u00fc", "Mu\u0308", "m\u00fc ", "p"], ["7", 7, "7.0 ", 8.5]],
    ids=["spaces and case", "accents", "numbers"],
)
def test_one_group_in_several_spellings(tmp_path, names):
    files = [f"x/{index}.png" for index in range(4)]
    write(tmp_path, *files)
    data = load_image_folder(tmp_path, groups=pd.DataFrame({"file": files, "group": names}))
    assert data.groups.tolist() == [0, 0, 0, 1]
    assert data.frame["listed_group"].tolist() == names


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,group\nMüller,1\n".encode("latin-1"), "groups.csv' .*UTF-8"),
        (b"", "groups.csv' cannot be read"),
        (b"file,group\nx/a.png,NA\ngone.png,\n", "no group for 'x/a.png'"),
        (b'file,group\nx/a.png," "', "no group for 'x/a.png'"),
        (b"file,group\nx/a.png,Doe, Jane\nx/b.png,Doe, Joan", "several rows for 'Doe'"),
        (b"file,group\nx/a.png,Roe\nx/b.png,Doe, Joan", "line 3.* quotes"),
        (b"file,group\n=a.png,A\n'=a.png,B\n", "several rows for '=a.png'"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, table, message):
    write(tmp_path / "scans", "x/a.png")
    (tmp_path / "groups.csv").write_bytes(table)
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path / "scans", groups=tmp_path / "groups.csv")


def test_names_that_are_not_unicode(tmp_path):
    folder = b"M\xfcller".decode("utf-8", "surrogateescape")
    try:
        write(tmp_path, f"{folder}/a.png", "y/b.png")
    except (OSError, UnicodeEncodeError):
        pytest.skip("the file system has Unicode names only")
    data = load_image_folder(tmp_path, groups=lambda path: path.name)
    assert data.frame["file"].tolist() == ["M\\xfcller/a.png", "y/b.png"]
    assert data.target_names == ["M\\xfcller", "y"]
    assert data.images[0] == str(tmp_path / folder / "a.png")


def test_without_groups_they_are_unknown_and_a_warning_says_so(root):
    with pytest.warns(GroupsWarning, match="groups=") as records:
        data = load_image_folder(root)
    assert [record.filename for record in records] == [__file__] * 2
    assert data.groups is None
    assert "group" not in data.frame
    unknown = "Groups unknown: every image counted as its own patient."
    assert data.DESCR.endswith(unknown)
    assert unknown not in load_image_folder(root, groups=patient).DESCR


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.png", "b.png"], "'a.png', 'b.png'.*expected one folder per class"),
        (["benign/a.png", "b.png"], "'b.png'.*'benign'"),
        (["readme.md"], "no folders in .*expected one folder per class"),
        (["benign/a.png", "normal/b"], "no images in '.*normal'"),
        (["x/a.png", "x/a_mask_1.png"], "masks among .*a_mask_1.png'.*masks='_mask'"),
        (["x/a.png", "x/a_MASK.png"], "masks among .*a_MASK.png'.*masks='_MASK'"),
    ],
)
def test_other_layouts_are_refused(tmp_path, files, message):
    write(tmp_path, *files)
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path, groups=patient)


@pytest.mark.parametrize(
    ("end", "suffix"),
    [
        *(("-mask", "-mask"), ("_Segmentation2", "_Segmentation"), ("_GT", "_GT")),
        *(("_label_1", "_label"), (" roi", " roi"), ("_ground_truth", "_ground_truth")),
    ],
)
def test_masks_next_to_their_images_are_refused_and_then_found(tmp_path, end, suffix):
    stems = ("benign/p1_a", "benign/p1_b", "benign/p1", "malignant/1.2.3")
    write(tmp_path, *(f"{stem}.png" for stem in stems), *(f"{stem}{end}.png" for stem in stems[1:]))
    for load in (load_image_folder, load_images):
        with pytest.raises(ValueError, match=f"masks among .*masks='{suffix}'"):
            load(tmp_path)
    data = load_image_folder(tmp_path, masks=suffix, groups=patient)
    assert data.frame["masks"].tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize(
    "files",
    [
        ["p1_left", "p1_right", "p2_left", "p2_right"],
        ["a", "a_1", "a_2", "b", "b_1", "c (1)", "c (2)", "c"],
        ["a", "a_copy", "b", "c_mask", "p1/a_copy"],
    ],
)
def test_views_and_copies_are_images(tmp_path, files):
    write(tmp_path, *(f"x/{file}.png" for file in files))
    assert len(load_image_folder(tmp_path, groups=patient).images) == len(files)


MASKS = {
    "benign/p1_a.png": ["benign/p1_a_seg.png", "benign/p1_a_seg_1.bmp"],
    "benign/p1_b.JPG": ["benign/p1_b_seg.png"],
    "benign/site 2/p2_a.dcm": ["benign/site 2/p2_a_seg2.tif"],
    "malignant/p3_a.pgm": ["malignant/p3_a_seg.PNG"],
}


def test_masks_next_to_their_images(root):
    write(root, *(file for files in MASKS.values() for file in files))
    data = load_image_folder(root, masks="_seg", groups=patient)
    assert data.frame["file"].tolist() == FILES
    expected = [tuple(str(root / mask) for mask in MASKS.get(file, ())) or None for file in FILES]
    assert data.masks.tolist() == expected
    assert data.frame["masks"].tolist() == [2, 1, 1, 0, 1]
    assert data.DESCR.endswith("by class: benign 3, malignant 2; 1 without a mask.")


@pytest.mark.parametrize("place", ["outlines", "images/outlines", "images/benign/outlines"])
def test_a_folder_of_masks_mirrors_the_images(tmp_path, place):
    masks = tmp_path / place
    write(tmp_path / "images", *FILES)
    write(masks, "benign/p1_a.tif", "benign/site 2/p2_a.png", "malignant/p1_c.tif")
    write(masks, "malignant/.p1_c.png", "readme.md")
    data = load_image_folder(tmp_path / "images", masks=masks, groups=patient)
    assert data.target_names == ["benign", "malignant"]
    assert data.masks.tolist() == [
        (str(masks / "benign/p1_a.tif"),),
        None,
        (str(masks / "benign/site 2/p2_a.png"),),
        (str(masks / "malignant/p1_c.tif"),),
        None,
    ]
    assert data.DESCR.endswith("; 2 without a mask.")
    images = load_images(tmp_path / "images", masks=masks)
    assert images.frame["file"].tolist() == FILES
    assert images.masks.tolist() == data.masks.tolist()
    some = load_images([tmp_path / "images" / FILES[index] for index in (4, 2)], masks=masks)
    assert some.masks.tolist() == [None, data.masks[2]]


@pytest.mark.parametrize("image", ["1.2.3", "1.2.3.dcm", "scan.v1.png"])
def test_masks_of_files_without_extension(tmp_path, image):
    eye = cv2.imencode(".png", np.eye(8, dtype=np.uint8))[1].tobytes()
    write(tmp_path / "masks/x", f"{image.removesuffix('.dcm').removesuffix('.png')}.png")
    write(tmp_path / "images/x", image)
    (tmp_path / "images/x" / image).write_bytes(eye)
    for load in (load_image_folder, load_images):
        data = load(tmp_path / "images", masks=tmp_path / "masks")
        assert data.frame["masks"].tolist() == [1]


@pytest.mark.parametrize(
    ("files", "masks", "message"),
    [
        (
            ["benign/p1_a_mask.png", "benign/p9_mask.png"],
            "_mask",
            r"without an image.*p9_mask\.png', expected one image such as 'p9\.png' for the first",
        ),
        (["../masks/malignant/p1_a.png"], "masks", r"without an image.*malignant.p1_a\.png"),
        ([], "_mask", "no masks for masks='_mask'"),
        (["../masks/notes"], "masks", "no masks for masks='.*masks'"),
        (["benign/p1_a_mask.png", "benign/p1_a_mask_left.png"], "_mask", "masks among .*_left"),
        ([], "images", "no images in"),
        ([], "images/benign", "no images in|without an image"),
    ],
)
def test_masks_that_are_refused(tmp_path, files, masks, message):
    write(tmp_path / "images", *FILES, *files)
    masks = masks if masks == "_mask" else tmp_path / masks
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path / "images", masks=masks, groups=patient)


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


def test_files_stay_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path, "x/b.png", "x/b_mask.png", "a", "x/a.png", "x/a_mask.png"))
    data = load_images(["x/b.png", "x/b_mask.png", "a"], masks="_mask")
    assert data.frame["file"].tolist() == ["x/b.png", "a"]
    assert data.masks.tolist() == [(str(tmp_path / "x/b_mask.png"),), None]
    assert load_images([tmp_path / "x/b.png"]).frame["file"].tolist() == ["b.png"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"source": "none"}, FileNotFoundError, "no folder 'none'"),
        ({"source": ["a.png"], "masks": "none"}, FileNotFoundError, "no folder 'none'"),
        ({"source": "."}, ValueError, "Found no images in '.', expected PNG, JPEG, "),
        ({"source": []}, ValueError, r"source is \[\], expected"),
        ({"source": 3}, ValueError, "source is 3, expected"),
        ({"source": ".", "groups": 3}, ValueError, "groups is 3, expected"),
        ({"source": ["a.png"], "masks": "_mask"}, ValueError, "no masks for masks='_mask'"),
    ],
)
def test_what_load_images_refuses(tmp_path, monkeypatch, options, error, message):
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
    with pytest.raises(ValueError, match=r"several images of one name: '.*a_mask.png'"):
        load_images(tmp_path, masks="_mask")
    assert len(load_images(tmp_path).images) == 4
    assert load_images([tmp_path / "a.png"], masks="_mask").frame["masks"].tolist() == [1]
    folder = write(tmp_path / "pairs", "b1_img.png", "b1_seg.png")
    with pytest.raises(ValueError, match=r"without an image.*b1_seg.png', .* such as 'b1\.png'"):
        load_images(folder, masks="_seg")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("file,group\na.png,007\nb.png,7\nabsent.png,\n", ["007", "7"]),
        ("file,group\na.png,1e3\nb.png,1000\n", ["1e3", "1000"]),
        ('file, group\na.png, p1\nb.png, "Doe, Jane"\n', ["p1", "Doe, Jane"]),
        ("file;group\na.png;01\nb.png;1\n", ["01", "1"]),
    ],
    ids=["leading zeros", "exponents", "spaces", "semicolons"],
)
def test_names_of_groups_are_text(tmp_path, table, expected):
    write(tmp_path, "images/a.png", "images/b.png")
    (tmp_path / "groups.csv").write_text(table)
    data = load_images(tmp_path / "images", groups=tmp_path / "groups.csv")
    assert data.frame["listed_group"].tolist() == expected
    assert data.groups.tolist() == [0, 1]


def write_clips(root):
    """Write a clip of three frames of each class, and a picture."""
    stack = np.random.default_rng(0).integers(0, 256, (3, 13, 17), dtype=np.uint8)
    for kind in ("benign", "malignant"):
        (root / kind).mkdir(parents=True)
        clip = dicom(stack.reshape(39, 17), NumberOfFrames=3, Rows=13)
        (root / kind / f"{kind} 1.dcm").write_bytes(clip)
    cv2.imwrite(str(root / "benign" / "b.png"), stack[0])
    return stack


def test_frames_of_a_clip_are_images_of_one_group(tmp_path):
    stack = write_clips(tmp_path)
    data = load_image_folder(tmp_path, groups=lambda path: path.suffix)
    clips = [[f"{kind}/{kind} 1.dcm#{index}" for index in range(3)] for kind in data.target_names]
    files = ["benign/b.png", *clips[0], *clips[1]]
    assert data.frame["file"].tolist() == files
    assert data.images.tolist() == [str(tmp_path / file) for file in files]
    assert data.target.tolist() == [0] * 4 + [1] * 3
    assert data.groups.tolist() == [0] + [1] * 6
    listed = pd.DataFrame(
        {"file": ["b.png", "benign 1.dcm", "malignant 1.dcm"], "group": [1, 2, 3]}
    )
    for table in (listed, data.frame[["file"]].assign(group=[1, 2, 2, 2, 3, 3, 3])):
        assert load_image_folder(tmp_path, groups=table).groups.tolist() == [0] + [1] * 3 + [2] * 3
    with pytest.warns(GroupsWarning, match="only the frames of one file are kept together"):
        unknown = load_image_folder(tmp_path).groups
    assert unknown.tolist() == [0] + [1] * 3 + [2] * 3
    assert "patients unknown" in unknown.note
    apart = data.frame[["file"]].assign(group=range(7))  # a table cannot split a file
    assert load_image_folder(tmp_path, groups=apart).groups.tolist() == [0] + [1] * 3 + [2] * 3
    (tmp_path / "benign" / "benign 1.dcm#1").write_bytes((tmp_path / "benign/b.png").read_bytes())
    with pytest.raises(ValueError, match="Found a file named as a frame"):
        load_image_folder(tmp_path, groups=lambda path: path.stem)
    (tmp_path / "benign" / "benign 1.dcm#1").unlink()
    expected = IntensityStatistics().transform([stack[0], *stack / 255, *stack / 255])
    for memory in (None, tmp_path / "rows.sqlite"):
        rows = FeatureBus(IntensityStatistics(), memory=memory).fit_transform(data.images)
        np.testing.assert_allclose(rows, expected, rtol=1e-5)


def test_masks_of_a_clip_and_frames_by_name(tmp_path):
    write_clips(tmp_path)
    cv2.imwrite(str(tmp_path / "benign" / "benign 1_mask.png"), np.eye(13, 17, dtype=np.uint8))
    data = load_image_folder(tmp_path, masks="_mask", groups=lambda path: path.stem)
    assert data.frame["masks"].tolist() == [0, 1, 1, 1, 0, 0, 0]
    assert load_masked(data, [2])[0].count() == 13
    clip = tmp_path / "malignant" / "malignant 1.dcm"
    assert load_images([clip]).frame["file"].tolist() == [f"{clip.name}#{k}" for k in range(3)]
    assert load_images([f"{clip}#2"]).frame["file"].tolist() == [f"{clip.name}#2"]
    model = make_pipeline(IntensityStatistics(), DummyClassifier())
    model.fit(data.images, data.target)
    found = predict(model, f"{clip}#2")
    assert found["path"].tolist() == [f"{clip.name}#2"]
    assert found["error"].tolist() == [None]
    assert len(predict(model, clip)) == 3
