"""The file of a store: how it is created and opened, and told from other files."""

import functools
import os
import re
import sqlite3
import time
import uuid
from contextlib import closing, contextmanager
from pathlib import Path

_APPLICATION = 0x66656174  # "feat": tells a store from other SQLite files
_SCHEMA = 2
_PAGE_SIZE = 32768
_PATIENCE = 60.0  # seconds to wait for other processes
# Nothing is stored in the first table. Its text has a random number, which SQLite keeps in page 1
# of the file: it tells a log of this file from that of another one, see `_check_log`.
_TABLES = """
CREATE TABLE store (id TEXT DEFAULT '{store_id}');
CREATE TABLE transformer (
    id INTEGER PRIMARY KEY AUTOINCREMENT, fingerprint BLOB UNIQUE NOT NULL,
    description TEXT NOT NULL
);
CREATE TABLE feature (
    id INTEGER PRIMARY KEY, transformer INTEGER NOT NULL REFERENCES transformer (id),
    image BLOB NOT NULL, dtype TEXT NOT NULL, n_features INTEGER NOT NULL,
    checksum BLOB NOT NULL, value BLOB NOT NULL,
    UNIQUE (transformer, image)
);
CREATE TABLE claim (
    fingerprint BLOB, image BLOB, owner TEXT NOT NULL, expires REAL NOT NULL,
    PRIMARY KEY (fingerprint, image)
) WITHOUT ROWID;
"""


class FeatureStoreError(OSError):
    """A file that cannot be used as a feature store.

    Read more in the :ref:`User Guide <feature_bus>`.
    """


def open_file(path):
    """Open a store, and create its file if there is none.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    connection : sqlite3.Connection
        Set up for `FeatureStore`.
    writable : bool
        Whether rows can be written.

    Raises
    ------
    FeatureStoreError
        If the file or its log is not that of a store.
    sqlite3.Error
        If SQLite cannot use the file.
    """
    path = _find_file(path)
    if _has_log(path):
        _check_log(path)
    if os.path.exists(path) and not os.access(path, os.W_OK):
        return _open_read_only(path), False
    try:
        return _open_writable(path), True
    except sqlite3.OperationalError:
        if not os.path.exists(path) or _is_empty(path):
            raise
        return _open_read_only(path), False


def _find_file(path):
    """Return the absolute path of the file itself: SQLite looks for its log there, not at links."""
    if "\0" in path or path == ":memory:":
        raise FeatureStoreError(f"{path!r} cannot be the name of a feature store. Name a file.")
    path = os.path.realpath(path)
    if not os.path.isdir(os.path.dirname(path)):
        raise FeatureStoreError(f"There is no folder {os.path.dirname(path)!r}. Make it first.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise FeatureStoreError(f"{path!r} is no regular file, expected a feature store.")
    return path


@contextmanager
def transaction(connection):
    """Run a block as one transaction, which is rolled back after an error.

    Parameters
    ----------
    connection : sqlite3.Connection
        Where no transaction has begun.

    Yields
    ------
    None
        Nothing.
    """
    with _transaction(connection):
        # This writes page 1, so that each log contains the store's number: see `_check_log`.
        connection.execute(f"PRAGMA user_version = {_SCHEMA}")
        yield


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


def _connect(path, mode):
    connection = sqlite3.connect(
        f"{Path(path).as_uri()}?{mode}",
        uri=True,
        timeout=_PATIENCE,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = functools.partial(str, encoding="utf-8", errors="replace")
    # Nothing in the file may run code, and damaged pages are noticed when they are read.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


@contextmanager
def _closed_after_error(connection):
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def _open_writable(path):
    with _closed_after_error(_connect(path, "mode=rwc")) as connection:
        if _is_new(connection, path):
            _create(connection, path)
        _check_schema(connection, path)
        _use_log(connection)
        # A row lost to a power cut is computed again; the file stays whole all the same.
        connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _open_read_only(path):
    """Open a store where nothing can be written, not even the files of SQLite's log."""
    mode = "mode=ro" if _has_log(path) else "immutable=1"
    with _closed_after_error(_connect(path, mode)) as connection:
        _check_schema(connection, path)
    return connection


def _is_empty(path):
    return os.path.getsize(path) == 0


def _is_new(connection, path):
    """Tell whether the file has no bytes, or only those that precede the tables in `_create`.

    Other databases without tables are another program's.
    """
    if _is_empty(path):
        return True
    names = ["page_size", "auto_vacuum", "application_id", "user_version"]
    values = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    return values == [_PAGE_SIZE, 2, 0, 0] and not _list_schema(connection)


def _create(connection, path):
    """Create the tables, before the log: so the file itself has the store's number in page 1."""
    connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    try:
        with _transaction(connection):
            if _is_new(connection, path):  # no other process was faster
                _create_tables(connection, uuid.uuid4().hex)
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_SCHEMA}")
    except sqlite3.OperationalError as error:
        raise FeatureStoreError(
            f"cannot create the feature store {path!r}: {error}. Free disk space, or name a file "
            "in a folder on a disk of this machine that can be written."
        ) from error


def _create_tables(connection, store_id):
    for statement in _TABLES.format(store_id=store_id).split(";"):
        connection.execute(statement)


def _use_log(connection):
    """Switch to the write-ahead log; SQLite does not wait if another process does so, too."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _check_schema(connection, path):
    """Return the store's number; raise if the file is no store, or its tables were changed."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise FeatureStoreError(
            f"{path!r} is a SQLite file of another program, expected a feature store. "
            "Name another file."
        )
    if schema != _SCHEMA:
        raise FeatureStoreError(
            f"{path!r} has schema {schema}, expected {_SCHEMA}: another version of "
            "featbus wrote it. Use that version, or name another file."
        )
    found = _list_schema(connection)
    store_ids = re.findall("id TEXT DEFAULT '([0-9a-f]{32})'", str(found))
    if len(store_ids) != 1 or found != _expected_schema(store_ids[0]):
        raise FeatureStoreError(
            f"{path!r} has other tables, indices, views or triggers than those of a feature "
            "store: it is damaged, or another program changed it. Delete it, or name another file."
        )
    return store_ids[0]


def _list_schema(connection):
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


@functools.lru_cache
def _expected_schema(store_id):
    with closing(sqlite3.connect(":memory:")) as connection:
        _create_tables(connection, store_id)
        return _list_schema(connection)


def _has_log(path):
    """Tell whether there are a store and a log that SQLite would read together."""
    log = f"{path}-wal"
    return all(os.path.isfile(name) and os.path.getsize(name) for name in (path, log))


def _check_log(path):
    """Raise if the write-ahead log belongs to another file, or cannot be read.

    A process that is killed leaves a log, and SQLite would add it to any file that is moved into
    the place of the first. The store's number in page 1 of the file is compared with the one that
    SQLite sees, which comes from page 1 of the log. A connection that cannot write leaves both
    as they are.
    """
    try:
        with closing(_connect(path, "mode=ro")) as connection:
            store_id = _check_schema(connection, path)
    except sqlite3.OperationalError as error:
        raise FeatureStoreError(
            f"cannot read {path}-wal, SQLite's log with the newest rows of the store ({error}). "
            "Open the store once where its folder can be written, or copy both files to such a "
            "folder; delete both if they are damaged."
        ) from error
    with open(path, "rb") as file:
        if store_id.encode() not in file.read(_PAGE_SIZE):
            raise FeatureStoreError(
                f"{path}-wal is the log of another feature store than {path!r}: its process was "
                "killed, and the file was replaced since. Delete the log, or move it to its store."
            )
