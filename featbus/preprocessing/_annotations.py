"""Removal of text, calipers and colored marks that a scanner has burned in."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from featbus.base import ImageTransformer
from featbus.color import to_gray, to_uint8
from featbus.masks import restrict
from featbus.parameters import StrOptions
from featbus.preprocessing._pixels import colors_of, convert, extend, map_pixels

# Gray levels of 255, and sides in pixels: tuned on half of BUSI.
_STROKE = np.ones((7, 7), np.uint8)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_ROW = np.ones((1, 3), np.uint8)
_AROUND = np.ones((5, 5), np.uint8)
_COLORED = 16


def find_annotations(image):
    """Find text, calipers, dotted lines and colored marks.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.

    Returns
    -------
    ndarray of bool of shape (height, width)
        True on marks and up to two pixels around them. All False if more than a tenth of the
        image would be True: that is texture.
    """
    colors = colors_of(to_uint8(extend(image)))
    marks = _find_strokes(to_gray(colors)) | (np.ptp(np.atleast_3d(colors), axis=2) > _COLORED)
    marks = cv2.dilate(marks.astype(np.uint8), _AROUND) > 0
    return marks if marks.mean() <= 0.1 else np.zeros_like(marks)


def _find_strokes(gray):
    """Return the bright strokes whose edges are one pixel wide."""
    height = cv2.morphologyEx(gray, cv2.MORPH_TOPHAT, _STROKE)
    step = gray - cv2.erode(gray, _CROSS)
    side = gray - cv2.erode(gray, _ROW)
    near_edge = cv2.dilate((step > 45).astype(np.uint8), _CROSS) > 0
    sure = _keep_sharp((height > 40) & near_edge, step > 45, side > 35, share=0.5, n_pixels=4)
    if not sure.any():
        return sure
    # All marks of an image have the same brightness, which helps to find the fainter ones.
    counts = np.bincount(gray[sure], minlength=256)
    ink = int(np.argmax(np.convolve(counts, np.ones(9), mode="same")))
    alike = (height > 20) & (cv2.absdiff(gray, np.full_like(gray, ink)) <= 14)
    return sure | _keep_sharp(alike, step > 30, side > 30, share=0.4, n_pixels=2)


def _keep_sharp(candidates, sharp, sharp_sideways, share, n_pixels):
    """Keep the connected components that are sharp, at their vertical edges, too.

    Layers of tissue are sharp only from above and below.
    """
    n_parts, labels = cv2.connectedComponents(candidates.astype(np.uint8), connectivity=8)
    size, n_sharp, n_sideways = (
        np.bincount(labels[chosen], minlength=n_parts)
        for chosen in (candidates, candidates & sharp, candidates & sharp_sideways)
    )
    kept = (n_sharp >= n_pixels) & (n_sharp > share * size)
    kept &= (n_sideways >= n_pixels) & (n_sideways > 0.2 * size)
    return kept[labels]


class RemoveAnnotations(ImageTransformer):
    """Remove text, calipers, dotted lines and colored marks that a scanner has burned in.

    Marks show where somebody has measured, and often which class that was: a classifier learns them
    instead of the disease, see :ref:`audit`.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    method : {"inpaint", "mask"}, default="inpaint"
        "inpaint" paints the marks over from their surroundings [1]_; "mask" masks them, so that
        features ignore them.

    See Also
    --------
    audit : Measures what marks alone predict.

    Notes
    -----
    A mark is a bright stroke, narrower than 7 pixels, whose edges are one pixel wide, including the
    vertical ones: tissue is blurred sideways. Strokes of the same brightness with edges nearly as
    sharp are marks, too, and so are pixels whose color channels differ by more than 1/16 of the
    range, such as those of Doppler. Up to two pixels around each mark are included. If more than a
    tenth of an image would be marks, it is texture, and nothing is removed.

    Sizes are in pixels, for images of about 300 to 1000 pixels per side as exported by the scanner:
    resize after this step. Dtype, range and an existing mask are kept; marks are found at 8 bits,
    so that all dtypes have the same ones; what is painted there can differ. Bars and exactly
    horizontal lines are not removed.

    References
    ----------
    .. [1] Bertalmio M, Bertozzi AL, Sapiro G. Navier-Stokes, fluid dynamics, and image and video
       inpainting. CVPR 2001, 355-362.

    Examples
    --------
    >>> import cv2, numpy as np
    >>> from featbus import RemoveAnnotations
    >>> scan = np.full((100, 200), 60, np.uint8)
    >>> marked = cv2.drawMarker(scan.copy(), (90, 50), 226, cv2.MARKER_CROSS, 15, 2)
    >>> bool((RemoveAnnotations().transform([marked])[0] == scan).all())
    True
    """

    _parameter_constraints = {"method": [StrOptions({"inpaint", "mask"})]}

    def __init__(self, method: Literal["inpaint", "mask"] = "inpaint") -> None:
        self.method = method

    def _transform_image(self, image):
        marks = find_annotations(image)
        if not marks.any():
            return image
        if self.method == "mask":
            return restrict(image, ~marks)
        return map_pixels(lambda pixels, inside: _paint_over(pixels, marks), image)


def _paint_over(pixels, marks):
    """Inpaint the pixels at the marks; all others stay the same."""
    painted, area = pixels.copy(), marks.astype(np.uint8)
    for channel in np.moveaxis(np.atleast_3d(painted), 2, 0):  # views
        plain = np.array(channel, np.float32 if pixels.dtype.kind == "f" else pixels.dtype)
        found = cv2.inpaint(plain, area, inpaintRadius=3, flags=cv2.INPAINT_NS)
        channel[marks] = convert(found, pixels.dtype)[marks]
    return painted
