"""Image files: every format, every depth, every kind of damage. DICOM is in `test_dicom`."""

import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

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
    dicom,
    opencv,
    pil,
    png,
    tiff,
    tiff_tag,
)
from PIL import Image, ImageOps

from featbus import ImageLoader
from featbus.augmentation import dihedral
from featbus.images import ImageError
from featbus.io import ImageReadError, find_format, read_image, read_item
from featbus.parameters import InvalidParameterError

BITS_AS_8 = np.where(BITS, 255, 0).astype(np.uint8)
PALETTE = Image.fromarray(RGB8).quantize(16)
RGBA_BMP = opencv(RGBA8, ".bmp")
with Image.open(io.BytesIO(RGBA_BMP)) as picture:  # Pillow 11 ignores the alpha channel
    RGBA_BMP_BANDS = len(picture.getbands())
PALETTE_RGB = np.array(PALETTE.convert("RGB"))
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
    "tiff gray float32 big-endian": (tiff(FLOAT, byteorder=">"), FLOAT),
    "tiff rgba 8": (tiff(RGBA8, "rgb", extrasamples=["unassalpha"]), RGBA8),
    "tiff palette": (pil(PALETTE, "TIFF"), PALETTE_RGB),
    "tiff zero is white 1": (tiff(BITS, "miniswhite"), 255 - BITS_AS_8),
    "tiff zero is white 8": (tiff(GRAY8, "miniswhite"), 255 - GRAY8),
    "tiff zero is white 16 deflate": (tiff(GRAY16, "miniswhite", compression="zlib"), ~GRAY16),
    "tiff zero is white float32": (tiff(FLOAT, "miniswhite"), 1 - FLOAT),
    "tiff lzw 16": (pil(GRAY16, "TIFF", compression="tiff_lzw"), GRAY16),
    "tiff deflate float32": (tiff(FLOAT, compression="zlib"), FLOAT),
    "tiff deflate 16 big-endian": (tiff(GRAY16, compression="zlib", byteorder=">"), GRAY16),
    "tiff deflate rgb": (tiff(RGB8, "rgb", compression="zlib", predictor=True), RGB8),
    "tiff deflate tiles": (tiff(GRAY8, compression="zlib", predictor=True, tile=(16, 16)), GRAY8),
    "tiff packbits": (pil(RGB8, "TIFF", compression="packbits"), RGB8),
    "tiff tiles": (tiff(np.tile(GRAY16, (6, 6)), tile=(64, 32)), np.tile(GRAY16, (6, 6))),
    "tiff 64-bit offsets": (tiff(GRAY8, bigtiff=True), GRAY8),
    "bmp gray": (pil(GRAY8, "BMP"), GRAY8),
    "bmp rgb": (pil(RGB8, "BMP"), RGB8),
    "bmp palette": (pil(PALETTE, "BMP"), PALETTE_RGB),
    "bmp rgba with masks": (RGBA_BMP, RGBA8[..., :RGBA_BMP_BANDS]),
    "pgm comments": (b"P5\n# a\n#b\n17 # c\n13\n#\n255\n" + GRAY8.tobytes(), GRAY8),
    "pgm dos lines": (b"P5\r\n17 13\r\n255\r\n" + GRAY8.tobytes(), GRAY8),
    "pgm": (b"P5 17 13 255\n" + GRAY8.tobytes() + b"\n", GRAY8),
    "pgm 16": (b"P5 17 13 65535\n" + GRAY16.astype(">u2").tobytes(), GRAY16),
    "pgm 12": (
        b"P5 17 13 4095\n" + (GRAY16 >> 4).astype(">u2").tobytes(),
        (GRAY16 >> 4) / np.float32(4095),
    ),
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
    np.testing.assert_array_equal(image, np.dstack([PALETTE_RGB, opacity[np.array(PALETTE)]]))
    image = read(png(3, 1, b"\0\3\x4d\5", (b"tRNS", b"\0\x4d")))  # a level is transparent
    assert image[0, :, 3].tolist() == [255, 0, 255]
    assert image[0, :, 1].tolist() == [3, 77, 5]


@pytest.mark.parametrize("pixels", [SMOOTH, SMOOTH_RGB], ids=["gray", "rgb"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("TIFF", {"compression": "jpeg"})],
)
def test_jpeg(kind, options, pixels, read):
    image = read(pil(pixels, kind, quality=95, **options))
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image.astype(int), pixels, atol=6)


def with_orientation(kind, pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return pil(pixels, kind, exif=exif)


@pytest.mark.parametrize("orientation", [0, *range(2, 9), 65535])
@pytest.mark.parametrize(
    ("kind", "pixels"), [("JPEG", SMOOTH_RGB), ("PNG", GRAY8), ("TIFF", GRAY16), ("TIFF", BITS)]
)
def test_a_picture_stands_as_viewers_show_it(kind, pixels, orientation, read):
    upright = read(with_orientation(kind, pixels, 1))
    turned = read(with_orientation(kind, pixels, orientation))
    element = {2: 4, 3: 2, 4: 6, 5: 7, 6: 3, 7: 5, 8: 1}.get(orientation, 0)
    np.testing.assert_array_equal(turned, dihedral(upright, element))


ROWS = b"".join(b"\0" + row.tobytes() for row in GRAY8)
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
    "an unknown critical PNG chunk": png(17, 13, ROWS, (b"ABCD", b"unknown")),
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
    files["pgm text"] = b"P2\n# made by hand\n1 1"
    for name, data in [*((name, data) for name, (data, _) in EXACT.items()), *files.items()]:
        (tmp_path / "file").write_bytes(data)
        kind = name.split()[0].upper().replace("PGM", "PNM").replace("PPM", "PNM")
        assert find_format(tmp_path / "file") == kind
    for data in (b"BMI,age", b"P2 was seen twice", b"<html>404</html>", b""):
        (tmp_path / "file").write_bytes(data)
        assert find_format(tmp_path / "file") is None
    assert find_format(tmp_path / "none") is find_format(tmp_path) is None


def test_what_is_no_file(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match="int"):
        read_image(0)
    assert {ImageError, OSError} < set(ImageReadError.__mro__)
    for path, fact in (
        (tmp_path / "none.png", "no such file"),
        ("null\0byte.png", "no such file"),
        (tmp_path, "directory"),
        ("/dev/zero", "device"),
        (b"", "empty"),
    ):
        with pytest.raises(ImageReadError, match=fact):
            read_image(path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageReadError, match="pipe"):
            read_image(tmp_path / "pipe.png")

    refuse = Mock(side_effect=PermissionError(13, "Permission denied"))
    (tmp_path / "image.png").touch()
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageReadError, match=r"image\.png.*Permission denied"):
        read_image(tmp_path / "image.png")


def test_unknown_content_is_not_quoted(fails):
    for data in (b"ROSSI, MARIA", b"P5\n# ROSSI MARIA\n 3", pil(GRAY8, "GIF")):
        assert "ROSSI" not in fails(data)  # it may be the name of a patient
    with pytest.raises(ImageReadError, match=r"^'a\.png': unknown content") as caught:
        read_image(io.BytesIO(b"nothing"), name="a.png")
    assert caught.value.path == "a.png"


CUT = ["png gray 8", "png palette", "tiff gray 16", "tiff tiles", "tiff deflate rgb", "bmp rgb"]
CUT += ["tiff gray 8", "pgm 16", "ppm"]
CUT = {name: EXACT[name][0] for name in CUT} | {
    "jpeg gray": pil(SMOOTH, "JPEG"),
    "jpeg progressive": pil(SMOOTH_RGB, "JPEG", progressive=True),
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT)
def test_a_truncated_file_is_an_error_wherever_it_ends(data):
    end = len(data) - 11 * data.startswith(b"\x89PNG")  # whose last chunk is empty
    for size in {*range(0, end, 1 + len(data) // 20), end - 1}:
        with pytest.raises(ImageReadError):
            read_image(data[:size])


def find_strip(data):
    """Return start and size of the pixels in a TIFF file."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_a_compressed_strip_that_ends_too_early(compression):
    data = pil(SMOOTH_RGB, "TIFF", compression=compression)
    _, count = find_strip(data)
    for size in (count // 2, count - 3):  # of deflate, the last 4 bytes are the checksum
        with pytest.raises(ImageReadError):
            read_image(tiff_tag(data, "StripByteCounts", size))


def test_changed_bytes_of_png_and_deflated_tiff_are_an_error():
    png, tif = EXACT["png gray 8"][0], tiff(SMOOTH, compression="zlib")
    start, count = find_strip(tif)
    # The last 12 bytes of a PNG only mark the end.
    for data, positions in ((png, range(len(png) - 12)), (tif, range(start, start + count, 7))):
        for position in positions:
            damaged = bytearray(data)
            damaged[position] ^= 16
            with pytest.raises(ImageReadError):
                read_image(bytes(damaged))


def test_pixels_beyond_the_palette(read, fails):
    colors = np.array([[9, 8, 7], [60, 50, 40], [1, 2, 3]], np.uint8)
    palette = (b"PLTE", colors.tobytes())
    image = read(png(4, 1, b"\0\0\1\2\1", palette, color=3))
    np.testing.assert_array_equal(image, colors[[[0, 1, 2, 1]]])
    fails(png(4, 1, b"\0\0\1\3\1", palette, color=3), "palette")


def test_an_item_is_read_and_checked():
    with pytest.raises(ImageError, match="^image 5: found shape"):
        read_item(np.zeros(3), 5)
    with pytest.raises(ImageError, match=r"^image 2 \('a\.png'\): found shape") as caught:
        read_item("a.png", 2, read=lambda path: np.zeros(3))
    assert not isinstance(caught.value, ImageReadError)


STACK = np.stack([GRAY8, GRAY8, GRAY8])
FRAMES = [Image.fromarray(SMOOTH_RGB), Image.fromarray(255 - SMOOTH_RGB)]
SEVERAL = {
    "pages": tiff(STACK, metadata=None),
    "a stack": tiff(STACK),
    "a stack of ImageJ": tiff(STACK, imagej=True),
    "animation frames": pil(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]),
    "pictures of a JPEG": pil(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:]),
}


PGM = [
    *(b"P5 3", b"P5 3 2 0 ......", b"P5 3 2 70000 ............", b"P5 99999999 99999999 255 ..."),
    *(
        b"P5 3 2 65535 ...........",
        b"P5 3 2 255 ......P5 3 2 255 ......",
        b"P2 3 2 255 1 2 3 4 5 6",
    ),
    *(b"P5 3 2 7 \1\2\3\4\5\x08", b"P5\n" + b"#\n" * 2_000_000),
]


REFUSED = {
    "tiff deflate float32 big-endian": tiff(FLOAT, compression="zlib", byteorder=">"),
    "png rgb 16": opencv(RGB16, ".png"),
    "png gray alpha 16": png(1, 1, bytes(5), depth=16, color=4),
    "png transparent gray 16": png(1, 1, bytes(3), (b"tRNS", b"\0\1"), depth=16),
    "tiff rgb 16": tiff(RGB16, "rgb"),
    "tiff int16": tiff(GRAY16.astype(np.int16)),
    "tiff float64": tiff(FLOAT.astype(float)),
    "tiff cmyk": tiff(RGBA8, "separated"),
    "tiff fax": pil(Image.fromarray(BITS), "TIFF", compression="group4"),
    "jpeg cmyk": pil(Image.fromarray(RGB8).convert("CMYK"), "JPEG"),
    "bmp run lengths": EXACT["bmp gray"][0][:30] + b"\1" + EXACT["bmp gray"][0][31:],
}
WRONG = {
    "too few rows of a PNG": png(17, 13, ROWS[: len(ROWS) // 2]),
    "strips inside the header": tiff_tag(tiff(GRAY8), "StripOffsets", 0),
    "fewer strips than rows": tiff_tag(tiff(GRAY8, rowsperstrip=5), "RowsPerStrip", 1),
    "a chain of empty directories": b"II*\0"
    + struct.pack("<I", 8)
    + b"".join(struct.pack("<HI", 0, 14 + 6 * number) for number in range(100_000)),
}


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        *(pytest.param(data, "several", id=name) for name, data in SEVERAL.items()),
        *(pytest.param(data, "PNM|PGM", id=data[:40].decode()) for data in PGM),
        *(pytest.param(data, "", id=name) for name, data in WRONG.items()),
        *(pytest.param(data, name.split()[0].upper(), id=name) for name, data in REFUSED.items()),
    ],
)
def test_what_is_refused(data, fact, fails):
    fails(data, fact)


@pytest.mark.parametrize("name", ["tif_hang.tif", "tif_hang2.tif"])
def test_tiff_directories_that_hang_other_readers(name):
    with pytest.raises(ImageReadError, match=name):
        read_image(data_dir("hostile") / name)


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
    monkeypatch.setenv("FEATBUS_MAX_PIXELS", "many")
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


def test_too_little_memory_is_an_error_of_the_image(fails, monkeypatch):
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", Mock(side_effect=MemoryError))
    fails(pil(GRAY8, "PNG"), r"image': there is not enough memory")


@pytest.mark.slow
def test_mutants():
    script = Path(__file__).parents[1] / "benchmarks" / "fuzz" / "readers.py"
    command = [sys.executable, script, "300", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ultrasound_images_and_mammograms():
    busi = data_dir("busi") / "benign"
    mammogram = data_dir("mini-mias") / "mdb003.pgm"
    for path in (busi / "benign (1).png", busi / "benign (240).png", mammogram):
        np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path)))
    with pytest.raises(ImageReadError, match="1048575 values, expected 1048576"):
        read_image(mammogram.read_bytes()[:-1])
