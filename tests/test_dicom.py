"""DICOM images."""

import struct
import traceback
from unittest.mock import Mock

import numpy as np
import pydicom
import pytest
from _image_files import (
    GRAY8,
    GRAY16,
    RGB8,
    RGB16,
    SMOOTH,
    SMOOTH_RGB,
    dicom,
    pil,
    without_preamble,
)
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from featbus.datasets import load_images
from featbus.io import ImageReadError, _dicom, read_image, read_laterality, read_spacing


def gray(pixels, *, voi_lut=True, **elements):
    """Return the pixels of a gray DICOM file with the given elements."""
    image = read_image(dicom(pixels, **elements), voi_lut=voi_lut)
    assert image.dtype == np.float32
    return image


def fails(data, fact="DICOM"):
    with pytest.raises(ImageReadError, match=fact) as caught:
        read_image(data, name="image.dcm")
    assert "image.dcm" in str(caught.value)
    return str(caught.value)


STORED = np.array([[0, 50, 150], [250, 300, 4095]], np.uint16)


def lut(first, entries, bits, vr="US", data_vr="US"):
    """Return a sequence with one look-up table."""
    item = Dataset()
    count = len(entries) // 2 if data_vr == "OW" and bits > 8 else len(entries)
    item.add_new("LUTDescriptor", vr, [count, first, bits])
    item.add_new("LUTData", data_vr, entries)
    return [item]


NATIVE = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
]


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize(
    ("pixels", "bits", "expected"),
    [
        (GRAY8, 8, GRAY8 / 255),
        (GRAY16, 16, GRAY16 / 65535),
        (GRAY16 >> 4, 12, (GRAY16 >> 4) / 4095),
        (GRAY16.view(np.int16) >> 4, 12, ((GRAY16.view(np.int16) >> 4) + 2048) / 4095),
    ],
    ids=["8", "16", "12", "signed 12"],
)
def test_the_stored_bits_are_the_scale(pixels, bits, expected, syntax):
    image = gray(pixels, syntax=syntax, BitsStored=bits)
    np.testing.assert_allclose(image, expected, atol=1e-7)
    assert image.dtype.isnative


def test_32_bit_pixels():
    pixels = np.array([[0, 2**31, 2**32 - 1]], np.uint32)
    image = gray(pixels, syntax=uid.ExplicitVRBigEndian)
    np.testing.assert_allclose(image, pixels / (2**32 - 1), atol=1e-7)


WINDOW = {"WindowCenter": 300, "WindowWidth": 401}  # from 99.5 to 499.5
ROW = np.array([[100, 150, 200]], np.uint16)
IN_GROUPS = Dataset()
IN_GROUPS.PixelValueTransformationSequence, IN_GROUPS.FrameVOILUTSequence = [Dataset()], [Dataset()]
IN_GROUPS.PixelValueTransformationSequence[0].update({"RescaleSlope": 2, "RescaleIntercept": -100})
IN_GROUPS.FrameVOILUTSequence[0].update(WINDOW)
FULL = STORED / 4095
WINDOWED = np.array([[0, 0, 50.5 / 400], [150.5 / 400, 200.5 / 400, 1]])
RESCALED = np.array([[0, 0, 100.5 / 400], [300.5 / 400, 1, 1]])  # 2 v - 100
STEPS = {
    "window": (STORED, WINDOW, WINDOWED),
    "rescaled": (STORED, {"RescaleSlope": 2, "RescaleIntercept": -100, **WINDOW}, RESCALED),
    "in groups": (STORED, {"SharedFunctionalGroupsSequence": [IN_GROUPS]}, RESCALED),
    "no window": (STORED, {"RescaleSlope": 0.5, "RescaleIntercept": -1024}, FULL),
    "negative slope": (STORED, {"RescaleSlope": -1, "RescaleIntercept": 4095}, 1 - FULL),
    "empty elements": (STORED, {"RescaleSlope": None, "WindowCenter": None}, FULL),
    "padding": (STORED, {"PixelPaddingValue": 4095}, FULL),
    "VOI LUT": (STORED, {"VOILUTSequence": lut(0, [0, 51, 255], 8)}, [[0, 1, 1], [1, 1, 1]]),
    # v - 40 is -40, 10, 110, 210, 260, 4055; the table starts at 10.
    "VOI LUT before window": (
        STORED,
        {
            **{"RescaleSlope": 1, "RescaleIntercept": -40, **WINDOW},
            "VOILUTSequence": lut(10, list(range(0, 4040, 20)), 12),
        },
        np.array([[0, 0, 2000], [4000, 4020, 4020]]) / 4095,
    ),
    "packed 8-bit entries": (
        STORED,
        {"VOILUTSequence": lut(0, bytes(value >> 4 for value in range(4096)), 8, data_vr="OW")},
        (STORED >> 4) / 255,
    ),
    "signed entries": (
        np.array([[-3, -2, -1, 0, 1]], np.int16),
        {"VOILUTSequence": lut(-2, [0, 100, 255], 8, vr="SS")},
        [[0, 0, 100 / 255, 1, 1]],
    ),
    "unsigned values": (
        np.array([[59999, 60000, 60001]], np.uint16),
        {"BitsStored": 16, "VOILUTSequence": lut(60000 - 2**16, [0, 100, 255], 8, vr="SS")},
        [[0, 0, 100 / 255]],
    ),
    **{
        f"{function} {width}": (
            ROW,
            {"WindowCenter": 150, "WindowWidth": width, "VOILUTFunction": function},
            [expected],
        )
        for function, width, expected in (
            ("LINEAR", 101, [0.005, 0.505, 1]),
            ("LINEAR_EXACT", 100, [0, 0.5, 1]),
            ("SIGMOID", 100, [1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-2))]),
            ("LINEAR", 1, [0, 1, 1]),
        )
    },
}


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("case", STEPS)
def test_the_steps_of_the_standard(case, kind):
    pixels, elements, expected = STEPS[case]
    elements = {"BitsStored": 12, "PhotometricInterpretation": kind, **elements}
    # MONOCHROME1 is inverted once, and last.
    expected = 1 - np.array(expected) if kind == "MONOCHROME1" else expected
    np.testing.assert_allclose(gray(pixels, **elements), expected, atol=1e-7)
    image = gray(STORED, voi_lut=False, **{**elements, "RescaleSlope": None, "BitsStored": 12})
    if pixels.dtype == np.uint16 and case != "in groups":
        np.testing.assert_allclose(image, 1 - FULL if kind == "MONOCHROME1" else FULL, atol=1e-7)


@pytest.mark.parametrize("syntax", NATIVE[1:3], ids=lambda syntax: syntax.keyword)
def test_look_up_tables_of_either_byte_order(syntax):
    order = ">u2" if syntax == uid.ExplicitVRBigEndian else "<u2"
    # The first value, -3, is written as unsigned, as the pixels are.
    entries = np.array([0, 100, 255], order).tobytes()
    elements = {"VOILUTSequence": lut(2**16 - 3, entries, 16, data_vr="OW"), "syntax": syntax}
    pixels = np.array([[0, 1, 2, 3, 4]], np.uint16)
    image = gray(pixels, RescaleSlope=1, RescaleIntercept=-4, **elements)
    np.testing.assert_allclose(image, np.array([[0, 0, 100, 255, 255]]) / 65535, atol=1e-7)
    entries = np.array([1000, 100, 0, 65535], order).tobytes()
    elements = {"ModalityLUTSequence": lut(0, entries, 16, data_vr="OW"), "syntax": syntax}
    pixels = np.array([[0, 1, 2, 3]], np.uint8)
    image = gray(pixels, **elements)
    np.testing.assert_allclose(image, [[1000 / 65535, 100 / 65535, 0, 1]], atol=1e-7)
    image = gray(pixels, **elements, WindowCenter=500.5, WindowWidth=1001)
    np.testing.assert_allclose(image, [[1, 0.1, 0, 1]], atol=1e-7)


def bundled(name):
    path = get_testdata_file(name, download=False)
    return path if path else pytest.skip(f"this pydicom comes without {name}")


def test_color():
    np.testing.assert_array_equal(read_image(dicom(RGB8)), RGB8)
    image = read_image(dicom(RGB16, uid.ExplicitVRBigEndian))
    np.testing.assert_array_equal(image, RGB16)
    assert image.dtype.isnative
    image = read_image(dicom(RGB16 >> 4, BitsStored=12))
    np.testing.assert_array_equal(image, (RGB16 >> 4) / np.float32(4095))
    assert image.dtype == np.float32
    # A window is for gray images.
    np.testing.assert_array_equal(read_image(dicom(RGB8, WindowCenter=9, WindowWidth=3)), RGB8)
    # PS3.3 section C.7.6.3.1.2: red is (76, 85, 255), white is (255, 128, 128).
    ybr = np.array([[[76, 85, 255], [255, 128, 128]]], np.uint8)
    image = read_image(dicom(ybr, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_allclose(image.astype(int), [[[255, 0, 0], [255, 255, 255]]], atol=1)
    subsampled = read_image(bundled("SC_ybr_full_422_uncompressed.dcm"))
    np.testing.assert_allclose(subsampled[5, 50].astype(int), [255, 0, 0], atol=5)


COLORS = np.array([[0, 0, 0], [10, 20, 30], [250, 100, 0], [255, 255, 255]])


def palette(entries, first=0, bits=8):
    elements = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color, content in zip(("Red", "Green", "Blue"), entries):
        name = f"{color}PaletteColorLookupTable"
        elements[f"{name}Descriptor"] = [len(COLORS), first, bits]
        elements[f"{name}Data"] = content
    return elements


@pytest.mark.parametrize(
    ("syntax", "dtype", "bits"),
    [
        (uid.ExplicitVRLittleEndian, "u1", 8),  # two entries per word
        (uid.ExplicitVRLittleEndian, "<u2", 8),
        (uid.ExplicitVRLittleEndian, "<u2", 16),
        (uid.ExplicitVRBigEndian, ">u2", 16),
    ],
)
def test_palette(syntax, dtype, bits):
    pixels, colors = np.array([[5, 6, 7], [8, 9, 0]], np.uint8), COLORS * (257 if bits > 8 else 1)
    elements = palette([channel.astype(dtype).tobytes() for channel in colors.T], 5, bits)
    image = read_image(dicom(pixels, syntax, **elements))
    np.testing.assert_array_equal(image, colors[[[0, 1, 2], [3, 3, 0]]])
    assert image.dtype == f"u{bits // 8}"


@pytest.mark.parametrize("name", ["MR_small.dcm", "CT_small.dcm", "693_J2KI.dcm"])
def test_the_steps_agree_with_pydicom(name):
    dataset = pydicom.dcmread(bundled(name))
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    low = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
    ends = np.array([low, low + 2**dataset.BitsStored - 1])
    ends = ends * dataset.get("RescaleSlope", 1) + dataset.get("RescaleIntercept", 0)
    expected = (values - ends[0]) / (ends[1] - ends[0])
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        expected = 1 - expected
    np.testing.assert_allclose(read_image(bundled(name)), expected, atol=1e-6)


@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda syntax: syntax.keyword)
def test_a_file_without_preamble_is_read_if_its_name_says_dicom(syntax):
    data = without_preamble(dicom(GRAY16, syntax))
    np.testing.assert_allclose(read_image(data, name="a.DICOM"), GRAY16 / 65535, atol=1e-7)
    with pytest.raises(ImageReadError, match="unknown content"):
        read_image(data, name="image.png")


JPEG, JPEG_2000 = pil(SMOOTH, "JPEG"), pil(SMOOTH, "JPEG2000", no_jp2=True)


@pytest.mark.parametrize(
    "data",
    [*(dicom(GRAY16, syntax) for syntax in NATIVE), dicom(SMOOTH, uid.JPEG2000, frame=JPEG_2000)],
    ids=[*(syntax.keyword for syntax in NATIVE), "JPEG2000"],
)
def test_a_truncated_dicom_file_is_an_error(data):
    whole = read_image(data)
    for size in range(1, len(data), 1 + len(data) // 20):
        try:
            image = read_image(data[:size])
        except ImageReadError:
            continue
        # What was cut off came after the pixels.
        assert size > len(data) - 200
        np.testing.assert_array_equal(image, whole)


def test_pixels_that_are_cut_off_need_no_other_package():
    with pytest.raises(ImageReadError, match="cut off or damaged") as error:
        read_image(dicom(GRAY16)[: -GRAY16.nbytes // 2])
    assert "pip install" not in str(error.value)


def test_another_number_of_pixels_than_the_header_says():
    stack, frame = np.concatenate([GRAY8, GRAY8]), pil(SMOOTH, "JPEG")
    fails(dicom(stack, NumberOfFrames=2, Rows=13), "several frames.*#0")
    fails(dicom(np.concatenate([GRAY16, 0 * GRAY16]), Rows=13), "several frames")
    fails(dicom(SMOOTH, uid.JPEGBaseline8Bit, frame=[frame, frame]), "several frames")
    for elements in ({"Rows": 12}, {"Columns": 16}, {"Rows": 14}):
        fails(dicom(GRAY16, **elements))
    padded = np.vstack([GRAY16, 0 * GRAY16[:1]])
    np.testing.assert_array_equal(read_image(dicom(padded, Rows=13)), gray(GRAY16))


def window(center):
    transformation, item = Dataset(), Dataset()
    transformation.WindowCenter, transformation.WindowWidth = center, 256
    item.FrameVOILUTSequence = [transformation]
    return item


@pytest.mark.parametrize("encoding", ["native", "RLE", "JPEG"])
def test_a_frame_is_read_alone(tmp_path, encoding):
    stack = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]])
    rows = {"NumberOfFrames": 3, "Rows": len(SMOOTH)}
    frames, syntax = None, uid.RLELossless if encoding == "RLE" else uid.ExplicitVRLittleEndian
    if encoding == "JPEG":
        frames, syntax = [pil(frame, "JPEG", quality=95) for frame in stack], uid.JPEGBaseline8Bit
    data = dicom(np.concatenate(stack), syntax, frame=frames, **rows)
    (tmp_path / "a.dcm").write_bytes(data)
    for index, frame in enumerate(stack):
        found = read_image(tmp_path / f"a.dcm#{index}")
        np.testing.assert_allclose(255 * found, frame, atol=3)
    with pytest.raises(ImageReadError, match=r"a\.dcm#3': it has 3 frame.* 0 to 2"):
        read_image(tmp_path / "a.dcm#3")
    with pytest.raises(ImageReadError, match=r"no such file"):
        read_image(tmp_path / "b.dcm#0")
    # A file of this very name comes first.
    (tmp_path / "a.dcm#1").write_bytes(pil(GRAY8, "PNG"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm#1"), GRAY8)
    with pytest.raises(ImageReadError, match="a PNG file has no frames to read"):
        read_image(tmp_path / "a.dcm#1#0")


def test_a_frame_has_a_window_of_its_own(tmp_path):
    windows = {"PerFrameFunctionalGroupsSequence": [window(128), window(384)]}
    data = dicom(np.concatenate([GRAY8, GRAY8]), NumberOfFrames=2, Rows=13, **windows)
    (tmp_path / "a.dcm").write_bytes(data)
    assert read_image(tmp_path / "a.dcm#0").max() > 0.9
    assert read_image(tmp_path / "a.dcm#1").max() == 0


def test_a_number_of_frames_that_may_be_a_date_is_not_quoted(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom(GRAY8, NumberOfFrames=19570321))
    assert load_images(tmp_path).frame["file"].tolist() == ["a.dcm"]
    for name in ("a.dcm", "a.dcm#19570322"):
        with pytest.raises(ImageReadError, match="wrong number of frames") as error:
            read_image(tmp_path / name)
        assert "19570321" not in str(error.value)


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEGExtended12Bit, uid.MPEG2MPML])
def test_a_transfer_syntax_that_cannot_be_decoded(syntax, monkeypatch):
    monkeypatch.setattr(_dicom, "get_decoder", Mock(return_value=Mock(available_plugins=())))
    message = fails(dicom(GRAY16, syntax, frame=b"no picture"), r"featbus(-slim)?\[dicom\]")
    assert f"{syntax.name}, {syntax}" in message


@pytest.mark.parametrize(
    ("name", "same", "codec"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", "jpeg_ls"),
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_gdcm_KY.dcm", "gdcm"),
    ],
)
def test_what_the_extra_decodes(name, same, codec):
    pytest.importorskip(codec, reason="the extra featbus[dicom] is not installed")
    np.testing.assert_array_equal(read_image(bundled(name)), read_image(bundled(same)))


def test_a_picture_is_the_same_with_and_without_the_extra(monkeypatch):
    """GDCM and pylibjpeg decode what Pillow cannot, and nothing else."""
    decoder = Mock(return_value=Mock(available_plugins=("gdcm", "pillow", "pylibjpeg")))
    monkeypatch.setattr(_dicom, "get_decoder", decoder)
    for syntax in (uid.JPEG2000, uid.JPEGBaseline8Bit):
        assert _dicom._plugins(syntax) == ["pillow", "pylibjpeg"]
    assert "gdcm" in _dicom._plugins(uid.JPEGLosslessSV1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [SMOOTH, SMOOTH_RGB], ids=["gray", "rgb"])
def test_jpeg_pixels_are_not_turned_by_their_exif_data(pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    elements = {"PhotometricInterpretation": "YBR_FULL_422"} if pixels.ndim == 3 else {}
    frame = pil(pixels, "JPEG", quality=95, exif=exif)
    image = read_image(dicom(pixels, uid.JPEGBaseline8Bit, frame=frame, **elements))
    assert image.shape == pixels.shape
    scale = 255 if pixels.ndim == 2 else 1
    np.testing.assert_allclose(image * scale, pixels.astype(float), atol=6)


LOSSLESS = bytes.fromhex("ffd8fff7000b08001800280101110000ffda00080101000000001234ffd9")


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        (uid.JPEGBaseline8Bit, pil(SMOOTH[:8], "JPEG")),
        (uid.JPEGBaseline8Bit, JPEG[: len(JPEG) // 2]),
        (uid.JPEG2000, pil(SMOOTH[:8], "JPEG2000", no_jp2=True)),
        (uid.JPEG2000, JPEG_2000[: len(JPEG_2000) // 2] + bytes(len(JPEG_2000) // 2)),
        (uid.JPEGLSLossless, LOSSLESS.replace(b"\0\x18\0\x28", b"\x60\x18\x60\x28")),
        (uid.JPEGLSLossless, LOSSLESS[:-2]),
        (uid.JPEGExtended12Bit, JPEG.replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc0\0\x0b\x0c")),
        (uid.RLELossless, b"no picture"),
        (uid.ExplicitVRLittleEndian, JPEG),
    ],
)
def test_compressed_pixels_of_another_size_or_without_an_end(syntax, frame):
    fails(dicom(SMOOTH, syntax, frame=frame))


@pytest.mark.parametrize(
    ("elements", "fact"),
    [
        ({"RescaleSlope": 0}, "Rescale Slope 0"),
        ({"WindowCenter": 5, "WindowWidth": 0}, "Window Width"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "VOI LUT"),
        ({"VOILUTSequence": lut(0, [0, 256], 8)}, "pixels"),
        ({"PhotometricInterpretation": "HSV"}, "photometric interpretation"),
        ({"PhotometricInterpretation": "RGB"}, "1 samples"),
        ({"PixelRepresentation": None}, "DICOM"),
        ({"Rows": 0}, "0 x 17"),
    ],
)
def test_wrong_elements(elements, fact):
    fails(dicom(GRAY8, **elements), fact)


def test_more_wrong_elements():
    elements = palette([bytes([0, 1, 9, 1, 3, 30])] * 3)
    fails(dicom(GRAY8, **{key.replace("Red", "SegmentedRed"): elements[key] for key in elements}))
    fails(dicom(RGB8, PhotometricInterpretation="MONOCHROME2"), "3 samples")
    table = lut(0, [1, 2, 3, 4], 16)
    table[0].LUTDescriptor = [400, 0, 16]
    fails(dicom(GRAY16, VOILUTSequence=table), "fewer entries")
    data = dicom(GRAY16 >> 4, BitsStored=12)
    fails(data[: -len(GRAY16.tobytes()) - 12], "no pixel data")
    high = struct.pack("<HH2sHH", 0x28, 0x102, b"US", 2, 11)
    fails(data.replace(high, high[:-2] + b"\x0f\0"), "High Bit")


def test_deflated_files_are_refused(tmp_path):
    data = dicom(GRAY8, uid.DeflatedExplicitVRLittleEndian)
    fails(data, "deflated")
    (tmp_path / "a.dcm").write_bytes(data)
    for read in (read_laterality, read_spacing):
        with pytest.raises(ImageReadError, match="deflated"):
            read(tmp_path / "a.dcm")


SECRETS = ("ROSSI", "MARIA", "19570321")


def with_patient(data, extra_length=0):
    """Insert a patient with a name that is too long, and a wrong date of birth."""
    name = b"ROSSI^MARIA^^^^^=ROSSI\xff\xfe=MARIA=" * 3
    patient = b"".join(
        struct.pack("<HH2sH", 0x0010, element, vr, len(value) + extra_length) + value
        for element, vr, value in (
            (0x0010, b"PN", name),
            (0x0030, b"DA", b"19570321-1"),
            (0x1040, b"LO", b"Via ROSSI 3, Firenze" * 5),
        )
    )
    start = data.index(struct.pack("<HH2s", 0x0028, 0x0002, b"US"))
    return data[:start] + patient + data[start:]


WHOLE = with_patient(dicom(STORED))


@pytest.mark.filterwarnings("ignore")
def test_no_error_quotes_the_patient(tmp_path):
    rng = np.random.default_rng(0)
    # Group and element, with one changed byte: a name is Window Center.
    files = [WHOLE.replace(b"\x10\0\x40\x10LO", b"\x28\0\x50\x10LO"), without_preamble(WHOLE)]
    files += [with_patient(dicom(STORED), extra_length) for extra_length in (3, -1)]
    for position in range(132, len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[position] ^= 1 << int(rng.integers(8))
        files.append(bytes(damaged))
    path = tmp_path / "image.dcm"
    said = []
    for data in files:
        path.write_bytes(data)
        for read in (read_image, read_spacing, read_laterality):
            try:
                read(path)
            except ImageReadError as error:
                said += traceback.format_exception(error)
    assert len(said) > 100
    assert not [secret for secret in SECRETS if secret in "".join(said)]
