"""Rows as a directory of Parquet files, each of which one worker writes, whole or not at all."""

import hashlib
import io
import json
import re
import time
from concurrent.futures import FIRST_COMPLETED, as_completed, wait
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path

import joblib
import numpy as np
from sklearn import config_context, get_config
from tqdm.auto import tqdm

from featbus import __version__
from featbus.bus._fingerprint import check_key, try_digest
from featbus.bus._sources import (
    as_os_errors,
    describe_source,
    list_partitions,
    open_address,
    opened,
)
from featbus.files import written_whole
from featbus.images import ImageError, is_path
from featbus.io import ImageReadError

IMAGE_COLUMNS = ["path", "digest", "group", "label", "error"]  # before those of the features
MANIFEST = "_manifest.jsonl"
ROW_GROUP = 1_000  # rows that are read at a time
_METADATA = b"featbus"
_NAME = re.compile(r"part-\d{6,}-[0-9a-f]{16}\.parquet")
_REMEDY = "Name another directory, or delete this one or its damaged file to compute it again."
_PAUSE = 10.0  # seconds between two times that the manifest is written


class _NoImagesError(ValueError):
    """Nothing in a partition is an image, so that the columns are still unknown."""


def import_pyarrow():
    """Return pyarrow, with its module of Parquet, if all that is needed is installed."""
    try:
        import fsspec  # noqa: F401
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"Parquet needs pyarrow and fsspec ({error}): pip install 'featbus[parquet]'."
        ) from error
    return pyarrow


class Directory:
    """A directory of partitions, on a disk or at an address.

    Parameters
    ----------
    path : str or os.PathLike
        Where it is.
    """

    def __init__(self, path):
        import_pyarrow()
        self.name = str(path)
        self._fs, self._root = open_address(self.name)

    def list(self):
        """Return the names of the files that are not hidden."""
        names = []
        with as_os_errors(self.name), suppress(FileNotFoundError):
            names = [path.rsplit("/", 1)[-1] for path in self._fs.ls(self._root, detail=False)]
        return sorted(name for name in names if name[0] not in "._")

    def read(self, name):
        """Return the content of a file; None if there is none."""
        with as_os_errors(self.name), suppress(FileNotFoundError):
            return self._fs.cat_file(self.path(name))

    def open(self, name):
        """Open a file to read it in parts."""
        return self._fs.open(self.path(name))

    def write(self, name, content):
        """Write a file, which appears whole or not at all."""
        if type(self._fs).__name__ == "LocalFileSystem":
            Path(self._root).mkdir(parents=True, exist_ok=True)
            with written_whole(self.path(name)) as hidden:
                Path(hidden).write_bytes(content)
            return
        with as_os_errors(self.name):  # stores of objects write whole ones
            self._fs.pipe_file(self.path(name), content)

    def remove(self, name):
        """Remove a file."""
        self._fs.rm_file(self.path(name))

    def path(self, name=""):
        """Return the path of a file for its file system."""
        return f"{self._root}/{name}"

    def manifest(self):
        """Return the header of the manifest, and its line for each partition."""
        try:
            lines = [json.loads(line) for line in (self.read(MANIFEST) or b"{}").splitlines()]
            return lines[0], {line["partition"]: line for line in lines[1:]}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path(MANIFEST)!r} is damaged ({error!r}). {_REMEDY}"
            ) from error

    def write_manifest(self, header, lines):
        """Write the manifest."""
        texts = [json.dumps(line) for line in (header, *lines.values())]
        self.write(MANIFEST, "\n".join(texts).encode())


class Task:
    """Write a partition, on any thread, process or machine.

    Parameters
    ----------
    bus : FeatureBus
        Its options are those of the worker.
    transformer : estimator
        The fitted transformer.
    key : bytes
        Its fingerprint.
    directory : Directory
        Where the partitions are.
    """

    def __init__(self, bus, transformer, key, directory):
        self.bus, self._transformer, self.key = bus, transformer, key
        self.directory = directory
        self._config = get_config()  # of scikit-learn: other threads have their own
        self._names = None
        with suppress(AttributeError):  # of a transformer without names
            self._names = transformer.get_feature_names_out().tolist()

    def __call__(self, partition, known, columns):
        """Write a partition, unless it exists.

        Parameters
        ----------
        partition : Partition
            Its images.
        known : dict or None
            Its line of the manifest; only ``partition``, the file, if a run was killed; None if
            there is no file.
        columns : list or None
            Number of features and their dtype in other partitions, None if unknown.

        Returns
        -------
        (str or None, dict)
            The file of `known`, and the partition's line of the manifest.
        """
        with config_context(**self._config):
            check_key(self._transformer, self.bus.version, self.key)
            name = f"part-{partition.number:06d}-{partition.identify()}.parquet"
            content = self._find(partition, known) if known else None
            if content is None or name != known["partition"]:
                content = content or self._compute(partition, columns)
                self.directory.write(name, content)
        return known and known["partition"], describe(name, content)

    def _open(self, name, content):
        table, header = decode(content, self.directory.path(name), IMAGE_COLUMNS)
        if header["fingerprint"] != self.key.hex():
            raise ValueError(
                f"{self.directory.path(name)!r} was written with another transformer, learned "
                f"state or version: found {header['transformer']}, expected "
                f"{_describe(self._transformer)}. {_REMEDY}"
            )
        return table, header

    def _find(self, partition, known):
        """Return the file of a partition; None if its images have changed, or it is gone."""
        name = known["partition"]
        content = self.directory.read(name)
        if content is None:
            return None
        if known.get("checksum", _checksum(content)) != _checksum(content):
            path = self.directory.path(name)
            raise ValueError(f"{path!r} was changed after it had been written. {_REMEDY}")
        table, header = self._open(name, content)
        if partition.stamp() is not None and header["stamp"] == partition.stamp():
            return content
        with opened(partition) as batch:
            is_same = table["digest"].to_pylist() == [*map(_digest, batch.items)]
        return content if is_same else None

    def _compute(self, partition, columns):
        """Return the file of a partition."""
        with opened(partition) as batch:
            digests = [*map(_digest, batch.items)]
            rows, errors = self._rows(batch, partition.start)
            for entry, item, old in zip(batch.entries, batch.items, digests):
                if is_path(item) and old != _digest(item):
                    reason = "the file was changed while it was being used. Run again."
                    raise ImageReadError(reason, path=entry.path)
        if rows is not None:
            columns = columns or [rows.shape[1], rows.dtype.str]
        if columns is None and not errors:
            raise _NoImagesError(
                f"None of the files is an image, such as {partition.entries[0].path!r}."
            )
        if columns is None:
            error = errors[0].at(partition.start, batch.entries[0].path)
            raise ValueError(f"No image of the first partition gave a row. {error}")
        if rows is None:
            rows = np.full((len(errors), columns[0]), np.nan, columns[1])
        if [rows.shape[1], rows.dtype.str] != columns:
            raise ValueError(
                f"The images from {batch.entries[0].path!r} on gave {rows.shape[1]} columns of "
                f"{rows.dtype}, expected {columns[0]} of {np.dtype(columns[1])} as in the other "
                "partitions. Use Resize first."
            )
        header = {
            "featbus": __version__,
            "transformer": _describe(self._transformer),
            "fingerprint": self.key.hex(),
            "columns": columns,
            "stamp": partition.stamp(),
            "left_out": batch.n_left_out,
        }
        facts = [(entry.path, entry.group, entry.label) for entry in batch.entries]
        paths, groups, labels = zip(*facts) if facts else ((), (), ())
        reasons = [error and error.reason for error in errors]
        return encode((paths, digests, groups, labels, reasons), rows, self._names, header)

    def _rows(self, batch, start):
        """Return the rows, None if there are none, and an error or None for each image."""
        if not batch.items:
            return None, []
        try:
            rows = self.bus._rows(self._transformer, batch.items, tqdm(disable=True), key=self.key)
            array = rows.array()
        except ImageError as error:  # of a file that may be a copy
            if error.index is None:
                raise
            index = None if start is None else start + error.index
            raise error.at(index, batch.entries[error.index].path) from error
        return array, [row if isinstance(row, ImageError) else None for row in rows.results]


def decode(content, path, columns=None):
    """Return columns of a file that `encode` made, and its header; None is all columns."""
    parquet = import_pyarrow().parquet
    try:
        file = parquet.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
        table = file.read(columns=columns, use_threads=False)  # threads may abort the exit
        return table, json.loads(file.schema_arrow.metadata[_METADATA])
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path!r} is damaged, or featbus did not write it ({error!r})."
        raise ValueError(f"{message} {_REMEDY}") from error


def describe(name, content):
    """Return the line of the manifest of a file that `encode` made."""
    table, header = decode(content, name, ["error"])
    return {
        "partition": name,
        "rows": len(table),
        "failures": len(table) - table["error"].null_count,
        "left_out": header["left_out"],
        "columns": header["columns"],
        "bytes": len(content),
        "checksum": _checksum(content),
    }


def _describe(transformer):
    return " ".join(str(transformer).split())


def _checksum(content):
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _digest(item):
    digest = try_digest(item)
    return digest and digest.hex()


def encode(texts, rows, names, header):
    """Return the content of a Parquet file.

    Parameters
    ----------
    texts : sequence of sequence
        The columns `IMAGE_COLUMNS`, of str or None.
    rows : ndarray of shape (n_images, n_features)
        The other columns.
    names : list of str or None
        Their names.
    header : dict
        What else there is to say.

    Returns
    -------
    bytes
        The content.
    """
    pa = import_pyarrow()
    columns = [pa.array(column, pa.string()) for column in texts]
    columns += map(pa.array, np.ascontiguousarray(rows.T))
    names = names or [f"feature{index}" for index in range(rows.shape[1])]
    metadata = {_METADATA: json.dumps(header)}
    table = pa.table(columns, [*IMAGE_COLUMNS, *names], metadata=metadata)
    file = io.BytesIO()
    # Values that hardly repeat take less space than a dictionary of them.
    options = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
    pa.parquet.write_table(table, file, row_group_size=ROW_GROUP, **options)
    return file.getvalue()


def write_partitions(task, source, n_bytes, executor, n_jobs, progress):
    """Write the partitions of a source, and the manifest; remove those of images that are gone.

    Parameters
    ----------
    task : Task
        Writes one of them.
    source : str, os.PathLike, DataFrame or batch of images
        The images, see `featbus.bus._sources.list_partitions`.
    n_bytes : int
        Size of a partition.
    executor : None, "loky", "ray" or distributed.Client
        What runs the tasks.
    n_jobs : int or None
        Number of processes of loky.
    progress : tqdm
        Advanced with each image.

    Returns
    -------
    dict
        The line of the manifest of each partition.
    """
    directory = task.directory
    before, lines = directory.manifest()
    header = {"source": describe_source(source), "fingerprint": task.key.hex()}
    found = directory.list()
    if before != header and (before or found):
        raise ValueError(
            f"{directory.name!r} has other rows: found {before or found[0]}, expected {header}, "
            f"the same source and transformer. {_REMEDY}"
        )
    existing = {}
    for name in found:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{directory.path(name)!r} is not a partition. {_REMEDY}")
        existing.setdefault(name.rpartition("-")[2], []).append(name)
    written, others, columns, saved = {}, [], None, time.monotonic()

    def calls(partitions):
        for partition in partitions:
            name = (existing.get(f"{partition.identify()}.parquet") or [None]).pop(0)
            yield partition, lines.get(name, name and {"partition": name}), columns

    def run(some):
        nonlocal columns, saved
        with closing(_iter_lines(task, calls(some), executor, n_jobs)) as results:
            for old, line in results:
                lines.pop(old, None)
                written[line["partition"]], columns = line, line["columns"]
                progress.update(line["rows"])
                if time.monotonic() > saved + _PAUSE:
                    directory.write_manifest(header, lines | written)
                    saved = time.monotonic()

    directory.write_manifest(header, lines)
    partitions = list_partitions(source, n_bytes)
    try:
        # The first one with images alone: it says which columns all others must have.
        for first in partitions:
            try:
                run([first])
                break
            except _NoImagesError:
                others.append(first)
        run(chain(others, partitions))
        for name in set(directory.list()) - set(written):
            directory.remove(name)
        lines = {}
    finally:
        directory.write_manifest(header, lines | written)
    return written


def _iter_lines(task, calls, executor, n_jobs):
    """Yield the lines of partitions as they are done."""
    if executor is None:
        return (task(*call) for call in calls)
    if executor == "loky":
        options = {"return_as": "generator_unordered", "batch_size": 1}
        n_jobs = n_jobs or joblib.cpu_count()
        parallel = joblib.Parallel(n_jobs, backend="loky", pre_dispatch="2*n_jobs", **options)
        return parallel(joblib.delayed(task)(*call) for call in calls)
    if executor == "ray":
        import ray

        remote, shared = ray.remote(Task.__call__), ray.put(task)
        return _iter_futures(
            lambda call: remote.remote(shared, *call).future(),
            lambda: ray.cluster_resources()["CPU"],
            calls,
        )
    pool = executor.get_executor(pure=False)
    return _iter_futures(
        lambda call: pool.submit(task, *call),
        lambda: sum(executor.nthreads().values()),
        calls,
    )


def _iter_futures(submit, count_slots, calls):
    """Yield results; two tasks per slot are waiting, however many there are in all."""
    waiting = set()
    try:
        for call in calls:
            waiting.add(submit(call))
            # Asked again each time: clusters grow and shrink.
            while len(waiting) >= 2 * max(1, count_slots()):
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        yield from (future.result() for future in as_completed(waiting))
    finally:
        for future in waiting:
            future.cancel()
