"""The breast in a mammogram: found at one coarse scale, in one orientation."""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

from featbus.base import ImageTransformer
from featbus.color import to_float, to_gray
from featbus.io import read_item
from featbus.masks import restrict
from featbus.parameters import StrOptions
from featbus.typing import PathLike

# The longer side of the coarse image. A muscle's edge is found to a quarter of its pixel.
_COARSE = 256

# A film shows dark background. The brightness of its frame is relative to the brightest tissue.
_LARGEST_SHARE = 0.85
_BRIGHTEST_FRAME = 0.8

# A white border: at least this share of a line is at least this share of the highest brightness.
# One that is wider than this share of the image is the background of an inverted film.
_WHITE_BORDER, _WIDEST_BORDER = 0.95, 0.15

# A label on the skin: brighter than this share of the brightest tissue, no larger than this share
# of the image, and with more than this share of its rim next to the background.
_WHITE, _LARGEST_LABEL, _BORDERING = 0.7, 0.03, 0.1


class Breast(NamedTuple):
    """The breast in the coarse image, its chest wall to the left.

    Attributes
    ----------
    pixels : ndarray of float32 of shape (height, width)
        The coarse image, brightness 0..1.
    inside : ndarray of bool of shape (height, width)
        True in the breast; nowhere if there is none.
    is_mirrored : bool
        Whether the coarse image is a mirror image.
    side : {"left", "right"} or None
        Side of the chest wall in the image itself; None if both sides are alike.
    reason : str
        Why no breast was found; empty if one was.
    """

    pixels: np.ndarray
    inside: np.ndarray
    is_mirrored: bool
    side: str | None
    reason: str


def find_breast(image):
    """Find the breast.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image. Masked pixels count as background.

    Returns
    -------
    Breast
        The breast. The mirrored image gives exactly the same result, except for the side.
    """
    pixels, is_mirrored = _coarse(image)
    inside, reason = _largest_part(pixels)
    left, right = _flanks(inside) if inside.any() else (0, 0)
    if right > left:
        pixels, inside = (np.ascontiguousarray(part[:, ::-1]) for part in (pixels, inside))
        is_mirrored = not is_mirrored
    side = "right" if is_mirrored else "left"
    return Breast(pixels, inside, is_mirrored, None if left == right else side, reason)


def _coarse(image):
    """Return the coarse image or its mirror image, and whether it is the mirror image.

    The result is the same, to the last bit, for an image and its mirror image.
    """
    gray = np.ma.filled(to_gray(image), 0)
    height, width = (max(1, round(_COARSE * side / max(gray.shape))) for side in gray.shape)
    shrunk, mirrored = (
        cv2.resize(to_float(pixels.copy()), (width, height), interpolation=cv2.INTER_AREA)
        for pixels in (gray, gray[:, ::-1])
    )
    is_mirrored = mirrored.tobytes() < shrunk.tobytes()
    return mirrored if is_mirrored else shrunk, is_mirrored


def _largest_part(pixels):
    """Return the largest component brighter than the background, or why there is none."""
    pixels = _without_white_border(pixels)
    top = np.percentile(pixels, 99)
    bright = (pixels > _background(pixels / max(top, 1e-6)) * top).astype(np.uint8)
    part = _open(bright)
    if part.any() and (labels := _labels_on(part, pixels > _WHITE * top, bright)).any():
        part = _open(bright * ~labels)
    nothing = np.zeros(pixels.shape, dtype=bool)
    if not part.any():
        return nothing, "found no breast: no large region is brighter than the background."
    frame = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if part.mean() > _LARGEST_SHARE or np.median(frame) > _BRIGHTEST_FRAME * top:
        return nothing, "found no dark background at the frame: invert the image, or crop it."
    outlines, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(part, outlines, -1, 1, cv2.FILLED) > 0, ""


def _without_white_border(pixels):
    """Return the pixels with a white border, on any of the four sides, made black."""
    white, pixels = pixels > _WHITE_BORDER * pixels.max(), pixels.copy()
    for n_turns in range(4):
        lines = np.rot90(white, n_turns)
        lines = lines[: max(1, round(_WIDEST_BORDER * len(lines)))]
        n_white = np.argmin(lines.mean(axis=1) > _WHITE_BORDER)  # 0 if all lines are white
        np.rot90(pixels, n_turns)[:n_white] = 0
    return pixels


def _open(bright):
    """Return the largest connected component after an opening; it can be empty.

    The opening removes parts thinner than the disc, such as tape and the link to a label, and
    smooths the outline. The image is reflected at its frame, which cuts off the breast: a breast
    continues there, while the thin bright edge of a film does not.
    """
    margin = 20
    framed = cv2.copyMakeBorder(bright, *[margin] * 4, cv2.BORDER_REFLECT)
    framed = cv2.morphologyEx(framed, cv2.MORPH_OPEN, ellipse(17))
    opened = np.ascontiguousarray(framed[margin:-margin, margin:-margin])
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return (labels == 1 + areas.argmax()).astype(np.uint8) if areas.size else opened


def _labels_on(part, white, bright):
    """Return labels that lie on the skin: tissue fades toward the background, labels do not."""
    count, patches, stats, centers = cv2.connectedComponentsWithStats(white.astype(np.uint8))
    near = cv2.dilate(1 - bright, ellipse(7), borderType=cv2.BORDER_REPLICATE) > 0
    inner = cv2.erode(white.astype(np.uint8), np.ones((3, 3)), borderType=cv2.BORDER_REPLICATE)
    rim = white & (inner == 0)
    bordering = np.bincount(patches[rim & near], minlength=count)
    is_label = bordering > _BORDERING * np.bincount(patches[rim], minlength=count)
    is_label &= stats[:, cv2.CC_STAT_AREA] < _LARGEST_LABEL * white.size
    columns = np.flatnonzero(part.any(axis=0))
    left, right = _flanks(part)
    is_label &= (centers[:, 0] - columns[[0, -1]].mean()) * (int(left) - int(right)) > 0
    is_label[0] = False
    return cv2.dilate(is_label[patches].astype(np.uint8), ellipse(7)) > 0


def _background(levels):
    """Return the level that no film background reaches, where 1 is the brightest tissue.

    It is the most frequent level of the background plus its noise, estimated below that level;
    padding, exactly 0, is ignored. Otsu's threshold would cut off the skin.
    """
    dark = levels[(levels > 0.002) & (levels < 0.25)]
    counts, edges = np.histogram(dark, bins=125, range=(0, 0.25))
    mode = edges[np.convolve(counts, [1, 2, 1], "same").argmax()] + 0.001
    at_mode = np.sum(np.abs(dark - mode) < 0.02)
    if mode > 0.1 or at_mode < 1.5 * np.sum(np.abs(dark - mode - 0.05) < 0.02):
        return 0.025  # no peak: the background is black, or masked
    below = dark[dark < mode]
    noise = np.sqrt(np.mean((below - mode) ** 2)) if below.size > 20 else 0.01
    return mode + np.clip(4 * noise, 0.025, 0.06)


def ellipse(diameter):
    """Return a disc for OpenCV's morphology.

    Parameters
    ----------
    diameter : int
        Odd.

    Returns
    -------
    ndarray of uint8 of shape (diameter, diameter)
        1 in the disc.
    """
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))


def _flanks(inside):
    """Count pixels in the first and the last twentieth of columns: the chest wall is straight."""
    columns = np.flatnonzero(inside.any(axis=0))
    start, stop = columns[0], columns[-1] + 1
    width = max(2, (stop - start) // 20)
    return inside[:, start : start + width].sum(), inside[:, stop - width : stop].sum()


def enlarge(breast, shape):
    """Resize the region of a breast to its image, and restore the orientation.

    Parameters
    ----------
    breast : Breast
        What `find_breast` returned.
    shape : tuple of int
        Shape of the image.

    Returns
    -------
    ndarray of bool of shape (height, width)
        The region, with a smooth outline.
    """
    soft = cv2.GaussianBlur(
        np.uint8(255) * breast.inside, (0, 0), 1, borderType=cv2.BORDER_REPLICATE
    )
    inside = cv2.resize(soft, shape[1::-1], interpolation=cv2.INTER_LINEAR) > 127
    return np.ascontiguousarray(inside[:, ::-1]) if breast.is_mirrored else inside


class BreastOutline(NamedTuple):
    """What `BreastRegion.detect` found.

    Attributes
    ----------
    mask : ndarray of bool of shape (height, width)
        True in the breast; True everywhere if none was found.
    found : bool
        Whether a breast was found.
    side : {"left", "right"} or None
        Side of the image on which the chest wall is; None if both sides are alike.
    reason : str
        Why no breast was found; empty if one was.
    """

    mask: np.ndarray
    found: bool
    side: str | None
    reason: str


class BreastRegion(ImageTransformer):
    """Restrict mammograms to the breast: no labels, tape, film border or padding.

    Read more in the :ref:`User Guide <mammograms>`.

    Parameters
    ----------
    orient : {"left", "right"} or None, default=None
        Side of the image to bring the chest wall to, by mirroring. None leaves the orientation.

    See Also
    --------
    PectoralMuscleRemover : Mask the pectoral muscle.

    Notes
    -----
    The breast is the largest part brighter than the film's background, after an opening that
    removes tape, text and the link to a label. The threshold is the background's most frequent
    level plus four times its noise: Otsu's threshold would cut off the skin. A label on the skin is
    recognized by its rim, which borders on the background, as bright tissue does not. Holes are
    filled. The breast is found in an image reduced to 256 pixels; pixel values, dtype and an
    existing mask are kept. Films must be dark where there is no tissue, and the chest wall
    vertical.

    An image in which no breast is found is left as it is, and `detect` says why: a blank one, or
    one without dark background at its frame, such as a film whose gray levels are inverted. Other
    images with a dark background, ultrasound for instance, are not recognized as such. Of two
    breasts in one picture, the larger one is kept.

    Examples
    --------
    >>> from featbus import BreastRegion, make_mammograms
    >>> images = make_mammograms(2, random_state=0).images
    >>> region = BreastRegion().fit_transform(images)
    >>> outline = BreastRegion().detect(images[0])
    >>> print(outline.found, (region[0].mask == ~outline.mask).all())
    True True
    """

    _parameter_constraints = {"orient": [StrOptions({"left", "right"}), None]}

    def __init__(self, *, orient: Literal["left", "right"] | None = None) -> None:
        self.orient = orient

    def detect(self, image: PathLike | ArrayLike) -> BreastOutline:
        """Find the breast in one image.

        Parameters
        ----------
        image : path, or array_like of shape (height, width) or (height, width, channels)
            See :ref:`images`. Masked pixels count as background.

        Returns
        -------
        BreastOutline
            The region of the breast, and the side of the chest wall.

        Raises
        ------
        ImageError
            If the image is invalid.
        """
        self._check_parameters()
        image = read_item(image, None)
        breast = find_breast(image)
        found = not breast.reason
        mask = enlarge(breast, image.shape) if found else np.ones(image.shape[:2], dtype=bool)
        return BreastOutline(mask, found, breast.side, breast.reason)

    def _transform_image(self, image):
        outline = self.detect(image)
        image = restrict(image, outline.mask) if outline.found else image
        return image[:, ::-1].copy() if self._mirrors(outline) else image

    def _mirrors(self, outline):
        return None not in (self.orient, outline.side) and self.orient != outline.side

    def map_boxes(self, boxes: ArrayLike, image: np.ndarray) -> np.ndarray:
        """Map boxes of the output back to the input.

        Parameters
        ----------
        boxes : array_like of shape (n_boxes, 4)
            Top, left, bottom and right of boxes in an output image, in pixels.
        image : ndarray
            The input image.

        Returns
        -------
        ndarray of float of shape (n_boxes, 4)
            The same boxes in the input image: mirrored if the image was.
        """
        boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        if self._mirrors(self.detect(image)):
            boxes[:, [1, 3]] = image.shape[1] - boxes[:, [3, 1]]
        return boxes
