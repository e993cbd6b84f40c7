"""Files that ask for too much, damage that decoders do not report, and names of patients."""

import importlib.util
import io
import os
import struct
import subprocess
import sys
import threading
import time
import traceback
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
import tifffile
from _data import data_dir
from PIL import Image
from pydicom import uid
from test_io import (
    BITS,
    GRAY8,
    GRAY16,
    SECRETS,
    SMOOTH,
    SMOOTH_RGB,
    dicom,
    palette,
    pil,
    png_chunk,
    tiff,
    with_patient,
)

from featbus import ImageLoader
from featbus.io import ImageReadError, read_image, read_laterality
from featbus.io._dicom_file import silence
from featbus.parameters import InvalidParameterError

FUZZ = Path(__file__).parents[1] / "benchmarks" / "fuzz" / "readers.py"


@pytest.fixture
def read(tmp_path):
    """Read bytes through a file, in less than 5 seconds."""

    def read(data, name="image", **options):
        (tmp_path / name).write_bytes(data)
        start = time.perf_counter()
        try:
            return read_image(tmp_path / name, **options)
        finally:
            assert time.perf_counter() - start < 5

    return read


@pytest.fixture
def fails(read):
    """Check that reading bytes fails with a message."""

    def fails(data, message, **options):
        with pytest.raises(ImageReadError, match=message):
            read(data, **options)

    return fails


def png(width, height, rows, *chunks, depth=8, color=0):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    kinds = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in kinds)


def jpeg_of_size(data, height, width):
    """Return a JPEG file whose header says another size."""
    data = bytearray(data)
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    struct.pack_into(">HH", data, frame + 5, height, width)
    return bytes(data)


def tiff_tag(data, tag, value):
    """Return a TIFF file with another value of a tag."""
    file = io.BytesIO(data)
    with tifffile.TiffFile(file, mode="r+b") as opened:
        opened.pages[0].tags[tag].overwrite(value)
    return file.getvalue()


def bmp(pixels, bits, *, header=40, compression=0, masks=b"", palette=b""):
    """Encode rows of bytes, from the bottom up, as a BMP file."""
    height = len(pixels)
    width = pixels.shape[1] * 8 // bits
    rows = b"".join(row.tobytes() + bytes(-row.nbytes % 4) for row in pixels[::-1])
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    start = 14 + len(info) + len(masks) + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start)
    return head + info + masks + palette + rows


LARGE = {
    "png": png(20000, 20000, bytes(100)),
    "jpeg": jpeg_of_size(pil(SMOOTH, "JPEG"), 20000, 20000),
    "bmp": bmp(np.zeros((1, 4), np.uint8), 8).replace(
        struct.pack("<ii", 4, 1), struct.pack("<ii", 20000, -20000)
    ),
    "pgm": b"P5 20000 20000 255\n" + bytes(100),
    "pgm plain": b"P2 20000 20000 255\n 1 2 3",
    "tiff": tiff_tag(tiff_tag(tiff(GRAY8), "ImageWidth", 20000), "ImageLength", 20000),
    "dicom": dicom(GRAY16, Rows=20000, Columns=20000),
    "dicom jpeg 2000": dicom(
        GRAY16, uid.JPEG2000Lossless, Rows=20000, Columns=20000, frame=bytes(64)
    ),
}


@pytest.mark.parametrize("data", LARGE.values(), ids=LARGE)
def test_more_pixels_than_allowed_are_not_decoded(data, fails):
    fails(data, r"says 20000 x 20000 pixels, expected at most 178956970 in all\. .*FEATBUS_MAX_PIX")


def test_the_limit_can_be_changed(read, fails, monkeypatch, tmp_path):
    data = pil(GRAY8, "PNG")
    fails(data, "says 13 x 17 pixels, expected at most 220", max_pixels=220)
    assert read(data, max_pixels=221).shape == (13, 17)
    (tmp_path / "image.png").write_bytes(data)
    with pytest.raises(ImageReadError, match="at most 220"):
        ImageLoader(max_pixels=220).transform([tmp_path / "image.png"])
    assert ImageLoader(max_pixels=221).transform([tmp_path / "image.png"]).shape == (1, 13, 17)
    monkeypatch.setenv("FEATBUS_MAX_PIXELS", "220")
    fails(data, "at most 220")
    assert read(data, max_pixels=221).shape == (13, 17)
    for text in ("many", "0", "-1", ""):
        monkeypatch.setenv("FEATBUS_MAX_PIXELS", text)
        with pytest.raises(InvalidParameterError, match="FEATBUS_MAX_PIXELS is .*expected a pos"):
            read(data)
    with pytest.raises(InvalidParameterError, match="max_pixels"):
        read(data, max_pixels=0)


FEW_BYTES = {
    "png": png(10000, 10000, bytes(100)),
    "jpeg": jpeg_of_size(pil(SMOOTH, "JPEG"), 10000, 10000),
    "jpeg progressive": jpeg_of_size(pil(SMOOTH, "JPEG", progressive=True), 10000, 10000),
}


@pytest.mark.parametrize("data", FEW_BYTES.values(), ids=FEW_BYTES)
def test_bytes_that_cannot_hold_the_pixels(data, fails):
    fails(data, r"bytes of compressed pixels, expected at least \d+ for the size")


def test_run_lengths_that_cannot_hold_the_pixels(fails):
    file = pydicom.dcmread(io.BytesIO(dicom(GRAY8, uid.RLELossless)))
    file.Rows = file.Columns = 10000
    data = io.BytesIO()
    file.save_as(data)
    fails(data.getvalue(), "bytes of compressed pixels, expected at least 1562500")


def test_compressed_dicom_pixels_of_another_size(fails):
    frame = pil(SMOOTH, "JPEG")
    fails(dicom(GRAY8, uid.JPEGBaseline8Bit, frame=frame), r"JPEG data have \[24, 40, 1\] rows")
    frame = pil(SMOOTH, "JPEG2000", no_jp2=True)
    fails(dicom(GRAY8, uid.JPEG2000, frame=frame), r"JPEG 2000 data have \(24, 40, 1\) rows")


def test_many_scans_of_many_pixels(fails):
    data = pil(np.zeros((2000, 2000), np.uint8), "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    fails(data[:second] + data[first:second] * 300 + data[second:], r"has \d+ scans of 2000 x 2000")


@pytest.mark.parametrize("name", ["tif_hang.tif", "tif_hang2.tif"])
def test_tiff_directories_that_hang_other_readers(name, fails):
    fails((data_dir("hostile") / name).read_bytes(), "TIFF file")


def test_tiff_directories_in_a_circle(fails):
    data = bytearray(tiff(GRAY8))
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    fails(bytes(data), "TIFF file are incomplete or contradict")


def test_a_tiff_that_inflates_to_more_than_its_image(fails):
    data = tiff(np.zeros((3000, 3000), np.uint8), compression="zlib", rowsperstrip=3000)
    small = tiff_tag(tiff_tag(data, "ImageWidth", 30), "ImageLength", 30)
    fails(small, "end too late")


def test_a_deflated_dicom_file_that_inflates_to_more_than_its_image(fails, tmp_path):
    whole = dicom(GRAY8, uid.DeflatedExplicitVRLittleEndian)
    start = 144 + struct.unpack_from("<I", whole, 140)[0]
    inflated = zlib.decompress(whole[start:], -zlib.MAX_WBITS)
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = whole[:start] + stream.compress(inflated)
    bomb += b"".join(stream.compress(bytes(1 << 20)) for _ in range(64)) + stream.flush()
    fails(bomb, "truncated, or larger than its image")
    (tmp_path / "bomb.dcm").write_bytes(bomb)
    with pytest.raises(ImageReadError, match="larger than its image"):
        read_laterality(tmp_path / "bomb.dcm")


def test_a_segmented_palette_that_expands_to_more_than_its_entries(fails):
    elements = palette([b"", b"", b""])
    elements = {key: value for key, value in elements.items() if not key.endswith("Data")}
    for color in ("Red", "Green", "Blue"):
        segments = bytes([0, 1, 5]) + bytes([1, 255, 9]) * 10_000
        elements[f"Segmented{color}PaletteColorLookupTableData"] = segments + b"\0"
    fails(
        dicom(np.zeros((2, 2), np.uint8), **elements),
        "palette .* has another number of entries",
    )


def test_many_comments_of_a_pgm(fails):
    fails(b"P5\n" + b"#\n" * 2_000_000, "header is incomplete or wrong")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("reader", [read_image, read_laterality])
def test_only_regular_files_are_opened(tmp_path, reader):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero"):
        with pytest.raises(ImageReadError, match="a pipe, a socket or a device"):
            reader(path)


def test_too_little_memory_is_an_error_of_the_image(tmp_path, monkeypatch):
    def exhaust(*args):
        raise MemoryError

    monkeypatch.setattr(cv2, "imdecode", exhaust)
    (tmp_path / "image.png").write_bytes(pil(GRAY8, "PNG"))
    with pytest.raises(ImageReadError, match=r"image\.png': there is not enough memory"):
        read_image(tmp_path / "image.png")


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits"])
@pytest.mark.parametrize("pixels", [GRAY8, SMOOTH_RGB], ids=["gray", "rgb"])
def test_a_compressed_tiff_whose_end_is_zero(pixels, compression, read):
    data = pil(pixels, "TIFF", compression=compression)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    assert read(data).shape == pixels.shape
    for size in range(4 if compression == "tiff_lzw" else count // 4, count, 1 + count // 40):
        damaged = data[: start + count - size] + bytes(size) + data[start + count :]
        with pytest.raises(ImageReadError):
            read(damaged)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax_compression_is_not_read(compression, fails):
    data = pil(Image.fromarray(BITS), "TIFF", compression=compression)
    fails(data, r"has compression [234], expected .*Save it as PNG")


def test_small_tiles_of_8_bits(read):
    pixels = np.tile(GRAY8, (6, 6))
    for tile in ((16, 16), (32, 48)):
        np.testing.assert_array_equal(read(tiff(pixels, tile=tile)), pixels)


def test_a_tiff_of_jpeg_strips(read):
    data = pil(SMOOTH_RGB, "TIFF", compression="jpeg", quality=95)
    np.testing.assert_allclose(read(data).astype(int), SMOOTH_RGB, atol=6)
    data = pil(SMOOTH, "TIFF", compression="jpeg", quality=95)
    np.testing.assert_allclose(read(data).astype(int), SMOOTH, atol=6)


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}], ids=["strips", "tiles"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_the_predictor_of_integers(options, dtype, byteorder, read):
    pixels = np.tile(SMOOTH_RGB.astype(dtype) * (np.iinfo(dtype).max // 255), (2, 2, 1))
    data = tiff(pixels, "rgb", byteorder=byteorder, compression="zlib", predictor=True, **options)
    np.testing.assert_array_equal(read(data), pixels)


def test_the_predictor_of_floating_point(read):
    pixels = np.float32(GRAY16 / 65535)
    data = pil(pixels, "TIFF", compression="tiff_adobe_deflate", tiffinfo={317: 3})
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.pages[0].predictor == 3
    np.testing.assert_array_equal(read(data), pixels)


def test_reversed_bits_of_a_tiff(read):
    data = pil(GRAY8, "TIFF", tiffinfo={266: 2})
    bits = np.unpackbits(GRAY8[..., np.newaxis], axis=2)
    np.testing.assert_array_equal(read(data), np.packbits(bits[..., ::-1], axis=2)[..., 0])


def test_several_pictures_in_a_jpeg(fails):
    file = io.BytesIO()
    first = Image.fromarray(SMOOTH_RGB)
    first.save(file, "MPO", save_all=True, append_images=[Image.fromarray(255 - SMOOTH_RGB)])
    fails(file.getvalue(), "contains 2 pictures")


@pytest.mark.parametrize(("depth", "level"), [(1, 1), (8, 77), (16, 7777)])
def test_a_transparent_level_of_a_gray_png(depth, level, read):
    if depth == 1:
        pixels = np.array([[0, 1, 0, 1, 1, 0, 0, 1]], np.uint8)
        rows, white = b"\0" + np.packbits(pixels).tobytes(), 255
    else:
        pixels = np.array([[0, level, level + 1, 3]], f">u{depth // 8}")
        rows, white = b"\0" + pixels.tobytes(), 2**depth - 1
    data = png(pixels.shape[1], 1, rows, (b"tRNS", struct.pack(">H", level)), depth=depth)
    image = read(data)
    assert image.shape == (*pixels.shape, 4)
    np.testing.assert_array_equal(image[..., 3], np.where(pixels == level, 0, white))
    np.testing.assert_array_equal(image[..., 1], pixels.astype(int) * white // (2**depth - 1))


COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [9, 99, 199]], np.uint8)


def test_a_bmp_of_os_2(read):
    table = COLORS[:, ::-1].tobytes() + bytes(3 * 251)
    numbers = np.array([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]], np.uint8)
    data = bmp(numbers, 8, header=12, palette=table)
    np.testing.assert_array_equal(read(data), COLORS[numbers])
    np.testing.assert_array_equal(
        read(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    )


@pytest.mark.parametrize("shifts", [(16, 8, 0), (0, 8, 16), (24, 16, 8), (8, 24, 0)])
def test_masks_of_a_bmp(shifts, read):
    words = sum(COLORS[:, channel].astype("<u4") << shift for channel, shift in enumerate(shifts))
    masks = struct.pack("<3I", *(0xFF << shift for shift in shifts))
    data = bmp(words[np.newaxis].astype("<u4").view(np.uint8), 32, compression=3, masks=masks)
    np.testing.assert_array_equal(read(data)[0], COLORS)


@pytest.mark.parametrize(
    "masks", [(0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F), (0xF, 0xF0, 0xF00)]
)
def test_white_of_a_bmp_of_16_bits(masks, read):
    words = np.array([[0, sum(masks), masks[0], masks[1]]], "<u2")
    packed = struct.pack("<3I", *masks)
    image = read(bmp(words.view(np.uint8), 16, compression=3, masks=packed))
    expected = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0]]
    np.testing.assert_array_equal(image[0], expected)
    if masks[0] == 0x7C00:
        np.testing.assert_array_equal(read(bmp(words.view(np.uint8), 16))[0], expected)


def test_a_bmp_with_a_color_beyond_its_palette(fails):
    data = bmp(np.array([[0, 1, 2, 9]], np.uint8), 8, palette=bytes(16))
    fails(data, "pixels of color 9, expected less than the 4")


def test_pixels_inside_the_header(fails):
    data = bytearray(bmp(np.zeros((1, 4), np.uint8), 8, palette=bytes(1024)))
    struct.pack_into("<I", data, 10, 0)
    fails(bytes(data), "BMP file has pixels at byte 0")
    fails(tiff_tag(tiff(GRAY8), "StripOffsets", 0), "TIFF file has a strip or tile at byte 0")


def test_the_high_bit_of_dicom_pixels(fails, read):
    data = dicom(GRAY16 >> 4, BitsStored=12)
    assert read(data).shape == GRAY16.shape
    high = struct.pack("<HH2sHH", 0x28, 0x102, b"US", 2, 11)
    assert data.count(high) == 1
    fails(data.replace(high, high[:-2] + b"\x0f\0"), "12 stored and the high bit 15, expected")


def said_by(read, data):
    """Return whatever comes back from reading a file that is not an image."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            read(data, "image.dcm")
            said = ""
        except ImageReadError as error:
            said = "".join(traceback.format_exception(error))
    return said + "".join(str(warning.message) for warning in caught)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_changed_byte_of_a_dicom_file_reveals_its_patient(read, caplog, capfd):
    file = pydicom.dcmread(io.BytesIO(dicom(GRAY8[:2, :4], WindowWidth=9)))
    file.PatientName, file.PatientID = "ROSSI^MARIA", "ID-4711"
    file.PatientBirthDate, file.InsurancePlanIdentification = "19570321", "ROSSI^MARIA"
    file.PatientAddress, file.OtherPatientIDs = "Firenze", "ROSSI"
    data = io.BytesIO()
    file.save_as(data)
    data = data.getvalue()
    rng = np.random.default_rng(0)
    for position in range(132, len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        said = said_by(read, bytes(damaged))
        assert not [secret for secret in SECRETS if secret in said]
    # Group and element, with one changed byte: Insurance Plan Identification is Window Center.
    moved = data.replace(b"\x10\0\x50\x10LO", b"\x28\0\x50\x10LO")
    assert moved != data
    assert not [secret for secret in SECRETS if secret in said_by(read, moved)]
    assert not [secret for secret in SECRETS if secret in caplog.text + "".join(capfd.readouterr())]


def test_no_warning_of_pydicom_leaves_the_reader(read):
    data = with_patient(dicom(np.vstack([GRAY16, 0 * GRAY16[:1]]), Rows=13))  # excess padding
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(data, "image.dcm")
        with pytest.raises(UserWarning, match="by others"):
            pydicom.misc.warn_and_log("by others")


def test_reading_leaves_the_warnings_of_other_threads_alone(tmp_path):
    (tmp_path / "image.dcm").write_bytes(dicom(np.tile(GRAY16, (20, 20))))
    before = list(warnings.filters)
    reads = threading.Event()

    def hold():
        with silence():
            reads.set()
            held.wait()

    held, thread = threading.Event(), threading.Thread(target=hold)
    thread.start()
    reads.wait()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pydicom.misc.warn_and_log("of this thread")
        held.set()
        thread.join()
    assert [str(warning.message) for warning in caught] == ["of this thread"]
    assert caught[0].filename == __file__
    assert list(warnings.filters) == before


def test_accepted_files_print_nothing(read, capfd):
    profile = (b"iCCP", b"x\0\0" + zlib.compress(b"short"))
    read(png(4, 1, bytes(5), profile))
    read(tiff(GRAY8, extratags=[(65000, "H", 1, 7, True)]))
    half = pil(np.tile(GRAY8, (20, 20)), "JPEG")
    with pytest.raises(ImageReadError):
        read(half[: len(half) // 2] + b"\xff\xd9")
    assert "".join(capfd.readouterr()) == ""
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_comments_and_first_bytes_are_not_quoted(read):
    for data in (b"P5\n# ROSSI MARIA\n 3", b"ROSSI MARIA"):
        assert "ROSSI" not in said_by(read, data)


def load_fuzzer():
    spec = importlib.util.spec_from_file_location("readers", FUZZ)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_seeds_of_the_fuzzer_are_read(read):
    for name, data in load_fuzzer().make_seeds().items():
        assert read(data, "image.dcm").shape[:2] in ((24, 40), (40, 24)), name


@pytest.mark.slow
def test_2000_mutants():
    command = [sys.executable, FUZZ, "2000", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
