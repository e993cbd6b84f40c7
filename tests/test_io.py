"""Image files: every format, every depth, every kind of damage. DICOM is in `test_dicom`."""

import copy
import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from _data import data_dir
from _image_files import (
    BITS,
    FLOAT,
    GRAY8,
    GRAY16,
    LARGE,
    RGB8,
    RGB16,
    RGBA8,
    SMOOTH,
    SMOOTH_RGB,
    bmp,
    dicom,
    opencv,
    pil,
    png,
    png_chunk,
    tiff,
    tiff_tag,
)
from PIL import Image, ImageOps

from featbus import ImageLoader
from featbus.images import ImageError
from featbus.io import ImageReadError, find_format, read_image, read_item
from featbus.parameters import InvalidParameterError

BITS_AS_8 = np.where(BITS, 255, 0).astype(np.uint8)
PALETTE = Image.fromarray(RGB8).quantize(16)
PALETTE_RGB = np.array(PALETTE.convert("RGB"))
P2 = "P2\n# made by hand\n3 2 # columns rows\n255\n0 10 20\n30 40 255\n"
HAND8 = np.array([[0, 10, 20], [30, 40, 255]], np.uint8)
HAND16 = np.array([[0, 256, 20], [30, 40, 65535]], np.uint16)
GRAY_ALPHA = Image.fromarray(np.dstack([GRAY8, RGB8[..., 0]]), "LA")


@pytest.fixture
def read(tmp_path):
    """Read bytes through a file."""

    def read(data, name="image", **options):
        (tmp_path / name).write_bytes(data)
        return read_image(tmp_path / name, **options)

    return read


@pytest.fixture
def fails(read, tmp_path):
    """Check that reading bytes fails with an error that names the file and says `fact`."""

    def fails(data, fact="", name="image", **options):
        with pytest.raises(ImageReadError, match=fact) as caught:
            read(data, name, **options)
        assert str(tmp_path / name) in str(caught.value)
        return str(caught.value)

    return fails


EXACT = {
    "png gray 8": (pil(GRAY8, "PNG"), GRAY8),
    "png gray 16": (pil(GRAY16, "PNG"), GRAY16),
    "png gray 1": (pil(Image.fromarray(BITS), "PNG"), BITS_AS_8),
    "png gray alpha": (pil(GRAY_ALPHA, "PNG"), np.dstack([GRAY8, GRAY8, GRAY8, RGB8[..., 0]])),
    "png rgb 8": (pil(RGB8, "PNG"), RGB8),
    "png rgba 8": (pil(RGBA8, "PNG"), RGBA8),
    "png palette": (pil(PALETTE, "PNG"), PALETTE_RGB),
    "tiff gray 1": (pil(Image.fromarray(BITS), "TIFF"), BITS_AS_8),
    "tiff gray 8": (tiff(GRAY8), GRAY8),
    "tiff gray 16": (tiff(GRAY16), GRAY16),
    "tiff gray 16 big-endian": (tiff(GRAY16, byteorder=">"), GRAY16),
    "tiff gray float32": (tiff(FLOAT), FLOAT),
    "tiff gray float32 big-endian": (tiff(FLOAT, byteorder=">"), FLOAT),
    "tiff rgb 8": (tiff(RGB8, "rgb"), RGB8),
    "tiff rgba 8": (tiff(RGBA8, "rgb", extrasamples=["unassalpha"]), RGBA8),
    "tiff palette": (pil(PALETTE, "TIFF"), PALETTE_RGB),
    "tiff zero is white 1": (tiff(BITS, "miniswhite"), 255 - BITS_AS_8),
    "tiff zero is white 8": (tiff(GRAY8, "miniswhite"), 255 - GRAY8),
    "tiff zero is white 16 deflate": (tiff(GRAY16, "miniswhite", compression="zlib"), ~GRAY16),
    "tiff zero is white float32": (tiff(FLOAT, "miniswhite"), 1 - FLOAT),
    "tiff lzw 16": (pil(GRAY16, "TIFF", compression="tiff_lzw"), GRAY16),
    "tiff lzw rgb": (pil(RGB8, "TIFF", compression="tiff_lzw"), RGB8),
    "tiff deflate 16 big-endian": (tiff(GRAY16, compression="zlib", byteorder=">"), GRAY16),
    "tiff deflate rgb": (tiff(RGB8, "rgb", compression="zlib", predictor=True), RGB8),
    "tiff deflate tiles": (tiff(GRAY8, compression="zlib", predictor=True, tile=(16, 16)), GRAY8),
    "tiff deflate float": (
        pil(FLOAT, "TIFF", compression="tiff_adobe_deflate", tiffinfo={317: 3}),
        FLOAT,
    ),
    "tiff packbits": (pil(RGB8, "TIFF", compression="packbits"), RGB8),
    "tiff tiles": (tiff(np.tile(GRAY16, (6, 6)), tile=(64, 32)), np.tile(GRAY16, (6, 6))),
    "tiff 64-bit offsets": (tiff(GRAY8, bigtiff=True), GRAY8),
    "bmp gray": (pil(GRAY8, "BMP"), GRAY8),
    "bmp gray 1": (pil(Image.fromarray(BITS), "BMP"), BITS_AS_8),
    "bmp rgb": (pil(RGB8, "BMP"), RGB8),
    "bmp rgba with masks": (opencv(RGBA8, ".bmp"), RGBA8),
    "bmp palette": (pil(PALETTE, "BMP"), PALETTE_RGB),
    "pgm plain": (P2.encode(), HAND8),
    "pgm plain 16": (b"P2 3 2 65535 0 256 20 30 40 65535", HAND16),
    "pgm comments": (b"P5\n# a\n#b\n17 # c\n13\n#\n255\n" + GRAY8.tobytes(), GRAY8),
    "pgm comments among the pixels": (P2.replace("30", "#a 7\n30").encode(), HAND8),
    "pgm dos lines": (b"P5\r\n17 13\r\n255\r\n" + GRAY8.tobytes(), GRAY8),
    "pgm": (b"P5 17 13 255\n" + GRAY8.tobytes() + b"\n", GRAY8),
    "pgm 16": (b"P5 17 13 65535\n" + GRAY16.astype(">u2").tobytes(), GRAY16),
    "pgm 12": (
        b"P5 17 13 4095\n" + (GRAY16 >> 4).astype(">u2").tobytes(),
        (GRAY16 >> 4) / np.float32(4095),
    ),
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
    for content in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        np.testing.assert_array_equal(read_image(content), expected)


def test_transparency_becomes_rgba(read):
    image = read(pil(PALETTE, "PNG", transparency=bytes([255, 0, 9])))
    opacity = np.r_[255, 0, 9, np.full(253, 255)]
    np.testing.assert_array_equal(image[..., :3], PALETTE_RGB)
    np.testing.assert_array_equal(image[..., 3], opacity[np.array(PALETTE)])
    pixels = np.array([[0, 77, 78, 3]], np.uint8)  # a level is transparent
    image = read(png(4, 1, b"\0" + pixels.tobytes(), (b"tRNS", b"\0\x4d")))
    np.testing.assert_array_equal(image[..., 3], np.where(pixels == 77, 0, 255))
    np.testing.assert_array_equal(image[..., 1], pixels)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
@pytest.mark.parametrize("pixels", [SMOOTH, SMOOTH_RGB], ids=["gray", "rgb"])
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_jpeg(kind, pixels, options, read):
    options = options if kind == "JPEG" else {"compression": "jpeg"}
    image = read(pil(pixels, kind, quality=95, **options))
    assert image.dtype == np.uint8
    assert image.shape == pixels.shape
    np.testing.assert_allclose(image.astype(int), pixels, atol=6)


def with_orientation(kind, pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return pil(pixels, kind, exif=exif)


@pytest.mark.parametrize("orientation", [0, *range(2, 9), 65535])
@pytest.mark.parametrize(
    ("kind", "pixels"),
    [
        *(("JPEG", SMOOTH), ("JPEG", SMOOTH_RGB), ("PNG", GRAY8), ("PNG", RGB8)),
        *(("TIFF", pixels) for pixels in (GRAY8, GRAY16, BITS)),
    ],
)
def test_a_picture_stands_as_viewers_show_it(kind, pixels, orientation, read):
    moves = {
        2: np.fliplr,
        3: lambda image: np.rot90(image, 2),
        4: np.flipud,
        5: lambda image: np.swapaxes(image, 0, 1),
        6: lambda image: np.rot90(image, -1),
        7: lambda image: np.rot90(np.swapaxes(image, 0, 1), 2),
        8: np.rot90,
    }
    upright = read(with_orientation(kind, pixels, 1))
    turned = read(with_orientation(kind, pixels, orientation))
    np.testing.assert_array_equal(turned, moves.get(orientation, np.asarray)(upright))


EXIF_OF_6 = with_orientation("JPEG", SMOOTH, 6)
EXIF_OF_6 = EXIF_OF_6[EXIF_OF_6.index(b"\xff\xe1") : EXIF_OF_6.index(b"\xff\xdb")]
UPRIGHT = pil(SMOOTH, "JPEG")
ODD_EXIF = {
    "after the scan": UPRIGHT[:-2] + EXIF_OF_6 + UPRIGHT[-2:],
    "a second segment": UPRIGHT[:2]
    + EXIF_OF_6.replace(b"\0\x06", b"\0\x01")
    + EXIF_OF_6
    + UPRIGHT[2:],
    "stored as BYTE": UPRIGHT[:2]
    + EXIF_OF_6.replace(b"\x01\x12\0\x03\0\0\0\x01\0\x06", b"\x01\x12\0\x01\0\0\0\x01\x06\0")
    + UPRIGHT[2:],
    "an unknown critical PNG chunk": png(
        17, 13, b"".join(b"\0" + row.tobytes() for row in GRAY8), (b"ABCD", b"unknown")
    ),
    "a PNG chunk after the pixels": with_orientation("PNG", GRAY8, 6),
}


@pytest.mark.parametrize("data", ODD_EXIF.values(), ids=ODD_EXIF)
def test_what_is_odd_is_read_as_pillow_does(data, read):
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(read(data), np.asarray(ImageOps.exif_transpose(image)))


def test_exif_data_that_cannot_be_parsed_turn_nothing(read):
    for exif in (b"Exif\0\0" + pil(SMOOTH, "JPEG"), b"Exif\0\0MM\0*"):
        np.testing.assert_array_equal(read(pil(SMOOTH, "JPEG", exif=exif)), read(UPRIGHT))


@pytest.mark.parametrize("name", ["wrong.jpg", "IMAGE.DCM", "[1].png", "échographie 乳房.png"])
def test_the_content_decides_not_the_name(name, read, tmp_path):
    np.testing.assert_array_equal(read(EXACT["png gray 8"][0], name), GRAY8)
    np.testing.assert_array_equal(read_image(str(tmp_path / name)), GRAY8)
    assert find_format(tmp_path / name) == "PNG"


def test_formats(tmp_path):
    files = {"dicom": dicom(GRAY8), "jpeg": UPRIGHT, "gif": pil(GRAY8, "GIF")}
    for name, data in [*((name, data) for name, (data, _) in EXACT.items()), *files.items()]:
        (tmp_path / "file").write_bytes(data)
        kind = name.split()[0].upper().replace("PGM", "PNM").replace("PPM", "PNM")
        assert find_format(tmp_path / "file") == kind
    (tmp_path / "file").write_bytes(b"BMI,age")
    assert find_format(tmp_path / "file") is find_format(tmp_path / "none") is None


def test_what_is_no_file(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match="int"):
        read_image(0)
    assert {ImageError, OSError} < set(ImageReadError.__mro__)
    for path, fact in (
        (tmp_path / "none.png", "no such file"),
        ("null\0byte.png", "no such file"),
        (tmp_path, "directory"),
        ("/dev/zero", "device"),
    ):
        with pytest.raises(ImageReadError, match=fact):
            read_image(path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageReadError, match="pipe"):
            read_image(tmp_path / "pipe.png")

    def refuse(path, mode, buffering):
        raise PermissionError(13, "Permission denied", path)

    (tmp_path / "image.png").write_bytes(EXACT["png gray 8"][0])
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageReadError, match=r"image\.png.*Permission denied"):
        read_image(tmp_path / "image.png")


def test_errors_name_content_in_memory_as_it_is_called():
    with pytest.raises(ImageReadError, match=r"^'a\.png': unknown content") as caught:
        read_image(io.BytesIO(b"nothing"), name="a.png")
    assert caught.value.path == "a.png"
    with pytest.raises(ImageReadError, match="empty"):
        read_image(b"")


def test_unknown_content_is_not_quoted(fails):
    for data in (b"ROSSI, MARIA", b"P5\n# ROSSI MARIA\n 3", pil(GRAY8, "GIF")):
        assert "ROSSI" not in fails(data)  # it may be the name of a patient


def test_content_in_memory_is_not_written_to_disk():
    files = [EXACT[name][0] for name in EXACT if name.startswith(("png", "tiff"))]
    files += [UPRIGHT, dicom(GRAY8)]
    events, watched = [], []
    # A hook cannot be removed; it does nothing later.
    sys.addaudithook(lambda event, args: events.append((event, args)) if watched else None)
    read_image(files[-1])  # imports what it needs
    watched.append(True)
    for data in [*files, *(data[: len(data) // 2] for data in files)]:
        with suppress(ImageReadError):
            read_image(data, name="Doe^Jane.dcm")
    watched.clear()
    kinds = {"open", "os.mkdir", "os.rename", "tempfile.mkstemp", "tempfile.mkdtemp"}
    assert not [args for event, args in events if event in kinds]


def copy_by_tblib(error):
    """Copy an error as Dask does between processes."""
    tblib = pytest.importorskip("tblib.pickling_support", reason="Dask is not installed")
    function, args = tblib.pickle_exception(error)[:2]
    return function(*args)


@pytest.mark.parametrize(
    "duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy_by_tblib]
)
def test_the_error_crosses_process_borders(duplicate):
    again = duplicate(ImageReadError("the file is empty.", 3, "a.png"))
    assert type(again) is ImageReadError
    assert (again.reason, again.index, again.path) == ("the file is empty.", 3, "a.png")


def test_an_item_is_read_and_checked(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(EXACT["png gray 8"][0])
    np.testing.assert_array_equal(read_item(path, 0), GRAY8)
    assert read_item(GRAY8[..., np.newaxis], 0).shape == GRAY8.shape
    with pytest.raises(ImageError, match="^image 5: found shape"):
        read_item(np.zeros(3), 5)
    with pytest.raises(ImageReadError, match=r"^image 5 \('none\.png'\)"):
        read_item("none.png", 5)
    with pytest.raises(ImageError, match=r"^image 2 \('a\.png'\): found shape") as caught:
        read_item("a.png", 2, read=lambda path: np.zeros(3))
    assert not isinstance(caught.value, ImageReadError)


CUT = ["png gray 8", "png palette", "tiff gray 16", "tiff tiles", "tiff deflate rgb", "bmp rgb"]
CUT += ["tiff gray 8", "pgm 16", "ppm"]
CUT = {name: EXACT[name][0] for name in CUT} | {
    "pgm plain": EXACT["pgm plain"][0][:-4],
    "jpeg gray": pil(SMOOTH, "JPEG"),
    "jpeg progressive": pil(SMOOTH_RGB, "JPEG", progressive=True),
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT)
def test_a_truncated_file_is_an_error_wherever_it_ends(data):
    end = len(data) - 11 * data.startswith(b"\x89PNG")  # whose last chunk is empty
    for size in {*range(0, end, 1 + len(data) // 20), end - 1}:
        with pytest.raises(ImageReadError):
            read_image(data[:size])


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
@pytest.mark.parametrize("pixels", [GRAY8, SMOOTH_RGB], ids=["gray", "rgb"])
def test_a_compressed_strip_that_ends_too_early(pixels, compression):
    data = pil(pixels, "TIFF", compression=compression)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        count = file.pages[0].databytecounts[0]
    for size in range(count // 2, count - 2, 1 + count // 10):
        with pytest.raises(ImageReadError):
            read_image(tiff_tag(data, "StripByteCounts", size))


def test_every_changed_byte_of_a_png_is_an_error():
    data = EXACT["png gray 8"][0]
    for position in range(len(data) - 12):  # the last 12 bytes only mark the end
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(ImageReadError):
            read_image(bytes(damaged))


def test_changed_compressed_bytes_of_a_tiff_are_an_error():
    data = tiff(SMOOTH, compression="zlib")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    for position in range(start, start + count, 7):
        damaged = bytearray(data)
        damaged[position] ^= 16
        with pytest.raises(ImageReadError):
            read_image(bytes(damaged))


def test_an_end_marker_inside_a_thumbnail_does_not_end_a_jpeg(read, fails):
    data = pil(SMOOTH, "JPEG", exif=b"Exif\0\0" + pil(SMOOTH, "JPEG"))
    assert data.count(b"\xff\xd9") == 2
    assert read(data).shape == SMOOTH.shape
    fails(data[:-2], "JPEG")
    np.testing.assert_array_equal(read(UPRIGHT + b"padding"), read(UPRIGHT))


@pytest.mark.parametrize("transparency", [[], [(b"tRNS", b"\xff\0")]])
def test_pixels_beyond_the_palette_of_a_png(transparency, read, fails):
    colors = np.array([[9, 8, 7], [60, 50, 40], [1, 2, 3]], np.uint8)
    chunks = [(b"PLTE", colors.tobytes()), *transparency]
    image = read(png(4, 1, b"\0\0\1\2\1", *chunks, color=3))
    np.testing.assert_array_equal(image[..., :3], colors[[[0, 1, 2, 1]]])
    fails(png(4, 1, b"\0\0\1\3\1", *chunks, color=3), "palette")
    fails(bmp(np.array([[0, 1, 2, 9]], np.uint8), 8, palette=colors.tobytes()))


def test_masks_of_a_bmp(read):
    for masks in ((0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F)):
        words = np.array([[0, sum(masks), masks[0], masks[1]]], "<u2").view(np.uint8)
        image = read(bmp(words, 16, compression=3, masks=struct.pack("<3I", *masks)))
        np.testing.assert_array_equal(image[0], np.eye(4, 3, -2) * 255 + [[0], [255], [0], [0]])


REFUSED = {
    "png rgb 16": opencv(RGB16, ".png"),
    "png gray alpha 16": png(1, 1, bytes(5), depth=16, color=4),
    "png transparent gray 4": png(1, 1, bytes(2), (b"tRNS", b"\0\1"), depth=4),
    "png transparent gray 16": png(1, 1, bytes(3), (b"tRNS", b"\0\1"), depth=16),
    "tiff rgb 16": tiff(RGB16, "rgb"),
    "tiff planar rgb 16": tiff(np.moveaxis(RGB16, -1, 0), "rgb", planarconfig="separate"),
    "tiff int16": tiff(GRAY16.astype(np.int16)),
    "tiff float64": tiff(FLOAT.astype(float)),
    "tiff cmyk": tiff(RGBA8, "separated"),
    "tiff without photometric": tiff_tag(tiff(GRAY8), "PhotometricInterpretation", 9999),
    "tiff fax": pil(Image.fromarray(BITS), "TIFF", compression="group4"),
    "jpeg cmyk": pil(Image.fromarray(RGB8).convert("CMYK"), "JPEG"),
    "jpeg 12": UPRIGHT.replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc0\0\x0b\x0c"),
    "bmp run lengths": EXACT["bmp gray"][0][:30] + b"\1" + EXACT["bmp gray"][0][31:],
}


@pytest.mark.parametrize("name", REFUSED)
def test_kinds_that_are_not_read(name, fails):
    fails(REFUSED[name], name.split()[0].upper())


def pages(*flags):
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for pixels, flag in zip((GRAY8, GRAY8[::2, ::2].copy()), flags):
            writer.write(pixels, photometric="minisblack", subfiletype=flag, metadata=None)
    return file.getvalue()


def test_a_page_that_is_marked_as_reduced(read, fails):
    np.testing.assert_array_equal(read(pages(0, 1)), GRAY8)
    np.testing.assert_array_equal(read(pages(1, 0)), GRAY8[::2, ::2])
    fails(pages(1, 1), "TIFF")


STACK = np.stack([GRAY8, GRAY8, GRAY8])
FRAMES = [Image.fromarray(SMOOTH_RGB), Image.fromarray(255 - SMOOTH_RGB)]
SEVERAL = {
    "pages": pages(0, 0),
    "a stack": tiff(STACK),
    "a stack of ImageJ": tiff(STACK, imagej=True),
    "animation frames": pil(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]),
    "pictures of a JPEG": pil(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:]),
}


PGM = [
    *(b"P5 3", b"P5 3 2 0 ......", b"P5 3 2 70000 ............", b"P5 99999999 99999999 255 ..."),
    *(b"P5 3 2 65535 ...........", b"P5 3 2 255 ......P5 3 2 255 ......", b"P2 3 2 255 1 2 3 4 5"),
    *(b"P5 3 2 7 \1\2\3\4\5\x08", b"P2 3 2 255 1 2 3 4 5 256", b"P2 3 2 255 1 2 3 4 5 -6"),
    b"P5\n" + b"#\n" * 2_000_000,
]


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        *(pytest.param(data, "several", id=name) for name, data in SEVERAL.items()),
        *(pytest.param(data, "PNM|PGM", id=data[:40].decode()) for data in PGM),
    ],
)
def test_several_pictures_and_wrong_pgm(data, fact, fails):
    fails(data, fact)


ROWS = b"".join(b"\0" + row.tobytes() for row in GRAY8)
WHOLE = EXACT["png gray 8"][0]
PIXELS = zlib.compress(ROWS)
CHUNKS = (
    WHOLE[:33] + png_chunk(b"IDAT", PIXELS[:50]),
    png_chunk(b"IDAT", PIXELS[50:]) + WHOLE[-12:],
)
WRONG = {
    "an unknown chunk among the pixels of a PNG": CHUNKS[0] + png_chunk(b"ABCD", b"") + CHUNKS[1],
    "too few rows of a PNG": png(17, 13, ROWS[: len(ROWS) // 2]),
    "a depth that does not exist": png(4, 1, bytes(99), depth=30),
    "strips inside the header": tiff_tag(tiff(GRAY8), "StripOffsets", 0),
    "fewer strips than rows": tiff_tag(tiff(GRAY8, rowsperstrip=5), "RowsPerStrip", 1),
    "no marker where one must be": b"\xff\xd8\xff\xe0\0\x04ab and so on",
    "empty directories": b"II*\0" + struct.pack("<IHI", 8, 0, 8) + bytes(50_000),
    "a chain of empty directories": b"II*\0"
    + struct.pack("<I", 8)
    + b"".join(struct.pack("<HI", 0, 14 + 6 * number) for number in range(100_000)),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_damage(data, fails):
    fails(data)


@pytest.mark.parametrize("name", ["tif_hang.tif", "tif_hang2.tif"])
def test_tiff_directories_that_hang_other_readers(name):
    with pytest.raises(ImageReadError, match=name):
        read_image(data_dir("hostile") / name)


def test_tiff_directories_in_a_circle(read):
    data = bytearray(tiff(GRAY8))
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    np.testing.assert_array_equal(read(bytes(data)), GRAY8)


@pytest.mark.parametrize("data", LARGE.values(), ids=LARGE)
def test_more_pixels_than_allowed_are_not_decoded(data, fails):
    fails(data, r"20000 x 20000 pixels, expected 1 to \d+ .*FEATBUS_MAX_PIXELS")


def test_many_scans_of_many_pixels(fails):
    data = pil(np.zeros((2000, 2000), np.uint8), "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    fails(data[:second] + data[first:second] * 300 + data[second:], "scans")


def test_the_limit_can_be_changed(read, fails, monkeypatch, tmp_path):
    data = pil(GRAY8, "PNG")
    fails(data, "13 x 17 pixels, expected 1 to 220", max_pixels=220)
    assert read(data, max_pixels=221).shape == (13, 17)
    with pytest.raises(ImageReadError, match="220"):
        ImageLoader(max_pixels=220).transform([tmp_path / "image"])
    assert ImageLoader(max_pixels=221).transform([tmp_path / "image"]).shape == (1, 13, 17)
    monkeypatch.setenv("FEATBUS_MAX_PIXELS", "220")
    fails(data, "220")
    assert read(data, max_pixels=221).shape == (13, 17)
    for text in ("many", "0"):
        monkeypatch.setenv("FEATBUS_MAX_PIXELS", text)
        with pytest.raises(InvalidParameterError, match="FEATBUS_MAX_PIXELS"):
            read(data)
    with pytest.raises(InvalidParameterError, match="max_pixels"):
        read(data, max_pixels=0)


@pytest.mark.skipif(not hasattr(os, "truncate"), reason="no sparse files")
def test_very_large_files(tmp_path):
    for head, size in ((b"x", 3 << 30), (b"P5 2 2 255\n", 20 << 30)):
        (tmp_path / "image.png").write_bytes(head)
        os.truncate(tmp_path / "image.png", size)
        with pytest.raises(ImageReadError, match=r"unknown content|has \d+ bytes"):
            read_image(tmp_path / "image.png")
    with pytest.raises(ImageReadError, match=r"has \d+ bytes"):
        read_image(io.BytesIO(b"P5 2 2 255\n" + bytes(1 << 27)), max_pixels=1)


def test_too_little_memory_is_an_error_of_the_image(tmp_path, monkeypatch):
    def exhaust(*args):
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", exhaust)
    (tmp_path / "image.png").write_bytes(pil(GRAY8, "PNG"))
    with pytest.raises(ImageReadError, match=r"image\.png': there is not enough memory"):
        read_image(tmp_path / "image.png")


def test_accepted_files_print_nothing(read, capfd):
    read(png(4, 1, bytes(5), (b"iCCP", b"x\0\0" + zlib.compress(b"short"))))
    read(tiff(GRAY8, extratags=[(65000, "H", 1, 7, True)]))
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.slow
def test_mutants():
    script = Path(__file__).parents[1] / "benchmarks" / "fuzz" / "readers.py"
    command = [sys.executable, script, "300", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ultrasound_images_and_mammograms(tmp_path):
    busi = data_dir("busi") / "benign"
    paths = [busi / "benign (1).png", busi / "benign (240).png"]
    for path in (*paths, data_dir("mini-mias") / "mdb003.pgm"):
        image = read_image(path)
        np.testing.assert_array_equal(image, np.asarray(Image.open(path)))
        shutil.copy(path, tmp_path / "copy.tif")
        np.testing.assert_array_equal(read_image(tmp_path / "copy.tif"), image)
    with pytest.raises(ImageReadError, match="1048575 values, expected 1048576"):
        read_image(path.read_bytes()[:-1])
