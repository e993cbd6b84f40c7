"""The breast in a mammogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from featbus.base import ImageTransformer
from featbus.io import read_item
from featbus.masks import restrict, with_mask_of
from featbus.parameters import StrOptions
from featbus.preprocessing._mammogram import enlarge, find_breast

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import ArrayLike

    from featbus.typing import PathLike


@dataclass(frozen=True)
class BreastOutline:
    """What `BreastRegion.detect` found.

    Attributes
    ----------
    mask : ndarray of bool of shape (height, width)
        True in the breast; True everywhere if none was found.
    found : bool
        Whether a breast was found.
    side : {"left", "right"} or None
        Side of the image on which the chest wall is; None if it cannot be told.
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
    PectoralMuscleRemover : Take the pectoral muscle out of the region.

    Notes
    -----
    The breast is the largest part brighter than the film's background, after an opening that
    removes tape, text and what links a label to it. The threshold is the background's most
    frequent level plus four times its noise: Otsu's threshold would cut off the skin. A label on
    the skin is known by its rim, which borders on the background, as bright tissue does not. Holes
    are filled. The breast is found in an image reduced to 256 pixels; pixel values, dtype and an
    existing mask stay. Films must be dark where there is no tissue, and the chest wall vertical.

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
        return self._outline(read_item(image, None))

    def _outline(self, image):
        breast = find_breast(image)
        if not breast.inside.any():
            mask = np.ones(image.shape[:2], dtype=bool)
            return BreastOutline(mask, False, None, breast.reason)
        return BreastOutline(enlarge(breast, image.shape), True, breast.side, "")

    def _transform_image(self, image):
        outline = self._outline(image)
        if outline.found:
            image = restrict(image, outline.mask)
        if not self._mirrors(outline):
            return image
        return with_mask_of(np.ascontiguousarray(np.ma.getdata(image)[:, ::-1]), image[:, ::-1])

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
