"""Elements of a DICOM file beside its pixels."""

from contextlib import contextmanager

from featbus.io._errors import AGAIN, ImageReadError
from featbus.io._files import open_file, read_head
from featbus.io._limits import pixel_limit
from featbus.io._readers import HEAD, format_of, is_dicom_by_name


@contextmanager
def dicom_header(source, tags, expected):
    """Parse elements of a DICOM file, whose pixels are not read.

    Parameters
    ----------
    source : str or bytes
        The file, or its content.
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
    path = None if isinstance(source, bytes) else source
    try:
        with open_file(source) as file:
            head = read_head(file, HEAD)
        found = format_of(head)
        if found != "DICOM" and (found or not is_dicom_by_name(head, path or "")):
            yield None
            return
        # Imported lazily: slow, and only DICOM needs it.
        from featbus.io._dicom_file import silence

        with silence():
            whole = _parse if found else _parse_without_preamble
            yield whole(source, tags)
    except ImageReadError as error:
        raise error.at(None, path) from error.__cause__
    except Exception:
        # Without the cause, whose message could quote any bytes of the file.
        raise ImageReadError(f"found no {expected}. {AGAIN}", path=path) from None


def _parse(source, tags, force=False):
    from featbus.io._dicom_file import parse

    file = source if isinstance(source, bytes) else open_file(source)
    return parse(file, tags, pixel_limit(), force=force, stop_before_pixels=True)


def _parse_without_preamble(source, tags):
    """Return the elements of what may be DICOM for its name only, None if it has no image."""
    try:
        dataset = _parse(source, ["Rows", *tags], force=True)
    except ImageReadError:
        return None
    return dataset if "Rows" in dataset else None
