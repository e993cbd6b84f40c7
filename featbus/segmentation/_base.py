"""Base class of the segmenters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from featbus.base import ImageTransformer
from featbus.images import ImageError, at_index
from featbus.io import read_mask
from featbus.masks import dice, restrict
from featbus.parameters import InvalidParameterError
from featbus.typing import Images


def find_regions(segmenter: Any, images: ArrayLike) -> list[np.ndarray]:
    """Find the regions of images with a segmenter, which may be from another library.

    Read more in the :ref:`User Guide <segmentation>`.

    Parameters
    ----------
    segmenter : estimator
        Its `predict` returns a bool mask of each image.
    images : sequence of ndarray
        Checked images.

    Returns
    -------
    list of ndarray of bool of shape (height, width)
        The regions.

    Raises
    ------
    InvalidParameterError
        If `predict` returns anything else.
    """
    found = segmenter.predict(images)
    regions = [np.asarray(region) for region in found] if np.iterable(found) else []
    kinds = [(region.shape, region.dtype) for region in regions]
    if kinds == [(image.shape[:2], bool) for image in images]:
        return regions
    raise InvalidParameterError(
        f"segmenter is {segmenter!r}, whose predict returned {len(regions)} regions for "
        f"{len(images)} images, such as {kinds[:1]}, expected a bool array of each image's height "
        "and width."
    )


class Segmenter(ImageTransformer):
    """Base of the estimators that find a region in each image.

    A subclass writes `_iter_regions(images)`: it gets an iterator of checked images, and yields the
    region of each as a bool array of the image's height and width, False everywhere if there is
    none.

    Read more in the :ref:`User Guide <segmentation>`.
    """

    def predict(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Find the region in each image.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of bool of shape (n_images, height, width), or list of ndarray
            True inside the region; a list if the images differ in size.

        Raises
        ------
        ImageError
            If an image is invalid; the message names the image.
        """
        return self._map_batch(self._iter_regions, X)

    def score(self, X: Images, masks: Images) -> float:
        """Return the mean Dice coefficient over the images whose true mask has a region.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        masks : sequence of length n_images
            The true masks, see `featbus.io.read_mask`.

        Returns
        -------
        float
            From 0 to 1; NaN if all masks are empty. `featbus.evaluation.segmentation_scores`
            also reports images without a region.

        Raises
        ------
        ImageError
            If an image or a mask is invalid; the message names the image.
        """
        scores = []
        for index, (found, mask) in enumerate(zip(self.predict(X), masks, strict=True)):
            with at_index(index):
                true = read_mask(mask, found.shape, required=True)
            scores.append(dice(true, found) if true.any() else np.nan)
        return float(np.nanmean(scores))

    def _transform_images(self, images):
        """Yield the images masked to their regions."""
        images = list(images)
        for index, (image, region) in enumerate(zip(images, self._iter_regions(iter(images)))):
            with at_index(index):
                if not region.any():
                    raise ImageError("found no region.")
                yield restrict(image, region)
