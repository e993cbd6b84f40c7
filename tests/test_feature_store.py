"""FeatureStore: what it keeps, and that nothing that happens to it makes a wrong row."""

import functools
import importlib.util
import os
import pickle
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from threading import Thread, current_thread, main_thread

import numpy as np
import pytest
from _spies import CountingMean, count
from _store_worker import images
from sklearn.preprocessing import FunctionTransformer

from featbus import HOG, LBP, FeatureBus, FeatureStore
from featbus.bus import FeatureStoreError, FeatureStoreWarning, _store_file
from featbus.bus._store import new_owner
from featbus.parameters import InvalidParameterError

WORKER = Path(__file__).with_name("_store_worker.py")
IMAGES = images()
EXPECTED = np.array([[image.mean(), image.size] for image in IMAGES], dtype=np.float32)


@pytest.fixture
def memory(tmp_path):
    return tmp_path / "features.sqlite"


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


@pytest.fixture
def bus(memory, log):
    return FeatureBus(CountingMean(log=log), memory=memory, batch_size=4)


def execute(memory, statements):
    connection = sqlite3.connect(memory)
    connection.executescript(statements)
    connection.close()


def start_worker(memory, log, *, delay=0.0, start=0, stop=200):
    arguments = [str(memory), str(log), str(delay), str(start), str(stop)]
    return subprocess.Popen([sys.executable, str(WORKER), *arguments])


def test_rows_come_back_bit_by_bit(memory):
    rows = np.random.default_rng(0).normal(size=(1000, 7)).astype(np.float32)
    rows[0, 0] = np.nan
    digests = [index.to_bytes(16, "big") for index in range(1000)]
    with FeatureStore(memory) as store:
        store.write(b"f", "a transformer", digests, rows)
        assert store.read(b"g", digests) == {}
        found = store.read(b"f", [*digests, b"unknown"])
    assert len(found) == 1000
    assert all(found[digest].tobytes() == row.tobytes() for digest, row in zip(digests, rows))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(memory, dtype):
    bus = FeatureBus(LBP(dtype=dtype), memory=memory)
    first, second = bus.fit_transform(IMAGES[:3]), bus.transform(IMAGES[:3])
    assert first.dtype == second.dtype == dtype
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("dtypes", [("<f4", "<f8"), ("<f8", "u1"), ("?", "<i4")])
def test_each_row_has_its_own_dtype_and_length(memory, dtypes):
    rows = [np.ones(length, dtype) for length, dtype in zip((3, 5), dtypes)]
    with FeatureStore(memory) as store:
        for image, row in zip([b"a", b"b"], rows):
            store.write(b"f", "t", [image], [row])
        found = store.read(b"f", [b"a", b"b"])
        assert sorted(store.info()["n_features"]) == [3, 5]
    for image, row in zip([b"a", b"b"], rows):
        assert found[image].dtype == row.dtype
        np.testing.assert_array_equal(found[image], row)


def test_rows_that_are_no_numbers_are_not_stored(memory):
    texts = np.array([["a", "b"]], dtype=object)
    with FeatureStore(memory) as store:
        owner = new_owner()
        assert store.claim(b"f", [b"a"], owner) == [b"a"]
        with pytest.warns(FeatureStoreWarning, match="rows of dtype object.*not stored"):
            store.write(b"f", "t", [b"a"], texts)
        assert store.read(b"f", [b"a"]) == {}
        assert store.claim(b"f", [b"a"], new_owner()) == [b"a"]  # nobody waits for it


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
        for start in range(0, 3000, 500):
            store.write(b"f", "t", digests[start : start + 500], rows[start : start + 500])
        assert os.path.getsize(memory) + os.path.getsize(f"{memory}-wal") > 3_000_000
        dropped = store.prune(1_500_000)
        left = store.read(b"f", digests)
        assert len(left) == 3000 - dropped
        assert list(left) == digests[dropped:]
        assert 1_000_000 < os.path.getsize(memory) <= 1_500_000
        assert store.prune(np.int64(1_500_000)) == 0


def test_clear(bus, memory, log):
    bus.fit_transform(IMAGES[:5])
    assert FeatureStore(memory).clear() == 5
    assert FeatureStore(memory).info().empty
    bus.transform(IMAGES[:5])
    assert count(log) == 10


def test_numbers_of_transformers_are_never_used_again(memory):
    with FeatureStore(memory) as store:
        for fingerprint in (b"f", b"g"):
            store.write(fingerprint, "t", [b"a"], np.zeros((1, 2)))
            store.clear()
        store.write(b"h", "t", [b"a"], np.zeros((1, 2)))
        query = "SELECT id FROM transformer"
        assert store._connection.execute(query).fetchall() == [(3,)]


def test_a_store_survives_pickling_and_its_context(bus, memory):
    bus.fit_transform(IMAGES[:5])
    store = pickle.loads(pickle.dumps(FeatureStore(memory)))
    with store:
        assert store.info()["n_rows"].tolist() == [5]
    assert store.info()["n_rows"].tolist() == [5]
    assert repr(store) == f"FeatureStore({str(memory)!r})"


def test_claims_are_exclusive_until_they_are_released_or_lapse(memory, monkeypatch):
    from featbus.bus import _store

    one, other = _store.new_owner(), _store.new_owner()
    with FeatureStore(memory) as store:
        assert store.claim(b"f", [b"a", b"b"], one) == [b"a", b"b"]
        assert store.claim(b"f", [b"b", b"c"], other) == [b"c"]
        assert store.claim(b"g", [b"a"], other) == [b"a"]
        store.write(b"f", "t", [b"a"], np.zeros((1, 2)))
        assert store.claim(b"f", [b"a", b"b"], other) == []
        store.release(one)
        assert store.claim(b"f", [b"a", b"b"], other) == [b"b"]
        now = time.time()
        monkeypatch.setattr(_store.time, "time", lambda: now + 15)
        store.renew(other)
        monkeypatch.setattr(_store.time, "time", lambda: now + 30)
        assert store.claim(b"f", [b"b"], one) == []
        monkeypatch.setattr(_store.time, "time", lambda: now + 60)
        assert store.claim(b"f", [b"b"], one) == [b"b"]


@pytest.mark.parametrize(
    "damage",
    [
        "expires = 1e300",
        "expires = 9e999",
        "expires = 'tomorrow'",
        "owner = 'somebody'",
        "owner = '{host}:99999999999999999999:{number}'",
        "owner = '{host}:0:{number}'",
        "owner = x'ff'",
    ],
)
def test_a_damaged_claim_blocks_nobody(damage, memory):
    with FeatureStore(memory) as store:
        store.claim(b"f", [b"a"], new_owner())
        damage = damage.format(host=socket.gethostname(), number=32 * "0")
        execute(memory, f"UPDATE claim SET {damage}")
        assert store.claim(b"f", [b"a"], new_owner()) == [b"a"]


def test_one_row_of_undecodable_text_leaves_the_others(memory):
    with FeatureStore(memory) as store:
        store.write(b"f", "t", [b"a", b"b"], np.ones((2, 2)))
        execute(memory, "UPDATE feature SET dtype = CAST(x'ff' AS TEXT) WHERE image = x'61'")
        assert list(store.read(b"f", [b"a", b"b"])) == [b"b"]
        execute(memory, "UPDATE transformer SET description = CAST(x'ff' AS TEXT)")
        assert store.info()["n_rows"].tolist() == [1, 1]


def test_a_damaged_row_can_be_claimed(memory):
    with FeatureStore(memory) as store:
        store.write(b"f", "t", [b"a", b"b"], np.ones((2, 2)))
        execute(memory, "UPDATE feature SET value = zeroblob(16) WHERE image = x'61'")
        assert list(store.read(b"f", [b"a", b"b"])) == [b"b"]
        assert store.claim(b"f", [b"a", b"b"], new_owner()) == [b"a"]


def test_known_rows_need_no_thread_and_no_write(bus, monkeypatch):
    bus.fit_transform(IMAGES)

    def fail(*arguments, **options):
        raise AssertionError("done for nothing")

    monkeypatch.setattr(Thread, "start", fail)
    for method in ("claim", "write", "release"):
        monkeypatch.setattr(FeatureStore, method, fail)
    np.testing.assert_array_equal(bus.transform(IMAGES), EXPECTED)


def test_the_claim_of_a_dead_process_blocks_nobody(bus, memory, log):
    worker = start_worker(memory, log, delay=0.05)
    while count(log) < 8:
        time.sleep(0.01)
    worker.kill()
    worker.wait()
    start = time.monotonic()
    np.testing.assert_array_equal(bus.fit_transform(IMAGES), EXPECTED)
    assert time.monotonic() - start < 15  # less than the 20 seconds after which claims lapse


@pytest.mark.slow
def test_two_processes_with_the_same_and_with_different_images(memory, log, tmp_path):
    workers = [
        start_worker(memory, log, delay=0.002, start=start, stop=stop)
        for start, stop in [(0, 150), (50, 200), (0, 200)]
    ]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    for start, stop in [(0, 150), (50, 200), (0, 200)]:
        rows = np.load(f"{log}-{start}-{stop}.npy")
        np.testing.assert_array_equal(rows, EXPECTED[start:stop])
    assert count(log) == 200
    assert FeatureStore(memory).info()["n_rows"].tolist() == [200]


@pytest.mark.slow
def test_killed_in_mid_write_again_and_again(bus, memory, log):
    rng = np.random.default_rng(0)
    for _ in range(5):
        before = count(log)
        worker = start_worker(memory, log, delay=0.003)
        while count(log) == before and worker.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        worker.kill()
        worker.wait()
        connection = sqlite3.connect(memory)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
    assert FeatureStore(memory).info()["n_rows"].sum() > 0
    np.testing.assert_array_equal(bus.fit_transform(IMAGES), EXPECTED)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_computed(memory, log):
    import signal

    worker = start_worker(memory, log, delay=0.1)
    while count(log) < 40:
        time.sleep(0.01)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(60) != 0
    assert count(log) < 200
    with FeatureStore(memory) as store:
        n_rows = store.info()["n_rows"].sum()
        assert count(log) - 8 <= n_rows <= count(log)  # but for the two batches in flight
        claims = store._connection.execute("SELECT count(*) FROM claim").fetchone()
        assert claims == (0,)


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT OR REPLACE INTO feature", "COMMIT"])
@pytest.mark.parametrize("nth", [2, 3, 5])
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
    monkeypatch.setattr(_store_file.sqlite3, "connect", connect)
    with FeatureStore(memory) as store:
        bus = FeatureBus(HOG(pixels_per_cell=(4, 4)), memory=store, batch_size=4)
        with pytest.raises(KeyboardInterrupt):
            bus.fit_transform(IMAGES[:40])
        with FeatureStore(memory) as other:
            assert other.claim(b"f", [b"a"], new_owner()) == [b"a"]  # nobody holds the file
            claims = other._connection.execute("SELECT count(*) FROM claim").fetchone()
        assert claims == (1,)
        rows = bus.fit_transform(IMAGES[:40])
        np.testing.assert_array_equal(rows, bus.transformer_.transform(IMAGES[:40]))
        assert store.info()["n_rows"].tolist() == [40]


class FailsToCommit(sqlite3.Connection):
    def execute(self, statement, *parameters):
        if statement == "COMMIT":
            super().execute("COMMIT")  # as far as it went
            super().execute("PRAGMA application_id = 0")
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(statement, *parameters)


def test_a_disk_too_full_for_a_new_store(memory, monkeypatch):
    connect = functools.partial(sqlite3.connect, factory=FailsToCommit)
    monkeypatch.setattr(_store_file.sqlite3, "connect", connect)
    with pytest.raises(FeatureStoreError, match="cannot create .*full. Free disk space"):
        FeatureStore(memory).open()


@pytest.mark.parametrize("name", [":memory:", "a\0b"])
def test_names_that_are_no_files(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FeatureStoreError, match="cannot be the name of a feature store"):
        FeatureStore(name).open()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [-1, np.nan, np.inf, "5", None])
def test_bad_sizes_to_prune_to(size, memory):
    with pytest.raises(InvalidParameterError, match="max_bytes is .*expected"):
        FeatureStore(memory).prune(size)
    assert FeatureStore(memory).prune(1e9) == 0


def refuse_bright(X):
    time.sleep(0.02)
    if X[0].max() >= 100:
        raise ValueError("too bright")
    return [[image.mean()] for image in X]


@pytest.mark.filterwarnings("ignore:.*gave no row but NaN:UserWarning")
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


def test_a_full_disk(memory, monkeypatch):
    """SQLite's limit of pages gives the error of a full disk."""
    bus = FeatureBus(HOG(pixels_per_cell=(4, 4)), memory=memory, batch_size=4)
    bus.fit_transform(IMAGES[:20])
    calls = []
    extract = HOG._extract
    monkeypatch.setattr(HOG, "_extract", lambda *arguments: calls.append(1) or extract(*arguments))
    connect = sqlite3.connect

    def small(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 1")  # no more than there are now
        return connection

    monkeypatch.setattr(_store_file.sqlite3, "connect", small)
    with pytest.warns(FeatureStoreWarning, match="full.*computed again.*Free disk space") as caught:
        rows = bus.transform(IMAGES)
    assert len([one for one in caught if one.category is not ResourceWarning]) == 1
    assert len(calls) == 180  # the 20 rows that are there are still used
    np.testing.assert_array_equal(rows, bus.transformer_.transform(IMAGES))


ON_A_FULL_DISK = """
import sqlite3
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet

from featbus import HOG, FeatureBus
from featbus.bus import FeatureStoreWarning

disk = Path(sys.argv[1])
images = np.random.default_rng(0).integers(0, 256, (200, 16, 16)).astype(np.uint8)
hog = HOG(pixels_per_cell=(4, 4))
expected = hog.transform(images)
bus = FeatureBus(hog, memory=disk / "rows.sqlite", batch_size=4)
for _ in range(2):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(bus.fit_transform(images), expected)
    told = [str(item.message) for item in caught if item.category is FeatureStoreWarning]
    assert ["full" in message for message in told] == [True], told
connection = sqlite3.connect(disk / "rows.sqlite")
assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
assert 0 < connection.execute("SELECT count(*) FROM feature").fetchone()[0] < 200
connection.close()

for path in disk.iterdir():
    path.unlink()
try:
    FeatureBus(hog, batch_size=4).to_parquet(images, disk / "rows", partition_size=20)
except OSError as error:
    assert "No space left" in str(error), error
else:
    raise AssertionError("all of it fitted")
paths = sorted((disk / "rows").glob("*.parquet"))
assert 0 < len(paths) < 10
assert all(pyarrow.parquet.read_table(path).num_rows == 20 for path in paths)
assert not [path.name for path in (disk / "rows").iterdir() if path.name[0] == "."]
"""


@pytest.mark.slow
def test_a_full_tmpfs(tmp_path):
    mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"']
    try:
        subprocess.run([*mount, str(tmp_path), "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small file system cannot be mounted here: {error}")
    code = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path)]
    done = subprocess.run([*mount, str(tmp_path), *code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_read_only_store(bus, memory, log):
    bus.fit_transform(IMAGES[:20])
    code = (
        "import os, sys\n"
        "sys.path[:0] = sys.argv[1].split(os.pathsep)\n"
        "from _store_worker import images\nfrom _spies import CountingMean\n"
        "from featbus import FeatureBus\n"
        "bus = FeatureBus(CountingMean(log='/dev/null'), memory=sys.argv[2])\n"
        "warm = FeatureBus(CountingMean(log='/dev/null'), memory=sys.argv[3])\n"
        "warm.fit_transform(images()[:40])  # imports what may be out of reach afterwards\n"
        "bus.fit(images())\n"
        "os.geteuid() or os.setuid(65534)  # root may write anything\n"
        "rows = bus.transform(images()[:30])\n"
        "assert (rows[:, 1] == 256).all() and len(rows) == 30\n"
    )
    folder = memory.parent
    modes = {path: path.stat().st_mode for path in (folder, memory)}
    parents = [parent for parent in folder.parents if parent.stat().st_mode & 0o005 != 0o005]
    if os.geteuid() == 0 and parents:
        # Only root may look into pytest's folders: take the store where anybody can read it.
        folder = Path("/var/tmp") / f"featbus-{os.getpid()}"
        folder.mkdir()
        memory = Path(shutil.copy(memory, folder))
        modes = {}
    try:
        memory.chmod(0o444)
        folder.chmod(0o555)
        arguments = [os.pathsep.join([str(WORKER.parent), *sys.path]), str(memory), f"{log}.sqlite"]
        subprocess.run([sys.executable, "-c", code, *arguments], check=True)
        connection = sqlite3.connect(f"file:{memory}?immutable=1", uri=True)
        assert connection.execute("SELECT count(*) FROM feature").fetchone() == (20,)
        connection.close()
    finally:
        folder.chmod(0o755)
        for path, mode in modes.items():
            path.chmod(mode)
        if not modes:
            shutil.rmtree(folder)


def flip(path, position, value=b"\xff" * 64):
    with open(path, "r+b") as file:
        file.seek(position)
        file.write(value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore::featbus.bus.FeatureStoreWarning")
def test_a_truncated_store(bus, memory, share):
    bus.fit_transform(IMAGES)
    os.truncate(memory, int(share * os.path.getsize(memory)))
    try:
        np.testing.assert_array_equal(bus.transform(IMAGES), EXPECTED)
    except FeatureStoreError as error:
        assert "delete this one if it is a damaged store" in str(error)  # noqa: PT017


@pytest.mark.filterwarnings("ignore::featbus.bus.FeatureStoreWarning")
def test_flipped_bytes_never_make_a_wrong_row(bus, memory):
    bus.fit_transform(IMAGES)
    whole = memory.read_bytes()
    clear_errors = 0
    for position in np.linspace(100, len(whole) - 64, 60).astype(int):
        memory.write_bytes(whole)
        flip(memory, position)
        try:
            np.testing.assert_array_equal(bus.transform(IMAGES), EXPECTED)
        except FeatureStoreError:
            clear_errors += 1
    assert clear_errors < 10


def test_a_row_whose_checksum_fails_is_computed_again_and_replaced(bus, memory, log):
    bus.fit_transform(IMAGES[:5])
    connection = sqlite3.connect(memory)
    connection.execute("UPDATE feature SET value = zeroblob(8) WHERE id = 2")
    connection.commit()
    connection.close()
    np.testing.assert_array_equal(bus.transform(IMAGES[:5]), EXPECTED[:5])
    np.testing.assert_array_equal(bus.transform(IMAGES[:5]), EXPECTED[:5])
    assert count(log) == 6


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE feature SET dtype = '<i4'",
        "UPDATE feature SET dtype = '|O'",
        "UPDATE feature SET dtype = 'nonsense', n_features = 'many'",
        "UPDATE feature SET dtype = '<f2', n_features = 4 WHERE id % 2",
        "UPDATE feature SET n_features = 1",
        "UPDATE feature SET value = value || x'00'",
        "UPDATE feature SET value = 'text' WHERE id = 3",
        "UPDATE feature SET value = 2.5, checksum = 0",
        "UPDATE OR REPLACE feature SET image = 7 WHERE id = 2",
        "UPDATE feature SET image = 1000 + id; UPDATE feature SET image = (SELECT image FROM "
        "feature AS f WHERE f.id = 11 - feature.id)",
        "UPDATE feature SET (value, checksum) = (SELECT value, checksum FROM feature WHERE id = 9)",
        "UPDATE feature SET transformer = 13 - transformer",
        "UPDATE transformer SET id = 100 + id; UPDATE transformer SET id = 103 - id",
    ],
)
def test_a_row_is_bound_to_what_it_is_the_row_of(damage, bus, memory, log):
    """The two transformers have rows of the same dtype and length."""
    other = FeatureBus(CountingMean(log=log, factor=2.0), memory=memory)
    for one in (bus, other):
        one.fit_transform(IMAGES[:5])
    execute(memory, damage)
    for _ in range(2):
        np.testing.assert_array_equal(bus.transform(IMAGES[:5]), EXPECTED[:5])
        np.testing.assert_array_equal(other.transform(IMAGES[:5]), EXPECTED[:5] * [2, 1])


HUNDRED = [index.to_bytes(16, "big") for index in range(100)]


@pytest.fixture
def killed(memory, tmp_path):
    """Return a store with the files that a killed process leaves."""
    live = tmp_path / "live"
    with FeatureStore(live) as store:
        store.write(b"killed", "t", HUNDRED[:1], np.zeros((1, 500)))
        store.prune(1 << 30)  # the log begins after the transformer was written
        store.write(b"killed", "t", HUNDRED[1:], np.zeros((99, 500)))
        for suffix in ("", "-wal"):
            shutil.copy(f"{live}{suffix}", f"{memory}{suffix}")
    return memory


@pytest.mark.parametrize("has_rows", [False, True])
def test_the_log_of_another_store_is_not_used(has_rows, killed, tmp_path):
    other = tmp_path / "other.sqlite"
    with FeatureStore(other) as store:
        if has_rows:
            store.write(b"moved", "t", HUNDRED, np.ones((100, 500)))
    whole = other.read_bytes()
    os.replace(other, killed)
    for _ in range(2):
        with pytest.raises(FeatureStoreError, match="-wal is the log of another feature store"):
            FeatureStore(killed).open()
    assert killed.read_bytes() == whole
    os.remove(f"{killed}-wal")
    with FeatureStore(killed) as store:
        assert len(store.read(b"moved", HUNDRED)) == 100 * has_rows
        assert store.read(b"killed", HUNDRED) == {}


def test_the_log_of_another_store_is_not_used_through_a_link(killed, tmp_path):
    other, link = tmp_path / "other.sqlite", tmp_path / "link.sqlite"
    with FeatureStore(other) as store:
        store.write(b"moved", "t", HUNDRED, np.ones((100, 500)))
    os.replace(other, killed)
    whole = killed.read_bytes()
    link.symlink_to(killed)
    with pytest.raises(FeatureStoreError, match="-wal is the log of another feature store"):
        FeatureStore(link).open()
    assert killed.read_bytes() == whole


def test_rows_are_right_after_sqlite_has_used_the_log_of_another_store(killed, tmp_path):
    other = tmp_path / "other.sqlite"
    with FeatureStore(other) as store:
        for start in range(0, 100, 10):
            part = HUNDRED[start : start + 10]
            store.write(b"moved", "t", part, np.ones((10, 500)))
    os.replace(other, killed)
    execute(killed, "PRAGMA wal_checkpoint(TRUNCATE)")
    with FeatureStore(killed) as store:
        assert all((row == 1).all() for row in store.read(b"moved", HUNDRED).values())
        assert all((row == 0).all() for row in store.read(b"killed", HUNDRED).values())


def test_a_log_left_by_a_killed_process_is_read(killed):
    with FeatureStore(killed) as store:
        assert len(store.read(b"killed", HUNDRED)) == 100


def test_a_read_only_store_with_a_log(killed, monkeypatch):
    monkeypatch.setattr(_store_file.os, "access", lambda *arguments: False)
    before = killed.read_bytes()
    with FeatureStore(killed) as store:
        assert len(store.read(b"killed", HUNDRED)) == 100
        assert store.claim(b"f", [b"a"], new_owner()) == [b"a"]
    assert killed.read_bytes() == before
    assert os.path.getsize(f"{killed}-wal") > 0


def test_a_log_that_cannot_be_read(killed, monkeypatch):
    """A folder that cannot be written makes SQLite fail like this; root can write any."""
    connect = _store_file._connect

    def fail(path, mode):
        if mode == "mode=ro":
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path, mode)

    monkeypatch.setattr(_store_file, "_connect", fail)
    with pytest.raises(FeatureStoreError, match="-wal, SQLite's log.*Open the store once where"):
        FeatureStore(killed).open()


@pytest.mark.parametrize(
    "change",
    [
        "CREATE VIEW v AS SELECT * FROM feature",
        "CREATE TRIGGER t AFTER INSERT ON feature BEGIN UPDATE feature SET value = x''; END",
        "CREATE INDEX i ON feature (image)",
        "CREATE TABLE patient (name)",
        "ALTER TABLE feature ADD COLUMN more",
        "ALTER TABLE feature RENAME TO f; CREATE VIEW feature AS SELECT * FROM f",
        "PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE type = 'index'",
        "DROP TABLE store",
    ],
)
def test_other_tables_are_refused(change, bus, memory):
    bus.fit_transform(IMAGES[:2])
    execute(memory, change)
    before = memory.read_bytes()
    with pytest.raises(FeatureStoreError, match="other tables, indices, views or triggers"):
        bus.transform(IMAGES[:2])
    assert memory.read_bytes() == before


def test_a_damaged_store_has_one_error(bus, memory):
    bus.fit_transform(IMAGES[:50])
    with open(memory, "r+b") as file:
        for page in range(2, os.path.getsize(memory) // 32768):  # but for the schema
            file.seek(page * 32768)
            file.write(b"\xff" * 4000)
    with FeatureStore(memory) as store:
        for method in (store.info, lambda: store.prune(1), store.clear):
            with pytest.raises(FeatureStoreError, match="Delete the file if it is damaged"):
                method()


def load_fuzz():
    path = WORKER.parents[1] / "benchmarks" / "fuzz" / "store.py"
    spec = importlib.util.spec_from_file_location("fuzz_store", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return path, module


@pytest.mark.filterwarnings("ignore::featbus.bus.FeatureStoreWarning")
def test_corruptions(tmp_path):
    _, fuzz = load_fuzz()
    rows, counts = fuzz.make_rows(0), Counter()
    fuzz.make_store(tmp_path / "a", rows)
    fuzz.make_store(tmp_path / "b", fuzz.make_rows(1))
    fuzz.make_journal(tmp_path)
    for index in range(120):
        path = tmp_path / f"{index}"
        _, rng = fuzz.run_case(tmp_path, path, 0, index)
        counts[fuzz.use(path, rows, rng)] += 1
        path.unlink(missing_ok=True)
    assert set(counts) == {"served", "recomputed", "refused"}


@pytest.mark.slow
def test_corruptions_and_kills_under_guard():
    path, _ = load_fuzz()
    command = [sys.executable, path, "--corruptions", "400", "--kills", "10", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_that_is_no_store_is_left_alone(bus, memory):
    memory.write_bytes(b"my thesis, the only copy" * 100)
    with pytest.raises(FeatureStoreError, match="features.sqlite.*file is not a database"):
        bus.fit_transform(IMAGES)
    assert memory.read_bytes().startswith(b"my thesis, the only copy")


def test_a_database_of_another_program_is_left_alone(bus, memory):
    connection = sqlite3.connect(memory)
    connection.execute("CREATE TABLE patient (name TEXT)")
    connection.commit()
    with pytest.raises(FeatureStoreError, match="SQLite file of another program"):
        bus.fit_transform(IMAGES)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize(
    "marks", ["user_version = 5", "application_id = 7", "user_version = 2", "journal_mode = WAL"]
)
def test_an_empty_database_of_another_program_is_left_alone(marks, bus, memory):
    execute(memory, f"PRAGMA {marks}; VACUUM")
    before = memory.read_bytes()
    assert before
    with pytest.raises(FeatureStoreError, match="SQLite file of another program"):
        bus.fit_transform(IMAGES)
    assert memory.read_bytes() == before


def test_an_empty_file_becomes_a_store(bus, memory):
    memory.touch()
    bus.fit_transform(IMAGES[:2])
    assert FeatureStore(memory).info()["n_rows"].tolist() == [2]


def test_a_store_whose_creation_was_interrupted(memory):
    execute(memory, "PRAGMA page_size = 32768; PRAGMA auto_vacuum = INCREMENTAL")
    assert memory.stat().st_size > 0
    with FeatureStore(memory) as store:
        assert store.info().empty


def test_a_folder_that_is_missing(tmp_path):
    with pytest.raises(FeatureStoreError, match=r"There is no folder '.*none'\. Make it first\."):
        FeatureStore(tmp_path / "none" / "rows.sqlite").open()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_a_pipe_is_no_store(memory):
    os.mkfifo(memory)
    with pytest.raises(FeatureStoreError, match="no regular file"):
        FeatureStore(memory).open()


def test_a_newer_schema(bus, memory):
    bus.fit_transform(IMAGES[:2])
    connection = sqlite3.connect(memory)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(FeatureStoreError, match="schema 99, expected 2: another version"):
        bus.transform(IMAGES)


def test_a_folder_that_does_not_exist(tmp_path):
    bus = FeatureBus(LBP(), memory=tmp_path / "missing" / "features.sqlite")
    with pytest.raises(FeatureStoreError, match="no folder .*missing.*Make it first"):
        bus.fit_transform(IMAGES[:2])
