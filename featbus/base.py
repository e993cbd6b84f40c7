"""Base classes: `ImageTransformer` (image -> image) and `FeatureExtractor` (image -> row)."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from difflib import get_close_matches
from functools import lru_cache
from itertools import count
from typing import NamedTuple, Self

import joblib
import numpy as np
from numpy.typing import ArrayLike
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import InputTags
from threadpoolctl import ThreadpoolController

from featbus.images import ImageError, as_batch, is_path, map_at_index, stack_images
from featbus.io import read_image, read_item
from featbus.parameters import FLOAT_DTYPE, check_estimator_parameters
from featbus.typing import Images

__all__ = ["Column", "FeatureExtractor", "ImageTransformer", "Where"]


def thread_limit() -> int:
    """Return how many threads may be used at this moment.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Returns
    -------
    int
        The number of usable cores, or the smallest limit of a thread pool in this process: that of
        a worker of loky or Dask, ``threadpoolctl.threadpool_limits`` or ``OMP_NUM_THREADS``.
    """
    # A library that brings a pool of threads comes with a module.
    pools = _pools(len(sys.modules)).info()
    limits = [info["num_threads"] for info in pools if info["num_threads"]]
    return max(1, min([joblib.cpu_count(), *limits]))


@lru_cache(maxsize=1)
def _pools(n_modules):
    """Find the pools of threads in this process, which takes milliseconds."""
    return ThreadpoolController()


def iter_images(
    batch: np.ndarray | list,
    read: Callable = read_image,
    n_threads: int = 1,
    *,
    keep_responses: bool = True,
) -> Iterator[np.ndarray]:
    """Read and check the images of a batch, one at a time.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Parameters
    ----------
    batch : ndarray or list
        A batch as returned by `featbus.images.as_batch`.
    read : callable, default=featbus.io.read_image
        Reads the path of an image.
    n_threads : int, default=1
        Number of threads that read files, a few ahead. 1 disables read-ahead.
    keep_responses : bool, default=True
        Whether a `ResponseMap` is yielded as it is, instead of scaled to 0..1.

    Yields
    ------
    ndarray or MaskedArray
        Checked images, see `featbus.images.check_image`.
    """
    if all(isinstance(item, np.ndarray) for item in batch):
        n_threads = 1

    def read_one(index, item):
        return read_item(item, index, read, keep_responses=keep_responses)

    yield from map_ahead(read_one, batch, n_threads)


def map_ahead(function: Callable, items: Iterable, n_threads: int = 1) -> Iterator:
    """Yield the results of a function, in order, a few of them computed ahead.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Parameters
    ----------
    function : callable
        Gets the index of an item, and the item.
    items : iterable
        The items.
    n_threads : int, default=1
        Number of threads, which call a few ahead. 1 disables this.

    Yields
    ------
    object
        The result for each item.
    """
    if n_threads == 1:
        yield from map(function, count(), items)
        return
    executor = ThreadPoolExecutor(n_threads)
    coming = deque()
    try:
        for index, item in enumerate(items):
            coming.append(executor.submit(function, index, item))
            if len(coming) > 2 * n_threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def iter_ahead(iterator: Generator) -> Iterator:
    """Yield from a generator whose next item is computed in another thread meanwhile.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Parameters
    ----------
    iterator : generator
        Computes the items, none of which is None; closed at the end.

    Yields
    ------
    object
        Its items.
    """
    config = get_config()

    def advance():
        with config_context(**config):
            return next(iterator, None)

    with closing(iterator), ThreadPoolExecutor(max_workers=1) as executor:
        coming = executor.submit(advance)
        while (item := coming.result()) is not None:
            coming = executor.submit(advance)
            yield item


@contextmanager
def naming_paths(batch):
    """Add the path to the error of an image that came from a file.

    Parameters
    ----------
    batch : ndarray or list
        The images that errors count from 0.
    """
    try:
        yield
    except ImageError as error:
        if error.path is not None or error.index is None or not is_path(batch[error.index]):
            raise
        raise error.at(error.index, batch[error.index]) from error


class Documented:
    """Link of the "?" in the HTML representation to the class's page in the documentation.

    The template is empty, so there is no "?", until the documentation is published.
    """

    _doc_link_module = "featbus"
    _doc_link_template = ""


class ImageEstimator(Documented, TransformerMixin, BaseEstimator):
    """Base of all estimators of images: tags, and the checks of parameters and batches.

    Read more in the :ref:`User Guide <adding_a_feature>`.
    """

    # Part of the key that rows are stored under: goes up whenever the same image and parameters
    # give other numbers.
    _algorithm_version = 1

    # The name of the parameter that holds the wrapped estimator, for wrappers such as `FeatureBus`.
    _wraps = None

    # Whether `fit` learns from the data: the tag `requires_fit`.
    _requires_fit = False

    # Whether a `ResponseMap` is used as it is, instead of scaled to 0..1.
    _takes_responses = False

    # Files read at a time; a network would wait for a single thread.
    _n_readers = staticmethod(lambda: 1)

    _parameter_constraints = {}

    def _check_parameters(self):
        """Check all parameters; `fit` and `transform` call this before any image is read."""
        check_estimator_parameters(self)

    def _check_batch(self, X, *, reset):
        """Check the container `X`; `reset` is True in `fit`."""
        return as_batch(X)

    def _read(self, path):
        """Read the file of an image."""
        return read_image(path)

    def _iter_images(self, batch):
        keep = self._takes_responses
        return iter_images(batch, self._read, self._n_readers(), keep_responses=keep)

    def fit(self, X: Images, y: ArrayLike | None = None) -> Self:
        """Check the parameters and the batch; nothing is learned, and no image is read.

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
        self._check_parameters()
        self._check_batch(X, reset=True)
        return self

    def _fingerprint_params(self):
        """Return the parameters that are part of the key of stored rows."""
        return self.get_params(deep=False)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = self._requires_fit
        tags.input_tags = InputTags(two_d_array=False, three_d_array=True, string=True)
        tags.transformer_tags.preserves_dtype = []
        return tags


class ImageTransformer(ImageEstimator):
    """Base of the steps from image to image.

    A subclass writes `_transform_image(image)`: a checked image in, an image out. A step that runs
    on several images at a time, such as a network, overrides `_transform_images` instead. A step
    that moves pixels also overrides `map_boxes`.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    See Also
    --------
    featbus.base.FeatureExtractor : Base of the steps from image to row.
    featbus.ImageFunction : Make a step of a function.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.base import ImageTransformer
    >>> class Flip(ImageTransformer):
    ...     def _transform_image(self, image):
    ...         return image[:, ::-1]
    >>> Flip().fit_transform(np.array([[[1, 2, 3]]], dtype=np.uint8))
    array([[[3, 2, 1]]], dtype=uint8)
    """

    def __init_subclass__(cls, **kwargs):
        # Images have no columns: scikit-learn must not wrap them in a DataFrame.
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)

    def transform(self, X: Images) -> np.ndarray | list[np.ndarray]:
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
        ImageError
            If an image is invalid; the message names the image.
        ValueError
            If `X` is not a batch of images, or a parameter is invalid.
        """
        return self._map_batch(self._transform_images, X)

    def _map_batch(self, function, X):
        """Apply a function of an iterator of checked images to a batch."""
        self._check_parameters()
        batch = self._check_batch(X, reset=False)
        with naming_paths(batch):
            return stack_images(list(function(self._iter_images(batch))))

    def _transform_images(self, images):
        """Yield the result of each of the checked `images`, in order."""
        return map_at_index(self._transform_image, images)

    def map_boxes(self, boxes: ArrayLike, image: np.ndarray) -> np.ndarray:
        """Map boxes of the output back to the input.

        Parameters
        ----------
        boxes : array_like of shape (n_boxes, 4)
            Top, left, bottom and right of boxes in an output image, in pixels.
        image : ndarray
            The input image: where a step moves pixels to can depend on all of it.

        Returns
        -------
        ndarray of float of shape (n_boxes, 4)
            The same boxes in the input image: `boxes` itself if the step moves no pixels.
        """
        return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)

    def set_output(self, *, transform: str | None = None) -> Self:
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

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
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


class Column(NamedTuple):
    """A column of features: its name, and what it describes.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    See Also
    --------
    featbus.base.FeatureExtractor : Base of the steps from image to row.

    Examples
    --------
    >>> from featbus.base import Column
    >>> Column("brightest", "largest pixel").name
    'brightest'
    """

    name: str
    what: str


class Where(NamedTuple):
    """The pixels behind a feature.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Attributes
    ----------
    rows : slice
        Rows of the image.
    columns : slice
        Columns of the image.
    what : str
        What the feature describes there.

    See Also
    --------
    featbus.LBP.where : One of the methods that return it.
    featbus.plot_importance : Draw the weights of columns on an image.

    Examples
    --------
    >>> from featbus import LBP
    >>> where = LBP(cells=2).where("lbp_p8_r1_c00_01_u00", (32, 32))
    >>> where.rows, where.columns
    (slice(0, 17, None), slice(15, 32, None))
    """

    rows: slice
    columns: slice
    what: str


class FeatureExtractor(ImageEstimator):
    """Base of the steps from image to row of features.

    A subclass has a parameter `dtype`, writes `_extract(image)`, a checked image in and a 1-D array
    out, and `_columns()`, the name and meaning of each number. Where several images at a time are
    faster than one, it overrides `_iter_rows`, and `_prepare` to preprocess each image.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    See Also
    --------
    featbus.base.ImageTransformer : Base of the steps from image to image.
    featbus.base.Column : What `_columns` returns.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.base import Column, FeatureExtractor
    >>> class Brightest(FeatureExtractor):
    ...     def __init__(self, *, dtype=np.float32):
    ...         self.dtype = dtype
    ...
    ...     def _extract(self, image):
    ...         return np.array([image.max()])
    ...
    ...     def _columns(self):
    ...         yield Column("brightest", "largest pixel")
    >>> Brightest().fit_transform(np.array([[[1, 2, 3]]], dtype=np.uint8))
    array([[3.]], dtype=float32)
    """

    _parameter_constraints = {"dtype": [FLOAT_DTYPE]}

    def transform(self, X: Images) -> np.ndarray:
        """Compute the features of each image.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of shape (n_images, n_features)
            One row per image, of the dtype `dtype`.

        Raises
        ------
        ImageError
            If an image is invalid; the message names the image.
        ValueError
            If `X` is not a batch of images, or a parameter is invalid.
        """
        self._check_parameters()
        batch = self._check_batch(X, reset=False)
        with naming_paths(batch):
            return self._stack_rows(self._iter_prepared(batch), len(batch))

    def _iter_prepared(self, batch):
        """Read, check and prepare images; `FeatureBus` does this in a thread of its own."""
        return map_at_index(self._prepare, self._iter_images(batch))

    def _stack_rows(self, prepared, n_images):
        """Return the rows of the prepared images as one array."""
        rows = None
        for index, row in enumerate(self._iter_rows(prepared)):
            if rows is None:
                rows = np.empty((n_images, len(row)), dtype=self.dtype)
            if np.shape(row) != rows.shape[1:]:  # NumPy would repeat a single number
                reason = f"found {np.size(row)} features, expected {rows.shape[1]} as in image 0."
                raise ImageError(reason, index=index)
            rows[index] = row
        return rows

    def _prepare(self, image):
        """Preprocess a checked image for `_iter_rows`."""
        return image

    def _iter_rows(self, prepared):
        """Yield the row of each of the prepared images, in order."""
        return map_at_index(self._extract, prepared)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Return the columns' names.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            One name per column; the notes of the class say how they are made.
        """
        self._check_parameters()
        return np.array([column.name for column in self._columns()], dtype=object)

    def where(self, name: str, image_shape: tuple[int, ...]) -> Where:
        """Return the pixels that can change a column.

        For a network, the part of the feature map that the column describes; its receptive field is
        larger.

        Parameters
        ----------
        name : str
            The column's name, see `get_feature_names_out`.
        image_shape : tuple of int
            Height and width of the images that the extractor gets.

        Returns
        -------
        Where
            ``rows`` and ``columns``, slices of the image, and ``what`` the column describes there.

        Raises
        ------
        ValueError
            If there is no such column.
        """
        self._check_parameters()
        if np.ndim(image_shape) != 1 or len(image_shape) < 2:
            raise ValueError(f"image_shape is {image_shape!r}, expected height and width.")
        columns = list(self._columns())
        names = [column.name for column in columns]
        if name not in names:
            near = get_close_matches(name, names, n=3)
            raise ValueError(f"Found no column {name!r}, expected one such as {near or names[:3]}.")
        index = names.index(name)
        top, left, bottom, right = self._reached_boxes(image_shape)[index].tolist()
        return Where(slice(top, bottom), slice(left, right), columns[index].what)

    def _boxes(self, image_shape):
        """Return top, left, bottom and right of the pixels that each column describes."""
        return np.tile([0, 0, *image_shape[:2]], (len(list(self._columns())), 1))

    def _reached_boxes(self, image_shape):
        """Return the boxes of all pixels that can change each column, such as neighbors."""
        return self._boxes(image_shape)
