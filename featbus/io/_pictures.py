"""Decode pictures by Pillow; PGM and PPM files, which it would rescale, by NumPy."""

import io
import math
import re
import zlib
from contextlib import suppress

import numpy as np
from PIL import ExifTags, ImageOps
from PIL import TiffImagePlugin as tiff
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile, jpeg_factory
from PIL.PngImagePlugin import PngImageFile

from featbus.io._files import ImageReadError, check_size, open_image, several

_MODES = ("L", "RGB", "RGBA", "I;16", "I;16B", "F")
# Raw modes of PNG that Pillow reduces to 8 bits, or whose transparent level it does not scale.
_REDUCED = ("RGB;16B", "LA;16B", "RGBA;16B")
_UNSCALED = ("1", "L;2", "L;4", "I;16B")
# Encoders write about 10 scans into a JPEG file. Each costs a pass over all pixels.
_SCAN, _SCANS, _SCANNED_PIXELS = b"\xff\xda", 16, 10**9

_DEFLATE = (8, 32946)
_COMPRESSIONS = (1, 5, 7, 32773, *_DEFLATE)  # none, LZW, JPEG, PackBits
# By samples per pixel: bits, and format (1 unsigned integer, 3 floating point).
_DEPTHS = {1: [(1, 1), (8, 1), (16, 1), (32, 3)], 3: [(8, 1)], 4: [(8, 1)]}
# Several pictures in one page, as ImageJ and tifffile write them.
_PLANES = re.compile(r"(?s)ImageJ=.*\nimages=(?!1\s)|\{.*\"truncated\": true")

# Possessive, so that comments are passed over once.
_PNM = re.compile(rb"P([56])" + rb"(?:\s|#[^\r\n]*+[\r\n])++(\d{1,9})" * 3 + rb"(?:\r\n|\s)")


def read_picture(data, kind, limit):
    """Decode a picture after checking its size.

    Parameters
    ----------
    data : bytes
        The content of the file.
    kind : {"PNG", "JPEG", "TIFF", "BMP", "PNM"}
        Its format.
    limit : int
        The number of pixels that are allowed.

    Returns
    -------
    ndarray of uint8, uint16 or float32
        Grayscale, RGB or RGBA, as described in `featbus.io.read_image`, in any byte order.

    Raises
    ------
    Exception
        If the file is damaged, of a kind that is not supported, or contains several pictures.
    """
    if kind == "PNM":
        return _read_pnm(data, limit)
    open_picture, check = _FORMATS[kind]
    image = open_picture(io.BytesIO(data))
    check_size(kind, image.height, image.width, limit)
    with suppress(EOFError):
        image.seek(1)
        raise several("frames or pages", "PIL.ImageSequence or tifffile.imread")
    check(image, data, limit)
    return _as_array(image)


def _check_png(image, data, limit):
    raw = image.tile[0][3]
    if raw in _REDUCED or ("transparency" in image.info and raw in _UNSCALED):
        raise ValueError("color of 16 bits, or a transparent level of other than 8 bits")
    PngImageFile(io.BytesIO(data)).verify()


def check_scans(data, pixels):
    """Refuse JPEG data with so many scans that decoding takes minutes."""
    scans = data.count(_SCAN)
    if scans > _SCANS and scans * pixels > _SCANNED_PIXELS:
        raise ImageReadError(f"the JPEG data have {scans} scans. Save the picture as PNG.")


def _check_bmp(image, data, limit):
    decoder, _, start, (_, row, _) = image.tile[0]
    if decoder != "raw" or start + row * image.height > len(data):
        raise ValueError("it is compressed, or ends before its pixels")


def _check_tiff(image, data, limit):
    tags = image.tag_v2
    if _PLANES.match(str(tags.get(tiff.IMAGEDESCRIPTION, ""))):
        raise several("pictures", "tifffile.imread")
    width, height = tags[tiff.IMAGEWIDTH], tags[tiff.IMAGELENGTH]
    samples, compression = tags.get(tiff.SAMPLESPERPIXEL, 1), tags.get(tiff.COMPRESSION, 1)
    bits, formats = (set(tags.get(tag, (1,))) for tag in (tiff.BITSPERSAMPLE, tiff.SAMPLEFORMAT))
    planar = samples > 1 and tags.get(tiff.PLANAR_CONFIGURATION, 1) != 1
    # Pillow swaps the bytes of compressed numbers that libtiff has swapped before.
    swapped = data[:2] == b"MM" and bits == {32} and compression != 1
    known = (*bits, *formats) in _DEPTHS.get(samples, ()) and compression in _COMPRESSIONS
    if planar or swapped or not known:
        raise ValueError(f"{samples=}, {bits=}, {formats=}, {planar=}, {swapped=}, {compression=}")
    if tiff.TILEOFFSETS in tags:
        rows, columns = tags[tiff.TILELENGTH], tags[tiff.TILEWIDTH]
        starts, counts = tags[tiff.TILEOFFSETS], tags[tiff.TILEBYTECOUNTS]
    else:
        rows, columns = min(tags.get(tiff.ROWSPERSTRIP, height), height), width
        starts, counts = tags[tiff.STRIPOFFSETS], tags[tiff.STRIPBYTECOUNTS]
    down, across = -(-height // rows), -(-width // columns)
    check_size("TIFF", rows * down, columns * across, limit)  # tiles may be larger than the image
    ends = [start + count for start, count in zip(starts, counts)]
    if len(ends) != down * across or max(ends) > len(data) or min(starts) < 8:
        raise ValueError("its strips or tiles are incomplete, or inside the header")
    for start, end in zip(starts, ends) if compression in _DEFLATE else ():
        stream = zlib.decompressobj()
        stream.decompress(data[start:end], rows * columns * samples * max(bits) // 8 + rows)
        if not stream.eof:  # nor is there a checksum, which libtiff ignores
            raise ValueError("its pixels end too late")
    check_scans(data if compression == 7 else b"", height * width)


_FORMATS = {
    "PNG": (PngImageFile, _check_png),
    "JPEG": (jpeg_factory, lambda image, data, _: check_scans(data, image.height * image.width)),
    "TIFF": (tiff.TiffImageFile, _check_tiff),
    "BMP": (BmpImageFile, _check_bmp),
}


def _as_array(image):
    """Decode an image; return its pixels, upright."""
    white_is_zero = image.format == "TIFF" and image.tag_v2[tiff.PHOTOMETRIC_INTERPRETATION] == 0
    image.load()
    orientation = 1
    with suppress(Exception):  # EXIF data that cannot be parsed turn nothing
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation != 1:
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "P" and image.getextrema()[1] >= len(image.getpalette()) // 3:
        raise ValueError("it has pixels beyond its palette")
    if image.mode in ("LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode in ("1", "P"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if image.mode not in _MODES:
        raise ValueError(f"{image.mode} pixels")
    pixels = np.asarray(image)
    if white_is_zero and pixels.dtype != np.uint8:  # which Pillow inverts itself
        return 1 - pixels if pixels.dtype.kind == "f" else ~pixels
    return pixels


def read_quantization(path):
    """Return the mean step of a JPEG file's first quantization table; NaN if there is none.

    It usually belongs to the brightness: 1 at the best quality, 57.6 at quality 50 of the
    Independent JPEG Group.
    """
    with suppress(Exception), open_image(path) as (file, _):  # the reader says what is wrong
        return float(np.mean(next(iter(JpegImageFile(file).quantization.values()))))
    return np.nan


def _read_pnm(data, limit):
    """Parse a PGM (P5) or PPM (P6) file."""
    # A header that does not match is not quoted: a comment may contain the name of a patient.
    header = _PNM.match(data)
    if header is None:
        raise ValueError("its header is not complete, or it is a text (P2 or P3)")
    kind, *numbers = header.groups()
    width, height, maximum = map(int, numbers)
    check_size("PGM or PPM", height, width, limit)
    if not 1 <= maximum <= 65535:
        raise ValueError(f"its maximum is {maximum}, expected 1 to 65535")
    shape = (height, width) if kind == b"5" else (height, width, 3)
    dtype = np.dtype("u1" if maximum < 256 else ">u2")
    end = header.end() + math.prod(shape) * dtype.itemsize
    pixels = np.frombuffer(data[header.end() : end], dtype)
    if len(data) < end or data[end:].strip(b"\0\t\n\r ") or pixels.max() > maximum:
        raise ValueError(
            f"{len(pixels)} values, expected {math.prod(shape)} of at most {maximum}, and no more"
        )
    pixels = pixels.reshape(shape)
    if maximum not in (255, 65535):
        return np.divide(pixels, maximum, dtype=np.float32)
    return pixels
