"""Read spacing, side, view and device of an image from the header of its file."""

from __future__ import annotations

import math
import os
from collections.abc import MutableSequence
from contextlib import suppress
from typing import Literal

from PIL import ExifTags
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from featbus.io._files import AGAIN, ImageReadError, check_size, open_image, pixel_limit
from featbus.typing import PathLike

_SPACING_TAGS = ["PixelSpacing", "ImagerPixelSpacing", "SequenceOfUltrasoundRegions"]
_SIDE_TAGS = ["ImageLaterality", "Laterality", "SharedFunctionalGroupsSequence"]
_VIEW_TAGS = ["ViewPosition", "ViewCodeSequence"]
_DEVICE_TAGS = {"manufacturer": "Manufacturer", "model": "ManufacturerModelName"}
_TAGS = [*_SPACING_TAGS, *_SIDE_TAGS, *_VIEW_TAGS, *_DEVICE_TAGS.values(), "NumberOfFrames"]
# Context group 4014 of DICOM PS3.16, by the codes of SNOMED RT and of SNOMED CT.
_CODES = ["R-10242", "R-10226", "R-10224", "R-10228"]
_CODES += ["399162004", "399368009", "399260004", "399352003"]
_VIEWS = dict(zip(_CODES, ["CC", "MLO", "ML", "LM"] * 2))

_INCH, _UNITS = 25.4, (25.4, 10, 1000)  # millimeters in an inch, a centimeter and a meter
# Dots per inch of screens and printers, which programs write if they do not know better.
_DEFAULTS = (
    *(50, 72, 75, 90, 92, 96, 100, 110, 120, 144, 150, 160, 180, 192, 200, 220, 240, 250, 288, 300),
    *(350, 360, 400, 450, 480, 500, 600, 640, 720, 800, 900, 1000, 1200, 1440, 1800, 2400, 2880),
    *(3600, 4000, 4800, 7200, 9600),
)
# The same, rounded to whole dots per inch, centimeter or meter.
_ROUNDED = [
    whole * _INCH / unit
    for default in _DEFAULTS
    for unit in _UNITS
    for whole in (default * unit // _INCH, round(default * unit / _INCH))
]


def read_spacing(file: PathLike | bytes) -> tuple[float, float] | None:
    """Read the spacing of the pixels from the header of a file.

    Read more in the :ref:`User Guide <millimeters>`.

    Parameters
    ----------
    file : str, os.PathLike or bytes
        The file, or its content. Its pixels are not read.

    Returns
    -------
    (float, float) or None
        Millimeters between rows and between columns; None if the file states none, or an
        unreliable one, see the notes.

    Raises
    ------
    ImageReadError
        If the file cannot be read, or the elements of a DICOM file cannot be parsed.

    See Also
    --------
    featbus.Resample : Bring images to one spacing.
    SpacedImage : An image whose spacing is known from elsewhere.

    Notes
    -----
    **DICOM**: Pixel Spacing, else Imager Pixel Spacing, which is that of the detector and not
    corrected for the magnification of a mammogram, else the physical delta of the region of an
    ultrasound image ([1]_, 10.7.1.3, C.8.11.7 and C.8.5.5) unless there are several regions of
    different scale.

    **TIFF** (XResolution, YResolution, in inches or centimeters) and **PNG** (pHYs, in meters):
    most programs write a resolution even if they do not know it. A resolution that is usual for
    screens or printers, such as 72, 96, 100, 150, 200, 300 or 600 dots per inch, is ignored, in
    either direction, even if it was rounded to whole pixels per centimeter or meter. So is a
    resolution without a unit, or beyond 0.001 to 10 mm. A film that was really scanned at 300 dots
    per inch is thus of unknown spacing. Only the first page of a TIFF file is read.

    **JPEG** and all others: never.

    References
    ----------
    .. [1] DICOM PS3.3, Information Object Definitions,
       https://dicom.nema.org/medical/dicom/current/output/html/part03.html.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> from featbus.io import read_spacing
    >>> read_spacing(get_testdata_file("CT_small.dcm"))
    (0.661468, 0.661468)
    """
    return read_header(file, _SPACING_TAGS).get("spacing")


def read_header(file, tags=_TAGS):
    """Read what is known about an image from the header of its file, opened once.

    Parameters
    ----------
    file : str, os.PathLike or bytes
        The file, or its content.
    tags : list of str
        The elements of a DICOM file to read. No name of a person or institution is among them.

    Returns
    -------
    dict
        ``spacing``, see `read_spacing`; of a DICOM file ``side``, see `read_laterality`, ``view``,
        ``manufacturer``, ``model`` and ``frames``, their number. None if unknown; without the keys
        if the file has no header.

    Raises
    ------
    ImageReadError
        If the file cannot be read, or the elements of a DICOM file cannot be parsed.
    """
    with open_image(file) as (opened, kind):
        if kind != "DICOM":
            with suppress(Exception):  # it has none; or the reader of pixels says what is wrong
                return {"spacing": _resolution_spacing(opened, kind)}
            return {}
        # Imported lazily: slow, and only DICOM needs it.
        from featbus.io._dicom import count_frames, parse

        dataset = parse(opened, ["Rows", *tags], stop_before_pixels=True)
        if not dataset.preamble and "Rows" not in dataset:  # only the name of a DICOM file
            return {}
        found = {"spacing": _spacing(dataset), "side": _side(dataset), "view": _view(dataset)}
        device = {name: _text(dataset, tag) or None for name, tag in _DEVICE_TAGS.items()}
        return found | device | {"frames": count_frames(dataset)}


def read_laterality(path: PathLike) -> Literal["left", "right"] | None:
    """Read from a DICOM file which breast, or other paired organ, it shows.

    Read more in the :ref:`User Guide <mammograms>`.

    Parameters
    ----------
    path : str or os.PathLike
        The file. Its pixels are not read.

    Returns
    -------
    {"left", "right"} or None
        Image Laterality, else Laterality, else Frame Laterality ([1]_, C.7.6.16.2.8). None if the
        file has none of them, or if it shows both sides or an unpaired organ.

    Raises
    ------
    ImageReadError
        If the file cannot be read, or is not a DICOM file.

    See Also
    --------
    featbus.BreastRegion : Finds the side of the chest wall in the picture.

    References
    ----------
    .. [1] DICOM PS3.3, Information Object Definitions,
       https://dicom.nema.org/medical/dicom/current/output/html/part03.html.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> from featbus.io import read_laterality
    >>> print(read_laterality(get_testdata_file("CT_small.dcm")))  # not of one side
    None
    """
    found = read_header(os.fspath(path), _SIDE_TAGS)
    if "side" not in found:
        raise ImageReadError(f"found no DICOM data set. {AGAIN}", path=path)
    return found["side"]


def _side(dataset):
    values = [dataset.get("ImageLaterality"), dataset.get("Laterality")]
    for group in dataset.get("SharedFunctionalGroupsSequence") or []:
        values += [part.get("FrameLaterality") for part in group.get("FrameAnatomySequence") or []]
    return {"L": "left", "R": "right"}.get(str(next(filter(None, values), "")).strip())


def _text(dataset, tag):
    value = dataset.get(tag) or ""
    return str(value[0] if isinstance(value, MutableSequence) else value).strip()


def _view(dataset):
    codes = [_text(item, "CodeValue") for item in dataset.get("ViewCodeSequence") or []]
    stated = _text(dataset, "ViewPosition").upper()
    return stated or next((_VIEWS[code] for code in codes if code in _VIEWS), None)


def _spacing(dataset):
    for values in filter(None, map(dataset.get, _SPACING_TAGS[:2])):
        if found := _checked(*map(float, values)):
            return found
    found = {_region_spacing(region) for region in dataset.get("SequenceOfUltrasoundRegions") or []}
    return found.pop() if len(found) == 1 else None


def _region_spacing(region):
    units = {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")}
    if units != {3}:  # centimeters; others are Doppler, whose axes are time and speed
        return None
    down, across = (region.get(f"PhysicalDelta{axis}") for axis in "YX")
    return None if down is None or across is None else _checked(10 * abs(down), 10 * abs(across))


def _checked(rows, columns):
    """Return a valid spacing, or None, for example for the 0 that some devices write."""
    return (rows, columns) if 0 < rows < float("inf") and 0 < columns < float("inf") else None


def _resolution_spacing(file, kind):
    """Return the spacing of the resolution in a PNG or TIFF header, None if there is none."""
    image = {"PNG": PngImageFile, "TIFF": TiffImageFile}[kind](file)
    across, down = map(float, image.info["dpi"])
    if across != down:
        # To look behind the pixels of a PNG.
        check_size(kind, image.height, image.width, pixel_limit())
        if image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8):  # rows become columns
            across, down = down, across
    spacing = round(_INCH / down, 9), round(_INCH / across, 9)
    is_size = all(0.001 <= side <= 10 for side in spacing)
    return None if not is_size or _is_default(down) or _is_default(across) else spacing


def _is_default(dots):
    """Return whether a resolution is a default of screens or printers, perhaps rounded."""
    is_usual = any(math.isclose(dots, default, rel_tol=1e-3) for default in _DEFAULTS)
    return is_usual or any(math.isclose(dots, rounded, rel_tol=1e-9) for rounded in _ROUNDED)
