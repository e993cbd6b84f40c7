"""Images from paths."""

from functools import partial

from featbus.base import ImageTransformer, iter_images
from featbus.images import to_gray, to_rgb
from featbus.io import read_image

_CONVERSIONS = {"unchanged": lambda image: image, "gray": to_gray, "rgb": to_rgb}


class ImageLoader(ImageTransformer):
    """Read images from files.

    Every featbus estimator reads paths by itself, as ``ImageLoader()`` would; this step is for
    whoever wants to say how. PNG, JPEG, TIFF, BMP, PGM and DICOM files are recognised by their
    content. Arrays pass through, converted to `color_mode` too.

    Parameters
    ----------
    color_mode : {"unchanged", "gray", "rgb"}, default="unchanged"
        Channels of the images. "unchanged" keeps what the file holds; "gray" takes the luma of
        colour images; "rgb" repeats the channel of grey images.
    voi_lut : bool, default=True
        Whether to apply the value-of-interest table or window that a DICOM file names.

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

    def __init__(self, *, color_mode="unchanged", voi_lut=True):
        self.color_mode = color_mode
        self.voi_lut = voi_lut

    def fit(self, X, y=None):
        """Check the parameters and the batch; no file is read.

        Parameters
        ----------
        X : batch of images
            Paths, or images in any other form; see :ref:`images`.
        y : None
            Ignored.

        Returns
        -------
        self : ImageLoader
            The estimator itself.
        """
        self._conversion()
        return super().fit(X, y)

    def _iter_images(self, batch):
        return iter_images(batch, read=partial(read_image, voi_lut=self.voi_lut))

    def _transform_image(self, image):
        return self._conversion()(image)

    def _conversion(self):
        if self.color_mode not in _CONVERSIONS:
            raise ValueError(
                f"color_mode is {self.color_mode!r}, expected one of {sorted(_CONVERSIONS)}."
            )
        return _CONVERSIONS[self.color_mode]
