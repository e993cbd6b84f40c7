"""Read DICOM images: pydicom decodes the pixels, then the steps of the standard are applied.

Only the elements in `_TAGS` are read from a file. After damage, any of them can hold the name of a
patient: errors quote neither a text of the file nor pydicom's messages, which contain such texts.
Look-up tables are applied here: pydicom's functions wrap around where a table of 8-bit entries has
more than 256 of them, and ignore byte order and sign.
"""

import io
import math
import struct
from contextlib import suppress
from itertools import islice

import numpy as np
from pydicom import dcmread, uid
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder, pixel_array
from pydicom.pixels.utils import get_expected_length
from scipy.special import expit

from featbus import DISTRIBUTION
from featbus.io._files import ImageReadError, check_size
from featbus.io._pictures import check_scans

_NATIVE = uid.ExplicitVRLittleEndian
_PALETTES = [f"{color}PaletteColorLookupTable" for color in ("Red", "Green", "Blue")]
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_TAGS = [
    *_FUNCTIONAL_GROUPS,
    *(f"{palette}{part}" for palette in _PALETTES for part in ("Descriptor", "Data")),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel"),
    *("PixelRepresentation", "PhotometricInterpretation", "PlanarConfiguration", "PixelData"),
    *("NumberOfFrames", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("ModalityLUTSequence", "RescaleIntercept", "RescaleSlope", "VOILUTSequence"),
    *("VOILUTFunction", "WindowCenter", "WindowWidth"),
]
# pydicom converts YBR_FULL and YBR_FULL_422 to RGB, the JPEG 2000 decoders YBR_RCT and YBR_ICT.
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, **dict.fromkeys(_COLORS, 3)}

_MOST_FRAMES = 99_999  # a larger number is damage, perhaps a date, and not quoted
_MORE = "several frames, which is more than it says"
_META = 4096  # bytes that have the transfer syntax
# GDCM ends the process on some damaged files, so it decodes only syntaxes that nothing else does.
_GDCM = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # markers of JPEG and JPEG-LS
_JPEG, _JPEG_2000, _END = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\xd9"


def _wrong(found):
    return ImageReadError(f"the DICOM file has {found}. Correct it, or export the image again.")


def parse(file, tags, **options):
    """Parse a DICOM file.

    Parameters
    ----------
    file : file
        Open and binary, at its start. No more than necessary is read.
    tags : list of str
        Keywords of the elements to read.
    **options : dict
        Parameters of `pydicom.dcmread`.

    Returns
    -------
    pydicom.Dataset
        The elements.
    """
    if uid.DeflatedExplicitVRLittleEndian.encode() in file.read(_META):
        raise _wrong("deflated data, which may inflate to any size")
    file.seek(0)
    return dcmread(file, force=True, specific_tags=tags, **options)


def read_dicom(data, *, voi_lut, limit, frame=None):
    """Decode a DICOM file of one frame, or one frame of several.

    Parameters
    ----------
    data : bytes
        The content of the file.
    voi_lut : bool
        Whether to apply the VOI LUT or the window of a grayscale image.
    limit : int
        The number of pixels that are allowed.
    frame : int or None, default=None
        The frame, from 0. None: there must be one.

    Returns
    -------
    ndarray
        The image as described in `featbus.io.read_image`.

    Raises
    ------
    Exception
        If the file contains no image, or one that cannot be decoded. Only an `ImageReadError` does
        not quote the file.
    """
    dataset = parse(io.BytesIO(data), _TAGS)
    _check(dataset, limit, frame)
    with np.errstate(all="ignore"):
        return _render(_decode(dataset, frame), dataset, voi_lut, frame or 0)


def count_frames(dataset):
    """Return the number of frames of a data set."""
    count = int(dataset.get("NumberOfFrames") or 1)
    if not 1 <= count <= _MOST_FRAMES:
        raise _wrong("a wrong number of frames")
    return count


def _check(dataset, limit, frame):
    """Refuse a data set without pixels or the frame, or that contradicts itself."""
    if not dataset.get("PixelData"):
        raise ImageReadError(
            "the DICOM file has no pixel data: it is cut off, or a report. Expected one image."
        )
    count = count_frames(dataset)
    if frame is None and count > 1:
        raise ImageReadError(
            f"the file contains several frames ({count}: a cine loop or a volume), expected one. "
            "Read each by its number, from 0, after the name of the file, such as 'clip.dcm#0'."
        )
    if frame is not None and frame >= count:
        raise ImageReadError(f"it has {count} frame(s), expected a number from 0 to {count - 1}.")
    check_size("DICOM", dataset.Rows, dataset.Columns, limit)
    samples = dataset.get("SamplesPerPixel") or 1
    if _SAMPLES.get(dataset.PhotometricInterpretation) != samples:
        raise _wrong(
            f"{samples} samples per pixel that contradict its photometric interpretation, or one "
            f"that is not among {', '.join(_SAMPLES)}"
        )
    if dataset.get("HighBit") not in (None, "", dataset.BitsStored - 1):
        raise _wrong("a High Bit other than Bits Stored - 1")


def _decode(dataset, frame):
    """Return the stored pixels of a frame in native byte order, color as RGB."""
    if "TransferSyntaxUID" not in dataset.file_meta:  # pydicom assumed one
        implicit, little = dataset.original_encoding
        explicit = _NATIVE if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
    syntax = dataset.file_meta.TransferSyntaxUID
    plugins = _plugins(syntax)
    if plugins:
        _check_pixels(dataset, syntax, frame or 0)
    for plugin in plugins:
        try:
            stored = pixel_array(dataset, index=frame, decoding_plugin=plugin)
        except Exception:  # of any type, and it may quote the file
            continue
        if stored.shape[:2] != (dataset.Rows, dataset.Columns):
            raise _wrong(_MORE)
        return np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))
    if not syntax.is_encapsulated:
        raise ImageReadError("its DICOM pixel data are cut off or damaged. Export the file again.")
    name = f"{syntax.name}, {syntax}" if syntax.is_transfer_syntax else "unknown transfer syntax"
    raise ImageReadError(
        f"its DICOM pixel data ({name}) cannot be decoded: they are damaged, or no installed "
        f"package decodes them. Export the file again, or pip install '{DISTRIBUTION}[dicom]'."
    )


def _plugins(syntax):
    """Return the decoders of pydicom to try; the first one is the same with and without extras."""
    if not syntax.is_encapsulated:
        return [""]  # pydicom itself
    with suppress(NotImplementedError):
        found = get_decoder(syntax).available_plugins
        return [name for name in found if name != "gdcm" or syntax in _GDCM]
    return []


def _check_pixels(dataset, syntax, index):
    """Check the number of pixels before a decoder allocates memory for them."""
    if not syntax.is_encapsulated:
        if dataset.PixelData[get_expected_length(dataset) :].strip(b"\0"):
            raise _wrong("more pixels than it says")
        return
    count = count_frames(dataset)
    frames = generate_frames(dataset.PixelData, number_of_frames=count)
    frame = next(islice(frames, index, None))
    if index + 1 == count and any(frames):
        raise _wrong(_MORE)
    if syntax == uid.RLELossless:
        return
    expected, size = (dataset.Rows, dataset.Columns), _frame_size(frame)
    if size != expected or not frame.rstrip(b"\0").endswith(_END):
        raise _wrong(f"compressed data of {size} pixels, expected {expected}, or they are cut off")
    check_scans(frame, math.prod(size))


def _frame_size(data):
    """Return height and width of JPEG, JPEG-LS or JPEG 2000 data."""
    if not data.startswith(_JPEG):
        right, bottom, left, top = struct.unpack_from(">4I", data, data.index(_JPEG_2000) + 8)
        return bottom - top, right - left
    start = 2
    while True:
        marker, length = struct.unpack_from(">xBH", data, start)
        if marker in _FRAME_HEADERS:
            return struct.unpack_from(">HH", data, start + 5)
        start += 1 if marker == 0xFF else 2 + max(2, length)


def _render(stored, dataset, voi_lut, frame):
    kind, bits = dataset.PhotometricInterpretation, dataset.BitsStored
    if kind in _COLORS:
        if bits in (8, 16):
            return stored.astype(f"u{bits // 8}", copy=False)
        return np.divide(stored, 2**bits - 1, dtype=np.float32)
    if kind == "PALETTE COLOR":
        return _map_levels(lambda levels: _palette(levels, dataset), stored)
    _add_functional_groups(dataset, frame)
    image = _map_levels(lambda levels: _gray(levels, dataset, voi_lut), stored)
    if not (image.min() >= 0 and image.max() <= 1):
        raise _wrong(f"pixels outside its {bits} stored bits, or rescales them to NaN")
    return image


def _map_levels(function, stored):
    """Apply a function to all stored values; up to 16 bits, once per possible value."""
    if stored.dtype.itemsize > 2:
        return function(stored)
    unsigned = np.dtype(f"u{stored.dtype.itemsize}")
    levels = np.arange(256**unsigned.itemsize, dtype=unsigned)
    return function(levels.view(stored.dtype))[stored.view(unsigned)]


def _add_functional_groups(dataset, frame):
    """Move the rescaling and the window of a frame of an enhanced object to the top level."""
    shared, own = (dataset.get(group) or [] for group in _FUNCTIONAL_GROUPS)
    if own and frame >= len(own):
        raise _wrong("fewer descriptions of frames than frames")
    for item in (*shared, *own[frame : frame + 1]):
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for transformation in item.get(name) or []:
                dataset.update(transformation)


def _gray(levels, dataset, voi_lut):
    """Convert stored values to brightness 0..1 (PS3.4 section N.2)."""
    values, low, high = _modality(levels, dataset)
    window = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if voi_lut and dataset.get("VOILUTSequence"):
        entries, bits = _look_up(values, dataset.VOILUTSequence[0], low < 0, dataset)
        gray = entries / (2**bits - 1)
    elif voi_lut and None not in window:
        center, width = (float(np.ravel(value)[0]) for value in window)
        gray = _window(values, center, width, dataset.get("VOILUTFunction") or "LINEAR")
    else:
        gray = (values - low) / (high - low)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        gray = 1 - gray
    return gray.astype(np.float32)


def _modality(levels, dataset):
    """Apply modality LUT or rescaling; return the values, and the smallest and largest possible."""
    signed = dataset.PixelRepresentation == 1
    if dataset.get("ModalityLUTSequence"):
        entries, bits = _look_up(levels, dataset.ModalityLUTSequence[0], signed, dataset)
        return entries, 0, 2**bits - 1
    slope, intercept = dataset.get("RescaleSlope"), float(dataset.get("RescaleIntercept") or 0)
    slope = 1.0 if slope is None else float(slope)
    if slope == 0:
        raise _wrong("the Rescale Slope 0")
    low = -(2 ** (dataset.BitsStored - 1)) if signed else 0
    ends = np.array([low, low + 2**dataset.BitsStored - 1]) * slope + intercept
    return levels.astype(np.float64) * slope + intercept, ends.min(), ends.max()


def _window(values, center, width, function):
    """Map a window to 0..1 (PS3.3 sections C.11.2.1.2 and C.11.2.1.3)."""
    if function == "LINEAR":
        center, width = center - 0.5, width - 1 or 1e-9  # a window of 1 is a step
    if function == "SIGMOID" and width > 0:
        return expit(4 * (values - center) / width)
    if function in ("LINEAR", "LINEAR_EXACT") and width > 0:
        return np.clip((values - center) / width + 0.5, 0, 1)
    raise _wrong("an unknown VOI LUT Function, or a Window Width that is too small for it")


def _look_up(values, item, signed, dataset):
    """Return the entry of each value in a modality or VOI LUT, and the bits of an entry."""
    count, first, bits = item.LUTDescriptor
    entries = _entries(item.LUTData, count, dataset)
    return entries[_index(values, first, len(entries), signed)], bits


def _entries(data, count, dataset):
    """Return the entries of a look-up table: one of 16 bits or two of 8 bits per word."""
    if isinstance(data, bytes):
        data = np.frombuffer(data, "<u2" if dataset.original_encoding[1] else ">u2")
    words, count = np.array(data, "<u2", ndmin=1), count or 2**16
    entries = words if len(words) >= count else words.view("u1")
    if len(entries) < count:
        raise _wrong("a look-up table with fewer entries than it says")
    return entries[:count]


def _index(values, first, count, signed):
    """Return the positions of values in a table whose first entry belongs to the value `first`."""
    # `first` may be stored as signed or unsigned; the sign of the values decides.
    first = (first + 2**15) % 2**16 - 2**15 if signed else first % 2**16
    return np.clip(np.rint(values).astype(np.int64) - first, 0, count - 1)


def _palette(levels, dataset):
    """Convert stored values to the colors of their palette (PS3.3 section C.7.6.3.1.5)."""
    count, first, bits = dataset.RedPaletteColorLookupTableDescriptor
    columns = [_entries(dataset[f"{name}Data"].value, count, dataset) for name in _PALETTES]
    palette = np.stack(columns, axis=1)
    palette = palette.astype(np.uint8) if bits == 8 and palette.max() < 256 else palette
    return palette[_index(levels, first, len(palette), dataset.PixelRepresentation == 1)]
