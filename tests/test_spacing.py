"""What headers say: how far pixels are apart, and which breast an image shows."""

import struct
import zlib
from contextlib import suppress
from unittest.mock import Mock

import cv2
import numpy as np
import pandas as pd
import PIL.Image
import pytest
import tifffile
from _image_files import dicom, without_preamble
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from featbus import IntensityStatistics, load_image_folder
from featbus.commands import extract
from featbus.datasets import load_images
from featbus.io import (
    ImageReadError,
    SpacedImage,
    _spacing,
    read_image,
    read_laterality,
    read_spacing,
)
from featbus.parameters import InvalidParameterError


def write(path, **elements):
    dataset = Dataset()
    dataset.PatientName = "Doe^Jane"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


def region(unit=3, down=0.01, across=0.02):
    found = Dataset()
    found.PhysicalUnitsXDirection = found.PhysicalUnitsYDirection = unit
    found.PhysicalDeltaX, found.PhysicalDeltaY = across, down
    return found


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PixelSpacing": ["0.1", "0.2"]}, (0.1, 0.2)),
        ({"ImagerPixelSpacing": [0.07, 0.07]}, (0.07, 0.07)),
        ({"PixelSpacing": [0.1, 0.2], "ImagerPixelSpacing": [3, 3]}, (0.1, 0.2)),
        ({"PixelSpacing": [0, 0]}, None),
        ({"PixelSpacing": [0, 0], "SequenceOfUltrasoundRegions": [region()] * 2}, (0.1, 0.2)),
        ({"SequenceOfUltrasoundRegions": [region(), region(down=0.02)]}, None),
        ({"SequenceOfUltrasoundRegions": [region(), region(unit=4)]}, None),
        ({}, None),
    ],
)
def test_spacing(tmp_path, elements, expected):
    path = write(tmp_path / "scan.dcm", **elements)
    found = read_spacing(path)
    assert found is None if expected is None else np.allclose(found, expected)
    assert read_spacing(path.read_bytes()) == found


@pytest.mark.parametrize("content", [b"", b"a text", bytes(200), b"\x08\0\x08\0 damaged"])
def test_a_name_alone_makes_no_dicom_file(tmp_path, content):
    (tmp_path / "scan.dcm").write_bytes(content)
    with suppress(ImageReadError):
        assert read_spacing(tmp_path / "scan.dcm") is None
    with pytest.raises(ImageReadError, match=r"scan\.dcm"):
        read_laterality(tmp_path / "scan.dcm")


def test_errors(tmp_path):
    with pytest.raises(ImageReadError, match=r"none\.dcm"):
        read_spacing(tmp_path / "none.dcm")
    path = write(tmp_path / "scan.dcm", PixelSpacing=[0.1, 0.2])
    path.write_bytes(path.read_bytes().replace(b"0.1\\0.2", b"?.1\\Doe"))
    with pytest.raises(ImageReadError, match=r"scan\.dcm.*DICOM") as caught:
        read_spacing(path)
    assert "Doe" not in str(caught.value)


IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)


def png(path, across, down=None, unit=1, damage=0):
    """Write a PNG file with a pHYs chunk, in pixels per meter if `unit` is 1."""
    plain = cv2.imencode(".png", IMAGE)[1].tobytes()
    content = b"pHYs" + struct.pack(">IIB", across, across if down is None else down, unit)
    chunk = struct.pack(">I", 9) + content + struct.pack(">I", zlib.crc32(content) + damage)
    path.write_bytes(plain[:33] + chunk + plain[33:])
    return path


def tiff(path, resolution, unit="CENTIMETER", pixels=IMAGE, **options):
    """Write a TIFF file; the resolution is (across, down)."""
    tifffile.imwrite(path, pixels, resolution=resolution, resolutionunit=unit, **options)
    return path


@pytest.mark.parametrize(
    ("across", "down", "options", "expected"),
    [
        (10_000, 5_000, {}, (0.2, 0.1)),
        (14_286, 14_286, {}, (0.07, 0.07)),
        *((dots, dots, {}, None) for dots in (2834, 3780, 11811)),
        (10_000, 2835, {}, None),
        (10_000, 10_000, {"unit": 0}, None),
        (10_000, 10_000, {"damage": 1}, None),
        (1_000_001, 1_000_001, {}, None),
    ],
)
def test_png(tmp_path, across, down, options, expected):
    path = png(tmp_path / "a.png", across, down, **options)
    found = read_spacing(path)
    assert read_spacing(path.read_bytes()) == found
    assert found is None if expected is None else np.allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}])
def test_tiff(tmp_path, options):
    path = tiff(tmp_path / "a.tif", (100, 50), **options)
    np.testing.assert_allclose(read_spacing(path), (0.2, 0.1))
    path = tiff(tmp_path / "b.tif", (508, 254), "INCH", **options)
    np.testing.assert_allclose(read_spacing(path), (0.1, 0.05))


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_picture_that_is_turned(tmp_path, kind):
    exif, path = PIL.Image.Exif(), tmp_path / f"a.{kind}"
    exif[274] = 6
    PIL.Image.fromarray(IMAGE).save(path, dpi=(254, 508), exif=exif)
    assert read_image(path).shape == IMAGE.T.shape
    np.testing.assert_allclose(read_spacing(path), (0.1, 0.05))


@pytest.mark.parametrize(
    ("resolution", "unit"),
    [
        *(((dots, dots), "INCH") for dots in (1, 72, 300)),
        ((100, 118.11), "CENTIMETER"),
        ((100, 100), "NONE"),
        ((0.5, 0.5), "CENTIMETER"),
        ((20_000, 20_000), "CENTIMETER"),
    ],
)
def test_tiff_resolutions_that_tell_nothing(tmp_path, resolution, unit):
    assert read_spacing(tiff(tmp_path / "a.tif", resolution, unit)) is None


@pytest.mark.parametrize("millimeters", [0.02, 0.05, 0.07, 0.085, 0.1, 0.25])
def test_usual_spacings_are_no_defaults(tmp_path, millimeters):
    for path in (
        png(tmp_path / "a.png", round(1000 / millimeters)),
        tiff(tmp_path / "a.tif", (10 / millimeters,) * 2),
        tiff(tmp_path / "b.tif", (25.4 / millimeters,) * 2, "INCH"),
    ):
        np.testing.assert_allclose(read_spacing(path), millimeters, rtol=1e-4)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "bmp"])
def test_what_opencv_and_pillow_write_tells_nothing(tmp_path, suffix):
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), IMAGE)
    assert read_spacing(tmp_path / f"a.{suffix}") is None
    # A resolution in JPEG is ignored.
    dots = (254, 254) if suffix == "jpg" else (72, 72)
    PIL.Image.fromarray(IMAGE).save(tmp_path / f"b.{suffix}", dpi=dots)
    assert read_spacing(tmp_path / f"b.{suffix}") is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sI", 0, b"tEXt", 0) * 100_000,
        struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 2**64 - 1) + bytes(1_000_000),
    ],
)
def test_headers_that_ask_for_much(content):
    assert read_spacing(content) is None


def test_spaced_images():
    assert SpacedImage(IMAGE, 1).spacing == (1.0, 1.0)
    assert SpacedImage(IMAGE, np.float32([0.5, 0.25])).spacing == (0.5, 0.25)
    for pair in (pd.Series([0.2, 0.1], index=[3, 4]), MultiValue(DSfloat, ["0.2", "0.1"])):
        assert SpacedImage(IMAGE, pair).spacing == (0.2, 0.1)
    nan = float("nan")
    for unknown in (None, pd.NA, (0.1, nan), np.array([0.1, None])):
        assert SpacedImage(IMAGE, unknown).spacing is None
    for wrong in (0, (0.1, -1), "0.1", (1, 2, 3), True):
        with pytest.raises(InvalidParameterError, match="spacing is"):
            SpacedImage(IMAGE, wrong)


def test_a_spaced_image_is_an_image(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE)
    masked = np.ma.MaskedArray(IMAGE, IMAGE > 128)
    items = [SpacedImage(item, 0.1) for item in (IMAGE, tmp_path / "a.png", masked)]
    expected = IntensityStatistics().transform([IMAGE, IMAGE, masked])
    for batch in (items, pd.DataFrame({"image": items})):
        np.testing.assert_array_equal(IntensityStatistics().transform(batch), expected)


def test_a_copy_of_a_spaced_image_is_a_copy():
    masked = SpacedImage(np.ma.MaskedArray(IMAGE, IMAGE > 128), 0.1)
    assert not np.shares_memory(np.array(masked), IMAGE)
    assert np.ma.isMaskedArray(np.asanyarray(masked))


def test_loaders_give_the_spacing(tmp_path):
    for name, across in (("x/a", 10_000), ("x/b", 2835), ("y/a", 20_000)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        png(tmp_path / f"{name}.png", across)
    (tmp_path / "x/c.tif").write_bytes(b"II*\0 damaged")
    groups = pd.DataFrame({"file": ["x/a.png", "x/b.png", "x/c.tif", "y/a.png"], "group": range(4)})
    for frame in (load_images(tmp_path).frame, load_image_folder(tmp_path, groups=groups).frame):
        for column in ("spacing_row", "spacing_column"):
            np.testing.assert_allclose(frame[column], [0.1, np.nan, np.nan, 0.05])
    assert "spacing_row" not in load_images([tmp_path / "x/b.png"]).frame
    groups["spacing_row"], groups["spacing_column"] = 0.3, 0.4
    frame = load_images(tmp_path, groups=groups).frame
    assert frame[["spacing_row", "spacing_column"]].to_numpy().tolist() == [[0.3, 0.4]] * 4


def view_code(code):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SCT", "not read"
    return [item]


def test_loaders_give_side_view_and_device(tmp_path):
    device = {"Manufacturer": "ACME ", "ManufacturerModelName": "Scan 3", "InstitutionName": "X"}
    write(tmp_path / "a_RCC.dcm", Rows=4, ImageLaterality="L", ViewPosition="mlo", **device)
    write(tmp_path / "b.dcm", Rows=4, Laterality="R", ViewCodeSequence=view_code("399162004"))
    write(tmp_path / "c_R_CC.dcm", Rows=4, ViewCodeSequence=view_code("R-10226"))
    names = ["d-lcc.png", "e left MLO (2).png", "f.R-ML.png", "g_LCCx.png", "h_call_cc.png"]
    for name in names:
        cv2.imwrite(str(tmp_path / name), IMAGE)
    frame = load_images(tmp_path).frame
    assert [*frame] == ["file", "masks", "side", "view", "manufacturer", "model"]
    frame = frame.astype(object).where(frame.notna(), None)
    assert frame["side"].tolist() == ["left", "right", "right", "left", "left", "right", None, None]
    assert frame["view"].tolist() == ["MLO", "CC", "MLO", "CC", "MLO", "ML", None, None]
    assert frame.loc[0, ["manufacturer", "model"]].tolist() == ["ACME", "Scan 3"]
    assert frame["model"].tolist()[1:] == [None] * 7
    groups = frame[["file"]].assign(group=range(8), view="as in the table")
    frame = load_images(tmp_path, groups=groups).frame
    assert set(frame["view"]) == {"as in the table"}
    assert frame["side"].tolist()[:3] == ["left", "right", "right"]
    table = extract(tmp_path / "d-lcc.png", ["intensity"])
    assert table.loc[0, ["path", "side", "view"]].tolist() == ["d-lcc.png", "left", "CC"]


def test_each_header_is_read_once(tmp_path, monkeypatch):
    write(tmp_path / "a.dcm", Rows=4, ImageLaterality="L", PixelSpacing=[0.1, 0.2])
    opened = Mock(wraps=_spacing.open_image)
    monkeypatch.setattr(_spacing, "open_image", opened)
    assert load_images(tmp_path).frame["spacing_row"].tolist() == [0.1]
    assert opened.call_count == 1


def enhanced(side):
    anatomy, group = Dataset(), Dataset()
    anatomy.FrameLaterality = side
    group.FrameAnatomySequence = [anatomy]
    return [group]


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"ImageLaterality": "L"}, "left"),
        ({"ImageLaterality": "B"}, None),
        ({"ImageLaterality": "", "Laterality": "R"}, "right"),
        ({"SharedFunctionalGroupsSequence": enhanced("L")}, "left"),
        ({"ImageLaterality": ["L", "R"]}, None),
        ({"ImageLaterality": " R"}, "right"),
        ({}, None),
    ],
)
def test_laterality(tmp_path, elements, expected):
    assert read_laterality(write(tmp_path / "film.dcm", **elements)) == expected


def test_pixels_may_be_missing_or_cut_off(tmp_path):
    path = write(tmp_path / "film.dcm", ImageLaterality="L", Rows=4)
    with open(path, "ab") as file:
        file.write(b"\xe0\x7f\x10\x00OW\x00\x00\x00\x01\x00\x00")
    assert read_laterality(str(path)) == "left"
    (tmp_path / "scan.IMA").write_bytes(without_preamble(dicom(IMAGE, PixelSpacing=[0.2, 0.05])))
    assert read_spacing(tmp_path / "scan.IMA") == (0.2, 0.05)
