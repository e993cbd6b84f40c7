"""Elements of a DICOM file beside its pixels."""

from contextlib import contextmanager

from featbus.io._errors import AGAIN, ImageReadError
from featbus.io._files import open_file
from featbus.io._limits import pixel_limit


@contextmanager
def dicom_header(path, tags, expected):
    """Parse elements of a DICOM file, whose pixels are not read.

    Parameters
    ----------
    path : str
        The file.
    tags : list of str
        Keywords of the elements.
    expected : str
        What an error says was not found.

    Yields
    ------
    pydicom.Dataset or None
        The elements; None if this is no DICOM file. Whatever fails inside the block is an
        `ImageReadError`.
    """
    try:
        with open_file(path) as file:
            is_dicom = file.read(132)[128:] == b"DICM"
        if not is_dicom:
            yield None
            return
        # Imported lazily: slow, and only DICOM needs it.
        from featbus.io._dicom_file import parse, silence

        with silence():
            yield parse(open_file(path), tags, pixel_limit(), force=False, stop_before_pixels=True)
    except ImageReadError as error:
        raise error.at(None, path) from error.__cause__
    except Exception:
        # Without the cause, whose message could quote any bytes of the file.
        raise ImageReadError(f"found no {expected}. {AGAIN}", path=path) from None
