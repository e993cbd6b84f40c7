"""Read image files, identified by content: PNG, JPEG, TIFF, BMP, PGM/PPM and DICOM.

OpenCV and pydicom decode the pixels. The structure of a file is checked first, because decoders
ignore damage: OpenCV reads half a JPEG file as half a picture, the rest gray.
"""

import io
import math
import os
import re
import struct
import zlib

import cv2
import numpy as np

from featbus.images import at_index, check_image, is_path
from featbus.io._errors import AGAIN, ImageReadError, several

_FORMATS = "PNG, JPEG, TIFF, BMP, PGM and PPM (P2, P3, P5, P6) and DICOM"
_UNDECODED = (
    f"OpenCV cannot decode the {{}} file. {AGAIN} If other programs show it: save it as PNG."
)
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


def read_image(path, *, voi_lut=True):
    """Read one image file.

    The format is identified by the content of the file, never by its name.

    Parameters
    ----------
    path : str or os.PathLike
        A PNG, JPEG, TIFF, BMP, PGM (P2, P5), PPM (P3, P6) or DICOM file with one picture.
    voi_lut : bool, default=True
        Whether to apply the VOI LUT or, without one, the window of a grayscale DICOM image (the
        first if there are several). If False, the whole range of the stored bits is kept. Other
        formats and color images are not affected.

    Returns
    -------
    ndarray of shape (height, width), (height, width, 3) or (height, width, 4)
        Grayscale, RGB or RGBA, in native byte order and C-contiguous: ``uint8`` 0..255, ``uint16``
        0..65535, or floating point as described in the notes.

    Raises
    ------
    ImageReadError
        If the file is missing, empty, unreadable, damaged, truncated, of an unknown or unsupported
        kind, or contains several pictures. It is a `ValueError` and an `OSError`.

    Notes
    -----
    Pixels are returned as stored, with these exceptions:

    - The orientation in a JPEG (EXIF) or TIFF file is applied, so that the array is the picture
      that viewers show. Viewers disagree on that of PNG files, which is ignored.
    - 1-bit images are returned as 0 and 255, palettes as their colors.
    - TIFF images whose zero is white are inverted: larger is always brighter.
    - PGM and PPM files whose maximum is neither 255 nor 65535 are returned as ``float32``, divided
      by the maximum.
    - Floating-point TIFF files are returned as stored. The caller checks whether their pixels are
      within 0..1, as every featbus estimator does.
    - BMP files are returned without their alpha channel, which few programs write.

    A grayscale DICOM image is returned as ``float32`` 0..1, after the grayscale pipeline of PS3.4
    section N.2 [1]_: modality LUT or rescale slope and intercept; VOI LUT or window if `voi_lut`;
    MONOCHROME1 inverted, so that larger is brighter. 0 and 1 are the ends of the *nominal* range:
    that of the window, of the bits of the VOI LUT, or, without them, of the stored bits after the
    modality transform. The minimum and maximum of the image do not matter. Padding (Pixel Padding
    Value) is treated like any other pixel: the standard puts it at the dark end, and it does not
    influence the scale. Overlays and ICC profiles are ignored. Color DICOM images are returned as
    RGB: ``uint8`` or ``uint16``, or ``float32`` 0..1 if the bits stored are neither 8 nor 16.

    Only elements that describe the pixels are read from a DICOM file. Names, identifiers and dates
    of a patient are never read: no result, warning or error can contain them. (Text that is burned
    into the pixels stays there.)

    Damage is detected by checksums and lengths. Changes in place of compressed JPEG data, or of
    uncompressed TIFF, BMP or PGM pixels, cannot be detected.

    References
    ----------
    .. [1] DICOM PS3.4, Grayscale Softcopy Presentation State Storage, section N.2, and PS3.3,
       sections C.7.6.3 (pixels), C.11.1 (modality LUT), C.11.2 (VOI LUT).

    Examples
    --------
    >>> import pathlib
    >>> import tempfile
    >>> from featbus.io import read_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "tiny.pgm")
    ...     _ = path.write_text("P2 3 2 255  0 10 20  30 40 255")
    ...     read_image(path)
    array([[  0,  10,  20],
           [ 30,  40, 255]], dtype=uint8)
    """
    name = os.fsdecode(path)
    try:
        return np.ascontiguousarray(_read(_read_bytes(name), name, voi_lut))
    except ImageReadError as error:
        raise error.at(None, name) from error.__cause__


def read_item(item, index, read=read_image):
    """Read and check one item of a batch.

    Parameters
    ----------
    item : array_like, str or os.PathLike
        An image, or the path of one.
    index : int
        Its position in the batch, for errors.
    read : callable, default=read_image
        Reads a path.

    Returns
    -------
    ndarray or MaskedArray
        The checked image, see `featbus.images.check_image`.

    Raises
    ------
    ImageError
        If the file cannot be read (an `ImageReadError`) or the image is invalid.
    """
    with at_index(index, item):
        return check_image(read(item) if is_path(item) else item)


def _read_bytes(path):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError as error:
        raise ImageReadError(
            "there is no such file. Check the path and the working directory."
        ) from error
    except (OSError, ValueError) as error:
        if os.path.isdir(path):
            raise ImageReadError(
                "this is a directory, expected an image file. Pass the paths of its files."
            ) from error
        reason = getattr(error, "strerror", None) or error
        raise ImageReadError(
            f"the file cannot be opened ({reason}). Check the path and the permissions."
        ) from error
    if not data:
        raise ImageReadError(f"the file is empty (0 bytes), expected an image. {AGAIN}")
    return data


def _read(data, name, voi_lut):
    """Decode the content of a file with the reader of its format."""
    if data[128:132] == b"DICM":
        return _read_dicom(data, voi_lut)
    for signature, reader in _READERS:
        if signature.match(data):
            return reader(data)
    if name.lower().endswith(_DICOM_SUFFIXES):
        from featbus.io._dicom import holds_pixels

        if holds_pixels(data):
            return _read_dicom(data, voi_lut)
    raise ImageReadError(
        f"unknown content (first bytes: {data[:8]!r}), expected {_FORMATS}; the name of the file "
        "does not matter. Convert it to one of these formats."
    )


def _read_dicom(data, voi_lut):
    # Imported lazily: pydicom is slow to import, and only DICOM needs it.
    from featbus.io._dicom import read_dicom

    return read_dicom(data, voi_lut=voi_lut)


def _decode(data, kind, flags=cv2.IMREAD_UNCHANGED):
    """Decode with OpenCV; channels in the order red, green, blue."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageReadError(_UNDECODED.format(kind)) from error
    if image is None:
        raise ImageReadError(_UNDECODED.format(kind))
    if image.ndim == 2:
        return image
    if image.dtype == np.float64:  # unknown to cvtColor
        return image[..., [2, 1, 0, 3][: image.shape[2]]]
    swap = cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cv2.cvtColor(image, swap, dst=image)


def _cut_off(kind, size, where):
    return ImageReadError(f"the {kind} file ends at byte {size}, {where}. {AGAIN}")


def _read_png(data):
    """Decode a PNG file after checking the checksums of all its chunks."""
    view = memoryview(data)
    kind, start = b"", 8
    while kind != b"IEND":
        if start + 12 > len(data):
            raise _cut_off("PNG", len(data), "before its IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + length + 12
        if end > len(data):
            raise _cut_off("PNG", len(data), f"inside a chunk that runs to byte {end}")
        if zlib.crc32(view[start + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ImageReadError(
                f"the PNG chunk {kind!r} at byte {start} has a wrong checksum. {AGAIN}"
            )
        if kind == b"acTL" and (frames := struct.unpack_from(">I", data, start + 8)[0]) > 1:
            raise several(frames, "animation frames", "PIL.ImageSequence")
        start = end
    return _decode(data, "PNG")


_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of frame headers
# In compressed data, FF is followed by 00 or a restart marker D0..D7; anything else ends the scan.
_JPEG_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _read_jpeg(data):
    """Decode a JPEG file after checking that an end marker follows its last scan."""
    for marker, segment in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            precision, components = struct.unpack("4xB4xB", segment[:10].ljust(10, b"\0"))
            if precision != 8 or components not in (1, 3):
                raise ImageReadError(
                    f"the JPEG file has {components} components of {precision} bits, expected 1 "
                    "(grayscale) or 3 (color) of 8 bits; 4 are CMYK. Convert it to grayscale or "
                    "RGB."
                )
    # These flags, unlike IMREAD_UNCHANGED, make OpenCV apply the EXIF orientation.
    return _decode(data, "JPEG", cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)


def _jpeg_segments(data):
    """Yield marker and content of each segment of a JPEG file, up to the end marker."""
    start = 2
    while data[start : start + 2] != b"\xff\xd9":
        if data[start : start + 1] not in (b"\xff", b""):
            raise ImageReadError(f"the JPEG file has no marker at byte {start}. {AGAIN}")
        if data[start : start + 2] == b"\xff\xff":
            start += 1
            continue
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if end > len(data):
            raise _cut_off("JPEG", len(data), "before its end marker (FF D9)")
        yield data[start + 1], data[start:end]
        if data[start + 1] == 0xDA:
            scan_end = _JPEG_SCAN_END.search(data, end)
            end = scan_end.start() if scan_end else len(data)
        start = end


# Samples per pixel by photometric interpretation: 0 and 1 gray, 2 RGB, 3 palette, 6 YCbCr.
_TIFF_SAMPLES = {0: (1,), 1: (1,), 2: (3, 4), 3: (1,), 6: (3,)}
# Sample format (1 unsigned integer, 3 floating point) and bits per sample.
_TIFF_DEPTHS = {(1, 1), (1, 8), (1, 16), (3, 32), (3, 64)}
_TIFF_UNCOMPRESSED, _TIFF_DEFLATE = (1,), (8, 32946)


def _read_tiff(data):
    """Decode a TIFF file of one page after checking that all strips or tiles are complete."""
    page = _tiff_page(data)
    image = _decode(data, "TIFF")
    if page.photometric == 0 and image.dtype != np.uint8:  # OpenCV inverts 8 bits only
        return 1 - image if image.dtype.kind == "f" else ~image
    if page.extrasamples[:1] == (2,) and image.dtype == np.uint8 and image[..., 3].min() < 255:
        raise ImageReadError(
            "the TIFF file has transparent 8-bit pixels, which OpenCV would darken, expected "
            "opaque ones. Blend them on a background, or save the picture as PNG."
        )
    return image


def _tiff_page(data):
    """Return the only page of a TIFF file, checked."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages[0]
            samples = page.imagewidth * page.imagelength * page.samplesperpixel
            pages = sum(series.size for series in tiff.series) // samples
            if pages > 1:
                raise several(pages, "pages", "tifffile.imread")
            _check_tiff_kind(page)
            _check_tiff_segments(data, page)
            return page
    except ImageReadError:
        raise
    except Exception as error:  # tifffile raises errors of any type on damage
        raise ImageReadError(f"the TIFF file cannot be read ({error}). {AGAIN}") from error


def _check_tiff_kind(page):
    """Refuse files that OpenCV decodes to other pixels than those stored."""
    depth = (page.sampleformat, page.bitspersample)
    interleaved = page.planarconfig == 1 or page.samplesperpixel == 1
    if (
        interleaved
        and depth in _TIFF_DEPTHS
        and page.samplesperpixel in _TIFF_SAMPLES.get(page.photometric, ())
        and (page.photometric not in (3, 6) or depth == (1, 8))
    ):
        return
    raise ImageReadError(
        f"the TIFF file has {page.samplesperpixel} {'interleaved' if interleaved else 'planar'} "
        f"sample(s) per pixel, {page.bitspersample} bits, sample format {page.sampleformat}, "
        f"photometric interpretation {page.photometric}; expected grayscale, RGB or RGBA, "
        "interleaved, unsigned 8 or 16 bits or floating point of 32 or 64 bits. Convert it to one "
        "of these."
    )


def _check_tiff_segments(data, page):
    """Check that all strips or tiles are inside the file and hold all pixels."""
    size = 0
    for offset, count in zip(page.dataoffsets, page.databytecounts):
        if not 0 < count <= len(data) - offset:
            where = f"but its pixels need bytes {offset} to {offset + count}"
            raise _cut_off("TIFF", len(data), where)
        if page.compression in _TIFF_DEFLATE:  # OpenCV ignores the checksum
            count = len(zlib.decompress(memoryview(data)[offset : offset + count]))
        size += count
    expected = -(-page.size * page.bitspersample // 8)
    measurable = page.compression in _TIFF_UNCOMPRESSED + _TIFF_DEFLATE
    if len(page.dataoffsets) < math.prod(page.chunked) or (measurable and size < expected):
        raise ImageReadError(
            f"the TIFF file holds {size} bytes of pixels, expected {expected}. {AGAIN}"
        )


def _read_bmp(data):
    """Decode an uncompressed BMP file after checking that all its rows are there."""
    try:
        offset, header = struct.unpack_from("<II", data, 10)
        if header == 12:
            width, height, bits = struct.unpack_from("<HH2xH", data, 18)
            compression = 0
        else:
            width, height, bits, compression = struct.unpack_from("<ii2xHI", data, 18)
    except struct.error as error:
        raise _cut_off("BMP", len(data), "inside its header") from error
    if compression not in (0, 3):
        raise ImageReadError(
            f"the BMP file has compression {compression}, expected none (0 or 3). Save it as PNG."
        )
    end = offset + (width * bits + 31) // 32 * 4 * abs(height)
    if end > len(data):
        raise _cut_off("BMP", len(data), f"but its {abs(height)} rows end at byte {end}")
    return _decode(data, "BMP", cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)


_PNM_HEADER = re.compile(rb"P([2356])" + rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})" * 3 + rb"(?:\r\n|\s)")


def _read_pnm(data):
    """Parse a PGM (P2, P5) or PPM (P3, P6) file."""
    header = _PNM_HEADER.match(data)
    width, height, maximum = map(int, header.groups()[1:]) if header else (0, 0, 0)
    if not (width and height and 1 <= maximum <= 65535):
        raise ImageReadError(
            f"the PGM or PPM header is incomplete or wrong ({data[:40]!r}), expected width, height "
            f"and a maximum of 1 to 65535. {AGAIN}"
        )
    shape = (height, width) if header[1] in b"25" else (height, width, 3)
    pixels = _pnm_pixels(data, header.end(), math.prod(shape), maximum, plain=header[1] in b"23")
    if pixels.max() > maximum:
        raise ImageReadError(
            f"the PGM or PPM file has the value {pixels.max()}, expected at most {maximum}, the "
            f"maximum that its header gives. {AGAIN}"
        )
    dtype = {255: np.uint8, 65535: np.uint16}.get(maximum)
    if dtype is None:
        return np.divide(pixels, maximum, dtype=np.float32).reshape(shape)
    return pixels.astype(dtype).reshape(shape)


def _pnm_pixels(data, start, count, maximum, *, plain):
    """Return `count` values from byte `start` on: decimal numbers if plain, otherwise binary."""
    if plain:
        text = data[start:].strip()
        if re.search(rb"[^\d\s]", text):
            raise ImageReadError(f"the PGM or PPM file has pixels that are not numbers. {AGAIN}")
        pixels = np.fromstring(text, dtype=np.int64, sep=" ")
        found = len(pixels)
    else:
        dtype = np.dtype("u1" if maximum < 256 else ">u2")
        end = start + count * dtype.itemsize
        # Line ends and zeros may follow the pixels; a second picture may not.
        found = (len(data) - start) // dtype.itemsize
        if not data[end:].strip(b"\0\t\n\r "):
            found = min(found, count)
        pixels = np.frombuffer(data, dtype, min(found, count), start)
    if found != count:
        raise ImageReadError(
            f"the PGM or PPM file has {found} values, expected {count} for the width and height "
            f"that its header gives. {AGAIN}"
        )
    return pixels


_READERS = [
    (re.compile(signature, re.DOTALL), reader)
    for signature, reader in (
        (rb"\x89PNG\r\n\x1a\n", _read_png),
        (rb"\xff\xd8\xff", _read_jpeg),
        (rb"II[*+]\0|MM\0[*+]", _read_tiff),
        (rb"BM", _read_bmp),
        (rb"P[2356][\s#]", _read_pnm),
    )
]
