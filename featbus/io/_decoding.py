"""Decode with OpenCV."""

import cv2
import numpy as np

from featbus.io._errors import AGAIN, ImageReadError
from featbus.io._stderr import listen

_TO_RGB = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}


def decode(data, kind, flags):
    """Decode a file; channels in the order red, green, blue.

    Parameters
    ----------
    data : bytes
        The content of the file.
    kind : str
        The format of the file, for the error.
    flags : int
        The flags of `cv2.imdecode`.

    Returns
    -------
    ndarray
        The pixels.

    Raises
    ------
    ImageReadError
        If OpenCV cannot decode the file, or a library that it uses reports damage.
    """
    try:
        image, damaged = listen(cv2.imdecode, np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None or damaged:
        raise ImageReadError(
            f"OpenCV cannot decode the {kind} file without errors. {AGAIN} If other programs show "
            "it: save it as PNG."
        )
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, _TO_RGB[image.shape[2]], dst=image)
