"""FeatureStore: what it stores, and that nothing that happens to it makes a wrong row."""

import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Thread, current_thread, main_thread

import numpy as np
import pytest
from _spies import CountingMean, count
from _store_worker import IMAGES
from sklearn.preprocessing import FunctionTransformer

from featbus import HOG, LBP, FeatureBus, FeatureStore
from featbus.bus import FeatureStoreError, _store, fingerprint
from featbus.parameters import InvalidParameterError

WORKER = Path(__file__).with_name("_store_worker.py")
EXPECTED = np.array([[image.mean(), image.size] for image in IMAGES], dtype=np.float32)
HUNDRED = [index.to_bytes(16, "big") for index in range(100)]


@pytest.fixture
def bus(memory, log):
    return FeatureBus(CountingMean(log=log), memory=memory, batch_size=4)


FORK = """import os, sys
import numpy as np
from featbus import FeatureStore
memory, names = sys.argv[1], [index.to_bytes(16, "big") for index in range(100)]
def write(store, names):
    store.write(b"f", "f", names, [np.zeros(1000)] * len(names))
parent = FeatureStore(memory)
parent.info()
(ready, tell), (done, wait) = os.pipe(), os.pipe()
if not os.fork():
    child = FeatureStore(memory)
    write(child, names[:1])
    os.write(tell, b"1")
    os.read(done, 1)
    write(child, names[50:])
    child.close()
    os._exit(0)
os.read(ready, 1)
parent.close()
write(parent, names[1:50])
parent.close()
os.write(wait, b"1")
os.wait()
print(len(parent.read(b"f", names)))
"""


def execute(memory, statements):
    with closing(sqlite3.connect(memory)) as connection:
        connection.executescript(statements)


def start_worker(memory, log, *, delay=0.0, start=0, stop=200):
    arguments = [str(memory), str(log), str(delay), str(start), str(stop)]
    return subprocess.Popen([sys.executable, str(WORKER), *arguments])


def test_each_row_has_its_own_dtype_and_length(memory):
    rows = {b"a": np.array([np.nan, np.pi, 0]), b"b": np.ones(5, "u1"), b"c": np.ones(2, "?")}
    with FeatureStore(memory) as store:
        for image, row in rows.items():
            store.write(b"f", "t", [image], [row])
    store = pickle.loads(pickle.dumps(store))
    found = store.read(b"f", list(rows))
    assert store.read(b"g", list(rows)) == {}
    assert sorted(store.info()["n_features"]) == [2, 3, 5]
    for image, row in rows.items():
        assert found[image].dtype == row.dtype
        np.testing.assert_array_equal(found[image], row)
    assert repr(store) == f"FeatureStore({str(memory)!r})"


@pytest.mark.parametrize("dtype", [object, np.longdouble, "U1"])
def test_rows_that_are_no_numbers_are_not_stored(dtype, memory):
    with FeatureStore(memory) as store:
        assert store.claim(b"f", [b"a"], "one") == [b"a"]
        store.write(b"f", "t", [b"a"], np.zeros((1, 2)).astype(dtype))
        assert store.read(b"f", [b"a"]) == {}
        assert store.claim(b"f", [b"a"], "other") == [b"a"]  # nobody waits for it


def test_info(memory):
    FeatureBus(LBP(), memory=memory).fit_transform(IMAGES[:5])
    FeatureBus(HOG(pixels_per_cell=(5, 5)), memory=memory).fit_transform(IMAGES[:3])
    info = FeatureStore(memory).info()
    assert info["transformer"].tolist() == ["LBP()", "HOG(pixels_per_cell=(5, 5))"]
    assert info["n_rows"].tolist() == [5, 3]
    assert info["n_features"].tolist() == [10, 81]
    assert info["bytes"].tolist() == [5 * 10 * 4, 3 * 81 * 4]


def test_prune_drops_the_oldest_rows_and_shrinks_the_file(memory):
    rows = np.zeros((3000, 256), np.float32)
    digests = [index.to_bytes(16, "big") for index in range(3000)]
    with FeatureStore(memory) as store:
        store.write(b"f", "t", digests, rows)
        assert os.path.getsize(memory) + os.path.getsize(f"{memory}-wal") > 3_000_000
        dropped = store.prune(1_500_000)
        left = store.read(b"f", digests)
        assert len(left) == 3000 - dropped
        assert list(left) == digests[dropped:]
        assert 1_000_000 < os.path.getsize(memory) <= 1_500_000
        assert store.prune(np.int64(1_500_000)) == 0
        for size in (-1, np.nan, np.inf, "5", None):
            with pytest.raises(InvalidParameterError, match="max_bytes"):
                store.prune(size)
        assert store.prune(0) == 3000 - dropped
        assert store.info().empty


def test_claims_are_exclusive_until_they_are_released_or_lapse(memory, monkeypatch):
    with FeatureStore(memory) as store:
        assert store.claim(b"f", [b"a", b"b"], "one") == [b"a", b"b"]
        assert store.claim(b"f", [b"b", b"c"], "other") == [b"c"]
        assert store.claim(b"f", [b"b", b"c"], "one") == [b"b"]
        assert store.claim(b"g", [b"a"], "other") == [b"a"]
        store.write(b"f", "t", [b"a"], np.zeros((1, 2)))
        assert store.claim(b"f", [b"a", b"b"], "other") == []
        store.write(b"f", "t", [b"b"], [None])  # no row after all
        assert store.claim(b"f", [b"b"], "other") == [b"b"]
        store.release("other")
        assert store.claim(b"f", [b"b"], "one") == [b"b"]
        now = time.time()
        monkeypatch.setattr(_store.time, "time", lambda: now + 15)
        store.renew("one")
        monkeypatch.setattr(_store.time, "time", lambda: now + 30)
        assert store.claim(b"f", [b"b"], "other") == []
        monkeypatch.setattr(_store.time, "time", lambda: now + 60)
        assert store.claim(b"f", [b"b"], "other") == [b"b"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")
def test_a_fork_of_a_process_with_an_open_store_loses_no_rows(memory):
    assert int(subprocess.check_output([sys.executable, "-c", FORK, str(memory)])) == 100


def test_known_rows_need_no_write(bus, monkeypatch):
    bus.fit_transform(IMAGES)
    for method in ("claim", "write", "release"):
        monkeypatch.setattr(FeatureStore, method, None)
    np.testing.assert_array_equal(bus.transform(IMAGES), EXPECTED)


OTHER_PROCESS = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as connection:
    for image in range(50):
        query = "INSERT INTO feature (fingerprint, image, value) VALUES (?, ?, zeroblob(2000))"
        connection.execute(query, (sys.argv[2], image))
"""


def test_a_second_store_in_the_process_loses_no_rows(memory):
    """Whoever opens the file beside SQLite drops its locks (sqlite.org/howtocorrupt, 2.2)."""

    def write_elsewhere(name):
        subprocess.run([sys.executable, "-c", OTHER_PROCESS, str(memory), name], check=True)

    with FeatureStore(memory) as store:
        store.write(b"f", "t", HUNDRED[:1], np.ones((1, 500)))
        other = FeatureStore(memory)
        other.open()
        other.close()
        fingerprint(FunctionTransformer(np.copy, kw_args={"order": str(memory)}))
        write_elsewhere("first")
        store.write(b"f", "t", HUNDRED, np.ones((100, 500)))
        write_elsewhere("second")
    assert sorted(FeatureStore(memory).info()["n_rows"]) == [50, 50, 100]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_run_continues_if_another_connection_does_not_end_its_transaction(
    n_jobs, bus, memory, log, monkeypatch
):
    bus.set_params(n_jobs=n_jobs).fit_transform(IMAGES[:4])
    monkeypatch.setattr(_store, "_PATIENCE", 0.05)
    with closing(sqlite3.connect(memory, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(RuntimeWarning, match="locked"):
            np.testing.assert_array_equal(bus.transform(IMAGES), EXPECTED)
    assert FeatureStore(memory).info()["n_rows"].tolist() == [4]
    assert count(log) == 200  # the rows that are there are still used


@pytest.mark.slow
def test_processes_with_the_same_and_with_different_images(memory, log):
    parts = [(0, 150), (50, 200), (0, 200)]
    workers = [start_worker(memory, log, delay=0.002, start=a, stop=b) for a, b in parts]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    for start, stop in parts:
        rows = np.load(f"{log}-{start}-{stop}.npy")
        np.testing.assert_array_equal(rows, EXPECTED[start:stop])
    assert count(log) == 200
    assert FeatureStore(memory).info()["n_rows"].tolist() == [200]


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT OR REPLACE INTO feature"])
@pytest.mark.parametrize("nth", [2, 5])
def test_ctrl_c_in_the_middle_of_a_write(statement, nth, memory, monkeypatch):
    """Python raises the interrupt of a signal when SQLite has already done its work."""
    seen = []

    class Connection(sqlite3.Connection):
        def execute(self, query, *arguments):
            return self._interrupted(super().execute(query, *arguments), query)

        def executemany(self, query, *arguments):
            return self._interrupted(super().executemany(query, *arguments), query)

        def _interrupted(self, result, query):
            if query.startswith(statement) and current_thread() is main_thread():
                seen.append(query)
                if len(seen) == nth:
                    raise KeyboardInterrupt
            return result

    connect = partial(sqlite3.connect, factory=Connection)
    monkeypatch.setattr(_store.sqlite3, "connect", connect)
    with FeatureStore(memory) as store:
        bus = FeatureBus(HOG(pixels_per_cell=(4, 4)), memory=store, batch_size=4)
        with pytest.raises(KeyboardInterrupt):
            bus.fit_transform(IMAGES[:40])
        with FeatureStore(memory) as other:
            assert other.claim(b"f", [b"a"], "one") == [b"a"]  # nobody holds the file
            claims = other._connection.execute("SELECT count(*) FROM claim").fetchone()
        assert claims == (1,)
        rows = bus.fit_transform(IMAGES[:40])
        np.testing.assert_array_equal(rows, bus.transformer_.transform(IMAGES[:40]))
        assert store.info()["n_rows"].tolist() == [40]


def refuse_bright(X):
    time.sleep(0.02)
    if X[0].max() >= 100:
        raise ValueError("too bright")
    return [[image.mean()] for image in X]


@pytest.mark.filterwarnings("ignore:.*their rows are NaN:UserWarning")
def test_runs_do_not_wait_for_each_others_bad_images(memory):
    def run(levels):
        images = np.stack([np.full((8, 8), level, np.uint8) for level in levels])
        transformer = FunctionTransformer(refuse_bright)
        bus = FeatureBus(transformer, memory=memory, batch_size=1, n_jobs=1, on_error="nan")
        rows[levels] = bus.fit(images).transform(images)[:, 0]

    rows, both = {}, [(100, *range(1, 9), 101), (101, *range(11, 19), 100)]
    threads = [Thread(target=run, args=[levels], daemon=True) for levels in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert set(rows) == set(both)
    for levels, found in rows.items():
        np.testing.assert_array_equal(found, [np.nan, *levels[1:-1], np.nan])


def test_a_full_disk(bus, memory, log, monkeypatch):
    """SQLite's limit of pages gives the error of a full disk."""
    bus.fit_transform(IMAGES[:20])
    connect = sqlite3.connect

    def small(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 1")  # no more than there are now
        return connection

    monkeypatch.setattr(_store.sqlite3, "connect", small)
    hog = HOG(pixels_per_cell=(4, 4))
    with pytest.warns(RuntimeWarning, match="full") as caught:
        rows = FeatureBus(hog, memory=memory, batch_size=4, n_jobs=1).fit_transform(IMAGES)
    assert len([one for one in caught if one.category is RuntimeWarning]) == 1
    np.testing.assert_array_equal(rows, hog.transform(IMAGES))
    np.testing.assert_array_equal(bus.transform(IMAGES[:20]), EXPECTED[:20])
    assert count(log) == 20
    with closing(connect(memory)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("has_rows", [False, True])
def test_the_log_of_a_killed_process_makes_no_wrong_row(has_rows, memory, tmp_path):
    """SQLite adds it to the file that it belongs to, and to any that replaces this one."""
    live, other = tmp_path / "live", tmp_path / "other.sqlite"
    with FeatureStore(live) as store:
        store.write(b"killed", "t", HUNDRED[:1], np.zeros((1, 500)))
        store.prune(1 << 30)  # the log begins after the transformer was written
        store.write(b"killed", "t", HUNDRED[1:], np.zeros((99, 500)))
        for path in (memory, other):
            for suffix in ("", "-wal"):
                shutil.copy(f"{live}{suffix}", f"{path}{suffix}")
    with FeatureStore(memory) as store:
        assert len(store.read(b"killed", HUNDRED)) == 100
    with FeatureStore(tmp_path / "new") as store:
        store.open()
        for start in range(0, 100 * has_rows, 10):
            part = HUNDRED[start : start + 10]
            store.write(b"moved", "t", part, np.ones((10, 500)))
    os.replace(tmp_path / "new", other)
    with FeatureStore(other) as store:
        assert all((row == 1).all() for row in store.read(b"moved", HUNDRED).values())
        assert all((row == 0).all() for row in store.read(b"killed", HUNDRED).values())


@pytest.mark.filterwarnings("ignore:The feature store:RuntimeWarning")
def test_flipped_bytes_never_make_a_wrong_row(bus, memory):
    bus.fit_transform(IMAGES)
    whole = memory.read_bytes()
    clear_errors = 0
    for position in np.linspace(100, len(whole) - 64, 40).astype(int):
        memory.write_bytes(whole[:position] + b"\xff" * 64 + whole[position + 64 :])
        try:
            np.testing.assert_array_equal(bus.transform(IMAGES), EXPECTED)
        except FeatureStoreError:
            clear_errors += 1
    assert clear_errors < 10


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE feature SET value = zeroblob(8), dtype = '<i4' WHERE id = 2",
        "UPDATE feature SET dtype = '|O'",
        "UPDATE feature SET dtype = CAST(x'ff' AS TEXT)",
        "UPDATE feature SET value = 2.5, checksum = 0",
        "UPDATE OR REPLACE feature SET image = 7 WHERE id = 2",
        "UPDATE feature SET image = 1000 + id; UPDATE feature SET image = (SELECT image FROM "
        "feature AS f WHERE f.id = 11 - feature.id)",
        "UPDATE feature SET (value, checksum) = (SELECT value, checksum FROM feature WHERE id = 9)",
        "UPDATE OR REPLACE feature SET fingerprint = (SELECT max(fingerprint) FROM feature)",
    ],
)
def test_a_row_is_bound_to_what_it_is_the_row_of(damage, bus, memory, log):
    """The two transformers have rows of the same dtype and length."""
    other = FeatureBus(CountingMean(log=log, factor=2.0), memory=memory)
    for one in (bus, other):
        one.fit_transform(IMAGES[:5])
    execute(memory, damage)
    computed = count(log)
    for _ in range(2):
        np.testing.assert_array_equal(bus.transform(IMAGES[:5]), EXPECTED[:5])
        np.testing.assert_array_equal(other.transform(IMAGES[:5]), EXPECTED[:5] * [2, 1])
    assert computed < count(log) <= computed + 10  # computed again, and replaced
    assert FeatureStore(memory).info()["n_rows"].sum() >= 10


@pytest.mark.slow
def test_corruptions_and_kills_under_guard():
    """Of the file and of its log."""
    script = WORKER.parents[1] / "benchmarks" / "fuzz" / "store.py"
    command = [sys.executable, script, "--corruptions", "60", "--kills", "4", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "statements",
    [
        None,
        "CREATE TABLE patient (name TEXT)",
        "PRAGMA application_id = 0x66656174; PRAGMA user_version = 2; CREATE TABLE feature (id)",
    ],
    ids=["no database", "table", "the version before"],
)
def test_other_files_are_left_alone(statements, bus, memory):
    if statements is None:
        memory.write_bytes(b"my thesis, the only copy" * 100)
    else:
        execute(memory, statements)
    before = memory.read_bytes()
    with pytest.raises(FeatureStoreError, match="another version of featbus|not a database"):
        bus.fit_transform(IMAGES)
    assert memory.read_bytes() == before


def test_files_that_cannot_be_made(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none" / "rows.sqlite", tmp_path / "folder"):
        with pytest.raises(FeatureStoreError, match=path.name):
            FeatureStore(path).open()
