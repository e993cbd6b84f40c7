"""Rows as a directory of Parquet files, each of which appears whole or not at all."""

import json
import time
from collections import Counter
from contextlib import suppress
from hashlib import blake2b
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from featbus import __version__
from featbus.bus._fingerprint import digest_image
from featbus.files import as_unicode, written_whole
from featbus.images import ImageError, is_path
from featbus.io import ImageReadError

_IMAGE_COLUMNS = ["path", "digest", "error"]  # before those of the features
_METADATA = b"featbus"
_START_ANEW = "Name another directory, or delete this one to compute all of it again."
_ABANDONED = 3600  # seconds without a write after which a hidden file belongs to a killed run


def _import_pyarrow():
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"to_parquet needs pyarrow ({error}). Install it: pip install 'featbus[parquet]'."
        ) from error
    return pyarrow


def _feature_names(transformer):
    """Return the names of the transformer's columns, or None if it has none."""
    try:
        names = transformer.get_feature_names_out().tolist()
    except AttributeError:
        return None
    ((name, count),) = Counter([*_IMAGE_COLUMNS, *names]).most_common(1)
    if count > 1:
        raise ValueError(
            f"{count} columns would be called {name!r}, expected different names for the features, "
            f"and none of {_IMAGE_COLUMNS}. Name the steps of a FeatureUnion differently, and keep "
            "their names: verbose_feature_names_out=True."
        )
    return names


def _content(item):
    try:
        digest = digest_image(item).hex()
    except ValueError:
        digest = None
    return as_unicode(item) if is_path(item) else None, digest


def _stamp(contents):
    """Digest paths and contents of a partition's images."""
    return blake2b(repr(contents).encode(), digest_size=16).hexdigest()


class Partition(NamedTuple):
    """A file of rows: its path, its images, and the position of the first of them."""

    path: Path
    items: object
    start: int

    def contents(self):
        """Return the path (None for an array) and digest (None if unreadable) of each image.

        Returns
        -------
        list of (str or None, str or None)
            In the order of the images.
        """
        return [_content(item) for item in self.items]


class ParquetDirectory:
    """A directory of partitions whose rows all come from one transformer.

    Parameters
    ----------
    directory : str or os.PathLike
        Where the partitions are; created if needed.
    partition_size : int
        Number of images per partition.
    transformer : estimator
        The fitted transformer.
    key : bytes
        Its fingerprint.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    ValueError
        If two columns have one name.
    """

    def __init__(self, directory, partition_size, transformer, key):
        self._pyarrow = _import_pyarrow()
        self._directory = Path(directory)
        self._size = int(partition_size)
        self._names = _feature_names(transformer)
        self._header = {
            "featbus": __version__,
            "transformer": " ".join(str(transformer).split()),
            "fingerprint": key.hex(),
            "partition_size": self._size,
        }
        self._schema = None  # that of the first partition found or written

    def missing(self, batch):
        """Find the partitions that have to be written.

        Parameters
        ----------
        batch : ndarray or list
            All images.

        Returns
        -------
        missing : list of Partition
            Those that are not there, and those whose files have changed.
        errors : list of ImageError
            The images without a row in the others.

        Raises
        ------
        ValueError
            If the directory holds rows of another transformer or of other images, or other files.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        partitions = [
            Partition(
                self._directory / f"part-{start // self._size:06d}.parquet",
                batch[start : start + self._size],
                start,
            )
            for start in range(0, len(batch), self._size)
        ]
        missing, errors = [], []
        for partition in partitions:
            if self._is_whole(partition):
                errors += self._errors(partition)
            else:
                missing.append(partition)
        visible = {path for path in self._directory.iterdir() if path.name[0] not in "._"}
        if others := sorted(visible - {partition.path for partition in partitions}):
            raise ValueError(
                f"{str(others[0])!r} is not a partition of these {len(batch)} images, and would be "
                f"read as one. {_START_ANEW}"
            )
        return missing, errors

    def _remove_leftovers(self):
        """Remove hidden files that killed runs have left."""
        for path in self._directory.glob(".part-*.parquet.*.part"):
            with suppress(FileNotFoundError):  # it may get its name, or be removed, meanwhile
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()

    def _errors(self, partition):
        """Return the errors of a partition's images."""
        table = self._pyarrow.parquet.read_table(partition.path, columns=["error"])
        return [
            ImageError(reason, partition.start + index, item if is_path(item) else None)
            for index, (item, reason) in enumerate(zip(partition.items, table["error"].to_pylist()))
            if reason is not None
        ]

    def _is_whole(self, partition):
        """Return whether a partition is up to date; raise if it is of another data set."""
        path = partition.path
        if not path.exists():
            return False
        try:
            schema = self._pyarrow.parquet.read_schema(path)
            header = json.loads(schema.metadata[_METADATA])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{str(path)!r} is damaged, or to_parquet did not write it ({error!r}). Name "
                "another directory, or delete the file to compute it again."
            ) from error
        for name in ("partition_size", "fingerprint"):
            if header[name] != self._header[name]:
                raise ValueError(
                    f"{str(path)!r} was written with partition_size={header['partition_size']} by "
                    f"{header['transformer']}, now it is partition_size={self._size} and "
                    f"{self._header['transformer']}. Where the transformers look alike, weights, "
                    f"learned state or version differ. {_START_ANEW}"
                )
        contents = partition.contents()
        if header["images"] == _stamp(contents):
            self._schema = self._schema or schema
            return True
        self._check_same_images(partition, contents)
        return False

    def _check_same_images(self, partition, contents):
        """Raise if a partition was written from other paths or arrays; fewer of them are fine."""
        table = self._pyarrow.parquet.read_table(partition.path, columns=["path", "digest"])
        before = [line["path"] or line["digest"] for line in table.to_pylist()]
        now = [path or digest for path, digest in contents]
        for index, (old, new) in enumerate(zip_longest(before, now[: len(before)])):
            if old != new:
                raise ValueError(
                    f"{str(partition.path)!r} was written from other images: image "
                    f"{partition.start + index} was {old!r}, now it is {new or 'missing'!r}. "
                    + _START_ANEW
                )

    def write(self, partition, contents, rows):
        """Write a partition.

        Parameters
        ----------
        partition : Partition
            One of those that `missing` returned.
        contents : list of (str or None, str or None)
            Its contents before the images were read.
        rows : Rows
            Its rows.

        Raises
        ------
        ImageReadError
            If a file has changed since then.
        ValueError
            If the rows are not like those of the other partitions.
        """
        for index, (old, new) in enumerate(zip(contents, partition.contents())):
            if old != new:
                reason = "the file was changed while it was being used. Run again."
                raise ImageReadError(reason, partition.start + index, old[0])
        table = self._table(partition, contents, rows)
        with written_whole(partition.path) as hidden:
            # Values that hardly repeat take less space than a dictionary of them.
            self._pyarrow.parquet.write_table(
                table, hidden, compression="zstd", use_dictionary=False
            )

    def _table(self, partition, contents, rows):
        """Return a partition as a table with one row per image."""
        array = self._array(rows)
        reasons = {error.index - partition.start: error.reason for error in rows.errors()}
        errors = [reasons.get(index) for index in range(len(array))]
        pa = self._pyarrow
        columns = [pa.array(column, pa.string()) for column in (*zip(*contents), errors)]
        columns += map(pa.array, np.ascontiguousarray(array.T))
        names = self._names or [f"feature{index}" for index in range(array.shape[1])]
        header = {**self._header, "features": names, "images": _stamp(contents)}
        metadata = {_METADATA: json.dumps(header)}
        table = pa.table(columns, [*_IMAGE_COLUMNS, *names], metadata=metadata)
        self._schema = self._schema or table.schema
        if not table.schema.equals(self._schema):
            raise ValueError(
                f"images {partition.start} to {partition.start + len(array) - 1} gave "
                f"{array.shape[1]} columns of {array.dtype}, expected those of the other "
                f"partitions: {len(self._schema) - len(_IMAGE_COLUMNS)} of "
                f"{self._schema.types[-1]}. Bring the images to one size first: Resize."
            )
        return table

    def _array(self, rows):
        """Return the rows: all NaN if no image has one."""
        array = rows.array()
        if array is not None:
            return array
        if self._schema is None:
            raise ValueError(f"No image of the first partition gave a row. {rows.errors()[0]}")
        shape = len(rows.batch), len(self._schema) - len(_IMAGE_COLUMNS)
        return np.full(shape, np.nan, self._schema.types[-1].to_pandas_dtype())
