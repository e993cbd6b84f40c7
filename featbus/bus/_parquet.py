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

from featbus import DISTRIBUTION
from featbus.bus._fingerprint import check_key, describe_transformer, try_digest
from featbus.bus._sources import as_os_errors, list_partitions, open_address, opened
from featbus.files import as_unicode, written_whole
from featbus.images import ImageError, is_path
from featbus.io import ImageReadError

IMAGE_COLUMNS = ["path", "digest", "group", "label", "error"]  # before those of the features
MANIFEST = "_manifest.jsonl"
ROW_GROUP = 1_000  # rows that are read at a time
_METADATA = b"featbus"
_NAME = re.compile(r"part-\d{6,}-[0-9a-f]{16}\.parquet")
_REMEDY = "Name another directory, or delete this one or its damaged file to compute it again."
_PAUSE = 10.0  # seconds between two times that the manifest is written


def import_pyarrow():
    """Return pyarrow, with its module of Parquet, if all that is needed is installed."""
    try:
        import fsspec  # noqa: F401
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"Parquet needs pyarrow and fsspec ({error}): pip install '{DISTRIBUTION}[parquet]'."
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
        return sorted(name for name in names if name[:1] not in "._")  # "" may stand for a folder

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
            raise ValueError(f"{self.path(MANIFEST)!r} is damaged: {error!r}. {_REMEDY}") from error

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
        self._description = describe_transformer(transformer)
        self._config = get_config()  # of scikit-learn: other threads have their own
        self._names = None
        with suppress(AttributeError, ValueError):  # of a transformer without names
            self._names = transformer.get_feature_names_out().tolist()
        if clash := set(IMAGE_COLUMNS) & {*(self._names or ())}:
            raise ValueError(f"Features cannot have the names {sorted(clash)}. Rename them.")

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
        number : int
            That of the partition.
        line : dict or str
            The partition's line of the manifest; or why it has no rows, if `columns` is None.
        """
        with config_context(**self._config):
            check_key(self._transformer, self.bus.version, self.key)
            name = f"part-{partition.number:06d}-{partition.identify()}.parquet"
            found = self._find(partition, known) if known else None
            content, header = found or self._compute(partition, columns)
            if content is None:
                return partition.number, header
            if found is None or name != known["partition"]:
                self.directory.write(name, content)
        return partition.number, describe(name, content, header)

    def _find(self, partition, known):
        """Return content and header of a file; None if its images have changed, or it is gone."""
        path = self.directory.path(known["partition"])
        content = self.directory.read(known["partition"])
        if content is None:
            return None
        if known.get("checksum", _checksum(content)) != _checksum(content):
            raise ValueError(f"{path!r} was changed after it had been written. {_REMEDY}")
        table, header = decode(content, path, IMAGE_COLUMNS[:-1])
        if partition.stamp() is None or header["stamp"] != partition.stamp():
            with opened(partition) as (items, entries, n_left_out):
                texts = dict(zip(IMAGE_COLUMNS, _list_texts(items, entries)))
                if (table.to_pydict(), header["left_out"]) != (texts, n_left_out):
                    return None
        return content, header

    def _compute(self, partition, columns):
        """Return content and header of a file; None and why there are no rows nor columns."""
        with opened(partition) as (items, entries, n_left_out):
            texts = _list_texts(items, entries)
            rows, errors = self._rows(items)
            for entry, item, old in zip(entries, items, texts[1]):
                if not isinstance(item, np.ndarray) and old != _digest(item):
                    reason = "the file was changed while it was being used. Run again."
                    raise ImageReadError(reason, path=entry.path)
        if rows is None and columns is None:
            if errors:
                return None, str(errors[0].at(None, entries[0].path))
            return None, f"{partition.entries[0].path!r} is not an image."
        if rows is None:
            rows = np.full((len(errors), columns[0]), np.nan, columns[1])
        header = {
            "transformer": self._description,
            "fingerprint": self.key.hex(),
            "stamp": partition.stamp(),
            "left_out": n_left_out,
        }
        reasons = [error and error.reason for error in errors]
        return encode([*texts, reasons], rows, self._names, header)

    def _rows(self, items):
        """Return the rows, None if there are none, and an error or None for each image."""
        if not items:
            return None, []
        rows = self.bus._rows(self._transformer, items, tqdm(disable=True), key=self.key)
        errors = [row if isinstance(row, ImageError) else None for row in rows.results]
        return rows.array(), errors


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


def describe(name, content, header):
    """Return the line of the manifest of a file, of the content and header by `encode`."""
    facts = {fact: header[fact] for fact in ("rows", "failures", "left_out", "columns")}
    return {"partition": name, **facts, "bytes": len(content), "checksum": _checksum(content)}


def _checksum(content):
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _list_texts(items, entries):
    """Return the columns `IMAGE_COLUMNS` of images, without the errors."""
    paths, *others = ([getattr(e, x) for e in entries] for x in ("path", "group", "label"))
    return [paths, [*map(_digest, items)], *others]


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
    content : bytes
        The content.
    header : dict
        `header`, and the numbers of ``rows``, ``failures`` and ``columns``, these with their dtype.
    """
    pa = import_pyarrow()
    header = header | {
        "rows": len(rows),
        "failures": len(rows) - texts[-1].count(None),
        "columns": [rows.shape[1], rows.dtype.str],
    }
    columns = [pa.array(column, pa.string()) for column in texts]
    columns += map(pa.array, np.ascontiguousarray(rows.T))
    names = names or [f"feature{index}" for index in range(rows.shape[1])]
    metadata = {_METADATA: json.dumps(header)}
    table = pa.table(columns, [*IMAGE_COLUMNS, *names], metadata=metadata)
    file = io.BytesIO()
    # Values that hardly repeat take less space than a dictionary of them. Statistics of thousands
    # of columns, and stronger compression, take a noticeable part of a worker's time.
    options = {"use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
    pa.parquet.write_table(table, file, row_group_size=ROW_GROUP, **options)
    return file.getvalue(), header


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
    """
    directory, partitions = task.directory, list_partitions(source, n_bytes)
    if is_path(source) and Path(directory.name).resolve().is_relative_to(Path(source).resolve()):
        raise ValueError(f"{directory.name!r} is inside the source. Name another directory.")
    before, lines = directory.manifest()
    first = next(partitions)
    name = f"images from {first.entries[0].path or first.entries[0].stamp} on"
    name = as_unicode(source) if is_path(source) else name
    header = {"source": name, "transformer": task.key.hex()}
    found = directory.list()
    others = [name for name in header if before.get(name) != header[name]]
    if others and (before or found):
        raise ValueError(
            f"{directory.name!r} has rows of another {' and '.join(others)}: found "
            f"{before or found[0]}, expected {header}. {_REMEDY}"
        )
    header["complete"] = False
    existing = {}
    for name in found:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{directory.path(name)!r} is not a partition. {_REMEDY}")
        existing.setdefault(name.rpartition("-")[2], []).append(name)
    written, columns, saved = {}, None, time.monotonic()
    sent, failed = {}, []  # partitions that are being computed; those without rows, and why

    def calls(partitions):
        for partition in partitions:
            name = (existing.get(f"{partition.identify()}.parquet") or [None]).pop(0)
            sent[partition.number] = partition, name
            yield partition, lines.get(name, name and {"partition": name}), columns

    def run(partitions):
        nonlocal columns, saved
        with closing(_iter_lines(task, calls(partitions), executor, n_jobs)) as results:
            for number, line in results:
                partition, old = sent.pop(number)
                if isinstance(line, str):
                    failed.append((partition, line))
                    continue
                lines.pop(old, None)
                columns = columns or line["columns"]
                if line["columns"] != columns:
                    directory.remove(line["partition"])
                    (found, kind), (expected, others) = line["columns"], columns
                    raise ValueError(
                        f"The images from {partition.entries[0].path!r} on gave {found} columns of "
                        f"{np.dtype(kind)}, expected {expected} of {np.dtype(others)} as in the "
                        "other partitions. Use Resize first."
                    )
                written[line["partition"]] = line
                progress.update(line["rows"])
                if time.monotonic() > saved + _PAUSE:
                    directory.write_manifest(header, lines | written)
                    saved = time.monotonic()

    directory.write_manifest(header, lines)
    try:
        run(chain([first], partitions))
        if columns is None:
            raise ValueError(f"No image gave a row. {failed[0][1]}")
        run([partition for partition, _ in failed])
        for name in set(directory.list()) - set(written):
            directory.remove(name)
        lines, header["complete"] = {}, True
    finally:
        directory.write_manifest(header, lines | written)


def _iter_lines(task, calls, executor, n_jobs):
    """Yield the lines of partitions as they are done."""
    if executor is None:
        return (task(*call) for call in calls)
    if executor == "loky":
        n_jobs = n_jobs or joblib.cpu_count()
        parallel = joblib.Parallel(n_jobs, "loky", "generator_unordered", batch_size=1)
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
        lambda call: pool.submit(task, *call), lambda: sum(executor.nthreads().values()), calls
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
