"""Rows as a directory of Parquet files, each of which appears whole or not at all."""

import json
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from featbus import __version__
from featbus.bus._fingerprint import try_digest
from featbus.files import as_unicode, written_whole
from featbus.images import ImageError, is_path
from featbus.io import ImageReadError

_IMAGE_COLUMNS = ["path", "digest", "error"]  # before those of the features
_METADATA = b"featbus"
_REMEDY = "Name another directory, or delete this one or its damaged file to compute it again."


def _import_pyarrow():
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"to_parquet needs pyarrow ({error}): pip install 'featbus[parquet]'."
        ) from error
    return pyarrow


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
        digests = map(try_digest, self.items)
        return [
            (as_unicode(item) if is_path(item) else None, digest and digest.hex())
            for item, digest in zip(self.items, digests)
        ]


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
    """

    def __init__(self, directory, partition_size, transformer, key):
        self._pyarrow = _import_pyarrow()
        self._directory = Path(directory)
        self._names = None
        with suppress(AttributeError):  # of a transformer without names
            self._names = transformer.get_feature_names_out().tolist()
        self._header = {
            "featbus": __version__,
            "transformer": " ".join(str(transformer).split()),
            "fingerprint": key.hex(),
            "partition_size": int(partition_size),
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
            Those that do not exist, and those whose files have changed.
        errors : list of ImageError
            The images without a row in the others.

        Raises
        ------
        ValueError
            If the directory contains rows of another transformer or of other images, or other
            files.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        size, missing, errors = self._header["partition_size"], [], []
        others = {path for path in self._directory.iterdir() if path.name[0] not in "._"}
        for number, start in enumerate(range(0, len(batch), size)):
            path = self._directory / f"part-{number:06d}.parquet"
            partition = Partition(path, batch[start : start + size], start)
            others.discard(path)
            found = self._find_errors(partition) if path.exists() else None
            if found is None:
                missing.append(partition)
            else:
                errors += found
        if others:
            message = f"{str(min(others))!r} is not a partition of these {len(batch)} images."
            raise ValueError(f"{message} {_REMEDY}")
        return missing, errors

    def _find_errors(self, partition):
        """Return the errors in a partition, or None if its files have changed."""
        path = partition.path
        try:
            schema = self._pyarrow.parquet.read_schema(path)
            header = json.loads(schema.metadata[_METADATA])
            lines = self._pyarrow.parquet.read_table(path, columns=_IMAGE_COLUMNS).to_pylist()
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{str(path)!r} is damaged, or to_parquet did not write it ({error!r})."
            raise ValueError(f"{message} {_REMEDY}") from error
        if any(header[name] != self._header[name] for name in ("partition_size", "fingerprint")):
            raise ValueError(
                f"{str(path)!r} was written with another transformer, learned state or version: "
                f"found {header}, expected {self._header}. {_REMEDY}"
            )
        before, contents = [(line["path"], line["digest"]) for line in lines], partition.contents()
        if before == contents:
            self._schema = self._schema or schema
            return [
                ImageError(line["error"], partition.start + index, line["path"])
                for index, line in enumerate(lines)
                if line["error"] is not None
            ]
        # Arrays have no path: another one is another image. The list may have grown.
        old, new = ([name or digest for name, digest in part] for part in (before, contents))
        if old != new[: len(old)]:
            raise ValueError(
                f"{str(path)!r} was written from other images, or from these in another order: "
                f"found {old[0]!r} to {old[-1]!r}, expected {new[0]!r} to {new[-1]!r}. {_REMEDY}"
            )
        return None

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
        array, pa = self._array(rows), self._pyarrow
        errors = [getattr(result, "reason", None) for result in rows.results]
        columns = [pa.array(column, pa.string()) for column in (*zip(*contents), errors)]
        columns += map(pa.array, np.ascontiguousarray(array.T))
        names = self._names or [f"feature{index}" for index in range(array.shape[1])]
        metadata = {_METADATA: json.dumps({**self._header, "features": names})}
        table = pa.table(columns, [*_IMAGE_COLUMNS, *names], metadata=metadata)
        self._schema = self._schema or table.schema
        if not table.schema.equals(self._schema):
            n_columns = len(self._schema) - len(_IMAGE_COLUMNS)
            raise ValueError(
                f"images {partition.start} to {partition.start + len(array) - 1} gave "
                f"{array.shape[1]} columns of {array.dtype}, expected {n_columns} of "
                f"{self._schema.types[-1]} as in the other partitions. Use Resize first."
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
