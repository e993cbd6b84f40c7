"""FeatureBus over several processes, some of which die: Dask and Ray."""

import os
import signal
import threading
import time
from contextlib import contextmanager

import joblib
import numpy as np
import pandas as pd
import pytest
from _spies import CountingMean, count, noise, write_images
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from featbus import FeatureBus, FeatureStore
from featbus.bus import _compute
from featbus.bus._compute import iter_results

N_IMAGES = 80
IMAGES = noise(N_IMAGES, (16, 16))
EXPECTED = np.array([[image.mean(), image.size] for image in IMAGES], dtype=np.float32)


@pytest.fixture
def paths(tmp_path):
    return write_images(tmp_path, IMAGES)


@pytest.fixture
def not_here(monkeypatch):
    """Let this process compute nothing."""

    def fail(*arguments):
        raise AssertionError("computed in the main process")

    monkeypatch.setattr(_compute, "_finish_or_retry", fail)


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


def dask_workers(client):
    return lambda: list(client.run(os.getpid).values())


@pytest.mark.parametrize("kind", ["array", "paths"])
def test_dask_gives_the_same_rows(kind, client, not_here, paths, memory, log):
    images, memory = (IMAGES, None) if kind == "array" else (paths, memory)
    bus = FeatureBus(CountingMean(log=log), memory=memory, batch_size=7)
    with joblib.parallel_config("dask"):
        rows = bus.fit_transform(images)
    np.testing.assert_array_equal(rows, EXPECTED)
    assert count(log) == N_IMAGES


def test_dask_takes_batches_as_they_are_needed(client, log):
    taken = []
    starts = range(0, N_IMAGES, 4)
    batches = ((taken.append(start) or start, IMAGES[start : start + 4]) for start in starts)
    ahead = []
    with joblib.parallel_config("dask"):
        for index, (tag, rows) in enumerate(iter_results(CountingMean(log=log), batches)):
            ahead.append(len(taken) - index)
            assert tag == starts[index]
            np.testing.assert_array_equal(rows, EXPECTED[tag : tag + 4])
    assert max(ahead) <= 2 * 2 + 1


@pytest.mark.slow
def test_a_grid_search_on_dask_computes_each_image_once(client, not_here, memory, log):
    bus = FeatureBus(CountingMean(log=log, delay=0.005), memory=memory, batch_size=4)
    search = GridSearchCV(make_pipeline(bus, SVC()), {"svc__C": [1, 10, 100]}, cv=3, refit=False)
    with joblib.parallel_config("dask"):
        search.fit(list(IMAGES), np.arange(N_IMAGES) % 2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert count(log) == N_IMAGES


def test_parquet_from_dask(client, not_here, paths, tmp_path, log):
    pytest.importorskip("pyarrow", reason="featbus[parquet] is not installed")
    with joblib.parallel_config("dask"):
        FeatureBus(CountingMean(log=log), batch_size=4).to_parquet(
            paths, tmp_path / "rows", partition_size=30
        )
    frame = pd.read_parquet(tmp_path / "rows")
    np.testing.assert_array_equal(frame[["mean", "size"]], EXPECTED)
    assert count(log) == N_IMAGES


@pytest.mark.slow
def test_dask_loses_nothing_with_a_worker(client, not_here, paths, memory, log):
    bus = FeatureBus(CountingMean(log=log, delay=0.02), memory=memory, batch_size=4)
    with one_killed(dask_workers(client), log), joblib.parallel_config("dask"):
        rows = bus.fit_transform(paths)
    np.testing.assert_array_equal(rows, EXPECTED)
    assert FeatureStore(memory).info()["n_rows"].tolist() == [N_IMAGES]
    before = count(log)
    np.testing.assert_array_equal(bus.transform(paths), EXPECTED)
    assert count(log) == before


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray", reason="the extra featbus[ray] is not installed")
    from ray.util.joblib import register_ray

    ray.init(
        num_cpus=2,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.path.dirname(__file__)}},
    )
    register_ray()
    yield ray
    ray.shutdown()


def ray_actors():
    import psutil

    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "ray::PoolActor.run_batch" in child.cmdline()]


@pytest.mark.slow
def test_ray_loses_nothing_with_a_worker(ray, not_here, paths, memory, log):
    bus = FeatureBus(CountingMean(log=log, delay=0.02), memory=memory, batch_size=4)
    retries = {"max_restarts": 3, "max_task_retries": 3}
    with (
        one_killed(ray_actors, log),
        joblib.parallel_config("ray", n_jobs=2, ray_remote_args=retries),
    ):
        rows = bus.fit_transform(paths)
    np.testing.assert_array_equal(rows, EXPECTED)
    assert FeatureStore(memory).info()["n_rows"].tolist() == [N_IMAGES]
    with joblib.parallel_config("ray", n_jobs=-1):
        rows = bus.set_params(memory=None, transformer__delay=0).fit_transform(paths)
    np.testing.assert_array_equal(rows, EXPECTED)
