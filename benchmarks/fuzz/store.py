"""FeatureStore: what comes back from files that were corrupted, and after kills.

Each case damages a copy of a store, in a process of its own with a time limit, and then uses it as
FeatureBus does: look up, claim, compute, write. The table counts how it ended:

- served: all rows came from the store;
- recomputed: some were missing or damaged, and the others right;
- refused: a FeatureStoreError;
- wrong, exception, hang, crash: what must not happen.

    python benchmarks/fuzz/store.py                              # 50,000 corruptions, 50 kills
    python benchmarks/fuzz/store.py --corruptions 500 --kills 5

The store lies in the folder for temporary files: one in memory (TMPDIR=/dev/shm) is faster.
"""

import argparse
import functools
import multiprocessing
import os
import shutil
import sqlite3
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

import numpy as np

from featbus import FeatureStore
from featbus.bus import FeatureStoreError

PAGE = 32768
LIMIT = 30.0  # seconds; a claim of a process that does not renew it blocks others for 20
FINE = ["served", "recomputed", "refused"]
BAD = ["wrong", "exception", "hang", "crash"]
FILES = ["", "-wal"]


def make_rows(salt, n_images=40):
    """Return rows by fingerprint and image: two alike, other types and lengths, and long ones."""
    rows = defaultdict(dict)
    for index in range(n_images):
        rng = np.random.default_rng([salt, index])
        image = index.to_bytes(16, "big")
        rows[b"one"][image] = rng.random(300, np.float32)
        rows[b"other"][image] = rng.random(300, np.float32)
        rows[b"mixed"][image] = rng.random(9).astype([np.float32, np.float64][index % 2])
        rows[b"regions"][image] = rng.integers(0, 256, 50 + index, dtype=np.uint8)
        if index % 16 == 0:
            rows[b"long"][image] = rng.random(PAGE // 4)
    # The transformers of another store are others, too; their rows have the same types and sizes.
    return {b"%b %d" % (name, salt): found for name, found in rows.items()}


def write_all(store, rows, part=slice(None)):
    for fingerprint, found in rows.items():
        images = list(found)[part]
        store.write(fingerprint, "a transformer", images, [found[image] for image in images])


def make_store(folder, rows):
    """Write a store in three parts; keep copies of each state of its file and log."""
    folder.mkdir()
    path = folder / "store"
    with FeatureStore(path) as store:
        write_all(store, rows, slice(0, 20))
        keep(path, folder / "early")
        store.prune(1 << 30)  # moves the log into the file
        write_all(store, rows, slice(20, None))
        store.claim(b"one 0", [b"%16d" % index for index in range(50)], uuid4().hex)
        keep(path, folder / "late")
    keep(path, folder / "closed")


def keep(path, target):
    for suffix in [*FILES, "-shm"]:
        with suppress(FileNotFoundError):
            shutil.copy(f"{path}{suffix}", f"{target}{suffix}")


def make_journal(folder):
    """Keep a rollback journal of another database, as a process killed in mid-commit leaves it."""
    path = folder / "other"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("CREATE TABLE note (text)")
        connection.execute("INSERT INTO note VALUES (zeroblob(300000))")
        connection.execute("BEGIN")
        connection.execute("UPDATE note SET text = randomblob(300000)")
        keep(path, folder / "killed")
        shutil.copy(f"{path}-journal", folder / "journal")


# What can happen to a file.


def pick(path, rng):
    """Return a file of the store, more often the main one."""
    wal = f"{path}-wal"
    return wal if os.path.exists(wal) and rng.random() < 0.4 else str(path)


def edit(change):
    """Turn a change of bytes into one of a file."""

    @functools.wraps(change)
    def corrupt(path, seeds, rng):
        name = pick(path, rng)
        data = np.fromfile(name, np.uint8)
        change(data, rng).tofile(name)

    return corrupt


@edit
def bits(data, rng):
    for place in rng.integers(0, len(data), rng.integers(1, 9)):
        data[place] ^= 1 << rng.integers(8)
    return data


@edit
def used_bits(data, rng):
    for place in rng.choice(np.flatnonzero(data), rng.integers(1, 4)):
        data[place] ^= 1 << rng.integers(8)
    return data


@edit
def page_headers(data, rng):
    """Change bytes where SQLite keeps types, counts and offsets."""
    page = PAGE * rng.integers(0, max(len(data) // PAGE, 1))
    places = page + rng.integers(0, 130, rng.integers(1, 5))
    data[np.minimum(places, len(data) - 1)] = rng.integers(0, 256, len(places))
    return data


@edit
def spans(data, rng):
    start = rng.integers(0, len(data))
    span = data[start : start + rng.integers(1, 500)]
    span[:] = rng.integers(0, 256, len(span)) if rng.random() < 0.7 else 0
    return data


@edit
def truncated(data, rng):
    return data[: rng.integers(0, len(data))]


@edit
def extended(data, rng):
    more = rng.integers(0, 256, rng.integers(1, 3 * PAGE), dtype=np.uint8)
    return np.concatenate([data, more])


@edit
def moved_bytes(data, rng):
    size = rng.integers(1, 3000)
    start, target = rng.integers(0, max(len(data) - size, 1), 2)
    data[target : target + size] = data[start : start + size].copy()
    return data


@edit
def pages(data, rng):
    """Zero a page, or put another one in its place."""
    n_pages = len(data) // PAGE
    if n_pages > 1:
        whole = data[: n_pages * PAGE].reshape(n_pages, PAGE)
        one, other = rng.integers(0, n_pages, 2)
        if rng.random() < 0.3:
            whole[one] = 0
        elif rng.random() < 0.5:
            whole[one] = whole[other]
        else:
            whole[[one, other]] = whole[[other, one]]
    return data


def foreign_pages(path, seeds, rng):
    name = pick(path, rng)
    data, other = np.fromfile(name, np.uint8), np.fromfile(seeds / "b" / "closed", np.uint8)
    for _ in range(rng.integers(1, 4)):
        start = PAGE * rng.integers(0, max(min(len(data), len(other)) // PAGE, 1))
        data[start : start + PAGE] = other[start : start + PAGE][: len(data[start : start + PAGE])]
    data.tofile(name)


def foreign_log(path, seeds, rng):
    """Put a log of another store, or of another time, beside the file."""
    source = [seeds / "b" / "late", seeds / "b" / "early", seeds / "a" / "early"]
    shutil.copy(f"{source[rng.integers(3)]}-wal", f"{path}-wal")
    if rng.random() < 0.5:
        shutil.copy(f"{source[rng.integers(3)]}-shm", f"{path}-shm")
    if rng.random() < 0.5:
        truncated(path, seeds, rng)


def merged_foreign_log(path, seeds, rng):
    """Let SQLite itself write the log of another store into the file."""
    foreign_log(path, seeds, rng)
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def foreign_file(path, seeds, rng):
    """Replace the file, but not its log."""
    shutil.copy(seeds / "a" / "late-wal", f"{path}-wal")
    if rng.random() < 0.7:
        shutil.copy(seeds / "b" / str(rng.choice(["early", "late", "closed"])), path)
    else:
        path.write_bytes(rng.bytes(rng.integers(0, 100_000)))


def foreign_journal(path, seeds, rng):
    shutil.copy(seeds / "journal", f"{path}-journal")


STATEMENTS = [
    "UPDATE feature SET dtype = '{dtype}' WHERE {some}",
    "UPDATE feature SET n_features = {value} WHERE {some}",
    "UPDATE feature SET value = {value} WHERE {some}",
    "UPDATE feature SET value = zeroblob(length(value)) WHERE {some}",
    "UPDATE feature SET value = CAST(value AS TEXT) WHERE {some}",
    "UPDATE feature SET checksum = {value} WHERE {some}",
    "UPDATE OR REPLACE feature SET image = {value} WHERE {some}",
    "UPDATE OR REPLACE feature SET transformer = 1 + transformer % 5 WHERE {some}",
    "UPDATE feature SET (value, checksum) = (SELECT value, checksum FROM feature WHERE id = 3)",
    "UPDATE OR REPLACE transformer SET id = 9 - id",
    "UPDATE OR REPLACE transformer SET fingerprint = {value} WHERE id = 2",
    "UPDATE OR REPLACE transformer SET description = {value}",
    "UPDATE claim SET expires = {value}",
    "UPDATE claim SET owner = {value}",
    "UPDATE OR REPLACE claim SET fingerprint = {value}",
    "INSERT OR REPLACE INTO claim SELECT fingerprint, image, {owner}, 1e300 "
    "FROM transformer, feature",
    "INSERT OR REPLACE INTO claim SELECT fingerprint, image, {value}, {value} "
    "FROM transformer, feature",
    "DELETE FROM feature WHERE {some}",
    "DELETE FROM transformer",
    "DELETE FROM sqlite_sequence",
    "UPDATE sqlite_sequence SET seq = 9223372036854775807",
    "CREATE VIEW v AS SELECT * FROM feature",
    "CREATE TABLE patient (name TEXT)",
    "CREATE INDEX i ON feature (image)",
    "CREATE TRIGGER t AFTER INSERT ON feature BEGIN UPDATE feature SET value = x'00'; END",
    "ALTER TABLE feature ADD COLUMN more",
    "DROP TABLE feature; CREATE TABLE feature (id, transformer, image, dtype, n_features, "
    "checksum, value)",
    "ALTER TABLE feature RENAME TO f; CREATE VIEW feature AS SELECT * FROM f",
    "DROP TABLE store",
    "DROP TABLE claim",
    "PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE type = 'index'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = {page} WHERE {some_table}",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = {value} WHERE {some_table}",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '')",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = "
    "replace(sql, 'value BLOB', 'value AS (zeroblob(n_features * 4))')",
    "PRAGMA application_id = {page}",
    "PRAGMA user_version = {page}",
    "ANALYZE",
    "VACUUM",
    "REINDEX",
    "PRAGMA journal_mode = DELETE",
]


def statement(path, seeds, rng):
    """Edit the store with SQL."""
    number, image = rng.integers(-3, 30), rng.integers(0, 40)
    values = ["NULL", "'text'", "CAST(x'ff' AS TEXT)", "x'0102'", "2.5", "9e999", str(2**62)]
    values += ["zeroblob(100000)", "'1'", f"'{uuid4().hex}'"]
    sql = rng.choice(STATEMENTS).format(
        dtype=rng.choice(["<f8", "<f4", ">f4", "|O", "|V8", "<M8[s]", "(2,)f4", "f4,f4", "?", ""]),
        value=rng.choice(values),
        owner=f"'{uuid4().hex}'",
        page=number,
        some=rng.choice(["true", "id % 3 = 0", f"id = {image}"]),
        some_table=f"rowid = {rng.integers(1, 9)}",
    )
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.executescript(sql)


def not_a_store(path, seeds, rng):
    """Put a database of another program in its place, empty or with our marks."""
    for suffix in ["", "-wal", "-shm"]:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {rng.choice([512, 4096, PAGE])}")
        connection.execute(f"PRAGMA user_version = {rng.integers(0, 4)}")
        connection.execute(f"PRAGMA application_id = {rng.choice([0, 1, 0x66656174])}")
        if rng.random() < 0.5:
            connection.execute(f"CREATE TABLE {rng.choice(['feature', 'patient'])} (id, value)")


CORRUPTIONS = [
    *[bits, used_bits, page_headers, spans, truncated, extended, moved_bytes, pages],
    *[foreign_pages, foreign_log, merged_foreign_log, foreign_file, foreign_journal],
    *[statement, statement, not_a_store],
]


# What a case does, in a worker.


def serve(store, rows):
    """Use a store as a run of FeatureBus does; return the number of rows computed."""
    owner, computed = uuid4().hex, 0
    for fingerprint, expected in rows.items():
        missing = look_up(store, fingerprint, list(expected), expected)
        while missing:
            free = store.claim(fingerprint, missing, owner)
            if free:
                store.write(fingerprint, "again", free, [expected[image] for image in free])
            computed += len(free)
            waiting = [image for image in missing if image not in free]
            if waiting:
                time.sleep(0.05)
            missing = look_up(store, fingerprint, waiting, expected)
    store.release(owner)
    return computed


def look_up(store, fingerprint, images, expected):
    """Return the images without a row; raise if a row is wrong."""
    found = store.read(fingerprint, images)
    for image, row in found.items():
        same = image in expected and row.dtype == expected[image].dtype
        if not (same and row.tobytes() == expected[image].tobytes()):
            raise WrongRowError
    return [image for image in images if image not in found]


class WrongRowError(Exception):
    """A row that is not the one written for its transformer and image."""


def use(path, rows, rng):
    """Serve all rows twice, with each other method between; return how it ended."""
    try:
        with FeatureStore(path) as store:
            computed = serve(store, rows)
            for method in (store.info, lambda: store.prune(rng.integers(0, 1_000_000))):
                if rng.random() < 0.3:
                    with suppress(FeatureStoreError):
                        method()
            serve(store, rows)
            return "recomputed" if computed else "served"
    except FeatureStoreError:
        return "refused"


def run_case(seeds, path, seed, index):
    """Corrupt a copy of a store and use it; return the kind of damage."""
    rng = np.random.default_rng([seed, index])
    for suffix in [*FILES, "-shm", "-journal"]:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    keep(seeds / "a" / str(rng.choice(["late", "closed", "early"])), path)
    if rng.random() < 0.5:
        Path(f"{path}-shm").unlink(missing_ok=True)
    corrupt = CORRUPTIONS[rng.integers(len(CORRUPTIONS))]
    corrupt(path, seeds, rng)
    return corrupt.__name__, rng


def work(connection, seeds, seed):
    """Run the cases whose numbers come in; a path is one to use as it is."""
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", RuntimeWarning)
    rows = make_rows(0)
    with tempfile.TemporaryDirectory() as folder:
        for case in iter(connection.recv, None):
            kind, rng, path = "kill", np.random.default_rng(0), case
            if not isinstance(case, Path):
                path = Path(folder, "store")
                kind, rng = run_case(seeds, path, seed, case)
            connection.send(kind)
            try:
                connection.send((use(path, rows, rng), ""))
            except WrongRowError:
                connection.send(("wrong", ""))
            except BaseException as error:
                connection.send(("exception", repr(error)[:200]))


class Guard:
    """Runs cases in a process, and replaces it when it hangs or crashes."""

    def __init__(self, seeds, seed):
        self._arguments = seeds, seed
        self._process = None

    def run(self, case):
        """Return the kind of damage, the outcome and the error of a case."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, end = context.Pipe()
            self._process = context.Process(target=work, args=(end, *self._arguments), daemon=True)
            self._process.start()
            end.close()
        kind = "unknown"
        try:
            self._pipe.send(case)
            kind = self._pipe.recv()
            if self._pipe.poll(LIMIT):
                return kind, *self._pipe.recv()
            self.close()
            return kind, "hang", ""
        except EOFError:
            self.close()
            return kind, "crash", ""

    def close(self):
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def corruptions(seeds, seed, cases):
    """Return the results of cases, in one guarded process."""
    guard = Guard(seeds, seed)
    try:
        return [(case, *guard.run(case)) for case in cases]
    finally:
        guard.close()


def write_forever(path, rows, seed):
    """Do what runs do, until the process is killed."""
    rng = np.random.default_rng(seed)
    while True:
        with FeatureStore(path) as store:
            for _ in range(rng.integers(1, 10)):
                part = {key: rows[key] for key in rng.permutation(list(rows))[:2]}
                serve(store, part)
                store.prune(rng.integers(100_000, 1_000_000))


def kills(folder, seeds, seed, n_kills):
    """Kill processes that write to one store, use it after each; return the results."""
    guard, rng, results = Guard(seeds, seed), np.random.default_rng(seed), []
    context, path = multiprocessing.get_context("fork"), folder / "killed"
    for index in range(n_kills):
        if index % 10 == 0:  # a new store: some are killed while they create it
            for suffix in [*FILES, "-shm", "-journal"]:
                Path(f"{path}{suffix}").unlink(missing_ok=True)
        process = context.Process(target=write_forever, args=(path, make_rows(0), index))
        process.start()
        time.sleep(rng.exponential(0.2))
        process.kill()
        process.join()
        results.append((f"kill {index}", *guard.run(path)))
    guard.close()
    return results


def print_table(results):
    counts = defaultdict(Counter)
    for _, kind, outcome, _ in results:
        counts[kind][outcome] += 1
        counts["all"][outcome] += 1
    print(f"{'':20}{'cases':>8}" + "".join(f"{name:>12}" for name in FINE + BAD))
    for kind, found in sorted(counts.items(), key=lambda item: (item[0] == "all", item[0])):
        numbers = "".join(f"{found[name]:12,}" for name in FINE + BAD)
        print(f"{kind.replace('_', ' '):20}{found.total():8,}{numbers}")
    for case, kind, outcome, error in results:
        if outcome in BAD:
            print(f"case {case}, {kind}: {outcome} {error}")
    return sum(counts["all"][name] for name in BAD)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corruptions", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        seeds = Path(name)
        make_store(seeds / "a", make_rows(0))
        make_store(seeds / "b", make_rows(1))
        make_journal(seeds)
        results = kills(seeds, seeds, options.seed, options.kills)
        jobs = max(min(options.jobs, options.corruptions), 1)
        parts = [range(start, options.corruptions, jobs) for start in range(jobs)]
        with ThreadPoolExecutor(jobs) as executor:
            for part in executor.map(lambda cases: corruptions(seeds, options.seed, cases), parts):
                results += part
    return 1 if print_table(results) else 0


if __name__ == "__main__":
    sys.exit(main())
