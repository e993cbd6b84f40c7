"""Files whose damage decoders read over: other pictures of the same bytes."""

import io
import os
import platform
import struct
import threading
import time
import warnings

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate
from test_hostile_files import png, tiff_tag
from test_io import GRAY8, GRAY16, RGB8, SMOOTH, dicom, lut, pil, tiff

from featbus.io import ImageReadError, read_image
from featbus.io._dicom_frames import check_frame
from featbus.io._stderr import listen

GLIBC = platform.libc_ver()[0] == "glibc"
LARGE = np.tile(SMOOTH, (10, 10))


@pytest.fixture
def read(tmp_path):
    """Read bytes through a file."""

    def read(data, name="image"):
        (tmp_path / name).write_bytes(data)
        return read_image(tmp_path / name)

    return read


@pytest.fixture
def fails(read):
    """Check that reading bytes fails with a message, in less than 5 seconds."""

    def fails(data, message, name="image"):
        start = time.perf_counter()
        with pytest.raises(ImageReadError, match=message) as caught:
            read(data, name)
        assert time.perf_counter() - start < 5
        return str(caught.value)

    return fails


def make_tiff(tags, body):
    """Return a TIFF file of pixels from byte 8 on, with integers as tags."""
    start, directory, values = 8 + len(body) + 6 + 12 * len(tags), b"", b""
    for tag, value in sorted(tags.items()):
        value = value if isinstance(value, tuple) else (value,)
        content = struct.pack(f"<{len(value)}I", *value)
        if len(content) > 4:
            values, content = values + content, struct.pack("<I", start + len(values))
        directory += struct.pack("<HHI", tag, 4, len(value)) + content
    head = struct.pack("<2sHI", b"II", 42, 8 + len(body))
    return head + body + struct.pack("<H", len(tags)) + directory + bytes(4) + values


def tiff_of_jpeg(parts, shape, photometric, **tags):
    """Return a TIFF file of JPEG strips."""
    offsets = tuple(8 + sum(map(len, parts[:number])) for number in range(len(parts)))
    tags = {int(tag[1:]): value for tag, value in tags.items()}
    common = {256: shape[1], 257: shape[0], 258: 8, 259: 7, 262: photometric, 273: offsets}
    counts = tuple(map(len, parts))
    return make_tiff(
        {**common, 277: 3 if len(shape) == 3 else 1, 279: counts, **tags}, b"".join(parts)
    )


@pytest.mark.parametrize("sizes", [(30, 29), (29, 30), (30, 3)])
def test_a_second_page_of_any_size(sizes, fails, read):
    pages = [Image.fromarray(np.full((size, 20), 9, np.uint8)) for size in sizes]
    data = pil(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    fails(data, "contains 2 pages")


def test_a_page_that_is_marked_as_reduced(read, fails):
    def save(flags):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            for pixels, flag in zip((GRAY8, GRAY8[::2, ::2].copy()), flags):
                writer.write(pixels, photometric="minisblack", subfiletype=flag, metadata=None)
        return file.getvalue()

    np.testing.assert_array_equal(read(save((0, 1))), GRAY8)
    np.testing.assert_array_equal(read(save((1, 0))), GRAY8[::2, ::2])
    fails(save((1, 1)), "only a reduced version")


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_is_upright(orientation, read):
    data = tiff(GRAY8, extratags=[(274, "H", 1, orientation, True)])
    np.testing.assert_array_equal(read(data), GRAY8)


def test_a_jpeg_strip_of_fewer_rows(read, fails):
    whole, short = pil(LARGE[:64], "JPEG", quality=95), pil(LARGE[:32], "JPEG", quality=95)
    data = tiff_of_jpeg([whole, short], (96, 400), 1, t278=64)
    np.testing.assert_allclose(read(data)[64:], LARGE[:32], atol=9)
    fails(tiff_of_jpeg([short, whole], (128, 400), 1, t278=64), "JPEG data of another size")


@pytest.mark.parametrize(
    "marker", [b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0", b"\xff\xee\0\x0eAdobe\0d\0\0\0\0\1"]
)
def test_the_photometric_tag_decides_on_the_colors_of_a_jpeg_strip(marker, read):
    pixels = np.full((16, 16, 3), [200, 50, 0], np.uint8)
    # Pillow stores these three channels as they are.
    channels = Image.merge(
        "YCbCr", [Image.fromarray(np.ascontiguousarray(pixels[..., c])) for c in range(3)]
    )
    data = pil(channels, "JPEG", quality=95, subsampling=0)
    data = b"\xff\xd8" + marker + data[data.index(b"\xff\xdb") :]
    image = read(tiff_of_jpeg([data], pixels.shape, 2, t258=(8, 8, 8)))
    np.testing.assert_allclose(image.astype(int), pixels, atol=3)


CUT_JPEG = [{}, {"progressive": True}, {"restart_marker_blocks": 9}]


@pytest.mark.skipif(not GLIBC, reason="libjpeg is not heard")
@pytest.mark.parametrize("options", CUT_JPEG, ids=["baseline", "progressive", "restart"])
def test_a_jpeg_scan_that_ends_too_early(options, fails, capfd):
    data = pil(LARGE, "JPEG", quality=95, **options)
    cut = data[: len(data) * 2 // 3] + b"\xff\xd9"
    fails(cut, "cannot decode the JPEG file without errors")
    fails(tiff_of_jpeg([cut], LARGE.shape, 1), "cannot decode the JPEG file without errors")
    if not options:
        fails(dicom(LARGE, uid.JPEGBaseline8Bit, frame=cut), "JPEG file without errors")
        data = pil(np.dstack([LARGE] * 3), "JPEG", quality=95)
        cut = data[: len(data) * 2 // 3] + b"\xff\xd9"
        elements = {"PhotometricInterpretation": "YBR_FULL_422"}
        data = dicom(np.dstack([LARGE] * 3), uid.JPEGBaseline8Bit, frame=cut, **elements)
        fails(data, "JPEG file without errors")
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.skipif(not GLIBC, reason="libjpeg is not heard")
def test_a_jpeg_of_fewer_rows_than_its_scan(fails):
    data = bytearray(pil(LARGE, "JPEG"))
    struct.pack_into(">H", data, data.index(b"\xff\xc0") + 5, 120)
    fails(bytes(data), "cannot decode the JPEG file without errors")


@pytest.mark.skipif(not GLIBC, reason="libjpeg is not heard")
def test_threads_do_not_hear_each_other(tmp_path):
    whole = pil(LARGE, "JPEG", quality=95)
    (tmp_path / "whole.jpg").write_bytes(whole)
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    outcomes = []

    def work(name):
        for _ in range(50):
            try:
                read_image(tmp_path / name)
            except ImageReadError:
                outcomes.append((name, "refused"))
            else:
                outcomes.append((name, "read"))

    names = ["whole.jpg", "cut.jpg"] * 3
    threads = [threading.Thread(target=work, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes) == {("whole.jpg", "read"), ("cut.jpg", "refused")}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_is_forked_while_a_thread_reads():
    decodes, end = threading.Event(), threading.Event()

    def wait():
        decodes.set()
        end.wait()

    thread = threading.Thread(target=listen, args=[wait])
    thread.start()
    decodes.wait()
    child = os.fork()
    if not child:
        found = listen._decoding, listen(lambda: 7)
        os._exit(found != (0, (7, False)))
    assert os.waitpid(child, 0)[1] == 0
    end.set()
    thread.join()


@pytest.mark.parametrize(
    ("syntax", "frame", "bits"),
    [
        (uid.JPEGLSLossless, "ffd8fff7000b10000d001101011100", 16),
        (uid.JPEGLosslessSV1, "ffd8ffc3000b10000d001101011100", 16),
        (uid.JPEGLSLossless, "ffd8fff7000b08000d001101011100", 8),
    ],
)
def test_lossless_jpeg_of_dicom_files(syntax, frame, bits):
    scan = (
        bytes.fromhex("ffda0008010100000000")
        + b"\x12\xff\x00\x34\xff\x7f"[: 4 if "c3" in frame else 6]
    )
    frame = bytes.fromhex(frame) + scan + b"\xff\xd9"

    def check(frame, **elements):
        data = pydicom.Dataset()
        data.Rows, data.Columns, data.BitsAllocated = 13, 17, bits
        data.PhotometricInterpretation = "MONOCHROME2"
        data.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)], has_bot=False)
        data.update(elements)
        for key, value in elements.items():
            setattr(data, key, value)
        check_frame(data, syntax, 1, 10**6)

    check(frame)
    for wrong, message in (
        (frame[:-2], "before its end marker"),
        (frame + frame, "bytes more than its pixels need"),
        (frame.replace(b"\0\x0d\0\x11", b"\x60\x0d\x60\x11"), "rows, columns and channels"),
        (frame.replace(bytes([bits]) + b"\0\x0d", b"\x11\0\x0d"), "of 17 bits"),
    ):
        with pytest.raises(ImageReadError, match=message):
            check(wrong)
    with pytest.raises(ImageReadError, match="rows, columns and channels"):
        check(frame, Rows=14)


JPEG_2000 = pil(LARGE, "JPEG2000", no_jp2=True)


@pytest.mark.parametrize(
    "frame",
    [
        JPEG_2000[: len(JPEG_2000) // 2],
        JPEG_2000[: len(JPEG_2000) // 2] + b"\xff\xd9",
        JPEG_2000[: len(JPEG_2000) // 2] + bytes(len(JPEG_2000) // 2),
        JPEG_2000 + JPEG_2000,
    ],
    ids=["cut", "cut, with an end marker", "zero", "two frames"],
)
def test_jpeg_2000_data_of_another_length(frame, fails):
    fails(
        dicom(LARGE, uid.JPEG2000Lossless, frame=frame), "JPEG 2000 (data are inc|file has .* more)"
    )


def test_tiles_of_jpeg_2000(read):
    frame = pil(LARGE, "JPEG2000", no_jp2=True, tile_size=(128, 128))
    image = read(dicom(LARGE, uid.JPEG2000Lossless, frame=frame))
    np.testing.assert_allclose(image, LARGE / 255, atol=1e-6)


def encapsulated(frames, has_bot):
    file = pydicom.dcmread(io.BytesIO(dicom(SMOOTH, uid.JPEGBaseline8Bit, frame=frames[0])))
    file.PixelData = encapsulate(frames, has_bot=has_bot)
    data = io.BytesIO()
    file.save_as(data)
    return data.getvalue()


def test_two_frames_without_their_number(fails, read):
    frame = pil(SMOOTH, "JPEG")
    frame += b"\0" * (len(frame) % 2)
    assert read(encapsulated([frame], False)).shape == SMOOTH.shape
    fails(encapsulated([frame, frame], False), "bytes more than its pixels need")
    fails(encapsulated([frame, frame], True), "contains 2 frames")


@pytest.mark.parametrize("pixels", [GRAY8, GRAY16, RGB8], ids=["8", "16", "rgb"])
def test_run_lengths_of_another_number_of_pixels(pixels, fails):
    file = pydicom.dcmread(io.BytesIO(dicom(pixels, uid.RLELossless)))
    for rows, columns in ((12, 17), (13, 16), (14, 17)):
        file.Rows, file.Columns = rows, columns
        data = io.BytesIO()
        file.save_as(data)
        fails(data.getvalue(), "has run lengths for other than")


def test_samples_that_contradict_the_photometric_interpretation(fails):
    fails(dicom(RGB8, PhotometricInterpretation="MONOCHROME2"), "3 samples .*expected 1")
    fails(dicom(GRAY8, PhotometricInterpretation="RGB"), "1 samples .*expected 3")


def test_rows_and_columns_that_a_dicom_header_leaves_out(fails, read):
    fails(dicom(GRAY16, Rows=12), "34 bytes more than its pixels need")
    fails(dicom(GRAY16, Columns=16), "26 bytes more")
    padded = np.vstack([GRAY16, 0 * GRAY16[:1]])
    np.testing.assert_array_equal(read(dicom(padded, Rows=13)), read(dicom(GRAY16)))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
@pytest.mark.parametrize(("tag", "size"), [("ImageLength", 40), ("ImageWidth", 399)])
def test_a_tiff_of_more_pixels_than_its_header_says(compression, tag, size, fails, read):
    pixels = LARGE[:50] ^ 1
    for rows in (50, 10):
        data = pil(pixels, "TIFF", compression=compression, tiffinfo={278: rows})
        np.testing.assert_array_equal(read(data), pixels)
        fails(tiff_tag(data, tag, size), "TIFF file has")


def test_more_strips_than_the_image_has(fails):
    tags = {256: 17, 257: 13, 258: 8, 262: 1, 273: (8, 229), 278: 13, 279: (221, 221)}
    fails(make_tiff(tags, 2 * GRAY8.tobytes()), "has 2 strips or tiles, expected 1")


def test_a_bmp_of_more_rows_than_its_header_says(fails):
    data = bytearray(pil(SMOOTH, "BMP"))
    struct.pack_into("<i", data, 22, 20)
    fails(bytes(data), "BMP file has 160 bytes more")


@pytest.mark.parametrize("transparency", [[], [(b"tRNS", b"\xff\0")]])
@pytest.mark.parametrize("depth", [2, 8])
def test_pixels_beyond_the_palette_of_a_png(depth, transparency, read, fails):
    colors = bytes([9, 8, 7, 60, 50, 40, 1, 2, 3])
    chunks = [(b"PLTE", colors), *transparency]

    def encode(numbers):
        if depth == 2:
            numbers = [sum(number << 6 - 2 * place for place, number in enumerate(numbers))]
        return png(4, 1, b"\0" + bytes(numbers), *chunks, depth=depth, color=3)

    image = read(encode([0, 1, 2, 1]))
    expected = np.frombuffer(colors, np.uint8).reshape(1, 3, 3)[:, [0, 1, 2, 1]]
    np.testing.assert_array_equal(image[..., :3], expected)
    if transparency:
        np.testing.assert_array_equal(image[..., 3], [[255, 0, 255, 0]])
    assert image.shape[2] == (4 if transparency else 3)
    fails(encode([0, 1, 3, 1]), "pixels beyond its 3 colors")


@pytest.mark.parametrize(("color", "depth"), [(3, 128), (3, 30), (3, 16), (3, 0), (0, 3), (2, 4)])
def test_a_png_of_a_depth_that_does_not_exist(color, depth, fails):
    """Some of them once made a palette of gigabytes."""
    every_gray = bytes(level for level in range(256) for _ in range(3))
    data = png(4, 1, bytes(99), (b"PLTE", every_gray), depth=depth, color=color)
    fails(data, f"PNG file has {depth} bits per sample, expected ")


def test_empty_directories_of_a_tiff(fails):
    loop = b"II*\0" + struct.pack("<IHI", 8, 0, 8) + bytes(50_000)
    fails(loop, "TIFF file are incomplete or contradict")
    chain = b"".join(struct.pack("<HI", 0, 14 + 6 * number) for number in range(200_000))
    fails(b"II*\0" + struct.pack("<I", 8) + chain, "TIFF file are incomplete or contradict")


def test_a_tag_that_comes_twice(fails):
    data = bytearray(tiff(GRAY8, tile=(16, 16)))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        struct.pack_into("<H", data, file.pages[0].tags["Compression"].offset, 323)
    fails(bytes(data), "TIFF file are incomplete or contradict")


def test_very_many_pages(fails):
    page = [(256, 4, 1, 3), (257, 4, 1, 3)]
    size = 6 + 12 * len(page)
    directories = b"".join(
        struct.pack("<H", len(page))
        + b"".join(struct.pack("<HHII", *tag) for tag in page)
        + struct.pack("<I", 8 + (number + 1) * size)
        for number in range(100_000)
    )
    fails(b"II*\0" + struct.pack("<I", 8) + directories, "contains 1000 pages")


def dicom_with(element):
    """Return a DICOM file with an element before those of its pixels."""
    data = dicom(GRAY8)
    start = data.index(struct.pack("<HH2s", 0x28, 2, b"US"))
    return data[:start] + element + data[start:]


@pytest.mark.parametrize("known_length", [False, True])
@pytest.mark.parametrize("tag", [(8, 0x1140), (0x28, 0x3000)])
def test_a_dicom_sequence_of_very_many_items(tag, known_length, fails, read):
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 120_000
    length = len(items) if known_length else 0xFFFFFFFF
    if not known_length:
        items += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = dicom_with(struct.pack("<HH2sHI", *tag, b"SQ", 0, length) + items)
    if known_length and tag == (8, 0x1140):
        assert read(data).shape == GRAY8.shape  # passed over
    else:
        fails(data, "too many or too long elements")


def test_no_number_of_a_text_is_quoted(fails):
    for keyword in ("NumberOfFrames", "Rows", "BitsStored"):
        file = pydicom.dcmread(io.BytesIO(dicom(GRAY8)))
        file.pop(keyword, None)
        file.add_new(keyword, "IS", "19551231")
        data = io.BytesIO()
        file.save_as(data)
        assert "1955" not in fails(data.getvalue(), "frames|describes its pixels wrongly")
    data = dicom(GRAY8, VOILUTSequence=lut(0, [1955, 1231], 8))
    assert "1955" not in fails(data, "entry of more")


def test_odd_descriptions_of_a_tiff(fails):
    for shape, samples in ((b"9" * 98, 1), (b"1, 2", 0)):
        description = b'{"shape": [' + shape + b'], "truncated": true}'
        data = tiff(GRAY8, description=description.decode(), metadata=None)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            message = fails(tiff_tag(data, "SamplesPerPixel", samples), "TIFF file|pages")
        assert "9" * 20 not in message


@pytest.mark.skipif(not hasattr(os, "truncate"), reason="no sparse files")
@pytest.mark.parametrize(
    ("head", "size", "message"),
    [
        (b"", 3 << 30, "unknown content"),
        (b"P5 2 2 255\n", 20 << 30, r"has \d+ bytes, expected at most"),
        (b"P5 2 2 255\n", 1 << 26, "bytes more than its pixels need"),
    ],
)
def test_very_large_files(head, size, message, tmp_path):
    for name in ("image.png", "image.dcm"):
        (tmp_path / name).write_bytes(head)
        os.truncate(tmp_path / name, size)
        with pytest.raises(ImageReadError, match=message):
            read_image(tmp_path / name)
