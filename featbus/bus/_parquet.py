"""Rows as a Parquet data set of many files; a run that is killed leaves whole ones alone."""

import json
import os
import warnings
from collections import Counter
from hashlib import blake2b
from numbers import Integral
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from featbus import __version__
from featbus.bus._fingerprint import digest_image, fingerprint, item_status
from featbus.bus._rows import Rows, named_error
from featbus.bus._store import is_alive, new_owner
from featbus.images import is_path
from featbus.io import ImageReadError

_IMAGE_COLUMNS = ["path", "digest", "error"]  # before those of the features
_METADATA = b"featbus"
_START_ANEW = "Name another directory, or delete this one to compute all of it again."


def _import_pyarrow():
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"to_parquet needs pyarrow ({error}). Install it: pip install 'featbus[parquet]'."
        ) from error
    return pyarrow


def _text(path):
    """Return a path as text; what is no Unicode in it becomes a backslash and a number."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _digest(item):
    """Return the digest of an image's content, or None if there is no such file."""
    try:
        return digest_image(item).hex()
    except ImageReadError:
        return None


def _identity(item):
    """Return what tells an item from others: its path, or the digest of an array."""
    return _text(item) if is_path(item) else _digest(item)


def _state(item):
    """Return what changes whenever the item's file is written, or None if there is none."""
    try:
        return item_status(item)
    except OSError:
        return None


def _stamp(items, states):
    """Digest identities and states: as long as they stay, so does the content of the images."""
    digest = blake2b(digest_size=16)
    for item, state in zip(items, states):
        digest.update(repr((_identity(item), state)).encode())
    return digest.hexdigest()


def _feature_names(transformer):
    """Return the names of the transformer's columns, or None if it has none."""
    try:
        names = transformer.get_feature_names_out().tolist()
    except AttributeError:
        return None
    for name, count in Counter([*_IMAGE_COLUMNS, *names]).items():
        if count > 1:
            raise ValueError(
                f"{count} columns would be called {name!r}, expected different names for the "
                f"features, and none of {_IMAGE_COLUMNS}. Name the steps of a FeatureUnion "
                "differently, and keep their names: verbose_feature_names_out=True."
            )
    return names


class _PartitionRows(Rows):
    """The rows of a partition, with the digests of their images.

    Parameters
    ----------
    batch : ndarray or list
        The partition's images.
    start : int
        Position of the first of them among all images.
    on_error : {"raise", "nan"}
        What an image without a row does.
    progress : tuple of tqdm and dict
        The bar, and the counts it shows, of all partitions.
    """

    def __init__(self, batch, start, on_error, progress):
        super().__init__(batch, on_error, verbose=False)
        self.start = start
        self._bar, self._counts = progress
        self._states = [_state(item) for item in batch]
        self.stamp = _stamp(batch, self._states)
        self.digests = [None] * len(batch)

    def put(self, index, row, *, cached=False):
        """Take in the row of an image, and digest the image, whose file was read just now."""
        item = self.batch[index]
        self.digests[index] = _digest(item)
        if _state(item) != self._states[index]:
            error = ImageReadError(f"{os.fspath(item)!r} was changed meanwhile. Run again.")
            return self.fail(index, error)
        try:
            super().put(index, row, cached=cached)
        except ValueError as error:
            raise named_error(error, self.start + index) from error

    def fail(self, index, error):
        """Take in the error of an image; raise it if errors are to be raised."""
        if self._on_error == "raise":
            raise named_error(error, self.start + index) from error
        super().fail(index, error)
        self.digests[index] = _digest(self.batch[index])

    def failures(self):
        """Return the failures, by their positions among all images."""
        failures = [self._failure(*error) for error in sorted(self._errors.items())]
        return [failure._replace(index=self.start + failure.index) for failure in failures]


class ParquetRun:
    """One run that writes the rows of a batch to a directory, as far as they are not there.

    Parameters
    ----------
    batch : ndarray or list
        All images.
    directory : str or os.PathLike
        Where the partitions are; made if need be.
    partition_size : int
        Images a partition.
    transformer : estimator
        The fitted transformer.

    Raises
    ------
    FingerprintError
        If nothing could tell whether the partitions of two runs come from one transformer.
    ImportError
        If there is no pyarrow.
    ValueError
        If `partition_size` is no positive integer, or two columns have one name.
    """

    def __init__(self, batch, directory, partition_size, transformer):
        if not isinstance(partition_size, Integral) or partition_size < 1:
            raise ValueError(f"partition_size is {partition_size!r}, expected a positive integer.")
        self._pyarrow = _import_pyarrow()
        self._batch = batch
        self._directory = Path(directory)
        self._size = int(partition_size)
        self._names = _feature_names(transformer)
        self._header = {
            "featbus": __version__,
            "transformer": " ".join(str(transformer).split()),
            "fingerprint": fingerprint(transformer).hex(),
            "partition_size": self._size,
        }
        self._schema = None  # that of the first partition found or made

    def execute(self, fill, on_error, verbose):
        """Write all partitions that are missing.

        Parameters
        ----------
        fill : callable
            Fills an instance of `Rows`.
        on_error : {"raise", "nan"}
            What an image without a row does.
        verbose : bool
            Whether to show a progress bar.

        Returns
        -------
        list of ImageFailure
            The images without a row in the partitions that were written.

        Raises
        ------
        ValueError
            If the directory holds something else, or, with ``on_error="raise"``, an image is
            invalid.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        starts = range(0, len(self._batch), self._size)
        missing = [start for start in starts if not self._is_whole(start)]
        self._check_nothing_else({self._path(start) for start in starts})
        failures = []
        with self._bar(missing, verbose) as bar:
            progress = bar, {"cached": 0, "failed": 0}
            for start in missing:
                rows = _PartitionRows(self._items(start), start, on_error, progress)
                fill(rows)
                self._write(self._path(start), self._table(rows))
                failures += rows.failures()
        if failures:
            warnings.warn(
                f"{len(failures)} of {len(self._batch)} images gave no row but NaN; `errors_` and "
                f"the column 'error' list them. The first: image {failures[0].index}: "
                f"{failures[0].message}",
                stacklevel=3,
            )
        return failures

    def _path(self, start):
        return self._directory / f"part-{start // self._size:06d}.parquet"

    def _items(self, start):
        return self._batch[start : start + self._size]

    def _bar(self, missing, verbose):
        n_images = len(self._batch)
        n_missing = sum(len(self._items(start)) for start in missing)
        return tqdm(
            total=n_images,
            initial=n_images - n_missing,
            desc="FeatureBus.to_parquet",
            unit="image",
            disable=not verbose,
        )

    def _remove_leftovers(self):
        """Remove what killed runs had begun to write, and leave alone what living ones write."""
        for path in self._directory.glob(".part-*"):
            _, _, owner = path.name.partition(".parquet.")
            if owner and not is_alive(owner.replace("+", ":")):
                path.unlink(missing_ok=True)

    def _is_whole(self, start):
        """Tell whether a partition is there and up to date; raise if it is of another data set."""
        path, items = self._path(start), self._items(start)
        if not path.exists():
            return False
        schema, header = self._read_header(path)
        self._check_header(path, header)
        stamp = _stamp(items, map(_state, items))
        if header["images"] != stamp and not self._is_up_to_date(path, items, start):
            return False
        self._schema = self._schema or schema
        return True

    def _read_header(self, path):
        try:
            schema = self._pyarrow.parquet.read_schema(path)
            return schema, json.loads(schema.metadata[_METADATA])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{str(path)!r} is damaged, or to_parquet did not write it ({error!r}). Name "
                "another directory, or delete the file to compute it again."
            ) from error

    def _check_header(self, path, header):
        size = header["partition_size"]
        if size != self._size:
            raise ValueError(
                f"{str(path)!r} was written with partition_size={size}, now it is {self._size}. "
                f"{_START_ANEW}"
            )
        if header["fingerprint"] != self._header["fingerprint"]:
            raise ValueError(
                f"{str(path)!r} was written by another transformer: {header['transformer']}, now "
                f"it is {self._header['transformer']}. Where these look alike, weights, learned "
                f"state or version differ. {_START_ANEW}"
            )

    def _is_up_to_date(self, path, items, start):
        """Compare a partition with the contents of its images; raise if it has other images."""
        lines = self._pyarrow.parquet.read_table(path, columns=["path", "digest"]).to_pylist()
        before = [line["digest"] if line["path"] is None else line["path"] for line in lines]
        now = [_identity(item) for item in items]
        # A list that has grown goes on where it ended: its last partition is written again.
        if before != now[: len(before)]:
            raise ValueError(self._other_images(path, before, now, start))
        digests = [line["digest"] for line in lines]
        return len(before) == len(now) and digests == [_digest(item) for item in items]

    def _other_images(self, path, before, now, start):
        now = [repr(name) for name in now] + ["missing"] * (len(before) - len(now))
        index = next(i for i, name in enumerate(before) if repr(name) != now[i])
        return (
            f"{str(path)!r} was written from other images: image {start + index} was "
            f"{before[index]!r}, now it is {now[index]}. {_START_ANEW}"
        )

    def _check_nothing_else(self, partitions):
        visible = {path for path in self._directory.iterdir() if path.name[0] not in "._"}
        if others := sorted(visible - partitions):
            raise ValueError(
                f"{str(others[0])!r} is no part of these {len(self._batch)} images, and would be "
                f"read as one. {_START_ANEW}"
            )

    def _table(self, rows):
        """Return a partition as a table: a line for each image."""
        array = self._nan_for(rows) if rows.array() is None else rows.array()
        errors = [None] * len(array)
        for failure in rows.failures():
            errors[failure.index - rows.start] = failure.message
        paths = [_text(item) if is_path(item) else None for item in rows.batch]
        pa = self._pyarrow
        columns = [pa.array(column, pa.string()) for column in (paths, rows.digests, errors)]
        columns += map(pa.array, np.ascontiguousarray(array.T))
        names = self._names or [f"feature{index}" for index in range(array.shape[1])]
        header = {**self._header, "features": names, "images": rows.stamp}
        metadata = {_METADATA: json.dumps(header)}
        table = pa.table(columns, [*_IMAGE_COLUMNS, *names], metadata=metadata)
        self._schema = self._schema or table.schema
        if not table.schema.equals(self._schema):
            raise ValueError(
                f"images {rows.start} to {rows.start + len(array) - 1} gave {array.shape[1]} "
                f"columns of {array.dtype}, expected those of the other partitions: "
                f"{len(self._schema) - len(_IMAGE_COLUMNS)} of {self._schema.types[-1]}. Bring the "
                "images to one size first: Resize."
            )
        return table

    def _nan_for(self, rows):
        """Return NaN for images none of which gave a row, in the shape of the other partitions."""
        if self._schema is None:
            index, _, message = rows.failures()[0]
            raise ValueError(
                f"No image of the first partition gave a row. image {index}: {message}"
            )
        shape = len(rows.batch), len(self._schema) - len(_IMAGE_COLUMNS)
        return np.full(shape, np.nan, self._schema.types[-1].to_pandas_dtype())

    def _write(self, path, table):
        """Write a partition under a hidden name, and give it its own once it is on the disk."""
        owner = new_owner().replace(":", "+")  # Windows' file names have no colon
        hidden = path.with_name(f".{path.name}.{owner}")
        try:
            with open(hidden, "wb") as file:
                # Numbers that hardly repeat are smaller than a dictionary of them.
                self._pyarrow.parquet.write_table(
                    table, file, compression="zstd", use_dictionary=False
                )
                file.flush()
                os.fsync(file.fileno())
            os.replace(hidden, path)
        finally:
            hidden.unlink(missing_ok=True)
