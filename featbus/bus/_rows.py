"""The rows of one `transform` as they come in, with its progress bar and its failures."""

import os
import re
import threading
import warnings
from collections import namedtuple

import numpy as np
from tqdm.auto import tqdm

from featbus.images import is_path
from featbus.io import ImageReadError

ImageFailure = namedtuple("ImageFailure", ["index", "path", "message"])
ImageFailure.__doc__ = "An image that gave no row: its position, its path or None, and the reason."


# "image 3: is small" or "image 3 is small", counted within some part of the batch, or "is small".
_POSITION = re.compile(r"(?:image \d+(:?) )?(.*)", flags=re.DOTALL)


def _parts(error):
    """Return what stands between an image's position and the message, and the message."""
    colon, message = _POSITION.match(str(error)).groups()
    return ":" if colon is None else colon, message


def named_error(error, index):
    """Return an error of one image with its position in the whole batch in front of its message."""
    colon, text = _parts(error)
    message = f"image {index}{colon} {text}"
    return ImageReadError(message) if isinstance(error, ImageReadError) else ValueError(message)


class Rows:
    """The rows of a batch of images, filled in from several threads.

    Parameters
    ----------
    batch : ndarray or list
        The images.
    on_error : {"raise", "nan"}
        What an image without a row does.
    verbose : bool
        Whether to show a progress bar.
    """

    def __init__(self, batch, on_error, verbose):
        self.batch = batch
        self._on_error = on_error
        self._array = None
        self._errors = {}
        self._counts = {"cached": 0, "failed": 0}
        self._lock = threading.Lock()
        self._bar = tqdm(total=len(batch), desc="FeatureBus", unit="image", disable=not verbose)

    def put(self, index, row, *, cached=False):
        """Take in the row of an image."""
        with self._lock:
            if self._array is None:
                self._array = self._empty(row)
            if len(row) != self._array.shape[1]:
                raise ValueError(
                    f"image {index}: found {len(row)} features, expected {self._array.shape[1]} as "
                    "in the images before. Bring the images to one size first: Resize."
                )
            self._array[index] = row
            self._advance("cached" if cached else None)

    def _empty(self, row):
        dtype = row.dtype
        if self._on_error == "nan" and dtype.kind != "f":
            dtype = np.result_type(dtype, np.float64)  # which has a NaN
        # Not filled: that would take the system longer than some features take to compute.
        return np.empty((len(self.batch), len(row)), dtype)

    def fail(self, index, error):
        """Take in the error of an image; raise it if errors are to be raised."""
        if self._on_error == "raise":
            raise named_error(error, index) from error
        with self._lock:
            self._errors[index] = error
            self._advance("failed")

    def copy(self, index, source):
        """Give an image what another image of the same content got."""
        if source in self._errors:
            self.fail(index, self._errors[source])
        else:
            self.put(index, self._array[source], cached=True)

    def _advance(self, kind):
        if self._bar.disable:  # even so, tqdm would put the text together
            return
        if kind is not None:
            self._counts[kind] += 1
            self._bar.set_postfix(self._counts, refresh=False)
        self._bar.update()

    def close(self):
        """Close the progress bar."""
        self._bar.close()

    def result(self):
        """Return the rows and the failures; warn once of failures, raise if there is no row."""
        if self._array is None:
            index, error = min(self._errors.items())
            raise ValueError(f"No image gave a row. {named_error(error, index)}") from error
        failures = [self._failure(*item) for item in sorted(self._errors.items())]
        if failures:
            first = failures[0].index
            warnings.warn(
                f"{len(failures)} of {len(self.batch)} images gave no row but NaN; `errors_` lists "
                f"them. The first: {named_error(self._errors[first], first)}",
                stacklevel=3,
            )
        return self.array(), failures

    def array(self):
        """Return the rows, of NaN where an image gave none, or None if no image gave one."""
        if self._array is not None and self._errors:
            self._array[list(self._errors)] = np.nan
        return self._array

    def _failure(self, index, error):
        item = self.batch[index]
        return ImageFailure(index, os.fspath(item) if is_path(item) else None, _parts(error)[1])
