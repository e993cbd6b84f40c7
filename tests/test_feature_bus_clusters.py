"""FeatureBus.to_parquet and batches on several processes, some of which die: loky, Dask and Ray."""

import os
import signal
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from _spies import CountingMean, count, noise, write_images
from joblib.externals.loky.process_executor import TerminatedWorkerError

from featbus import HOG, FeatureBus, FeatureTable
from featbus.images import ImageError

pytest.importorskip("pyarrow", reason="featbus[parquet] is not installed")

N_IMAGES = 60
IMAGES = noise(N_IMAGES, (16, 16))
EXPECTED = np.array([[image.mean(), image.size] for image in IMAGES], dtype=np.float32)


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "images").mkdir()
    return write_images(tmp_path / "images", IMAGES)


@contextmanager
def one_killed(pids, log, after=12):
    """Kill a process, of those that `pids` returns, once `after` images are done."""

    def kill():
        deadline = time.monotonic() + 60
        while count(log) < after and time.monotonic() < deadline:
            time.sleep(0.005)
        killed.append(pids()[0])
        os.kill(killed[0], signal.SIGKILL)

    killed = []
    thread = threading.Thread(target=kill)
    thread.start()
    yield
    thread.join()
    assert len(killed) == 1


@pytest.fixture(scope="module")
def client():
    """Two workers of Dask, which all tests share; the last test kills one of them."""
    distributed = pytest.importorskip("distributed", reason="featbus[dask] is not installed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(2, timeout=120)
        yield client


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray", reason="the extra featbus[ray] is not installed")
    ray.init(
        num_cpus=2,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.path.dirname(__file__)}},
    )
    yield ray
    ray.shutdown()


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("client", "ray")]


@pytest.fixture(params=["loky", *SLOW])
def executor(request):
    """Return an executor, whose workers compute everything."""
    if request.param == "client":
        return request.getfixturevalue("client")
    if request.param == "ray":
        request.getfixturevalue("ray")
    return request.param


def pids_of(executor):
    """Return a function that lists the processes of the workers."""
    if executor not in ("loky", "ray"):
        return lambda: list(executor.run(os.getpid).values())
    name = {"loky": "popen_loky", "ray": "ray::__call__"}[executor]
    children = psutil.Process().children
    return lambda: [p.pid for p in children(recursive=True) if name in " ".join(p.cmdline())]


def contents(directory):
    return {path.name: path.read_bytes() for path in Path(directory).glob("part-*")}


@pytest.mark.filterwarnings("ignore:.*images failed:UserWarning")
def test_files_do_not_depend_on_the_executor(executor, paths, tmp_path, log):
    images = [*paths[:30], *IMAGES[30:], "missing.png", np.full((9, 9), np.nan)]
    bus = FeatureBus(CountingMean(log=log), batch_size=7, n_jobs=2, on_error="nan")
    bus.to_parquet(images, tmp_path / "here", partition_bytes=2000)
    table = bus.to_parquet(images, tmp_path / "there", executor=executor, partition_bytes=2000)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert len(contents(tmp_path / "here")) > 5
    np.testing.assert_array_equal(table[:N_IMAGES], EXPECTED)
    assert count(log) == 2 * N_IMAGES
    bus.set_params(on_error="raise")
    for bad, name in ((images[::-1], "81 NaN"), (images[:-1], f"image {N_IMAGES} .*missing.png")):
        with pytest.raises(ImageError, match=name):
            bus.to_parquet(bad, tmp_path / name[:5], executor=executor)


@pytest.mark.slow
def test_nothing_is_lost_with_a_worker(executor, paths, tmp_path, log):
    bus = FeatureBus(CountingMean(log=log, delay=0.03), n_jobs=2)

    def write():
        return bus.to_parquet(paths, tmp_path / "rows", executor=executor, partition_bytes=500)

    error = pytest.raises(TerminatedWorkerError) if executor == "loky" else nullcontext()
    with one_killed(pids_of(executor), log), error:
        write()
    rows = pd.read_parquet(tmp_path / "rows")  # whole files only
    assert rows["path"].is_unique
    before = count(log)
    np.testing.assert_array_equal(write(), EXPECTED)
    assert count(log) == before + N_IMAGES - len(rows)
    assert len(FeatureTable(tmp_path / "rows")) == N_IMAGES


@pytest.mark.parametrize("kind", ["path", "array", "bytes"])
@pytest.mark.parametrize("as_table", [False, True])
@pytest.mark.filterwarnings("error")
def test_a_batch_function(as_table, kind, paths, log):
    column = {"path": paths, "array": IMAGES, "bytes": [path.read_bytes() for path in paths]}[kind]
    batch = {"image": column, "patient": np.arange(N_IMAGES)}
    if as_table:
        batch = pd.DataFrame(batch | {"image": list(column)}, index=np.arange(N_IMAGES)[::-1])
    function = FeatureBus(CountingMean(log=log)).as_batch_function("image")()
    found = function(batch)
    names = ["image"] * (kind == "path") + ["patient", "mean", "size"]
    assert list(found) == names
    assert type(found) is type(batch)
    np.testing.assert_array_equal(np.column_stack([found["mean"], found["size"]]), EXPECTED)
    assert found["mean"].dtype == np.float32
    empty = function(batch[:0] if as_table else {name: batch[name][:0] for name in batch})
    assert list(empty)[-2:] == names[-2:]
    assert len(empty["mean"]) == 0


@pytest.mark.parametrize("some", [[None, 0], [0, None], [None, None]])
def test_a_batch_function_keeps_the_column_of_paths(some, paths, log):
    function = FeatureBus(CountingMean(log=log), on_error="nan").as_batch_function()()
    found = function(pd.DataFrame({"path": [None if i is None else paths[i] for i in some]}))
    assert list(found) == ["path", "mean", "size", "error"]
    for name in ("mean", "error"):
        with pytest.raises(ValueError, match=rf"has columns \['{name}'\]"):
            function({"path": paths[:1], name: ["of the user"]})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("transformer", [CountingMean(log=os.devnull), HOG(pixels_per_cell=4)])
def test_a_batch_function_with_bad_images(transformer, paths):
    paths[1].write_bytes(paths[1].read_bytes()[:-30])
    bus = FeatureBus(transformer, on_error="nan")
    function = bus.as_batch_function()()
    for some in (paths[:3], paths[1:2]):
        *_, row, error = function({"path": some}).values()
        assert np.isnan(row).tolist() == [path == paths[1] for path in some]
        assert (error != "").tolist() == [path == paths[1] for path in some]
        assert row.dtype == np.float32
    with pytest.raises(ImageError, match=r"\(001\).png"):
        bus.set_params(on_error="raise").as_batch_function()()({"path": paths[1:3]})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own settings
def test_ray_data(ray, paths, log):
    function = FeatureBus(CountingMean(log=log)).as_batch_function()
    dataset = ray.data.from_items([{"path": str(path)} for path in paths])
    frame = dataset.map_batches(function, batch_size=8, concurrency=2).to_pandas()
    frame = frame.sort_values("path")
    assert frame["path"].tolist() == list(map(str, paths))
    np.testing.assert_array_equal(frame[["mean", "size"]], EXPECTED)


@pytest.mark.slow
def test_dask_dataframe(client, paths, log):
    dask = pytest.importorskip("dask.dataframe", reason="dask.dataframe is not installed")
    function = FeatureBus(CountingMean(log=log)).as_batch_function()()
    frame = pd.DataFrame({"path": list(map(str, paths))})
    meta = function(frame[:0])
    parts = dask.from_pandas(frame, npartitions=4)
    parts = parts[parts["path"] > frame["path"][N_IMAGES // 2]]  # leaves some without a row
    found = parts.map_partitions(function, meta=meta).compute()
    np.testing.assert_array_equal(found[["mean", "size"]], EXPECTED[N_IMAGES // 2 + 1 :])
