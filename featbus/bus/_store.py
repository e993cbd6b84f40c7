"""The store: rows of features on disk."""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
import threading
import time
import warnings
import zlib
from contextlib import AbstractContextManager, suppress
from itertools import islice
from numbers import Real
from weakref import WeakSet

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from featbus.bus._parquet import IMAGE_COLUMNS, Directory, decode, describe, encode
from featbus.parameters import Interval, check_parameters
from featbus.typing import PathLike

# SQLite quotes damaged text in its errors, and Python's module cannot always decode them. It asks
# for as much memory as a damaged file says.
_ERRORS = (sqlite3.Error, UnicodeDecodeError, MemoryError)
_APPLICATION = 0x66656174  # "feat": distinguishes a store from other SQLite files
_SCHEMA = 3
_PATIENCE = 60.0  # seconds to wait for other processes
_EXPORTED = 10_000  # rows in a file
_LEASE = 20.0  # seconds until a claim expires if it is not renewed
_CONSTRAINTS = {"max_bytes": [Interval(Real, 0, None, closed="left")]}
_TABLES = f"""
PRAGMA page_size = 32768;
PRAGMA auto_vacuum = INCREMENTAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS transformer (fingerprint BLOB PRIMARY KEY, description TEXT);
CREATE TABLE IF NOT EXISTS feature (
    id INTEGER PRIMARY KEY, fingerprint BLOB, image BLOB, dtype TEXT, checksum BLOB, value BLOB,
    UNIQUE (fingerprint, image)
);
CREATE TABLE IF NOT EXISTS claim (
    fingerprint BLOB, image BLOB, owner TEXT, expires REAL, PRIMARY KEY (fingerprint, image)
) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_SCHEMA};
COMMIT;
"""
_MARKS = """
SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)
FROM pragma_application_id, pragma_user_version
"""
_USED_BYTES = """
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""
# A claim that expires later than any is made for is damaged, or the clock was set back.
_CLAIM = """
INSERT INTO claim (fingerprint, image, owner, expires) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET owner = excluded.owner, expires = excluded.expires
WHERE owner = excluded.owner OR (expires BETWEEN ? AND excluded.expires) IS NOT TRUE
"""


class FeatureStoreError(OSError):
    """A file that cannot be used as a feature store.

    Read more in the :ref:`User Guide <feature_bus>`.

    See Also
    --------
    featbus.FeatureStore : Raises it.
    """


def chunked(items, size=500):
    """Split items into lists of one size.

    Parameters
    ----------
    items : iterable
        Consumed as the lists are asked for.
    size : int, default=500
        Length of the lists, except the last one. SQLite allows at least 999 parameters a query.

    Yields
    ------
    list
        The next items.
    """
    items = iter(items)
    while chunk := list(islice(items, size)):
        yield chunk


def _checksum(fingerprint, image, dtype, value):
    """Return 8 bytes that bind a row to its transformer, image and dtype.

    The value is digested as its CRC, which takes a quarter of the time.
    """
    content = b"%a,%a,%a,%d" % (fingerprint, image, dtype, zlib.crc32(value))
    return hashlib.blake2b(content, digest_size=8).digest()


_OPENED = WeakSet()


# A fork has no locks, and its copy of SQLite would not know. Windows has no forks.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: [store.close() for store in list(_OPENED)])


class FeatureStore(AbstractContextManager):
    """Rows of features in one SQLite file.

    `FeatureBus` stores its rows here. The file is created on first use. Several processes may read
    and write it at the same time, and one that is killed does not damage it. A row that is damaged
    is computed again. Keep the file on a local disk: SQLite's write-ahead log does not work on a
    network share. The log, ``PATH-wal``, belongs to the file: move or copy both.

    Read more in the :ref:`User Guide <feature_bus>`.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    See Also
    --------
    FeatureBus : Fills and uses the store.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from featbus import LBP, FeatureBus, FeatureStore, make_breast_ultrasound
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "features.sqlite"
    >>> images = make_breast_ultrasound(6, random_state=0).images
    >>> rows = FeatureBus(LBP(), memory=path).fit_transform(images)
    >>> with FeatureStore(path) as store:
    ...     print(store.info()[["n_rows", "n_features"]])
       n_rows  n_features
    0       6          10
    """

    def __init__(self, path: PathLike) -> None:
        self.path = os.fspath(path)
        self._lock = threading.RLock()
        self._connection = self._pid = None
        self._usable = set()  # of "read" and "written"

    def __repr__(self):
        return f"FeatureStore({self.path!r})"

    def __reduce__(self):
        return type(self), (self.path,)

    def __exit__(self, *error):
        self.close()

    def open(self) -> None:
        """Open the file; create it if it does not exist.

        Raises
        ------
        FeatureStoreError
            If the file cannot be created, is not a feature store, is damaged, or was written by
            another version of featbus.
        """
        with self._lock:
            self.close()
            self._pid = os.getpid()
            try:
                self._connection = _open(os.path.abspath(self.path))
                self._usable = {"read", "written"}
                _OPENED.add(self)
            except _ERRORS as error:
                raise FeatureStoreError(
                    f"cannot use {self.path!r} as a feature store: {error}. Name a file in a "
                    "folder on a disk of this machine; delete this one if it is a damaged store."
                ) from error

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            # A connection inherited by a fork belongs to the parent: it is left alone.
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _run(self, work, *arguments, action=None):
        """Call `work` with the connection, and return its result.

        If SQLite fails, raise a FeatureStoreError. With an action, "read" or "written", warn
        instead, skip that action from now on, and return None.
        """
        with self._lock:
            if self._connection is None or self._pid != os.getpid():
                self.open()
            if action is not None and action not in self._usable:
                return None
            try:
                self._connection.rollback()  # of what Ctrl-C interrupted
                return work(self._connection, *arguments)
            except _ERRORS as error:
                if action is None:
                    raise FeatureStoreError(
                        f"cannot use {self.path!r}: {error}. Delete the file if it is damaged."
                    ) from error
                self._usable -= {action, "written"}
                message = (
                    f"The feature store {self.path!r} cannot be {action} ({error}). The run "
                    "continues. Free disk space, or delete the file if it is damaged."
                )
                warnings.warn(message, RuntimeWarning, stacklevel=3)

    def read(self, fingerprint: bytes, images: list[bytes]) -> dict[bytes, np.ndarray]:
        """Look up rows.

        Parameters
        ----------
        fingerprint : bytes
            The transformer's.
        images : list of bytes
            The images' digests.

        Returns
        -------
        dict of bytes to ndarray
            The rows that are stored, without those whose checksum fails.
        """
        return self._run(_read, fingerprint, images, action="read") or {}

    def write(
        self, fingerprint: bytes, description: str, images: list[bytes], rows: ArrayLike
    ) -> None:
        """Store rows, and drop the claims on them.

        Parameters
        ----------
        fingerprint : bytes
            The transformer's.
        description : str
            The transformer, for people to read.
        images : list of bytes
            The images' digests.
        rows : sequence of ndarray of shape (n_features,), or None
            Their rows; None for an image without one. Numbers of more than 64 bits and objects are
            not stored.
        """
        self._run(_write, fingerprint, description, images, rows, action="written")

    def claim(self, fingerprint: bytes, images: list[bytes], owner: str) -> list[bytes]:
        """Claim rows that are about to be computed, so that no other process computes them.

        Parameters
        ----------
        fingerprint : bytes
            The transformer's.
        images : list of bytes
            The images' digests.
        owner : str
            A unique name of the run that claims.

        Returns
        -------
        list of bytes
            The images to compute: those that are neither stored by now nor claimed by another
            owner. A claim expires after 20 seconds without `renew`.
        """
        free = self._run(_claim, fingerprint, images, owner, action="written")
        return list(images) if free is None else free

    def renew(self, owner: str) -> None:
        """Keep the claims of an owner alive for another 20 seconds.

        Parameters
        ----------
        owner : str
            The run that claimed.
        """
        query = "UPDATE claim SET expires = ? WHERE owner = ?"
        arguments = time.time() + _LEASE, owner
        self._run(sqlite3.Connection.execute, query, arguments, action="written")

    def release(self, owner: str) -> None:
        """Give up the claims of an owner.

        Parameters
        ----------
        owner : str
            The run that claimed.
        """
        query = "DELETE FROM claim WHERE owner = ?"
        self._run(sqlite3.Connection.execute, query, (owner,), action="written")

    def info(self) -> pd.DataFrame:
        """Summarize the content of the store.

        Returns
        -------
        DataFrame
            One row per transformer, oldest first: its description, number of rows and of features,
            their dtype and bytes. A transformer whose rows differ in dtype has one entry per dtype.
            Damaged rows are included.
        """
        return self._run(_summarize)

    def export(self, directory: PathLike) -> None:
        """Write all rows to Parquet files, to archive them or to read them elsewhere.

        Parameters
        ----------
        directory : path-like
            The rows of each transformer get a directory of their own here, one for each number of
            features and dtype, which `FeatureTable` and `import_parquet` read. Nothing is known of
            the images but their digests, and nothing of the features but their positions. Regions
            of segmenters are not exported.
        """
        keys = """SELECT fingerprint, description FROM transformer
            WHERE substr(description, 1, 16) != '_EncodedRegions('"""
        query = "SELECT image FROM feature WHERE fingerprint = ? ORDER BY id"
        for key, description in self._run(lambda db: db.execute(keys).fetchall()):
            images, lines = self._run(lambda db, key=key: db.execute(query, (key,)).fetchall()), {}
            for number, chunk in enumerate(chunked((image for (image,) in images), _EXPORTED)):
                kinds = {}
                for image, row in self.read(key, chunk).items():
                    kind = f"{directory}/{key.hex()}-{len(row)}{row.dtype.str[1:]}"
                    kinds.setdefault(kind, {})[image.hex()] = row
                for kind, rows in kinds.items():
                    digests, array = list(rows), np.vstack(list(rows.values()))
                    unknown = [None] * len(digests)
                    header = {"transformer": description, "fingerprint": key.hex(), "left_out": 0}
                    texts = unknown, digests, unknown, unknown, unknown
                    content, header = encode(texts, array, None, header)
                    name = f"part-{number:06d}-{digests[0][:16]}.parquet"
                    Directory(kind).write(name, content)
                    lines.setdefault(kind, {})[name] = describe(name, content, header)
            for kind, found in lines.items():
                header = {"source": self.path, "transformer": key.hex(), "complete": True}
                Directory(kind).write_manifest(header, found)

    def import_parquet(self, directory: PathLike) -> None:
        """Store the rows that `export` or `FeatureBus.to_parquet` wrote.

        Rows are found again by the digests of their images, in the same release of featbus.

        Parameters
        ----------
        directory : path-like
            A directory of one transformer.

        Raises
        ------
        FileNotFoundError
            If there are no rows.
        ValueError
            If a file is damaged, or featbus did not write it.
        """
        files = Directory(directory)
        if not (names := files.list()):
            raise FileNotFoundError(f"Found no rows in {files.name!r}. Check the path.")
        for name in names:
            table, header = decode(files.read(name), files.path(name))
            table = table.filter(table["error"].is_null())
            digests = [bytes.fromhex(digest) for digest in table["digest"].to_pylist()]
            columns = table.drop_columns(IMAGE_COLUMNS).itercolumns()
            rows = np.column_stack([column.to_numpy() for column in columns])
            key = bytes.fromhex(header["fingerprint"])
            self.write(key, header["transformer"], digests, rows)

    def prune(self, max_bytes: float) -> int:
        """Drop the oldest rows until the file is no larger than `max_bytes`.

        Parameters
        ----------
        max_bytes : float
            Largest size of the file.

        Returns
        -------
        int
            Number of rows dropped.
        """
        check_parameters(_CONSTRAINTS, {"max_bytes": max_bytes})
        return self._run(_prune, max_bytes)


def _open(path):
    """Return a connection to a store, which is created if needed."""
    options = {"timeout": _PATIENCE, "isolation_level": None, "check_same_thread": False}
    connection = sqlite3.connect(path, **options)
    try:
        connection.text_factory = lambda text: text.decode(errors="replace")
        connection.execute("PRAGMA cell_size_check = ON")  # notice damaged pages
        found = connection.execute(_MARKS).fetchone()
        if found == (0, 0, 0):
            connection.executescript(_TABLES)
        elif found[:2] != (_APPLICATION, _SCHEMA):
            raise FeatureStoreError(
                f"{path!r} has the marks {found[:2]}, expected {(_APPLICATION, _SCHEMA)}: another "
                "version of featbus wrote it, or another program. Name another file."
            )
        with suppress(sqlite3.OperationalError):  # in use: another connection switches it
            connection.execute("PRAGMA journal_mode = WAL")
        # A row lost to a power cut is computed again; the file stays whole all the same.
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _read(connection, fingerprint, images):
    rows = {}
    for chunk in chunked(images):
        # In the order of the file, so that each of its pages is read once.
        query = (
            "SELECT image, dtype, checksum, value FROM feature WHERE id IN (SELECT id FROM feature "
            f"WHERE fingerprint = ? AND image IN ({','.join('?' * len(chunk))}))"
        )
        for image, dtype, checksum, value in connection.execute(query, (fingerprint, *chunk)):
            # A damaged file has any type in any column.
            if isinstance(value, bytes) and checksum == _checksum(fingerprint, image, dtype, value):
                rows[image] = np.frombuffer(value, dtype)
    return rows


def _write(connection, fingerprint, description, images, rows):
    lines = []
    for image, row in zip(images, rows):
        if row is not None and row.dtype.kind in "biuf" and row.dtype.itemsize <= 8:
            dtype, value = row.dtype.str, row.tobytes()
            checksum = _checksum(fingerprint, image, dtype, value)
            lines.append((fingerprint, image, dtype, checksum, value))
    insert = (
        "INSERT OR REPLACE INTO feature (fingerprint, image, dtype, checksum, value) "
        "VALUES (?, ?, ?, ?, ?)"
    )
    claimed = [(fingerprint, image) for image in images]
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT OR IGNORE INTO transformer VALUES (?, ?)", (fingerprint, description)
        )
        connection.executemany(insert, lines)
        connection.executemany("DELETE FROM claim WHERE fingerprint = ? AND image = ?", claimed)


def _claim(connection, fingerprint, images, owner):
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        now, free = time.time(), []
        stored = _read(connection, fingerprint, images)  # a damaged row is not
        for image in images:
            claim = fingerprint, image, owner, now + _LEASE, now
            if image not in stored and connection.execute(_CLAIM, claim).rowcount == 1:
                free.append(image)
        return free


def _summarize(connection):
    columns = ["transformer", "n_rows", "n_features", "dtype", "bytes"]
    rows = connection.execute(
        "SELECT description, count(*), max(length(value) / max(1, CAST(substr(dtype, 3) AS INT))), "
        "dtype, sum(length(value)) FROM feature LEFT JOIN transformer USING (fingerprint) "
        "GROUP BY fingerprint, dtype ORDER BY min(id)"
    )
    return pd.DataFrame(rows.fetchall(), columns=columns)


def _prune(connection, max_bytes):
    query = "DELETE FROM feature WHERE id IN (SELECT id FROM feature ORDER BY id LIMIT ?)"
    dropped = 0
    while (used := connection.execute(_USED_BYTES).fetchone()[0]) > max_bytes:
        (n_rows,) = connection.execute("SELECT count(*) FROM feature").fetchone()
        share = math.ceil((1 - max_bytes / used) * n_rows)
        n_dropped = connection.execute(query, (share,)).rowcount
        dropped += n_dropped
        if n_dropped == 0:  # none is left; or damage hides those that are counted
            break
    # One step of the first statement frees one page; only a script runs it to its end.
    connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")
    return dropped
