"""Base classes: `ImageTransformer` (image -> image) and `FeatureExtractor` (image -> row)."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from featbus.images import as_batch, check_image, is_path, stack_images
from featbus.io import ImageReadError, read_image

__all__ = ["FeatureExtractor", "ImageTransformer", "Where", "iter_images"]


@contextmanager
def _naming_image(index):
    """Put the image's position before the message of an error that one image raises."""
    try:
        yield
    except ImageReadError as error:
        raise ImageReadError(f"image {index}: {error}") from error
    except ValueError as error:
        raise ValueError(f"image {index}: {error}") from error


def iter_images(batch, read=read_image, n_threads=1):
    """Read and check the images of a batch, one at a time.

    Parameters
    ----------
    batch : ndarray or list
        What `featbus.images.as_batch` returned.
    read : callable, default=featbus.io.read_image
        Reads the path of an image.
    n_threads : int, default=1
        Number of files that are read at a time, a few ahead of what was asked for. 1 reads them
        only when they are asked for.

    Yields
    ------
    ndarray or MaskedArray
        Checked images, see `featbus.images.check_image`.
    """
    if n_threads == 1 or not any(map(is_path, batch)):
        yield from map(partial(_checked_image, read), range(len(batch)), batch)
        return
    executor = ThreadPoolExecutor(n_threads)
    coming = deque()
    try:
        for index, item in enumerate(batch):
            coming.append(executor.submit(_checked_image, read, index, item))
            if len(coming) > 2 * n_threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _checked_image(read, index, item):
    if not is_path(item):
        return check_image(item, f"image {index}")
    with _naming_image(index):
        return check_image(read(item), f"the file {str(item)!r}")


class ImageEstimator(TransformerMixin, BaseEstimator):
    """What all estimators of images share: tags, and the one hook that checks a batch."""

    # Part of the key that rows are stored under: goes up whenever the same image and parameters
    # give other numbers.
    _algorithm_version = 1

    def _check_batch(self, X, *, reset):
        """Check the container `X`; `reset` is True in `fit`."""
        return as_batch(X)

    def fit(self, X, y=None):
        """Check the batch; there is nothing to learn.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The estimator itself.
        """
        self._check_batch(X, reset=True)
        return self

    def _fingerprint_params(self):
        """Return what decides, beside the class, what becomes of an image."""
        return self.get_params(deep=False)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


class ImageTransformer(ImageEstimator):
    """Base of the steps from image to image.

    A subclass writes `_transform_image(image)`: a checked image in, an image out.
    """

    def __init_subclass__(cls, **kwargs):
        # Images have no columns: scikit-learn must not wrap them in a DataFrame.
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)

    def transform(self, X):
        """Transform each image.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray, MaskedArray or list of ndarray
            The results: one array ``(n, height, width[, channels])`` where all share shape and
            dtype, else a list.

        Raises
        ------
        ValueError
            If `X` is no batch of images, or an image is invalid; the message names the image.
        """
        results = []
        for index, image in enumerate(self._iter_images(self._check_batch(X, reset=False))):
            with _naming_image(index):
                results.append(self._transform_image(image))
        return stack_images(results)

    def _iter_images(self, batch):
        return iter_images(batch)

    def set_output(self, *, transform=None):
        """Do nothing: images have no columns.

        Parameters
        ----------
        transform : str or None, default=None
            Ignored; there so that `sklearn.pipeline.Pipeline.set_output` works.

        Returns
        -------
        self : object
            The estimator itself.
        """
        return self

    def get_feature_names_out(self, input_features=None):
        """Return the input names: an image stays an image.

        Parameters
        ----------
        input_features : array_like of str or None, default=None
            Names of the input.

        Returns
        -------
        ndarray of str
            `input_features`, or ``["image"]``.
        """
        names = ["image"] if input_features is None else input_features
        return np.asarray(names, dtype=object)


class Where(NamedTuple):
    """The pixels behind a feature.

    Attributes
    ----------
    rows : slice
        Rows of the image.
    columns : slice
        Columns of the image.
    what : str
        What the feature looks at there.
    """

    rows: slice
    columns: slice
    what: str


class FeatureExtractor(ImageEstimator):
    """Base of the steps from image to row of features.

    A subclass has a parameter `dtype`, writes `_extract(image)`, a checked image in and a 1-D array
    out, and `get_feature_names_out`. Where a stack of images is faster than one, it overrides
    `_iter_rows`.
    """

    def transform(self, X):
        """Compute the features of each image.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of shape (n_images, n_features)
            One row an image, of the dtype `dtype`.

        Raises
        ------
        ValueError
            If `X` is no batch of images, or an image is invalid; the message names the image.
        """
        batch = self._check_batch(X, reset=False)
        rows = None
        for index, row in enumerate(self._iter_rows(self._iter_images(batch))):
            if rows is None:
                rows = np.empty((len(batch), len(row)), dtype=self._checked_dtype())
            rows[index] = row
        return rows

    # `transform` of a batch in two parts, which `FeatureBus` calls in two threads.
    def _prepare(self, X):
        return X

    def _finish(self, prepared):
        return self.transform(prepared)

    def where(self, name, image_shape):
        """Tell which pixels are behind a column.

        Parameters
        ----------
        name : str
            The column's name, see `get_feature_names_out`.
        image_shape : tuple of int
            Height and width of the images that the extractor gets.

        Returns
        -------
        Where
            ``rows`` and ``columns``, slices of the image, and ``what`` is looked at there.

        Raises
        ------
        ValueError
            If there is no such column.
        """
        names = self.get_feature_names_out().tolist()
        if name not in names:
            near = get_close_matches(name, names, n=3)
            raise ValueError(
                f"There is no column {name!r}, expected one such as {near or names[:3]}."
            )
        top, left, bottom, right = self._boxes(image_shape)[names.index(name)].tolist()
        return Where(slice(top, bottom), slice(left, right), self._describe(name))

    def _boxes(self, image_shape):
        """Return top, left, bottom and right of the pixels behind each column."""
        return np.tile([0, 0, *image_shape[:2]], (len(self.get_feature_names_out()), 1))

    def _describe(self, name):
        """Return what the column of this name looks at within its box."""
        return name.partition("_")[2].replace("_", " ")

    def _iter_images(self, batch):
        return iter_images(batch)

    def _iter_rows(self, images):
        """Yield the row of each of the checked `images`."""
        for index, image in enumerate(images):
            with _naming_image(index):
                yield self._extract(image)

    def _checked_dtype(self):
        dtype = np.dtype(self.dtype)
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype is {self.dtype!r}, expected numpy.float32 or numpy.float64.")
        return dtype
