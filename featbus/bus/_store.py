"""The store: rows of features on disk."""

from __future__ import annotations

import hashlib
import math
import os
import re
import socket
import sqlite3
import threading
import time
import uuid
import warnings
import zlib
from contextlib import contextmanager
from itertools import islice
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from featbus.bus._store_file import FeatureStoreError, open_file, transaction
from featbus.parameters import Interval, check_parameters

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from featbus.typing import PathLike

# SQLite quotes damaged text in its errors, and Python's module cannot always decode them. It asks
# for as much memory as a damaged file says.
_ERRORS = (sqlite3.Error, UnicodeDecodeError, MemoryError)
_LEASE = 20.0  # seconds that a claim lives without being renewed
_STORED = ["|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8"]
_DTYPES = {name: np.dtype(name) for name in _STORED}
_CONSTRAINTS = {"max_bytes": [Interval(Real, 0, None, closed="left")]}


class FeatureStoreWarning(UserWarning):
    """A feature store that fails during a run, which continues without it.

    Read more in the :ref:`User Guide <feature_bus>`.
    """


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


def _start_checksum(fingerprint):
    return hashlib.blake2b(b"%a" % fingerprint, digest_size=8)


def _checksum(start, image, dtype, n_features, value):
    """Return 8 bytes that bind a row to what it is the row of.

    The value goes in as its CRC, which takes a quarter of the time, and notices each change of up
    to 32 bits in a row.
    """
    digest = start.copy()
    digest.update(b"%b,%a,%a,%d" % (image, dtype, n_features, zlib.crc32(value)))
    return digest.digest()


def _is_whole(start, image, dtype, n_features, checksum, value):
    """Tell whether a row is as it was written; a damaged file has any type in any column."""
    return (
        isinstance(image, bytes)
        and isinstance(value, bytes)
        and checksum == _checksum(start, image, dtype, n_features, value)
        and dtype in _DTYPES
        and divmod(len(value), _DTYPES[dtype].itemsize) == (n_features, 0)
    )


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
    parts = re.fullmatch("(.*):([1-9][0-9]{0,8}):[0-9a-f]{32}", str(owner))
    if parts is None:  # damaged
        return False
    if parts[1] != socket.gethostname() or os.name != "posix":
        return True
    try:
        os.kill(int(parts[2]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class FeatureStore:
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
            self._readable = self._writable = True
            self._pid = os.getpid()
            try:
                self._connection, self._writable = open_file(self.path)
            except _ERRORS as error:
                raise FeatureStoreError(
                    f"cannot use {self.path!r} as a feature store: {error}. Name a file on a disk "
                    "of this machine that can be written; delete this one if it is a damaged store."
                ) from error

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            # A connection that came along in a fork belongs to the parent: it is left alone.
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _usable_connection(self):
        if self._connection is None or self._pid != os.getpid():
            self.open()
        return self._connection

    @contextmanager
    def _using(self, action):
        """Give the connection; if SQLite fails, warn and continue without the store."""
        with self._lock:
            connection = self._usable_connection()
            try:
                _end_transaction(connection)
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

    def read(self, fingerprint: bytes, images: list[bytes]) -> dict[bytes, np.ndarray]:
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
            The rows that are stored, but for those whose checksum fails.
        """
        rows = {}
        if self._readable:
            with self._using("read") as connection:
                rows = self._rows(connection, fingerprint, images)
        return rows

    def _rows(self, connection, fingerprint, images):
        """Return the rows that are stored and whole, by image."""
        query = "SELECT id FROM transformer WHERE fingerprint = ?"
        key = connection.execute(query, (fingerprint,)).fetchone()
        start, rows = _start_checksum(fingerprint), {}
        for chunk in chunked(images) if key else ():
            # In the order of the file, so that each of its pages is read once.
            query = (
                "SELECT image, dtype, n_features, checksum, value FROM feature WHERE id IN "
                f"(SELECT id FROM feature WHERE transformer = ? AND image IN ({_marks(chunk)}))"
            )
            for row in connection.execute(query, (*key, *chunk)):
                if _is_whole(start, *row):
                    image, dtype, *_, value = row
                    rows[image] = np.frombuffer(value, _DTYPES[dtype])
        return rows

    @contextmanager
    def _writing(self):
        """Give the connection in a transaction; if SQLite fails, warn and continue without."""
        with self._using("written") as connection, transaction(connection):
            yield connection

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
            The images.
        rows : sequence of ndarray of shape (n_features,)
            Their rows. Numbers of more than 64 bits and objects are not stored.
        """
        if not self._writable:
            return
        kept = [(image, row) for image, row in zip(images, rows) if row.dtype.str in _DTYPES]
        with self._writing() as connection:
            if kept:
                self._insert(connection, fingerprint, description, kept)
            connection.executemany(
                "DELETE FROM claim WHERE fingerprint = ? AND image = ?",
                [(fingerprint, image) for image in images],
            )
        if len(kept) < len(images):
            warnings.warn(
                f"found rows of dtype {rows[0].dtype}, expected float32 or float64. They are not "
                "stored, and computed again when needed.",
                FeatureStoreWarning,
                stacklevel=2,
            )

    def _insert(self, connection, fingerprint, description, rows):
        connection.execute(
            "INSERT OR IGNORE INTO transformer (fingerprint, description) VALUES (?, ?)",
            (fingerprint, description),
        )
        start, lines = _start_checksum(fingerprint), []
        for image, row in rows:
            stored = row.dtype.str, len(row), row.tobytes()
            lines.append((fingerprint, image, *stored, _checksum(start, image, *stored)))
        connection.executemany(
            "INSERT OR REPLACE INTO feature "
            "(transformer, image, dtype, n_features, value, checksum) "
            "VALUES ((SELECT id FROM transformer WHERE fingerprint = ?), ?, ?, ?, ?, ?)",
            lines,
        )

    def claim(self, fingerprint: bytes, images: list[bytes], owner: str) -> list[bytes]:
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
        with self._writing() as connection:
            now = time.time()
            # One that expires later is damaged, or the clock was set back.
            connection.execute(
                "DELETE FROM claim WHERE expires NOT BETWEEN ? AND ?", (now, now + _LEASE)
            )
            free = []
            for chunk in chunked(images):
                # A damaged row is not there: else nobody would compute it, and all wait for it.
                taken = set(self._rows(connection, fingerprint, chunk))
                taken |= self._claimed_by_others(connection, fingerprint, chunk, owner)
                free += [image for image in chunk if image not in taken]
            connection.executemany(
                "INSERT OR REPLACE INTO claim (fingerprint, image, owner, expires) "
                "VALUES (?, ?, ?, ?)",
                [(fingerprint, image, owner, now + _LEASE) for image in free],
            )
            return free
        return list(images)

    def _claimed_by_others(self, connection, fingerprint, images, owner):
        query = (
            "SELECT image, owner FROM claim "
            f"WHERE fingerprint = ? AND owner != ? AND image IN ({_marks(images)})"
        )
        claims = connection.execute(query, (fingerprint, owner, *images)).fetchall()
        alive = {other: _is_alive(other) for other in {other for _, other in claims}}
        return {image for image, other in claims if alive[other]}

    def renew(self, owner: str) -> None:
        """Keep the claims of an owner alive for another 20 seconds.

        Parameters
        ----------
        owner : str
            The run that claimed.
        """
        if self._writable:
            with self._writing() as connection:
                query = "UPDATE claim SET expires = ? WHERE owner = ?"
                connection.execute(query, (time.time() + _LEASE, owner))

    def release(self, owner: str, images: list[bytes] | None = None) -> None:
        """Give up the claims of an owner.

        Parameters
        ----------
        owner : str
            The run that claimed.
        images : list of bytes or None, default=None
            Those that have no row to store after all; None: all that the owner has claimed.
        """
        if not self._writable:
            return
        with self._writing() as connection:
            if images is None:
                connection.execute("DELETE FROM claim WHERE owner = ?", (owner,))
            else:
                query = "DELETE FROM claim WHERE owner = ? AND image = ?"
                connection.executemany(query, [(owner, image) for image in images])

    def info(self) -> pd.DataFrame:
        """Summarize the content of the store.

        Returns
        -------
        DataFrame
            One row per transformer, oldest first: its description, number of rows and of features,
            their dtype and bytes. One whose rows differ in dtype has a row for each. Lengths are
            those in the file, whether the rows are whole or not.
        """
        columns = ["transformer", "n_rows", "n_features", "dtype", "bytes"]
        with self._reporting() as connection:
            rows = connection.execute(
                "SELECT description, count(*), max(n_features), dtype, sum(length(value)) "
                "FROM transformer JOIN feature ON transformer.id = feature.transformer "
                "GROUP BY transformer.id, dtype ORDER BY transformer.id"
            )
            return pd.DataFrame(rows.fetchall(), columns=columns)

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
        dropped = 0
        with self._reporting() as connection:
            while (excess := self._used_bytes(connection) - max_bytes) > 0:
                (n_rows,) = connection.execute("SELECT count(*) FROM feature").fetchone()
                share = math.ceil(excess * n_rows / self._used_bytes(connection))
                n_dropped = self._drop(connection, share)
                dropped += n_dropped
                if n_dropped == 0:  # none is left; or damage hides those that are counted
                    break
            self._shrink(connection)
        return dropped

    def _drop(self, connection, n_rows):
        """Drop the oldest rows; return how many."""
        with transaction(connection):
            return connection.execute(
                "DELETE FROM feature WHERE id IN (SELECT id FROM feature ORDER BY id LIMIT ?)",
                (n_rows,),
            ).rowcount

    def clear(self) -> int:
        """Drop all rows.

        Returns
        -------
        int
            Number of rows dropped.
        """
        with self._reporting() as connection:
            with transaction(connection):
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
                _end_transaction(connection)
                yield connection
            except _ERRORS as error:
                raise FeatureStoreError(
                    f"cannot use {self.path!r}: {error}. Delete the file if it is damaged."
                ) from error


def _end_transaction(connection):
    if connection.in_transaction:  # Ctrl-C came before it could be ended
        connection.execute("ROLLBACK")
