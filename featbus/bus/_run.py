"""One run of the bus: look up rows, compute the missing ones, collect them all."""

import functools
import hashlib
import itertools
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple

import cv2
import joblib
import numpy as np
from sklearn import config_context, get_config
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from tqdm.auto import tqdm

from featbus.base import FeatureExtractor, ImageTransformer, iter_images, thread_limit
from featbus.bus._fingerprint import fingerprint
from featbus.bus._store import FeatureStore, chunked, new_owner
from featbus.bus._walk import DIGEST_SIZE, FingerprintError, update_with_file
from featbus.bus._workers import is_dask_task, iter_on_dask, iter_on_joblib
from featbus.images import ImageError, is_path, update_digest
from featbus.io import ImageReadError
from featbus.io._readers import DICOM_SUFFIXES
from featbus.parameters import InvalidParameterError
from featbus.steps import is_resampler, reads_plainly, steps_of

_TICK = 3_000_000_000  # nanoseconds; the coarsest clock of a file system, FAT's, ticks every 2 s
_RENEWAL = 5.0  # seconds between renewals of claims, which live for 20
_POLL = 0.05  # seconds between look-ups of rows that another process computes
_LOOKUP = 256  # images digested and looked up at a time
_CHECKED = set()  # fingerprints that this worker has found to be the same as in the main process


def digest_image(item):
    """Digest the content of an image.

    Parameters
    ----------
    item : ndarray, MaskedArray or path
        One item of a batch, see :ref:`images`. Of a file, only its bytes are used, neither its name
        nor its time stamp; except that a DICOM file without a preamble is recognized by the end of
        its name, which counts for files without one.

    Returns
    -------
    bytes of length 16
        BLAKE2b digest.

    Raises
    ------
    ImageError
        If the file cannot be read (an `ImageReadError`), or an array does not contain numbers.
    """
    return _digest_with_status(item)[0]


def _digest_with_status(item):
    """Return the digest of an image, and its file's status at that time."""
    status = _file_status(item)
    if status is not None:
        return _digest_file(os.fspath(item), status), status
    image = np.asanyarray(item)
    if image.dtype.kind not in "biufc":  # the bytes of an array of objects are addresses
        raise ImageError(f"found dtype {image.dtype}, expected numbers. Convert it: astype.")
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    update_digest(digest, image)
    return digest.digest(), None


@contextmanager
def _naming_file(path):
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageReadError(
            f"the file cannot be read ({reason}). Check the path and the permissions.", path=path
        ) from error


def _file_status(item):
    """Return numbers that change whenever a file is written, even if its time stamp is set back.

    These are inode, size, and times of the last change of content and of inode in nanoseconds; None
    for an array.
    """
    if not is_path(item):
        return None
    with _naming_file(item):
        status = os.stat(item)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest_file(path, status):
    """Return the digest of a file's bytes; they are read again only if the file was written."""
    # Two changes within one tick of the file system's clock look like one, and on Windows the last
    # number is the time of creation: in both cases the bytes have to be read.
    settled = time.time_ns() - max(status[2:]) > _TICK
    digest = _digest_bytes if os.name == "posix" and settled else _digest_bytes.__wrapped__
    return digest(path, status)


@functools.lru_cache(maxsize=1 << 16)
def _digest_bytes(path, status):
    digest = hashlib.blake2b(b"file", digest_size=DIGEST_SIZE)
    with _naming_file(path):
        update_with_file(digest, path)
        if is_dicom_by_name(path):
            digest.update(b"DICOM by its name")
    return digest.digest()


def is_dicom_by_name(path):
    """Tell whether it may be for its name that a file is read as DICOM."""
    if not os.fsdecode(path).lower().endswith(DICOM_SUFFIXES):
        return False
    with open(path, "rb") as file:
        return file.read(132)[128:] != b"DICM"


@contextmanager
def as_image_errors():
    """Turn a `ValueError` or `cv2.error` that a foreign step raises into an `ImageError`.

    Errors that are not about an image, such as a wrong parameter, pass unchanged.
    """
    try:
        yield
    except (ImageError, InvalidParameterError, NotFittedError):
        raise
    except (ValueError, cv2.error) as error:
        raise ImageError(str(error).strip()) from error


def copied(items):
    """Copy the images of a batch: a function may change them in place.

    Parameters
    ----------
    items : ndarray or list
        Images.

    Returns
    -------
    ndarray or list
        Copies of arrays, and the same paths.
    """
    if isinstance(items, np.ndarray):
        return items.copy("K")
    return [item.copy("K") if isinstance(item, np.ndarray) else item for item in items]


def _chain(transformer):
    """Return the steps that images pass through, one after another."""
    if not isinstance(transformer, (Pipeline, FrozenEstimator)):
        return [transformer]
    steps = [step for _, step in steps_of(transformer) if not is_resampler(step)]
    return [part for step in steps for part in _chain(step)]


@as_image_errors()
def _prepare(transformer, items, n_threads=1):
    """Read images and run all steps but the last; return the last step and its input."""
    items = copied(items)
    if reads_plainly(transformer) and any(map(is_path, items)):
        # Once for all steps of a FeatureUnion.
        items = list(iter_images(items, n_threads=n_threads))
    *before, last = _chain(transformer) or [transformer]
    for step in before:
        items = step.transform(items)
    if _runs_in_two_parts(last):
        items = list(last._iter_prepared(last._check_batch(items, reset=False)))
    return last, items


@as_image_errors()
def _finish(last, prepared):
    """Run the last step; return the rows."""
    if _runs_in_two_parts(last):
        return list(last._stack_rows(prepared, len(prepared)))
    if isinstance(last, ImageTransformer):
        raise InvalidParameterError(
            f"transformer ends with {last!r}, which makes images, expected rows of features. Put "
            "an extractor after it; the regions of a segmenter are what `predict` returns."
        )
    rows = list(np.asarray(last.transform(prepared)))
    if len(rows) != len(prepared):
        raise InvalidParameterError(
            f"transformer is {last!r}, which made {len(rows)} rows of {len(prepared)} images, "
            "expected one row per image."
        )
    return rows


def _runs_in_two_parts(last):
    return getattr(type(last), "transform", None) is FeatureExtractor.transform


def _try_to_prepare(transformer, items, n_threads=1):
    """Return the result of `_prepare`, or None if an image fails."""
    try:
        return _prepare(transformer, items, n_threads)
    except ImageError:
        return None


def _results(transformer, items, prepared):
    """Finish a prepared batch; if an image fails, compute its images one by one."""
    if prepared is not None:
        with suppress(ImageError):
            return _finish(*prepared)
    results = []
    for index in range(len(items)):
        try:
            results += _finish(*_prepare(transformer, items[index : index + 1]))
        except ImageError as error:
            results.append(error.at(error.index))  # without the traceback, which holds frames
    return results


class _Task:
    """The work on a batch, for any thread, process or machine.

    Parameters
    ----------
    transformer : estimator
        From images to rows.
    key : bytes or None
        The transformer's fingerprint, if its rows are stored under that.
    """

    def __init__(self, transformer, key):
        self._transformer = transformer
        self._key = key
        self._home = _process()
        self._config = get_config()  # of scikit-learn: other threads have their own

    def __call__(self, items):
        """Return the row of each image of a batch, or the error that it raised."""
        with config_context(**self._config):
            if self._key is not None and _process() != self._home:
                _check_same_code(self._transformer, self._key)
            return _results(self._transformer, items, _try_to_prepare(self._transformer, items))


def _process():
    return socket.gethostname(), os.getpid()


def _check_same_code(transformer, key):
    """Raise if a transformer is another one in this process than in the one that stores its rows.

    Its functions are sent by name: a worker imports their file, whatever has been changed since.
    """
    if key in _CHECKED:
        return
    if fingerprint(transformer) != key:
        raise FingerprintError(
            f"{type(transformer).__name__} is another one in this worker than in the process that "
            "stores its rows: code, variables of modules or of the environment, files or "
            "installed packages differ. Change them in files, not at run time, and start new "
            "workers; or use threads."
        )
    _CHECKED.add(key)


def _iter_ahead(iterator):
    """Yield from an iterator whose next item is computed in a thread meanwhile."""
    config = get_config()

    def advance():
        with config_context(**config):
            return next(iterator, None)

    with closing(iterator), ThreadPoolExecutor(max_workers=1) as executor:
        coming = executor.submit(advance)
        while (item := coming.result()) is not None:
            coming = executor.submit(advance)
            yield item


def _iter_overlapped(transformer, batches):
    """Compute batches in order, while the next is prepared and the previous one is consumed."""
    first, n_threads = next(batches, None), thread_limit()
    if first is None:  # all rows were in the store: do not start threads
        return
    prepared = (
        (tag, items, _try_to_prepare(transformer, items, n_threads))
        for tag, items in itertools.chain([first], batches)
    )
    # Each is closed here: left to the garbage collector, it would join its thread at any moment.
    with closing(_iter_ahead(prepared)) as ahead:
        computed = ((tag, _results(transformer, *rest)) for tag, *rest in ahead)
        with closing(_iter_ahead(computed)) as results:
            yield from results


def iter_results(transformer, batches, n_jobs=None, key=None):
    """Compute batches of images.

    Parameters
    ----------
    transformer : estimator
        From image to row.
    batches : iterable of (object, list)
        A tag of any kind and the images of each batch; consumed only as needed, possibly in another
        thread. An error it raises is raised here, after the results of the batches before it.
    n_jobs : int or None, default=None
        Number of joblib's workers. None: those of the active `joblib.parallel_config`, else one,
        while other threads read ahead; 1: one, without other threads.
    key : bytes or None, default=None
        The transformer's fingerprint, which is checked in other processes.

    Yields
    ------
    (object, list of ndarray or ImageError)
        For each batch, in order: its tag, and the row or the error of each image.
    """
    errors = []

    def until_error():
        # An error in joblib's thread that consumes batches would leave the caller waiting forever.
        try:
            yield from batches
        except Exception as error:
            errors.append(error)

    with closing(_iter_computed(transformer, until_error(), n_jobs, key)) as results:
        yield from results
    if errors:
        raise errors[0]


def _iter_computed(transformer, batches, n_jobs, key):
    """Return an iterator that computes batches on the active backend."""
    compute = _Task(transformer, key)
    backend, _ = joblib.parallel.get_active_backend()
    client = getattr(backend, "client", None)  # Dask's
    n_workers = joblib.effective_n_jobs(n_jobs)  # Dask waits here for its first worker
    if client is not None and not is_dask_task():
        return iter_on_dask(client, compute, batches)
    if client is None and n_workers > 1:
        return iter_on_joblib(compute, batches, n_jobs)
    if n_jobs is None:
        return _iter_overlapped(transformer, batches)
    return ((tag, compute(items)) for tag, items in batches)


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


def fill(rows, transformer, *, memory, batch_size, n_jobs, key=None):
    """Fill in all rows; look them up first if there is a store.

    Parameters
    ----------
    rows : Rows
        Empty.
    transformer : estimator
        The fitted transformer.
    memory : str, os.PathLike, FeatureStore or None
        The store.
    batch_size : int
        Number of images computed at a time.
    n_jobs : int or None
        Number of joblib's workers.
    key : bytes or None, default=None
        The transformer's fingerprint, if the caller stores rows under it, too.
    """
    if memory is not None:
        store = memory if isinstance(memory, FeatureStore) else FeatureStore(memory)
        run = _StoredRun(rows, transformer, store, key or fingerprint(transformer))
        store.open()
        try:
            return run.execute(batch_size, n_jobs)
        finally:
            if store is not memory:
                store.close()
    starts = range(0, len(rows.batch), batch_size)
    batches = ((start, rows.batch[start : start + batch_size]) for start in starts)
    for start, results in iter_results(transformer, batches, n_jobs, key):
        for index, result in enumerate(results, start):
            take = rows.fail if isinstance(result, ImageError) else rows.put
            take(index, result)


class _Claims:
    """Claims on the rows that a run computes, renewed until it ends."""

    def __init__(self, store, key):
        self._store = store
        self._key = key
        self._owner = new_owner()
        self._ended = threading.Event()
        self._renewal = None

    def __enter__(self):
        return self

    def claim(self, digests):
        """Return those of the images that nobody else computes, see `FeatureStore.claim`."""
        if self._renewal is None:
            renewal = threading.Thread(target=self._renew, daemon=True)
            renewal.start()
            self._renewal = renewal
        return self._store.claim(self._key, digests, self._owner)

    def drop(self, digests):
        """Give up claims on images that have no row to store: other runs wait for them."""
        if digests:
            self._store.release(self._owner, digests)

    def _renew(self):
        while not self._ended.wait(_RENEWAL):
            self._store.renew(self._owner)

    def __exit__(self, *error):
        self._ended.set()
        if self._renewal is not None:
            self._renewal.join()
            self._store.release(self._owner)


class _Wanted(NamedTuple):
    """An image without a row: its position, digest (None if unreadable), and file status then."""

    index: int
    digest: bytes | None
    status: tuple | None


class _StoredRun:
    """One run whose rows are stored."""

    def __init__(self, rows, transformer, store, key):
        self._rows = rows
        self._transformer = transformer
        self._store = store
        self._key = key
        self._description = " ".join(str(transformer).split())
        self._first = {}  # digest of each missing image -> the first position that has it
        self._copies = []  # (image, first position with the same content)
        self._changed = set()  # positions of files that were written since they were digested

    def execute(self, batch_size, n_jobs):
        """Fill in all rows."""
        missing = self._missing()
        with _Claims(self._store, self._key) as claims:
            while missing is not None:
                waiting = []
                batches = self._claimed(missing, batch_size, claims, waiting)
                for group, results in iter_results(self._transformer, batches, n_jobs, self._key):
                    self._take(group, results, claims)
                missing = self._left(waiting)
        for wanted, source in self._copies:
            self._rows.copy(wanted.index, source)

    def _left(self, waiting):
        """Return the images to look up again, or None: others compute them, or their copy."""
        left = [wanted for wanted, source in self._copies if source in self._changed]
        self._copies = [copy for copy in self._copies if copy[1] not in self._changed]
        if waiting:
            time.sleep(_POLL)
        return self._not_stored(waiting + left) if waiting + left else None

    def _missing(self):
        """Yield the images without a row, one for each content."""
        images = map(self._wanted, range(len(self._rows.batch)))
        for wanted in self._not_stored(images):
            first = self._first.setdefault(wanted.digest or wanted.index, wanted.index)
            if first == wanted.index:
                yield wanted
            else:
                self._copies.append((wanted, first))

    def _wanted(self, index):
        try:
            return _Wanted(index, *_digest_with_status(self._rows.batch[index]))
        except ValueError:  # no file, or no image: the transformer will say so
            return _Wanted(index, None, None)

    def _not_stored(self, images):
        """Yield the images that are not in the store; add the rows of the others."""
        for chunk in chunked(images, _LOOKUP):
            digests = {wanted.digest for wanted in chunk if wanted.digest}
            found = self._store.read(self._key, list(digests))
            for wanted in chunk:
                if wanted.digest in found:
                    self._rows.put(wanted.index, found[wanted.digest], cached=True)
                else:
                    yield wanted

    def _claimed(self, missing, batch_size, claims, waiting):
        """Yield batches of images to compute; append those that others compute to `waiting`."""
        for chunk in chunked(missing, batch_size):
            digests = [wanted.digest for wanted in chunk if wanted.digest]
            free = {None, *claims.claim(digests)}
            waiting += [wanted for wanted in chunk if wanted.digest not in free]
            if group := [wanted for wanted in chunk if wanted.digest in free]:
                yield group, self._rows.items([wanted.index for wanted in group])

    def _take(self, group, results, claims):
        """Add the results of a batch, and store its rows."""
        self._changed |= {wanted.index for wanted in group if not self._is_unchanged(wanted)}
        kept = {}
        for wanted, result in zip(group, results):
            if not isinstance(result, ImageError):
                self._rows.put(wanted.index, result)
                if wanted.index not in self._changed:
                    kept[wanted.digest] = result
        if kept:
            self._store.write(self._key, self._description, list(kept), list(kept.values()))
        claims.drop({wanted.digest for wanted in group} - kept.keys() - {None})
        for wanted, result in zip(group, results):
            if isinstance(result, ImageError):
                self._rows.fail(wanted.index, result)

    def _is_unchanged(self, wanted):
        """Tell whether a file has not been written since it was digested."""
        with suppress(ImageReadError):
            status = _file_status(self._rows.batch[wanted.index])
            return wanted.digest is not None and wanted.status == status
        return False
