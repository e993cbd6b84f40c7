"""Check the pixel data of DICOM files before they are decoded."""

import re
import struct

import cv2
import numpy as np
from pydicom import uid
from pydicom.encaps import generate_frames

from featbus.io._decoding import decode
from featbus.io._errors import AGAIN, ImageReadError, several
from featbus.io._jpeg import check_jpeg
from featbus.io._limits import check_rest, check_size
from featbus.io._run_lengths import unpack_bits

# OpenCV, unlike Pillow, lets damage of these be seen.
_BASELINE = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
_JPEG = (
    *_BASELINE,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
)
# Start of a JPEG 2000 codestream, and its image and tile size.
_CODESTREAM = re.compile(rb"\xff\x4f\xff\x51(?=.{40})", re.DOTALL)
_TILES, _TILE_PART, _END = 65535, 0xFF90, b"\xff\xd9"


def check_frame(dataset, syntax, samples, limit):
    """Check that the pixel data are of the size that the data set says, as far as it is known.

    Run lengths and gray JPEG data are decoded on the way, and replaced by what comes out.

    Parameters
    ----------
    dataset : pydicom.Dataset
        The data set, with pixel data.
    syntax : pydicom.uid.UID
        Its transfer syntax.
    samples : int
        Its samples per pixel.
    limit : int
        The number of pixels that are allowed.

    Raises
    ------
    ImageReadError
        If the pixel data are too short, too long, damaged, or of another size.
    """
    rows, columns, allocated = dataset.Rows, dataset.Columns, dataset.BitsAllocated
    if not syntax.is_encapsulated:
        bits = rows * columns * samples * allocated
        if dataset.PhotometricInterpretation == "YBR_FULL_422":
            bits = bits // 3 * 2
        _check_length(dataset.PixelData, -(-bits // 8), rows * columns)
        return
    frames = list(generate_frames(dataset.PixelData, number_of_frames=1))
    if len(frames) != 1:
        raise several(len(frames), "frames", "pydicom.pixels.iter_pixels")
    frame, size = frames[0], (rows, columns, samples)
    if syntax == uid.RLELossless:
        _replace(dataset, _decode_runs(frame, rows * columns, samples, allocated // 8))
    elif syntax in _JPEG:
        check_jpeg(frame, limit, size, allocated)
        if syntax in _BASELINE and allocated == 8:
            _decode_jpeg(dataset, frame, samples)
    elif match := _CODESTREAM.search(frame):
        _check_codestream(frame[match.start() :], size, limit)


def _replace(dataset, planes):
    """Replace compressed pixels by those that came out."""
    dataset.PixelData = planes + b"\0" * (len(planes) % 2)
    dataset["PixelData"].is_undefined_length = False
    dataset.PlanarConfiguration = 1
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        dataset.PhotometricInterpretation = "YBR_FULL"  # both in full here
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian


def _decode_runs(frame, pixels, samples, size):
    """Return the planes of all samples (PS3.5, annex G): run lengths, the highest bytes first."""
    count, *starts = struct.unpack_from("<16I", frame)
    if count != samples * size or starts[:count] != sorted(starts[:count]) or starts[0] < 64:
        raise ImageReadError(f"the DICOM file has a wrong header of its run lengths. {AGAIN}")
    ends = [*starts[1:count], len(frame)]
    planes = [unpack_bits(frame[start:end], pixels, "DICOM") for start, end in zip(starts, ends)]
    if size == 1:
        return b"".join(planes)
    values = np.empty((samples, pixels, size), np.uint8)
    for number, plane in enumerate(planes):
        values[number // size, :, size - 1 - number % size] = np.frombuffer(plane, np.uint8)
    return values.tobytes()


def _decode_jpeg(dataset, frame, samples):
    if samples == 1:
        _replace(dataset, decode(frame, "JPEG", cv2.IMREAD_GRAYSCALE).tobytes())
    else:  # Pillow knows about the color transforms of DICOM; this only finds damage, in less time
        decode(frame, "JPEG", cv2.IMREAD_REDUCED_GRAYSCALE_8)


def _check_length(data, expected, pixels):
    if len(data) < expected:
        raise ImageReadError(
            f"the DICOM file has {len(data)} bytes of pixels, expected {expected} for its {pixels} "
            f"pixels. {AGAIN}"
        )
    frames = len(data) // max(1, expected)
    if frames > 1 and len(data) - frames * expected < 2:
        raise several(frames, "frames", "pydicom.pixels.iter_pixels")
    check_rest("DICOM", data, expected)


def _check_codestream(data, expected, limit):
    """Check the size of a JPEG 2000 image (ISO/IEC 15444-1, A.5.1)."""
    right, bottom, left, top, width, height = struct.unpack_from(">6I", data, 8)
    components = struct.unpack_from(">H", data, 40)[0]
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
    try:
        complete = _count_tiles(data) == tiles
    except struct.error:
        complete = False
    if not complete:
        raise ImageReadError(f"the JPEG 2000 data are incomplete. {AGAIN}")


def _count_tiles(data):
    """Return the number of tiles whose parts (A.4.2) are complete, before the end marker."""
    tiles, start = set(), 2
    while data[start : start + 2] != _END:
        marker, length = struct.unpack_from(">HH", data, start)
        size = 2 + length
        if marker == _TILE_PART:
            tile, size = struct.unpack_from(">HI", data, start + 4)
            size = size or data.rfind(_END) - start  # the last one may have any length
            tiles.add(tile)
        if size < 2:
            return 0
        start += size
    check_rest("JPEG 2000", data, start + 2)
    return len(tiles)
