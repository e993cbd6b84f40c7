"""The distance between the pixels of a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from featbus.io._files import open_file
from featbus.io._header import dicom_header
from featbus.io._resolution import resolution_spacing

if TYPE_CHECKING:
    from featbus.typing import PathLike

_TAGS = ["PixelSpacing", "ImagerPixelSpacing", "SequenceOfUltrasoundRegions"]
_CENTIMETERS = 3


def read_spacing(file: PathLike | bytes) -> tuple[float, float] | None:
    """Read from a file how far its pixels are apart.

    Read more in the :ref:`User Guide <millimeters>`.

    Parameters
    ----------
    file : str, os.PathLike or bytes
        The file, or its content. Its pixels are not read.

    Returns
    -------
    (float, float) or None
        Millimeters between rows and between columns; None if the file does not state them in a
        way that can be trusted, see the notes.

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
    most programs write a resolution whether they know it or not. One that screens or printers
    have, such as 72, 96, 100, 150, 200, 300 or 600 dots per inch, is ignored, in either direction
    and also if it was rounded to whole pixels per centimeter or meter; so is one without a unit,
    and one beyond 0.001 to 10 mm. A film that was really scanned at 300 dots per inch is thus of
    unknown spacing. Of a TIFF file with several pages, only the first is looked at.

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
    source = os.fspath(file)  # bytes are content
    with dicom_header(source, _TAGS, "valid spacing") as dataset:
        if dataset is not None:
            return _spacing(dataset)
    with open_file(source) as opened:
        return resolution_spacing(opened)


def _spacing(dataset):
    """Return the spacing of rows and columns, or None."""
    for tag in _TAGS[:2]:
        if values := dataset.get(tag):
            rows, columns = map(float, values)
            if found := _checked(rows, columns):
                return found
    regions = dataset.get("SequenceOfUltrasoundRegions") or []
    found = {_region_spacing(region) for region in regions}
    return found.pop() if len(found) == 1 else None


def _region_spacing(region):
    units = {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")}
    if units != {_CENTIMETERS}:  # such as Doppler, whose axes are time and speed
        return None
    down, across = (region.get(f"PhysicalDelta{axis}") for axis in "YX")
    return None if down is None or across is None else _checked(10 * abs(down), 10 * abs(across))


def _checked(rows, columns):
    """Return a spacing; None if it is none, as the 0 that some devices write."""
    return (rows, columns) if 0 < rows < float("inf") and 0 < columns < float("inf") else None
