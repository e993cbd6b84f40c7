"""Which files are images: those with the content of one, or with the extension of one."""

import os

import cv2
import numpy as np
import pytest

from featbus import commands
from featbus.datasets import load_dataset, load_image_folder, load_images
from featbus.io import ImageReadError, read_image

GRAY = np.full((8, 8), 90, np.uint8)
PNG = cv2.imencode(".png", GRAY)[1].tobytes()
HTML = b"<html><body>404 Not Found</body></html>"
GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8L"
DICOM = bytes(128) + b"DICM"


def write(root, **contents):
    for name, content in contents.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return root


def patient(path):
    return path.name


@pytest.fixture
def root(tmp_path):
    """Write an export: files without extensions, with wrong ones, and what is no image."""
    benign = {"IM0001": DICOM, "B.PNG": PNG, "c.txt": PNG, "d.png": HTML, "e.tif": b""}
    others = {"notes": b"notes", "f.gif": GIF, "g.webp": WEBP, "DICOMDIR": DICOM, "h.csv": b"BMI,1"}
    contents = {f"benign__{name}": content for name, content in (benign | others).items()}
    return write(tmp_path, malignant__IM0002=DICOM, **contents)


IMAGES = ["B.PNG", "IM0001", "c.txt", "d.png", "e.tif"]
SKIPPED = [f"benign/{name}" for name in ("f.gif", "g.webp", "h.csv", "notes")]


@pytest.mark.parametrize("load", [load_image_folder, load_dataset])
def test_images_are_found_by_content_or_extension(root, load):
    with pytest.warns(UserWarning, match=r"Left out 4 file\(s\) that are no images: ") as caught:
        data = load(root, groups=patient)
    text = str(caught[0].message)
    assert all(repr(name) in text for name in SKIPPED)
    assert data.skipped == SKIPPED
    expected = [*(f"benign/{name}" for name in IMAGES), "malignant/IM0002"]
    assert data.frame["file"].tolist() == expected
    with pytest.warns(UserWarning, match="Left out 4 file"):
        assert load_images(root / "benign").frame["file"].tolist() == IMAGES


def test_strict_refuses_what_is_no_image(root):
    for load in (load_dataset, load_images, commands.extract):
        with pytest.raises(ValueError, match=r"Found 4 file\(s\) .* 'benign/f.gif', .*strict"):
            load(root, strict=True)
    for name in SKIPPED:
        (root / name).unlink()
    assert load_dataset(root, groups=patient, strict=True).skipped == []


@pytest.mark.parametrize("part", ["", "train/"])
def test_files_above_the_classes_are_skipped_too(tmp_path, part):
    classes = [f"{other}{kind}" for other in {part, part and "test/"} for kind in "xy"]
    for folder in classes:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.png").write_bytes(PNG)
    (tmp_path / "groups.csv").write_text(
        "file,group\n" + "".join(f"{f}/a.png,1\n" for f in classes)
    )
    above = {f"{part}left.webp": WEBP, "left.gif": GIF, "y 2.zip": b"PK", "Thumbs.db": b"x"}
    for name, content in above.items():
        (tmp_path / name).write_bytes(content)
    with pytest.warns(UserWarning, match="Left out 3 file") as caught:
        data = load_image_folder(tmp_path, groups=tmp_path / "groups.csv")
    assert data.skipped == sorted({*above} - {"Thumbs.db"})
    assert len(caught) == 1
    with pytest.raises(ValueError, match="Found 3 file.*'left.gif'"):
        load_image_folder(tmp_path, groups=tmp_path / "groups.csv", strict=True)
    for name in data.skipped:
        (tmp_path / name).unlink()
    for load in (load_image_folder, load_images):
        assert load(tmp_path, groups=tmp_path / "groups.csv", strict=True).skipped == []


def test_masks_are_found_by_content(tmp_path):
    write(tmp_path, images__x__a=PNG, masks__x__a=PNG, images__y__b=PNG, masks__y__notes=b"notes")
    data = load_image_folder(tmp_path / "images", masks=tmp_path / "masks", groups=patient)
    assert data.masks.tolist() == [(str(tmp_path / "masks" / "x" / "a"),), None]


def test_what_is_no_regular_file_neither_blocks_nor_crashes(tmp_path):
    write(tmp_path, x__a=PNG, y__b=PNG)
    try:
        os.mkfifo(tmp_path / "x" / "pipe")
        os.mkfifo(tmp_path / "x" / "pipe.png")
        (tmp_path / "x" / "gone").symlink_to(tmp_path / "nowhere")
        (tmp_path / "x" / "gone.png").symlink_to(tmp_path / "nowhere")
    except (AttributeError, OSError):
        pytest.skip("no pipes and links here")
    (tmp_path / "x" / "folder.png").mkdir()
    with pytest.warns(UserWarning, match="Left out 2 file"):
        data = load_image_folder(tmp_path, groups=patient)
    assert data.frame["file"].tolist() == ["x/a", "x/gone.png", "x/pipe.png", "y/b"]
    assert data.skipped == ["x/gone", "x/pipe"]
    with pytest.raises(ImageReadError, match="a pipe"):
        read_image(data.images[2])
