"""Which breast a DICOM file shows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from featbus.io._errors import AGAIN, ImageReadError
from featbus.io._header import dicom_header

if TYPE_CHECKING:
    from typing import Literal

    from featbus.typing import PathLike

_TAGS = ["ImageLaterality", "Laterality", "SharedFunctionalGroupsSequence"]
_SIDES = {"L": "left", "R": "right"}


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
    with dicom_header(os.fspath(path), _TAGS, "DICOM data set") as dataset:
        if dataset is None:
            raise ImageReadError(f"found no DICOM data set. {AGAIN}")
        values = [dataset.get("ImageLaterality"), dataset.get("Laterality")]
        for group in dataset.get("SharedFunctionalGroupsSequence") or []:
            parts = group.get("FrameAnatomySequence") or []
            values += [part.get("FrameLaterality") for part in parts]
        return _SIDES.get(str(next(filter(None, values), "")).strip())
