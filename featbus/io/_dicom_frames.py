"""Check the pixel data of DICOM files before they are decoded."""

import re
import struct

from pydicom import uid
from pydicom.encaps import generate_frames

from featbus.io._errors import AGAIN, ImageReadError
from featbus.io._jpeg import check_jpeg
from featbus.io._limits import RLE_RATIO, check_ratio, check_size

_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
# Start of a JPEG 2000 codestream, and its image and tile size.
_CODESTREAM = re.compile(rb"\xff\x4f\xff\x51(?=.{40})", re.DOTALL)
_TILES = 65535


def check_frame(dataset, syntax, limit):
    """Check that the pixel data are of the size that the data set says, as far as it is known.

    Parameters
    ----------
    dataset : pydicom.Dataset
        The data set, with pixel data.
    syntax : pydicom.uid.UID
        Its transfer syntax.
    limit : int
        The number of pixels that are allowed.

    Raises
    ------
    ImageReadError
        If the pixel data are too short, or of another size.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if samples not in (1, 3):
        raise ImageReadError(
            f"the DICOM file has {samples} samples per pixel, expected 1 or 3. {AGAIN}"
        )
    bits = rows * columns * samples * int(dataset.BitsAllocated)
    if not syntax.is_encapsulated:
        if dataset.PhotometricInterpretation == "YBR_FULL_422":
            bits = bits // 3 * 2
        _check_length(len(dataset.PixelData), -(-bits // 8), rows * columns)
        return
    frame = next(iter(generate_frames(dataset.PixelData, number_of_frames=1)))
    if syntax == uid.RLELossless:
        check_ratio("DICOM", bits // 8, len(frame), RLE_RATIO)
    elif syntax in _JPEG:
        check_jpeg(frame, limit, (rows, columns, samples))
    elif match := _CODESTREAM.search(frame):
        _check_codestream(frame[match.end() :], (rows, columns, samples), limit)


def _check_length(found, expected, pixels):
    if found < expected:
        raise ImageReadError(
            f"the DICOM file has {found} bytes of pixels, expected {expected} for its {pixels} "
            f"pixels. {AGAIN}"
        )


def _check_codestream(header, expected, limit):
    """Check the size of a JPEG 2000 image (ISO/IEC 15444-1, A.5.1)."""
    right, bottom, left, top, width, height = struct.unpack_from(">6I", header, 4)
    components = struct.unpack_from(">H", header, 36)[0]
    size = bottom - top, right - left, components
    if size != expected:
        raise ImageReadError(
            f"the JPEG 2000 data have {size} rows, columns and channels, expected {expected} as "
            f"the header of the file says. {AGAIN}"
        )
    check_size("JPEG 2000", bottom, right, limit)
    tiles = -(-right // max(width, 1)) * -(-bottom // max(height, 1))
    if tiles > min(_TILES, size[0] * size[1]):
        raise ImageReadError(f"the JPEG 2000 data have {tiles} tiles. {AGAIN}")
