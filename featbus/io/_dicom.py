"""Read DICOM images: pydicom decodes the pixels, then the steps of the standard are applied.

Only the elements in `_TAGS` are read from a file. After damage, any of them can hold the name of a
patient: no error quotes a text, or what pydicom says of one, unless it is a term of the standard.
"""

import numpy as np
from pydicom import uid
from pydicom.pixels import get_decoder, pixel_array
from scipy.special import expit

from featbus.io._dicom_file import parse, silence
from featbus.io._dicom_frames import check_frame
from featbus.io._dicom_tables import CORRECT, PALETTES, index_table, read_palette, read_table
from featbus.io._errors import AGAIN, ImageReadError, several
from featbus.io._limits import check_size

_REQUIRED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation")
_NUMBERS = (*_REQUIRED[:4], "HighBit", "PixelRepresentation", "SamplesPerPixel")
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_TAGS = [
    *_REQUIRED,
    *_FUNCTIONAL_GROUPS,
    *(f"{palette}{part}" for palette in PALETTES for part in ("Descriptor", "Data")),
    *(f"Segmented{palette}Data" for palette in PALETTES),
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "HighBit",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PixelData",
    "PixelRepresentation",
    "PlanarConfiguration",
    "RescaleIntercept",
    "RescaleSlope",
    "SamplesPerPixel",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
]
# pydicom converts YBR_FULL and YBR_FULL_422 to RGB, the JPEG 2000 decoders YBR_RCT and YBR_ICT.
_GRAYS = ("MONOCHROME1", "MONOCHROME2")
_OTHER_KINDS = ("HSV", "ARGB", "CMYK", "XYB", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_PALETTE = "PALETTE COLOR"
_KINDS = (*_GRAYS, *_COLORS, _PALETTE)

# GDCM ends the process on some damaged files: it decodes only what nothing else of the extra does.
_GDCM = {uid.JPEGLossless, uid.JPEGLosslessSV1}
# What the extra decodes. JPEG of 12 bits is missing: the only free decoder is under the GPL.
_EXTRA = {
    *_GDCM,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
}


def holds_pixels(data, limit):
    """Tell whether a file without the DICOM preamble is a DICOM image.

    Parameters
    ----------
    data : bytes
        The content of a file.
    limit : int
        The number of pixels that are allowed.

    Returns
    -------
    bool
        True if it can be parsed and has pixel data.
    """
    try:
        with silence():
            return "PixelData" in parse(data, _TAGS, limit)
    except ImageReadError:
        return False


def read_dicom(data, *, voi_lut, limit):
    """Decode a DICOM file of one frame.

    Parameters
    ----------
    data : bytes
        The content of the file.
    voi_lut : bool
        Whether to apply the VOI LUT or the window of a grayscale image.
    limit : int
        The number of pixels that are allowed.

    Returns
    -------
    ndarray
        The image as described in `featbus.io.read_image`.

    Raises
    ------
    ImageReadError
        If the file contains no image, or one that cannot be decoded.
    """
    with silence():
        dataset = parse(data, _TAGS, limit)
        try:
            samples = _check(dataset, limit)
            return _render(_decode(dataset, samples, limit), dataset, voi_lut)
        except (ImageReadError, MemoryError):
            raise
        except Exception:  # pydicom raises errors of any type on wrong values, and quotes them
            raise ImageReadError(
                "the DICOM file describes its pixels wrongly or incompletely. Correct its elements "
                "of the image, or export it again."
            ) from None


def _check(dataset, limit):
    """Refuse data sets with several frames, or without sense; return the samples per pixel."""
    if not dataset.get("PixelData"):
        raise ImageReadError(
            "the DICOM file has no pixel data: it is truncated, or a report, a directory or the "
            "like. Expected one image."
        )
    missing = [keyword for keyword in _REQUIRED if dataset.get(keyword) in (None, "")]
    if missing:
        raise ImageReadError(f"the DICOM file lacks {', '.join(missing)}. {AGAIN}")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        # The number is not quoted: after damage, it may be a date.
        raise several("several", "frames (a cine loop or a volume)", "pydicom.pixels.iter_pixels")
    numbers = [dataset.get(keyword) for keyword in _NUMBERS]
    if not all(type(number) is int for number in numbers if number not in (None, "")):
        raise TypeError("text instead of a number")
    check_size("DICOM", dataset.Rows, dataset.Columns, limit)
    allocated, stored = dataset.BitsAllocated, dataset.BitsStored
    high = dataset.get("HighBit")
    high = stored - 1 if high in (None, "") else high
    if allocated not in (1, 8, 16, 32) or not 1 <= stored <= allocated or high != stored - 1:
        raise ImageReadError(
            f"the DICOM file has {allocated} bits allocated, {stored} stored and the high bit "
            f"{high}, expected 1, 8, 16 or 32 allocated, as many or fewer stored, and the high bit "
            f"one less. Correct these elements, or export the image again."
        )
    samples = dataset.get("SamplesPerPixel") or 1
    kind = dataset.PhotometricInterpretation
    expected = 1 if kind in (*_GRAYS, _PALETTE) else 3
    if samples not in (1, 3) or (kind in _KINDS and samples != expected):
        raise ImageReadError(
            f"the DICOM file has {samples} samples per pixel, expected {expected} for its "
            f"photometric interpretation. {AGAIN}"
        )
    return samples


def _decode(dataset, samples, limit):
    """Return the stored pixels in native byte order, color as RGB."""
    syntax = _transfer_syntax(dataset)
    name = _name(syntax)
    if not _plugins(syntax):
        raise ImageReadError(
            f"no installed package decodes its DICOM transfer syntax, {name}. {_remedy(syntax)}."
        )
    check_frame(dataset, syntax, samples, limit)
    stored = _decode_pixels(dataset)
    if stored is None:
        remedy = f" If it is complete: {_remedy(syntax)}." if syntax.is_encapsulated else ""
        raise ImageReadError(f"its DICOM pixel data ({name}) cannot be decoded. {AGAIN}{remedy}")
    if stored.shape[:2] != (dataset.Rows, dataset.Columns):
        raise several(len(stored), "frames", "pydicom.pixels.iter_pixels")
    return np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))


def _plugins(syntax):
    """Return the decoders of pydicom to try; the first one is the same with and without extras."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return []
    if not syntax.is_encapsulated:
        return [""]  # pydicom itself
    found = [name for name in decoder.available_plugins if name != "gdcm"]
    if syntax in _GDCM and "gdcm" in decoder.available_plugins:
        found.append("gdcm")
    return found


def _remedy(syntax):
    if syntax in _EXTRA:
        return 'pip install "featbus[dicom]"'
    return "convert it to Explicit VR Little Endian"


def _decode_pixels(dataset):
    """Return the pixels, or None if no decoder can."""
    for plugin in _plugins(dataset.file_meta.TransferSyntaxUID):
        try:
            return pixel_array(dataset, decoding_plugin=plugin)
        except MemoryError:
            raise
        except Exception:  # of any type, and it may quote the file
            continue
    return None


def _name(syntax):
    """Return name and identifier of a transfer syntax of the standard."""
    if syntax.is_private or not syntax.is_transfer_syntax:
        return "an unknown one"
    return f"{syntax.name} ({syntax})"


def _transfer_syntax(dataset):
    """Return the transfer syntax; if the file has none, the one that pydicom assumed."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
    syntax = dataset.file_meta.TransferSyntaxUID
    if dataset["PixelData"].is_undefined_length and not syntax.is_encapsulated:
        raise ImageReadError(
            f"the DICOM file has compressed pixels, but the transfer syntax of uncompressed ones, "
            f"{_name(syntax)}. Correct the Transfer Syntax UID, or export the image again."
        )
    return syntax


def _render(stored, dataset, voi_lut):
    kind = dataset.PhotometricInterpretation
    if kind in _GRAYS:
        _add_functional_groups(dataset)
        image = _map_levels(lambda levels: _gray(levels, dataset, voi_lut), stored)
        if not (image.min() >= 0 and image.max() <= 1):
            raise ImageReadError(
                f"the DICOM file has pixels outside its {dataset.BitsStored} stored bits, or "
                f"rescales them to NaN. {AGAIN}"
            )
        return image
    if kind == _PALETTE:
        return _map_levels(lambda levels: _palette(levels, dataset), stored)
    if kind in _COLORS and stored.dtype.kind == "u":
        bits = dataset.BitsStored
        if bits in (8, 16):
            return stored.astype(f"u{bits // 8}", copy=False)
        return np.divide(stored, 2**bits - 1, dtype=np.float32)
    kind = kind if kind in (*_KINDS, *_OTHER_KINDS) else "of no known name"
    raise ImageReadError(
        f"the DICOM file has the photometric interpretation {kind} and {stored.dtype} pixels, "
        f"expected MONOCHROME1, MONOCHROME2, PALETTE COLOR or unsigned {', '.join(_COLORS)}. "
        "Convert it to RGB or MONOCHROME2."
    )


def _map_levels(function, stored):
    """Apply a function to all stored values; up to 16 bits, once per possible value."""
    if stored.dtype.itemsize > 2:
        return function(stored)
    unsigned = np.dtype(f"u{stored.dtype.itemsize}")
    levels = np.arange(256**unsigned.itemsize, dtype=unsigned)
    return function(levels.view(stored.dtype))[stored.view(unsigned)]


def _add_functional_groups(dataset):
    """Move the rescaling and the window of an enhanced object to the top level."""
    for group in _FUNCTIONAL_GROUPS:
        for item in dataset.get(group) or []:
            for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for transformation in item.get(name) or []:
                    dataset.update(transformation)


def _gray(levels, dataset, voi_lut):
    """Convert stored values to brightness 0..1 (PS3.4 section N.2)."""
    values, low, high = _modality(levels, dataset)
    window = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if voi_lut and dataset.get("VOILUTSequence"):
        entries, bits = read_table(values, dataset.VOILUTSequence[0], low < 0, dataset)
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
    signed = _is_signed(dataset)
    if dataset.get("ModalityLUTSequence"):
        entries, bits = read_table(levels, dataset.ModalityLUTSequence[0], signed, dataset)
        return entries, 0, 2**bits - 1
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    slope = 1.0 if slope is None else float(slope)
    if slope == 0:
        raise ImageReadError(f"the DICOM file has the Rescale Slope 0. {CORRECT}")
    low = -(2 ** (dataset.BitsStored - 1)) if signed else 0
    ends = np.array([low, low + 2**dataset.BitsStored - 1])
    intercept = float(intercept or 0)
    ends = ends * slope + intercept
    return levels.astype(np.float64) * slope + intercept, ends.min(), ends.max()


def _window(values, center, width, function):
    """Map a window to 0..1 (PS3.3 sections C.11.2.1.2 and C.11.2.1.3)."""
    if function == "SIGMOID" and width > 0:
        return expit(4 * (values - center) / width)
    if function == "LINEAR" and width == 1:
        return (values > center - 0.5).astype(float)
    if function == "LINEAR" and width > 1:
        return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
    if function == "LINEAR_EXACT" and width > 0:
        return np.clip((values - center) / width + 0.5, 0, 1)
    raise ImageReadError(
        "the DICOM file has an unknown VOI LUT Function, or a Window Width that is too small for "
        f"it. {CORRECT}"
    )


def _palette(levels, dataset):
    """Convert stored values to the colors of their palette (PS3.3 section C.7.6.3.1.5)."""
    palette, first = read_palette(dataset)
    return palette[index_table(levels, first, len(palette), _is_signed(dataset))]


def _is_signed(dataset):
    return dataset.get("PixelRepresentation") == 1
