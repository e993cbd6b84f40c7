"""FeatureBus.to_parquet: what it writes, and what a run after a run finds."""

import errno
import json
import os
import sys
import tracemalloc
from functools import partial
from pathlib import Path

import _spies
import cv2
import numpy as np
import pandas as pd
import pytest
from _spies import CountingMean, count, write_images
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from featbus import LBP, FeatureBus
from featbus.bus import digest_image
from featbus.files import written_whole
from featbus.images import ImageError

pq = pytest.importorskip("pyarrow.parquet", reason="the extra featbus[parquet] is not installed")

noise = partial(_spies.noise, shape=(12, 12))


def partitions(directory):
    return sorted(path.name for path in Path(directory).iterdir())


def header(path):
    return json.loads(pq.read_schema(path).metadata[b"featbus"])


@pytest.fixture
def paths(tmp_path):
    return write_images(tmp_path, noise(12))


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "rows"


@pytest.fixture
def bus(log):
    return FeatureBus(CountingMean(log=log), batch_size=3)


@pytest.mark.parametrize(
    ("n_jobs", "stored", "dtype"),
    [(None, False, np.float32), (None, True, np.float64), (2, True, np.float32)],
)
def test_a_line_holds_path_digest_and_features(stored, n_jobs, dtype, paths, directory, memory):
    options = {"memory": memory if stored else None, "batch_size": 3, "n_jobs": n_jobs}
    bus = FeatureBus(LBP(dtype=dtype), **options)
    assert bus.to_parquet(paths, directory, partition_size=5) is None
    frame = pd.read_parquet(directory)
    names = LBP().get_feature_names_out().tolist()
    assert frame.columns.tolist() == ["path", "digest", "error", *names]
    assert frame["path"].tolist() == [str(path) for path in paths]
    assert frame["digest"].tolist() == [digest_image(path).hex() for path in paths]
    assert frame["error"].isna().all()
    assert (frame.dtypes[names] == dtype).all()
    np.testing.assert_array_equal(frame[names], LBP(dtype=dtype).fit_transform(paths))
    assert bus.errors_ == []
    first, second, _ = (header(path) for path in sorted(directory.iterdir()))
    assert first["transformer"].startswith("LBP(")
    assert first["features"] == names
    assert first["partition_size"] == 5
    assert len(first["fingerprint"]) == 32
    assert first["featbus"]
    assert first == second


@pytest.mark.parametrize(
    ("n_images", "partition_size", "expected"),
    [(1, 10, [1]), (10, np.int64(5), [5, 5]), (11, 5, [5, 5, 1])],
)
def test_partitions_and_order(n_images, partition_size, expected, bus, directory):
    images = noise(n_images)
    bus.to_parquet(images, directory, partition_size=partition_size)
    assert partitions(directory) == [f"part-{i:06d}.parquet" for i in range(len(expected))]
    sizes = [pq.read_metadata(path).num_rows for path in sorted(directory.iterdir())]
    assert sizes == expected
    frame = pd.read_parquet(directory)
    np.testing.assert_array_equal(frame[["mean", "size"]], bus.transform(images))
    assert frame["path"].isna().all()
    assert frame["digest"].tolist() == [digest_image(image).hex() for image in images]


@pytest.mark.parametrize("kind", ["paths", "arrays"])
def test_only_missing_partitions_are_computed(kind, bus, paths, directory, log):
    images = paths if kind == "paths" else noise(12)
    bus.to_parquet(images[:10], directory, partition_size=5)
    bus.to_parquet(images, directory, partition_size=5)  # a list may grow
    before, computed = pd.read_parquet(directory), count(log)
    written = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    bus.to_parquet(images, directory, partition_size=5)
    assert count(log) == computed == 12
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == written
    (directory / "part-000001.parquet").unlink()
    bus.to_parquet(images, directory, partition_size=5)
    assert count(log) == computed + 5
    pd.testing.assert_frame_equal(pd.read_parquet(directory), before)


def test_a_partition_with_a_changed_file_is_computed_again(bus, paths, directory, log):
    bus.to_parquet(paths, directory, partition_size=5)
    before, status = pd.read_parquet(directory), os.stat(paths[6])
    cv2.imwrite(str(paths[6]), np.full((12, 12), 9, np.uint8))
    os.utime(paths[6], ns=(status.st_atime_ns, status.st_mtime_ns))
    bus.to_parquet(paths, directory, partition_size=5)
    assert count(log) == 12 + 5
    after = pd.read_parquet(directory)
    assert after["mean"][6] == 9
    assert after["digest"][6] == digest_image(paths[6]).hex() != before["digest"][6]
    pd.testing.assert_frame_equal(after.drop(index=6), before.drop(index=6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bus, images: (bus.set_params(transformer__factor=2), images), "CountingMean"),
        (lambda bus, images: (bus, images[::-1]), r"found '.*000\).png.* expected '.*011"),
        (lambda bus, images: (bus, images[:7]), r"found '.*005\).png.* expected '.*006"),
        (lambda bus, images: (bus, images[:5]), "part-000001.parquet' is not .* these 5 "),
        (lambda bus, images: (bus, noise(12)), r"found '.*000\).png.* expected '[0-9a-f]{32}"),
    ],
    ids=["parameter", "order", "shorter", "much shorter", "arrays"],
)
def test_nothing_is_mixed(change, message, bus, paths, directory, log):
    bus.to_parquet(paths, directory, partition_size=5)
    before = pd.read_parquet(directory)
    computed = count(log)
    bus, images = change(bus, paths)
    with pytest.raises(ValueError, match=f"{message}(.|\n)*Name another directory, or delete"):
        bus.to_parquet(images, directory, partition_size=5)
    pd.testing.assert_frame_equal(pd.read_parquet(directory), before)
    assert count(log) == computed


def test_another_learned_state(directory):
    images = noise(12)
    bus = FeatureBus(make_pipeline(LBP(), PCA(2)))
    bus.fit(images).to_parquet(images, directory)
    frame = pd.read_parquet(directory)
    assert frame.columns[3:].tolist() == ["pca0", "pca1"]
    np.testing.assert_array_equal(frame[["pca0", "pca1"]], bus.transform(images))
    with pytest.raises(ValueError, match="learned state"):
        bus.fit(images[:6]).to_parquet(images, directory)


def test_a_file_that_is_no_partition(bus, paths, directory):
    bus.to_parquet(paths, directory, partition_size=5)
    partition = directory / "part-000001.parquet"
    cut_off = partition.read_bytes()[:-100]
    pd.DataFrame({"a": [1]}).to_parquet(partition)
    for content in (partition.read_bytes(), b"", cut_off):
        partition.write_bytes(content)
        with pytest.raises(ValueError, match="part-000001.parquet' is damaged"):
            bus.to_parquet(paths, directory, partition_size=5)
    partition.unlink()
    bus.to_parquet(paths, directory, partition_size=5)
    assert len(pd.read_parquet(directory)) == 12


def test_other_files_in_the_directory(bus, paths, directory):
    directory.mkdir()
    (directory / "_SUCCESS").touch()
    (directory / ".hidden").touch()
    bus.to_parquet(paths, directory)
    (directory / "others.parquet").touch()
    with pytest.raises(ValueError, match="others.parquet' is not a partition of these 12"):
        bus.to_parquet(paths, directory)


@pytest.mark.filterwarnings("ignore:2 of 14 images failed.*image 2:UserWarning")
def test_images_without_a_row(bus, paths, directory):
    images = [*paths[:2], "no/such/file.png", *paths[2:], np.full((9, 9), np.nan)]
    bus.set_params(on_error="nan")
    bus.to_parquet(images, directory, partition_size=5)
    failed = [(error.index, error.path, str(error)) for error in bus.errors_]
    assert [one[:2] for one in failed] == [(2, "no/such/file.png"), (13, None)]
    frame = pd.read_parquet(directory)
    assert np.flatnonzero(frame["error"].notna()).tolist() == [2, 13]
    assert np.flatnonzero(frame["mean"].isna()).tolist() == [2, 13]
    assert np.flatnonzero(frame["digest"].isna()).tolist() == [2]
    assert "there is no such file" in frame["error"][2]
    assert "81 NaN" in frame["error"][13]
    good = frame["error"].isna()
    np.testing.assert_array_equal(frame.loc[good, "mean"], bus.transform(paths)[:, 0])
    bus.to_parquet(images, directory, partition_size=5)  # nothing is computed
    assert [(error.index, error.path, str(error)) for error in bus.errors_] == failed
    (directory / "part-000001.parquet").unlink()
    with pytest.raises(ImageError, match="image 2 .*there is no such file"):
        bus.set_params(on_error="raise").to_parquet(images, directory, partition_size=5)
    assert not (directory / "part-000001.parquet").exists()


@pytest.mark.filterwarnings("ignore:.*their rows are NaN:UserWarning")
def test_a_partition_without_a_single_row(bus, paths, directory):
    images = [*paths[:4], "missing.png"]
    bus.set_params(on_error="nan")
    bus.to_parquet(images, directory, partition_size=4)
    frame = pd.read_parquet(directory)
    assert frame.dtypes["mean"] == np.float32
    assert frame["mean"].isna().tolist() == [False] * 4 + [True]
    (directory / "part-000000.parquet").unlink()
    bus.to_parquet(images, directory, partition_size=4)
    assert len(pd.read_parquet(directory)) == 5


def test_a_file_that_changes_while_its_row_is_computed(paths, directory):
    def overwrite(X):
        changed = str(paths[7])
        if changed in map(str, X):
            cv2.imwrite(changed, np.zeros((12, 12), np.uint8))
        return np.zeros((len(X), 1))

    bus = FeatureBus(FunctionTransformer(overwrite), batch_size=3)
    with pytest.raises(ImageError, match=r"\(007\).png'\): the file was changed") as caught:
        bus.to_parquet(paths, directory, partition_size=5)
    assert caught.value.index == 7
    assert partitions(directory) == ["part-000000.parquet"]


def test_images_of_different_sizes_are_named(directory):
    images = [*noise(4) / 255, *_spies.noise(3, (12, 16)) / 255]
    bus = FeatureBus(FunctionTransformer(np.max, kw_args={"axis": 1}), batch_size=4)
    with pytest.raises(ValueError, match="images 4 to 6 gave 16 columns of float64, .* 12 of"):
        bus.to_parquet(images, directory, partition_size=4)
    assert pd.read_parquet(directory).columns[3:].tolist() == [f"feature{i}" for i in range(12)]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_a_name_that_is_no_text(bus, paths, directory):
    odd = os.fsdecode(os.fsencode(paths[0].parent) + b"/M\xfcller.png")
    paths[0].rename(odd)
    for _ in range(2):
        bus.to_parquet([odd], directory)
        (path,) = pd.read_parquet(directory)["path"]
        assert path.endswith(r"/M\xfcller.png")


def test_memory_does_not_grow_with_the_number_of_partitions(tmp_path):
    images = noise(300) / 255
    bus = FeatureBus(FunctionTransformer(np.resize, kw_args={"new_shape": (50, 500)}))
    bus.set_params(batch_size=50)
    peaks = []
    for n_images in (50, 100, 300):  # the first one imports what it needs
        tracemalloc.start()
        bus.to_parquet(images[:n_images], tmp_path / str(n_images), partition_size=50)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_write_that_fails(error, bus, paths, directory, log, monkeypatch):
    fsync, calls = os.fsync, []

    def fail_the_second_time(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise error
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_the_second_time)
    with pytest.raises(type(error)):
        bus.to_parquet(paths, directory, partition_size=5)
    assert partitions(directory) == ["part-000000.parquet"]
    bus.to_parquet(paths, directory, partition_size=5)
    assert count(log) == 10 + 7
    assert len(pd.read_parquet(directory)) == 12


def test_what_a_killed_process_leaves_is_ignored(bus, paths, directory, log):
    bus.to_parquet(paths, directory, partition_size=5)
    last = directory / "part-000002.parquet"
    with written_whole(last) as hidden:
        hidden.write_bytes(last.read_bytes()[:-100])
        last.unlink()
        assert len(pd.read_parquet(directory)) == 10
        bus.to_parquet(paths, directory, partition_size=5)
        assert hidden.exists()  # another process may be writing it
        assert len(pd.read_parquet(directory)) == 12
        hidden.write_bytes(last.read_bytes())
    assert count(log) == 12 + 2
