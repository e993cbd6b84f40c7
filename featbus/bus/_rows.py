"""Where the rows of a batch, and its errors, are collected."""

import threading

import numpy as np
from tqdm.auto import tqdm

from featbus.images import ImageError, is_path


class Progress(tqdm):
    """A progress bar that also counts rows from the store and images without a row.

    Parameters
    ----------
    **options : dict
        Those of tqdm.
    """

    def __init__(self, **options):
        super().__init__(unit="image", **options)
        self._counts = {"cached": 0, "failed": 0}

    def advance(self, kind=None):
        """Advance by one image.

        Parameters
        ----------
        kind : {"cached", "failed"} or None, default=None
            What to count it as.
        """
        if self.disable:  # tqdm would format the text even so
            return
        if kind is not None:
            self._counts[kind] += 1
            self.set_postfix(self._counts, refresh=False)
        self.update()


class Rows:
    """The rows of images, and the errors of those without one, filled in from several threads.

    Parameters
    ----------
    batch : ndarray or list
        The images.
    on_error : {"raise", "nan"}
        Whether an image without a row raises an error or gets a row of NaN.
    progress : Progress
        Advanced with each image.
    start : int, default=0
        Position of the first image in the batch that the caller passed, for errors.
    """

    def __init__(self, batch, on_error, progress, start=0):
        self.batch = batch
        self._on_error = on_error
        self._progress = progress
        self._start = start
        self._array = None
        self._errors = {}
        self._lock = threading.Lock()

    def items(self, indices):
        """Return some images.

        Parameters
        ----------
        indices : list of int
            Their positions in `batch`.

        Returns
        -------
        ndarray or list
            Of the type of `batch`.
        """
        if isinstance(self.batch, np.ndarray):
            return self.batch[indices]
        return [self.batch[index] for index in indices]

    def put(self, index, row, *, cached=False):
        """Add the row of an image.

        Parameters
        ----------
        index : int
            The image's position in `batch`.
        row : ndarray of shape (n_features,)
            The row.
        cached : bool, default=False
            Whether it was not computed for this image.

        Raises
        ------
        ImageError
            If the row is not as long as those before it.
        """
        with self._lock:
            self._place(index, row)
            self._progress.advance("cached" if cached else None)

    def _place(self, index, row):
        if self._array is None:
            self._array = self._empty_for(row)
        n_features = self._array.shape[1]
        if len(row) != n_features:
            error = ImageError(
                f"found {len(row)} features, expected {n_features} as in the images before. "
                "Bring the images to one size first: Resize."
            )
            raise self._located(error, index)
        dtype = np.result_type(self._array, row)
        if dtype != self._array.dtype:  # such as float64 after float32, which some steps return
            self._array = self._array.astype(dtype)
        self._array[index] = row

    def _empty_for(self, row):
        dtype = row.dtype
        if self._on_error == "nan" and dtype.kind != "f":
            dtype = np.result_type(dtype, np.float64)  # integers have no NaN
        # Not filled: that would take longer than computing some features.
        return np.empty((len(self.batch), len(row)), dtype)

    def _located(self, error, index):
        """Return an error with the position and path of an image, and without its traceback."""
        item = self.batch[index]
        return error.at(self._start + index, item if is_path(item) else None)

    def fail(self, index, error):
        """Add the error of an image; raise it with ``on_error="raise"``.

        Parameters
        ----------
        index : int
            The image's position in `batch`.
        error : ImageError
            Why it has no row.
        """
        located = self._located(error, index)
        if self._on_error == "raise":
            raise located from error
        with self._lock:
            self._errors[index] = located
            self._progress.advance("failed")

    def copy(self, index, source):
        """Copy the row or the error of another image with the same content.

        Parameters
        ----------
        index, source : int
            Positions of the two images in `batch`.
        """
        if source in self._errors:
            self.fail(index, self._errors[source])
        else:
            self.put(index, self._array[source], cached=True)

    def errors(self):
        """Return the errors.

        Returns
        -------
        list of ImageError
            In the order of the images.
        """
        return [error for _, error in sorted(self._errors.items())]

    def array(self):
        """Return the rows.

        Returns
        -------
        ndarray of shape (n_images, n_features), or None
            NaN where an image has no row; None if no image has one.
        """
        if self._array is not None and self._errors:
            self._array[list(self._errors)] = np.nan
        return self._array
