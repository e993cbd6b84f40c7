"""Image files: every format, every depth, every kind of damage."""

import copy
import io
import pathlib
import pickle
import re
import shutil
import struct
import subprocess
import sys
import textwrap
import traceback
import warnings
import zlib
from unittest.mock import Mock

import cv2
import joblib
import numpy as np
import pydicom
import pytest
import tifffile
from _data import data_dir
from PIL import Image, ImageOps
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from featbus.images import ImageError
from featbus.io import ImageReadError, _dicom, read_image, read_item

RNG = np.random.default_rng(0)
GRAY8 = RNG.integers(0, 256, (13, 17), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (13, 17), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (13, 17, 3), dtype=np.uint16)
RGBA8 = RNG.integers(0, 256, (13, 17, 4), dtype=np.uint8)
RGBA16 = RNG.integers(0, 65536, (13, 17, 4), dtype=np.uint16)
OPAQUE8 = np.dstack([RGB8, np.full((13, 17), 255, np.uint8)])
FLOAT = RNG.random((13, 17))
FLOAT_RGB = RNG.random((13, 17, 3))
BITS = GRAY8 > 127
BITS_AS_8 = np.where(BITS, 255, 0).astype(np.uint8)
# JPEG keeps what is smooth: a picture without symmetry, so that every orientation shows.
SMOOTH = np.add.outer(3 * np.arange(24), np.arange(40)).astype(np.uint8)
SMOOTH_RGB = np.dstack([SMOOTH, 200 - SMOOTH, SMOOTH // 2])


def pil(pixels, kind, **options):
    """Encode with Pillow."""
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(pixels, photometric="minisblack", **options):
    """Encode with tifffile."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric=photometric, **options)
    return file.getvalue()


def opencv(pixels, suffix):
    """Encode with OpenCV."""
    order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.ndim == 3 else ...
    return cv2.imencode(suffix, np.ascontiguousarray(pixels[..., order]))[1].tobytes()


@pytest.fixture
def read(tmp_path):
    """Read bytes through a file."""

    def read(data, name="image", **options):
        (tmp_path / name).write_bytes(data)
        return read_image(tmp_path / name, **options)

    return read


@pytest.fixture
def fails(read, tmp_path):
    """Check that reading bytes fails with an error that names the file and says `message`."""

    def fails(data, message, name="image"):
        with pytest.raises(ImageReadError, match=message) as caught:
            read(data, name)
        assert str(tmp_path / name) in str(caught.value)
        return str(caught.value)

    return fails


@pytest.fixture
def gray(read):
    """Read the pixels of a gray DICOM file with the given elements."""

    def gray(pixels, *, voi_lut=True, **elements):
        image = read(dicom(pixels, **elements), voi_lut=voi_lut)
        assert image.dtype == np.float32
        return image

    return gray


PALETTE = Image.fromarray(RGB8).quantize(16)
PALETTE_RGB = np.array(PALETTE.convert("RGB"))
P2 = "P2\n# made by hand\n3 2 # columns rows\n255\n0 10 20\n30 40 255\n"
HAND8 = np.array([[0, 10, 20], [30, 40, 255]], np.uint8)
HAND16 = np.array([[0, 256, 20], [30, 40, 65535]], np.uint16)

EXACT = {
    "png gray 8": (pil(GRAY8, "PNG"), GRAY8),
    "png gray 16": (pil(GRAY16, "PNG"), GRAY16),
    "png gray 1": (pil(Image.fromarray(BITS), "PNG"), BITS_AS_8),
    "png gray alpha": (
        pil(
            Image.merge("LA", [Image.fromarray(GRAY8), Image.fromarray(RGB8[..., 0].copy())]), "PNG"
        ),
        np.dstack([GRAY8, GRAY8, GRAY8, RGB8[..., 0]]),
    ),
    "png rgb 8": (pil(RGB8, "PNG"), RGB8),
    "png rgb 16": (opencv(RGB16, ".png"), RGB16),
    "png rgba 8": (pil(RGBA8, "PNG"), RGBA8),
    "png rgba 16": (opencv(RGBA16, ".png"), RGBA16),
    "png palette": (pil(PALETTE, "PNG"), PALETTE_RGB),
    "tiff gray 1": (pil(Image.fromarray(BITS), "TIFF"), BITS_AS_8),
    "tiff gray 8": (tiff(GRAY8), GRAY8),
    "tiff gray 16": (tiff(GRAY16), GRAY16),
    "tiff gray 16 big-endian": (tiff(GRAY16, byteorder=">"), GRAY16),
    "tiff gray float32": (tiff(FLOAT.astype(np.float32)), FLOAT.astype(np.float32)),
    "tiff gray float64": (tiff(FLOAT), FLOAT),
    "tiff gray float64 big-endian": (tiff(FLOAT, byteorder=">"), FLOAT),
    "tiff float beyond 1": (tiff(FLOAT * 9), FLOAT * 9),
    "tiff rgb 8": (tiff(RGB8, "rgb"), RGB8),
    "tiff rgb 16": (tiff(RGB16, "rgb"), RGB16),
    "tiff rgb float32": (tiff(FLOAT_RGB.astype(np.float32), "rgb"), FLOAT_RGB.astype(np.float32)),
    "tiff rgb float64": (tiff(FLOAT_RGB, "rgb"), FLOAT_RGB),
    "tiff rgba 8": (tiff(OPAQUE8, "rgb", extrasamples=["unassalpha"]), OPAQUE8),
    "tiff rgba 8 transparent": (tiff(RGBA8, "rgb", extrasamples=["unassalpha"]), RGBA8),
    "tiff rgba 16": (tiff(RGBA16, "rgb", extrasamples=["unassalpha"]), RGBA16),
    "tiff palette": (pil(PALETTE, "TIFF"), PALETTE_RGB),
    "tiff zero is white 1": (tiff(BITS, "miniswhite"), 255 - BITS_AS_8),
    "tiff zero is white 8": (tiff(GRAY8, "miniswhite"), 255 - GRAY8),
    "tiff zero is white 16": (tiff(GRAY16, "miniswhite"), 65535 - GRAY16),
    "tiff zero is white float": (tiff(FLOAT, "miniswhite"), 1 - FLOAT),
    "tiff lzw 8": (pil(GRAY8, "TIFF", compression="tiff_lzw"), GRAY8),
    "tiff lzw 16": (pil(GRAY16, "TIFF", compression="tiff_lzw"), GRAY16),
    "tiff lzw rgb": (pil(RGB8, "TIFF", compression="tiff_lzw"), RGB8),
    "tiff deflate 16": (tiff(GRAY16, compression="zlib"), GRAY16),
    "tiff deflate rgb": (tiff(RGB8, "rgb", compression="zlib", predictor=True), RGB8),
    "tiff packbits": (pil(RGB8, "TIFF", compression="packbits"), RGB8),
    "tiff strips": (tiff(GRAY16, rowsperstrip=2), GRAY16),
    "tiff tiles": (tiff(np.tile(GRAY16, (6, 6)), tile=(64, 32)), np.tile(GRAY16, (6, 6))),
    "tiff 64-bit offsets": (tiff(GRAY8, bigtiff=True), GRAY8),
    "bmp gray": (pil(GRAY8, "BMP"), GRAY8),
    "bmp gray 1": (pil(Image.fromarray(BITS), "BMP"), BITS_AS_8),
    "bmp rgb": (pil(RGB8, "BMP"), RGB8),
    "bmp rgba": (pil(RGBA8, "BMP"), RGBA8[..., :3]),
    "bmp rgba with masks": (opencv(RGBA8, ".bmp"), RGBA8[..., :3]),
    "bmp palette": (pil(PALETTE, "BMP"), PALETTE_RGB),
    "pgm plain": (P2.encode(), HAND8),
    "pgm plain 16": (b"P2 3 2 65535 0 256 20 30 40 65535", HAND16),
    "pgm": (b"P5 17 13 255\n" + GRAY8.tobytes(), GRAY8),
    "pgm comments": (b"P5\n# a\n#b\n17 # c\n13\n#\n255\n" + GRAY8.tobytes(), GRAY8),
    "pgm comments among the pixels": (P2.replace("30", "#a 7\n30").encode(), HAND8),
    "pgm carriage return before 10": (b"P5 2 1 255\r\n\7", np.array([[10, 7]], np.uint8)),
    "pgm plain, leading zeros": (b"P2 2 1 255 0000000000007 008", np.array([[7, 8]], np.uint8)),
    "pgm dos lines": (b"P5\r\n17 13\r\n255\r\n" + GRAY8.tobytes(), GRAY8),
    "pgm trailing line end": (b"P5 17 13 255\n" + GRAY8.tobytes() + b"\n", GRAY8),
    "pgm 16": (b"P5 17 13 65535\n" + GRAY16.astype(">u2").tobytes(), GRAY16),
    "pgm 12": (
        b"P5 17 13 4095\n" + (GRAY16 >> 4).astype(">u2").tobytes(),
        (GRAY16 >> 4) / np.float32(4095),
    ),
    "pgm 7": (b"P5 17 13 100\n" + (GRAY8 % 101).tobytes(), (GRAY8 % 101) / np.float32(100)),
    "ppm plain": (b"P3 1 2 255 1 2 3  4 5 6", np.array([[[1, 2, 3]], [[4, 5, 6]]], np.uint8)),
    "ppm": (b"P6 17 13 255\n" + RGB8.tobytes(), RGB8),
    "ppm 16": (b"P6 17 13 65535\n" + RGB16.astype(">u2").tobytes(), RGB16),
}


@pytest.mark.parametrize(("data", "expected"), EXACT.values(), ids=EXACT)
def test_pixels_come_back_as_stored(data, expected, read):
    image = read(data)
    np.testing.assert_array_equal(image, expected)
    assert image.dtype == expected.dtype
    assert image.dtype.isnative
    assert image.flags.c_contiguous
    assert image.flags.writeable


def test_a_palette_with_transparency_becomes_rgba(read):
    image = read(pil(PALETTE, "PNG", transparency=3))
    transparent = np.array(PALETTE) == 3
    np.testing.assert_array_equal(image[..., :3], PALETTE_RGB)
    np.testing.assert_array_equal(image[..., 3], np.where(transparent, 0, 255))


def test_jpeg_colors_are_red_green_blue(read):
    image = read(pil(np.full((16, 16, 3), [200, 30, 90], np.uint8), "JPEG", quality=95))
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image, np.full((16, 16, 3), [200, 30, 90]), atol=3)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
@pytest.mark.parametrize("pixels", [SMOOTH, SMOOTH_RGB], ids=["gray", "rgb"])
def test_jpeg(pixels, options, read):
    image = read(pil(pixels, "JPEG", quality=95, **options))
    assert image.shape == pixels.shape
    np.testing.assert_allclose(image.astype(int), pixels, atol=6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [SMOOTH, SMOOTH_RGB], ids=["gray", "rgb"])
def test_a_jpeg_stands_as_viewers_show_it(pixels, orientation, read):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = pil(pixels, "JPEG", quality=95, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    image = read(data)
    assert image.shape == upright.shape
    np.testing.assert_allclose(image.astype(int), upright, atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [GRAY8, GRAY16, RGB8], ids=["8", "16", "rgb"])
def test_a_tiff_stands_as_viewers_show_it(pixels, orientation, read):
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    data = tiff(pixels, photometric, extratags=[(274, "H", 1, orientation, True)])
    moves = {
        1: lambda image: image,
        2: np.fliplr,
        3: lambda image: np.rot90(image, 2),
        4: np.flipud,
        5: lambda image: np.swapaxes(image, 0, 1),
        6: lambda image: np.rot90(image, -1),
        7: lambda image: np.rot90(np.swapaxes(image, 0, 1), 2),
        8: np.rot90,
    }
    np.testing.assert_array_equal(read(data), moves[orientation](pixels))


def test_the_orientation_of_a_png_is_not_applied(read):
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(read(pil(GRAY8, "PNG", exif=exif)), GRAY8)


@pytest.mark.parametrize("name", ["wrong.jpg", "none", "IMAGE.DCM", "notes.txt"])
def test_the_content_decides_not_the_name(name, read):
    np.testing.assert_array_equal(read(EXACT["png gray 8"][0], name), GRAY8)


@pytest.mark.parametrize("name", ["benign (1).png", "[1].png", "échographie 乳房.png", "%20.png"])
def test_names_with_unusual_characters(name, read):
    np.testing.assert_array_equal(read(EXACT["png gray 8"][0], name), GRAY8)


def test_paths_are_strings_or_path_objects(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(EXACT["png gray 8"][0])
    np.testing.assert_array_equal(read_image(str(path)), read_image(path))
    with pytest.raises(TypeError, match="Expected a path, bytes or a binary file object, got int"):
        read_image(0)


@pytest.mark.parametrize("name", EXACT)
def test_content_in_memory_is_read_as_from_a_file(name, read):
    data, _ = EXACT[name]
    expected = read(data)
    for content in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        np.testing.assert_array_equal(read_image(content), expected)


@pytest.mark.parametrize("wrap", [bytes, io.BytesIO])
def test_errors_name_content_in_memory_as_it_is_called(wrap):
    with pytest.raises(ImageReadError, match="^'a.dcm': unknown content, expected PNG") as caught:
        read_image(wrap(b"nothing"), name="a.dcm")
    assert caught.value.path == "a.dcm"
    with pytest.raises(ImageReadError, match=r"^the file is empty \(0 bytes\)"):
        read_image(wrap(b""))


def test_content_in_memory_has_the_limits_of_a_file(monkeypatch):
    data, _ = EXACT["png gray 8"]
    with pytest.raises(ImageReadError, match="expected at most 10 in all"):
        read_image(data, max_pixels=10)
    monkeypatch.setattr("featbus.io._files._OTHERS", 0)
    for content in (data, io.BytesIO(data), io.BytesIO(1000 * data)):
        with pytest.raises(ImageReadError, match="expected at most 32 for 1 pixels"):
            read_image(content, max_pixels=1)


def test_dicom_content_without_preamble_is_known_by_its_name():
    data = dicom(GRAY8)[132:]
    np.testing.assert_array_equal(read_image(data, name="a.dcm"), read_image(dicom(GRAY8)))
    with pytest.raises(ImageReadError, match="unknown content"):
        read_image(data)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_content_in_memory_is_not_written_to_disk(tmp_path):
    names = ["png gray 8", "pgm", *(name for name in EXACT if name.startswith(("tiff", "dicom")))]
    files = [*(EXACT[name][0] for name in names), opencv(RGB8, ".jpg"), dicom(GRAY8)]
    files += [data[: len(data) // 2] for data in files]
    code = """
        import contextlib, os, pickle, sys
        from featbus.io import ImageReadError, read_image
        files = pickle.load(sys.stdin.buffer)
        os.write(1, b"begin")
        for data in files * 2:
            with contextlib.suppress(ImageReadError):
                read_image(data, name="Doe^Jane.dcm")
    """
    trace = tmp_path / "trace"
    traced = ["strace", "-f", "-o", trace, "-e", "trace=file,write"]
    run = subprocess.run(
        [*traced, sys.executable, "-B", "-c", textwrap.dedent(code)],
        input=pickle.dumps(files),
        capture_output=True,
    )
    if not trace.exists() or "begin" not in trace.read_text(errors="replace"):
        pytest.skip("strace is not allowed to trace here")
    assert run.returncode == 0, run.stderr
    calls = trace.read_text(errors="replace").partition("begin")[2]
    assert not re.findall(r"O_WRONLY|O_RDWR|O_CREAT|mkdir|rename|Doe", calls)
    assert b"Doe" not in run.stdout + run.stderr


def test_missing_file(tmp_path):
    with pytest.raises(ImageReadError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageReadError, match="cannot be opened"):
        read_image("null\0byte.png")


def test_directory(tmp_path):
    with pytest.raises(ImageReadError, match="is a directory"):
        read_image(tmp_path)


def test_file_without_permission(monkeypatch):
    def refuse(path, mode):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageReadError, match=r"^'image\.png': .*Permission denied.* permissions"):
        read_image("image.png")


def test_the_error_is_a_value_error_and_an_os_error(tmp_path):
    with pytest.raises(ValueError, match=r"none\.png"):
        read_image(tmp_path / "none.png")
    with pytest.raises(OSError, match=r"none\.png") as caught:
        read_image(tmp_path / "none.png")
    assert isinstance(caught.value, ImageError)
    assert caught.value.path == str(tmp_path / "none.png")
    assert caught.value.index is None
    assert caught.value.reason.startswith("there is no such file.")


def copy_by_pickle(error):
    return pickle.loads(pickle.dumps(error))


def copy_by_tblib(error):
    """Copy an error as Dask does between processes."""
    tblib = pytest.importorskip("tblib.pickling_support", reason="Dask is not installed")
    function, args = tblib.pickle_exception(error)[:2]
    return function(*args)


@pytest.mark.parametrize("duplicate", [copy_by_pickle, copy.copy, copy.deepcopy, copy_by_tblib])
@pytest.mark.parametrize("index", [None, 3])
def test_the_error_crosses_process_borders(duplicate, index):
    error = ImageReadError("the file is empty.", index, "a.png")
    again = duplicate(error)
    assert type(again) is ImageReadError
    assert str(again) == str(error)
    assert (again.reason, again.index, again.path) == ("the file is empty.", index, "a.png")


@pytest.mark.slow
def test_the_error_comes_back_from_a_process(tmp_path):
    path = tmp_path / "bad.png"
    path.write_bytes(b"nothing")
    with pytest.raises(ImageReadError, match=r"bad\.png': unknown content") as caught:
        joblib.Parallel(n_jobs=2)(joblib.delayed(read_image)(path) for _ in range(2))
    assert caught.value.path == str(path)


def test_an_item_is_read_and_checked(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(EXACT["png gray 8"][0])
    np.testing.assert_array_equal(read_item(path, 0), GRAY8)
    assert read_item(GRAY8[..., np.newaxis], 0).shape == GRAY8.shape
    with pytest.raises(ImageError, match=r"^image 5: found shape \(3,\)"):
        read_item(np.zeros(3), 5)
    with pytest.raises(ImageReadError, match=r"^image 5 \('none\.png'\): there is no such file"):
        read_item("none.png", 5)
    with pytest.raises(
        ImageError, match=r"^image 2 \('image\.png'\): found shape \(3,\)"
    ) as caught:
        read_item("image.png", 2, read=lambda path: np.zeros(3))
    assert not isinstance(caught.value, ImageReadError)


def test_empty_file(fails):
    fails(b"", "empty")


@pytest.mark.parametrize("name", ["text.png", "text.dcm", "text"])
def test_unknown_content(name, fails):
    message = fails(b"Hello, world!", "unknown content", name)
    assert "Hell" not in message  # it may be the name of a patient
    assert "PNG, JPEG, TIFF, BMP, PGM" in message


CUT = {
    "png gray 8": EXACT["png gray 8"][0],
    "png palette": EXACT["png palette"][0],
    "png rgb 16": EXACT["png rgb 16"][0],
    "jpeg gray": pil(SMOOTH, "JPEG"),
    "jpeg rgb": pil(SMOOTH_RGB, "JPEG"),
    "jpeg progressive": pil(SMOOTH_RGB, "JPEG", progressive=True),
    "tiff gray 8": EXACT["tiff gray 8"][0],
    "tiff gray 16": EXACT["tiff gray 16"][0],
    "tiff tiles": EXACT["tiff tiles"][0],
    "tiff deflate rgb": EXACT["tiff deflate rgb"][0],
    "bmp gray": EXACT["bmp gray"][0],
    "bmp rgb": EXACT["bmp rgb"][0],
    "pgm plain": EXACT["pgm plain"][0][:-4],
    "pgm": EXACT["pgm"][0],
    "pgm 16": EXACT["pgm 16"][0],
    "ppm": EXACT["ppm"][0],
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT)
def test_a_truncated_file_is_an_error_wherever_it_ends(data, read):
    for size in {*range(0, len(data), 1 + len(data) // 100), len(data) - 1}:
        with pytest.raises(ImageReadError):
            read(data[:size])


def test_a_tiff_whose_directory_comes_last_is_an_error_when_cut(read):
    data = EXACT["tiff lzw 8"][0]
    with pytest.raises(ImageReadError):
        read(data[: len(data) // 2])


def test_every_changed_byte_of_a_png_is_an_error(read):
    data = EXACT["png gray 8"][0]
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(ImageReadError):
            read(bytes(damaged))


def png_chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def test_a_png_with_too_little_image_data_is_an_error(read, fails):
    signature, header = EXACT["png gray 8"][0][:8], EXACT["png gray 8"][0][8:33]
    rows = b"".join(b"\0" + row.tobytes() for row in GRAY8)
    data = signature + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    np.testing.assert_array_equal(read(data), GRAY8)
    rows = rows[: len(rows) // 2]
    data = signature + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    fails(data, "OpenCV cannot decode the PNG file")


def test_changed_compressed_bytes_of_a_tiff_are_an_error(fails):
    data = tiff(SMOOTH, compression="zlib")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    for position in range(start, start + count):
        damaged = bytearray(data)
        damaged[position] ^= 16
        fails(bytes(damaged), "TIFF file")


def test_a_tiff_with_too_short_strips_is_an_error(tmp_path):
    path = tmp_path / "short.tif"
    path.write_bytes(tiff(GRAY16))
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["StripByteCounts"].overwrite(GRAY16.nbytes - 2)
    with pytest.raises(ImageReadError, match=r"holds 440 bytes of pixels .*expected 442"):
        read_image(path)


def test_a_truncated_bmp_says_where_it_ends(fails):
    data = EXACT["bmp gray"][0]
    fails(data[:-1], f"ends at byte {len(data) - 1}, but its 13 rows end at byte {len(data)}")


def test_an_end_marker_inside_a_thumbnail_does_not_end_a_jpeg(read, fails):
    data = pil(SMOOTH, "JPEG", exif=b"Exif\0\0" + pil(SMOOTH, "JPEG"))
    assert data.count(b"\xff\xd9") == 2
    assert read(data).shape == SMOOTH.shape
    fails(data[:-2], "JPEG file ends at byte .* end marker")


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(read):
    data = pil(SMOOTH, "JPEG")
    np.testing.assert_array_equal(read(data + b"padding"), read(data))


def test_a_jpeg_without_a_marker_where_one_must_be(fails):
    fails(b"\xff\xd8\xff\xe0\0\x04ab and so on", "no marker at byte 8")


def test_several_pictures_in_a_tiff(fails):
    stack = np.stack([GRAY8, GRAY8, GRAY8])
    truncated = tiff(stack, truncate=True)
    description = truncated[truncated.index(b"{") : truncated.index(b"}") + 1]
    shape = description[description.index(b'"shape"') : description.index(b"]") + 1]
    # The order of the keys depends on the version of tifffile.
    shape_first, shape_last = b'{%s, "truncated": true}' % shape, b'{"truncated": true, %s}' % shape
    for data in (
        tiff(stack),
        tiff(stack, imagej=True),
        truncated.replace(description, shape_first),
        truncated.replace(description, shape_last),
    ):
        fails(data, "contains 3 pages, expected one picture")


def test_animated_png(fails):
    frames = [Image.fromarray(GRAY8), Image.fromarray(255 - GRAY8)]
    data = pil(frames[0], "PNG", save_all=True, append_images=frames[1:])
    fails(data, "contains 2 animation frames")


@pytest.mark.parametrize(
    "data",
    [
        tiff(GRAY16.astype(np.int16)),
        tiff(GRAY16.astype(np.uint32)),
        tiff(FLOAT.astype(np.float16)),
        tiff(np.moveaxis(RGB16, -1, 0).copy(), "rgb", planarconfig="separate"),
        tiff(RGBA8, "separated"),
        tiff(RGBA8[..., :2].copy(), extrasamples=["unassalpha"], planarconfig="contig"),
    ],
    ids=["int16", "uint32", "float16", "planar", "cmyk", "gray and alpha"],
)
def test_kinds_of_tiff_that_are_not_read(data, fails):
    fails(data, "the TIFF file has .* expected grayscale, RGB or RGBA")


def test_cmyk_jpeg(fails):
    fails(pil(Image.fromarray(RGBA8, "CMYK"), "JPEG"), "4 components of 8 bits.*CMYK")


def jpeg_of_12_bits():
    data = bytearray(pil(GRAY8, "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


def test_12_bit_jpeg(fails):
    fails(jpeg_of_12_bits(), "1 components of 12 bits")


def test_run_length_bmp(fails):
    data = bytearray(EXACT["bmp gray"][0])
    data[30] = 1
    fails(bytes(data), "compression 1")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P5 3", "header is incomplete or wrong"),
        (b"P5 0 2 255 ", "header is incomplete or wrong"),
        (b"P5 3 2 0 ......", "maximum of 1 to 65535"),
        (b"P5 3 2 70000 ............", "maximum of 1 to 65535"),
        (b"P5 9999 9999 255 ...", "3 values, expected 99980001"),
        (b"P5 99999999 99999999 255 ...", "99999999 x 99999999 pixels, expected at most"),
        (b"P5 3 2 255 .....", "5 values, expected 6"),
        (b"P5 3 2 65535 ...........", "5 values, expected 6"),
        (b"P5 3 2 255 ......P5 3 2 255 ......", "17 bytes more than its pixels need"),
        (b"P5 3 2 7 \1\2\3\4\5\x08", "value 8, expected at most 7"),
        (b"P2 3 2 255 1 2 3 4 5", "5 values, expected 6"),
        (b"P2 3 2 255 1 2 3 4 5 6 7", "7 values, expected 6"),
        (b"P2 3 2 255 \n", "0 values, expected 6"),
        (b"P2 3 2 255 1 2 3 4 5 256", "value 256, expected at most 255"),
        (b"P2 3 2 255 1 2 3 4 5 99999999999999999999", "expected at most 255"),
        (b"P2 3 2 255 1 2 3 4 5 -6", "pixels that are not numbers"),
        (b"P2 3 2 255 1 2 3 4 5 6.0", "pixels that are not numbers"),
    ],
)
def test_wrong_pgm(data, message, fails):
    fails(data, message)


STORED = np.array([[0, 50, 150], [250, 300, 4095]], np.uint16)


def dicom(pixels, syntax=uid.ExplicitVRLittleEndian, *, frame=None, **elements):
    """Encode a DICOM file; `frame` takes the place of the pixels in compressed syntaxes."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.SecondaryCaptureImageStorage, "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.HighBit = dataset.BitsStored - 1
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    content = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
    if syntax == uid.RLELossless:
        dataset.compress(syntax, encoding_plugin="pydicom")  # not GDCM, which may abort
    dataset.file_meta.TransferSyntaxUID = syntax
    if frame is not None:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


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
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
]


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize(
    ("pixels", "bits", "expected"),
    [
        (GRAY8, 8, GRAY8 / 255),
        (GRAY16, 16, GRAY16 / 65535),
        (GRAY16 >> 4, 12, (GRAY16 >> 4) / 4095),
        (GRAY16.view(np.int16), 16, (GRAY16.view(np.int16) + 32768.0) / 65535),
        (GRAY16.view(np.int16) >> 4, 12, ((GRAY16.view(np.int16) >> 4) + 2048) / 4095),
    ],
    ids=["8", "16", "12", "signed 16", "signed 12"],
)
def test_the_stored_bits_are_the_scale(pixels, bits, expected, syntax, gray):
    image = gray(pixels, syntax=syntax, BitsStored=bits)
    np.testing.assert_allclose(image, expected, atol=1e-7)
    assert image.flags.c_contiguous
    assert image.dtype.isnative


@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda syntax: syntax.keyword)
def test_32_bit_pixels(syntax, gray):
    pixels = np.array([[0, 2**31, 2**32 - 1]], np.uint32)
    image = gray(pixels, syntax=syntax)
    np.testing.assert_allclose(image, pixels / (2**32 - 1), atol=1e-7)
    assert image.dtype.isnative


def test_rescaling_comes_before_the_window(gray):
    # 2 v - 100 is -100, 0, 200, 400, 500, 8090; the window 300/401 runs from 99.5 to 499.5.
    image = gray(
        STORED,
        BitsStored=12,
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=300,
        WindowWidth=401,
    )
    expected = [[0, 0, 100.5 / 400], [300.5 / 400, 1, 1]]
    np.testing.assert_allclose(image, expected, atol=1e-7)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_monochrome1_is_inverted_once_and_last(kind, gray):
    elements = {"BitsStored": 12, "WindowCenter": 300, "WindowWidth": 401}
    expected = np.array([[0, 0, 50.5 / 400], [150.5 / 400, 200.5 / 400, 1]])
    full = STORED / 4095
    if kind == "MONOCHROME1":
        expected, full = 1 - expected, 1 - full
    image = gray(STORED, PhotometricInterpretation=kind, **elements)
    np.testing.assert_allclose(image, expected, atol=1e-7)
    image = gray(STORED, PhotometricInterpretation=kind, voi_lut=False, **elements)
    np.testing.assert_allclose(image, full, atol=1e-7)
    image = gray(
        STORED,
        PhotometricInterpretation=kind,
        VOILUTSequence=lut(0, [0, 51, 255], 8),
        BitsStored=12,
    )
    table = np.array([[0, 1, 1], [1, 1, 1]])
    np.testing.assert_array_equal(image, 1 - table if kind == "MONOCHROME1" else table)


def test_without_voi_lut_the_whole_range_is_kept(gray):
    table = lut(0, [0, 51, 255], 8)
    image = gray(STORED, voi_lut=False, BitsStored=12, VOILUTSequence=table)
    np.testing.assert_allclose(image, STORED / 4095, atol=1e-7)


def test_without_a_window_rescaling_moves_the_scale_too(gray):
    image = gray(STORED, BitsStored=12, RescaleSlope=0.5, RescaleIntercept=-1024)
    np.testing.assert_allclose(image, STORED / 4095, atol=1e-7)
    image = gray(STORED, BitsStored=12, RescaleSlope=-1, RescaleIntercept=4095)
    np.testing.assert_allclose(image, 1 - STORED / 4095, atol=1e-7)


def test_the_first_of_several_windows(gray):
    one = gray(STORED, WindowCenter=300, WindowWidth=401)
    two = gray(STORED, WindowCenter=[300, 5], WindowWidth=[401, 7])
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("function", "width", "expected"),
    [
        ("LINEAR", 101, [0.005, 0.505, 1]),
        ("LINEAR_EXACT", 100, [0, 0.5, 1]),
        ("SIGMOID", 100, [1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-2))]),
        ("LINEAR", 1, [0, 1, 1]),
    ],
)
def test_window_functions(function, width, expected, gray):
    pixels = np.array([[100, 150, 200]], np.uint16)
    image = gray(pixels, WindowCenter=150, WindowWidth=width, VOILUTFunction=function)
    np.testing.assert_allclose(image, [expected], atol=1e-7)


def test_voi_lut_after_rescaling_goes_before_the_window(gray):
    # v - 40 is -40, 10, 110, 210, 260, 4055; the table starts at 10.
    image = gray(
        STORED,
        BitsStored=12,
        RescaleSlope=1,
        RescaleIntercept=-40,
        WindowCenter=300,
        WindowWidth=401,
        VOILUTSequence=lut(10, list(range(0, 4040, 20)), 12),
    )
    expected = np.array([[0, 0, 2000], [4000, 4020, 4020]]) / 4095
    np.testing.assert_allclose(image, expected, atol=1e-7)


def test_voi_lut_of_8_bit_entries_for_12_bit_pixels(gray):
    table = [value >> 4 for value in range(4096)]
    expected = (STORED >> 4) / 255
    image = gray(STORED, BitsStored=12, VOILUTSequence=lut(0, table, 8))
    np.testing.assert_allclose(image, expected, atol=1e-7)
    packed = lut(0, bytes(table), 8, data_vr="OW")
    np.testing.assert_array_equal(gray(STORED, BitsStored=12, VOILUTSequence=packed), image)


def test_voi_lut_of_signed_values(gray):
    pixels = np.array([[-3, -2, -1, 0, 1]], np.int16)
    image = gray(pixels, VOILUTSequence=lut(-2, [0, 100, 255], 8, vr="SS"))
    np.testing.assert_allclose(image, [[0, 0, 100 / 255, 1, 1]], atol=1e-7)


@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda syntax: syntax.keyword)
def test_voi_lut_of_values_that_rescaling_makes_negative(syntax, gray):
    # The first value, -3, is written as unsigned, as the pixels are.
    pixels = np.array([[0, 1, 2, 3, 4]], np.uint16)
    entries = np.array([0, 100, 255], ">u2" if syntax == uid.ExplicitVRBigEndian else "<u2")
    table = lut(2**16 - 3, entries.tobytes(), 16, data_vr="OW")
    image = gray(pixels, syntax=syntax, RescaleSlope=1, RescaleIntercept=-4, VOILUTSequence=table)
    np.testing.assert_allclose(image, np.array([[0, 0, 100, 255, 255]]) / 65535, atol=1e-7)


@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda syntax: syntax.keyword)
def test_modality_lut_comes_before_the_window(syntax, gray):
    pixels = np.array([[0, 1, 2, 3]], np.uint8)
    order = ">u2" if syntax == uid.ExplicitVRBigEndian else "<u2"
    entries = np.array([1000, 100, 0, 65535], order).tobytes()
    elements = {"ModalityLUTSequence": lut(0, entries, 16, data_vr="OW"), "syntax": syntax}
    image = gray(pixels, **elements)
    np.testing.assert_allclose(image, [[1000 / 65535, 100 / 65535, 0, 1]], atol=1e-7)
    image = gray(pixels, **elements, WindowCenter=500.5, WindowWidth=1001)
    np.testing.assert_allclose(image, [[1, 0.1, 0, 1]], atol=1e-7)


def test_empty_elements_count_as_missing(gray):
    image = gray(STORED, BitsStored=12, RescaleSlope=None, WindowCenter=None, WindowWidth=None)
    np.testing.assert_allclose(image, STORED / 4095, atol=1e-7)


def test_an_enhanced_object_keeps_rescaling_and_window_in_its_functional_groups(gray):
    values, voi, group = Dataset(), Dataset(), Dataset()
    values.RescaleSlope, values.RescaleIntercept = 2, -100
    voi.WindowCenter, voi.WindowWidth = 300, 401
    group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [values], [voi]
    image = gray(STORED, BitsStored=12, NumberOfFrames=1, SharedFunctionalGroupsSequence=[group])
    expected = [[0, 0, 100.5 / 400], [300.5 / 400, 1, 1]]
    np.testing.assert_allclose(image, expected, atol=1e-7)


def test_padding_does_not_move_the_scale(gray):
    padded = STORED.copy()
    padded[0, 0] = 4095
    elements = {"BitsStored": 12, "PixelPaddingValue": 4095}
    image = gray(padded, PhotometricInterpretation="MONOCHROME1", **elements)
    np.testing.assert_allclose(image, 1 - padded / 4095, atol=1e-7)


def test_bits_that_are_not_stored_are_ignored(gray):
    overlay = STORED | 0x8000
    np.testing.assert_array_equal(gray(overlay, BitsStored=12), gray(STORED, BitsStored=12))


def test_color(read):
    np.testing.assert_array_equal(read(dicom(RGB8)), RGB8)
    np.testing.assert_array_equal(read(dicom(RGB16, uid.ExplicitVRBigEndian)), RGB16)
    np.testing.assert_array_equal(read(dicom(RGB8, uid.RLELossless)), RGB8)
    assert read(dicom(RGB16, uid.ExplicitVRBigEndian)).dtype.isnative
    image = read(dicom(RGB16 >> 4, BitsStored=12))
    np.testing.assert_array_equal(image, (RGB16 >> 4) / np.float32(4095))
    assert image.dtype == np.float32
    # A window is for gray images.
    np.testing.assert_array_equal(read(dicom(RGB8, WindowCenter=9, WindowWidth=3)), RGB8)


def test_color_planes(read):
    planes = np.moveaxis(RGB8, -1, 0).copy().reshape(RGB8.shape)
    np.testing.assert_array_equal(read(dicom(planes, PlanarConfiguration=1)), RGB8)


def test_ybr_becomes_rgb(read):
    # PS3.3 section C.7.6.3.1.2: red is (76, 85, 255), white is (255, 128, 128).
    ybr = np.array([[[76, 85, 255], [255, 128, 128]]], np.uint8)
    image = read(dicom(ybr, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_allclose(image.astype(int), [[[255, 0, 0], [255, 255, 255]]], atol=1)


COLORS = np.array([[0, 0, 0], [10, 20, 30], [250, 100, 0], [255, 255, 255]])


def palette(entries, first=0, bits=8):
    elements = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color, content in zip(("Red", "Green", "Blue"), entries):
        name = f"{color}PaletteColorLookupTable"
        elements[f"{name}Descriptor"] = [len(COLORS), first, bits]
        elements[f"{name}Data"] = content
    return elements


def test_palette_of_8_bits(read):
    pixels = np.array([[5, 6, 7], [8, 9, 0]], np.uint8)
    elements = palette([bytes(channel) for channel in COLORS.T.astype(np.uint8)], first=5)
    image = read(dicom(pixels, **elements))
    np.testing.assert_array_equal(image, COLORS[[[0, 1, 2], [3, 3, 0]]])
    assert image.dtype == np.uint8
    elements = palette([channel.astype("<u2").tobytes() for channel in COLORS.T], first=5)
    words = read(dicom(pixels, **elements))
    np.testing.assert_array_equal(words, image)
    assert words.dtype == np.uint8


@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda syntax: syntax.keyword)
def test_palette_of_16_bits(syntax, read):
    order = ">u2" if syntax == uid.ExplicitVRBigEndian else "<u2"
    pixels = np.array([[0, 1], [2, 3]], np.uint16)
    elements = palette([(channel * 257).astype(order).tobytes() for channel in COLORS.T], bits=16)
    image = read(dicom(pixels, syntax, **elements))
    np.testing.assert_array_equal(image, 257 * COLORS[pixels])
    assert image.dtype == np.uint16


def test_segmented_palette(read):
    # Discrete: 0, count, entries. Linear: 1, count, last entry.
    segments = [bytes([0, 1, channel[0], 1, 3, channel[0] + 30]) for channel in COLORS.T]
    elements = {
        key.replace("RedP", "SegmentedRedP")
        .replace("GreenP", "SegmentedGreenP")
        .replace("BlueP", "SegmentedBlueP")
        if key.endswith("Data")
        else key: value
        for key, value in palette(segments).items()
    }
    image = read(dicom(np.array([[0, 1, 2, 3]], np.uint8), **elements))
    np.testing.assert_array_equal(image[0], np.repeat([[0], [10], [20], [30]], 3, axis=1))


BARS = [
    (255, 0, 0), (255, 128, 128), (0, 255, 0), (128, 255, 128), (0, 0, 255),
    (128, 128, 255), (0, 0, 0), (64, 64, 64), (192, 192, 192), (255, 255, 255),
]  # fmt: skip


def bundled(name):
    path = get_testdata_file(name, download=False)
    return path if path else pytest.skip(f"this pydicom comes without {name}")


@pytest.mark.parametrize(
    ("name", "scale", "tolerance"),
    [
        ("SC_rgb_rle.dcm", 1, 0),
        ("SC_rgb_rle_16bit.dcm", 257, 0),
        ("SC_rgb_rle_32bit.dcm", 1 / 255, 1e-7),
        ("SC_ybr_full_422_uncompressed.dcm", 1, 5),
        ("SC_rgb_dcmtk_+eb+cr.dcm", 1, 1),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", 1, 5),
    ],
)
def test_color_bars(name, scale, tolerance):
    image = read_image(bundled(name))
    np.testing.assert_allclose(image[5::10, 50], np.array(BARS) * scale, atol=tolerance)


@pytest.mark.parametrize(
    "name", ["MR_small_implicit", "MR_small_bigendian", "MR_small_RLE", "MR_small_expb"]
)
def test_one_picture_in_several_transfer_syntaxes(name):
    expected = read_image(bundled("MR_small.dcm"))
    np.testing.assert_array_equal(read_image(bundled(f"{name}.dcm")), expected)


@pytest.mark.parametrize("name", ["MR_small.dcm", "CT_small.dcm", "693_J2KI.dcm", "image_dfl.dcm"])
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


def without_preamble(data):
    """Return the data set alone, without preamble and file meta information."""
    length = struct.unpack_from("<I", data, 140)[0]
    return data[144 + length :]


@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda syntax: syntax.keyword)
def test_a_file_without_preamble_is_read_if_its_name_says_dicom(syntax, read, fails):
    data = without_preamble(dicom(GRAY16, syntax))
    for name in ("image.dcm", "image.DICOM", "image.ima"):
        np.testing.assert_allclose(read(data, name), GRAY16 / 65535, atol=1e-7)
    fails(data, "unknown content", "image.png")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("syntax", [*NATIVE, uid.JPEG2000Lossless], ids=lambda s: s.keyword)
def test_a_truncated_dicom_file_is_an_error(syntax, read):
    if syntax == uid.JPEG2000Lossless:
        data = pathlib.Path(bundled("MR_small_jp2klossless.dcm")).read_bytes()
    else:
        data = dicom(GRAY16, syntax)
    whole = read(data)
    for size in range(1, len(data), 1 + len(data) // 60):
        try:
            image = read(data[:size])
        except ImageReadError:
            continue
        # What was cut off came after the pixels.
        assert size > len(data) - 200
        np.testing.assert_array_equal(image, whole)


def test_truncated_pixel_data(fails):
    fails(dicom(GRAY16)[:-2], "440 bytes of pixels, expected 442")


def test_multi_frame(fails):
    stack = np.concatenate([GRAY8, GRAY8])
    data = dicom(stack, NumberOfFrames=2, Rows=13)
    fails(data, r"contains several frames .*expected one picture.*pydicom\.pixels\.iter_pixels")


def test_multi_frame_without_the_number_of_frames(fails):
    stack = np.concatenate([GRAY8, GRAY8])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        message = fails(dicom(stack, Rows=13), "pixel|frames")
    assert "2 frames" in message


@pytest.mark.parametrize(
    ("syntax", "remedy"),
    [
        (uid.JPEGLosslessSV1, r'pip install "featbus\[dicom\]"\.$'),
        (uid.JPEGLSLossless, r'pip install "featbus\[dicom\]"\.$'),
        (uid.JPEG2000, r'pip install "featbus\[dicom\]"\.$'),
        (uid.HTJ2KLossless, r'pip install "featbus\[dicom\]"\.$'),
        (uid.JPEGExtended12Bit, "convert it to Explicit VR Little Endian"),
        (uid.MPEG2MPML, "convert it to Explicit VR Little Endian"),
    ],
)
def test_a_transfer_syntax_that_cannot_be_decoded(syntax, remedy, fails, monkeypatch):
    decoder = Mock(return_value=Mock(available_plugins=()))
    monkeypatch.setattr(_dicom, "get_decoder", decoder)
    message = fails(dicom(GRAY16, syntax, frame=b"no picture"), remedy)
    assert str(syntax) in message
    assert syntax.name in message


def test_jpeg_of_12_bits_in_a_dicom_file(fails):
    data = dicom(GRAY16, uid.JPEGExtended12Bit, frame=jpeg_of_12_bits())
    fails(data, r"cannot be decoded\..*convert it to Explicit VR Little Endian")


@pytest.mark.parametrize(
    ("name", "same", "codec"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", "jpeg_ls"),
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_gdcm_KY.dcm", "gdcm"),
        ("GDCMJ2K_TextGBR.dcm", None, "openjpeg"),
    ],
)
def test_what_the_extra_decodes(name, same, codec):
    pytest.importorskip(codec, reason="the extra featbus[dicom] is not installed")
    image = read_image(bundled(name))
    if same is not None:
        np.testing.assert_array_equal(image, read_image(bundled(same)))
    assert np.ptp(image) > 0


def test_a_picture_is_the_same_with_and_without_the_extra(monkeypatch):
    """GDCM and pylibjpeg decode what Pillow cannot, and nothing else."""
    decoder = Mock(return_value=Mock(available_plugins=("gdcm", "pillow", "pylibjpeg")))
    monkeypatch.setattr(_dicom, "get_decoder", decoder)
    assert _dicom._plugins(uid.JPEG2000) == ["pillow", "pylibjpeg"]
    assert _dicom._plugins(uid.JPEGBaseline8Bit) == ["pillow", "pylibjpeg"]
    assert _dicom._plugins(uid.JPEGLosslessSV1)[-1] == "gdcm"


def test_an_unknown_color_transform(fails):
    """GDCM would end the process."""
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\7"
    data = pil(SMOOTH_RGB, "JPEG")
    fails(data[:2] + adobe + data[2:], "an unknown color transform")


def test_compressed_pixels_in_an_uncompressed_transfer_syntax(fails):
    data = dicom(GRAY16, uid.JPEG2000Lossless, frame=bytes(GRAY16.nbytes))
    data = data.replace(b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.1\0\0\0")
    fails(data, "compressed pixels, but the transfer syntax of uncompressed")


def test_no_pixels(fails):
    dataset = pydicom.dcmread(io.BytesIO(dicom(GRAY8)))
    del dataset.PixelData
    file = io.BytesIO()
    dataset.save_as(file)
    fails(file.getvalue(), "has no pixel data")


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"RescaleSlope": 0}, "Rescale Slope 0"),
        ({"WindowCenter": 5, "WindowWidth": 0}, "a Window Width that is too small"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "unknown VOI LUT"),
        ({"VOILUTSequence": lut(0, [0, 256], 8)}, "entry of more than their bits"),
        ({"VOILUTSequence": [Dataset()]}, "LUTDescriptor|VOI"),
        ({"PhotometricInterpretation": "HSV"}, "interpretation HSV"),
        ({"PhotometricInterpretation": None}, "lacks PhotometricInterpretation"),
    ],
)
def test_wrong_elements(elements, message, fails):
    fails(dicom(GRAY8, **elements), message)


def test_a_look_up_table_with_too_few_entries(fails):
    table = lut(0, [1, 2, 3, 4], 16)
    table[0].LUTDescriptor = [400, 0, 16]
    fails(dicom(GRAY16, VOILUTSequence=table), "fewer entries than it says")


SECRETS = ("ROSSI", "MARIA", "19570321", "ID-4711", "Firenze")


def with_patient(data, extra_length=0):
    """Insert a patient with a name that is too long, unknown bytes and a wrong date of birth."""
    name = b"ROSSI^MARIA^^^^^=ROSSI\xff\xfe=MARIA=" * 9
    patient = b"".join(
        struct.pack("<HH2sH", 0x0010, element, vr, len(value) + extra_length) + value
        for element, vr, value in (
            (0x0010, b"PN", name),
            (0x0020, b"LO", b"ID-4711 " * 12),
            (0x0030, b"DA", b"19570321-1"),
            (0x1040, b"LO", b"Via ROSSI 3, Firenze" * 5),
        )
    )
    start = data.index(struct.pack("<HH2s", 0x0028, 0x0002, b"US"))
    return data[:start] + patient + data[start:]


PRIVATE = {
    "whole": with_patient(dicom(STORED)),
    "whole, no preamble": without_preamble(with_patient(dicom(STORED))),
    "cut": with_patient(dicom(STORED))[:-3],
    "cut before the pixels": with_patient(dicom(STORED))[:-40],
    "wrong lengths": with_patient(dicom(STORED), extra_length=3),
    "odd lengths": with_patient(dicom(STORED), extra_length=-1),
    "two frames": with_patient(dicom(STORED, NumberOfFrames=2)),
    "unknown syntax": with_patient(dicom(STORED, uid.JPEGLSLossless, frame=b"no picture")),
    "broken run lengths": with_patient(dicom(STORED, uid.RLELossless, frame=b"no picture")),
    "wrong element": with_patient(dicom(STORED, WindowCenter=5, WindowWidth=0)),
    "pixels missing": with_patient(dicom(STORED, Rows=200)),
}


@pytest.mark.parametrize("name", ["image.dcm", "image.png"])
@pytest.mark.parametrize("case", PRIVATE)
def test_no_patient_leaves_the_reader(case, name, caplog, capfd, read):
    said = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            image = read(PRIVATE[case], name)
        except ImageReadError as error:
            said = "".join(traceback.format_exception(error))
        else:
            assert type(image) is np.ndarray
            assert case.startswith("whole")
            np.testing.assert_allclose(image, STORED / 65535, atol=1e-7)
    said += (
        "".join(str(warning.message) for warning in caught)
        + caplog.text
        + "".join(capfd.readouterr())
    )
    assert not [secret for secret in SECRETS if secret in said]


def test_patients_are_not_even_read(caplog, read):
    pydicom.config.debug(True, default_handler=False)  # logs the first bytes of all it reads
    try:
        with caplog.at_level("DEBUG"):
            read(PRIVATE["whole"])
    finally:
        pydicom.config.debug(False, default_handler=False)
    assert "MONOCHROME2" in caplog.text
    assert not [secret for secret in SECRETS if secret in caplog.text]


def test_an_ultrasound_image_with_a_space_and_brackets_in_its_name(tmp_path):
    path = data_dir("busi") / "benign" / "benign (1).png"
    image = read_image(path)
    assert image.shape == (471, 562)
    np.testing.assert_array_equal(image, np.asarray(Image.open(path)))
    shutil.copy(path, tmp_path / "copy.pgm")
    np.testing.assert_array_equal(read_image(tmp_path / "copy.pgm"), image)


def test_an_ultrasound_image_in_color():
    path = data_dir("busi") / "benign" / "benign (240).png"
    np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path)))


def test_a_mammogram(fails):
    path = data_dir("mini-mias") / "mdb003.pgm"
    image = read_image(path)
    assert image.shape == (1024, 1024)
    np.testing.assert_array_equal(image, np.asarray(Image.open(path)))
    fails(path.read_bytes()[:-1], "1048575 values, expected 1048576")
