"""The distance between the pixels of a DICOM file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from featbus.io._header import dicom_header

if TYPE_CHECKING:
    from featbus.typing import PathLike

_TAGS = ["PixelSpacing", "ImagerPixelSpacing", "SequenceOfUltrasoundRegions"]
_CENTIMETERS = 3


def read_spacing(path: PathLike) -> tuple[float, float] | None:
    """Read from a DICOM file how far its pixels are apart.

    Parameters
    ----------
    path : str or os.PathLike
        The file. Its pixels are not read.

    Returns
    -------
    (float, float) or None
        Millimeters between rows and between columns: Pixel Spacing, else Imager Pixel Spacing,
        which is that of the detector and not corrected for the magnification of a mammogram, else
        the physical delta of the region of an ultrasound image ([1]_, 10.7.1.3, C.8.11.7 and
        C.8.5.5). None if the file is not DICOM or has none of them, or if it has several
        ultrasound regions of different scale. The resolution in PNG, JPEG and TIFF files is for
        printers, and is ignored.

    Raises
    ------
    ImageReadError
        If the file cannot be read, or its elements cannot be parsed.

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
    with dicom_header(os.fspath(path), _TAGS, "valid spacing") as dataset:
        return None if dataset is None else _spacing(dataset)


def _spacing(dataset):
    """Return the spacing of rows and columns, or None."""
    for tag in _TAGS[:2]:
        if values := dataset.get(tag):
            rows, columns = map(float, values)
            return _checked(rows, columns)
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
