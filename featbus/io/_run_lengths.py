"""Decode the run lengths of TIFF (PackBits) and DICOM (RLE) images with Pillow."""

from PIL import Image

from featbus.io._errors import AGAIN, ImageReadError
from featbus.io._limits import RLE_RATIO, check_ratio

# Added to the data as a literal: it must follow the last pixel, because Pillow ignores what it does
# not need.
_MARK = b"featbus, the end."


def unpack_bits(data, size, kind):
    """Decode run lengths of no more and no less than the expected pixels.

    Parameters
    ----------
    data : bytes-like
        The run lengths, and up to one byte of padding.
    size : int
        Number of bytes that come out.
    kind : str
        The format of the file, for the error.

    Returns
    -------
    memoryview
        The pixels.

    Raises
    ------
    ImageReadError
        If there are more or fewer.
    """
    check_ratio(kind, size, len(data), RLE_RATIO)
    for part in (data, data[:-1]):
        marked = b"".join((part, bytes([len(_MARK) - 1]), _MARK))
        try:
            image = Image.frombytes("L", (size + len(_MARK), 1), marked, "packbits", "L")
        except ValueError:
            continue
        pixels = image.tobytes()
        if pixels.endswith(_MARK):
            return memoryview(pixels)[:size]
    raise ImageReadError(
        f"the {kind} file has run lengths for other than the expected {size} bytes of pixels. "
        f"{AGAIN}"
    )
