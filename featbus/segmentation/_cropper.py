"""Crops around the regions that a segmenter finds."""

from __future__ import annotations

from numbers import Real
from typing import Any, Literal, Self

import cv2
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from featbus.base import ImageTransformer
from featbus.images import ImageError, check_image, map_at_index
from featbus.masks import inside_mask, restrict
from featbus.parameters import POSITIVE_INTEGER, HasMethods, Interval, PairOf, StrOptions, as_pair
from featbus.resizing import resize
from featbus.segmentation._base import find_regions
from featbus.steps import learns
from featbus.typing import Images


def _box_around(region, margin, square):
    """Return top, left, bottom and right of the box around a region, with its margin."""
    left, top, width, height = cv2.boundingRect(region.view(np.uint8))
    sides = np.array([height, width]) * (1 + 2 * margin)
    if square:
        # As large as the image allows, but never smaller than the region.
        sides[:] = min(sides.max(), max(height, width, min(region.shape)))
    center = np.array([top + height / 2, left + width / 2])
    # Moved, and as a last resort shortened, to fit into the image.
    starts = np.rint(center - np.ceil(sides) / 2)
    sides = np.minimum(np.ceil(sides), region.shape)
    starts = np.clip(starts, 0, region.shape - sides)
    return *starts.astype(int), *(starts + sides).astype(int)


class ROICropper(ImageTransformer):
    """Crop images around the regions that a segmenter finds.

    Read more in the :ref:`User Guide <segmentation>`.

    Parameters
    ----------
    segmenter : estimator or None
        A `UNetSegmenter`, `ThresholdSegmenter`, or another estimator whose `predict` returns a bool
        mask of each image. Wrap a fitted one in scikit-learn's `FrozenEstimator`; any other is
        trained in `fit`, on the masks passed there. None uses the mask that an earlier step of the
        pipeline gave the image.
    margin : float, default=0.3
        How far the crop reaches beyond the region, at each side, as a share of its height and
        width.
    square : bool, default=True
        Whether the shorter side of the crop is made as long as the longer one. A crop is moved to
        fit into the image, and made smaller only if it is larger than the image.
    component : {"largest", "union"}, default="largest"
        Which connected components of the region are used: the largest, or all.
    min_area : float, default=0.001
        Components smaller than this share of the image are ignored.
    size : int, tuple of int or None, default=None
        Height and width in pixels that crops are resized to. None leaves them.
    on_empty : {"image", "raise", "center"}, default="image"
        How to handle an image without a region: keep the whole image, raise an error, or crop it to
        the middle half of its height and width.
    as_mask : bool, default=False
        Whether the image is masked to the region, for `ShapeStatistics` and other features of
        regions, instead of being cropped. `margin`, `square` and `size` then have no effect.

    Attributes
    ----------
    segmenter_ : estimator
        The segmenter trained in `fit`; only if it was not fitted before.

    See Also
    --------
    UNetSegmenter, ThresholdSegmenter : Find the regions.
    featbus.evaluation.segmentation_scores : Compare regions with masks.

    Notes
    -----
    A mask that the image has already is cropped with it, unless it is the region itself
    (``segmenter=None``), which the crop shows with its surroundings.

    ``ROICropper(None)`` is for several branches that rest on one segmentation, as the user guide
    shows. On images that are masked to an expert's outline, it crops to the true region: an upper
    bound, not a result. At test time, such a classifier needs an expert's outline, and the shape of
    an outline, as the size of its crop, can give the class away, see :ref:`audit`.

    In cross-validation, the segmenter must not have seen the masks of the test images. Either pass
    ``FrozenEstimator(segmenter)`` with a segmenter that was fitted on other patients, or let `fit`
    train it inside the fold: `featbus.evaluate` with ``masks``, or scikit-learn's
    ``cross_validate(..., params={"masks": masks, "groups": groups})`` with metadata routing
    enabled. `masks` and `groups` are requested for `fit` unless `set_fit_request` says otherwise.

    Examples
    --------
    >>> from featbus import ROICropper, ThresholdSegmenter, make_breast_ultrasound
    >>> data = make_breast_ultrasound(4, weights=[1, 1, 0], random_state=0)
    >>> cropper = ROICropper(ThresholdSegmenter(), size=64)
    >>> cropper.fit_transform(data.images).shape
    (4, 64, 64)
    >>> cropper.find_boxes(data.images).shape
    (4, 4)
    """

    # 2: crops are resized as by version 2 of Resize.
    _algorithm_version = 2
    _requires_fit = property(lambda self: learns(self.segmenter))

    _parameter_constraints = {
        "segmenter": [HasMethods("predict"), None],
        "margin": [Interval(Real, 0, None, closed="left")],
        "square": ["boolean"],
        "component": [StrOptions({"largest", "union"})],
        "min_area": [Interval(Real, 0, 1, closed="left")],
        "size": [PairOf(POSITIVE_INTEGER), None],
        "on_empty": [StrOptions({"image", "raise", "center"})],
        "as_mask": ["boolean"],
    }

    __metadata_request__fit = {"masks": True, "groups": True}

    def __init__(
        self,
        segmenter: Any,
        *,
        margin: float = 0.3,
        square: bool = True,
        component: Literal["largest", "union"] = "largest",
        min_area: float = 0.001,
        size: int | tuple[int, ...] | None = None,
        on_empty: Literal["image", "raise", "center"] = "image",
        as_mask: bool = False,
    ) -> None:
        self.segmenter = segmenter
        self.margin = margin
        self.square = square
        self.component = component
        self.min_area = min_area
        self.size = size
        self.on_empty = on_empty
        self.as_mask = as_mask

    def fit(
        self,
        X: Images,
        y: ArrayLike | None = None,
        masks: Images | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Train the segmenter, unless it is fitted or needs no training.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        y : None
            Ignored.
        masks : sequence of length n_images, default=None
            The masks of the images, see `featbus.io.read_mask`; needed only to train.
        groups : array_like of shape (n_images,), default=None
            Group of each image, such as the patient; the segmenter's validation images are chosen
            by group.

        Returns
        -------
        self : ROICropper
            The cropper itself.

        Raises
        ------
        ValueError
            If the segmenter has to be trained, and there are no masks.
        """
        self._check_parameters()
        self._check_batch(X, reset=True)
        vars(self).pop("segmenter_", None)
        if not learns(self.segmenter):
            return self
        if masks is None:
            raise ValueError(
                f"masks is None, expected the masks that {type(self.segmenter).__name__} learns "
                "from: pass fit(..., masks=masks), for a pipeline with scikit-learn's metadata "
                "routing enabled, or evaluate(..., masks=masks). Or pass a fitted segmenter: "
                "ROICropper(FrozenEstimator(segmenter))."
            )
        options = {} if groups is None else {"groups": groups}
        self.segmenter_ = clone(self.segmenter).fit(X, masks, **options)
        return self

    def predict(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Find the regions, limited to the components that are used.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of bool of shape (n_images, height, width), or list of ndarray
            True inside; a list if the images differ in size.
        """
        return self._map_batch(lambda images: (part for _, part in self._iter_found(images)), X)

    def find_boxes(self, X: Images) -> np.ndarray:
        """Find the boxes that images are cropped to.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of int of shape (n_images, 4)
            Top, left, bottom and right in pixels; the whole image where there is no region, unless
            `on_empty` says otherwise.

        Raises
        ------
        ImageError
            If an image is invalid, or has no region and ``on_empty="raise"``.
        """

        def find(images):
            return map_at_index(
                lambda found: np.array(self._box(found[1])), self._iter_found(images)
            )

        return np.array(self._map_batch(find, X))

    def _transform_images(self, images):
        return map_at_index(self._crop, self._iter_found(images))

    def _crop(self, found):
        image, region = found
        top, left, bottom, right = self._box(region)
        if self.as_mask:
            if not region.any():
                region[top:bottom, left:right] = True
            return restrict(image, region)
        # Pixels that were outside the mask have not been checked before.
        image = check_image(image[top:bottom, left:right])
        return image if self.size is None else resize(image, as_pair(self.size))

    def _iter_found(self, images):
        """Yield images and the components of their regions that are used."""
        for image, region in self._find_regions(list(images)):
            _, labels, stats, _ = cv2.connectedComponentsWithStats(region.view(np.uint8))
            areas = stats[:, cv2.CC_STAT_AREA].copy()
            areas[0] = 0
            chosen = (areas > 0) & (areas >= self.min_area * region.size)
            if self.component == "largest":
                chosen &= np.arange(len(areas)) == areas.argmax()
            yield image, chosen[labels]

    def _find_regions(self, images):
        """Return pairs of image and region; without a segmenter, the mask becomes the region."""
        if self.segmenter is None:
            regions = [
                np.zeros(image.shape[:2], dtype=bool) if inside is None else inside
                for image, inside in zip(images, map(inside_mask, images))
            ]
            return zip(map(np.ma.getdata, images), regions)
        segmenter = self.segmenter
        if learns(segmenter):
            check_is_fitted(self, "segmenter_")
            segmenter = self.segmenter_
        return zip(images, find_regions(segmenter, images))

    def _box(self, region):
        """Return top, left, bottom and right of the crop of an image."""
        height, width = region.shape
        if region.any():
            return _box_around(region, self.margin, self.square)
        if self.on_empty == "raise":
            raise ImageError(
                "found no region to crop to. Leave the image out, or use on_empty='image' or "
                "'center'."
            )
        if self.on_empty == "center":
            return height // 4, width // 4, -(-3 * height // 4), -(-3 * width // 4)
        return 0, 0, height, width

    def map_boxes(self, boxes: ArrayLike, image: np.ndarray) -> np.ndarray:
        """Map boxes of the crop back to the image.

        Parameters
        ----------
        boxes : array_like of shape (n_boxes, 4)
            Top, left, bottom and right of boxes in the crop, in pixels.
        image : ndarray
            The image that was cropped.

        Returns
        -------
        ndarray of float of shape (n_boxes, 4)
            The same boxes in the image.
        """
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        if self.as_mask:
            return boxes
        top, left, bottom, right = self.find_boxes([image])[0]
        if self.size is not None:
            boxes = boxes * np.tile(np.divide([bottom - top, right - left], as_pair(self.size)), 2)
        return boxes + np.tile([top, left], 2)
