"""The store: rows of features on disk."""

import os
import socket
import sqlite3
import threading
import time
import uuid
import warnings
import zlib
from contextlib import contextmanager
from itertools import islice

import numpy as np
import pandas as pd

_APPLICATION = 0x66656174  # "feat": tells a store from other SQLite files
_SCHEMA = 1
# SQLite quotes damaged text in its errors, and Python's module cannot always decode them.
_ERRORS = (sqlite3.Error, UnicodeDecodeError)
_LEASE = 20.0  # seconds that a claim lives without being renewed
_TABLES = """
CREATE TABLE transformer (
    id INTEGER PRIMARY KEY, fingerprint BLOB UNIQUE NOT NULL, description TEXT NOT NULL,
    dtype TEXT, n_features INTEGER
);
CREATE TABLE feature (
    id INTEGER PRIMARY KEY, transformer INTEGER NOT NULL REFERENCES transformer (id),
    image BLOB NOT NULL, checksum INTEGER NOT NULL, value BLOB NOT NULL,
    UNIQUE (transformer, image)
);
CREATE TABLE claim (
    fingerprint BLOB, image BLOB, owner TEXT NOT NULL, expires REAL NOT NULL,
    PRIMARY KEY (fingerprint, image)
) WITHOUT ROWID;
"""


class FeatureStoreError(OSError):
    """A file that cannot be used as a feature store."""


class FeatureStoreWarning(UserWarning):
    """A feature store that fails during a run, which continues without it."""


def chunked(items, size=500):
    """Split items into lists of one size.

    Parameters
    ----------
    items : iterable
        Taken from as the lists are asked for.
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


def _marks(items):
    return ",".join("?" * len(items))


def _checksum(image, value):
    return zlib.crc32(value, zlib.crc32(image))


def new_owner():
    """Return a name for a run that claims rows: machine, process and a unique number.

    Returns
    -------
    str
        ``machine:process:number``.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"


def _is_alive(owner):
    """Tell whether the process of an owner is running; True if that cannot be known here."""
    host, pid, _ = owner.rsplit(":", 2)
    if host != socket.gethostname() or os.name != "posix":
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class FeatureStore:
    """Rows of features in one SQLite file.

    `FeatureBus` stores its rows here. The file is created on first use. Several processes may read
    and write it at the same time, and one that is killed does not damage it. Keep it on a local
    disk: SQLite's write-ahead log does not work on a network share.

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

    def __init__(self, path):
        self.path = os.fspath(path)
        self._lock = threading.RLock()
        self._connection = self._pid = None
        self._readable = self._writable = True

    def __repr__(self):
        return f"FeatureStore({self.path!r})"

    def __reduce__(self):
        return type(self), (self.path,)

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, *error):
        self.close()

    def open(self):
        """Open the file; create it if it does not exist.

        Raises
        ------
        FeatureStoreError
            If the file cannot be created, is not a feature store, is damaged, or was written by
            another version of featbus.
        """
        with self._lock:
            self.close()
            self._readable = self._writable = True
            self._pid = os.getpid()
            try:
                self._connection = self._connected()
            except _ERRORS as error:
                raise FeatureStoreError(
                    f"cannot use {self.path!r} as a feature store: {error}. Name a file on a disk "
                    "of this machine that can be written; delete this one if it is a damaged store."
                ) from error

    def close(self):
        """Close the file; the next use opens it again."""
        with self._lock:
            # A connection that came along in a fork belongs to the parent: it is left alone.
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _connected(self):
        if os.path.isfile(self.path) and not os.access(self.path, os.W_OK):
            return self._connected_read_only()
        connection = self._connect(self.path)
        try:
            self._prepare(connection)
        except sqlite3.OperationalError:
            connection.close()
            if not os.path.isfile(self.path) or os.path.getsize(self.path) == 0:
                raise
            return self._connected_read_only()
        except BaseException:
            connection.close()
            raise
        return connection

    def _connected_read_only(self):
        """Open a store where nothing can be written, not even the files of SQLite's log."""
        self._writable = False
        connection = self._connect(f"file:{_quoted(self.path)}?immutable=1", uri=True)
        self._check_schema(connection)
        return connection

    def _connect(self, name, **options):
        return sqlite3.connect(
            name, timeout=60, isolation_level=None, check_same_thread=False, **options
        )

    def _prepare(self, connection):
        """Set up a connection, and a new file, as the other methods expect them."""
        is_empty = self._check_schema(connection)
        if is_empty:
            connection.execute("PRAGMA page_size = 32768")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        # A row lost to a power cut is computed again; the file stays whole all the same.
        connection.execute("PRAGMA synchronous = NORMAL")
        if not is_empty:
            return
        with _transaction(connection):
            if self._check_schema(connection):  # still empty: no other process was faster
                for statement in filter(str.strip, _TABLES.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_SCHEMA}")

    def _check_schema(self, connection):
        """Return whether the file is empty; raise if it is no store of this schema."""
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        if not tables and not application:
            return True
        if application != _APPLICATION:
            raise FeatureStoreError(
                f"{self.path!r} is a SQLite file of another program, expected a feature store. "
                "Name another file."
            )
        if schema != _SCHEMA:
            raise FeatureStoreError(
                f"{self.path!r} has schema {schema}, expected {_SCHEMA}: another version of "
                "featbus wrote it. Use that version, or name another file."
            )
        return False

    def _usable_connection(self):
        """Return the connection, opened and with no transaction begun."""
        if self._connection is None or self._pid != os.getpid():
            self.open()
        if self._connection.in_transaction:  # Ctrl-C came before it could be ended
            self._connection.execute("ROLLBACK")
        return self._connection

    @contextmanager
    def _using(self, action):
        """Give the connection; if SQLite fails, warn and continue without the store."""
        with self._lock:
            connection = self._usable_connection()
            try:
                yield connection
            except _ERRORS as error:
                # Another thread may have met the same while this one waited for the lock.
                is_known = not (self._readable if action == "read" else self._writable)
                if action == "read":
                    self._readable = False
                self._writable = False
                if is_known:
                    return
                warnings.warn(
                    f"The feature store {self.path!r} cannot be {action} ({error}). The run "
                    "continues, and rows are computed again if needed. Free disk space, or delete "
                    "the file if it is damaged.",
                    FeatureStoreWarning,
                    stacklevel=2,
                )

    def read(self, fingerprint, images):
        """Look up rows.

        Parameters
        ----------
        fingerprint : bytes
            The transformer's, see `featbus.bus.fingerprint`.
        images : list of bytes
            The images, see `featbus.bus.digest_image`.

        Returns
        -------
        dict of bytes to ndarray
            The rows that are stored; one whose checksum fails is dropped.
        """
        rows = {}
        if not self._readable:
            return rows
        with self._using("read") as connection:
            key, dtype = self._transformer(connection, fingerprint)
            for chunk in chunked(images) if key is not None else ():
                query = (
                    "SELECT id, image, checksum, value FROM feature "
                    f"WHERE transformer = ? AND image IN ({_marks(chunk)})"
                )
                damaged = []
                for row, image, checksum, value in connection.execute(query, (key, *chunk)):
                    if _checksum(image, value) == checksum:
                        rows[image] = np.frombuffer(value, dtype=dtype)
                    else:
                        damaged.append((row,))
                if damaged and self._writable:
                    connection.executemany("DELETE FROM feature WHERE id = ?", damaged)
        return rows

    def _transformer(self, connection, fingerprint):
        query = "SELECT id, dtype FROM transformer WHERE fingerprint = ?"
        return connection.execute(query, (fingerprint,)).fetchone() or (None, None)

    def write(self, fingerprint, description, images, rows):
        """Store rows, and drop the claims on them.

        Parameters
        ----------
        fingerprint : bytes
            The transformer's.
        description : str
            The transformer, for people to read.
        images : list of bytes
            The images.
        rows : sequence of ndarray of shape (n_features,)
            Their rows.
        """
        if not self._writable:
            return
        with self._using("written") as connection, _transaction(connection):
            connection.execute(
                "INSERT OR IGNORE INTO transformer (fingerprint, description, dtype, n_features) "
                "VALUES (?, ?, ?, ?)",
                (fingerprint, description, rows[0].dtype.str, len(rows[0])),
            )
            key, _ = self._transformer(connection, fingerprint)
            values = [(image, row.tobytes()) for image, row in zip(images, rows)]
            connection.executemany(
                "INSERT OR REPLACE INTO feature (transformer, image, checksum, value) "
                "VALUES (?, ?, ?, ?)",
                [(key, image, _checksum(image, value), value) for image, value in values],
            )
            connection.executemany(
                "DELETE FROM claim WHERE fingerprint = ? AND image = ?",
                [(fingerprint, image) for image in images],
            )

    def claim(self, fingerprint, images, owner):
        """Claim rows that are about to be computed, so that no other process computes them.

        Parameters
        ----------
        fingerprint : bytes
            The transformer's.
        images : list of bytes
            The images.
        owner : str
            The run that claims, see `new_owner`.

        Returns
        -------
        list of bytes
            The images to compute: those that are neither stored by now nor claimed by another owner
            whose process is running. A claim expires after 20 seconds without `renew`.
        """
        if not self._writable:
            return list(images)
        free = list(images)
        with self._using("written") as connection, _transaction(connection):
            connection.execute("DELETE FROM claim WHERE expires < ?", (time.time(),))
            free = []
            for chunk in chunked(images):
                taken = self._present(connection, fingerprint, chunk)
                taken |= self._claimed_by_others(connection, fingerprint, chunk, owner)
                free += [image for image in chunk if image not in taken]
            expires = time.time() + _LEASE
            connection.executemany(
                "INSERT OR REPLACE INTO claim (fingerprint, image, owner, expires) "
                "VALUES (?, ?, ?, ?)",
                [(fingerprint, image, owner, expires) for image in free],
            )
        return free

    def _present(self, connection, fingerprint, images):
        query = (
            "SELECT image FROM feature JOIN transformer ON transformer.id = feature.transformer "
            f"WHERE fingerprint = ? AND image IN ({_marks(images)})"
        )
        return {image for (image,) in connection.execute(query, (fingerprint, *images))}

    def _claimed_by_others(self, connection, fingerprint, images, owner):
        query = (
            "SELECT image, owner FROM claim "
            f"WHERE fingerprint = ? AND owner != ? AND image IN ({_marks(images)})"
        )
        claims = connection.execute(query, (fingerprint, owner, *images)).fetchall()
        alive = {other: _is_alive(other) for other in {other for _, other in claims}}
        return {image for image, other in claims if alive[other]}

    def renew(self, owner):
        """Keep the claims of an owner alive for another 20 seconds.

        Parameters
        ----------
        owner : str
            The run that claimed.
        """
        if self._writable:
            with self._using("written") as connection:
                query = "UPDATE claim SET expires = ? WHERE owner = ?"
                connection.execute(query, (time.time() + _LEASE, owner))

    def release(self, owner):
        """Give up the claims of an owner.

        Parameters
        ----------
        owner : str
            The run that claimed.
        """
        if self._writable:
            with self._using("written") as connection:
                connection.execute("DELETE FROM claim WHERE owner = ?", (owner,))

    def info(self):
        """Summarize the content of the store.

        Returns
        -------
        DataFrame
            One row per transformer, oldest first: its description, number of rows and of features,
            their dtype and bytes.
        """
        with self._reporting() as connection:
            return pd.read_sql_query(
                "SELECT description AS transformer, count(feature.id) AS n_rows, n_features, "
                "dtype, coalesce(sum(length(value)), 0) AS bytes "
                "FROM transformer LEFT JOIN feature ON transformer.id = feature.transformer "
                "GROUP BY transformer.id ORDER BY transformer.id",
                connection,
            )

    def prune(self, max_bytes):
        """Drop the oldest rows until the file is no larger than `max_bytes`.

        Parameters
        ----------
        max_bytes : int
            Largest size of the file.

        Returns
        -------
        int
            Number of rows dropped.
        """
        dropped = 0
        with self._reporting() as connection:
            while (excess := self._used_bytes(connection) - max_bytes) > 0:
                (n_rows,) = connection.execute("SELECT count(*) FROM feature").fetchone()
                if n_rows == 0:
                    break
                share = -(-excess * n_rows // self._used_bytes(connection))
                dropped += connection.execute(
                    "DELETE FROM feature WHERE id IN (SELECT id FROM feature ORDER BY id LIMIT ?)",
                    (share,),
                ).rowcount
            self._shrink(connection)
        return dropped

    def clear(self):
        """Drop all rows.

        Returns
        -------
        int
            Number of rows dropped.
        """
        with self._reporting() as connection:
            with _transaction(connection):
                dropped = connection.execute("DELETE FROM feature").rowcount
                connection.execute("DELETE FROM transformer")
                connection.execute("DELETE FROM claim")
            self._shrink(connection)
        return dropped

    def _used_bytes(self, connection):
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _shrink(self, connection):
        # One step of this statement frees one page; only a script runs it to its end.
        connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")

    @contextmanager
    def _reporting(self):
        """Give the connection to a method that cannot continue without the store."""
        with self._lock:
            connection = self._usable_connection()
            try:
                yield connection
            except _ERRORS as error:
                raise FeatureStoreError(f"cannot use {self.path!r}: {error}.") from error


@contextmanager
def _transaction(connection):
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _quoted(path):
    """Return a path escaped for SQLite's URIs."""
    return os.path.abspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
