"""Regions as rows: what the bus keeps of segmenters."""

import numpy as np

from featbus.base import ImageEstimator
from featbus.bus._rows import Rows
from featbus.bus._store_file import FeatureStoreError
from featbus.images import is_path
from featbus.segmentation import find_regions


def _pack(region):
    """Return height, width and pixels of a region as bytes, eight pixels each."""
    size = np.array(region.shape, dtype="<u4").view(np.uint8)
    return np.concatenate([size, np.packbits(region)])


def unpack(row):
    """Return a region that `PackedRegions` packed.

    Parameters
    ----------
    row : ndarray of uint8
        The row.

    Returns
    -------
    ndarray of bool of shape (height, width)
        The region.

    Raises
    ------
    FeatureStoreError
        If the row is no region.
    """
    height, width = _unpack_size(row)
    pixels = np.unpackbits(row[8:], count=height * width)
    return pixels.reshape(height, width).astype(bool)


def _unpack_size(row):
    """Return height and width of a packed region."""
    if row.dtype == np.uint8 and len(row) > 8:
        height, width = row[:8].view("<u4").tolist()
        if len(row) == 8 + -(-height * width // 8):
            return height, width
    raise FeatureStoreError(
        f"found {len(row)} values of {row.dtype} in the feature store, expected a packed region. "
        "Delete the store: its rows were not written by a FeatureBus."
    )


class PackedRegions(ImageEstimator):
    """The regions that a segmenter predicts, as rows whose length depends on the image's size.

    Parameters
    ----------
    segmenter : estimator
        A fitted segmenter.
    """

    _wraps = "segmenter"

    def __init__(self, segmenter):
        self.segmenter = segmenter

    def transform(self, X):
        """Return the packed region of each image.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of object of shape (n_images,)
            Arrays of uint8.
        """
        rows = np.empty(len(X), dtype=object)
        for index, region in enumerate(find_regions(self.segmenter, X)):
            rows[index] = _pack(region)
        return rows


class RegionRows(Rows):
    """Rows of any length, and the errors of images without one."""

    def _place(self, index, row):
        size, item = _unpack_size(row), self.batch[index]
        if not is_path(item) and size != np.shape(item)[:2]:
            raise FeatureStoreError(
                f"found a region of {size} pixels in the feature store, expected "
                f"{np.shape(item)[:2]}, the size of image {self._start + index}. Delete the store."
            )
        if self._array is None:
            self._array = np.empty(len(self.batch), dtype=object)
        self._array[index] = row
