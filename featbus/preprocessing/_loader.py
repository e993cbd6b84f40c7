"""Images from paths."""

from __future__ import annotations

from typing import Literal

from featbus.base import ImageTransformer
from featbus.color import to_gray, to_rgb
from featbus.io import read_image
from featbus.parameters import POSITIVE_INTEGER, StrOptions

_CONVERSIONS = {"unchanged": lambda image: image, "gray": to_gray, "rgb": to_rgb}


class ImageLoader(ImageTransformer):
    """Read images from files.

    Every featbus estimator reads paths as ``ImageLoader()`` does; this step controls how. PNG,
    JPEG, TIFF, BMP, PGM and DICOM files are recognized by their content. Arrays are converted to
    `color_mode`, too.

    Read more in the :ref:`User Guide <loading>`.

    Parameters
    ----------
    color_mode : {"unchanged", "gray", "rgb"}, default="unchanged"
        Channels of the images. "unchanged" keeps those of the file; "gray" computes the luma of
        color images; "rgb" repeats the channel of gray images.
    voi_lut : bool, default=True
        Whether to apply the value-of-interest table or window of a DICOM file.
    max_pixels : int or None, default=None
        Height times width that the image in a file may have, see `featbus.io.read_image`.

    See Also
    --------
    Resize : Bring images to one size.
    featbus.io.read_image : The function that reads one file.

    Examples
    --------
    >>> import cv2, numpy as np, tempfile, pathlib
    >>> from featbus import ImageLoader
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "scan.png"
    >>> cv2.imwrite(str(path), np.full((40, 60), 7, np.uint8))
    True
    >>> ImageLoader(color_mode="rgb").transform([path]).shape
    (1, 40, 60, 3)
    """

    _parameter_constraints = {
        "color_mode": [StrOptions(set(_CONVERSIONS))],
        "voi_lut": ["boolean"],
        "max_pixels": [POSITIVE_INTEGER, None],
    }

    def __init__(
        self,
        *,
        color_mode: Literal["unchanged", "gray", "rgb"] = "unchanged",
        voi_lut: bool = True,
        max_pixels: int | None = None,
    ) -> None:
        self.color_mode = color_mode
        self.voi_lut = voi_lut
        self.max_pixels = max_pixels

    def _read(self, path):
        return read_image(path, voi_lut=self.voi_lut, max_pixels=self.max_pixels)

    def _transform_image(self, image):
        return _CONVERSIONS[self.color_mode](image)
