"""Read DICOM images: pydicom decodes the pixels, then the steps of the standard are applied.

Only the elements in `_TAGS` are read from a file. Names, identifiers and dates never enter the
data set, so no result, warning or error can contain them.
"""

import io

import numpy as np
from pydicom import dcmread, uid
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
from scipy.special import expit

from featbus.io._errors import AGAIN, ImageReadError, several

_REQUIRED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation")
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_PALETTES = [f"{color}PaletteColorLookupTable" for color in ("Red", "Green", "Blue")]
_TAGS = [
    *_REQUIRED,
    *_FUNCTIONAL_GROUPS,
    *(f"{palette}{part}" for palette in _PALETTES for part in ("Descriptor", "Data")),
    *(f"Segmented{palette}Data" for palette in _PALETTES),
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
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
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")

_LIBJPEG = "python-gdcm, or pylibjpeg with pylibjpeg-libjpeg (the latter under the GPL)"
_OPENJPEG = "pylibjpeg with pylibjpeg-openjpeg"
_PACKAGES = {
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: _LIBJPEG,
    uid.JPEGLossless: _LIBJPEG,
    uid.JPEGLosslessSV1: _LIBJPEG,
    uid.JPEGLSLossless: "pyjpegls or python-gdcm",
    uid.JPEGLSNearLossless: "pyjpegls or python-gdcm",
    uid.JPEG2000Lossless: f"{_OPENJPEG}, or python-gdcm",
    uid.JPEG2000: f"{_OPENJPEG}, or python-gdcm",
    uid.HTJ2KLossless: _OPENJPEG,
    uid.HTJ2KLosslessRPCL: _OPENJPEG,
    uid.HTJ2K: _OPENJPEG,
}


def holds_pixels(data):
    """Tell whether a file without the DICOM preamble is a DICOM image.

    Parameters
    ----------
    data : bytes
        The content of a file.

    Returns
    -------
    bool
        True if it can be parsed and has pixel data.
    """
    try:
        return "PixelData" in _parse(data)
    except ImageReadError:
        return False


def read_dicom(data, *, voi_lut):
    """Decode a DICOM file of one frame.

    Parameters
    ----------
    data : bytes
        The content of the file.
    voi_lut : bool
        Whether to apply the VOI LUT or the window of a grayscale image.

    Returns
    -------
    ndarray
        The image as described in `featbus.io.read_image`.

    Raises
    ------
    ImageReadError
        If the file contains no image, or one that cannot be decoded.
    """
    dataset = _parse(data)
    try:
        _check(dataset)
        return _render(_decode(dataset), dataset, voi_lut)
    except ImageReadError:
        raise
    except Exception as error:  # pydicom raises errors of any type on wrong values
        raise ImageReadError(
            f"the DICOM file describes its pixels wrongly or incompletely ({_line(error)}). "
            "Correct the element, or export the image again."
        ) from error


def _line(error):
    return " ".join(f"{type(error).__name__}: {error}".split())


def _parse(data):
    try:
        return dcmread(io.BytesIO(data), force=True, specific_tags=_TAGS)
    except Exception:
        # Without the cause, whose message could quote any bytes of the file.
        raise ImageReadError(f"the DICOM data set cannot be parsed. {AGAIN}") from None


def _check(dataset):
    """Refuse a data set without pixels or with several frames."""
    if not dataset.get("PixelData"):
        raise ImageReadError(
            "the DICOM file has no pixel data: it is truncated, or a report, a directory or the "
            "like. Expected one image."
        )
    missing = [keyword for keyword in _REQUIRED if dataset.get(keyword) in (None, "")]
    if missing:
        raise ImageReadError(f"the DICOM file lacks {', '.join(missing)}. {AGAIN}")
    if (frames := int(dataset.get("NumberOfFrames") or 1)) > 1:
        raise several(frames, "frames (a cine loop or a volume)", "pydicom.pixels.iter_pixels")


def _decode(dataset):
    """Return the stored pixels in native byte order, color as RGB."""
    syntax = _transfer_syntax(dataset)
    packages = _PACKAGES.get(syntax)
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        remedy = f"Install {packages}" if packages else "Convert it to Explicit VR Little Endian"
        raise ImageReadError(
            f"no installed package decodes its DICOM transfer syntax, {syntax.name} ({syntax}). "
            f"{remedy}."
        )
    try:
        stored = pixel_array(dataset)
    except Exception as error:
        remedy = f" If it is complete: install {packages}." if packages else ""
        raise ImageReadError(
            f"its DICOM pixel data ({syntax.name}, {syntax}) cannot be decoded ({_line(error)}). "
            f"{AGAIN}{remedy}"
        ) from error
    if stored.shape[:2] != (dataset.Rows, dataset.Columns):
        raise several(len(stored), "frames", "pydicom.pixels.iter_pixels")
    return np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))


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
            f"{syntax.name} ({syntax}). Correct the Transfer Syntax UID, or export the image again."
        )
    return syntax


def _render(stored, dataset, voi_lut):
    kind = dataset.PhotometricInterpretation
    if kind in ("MONOCHROME1", "MONOCHROME2"):
        _add_functional_groups(dataset)
        image = _map_levels(lambda levels: _gray(levels, dataset, voi_lut), stored)
        if not (image.min() >= 0 and image.max() <= 1):
            raise ImageReadError(
                f"the DICOM file has pixels outside its {dataset.BitsStored} stored bits, or "
                f"rescales them to NaN. {AGAIN}"
            )
        return image
    if kind == "PALETTE COLOR":
        return _map_levels(lambda levels: _palette(levels, dataset), stored)
    if kind in _COLORS and stored.dtype.kind == "u":
        bits = dataset.BitsStored
        if bits in (8, 16):
            return stored.astype(f"u{bits // 8}", copy=False)
        return np.divide(stored, 2**bits - 1, dtype=np.float32)
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
    signed = dataset.get("PixelRepresentation") == 1
    if dataset.get("ModalityLUTSequence"):
        entries, bits = _look_up(levels, dataset.ModalityLUTSequence[0], signed, dataset)
        return entries, 0, 2**bits - 1
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    slope = 1.0 if slope is None else float(slope)
    if slope == 0:
        raise ValueError("Rescale Slope is 0")
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
    raise ValueError(f"VOI LUT Function {function} with Window Width {width:g}")


def _look_up(values, item, signed, dataset):
    """Look up values in a modality or VOI LUT; return the entries and their number of bits.

    The functions of pydicom wrap around if a table of 8-bit entries has more than 256 of them.
    """
    count, first, bits = item.LUTDescriptor
    entries = _entries(item.LUTData, count, dataset.original_encoding[1])
    if entries.max() >= 2**bits:
        raise ValueError(f"LUT Data has the entry {entries.max()}, more than its {bits} bits hold")
    return entries[_index(values, first, count, signed)], bits


def _entries(data, count, little_endian):
    """Return the entries of a look-up table: one of 16 bits or two of 8 bits per word."""
    count = count or 2**16
    if isinstance(data, bytes):
        entries = np.frombuffer(data, "<u2" if little_endian else ">u2")
    else:
        entries = np.atleast_1d(np.array(data, dtype="u2"))
    if len(entries) < count:
        entries = entries.astype("<u2").view("u1")
    if len(entries) < count:
        raise ValueError(f"a look-up table has fewer than its {count} entries")
    return entries[:count]


def _index(values, first, count, signed):
    """Return the index of values in a table whose first entry is for the value `first`."""
    # `first` may be stored as signed or unsigned; the sign of the values decides.
    first = (first + 2**15) % 2**16 - 2**15 if signed else first % 2**16
    return np.clip(np.rint(values).astype(np.int64) - first, 0, (count or 2**16) - 1)


def _palette(levels, dataset):
    """Convert stored values to the colors of their palette (PS3.3 section C.7.6.3.1.5)."""
    count, first, bits = dataset.RedPaletteColorLookupTableDescriptor
    if "RedPaletteColorLookupTableData" not in dataset:
        if bits == 8 and levels.size > 256:
            raise ValueError("a segmented palette of 8-bit entries for pixels of 16 bits")
        return apply_color_lut(levels, dataset)
    little_endian = dataset.original_encoding[1]
    table = np.stack(
        [_entries(dataset[f"{palette}Data"].value, count, little_endian) for palette in _PALETTES],
        axis=1,
    )
    if bits == 8 and table.max() < 256:
        table = table.astype(np.uint8)
    return table[_index(levels, first, count, dataset.get("PixelRepresentation") == 1)]
