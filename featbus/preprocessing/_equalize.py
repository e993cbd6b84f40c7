"""Histogram equalization."""

import numpy as np
from skimage.exposure import cumulative_distribution

from featbus.base import ImageTransformer
from featbus.color import to_gray
from featbus.preprocessing._pixels import map_pixels, map_values, values_inside


class HistogramEqualizer(ImageTransformer):
    """Spread the gray values evenly over the range.

    Read more in the :ref:`User Guide <enhancement>`.

    See Also
    --------
    CLAHE : Equalization tile by tile, with limited contrast.
    ContrastStretch : A linear mapping.

    Notes
    -----
    Each gray value becomes the share of the pixels that are as dark or darker, as in
    `skimage.exposure.equalize_hist`; of a masked image only pixels inside the mask count. Integers
    have one bin per level, floating-point images 256 bins from their smallest to their largest
    value, between which the share is interpolated: it differs from that of the same image at 8
    bits, most where many pixels have one value. Dtype and range stay. Of a color image the luma is
    equalized, and all channels change by as much.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import HistogramEqualizer
    >>> dark = np.array([[0, 1], [2, 3]], np.uint8)
    >>> HistogramEqualizer().transform([dark])[0]
    array([[ 64, 128],
           [191, 255]], dtype=uint8)
    """

    def _transform_image(self, image):
        gray = to_gray(image[..., :3] if image.ndim == 3 else image)
        values = values_inside(gray)
        if values.dtype == bool:
            values = values.astype(np.uint8) * 255
        top = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
        shares, centers = cumulative_distribution(values)

        def equalize(pixels):
            return map_values(lambda levels: np.interp(levels, centers / top, shares), pixels)

        return map_pixels(equalize, image, luma=True)
